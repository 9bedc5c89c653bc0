//! A plain in-memory file system that answers as a volume must: the reference of the random tests.
//!
//! It has no blocks, no log and no cleverness. Where POSIX leaves a choice it does what Linux does (knfsd over ext4);
//! such choices are marked `CHOICE`. It knows neither inode numbers nor space: the volume picks the `FileId` of a new file
//! (the model insists that it was never used before), and running out of space is not modelled.

mod acl;
mod attrs;
pub mod content;
mod ops;
pub mod perm;
pub mod quota;
mod share;

use bytes::Bytes;
use content::Content;
use fsstore::{
    Acl, Attr, Change, Context, FileId, FileKind, FsError, Op, PreAttr, QtreeId, ROOT, Result, Time,
};
use quota::Quotas;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a file holds.
#[derive(Clone)]
pub enum Body {
    /// A regular file's bytes.
    File(Content),
    /// A directory's entries, without `.` and `..`.
    Dir(BTreeMap<Bytes, FileId>),
    /// A symbolic link's target.
    Symlink(Bytes),
    /// Device nodes, sockets and pipes hold nothing.
    Special,
}

/// A file.
#[derive(Clone)]
pub struct Node {
    /// Attributes as a volume reports them; `used` is 0, and so is a directory's `size`.
    pub attr: Attr,
    /// What it holds.
    pub body: Body,
    /// For a directory: the one that it is in. The root is in itself.
    pub parent: FileId,
    /// Extended attributes.
    pub xattrs: BTreeMap<Bytes, Bytes>,
    /// Named streams; they are files here too.
    pub streams: BTreeMap<Bytes, FileId>,
    /// For a named stream: the file that it is of.
    pub stream_of: Option<FileId>,
    /// The stored access control list; a stream has that of its file.
    pub acl: Option<Acl>,
    /// The qtree that it is in.
    pub qtree: QtreeId,
}

impl Node {
    fn new(attr: Attr, body: Body, parent: FileId) -> Node {
        let (xattrs, streams) = (BTreeMap::new(), BTreeMap::new());
        Node { attr, body, parent, xattrs, streams, stream_of: None, acl: None, qtree: QtreeId::NONE }
    }
}

impl Node {
    /// Its name for ever, in the active image.
    pub fn id(&self) -> FileId {
        self.attr.id
    }
}

/// The file system. A clone is cheap and independent.
#[derive(Clone)]
pub struct Model {
    nodes: HashMap<FileId, Arc<Node>>,
    ever: Arc<HashSet<FileId>>,
    quota: Quotas,
}

/// Blanks what the model does not know: the space used, and the size of a directory.
pub fn comparable(mut attr: Attr) -> Attr {
    attr.used = 0;
    if attr.kind == FileKind::Dir {
        attr.size = 0;
    }
    attr
}

/// The id of a file that the volume has refused to make.
const NOBODY: FileId = FileId::active(fsstore::InodeNum(u64::MAX), fsstore::Generation(0));

impl Model {
    /// What a volume is after `Volume::create` at `now`.
    pub fn new(now: Time) -> Model {
        let attr = Attr {
            id: ROOT,
            kind: FileKind::Dir,
            mode: 0o755,
            nlink: 2,
            uid: 0,
            gid: 0,
            size: 0,
            used: 0,
            rdev: (0, 0),
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            dos: None,
        };
        let root = Node::new(attr, Body::Dir(BTreeMap::new()), ROOT);
        let nodes = HashMap::from([(ROOT, Arc::new(root))]);
        Model { nodes, ever: Arc::new(HashSet::from([ROOT])), quota: Quotas::default() }
    }

    /// The file, or [`FsError::Stale`].
    pub fn node(&self, file: FileId) -> Result<&Node> {
        self.nodes.get(&file).map(AsRef::as_ref).ok_or(FsError::Stale)
    }

    fn node_mut(&mut self, file: FileId) -> &mut Node {
        Arc::make_mut(self.nodes.get_mut(&file).expect("checked before"))
    }

    /// All files, in the order of their inode numbers.
    pub fn files(&self) -> Vec<&Node> {
        let mut files: Vec<&Node> = self.nodes.values().map(AsRef::as_ref).collect();
        files.sort_by_key(|node| node.attr.id.ino);
        files
    }

    /// The entries of a directory.
    pub fn entries(&self, dir: FileId) -> Result<&BTreeMap<Bytes, FileId>> {
        match &self.node(dir)?.body {
            Body::Dir(entries) => Ok(entries),
            _ => Err(FsError::NotDir),
        }
    }

    fn entries_mut(&mut self, dir: FileId) -> &mut BTreeMap<Bytes, FileId> {
        match &mut self.node_mut(dir).body {
            Body::Dir(entries) => entries,
            _ => unreachable!("checked before"),
        }
    }

    /// LOOKUP.
    pub fn lookup(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<Attr> {
        self.find(cx, dir, name).map(|found| self.nodes[&found].attr)
    }

    fn find(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<FileId> {
        if name.len() > fsstore::NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        let node = self.node(dir)?;
        let entries = self.entries(dir)?;
        perm::need(cx, node, perm::X)?;
        match name {
            b"." => return Ok(dir),
            b".." => return Ok(node.parent),
            _ => {}
        }
        entries.get(name).copied().ok_or(FsError::NotFound)
    }

    /// LOOKUP for who does not tell case apart: the names that may be found. The volume picks one, as it likes.
    pub fn lookup_folded(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<Vec<Bytes>> {
        match self.find(cx, dir, name) {
            Err(FsError::NotFound) => {}
            found => return found.map(|_| vec![Bytes::copy_from_slice(name)]),
        }
        let alike: Vec<_> =
            self.entries(dir)?.keys().filter(|other| folded(other) == folded(name)).cloned().collect();
        if alike.is_empty() { Err(FsError::NotFound) } else { Ok(alike) }
    }

    /// Whether an operation makes a name that differs in case alone from one that is there.
    fn repeats_a_name(&self, op: &Op) -> bool {
        let (names, name, goes): (Vec<&Bytes>, &Bytes, Option<&Bytes>) = match op {
            Op::Create { dir, name, .. }
            | Op::Mkdir { dir, name, .. }
            | Op::Symlink { dir, name, .. }
            | Op::Mknod { dir, name, .. }
            | Op::Link { dir, name, .. } => (self.names(*dir), name, None),
            Op::MakeQtree { name, .. } => (self.names(ROOT), name, None),
            Op::Rename { from_dir, from, to_dir, to } => {
                (self.names(*to_dir), to, (from_dir == to_dir).then_some(from))
            }
            Op::MakeStream { file, name, .. } => (self.nodes[file].streams.keys().collect(), name, None),
            Op::RenameStream { file, from, to, .. } => {
                (self.nodes[file].streams.keys().collect(), to, Some(from))
            }
            _ => return false,
        };
        let alike = |other: &&Bytes| Some(*other) != goes && folded(other) == folded(name);
        !names.contains(&name) && names.iter().any(alike)
    }

    fn names(&self, dir: FileId) -> Vec<&Bytes> {
        self.entries(dir).map(|entries| entries.keys().collect()).unwrap_or_default()
    }

    /// READ: data and end-of-file.
    pub fn read(&self, cx: &Context, file: FileId, offset: u64, len: usize) -> Result<(Vec<u8>, bool)> {
        let node = self.node(file)?;
        let content = regular(node)?;
        // CHOICE: as knfsd, who may execute a file may read it, because a client has to in order to execute.
        perm::need_or_owner(cx, node, perm::R).or_else(|_| perm::need(cx, node, perm::X))?;
        let data = content.read(offset, len);
        let eof = offset.saturating_add(data.len() as u64) >= content.len();
        Ok((data, eof))
    }

    /// SEEK, allowed as READ is.
    pub fn seek(&self, cx: &Context, file: FileId, offset: u64, data: bool) -> Result<Option<u64>> {
        self.read(cx, file, 0, 0)?;
        Ok(regular(self.node(file)?)?.seek(offset, data))
    }

    /// READLINK.
    pub fn readlink(&self, file: FileId) -> Result<Bytes> {
        match &self.node(file)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(FsError::Invalid),
        }
    }

    /// Whether READDIR would be allowed.
    pub fn may_list(&self, cx: &Context, dir: FileId) -> Result<()> {
        let node = self.node(dir)?;
        self.entries(dir)?;
        // CHOICE: the owner may, as with files; knfsd would refuse.
        perm::need_or_owner(cx, node, perm::R)
    }

    /// Every path with what stands there, one line each: two equal trees have equal dumps.
    pub fn dump(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, file)) = todo.pop() {
            let node = &self.nodes[&file];
            let what = match &node.body {
                Body::File(content) => format!("{:x}", content.sum()),
                Body::Symlink(target) => format!("-> {}", target.escape_ascii()),
                Body::Dir(entries) => {
                    todo.extend(
                        entries.iter().map(|(name, id)| (format!("{path}/{}", name.escape_ascii()), *id)),
                    );
                    format!("in {:?}", node.parent.ino)
                }
                Body::Special => String::new(),
            };
            let streams = node.streams.iter().map(|(n, id)| (format!("{path}:{}", n.escape_ascii()), *id));
            todo.extend(streams);
            let acl = if node.stream_of.is_some() { None } else { self.acl(file).ok() };
            lines.push(format!("{path}/ {:?} {what} {:x} {acl:?}", node.attr, xattr_sum(&node.xattrs)));
        }
        lines.extend(self.dump_quotas());
        lines.sort();
        lines
    }
}

/// What names that differ in case alone have in common. Not what the volume takes for that; of the names in these tests it must
/// say the same.
pub fn folded(name: &[u8]) -> Vec<u8> {
    str::from_utf8(name).map_or_else(|_| name.to_ascii_lowercase(), |text| text.to_lowercase().into_bytes())
}

/// A hash of extended attributes.
pub fn xattr_sum(xattrs: &BTreeMap<Bytes, Bytes>) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    xattrs.hash(&mut hasher);
    hasher.finish()
}

/// CHOICE: READ, WRITE and truncation of a directory is EISDIR, of anything else that has no bytes EINVAL.
fn regular(node: &Node) -> Result<&Content> {
    match (&node.body, node.attr.kind) {
        (Body::File(content), _) => Ok(content),
        (_, FileKind::Dir) => Err(FsError::IsDir),
        _ => Err(FsError::Invalid),
    }
}

fn pre(attr: &Attr) -> PreAttr {
    PreAttr { size: attr.size, mtime: attr.mtime, ctime: attr.ctime }
}

fn change(before: &Attr, after: &Attr) -> Change {
    Change { before: Some(pre(before)), after: *after }
}
