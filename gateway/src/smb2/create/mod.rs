//! CREATE (MS-SMB2 §3.3.5.9): opens or makes a file. Here is the order of what is done; each part has a file of its own.

mod back;
mod caching;
mod check;
mod contexts;
mod existing;
mod make;
mod replayed;
mod response;
mod sharing;
mod stream;

use super::caching::way_made;
use super::dispatch::{Answer, Asked, Done};
use super::durable::{self, Asks};
use super::lock_sequence::LockSequences;
use super::open::{self, Name, Open};
use super::path::{self, Found};
use super::replay::{self, Eligible, Known};
use super::reply::{Body, Failure};
use super::streams::Named;
use super::wire::FileId;
use super::wire::create::*;
use super::wire::names::Path;
use super::wire::status::NtStatus;
use super::{quota, rights};
use crate::openstate::{BreakWait, FileKey};
use crate::vserver::{GatePass, Vserver};
use check::{Deed, check};
use fsstore::{Attr, Context, FileKind, SnapshotId, Volume};
use parking_lot::Mutex;
use sharing::Shared;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// What became of an attempt.
enum Created {
    Done(FileId, Body),
    /// Others keep something of the file and have been told to give it up.
    Wait(BreakWait),
}

/// Opens or makes a file or directory; waits for others who have to give something up for it.
pub(super) async fn create(asked: Asked, inside: GatePass) -> Answer {
    let mut replays = None;
    let wait = match attempt(&asked, &inside, false, &mut replays).await {
        Ok(Created::Wait(wait)) => wait,
        over => return Answer::Now(done(over)),
    };
    drop(inside);
    if replays.is_some() {
        Answer::Later(Box::pin(stay(asked, replays, wait)))
    } else {
        Answer::Later(Box::pin(go_on(asked, replays, wait)))
    }
}

/// Tries again until it is done.
async fn go_on(asked: Asked, mut replays: Option<Eligible>, mut wait: BreakWait) -> Done {
    loop {
        let inside = match way_made(&asked, wait).await {
            Ok(inside) => inside,
            Err(status) => return Done::from(Err(status.into())),
        };
        wait = match attempt(&asked, &inside, true, &mut replays).await {
            Ok(Created::Wait(wait)) => wait,
            over => {
                // Its connection may be gone since long, and with it the session.
                if asked.session.has_ended() {
                    let listener = &asked.connection.listener;
                    listener.state.end(&listener.vserver, &asked.session, true);
                }
                return done(over);
            }
        };
    }
}

/// The same, for as long as the session is there: where its connection is lost the client asks for the outcome by another.
async fn stay(mut asked: Asked, replays: Option<Eligible>, wait: BreakWait) -> Done {
    let connection = Arc::clone(&asked.connection);
    let give_up = std::mem::replace(&mut asked.give_up, asked.session.over.child_token());
    let given_up = asked.give_up.clone();
    let mut rest = tokio::spawn(go_on(asked, replays, wait));
    let cancelled = || Done::from(Err(NtStatus::CANCELLED.into()));
    tokio::select! {
        done = &mut rest => return done.unwrap_or_else(|_| cancelled()),
        () = give_up.cancelled() => {}
    }
    if connection.gone.is_cancelled() {
        return cancelled();
    }
    given_up.cancel();
    rest.await.unwrap_or_else(|_| cancelled())
}

/// What it leaves for those that are related to it.
fn done(made: Result<Created, Failure>) -> Done {
    let (reply, file) = match made {
        Ok(Created::Done(id, body)) => (Ok(body), Ok(id)),
        Ok(Created::Wait(_)) => (Err(NtStatus::INTERNAL_ERROR.into()), Err(NtStatus::INTERNAL_ERROR)),
        Err(failure) => {
            let status = failure.status;
            (Err(failure), Err(status))
        }
    };
    Done { reply, file: Some(file) }
}

/// `again`: it has waited before. `replays`: for as long as it may come again, once more.
async fn attempt(
    asked: &Asked,
    inside: &GatePass,
    again: bool,
    replays: &mut Option<Eligible>,
) -> Result<Created, Failure> {
    let mut request = CreateRequest::decode(&asked.message)?;
    let asks = durable::asks(&request.contexts)?;
    if let Asks::Back { id, create_guid } = asks {
        return back::back(asked, &request, id, create_guid);
    }
    if let Asks::New { create_guid: Some(create_guid), .. } = asks
        && !again
    {
        match replay::look_up(asked, create_guid)? {
            Known::New(eligible) => *replays = eligible,
            Known::Made(id) => return replayed::replayed(asked, &request, id),
        }
    }
    check(&request)?;
    let name = std::mem::take(&mut request.name);
    let path = Path::parse(&name)?;
    let is_quota_file = quota::is_file(&path);
    let (path, named) = if is_quota_file {
        (Path { components: Vec::new(), stream: None }, None)
    } else {
        let named = path.stream.map(Named::of).transpose()?;
        (path, named)
    };
    let cx = asked.session.identity().context();
    let vserver = &asked.connection.listener.vserver;
    let follow = request.options & options::OPEN_REPARSE_POINT == 0;
    let taken = contexts::snapshot_time(&request.contexts);
    let found = path::find_at(&vserver.namespace(), &cx, &asked.tree, &path, follow, taken)?;
    if request.options & options::DELETE_ON_CLOSE != 0 && found.dir.snapshot != SnapshotId::ACTIVE {
        return Err(NtStatus::MEDIA_WRITE_PROTECTED.into());
    }
    let volume = open::volume(vserver, found.volume)?;
    let stream = stream::wanted(&mut request, named, &found, &volume)?;
    let opening = Opening { asked, inside, again, asks, request, cx, volume, found, stream, is_quota_file };
    opening.run(replays).await
}

/// A CREATE under way: its path is walked.
struct Opening<'a> {
    asked: &'a Asked,
    inside: &'a GatePass,
    again: bool,
    asks: Asks,
    request: CreateRequest,
    cx: Context,
    volume: Arc<Volume>,
    found: Found,
    stream: Option<stream::Wanted>,
    is_quota_file: bool,
}

impl Opening<'_> {
    fn vserver(&self) -> &Vserver {
        &self.asked.connection.listener.vserver
    }

    async fn run(self, replays: &mut Option<Eligible>) -> Result<Created, Failure> {
        let exists = self.stream.as_ref().map_or(self.found.attr, |stream| stream.attr);
        let deed = Deed::of(self.request.disposition, exists.is_some())?;
        self.check_lease(exists)?;
        self.asked.session.has_room()?;
        let number = self.asked.connection.listener.state.open_number()?;
        let (attr, most) = match self.found.attr {
            Some(attr) => (attr, self.rights_to(&attr, deed)?),
            None => (self.make()?, self.asked.tree.rights),
        };
        let mut open = self.open(number, deed, &attr, self.data(&attr)?, most);
        let granted = match self.share(&open, deed) {
            Ok(Shared::Done(granted)) => granted,
            Ok(Shared::Wait(wait)) => return Ok(Created::Wait(wait)),
            Err(status) => {
                self.unmake_stream(&attr);
                return Err(status.into());
            }
        };
        let attr = match self.finish(&open, deed, attr).await {
            Ok(attr) => attr,
            Err(failure) => {
                open.delete_on_close.store(false, Ordering::Relaxed);
                open.close(self.vserver(), self.inside);
                return Err(failure);
            }
        };
        open.durable = self.durable(&open, granted);
        let (id, body) = (open.id, self.respond(&open, &attr, most, granted));
        open.replays = Mutex::new(replays.take());
        let open = Arc::new(open);
        self.asked.session.keep(Arc::clone(&open));
        if let Some(eligible) = open.replays.lock().as_ref() {
            eligible.made(id);
        }
        Ok(Created::Done(id, body))
    }

    /// The open that is to be, which nobody knows yet.
    fn open(&self, number: u64, deed: Deed, attr: &Attr, data: fsstore::FileId, most: u32) -> Open {
        let wanted = rights::specific(self.request.desired_access);
        let granted =
            if wanted & access::MAXIMUM_ALLOWED != 0 { most | wanted & access::SYNCHRONIZE } else { wanted };
        let key = |file| FileKey { volume: self.found.volume, file };
        let owner = open::owner(self.asked.connection.client, &self.asked.session, number);
        Open {
            id: FileId { persistent: number, volatile: number },
            tree: Arc::clone(&self.asked.tree),
            key: key(data),
            base: key(attr.id),
            stream: self.stream.as_ref().map(|stream| Mutex::new(stream.name.clone())),
            kind: if self.stream.is_some() { FileKind::File } else { attr.kind },
            name: Mutex::new(Name {
                dir: self.found.dir,
                name: self.found.name.clone(),
                path: self.found.path.clone(),
            }),
            granted,
            write_through: self.request.options & options::WRITE_THROUGH != 0,
            cx: self.cx.clone(),
            owner,
            delete_on_close: AtomicBool::new(self.request.options & options::DELETE_ON_CLOSE != 0),
            position: AtomicU64::new(0),
            quotas_from: AtomicU64::new(0),
            listing: Mutex::default(),
            channel_sequence: AtomicU16::new(self.asked.channel_sequence),
            times: Mutex::default(),
            lease: self.lease_id(),
            action: deed.action(),
            replays: Mutex::default(),
            allocation: if deed == Deed::Open || attr.kind == FileKind::Dir {
                0
            } else {
                contexts::allocation(&self.request.contexts)
            },
            lock_sequences: LockSequences::default(),
            durable: None,
            watching: OnceLock::new(),
            closed: CancellationToken::new(),
        }
    }
}
