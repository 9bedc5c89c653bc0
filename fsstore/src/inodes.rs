//! The inodes of the active image in memory: changed since the last freeze, frozen by the running CP, or clean in the cache.
//!
//! An inode is looked for in this order, and then in the committed inode file. A freeze moves one table, whatever its size.
//! What is in the cache is what the committed inode file says: it goes there and is taken out only under the state's lock.

use crate::error::Result;
use crate::ids::InodeNum;
use crate::inode::Inode;
use crate::memory::{Memory, Space};
use std::collections::HashMap;
use std::sync::Arc;

/// Numbers that the volume itself gave: a quick hash will do.
pub(crate) type InodeMap = HashMap<InodeNum, Arc<Inode>, foldhash::fast::RandomState>;

pub(crate) struct Inodes {
    /// Changed: the next CP writes them.
    dirty: InodeMap,
    /// What the running CP writes, as it was then.
    frozen: Arc<InodeMap>,
    memory: Memory,
    space: Space,
}

impl Inodes {
    pub(crate) fn new(memory: Memory) -> Inodes {
        let space = memory.new_space();
        Inodes { dirty: InodeMap::default(), frozen: Arc::default(), memory, space }
    }

    /// An inode that is in memory.
    pub(crate) fn get(&self, ino: InodeNum) -> Option<Arc<Inode>> {
        let changed = self.dirty.get(&ino).or_else(|| self.frozen.get(&ino));
        changed.cloned().or_else(|| self.memory.inode(self.space, ino))
    }

    /// Keeps what was just read from the committed inode file.
    pub(crate) fn keep(&self, ino: InodeNum, inode: Arc<Inode>) {
        self.memory.keep_inode(self.space, ino, inode);
    }

    /// A new inode.
    pub(crate) fn insert(&mut self, ino: InodeNum, inode: Inode) {
        self.memory.take_inode(self.space, ino);
        self.dirty.insert(ino, Arc::new(inode));
    }

    /// An inode to change, which `load` reads if it is not in memory.
    pub(crate) fn change(
        &mut self,
        ino: InodeNum,
        load: impl FnOnce() -> Result<Arc<Inode>>,
    ) -> Result<&mut Inode> {
        let found = match self.dirty.get(&ino) {
            Some(_) => None,
            None => Some(match self.frozen.get(&ino) {
                Some(inode) => inode.clone(),
                None => self.memory.take_inode(self.space, ino).map_or_else(load, Ok)?,
            }),
        };
        let entry = self.dirty.entry(ino);
        let inode = match found {
            Some(inode) => entry.or_insert(inode),
            None => entry.or_insert_with(|| unreachable!("it was there")),
        };
        Ok(Arc::make_mut(inode))
    }

    /// How many the next CP has to write.
    pub(crate) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// What was changed, for a CP to write.
    pub(crate) fn freeze(&mut self) -> Arc<InodeMap> {
        self.frozen = Arc::new(std::mem::take(&mut self.dirty));
        self.frozen.clone()
    }

    /// The CP is done: the committed inode file has what was frozen.
    pub(crate) fn thaw(&mut self) {
        self.frozen = Arc::default();
    }

    /// The changed inode, if it was changed since the freeze.
    pub(crate) fn changed(&mut self, ino: InodeNum) -> Option<&mut Arc<Inode>> {
        self.dirty.get_mut(&ino)
    }

    pub(crate) fn is_changed(&self, ino: InodeNum) -> bool {
        self.dirty.contains_key(&ino)
    }

    /// Forgets everything: another image is the active one.
    pub(crate) fn clear(&mut self) {
        self.dirty.clear();
        self.frozen = Arc::default();
        self.memory.leave(self.space);
        self.space = self.memory.new_space();
    }
}

impl Drop for Inodes {
    fn drop(&mut self) {
        self.memory.leave(self.space);
    }
}
