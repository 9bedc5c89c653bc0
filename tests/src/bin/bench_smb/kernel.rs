//! The same servers under a Linux kernel: a guest (`ferry_tests::guest`) mounts them in turn and runs what people run.
//!
//! The guest has one processor and no KVM. Where it is the slower side rates say little, and the server's processor time all
//! the more.

use crate::files::{CACHED, CACHED_BYTES};
use crate::load::SHARE;
use crate::login::{PASSWORD, USER};
use crate::servers::Server;
use anyhow::{Result, ensure};
use ferry_tests::bench::{Better, Kind};
use ferry_tests::guest::{self, Guest, SERVER};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What guests need beside what every guest does.
const PACKAGES: [(&str, &str); 2] = [("mount.cifs", "cifs-utils"), ("fio", "fio")];
const MEMORY_MIB: u32 = 768;
const SCRIPT_MAX: Duration = Duration::from_secs(180);

const WRITTEN_MIB: u64 = 128;
const CALLS: u64 = 8_192;
const FILES: u64 = 1_000;

const READ: &str = "dd if=$CACHED of=/dev/null bs=1M status=none";
const WRITE: &str = "dd if=/dev/zero of=scratch/new bs=1M count=$WRITTEN_MIB conv=fsync status=none";
const READ_RANDOM: &str = "random randread";
const WRITE_RANDOM: &str = "random randwrite";
const MAKE: &str = "for i in $(seq $FILES); do : >scratch/$i; done; rm scratch/[0-9]*";
const LIST: &str = "test $(ls -f many | wc -l) -ge $NAMES";

/// A row, in its two figures.
pub(crate) struct Row {
    pub(crate) rate: Kind,
    pub(crate) processor: Kind,
    /// Of the mount.
    options: &'static str,
    script: &'static str,
    /// What the script does in a directory with so many names, in units of the row.
    amount: fn(u64) -> f64,
}

fn row(
    what: &str,
    (rate, each): (&'static str, &'static str),
    script: &'static str,
    amount: fn(u64) -> f64,
) -> Row {
    let figure = |more: &str, unit, better| Kind {
        row: format!("kernel's client: {what}{more}").leak(),
        unit,
        better,
        durability: if script == WRITE {
            "all of it at the fsync, on both sides"
        } else {
            "nothing, on either side"
        },
    };
    Row {
        rate: figure("", rate, Better::More),
        processor: figure(": server's processor time", each, Better::Less),
        options: "vers=3.1.1",
        script,
        amount,
    }
}

/// All rows, in order.
pub(crate) fn rows() -> Vec<Row> {
    let mib = ("MiB/s", "us/MiB");
    let request = ("requests/s", "us/request");
    let mut rows = Vec::new();
    for (what, options) in
        [("", "vers=3.1.1"), (", signed", "vers=3.1.1,sign"), (", encrypted", "vers=3.1.1,seal")]
    {
        let read = row(&format!("READ{what}"), mib, READ, |_| (CACHED_BYTES >> 20) as f64);
        let write = row(&format!("WRITE and fsync{what}"), mib, WRITE, |_| WRITTEN_MIB as f64);
        rows.extend([Row { options, ..read }, Row { options, ..write }]);
    }
    rows.extend([
        row("READ 4 KiB random", request, READ_RANDOM, |_| CALLS as f64),
        row("WRITE 4 KiB random", request, WRITE_RANDOM, |_| CALLS as f64),
        row("files made and removed", ("files/s", "us/file"), MAKE, |_| FILES as f64),
        row("a large directory listed", ("entries/s", "us/entry"), LIST, |names| names as f64),
    ]);
    rows
}

/// A guest.
pub(crate) struct Client {
    runtime: Runtime,
    guest: Guest,
    names: u64,
    _dir: TempDir,
}

impl Client {
    /// Boots it. `None`: something is missing, and was named.
    pub(crate) fn boot(names: u64) -> Result<Option<Client>> {
        if !guest::met(&PACKAGES) {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        let runtime = Runtime::new()?;
        guest::prepare(dir.path());
        let guest = runtime.block_on(Guest::boot(dir.path(), 1, MEMORY_MIB));
        guest.route();
        Ok(Some(Client { runtime, guest, names, _dir: dir }))
    }

    /// What a row did in a second, and the server's processor time for each of that, in microseconds.
    pub(crate) fn measure(&mut self, row: &Row, server: &Server) -> Result<(f64, f64)> {
        let options = row.options;
        let port = server.address.port();
        self.run(&format!(
            "mount -t cifs -o {options},port={port},username={USER},password={PASSWORD} //{SERVER}/{SHARE} /mnt/a"
        ))?;
        rustix::fs::sync();
        let before = server.processor_time()?;
        let names = self.names;
        let took = self.run(&format!(
            "CACHED={CACHED} WRITTEN_MIB={WRITTEN_MIB} FILES={FILES} NAMES={names}
             random() {{
                 fio --name=random --filename=$CACHED --size={CACHED_BYTES} --rw=$1 --bs=4k --direct=1 --ioengine=libaio \
                     --iodepth=16 --number_ios={CALLS} --randseed=7 >/tmp/fio || {{ cat /tmp/fio; exit 1; }}
             }}
             cd /mnt/a; {script}",
            script = row.script
        ))?;
        let used = server.processor_time()?.saturating_sub(before);
        self.run("umount /mnt/a")?;
        let amount = (row.amount)(names);
        Ok((amount / took.as_secs_f64(), used.as_secs_f64() * 1e6 / amount))
    }

    fn run(&mut self, script: &str) -> Result<Duration> {
        let script = format!("set -euo pipefail\n{script}");
        let done = self.runtime.block_on(self.guest.try_run(SCRIPT_MAX, &script));
        ensure!(done.status == 0, "status {} of {script}: {}", done.status, done.output);
        Ok(done.took)
    }
}
