//! Logical interfaces of vservers: create, look at, change, delete.

use super::smb_ports::fault_key;
use super::{Cluster, ClusterError, Result, Served, blocking, check_name};
use crate::lif;
use crate::store::{LifPorts, LifRecord, Record, StoreError};
use crate::vserver::parse_client;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a new LIF is to be.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LifSpec {
    /// Name, unique in the vserver.
    pub name: String,
    /// Address, with a prefix length where an interface is to get it: `10.0.0.7/24`, `127.0.0.2`.
    pub address: String,
    /// Network interface that gets the address while the LIF is up. Without it, the host has the address already.
    pub interface: Option<String>,
    /// Ports; what is left out is as in the node's configuration file.
    pub ports: Option<PortsSpec>,
}

/// What to change of a LIF. It goes down and up again.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LifPatch {
    /// New address.
    pub address: Option<String>,
    /// New network interface.
    pub interface: Option<String>,
    /// New ports; what is left out stays.
    pub ports: Option<PortsSpec>,
}

/// Ports of a LIF by name.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortsSpec {
    /// NFS.
    pub nfs: Option<u16>,
    /// MOUNT.
    pub mount: Option<u16>,
    /// Portmapper; 0: none.
    pub portmap: Option<u16>,
    /// Lock manager; 0: the port of NFS.
    pub nlm: Option<u16>,
    /// Status monitor; 0: the port of NFS.
    pub nsm: Option<u16>,
    /// SMB, as long as the vserver has a share; 0: never.
    pub smb: Option<u16>,
}

impl PortsSpec {
    fn over(self, base: LifPorts) -> LifPorts {
        LifPorts {
            nfs: self.nfs.unwrap_or(base.nfs),
            mount: self.mount.unwrap_or(base.mount),
            portmap: self.portmap.unwrap_or(base.portmap),
            nlm: self.nlm.unwrap_or(base.nlm),
            nsm: self.nsm.unwrap_or(base.nsm),
            smb: self.smb.unwrap_or(base.smb),
        }
    }
}

/// Whether a LIF answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LifState {
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// A LIF as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct LifView {
    /// Name.
    pub name: String,
    /// Address and prefix length.
    #[schema(value_type = String)]
    pub address: ipnet::IpNet,
    /// Network interface that gets the address.
    pub interface: Option<String>,
    /// Node that it is up on when nothing is broken.
    pub home: String,
    /// Where it listens.
    pub ports: LifPorts,
    /// Whether it answers.
    pub state: LifState,
    /// Why not, if that is not as it should be.
    pub fault: Option<String>,
}

impl Cluster {
    /// Makes a LIF and, if the vserver is served, brings it up.
    ///
    /// # Errors
    /// A bad or taken name or address, a port that can't be had.
    pub async fn create_lif(self: &Arc<Self>, vserver: &str, spec: LifSpec) -> Result<LifView> {
        check_name("LIF", &spec.name)?;
        let ports = spec.ports.unwrap_or_default().over(LifPorts {
            nfs: self.config.nfs.port,
            mount: self.config.nfs.mount_port,
            portmap: self.config.nfs.portmap_port,
            nlm: self.config.nfs.nlm_port,
            nsm: self.config.nfs.nsm_port,
            smb: self.config.smb.port,
        });
        let record = LifRecord {
            vserver: vserver.to_owned(),
            name: spec.name,
            address: address(&spec.address)?,
            interface: spec.interface,
            home: self.config.cluster.node.clone(),
            ports,
        };
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        if self.store.get::<LifRecord>(&record.key())?.is_some() {
            return Err(ClusterError::exists("LIF", &record.name));
        }
        self.put_up(record).await
    }

    /// Checks `record`, brings it up, and only then makes it durable: a LIF that can't be had is not kept.
    async fn put_up(self: &Arc<Self>, record: LifRecord) -> Result<LifView> {
        self.check_lif(&record)?;
        let served = self.served(&record.vserver);
        let up = match &served {
            Some(served) => Some(lif::up(&record, &self.serve_for(&served.vserver, record.ports)).await?),
            None => None,
        };
        let (this, stored) = (Arc::clone(self), record.clone());
        let saved = blocking(move || Ok(this.store.update(|tx| tx.put(&stored))?)).await;
        if let Err(error) = saved {
            if let Some(up) = up {
                up.down().await;
            }
            return Err(error);
        }
        if let (Some(served), Some(up)) = (&served, up) {
            served.lifs.lock().insert(record.name.clone(), up);
            served.set_fault(format!("lif {}", record.name), None);
            self.smb_ports(served).await?;
        }
        Ok(view(&record, served.as_deref()))
    }

    /// Refuses a LIF whose address and ports another one has. SMB's are not compared: it may never come to listen there.
    pub(crate) fn check_lif(&self, new: &LifRecord) -> Result<()> {
        let used = |ports: LifPorts| [ports.nfs, ports.mount, ports.portmap];
        if new.ports.nfs == 0 || new.ports.mount == 0 {
            return Err(ClusterError::Invalid(
                "a LIF needs an NFS port and a MOUNT port; only portmap may be 0".into(),
            ));
        }
        if new.ports.smb != 0
            && (new.ports.tcp().contains(&new.ports.smb) || new.ports.udp().contains(&new.ports.smb))
        {
            return Err(ClusterError::Invalid(format!(
                "port {} can't be that of SMB and another one's; choose one with --smb-port, or 0 for none",
                new.ports.smb
            )));
        }
        for other in self.store.list::<LifRecord>("")? {
            let shared =
                used(new.ports).into_iter().find(|port| *port != 0 && used(other.ports).contains(port));
            if let Some(port) = shared
                && other.key() != new.key()
                && other.address.addr() == new.address.addr()
            {
                return Err(ClusterError::Conflict(format!(
                    "LIF `{}` of vserver `{}` has {} port {port} already",
                    other.name,
                    other.vserver,
                    other.address.addr()
                )));
            }
        }
        Ok(())
    }

    fn lif_record(&self, vserver: &str, name: &str) -> Result<LifRecord> {
        self.record(vserver)?;
        self.store.get(&format!("{vserver}/{name}"))?.ok_or_else(|| ClusterError::not_found("LIF", name))
    }

    /// One LIF.
    ///
    /// # Errors
    /// Unknown names.
    pub fn lif(&self, vserver: &str, name: &str) -> Result<LifView> {
        Ok(view(&self.lif_record(vserver, name)?, self.served(vserver).as_deref()))
    }

    /// All LIFs of a vserver.
    ///
    /// # Errors
    /// An unknown vserver.
    pub fn lifs(&self, vserver: &str) -> Result<Vec<LifView>> {
        self.record(vserver)?;
        let served = self.served(vserver);
        let records = self.store.list::<LifRecord>(&format!("{vserver}/"))?;
        Ok(records.iter().map(|record| view(record, served.as_deref())).collect())
    }

    /// Changes a LIF; its connections are dropped.
    ///
    /// # Errors
    /// As for a new one; then the LIF is up again as it was, if that is still possible.
    pub async fn modify_lif(self: &Arc<Self>, vserver: &str, name: &str, patch: LifPatch) -> Result<LifView> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let old = self.lif_record(vserver, name)?;
        let mut new = old.clone();
        if let Some(text) = &patch.address {
            new.address = address(text)?;
        }
        new.interface = patch.interface.or(new.interface);
        new.ports = patch.ports.unwrap_or_default().over(new.ports);
        self.check_lif(&new)?;
        self.lif_down(vserver, name).await;
        match self.put_up(new).await {
            Ok(view) => Ok(view),
            Err(error) => {
                if let Err(again) = self.put_up(old).await {
                    tracing::error!(vserver, lif = name, error = %again, "a LIF that was not changed does not come back");
                }
                Err(error)
            }
        }
    }

    async fn lif_down(&self, vserver: &str, name: &str) {
        if let Some(served) = self.served(vserver) {
            let up = served.lifs.lock().remove(name);
            if let Some(up) = up {
                up.down().await;
            }
        }
    }

    /// Takes a LIF down and forgets it.
    ///
    /// # Errors
    /// Unknown names.
    pub async fn delete_lif(self: &Arc<Self>, vserver: &str, name: &str) -> Result<()> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let record = self.lif_record(vserver, name)?;
        self.lif_down(vserver, name).await;
        if let Some(served) = self.served(vserver) {
            served.set_fault(format!("lif {name}"), None);
            served.set_fault(fault_key(name), None);
        }
        let this = Arc::clone(self);
        blocking(move || {
            this.store.update(|tx| {
                tx.delete::<LifRecord>(&record.key());
                Ok::<(), StoreError>(())
            })?;
            Ok(())
        })
        .await
    }
}

fn address(text: &str) -> Result<ipnet::IpNet> {
    let net = parse_client(text).ok_or_else(|| {
        ClusterError::Invalid(format!("`{text}` is no address; write it like 127.0.0.2 or 10.0.0.7/24"))
    })?;
    if net.addr().is_unspecified() || net.addr().is_multicast() {
        return Err(ClusterError::Invalid(format!("`{text}` can't be the address of a LIF")));
    }
    Ok(net)
}

fn view(record: &LifRecord, served: Option<&Served>) -> LifView {
    let up = served.is_some_and(|served| served.lifs.lock().contains_key(&record.name));
    LifView {
        name: record.name.clone(),
        address: record.address,
        interface: record.interface.clone(),
        home: record.home.clone(),
        ports: record.ports,
        state: if up { LifState::Up } else { LifState::Down },
        fault: served.and_then(|served| {
            let mut faults = served.faults();
            let of_lif = faults.remove(&format!("lif {}", record.name));
            of_lif.or_else(|| faults.remove(&fault_key(&record.name)).map(|fault| format!("no SMB: {fault}")))
        }),
    }
}
