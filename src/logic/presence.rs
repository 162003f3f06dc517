//! Decides which stations are here, and whose an address is.
//!
//! ```text
//!              Associated, Bridged, Neighbour                 the last trace is gone
//!   (absent) ----------------------------------> present ---------------------------> (absent)
//!                       Joined                                       Gone
//! ```
//!
//! Three witnesses: hostapd (association), the bridge (forwarding database), the neighbour table (ARP and ND).
//! A station is present while any of them has it. An address that a present station was first seen with is
//! its own (a pin) until it is gone, so that no other station can claim it; how many it may have is limited.
//!
//! Held to by the tests below: `Joined` and `Gone` alternate per station; an address is pinned to one station
//! at most; pins end with presence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::model::{Bssid, Few, Gather, MacAddr, Ssid};

/// IPv4 addresses that one station may pin.
const MOST_V4: usize = 4;
/// IPv6 addresses that one station may pin: privacy addresses come and go (RFC 8981).
const MOST_V6: usize = 16;

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// hostapd serves a BSS.
    BssUp {
        /// Interface name.
        bss: String,
        /// Its address.
        bssid: Bssid,
        /// Its name.
        ssid: Ssid,
    },
    /// It does no longer.
    BssDown {
        /// Interface name.
        bss: String,
    },
    /// AP-STA-CONNECTED.
    Associated {
        /// Where.
        bss: String,
        /// Who.
        station: MacAddr,
    },
    /// AP-STA-DISCONNECTED.
    Disassociated {
        /// Where.
        bss: String,
        /// Who.
        station: MacAddr,
    },
    /// The bridge has heard the station behind a port.
    Bridged {
        /// Name of the port.
        port: String,
        /// Who.
        station: MacAddr,
    },
    /// The bridge has forgotten it.
    Unbridged {
        /// Name of the port.
        port: String,
        /// Who.
        station: MacAddr,
    },
    /// The neighbour table has an address.
    Neighbour {
        /// Interface name.
        interface: String,
        /// Who.
        station: MacAddr,
        /// Its address.
        ip: IpAddr,
    },
    /// The neighbour table has it no longer.
    NeighbourGone {
        /// Interface name.
        interface: String,
        /// The address.
        ip: IpAddr,
    },
    /// Witness of bridge and neighbour table is to be heard anew: events were lost.
    Forget,
    /// All of it has been heard.
    Remembered,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A station appeared.
    Joined {
        /// Who.
        station: MacAddr,
        /// Where.
        interface: String,
    },
    /// A station disappeared.
    Gone {
        /// Who.
        station: MacAddr,
        /// Where it was seen last.
        interface: String,
    },
    /// This address is this station's.
    Pin(IpAddr, MacAddr),
    /// It is nobody's.
    Unpin(IpAddr, MacAddr),
    /// The address is the station's from now on, pinned or not.
    Held {
        /// Which.
        ip: IpAddr,
        /// Who.
        station: MacAddr,
    },
    /// The station does not answer for the address any more, and nobody else does.
    Lost {
        /// Which.
        ip: IpAddr,
        /// Who had it.
        station: MacAddr,
        /// Where.
        interface: String,
    },
    /// The set of BSSes has changed.
    BssesChanged,
}

/// A BSS of hostapd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bss {
    /// Its address.
    pub bssid: Bssid,
    /// Its name.
    pub ssid: Ssid,
}

/// A station that is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Station {
    /// BSSes that it is associated with.
    pub bsses: Few<String, ()>,
    /// The bridge port behind which it was heard last.
    pub port: Option<String>,
    /// Its addresses, with the interface of each.
    pub addresses: Few<IpAddr, String>,
    pinned: Few<IpAddr, ()>,
}

/// Who is here.
#[derive(Debug, Default)]
pub struct Presence {
    bsses: Few<String, Bss>,
    stations: BTreeMap<MacAddr, Station>,
    pins: BTreeMap<IpAddr, MacAddr>,
    holders: BTreeMap<(String, IpAddr), MacAddr>,
    /// Those from before the events were lost that have not been heard of since.
    held: BTreeMap<(String, IpAddr), MacAddr>,
    /// While events are heard anew nobody is gone yet.
    remembering: bool,
    actions: VecDeque<Action>,
}

impl Presence {
    /// Takes in one fact.
    pub fn handle_input(&mut self, input: Input) {
        match input {
            Input::BssUp { bss, bssid, ssid } => {
                self.bsses.insert(bss, Bss { bssid, ssid });
                self.actions.push_back(Action::BssesChanged);
            }
            Input::BssDown { bss } => {
                if self.bsses.remove(&bss).is_none() {
                    return;
                }
                let there: Vec<MacAddr> = self.with(|station| station.bsses.contains_key(&bss));
                for station in there {
                    self.handle_input(Input::Disassociated { bss: bss.clone(), station });
                }
                self.actions.push_back(Action::BssesChanged);
            }
            Input::Associated { bss, station } => {
                self.trace(station, bss.clone(), |found| {
                    found.bsses.insert(bss, ());
                });
            }
            Input::Bridged { port, station } => {
                self.trace(station, port.clone(), |found| {
                    // A station is behind one port; the bridge says the newest.
                    found.port = Some(port);
                });
            }
            Input::Neighbour { interface, station, ip } => self.neighbour(interface, station, ip),
            Input::Disassociated { bss, station } => self.untrace(station, bss.clone(), |found| {
                found.bsses.remove(&bss);
            }),
            Input::Unbridged { port, station } => self.untrace(station, port.clone(), |found| {
                found.port.take_if(|own| *own == port);
            }),
            Input::NeighbourGone { interface, ip } => {
                let Some(station) = self.holders.remove(&(interface.clone(), ip)) else { return };
                self.unpin(ip, station);
                self.actions.push_back(Action::Lost { ip, station, interface: interface.clone() });
                self.untrace(station, interface, |found| {
                    found.addresses.remove(&ip);
                });
            }
            Input::Forget => {
                self.remembering = true;
                self.held.append(&mut self.holders);
                for station in self.stations.values_mut() {
                    station.port = None;
                    station.addresses = Few::default();
                }
            }
            Input::Remembered => {
                self.remembering = false;
                for station in self.with(|_| true) {
                    self.untrace(station, String::new(), |_| ());
                }
                let stale: Vec<(IpAddr, MacAddr)> = self
                    .pins
                    .iter()
                    .filter(|(ip, mac)| {
                        !self.stations.get(mac).is_some_and(|found| found.addresses.contains_key(ip))
                    })
                    .map(|(ip, mac)| (*ip, *mac))
                    .collect();
                stale.into_iter().for_each(|(ip, mac)| self.unpin(ip, mac));
                let held: BTreeSet<IpAddr> = self.holders.keys().map(|(_, ip)| *ip).gather();
                for ((interface, ip), station) in std::mem::take(&mut self.held) {
                    if !held.contains(&ip) {
                        self.actions.push_back(Action::Lost { ip, station, interface });
                    }
                }
            }
        }
    }

    /// The next thing to do, oldest first. Drain after every `handle_input`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Who is here.
    pub fn stations(&self) -> impl Iterator<Item = (MacAddr, &Station)> {
        self.stations.iter().map(|(mac, station)| (*mac, station))
    }

    /// One of them.
    pub fn get(&self, station: MacAddr) -> Option<&Station> {
        self.stations.get(&station)
    }

    /// Whose an address on an interface is, as the neighbour table has it.
    #[cfg(feature = "portal")]
    pub fn holder(&self, interface: &str, ip: IpAddr) -> Option<MacAddr> {
        self.holders.get(&(interface.to_owned(), ip)).copied()
    }

    /// The BSSes of hostapd, by interface name.
    pub fn bsses(&self) -> &Few<String, Bss> {
        &self.bsses
    }

    /// Whose which address is.
    pub fn pins(&self) -> impl Iterator<Item = (IpAddr, MacAddr)> {
        self.pins.iter().map(|(ip, mac)| (*ip, *mac))
    }

    fn neighbour(&mut self, interface: String, station: MacAddr, ip: IpAddr) {
        let before = self.holders.insert((interface.clone(), ip), station);
        self.held.remove(&(interface.clone(), ip));
        if before != Some(station) {
            self.actions.push_back(Action::Held { ip, station });
        }
        if let Some(before) = before.filter(|before| *before != station) {
            self.unpin(ip, before);
            self.untrace(before, interface.clone(), |found| {
                found.addresses.remove(&ip);
            });
        }
        self.trace(station, interface.clone(), |found| {
            found.addresses.insert(ip, interface);
        });
        let most = if ip.is_ipv4() { MOST_V4 } else { MOST_V6 };
        let Some(found) = self.stations.get_mut(&station) else { return };
        let pinned = found.pinned.keys().filter(|pin| pin.is_ipv4() == ip.is_ipv4()).count();
        if pinned < most && !self.pins.contains_key(&ip) {
            found.pinned.insert(ip, ());
            self.pins.insert(ip, station);
            self.actions.push_back(Action::Pin(ip, station));
        }
    }

    fn unpin(&mut self, ip: IpAddr, station: MacAddr) {
        if self.pins.get(&ip) == Some(&station) {
            self.pins.remove(&ip);
            if let Some(found) = self.stations.get_mut(&station) {
                found.pinned.remove(&ip);
            }
            self.actions.push_back(Action::Unpin(ip, station));
        }
    }

    fn trace(&mut self, station: MacAddr, interface: String, record: impl FnOnce(&mut Station)) {
        if !station.is_station() {
            return;
        }
        if !self.stations.contains_key(&station) {
            self.actions.push_back(Action::Joined { station, interface });
        }
        record(self.stations.entry(station).or_default());
    }

    fn untrace(&mut self, station: MacAddr, interface: String, strike: impl FnOnce(&mut Station)) {
        let Some(found) = self.stations.get_mut(&station) else { return };
        strike(found);
        // An address alone is no presence where hostapd or a bridge could bear witness: the neighbour table
        // keeps entries of stations that left.
        let here = !found.bsses.is_empty() || found.port.is_some() || !found.addresses.is_empty();
        if here || self.remembering {
            return;
        }
        let pinned = std::mem::take(&mut found.pinned);
        pinned.into_iter().for_each(|(ip, ())| self.unpin(ip, station));
        self.stations.remove(&station);
        self.actions.push_back(Action::Gone { station, interface });
    }

    fn with(&self, fits: impl Fn(&Station) -> bool) -> Vec<MacAddr> {
        self.stations.iter().filter(|(_, station)| fits(station)).map(|(mac, _)| *mac).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    /// Every history of up to five facts about two stations, one address, one BSS and one port.
    #[test]
    fn no_short_history_breaks_the_rules() {
        let ip: IpAddr = [10, 0, 0, 1].into();
        let bss = || "wlan0".to_owned();
        let port = || "lan1".to_owned();
        let facts: [&dyn Fn() -> Input; 11] = [
            &|| Input::BssUp { bss: bss(), bssid: Bssid(BOB), ssid: Ssid::default() },
            &|| Input::BssDown { bss: bss() },
            &|| Input::Associated { bss: bss(), station: ANNE },
            &|| Input::Disassociated { bss: bss(), station: ANNE },
            &|| Input::Bridged { port: port(), station: ANNE },
            &|| Input::Unbridged { port: port(), station: ANNE },
            &|| Input::Neighbour { interface: port(), station: ANNE, ip },
            &|| Input::Neighbour { interface: port(), station: BOB, ip },
            &|| Input::NeighbourGone { interface: port(), ip },
            &|| Input::Forget,
            &|| Input::Remembered,
        ];
        for history in 0..facts.len().pow(5) {
            let mut presence = Presence::default();
            let mut here = BTreeSet::new();
            let mut pins = BTreeMap::new();
            let mut held = BTreeMap::new();
            let mut rest = history;
            for _ in 0..5 {
                presence.handle_input(facts[rest % facts.len()]());
                rest /= facts.len();
                while let Some(action) = presence.poll_action() {
                    match action {
                        Action::Joined { station, .. } => assert!(here.insert(station), "{history}"),
                        Action::Gone { station, .. } => assert!(here.remove(&station), "{history}"),
                        Action::Pin(ip, mac) => assert_eq!(pins.insert(ip, mac), None, "{history}"),
                        Action::Unpin(ip, mac) => assert_eq!(pins.remove(&ip), Some(mac), "{history}"),
                        Action::Held { ip, station } => {
                            held.insert(ip, station);
                        }
                        Action::Lost { ip, station, .. } => {
                            assert_eq!(held.remove(&ip), Some(station), "{history}");
                        }
                        Action::BssesChanged => {}
                    }
                }
                assert_eq!(here, presence.stations().map(|(mac, _)| mac).collect(), "{history}");
                assert_eq!(pins, presence.pins().collect(), "{history}");
                assert!(pins.values().all(|mac| here.contains(mac)), "{history}");
            }
        }
    }

    #[test]
    fn one_station_cannot_pin_the_whole_network() {
        let mut presence = Presence::default();
        for host in 0..200 {
            let ip = IpAddr::from([10, 0, 0, host]);
            presence.handle_input(Input::Neighbour { interface: "lan".into(), station: ANNE, ip });
        }
        assert_eq!(presence.pins().count(), MOST_V4);
    }
}
