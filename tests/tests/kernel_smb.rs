//! A Linux kernel mounts a share, in three dialects, signed and encrypted.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::guest::lab;
use serde_json::json;
use std::time::Duration;

const PASSWORD: &str = "Correct-Horse-7";

#[test]
fn a_kernel_uses_a_share() {
    let limit = Duration::from_secs(400);
    lab("a_kernel_uses_a_share", limit, &[("mount.cifs", "cifs-utils")], async |lab| {
        let user = json!({ "name": "root", "uid": 0, "gid": 0, "password": PASSWORD });
        lab.api().post("/vservers/vs/users", user).await.unwrap();
        let share = json!({ "name": "data", "path": "/data" });
        lab.api().post("/vservers/vs/shares", share).await.unwrap();
        let mut guest = lab.boot(1, 512).await;
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
