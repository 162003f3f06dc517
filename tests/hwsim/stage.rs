//! A gateway whose access points are on the air, stations with radios, a coordinator.
//!
//! ```text
//! station 1 (sta0) ~~~+~~~ ap1 --+
//! station 2 (sta0) ~~~+~~~ ap2 --+ br-guest  gateway  wan0 --- inet0  internet, coordinator
//!    | cell0                                                     |
//!    +--------------- another way to the coordinator ------------+
//! ```
//!
//! The rest is [`Lab`]'s. The other way (a telephone's, say) leads to the coordinator only: with it a terminal
//! asks before it has joined, as it has to. All share one channel, so that all hear each other.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::air::{Air, Radio};
use super::capture::Deauthentication;
use super::support::daemons::{CoordinatorDaemon, Events, Gateway, Terminal};
use super::support::frame::Mac;
use super::support::hostapd::Hostapd;
use super::support::lab::{self, Lab, Station, Wish};
use super::support::netns::{Netns, veth};
use super::support::wait::{SOON, wait_until};
use super::support::wpa::Supplicant;

/// The name of the network on the air.
pub const SSID: &str = "Corner";
/// What opens it, unless a scenario says otherwise.
pub const PASSPHRASE: &str = "over hill and dale";

/// Silence begins after one and a half seconds. The machine is slow: the rest is generous.
const TIMING: &str = "[heartbeat]\ninterval = \"500ms\"\nlapse_factor = 3\n\
                      [patience]\nlease = \"60s\"\ngrant = \"10s\"\njoin = \"40s\"\ninquiry = \"1s\"\n";
/// See [`TIMING`].
pub const SILENCE: Duration = Duration::from_millis(1500);
/// How long a join takes at most: a scan of all channels, and the association.
pub const JOIN: Duration = Duration::from_secs(60);

/// What a scenario wants.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// The name of its folder.
    pub scenario: &'a str,
    /// hostapd's configuration for each access point.
    pub access_points: &'a [&'a str],
    /// How many stations.
    pub stations: u16,
    /// Radios at the end that nobody has yet.
    pub spare: u16,
    /// What the gateway says opens the network.
    pub passphrase: &'a str,
    /// Whether each grant has a code, in the file that hostapd's configurations call `CODES`.
    pub codes: bool,
    /// By which EAP method each grant has a name and a password, in the file that hostapd's configurations call `ACCOUNTS`.
    pub accounts: Option<&'a str>,
    /// The stations' wpa_supplicant. Unless told otherwise it looks for access points on two channels only, which
    /// takes a tenth of the time.
    pub wpa_supplicant: &'a str,
    /// The end of the gateway's configuration, within `[hostapd]` until it begins another table. `LAB` is where files are.
    pub gateway: &'a str,
    /// What the coordinator does when.
    pub timing: &'a str,
}

impl Default for Script<'_> {
    fn default() -> Self {
        Self {
            scenario: "",
            access_points: &[],
            stations: 1,
            spare: 0,
            passphrase: PASSPHRASE,
            codes: false,
            accounts: None,
            wpa_supplicant: "freq_list=2412 2437\n",
            gateway: "",
            timing: TIMING,
        }
    }
}

/// Everything but the terminals. Fields end in this order: programs, namespaces, radios.
pub struct Stage {
    pub gateway: Gateway,
    pub coordinator: CoordinatorDaemon,
    pub access_points: Vec<Hostapd>,
    pub supplicants: Vec<Supplicant>,
    pub lab: Lab,
    pub air: Air,
}

impl Stage {
    /// One access point, with this configuration of hostapd, and so many stations.
    #[track_caller]
    pub fn new(scenario: &str, hostapd: &str, stations: u16) -> Self {
        Self::play(Script { scenario, access_points: &[hostapd], stations, ..Script::default() })
    }

    /// Radios go to the access points first, then to the stations.
    #[track_caller]
    pub fn play(script: Script<'_>) -> Self {
        let served = script.access_points.len();
        let radios = served + usize::from(script.stations + script.spare);
        let air = Air::new(script.scenario, radios);
        let mut lab = Lab::new(Wish { stations: 0, ..Wish::default() });
        for number in 1..=script.stations {
            let station = on_air(&lab, number, &air.radios[served + usize::from(number) - 1]);
            lab.stations.push(station);
        }
        let coordinator = CoordinatorDaemon::start(&lab, script.timing);
        let network = match (script.codes, script.accounts) {
            (true, _) => format!("wpa_psk_file = \"{}\"\n", code_file(&lab).display()),
            (false, Some(method)) => {
                let file = account_file(&lab);
                format!("eap_user_file = \"{}\"\neap_user_method = \"{method}\"\n", file.display())
            }
            (false, None) => format!("passphrase = \"{}\"\n", script.passphrase),
        };
        let more = script.gateway.replace("LAB", &lab.path().display().to_string());
        let mut gateway = Gateway::sharing(&lab, &network, &more);
        gateway.enrol(&coordinator);
        // hostapd does not start before the file of codes is there.
        let access_points = script.access_points.iter().zip(&air.radios).enumerate();
        let access_points = access_points.map(|(number, (lines, radio))| {
            let interface = format!("ap{}", number + 1);
            radio.move_to(&lab.gateway, &interface);
            serve(&lab, &interface, lines)
        });
        let access_points = access_points.collect();
        wait_until("the gateway to have found hostapd", SOON, || {
            gateway.ask(json!({"verb": "status"}))["bsses"] == served
        });
        let start = |station: &Station| {
            Supplicant::on_air(&station.netns, lab::STATION, lab.path(), script.wpa_supplicant)
        };
        let supplicants = lab.stations.iter().map(start).collect();
        Self { gateway, coordinator, access_points, supplicants, lab, air }
    }

    /// The address of an access point.
    pub fn bssid(&self, access_point: usize) -> Mac {
        self.air.radios[access_point].mac
    }

    /// The radio of a station.
    pub fn radio(&self, station: usize) -> &Radio {
        &self.air.radios[self.access_points.len() + station]
    }

    /// A terminal that has just been started; what it asks for is what its radio sees.
    #[track_caller]
    pub fn terminal(&self, station: usize) -> Terminal {
        self.terminal_with(station, "")
    }

    /// A terminal that joins by itself what the directory of `lyon` knows.
    #[track_caller]
    pub fn watching(&self, station: usize) -> Terminal {
        self.terminal_with(station, "directory = { regions = [\"lyon\"], join = true }\n")
    }

    #[track_caller]
    pub fn terminal_with(&self, station: usize, more: &str) -> Terminal {
        let token = self.coordinator.ask(json!({"verb": "claim", "role": "terminal"}));
        let token = token["token"].as_str().expect("a token").to_owned();
        let terminal = Terminal::with(&self.lab, station, self.supplicants[station].sockets(), &token, more);
        wait_until("its control socket", SOON, || terminal.socket.exists());
        terminal
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

    /// How many frames somebody has sent.
    pub fn sent_by(&self, mac: Mac) -> usize {
        self.air.frames().iter().filter(|frame| frame.transmitter() == Some(mac)).count()
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

    /// Adds a network to a station's wpa_supplicant, without any terminal, and lets it connect; not waited for.
    /// `more`: further lines of `SET_NETWORK`.
    #[track_caller]
    pub fn associate(&self, station: usize, ssid: &str, passphrase: &str, more: &[&str]) {
        let psk = format!("psk \"{passphrase}\"");
        let more: Vec<&str> = more.iter().copied().chain([psk.as_str()]).collect();
        self.select(station, ssid, &more);
    }

    /// The same, with whatever opens it among the lines of `SET_NETWORK`.
    #[track_caller]
    pub fn select(&self, station: usize, ssid: &str, lines: &[&str]) {
        let supplicant = &self.supplicants[station];
        let id = supplicant.command("ADD_NETWORK").trim().to_owned();
        let network = [format!("ssid \"{ssid}\""), "scan_freq 2412".into()];
        for line in network.into_iter().chain(lines.iter().map(|&line| line.into())) {
            assert_eq!(supplicant.command(&format!("SET_NETWORK {id} {line}")), "OK\n", "{line}");
        }
        assert_eq!(supplicant.command(&format!("SELECT_NETWORK {id}")), "OK\n");
    }

    /// Waits until an access point has let a station in.
    #[track_caller]
    pub fn wait_associated(&self, station: usize, access_point: usize) {
        let mac = self.lab.stations[station].mac;
        wait_until("the association", JOIN, || self.access_points[access_point].has(mac));
    }

    /// Waits for the eviction of a station by reason of silence, which began before now by a heartbeat interval at
    /// most: kernel, hostapd and the air agree that it is gone. The report.
    #[track_caller]
    pub fn wait_evicted_for_silence(&self, station: usize, events: &mut Events) -> Value {
        let began = since_1970();
        events.be_patient(JOIN);
        let report = events.next("evicted")["report"].clone();
        assert_eq!(report["cause"], "silence", "{report}");
        let station = &self.lab.stations[station];
        assert!(station.is_cut_off(lab::INTERNET_V4) && station.is_cut_off(lab::INTERNET_V6), "{report}");
        assert_eq!(self.grants(), Vec::<Value>::new());
        // 4: disassociated due to inactivity (IEEE 802.11-2020, table 9-49).
        let wanted = |from| Deauthentication { to: station.mac, from, bssid: from, reason: Some(4) };
        let first = self.air.wait_frame("a deauthentication with reason 4", SOON, |frame| {
            frame.deauthentication().is_some_and(|found| found == wanted(found.bssid))
        });
        let earliest = began + SILENCE - Duration::from_millis(500);
        assert!(first.at >= earliest, "evicted {:?} too early", earliest - first.at);
        report
    }
}

/// The file of codes.
pub fn code_file(lab: &Lab) -> PathBuf {
    lab.path().join("gateway/run/guest.psk")
}

/// The file of names and passwords.
fn account_file(lab: &Lab) -> PathBuf {
    lab.path().join("gateway/run/guest.eap")
}

/// hostapd on an interface that is to be a port of the guests' bridge.
#[track_caller]
pub fn serve(lab: &Lab, interface: &str, lines: &str) -> Hostapd {
    let lines = lines.replace("CODES", &code_file(lab).display().to_string());
    let lines = lines.replace("ACCOUNTS", &account_file(lab).display().to_string());
    let lines = format!("driver=nl80211\nbridge={}\n{lines}", lab::BRIDGE);
    Hostapd::with(&lab.gateway, interface, lab.path(), &lines)
}

/// The clock that captures use.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("later than 1970")
}

/// A station with a radio and another way to the coordinator.
#[track_caller]
fn on_air(lab: &Lab, number: u16, radio: &Radio) -> Station {
    let station = Station::of(Netns::new(&format!("sta{number}")), number, radio.mac);
    let netns = &station.netns;
    radio.move_to(netns, lab::STATION);
    netns.ip(&format!("link set {} up", lab::STATION));
    station.take_addresses();
    // Otherwise it asks for a router for twelve seconds, and whoever speaks is not silent.
    netns.sysctl("net.ipv6.conf.sta0.router_solicitations", "0");
    let (here, there) = (format!("203.0.113.{}", 4 * number + 2), format!("203.0.113.{}", 4 * number + 1));
    veth((&lab.internet, &format!("cell{number}")), (netns, "cell0"));
    lab.internet.ip(&format!("addr add {there}/30 dev cell{number}"));
    netns.ip_lines(&[
        &format!("addr add {here}/30 dev cell0"),
        &format!("route add {} via {there}", lab::COORDINATOR_V4),
    ]);
    station
}
