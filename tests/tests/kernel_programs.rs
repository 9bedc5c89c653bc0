//! Everyday programs on a mount: databases, version control, compilers, archives, and tools that verify file systems.
//!
//! `GUEST_SCALE=4` makes them four times as long.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::guest::{Guest, lab, scaled};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// How scripts mount the volume again.
const MOUNT: &str = "MOUNT=\"mount -t nfs -o vers=3,nolock $SERVER:/data /mnt/a\"";

/// Runs one script in a client with so much memory and gives its output.
async fn run(guest: &mut Guest, variables: &str, script: &str) -> String {
    let output = guest.run_for(15 * MINUTE, &format!("{MOUNT} {variables}\n{script}")).await;
    println!("{output}");
    output
}

#[test]
fn fio_verifies() {
    lab("fio_verifies", 20 * MINUTE, &[("fio", "fio")], async |lab| {
        let mut guest = lab.client(1024).await;
        run(&mut guest, &format!("MIB={}", scaled(64).max(32)), include_str!("kernel/fio.sh")).await;
        guest.shut_down().await;
    });
}

#[test]
fn dbench_runs() {
    lab("dbench_runs", 20 * MINUTE, &[("dbench", "dbench")], async |lab| {
        let mut guest = lab.client(1024).await;
        let variables = format!("SECONDS_OF_LOAD={}", scaled(20));
        run(&mut guest, &variables, include_str!("kernel/dbench.sh")).await;
        guest.shut_down().await;
    });
}

#[test]
fn git_clones_checks_and_packs() {
    lab("git_clones_checks_and_packs", 20 * MINUTE, &[("git", "git")], async |lab| {
        let mut guest = lab.client(1536).await;
        guest.bring_repository();
        run(&mut guest, "REPOSITORY=/lab/repository", include_str!("kernel/git.sh")).await;
        guest.shut_down().await;
    });
}

/// Makes four archives of a tree in `dir`.
fn archive(dir: &Path, files: u32) {
    for part in 0..4 {
        let tree = dir.join(part.to_string());
        for number in (part..files).step_by(4) {
            let sub = tree.join(format!("{:03}", number / 1000));
            if number % 1000 < 4 {
                std::fs::create_dir_all(&sub).unwrap();
            }
            let name = format!("{}{number}", "name-".repeat(number as usize % 7));
            std::fs::write(sub.join(name), vec![b'a'; number as usize * 37 % 4000]).unwrap();
        }
        let mut tar = Command::new("tar");
        tar.arg("--directory").arg(dir).arg("--create").arg("--file").arg(dir.join(format!("{part}.tar")));
        assert!(tar.arg(part.to_string()).status().unwrap().success());
        std::fs::remove_dir_all(tree).unwrap();
    }
}

#[test]
fn tar_brings_a_tree_and_finds_it() {
    lab("tar_brings_a_tree_and_finds_it", 30 * MINUTE, &[("tar", "tar")], async |lab| {
        let mut guest = lab.client(1024).await;
        let files = scaled(50_000);
        archive(guest.dir(), files);
        run(&mut guest, &format!("FILES={files}"), include_str!("kernel/tar.sh")).await;
        guest.shut_down().await;
    });
}

#[test]
fn cargo_builds_and_tests() {
    // Not rustup's stand-in, which would look for an update.
    let cargo = std::env::var_os("CARGO").unwrap();
    let toolchain = Path::new(&cargo).parent().unwrap().to_owned();
    lab("cargo_builds_and_tests", 20 * MINUTE, &[], async |lab| {
        let mut guest = lab.client(1536).await;
        let variables = format!("TOOLCHAIN='{}'", toolchain.display());
        run(&mut guest, &variables, include_str!("kernel/cargo.sh")).await;
        guest.shut_down().await;
    });
}

#[test]
fn sqlite_keeps_its_databases_whole() {
    lab("sqlite_keeps_its_databases_whole", 20 * MINUTE, &[("sqlite3", "sqlite3")], async |lab| {
        let mut guest = lab.client(512).await;
        let variables = format!("ROWS={} ROUNDS={}", scaled(5000), scaled(100));
        run(&mut guest, &variables, include_str!("kernel/sqlite.sh")).await;
        guest.shut_down().await;
    });
}

#[test]
fn postgres_keeps_its_data_whole() {
    let packages = [("pg_ctlcluster", "postgresql"), ("setpriv", "util-linux")];
    lab("postgres_keeps_its_data_whole", 30 * MINUTE, &packages, async |lab| {
        let mut guest = lab.client(1536).await;
        let variables = format!("ROWS_100000=2 SECONDS_OF_LOAD={}", scaled(20));
        run(&mut guest, &variables, include_str!("kernel/postgres.sh")).await;
        guest.shut_down().await;
    });
}

#[test]
fn stress_ng_finds_nothing() {
    lab("stress_ng_finds_nothing", 30 * MINUTE, &[("stress-ng", "stress-ng")], async |lab| {
        let mut guest = lab.client(1024).await;
        let variables = format!("SECONDS_EACH={}", scaled(1));
        run(&mut guest, &variables, include_str!("kernel/stress.sh")).await;
        guest.shut_down().await;
    });
}
