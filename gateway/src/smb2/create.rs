//! CREATE and CLOSE (MS-SMB2 §3.3.5.9, §3.3.5.10): every disposition, access and sharing.

use super::dispatch::Asked;
use super::open::{self, Name, Open};
use super::path::{self, Found};
use super::reply::{Body, Failure, Reply};
use super::wire::FileId;
use super::wire::create::*;
use super::wire::create_contexts::CreateContext;
use super::wire::create_replies::CreateReplyContext;
use super::wire::names::Path;
use super::wire::status::NtStatus;
use super::{rights, shown};
use crate::openstate::{Access, FileKey, ShareRequest};
use crate::vserver::{GatePass, Vserver};
use fsstore::{Attr, Context, CreateHow, FileKind, Op, SetAttrs, Volume};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio_util::sync::CancellationToken;

/// Permission bits of what clients of SMB make where no list says otherwise.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

/// What a disposition does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Open,
    Make,
    Overwrite,
    Supersede,
}

impl Deed {
    fn of(disposition: u32, exists: bool) -> Result<Deed, NtStatus> {
        match (disposition, exists) {
            (disposition::OPEN | disposition::OPEN_IF, true) => Ok(Deed::Open),
            (disposition::OVERWRITE | disposition::OVERWRITE_IF, true) => Ok(Deed::Overwrite),
            (disposition::SUPERSEDE, true) => Ok(Deed::Supersede),
            (disposition::CREATE, true) => Err(NtStatus::OBJECT_NAME_COLLISION),
            (disposition::OPEN | disposition::OVERWRITE, false) => Err(NtStatus::OBJECT_NAME_NOT_FOUND),
            (
                disposition::CREATE
                | disposition::OPEN_IF
                | disposition::OVERWRITE_IF
                | disposition::SUPERSEDE,
                false,
            ) => Ok(Deed::Make),
            _ => Err(NtStatus::INVALID_PARAMETER),
        }
    }

    fn action(self) -> u32 {
        match self {
            Deed::Open => action::OPENED,
            Deed::Make => action::CREATED,
            Deed::Overwrite => action::OVERWRITTEN,
            Deed::Supersede => action::SUPERSEDED,
        }
    }

    fn truncates(self) -> bool {
        matches!(self, Deed::Overwrite | Deed::Supersede)
    }
}

fn check(request: &CreateRequest) -> Result<(), NtStatus> {
    let options = request.options;
    let both = options::DIRECTORY_FILE | options::NON_DIRECTORY_FILE;
    let truncates =
        !matches!(request.disposition, disposition::OPEN | disposition::CREATE | disposition::OPEN_IF);
    let wrong = options & both == both
        || request.disposition > disposition::OVERWRITE_IF
        || options & options::DIRECTORY_FILE != 0 && truncates
        || options & options::DELETE_ON_CLOSE != 0
            && rights::specific(request.desired_access) & (access::DELETE | access::MAXIMUM_ALLOWED) == 0
        || request.share_access & !(share::READ | share::WRITE | share::DELETE) != 0;
    if wrong {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    if request.impersonation_level > 3 {
        return Err(NtStatus::BAD_IMPERSONATION_LEVEL);
    }
    if options & options::OPEN_BY_FILE_ID != 0 {
        return Err(NtStatus::NOT_SUPPORTED);
    }
    Ok(())
}

/// Opens or makes a file or directory. Gives the id of the new open too.
pub(super) async fn create(asked: &Asked, inside: &GatePass) -> Result<(FileId, Body), Failure> {
    let request = CreateRequest::decode(&asked.message)?;
    check(&request)?;
    let reconnects = |context: &CreateContext| {
        matches!(context, CreateContext::DurableReconnect { .. } | CreateContext::DurableReconnectV2 { .. })
    };
    if request.contexts.iter().any(reconnects) {
        // No handle outlives its connection yet.
        return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
    }
    let path = Path::parse(&request.name)?;
    if path.stream.as_ref().is_some_and(|stream| !stream.name.is_empty()) {
        return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
    }
    let cx = asked.session.identity.context();
    let vserver = &asked.connection.listener.vserver;
    let follow = request.options & options::OPEN_REPARSE_POINT == 0;
    let found = path::find(&vserver.namespace(), &cx, &asked.tree, &path, follow)?;
    let volume = open::volume(vserver, found.volume)?;
    Opening { asked, inside, request, cx, volume, found }.run().await
}

struct Opening<'a> {
    asked: &'a Asked,
    inside: &'a GatePass,
    request: CreateRequest,
    cx: Context,
    volume: Arc<Volume>,
    found: Found,
}

impl Opening<'_> {
    fn vserver(&self) -> &Vserver {
        &self.asked.connection.listener.vserver
    }

    async fn run(self) -> Result<(FileId, Body), Failure> {
        let deed = Deed::of(self.request.disposition, self.found.attr.is_some())?;
        self.asked.session.has_room()?;
        let number = self.vserver().smb.open_number()?;
        let (attr, most) = match self.found.attr {
            Some(attr) => (attr, self.rights_to(&attr, deed)?),
            None => (self.make()?, self.asked.tree.rights),
        };
        let wanted = rights::specific(self.request.desired_access);
        let granted =
            if wanted & access::MAXIMUM_ALLOWED != 0 { most | wanted & access::SYNCHRONIZE } else { wanted };
        let key = FileKey { volume: self.found.volume, file: attr.id };
        let owner = open::owner(self.asked.connection.client, &self.asked.session, number);
        let open = Open {
            id: FileId { persistent: number, volatile: number },
            tree: Arc::clone(&self.asked.tree),
            key,
            kind: attr.kind,
            name: Mutex::new(Name {
                dir: self.found.dir,
                name: self.found.name.clone(),
                path: self.found.path.clone(),
            }),
            granted,
            write_through: self.request.options & options::WRITE_THROUGH != 0,
            cx: self.cx.clone(),
            owner,
            delete_on_close: AtomicBool::new(self.request.options & options::DELETE_ON_CLOSE != 0),
            position: AtomicU64::new(0),
            listing: Mutex::default(),
            closed: CancellationToken::new(),
        };
        self.share(&open, deed)?;
        let attr = match self.finish(&open, deed, attr).await {
            Ok(attr) => attr,
            Err(failure) => {
                open.delete_on_close.store(false, Ordering::Relaxed);
                open.close(self.vserver(), self.inside);
                return Err(failure);
            }
        };
        let (id, body) = (open.id, self.respond(&open, deed, &attr, most));
        self.asked.session.keep(Arc::new(open));
        Ok((id, body))
    }

    /// The rights to a file that is there, if those that are asked for are among them.
    fn rights_to(&self, attr: &Attr, deed: Deed) -> Result<u32, Failure> {
        let request = &self.request;
        let is_dir = attr.kind == FileKind::Dir;
        if is_dir && (request.options & options::NON_DIRECTORY_FILE != 0 || deed.truncates()) {
            return Err(NtStatus::FILE_IS_A_DIRECTORY.into());
        }
        if !is_dir && request.options & options::DIRECTORY_FILE != 0 {
            return Err(NtStatus::NOT_A_DIRECTORY.into());
        }
        let dir = if self.found.name.is_empty() { None } else { Some(self.volume.getattr(self.found.dir)?) };
        let most = rights::of(&self.volume, &self.cx, dir.as_ref(), attr)? & self.asked.tree.rights;
        let mut wanted = rights::specific(request.desired_access) & !access::MAXIMUM_ALLOWED;
        if deed.truncates() {
            wanted |= access::WRITE_DATA;
        }
        if wanted & !most != 0 || request.desired_access == 0 {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if request.options & options::DELETE_ON_CLOSE != 0
            && shown::attributes(attr, &self.found.name) & attribute::READONLY != 0
        {
            return Err(NtStatus::CANNOT_DELETE.into());
        }
        Ok(most)
    }

    fn make(&self) -> Result<Attr, Failure> {
        if self.asked.tree.rights & access::WRITE_DATA == 0 || self.request.desired_access == 0 {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let (dir, name) = (self.found.dir, self.found.name.clone());
        let is_dir = self.request.options & options::DIRECTORY_FILE != 0;
        let read_only = self.request.file_attributes & attribute::READONLY != 0;
        let mode = match (is_dir, read_only) {
            (true, _) => DIR_MODE,
            (false, true) => FILE_MODE & !0o222,
            (false, false) => FILE_MODE,
        };
        let attrs = SetAttrs { mode: Some(mode), ..SetAttrs::default() };
        let op = if is_dir {
            Op::Mkdir { dir, name, attrs }
        } else {
            Op::Create { dir, name, how: CreateHow::Guarded(attrs) }
        };
        Ok(self.volume.execute_folded(&self.cx, op)?.object.after)
    }

    /// Enters the open among those of its file, if these let it.
    fn share(&self, open: &Open, deed: Deed) -> Result<(), NtStatus> {
        let locks = &self.vserver().locks;
        if locks.is_delete_pending(open.key) {
            return Err(NtStatus::DELETE_PENDING);
        }
        let uses = Access {
            read: open.granted & (access::READ_DATA | access::EXECUTE) != 0,
            write: open.granted & (access::WRITE_DATA | access::APPEND_DATA) != 0 || deed.truncates(),
            delete: open.granted & access::DELETE != 0,
        };
        let shares = self.request.share_access;
        // Who only looks at attributes is in nobody's way.
        let deny = if uses == Access::default() {
            Access::default()
        } else {
            Access {
                read: shares & share::READ == 0,
                write: shares & share::WRITE == 0,
                delete: shares & share::DELETE == 0,
            }
        };
        let asked = ShareRequest {
            file: open.key,
            owner: open.owner.clone(),
            access: uses,
            deny,
            incarnation: 0,
            now_s: u64::try_from(self.cx.now.secs).unwrap_or(0),
        };
        match locks.share(asked) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(NtStatus::SHARING_VIOLATION),
            Err(_) => Err(NtStatus::INSUFFICIENT_RESOURCES),
        }
    }

    async fn finish(&self, open: &Open, deed: Deed, attr: Attr) -> Result<Attr, Failure> {
        let mut attr = attr;
        if deed.truncates() {
            let attrs = SetAttrs { size: Some(0), ..SetAttrs::default() };
            let op = Op::SetAttr { file: attr.id, attrs, guard: None };
            attr = self.volume.execute(&self.cx, op)?.object.after;
        }
        if open.write_through && deed != Deed::Open {
            self.volume.durable(self.volume.last_lsn()).await?;
        }
        Ok(attr)
    }

    fn respond(&self, open: &Open, deed: Deed, attr: &Attr, most: u32) -> Body {
        let contexts = self.request.contexts.iter().filter_map(|context| match context {
            CreateContext::MaximalAccess { .. } => {
                Some(CreateReplyContext::MaximalAccess { status: NtStatus::SUCCESS, access: most })
            }
            CreateContext::QueryOnDiskId => {
                Some(CreateReplyContext::OnDiskId { file_id: attr.id.ino.0, volume_id: open.key.volume.0 })
            }
            _ => None,
        });
        let response = CreateResponse {
            oplock_level: oplock::NONE,
            flags: 0,
            action: deed.action(),
            file: shown::facts(attr, &self.found.name),
            file_id: open.id,
            contexts: contexts.collect(),
        };
        Body::of(|out| response.encode(out))
    }
}

/// Closes an open.
pub(super) fn close(asked: &Asked, inside: &GatePass) -> Reply {
    let request = CloseRequest::decode(&asked.message)?;
    let open = asked.session.remove(asked.id(request.file_id)?, &asked.tree)?;
    let vserver = &asked.connection.listener.vserver;
    let attr = if request.wants_attributes() { open.attr(vserver).ok() } else { None };
    let file = attr.map(|attr| shown::facts(&attr, &open.name.lock().name));
    open.close(vserver, inside);
    Ok(Body::of(|out| CloseResponse { file }.encode(out)))
}
