//! Export rules as an operator writes them: which client may reach a volume, whether it may write, and as whom.
//!
//! Their form only. What a hostname or a netgroup stands for is in `names.rs`, which rule decides in
//! `export_policies.rs`.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The policy that every vserver has and that new volumes get.
pub const POLICY_DEFAULT: &str = "default";
/// uid and gid that squashed users get if the rule names no other (`nobody`).
pub const ANON_ID_DEFAULT: u32 = 65_534;
/// Most rules in one policy.
pub const RULES_MAX: usize = 1024;
/// Longest hostname (RFC 1035 §2.3.4) and netgroup name, in bytes.
const NAME_LEN_MAX: usize = 253;

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

/// Whom a rule is about. As text: `*`, `10.0.0.7`, `10.0.0.0/8`, `host.example.com`, `@netgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMatch {
    /// Everybody.
    Any,
    /// An address or a network.
    Net(IpNet),
    /// The addresses that a hostname has.
    Host(String),
    /// The hosts of a netgroup.
    Netgroup(String),
}

impl From<IpNet> for ClientMatch {
    fn from(net: IpNet) -> Self {
        ClientMatch::Net(net)
    }
}

impl fmt::Display for ClientMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientMatch::Any => f.write_str("*"),
            ClientMatch::Net(net) => net.fmt(f),
            ClientMatch::Host(name) => f.write_str(name),
            ClientMatch::Netgroup(name) => write!(f, "@{name}"),
        }
    }
}

impl FromStr for ClientMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(ClientMatch::Any);
        }
        if let Some(net) = parse_client(text) {
            return Ok(ClientMatch::Net(net));
        }
        let wrong = || {
            format!(
                "`{text}` is none of: an IP address, a network like 10.0.0.0/8, a hostname, a netgroup like \
                 @trusted, * for everybody"
            )
        };
        match text.strip_prefix('@') {
            Some(name) if is_name(name, |c| matches!(c, '-' | '_' | '.')) => {
                Ok(ClientMatch::Netgroup(name.to_owned()))
            }
            // A mistyped address or network must not become a name.
            None if is_name(text, |c| matches!(c, '-' | '.'))
                && text.contains(|c: char| c.is_alphabetic()) =>
            {
                Ok(ClientMatch::Host(text.to_ascii_lowercase()))
            }
            _ => Err(wrong()),
        }
    }
}

fn is_name(text: &str, mark: impl Fn(char) -> bool) -> bool {
    (1..=NAME_LEN_MAX).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || mark(c))
}

impl Serialize for ClientMatch {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClientMatch {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One line of a policy; the first one that matches a client's address decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRule {
    /// The clients: `*`, an address, a network in CIDR notation, a hostname or `@` and a netgroup.
    #[schema(value_type = String, example = "10.0.0.0/8")]
    pub client: ClientMatch,
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
    /// Only calls from ports below 1024 are taken, which only privileged programs of a client's host can use.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secure: bool,
    /// Dangerous: replies do not wait until a change is on the disk, so what clients believe to be safe is lost in a
    /// crash. COMMIT still waits.
    #[serde(default, rename = "async", skip_serializing_if = "is_false")]
    pub early_replies: bool,
}

fn anon_id() -> u32 {
    ANON_ID_DEFAULT
}

/// A cluster of an older version takes rules that use nothing new.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

impl ExportRule {
    /// A rule for these clients, with `nobody` as the anonymous user.
    pub fn new(client: impl Into<ClientMatch>, write: bool, squash: Squash) -> Self {
        let (anon_uid, anon_gid) = (ANON_ID_DEFAULT, ANON_ID_DEFAULT);
        let client = client.into();
        ExportRule { client, write, squash, anon_uid, anon_gid, secure: false, early_replies: false }
    }
}

/// Reads an address or a network in CIDR notation.
pub fn parse_client(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: IpAddr| IpNet::from(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_json_and_say_what_is_wrong() {
        let rule: ExportRule = serde_json::from_str(r#"{"client":"10.0.0.9","write":true}"#).unwrap();
        assert_eq!((rule.client.to_string().as_str(), rule.squash), ("10.0.0.9/32", Squash::Root));
        assert_eq!((rule.anon_uid, rule.secure, rule.early_replies), (ANON_ID_DEFAULT, false, false));
        let error =
            serde_json::from_str::<ExportRule>(r#"{"client":"10.0.0.0/33","write":true}"#).unwrap_err();
        assert!(error.to_string().contains("`10.0.0.0/33` is none of"), "{error}");
        assert!(serde_json::from_str::<ExportRule>(r#"{"client":"::/0","write":true,"x":1}"#).is_err());
    }

    #[test]
    fn what_is_not_used_is_not_written() {
        let mut rule = ExportRule::new(ClientMatch::Any, true, Squash::Root);
        let text = serde_json::to_string(&rule).unwrap();
        assert!(!text.contains("secure") && !text.contains("async"), "{text}");
        (rule.secure, rule.early_replies) = (true, true);
        let text = serde_json::to_string(&rule).unwrap();
        assert!(text.contains(r#""secure":true,"async":true"#), "{text}");
        assert_eq!(serde_json::from_str::<ExportRule>(&text).unwrap(), rule);
    }

    #[test]
    fn clients_have_one_form_each() {
        for (text, shown) in [
            ("*", "*"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("fd00::/8", "fd00::/8"),
            ("Host-1.Example.com", "host-1.example.com"),
            ("@trusted_hosts", "@trusted_hosts"),
        ] {
            let client: ClientMatch = text.parse().unwrap();
            assert_eq!(client.to_string(), shown);
            assert_eq!(shown.parse(), Ok(client));
        }
        for bad in ["", "@", "10.0.0", "10.0.0.256", "a b", "x/24", "@a/b", "**", "*.example.com"] {
            assert!(bad.parse::<ClientMatch>().is_err(), "{bad}");
        }
    }
}
