//! What a terminal has bought, at the gateways of one owner together: who may join, with what, and what was used.
//!
//! `[owners]` of the configuration says which gateways sell in common; every other one sells for itself. A terminal that
//! joins at another one of them is sent away from the one before, and waits until that one has said what was used there.
//! From one that cannot say so as much stays held back as it was told to let through. What is held back is decided in
//! `logic/trade/draws.rs`.

use std::collections::BTreeSet;

use super::terminals::Wanted;
use super::{Core, Entry};
use crate::coordinator::store::{Change, Outcome};
use crate::host::clock;
use crate::logic::session::Input as SessionInput;
use crate::logic::trade::draws::{Draw, Join};
use crate::logic::trade::purchase::{Input, State};
use crate::model::trade::{Allowance, Tariff};
use crate::model::{
    BootTime, Cause, Gather, GrantId, GrantSpec, Holder, Incarnation, PublicKey, PurchaseId, Refusal, Report,
};
use crate::wire::notice::NoticeBody;
use crate::wire::sign::service_id;

/// Joins whose reports are waited for.
const MOST_DRAWS: usize = 100_000;

/// A join that waits for what was used elsewhere.
#[derive(Debug)]
pub(super) struct Moving {
    /// What is asked for.
    wanted: Wanted,
    /// Where.
    gateway: PublicKey,
    /// Not longer than that.
    until: BootTime,
}

impl Core {
    /// The gateways that sell in common with this one, and itself.
    fn sellers(&self, gateway: &PublicKey) -> BTreeSet<PublicKey> {
        let service = service_id(*gateway);
        let mine = self.owners.values().find(|gateways| gateways.contains(&service));
        let others = mine.into_iter().flatten().filter_map(|service| self.by_service.get(service));
        let mut sellers: BTreeSet<PublicKey> = others.copied().gather();
        // Who sells nothing gives, and takes nothing from what was bought at others.
        sellers.retain(|seller| seller == gateway || self.sells(seller));
        if !self.sells(gateway) {
            sellers.clear();
        }
        sellers.insert(*gateway);
        sellers
    }

    /// The purchases of a terminal that count at a gateway.
    pub(super) fn deals_of(&self, terminal: PublicKey, gateway: PublicKey) -> Vec<PurchaseId> {
        let pairs = self.sellers(&gateway).into_iter().map(|seller| (terminal, seller));
        pairs.filter_map(|pair| self.trade.pairs.get(&pair)).flatten().copied().collect()
    }

    /// Whether a gateway sells access rather than to give it.
    fn sells(&self, gateway: &PublicKey) -> bool {
        let announce = self.gateways.get(gateway).and_then(|gateway| gateway.record.announce.as_ref());
        announce.is_some_and(|announce| !announce.tariffs.is_empty())
    }

    /// All that a terminal has bought that counts at a gateway and is not known to be used; `None`: nothing.
    pub(super) fn allowance(&self, terminal: PublicKey, gateway: PublicKey) -> Option<Allowance> {
        let deals = self.deals_of(terminal, gateway);
        let deals = deals.iter().filter_map(|id| self.trade.deals.get(id));
        deals.filter_map(|deal| deal.purchase.record().left()).reduce(Allowance::and)
    }

    /// What a join may let through; `None`: it is not limited.
    pub(super) fn sold_bytes(&self, terminal: PublicKey, gateway: PublicKey, join: Join) -> Option<u64> {
        let left = self.allowance(terminal, gateway)?.bytes?;
        Some(self.trade.draws.free(&terminal, &self.sellers(&gateway), join, left))
    }

    /// Whether a terminal may join at a gateway, as far as money is concerned.
    fn check_paid(&self, terminal: PublicKey, gateway: PublicKey) -> Result<(), Refusal> {
        if !self.sells(&gateway) {
            return Ok(());
        }
        let Some(allowance) = self.allowance(terminal, gateway) else {
            let tariffs = self.tariffs(&service_id(gateway)).map_or(0, <[Tariff]>::len);
            let sentence = format!("access is sold here, under {tariffs} tariffs, and nothing is bought");
            return Err(Refusal::new("not-paid", sentence));
        };
        let own = self.standing(terminal, gateway);
        match (allowance.bytes, self.sold_bytes(terminal, gateway, own)) {
            (Some(left), Some(0)) => {
                let sentence = format!(
                    "all {left} bytes that are bought may be used up at another gateway of this owner, which has not \
                     said so: wait until it is connected, or buy more"
                );
                Err(Refusal::new("rest-unknown", sentence))
            }
            _ => Ok(()),
        }
    }

    /// The join of a terminal that stands at a gateway; one that is nobody's, if there is none.
    fn standing(&self, terminal: PublicKey, gateway: PublicKey) -> Join {
        let present = self.by_pair.get(&(terminal, gateway)).and_then(|index| self.entry(*index));
        let present = present.filter(|entry| entry.machine.state().is_wanted());
        present.map_or((GrantId([0; 16]), Incarnation(0)), Entry::join)
    }

    /// Makes room for a join as far as what was bought is concerned; `None`: it goes on once it is known what was used
    /// elsewhere.
    pub(super) fn move_here(
        &mut self,
        terminal: PublicKey,
        gateway: PublicKey,
        wanted: Wanted,
        now: BootTime,
    ) -> Result<Option<Wanted>, Refusal> {
        self.trade.moving.remove(&terminal);
        self.forget_lost(&terminal, now);
        if self.allowance(terminal, gateway).is_some_and(|allowance| allowance.bytes.is_some()) {
            let (sellers, own) = (self.sellers(&gateway), self.standing(terminal, gateway));
            let others: Vec<Draw> = self.trade.draws.others(&terminal, &sellers, own).copied().collect();
            for draw in &others {
                let index = self.by_grant.get(&draw.join.0).copied();
                if let Some(index) = index
                    && self.entry(index).is_some_and(|entry| entry.join() == draw.join)
                {
                    self.input(index, SessionInput::End(Cause::Replaced), now);
                }
            }
            if others.iter().any(|draw| self.is_reachable(&draw.gateway)) {
                let until = now + self.patience.grant;
                self.trade.moving.insert(terminal, Moving { wanted, gateway, until });
                return Ok(None);
            }
        }
        self.check_paid(terminal, gateway).map(|()| Some(wanted))
    }

    /// Lets a join go on that has waited, unless there is still somebody to wait for.
    fn go_on(&mut self, terminal: PublicKey, now: BootTime) {
        let Some(Moving { gateway, until, .. }) = self.trade.moving.get(&terminal) else { return };
        let (sellers, own) = (self.sellers(gateway), self.standing(terminal, *gateway));
        let mut others = self.trade.draws.others(&terminal, &sellers, own);
        if now < *until && others.any(|draw| self.is_reachable(&draw.gateway)) {
            return;
        }
        drop(others);
        let Some(Moving { wanted, gateway, .. }) = self.trade.moving.remove(&terminal) else { return };
        let request = wanted.request;
        let joined = self.check_paid(terminal, gateway);
        if let Err(refusal) = joined.and_then(|()| self.join_at(terminal, gateway, wanted, now)) {
            self.tell_refused(terminal, request, refusal);
        }
    }

    /// Joins that have waited for long enough.
    pub(super) fn tick_moving(&mut self, now: BootTime) {
        let moving = self.trade.moving.iter();
        let over: Vec<PublicKey> =
            moving.filter(|(_, moving)| moving.until <= now).map(|(terminal, _)| *terminal).collect();
        over.into_iter().for_each(|terminal| self.go_on(terminal, now));
    }

    /// What a gateway counted and lost is nobody's.
    fn forget_lost(&mut self, terminal: &PublicKey, now: BootTime) {
        let linked_since = |gateway: &PublicKey| {
            let link = self.gateways.get(gateway)?.link.as_ref()?;
            link.announced_at()
        };
        let lost = self.trade.draws.lost(terminal, linked_since, now);
        if !lost.is_empty() {
            tracing::warn!(joins = lost.len(), "what was used at a gateway is not known, and is not counted");
            self.forget_draws(lost);
        }
    }

    fn forget_draws(&mut self, joins: Vec<Join>) {
        for join in &joins {
            self.trade.draws.forget(*join);
        }
        if !joins.is_empty() {
            self.submit(Change::Drawn { joins }, |_, _, _| {});
        }
    }

    /// A join begins: from now on it has what is sold, and the one before it at the same gateway has nothing of its own.
    pub(super) fn begin_draw(&mut self, join: Join, goes_on: bool, now: BootTime) {
        let replaced = self.trade.draws.begin(join, goes_on, now);
        self.forget_draws(replaced);
    }

    /// A gateway is about to be told of this grant. What it may let through is kept before.
    pub(super) fn draw(&mut self, gateway: PublicKey, spec: &GrantSpec) {
        let Holder::Terminal { key: terminal, .. } = spec.holder else { return };
        let join = (spec.id, spec.incarnation);
        let Some(bytes) = spec.quota else { return };
        let before = self.trade.draws.get(join).map(|draw| draw.bytes);
        if before.is_none() && self.trade.draws.len() >= MOST_DRAWS {
            tracing::error!(
                "more grants with a quota than can be followed: what this one uses is not counted"
            );
            return;
        }
        let draw = self.trade.draws.draw(Draw { join, gateway, terminal, bytes, over: None });
        if before != Some(draw.bytes) {
            self.submit(Change::Draw { draw }, |_, _, _| {});
        }
    }

    /// What was kept, after sessions and purchases; also sessions of a time when nothing was held back.
    pub(super) fn restore_draws(&mut self, draws: Vec<Draw>, now: BootTime) {
        for draw in draws {
            self.trade.draws.put(draw);
            let index = self.by_grant.get(&draw.join.0);
            if index.and_then(|index| self.entry(*index)).is_none_or(|entry| entry.join() != draw.join) {
                self.trade.draws.over(draw.join, now);
            }
        }
        let entries = self.entries.iter().flatten().filter(|entry| entry.machine.state().is_wanted());
        let missing = entries.filter(|entry| self.trade.draws.get(entry.join()).is_none());
        let missing: Vec<(PublicKey, GrantSpec)> =
            missing.map(|entry| (entry.gateway, self.spec(entry))).collect();
        missing.into_iter().for_each(|(gateway, spec)| self.draw(gateway, &spec));
    }

    /// What has been bought is said again to the gateways of sessions that stand; a join says it by itself.
    pub(super) fn regrant(&mut self, terminal: PublicKey, gateway: PublicKey, now: BootTime) {
        for seller in self.sellers(&gateway) {
            self.regrant_at(terminal, seller, now);
        }
    }

    fn regrant_at(&mut self, terminal: PublicKey, gateway: PublicKey, now: BootTime) {
        let Some(index) = self.by_pair.get(&(terminal, gateway)).copied() else { return };
        let Some(entry) = self.entry(index).filter(|entry| entry.machine.state().is_wanted()) else { return };
        let (id, incarnation) = (entry.id, entry.machine.incarnation());
        if self.sells(&gateway) && self.allowance(terminal, gateway).is_none() {
            return self.input(index, SessionInput::End(Cause::Expired), now);
        }
        let spec = self.spec(entry);
        self.draw(gateway, &spec);
        let notice = NoticeBody::Grant(spec);
        let change = Change::Regrant { session: id, incarnation, notice: notice.clone() };
        self.post(gateway, change, move |core, outcome, _| {
            // A join that is over meanwhile says what is bought when it comes again.
            if let Ok(Outcome::Seq(seq)) = outcome {
                core.posted(gateway, seq, notice);
            }
        });
    }

    /// A gateway enforces a grant: what it was told last is what has been bought by now.
    pub(super) fn grant_enforced(&mut self, key: &PublicKey, spec: &GrantSpec, now: BootTime) {
        let Holder::Terminal { key: terminal, .. } = spec.holder else { return };
        let deals = self.deals_of(terminal, *key);
        if deals.is_empty() || spec.quota != self.sold_bytes(terminal, *key, (spec.id, spec.incarnation)) {
            return;
        }
        let state = |core: &Core, id: &PurchaseId| core.trade.deals.get(id).map(|deal| deal.purchase.state());
        let paid: Vec<_> = deals.iter().filter(|id| state(self, id) == Some(State::Paid)).copied().collect();
        if paid.is_empty() || !self.trade.step() {
            return;
        }
        for id in &paid {
            self.trade_input(*id, Input::Granted(clock::calendar()), now);
        }
        for id in deals.into_iter().filter(|id| !paid.contains(id)) {
            self.trade_input(id, Input::Extended, now);
        }
    }

    /// A join is over, and its gateway says what was moved under it. Oldest purchases are used first.
    pub(super) fn grant_used(&mut self, key: &PublicKey, report: &Report, now: BootTime) {
        let join = (report.grant, report.incarnation);
        let Some(draw) = self.trade.draws.get(join).filter(|draw| draw.gateway == *key).copied() else {
            return;
        };
        self.trade.draws.forget(join);
        let mut deals: Vec<(u64, PurchaseId, u64)> = Vec::new();
        for id in self.deals_of(draw.terminal, *key) {
            let record = self.trade.deals.get(&id).map(|deal| deal.purchase.record());
            let bytes = record.and_then(|record| Some((record.granted_at?, record.left()?.bytes?)));
            deals.extend(bytes.map(|(at, left)| (at, id, left)));
        }
        deals.sort_unstable();
        let mut rest = match report.cause {
            // The kernel says that it is used up: what the last packet did not fit into is none.
            Cause::Quota => draw.bytes,
            _ => report.moved.total_bytes().min(draw.bytes),
        };
        for (_, id, left) in deals {
            let used = rest.min(left);
            rest -= used;
            if used > 0 {
                self.trade_input(id, Input::Used(used), now);
            }
        }
        // After what was used: who loses power between both counts it again rather than not at all.
        self.submit(Change::Drawn { joins: vec![join] }, |_, _, _| {});
        self.go_on(draw.terminal, now);
        for seller in self.sellers(key) {
            let entry = self.by_pair.get(&(draw.terminal, seller)).and_then(|index| self.entry(*index));
            let Some(entry) = entry.filter(|entry| entry.machine.state().is_wanted()) else { continue };
            let told = self.trade.draws.get(entry.join()).map(|draw| draw.bytes);
            // What was held back because of this join is free.
            if told.is_some() && told < self.spec(entry).quota {
                self.regrant_at(draw.terminal, seller, now);
            }
        }
    }
}
