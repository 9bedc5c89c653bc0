//! What smbtorture is run against: shares, users and a snapshot; and Ferry set up so.

use crate::ferry;
use anyhow::Context as _;
use gateway::client::{Client, Options};
use gateway::demo::node::{Node, free_port, make_vserver};
use gateway::nfs3::procedures::CreateHow3;
use gateway::nfs3::types::SAttr3;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Everybody's.
pub const PASSWORD: &str = "Correct-Horse-7";
/// Lists only what a user may open.
pub const ENUMERATED_SHARE: &str = "hideunread";
/// Its directory may nobody enter.
pub const CLOSED_SHARE: &str = "noperm";
/// Has a snapshot, in which the file `foo` has a stream `bar` of three bytes.
pub const SNAPSHOT_SHARE: &str = "snap";

const VOLUME_BYTES: u64 = 8 << 30;
const UID: u32 = 1001;

/// The shares that tests run in, each one test at a time; what one leaves is not in the way of those in other shares.
pub const SHARES: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];

/// A server that is ready.
#[derive(Debug)]
pub struct Server {
    /// Where it serves.
    pub plain: SocketAddrV4,
    /// Where it serves those who sign.
    pub signing: SocketAddrV4,
    /// Who owns the shares, an ordinary user.
    pub user: String,
    /// Another one.
    pub second_user: String,
    /// One whom nothing is denied.
    pub superuser: String,
    /// The snapshot, as `@GMT-…`.
    pub snapshot: String,
}

/// Ferry as such a server.
#[derive(Debug)]
pub struct Ferry {
    /// For the tests.
    pub server: Server,
    /// Its node.
    pub node: Node,
    _dir: tempfile::TempDir,
}

impl Ferry {
    /// Starts it.
    ///
    /// # Errors
    /// What keeps it from serving.
    pub async fn start() -> anyhow::Result<Ferry> {
        let dir = tempfile::tempdir()?;
        let net = uuid::Uuid::new_v4().into_bytes()[0];
        let [plain, signing] = [2, 3].map(|host| Ipv4Addr::new(127, 83, net, host));
        let nfs_port = free_port(plain)?;
        let node = Node::start(&ferry::binary(), &dir.path().join("a"), "a", nfs_port, &[]).await?;
        let plain = vserver(&node, "vs", plain, nfs_port).await?;
        let signing = vserver(&node, "signing", signing, nfs_port).await?;
        node.api.patch("/vservers/signing", json!({ "smb_signing_required": true })).await?;
        let snapshot = snapshot(&node, nfs_port, plain).await?;
        let [user, second_user, superuser] = ["user1", "user2", "root"].map(str::to_owned);
        let server = Server { plain, signing, user, second_user, superuser, snapshot };
        Ok(Ferry { server, node, _dir: dir })
    }
}

async fn vserver(node: &Node, name: &str, address: Ipv4Addr, nfs_port: u16) -> anyhow::Result<SocketAddrV4> {
    let smb_port = free_port(address)?;
    make_vserver(&node.api, name, address, VOLUME_BYTES).await?;
    let at = format!("/vservers/{name}");
    node.api.patch(&format!("{at}/lifs/lif1"), json!({ "ports": { "smb": smb_port } })).await?;
    for (user, uid) in [("root", 0), ("user1", UID), ("user2", UID + 1)] {
        let user = json!({ "name": user, "uid": uid, "gid": uid, "password": PASSWORD });
        node.api.post(&format!("{at}/users"), user).await?;
    }
    // Many tests are about plain messages.
    node.api.patch(&at, json!({ "smb_encryption": "off", "smb_signing_required": false })).await?;
    let files = Client::new(SocketAddr::from((address, nfs_port)), Options::default());
    let root = files.mount("/data").await?;
    let owned = SAttr3 { mode: Some(0o777), uid: Some(UID), gid: Some(UID), ..SAttr3::default() };
    for share in SHARES.into_iter().chain([ENUMERATED_SHARE, SNAPSHOT_SHARE]) {
        files.mkdir(&root, share, owned).await?;
        let enumerated = share == ENUMERATED_SHARE;
        let path = format!("/data/{share}");
        let share = json!({ "name": share, "path": path, "access_based_enumeration": enumerated });
        node.api.post(&format!("{at}/shares"), share).await?;
    }
    files.mkdir(&root, CLOSED_SHARE, SAttr3 { mode: Some(0), ..SAttr3::default() }).await?;
    let share = json!({ "name": CLOSED_SHARE, "path": format!("/data/{CLOSED_SHARE}") });
    node.api.post(&format!("{at}/shares"), share).await?;
    Ok(SocketAddrV4::new(address, smb_port))
}

/// Files in the share with a snapshot, and the snapshot.
async fn snapshot(node: &Node, nfs_port: u16, smb: SocketAddrV4) -> anyhow::Result<String> {
    let user = Options { uid: UID, gid: UID, ..Options::default() };
    let files = Client::new(SocketAddr::from((*smb.ip(), nfs_port)), user);
    let root = files.mount(&format!("/data/{SNAPSHOT_SHARE}")).await?;
    let mode = |mode| SAttr3 { mode: Some(mode), ..SAttr3::default() };
    files.create(&root, "foo", CreateHow3::Unchecked(mode(0o644))).await?;
    files.mkdir(&root, "subdir", mode(0o755)).await?;
    let subdir = files.lookup(&root, "subdir").await?.object;
    files.create(&subdir, "hardlink", CreateHow3::Unchecked(mode(0o644))).await?;
    let mut stream = Command::new("smbclient");
    stream.arg("--configfile=/dev/null").arg(format!("//{}/{SNAPSHOT_SHARE}", smb.ip()));
    stream.args(["-p", &smb.port().to_string(), "-U", &format!("user1%{PASSWORD}")]);
    stream.args(["-c", "put /dev/stdin foo:bar"]);
    let mut child = stream.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.stdin.take().context("a pipe")?.write_all(b"baz").await?;
    child.wait().await?;
    node.api.post("/vservers/vs/volumes/data/snapshots", json!({ "name": "s" })).await?;
    let made = node.api.get("/vservers/vs/volumes/data/snapshots/s").await?;
    let secs = made["created_s"].as_i64().with_context(|| format!("when {made} was made"))?;
    let mut date = Command::new("date");
    date.args(["-u", "-d", &format!("@{secs}"), "+@GMT-%Y.%m.%d-%H.%M.%S"]);
    Ok(String::from_utf8(date.output().await?.stdout)?.trim().to_owned())
}
