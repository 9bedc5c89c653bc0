//! The composition root: the only file that knows every part of a node. It starts them in order and stops them in
//! the opposite order.

use crate::admin::{self, AdminState, AdminToken};
use crate::cluster::{Cluster, ServeVserver, run_checkpoints};
use crate::config::{Config, NfsConfig};
use crate::lif::Endpoint;
use crate::migration::Host;
use crate::net::limits::Limits;
use crate::rpc::server::Transport;
use crate::store::Store;
use crate::{metrics, peers, portmap, programs, rpcbind, smb2};
use anyhow::Context;
use futures_util::future::OptionFuture;
use migrate::{Failpoints, Migrator, Ports};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long open admin requests may take when the node stops.
const ADMIN_PATIENCE: Duration = Duration::from_secs(2);

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting, in words for the operator.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = Node::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    node.stop().await;
    Ok(())
}

/// A running node.
pub struct Node {
    cluster: Arc<Cluster>,
    migrator: Arc<Migrator>,
    stopping: CancellationToken,
    admin: tokio::task::JoinHandle<std::io::Result<()>>,
    clockwork: tokio::task::JoinHandle<()>,
    peer_links: tokio::task::JoinHandle<()>,
    /// Held as long as the node runs: two nodes must not share a data directory.
    _lock: std::fs::File,
}

impl Node {
    /// Starts all parts: store, identity, vservers, migrations, and last the interfaces to give commands.
    ///
    /// # Errors
    /// What keeps it from starting, in words for the operator.
    pub async fn start(config: Config) -> anyhow::Result<Node> {
        metrics::install();
        let lock = prepare_data_dir(&config)?;
        let admin_listener = listen(config.admin.listen, "admin.listen").await?;
        let peer_listener = listen(config.peer.listen, "peer.listen").await?;
        let config = with_actual_ports(config, &admin_listener, &peer_listener)?;
        let token = AdminToken::load_or_create(&config.token_path()).context("admin token")?;
        let identity =
            peers::load_or_create_identity(&config.data_dir, &config.cluster.name).context("identity")?;
        let store = Store::open(&config.data_dir.join("config.redb"))?;
        let serve = serve_clients(&config.nfs);
        let cluster = Cluster::new(config, store, identity, serve, smb2::clients);
        cluster.start().await?;
        let host = Arc::new(Host::new(Arc::clone(&cluster)));
        let ports = Ports {
            journal: Arc::clone(&host) as _,
            source: Arc::clone(&host) as _,
            destination: host,
            peers: Arc::clone(&cluster) as _,
        };
        let migrator = Migrator::new(ports, failpoints()?);
        migrator.resume_all().await.context("migrations")?;
        let stopping = CancellationToken::new();
        let peer_links = tokio::spawn(Arc::clone(&migrator).serve(peer_listener, stopping.clone()));
        let clockwork = tokio::spawn(run_checkpoints(Arc::clone(&cluster), stopping.clone()));
        let state = AdminState {
            cluster: Arc::clone(&cluster),
            migrator: Arc::clone(&migrator),
            token,
            stopping: stopping.clone(),
        };
        tracing::info!(
            cluster = cluster.config.cluster.name,
            admin = %cluster.config.admin.listen,
            peers = %cluster.config.peer.listen,
            "ready"
        );
        let address = format!("{}\n", cluster.config.admin.listen);
        peers::write_private(&cluster.config.admin_address_path(), address.as_bytes())?;
        let admin = tokio::spawn(admin::serve(admin_listener, state));
        Ok(Node { cluster, migrator, stopping, admin, clockwork, peer_links, _lock: lock })
    }

    /// Stops: no new commands, no migrations, then the vservers with a last consistency point each.
    pub async fn stop(self) {
        self.stopping.cancel();
        if tokio::time::timeout(ADMIN_PATIENCE, self.admin).await.is_err() {
            tracing::warn!("admin requests did not end in time");
        }
        self.migrator.shutdown().await;
        let _ = self.peer_links.await;
        let _ = self.clockwork.await;
        self.cluster.stop().await;
        tracing::info!("stopped");
    }

    /// The control plane.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }
}

/// What answers on a vserver's endpoints.
fn serve_clients(config: &NfsConfig) -> ServeVserver {
    let limits = Limits {
        connections: config.connections_max,
        client_connections: config.client_connections_max,
        stall: Duration::from_secs(config.stall_timeout_s),
        ..Limits::default()
    };
    let register = config.register_rpcbind;
    Arc::new(move |endpoint, vserver, ports, ending| {
        let endpoint = match endpoint {
            Endpoint::Tcp(listener) if is_on(&listener, ports.smb) => {
                return Box::pin(smb2::serve(listener, vserver, ending));
            }
            other => other,
        };
        let ports = portmap::Ports {
            nfs: ports.nfs,
            mount: ports.mount,
            portmap: ports.portmap,
            nlm: ports.nlm_port(),
            nsm: ports.nsm_port(),
        };
        Box::pin(async move {
            let registering =
                register.then(|| registration(&endpoint, ports, ending.silent.clone())).flatten();
            let serving = async {
                match endpoint {
                    Endpoint::Tcp(listener) => {
                        programs::serve_within(listener, vserver, ports, limits, ending).await;
                    }
                    Endpoint::Udp(socket) => {
                        if let Err(error) =
                            programs::serve_datagrams(socket, vserver, ports, ending.silent).await
                        {
                            tracing::warn!(%error, "a UDP port is not served any more");
                        }
                    }
                }
            };
            tokio::join!(serving, OptionFuture::from(registering));
        })
    })
}

fn is_on(listener: &TcpListener, port: u16) -> bool {
    listener.local_addr().is_ok_and(|address| address.port() == port)
}

/// Has rpcbind told of an endpoint as long as it is served; nothing where its address is not known.
fn registration(
    endpoint: &Endpoint,
    ports: portmap::Ports,
    cancel: CancellationToken,
) -> Option<impl Future<Output = ()> + use<>> {
    let (at, transport) = match endpoint {
        Endpoint::Tcp(listener) => (listener.local_addr(), Transport::Tcp),
        Endpoint::Udp(socket) => (socket.local_addr(), Transport::Udp),
    };
    Some(rpcbind::keep_registered(ports, at.ok()?, transport, cancel))
}

/// Tests make migrations fail at named places; nobody else sets this variable.
fn failpoints() -> anyhow::Result<Failpoints> {
    let Ok(text) = std::env::var("FERRY_FAILPOINT") else { return Ok(Failpoints::off()) };
    tracing::warn!(text, "failpoints are armed");
    Failpoints::parse(&text).map_err(|part| anyhow::anyhow!("FERRY_FAILPOINT: `{part}` makes no sense"))
}

async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {key} = \"{address}\""))
}

/// Port 0 in the file means any free port; from here on the real one is known.
fn with_actual_ports(mut config: Config, admin: &TcpListener, peer: &TcpListener) -> anyhow::Result<Config> {
    config.admin.listen = admin.local_addr()?;
    config.peer.listen = peer.local_addr()?;
    Ok(config)
}

fn prepare_data_dir(config: &Config) -> anyhow::Result<std::fs::File> {
    let make = |path: &Path| {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make {}", path.display()))
    };
    make(&config.data_dir)?;
    make(&config.aggregate_dir())?;
    let path = config.data_dir.join("lock");
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another node is running in {}", config.data_dir.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::HandleKey;
    use crate::store::LifPorts;
    use crate::vserver::Vserver;
    use tokio::net::UdpSocket;

    #[tokio::test]
    async fn portmap_and_mount_answer_datagrams_and_nfs_does_not() {
        let socket = UdpSocket::bind("127.91.3.10:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let vserver = Vserver::new("vs", uuid::Uuid::nil(), HandleKey::from_bytes([0; 16]), [0; 8]);
        let ports = LifPorts { nfs: 2049, mount: 20048, portmap: address.port(), ..LifPorts::default() };
        let cancel = CancellationToken::new();
        let serving = tokio::spawn(serve_clients(&NfsConfig::default())(
            Endpoint::Udp(socket),
            vserver,
            ports,
            cancel.clone().into(),
        ));
        let client = UdpSocket::bind("127.91.3.10:0").await.unwrap();
        client.connect(address).await.unwrap();
        let ask = async |program: u32, version: u32, procedure: u32, args: &[u32]| {
            let header = [7, 0, 2, program, version, procedure, 0, 0, 0, 0];
            let question: Vec<u8> = header.iter().chain(args).flat_map(|word| word.to_be_bytes()).collect();
            client.send(&question).await.unwrap();
            let mut answer = [0; 256];
            let patience = Duration::from_secs(10);
            let len = tokio::time::timeout(patience, client.recv(&mut answer)).await.unwrap().unwrap();
            answer[20..len].to_vec()
        };
        // After the verifier: accept_stat and the results. PMAPPROC_GETPORT of MOUNT 3 over UDP, MOUNTPROC3_NULL.
        let mount_port = 20_048_u32.to_be_bytes();
        assert_eq!(ask(100_000, 2, 3, &[100_005, 3, 17, 0]).await, [&[0; 4][..], &mount_port].concat());
        assert_eq!(ask(100_005, 3, 0, &[]).await, [0; 4]);
        assert_eq!(ask(100_003, 3, 0, &[]).await, [0, 0, 0, 1], "PROG_UNAVAIL");
        cancel.cancel();
        serving.await.unwrap();
    }
}
