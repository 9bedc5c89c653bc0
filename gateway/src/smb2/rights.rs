//! Which rights a user has to a file (MS-SMB2 §2.2.13.1), from its access control list or mode bits, whichever it has.

use super::wire::create::access;
use fsstore::{Acl, Attr, Context, FsError, Volume};

const FILE_READ: u32 = access::READ_DATA | access::READ_EA | access::READ_ATTRIBUTES | access::READ_CONTROL;
const FILE_WRITE: u32 = access::WRITE_DATA
    | access::APPEND_DATA
    | access::WRITE_EA
    | access::WRITE_ATTRIBUTES
    | access::READ_CONTROL;
const FILE_EXECUTE: u32 = access::EXECUTE | access::READ_ATTRIBUTES | access::READ_CONTROL;
/// What the owner of a file always has: who may what is theirs to say.
const OWNER: u32 =
    access::READ_CONTROL | access::WRITE_DAC | access::READ_ATTRIBUTES | access::WRITE_ATTRIBUTES;
/// What everybody has who gets so far as to see the file.
const EVERYBODY: u32 = access::READ_ATTRIBUTES | access::READ_CONTROL | access::SYNCHRONIZE;

/// The rights that are asked for, generic ones replaced (MS-DTYP §2.4.3). `MAXIMUM_ALLOWED` stays.
pub(super) fn specific(wanted: u32) -> u32 {
    let generic = [
        (access::GENERIC_READ, FILE_READ | access::SYNCHRONIZE),
        (access::GENERIC_WRITE, FILE_WRITE | access::SYNCHRONIZE),
        (access::GENERIC_EXECUTE, FILE_EXECUTE | access::SYNCHRONIZE),
        (access::GENERIC_ALL, super::tree::RIGHTS_ALL),
    ];
    let all = generic.iter().fold(0, |all, (bit, _)| all | bit);
    let given =
        generic.iter().filter(|(bit, _)| wanted & bit != 0).fold(0, |given, (_, rights)| given | rights);
    wanted & !all | given
}

/// All rights that the user has to a file in `dir`.
pub(super) fn of(volume: &Volume, cx: &Context, dir: Option<&Attr>, attr: &Attr) -> Result<u32, FsError> {
    if cx.uid == 0 {
        return Ok(super::tree::RIGHTS_ALL);
    }
    let mut rights = by_list(&volume.acl(attr.id)?, cx, attr) | EVERYBODY;
    if cx.uid == attr.uid {
        rights |= OWNER;
    }
    if rights & access::DELETE == 0
        && let Some(dir) = dir
        && may_remove(volume, cx, dir, attr)?
    {
        rights |= access::DELETE;
    }
    Ok(rights)
}

fn by_list(acl: &Acl, cx: &Context, attr: &Attr) -> u32 {
    (0..u32::BITS)
        .map(|bit| 1 << bit)
        .filter(|right| super::tree::RIGHTS_ALL & right != 0)
        .filter(|right| acl.grants(cx, attr.uid, attr.gid, *right))
        .fold(0, |rights, right| rights | right)
}

/// Whoever may change a directory may take files out of it, unless it is sticky.
fn may_remove(volume: &Volume, cx: &Context, dir: &Attr, attr: &Attr) -> Result<bool, FsError> {
    let of_dir = by_list(&volume.acl(dir.id)?, cx, dir);
    let may = of_dir & access::DELETE_CHILD != 0
        || of_dir & (access::WRITE_DATA | access::EXECUTE) == access::WRITE_DATA | access::EXECUTE;
    let sticky = dir.mode & 0o1000 != 0 && cx.uid != attr.uid && cx.uid != dir.uid;
    Ok(may && !sticky)
}
