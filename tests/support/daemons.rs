//! The program itself, as a process in a namespace of the lab: each role with a configuration of its own.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::frame::mac_text;
use super::hostapd::{IDENTITY, PASSWORD};
use super::lab::{self, Lab};
use super::netns::Netns;
use super::proc::Program;
use super::wait::{SOON, wait_for, wait_until};

/// The program under test.
pub const WAYLEAVE: &str = env!("CARGO_BIN_EXE_wayleave");

static ENVIRONMENT: OnceLock<Vec<(OsString, OsString)>> = OnceLock::new();

/// What every program that this process starts from here on has in its environment. Once per process.
pub fn set_environment(variables: &[(&str, &OsStr)]) {
    let owned = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    ENVIRONMENT.set(owned).expect("it is set once");
}

/// A role of the program, to be started in a namespace; it logs everything.
fn role(netns: &str, role: &str, config: &Path) -> Command {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", netns, WAYLEAVE, role, "--log", "debug", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .envs(ENVIRONMENT.get().into_iter().flatten().map(|(name, value)| (name, value)));
    command
}

/// A gateway on the lab's router.
pub struct Gateway {
    pub program: Program,
    config: PathBuf,
    socket: PathBuf,
    netns: String,
}

impl Gateway {
    /// Starts it for the wired access point and waits until it answers. `more` is put at the end of its
    /// configuration.
    #[track_caller]
    pub fn start(lab: &Lab, more: &str) -> Self {
        let eap = format!(
            "ssid = \"Corner\"\n\
             eap = {{ method = \"MD5\", identity = \"{IDENTITY}\", password = \"{PASSWORD}\" }}\n"
        );
        Self::sharing(lab, &eap, more)
    }

    /// Starts it and waits until it answers. `network` is what its configuration says of the network on the
    /// bridge, `more` is put at the end, within `[hostapd]` until it begins another table.
    #[track_caller]
    pub fn sharing(lab: &Lab, network: &str, more: &str) -> Self {
        Self::started(&lab.gateway, lab.path(), lab.path().join("gateway"), network, more)
    }

    /// The same on another router; its files are in `lab.path()/NAME`, hostapd's control sockets in `hostapd` below that.
    #[track_caller]
    pub fn on(lab: &Lab, router: &Netns, name: &str, network: &str, more: &str) -> Self {
        let dir = lab.path().join(name);
        Self::started(router, &dir, dir.clone(), network, more)
    }

    #[track_caller]
    fn started(router: &Netns, beside: &Path, dir: PathBuf, network: &str, more: &str) -> Self {
        std::fs::create_dir_all(dir.join("run")).expect("a directory");
        let config = dir.join("gateway.toml");
        let text = format!(
            "name = \"Corner\"\ndbus = false\nstate_dir = \"{state}\"\nruntime_dir = \"{run}\"\n\
             [[network]]\ninterface = \"{bridge}\"\n{network}\
             [dhcp]\nlease_file = \"{leases}\"\n[hostapd]\ndirectory = \"{hostapd}\"\n{more}",
            state = dir.join("state").display(),
            run = dir.join("run").display(),
            bridge = lab::BRIDGE,
            hostapd = beside.join("hostapd").display(),
            leases = beside.join("dnsmasq.leases").display(),
        );
        std::fs::write(&config, text).expect("a configuration");
        let netns = router.name().to_owned();
        let program = Program::start("gateway", role(&netns, "gateway", &config));
        let gateway = Self { program, config, socket: dir.join("run/gateway.sock"), netns };
        gateway.wait_until_it_answers();
        gateway
    }

    #[track_caller]
    fn wait_until_it_answers(&self) {
        wait_for("the gateway to listen", SOON, || UnixStream::connect(&self.socket).ok());
        // It answers once everything stands.
        self.ask(json!({"verb": "status"}));
    }

    /// Starts it again, with the configuration that it had.
    #[track_caller]
    pub fn again(&mut self) {
        self.program = Program::start("gateway", role(&self.netns, "gateway", &self.config));
        self.wait_until_it_answers();
    }

    /// `wayleave gateway clear` beside it; whether it went well, and what it said.
    #[track_caller]
    pub fn clear(&self) -> (bool, String) {
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "exec", &self.netns, WAYLEAVE, "gateway", "clear", "--config"]);
        let output = command.arg(&self.config).output().expect("the program starts");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.config.parent().expect("a directory")
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One request, one answer; panics on a refusal.
    #[track_caller]
    pub fn ask(&self, request: Value) -> Value {
        let answer = self.try_ask(&request);
        answer.get("ok").cloned().unwrap_or_else(|| panic!("{request}: {answer}"))
    }

    /// One request, one answer.
    #[track_caller]
    pub fn try_ask(&self, request: &Value) -> Value {
        ask(&self.socket, request)
    }

    /// Grants by hand.
    #[track_caller]
    pub fn grant(&self, mac: [u8; 6]) {
        self.ask(json!({"verb": "grant", "grants": [{"station": mac_text(mac)}]}));
    }

    /// Evicts by hand; the report.
    #[track_caller]
    pub fn evict(&self, mac: [u8; 6]) -> Value {
        self.ask(json!({"verb": "evict", "target": {"station": mac_text(mac)}}))["report"].clone()
    }

    /// The events from here on.
    #[track_caller]
    pub fn watch(&self) -> Events {
        let mut stream = UnixStream::connect(&self.socket).expect("the gateway listens");
        stream.write_all(b"{\"verb\":\"watch\"}\n").expect("it takes requests");
        stream.set_read_timeout(Some(SOON)).expect("not zero");
        // The next answer comes only after the watch has begun.
        self.ask(json!({"verb": "status"}));
        Events(BufReader::new(stream))
    }
}

/// What happens at a gateway.
pub struct Events(BufReader<UnixStream>);

impl Events {
    /// From now on waits so long for each event, and not [`SOON`].
    #[track_caller]
    pub fn be_patient(&self, limit: Duration) {
        self.0.get_ref().set_read_timeout(Some(limit)).expect("not zero");
    }

    /// The next event with this name; others are passed over.
    #[track_caller]
    pub fn next(&mut self, name: &str) -> Value {
        let mut passed = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                panic!("no event {name}; there were {passed:?}");
            }
            let event: Value = serde_json::from_str(&line).expect("events are JSON");
            if event["event"] == name {
                return event;
            }
            passed.push(event);
        }
    }
}

/// One request over a control socket, one answer.
#[track_caller]
pub fn ask(socket: &Path, request: &Value) -> Value {
    let mut stream =
        UnixStream::connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    stream.write_all(format!("{request}\n").as_bytes()).expect("it takes requests");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer in time");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{request}: {line:?}: {error}"))
}

/// A coordinator, on the lab's internet at its own address.
pub struct CoordinatorDaemon {
    pub program: Program,
    config: PathBuf,
    socket: PathBuf,
    netns: String,
}

impl CoordinatorDaemon {
    /// Starts it and waits until it answers. `more` is put at the end of its configuration.
    #[track_caller]
    pub fn start(lab: &Lab, more: &str) -> Self {
        let dir = lab.path().join("coordinator");
        std::fs::create_dir_all(dir.join("run")).expect("a directory");
        let config = dir.join("coordinator.toml");
        let text = format!(
            "public = \"{address}:7443\"\nlisten = \"{address}:7443\"\nstate_dir = \"{state}\"\n\
             runtime_dir = \"{run}\"\n{more}",
            address = lab::COORDINATOR_V4,
            state = dir.join("state").display(),
            run = dir.join("run").display(),
        );
        std::fs::write(&config, text).expect("a configuration");
        let socket = dir.join("run/coordinator.sock");
        let program = Program::start("coordinator", role(lab.internet.name(), "coordinator", &config));
        let daemon = Self { program, config, socket, netns: lab.internet.name().into() };
        daemon.wait_until_it_answers();
        daemon
    }

    #[track_caller]
    fn wait_until_it_answers(&self) {
        wait_for("the coordinator to answer", SOON, || UnixStream::connect(&self.socket).ok());
    }

    /// Starts it again, with the configuration and the state that it had.
    #[track_caller]
    pub fn again(&mut self) {
        self.program = Program::start("coordinator", role(&self.netns, "coordinator", &self.config));
        self.wait_until_it_answers();
    }

    /// Has it read its configuration again, with this at the end; not waited for.
    #[track_caller]
    pub fn reload_with(&self, more: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(&self.config).expect("it is there");
        file.write_all(more.as_bytes()).expect("writable");
        self.program.signal(Signal::SIGHUP);
    }

    /// One request, one answer; panics on a refusal.
    #[track_caller]
    pub fn ask(&self, request: Value) -> Value {
        let answer = self.try_ask(&request);
        answer.get("ok").cloned().unwrap_or_else(|| panic!("{request}: {answer}"))
    }

    /// One request, one answer.
    #[track_caller]
    pub fn try_ask(&self, request: &Value) -> Value {
        ask(&self.socket, request)
    }

    /// A claim token for a gateway.
    #[track_caller]
    pub fn claim(&self) -> String {
        self.ask(json!({"verb": "claim"}))["token"].as_str().expect("a token").to_owned()
    }
}

/// Enrols a role that is not running.
#[track_caller]
pub fn enrol(role: &str, config: &Path, token: &str) {
    let output = Command::new(WAYLEAVE)
        .args([role, "--config"])
        .arg(config)
        .args(["enroll", token])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Gateway {
    /// Ends it, enrols it with the coordinator and starts it again; waits for the link.
    #[track_caller]
    pub fn enrol(&mut self, coordinator: &CoordinatorDaemon) {
        self.program.terminate(SOON);
        enrol("gateway", &self.config, &coordinator.claim());
        self.again();
        self.wait_for_link();
    }

    /// Until the link to the coordinator stands.
    #[track_caller]
    pub fn wait_for_link(&self) {
        wait_for("the link to stand", Duration::from_secs(60), || {
            self.ask(json!({"verb": "status"}))["link"].get("up").is_some().then_some(())
        });
    }
}

/// A terminal in a station's namespace.
pub struct Terminal {
    pub program: Program,
    pub config: PathBuf,
    pub socket: PathBuf,
}

impl Terminal {
    /// Starts it on a wire. `more` is put at the front of its configuration.
    #[track_caller]
    pub fn start(lab: &Lab, station: usize, wpa_supplicant: &Path, token: &str, more: &str) -> Self {
        let wire = format!(
            "wired = true\n{more}\naps = [{{ bssid = \"{}\", ssid = \"Corner\" }}]\n",
            mac_text(lab::PORT_MAC)
        );
        Self::with(lab, station, wpa_supplicant, token, &wire)
    }

    /// Starts it. `more` is put at the front of its configuration.
    #[track_caller]
    pub fn with(lab: &Lab, station: usize, wpa_supplicant: &Path, token: &str, more: &str) -> Self {
        let dir = lab.path().join(format!("terminal{station}"));
        std::fs::create_dir_all(dir.join("run")).expect("a directory");
        let config = dir.join("terminal.toml");
        let text = format!(
            "{more}\ninterface = \"{interface}\"\nstate_dir = \"{state}\"\nruntime_dir = \"{run}\"\n\
             wpa_supplicant = \"{wpa}\"\n",
            interface = lab::STATION,
            state = dir.join("state").display(),
            run = dir.join("run").display(),
            wpa = wpa_supplicant.display(),
        );
        std::fs::write(&config, text).expect("a configuration");
        enrol("terminal", &config, token);
        let command = role(lab.stations[station].netns.name(), "terminal", &config);
        let program = Program::start("terminal", command);
        Self { program, config, socket: dir.join("run/terminal.sock") }
    }

    /// Its configuration.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// How it stands.
    #[track_caller]
    pub fn status(&self) -> Value {
        ask(&self.socket, &json!({"verb": "status"}))["ok"].clone()
    }

    /// Waits until it has looked around so often from now on.
    #[track_caller]
    pub fn wait_looks(&self, times: usize, limit: Duration) {
        let (mut looks, mut is_looking) = (0, false);
        wait_until("the terminal to have looked around", limit, || {
            let before = std::mem::replace(&mut is_looking, self.status()["state"] == "scanning");
            // One that is under way began with what was known then.
            looks += usize::from(!before && is_looking);
            looks > times
        });
    }

    /// Starts it again, with the configuration and the state that it had.
    #[track_caller]
    pub fn again(&mut self, lab: &Lab, station: usize) {
        let command = role(lab.stations[station].netns.name(), "terminal", &self.config);
        self.program = Program::start("terminal", command);
    }
}
