//! Names for who does not tell case apart: looked up, made, renamed, and found in as few blocks as others.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use bytes::Bytes;
use fsstore::{
    Context, CreateHow, Disk, Done, FileDisk, FileId, FsError, Op, ROOT, SetAttrs, SnapshotDir, SnapshotId,
    Time, Tuning, Volume, VolumeSpec, root_of,
};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is read.
struct Counted {
    disk: FileDisk,
    reads: AtomicU64,
}

impl Disk for Counted {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.disk.read_at(buf, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.disk.write_at(bufs, offset)
    }

    /// Nothing here is about what a crash leaves.
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.discard(offset, len)
    }
}

struct Fixture {
    volume: Arc<Volume>,
    disk: Arc<Counted>,
    _dir: tempfile::TempDir,
}

fn new(mib: u64) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let disk = FileDisk::create(&dir.path().join("volume"), mib << 20).unwrap();
    let disk = Arc::new(Counted { disk, reads: AtomicU64::new(0) });
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(7), size_bytes: mib << 20 };
    let volume = Volume::create(disk.clone(), &spec, root().now, Tuning::default()).unwrap();
    Fixture { volume, disk, _dir: dir }
}

fn root() -> Context {
    Context::root(Time { secs: 1_800_000_000, nanos: 0 })
}

fn user(uid: u32) -> Context {
    Context { uid, gid: uid, ..root() }
}

fn open_to(mode: u32) -> SetAttrs {
    SetAttrs { mode: Some(mode), ..SetAttrs::default() }
}

fn create(dir: FileId, name: impl Into<Bytes>) -> Op {
    Op::Create { dir, name: name.into(), how: CreateHow::Guarded(open_to(0o644)) }
}

fn rename(from: &'static str, to: &'static str) -> Op {
    Op::Rename { from_dir: ROOT, from: from.into(), to_dir: ROOT, to: to.into() }
}

impl Fixture {
    fn run(&self, op: Op) -> Result<Done, FsError> {
        self.volume.execute(&root(), op)
    }

    fn run_folded(&self, op: Op) -> Result<Done, FsError> {
        self.volume.execute_folded(&root(), op)
    }

    fn make(&self, name: &'static str) -> FileId {
        self.run(create(ROOT, name)).unwrap().object.after.id
    }

    /// The file, and how its name is written.
    fn find(&self, name: &str) -> Result<(FileId, String), FsError> {
        let (attr, real) = self.volume.lookup_folded(&root(), ROOT, name.as_bytes())?;
        Ok((attr.id, String::from_utf8(real.to_vec()).unwrap()))
    }

    /// Blocks that are read for a look at a volume that was just opened.
    fn reads(&mut self, look: impl Fn(&Volume)) -> u64 {
        self.volume.close().unwrap();
        self.volume =
            Volume::open(self.disk.clone(), Tuning { cache_bytes: 0, ..Tuning::default() }).unwrap();
        let before = self.disk.reads.load(Ordering::Relaxed);
        look(&self.volume);
        self.disk.reads.load(Ordering::Relaxed) - before
    }
}

#[test]
fn a_name_is_found_in_every_case_and_given_as_it_stands() {
    let fixture = new(16);
    for (real, others) in [
        ("Read Me.TXT", ["read me.txt", "READ ME.TXT"]),
        ("Größe", ["grÖsse", "GRÖßE"]),
        ("Σίσυφος", ["ΣΊΣΥΦΟΣ", "σίσυφοσ"]),
        ("Ёжик", ["ЁЖИК", "ёжик"]),
    ] {
        let id = fixture.make(real);
        assert_eq!(fixture.find(real), Ok((id, real.to_owned())));
        for other in others {
            // One character stays one.
            let found = if other == "grÖsse" { Err(FsError::NotFound) } else { Ok((id, real.to_owned())) };
            assert_eq!(fixture.find(other), found, "{other}");
            assert_eq!(fixture.volume.lookup(&root(), ROOT, other.as_bytes()), Err(FsError::NotFound));
        }
    }
    // In no locale is a dotless or a dotted I another's upper or lower case.
    fixture.make("İı");
    for other in ["ii", "Iı", "iI"] {
        assert_eq!(fixture.find(other), Err(FsError::NotFound));
    }
    // A name that is no text: only its ASCII letters have a case.
    let id = fixture.run(create(ROOT, &b"Caf\xc9"[..])).unwrap().object.after.id;
    let (attr, real) = fixture.volume.lookup_folded(&root(), ROOT, b"cAF\xc9").unwrap();
    assert_eq!((attr.id, &real[..]), (id, &b"Caf\xc9"[..]));
    assert_eq!(fixture.volume.lookup_folded(&root(), ROOT, b"Caf\xe9"), Err(FsError::NotFound));
}

#[test]
fn the_name_itself_comes_before_others_that_fold_alike() {
    let fixture = new(16);
    let ids = ["name", "NAME", "Name", "nAME"].map(|name| (name, fixture.make(name)));
    for (name, id) in ids {
        assert_eq!(fixture.find(name), Ok((id, name.to_owned())));
    }
    let first = fixture.find("nAmE").unwrap();
    assert!(ids.iter().any(|(name, id)| (*id, *name) == (first.0, &first.1[..])));
    assert_eq!(fixture.find("NaMe"), Ok(first.clone()), "the same for all");
    fixture.run(Op::Remove { dir: ROOT, name: first.1.clone().into() }).unwrap();
    let second = fixture.find(&first.1).unwrap();
    assert!(ids.iter().any(|(_, id)| *id == second.0) && second.0 != first.0);
}

#[test]
fn a_lookup_needs_what_an_exact_one_needs() {
    let fixture = new(16);
    let dir = Op::Mkdir { dir: ROOT, name: "shut".into(), attrs: open_to(0o700) };
    let dir = fixture.run(dir).unwrap().object.after.id;
    let file = fixture.run(create(dir, "File")).unwrap().object.after.id;
    let look =
        |cx: &Context, dir, name: &[u8]| fixture.volume.lookup_folded(cx, dir, name).map(|(attr, _)| attr.id);
    assert_eq!(look(&user(5), dir, b"file"), Err(FsError::Access));
    assert_eq!(look(&root(), file, b"file"), Err(FsError::NotDir));
    assert_eq!(look(&root(), dir, &[b'x'; 256]), Err(FsError::NameTooLong));
    assert_eq!(look(&root(), dir, b"."), Ok(dir));
    assert_eq!(look(&root(), dir, b".."), Ok(ROOT));
    assert_eq!(look(&root(), dir, b"FILE"), Ok(file));
    fixture.run(Op::Remove { dir, name: "File".into() }).unwrap();
    fixture.run(Op::Rmdir { dir: ROOT, name: "shut".into() }).unwrap();
    assert_eq!(look(&root(), dir, b"FILE"), Err(FsError::Stale));
}

#[test]
fn a_new_name_must_differ_in_more_than_case() {
    let fixture = new(16);
    fixture.run_folded(create(ROOT, "Name")).unwrap();
    let attrs = open_to(0o755);
    let (dir, name) = (ROOT, Bytes::from_static(b"NAME"));
    for op in [
        create(ROOT, "NAME"),
        Op::Create { dir, name: name.clone(), how: CreateHow::Unchecked(attrs) },
        Op::Create { dir, name: name.clone(), how: CreateHow::Exclusive([1; 8]) },
        Op::Mkdir { dir, name: name.clone(), attrs },
        Op::Symlink { dir, name: name.clone(), target: "to".into(), attrs },
        Op::MakeQtree { name: name.clone(), attrs },
        Op::Link { file: fixture.make("other"), dir, name },
    ] {
        assert_eq!(fixture.run_folded(op.clone()), Err(FsError::Exists), "{op:?}");
        assert_eq!(fixture.find("NAME").unwrap().1, "Name", "nothing has changed");
        fixture.run(op.clone()).unwrap_or_else(|error| panic!("who tells case apart: {op:?}: {error}"));
        let gone = if fixture.find("NAME").unwrap().0 == fixture.find("other").unwrap().0 {
            "other"
        } else {
            "NAME"
        };
        let of = |name: &'static str| Op::Remove { dir: ROOT, name: name.into() };
        if fixture.run(of("NAME")).is_err() {
            fixture.run(Op::Rmdir { dir: ROOT, name: "NAME".into() }).unwrap();
        }
        if gone == "other" {
            fixture.run(of("other")).unwrap();
        }
    }
    // What is there byte by byte is opened as ever.
    let how = CreateHow::Unchecked(SetAttrs::default());
    let again = fixture.run_folded(Op::Create { dir: ROOT, name: "Name".into(), how }).unwrap();
    assert_eq!(again.object.after.id, fixture.find("name").unwrap().0);
    assert!(again.object.before.is_some());
    fixture.run(create(ROOT, "nAME")).unwrap();
    assert!(fixture.run_folded(Op::Create { dir: ROOT, name: "nAME".into(), how }).is_ok());
    // Rights first: who may not make the name learns nothing of others.
    let refused = fixture.volume.execute_folded(&user(5), create(ROOT, "NAME"));
    assert_eq!(refused, Err(FsError::Access));
}

#[test]
fn a_rename_may_change_the_case_of_its_own_name() {
    let fixture = new(16);
    let (id, other) = (fixture.make("name"), fixture.make("Other"));
    fixture.run_folded(rename("name", "NAME")).unwrap();
    assert_eq!(fixture.find("name"), Ok((id, "NAME".to_owned())));
    assert_eq!(fixture.run_folded(rename("NAME", "oTHER")), Err(FsError::Exists));
    assert_eq!(fixture.find("other"), Ok((other, "Other".to_owned())));
    // A third name that folds alike is in the way.
    fixture.make("nAME");
    assert_eq!(fixture.run_folded(rename("NAME", "name")), Err(FsError::Exists));
    assert_eq!(fixture.run_folded(rename("nAME", "name")), Err(FsError::Exists));
    fixture.run(rename("nAME", "third")).unwrap();
    fixture.run_folded(rename("NAME", "name")).unwrap();
    // What has the very name is replaced, as ever.
    fixture.run_folded(rename("name", "Other")).unwrap();
    assert_eq!(fixture.find("OTHER"), Ok((id, "Other".to_owned())));
    // The same name in another directory is another's.
    let attrs = open_to(0o755);
    let dir = fixture.run(Op::Mkdir { dir: ROOT, name: "dir".into(), attrs }).unwrap().object.after.id;
    fixture.run(create(dir, "OTHER")).unwrap();
    let op =
        |to: &'static str| Op::Rename { from_dir: ROOT, from: "Other".into(), to_dir: dir, to: to.into() };
    assert_eq!(fixture.run_folded(op("Other")), Err(FsError::Exists));
    fixture.run_folded(op("Another")).unwrap();
}

#[test]
fn streams_have_names_that_differ_in_more_than_case_too() {
    let fixture = new(16);
    let file = fixture.make("file");
    let make = |name: &'static str| Op::MakeStream { file, name: name.into(), guarded: false };
    fixture.run_folded(make("Stream")).unwrap();
    fixture.run_folded(make("Stream")).unwrap();
    assert_eq!(fixture.run_folded(make("STREAM")), Err(FsError::Exists));
    fixture.run(make("STREAM")).unwrap();
    fixture.run_folded(make("STREAM")).unwrap();
}

/// Whoever comes first has the name: of many that make it at once, each in another case, one does.
#[test]
fn of_all_that_make_a_name_at_once_one_does() {
    let fixture = new(64);
    for round in 0..200_u32 {
        let made = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for letter in 0..4 {
                let (fixture, made) = (&fixture, &made);
                scope.spawn(move || {
                    let mut name = format!("{round} abcd").into_bytes();
                    let at = name.len() - 1 - letter;
                    name[at].make_ascii_uppercase();
                    match fixture.run_folded(create(ROOT, name)) {
                        Ok(_) => drop(made.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert_eq!(error, FsError::Exists),
                    }
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1, "round {round}");
    }
}

#[test]
fn snapshots_are_looked_into_in_every_case() {
    let fixture = new(16);
    let id = fixture.make("Name");
    let snapshot = fixture.volume.snapshot_create("Monday", root().now).unwrap().id;
    fixture.run(rename("Name", "Other")).unwrap();
    let (attr, real) = fixture.volume.lookup_folded(&root(), root_of(snapshot), b"NAME").unwrap();
    assert_eq!((attr.id, &real[..]), (id.within(snapshot), &b"Name"[..]));
    let (list, real) = fixture.volume.lookup_folded(&root(), ROOT, b".Snapshot").unwrap();
    assert_eq!((list.id.snapshot, &real[..]), (SnapshotId::LIST, &b".snapshot"[..]));
    let (found, real) = fixture.volume.lookup_folded(&root(), list.id, b"MONDAY").unwrap();
    assert_eq!((found.id, &real[..]), (root_of(snapshot), &b"Monday"[..]));
    assert_eq!(fixture.volume.lookup(&root(), list.id, b"MONDAY"), Err(FsError::NotFound));
    assert_eq!(fixture.run_folded(create(ROOT, ".Snapshot")), Err(FsError::Exists));
    let made = fixture.run(create(ROOT, ".Snapshot")).unwrap().object.after.id;
    assert_eq!(fixture.find(".Snapshot"), Ok((made, ".Snapshot".to_owned())));
    fixture.volume.show_snapshots(SnapshotDir::Off);
    assert_eq!(fixture.find(".SNAPSHOT"), Ok((made, ".Snapshot".to_owned())));
}

/// `NAMES=1000000` makes it as large as one says.
#[test]
fn a_lookup_in_a_large_directory_reads_a_handful_of_blocks() {
    let names: u32 = std::env::var("NAMES").map_or(100_000, |names| names.parse().unwrap());
    let mut fixture = new(64 + u64::from(names) / 500);
    for number in 0..names {
        fixture.run(create(ROOT, format!("A File of Some Name {number}"))).unwrap();
    }
    const LOOKS: u64 = 100;
    let every = (0..names).step_by(usize::try_from(u64::from(names) / LOOKS).unwrap());
    let exact = fixture.reads(|volume| {
        for number in every.clone() {
            volume.lookup(&root(), ROOT, format!("A File of Some Name {number}").as_bytes()).unwrap();
        }
    });
    let folded = fixture.reads(|volume| {
        for number in every.clone() {
            let name = format!("a FILE of sOmE nAme {number}");
            let (_, real) = volume.lookup_folded(&root(), ROOT, name.as_bytes()).unwrap();
            assert_eq!(real, format!("A File of Some Name {number}"));
        }
    });
    let missing = fixture.reads(|volume| {
        for number in every.clone() {
            let name = format!("no file {number}");
            assert_eq!(volume.lookup_folded(&root(), ROOT, name.as_bytes()), Err(FsError::NotFound));
        }
    });
    eprintln!(
        "blocks read by a lookup among {names}: exact {}, in another case {}, of no file {}",
        exact as f64 / LOOKS as f64,
        folded as f64 / LOOKS as f64,
        missing as f64 / LOOKS as f64
    );
    for reads in [exact, folded, missing] {
        assert!(reads <= 8 * LOOKS, "{reads} reads in {LOOKS} lookups");
    }
}

/// The same among names that all fold alike.
#[test]
fn a_lookup_among_names_that_fold_alike_reads_a_handful_of_blocks() {
    let names: u32 = std::env::var("NAMES").map_or(20_000, |names| names.parse().unwrap());
    let mut fixture = new(64 + u64::from(names) / 500);
    let name = |number: u32| -> Vec<u8> {
        let letter = |at: u8| if number >> at & 1 == 1 { b'A' + at } else { b'a' + at };
        (0..24).map(letter).collect()
    };
    for number in 0..names {
        fixture.run(create(ROOT, name(number))).unwrap();
    }
    const LOOKS: u64 = 50;
    let reads = fixture.reads(|volume| {
        for number in (0..names).step_by(usize::try_from(u64::from(names) / LOOKS).unwrap()) {
            assert_eq!(volume.lookup_folded(&root(), ROOT, &name(number)).unwrap().1, name(number));
            let other = name(number | 1 << 23);
            assert_eq!(volume.lookup(&root(), ROOT, &other), Err(FsError::NotFound));
            assert!(volume.lookup_folded(&root(), ROOT, &other).is_ok());
            let refused = volume.execute_folded(&root(), create(ROOT, other));
            assert_eq!(refused, Err(FsError::Exists));
        }
    });
    eprintln!("blocks read by one of the four: {}", reads as f64 / LOOKS as f64 / 4.0);
    assert!(reads <= 4 * 4 * LOOKS, "{reads} reads in {LOOKS} lookups");
}
