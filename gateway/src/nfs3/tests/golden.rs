//! Bytes of every procedure's arguments and results, written down by hand from RFC 1813 and RFC 4506, in both
//! directions. In the hexadecimal text, each group is one XDR item.

use super::*;
use crate::xdr::Tail;
use crate::xdr::golden::check;

/// `opaque<64>`, the four bytes `hndl`.
pub(super) const FH: &str = "00000004 686e646c";
/// `string<>`, the three bytes `abc` and one of padding.
const NAME: &str = "00000003 61626300";
/// `fattr3`, RFC 1813 §2.5: type, mode, nlink, uid, gid, size, used, rdev, fsid, fileid, atime, mtime, ctime.
pub(super) const ATTR: &str = "00000001 000001a4 00000001 00000002 00000003 0000000000000005 0000000000001000 \
    00000000 00000000 0000000000000006 0000000000000007 00000008 00000009 0000000a 0000000b 0000000c 0000000d";
/// `wcc_attr`, RFC 1813 §2.6: size, mtime, ctime.
const WCC_ATTR: &str = "0000000000000005 0000000a 0000000b 0000000c 0000000d";
/// `sattr3`, RFC 1813 §2.5: mode 0o755; no uid, no gid; size 16; atime of the server; mtime of the client.
const SATTR: &str =
    "00000001 000001ed 00000000 00000000 00000001 0000000000000010 00000001 00000002 00000008 00000009";
/// A `sattr3` that sets nothing.
const NO_SATTR: &str = "00000000 00000000 00000000 00000000 00000000 00000000";
pub(super) const OK: &str = "00000000";

pub(super) fn fh() -> NfsFh3 {
    NfsFh3(text("hndl"))
}

fn time(seconds: u32, nseconds: u32) -> NfsTime3 {
    NfsTime3 { seconds, nseconds }
}

pub(super) fn attr() -> FAttr3 {
    FAttr3 {
        kind: FType3::Reg,
        mode: 0o644,
        nlink: 1,
        uid: 2,
        gid: 3,
        size: 5,
        used: 4096,
        rdev: SpecData3::default(),
        fsid: 6,
        fileid: 7,
        atime: time(8, 9),
        mtime: time(10, 11),
        ctime: time(12, 13),
    }
}

fn sattr() -> SAttr3 {
    SAttr3 {
        mode: Some(0o755),
        uid: None,
        gid: None,
        size: Some(16),
        atime: SetTime3::SetToServerTime,
        mtime: SetTime3::SetToClientTime(time(8, 9)),
    }
}

fn wcc() -> WccData {
    WccData {
        before: Some(WccAttr { size: 5, mtime: time(10, 11), ctime: time(12, 13) }),
        after: Some(attr()),
    }
}

fn place() -> DirOpArgs3 {
    DirOpArgs3 { dir: fh(), name: "abc".into() }
}

/// `post_op_attr` that is there.
pub(super) fn some_attr() -> String {
    format!("00000001 {ATTR}")
}

/// `wcc_data` with both halves.
fn wcc_hex() -> String {
    format!("00000001 {WCC_ATTR} 00000001 {ATTR}")
}

#[test]
fn getattr_and_setattr() {
    // RFC 1813 §3.3.1.
    check(fh(), &[FH]);
    check(Res3::<GetAttr>::Ok(attr()), &[OK, ATTR]);
    check(Res3::<GetAttr>::Fail(NfsStat3::Stale, ()), &["00000046"]);
    // RFC 1813 §3.3.2.
    let guarded = SetAttr3Args { object: fh(), new_attributes: sattr(), guard: Some(time(12, 13)) };
    check(guarded, &[FH, SATTR, "00000001 0000000c 0000000d"]);
    let free = SetAttr3Args { object: fh(), new_attributes: SAttr3::default(), guard: None };
    check(free, &[FH, NO_SATTR, "00000000"]);
    check(Res3::<SetAttr>::Ok(wcc()), &[OK, &wcc_hex()]);
    check(Res3::<SetAttr>::Fail(NfsStat3::NotSync, WccData::default()), &["00002712", "00000000 00000000"]);
}

#[test]
fn lookup_access_and_readlink() {
    // RFC 1813 §3.3.3.
    check(place(), &[FH, NAME]);
    let found = Lookup3ResOk { object: fh(), obj_attributes: Some(attr()), dir_attributes: None };
    check(Res3::<Lookup>::Ok(found), &[OK, FH, &some_attr(), "00000000"]);
    check(Res3::<Lookup>::Fail(NfsStat3::NoEnt, Some(attr())), &["00000002", &some_attr()]);
    // RFC 1813 §3.3.4.
    check(Access3Args { object: fh(), access: 0x1f }, &[FH, "0000001f"]);
    let granted = Access3ResOk { obj_attributes: None, access: 3 };
    check(Res3::<Access>::Ok(granted), &[OK, "00000000", "00000003"]);
    // RFC 1813 §3.3.5.
    let target = ReadLink3ResOk { symlink_attributes: Some(attr()), data: NfsPath3(text("x/y")) };
    check(Res3::<ReadLink>::Ok(target), &[OK, &some_attr(), "00000003 782f7900"]);
}

#[test]
fn read_write_and_commit() {
    // RFC 1813 §3.3.6.
    check(Read3Args { file: fh(), offset: 1 << 32, count: 9 }, &[FH, "0000000100000000", "00000009"]);
    let read = Read3ResOk {
        file_attributes: Some(attr()),
        count: 5,
        eof: true,
        data: ReadPayload(Tail::Bytes(text("hello"))),
    };
    check(Res3::<Read>::Ok(read), &[OK, &some_attr(), "00000005", "00000001", "00000005 68656c6c6f 000000"]);
    check(Res3::<Read>::Fail(NfsStat3::Io, None), &["00000005", "00000000"]);
    // RFC 1813 §3.3.7.
    let write = Write3Args {
        file: fh(),
        offset: 8,
        count: 2,
        stable: StableHow::DataSync,
        data: Payload(text("hi")),
    };
    check(write, &[FH, "0000000000000008", "00000002", "00000001", "00000002 68690000"]);
    let wrote = Write3ResOk { file_wcc: wcc(), count: 2, committed: StableHow::FileSync, verf: *b"verifier" };
    check(Res3::<Write>::Ok(wrote), &[OK, &wcc_hex(), "00000002", "00000002", "7665726966696572"]);
    check(Res3::<Write>::Fail(NfsStat3::NoSpc, wcc()), &["0000001c", &wcc_hex()]);
    // RFC 1813 §3.3.21.
    check(Commit3Args { file: fh(), offset: 8, count: 2 }, &[FH, "0000000000000008", "00000002"]);
    let committed = Commit3ResOk { file_wcc: wcc(), verf: *b"verifier" };
    check(Res3::<Commit>::Ok(committed), &[OK, &wcc_hex(), "7665726966696572"]);
}

#[test]
fn create_mkdir_symlink_and_mknod() {
    // RFC 1813 §3.3.8.
    let create = |how| Create3Args { place: place(), how };
    check(create(CreateHow3::Unchecked(sattr())), &[FH, NAME, "00000000", SATTR]);
    check(create(CreateHow3::Guarded(SAttr3::default())), &[FH, NAME, "00000001", NO_SATTR]);
    check(create(CreateHow3::Exclusive(*b"verifier")), &[FH, NAME, "00000002", "7665726966696572"]);
    let made = || Create3ResOk { obj: Some(fh()), obj_attributes: Some(attr()), dir_wcc: wcc() };
    let made_hex = format!("{OK} 00000001 {FH} 00000001 {ATTR} {}", wcc_hex());
    check(Res3::<Create>::Ok(made()), &[&made_hex]);
    check(Res3::<Create>::Fail(NfsStat3::Exist, wcc()), &["00000011", &wcc_hex()]);
    // RFC 1813 §3.3.9.
    check(MkDir3Args { place: place(), attributes: sattr() }, &[FH, NAME, SATTR]);
    check(Res3::<MkDir>::Ok(made()), &[&made_hex]);
    // RFC 1813 §3.3.10.
    let symlink =
        SymLink3Args { place: place(), symlink_attributes: sattr(), symlink_data: NfsPath3(text("x/y")) };
    check(symlink, &[FH, NAME, SATTR, "00000003 782f7900"]);
    // RFC 1813 §3.3.11.
    let mknod = |what| MkNod3Args { place: place(), what };
    let device = MkNodData3::Device(FType3::Chr, sattr(), SpecData3 { specdata1: 4, specdata2: 64 });
    check(mknod(device), &[FH, NAME, "00000004", SATTR, "00000004 00000040"]);
    check(mknod(MkNodData3::Pipe(FType3::Fifo, sattr())), &[FH, NAME, "00000007", SATTR]);
    check(mknod(MkNodData3::Other(FType3::Reg)), &[FH, NAME, "00000001"]);
    check(Res3::<MkNod>::Fail(NfsStat3::BadType, WccData::default()), &["00002717", "00000000 00000000"]);
}

#[test]
fn remove_rename_and_link() {
    // RFC 1813 §3.3.12 and §3.3.13.
    check(Res3::<Remove>::Ok(wcc()), &[OK, &wcc_hex()]);
    check(Res3::<RmDir>::Fail(NfsStat3::NotEmpty, wcc()), &["00000042", &wcc_hex()]);
    // RFC 1813 §3.3.14.
    check(Rename3Args { from: place(), to: place() }, &[FH, NAME, FH, NAME]);
    let moved = || Rename3Res { fromdir_wcc: wcc(), todir_wcc: WccData::default() };
    check(Res3::<Rename>::Ok(moved()), &[OK, &wcc_hex(), "00000000 00000000"]);
    check(Res3::<Rename>::Fail(NfsStat3::XDev, moved()), &["00000012", &wcc_hex(), "00000000 00000000"]);
    // RFC 1813 §3.3.15.
    check(Link3Args { file: fh(), link: place() }, &[FH, FH, NAME]);
    let linked = Link3Res { file_attributes: Some(attr()), linkdir_wcc: wcc() };
    check(Res3::<Link>::Ok(linked), &[OK, &some_attr(), &wcc_hex()]);
}

#[test]
fn readdir_and_readdirplus() {
    // RFC 1813 §3.3.16.
    let args = ReadDir3Args { dir: fh(), cookie: 9, cookieverf: [0; 8], count: 512 };
    check(args, &[FH, "0000000000000009", "0000000000000000", "00000200"]);
    let entry = |cookie| Entry3 { fileid: 7, name: "abc".into(), cookie };
    let listed = ReadDir3ResOk {
        dir_attributes: None,
        cookieverf: [0; 8],
        reply: DirList3 { entries: vec![entry(1), entry(2)], eof: true },
    };
    let entry_hex = |cookie: u64| format!("00000001 0000000000000007 {NAME} {cookie:016x}");
    let parts = [OK, "00000000", "0000000000000000", &entry_hex(1), &entry_hex(2), "00000000", "00000001"];
    check(Res3::<ReadDir>::Ok(listed), &parts);
    check(Res3::<ReadDir>::Fail(NfsStat3::TooSmall, None), &["00002715", "00000000"]);
    // RFC 1813 §3.3.17.
    let args = ReadDirPlus3Args { dir: fh(), cookie: 9, cookieverf: [0; 8], dircount: 512, maxcount: 4096 };
    check(args, &[FH, "0000000000000009", "0000000000000000", "00000200", "00001000"]);
    let entry = EntryPlus3 {
        fileid: 7,
        name: "abc".into(),
        cookie: 3,
        name_attributes: Some(attr()),
        name_handle: Some(fh()),
    };
    let listed = ReadDirPlus3ResOk {
        dir_attributes: Some(attr()),
        cookieverf: [0; 8],
        reply: DirList3 { entries: vec![entry], eof: false },
    };
    let plus_hex = format!("{} 00000001 {ATTR} 00000001 {FH}", entry_hex(3));
    let parts = [OK, &some_attr(), "0000000000000000", &plus_hex, "00000000", "00000000"];
    check(Res3::<ReadDirPlus>::Ok(listed), &parts);
}

#[test]
fn fsstat_fsinfo_and_pathconf() {
    // RFC 1813 §3.3.18.
    let stat = FsStat3ResOk {
        obj_attributes: None,
        tbytes: 1,
        fbytes: 2,
        abytes: 3,
        tfiles: 4,
        ffiles: 5,
        afiles: 6,
        invarsec: 7,
    };
    let parts = [
        OK,
        "00000000",
        "0000000000000001",
        "0000000000000002",
        "0000000000000003",
        "0000000000000004",
        "0000000000000005",
        "0000000000000006",
        "00000007",
    ];
    check(Res3::<FsStat>::Ok(stat), &parts);
    // RFC 1813 §3.3.19.
    let info = FsInfo3ResOk {
        obj_attributes: None,
        rtmax: 1,
        rtpref: 2,
        rtmult: 3,
        wtmax: 4,
        wtpref: 5,
        wtmult: 6,
        dtpref: 7,
        maxfilesize: 8,
        time_delta: time(0, 1),
        properties: 0x1b,
    };
    let words = "00000001 00000002 00000003 00000004 00000005 00000006 00000007";
    let parts = [OK, "00000000", words, "0000000000000008", "00000000 00000001", "0000001b"];
    check(Res3::<FsInfo>::Ok(info), &parts);
    // RFC 1813 §3.3.20.
    let conf = PathConf3ResOk {
        obj_attributes: None,
        linkmax: 1,
        name_max: 255,
        no_trunc: true,
        chown_restricted: true,
        case_insensitive: false,
        case_preserving: true,
    };
    let parts = [OK, "00000000", "00000001 000000ff", "00000001 00000001 00000000 00000001"];
    check(Res3::<PathConf>::Ok(conf), &parts);
}

#[test]
fn mount() {
    use crate::nfs3::mount::{DirPath, MountRes3, MountStat3};
    // RFC 1813 §5.2.1: status, handle, flavors AUTH_SYS and AUTH_NONE.
    check(DirPath(text("/ab")), &["00000003 2f616200"]);
    check(MountRes3(Ok(fh())), &[OK, FH, "00000002 00000001 00000000"]);
    check(MountRes3(Err(MountStat3::Acces)), &["0000000d"]);
}
