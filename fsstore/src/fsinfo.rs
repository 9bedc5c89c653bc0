//! The two fsinfo blocks, written in turn: the only blocks that are ever overwritten in place.
//!
//! The newer valid one is the volume's state. It also says where the NVLOG goes on from the image it names.

use crate::blockmap::map_height;
use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, SnapshotId};
use crate::io::Io;
use crate::layout::{FSINFO_BLOCKS, ImageRoot, Page, Reader, TreeRoot, Writer, checksum, zero_page};
use crate::op::Time;
use crate::resize::BLOCKS_MAX;
use crate::snapshot::SnapshotMaker;
use crate::tree::Tree;
use uuid::Uuid;

const MAGIC: &[u8; 8] = b"FERRYVOL";
/// Format version. Another one is refused but for the last: its inodes have zeros, and its log records nothing, where this one has
/// DOS attributes. It becomes this one when it is mounted.
const VERSION: u32 = 5;
/// Most snapshots of a volume.
pub(crate) const SNAPSHOTS_MAX: usize = 255;

/// Whether a volume takes changes of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Mounted here.
    Volume,
    /// Only receives its source's blocks.
    Replica,
}

/// What an fsinfo block says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FsInfo {
    pub(crate) uuid: Uuid,
    pub(crate) blocks: u64,
    pub(crate) role: Role,
    /// Raised with each write of an fsinfo block.
    pub(crate) serial: u64,
    /// Blocks of each half of the NVLOG.
    pub(crate) log_half_blocks: u64,
    /// Distinguishes this mount's log records from all older ones.
    pub(crate) log_id: u64,
    /// Half and batch number with which the log goes on after the image.
    pub(crate) log_half: u8,
    pub(crate) log_seq: u64,
    pub(crate) image: ImageRoot,
    /// The snapshot table and its length in bytes.
    pub(crate) table: TreeRoot,
    pub(crate) table_len: u32,
    pub(crate) next_snapshot: SnapshotId,
    /// Blocks that only snapshots hold.
    pub(crate) snapshot_only: u64,
    /// Keys the hash that orders directories: the UUID of the volume that the directories were made in. A clone has
    /// a UUID of its own and its parent's directories.
    pub(crate) name_key: Uuid,
    /// Set while blocks of this volume are in the file of another.
    pub(crate) base: Option<CloneBase>,
    /// In the table, but not there: their source deleted them after the table was written, so a replica never got their
    /// blocks. The next table that is written is without them.
    pub(crate) gone: Vec<SnapshotId>,
}

/// What a clone has of its parent: the blocks of one snapshot, which stay in the parent's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CloneBase {
    /// UUID of the parent.
    pub(crate) parent: Uuid,
    /// The parent's snapshot.
    pub(crate) snapshot: SnapshotId,
    /// Block map of that snapshot: it says which blocks are the parent's, and is itself among them.
    pub(crate) map: TreeRoot,
    /// A split has durably copied the blocks below this number to the clone's own file.
    pub(crate) copied: u64,
}

/// Blocks of each log half for a volume of `blocks`: a 32nd of it, 256 KiB to 64 MiB.
pub(crate) fn log_half_blocks(blocks: u64) -> u64 {
    (blocks / 32).clamp(64, 16_384)
}

impl FsInfo {
    /// First block behind the NVLOG.
    pub(crate) fn first_data(&self) -> u64 {
        FSINFO_BLOCKS + 2 * self.log_half_blocks
    }

    /// Fills the NVLOG's place with zeros, so that a flush of the log never waits for the host to find blocks.
    pub(crate) fn format_log(&self, disk: &dyn Disk) -> Result<()> {
        let zeros = vec![0; BLOCK_SIZE * 256];
        let end = self.first_data();
        let mut block = FSINFO_BLOCKS;
        while block < end {
            let count = (end - block).min(256);
            let part = &zeros[..usize::try_from(count).unwrap_or(0) * BLOCK_SIZE];
            disk.write_at(&[std::io::IoSlice::new(part)], block * BLOCK_SIZE_U64)?;
            block += count;
        }
        Ok(())
    }

    /// Blocks for data and metadata.
    pub(crate) fn data_blocks(&self) -> u64 {
        self.blocks - self.first_data()
    }

    pub(crate) fn encode(&self) -> Page {
        let mut out = Writer(Vec::with_capacity(BLOCK_SIZE));
        out.raw(MAGIC);
        out.u32(VERSION);
        out.u8(match self.role {
            Role::Volume => 1,
            Role::Replica => 2,
        });
        out.u8(self.log_half);
        out.u16(0);
        out.raw(self.uuid.as_bytes());
        out.u64(self.blocks);
        out.u64(self.serial);
        out.u64(self.log_half_blocks);
        out.u64(self.log_id);
        out.u64(self.log_seq);
        self.image.encode(&mut out);
        out.root(self.table);
        out.u32(self.table_len);
        out.u64(self.next_snapshot.0);
        out.u64(self.snapshot_only);
        out.raw(self.name_key.as_bytes());
        out.u8(u8::from(self.base.is_some()));
        if let Some(base) = &self.base {
            out.raw(base.parent.as_bytes());
            out.u64(base.snapshot.0);
            out.root(base.map);
            out.u64(base.copied);
        }
        out.u16(u16::try_from(self.gone.len()).unwrap_or(0));
        self.gone.iter().for_each(|id| out.u64(id.0));
        let mut page = zero_page();
        page[..out.0.len()].copy_from_slice(&out.0);
        let sum = checksum(&page[..BLOCK_SIZE - 8]);
        page[BLOCK_SIZE - 8..].copy_from_slice(&sum.to_le_bytes());
        page
    }

    /// # Errors
    /// [`FsError::Format`] that says what is wrong.
    pub(crate) fn decode(page: &[u8]) -> Result<FsInfo> {
        let bad = |what: &str| FsError::Format(what.to_owned());
        let (body, sum) = page.split_at_checked(BLOCK_SIZE - 8).ok_or_else(|| bad("fsinfo too short"))?;
        if &body[..8] != MAGIC {
            return Err(bad("no fsinfo magic"));
        }
        if sum != checksum(body).to_le_bytes() {
            return Err(bad("fsinfo checksum does not match"));
        }
        let mut input = Reader::new(&body[8..]);
        let version = input.u32();
        if !(VERSION - 1..=VERSION).contains(&version) {
            let words = format!("format version {version}; this program knows {} and {VERSION}", VERSION - 1);
            return Err(FsError::Format(words));
        }
        let role = match input.u8() {
            1 => Role::Volume,
            2 => Role::Replica,
            _ => return Err(bad("unknown role")),
        };
        let log_half = input.u8() & 1;
        input.u16();
        let uuid = Uuid::from_slice(input.raw(16)).unwrap_or_default();
        let mut info = FsInfo {
            uuid,
            role,
            log_half,
            blocks: input.u64(),
            serial: input.u64(),
            log_half_blocks: input.u64(),
            log_id: input.u64(),
            log_seq: input.u64(),
            image: ImageRoot::decode(&mut input),
            table: input.root(),
            table_len: input.u32(),
            next_snapshot: SnapshotId(input.u64()),
            snapshot_only: input.u64(),
            name_key: Uuid::from_slice(input.raw(16)).unwrap_or_default(),
            base: None,
            gone: Vec::new(),
        };
        info.base = match input.u8() {
            0 => None,
            1 => Some(CloneBase {
                parent: Uuid::from_slice(input.raw(16)).unwrap_or_default(),
                snapshot: SnapshotId(input.u64()),
                map: input.root(),
                copied: input.u64(),
            }),
            _ => return Err(bad("unknown kind of base")),
        };
        let gone = usize::from(input.u16());
        if gone > SNAPSHOTS_MAX {
            return Err(bad("too many snapshots"));
        }
        info.gone.extend((0..gone).map(|_| SnapshotId(input.u64())));
        let sane = info.log_half_blocks >= 2
            && info.log_half_blocks < 1 << 32
            && info.blocks < 1 << 50
            && info.blocks > info.first_data()
            // A volume that has shrunk keeps the map that it had.
            && info.image.map.height <= map_height(BLOCKS_MAX)
            // Numbers that count up are far from their ends.
            && [info.serial, info.log_seq, info.image.cp.0, info.image.lsn.0].iter().all(|n| *n < 1 << 62)
            && [info.image.next_ino.0, info.next_snapshot.0, info.image.allocated_total].iter().all(|n| *n < 1 << 62)
            && info.base.is_none_or(|base| base.map.height <= map_height(BLOCKS_MAX))
            && info.image.used_blocks <= info.blocks
            && info.snapshot_only <= info.blocks;
        if sane { Ok(info) } else { Err(bad("impossible geometry")) }
    }

    /// The newer valid copy.
    pub(crate) fn read(disk: &dyn Disk) -> Result<FsInfo> {
        let mut best: Result<FsInfo> = Err(FsError::Format("empty".to_owned()));
        for block in 0..FSINFO_BLOCKS {
            let mut page = zero_page();
            disk.read_at(&mut page, block * BLOCK_SIZE_U64)?;
            match (FsInfo::decode(&page), &best) {
                (Ok(info), Ok(other)) if info.serial <= other.serial => {}
                (Ok(info), _) => best = Ok(info),
                (Err(_), Ok(_)) => {}
                (Err(error), Err(_)) => best = Err(error),
            }
        }
        best
    }

    /// Writes this state as the newest, durable when it returns. Everything it points to is durable already.
    pub(crate) fn write(&mut self, disk: &dyn Disk) -> Result<()> {
        self.serial += 1;
        let page = self.encode();
        disk.write_at(&[std::io::IoSlice::new(&page)], self.serial % FSINFO_BLOCKS * BLOCK_SIZE_U64)?;
        disk.flush()?;
        Ok(())
    }
}

/// One entry of the snapshot table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SnapEntry {
    pub(crate) id: SnapshotId,
    pub(crate) name: String,
    pub(crate) created: Time,
    pub(crate) maker: SnapshotMaker,
    pub(crate) image: ImageRoot,
    /// The table as it was written with this snapshot. In that very table it is still empty: a block can't
    /// hold its own checksum; a reader fills it in from fsinfo.
    pub(crate) table: TreeRoot,
    pub(crate) table_len: u32,
    /// Blocks that only older snapshots held when it was taken.
    pub(crate) snapshot_only: u64,
}

impl SnapEntry {
    /// The block map of its image.
    pub(crate) fn block_map(&self) -> Result<Tree> {
        Tree::from_root(self.image.map)
    }
}

/// The table's bytes. Their number depends on the names alone.
pub(crate) fn encode_table(entries: &[SnapEntry]) -> Vec<u8> {
    let mut out = Writer::default();
    for entry in entries {
        out.u64(entry.id.0);
        out.bytes(entry.name.as_bytes());
        out.i64(entry.created.secs);
        out.u32(entry.created.nanos);
        out.u8(entry.maker.code());
        entry.image.encode(&mut out);
        out.root(entry.table);
        out.u32(entry.table_len);
        out.u64(entry.snapshot_only);
    }
    out.0
}

/// Reads a snapshot table.
///
/// # Errors
/// [`FsError::Format`] for a damaged one, and the disk's.
pub(crate) fn read_table(table: TreeRoot, table_len: u32, io: &Io) -> Result<Vec<SnapEntry>> {
    let tree = Tree::from_root(table)?;
    let len = table_len as usize;
    let corrupt = || FsError::Format("damaged snapshot table".to_owned());
    if len > SNAPSHOTS_MAX * 1024 {
        return Err(corrupt());
    }
    let mut bytes = Vec::with_capacity(len);
    for fbn in 0..len.div_ceil(BLOCK_SIZE) {
        let page = tree.page(io, crate::ids::Fbn(fbn as u64))?.ok_or_else(corrupt)?;
        bytes.extend_from_slice(&page[..]);
    }
    bytes.truncate(len);
    decode_table(&bytes, table, table_len).ok_or_else(corrupt)
}

/// The entries of a table's bytes; `table` and `table_len` are what fsinfo says of the table itself.
pub(crate) fn decode_table(bytes: &[u8], table: TreeRoot, table_len: u32) -> Option<Vec<SnapEntry>> {
    let mut input = Reader::new(bytes);
    let mut entries: Vec<SnapEntry> = Vec::new();
    while !input.is_empty() {
        if entries.len() == SNAPSHOTS_MAX {
            return None;
        }
        let id = SnapshotId(input.u64());
        let name = String::from_utf8_lossy(input.bytes()).into_owned();
        let created = Time { secs: input.i64(), nanos: input.u32() };
        let maker = SnapshotMaker::from_code(input.u8())?;
        let image = ImageRoot::decode(&mut input);
        let own = (input.root(), input.u32());
        let (table, table_len) = if own.1 == 0 { (table, table_len) } else { own };
        let snapshot_only = input.u64();
        let entry = SnapEntry { id, name, created, maker, image, table, table_len, snapshot_only };
        entries.push(entry);
    }
    let ascending = entries.windows(2).all(|pair| pair[0].id < pair[1].id);
    (input.ok() && ascending).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::new_info;
    use crate::volume::VolumeSpec;

    #[test]
    fn a_volume_of_another_format_is_refused_by_its_number_and_the_last_one_taken() {
        let info = new_info(&VolumeSpec { uuid: Uuid::nil(), size_bytes: 1 << 30 }, Role::Volume).unwrap();
        let of_version = |version: u32| {
            let mut page = info.encode();
            page[8..12].copy_from_slice(&version.to_le_bytes());
            let sum = checksum(&page[..BLOCK_SIZE - 8]);
            page[BLOCK_SIZE - 8..].copy_from_slice(&sum.to_le_bytes());
            FsInfo::decode(&page)
        };
        assert_eq!(of_version(4), Ok(info.clone()));
        for version in [3, 6] {
            let words = format!("format version {version}; this program knows 4 and 5");
            assert_eq!(of_version(version), Err(FsError::Format(words)));
        }
    }
}
