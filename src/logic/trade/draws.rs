//! What of the bytes that a terminal has bought is being used where: gateways of one owner sell in common, and what one
//! of them lets through no other one may let through again.
//!
//! ```text
//!            granted: with what nobody else may let through       reported: so much of it is used
//!  (nothing) ----------------------------------------------> Drawn -----------------------------> (nothing)
//!                                                              |                                     ^
//!                                  the session is over          |                                     |
//!                                                              v                                     |
//!                                                            Over --------------------------------> lost: its gateway
//!                                                                 reported                    stands and says nothing
//! ```
//!
//! One draw for each join of a grant. A join that goes on with what the one before it had takes its place: the gateway
//! counts on. One that comes after an eviction begins anew, and the one before it is reported by itself.
//!
//! Held by `no_short_history_spends_a_byte_twice`: what all gateways together let through is never more than was bought,
//! and when all is reported, what is left is what nobody used.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{BootTime, Gather, GrantId, Incarnation, PublicKey};

/// How long a gateway may stand without a word about a join that is over. Evictions and reports take seconds; after
/// this the gateway has lost what it counted.
const REPORTED_WITHIN: Duration = Duration::from_secs(60);

/// One join of a grant.
pub type Join = (GrantId, Incarnation);

/// What a join may let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Which join.
    pub join: Join,
    /// Where.
    pub gateway: PublicKey,
    /// Of whom.
    pub terminal: PublicKey,
    /// The most that its gateway was told.
    pub bytes: u64,
    /// Since when its session is over, if it is.
    pub over: Option<BootTime>,
}

/// All that are not reported.
#[derive(Clone, Debug, Default)]
pub struct Draws {
    draws: BTreeMap<Join, Draw>,
    of: BTreeMap<PublicKey, BTreeSet<Join>>,
}

impl Draws {
    /// A join begins. `goes_on`: the one before it stands at the gateway. Those that are never reported by themselves.
    pub fn begin(&mut self, join: Join, goes_on: bool, now: BootTime) -> Vec<Join> {
        let (grant, incarnation) = join;
        let earlier = self.draws.range((grant, Incarnation(0))..(grant, incarnation));
        let earlier: Vec<Join> =
            earlier.filter(|(_, one)| one.over.is_none()).map(|(join, _)| *join).gather();
        for join in &earlier {
            match goes_on {
                true => drop(self.forget(*join)),
                false => self.over(*join, now),
            }
        }
        if goes_on { earlier } else { Vec::new() }
    }

    /// Its gateway is told what it may let through; the draw as it stands.
    pub fn draw(&mut self, draw: Draw) -> Draw {
        // Less than before may come too late: the gateway may have let more through already.
        let before = self.draws.get(&draw.join).map_or(0, |before| before.bytes);
        let draw = Draw { bytes: draw.bytes.max(before), ..draw };
        self.put(draw);
        draw
    }

    /// One that was kept.
    pub fn put(&mut self, draw: Draw) {
        self.of.entry(draw.terminal).or_default().insert(draw.join);
        self.draws.insert(draw.join, draw);
    }

    /// What a join may let through at one of these gateways, when this much of what was bought at all of them is not
    /// known to be used.
    pub fn free(&self, terminal: &PublicKey, sellers: &BTreeSet<PublicKey>, join: Join, left: u64) -> u64 {
        let others = self.others(terminal, sellers, join);
        others.fold(left, |left, other| left.saturating_sub(other.bytes))
    }

    /// What other joins of a terminal may let through at these gateways.
    pub fn others<'a>(
        &'a self,
        terminal: &PublicKey,
        sellers: &'a BTreeSet<PublicKey>,
        join: Join,
    ) -> impl Iterator<Item = &'a Draw> {
        let joins = self.of.get(terminal).into_iter().flatten().filter(move |other| **other != join);
        joins.filter_map(|join| self.draws.get(join)).filter(|draw| sellers.contains(&draw.gateway))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.draws.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.draws.is_empty()
    }

    /// What a join may let through.
    pub fn get(&self, join: Join) -> Option<&Draw> {
        self.draws.get(&join)
    }

    /// What a gateway let through under a join is known, or is to be known no more.
    pub fn forget(&mut self, join: Join) -> Option<Draw> {
        let draw = self.draws.remove(&join)?;
        if let Some(joins) = self.of.get_mut(&draw.terminal) {
            joins.remove(&join);
            if joins.is_empty() {
                self.of.remove(&draw.terminal);
            }
        }
        Some(draw)
    }

    /// The session of a join is over; its report may be on its way.
    pub fn over(&mut self, join: Join, now: BootTime) {
        if let Some(draw) = self.draws.get_mut(&join) {
            draw.over.get_or_insert(now);
        }
    }

    /// Those of a terminal that a gateway will not report any more: they are over, and its link stands since then.
    pub fn lost(
        &self,
        terminal: &PublicKey,
        linked_since: impl Fn(&PublicKey) -> Option<BootTime>,
        now: BootTime,
    ) -> Vec<Join> {
        let joins = self.of.get(terminal).into_iter().flatten();
        let draws = joins.filter_map(|join| self.draws.get(join));
        let lost = draws.filter(|draw| {
            let since = draw.over.zip(linked_since(&draw.gateway)).map(|(over, linked)| over.max(linked));
            since.is_some_and(|since| now >= since + REPORTED_WITHIN)
        });
        lost.map(|draw| draw.join).gather()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::histories::each_history;

    const ANNE: PublicKey = PublicKey([9; 32]);
    const GATEWAYS: [PublicKey; 2] = [PublicKey([1; 32]), PublicKey([2; 32])];
    const BOUGHT: u64 = 6;

    /// A gateway, as it counts.
    #[derive(Clone, Debug, Default)]
    struct Gateway {
        /// Which join is held, with what, and what was used of it.
        held: Option<(Join, u64, u64)>,
        /// Evictions and grants that have not come yet.
        notices: Vec<Notice>,
        reports: Vec<(Join, u64)>,
        passed: u64,
    }

    #[derive(Clone, Copy, Debug)]
    enum Notice {
        Give(Join, u64),
        Evict(Join),
    }

    impl Gateway {
        fn hears(&mut self) {
            for notice in std::mem::take(&mut self.notices) {
                match notice {
                    Notice::Give(join, quota) => {
                        let used = self.held.filter(|(held, ..)| held.0 == join.0).map_or(0, |held| held.2);
                        self.held = Some((join, quota, used));
                    }
                    Notice::Evict(join) => {
                        if let Some((held, _, used)) = self.held.filter(|(held, ..)| *held == join) {
                            self.held = None;
                            self.reports.push((held, used));
                        }
                    }
                }
            }
        }

        /// Packets come before it hears what is new, and after.
        fn works(&mut self) {
            self.passes(1);
            self.hears();
            self.passes(3);
        }

        fn passes(&mut self, bytes: u64) {
            if let Some((_, quota, used)) = &mut self.held {
                let bytes = bytes.min(quota.saturating_sub(*used));
                *used += bytes;
                self.passed += bytes;
            }
        }
    }

    /// One owner with two gateways, as the coordinator sees them.
    #[derive(Clone, Debug, Default)]
    struct World {
        draws: Draws,
        gateways: [Gateway; 2],
        /// The session at each: its join, and whether it is wanted.
        sessions: [Option<(Join, bool)>; 2],
        used: u64,
        bought: u64,
    }

    impl World {
        fn free(&self, join: Join) -> u64 {
            self.draws.free(&ANNE, &GATEWAYS.into(), join, self.bought - self.used)
        }

        fn ends(&mut self, at: usize) {
            if let Some((join, wanted)) = &mut self.sessions[at]
                && std::mem::replace(wanted, false)
            {
                self.gateways[at].notices.push(Notice::Evict(*join));
            }
        }

        fn joins(&mut self, at: usize) {
            self.ends(1 - at);
            let before = self.sessions[at];
            let join = match before {
                Some(((grant, incarnation), _)) => (grant, incarnation.next()),
                None => (GrantId([at as u8; 16]), Incarnation(1)),
            };
            let own = before.filter(|(_, wanted)| *wanted).map(|(own, _)| own);
            if self.free(own.unwrap_or(join)) == 0 {
                return;
            }
            self.draws.begin(join, own.is_some(), BootTime::default());
            let bytes = self.free(join);
            self.draws.draw(Draw { join, gateway: GATEWAYS[at], terminal: ANNE, bytes, over: None });
            self.sessions[at] = Some((join, true));
            self.gateways[at].notices.push(Notice::Give(join, bytes));
        }

        fn reads(&mut self, at: usize) {
            for (join, used) in std::mem::take(&mut self.gateways[at].reports) {
                let draw = self.draws.forget(join).expect("each is reported once");
                assert!(used <= draw.bytes);
                self.used += used;
            }
        }

        /// More was bought, or less is used than was feared: who is there is told.
        fn tops_up(&mut self) {
            for (at, gateway) in GATEWAYS.into_iter().enumerate() {
                let Some((join, true)) = self.sessions[at] else { continue };
                let bytes = self.free(join);
                self.draws.draw(Draw { join, gateway, terminal: ANNE, bytes, over: None });
                self.gateways[at].notices.push(Notice::Give(join, bytes));
            }
        }

        fn passed(&self) -> u64 {
            self.gateways.iter().map(|gateway| gateway.passed).sum()
        }
    }

    #[test]
    fn no_short_history_spends_a_byte_twice() {
        type Step = (&'static str, fn(&mut World));
        let steps: [Step; 9] = [
            ("joins 0", |world| world.joins(0)),
            ("joins 1", |world| world.joins(1)),
            ("leaves 0", |world| world.ends(0)),
            ("leaves 1", |world| world.ends(1)),
            ("0 works", |world| world.gateways[0].works()),
            ("1 works", |world| world.gateways[1].works()),
            ("reports of 0", |world| world.reads(0)),
            ("reports of 1", |world| world.reads(1)),
            ("more is bought", |world| {
                world.bought += 2;
                world.tops_up();
            }),
        ];
        let mut moved = 0;
        let start = World { bought: BOUGHT, ..World::default() };
        each_history(&start, steps.len(), 6, &mut |world, history| {
            let said = || history.iter().map(|step| steps[*step].0).collect::<Vec<_>>();
            steps[history[history.len() - 1]].1(world);
            assert!(world.passed() <= world.bought, "{:?}: {world:?}", said());
            if history.len() < 6 {
                return;
            }
            moved += usize::from(world.gateways.iter().all(|gateway| gateway.passed > 0));
            // All of it ends, in any order, and is reported.
            for at in 0..2 {
                world.ends(at);
                world.gateways[at].hears();
                world.reads(at);
            }
            assert_eq!(world.used, world.passed(), "{:?}: {world:?}", said());
            assert!(world.draws.draws.is_empty() && world.draws.of.is_empty(), "{:?}: {world:?}", said());
            let next = (GrantId([7; 16]), Incarnation(1));
            assert_eq!(world.free(next), world.bought - world.passed(), "{:?}", said());
        });
        assert!(moved > 0, "some history goes from one to the other");
    }

    #[test]
    fn what_a_gateway_has_lost_is_free_again_after_a_minute() {
        let (mut draws, second) = (Draws::default(), Duration::from_secs(1));
        let start = BootTime::default();
        let join = (GrantId([1; 16]), Incarnation(1));
        let draw = Draw { join, gateway: GATEWAYS[0], terminal: ANNE, bytes: 5, over: None };
        draws.draw(draw);
        let late = start + REPORTED_WITHIN * 10;
        let stands = |since: BootTime| move |_: &PublicKey| Some(since);
        assert!(draws.lost(&ANNE, stands(start), late).is_empty(), "its session goes on");
        draws.over(join, late);
        draws.over(join, late + second);
        assert!(draws.lost(&ANNE, |_| None, late + REPORTED_WITHIN).is_empty(), "it cannot say anything");
        assert!(draws.lost(&ANNE, stands(start), late + REPORTED_WITHIN - second).is_empty());
        assert!(draws.lost(&ANNE, stands(late + second), late + REPORTED_WITHIN).is_empty());
        assert_eq!(draws.lost(&ANNE, stands(start), late + REPORTED_WITHIN), [join]);
        assert_eq!(draws.forget(join).map(|draw| draw.bytes), Some(5));
        assert_eq!(draws.forget(join), None);
    }
}
