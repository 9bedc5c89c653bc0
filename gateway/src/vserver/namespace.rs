//! The one tree that clients of a vserver see: volumes mounted at junctions.
//!
//! A namespace is a value: it is built whole and swapped, never changed in place. It decides nothing about access.

use crate::handle::VolumeId;
use fsstore::{Context, FileId, FsError, ROOT, Time, Volume};
use std::collections::HashMap;
use std::sync::Arc;

/// Most components in a path that MOUNT or a junction names.
const PATH_COMPONENTS_MAX: usize = 128;

/// A volume at its place in the tree.
#[derive(Clone, Debug)]
pub struct MountedVolume {
    /// As handles name it.
    pub id: VolumeId,
    /// Its name in the configuration.
    pub name: String,
    /// The store.
    pub volume: Arc<Volume>,
    /// Where it is mounted: `/` or `/a/b`.
    pub junction: String,
    /// The export policy that guards it.
    pub policy: String,
}

/// Where a child volume hangs in its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Junction {
    parent: VolumeId,
    dir: FileId,
    name: Vec<u8>,
}

/// Why volumes do not make a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A path that is no junction path.
    #[error("junction path `{0}`: must be `/` or like `/a/b`, with names of 1 to 255 bytes, no `.` or `..`")]
    Path(String),
    /// Two volumes at one path.
    #[error("junction path `{0}` is taken by another volume")]
    Taken(String),
    /// Volumes, but none at `/`.
    #[error("no volume is mounted at `/`; mount the root volume first")]
    NoRoot,
    /// Two volumes whose UUIDs begin with the same 8 bytes.
    #[error("volumes `{0}` and `{1}` have the same id")]
    SameId(String, String),
    /// The junction's directory could not be found or made.
    #[error("junction path `{path}`: {error}")]
    Store {
        /// The junction.
        path: String,
        /// What the parent volume said.
        error: FsError,
    },
}

/// The volumes of a vserver and how they hang together.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// In the order of their junction paths, so parents come before children.
    mounts: Vec<MountedVolume>,
    by_id: HashMap<VolumeId, usize>,
    /// By (parent volume, directory, name): LOOKUP's question.
    children: HashMap<(VolumeId, FileId, Vec<u8>), usize>,
    /// By child: LOOKUP `..`'s question.
    parents: HashMap<VolumeId, Junction>,
}

impl Namespace {
    /// Hangs `mounts` together. A junction's directory is looked up in the parent volume and made, with its missing
    /// parents, where it is not there.
    ///
    /// # Errors
    /// See [`NamespaceError`]. No volumes at all is an empty namespace, not an error.
    pub fn build(mut mounts: Vec<MountedVolume>, now: Time) -> Result<Self, NamespaceError> {
        for mount in &mounts {
            check_junction_path(&mount.junction)?;
        }
        mounts.sort_by(|a, b| a.junction.cmp(&b.junction));
        if let Some(pair) = mounts.windows(2).find(|pair| pair[0].junction == pair[1].junction) {
            return Err(NamespaceError::Taken(pair[1].junction.clone()));
        }
        if mounts.first().is_some_and(|first| first.junction != "/") {
            return Err(NamespaceError::NoRoot);
        }
        let mut namespace = Namespace::default();
        for mount in mounts {
            namespace.hang(mount, now)?;
        }
        Ok(namespace)
    }

    fn hang(&mut self, mount: MountedVolume, now: Time) -> Result<(), NamespaceError> {
        let at = self.mounts.len();
        if let Some(other) = self.volume(mount.id) {
            return Err(NamespaceError::SameId(other.name.clone(), mount.name));
        }
        if mount.junction != "/" {
            let junction = self
                .make_junction(&mount.junction, now)
                .map_err(|error| NamespaceError::Store { path: mount.junction.clone(), error })?;
            self.children.insert((junction.parent, junction.dir, junction.name.clone()), at);
            self.parents.insert(mount.id, junction);
        }
        self.by_id.insert(mount.id, at);
        self.mounts.push(mount);
        Ok(())
    }

    fn make_junction(&self, path: &str, now: Time) -> Result<Junction, FsError> {
        let mut names: Vec<&str> = components(path).collect();
        let Some(last) = names.pop() else { return Err(FsError::Invalid) };
        let (mut volume, mut dir) = self.root()?;
        for name in names {
            (volume, dir) = self.step_making(volume, dir, name.as_bytes(), now)?;
        }
        // The directory under the mount point is made too: without it READDIR of the parent would not list it.
        self.step_making(volume, dir, last.as_bytes(), now)?;
        Ok(Junction { parent: volume, dir, name: last.as_bytes().to_vec() })
    }

    fn step_making(
        &self,
        volume: VolumeId,
        dir: FileId,
        name: &[u8],
        now: Time,
    ) -> Result<(VolumeId, FileId), FsError> {
        match self.step(volume, dir, name, now) {
            Err(FsError::NotFound) => {
                let mount = self.volume(volume).ok_or(FsError::Stale)?;
                let attrs = fsstore::SetAttrs { mode: Some(0o755), ..fsstore::SetAttrs::default() };
                let op = fsstore::Op::Mkdir { dir, name: bytes::Bytes::copy_from_slice(name), attrs };
                let done = mount.volume.execute(&Context::root(now), op)?;
                mount.volume.wait_durable(done.lsn)?;
                Ok((volume, done.object.after.id))
            }
            other => other,
        }
    }

    fn step(
        &self,
        volume: VolumeId,
        dir: FileId,
        name: &[u8],
        now: Time,
    ) -> Result<(VolumeId, FileId), FsError> {
        if let Some(child) = self.junction_at(volume, dir, name) {
            return Ok((child.id, ROOT));
        }
        let mount = self.volume(volume).ok_or(FsError::Stale)?;
        let attr = mount.volume.lookup(&Context::root(now), dir, name)?;
        Ok((volume, attr.id))
    }

    fn root(&self) -> Result<(VolumeId, FileId), FsError> {
        self.mounts.first().map(|mount| (mount.id, ROOT)).ok_or(FsError::NotFound)
    }

    /// The mounted volume that a file handle names.
    pub fn volume(&self, id: VolumeId) -> Option<&MountedVolume> {
        self.by_id.get(&id).and_then(|at| self.mounts.get(*at))
    }

    /// Walks `path` from the root as the superuser, crossing junctions; symbolic links are not followed.
    ///
    /// # Errors
    /// The store's; [`FsError::NotFound`] where no volume is mounted; [`FsError::NameTooLong`] for more than 128
    /// components; [`FsError::Invalid`] for `..`, which has no business in a mount path.
    pub fn resolve(&self, path: &str) -> Result<(VolumeId, FileId), FsError> {
        let (mut volume, mut file) = self.root()?;
        for (depth, name) in components(path).enumerate() {
            if depth >= PATH_COMPONENTS_MAX {
                return Err(FsError::NameTooLong);
            }
            match name {
                "." => {}
                ".." => return Err(FsError::Invalid),
                name => (volume, file) = self.step(volume, file, name.as_bytes(), Time::default())?,
            }
        }
        Ok((volume, file))
    }

    /// The volume mounted on `name` in directory `dir`, for LOOKUP and READDIRPLUS that cross into it.
    pub fn junction_at(&self, volume: VolumeId, dir: FileId, name: &[u8]) -> Option<&MountedVolume> {
        if self.children.is_empty() {
            return None;
        }
        let at = self.children.get(&(volume, dir, name.to_vec()))?;
        self.mounts.get(*at)
    }

    /// The directory that `..` of the root of `volume` is; `None` for the namespace's root.
    pub fn parent_of_root(&self, volume: VolumeId) -> Option<(VolumeId, FileId)> {
        self.parents.get(&volume).map(|junction| (junction.parent, junction.dir))
    }

    /// All mounted volumes, parents before children.
    pub fn mounts(&self) -> impl Iterator<Item = &MountedVolume> {
        self.mounts.iter()
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

/// Refuses what can't be a junction path.
///
/// # Errors
/// [`NamespaceError::Path`].
pub fn check_junction_path(path: &str) -> Result<(), NamespaceError> {
    let Some(rest) = path.strip_prefix('/') else { return Err(NamespaceError::Path(path.to_owned())) };
    let fits = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= fsstore::NAME_MAX && !name.contains('\0')
    };
    let good =
        rest.is_empty() || (rest.split('/').count() <= PATH_COMPONENTS_MAX && rest.split('/').all(fits));
    if good { Ok(()) } else { Err(NamespaceError::Path(path.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junction_paths_are_checked() {
        for good in ["/", "/a", "/a/b", "/ä b"] {
            assert!(check_junction_path(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "/a/", "//a", "/a//b", "/.", "/a/..", "/a\0b"] {
            assert!(check_junction_path(bad).is_err(), "{bad:?}");
        }
        assert!(check_junction_path(&format!("/{}", "x".repeat(255))).is_ok());
        assert!(check_junction_path(&format!("/{}", "x".repeat(256))).is_err());
        assert!(check_junction_path(&"/x".repeat(129)).is_err());
    }

    #[test]
    fn an_empty_namespace_resolves_nothing() {
        let namespace = Namespace::build(Vec::new(), Time::default()).unwrap();
        assert_eq!(namespace.resolve("/"), Err(FsError::NotFound));
        assert_eq!(namespace.mounts().count(), 0);
    }
}
