//! Finding out what the hostnames and netgroups of export rules stand for: away from the path of calls, some at a time,
//! again from time to time. What is found goes into the policies in force.

use super::{Cluster, Served};
use crate::store::{OwnershipState, VserverRecord};
use crate::vserver::{ExportPolicies, ExportRule, Host, Names, Netgroups, hosts_named};
use arc_swap::ArcSwap;
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;

/// Between two looks at the netgroup file, and at what is due.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long an answer is good. If the next question is not answered, the old answer stays.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(300);
/// After which time a question that was not answered is asked again.
const RETRY: Duration = Duration::from_secs(30);
/// How long a new policy, or a vserver that comes up, waits for names that were never asked for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lookups at a time. Each holds a thread, if its name server is silent for as long as the C library likes.
const LOOKUPS_MAX: usize = 8;
/// Most hostnames; more are not looked up.
const HOSTS_MAX: usize = 4096;
/// Most addresses of one hostname that count.
const ADDRESSES_MAX: usize = 64;
/// Longest netgroup file, in bytes.
const FILE_LEN_MAX: u64 = 8 << 20;

/// Finds the addresses of a hostname; may block.
type Resolver = Arc<dyn Fn(&str) -> std::io::Result<Vec<IpAddr>> + Send + Sync>;
/// What tells one state of a file from another.
type FileMark = (u64, SystemTime);

/// What is known of names in a node.
pub(super) struct NameTable {
    known: ArcSwap<Names>,
    /// Held while policies are made from `known`, or it is replaced: policies in force are never older than it.
    applying: Mutex<()>,
    file: Mutex<Option<FileMark>>,
    lookups: Arc<Semaphore>,
    resolver: Resolver,
}

impl Default for NameTable {
    fn default() -> Self {
        NameTable::with_resolver(Arc::new(|host| {
            Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        }))
    }
}

impl NameTable {
    fn with_resolver(resolver: Resolver) -> Self {
        NameTable {
            known: ArcSwap::default(),
            applying: Mutex::default(),
            file: Mutex::default(),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            resolver,
        }
    }

    /// Asks for those of `hosts` whose time has come; the answers.
    async fn ask(&self, hosts: BTreeSet<String>) -> BTreeMap<String, Host> {
        let known = self.known.load_full();
        let due = hosts.into_iter().take(HOSTS_MAX).filter(|host| {
            known.hosts.get(host).is_none_or(|host| {
                host.asked.elapsed() >= if host.error.is_some() { RETRY } else { ANSWER_AGE_MAX }
            })
        });
        stream::iter(due).map(|host| self.look_up(host)).buffer_unordered(LOOKUPS_MAX).collect().await
    }

    async fn look_up(&self, host: String) -> (String, Host) {
        let (resolver, name) = (Arc::clone(&self.resolver), host.clone());
        let place = Arc::clone(&self.lookups).acquire_owned().await;
        let answer = tokio::task::spawn_blocking(move || {
            let _place = place;
            resolver(&name)
        });
        let answer = match answer.await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let asked = Instant::now();
        let found = match answer {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                Host { addresses, error: None, asked }
            }
            Ok(_) => Host { addresses: Vec::new(), error: Some("it has no address".to_owned()), asked },
            Err(error) => Host { addresses: Vec::new(), error: Some(error), asked },
        };
        (host, found)
    }

    /// The netgroups, if their file is not as it was when this was last called.
    fn read_netgroups(&self, path: &Path) -> std::io::Result<Option<Netgroups>> {
        let mut file = std::fs::File::open(path)?;
        let meta = file.metadata()?;
        let mark = (meta.len(), meta.modified()?);
        if *self.file.lock() == Some(mark) {
            return Ok(None);
        }
        let mut text = Vec::new();
        file.by_ref().take(FILE_LEN_MAX).read_to_end(&mut text)?;
        let (netgroups, bad) = Netgroups::parse(&String::from_utf8_lossy(&text));
        if !bad.is_empty() {
            tracing::warn!(file = %path.display(), lines = ?&bad[..bad.len().min(10)], "netgroups that make no sense");
        }
        *self.file.lock() = Some(mark);
        Ok(Some(netgroups))
    }
}

/// What is known after `answers`: an answer that did not come leaves the last one. With all that is `needed`, names
/// that nobody has asked for lately are forgotten.
fn updated(known: &Names, answers: BTreeMap<String, Host>, needed: Option<&BTreeSet<String>>) -> Names {
    let mut hosts = known.hosts.clone();
    for (name, mut host) in answers {
        if host.error.is_some()
            && let Some(last) = hosts.get(&name)
        {
            host.addresses.clone_from(&last.addresses);
        }
        if let Some(error) = &host.error
            && hosts.get(&name).is_none_or(|last| last.error.is_none())
        {
            tracing::warn!(name, error, "cannot find the addresses of a host of an export rule");
        }
        hosts.insert(name, host);
    }
    if let Some(needed) = needed {
        hosts.retain(|name, host| needed.contains(name) || host.asked.elapsed() < ANSWER_AGE_MAX);
    }
    Names { hosts, netgroups: known.netgroups.clone() }
}

impl Cluster {
    /// Keeps names up to date, for ever.
    pub(super) async fn keep_names(self: &Arc<Self>) {
        loop {
            self.refresh_names().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// What is known of names now.
    pub(crate) fn names(&self) -> Arc<Names> {
        self.names.known.load_full()
    }

    /// Puts policies in force, with what is known of names.
    pub(super) fn apply_exports(&self, served: &Served, policies: BTreeMap<String, Vec<ExportRule>>) {
        let _applying = self.names.applying.lock();
        served.vserver.set_exports(ExportPolicies::with_names(policies, &self.names()));
    }

    /// Asks for the names in these rules that were never asked for, and waits a moment for the answers.
    pub(super) async fn learn_names(&self, rules: impl IntoIterator<Item = &ExportRule>) {
        let rules: Vec<&ExportRule> = rules.into_iter().collect();
        let hosts = hosts_named(rules.into_iter(), &self.names());
        if hosts.is_empty() {
            return;
        }
        let learning = async {
            let answers = self.names.ask(hosts).await;
            self.take_names(answers, None, None);
        };
        if tokio::time::timeout(PATIENCE, learning).await.is_err() {
            tracing::warn!("names in export rules are not known yet; such rules match nobody until then");
        }
    }

    async fn refresh_names(self: &Arc<Self>) {
        let netgroups = self.changed_netgroups().await;
        let mut names = (*self.names()).clone();
        if let Some(netgroups) = &netgroups {
            names.netgroups.clone_from(netgroups);
        }
        // Also those of a vserver that is arriving: its clients are not to wait for them when it comes up.
        let needs =
            |state: &OwnershipState| state.serves() || matches!(state, OwnershipState::Placeholder { .. });
        let records = self.store.list::<VserverRecord>("").unwrap_or_else(|error| {
            tracing::error!(%error, "names in export rules");
            Vec::new()
        });
        let needed: BTreeSet<String> = records
            .iter()
            .filter(|record| needs(&record.ownership.state))
            .flat_map(|record| hosts_named(record.export_policies.values().flatten(), &names))
            .collect();
        let answers = self.names.ask(needed.clone()).await;
        if netgroups.is_some() || !answers.is_empty() {
            self.take_names(answers, netgroups, Some(&needed));
        }
    }

    /// Makes all policies in force anew.
    fn take_names(
        &self,
        answers: BTreeMap<String, Host>,
        netgroups: Option<Netgroups>,
        needed: Option<&BTreeSet<String>>,
    ) {
        let _applying = self.names.applying.lock();
        let mut names = updated(&self.names(), answers, needed);
        if let Some(netgroups) = netgroups {
            names.netgroups = netgroups;
        }
        for served in self.all_served() {
            let policies = served.vserver.exports().rules();
            served.vserver.set_exports(ExportPolicies::with_names(policies, &names));
        }
        self.names.known.store(Arc::new(names));
    }

    async fn changed_netgroups(self: &Arc<Self>) -> Option<Netgroups> {
        let path = self.config.nfs.netgroup_file.clone()?;
        let this = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || match this.names.read_netgroups(&path) {
            Ok(changed) => changed,
            Err(error) => {
                if this.names.file.lock().take().is_some() {
                    tracing::error!(file = %path.display(), %error, "netgroups stay as they were");
                }
                None
            }
        });
        reading.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(answers: &[(&'static str, &'static str)]) -> NameTable {
        let answers: BTreeMap<String, IpAddr> =
            answers.iter().map(|(name, address)| ((*name).to_owned(), address.parse().unwrap())).collect();
        NameTable::with_resolver(Arc::new(move |host| match answers.get(host) {
            Some(address) => Ok(vec![*address, *address]),
            None => Err(std::io::Error::other("no such host")),
        }))
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once_in_a_while_and_keeps_its_last_answer() {
        let table = table(&[("a", "10.0.0.1")]);
        let answers = table.ask(set(&["a", "b"])).await;
        assert_eq!(answers["a"].addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(answers["b"].error.as_deref(), Some("no such host"));
        let names = updated(&Names::default(), answers, Some(&set(&["a", "b"])));
        table.known.store(Arc::new(names.clone()));
        assert!(table.ask(set(&["a", "b"])).await.is_empty(), "asked a moment ago");
        let silent = Host { addresses: Vec::new(), error: Some("timeout".to_owned()), asked: Instant::now() };
        let names = updated(&names, BTreeMap::from([("a".to_owned(), silent)]), None);
        assert_eq!(names.hosts["a"].addresses.len(), 1);
        assert_eq!(names.hosts["a"].error.as_deref(), Some("timeout"));
    }

    #[test]
    fn a_netgroup_file_is_read_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("netgroup");
        let table = table(&[]);
        assert!(table.read_netgroups(&path).is_err());
        std::fs::write(&path, "web (a,,)\n").unwrap();
        let first = table.read_netgroups(&path).unwrap().unwrap();
        assert_eq!(first.hosts("web").unwrap().hosts, set(&["a"]));
        assert_eq!(table.read_netgroups(&path).unwrap(), None);
        std::fs::write(&path, "web (a,,) (b,,)\n").unwrap();
        let second = table.read_netgroups(&path).unwrap().unwrap();
        assert_eq!(second.hosts("web").unwrap().hosts, set(&["a", "b"]));
    }
}
