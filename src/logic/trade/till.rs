//! Selling without a coordinator: the purchases of a gateway's own visitors, paid by voucher or free, and what they may use.
//!
//! ```text
//!  order --> purchase.rs: offered, paid (a voucher), Paid --> Keep … Enforce --enforced--> Granted
//!                                                                        \--refused--> the voucher has its money back
//!  over  --> Used, Ended --> what is left waits --resume--> Enforce
//! ```
//!
//! A visitor is a station: who has another address tomorrow is another visitor. What was bought is a sum over purchases, and
//! what is to be enforced is a [`Plan`], absolute in bytes and in time: saying one again changes nothing. What is to be kept up to an
//! [`Action::Enforce`], or to the last action, is kept as one, before anything that follows; whoever cannot keep it forgets all
//! of this and begins again with what is on the disk.
//!
//! Held by `till_tests.rs` over every short history, with a loss of power at every step: `charged_once`, `balanced`,
//! `bought_is_had_and_no_more`, `a_restart_changes_nothing`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::{self, Decision, Load};
use super::purchase::{Action as Step, Input, Observation, Patience, Purchase, Record, State};
use super::vouchers::{Voucher, Vouchers};
use crate::logic::limit::Limit;
use crate::model::trade::{Allowance, Means, Money, Posting, Shop, TariffId, Want};
use crate::model::{
    BootId, BootTime, Cause, GrantId, MacAddr, Millis, PublicKey, PurchaseId, Refusal, Secret,
};
use crate::wire::sign::{Identity, service_id};
use crate::wire::trade::{Bid, SignedFee};

/// A free tariff is had once in so long by one station.
const DAY: Duration = Duration::from_secs(86_400);
/// Stations whose free tariffs are remembered.
const MOST_FREE: usize = 10_000;
/// Free tariffs of all stations together: an address costs nobody anything.
const FREE_AT_ONCE: u32 = 300;
const FREE_EVERY: Duration = Duration::from_secs(5);

const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(60),
    poll: Duration::from_secs(60),
    poll_most: Duration::from_secs(3600),
    grant: Duration::from_secs(3600),
};

/// What somebody consents to.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// Its name from here on.
    pub purchase: PurchaseId,
    /// A grant for it, where the station has none.
    pub grant: GrantId,
    /// Who buys.
    pub station: MacAddr,
    /// Under which tariff.
    pub tariff: TariffId,
    /// How much.
    pub want: Want,
    /// For so much, as the buyer was shown.
    pub price: Option<Money>,
    /// Of a voucher.
    pub code: Option<&'a Secret>,
}

/// What a station may use, all its purchases together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Under this grant.
    pub grant: GrantId,
    /// Layer-3 bytes of that grant; `None`: without limit.
    pub quota: Option<u64>,
    /// Until then; `None`: until it is used up.
    pub until: Option<BootTime>,
    /// Nothing was paid for it.
    pub free: bool,
    /// The grant is over, and something is left.
    pub idle: bool,
    /// Whose time is in `until`.
    of: BTreeSet<PurchaseId>,
}

/// A plan as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPlan {
    grant: GrantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota: Option<u64>,
    /// In the boot named, and what was left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<(BootTime, Millis)>,
    boot: BootId,
    free: bool,
    idle: bool,
    of: BTreeSet<PurchaseId>,
}

/// What is kept, in this order; the last of a kind about the same thing counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A purchase, and what moved with this step of it.
    Purchase {
        /// As it stands.
        record: Box<Record>,
        /// Into the ledger, unless they are there.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        postings: Vec<Posting>,
        /// The second of 1970.
        at: u64,
    },
    /// A voucher as it stands.
    Voucher(Voucher),
    /// What a station may use; `None`: nothing.
    Plan {
        /// Who.
        station: MacAddr,
        /// What.
        plan: Option<KeptPlan>,
    },
    /// A free tariff was had.
    Free {
        /// By whom.
        station: MacAddr,
        /// Which.
        tariff: TariffId,
        /// The second of 1970.
        at: u64,
    },
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Keep this before anything that follows.
    Keep(Line),
    /// Have the kernel enforce it, and say whether it does ([`Till::enforced`]).
    Enforce(MacAddr, Plan),
}

/// All of it.
#[derive(Debug)]
pub struct Till {
    identity: Arc<Identity>,
    boot: BootId,
    deals: BTreeMap<PurchaseId, Purchase>,
    vouchers: Vouchers,
    plans: BTreeMap<MacAddr, Plan>,
    /// When a station may have a free tariff again, and since when it has had it by the calendar.
    free: BTreeMap<(MacAddr, TariffId), (BootTime, u64)>,
    free_of_all: Limit<()>,
    actions: VecDeque<Action>,
}

/// What a step needs beside the purchase.
struct At<'a> {
    shop: &'a Shop,
    code: Option<&'a Secret>,
    grant: GrantId,
    calendar: u64,
    now: BootTime,
}

impl Till {
    /// With what was kept. `boot` names this boot of the machine, `calendar` is the second of 1970.
    pub fn new(
        identity: Arc<Identity>,
        boot: BootId,
        kept: impl IntoIterator<Item = Line>,
        calendar: u64,
        now: BootTime,
    ) -> Self {
        let mut records: BTreeMap<PurchaseId, Record> = BTreeMap::new();
        let mut till = Self {
            identity,
            boot,
            deals: BTreeMap::new(),
            vouchers: Vouchers::new([]),
            plans: BTreeMap::new(),
            free: BTreeMap::new(),
            free_of_all: Limit::new(FREE_AT_ONCE, FREE_EVERY, 1),
            actions: VecDeque::new(),
        };
        for line in kept {
            match line {
                Line::Purchase { record, .. } => drop(records.insert(record.id, *record)),
                Line::Voucher(voucher) => till.vouchers.insert(voucher),
                Line::Plan { station, plan: Some(plan) } => {
                    till.plans.insert(station, plan.plan(boot, now));
                }
                Line::Plan { station, plan: None } => drop(till.plans.remove(&station)),
                Line::Free { station, tariff, at } => {
                    let gone = Duration::from_secs(calendar.saturating_sub(at));
                    till.free.insert((station, tariff), (now + DAY.saturating_sub(gone), at));
                }
            }
        }
        let shop = Shop::default();
        for record in records.into_values().filter(|record| !record.state.is_final()) {
            let (id, grant) = (record.id, GrantId(record.id.0));
            till.deals.insert(id, Purchase::restored(record, PATIENCE, now, calendar));
            till.drive(id, &At { shop: &shop, code: None, grant, calendar, now });
            // Nobody waits for it any more.
            till.give_up(id, &At { shop: &shop, code: None, grant, calendar, now });
        }
        till
    }

    /// What is to be done next. What was to be enforced and is another plan by now is not.
    pub fn poll_action(&mut self) -> Option<Action> {
        loop {
            match self.actions.pop_front()? {
                Action::Enforce(station, plan) if self.plans.get(&station) != Some(&plan) => {}
                action => return Some(action),
            }
        }
    }

    /// When [`Till::handle_timeout`] is worth calling.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let waiting = self.deals.values().filter(|deal| !deal.state().is_granted());
        let idle = self.plans.values().filter(|plan| plan.idle).filter_map(|plan| plan.until);
        waiting.filter_map(Purchase::poll_timeout).chain(idle).min()
    }

    /// Lets time pass: what could not be enforced for long goes back, and time runs on while nobody is here.
    pub fn handle_timeout(&mut self, calendar: u64, now: BootTime) {
        let over: Vec<MacAddr> = self
            .plans
            .iter()
            .filter(|(_, plan)| plan.idle && plan.until.is_some_and(|until| until <= now))
            .map(|(station, _)| *station)
            .collect();
        for station in over {
            self.end(station, calendar, now, |_| Input::Ended);
        }
        let shop = Shop::default();
        let due: Vec<PurchaseId> = self
            .deals
            .iter()
            .filter(|(_, deal)| !deal.state().is_granted())
            .filter(|(_, deal)| deal.poll_timeout().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if let Some(deal) = self.deals.get_mut(&id) {
                deal.handle_timeout(now);
            }
            self.drive(id, &At { shop: &shop, code: None, grant: GrantId(id.0), calendar, now });
        }
    }

    /// Somebody buys, and pays at once. What follows from it is in the actions.
    pub fn order(
        &mut self,
        shop: &Shop,
        order: &Order<'_>,
        calendar: u64,
        now: BootTime,
    ) -> Result<(), Refusal> {
        self.handle_timeout(calendar, now);
        let station = order.station;
        let sale = shop.sales.iter().find(|sale| sale.tariff.id == order.tariff);
        let is_free = sale.is_some_and(|sale| sale.tariff.pricing == crate::model::trade::Pricing::Free);
        if is_free {
            self.may_be_free(station, &order.tariff, now)?;
        }
        let id = order.purchase;
        let (gateway, terminal) = (self.identity.public(), buyer(station));
        let record = Record::new(id, gateway, terminal, order.tariff.clone(), order.want);
        let at = At { shop, code: order.code, grant: order.grant, calendar, now };
        self.deals.insert(id, Purchase::new(record, PATIENCE, now));
        if let Some(refusal) = self.drive(id, &at) {
            return Err(refusal);
        }
        let outcome = self.consent(order, &at);
        self.give_up(id, &at);
        if outcome.is_ok() && is_free {
            let _ = self.free_of_all.take(&(), now);
            self.free.insert((station, order.tariff.clone()), (now + DAY, calendar));
            let line = Line::Free { station, tariff: order.tariff.clone(), at: calendar };
            self.actions.push_back(Action::Keep(line));
        }
        outcome
    }

    fn consent(&mut self, order: &Order<'_>, at: &At<'_>) -> Result<(), Refusal> {
        let Some(record) = self.deals.get(&order.purchase).map(|deal| deal.record().clone()) else {
            return Err(Refusal::new("not-sold", "this is not sold here now"));
        };
        if let Some(refusal) = record.refusal {
            return Err(refusal);
        }
        let Some((offer, _)) = &record.offer else {
            return Err(Refusal::new("not-sold", "this is not sold here now"));
        };
        if offer.price != order.price {
            return Err(Refusal::new("price-changed", "the price has changed: look at it again"));
        }
        self.fits(order.station, offer.allowance)?;
        let means = if offer.price.is_some() { Means::Voucher } else { Means::Free };
        if let Some(deal) = self.deals.get_mut(&order.purchase) {
            deal.handle_input(Input::Pay(means), at.now);
        }
        match self.drive(order.purchase, at) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// What has a limit in bytes cannot be added to what has one in time.
    fn fits(&self, station: MacAddr, more: Allowance) -> Result<(), Refusal> {
        let shape = |allowance: Allowance| (allowance.bytes.is_some(), allowance.time.is_some());
        let paid = self.good(station).filter(|record| record.price().is_some());
        match paid.filter_map(Record::left).find(|left| shape(*left) != shape(more)) {
            None => Ok(()),
            Some(_) => {
                let sentence =
                    "what you have is counted in another way: use it up first, or buy more of the same";
                Err(Refusal::new("other-kind", sentence))
            }
        }
    }

    fn may_be_free(&mut self, station: MacAddr, tariff: &TariffId, now: BootTime) -> Result<(), Refusal> {
        if self.good(station).next().is_some() {
            return Err(Refusal::new("has-access", "you have access already"));
        }
        if let Some(wait) = self.free_again(station, tariff, now) {
            let sentence = format!("free once a day: again in {} min", wait.as_secs().div_ceil(60));
            return Err(Refusal::new("free-had", sentence));
        }
        self.free.retain(|_, (again, _)| *again > now);
        if self.free.len() >= MOST_FREE || self.free_of_all.look(&(), now).is_err() {
            return Err(Refusal::new("free-busy", "too many ask for it now: try again in a minute"));
        }
        Ok(())
    }

    /// How long a station waits for a free tariff; `None`: not at all.
    pub fn free_again(&self, station: MacAddr, tariff: &TariffId, now: BootTime) -> Option<Duration> {
        let (again, _) = self.free.get(&(station, tariff.clone()))?;
        Some(again.since(now)).filter(|wait| !wait.is_zero())
    }

    /// Whether the kernel enforces what it was told to.
    pub fn enforced(&mut self, station: MacAddr, done: bool, calendar: u64, now: BootTime) {
        let shop = Shop::default();
        for id in self.ids(station, |record| record.state == State::Paid) {
            let input = if done { Input::Granted(calendar) } else { Input::Ungrantable };
            if let Some(deal) = self.deals.get_mut(&id) {
                deal.handle_input(input, now);
            }
            self.drive(id, &At { shop: &shop, code: None, grant: GrantId(id.0), calendar, now });
        }
        if !done {
            self.rest(station, now);
        }
    }

    /// A grant is over, and so many bytes were moved under it. Whether it was one of these.
    pub fn over(&mut self, grant: GrantId, cause: Cause, bytes: u64, calendar: u64, now: BootTime) -> bool {
        let own = |(_, plan): &(&MacAddr, &Plan)| plan.grant == grant && !plan.idle;
        let Some(station) = self.plans.iter().find(own).map(|(station, _)| *station) else { return false };
        match cause {
            // The owner's word is not undone by a visitor's.
            Cause::Owner | Cause::Expired | Cause::NotWanted => {
                self.end(station, calendar, now, |_| Input::Ended);
            }
            // What the last packet did not fit into is none.
            Cause::Quota => self.end(station, calendar, now, |record| {
                Input::Used(record.left().and_then(|left| left.bytes).unwrap_or(0))
            }),
            Cause::Silence | Cause::Left | Cause::NeverJoined | Cause::Replaced | Cause::CodeLost => {
                let mut rest = bytes;
                self.end(station, calendar, now, |record| {
                    let used = rest.min(record.left().and_then(|left| left.bytes).unwrap_or(0));
                    rest -= used;
                    Input::Used(used)
                });
            }
        }
        true
    }

    /// Each good purchase of a station, oldest first, has this input; what is left waits.
    fn end(
        &mut self,
        station: MacAddr,
        calendar: u64,
        now: BootTime,
        mut input: impl FnMut(&Record) -> Input,
    ) {
        let shop = Shop::default();
        let mut ids: Vec<(Option<u64>, PurchaseId)> =
            self.good(station).map(|record| (record.granted_at, record.id)).collect();
        ids.sort_unstable();
        for (_, id) in ids {
            if let Some(deal) = self.deals.get_mut(&id) {
                let input = input(deal.record());
                deal.handle_input(input, now);
            }
            self.drive(id, &At { shop: &shop, code: None, grant: GrantId(id.0), calendar, now });
        }
        self.rest(station, now);
    }

    /// What a station has left waits; nothing does where nothing is left.
    fn rest(&mut self, station: MacAddr, now: BootTime) {
        let any = self.good(station).next().is_some();
        match self.plans.get_mut(&station) {
            Some(plan) if any => plan.idle = true,
            _ => drop(self.plans.remove(&station)),
        }
        self.keep_plan(station, now);
    }

    /// A station comes back to what it has left.
    pub fn resume(
        &mut self,
        station: MacAddr,
        grant: GrantId,
        calendar: u64,
        now: BootTime,
    ) -> Result<(), Refusal> {
        self.handle_timeout(calendar, now);
        if self.plans.get(&station).is_none_or(|plan| !plan.idle) {
            return Err(Refusal::new("nothing-left", "there is nothing to go on with"));
        }
        self.plan(station, grant, now);
        Ok(())
    }

    /// What a station may use.
    pub fn plan_of(&self, station: MacAddr) -> Option<&Plan> {
        self.plans.get(&station)
    }

    /// All that a station has bought and not used up, as it was bought.
    pub fn bought(&self, station: MacAddr) -> Allowance {
        let offers = self.good(station).filter_map(|record| record.offer.as_ref());
        offers.map(|(offer, _)| offer.allowance).reduce(Allowance::and).unwrap_or_default()
    }

    /// What a station that is not in has left.
    pub fn waits(&self, station: MacAddr, now: BootTime) -> Option<Allowance> {
        let plan = self.plans.get(&station).filter(|plan| plan.idle)?;
        let left = self.good(station).filter_map(Record::left).reduce(Allowance::and)?;
        Some(Allowance { time: plan.until.map(|until| until.since(now).into()), ..left })
    }

    /// Plans that are to be in force whether the kernel knows them or not: after a start.
    pub fn plans(&self) -> impl Iterator<Item = (MacAddr, &Plan)> {
        self.plans.iter().filter(|(_, plan)| !plan.idle).map(|(station, plan)| (*station, plan))
    }

    /// Has a plan enforced whose grant is not there, or ends it.
    pub fn again(&mut self, station: MacAddr, grant: GrantId, calendar: u64, now: BootTime) {
        let Some(plan) = self.plans.get_mut(&station) else { return };
        if plan.until.is_some_and(|until| until <= now) {
            return self.end(station, calendar, now, |_| Input::Ended);
        }
        plan.idle = true;
        self.plan(station, grant, now);
    }

    /// Vouchers, as the owner has them made.
    pub fn issue(&mut self, voucher: Voucher) {
        self.vouchers.insert(voucher.clone());
        self.actions.push_back(Action::Keep(Line::Voucher(voucher)));
    }

    /// All that is to be kept, and no more.
    pub fn lines(&self, calendar: u64, now: BootTime) -> Vec<Line> {
        let needed: BTreeSet<&PurchaseId> = self.deals.keys().collect();
        let vouchers = self.vouchers.iter().filter(|voucher| {
            voucher.expires > calendar || voucher.taken.keys().any(|purchase| needed.contains(purchase))
        });
        let deals = self.deals.values().map(|deal| Line::Purchase {
            record: Box::new(deal.record().clone()),
            postings: Vec::new(),
            at: calendar,
        });
        let plans = self
            .plans
            .iter()
            .map(|(station, plan)| Line::Plan { station: *station, plan: Some(self.kept(plan, now)) });
        let free =
            self.free.iter().filter(|(_, (again, _))| *again > now).map(|((station, tariff), (_, at))| {
                Line::Free { station: *station, tariff: tariff.clone(), at: *at }
            });
        vouchers.cloned().map(Line::Voucher).chain(deals).chain(plans).chain(free).collect()
    }

    /// One purchase as far as it goes by itself; why it was refused.
    fn drive(&mut self, id: PurchaseId, at: &At<'_>) -> Option<Refusal> {
        let mut refused = None;
        while let Some((step, record)) =
            self.deals.get_mut(&id).and_then(|deal| Some((deal.poll_action()?, deal.record().clone())))
        {
            let inputs: Vec<Input> = match step {
                Step::Keep(record, postings) => {
                    let line = Line::Purchase { record, postings, at: at.calendar };
                    self.actions.push_back(Action::Keep(line));
                    Vec::new()
                }
                Step::Tell => Vec::new(),
                Step::Ask => vec![self.offer(&record, at)],
                Step::Start(means) => match self.pay(&record, means, at) {
                    Ok(()) => vec![Input::Started(means.word().to_owned()), Input::Hint],
                    Err(refusal) => {
                        refused = Some(refusal);
                        vec![Input::NotCharged]
                    }
                },
                Step::Observe(means) => vec![Input::Observed(self.observe(id, means))],
                Step::Refund(means) => {
                    if means == Means::Voucher
                        && let Some(voucher) = self.vouchers.refund(id)
                    {
                        self.issue(voucher);
                    }
                    vec![Input::Observed(Observation::Refunded)]
                }
                Step::Grant => {
                    if let (State::Paid, Some(station)) = (record.state, station_of(&record.terminal)) {
                        self.plan(station, at.grant, at.now);
                    }
                    Vec::new()
                }
            };
            if let Some(deal) = self.deals.get_mut(&id) {
                inputs.into_iter().for_each(|input| deal.handle_input(input, at.now));
            }
        }
        if self.deals.get(&id).is_some_and(|deal| deal.state().is_final()) {
            let refusal = self.deals.remove(&id).and_then(|deal| deal.record().refusal.clone());
            refused = refused.or(refusal);
        }
        refused
    }

    /// Nobody will pay for it.
    fn give_up(&mut self, id: PurchaseId, at: &At<'_>) {
        if let Some(deal) = self.deals.get_mut(&id) {
            deal.handle_input(Input::Decline, at.now);
            self.drive(id, at);
        }
    }

    fn offer(&self, record: &Record, at: &At<'_>) -> Input {
        let bid = Bid {
            want: record.want,
            tariff: record.tariff.clone(),
            purchase: record.id,
            terminal: record.terminal,
        };
        let buyers = |tariff: &TariffId| {
            let good = self.deals.values().map(Purchase::record).filter(|other| other.state.is_good());
            good.filter(|other| other.tariff == *tariff).map(|other| other.terminal).collect::<BTreeSet<_>>()
        };
        let decision =
            policy::decide(at.shop, &bid, service_id(self.identity.public()), |tariff, terminal| {
                let buyers = buyers(tariff);
                let present = u32::try_from(buyers.len()).unwrap_or(u32::MAX);
                Load { present, among_them: buyers.contains(terminal) }
            });
        match decision {
            Decision::Offer(offer) => match SignedFee::new(&self.identity, &offer) {
                Ok(signed) => Input::Offered(Box::new((offer, signed))),
                Err(error) => Input::Refused(Refusal::new("bad-offer", error.to_string())),
            },
            // Nobody who could be asked has a way to answer here.
            Decision::Ask(_) => Input::Refused(Refusal::new("not-sold", "this is not sold here now")),
            Decision::Refuse(refusal) => Input::Refused(refusal),
        }
    }

    fn pay(&mut self, record: &Record, means: Means, at: &At<'_>) -> Result<(), Refusal> {
        let (Means::Voucher, Some(price)) = (means, record.price()) else { return Ok(()) };
        // The code is gone after a restart; what it did is not.
        if self.vouchers.observe(record.id) != Observation::Unknown {
            return Ok(());
        }
        let no_code = || Refusal::new("no-code", "give the code of a voucher");
        let code = at.code.map(Secret::expose).filter(|code| !code.trim().is_empty()).ok_or_else(no_code)?;
        let voucher = self.vouchers.redeem(code, record.id, price, record.terminal, at.calendar, at.now)?;
        self.issue(voucher);
        Ok(())
    }

    fn observe(&self, id: PurchaseId, means: Means) -> Observation {
        match means {
            Means::Free => Observation::Settled(None),
            Means::Voucher => self.vouchers.observe(id),
            // Nothing here is paid by card.
            Means::Stripe => Observation::Failed,
        }
    }

    /// What a station may use is said anew.
    fn plan(&mut self, station: MacAddr, grant: GrantId, now: BootTime) {
        let mut before = self.plans.get(&station).cloned();
        let pays = self.good(station).any(|record| record.price().is_some());
        if pays && before.as_ref().is_some_and(|before| before.free) {
            // What was free ends with the first that is paid.
            for id in self.ids(station, |record| record.price().is_none() && record.state.is_granted()) {
                if let Some(deal) = self.deals.get_mut(&id) {
                    deal.handle_input(Input::Ended, now);
                }
                let (shop, calendar) = (Shop::default(), 0);
                self.drive(id, &At { shop: &shop, code: None, grant, calendar, now });
            }
            before = None;
        }
        let waiting = |record: &&Record| before.as_ref().is_none_or(|before| !before.of.contains(&record.id));
        let time = |record: &Record| record.offer.as_ref().and_then(|(offer, _)| offer.allowance.time);
        let more: Duration = self
            .good(station)
            .filter(waiting)
            .filter_map(time)
            .map(Duration::from)
            .fold(Duration::ZERO, Duration::saturating_add);
        let timed = self.good(station).all(|record| time(record).is_some());
        let base = before.as_ref().and_then(|before| before.until).map_or(now, |until| until.max(now));
        let plan = Plan {
            grant: before.as_ref().filter(|before| !before.idle).map_or(grant, |before| before.grant),
            quota: self
                .good(station)
                .filter_map(Record::left)
                .reduce(Allowance::and)
                .and_then(|all| all.bytes),
            until: timed.then(|| base + more),
            free: !pays,
            idle: false,
            of: self.good(station).map(|record| record.id).collect(),
        };
        self.plans.insert(station, plan.clone());
        self.keep_plan(station, now);
        self.actions.push_back(Action::Enforce(station, plan));
    }

    fn keep_plan(&mut self, station: MacAddr, now: BootTime) {
        let plan = self.plans.get(&station).map(|plan| self.kept(plan, now));
        self.actions.push_back(Action::Keep(Line::Plan { station, plan }));
    }

    fn kept(&self, plan: &Plan, now: BootTime) -> KeptPlan {
        KeptPlan {
            grant: plan.grant,
            quota: plan.quota,
            until: plan.until.map(|until| (until, until.since(now).into())),
            boot: self.boot,
            free: plan.free,
            idle: plan.idle,
            of: plan.of.clone(),
        }
    }

    fn good(&self, station: MacAddr) -> impl Iterator<Item = &Record> {
        let buyer = buyer(station);
        let records = self.deals.values().map(Purchase::record);
        records.filter(move |record| record.terminal == buyer && record.state.is_good())
    }

    fn ids(&self, station: MacAddr, fits: impl Fn(&Record) -> bool) -> Vec<PurchaseId> {
        self.good(station).filter(|record| fits(record)).map(|record| record.id).collect()
    }
}

impl KeptPlan {
    fn plan(self, boot: BootId, now: BootTime) -> Plan {
        let same = self.boot == boot;
        Plan {
            grant: self.grant,
            quota: self.quota,
            // How long the machine was off nobody knows.
            until: self.until.map(|(until, left)| if same { until } else { now + left.into() }),
            free: self.free,
            idle: self.idle,
            of: self.of,
        }
    }
}

const BUYER: &[u8; 26] = b"wayleave station\0\0\0\0\0\0\0\0\0\0";

/// A station as purchases name their buyer: no key of anybody, and its address again.
pub fn buyer(station: MacAddr) -> PublicKey {
    let mut octets = [0; 32];
    octets[..26].copy_from_slice(BUYER);
    octets[26..].copy_from_slice(&station.0);
    PublicKey(octets)
}

fn station_of(buyer: &PublicKey) -> Option<MacAddr> {
    let station = buyer.0.strip_prefix(BUYER)?;
    station.try_into().ok().map(MacAddr)
}
