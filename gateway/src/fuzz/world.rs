//! A small vserver for calls to run on: three volumes in memory, clients with different rights, and limits low enough to
//! be reached.

use super::choices::Choices;
use crate::handle::{FileHandle, HandleKey, VolumeId};
use crate::openstate;
use crate::portmap::Ports;
use crate::programs::Programs;
use crate::rpc::drc::{self, ReplyCache};
use crate::vserver::{
    ExportPolicies, ExportRule, Groups, MountedVolume, Namespace, Squash, Vserver, parse_client,
};
use bytes::Bytes;
use fsstore::{
    Context, CreateHow, Disk, FileId, FileKind, Op, ROOT, SetAttrs, SnapshotDir, Time, Tuning, Volume,
    VolumeSpec,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use uuid::Uuid;

/// The server's address.
pub(super) const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9));
/// Who calls: with all rights, for reading, as nobody, and one that reaches nothing.
pub(super) const CLIENTS: [IpAddr; 4] = [client(1), client(2), client(3), client(4)];
/// Names that calls use. A few of them, so that they meet.
const NAMES: [&[u8]; 7] = [b"a", b"b", b"c", b"dir", b"sub", b"file", b"link"];
/// Names that are something else.
const SPECIAL_NAMES: [&[u8]; 8] =
    [b"..", b".", b".snapshot", b"s1", b"bad/name", b"nul\0", b"\xff\xfe", b"Dir"];
const VOLUME_BYTES: u64 = 8 << 20;
const PORTS: Ports = Ports { nfs: 2049, mount: 20048, portmap: 111, nlm: 4045, nsm: 4046 };
const REPLIES: drc::Limits =
    drc::Limits { entries_max: 64, bytes_max: 16 << 10, age_max: Duration::from_secs(300) };
const LOCKS: openstate::Limits = openstate::Limits {
    held_max: 24,
    held_per_client_max: 16,
    waiting_max: 12,
    waiting_per_client_max: 8,
    clients_max: 6,
    owner_bytes_max: 8192,
};
/// As in `vserver/mounts.rs`.
const MOUNTS_MAX: usize = 1024;
const NOW: Time = Time { secs: 1_000_000_000, nanos: 0 };

const fn client(number: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, number))
}

/// A disk in memory.
struct Ram(Mutex<Vec<u8>>);

impl Ram {
    fn range(offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        Ok(start..start.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?)
    }
}

impl Disk for Ram {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock();
        let there = bytes.get(Ram::range(offset, buf.len())?).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(there);
        Ok(())
    }
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.lock();
        let mut at = offset;
        for buf in bufs {
            let there = bytes.get_mut(Ram::range(at, buf.len())?).ok_or(io::ErrorKind::StorageFull)?;
            there.copy_from_slice(buf);
            at += buf.len() as u64;
        }
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// The vserver, and what its volumes stand on.
pub(super) struct World {
    pub(super) programs: Arc<Programs>,
    disks: Vec<Arc<Ram>>,
    volumes: Vec<Arc<Volume>>,
    /// Handles that were sent: what they name may be gone meanwhile.
    sent: Vec<FileHandle>,
}

impl World {
    /// `/`, `/sub` and, to nobody exported, `/b`.
    pub(super) fn new() -> Self {
        let disks: Vec<Arc<Ram>> = (0..3)
            .map(|_| Arc::new(Ram(Mutex::new(vec![0; usize::try_from(VOLUME_BYTES).unwrap_or(0)]))))
            .collect();
        let volumes: Vec<Arc<Volume>> = disks.iter().zip(1..).map(|(disk, n)| volume(disk, n)).collect();
        let key = HandleKey::from_bytes([7; 16]);
        let mut vserver = Vserver::new("vs1", Uuid::from_u128(0x1234 << 64), key, *b"verifier");
        let parts = Arc::get_mut(&mut vserver).expect("nobody else has it yet");
        parts.reply_cache = ReplyCache::new(REPLIES);
        parts.locks = openstate::LockTable::new(LOCKS);
        parts.groups = Groups::with_lookup(Arc::new(|uid| Box::pin(async move { groups_of(uid) })));
        parts.watched.load(Vec::new(), 1, false);
        // Nobody listens there: callbacks are refused at once.
        vserver.client_portmap_port.store(1, Ordering::Relaxed);
        vserver.set_exports(exports());
        let programs = Arc::new(Programs { vserver, ports: PORTS });
        let world = World { programs, disks, volumes, sent: Vec::new() };
        world.mount(3);
        world
    }

    /// The first `count` volumes are there, and no others.
    fn mount(&self, count: usize) {
        let places = [("/", "all"), ("/sub", "all"), ("/b", "none")];
        let mounts = self.volumes.iter().zip(places).take(count).map(|(volume, (junction, policy))| {
            let (name, junction) = (junction.replace('/', "_"), junction.to_owned());
            let id = VolumeId::of(volume.uuid());
            MountedVolume { id, name, volume: Arc::clone(volume), junction, policy: policy.to_owned() }
        });
        let namespace = Namespace::build(mounts.collect(), NOW).expect("the junctions are good ones");
        self.vserver().set_namespace(namespace);
    }

    pub(super) fn vserver(&self) -> &Arc<Vserver> {
        &self.programs.vserver
    }

    /// What happens beside calls.
    pub(super) fn event(&self, choices: &mut Choices<'_>) {
        let volume = choices.pick(&[0, 1]);
        let volume = &self.volumes[volume];
        self.vserver().grace.end();
        self.mount(3);
        match choices.below(8) {
            0 => self.vserver().grace.begin(Duration::from_secs(600)),
            1 => self.mount(1),
            2 => self.vserver().groups.enable(true),
            3 => self.vserver().groups.enable(false),
            4 => volume.snapshots().iter().for_each(|snapshot| drop(volume.snapshot_delete(snapshot.id))),
            5 => drop(volume.consistency_point()),
            _ => drop(volume.snapshot_create("s1", NOW)),
        }
    }

    pub(super) fn name(choices: &mut Choices<'_>) -> Bytes {
        match choices.below(16) {
            0 => Bytes::copy_from_slice(choices.take(20)),
            1 => Bytes::from(vec![b'x'; choices.pick(&[0, 254, 255, 256, 4000])]),
            2 => Bytes::from(format!("n{}", choices.byte())),
            3 | 4 => Bytes::from_static(choices.pick(&SPECIAL_NAMES)),
            _ => Bytes::from_static(choices.pick(&NAMES)),
        }
    }

    /// A file that is there, or was, or never was, as a handle names it; now and then nothing that is a handle.
    /// `paths` say where there was something of the right kind.
    pub(super) fn handle(&mut self, paths: &[&[&[u8]]], choices: &mut Choices<'_>) -> Vec<u8> {
        let known = self.sent.len();
        let handle = match choices.below(12) {
            0 if known > 0 => self.sent[choices.below(known)],
            1 => FileHandle {
                volume: VolumeId(choices.any_u64()),
                file: FileId::active(fsstore::InodeNum(choices.long()), fsstore::Generation(1)),
            },
            2 => {
                let FileHandle { volume, file } = self.walk(&[], choices);
                let file = FileId {
                    ino: fsstore::InodeNum(choices.long()),
                    generation: fsstore::Generation(choices.number()),
                    snapshot: if choices.once_in(2) {
                        fsstore::SnapshotId(choices.long())
                    } else {
                        file.snapshot
                    },
                };
                FileHandle { volume, file }
            }
            3 | 4 => self.walk(&[], choices),
            _ => {
                let path = choices.pick(paths);
                self.walk(path, choices)
            }
        };
        if known < 64 {
            self.sent.push(handle);
        } else {
            self.sent[choices.below(known)] = handle;
        }
        let vserver = self.vserver();
        let mut bytes = handle.seal(vserver.uuid, vserver.handle_key()).to_vec();
        if choices.once_in(16) {
            choices.damage(&mut bytes);
        }
        bytes
    }

    /// Goes down from a volume's root along `path`, or names that happen to be there.
    fn walk(&self, path: &[&[u8]], choices: &mut Choices<'_>) -> FileHandle {
        let which = choices.pick(&[0, 0, 0, 1, 1, 2]);
        let volume = &self.volumes[which];
        let mut file = ROOT;
        let mut step = |name: &[u8]| {
            file = volume.lookup(&Context::root(NOW), file, name).map_or(file, |found| found.id);
        };
        if path.is_empty() {
            (0..choices.below(4)).for_each(|_| step(&World::name(choices)));
        }
        path.iter().for_each(|name| step(name));
        FileHandle { volume: VolumeId::of(volume.uuid()), file }
    }

    /// Nothing has grown over its limit, and what is held can go to another node.
    pub(super) fn assert_bounded(&self) {
        let vserver = self.vserver();
        let counts = vserver.locks.counts();
        // Splits may take a table a little over this limit; at its next home there is room for that.
        assert!(counts.locks + counts.shares <= 2 * LOCKS.held_max, "{counts:?}");
        assert!(counts.waiting <= LOCKS.waiting_max, "{counts:?}");
        assert!(counts.clients <= LOCKS.clients_max, "{counts:?}");
        assert!(vserver.reply_cache.len() <= REPLIES.entries_max);
        assert!(vserver.mounts.list().len() <= MOUNTS_MAX);
        let elsewhere = openstate::LockTable::new(LOCKS);
        elsewhere.import(&vserver.locks.export()).expect("another node takes the locks");
        assert_eq!(elsewhere.counts(), counts);
        let cache = vserver.reply_cache.export();
        assert!(cache.len() <= REPLIES.bytes_max + REPLIES.entries_max * 64 + 8);
        ReplyCache::new(REPLIES).import(&cache).expect("another node takes the replies");
    }

    /// Takes everything down: nothing is still in use, and the volumes are sound.
    pub(super) fn end(self) {
        let World { programs, disks, volumes, sent: _ } = self;
        assert_eq!(Arc::strong_count(&programs), 1, "something still uses the programs");
        let vserver = Arc::downgrade(&programs.vserver);
        drop(programs);
        assert_eq!(vserver.strong_count(), 0, "something still uses the vserver");
        for (disk, volume) in disks.into_iter().zip(volumes) {
            assert_eq!(Arc::strong_count(&volume), 1, "something still uses a volume");
            volume.close().expect("a volume in memory can be closed");
            drop(volume);
            let mut wrong = Vec::new();
            let summary = fsstore::check(disk, &fsstore::CheckOptions::default(), &mut |event| {
                if let fsstore::CheckEvent::Finding(finding) = event {
                    wrong.push(finding);
                }
            });
            assert!(summary.is_ok_and(|summary| summary.is_clean()), "{wrong:#?}");
        }
    }
}

/// A volume with something of each kind in it.
fn volume(disk: &Arc<Ram>, number: u128) -> Arc<Volume> {
    let spec = VolumeSpec { uuid: Uuid::from_u128(number << 64), size_bytes: VOLUME_BYTES };
    let tuning = Tuning { cache_bytes: 1 << 20, dirty_bytes: 4 << 20, threads: true };
    let disk = Arc::clone(disk);
    let volume = Volume::create(disk, &spec, NOW, tuning).expect("there is room for a volume");
    volume.show_snapshots(SnapshotDir::Everywhere);
    let open = SetAttrs { mode: Some(0o777), ..SetAttrs::default() };
    let run = |op| volume.execute(&Context::root(NOW), op).expect("a new volume has room").object.after.id;
    let name = Bytes::from_static;
    run(Op::SetAttr { file: ROOT, attrs: open, guard: None });
    let dir = run(Op::Mkdir { dir: ROOT, name: name(b"dir"), attrs: open });
    run(Op::Mkdir { dir: ROOT, name: name(b"sub"), attrs: open });
    run(Op::Mkdir { dir: ROOT, name: name(b"b"), attrs: open });
    let file = run(Op::Create { dir: ROOT, name: name(b"file"), how: CreateHow::Guarded(open) });
    run(Op::Create { dir, name: name(b"a"), how: CreateHow::Guarded(open) });
    run(Op::Symlink { dir, name: name(b"link"), target: name(b"../file"), attrs: open });
    run(Op::Mknod { dir, name: name(b"c"), kind: FileKind::Fifo, rdev: (0, 0), attrs: open });
    run(Op::Write { file, offset: 3, data: Bytes::from(vec![7; 10_000]) });
    volume
}

/// What the user database says: not everybody is in it.
fn groups_of(uid: u32) -> Option<Arc<[u32]>> {
    uid.is_multiple_of(2).then(|| (0..uid % 40).collect())
}

fn exports() -> ExportPolicies {
    let rule = |address: IpAddr, write, squash| {
        let client = parse_client(&address.to_string()).expect("an address");
        ExportRule { anon_uid: 700, anon_gid: 700, ..ExportRule::new(client, write, squash) }
    };
    let [all, reader, nobody, _] = CLIENTS;
    let rules = vec![
        rule(all, true, Squash::None),
        rule(reader, false, Squash::Root),
        rule(nobody, true, Squash::All),
    ];
    ExportPolicies::new(BTreeMap::from([("all".to_owned(), rules), ("none".to_owned(), Vec::new())]))
}
