//! Decides which sessions a RADIUS server is told of, and what of each (RFC 2866).
//!
//! ```text
//!             let in                         out, over, the gateway stops
//!   (none) ----------> open: Start ------------------------------------> over: Stop
//!                        |   ^
//!     INTERIM is over ---+   +--- measured: Interim-Update
//! ```
//!
//! A session is one grant at one station. What it moved is what the grant has moved since the session began, or since
//! the last that was told of a session before it: bytes that pass while the daemon is away count in the next session
//! and none counts twice.
//!
//! Held to, for every short history, by `tests::no_short_history_breaks_the_rules`:
//!
//! * A Start comes first, one Stop last, and what a session moved never shrinks.
//! * All that a grant moved is told: the sums of its sessions are what its counters say.
//!
//! Not here: how a server is reached (`logic/radius.rs`), what a packet says (`gateway/radius/`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::model::{BootTime, GrantId, MacAddr, Traffic};

/// Sessions that are due within this time of each other are measured at once: one look into the kernel.
const TOGETHER: Duration = Duration::from_secs(2);

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Counts the sessions of one run.
    pub number: u64,
    /// Its grant.
    pub grant: GrantId,
    /// Its station.
    pub station: MacAddr,
    /// When it began.
    pub since: BootTime,
    /// How often it is measured; `None`: never.
    pub interim: Option<Duration>,
    /// It ends when nothing was moved for so long; `None`: it does not.
    pub idle: Option<Duration>,
    /// What the grant had moved when the session began.
    before: Traffic,
    /// What the session moved, as far as is known.
    moved: Traffic,
    /// When something was moved last, as far as is known.
    active: BootTime,
    due: Option<BootTime>,
    told: BootTime,
}

/// What is told of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has begun.
    Start,
    /// It goes on.
    Interim,
    /// It is over.
    Stop(Ending),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its grant ended.
    Cause(crate::model::Cause),
    /// Its station went, and its grant waits for the next one.
    Gone,
    /// The gateway stops telling.
    Stopped,
}

/// A fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The kernel lets a station in.
    Opened {
        /// By this grant.
        grant: GrantId,
        /// Whom.
        station: MacAddr,
        /// What the grant has moved so far.
        moved: Traffic,
        /// How often the session is measured.
        interim: Option<Duration>,
        /// When nothing moved for so long it is to end.
        idle: Option<Duration>,
    },
    /// It lets it in no longer by this grant.
    Closed {
        /// By which grant it did.
        grant: GrantId,
        /// Whom.
        station: MacAddr,
        /// What the grant has moved; `None`: nobody knows, and what was known last counts.
        moved: Option<Traffic>,
        /// Why.
        ending: Ending,
    },
    /// What the grant of a station has moved.
    Measured {
        /// Which grant.
        grant: GrantId,
        /// Of which station.
        station: MacAddr,
        /// In all.
        moved: Traffic,
    },
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the server.
    Tell {
        /// What.
        what: Told,
        /// Of which session.
        session: Session,
        /// What it has moved.
        moved: Traffic,
        /// How long it lasts or lasted.
        time: Duration,
    },
    /// Measure these; comes back as [`Input::Measured`].
    Measure {
        /// Stations.
        stations: BTreeSet<MacAddr>,
    },
    /// Nothing was moved for as long as may be: end this grant.
    Idle {
        /// Which.
        grant: GrantId,
    },
}

/// The sessions of one gateway.
#[derive(Debug, Default)]
pub struct Accounting {
    sessions: BTreeMap<(MacAddr, GrantId), Session>,
    due: BTreeSet<(BootTime, MacAddr, GrantId)>,
    /// What a server was told that each grant moved in all.
    told: BTreeMap<GrantId, Traffic>,
    next: u64,
    actions: VecDeque<Action>,
}

impl Accounting {
    /// Goes on after one that told this of each grant.
    pub fn new(told: BTreeMap<GrantId, Traffic>) -> Self {
        Self { told, ..Self::default() }
    }

    /// Takes in one fact. What is said of unknown sessions is dropped.
    pub fn handle_input(&mut self, input: Input, now: BootTime) {
        match input {
            Input::Opened { grant, station, moved, interim, idle } => {
                if self.sessions.contains_key(&(station, grant)) {
                    return;
                }
                // A counter that began anew has nothing that was told before.
                let before = self.told.get(&grant).copied().filter(|told| is_beyond(moved, *told));
                let mut session = Session {
                    number: self.next,
                    grant,
                    station,
                    since: now,
                    interim,
                    idle,
                    before: before.unwrap_or(moved),
                    moved: Traffic::default(),
                    active: now,
                    due: None,
                    told: now,
                };
                self.next += 1;
                session.learn(moved, now);
                self.tell(Told::Start, &session, now);
                self.plan(session);
            }
            Input::Closed { grant, station, moved, ending } => {
                let Some(mut session) = self.take(station, grant) else { return };
                if let Some(moved) = moved {
                    session.learn(moved, now);
                }
                self.tell(Told::Stop(ending), &session, now);
            }
            Input::Measured { grant, station, moved } => {
                let Some(mut session) = self.take(station, grant) else { return };
                session.learn(moved, now);
                if session.interim.is_some_and(|interim| session.told + interim <= now + TOGETHER) {
                    session.told = now;
                    self.tell(Told::Interim, &session, now);
                }
                if session.idle.is_some_and(|idle| session.active + idle <= now) {
                    self.postpone(session, now);
                    self.actions.push_back(Action::Idle { grant });
                } else {
                    self.plan(session);
                }
            }
        }
    }

    /// The next thing to do, oldest first. Drain after every `handle_*` call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` is next worth calling.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Lets time pass up to `now`. Calling early, late or twice is harmless.
    pub fn handle_timeout(&mut self, now: BootTime) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        let due: Vec<_> = self.due.iter().take_while(|(at, ..)| *at <= now + TOGETHER).copied().collect();
        let mut stations = BTreeSet::new();
        for (_, station, grant) in due {
            let Some(session) = self.take(station, grant) else { continue };
            // Again in its time, also where nobody could measure.
            self.postpone(session, now);
            stations.insert(station);
        }
        self.actions.push_back(Action::Measure { stations });
    }

    /// Sessions that are open.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// Those of one station.
    pub fn of_station(&self, station: MacAddr) -> impl Iterator<Item = &Session> {
        let following = self.sessions.range((station, GrantId([0; 16]))..);
        following.take_while(move |((of, _), _)| *of == station).map(|(_, session)| session)
    }

    /// What a server was told that each grant moved in all.
    pub fn told(&self) -> &BTreeMap<GrantId, Traffic> {
        &self.told
    }

    /// The grant is over: nothing will be told of it again. Whether anything was.
    pub fn forget(&mut self, grant: GrantId) -> bool {
        self.told.remove(&grant).is_some()
    }

    fn tell(&mut self, what: Told, session: &Session, now: BootTime) {
        // A Start says nothing of bytes.
        let told = if what == Told::Start { session.before } else { session.before + session.moved };
        self.told.insert(session.grant, told);
        let (moved, time) = (session.moved, now.since(session.since));
        self.actions.push_back(Action::Tell { what, session: *session, moved, time });
    }

    fn take(&mut self, station: MacAddr, grant: GrantId) -> Option<Session> {
        let session = self.sessions.remove(&(station, grant))?;
        if let Some(at) = session.due {
            self.due.remove(&(at, station, grant));
        }
        Some(session)
    }

    /// Keeps a session, and when it is to be measured next.
    fn plan(&mut self, mut session: Session) {
        let interim = session.interim.map(|interim| session.told + interim);
        let idle = session.idle.map(|idle| session.active + idle);
        session.due = [interim, idle].into_iter().flatten().min();
        self.keep(session);
    }

    fn postpone(&mut self, mut session: Session, now: BootTime) {
        session.due = [session.interim, session.idle].into_iter().flatten().min().map(|time| now + time);
        self.keep(session);
    }

    fn keep(&mut self, session: Session) {
        let (station, grant) = (session.station, session.grant);
        self.due.extend(session.due.map(|at| (at, station, grant)));
        self.sessions.insert((station, grant), session);
    }
}

impl Session {
    fn learn(&mut self, moved: Traffic, now: BootTime) {
        let own = Traffic {
            up_bytes: moved.up_bytes.saturating_sub(self.before.up_bytes),
            down_bytes: moved.down_bytes.saturating_sub(self.before.down_bytes),
            up_packets: moved.up_packets.saturating_sub(self.before.up_packets),
            down_packets: moved.down_packets.saturating_sub(self.before.down_packets),
        };
        // What was told stays told.
        let own = Traffic {
            up_bytes: own.up_bytes.max(self.moved.up_bytes),
            down_bytes: own.down_bytes.max(self.moved.down_bytes),
            up_packets: own.up_packets.max(self.moved.up_packets),
            down_packets: own.down_packets.max(self.moved.down_packets),
        };
        if own != self.moved {
            self.active = now;
        }
        self.moved = own;
    }
}

fn is_beyond(moved: Traffic, told: Traffic) -> bool {
    moved.up_bytes >= told.up_bytes && moved.down_bytes >= told.down_bytes
}

#[cfg(test)]
#[path = "accounting_tests.rs"]
mod tests;
