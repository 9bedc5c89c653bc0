//! Qtrees, quotas and space guarantees as administrators see them.

use super::*;
use fsstore::{Context, CreateHow, FsError, Op, SetAttrs, Time};
use std::os::unix::fs::MetadataExt;

#[tokio::test(flavor = "multi_thread")]
async fn qtrees_and_quotas_are_set_reported_and_bind() {
    let node = Node::with_vserver().await;
    let (qtrees, quotas) = ("/vservers/vs/volumes/data/qtrees", "/vservers/vs/volumes/data/quotas");
    let made = node.make(qtrees, json!({"name": "projects", "mode": 0o777})).await;
    assert_eq!((&made["id"], &made["files"], &made["mode"]), (&json!(1), &json!(1), &json!(0o777)));
    assert_eq!(node.ask("POST", qtrees, Some(json!({"name": "projects"}))).await.0, 409);

    let set = |whom: Value, limits: Value| {
        let body = json!({"whom": whom, "limits": limits});
        node.ask("PUT", quotas, Some(body))
    };
    let (user, tree) = (json!({"kind": "user", "qtree": "projects", "id": 7}), json!({"kind": "tree"}));
    let (status, rule) = set(user.clone(), json!({"disk_hard_bytes": 8192, "disk_soft_bytes": 4096})).await;
    assert_eq!((status, &rule["limits"]["grace_s"]), (200, &json!(604_800)), "{rule}");
    assert_eq!(set(tree.clone(), json!({"files_hard": 3})).await.0, 200);
    assert_eq!(set(user.clone(), json!({"disk_hard_bytes": 1, "disk_soft_bytes": 2})).await.0, 409);
    assert_eq!(set(json!({"kind": "tree", "qtree": "none"}), json!({})).await.0, 404);
    assert_eq!(set(json!({"kind": "tree", "qtree": "projects", "id": 1}), json!({})).await.0, 400);
    assert_eq!(node.get(quotas).await.as_array().unwrap().len(), 2);

    let volume = node.state.cluster.mounted("vs", "data").unwrap();
    let cx = Context { uid: 7, gid: 8, groups: Vec::new(), now: Time { secs: 5, nanos: 0 } };
    let dir = volume.qtrees().unwrap()[0].dir.id;
    let make = |name: &'static str| {
        let how = CreateHow::Guarded(SetAttrs::default());
        volume.execute(&cx, Op::Create { dir, name: name.into(), how }).map(|done| done.object.after.id)
    };
    let (file, _) = (make("a").unwrap(), make("b").unwrap());
    assert_eq!(make("c"), Err(FsError::Quota));
    let write = |len: usize| volume.execute(&cx, Op::Write { file, offset: 0, data: vec![1; len].into() });
    assert_eq!(write(8193).unwrap_err(), FsError::Quota);
    write(8192).unwrap();

    let report = node.get(&format!("{quotas}/report")).await;
    let found = report.as_array().unwrap().iter().find(|used| used["whom"] == user).unwrap().clone();
    assert_eq!((&found["used_bytes"], &found["files"]), (&json!(8192), &json!(2)), "{found}");
    assert_eq!((&found["by_default"], &found["disk_over_since_s"]), (&json!(false), &json!(5)), "{found}");
    let of_tree = json!({"kind": "tree", "qtree": "projects"});
    let found = report.as_array().unwrap().iter().find(|used| used["whom"] == of_tree).unwrap().clone();
    assert_eq!((&found["by_default"], &found["limits"]["files_hard"]), (&json!(true), &json!(3)), "{found}");

    let one = format!("{qtrees}/projects");
    assert_eq!(node.ask("DELETE", &one, None).await.0, 409);
    let (status, shown) = node.ask("PATCH", &one, Some(json!({"name": "work"}))).await;
    assert_eq!((status, &shown["name"]), (200, &json!("work")));
    let query = format!("{quotas}?kind=user&qtree=work&id=7");
    assert_eq!(node.ask("DELETE", &query, None).await.0, 204);
    assert_eq!(node.ask("DELETE", &query, None).await.0, 404);
    for name in ["a", "b"] {
        volume.execute(&cx, Op::Remove { dir, name: name.into() }).unwrap();
    }
    assert_eq!(node.ask("DELETE", &format!("{qtrees}/work"), None).await.0, 204);
    assert_eq!(node.get(qtrees).await, json!([]));
    assert_eq!(node.ask("DELETE", &format!("{quotas}?kind=tree"), None).await.0, 204);
}

#[tokio::test]
async fn a_guaranteed_volume_has_its_space_from_the_beginning() {
    let node = Node::with_vserver().await;
    let mut host_bytes = Vec::new();
    for guarantee in ["none", "volume"] {
        let new = json!({"name": guarantee, "size_bytes": 32 << 20, "guarantee": guarantee});
        let made = node.make("/vservers/vs/volumes", new).await;
        assert_eq!(made["guarantee"], json!(guarantee));
        let uuid = made["uuid"].as_str().unwrap().parse().unwrap();
        let path = node.state.cluster.volume_path(uuid);
        host_bytes.push(std::fs::metadata(path).unwrap().blocks() * 512);
    }
    assert!(host_bytes[0] < 16 << 20 && host_bytes[1] >= 32 << 20, "{host_bytes:?}");
    let too_much = json!({"name": "huge", "size_bytes": 15u64 << 40, "guarantee": "volume"});
    let (status, problem) = node.ask("POST", "/vservers/vs/volumes", Some(too_much)).await;
    assert_eq!(status, 409, "{problem}");
    assert_eq!(node.get("/vservers/vs").await["volumes"], json!(4), "a refused volume leaves nothing");
}
