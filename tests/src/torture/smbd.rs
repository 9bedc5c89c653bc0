//! Samba's own server, set up as its own tests set it up: what Ferry is measured by. Needs the superuser, whose accounts
//! `games` and `man` (every Debian has them) are its users.

use super::server::{CLOSED_SHARE, ENUMERATED_SHARE, PASSWORD, SHARES, SNAPSHOT_SHARE, Server};
use anyhow::{Context as _, bail};
use gateway::demo::node::free_port;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// The program, and the Debian package that has it.
pub const PROGRAM: (&str, &str) = ("smbd", "samba");

const USER: &str = "games";
const SECOND_USER: &str = "man";
const SNAPSHOT: &str = "@GMT-2015.10.31-19.40.30";

/// As Samba's own tests configure it where that matters to what is tested: multichannel, durable handles, leases, its help
/// for tests (`smbd:`), changes reported by the server alone, nothing done to files from below.
const GLOBAL: &str = "\
    workgroup = WORKGROUP\nserver role = standalone server\nbind interfaces only = yes\ndisable netbios = yes\n\
    passdb backend = tdbsam\nload printers = no\nprinting = bsd\nprintcap name = /dev/null\ndisable spoolss = yes\n\
    server min protocol = SMB2_02\nserver multi channel support = yes\nsmbd:suicide mode = yes\n\
    smbd:FSCTL_SMBTORTURE = yes\nsmbd:sharedelay = 100000\nsmbd:writetimeupdatedelay = 500000\nread only = no\n\
    map archive = no\nmap hidden = no\nmap system = no\nmap readonly = no\nstore dos attributes = yes\n\
    ea support = yes\ncreate mask = 755\ndos filemode = yes\nstrict rename = yes\nstrict sync = yes\n\
    kernel oplocks = no\nkernel change notify = no\nkernel share modes = no\nposix locking = no\n\
    durable handles = yes\nsmb2 leases = yes\n\
    vfs objects = acl_xattr xattr_tdb streams_depot\n";

/// Two of them: one wants signatures. They end when dropped.
#[derive(Debug)]
pub struct Smbd {
    /// For the tests.
    pub server: Server,
    _children: [Child; 2],
    _dir: tempfile::TempDir,
}

impl Smbd {
    /// Starts them.
    ///
    /// # Errors
    /// What keeps them from serving.
    pub async fn start() -> anyhow::Result<Smbd> {
        let dir = tempfile::tempdir()?;
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755))?;
        let net = uuid::Uuid::new_v4().into_bytes()[0];
        let (plain, a) = start(&dir.path().join("a"), Ipv4Addr::new(127, 84, net, 2), "default").await?;
        let (signing, b) = start(&dir.path().join("b"), Ipv4Addr::new(127, 84, net, 3), "mandatory").await?;
        let [user, second_user, superuser] = [USER, SECOND_USER, "root"].map(str::to_owned);
        let snapshot = SNAPSHOT.to_owned();
        let server = Server { plain, signing, user, second_user, superuser, snapshot };
        Ok(Smbd { server, _children: [a, b], _dir: dir })
    }
}

async fn start(dir: &Path, address: Ipv4Addr, signing: &str) -> anyhow::Result<(SocketAddrV4, Child)> {
    let at = SocketAddrV4::new(address, free_port(address)?);
    std::fs::create_dir_all(dir.join("private"))?;
    let mut text = format!("[global]\n{GLOBAL}server signing = {signing}\n");
    writeln!(text, "interfaces = {address}/8\nsmb ports = {}", at.port())?;
    for kind in ["private", "lock", "state", "cache", "pid"] {
        let option = if kind == "private" { "private dir".to_owned() } else { format!("{kind} directory") };
        writeln!(text, "{option} = {}", dir.join(kind).display())?;
    }
    writeln!(
        text,
        "ncalrpc dir = {0}/rpc\nlog file = {0}/log\nxattr_tdb:file = {0}/xattr.tdb",
        dir.display()
    )?;
    for share in SHARES.into_iter().chain([ENUMERATED_SHARE, CLOSED_SHARE, SNAPSHOT_SHARE]) {
        let path = dir.join(share);
        std::fs::create_dir(&path)?;
        writeln!(text, "[{share}]\npath = {}", path.display())?;
        match share {
            ENUMERATED_SHARE => writeln!(text, "hide unreadable = yes")?,
            SNAPSHOT_SHARE => {
                writeln!(text, "vfs objects = shadow_copy2 streams_xattr\nshadow:fixinodes = yes")?;
                writeln!(text, "shadow:mountpoint = {}", path.display())?;
                snapshot(&path).await?;
            }
            _ => {}
        }
        let mode = if share == CLOSED_SHARE { 0 } else { 0o777 };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
    }
    let file = dir.join("smb.conf");
    std::fs::write(&file, text)?;
    for user in [USER, SECOND_USER, "root"] {
        add_user(&file, user).await?;
    }
    let mut smbd = Command::new("smbd");
    smbd.args(["--foreground", "--no-process-group"]).arg("-s").arg(&file).process_group(0);
    let out = std::fs::File::create(dir.join("out"))?;
    let child = smbd.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).kill_on_drop(true).spawn()?;
    for _ in 0..100 {
        if TcpStream::connect(at).is_ok() {
            return Ok((at, child));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("smbd does not answer: {}", std::fs::read_to_string(dir.join("log")).unwrap_or_default())
}

async fn add_user(config: &Path, user: &str) -> anyhow::Result<()> {
    let mut add = Command::new("smbpasswd");
    add.arg("-c").arg(config).args(["-s", "-a", user]);
    let mut child = add.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let twice = format!("{PASSWORD}\n{PASSWORD}\n");
    child.stdin.take().context("a pipe")?.write_all(twice.as_bytes()).await?;
    anyhow::ensure!(child.wait().await?.success(), "smbpasswd does not take {user}");
    Ok(())
}

/// Files in a share, and a snapshot that the module `shadow_copy2` finds.
async fn snapshot(share: &Path) -> anyhow::Result<()> {
    let old = share.join(".snapshots").join(SNAPSHOT);
    for dir in [share, &old] {
        std::fs::create_dir_all(dir.join("subdir"))?;
        for file in ["foo", "subdir/hardlink"] {
            std::fs::write(dir.join(file), b"")?;
        }
    }
    let mut stream = Command::new("setfattr");
    stream.args(["-n", "user.DosStream.bar:$DATA", "-v", "baz\\000"]).arg(old.join("foo"));
    anyhow::ensure!(stream.status().await?.success(), "setfattr fails");
    let mut owner = Command::new("chown");
    let owner = owner.args(["-R", USER]).arg(share).status().await?;
    anyhow::ensure!(owner.success(), "chown fails");
    Ok(())
}
