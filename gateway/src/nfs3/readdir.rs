//! READDIR and READDIRPLUS (RFC 1813 §3.3.16 and §3.3.17): whole entries up to the byte limits that the client set.

use super::caller::{Reply, Shown};
use super::dispatch::Handler;
use super::procedures::{
    DirList3, Entry3, EntryPlus3, ReadDir, ReadDir3Args, ReadDir3ResOk, ReadDirPlus, ReadDirPlus3Args,
    ReadDirPlus3ResOk,
};
use super::status::NfsStat3;
use super::types::{FAttr3, FileName3, NfsFh3, PostOpAttr};
use crate::handle::HANDLE_LEN;
use crate::vserver::{Caller, Target};
use crate::xdr::padding;
use bytes::{Bytes, BytesMut};
use fsstore::{Cookie, DirEntry, ROOT};
use std::ops::ControlFlow;

/// Cookies stay valid for as long as their directory, on every node, so there is nothing to verify.
const COOKIE_VERIFIER: [u8; 8] = [0; 8];

/// Most bytes of one answer, whatever the client asks for.
const REPLY_LEN_MAX: usize = 1 << 20;

/// Names and handles are put into pieces of memory of this length.
const TEXT_LEN: usize = 16 << 10;

const BOOL_LEN: usize = 4;
const FATTR_LEN: usize = 84;
/// An answer without entries: attributes, cookie verifier, end of the list, `eof`.
const EMPTY_REPLY_LEN: usize = BOOL_LEN + FATTR_LEN + 8 + BOOL_LEN + BOOL_LEN;

/// What `dircount` counts of one entry: file id, name and cookie.
fn dir_len(name: &[u8]) -> usize {
    8 + 4 + name.len() + padding(name.len()) + 8
}

/// Fills one answer.
struct Room {
    /// Left for whole entries.
    reply_left: usize,
    /// Left for what `dircount` counts; a hint, so the first entry may break it.
    dir_left: usize,
    /// Whether an entry is in.
    any: bool,
}

impl Room {
    fn new(count: u32, dircount: u32) -> Result<Room, NfsStat3> {
        let reply = (count as usize).min(REPLY_LEN_MAX);
        let reply_left = reply.checked_sub(EMPTY_REPLY_LEN).ok_or(NfsStat3::TooSmall)?;
        Ok(Room { reply_left, dir_left: dircount as usize, any: false })
    }

    /// Takes room for an entry of these lengths, if there is some.
    fn take(&mut self, entry_len: usize, dir_len: usize) -> bool {
        if entry_len > self.reply_left || (self.any && dir_len > self.dir_left) {
            return false;
        }
        self.reply_left -= entry_len;
        self.dir_left = self.dir_left.saturating_sub(dir_len);
        self.any = true;
        true
    }
}

/// Lists `dir` after `cookie`: `entry` gives an entry and its length on the wire.
fn list<E>(
    dir: &Target<'_>,
    (cookie, cookieverf): (u64, [u8; 8]),
    mut room: Room,
    entry: impl Fn(&DirEntry<'_>, &mut BytesMut) -> (E, usize),
) -> Result<DirList3<E>, NfsStat3> {
    if cookie != 0 && cookieverf != COOKIE_VERIFIER {
        return Err(NfsStat3::BadCookie);
    }
    let mut entries = Vec::new();
    // Names and handles are parts of it: two allocations less for each entry.
    let mut text = BytesMut::new();
    let mut full = false;
    let eof = dir.mount.volume.readdir(&dir.cx, dir.file, Cookie(cookie), &mut |found| {
        if text.capacity() < found.name.len() + HANDLE_LEN {
            text = BytesMut::with_capacity(TEXT_LEN);
        }
        let (entry, len) = entry(&found, &mut text);
        if room.take(len, dir_len(found.name)) {
            entries.push(entry);
            ControlFlow::Continue(())
        } else {
            full = true;
            ControlFlow::Break(())
        }
    })?;
    if entries.is_empty() && full {
        return Err(NfsStat3::TooSmall);
    }
    Ok(DirList3 { entries, eof: eof && !full })
}

impl Handler for ReadDir {
    async fn handle(caller: &Caller, args: ReadDir3Args) -> Reply<Self> {
        let dir = caller.target(&args.dir.0)?;
        let listed = Room::new(args.count, u32::MAX).and_then(|room| {
            list(&dir, (args.cookie, args.cookieverf), room, |found, text| {
                let entry =
                    Entry3 { fileid: found.file.ino.0, name: name_of(found, text), cookie: found.cookie.0 };
                (entry, BOOL_LEN + dir_len(found.name))
            })
        });
        let reply = listed.map_err(|status| dir.failed(status))?;
        Ok(ReadDir3ResOk { dir_attributes: dir.post_op(), cookieverf: COOKIE_VERIFIER, reply })
    }
}

impl Handler for ReadDirPlus {
    async fn handle(caller: &Caller, args: ReadDirPlus3Args) -> Reply<Self> {
        let dir = caller.target(&args.dir.0)?;
        let listed = Room::new(args.maxcount, args.dircount).and_then(|room| {
            list(&dir, (args.cookie, args.cookieverf), room, |found, text| {
                let (name_attributes, name_handle) = look_at(caller, &dir, found, text);
                let len = BOOL_LEN
                    + dir_len(found.name)
                    + (BOOL_LEN + name_attributes.map_or(0, |_| FATTR_LEN))
                    + (BOOL_LEN + name_handle.as_ref().map_or(0, |_| 4 + HANDLE_LEN));
                let fileid = found.file.ino.0;
                let (name, cookie) = (name_of(found, text), found.cookie.0);
                (EntryPlus3 { fileid, name, cookie, name_attributes, name_handle }, len)
            })
        });
        let reply = listed.map_err(|status| dir.failed(status))?;
        Ok(ReadDirPlus3ResOk { dir_attributes: dir.post_op(), cookieverf: COOKIE_VERIFIER, reply })
    }
}

fn name_of(found: &DirEntry<'_>, text: &mut BytesMut) -> FileName3 {
    FileName3(part(text, found.name))
}

/// A copy in `text`.
fn part(text: &mut BytesMut, bytes: &[u8]) -> Bytes {
    text.extend_from_slice(bytes);
    text.split().freeze()
}

/// Attributes and handle of an entry, as LOOKUP would give them: across junctions, and nothing of a volume that the
/// client may not reach.
fn look_at(
    caller: &Caller,
    dir: &Target<'_>,
    found: &DirEntry<'_>,
    text: &mut BytesMut,
) -> (PostOpAttr, Option<NfsFh3>) {
    let elsewhere = match found.name {
        b"." => None,
        b".." => caller.above_root(dir),
        name => caller.junction(dir, name).map(|child| (child, ROOT)),
    };
    let (mount, file) = elsewhere.unwrap_or((dir.mount, found.file));
    // Most names are in the volume that the caller is in already.
    if elsewhere.is_some() && caller.access(mount).is_none() {
        return (None, None);
    }
    match mount.volume.getattr(file) {
        Ok(attr) => {
            (Some(FAttr3::of(mount.id, &attr)), Some(NfsFh3(part(text, &caller.handle(mount.id, file)))))
        }
        // Removed since the directory was read.
        Err(_) => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::{Decoder, Encoder};

    fn encoded_len<T: crate::xdr::Xdr>(value: &T) -> usize {
        let mut out = Encoder::default();
        out.put(value);
        out.len()
    }

    #[test]
    fn the_lengths_are_those_of_the_wire() {
        let attr: FAttr3 = Decoder::new(Bytes::from_static(&[
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]))
        .take()
        .unwrap();
        assert_eq!(encoded_len(&attr), FATTR_LEN);
        let entry = Entry3 { fileid: 1, name: "abcde".into(), cookie: 2 };
        assert_eq!(encoded_len(&entry), dir_len(b"abcde"));
        let empty = ReadDir3ResOk {
            dir_attributes: Some(attr),
            cookieverf: COOKIE_VERIFIER,
            reply: DirList3 { entries: vec![], eof: true },
        };
        assert_eq!(encoded_len(&empty), EMPTY_REPLY_LEN);
        let plus = EntryPlus3 {
            fileid: 1,
            name: "abcde".into(),
            cookie: 2,
            name_attributes: Some(attr),
            name_handle: Some(NfsFh3(Bytes::from_static(&[0; HANDLE_LEN]))),
        };
        let parts = dir_len(b"abcde") + BOOL_LEN + FATTR_LEN + BOOL_LEN + 4 + HANDLE_LEN;
        assert_eq!(encoded_len(&plus), parts);
    }

    #[test]
    fn dircount_never_keeps_the_first_entry_out() {
        let mut room = Room::new(4096, 0).unwrap();
        assert!(room.take(200, 40));
        assert!(!room.take(200, 40));
        assert!(Room::new(50, 50).is_err());
        assert!(!Room::new(150, 150).unwrap().take(200, 40));
    }
}
