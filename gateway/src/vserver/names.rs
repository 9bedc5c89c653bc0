//! What hostnames and netgroups stand for at one moment: plain data, from which policies are made. Asks nobody; who does
//! replaces the whole.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

/// Most netgroups that are read from a file.
const NETGROUPS_MAX: usize = 16_384;
/// Most members of one netgroup.
const MEMBERS_MAX: usize = 65_536;
/// Most hosts of one netgroup with those that it contains.
const GROUP_HOSTS_MAX: usize = 65_536;

/// What is known of one hostname.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its addresses, of the last question that was answered.
    pub addresses: Vec<IpAddr>,
    /// Why the last question was not answered.
    pub error: Option<String>,
    /// When it was asked.
    pub asked: Instant,
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Hostnames.
    pub hosts: HashMap<String, Host>,
    /// Netgroups.
    pub netgroups: Netgroups,
}

/// The netgroups of a file (netgroup(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Netgroups(HashMap<String, Vec<Member>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Member {
    /// `(host,user,domain)`: the host.
    Host(String),
    /// `(,user,domain)`: every host.
    AnyHost,
    /// Another netgroup.
    Group(String),
}

/// The hosts of a netgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupHosts {
    /// Hostnames, and addresses as text.
    pub hosts: BTreeSet<String>,
    /// Every host is in it.
    pub any: bool,
}

impl Netgroups {
    /// Reads the text of a netgroup file, and names the lines that make no sense: they are left out.
    pub fn parse(text: &str) -> (Self, Vec<usize>) {
        let (mut groups, mut bad) = (HashMap::new(), Vec::new());
        let mut lines = text.lines().enumerate();
        while let Some((at, first)) = lines.next() {
            let mut line = first.to_owned();
            while let Some(begun) = line.strip_suffix('\\') {
                let next = lines.next().map_or("", |(_, next)| next);
                line = format!("{begun} {next}");
            }
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            match parse_line(line) {
                Some((name, members)) if groups.len() < NETGROUPS_MAX => drop(groups.insert(name, members)),
                _ => bad.push(at + 1),
            }
        }
        (Netgroups(groups), bad)
    }

    /// The hosts of a netgroup and of those that it contains; `None` if there is none of that name.
    pub fn hosts(&self, name: &str) -> Option<GroupHosts> {
        self.0.get(name)?;
        let mut found = GroupHosts::default();
        let (mut seen, mut waiting) = (HashSet::from([name]), vec![name]);
        while let Some(members) = waiting.pop().map(|group| self.0.get(group)) {
            for member in members.into_iter().flatten() {
                match member {
                    Member::AnyHost => found.any = true,
                    Member::Host(host) if found.hosts.len() < GROUP_HOSTS_MAX => {
                        found.hosts.insert(host.clone());
                    }
                    Member::Group(group) if seen.insert(group) => waiting.push(group),
                    Member::Host(_) | Member::Group(_) => {}
                }
            }
        }
        Some(found)
    }
}

/// `name member ...`, where a member is a netgroup or `(host,user,domain)`.
fn parse_line(line: &str) -> Option<(String, Vec<Member>)> {
    let (name, mut rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let mut members = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some((name.to_owned(), members));
        }
        if members.len() >= MEMBERS_MAX {
            return None;
        }
        if let Some(triple) = rest.strip_prefix('(') {
            let (triple, after) = triple.split_once(')')?;
            let mut parts = triple.split(',').map(str::trim);
            let (host, _, _) = (parts.next()?, parts.next()?, parts.next()?);
            match host {
                "" => members.push(Member::AnyHost),
                // No host at all: a member for users only.
                "-" => {}
                host => members.push(Member::Host(host.to_ascii_lowercase())),
            }
            rest = after;
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(rest.len());
            members.push(Member::Group(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(groups: &Netgroups, name: &str) -> Option<Vec<String>> {
        groups.hosts(name).map(|group| group.hosts.into_iter().collect())
    }

    #[test]
    fn a_file_reads_as_netgroup_5_says() {
        let text = "# comment\n\
                    web (www1,,) (WWW2.example.com,-,example.com) # here too\n\
                    all web \\\n  db loop\n\
                    db (10.0.0.5,,)(-,admin,)\n\
                    loop all\n\
                    broken (host,user\n\
                    everybody (,,)\n\
                    none\n";
        let (groups, bad) = Netgroups::parse(text);
        assert_eq!(bad, [7]);
        assert_eq!(hosts(&groups, "web"), Some(vec!["www1".to_owned(), "www2.example.com".to_owned()]));
        let all = ["10.0.0.5", "www1", "www2.example.com"].map(str::to_owned).to_vec();
        assert_eq!(hosts(&groups, "all"), Some(all.clone()));
        assert_eq!(hosts(&groups, "loop"), Some(all));
        assert_eq!(hosts(&groups, "none"), Some(Vec::new()));
        assert_eq!(hosts(&groups, "broken"), None);
        assert!(groups.hosts("everybody").unwrap().any);
        assert!(!groups.hosts("all").unwrap().any);
    }
}
