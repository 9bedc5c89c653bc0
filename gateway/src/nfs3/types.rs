//! The basic data types of NFS version 3 (RFC 1813 §2.5 and §2.6), in both directions, and how the store's
//! types become them. The arguments and results of the procedures are in `procedures`.
#![allow(missing_docs, reason = "fields have the names of RFC 1813, which says what they mean")]

use crate::handle::VolumeId;
use crate::xdr::{Decoder, Encoder, Result, Tail, Xdr, XdrError, xdr_enum, xdr_struct};
use bytes::Bytes;
use fsstore::{Attr, Change, FileKind, PreAttr, SnapshotId, Time};

/// The NFS program.
pub const NFS_PROGRAM: u32 = 100_003;
/// Its version here.
pub const NFS_V3: u32 = 3;
/// `NFS3_FHSIZE`: most bytes of a file handle (RFC 1813 §2.4).
pub const NFS3_FHSIZE: usize = 64;

/// `nfs_fh3`, RFC 1813 §2.5.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct NfsFh3(pub Bytes);

impl Xdr for NfsFh3 {
    fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.0);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.opaque(NFS3_FHSIZE).map(NfsFh3)
    }
}

/// `filename3`, RFC 1813 §2.5. Any length that fits the message is taken off the wire, because a name that is too
/// long has its own status.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct FileName3(pub Bytes);

impl Xdr for FileName3 {
    fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.0);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.opaque(usize::MAX).map(FileName3)
    }
}

impl From<&str> for FileName3 {
    fn from(name: &str) -> Self {
        FileName3(Bytes::copy_from_slice(name.as_bytes()))
    }
}

/// `nfspath3`, RFC 1813 §2.5: the target of a symbolic link. Length as for [`FileName3`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NfsPath3(pub Bytes);

impl Xdr for NfsPath3 {
    fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.0);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.opaque(usize::MAX).map(NfsPath3)
    }
}

/// The payload of WRITE: always the last field of its message, never copied.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Bytes);

/// The payload of READ: the same, and on its way out in the pages of the volume's cache.
#[derive(Clone, Debug)]
pub struct ReadPayload(pub Tail);

impl ReadPayload {
    /// In one piece.
    pub fn bytes(&self) -> Bytes {
        self.0.to_bytes()
    }
}

impl PartialEq for ReadPayload {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for ReadPayload {}

impl Xdr for ReadPayload {
    fn encode(&self, out: &mut Encoder) {
        out.opaque_last(&self.0);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.opaque(usize::MAX).map(|data| ReadPayload(Tail::Bytes(data)))
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Xdr for Payload {
    fn encode(&self, out: &mut Encoder) {
        out.opaque_last(&Tail::Bytes(self.0.clone()));
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.opaque(usize::MAX).map(Payload)
    }
}

xdr_enum! {
    /// `ftype3`, RFC 1813 §2.5.
    pub enum FType3 { Reg = 1, Dir = 2, Blk = 3, Chr = 4, Lnk = 5, Sock = 6, Fifo = 7 }

    /// `stable_how`, RFC 1813 §3.3.7.
    pub enum StableHow { Unstable = 0, DataSync = 1, FileSync = 2 }
}

impl From<FileKind> for FType3 {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::File => FType3::Reg,
            FileKind::Dir => FType3::Dir,
            FileKind::Symlink => FType3::Lnk,
            FileKind::BlockDevice => FType3::Blk,
            FileKind::CharDevice => FType3::Chr,
            FileKind::Socket => FType3::Sock,
            FileKind::Fifo => FType3::Fifo,
        }
    }
}

xdr_struct! {
    /// `nfstime3`, RFC 1813 §2.5.
    #[derive(Copy, Default)]
    pub struct NfsTime3 { pub seconds: u32, pub nseconds: u32 }

    /// `specdata3`, RFC 1813 §2.5.
    #[derive(Copy, Default)]
    pub struct SpecData3 { pub specdata1: u32, pub specdata2: u32 }

    /// `fattr3`, RFC 1813 §2.5.
    #[derive(Copy)]
    pub struct FAttr3 {
        pub kind: FType3, pub mode: u32, pub nlink: u32, pub uid: u32, pub gid: u32, pub size: u64, pub used: u64,
        pub rdev: SpecData3, pub fsid: u64, pub fileid: u64, pub atime: NfsTime3, pub mtime: NfsTime3,
        pub ctime: NfsTime3,
    }

    /// `wcc_attr`, RFC 1813 §2.6.
    #[derive(Copy)]
    pub struct WccAttr { pub size: u64, pub mtime: NfsTime3, pub ctime: NfsTime3 }

    /// `wcc_data`, RFC 1813 §2.6.
    #[derive(Copy, Default)]
    pub struct WccData { pub before: Option<WccAttr>, pub after: PostOpAttr }

    /// `diropargs3`, RFC 1813 §2.5.
    pub struct DirOpArgs3 { pub dir: NfsFh3, pub name: FileName3 }

    /// `sattr3`, RFC 1813 §2.5.
    #[derive(Copy, Default)]
    pub struct SAttr3 {
        pub mode: Option<u32>, pub uid: Option<u32>, pub gid: Option<u32>, pub size: Option<u64>, pub atime: SetTime3,
        pub mtime: SetTime3,
    }
}

/// `post_op_attr`, RFC 1813 §2.6.
pub type PostOpAttr = Option<FAttr3>;
/// `post_op_fh3`, RFC 1813 §2.6.
pub type PostOpFh3 = Option<NfsFh3>;

/// `set_atime` and `set_mtime` with their `time_how`, RFC 1813 §2.5.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SetTime3 {
    #[default]
    DontChange,
    SetToServerTime,
    SetToClientTime(NfsTime3),
}

impl Xdr for SetTime3 {
    fn encode(&self, out: &mut Encoder) {
        match self {
            SetTime3::DontChange => out.u32(0),
            SetTime3::SetToServerTime => out.u32(1),
            SetTime3::SetToClientTime(time) => {
                out.u32(2);
                out.put(time);
            }
        }
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        match input.u32()? {
            0 => Ok(SetTime3::DontChange),
            1 => Ok(SetTime3::SetToServerTime),
            2 => input.take().map(SetTime3::SetToClientTime),
            value => Err(XdrError::BadValue { what: "time_how", value }),
        }
    }
}

impl From<Time> for NfsTime3 {
    /// Seconds outside 1970 to 2106 become the nearest that the wire can say.
    fn from(time: Time) -> Self {
        let seconds = u32::try_from(time.secs.max(0)).unwrap_or(u32::MAX);
        NfsTime3 { seconds, nseconds: time.nanos }
    }
}

impl From<NfsTime3> for Time {
    fn from(time: NfsTime3) -> Self {
        Time { secs: i64::from(time.seconds), nanos: time.nseconds }
    }
}

impl From<PreAttr> for WccAttr {
    fn from(before: PreAttr) -> Self {
        WccAttr { size: before.size, mtime: before.mtime.into(), ctime: before.ctime.into() }
    }
}

/// A snapshot is a file system of its own for clients: its files have the inode numbers of the active ones.
fn fsid(volume: VolumeId, snapshot: SnapshotId) -> u64 {
    /// Spreads neighbouring numbers over all bits (the golden ratio).
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    volume.0 ^ snapshot.0.wrapping_mul(SPREAD)
}

impl FAttr3 {
    /// The attributes of a file in `volume`.
    pub fn of(volume: VolumeId, attr: &Attr) -> Self {
        FAttr3 {
            kind: attr.kind.into(),
            mode: attr.mode,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            size: attr.size,
            used: attr.used,
            rdev: SpecData3 { specdata1: attr.rdev.0, specdata2: attr.rdev.1 },
            fsid: fsid(volume, attr.id.snapshot),
            fileid: attr.id.ino.0,
            atime: attr.atime.into(),
            mtime: attr.mtime.into(),
            ctime: attr.ctime.into(),
        }
    }
}

impl WccData {
    /// What an operation did to a file or directory of `volume`.
    pub fn of(volume: VolumeId, change: Option<&Change>) -> Self {
        WccData {
            before: change.and_then(|change| change.before).map(WccAttr::from),
            after: change.map(|change| FAttr3::of(volume, &change.after)),
        }
    }
}
