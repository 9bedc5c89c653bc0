//! The servers that are measured, each a process of its own, so that its processor time can be told from the load's.

use crate::login::{PASSWORD, USER};
use anyhow::{Context as _, Result, anyhow, ensure};
use ferry_tests::guest::SERVER;
use fsstore::Tuning;
use gateway::vserver::{Encryption, NtHash, RID_FIRST, Share, Shares, SmbSettings, User, Users};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Ferry,
    /// Samba, with Debian's defaults, over a directory of the host.
    Smbd,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ferry => "ferry",
            Kind::Smbd => "smbd",
        }
    }

    /// Where guests can reach it, too.
    fn address(self) -> SocketAddr {
        SocketAddr::from((SERVER, self.port()))
    }

    fn port(self) -> u16 {
        match self {
            Kind::Ferry => 22_445,
            Kind::Smbd => 22_446,
        }
    }
}

const VOLUME_BYTES: u64 = 16 << 30;

/// A running server.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    dir: PathBuf,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    /// Starts a server of files below `dir`, which is made.
    pub(crate) fn start(kind: Kind, dir: &Path) -> Result<Server> {
        let dir = dir.join(kind.name());
        std::fs::create_dir_all(&dir)?;
        let child = match kind {
            Kind::Smbd => smbd(&dir)?,
            Kind::Ferry => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("serve").arg(&dir).process_group(0).spawn()?
            }
        };
        let address = kind.address();
        let mut server = Server { kind, address, dir, child };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            ensure!(server.child.try_wait()?.is_none(), "{} ended at its start", kind.name());
            ensure!(Instant::now() < end, "{} does not answer", kind.name());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// What smbd serves.
    pub(crate) fn exported(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Processor time that it has used, its own and the system's for it; smbd has a process for each connection.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let mut ticks = 0;
        for entry in std::fs::read_dir("/proc")? {
            let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
            let (head, fields) = stat.rsplit_once(')').context("a process has a name")?;
            let fields: Vec<u64> =
                fields.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            let id = head.split_once(' ').map(|(id, _)| id.parse());
            let own = id == Some(Ok(self.child.id()));
            // State, parent, group; own times are 11 and 12, those of children that have ended 13 and 14.
            let of_ours = own || fields.get(2) == Some(&u64::from(self.child.id()));
            if of_ours {
                ticks += fields.iter().skip(11).take(4).sum::<u64>();
            }
        }
        Ok(Duration::from_millis(ticks * 10))
    }
}

fn smbd(dir: &Path) -> Result<Child> {
    let place = dir.display();
    for name in ["private", "lock", "state", "cache", "pid", "ncalrpc", "data"] {
        std::fs::create_dir_all(dir.join(name))?;
    }
    let text = format!(
        "[global]\nserver role = standalone server\nworkgroup = WORKGROUP\nsmb ports = {port}\ninterfaces = lo\n\
         bind interfaces only = yes\ndisable netbios = yes\nprivate dir = {place}/private\nlock directory = {place}/lock\n\
         state directory = {place}/state\ncache directory = {place}/cache\npid directory = {place}/pid\n\
         ncalrpc dir = {place}/ncalrpc\nlog file = {place}/log\nload printers = no\ndisable spoolss = yes\n\
         [data]\npath = {place}/data\nread only = no\n",
        port = Kind::Smbd.port()
    );
    let file = dir.join("smb.conf");
    std::fs::write(&file, text)?;
    let missing = "Samba does not start (Debian package samba)";
    let mut password = Command::new("smbpasswd");
    password.arg("-c").arg(&file).args(["-s", "-a", USER]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut password = password.spawn().context(missing)?;
    let mut input = password.stdin.take().context("a pipe")?;
    write!(input, "{PASSWORD}\n{PASSWORD}\n")?;
    drop(input);
    ensure!(password.wait()?.success(), "smbpasswd failed");
    let mut command = Command::new("smbd");
    command.args(["--foreground", "--no-process-group", "--configfile"]).arg(&file);
    // The processes that it makes are in its group.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().context(missing)
}

/// What the process of Ferry does: serves until it is ended.
pub(crate) fn serve(dir: &Path) -> Result<()> {
    // A node takes a quarter of the machine's memory.
    let tuning = Tuning { cache_bytes: 2 << 30, dirty_bytes: 1 << 30, ..Tuning::default() };
    let vserver = ferry_tests::serve::vserver(dir, VOLUME_BYTES, tuning, false)?;
    let secret = NtHash::of_password(PASSWORD).map_err(|error| anyhow!(error))?;
    let user = User {
        name: USER.to_owned(),
        full_name: String::new(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        rid: RID_FIRST,
        enabled: true,
        secret,
    };
    vserver.set_users(Users::new(vserver.uuid, [user], []));
    // As smbd's default: the client chooses.
    let settings = SmbSettings { signing_required: false, encryption: Encryption::Off };
    vserver.set_shares(Shares::new(settings, [Share::new("data", "/data")]));
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(Kind::Ferry.address()).await?;
        gateway::smb2::serve(listener, vserver, tokio_util::sync::CancellationToken::new()).await;
        Ok(())
    })
}
