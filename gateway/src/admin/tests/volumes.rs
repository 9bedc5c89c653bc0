//! Volumes that fail, and damage that the scrub finds, as administrators and monitoring see them.

use super::*;
use crate::vserver::Namespace;
use fsstore::{Context, CreateHow, Disk, FileDisk, Op, ROOT, SetAttrs, Time, Tuning, Volume, VolumeSpec};
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering};

/// A disk that stops to write when told so.
struct Failing(FileDisk, AtomicBool);

impl Failing {
    fn refuse(&self) -> std::io::Result<()> {
        if self.1.load(Ordering::SeqCst) { Err(std::io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

impl Disk for Failing {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> std::io::Result<()> {
        self.refuse()?;
        self.0.write_at(bufs, offset)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.refuse()?;
        self.0.flush()
    }
    fn discard(&self, offset: u64, len: u64) -> std::io::Result<()> {
        self.0.discard(offset, len)
    }
}

fn cx() -> Context {
    Context::root(Time { secs: 5, nanos: 0 })
}

/// A file with this content, durable.
fn put(volume: &Volume, name: &'static str, byte: u8, len: usize) -> fsstore::Result<()> {
    let how = CreateHow::Unchecked(SetAttrs::default());
    let file = volume.execute(&cx(), Op::Create { dir: ROOT, name: name.into(), how })?.object.after.id;
    let done = volume.execute(&cx(), Op::Write { file, offset: 0, data: vec![byte; len].into() })?;
    volume.wait_durable(done.lsn)
}

impl Node {
    async fn metric(&self, line: &str) -> Option<String> {
        let request = Request::builder()
            .uri("/metrics")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(Body::empty())
            .unwrap();
        let body = self.raw(request).await.into_body();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found.map(|value| value.trim().to_owned())
    }
}

#[tokio::test]
async fn a_volume_whose_disk_fails_shows_its_fault_and_the_others_go_on() {
    crate::metrics::install();
    let node = Node::new();
    node.make("/vservers", json!({"name": "faulty"})).await;
    for volume in ["root", "data"] {
        node.make("/vservers/faulty/volumes", json!({"name": volume, "size_bytes": 16 << 20})).await;
    }
    let served = node.state.cluster.served("faulty").unwrap();
    let disk = FileDisk::create(&node.dir.join("failing"), 16 << 20).unwrap();
    let disk = Arc::new(Failing(disk, AtomicBool::new(false)));
    let mut mounts = served.mounts();
    let data = mounts.iter_mut().find(|mount| mount.name == "data").unwrap();
    let spec = VolumeSpec { uuid: data.volume.uuid(), size_bytes: 16 << 20 };
    let failing = Volume::create(disk.clone(), &spec, Time { secs: 1, nanos: 0 }, Tuning::default()).unwrap();
    data.volume = failing.clone();
    let root = mounts.iter().find(|mount| mount.name == "root").unwrap().volume.clone();
    served.vserver.set_namespace(Namespace::build(mounts, Time::default()).unwrap());

    put(&failing, "kept", 1, 100).unwrap();
    let gauge = |volume| format!("ferry_volume_fault{{vserver=\"faulty\",volume=\"{volume}\"}}");
    assert_eq!(node.get("/vservers/faulty/volumes/data").await["fault"], Value::Null);
    assert_eq!(node.metric(&gauge("data")).await.as_deref(), Some("0"));
    disk.1.store(true, Ordering::SeqCst);
    assert!(put(&failing, "lost", 1, 100).is_err());

    let fault = node.get("/vservers/faulty/volumes/data").await["fault"].clone();
    assert!(fault.as_str().is_some_and(|text| text.contains("input/output error")), "{fault}");
    let list = node.get("/vservers/faulty/volumes").await;
    let faults: Vec<bool> = list.as_array().unwrap().iter().map(|volume| volume["fault"].is_null()).collect();
    assert_eq!(faults, [false, true], "{list}");
    assert_eq!(node.metric(&gauge("data")).await.as_deref(), Some("1"));
    assert_eq!(node.metric(&gauge("root")).await.as_deref(), Some("0"));
    put(&root, "works", 1, 100).unwrap();
    assert!(failing.lookup(&cx(), ROOT, b"kept").is_ok(), "reads go on");
}

#[tokio::test]
async fn the_scrub_finds_a_flipped_bit_and_says_so() {
    use std::os::unix::fs::FileExt;
    crate::metrics::install();
    let node = Node::new();
    node.make("/vservers", json!({"name": "rotten"})).await;
    node.make("/vservers/rotten/volumes", json!({"name": "root", "size_bytes": 16 << 20})).await;
    let path = "/vservers/rotten/volumes/root";
    let volume = node.state.cluster.served("rotten").unwrap().mounts()[0].volume.clone();
    put(&volume, "file", 0xa5, 100_000).unwrap();
    volume.consistency_point().unwrap();
    assert_eq!(node.get(path).await["scrub"], Value::Null);
    while node.get(path).await["scrub"]["last_completed_s"].is_null() {
        assert!(node.state.cluster.scrub_turn(16).await.unwrap() > 0);
    }
    let scrub = node.get(path).await["scrub"].clone();
    assert_eq!((&scrub["damaged_blocks"], &scrub["running"]), (&json!(0), &json!(false)), "{scrub}");
    assert_eq!(node.state.cluster.scrub_turn(16).await.unwrap(), 0, "the next pass is not due yet");

    let file =
        std::fs::File::options().read(true).write(true).open(node.state.cluster.volume_path(volume.uuid()));
    let file = file.unwrap();
    let mut block = [0; 4096];
    let mut place = 0;
    while block != [0xa5; 4096] {
        place += 4096;
        file.read_exact_at(&mut block, place).unwrap();
    }
    file.write_all_at(&[0xa4], place + 7).unwrap();
    node.state.cluster.scrub_again();
    node.state.cluster.scrub_turn(1 << 20).await.unwrap();
    let scrub = node.get(path).await["scrub"].clone();
    assert_eq!(scrub["damaged_blocks"], json!(1), "{scrub}");
    let words = scrub["findings"][0].as_str().unwrap();
    assert!(words.contains("active image") && words.contains("checksum"), "{words}");
    let gauge = "ferry_volume_scrub_damaged_blocks{vserver=\"rotten\",volume=\"root\"}";
    assert_eq!(node.metric(gauge).await.as_deref(), Some("1"));
}
