//! A Linux kernel mounts a volume, without being told any port, and finds its files again.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::guest::lab;
use std::time::Duration;

#[test]
fn a_kernel_mounts_and_reads_what_it_wrote() {
    lab("a_kernel_mounts_and_reads_what_it_wrote", Duration::from_secs(120), &[], async |lab| {
        let mut guest = lab.client(512).await;
        let script = "
            cd /mnt/a; mkdir d; head -c 30000000 /dev/urandom >d/f; ln -s d/f s; mkfifo p; ln d/f l
            sum=$(sha256sum <s); cd /; umount /mnt/a
            mount -t nfs -o vers=3,nolock $SERVER:/data /mnt/a
            cd /mnt/a; test \"$(sha256sum <l)\" = \"$sum\"; stat -c '%n: %F, %h, %s' d/f p s";
        let listing = guest.run(script).await;
        let expected = "d/f: regular file, 2, 30000000\np: fifo, 1, 0\ns: symbolic link, 1, 3\n";
        assert_eq!(listing.trim(), expected.trim());
        guest.shut_down().await;
    });
}

/// For an engineer: `SCRIPT=FILE cargo nextest run --test kernel_mount --run-ignored only --no-capture`.
#[test]
#[ignore = "runs a script of one's own"]
fn by_hand() {
    let script = std::fs::read_to_string(std::env::var_os("SCRIPT").unwrap()).unwrap();
    lab("by_hand", Duration::from_secs(1800), &[], async |lab| {
        let done = lab.client(2048).await.try_run(Duration::from_secs(1700), &script).await;
        println!("{}\nstatus {}, {:.1} s", done.output, done.status, done.took.as_secs_f64());
    });
}
