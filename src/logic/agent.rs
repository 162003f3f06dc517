//! The terminal: when to look around, what to ask, when to be connected and when to let go.
//!
//! ```text
//!          Want                Scanned              Candidates             Joined
//!  Idle ----------> Scanning ----------> Asking ---------------> Joining ----------> Associating
//!   ^                  ^                                         ^  | Refused,           |  ^
//!   |                  | time                                    |  | late: next         |  |
//!   |                  |            nobody left, refused         +--+ candidate          |  | AccessLost
//!   |               Waiting <----------------------------------------+                   |  |
//!   |                  ^                                              \  Failed, late:   |  |
//!   |                  | Over (stay)                                   \ say Leave       |  |
//!   |                  +---------------------------------- Connected <-------------------+--+
//!   | Over heard, or a second                                  |          Associated
//!   +--------------------------------- Leaving <---------------+  Release, End
//!                                         |
//!                                         v  after End: Finish
//! ```
//!
//! `Watch` is a `Want` that nobody said: it looks around without a sound, and asks the coordinator for nothing but a
//! join at what its own directory knows (`Recognised` instead of `Scanned`, straight to Joining). It never gives up.
//! Without a link it joins where it holds a code that it was given ahead of time (`ahead.rs`): from there straight to
//! Associating.
//!
//! Invariants, each held by `every_short_history`:
//! 1. nothing is sent without a link;
//! 2. heartbeats are sent only while the access they name stands;
//! 3. there is one network at most, and none is left behind;
//! 4. a session that the coordinator opened is used, left, or over: it is never forgotten;
//! 5. a state that waits for somebody else has a deadline, unless it waits for the link;
//! 6. after `Finish` nothing more is done.
//!
//! Read next: `terminal/effects.rs` for how the actions are carried out.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{BootTime, Bssid, Cause, Incarnation, MacAddr, Millis, Refusal, ServiceId, SessionId};
use crate::wire::seal::OfferedTo;
use crate::wire::terminal::{Candidate, FromTerminal, Joined, SeenAp, ToTerminal};

/// For a scan.
pub const SCAN_DEADLINE: Duration = Duration::from_secs(20);
/// For an answer of the coordinator; a join waits for the gateway, too.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// From adding the network to being connected, and from losing it to giving it up.
pub const ASSOCIATION_DEADLINE: Duration = Duration::from_secs(30);
/// For the coordinator to hear that we leave, before the way to it is cut.
pub const LEAVE_DEADLINE: Duration = Duration::from_secs(1);
/// The first and the longest wait before looking around again.
pub const FIRST_WAIT: Duration = Duration::from_secs(2);
/// See [`FIRST_WAIT`].
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Access points in one question: they fit into a frame.
pub const MOST_APS: usize = 64;
/// The longest wait while watching: somebody who walks past is in reach for a minute.
pub const LONGEST_WATCH: Duration = Duration::from_secs(30);
/// What a coordinator may ask for as heartbeat interval.
const HEARTBEAT: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// What happens to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Access is wanted.
    Want,
    /// Access is welcome where the directory knows the place.
    Watch,
    /// It is not wanted any more; the agent stays.
    Release,
    /// The agent is to end.
    End,
    /// A new link to the coordinator stands.
    LinkUp,
    /// It is gone.
    LinkDown,
    /// The answer to [`Action::Scan`].
    Scanned(Vec<SeenAp>),
    /// The same while watching: those of them that the directory knows, best first.
    Recognised(Vec<Candidate>),
    /// The coordinator says something.
    Heard(ToTerminal),
    /// The network of [`Action::Associate`] carries packets.
    Associated,
    /// It does not any more; the supplicant goes on trying.
    AccessLost,
    /// It will not, whatever is tried: why.
    AssociationFailed(Refusal),
    /// The machine will sleep for so long.
    Sleep(Duration),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look which access points are in reach. [`Input::Scanned`] answers, or [`Input::Recognised`] while watching.
    Scan {
        /// Listening only.
        silently: bool,
    },
    /// Send this.
    Send(FromTerminal),
    /// Ask to join, with a key made for this join only: [`Action::Associate`] needs it, if it ever comes.
    Join {
        /// Where, and as whom.
        to: OfferedTo,
        /// Of the question.
        request: u64,
    },
    /// Send a heartbeat with the counters of now.
    Beat {
        /// For which access.
        access: Access,
        /// The next one comes within this time.
        next: Option<Millis>,
    },
    /// Add this network, and connect to it.
    Associate(Box<Joined>),
    /// Remove the network that was added.
    Dissociate,
    /// Tell the person.
    Tell(Refusal),
    /// End the program.
    Finish(End),
}

/// How the agent ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As asked; the coordinator was told if there was something to tell and a link to tell it on.
    Asked,
    /// The access is over and nobody wants it again.
    Over(Option<Cause>),
    /// There is none.
    Refused(Refusal),
}

/// The access that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The gateway.
    pub service: ServiceId,
    /// The session.
    pub session: SessionId,
    /// Which join.
    pub incarnation: Incarnation,
}

/// Where the agent is. See the drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is wanted.
    Idle,
    /// For the list of access points.
    Scanning {
        /// Given up then.
        until: BootTime,
    },
    /// For the coordinator to say which of them are good. Without a link: for the link.
    Asking {
        /// What was seen.
        aps: Vec<SeenAp>,
        /// Of the question; `None`: it could not be sent yet.
        asked: Option<(u64, BootTime)>,
    },
    /// For the gateway to admit us.
    Joining {
        /// At this access point.
        candidate: Candidate,
        /// Those after it.
        others: VecDeque<Candidate>,
        /// Of the question.
        request: u64,
        /// Given up then.
        until: BootTime,
    },
    /// For the supplicant.
    Associating {
        /// With this.
        joined: Box<Joined>,
        /// Those after it.
        others: VecDeque<Candidate>,
        /// Given up then.
        until: BootTime,
    },
    /// Access stands.
    Connected {
        /// This.
        joined: Box<Joined>,
        /// Those after it.
        others: VecDeque<Candidate>,
        /// When the next heartbeat is due.
        beat_at: BootTime,
        /// Since then.
        since: BootTime,
    },
    /// It has said that it leaves.
    Leaving {
        /// This.
        access: Access,
        /// Not longer than that.
        until: BootTime,
    },
    /// Before looking around again.
    Waiting {
        /// Then.
        until: BootTime,
    },
    /// The agent has ended.
    Finished,
}

impl State {
    /// The stable word.
    pub fn word(&self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Scanning { .. } => "scanning",
            State::Asking { .. } => "asking",
            State::Joining { .. } => "joining",
            State::Associating { .. } => "associating",
            State::Connected { .. } => "connected",
            State::Leaving { .. } => "leaving",
            State::Waiting { .. } => "waiting",
            State::Finished => "finished",
        }
    }
}

/// The agent of one interface.
#[derive(Clone, Debug)]
pub struct Agent {
    state: State,
    actions: VecDeque<Action>,
    station: MacAddr,
    /// Whether it asks again by itself.
    stay: bool,
    /// Whether nobody has asked for access: it is taken where the directory knows the place.
    watching: bool,
    /// Whether it is to end.
    ending: bool,
    linked: bool,
    next_request: u64,
    /// Attempts in a row that brought no access.
    failures: u32,
    /// Said without a link; to be said at the next one.
    owed: Option<Access>,
    /// What opens gateways without asking.
    held: Vec<Joined>,
}

impl Agent {
    /// An idle agent. `station` is the address under which it will be seen; with `stay` it asks again when
    /// its access is over, without it ends.
    pub fn new(station: MacAddr, stay: bool) -> Self {
        Self {
            state: State::Idle,
            actions: VecDeque::new(),
            station,
            stay,
            watching: false,
            ending: false,
            linked: false,
            next_request: 1,
            failures: 0,
            owed: None,
            held: Vec::new(),
        }
    }

    /// Where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether what was seen is for its own directory, and for nobody else.
    pub fn is_watching(&self) -> bool {
        self.watching
    }

    /// The address under which it will be seen at the next join.
    pub fn station(&self) -> MacAddr {
        self.station
    }

    /// The address under which it will be seen from the next join on.
    pub fn set_station(&mut self, station: MacAddr) {
        self.station = station;
    }

    /// What opens gateways while the coordinator cannot be asked.
    pub fn set_held(&mut self, held: Vec<Joined>) {
        self.held = held;
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Agent::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        match &self.state {
            State::Idle | State::Finished => None,
            State::Scanning { until }
            | State::Joining { until, .. }
            | State::Associating { until, .. }
            | State::Leaving { until, .. }
            | State::Waiting { until } => Some(*until),
            State::Asking { asked, .. } => asked.map(|(_, until)| until),
            State::Connected { beat_at, .. } => self.linked.then_some(*beat_at),
        }
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, now: BootTime) {
        if self.state == State::Finished {
            return;
        }
        match input {
            Input::Want => self.want(false, now),
            Input::Watch => self.want(true, now),
            Input::Recognised(candidates) => self.recognised(candidates, now),
            Input::Release => self.release(now),
            Input::End => {
                self.ending = true;
                self.release(now);
            }
            Input::LinkUp => self.link_up(now),
            Input::LinkDown => self.link_down(),
            Input::Scanned(aps) => self.scanned(aps, now),
            // For the directory's reader.
            Input::Heard(ToTerminal::Directory { .. }) => {}
            Input::Heard(ToTerminal::Candidates { aps, request }) => self.candidates(aps, request, now),
            Input::Heard(ToTerminal::Joined(joined)) => self.joined(joined, now),
            Input::Heard(ToTerminal::Refused { refusal, request }) => self.refused(refusal, request, now),
            Input::Heard(ToTerminal::Over { cause, session, incarnation }) => {
                self.over(cause, session, incarnation, now);
            }
            // Whatever people are told changes nothing here: `logic/inbox.rs`.
            Input::Heard(ToTerminal::Push { .. }) => {}
            // What is sold is not bought by itself.
            Input::Heard(ToTerminal::Tariffs { .. } | ToTerminal::Purchase(_)) => {}
            Input::Associated => self.associated(now),
            Input::AccessLost => self.access_lost(now),
            Input::AssociationFailed(why) => self.association_failed(why, now),
            Input::Sleep(time) => self.sleep(time, now),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: BootTime) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            State::Finished => self.state = State::Finished,
            State::Scanning { .. } => {
                self.give_up(Refusal::new("no-scan", "the radio did not finish its scan in time"), now);
            }
            State::Asking { .. } => {
                self.give_up(Refusal::new("no-answer", "the coordinator did not answer in time"), now);
            }
            State::Joining { others, .. } => {
                let why = Refusal::new("no-answer", "the coordinator did not answer in time");
                self.join_next(others, why, now);
            }
            State::Associating { joined, others, .. } => {
                self.abandon(&joined);
                let why = Refusal::new("no-association", "the network was not connected in time");
                self.join_next(others, why, now);
            }
            State::Connected { joined, others, since, .. } => {
                self.actions.push_back(Action::Beat { access: access_of(&joined), next: None });
                let beat_at = now + heartbeat_of(&joined);
                self.state = State::Connected { joined, others, beat_at, since };
            }
            State::Leaving { .. } => self.let_go(),
            State::Waiting { .. } => self.look_around(now),
        }
    }

    /// Whether a sleep can be announced now.
    pub fn may_sleep(&self) -> Result<(), Refusal> {
        match &self.state {
            State::Connected { .. } if self.linked => Ok(()),
            State::Connected { .. } => {
                Err(Refusal::new("no-link", "the coordinator cannot be told: there is no link to it"))
            }
            other => Err(Refusal::new(
                "not-connected",
                format!("there is no access that could be kept: the agent is {}", other.word()),
            )),
        }
    }

    fn want(&mut self, watching: bool, now: BootTime) {
        if let State::Idle | State::Waiting { .. } | State::Scanning { .. } = self.state {
            self.watching = watching;
        }
        match self.state {
            State::Idle | State::Waiting { .. } if !self.ending => {
                self.failures = 0;
                self.look_around(now);
            }
            _ => {}
        }
    }

    fn look_around(&mut self, now: BootTime) {
        self.actions.push_back(Action::Scan { silently: self.watching });
        self.state = State::Scanning { until: now + SCAN_DEADLINE };
    }

    fn release(&mut self, now: BootTime) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Finished => self.state = State::Finished,
            // A session that is being opened is left when its answer comes: see `joined`.
            State::Idle
            | State::Scanning { .. }
            | State::Asking { .. }
            | State::Joining { .. }
            | State::Waiting { .. } => self.finish_if_ending(),
            State::Associating { joined, .. } | State::Connected { joined, .. } => {
                let access = access_of(&joined);
                self.say_leave(access);
                match self.linked {
                    true => self.state = State::Leaving { access, until: now + LEAVE_DEADLINE },
                    false => self.let_go(),
                }
            }
            leaving @ State::Leaving { .. } => self.state = leaving,
        }
    }

    /// The end of a leave.
    fn let_go(&mut self) {
        self.actions.push_back(Action::Dissociate);
        self.state = State::Idle;
        self.finish_if_ending();
    }

    fn finish_if_ending(&mut self) {
        if self.ending {
            self.finish(End::Asked);
        }
    }

    fn finish(&mut self, end: End) {
        self.actions.push_back(Action::Finish(end));
        self.state = State::Finished;
    }

    fn link_up(&mut self, now: BootTime) {
        self.linked = true;
        if let Some(access) = self.owed.take() {
            self.say_leave(access);
        }
        match &mut self.state {
            State::Asking { asked, .. } => {
                *asked = None;
                self.ask(now);
            }
            // The answer went with the old link.
            State::Joining { candidate, others, .. } => {
                let (candidate, others) = (candidate.clone(), std::mem::take(others));
                self.join(candidate, others, now);
            }
            State::Connected { joined, beat_at, .. } => {
                *beat_at = now + heartbeat_of(joined);
                let access = access_of(joined);
                self.actions.push_back(Action::Beat { access, next: None });
            }
            State::Idle
            | State::Scanning { .. }
            | State::Associating { .. }
            | State::Leaving { .. }
            | State::Waiting { .. }
            | State::Finished => {}
        }
    }

    fn link_down(&mut self) {
        self.linked = false;
        match &mut self.state {
            State::Asking { asked, .. } => *asked = None,
            State::Leaving { .. } => self.let_go(),
            State::Idle
            | State::Scanning { .. }
            | State::Joining { .. }
            | State::Associating { .. }
            | State::Connected { .. }
            | State::Waiting { .. }
            | State::Finished => {}
        }
    }

    fn scanned(&mut self, mut aps: Vec<SeenAp>, now: BootTime) {
        let State::Scanning { .. } = self.state else { return };
        // Their owners asked not to be in any register; a hidden name cannot be asked for.
        aps.retain(|ap| !ap.ssid.as_bytes().ends_with(b"_nomap") && !ap.ssid.as_bytes().is_empty());
        aps.sort_by_key(|ap| (std::cmp::Reverse(ap.signal_dbm), ap.bssid));
        let mut seen = std::collections::BTreeSet::new();
        aps.retain(|ap| seen.insert(ap.bssid));
        aps.truncate(MOST_APS);
        if aps.is_empty() {
            self.give_up(Refusal::new("nothing-seen", "no access point is in reach"), now);
            return;
        }
        self.state = State::Asking { aps, asked: None };
        self.ask(now);
    }

    fn recognised(&mut self, candidates: Vec<Candidate>, now: BootTime) {
        let State::Scanning { .. } = self.state else { return };
        let mut fitting = VecDeque::from(candidates);
        match fitting.pop_front() {
            Some(candidate) => self.join(candidate, fitting, now),
            // Most places are not known; that is no news.
            None => self.wait(now),
        }
    }

    fn ask(&mut self, now: BootTime) {
        let request = self.next_request;
        let State::Asking { aps, asked } = &mut self.state else { return };
        if self.linked {
            *asked = Some((request, now + ANSWER_DEADLINE));
            self.next_request += 1;
            self.actions.push_back(Action::Send(FromTerminal::Ask { aps: aps.clone(), request }));
        }
    }

    fn candidates(&mut self, candidates: Vec<Candidate>, answered: u64, now: BootTime) {
        let State::Asking { aps, asked: Some((request, _)) } = &self.state else { return };
        if *request != answered {
            return;
        }
        let seen = |bssid: Bssid| aps.iter().any(|ap| ap.bssid == bssid);
        let sentence = format!("none of the {} access points in reach gives access", aps.len());
        let mut fitting: VecDeque<Candidate> =
            candidates.into_iter().filter(|candidate| seen(candidate.bssid)).collect();
        match fitting.pop_front() {
            Some(candidate) => self.join(candidate, fitting, now),
            None => self.give_up(Refusal::new("no-candidate", sentence), now),
        }
    }

    /// Tries the next one; `why` the one before it gave no access. What stood in the way of the last is why there
    /// is none.
    fn join_next(&mut self, mut others: VecDeque<Candidate>, why: Refusal, now: BootTime) {
        match others.pop_front() {
            Some(candidate) => {
                self.actions.push_back(Action::Tell(why));
                self.join(candidate, others, now);
            }
            None => self.give_up(why, now),
        }
    }

    /// Asks for access there.
    fn join(&mut self, candidate: Candidate, others: VecDeque<Candidate>, now: BootTime) {
        let held =
            self.held.iter().find(|held| (held.service, &held.ssid) == (candidate.service, &candidate.ssid));
        if let Some(held) = held.filter(|held| !self.linked && self.owed != Some(access_of(held))) {
            // Its code opens every access point of its network.
            let joined = Box::new(Joined { bssid: candidate.bssid, ..held.clone() });
            self.actions.push_back(Action::Associate(joined.clone()));
            self.state = State::Associating { joined, others, until: now + ASSOCIATION_DEADLINE };
            return;
        }
        let request = self.next_request;
        self.next_request += 1;
        if self.linked {
            let Candidate { bssid, service, .. } = candidate;
            let to = OfferedTo { bssid, service, station: self.station };
            self.actions.push_back(Action::Join { to, request });
        }
        // Without a link: the request is made again when one comes, or the next one is tried.
        self.state = State::Joining { candidate, others, request, until: now + ANSWER_DEADLINE };
    }

    fn joined(&mut self, joined: Joined, now: BootTime) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Joining { candidate, others, request, .. } if request == joined.request => {
                if joined.bssid != candidate.bssid {
                    self.say_leave(access_of(&joined));
                    let why = Refusal::new("another", "the coordinator answered for another access point");
                    self.join_next(others, why, now);
                    return;
                }
                let joined = Box::new(joined);
                self.actions.push_back(Action::Associate(joined.clone()));
                self.state = State::Associating { joined, others, until: now + ASSOCIATION_DEADLINE };
            }
            // Nobody waits for it any more: unless it is the one that stands, it is given back.
            other => {
                self.state = other;
                let access = access_of(&joined);
                if self.access() != Some(access) {
                    self.say_leave(access);
                }
            }
        }
    }

    fn refused(&mut self, refusal: Refusal, answered: u64, now: BootTime) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Asking { asked: Some((request, _)), .. } if request == answered => {
                self.give_up(refusal, now);
            }
            State::Joining { others, request, .. } if request == answered => {
                self.join_next(others, refusal, now);
            }
            other => self.state = other,
        }
    }

    fn over(&mut self, cause: Option<Cause>, session: SessionId, incarnation: Incarnation, now: BootTime) {
        if self.owed.is_some_and(|owed| (owed.session, owed.incarnation) == (session, incarnation)) {
            self.owed = None;
        }
        let Some(access) = self.access() else { return };
        if (access.session, access.incarnation) != (session, incarnation) {
            return;
        }
        if let State::Leaving { .. } = self.state {
            self.let_go();
            return;
        }
        self.actions.push_back(Action::Dissociate);
        match self.stay || self.watching {
            true => self.wait(now),
            false => self.finish(End::Over(cause)),
        }
    }

    fn associated(&mut self, now: BootTime) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Associating { joined, others, .. } => {
                self.failures = 0;
                if self.linked {
                    self.actions.push_back(Action::Beat { access: access_of(&joined), next: None });
                }
                let beat_at = now + heartbeat_of(&joined);
                self.state = State::Connected { joined, others, beat_at, since: now };
            }
            other => self.state = other,
        }
    }

    fn access_lost(&mut self, now: BootTime) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Connected { joined, others, .. } => {
                self.state = State::Associating { joined, others, until: now + ASSOCIATION_DEADLINE };
            }
            other => self.state = other,
        }
    }

    fn association_failed(&mut self, why: Refusal, now: BootTime) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Associating { joined, others, .. } | State::Connected { joined, others, .. } => {
                self.abandon(&joined);
                self.join_next(others, why, now);
            }
            other => {
                self.state = other;
                self.actions.push_back(Action::Tell(why));
            }
        }
    }

    fn sleep(&mut self, time: Duration, now: BootTime) {
        let State::Connected { joined, beat_at, .. } = &mut self.state else { return };
        if !self.linked {
            return;
        }
        // One interval more: waking up takes time, too.
        let next = Some(Millis::from(time + heartbeat_of(joined)));
        *beat_at = now + time;
        let access = access_of(joined);
        self.actions.push_back(Action::Beat { access, next });
    }

    /// Gives a session back that could not be used.
    fn abandon(&mut self, joined: &Joined) {
        self.actions.push_back(Action::Dissociate);
        self.say_leave(access_of(joined));
    }

    fn say_leave(&mut self, access: Access) {
        if self.linked {
            let Access { session, incarnation, .. } = access;
            self.actions.push_back(Action::Send(FromTerminal::Leave { session, incarnation }));
        } else {
            // One is enough: a second session cannot be opened without a link.
            self.owed = Some(access);
        }
    }

    fn give_up(&mut self, why: Refusal, now: BootTime) {
        match self.stay || self.watching {
            true => {
                self.actions.push_back(Action::Tell(why));
                self.wait(now);
            }
            false => self.finish(End::Refused(why)),
        }
    }

    fn wait(&mut self, now: BootTime) {
        let longest = if self.watching { LONGEST_WATCH } else { LONGEST_WAIT };
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { until: now + wait };
    }

    /// The access that stands, is being made, or is being left.
    pub fn access(&self) -> Option<Access> {
        match &self.state {
            State::Associating { joined, .. } | State::Connected { joined, .. } => Some(access_of(joined)),
            State::Leaving { access, .. } => Some(*access),
            State::Idle
            | State::Scanning { .. }
            | State::Asking { .. }
            | State::Joining { .. }
            | State::Waiting { .. }
            | State::Finished => None,
        }
    }
}

fn access_of(joined: &Joined) -> Access {
    Access { service: joined.service, session: joined.session, incarnation: joined.incarnation }
}

fn heartbeat_of(joined: &Joined) -> Duration {
    Duration::from(joined.heartbeat).clamp(*HEARTBEAT.start(), *HEARTBEAT.end())
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
