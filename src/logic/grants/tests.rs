//! Stories, and every short history.

use super::waves::STEP_PATIENCE;
use super::*;
use crate::logic::histories::each_history;
use crate::model::{Millis, PublicKey, SessionId};

const ANNE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const ONE: GrantId = GrantId([1; 16]);
const TWO: GrantId = GrantId([2; 16]);
const LEASE: Duration = Duration::from_secs(60);

#[test]
fn an_eviction_takes_its_steps_in_order_and_reports_each() {
    let mut t = Script::new();
    t.give(Origin::Coordinator, spec(ONE, ANNE, 1));
    assert_eq!(t.words(), ["enforce 1 at ..:01", "changed"]);

    t.input(Input::Take { grant: ONE, incarnation: Some(Incarnation(1)), cause: Cause::Silence });
    let mut steps = Vec::new();
    let report = loop {
        match t.grants.poll_action().expect("every step leads to the next") {
            Action::Step { wave, step, targets } => {
                steps.push(step);
                let outcome = StepOutcome::Done { freed: 2 };
                let outcomes = targets.iter().map(|target| (target.grant, outcome.clone())).collect();
                let moved = [(ANNE, Traffic { up_bytes: 9, ..Traffic::default() })].into();
                t.input(Input::StepDone { wave, step, outcomes, moved });
            }
            Action::Report { report, .. } => break report,
            Action::Changed { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(steps, Step::ALL);
    assert_eq!(report.steps.iter().map(|step| step.step).collect::<Vec<_>>(), Step::ALL);
    assert_eq!((report.cause, report.moved.up_bytes, report.freed().flows), (Cause::Silence, 9, 2));
    assert!(report.is_complete() && report.total_us >= report.steps[0].took_us);
}

#[test]
fn nobody_is_left_on_the_air_while_flows_are_looked_for() {
    let mut t = Script::new();
    t.give(Origin::Owner, spec(ONE, ANNE, 1));
    t.input(Input::Take { grant: ONE, incarnation: None, cause: Cause::Owner });
    t.words();
    let done = |t: &mut Script, step| {
        let outcomes = [(ONE, StepOutcome::Done { freed: 1 })].into();
        t.input(Input::StepDone { wave: 0, step, outcomes, moved: BTreeMap::new() });
        t.words()
    };
    assert_eq!(done(&mut t, Step::Enforcement), ["step flows for ..:01", "step association for ..:01"]);
    assert_eq!(done(&mut t, Step::Association), ["step neighbours for ..:01"]);
    assert_eq!(done(&mut t, Step::Neighbours), ["step leases for ..:01"]);
    assert_eq!(done(&mut t, Step::Leases), [""; 0], "the flows are not over");
    assert_eq!(done(&mut t, Step::Leases), [""; 0], "said twice");
    // Nobody answers for the flows.
    t.wait(STEP_PATIENCE);
    assert_eq!(t.words(), ["step verification for ..:01"]);
    assert_eq!(done(&mut t, Step::Flows), [""; 0], "too late");
    t.input(Input::StepDone {
        wave: 0,
        step: Step::Verification,
        outcomes: [(ONE, StepOutcome::Done { freed: 0 })].into(),
        moved: BTreeMap::new(),
    });
    let Some(Action::Report { report, .. }) = t.grants.poll_action() else { panic!("it is over") };
    assert_eq!(report.steps.iter().map(|step| step.step).collect::<Vec<_>>(), Step::ALL);
    assert!(matches!(report.steps[1].outcome, StepOutcome::Failed { .. }));
}

#[test]
fn a_notice_for_a_join_that_is_over_changes_nothing() {
    let mut t = Script::new();
    t.give(Origin::Coordinator, spec(ONE, ANNE, 2));
    t.words();
    t.input(Input::Take { grant: ONE, incarnation: Some(Incarnation(1)), cause: Cause::Silence });
    t.give(Origin::Coordinator, spec(ONE, BOB, 1));
    assert_eq!(t.words(), ["changed"]);
    assert_eq!(t.grants.get(ONE).unwrap().station, Some(ANNE));
}

#[test]
fn a_terminal_that_comes_back_under_another_address_moves() {
    let mut t = Script::new();
    t.give(Origin::Coordinator, spec(ONE, ANNE, 1));
    t.words();
    t.give(Origin::Coordinator, spec(ONE, BOB, 2));
    assert_eq!(t.words(), ["enforce 1 at ..:02", "step enforcement for ..:01", "changed"]);
}

#[test]
fn the_owners_grant_goes_before_a_coordinators_and_outlives_it() {
    let mut t = Script::new();
    t.give(Origin::Owner, spec(ONE, ANNE, 1));
    t.give(Origin::Coordinator, spec(TWO, ANNE, 1));
    assert_eq!(t.words(), ["enforce 1 at ..:01", "changed", "changed"]);
    t.input(Input::Take { grant: TWO, incarnation: None, cause: Cause::Silence });
    assert_eq!(t.words(), ["report 2 silence", "changed"]);
    t.give(Origin::Coordinator, spec(TWO, ANNE, 2));
    t.input(Input::Take { grant: ONE, incarnation: None, cause: Cause::Expired });
    assert_eq!(t.words(), ["changed", "enforce 2 at ..:01 instead of 1 expired", "changed"]);
    t.input(Input::Superseded { grant: ONE, moved: Traffic::default() });
    assert_eq!(t.words(), ["report 1 expired"]);
    t.input(Input::TakeStation { station: ANNE, cause: Cause::Owner });
    assert_eq!(t.words(), ["step enforcement for ..:01", "changed"]);
}

#[test]
fn what_the_owner_says_now_takes_the_place_of_what_was_said_before() {
    let mut t = Script::new();
    t.give(Origin::Owner, spec(TWO, ANNE, 1));
    t.give(Origin::Owner, spec(ONE, ANNE, 1));
    assert_eq!(
        t.words(),
        ["enforce 2 at ..:01", "changed", "enforce 1 at ..:01 instead of 2 replaced", "changed"]
    );
    t.input(Input::Superseded { grant: TWO, moved: Traffic::default() });
    assert_eq!(t.words(), ["report 2 replaced"]);
    assert_eq!(t.grants.held().count(), 1);
}

#[test]
fn an_eviction_goes_on_after_a_restart() {
    let mut t = Script::new();
    t.give(Origin::Coordinator, spec(ONE, ANNE, 1));
    t.input(Input::Take { grant: ONE, incarnation: None, cause: Cause::Silence });
    let ending: Vec<(Grant, Cause)> =
        t.grants.ending().map(|(grant, cause)| (grant.clone(), cause)).collect();
    t.grants = Grants::adopt(vec![], true, t.now);
    t.grants.resume(ending, t.now);
    assert_eq!(t.words(), ["step enforcement for ..:01"]);
}

#[test]
fn who_is_granted_anew_is_let_go_by_the_steps_to_come() {
    let mut t = Script::new();
    t.give(Origin::Coordinator, spec(ONE, ANNE, 1));
    t.input(Input::Take { grant: ONE, incarnation: None, cause: Cause::Silence });
    t.give(Origin::Coordinator, spec(TWO, ANNE, 1));
    t.words();
    t.input(Input::StepDone {
        wave: 0,
        step: Step::Enforcement,
        outcomes: BTreeMap::new(),
        moved: BTreeMap::new(),
    });
    assert_eq!(t.words(), ["step flows for", "step association for"]);
}

#[test]
fn a_lease_ends_by_itself_unless_the_coordinator_renews_it() {
    let mut t = Script::new();
    t.give(Origin::Coordinator, spec(ONE, ANNE, 1));
    t.give(Origin::Owner, spec(TWO, BOB, 1));
    t.words();
    t.wait(LEASE / 2);
    t.input(Input::Renew { lease: LEASE });
    assert_eq!(t.words(), ["refresh 1", "changed"]);
    t.wait(LEASE / 2);
    assert_eq!(t.words(), ["step enforcement for ..:02", "changed"], "the owner's own time is not renewed");
    t.wait(LEASE / 2);
    assert_eq!(t.words()[..2], ["step enforcement for ..:01", "changed"]);
}

#[test]
fn a_step_that_says_nothing_fails_and_the_next_one_comes() {
    let mut t = Script::new();
    t.give(Origin::Coordinator, spec(ONE, ANNE, 1));
    t.input(Input::Take { grant: ONE, incarnation: None, cause: Cause::Silence });
    t.words();
    for words in [&["flows", "association"][..], &["neighbours"], &["leases"], &["verification"]] {
        t.wait(STEP_PATIENCE);
        assert_eq!(t.words(), words.iter().map(|word| format!("step {word} for ..:01")).collect::<Vec<_>>());
    }
    t.wait(STEP_PATIENCE);
    let Some(Action::Report { report, .. }) = t.grants.poll_action() else { panic!("no report") };
    assert!(!report.is_complete());
}

#[test]
fn what_the_coordinator_does_not_want_is_evicted_and_the_owners_is_not() {
    let mut t = Script::new();
    t.give(Origin::Owner, spec(ONE, ANNE, 1));
    t.give(Origin::Coordinator, spec(TWO, BOB, 1));
    t.words();
    t.input(Input::Want { grants: vec![] });
    assert_eq!(t.words(), ["step enforcement for ..:02", "changed", "changed"]);
}

#[test]
fn a_grant_gets_more_in_place_and_is_low_once_until_then() {
    let mut t = Script::new();
    t.give(Origin::Owner, GrantSpec { quota: Some(1000), ..spec(ONE, ANNE, 1) });
    t.give(Origin::Owner, GrantSpec { lease: None, ..spec(TWO, BOB, 1) });
    t.words();
    let deadline = t.grants.get(ONE).unwrap().deadline.unwrap();
    t.input(Input::Low { grant: ONE });
    t.input(Input::Low { grant: ONE });
    // One without a quota has no few bytes.
    t.input(Input::Low { grant: TWO });
    assert_eq!(t.words(), ["low 1"]);
    t.input(Input::TopUp { grant: ONE, lease: Some(LEASE), quota: Some(500) });
    assert_eq!(t.words(), ["refresh 1", "changed"]);
    let held = t.grants.get(ONE).unwrap();
    assert_eq!((held.quota, held.deadline), (Some(1500), Some(deadline + LEASE)));
    assert_eq!(t.grants.of_station(ANNE), Some(held));
    t.input(Input::Low { grant: ONE });
    assert_eq!(t.words(), ["low 1"]);
    // What is without limit stays so; what is over is over.
    t.input(Input::TopUp { grant: TWO, lease: Some(LEASE), quota: Some(500) });
    let held = t.grants.get(TWO).unwrap();
    assert_eq!((held.quota, held.deadline), (None, None));
    t.words();
    t.wait(LEASE * 2);
    t.words();
    t.input(Input::TopUp { grant: ONE, lease: Some(LEASE), quota: Some(500) });
    assert_eq!(t.words(), [""; 0]);
}

#[test]
fn what_is_ending_is_not_wanted_before_it_is_reported() {
    let mut t = Script::new();
    t.give(Origin::Coordinator, spec(ONE, ANNE, 1));
    t.input(Input::Take { grant: ONE, incarnation: None, cause: Cause::Owner });
    t.words();
    t.input(Input::Want { grants: vec![spec(ONE, ANNE, 1)] });
    assert_eq!(t.words(), ["changed"]);
    assert_eq!(t.grants.held().count(), 0);
    // A later join of it is not over.
    t.input(Input::Want { grants: vec![spec(ONE, ANNE, 2)] });
    assert_eq!(t.words(), ["enforce 1 at ..:01", "changed"]);
    t.input(Input::Want { grants: vec![spec(ONE, ANNE, 2)] });
    assert_eq!(t.grants.held().count(), 1);
}

#[test]
fn a_refusal_says_what_and_why() {
    let grants = Grants::default();
    let group = grants.check(&[spec(ONE, MacAddr([1, 0, 0, 0, 0, 1]), 1)]).unwrap_err();
    assert_eq!(group.word, "not-a-station");
    let twice = grants.check(&[spec(ONE, ANNE, 1), spec(TWO, ANNE, 1)]).unwrap_err();
    assert!(twice.sentence.contains(&ANNE.to_string()), "{twice}");
    let many: Vec<GrantSpec> = (0..=MOST_GRANTS).map(|_| spec(ONE, ANNE, 1)).collect();
    assert!(grants.check(&many).unwrap_err().sentence.contains("100001"));
}

#[test]
fn who_has_used_up_all_waits_for_more() {
    let mut t = Script::new();
    t.grants.wait_for_more(LEASE * 2);
    let limited = |quota| GrantSpec { quota: Some(quota), lease: None, ..spec(ONE, ANNE, 1) };
    t.give(Origin::Coordinator, limited(1000));
    t.words();
    t.input(Input::Spent { grant: ONE });
    assert_eq!(t.words(), ["spent 1"]);
    // Once, and the same terms said again change nothing.
    t.input(Input::Spent { grant: ONE });
    t.give(Origin::Coordinator, limited(1000));
    t.wait(LEASE);
    assert_eq!(t.words(), ["changed"]);
    assert!(t.grants.is_spent(ONE) && t.grants.of_station(ANNE).is_some());

    // More, by either way: in anew, because the kernel has counted what it dropped.
    t.input(Input::TopUp { grant: ONE, lease: None, quota: Some(500) });
    assert_eq!(t.words(), ["enforce 1 at ..:01 instead of 1 replaced", "changed"]);
    t.input(Input::Spent { grant: ONE });
    t.give(Origin::Coordinator, limited(2000));
    assert_eq!(t.words(), ["spent 1", "enforce 1 at ..:01 instead of 1 replaced", "changed"]);
    t.wait(LEASE * 3);
    assert_eq!(t.words(), [""; 0]);
    t.input(Input::TopUp { grant: ONE, lease: None, quota: Some(1) });
    assert_eq!(t.words(), ["refresh 1", "changed"], "of one that is not spent the kernel goes on counting");

    t.input(Input::Spent { grant: ONE });
    t.wait(LEASE * 2);
    assert_eq!(t.words(), ["spent 1", "step enforcement for ..:01", "changed"]);
    assert!(t.grants.poll_timeout().is_none_or(|at| at > t.now));
}

/// Every history of up to five facts about two grants and two stations; where who has used up all ends at once, and
/// where he waits.
#[test]
fn no_short_history_breaks_the_rules() {
    every_short_history(Duration::ZERO);
    every_short_history(LEASE / 2);
}

fn every_short_history(patience: Duration) {
    type Fact = fn() -> Option<Input>;
    const FACTS: [Fact; 11] = [
        || Some(Input::Give { grants: vec![limited(ONE, ANNE, 1)], origin: Origin::Coordinator }),
        || Some(Input::Give { grants: vec![limited(ONE, BOB, 2)], origin: Origin::Coordinator }),
        || Some(Input::Give { grants: vec![spec(TWO, ANNE, 1)], origin: Origin::Owner }),
        || Some(Input::Take { grant: ONE, incarnation: Some(Incarnation(1)), cause: Cause::Silence }),
        || Some(Input::Take { grant: TWO, incarnation: None, cause: Cause::Owner }),
        || Some(Input::TakeStation { station: ANNE, cause: Cause::Owner }),
        || Some(Input::Want { grants: vec![] }),
        || Some(Input::Renew { lease: LEASE }),
        || Some(Input::Spent { grant: ONE }),
        || Some(Input::TopUp { grant: ONE, lease: Some(LEASE * 4), quota: Some(1) }),
        || None,
    ];
    let mut t = Script::new();
    t.grants.wait_for_more(patience);
    each_history(&(t, World::default()), FACTS.len(), 5, &mut |(t, world), history| {
        let before: BTreeSet<GrantId> = t.grants.held().map(|grant| grant.id).collect();
        match FACTS[history[history.len() - 1]]() {
            Some(input) => t.input(input),
            // Past every deadline.
            None => t.wait(LEASE * 3),
        }
        world.ended.extend(before.into_iter().filter(|id| t.grants.get(*id).is_none()));
        world.obey(t, history);
        let overdue = t.grants.poll_timeout().filter(|at| *at + LEASE < t.now);
        assert_eq!(overdue, None, "history {history:?}: nothing wakes for what is over");
        if history.len() == 5 {
            world.finish(t, history);
        }
    });
}

fn limited(id: GrantId, station: MacAddr, incarnation: u32) -> GrantSpec {
    GrantSpec { quota: Some(1000), ..spec(id, station, incarnation) }
}

/// The kernel and the reader of reports, as the actions make them.
#[derive(Clone, Default)]
struct World {
    kernel: BTreeMap<MacAddr, GrantId>,
    limits: BTreeMap<GrantId, Option<u64>>,
    /// Steps that were asked for and are answered only at the end.
    open: VecDeque<(u64, Step, Vec<Target>)>,
    /// Grants that stopped being held, and grants reported; a move to another station is not an end.
    ended: Vec<GrantId>,
    reported: Vec<GrantId>,
}

impl World {
    fn obey(&mut self, t: &mut Script, history: &[usize]) {
        while let Some(action) = t.grants.poll_action() {
            match action {
                Action::Enforce { grants, instead_of } => {
                    for target in &instead_of {
                        assert_eq!(
                            self.kernel.remove(&target.station),
                            Some(target.grant),
                            "history {history:?}"
                        );
                    }
                    for (station, grant) in grants {
                        assert!(self.kernel.insert(station, grant.id).is_none(), "history {history:?}");
                        self.limits.insert(grant.id, grant.quota);
                    }
                    for target in instead_of {
                        t.input(Input::Superseded { grant: target.grant, moved: Traffic::default() });
                    }
                }
                Action::Step { wave, step: Step::Enforcement, targets } => {
                    for target in &targets {
                        assert_eq!(
                            self.kernel.remove(&target.station),
                            Some(target.grant),
                            "history {history:?}"
                        );
                    }
                    self.open.push_back((wave, Step::Enforcement, targets));
                }
                Action::Step { wave, step, targets } => {
                    for target in &targets {
                        assert!(
                            !self.kernel.contains_key(&target.station),
                            "history {history:?}: {target:?} is let in"
                        );
                    }
                    self.open.push_back((wave, step, targets));
                }
                Action::Report { report, .. } => {
                    if report.cause != Cause::Replaced {
                        self.reported.push(report.grant);
                    }
                }
                Action::Refresh { grants } => {
                    for (station, grant) in grants {
                        assert_eq!(self.kernel.get(&station), Some(&grant.id), "history {history:?}");
                        self.limits.insert(grant.id, grant.quota);
                    }
                }
                Action::Rebuild | Action::Changed { .. } => {}
                Action::Spent { grant, .. } => {
                    assert!(t.grants.is_spent(grant), "history {history:?}: {grant} waits");
                }
                Action::Low { .. } => panic!("nobody said so"),
                Action::Codes { .. } | Action::TurnAway { .. } | Action::Probe { .. } => {
                    panic!("there is no code")
                }
            }
        }
        let told: BTreeMap<MacAddr, GrantId> =
            t.grants.enforced().map(|(station, grant)| (station, grant.id)).collect();
        for (_, grant) in t.grants.enforced() {
            assert_eq!(self.limits[&grant.id], t.grants.get(grant.id).unwrap().quota, "history {history:?}");
        }
        assert_eq!(self.kernel, told, "history {history:?}");
        let held: BTreeSet<MacAddr> = t.grants.held().filter_map(|grant| grant.station).collect();
        assert_eq!(held, self.kernel.keys().copied().collect(), "history {history:?}");
    }

    /// All steps end; then nothing is under way and every end has been reported once.
    fn finish(&mut self, t: &mut Script, history: &[usize]) {
        while let Some((wave, step, targets)) = self.open.pop_front() {
            let outcomes =
                targets.iter().map(|target| (target.grant, StepOutcome::Done { freed: 1 })).collect();
            t.input(Input::StepDone { wave, step, outcomes, moved: BTreeMap::new() });
            self.obey(t, history);
        }
        assert!(t.grants.waves.is_empty() && t.grants.superseded.is_empty(), "history {history:?}");
        self.ended.sort();
        self.reported.sort();
        assert_eq!(self.reported, self.ended, "history {history:?}");
    }
}

#[derive(Clone)]
struct Script {
    grants: Grants,
    now: BootTime,
}

impl Script {
    fn new() -> Self {
        Self { grants: Grants::default(), now: BootTime(1) }
    }

    fn input(&mut self, input: Input) {
        self.now = self.now + Duration::from_millis(1);
        self.grants.handle_input(input, self.now);
    }

    fn give(&mut self, origin: Origin, spec: GrantSpec) {
        self.input(Input::Give { grants: vec![spec], origin });
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.grants.handle_timeout(self.now);
    }

    /// What is to be done, in short.
    fn words(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.grants.poll_action()).map(|action| word(&action)).collect()
    }
}

fn word(action: &Action) -> String {
    let short = |mac: MacAddr| format!("..:{:02x}", mac.0[5]);
    match action {
        Action::Enforce { grants, instead_of } => {
            let (station, grant) = &grants[0];
            let mut text = format!("enforce {} at {}", grant.id.0[0], short(*station));
            for target in instead_of {
                text += &format!(" instead of {} {}", target.grant.0[0], target.cause);
            }
            text
        }
        Action::Refresh { grants } => format!("refresh {}", grants[0].1.id.0[0]),
        Action::Rebuild => "rebuild".into(),
        Action::Step { step, targets, .. } => {
            let mut text = format!("step {step} for");
            for target in targets {
                text += &format!(" {}", short(target.station));
            }
            text
        }
        Action::Report { report, .. } => format!("report {} {}", report.grant.0[0], report.cause),
        Action::Changed { .. } => "changed".into(),
        Action::Low { grant, .. } => format!("low {}", grant.0[0]),
        Action::Spent { grant, .. } => format!("spent {}", grant.0[0]),
        Action::Codes { .. } | Action::TurnAway { .. } | Action::Probe { .. } => panic!("there is no code"),
    }
}

fn spec(id: GrantId, station: MacAddr, incarnation: u32) -> GrantSpec {
    GrantSpec {
        id,
        code: None,
        lease: Some(Millis::from(LEASE)),
        quota: None,
        holder: Holder::Terminal { key: PublicKey([0; 32]), session: SessionId([0; 16]) },
        station,
        incarnation: Incarnation(incarnation),
    }
}
