//! Opens (MS-SMB2 §3.3.1.10): what a handle of a client names, with which rights, and what happens when it is closed.

use super::directory::Listing;
use super::durable::Durable;
use super::lock_sequence::LockSequences;
use super::notify::Watching;
use super::replay::Eligible;
use super::session::Session;
use super::shown;
use super::state;
use super::times::OpenTimes;
use super::tree::Tree;
use super::wire::FileId;
use super::wire::create::FileFacts;
use super::wire::status::NtStatus;
use crate::handle::VolumeId;
use crate::openstate::{Client, Deed, FileKey, LeaseId, Owner, Protocol};
use crate::vserver::{GatePass, MountedVolume, Vserver};
use bytes::Bytes;
use fsstore::{Attr, Context, FileKind, FsError, Op, Volume};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// The name by which a file was opened, or that its handle gave it since.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// The directory; its own for the root of a share.
    pub(super) dir: fsstore::FileId,
    /// Empty for the root of a share.
    pub(super) name: Bytes,
    /// The path from the root of the share, as the client sees it.
    pub(super) path: String,
}

/// An open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: FileId,
    pub(super) tree: Arc<Tree>,
    /// The file that holds its data: what locks and share modes are of.
    pub(super) key: FileKey,
    /// The file whose names, times and permissions it has: `key`, unless it is of a named stream.
    pub(super) base: FileKey,
    /// The name of the stream that it is of.
    pub(super) stream: Option<Mutex<Bytes>>,
    pub(super) kind: FileKind,
    pub(super) name: Mutex<Name>,
    /// Rights that it was granted (MS-SMB2 §2.2.13.1).
    pub(super) granted: u32,
    pub(super) write_through: bool,
    /// As whom its operations run.
    pub(super) cx: Context,
    /// By whom the open state knows it.
    pub(super) owner: Owner,
    /// The file goes when this is closed.
    pub(super) delete_on_close: AtomicBool,
    /// `FilePositionInformation`: the client's own business.
    pub(super) position: AtomicU64,
    /// The first user whom a list of quotas has not had yet.
    pub(super) quotas_from: AtomicU64,
    /// Where a listing has got to.
    pub(super) listing: Mutex<Option<Listing>>,
    /// Of the newest request that used it: one that was sent before the client lost a connection comes too late (§3.3.5.2.10).
    pub(super) channel_sequence: AtomicU16,
    pub(super) times: Mutex<OpenTimes>,
    /// The lease that it shares; `None`: it may have an oplock.
    pub(super) lease: Option<LeaseId>,
    /// What its CREATE did (`wire::create::action`).
    pub(super) action: u32,
    /// Its CREATE may come again.
    pub(super) replays: Mutex<Option<Eligible>>,
    /// Bytes that its client asked to allocate when it made the file (`AlSi`). As with Samba it is told of them, but blocks
    /// are given out when they are written.
    pub(super) allocation: u64,
    /// LOCK requests that were done.
    pub(super) lock_sequences: LockSequences,
    /// It outlives its connection.
    pub(super) durable: Option<Durable>,
    /// What happens in the directory, since its client asked.
    pub(super) watching: OnceLock<Arc<Watching>>,
    /// Cancelled when it is closed: whoever waits for it gives up.
    pub(super) closed: CancellationToken,
}

/// By whom the open state knows an open.
pub(super) fn owner(client: IpAddr, session: &Session, number: u64) -> Owner {
    let name = session.identity().user.as_deref().unwrap_or_default().as_bytes().into();
    let id = [session.id.to_le_bytes(), number.to_le_bytes()].concat().into();
    Owner { client: Arc::new(Client { protocol: Protocol::Smb2, address: client, name }), id }
}

/// A mounted volume.
pub(super) fn volume(vserver: &Vserver, id: VolumeId) -> Result<Arc<Volume>, NtStatus> {
    let namespace = vserver.namespace();
    namespace.volume(id).map(|mount: &MountedVolume| Arc::clone(&mount.volume)).ok_or(NtStatus::FILE_CLOSED)
}

/// The attributes of a stream: those of its file, with its own size.
pub(super) fn of_stream(base: &Attr, stream: &Attr) -> Attr {
    Attr { kind: FileKind::File, size: stream.size, used: stream.used, ..*base }
}

impl Open {
    /// The same open in the hands of a client that came back.
    pub(super) fn back_in(&self, tree: Arc<Tree>) -> Open {
        Open {
            id: self.id,
            tree,
            key: self.key,
            base: self.base,
            stream: self.stream.as_ref().map(|name| Mutex::new(name.lock().clone())),
            kind: self.kind,
            name: Mutex::new(self.name.lock().clone()),
            granted: self.granted,
            write_through: self.write_through,
            cx: self.cx.clone(),
            owner: self.owner.clone(),
            delete_on_close: AtomicBool::new(self.delete_on_close.load(Ordering::Relaxed)),
            position: AtomicU64::new(self.position.load(Ordering::Relaxed)),
            quotas_from: AtomicU64::new(0),
            listing: Mutex::default(),
            channel_sequence: AtomicU16::new(self.channel_sequence.load(Ordering::Relaxed)),
            times: Mutex::new(self.times.lock().clone()),
            lease: self.lease,
            action: self.action,
            replays: Mutex::default(),
            allocation: self.allocation,
            lock_sequences: self.lock_sequences.clone(),
            durable: self.durable.clone(),
            watching: OnceLock::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Whether it has one of these rights at least.
    pub(super) fn may(&self, any: u32) -> Result<(), NtStatus> {
        if self.granted & any != 0 { Ok(()) } else { Err(NtStatus::ACCESS_DENIED) }
    }

    /// The volume that the file is in.
    pub(super) fn volume(&self, vserver: &Vserver) -> Result<Arc<Volume>, NtStatus> {
        volume(vserver, self.key.volume)
    }

    /// As whom its operations run, now.
    pub(super) fn context(&self) -> Context {
        Context { now: super::now(), ..self.cx.clone() }
    }

    /// Whether a request is not one that its client has given up: WRITE, SET_INFO and IOCTL may then have been run already.
    pub(super) fn is_current(&self, sequence: u16) -> bool {
        let newest = self.channel_sequence.load(Ordering::Relaxed);
        if sequence.wrapping_sub(newest) > u16::MAX / 2 {
            return false;
        }
        self.channel_sequence.store(sequence, Ordering::Relaxed);
        true
    }

    /// The file's attributes, as this open sees them; of a stream, those of its file with its own size.
    pub(super) fn attr(&self, vserver: &Vserver) -> Result<Attr, NtStatus> {
        let volume = self.volume(vserver)?;
        let of = |file| volume.getattr(file).map_err(|error| super::status::of(&error));
        let attr = of(self.base.file)?;
        if self.stream.is_some() { Ok(of_stream(&attr, &of(self.key.file)?)) } else { Ok(self.sees(attr)) }
    }

    /// What its client is told of the file.
    pub(super) fn facts(&self, attr: &Attr) -> FileFacts {
        let facts = shown::facts(attr, &self.name.lock().name);
        FileFacts { allocation_size: facts.allocation_size.max(self.allocation), ..facts }
    }

    /// Its path from the root of the share, with the name of its stream.
    pub(super) fn path(&self) -> String {
        let path = self.name.lock().path.clone();
        match &self.stream {
            Some(stream) => format!("{path}:{}", super::streams::shown(&stream.lock())),
            None => path,
        }
    }

    /// Whether it is to go once nobody has it open.
    pub(super) fn is_delete_pending(&self, vserver: &Vserver) -> bool {
        vserver.locks.is_delete_pending(self.key) || vserver.locks.is_delete_pending(self.base)
    }

    /// The file is to go once nobody has it open; who watches it learns that now.
    pub(super) fn goes_with_the_last(&self, vserver: &Vserver) {
        vserver.locks.set_delete_pending(self.key, true);
        state::of(vserver).goes(self.key);
    }

    /// Gives up what it holds; the last one of a file that is to go takes it along. For who is inside of the gate: a frozen
    /// volume must not change.
    pub(super) fn close(&self, vserver: &Vserver, _inside: &GatePass) {
        self.closed.cancel();
        self.settle_times(vserver);
        if self.delete_on_close.load(Ordering::Relaxed) {
            vserver.locks.contend(self.key, Deed::Unname, Some(&self.owner));
            // A file with more names loses this one at once: who has it open by another needs not let go of it for that.
            if !(self.has_more_names(vserver) && self.delete(vserver).is_ok()) {
                self.goes_with_the_last(vserver);
            }
        }
        let mut gone = Ok(());
        if let Some(stream) = &self.stream
            && vserver.locks.close(self.key, &self.owner).delete
        {
            gone = self.delete_stream(vserver, stream.lock().clone());
        }
        if vserver.locks.close(self.base, &self.owner).delete {
            gone = self.delete(vserver);
        }
        if let Err(error) = gone {
            tracing::debug!(vserver = vserver.name, %error, "a file that was to go with its last handle stays");
        }
    }

    /// Gives up what it holds, and nothing else: the volume is frozen, or gone.
    pub(super) fn abandon(&self, vserver: &Vserver) {
        self.closed.cancel();
        vserver.locks.close(self.key, &self.owner);
        vserver.locks.close(self.base, &self.owner);
    }

    fn has_more_names(&self, vserver: &Vserver) -> bool {
        let is_file = self.stream.is_none() && self.kind != FileKind::Dir;
        is_file && self.attr(vserver).is_ok_and(|attr| attr.nlink > 1)
    }

    fn delete(&self, vserver: &Vserver) -> Result<(), FsError> {
        let Ok(volume) = self.volume(vserver) else { return Err(FsError::Stale) };
        let Name { dir, name, .. } = self.name.lock().clone();
        // That it may go was settled when it was opened, whatever has become of permissions since.
        let cx = Context::root(super::now());
        // Somebody may have given the name to another file.
        let attr = volume.lookup(&cx, dir, &name)?;
        if attr.id != self.base.file {
            return Err(FsError::NotFound);
        }
        let op = if attr.kind == FileKind::Dir { Op::Rmdir { dir, name } } else { Op::Remove { dir, name } };
        volume.execute(&cx, op).map(drop)
    }

    fn delete_stream(&self, vserver: &Vserver, name: Bytes) -> Result<(), FsError> {
        let Ok(volume) = self.volume(vserver) else { return Err(FsError::Stale) };
        // Somebody may have given the name to another stream.
        if volume.stream(self.base.file, &name)?.id != self.key.file {
            return Err(FsError::NotFound);
        }
        volume
            .execute(&Context::root(super::now()), Op::RemoveStream { file: self.base.file, name })
            .map(drop)
    }
}
