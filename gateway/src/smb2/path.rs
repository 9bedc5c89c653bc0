//! From a path below a share to a file: names of any case, junctions, symbolic links that stay in the share, previous versions.

use super::previous;
use super::reply::Failure;
use super::tree::Tree;
use super::wire::error::ErrorData;
use super::wire::names::{Path, mapping, utf16_len};
use super::wire::status::NtStatus;
use crate::handle::VolumeId;
use crate::vserver::Namespace;
use bytes::Bytes;
use fsstore::{Attr, Context, FileId, FileKind, FsError, ROOT, SnapshotId};

/// Symbolic links in one path.
const LINKS_MAX: usize = 40;

/// Where a path leads.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The volume of the file, or of the directory that it would be in.
    pub(super) volume: VolumeId,
    /// The directory that it is, or would be, in.
    pub(super) dir: FileId,
    /// Its name there, as it is if it is there; empty for the root of a share.
    pub(super) name: Bytes,
    /// The path as the client sees it.
    pub(super) path: String,
    /// `None`: there is no such file.
    pub(super) attr: Option<Attr>,
}

struct Walk<'a> {
    namespace: &'a Namespace,
    cx: &'a Context,
    root: (VolumeId, FileId),
    /// Directories from the root down to the one that was reached.
    at: Vec<(VolumeId, FileId)>,
    names: Vec<String>,
    links: usize,
    /// The second of the snapshots in which it walks.
    taken: Option<i64>,
}

/// Finds what `path` names. `follow`: a link at its end is followed too.
pub(super) fn find(
    namespace: &Namespace,
    cx: &Context,
    tree: &Tree,
    path: &Path<'_>,
    follow: bool,
) -> Result<Found, Failure> {
    find_at(namespace, cx, tree, path, follow, None)
}

/// The same as it was at a second of which there is a snapshot. A component `@GMT-...` says that, too.
pub(super) fn find_at(
    namespace: &Namespace,
    cx: &Context,
    tree: &Tree,
    path: &Path<'_>,
    follow: bool,
    taken: Option<i64>,
) -> Result<Found, Failure> {
    let mut taken = taken;
    let mut components = Vec::with_capacity(path.components.len());
    for name in &path.components {
        match previous::of_token(name) {
            Some(secs) => taken = Some(secs),
            None => components.push(Bytes::from(mapping::to_volume(name).into_owned())),
        }
    }
    let root = tree.dir()?;
    let mut walk = Walk { namespace, cx, root, at: Vec::new(), names: Vec::new(), links: 0, taken };
    walk.at.push(walk.as_taken(root.0, root.1));
    let found = match walk.walk(&components, follow)? {
        Some(found) => found,
        None => walk.reached()?,
    };
    if taken.is_some() && found.dir.snapshot == SnapshotId::ACTIVE {
        // There is no such snapshot.
        return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
    }
    Ok(found)
}

impl Walk<'_> {
    fn here(&self) -> (VolumeId, FileId) {
        self.at.last().copied().unwrap_or(self.root)
    }

    /// A directory of a volume as its snapshot has it, where one is walked in.
    fn as_taken(&self, volume: VolumeId, dir: FileId) -> (VolumeId, FileId) {
        let mount = self.taken.and_then(|secs| Some((secs, self.namespace.volume(volume)?)));
        let snapshot = mount.and_then(|(secs, mount)| previous::snapshot_of(&mount.volume, secs));
        (volume, snapshot.map_or(dir, |snapshot| dir.within(snapshot)))
    }

    /// Where it is, as something that was found: a directory.
    fn reached(&self) -> Result<Found, NtStatus> {
        let (volume, file) = self.here();
        let mount = self.namespace.volume(volume).ok_or(NtStatus::OBJECT_PATH_NOT_FOUND)?;
        let attr = mount.volume.getattr(file).map_err(|error| super::status::of(&error))?;
        // The root of a volume or of a share has no name that could be changed here.
        Ok(Found { volume, dir: file, name: Bytes::new(), path: self.names.join("\\"), attr: Some(attr) })
    }

    /// Goes down these names. `None`: all of them are directories, and it stands in the last.
    fn walk(&mut self, names: &[Bytes], follow: bool) -> Result<Option<Found>, Failure> {
        for (place, name) in names.iter().enumerate() {
            let last = place + 1 == names.len();
            match name.as_ref() {
                b"." | b"" => continue,
                b".." => {
                    if self.at.len() == 1 {
                        return Err(NtStatus::OBJECT_PATH_SYNTAX_BAD.into());
                    }
                    self.at.pop();
                    self.names.pop();
                    continue;
                }
                _ => {}
            }
            if let Some(found) = self.step(name, last, follow, &names[place + 1..])? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// One name. `Some`: the walk is over.
    fn step(
        &mut self,
        name: &Bytes,
        last: bool,
        follow: bool,
        rest: &[Bytes],
    ) -> Result<Option<Found>, Failure> {
        let (volume, dir) = self.here();
        let mount = self.namespace.volume(volume).ok_or(NtStatus::OBJECT_PATH_NOT_FOUND)?;
        let (attr, real) = match lookup(&mount.volume, self.cx, dir, name) {
            Ok(found) => found,
            Err(FsError::NotFound) if last => {
                let path = self.path_of(name);
                return Ok(Some(Found { volume, dir, name: name.clone(), path, attr: None }));
            }
            Err(FsError::NotFound | FsError::NotDir) => return Err(NtStatus::OBJECT_PATH_NOT_FOUND.into()),
            // The share's own directory is younger than the snapshot.
            Err(FsError::Stale) if self.taken.is_some() => {
                return Err(NtStatus::OBJECT_PATH_NOT_FOUND.into());
            }
            Err(error) => return Err(error.into()),
        };
        let place = if self.taken.is_some() { dir.within(SnapshotId::ACTIVE) } else { dir };
        if let Some(mounted) = self.namespace.junction_at(volume, place, &real) {
            let (volume, root) = self.as_taken(mounted.id, ROOT);
            self.enter(volume, root, &real);
            return Ok(None);
        }
        match attr.kind {
            FileKind::Dir if last => {
                let path = self.path_of(&real);
                Ok(Some(Found { volume, dir, name: real, path, attr: Some(attr) }))
            }
            FileKind::Dir => {
                self.enter(volume, attr.id, &real);
                Ok(None)
            }
            FileKind::Symlink if !last || follow => {
                let (target, _) = mount.volume.readlink(self.cx, attr.id)?;
                self.follow(&target, follow, rest).map(Some)
            }
            _ if last => {
                let path = self.path_of(&real);
                Ok(Some(Found { volume, dir, name: real, path, attr: Some(attr) }))
            }
            _ => Err(NtStatus::OBJECT_PATH_NOT_FOUND.into()),
        }
    }

    /// Goes where a link leads, then on by `rest`. What leads out of the share is for the client to follow.
    fn follow(&mut self, target: &Bytes, follow: bool, rest: &[Bytes]) -> Result<Found, Failure> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(NtStatus::OBJECT_PATH_NOT_FOUND.into());
        }
        if target.starts_with(b"/") {
            return Err(stopped(target, rest));
        }
        let mut names: Vec<Bytes> =
            target.split(|byte| *byte == b'/').map(|name| target.slice_ref(name)).collect();
        names.extend_from_slice(rest);
        match self.walk(&names, follow) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Ok(self.reached()?),
            // Also of a link further down: the client knows only the path that it asked for.
            Err(Failure {
                status: NtStatus::OBJECT_PATH_SYNTAX_BAD | NtStatus::STOPPED_ON_SYMLINK, ..
            }) => Err(stopped(target, rest)),
            Err(failure) => Err(failure),
        }
    }

    fn enter(&mut self, volume: VolumeId, dir: FileId, name: &[u8]) {
        self.at.push((volume, dir));
        self.names.push(mapping::to_client(name).into_owned());
    }

    fn path_of(&self, name: &[u8]) -> String {
        let name = mapping::to_client(name);
        let mut path = self.names.join("\\");
        if !path.is_empty() {
            path.push('\\');
        }
        path + &name
    }
}

/// Tells the client where a link leads (§2.2.2.2.1), and how much of its path is behind the link.
fn stopped(target: &[u8], rest: &[Bytes]) -> Failure {
    let (target, relative) = shown_target(target);
    let len: usize = rest.iter().map(|name| 2 + utf16_len(&mapping::to_client(name))).sum();
    let unparsed_len = u16::try_from(len).unwrap_or(u16::MAX);
    let data = ErrorData::Symlink { unparsed_len, target, relative };
    Failure { status: NtStatus::STOPPED_ON_SYMLINK, data }
}

/// The target of a symbolic link as clients write paths, and whether it counts from the link's directory.
pub(super) fn shown_target(target: &[u8]) -> (String, bool) {
    let shown = |name: &[u8]| match name {
        b"." => ".".to_owned(),
        b".." => "..".to_owned(),
        _ => mapping::to_client(name).into_owned(),
    };
    let names: Vec<String> = target.split(|byte| *byte == b'/').map(shown).collect();
    (names.join("\\"), !target.starts_with(b"/"))
}

/// A name of any case: the one that is just so, else one that differs in case only.
pub(super) fn lookup(
    volume: &fsstore::Volume,
    cx: &Context,
    dir: FileId,
    name: &Bytes,
) -> Result<(Attr, Bytes), FsError> {
    volume.lookup_folded(cx, dir, name)
}
