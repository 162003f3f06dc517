//! Grants by code: what they promise, and every short history of two codes, three stations and two access points.

use super::*;
use crate::logic::histories::each_history;
use crate::model::{CodeAsk, Millis, PublicKey, SessionId};

const ONE: GrantId = GrantId([1; 16]);
const TWO: GrantId = GrantId([2; 16]);
const HERS: GrantId = GrantId([3; 16]);
const ANNE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const QUOTA: u64 = 1000;

#[test]
fn whoever_comes_with_the_code_is_its_station() {
    let mut t = Script::new();
    assert_eq!(t.words(), ["codes", "changed", "codes", "changed"]);
    t.associated("ap1", ANNE, Some(ONE));
    assert_eq!(t.words(), ["changed", "enforce 1 at ..:01"]);
    t.associated("ap1", BOB, Some(TWO));
    assert_eq!(t.words(), ["changed", "enforce 2 at ..:02"], "two grants on one access point");
    t.associated("ap1", MacAddr([2, 0, 0, 0, 0, 3]), None);
    assert_eq!(t.words(), Vec::<String>::new(), "another credential is nobody's code");
}

#[test]
fn a_station_that_roams_stays_and_one_that_leaves_is_out_until_it_comes_back() {
    let mut t = Script::new();
    t.associated("ap1", ANNE, Some(ONE));
    t.words();
    t.associated("ap2", ANNE, Some(ONE));
    t.disassociated("ap1", ANNE);
    assert_eq!(t.words(), Vec::<String>::new());
    t.disassociated("ap2", ANNE);
    assert_eq!(t.words(), ["changed", "withdraw 1 at ..:01"]);
    t.associated("ap2", ANNE, Some(ONE));
    assert_eq!(t.words(), ["changed", "enforce 1 at ..:01"]);
}

#[test]
fn a_changed_address_takes_the_grant_along_in_one_transaction() {
    let mut t = Script::new();
    t.associated("ap1", ANNE, Some(ONE));
    t.words();
    // The first address left nothing that answers.
    t.associated("ap1", BOB, Some(ONE));
    assert_eq!(t.words(), ["probe ..:01"]);
    t.probed(ONE, ANNE, false);
    assert_eq!(t.words(), ["away ..:01 ap1", "changed", "enforce 1 at ..:02, no longer 1 at ..:01"]);
    // Or said good-bye.
    t.disassociated("ap1", BOB);
    t.associated("ap1", ANNE, Some(ONE));
    assert_eq!(t.words(), ["changed", "withdraw 1 at ..:02", "changed", "enforce 1 at ..:01"]);
}

#[test]
fn while_its_device_answers_a_stolen_code_is_of_no_use() {
    let mut t = Script::new();
    t.associated("ap1", ANNE, Some(ONE));
    t.words();
    t.associated("ap2", BOB, Some(ONE));
    assert_eq!(t.words(), ["probe ..:01"]);
    t.probed(ONE, ANNE, true);
    assert_eq!(t.words(), ["away ..:02 ap2"]);
    t.disassociated("ap2", BOB);
    t.disassociated("ap1", ANNE);
    assert_eq!(t.words(), ["changed", "withdraw 1 at ..:01"]);
    // An answer that comes late, or twice, changes nothing.
    t.probed(ONE, ANNE, false);
    assert_eq!(t.words(), Vec::<String>::new());
}

#[test]
fn under_a_spoofed_address_nobody_passes_and_the_spoofer_is_turned_away() {
    for key in [None, Some(TWO)] {
        let mut t = Script::new();
        t.associated("ap1", ANNE, Some(ONE));
        t.words();
        t.associated("ap2", ANNE, key);
        assert_eq!(t.words(), ["withdraw 1 at ..:01", "away ..:01 ap2"], "{key:?}");
        t.disassociated("ap2", ANNE);
        assert_eq!(t.words(), ["enforce 1 at ..:01"], "{key:?}");
    }
}

#[test]
fn the_same_address_with_another_code_is_another_grants_station() {
    let mut t = Script::new();
    t.associated("ap1", ANNE, Some(ONE));
    t.words();
    t.associated("ap1", ANNE, Some(TWO));
    assert_eq!(t.words(), ["changed", "withdraw 1 at ..:01", "changed", "enforce 2 at ..:01"]);
}

#[test]
fn an_evicted_code_is_out_for_good() {
    let mut t = Script::new();
    t.associated("ap1", ANNE, Some(ONE));
    t.words();
    t.input(Input::Take { grant: ONE, incarnation: None, cause: Cause::Owner });
    assert_eq!(t.words(), ["step enforcement for ..:01", "changed"], "its wave sees to the code");
    assert_eq!(t.grants.codes().map(|(key, _)| key).collect::<Vec<_>>(), [TWO.key_id()]);
    t.input(Input::Listed { bss: "ap1".into(), stations: vec![(ANNE, By::Key(Some(ONE.key_id())))] });
    assert_eq!(t.words(), Vec::<String>::new(), "and to her, for its own reason");
    // hostapd had not read the file yet.
    t.associated("ap2", BOB, Some(ONE));
    assert_eq!(t.words(), ["away ..:02 ap2"]);
    t.input(Input::Take { grant: TWO, incarnation: None, cause: Cause::Owner });
    assert_eq!(t.words(), ["report 2 owner", "codes", "changed"], "nobody was there with it");
}

#[test]
fn after_a_restart_a_station_stays_unless_hostapd_says_nothing_of_it() {
    let held = |station| Grant {
        id: ONE,
        station,
        code: Some(Code::new([1; 32])),
        origin: Origin::Owner,
        holder: Holder::Station,
        incarnation: Incarnation(1),
        deadline: None,
        quota: None,
    };
    let start = || {
        let mut t = Script::new();
        t.grants = Grants::adopt(vec![held(Some(ANNE))], true, t.now);
        assert_eq!(t.grants.of_station(ANNE).map(|grant| grant.id), Some(ONE));
        t
    };
    let mut t = start();
    t.input(Input::Listed { bss: "ap1".into(), stations: Vec::new() });
    t.input(Input::Listed { bss: "ap2".into(), stations: vec![(ANNE, By::Key(Some(ONE.key_id())))] });
    t.wait(Duration::from_secs(60));
    assert_eq!(t.words(), Vec::<String>::new());
    let mut t = start();
    t.wait(Duration::from_secs(60));
    assert_eq!(t.words(), ["changed", "withdraw 1 at ..:01"]);
}

#[test]
fn a_list_says_what_events_did_not() {
    let mut t = Script::new();
    t.words();
    let list = |stations: &[(MacAddr, Option<GrantId>)]| Input::Listed {
        bss: "ap1".into(),
        stations: stations.iter().map(|(mac, id)| (*mac, By::Key(id.map(GrantId::key_id)))).collect(),
    };
    t.input(list(&[(ANNE, Some(ONE)), (BOB, None)]));
    assert_eq!(t.words(), ["changed", "enforce 1 at ..:01"]);
    t.input(list(&[(ANNE, Some(ONE)), (BOB, Some(HERS))]));
    assert_eq!(t.words(), ["away ..:02 ap1"], "a code that never was, or is no longer");
    t.input(list(&[]));
    assert_eq!(t.words(), ["changed", "withdraw 1 at ..:01"]);
}

#[test]
fn who_is_asked_anew_goes_on_and_hides_nobody() {
    let mut t = Script::new();
    t.associated("ap1", ANNE, Some(ONE));
    t.words();
    let list = |stations: &[(MacAddr, By)]| Input::Listed { bss: "ap1".into(), stations: stations.into() };
    t.input(list(&[(ANNE, By::Unsaid), (BOB, By::Key(Some(TWO.key_id())))]));
    assert_eq!(t.words(), ["changed", "enforce 2 at ..:02"]);
    assert_eq!(t.grants.of_station(ANNE).map(|grant| grant.id), Some(ONE));
    // Nobody is let in whom hostapd has not named, and whoever left is out.
    let other = MacAddr([2, 0, 0, 0, 0, 3]);
    t.input(list(&[(other, By::Unsaid), (ANNE, By::Unsaid)]));
    assert_eq!(t.words(), ["changed", "withdraw 2 at ..:02"]);
    assert_eq!(t.grants.of_station(other), None);
}

#[test]
fn what_is_given_to_the_address_goes_on_beside_the_code() {
    let mut t = Script::new();
    t.associated("ap1", ANNE, Some(ONE));
    t.words();
    t.input(Input::Give { grants: vec![by_address()], origin: Origin::Owner });
    assert_eq!(t.words(), ["changed"]);
    t.disassociated("ap1", ANNE);
    assert_eq!(t.words(), ["changed", "enforce 3 at ..:01, no longer 1 at ..:01"]);
}

#[test]
fn more_codes_than_hostapd_should_try_are_refused() {
    let mut t = Script::new();
    // Two of them are there already.
    for id in 10..=1009_u16 {
        let id = GrantId(std::array::from_fn(|at| id.to_be_bytes()[at % 2]));
        t.code(id);
    }
    assert!(!t.grants.has_room(true) && t.grants.has_room(false), "and the beacon says so");
    let refusal = t.grants.check_code().unwrap_err();
    assert_eq!((refusal.word.as_str(), refusal.sentence.contains("1001")), ("too-many-codes", true));
    let first = t.grants.codes().count();
    t.input(Input::Take {
        grant: GrantId(std::array::from_fn(|at| 1009_u16.to_be_bytes()[at % 2])),
        incarnation: None,
        cause: Cause::Expired,
    });
    assert_eq!((first - t.grants.codes().count(), t.grants.has_room(true)), (1, true));
}

#[test]
fn the_code_of_the_next_join_takes_the_place_of_the_one_before() {
    let mut t = Script::new();
    t.sealed(1);
    t.associated("ap1", ANNE, Some(HERS));
    t.words();
    t.sealed(2);
    assert_eq!(t.words(), ["withdraw 3 at ..:01", "codes", "changed"]);
    assert_eq!(t.grants.get(HERS).unwrap().code, Some(Code::new([0x32; 32])));
    t.sealed(1);
    assert_eq!(t.words(), Vec::<String>::new(), "a join that is over");
    t.disassociated("ap1", ANNE);
    t.associated("ap1", BOB, Some(HERS));
    assert_eq!(t.words(), ["changed", "enforce 3 at ..:02"], "whatever its address");
    let digest = t.grants.get(HERS).unwrap().digest_line();
    assert_eq!(digest, (HERS, Incarnation(2), BY_CODE, Some(QUOTA)));
    t.input(Input::Take { grant: HERS, incarnation: Some(Incarnation(2)), cause: Cause::Silence });
    assert_eq!(t.words(), ["step enforcement for ..:02", "changed"]);
}

#[test]
fn a_grant_may_change_from_address_to_code_and_back() {
    let mut t = Script::new();
    t.input(Input::Give { grants: vec![by_address()], origin: Origin::Coordinator });
    t.words();
    t.sealed(2);
    assert_eq!(t.words(), ["withdraw 3 at ..:01", "codes", "changed"]);
    t.associated("ap1", ANNE, Some(HERS));
    t.words();
    let third = GrantSpec { incarnation: Incarnation(3), station: BOB, ..by_address() };
    t.input(Input::Give { grants: vec![third], origin: Origin::Coordinator });
    assert_eq!(
        t.words(),
        ["enforce 3 at ..:02", "step enforcement for ..:01", "away ..:01 ap1", "codes", "changed"]
    );
    assert_eq!(t.grants.codes().count(), 2);
}

#[test]
fn a_code_takes_the_place_of_an_earlier_join_of_the_same_giver_only() {
    let mut t = Script::new();
    t.sealed(2);
    let settled = |id, origin, join| t.grants.is_settled(id, origin, Incarnation(join));
    assert!(!settled(HERS, Origin::Coordinator, 3));
    assert!(settled(HERS, Origin::Coordinator, 2) && settled(HERS, Origin::Coordinator, 1));
    assert!(settled(ONE, Origin::Coordinator, 9), "the owner's is not a coordinator's to replace");
    assert!(!settled(GrantId([9; 16]), Origin::Coordinator, 1));
}

#[test]
fn codes_that_end_together_are_told_once() {
    let mut t = Script::new();
    t.code_of(HERS, Origin::Coordinator, Holder::Station, 1);
    t.code_of(GrantId([4; 16]), Origin::Coordinator, Holder::Station, 1);
    t.words();
    t.input(Input::Want { grants: vec![] });
    assert_eq!(t.words(), ["report 3 not-wanted", "report 4 not-wanted", "codes", "changed", "changed"]);
}

#[test]
fn a_code_that_is_wanted_and_lost_ends_its_join() {
    let mut t = Script::new();
    t.sealed(1);
    t.associated("ap1", ANNE, Some(HERS));
    t.words();
    let made = |join| {
        let (code, incarnation) = (Some(Box::new(CodeAsk::Made)), Incarnation(join));
        Input::Want { grants: vec![GrantSpec { code, incarnation, quota: Some(QUOTA), ..by_address() }] }
    };
    t.input(made(1));
    let kept = Action::Changed { by_hand: false, by_code: true };
    assert_eq!(t.grants.poll_action(), Some(kept), "its terms may be others; it is as wanted");
    assert_eq!(t.words(), [""; 0]);
    assert_eq!(t.grants.get(HERS).unwrap().code, Some(Code::new([0x31; 32])));
    t.input(made(2));
    assert_eq!(
        t.words(),
        ["step enforcement for ..:01", "changed", "report 3 code-lost", "changed"],
        "what is here is the code of the join before"
    );
    t.input(made(2));
    assert_eq!(t.words(), ["report 3 code-lost", "changed"]);
    assert_eq!(t.grants.get(HERS), None, "nobody is let in by address in its place");
}

#[test]
fn the_lease_of_a_code_is_renewed_while_nobody_is_there_with_it() {
    let mut t = Script::new();
    t.sealed(1);
    let lease = Some(Millis(60_000));
    let spec = GrantSpec { code: Some(Box::new(CodeAsk::Made)), lease, ..by_address() };
    t.input(Input::Want { grants: vec![spec] });
    std::iter::from_fn(|| t.grants.poll_action()).for_each(drop);
    t.wait(Duration::from_secs(50));
    t.input(Input::Renew { lease: Duration::from_secs(60) });
    // A restart must not find the time that it had before.
    assert_eq!(t.grants.poll_action(), Some(Action::Changed { by_hand: false, by_code: true }));
    t.wait(Duration::from_secs(50));
    assert_eq!(t.words(), Vec::<String>::new());
    t.wait(Duration::from_secs(20));
    assert_eq!(t.words(), ["report 3 expired", "codes", "changed"]);
}

/// Every history of up to five facts, after both codes were given.
#[test]
fn no_short_history_breaks_the_rules_of_codes() {
    type Fact = fn(&mut Script);
    const FACTS: [Fact; 14] = [
        |t| t.associated("ap1", ANNE, Some(ONE)),
        |t| t.associated("ap2", ANNE, Some(ONE)),
        |t| t.associated("ap1", BOB, Some(ONE)),
        |t| t.associated("ap2", ANNE, None),
        |t| t.associated("ap2", ANNE, Some(TWO)),
        |t| t.disassociated("ap1", ANNE),
        |t| t.disassociated("ap2", ANNE),
        |t| t.input(Input::Listed { bss: "ap1".into(), stations: Vec::new() }),
        |t| t.answer_probe(true),
        |t| t.answer_probe(false),
        |t| t.input(Input::Take { grant: ONE, incarnation: None, cause: Cause::Owner }),
        |t| t.input(Input::Give { grants: vec![by_address()], origin: Origin::Owner }),
        |t| t.code_of(ONE, Origin::Owner, Holder::Station, 2),
        |t| t.wait(Duration::from_secs(60)),
    ];
    each_history(&Script::new(), FACTS.len(), 5, &mut |t, history| {
        FACTS[history[history.len() - 1]](t);
        t.obey(history);
    });
}

#[derive(Clone)]
struct Script {
    grants: Grants,
    now: BootTime,
    /// Who is associated where, as the facts had it.
    air: BTreeMap<(MacAddr, String), Option<KeyId>>,
    kernel: BTreeMap<MacAddr, GrantId>,
    probe: Option<(GrantId, MacAddr)>,
    /// The codes that hostapd was last told to read.
    read: Vec<KeyId>,
}

impl Script {
    /// Two codes are given.
    fn new() -> Self {
        let mut t = Self {
            grants: Grants::default(),
            now: BootTime(1),
            air: BTreeMap::new(),
            kernel: BTreeMap::new(),
            probe: None,
            read: Vec::new(),
        };
        t.code(ONE);
        t.code(TWO);
        t
    }

    fn code(&mut self, id: GrantId) {
        let (origin, holder) = (Origin::Owner, Holder::Station);
        self.code_of(id, origin, holder, 1);
    }

    /// A code of a session of the coordinator, for this join.
    fn sealed(&mut self, join: u32) {
        self.code_of(HERS, Origin::Coordinator, by_address().holder, join);
    }

    fn code_of(&mut self, id: GrantId, origin: Origin, holder: Holder, join: u32) {
        let (code, incarnation) = (Code::new([id.0[0] << 4 | join as u8; 32]), Incarnation(join));
        let (lease, quota) = (None, Some(QUOTA));
        let held = self.grants.get(id).map(|held| held.incarnation);
        if held.is_none_or(|held| held < incarnation) {
            // Whoever is there with the one before.
            self.air.values_mut().filter(|with| **with == Some(id.key_id())).for_each(|with| *with = None);
        }
        self.input(Input::GiveCode { id, code, origin, holder, incarnation, lease, quota });
    }

    fn input(&mut self, input: Input) {
        if let Input::Listed { bss, stations } = &input {
            self.air.retain(|(who, at), _| at != bss || stations.contains(&(*who, By::Unsaid)));
            for (station, by) in stations {
                if let By::Key(key) = by {
                    self.air.insert((*station, bss.clone()), *key);
                }
            }
        }
        self.now = self.now + Duration::from_millis(1);
        self.grants.handle_input(input, self.now);
    }

    fn associated(&mut self, bss: &str, station: MacAddr, id: Option<GrantId>) {
        let key = id.map(GrantId::key_id);
        self.air.insert((station, bss.to_owned()), key);
        self.input(Input::Associated { bss: bss.to_owned(), station, key });
    }

    fn disassociated(&mut self, bss: &str, station: MacAddr) {
        self.air.remove(&(station, bss.to_owned()));
        self.input(Input::Disassociated { bss: bss.to_owned(), station });
    }

    fn probed(&mut self, grant: GrantId, station: MacAddr, there: bool) {
        self.input(Input::Probed { grant, station, there });
    }

    /// Who does not answer is not there: hostapd's word that it is counts no longer.
    fn answer_probe(&mut self, there: bool) {
        let Some((grant, station)) = self.probe.take() else { return };
        let key = Some(grant.key_id());
        let has_rival = !self.grants.rivals(grant, station).is_empty();
        let is_its = self.grants.get(grant).is_some_and(|held| held.station == Some(station));
        if !there && has_rival && is_its {
            self.air.retain(|(other, _), with| *other != station || *with != key);
        }
        self.probed(grant, station, there);
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.grants.handle_timeout(self.now);
    }

    fn words(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.grants.poll_action()).map(|action| word(&action)).collect()
    }

    /// The kernel does what it is told; then the rules hold.
    fn obey(&mut self, history: &[usize]) {
        let mut turned_away = BTreeSet::new();
        while let Some(action) = self.grants.poll_action() {
            match action {
                Action::Enforce { grants, instead_of } => {
                    for target in instead_of {
                        assert_eq!(self.kernel.remove(&target.station), Some(target.grant), "{history:?}");
                    }
                    for (station, grant) in grants {
                        assert!(self.kernel.insert(station, grant.id).is_none(), "{history:?}");
                    }
                }
                Action::Step { step: Step::Enforcement, targets, .. } => {
                    for target in targets {
                        assert_eq!(self.kernel.remove(&target.station), Some(target.grant), "{history:?}");
                    }
                    // The wave's step Association reads the codes.
                    self.read = self.grants.codes().map(|(key, _)| key).collect();
                }
                Action::Codes { .. } => self.read = self.grants.codes().map(|(key, _)| key).collect(),
                Action::TurnAway { bss, station } => {
                    turned_away.insert((station, bss));
                }
                Action::Probe { grant, station } => {
                    assert!(self.probe.replace((grant, station)).is_none(), "{history:?}: asked twice");
                }
                Action::Step { .. } | Action::Report { .. } | Action::Changed { .. } => {}
                Action::Low { .. } | Action::Spent { .. } | Action::Refresh { .. } | Action::Rebuild => {
                    panic!("{history:?}: nobody asked for it")
                }
            }
        }
        let codes: Vec<KeyId> = self.grants.codes().map(|(key, _)| key).collect();
        assert_eq!(self.read, codes, "{history:?}: hostapd knows other codes");
        let told: BTreeMap<MacAddr, GrantId> =
            self.grants.enforced().map(|(station, grant)| (station, grant.id)).collect();
        assert_eq!(self.kernel, told, "{history:?}");
        let with = |station: MacAddr| self.air.iter().filter(move |((other, _), _)| *other == station);
        for (station, id) in self.kernel.iter().filter(|(_, id)| **id != HERS) {
            let mut own = with(*station).map(|(_, key)| *key).peekable();
            assert!(own.peek().is_some(), "{history:?}: {id} is enforced for one who left");
            assert!(own.all(|key| key == Some(id.key_id())), "{history:?}: {id} lets a spoofed address pass");
        }
        for id in [ONE, TWO] {
            let enforced = self.kernel.values().filter(|other| **other == id).count();
            assert!(enforced <= 1, "{history:?}: {id} has two devices");
            // Who alone carries a code, and nothing else, has its grant.
            let carriers: BTreeSet<MacAddr> = self
                .air
                .iter()
                .filter(|(_, key)| **key == Some(id.key_id()))
                .map(|((station, _), _)| *station)
                .collect();
            if let (true, [only]) = (codes.contains(&id.key_id()), Vec::from_iter(carriers).as_slice())
                && with(*only).all(|(_, key)| *key == Some(id.key_id()))
            {
                assert_eq!(self.kernel.get(only), Some(&id), "{history:?}");
            }
        }
    }
}

fn by_address() -> GrantSpec {
    let holder = Holder::Terminal { key: PublicKey([0; 32]), session: SessionId([0; 16]) };
    let incarnation = Incarnation(1);
    GrantSpec { id: HERS, code: None, lease: None, quota: None, holder, station: ANNE, incarnation }
}

fn word(action: &Action) -> String {
    let short = |mac: MacAddr| format!("..:{:02x}", mac.0[5]);
    let each = |targets: &[Target]| {
        let named =
            targets.iter().map(|target| format!("{} at {}", target.grant.0[0], short(target.station)));
        named.collect::<Vec<_>>().join(", ")
    };
    match action {
        Action::Enforce { grants, instead_of } if grants.is_empty() => {
            format!("withdraw {}", each(instead_of))
        }
        Action::Enforce { grants, instead_of } => {
            let let_in =
                grants.iter().map(|(station, grant)| format!("{} at {}", grant.id.0[0], short(*station)));
            let mut text = format!("enforce {}", let_in.collect::<Vec<_>>().join(", "));
            if !instead_of.is_empty() {
                text += &format!(", no longer {}", each(instead_of));
            }
            text
        }
        Action::Step { step, targets, .. } => {
            let stations: Vec<String> = targets.iter().map(|target| short(target.station)).collect();
            format!("step {step} for {}", stations.join(" "))
        }
        Action::Report { report, .. } => format!("report {} {}", report.grant.0[0], report.cause),
        Action::Low { grant, .. } => format!("low {}", grant.0[0]),
        Action::Spent { grant, .. } => format!("spent {}", grant.0[0]),
        Action::TurnAway { bss, station } => format!("away {} {bss}", short(*station)),
        Action::Probe { station, .. } => format!("probe {}", short(*station)),
        Action::Codes { .. } => "codes".into(),
        Action::Changed { .. } => "changed".into(),
        Action::Refresh { .. } => "refresh".into(),
        Action::Rebuild => "rebuild".into(),
    }
}
