//! Which rights a user has to a file (MS-SMB2 §2.2.13.1), from its access control list or mode bits, whichever it has.

use super::wire::create::access;
use fsstore::{Ace, AceFlags, AceWho, Acl, Attr, Context, FileKind, FsError, Sid, Volume};

/// What it takes to read a file.
pub(super) const FILE_READ: u32 =
    access::READ_DATA | access::READ_EA | access::READ_ATTRIBUTES | access::READ_CONTROL;
const FILE_WRITE: u32 = access::WRITE_DATA
    | access::APPEND_DATA
    | access::WRITE_EA
    | access::WRITE_ATTRIBUTES
    | access::READ_CONTROL;
const FILE_EXECUTE: u32 = access::EXECUTE | access::READ_ATTRIBUTES | access::READ_CONTROL;
/// What the owner of a file always has: who may what is theirs to say.
const OWNER: u32 = access::READ_CONTROL | access::WRITE_DAC;
/// What everybody has who gets so far as to see a file without an NT list.
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
///
/// A list that a client of SMB has set binds root, too, as it binds Windows' administrators; with `backup` intent, by which these use
/// their privileges, root may all. Where there are only mode bits or a POSIX ACL root may all, as everywhere.
pub(super) fn of(
    volume: &Volume,
    cx: &Context,
    dir: Option<&Attr>,
    attr: &Attr,
    backup: bool,
) -> Result<u32, FsError> {
    let acl = volume.acl(attr.id)?;
    if cx.uid == 0 && (acl.nt.is_none() || backup) {
        return Ok(super::tree::RIGHTS_ALL);
    }
    let mut rights = by_list(&acl, cx, attr) | access::SYNCHRONIZE;
    if acl.nt.is_some() {
        let says =
            |ace: &Ace| ace.who == AceWho::Sid(Sid::OWNER_RIGHTS) && ace.flags & AceFlags::INHERIT_ONLY == 0;
        if cx.uid == attr.uid && !acl.aces.iter().any(says) {
            rights |= OWNER;
        }
    } else {
        rights |= by_mode(rights, cx, attr);
    }
    if cx.uid == 0 {
        // Whoever may take a file may then say who may what (SeTakeOwnershipPrivilege).
        rights |= access::WRITE_OWNER;
    }
    if let Some(dir) = dir {
        rights |= through(volume, cx, dir, attr)?;
    }
    Ok(rights)
}

/// What mode bits leave unsaid. Unix needs an x for a program that a shell is to start; Windows starts what can be read.
fn by_mode(rights: u32, cx: &Context, attr: &Attr) -> u32 {
    let has = |all: u32| rights & all == all;
    let mut more = EVERYBODY;
    if has(access::READ_DATA) && attr.kind == FileKind::File {
        more |= access::EXECUTE;
    }
    if cx.uid == attr.uid {
        more |= OWNER | access::WRITE_ATTRIBUTES;
        // Windows gives who makes a file full control; whether it may go is for its directory to say.
        if has(access::READ_DATA | access::WRITE_DATA) {
            more |= super::tree::RIGHTS_ALL & !(access::EXECUTE | access::DELETE);
        }
    }
    more
}

fn by_list(acl: &Acl, cx: &Context, attr: &Attr) -> u32 {
    (0..u32::BITS)
        .map(|bit| 1 << bit)
        .filter(|right| super::tree::RIGHTS_ALL & right != 0)
        .filter(|right| acl.grants(cx, attr.uid, attr.gid, *right))
        .fold(0, |rights, right| rights | right)
}

/// What rights to a directory give to the files in it (MS-FSA §2.1.5.1.2.1): who may list it sees their attributes, and who may take
/// files out of it may delete them.
fn through(volume: &Volume, cx: &Context, dir: &Attr, attr: &Attr) -> Result<u32, FsError> {
    let acl = volume.acl(dir.id)?;
    if cx.uid == 0 && acl.nt.is_none() {
        return Ok(access::READ_ATTRIBUTES | access::DELETE);
    }
    let of_dir = by_list(&acl, cx, dir);
    let changes = acl.nt.is_none()
        && of_dir & (access::WRITE_DATA | access::EXECUTE) == access::WRITE_DATA | access::EXECUTE;
    let sticky = dir.mode & 0o1000 != 0 && cx.uid != attr.uid && cx.uid != dir.uid;
    let removes = (changes || of_dir & access::DELETE_CHILD != 0) && !sticky;
    let lists = of_dir & access::READ_DATA != 0;
    Ok(if lists { access::READ_ATTRIBUTES } else { 0 } | if removes { access::DELETE } else { 0 })
}
