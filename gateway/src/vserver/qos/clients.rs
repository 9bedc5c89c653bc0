//! The limits of single clients, and whose turn it is before those of the vserver: a bounded table by address.

use super::limit::Limit;
use super::{CELL_BYTES, Limits};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Mutex as Turn;

/// Most clients with a limit of their own. Beyond, if so many have calls under way, the others share one.
const CLIENTS_MAX: usize = 4096;

/// What one client has used.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) ops: Limit,
    pub(super) bytes: Limit,
    /// Only one call of a client at a time is in the vserver's own lines: so clients take turns there, however many
    /// calls one of them sends.
    pub(super) turn: Turn<()>,
}

#[derive(Debug, Default)]
struct Table {
    limits: Limits,
    clients: HashMap<IpAddr, Arc<Client>>,
    others: Option<Arc<Client>>,
}

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<Table>);

impl Client {
    fn new(limits: &Limits) -> Arc<Self> {
        let client = Client { ops: Limit::new(1), bytes: Limit::new(CELL_BYTES), turn: Turn::default() };
        client.set(limits);
        Arc::new(client)
    }

    fn set(&self, limits: &Limits) {
        self.ops.set(limits.client_ops_per_s);
        self.bytes.set(limits.client_bytes_per_s);
    }
}

impl Clients {
    /// Changes what every client may use, also of those that wait.
    pub(super) fn set(&self, limits: &Limits) {
        let mut table = self.0.lock();
        table.limits = *limits;
        for client in table.clients.values().chain(&table.others) {
            client.set(limits);
        }
    }

    /// The client with this address.
    pub(super) fn of(&self, address: IpAddr) -> Arc<Client> {
        let mut table = self.0.lock();
        if let Some(client) = table.clients.get(&address) {
            return Arc::clone(client);
        }
        if table.clients.len() >= CLIENTS_MAX {
            // Those without a call under way lose no more than a burst of 10 ms.
            table.clients.retain(|_, client| Arc::strong_count(client) > 1);
        }
        let limits = table.limits;
        if table.clients.len() >= CLIENTS_MAX {
            return Arc::clone(table.others.get_or_insert_with(|| Client::new(&limits)));
        }
        Arc::clone(table.clients.entry(address).or_insert_with(|| Client::new(&limits)))
    }

    /// How many are in the table.
    pub(super) fn len(&self) -> usize {
        self.0.lock().clients.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_and_forgets_only_idle_clients() {
        let clients = Clients::default();
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        let busy = clients.of(address(0));
        for n in 0..3 * CLIENTS_MAX {
            clients.of(address(n));
            assert!(clients.len() <= CLIENTS_MAX);
        }
        assert!(Arc::ptr_eq(&busy, &clients.of(address(0))));
        let all: Vec<_> = (0..CLIENTS_MAX).map(|n| clients.of(address(n))).collect();
        let one_more = clients.of(address(CLIENTS_MAX + 1));
        assert!(Arc::ptr_eq(&one_more, &clients.of(address(CLIENTS_MAX + 2))), "the others share one");
        drop(all);
        assert!(!Arc::ptr_eq(&one_more, &clients.of(address(CLIENTS_MAX + 2))));
    }
}
