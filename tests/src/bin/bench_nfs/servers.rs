//! The servers that are measured, each a process of its own, so that its processor time can be told from the load's.

use anyhow::{Context as _, Result, ensure};
use fsstore::Tuning;
use gateway::client::{Client, Options};
use gateway::nfs3::types::NfsFh3;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// With durability as it is by default.
    Ferry,
    /// With the export option `async`: replies do not wait for the disk.
    FerryAsync,
    /// nfs-ganesha over a directory of the host.
    Ganesha,
    /// The nfsserve crate over files in memory.
    NfsServe,
    /// No server at all: replies of the right length.
    Limit,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] =
        [Kind::Ferry, Kind::FerryAsync, Kind::Ganesha, Kind::NfsServe, Kind::Limit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ferry => "ferry",
            Kind::FerryAsync => "ferry-async",
            Kind::Ganesha => "nfs-ganesha",
            Kind::NfsServe => "nfsserve",
            Kind::Limit => "limit",
        }
    }

    fn port(self) -> u16 {
        match self {
            Kind::Ferry => 22_049,
            Kind::FerryAsync => 22_050,
            Kind::Ganesha => 22_051,
            Kind::NfsServe => 22_052,
            Kind::Limit => 22_053,
        }
    }
}

/// Where nfs-ganesha answers MOUNT.
const GANESHA_MOUNT_PORT: u16 = 22_061;
const VOLUME_BYTES: u64 = 16 << 30;

/// A running server.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) root: NfsFh3,
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
            Kind::Ganesha => ganesha(&dir)?,
            _ => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["serve", kind.name()]).arg(&dir);
                command.process_group(0).spawn()?
            }
        };
        let address = SocketAddr::from(([127, 0, 0, 1], kind.port()));
        let mut server = Server { kind, address, root: NfsFh3(bytes::Bytes::from_static(&[0; 32])), child };
        server.wait_for(address)?;
        if kind != Kind::Limit {
            let (mount, path) = match kind {
                Kind::Ganesha => (SocketAddr::from(([127, 0, 0, 1], GANESHA_MOUNT_PORT)), dir.join("exp")),
                _ => (address, PathBuf::from("/")),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let path = path.to_str().context("a path in UTF-8")?;
            let mounting = async { Client::new(mount, Options::default()).mount(path).await };
            server.root = runtime.block_on(mounting).with_context(|| format!("mounting {}", kind.name()))?;
        }
        Ok(server)
    }

    fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            ensure!(self.child.try_wait()?.is_none(), "{} ended at its start", self.kind.name());
            ensure!(Instant::now() < end, "{} does not answer", self.kind.name());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Processor time that it has used, its own and the system's for it.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(')').context("a process has a name")?.1;
        let ticks = fields.split_ascii_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }
}

fn ganesha(dir: &Path) -> Result<Child> {
    let exported = dir.join("exp");
    std::fs::create_dir_all(&exported)?;
    let (port, path) = (Kind::Ganesha.port(), exported.display());
    let text = format!(
        "NFS_CORE_PARAM {{ Protocols = 3; NFS_Port = {port}; MNT_Port = {GANESHA_MOUNT_PORT}; Enable_NLM = false; \
         Enable_RQUOTA = false; Enable_UDP = false; }}\n\
         EXPORT {{ Export_Id = 1; Path = {path}; Pseudo = /exp; Protocols = 3; Access_Type = RW; \
         Squash = No_Root_Squash; SecType = sys; Transports = TCP; FSAL {{ Name = VFS; }} }}\n\
         LOG {{ Default_Log_Level = WARN; }}\n"
    );
    let file = dir.join("ganesha.conf");
    std::fs::write(&file, text)?;
    let mut command = Command::new("ganesha.nfsd");
    command.arg("-F").arg("-f").arg(&file).arg("-L").arg(dir.join("log")).arg("-p").arg(dir.join("pid"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().context("nfs-ganesha does not start (Debian packages nfs-ganesha, nfs-ganesha-vfs)")
}

/// What the process of a server does: serves until it is ended.
pub(crate) fn serve(kind: &str, dir: &Path) -> Result<()> {
    let kind = Kind::ALL.into_iter().find(|one| one.name() == kind).context("no such server")?;
    let address = SocketAddr::from(([127, 0, 0, 1], kind.port()));
    match kind {
        Kind::Limit => crate::limit::serve(address),
        Kind::NfsServe => crate::nfsserve_peer::serve(address),
        Kind::Ferry | Kind::FerryAsync | Kind::Ganesha => {
            // A node takes a quarter of the machine's memory.
            let tuning = Tuning { cache_bytes: 2 << 30, dirty_bytes: 1 << 30, ..Tuning::default() };
            tokio::runtime::Runtime::new()?.block_on(async {
                let early = kind == Kind::FerryAsync;
                let server =
                    ferry_tests::serve::Server::start_with(dir, address, VOLUME_BYTES, tuning, early).await?;
                std::future::pending::<()>().await;
                server.crash().await;
                Ok(())
            })
        }
    }
}
