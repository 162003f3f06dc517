//! A real wpa_supplicant with `-D wired`: one station that authenticates by EAP-MD5.

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
    /// Starts it with the network that [`super::hostapd::Hostapd`] serves; back when the port is authorised.
    #[track_caller]
    pub fn start(netns: &Netns, interface: &str, dir: &Path) -> Self {
        let network = format!(
            "network={{\nkey_mgmt=IEEE8021X\neap=MD5\nidentity=\"{IDENTITY}\"\npassword=\"{PASSWORD}\"\n\
             eapol_flags=0\n}}\n"
        );
        let mut supplicant = Self::launch(netns, interface, dir, &network);
        supplicant.wait_connected();
        supplicant
    }

    /// Starts it without any network: `wayleave terminal` is to add one. Back when its socket answers.
    #[track_caller]
    pub fn start_without_network(netns: &Netns, interface: &str, dir: &Path) -> Self {
        let supplicant = Self::launch(netns, interface, dir, "");
        assert_eq!(supplicant.command("PING"), "PONG\n");
        supplicant
    }

    #[track_caller]
    fn launch(netns: &Netns, interface: &str, dir: &Path, network: &str) -> Self {
        let sockets = dir.join(format!("wpa-{}", netns.name()));
        let config = dir.join(format!("{}.wpa.conf", netns.name()));
        let text = format!("ctrl_interface={}\nap_scan=0\n{network}", sockets.display());
        fs::write(&config, text).expect("writable");
        let mut command = netns.command("wpa_supplicant");
        command.args(["-D", "wired", "-i", interface, "-c"]).arg(&config);
        let mut program = Program::start("wpa_supplicant", command);
        program.wait_line("Successfully initialized", SOON);
        super::wait::wait_until("its control socket", SOON, || sockets.join(interface).exists());
        Self { program, interface: interface.to_owned(), sockets }
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
