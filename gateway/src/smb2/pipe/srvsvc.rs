//! The server service (MS-SRVS), as far as clients need it to list shares: `NetrShareEnum`.

use super::super::wire::{Malformed, Reader};
use super::rpc::Syntax;
use crate::vserver::Vserver;
use bytes::{BufMut, BytesMut};

/// The pipe.
pub(super) const NAME: &str = "srvsvc";
/// 4b324fc8-1670-01d3-1278-5a47bf6ee188, version 3.
pub(super) const INTERFACE: Syntax =
    (*b"\xc8\x4f\x32\x4b\x70\x16\xd3\x01\x12\x78\x5a\x47\xbf\x6e\xe1\x88", 3);

/// `NetrShareEnum`, MS-SRVS §3.1.4.8.
const SHARE_ENUM: u16 = 15;
const ERROR_INVALID_LEVEL: u32 = 124;
/// `STYPE_DISKTREE`; `STYPE_IPC` and `STYPE_SPECIAL` (MS-SRVS §2.2.2.4).
const DISK: u32 = 0;
const PIPES: u32 = 0x8000_0003;
/// Where a pointer points to something: any number but zero.
const SOMEWHERE: u32 = 0x0002_0000;

/// Runs an operation. `None`: there is no such one, or its arguments are none.
pub(super) fn call(vserver: &Vserver, operation: u16, arguments: &[u8]) -> Option<BytesMut> {
    if operation != SHARE_ENUM {
        return None;
    }
    let level = level_of(arguments).ok()?;
    let shares = vserver.shares();
    let shown = shares.iter().filter(|share| share.browseable);
    let mut entries: Vec<Entry<'_>> =
        shown.map(|share| Entry { name: &share.name, kind: DISK, comment: &share.comment }).collect();
    entries.push(Entry { name: "IPC$", kind: PIPES, comment: "Remote procedure calls" });
    Some(list(level, &entries))
}

struct Entry<'a> {
    name: &'a str,
    kind: u32,
    comment: &'a str,
}

/// The level of information that is asked for. It stands behind the server's name, which clients may leave out.
fn level_of(arguments: &[u8]) -> Result<u32, Malformed> {
    let mut reader = Reader::new(arguments, "NetrShareEnum");
    if reader.u32()? != 0 {
        let (_most, _offset, units) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let len = (units as usize).saturating_mul(2);
        reader.skip(len)?;
        reader.skip(len.next_multiple_of(4) - len)?;
    }
    reader.u32()
}

/// `SHARE_ENUM_STRUCT` with `SHARE_INFO_0` or `SHARE_INFO_1` (MS-SRVS §2.2.4.38), how many there are, and the status.
fn list(level: u32, entries: &[Entry<'_>]) -> BytesMut {
    let mut out = BytesMut::new();
    let count = u32::try_from(entries.len()).unwrap_or(0);
    out.put_u32_le(level);
    out.put_u32_le(level);
    if level > 1 {
        out.put_u32_le(0);
        out.put_u32_le(0);
        out.put_u32_le(0);
        out.put_u32_le(ERROR_INVALID_LEVEL);
        return out;
    }
    out.put_u32_le(SOMEWHERE);
    out.put_u32_le(count);
    out.put_u32_le(SOMEWHERE);
    out.put_u32_le(count);
    for entry in entries {
        out.put_u32_le(SOMEWHERE);
        if level == 1 {
            out.put_u32_le(entry.kind);
            out.put_u32_le(SOMEWHERE);
        }
    }
    for entry in entries {
        put_string(&mut out, entry.name);
        if level == 1 {
            put_string(&mut out, entry.comment);
        }
    }
    out.put_u32_le(count);
    // No resume handle: this is all.
    out.put_u32_le(0);
    out.put_u32_le(0);
    out
}

/// A conformant varying string of UTF-16, with the NUL that ends it (C706 §14.3.4.2).
fn put_string(out: &mut BytesMut, text: &str) {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    let len = u32::try_from(units.len()).unwrap_or(0);
    out.put_u32_le(len);
    out.put_u32_le(0);
    out.put_u32_le(len);
    units.iter().for_each(|unit| out.put_u16_le(*unit));
    out.put_bytes(0, out.len().next_multiple_of(4) - out.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_stands_behind_the_servers_name() {
        assert_eq!(level_of(&[0, 0, 0, 0, 1, 0, 0, 0]), Ok(1));
        let named = b"\x01\0\0\0\x03\0\0\0\0\0\0\0\x03\0\0\0a\0b\0\0\0\xaa\xaa\x05\0\0\0";
        assert_eq!(level_of(named), Ok(5));
        for len in 0..named.len() {
            assert!(level_of(&named[..len]).is_err(), "{len}");
        }
        assert!(level_of(b"\x01\0\0\0\x03\0\0\0\0\0\0\0\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn a_list_of_one() {
        let list = list(1, &[Entry { name: "ab", kind: 7, comment: "" }]);
        let words: Vec<u32> = list.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let here = SOMEWHERE;
        let text = [3, 0, 3, 0x0062_0061, 0, 1, 0, 1, 0];
        assert_eq!(words, [&[1, 1, here, 1, here, 1, here, 7, here][..], &text, &[1, 0, 0]].concat());
    }
}
