//! SMB users, groups and shares as administrators see them, how secrets rest, and that all of it moves with a vserver.

use super::*;
use crate::store::AppliedRecord;
use crate::vserver::{NtHash, ShareAccess, Users};
use migrate::ports::{Ownership, Placeholder};
use migrate::{DestinationHost, Epoch, MigrationId, SourceHost};
use std::time::Instant;
use tokio::net::{TcpListener, TcpStream};

const USERS: &str = "/vservers/vs/users";
const GROUPS: &str = "/vservers/vs/groups";
const SHARES: &str = "/vservers/vs/shares";

fn jane() -> Value {
    json!({"name": "Jane", "uid": 1000, "gid": 50, "groups": [60], "password": "password"})
}

fn users(node: &Node) -> Arc<Users> {
    node.state.cluster.served("vs").unwrap().vserver.users()
}

/// The hash of "password", as JSON would have it.
fn is_open(bytes: &[u8]) -> bool {
    bytes.windows(10).any(|part| part == b"136,70,247")
        || bytes.windows(4).any(|part| part == [136, 70, 247, 234])
        || bytes.windows(8).any(|part| part == b"password")
}

#[tokio::test]
async fn users_are_made_changed_and_deleted_and_their_passwords_stay_secret() {
    let node = Node::with_vserver().await;
    let made = node.make(USERS, jane()).await;
    assert!(!is_open(made.to_string().as_bytes()), "{made}");
    assert_eq!(
        (&made["enabled"], &made["locked"], &made["full_name"]),
        (&json!(true), &json!(false), &json!(""))
    );
    let sid = made["sid"].as_str().unwrap().to_owned();
    assert!(sid.starts_with("S-1-5-21-") && sid.ends_with("-1000"), "{sid}");
    assert_eq!(node.get(&format!("{USERS}/JANE")).await, made, "whatever the case");
    let hash = NtHash::of_password("password").unwrap();
    assert_eq!(users(&node).get("jane").unwrap().nt_hash(), hash.as_bytes());
    assert_eq!(users(&node).get("jane").unwrap().context_ids(), (1000, 50, &[60][..]));
    assert!(!is_open(&std::fs::read(node.dir.join("config.redb")).unwrap()));
    assert!(!is_open(format!("{:?}", node.state.cluster.record("vs").unwrap()).as_bytes()));

    let patch = json!({"password": "other", "full_name": "Jane Doe", "groups": [], "enabled": false});
    let (status, shown) = node.ask("PATCH", &format!("{USERS}/jane"), Some(patch)).await;
    assert_eq!((status, &shown["full_name"], &shown["groups"]), (200, &json!("Jane Doe"), &json!([])));
    node.state.cluster.stop().await;
    node.state.cluster.start().await.unwrap();
    let user = users(&node).get("jane").unwrap().clone();
    assert_eq!(user.nt_hash(), NtHash::of_password("other").unwrap().as_bytes(), "also after a restart");
    assert_eq!((user.uid, user.gid, user.enabled, user.rid), (1000, 50, false, 1000));

    assert_eq!(node.ask("DELETE", &format!("{USERS}/jane"), None).await.0, 204);
    assert_eq!(node.ask("DELETE", &format!("{USERS}/jane"), None).await.0, 404);
    let again = node.make(USERS, jane()).await;
    assert!(again["sid"].as_str().unwrap().ends_with("-1001"), "a SID is nobody else's later: {again}");
}

#[tokio::test]
async fn what_can_not_be_a_user_is_refused_without_quoting_the_password() {
    let node = Node::with_vserver().await;
    node.make(USERS, jane()).await;
    node.make(GROUPS, json!({"name": "staff", "gid": 50})).await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "bob", "uid": 1, "gid": 1, "password": "password"});
        body[field] = value;
        body
    };
    for (body, status, text) in [
        (with("name", json!("JANE")), 409, "user `JANE` exists already"),
        (with("name", json!("Staff")), 409, "group `Staff` exists already"),
        (with("name", json!("a\\b")), 400, "no name of a user"),
        (with("name", json!("everyone")), 400, "somebody else"),
        (with("password", json!("")), 400, "1 to 256"),
        (with("password", json!(["password"])), 422, "a password is a string"),
        (with("full_name", json!("a\nb")), 400, "on one line"),
        (with("groups", json!(vec![1; 1025])), 400, "at most 1024"),
        (with("rid", json!(7)), 422, "unknown field"),
    ] {
        let (found, problem) = node.ask("POST", USERS, Some(body)).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(found == status && detail.contains(text), "{text}: {found} {detail}");
        assert!(!detail.contains("\"password\""), "{detail}");
    }
    assert_eq!(node.ask("GET", &format!("{USERS}/bob"), None).await.0, 404);
    assert_eq!(node.ask("PATCH", &format!("{USERS}/bob"), Some(json!({}))).await.0, 404);
    assert_eq!(node.ask("POST", &format!("{USERS}/bob/unlock"), None).await.0, 404);
    assert_eq!(node.get(USERS).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_user_who_is_locked_out_shows_and_is_let_in_again() {
    let node = Node::with_vserver().await;
    node.make(USERS, jane()).await;
    let vserver = Arc::clone(&node.state.cluster.served("vs").unwrap().vserver);
    let one = format!("{USERS}/jane");
    for again in
        [("POST", format!("{one}/unlock"), json!({})), ("PATCH", one.clone(), json!({"password": "x"}))]
    {
        for _ in 0..10 {
            vserver.lockout.failed(1000, Instant::now());
        }
        assert_eq!(node.get(&one).await["locked"], json!(true));
        let (status, shown) = node.ask(again.0, &again.1, Some(again.2)).await;
        assert_eq!((status, &shown["locked"]), (200, &json!(false)), "{}", again.1);
    }
}

#[tokio::test]
async fn a_user_whose_secret_does_not_open_is_a_fault_and_disturbs_nobody() {
    let node = Node::with_vserver().await;
    node.make(USERS, jane()).await;
    node.state.cluster.stop().await;
    let mut record = node.state.cluster.record("vs").unwrap();
    record.smb.users.get_mut("jane").unwrap().secret.0[20] ^= 1;
    node.state.cluster.store.update(|tx| tx.put(&record)).unwrap();
    node.state.cluster.start().await.unwrap();
    assert!(users(&node).get("jane").is_none());
    let faults = node.get("/vservers/vs").await["faults"].clone();
    assert!(faults["user Jane"].as_str().unwrap().contains("does not open"), "{faults}");
    let error = host(&node).config("vs").await.unwrap_err().to_string();
    assert!(error.contains("ferry user modify vs Jane"), "{error}");
    let patch = json!({"password": "new"});
    assert_eq!(node.ask("PATCH", &format!("{USERS}/jane"), Some(patch)).await.0, 200);
    assert!(users(&node).get("jane").is_some());
    assert_eq!(node.get("/vservers/vs").await["faults"], json!({}));
}

#[tokio::test]
async fn groups_name_gids_and_whom_a_share_names_stays() {
    let node = Node::with_vserver().await;
    node.make(USERS, jane()).await;
    let staff = node.make(GROUPS, json!({"name": "Staff", "gid": 60, "comment": "all"})).await;
    assert_eq!((&staff["members"], &staff["comment"]), (&json!(["Jane"]), &json!("all")));
    let access = json!([{"who": "STAFF", "access": "change"}, {"who": "jane", "access": "read"}]);
    node.make(SHARES, json!({"name": "data", "path": "/data", "access": access})).await;
    for named in [format!("{GROUPS}/staff"), format!("{USERS}/JANE")] {
        let (status, problem) = node.ask("DELETE", &named, None).await;
        assert!(status == 409 && problem["detail"].as_str().unwrap().contains("share `data`"), "{problem}");
    }
    let vserver = Arc::clone(&node.state.cluster.served("vs").unwrap().vserver);
    let granted = || {
        let users = vserver.users();
        vserver.shares().get("DATA").unwrap().access_of(users.get("jane").unwrap(), &users)
    };
    assert_eq!(granted(), Some(ShareAccess::Change));
    assert_eq!(
        node.ask("PATCH", &format!("{GROUPS}/staff"), Some(json!({"gid": 61}))).await.1["members"],
        json!([])
    );
    assert_eq!(granted(), Some(ShareAccess::Read));
    assert_eq!(node.ask("DELETE", &format!("{SHARES}/data"), None).await.0, 204);
    assert_eq!(node.ask("DELETE", &format!("{GROUPS}/staff"), None).await.0, 204);
    assert_eq!(node.get(GROUPS).await, json!([]));
}

#[tokio::test]
async fn shares_have_defaults_and_are_changed_field_by_field() {
    let node = Node::with_vserver().await;
    let made = node.make(SHARES, json!({"name": "Data", "path": "/data"})).await;
    let everyone = json!([{"who": "Everyone", "access": "full"}]);
    let defaults = json!({
        "name": "Data", "path": "/data", "comment": "", "read_only": false, "guest_ok": false, "access": everyone,
        "access_based_enumeration": false, "continuously_available": false, "encryption": "off", "browseable": true,
    });
    assert_eq!(made, defaults);
    let one = format!("{SHARES}/data");
    let (status, shown) =
        node.ask("PATCH", &one, Some(json!({"encryption": "required", "path": "/", "access": []}))).await;
    assert_eq!((status, &shown["path"], &shown["access"]), (200, &json!("/"), &json!([])));
    assert_eq!((&shown["encryption"], &shown["browseable"]), (&json!("required"), &json!(true)));
    let cases = [
        (json!({"name": "DATA", "path": "/"}), 409, "share `DATA` exists already"),
        (json!({"name": "a/b", "path": "/"}), 400, "no name of a share"),
        (json!({"name": "ipc$", "path": "/"}), 400, "server's own"),
        (json!({"name": "a", "path": "/none"}), 400, "no directory `/none`"),
        (json!({"name": "a", "path": "data"}), 400, "no path from the root"),
        (
            json!({"name": "a", "path": "/", "access": [{"who": "bob", "access": "read"}]}),
            404,
            "user or group `bob`",
        ),
        (json!({"name": "a", "path": "/", "encryption": "some"}), 422, "unknown variant"),
    ];
    for (body, status, text) in cases {
        let (found, problem) = node.ask("POST", SHARES, Some(body)).await;
        assert!(found == status && problem["detail"].as_str().unwrap().contains(text), "{text}: {problem}");
    }
    assert_eq!(node.ask("PATCH", &one, Some(json!({"path": "/none"}))).await.0, 400);
    node.state.cluster.stop().await;
    node.state.cluster.start().await.unwrap();
    assert_eq!(node.get(SHARES).await, json!([shown]));

    let shown = node.get("/vservers/vs").await;
    assert_eq!((&shown["smb_signing_required"], &shown["smb_encryption"]), (&json!(true), &json!("desired")));
    let patch = json!({"smb_signing_required": false, "smb_encryption": "off"});
    assert_eq!(node.ask("PATCH", "/vservers/vs", Some(patch)).await.1["smb_encryption"], json!("off"));
    let settings = node.state.cluster.served("vs").unwrap().vserver.shares().settings;
    assert!(!settings.signing_required && settings.encryption == crate::vserver::Encryption::Off);
}

#[tokio::test]
async fn the_smb_port_is_there_as_long_as_there_is_a_share() {
    let node = Node::with_vserver().await;
    let taken = TcpListener::bind("127.91.6.2:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let ports = json!({"nfs": 33_149, "mount": 33_148, "smb": port});
    let lif =
        node.make("/vservers/vs/lifs", json!({"name": "l", "address": "127.91.6.2", "ports": ports})).await;
    assert_eq!((&lif["ports"]["smb"], &lif["fault"]), (&json!(port), &Value::Null), "no share, no port");
    let share = |name: &str| json!({"name": name, "path": "/"});
    node.make(SHARES, share("a")).await;
    let shown = node.get("/vservers/vs/lifs/l").await;
    assert!(shown["fault"].as_str().unwrap().contains("no SMB: cannot listen"), "{shown}");
    assert_eq!(shown["state"], json!("up"), "NFS does not suffer");
    drop(taken);
    node.make(SHARES, share("b")).await;
    let address = ("127.91.6.2", port);
    TcpStream::connect(address).await.unwrap();
    assert_eq!(node.get("/vservers/vs/lifs/l").await["fault"], Value::Null);

    // Changed field by field, too, and the SMB port comes along.
    let (status, shown) =
        node.ask("PATCH", "/vservers/vs/lifs/l", Some(json!({"ports": {"mount": 33_147}}))).await;
    assert_eq!((status, &shown["ports"]["nfs"], &shown["ports"]["smb"]), (200, &json!(33_149), &json!(port)));
    TcpStream::connect(address).await.unwrap();
    let same = json!({"ports": {"smb": 33_149}});
    assert_eq!(node.ask("PATCH", "/vservers/vs/lifs/l", Some(same)).await.0, 400);
    TcpStream::connect(address).await.unwrap();

    assert_eq!(node.ask("DELETE", &format!("{SHARES}/a"), None).await.0, 204);
    TcpStream::connect(address).await.unwrap();
    assert_eq!(node.ask("DELETE", &format!("{SHARES}/b"), None).await.0, 204);
    assert!(TcpStream::connect(address).await.is_err());
    node.make(SHARES, share("c")).await;
    node.state.cluster.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    node.state.cluster.start().await.unwrap();
    TcpStream::connect(address).await.unwrap();
    node.state.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_groups_and_shares_move_with_the_vserver() {
    let (source, destination) = (Node::with_vserver().await, Node::new());
    source.make(GROUPS, json!({"name": "staff", "gid": 60})).await;
    source.make(USERS, jane()).await;
    let access = json!([{"who": "staff", "access": "change"}]);
    source.make(SHARES, json!({"name": "data", "path": "/data", "access": access})).await;
    source.ask("PATCH", "/vservers/vs", Some(json!({"smb_encryption": "required"}))).await;
    let (from, to) = (host(&source), host(&destination));
    let config = from.config("vs").await.unwrap();
    let Ownership { epoch, .. } = from.ownership("vs").await.unwrap();
    let placeholder = Placeholder {
        id: MigrationId(uuid::Uuid::new_v4()),
        vserver: "vs".to_owned(),
        source: "alpha".to_owned(),
        epoch,
        config: config.clone(),
        volumes: from.volumes("vs").await.unwrap().into_iter().map(|volume| volume.info).collect(),
    };
    to.prepare(&placeholder).await.unwrap();
    // What is set after the move began arrives with the cutover.
    source.make(USERS, json!({"name": "bob", "uid": 1, "gid": 2, "password": "late"})).await;
    to.apply("vs", &from.config("vs").await.unwrap(), &from.open_state("vs").await.unwrap()).await.unwrap();
    let applied: AppliedRecord = destination.state.cluster.store.get("vs").unwrap().unwrap();
    assert!(!is_open(&applied.config.0), "what waits for the edge is sealed, too");
    to.activate("vs", Epoch(epoch.0 + 1)).await.unwrap();

    for path in [USERS, GROUPS, SHARES] {
        assert_eq!(destination.get(path).await, source.get(path).await, "{path}");
    }
    let (here, there) = (users(&source), users(&destination));
    for name in ["jane", "bob"] {
        assert_eq!(there.get(name), here.get(name), "{name}: SID and password are the same");
    }
    assert_eq!(there.machine_sid(), here.machine_sid());
    let encryption = &destination.get("/vservers/vs").await["smb_encryption"];
    assert_eq!(encryption, &json!("required"));
    assert!(!is_open(&std::fs::read(destination.dir.join("config.redb")).unwrap()));
    let keys = [&source, &destination].map(|node| std::fs::read(node.dir.join("secrets.key")).unwrap());
    assert_ne!(keys[0], keys[1], "each cluster has its own");
    let next = json!({"name": "carl", "uid": 3, "gid": 3, "password": "x"});
    let sid = destination.make(USERS, next).await["sid"].as_str().unwrap().to_owned();
    assert!(sid.ends_with("-1003"), "RIDs go on: {sid}");

    let text = String::from_utf8(config).unwrap();
    let broken = text.replace("\"next_rid\":1002", "\"next_rid\":1001").into_bytes();
    assert!(crate::migration::Crs::decode(&broken).unwrap_err().contains("does not fit"));
}

fn host(node: &Node) -> Host {
    Host::new(Arc::clone(&node.state.cluster))
}
