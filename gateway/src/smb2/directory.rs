//! QUERY_DIRECTORY (MS-SMB2 §3.3.5.18): listings, a page at a time, with patterns.

use super::dispatch::Asked;
use super::open::Open;
use super::reply::{Body, Reply};
use super::wire::create::access;
use super::wire::directory::*;
use super::wire::names::wildcard::{Pattern, is_pattern};
use super::wire::names::{mapping, upcase};
use super::wire::output::Output;
use super::wire::status::NtStatus;
use super::{apple, path, rights, shown};
use crate::vserver::{Namespace, Vserver};
use bytes::{Bytes, BytesMut};
use fsstore::{Attr, Context, Cookie, FileKind, FsError, ROOT, Volume};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// Where a listing has got to.
#[derive(Debug)]
pub(super) struct Listing {
    wanted: Wanted,
    after: Cookie,
    /// Something was given already.
    given: bool,
    done: bool,
}

#[derive(Debug)]
enum Wanted {
    /// One name, which needs no scan.
    Name(String),
    Pattern(Pattern),
}

impl Listing {
    fn new(pattern: &str) -> Result<Listing, NtStatus> {
        let wanted = if pattern.is_empty() || is_pattern(pattern) {
            let pattern = if pattern.is_empty() { "*" } else { pattern };
            Wanted::Pattern(Pattern::new(pattern, upcase).map_err(|malformed| malformed.status)?)
        } else {
            Wanted::Name(pattern.to_owned())
        };
        Ok(Listing { wanted, after: Cookie(0), given: false, done: false })
    }
}

/// Gives the next entries of a directory.
pub(super) fn query(asked: &Asked) -> Reply {
    let request = QueryDirectoryRequest::decode(&asked.message)?;
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    if open.kind != FileKind::Dir {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    let class = EntryClass::of(request.information_class).ok_or(NtStatus::INVALID_INFO_CLASS)?;
    open.may(access::READ_DATA)?;
    let most = asked.agreed().map_or(0, super::negotiate::Agreed::transfer_max);
    if request.output_buffer_length > most {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    let mut listing = open.listing.lock();
    if listing.is_none() || request.flags & (RESTART_SCANS | REOPEN) != 0 {
        *listing = Some(Listing::new(&request.pattern)?);
    }
    let Some(listing) = listing.as_mut() else { return Err(NtStatus::INTERNAL_ERROR.into()) };
    let vserver = &asked.connection.listener.vserver;
    let namespace = vserver.namespace();
    let volume = open.volume(vserver)?;
    let mut page = Page {
        open: &open,
        cx: open.context(),
        namespace: &namespace,
        volume: &volume,
        single: request.flags & RETURN_SINGLE_ENTRY != 0,
        finder: class == EntryClass::IdBothDirectory && asked.session.reads_finder.load(Ordering::Relaxed),
        entries: None,
        full: false,
        outcome: Ok(()),
    };
    let mut failed = Ok(());
    let body = Body::of(|out| {
        let output = Output::begin(out);
        page.entries = Some(EntryList::new(class, out, request.output_buffer_length as usize));
        failed = page.fill(listing, out);
        output.finish(out);
    });
    failed?;
    let empty = page.entries.as_ref().is_none_or(EntryList::is_empty);
    match (empty, page.full) {
        (false, _) => {
            listing.given = true;
            Ok(body)
        }
        (true, true) => Err(NtStatus::INFO_LENGTH_MISMATCH.into()),
        (true, false) if listing.given => Err(NtStatus::NO_MORE_FILES.into()),
        (true, false) => {
            listing.given = true;
            Err(NtStatus::NO_SUCH_FILE.into())
        }
    }
}

struct Page<'a> {
    open: &'a Open,
    cx: Context,
    namespace: &'a Namespace,
    volume: &'a Volume,
    single: bool,
    /// Entries have what Finder shows.
    finder: bool,
    entries: Option<EntryList>,
    /// The next entry had no room.
    full: bool,
    outcome: Result<(), FsError>,
}

impl Page<'_> {
    fn fill(&mut self, listing: &mut Listing, out: &mut BytesMut) -> Result<(), FsError> {
        if listing.done {
            return Ok(());
        }
        let dir = self.open.key.file;
        match &listing.wanted {
            Wanted::Name(name) => {
                let name = Bytes::from(mapping::to_volume(name).into_owned());
                match path::lookup(self.volume, &self.cx, dir, &name) {
                    Ok((attr, real)) => listing.done = self.put(&real, &attr, out),
                    Err(FsError::NotFound) => listing.done = true,
                    Err(error) => return Err(error),
                }
                Ok(())
            }
            Wanted::Pattern(pattern) => {
                let mut after = listing.after;
                let volume = self.volume;
                let cx = self.cx.clone();
                let ended = volume.readdir(&cx, dir, after, &mut |entry| {
                    let shown = mapping::to_client(entry.name);
                    if pattern.matches_all() || pattern.matches(&shown) {
                        let placed = match volume.getattr(entry.file) {
                            Ok(attr) => self.put(entry.name, &attr, out),
                            // Gone meanwhile.
                            Err(FsError::Stale) => true,
                            Err(error) => {
                                self.outcome = Err(error);
                                false
                            }
                        };
                        if !placed {
                            return ControlFlow::Break(());
                        }
                        after = entry.cookie;
                        if self.single {
                            return ControlFlow::Break(());
                        }
                    }
                    after = entry.cookie;
                    ControlFlow::Continue(())
                })?;
                listing.after = after;
                listing.done = ended;
                std::mem::replace(&mut self.outcome, Ok(()))
            }
        }
    }

    /// Puts an entry, unless the user is not to see it. `false`: it has no room.
    fn put(&mut self, name: &[u8], attr: &Attr, out: &mut BytesMut) -> bool {
        let mounted = self.namespace.junction_at(self.open.key.volume, self.open.key.file, name);
        let of_root = mounted.and_then(|mount| mount.volume.getattr(ROOT).ok());
        let attr = of_root.as_ref().unwrap_or(attr);
        if self.open.tree.access_based_enumeration && mounted.is_none() && self.is_secret(attr) {
            return true;
        }
        let shown_name = mapping::to_client(name);
        let facts = shown::facts(attr, name);
        let entry = Entry {
            name: &shown_name,
            file_index: 0,
            creation_time: facts.creation_time,
            last_access_time: facts.last_access_time,
            last_write_time: facts.last_write_time,
            change_time: facts.change_time,
            end_of_file: facts.end_of_file,
            allocation_size: facts.allocation_size,
            attributes: facts.file_attributes,
            ea_size: shown::ea_size(attr),
            file_id: shown::file_number(attr.id),
            finder: self.finder.then(|| {
                let volume = mounted.map_or(self.volume, |mount| &mount.volume);
                let access = rights::of(volume, &self.cx, None, attr, false).unwrap_or_default();
                apple::finder(volume, &self.cx, attr, access & self.open.tree.rights)
            }),
        };
        let placed = self.entries.as_mut().is_some_and(|entries| entries.push(&entry, out));
        self.full |= !placed;
        placed
    }

    fn is_secret(&self, attr: &Attr) -> bool {
        let has = rights::of(self.volume, &self.cx, None, attr, false);
        has.is_ok_and(|has| has & rights::FILE_READ != rights::FILE_READ)
    }
}

/// Whether a directory has entries.
pub(super) fn is_empty(vserver: &Vserver, open: &Open) -> Result<bool, NtStatus> {
    let mut found = false;
    let volume = open.volume(vserver)?;
    // Who may delete a directory need not be able to list it.
    let cx = Context::root(super::now());
    let listed = volume.readdir(&cx, open.key.file, Cookie(2), &mut |_| {
        found = true;
        ControlFlow::Break(())
    });
    listed.map_err(|error| super::status::of(&error))?;
    Ok(!found)
}
