//! A Linux kernel mounts a share: in three dialects, signed and encrypted; programs that verify what they read run on it.
//!
//! `GUEST_SCALE=4` makes them four times as long.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::guest::{Guest, Lab, lab, scaled};
use serde_json::json;
use std::time::Duration;

const PASSWORD: &str = "Correct-Horse-7";
const MINUTE: Duration = Duration::from_secs(60);

/// A guest, and a share that it may mount.
async fn client(lab: &Lab, memory_mib: u32) -> Guest {
    let user = json!({ "name": "root", "uid": 0, "gid": 0, "password": PASSWORD });
    lab.api().post("/vservers/vs/users", user).await.unwrap();
    let share = json!({ "name": "data", "path": "/data" });
    lab.api().post("/vservers/vs/shares", share).await.unwrap();
    lab.boot(1, memory_mib).await
}

#[test]
fn a_kernel_uses_a_share() {
    let limit = Duration::from_secs(400);
    lab("a_kernel_uses_a_share", limit, &[("mount.cifs", "cifs-utils")], async |lab| {
        let mut guest = client(lab, 512).await;
        for options in ["vers=2.1", "vers=3.0", "vers=3.0,seal", "vers=3.1.1", "vers=3.1.1,seal"] {
            let script = format!(
                "set -e; mount -t cifs -o {options},username=root,password={PASSWORD} //$SERVER/data /mnt/a
                 rm -rf /mnt/a/d; mkdir /mnt/a/d; cd /mnt/a/d
                 head -c 20000000 /dev/urandom >f; sum=$(sha256sum <f)
                 mkdir -p x/y; for i in $(seq 100); do echo $i >x/y/file$i; done; mv x/y/file7 X7; ln f l
                 echo more >>f; truncate -s 20000000 f; rm x/y/file8
                 cd /; umount /mnt/a; mount -t cifs -o {options},username=root,password={PASSWORD} //$SERVER/data /mnt/a
                 cd /mnt/a/d; test \"$(sha256sum <L)\" = \"$sum\"; test \"$(cat x/y/*|wc -l)\" = 98; cat x7
                 stat -c '%h %s' f; cd /; umount /mnt/a"
            );
            let done = guest.try_run(Duration::from_secs(120), &script).await;
            assert_eq!(done.status, 0, "{options}: {}", done.output);
            assert_eq!(done.output.trim(), "7\n2 20000000", "{options}");
        }
        guest.shut_down().await;
    });
}

/// Runs scripts of the other kernel tests on a mount with these options.
async fn programs(lab: &mut Lab, options: &str, scripts: &[(String, &str)]) {
    let mut guest = client(lab, 1024).await;
    guest.bring_repository();
    let mount = format!(
        "MOUNT=\"mount -t cifs -o {options},username=root,password={PASSWORD} //$SERVER/data /mnt/a\""
    );
    guest.run(&format!("{mount}\n$MOUNT")).await;
    for (variables, script) in scripts {
        let output = guest.run_for(10 * MINUTE, &format!("{mount} {variables}\n{script}")).await;
        println!("{output}");
    }
    guest.shut_down().await;
}

fn fsx(operations: u32) -> (String, &'static str) {
    let seed = std::env::var("SEED").unwrap_or_else(|_| "0".to_owned());
    println!("SEED={seed}");
    // Without an oplock Linux reads and writes past a file's pages in memory: maps show something older.
    let variables = format!("NO_MAPS=1 FIRST_SEED={seed} OPERATIONS={}", scaled(operations));
    (variables, include_str!("kernel/fsx.sh"))
}

fn fio() -> (String, &'static str) {
    (format!("MIB={}", scaled(32).max(32)), include_str!("kernel/fio.sh"))
}

fn git() -> (String, &'static str) {
    ("REPOSITORY=/lab/repository".to_owned(), include_str!("kernel/git.sh"))
}

fn dbench(seconds: u32) -> (String, &'static str) {
    (format!("SECONDS_OF_LOAD={}", scaled(seconds)), include_str!("kernel/dbench.sh"))
}

const PACKAGES: [(&str, &str); 5] = [
    ("mount.cifs", "cifs-utils"),
    ("fsx", "none: cargo install fsx"),
    ("fio", "fio"),
    ("git", "git"),
    ("dbench", "dbench"),
];

/// For an engineer: `SCRIPT=FILE cargo nextest run --test kernel_smb --run-ignored only --no-capture`.
#[test]
#[ignore = "a tool: runs the script SCRIPT on a mounted share"]
fn script_on_a_share() {
    let script = std::fs::read_to_string(std::env::var_os("SCRIPT").unwrap()).unwrap();
    lab("script_on_a_share", 30 * MINUTE, &PACKAGES[..1], async |lab| {
        let options = std::env::var("MOUNT_OPTIONS").unwrap_or_else(|_| "vers=3.1.1,sign".to_owned());
        programs(lab, &options, &[(String::new(), &script)]).await;
    });
}

#[test]
fn programs_verify_a_signed_share() {
    lab("programs_verify_a_signed_share", 30 * MINUTE, &PACKAGES, async |lab| {
        programs(lab, "vers=3.1.1,sign", &[fsx(10_000), fio(), git(), dbench(10)]).await;
    });
}

#[test]
fn programs_verify_an_encrypted_share() {
    lab("programs_verify_an_encrypted_share", 30 * MINUTE, &PACKAGES, async |lab| {
        programs(lab, "vers=3.1.1,seal", &[fsx(5_000), fio(), dbench(10)]).await;
    });
}
