//! The brake on mass silence: when many fall silent at once, it is the network that fell silent.
//!
//! One scope is one gateway, another the whole node. For each: how many sessions are expected to heartbeat,
//! how many of them are silent now, and how many fell silent within the window and were not heard since,
//! whether they were evicted meanwhile or not.
//!
//! ```text
//!            fell silent in the window ≥ at_least  and  > share of those expected
//!   Open ───────────────────────────────────────────────────────────────────────> Held
//!    ▲                                                                             │ hold is over
//!    │  silent now ≤ half of what engages it                                       ▼
//!    └───────────────────────────────────────────────────────────────────────── Evidence
//!                        the same for those of the window
//! ```
//!
//! `Held`: nobody is evicted for silence. `Evidence`: only a station that its own gateway does not see any
//! more. Silence alone ends nothing until the heartbeats return, as with Eureka's self-preservation; the
//! step to `Evidence` bounds how long a bus that left keeps its grants. Test: `every_short_history`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::{BootTime, PublicKey};

/// When the brake engages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrakeSettings {
    /// More than this share of the sessions expected, in percent.
    pub share_percent: u32,
    /// And at least so many.
    pub at_least: u32,
    /// Falling silent within this time.
    pub window: Duration,
    /// After this time, what a gateway itself does not see any more may be evicted.
    pub hold: Duration,
}

/// What may be evicted for silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grip {
    /// Whatever is silent.
    #[default]
    Open,
    /// What its gateway does not see.
    Evidence,
    /// Nothing.
    Held,
}

/// Where the brake engaged or let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everything that this coordinator follows.
    Node,
    /// One gateway.
    Gateway(PublicKey),
}

/// A change, with the numbers that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrakeChange {
    /// Where.
    pub scope: Scope,
    /// What may be evicted from now on.
    pub grip: Grip,
    /// Sessions that are expected to heartbeat.
    pub expected: u32,
    /// Of those, silent now.
    pub silent: u32,
    /// Fell silent within the window.
    pub recent: u32,
}

/// The brake over all scopes.
#[derive(Debug)]
pub struct Brake {
    settings: BrakeSettings,
    scopes: BTreeMap<Scope, Counts>,
    changes: VecDeque<BrakeChange>,
}

#[derive(Debug, Default)]
struct Counts {
    expected: u32,
    silent: u32,
    /// By the eighth of a window in which they fell, oldest first.
    lapses: VecDeque<Lapses>,
    grip: Grip,
    since: BootTime,
}

#[derive(Debug)]
struct Lapses {
    since: BootTime,
    /// Fell silent, and were not heard again.
    lapsed: u32,
    /// Silent ones that ended.
    ended: u32,
}

impl Brake {
    /// A brake that is open everywhere.
    pub fn new(settings: BrakeSettings) -> Self {
        Self { settings, scopes: BTreeMap::new(), changes: VecDeque::new() }
    }

    /// From now on these settings.
    pub fn set(&mut self, settings: BrakeSettings) {
        self.settings = settings;
    }

    /// One session more that is expected to heartbeat.
    pub fn expect(&mut self, gateway: PublicKey) {
        self.each(gateway, |counts| counts.expected = counts.expected.saturating_add(1));
    }

    /// A session is no longer expected to heartbeat; `silent`: it had fallen silent.
    pub fn forget(&mut self, gateway: PublicKey, silent: bool, now: BootTime) {
        self.each(gateway, |counts| {
            counts.expected = counts.expected.saturating_sub(1);
            if silent {
                counts.silent = counts.silent.saturating_sub(1);
                if let Some(lapses) = counts.lapses.back_mut() {
                    lapses.ended = lapses.ended.saturating_add(1);
                }
            }
        });
        self.judge(gateway, now);
    }

    /// A session fell silent.
    pub fn silent(&mut self, gateway: PublicKey, now: BootTime) {
        let bucket = self.settings.window / 8;
        self.each(gateway, |counts| {
            counts.silent = counts.silent.saturating_add(1);
            match counts.lapses.back_mut() {
                Some(lapses) if now.since(lapses.since) < bucket => {
                    lapses.lapsed = lapses.lapsed.saturating_add(1);
                }
                _ => counts.lapses.push_back(Lapses { since: now, lapsed: 1, ended: 0 }),
            }
        });
        self.judge(gateway, now);
    }

    /// A silent session is heard or seen again.
    pub fn returned(&mut self, gateway: PublicKey, now: BootTime) {
        self.each(gateway, |counts| {
            counts.silent = counts.silent.saturating_sub(1);
            if let Some(lapses) = counts.lapses.iter_mut().rev().find(|lapses| lapses.lapsed > 0) {
                lapses.lapsed -= 1;
            }
        });
        self.judge(gateway, now);
    }

    /// What may be evicted for silence at a gateway now.
    pub fn grip(&mut self, gateway: PublicKey, now: BootTime) -> Grip {
        self.judge(gateway, now);
        [Scope::Node, Scope::Gateway(gateway)]
            .iter()
            .filter_map(|scope| self.scopes.get(scope))
            .map(|counts| counts.grip)
            .max()
            .unwrap_or_default()
    }

    /// Scopes that are not open now.
    pub fn engaged(&self) -> impl Iterator<Item = (Scope, Grip)> {
        self.scopes
            .iter()
            .filter(|(_, counts)| counts.grip != Grip::Open)
            .map(|(scope, counts)| (*scope, counts.grip))
    }

    /// What changed, in order; to be logged.
    pub fn poll_action(&mut self) -> Option<BrakeChange> {
        self.changes.pop_front()
    }

    fn each(&mut self, gateway: PublicKey, change: impl Fn(&mut Counts)) {
        for scope in [Scope::Node, Scope::Gateway(gateway)] {
            change(self.scopes.entry(scope).or_default());
        }
    }

    fn judge(&mut self, gateway: PublicKey, now: BootTime) {
        for scope in [Scope::Node, Scope::Gateway(gateway)] {
            let Some(counts) = self.scopes.get_mut(&scope) else { continue };
            let before = counts.grip;
            counts.judge(&self.settings, now);
            if counts.grip != before {
                self.changes.push_back(BrakeChange {
                    scope,
                    grip: counts.grip,
                    expected: counts.expected,
                    silent: counts.silent,
                    recent: counts.recent(),
                });
            }
            if counts.expected == 0 && counts.grip == Grip::Open && counts.lapses.is_empty() {
                self.scopes.remove(&scope);
            }
        }
    }
}

impl Counts {
    /// Fell silent within the window and were not heard since.
    fn recent(&self) -> u32 {
        self.lapses.iter().fold(0, |sum, lapses| sum.saturating_add(lapses.lapsed))
    }

    fn judge(&mut self, settings: &BrakeSettings, now: BootTime) {
        while self.lapses.front().is_some_and(|lapses| now.since(lapses.since) > settings.window) {
            self.lapses.pop_front();
        }
        // Those that were evicted in the window were expected when it began.
        let ended: u64 = self.lapses.iter().map(|lapses| u64::from(lapses.ended)).sum();
        let share = (u64::from(self.expected) + ended) * u64::from(settings.share_percent);
        let many = |number: u32| number >= settings.at_least && u64::from(number) * 100 > share;
        let recent = self.recent();
        let returned = !many(self.silent.max(recent).saturating_mul(2));
        match self.grip {
            Grip::Open if many(recent) => (self.grip, self.since) = (Grip::Held, now),
            Grip::Held | Grip::Evidence if returned => self.grip = Grip::Open,
            Grip::Held if now.since(self.since) >= settings.hold => self.grip = Grip::Evidence,
            Grip::Open | Grip::Held | Grip::Evidence => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: PublicKey = PublicKey([1; 32]);
    const THERE: PublicKey = PublicKey([2; 32]);
    const SETTINGS: BrakeSettings = BrakeSettings {
        share_percent: 15,
        at_least: 20,
        window: Duration::from_secs(60),
        hold: Duration::from_secs(900),
    };
    const START: BootTime = BootTime(1_000_000_000_000);

    fn at(seconds: u64) -> BootTime {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn a_region_that_falls_silent_holds_until_it_returns() {
        let mut brake = Brake::new(SETTINGS);
        (0..100).for_each(|_| brake.expect(HERE));
        (0..900).for_each(|_| brake.expect(THERE));
        (0..19).for_each(|_| brake.silent(HERE, at(1)));
        assert_eq!(brake.grip(HERE, at(1)), Grip::Open, "19 are not at least 20");
        brake.silent(HERE, at(2));
        assert_eq!(brake.grip(HERE, at(2)), Grip::Held);
        assert_eq!(brake.grip(THERE, at(2)), Grip::Open, "20 of 1000 are not more than 15 %");
        let change = brake.poll_action().unwrap();
        assert_eq!((change.scope, change.silent, change.expected), (Scope::Gateway(HERE), 20, 100));
        // Time alone does not let go, but after the hold evidence counts.
        assert_eq!(brake.grip(HERE, at(800)), Grip::Held);
        assert_eq!(brake.grip(HERE, at(903)), Grip::Evidence);
        (0..10).for_each(|_| brake.returned(HERE, at(904)));
        assert_eq!(brake.grip(HERE, at(904)), Grip::Evidence, "20 of 100 is still above 15");
        brake.returned(HERE, at(905));
        assert_eq!(brake.grip(HERE, at(905)), Grip::Open);
    }

    #[test]
    fn a_slow_trickle_never_engages_it() {
        let mut brake = Brake::new(SETTINGS);
        (0..100).for_each(|_| brake.expect(HERE));
        for second in 0..50 {
            brake.silent(HERE, at(second * 10));
            assert_eq!(brake.grip(HERE, at(second * 10)), Grip::Open);
        }
    }

    #[test]
    fn many_small_gateways_together_are_the_node() {
        let mut brake = Brake::new(SETTINGS);
        for gateway in 0..50 {
            (0..2).for_each(|_| brake.expect(PublicKey([gateway; 32])));
        }
        (0..20).for_each(|gateway| brake.silent(PublicKey([gateway; 32]), at(1)));
        assert_eq!(brake.grip(PublicKey([40; 32]), at(1)), Grip::Held);
        assert_eq!(brake.engaged().collect::<Vec<_>>(), [(Scope::Node, Grip::Held)]);
    }

    #[test]
    fn those_evicted_before_it_engaged_count_too() {
        let mut brake = Brake::new(SETTINGS);
        (0..100).for_each(|_| brake.expect(HERE));
        for number in 1..=100 {
            brake.silent(HERE, at(1));
            match brake.grip(HERE, at(1)) {
                Grip::Open => {
                    assert!(number < 20, "{number} evicted one by one");
                    brake.forget(HERE, true, at(1));
                }
                Grip::Held => assert!(number >= 20),
                Grip::Evidence => panic!("too early"),
            }
        }
        // They were not the network: after the window only those that are silent still count.
        assert_eq!(brake.grip(HERE, at(100)), Grip::Held);
        (0..81).for_each(|_| brake.returned(HERE, at(100)));
        assert_eq!(brake.grip(HERE, at(100)), Grip::Open);
    }

    /// Over every history of seven events: counts never drift from the sessions' own states; while it is
    /// open no bound is passed; it opens when nobody is silent and nobody lapsed in the window.
    #[test]
    fn every_short_history() {
        let settings = BrakeSettings { share_percent: 30, at_least: 2, ..SETTINGS };
        let events = 5u32;
        for history in 0..events.pow(7) {
            let mut brake = Brake::new(settings);
            let (mut heard, mut silent, mut evicted) = (4u32, 0u32, 0u32);
            (0..4).for_each(|_| brake.expect(HERE));
            let mut now = START;
            let mut code = history;
            for _ in 0..7 {
                match code % events {
                    0 if heard > 0 => {
                        (heard, silent) = (heard - 1, silent + 1);
                        brake.silent(HERE, now);
                    }
                    1 if silent > 0 => {
                        (heard, silent) = (heard + 1, silent - 1);
                        brake.returned(HERE, now);
                    }
                    2 if silent > 0 => {
                        (silent, evicted) = (silent - 1, evicted + 1);
                        brake.forget(HERE, true, now);
                    }
                    3 if heard > 0 => {
                        heard -= 1;
                        brake.forget(HERE, false, now);
                    }
                    // Longer than the window.
                    4 => (now, evicted) = (now + Duration::from_secs(400), 0),
                    _ => {}
                }
                code /= events;
                let grip = brake.grip(HERE, now);
                if silent == 0 && evicted == 0 {
                    assert_eq!(grip, Grip::Open, "history {history}");
                }
                let scope = brake.scopes.get(&Scope::Gateway(HERE));
                if grip == Grip::Open {
                    let recent = scope.map_or(0, Counts::recent);
                    assert!(
                        recent < 2 || recent * 100 <= (heard + silent + evicted) * 30,
                        "history {history}"
                    );
                }
                assert_eq!(scope.map_or(0, |counts| counts.silent), silent, "history {history}");
                assert_eq!(scope.map_or(0, |counts| counts.expected), heard + silent, "history {history}");
            }
        }
    }
}
