//! LIFs on real interfaces: the kernel's address, what neighbours hear of it, and its end.
//!
//! Needs root, `ip` and util-linux. All of it happens in two network namespaces joined by a veth pair. They have no
//! names: each lives as long as a process of this test, so nothing is left whatever happens. The first holds
//! this test's own binary, run again as the node; the second holds `cat`, which ends with its pipe.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use gateway::lif::{self, Endpoint, LifUp, Serve};
use gateway::net::limits::Limits;
use gateway::rpc::call::Call;
use gateway::rpc::server::{self, Outcome, Request, Service};
use gateway::store::{LifPorts, LifRecord};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Which process of the test this is.
const ROLE: &str = "FERRY_TEST_LIF_ROLE";
/// For a client: where the LIF is, and the file that says that it is connected.
const ADDRESS: &str = "FERRY_TEST_LIF_ADDRESS";
const CONNECTED: &str = "FERRY_TEST_LIF_CONNECTED";
const IPV4: &str = "10.91.3.7";
const IPV6: &str = "fd91:3::7";
const PORT: u16 = 2049;
/// Who had the address before.
const STALE_MAC: &str = "02:00:00:00:00:01";
/// Within this, a neighbour must have heard the first announcements.
const HEARD_MS_MAX: u64 = 900;
/// Longer than announcements go on.
const ALL_ANNOUNCED: Duration = Duration::from_millis(1300);
/// An address in duplicate address detection could not be bound for longer than this.
const UP_MS_MAX: u128 = 700;
/// For the whole of the inner test.
const PATIENCE_S: &str = "60";
const GREETING: &[u8] = b"served\n";

#[test]
fn a_lif_on_a_real_interface_is_announced_reachable_and_removed() {
    match std::env::var(ROLE).as_deref() {
        Ok("node") => return node(),
        Ok("client") => return client(),
        Ok("holder") => return holder(),
        _ => {}
    }
    if let Some(missing) = missing() {
        eprintln!("skipped: {missing}");
        return;
    }
    let mut inside = Command::new("unshare");
    inside.args(["--net", "timeout", "--kill-after=1", PATIENCE_S]);
    let output = again(inside, "node").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// Why this can't be tested here. In CI a missing tool is a failure.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    for (tool, package) in [
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
        ("timeout", "coreutils"),
        ("ss", "iproute2"),
    ] {
        if Command::new(tool).arg("--version").output().is_err()
            && Command::new(tool).arg("-V").output().is_err()
        {
            let missing = format!("needs {tool} (package {package})");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
            return Some(missing);
        }
    }
    // Root of a container may be root in name only.
    let allowed =
        Command::new("unshare").args(["--net", "ip", "link", "add", "type", "veth"]).output().unwrap();
    (!allowed.status.success()).then(|| format!("needs root that may make networks: {}", text(&allowed)))
}

/// `command`, then this binary with this one test in another role.
fn again(mut command: Command, role: &str) -> Command {
    command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_lif_on_a_real_interface_is_announced_reachable_and_removed", "--nocapture"])
        .env(ROLE, role);
    command
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].concat().iter().map(|byte| char::from(*byte)).collect()
}

/// Runs a command line and gives its output.
fn run(mut command: Command, arguments: &str) -> String {
    let output = command.args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", text(&output));
    text(&output)
}

fn ip(arguments: &str) -> String {
    run(Command::new("ip"), arguments)
}

/// The other end of the wire: another network namespace.
struct Neighbour {
    holder: Child,
}

impl Neighbour {
    /// Makes the namespace and a veth pair: `here` on this side, `there` on the other.
    fn joined() -> Neighbour {
        let mut holder = Command::new("unshare");
        let holder =
            holder.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut neighbour = Neighbour { holder };
        // `cat` answers: from then on the namespace is made.
        neighbour.holder.stdin.as_mut().unwrap().write_all(b"?").unwrap();
        neighbour.holder.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        ip(&format!("link add here type veth peer name there netns {}", neighbour.holder.id()));
        ip("link set here up");
        neighbour.ip("link set there up");
        neighbour.ip("address add 10.91.3.1/24 dev there");
        neighbour.ip("address add fd91:3::1/64 dev there nodad");
        neighbour
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net"]);
        command
    }

    fn ip(&self, arguments: &str) -> String {
        run(self.enter(), &format!("ip {arguments}"))
    }

    /// Lets it believe that somebody else has the address.
    fn misled(&self, address: &str) {
        self.ip(&format!("neighbour replace {address} lladdr {STALE_MAC} dev there nud stale"));
    }

    fn believes(&self, address: &str) -> String {
        self.ip(&format!("neighbour show {address} dev there"))
    }

    /// Opens a TCP connection from there and reads the greeting.
    fn connect(&self, address: &str) {
        let mut command = self.enter();
        command.args(["timeout", "10"]);
        let output = again(command, "client").env(ADDRESS, address).output().unwrap();
        assert!(output.status.success(), "no connection: {}", text(&output));
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Where the client is told to connect to.
fn addressed() -> SocketAddr {
    format!("{}:{PORT}", std::env::var(ADDRESS).unwrap()).parse().unwrap()
}

/// Runs in the neighbour's namespace.
fn client() {
    let mut stream = TcpStream::connect_timeout(&addressed(), Duration::from_secs(5)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut greeting = Vec::new();
    stream.read_to_end(&mut greeting).unwrap();
    assert_eq!(greeting, GREETING);
}

/// Runs in the neighbour's namespace: has a connection until the node ends it.
fn holder() {
    let mut stream = TcpStream::connect_timeout(&addressed(), Duration::from_secs(5)).unwrap();
    std::fs::write(std::env::var(CONNECTED).unwrap(), "").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "an end in good order");
}

/// Runs in the node's namespace.
fn node() {
    // A namespace of its own has no link but a loopback that is down; in any other, nothing may be touched.
    assert_eq!(ip("-oneline link show").lines().count(), 1, "not in a namespace of its own");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let neighbour = Neighbour::joined();
    let link = ip("-oneline link show dev here");
    let mac = link.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap().to_owned();
    assert!(mac != STALE_MAC);
    for (address, prefix, uri) in [(IPV4, 24, IPV4.to_owned()), (IPV6, 64, format!("[{IPV6}]"))] {
        let record = record(address, prefix);
        announced_reachable_removed(&runtime, &neighbour, &record, &mac, &uri);
        silent_once_down(&runtime, &neighbour, &record);
    }
    clients_learn_of_a_move_when_it_is_over(&runtime, &neighbour);
    no_such_interface(&runtime);
}

/// A client that learns of its connection's end too early finds nobody at the address, and waits for a second.
fn clients_learn_of_a_move_when_it_is_over(runtime: &tokio::runtime::Runtime, neighbour: &Neighbour) {
    // Without an address of its own a node could not reach clients any more.
    ip("address add 10.91.3.2/24 dev here");
    let record = record(IPV4, 24);
    let serve: Serve = Arc::new(|endpoint, ending| {
        Box::pin(async move {
            let Endpoint::Tcp(listener) = endpoint else { return };
            server::serve(listener, Arc::new(Nothing), Limits::default(), ending).await;
        })
    });
    let up = runtime.block_on(lif::up(&record, &serve)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let connected = dir.path().join("connected");
    let mut command = neighbour.enter();
    command.args(["timeout", "20"]);
    let mut client = again(command, "holder").env(ADDRESS, IPV4).env(CONNECTED, &connected).spawn().unwrap();
    while !connected.exists() {
        assert!(client.try_wait().unwrap().is_none(), "no connection");
        std::thread::sleep(Duration::from_millis(10));
    }
    let over = runtime.block_on(up.hand_over());
    assert_eq!(ip(&format!("-oneline address show dev here to {IPV4}")), "");
    std::thread::sleep(Duration::from_millis(300));
    assert!(client.try_wait().unwrap().is_none(), "it was told before the move was over");
    over.cancel();
    assert!(client.wait().unwrap().success());
    // Nothing may stay that would answer for the client's next connection, should the address come back.
    std::thread::sleep(Duration::from_millis(500));
    let left =
        run(Command::new("ss"), &format!("--no-header --tcp state connected exclude time-wait src {IPV4}"));
    assert_eq!(left, "");
}

/// Answers nobody.
struct Nothing;

impl Service for Nothing {
    fn reply_len_max(&self, _: &Call, _: &Bytes) -> usize {
        0
    }
    async fn run(&self, _: Request) -> Outcome {
        Outcome::Drop
    }
}

fn announced_reachable_removed(
    runtime: &tokio::runtime::Runtime,
    neighbour: &Neighbour,
    record: &LifRecord,
    mac: &str,
    uri: &str,
) {
    let address = record.address.addr().to_string();
    neighbour.misled(&address);
    assert!(neighbour.believes(&address).contains(STALE_MAC), "{}", neighbour.believes(&address));
    let before = Instant::now();
    let up = up(runtime, record);
    assert!(before.elapsed().as_millis() < UP_MS_MAX, "up after {:?}", before.elapsed());
    let shown = ip(&format!("-oneline address show dev here to {address}"));
    assert!(shown.contains(&record.address.to_string()) && !shown.contains("tentative"), "{shown}");
    // Nobody has sent anything from or to the address so far, but the announcement.
    let heard = || neighbour.believes(&address).contains(mac);
    while !heard() {
        let late = before.elapsed() > Duration::from_millis(HEARD_MS_MAX);
        assert!(!late, "{address} was not announced: {}", neighbour.believes(&address));
        std::thread::sleep(Duration::from_millis(10));
    }
    neighbour.connect(uri);
    runtime.block_on(up.down());
    assert_eq!(ip(&format!("-oneline address show dev here to {address}")), "");
}

/// By the time it is down, another node may have announced the address: this one must not take it back.
fn silent_once_down(runtime: &tokio::runtime::Runtime, neighbour: &Neighbour, record: &LifRecord) {
    let address = record.address.addr().to_string();
    let up = up(runtime, record);
    runtime.block_on(up.down());
    neighbour.misled(&address);
    std::thread::sleep(ALL_ANNOUNCED);
    assert!(neighbour.believes(&address).contains(STALE_MAC), "{}", neighbour.believes(&address));
}

fn no_such_interface(runtime: &tokio::runtime::Runtime) {
    let mut record = record(IPV4, 24);
    record.interface = Some("nowhere".to_owned());
    let error = runtime.block_on(lif::up(&record, &greeter())).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

fn record(address: &str, prefix: u8) -> LifRecord {
    LifRecord {
        vserver: "vs".to_owned(),
        name: "lif1".to_owned(),
        address: gateway::vserver::parse_client(&format!("{address}/{prefix}")).unwrap(),
        interface: Some("here".to_owned()),
        home: "n".to_owned(),
        ports: LifPorts { nfs: PORT, mount: PORT, portmap: 0, ..LifPorts::default() },
    }
}

fn up(runtime: &tokio::runtime::Runtime, record: &LifRecord) -> LifUp {
    runtime.block_on(lif::up(record, &greeter())).unwrap()
}

/// Greets whoever connects, and hangs up.
fn greeter() -> Serve {
    Arc::new(|endpoint, ending| {
        Box::pin(async move {
            let Endpoint::Tcp(listener) = endpoint else { return };
            loop {
                tokio::select! {
                    () = ending.silent.cancelled() => return,
                    accepted = listener.accept() => {
                        if let Ok((mut stream, _)) = accepted {
                            let _ = stream.write_all(GREETING).await;
                        }
                    }
                }
            }
        })
    })
}
