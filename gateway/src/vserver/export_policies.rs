//! Which rule of an export policy decides about a client: policies as they are asked on the path of every call, with
//! the addresses that hostnames and netgroups have now.
//!
//! Never waits and looks nothing up: when a rule or an address changes, all policies of a vserver are made anew and
//! swapped. A name whose addresses are not known matches nobody.

use super::exports::{ClientMatch, ExportRule, Squash};
use super::names::{Host, Names};
use ipnet::IpNet;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// Policies with more rules than this remember what they decided.
const RULES_SCANNED: usize = 8;
/// Most clients that one policy remembers.
const REMEMBERED_MAX: usize = 4096;

/// What a rule grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportAccess {
    /// May change things.
    pub write: bool,
    /// Whose requests run as the anonymous user.
    pub squash: Squash,
    /// The anonymous user.
    pub anon_uid: u32,
    /// The anonymous user's group.
    pub anon_gid: u32,
    /// Replies do not wait until a change is durable.
    pub early_replies: bool,
}

/// Which rule decides about a client, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Number of the rule, the first is 1; `None`: no rule matches.
    pub rule: Option<usize>,
    /// What it grants; `None`: nothing.
    pub access: Option<ExportAccess>,
    /// Why.
    pub why: String,
    /// Rules before it that match nobody, or not all that they name, as names are not known.
    pub unknown: Vec<String>,
}

/// All policies of a vserver, by name.
#[derive(Debug, Default)]
pub struct ExportPolicies {
    policies: BTreeMap<String, Policy>,
}

#[derive(Debug, Default)]
struct Policy {
    rules: Vec<ExportRule>,
    /// One for each rule.
    matchers: Vec<Matcher>,
    /// Which rule decided, by client, where that takes long to find. Goes with the policy when anything changes.
    remembered: RwLock<HashMap<IpAddr, Option<u16>>>,
}

#[derive(Debug)]
enum Matcher {
    Any,
    Net(IpNet),
    Addresses(HashSet<IpAddr>),
}

impl ExportPolicies {
    /// Takes policies as the configuration has them. No name is known.
    pub fn new(policies: BTreeMap<String, Vec<ExportRule>>) -> Self {
        Self::with_names(policies, &Names::default())
    }

    /// Takes policies as the configuration has them, with what is known of names.
    pub fn with_names(policies: BTreeMap<String, Vec<ExportRule>>, names: &Names) -> Self {
        let policies = policies.into_iter().map(|(name, rules)| {
            let matchers = rules.iter().map(|rule| matcher(&rule.client, names)).collect();
            (name, Policy { rules, matchers, remembered: RwLock::default() })
        });
        ExportPolicies { policies: policies.collect() }
    }

    /// The policies as the configuration has them.
    pub fn rules(&self) -> BTreeMap<String, Vec<ExportRule>> {
        self.policies.iter().map(|(name, policy)| (name.clone(), policy.rules.clone())).collect()
    }

    /// The rules of one policy; none if there is no such policy.
    pub fn rules_of(&self, policy: &str) -> &[ExportRule] {
        self.policies.get(policy).map_or(&[], |policy| &policy.rules)
    }

    /// What `policy` grants a client that calls from this port; `None`: nothing, also if there is no such policy.
    pub fn check(&self, policy: &str, client: IpAddr, port: u16) -> Option<ExportAccess> {
        let policy = self.policies.get(policy)?;
        // A dual-stack listener shows IPv4 clients as ::ffff:a.b.c.d; rules are written for a.b.c.d.
        let rule = &policy.rules[policy.deciding(client.to_canonical())?];
        grant(rule, port)
    }

    /// The same for people. The port counts as privileged if it is not given.
    pub fn explain(&self, policy: &str, client: IpAddr, port: Option<u16>, names: &Names) -> Decision {
        let client = client.to_canonical();
        let rules = self.rules_of(policy);
        let rule = self.policies.get(policy).and_then(|policy| policy.scan(client));
        let before = &rules[..rule.unwrap_or(rules.len())];
        let unknown = before.iter().enumerate().flat_map(|(at, rule)| {
            unknown_names(&rule.client, names).into_iter().map(move |what| format!("rule {}: {what}", at + 1))
        });
        let unknown = unknown.collect();
        let Some(at) = rule else {
            let why = "no rule matches, so there is no access".to_owned();
            return Decision { rule: None, access: None, why, unknown };
        };
        let access = grant(&rules[at], port.unwrap_or(0));
        let matches = format!("rule {} is the first that matches: {}", at + 1, rules[at].client);
        let why = match access {
            Some(_) => matches,
            None => format!("{matches}; it wants a port below 1024, so there is no access"),
        };
        Decision { rule: Some(at + 1), access, why, unknown }
    }
}

fn grant(rule: &ExportRule, port: u16) -> Option<ExportAccess> {
    let &ExportRule { write, squash, anon_uid, anon_gid, early_replies, .. } = rule;
    let taken = !rule.secure || port < 1024;
    taken.then_some(ExportAccess { write, squash, anon_uid, anon_gid, early_replies })
}

impl Policy {
    /// Which rule decides about this client.
    fn deciding(&self, client: IpAddr) -> Option<usize> {
        if self.rules.len() <= RULES_SCANNED {
            return self.scan(client);
        }
        if let Some(rule) = self.remembered.read().get(&client) {
            return rule.map(usize::from);
        }
        let found = self.scan(client);
        let mut remembered = self.remembered.write();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(client, found.and_then(|at| u16::try_from(at).ok()));
        found
    }

    fn scan(&self, client: IpAddr) -> Option<usize> {
        self.matchers.iter().position(|matcher| match matcher {
            Matcher::Any => true,
            Matcher::Net(net) => net.contains(&client),
            Matcher::Addresses(addresses) => addresses.contains(&client),
        })
    }
}

fn matcher(client: &ClientMatch, names: &Names) -> Matcher {
    let known = |name: &String| -> Vec<IpAddr> {
        match name.parse() {
            Ok(address) => vec![address],
            Err(_) => names.hosts.get(name).map(|host| host.addresses.clone()).unwrap_or_default(),
        }
    };
    let addresses: HashSet<IpAddr> = match client {
        ClientMatch::Any => return Matcher::Any,
        ClientMatch::Net(net) => return Matcher::Net(*net),
        ClientMatch::Host(name) => known(name).into_iter().collect(),
        ClientMatch::Netgroup(name) => {
            let group = names.netgroups.hosts(name).unwrap_or_default();
            if group.any {
                return Matcher::Any;
            }
            group.hosts.iter().flat_map(known).collect()
        }
    };
    Matcher::Addresses(addresses.iter().map(IpAddr::to_canonical).collect())
}

/// The hostnames whose addresses these rules ask for.
pub fn hosts_named<'a>(rules: impl Iterator<Item = &'a ExportRule>, names: &Names) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    for rule in rules {
        match &rule.client {
            ClientMatch::Any | ClientMatch::Net(_) => {}
            ClientMatch::Host(name) => drop(hosts.insert(name.clone())),
            ClientMatch::Netgroup(name) => {
                let members = names.netgroups.hosts(name).unwrap_or_default().hosts;
                hosts.extend(members.into_iter().filter(|host| host.parse::<IpAddr>().is_err()));
            }
        }
    }
    hosts
}

fn unknown_names(client: &ClientMatch, names: &Names) -> Vec<String> {
    let unknown = |name: &String| match names.hosts.get(name) {
        Some(Host { error: Some(error), addresses, .. }) if addresses.is_empty() => {
            Some(format!("host {name} is not known: {error}"))
        }
        None if name.parse::<IpAddr>().is_err() => Some(format!("host {name} was not looked up yet")),
        _ => None,
    };
    match client {
        ClientMatch::Any | ClientMatch::Net(_) => Vec::new(),
        ClientMatch::Host(name) => unknown(name).into_iter().collect(),
        ClientMatch::Netgroup(name) => match names.netgroups.hosts(name) {
            None => vec![format!("netgroup @{name} is not known")],
            Some(group) => group.hosts.iter().filter_map(unknown).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::Netgroups;
    use super::*;
    use std::time::Instant;

    fn rule(client: &str, write: bool, squash: Squash) -> ExportRule {
        let rule = ExportRule::new(client.parse::<ClientMatch>().unwrap(), write, squash);
        ExportRule { anon_uid: 7, anon_gid: 8, ..rule }
    }

    fn policies(rules: Vec<ExportRule>) -> ExportPolicies {
        policies_with(rules, &Names::default())
    }

    fn policies_with(rules: Vec<ExportRule>, names: &Names) -> ExportPolicies {
        ExportPolicies::with_names(BTreeMap::from([("p".to_owned(), rules)]), names)
    }

    fn known(hosts: &[(&str, &[&str])], netgroups: &str) -> Names {
        let host = |addresses: &[&str]| Host {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            error: addresses.is_empty().then(|| "no such host".to_owned()),
            asked: Instant::now(),
        };
        let hosts = hosts.iter().map(|(name, addresses)| ((*name).to_owned(), host(addresses))).collect();
        Names { hosts, netgroups: Netgroups::parse(netgroups).0 }
    }

    fn check(exports: &ExportPolicies, client: &str) -> Option<ExportAccess> {
        exports.check("p", client.parse().unwrap(), 2000)
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let exports = policies(vec![
            rule("10.1.2.3", true, Squash::None),
            rule("10.0.0.0/8", false, Squash::Root),
            rule("fd00::/8", true, Squash::All),
        ]);
        let check = |client| check(&exports, client);
        assert_eq!(check("10.1.2.3").map(|a| (a.write, a.squash)), Some((true, Squash::None)));
        assert_eq!(check("10.1.2.4").map(|a| (a.write, a.squash)), Some((false, Squash::Root)));
        assert_eq!(check("::ffff:10.1.2.3").map(|a| a.write), Some(true));
        assert_eq!(check("fd12::1").map(|a| (a.squash, a.anon_uid, a.anon_gid)), Some((Squash::All, 7, 8)));
        assert_eq!(check("192.168.0.1"), None);
        assert_eq!(check("fe80::1"), None);
    }

    #[test]
    fn an_unknown_or_empty_policy_grants_nothing() {
        let anybody = "127.0.0.1".parse().unwrap();
        assert_eq!(policies(Vec::new()).check("p", anybody, 1), None);
        assert_eq!(policies(vec![rule("*", true, Squash::None)]).check("q", anybody, 1), None);
    }

    #[test]
    fn names_match_the_addresses_that_they_have_now() {
        let rules = vec![rule("a.example.com", true, Squash::None), rule("@web", false, Squash::Root)];
        let names = known(
            &[("a.example.com", &["10.0.0.1", "fd00::1"]), ("www1", &["10.0.0.2"])],
            "web (www1,,) (10.0.0.3,,) (nowhere,,)",
        );
        let exports = policies_with(rules.clone(), &names);
        let write = |exports: &ExportPolicies, client| check(exports, client).map(|access| access.write);
        assert_eq!(write(&exports, "10.0.0.1"), Some(true));
        assert_eq!(write(&exports, "fd00::1"), Some(true));
        assert_eq!(write(&exports, "10.0.0.2"), Some(false));
        assert_eq!(write(&exports, "10.0.0.3"), Some(false));
        assert_eq!(write(&exports, "10.0.0.4"), None);
        assert_eq!(write(&policies(rules.clone()), "10.0.0.1"), None, "not known: matches nobody");
        let asked: Vec<_> = hosts_named(rules.iter(), &names).into_iter().collect();
        assert_eq!(asked, ["a.example.com", "nowhere", "www1"]);
        let everybody = policies_with(rules, &known(&[], "web (,,)"));
        assert_eq!(write(&everybody, "192.0.2.1"), Some(false));
    }

    #[test]
    fn a_secure_rule_wants_a_privileged_port_and_still_decides() {
        let secure = ExportRule { secure: true, ..rule("10.0.0.0/8", true, Squash::None) };
        let exports = policies(vec![secure, rule("*", false, Squash::All)]);
        let check = |port| exports.check("p", "10.0.0.1".parse().unwrap(), port).map(|access| access.write);
        assert_eq!(check(1023), Some(true));
        assert_eq!(check(1024), None, "the next rule is not asked");
        let why = exports.explain("p", "10.0.0.1".parse().unwrap(), Some(2000), &Names::default());
        assert_eq!((why.rule, why.access), (Some(1), None));
        assert!(why.why.contains("port below 1024"), "{}", why.why);
    }

    #[test]
    fn many_rules_decide_as_few_do() {
        let rules: Vec<_> =
            (0..200).map(|n| rule(&format!("10.0.{n}.0/24"), n % 2 == 0, Squash::Root)).collect();
        let exports = policies(rules);
        for _ in 0..2 {
            for n in 0..250 {
                let client = format!("10.0.{n}.7");
                assert_eq!(
                    check(&exports, &client).map(|a| a.write),
                    (n < 200).then_some(n % 2 == 0),
                    "{client}"
                );
            }
        }
        for n in 0..2 * REMEMBERED_MAX {
            assert_eq!(check(&exports, &format!("10.1.{}.{}", n / 256, n % 256)), None);
        }
        assert!(exports.policies["p"].remembered.read().len() <= REMEMBERED_MAX);
    }

    #[test]
    fn a_decision_says_why() {
        let rules = vec![
            rule("gone.example.com", true, Squash::None),
            rule("@nobody", true, Squash::None),
            rule("10.0.0.0/8", false, Squash::Root),
        ];
        let names = known(&[("gone.example.com", &[])], "");
        let exports = policies_with(rules, &names);
        let decision = exports.explain("p", "10.2.3.4".parse().unwrap(), None, &names);
        assert_eq!((decision.rule, decision.access.map(|access| access.write)), (Some(3), Some(false)));
        assert!(decision.why.contains("10.0.0.0/8"), "{}", decision.why);
        let unknown = [
            "rule 1: host gone.example.com is not known: no such host",
            "rule 2: netgroup @nobody is not known",
        ];
        assert_eq!(decision.unknown, unknown);
        let decision = exports.explain("p", "192.0.2.1".parse().unwrap(), None, &names);
        assert_eq!((decision.rule, decision.access), (None, None));
    }
}
