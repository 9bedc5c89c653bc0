//! Which client has mounted what, as the MOUNT protocol was told (RFC 1813 §5.2.2). A hint for people: clients that go
//! away tell nobody, and nothing else asks. Lives as long as the vserver runs here.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Most entries; a new one drives out the oldest.
const ENTRIES_MAX: usize = 1024;

/// The list.
#[derive(Debug, Default)]
pub struct Mounts(Mutex<VecDeque<(IpAddr, String)>>);

impl Mounts {
    /// Notes a mount. One that is known already counts as new.
    pub fn add(&self, client: IpAddr, path: &str) {
        let mut entries = self.0.lock();
        entries.retain(|(who, what)| *who != client || what != path);
        if entries.len() >= ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back((client, path.to_owned()));
    }

    /// Forgets a mount.
    pub fn remove(&self, client: IpAddr, path: &str) {
        self.0.lock().retain(|(who, what)| *who != client || what != path);
    }

    /// Forgets all of a client.
    pub fn remove_all(&self, client: IpAddr) {
        self.0.lock().retain(|(who, _)| *who != client);
    }

    /// All, the oldest first.
    pub fn list(&self) -> Vec<(IpAddr, String)> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_noted_once_and_bounded() {
        let mounts = Mounts::default();
        let client =
            |n: usize| IpAddr::from([10, 0, u8::try_from(n / 256).unwrap(), u8::try_from(n % 256).unwrap()]);
        for n in 0..ENTRIES_MAX + 5 {
            mounts.add(client(n), "/a");
            mounts.add(client(n), "/a");
        }
        let list = mounts.list();
        assert_eq!(list.len(), ENTRIES_MAX);
        assert_eq!(list[0], (client(5), "/a".to_owned()));
        mounts.add(client(7), "/b");
        mounts.remove(client(7), "/a");
        mounts.remove(client(8), "/b");
        assert_eq!(mounts.list().iter().filter(|(who, _)| *who == client(7)).count(), 1);
        mounts.remove_all(client(7));
        assert!(mounts.list().iter().all(|(who, _)| *who != client(7)));
        assert!(mounts.list().iter().any(|(who, _)| *who == client(8)));
    }
}
