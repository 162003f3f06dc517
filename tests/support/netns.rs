//! Named network namespaces that do not outlive the test.
//!
//! A namespace is named `wltest-PID-NUMBER-LABEL`. Dropping it kills what still runs inside, by pid, and
//! removes it. What a test left behind that was itself killed is cleared away by the next one to start.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::wait::wait_until;

const PREFIX: &str = "wltest-";
const NAMES: &str = "/run/netns";

static NUMBER: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A network namespace of this test.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one, with `lo` up and without duplicate address detection (nobody else is there to collide with).
    #[track_caller]
    pub fn new(label: &str) -> Self {
        assert!(geteuid().is_root(), "namespaces need root: sudo ./run test netns");
        SWEEP.call_once(sweep);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let netns = Self { name: format!("{PREFIX}{}-{number}-{label}", std::process::id()) };
        host(&["ip", "netns", "add", &netns.name]);
        netns.ip("link set lo up");
        netns.sysctl("net.ipv6.conf.default.accept_dad", "0");
        netns
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. The process has the pid that `spawn` says: `ip netns exec` becomes it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a command line (split at blanks) inside; its standard output. Panics when it fails.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|error| panic!("in {}: {line}: {error}", self.name))
    }

    /// Runs a command line (split at blanks) inside; its standard output, or what it complained about.
    pub fn try_run(&self, line: &str) -> Result<String, String> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().ok_or("an empty line")?);
        let output = command.args(words).output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))),
        }
    }

    /// `ip -n THIS …`
    #[track_caller]
    pub fn ip(&self, line: &str) -> String {
        let words: Vec<&str> = ["ip", "-n", &self.name].into_iter().chain(line.split_whitespace()).collect();
        host(&words)
    }

    /// `ip -n THIS -batch`: a command a line, without options before them.
    #[track_caller]
    pub fn ip_lines(&self, lines: &[&str]) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name, "-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut ip = command.spawn().expect("iproute2 is installed");
        let text = lines.join("\n") + "\n";
        ip.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
        let output = ip.wait_with_output().expect("our child");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "in {}: {text}: {complaint}", self.name);
    }

    /// Sets a sysctl of this namespace, whose names have no dots in their parts.
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let written = self.enter(|| fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("in {}: {path}: {error}", self.name));
    }

    /// Runs `work` on a thread of its own inside, and waits for it. Sockets made there stay there.
    #[track_caller]
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        let outcome = thread::scope(|scope| {
            let thread = scope.spawn(move || {
                enter_by_path(&path);
                work()
            });
            thread.join()
        });
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts a thread inside.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let path = self.path();
        thread::spawn(move || {
            enter_by_path(&path);
            work()
        })
    }

    /// Where the namespace can be opened.
    pub fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.name)
    }

    /// Pids of the processes inside.
    pub fn pids(&self) -> Vec<i32> {
        pids_in(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// A veth pair between two namespaces, both ends up.
#[track_caller]
pub fn veth(a: (&Netns, &str), b: (&Netns, &str)) {
    let (a_name, b_name) = (a.0.name(), b.0.name());
    host(&["ip", "link", "add", a.1, "netns", a_name, "type", "veth", "peer", "name", b.1, "netns", b_name]);
    a.0.ip(&format!("link set {} up", a.1));
    b.0.ip(&format!("link set {} up", b.1));
}

/// Runs a command outside of any namespace of ours; its standard output. Panics when it fails.
#[track_caller]
fn host(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", words[0]));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {}: {complaint}", words.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn enter_by_path(path: &Path) {
    let namespace = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
}

fn pids_in(name: &str) -> Vec<i32> {
    let output = Command::new("ip").args(["netns", "pids", name]).stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn remove(name: &str) {
    let own = std::process::id().cast_signed();
    for pid in pids_in(name) {
        if pid != own {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let removed = Command::new("ip").args(["netns", "del", name]).stdin(Stdio::null()).output();
    if !removed.is_ok_and(|output| output.status.success()) && !thread::panicking() {
        wait_until(&format!("{name} to be removed"), Duration::from_secs(5), || {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
            !Path::new(NAMES).join(name).exists()
        });
    }
}

/// Removes what tests left behind that are no longer there.
fn sweep() {
    for entry in fs::read_dir(NAMES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}
