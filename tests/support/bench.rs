//! What the benches share: a gateway at its usual log level, a caller that stays connected, percentiles.
//!
//! Not for tests: those look at whether something is so, not at how long it takes. Times are
//! `CLOCK_MONOTONIC` (`Instant`), read in the process of the bench.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::frame::{Mac, mac_text};
use super::lab;
use super::netns::Netns;
use super::proc::Program;
use super::wait::{SOON, wait_for};

/// A gateway that logs as an installed one does; the program may be another build than the bench's own.
pub struct Quiet {
    pub program: Program,
    socket: PathBuf,
}

impl Quiet {
    /// Starts it on [`lab::BRIDGE`] of a namespace; files below `dir`. Back when it answers.
    #[track_caller]
    pub fn start(program: &Path, netns: &Netns, dir: &Path) -> Self {
        Self::start_with(program, netns, dir, "")
    }

    /// As [`Quiet::start`]; `more` is put at the end of its configuration.
    #[track_caller]
    pub fn start_with(program: &Path, netns: &Netns, dir: &Path, more: &str) -> Self {
        Self::start_under(program, netns, dir, more, &[])
    }

    /// As [`Quiet::start_with`], with these in its environment: what a service manager says to it.
    #[track_caller]
    pub fn start_under(
        program: &Path,
        netns: &Netns,
        dir: &Path,
        more: &str,
        manager: &[(String, String)],
    ) -> Self {
        let own = dir.join("gateway");
        fs::create_dir_all(own.join("run")).expect("a directory");
        let config = own.join("gateway.toml");
        let text = format!(
            "name = \"Corner\"\nstate_dir = \"{own}/state\"\nruntime_dir = \"{own}/run\"\n\
             [[network]]\ninterface = \"{bridge}\"\n\
             [hostapd]\ndirectory = \"{dir}/hostapd\"\n[dhcp]\nlease_file = \"{dir}/dnsmasq.leases\"\n{more}",
            own = own.display(),
            dir = dir.display(),
            bridge = lab::BRIDGE,
        );
        fs::write(&config, text).expect("a configuration");
        let mut command = netns.command(program);
        command.args(["gateway", "--config"]).arg(&config);
        command.envs(manager.iter().cloned());
        let gateway =
            Self { program: Program::start("gateway", command), socket: own.join("run/gateway.sock") };
        wait_for("the gateway to listen", SOON, || UnixStream::connect(&gateway.socket).ok());
        gateway.caller().ask(&json!({"verb": "status"}));
        gateway
    }

    /// A connection to its control socket.
    #[track_caller]
    pub fn caller(&self) -> Caller {
        let stream = UnixStream::connect(&self.socket).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("not zero");
        Caller { stream: BufReader::new(stream), line: String::new() }
    }
}

/// A connection to a control socket, kept for many requests.
pub struct Caller {
    stream: BufReader<UnixStream>,
    line: String,
}

impl Caller {
    /// One request: when it was written, when its answer was read whole, and the answer's `ok`.
    #[track_caller]
    pub fn timed(&mut self, request: &Value) -> (Instant, Instant, Value) {
        let line = format!("{request}\n");
        let (begin, end) = self.exchange(&line);
        let answer: Value = serde_json::from_str(&self.line).expect("answers are JSON");
        let ok = answer.get("ok").unwrap_or_else(|| panic!("{:.200}: {answer}", line)).clone();
        (begin, end, ok)
    }

    fn exchange(&mut self, line: &str) -> (Instant, Instant) {
        self.line.clear();
        let begin = Instant::now();
        self.stream.get_mut().write_all(line.as_bytes()).expect("it takes requests");
        self.stream.read_line(&mut self.line).expect("an answer in time");
        (begin, Instant::now())
    }

    /// One request; panics on a refusal.
    #[track_caller]
    pub fn ask(&mut self, request: &Value) -> Value {
        self.timed(request).2
    }
}

/// The address of guest `number`, none of the lab's.
pub fn guest(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    [0x06, 0x77, a, b, c, d]
}

/// The request that grants to these at once, without end and limit.
pub fn grants(stations: impl IntoIterator<Item = Mac>) -> Value {
    let grants: Vec<Value> =
        stations.into_iter().map(|station| json!({"station": mac_text(station)})).collect();
    json!({"verb": "grant", "grants": grants})
}

/// As [`grants`], each limited to so many bytes.
pub fn limited_grants(stations: impl IntoIterator<Item = Mac>, quota: u64) -> Value {
    let grants: Vec<Value> =
        stations.into_iter().map(|station| json!({"station": mac_text(station), "quota": quota})).collect();
    json!({"verb": "grant", "grants": grants})
}

/// The value below which this share of the samples lies, by the nearest rank.
#[track_caller]
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The value in the middle.
#[track_caller]
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// Three digits after the point are more than any of these figures is good for.
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// How many processes wanted a processor in the last minute, others' included: `/proc/loadavg`.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// The kernel that runs, as `uname -r` says it.
pub fn kernel() -> String {
    let name = nix::sys::utsname::uname().map(|uname| uname.release().to_string_lossy().into_owned());
    name.unwrap_or_default()
}

/// A line of `/proc/PID/status` that is a number, such as `VmRSS` (in KiB).
#[track_caller]
pub fn status_number(path: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {key} in {}", path.display()))
}

/// Resident memory of a process, in bytes.
#[track_caller]
pub fn rss_bytes(pid: i32) -> u64 {
    status_number(Path::new(&format!("/proc/{pid}/status")), "VmRSS") * 1024
}
