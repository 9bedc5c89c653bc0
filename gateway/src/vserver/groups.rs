//! The groups of users as the node's user database knows them, for vservers whose users are in more groups than a call
//! can name (16, RFC 5531 appendix A).
//!
//! A lookup is a process of its own (`id`, which asks getgrouplist(3)): a directory service that hangs is ended with it
//! and holds no thread. What was found is kept for a while; bounded.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

/// Most users whose groups are kept.
const USERS_MAX: usize = 8192;
/// Most groups of one user that count.
const GROUPS_MAX: usize = 4096;
/// How long groups count.
const AGE_MAX: Duration = Duration::from_secs(300);
/// After which time a user that was not found is looked up again.
const RETRY: Duration = Duration::from_secs(30);
/// How long a lookup may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lookups at a time.
const LOOKUPS_MAX: usize = 8;

pub(crate) type Found = Option<Arc<[u32]>>;
pub(crate) type Lookup = Arc<dyn Fn(u32) -> Pin<Box<dyn Future<Output = Found> + Send>> + Send + Sync>;

/// The groups of users, where a vserver is to ask for them.
pub struct Groups {
    enabled: AtomicBool,
    known: Mutex<HashMap<u32, Known>>,
    lookups: Semaphore,
    lookup: Lookup,
}

#[derive(Clone)]
struct Known {
    since: Instant,
    groups: Arc<OnceCell<Found>>,
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Groups(enabled: {})", self.enabled.load(Relaxed))
    }
}

impl Default for Groups {
    fn default() -> Self {
        Groups::with_lookup(Arc::new(|uid| Box::pin(ask(uid))))
    }
}

impl Groups {
    pub(crate) fn with_lookup(lookup: Lookup) -> Self {
        let lookups = Semaphore::new(LOOKUPS_MAX);
        Groups { enabled: AtomicBool::default(), known: Mutex::default(), lookups, lookup }
    }

    /// Whether calls are to run with the groups of the user database, and not with those that they name.
    pub fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Relaxed);
        self.known.lock().clear();
    }

    /// The groups of a user; `None` if the calls' own count: nothing else is wanted, or the database does not know the
    /// user or does not answer.
    pub async fn of(&self, uid: u32) -> Option<Arc<[u32]>> {
        if !self.enabled.load(Relaxed) {
            return None;
        }
        let known = self.known(uid);
        // All calls of a user wait for one lookup. If the first of them is given up, the next goes on with it.
        let found = known.groups.get_or_init(|| async {
            let asking = async {
                let _place = self.lookups.acquire().await;
                (self.lookup)(uid).await
            };
            tokio::time::timeout(PATIENCE, asking).await.unwrap_or_default()
        });
        found.await.clone()
    }

    fn known(&self, uid: u32) -> Known {
        let is_good = |known: &Known| {
            let age_max = if matches!(known.groups.get(), Some(None)) { RETRY } else { AGE_MAX };
            known.since.elapsed() < age_max
        };
        let mut all = self.known.lock();
        if let Some(known) = all.get(&uid).filter(|known| is_good(known)) {
            return known.clone();
        }
        if all.len() >= USERS_MAX {
            all.retain(|_, known| is_good(known));
        }
        if all.len() >= USERS_MAX {
            all.clear();
        }
        let new = Known { since: Instant::now(), groups: Arc::default() };
        all.insert(uid, new.clone());
        new
    }
}

/// What `id` says; nothing if there is no such user.
async fn ask(uid: u32) -> Found {
    // With the sign it is a number even if a user is called so.
    let output = Command::new("id").arg("-G").arg(format!("+{uid}")).kill_on_drop(true).output().await;
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            tracing::error!(%error, "cannot run `id` to look up the groups of users");
            return None;
        }
    };
    if !output.status.success() {
        return None;
    }
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(text: &str) -> Found {
    let groups: Option<Vec<u32>> =
        text.split_whitespace().take(GROUPS_MAX).map(|gid| gid.parse().ok()).collect();
    groups.map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// Users below 1000 are in as many groups as their number says; 2000 is never answered. Counts lookups.
    fn groups(count: &Arc<AtomicU32>) -> Groups {
        let count = Arc::clone(count);
        let groups = Groups::with_lookup(Arc::new(move |uid| {
            count.fetch_add(1, Relaxed);
            Box::pin(async move {
                tokio::time::sleep(if uid == 2000 { Duration::from_secs(3600) } else { PATIENCE / 2 }).await;
                (uid < 1000).then(|| (0..uid).collect())
            })
        }));
        groups.enable(true);
        groups
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_is_looked_up_once_in_a_while() {
        let count = Arc::default();
        let groups = groups(&count);
        let calls = (0..50).map(|_| groups.of(40));
        for found in futures_util::future::join_all(calls).await {
            assert_eq!(found.unwrap().len(), 40);
        }
        assert_eq!(count.load(Relaxed), 1);
        tokio::time::sleep(AGE_MAX).await;
        assert!(groups.of(40).await.is_some());
        assert_eq!(count.load(Relaxed), 2);
        groups.enable(false);
        assert_eq!(groups.of(40).await, None);
        assert_eq!(count.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_the_calls_own_groups_count() {
        let count = Arc::default();
        let groups = groups(&count);
        assert_eq!(groups.of(1500).await, None, "no such user");
        let start = Instant::now();
        assert_eq!(groups.of(2000).await, None, "no answer");
        assert_eq!(start.elapsed(), PATIENCE);
        assert_eq!(groups.of(2000).await, None);
        assert_eq!(start.elapsed(), PATIENCE, "not asked again at once");
        tokio::time::sleep(RETRY).await;
        groups.of(1500).await;
        assert_eq!(count.load(Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_leaves_the_lookup_to_the_next() {
        let count = Arc::default();
        let groups = groups(&count);
        assert!(tokio::time::timeout(PATIENCE / 4, groups.of(5)).await.is_err());
        assert_eq!(groups.of(5).await.unwrap().len(), 5);
    }

    #[test]
    fn the_answer_is_a_list_of_numbers() {
        assert_eq!(parse("0 5 70000\n").as_deref(), Some(&[0, 5, 70_000][..]));
        assert_eq!(parse("0 x"), None);
        assert_eq!(parse(&"1 ".repeat(GROUPS_MAX + 5)).unwrap().len(), GROUPS_MAX);
    }

    #[tokio::test]
    async fn the_node_knows_its_own_users() {
        let root = ask(0).await.expect("every system has a root");
        assert!(root.contains(&0), "{root:?}");
        assert_eq!(ask(4_000_000_000).await, None);
    }
}
