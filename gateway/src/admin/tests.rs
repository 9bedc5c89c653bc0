//! The admin interface as its clients see it: a node with real volumes, asked through the router.

use super::*;
use crate::config::Config;
use crate::migration::Host;
use crate::peers;
use crate::store::Store;
use axum::body::Body;
use axum::http::{Request, header};
use axum::response::Response;
use migrate::{Failpoints, Ports};
use serde_json::{Value, json};
use std::path::PathBuf;

mod exports;
mod locks;
mod quotas;
mod smb;
mod snapshots;
mod volumes;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A node without listeners. Its directory goes away with it.
struct Node {
    dir: PathBuf,
    state: AdminState,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Node {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("ferry-admin-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(dir.join("aggr")).unwrap();
        Self::open(dir)
    }

    fn open(dir: PathBuf) -> Self {
        let text = format!("data_dir = {dir:?}\n[cluster]\nname = \"alpha\"\n[nfs]\nportmap_port = 0\n");
        let config = Config::parse(&text).unwrap();
        let store = Store::open(&dir.join("config.redb")).unwrap();
        let identity = peers::load_or_create_identity(&dir, "alpha").unwrap();
        let serve: crate::cluster::ServeVserver = Arc::new(|listener, _vserver, _ports, ending| {
            Box::pin(async move {
                let _listens_until_the_end = listener;
                ending.silent.cancelled().await;
            })
        });
        let cluster = Cluster::new(config, store, identity, serve, crate::smb2::clients);
        let host = Arc::new(Host::new(Arc::clone(&cluster)));
        let ports = Ports {
            journal: Arc::clone(&host) as _,
            source: Arc::clone(&host) as _,
            destination: host,
            peers: Arc::clone(&cluster) as _,
        };
        let migrator = Migrator::new(ports, Failpoints::off());
        let state = AdminState {
            cluster,
            migrator,
            token: AdminToken::new(TOKEN),
            stopping: CancellationToken::new(),
        };
        Node { dir, state }
    }

    async fn raw(&self, request: Request<Body>) -> Response {
        let mut router = router(self.state.clone()).into_service();
        tower_service::Service::call(&mut router, request).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .unwrap();
        let response = self.raw(request).await;
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    async fn make(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.ask("POST", path, Some(body)).await;
        assert_eq!(status, 201, "{path}: {value}");
        value
    }

    /// A vserver `vs` with volumes at `/` and `/data`.
    async fn with_vserver() -> Self {
        let node = Node::new();
        node.make("/vservers", json!({"name": "vs"})).await;
        for volume in ["root", "data"] {
            node.make("/vservers/vs/volumes", json!({"name": volume, "size_bytes": 16 << 20})).await;
        }
        node
    }
}

#[tokio::test]
async fn nothing_is_answered_without_the_token() {
    let node = Node::new();
    for path in ["/api/v1/vservers", "/metrics", "/nowhere"] {
        for token in [None, Some("Bearer wrong"), Some(TOKEN), Some("Basic x")] {
            let mut request = Request::builder().uri(path);
            if let Some(token) = token {
                request = request.header(header::AUTHORIZATION, token);
            }
            let response = node.raw(request.body(Body::empty()).unwrap()).await;
            assert_eq!(response.status(), 401, "{path} {token:?}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }
}

#[tokio::test]
async fn errors_are_problem_documents_that_say_what_to_do() {
    let node = Node::with_vserver().await;
    let create = |body| node.ask("POST", "/vservers/vs/volumes", Some(body));
    let cases = [
        (node.ask("GET", "/vservers/none", None).await, 404, "no vserver `none`"),
        (node.ask("POST", "/vservers", Some(json!({"name": "vs"}))).await, 409, "exists already"),
        (node.ask("POST", "/vservers", Some(json!({"name": "a/b"}))).await, 400, "letters, digits"),
        (node.ask("POST", "/vservers", Some(json!({"nmae": "x"}))).await, 422, "unknown field `nmae`"),
        (node.ask("GET", "/nowhere", None).await, 404, "openapi.json"),
        (node.ask("DELETE", "/vservers", None).await, 405, "openapi.json"),
        (node.ask("GET", "/migrations/x", None).await, 400, "UUID"),
        (create(json!({"name": "v", "size_bytes": 1})).await, 400, "bytes, not 1"),
        (create(json!({"name": "v", "size_bytes": 16 << 20, "junction": "/data"})).await, 409, "taken"),
        (
            create(json!({"name": "v", "size_bytes": 16 << 20, "junction": "../x"})).await,
            400,
            "junction path",
        ),
        (create(json!({"name": "v", "size_bytes": 16 << 20, "policy": "p"})).await, 404, "export policy `p`"),
        (node.ask("DELETE", "/vservers/vs", None).await, 409, "delete its volumes first"),
        (node.ask("DELETE", "/vservers/vs/volumes/root", None).await, 409, "mounted below"),
        (node.ask("POST", "/peers", Some(json!({"token": "x"}))).await, 400, "show-identity"),
        (
            node.ask("PUT", "/vservers/vs/qos", Some(json!({"write_limit_bytes_per_s": 1}))).await,
            400,
            "at least",
        ),
    ];
    for ((status, problem), expected, detail) in cases {
        assert_eq!(status, expected, "{problem}");
        assert_eq!(problem["status"], json!(expected), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{detail}: {problem}");
    }
    let files = std::fs::read_dir(node.dir.join("aggr")).unwrap().count();
    assert_eq!(files, 2, "a volume that was refused leaves no file");
}

#[tokio::test]
async fn vservers_volumes_snapshots_and_policies_come_and_go() {
    let node = Node::with_vserver().await;
    assert_eq!(node.get("/vservers").await[0]["volumes"], json!(2));
    assert_eq!(node.get("/vservers/vs/volumes/data").await["junction"], json!("/data"));
    for (bytes, expected) in [(200 << 20, 200), (1, 400), (20 << 20, 200)] {
        let patch = Some(json!({ "size_bytes": bytes }));
        let (status, shown) = node.ask("PATCH", "/vservers/vs/volumes/data", patch).await;
        assert_eq!(status, expected, "{shown}");
        assert!(status != 200 || shown["size_bytes"] == json!(bytes), "{shown}");
    }

    let snapshots = "/vservers/vs/volumes/data/snapshots";
    node.make(snapshots, json!({"name": "s1"})).await;
    assert_eq!(node.get(snapshots).await.as_array().unwrap().len(), 1);
    assert_eq!(node.ask("DELETE", &format!("{snapshots}/s1"), None).await.0, 204);

    let rules = json!([{"client": "10.0.0.0/8", "write": false}]);
    node.make("/vservers/vs/export-policies", json!({"name": "p", "rules": rules})).await;
    let moved = json!({"policy": "p", "junction": "/elsewhere"});
    assert_eq!(node.ask("PATCH", "/vservers/vs/volumes/data", Some(moved)).await.0, 200);
    assert_eq!(node.ask("DELETE", "/vservers/vs/export-policies/p", None).await.0, 409);
    let served = node.state.cluster.served("vs").unwrap();
    assert!(served.vserver.namespace().resolve("/elsewhere").is_ok());
    assert!(
        served
            .vserver
            .exports()
            .check("p", "10.1.1.1".parse().unwrap(), 700)
            .is_some_and(|access| !access.write)
    );

    for path in ["/vservers/vs/volumes/data", "/vservers/vs/volumes/root", "/vservers/vs"] {
        assert_eq!(node.ask("DELETE", path, None).await.0, 204, "{path}");
    }
    assert_eq!(node.get("/vservers").await, json!([]));
    assert_eq!(std::fs::read_dir(node.dir.join("aggr")).unwrap().count(), 0);
}

/// A regular file stands in for the device; the store's own test has a real one.
#[tokio::test]
async fn a_volume_may_have_a_device_for_itself() {
    let node = Node::with_vserver().await;
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("sdx");
    std::fs::write(&device, vec![1; 24 << 20]).unwrap();
    let create = |body| node.ask("POST", "/vservers/vs/volumes", Some(body));
    let new = |name: &str, overwrite: bool| json!({"name": name, "device": device, "overwrite": overwrite});
    let inside = json!({"name": "v", "device": node.dir.join("config.redb"), "overwrite": true});
    let cases = [
        (create(new("v", false)).await, 409, "there is something on this device"),
        (create(json!({"name": "v", "device": "sdx"})).await, 400, "absolute"),
        (create(json!({"name": "v", "device": dir.path().join("none")})).await, 400, "No such file"),
        (create(inside).await, 400, "data directory"),
        (create(json!({"name": "v", "size_bytes": 16 << 20, "overwrite": true})).await, 400, "name one"),
        (create(json!({"name": "v"})).await, 400, "bytes, not 0"),
    ];
    for ((status, problem), expected, detail) in cases {
        assert_eq!(status, expected, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{detail}: {problem}");
    }
    let made = node.make("/vservers/vs/volumes", new("v", true)).await;
    assert_eq!((&made["device"], &made["size_bytes"]), (&json!(device), &json!(24 << 20)));
    assert_eq!(create(new("w", true)).await.0, 409, "a volume has it");
    node.state.cluster.stop().await;
    node.state.cluster.start().await.unwrap();
    let again = node.get("/vservers/vs/volumes/v").await;
    assert_eq!((&again["device"], &again["mounted"]), (&json!(device), &json!(true)));
    assert_eq!(create(new("w", true)).await.0, 409, "a volume has it");
    assert_eq!(node.ask("DELETE", "/vservers/vs/volumes/v", None).await.0, 204);
    let too_large = json!({"name": "v", "device": device, "size_bytes": 25 << 20});
    let (status, problem) = create(too_large).await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("the volume needs"), "{problem}");
    node.make("/vservers/vs/volumes", new("x", false)).await;
    node.state.cluster.stop().await;
}

#[tokio::test]
async fn a_lif_goes_up_and_down_with_its_vserver() {
    let node = Node::with_vserver().await;
    let ports = json!({"nfs": 33_149, "mount": 33_148, "portmap": 0});
    let new = json!({"name": "l1", "address": "127.91.4.2", "ports": ports});
    assert_eq!(node.make("/vservers/vs/lifs", new.clone()).await["state"], json!("up"));
    let twin = json!({"name": "l2", "address": "127.91.4.2", "ports": ports});
    assert_eq!(node.ask("POST", "/vservers/vs/lifs", Some(twin)).await.0, 409);
    assert!(std::net::TcpStream::connect("127.91.4.2:33149").is_ok());
    assert_eq!(
        node.ask("PATCH", "/vservers/vs", Some(json!({"online": false}))).await.1["state"],
        json!("offline")
    );
    assert!(std::net::TcpStream::connect("127.91.4.2:33149").is_err());
    assert_eq!(
        node.ask("PATCH", "/vservers/vs", Some(json!({"online": true}))).await.1["state"],
        json!("serving")
    );
    assert_eq!(node.get("/vservers/vs/lifs/l1").await["state"], json!("up"));
    assert_eq!(node.ask("DELETE", "/vservers/vs/lifs/l1", None).await.0, 204);
    assert!(std::net::TcpStream::connect("127.91.4.2:33149").is_err());
}

#[tokio::test]
async fn limits_are_kept_and_the_lower_one_is_in_force() {
    let node = Node::with_vserver().await;
    let limit = json!({"write_limit_bytes_per_s": 1_000_000});
    assert_eq!(node.ask("PUT", "/vservers/vs/qos", Some(limit)).await.0, 200);
    let served = node.state.cluster.served("vs").unwrap();
    served.set_migration_limit(Some(500_000));
    let qos = node.get("/vservers/vs/qos").await;
    assert_eq!(qos["write_limit_bytes_per_s"], json!(1_000_000));
    assert_eq!(qos["write_limit_in_force_bytes_per_s"], json!(500_000));
    served.set_migration_limit(None);
    assert_eq!(node.get("/vservers/vs/qos").await["write_limit_in_force_bytes_per_s"], json!(1_000_000));
}

#[tokio::test]
async fn a_clean_restart_keeps_the_write_verifier_and_an_unclean_one_changes_it() {
    let node = Node::with_vserver().await;
    let verifier = |node: &Node| node.state.cluster.served("vs").unwrap().vserver.write_verifier();
    let first = verifier(&node);
    node.state.cluster.stop().await;
    node.state.cluster.start().await.unwrap();
    assert_eq!(verifier(&node), first);
    let mut record = node.state.cluster.record("vs").unwrap();
    node.state.cluster.stop().await;
    record.mounted = true;
    node.state.cluster.store.update(|tx| tx.put(&record)).unwrap();
    node.state.cluster.start().await.unwrap();
    assert_ne!(verifier(&node), first);
    node.state.cluster.stop().await;
}

#[tokio::test]
async fn a_vserver_that_is_not_owned_here_is_never_served() {
    use crate::store::OwnershipState as S;
    let node = Node::with_vserver().await;
    node.state.cluster.stop().await;
    let gone = S::Relinquished { to: "beta".to_owned() };
    let coming = S::Placeholder { migration: uuid::Uuid::new_v4(), source: "beta".to_owned() };
    for state in [gone, coming, S::Offline] {
        let mut record = node.state.cluster.record("vs").unwrap();
        record.ownership.state = state.clone();
        node.state.cluster.store.update(|tx| tx.put(&record)).unwrap();
        node.state.cluster.start().await.unwrap();
        assert!(node.state.cluster.served("vs").is_none(), "{state:?}");
        assert_eq!(node.get("/vservers/vs").await["state"], json!(state.name()));
        if !state.owns() {
            let (status, problem) = node.ask("PATCH", "/vservers/vs", Some(json!({"online": true}))).await;
            assert_eq!(status, 409, "{problem}");
        }
    }
}

#[tokio::test]
async fn the_description_names_every_path() {
    let node = Node::new();
    let request = Request::builder().uri("/api/v1/openapi.json").body(Body::empty()).unwrap();
    let response = node.raw(request).await;
    assert_eq!(response.status(), 200);
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let api: Value = serde_json::from_slice(&bytes).unwrap();
    for path in [
        "/cluster",
        "/nodes",
        "/peers/{peer}",
        "/vservers/{vserver}/qos",
        "/vservers/{vserver}/volumes/{volume}/snapshots",
        "/vservers/{vserver}/volumes/{volume}/qtrees/{qtree}",
        "/vservers/{vserver}/volumes/{volume}/quotas/report",
        "/vservers/{vserver}/lifs",
        "/vservers/{vserver}/export-policies",
        "/vservers/{vserver}/users/{user}/unlock",
        "/vservers/{vserver}/groups/{group}",
        "/vservers/{vserver}/shares/{share}",
        "/migrations/{id}/events",
        "/migrations/{id}/{action}",
    ] {
        assert!(api["paths"].get(format!("/api/v1{path}")).is_some(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_compared_and_brought_back() {
    use fsstore::{Context, CreateHow, FsError, Op, ROOT, SetAttrs, Time};
    let node = Node::with_vserver().await;
    let volume = node.state.cluster.mounted("vs", "data").unwrap();
    let cx = Context::root(Time { secs: 5, nanos: 0 });
    let write = |name: &'static str, text: &'static str| {
        let how = CreateHow::Unchecked(SetAttrs { size: Some(0), ..SetAttrs::default() });
        let made = volume.execute(&cx, Op::Create { dir: ROOT, name: name.into(), how }).unwrap();
        let op = Op::Write { file: made.object.after.id, offset: 0, data: text.into() };
        volume.execute(&cx, op).unwrap();
    };
    let text = |name: &str| -> Result<String, FsError> {
        let file = volume.lookup(&cx, ROOT, name.as_bytes())?.id;
        let data = volume.read(&cx, file, 0, 100)?.data;
        Ok(String::from_utf8_lossy(&data).into_owned())
    };
    let snapshots = "/vservers/vs/volumes/data/snapshots";
    write("kept", "one");
    write("lost", "two");
    node.make(snapshots, json!({"name": "monday"})).await;
    write("kept", "other");
    volume.execute(&cx, Op::Remove { dir: ROOT, name: "lost".into() }).unwrap();
    write("new", "three");
    node.make(snapshots, json!({"name": "tuesday"})).await;

    let request = Request::builder()
        .uri(format!("/api/v1{snapshots}/tuesday/changes?base=monday"))
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Body::empty())
        .unwrap();
    let answer = axum::body::to_bytes(node.raw(request).await.into_body(), 1 << 20).await.unwrap();
    let mut lines: Vec<_> = answer
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .map(|line| format!("{} {}", line["change"].as_str().unwrap(), line["path"].as_str().unwrap()))
        .collect();
    lines.sort();
    assert_eq!(lines, ["created /new", "deleted /lost", "modified /kept"]);

    let restore = |name: &str| format!("{snapshots}/{name}/restore");
    assert_eq!(node.ask("POST", &restore("monday"), Some(json!({"path": "/lost"}))).await.0, 204);
    assert_eq!((text("lost").unwrap(), text("kept").unwrap()), ("two".to_owned(), "other".to_owned()));
    assert_eq!(node.ask("POST", &restore("monday"), Some(json!({"path": "/none"}))).await.0, 404);
    assert_eq!(node.ask("POST", &restore("monday"), Some(json!({"path": "/"}))).await.0, 400);
    assert_eq!(node.ask("POST", &restore("sunday"), Some(json!({}))).await.0, 404);
    assert_eq!(node.ask("POST", &restore("monday"), Some(json!({}))).await.0, 204);
    assert_eq!((text("lost").unwrap(), text("kept").unwrap()), ("two".to_owned(), "one".to_owned()));
    assert_eq!(text("new"), Err(FsError::NotFound));
    assert_eq!(node.get(snapshots).await.as_array().unwrap().len(), 2);
}
