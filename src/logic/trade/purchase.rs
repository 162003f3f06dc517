//! One purchase, from the request to the end of what was bought.
//!
//! ```text
//!            Offered            Pay              Settled = price     Granted          Low          Extended
//! Requested ---------> Offered -----> Paying -------------------> Paid ----> Granted <---> Low ---------> Extended
//!    |                  | ^              |  |                      |            \           |              /
//!    | Refused,         | | NotCharged   |  | Settled, not         | Ungrantable,\          | Used up,    /
//!    | time, Decline    | +--------------+  | the price            | time         \         | time       /
//!    v                  v time, Decline     v                      v               v        v           v
//! Refused, Expired <----------------- Failed     Refunding <-------+              Over <----+-----------+
//!    |                                            ^    | Refunded                   |
//!    +--------------- Settled, late --------------+    v                            | Refunded by the provider
//!                                                  Refunded <-----------------------+
//! ```
//!
//! Any input may come again, late or not at all. What a state wants to be done is said again by [`Purchase::restored`] and when
//! its time is over; whoever does it does it once, under the purchase's id. [`Action::Keep`] comes before what follows from
//! it: whatever was done is known after a crash, or is done again under the same id.
//!
//! While somebody pays, only the provider's word ends it: money that comes later is found, and goes back.
//!
//! Held by `purchase_tests.rs` over every short history: `charged_once` (at most one posting for each occasion), `balanced`,
//! `paid_is_granted_or_refunded`, `twice_is_once`, `a_restart_changes_nothing`.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::model::trade::PurchaseState as State;
use crate::model::trade::{Account, Allowance, FeeOffer, Means, Money, Occasion, Posting, TariffId, Want};
use crate::model::{BootTime, PublicKey, PurchaseId, Refusal};
use crate::wire::trade::SignedFee;

/// What a provider knows of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Nothing: it was never started.
    Unknown,
    /// Not decided.
    Pending,
    /// This much was received; `None`: it is free.
    Settled(Option<Money>),
    /// Nothing was received, and nothing will be.
    Failed,
    /// It was received and given back.
    Refunded,
}

/// What happens to a purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The owner's offer.
    Offered(Box<(FeeOffer, SignedFee)>),
    /// The owner says no.
    Refused(Refusal),
    /// The buyer consents.
    Pay(Means),
    /// The buyer does not.
    Decline,
    /// The provider has begun, under this name.
    Started(String),
    /// The provider will not, and has taken nothing.
    NotCharged,
    /// Something is new at the provider's.
    Hint,
    /// What the provider says when asked.
    Observed(Observation),
    /// The gateway enforces it, since this second of 1970.
    Granted(u64),
    /// The gateway never will.
    Ungrantable,
    /// Little is left.
    Low,
    /// More was bought.
    Extended,
    /// So many bytes of it are used, since the last time.
    Used(u64),
    /// Nothing of it is to be had any more: its time is over, or something better takes its place.
    Ended,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Keep this record and these postings, in one transaction, before anything else.
    Keep(Box<Record>, Vec<Posting>),
    /// Ask the gateway for an offer.
    Ask,
    /// Tell the buyer where it stands.
    Tell,
    /// Have it paid.
    Start(Means),
    /// Ask the provider.
    Observe(Means),
    /// Have the gateway enforce everything that is paid.
    Grant,
    /// Give the money back.
    Refund(Means),
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For an owner's answer.
    pub answer: Duration,
    /// Between two questions to a provider, at first; each doubles it.
    pub poll: Duration,
    /// And at most.
    pub poll_most: Duration,
    /// For a gateway to enforce what is paid.
    pub grant: Duration,
}

/// All that is kept of a purchase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names it for its whole life.
    pub id: PurchaseId,
    /// Who sells.
    pub gateway: PublicKey,
    /// Who buys.
    pub terminal: PublicKey,
    /// Under which tariff.
    pub tariff: TariffId,
    /// How much.
    pub want: Want,
    /// Where it stands.
    pub state: State,
    /// Grows with every change.
    pub version: u64,
    /// The offer, once there is one.
    pub offer: Option<(FeeOffer, SignedFee)>,
    /// Why not.
    pub refusal: Option<Refusal>,
    /// How it is paid.
    pub means: Option<Means>,
    /// What the provider calls it.
    pub reference: Option<String>,
    /// What was received and has not gone back.
    pub received: Option<Money>,
    /// Bytes used of it.
    pub used: u64,
    /// Since when it is enforced, in seconds since 1970.
    pub granted_at: Option<u64>,
}

/// One purchase.
#[derive(Clone, Debug)]
pub struct Purchase {
    record: Record,
    patience: Patience,
    deadline: Option<BootTime>,
    /// Questions to the provider in a row.
    polls: u32,
    actions: VecDeque<Action>,
}

impl Record {
    /// A request.
    pub fn new(
        id: PurchaseId,
        gateway: PublicKey,
        terminal: PublicKey,
        tariff: TariffId,
        want: Want,
    ) -> Self {
        Self {
            id,
            gateway,
            terminal,
            tariff,
            want,
            state: State::Requested,
            version: 0,
            offer: None,
            refusal: None,
            means: None,
            reference: None,
            received: None,
            used: 0,
            granted_at: None,
        }
    }

    /// What is asked; `None`: nothing, or nothing is offered yet.
    pub fn price(&self) -> Option<Money> {
        self.offer.as_ref().and_then(|(offer, _)| offer.price)
    }

    /// What is left of what was bought; `None`: nothing.
    pub fn left(&self) -> Option<Allowance> {
        let (offer, _) = self.offer.as_ref().filter(|_| self.state.is_good())?;
        let bytes = offer.allowance.bytes.map(|bytes| bytes.saturating_sub(self.used));
        Some(Allowance { bytes, ..offer.allowance })
    }
}

impl Purchase {
    /// A new request; it is kept before the gateway is asked.
    pub fn new(record: Record, patience: Patience, now: BootTime) -> Self {
        let mut purchase = Self::bare(record, patience);
        purchase.keep(Vec::new());
        purchase.enter(now, 0);
        purchase.actions.push_back(Action::Tell);
        purchase
    }

    /// As it was kept; what its state wants to be done is said again, and its time begins anew. `calendar` is the second of
    /// 1970 that it is now.
    pub fn restored(record: Record, patience: Patience, now: BootTime, calendar: u64) -> Self {
        let mut purchase = Self::bare(record, patience);
        purchase.enter(now, calendar);
        purchase
    }

    fn bare(record: Record, patience: Patience) -> Self {
        Self { record, patience, deadline: None, polls: 0, actions: VecDeque::new() }
    }

    /// As it is to be kept.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.record.state
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Purchase::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.deadline
    }

    /// Its time is over, or it is called for nothing.
    pub fn handle_timeout(&mut self, now: BootTime) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.deadline = None;
        match self.record.state {
            State::Requested | State::Offered => self.go(State::Expired, Vec::new(), now),
            State::Paying | State::Refunding => {
                self.polls = self.polls.saturating_add(1);
                self.want(now);
            }
            State::Paid => self.give_back(now),
            State::Granted | State::Low | State::Extended => self.go(State::Over, Vec::new(), now),
            State::Over | State::Refused | State::Expired | State::Refunded => {}
        }
    }

    /// Something happened.
    pub fn handle_input(&mut self, input: Input, now: BootTime) {
        use State::{
            Expired, Extended, Granted, Low, Offered, Over, Paid, Paying, Refunded, Refunding, Refused,
            Requested,
        };
        match (self.record.state, input) {
            (Requested, Input::Offered(offer)) => {
                self.record.offer = Some(*offer);
                self.go(Offered, Vec::new(), now);
            }
            (Requested, Input::Refused(refusal)) => {
                self.record.refusal = Some(refusal);
                self.go(Refused, Vec::new(), now);
            }
            (Requested | Offered, Input::Decline) => self.go(Expired, Vec::new(), now),
            (Offered, Input::Pay(means)) => {
                // What costs is not free, and what is free is not paid.
                if (means == Means::Free) == self.record.price().is_none() {
                    self.record.means = Some(means);
                    self.go(Paying, Vec::new(), now);
                }
            }
            (Paying, Input::Started(reference)) => {
                // Only the first name counts: money that came under another one would be looked for in vain.
                if self.record.reference.is_none() {
                    self.record.reference = Some(reference);
                    self.keep(Vec::new());
                    self.actions.push_back(Action::Tell);
                }
            }
            // Another code may be tried, or another means.
            (Paying, Input::NotCharged | Input::Observed(Observation::Unknown)) => {
                if self.record.reference.is_none() {
                    self.record.means = None;
                    self.go(Offered, Vec::new(), now);
                }
            }
            (Paying, Input::Observed(Observation::Settled(amount))) => self.settled(amount, now),
            (Paying, Input::Observed(Observation::Failed | Observation::Refunded)) => {
                self.go(Expired, Vec::new(), now);
            }
            // Too late: whatever came goes back.
            (Refused | Expired, Input::Observed(Observation::Settled(Some(amount)))) => {
                let paid = self.receive(amount);
                if self.record.received.is_some() {
                    self.go(Refunding, paid, now);
                }
            }
            (Paying | Refused | Expired | Refunding, Input::Hint) => self.observe(),
            // The provider may take money back whenever it likes.
            (Paid | Granted | Low | Extended | Over, Input::Hint) => self.observe(),
            (Paid, Input::Granted(at)) => {
                self.record.granted_at = Some(at);
                let sold = self
                    .record
                    .received
                    .map(|amount| self.posting(Account::Held, Account::Sales, amount, Occasion::Granted));
                self.go(Granted, sold.into_iter().collect(), now);
            }
            (Paid, Input::Ungrantable) => self.give_back(now),
            (Paid | Refunding, Input::Observed(Observation::Refunded)) => self.given_back(now),
            (Granted | Low | Extended | Over, Input::Observed(Observation::Refunded)) => {
                let returned =
                    self.money_account().zip(self.record.received.take()).map(|(account, amount)| {
                        self.posting(Account::Sales, account, amount, Occasion::Returned)
                    });
                self.go(Refunded, returned.into_iter().collect(), now);
            }
            (Granted, Input::Low) => self.go(Low, Vec::new(), now),
            (Low, Input::Extended) => self.go(Extended, Vec::new(), now),
            (Extended, Input::Low) => self.go(Low, Vec::new(), now),
            (Granted | Low | Extended, Input::Used(bytes)) => {
                self.record.used = self.record.used.saturating_add(bytes);
                match self.record.left().and_then(|left| left.bytes) {
                    Some(0) => self.go(Over, Vec::new(), now),
                    _ => self.keep(Vec::new()),
                }
            }
            (Granted | Low | Extended, Input::Ended) => self.go(Over, Vec::new(), now),
            // What comes late, again, or was never asked for.
            (
                Requested,
                Input::Pay(_)
                | Input::Started(_)
                | Input::NotCharged
                | Input::Hint
                | Input::Observed(_)
                | Input::Granted(_)
                | Input::Ungrantable
                | Input::Low
                | Input::Extended
                | Input::Used(_)
                | Input::Ended,
            )
            | (
                Offered,
                Input::Offered(_)
                | Input::Refused(_)
                | Input::Started(_)
                | Input::NotCharged
                | Input::Hint
                | Input::Observed(_)
                | Input::Granted(_)
                | Input::Ungrantable
                | Input::Low
                | Input::Extended
                | Input::Used(_)
                | Input::Ended,
            )
            | (
                Paying,
                Input::Offered(_)
                | Input::Refused(_)
                | Input::Pay(_)
                | Input::Decline
                | Input::Observed(Observation::Pending)
                | Input::Granted(_)
                | Input::Ungrantable
                | Input::Low
                | Input::Extended
                | Input::Used(_)
                | Input::Ended,
            )
            | (
                Paid,
                Input::Offered(_)
                | Input::Refused(_)
                | Input::Pay(_)
                | Input::Decline
                | Input::Started(_)
                | Input::NotCharged
                | Input::Observed(_)
                | Input::Low
                | Input::Extended
                | Input::Used(_)
                | Input::Ended,
            )
            | (
                Granted | Low | Extended,
                Input::Offered(_)
                | Input::Refused(_)
                | Input::Pay(_)
                | Input::Decline
                | Input::Started(_)
                | Input::NotCharged
                | Input::Observed(_)
                | Input::Granted(_)
                | Input::Ungrantable
                | Input::Low
                | Input::Extended,
            )
            | (
                Over | Refused | Expired | Refunding,
                Input::Offered(_)
                | Input::Refused(_)
                | Input::Pay(_)
                | Input::Decline
                | Input::Started(_)
                | Input::NotCharged
                | Input::Observed(_)
                | Input::Granted(_)
                | Input::Ungrantable
                | Input::Low
                | Input::Extended
                | Input::Used(_)
                | Input::Ended,
            )
            | (
                Refunded,
                Input::Offered(_)
                | Input::Refused(_)
                | Input::Pay(_)
                | Input::Decline
                | Input::Started(_)
                | Input::NotCharged
                | Input::Hint
                | Input::Observed(_)
                | Input::Granted(_)
                | Input::Ungrantable
                | Input::Low
                | Input::Extended
                | Input::Used(_)
                | Input::Ended,
            ) => {}
        }
    }

    /// Money came, the right amount or another.
    fn settled(&mut self, amount: Option<Money>, now: BootTime) {
        let paid = amount.map(|amount| self.receive(amount)).unwrap_or_default();
        match amount == self.record.price() {
            true => self.go(State::Paid, paid, now),
            // The wrong money buys nothing.
            false if self.record.received.is_some() => self.go(State::Refunding, paid, now),
            // Nothing at all came of something that costs.
            false => self.go(State::Expired, paid, now),
        }
    }

    fn receive(&mut self, amount: Money) -> Vec<Posting> {
        let account = self.money_account().filter(|_| !amount.is_none());
        let posting = account.map(|account| self.posting(account, Account::Held, amount, Occasion::Paid));
        self.record.received = posting.map(|posting| posting.amount);
        posting.into_iter().collect()
    }

    fn give_back(&mut self, now: BootTime) {
        match self.record.received {
            Some(_) => self.go(State::Refunding, Vec::new(), now),
            None => self.go(State::Refunded, Vec::new(), now),
        }
    }

    fn given_back(&mut self, now: BootTime) {
        let refunded = self
            .money_account()
            .zip(self.record.received.take())
            .map(|(account, amount)| self.posting(Account::Held, account, amount, Occasion::Refunded));
        self.go(State::Refunded, refunded.into_iter().collect(), now);
    }

    fn money_account(&self) -> Option<Account> {
        self.record.means.and_then(Account::of)
    }

    fn posting(&self, debit: Account, credit: Account, amount: Money, occasion: Occasion) -> Posting {
        Posting { debit, amount, credit, occasion, purchase: self.record.id }
    }

    fn keep(&mut self, postings: Vec<Posting>) {
        self.record.version += 1;
        self.actions.push_back(Action::Keep(Box::new(self.record.clone()), postings));
    }

    fn go(&mut self, to: State, postings: Vec<Posting>, now: BootTime) {
        let was_good = self.record.state.is_good();
        let goes_on = self.record.state.is_granted() && to.is_granted();
        self.record.state = to;
        self.keep(postings);
        self.polls = 0;
        // What was bought for a time does not begin anew because little is left of it.
        if !goes_on {
            self.enter(now, self.record.granted_at.unwrap_or(0));
        }
        // What was to be had and is not any more: the gateway is told of the rest.
        if was_good && !to.is_good() {
            self.actions.push_back(Action::Grant);
        }
        self.actions.push_back(Action::Tell);
    }

    /// What the state wants, and its deadline.
    fn enter(&mut self, now: BootTime, calendar: u64) {
        self.deadline = match self.record.state {
            State::Requested => Some(now + self.patience.answer),
            State::Offered => self.record.offer.as_ref().map(|(offer, _)| now + Duration::from(offer.valid)),
            State::Paid => Some(now + self.patience.grant),
            State::Granted | State::Low | State::Extended => {
                let time = self.record.offer.as_ref().and_then(|(offer, _)| offer.allowance.time);
                let gone = calendar.saturating_sub(self.record.granted_at.unwrap_or(calendar));
                time.map(|time| now + Duration::from(time).saturating_sub(Duration::from_secs(gone)))
            }
            State::Paying
            | State::Refunding
            | State::Over
            | State::Refused
            | State::Expired
            | State::Refunded => None,
        };
        self.want(now);
    }

    fn want(&mut self, now: BootTime) {
        let means = self.record.means;
        match (self.record.state, means) {
            (State::Requested, _) => self.actions.push_back(Action::Ask),
            (State::Paying, Some(means)) => {
                // Begun again after a restart, the buyer is shown the same page. A voucher's code is not kept: only the first
                // try has it.
                match self.polls == 0 {
                    true => self.actions.push_back(Action::Start(means)),
                    false => self.observe(),
                }
                self.poll_later(now);
            }
            (State::Paid, _) => self.actions.push_back(Action::Grant),
            (State::Refunding, Some(means)) => {
                self.actions.push_back(Action::Refund(means));
                self.poll_later(now);
            }
            (State::Paying | State::Refunding, None)
            | (
                State::Offered
                | State::Granted
                | State::Low
                | State::Extended
                | State::Over
                | State::Refused
                | State::Expired
                | State::Refunded,
                _,
            ) => {}
        }
    }

    fn poll_later(&mut self, now: BootTime) {
        let wait = self.patience.poll.saturating_mul(1 << self.polls.min(16)).min(self.patience.poll_most);
        self.deadline = Some(now + wait);
    }

    fn observe(&mut self) {
        let Some(means) = self.record.means else { return };
        let unnamed = self.record.state == State::Paying && self.record.reference.is_none();
        // What was begun and has no name is begun again: that is how its name is learned.
        self.actions.push_back(match means == Means::Stripe && unnamed {
            true => Action::Start(means),
            false => Action::Observe(means),
        });
    }
}
