//! Who watches a volume learns what its operations change, name by name, whatever protocol they came from.
//!
//! Events are put in line under the state's lock, so their order is that of the operations, and told without it by whichever thread
//! finds nobody else telling. Nobody waits for that. Without watchers an operation pays for one look at a counter.

use crate::error::{FsError, Result};
use crate::ids::{FileId, InodeNum};
use crate::inode::{Hidden, Inode};
use crate::io::Io;
use crate::op::{Attr, FileKind, ROOT, ROOT_INO};
use crate::record::Act;
use crate::state::State;
use crate::volume::Volume;
use crate::xattr::stream_of_entry;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What happened to a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Something happened to a name.
    Name(NameEvent),
    /// Anything may be different: a snapshot was restored, or there was more than could be told.
    Lost,
}

/// What happened to one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameEvent {
    /// The directory that has the name, or had it. [`Volume::path_of`] says where that is.
    pub dir: FileId,
    /// The name in it. Of a file with several names that is changed, the newest; if that is gone, nothing is told.
    pub name: Bytes,
    /// The file that it names, or named.
    pub file: FileId,
    /// Whether that is a directory.
    pub is_dir: bool,
    /// The named stream of the file that it happened to, if it was not the file itself.
    pub stream: Option<Bytes>,
    /// What happened.
    pub kind: EventKind,
}

/// What happens to names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is gone, and the next event says what the file is called now.
    RenamedFrom,
    /// It is what the file of the last event is called now.
    RenamedTo,
    /// What it names has changed.
    Modified(Changed),
}

/// What of a file has changed: the bits of MS-SMB2 §2.2.35 `FILE_NOTIFY_CHANGE_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changed(pub u32);

impl Changed {
    /// Mode, owner, group or DOS attributes.
    pub const ATTRIBUTES: u32 = 0x4;
    /// Size.
    pub const SIZE: u32 = 0x8;
    /// Last change of the content: also that there was one.
    pub const LAST_WRITE: u32 = 0x10;
    /// Last read.
    pub const LAST_ACCESS: u32 = 0x20;
    /// Creation.
    pub const CREATION: u32 = 0x40;
    /// Extended attributes.
    pub const EA: u32 = 0x80;
    /// Who may what: mode, owner, group or list.
    pub const SECURITY: u32 = 0x100;

    /// How `after` differs from `before`.
    fn between(before: &Attr, after: &Attr) -> u32 {
        let rights = |attr: &Attr| (attr.mode, attr.uid, attr.gid);
        [
            (rights(before) != rights(after), Self::ATTRIBUTES | Self::SECURITY),
            (before.dos != after.dos, Self::ATTRIBUTES),
            (before.size != after.size, Self::SIZE),
            (before.mtime != after.mtime, Self::LAST_WRITE),
            (before.atime != after.atime, Self::LAST_ACCESS),
            (before.btime != after.btime, Self::CREATION),
        ]
        .iter()
        .fold(0, |changed, (differs, bits)| if *differs { changed | bits } else { changed })
    }
}

/// Events that wait to be told, at the most. Who tells them is slower than those who make them then, and the rest is lost.
const WAITING_MAX: usize = 16 << 10;
/// Directories nest no deeper than this on the way up, or the volume is damaged.
const DEPTH_MAX: usize = 1 << 16;

type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Who watches a volume.
#[derive(Default)]
pub(crate) struct Watchers {
    count: AtomicUsize,
    observers: RwLock<Vec<Observer>>,
    waiting: Mutex<VecDeque<Event>>,
    telling: Mutex<()>,
}

impl Watchers {
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Puts events in line; the caller holds the volume's state.
    pub(crate) fn add(&self, events: impl IntoIterator<Item = Event>) {
        let mut waiting = self.waiting.lock();
        for event in events {
            if waiting.len() < WAITING_MAX {
                waiting.push_back(event);
            } else if waiting.back() != Some(&Event::Lost) {
                waiting.push_back(Event::Lost);
            }
        }
    }

    /// Tells what is in line, unless somebody does already. The caller holds no lock of the volume.
    pub(crate) fn tell(&self) {
        while self.any() && !self.waiting.lock().is_empty() {
            let Some(telling) = self.telling.try_lock() else { return };
            loop {
                let Some(event) = self.waiting.lock().pop_front() else { break };
                let observers = self.observers.read().clone();
                observers.iter().for_each(|observer| observer(&event));
            }
            drop(telling);
            // What was put in line since the last look, by somebody who found this one telling, is not left there.
        }
    }
}

/// Ends the watch when it is dropped. An event that is being told then may still arrive.
#[must_use]
pub struct Watch {
    watchers: Arc<Watchers>,
    observer: Observer,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watchers.count.fetch_sub(1, Ordering::Relaxed);
        self.watchers.observers.write().retain(|observer| !Arc::ptr_eq(observer, &self.observer));
        if !self.watchers.any() {
            self.watchers.waiting.lock().clear();
        }
    }
}

impl Volume {
    /// Calls `observer` with all that operations change from now on, as long as the [`Watch`] is kept: in the order in which they
    /// were applied, one event after the other, on the thread of an operation and outside of the volume's locks. It must not
    /// block, nor change the volume; it may look at it.
    pub fn watch(&self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Watch {
        let (watchers, observer) = (Arc::clone(&self.shared.watchers), Arc::new(observer) as Observer);
        watchers.observers.write().push(Arc::clone(&observer));
        watchers.count.fetch_add(1, Ordering::Relaxed);
        Watch { watchers, observer }
    }

    /// The way up from a file of the live file system: its directory and its name there, then the same of that directory, and so
    /// on up to an entry of the root. Nothing for the root itself. A stream's is that of its file; of a file with several
    /// names it is that of the newest.
    ///
    /// # Errors
    /// [`FsError::Stale`], [`FsError::NotFound`] if the newest name is gone, [`FsError::ReadOnly`] for a file of a snapshot.
    pub fn path_of(&self, file: FileId) -> Result<Vec<(FileId, Bytes)>> {
        let (mut st, io) = (self.shared.state.write(), &*self.shared.io);
        let mut at = st.file(io, file)?;
        if at.hidden != Hidden::No {
            at = st.load(io, at.parent)?;
        }
        let mut path = Vec::new();
        while at.ino != ROOT_INO {
            let (dir, name) = st.newest_name(io, &at)?.ok_or(FsError::NotFound)?;
            path.push((dir, name));
            if path.len() > DEPTH_MAX {
                return Err(FsError::Corrupt { ino: file.ino, vbn: crate::ids::Vbn(0) });
            }
            at = st.load(io, dir.ino)?;
        }
        Ok(path)
    }
}

/// What an operation is about to do, to be told once it is done.
pub(crate) struct Noted {
    events: Vec<Event>,
    touched: Option<Touched>,
}

/// A file that is about to be changed.
struct Touched {
    ino: InodeNum,
    before: Attr,
    /// What changes for certain.
    bits: u32,
}

impl Noted {
    /// Looks at what `act` will do. Keeps no inode: its tree would have to be copied to be changed.
    pub(crate) fn before(st: &mut State, io: &Io, act: &Act) -> Noted {
        let mut noted = Noted { events: Vec::new(), touched: None };
        if noted.look(st, io, act).is_err() {
            // What can't be read is no matter of an operation that does not need it.
            noted = Noted { events: vec![Event::Lost], touched: None };
        }
        noted
    }

    fn look(&mut self, st: &mut State, io: &Io, act: &Act) -> Result<()> {
        match act {
            Act::Make(make) => {
                let is_dir = make.kind == FileKind::Dir;
                self.name(st, io, make.dir, &make.name, (make.id, is_dir), EventKind::Added)?;
            }
            Act::Link { file, dir, name } => {
                let id = st.load(io, *file)?.id();
                self.name(st, io, *dir, name, (id, false), EventKind::Added)?;
            }
            Act::Unlink { dir, name } => self.entry(st, io, *dir, name, EventKind::Removed)?,
            Act::Rename { from_dir, from, to_dir, to } => {
                self.entry(st, io, *to_dir, to, EventKind::Removed)?;
                self.entry(st, io, *from_dir, from, EventKind::RenamedFrom)?;
                if let Some(Event::Name(moved)) = self.events.last().cloned() {
                    let what = (moved.file, moved.is_dir);
                    self.name(st, io, *to_dir, to, what, EventKind::RenamedTo)?;
                }
            }
            Act::SetAttr(set) => self.touch(st, io, set.file, 0)?,
            Act::Write(write) => self.touch(st, io, write.file, 0)?,
            Act::Share(share) => self.touch(st, io, share.to, 0)?,
            Act::Punch { file, .. } => self.touch(st, io, *file, 0)?,
            Act::SetAcl { file, .. } => self.touch(st, io, *file, Changed::SECURITY)?,
            Act::PutAttr(put) => {
                let kind = EventKind::Added;
                self.attribute(st, io, put.file, &put.name, kind)?;
            }
            Act::DropAttr { file, name } => self.attribute(st, io, *file, name, EventKind::Removed)?,
            Act::RenameAttr { file, from, to } => {
                let there = st.load(io, *file)?;
                let dir = st.attr_dir(io, &there)?.ok_or(FsError::NotFound)?;
                if st.find(io, &dir, to)?.is_some() {
                    self.attribute(st, io, *file, to, EventKind::Removed)?;
                }
                self.attribute(st, io, *file, from, EventKind::RenamedFrom)?;
                self.attribute(st, io, *file, to, EventKind::RenamedTo)?;
            }
            Act::SetQuota { .. } => {}
        }
        Ok(())
    }

    fn name(
        &mut self,
        st: &mut State,
        io: &Io,
        dir: InodeNum,
        name: &Bytes,
        (file, is_dir): (FileId, bool),
        kind: EventKind,
    ) -> Result<()> {
        let dir = st.load(io, dir)?.id();
        let (name, stream) = (name.clone(), None);
        self.events.push(Event::Name(NameEvent { dir, name, file, is_dir, stream, kind }));
        Ok(())
    }

    /// A name that is there.
    fn entry(&mut self, st: &mut State, io: &Io, dir: InodeNum, name: &Bytes, kind: EventKind) -> Result<()> {
        let parent = st.load(io, dir)?;
        let Some(target) = st.find(io, &parent, name)? else { return Ok(()) };
        drop(parent);
        self.name(st, io, dir, name, (target.file, target.kind == FileKind::Dir), kind)
    }

    fn touch(&mut self, st: &mut State, io: &Io, ino: InodeNum, bits: u32) -> Result<()> {
        let before = st.load(io, ino)?.attr();
        self.touched = Some(Touched { ino, before, bits });
        Ok(())
    }

    /// An extended attribute or a stream, by its entry's name.
    fn attribute(
        &mut self,
        st: &mut State,
        io: &Io,
        file: InodeNum,
        entry: &Bytes,
        kind: EventKind,
    ) -> Result<()> {
        let Some(stream) = stream_of_entry(entry) else { return self.touch(st, io, file, Changed::EA) };
        let file = st.load(io, file)?;
        self.events.extend(st.event_of(io, &file, Some(stream), kind)?);
        Ok(())
    }

    /// What there is to tell.
    pub(crate) fn after(mut self, st: &mut State, io: &Io) -> Vec<Event> {
        match self.touched.take().map_or(Ok(None), |touched| touched.event(st, io)) {
            Ok(event) => self.events.extend(event),
            Err(_) => self.events.push(Event::Lost),
        }
        self.events
    }
}

impl Touched {
    fn event(&self, st: &mut State, io: &Io) -> Result<Option<Event>> {
        let inode = st.load(io, self.ino)?;
        let changed = Changed(self.bits | Changed::between(&self.before, &inode.attr()));
        if changed == Changed::default() {
            return Ok(None);
        }
        if inode.hidden == Hidden::No {
            return st.event_of(io, &inode, None, EventKind::Modified(changed));
        }
        let stream = st.stream_name(io, &inode)?;
        let file = st.load(io, inode.parent)?;
        st.event_of(io, &file, stream, EventKind::Modified(changed))
    }
}

impl State {
    /// The newest name of a file and its directory, if it still has it; not for the root.
    fn newest_name(&mut self, io: &Io, inode: &Inode) -> Result<Option<(FileId, Bytes)>> {
        let dir = self.load(io, inode.parent)?;
        if inode.id() == ROOT || !dir.is_dir() {
            return Ok(None);
        }
        match crate::directory::name_of(&dir, io, inode.name_key) {
            Ok((name, file)) if file.ino == inode.ino => Ok(Some((dir.id(), name))),
            Ok(_) | Err(FsError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn event_of(
        &mut self,
        io: &Io,
        inode: &Inode,
        stream: Option<Bytes>,
        kind: EventKind,
    ) -> Result<Option<Event>> {
        let (file, is_dir) = (inode.id(), inode.is_dir());
        let named = self.newest_name(io, inode)?;
        Ok(named.map(|(dir, name)| Event::Name(NameEvent { dir, name, file, is_dir, stream, kind })))
    }

    /// What the stream `inode` is called.
    fn stream_name(&mut self, io: &Io, inode: &Inode) -> Result<Option<Bytes>> {
        let attrs = self.load(io, inode.parent)?.attrs;
        let entries = self.attr_entries(io, attrs)?;
        let own = entries.into_iter().find(|(_, file)| file.ino == inode.ino);
        Ok(own.and_then(|(entry, _)| stream_of_entry(&entry)))
    }
}
