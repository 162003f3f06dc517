//! The agent: named stories, and every short history against the invariants of its header.

use super::*;
use crate::model::{Credential, Ssid};

const S: Duration = Duration::from_secs(1);
const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const SCAN: Action = Action::Scan { silently: false };
const HEART: Duration = Duration::from_secs(10);

#[test]
fn from_wanting_to_heartbeats() {
    let mut run = Run::new(true);
    run.say(Input::LinkUp);
    assert_eq!(run.say(Input::Want), [SCAN]);
    let seen = vec![ap(1, -70), ap(2, -40)];
    let asked = run.say(Input::Scanned(seen));
    let [Action::Send(FromTerminal::Ask { aps, request: 1 })] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!(aps.iter().map(|ap| ap.signal_dbm).collect::<Vec<_>>(), [-40, -70], "best first");

    let joins = run.say(candidates(&[1, 2], 1));
    assert_eq!(joins, [join(1, 2)]);
    let answer = joined(1, 2, 7);
    assert_eq!(run.say(heard(&answer)), [Action::Associate(Box::new(answer.clone()))]);
    let access = access_of(&answer);
    assert_eq!(run.say(Input::Associated), [Action::Beat { access, next: None }]);
    assert_eq!(run.agent.poll_timeout(), Some(run.now + HEART));
    assert_eq!(run.pass(HEART), [Action::Beat { access, next: None }]);

    // The link goes and comes: nothing but a heartbeat.
    assert_eq!(run.say(Input::LinkDown), []);
    assert_eq!(run.pass(100 * S), []);
    assert_eq!(run.say(Input::LinkUp), [Action::Beat { access, next: None }]);

    // A sleep is announced, and kept.
    let next = Some(Millis(70_000));
    assert_eq!(run.say(Input::Sleep(60 * S)), [Action::Beat { access, next }]);
    assert_eq!(run.pass(59 * S), []);
    assert_eq!(run.pass(S), [Action::Beat { access, next: None }]);

    // The end: said, heard, let go.
    assert_eq!(run.say(Input::End), [leave(7)]);
    let over = ToTerminal::Over {
        cause: Some(Cause::Left),
        session: access.session,
        incarnation: access.incarnation,
    };
    assert_eq!(run.say(Input::Heard(over)), [Action::Dissociate, Action::Finish(End::Asked)]);
}

#[test]
fn watching_it_says_nothing_before_the_directory_knows_the_place() {
    let mut run = Run::new(false);
    run.say(Input::LinkUp);
    assert_eq!(run.say(Input::Watch), [Action::Scan { silently: true }]);
    for _ in 0..10 {
        assert_eq!(run.say(Input::Recognised(vec![])), [], "nothing is said, told or ended");
        let wait = run.agent.poll_timeout().unwrap().since(run.now);
        assert!(wait <= LONGEST_WATCH, "{wait:?}");
        assert_eq!(run.pass(wait), [Action::Scan { silently: true }]);
    }
    let Input::Heard(ToTerminal::Candidates { aps, .. }) = candidates(&[1], 0) else { panic!() };
    let joins = run.say(Input::Recognised(aps));
    assert_eq!(joins, [join(1, 1)]);
    let refusal = Refusal::new("gateway-away", "…");
    let told = run.say(Input::Heard(ToTerminal::Refused { refusal: refusal.clone(), request: 1 }));
    assert_eq!(told, [Action::Tell(refusal)], "it goes on, although it is not to stay");
    // A person asks.
    assert_eq!(run.say(Input::Want), [SCAN]);
    assert!(!run.agent.is_watching());
}

#[test]
fn without_a_link_it_joins_by_what_it_was_given_before() {
    let mut run = Run::new(true);
    let known = || {
        let Input::Heard(ToTerminal::Candidates { aps, .. }) = candidates(&[3], 0) else { panic!() };
        Input::Recognised(aps)
    };
    let held = joined(1, 1 << 48, 7);
    run.agent.set_held(vec![held.clone()]);
    assert_eq!(run.say(Input::Watch), [Action::Scan { silently: true }]);
    // At another access point of the gateway than the one for which it was asked.
    let there = Joined { bssid: bssid(3), ..held.clone() };
    assert_eq!(run.say(known()), [Action::Associate(Box::new(there))]);
    assert_eq!(run.say(Input::Associated), []);
    let access = access_of(&held);
    assert_eq!(run.agent.access(), Some(access));
    assert_eq!(run.say(Input::LinkUp), [Action::Beat { access, next: None }], "the way is there now");

    // With a link it asks, whatever it holds; without one it joins nowhere else.
    let mut run = Run::new(true);
    run.agent.set_held(vec![held.clone()]);
    run.say(Input::LinkUp);
    run.say(Input::Watch);
    assert_eq!(run.say(known()), [join(3, 1)]);
    let mut run = Run::new(true);
    run.agent.set_held(vec![Joined { ssid: Ssid::new("other").unwrap(), ..held.clone() }]);
    run.say(Input::Watch);
    assert_eq!(run.say(known()), []);

    // What opens nothing is given back as soon as somebody can be told.
    let mut run = Run::new(true);
    run.agent.set_held(vec![held]);
    run.say(Input::Watch);
    run.say(known());
    let wrong = Refusal::new("account-refused", "the network refused the account");
    let failed = run.say(Input::AssociationFailed(wrong.clone()));
    assert_eq!(failed, [Action::Dissociate, Action::Tell(wrong)]);
    assert_eq!(run.say(Input::LinkUp), [leave(7)]);
}

#[test]
fn nobody_who_asked_not_to_be_listed_is_named() {
    let mut run = Run::new(true);
    run.say(Input::LinkUp);
    run.say(Input::Want);
    let named = |name: &[u8]| SeenAp { ssid: Ssid::new(name).unwrap(), ..ap(3, -10) };
    let tell = run.say(Input::Scanned(vec![named(b"home_nomap"), named(b"")]));
    assert!(matches!(tell.as_slice(), [Action::Tell(refusal)] if refusal.word == "nothing-seen"), "{tell:?}");
}

#[test]
fn the_longest_question_fits_into_a_frame() {
    let mut run = Run::new(true);
    run.say(Input::LinkUp);
    run.say(Input::Want);
    let named = |last| SeenAp {
        ssid: Ssid::new(vec![0xff; 32]).unwrap(),
        freq_mhz: 7115,
        ..ap(last, -(i16::from(last)) - 300)
    };
    let asked = run.say(Input::Scanned((0..200).map(named).collect()));
    let [Action::Send(question)] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(matches!(question, FromTerminal::Ask { aps, .. } if aps.len() == MOST_APS));
    crate::wire::cbor::encode(question).unwrap();
}

#[test]
fn a_candidate_that_fails_is_left_and_the_next_is_tried() {
    let mut run = Run::new(false);
    run.until_joining(&[1, 2]);
    run.say(heard(&joined(1, 2, 7)));
    let wrong = Refusal::new("account-refused", "the network refused the account");
    let failed = Input::AssociationFailed(wrong.clone());
    assert_eq!(run.say(failed), [Action::Dissociate, leave(7), Action::Tell(wrong), join(2, 3)]);
    let refusal = Refusal::new("full", "2 of 2 places are taken");
    let refused = ToTerminal::Refused { refusal: refusal.clone(), request: 3 };
    assert_eq!(
        run.say(Input::Heard(refused)),
        [Action::Finish(End::Refused(refusal))],
        "the last one's reason"
    );
}

#[test]
fn an_answer_that_comes_too_late_is_given_back() {
    let mut run = Run::new(true);
    run.until_joining(&[1]);
    let tell = run.pass(ANSWER_DEADLINE);
    assert!(matches!(tell.as_slice(), [Action::Tell(_)]));
    assert_eq!(run.say(heard(&joined(1, 2, 7))), [leave(7)]);
    assert_eq!(run.agent.state().word(), "waiting");
    assert_eq!(run.pass(FIRST_WAIT), [SCAN]);
}

#[test]
fn what_is_over_is_asked_for_again_if_it_is_to_stay() {
    for (stay, end) in [
        (true, vec![Action::Dissociate]),
        (false, vec![Action::Dissociate, Action::Finish(End::Over(Some(Cause::Expired)))]),
    ] {
        let mut run = Run::new(stay);
        run.until_joining(&[1]);
        run.say(heard(&joined(1, 2, 7)));
        run.say(Input::Associated);
        let over = |incarnation| {
            let access = access_of(&joined(1, 2, 7));
            let cause = Some(Cause::Expired);
            Input::Heard(ToTerminal::Over { cause, session: access.session, incarnation })
        };
        assert_eq!(run.say(over(Incarnation(6))), [], "of an earlier join");
        assert_eq!(run.say(over(Incarnation(7))), end);
    }
}

#[test]
fn what_could_not_be_said_is_said_at_the_next_link() {
    let mut run = Run::new(true);
    run.until_joining(&[1]);
    run.say(heard(&joined(1, 2, 7)));
    run.say(Input::LinkDown);
    assert_eq!(run.say(Input::Release), [Action::Dissociate]);
    assert_eq!(run.say(Input::LinkUp), [leave(7)]);
}

#[test]
fn an_access_that_is_lost_stops_heartbeats_until_it_is_back() {
    let mut run = Run::new(true);
    run.until_joining(&[1]);
    run.say(heard(&joined(1, 2, 7)));
    run.say(Input::Associated);
    assert_eq!(run.say(Input::AccessLost), []);
    assert_eq!(run.pass(HEART), []);
    assert_eq!(run.say(Input::Associated).len(), 1);
    run.say(Input::AccessLost);
    let given_up = run.pass(ASSOCIATION_DEADLINE);
    assert_eq!(given_up[..2], [Action::Dissociate, leave(7)]);
}

#[test]
fn waits_grow_and_end() {
    let mut run = Run::new(true);
    run.say(Input::Want);
    let mut waits = Vec::new();
    for _ in 0..10 {
        run.say(Input::Scanned(vec![]));
        let until = run.agent.poll_timeout().unwrap();
        waits.push(until.since(run.now).as_secs());
        run.pass(until.since(run.now));
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
}

/// Four inputs deep from four places; each history is checked after every step.
#[test]
fn every_short_history() {
    let mut histories = 0;
    for stay in [true, false] {
        for prefix in [
            vec![],
            vec![Word::Up, Word::Want, Word::Scanned],
            vec![Word::Up, Word::Want, Word::Scanned, Word::Candidates, Word::Joined],
            vec![Word::Up, Word::Want, Word::Scanned, Word::Candidates, Word::Joined, Word::Associated],
        ] {
            let mut run = Run::new(stay);
            for word in prefix {
                run.step(word);
            }
            histories += explore(&run, 4);
        }
    }
    assert!(histories > 100_000, "{histories}");
}

fn explore(run: &Run, depth: u32) -> u64 {
    if depth == 0 {
        return 1;
    }
    let mut histories = 0;
    for word in Word::ALL {
        let mut next = run.clone();
        next.step(word);
        histories += explore(&next, depth - 1);
    }
    histories
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Want,
    Watch,
    Release,
    End,
    Up,
    Down,
    Scanned,
    Candidates,
    Joined,
    LateJoined,
    Refused,
    Over,
    Associated,
    Lost,
    Failed,
    Sleep,
    Due,
    Early,
}

impl Word {
    const ALL: [Word; 18] = [
        Word::Want,
        Word::Watch,
        Word::Release,
        Word::End,
        Word::Up,
        Word::Down,
        Word::Scanned,
        Word::Candidates,
        Word::Joined,
        Word::LateJoined,
        Word::Refused,
        Word::Over,
        Word::Associated,
        Word::Lost,
        Word::Failed,
        Word::Sleep,
        Word::Due,
        Word::Early,
    ];
}

/// An agent and the world as its actions make it.
#[derive(Clone)]
struct Run {
    agent: Agent,
    now: BootTime,
    linked: bool,
    last_request: u64,
    /// Sessions that the coordinator opened and that nobody ended.
    open: Vec<Access>,
    network: Option<Access>,
    carries: bool,
    finished: bool,
    incarnation: u32,
    history: Vec<Word>,
}

impl Run {
    fn new(stay: bool) -> Self {
        Self {
            agent: Agent::new(STATION, stay),
            now: BootTime(1_000_000_000_000),
            linked: false,
            last_request: 0,
            open: vec![],
            network: None,
            carries: false,
            finished: false,
            incarnation: 0,
            history: vec![],
        }
    }

    fn say(&mut self, input: Input) -> Vec<Action> {
        self.agent.handle_input(input, self.now);
        self.drain()
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now = self.now + time;
        self.agent.handle_timeout(self.now);
        self.drain()
    }

    fn drain(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.agent.poll_action()).collect()
    }

    fn until_joining(&mut self, candidates_: &[u8]) {
        self.say(Input::LinkUp);
        self.say(Input::Want);
        self.say(Input::Scanned(vec![ap(1, -50), ap(2, -60)]));
        self.say(candidates(candidates_, 1));
    }

    fn step(&mut self, word: Word) {
        self.history.push(word);
        // The coordinator speaks only on a link.
        let heard =
            matches!(word, Word::Candidates | Word::Joined | Word::LateJoined | Word::Refused | Word::Over);
        if heard && !self.linked {
            return;
        }
        let request = self.last_request;
        let actions = match word {
            Word::Want => self.say(Input::Want),
            Word::Watch => self.say(Input::Watch),
            Word::Release => self.say(Input::Release),
            Word::End => self.say(Input::End),
            Word::Up => {
                self.linked = true;
                self.say(Input::LinkUp)
            }
            Word::Down => {
                self.linked = false;
                self.say(Input::LinkDown)
            }
            Word::Scanned if self.agent.is_watching() => {
                let Input::Heard(ToTerminal::Candidates { aps, .. }) = candidates(&[1, 2], 0) else { return };
                self.say(Input::Recognised(aps))
            }
            Word::Scanned => self.say(Input::Scanned(vec![ap(1, -50), ap(2, -60)])),
            Word::Candidates => self.say(candidates(&[1, 2, 9], request)),
            Word::Joined | Word::LateJoined => {
                self.incarnation += 1;
                let late = matches!(word, Word::LateJoined);
                let wanted = match self.agent.state() {
                    State::Joining { candidate, .. } => candidate.bssid.0.0[5],
                    _ => 1,
                };
                let answer = joined(wanted, if late { request + 1000 } else { request }, self.incarnation);
                self.open.push(access_of(&answer));
                self.say(Input::Heard(ToTerminal::Joined(answer)))
            }
            Word::Refused => {
                let refusal = Refusal::new("no", "no");
                self.say(Input::Heard(ToTerminal::Refused { refusal, request }))
            }
            Word::Over => {
                let Some(access) = self.open.pop() else { return };
                let Access { session, incarnation, .. } = access;
                self.say(Input::Heard(ToTerminal::Over { cause: None, session, incarnation }))
            }
            Word::Associated => {
                self.carries = self.network.is_some();
                self.say(Input::Associated)
            }
            Word::Lost => {
                self.carries = false;
                self.say(Input::AccessLost)
            }
            Word::Failed => {
                self.carries = false;
                self.say(Input::AssociationFailed(Refusal::new("failed", "failed")))
            }
            Word::Sleep => self.say(Input::Sleep(60 * S)),
            Word::Due => match self.agent.poll_timeout() {
                Some(due) => self.pass(due.since(self.now)),
                None => self.pass(3600 * S),
            },
            Word::Early => {
                let actions = self.pass(Duration::from_nanos(1));
                self.check(actions.is_empty(), "a timeout handled early does nothing");
                actions
            }
        };
        for action in actions {
            self.carry_out(action);
        }
        self.check_state();
    }

    fn asked(&mut self, request: u64) {
        self.check(request > self.last_request, "requests grow");
        self.last_request = request;
    }

    fn carry_out(&mut self, action: Action) {
        self.check(!self.finished, "6: nothing after the end");
        match action {
            Action::Scan { silently } => {
                self.check(silently == self.agent.is_watching(), "7: it listens unless somebody asked");
            }
            Action::Tell(_) => {}
            Action::Send(message) => {
                self.check(self.linked, "1: sent without a link");
                match message {
                    FromTerminal::Directory { .. } => self.check(false, "directories are read by another"),
                    FromTerminal::Ask { request, .. } => {
                        self.check(!self.agent.is_watching(), "7: what it sees is its own");
                        self.asked(request);
                    }
                    FromTerminal::Join { .. } => self.check(false, "a join needs a key"),
                    FromTerminal::Leave { session, incarnation } => {
                        self.open.retain(|open| (open.session, open.incarnation) != (session, incarnation))
                    }
                    FromTerminal::Heartbeat(_) => self.check(false, "heartbeats are beats"),
                    FromTerminal::Taken { .. } => self.check(false, "messages are the inbox's"),
                    FromTerminal::Tariffs { .. }
                    | FromTerminal::Buy { .. }
                    | FromTerminal::Pay { .. }
                    | FromTerminal::Decline { .. } => self.check(false, "nothing is bought by itself"),
                }
            }
            Action::Join { request, .. } => {
                self.check(self.linked, "1: joined without a link");
                self.asked(request);
            }
            Action::Beat { access, .. } => {
                self.check(self.linked, "1: beat without a link");
                self.check(self.network == Some(access) && self.carries, "2: beat without access");
            }
            Action::Associate(joined) => {
                self.check(self.network.is_none(), "3: two networks");
                self.network = Some(access_of(&joined));
                self.carries = false;
            }
            Action::Dissociate => {
                self.check(self.network.is_some(), "3: no network to remove");
                self.network = None;
                self.carries = false;
            }
            Action::Finish(_) => {
                self.check(self.network.is_none(), "3: a network is left behind");
                self.finished = true;
            }
        }
    }

    fn check_state(&self) {
        let held = self.agent.access();
        self.check(held == self.network, "3: a network if and only if there is access");
        for open in &self.open {
            let known = held == Some(*open) || self.agent.owed == Some(*open);
            // One that ended unheard ends by its own silence.
            self.check(known || self.finished, "4: a session is forgotten");
        }
        let waits = match self.agent.state() {
            State::Idle | State::Finished => false,
            State::Asking { .. } | State::Connected { .. } => self.linked,
            State::Scanning { .. }
            | State::Joining { .. }
            | State::Associating { .. }
            | State::Leaving { .. }
            | State::Waiting { .. } => true,
        };
        self.check(waits == self.agent.poll_timeout().is_some(), "5: a deadline if and only if it waits");
        self.check(self.finished == (*self.agent.state() == State::Finished), "6: the end is told");
    }

    fn check(&self, holds: bool, what: &str) {
        assert!(holds, "{what}\nin {:?}\nafter {:?}", self.agent, self.history);
    }
}

fn bssid(last: u8) -> Bssid {
    Bssid(MacAddr([2, 0, 0, 0, 1, last]))
}

fn ap(last: u8, signal_dbm: i16) -> SeenAp {
    SeenAp { ssid: Ssid::new("net").unwrap(), bssid: bssid(last), beacon: None, freq_mhz: 2412, signal_dbm }
}

fn candidates(lasts: &[u8], request: u64) -> Input {
    let candidate = |last: &u8| Candidate {
        name: "Corner".into(),
        ssid: Ssid::new("net").unwrap(),
        bssid: bssid(*last),
        service: ServiceId([4; 16]),
    };
    Input::Heard(ToTerminal::Candidates { aps: lasts.iter().map(candidate).collect(), request })
}

fn joined(last: u8, request: u64, incarnation: u32) -> Joined {
    Joined {
        code: None,
        ssid: Ssid::new("net").unwrap(),
        ahead: None,
        bssid: bssid(last),
        request,
        service: ServiceId([4; 16]),
        session: SessionId([5; 16]),
        heartbeat: Millis::from(HEART),
        credential: Credential::Open,
        incarnation: Incarnation(incarnation),
    }
}

fn join(last: u8, request: u64) -> Action {
    let to = OfferedTo { bssid: bssid(last), service: ServiceId([4; 16]), station: STATION };
    Action::Join { to, request }
}

fn heard(joined: &Joined) -> Input {
    Input::Heard(ToTerminal::Joined(joined.clone()))
}

fn leave(incarnation: u32) -> Action {
    Action::Send(FromTerminal::Leave { session: SessionId([5; 16]), incarnation: Incarnation(incarnation) })
}
