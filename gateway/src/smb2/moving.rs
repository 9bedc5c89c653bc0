//! Durable handles on their way: what one is where the vserver leaves, and what becomes of it where the vserver comes up. There its
//! client is away, and finds it as after any lost connection.

use super::caching;
use super::durable::{self, AWAY_MAX, Durable};
use super::lock_sequence::LockSequences;
use super::open::{Name, Open};
use super::state::State;
use super::times::OpenTimes;
use super::tree::{Root, Tree};
use super::wire::FileId;
use crate::openstate::FileKey;
use crate::vserver::{SmbClients, SmbHandle, Vserver};
use fsstore::{Context, FileKind};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

impl SmbClients for State {
    fn handles(&self, vserver: &Vserver) -> Vec<SmbHandle> {
        let here = self.opens().into_iter().filter_map(|open| {
            let away = open.durable.as_ref()?.away;
            Some((open, away))
        });
        let all = here.chain(self.orphans.all());
        all.filter_map(|(open, left)| handle(vserver, &open, left)).collect()
    }

    fn take_in(self: Arc<Self>, vserver: &Arc<Vserver>, handles: Vec<SmbHandle>) {
        let all = handles.len();
        let kept = handles.into_iter().filter_map(|handle| take_in(&self, vserver, handle)).count();
        if all > 0 {
            tracing::info!(vserver = vserver.name, kept, dropped = all - kept, "SMB handles have arrived");
        }
    }
}

/// An open as it travels, if it would outlive its connection now.
fn handle(vserver: &Vserver, open: &Open, left: Duration) -> Option<SmbHandle> {
    let durable = open.durable.as_ref().filter(|_| durable::outlives(vserver, open))?;
    let (volume, dir) = open.tree.dir().ok()?;
    let name = open.name.lock().clone();
    Some(SmbHandle {
        id: (open.id.persistent, open.id.volatile),
        share: FileKey { volume, file: dir },
        file: open.key,
        dir: name.dir,
        name: name.name,
        path: name.path,
        granted: open.granted,
        write_through: open.write_through,
        uid: open.cx.uid,
        gid: open.cx.gid,
        groups: open.cx.groups.clone(),
        position: open.position.load(Ordering::Relaxed),
        action: open.action,
        allocation: open.allocation,
        channel_sequence: open.channel_sequence.load(Ordering::Relaxed),
        keeps_times: open.times.lock().keeps(),
        lock_sequences: open.lock_sequences.to_bytes(),
        create_guid: durable.create_guid,
        user: durable.user.clone(),
        away: durable.away,
        left,
        owner: open.owner.clone(),
        holdings: vserver.locks.holdings(open.key, &open.owner)?,
    })
}

/// `None`: its file is not here, or somebody has what it is in the way of.
fn take_in(state: &Arc<State>, vserver: &Arc<Vserver>, mut handle: SmbHandle) -> Option<()> {
    let holdings = handle.holdings.clone();
    let left = handle.left.min(AWAY_MAX);
    handle.away = handle.away.min(AWAY_MAX);
    let kept = holdings.caching?;
    let open = Arc::new(arrived(handle, kept.lease));
    let attr = open.volume(vserver).ok()?.getattr(open.key.file).ok()?;
    if attr.kind != FileKind::File {
        return None;
    }
    let holder = caching::holder_of_orphan(state, vserver, open.id, kept.lease.is_some());
    let adopted = vserver.locks.adopt(open.key, open.owner.clone(), holdings, holder);
    if let Err(error) = adopted {
        tracing::warn!(vserver = vserver.name, %error, "an SMB handle can't be kept");
        return None;
    }
    if durable::keep_for(state, vserver, &open, left) {
        Some(())
    } else {
        open.abandon(vserver);
        None
    }
}

fn arrived(handle: SmbHandle, lease: Option<crate::openstate::LeaseId>) -> Open {
    let SmbHandle { uid, gid, groups, .. } = handle;
    // Nobody is connected to it: only which share it is matters.
    let tree = Tree {
        id: 0,
        root: Root::Disk { volume: handle.share.volume, dir: handle.share.file },
        rights: 0,
        sealing_required: false,
        access_based_enumeration: false,
    };
    Open {
        id: FileId { persistent: handle.id.0, volatile: handle.id.1 },
        tree: Arc::new(tree),
        key: handle.file,
        base: handle.file,
        stream: None,
        kind: FileKind::File,
        name: Mutex::new(Name { dir: handle.dir, name: handle.name, path: handle.path }),
        granted: handle.granted,
        write_through: handle.write_through,
        cx: Context { uid, gid, groups, now: super::now() },
        owner: handle.owner,
        delete_on_close: AtomicBool::new(false),
        position: AtomicU64::new(handle.position),
        quotas_from: AtomicU64::new(0),
        listing: Mutex::default(),
        channel_sequence: AtomicU16::new(handle.channel_sequence),
        times: Mutex::new(OpenTimes::keeping(handle.keeps_times)),
        lease,
        action: handle.action,
        replays: Mutex::default(),
        allocation: handle.allocation,
        lock_sequences: LockSequences::of_bytes(&handle.lock_sequences),
        durable: Some(Durable { create_guid: handle.create_guid, away: handle.away, user: handle.user }),
        watching: OnceLock::new(),
        closed: CancellationToken::new(),
    }
}
