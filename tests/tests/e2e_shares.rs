//! Users and shares made with the command line move with their vserver, and the SMB port is at the address wherever that is.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::ferry::{self, until};
use gateway::demo::node::{Node, free_port, make_vserver, peer};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;

const PASSWORD: &str = "kept secret";

/// Runs `ferry` against the cluster in `dir`; its answer.
async fn run(dir: &Path, line: &str, input: &str) -> Result<Value, String> {
    let mut command = Command::new(ferry::binary());
    command.arg("--config").arg(dir.join("ferry.toml")).args(["--output", "json"]).args(line.split(' '));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    // A command that wants no input may have ended before.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let output = child.wait_with_output().await.unwrap();
    let (out, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(!out.contains(PASSWORD) && !error.contains(PASSWORD), "{line}");
    if output.status.success() { Ok(serde_json::from_str(&out).unwrap_or_default()) } else { Err(error) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_shares_move_and_the_smb_port_is_where_the_vserver_is() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let address = Ipv4Addr::new(127, 80, uuid::Uuid::new_v4().into_bytes()[0], 2);
    let (nfs, smb) = (free_port(address).unwrap(), free_port(address).unwrap());
    let start =
        async |dir: &Path, name: &str| Node::start(&ferry::binary(), dir, name, nfs, &[]).await.unwrap();
    let (source, destination) = (start(&a, "a").await, start(&b, "b").await);
    peer(&source.api, &destination.api).await.unwrap();
    make_vserver(&source.api, "vs", address, 64 << 20).await.unwrap();
    run(&a, &format!("lif modify vs lif1 --smb-port {smb}"), "").await.unwrap();

    run(&a, "group create vs staff --gid 50", "").await.unwrap();
    let create = "user create vs jane --uid 1000 --gid 100 --groups 50,60 --password-stdin";
    let user = run(&a, create, &format!("{PASSWORD}\n")).await.unwrap();
    assert_eq!((&user["groups"], &user["enabled"]), (&json!([50, 60]), &json!(true)));
    assert!(TcpStream::connect((address, smb)).await.is_err(), "there is no share yet");
    let share =
        "share create vs Data --path /data --access staff=change --access jane=full --encryption required";
    run(&a, share, "").await.unwrap();
    TcpStream::connect((address, smb)).await.unwrap();

    let refused = run(&a, "user create vs bob --uid 1 --gid 1 --password-stdin", "\n").await.unwrap_err();
    assert!(refused.contains("password is empty"), "{refused}");
    let refused = run(&a, "share create vs x --path /none", "").await.unwrap_err();
    assert!(refused.contains("no directory `/none`"), "{refused}");
    let disabled = run(&a, "user modify vs JANE --enabled off --no-groups", "").await.unwrap();
    assert_eq!(
        (&disabled["enabled"], &disabled["groups"], &disabled["sid"]),
        (&json!(false), &json!([]), &user["sid"])
    );
    run(&a, "vserver modify vs --smb-signing optional --smb-encryption off", "").await.unwrap();

    let lists = ["user list vs", "group list vs", "share list vs", "lif list vs"];
    let mut before = Vec::new();
    for list in lists {
        before.push(run(&a, list, "").await.unwrap());
    }
    source.api.post("/migrations", json!({ "vserver": "vs", "destination": "b" })).await.unwrap();
    until("the move", async || {
        let phase = source.api.get("/migrations").await.unwrap()[0]["phase"].clone();
        assert_ne!(phase, json!("failed"), "{}", source.log_tail());
        (phase == json!("completed")).then_some(phase)
    })
    .await;
    for (list, mut before) in lists.iter().zip(before) {
        if *list == "lif list vs" {
            before[0]["home"] = json!("node-1");
        }
        assert_eq!(run(&b, list, "").await.unwrap(), before, "{list}");
    }
    let shown = run(&b, "vserver show vs", "").await.unwrap();
    assert_eq!((&shown["smb_signing_required"], &shown["smb_encryption"]), (&json!(false), &json!("off")));
    TcpStream::connect((address, smb)).await.unwrap();
    run(&b, "user unlock vs jane", "").await.unwrap();
    run(&b, "share delete vs data", "").await.unwrap();
    assert!(TcpStream::connect((address, smb)).await.is_err());
    for log in [source.log(), destination.log()] {
        assert!(!log.contains(PASSWORD));
    }
}
