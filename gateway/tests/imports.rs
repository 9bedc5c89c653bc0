//! Who may import whom. The rules are the design's: crates depend one way only, protocols see neither each other nor
//! the control plane, the control plane sees no wire types.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folders of the gateway that speak to clients, present and future.
const PROTOCOLS: &[&str] = &["nfs3", "nfs4", "smb2", "nlm"];
/// What configures and moves vservers.
const CONTROL: &[&str] = &[
    "admin",
    "cli",
    "cluster",
    "config",
    "console",
    "daemon",
    "demo",
    "lif",
    "metrics",
    "migration",
    "peers",
    "programs",
    "secrets",
    "store",
];
/// What shapes bytes for clients.
const WIRE: &[&str] =
    &["rpc", "xdr", "portmap", "rpcbind", "programs", "client", "nfs3", "nfs4", "smb2", "nlm"];

/// Rust files under `dir`, without tests, which may use whatever they test against.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file without its comments and its unit tests, which may use whatever they test against.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    body.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The first segments after `crate::`, in `use` lines and in paths, groups included.
fn modules_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => drop(used.insert(ident(after))),
            Some(group) => used.extend(group_heads(group)),
        }
    }
    used
}

/// The first segments of the members of a group: `a::B, c::{D, E}}` gives `a` and `c`.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut at_head) = (0u32, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && !c.is_whitespace() => {
                heads.push(ident(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn ident(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Crates named at the beginning of `use` lines or in paths like `tokio::spawn`.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// The files under `dir` that break a rule, as sentences.
fn offenders(dir: &Path, broken: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for path in sources(dir) {
        let text = std::fs::read_to_string(&path).unwrap();
        found.extend(broken(&code(&text)).map(|what| format!("{} uses {what}", path.display())));
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn no_crates(folder: &str, forbidden: &[&str]) {
    let broken =
        |code: &str| forbidden.iter().find(|name| names_crate(code, name)).map(|name| (*name).to_owned());
    let found = offenders(&root().join(folder), broken);
    assert!(found.is_empty(), "{found:#?}");
}

/// `part` is a folder or a file of the gateway; one that is not there yet breaks no rule.
fn no_modules(part: &str, forbidden: &[&str]) {
    let src = root().join("gateway/src");
    let broken =
        |code: &str| modules_used(code).into_iter().find(|module| forbidden.contains(&module.as_str()));
    let mut found = Vec::new();
    if src.join(part).is_dir() {
        found = offenders(&src.join(part), broken);
    } else if let Ok(text) = std::fs::read_to_string(src.join(format!("{part}.rs"))) {
        found.extend(broken(&code(&text)).map(|what| format!("{part}.rs uses {what}")));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn crates_depend_one_way() {
    no_crates("fsstore/src", &["tokio", "migrate", "gateway", "std::net", "SystemTime", "axum"]);
    no_crates("migrate/src", &["gateway", "axum"]);
}

#[test]
fn protocols_see_neither_each_other_nor_the_control_plane() {
    for protocol in PROTOCOLS {
        let mut forbidden: Vec<&str> = PROTOCOLS.iter().copied().filter(|other| other != protocol).collect();
        forbidden.extend(CONTROL);
        no_modules(protocol, &forbidden);
        if root().join("gateway/src").join(protocol).is_dir() {
            no_crates(&format!("gateway/src/{protocol}"), &["migrate", "redb", "axum"]);
        }
    }
    for shared in ["rpc", "xdr", "handle", "portmap", "vserver", "client", "openstate"] {
        no_modules(shared, CONTROL);
        no_modules(
            shared,
            PROTOCOLS.iter().copied().filter(|_| shared != "client").collect::<Vec<_>>().as_slice(),
        );
    }
}

#[test]
fn the_control_plane_sees_no_wire_types() {
    no_modules("admin", WIRE);
    no_modules("admin", &["handle", "daemon", "cli"]);
    no_modules("cluster", WIRE);
    no_modules("cluster", &["admin", "cli", "daemon"]);
    no_modules("store", WIRE);
    no_modules("store", &["admin", "cli", "cluster", "daemon", "lif", "migration"]);
    no_modules("secrets", WIRE);
    no_modules("secrets", &["admin", "cli", "cluster", "daemon", "lif", "migration", "vserver"]);
    no_modules("lif", WIRE);
    no_modules("lif", &["admin", "cli", "cluster", "daemon", "migration"]);
    no_modules("cli", WIRE);
    no_modules("cli", &["admin", "cluster", "lif", "migration", "secrets", "store"]);
    no_modules("config", &["admin", "cluster", "store", "vserver"]);
    no_modules("demo", &["admin", "cluster", "daemon", "lif", "migration", "store", "vserver"]);
}

#[test]
fn the_rules_would_notice() {
    let text = "use crate::{a::B, admin::{C, D},\n    e};\nfn f() { crate::store::g(); tokio::spawn(); }\n// crate::no";
    let used = modules_used(&code(text));
    assert_eq!(used, BTreeSet::from(["a", "admin", "e", "store"].map(str::to_owned)));
    assert!(names_crate(text, "tokio") && !names_crate("my_tokio::x", "tokio"));
    assert!(modules_used(&code("#[cfg(test)]\nmod tests {\n use crate::admin;\n}")).is_empty());
}
