//! Export policies: which client may reach a volume, whether it may write, and as whom.
//!
//! Matching only. Rules come checked from the configuration; who the user behind a request is, is not known here.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The policy that every vserver has and that new volumes get.
pub const POLICY_DEFAULT: &str = "default";
/// uid and gid that squashed users get if the rule names no other (`nobody`).
pub const ANON_ID_DEFAULT: u32 = 65_534;
/// Most rules in one policy.
pub const RULES_MAX: usize = 1024;

/// Which users become the anonymous user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Squash {
    /// Nobody: uid 0 is the superuser.
    None,
    /// uid 0 and gid 0.
    #[default]
    Root,
    /// Everybody.
    All,
}

/// One line of a policy; the first one that matches a client's address decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRule {
    /// The clients: an address or a network in CIDR notation.
    #[serde(with = "client_text")]
    #[schema(value_type = String, example = "10.0.0.0/8")]
    pub client: IpNet,
    /// `true`: read and write; `false`: read only.
    pub write: bool,
    /// Whose requests run as the anonymous user.
    #[serde(default)]
    pub squash: Squash,
    /// The anonymous user.
    #[serde(default = "anon_id")]
    pub anon_uid: u32,
    /// The anonymous user's group.
    #[serde(default = "anon_id")]
    pub anon_gid: u32,
}

fn anon_id() -> u32 {
    ANON_ID_DEFAULT
}

/// `10.0.0.7` is accepted for `10.0.0.7/32`.
mod client_text {
    use super::{IpAddr, IpNet};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(net: &IpNet, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(net)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<IpNet, D::Error> {
        let text = String::deserialize(input)?;
        super::parse_client(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}` is neither an IP address nor a network like 10.0.0.0/8"
            ))
        })
    }

    pub(super) fn whole(address: IpAddr) -> IpNet {
        IpNet::from(address)
    }
}

/// Reads an address or a network in CIDR notation.
pub fn parse_client(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(client_text::whole))
}

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
}

/// All policies of a vserver, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportPolicies {
    policies: BTreeMap<String, Vec<ExportRule>>,
}

impl ExportPolicies {
    /// Takes policies as the configuration has them.
    pub fn new(policies: BTreeMap<String, Vec<ExportRule>>) -> Self {
        ExportPolicies { policies }
    }

    /// What `policy` grants `client`; `None`: nothing, also if there is no such policy.
    pub fn check(&self, policy: &str, client: IpAddr) -> Option<ExportAccess> {
        // A dual-stack listener shows IPv4 clients as ::ffff:a.b.c.d; rules are written for a.b.c.d.
        let client = client.to_canonical();
        let rule = self.policies.get(policy)?.iter().find(|rule| rule.client.contains(&client))?;
        Some(ExportAccess {
            write: rule.write,
            squash: rule.squash,
            anon_uid: rule.anon_uid,
            anon_gid: rule.anon_gid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(client: &str, write: bool, squash: Squash) -> ExportRule {
        ExportRule { client: parse_client(client).unwrap(), write, squash, anon_uid: 7, anon_gid: 8 }
    }

    fn policies(rules: Vec<ExportRule>) -> ExportPolicies {
        ExportPolicies::new(BTreeMap::from([("p".to_owned(), rules)]))
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let exports = policies(vec![
            rule("10.1.2.3", true, Squash::None),
            rule("10.0.0.0/8", false, Squash::Root),
            rule("fd00::/8", true, Squash::All),
        ]);
        let check = |client: &str| exports.check("p", client.parse().unwrap());
        assert_eq!(check("10.1.2.3").map(|a| (a.write, a.squash)), Some((true, Squash::None)));
        assert_eq!(check("10.1.2.4").map(|a| (a.write, a.squash)), Some((false, Squash::Root)));
        assert_eq!(check("::ffff:10.1.2.3").map(|a| a.write), Some(true));
        assert_eq!(check("fd12::1").map(|a| (a.squash, a.anon_uid, a.anon_gid)), Some((Squash::All, 7, 8)));
        assert_eq!(check("192.168.0.1"), None);
        assert_eq!(check("fe80::1"), None);
    }

    #[test]
    fn an_unknown_or_empty_policy_grants_nothing() {
        assert_eq!(policies(Vec::new()).check("p", "127.0.0.1".parse().unwrap()), None);
        assert_eq!(policies(Vec::new()).check("q", "127.0.0.1".parse().unwrap()), None);
    }

    #[test]
    fn rules_read_as_json_and_say_what_is_wrong() {
        let rule: ExportRule = serde_json::from_str(r#"{"client":"10.0.0.9","write":true}"#).unwrap();
        assert_eq!((rule.client.to_string().as_str(), rule.squash), ("10.0.0.9/32", Squash::Root));
        assert_eq!(rule.anon_uid, ANON_ID_DEFAULT);
        let error = serde_json::from_str::<ExportRule>(r#"{"client":"ten","write":true}"#).unwrap_err();
        assert!(error.to_string().contains("`ten` is neither"), "{error}");
        assert!(serde_json::from_str::<ExportRule>(r#"{"client":"::/0","write":true,"x":1}"#).is_err());
    }
}
