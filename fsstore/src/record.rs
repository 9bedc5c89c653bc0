//! NVLOG records: one operation with every choice made, so that applying it can't fail and always gives the same.

use crate::dos::DosAttributes;
use crate::ids::{
    BLOCK_SIZE, BLOCK_SIZE_U64, Fbn, FileId, Generation, InodeNum, Lsn, QtreeId, SnapshotId, Vbn,
};
use crate::inode::{kind_code, kind_from};
use crate::layout::{Reader, Writer};
use crate::op::{FILE_SIZE_MAX, FileKind, NAME_MAX, QTREES_MAX, Time};
use crate::quota::pages::{put_limits, put_target, take_limits, take_target};
use crate::quota::{QuotaLimits, QuotaTarget};
use bytes::Bytes;

/// A checked operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) lsn: Lsn,
    /// When, as the caller said; each inode's stamp follows from it.
    pub(crate) now: Time,
    pub(crate) act: Act,
}

/// What a record does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Make(Make),
    Link {
        file: InodeNum,
        dir: InodeNum,
        name: Bytes,
    },
    /// Takes away a name, and the file with its last one. Directories too.
    Unlink {
        dir: InodeNum,
        name: Bytes,
    },
    Rename {
        from_dir: InodeNum,
        from: Bytes,
        to_dir: InodeNum,
        to: Bytes,
    },
    SetAttr(SetAttr),
    Write(Write),
    Share(Share),
    /// Makes the bytes from `from` up to `to` a hole; `mode` as in [`Write`].
    Punch {
        file: InodeNum,
        from: u64,
        to: u64,
        mode: Option<u32>,
    },
    PutAttr(PutAttr),
    /// Takes away an attribute or stream; with the last one, the attribute directory.
    DropAttr {
        file: InodeNum,
        name: Bytes,
    },
    /// Gives a stream another name, in place of what has it. Both are as in the attribute directory.
    RenameAttr {
        file: InodeNum,
        from: Bytes,
        to: Bytes,
    },
    /// Sets or (empty) takes away an access control list.
    SetAcl {
        file: InodeNum,
        acl: AclBlob,
        mode: u32,
    },
    /// Sets a quota rule or takes it away.
    SetQuota {
        target: QuotaTarget,
        limits: Option<QuotaLimits>,
    },
}

/// An encoded access control list, and the hidden file for it where there is none yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AclBlob {
    pub(crate) made: Option<FileId>,
    pub(crate) bytes: Bytes,
}

/// An extended attribute's value, or a new stream. `name` is as in the attribute directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PutAttr {
    pub(crate) file: InodeNum,
    /// The attribute directory, where the file has none yet.
    pub(crate) dir: Option<FileId>,
    /// The hidden file, where the name is new.
    pub(crate) made: Option<FileId>,
    pub(crate) name: Bytes,
    /// What it holds; a new stream is empty.
    pub(crate) value: Option<Bytes>,
}

/// Blocks of one file that another uses too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    pub(crate) from: InodeNum,
    pub(crate) snapshot: SnapshotId,
    pub(crate) from_fbn: Fbn,
    pub(crate) to: InodeNum,
    pub(crate) to_fbn: Fbn,
    pub(crate) blocks: u64,
    /// The target is at least this long afterwards.
    pub(crate) end: u64,
    /// Where the target becomes the source: its size.
    pub(crate) size: Option<u64>,
    pub(crate) mtime: Option<Time>,
    /// Mode, owner and group to set.
    pub(crate) owner: Option<(u32, u32, u32)>,
    /// Where the target becomes the source: its DOS attributes.
    pub(crate) dos: Option<DosAttributes>,
}

/// A new inode and its first name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Make {
    pub(crate) dir: InodeNum,
    pub(crate) name: Bytes,
    pub(crate) id: FileId,
    pub(crate) kind: FileKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: (u32, u32),
    pub(crate) target: Bytes,
    pub(crate) size: u64,
    pub(crate) atime: Option<Time>,
    pub(crate) mtime: Option<Time>,
    /// The list that it inherits.
    pub(crate) acl: Option<AclBlob>,
    /// For a new qtree: its number. Everything else is in the qtree of its directory.
    pub(crate) qtree: Option<QtreeId>,
    pub(crate) late: Late,
}

/// What records have since format 5, behind everything else; those of older volumes end before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Late {
    pub(crate) ctime: Option<Time>,
    pub(crate) btime: Option<Time>,
    pub(crate) dos: Option<DosAttributes>,
}

/// Attributes as they are to be; what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SetAttr {
    pub(crate) file: InodeNum,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<Time>,
    pub(crate) mtime: Option<Time>,
    /// The list as a new mode makes it.
    pub(crate) acl: Option<AclBlob>,
    pub(crate) late: Late,
}

/// Data for a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Write {
    pub(crate) file: InodeNum,
    /// End of the write: the file is at least this long afterwards.
    pub(crate) end: u64,
    /// Mode without setuid and setgid, where the write takes them away.
    pub(crate) mode: Option<u32>,
    pub(crate) pieces: Vec<Piece>,
}

/// A part of a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// Bytes that the record carries.
    Bytes { offset: u64, data: Bytes },
    /// Whole blocks that stand on disk already, with their checksums.
    Blocks { fbn: Fbn, start: Vbn, sums: Vec<u64> },
}

fn put_time(out: &mut Writer, time: Time) {
    out.i64(time.secs);
    out.u32(time.nanos);
}

fn take_time(input: &mut Reader<'_>) -> Time {
    Time { secs: input.i64(), nanos: input.u32() }
}

fn put_id(out: &mut Writer, id: FileId) {
    out.u64(id.ino.0);
    out.u32(id.generation.0);
}

fn take_id(input: &mut Reader<'_>) -> FileId {
    FileId::active(InodeNum(input.u64()), Generation(input.u32()))
}

fn put_acl(out: &mut Writer, acl: Option<&AclBlob>) {
    out.u8(u8::from(acl.is_some()));
    if let Some(acl) = acl {
        put_option(out, acl.made, put_id);
        out.bytes(&acl.bytes);
    }
}

fn take_acl(input: &mut Reader<'_>) -> Option<AclBlob> {
    take_option(input, |input| AclBlob { made: take_option(input, take_id), bytes: take_bytes(input) })
}

fn put_option<T: Copy>(out: &mut Writer, value: Option<T>, put: impl FnOnce(&mut Writer, T)) {
    out.u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn take_option<T>(input: &mut Reader<'_>, take: impl FnOnce(&mut Reader<'_>) -> T) -> Option<T> {
    (input.u8() == 1).then(|| take(input))
}

fn take_bytes(input: &mut Reader<'_>) -> Bytes {
    Bytes::copy_from_slice(input.bytes())
}

/// DOS attributes at the end of a record; a record of format 4 has none.
fn take_late_word(input: &mut Reader<'_>) -> Option<Option<DosAttributes>> {
    if input.is_empty() { Some(None) } else { DosAttributes::from_word(input.u32()) }
}

impl Late {
    fn encode(&self, out: &mut Writer) {
        put_option(out, self.ctime, put_time);
        put_option(out, self.btime, put_time);
        out.u32(DosAttributes::to_word(self.dos));
    }

    fn decode(input: &mut Reader<'_>) -> Option<Late> {
        if input.is_empty() {
            return Some(Late::default());
        }
        let (ctime, btime) = (take_option(input, take_time), take_option(input, take_time));
        Some(Late { ctime, btime, dos: take_late_word(input)? })
    }
}

/// A name that fits into a directory entry.
fn take_name(input: &mut Reader<'_>) -> Option<Bytes> {
    Some(take_bytes(input)).filter(|name| name.len() <= NAME_MAX)
}

impl Record {
    /// How many blocks it counts on that were written before it.
    pub(crate) fn blocks_written_before(&self) -> usize {
        let Act::Write(write) = &self.act else { return 0 };
        let blocks = |piece: &Piece| match piece {
            Piece::Blocks { sums, .. } => sums.len(),
            Piece::Bytes { .. } => 0,
        };
        write.pieces.iter().map(blocks).sum()
    }

    /// Appends the record, length first.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut writer = Writer(std::mem::take(out));
        writer.u32(0);
        writer.u64(self.lsn.0);
        put_time(&mut writer, self.now);
        self.act.encode(&mut writer);
        *out = writer.0;
        let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// Takes the next record of a batch; `None` if it is malformed.
    pub(crate) fn decode(input: &mut Reader<'_>) -> Option<Record> {
        let body = input.bytes();
        let mut input = Reader::new(body);
        let lsn = Lsn(input.u64());
        let now = take_time(&mut input);
        let act = Act::decode(&mut input)?;
        (input.ok() && input.is_empty()).then_some(Record { lsn, now, act })
    }
}

impl Act {
    fn encode(&self, out: &mut Writer) {
        match self {
            Act::Make(make) => make.encode(out),
            Act::Link { file, dir, name } => {
                out.u8(2);
                out.u64(file.0);
                out.u64(dir.0);
                out.bytes(name);
            }
            Act::Unlink { dir, name } => {
                out.u8(3);
                out.u64(dir.0);
                out.bytes(name);
            }
            Act::Rename { from_dir, from, to_dir, to } => {
                out.u8(4);
                out.u64(from_dir.0);
                out.bytes(from);
                out.u64(to_dir.0);
                out.bytes(to);
            }
            Act::SetAttr(set) => {
                out.u8(5);
                out.u64(set.file.0);
                put_option(out, set.mode, Writer::u32);
                put_option(out, set.uid, Writer::u32);
                put_option(out, set.gid, Writer::u32);
                put_option(out, set.size, Writer::u64);
                put_option(out, set.atime, put_time);
                put_option(out, set.mtime, put_time);
                put_acl(out, set.acl.as_ref());
                set.late.encode(out);
            }
            Act::Write(write) => write.encode(out),
            Act::Share(share) => share.encode(out),
            Act::Punch { file, from, to, mode } => {
                out.u8(20);
                out.u64(file.0);
                out.u64(*from);
                out.u64(*to);
                put_option(out, *mode, Writer::u32);
            }
            Act::PutAttr(put) => {
                out.u8(21);
                out.u64(put.file.0);
                put_option(out, put.dir, put_id);
                put_option(out, put.made, put_id);
                out.bytes(&put.name);
                out.u8(u8::from(put.value.is_some()));
                out.bytes(put.value.as_deref().unwrap_or_default());
            }
            Act::DropAttr { file, name } => {
                out.u8(22);
                out.u64(file.0);
                out.bytes(name);
            }
            Act::RenameAttr { file, from, to } => {
                out.u8(25);
                out.u64(file.0);
                out.bytes(from);
                out.bytes(to);
            }
            Act::SetAcl { file, acl, mode } => {
                out.u8(23);
                out.u64(file.0);
                put_acl(out, Some(acl));
                out.u32(*mode);
            }
            Act::SetQuota { target, limits } => {
                out.u8(24);
                put_target(out, *target);
                put_option(out, limits.as_ref(), put_limits);
            }
        }
    }

    fn decode(input: &mut Reader<'_>) -> Option<Act> {
        Some(match input.u8() {
            1 => Act::Make(Make::decode(input)?),
            2 => {
                let (file, dir) = (InodeNum(input.u64()), InodeNum(input.u64()));
                Act::Link { file, dir, name: take_name(input)? }
            }
            3 => Act::Unlink { dir: InodeNum(input.u64()), name: take_name(input)? },
            4 => {
                let (from_dir, from) = (InodeNum(input.u64()), take_name(input)?);
                Act::Rename { from_dir, from, to_dir: InodeNum(input.u64()), to: take_name(input)? }
            }
            5 => Act::SetAttr(SetAttr {
                file: InodeNum(input.u64()),
                mode: take_option(input, |input| input.u32()),
                uid: take_option(input, |input| input.u32()),
                gid: take_option(input, |input| input.u32()),
                size: take_option(input, |input| input.u64()),
                atime: take_option(input, take_time),
                mtime: take_option(input, take_time),
                acl: take_acl(input),
                late: Late::decode(input)?,
            }),
            6 => Act::Write(Write::decode(input)?),
            7 => Act::Share(Share::decode(input)?),
            20 => {
                let (file, from, to) = (InodeNum(input.u64()), input.u64(), input.u64());
                Act::Punch { file, from, to, mode: take_option(input, |input| input.u32()) }
            }
            21 => {
                let file = InodeNum(input.u64());
                let (dir, made) = (take_option(input, take_id), take_option(input, take_id));
                let name = take_name(input)?;
                let (there, value) = (input.u8() == 1, take_bytes(input));
                Act::PutAttr(PutAttr { file, dir, made, name, value: there.then_some(value) })
            }
            22 => Act::DropAttr { file: InodeNum(input.u64()), name: take_name(input)? },
            23 => {
                let (file, acl) = (InodeNum(input.u64()), take_acl(input)?);
                Act::SetAcl { file, acl, mode: input.u32() }
            }
            24 => {
                let target = take_target(input)?;
                Act::SetQuota { target, limits: take_option(input, take_limits) }
            }
            25 => Act::RenameAttr {
                file: InodeNum(input.u64()),
                from: take_name(input)?,
                to: take_name(input)?,
            },
            _ => return None,
        })
    }
}

impl Share {
    fn encode(&self, out: &mut Writer) {
        out.u8(7);
        out.u64(self.from.0);
        out.u64(self.snapshot.0);
        out.u64(self.from_fbn.0);
        out.u64(self.to.0);
        out.u64(self.to_fbn.0);
        out.u64(self.blocks);
        out.u64(self.end);
        put_option(out, self.size, Writer::u64);
        put_option(out, self.mtime, put_time);
        put_option(out, self.owner, |out, (mode, uid, gid)| {
            out.u32(mode);
            out.u32(uid);
            out.u32(gid);
        });
        out.u32(DosAttributes::to_word(self.dos));
    }

    fn decode(input: &mut Reader<'_>) -> Option<Share> {
        Some(Share {
            from: InodeNum(input.u64()),
            snapshot: SnapshotId(input.u64()),
            from_fbn: Fbn(input.u64()),
            to: InodeNum(input.u64()),
            to_fbn: Fbn(input.u64()),
            blocks: input.u64(),
            end: input.u64(),
            size: take_option(input, |input| input.u64()),
            mtime: take_option(input, take_time),
            owner: take_option(input, |input| (input.u32(), input.u32(), input.u32())),
            dos: take_late_word(input)?,
        })
    }
}

impl Make {
    fn encode(&self, out: &mut Writer) {
        out.u8(1);
        out.u64(self.dir.0);
        out.bytes(&self.name);
        out.u64(self.id.ino.0);
        out.u32(self.id.generation.0);
        out.u8(kind_code(self.kind));
        out.u32(self.mode);
        out.u32(self.uid);
        out.u32(self.gid);
        out.u32(self.rdev.0);
        out.u32(self.rdev.1);
        out.bytes(&self.target);
        out.u64(self.size);
        put_option(out, self.atime, put_time);
        put_option(out, self.mtime, put_time);
        put_acl(out, self.acl.as_ref());
        put_option(out, self.qtree, |out, qtree| out.u32(qtree.0));
        self.late.encode(out);
    }

    fn decode(input: &mut Reader<'_>) -> Option<Make> {
        Some(Make {
            dir: InodeNum(input.u64()),
            name: take_name(input)?,
            id: FileId::active(InodeNum(input.u64()), Generation(input.u32())),
            kind: kind_from(input.u8())?,
            mode: input.u32(),
            uid: input.u32(),
            gid: input.u32(),
            rdev: (input.u32(), input.u32()),
            target: take_bytes(input),
            size: input.u64(),
            atime: take_option(input, take_time),
            mtime: take_option(input, take_time),
            acl: take_acl(input),
            qtree: take_option(input, |input| QtreeId(input.u32())),
            late: Late::decode(input)?,
        })
        .filter(|make| make.qtree.is_none_or(|qtree| (1..=QTREES_MAX).contains(&qtree.0)))
    }
}

impl Write {
    fn encode(&self, out: &mut Writer) {
        out.u8(6);
        out.u64(self.file.0);
        out.u64(self.end);
        put_option(out, self.mode, Writer::u32);
        out.u32(u32::try_from(self.pieces.len()).unwrap_or(u32::MAX));
        for piece in &self.pieces {
            match piece {
                Piece::Bytes { offset, data } => {
                    out.u8(1);
                    out.u64(*offset);
                    out.bytes(data);
                }
                Piece::Blocks { fbn, start, sums } => {
                    out.u8(2);
                    out.u64(fbn.0);
                    out.u64(start.0);
                    out.u32(u32::try_from(sums.len()).unwrap_or(u32::MAX));
                    sums.iter().for_each(|sum| out.u64(*sum));
                }
            }
        }
    }

    fn decode(input: &mut Reader<'_>) -> Option<Write> {
        let file = InodeNum(input.u64());
        let end = input.u64();
        let mode = take_option(input, |input| input.u32());
        let count = input.u32();
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push(match input.u8() {
                1 => Piece::Bytes { offset: input.u64(), data: take_bytes(input) },
                2 => {
                    let (fbn, start) = (Fbn(input.u64()), Vbn(input.u64()));
                    let sums = input.u32() as usize;
                    let raw = input.raw(sums.checked_mul(8)?);
                    let sums = raw.chunks_exact(8).map(|sum| Reader::new(sum).u64()).collect();
                    Piece::Blocks { fbn, start, sums }
                }
                _ => return None,
            });
        }
        let write = Write { file, end, mode, pieces };
        write.is_sound().then_some(write)
    }

    /// Whether its pieces are inside of what it says to be its end, and that inside of a file.
    fn is_sound(&self) -> bool {
        let ends_by = |at: u64, len: usize| at.checked_add(len as u64).is_some_and(|end| end <= self.end);
        self.end <= FILE_SIZE_MAX
            && self.pieces.iter().all(|piece| match piece {
                Piece::Bytes { offset, data } => ends_by(*offset, data.len()),
                Piece::Blocks { fbn, sums, .. } => fbn
                    .0
                    .checked_mul(BLOCK_SIZE_U64)
                    .is_some_and(|at| sums.len().checked_mul(BLOCK_SIZE).is_some_and(|len| ends_by(at, len))),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(act: Act) {
        let record = Record { lsn: Lsn(7), now: Time { secs: -1, nanos: 5 }, act };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(Record::decode(&mut Reader::new(&bytes)), Some(record));
        for cut in 0..bytes.len() {
            assert_eq!(Record::decode(&mut Reader::new(&bytes[..cut])), None, "cut at {cut}");
        }
    }

    /// As a volume of format 4 has it in its log.
    #[test]
    fn a_record_from_before_late_fields_has_none_of_them() {
        let set = SetAttr {
            file: InodeNum(9),
            mode: Some(0o600),
            uid: None,
            gid: None,
            size: None,
            atime: None,
            mtime: Some(Time { secs: 1, nanos: 2 }),
            acl: None,
            late: Late::default(),
        };
        let record = Record { lsn: Lsn(7), now: Time::default(), act: Act::SetAttr(set) };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        // Two times that are not there, and the word of DOS attributes.
        bytes.truncate(bytes.len() - 6);
        let len = u32::try_from(bytes.len() - 4).unwrap();
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(Record::decode(&mut Reader::new(&bytes)), Some(record));
    }

    #[test]
    fn records_come_back_and_cut_ones_do_not() {
        let id = FileId::active(InodeNum(9), Generation(3));
        round_trip(Act::Make(Make {
            dir: InodeNum(2),
            name: Bytes::from_static(b"n"),
            id,
            kind: FileKind::Symlink,
            mode: 0o777,
            uid: 1,
            gid: 2,
            rdev: (3, 4),
            target: Bytes::from_static(b"t"),
            size: 1,
            atime: None,
            mtime: Some(Time { secs: 1, nanos: 2 }),
            acl: Some(AclBlob { made: Some(id), bytes: Bytes::from_static(b"acl") }),
            qtree: Some(QtreeId(7)),
            late: Late { dos: Some(DosAttributes(DosAttributes::HIDDEN)), ..Late::default() },
        }));
        for target in [QuotaTarget::Tree(None), QuotaTarget::User { qtree: QtreeId(1), uid: Some(5) }] {
            let limits = QuotaLimits { disk_soft: Some(1), grace_secs: 9, ..QuotaLimits::default() };
            round_trip(Act::SetQuota { target, limits: Some(limits) });
        }
        round_trip(Act::Rename {
            from_dir: InodeNum(2),
            from: Bytes::from_static(b"a"),
            to_dir: InodeNum(3),
            to: Bytes::from_static(b"b"),
        });
        round_trip(Act::RenameAttr {
            file: InodeNum(9),
            from: Bytes::from_static(b":a"),
            to: Bytes::from_static(b":b"),
        });
        round_trip(Act::Punch { file: InodeNum(9), from: 1, to: 8192, mode: Some(0o600) });
        round_trip(Act::PutAttr(PutAttr {
            file: InodeNum(9),
            dir: Some(id),
            made: None,
            name: Bytes::from_static(b"ua"),
            value: Some(Bytes::from_static(b"v")),
        }));
        let bytes = Piece::Bytes { offset: 1, data: Bytes::from_static(b"xyz") };
        let blocks = Piece::Blocks { fbn: Fbn(1), start: Vbn(99), sums: vec![1, 2, 3] };
        round_trip(Act::Write(Write {
            file: InodeNum(9),
            end: 4 * 4096,
            mode: Some(0o644),
            pieces: vec![bytes, blocks],
        }));
    }
}
