//! Who gets in: POSIX ACLs beside a local ext4, privileged ports, users in more groups than a call names.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::guest::{Guest, Lab, SERVER, lab, scaled};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(900);

#[test]
fn acls_are_those_of_ext4() {
    let packages = [("setfacl", "acl"), ("mkfs.ext4", "e2fsprogs")];
    lab("acls_are_those_of_ext4", LIMIT, &packages, async |lab| {
        let mut guest = lab.client(512).await;
        let seed = std::env::var("SEED").unwrap_or_else(|_| "0".to_owned());
        println!("SEED={seed}");
        let script = format!("FIRST_SEED={seed} STEPS={}\n{}", scaled(25), include_str!("kernel/acl.sh"));
        let output = guest.run_for(Duration::from_secs(600), &script).await;
        for line in [
            "user:2001:rwx",
            "default:mask::r-x",
            "mask::-w-",
            "0 may",
            "2002 may not",
            "rw- rwx r-- r-x --- r-x --- get f",
        ] {
            assert!(output.lines().any(|found| found == line), "no {line}:\n{output}");
        }
        println!("the same {} lines on both", output.lines().next().unwrap_or_default());
        // A server that crashed knows them, too.
        let list = format!(
            "umount /mnt/a; mount -t nfs -o vers=3,nolock {SERVER}:/data /mnt/a
             cd /mnt/a; find . | sort | xargs getfacl --numeric --physical"
        );
        let before = guest.run(&list).await;
        lab.crash(Duration::from_secs(1)).await;
        assert_eq!(guest.run(&list).await, before);
        guest.shut_down().await;
    });
}

/// The one rule of the volumes' policy.
async fn set_rule(lab: &Lab, secure: bool) {
    let rule = json!({ "client": "10.77.0.0/24", "write": true, "squash": "none", "secure": secure });
    lab.api().put("/vservers/vs/export-policies/guests", json!({ "rules": [rule] })).await.unwrap();
}

async fn fails(guest: &mut Guest, script: &str) -> String {
    let done = guest.try_run(Duration::from_secs(60), script).await;
    assert_ne!(done.status, 0, "{script}: {}", done.output);
    done.output
}

#[test]
fn a_secure_export_wants_a_privileged_port() {
    lab("a_secure_export_wants_a_privileged_port", LIMIT, &[], async |lab| {
        let mut guest = lab.boot(1, 256).await;
        set_rule(lab, true).await;
        let mount = format!("mount -t nfs -o vers=3,nolock,noresvport {SERVER}:/data /mnt/a");
        let said = fails(&mut guest, &mount).await;
        assert!(said.contains("access denied"), "{said}");
        guest.mount("nolock").await;
        guest.run("echo text >/mnt/a/f; umount /mnt/a").await;
        // The rule counts for each call, also of those who are in.
        set_rule(lab, false).await;
        guest.mount("nolock,noresvport,noac").await;
        guest.run("cat /mnt/a/f").await;
        set_rule(lab, true).await;
        let said = fails(&mut guest, "cat /mnt/a/f").await;
        assert!(said.contains("Permission denied"), "{said}");
        set_rule(lab, false).await;
        guest.run("cat /mnt/a/f").await;
        guest.shut_down().await;
    });
}

/// Has this lab's server, whose mounts are its own, know a user 3777 in the groups 30000 to 30039.
fn add_user_in_40_groups(dir: &std::path::Path) {
    let groups: String = (0..40).map(|n| format!("many{n}:x:{}:many\n", 30_000 + n)).collect();
    let user = "many:x:3777:3777::/:/bin/sh\n";
    for (name, more) in [("passwd", user), ("group", &groups)] {
        let (file, etc) = (dir.join(name), format!("/etc/{name}"));
        std::fs::write(&file, std::fs::read_to_string(&etc).unwrap() + more).unwrap();
        assert!(
            Command::new("mount")
                .arg("--bind")
                .args([file.as_path(), etc.as_ref()])
                .status()
                .unwrap()
                .success()
        );
    }
}

#[test]
fn a_user_in_40_groups_gets_in() {
    lab("a_user_in_40_groups_gets_in", LIMIT, &[], async |lab| {
        let dir = tempfile::tempdir().unwrap();
        add_user_in_40_groups(dir.path());
        let mut guest = lab.boot(1, 256).await;
        guest.mount("nolock,noac").await;
        guest
            .run("cd /mnt/a; for n in 2 35; do mkdir d$n; chgrp $((30000 + n)) d$n; chmod 770 d$n; done")
            .await;
        // A call names 16 of them, the server knows the rest.
        let enter = |n: u32| {
            let groups: Vec<_> = (30_000..30_040).map(|gid| gid.to_string()).collect();
            let groups = groups.join(",");
            format!("setpriv --reuid=3777 --regid=3777 --groups={groups} touch /mnt/a/d{n}/$RANDOM")
        };
        guest.run(&enter(2)).await;
        fails(&mut guest, &enter(35)).await;
        lab.api().patch("/vservers/vs", json!({ "extended_groups": true })).await.unwrap();
        guest.run(&format!("umount /mnt/a; mount -t nfs -o vers=3,nolock {SERVER}:/data /mnt/a")).await;
        guest.run(&enter(35)).await;
        guest.run(&enter(2)).await;
        // Not everywhere.
        guest.run("cd /mnt/a; mkdir d40; chgrp 30040 d40; chmod 770 d40").await;
        fails(&mut guest, &enter(40)).await;
        guest.shut_down().await;
    });
}
