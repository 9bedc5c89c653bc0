//! The SMB ports of LIFs: they are listened on as long as the vserver has a share.
//!
//! So a node without shares needs no privilege for port 445. A port that can't be had keeps no LIF down: it is a fault,
//! and the clockwork tries again.

use super::{Cluster, Result, Served};
use crate::lif::{self, LifUp};
use crate::store::LifRecord;
use std::net::SocketAddr;
use std::sync::Arc;

pub(super) fn fault_key(lif: &str) -> String {
    format!("smb port of lif {lif}")
}

impl Cluster {
    /// Opens or closes the SMB ports of a vserver's LIFs. The caller holds the vserver's lock.
    pub(super) async fn smb_ports(&self, served: &Arc<Served>) -> Result<()> {
        let has_shares = served.vserver.shares().iter().next().is_some();
        for record in self.store.list::<LifRecord>(&format!("{}/", served.vserver.name))? {
            let wanted = has_shares && record.ports.smb != 0;
            let open = served.lifs.lock().get(&record.name).map(LifUp::serves_smb);
            match (wanted, open) {
                (true, Some(false)) => self.open_smb_port(served, &record),
                (false, Some(true)) => {
                    let closing = served.lifs.lock().get_mut(&record.name).and_then(LifUp::take_smb);
                    if let Some(server) = closing {
                        server.end().await;
                    }
                }
                (false, _) => served.set_fault(fault_key(&record.name), None),
                (true, _) => {}
            }
        }
        Ok(())
    }

    fn open_smb_port(&self, served: &Arc<Served>, record: &LifRecord) {
        let address = SocketAddr::new(record.address.addr(), record.ports.smb);
        let listener = lif::listen(address);
        let fault = listener.as_ref().err().map(ToString::to_string);
        if let Some(error) = &fault
            && !served.faults().contains_key(&fault_key(&record.name))
        {
            tracing::error!(vserver = record.vserver, lif = record.name, error, "no SMB on this LIF");
        }
        served.set_fault(fault_key(&record.name), fault);
        if let (Ok(listener), Some(up)) = (listener, served.lifs.lock().get_mut(&record.name)) {
            up.serve_smb(listener, &self.serve_for(&served.vserver, record.ports));
        }
    }
}
