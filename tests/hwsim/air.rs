//! Radios that are made for one scenario, and a capture of everything that any of them sends.
//!
//! mac80211_hwsim is loaded with as many radios as are wanted and unloaded at the end, so that no scenario sees
//! what another one left behind. What is on the air is heard by the module's own monitor `hwsim0`. A panic keeps
//! the capture.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::capture::{Frame, frames};
use super::support::frame::{Mac, parse_mac};
use super::support::netns::Netns;
use super::support::proc::Program;
use super::support::wait::{SOON, wait_for, wait_until};

/// Set in the virtual machine: the folder for what is kept. Without it nothing is loaded: whoever manages the
/// networks of an ordinary machine would take hold of the radios.
const KEPT: &str = "WAYLEAVE_RADIOS";
const MODULE: &str = "mac80211_hwsim";

/// All radios, and what they sent. To be dropped after the namespaces that hold radios.
#[derive(Debug)]
pub struct Air {
    /// In the order of their addresses.
    pub radios: Vec<Radio>,
    tcpdump: Program,
    capture: PathBuf,
    kept: PathBuf,
}

/// A radio with one interface.
#[derive(Clone, Debug)]
pub struct Radio {
    /// Its name in `iw`.
    pub phy: String,
    /// The name of the interface that it came with.
    pub interface: String,
    /// Its address.
    pub mac: Mac,
}

impl Air {
    /// So many radios for a scenario, on air that nobody else uses.
    #[track_caller]
    pub fn new(scenario: &str, radios: usize) -> Self {
        let kept = std::env::var_os(KEPT).unwrap_or_else(|| panic!("{KEPT} is not set: ./run test hwsim"));
        unload();
        run(&format!("modprobe {MODULE} radios={radios}"));
        wait_until("the radios", SOON, || phys().len() == radios);
        run("ip link set hwsim0 up");
        let capture = std::env::temp_dir().join(format!("{scenario}.pcap"));
        let mut command = Command::new("tcpdump");
        // Written out frame by frame: it is read while it grows.
        command.args(["-i", "hwsim0", "-U", "--immediate-mode", "-Z", "root", "-w"]).arg(&capture);
        let mut tcpdump = Program::start("tcpdump", command);
        tcpdump.wait_line("listening on", SOON);
        let radios = phys().into_iter().map(Radio::new).collect();
        Self { radios, tcpdump, capture, kept: Path::new(&kept).join(format!("{scenario}.pcap")) }
    }

    /// Every frame sent so far, in order.
    pub fn frames(&self) -> Vec<Frame> {
        frames(&fs::read(&self.capture).expect("tcpdump writes it"))
    }

    /// Waits for a frame on the air, from the first one on.
    #[track_caller]
    pub fn wait_frame(&self, what: &str, limit: Duration, wanted: impl Fn(&Frame) -> bool) -> Frame {
        wait_for(what, limit, || self.frames().into_iter().find(&wanted))
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        self.tcpdump.kill();
        if std::thread::panicking() {
            let copied = fs::copy(&self.capture, &self.kept);
            let name = self.kept.file_name().unwrap_or_default().display();
            match copied {
                Ok(length) => eprintln!("---- what was on the air: target/hwsim/{name}, {length} bytes"),
                Err(error) => eprintln!("---- what was on the air cannot be kept: {error}"),
            }
        } else {
            unload();
        }
    }
}

impl Radio {
    fn new(phy: String) -> Self {
        let interfaces = fs::read_dir(format!("/sys/class/ieee80211/{phy}/device/net")).expect("a radio");
        let interface = interfaces.flatten().next().expect("one interface").file_name();
        let interface = interface.into_string().expect("ASCII");
        let mac = fs::read_to_string(format!("/sys/class/net/{interface}/address")).expect("an address");
        Self { phy, mac: parse_mac(mac.trim()).expect("an address"), interface }
    }

    /// Moves it into a namespace; its interface is called `interface` there.
    #[track_caller]
    pub fn move_to(&self, netns: &Netns, interface: &str) {
        run(&format!("iw phy {} set netns name {}", self.phy, netns.name()));
        netns.ip(&format!("link set {} name {interface}", self.interface));
    }

    /// Nobody hears it any more and it hears nobody, as if it were switched off; it is told nothing of it.
    pub fn shield(&self) {
        self.join_group("0x2");
    }

    /// The end of [`Radio::shield`].
    pub fn unshield(&self) {
        self.join_group("0x1");
    }

    /// Only radios that have a bit in common hear each other; all begin with the first.
    fn join_group(&self, bits: &str) {
        let group = format!("/sys/kernel/debug/ieee80211/{}/hwsim/group", self.phy);
        fs::write(&group, bits).unwrap_or_else(|error| panic!("{group}: {error}"));
    }
}

/// The radios outside of any namespace of ours, in the order of their addresses.
fn phys() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/ieee80211").into_iter().flatten().flatten();
    let mut phys: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    phys.sort_by_key(|phy| phy.trim_start_matches("phy").parse::<u32>().ok());
    phys
}

#[track_caller]
fn unload() {
    if Path::new("/sys/module").join(MODULE).exists() {
        // Busy for as long as anybody has one of its interfaces open.
        wait_until("the radios to be unloaded", SOON, || try_run(&format!("modprobe -r {MODULE}")).is_ok());
    }
}

#[track_caller]
fn run(line: &str) {
    try_run(line).unwrap_or_else(|error| panic!("{line}: {error}"));
}

fn try_run(line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().expect("a program")).args(words).output();
    let output = output.map_err(|error| error.to_string())?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(complaint) }
}
