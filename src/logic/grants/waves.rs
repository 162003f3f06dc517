//! Evictions: a wave of stations that end at once, step by step.
//!
//! ```text
//!     Enforcement -+-> Flows -------------------------------+-> Verification -> Report
//!                  +-> Association -> Neighbours -> Leases -+
//! ```
//!
//! A step that fails does not stop the next. The walk of the flow table may take tens of milliseconds, for which nobody
//! is left on the air. A station that is granted anew while it is being evicted is let go by the steps to come.
//!
//! What the steps are is in `gateway/steps.rs`. Held to by `tests.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Action, Grant, Grants, Target};
use crate::model::{BootTime, Cause, Few, GrantId, MacAddr, Report, Step, StepOutcome, StepReport, Traffic};

/// A step that says nothing for so long has failed.
pub(super) const STEP_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(super) struct Wave {
    /// The steps that are under way, and since when.
    pub running: Few<Step, BootTime>,
    pub started: BootTime,
    pub targets: Vec<Evictee>,
}

#[derive(Clone, Debug)]
pub(super) struct Evictee {
    pub grant: Grant,
    pub cause: Cause,
    pub moved: Traffic,
    pub steps: Vec<StepReport>,
    /// Granted anew meanwhile: the steps to come leave the station alone.
    pub let_go: bool,
}

impl Grants {
    /// Goes on with evictions that a daemon before this one had begun.
    pub fn resume(&mut self, ending: Vec<(Grant, Cause)>, now: BootTime) {
        let evictees: Vec<Evictee> = ending
            .into_iter()
            .filter(|(grant, _)| {
                !self.held.contains_key(&grant.id)
                    && grant.station.is_some_and(|station| !self.enforced.contains_key(&station))
            })
            .map(|(grant, cause)| Evictee::new(grant, cause))
            .collect();
        if !evictees.is_empty() {
            self.start_wave(evictees, now);
        }
    }

    /// Evictions under way.
    pub fn ending(&self) -> impl Iterator<Item = (&Grant, Cause)> {
        self.waves.values().flat_map(|wave| &wave.targets).map(|target| (&target.grant, target.cause))
    }

    /// When a step has taken too long.
    pub(super) fn step_deadline(&self) -> Option<BootTime> {
        let running = self.waves.values().flat_map(|wave| wave.running.values());
        running.min().map(|since| *since + STEP_PATIENCE)
    }

    /// Steps that have taken too long have failed.
    pub(super) fn end_stuck_steps(&mut self, now: BootTime) {
        let stuck: Vec<(u64, Step)> = self
            .waves
            .iter()
            .flat_map(|(number, wave)| wave.running.iter().map(|(step, since)| (*number, *step, *since)))
            .filter(|(.., since)| *since + STEP_PATIENCE <= now)
            .map(|(number, step, _)| (number, step))
            .collect();
        for (wave, step) in stuck {
            self.step_done(wave, step, &BTreeMap::new(), &BTreeMap::new(), now);
        }
    }

    /// The steps to come of any wave leave this station alone.
    pub(super) fn release(&mut self, station: MacAddr) {
        for target in self.waves.values_mut().flat_map(|wave| &mut wave.targets) {
            target.let_go |= target.grant.station == Some(station);
        }
    }

    pub(super) fn start_wave(&mut self, targets: Vec<Evictee>, now: BootTime) {
        let number = self.next_wave;
        self.next_wave += 1;
        self.waves.insert(number, Wave { running: Few::default(), started: now, targets });
        self.start_step(number, Step::Enforcement, now);
    }

    fn start_step(&mut self, number: u64, step: Step, now: BootTime) {
        let Some(wave) = self.waves.get_mut(&number) else { return };
        wave.running.insert(step, now);
        let targets = wave.to_do();
        self.actions.push_back(Action::Step { wave: number, step, targets });
    }

    pub(super) fn step_done(
        &mut self,
        number: u64,
        step: Step,
        outcomes: &BTreeMap<GrantId, StepOutcome>,
        moved: &BTreeMap<MacAddr, Traffic>,
        now: BootTime,
    ) {
        let Some(wave) = self.waves.get_mut(&number) else { return };
        let Some(since) = wave.running.remove(&step) else { return };
        let took = now.since(since);
        for target in &mut wave.targets {
            let outcome = match outcomes.get(&target.grant.id) {
                Some(outcome) => outcome.clone(),
                None if target.let_go => StepOutcome::Absent,
                None => StepOutcome::Failed { why: format!("no answer within {STEP_PATIENCE:?}") },
            };
            // Reported in the order of the steps, whichever ended first.
            let at = target.steps.partition_point(|earlier| earlier.step < step);
            target.steps.insert(at, StepReport { step, outcome, took_us: micros(took) });
            if let Some(moved) = target.grant.station.and_then(|station| moved.get(&station)) {
                target.moved = *moved;
            }
        }
        let is_last = wave.running.is_empty();
        match step {
            Step::Enforcement => {
                self.start_step(number, Step::Flows, now);
                self.start_step(number, Step::Association, now);
            }
            Step::Association => self.start_step(number, Step::Neighbours, now),
            Step::Neighbours => self.start_step(number, Step::Leases, now),
            Step::Flows | Step::Leases if is_last => self.start_step(number, Step::Verification, now),
            Step::Flows | Step::Leases => {}
            Step::Verification => {
                let Some(wave) = self.waves.remove(&number) else { return };
                for target in wave.targets {
                    self.report(target, wave.started, now);
                }
            }
        }
    }

    pub(super) fn report_superseded(&mut self, id: GrantId, moved: Traffic, now: BootTime) {
        if let Some((grant, cause, since)) = self.superseded.remove(&id) {
            self.report(Evictee { moved, ..Evictee::new(grant, cause) }, since, now);
        }
    }

    pub(super) fn report(&mut self, target: Evictee, started: BootTime, now: BootTime) {
        let Evictee { grant, cause, moved, steps, let_go: _ } = target;
        let report = Report {
            cause,
            grant: grant.id,
            moved,
            steps,
            station: grant.station,
            total_us: micros(now.since(started)),
            incarnation: grant.incarnation,
        };
        self.actions.push_back(Action::Report { report, origin: grant.origin });
    }
}

impl Wave {
    fn to_do(&self) -> Vec<Target> {
        self.targets
            .iter()
            .filter(|target| !target.let_go)
            .filter_map(|target| Some(target.grant.target(target.grant.station?, target.cause)))
            .collect()
    }
}

impl Evictee {
    pub fn new(grant: Grant, cause: Cause) -> Self {
        Self { grant, cause, moved: Traffic::default(), steps: Vec::new(), let_go: false }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
