//! Flow 1 set up: coordinator, gateway, hostapd and wpa_supplicants, all real, waiting for terminals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::daemons::{CoordinatorDaemon, Gateway, Terminal};
use super::frame::mac_text;
use super::hostapd::Hostapd;
use super::lab::{self, Lab, Wish};
use super::wait::{SOON, wait_until};
use super::wpa::Supplicant;

/// Silence after 600 ms.
pub const QUICK: &str = "[heartbeat]\ninterval = \"200ms\"\nlapse_factor = 3\n[patience]\nlease = \"30s\"\ngrant = \"5s\"\n\
                     join = \"8s\"\ninquiry = \"500ms\"\n";

/// Everything but the terminals.
pub struct Stage {
    pub coordinator: CoordinatorDaemon,
    pub gateway: Gateway,
    pub hostapd: Hostapd,
    pub supplicants: Vec<(Supplicant, PathBuf)>,
    pub lab: Lab,
}

impl Stage {
    /// `coordinator`: keys of the coordinator's configuration.
    #[track_caller]
    pub fn new(coordinator: &str) -> Self {
        Self::with(coordinator, QUICK)
    }

    /// With other times than [`QUICK`].
    #[track_caller]
    pub fn with(coordinator: &str, timing: &str) -> Self {
        Self::set_up(&format!("{coordinator}{timing}"), "")
    }

    /// With this at the end of the gateway's configuration.
    #[track_caller]
    pub fn gateway_with(gateway: &str) -> Self {
        Self::set_up(QUICK, gateway)
    }

    #[track_caller]
    fn set_up(coordinator: &str, gateway: &str) -> Self {
        let lab = Lab::new(Wish { stations: 2, ..Wish::default() });
        let hostapd = lab.hostapd();
        let coordinator = CoordinatorDaemon::start(&lab, coordinator);
        let mut gateway = Gateway::start(&lab, gateway);
        gateway.enrol(&coordinator);
        let supplicants = lab
            .stations
            .iter()
            .map(|station| {
                let supplicant = Supplicant::start_without_network(&station.netns, lab::STATION, lab.path());
                (supplicant, lab.path().join(format!("wpa-{}", station.netns.name())))
            })
            .collect();
        // The coordinator knows the access point once hostapd has told the gateway.
        wait_until("the network to be announced", SOON, || {
            coordinator.ask(json!({"verb": "gateways"})).to_string().contains(&mac_text(lab::PORT_MAC))
                || gateway.ask(json!({"verb": "status"}))["bsses"] == 1
        });
        Self { coordinator, gateway, hostapd, supplicants, lab }
    }

    /// Enrols and starts the agent of a station.
    #[track_caller]
    pub fn terminal(&self, station: usize) -> Terminal {
        self.terminal_with(station, "")
    }

    /// The same, with this in its configuration.
    #[track_caller]
    pub fn terminal_with(&self, station: usize, more: &str) -> Terminal {
        let token = self.coordinator.ask(json!({"verb": "claim", "role": "terminal"}));
        let token = token["token"].as_str().expect("a token").to_owned();
        let directory: &Path = &self.supplicants[station].1;
        Terminal::start(&self.lab, station, directory, &token, more)
    }

    /// Until its session is active; then it reaches the internet.
    #[track_caller]
    pub fn wait_for_access(&self, station: usize) {
        // It is let in before it joins, so that it never waits; its first heartbeat comes when it has.
        wait_until("its first heartbeat", Duration::from_secs(20), || {
            self.sessions().as_array().is_some_and(|rows| rows.iter().any(|row| row["state"] == "active"))
        });
        assert!(self.lab.stations[station].reaches(lab::INTERNET_V4));
    }

    /// As the coordinator tells them.
    pub fn sessions(&self) -> Value {
        self.coordinator.ask(json!({"verb": "sessions"}))["sessions"].clone()
    }
}
