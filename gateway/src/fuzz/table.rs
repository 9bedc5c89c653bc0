//! Every procedure of every program: what its arguments are made of, and which type its reply must be.

use super::replies::{Exports, Mappings, Mounts, Outcome, Rpcbs, Text};
use crate::nfs3::acl::{GetAcl, NFS_ACL_PROGRAM, SetAcl, SetAcl3Args};
use crate::nfs3::mount::{DirPath, MOUNT_PROGRAM, MOUNT_V3, MountRes3};
use crate::nfs3::procedures::*;
use crate::nfs3::types::{NFS_PROGRAM, NFS_V3};
use crate::nlm::types::procedure as p;
use crate::nlm::types::*;
use crate::portmap::{Mapping, PORTMAP_PROGRAM, Rpcb};
use crate::xdr::{Decoder, Encoder, Result as XdrResult, Xdr};
use bytes::Bytes;
use std::sync::LazyLock;

/// A part of the arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    /// `nfs_fh3`, or the `netobj` that holds one, of anything.
    Object,
    /// One of a directory.
    Dir,
    /// One of a file with data.
    File,
    /// One of a symbolic link.
    Link,
    /// `filename3`.
    Name,
    /// A symbolic link's target.
    Target,
    /// `sattr3`.
    Attributes,
    /// `sattrguard3`.
    Guard,
    /// What WRITE says of its data, and the data.
    Data,
    /// `createhow3`.
    How,
    /// `mknoddata3`.
    Node,
    /// `secattr`.
    Acl,
    /// Which parts of a `secattr`.
    AclMask,
    /// Bytes of a directory before which a list begins.
    Cookie,
    /// `cookieverf3`.
    CookieVerifier,
    /// A number of 32 bits.
    Number,
    /// One of 64.
    Long,
    /// `dirpath`.
    Path,
    /// Any `bool`.
    Bool,
    /// One that says that a lock was held before.
    Reclaim,
    /// First byte and bytes of a lock.
    Range,
    /// A `netobj` that its maker alone understands.
    Opaque,
    /// A client's name for itself.
    Host,
    /// A transport's number.
    Protocol,
    /// A program's number.
    Program,
    /// A transport's name.
    NetId,
}

/// A procedure.
pub(super) struct Entry {
    pub(super) prog: u32,
    pub(super) vers: u32,
    pub(super) proc: u32,
    pub(super) fields: Vec<Field>,
    /// Whether these are its arguments; `None`: it looks at none.
    pub(super) arguments: Option<fn(Bytes) -> bool>,
    /// Whether the results are those of a success.
    ///
    /// # Errors
    /// They are no results of this procedure.
    pub(super) results: fn(&mut Decoder) -> XdrResult<bool>,
    /// A call that comes again gets the same reply, and is not run.
    pub(super) once: bool,
}

/// All of them.
pub(super) static PROCEDURES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut all = nfs();
    all.extend(acl());
    all.extend(mount());
    all.extend(portmap());
    all.extend(locks());
    all.extend(monitor());
    all
});

/// The procedure of these numbers.
pub(super) fn find(prog: u32, vers: u32, proc: u32) -> Option<usize> {
    PROCEDURES.iter().position(|entry| (entry.prog, entry.vers, entry.proc) == (prog, vers, proc))
}

fn results<T: Xdr + Outcome>(input: &mut Decoder) -> XdrResult<bool> {
    input.take::<T>().map(|value| value.is_success())
}

/// Arguments that end where the message does, and come back as they were when they are encoded again.
fn whole<T: Xdr>(args: Bytes) -> bool {
    let mut input = Decoder::new(args.clone());
    let Ok(value) = input.take::<T>() else { return false };
    let used = args.len() - input.rest().len();
    assert_comes_back(&value, &args[..used]);
    input.finish().is_ok()
}

/// The same, where programs ignore what follows them.
fn leading<T: Xdr>(args: Bytes) -> bool {
    let mut input = Decoder::new(args.clone());
    let Ok(value) = input.take::<T>() else { return false };
    assert_comes_back(&value, &args[..args.len() - input.rest().len()]);
    true
}

/// What was decoded from `wire` is encoded as that, but for padding, which nobody reads.
pub(super) fn assert_comes_back<T: Xdr>(value: &T, wire: &[u8]) {
    let mut out = Encoder::default();
    out.put(value);
    let again = out.finish().into_bytes();
    assert_eq!(again.len(), wire.len(), "a value has another length when it is encoded again");
    let mut padding = 0;
    for (ours, theirs) in again.iter().zip(wire) {
        padding = if ours == theirs { 0 } else { padding + 1 };
        assert!(padding == 0 || (*ours == 0 && padding <= 3), "{again:?} was {wire:?}");
    }
    let mut input = Decoder::new(again.clone());
    let value: T = input.take().expect("what was encoded can be decoded");
    let mut out = Encoder::default();
    out.put(&value);
    assert_eq!(out.finish().into_bytes(), again);
}

/// Of this program, with these arguments and results; `once` is to be set where it is true.
fn entry<A: Xdr, R: Xdr + Outcome>((prog, vers): (u32, u32), proc: u32, fields: &[Field]) -> Entry {
    let (fields, results) = (fields.to_vec(), results::<R>);
    Entry { prog, vers, proc, fields, arguments: Some(whole::<A>), results, once: false }
}

/// One that looks at no arguments.
fn plain<R: Xdr + Outcome>((prog, vers): (u32, u32), proc: u32) -> Entry {
    Entry { prog, vers, proc, fields: Vec::new(), arguments: None, results: results::<R>, once: false }
}

fn nfs() -> Vec<Entry> {
    use Field::{
        Attributes, Cookie, CookieVerifier, Data, Dir, File, Guard, How, Long, Name, Node, Number, Object,
        Target,
    };
    const NFS: (u32, u32) = (NFS_PROGRAM, NFS_V3);
    fn of<P: Procedure>(fields: &[Field]) -> Entry {
        entry::<P::Args, Res3<P>>(NFS, P::NUMBER, fields)
    }
    let mut all = vec![
        plain::<()>(NFS, 0),
        of::<GetAttr>(&[Object]),
        of::<SetAttr>(&[Object, Attributes, Guard]),
        of::<Lookup>(&[Dir, Name]),
        of::<Access>(&[Object, Number]),
        of::<ReadLink>(&[Field::Link]),
        of::<Read>(&[File, Long, Number]),
        of::<Write>(&[File, Long, Data]),
        of::<Create>(&[Dir, Name, How]),
        of::<MkDir>(&[Dir, Name, Attributes]),
        of::<SymLink>(&[Dir, Name, Attributes, Target]),
        of::<MkNod>(&[Dir, Name, Node]),
        of::<Remove>(&[Dir, Name]),
        of::<RmDir>(&[Dir, Name]),
        of::<Rename>(&[Dir, Name, Dir, Name]),
        of::<Link>(&[File, Dir, Name]),
        of::<ReadDir>(&[Dir, Cookie, CookieVerifier, Number]),
        of::<ReadDirPlus>(&[Dir, Cookie, CookieVerifier, Number, Number]),
        of::<FsStat>(&[Object]),
        of::<FsInfo>(&[Object]),
        of::<PathConf>(&[Object]),
        of::<Commit>(&[File, Long, Number]),
    ];
    for entry in &mut all {
        entry.once = matches!(entry.proc, SetAttr::NUMBER | Create::NUMBER..=Link::NUMBER);
    }
    all
}

fn acl() -> Vec<Entry> {
    const ACL: (u32, u32) = (NFS_ACL_PROGRAM, NFS_V3);
    let get = entry::<<GetAcl as Procedure>::Args, Res3<GetAcl>>(ACL, 1, &[Field::Object, Field::AclMask]);
    let set = entry::<SetAcl3Args, Res3<SetAcl>>(ACL, 2, &[Field::Object, Field::Acl]);
    // Linux sends more than the arguments.
    let arguments: fn(Bytes) -> bool = |args| SetAcl3Args::decode(&mut Decoder::new(args)).is_ok();
    vec![plain::<()>(ACL, 0), get, Entry { arguments: Some(arguments), once: true, ..set }]
}

fn mount() -> Vec<Entry> {
    const MOUNT: (u32, u32) = (MOUNT_PROGRAM, MOUNT_V3);
    let path = |entry: Entry| Entry { arguments: Some(leading::<DirPath>), ..entry };
    // RFC 1813 §5.2: MNT, DUMP, UMNT, UMNTALL, EXPORT.
    vec![
        plain::<()>(MOUNT, 0),
        path(entry::<DirPath, MountRes3>(MOUNT, 1, &[Field::Path])),
        plain::<Mounts>(MOUNT, 2),
        path(entry::<DirPath, ()>(MOUNT, 3, &[Field::Path])),
        plain::<()>(MOUNT, 4),
        plain::<Exports>(MOUNT, 5),
    ]
}

fn portmap() -> Vec<Entry> {
    use Field::*;
    const PMAP: (u32, u32) = (PORTMAP_PROGRAM, 2);
    let mapping = |proc, results| Entry {
        arguments: Some(leading::<Mapping>),
        results,
        ..entry::<Mapping, u32>(PMAP, proc, &[Program, Number, Protocol, Number])
    };
    // RFC 1833 §3: SET, UNSET, GETPORT, DUMP.
    let mut all = vec![
        plain::<()>(PMAP, 0),
        mapping(1, results::<bool>),
        mapping(2, results::<bool>),
        mapping(3, results::<u32>),
        plain::<Mappings>(PMAP, 4),
    ];
    for vers in [3, 4] {
        let rpcbind = (PORTMAP_PROGRAM, vers);
        let rpcb = |proc, results| Entry {
            arguments: Some(|args| Rpcb::decode(&mut Decoder::new(args)).is_ok()),
            results,
            ..entry::<(), ()>(rpcbind, proc, &[Program, Number, NetId, Host, Host])
        };
        // RFC 1833 §2: SET, UNSET, GETADDR, DUMP.
        all.push(plain::<()>(rpcbind, 0));
        all.extend([1, 2].map(|proc| rpcb(proc, results::<bool>)));
        all.push(rpcb(3, results::<Text>));
        all.push(plain::<Rpcbs>(rpcbind, 4));
        if vers == 4 {
            // GETVERSADDR.
            all.push(rpcb(9, results::<Text>));
        }
    }
    all
}

fn locks() -> Vec<Entry> {
    use Field::*;
    const NLM: (u32, u32) = (NLM_PROGRAM, NLM_V4);
    const LOCK: [Field; 5] = [Host, File, Opaque, Protocol, Range];
    const SHARE: [Field; 7] = [Opaque, Host, File, Opaque, Number, Number, Reclaim];
    let with = |before: &[Field], after: &[Field]| [before, &LOCK, after].concat();
    let (test, lock) = (with(&[Opaque, Bool], &[]), with(&[Opaque, Bool, Bool], &[Reclaim, Number]));
    let (cancel, unlock) = (with(&[Opaque, Bool, Bool], &[]), with(&[Opaque], &[]));
    let mut all = vec![
        plain::<()>(NLM, p::NULL),
        entry::<Nlm4TestArgs, Nlm4TestRes>(NLM, p::TEST, &test),
        entry::<Nlm4LockArgs, Nlm4Res>(NLM, p::LOCK, &lock),
        entry::<Nlm4CancArgs, Nlm4Res>(NLM, p::CANCEL, &cancel),
        entry::<Nlm4UnlockArgs, Nlm4Res>(NLM, p::UNLOCK, &unlock),
        entry::<Nlm4TestArgs, Nlm4Res>(NLM, p::GRANTED, &test),
        entry::<Nlm4TestArgs, ()>(NLM, p::TEST_MSG, &test),
        entry::<Nlm4LockArgs, ()>(NLM, p::LOCK_MSG, &lock),
        entry::<Nlm4CancArgs, ()>(NLM, p::CANCEL_MSG, &cancel),
        entry::<Nlm4UnlockArgs, ()>(NLM, p::UNLOCK_MSG, &unlock),
        entry::<Nlm4TestArgs, ()>(NLM, p::GRANTED_MSG, &test),
        entry::<Nlm4ShareArgs, Nlm4ShareRes>(NLM, p::SHARE, &SHARE),
        entry::<Nlm4ShareArgs, Nlm4ShareRes>(NLM, p::UNSHARE, &SHARE),
        entry::<Nlm4LockArgs, Nlm4Res>(NLM, p::NM_LOCK, &lock),
        entry::<Nlm4Notify, ()>(NLM, p::FREE_ALL, &[Host, Number]),
    ];
    for entry in &mut all {
        entry.once = matches!(
            entry.proc,
            p::LOCK..=p::UNLOCK | p::LOCK_MSG..=p::UNLOCK_MSG | p::SHARE..=p::FREE_ALL
        );
    }
    all.extend((p::TEST_RES..=p::GRANTED_RES).map(|proc| plain::<()>(NLM, proc)));
    all
}

fn monitor() -> Vec<Entry> {
    const NSM: (u32, u32) = (NSM_PROGRAM, NSM_V1);
    vec![
        plain::<()>(NSM, p::NULL),
        plain::<SmStatRes>(NSM, p::SM_STAT),
        plain::<SmStatRes>(NSM, p::SM_MON),
        plain::<u32>(NSM, p::SM_UNMON),
        plain::<u32>(NSM, p::SM_UNMON_ALL),
        plain::<()>(NSM, p::SM_SIMU_CRASH),
        entry::<StatChge, ()>(NSM, p::SM_NOTIFY, &[Field::Host, Field::Number]),
    ]
}
