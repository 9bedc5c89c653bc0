//! One guest: its kernel's command line, its network device, and the scripts that it runs.

use super::server::{SERVER, ip};
use crate::ferry;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// The guest's first process.
const INIT: &str = include_str!("init.sh");
/// See there.
const XSTATE: &str = include_str!("xstate.c");
/// Begins a line of the guest that is not output of a script.
const MARK: &str = "<guest>";
const BOOT_MAX: Duration = Duration::from_secs(60);
/// For a script, unless it's told otherwise.
const SCRIPT_MAX: Duration = Duration::from_secs(300);
/// Of what a failed script said, shown last.
const TAIL_LINES: usize = 60;

/// A running guest. Everything dies with the lab's namespaces.
#[derive(Debug)]
pub struct Guest {
    id: u8,
    dir: PathBuf,
    kernel: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    scripts: u32,
}

/// What came of a script.
#[derive(Debug)]
pub struct Done {
    /// Its exit status.
    pub status: i32,
    /// What it printed, on either stream.
    pub output: String,
    /// How long it took.
    pub took: Duration,
}

/// Puts into `dir` what every guest of the lab needs.
///
/// # Panics
/// If the C compiler fails.
pub fn prepare(dir: &Path) {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("the lab's directory can be written to");
        path
    };
    let init = write("init.sh", INIT);
    std::fs::set_permissions(init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
    let source = write("xstate.c", XSTATE);
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(dir.join("xstate.so")).arg(source).arg("-ldl");
    let output = gcc.output().expect("gcc starts");
    assert!(output.status.success(), "gcc: {}", String::from_utf8_lossy(&output.stderr));
}

impl Guest {
    /// Boots guest `id` (1 to 250) with so much memory, where [`prepare`] was. Nobody reaches it yet.
    ///
    /// # Panics
    /// If it doesn't come up.
    pub async fn boot(lab: &Path, id: u8, memory_mib: u32) -> Guest {
        let dir = lab.join(format!("guest{id}"));
        std::fs::create_dir_all(&dir).expect("the guest's directory");
        let [.., server] = SERVER.octets();
        let address = format!("10.77.0.{}", server + id);
        let tools = ferry::tools_dir();
        let environment = format!(
            "GUEST={id} SERVER={SERVER} ADDRESS={address} MARK='{MARK}'\nPATH=$PATH:{}\n",
            tools.display()
        );

        std::fs::write(dir.join("environment"), environment).expect("the guest's directory");
        let tap = format!("tap{id}");
        ip(&format!("tuntap add dev {tap} mode tap"));
        ip(&format!("link set {tap} up txqueuelen 1000"));
        let mut kernel = kernel(lab, &dir, &tap, memory_mib);
        let input = kernel.stdin.take().expect("a pipe");
        let output = BufReader::new(kernel.stdout.take().expect("a pipe"));
        let mut guest = Guest { id, dir, kernel, input, output, scripts: 0 };
        let mut said = String::new();
        let ready = tokio::time::timeout(BOOT_MAX, guest.until_mark(&mut said)).await;
        assert!(
            matches!(ready.as_ref().map(String::as_str), Ok("ready")),
            "{ready:?}, {said}\n{}",
            guest.console()
        );
        guest
    }

    /// Its network device, on the host's side.
    fn tap(&self) -> String {
        format!("tap{}", self.id)
    }

    /// Joins it to this namespace, which has the address [`SERVER`].
    ///
    /// # Panics
    /// If it has not.
    pub fn route(&self) {
        let (id, tap) = (SERVER.octets()[3] + self.id, self.tap());
        ip(&format!("route replace 10.77.0.{id}/32 dev {tap} src {SERVER}"));
    }

    /// Joins it to a bridge of this namespace.
    ///
    /// # Panics
    /// If there is none of this name.
    pub(super) fn plug_into(&self, bridge: &str) {
        ip(&format!("link set {} master {bridge}", self.tap()));
    }

    /// What is in this directory, the guest sees in `/lab`, and the other way round.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts a git repository into `/lab/repository`: this project's own, as its history is as real as any. It's a copy, as a
    /// guest does not see all places of the host.
    ///
    /// # Panics
    /// If git fails.
    pub fn bring_repository(&self) {
        let mut git = Command::new("git");
        git.args(["-c", "safe.directory=*", "clone", "--quiet", "--bare"]);
        git.arg(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the repository"));
        let status = git.arg(self.dir.join("repository")).status().expect("git starts");
        assert!(status.success(), "git: {status}");
    }

    /// The end of what the guest's kernel said.
    fn console(&self) -> String {
        let console = std::fs::read(self.dir.join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&console);
        format!("guest {}'s console:\n{}", self.id, tail(&text))
    }

    /// Collects output up to the next mark, and gives what stands behind it.
    async fn until_mark(&mut self, said: &mut String) -> String {
        let mut line = Vec::new();
        loop {
            line.clear();
            let len = self.output.read_until(b'\n', &mut line).await.expect("a pipe can be read");
            if len == 0 {
                return "the guest is gone".to_owned();
            }
            let text = String::from_utf8_lossy(&line);
            if let Some(mark) = text.strip_prefix(MARK) {
                return mark.trim().to_owned();
            }
            said.push_str(&text);
        }
    }

    /// Runs a bash script, and gives what came of it. What it leaves in the background must not hold its output open.
    ///
    /// # Panics
    /// If it takes longer than `limit`, or the guest dies.
    pub async fn try_run(&mut self, limit: Duration, script: &str) -> Done {
        self.scripts += 1;
        let file = self.dir.join(format!("{}.sh", self.scripts));
        std::fs::write(file, script).expect("the guest's directory");
        let line = format!("{}\n", self.scripts);
        let begun = Instant::now();
        self.input.write_all(line.as_bytes()).await.expect("the guest listens");
        self.input.flush().await.expect("the guest listens");
        let mut output = String::new();
        let end = tokio::time::timeout(limit, self.until_mark(&mut output)).await;
        let Some(status) = end.as_ref().ok().and_then(|mark| mark.parse().ok()) else {
            let why = end.unwrap_or_else(|_| format!("not done after {} s", limit.as_secs()));
            panic!("{why}: {script}\n{}\n{}", tail(&output), self.console());
        };
        Done { status, output, took: begun.elapsed() }
    }

    /// Runs a bash script for up to `limit` (which is scaled, see [`super::scale`]) and gives its output.
    ///
    /// # Panics
    /// If a command of it fails.
    pub async fn run_for(&mut self, limit: Duration, script: &str) -> String {
        let done = self
            .try_run(limit.mul_f64(super::scale().max(1.0)), &format!("set -euo pipefail\n{script}"))
            .await;
        let first = script.trim().lines().next().unwrap_or_default();
        println!("guest {}, {:.1} s: {first}", self.id, done.took.as_secs_f64());
        assert!(done.status == 0, "status {}\n{}\n{}", done.status, tail(&done.output), self.console());
        done.output
    }

    /// Runs a bash script and gives its output.
    ///
    /// # Panics
    /// If a command of it fails, or it takes minutes.
    pub async fn run(&mut self, script: &str) -> String {
        self.run_for(SCRIPT_MAX, script).await
    }

    /// Mounts the volume on `/mnt/a`.
    ///
    /// # Panics
    /// If that fails.
    pub async fn mount(&mut self, options: &str) {
        let comma = if options.is_empty() { "" } else { "," };
        self.run(&format!("mount -t nfs -o vers=3{comma}{options} {SERVER}:/data /mnt/a")).await;
    }

    /// Powers it off.
    ///
    /// # Panics
    /// If the guest is gone.
    pub async fn shut_down(mut self) {
        self.input.write_all(b"end\n").await.expect("the guest listens");
        let _ = tokio::time::timeout(Duration::from_secs(5), self.kernel.wait()).await;
        let _ = self.kernel.kill().await;
    }
}

fn kernel(lab: &Path, dir: &Path, tap: &str, memory_mib: u32) -> Child {
    let mut words = format!(
        "root=/dev/root rootfstype=hostfs rootflags=/ ro quiet loglevel=4 mem={memory_mib}M con=null ssl=null \
         con0=null,fd:1 ssl0=fd:3,fd:4 vec0:transport=tap,ifname={tap},depth=128,gro=1 umid=guest"
    );
    for (name, path) in [("init", lab.join("init.sh")), ("ferry_lab", dir.into()), ("uml_dir", dir.into())] {
        let _ = write!(words, " {name}={}", path.display());
    }
    let console = std::fs::File::create(dir.join("console")).expect("the guest's directory");
    // The serial line is the two pipes, the console a file.
    tokio::process::Command::new("bash")
        .args(["-c", "exec 3<&0 4>&1 0</dev/null 1>&2; exec linux.uml \"$@\"", "linux.uml"])
        .args(words.split_whitespace())
        .env("LD_PRELOAD", lab.join("xstate.so"))
        // Where its memory is: it must be executable, and is freed with the process.
        .env("TMPDIR", "/dev/shm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(console)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .expect("the guest's kernel starts")
}

pub(super) fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
