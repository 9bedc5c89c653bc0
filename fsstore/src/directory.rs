//! Directories: a B+ tree in the blocks of the directory's file, ordered by keyed hashes of the name.
//!
//! The key of an entry is 63 bits (`names.rs` draws them): hashes of the folded name and of the name, and what tells colliding
//! names apart. It never changes, so it is also the READDIR cookie. Block 0 is the root. The hashes are keyed by the
//! volume's UUID, which clients don't see whole, so they can't choose names that collide.
//!
//! ```text
//! page:     | kind u8 | 0 u8 | count u16 | end u16 | 0 u16 | body ...            kind 0 or 1: leaf, 2: interior
//! leaf:     | key u64 | ino u64 | generation u32 | file kind u8 | length u8 | name |  in key order, up to `end`
//! interior: | lowest key u64 | fbn u64 |                                             in key order
//! ```

mod names;
#[cfg(test)]
mod tests;

pub(crate) use names::{COLLISIONS, NameHash, NameKey, Target, has_alike, lookup, lookup_folded};

use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, Cookie, Fbn, FileId, Generation, InodeNum, Vbn};
use crate::inode::{Inode, kind_code, kind_from};
use crate::io::Io;
use crate::layout::{Page, Reader};
use crate::op::{FILE_SIZE_MAX, FileKind};
use crate::tree::Edit;
use bytes::Bytes;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

pub(crate) const HEAD: usize = 8;
const ENTRY_HEAD: usize = 22;
const CHILD: usize = 16;
pub(crate) const CHILDREN_MAX: usize = (BLOCK_SIZE - HEAD) / CHILD;
pub(crate) const LEAF: u8 = 1;
pub(crate) const INTERIOR: u8 = 2;
/// Taller trees can't be: 10 levels of half-full interior pages name more blocks than there are.
pub(crate) const DEPTH_MAX: usize = 10;

/// What an entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) key: Cookie,
    pub(crate) file: FileId,
    pub(crate) kind: FileKind,
    pub(crate) name: &'a [u8],
}

impl Entry<'_> {
    fn target(&self) -> Target {
        Target { key: self.key, file: self.file, kind: self.kind }
    }
}

fn u16_at(page: &Page, at: usize) -> usize {
    usize::from(u16::from_le_bytes([page[at], page[at + 1]]))
}

fn set_u16(page: &mut Page, at: usize, value: usize) {
    let value = u16::try_from(value).unwrap_or(u16::MAX);
    page[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn count(page: &Page) -> usize {
    u16_at(page, 2)
}

/// End of a leaf's entries; a page of zeros is an empty leaf.
pub(crate) fn leaf_end(page: &Page) -> usize {
    u16_at(page, 4).clamp(HEAD, BLOCK_SIZE)
}

pub(crate) fn entry_at(page: &Page, at: usize) -> Option<(Entry<'_>, usize)> {
    let mut input = Reader::new(page.get(at..leaf_end(page))?);
    let key = Cookie(input.u64());
    let file = FileId::active(InodeNum(input.u64()), Generation(input.u32()));
    let kind = kind_from(input.u8());
    let len = usize::from(input.u8());
    let name = input.raw(len);
    input.ok().then_some((Entry { key, file, kind: kind?, name }, at + ENTRY_HEAD + len))
}

/// The key of an entry, and where the next begins: for those who pass by.
fn key_at(page: &Page, at: usize) -> Option<(u64, usize)> {
    let end = leaf_end(page);
    let head = page.get(at..end)?.first_chunk::<ENTRY_HEAD>()?;
    let key = u64::from_le_bytes(*head.first_chunk()?);
    let next = at + ENTRY_HEAD + usize::from(head[ENTRY_HEAD - 1]);
    (next <= end).then_some((key, next))
}

/// Children of an interior page. A sound one has at least one: a split makes two, and none is ever taken away.
fn children(dir: &Inode, page: &Page) -> Result<usize> {
    match count(page) {
        some @ 1..=CHILDREN_MAX => Ok(some),
        _ => Err(corrupt(dir)),
    }
}

/// A child that is inside of the directory's file.
fn child_in(dir: &Inode, page: &Page, index: usize) -> Result<Fbn> {
    let (_, fbn) = child_at(page, index);
    if fbn.0 < pages_max(dir) { Ok(fbn) } else { Err(corrupt(dir)) }
}

/// Pages that the directory can have: its size in blocks.
fn pages_max(dir: &Inode) -> u64 {
    dir.size.min(FILE_SIZE_MAX) / BLOCK_SIZE_U64
}

pub(crate) fn child_at(page: &Page, index: usize) -> (u64, Fbn) {
    let at = HEAD + index * CHILD;
    let mut input = Reader::new(&page[at..at + CHILD]);
    (input.u64(), Fbn(input.u64()))
}

fn set_child(page: &mut Page, index: usize, key: u64, fbn: Fbn) {
    let at = HEAD + index * CHILD;
    page[at..at + 8].copy_from_slice(&key.to_le_bytes());
    page[at + 8..at + 16].copy_from_slice(&fbn.0.to_le_bytes());
}

/// The child of an interior page that holds `key`.
fn child_for(page: &Page, key: u64) -> usize {
    let count = count(page).min(CHILDREN_MAX);
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if child_at(page, middle).0 <= key { low = middle + 1 } else { high = middle }
    }
    low.saturating_sub(1)
}

fn corrupt(dir: &Inode) -> FsError {
    FsError::Corrupt { ino: dir.ino, vbn: Vbn(0) }
}

/// Visits the entries after `after` in key order; whether the end was reached.
pub(crate) fn scan(
    dir: &Inode,
    io: &Io,
    after: Cookie,
    visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> Result<bool> {
    scan_keys(dir, io, after.0.saturating_add(1)..u64::MAX, visit)
}

/// Visits the entries with these keys in order; whether the end was reached. Pages behind them are not looked at: many
/// may be empty.
fn scan_keys(
    dir: &Inode,
    io: &Io,
    keys: Range<u64>,
    visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> Result<bool> {
    // In a sound tree a scan sees each page once. Pages that lead to one another in circles must not hold it up.
    let mut pages_left = pages_max(dir).min(io.blocks()).max(1);
    Ok(scan_page(dir, io, Fbn(0), 0, &mut pages_left, &keys, visit)?.is_continue())
}

fn scan_page(
    dir: &Inode,
    io: &Io,
    fbn: Fbn,
    depth: usize,
    pages_left: &mut u64,
    keys: &Range<u64>,
    visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let Some(page) = dir.tree.page(io, fbn)? else { return Ok(ControlFlow::Continue(())) };
    if depth > DEPTH_MAX || *pages_left == 0 {
        return Err(corrupt(dir));
    }
    *pages_left -= 1;
    if page[0] == INTERIOR {
        let first = child_for(&page, keys.start);
        for index in first..children(dir, &page)? {
            if index > first && child_at(&page, index).0 >= keys.end {
                break;
            }
            let child = child_in(dir, &page, index)?;
            if scan_page(dir, io, child, depth + 1, pages_left, keys, visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        return Ok(ControlFlow::Continue(()));
    }
    let mut at = HEAD;
    while at < leaf_end(&page) {
        let (key, next) = key_at(&page, at).ok_or_else(|| corrupt(dir))?;
        if key >= keys.end {
            break;
        }
        if key >= keys.start {
            let (entry, _) = entry_at(&page, at).ok_or_else(|| corrupt(dir))?;
            if visit(entry).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        at = next;
    }
    Ok(ControlFlow::Continue(()))
}

/// Adds an entry; the name is not there yet. Gives the entry's key.
///
/// # Errors
/// [`FsError::NoSpace`] if too many names of the directory have its hashes.
pub(crate) fn insert(
    dir: &mut Inode,
    edit: &mut Edit<'_>,
    hash: NameHash,
    name: &[u8],
    file: FileId,
    kind: FileKind,
) -> Result<Cookie> {
    insert_at(dir, edit, hash.key(name), name, file, kind)
}

fn insert_at(
    dir: &mut Inode,
    edit: &mut Edit<'_>,
    key: NameKey,
    name: &[u8],
    file: FileId,
    kind: FileKind,
) -> Result<Cookie> {
    let key = names::free_key(dir, edit.io, key, name)?;
    let entry = Entry { key, file, kind, name };
    if let Some((separator, right)) = insert_below(dir, edit, Fbn(0), 0, &entry)? {
        let left = new_block(dir);
        let root = *dir.tree.page_mut(edit, Fbn(0))?;
        *dir.tree.page_mut(edit, left)? = root;
        let page = dir.tree.page_mut(edit, Fbn(0))?;
        page.fill(0);
        page[0] = INTERIOR;
        set_u16(page, 2, 2);
        set_child(page, 0, 0, left);
        set_child(page, 1, separator, right);
    }
    dir.entries += 1;
    Ok(key)
}

fn new_block(dir: &mut Inode) -> Fbn {
    let fbn = Fbn(dir.size / BLOCK_SIZE_U64);
    dir.size += BLOCK_SIZE_U64;
    dir.blocks += 1;
    fbn
}

/// Inserts under `fbn`; if that page had to be split, gives the right half's lowest key and block.
fn insert_below(
    dir: &mut Inode,
    edit: &mut Edit<'_>,
    fbn: Fbn,
    depth: usize,
    entry: &Entry<'_>,
) -> Result<Option<(u64, Fbn)>> {
    if depth > DEPTH_MAX {
        return Err(corrupt(dir));
    }
    let page = dir.tree.page(edit.io, fbn)?;
    let interior = page.as_ref().filter(|page| page[0] == INTERIOR);
    let Some(page) = interior else { return insert_in_leaf(dir, edit, fbn, entry) };
    let index = child_for(page, entry.key.0);
    children(dir, page)?;
    let child = child_in(dir, page, index)?;
    let Some((separator, right)) = insert_below(dir, edit, child, depth + 1, entry)? else { return Ok(None) };

    let full = count(page) >= CHILDREN_MAX;
    if !full {
        put_child(dir.tree.page_mut(edit, fbn)?, index + 1, separator, right);
        return Ok(None);
    }
    let fresh = new_block(dir);
    let page = dir.tree.page_mut(edit, fbn)?;
    let half = CHILDREN_MAX / 2;
    let mut upper = crate::layout::zero_page();
    upper[0] = INTERIOR;
    let tail = HEAD + half * CHILD..HEAD + CHILDREN_MAX * CHILD;
    upper[HEAD..HEAD + tail.len()].copy_from_slice(&page[tail.clone()]);
    set_u16(&mut upper, 2, CHILDREN_MAX - half);
    page[tail].fill(0);
    set_u16(page, 2, half);
    if index < half {
        put_child(page, index + 1, separator, right);
    } else {
        put_child(&mut upper, index + 1 - half, separator, right);
    }
    let low = child_at(&upper, 0).0;
    *dir.tree.page_mut(edit, fresh)? = upper;
    Ok(Some((low, fresh)))
}

fn put_child(page: &mut Page, index: usize, key: u64, fbn: Fbn) {
    let count = count(page);
    let at = HEAD + index * CHILD;
    page.copy_within(at..HEAD + count * CHILD, at + CHILD);
    set_child(page, index, key, fbn);
    set_u16(page, 2, count + 1);
}

fn insert_in_leaf(
    dir: &mut Inode,
    edit: &mut Edit<'_>,
    fbn: Fbn,
    entry: &Entry<'_>,
) -> Result<Option<(u64, Fbn)>> {
    let ino = dir.ino;
    let page = dir.tree.page_mut(edit, fbn)?;
    if leaf_end(page) + ENTRY_HEAD + entry.name.len() <= BLOCK_SIZE {
        put_entry(page, entry);
        return Ok(None);
    }
    let end = leaf_end(page);
    let (mut at, mut moved, mut kept) = (HEAD, 0, 0);
    while at < end / 2 {
        at = entry_at(page, at).ok_or(FsError::Corrupt { ino, vbn: Vbn(0) })?.1;
        kept += 1;
    }
    moved += count(page).checked_sub(kept).ok_or(FsError::Corrupt { ino, vbn: Vbn(0) })?;
    let mut upper = crate::layout::zero_page();
    upper[0] = LEAF;
    upper[HEAD..HEAD + end - at].copy_from_slice(&page[at..end]);
    set_u16(&mut upper, 2, moved);
    set_u16(&mut upper, 4, HEAD + end - at);
    page[at..end].fill(0);
    set_u16(page, 2, kept);
    set_u16(page, 4, at);
    let low = entry_at(&upper, HEAD).ok_or(FsError::Corrupt { ino, vbn: Vbn(0) })?.0.key.0;
    if entry.key.0 < low {
        put_entry(page, entry)
    } else {
        put_entry(&mut upper, entry)
    }
    let fresh = new_block(dir);
    *dir.tree.page_mut(edit, fresh)? = upper;
    Ok(Some((low, fresh)))
}

/// Puts an entry into a leaf with room for it.
fn put_entry(page: &mut Page, entry: &Entry<'_>) {
    let end = leaf_end(page);
    let mut at = HEAD;
    while let Some((_, next)) = key_at(page, at).filter(|(other, _)| *other < entry.key.0) {
        at = next;
    }
    let len = ENTRY_HEAD + entry.name.len();
    page.copy_within(at..end, at + len);
    page[at..at + 8].copy_from_slice(&entry.key.0.to_le_bytes());
    set_target(page, at, entry.file, entry.kind);
    page[at + 21] = u8::try_from(entry.name.len()).unwrap_or(u8::MAX);
    page[at + ENTRY_HEAD..at + len].copy_from_slice(entry.name);
    page[0] = LEAF;
    set_u16(page, 2, count(page) + 1);
    set_u16(page, 4, end + len);
}

fn set_target(page: &mut Page, at: usize, file: FileId, kind: FileKind) {
    page[at + 8..at + 16].copy_from_slice(&file.ino.0.to_le_bytes());
    page[at + 16..at + 20].copy_from_slice(&file.generation.0.to_le_bytes());
    page[at + 20] = kind_code(kind);
}

/// The name of the entry with `key`, and what it leads to.
pub(crate) fn name_of(dir: &Inode, io: &Io, key: Cookie) -> Result<(Bytes, FileId)> {
    let (_, page, at) = find(dir, io, key)?;
    let (entry, _) = entry_at(&page, at).ok_or_else(|| corrupt(dir))?;
    Ok((Bytes::copy_from_slice(entry.name), entry.file))
}

/// The entries of a page of a directory; none for an interior page.
pub(crate) fn entries_of(page: &Page) -> impl Iterator<Item = Entry<'_>> {
    let mut at = if page[0] == INTERIOR { BLOCK_SIZE } else { HEAD };
    std::iter::from_fn(move || {
        let (entry, next) = (at < leaf_end(page)).then(|| entry_at(page, at)).flatten()?;
        at = next;
        Some(entry)
    })
}

/// The leaf that holds `key`, and the entry's place in it.
fn find(dir: &Inode, io: &Io, key: Cookie) -> Result<(Fbn, Arc<Page>, usize)> {
    let mut fbn = Fbn(0);
    for _ in 0..=DEPTH_MAX {
        let page = dir.tree.page(io, fbn)?.ok_or_else(|| corrupt(dir))?;
        if page[0] == INTERIOR {
            children(dir, &page)?;
            fbn = child_in(dir, &page, child_for(&page, key.0))?;
            continue;
        }
        let mut at = HEAD;
        while let Some((other, next)) = key_at(&page, at) {
            if other == key.0 {
                return Ok((fbn, page, at));
            }
            at = next;
        }
        break;
    }
    Err(corrupt(dir))
}

/// Removes the entry with `key`.
pub(crate) fn remove(dir: &mut Inode, edit: &mut Edit<'_>, key: Cookie) -> Result<()> {
    let (fbn, page, at) = find(dir, edit.io, key)?;
    let (_, next) = entry_at(&page, at).ok_or_else(|| corrupt(dir))?;
    let counted = count(&page) > 0 && dir.entries > 0;
    drop(page);
    if !counted {
        return Err(corrupt(dir));
    }
    dir.entries -= 1;
    if dir.entries == 0 {
        return clear(dir, edit);
    }
    let page = dir.tree.page_mut(edit, fbn)?;
    let end = leaf_end(page);
    page.copy_within(next..end, at);
    let end_now = end - (next - at);
    page[end_now..end].fill(0);
    set_u16(page, 2, count(page) - 1);
    set_u16(page, 4, end_now);
    Ok(())
}

/// Leads the entry with `key` to another file.
pub(crate) fn retarget(
    dir: &mut Inode,
    edit: &mut Edit<'_>,
    key: Cookie,
    file: FileId,
    kind: FileKind,
) -> Result<()> {
    let (fbn, page, at) = find(dir, edit.io, key)?;
    drop(page);
    set_target(dir.tree.page_mut(edit, fbn)?, at, file, kind);
    Ok(())
}

/// Makes the directory empty: no blocks, one page in size.
pub(crate) fn clear(dir: &mut Inode, edit: &mut Edit<'_>) -> Result<()> {
    dir.tree.truncate(edit, Fbn(0))?;
    dir.entries = 0;
    dir.blocks = 0;
    dir.size = BLOCK_SIZE_U64;
    Ok(())
}
