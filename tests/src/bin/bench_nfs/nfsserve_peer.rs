//! The nfsserve crate over files in memory: what its users get at most, with nothing behind it and nothing durable.

use anyhow::Result;
use async_trait::async_trait;
use nfsserve::nfs::{
    fattr3, fileid3, filename3, ftype3, nfspath3, nfsstat3, nfstime3, sattr3, set_size3, specdata3,
};
use nfsserve::tcp::{NFSTcp, NFSTcpListener};
use nfsserve::vfs::{DirEntry, NFSFileSystem, ReadDirResult, VFSCapabilities};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;

pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let files = Files { inner: Mutex::default() };
        files.inner.lock().nodes.insert(ROOT, Node::Dir);
        let listener = NFSTcpListener::bind(&address.to_string(), files).await?;
        Ok(listener.handle_forever().await?)
    })
}

const ROOT: fileid3 = 1;

/// One directory of files; the benchmark needs no more than directories below the root.
struct Files {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<fileid3, Node>,
    names: HashMap<fileid3, HashMap<Vec<u8>, fileid3>>,
    /// In the order of their numbers, as cookies are.
    entries: BTreeMap<(fileid3, fileid3), Vec<u8>>,
    last: fileid3,
}

enum Node {
    Dir,
    File(Vec<u8>),
}

impl Inner {
    fn attributes(&self, id: fileid3) -> Result<fattr3, nfsstat3> {
        let (ftype, size) = match self.nodes.get(&id).ok_or(nfsstat3::NFS3ERR_STALE)? {
            Node::Dir => (ftype3::NF3DIR, 4096),
            Node::File(data) => (ftype3::NF3REG, data.len() as u64),
        };
        let time = nfstime3 { seconds: 1, nseconds: 0 };
        Ok(fattr3 {
            ftype,
            mode: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            size,
            used: size,
            rdev: specdata3::default(),
            fsid: 1,
            fileid: id,
            atime: time,
            mtime: time,
            ctime: time,
        })
    }

    fn find(&self, dir: fileid3, name: &[u8]) -> Result<fileid3, nfsstat3> {
        self.names.get(&dir).and_then(|names| names.get(name)).copied().ok_or(nfsstat3::NFS3ERR_NOENT)
    }

    fn make(&mut self, dir: fileid3, name: &[u8], node: Node) -> fileid3 {
        if let Ok(id) = self.find(dir, name) {
            return id;
        }
        self.last += 1;
        let id = ROOT + self.last;
        self.nodes.insert(id, node);
        self.names.entry(dir).or_default().insert(name.to_vec(), id);
        self.entries.insert((dir, id), name.to_vec());
        id
    }
}

#[async_trait]
impl NFSFileSystem for Files {
    fn capabilities(&self) -> VFSCapabilities {
        VFSCapabilities::ReadWrite
    }

    fn root_dir(&self) -> fileid3 {
        ROOT
    }

    async fn lookup(&self, dir: fileid3, name: &filename3) -> Result<fileid3, nfsstat3> {
        self.inner.lock().find(dir, name)
    }

    async fn getattr(&self, id: fileid3) -> Result<fattr3, nfsstat3> {
        self.inner.lock().attributes(id)
    }

    async fn setattr(&self, id: fileid3, attributes: sattr3) -> Result<fattr3, nfsstat3> {
        let mut inner = self.inner.lock();
        if let (set_size3::size(size), Some(Node::File(data))) = (attributes.size, inner.nodes.get_mut(&id)) {
            data.resize(usize::try_from(size).unwrap_or(0), 0);
        }
        inner.attributes(id)
    }

    async fn read(&self, id: fileid3, offset: u64, count: u32) -> Result<(Vec<u8>, bool), nfsstat3> {
        let inner = self.inner.lock();
        let Some(Node::File(data)) = inner.nodes.get(&id) else { return Err(nfsstat3::NFS3ERR_STALE) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        let end = start.saturating_add(count as usize).min(data.len());
        Ok((data[start..end].to_vec(), end == data.len()))
    }

    async fn write(&self, id: fileid3, offset: u64, bytes: &[u8]) -> Result<fattr3, nfsstat3> {
        let mut inner = self.inner.lock();
        let Some(Node::File(data)) = inner.nodes.get_mut(&id) else { return Err(nfsstat3::NFS3ERR_STALE) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes.len());
        if data.len() < end {
            data.resize(end, 0);
        }
        data[start..end].copy_from_slice(bytes);
        inner.attributes(id)
    }

    async fn create(&self, dir: fileid3, name: &filename3, _: sattr3) -> Result<(fileid3, fattr3), nfsstat3> {
        let mut inner = self.inner.lock();
        let id = inner.make(dir, name, Node::File(Vec::new()));
        Ok((id, inner.attributes(id)?))
    }

    async fn create_exclusive(&self, dir: fileid3, name: &filename3) -> Result<fileid3, nfsstat3> {
        Ok(self.inner.lock().make(dir, name, Node::File(Vec::new())))
    }

    async fn mkdir(&self, dir: fileid3, name: &filename3) -> Result<(fileid3, fattr3), nfsstat3> {
        let mut inner = self.inner.lock();
        let id = inner.make(dir, name, Node::Dir);
        Ok((id, inner.attributes(id)?))
    }

    async fn remove(&self, dir: fileid3, name: &filename3) -> Result<(), nfsstat3> {
        let mut inner = self.inner.lock();
        let id = inner.find(dir, name)?;
        inner.nodes.remove(&id);
        inner.entries.remove(&(dir, id));
        inner.names.entry(dir).or_default().remove(&name[..]);
        Ok(())
    }

    async fn rename(&self, _: fileid3, _: &filename3, _: fileid3, _: &filename3) -> Result<(), nfsstat3> {
        Err(nfsstat3::NFS3ERR_NOTSUPP)
    }

    async fn readdir(&self, dir: fileid3, after: fileid3, most: usize) -> Result<ReadDirResult, nfsstat3> {
        let inner = self.inner.lock();
        let range = (Bound::Excluded((dir, after)), Bound::Included((dir, fileid3::MAX)));
        let mut found = inner.entries.range(range);
        let mut entries = Vec::new();
        for ((_, id), name) in found.by_ref().take(most) {
            entries.push(DirEntry { fileid: *id, name: name[..].into(), attr: inner.attributes(*id)? });
        }
        Ok(ReadDirResult { entries, end: found.next().is_none() })
    }

    async fn symlink(
        &self,
        _: fileid3,
        _: &filename3,
        _: &nfspath3,
        _: &sattr3,
    ) -> Result<(fileid3, fattr3), nfsstat3> {
        Err(nfsstat3::NFS3ERR_NOTSUPP)
    }

    async fn readlink(&self, _: fileid3) -> Result<nfspath3, nfsstat3> {
        Err(nfsstat3::NFS3ERR_INVAL)
    }
}
