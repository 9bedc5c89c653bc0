//! The memory of volumes: one cache of what is clean, one account of what is dirty, and their limits.
//!
//! Volumes may share a `Memory`: then many volumes cost no more than one, and a busy one has what the idle ones leave. It knows
//! nothing of what is in a page, takes no lock of a volume, and never waits.

use crate::group::{Block, Group, GroupNum};
use crate::ids::{BLOCK_SIZE, InodeNum};
use crate::inode::Inode;
use crate::layout::{BlockPtr, Page};
use parking_lot::{Condvar, Mutex};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Least bytes of a cache: below, a volume could hardly find its way from the root to a block.
const CACHE_BYTES_MIN: u64 = 64 * PAGE_BYTES;
/// A page in the cache, in bytes.
const PAGE_BYTES: u64 = (BLOCK_SIZE + 64) as u64;
/// What the cache needs to find a group of pages, in bytes.
const GROUP_BYTES: u64 = 192;
/// The same of an inode.
const INODE_BYTES: u64 = (size_of::<Inode>() + 192) as u64;
/// An inode that waits for a CP, in bytes, as it may be in memory twice: as frozen and as changed since.
pub(crate) const DIRTY_INODE_BYTES: u64 = (2 * size_of::<Inode>() + 128) as u64;

/// The memory that one or more volumes may use. Clones are the same memory.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
}

/// What a volume runs with: made from a [`Tuning`](crate::Tuning), or from a [`Memory`] that it shares with others.
#[derive(Clone, Debug)]
pub struct Means {
    pub(crate) memory: Memory,
    pub(crate) threads: bool,
}

impl From<&Memory> for Means {
    /// A part of the memory, and threads of its own.
    fn from(memory: &Memory) -> Means {
        Means { memory: memory.clone(), threads: true }
    }
}

struct Inner {
    cache: Cache<Key, Item, Bytes>,
    dirty: AtomicU64,
    dirty_max: u64,
    owners: Mutex<Vec<Weak<dyn Dirty>>>,
    next_space: AtomicU64,
    /// Counts what operations may wait for: blocks written, CPs ended, batches flushed.
    events: Mutex<u64>,
    moved: Condvar,
}

/// What is in use of a [`Memory`], and its limits, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Clean blocks and inodes that can be had again from the disk.
    pub cache_bytes: u64,
    /// Most of them.
    pub cache_bytes_max: u64,
    /// Changes that no consistency point has written yet.
    pub dirty_bytes: u64,
    /// Most of them: operations are slowed down before, and wait when it is reached.
    pub dirty_bytes_max: u64,
}

/// A volume that has dirty memory.
pub(crate) trait Dirty: Send + Sync {
    /// Bytes that a CP which began now would write.
    fn dirty_bytes(&self) -> u64;
    /// Asks for that CP; does not wait.
    fn clean(&self);
}

/// Whose things: numbers are not used twice, so what a volume leaves in the cache is nobody else's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Space(u64);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Group(Space, GroupNum),
    Inode(Space, InodeNum),
}

#[derive(Clone)]
enum Item {
    Group(Arc<Group>),
    Inode(Arc<Inode>),
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Item> for Bytes {
    fn weight(&self, _: &Key, item: &Item) -> u64 {
        match item {
            Item::Group(group) => GROUP_BYTES + group.blocks() as u64 * PAGE_BYTES,
            Item::Inode(_) => INODE_BYTES,
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.usage().fmt(f)
    }
}

impl Memory {
    /// Memory of `cache_bytes` for what is clean (at least 64 blocks) and `dirty_bytes` for changes.
    pub fn new(cache_bytes: u64, dirty_bytes: u64) -> Memory {
        Memory::of(cache_bytes.max(CACHE_BYTES_MIN), dirty_bytes)
    }

    fn of(cache_bytes: u64, dirty_bytes: u64) -> Memory {
        // Between groups with all their blocks and groups with one.
        let items = usize::try_from(cache_bytes / (4 * PAGE_BYTES)).unwrap_or(usize::MAX);
        let inner = Inner {
            cache: Cache::with_weighter(items, cache_bytes, Bytes),
            dirty: AtomicU64::new(0),
            dirty_max: dirty_bytes,
            owners: Mutex::default(),
            next_space: AtomicU64::new(0),
            events: Mutex::new(0),
            moved: Condvar::new(),
        };
        Memory { inner: Arc::new(inner) }
    }

    /// What is in use now.
    pub fn usage(&self) -> MemoryUse {
        MemoryUse {
            cache_bytes: self.inner.cache.weight(),
            cache_bytes_max: self.inner.cache.capacity(),
            dirty_bytes: self.inner.dirty.load(Ordering::Relaxed),
            dirty_bytes_max: self.inner.dirty_max,
        }
    }

    pub(crate) fn dirty_max(&self) -> u64 {
        self.inner.dirty_max
    }

    pub(crate) fn dirty(&self) -> u64 {
        self.inner.dirty.load(Ordering::Relaxed)
    }

    /// A volume's dirty bytes were `from` and are `to`.
    pub(crate) fn account(&self, from: u64, to: u64) {
        // Wraps where it becomes less: the sum is right.
        self.inner.dirty.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
    }

    /// From now on the volume can be asked to clean up after itself.
    pub(crate) fn enlist(&self, owner: Weak<dyn Dirty>) {
        let mut owners = self.inner.owners.lock();
        owners.retain(|owner| owner.strong_count() > 0);
        owners.push(owner);
    }

    /// Asks the volume with the most dirty bytes for a CP.
    pub(crate) fn clean_most(&self) {
        let owners: Vec<_> = self.inner.owners.lock().iter().filter_map(Weak::upgrade).collect();
        if let Some(most) = owners.iter().max_by_key(|owner| owner.dirty_bytes()) {
            most.clean();
        }
    }

    /// What there is to wait for has got on.
    pub(crate) fn moved(&self) {
        *self.inner.events.lock() += 1;
        self.inner.moved.notify_all();
    }

    /// How often something has got on.
    pub(crate) fn events(&self) -> u64 {
        *self.inner.events.lock()
    }

    /// Waits until something has got on since there were `seen` events.
    pub(crate) fn wait(&self, seen: u64) {
        let mut events = self.inner.events.lock();
        while *events == seen {
            self.inner.moved.wait(&mut events);
        }
    }

    pub(crate) fn new_space(&self) -> Space {
        Space(self.inner.next_space.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn page(&self, space: Space, ptr: BlockPtr) -> Option<Arc<Page>> {
        self.group(space, GroupNum::of(ptr.vbn))?.get(ptr).map(Block::to_page)
    }

    pub(crate) fn keep_page(&self, space: Space, ptr: BlockPtr, page: Arc<Page>) {
        self.keep(space, GroupNum::of(ptr.vbn), std::iter::once((ptr, Block::Page(page))));
    }

    pub(crate) fn group(&self, space: Space, group: GroupNum) -> Option<Arc<Group>> {
        match self.inner.cache.get(&Key::Group(space, group)) {
            Some(Item::Group(group)) => Some(group),
            _ => None,
        }
    }

    /// Keeps blocks of that group. Of two that do so at once, one may lose: it will be read again.
    pub(crate) fn keep(
        &self,
        space: Space,
        group: GroupNum,
        blocks: impl ExactSizeIterator<Item = (BlockPtr, Block)>,
    ) {
        let old = self.group(space, group).unwrap_or_default();
        self.inner.cache.insert(Key::Group(space, group), Item::Group(Arc::new(old.with(blocks))));
    }

    pub(crate) fn inode(&self, space: Space, ino: InodeNum) -> Option<Arc<Inode>> {
        match self.inner.cache.get(&Key::Inode(space, ino)) {
            Some(Item::Inode(inode)) => Some(inode),
            _ => None,
        }
    }

    pub(crate) fn keep_inode(&self, space: Space, ino: InodeNum, inode: Arc<Inode>) {
        self.inner.cache.insert(Key::Inode(space, ino), Item::Inode(inode));
    }

    pub(crate) fn take_inode(&self, space: Space, ino: InodeNum) -> Option<Arc<Inode>> {
        match self.inner.cache.remove(&Key::Inode(space, ino)) {
            Some((_, Item::Inode(inode))) => Some(inode),
            _ => None,
        }
    }

    /// Forgets what a volume has in the cache.
    pub(crate) fn leave(&self, space: Space) {
        self.inner.cache.retain(|key, _| match key {
            Key::Group(of, _) | Key::Inode(of, _) => *of != space,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Context, CreateHow, FileDisk, Op, ROOT, SetAttrs, Stream, Time, Volume, VolumeSpec, XattrHow,
    };
    use bytes::Bytes as Data;

    /// The cache may drop what it was just given, so nothing that was loaded may be looked for there again.
    #[test]
    fn a_volume_works_with_a_cache_that_keeps_nothing() {
        let disk =
            Arc::new(FileDisk::create(&tempfile::tempdir().unwrap().path().join("v"), 64 << 20).unwrap());
        let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(1), size_bytes: 64 << 20 };
        let memory = Memory::of(1, 64 << 20);
        let means = Means { memory: memory.clone(), threads: false };
        let volume = Volume::create(disk, &spec, Time::default(), means).unwrap();
        let cx = Context::root(Time { secs: 1000, nanos: 0 });
        let run = |op| {
            let done = volume.execute(&cx, op).unwrap();
            volume.consistency_point().unwrap();
            assert_eq!(memory.usage().cache_bytes, 0);
            done.object.after
        };
        let name = Data::from_static(b"a");
        let dir = run(Op::Mkdir { dir: ROOT, name: name.clone(), attrs: SetAttrs::default() }).id;
        let how = CreateHow::Guarded(SetAttrs { mode: Some(0o640), ..SetAttrs::default() });
        let file = run(Op::Create { dir, name: name.clone(), how }).id;
        let stream = run(Op::MakeStream { file, name: name.clone(), guarded: false }).id;
        let data = Data::from(vec![7; 300_000]);
        for file in [file, stream] {
            let written = run(Op::Write { file, offset: 0, data: data.clone() });
            assert_eq!((written.size, written.mode), (300_000, 0o640));
            assert_eq!(volume.read(&cx, file, 0, 400_000).unwrap().data.to_vec(), data);
        }
        let value = Data::from_static(b"v");
        run(Op::SetXattr {
            file,
            name: Data::from_static(b"user.x"),
            value: value.clone(),
            how: XattrHow::Either,
        });
        assert_eq!(volume.xattr(&cx, file, b"user.x").unwrap(), value);
        let attr = volume.getattr(stream).unwrap();
        assert_eq!(volume.streams(file).unwrap(), [Stream { name: name.clone(), attr }]);
        run(Op::RemoveStream { file, name: name.clone() });
        run(Op::Remove { dir, name: name.clone() });
        run(Op::Rmdir { dir: ROOT, name });
        assert_eq!(volume.statfs().files, 1);
    }
}
