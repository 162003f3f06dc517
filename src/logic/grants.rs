//! Decides who passes: which grant of a station the kernel enforces, when one ends, and what is freed then.
//!
//! ```text
//!                Give      TopUp: more   Take, Spent, lease over, not Wanted
//!   (unknown) ---------> Held ------------------------------------------------------> Over, reported
//!                         |            (a grant that is spent may wait for more: `spent.rs`)
//!                         |
//!                         |  per station, the best held grant is what the kernel enforces:
//!                         |     none -> some   Enforce          some -> another   Enforce (in its place)
//!                         |     some -> none   an eviction wave:
//!                         v
//!                      Report
//! ```
//!
//! The owner's grants go before a coordinator's. What an eviction wave does, and when, is in `waves.rs`.
//!
//! A grant that was made for a code has no station until one comes with it: `codes.rs`.
//!
//! Held to, for every short history, by `tests::no_short_history_breaks_the_rules`:
//!
//! * The kernel is told to enforce a station if and only if a grant for it is held.
//! * Every grant that ends is reported exactly once, and one that is held never.
//! * A notice for an incarnation that is over changes nothing.
//!
//! Not here: how the kernel is told (`gateway/effects.rs`), what a coordinator asks for (`logic/upstream.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use self::codes::{Air, MOST_CODES};
use self::spent::Spent;
use self::waves::{Evictee, Wave};
use super::listing::By;
use crate::model::{
    BootTime, Cause, Code, Few, Gather, GrantId, GrantSpec, Holder, Incarnation, KeyId, MacAddr, Origin,
    Refusal, Report, Step, StepOutcome, Traffic,
};
use crate::wire::gateway::BY_CODE;

mod codes;
mod spent;
mod waves;

/// The kernel ends a grant this much later than the daemon, so that a daemon that lives does it with a report.
pub const KERNEL_GRACE: Duration = Duration::from_secs(2);

/// The longest lease honoured from a coordinator, whatever it says.
const MAX_LEASE: Duration = Duration::from_secs(24 * 3600);

/// After the kernel refused something, everything is said again after this.
const HEAL_AFTER: Duration = Duration::from_secs(1);

/// The most grants held: what a kernel set and this daemon's memory are made for.
const MOST_GRANTS: usize = 100_000;

/// A grant that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Its station now; `None`: nobody is here with its code.
    pub station: Option<MacAddr>,
    /// Whoever has it is its station; `None`: it was given to the station itself.
    pub code: Option<Code>,
    /// Who gave it.
    pub origin: Origin,
    /// Who owns it.
    pub holder: Holder,
    /// Which join.
    pub incarnation: Incarnation,
    /// When it ends by itself.
    pub deadline: Option<BootTime>,
    /// Bytes granted.
    pub quota: Option<u64>,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Grants; a known id with a higher incarnation moves.
    Give {
        /// What is granted.
        grants: Vec<GrantSpec>,
        /// By whom.
        origin: Origin,
    },
    /// A grant for whoever comes with this code; a known id with a higher incarnation gets it in the place of what
    /// it had.
    GiveCode {
        /// Its id.
        id: GrantId,
        /// The code.
        code: Code,
        /// By whom.
        origin: Origin,
        /// To whom.
        holder: Holder,
        /// Which join.
        incarnation: Incarnation,
        /// How long it lasts from now.
        lease: Option<Duration>,
        /// Bytes granted.
        quota: Option<u64>,
    },
    /// hostapd has let a station in, with this key of the file of codes.
    Associated {
        /// The BSS.
        bss: String,
        /// Who.
        station: MacAddr,
        /// With which key; `None`: with another credential, or none.
        key: Option<KeyId>,
    },
    /// hostapd has it no longer.
    Disassociated {
        /// The BSS.
        bss: String,
        /// Who.
        station: MacAddr,
    },
    /// All stations of a BSS. One of which it is not said by which key goes on as it was known.
    Listed {
        /// The BSS.
        bss: String,
        /// Who.
        stations: Vec<(MacAddr, By)>,
    },
    /// Whether a station answers.
    Probed {
        /// For which grant it was asked.
        grant: GrantId,
        /// Who was asked.
        station: MacAddr,
        /// Whether there was an answer.
        there: bool,
    },
    /// The end of one grant, if that incarnation is the present one.
    Take {
        /// Which.
        grant: GrantId,
        /// Of which join; `None`: whichever.
        incarnation: Option<Incarnation>,
        /// Why.
        cause: Cause,
    },
    /// The end of all grants of a station.
    TakeStation {
        /// Which.
        station: MacAddr,
        /// Why.
        cause: Cause,
    },
    /// The coordinator lives: its grants last this long from now.
    Renew {
        /// How long.
        lease: Duration,
    },
    /// All that the coordinator wants.
    Want {
        /// What it is.
        grants: Vec<GrantSpec>,
    },
    /// The kernel says that the bytes of a grant are used up.
    Spent {
        /// Which.
        grant: GrantId,
    },
    /// The kernel says that few bytes of a grant are left.
    Low {
        /// Which.
        grant: GrantId,
    },
    /// More of what a grant has; what it has without limit stays so.
    TopUp {
        /// Which.
        grant: GrantId,
        /// So much longer.
        lease: Option<Duration>,
        /// So many bytes more.
        quota: Option<u64>,
    },
    /// A step of a wave is over.
    StepDone {
        /// Which wave.
        wave: u64,
        /// Which step.
        step: Step,
        /// How it ended for each target; one that is not named counts as failed.
        outcomes: BTreeMap<GrantId, StepOutcome>,
        /// Final figures, where the step has them.
        moved: BTreeMap<MacAddr, Traffic>,
    },
    /// What a grant had moved when another took its place in the kernel.
    Superseded {
        /// Which.
        grant: GrantId,
        /// What it moved.
        moved: Traffic,
    },
    /// The tables are gone or damaged, or the kernel refused a change.
    RulesLost {
        /// Whether it is the kernel's refusal, after which it is left in peace for a moment.
        refused: bool,
    },
}

/// One station of an eviction wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The grant that ended.
    pub grant: GrantId,
    /// Its station.
    pub station: MacAddr,
    /// Why it ended.
    pub cause: Cause,
    /// Whether the kernel has a quota object for it.
    pub limited: bool,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let these stations in, in one transaction, in the place of what is named second.
    Enforce {
        /// With the grants that let them in.
        grants: Vec<(MacAddr, Grant)>,
        /// Stations that are in under another grant, or another join of it, and stations that have left with their
        /// code: what they used of a grant is used when the next one comes with it.
        instead_of: Vec<Target>,
    },
    /// Give these a new time-out and a new limit, in place.
    Refresh {
        /// With their new deadlines and quotas.
        grants: Vec<(MacAddr, Grant)>,
    },
    /// All bytes of a grant are used up, and it waits for more.
    Spent {
        /// Which.
        grant: GrantId,
        /// Its station, if somebody is there.
        station: Option<MacAddr>,
    },
    /// Few bytes are left: whoever has the grant, or sold it, is to know. Once until it is topped up; again after a
    /// restart.
    Low {
        /// Of this grant.
        grant: GrantId,
        /// Its station.
        station: MacAddr,
    },
    /// Say everything again.
    Rebuild,
    /// One step of a wave.
    Step {
        /// Which wave.
        wave: u64,
        /// Which step.
        step: Step,
        /// For whom.
        targets: Vec<Target>,
    },
    /// A grant is over.
    Report {
        /// What was freed.
        report: Report,
        /// Who had given it.
        origin: Origin,
    },
    /// Some code counts from now on, or no longer; of one whose station is being evicted the wave's step
    /// [`Step::Association`] takes care, which sends it away for the right reason first.
    Codes {
        /// The join that was given its code.
        made: Option<(GrantId, Incarnation)>,
    },
    /// Send a station away from one BSS: it has no right to be there beside another one.
    TurnAway {
        /// From where.
        bss: String,
        /// Whom.
        station: MacAddr,
    },
    /// Somebody else has come with the code: is this station still there? Comes back as [`Input::Probed`].
    Probe {
        /// The grant with the code.
        grant: GrantId,
        /// Its station.
        station: MacAddr,
    },
    /// What survives a reboot has changed.
    Changed {
        /// Whether the owner changed it: it should be kept soon.
        by_hand: bool,
        /// Whether grants by code did, or their stations: a restart must not lose that either.
        by_code: bool,
    },
}

/// Grants and evictions of one gateway.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    held: BTreeMap<GrantId, Grant>,
    /// How many of them have a code.
    codes_held: usize,
    by_station: BTreeMap<MacAddr, BTreeSet<GrantId>>,
    deadlines: BTreeSet<(BootTime, GrantId)>,
    /// What the kernel was told, per station.
    enforced: BTreeMap<MacAddr, Grant>,
    waves: Few<u64, Wave>,
    next_wave: u64,
    /// Grants that were replaced in the kernel and wait for their figures.
    superseded: BTreeMap<GrantId, (Grant, Cause, BootTime)>,
    /// Who is associated where, and with which code.
    air: Air,
    heal_at: Option<BootTime>,
    /// Of which it was said that few bytes are left.
    low: BTreeSet<GrantId>,
    spent: Spent,
    actions: VecDeque<Action>,
}

impl Grants {
    /// Takes over what the kernel enforces already, or what was kept across a reboot.
    /// `in_kernel`: whether the kernel enforces these now.
    pub fn adopt(grants: Vec<Grant>, in_kernel: bool, now: BootTime) -> Self {
        let mut adopted = Self::default();
        for grant in grants {
            adopted.air.expect(&grant, now);
            adopted.hold(grant);
        }
        if in_kernel {
            let stations: Vec<MacAddr> = adopted.by_station.keys().copied().collect();
            for station in stations {
                if let Some(grant) = adopted.best(station).cloned() {
                    adopted.enforced.insert(station, grant);
                }
            }
        }
        adopted
    }

    /// Whether another grant could be given; one with a code of its own, where such are asked for.
    pub fn has_room(&self, by_code: bool) -> bool {
        self.held.len() < MOST_GRANTS && !(by_code && self.codes_held >= MOST_CODES)
    }

    /// Whether a grant by hand would be taken, before anything is done about it.
    pub fn check(&self, grants: &[GrantSpec]) -> Result<(), Refusal> {
        let after = self.held.len() + grants.len();
        if after > MOST_GRANTS {
            let sentence = format!("{after} grants would be held; {MOST_GRANTS} are the most");
            return Err(Refusal::new("too-many-grants", sentence));
        }
        let mut stations = BTreeSet::new();
        for spec in grants {
            let station = spec.station;
            if !station.is_station() {
                let sentence =
                    format!("{station} is a group address or all zero; a grant is for a single station");
                return Err(Refusal::new("not-a-station", sentence));
            }
            if !stations.insert(station) {
                let sentence = format!("{station} stands twice in the request; name each station once");
                return Err(Refusal::new("twice", sentence));
            }
        }
        Ok(())
    }

    /// Takes in one fact. Facts about unknown grants, waves and past steps are dropped.
    pub fn handle_input(&mut self, input: Input, now: BootTime) {
        match input {
            Input::Give { grants, origin } => self.give(grants, origin, now),
            Input::GiveCode { id, code, origin, holder, incarnation, lease, quota } => {
                let deadline = lease.map(|lease| now + honoured(lease, origin));
                let (station, code) = (None, Some(code));
                self.give_code(
                    Grant { id, station, code, origin, holder, incarnation, deadline, quota },
                    now,
                );
            }
            Input::Associated { bss, station, key } => self.associated(bss, station, key, now),
            Input::Disassociated { bss, station } => self.disassociated(&bss, station, now),
            Input::Listed { bss, stations } => self.listed(&bss, stations, now),
            Input::Probed { grant, station, there } => self.probed(grant, station, there, now),
            Input::Take { grant, incarnation, cause } => {
                let present = self.held.get(&grant).map(|held| held.incarnation);
                if present.is_some() && incarnation.is_none_or(|wanted| Some(wanted) == present) {
                    self.end(vec![(grant, cause)], now);
                }
            }
            Input::TakeStation { station, cause } => {
                let ids = self.by_station.get(&station).cloned().unwrap_or_default();
                self.end(ids.into_iter().map(|id| (id, cause)).collect(), now);
            }
            Input::Renew { lease } => self.renew(lease.min(MAX_LEASE), now),
            Input::Want { grants } => self.want(grants, now),
            Input::Spent { grant } => self.spend(grant, now),
            Input::Low { grant } => self.low(grant),
            Input::TopUp { grant, lease, quota } => self.top_up(grant, lease, quota, now),
            Input::StepDone { wave, step, outcomes, moved } => {
                self.step_done(wave, step, &outcomes, &moved, now)
            }
            Input::Superseded { grant, moved } => self.report_superseded(grant, moved, now),
            Input::RulesLost { refused: false } => {
                self.heal_at = None;
                self.actions.push_back(Action::Rebuild);
            }
            Input::RulesLost { refused: true } => self.heal_at = Some(now + HEAL_AFTER),
        }
    }

    /// The next thing to do, oldest first. Drain after every `handle_*` call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` is next worth calling.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let lease = self.deadlines.first().map(|(at, _)| *at);
        [lease, self.step_deadline(), self.heal_at, self.air.poll_timeout(), self.spent.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets time pass up to `now`. Calling early, late or twice is harmless.
    pub fn handle_timeout(&mut self, now: BootTime) {
        let over: Vec<(GrantId, Cause)> = self
            .deadlines
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, id)| (*id, Cause::Expired))
            .collect();
        self.end(over, now);
        self.end_spent(now);
        self.end_stuck_steps(now);
        self.give_up_waiting(now);
        if self.heal_at.is_some_and(|at| at <= now) {
            self.heal_at = None;
            self.actions.push_back(Action::Rebuild);
        }
    }

    /// All grants that are held.
    pub fn held(&self) -> impl Iterator<Item = &Grant> {
        self.held.values()
    }

    /// The grant with this id.
    pub fn get(&self, id: GrantId) -> Option<&Grant> {
        self.held.get(&id)
    }

    /// What the kernel is to enforce, one grant per station.
    pub fn enforced(&self) -> impl Iterator<Item = (MacAddr, &Grant)> {
        self.enforced.iter().map(|(station, grant)| (*station, grant))
    }

    /// The grant that is enforced for a station.
    pub fn of_station(&self, station: MacAddr) -> Option<&Grant> {
        self.enforced.get(&station)
    }

    fn give(&mut self, specs: Vec<GrantSpec>, origin: Origin, now: BootTime) {
        let mut touched = BTreeSet::new();
        let mut moved_away = BTreeMap::new();
        let mut no_codes = Vec::new();
        let mut by_code = false;
        for spec in specs {
            if !spec.station.is_station() {
                continue;
            }
            let grant = Grant {
                id: spec.id,
                station: Some(spec.station),
                code: None,
                origin,
                holder: spec.holder,
                incarnation: spec.incarnation,
                deadline: spec.lease.map(|lease| now + honoured(lease.into(), origin)),
                quota: spec.quota,
            };
            if spec.code.is_some() {
                by_code |= self.confirm_code(grant, now);
                continue;
            }
            match self.held.get(&spec.id) {
                Some(before) if before.origin != origin || before.incarnation > grant.incarnation => continue,
                Some(before) => {
                    if before.code.is_some() {
                        no_codes.push(spec.id);
                    }
                    if let Some(station) = before.station.filter(|station| *station != spec.station) {
                        moved_away.insert(station, (before.clone(), Cause::Replaced));
                        touched.insert(station);
                    }
                }
                None => {}
            }
            if origin == Origin::Owner {
                // What the owner says now takes the place of what the owner said before of the station.
                for other in self.by_station.get(&spec.station).cloned().unwrap_or_default() {
                    let replaced = other != grant.id
                        && self
                            .held
                            .get(&other)
                            .is_some_and(|held| held.origin == origin && held.code.is_none());
                    if replaced && let Some(before) = self.drop_held(other) {
                        moved_away.insert(spec.station, (before, Cause::Replaced));
                    }
                }
            }
            touched.insert(spec.station);
            self.hold(grant);
        }
        self.settle(touched, moved_away, now);
        by_code |= !no_codes.is_empty();
        self.codes_ended(no_codes.into_iter().map(|id| (id, None)));
        self.actions.push_back(Action::Changed { by_hand: origin == Origin::Owner, by_code });
    }

    fn renew(&mut self, lease: Duration, now: BootTime) {
        let deadline = now + lease;
        let later: Vec<GrantId> = self
            .held
            .values()
            .filter(|grant| {
                grant.origin == Origin::Coordinator && grant.deadline.is_some_and(|at| at < deadline)
            })
            .map(|grant| grant.id)
            .collect();
        let mut refreshed = Vec::new();
        let mut by_code = false;
        for id in later {
            let Some(grant) = self.held.get_mut(&id) else { continue };
            let before = grant.deadline.replace(deadline);
            let grant = grant.clone();
            by_code |= grant.code.is_some();
            self.deadlines.extend([(deadline, id)]);
            if let Some(at) = before {
                self.deadlines.remove(&(at, id));
            }
            if let Some(station) = grant.station
                && let Some(enforced) = self.enforced.get_mut(&station)
                && enforced.id == id
            {
                *enforced = grant.clone();
                refreshed.push((station, grant));
            }
        }
        let changed = by_code || !refreshed.is_empty();
        if !refreshed.is_empty() {
            self.actions.push_back(Action::Refresh { grants: refreshed });
        }
        if changed {
            self.actions.push_back(Action::Changed { by_hand: false, by_code });
        }
    }

    fn low(&mut self, id: GrantId) {
        let station =
            self.held.get(&id).filter(|grant| grant.quota.is_some()).and_then(|grant| grant.station);
        if let Some(station) = station
            && self.low.insert(id)
        {
            self.actions.push_back(Action::Low { grant: id, station });
        }
    }

    fn top_up(&mut self, id: GrantId, lease: Option<Duration>, quota: Option<u64>, now: BootTime) {
        let Some(held) = self.held.get(&id) else { return };
        let mut grant = held.clone();
        if let (Some(own), Some(more)) = (&mut grant.quota, quota) {
            *own = own.saturating_add(more);
        }
        if let (Some(at), Some(longer)) = (&mut grant.deadline, lease) {
            *at = (*at).max(now) + longer;
        }
        let (by_hand, by_code) = (grant.origin == Origin::Owner, grant.code.is_some());
        let station = grant.station;
        self.hold(grant);
        self.settle(station.into_iter().gather(), BTreeMap::new(), now);
        self.actions.push_back(Action::Changed { by_hand, by_code });
    }

    fn want(&mut self, mut grants: Vec<GrantSpec>, now: BootTime) {
        // Who wants them does not know yet that they are ending: no report has left.
        let ending: BTreeMap<GrantId, Incarnation> =
            self.ending().map(|(grant, _)| (grant.id, grant.incarnation)).gather();
        grants.retain(|spec| {
            let last = ending.get(&spec.id).filter(|_| !self.held.contains_key(&spec.id));
            last.is_none_or(|last| *last < spec.incarnation)
        });
        let wanted: BTreeSet<GrantId> = grants.iter().map(|spec| spec.id).gather();
        let unwanted = self
            .held
            .values()
            .filter(|grant| grant.origin == Origin::Coordinator && !wanted.contains(&grant.id))
            .map(|grant| (grant.id, Cause::NotWanted))
            .collect();
        self.end(unwanted, now);
        self.give(grants, Origin::Coordinator, now);
    }

    fn end(&mut self, ended: Vec<(GrantId, Cause)>, now: BootTime) {
        let mut touched = BTreeSet::new();
        let mut gone = BTreeMap::new();
        let mut by_hand = false;
        let mut codes = Vec::new();
        let mut any = false;
        for (id, cause) in ended {
            let Some(grant) = self.drop_held(id) else { continue };
            any = true;
            by_hand |= grant.origin == Origin::Owner;
            touched.extend(grant.station);
            let evicted = grant
                .station
                .filter(|station| self.enforced.get(station).is_some_and(|enforced| enforced.id == id));
            if grant.code.is_some() {
                codes.push((id, evicted));
            }
            match evicted {
                Some(station) => {
                    gone.insert(station, (grant, cause));
                }
                // Another grant of the station was the one enforced, or nobody was there: there is nothing to free.
                None => self.report(Evictee::new(grant, cause), now, now),
            }
        }
        if !any {
            return;
        }
        self.settle(touched.clone(), gone, now);
        let by_code = !codes.is_empty();
        for (_, evicted) in &mut codes {
            // One that another grant lets in is not evicted.
            *evicted = evicted.filter(|station| !self.enforced.contains_key(station));
        }
        self.codes_ended(codes);
        for station in touched {
            self.look_at(station, now);
        }
        self.actions.push_back(Action::Changed { by_hand, by_code });
    }

    /// Brings what the kernel was told to what is held. `ended`: what stopped being held, per station.
    fn settle(
        &mut self,
        stations: BTreeSet<MacAddr>,
        mut ended: BTreeMap<MacAddr, (Grant, Cause)>,
        now: BootTime,
    ) {
        let mut enforce = Vec::new();
        let mut refresh = Vec::new();
        let mut instead_of = Vec::new();
        let mut evictees = Vec::new();
        for station in stations {
            let best = self.best(station).cloned();
            let before = self.enforced.get(&station).cloned();
            match (before, best) {
                (None, None) => {}
                (Some(before), None) => {
                    self.enforced.remove(&station);
                    match ended.remove(&station) {
                        Some((grant, cause)) => evictees.push(Evictee::new(grant, cause)),
                        // It left with its code, and may come back with it.
                        None if self.held.get(&before.id).is_some_and(|held| held.code.is_some()) => {
                            instead_of.push(before.target(station, Cause::Replaced));
                        }
                        None => evictees.push(Evictee::new(before, Cause::Replaced)),
                    }
                }
                (before, Some(best)) => {
                    if before.as_ref() == Some(&best) {
                        continue;
                    }
                    if !self.spent.revives(best.id)
                        && before.as_ref().is_some_and(|before| before.goes_on_as(&best))
                    {
                        self.enforced.insert(station, best.clone());
                        refresh.push((station, best));
                        continue;
                    }
                    if let Some(before) = before {
                        let ending = if before.id == best.id { None } else { ended.remove(&station) };
                        let cause = ending.map_or(Cause::Replaced, |(_, cause)| cause);
                        // A grant that is only covered by a better one is not over.
                        if before.id != best.id && !self.held.contains_key(&before.id) {
                            self.superseded.insert(before.id, (before.clone(), cause, now));
                        }
                        instead_of.push(before.target(station, cause));
                    }
                    self.release(station);
                    self.enforced.insert(station, best.clone());
                    enforce.push((station, best));
                }
            }
        }
        // The new place first: a terminal that moves is never without.
        if !enforce.is_empty() || !instead_of.is_empty() {
            self.actions.push_back(Action::Enforce { grants: enforce, instead_of });
        }
        if !refresh.is_empty() {
            self.actions.push_back(Action::Refresh { grants: refresh });
        }
        if !evictees.is_empty() {
            self.start_wave(evictees, now);
        }
    }

    /// The owner's grant before a coordinator's, one by code before one by address; among equals the lowest id.
    fn best(&self, station: MacAddr) -> Option<&Grant> {
        let ids = self.by_station.get(&station)?;
        ids.iter()
            .filter_map(|id| self.held.get(id))
            .filter(|grant| grant.code.is_none() || self.air.is_alone(station, grant.id.key_id()))
            .min_by_key(|grant| (grant.origin, grant.code.is_none(), grant.id))
    }

    fn hold(&mut self, grant: Grant) {
        let waits = self.spent.until(grant.id);
        let before = self.drop_held(grant.id);
        self.spent.hold(&grant, before.as_ref(), waits);
        if let Some(station) = grant.station {
            self.by_station.entry(station).or_default().insert(grant.id);
        }
        if let Some(at) = grant.deadline {
            self.deadlines.insert((at, grant.id));
        }
        self.codes_held += usize::from(grant.code.is_some());
        self.held.insert(grant.id, grant);
    }

    fn drop_held(&mut self, id: GrantId) -> Option<Grant> {
        let grant = self.held.remove(&id)?;
        self.codes_held -= usize::from(grant.code.is_some());
        self.low.remove(&id);
        self.spent.forget(id);
        if let Some(at) = grant.deadline {
            self.deadlines.remove(&(at, id));
        }
        if let Some(station) = grant.station
            && let Some(ids) = self.by_station.get_mut(&station)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_station.remove(&station);
            }
        }
        Some(grant)
    }
}

impl Grant {
    fn target(&self, station: MacAddr, cause: Cause) -> Target {
        Target { grant: self.id, station, cause, limited: self.quota.is_some() }
    }

    /// Whether another state of it differs in time and bytes only, so that the kernel can go on counting.
    fn goes_on_as(&self, later: &Grant) -> bool {
        let has_ends = |grant: &Grant| (grant.deadline.is_some(), grant.quota.is_some());
        let Grant { deadline, quota, .. } = later.clone();
        has_ends(self) == has_ends(later) && Grant { deadline, quota, ..self.clone() } == *later
    }

    /// The digest's line of this grant.
    pub fn digest_line(&self) -> (GrantId, Incarnation, MacAddr, Option<u64>) {
        // One by address has its station for as long as it is held.
        let station = self.station.filter(|_| self.code.is_none()).unwrap_or(BY_CODE);
        (self.id, self.incarnation, station, self.quota)
    }
}

/// The lease that counts.
fn honoured(lease: Duration, origin: Origin) -> Duration {
    match origin {
        Origin::Owner => lease,
        Origin::Coordinator => lease.min(MAX_LEASE),
    }
}

#[cfg(test)]
mod codes_tests;
#[cfg(test)]
mod tests;
