//! What volumes do with snapshots: where they show them, schedules, clones.

use super::*;
use fsstore::{Acl, Context, CreateHow, FileId, FsError, Op, ROOT, SetAttrs, Time, Volume, XattrHow};

const VOLUME: &str = "/vservers/vs/volumes/data";

fn cx() -> Context {
    Context::root(Time { secs: 5, nanos: 0 })
}

fn put(volume: &Volume, name: &'static str, byte: u8, len: usize) -> FileId {
    let how = CreateHow::Unchecked(SetAttrs::default());
    let file =
        volume.execute(&cx(), Op::Create { dir: ROOT, name: name.into(), how }).unwrap().object.after.id;
    for offset in (0..len).step_by(1 << 20) {
        let data = vec![byte; (len - offset).min(1 << 20)].into();
        volume.execute(&cx(), Op::Write { file, offset: offset as u64, data }).unwrap();
    }
    file
}

impl Node {
    fn volume(&self, name: &str) -> Arc<Volume> {
        self.state.cluster.mounted("vs", name).unwrap()
    }

    /// Names of snapshots, and who took them.
    async fn snapshots(&self) -> Vec<(String, String)> {
        let list = self.get(&format!("{VOLUME}/snapshots")).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|one| (text(&one["name"]), text(&one["made_by"]))).collect()
    }

    async fn refused(&self, method: &str, path: &str, body: Option<Value>) -> String {
        let (status, problem) = self.ask(method, path, body).await;
        assert!((400..500).contains(&status), "{method} {path}: {status} {problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }

    /// The node's process ends in order and another takes over.
    async fn restart(mut self) -> Self {
        self.state.cluster.stop().await;
        // The directory stays.
        let dir = std::mem::take(&mut self.dir);
        drop(self);
        let node = Node::open(dir);
        node.state.cluster.start().await.unwrap();
        node
    }
}

#[tokio::test]
async fn the_snapshot_directory_is_where_the_operator_wants_it() {
    let node = Node::with_vserver().await;
    assert_eq!(node.get(VOLUME).await["snapshot_dir"], json!("root"));
    let volume = node.volume("data");
    let how = SetAttrs::default();
    let dir =
        volume.execute(&cx(), Op::Mkdir { dir: ROOT, name: "d".into(), attrs: how }).unwrap().object.after.id;
    let seen = |dir: FileId| volume.lookup(&cx(), dir, b".snapshot").is_ok();
    assert_eq!((seen(ROOT), seen(dir)), (true, false));
    for (setting, want) in [("everywhere", (true, true)), ("off", (false, false)), ("root", (true, false))] {
        let (status, view) = node.ask("PATCH", VOLUME, Some(json!({"snapshot_dir": setting}))).await;
        assert_eq!((status, &view["snapshot_dir"]), (200, &json!(setting)));
        assert_eq!((seen(ROOT), seen(dir)), want, "{setting}");
    }
    assert!(node.ask("PATCH", VOLUME, Some(json!({"snapshot_dir": "there"}))).await.0 >= 400);
    let new = json!({"name": "quiet", "size_bytes": 16 << 20, "snapshot_dir": "off"});
    node.make("/vservers/vs/volumes", new).await;
    drop(volume);
    let node = node.restart().await;
    assert!(node.volume("data").lookup(&cx(), ROOT, b".snapshot").is_ok());
    assert_eq!(node.volume("quiet").lookup(&cx(), ROOT, b".snapshot").err(), Some(FsError::NotFound));
}

/// 2026-11-23 14:00 UTC.
const TWO: i64 = 1_795_442_400;

#[tokio::test]
async fn schedules_take_and_delete_by_the_clock() {
    let node = Node::with_vserver().await;
    let path = format!("{VOLUME}/snapshot-schedule");
    assert_eq!(node.get(&path).await["schedule"], Value::Null);
    let bad = node.refused("PUT", &path, Some(json!({"schedule": "hourly"}))).await;
    assert!(bad.contains("hourly 6"), "{bad}");
    let (status, view) = node.ask("PUT", &path, Some(json!({"schedule": "daily 1, hourly 2"}))).await;
    assert_eq!((status, &view["schedule"]), (200, &json!("hourly 2, daily 1")), "{view}");
    node.make(&format!("{VOLUME}/snapshots"), json!({"name": "hourly.mine"})).await;

    let at = |secs: i64| Time { secs, nanos: 0 };
    // Long before the schedule was set: nothing is due, whatever the clock says.
    node.state.cluster.schedules_turn(at(TWO - 400 * 86_400)).await;
    assert_eq!(node.snapshots().await, [("hourly.mine".to_owned(), "person".to_owned())]);
    // The clock of the test is far ahead of the schedule's.
    let far = TWO + 100 * 365 * 86_400;
    let names = |all: Vec<(String, String)>| {
        let ours = all.into_iter().filter(|(_, maker)| maker == "schedule");
        ours.map(|(name, _)| name).collect::<Vec<_>>()
    };
    node.state.cluster.schedules_turn(at(far + 61)).await;
    node.state.cluster.schedules_turn(at(far + 63)).await;
    let first = names(node.snapshots().await);
    assert_eq!(first.len(), 2, "one for each rule: {first:?}");
    assert!(first[0].starts_with("hourly.2126-") && first[0].ends_with("_1401"), "{first:?}");
    // A downtime of many hours makes one catch-up; the oldest beyond retention go.
    for hour in [1, 9, 10] {
        node.state.cluster.schedules_turn(at(far + hour * 3600)).await;
    }
    let left = names(node.snapshots().await);
    let hours: Vec<&str> = left.iter().filter_map(|name| name.strip_prefix("hourly.")?.get(11..)).collect();
    assert_eq!(hours, ["2300", "0000"], "{left:?}");
    assert_eq!(left.iter().filter(|name| name.starts_with("daily.")).count(), 1, "{left:?}");
    assert!(node.snapshots().await.contains(&("hourly.mine".to_owned(), "person".to_owned())));

    assert_eq!(node.ask("DELETE", &path, None).await.0, 204);
    node.state.cluster.schedules_turn(at(far + 40 * 3600)).await;
    assert_eq!(names(node.snapshots().await), left, "without a schedule everything stays");
}

#[tokio::test]
async fn a_schedule_waits_for_a_cutover_and_says_what_it_could_not_do() {
    let node = Node::with_vserver().await;
    let path = format!("{VOLUME}/snapshot-schedule");
    node.ask("PUT", &path, Some(json!({"schedule": "hourly 1"}))).await;
    let far = |hour: i64| Time { secs: TWO + 100 * 365 * 86_400 + hour * 3600, nanos: 0 };
    let served = node.state.cluster.served("vs").unwrap();
    served.vserver.gate.freeze().await;
    node.state.cluster.schedules_turn(far(0)).await;
    assert_eq!(node.snapshots().await, []);
    served.vserver.gate.thaw();
    node.state.cluster.schedules_turn(far(0)).await;
    assert_eq!(node.snapshots().await.len(), 1, "what was due meanwhile is taken then");

    // A clone needs the snapshot whose time is over.
    let name = node.snapshots().await[0].0.clone();
    node.make(&format!("{VOLUME}/clones"), json!({"name": "c", "snapshot": name})).await;
    node.state.cluster.schedules_turn(far(1)).await;
    assert_eq!(node.snapshots().await.len(), 2);
    let problem = node.get(&path).await["problem"].clone();
    assert!(problem.as_str().unwrap().contains("clone `c` needs it"), "{problem}");

    // One that can't be taken: it says so, and goes on with the next hour.
    let mine = node.snapshots().await[1].0.replace("_1500", "_1600");
    node.volume("data").snapshot_create(&mine, far(2)).unwrap();
    node.state.cluster.schedules_turn(far(2)).await;
    let problem = node.get(&path).await["problem"].clone();
    assert!(problem.as_str().unwrap().contains("the name is taken"), "{problem}");
    node.state.cluster.schedules_turn(far(3)).await;
    assert!(node.snapshots().await.iter().any(|(name, _)| name.ends_with("_1700")));
    assert!(node.snapshots().await.contains(&(mine, "person".to_owned())));
}

#[tokio::test]
async fn clones_are_volumes_whose_parent_is_held() {
    let node = Node::with_vserver().await;
    let volume = node.volume("data");
    put(&volume, "file", 1, 3 << 20);
    node.make(&format!("{VOLUME}/snapshots"), json!({"name": "monday"})).await;
    put(&volume, "file", 2, 3 << 20);
    let clone = json!({"name": "test", "snapshot": "monday"});
    let view = node.make(&format!("{VOLUME}/clones"), clone.clone()).await;
    assert_eq!((&view["junction"], &view["clone_of"]["parent"]), (&json!("/test"), &json!("data")), "{view}");
    assert_eq!(node.ask("POST", &format!("{VOLUME}/clones"), Some(clone)).await.0, 409);
    let missing = json!({"name": "x", "snapshot": "never"});
    assert_eq!(node.ask("POST", &format!("{VOLUME}/clones"), Some(missing)).await.0, 404);
    // A clone of the clone, of a state of its own.
    put(&node.volume("test"), "more", 3, 100_000);
    node.make("/vservers/vs/volumes/test/snapshots", json!({"name": "tuesday"})).await;
    let second = json!({"name": "again", "snapshot": "tuesday", "junction": "/deep"});
    node.make("/vservers/vs/volumes/test/clones", second).await;
    let base = json!({"name": "y", "snapshot": ".base"});
    node.refused("POST", "/vservers/vs/volumes/test/clones", Some(base)).await;

    let list = node.get(&format!("{VOLUME}/snapshots")).await;
    assert_eq!(list[0]["clones"], json!(["test"]));
    for (path, name) in [
        (format!("{VOLUME}/snapshots/monday"), "`test`"),
        (VOLUME.to_owned(), "`test`"),
        ("/vservers/vs/volumes/test".to_owned(), "`again`"),
        ("/vservers/vs/volumes/test/snapshots/tuesday".to_owned(), "`again`"),
    ] {
        let text = node.refused("DELETE", &path, None).await;
        assert!(text.contains(name) && text.contains("ferry volume split vs"), "{text}");
    }
    node.refused("DELETE", "/vservers/vs/volumes/test/snapshots/.base", None).await;
    drop(volume);

    // Also after a restart, which mounts parents before their clones.
    let node = node.restart().await;
    assert_eq!(node.get("/vservers/vs").await["faults"], json!({}));
    let read = |name: &str, file: &str| {
        let volume = node.volume(name);
        let file = volume.lookup(&cx(), ROOT, file.as_bytes()).unwrap().id;
        volume.read(&cx(), file, 0, 4096).unwrap().data[0]
    };
    assert_eq!((read("data", "file"), read("test", "file"), read("again", "file")), (2, 1, 1));
    assert_eq!(read("again", "more"), 3);

    node.refused("POST", &format!("{VOLUME}/split"), None).await;
    let (status, view) = node.ask("POST", "/vservers/vs/volumes/test/split", Some(json!({}))).await;
    assert_eq!((status, &view["clone_of"]["splitting"]), (202, &json!(true)), "{view}");
    assert!(node.state.cluster.splits_turn(100).await >= 100);
    let view = node.get("/vservers/vs/volumes/test").await;
    assert!(view["clone_of"]["split_percent"].as_u64().unwrap() > 0, "{view}");
    // A restart in the middle: it goes on.
    let node = node.restart().await;
    for _ in 0..100 {
        node.state.cluster.splits_turn(100).await;
    }
    assert_eq!(node.get("/vservers/vs/volumes/test").await["clone_of"], Value::Null);
    assert_eq!(node.ask("DELETE", VOLUME, None).await.0, 204);
    let node = node.restart().await;
    let volume = node.volume("again");
    let file = volume.lookup(&cx(), ROOT, b"file").unwrap().id;
    assert_eq!(volume.read(&cx(), file, 2 << 20, 10).unwrap().data, vec![1; 10]);
    drop(volume);
    assert_eq!(node.ask("DELETE", "/vservers/vs/volumes/again", None).await.0, 204);
    assert_eq!(node.ask("DELETE", "/vservers/vs/volumes/test/snapshots/tuesday", None).await.0, 204);
}

/// What an administrator sees of a file: size, mode, owner, first and last byte, attributes, streams, list.
fn look(volume: &Volume, file: FileId) -> String {
    let attr = volume.getattr(file).unwrap();
    let byte = |offset: u64| volume.read(&cx(), file, offset, 1).unwrap().data;
    let (first, last) = (byte(0), byte(attr.size - 1));
    let names = volume.xattrs(&cx(), file).unwrap();
    let values: Vec<_> = names.iter().map(|name| volume.xattr(&cx(), file, name).unwrap()).collect();
    let streams = volume
        .streams(file)
        .unwrap()
        .into_iter()
        .map(|stream| (stream.name, volume.read(&cx(), stream.attr.id, 0, 1 << 20).unwrap().data));
    let streams: Vec<_> = streams.collect();
    let acl = volume.acl(file).unwrap();
    let (size, mode, uid, mtime) = (attr.size, attr.mode, attr.uid, attr.mtime);
    format!("{size} {mode:o} {uid} {mtime:?} {first:?} {last:?} {names:?} {values:?} {streams:?} {acl:?}")
}

fn decorate(volume: &Volume, file: FileId, with: &'static str) {
    let run = |op: Op| volume.execute(&cx(), op).unwrap().object.after.id;
    run(Op::SetXattr { file, name: "user.a".into(), value: with.into(), how: XattrHow::Either });
    run(Op::SetXattr { file, name: format!("user.{with}").into(), value: "x".into(), how: XattrHow::Either });
    let stream = run(Op::MakeStream { file, name: "s".into(), guarded: false });
    run(Op::Write { file: stream, offset: 0, data: with.into() });
    run(Op::MakeStream { file, name: format!("s {with}").into(), guarded: false });
    let mode = if with == "old" { 0o640 } else { 0o604 };
    run(Op::SetAcl { file, acl: Some(Acl::masked(mode, vec![], false)) });
}

/// One that an operation can share, and one for which it takes two.
#[tokio::test]
async fn a_file_comes_back_with_all_that_belongs_to_it() {
    let node = Node::with_vserver().await;
    let volume = node.volume("data");
    for (name, size) in [("small", 100_000_u64), ("large", (3 << 29) + 77)] {
        let file = put(&volume, name, 1, 50_000);
        for offset in [1 << 30, size - 1].into_iter().filter(|offset| *offset < size) {
            volume.execute(&cx(), Op::Write { file, offset, data: "end".into() }).unwrap();
        }
        decorate(&volume, file, "old");
        let want = look(&volume, file);
        let snapshot = format!("before.{name}");
        node.make(&format!("{VOLUME}/snapshots"), json!({"name": snapshot})).await;
        let id = volume.snapshots().last().unwrap().id;
        put(&volume, name, 2, 20_000);
        decorate(&volume, file, "new");
        assert_ne!(look(&volume, file), want);
        assert_eq!(look(&volume, file.within(id)), want, "{name} in the snapshot");

        let restore = format!("{VOLUME}/snapshots/{snapshot}/restore");
        for round in ["changed", "removed"] {
            let (status, text) = node.ask("POST", &restore, Some(json!({"path": format!("/{name}")}))).await;
            assert_eq!(status, 204, "{name} {round}: {text}");
            let now = volume.lookup(&cx(), ROOT, name.as_bytes()).unwrap().id;
            assert_eq!(look(&volume, now), want, "{name} {round}");
            assert_eq!(now == file, name == "small" && round == "changed");
            volume.execute(&cx(), Op::Remove { dir: ROOT, name: name.into() }).unwrap();
        }
        let left = volume.statfs().files;
        assert_eq!(left, 1, "{name}: something was left beside it");
    }
}
