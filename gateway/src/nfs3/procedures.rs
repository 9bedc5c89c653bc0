//! The procedures of NFS version 3 with their arguments and results (RFC 1813 §3.3), in both directions: the
//! server and the client share them. Knows no store.
#![allow(missing_docs, reason = "fields have the names of RFC 1813, which says what they mean")]

use super::status::NfsStat3;
use super::types::*;
use crate::xdr::{Decoder, Encoder, Result, Xdr, XdrError, xdr_struct};

/// A procedure: its number and what goes over the wire.
pub trait Procedure {
    /// The program that it's of; the version is always 3.
    const PROGRAM: u32 = NFS_PROGRAM;
    /// Its number.
    const NUMBER: u32;
    /// Arguments.
    type Args: Xdr + Send;
    /// The `resok` branch of its result.
    type Ok: Xdr + Send;
    /// The `resfail` branch of its result.
    type Fail: Xdr + Send + Default;
}

/// Result of a procedure: its status, then the branch for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Res3<P: Procedure> {
    /// `NFS3_OK`.
    Ok(P::Ok),
    /// Any other status.
    Fail(NfsStat3, P::Fail),
}

impl<P: Procedure> Xdr for Res3<P> {
    fn encode(&self, out: &mut Encoder) {
        match self {
            Res3::Ok(ok) => {
                out.put(&NfsStat3::Ok);
                out.put(ok);
            }
            Res3::Fail(status, fail) => {
                out.put(status);
                out.put(fail);
            }
        }
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        match input.take()? {
            NfsStat3::Ok => input.take().map(Res3::Ok),
            status => Ok(Res3::Fail(status, input.take()?)),
        }
    }
}

macro_rules! procedures {
    ($($(#[$meta:meta])* $number:literal $name:ident: $args:ty => $ok:ty, $fail:ty;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name;
        impl Procedure for $name {
            const NUMBER: u32 = $number;
            type Args = $args;
            type Ok = $ok;
            type Fail = $fail;
        }
    )*};
}

procedures! {
    /// RFC 1813 §3.3.1.
    1 GetAttr: NfsFh3 => FAttr3, ();
    /// RFC 1813 §3.3.2.
    2 SetAttr: SetAttr3Args => WccData, WccData;
    /// RFC 1813 §3.3.3.
    3 Lookup: DirOpArgs3 => Lookup3ResOk, PostOpAttr;
    /// RFC 1813 §3.3.4.
    4 Access: Access3Args => Access3ResOk, PostOpAttr;
    /// RFC 1813 §3.3.5.
    5 ReadLink: NfsFh3 => ReadLink3ResOk, PostOpAttr;
    /// RFC 1813 §3.3.6.
    6 Read: Read3Args => Read3ResOk, PostOpAttr;
    /// RFC 1813 §3.3.7.
    7 Write: Write3Args => Write3ResOk, WccData;
    /// RFC 1813 §3.3.8.
    8 Create: Create3Args => Create3ResOk, WccData;
    /// RFC 1813 §3.3.9.
    9 MkDir: MkDir3Args => Create3ResOk, WccData;
    /// RFC 1813 §3.3.10.
    10 SymLink: SymLink3Args => Create3ResOk, WccData;
    /// RFC 1813 §3.3.11.
    11 MkNod: MkNod3Args => Create3ResOk, WccData;
    /// RFC 1813 §3.3.12.
    12 Remove: DirOpArgs3 => WccData, WccData;
    /// RFC 1813 §3.3.13.
    13 RmDir: DirOpArgs3 => WccData, WccData;
    /// RFC 1813 §3.3.14.
    14 Rename: Rename3Args => Rename3Res, Rename3Res;
    /// RFC 1813 §3.3.15.
    15 Link: Link3Args => Link3Res, Link3Res;
    /// RFC 1813 §3.3.16.
    16 ReadDir: ReadDir3Args => ReadDir3ResOk, PostOpAttr;
    /// RFC 1813 §3.3.17.
    17 ReadDirPlus: ReadDirPlus3Args => ReadDirPlus3ResOk, PostOpAttr;
    /// RFC 1813 §3.3.18.
    18 FsStat: NfsFh3 => FsStat3ResOk, PostOpAttr;
    /// RFC 1813 §3.3.19.
    19 FsInfo: NfsFh3 => FsInfo3ResOk, PostOpAttr;
    /// RFC 1813 §3.3.20.
    20 PathConf: NfsFh3 => PathConf3ResOk, PostOpAttr;
    /// RFC 1813 §3.3.21.
    21 Commit: Commit3Args => Commit3ResOk, WccData;
}

xdr_struct! {
    /// `SETATTR3args`, RFC 1813 §3.3.2; `guard` is `sattrguard3`.
    pub struct SetAttr3Args { pub object: NfsFh3, pub new_attributes: SAttr3, pub guard: Option<NfsTime3> }

    /// `LOOKUP3resok`, RFC 1813 §3.3.3.
    pub struct Lookup3ResOk { pub object: NfsFh3, pub obj_attributes: PostOpAttr, pub dir_attributes: PostOpAttr }

    /// `ACCESS3args`, RFC 1813 §3.3.4.
    pub struct Access3Args { pub object: NfsFh3, pub access: u32 }

    /// `ACCESS3resok`, RFC 1813 §3.3.4.
    pub struct Access3ResOk { pub obj_attributes: PostOpAttr, pub access: u32 }

    /// `READLINK3resok`, RFC 1813 §3.3.5.
    pub struct ReadLink3ResOk { pub symlink_attributes: PostOpAttr, pub data: NfsPath3 }

    /// `READ3args`, RFC 1813 §3.3.6.
    pub struct Read3Args { pub file: NfsFh3, pub offset: u64, pub count: u32 }

    /// `READ3resok`, RFC 1813 §3.3.6.
    pub struct Read3ResOk { pub file_attributes: PostOpAttr, pub count: u32, pub eof: bool, pub data: ReadPayload }

    /// `WRITE3args`, RFC 1813 §3.3.7.
    pub struct Write3Args {
        pub file: NfsFh3, pub offset: u64, pub count: u32, pub stable: StableHow, pub data: Payload,
    }

    /// `WRITE3resok`, RFC 1813 §3.3.7.
    pub struct Write3ResOk { pub file_wcc: WccData, pub count: u32, pub committed: StableHow, pub verf: [u8; 8] }

    /// `CREATE3args`, RFC 1813 §3.3.8.
    pub struct Create3Args { pub place: DirOpArgs3, pub how: CreateHow3 }

    /// `CREATE3resok`, RFC 1813 §3.3.8; also that of MKDIR, SYMLINK and MKNOD.
    pub struct Create3ResOk { pub obj: PostOpFh3, pub obj_attributes: PostOpAttr, pub dir_wcc: WccData }

    /// `MKDIR3args`, RFC 1813 §3.3.9.
    pub struct MkDir3Args { pub place: DirOpArgs3, pub attributes: SAttr3 }

    /// `SYMLINK3args` with its `symlinkdata3`, RFC 1813 §3.3.10.
    pub struct SymLink3Args {
        pub place: DirOpArgs3, pub symlink_attributes: SAttr3, pub symlink_data: NfsPath3,
    }

    /// `MKNOD3args`, RFC 1813 §3.3.11.
    pub struct MkNod3Args { pub place: DirOpArgs3, pub what: MkNodData3 }

    /// `RENAME3args`, RFC 1813 §3.3.14.
    pub struct Rename3Args { pub from: DirOpArgs3, pub to: DirOpArgs3 }

    /// Both branches of `RENAME3res`, RFC 1813 §3.3.14.
    #[derive(Default)]
    pub struct Rename3Res { pub fromdir_wcc: WccData, pub todir_wcc: WccData }

    /// `LINK3args`, RFC 1813 §3.3.15.
    pub struct Link3Args { pub file: NfsFh3, pub link: DirOpArgs3 }

    /// Both branches of `LINK3res`, RFC 1813 §3.3.15.
    #[derive(Default)]
    pub struct Link3Res { pub file_attributes: PostOpAttr, pub linkdir_wcc: WccData }

    /// `READDIR3args`, RFC 1813 §3.3.16.
    pub struct ReadDir3Args { pub dir: NfsFh3, pub cookie: u64, pub cookieverf: [u8; 8], pub count: u32 }

    /// `entry3` without its link to the next, RFC 1813 §3.3.16.
    pub struct Entry3 { pub fileid: u64, pub name: FileName3, pub cookie: u64 }

    /// `READDIR3resok`, RFC 1813 §3.3.16.
    pub struct ReadDir3ResOk { pub dir_attributes: PostOpAttr, pub cookieverf: [u8; 8], pub reply: DirList3<Entry3> }

    /// `READDIRPLUS3args`, RFC 1813 §3.3.17.
    pub struct ReadDirPlus3Args {
        pub dir: NfsFh3, pub cookie: u64, pub cookieverf: [u8; 8], pub dircount: u32, pub maxcount: u32,
    }

    /// `entryplus3` without its link to the next, RFC 1813 §3.3.17.
    pub struct EntryPlus3 {
        pub fileid: u64, pub name: FileName3, pub cookie: u64, pub name_attributes: PostOpAttr, pub name_handle: PostOpFh3,
    }

    /// `READDIRPLUS3resok`, RFC 1813 §3.3.17.
    pub struct ReadDirPlus3ResOk {
        pub dir_attributes: PostOpAttr, pub cookieverf: [u8; 8], pub reply: DirList3<EntryPlus3>,
    }

    /// `FSSTAT3resok`, RFC 1813 §3.3.18.
    pub struct FsStat3ResOk {
        pub obj_attributes: PostOpAttr, pub tbytes: u64, pub fbytes: u64, pub abytes: u64, pub tfiles: u64,
        pub ffiles: u64, pub afiles: u64, pub invarsec: u32,
    }

    /// `FSINFO3resok`, RFC 1813 §3.3.19.
    pub struct FsInfo3ResOk {
        pub obj_attributes: PostOpAttr, pub rtmax: u32, pub rtpref: u32, pub rtmult: u32, pub wtmax: u32,
        pub wtpref: u32, pub wtmult: u32, pub dtpref: u32, pub maxfilesize: u64, pub time_delta: NfsTime3,
        pub properties: u32,
    }

    /// `PATHCONF3resok`, RFC 1813 §3.3.20.
    pub struct PathConf3ResOk {
        pub obj_attributes: PostOpAttr, pub linkmax: u32, pub name_max: u32, pub no_trunc: bool,
        pub chown_restricted: bool, pub case_insensitive: bool, pub case_preserving: bool,
    }

    /// `COMMIT3args`, RFC 1813 §3.3.21.
    pub struct Commit3Args { pub file: NfsFh3, pub offset: u64, pub count: u32 }

    /// `COMMIT3resok`, RFC 1813 §3.3.21.
    pub struct Commit3ResOk { pub file_wcc: WccData, pub verf: [u8; 8] }
}

/// `createhow3`, RFC 1813 §3.3.8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateHow3 {
    Unchecked(SAttr3),
    Guarded(SAttr3),
    Exclusive([u8; 8]),
}

impl Xdr for CreateHow3 {
    fn encode(&self, out: &mut Encoder) {
        match self {
            CreateHow3::Unchecked(attributes) => {
                out.u32(0);
                out.put(attributes);
            }
            CreateHow3::Guarded(attributes) => {
                out.u32(1);
                out.put(attributes);
            }
            CreateHow3::Exclusive(verifier) => {
                out.u32(2);
                out.put(verifier);
            }
        }
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        match input.u32()? {
            0 => input.take().map(CreateHow3::Unchecked),
            1 => input.take().map(CreateHow3::Guarded),
            2 => input.take().map(CreateHow3::Exclusive),
            value => Err(XdrError::BadValue { what: "createmode3", value }),
        }
    }
}

/// `mknoddata3`, RFC 1813 §3.3.11.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MkNodData3 {
    /// `devicedata3` of a character or block device.
    Device(FType3, SAttr3, SpecData3),
    /// A socket or named pipe.
    Pipe(FType3, SAttr3),
    /// A type that MKNOD does not make (`NFS3ERR_BADTYPE`).
    Other(FType3),
}

impl Xdr for MkNodData3 {
    fn encode(&self, out: &mut Encoder) {
        match self {
            MkNodData3::Device(kind, attributes, spec) => {
                out.put(kind);
                out.put(attributes);
                out.put(spec);
            }
            MkNodData3::Pipe(kind, attributes) => {
                out.put(kind);
                out.put(attributes);
            }
            MkNodData3::Other(kind) => out.put(kind),
        }
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        match input.take()? {
            kind @ (FType3::Chr | FType3::Blk) => Ok(MkNodData3::Device(kind, input.take()?, input.take()?)),
            kind @ (FType3::Sock | FType3::Fifo) => Ok(MkNodData3::Pipe(kind, input.take()?)),
            kind => Ok(MkNodData3::Other(kind)),
        }
    }
}

/// `dirlist3` and `dirlistplus3`, RFC 1813 §3.3.16 and §3.3.17.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirList3<E> {
    pub entries: Vec<E>,
    pub eof: bool,
}

impl<E: Xdr> Xdr for DirList3<E> {
    fn encode(&self, out: &mut Encoder) {
        for entry in &self.entries {
            out.bool(true);
            out.put(entry);
        }
        out.bool(false);
        out.bool(self.eof);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        let mut entries = Vec::new();
        while input.bool()? {
            entries.push(input.take()?);
        }
        Ok(DirList3 { entries, eof: input.bool()? })
    }
}
