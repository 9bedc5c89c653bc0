//! Random operations on a file system of few names and few users, so that they meet often.
//!
//! Everything comes from one seed; nothing here may look at a clock or iterate a hash map.

use crate::model::{Body, Model};
use bytes::Bytes;
use fsstore::{
    Ace, AceFlags, AceKind, AceMask, AceWho, Acl, Context, CreateHow, DosAttributes, FILE_SIZE_MAX, FileId,
    FileKind, Generation, Op, QtreeId, QuotaLimits, QuotaTarget, ROOT, SetAttrs, SetTime, Time,
    XATTR_VALUE_MAX, XattrHow,
};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};

pub use crate::seeds::for_each_seed;

/// How large things may get.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Writes and truncations usually end before this byte.
    pub file_bytes: u64,
    /// Longest usual write.
    pub write_bytes: usize,
    /// Once in a while a write of this size.
    pub big_write_bytes: usize,
    /// With more bytes than this in all files, writes stop until some are removed.
    pub total_bytes: u64,
    /// Whether some writes and truncations go up to the largest file size.
    pub far: bool,
}

impl Limits {
    /// For the model test.
    pub const WIDE: Limits = Limits {
        file_bytes: 2 << 20,
        write_bytes: 40_000,
        big_write_bytes: 3 << 20,
        total_bytes: 20 << 20,
        far: true,
    };
    /// For the crash tests, which read everything after every cut.
    pub const SMALL: Limits = Limits {
        file_bytes: 100_000,
        write_bytes: 9_000,
        big_write_bytes: 150_000,
        total_bytes: 600_000,
        far: false,
    };
    /// The same with many writes that go to their blocks at once, before the log points to them.
    pub const DIRECT: Limits = Limits { write_bytes: 100_000, file_bytes: 250_000, ..Limits::SMALL };
}

/// The source of all chance in a test.
pub struct Random {
    /// The generator itself.
    pub rng: Xoshiro256PlusPlus,
    now: Time,
    limits: Limits,
}

const MODES: [u32; 12] =
    [0o755, 0o777, 0o1777, 0o2775, 0o644, 0o600, 0, 0o4755, 0o2755, 0o2644, 0o7777, 0o711];
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "ä", "a longer name"];
const ATTRIBUTES: [&[u8]; 7] =
    [b"user.a", b"user.a", b"user.b", b"trusted.c", b"security.d", b"user.", b"other.e"];
const ODD_NAMES: [&[u8]; 6] = [b".", b"..", b"", b"x/y", b"nul\0", b"\xff\xfe"];

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64, limits: Limits) -> Random {
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Random { rng, now: Time { secs: 1_700_000_000, nanos: 0 }, limits }
    }

    /// Lets a day pass: what comes now is later than anything of another source with the same seed or another one.
    pub fn next_day(&mut self) {
        self.now.secs += 86_400;
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        items.choose(&mut self.rng).expect("something to pick from")
    }

    /// The time, which goes on a little with most calls.
    pub fn now(&mut self) -> Time {
        let nanos = *self.pick(&[0, 1, 1000, 999_999_999]) + self.now.nanos;
        self.now =
            Time { secs: self.now.secs + i64::from(nanos / 1_000_000_000), nanos: nanos % 1_000_000_000 };
        self.now
    }

    /// One of four users, now.
    pub fn context(&mut self) -> Context {
        let now = self.now();
        let (uid, gid, groups) = match self.rng.random_range(0..8) {
            0..4 => (0, 0, vec![]),
            4 | 5 => (1, 10, vec![]),
            6 => (2, 20, vec![10, 30]),
            _ => (3, 30, vec![]),
        };
        Context { uid, gid, groups, now }
    }

    /// A name, likely one that is used elsewhere.
    pub fn name(&mut self) -> Bytes {
        match self.rng.random_range(0..100) {
            0..76 => Bytes::from_static(self.pick(&NAMES).as_bytes()),
            76..88 => other_case(self.pick(&NAMES).as_bytes()),
            88..92 => {
                let which = self.rng.random_range(0..ODD_NAMES.len());
                Bytes::from_static(ODD_NAMES[which])
            }
            92..98 => Bytes::from(vec![*self.pick(b"xyz"); 255]),
            _ => Bytes::from(vec![b'x'; 256]),
        }
    }

    /// Some file; now and then one that never was.
    pub fn file(&mut self, model: &Model) -> FileId {
        let files = model.files();
        let mut id = self.pick(&files).attr.id;
        if self.chance(2) {
            id.generation = Generation(id.generation.0.wrapping_add(1));
        }
        id
    }

    fn of_kind(&mut self, model: &Model, kind: FileKind) -> FileId {
        let files: Vec<FileId> =
            model.files().iter().filter(|n| n.attr.kind == kind).map(|n| n.attr.id).collect();
        if files.is_empty() || self.chance(4) { self.file(model) } else { *self.pick(&files) }
    }

    /// Mostly a directory.
    pub fn dir(&mut self, model: &Model) -> FileId {
        if self.chance(30) { ROOT } else { self.of_kind(model, FileKind::Dir) }
    }

    /// A directory and a name in it, likely one that exists.
    pub fn entry(&mut self, model: &Model) -> (FileId, Bytes) {
        let dir = self.dir(model);
        let names: Vec<&Bytes> = model.entries(dir).map(|e| e.keys().collect()).unwrap_or_default();
        if names.is_empty() || self.chance(20) {
            return (dir, self.name());
        }
        (dir, (*self.pick(&names)).clone())
    }

    /// A mutation.
    pub fn op(&mut self, model: &Model) -> Op {
        let dir = self.dir(model);
        if self.chance(6) {
            return self.reserve(model);
        }
        if self.chance(8) {
            return self.attribute(model);
        }
        if self.chance(4) {
            return Op::SetAcl { file: self.file(model), acl: self.acl() };
        }
        if self.chance(6) {
            return self.quota(model);
        }
        match self.rng.random_range(0..100) {
            0..14 => Op::Create { dir, name: self.name(), how: self.how() },
            14..22 => Op::Mkdir { dir, name: self.name(), attrs: self.attrs_for_new() },
            22..26 => {
                Op::Symlink { dir, name: self.name(), target: self.target(), attrs: self.attrs_for_new() }
            }
            26..29 => self.mknod(dir),
            29..35 => Op::Link { file: self.file(model), dir, name: self.name() },
            35..46 => {
                let (dir, name) = self.entry(model);
                Op::Remove { dir, name }
            }
            46..52 => {
                let (dir, name) = self.entry(model);
                Op::Rmdir { dir, name }
            }
            52..65 => {
                let (from_dir, from) = self.entry(model);
                let (to_dir, to) = if self.chance(40) { self.entry(model) } else { (dir, self.name()) };
                Op::Rename { from_dir, from, to_dir, to }
            }
            65..78 => self.setattr(model),
            78..82 => self.clone_of(model),
            _ => self.write(model),
        }
    }

    /// Holes made and filled.
    fn reserve(&mut self, model: &Model) -> Op {
        let file = self.of_kind(model, FileKind::File);
        let (offset, mut len) = (self.size(), self.size());
        if self.chance(70) {
            let offset = offset % self.limits.file_bytes;
            return Op::Deallocate { file, offset, len };
        }
        // The model is never full: what is too large for any volume is refused for that, what is not is small.
        if offset.checked_add(len).is_some_and(|end| end <= FILE_SIZE_MAX) {
            len %= self.limits.file_bytes;
        }
        Op::Allocate { file, offset, len }
    }

    /// An extended attribute or a stream.
    pub fn attribute(&mut self, model: &Model) -> Op {
        let file = self.file(model);
        let name = Bytes::from_static(ATTRIBUTES[self.rng.random_range(0..ATTRIBUTES.len())]);
        match self.rng.random_range(0..10) {
            0..4 => {
                let mut value =
                    vec![0; *self.pick(&[0, 3, 200, 4096, 9000, XATTR_VALUE_MAX, XATTR_VALUE_MAX + 1])];
                self.rng.fill_bytes(&mut value);
                let how =
                    *self.pick(&[XattrHow::Either, XattrHow::Either, XattrHow::Create, XattrHow::Replace]);
                Op::SetXattr { file, name, value: value.into(), how }
            }
            4 => Op::RemoveXattr { file, name },
            5 => {
                // One that is there, or by chance hardly any would be.
                let files = model.files();
                let named = files.iter().flat_map(|node| node.xattrs.keys().map(|name| (node.attr.id, name)));
                let named: Vec<_> = named.collect();
                let (file, name) =
                    named.choose(&mut self.rng).map_or((file, name), |(id, name)| (*id, (*name).clone()));
                Op::RemoveXattr { file, name }
            }
            6 | 7 => Op::MakeStream { file, name: self.name(), guarded: self.chance(30) },
            8 => {
                let (file, from) = self.stream(model, file);
                Op::RenameStream { file, from, to: self.name(), replace: self.chance(50) }
            }
            _ => {
                let (file, name) = self.stream(model, file);
                Op::RemoveStream { file, name }
            }
        }
    }

    /// Mostly a stream that is there, or by chance hardly any would be.
    fn stream(&mut self, model: &Model, file: FileId) -> (FileId, Bytes) {
        let files = model.files();
        let named = files.iter().flat_map(|node| node.streams.keys().map(|name| (node.attr.id, name)));
        let named: Vec<_> = named.collect();
        match named.choose(&mut self.rng) {
            Some((id, name)) if self.chance(80) => (*id, (*name).clone()),
            _ => (file, self.name()),
        }
    }

    /// A list of few entries for few users.
    fn acl(&mut self) -> Option<Acl> {
        if self.chance(30) {
            return None;
        }
        if self.chance(10) {
            // One that says no more than a mode does.
            let of_dir = self.chance(50);
            return Some(Acl::from_mode(self.rng.random::<u32>() & 0o777, of_dir));
        }
        let count = *self.pick(&[0, 1, 2, 3, 5, 7]);
        let mut aces: Vec<Ace> = (0..count).map(|_| self.ace()).collect();
        if self.chance(30) {
            aces.push(Ace { kind: AceKind::Allow, who: AceWho::Mask, ..self.ace() });
        }
        Some(Acl { aces, nt: None })
    }

    fn ace(&mut self) -> Ace {
        let kind = if self.chance(75) { AceKind::Allow } else { AceKind::Deny };
        let id = self.rng.random_range(0..4);
        let who = *self.pick(&[
            AceWho::Owner,
            AceWho::Group,
            AceWho::Everyone,
            AceWho::User(id),
            AceWho::GroupId(id * 10),
            AceWho::Mask,
        ]);
        let flags = if self.chance(40) { self.rng.random::<u8>() & AceFlags::ALL } else { 0 };
        let most = AceMask::ALL & !AceMask::WRITE_ACL;
        let mask = *self.pick(&[AceMask::ALL, most, AceMask::READ_DATA | AceMask::EXECUTE, 0]);
        let mask = if self.chance(40) { self.rng.random::<u32>() & AceMask::ALL } else { mask };
        let odd = if self.chance(2) { 1 << 30 } else { 0 };
        Ace { kind, who, flags, mask: mask | odd }
    }

    /// A qtree, or a rule with limits near to what is there.
    fn quota(&mut self, model: &Model) -> Op {
        if self.chance(30) {
            return Op::MakeQtree { name: self.name(), attrs: self.attrs_for_new() };
        }
        let rules: Vec<QuotaTarget> = model.rules().collect();
        // Rules go again, or nothing would go on for long.
        if !rules.is_empty() && (rules.len() > 4 || self.chance(40)) {
            return Op::SetQuota { target: *self.pick(&rules), limits: None };
        }
        let mut qtrees: Vec<QtreeId> = model.qtrees().collect();
        qtrees.push(if self.chance(5) { QtreeId(99) } else { QtreeId::NONE });
        let qtree = *self.pick(&qtrees);
        let uid = *self.pick(&[None, Some(0), Some(1), Some(1), Some(2), Some(3)]);
        let gid = *self.pick(&[None, Some(0), Some(10), Some(20), Some(30)]);
        let target = match self.rng.random_range(0..5) {
            0 => QuotaTarget::Tree(None),
            1 => QuotaTarget::Tree(Some(qtree)),
            2 | 3 => QuotaTarget::User { qtree, uid },
            _ => QuotaTarget::Group { qtree, gid },
        };
        let limits = self.limits(model.usage().get(&target).copied().unwrap_or_default());
        Op::SetQuota { target, limits: self.chance(95).then_some(limits) }
    }

    fn limits(&mut self, (blocks, files): (u64, u64)) -> QuotaLimits {
        let mut near = |used: u64, unit: u64| {
            let limit = (used + self.rng.random_range(0..12)).saturating_sub(2) * unit;
            (self.chance(50).then_some(limit), self.chance(50).then_some(limit + 3 * unit + unit / 2))
        };
        let ((disk_soft, disk_hard), (files_soft, files_hard)) = (near(blocks, 4096), near(files, 1));
        let grace_secs = *self.pick(&[0, 2, 20, 1 << 30]);
        // The other way around now and then, which is refused.
        if self.chance(2) {
            return QuotaLimits {
                disk_hard: disk_soft,
                disk_soft: disk_hard,
                files_hard,
                files_soft,
                grace_secs,
            };
        }
        QuotaLimits { disk_hard, disk_soft, files_hard, files_soft, grace_secs }
    }

    fn how(&mut self) -> CreateHow {
        match self.rng.random_range(0..4) {
            0 | 1 => CreateHow::Unchecked(self.attrs_for_new()),
            2 => CreateHow::Guarded(self.attrs_for_new()),
            _ => CreateHow::Exclusive([*self.pick(&[1, 2]); 8]),
        }
    }

    fn attrs_for_new(&mut self) -> SetAttrs {
        let mut attrs = self.attrs();
        // Most files get usable rights, else other users would see little but EACCES.
        if self.chance(70) {
            attrs.mode = Some(*self.pick(&[0o777, 0o1777, 0o2777, 0o666]));
        }
        attrs.size = attrs.size.filter(|size| *size < 1 << 30);
        attrs
    }

    fn attrs(&mut self) -> SetAttrs {
        let mut attrs = SetAttrs::default();
        if self.chance(40) {
            attrs.mode = Some(*self.pick(&MODES));
        }
        if self.chance(15) {
            attrs.uid = Some(self.rng.random_range(0..4));
        }
        if self.chance(15) {
            attrs.gid = Some(*self.pick(&[0, 10, 20, 30]));
        }
        if self.chance(30) {
            attrs.size = Some(self.size());
        }
        (attrs.atime, attrs.mtime) = (self.set_time(), self.set_time());
        if self.chance(15) {
            (attrs.ctime, attrs.btime) = (self.set_time(), self.set_time());
            attrs.dos = Some(DosAttributes(self.rng.random_range(0..0x100) & DosAttributes::ALL));
        }
        attrs
    }

    fn set_time(&mut self) -> SetTime {
        match self.rng.random_range(0..10) {
            0 => SetTime::Now,
            1 => SetTime::To(Time { secs: self.rng.random_range(-5..2_000_000_000), nanos: 5 }),
            _ => SetTime::Keep,
        }
    }

    fn size(&mut self) -> u64 {
        match self.rng.random_range(0..20) {
            0..6 => 0,
            6..9 => self.rng.random_range(0..self.limits.file_bytes / 4096) * 4096,
            9 if self.limits.far => *self.pick(&[FILE_SIZE_MAX, FILE_SIZE_MAX + 1, u64::MAX, 1 << 40]),
            _ => self.rng.random_range(0..self.limits.file_bytes),
        }
    }

    fn target(&mut self) -> Bytes {
        let len = *self.pick(&[0, 1, 10, 10, 10, 300, 4095, 4096]);
        Bytes::from(vec![b't'; len])
    }

    fn mknod(&mut self, dir: FileId) -> Op {
        use FileKind::{BlockDevice, CharDevice, Fifo, File, Socket};
        let kind = *self.pick(&[BlockDevice, CharDevice, Socket, Fifo, Fifo, File]);
        let rdev = (self.rng.random_range(0..9), self.rng.random_range(0..9));
        Op::Mknod { dir, name: self.name(), kind, rdev, attrs: self.attrs_for_new() }
    }

    fn setattr(&mut self, model: &Model) -> Op {
        let file = if self.chance(50) { self.of_kind(model, FileKind::File) } else { self.file(model) };
        let guard = match (self.rng.random_range(0..10), model.node(file)) {
            (0, Ok(node)) => Some(node.attr.ctime),
            (1, Ok(_)) => Some(Time { secs: 1, nanos: 1 }),
            _ => None,
        };
        Op::SetAttr { file, attrs: self.attrs(), guard }
    }

    fn clone_of(&mut self, model: &Model) -> Op {
        let (from, to) = (self.of_kind(model, FileKind::File), self.of_kind(model, FileKind::File));
        if self.chance(30) {
            return Op::CloneFile { from, to };
        }
        let size = model.node(from).map_or(0, |node| node.attr.size).min(self.limits.file_bytes);
        let block = |random: &mut Self| random.rng.random_range(0..=size / 4096) * 4096;
        let (from_offset, to_offset) = (block(self), block(self));
        let len = match self.rng.random_range(0..10) {
            0 => self.rng.random_range(0..9000),
            1..4 => 0,
            _ => self.rng.random_range(0..=size.saturating_sub(from_offset) / 4096) * 4096,
        };
        Op::CloneRange { from, from_offset, to, to_offset, len }
    }

    fn write(&mut self, model: &Model) -> Op {
        let file = self.of_kind(model, FileKind::File);
        let total: u64 =
            model.files().iter().filter(|n| matches!(n.body, Body::File(_))).map(|n| n.attr.size).sum();
        if total.min(1 << 40) > self.limits.total_bytes && self.chance(80) {
            let attrs = SetAttrs { size: Some(0), ..SetAttrs::default() };
            return Op::SetAttr { file, attrs, guard: None };
        }
        let len = match self.rng.random_range(0..20) {
            0 => 0,
            1..7 => self.rng.random_range(1..200),
            7..14 => 4096 * self.rng.random_range(1..=self.limits.write_bytes / 4096),
            14 => self.rng.random_range(self.limits.big_write_bytes / 3..=self.limits.big_write_bytes),
            _ => self.rng.random_range(1..self.limits.write_bytes),
        };
        let size = model.node(file).map_or(0, |n| n.attr.size);
        let offset = match self.rng.random_range(0..20) {
            0..5 => size.min(self.limits.file_bytes),
            5..12 => self.rng.random_range(0..self.limits.file_bytes / 4096) * 4096,
            12 if self.limits.far => {
                *self.pick(&[FILE_SIZE_MAX - len as u64, FILE_SIZE_MAX, u64::MAX, 1 << 35])
            }
            _ => self.rng.random_range(0..self.limits.file_bytes),
        };
        let mut data = vec![0; len];
        match self.rng.random_range(0..4) {
            // Zeros must be told from holes by nobody, and repeated bytes must not be merged.
            0 => data.fill(*self.pick(&[0, 0x5a])),
            _ => self.rng.fill_bytes(&mut data),
        }
        Op::Write { file, offset, data: data.into() }
    }
}

/// The same name in upper case, or in lower case if it is in upper case already.
pub fn other_case(name: &[u8]) -> Bytes {
    let Ok(text) = str::from_utf8(name) else { return Bytes::copy_from_slice(name) };
    let upper = text.to_uppercase();
    if upper == text { text.to_lowercase().into() } else { upper.into() }
}

/// What an operation is called. There is no `_` here: whoever adds an operation is led to this file, to the generator
/// above and to [`KINDS`], and a test sees to it that the generator makes it.
pub fn kind_of(op: &Op) -> &'static str {
    match op {
        Op::Create { .. } => "create",
        Op::Mkdir { .. } => "mkdir",
        Op::Symlink { .. } => "symlink",
        Op::Mknod { .. } => "mknod",
        Op::Link { .. } => "link",
        Op::Remove { .. } => "remove",
        Op::Rmdir { .. } => "rmdir",
        Op::Rename { .. } => "rename",
        Op::SetAttr { .. } => "setattr",
        Op::Write { .. } => "write",
        Op::CloneRange { .. } => "clone range",
        Op::CloneFile { .. } => "clone file",
        Op::Deallocate { .. } => "deallocate",
        Op::Allocate { .. } => "allocate",
        Op::SetXattr { .. } => "set xattr",
        Op::RemoveXattr { .. } => "remove xattr",
        Op::MakeStream { .. } => "make stream",
        Op::RemoveStream { .. } => "remove stream",
        Op::RenameStream { .. } => "rename stream",
        Op::SetAcl { .. } => "set acl",
        Op::MakeQtree { .. } => "make qtree",
        Op::SetQuota { .. } => "set quota",
    }
}

/// All that [`kind_of`] says.
pub const KINDS: [&str; 22] = [
    "create",
    "mkdir",
    "symlink",
    "mknod",
    "link",
    "remove",
    "rmdir",
    "rename",
    "setattr",
    "write",
    "clone range",
    "clone file",
    "deallocate",
    "allocate",
    "set xattr",
    "remove xattr",
    "make stream",
    "remove stream",
    "rename stream",
    "set acl",
    "make qtree",
    "set quota",
];
