//! A disk in memory, and changes of single fields on it with every checksum above made right again.

use crate::blockmap::place;
use crate::check::image::root_of;
use crate::cp::sharing::REFS_PER_PAGE;
use crate::disk::Disk;
use crate::fsinfo::{FsInfo, encode_table, read_table};
use crate::ids::{BLOCK_SIZE_U64, Fbn, InodeNum, Vbn};
use crate::inode::{self, INODE_BYTES, Inode};
use crate::io::Io;
use crate::layout::{BlockPtr, FANOUT_U64, Page, TreeRoot, checksum, zero_page};
use crate::tree::{Found, Tree, page_from};
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A disk in memory that can be told to fail.
pub(super) struct MemDisk {
    bytes: Mutex<Vec<u8>>,
    /// Calls that still succeed, of reads, of writes, of flushes.
    pub(super) reads_left: AtomicU64,
    pub(super) writes_left: AtomicU64,
    pub(super) flushes_left: AtomicU64,
}

fn spend(left: &AtomicU64) -> io::Result<()> {
    let spent = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    spent.map(drop).map_err(|_| io::Error::from_raw_os_error(5))
}

impl MemDisk {
    pub(super) fn new(bytes: u64) -> Arc<MemDisk> {
        Self::of(vec![0; usize::try_from(bytes).unwrap()])
    }

    pub(super) fn of(bytes: Vec<u8>) -> Arc<MemDisk> {
        let ever = || AtomicU64::new(u64::MAX);
        let bytes = Mutex::new(bytes);
        Arc::new(MemDisk { bytes, reads_left: ever(), writes_left: ever(), flushes_left: ever() })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().clone()
    }

    /// Turns over one bit of a block.
    pub(super) fn flip(&self, vbn: Vbn, bit: u64) {
        let at = usize::try_from(vbn.0 * BLOCK_SIZE_U64 + bit / 8).unwrap();
        self.bytes.lock()[at] ^= 1 << (bit % 8);
    }
}

impl Disk for MemDisk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        spend(&self.reads_left)?;
        let bytes = self.bytes.lock();
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(bytes.get(at..at + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        spend(&self.writes_left)?;
        let mut at = usize::try_from(offset).unwrap();
        let mut bytes = self.bytes.lock();
        for buf in bufs {
            bytes[at..at + buf.len()].copy_from_slice(buf);
            at += buf.len();
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        spend(&self.flushes_left)
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

/// Changes what is on a disk that nobody has mounted.
pub(super) struct Surgeon {
    pub(super) disk: Arc<MemDisk>,
    pub(super) info: FsInfo,
}

impl Surgeon {
    pub(super) fn new(disk: Arc<MemDisk>) -> Surgeon {
        let info = FsInfo::read(&*disk).unwrap();
        Surgeon { disk, info }
    }

    pub(super) fn io(&self) -> Io {
        Io::new(self.disk.clone(), self.info.blocks, 1 << 20)
    }

    /// Makes the changes the volume's state.
    pub(super) fn done(&mut self) {
        self.info.write(&*self.disk).unwrap();
    }

    fn read(&self, vbn: Vbn) -> Page {
        let mut page = zero_page();
        self.disk.read_at(&mut page, vbn.0 * BLOCK_SIZE_U64).unwrap();
        page
    }

    fn rewrite(&self, vbn: Vbn, edit: impl FnOnce(&mut Page)) -> BlockPtr {
        let mut page = self.read(vbn);
        edit(&mut page);
        self.disk.write_at(&[IoSlice::new(&page)], vbn.0 * BLOCK_SIZE_U64).unwrap();
        BlockPtr { vbn, sum: checksum(&page) }
    }

    /// Changes the node of a tree at `level` above block `fbn`, in place.
    fn edit_node(&self, root: TreeRoot, fbn: u64, level: u8, edit: &mut dyn FnMut(&mut Page)) -> TreeRoot {
        let ptr = self.edit_below(root.ptr, root.height, fbn, level, edit);
        TreeRoot { ptr, ..root }
    }

    fn edit_below(
        &self,
        ptr: BlockPtr,
        at: u8,
        fbn: u64,
        level: u8,
        edit: &mut dyn FnMut(&mut Page),
    ) -> BlockPtr {
        if at == level {
            return self.rewrite(ptr.vbn, edit);
        }
        let slot = usize::try_from(fbn / FANOUT_U64.pow(u32::from(at) - 1) % FANOUT_U64).unwrap();
        let below = BlockPtr::decode_at(&self.read(ptr.vbn), slot);
        let below = self.edit_below(below, at - 1, fbn, level, edit);
        self.rewrite(ptr.vbn, |page| below.encode_at(page, slot))
    }

    pub(super) fn inode(&self, ino: InodeNum) -> Inode {
        let tree = Tree::from_root(self.info.image.inofile).unwrap();
        Inode::load(&tree, &self.io(), ino).unwrap().unwrap()
    }

    /// Changes an inode, and where its tree stands.
    pub(super) fn edit_inode(&mut self, ino: InodeNum, edit: impl FnOnce(&mut Inode, &mut TreeRoot)) {
        let mut inode = self.inode(ino);
        let mut root = root_of(&inode.tree);
        edit(&mut inode, &mut root);
        let bytes = inode.encode(root);
        self.edit_inode_bytes(ino, |slot| slot.copy_from_slice(&bytes));
    }

    pub(super) fn edit_inode_bytes(&mut self, ino: InodeNum, edit: impl Fn(&mut [u8])) {
        let (fbn, at) = inode::place(ino);
        self.info.image.inofile = self.edit_node(self.info.image.inofile, fbn.0, 0, &mut |page| {
            edit(&mut page[at..at + INODE_BYTES]);
        });
    }

    /// Changes a node of a file's tree.
    pub(super) fn edit_file(&mut self, ino: InodeNum, fbn: u64, level: u8, mut edit: impl FnMut(&mut Page)) {
        let root = self.edit_node(root_of(&self.inode(ino).tree), fbn, level, &mut edit);
        self.edit_inode(ino, |_, tree| *tree = root);
    }

    /// Changes the bit of a block in the active image's map.
    pub(super) fn flip_map(&mut self, vbn: Vbn) {
        self.info.image.map = self.flipped(self.info.image.map, vbn);
    }

    /// Says how many users beyond the first a block of the active image has.
    pub(super) fn set_extra_users(&mut self, vbn: Vbn, extra: u8) {
        let at = usize::try_from(vbn.0 % REFS_PER_PAGE).unwrap() * 4;
        let page = vbn.0 / REFS_PER_PAGE;
        self.info.image.refs = self.edit_node(self.info.image.refs, page, 0, &mut |page| page[at] = extra);
    }

    /// Changes a page of the active image's quota tree.
    pub(super) fn edit_quotas(&mut self, fbn: u64, mut edit: impl FnMut(&mut Page)) {
        self.info.image.quota = self.edit_node(self.info.image.quota, fbn, 0, &mut edit);
    }

    fn flipped(&self, map: TreeRoot, vbn: Vbn) -> TreeRoot {
        let (fbn, bit) = place(vbn);
        self.edit_node(map, fbn.0, 0, &mut |page| page[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8))
    }

    /// The same in the map of the newest snapshot.
    pub(super) fn flip_snapshot_map(&mut self, vbn: Vbn) {
        let mut snaps = read_table(self.info.table, self.info.table_len, &self.io()).unwrap();
        let newest = snaps.last_mut().unwrap();
        newest.image.map = self.flipped(newest.image.map, vbn);
        // As it was written: an entry can't hold the checksum of its own table.
        (newest.table, newest.table_len) = (TreeRoot::default(), 0);
        let bytes = encode_table(&snaps);
        self.info.table.ptr =
            self.rewrite(self.info.table.ptr.vbn, |page| page.copy_from_slice(&page_from(&bytes)[..]));
    }

    /// Where block `fbn` of a file stands.
    pub(super) fn block_of(&self, ino: InodeNum, fbn: u64) -> BlockPtr {
        let mut at = BlockPtr::HOLE;
        let mut visit = |_, found| {
            if let Found::Disk(ptr) = found {
                at = ptr;
            }
            Ok(())
        };
        self.inode(ino).tree.for_range(&self.io(), Fbn(fbn), 1, &mut visit).unwrap();
        at
    }

    /// A block that nothing uses.
    pub(super) fn free_block(&self) -> Vbn {
        Vbn(self.info.blocks - 10)
    }
}
