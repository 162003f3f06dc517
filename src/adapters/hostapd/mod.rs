//! hostapd: finds its control sockets, hears who comes and goes, sends stations away. Survives its restarts.
//!
//! [`Hostapd`] gives the events, [`HostapdControl`] takes the commands; each has its own sockets. Of its
//! configuration it writes the file of codes only; it starts and stops nothing.
//!
//! ```text
//! directory task: listens to the directory (or to the nearest one above it that exists)
//!   a socket appears ──> BSS task: ATTACH, STATUS, GET_CONFIG ──> BssUp ──> station events …
//!                          hostapd ends, or makes its socket anew ──> BssDown ──> tried again, a few times
//! ```
//!
//! A hostapd that was killed leaves its socket and says nothing; the next command finds nobody there, or its
//! successor removes the socket. Read next: `control.rs`.

mod bss;
mod code_file;
mod codec;
mod codes;
#[cfg(feature = "hostapd-conf")]
mod conf;
mod control;
mod error;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use self::code_file::{CodeFile, Form, Found};
#[cfg(feature = "hostapd-conf")]
pub use self::conf::vendor_elements;
pub use self::control::HostapdControl;
pub use self::error::HostapdError;

use self::control::Shared;
use crate::model::{Bssid, MacAddr, Ssid};

/// Where hostapd's control sockets are unless its configuration says otherwise (`ctrl_interface`).
pub const DEFAULT_DIRECTORY: &str = "/var/run/hostapd";

/// A BSS that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BssInfo {
    /// Its interface, which is the name of its control socket.
    pub name: String,
    /// Its address.
    pub bssid: Bssid,
    /// Its name on the air; empty on a wire.
    pub ssid: Ssid,
    /// How keys are agreed on (`WPA-PSK`, `SAE`, …); none on an open network and on a wire.
    pub key_mgmt: Vec<String>,
}

impl BssInfo {
    /// Whether its hostapd reads keys from a `wpa_psk_file`, if it was given one.
    pub fn takes_codes(&self) -> bool {
        self.key_mgmt
            .iter()
            .any(|agreed| agreed == "WPA-PSK" || agreed == "WPA-PSK-SHA256" || agreed == "FT-PSK")
    }

    /// Whether a password for each address opens it: WPA3 alone. In transition, reading keys sends its stations away.
    pub fn takes_passwords(&self) -> bool {
        cfg!(feature = "wpa3") && self.key_mgmt.iter().any(|agreed| agreed == "SAE") && !self.takes_codes()
    }
}

/// A station as a BSS knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationInfo {
    /// Its address.
    pub mac: MacAddr,
    /// How far it has come.
    pub state: StationState,
    /// Its frames of management are protected (`[MFP]`, IEEE 802.11w).
    pub protected: bool,
    /// Since it was last heard (`inactive_msec`); a wired driver does not say.
    pub inactive: Option<Duration>,
    /// Since it associated (`connected_time`), in whole seconds.
    pub connected: Option<Duration>,
    /// Which key of `wpa_psk_file` it used.
    pub keyid: Option<String>,
    /// Who it has proved to be, by EAP (`dot1xAuthSessionUserName`): behind a tunnel the name inside.
    pub identity: Option<String>,
    /// It says anew who it is and has not proved it; until it fails, hostapd still calls it authorised.
    pub is_asked_again: bool,
}

/// The flags of a station. One that was sent away is known without any for some five seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StationState {
    /// 802.11 authentication (`[AUTH]`).
    pub authenticated: bool,
    /// 802.11 association (`[ASSOC]`); never on a wire.
    pub associated: bool,
    /// Its port is open (`[AUTHORIZED]`).
    pub authorized: bool,
}

impl StationState {
    /// Whether the station is there: associated, or let in on a wire.
    pub fn is_present(self) -> bool {
        self.associated || self.authorized
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostapdEvent {
    /// A BSS serves; its stations so far are those of [`HostapdControl::stations`]. Also when it changed its name.
    BssUp(BssInfo),
    /// A BSS serves no more, and nobody is associated with it.
    BssDown {
        /// Its interface.
        bss: String,
    },
    /// A station was let in.
    StationConnected {
        /// The interface of the BSS.
        bss: String,
        /// The station.
        station: MacAddr,
        /// Which key of `wpa_psk_file` it used.
        keyid: Option<String>,
    },
    /// A station left or was sent away.
    StationDisconnected {
        /// The interface of the BSS.
        bss: String,
        /// The station.
        station: MacAddr,
    },
}

/// Every BSS of every hostapd whose sockets are in one directory.
#[derive(Debug)]
pub struct Hostapd {
    shared: Arc<Shared>,
    events: mpsc::UnboundedReceiver<HostapdEvent>,
    directory: JoinHandle<()>,
}

impl Hostapd {
    /// Begins to listen. `directory` need not exist yet; `own_socket_dir` must, and hostapd must be able to write
    /// to the sockets that are made there. Needs a tokio runtime.
    pub fn watch(directory: impl Into<PathBuf>, own_socket_dir: impl Into<PathBuf>) -> Hostapd {
        let shared = Arc::new(Shared::new(directory.into(), own_socket_dir.into()));
        // Unbounded: hostapd forgets who does not take its events, and stations are at most some thousands.
        let (sender, events) = mpsc::unbounded_channel();
        let directory = tokio::spawn(bss::watch_directory(Arc::clone(&shared), sender));
        Hostapd { shared, events, directory }
    }

    /// The next event. Cancel-safe.
    pub async fn next_event(&mut self) -> HostapdEvent {
        match self.events.recv().await {
            Some(event) => event,
            // The sender lives as long as the directory is watched: for ever.
            None => std::future::pending().await,
        }
    }

    /// For commands, also while [`Hostapd::next_event`] waits.
    pub fn control(&self) -> HostapdControl {
        self.shared.control()
    }

    /// The BSSes that are up.
    pub fn bsses(&self) -> Vec<BssInfo> {
        self.control().bsses()
    }
}

impl Drop for Hostapd {
    fn drop(&mut self) {
        // The tasks of the BSSes end with it.
        self.directory.abort();
    }
}
