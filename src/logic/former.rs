//! Addresses that stations had and do not answer for any more.
//!
//! Who walks away is silent before he is evicted: the kernel gives up asking for his addresses and forgets whose they
//! were, while his flows and leases stand. So an address that ends stays in mind with the one who had it.
//!
//! ```text
//!            lost(ip, station)                 held(ip): somebody answers again
//!   nobody's ----------------> former(station) ---------------------------------> nobody's
//!                                              over(station): nothing of it is to be freed
//! ```
//!
//! Invariant (`no_short_history_takes_an_address_from_who_has_it`): an address that is held is nobody's former one,
//! and it is a former one of one station at most.

use std::net::IpAddr;

use crate::model::{Few, MacAddr};

/// What is in mind.
#[derive(Clone, Debug, Default)]
pub struct Former {
    had: Few<IpAddr, (MacAddr, String)>,
}

impl Former {
    /// Nobody answers for the address of this station behind this interface.
    pub fn lost(&mut self, ip: IpAddr, station: MacAddr, interface: String) {
        self.had.insert(ip, (station, interface));
    }

    /// Somebody has the address.
    pub fn held(&mut self, ip: IpAddr) {
        self.had.remove(&ip);
    }

    /// Nothing is to be freed of this station any more.
    pub fn over(&mut self, station: MacAddr) {
        self.had.retain(|_, (had, _)| *had != station);
    }

    /// Its former addresses, with the interface of each.
    pub fn of(&self, station: MacAddr) -> impl Iterator<Item = (IpAddr, &str)> {
        let theirs = self.had.iter().filter(move |(_, (had, _))| *had == station);
        theirs.map(|(ip, (_, interface))| (*ip, interface.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes something; whose former address it is then.
    type Fact<'a> = dyn Fn(&mut Former) -> Option<MacAddr> + 'a;

    #[test]
    fn no_short_history_takes_an_address_from_who_has_it() {
        let (anne, bob) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let ip = IpAddr::from([10, 0, 0, 1]);
        let facts: [&Fact<'_>; 5] = [
            &|former| {
                former.lost(ip, anne, "lan".to_owned());
                Some(anne)
            },
            &|former| {
                former.lost(ip, bob, "lan".to_owned());
                Some(bob)
            },
            &|former| {
                former.held(ip);
                None
            },
            &|former| {
                let before = former.of(bob).next().map(|_| bob);
                former.over(anne);
                before
            },
            &|former| {
                let before = former.of(anne).next().map(|_| anne);
                former.over(bob);
                before
            },
        ];
        for history in 0..facts.len().pow(5) {
            let mut former = Former::default();
            let mut rest = history;
            for _ in 0..5 {
                let expected = facts[rest % facts.len()](&mut former);
                rest /= facts.len();
                for station in [anne, bob] {
                    let found: Vec<_> = former.of(station).collect();
                    let wanted = if expected == Some(station) { vec![(ip, "lan")] } else { vec![] };
                    assert_eq!(found, wanted, "{history}");
                }
            }
        }
    }
}
