//! The clients that must be told when their locks are lost: known durably before their first lock is given, forgotten
//! when they have had none for a while. How they are told is the protocol's business, how the list is kept the
//! journal's.

use super::owner::{Client, Protocol};
use crate::xdr::{Decoder, Encoder, Xdr, XdrError};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Most clients that are watched.
const WATCHED_MAX: usize = 16_384;
/// A client that has had no locks for so long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Most bytes of a name.
const NAME_MAX: usize = 255;

/// A client to be told, and the address of the vserver that it knows.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WatchedClient {
    /// Its address.
    pub client: IpAddr,
    /// The vserver's address that it took its locks at.
    pub local: IpAddr,
    /// What it calls itself.
    pub name: Box<[u8]>,
}

impl WatchedClient {
    fn is(&self, client: &Client) -> bool {
        client.protocol == Protocol::Nlm && client.address == self.client && client.name == self.name
    }
}

fn put_address(out: &mut Encoder, address: IpAddr) {
    let v6 = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    out.array(&v6.octets());
}

fn take_address(input: &mut Decoder) -> Result<IpAddr, XdrError> {
    Ok(IpAddr::V6(Ipv6Addr::from(input.array::<16>()?)).to_canonical())
}

impl Xdr for WatchedClient {
    fn encode(&self, out: &mut Encoder) {
        put_address(out, self.client);
        put_address(out, self.local);
        out.opaque(&self.name);
    }

    fn decode(input: &mut Decoder) -> Result<Self, XdrError> {
        let (client, local) = (take_address(input)?, take_address(input)?);
        Ok(WatchedClient { client, local, name: input.opaque(NAME_MAX)?.as_ref().into() })
    }
}

/// What a journal does.
pub type WatchFuture<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Keeps the list durably.
pub trait WatchJournal: Send + Sync {
    /// Durable when it is done.
    fn add(&self, client: WatchedClient) -> WatchFuture<'_>;
    /// Forgets some.
    fn remove(&self, clients: Vec<WatchedClient>) -> WatchFuture<'_>;
}

/// A client can't be watched, so it must get no locks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot note that {client} has locks: {why}")]
pub struct WatchFailed {
    client: IpAddr,
    why: String,
}

/// The list of one vserver. Without a journal it is kept in memory only.
#[derive(Default)]
pub struct WatchedClients {
    journal: OnceLock<Arc<dyn WatchJournal>>,
    /// When each was last seen to have or want locks.
    seen: Mutex<HashMap<WatchedClient, Instant>>,
    /// Held across a change of the journal.
    changing: tokio::sync::Mutex<()>,
    /// Those to be told that their locks are lost.
    to_tell: Mutex<Vec<WatchedClient>>,
    state: AtomicU32,
}

impl fmt::Debug for WatchedClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatchedClients({})", self.len())
    }
}

impl WatchedClients {
    /// Where the list is kept. To be set once, before clients come.
    pub fn set_journal(&self, journal: Arc<dyn WatchJournal>) {
        let _ = self.journal.set(journal);
    }

    /// Takes over the list as the journal has it, and the number of the vserver's life. `lost`: their locks are lost.
    pub fn load(&self, clients: Vec<WatchedClient>, state: u32, lost: bool) {
        self.state.store(state, Ordering::Relaxed);
        if lost {
            self.to_tell.lock().clone_from(&clients);
        }
        let now = Instant::now();
        self.seen.lock().extend(clients.into_iter().map(|client| (client, now)));
    }

    /// Which life of the vserver this is: odd while it is up, and another one whenever locks were lost (NSM's `state`).
    pub fn state(&self) -> u32 {
        self.state.load(Ordering::Relaxed)
    }

    /// Watches a client. Costs a durable write the first time.
    ///
    /// # Errors
    /// [`WatchFailed`]: there are too many, or the journal failed.
    pub async fn watch(&self, client: &WatchedClient) -> Result<(), WatchFailed> {
        let failed = |why: String| WatchFailed { client: client.client, why };
        if self.touch(client) {
            return Ok(());
        }
        let _changing = self.changing.lock().await;
        if self.touch(client) {
            return Ok(());
        }
        if self.len() >= WATCHED_MAX || client.name.len() > NAME_MAX {
            return Err(failed(format!(
                "there are {WATCHED_MAX} clients with locks, or its name is too long"
            )));
        }
        if let Some(journal) = self.journal.get() {
            journal.add(client.clone()).await.map_err(failed)?;
        }
        self.seen.lock().insert(client.clone(), Instant::now());
        Ok(())
    }

    fn touch(&self, client: &WatchedClient) -> bool {
        self.seen.lock().get_mut(client).map(|seen| *seen = Instant::now()).is_some()
    }

    /// Forgets those that have had nothing for a while; `has_any` says who has something now.
    pub async fn forget_idle(&self, has_any: impl Fn(&Client) -> bool) {
        self.forget_idle_for(IDLE_MAX, has_any).await;
    }

    pub(super) async fn forget_idle_for(&self, idle_max: Duration, has_any: impl Fn(&Client) -> bool) {
        let _changing = self.changing.lock().await;
        let untold = self.to_tell.lock().clone();
        let gone: Vec<WatchedClient> = {
            let mut seen = self.seen.lock();
            for (client, at) in seen.iter_mut() {
                let known =
                    Client { protocol: Protocol::Nlm, address: client.client, name: client.name.clone() };
                if has_any(&known) || untold.contains(client) {
                    *at = Instant::now();
                }
            }
            seen.iter().filter(|(_, at)| at.elapsed() >= idle_max).map(|(client, _)| client.clone()).collect()
        };
        if gone.is_empty() {
            return;
        }
        if let Some(journal) = self.journal.get()
            && let Err(error) = journal.remove(gone.clone()).await
        {
            tracing::warn!(error, "clients without locks stay noted");
            return;
        }
        self.seen.lock().retain(|client, _| !gone.contains(client));
    }

    /// Those who are to be told that their locks are lost.
    pub fn to_tell(&self) -> Vec<WatchedClient> {
        self.to_tell.lock().clone()
    }

    /// One of them knows, or is beyond being told.
    pub fn told(&self, client: &WatchedClient) {
        self.to_tell.lock().retain(|other| other != client);
    }

    /// Whether this client is watched.
    pub fn is_watched(&self, client: &Client) -> bool {
        self.seen.lock().keys().any(|watched| watched.is(client))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.seen.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn all(&self) -> Vec<WatchedClient> {
        let mut all: Vec<_> = self.seen.lock().keys().cloned().collect();
        all.sort();
        all
    }
}
