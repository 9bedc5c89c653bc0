//! From a path below a share to a file: names of any case, junctions, symbolic links that stay in the share.

use super::tree::Tree;
use super::wire::names::{Path, mapping};
use super::wire::status::NtStatus;
use crate::handle::VolumeId;
use crate::vserver::Namespace;
use bytes::Bytes;
use fsstore::{Attr, Context, FileId, FileKind, FsError, ROOT};

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
}

/// Finds what `path` names. `follow`: a link at its end is followed too.
pub(super) fn find(
    namespace: &Namespace,
    cx: &Context,
    tree: &Tree,
    path: &Path<'_>,
    follow: bool,
) -> Result<Found, NtStatus> {
    let root = tree.dir()?;
    let mut walk = Walk { namespace, cx, root, at: vec![root], names: Vec::new(), links: 0 };
    let components: Vec<Bytes> =
        path.components.iter().map(|name| Bytes::from(mapping::to_volume(name).into_owned())).collect();
    match walk.walk(&components, follow)? {
        Some(found) => Ok(found),
        None => walk.reached(),
    }
}

impl Walk<'_> {
    fn here(&self) -> (VolumeId, FileId) {
        self.at.last().copied().unwrap_or(self.root)
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
    fn walk(&mut self, names: &[Bytes], follow: bool) -> Result<Option<Found>, NtStatus> {
        for (place, name) in names.iter().enumerate() {
            let last = place + 1 == names.len();
            match name.as_ref() {
                b"." | b"" => continue,
                b".." => {
                    if self.at.len() == 1 {
                        return Err(NtStatus::OBJECT_PATH_SYNTAX_BAD);
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
    ) -> Result<Option<Found>, NtStatus> {
        let (volume, dir) = self.here();
        let mount = self.namespace.volume(volume).ok_or(NtStatus::OBJECT_PATH_NOT_FOUND)?;
        let (attr, real) = match lookup(&mount.volume, self.cx, dir, name) {
            Ok(found) => found,
            Err(FsError::NotFound) if last => {
                let path = self.path_of(name);
                return Ok(Some(Found { volume, dir, name: name.clone(), path, attr: None }));
            }
            Err(FsError::NotFound | FsError::NotDir) => return Err(NtStatus::OBJECT_PATH_NOT_FOUND),
            Err(error) => return Err(super::status::of(&error)),
        };
        if let Some(mounted) = self.namespace.junction_at(volume, dir, &real) {
            self.enter(mounted.id, ROOT, &real);
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
                self.links += 1;
                if self.links > LINKS_MAX {
                    return Err(NtStatus::OBJECT_PATH_NOT_FOUND);
                }
                let (target, _) =
                    mount.volume.readlink(self.cx, attr.id).map_err(|error| super::status::of(&error))?;
                if target.starts_with(b"/") {
                    // It counts from a root that clients of a share do not have.
                    return Err(NtStatus::OBJECT_PATH_NOT_FOUND);
                }
                let mut names: Vec<Bytes> =
                    target.split(|byte| *byte == b'/').map(|name| target.slice_ref(name)).collect();
                names.extend_from_slice(rest);
                match self.walk(&names, follow)? {
                    Some(found) => Ok(Some(found)),
                    None => self.reached().map(Some),
                }
            }
            _ if last => {
                let path = self.path_of(&real);
                Ok(Some(Found { volume, dir, name: real, path, attr: Some(attr) }))
            }
            _ => Err(NtStatus::OBJECT_PATH_NOT_FOUND),
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

/// A name of any case: the one that is just so, else one that differs in case only.
pub(super) fn lookup(
    volume: &fsstore::Volume,
    cx: &Context,
    dir: FileId,
    name: &Bytes,
) -> Result<(Attr, Bytes), FsError> {
    volume.lookup_folded(cx, dir, name)
}
