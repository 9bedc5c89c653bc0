//! A volume and its model side by side: every step runs on both and compares the answers.

use crate::cloned::{Parent, open_over, taken};
use crate::model::Model;
use crate::random::{Random, other_case};
use crate::replicate;
use crate::sim_disk::{Image, SimDisk};
use crate::verify::{Wrong, comparable_done, comparable_error, list, root, same, verify, verify_within};
use bytes::Bytes;
use fsstore::{
    Access, Attr, Context, Cookie, Disk, Done, FileId, FsError, Lsn, Op, ROOT, SeekWhat, SetAttrs, Snapshot,
    Tuning, Volume, VolumeSpec,
};
use rand::RngExt;
use std::collections::HashSet;
use std::sync::Arc;

/// Settings for repeatable runs: no threads, and a cache small enough that reads reach the disk.
pub fn tuning() -> Tuning {
    Tuning { cache_bytes: 1 << 20, dirty_bytes: 4 << 20, threads: false }
}

/// A READDIR that is under way while the directory changes.
struct Listing {
    dir: FileId,
    after: Cookie,
    /// Names in the directory since the listing began, without a break.
    stayed: HashSet<(Vec<u8>, FileId)>,
    seen: HashSet<(Vec<u8>, FileId)>,
}

/// The two, and the chance that drives them.
pub struct Pair {
    /// Where the volume stands.
    pub disk: Arc<SimDisk>,
    /// The volume under test.
    pub volume: Arc<Volume>,
    /// The reference.
    pub model: Model,
    /// The source of chance.
    pub random: Random,
    /// Snapshots that exist, with what was in them.
    pub snapshots: Vec<(Snapshot, Model)>,
    /// Whether the volume may say that it is full. The model never is.
    pub may_fill: bool,
    /// What the volume stands over, if it is a clone.
    pub parent: Option<Parent>,
    bytes: u64,
    listings: Vec<Listing>,
    last: String,
    names: u32,
}

impl Pair {
    /// An empty volume of `bytes`, in which everybody may make files.
    pub fn new(mut random: Random, bytes: u64) -> Result<Pair, Wrong> {
        let disk = SimDisk::new(bytes);
        let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(7), size_bytes: bytes };
        let now = random.now();
        let volume =
            Volume::create(disk.clone(), &spec, now, tuning()).map_err(|e| format!("create: {e}"))?;
        let mut pair = Pair::resume(disk, volume, Model::new(now), random, bytes);
        verify(&pair.volume, &pair.model)?;
        let open = SetAttrs { mode: Some(0o777), ..SetAttrs::default() };
        let cx = Context::root(pair.random.now());
        pair.run(&cx, Op::SetAttr { file: ROOT, attrs: open, guard: None })?.map_err(|e| e.to_string())?;
        Ok(pair)
    }

    /// Goes on with a volume and a model that are known to be equal.
    pub fn resume(disk: Arc<SimDisk>, volume: Arc<Volume>, model: Model, random: Random, bytes: u64) -> Pair {
        let (listings, snapshots) = (Vec::new(), Vec::new());
        // Snapshots that are there already have lower numbers in their names.
        let names =
            volume.snapshots().into_iter().filter_map(|s| s.name.strip_prefix('s')?.parse().ok()).max();
        Pair {
            disk,
            volume,
            model,
            random,
            snapshots,
            may_fill: false,
            parent: None,
            bytes,
            listings,
            last: String::new(),
            names: names.unwrap_or(0),
        }
    }

    /// Runs one mutation on both.
    pub fn run(&mut self, cx: &Context, op: Op) -> Result<Result<Done, FsError>, Wrong> {
        self.run_as(cx, op, false)
    }

    /// The same, perhaps for one who does not tell case apart.
    fn run_as(&mut self, cx: &Context, op: Op, folded: bool) -> Result<Result<Done, FsError>, Wrong> {
        self.last = describe(cx, &op);
        let got = match folded {
            false => self.volume.execute(cx, op.clone()),
            true => self.volume.execute_folded(cx, op.clone()),
        };
        if self.may_fill && got == Err(FsError::NoSpace) {
            return Ok(got);
        }
        let want = self.model.follow(cx, &op, folded, &got);
        let comparable = got.as_ref().map(comparable_done).map_err(comparable_error);
        let wanted = want.as_ref().map(comparable_done).map_err(comparable_error);
        same!(comparable, wanted, "{} (folded: {folded})", self.last);
        self.forget_gone_names();
        Ok(got)
    }

    /// A random mutation.
    pub fn mutate(&mut self) -> Result<Lsn, Wrong> {
        let cx = self.random.context();
        let (op, folded) = (self.random.op(&self.model), self.random.chance(25));
        let done = self.run_as(&cx, op, folded)?;
        Ok(done.map_or(Lsn(0), |done| done.lsn))
    }

    /// A random step of any kind.
    pub fn step(&mut self) -> Result<(), Wrong> {
        match self.random.rng.random_range(0..200) {
            0..140 => self.mutate().map(drop),
            140..152 => self.read(),
            152..160 => self.access(),
            160..168 => self.lookup(),
            168..184 => self.list_some(),
            184..188 => self.volume.flush_log().map_err(|e| format!("flush_log: {e}")),
            188..191 => self.volume.consistency_point().map(drop).map_err(|e| format!("cp: {e}")),
            191 | 192 => verify(&self.volume, &self.model).and_then(|()| self.verify_snapshots()),
            193 => self.reopen_clean(),
            194 => self.reopen_dirty(),
            195..197 => self.snapshot(),
            197 => self.resize().map(drop),
            _ => self.delete_snapshot(),
        }
        .map_err(|wrong| format!("{wrong}\nlast mutation: {}", self.last))
    }

    fn read(&mut self) -> Result<(), Wrong> {
        let cx = self.random.context();
        let file = self.random.file(&self.model);
        let size = self.model.node(file).map_or(0, |n| n.attr.size);
        let offset = if size == 0 { 0 } else { self.random.rng.random_range(0..=size) };
        let len = *self.random.pick(&[0, 1, 100, 4096, 70_000]);
        let got = self.volume.read(&cx, file, offset, len).map(|r| (r.data.to_vec(), r.eof));
        same!(
            got,
            self.model.read(&cx, file, offset, len),
            "read {file:?} at {offset}, {len} bytes as {cx:?}"
        );
        for name in [&b"user.a"[..], b"trusted.c", b"other.e"] {
            let got = self.volume.xattr(&cx, file, name);
            same!(got, self.model.xattr(&cx, file, name), "{} of {file:?} as {cx:?}", name.escape_ascii());
        }
        for what in [SeekWhat::Data, SeekWhat::Hole] {
            let got = self.volume.seek(&cx, file, offset, what);
            let want = self.model.seek(&cx, file, offset, what == SeekWhat::Data);
            same!(got, want, "seek {what:?} in {file:?} from {offset} as {cx:?}");
        }
        same!(self.volume.acl(file), self.model.acl(file), "the list of {file:?}");
        let got = self.volume.readlink(&cx, file).map(|(target, _)| target);
        same!(got, self.model.readlink(file), "readlink {file:?} as {cx:?}");
        Ok(())
    }

    fn access(&mut self) -> Result<(), Wrong> {
        let cx = self.random.context();
        let file = self.random.file(&self.model);
        let want = Access(self.random.rng.random_range(0..64));
        let got = self.volume.access(&cx, file, want).map(|(access, _)| access);
        let node = self.model.node(file);
        same!(got, node.map(|node| crate::model::perm::access(&cx, node, want)), "access {want:?} as {cx:?}");
        Ok(())
    }

    fn lookup(&mut self) -> Result<(), Wrong> {
        let cx = self.random.context();
        let (dir, name) = self.random.entry(&self.model);
        let got = self.volume.lookup(&cx, dir, &name).map(crate::model::comparable);
        same!(got, self.model.lookup(&cx, dir, &name), "lookup {name:?} in {dir:?} as {cx:?}");
        let name = if self.random.chance(50) { other_case(&name) } else { name };
        let got = self.volume.lookup_folded(&cx, dir, &name);
        let got = got.map(|(attr, real)| (real, crate::model::comparable(attr)));
        let names = self.model.lookup_folded(&cx, dir, &name);
        let picked = |(real, _): &(Bytes, Attr)| names.as_ref().is_ok_and(|names| names.contains(real));
        let want = match &got {
            Ok(found) if picked(found) => {
                self.model.lookup(&cx, dir, &found.0).map(|attr| (found.0.clone(), attr))
            }
            _ => names.map(|names| (names[0].clone(), self.model.node(dir).expect("looked into").attr)),
        };
        same!(got, want, "folded lookup of {name:?} in {dir:?} as {cx:?}");
        Ok(())
    }

    /// Goes on with a listing or begins one.
    fn list_some(&mut self) -> Result<(), Wrong> {
        let cx = self.random.context();
        if self.listings.is_empty() || (self.listings.len() < 5 && self.random.chance(30)) {
            let dir = self.random.dir(&self.model);
            let got = list(&self.volume, &cx, dir, Cookie(0), 0).map(drop);
            same!(got, self.model.may_list(&cx, dir), "readdir of {dir:?} as {cx:?}");
            if let Ok(entries) = self.model.entries(dir) {
                let stayed = entries.iter().map(|(name, file)| (name.to_vec(), *file)).collect();
                self.listings.push(Listing { dir, after: Cookie(0), stayed, seen: HashSet::new() });
            }
            return Ok(());
        }
        let which = self.random.rng.random_range(0..self.listings.len());
        let max = self.random.rng.random_range(1..5);
        self.advance_listing(which, max)
    }

    fn advance_listing(&mut self, which: usize, max: usize) -> Result<(), Wrong> {
        let listing = &mut self.listings[which];
        let (entries, end) = list(&self.volume, &root(), listing.dir, listing.after, max)
            .map_err(|e| format!("readdir: {e}"))?;
        for entry in entries {
            listing.after = entry.cookie;
            let parent = self.model.node(listing.dir).map_err(|e| format!("{e}"))?.parent;
            let there = match &entry.name[..] {
                b"." => Some(listing.dir),
                b".." => Some(parent),
                name => self.model.entries(listing.dir).ok().and_then(|e| e.get(name).copied()),
            };
            same!(Some(entry.file), there, "readdir gave {:?}", entry.name);
            let key = (entry.name, entry.file);
            let again = listing.stayed.contains(&key) && listing.seen.contains(&key);
            same!(again, false, "readdir gave {key:?} twice");
            listing.seen.insert(key);
        }
        if end {
            let missed: Vec<_> = listing.stayed.difference(&listing.seen).collect();
            same!(missed, Vec::<&(Vec<u8>, FileId)>::new(), "readdir of {:?} skipped", listing.dir);
            self.listings.swap_remove(which);
        }
        Ok(())
    }

    /// A name that went away, even for a moment, may be given again or left out by a listing under way.
    fn forget_gone_names(&mut self) {
        let model = &self.model;
        self.listings.retain(|listing| model.node(listing.dir).is_ok());
        for listing in &mut self.listings {
            let Ok(entries) = model.entries(listing.dir) else { continue };
            listing.stayed.retain(|(name, file)| entries.get(&name[..]) == Some(file));
        }
    }

    /// Closes and opens the volume.
    pub fn reopen_clean(&mut self) -> Result<(), Wrong> {
        self.volume.close().map_err(|e| format!("close: {e}"))?;
        let refused = self.volume.execute(&root(), Op::Remove { dir: ROOT, name: "a".into() });
        same!(refused, Err(FsError::ReadOnly), "a closed volume");
        let image = self.disk.image();
        self.reopen_from(image)
    }

    /// Opens what is on the disk after a flush of the log, without a close: replay.
    pub fn reopen_dirty(&mut self) -> Result<(), Wrong> {
        self.volume.flush_log().map_err(|e| format!("flush_log: {e}"))?;
        let image = self.disk.image();
        self.reopen_from(image)
    }

    fn reopen_from(&mut self, image: Image) -> Result<(), Wrong> {
        // The old volume may not touch the new one's disk.
        let (lsn, size) = (self.volume.last_lsn(), self.volume.size_bytes());
        self.disk = SimDisk::from_image(image, self.bytes);
        self.volume = open_over(self.disk.clone(), self.parent.as_ref())?;
        same!(self.volume.last_lsn(), lsn, "newest operation after opening");
        same!(self.volume.size_bytes(), size, "size after opening");
        let snapshots: Vec<_> = self.snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect();
        same!(taken(&self.volume), snapshots, "snapshots after opening");
        verify(&self.volume, &self.model)?;
        self.verify_snapshots()
    }

    /// Takes a snapshot.
    pub fn snapshot(&mut self) -> Result<(), Wrong> {
        if self.snapshots.len() > 3 {
            return Ok(());
        }
        self.names += 1;
        let name = format!("s{}", self.names);
        let now = self.random.now();
        let snapshot = match self.volume.snapshot_create(&name, now) {
            Err(FsError::NoSpace) if self.may_fill => return Ok(()),
            made => made.map_err(|e| format!("snapshot_create: {e}"))?,
        };
        same!((&snapshot.name[..], snapshot.created), (&name[..], now), "the snapshot");
        let again = self.volume.snapshot_create(&name, now);
        same!(matches!(again, Err(FsError::Snapshot(_))), true, "a second snapshot of one name");
        self.snapshots.push((snapshot, self.model.clone()));
        let all: Vec<_> = self.snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect();
        same!(taken(&self.volume), all, "snapshots");
        Ok(())
    }

    /// Makes the volume larger or smaller, never smaller than it was made: the size that it is to have now.
    pub fn resize(&mut self) -> Result<u64, Wrong> {
        let (before, mib) = (self.volume.size_bytes(), 1 << 20);
        // Past 128 MiB the block map needs a second page, and another level.
        let more = *self.random.pick(&[0, 1, 4, 20, 150, 300]);
        let want = self.bytes + more * mib;
        let outcome = self.volume.resize(want);
        match outcome {
            // Something stands behind the end, which the model does not know.
            Err(FsError::Resize(why)) if want < before && why.contains("in use by") => {}
            Err(FsError::NoSpace) if want < before && self.may_fill => {}
            Err(error) => return Err(format!("resize from {before} to {want}: {error}")),
            Ok(()) => same!(self.volume.size_bytes(), want, "size after a resize"),
        }
        Ok(want)
    }

    /// Lets a random snapshot go.
    pub fn delete_snapshot(&mut self) -> Result<(), Wrong> {
        if self.snapshots.is_empty() || self.random.chance(50) {
            return Ok(());
        }
        let which = self.random.rng.random_range(0..self.snapshots.len());
        let (snapshot, _) = self.snapshots.remove(which);
        self.volume.snapshot_delete(snapshot.id).map_err(|e| format!("snapshot_delete: {e}"))?;
        let again = self.volume.snapshot_delete(snapshot.id);
        same!(matches!(again, Err(FsError::Snapshot(_))), true, "a second delete");
        Ok(())
    }

    /// Every snapshot still holds what was there when it was taken, as it is seen through the volume.
    pub fn verify_snapshots(&self) -> Result<(), Wrong> {
        for (snapshot, model) in &self.snapshots {
            let found = verify_within(&self.volume, model, snapshot.id);
            found.map_err(|wrong| format!("snapshot {}: {wrong}", snapshot.name))?;
        }
        Ok(())
    }

    /// The same of a replica of each snapshot, mounted.
    pub fn verify_snapshot_copies(&self) -> Result<(), Wrong> {
        for (snapshot, model) in &self.snapshots {
            let (disk, _) = replicate::copy(&self.volume, snapshot)?;
            verify(&*open(disk)?, model).map_err(|wrong| format!("snapshot {}: {wrong}", snapshot.name))?;
        }
        Ok(())
    }
}

/// Opens a volume as the tests run it.
pub fn open(disk: Arc<dyn Disk>) -> Result<Arc<Volume>, Wrong> {
    open_over(disk, None)
}

fn describe(cx: &Context, op: &Op) -> String {
    match op {
        Op::Write { file, offset, data } => {
            format!("write of {} bytes to {file:?} at {offset} as {cx:?}", data.len())
        }
        Op::SetXattr { file, name, value, how } => {
            format!("{how:?} {name:?} of {file:?}, {} bytes, as {cx:?}", value.len())
        }
        op => format!("{op:?} as {cx:?}"),
    }
}
