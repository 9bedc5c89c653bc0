//! The server service (MS-SRVS), as far as clients need it to list shares: `NetrShareEnum`.

use super::super::wire::Malformed;
use super::ndr::{Input, Output};
use super::rpc::Syntax;
use crate::vserver::Vserver;
use bytes::BytesMut;

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
    let mut input = Input::new(arguments, "NetrShareEnum");
    if input.pointer()? {
        input.string()?;
    }
    input.u32()
}

/// `SHARE_ENUM_STRUCT` with `SHARE_INFO_0` or `SHARE_INFO_1` (MS-SRVS §2.2.4.38), how many there are, and the status.
fn list(level: u32, entries: &[Entry<'_>]) -> BytesMut {
    let mut out = Output::default();
    out.u32(level);
    out.u32(level);
    if level > 1 {
        out.pointer(false);
        out.u32(0);
        out.pointer(false);
        out.u32(ERROR_INVALID_LEVEL);
        return out.finish();
    }
    out.pointer(true);
    out.count(entries.len());
    out.pointer(true);
    out.count(entries.len());
    for entry in entries {
        out.pointer(true);
        if level == 1 {
            out.u32(entry.kind);
            out.pointer(true);
        }
    }
    for entry in entries {
        out.string(entry.name);
        if level == 1 {
            out.string(entry.comment);
        }
    }
    out.count(entries.len());
    // No resume handle: this is all.
    out.pointer(false);
    out.u32(0);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::super::ndr::SOMEWHERE;
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
