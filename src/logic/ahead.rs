//! Access codes that a terminal holds before it comes: asked for while there is a coordinator to ask, one for each gateway
//! of the areas that its person named, and good where there is none.
//!
//! ```text
//!            linked, listed, not here        Joined              over there, replaced, used and left, too old
//!  (nothing) ------------------------> Asked -------> Held (kept) -------------------------------------------> (nothing)
//!      ^                                 |
//!      +---- later ----------------------+ Refused, late, the link is lost
//! ```
//!
//! It joins nowhere: the agent does, with what is held here (`agent.rs`).
//!
//! Invariants, held by `every_short_history`: one question is open at most, and none without a link; nothing is asked for
//! a gateway whose code is held, or at which there is an access; what is held is kept, and what is kept is held.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::agent::{ANSWER_DEADLINE, Access};
use crate::model::{BootTime, Bssid, Few, Incarnation, MacAddr, ServiceId, SessionId};
use crate::wire::seal::OfferedTo;
use crate::wire::terminal::Joined;

/// Codes held at most: the coordinator follows eight sessions of a terminal.
const MOST: usize = 4;
/// After a refusal.
const AGAIN: Duration = Duration::from_secs(300);
/// Its questions are told apart from those of the agent, which begin at 1.
const FIRST_REQUEST: u64 = 1 << 48;

/// Where a code is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The gateway.
    pub service: ServiceId,
    /// One of its access points.
    pub bssid: Bssid,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The coordinator can be asked.
    LinkUp,
    /// It cannot.
    LinkDown,
    /// All that the directory lists of the areas that were named, best first.
    Listed(Vec<Place>),
    /// The answer to [`Action::Reserve`], with its code opened.
    Joined(Box<Joined>),
    /// There is none.
    Refused(u64),
    /// The coordinator says that a session is over.
    Over(SessionId, Incarnation),
    /// The access that the agent has, is making or is leaving.
    Here(Option<Access>),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for a code ahead of time.
    Reserve {
        /// Where, and as whom.
        to: OfferedTo,
        /// Comes back in the answer.
        request: u64,
    },
    /// Keep these and no others.
    Keep(Vec<Joined>),
    /// Give a session back that nobody wants.
    Leave(SessionId, Incarnation),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Ahead {
    station: MacAddr,
    wanted: Vec<Place>,
    held: Few<ServiceId, (Joined, BootTime)>,
    asked: Option<(Place, u64, BootTime)>,
    not_before: BTreeMap<ServiceId, BootTime>,
    here: Option<Access>,
    linked: bool,
    next_request: u64,
    actions: VecDeque<Action>,
}

impl Ahead {
    /// With what was kept.
    pub fn new(station: MacAddr, kept: Vec<Joined>, now: BootTime) -> Self {
        let mut held = Few::default();
        for joined in kept.into_iter().take(MOST) {
            held.insert(joined.service, (joined, now));
        }
        Self {
            station,
            wanted: Vec::new(),
            held,
            asked: None,
            not_before: BTreeMap::new(),
            here: None,
            linked: false,
            next_request: FIRST_REQUEST,
            actions: VecDeque::new(),
        }
    }

    /// Whether an answer is to a question of this machine.
    pub fn is_mine(request: u64) -> bool {
        request >= FIRST_REQUEST
    }

    /// What is held.
    pub fn held(&self) -> impl Iterator<Item = &Joined> {
        self.held.values().map(|(joined, _)| joined)
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Ahead::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let late = self.asked.map(|(.., until)| until);
        let again = self.not_before.values().copied().min().filter(|_| self.linked);
        let unused = self.held.values().filter(|(joined, _)| !self.is_used(joined));
        let old = unused.filter_map(|(joined, since)| Some(*since + joined.ahead?.into())).min();
        [late, again, old].into_iter().flatten().min()
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, now: BootTime) {
        match input {
            Input::LinkUp => {
                self.linked = true;
                self.not_before.clear();
            }
            Input::LinkDown => {
                self.linked = false;
                // The answer went with the link, and the session with nobody who comes.
                self.asked = None;
            }
            Input::Listed(places) => self.wanted = places,
            Input::Joined(joined) => self.joined(*joined, now),
            Input::Refused(request) => {
                if let Some((place, ..)) = self.asked.take_if(|(_, asked, _)| *asked == request) {
                    self.not_before.insert(place.service, now + AGAIN);
                }
            }
            Input::Over(session, incarnation) => {
                self.drop_held(|joined| (joined.session, joined.incarnation) == (session, incarnation));
            }
            Input::Here(access) => self.here(access),
        }
        self.ask(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: BootTime) {
        if let Some((place, ..)) = self.asked.take_if(|(.., until)| *until <= now) {
            self.not_before.insert(place.service, now + AGAIN);
        }
        self.not_before.retain(|_, until| *until > now);
        let old: Vec<ServiceId> = self
            .held
            .iter()
            .filter(|(_, (joined, since))| joined.ahead.is_some_and(|ahead| *since + ahead.into() <= now))
            .map(|(service, _)| *service)
            .collect();
        // One that is being used is as old as it is.
        let used = self.here.map(|access| access.service);
        self.drop_held(|joined| old.contains(&joined.service) && Some(joined.service) != used);
        self.ask(now);
    }

    fn joined(&mut self, joined: Joined, now: BootTime) {
        let place = self.asked.take_if(|(_, asked, _)| *asked == joined.request).map(|(place, ..)| place);
        let fits = place.is_some_and(|place| {
            (place.service, place.bssid) == (joined.service, joined.bssid) && joined.ahead.is_some()
        }) && !self.is_used(&joined);
        if !fits {
            // Too late, of somewhere else, of where there is access by now, or of a coordinator that waits as for who is at the door.
            self.actions.push_back(Action::Leave(joined.session, joined.incarnation));
            if let Some(place) = place {
                self.not_before.insert(place.service, now + AGAIN);
            }
            return;
        }
        self.held.insert(joined.service, (joined, now));
        self.keep();
    }

    fn here(&mut self, access: Option<Access>) {
        let before = std::mem::replace(&mut self.here, access);
        if let Some(access) = access {
            // A join there has ended the code that was given before.
            self.drop_held(|joined| joined.service == access.service && !is_of(joined, access));
        }
        if let Some(before) = before.filter(|before| Some(*before) != access) {
            self.drop_held(|joined| is_of(joined, before));
        }
    }

    fn drop_held(&mut self, is_over: impl Fn(&Joined) -> bool) {
        let before = self.held.len();
        self.held.retain(|_, (joined, _)| !is_over(joined));
        if self.held.len() != before {
            self.keep();
        }
    }

    /// Whether there is an access at its gateway.
    fn is_used(&self, joined: &Joined) -> bool {
        self.here.is_some_and(|access| access.service == joined.service)
    }

    fn keep(&mut self) {
        let kept = self.held().cloned().collect();
        self.actions.push_back(Action::Keep(kept));
    }

    fn ask(&mut self, now: BootTime) {
        if !self.linked || self.asked.is_some() || self.held.len() >= MOST {
            return;
        }
        let here = self.here.map(|access| access.service);
        let next = self.wanted.iter().find(|place| {
            !self.held.contains_key(&place.service)
                && Some(place.service) != here
                && self.not_before.get(&place.service).is_none_or(|until| *until <= now)
        });
        let Some(place) = next.copied() else { return };
        let request = self.next_request;
        self.next_request += 1;
        self.asked = Some((place, request, now + ANSWER_DEADLINE));
        let to = OfferedTo { bssid: place.bssid, service: place.service, station: self.station };
        self.actions.push_back(Action::Reserve { to, request });
    }
}

fn is_of(joined: &Joined, access: Access) -> bool {
    (joined.session, joined.incarnation) == (access.session, access.incarnation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::histories::each_history;
    use crate::model::{Credential, Millis, Secret, Ssid};

    const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const SECOND: Duration = Duration::from_secs(1);
    /// Longer than any history.
    const VALID: Duration = Duration::from_secs(6000);

    fn place(number: u8) -> Place {
        Place { service: ServiceId([number; 16]), bssid: Bssid(MacAddr([2, 0, 0, 0, 1, number])) }
    }

    fn access(joined: &Joined) -> Access {
        Access { service: joined.service, session: joined.session, incarnation: joined.incarnation }
    }

    #[derive(Clone)]
    struct World {
        ahead: Ahead,
        now: BootTime,
        linked: bool,
        here: Option<Access>,
        /// What was asked and not answered, newest last.
        asked: Vec<(OfferedTo, u64)>,
        kept: Vec<Joined>,
        joins: u8,
    }

    impl World {
        fn new() -> Self {
            let mut ahead = Ahead::new(STATION, Vec::new(), BootTime::default());
            ahead.handle_input(Input::Listed(vec![place(1), place(2)]), BootTime::default());
            Self {
                ahead,
                now: BootTime::default(),
                linked: false,
                here: None,
                asked: Vec::new(),
                kept: Vec::new(),
                joins: 0,
            }
        }

        fn input(&mut self, input: Input) {
            self.ahead.handle_input(input, self.now);
            self.settle();
        }

        fn link(&mut self) {
            self.linked = !self.linked;
            self.input(if self.linked { Input::LinkUp } else { Input::LinkDown });
        }

        fn answer(&mut self, oldest: bool, ahead: bool) {
            let at = if oldest { 0 } else { self.asked.len().wrapping_sub(1) };
            let Some((to, request)) = self.asked.get(at).copied() else { return };
            self.asked.remove(at);
            self.joins += 1;
            let joined = Joined {
                code: None,
                ssid: Ssid::new("a").unwrap(),
                ahead: ahead.then_some(Millis::from(VALID)),
                bssid: to.bssid,
                request,
                service: to.service,
                session: SessionId([self.joins; 16]),
                heartbeat: Millis(1),
                credential: Credential::Psk { passphrase: Secret::new("p") },
                incarnation: Incarnation(1),
            };
            self.input(Input::Joined(Box::new(joined)));
        }

        fn refuse(&mut self) {
            if let Some((_, request)) = self.asked.pop() {
                self.input(Input::Refused(request));
            }
        }

        fn comes(&mut self) {
            self.here = self.kept.first().map(access);
            self.input(Input::Here(self.here));
        }

        fn goes(&mut self) {
            self.here = None;
            self.input(Input::Here(None));
        }

        fn joins_anew(&mut self) {
            self.joins += 1;
            let session = SessionId([self.joins; 16]);
            self.here = Some(Access { service: place(1).service, session, incarnation: Incarnation(9) });
            self.input(Input::Here(self.here));
        }

        fn ends(&mut self) {
            if let Some(joined) = self.kept.first().cloned() {
                self.input(Input::Over(joined.session, joined.incarnation));
                assert!(!self.kept.contains(&joined));
            }
        }

        fn wait(&mut self) {
            self.now = self.now + AGAIN;
            self.ahead.handle_timeout(self.now);
            self.settle();
        }

        fn settle(&mut self) {
            while let Some(action) = self.ahead.poll_action() {
                match action {
                    Action::Reserve { to, request } => {
                        assert!(self.linked, "asked without a link");
                        assert!(self.kept.iter().all(|joined| joined.service != to.service), "it has one");
                        assert_ne!(Some(to.service), self.here.map(|access| access.service), "it is there");
                        assert!(Ahead::is_mine(request) && to.station == STATION);
                        self.asked.push((to, request));
                    }
                    Action::Keep(kept) => self.kept = kept,
                    Action::Leave(session, _) => {
                        assert!(self.kept.iter().all(|joined| joined.session != session));
                    }
                }
            }
            assert!(self.ahead.held().eq(self.kept.iter()), "what is held is kept");
            let mut services: Vec<ServiceId> = self.kept.iter().map(|joined| joined.service).collect();
            services.dedup();
            assert_eq!(services.len(), self.kept.len());
            assert!(self.ahead.asked.is_none() || self.linked);
            assert!(self.ahead.poll_timeout().is_none_or(|due| due > self.now), "it is done when it is due");
        }
    }

    #[test]
    fn every_short_history() {
        let steps: [fn(&mut World); 10] = [
            World::link,
            |world| world.answer(false, true),
            |world| world.answer(true, true),
            |world| world.answer(false, false),
            World::refuse,
            World::comes,
            World::goes,
            World::joins_anew,
            World::ends,
            World::wait,
        ];
        let mut both = 0;
        each_history(&World::new(), steps.len(), 5, &mut |world, history| {
            steps[history[history.len() - 1]](world);
            if history.len() < 5 {
                return;
            }
            both += usize::from(world.kept.len() == 2);
            // With a link and answers everything is had in the end that is not being used already.
            if !world.linked {
                world.link();
            }
            world.goes();
            for _ in 0..4 {
                world.wait();
                world.answer(false, true);
            }
            assert_eq!(world.kept.len(), 2, "history {history:?}: {:?}", world.ahead);
        });
        assert!(both > 0);
    }

    #[test]
    fn what_is_held_grows_old_and_survives_a_restart() {
        let mut world = World::new();
        world.link();
        world.answer(false, true);
        world.answer(false, true);
        assert_eq!(world.kept.len(), 2);
        let mut again = Ahead::new(STATION, world.kept.clone(), world.now);
        assert!(again.held().eq(world.kept.iter()));
        // One is used from before its time is over until it is left.
        again.handle_input(Input::Here(world.kept.first().map(access)), world.now);
        let over = world.now + VALID;
        assert_eq!(again.poll_timeout(), Some(over));
        again.handle_timeout(over + SECOND);
        assert!(again.held().eq(world.kept.iter().take(1)), "the other one is too old");
        again.handle_input(Input::Here(None), over + SECOND);
        assert_eq!(again.held().count(), 0);
    }
}
