//! A real hostapd: with `driver=wired`, 802.1X on an Ethernet port and one EAP-MD5 user; or on a radio.
//!
//! On a wire it sits on the bridge port, not on the bridge: the port address group of 802.1X is link-local
//! (IEEE 802.1D, table 7-10), so a bridge hands such a frame to listeners on the port and never to itself. And
//! hostapd's own listener on UDP port 67 of its interface stays apart from the DHCP server on the bridge.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::frame::{Mac, mac_text, parse_mac};
use super::netns::Netns;
use super::proc::Program;
use super::wait::SOON;

/// The EAP identity that [`Hostapd`] knows.
pub const IDENTITY: &str = "user";
/// Its password.
pub const PASSWORD: &str = "testpass";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A running hostapd on one interface.
#[derive(Debug)]
pub struct Hostapd {
    /// The program.
    pub program: Program,
    interface: String,
    sockets: PathBuf,
    config: PathBuf,
}

impl Hostapd {
    /// Starts it on a wire; files below `dir`, control sockets in `dir/hostapd`. Back when it is ready.
    #[track_caller]
    pub fn start(netns: &Netns, interface: &str, dir: &Path) -> Self {
        let users = dir.join(format!("{interface}.eap_user"));
        fs::write(&users, format!("\"{IDENTITY}\" MD5 \"{PASSWORD}\"\n")).expect("writable");
        let text = format!(
            "driver=wired\nieee8021x=1\neapol_version=2\nuse_pae_group_addr=0\neap_reauth_period=0\n\
             eap_server=1\neap_user_file={}\nmax_num_sta=2007\n",
            users.display()
        );
        Self::with(netns, interface, dir, &text)
    }

    /// Starts it with these lines of configuration; `interface`, `ctrl_interface` and the log come before them.
    #[track_caller]
    pub fn with(netns: &Netns, interface: &str, dir: &Path, lines: &str) -> Self {
        let sockets = dir.join("hostapd");
        let config = dir.join(format!("{interface}.hostapd.conf"));
        let text = format!(
            "interface={interface}\nctrl_interface={}\nlogger_stdout=-1\nlogger_stdout_level=2\n{lines}",
            sockets.display()
        );
        fs::write(&config, text).expect("writable");
        let mut command = netns.command("hostapd");
        command.arg("-t").arg(&config);
        let mut program = Program::start("hostapd", command);
        program.wait_line("AP-ENABLED", SOON);
        Self { program, interface: interface.to_owned(), sockets, config }
    }

    /// Its configuration; read again on `SIGHUP`.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Where the control sockets are; what `wayleave` is to be told.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// One command on a control socket of its own; the reply.
    #[track_caller]
    pub fn command(&self, line: &str) -> String {
        control(&self.sockets.join(&self.interface), line)
    }

    /// The stations that are authorised.
    pub fn stations(&self) -> Vec<Mac> {
        let mut stations = Vec::new();
        let mut reply = self.command("STA-FIRST");
        while let Some(mac) = reply.lines().next().and_then(parse_mac) {
            if reply.contains("[AUTHORIZED]") {
                stations.push(mac);
            }
            reply = self.command(&format!("STA-NEXT {}", mac_text(mac)));
        }
        stations
    }

    /// Whether this station is authorised. (A deauthenticated one is known without flags for five more seconds.)
    pub fn has(&self, mac: Mac) -> bool {
        self.command(&format!("STA {}", mac_text(mac))).contains("[AUTHORIZED]")
    }
}

/// One command to a control socket of hostapd or wpa_supplicant; the reply.
#[track_caller]
pub fn control(path: &Path, line: &str) -> String {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let own = std::env::temp_dir().join(format!("wltest-ctrl-{}-{number}", std::process::id()));
    let socket = UnixDatagram::bind(&own).expect("a fresh name");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("not zero");
    let outcome = socket.connect(path).and_then(|()| socket.send(line.as_bytes())).and_then(|_| {
        let mut reply = vec![0; 65536];
        socket.recv(&mut reply).map(|length| String::from_utf8_lossy(&reply[..length]).into_owned())
    });
    let _ = fs::remove_file(&own);
    outcome.unwrap_or_else(|error| panic!("{}: {line}: {error}", path.display()))
}
