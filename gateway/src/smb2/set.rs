//! SET_INFO (MS-SMB2 §3.3.5.21): times, sizes, names, deletion, attributes, permissions.

use super::dispatch::Asked;
use super::open::{Name, Open};
use super::path;
use super::reply::{Body, Failure, Reply};
use super::streams::Named;
use super::times::set_time;
use super::wire::create::{access, attribute};
use super::wire::info::ea::Ea;
use super::wire::info::set::{DISPOSITION_DELETE, NewName, SetBasic, SetFile};
use super::wire::info::{SetInfoRequest, info_type};
use super::wire::names::{Path, split_stream};
use super::wire::plain::SetInfoResponse;
use super::wire::status::NtStatus;
use super::{directory, quota, security, shown, streams};
use crate::openstate::{Access, Deed, FileKey};
use crate::vserver::Vserver;
use bytes::Bytes;
use fsstore::{DosAttributes, FileKind, Op, SetAttrs, SetTime, SnapshotId, Volume, XattrHow};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Answers SET_INFO.
pub(super) async fn set(asked: &Asked) -> Reply {
    let request = SetInfoRequest::decode(&asked.message)?;
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    let vserver = &asked.connection.listener.vserver;
    match request.info_type {
        info_type::FILE => {
            let change = SetFile::decode(request.info_class, &request.buffer)?;
            Setting { asked, vserver, open: &open }.apply(change)?;
        }
        info_type::SECURITY => {
            security::set(vserver, &open, request.additional_information, &request.buffer)?;
        }
        info_type::QUOTA => quota::set(vserver, &open, &request.buffer)?,
        _ => return Err(NtStatus::NOT_SUPPORTED.into()),
    }
    if open.write_through {
        let volume = open.volume(vserver)?;
        volume.durable(volume.last_lsn()).await?;
    }
    Ok(Body::of(|out| SetInfoResponse.encode(out)))
}

struct Setting<'a> {
    asked: &'a Asked,
    vserver: &'a Vserver,
    open: &'a Arc<Open>,
}

impl Setting<'_> {
    fn apply(&self, change: SetFile) -> Result<(), Failure> {
        let open = self.open;
        match change {
            SetFile::Basic(basic) => {
                open.may(access::WRITE_ATTRIBUTES)?;
                self.basic(&basic)
            }
            SetFile::Rename(to) => {
                open.may(access::DELETE)?;
                self.rename(&to)
            }
            SetFile::Link(to) => self.link(&to),
            SetFile::Disposition { flags } => {
                open.may(access::DELETE)?;
                Ok(self.dispose(flags & DISPOSITION_DELETE != 0)?)
            }
            SetFile::Position(position) => {
                open.position.store(position, Ordering::Relaxed);
                Ok(())
            }
            SetFile::Mode(_) => Ok(()),
            SetFile::Allocation(bytes) => {
                open.may(access::WRITE_DATA)?;
                self.vserver.locks.contend(open.key, Deed::Change, Some(&open.owner));
                // Blocks are given out when they are written; only less than the file has changes anything.
                if bytes < open.attr(self.vserver)?.size { self.resize(bytes) } else { Ok(()) }
            }
            SetFile::EndOfFile(bytes) => {
                open.may(access::WRITE_DATA)?;
                self.vserver.locks.contend(open.key, Deed::Change, Some(&open.owner));
                self.resize(bytes)
            }
            SetFile::ValidDataLength(_) => Err(NtStatus::PRIVILEGE_NOT_HELD.into()),
            SetFile::FullEa(eas) => {
                open.may(access::WRITE_EA)?;
                eas.into_iter().try_for_each(|ea| self.ea(ea))
            }
        }
    }

    fn execute(&self, op: Op) -> Result<(), Failure> {
        let volume = self.open.volume(self.vserver)?;
        volume.execute_folded(&self.open.context(), op)?;
        Ok(())
    }

    fn set_attrs(&self, attrs: SetAttrs) -> Result<(), Failure> {
        self.execute(Op::SetAttr { file: self.open.base.file, attrs, guard: None })
    }

    fn resize(&self, bytes: u64) -> Result<(), Failure> {
        if self.open.kind == FileKind::Dir {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let attrs = SetAttrs { size: Some(bytes), ..SetAttrs::default() };
        let op = Op::SetAttr { file: self.open.key.file, attrs, guard: None };
        self.open.write(&*self.open.volume(self.vserver)?, &self.open.context(), op)?;
        self.open.times.lock().reveal();
        Ok(())
    }

    /// `FileBasicInformation` (MS-FSA §2.1.5.15.2).
    fn basic(&self, basic: &SetBasic) -> Result<(), Failure> {
        let attr = self.open.attr(self.vserver)?;
        let asked = basic.file_attributes;
        let wrong = if attr.kind == FileKind::Dir { attribute::TEMPORARY } else { attribute::DIRECTORY };
        if asked & wrong != 0 {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let sparse = attr.dos.unwrap_or_default().0 & DosAttributes::SPARSE;
        let dos = DosAttributes(shown::settable(asked).0 | sparse);
        let mut attrs = SetAttrs {
            atime: set_time(basic.last_access_time),
            mtime: set_time(basic.last_write_time),
            ctime: set_time(basic.change_time),
            btime: set_time(basic.creation_time),
            dos: Some(dos).filter(|_| asked != 0),
            ..SetAttrs::default()
        };
        let mut times = self.open.times.lock();
        times.reveal();
        if times.keeps_change() && attrs != SetAttrs::default() && attrs.ctime == SetTime::Keep {
            attrs.ctime = SetTime::To(attr.ctime);
        }
        times.hold(basic);
        drop(times);
        if attrs == SetAttrs::default() { Ok(()) } else { self.set_attrs(attrs) }
    }

    fn rename(&self, to: &NewName) -> Result<(), Failure> {
        let open = self.open;
        if let Some(stream) = &open.stream {
            return self.rename_stream(stream, to);
        }
        let old = open.name.lock().clone();
        if old.name.is_empty() || to.name.starts_with(':') {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let found = self.target(to)?;
        if let Some(attr) = found.attr
            && attr.id != open.key.file
        {
            if !to.replace_if_exists() {
                return Err(NtStatus::OBJECT_NAME_COLLISION.into());
            }
            let taken = FileKey { volume: found.volume, file: attr.id };
            if attr.kind == FileKind::Dir || self.vserver.locks.shares_of(taken) > 0 {
                return Err(NtStatus::ACCESS_DENIED.into());
            }
        }
        if open.kind != FileKind::Dir {
            self.may_enter(FileKey { volume: found.volume, file: found.dir })?;
        }
        let volume = open.volume(self.vserver)?;
        if open.kind == FileKind::Dir && self.is_open_below(&volume) {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if streams::any_open(self.vserver, &volume, open.key.volume, open.key.file)? {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        // The same file in another case keeps its place and gets the name as it is written now.
        let (name, path) = if found.attr.is_some_and(|attr| attr.id == open.key.file) {
            let written = last_name(&to.name)?;
            let above = found.path.rsplit_once('\\').map_or(String::new(), |(above, _)| format!("{above}\\"));
            (volume_name(written), above + written)
        } else {
            (found.name, found.path)
        };
        let op = Op::Rename { from_dir: old.dir, from: old.name, to_dir: found.dir, to: name.clone() };
        self.execute(op)?;
        *open.name.lock() = Name { dir: found.dir, name, path };
        Ok(())
    }

    /// A new name is put into a directory as if that was opened to write, for others to read and write beside (MS-FSA §2.1.5.15.11).
    /// Other servers do not ask so much for a directory's own name.
    fn may_enter(&self, dir: FileKey) -> Result<(), NtStatus> {
        let adds = Access { write: true, ..Access::default() };
        let deny = Access { delete: true, ..Access::default() };
        if self.vserver.locks.bars(dir, adds, deny) { Err(NtStatus::SHARING_VIOLATION) } else { Ok(()) }
    }

    /// Whether anybody has a file in this directory, or in one below it, open: then it stays where it is.
    fn is_open_below(&self, volume: &Volume) -> bool {
        let dir = self.open.key.file;
        let open = self.vserver.locks.reserved(self.open.key.volume);
        // One that is gone is nowhere.
        open.into_iter().any(|file| volume.is_below(file, dir).unwrap_or(false))
    }

    /// A stream's new name begins with a colon and has no file's name before it (MS-FSA §2.1.5.15.11). It takes the place of an
    /// empty stream that nobody has open, and never that of the file's own data.
    fn rename_stream(&self, old: &Mutex<Bytes>, to: &NewName) -> Result<(), Failure> {
        let (key, file) = (self.open.key, self.open.base.file);
        let ("", Some(new)) = split_stream(&to.name)? else {
            return Err(NtStatus::SHARING_VIOLATION.into());
        };
        let Named::Stream(name) = Named::of(new)? else {
            return Err(NtStatus::INVALID_PARAMETER.into());
        };
        let volume = self.open.volume(self.vserver)?;
        let mut to_name = Bytes::copy_from_slice(name.as_bytes());
        if let Some((attr, taken)) = streams::find(&volume, file, name)?
            && attr.id != key.file
        {
            if !to.replace_if_exists() {
                return Err(NtStatus::OBJECT_NAME_COLLISION.into());
            }
            if attr.size > 0 || self.vserver.locks.shares_of(FileKey { file: attr.id, ..key }) > 0 {
                return Err(NtStatus::INVALID_PARAMETER.into());
            }
            to_name = taken;
        }
        let mut old = old.lock();
        let op = Op::RenameStream {
            file,
            from: old.clone(),
            to: to_name.clone(),
            replace: to.replace_if_exists(),
        };
        self.execute(op)?;
        *old = to_name;
        Ok(())
    }

    fn link(&self, to: &NewName) -> Result<(), Failure> {
        if self.open.stream.is_some() {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let found = self.target(to)?;
        if found.attr.is_some() {
            return Err(NtStatus::OBJECT_NAME_COLLISION.into());
        }
        self.execute(Op::Link { file: self.open.key.file, dir: found.dir, name: found.name })
    }

    /// Where a new name leads.
    fn target(&self, to: &NewName) -> Result<path::Found, Failure> {
        let path = Path::parse(to.name.strip_prefix('\\').unwrap_or(&to.name))?;
        if path.stream.is_some() || path.components.is_empty() {
            return Err(NtStatus::OBJECT_NAME_INVALID.into());
        }
        let namespace = self.vserver.namespace();
        let found = path::find(&namespace, &self.open.context(), &self.asked.tree, &path, false)?;
        if found.volume != self.open.key.volume {
            return Err(NtStatus::NOT_SAME_DEVICE.into());
        }
        if found.name.is_empty() {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        Ok(found)
    }

    /// Says that the file is to go with its last handle, or that it is to stay.
    fn dispose(&self, delete: bool) -> Result<(), NtStatus> {
        let open = self.open;
        if open.key.file.snapshot != SnapshotId::ACTIVE {
            return Err(NtStatus::MEDIA_WRITE_PROTECTED);
        }
        if delete {
            let attr = open.attr(self.vserver)?;
            let name = open.name.lock().name.clone();
            if name.is_empty() && open.stream.is_none()
                || shown::attributes(&attr, &name) & attribute::READONLY != 0
            {
                return Err(NtStatus::CANNOT_DELETE);
            }
            if attr.kind == FileKind::Dir && !directory::is_empty(self.vserver, open)? {
                return Err(NtStatus::DIRECTORY_NOT_EMPTY);
            }
        }
        if delete {
            open.goes_with_the_last(self.vserver);
            // Handles that are open in memory only would keep the file.
            self.vserver.locks.contend(open.key, Deed::Unname, Some(&open.owner));
        } else {
            self.vserver.locks.set_delete_pending(open.key, false);
        }
        Ok(())
    }

    fn ea(&self, ea: Ea) -> Result<(), Failure> {
        let (file, name) = (self.open.base.file, Bytes::from([b"user.", &ea.name[..]].concat()));
        if ea.value.is_empty() {
            return match self.execute(Op::RemoveXattr { file, name }) {
                Err(failure) if failure.status == NtStatus::OBJECT_NAME_NOT_FOUND => Ok(()),
                done => done,
            };
        }
        self.execute(Op::SetXattr { file, name, value: ea.value, how: XattrHow::Either })
    }
}

fn last_name(path: &str) -> Result<&str, NtStatus> {
    path.rsplit('\\').find(|name| !name.is_empty()).ok_or(NtStatus::OBJECT_NAME_INVALID)
}

fn volume_name(name: &str) -> Bytes {
    Bytes::from(super::wire::names::mapping::to_volume(name).into_owned())
}
