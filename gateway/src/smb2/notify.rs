//! CHANGE_NOTIFY (MS-SMB2 §3.3.5.19): who has a directory open is told what happens in it, whichever protocol it comes from.
//! A handle begins to watch with its first request, whose filter is that of all others; what happens between two requests is kept for
//! the next, up to as much as the first had room for.

use super::dispatch::{Answer, Asked, Done};
use super::open::Open;
use super::reply::{Body, Failure, Reply};
use super::streams;
use super::wire::create::access;
use super::wire::names::{mapping, utf16_len};
use super::wire::notify::{Action, ChangeNotifyRequest, NotifyList, WATCH_TREE, filter};
use super::wire::output::encode_output;
use super::wire::status::NtStatus;
use bytes::BytesMut;
use fsstore::{Changed, Event, EventKind, FileId, FileKind, NameEvent, Volume, Watch};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// What a handle of a directory has seen and its client has not heard.
#[derive(Debug)]
pub(super) struct Watching {
    dir: FileId,
    filter: u32,
    tree: bool,
    max: usize,
    news: Mutex<News>,
    /// The directory is to go.
    goes: AtomicBool,
    stirred: Notify,
    /// Who waits, one behind the other.
    turns: tokio::sync::Mutex<()>,
    watch: OnceLock<Watch>,
}

#[derive(Debug, Default)]
struct News {
    list: Vec<(Action, String)>,
    /// Bytes of `list` on the wire, or a little more.
    len: usize,
    /// There was more than the client has room for: it has to look for itself.
    lost: bool,
    /// The first half of a rename.
    from: Option<NameEvent>,
}

/// Bytes of an entry beside its name, and what it may be padded by.
const ENTRY: usize = 16;

/// Answers at once if there is news, else when there is. Requests of one handle are answered in the order in which they came.
pub(super) fn notify(asked: &Asked) -> Answer {
    let begun = begin(asked);
    let (open, watching, max) = match begun {
        Ok(begun) => begun,
        Err(failure) => return Answer::from(Err(failure)),
    };
    let first = watching.turns.try_lock();
    if first.is_ok()
        && let Some(reply) = watching.take(max)
    {
        return Answer::from(reply);
    }
    drop(first);
    let give_up = asked.give_up.clone();
    Answer::Later(Box::pin(async move {
        tokio::select! {
            biased;
            reply = watching.news(max) => Done::from(reply),
            () = open.closed.cancelled() => Done::from(Err(NtStatus::NOTIFY_CLEANUP.into())),
            () = give_up.cancelled() => Done::from(Err(NtStatus::CANCELLED.into())),
        }
    }))
}

fn begin(asked: &Asked) -> Result<(Arc<Open>, Arc<Watching>, usize), Failure> {
    let request = ChangeNotifyRequest::decode(&asked.message)?;
    let most = asked.agreed().map_or(0, super::negotiate::Agreed::transfer_max);
    if request.output_buffer_length > most {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    if open.kind != FileKind::Dir || open.stream.is_some() {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    open.may(access::READ_DATA)?;
    let listener = &asked.connection.listener;
    if open.is_delete_pending(&listener.vserver) {
        return Err(NtStatus::DELETE_PENDING.into());
    }
    let volume = open.volume(&listener.vserver)?;
    let max = request.output_buffer_length as usize;
    let watching = open.watching.get_or_init(|| {
        let watching = Watching::begin(&volume, open.key.file, &request);
        listener.state.watched(open.key, &watching);
        watching
    });
    let watching = Arc::clone(watching);
    Ok((open, watching, max))
}

impl Watching {
    fn begin(volume: &Arc<Volume>, dir: FileId, request: &ChangeNotifyRequest) -> Arc<Watching> {
        let watching = Arc::new(Watching {
            dir,
            filter: request.completion_filter,
            tree: request.flags & WATCH_TREE != 0,
            max: request.output_buffer_length as usize,
            news: Mutex::default(),
            goes: AtomicBool::new(false),
            stirred: Notify::new(),
            turns: tokio::sync::Mutex::default(),
            watch: OnceLock::new(),
        });
        let (to, of) = (Arc::downgrade(&watching), Arc::downgrade(volume));
        let watch = volume.watch(move |event| {
            if let (Some(watching), Some(volume)) = (to.upgrade(), of.upgrade()) {
                watching.see(&volume, event);
            }
        });
        let _ = watching.watch.set(watch);
        watching
    }

    /// The directory is to go with its last handle: who waits for it waits for nothing.
    pub(super) fn end(&self) {
        self.goes.store(true, Ordering::Relaxed);
        self.stirred.notify_waiters();
    }

    /// What a client that has room for `max` bytes is told, when those before it were told.
    async fn news(&self, max: usize) -> Reply {
        let _turn = self.turns.lock().await;
        loop {
            let stirred = self.stirred.notified();
            if let Some(reply) = self.take(max) {
                return reply;
            }
            stirred.await;
        }
    }

    /// What a client that has room for `max` bytes is told now.
    fn take(&self, max: usize) -> Option<Reply> {
        if self.goes.load(Ordering::Relaxed) {
            return Some(Err(NtStatus::DELETE_PENDING.into()));
        }
        let mut news = self.news.lock();
        if news.list.is_empty() && !news.lost {
            return None;
        }
        let (list, lost) = (std::mem::take(&mut news.list), std::mem::take(&mut news.lost));
        news.len = 0;
        drop(news);
        let mut data = BytesMut::new();
        let mut entries = NotifyList::new(&data, max);
        let whole = !lost && list.iter().all(|(action, path)| entries.push(*action, path, &mut data));
        if !whole {
            data.clear();
        }
        let status = if whole { NtStatus::SUCCESS } else { NtStatus::NOTIFY_ENUM_DIR };
        Some(Ok(Body::of(|out| encode_output(&data, out)).with_status(status)))
    }

    fn see(&self, volume: &Volume, event: &Event) {
        let event = match event {
            Event::Name(event) => event,
            Event::Lost => return self.lose(),
        };
        match event.kind {
            EventKind::RenamedFrom => self.news.lock().from = Some(event.clone()),
            EventKind::RenamedTo => {
                let from = self.news.lock().from.take();
                let stays = from.as_ref().is_some_and(|from| from.dir == event.dir);
                let (gone, new) = if stays {
                    (Action::RenamedOldName, Action::RenamedNewName)
                } else {
                    (Action::Removed, Action::Added)
                };
                if let Some(from) = from {
                    self.tell(volume, &from, gone);
                }
                self.tell(volume, event, new);
                if !event.is_dir && event.stream.is_none() {
                    // Windows says so of files, and programs count on it.
                    let changed = Changed(Changed::ATTRIBUTES | Changed::CREATION);
                    let kind = EventKind::Modified(changed);
                    self.tell(volume, &NameEvent { kind, ..event.clone() }, Action::Modified);
                }
            }
            EventKind::Added => self.tell(volume, event, Action::Added),
            EventKind::Removed if event.file == self.dir && event.stream.is_none() => self.end(),
            EventKind::Removed => self.tell(volume, event, Action::Removed),
            EventKind::Modified(_) => self.tell(volume, event, Action::Modified),
        }
    }

    fn tell(&self, volume: &Volume, event: &NameEvent, action: Action) {
        let wanted = match (event.kind, &event.stream) {
            (EventKind::Modified(_), Some(_)) => filter::STREAM_SIZE | filter::STREAM_WRITE,
            (EventKind::Modified(changed), None) => changed.0,
            (_, Some(_)) => filter::STREAM_NAME,
            (_, None) if event.is_dir => filter::DIR_NAME,
            (_, None) => filter::FILE_NAME,
        };
        if self.filter & wanted == 0 {
            return;
        }
        let Some(mut path) = self.path(volume, event) else { return };
        let action = match (&event.stream, action) {
            (None, action) => action,
            (Some(stream), action) => {
                path = format!("{path}:{}", streams::shown(stream));
                match action {
                    Action::Added => Action::AddedStream,
                    Action::Removed => Action::RemovedStream,
                    Action::Modified => Action::ModifiedStream,
                    other => other,
                }
            }
        };
        let mut news = self.news.lock();
        let len = ENTRY + utf16_len(&path);
        // The same again says nothing new.
        if news.lost || news.list.last().is_some_and(|last| last.0 == action && last.1 == path) {
            return;
        }
        if news.len + len > self.max {
            drop(news);
            return self.lose();
        }
        news.len += len;
        news.list.push((action, path));
        drop(news);
        self.stirred.notify_one();
    }

    fn lose(&self) {
        let mut news = self.news.lock();
        let from = news.from.take();
        *news = News { lost: true, from, ..News::default() };
        drop(news);
        self.stirred.notify_one();
    }

    /// The path of what happened from the watched directory on, if it is in there.
    fn path(&self, volume: &Volume, event: &NameEvent) -> Option<String> {
        let name = mapping::to_client(&event.name).into_owned();
        if event.dir == self.dir {
            return Some(name);
        }
        if !self.tree {
            return None;
        }
        let mut names = vec![name];
        let Ok(up) = volume.path_of(event.dir) else {
            // The directory is gone, or elsewhere, since.
            self.lose();
            return None;
        };
        for (dir, name) in up {
            names.push(mapping::to_client(&name).into_owned());
            if dir == self.dir {
                names.reverse();
                return Some(names.join("\\"));
            }
        }
        None
    }
}
