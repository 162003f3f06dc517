//! Stations that were evicted while an access point was out of reach: whom it has to send away when it is back.
//!
//! An eviction asks every BSS that is known at that moment. One that hostapd has not answered for yet (the daemon has just
//! started), or does not answer for now, keeps its association, and nothing else would ever end it.
//!
//! ```text
//!            evicted, and this BSS was not asked          listed there: sent away, once
//!   (nobody) -----------------------------------> owed ----------------------------------> (nobody)
//!                                                      granted anew; came anew; too long ago
//! ```
//!
//! Invariant (`no_short_history_sends_away_who_may_stay`): a BSS that was not asked sends whoever was there away when it is
//! found, once for each eviction; and nobody who was let in anew.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{BootTime, Few, Gather, MacAddr};

/// How long a BSS may be out of reach. hostapd itself forgets a station after five minutes of silence (`ap_max_inactivity`).
const PATIENCE: Duration = Duration::from_secs(300);

/// The most stations in mind; who was evicted first goes first.
const MOST: usize = 4096;

/// What is in mind.
#[derive(Clone, Debug, Default)]
pub struct Farewells {
    owed: Few<MacAddr, Owed>,
}

#[derive(Clone, Debug)]
struct Owed {
    /// IEEE 802.11-2020, table 9-49.
    reason: u16,
    since: BootTime,
    /// The BSSes that owe it nothing.
    said: Few<String, ()>,
}

impl Farewells {
    /// A station is evicted, and these BSSes are asked to send it away.
    pub fn evicted(&mut self, station: MacAddr, reason: u16, asked: BTreeSet<String>, now: BootTime) {
        if self.owed.len() >= MOST {
            self.owed.retain(|_, owed| now.since(owed.since) < PATIENCE);
        }
        if self.owed.len() >= MOST
            && let Some(oldest) =
                self.owed.iter().min_by_key(|(_, owed)| owed.since).map(|(station, _)| *station)
        {
            self.owed.remove(&oldest);
        }
        self.owed.insert(
            station,
            Owed { reason, since: now, said: asked.into_iter().map(|bss| (bss, ())).gather() },
        );
    }

    /// One of them did not answer.
    pub fn unsaid(&mut self, station: MacAddr, bss: &str) {
        if let Some(owed) = self.owed.get_mut(&station) {
            owed.said.remove(bss);
        }
    }

    /// A station is let in anew, wherever it is.
    pub fn granted(&mut self, station: MacAddr) {
        self.owed.remove(&station);
    }

    /// A station has just associated with a BSS: that is none of those that were ended.
    pub fn came(&mut self, bss: &str, station: MacAddr) {
        if let Some(owed) = self.owed.get_mut(&station) {
            owed.said.insert(bss.to_owned(), ());
        }
    }

    /// All stations of a BSS: whom it is to send away, and for which reason.
    pub fn listed(
        &mut self,
        bss: &str,
        stations: impl Iterator<Item = MacAddr>,
        now: BootTime,
    ) -> Vec<(MacAddr, u16)> {
        let mut away = Vec::new();
        for station in stations {
            if let Some(owed) = self.owed.get_mut(&station)
                && now.since(owed.since) < PATIENCE
                && owed.said.insert(bss.to_owned(), ()).is_none()
            {
                away.push((station, owed.reason));
            }
        }
        away
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::histories::each_history;

    const ANNE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const BSSES: [&str; 2] = ["ap0", "ap1"];

    /// Two access points and one station, and what ought to happen to it.
    #[derive(Clone, Debug, Default)]
    struct World {
        farewells: Farewells,
        up: [bool; 2],
        /// Associated; `Some(true)`: since before the eviction.
        there: [Option<bool>; 2],
        granted: bool,
        sent_away: [u32; 2],
    }

    impl World {
        fn evict(&mut self) {
            self.granted = false;
            let asked = (0..2).filter(|at| self.up[*at]).map(|at| BSSES[at].to_owned()).collect();
            self.farewells.evicted(ANNE, 47, asked, BootTime::default());
            for at in 0..2 {
                self.there[at] = self.there[at].filter(|_| !self.up[at]).map(|_| true);
            }
        }

        fn grant(&mut self) {
            self.granted = true;
            self.farewells.granted(ANNE);
            self.there = self.there.map(|there| there.map(|_| false));
        }

        fn come(&mut self, at: usize) {
            if self.there[at].is_none() {
                self.there[at] = Some(false);
                if self.up[at] {
                    self.farewells.came(BSSES[at], ANNE);
                }
            }
        }

        /// It is found, or lost, and asked who is there.
        fn turn(&mut self, at: usize) {
            self.up[at] = !self.up[at];
            self.list(at);
        }

        fn list(&mut self, at: usize) {
            if !self.up[at] {
                return;
            }
            let here = self.there[at].map(|_| ANNE).into_iter();
            let away = self.farewells.listed(BSSES[at], here, BootTime::default());
            assert!(away.is_empty() || !self.granted, "who is let in stays: {self:?}");
            assert!(away.iter().all(|said| *said == (ANNE, 47)) && away.len() <= 1);
            if self.there[at] == Some(true) {
                assert_eq!(away.len(), 1, "it owed that: {self:?}");
            }
            if !away.is_empty() {
                self.sent_away[at] += 1;
                self.there[at] = None;
            }
        }
    }

    #[test]
    fn no_short_history_sends_away_who_may_stay() {
        let steps: [fn(&mut World); 8] = [
            World::evict,
            World::grant,
            |world| world.come(0),
            |world| world.come(1),
            |world| world.turn(0),
            |world| world.turn(1),
            |world| world.list(0),
            |world| world.list(1),
        ];
        let mut sent_away = 0;
        each_history(&World::default(), steps.len(), 6, &mut |world, history| {
            steps[history[history.len() - 1]](world);
            if history.len() < 6 {
                return;
            }
            let evictions = history.iter().filter(|step| **step == 0).count();
            for at in 0..2 {
                let evictions = u32::try_from(evictions).expect("six at most");
                assert!(world.sent_away[at] <= evictions, "{world:?}");
                sent_away += world.sent_away[at];
                // Found in the end, nobody is left who was there when they were evicted.
                world.up[at] = true;
                world.list(at);
                assert_ne!(world.there[at], Some(true), "{world:?}");
            }
        });
        assert!(sent_away > 0);
    }

    #[test]
    fn one_that_did_not_answer_is_asked_again_and_not_for_ever() {
        let start = BootTime::default();
        let mut farewells = Farewells::default();
        farewells.evicted(ANNE, 4, BSSES.map(str::to_owned).into(), start);
        assert_eq!(farewells.listed("ap0", [ANNE].into_iter(), start), []);
        farewells.unsaid(ANNE, "ap0");
        assert_eq!(farewells.listed("ap0", [ANNE].into_iter(), start), [(ANNE, 4)]);
        assert_eq!(farewells.listed("ap0", [ANNE].into_iter(), start), []);
        farewells.unsaid(ANNE, "ap1");
        assert_eq!(farewells.listed("ap1", [ANNE].into_iter(), start + PATIENCE), []);
        let many = |number: usize| MacAddr([2, 0, 0, 1, (number >> 8) as u8, number as u8]);
        for number in 0..=MOST {
            let now = start + Duration::from_millis(number as u64);
            farewells.evicted(many(number), 4, BTreeSet::new(), now);
        }
        assert_eq!(farewells.listed("ap0", [many(0)].into_iter(), start), [], "the first one is forgotten");
        assert_eq!(farewells.listed("ap0", [many(1)].into_iter(), start), [(many(1), 4)]);
    }
}
