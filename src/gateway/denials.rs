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

use super::effects::{Done, Gateway};
use crate::adapters::hostapd::BssInfo;
use crate::model::{MacAddr, sentence};

/// A BSS and an address that it is to refuse.
pub(super) type Place = (String, MacAddr);

/// What the BSSes are told. Few, so no tree.
#[derive(Debug, Default)]
pub(super) struct Denials {
    told: Vec<(Place, Told)>,
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
struct Order {
    place: Place,
    /// To refuse the address, or to allow it again.
    deny: bool,
    /// What stands there already is not ours.
    is_new: bool,
}

impl Denials {
    /// What the run before this one has told.
    pub fn resume(ours: &[String]) -> Self {
        let place = |line: &String| {
            let (bss, station) = line.split_once(' ')?;
            Some(((bss.to_owned(), station.parse().ok()?), Told::Again))
        };
        Self { told: ours.iter().filter_map(place).collect(), busy: false }
    }

    /// What is to be taken back one day.
    pub fn ours(&self) -> Vec<String> {
        let ours = self.told.iter().filter(|(_, told)| *told != Told::Others);
        ours.map(|((bss, station), _)| format!("{bss} {station}")).collect()
    }

    /// A BSS may have forgotten it.
    pub fn forgotten(&mut self, bss: &str, station: Option<MacAddr>) {
        for (place, told) in &mut self.told {
            if place.0 == bss && station.is_none_or(|station| place.1 == station) && *told == Told::Ours {
                *told = Told::Again;
            }
        }
    }

    /// What to say, so that these BSSes refuse these stations and no others. One that is away is told when it is back.
    fn orders(&mut self, bsses: &[String], asking: &[String], stations: &[MacAddr]) -> Vec<Order> {
        let mut orders = Vec::new();
        if self.busy {
            return orders;
        }
        for (bss, station) in bsses.iter().flat_map(|bss| stations.iter().map(move |station| (bss, *station)))
        {
            let known = self.told.iter_mut().find(|((at, who), _)| at == bss && *who == station);
            let place = (bss.clone(), station);
            match known {
                Some((_, told @ Told::Again)) => {
                    *told = Told::Ours;
                    orders.push(Order { place, deny: true, is_new: false });
                }
                Some(_) => {}
                None => {
                    self.told.push((place.clone(), Told::Ours));
                    orders.push(Order { place, deny: true, is_new: true });
                }
            }
        }
        self.told.retain(|(place, told)| {
            let (bss, station) = place;
            let is_over = asking.contains(bss) || bsses.contains(bss) && !stations.contains(station);
            if is_over && *told != Told::Others {
                orders.push(Order { place: place.clone(), deny: false, is_new: false });
            }
            !is_over
        });
        self.busy = !orders.is_empty();
        orders
    }

    /// They were said; `before`: what was refused already.
    fn said(&mut self, orders: &[Order], before: &[bool]) {
        self.busy = false;
        for (order, _) in orders.iter().zip(before).filter(|(order, before)| order.is_new && **before) {
            if let Some((_, told)) = self.told.iter_mut().find(|(place, _)| *place == order.place) {
                *told = Told::Others;
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
        let stations: Vec<MacAddr> = coded.filter_map(|grant| grant.station).collect();
        let orders = self.denials.orders(&bsses, &asking, &stations);
        if orders.is_empty() {
            return;
        }
        self.running_changed = true;
        let hostapd = self.hostapd.clone();
        self.pending.push(Box::pin(async move {
            let mut before = Vec::new();
            for Order { place: (bss, station), deny, .. } in &orders {
                let answer = hostapd.deny(bss, *station, *deny).await;
                before.push(answer.unwrap_or_else(|error| {
                    tracing::warn!(
                        bss,
                        error = sentence(&error),
                        "who imitates a station with a code is let in first"
                    );
                    false
                }));
            }
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
            !(by_name || network.wpa_psk_file.is_some() && (info.takes_codes() || info.takes_passwords()))
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
    use std::collections::BTreeSet;

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
            |world| world.denials = Denials::resume(&world.denials.ours()),
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
            let stations: Vec<MacAddr> = self.stations.iter().copied().collect();
            let orders = self.denials.orders(&bsses, &asking, &stations);
            assert!(orders.is_empty() || self.denials.orders(&bsses, &asking, &[]).is_empty());
            let say = |order: &Order| match order.deny {
                true => !self.list.insert(order.place.1),
                false => !self.list.remove(&order.place.1),
            };
            let before: Vec<bool> = orders.iter().map(say).collect();
            self.denials.said(&orders, &before);
        }
    }
}
