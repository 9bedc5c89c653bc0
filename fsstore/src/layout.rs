//! Byte layouts shared by all on-disk structures: pages, block pointers, tree roots, the image root.
//!
//! All integers are little-endian. Nothing here does input or output.
//!
//! ```text
//! volume:   | fsinfo 0 | fsinfo 1 | NVLOG half 0 | NVLOG half 1 | blocks, written anywhere ... |
//! pointer:  | vbn u64 | sum u64 |                      vbn 0: a hole
//! index:    | pointer | x 256                          one page of a tree above the data
//! ```

use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, CpNumber, InodeNum, Lsn, Vbn};

/// One block in memory.
pub(crate) type Page = [u8; BLOCK_SIZE];

/// Pointers in one index page.
pub(crate) const FANOUT: usize = BLOCK_SIZE / POINTER_BYTES;
/// `FANOUT` where block numbers are computed.
pub(crate) const FANOUT_U64: u64 = FANOUT as u64;
/// Encoded size of a [`BlockPtr`].
pub(crate) const POINTER_BYTES: usize = 16;
/// Blocks 0 and 1.
pub(crate) const FSINFO_BLOCKS: u64 = 2;
/// Blocks that one page of the block map speaks of (128 MiB).
pub(crate) const MAP_BLOCKS_PER_PAGE: u64 = BLOCK_SIZE_U64 * 8;

/// Checksum of a block or record: CRC-64/NVME.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

/// An all-zero page.
pub(crate) const fn zero_page() -> Page {
    [0; BLOCK_SIZE]
}

/// Where a block stands and what its bytes sum to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct BlockPtr {
    pub(crate) vbn: Vbn,
    pub(crate) sum: u64,
}

impl BlockPtr {
    pub(crate) const HOLE: BlockPtr = BlockPtr { vbn: Vbn(0), sum: 0 };

    pub(crate) fn is_hole(self) -> bool {
        self.vbn == Vbn(0)
    }

    pub(crate) fn decode_at(page: &Page, slot: usize) -> BlockPtr {
        let mut reader = Reader::new(&page[slot * POINTER_BYTES..(slot + 1) * POINTER_BYTES]);
        reader.pointer()
    }

    pub(crate) fn encode_at(self, page: &mut Page, slot: usize) {
        let at = slot * POINTER_BYTES;
        page[at..at + 8].copy_from_slice(&self.vbn.0.to_le_bytes());
        page[at + 8..at + 16].copy_from_slice(&self.sum.to_le_bytes());
    }
}

/// Root of a tree of blocks as it stands on disk. Height 0: the root is the only data block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TreeRoot {
    pub(crate) height: u8,
    pub(crate) ptr: BlockPtr,
}

/// Everything that makes one consistency point: what fsinfo holds of the active image, and a snapshot keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ImageRoot {
    pub(crate) cp: CpNumber,
    /// Operations up to here are in the image.
    pub(crate) lsn: Lsn,
    pub(crate) inofile: TreeRoot,
    pub(crate) map: TreeRoot,
    /// Inode numbers from here up have never been used.
    pub(crate) next_ino: InodeNum,
    /// First of the chain of free inodes below `next_ino`; 0: none.
    pub(crate) free_ino: InodeNum,
    /// Inodes in use.
    pub(crate) files: u64,
    /// Blocks in use by this image.
    pub(crate) used_blocks: u64,
    /// Blocks ever allocated, a measure of change between two images.
    pub(crate) allocated_total: u64,
    /// Users beyond the first of shared blocks.
    pub(crate) refs: TreeRoot,
    /// Qtrees, quota rules, and what each user, group and qtree uses.
    pub(crate) quota: TreeRoot,
    /// Highest generation that a file has had.
    pub(crate) generation_max: u32,
    /// Lowest generation for new files: raised when a snapshot is restored.
    pub(crate) generation_floor: u32,
    /// Whether the image may use a block that an older snapshot has and a newer one has not.
    pub(crate) mixed: bool,
}

impl ImageRoot {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.u64(self.cp.0);
        out.u64(self.lsn.0);
        out.root(self.inofile);
        out.root(self.map);
        out.u64(self.next_ino.0);
        out.u64(self.free_ino.0);
        out.u64(self.files);
        out.u64(self.used_blocks);
        out.u64(self.allocated_total);
        out.root(self.refs);
        out.root(self.quota);
        out.u32(self.generation_max);
        out.u32(self.generation_floor);
        out.u64(u64::from(self.mixed));
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> ImageRoot {
        ImageRoot {
            cp: CpNumber(input.u64()),
            lsn: Lsn(input.u64()),
            inofile: input.root(),
            map: input.root(),
            next_ino: InodeNum(input.u64()),
            free_ino: InodeNum(input.u64()),
            files: input.u64(),
            used_blocks: input.u64(),
            allocated_total: input.u64(),
            refs: input.root(),
            quota: input.root(),
            generation_max: input.u32(),
            generation_floor: input.u32(),
            mixed: input.u64() != 0,
        }
    }

    /// Checksum of the root: since pointers carry checksums, it stands for every block of the image.
    pub(crate) fn sum(&self) -> u64 {
        let mut out = Writer::default();
        self.encode(&mut out);
        checksum(&out.0)
    }
}

/// Appends little-endian fields.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    pub(crate) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    /// A length of 32 bits and the bytes. Callers keep lengths far below 4 GiB.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.raw(bytes);
    }
    pub(crate) fn pointer(&mut self, ptr: BlockPtr) {
        self.u64(ptr.vbn.0);
        self.u64(ptr.sum);
    }
    pub(crate) fn root(&mut self, root: TreeRoot) {
        self.u64(u64::from(root.height));
        self.pointer(root.ptr);
    }
}

/// Takes little-endian fields. Past the end it gives zeros and [`Reader::ok`] turns false, so that a decoder
/// checks once, at its end.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    ok: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, ok: true }
    }
    /// Whether every field so far was there.
    pub(crate) fn ok(&self) -> bool {
        self.ok
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
    pub(crate) fn raw(&mut self, len: usize) -> &'a [u8] {
        if let Some((head, tail)) = self.rest.split_at_checked(len) {
            self.rest = tail;
            head
        } else {
            self.ok = false;
            self.rest = &[];
            &[]
        }
    }
    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.raw(N).try_into().unwrap_or([0; N])
    }
    pub(crate) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
    pub(crate) fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.array())
    }
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let len = self.u32();
        self.raw(len as usize)
    }
    pub(crate) fn pointer(&mut self) -> BlockPtr {
        BlockPtr { vbn: Vbn(self.u64()), sum: self.u64() }
    }
    pub(crate) fn root(&mut self) -> TreeRoot {
        let height = u8::try_from(self.u64()).unwrap_or(u8::MAX);
        TreeRoot { height, ptr: self.pointer() }
    }
}
