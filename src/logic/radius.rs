//! Decides when a request goes to which RADIUS server, and when it is given up (RFC 2866, 4.1; RFC 5080, 2.2).
//!
//! ```text
//!            room at a server                    answered
//!   waiting ------------------> on its way(server, try) ------> over
//!      ^                            |  silence: the next try, with twice the patience
//!      |                            |  the last try: the server is down, and another one is asked
//!      +----------------------------+  no server is left: what must arrive waits, the rest is given up
//!
//!   server:  up --- the last try of a request was not answered ---> down --- REVIVE ---> on trial (one request)
//!             ^------------------- an answer ---------------------------------------------/
//! ```
//!
//! Of accounting each try is a packet of its own, with an identifier of its own: what it says of its delay has changed.
//! A question is sent again as it was, so that its server knows it again (RFC 2865, 3, Identifier). The answer to any try
//! counts. Of one subject (a session) one request is on its way at a time, in the order they came; one about everything
//! is on its way alone.
//!
//! Held to, for every short history, by `tests::no_short_history_breaks_the_rules`:
//!
//! * Every request ends exactly once: answered, superseded, or told as lost.
//! * Requests of one subject never overtake each other.
//! * While a server is down nothing is sent to it, and on trial one request at a time.
//!
//! Not here: what a request says (`gateway/radius/`), sessions (`logic/accounting.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{BootTime, Gather};

/// How long a server that does not answer is left in peace.
const REVIVE: Duration = Duration::from_secs(30);

/// Requests on their way to one server. Each may have four identifiers in use, of 256.
const WINDOW: usize = 48;

/// The subject of a request that all others wait for, and that waits for all before it: that accounting begins or ends.
pub const EVERYTHING: u64 = 0;

/// The longest wait for one answer (RFC 5080, 2.2.1, MRT).
const MOST_PATIENCE: Duration = Duration::from_secs(16);

/// A request, numbered by whoever has it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What may happen to a request that cannot be delivered. The first is thrown away first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worth {
    /// A later one of the same subject says all that it says.
    Interim,
    /// One that the end of its subject repeats for the most part.
    Start,
    /// The only one that says how it ended.
    Stop,
    /// Somebody waits for the answer and will not for long: it is given up when every server was asked.
    Question,
}

/// A fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// To be sent.
    Submit {
        /// Which.
        ticket: Ticket,
        /// About what.
        subject: u64,
        /// How much it matters.
        worth: Worth,
        /// Since when it is true: it may have waited for a daemon before this one.
        since: BootTime,
    },
    /// A good answer has come to what was sent with this identifier.
    Answered {
        /// From which server.
        server: usize,
        /// To which identifier.
        identifier: u8,
    },
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it.
    Send {
        /// What.
        ticket: Ticket,
        /// To which server.
        server: usize,
        /// With which identifier. One that this request had before at this server: the same packet again.
        identifier: u8,
        /// How long it has waited (Acct-Delay-Time).
        delay: Duration,
    },
    /// It was answered by this server, to what was sent with this identifier: forget it.
    Done {
        /// Which.
        ticket: Ticket,
    },
    /// A later one took its place: forget it.
    Superseded {
        /// Which.
        ticket: Ticket,
    },
    /// It was given up: no server answered, or more wait than are kept.
    Lost {
        /// Which.
        ticket: Ticket,
        /// What is lost with it.
        worth: Worth,
    },
}

/// How a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing speaks against it.
    Up,
    /// It does not answer, since then.
    Silent(BootTime),
}

/// Patience with servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the first answer; each try doubles it.
    pub first: Duration,
    /// Packets to one server before another one is asked.
    pub tries: u32,
    /// Requests kept.
    pub most: usize,
}

/// Requests to servers that can stand for each other, the first one first.
#[derive(Debug)]
pub struct Requests {
    patience: Patience,
    servers: Vec<Server>,
    waiting: Waiting,
    on_the_way: BTreeMap<Ticket, Flight>,
    actions: VecDeque<Action>,
}

/// Requests that wait, in the order of their tickets.
#[derive(Debug, Default)]
struct Waiting {
    by_ticket: BTreeMap<Ticket, Request>,
    by_worth: BTreeSet<(Worth, Ticket)>,
    /// The one of each subject that a later one supersedes.
    interims: BTreeMap<u64, Ticket>,
}

#[derive(Clone, Debug, Default)]
struct Server {
    /// Since when, and until when nothing is sent there.
    silent: Option<(BootTime, BootTime)>,
    next: u8,
    identifiers: BTreeMap<u8, Ticket>,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    ticket: Ticket,
    subject: u64,
    worth: Worth,
    since: BootTime,
    /// How many servers have not answered it.
    asked: usize,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    request: Request,
    server: usize,
    identifier: u8,
    tries: u32,
    due: BootTime,
}

impl Requests {
    /// For so many servers, none of which is known to be down.
    pub fn new(servers: usize, patience: Patience) -> Self {
        let servers = vec![Server::default(); servers];
        Self {
            patience,
            servers,
            waiting: Waiting::default(),
            on_the_way: BTreeMap::new(),
            actions: VecDeque::new(),
        }
    }

    /// Takes in one fact. Answers that belong to nothing are dropped.
    pub fn handle_input(&mut self, input: Input, now: BootTime) {
        match input {
            Input::Submit { ticket, subject, worth, since } => {
                if worth != Worth::Question
                    && let Some(request) = self.waiting.interim_of(subject)
                {
                    self.supersede(request);
                }
                self.waiting.insert(Request { ticket, subject, worth, since, asked: 0 });
                self.make_room();
            }
            Input::Answered { server, identifier } => {
                let Some(found) = self.servers.get_mut(server) else { return };
                let Some(ticket) = found.identifiers.get(&identifier).copied() else { return };
                found.silent = None;
                // It may have gone to other servers since, or have come back to wait.
                let waited = self.waiting.remove(ticket);
                if self.on_the_way.remove(&ticket).is_some() || waited.is_some() {
                    self.actions.push_back(Action::Done { ticket });
                }
                self.forget(ticket);
            }
        }
        self.send(now);
    }

    /// The next thing to do, oldest first. Drain after every `handle_*` call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` is next worth calling.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let due = self.on_the_way.values().map(|flight| flight.due).min();
        let revived = match self.waiting.by_ticket.is_empty() {
            true => None,
            false => self.servers.iter().filter_map(|server| server.silent).map(|(_, until)| until).min(),
        };
        // One that is on trial and was asked answers, or its flight is due.
        let revived = revived.filter(|_| self.on_the_way.is_empty());
        [due, revived].into_iter().flatten().min()
    }

    /// Lets time pass up to `now`. Calling early, late or twice is harmless.
    pub fn handle_timeout(&mut self, now: BootTime) {
        let due: Vec<Ticket> = self
            .on_the_way
            .iter()
            .filter(|(_, flight)| flight.due <= now)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in due {
            let Some(flight) = self.on_the_way.remove(&ticket) else { continue };
            let is_down = self.servers[flight.server].silent.is_some_and(|(_, until)| until > now);
            if flight.tries < self.patience.tries && !is_down {
                self.fly(flight.request, flight.server, Some(&flight), now);
                continue;
            }
            let since = self.servers[flight.server].silent.map_or(now, |(since, _)| since);
            if !is_down {
                self.servers[flight.server].silent = Some((since, now + REVIVE));
            }
            self.come_back(Request { asked: flight.request.asked + 1, ..flight.request });
        }
        self.send(now);
    }

    /// How each server stands.
    pub fn standings(&self) -> impl Iterator<Item = Standing> {
        self.servers.iter().map(|server| match server.silent {
            None => Standing::Up,
            Some((since, _)) => Standing::Silent(since),
        })
    }

    /// Requests that are not answered yet, in their order, and since when each waits.
    pub fn open(&self) -> impl Iterator<Item = (Ticket, BootTime)> {
        let on_the_way = self.on_the_way.values().map(|flight| &flight.request);
        let mut open: Vec<_> = on_the_way
            .chain(self.waiting.by_ticket.values())
            .map(|request| (request.ticket, request.since))
            .collect();
        open.sort_unstable();
        open.into_iter()
    }

    /// Whether nothing is left to be answered.
    pub fn is_idle(&self) -> bool {
        self.waiting.by_ticket.is_empty() && self.on_the_way.is_empty()
    }

    /// What comes now, or waits, says all that this one says.
    fn supersede(&mut self, request: Request) {
        self.waiting.remove(request.ticket);
        self.forget(request.ticket);
        self.actions.push_back(Action::Superseded { ticket: request.ticket });
    }

    fn make_room(&mut self) {
        while self.waiting.by_ticket.len() > self.patience.most {
            let Some(request) = self.waiting.least() else { return };
            self.waiting.remove(request.ticket);
            self.lose(request);
        }
    }

    fn lose(&mut self, request: Request) {
        self.forget(request.ticket);
        self.actions.push_back(Action::Lost { ticket: request.ticket, worth: request.worth });
    }

    fn forget(&mut self, ticket: Ticket) {
        for server in &mut self.servers {
            server.identifiers.retain(|_, of| *of != ticket);
        }
    }

    /// A request that a server did not answer, ahead of all that came after it.
    fn come_back(&mut self, request: Request) {
        if request.worth == Worth::Question && request.asked >= self.servers.len() {
            return self.lose(request);
        }
        let later = |other: &Request| other.subject == request.subject && other.ticket > request.ticket;
        if request.worth == Worth::Interim && self.waiting.by_ticket.values().any(later) {
            return self.supersede(request);
        }
        self.waiting.insert(request);
        self.make_room();
    }

    /// Sends what may be sent now.
    fn send(&mut self, now: BootTime) {
        let mut busy: BTreeSet<u64> = self.on_the_way.values().map(|flight| flight.request.subject).gather();
        let mut after = None;
        if busy.contains(&EVERYTHING) {
            return;
        }
        while let Some(request) = self.waiting.after(after) {
            after = Some(request.ticket);
            if request.subject == EVERYTHING && !busy.is_empty() {
                return;
            }
            if !busy.insert(request.subject) {
                continue;
            }
            match self.server_for(&request, now) {
                Some(server) => {
                    self.waiting.remove(request.ticket);
                    self.fly(request, server, None, now);
                    if request.subject == EVERYTHING {
                        return;
                    }
                }
                None if request.worth == Worth::Question && self.all_are_down(now) => {
                    self.waiting.remove(request.ticket);
                    self.lose(request);
                }
                // Where one has no room the next one has none.
                None => return,
            }
        }
    }

    /// The first server that would take it, beginning behind those that have not answered it.
    fn server_for(&self, request: &Request, now: BootTime) -> Option<usize> {
        let count = self.servers.len();
        (request.asked..request.asked + count).map(|at| at % count).find(|at| {
            let flights = self.on_the_way.values().filter(|flight| flight.server == *at).count();
            match self.servers[*at].silent {
                None => flights < WINDOW,
                Some((_, until)) => until <= now && flights == 0,
            }
        })
    }

    fn all_are_down(&self, now: BootTime) -> bool {
        self.servers.iter().all(|server| server.silent.is_some_and(|(_, until)| until > now))
    }

    fn fly(&mut self, request: Request, server: usize, before: Option<&Flight>, now: BootTime) {
        let tries = before.map_or(1, |before| before.tries + 1);
        let same = before.filter(|_| request.worth == Worth::Question).map(|before| before.identifier);
        let found = &mut self.servers[server];
        let identifier = same.unwrap_or_else(|| {
            // One that is waited for would be two packets at once. There are fewer of these than identifiers (WINDOW).
            let in_use = self.on_the_way.values().filter(|flight| flight.server == server);
            let in_use: BTreeSet<u8> = in_use.map(|flight| flight.identifier).gather();
            while in_use.contains(&found.next) {
                found.next = found.next.wrapping_add(1);
            }
            let identifier = found.next;
            found.next = identifier.wrapping_add(1);
            identifier
        });
        found.identifiers.insert(identifier, request.ticket);
        let patience = self.patience.first.saturating_mul(1 << (tries - 1).min(10)).min(MOST_PATIENCE);
        let patience = patience.max(self.patience.first);
        self.on_the_way
            .insert(request.ticket, Flight { request, server, identifier, tries, due: now + patience });
        let delay = now.since(request.since);
        self.actions.push_back(Action::Send { ticket: request.ticket, server, identifier, delay });
    }
}

impl Waiting {
    fn insert(&mut self, request: Request) {
        self.by_worth.insert((request.worth, request.ticket));
        if request.worth == Worth::Interim {
            self.interims.insert(request.subject, request.ticket);
        }
        self.by_ticket.insert(request.ticket, request);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Request> {
        let request = self.by_ticket.remove(&ticket)?;
        self.by_worth.remove(&(request.worth, ticket));
        if self.interims.get(&request.subject) == Some(&ticket) {
            self.interims.remove(&request.subject);
        }
        Some(request)
    }

    fn interim_of(&self, subject: u64) -> Option<Request> {
        self.interims.get(&subject).and_then(|ticket| self.by_ticket.get(ticket)).copied()
    }

    /// The oldest of those that matter least.
    fn least(&self) -> Option<Request> {
        self.by_worth.first().and_then(|(_, ticket)| self.by_ticket.get(ticket)).copied()
    }

    fn after(&self, ticket: Option<Ticket>) -> Option<Request> {
        let next = Ticket(ticket.map_or(0, |ticket| ticket.0 + 1));
        self.by_ticket.range(next..).next().map(|(_, request)| *request)
    }
}

#[cfg(test)]
#[path = "radius_tests.rs"]
mod tests;
