//! Purchases: what terminals want to buy, what gateways offer, what providers say, and the grants that follow.
//!
//! What is decided is decided in `logic/trade/purchase.rs`; here its actions meet store, links and providers. An action that
//! follows from [`Action::Keep`] waits until the store has it. Providers are asked by tasks of their own: nothing waits here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::runtime::Handle;

use super::Core;
use super::owners::Moving;
use crate::coordinator::payments::{Intent, PortError, Started};
use crate::coordinator::store::writer::NotKept;
use crate::coordinator::store::{Change, Outcome};
use crate::host::clock;
use crate::logic::trade::draws::Draws;
use crate::logic::trade::purchase::{Action, Input, Observation, Patience, Purchase, Record, State};
use crate::model::trade::{Means, Money, Tariff, TariffId, Want};
use crate::model::{BootTime, GrantId, Link, PublicKey, PurchaseId, Refusal, Secret, ServiceId};
use crate::wire::notice::NoticeBody;
use crate::wire::terminal::{PurchaseView, ToTerminal};
use crate::wire::trade::{Bid, BidAnswer, new_purchase_id};

/// How long to wait for what.
pub(super) const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(900),
    poll: Duration::from_secs(2),
    poll_most: Duration::from_secs(3600),
    grant: Duration::from_secs(3600),
};
/// Purchases of one terminal that nothing was paid for yet.
const MOST_OPEN: usize = 8;

/// All purchases of which something is still to come.
#[derive(Debug)]
pub(super) struct Trade {
    pub(super) deals: BTreeMap<PurchaseId, Deal>,
    deadlines: BTreeSet<(BootTime, PurchaseId)>,
    /// By terminal and gateway.
    pub(super) pairs: BTreeMap<(PublicKey, PublicKey), BTreeSet<PurchaseId>>,
    /// What of it is used where.
    pub(super) draws: Draws,
    /// Terminals that wait for what they used elsewhere to be known.
    pub(super) moving: BTreeMap<PublicKey, Moving>,
    runtime: Option<Handle>,
    /// Steps until this run of the program is over, as if the power were lost.
    #[cfg(test)]
    pub(super) fuse: Option<u32>,
}

/// One purchase and what belongs to this run only.
#[derive(Debug)]
pub(super) struct Deal {
    pub(super) purchase: Purchase,
    /// Of a voucher; never kept.
    code: Option<Secret>,
    /// Where the buyer pays.
    page: Option<Link>,
    /// Of the buyer; comes back in the first answer.
    request: Option<u64>,
    /// Why the last try to pay failed.
    refusal: Option<Refusal>,
    /// The store has not told back.
    keeping: bool,
    /// Questions to its provider that are not answered.
    asking: u32,
    deadline: Option<BootTime>,
}

impl Trade {
    pub fn new() -> Self {
        Self {
            deals: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pairs: BTreeMap::new(),
            draws: Draws::default(),
            moving: BTreeMap::new(),
            runtime: Handle::try_current().ok(),
            #[cfg(test)]
            fuse: None,
        }
    }

    /// One step further; `false`: it ends here.
    pub(super) fn step(&mut self) -> bool {
        #[cfg(test)]
        match &mut self.fuse {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        true
    }
}

impl Core {
    /// What a gateway sells.
    pub fn tariffs(&self, service: &ServiceId) -> Result<&[Tariff], Refusal> {
        let key = self.by_service.get(service).and_then(|key| self.gateways.get(key));
        let gateway = key.ok_or_else(unknown_gateway)?;
        Ok(gateway.record.announce.as_ref().map(|announce| announce.tariffs.as_slice()).unwrap_or_default())
    }

    /// A terminal wants to buy. The gateway is asked once that is kept; what it says is told with the request's number.
    pub fn buy(
        &mut self,
        terminal: PublicKey,
        service: &ServiceId,
        tariff: TariffId,
        want: Want,
        request: Option<u64>,
        now: BootTime,
    ) -> Result<PurchaseId, Refusal> {
        let known = self.tariffs(service)?;
        if known.iter().all(|known| known.id != tariff) {
            let sentence =
                format!("this gateway sells nothing under tariff {tariff}; it has {} tariffs", known.len());
            return Err(Refusal::new("unknown-tariff", sentence));
        }
        let gateway = *self.by_service.get(service).ok_or_else(unknown_gateway)?;
        if !self.is_reachable(&gateway) {
            return Err(Refusal::new("gateway-away", "this gateway is not connected now"));
        }
        let mine = self.trade.deals.values().filter(|deal| deal.purchase.record().terminal == terminal);
        let open = mine.filter(|deal| !deal.purchase.state().is_granted()).count();
        if open >= MOST_OPEN {
            let sentence = format!("{open} purchases of this terminal are open; {MOST_OPEN} are the most");
            return Err(Refusal::new("too-many-purchases", sentence));
        }
        if self.writer.is_full() {
            return Err(Refusal::new("store-full", "the coordinator's disk is full: nothing new is sold"));
        }
        let id = new_purchase_id();
        let record = Record::new(id, gateway, terminal, tariff, want);
        self.insert_deal(Purchase::new(record, PATIENCE, now), request);
        self.settle_deal(id, now);
        Ok(id)
    }

    /// What is asked for a purchase that is offered to this terminal; `None` for the terminal: whoever it is offered to.
    pub fn price_of(&self, terminal: Option<PublicKey>, id: &PurchaseId) -> Result<Option<Money>, Refusal> {
        let deal = self
            .trade
            .deals
            .get(id)
            .filter(|deal| terminal.is_none_or(|terminal| deal.purchase.record().terminal == terminal));
        let record = deal.ok_or_else(unknown_purchase)?.purchase.record();
        match record.state {
            State::Offered => Ok(record.price()),
            state => {
                let sentence = format!("this purchase is {}: only what is offered can be paid", state.word());
                Err(Refusal::new("not-offered", sentence))
            }
        }
    }

    /// The buyer consents, as [`Core::price_of`] was asked before.
    pub fn pay(&mut self, id: PurchaseId, means: Means, code: Option<Secret>, now: BootTime) {
        if let Some(deal) = self.trade.deals.get_mut(&id) {
            (deal.code, deal.refusal) = (code, None);
        }
        self.trade_input(id, Input::Pay(means), now);
    }

    /// The buyer does not.
    pub fn decline(
        &mut self,
        terminal: Option<PublicKey>,
        id: PurchaseId,
        now: BootTime,
    ) -> Result<(), Refusal> {
        self.price_of(terminal, &id)?;
        self.trade_input(id, Input::Decline, now);
        Ok(())
    }

    /// Something is new at a provider's. One that is over is looked for in the store.
    pub fn trade_hint(&mut self, id: PurchaseId, now: BootTime) {
        if self.trade.deals.contains_key(&id) {
            return self.trade_input(id, Input::Hint, now);
        }
        let hub = self.hub.clone();
        self.writer.purchase(id, move |record| {
            let (Some(record), Some(hub)) = (record, hub.upgrade()) else { return };
            let mut core = hub.core();
            let now = clock::now();
            if !core.trade.deals.contains_key(&id) {
                // Not settled yet: one that is over would be forgotten before its provider is asked.
                core.insert_deal(Purchase::restored(record, PATIENCE, now, clock::calendar()), None);
            }
            core.trade_input(id, Input::Hint, now);
        });
    }

    /// How a purchase stands, if it is not over.
    pub fn purchase_view(&self, id: &PurchaseId) -> Option<PurchaseView> {
        let deal = self.trade.deals.get(id)?;
        let record = deal.purchase.record();
        Some(PurchaseView {
            page: deal.page.clone(),
            offer: record.offer.as_ref().map(|(_, signed)| signed.clone()),
            state: record.state,
            gateway: record.gateway,
            refusal: deal.refusal.clone().or_else(|| record.refusal.clone()),
            request: deal.request,
            purchase: record.id,
        })
    }

    pub(super) fn restore_deal(&mut self, record: Record, now: BootTime) {
        let id = record.id;
        self.insert_deal(Purchase::restored(record, PATIENCE, now, clock::calendar()), None);
        self.settle_deal(id, now);
    }

    fn insert_deal(&mut self, purchase: Purchase, request: Option<u64>) {
        let record = purchase.record();
        let (id, pair) = (record.id, (record.terminal, record.gateway));
        self.trade.pairs.entry(pair).or_default().insert(id);
        let deal = Deal {
            purchase,
            code: None,
            page: None,
            request,
            refusal: None,
            keeping: false,
            asking: 0,
            deadline: None,
        };
        self.trade.deals.insert(id, deal);
    }

    fn remove_deal(&mut self, id: &PurchaseId) {
        let Some(deal) = self.trade.deals.remove(id) else { return };
        if let Some(deadline) = deal.deadline {
            self.trade.deadlines.remove(&(deadline, *id));
        }
        let record = deal.purchase.record();
        let pair = (record.terminal, record.gateway);
        if let Some(purchases) = self.trade.pairs.get_mut(&pair) {
            purchases.remove(id);
            if purchases.is_empty() {
                self.trade.pairs.remove(&pair);
            }
        }
    }

    pub(super) fn trade_input(&mut self, id: PurchaseId, input: Input, now: BootTime) {
        if let Some(deal) = self.trade.deals.get_mut(&id) {
            deal.purchase.handle_input(input, now);
            self.settle_deal(id, now);
        }
    }

    /// Purchases whose time is over.
    pub(super) fn tick_trade(&mut self, now: BootTime) {
        while let Some((_, id)) =
            self.trade.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            self.trade.deadlines.pop_first();
            if let Some(deal) = self.trade.deals.get_mut(&id) {
                deal.deadline = None;
                deal.purchase.handle_timeout(now);
                self.settle_deal(id, now);
            }
        }
    }

    /// Carries out what a purchase decided, as far as it is kept.
    fn settle_deal(&mut self, id: PurchaseId, now: BootTime) {
        loop {
            let Some(deal) = self.trade.deals.get_mut(&id) else { return };
            if deal.keeping {
                break;
            }
            let Some(action) = deal.purchase.poll_action() else { break };
            if !self.trade.step() {
                return;
            }
            self.trade_act(id, action, now);
        }
        let Some(deal) = self.trade.deals.get_mut(&id) else { return };
        let (before, wanted) = (deal.deadline, deal.purchase.poll_timeout());
        deal.deadline = wanted;
        let is_over = deal.purchase.state().is_final() && !deal.keeping && deal.asking == 0;
        if let Some(before) = before {
            self.trade.deadlines.remove(&(before, id));
        }
        self.trade.deadlines.extend(wanted.map(|deadline| (deadline, id)));
        if is_over {
            self.remove_deal(&id);
        }
    }

    fn trade_act(&mut self, id: PurchaseId, action: Action, now: BootTime) {
        let Some(deal) = self.trade.deals.get_mut(&id) else { return };
        let record = deal.purchase.record();
        let (terminal, gateway) = (record.terminal, record.gateway);
        match action {
            Action::Keep(record, postings) => {
                deal.keeping = true;
                let change = Change::Trade { record, postings, at: clock::calendar() };
                self.submit(change, move |core, outcome, now| core.trade_kept(id, outcome, now));
            }
            Action::Ask => self.ask_for_offer(id),
            Action::Tell => {
                if let Some(view) = self.purchase_view(&id) {
                    self.tell(&terminal, ToTerminal::Purchase(Box::new(view)));
                }
                if let Some(deal) = self.trade.deals.get_mut(&id) {
                    deal.request = None;
                }
            }
            Action::Start(means) => {
                let intent = Intent {
                    purchase: id,
                    terminal,
                    price: record.price(),
                    about: self.about(&id),
                    code: self.trade.deals.get_mut(&id).and_then(|deal| deal.code.take()),
                };
                self.asks(&id);
                self.at_provider(move |hub| async move {
                    let started = hub.payments.start(&hub, means, &intent).await;
                    hub.core().payment_started(id, started, clock::now());
                });
            }
            Action::Observe(means) => {
                let reference = record.reference.clone();
                self.asks(&id);
                self.at_provider(move |hub| async move {
                    let observed = hub.payments.observe(&hub, means, id, reference.as_deref()).await;
                    hub.core().payment_observed(id, observed, clock::now());
                });
            }
            Action::Refund(means) => {
                let reference = record.reference.clone();
                self.asks(&id);
                self.at_provider(move |hub| async move {
                    let observed = hub.payments.refund(&hub, means, id, reference.as_deref()).await;
                    hub.core().payment_observed(id, observed, clock::now());
                });
            }
            Action::Grant => self.regrant(terminal, gateway, now),
        }
    }

    fn asks(&mut self, id: &PurchaseId) {
        if let Some(deal) = self.trade.deals.get_mut(id) {
            deal.asking += 1;
        }
    }

    fn at_provider<F>(&self, ask: impl FnOnce(std::sync::Arc<super::Hub>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let (Some(runtime), Some(hub)) = (&self.trade.runtime, self.hub.upgrade()) {
            runtime.spawn(ask(hub));
        }
    }

    /// What the buyer is shown at the provider's.
    fn about(&self, id: &PurchaseId) -> String {
        let record = self.trade.deals.get(id).map(|deal| deal.purchase.record());
        let announce = record
            .and_then(|record| self.gateways.get(&record.gateway))
            .and_then(|gateway| gateway.record.announce.as_ref());
        let name = announce.map_or("Wayleave", |announce| announce.name.as_str());
        let tariff = record.map_or("", |record| record.tariff.as_str());
        format!("{name}: {tariff}")
    }

    fn trade_kept(&mut self, id: PurchaseId, outcome: Result<Outcome, NotKept>, now: BootTime) {
        if !self.trade.step() {
            return;
        }
        let Some(deal) = self.trade.deals.get_mut(&id) else { return };
        match outcome {
            Ok(Outcome::Done | Outcome::Seq(_)) => {
                deal.keeping = false;
                self.settle_deal(id, now);
            }
            Ok(Outcome::NoMatch) => {
                // Nobody else writes here, so this is a fault; what is kept counts.
                tracing::error!("what is kept of a purchase differs; it is read again");
                self.remove_deal(&id);
                let hub = self.hub.clone();
                self.writer.purchase(id, move |record| {
                    let (Some(record), Some(hub)) = (record, hub.upgrade()) else { return };
                    hub.core().restore_deal(record, clock::now());
                });
            }
            Err(NotKept::Full) => {
                let record = deal.purchase.record();
                let (terminal, request) = (record.terminal, deal.request);
                self.remove_deal(&id);
                let refusal =
                    Refusal::new("store-full", "the coordinator's disk is full: nothing new is sold");
                if let Some(request) = request {
                    self.tell(&terminal, ToTerminal::Refused { refusal, request });
                }
            }
            // The process is ending.
            Err(NotKept::Closed) => {}
        }
    }

    fn payment_started(&mut self, id: PurchaseId, started: Result<Started, PortError>, now: BootTime) {
        if !self.trade.step() {
            return;
        }
        let Some(deal) = self.trade.deals.get_mut(&id) else { return };
        deal.asking = deal.asking.saturating_sub(1);
        match started {
            Ok(Started { reference, page }) => {
                // Another page than the first one is shown to nobody: who pays, pays once.
                let first = deal.purchase.record().reference.as_ref().is_none_or(|first| *first == reference);
                let is_paid_here = page.is_none();
                if first {
                    deal.page = page;
                }
                self.trade_input(id, Input::Started(reference), now);
                match is_paid_here {
                    true => self.trade_input(id, Input::Hint, now),
                    // Also after a restart, when nothing else changes.
                    false => self.trade_act(id, Action::Tell, now),
                }
            }
            Err(PortError::Refused(refusal)) => {
                deal.refusal = Some(refusal);
                self.trade_input(id, Input::NotCharged, now);
            }
            Err(error @ PortError::Unsure { .. }) => tracing::warn!(%error, "a payment is begun again later"),
        }
    }

    fn payment_observed(&mut self, id: PurchaseId, observed: Result<Observation, PortError>, now: BootTime) {
        if !self.trade.step() {
            return;
        }
        if let Some(deal) = self.trade.deals.get_mut(&id) {
            deal.asking = deal.asking.saturating_sub(1);
        }
        match observed {
            Ok(observation) => self.trade_input(id, Input::Observed(observation), now),
            Err(error) => {
                tracing::warn!(%error, "a payment is looked at again later");
                self.settle_deal(id, now);
            }
        }
    }

    fn ask_for_offer(&mut self, id: PurchaseId) {
        let Some(record) = self.trade.deals.get(&id).map(|deal| deal.purchase.record()) else { return };
        let bid =
            Bid { want: record.want, tariff: record.tariff.clone(), purchase: id, terminal: record.terminal };
        let gateway = record.gateway;
        self.tell_gateway(&gateway, NoticeBody::Bid(Box::new(bid)));
    }

    /// A gateway is there: what it was asked may be lost.
    pub(super) fn ask_again(&mut self, gateway: &PublicKey) {
        let waiting: Vec<PurchaseId> = self
            .trade
            .deals
            .values()
            .map(|deal| deal.purchase.record())
            .filter(|record| record.gateway == *gateway && record.state == State::Requested)
            .map(|record| record.id)
            .collect();
        waiting.into_iter().for_each(|id| self.ask_for_offer(id));
    }

    /// A gateway answers a bid.
    pub(super) fn bid_answered(&mut self, key: &PublicKey, id: PurchaseId, answer: BidAnswer, now: BootTime) {
        let Some(record) = self.trade.deals.get(&id).map(|deal| deal.purchase.record()) else { return };
        if record.gateway != *key {
            return;
        }
        let input = match answer {
            BidAnswer::Asked => return,
            BidAnswer::Refused(refusal) => Input::Refused(refusal.shown()),
            BidAnswer::Offered(signed) => match signed.open(*key, record.terminal, id) {
                Ok(offer) => Input::Offered(Box::new((offer, signed))),
                Err(error) => Input::Refused(Refusal::new("bad-offer", error.to_string())),
            },
        };
        self.trade_input(id, input, now);
    }

    /// Little is left of a grant.
    pub(super) fn grant_low(&mut self, key: &PublicKey, grant: &GrantId, now: BootTime) {
        let pair = self.by_grant.get(grant).and_then(|index| self.entry(*index));
        let Some(pair) = pair.filter(|entry| entry.gateway == *key).map(|entry| (entry.terminal, *key))
        else {
            return;
        };
        for id in self.deals_of(pair.0, pair.1) {
            self.trade_input(id, Input::Low, now);
        }
    }

    /// Who has seen what is on the way to a terminal that is here again.
    pub(super) fn tell_purchases(&mut self, terminal: &PublicKey) {
        let deals = self.trade.deals.values().map(|deal| deal.purchase.record());
        let mine: Vec<PurchaseId> =
            deals.filter(|record| record.terminal == *terminal).map(|record| record.id).collect();
        for id in mine {
            if let Some(view) = self.purchase_view(&id) {
                self.tell(terminal, ToTerminal::Purchase(Box::new(view)));
            }
        }
    }
}

fn unknown_gateway() -> Refusal {
    Refusal::new("unknown-gateway", "there is no such gateway")
}

fn unknown_purchase() -> Refusal {
    Refusal::new("unknown-purchase", "there is no such purchase, or it is over")
}

#[cfg(test)]
#[path = "trade_tests.rs"]
mod tests;
