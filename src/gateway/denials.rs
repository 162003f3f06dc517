//! Nobody else's: the address of a station that is here with a code is refused by the access points that ask for none.
//!
//! Otherwise whoever imitates it there is let in, and turned away when hostapd says so: in between his packets pass as
//! the station's. hostapd's list of refused addresses (`DENY_ACL`) may have entries of the owner's: those stay.
//!
//! ```text
//! wanted:  every station here with a code × every BSS that asks for no code
//! told:    by us, or by others before us; kept across a restart, so that nothing is left behind
//! ```
//!
//! The difference is said in one go, and looked at again when that has been answered. Who should come through all the
//! same (a hostapd that has read its configuration again) is turned away as before, and the refusal said again.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::effects::{Done, Gateway};
use crate::adapters::hostapd::BssInfo;
use crate::model::{Few, Gather, MacAddr, sentence};

/// A BSS and an address that it is to refuse.
pub(super) type Place = (String, MacAddr);

/// What the BSSes are told.
#[derive(Debug, Default)]
pub(super) struct Denials {
    told: Few<Place, Told>,
    /// Answers are on their way.
    busy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// By us.
    Ours,
    /// By us, and perhaps forgotten.
    Again,
    /// It stood there before.
    Others,
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    /// `is_new`: what stands there already is not ours.
    Deny {
        place: Place,
        is_new: bool,
    },
    Allow(Place),
}

impl Denials {
    /// What the run before this one has told.
    pub fn resume(ours: BTreeSet<Place>) -> Self {
        Self { told: ours.into_iter().map(|place| (place, Told::Again)).gather(), busy: false }
    }

    /// What is to be taken back one day.
    pub fn ours(&self) -> BTreeSet<Place> {
        self.told.iter().filter(|(_, told)| **told != Told::Others).map(|(place, _)| place.clone()).gather()
    }

    /// A BSS may have forgotten it.
    pub fn forgotten(&mut self, bss: &str, station: Option<MacAddr>) {
        for (place, told) in self.told.iter_mut() {
            if place.0 == bss && station.is_none_or(|station| place.1 == station) && *told == Told::Ours {
                *told = Told::Again;
            }
        }
    }

    /// What to say, so that these BSSes refuse these stations and no others. One that is away is told when it is back.
    fn orders(&mut self, bsses: &[String], asking: &[String], stations: &BTreeSet<MacAddr>) -> Vec<Order> {
        if self.busy {
            return Vec::new();
        }
        let mut orders = Vec::new();
        for place in bsses.iter().flat_map(|bss| stations.iter().map(|station| (bss.clone(), *station))) {
            let before = self.told.get(&place).copied();
            if matches!(before, None | Some(Told::Again)) {
                self.told.insert(place.clone(), Told::Ours);
                orders.push(Order::Deny { place, is_new: before.is_none() });
            }
        }
        let over = |(bss, station): &Place| {
            asking.contains(bss) || bsses.contains(bss) && !stations.contains(station)
        };
        let ended: Vec<(Place, Told)> = self
            .told
            .iter()
            .filter(|(place, _)| over(place))
            .map(|(place, told)| (place.clone(), *told))
            .collect();
        for (place, told) in ended {
            if told == Told::Others {
                self.told.remove(&place);
            } else {
                orders.push(Order::Allow(place));
            }
        }
        self.busy = !orders.is_empty();
        orders
    }

    /// They were said; `before`: what was refused already.
    fn said(&mut self, orders: &[Order], before: &[bool]) {
        self.busy = false;
        for (order, before) in orders.iter().zip(before) {
            match order {
                Order::Deny { place, is_new: true } if *before => {
                    self.told.insert(place.clone(), Told::Others);
                }
                Order::Deny { .. } => {}
                Order::Allow(place) => {
                    self.told.remove(place);
                }
            }
        }
    }
}

impl Gateway {
    /// Tells hostapd what has changed of whose address is nobody else's.
    pub fn deny_elsewhere(&mut self) {
        let mut bsses = Vec::new();
        let mut asking = Vec::new();
        // On a wire there is no association to refuse.
        for info in self.hostapd.bsses().into_iter().filter(|info| !info.ssid.as_bytes().is_empty()) {
            match self.asks_for_no_code(&info) {
                true => bsses.push(info.name),
                false => asking.push(info.name),
            }
        }
        let coded = self.grants.held().filter(|grant| grant.code.is_some());
        let stations = coded.filter_map(|grant| grant.station).gather();
        let orders = self.denials.orders(&bsses, &asking, &stations);
        if orders.is_empty() {
            return;
        }
        self.running_changed = true;
        let hostapd = self.hostapd.clone();
        self.pending.push(Box::pin(async move {
            let before = join_all(orders.iter().map(async |order| {
                let (bss, answer) = match order {
                    Order::Deny { place: (bss, station), .. } => (bss, hostapd.deny(bss, *station).await),
                    Order::Allow((bss, station)) => (bss, hostapd.allow(bss, *station).await.map(|()| false)),
                };
                answer.unwrap_or_else(|error| {
                    tracing::warn!(
                        bss,
                        error = sentence(&error),
                        "who imitates a station with a code is let in first"
                    );
                    false
                })
            }));
            let before = before.await;
            Done::Denied(Denied { orders, before })
        }));
    }

    /// hostapd has answered.
    pub fn denied(&mut self, denied: &Denied) {
        self.denials.said(&denied.orders, &denied.before);
        self.running_changed = true;
    }

    /// Whether stations are let into a shared network there without a code.
    fn asks_for_no_code(&self, info: &BssInfo) -> bool {
        self.network_at(&info.name).is_some_and(|network| {
            let by_name =
                network.eap_user_file.is_some() && info.key_mgmt.iter().any(|agreed| agreed.contains("EAP"));
            !(by_name || network.wpa_psk_file.is_some() && info.takes_codes())
        })
    }
}

/// What was said, and what was refused already.
pub(super) struct Denied {
    orders: Vec<Order>,
    before: Vec<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn whatever_happens_the_list_ends_as_wanted_and_the_owners_entries_stay() {
        let steps: [fn(&mut World); 7] = [
            |world| world.stations = [ANNE].into(),
            |world| world.stations = [ANNE, BOB].into(),
            |world| world.stations.clear(),
            |world| {
                world.list = world.owners.clone();
                world.denials.forgotten("open", None);
            },
            |world| world.denials = Denials::resume(world.denials.ours()),
            |world| world.asks = !world.asks,
            World::turn,
        ];
        let count = steps.len();
        for history in 0..count.pow(5) {
            for owners in [BTreeSet::new(), BTreeSet::from([BOB])] {
                let mut world = World { list: owners.clone(), owners, ..World::default() };
                let mut rest = history;
                for _ in 0..5 {
                    steps[rest % count](&mut world);
                    rest /= count;
                }
                world.turn();
                world.turn();
                let wanted = if world.asks { BTreeSet::new() } else { world.stations.clone() };
                let wanted: BTreeSet<MacAddr> = wanted.union(&world.owners).copied().collect();
                assert_eq!(world.list, wanted, "history {history}, {:?}", world.owners);
                assert_eq!(world.denials.ours().is_empty(), wanted == world.owners, "history {history}");
            }
        }
    }

    #[derive(Default)]
    struct World {
        denials: Denials,
        stations: BTreeSet<MacAddr>,
        list: BTreeSet<MacAddr>,
        owners: BTreeSet<MacAddr>,
        asks: bool,
    }

    impl World {
        fn turn(&mut self) {
            let own = vec!["open".to_owned()];
            let (bsses, asking) = if self.asks { (vec![], own) } else { (own, vec![]) };
            let orders = self.denials.orders(&bsses, &asking, &self.stations);
            assert!(orders.is_empty() || self.denials.orders(&bsses, &asking, &[].into()).is_empty());
            let before: Vec<bool> = orders
                .iter()
                .map(|order| match order {
                    Order::Deny { place, .. } => !self.list.insert(place.1),
                    Order::Allow(place) => !self.list.remove(&place.1),
                })
                .collect();
            self.denials.said(&orders, &before);
        }
    }
}
