//! A gateway whose access point is on the air, stations with radios, a coordinator.
//!
//! ```text
//! station 1 (sta0) ~~~~+
//! station 2 (sta0) ~~~~+~~~ ap1 [br-guest]  gateway  wan0 --- inet0  internet, coordinator
//!      | cell0                                                          |
//!      +------------------ another way to the coordinator --------------+
//! ```
//!
//! The rest is [`Lab`]'s. The other way (a telephone's, say) leads to the coordinator only: with it a terminal asks
//! before it has joined, as it has to.

use std::time::Duration;

use serde_json::{Value, json};

use super::air::{Air, Radio};
use super::support::daemons::{CoordinatorDaemon, Gateway, Terminal};
use super::support::frame::Mac;
use super::support::hostapd::Hostapd;
use super::support::lab::{self, Lab, Station, Wish};
use super::support::netns::{Netns, veth};
use super::support::wait::wait_until;
use super::support::wpa::Supplicant;

/// The interface of the access point.
pub const ACCESS_POINT: &str = "ap1";
/// Its name on the air.
pub const SSID: &str = "Corner";
/// What opens the network, unless a scenario says otherwise.
pub const PASSPHRASE: &str = "over hill and dale";

/// A heartbeat every half second, silence after one and a half. The machine is slow: the rest is generous.
const TIMING: &str = "[heartbeat]\ninterval = \"500ms\"\nlapse_factor = 3\n\
                      [patience]\nlease = \"60s\"\ngrant = \"10s\"\njoin = \"40s\"\ninquiry = \"1s\"\n";
/// How long a join takes at most: a scan of all channels, and the association.
const JOIN: Duration = Duration::from_secs(60);
/// From the last heartbeat to the eviction, at most.
pub const LAPSE: Duration = Duration::from_secs(20);

/// Everything but the terminals. Fields end in this order: programs, namespaces, radios.
pub struct Stage {
    pub gateway: Gateway,
    pub coordinator: CoordinatorDaemon,
    pub hostapd: Hostapd,
    pub supplicants: Vec<Supplicant>,
    pub lab: Lab,
    pub air: Air,
}

impl Stage {
    /// One radio for the access point with this configuration of hostapd, which is what the gateway shares, and
    /// one for each station.
    #[track_caller]
    pub fn new(scenario: &str, hostapd: &str, stations: u16) -> Self {
        let air = Air::new(scenario, 1 + stations);
        let mut lab = Lab::new(Wish { stations: 0, ..Wish::default() });
        air.radios[0].move_to(&lab.gateway, ACCESS_POINT);
        for number in 1..=stations {
            let station = on_air(&lab, number, &air.radios[usize::from(number)]);
            lab.stations.push(station);
        }
        let lines = format!("driver=nl80211\nbridge={}\n{hostapd}", lab::BRIDGE);
        let hostapd = Hostapd::with(&lab.gateway, ACCESS_POINT, lab.path(), &lines);
        let coordinator = CoordinatorDaemon::start(&lab, TIMING);
        let mut gateway = Gateway::sharing(&lab, &format!("passphrase = \"{PASSPHRASE}\"\n"), "");
        gateway.enrol(&coordinator);
        let start = |station: &Station| Supplicant::on_air(&station.netns, lab::STATION, lab.path(), "");
        let supplicants = lab.stations.iter().map(start).collect();
        Self { gateway, coordinator, hostapd, supplicants, lab, air }
    }

    /// The address of the access point.
    pub fn bssid(&self) -> Mac {
        self.air.radios[0].mac
    }

    /// The radio of a station.
    pub fn radio(&self, station: usize) -> &Radio {
        &self.air.radios[1 + station]
    }

    /// A terminal that has just been started; what it asks for is what its radio sees.
    #[track_caller]
    pub fn terminal(&self, station: usize) -> Terminal {
        let token = self.coordinator.ask(json!({"verb": "claim", "role": "terminal"}));
        let token = token["token"].as_str().expect("a token").to_owned();
        Terminal::with(&self.lab, station, self.supplicants[station].sockets(), &token, "")
    }

    /// A terminal that has joined, whose packets pass.
    #[track_caller]
    pub fn joined(&self, station: usize) -> Terminal {
        let before = self.active();
        let terminal = self.terminal(station);
        wait_until("its first heartbeat", JOIN, || self.active() > before);
        assert!(self.lab.stations[station].reaches(lab::INTERNET_V4));
        terminal
    }

    /// Lets a station associate by a passphrase, without any terminal; not waited for.
    #[track_caller]
    pub fn associate(&self, station: usize, passphrase: &str) {
        let supplicant = &self.supplicants[station];
        let id = supplicant.command("ADD_NETWORK").trim().to_owned();
        let network =
            [format!("ssid \"{SSID}\""), format!("psk \"{passphrase}\""), "scan_freq 2412".to_owned()];
        for line in network {
            assert_eq!(supplicant.command(&format!("SET_NETWORK {id} {line}")), "OK\n", "{line}");
        }
        assert_eq!(supplicant.command(&format!("SELECT_NETWORK {id}")), "OK\n");
    }

    /// Waits until hostapd has let a station in.
    #[track_caller]
    pub fn wait_associated(&self, station: usize) {
        let mac = self.lab.stations[station].mac;
        wait_until("the association", JOIN, || self.hostapd.has(mac));
    }

    /// How many sessions have heartbeats.
    pub fn active(&self) -> usize {
        let sessions = self.coordinator.ask(json!({"verb": "sessions"}))["sessions"].clone();
        sessions.as_array().map_or(0, |rows| rows.iter().filter(|row| row["state"] == "active").count())
    }

    /// The grants that the gateway holds.
    pub fn grants(&self) -> Vec<Value> {
        self.gateway.ask(json!({"verb": "grants"})).as_array().expect("rows").clone()
    }
}

/// A station with a radio and another way to the coordinator.
#[track_caller]
fn on_air(lab: &Lab, number: u16, radio: &Radio) -> Station {
    let station = Station::of(Netns::new(&format!("sta{number}")), number, radio.mac);
    let netns = &station.netns;
    radio.move_to(netns, lab::STATION);
    netns.ip(&format!("link set {} up", lab::STATION));
    station.take_addresses();
    let (here, there) = (format!("203.0.113.{}", 4 * number + 2), format!("203.0.113.{}", 4 * number + 1));
    veth((&lab.internet, &format!("cell{number}")), (netns, "cell0"));
    lab.internet.ip(&format!("addr add {there}/30 dev cell{number}"));
    netns.ip(&format!("addr add {here}/30 dev cell0"));
    netns.ip(&format!("route add {} via {there}", lab::COORDINATOR_V4));
    station
}
