//! What changed between two snapshots, by path. Compares the trees of the inode files, of changed directories and of changed
//! files, and skips whatever both snapshots share: cost follows the change. Names are held in memory until the end
//! (a rename is told from a removal and a new name only then); content is told as it is found.

use crate::directory::{self, entries_of};
use crate::error::{FsError, Result};
use crate::fsinfo::SnapEntry;
use crate::ids::{BLOCK_SIZE_U64, FileId, InodeNum, SnapshotId};
use crate::inode::{Hidden, INODE_BYTES, INODES_PER_PAGE, Inode, place};
use crate::io::Io;
use crate::layout::{BlockPtr, Page};
use crate::op::{FileKind, ROOT};
use crate::shared::Shared;
use crate::snapshot::Pinned;
use crate::tree::Tree;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// What happened to a name or a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// A new file or directory. Its content is new altogether.
    Created,
    /// A file or directory is gone.
    Deleted,
    /// One more name of a file that was there.
    Linked,
    /// One name less of a file that is there still.
    Unlinked,
    /// The same file under another name. What is below a directory is not listed.
    Renamed,
    /// Other content.
    Modified,
    /// The same content with another mode, owner, group or time, other extended attributes, streams or access control list.
    Attributes,
}

/// One difference between two snapshots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathChange {
    /// What happened.
    pub change: ChangeKind,
    /// Where: in the newer snapshot, for what is gone in the older; starts with `/`. `None` for a file with several names
    /// of which the newest is gone.
    pub path: Option<Bytes>,
    /// For a rename: the path in the older snapshot.
    pub from: Option<Bytes>,
    /// Which file.
    pub file: FileId,
    /// What it is.
    pub kind: FileKind,
    /// Size in bytes in the newer snapshot, 0 for what is gone.
    pub size: u64,
    /// For other content: the ranges of bytes, whole blocks but for the end of the file, in order.
    pub ranges: Vec<Range<u64>>,
}

/// One of the two snapshots.
struct Image<'a> {
    io: &'a Io,
    entry: SnapEntry,
    paths: HashMap<InodeNum, Bytes>,
}

/// Directories nest no deeper than this on the way up, or the volume is damaged.
const DEPTH_MAX: usize = 1 << 16;
/// Paths of directories that are remembered.
const PATHS_MAX: usize = 16 << 10;

impl<'a> Image<'a> {
    fn new(io: &'a Io, entry: SnapEntry) -> Self {
        Image { io, entry, paths: HashMap::new() }
    }

    fn inode(&self, ino: InodeNum) -> Result<Option<Inode>> {
        self.entry.inode(self.io, ino)
    }

    fn has(&self, file: FileId) -> Result<bool> {
        Ok(self.inode(file.ino)?.is_some_and(|inode| inode.generation == file.generation))
    }

    /// The path of directory `dir`; the root's is empty.
    fn dir_path(&mut self, dir: InodeNum) -> Result<Option<Bytes>> {
        let mut names: Vec<Bytes> = Vec::new();
        let mut at = dir;
        let mut base = Bytes::new();
        while at != ROOT.ino {
            if let Some(known) = self.paths.get(&at) {
                base = known.clone();
                break;
            }
            let Some(inode) = self.inode(at)? else { return Ok(None) };
            let Some(name) = self.name_in_parent(&inode)? else { return Ok(None) };
            names.push(name);
            at = inode.parent;
            if names.len() > DEPTH_MAX {
                return Err(FsError::Corrupt { ino: dir, vbn: crate::ids::Vbn(0) });
            }
        }
        let path = names.iter().rev().fold(base.to_vec(), |mut path, name| {
            path.push(b'/');
            path.extend_from_slice(name);
            path
        });
        let path = Bytes::from(path);
        if self.paths.len() >= PATHS_MAX {
            self.paths.clear();
        }
        self.paths.insert(dir, path.clone());
        Ok(Some(path))
    }

    /// The newest name of a file, if it still has it.
    fn name_in_parent(&self, inode: &Inode) -> Result<Option<Bytes>> {
        let Some(parent) = self.inode(inode.parent)?.filter(Inode::is_dir) else { return Ok(None) };
        match directory::name_of(&parent, self.io, inode.name_key) {
            Ok((name, file)) if file.ino == inode.ino => Ok(Some(name)),
            Ok(_) | Err(FsError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn path_below(&mut self, dir: InodeNum, name: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.dir_path(dir)?.map(|dir| [&dir[..], b"/", name].concat().into()))
    }

    fn path_of(&mut self, inode: &Inode) -> Result<Option<Bytes>> {
        if inode.ino == ROOT.ino {
            return Ok(Some(Bytes::from_static(b"/")));
        }
        match self.name_in_parent(inode)? {
            Some(name) => self.path_below(inode.parent, &name),
            None => Ok(None),
        }
    }

    /// A change of a file that keeps its name.
    fn change_of(&mut self, file: &Inode, change: ChangeKind, ranges: Vec<Range<u64>>) -> Result<PathChange> {
        Ok(PathChange {
            change,
            path: self.path_of(file)?,
            from: None,
            file: file.id().within(SnapshotId::ACTIVE),
            kind: file.kind.unwrap_or(FileKind::File),
            size: file.size,
            ranges,
        })
    }
}

/// A name that came or went: the directory and the name.
type Name = (InodeNum, Bytes);

#[derive(Default)]
struct Names {
    kind: Option<FileKind>,
    gone: Vec<Name>,
    new: Vec<Name>,
}

impl Shared {
    /// Visits what changed from snapshot `base` to `to`: first content and attributes, then names.
    pub(crate) fn changes(
        &self,
        base: SnapshotId,
        to: SnapshotId,
        visit: &mut dyn FnMut(PathChange) -> ControlFlow<()>,
    ) -> Result<()> {
        let _pinned = Pinned::new(self, &[base, to])?;
        let io = &*self.io;
        let (older, newer) = (self.snap(base)?, self.snap(to)?);
        let (mut old, mut new) = (Image::new(io, older.clone()), Image::new(io, newer.clone()));
        let mut names: BTreeMap<(InodeNum, u32), Names> = BTreeMap::new();
        // Files whose extended attributes, streams or access control lists changed; and those that were told already.
        let (mut touched, mut told) = (BTreeSet::new(), BTreeSet::new());
        let mut stopped = false;
        each_changed_inode(io, &older, &newer, &mut |was, is| {
            let hidden =
                |inode: &Option<Inode>| inode.as_ref().is_some_and(|inode| inode.hidden != Hidden::No);
            if hidden(&was) || hidden(&is) {
                touched.extend(was.iter().chain(&is).filter(|i| i.hidden != Hidden::No).map(|i| i.parent));
            }
            let was = was.filter(|inode| inode.hidden == Hidden::No);
            let is = is.filter(|inode| inode.hidden == Hidden::No);
            let same = matches!((&was, &is), (Some(a), Some(b)) if a.generation == b.generation);
            dir_names(io, was.as_ref(), is.as_ref(), &mut names)?;
            if let (true, Some(was), Some(is)) = (same && !stopped, was, is)
                && let Some(change) = content_change(io, &was, &is, &mut new)?
            {
                told.insert(change.file.ino);
                stopped = visit(change).is_break();
            }
            Ok(())
        })?;
        for ino in touched.difference(&told) {
            if stopped {
                break;
            }
            if let Some(change) = attributes_of(&old, &mut new, *ino)? {
                stopped = visit(change).is_break();
            }
        }
        for ((ino, generation), names) in names {
            if stopped {
                break;
            }
            let file = FileId::active(ino, crate::ids::Generation(generation));
            stopped = name_changes(&mut old, &mut new, file, names, visit)?.is_break();
        }
        Ok(())
    }
}

/// Calls `visit` with each inode that differs: as it was, and as it is.
fn each_changed_inode(
    io: &Io,
    old: &SnapEntry,
    new: &SnapEntry,
    visit: &mut dyn FnMut(Option<Inode>, Option<Inode>) -> Result<()>,
) -> Result<()> {
    let older = Tree::from_root(old.image.inofile)?;
    Tree::from_root(new.image.inofile)?.diff(&older, io, &mut |fbn, was, is| {
        let pages = (page_at(io, was)?, page_at(io, is)?);
        for slot in 0..INODES_PER_PAGE {
            let ino = InodeNum(fbn.0 * INODES_PER_PAGE + slot);
            let (_, at) = place(ino);
            let bytes =
                |page: &Option<Arc<Page>>| page.as_ref().map(|page| page[at..at + INODE_BYTES].to_vec());
            if bytes(&pages.0) != bytes(&pages.1) {
                visit(old.inode(io, ino)?, new.inode(io, ino)?)?;
            }
        }
        Ok(())
    })
}

fn page_at(io: &Io, ptr: BlockPtr) -> Result<Option<Arc<Page>>> {
    if ptr.is_hole() { Ok(None) } else { io.page(ptr).map(Some) }
}

/// Gathers the names that came and went in a directory that changed, came or went.
fn dir_names(
    io: &Io,
    was: Option<&Inode>,
    is: Option<&Inode>,
    names: &mut BTreeMap<(InodeNum, u32), Names>,
) -> Result<()> {
    let ours =
        |inode: Option<&Inode>| inode.filter(|inode| inode.is_dir()).map(|dir| (dir.ino, dir.tree.clone()));
    let (was, is) = (ours(was), ours(is));
    let Some(dir) = was.as_ref().or(is.as_ref()).map(|(ino, _)| *ino) else { return Ok(()) };
    let tree = |side: Option<(InodeNum, Tree)>| side.map_or(Tree::EMPTY, |(_, tree)| tree);
    let (mut gone, mut new) = (BTreeMap::new(), BTreeMap::new());
    tree(is).diff(&tree(was), io, &mut |_, before, after| {
        for (ptr, into) in [(before, &mut gone), (after, &mut new)] {
            if let Some(page) = page_at(io, ptr)? {
                into.extend(entries_of(&page).map(|entry| {
                    let key = (entry.key, entry.file.ino, entry.file.generation.0);
                    (key, (Bytes::copy_from_slice(entry.name), entry.kind))
                }));
            }
        }
        Ok(())
    })?;
    // Entries only move between pages when a page is split.
    gone.retain(|key, entry| new.get(key) != Some(entry) || new.remove(key).is_none());
    for (key, (name, kind)) in gone {
        let of = names.entry((key.1, key.2)).or_default();
        of.kind = Some(kind);
        of.gone.push((dir, name));
    }
    for (key, (name, kind)) in new {
        let of = names.entry((key.1, key.2)).or_default();
        of.kind = Some(kind);
        of.new.push((dir, name));
    }
    Ok(())
}

/// What changed in a file that both snapshots have.
fn content_change(io: &Io, was: &Inode, is: &Inode, new: &mut Image<'_>) -> Result<Option<PathChange>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    if !is.is_dir() {
        is.tree.diff(&was.tree, io, &mut |fbn, _, _| {
            let start = fbn.0 * BLOCK_SIZE_U64;
            let end = (start + BLOCK_SIZE_U64).min(is.size);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ if start < end => ranges.push(start..end),
                _ => {}
            }
            Ok(())
        })?;
    }
    let modified = !ranges.is_empty() || (!is.is_dir() && was.size != is.size);
    let owner = |inode: &Inode| (inode.mode, inode.uid, inode.gid);
    let times = |inode: &Inode| (inode.atime, inode.mtime);
    let attributes = owner(was) != owner(is) || (!is.is_dir() && times(was) != times(is));
    if !modified && !attributes {
        return Ok(None);
    }
    let change = if modified { ChangeKind::Modified } else { ChangeKind::Attributes };
    new.change_of(is, change, ranges).map(Some)
}

/// A change of what is hidden behind a file that both snapshots have.
fn attributes_of(old: &Image<'_>, new: &mut Image<'_>, ino: InodeNum) -> Result<Option<PathChange>> {
    let (Some(was), Some(is)) = (old.inode(ino)?, new.inode(ino)?) else { return Ok(None) };
    if was.generation != is.generation {
        return Ok(None);
    }
    new.change_of(&is, ChangeKind::Attributes, Vec::new()).map(Some)
}

/// Tells what became of the names of one file.
fn name_changes(
    old: &mut Image<'_>,
    new: &mut Image<'_>,
    file: FileId,
    names: Names,
    visit: &mut dyn FnMut(PathChange) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let kind = names.kind.unwrap_or(FileKind::File);
    let size = new.inode(file.ino)?.filter(|inode| inode.generation == file.generation);
    let size = size.map_or(0, |inode| inode.size);
    let change = |change, path, from| PathChange { change, path, from, file, kind, size, ranges: Vec::new() };
    let (mut gone, mut added) = (names.gone.into_iter(), names.new.into_iter());
    loop {
        let told = match (gone.next(), added.next()) {
            (None, None) => return Ok(ControlFlow::Continue(())),
            (Some((dir, name)), Some((to_dir, to))) => {
                let from = old.path_below(dir, &name)?;
                change(ChangeKind::Renamed, new.path_below(to_dir, &to)?, from)
            }
            (Some((dir, name)), None) => {
                let what = if new.has(file)? { ChangeKind::Unlinked } else { ChangeKind::Deleted };
                change(what, old.path_below(dir, &name)?, None)
            }
            (None, Some((dir, name))) => {
                let what = if old.has(file)? { ChangeKind::Linked } else { ChangeKind::Created };
                change(what, new.path_below(dir, &name)?, None)
            }
        };
        if visit(told).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}
