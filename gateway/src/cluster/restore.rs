//! One file brought back from a snapshot: its content by sharing blocks, and what goes with it.
//!
//! A file that one operation can share is restored in place: it stays the same file, and readers see the old content or
//! the new one. A larger one is made beside it and then takes its name, so readers see one or the other too, but who has the
//! old file open has lost it. Attributes, streams and list follow one by one in the first case, and come with it in the
//! second.

use super::{ClusterError, Result, now};
use bytes::Bytes;
use fsstore::{
    Acl, Attr, CLONE_MAX, Context, CreateHow, Done, FileId, FileKind, FsError, Lsn, Op, ROOT, SetAttrs,
    SetTime, Snapshot, Volume, XattrHow, root_of,
};

/// Bytes of a stream copied at once.
const COPY_BYTES: usize = 1 << 20;

fn walk(volume: &Volume, root: FileId, path: &str) -> Result<FileId> {
    let cx = Context::root(now());
    let mut at = root;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = match volume.lookup(&cx, at, name.as_bytes()) {
            Ok(attr) => attr.id,
            Err(FsError::NotFound | FsError::NotDir) => return Err(ClusterError::not_found("path", path)),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(at)
}

/// Brings one file back, also where it was removed.
pub(super) fn restore_file(volume: &Volume, snapshot: &Snapshot, path: &str) -> Result<()> {
    let path = path.trim_end_matches('/');
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let from = volume.getattr(walk(volume, root_of(snapshot.id), path)?)?;
    if from.kind != FileKind::File {
        return Err(ClusterError::Invalid(format!(
            "`{path}` is no regular file; a directory can be copied out of .snapshot/{}",
            snapshot.name
        )));
    }
    let dir = walk(volume, ROOT, dir)?;
    let there = volume.lookup(&Context::root(now()), dir, name.as_bytes()).ok();
    if there.as_ref().is_some_and(|there| there.kind != FileKind::File) {
        return Err(ClusterError::Conflict(format!(
            "`{path}` is something else than a file now; move it away"
        )));
    }
    let name = Bytes::copy_from_slice(name.as_bytes());
    let restore = Restore { volume, from };
    let done =
        if restore.from.size <= CLONE_MAX { restore.in_place(dir, name) } else { restore.beside(dir, name) };
    Ok(volume.wait_durable(done?)?)
}

struct Restore<'a> {
    volume: &'a Volume,
    /// As the snapshot has it.
    from: Attr,
}

impl Restore<'_> {
    fn run(&self, op: Op) -> fsstore::Result<Done> {
        self.volume.execute(&Context::root(now()), op)
    }

    fn in_place(&self, dir: FileId, name: Bytes) -> fsstore::Result<Lsn> {
        let how = CreateHow::Unchecked(SetAttrs { mode: Some(0o600), ..SetAttrs::default() });
        let to = self.run(Op::Create { dir, name, how })?.object.after.id;
        self.run(Op::CloneFile { from: self.from.id, to })?;
        self.attributes(to)
    }

    fn beside(&self, dir: FileId, name: Bytes) -> fsstore::Result<Lsn> {
        let new = Bytes::from(format!(".ferry-restore-{}", self.from.id.ino));
        // One that a crash has left.
        match self.run(Op::Remove { dir, name: new.clone() }) {
            Ok(_) | Err(FsError::NotFound) => {}
            Err(error) => return Err(error),
        }
        let how = CreateHow::Guarded(SetAttrs { mode: Some(0o600), ..SetAttrs::default() });
        let to = self.run(Op::Create { dir, name: new.clone(), how })?.object.after.id;
        let done = self.fill(to).and_then(|()| {
            self.run(Op::Rename { from_dir: dir, from: new.clone(), to_dir: dir, to: name })
                .map(|done| done.lsn)
        });
        if done.is_err() {
            // A volume that takes no changes any more keeps it; the next attempt removes it.
            let _ = self.run(Op::Remove { dir, name: new });
        }
        done
    }

    fn fill(&self, to: FileId) -> fsstore::Result<()> {
        let from = self.from.id;
        for offset in (0..self.from.size).step_by(usize::try_from(CLONE_MAX).unwrap_or(usize::MAX)) {
            let len = (self.from.size - offset).min(CLONE_MAX);
            self.run(Op::CloneRange { from, from_offset: offset, to, to_offset: offset, len })?;
        }
        let attrs = SetAttrs {
            mode: Some(self.from.mode),
            uid: Some(self.from.uid),
            gid: Some(self.from.gid),
            ..SetAttrs::default()
        };
        self.run(Op::SetAttr { file: to, attrs, guard: None })?;
        self.attributes(to)?;
        let times = SetAttrs {
            mtime: SetTime::To(self.from.mtime),
            btime: SetTime::To(self.from.btime),
            dos: self.from.dos,
            ..SetAttrs::default()
        };
        self.run(Op::SetAttr { file: to, attrs: times, guard: None })?;
        Ok(())
    }

    /// Extended attributes, streams and list become those of the snapshot.
    fn attributes(&self, to: FileId) -> fsstore::Result<Lsn> {
        let (volume, cx, from) = (self.volume, Context::root(now()), self.from.id);
        let wanted = volume.xattrs(&cx, from)?;
        for name in volume.xattrs(&cx, to)?.into_iter().filter(|name| !wanted.contains(name)) {
            self.run(Op::RemoveXattr { file: to, name })?;
        }
        for name in wanted {
            let value = volume.xattr(&cx, from, &name)?;
            self.run(Op::SetXattr { file: to, name, value, how: XattrHow::Either })?;
        }
        let wanted = volume.streams(from)?;
        let stays = |name: &Bytes| wanted.iter().any(|stream| stream.name == *name);
        for stream in volume.streams(to)?.into_iter().filter(|stream| !stays(&stream.name)) {
            self.run(Op::RemoveStream { file: to, name: stream.name })?;
        }
        for stream in &wanted {
            let made = self.run(Op::MakeStream { file: to, name: stream.name.clone(), guarded: false })?;
            self.copy(&stream.attr, made.object.after.id)?;
        }
        let acl = volume.acl(from)?;
        let stored = (acl != Acl::from_mode(self.from.mode, false)).then_some(acl);
        Ok(self.run(Op::SetAcl { file: to, acl: stored })?.lsn)
    }

    /// A stream's bytes: only files of their own share blocks.
    fn copy(&self, from: &Attr, to: FileId) -> fsstore::Result<()> {
        let cx = Context::root(now());
        let empty = SetAttrs { size: Some(0), ..SetAttrs::default() };
        self.run(Op::SetAttr { file: to, attrs: empty, guard: None })?;
        let mut offset = 0;
        while offset < from.size {
            let data = self.volume.read(&cx, from.id, offset, COPY_BYTES)?.data;
            if data.is_empty() {
                break;
            }
            let len = data.len() as u64;
            self.run(Op::Write { file: to, offset, data })?;
            offset += len;
        }
        Ok(())
    }
}
