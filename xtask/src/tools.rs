//! Programs that some tests use besides Rust. They are installed where that is possible, else their tests are skipped,
//! visibly; under continuous integration a missing one is a failure.

use crate::Failure;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program, and the Debian package that has it, with others that it needs to be of use.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const TOOLS: [Tool; 22] = [
    Tool { program: "nfs-ls", package: "libnfs-utils" },
    Tool { program: "smbclient", package: "smbclient" },
    Tool { program: "mount.cifs", package: "cifs-utils" },
    Tool { program: "smbtorture", package: "samba-testsuite" },
    // Tests start one of their own.
    Tool { program: "smbd", package: "samba samba-vfs-modules" },
    Tool { program: "setfattr", package: "attr" },
    Tool { program: "ip", package: "iproute2" },
    Tool { program: "losetup", package: "util-linux" },
    Tool { program: "mkfs.ext4", package: "e2fsprogs" },
    // Linux guests, and what they mount with.
    Tool { program: "linux.uml", package: "user-mode-linux" },
    Tool { program: "mount.nfs", package: "nfs-common" },
    Tool { program: "rpcbind", package: "rpcbind" },
    Tool { program: "gcc", package: "gcc" },
    Tool { program: "modprobe", package: "kmod" },
    Tool { program: "useradd", package: "passwd" },
    // What runs in them.
    Tool { program: "setfacl", package: "acl" },
    Tool { program: "fio", package: "fio" },
    Tool { program: "dbench", package: "dbench" },
    Tool { program: "stress-ng", package: "stress-ng" },
    Tool { program: "git", package: "git" },
    Tool { program: "sqlite3", package: "sqlite3" },
    Tool { program: "pg_ctlcluster", package: "postgresql" },
];

/// A program that is a Rust crate of the same name, with its version.
const CRATES: [(&str, &str); 2] = [("pjdfstest", "0.2.2"), ("fsx", "0.3.2")];

/// Python libraries that are SMB clients, with their versions on PyPI.
const LIBRARIES: [(&str, &str); 2] = [("impacket", "0.13.1"), ("smbprotocol", "1.17.0")];

/// Makes the tools available as far as possible; gives a line for each that is missing.
pub(crate) fn prepare() -> Result<Vec<String>, Failure> {
    let missing = |tool: &&Tool| !is_there(tool.program);
    if TOOLS.iter().any(|tool| missing(&tool)) && may_install() {
        let packages: Vec<_> =
            TOOLS.iter().filter(missing).flat_map(|tool| tool.package.split(' ')).collect();
        println!("installing {}", packages.join(" "));
        install(&packages);
    }
    let mut lines: Vec<_> = TOOLS
        .iter()
        .filter(missing)
        .map(|tool| format!("skipped: needs {} (package {})", tool.program, tool.package))
        .collect();
    lines.extend(
        CRATES
            .iter()
            .filter(|(name, version)| !is_built(name, version))
            .map(|(name, version)| format!("skipped: needs {name} (cargo install {name}@{version})")),
    );
    lines.extend(
        LIBRARIES
            .iter()
            .filter(|(name, version)| !is_library(name, version))
            .map(|(name, version)| format!("skipped: needs {name} {version} (PyPI, with python3-venv)")),
    );
    if !lines.is_empty() && in_ci() {
        return Err(Failure::new(format!("{}\nunder CI nothing may be skipped", lines.join("\n"))));
    }
    Ok(lines)
}

/// Whether this is continuous integration, where nothing may be left out silently.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).any(|dir| dir.join(program).is_file())
}

/// apt-get works for root alone, and is asked only where it exists.
fn may_install() -> bool {
    let owner = Command::new("id").arg("-u").output();
    let root = owner.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && Path::new("/usr/bin/apt-get").exists()
}

/// Where the tests look for what is not a Debian package.
fn root() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")).join("tools")
}

/// Installs a Python library, with what it needs, into an environment of its own in the target directory, once.
fn is_library(name: &str, version: &str) -> bool {
    let dir = root().join("python");
    let python = dir.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let there = format!("import importlib.metadata as m; assert m.version({name:?}) == {version:?}");
    if run(&python, &["-c", &there]) {
        return true;
    }
    println!("installing {name} {version}");
    let make = || {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&dir).stdout(Stdio::null());
        venv.status().is_ok_and(|status| status.success())
    };
    let install_venv = || {
        install(&["python3-venv"]);
        make()
    };
    let made = run(&python, &["-m", "pip", "--version"]) || make() || (may_install() && install_venv());
    made && run(&python, &["-m", "pip", "install", "--quiet", &format!("{name}=={version}")])
}

/// Installs a program from crates.io into the target directory, once.
fn is_built(name: &str, version: &str) -> bool {
    let root = root();
    // Cargo's own list of what is there: asking cargo would need the network each time.
    let listed = std::fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
    if listed.contains(&format!("\"{name} {version} (")) {
        return true;
    }
    println!("installing {name} {version}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut install = Command::new(cargo);
    install.args(["install", "--quiet", "--locked", "--root"]).arg(&root).arg(format!("{name}@{version}"));
    install.status().is_ok_and(|status| status.success())
}

/// Keeps what is installed from starting services: tests bring up their own. Debian's packages ask this program.
struct NoServices(Option<&'static Path>);

impl NoServices {
    fn new() -> NoServices {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        let made = !policy.exists()
            && std::fs::write(policy, "#!/bin/sh\nexit 101\n").is_ok()
            && std::fs::set_permissions(policy, PermissionsExt::from_mode(0o755)).is_ok();
        NoServices(made.then_some(policy))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = self.0 {
            let _ = std::fs::remove_file(policy);
        }
    }
}

fn install(packages: &[&str]) {
    let _quiet = NoServices::new();
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let install: Vec<&str> =
        ["install", "-y", "-q", "--no-install-recommends"].iter().chain(packages).copied().collect();
    // The lists may be there already; if not, fetch them and try again.
    let _ = apt(&install) || (apt(&["update", "-q"]) && apt(&install));
}
