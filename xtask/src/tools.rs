//! Programs that some tests use besides Rust. They are installed where that is possible, else their tests are skipped,
//! visibly; under continuous integration a missing one is a failure.

use crate::Failure;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program, and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const TOOLS: [Tool; 4] = [
    Tool { program: "nfs-ls", package: "libnfs-utils" },
    Tool { program: "ip", package: "iproute2" },
    Tool { program: "losetup", package: "util-linux" },
    Tool { program: "mkfs.ext4", package: "e2fsprogs" },
];

/// Makes the tools available as far as possible; gives a line for each that is missing.
pub(crate) fn prepare() -> Result<Vec<String>, Failure> {
    let missing = |tool: &&Tool| !is_there(tool.program);
    if TOOLS.iter().any(|tool| missing(&tool)) && may_install() {
        let packages: Vec<_> = TOOLS.iter().filter(missing).map(|tool| tool.package).collect();
        println!("installing {}", packages.join(" "));
        install(&packages);
    }
    let lines: Vec<_> = TOOLS
        .iter()
        .filter(missing)
        .map(|tool| format!("skipped: needs {} (package {})", tool.program, tool.package))
        .collect();
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
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// apt-get works for root alone, and is asked only where it exists.
fn may_install() -> bool {
    let owner = Command::new("id").arg("-u").output();
    let root = owner.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && Path::new("/usr/bin/apt-get").exists()
}

fn install(packages: &[&str]) {
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
