//! One session: a terminal's presence at one gateway, from the join to the end.
//!
//! ```text
//!            Join                Acknowledged            Heartbeat (in Granting, after a crash, too)
//!   (new) ────────> Granting ──────────────────> Granted ─────────> Active <─────────────┐
//!                      │ patience over              │ nobody came      │ deadline over   │ Heartbeat, or the
//!                      │ (Refuse)                   │ (NeverJoined)    ▼                 │ gateway sees it
//!                      │                            │               Suspect ─────────────┘
//!                      │                            ▼                  │
//!                      │ Acknowledged, ahead                           │
//!                      ├────────────────────> Reserved (waits longer: Heartbeat -> Active, nobody came -> Evicting)
//!                      ▼                                               │ really gone (Silence)
//!   Leave, End ────> Evicting <────────────────────────────────────────┘
//!                      │ the gateway acknowledges          a Join in any state: Granting, one incarnation up
//!                      ▼
//!                    Over <── the gateway ended it by itself (quota, owner), in any state but Evicting
//! ```
//!
//! `Suspect` leaves for `Evicting` in one place, `Session::evict`; the driver makes it durable with one
//! compare-and-swap and one outbox row. Before that point a heartbeat or a join rescues; after it, a join
//! opens the next incarnation, for which the late notice does not count.
//!
//! A reservation is a join whose terminal may come without asking again, with the code that it was given: the gateway
//! holds its grant from now on, and only the first heartbeat is waited for, for longer.
//!
//! Not here: which sessions there are, the brake's counts ([`super::brake`]) and the clock of a million
//! deadlines ([`super::wheel`]). The driver asks the machine only when a deadline really is over.
//!
//! Invariants and what holds them: nobody is evicted for silence before its deadline, or while its gateway
//! sees it, cannot be asked, or the brake holds (`every_short_history`); every join's eviction is asked for
//! at most once (the same); silence ends (`silence_ends_whatever_the_gateway_says`).

use std::time::Duration;

use super::brake::Grip;
use crate::model::{BootTime, Cause, Incarnation};

/// What a lapse leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Ask the gateway first: a phone asleep cannot heartbeat.
    #[default]
    Corroborate,
    /// Evict at once.
    Strict,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the gateway to acknowledge a grant.
    pub grant: Duration,
    /// From the grant to the first heartbeat.
    pub join: Duration,
    /// The same where it was given its code ahead of time.
    pub ahead: Duration,
    /// From one heartbeat to the lapse, when the terminal does not say otherwise.
    pub silence: Duration,
    /// The longest time a terminal may declare itself asleep.
    pub sleep_most: Duration,
    /// For the gateway to answer an inquiry, and between two looks at a suspect.
    pub inquiry: Duration,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The grant is on its way to the gateway.
    Granting,
    /// The gateway admits the station; no heartbeat yet.
    Granted,
    /// The same; its terminal holds the code and comes some day.
    Reserved,
    /// Heartbeats come.
    Active,
    /// They stopped.
    Suspect,
    /// The eviction is decided and on its way.
    Evicting,
    /// Nothing is left to do.
    Over,
}

impl State {
    /// All of them.
    pub const ALL: [State; 7] = [
        State::Granting,
        State::Granted,
        State::Reserved,
        State::Active,
        State::Suspect,
        State::Evicting,
        State::Over,
    ];

    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            State::Granting => "granting",
            State::Granted => "granted",
            State::Reserved => "reserved",
            State::Active => "active",
            State::Suspect => "suspect",
            State::Evicting => "evicting",
            State::Over => "over",
        }
    }

    /// Whether the gateway is to enforce the grant.
    pub fn is_wanted(self) -> bool {
        match self {
            State::Granting | State::Granted | State::Reserved | State::Active | State::Suspect => true,
            State::Evicting | State::Over => false,
        }
    }

    /// Whether heartbeats are expected.
    pub fn is_expected(self) -> bool {
        matches!(self, State::Active | State::Suspect)
    }
}

/// What a gateway says of the station of a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Of the inquiry.
    pub inquiry: u64,
    /// Bytes from the station so far.
    pub up_bytes: u64,
    /// Whether it is associated; `None`: nobody can tell.
    pub associated: Option<bool>,
    /// Since it was last heard; `None`: nobody counts.
    pub inactive: Option<Duration>,
    /// Which join the gateway enforces.
    pub incarnation: Option<Incarnation>,
}

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The terminal asks for access here, for the first time or again.
    Join,
    /// The same, ahead of time.
    Reserve,
    /// The grant could not be kept: nothing was sent.
    NotKept,
    /// The gateway carries out the grant of this join.
    Acknowledged(Incarnation),
    /// The terminal is there; the next heartbeat comes within this time if it says so.
    Heartbeat(Incarnation, Option<Duration>),
    /// What may be done about a suspect now: the answer to [`Action::Consider`].
    Judge {
        /// The brake.
        grip: Grip,
        /// Whether the gateway can be asked.
        reachable: bool,
        /// The number for an inquiry, new each time.
        inquiry: u64,
    },
    /// The gateway's answer, and the brake at that moment.
    Seen(Sight, Grip),
    /// The link to the gateway stands again.
    GatewayUp,
    /// The terminal leaves.
    Leave(Incarnation),
    /// Somebody ends it by hand, or the coordinator for a reason of its own.
    End(Cause),
    /// The gateway has carried out the eviction of this join.
    EvictionAcknowledged(Incarnation),
    /// The gateway ended this join by itself.
    EndedThere(Incarnation, Cause),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Keep the grant of this join and send it.
    Grant(Incarnation),
    /// Tell the terminal that it may join.
    TellJoined(Incarnation),
    /// Tell the terminal that the gateway did not acknowledge within this time.
    TellRefused(Duration),
    /// Tell the terminal that this join is over.
    TellOver(Incarnation, Option<Cause>),
    /// Keep the state: by compare-and-swap, from the first to the second.
    Keep(State, State),
    /// The state, by compare-and-swap, and the notice, in one transaction.
    Evict {
        /// The state left.
        from: State,
        /// Which join.
        incarnation: Incarnation,
        /// Why.
        cause: Cause,
    },
    /// Answer with [`Input::Judge`].
    Consider,
    /// Ask the gateway.
    Inquire(u64),
    /// The session is over: forget it. `kept`: what is stored still has to be removed.
    Forget {
        /// Which join.
        incarnation: Incarnation,
        /// Whether a row is left.
        kept: bool,
    },
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    state: State,
    incarnation: Incarnation,
    policy: Policy,
    /// Whether this join was asked for ahead of time.
    ahead: bool,
    deadline: Option<BootTime>,
    /// The inquiry that is open.
    inquiry: Option<u64>,
    /// What the station had sent at the first answer that could not decide.
    baseline: Option<u64>,
    /// Why it is being evicted.
    cause: Option<Cause>,
    actions: Vec<Action>,
}

impl Session {
    /// A session before its first join.
    pub fn new(policy: Policy) -> Self {
        Self {
            state: State::Over,
            incarnation: Incarnation(0),
            policy,
            ahead: false,
            deadline: None,
            inquiry: None,
            baseline: None,
            cause: None,
            actions: Vec::new(),
        }
    }

    /// A session that was kept. Its full time begins again: nobody is evicted because the coordinator was
    /// away, so a suspect is active again.
    pub fn restored(
        state: State,
        incarnation: Incarnation,
        policy: Policy,
        patience: &Patience,
        now: BootTime,
    ) -> Self {
        let mut session = Self { incarnation, ..Self::new(policy) };
        match state {
            // Perhaps its terminal was told already: it gets the time to say so.
            State::Granting => {
                session.enter(State::Granting, Some(now + patience.grant.max(patience.silence)));
            }
            State::Granted => session.enter(State::Granted, Some(now + patience.join)),
            State::Reserved => session.enter(State::Reserved, Some(now + patience.ahead)),
            State::Active => session.enter(State::Active, Some(now + patience.silence)),
            State::Suspect => {
                session.enter(State::Active, Some(now + patience.silence));
                session.actions.push(Action::Keep(State::Suspect, State::Active));
            }
            State::Evicting => session.enter(State::Evicting, None),
            State::Over => session.over(true),
        }
        session
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Which join this is.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// From now on this policy.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, patience: &Patience, now: BootTime) {
        use State::{Active, Evicting, Granted, Granting, Over, Reserved, Suspect};
        match (self.state, input) {
            (
                Granting | Granted | Reserved | Active | Suspect | Evicting | Over,
                Input::Join | Input::Reserve,
            ) => {
                self.ahead = input == Input::Reserve;
                self.incarnation = self.incarnation.next();
                self.enter(Granting, Some(now + patience.grant));
                self.actions.push(Action::Grant(self.incarnation));
            }
            (Granting, Input::NotKept) => self.over(false),
            (Granted | Reserved | Active | Suspect | Evicting | Over, Input::NotKept) => {}

            (Granting, Input::Acknowledged(incarnation)) if incarnation == self.incarnation => {
                if self.ahead {
                    self.enter(Reserved, Some(now + patience.ahead));
                    // The acknowledgement itself is kept as `Granted`.
                    self.actions.push(Action::Keep(Granted, Reserved));
                } else {
                    self.enter(Granted, Some(now + patience.join));
                }
                self.actions.push(Action::TellJoined(incarnation));
            }
            (Granting | Granted | Reserved | Active | Suspect | Evicting | Over, Input::Acknowledged(_)) => {}

            (_, Input::Heartbeat(incarnation, _)) if incarnation != self.incarnation => {
                // A program of the same terminal that was started before its latest join.
                self.actions.push(Action::TellOver(incarnation, Some(Cause::Replaced)));
            }
            // While granting: it was told that it may join, and this coordinator forgot in a crash.
            (Granting | Granted | Reserved | Active | Suspect, Input::Heartbeat(_, next)) => {
                let from = self.state;
                self.enter(Active, Some(now + heartbeat_due(next, patience)));
                if from != Active {
                    self.actions.push(Action::Keep(from, Active));
                }
            }
            (Evicting | Over, Input::Heartbeat(incarnation, _)) => {
                self.actions.push(Action::TellOver(incarnation, self.cause));
            }

            (Suspect, Input::Judge { grip, reachable, inquiry }) => {
                self.judge(grip, reachable, inquiry, patience, now);
            }
            (Granting | Granted | Reserved | Active | Evicting | Over, Input::Judge { .. }) => {}

            (Suspect, Input::Seen(sight, grip)) if self.inquiry == Some(sight.inquiry) => {
                self.seen(sight, grip, patience, now);
            }
            (Granting | Granted | Reserved | Active | Suspect | Evicting | Over, Input::Seen(..)) => {}

            (Suspect, Input::GatewayUp) => self.actions.push(Action::Consider),
            (Granting | Granted | Reserved | Active | Evicting | Over, Input::GatewayUp) => {}

            (Granting | Granted | Reserved | Active | Suspect, Input::Leave(incarnation))
                if incarnation == self.incarnation =>
            {
                self.evict(Cause::Left);
            }
            (Granting | Granted | Reserved | Active | Suspect | Evicting | Over, Input::Leave(_)) => {}

            (Granting | Granted | Reserved | Active | Suspect, Input::End(cause)) => {
                self.actions.push(Action::TellOver(self.incarnation, Some(cause)));
                self.evict(cause);
            }
            (Evicting | Over, Input::End(_)) => {}

            (Evicting, Input::EvictionAcknowledged(incarnation)) if incarnation == self.incarnation => {
                // The row goes with the acknowledgement, in one transaction.
                self.over(false);
            }
            (
                Granting | Granted | Reserved | Active | Suspect | Evicting | Over,
                Input::EvictionAcknowledged(_),
            ) => {}

            (Granting | Granted | Reserved | Active | Suspect, Input::EndedThere(incarnation, cause))
                if incarnation == self.incarnation =>
            {
                self.actions.push(Action::TellOver(incarnation, Some(cause)));
                self.over(true);
            }
            // While evicting, the acknowledgement ends it.
            (Granting | Granted | Reserved | Active | Suspect | Evicting | Over, Input::EndedThere(..)) => {}
        }
    }

    /// When to call [`Session::handle_timeout`]; the wheel may know of later heartbeats.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.deadline
    }

    /// The deadline is over.
    pub fn handle_timeout(&mut self, patience: &Patience, now: BootTime) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        match self.state {
            State::Granting => {
                self.actions.push(Action::TellRefused(patience.grant));
                self.evict(Cause::NeverJoined);
            }
            State::Granted | State::Reserved => {
                self.actions.push(Action::TellOver(self.incarnation, Some(Cause::NeverJoined)));
                self.evict(Cause::NeverJoined);
            }
            State::Active => {
                self.enter(State::Suspect, None);
                self.actions.push(Action::Keep(State::Active, State::Suspect));
                self.actions.push(Action::Consider);
            }
            State::Suspect => {
                self.deadline = None;
                self.actions.push(Action::Consider);
            }
            State::Evicting | State::Over => self.deadline = None,
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        (!self.actions.is_empty()).then(|| self.actions.remove(0))
    }

    fn judge(&mut self, grip: Grip, reachable: bool, inquiry: u64, patience: &Patience, now: BootTime) {
        match (grip, self.policy) {
            (Grip::Held, Policy::Strict | Policy::Corroborate) => {
                self.inquiry = None;
                self.deadline = Some(now + patience.inquiry);
            }
            (Grip::Open, Policy::Strict) => self.evict(Cause::Silence),
            (Grip::Open, Policy::Corroborate) | (Grip::Evidence, Policy::Strict | Policy::Corroborate) => {
                if reachable {
                    self.inquiry = Some(inquiry);
                    self.deadline = Some(now + patience.inquiry);
                    self.actions.push(Action::Inquire(inquiry));
                } else {
                    // Its grants end there by their lease; `GatewayUp` looks again.
                    self.inquiry = None;
                    self.deadline = None;
                }
            }
        }
    }

    fn seen(&mut self, sight: Sight, grip: Grip, patience: &Patience, now: BootTime) {
        self.inquiry = None;
        let enforced = sight.incarnation == Some(self.incarnation);
        let here = enforced && sight.associated != Some(false);
        let heard = sight.inactive.is_some_and(|inactive| inactive <= patience.silence);
        let moved = self.baseline.is_some_and(|baseline| sight.up_bytes > baseline);
        if here && (heard || moved) {
            self.enter(State::Active, Some(now + patience.silence));
            self.actions.push(Action::Keep(State::Suspect, State::Active));
        } else if here && sight.inactive.is_none() && self.baseline.is_none() {
            // Where nobody counts inactivity, two counts of bytes decide.
            self.baseline = Some(sight.up_bytes);
            self.deadline = Some(now + patience.inquiry);
        } else if grip == Grip::Held {
            self.deadline = Some(now + patience.inquiry);
        } else {
            self.actions.push(Action::TellOver(self.incarnation, Some(Cause::Silence)));
            self.evict(Cause::Silence);
        }
    }

    fn evict(&mut self, cause: Cause) {
        let from = self.state;
        self.enter(State::Evicting, None);
        self.cause = Some(cause);
        self.actions.push(Action::Evict { from, incarnation: self.incarnation, cause });
    }

    fn over(&mut self, kept: bool) {
        self.enter(State::Over, None);
        self.actions.push(Action::Forget { incarnation: self.incarnation, kept });
    }

    fn enter(&mut self, state: State, deadline: Option<BootTime>) {
        self.state = state;
        self.deadline = deadline;
        self.inquiry = None;
        self.baseline = None;
        self.cause = None;
    }
}

/// How long after a heartbeat the silence begins.
///
/// A terminal that says when the next one comes gets that time and half the usual one on top; it can make
/// its time longer but not shorter.
pub fn heartbeat_due(next: Option<Duration>, patience: &Patience) -> Duration {
    match next {
        None => patience.silence,
        Some(next) => (next.min(patience.sleep_most) + patience.silence / 2).max(patience.silence),
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
