//! Which beacon is told to hostapd when, and which token still counts.
//!
//! ```text
//! a BSS:   Wanted --Announce--> Asked --taken--> On ----------- next beat, emptied, came up anew, room --> Wanted
//!                                 |---later----> Failed ------- next beat, emptied, came up anew --------> Wanted
//!                                 |---refused--> Refused ------ came up anew ----------------------------> Wanted
//! ```
//!
//! A beat is the beginning of a slot, and of every minute: hostapd that reads its configuration again forgets what
//! it was told and says so to nobody. It also sends all stations away, so one that has lost its last station is
//! told at once.
//!
//! Time is cut into slots from the gateway's start on, so a router without a calendar needs none: the epoch in
//! the element is random, and the slot counts from it. Invariants: one question at a time to each BSS; a refusal
//! is not answered by asking again; whoever was asked last in this slot was told this slot
//! (`every_short_history`). Not here: octets and HMAC (`wire/beacon.rs`). `docs/wire.md` gives the reasons.

use std::time::Duration;

use crate::model::{BootTime, Bssid, Few, Refusal};
use crate::wire::beacon::Beacon;
use crate::wire::gateway::BeaconReport;

/// What happens to the announcer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// These BSSes serve a shared network on the air, and no others.
    Serves(Few<String, Bssid>),
    /// hostapd made this BSS anew: whatever it was told is forgotten.
    CameUp(String),
    /// The last station of this BSS has left: maybe hostapd has read its configuration again.
    Emptied(String),
    /// Whether another grant could be given.
    Room(bool),
    /// What hostapd said to [`Action::Announce`].
    Answered {
        /// The BSS.
        bss: String,
        /// How it ended.
        answer: Answer,
    },
}

/// What hostapd says to an announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is on the air.
    Taken,
    /// Not now; worth another try in the next slot.
    Later(String),
    /// No; asking again would not help.
    Refused(String),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Put our element on the air. Answered by [`Input::Answered`].
    Announce {
        /// Where.
        bss: String,
        /// Its address, for which the token is made.
        bssid: Bssid,
        /// The slot.
        slot: u32,
        /// Whether another grant could be given.
        room: bool,
    },
    /// Take it off the air: the network is not shared any more. Not answered.
    Withdraw {
        /// Where.
        bss: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Wanted,
    /// `again`: by the time the answer comes, something else is to be said.
    Asked {
        again: bool,
    },
    On,
    Failed(String),
    Refused(String),
}

#[derive(Clone, Debug)]
struct Bss {
    bssid: Bssid,
    state: State,
    /// Whether hostapd has taken ours since it made this BSS, and has refused none later.
    is_on_air: bool,
}

/// How it stands with a BSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It carries our element.
    On,
    /// hostapd has not said yet whether it will.
    Asked,
    /// It does not, for this reason.
    Off(&'a str),
}

/// The longest time without saying it again.
const REPEAT: Duration = Duration::from_secs(60);

/// Keeps our element on the air. One for each run of a gateway.
#[derive(Clone, Debug)]
pub struct Announcer {
    every: Duration,
    began: BootTime,
    slot: u32,
    repeat: u32,
    room: bool,
    bsses: Few<String, Bss>,
    withdrawn: Vec<String>,
}

impl Announcer {
    /// With slots of this length, the first from now on.
    pub fn new(every: Duration, now: BootTime) -> Self {
        let every = every.max(Duration::from_secs(1));
        let (bsses, withdrawn) = (Few::default(), Vec::new());
        Self { every, began: now, slot: 0, repeat: 0, room: true, bsses, withdrawn }
    }

    /// Takes in one fact.
    pub fn handle_input(&mut self, input: Input, now: BootTime) {
        self.handle_timeout(now);
        match input {
            Input::Serves(wanted) => self.serves(wanted),
            Input::CameUp(bss) => {
                if let Some(bss) = self.bsses.get_mut(&bss) {
                    bss.is_on_air = false;
                    bss.say_again(true);
                }
            }
            Input::Emptied(bss) => {
                if let Some(bss) = self.bsses.get_mut(&bss) {
                    bss.say_again(false);
                }
            }
            Input::Room(room) => {
                if std::mem::replace(&mut self.room, room) != room {
                    self.bsses.values_mut().for_each(|bss| bss.say_again(false));
                }
            }
            Input::Answered { bss, answer } => {
                let Some(bss) = self.bsses.get_mut(&bss) else { return };
                // An answer from before it was made anew says nothing of now.
                let counts = bss.is_on_air || bss.state == (State::Asked { again: false });
                let is_on_air = answer == Answer::Taken && counts;
                bss.state = match (&bss.state, answer) {
                    (State::Asked { again: true }, Answer::Taken | Answer::Later(_)) => State::Wanted,
                    (State::Asked { again: false }, Answer::Taken) => State::On,
                    (State::Asked { again: false }, Answer::Later(why)) => State::Failed(why),
                    (State::Asked { .. }, Answer::Refused(why)) => State::Refused(why),
                    // Nobody was asked.
                    (State::Wanted | State::On | State::Failed(_) | State::Refused(_), _) => return,
                };
                bss.is_on_air = is_on_air;
            }
        }
    }

    /// The next thing to do. Drain after every input and time-out.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(bss) = self.withdrawn.pop() {
            return Some(Action::Withdraw { bss });
        }
        let (name, bss) = self.bsses.iter_mut().find(|(_, bss)| bss.state == State::Wanted)?;
        bss.state = State::Asked { again: false };
        Some(Action::Announce { bss: name.clone(), bssid: bss.bssid, slot: self.slot, room: self.room })
    }

    /// When the next beat is; `None` while nobody is to be told.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let anybody = self.bsses.values().any(|bss| !matches!(bss.state, State::Refused(_)));
        let next = |every: Duration, number: u32| every.saturating_mul(number.saturating_add(1));
        anybody.then(|| self.began + next(self.every, self.slot).min(next(REPEAT, self.repeat)))
    }

    /// Goes on to the slot of this time.
    pub fn handle_timeout(&mut self, now: BootTime) {
        let since = now.since(self.began);
        let (slot, repeat) = (position(since, self.every).0, position(since, REPEAT).0);
        if slot > self.slot || repeat > self.repeat {
            (self.slot, self.repeat) = (slot, repeat);
            self.bsses.values_mut().for_each(|bss| bss.say_again(false));
        }
    }

    /// The slot, how far into it this time is, and how long a slot lasts: what the coordinator is told.
    pub fn position(&self, now: BootTime) -> (u32, Duration, Duration) {
        let (slot, into) = position(now.since(self.began), self.every);
        (slot, into, self.every)
    }

    /// The BSSes on which it is wanted.
    pub fn announced(&self) -> impl Iterator<Item = (&str, Standing<'_>)> {
        self.bsses.iter().map(|(name, bss)| match &bss.state {
            State::Failed(why) | State::Refused(why) => (name.as_str(), Standing::Off(why)),
            State::Wanted | State::Asked { .. } | State::On if bss.is_on_air => (name.as_str(), Standing::On),
            State::Wanted | State::Asked { .. } | State::On => (name.as_str(), Standing::Asked),
        })
    }

    /// The access points that carry it.
    pub fn on_air(&self) -> impl Iterator<Item = Bssid> {
        self.bsses.values().filter(|bss| bss.is_on_air).map(|bss| bss.bssid)
    }

    fn serves(&mut self, wanted: Few<String, Bssid>) {
        let over: Vec<String> =
            self.bsses.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in over {
            self.bsses.remove(&name);
            self.withdrawn.push(name);
        }
        for (name, bssid) in wanted {
            let bss =
                self.bsses.get_or_insert_with(name, || Bss { bssid, state: State::Wanted, is_on_air: false });
            if bss.bssid != bssid {
                bss.bssid = bssid;
                bss.say_again(true);
            }
        }
    }
}

impl Bss {
    /// `anew`: also to one that refused.
    fn say_again(&mut self, anew: bool) {
        match &mut self.state {
            State::Asked { again } => *again = true,
            State::Refused(_) if !anew => {}
            state => *state = State::Wanted,
        }
    }
}

/// Which slot, and how far into it.
fn position(since: Duration, every: Duration) -> (u32, Duration) {
    let every = every.as_nanos().max(1);
    let slot = since.as_nanos() / every;
    let into = u64::try_from(since.as_nanos() % every).unwrap_or(u64::MAX);
    (u32::try_from(slot).unwrap_or(u32::MAX), Duration::from_nanos(into))
}

/// What a coordinator knows of a gateway's slots: what it was told, and when.
#[derive(Clone, Debug)]
pub struct Slots {
    report: BeaconReport,
    heard: BootTime,
}

impl Slots {
    /// Of a report that came now.
    pub fn new(report: BeaconReport, now: BootTime) -> Self {
        Self { report, heard: now }
    }

    /// Whether whoever shows this beacon was near this access point lately: within two slots.
    ///
    /// The slot of now, the one before it, which a scan may have seen, and the one after it: the report took some
    /// time to get here, so the gateway is a little ahead.
    pub fn check(&self, beacon: &Beacon, bssid: Bssid, now: BootTime) -> Result<(), Refusal> {
        let said = &beacon.said;
        if said.epoch != self.report.epoch {
            let sentence = "the beacon is of another run of its gateway than the one that is known";
            return Err(Refusal::new("beacon-epoch", sentence));
        }
        if !beacon.is_proven(&self.report.secret, bssid) {
            let sentence = format!("the token of the beacon was not made for access point {bssid}");
            return Err(Refusal::new("beacon-forged", sentence));
        }
        let every = Duration::from_millis(self.report.slot_ms.max(1));
        let since = Duration::from_millis(self.report.into_ms) + now.since(self.heard);
        let present = self.report.slot.saturating_add(position(since, every).0);
        let (slot, oldest) = (said.slot, present.saturating_sub(1));
        let numbers = format!("the beacon is of slot {slot}, and now is slot {present}");
        if slot < oldest {
            return Err(Refusal::new(
                "beacon-stale",
                format!("{numbers}; {oldest} is the oldest that counts"),
            ));
        }
        if slot > present.saturating_add(1) {
            return Err(Refusal::new("beacon-early", format!("{numbers}; no gateway is so far ahead")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BeaconEpoch, BeaconSecret, MacAddr, ServiceId};
    use crate::wire::beacon::Announcement;

    const SLOT: Duration = Duration::from_secs(300);
    const BSSID: Bssid = Bssid(MacAddr([2, 0, 0, 0, 0, 1]));

    /// Inputs of the histories; hostapd is a model: what it was told last, and whether a question is open.
    #[test]
    fn every_short_history() {
        let two = || Few::from([("ap1".to_owned(), BSSID), ("ap2".to_owned(), BSSID)]);
        let one = || Few::from([("ap1".to_owned(), BSSID)]);
        let answered = |answer| Input::Answered { bss: "ap1".into(), answer };
        let steps: [&dyn Fn() -> Option<Input>; 10] = [
            &|| None,
            &|| Some(Input::Emptied("ap1".into())),
            &|| Some(Input::Serves(two())),
            &|| Some(Input::Serves(one())),
            &|| Some(Input::CameUp("ap1".into())),
            &|| Some(Input::Room(false)),
            &|| Some(Input::Room(true)),
            &|| Some(answered(Answer::Taken)),
            &|| Some(answered(Answer::Later("busy".into()))),
            &|| Some(answered(Answer::Refused("no".into()))),
        ];
        for history in 0..steps.len().pow(5) {
            let mut now = BootTime(77);
            let mut machine = Announcer::new(SLOT, now);
            let (mut open, mut told, mut refused, mut taken) = (false, None, false, false);
            let mut rest = history;
            for _ in 0..5 {
                let step = steps[rest % steps.len()]();
                rest /= steps.len();
                match &step {
                    // Now and then a slot begins, and between two of them a minute.
                    None => now = now + SLOT * 2 / 5,
                    Some(Input::Answered { answer, .. }) => {
                        taken = if open { *answer == Answer::Taken } else { taken };
                        refused = (open && matches!(answer, Answer::Refused(_))) || (refused && !open);
                        open = false;
                    }
                    Some(Input::CameUp(_)) => {
                        refused &= open;
                        taken = false;
                    }
                    Some(_) => {}
                }
                match step {
                    None => machine.handle_timeout(now),
                    Some(input) => machine.handle_input(input, now),
                }
                while let Some(action) = machine.poll_action() {
                    if let Action::Announce { bss, slot, room, .. } = action
                        && bss == "ap1"
                    {
                        assert!(!open, "{history}: asked twice");
                        assert!(!refused, "{history}: a refusal was answered by asking again");
                        open = true;
                        told = Some((slot, room));
                    }
                }
                let is_on = machine.bsses.get("ap1").is_some_and(|bss| bss.state == State::On);
                let shown = machine.announced().any(|(name, how)| name == "ap1" && how == Standing::On);
                assert!(taken || !shown, "{history}: shown on the air, and hostapd did not say so");
                assert!(shown || !is_on, "{history}: on the air, and not shown");
                if is_on {
                    assert_eq!(told, Some((machine.position(now).0, machine.room)), "{history}");
                }
                assert!(
                    machine.poll_timeout().is_none_or(|at| at > now),
                    "{history}: a time-out in the past"
                );
            }
        }
    }

    #[test]
    fn nobody_is_told_nothing_and_a_slot_is_one_time_out() {
        let now = BootTime(5);
        let mut machine = Announcer::new(SLOT, now);
        assert_eq!(machine.poll_timeout(), None);
        machine.handle_input(Input::Serves(Few::from([("ap1".to_owned(), BSSID)])), now);
        assert_eq!(machine.poll_timeout(), Some(now + REPEAT));
        assert!(machine.poll_action().is_some());
        assert_eq!(machine.announced().collect::<Vec<_>>(), [("ap1", Standing::Asked)]);
        let refused = Answer::Refused("FAIL".into());
        machine.handle_input(Input::Answered { bss: "ap1".into(), answer: refused }, now);
        assert_eq!(machine.poll_timeout(), None);
        assert_eq!(machine.announced().collect::<Vec<_>>(), [("ap1", Standing::Off("FAIL"))]);
        machine.handle_input(Input::Serves(Few::default()), now + SLOT);
        assert_eq!(machine.poll_action(), Some(Action::Withdraw { bss: "ap1".into() }));
    }

    #[test]
    fn what_hostapd_may_have_forgotten_is_said_again() {
        for every in [SLOT, Duration::from_secs(45)] {
            let began = BootTime(5);
            let mut machine = Announcer::new(every, began);
            machine.handle_input(Input::Serves(Few::from([("ap1".to_owned(), BSSID)])), began);
            let mut said = Vec::new();
            let mut tell = |machine: &mut Announcer, now: BootTime| {
                while let Some(action) = machine.poll_action() {
                    let Action::Announce { bss, slot, .. } = action else { panic!("{action:?}") };
                    said.push((now.since(began).as_secs(), slot));
                    machine.handle_input(Input::Answered { bss, answer: Answer::Taken }, now);
                }
            };
            tell(&mut machine, began);
            machine.handle_input(Input::Emptied("ap1".into()), began + Duration::from_secs(1));
            tell(&mut machine, began + Duration::from_secs(1));
            while let Some(at) = machine.poll_timeout().filter(|at| at.since(began).as_secs() <= 300) {
                machine.handle_timeout(at);
                tell(&mut machine, at);
            }
            let wanted: &[(u64, u32)] = match every == SLOT {
                true => &[(0, 0), (1, 0), (60, 0), (120, 0), (180, 0), (240, 0), (300, 1)],
                false => &[
                    (0, 0),
                    (1, 0),
                    (45, 1),
                    (60, 1),
                    (90, 2),
                    (120, 2),
                    (135, 3),
                    (180, 4),
                    (225, 5),
                    (240, 5),
                    (270, 6),
                    (300, 6),
                ],
            };
            assert_eq!(said, wanted);
        }
    }

    #[test]
    fn a_token_counts_in_its_slot_and_the_next_and_not_from_another_run() {
        let secret = BeaconSecret::new([7; 32]);
        let beacon = |slot: u32, epoch: u8| {
            let said = Announcement {
                service: ServiceId([1; 16]),
                room: true,
                epoch: BeaconEpoch([epoch; 8]),
                slot,
                tariff: None,
            };
            said.prove(&secret, BSSID)
        };
        let heard = BootTime(1_000);
        let report = BeaconReport {
            slot: 10,
            epoch: BeaconEpoch([1; 8]),
            secret: secret.clone(),
            into_ms: 299_000,
            slot_ms: 300_000,
        };
        let slots = Slots::new(report.clone(), heard);
        let word = |beacon: Beacon, after: u64| {
            let now = heard + Duration::from_secs(after);
            slots.check(&beacon, BSSID, now).err().map(|refusal| refusal.word)
        };
        for (slot, after, wanted) in [
            (10, 0, None),
            (9, 0, None),
            (8, 0, Some("beacon-stale")),
            (11, 0, None),
            (12, 0, Some("beacon-early")),
            // A second later the next slot begins.
            (9, 1, Some("beacon-stale")),
            (10, 1, None),
            (10, 300, None),
            (10, 301, Some("beacon-stale")),
        ] {
            assert_eq!(word(beacon(slot, 1), after).as_deref(), wanted, "slot {slot} after {after} s");
        }
        assert_eq!(word(beacon(10, 2), 0).as_deref(), Some("beacon-epoch"));
        let elsewhere = Bssid(MacAddr([2, 0, 0, 0, 0, 9]));
        let forged = slots.check(&beacon(10, 1), elsewhere, heard).unwrap_err();
        assert_eq!(forged.word, "beacon-forged");
        // Numbers off the wire: nothing overflows.
        let mad = BeaconReport { slot: u32::MAX, into_ms: u64::MAX, slot_ms: 0, ..report };
        assert!(Slots::new(mad, heard).check(&beacon(10, 1), BSSID, BootTime(u64::MAX)).is_err());
    }
}
