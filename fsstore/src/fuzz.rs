//! Entry points for fuzzing: each gives bytes of a stranger to one decoder of the store.
//!
//! Only with the feature `fuzzing`. A decoder may refuse the bytes; it may not panic, go on for ever, or allocate by a
//! length that it has not checked. Checksums are made right first, for a stranger can do that too.

use crate::directory::{self, NameHash};
use crate::disk::Disk;
use crate::fold::fold_name;
use crate::fsinfo::{FsInfo, Role, decode_table, encode_table};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, Cookie, Fbn, FileId, Generation, InodeNum};
use crate::inode::{INODES_PER_PAGE, Inode};
use crate::io::Io;
use crate::layout::{FSINFO_BLOCKS, Page, TreeRoot, checksum};
use crate::mount::new_info;
use crate::nvlog::{self, fix_checksum};
use crate::op::{FileKind, NAME_MAX};
use crate::tree::{Edit, Ledger, page_from};
use crate::volume::VolumeSpec;
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::sync::Arc;
use uuid::Uuid;

/// Something to fuzz: its name and what runs it.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 6] = [
    ("fsinfo", fsinfo),
    ("log", log),
    ("records", records),
    ("directory", directory),
    ("inodes", inodes),
    ("snapshot_table", snapshot_table),
];

/// Most blocks of input that a target looks at.
const BLOCKS_MAX: usize = 64;

/// Bytes as a disk. Past their end it reads as zeros; what is written is forgotten.
struct Bytes(Mutex<Vec<u8>>);

impl Disk for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let there = &bytes[from..bytes.len().min(from.saturating_add(buf.len()))];
        buf.fill(0);
        buf[..there.len()].copy_from_slice(there);
        Ok(())
    }
    fn write_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

fn pages(bytes: &[u8]) -> impl Iterator<Item = Arc<Page>> {
    bytes.chunks(BLOCK_SIZE).take(BLOCKS_MAX).map(page_from)
}

/// An fsinfo block. What is accepted must come back the same when it is written and read again.
pub fn fsinfo(bytes: &[u8]) {
    let mut page = page_from(bytes);
    let page = Arc::make_mut(&mut page);
    let sum = checksum(&page[..BLOCK_SIZE - 8]);
    page[BLOCK_SIZE - 8..].copy_from_slice(&sum.to_le_bytes());
    if let Ok(info) = FsInfo::decode(page) {
        assert_eq!(FsInfo::decode(&info.encode()), Ok(info), "fsinfo does not come back");
    }
}

/// Both halves of an NVLOG, with right checksums over its batches.
pub fn log(bytes: &[u8]) {
    let half_blocks = bytes.len().div_ceil(BLOCK_SIZE).clamp(2, BLOCKS_MAX);
    let mut image = vec![0; BLOCK_SIZE * (2 + 2 * half_blocks)];
    let start = BLOCK_SIZE * 2;
    let len = bytes.len().min(image.len() - start);
    image[start..start + len].copy_from_slice(&bytes[..len]);
    fix_checksum(&mut image[start..]);
    let field =
        |at: usize| bytes.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap_or([0; 8])));
    let spec = VolumeSpec { uuid: Uuid::nil(), size_bytes: 1 << 30 };
    let Ok(info) = new_info(&spec, Role::Volume) else { return };
    let info = FsInfo {
        log_half_blocks: half_blocks as u64,
        log_id: field(8),
        log_seq: field(16).min(u64::MAX >> 2),
        ..info
    };
    assert_eq!(info.first_data(), FSINFO_BLOCKS + 2 * half_blocks as u64);
    let _ = nvlog::read(&Bytes(Mutex::new(image)), &info);
}

/// The records of a batch. What is accepted must come back the same when it is written and read again.
pub fn records(bytes: &[u8]) {
    let Some(records) = nvlog::decode_records(bytes) else { return };
    let mut again = Vec::new();
    records.iter().for_each(|record| record.encode(&mut again));
    assert!(nvlog::decode_records(&again) == Some(records), "records do not come back");
}

/// The pages of a directory: looked through, then changed.
pub fn directory(bytes: &[u8]) {
    let io = Io::new(Arc::new(Bytes(Mutex::default())), 1 << 20, 1 << 16);
    let mut ledger = Ledger::default();
    let mut edit = Edit { io: &io, generation: 1, ledger: &mut ledger };
    let mut dir = Inode::new(InodeNum(3), Generation(1));
    dir.kind = Some(FileKind::Dir);
    for (fbn, page) in pages(bytes).enumerate() {
        let _ = dir.tree.put_page(&mut edit, Fbn(fbn as u64), page);
        dir.size += BLOCK_SIZE_U64;
        dir.entries += 20;
    }
    dir.size = dir.size.max(BLOCK_SIZE_U64);
    for name in bytes.chunks(NAME_MAX).take(BLOCKS_MAX) {
        let folded = fold_name(name);
        assert!(fold_name(&folded) == folded && folded.len() <= name.len() * 3 / 2, "a name folds once");
    }
    let hash = NameHash::new(Uuid::nil());
    let mut known = Vec::new();
    let _ = directory::scan(&dir, &io, Cookie(0), &mut |entry| {
        known.push((entry.key, entry.name.to_vec()));
        if known.len() < 64 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let file = FileId::active(InodeNum(9), Generation(1));
    let _ = directory::lookup(&dir, &io, hash, b"name");
    for name in [&b"name"[..], &[b'x'; NAME_MAX], b"y"] {
        let _ = directory::insert(&mut dir, &mut edit, hash, name, file, FileKind::File);
    }
    for (key, name) in known {
        let _ = directory::lookup(&dir, &io, hash, &name);
        let _ = directory::lookup_folded(&dir, &io, hash, &name);
        let _ = directory::has_alike(&dir, &io, hash, &name, Some(key));
        let _ = directory::retarget(&mut dir, &mut edit, key, file, FileKind::Fifo);
        let _ = directory::remove(&mut dir, &mut edit, key);
    }
}

/// A page of the inode file. A tree that is accepted is walked, with every pointer refused.
pub fn inodes(bytes: &[u8]) {
    let io = Io::new(Arc::new(Bytes(Mutex::default())), 1 << 20, 1 << 16);
    for page in pages(bytes) {
        for slot in 0..INODES_PER_PAGE {
            let Ok(inode) = Inode::decode(InodeNum(slot), &page) else { continue };
            let (attr, last) = (inode.attr(), inode.size.saturating_sub(1));
            let _ = inode.stamp(attr.ctime);
            let _ = crate::read::read(&inode, &io, last, 2 * BLOCK_SIZE);
            let _ = crate::read::read(&inode, &io, 0, BLOCK_SIZE);
        }
    }
}

/// A snapshot table. What is accepted must come back the same when it is written and read again.
pub fn snapshot_table(bytes: &[u8]) {
    let here = (TreeRoot::default(), 0);
    let Some(entries) = decode_table(bytes, here.0, here.1) else { return };
    let again = encode_table(&entries);
    assert!(decode_table(&again, here.0, here.1) == Some(entries), "the table does not come back");
}
