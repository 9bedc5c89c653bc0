//! The configuration file of a node: its keys, defaults and checks. It opens nothing and starts nothing.

use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

/// Why a configuration can't be used, in words that say what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// The whole file. Unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Directory of volumes, configuration store and secrets. Made if it is missing.
    pub data_dir: PathBuf,
    /// What to log, e.g. `info` or `info,gateway=debug`.
    #[serde(default = "default_log")]
    pub log: String,
    /// Who this is.
    pub cluster: ClusterConfig,
    /// The admin REST server.
    #[serde(default)]
    pub admin: AdminConfig,
    /// The listener for other clusters.
    #[serde(default)]
    pub peer: PeerConfig,
    /// Ports that new LIFs get.
    #[serde(default)]
    pub nfs: NfsConfig,
    /// SMB of new LIFs.
    #[serde(default)]
    pub smb: SmbConfig,
    /// Memory and clockwork of the volumes.
    #[serde(default)]
    pub volumes: VolumesConfig,
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// Name of the cluster; peers know it by this.
    pub name: String,
    /// Name of this node.
    #[serde(default = "default_node")]
    pub node: String,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where REST is served: a loopback address, because it has no TLS yet.
    pub listen: SocketAddr,
}

/// `[peer]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerConfig {
    /// Where other clusters reach this one (mutual TLS).
    pub listen: SocketAddr,
}

/// `[nfs]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NfsConfig {
    /// Port of NFS on new LIFs.
    pub port: u16,
    /// Port of MOUNT on new LIFs; may be that of NFS.
    pub mount_port: u16,
    /// Port of the portmapper on new LIFs; 0: none. Ports below 1024 need privileges.
    pub portmap_port: u16,
    /// Tell the rpcbind of this host where programs are, instead of a portmapper on each LIF. It knows one address of a
    /// program: that of the LIF that was first.
    pub register_rpcbind: bool,
    /// File with the netgroups of export rules, as netgroup(5) says; read again when it changes.
    pub netgroup_file: Option<PathBuf>,
    /// Most connections to one port of a LIF.
    pub connections_max: usize,
    /// Most of them from one client address.
    pub client_connections_max: usize,
    /// Seconds after which a connection is closed that says nothing before its first call, stops in the middle of one, or
    /// takes no reply.
    pub stall_timeout_s: u64,
    /// Port of the lock manager (NLM) on new LIFs; 0: that of NFS. Clients find it by the portmapper.
    pub nlm_port: u16,
    /// Port of the status monitor (NSM) on new LIFs; 0: that of NFS. Clients find it by the portmapper.
    pub nsm_port: u16,
    /// Seconds after a start for which only clients that had locks may lock, where locks were lost.
    pub grace_period_s: u64,
}

/// `[smb]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmbConfig {
    /// Port of SMB on new LIFs, which is listened on as long as the vserver has a share; 0: never. Ports below 1024
    /// need privileges.
    pub port: u16,
}

/// `[volumes]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VolumesConfig {
    /// Most MiB of memory that all volumes together use for blocks, inodes and changes; absent: a quarter of the machine's, or of
    /// the control group's limit, from 128 MiB to 8 GiB.
    pub memory_mib: Option<u64>,
    /// Seconds between consistency points of a volume that changes.
    pub checkpoint_interval_s: u64,
    /// MiB per second that the background scrub reads, over all volumes; 0: none.
    pub scrub_mib_per_s: u64,
    /// Hours between the end of a scrub of a volume and the next.
    pub scrub_interval_h: u64,
}

fn default_log() -> String {
    "info".to_owned()
}

fn default_node() -> String {
    "node-1".to_owned()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

impl Default for AdminConfig {
    fn default() -> Self {
        AdminConfig { listen: loopback(7680) }
    }
}

impl Default for PeerConfig {
    fn default() -> Self {
        PeerConfig { listen: loopback(7681) }
    }
}

impl Default for NfsConfig {
    fn default() -> Self {
        NfsConfig {
            port: 2049,
            mount_port: 20_048,
            portmap_port: 111,
            register_rpcbind: false,
            netgroup_file: None,
            connections_max: 1024,
            client_connections_max: 256,
            stall_timeout_s: 60,
            nlm_port: 0,
            nsm_port: 0,
            grace_period_s: 90,
        }
    }
}

impl Default for SmbConfig {
    fn default() -> Self {
        SmbConfig { port: 445 }
    }
}

impl Default for VolumesConfig {
    fn default() -> Self {
        VolumesConfig {
            memory_mib: None,
            checkpoint_interval_s: 10,
            scrub_mib_per_s: 4,
            scrub_interval_h: 168,
        }
    }
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// [`ConfigError`], naming the file and, for a syntax error or an unknown key, the line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))
    }

    /// Reads and checks the text of a configuration file.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|error| ConfigError(error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: String| Err(ConfigError(text));
        for (key, name) in [("cluster.name", &self.cluster.name), ("cluster.node", &self.cluster.node)] {
            if !is_name(name) {
                return refuse(format!("{key} = {name:?}: {NAME_RULE}"));
            }
        }
        if !self.admin.listen.ip().is_loopback() {
            return refuse(format!(
                "admin.listen = \"{}\": must be a loopback address such as 127.0.0.1, because the admin interface has \
                 no TLS yet; reach it from elsewhere through an SSH tunnel",
                self.admin.listen
            ));
        }
        if self.admin.listen == self.peer.listen && self.admin.listen.port() != 0 {
            return refuse(format!("admin.listen and peer.listen are both {}", self.admin.listen));
        }
        if self.nfs.port == 0 || self.nfs.mount_port == 0 {
            return refuse(
                "nfs.port and nfs.mount_port must not be 0; only nfs.portmap_port may be".to_owned(),
            );
        }
        if self.nfs.register_rpcbind && self.nfs.portmap_port != 0 {
            return refuse(
                "nfs.register_rpcbind wants nfs.portmap_port = 0: rpcbind has that port on every address"
                    .to_owned(),
            );
        }
        let of_nfs =
            [self.nfs.port, self.nfs.mount_port, self.nfs.portmap_port, self.nfs.nlm_port, self.nfs.nsm_port];
        if self.smb.port != 0 && of_nfs.contains(&self.smb.port) {
            return refuse(format!("smb.port = {} is a port of [nfs] already", self.smb.port));
        }
        if self.nfs.connections_max == 0 || self.nfs.client_connections_max == 0 {
            return refuse(
                "nfs.connections_max and nfs.client_connections_max must be at least 1".to_owned(),
            );
        }
        if !(5..=3600).contains(&self.nfs.stall_timeout_s) {
            return refuse("nfs.stall_timeout_s must be 5 to 3600".to_owned());
        }
        if !(1..=3600).contains(&self.nfs.grace_period_s) {
            return refuse("nfs.grace_period_s must be 1 to 3600".to_owned());
        }
        if self.volumes.checkpoint_interval_s == 0 {
            return refuse("volumes.checkpoint_interval_s must be at least 1".to_owned());
        }
        if self.volumes.memory_mib.is_some_and(|mib| !(16..=1 << 24).contains(&mib)) {
            return refuse("volumes.memory_mib must be 16 to 16777216, or left out".to_owned());
        }
        if self.volumes.scrub_mib_per_s > 1 << 20 {
            return refuse("volumes.scrub_mib_per_s must be at most 1048576".to_owned());
        }
        Ok(())
    }

    /// Where volumes live.
    pub fn aggregate_dir(&self) -> PathBuf {
        self.data_dir.join("aggr")
    }

    /// The file in which a running node notes where its admin interface is (the configuration may say port 0).
    pub fn admin_address_path(&self) -> PathBuf {
        self.data_dir.join("admin.address")
    }

    /// The file with the admin interface's bearer token.
    pub fn token_path(&self) -> PathBuf {
        self.data_dir.join("admin.token")
    }
}

/// What [`is_name`] wants, for error messages.
pub const NAME_RULE: &str =
    "a name is 1 to 63 letters, digits, `-`, `_` or `.`, and begins with a letter or digit";

/// Whether `name` may name a cluster, node, vserver, volume, LIF or policy.
pub fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "data_dir = \"/tmp/x\"\n[cluster]\nname = \"alpha\"\n";

    #[test]
    fn the_smallest_file_has_defaults() {
        let config = Config::parse(SMALLEST).unwrap();
        assert_eq!(config.admin.listen, "127.0.0.1:7680".parse().unwrap());
        assert_eq!((config.nfs.port, config.nfs.mount_port, config.nfs.portmap_port), (2049, 20_048, 111));
        assert_eq!((config.cluster.node.as_str(), config.log.as_str()), ("node-1", "info"));
    }

    #[test]
    fn the_example_file_is_valid() {
        Config::parse(include_str!("../../ferry.example.toml")).unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |extra: &str| Config::parse(&format!("{SMALLEST}{extra}")).unwrap_err().to_string();
        assert!(refused("nmae = 1\n").contains("unknown field `nmae`"));
        assert!(refused("[nfs]\nprot = 1\n").contains("unknown field `prot`"));
        assert!(refused("[admin]\nlisten = \"0.0.0.0:7680\"\n").contains("must be a loopback address"));
        assert!(refused("[nfs]\nport = 0\n").contains("must not be 0"));
        assert!(refused("[nfs]\nregister_rpcbind = true\n").contains("portmap_port = 0"));
        assert!(refused("[nfs]\nstall_timeout_s = 0\n").contains("5 to 3600"));
        assert!(refused("[nfs]\nclient_connections_max = 0\n").contains("at least 1"));
        assert!(refused("[nfs]\ngrace_period_s = 0\n").contains("must be 1 to 3600"));
        assert!(refused("[smb]\nport = 2049\n").contains("of [nfs] already"));
        assert!(refused("[volumes]\nmemory_mib = 1\n").contains("must be 16"));
        assert!(refused("[peer]\nlisten = \"127.0.0.1:7680\"\n").contains("are both"));
        assert!(Config::parse("[cluster]\nname = \"a\"\n").unwrap_err().to_string().contains("data_dir"));
        let bad_name =
            Config::parse("data_dir = \"/x\"\n[cluster]\nname = \"a b\"\n").unwrap_err().to_string();
        assert!(bad_name.contains("cluster.name"), "{bad_name}");
    }

    #[test]
    fn portmap_can_be_left_out() {
        assert!(Config::parse(&format!("{SMALLEST}[nfs]\nportmap_port = 0\n")).is_ok());
    }

    #[test]
    fn names_are_safe_words() {
        for good in ["a", "vs1", "Data-2.x_y"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".hidden", "-x", "a/b", "a b", "ä", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
