//! A real wpa_supplicant: with `-D wired`, one station that authenticates by EAP-MD5; or on a radio.

use std::fs;
use std::path::{Path, PathBuf};

use super::hostapd::{IDENTITY, PASSWORD, control};
use super::netns::Netns;
use super::proc::Program;
use super::wait::SOON;

/// A running wpa_supplicant on one interface.
#[derive(Debug)]
pub struct Supplicant {
    /// The program.
    pub program: Program,
    interface: String,
    sockets: PathBuf,
}

impl Supplicant {
    /// Starts it on a wire with the network that [`super::hostapd::Hostapd`] serves; back when the port is authorised.
    #[track_caller]
    pub fn start(netns: &Netns, interface: &str, dir: &Path) -> Self {
        let network = format!(
            "network={{\nkey_mgmt=IEEE8021X\neap=MD5\nidentity=\"{IDENTITY}\"\npassword=\"{PASSWORD}\"\n\
             eapol_flags=0\n}}\n"
        );
        let mut supplicant = Self::launch(netns, interface, dir, "wired", &format!("ap_scan=0\n{network}"));
        supplicant.wait_connected();
        supplicant
    }

    /// Starts it on a radio, with these lines of configuration. Back when its socket answers.
    #[track_caller]
    pub fn on_air(netns: &Netns, interface: &str, dir: &Path, lines: &str) -> Self {
        Self::launch(netns, interface, dir, "nl80211", lines)
    }

    /// Starts it on a wire without any network: `wayleave terminal` is to add one. Back when its socket answers.
    #[track_caller]
    pub fn start_without_network(netns: &Netns, interface: &str, dir: &Path) -> Self {
        Self::launch(netns, interface, dir, "wired", "ap_scan=0\n")
    }

    #[track_caller]
    fn launch(netns: &Netns, interface: &str, dir: &Path, driver: &str, lines: &str) -> Self {
        let sockets = dir.join(format!("wpa-{}", netns.name()));
        let config = dir.join(format!("{}.wpa.conf", netns.name()));
        let text = format!("ctrl_interface={}\n{lines}", sockets.display());
        fs::write(&config, text).expect("writable");
        let mut command = netns.command("wpa_supplicant");
        command.args(["-D", driver, "-i", interface, "-c"]).arg(&config);
        let mut program = Program::start("wpa_supplicant", command);
        program.wait_line("Successfully initialized", SOON);
        super::wait::wait_until("its control socket", SOON, || sockets.join(interface).exists());
        let supplicant = Self { program, interface: interface.to_owned(), sockets };
        assert_eq!(supplicant.command("PING"), "PONG\n");
        supplicant
    }

    /// Waits until the port is authorised.
    #[track_caller]
    pub fn wait_connected(&mut self) {
        self.program.wait_line("CTRL-EVENT-CONNECTED", SOON);
    }

    /// Where its control sockets are.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// One command; the reply.
    #[track_caller]
    pub fn command(&self, line: &str) -> String {
        control(&self.sockets.join(&self.interface), line)
    }
}
