//! The one owner of sessions, gateways and deadlines; under one lock, in memory, never waiting.
//!
//! ```text
//! terminal links ─ ask, join, slow heartbeats ─┐                ┌─> store (its thread; tells back in order)
//! gateway links ── announce, acknowledge ──────┤─> Core ────────┤─> gateway links (they pull: `outgoing`)
//! tick ─────────── deadlines over ─────────────┘   │            └─> terminal links (bounded queue)
//!                                                  └─ logic::session decides, `act` carries out
//! ```
//!
//! Heartbeats do not come here, except the first of a join and those after a lapse. [`Core::act`] is the one
//! place where a session's decision meets the world. Read next: `gateways.rs`, `terminals.rs`.

mod gateways;
mod messages;
mod owners;
mod terminals;
mod trade;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub use gateways::Outgoing;
pub use terminals::Wanted;

use super::hub::Hub;
use super::metrics::Metrics;
use super::store::writer::{NotKept, Writer};
use super::store::{Change, GatewayRecord, Loaded, Outcome, SessionRecord};
use crate::config::coordinator::{DefaultPolicy, Settings};
use crate::logic::brake::{Brake, BrakeSettings, Grip, Scope};
use crate::logic::directory::Register;
use crate::logic::limit::Limit;
use crate::logic::post::Post;
use crate::logic::session::{Action, Input, Patience, Policy, Session, State};
use crate::logic::wheel::{Deadlines, Pulse, Wheel};
use crate::model::{
    BootTime, Bssid, Cause, CodeAsk, GrantId, GrantSpec, Holder, Incarnation, MacAddr, Millis, Offer,
    PublicKey, SealedCode, ServiceId, SessionId,
};
use crate::wire::notice::NoticeBody;
use crate::wire::sign::service_id;

/// A pause of the program longer than this is taken for an outage of its own.
const PAUSE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Core {
    hub: Weak<Hub>,
    writer: Writer,
    patience: Patience,
    lease: Duration,
    heartbeat: Duration,
    default_policy: Policy,
    sessions_per_terminal: usize,
    /// Gateways that sell in common, by the name of their owner.
    owners: BTreeMap<String, BTreeSet<ServiceId>>,

    /// By index of the wheel.
    entries: Vec<Option<Box<Entry>>>,
    by_id: HashMap<SessionId, u32>,
    by_pair: HashMap<(PublicKey, PublicKey), u32>,
    by_grant: HashMap<GrantId, u32>,
    by_station: HashMap<(PublicKey, MacAddr), u32>,
    wheel: Wheel,
    brake: Brake,
    inquiries: u64,
    counts: [u32; State::ALL.len()],

    gateways: BTreeMap<PublicKey, Gateway>,
    by_service: HashMap<ServiceId, PublicKey>,
    aps: HashMap<Bssid, PublicKey>,
    register: Register,

    terminals: HashMap<PublicKey, terminals::Terminal>,
    /// Sessions of each terminal that has one.
    sessions_of: HashMap<PublicKey, usize>,
    enrolled: HashSet<PublicKey>,
    joins: Limit<PublicKey>,

    links: u64,
    last_tick: BootTime,
    /// Nobody lapses before this: the program was paused, and heartbeats wait in the sockets.
    grace_until: BootTime,
    closing: bool,
    over: Vec<u32>,
    post: Post,
    trade: trade::Trade,
}

/// One session with what belongs to it.
#[derive(Debug)]
struct Entry {
    id: SessionId,
    grant: GrantId,
    gateway: PublicKey,
    terminal: PublicKey,
    station: MacAddr,
    bssid: Bssid,
    machine: Session,
    cause: Option<Cause>,
    /// Whether its grant has an access code of its own.
    by_code: bool,
    /// The request that waits for the gateway.
    joining: Option<Box<Joining>>,
    pulse: Option<Pulse>,
    /// What the wheel was armed with last.
    armed: Option<(BootTime, bool)>,
    /// As which state it is counted.
    counted: State,
}

/// A join that waits for the gateway.
#[derive(Debug)]
struct Joining {
    /// Comes back in the answer.
    request: u64,
    /// What a code is to be sealed for, until it is asked for.
    offer: Option<Offer>,
    /// The answer to it, which nobody here can read. It is told and not kept.
    code: Option<Box<SealedCode>>,
    /// Whether the join before it stands at the gateway.
    goes_on: bool,
    /// Whether the terminal asks ahead of time.
    ahead: bool,
}

impl Entry {
    /// Which join of which grant it is.
    fn join(&self) -> (GrantId, Incarnation) {
        (self.grant, self.machine.incarnation())
    }
}

/// One gateway.
#[derive(Debug)]
struct Gateway {
    record: GatewayRecord,
    link: Option<gateways::GatewayLink>,
    unacknowledged: BTreeMap<u64, NoticeBody>,
    /// Changes with a notice that the store has not told back.
    in_flight: u32,
    /// The gateway said that it holds something else while notices were on their way.
    compare_again: bool,
    sessions: BTreeSet<u32>,
}

impl Core {
    /// With everything that was kept.
    pub fn new(hub: Weak<Hub>, writer: Writer, settings: &Settings, now: BootTime) -> Self {
        let mut core = Self {
            hub,
            writer,
            patience: patience(settings),
            lease: settings.lease,
            heartbeat: settings.heartbeat,
            default_policy: default_policy(settings),
            sessions_per_terminal: settings.limits.sessions_per_terminal as usize,
            owners: settings.owners.clone(),
            entries: Vec::new(),
            by_id: HashMap::new(),
            by_pair: HashMap::new(),
            by_grant: HashMap::new(),
            by_station: HashMap::new(),
            wheel: Wheel::new(now),
            brake: Brake::new(brake(settings)),
            inquiries: 0,
            counts: [0; State::ALL.len()],
            gateways: BTreeMap::new(),
            by_service: HashMap::new(),
            aps: HashMap::new(),
            register: Register::default(),
            terminals: HashMap::new(),
            sessions_of: HashMap::new(),
            enrolled: HashSet::new(),
            joins: Limit::new(1, Duration::from_secs(1), 1),
            links: 0,
            last_tick: now,
            grace_until: now,
            closing: false,
            over: Vec::new(),
            post: messages::book(),
            trade: trade::Trade::new(),
        };
        core.limit_joins(settings);
        core
    }

    /// The words that heartbeats move.
    pub fn deadlines(&self) -> Arc<Deadlines> {
        self.wheel.deadlines()
    }

    /// Takes in what was kept. Every deadline begins anew.
    pub fn restore(&mut self, loaded: Loaded, now: BootTime) {
        for record in loaded.gateways {
            self.enrol_gateway(record);
        }
        self.enrolled.extend(loaded.terminals);
        let mut evictions = BTreeSet::new();
        for notice in loaded.outbox {
            if let NoticeBody::Evict { grant, incarnation, .. } = notice.body {
                evictions.insert((grant, incarnation));
            }
            if let Some(gateway) = self.gateways.get_mut(&notice.gateway) {
                gateway.unacknowledged.insert(notice.seq, notice.body);
            }
        }
        for record in loaded.sessions {
            let on_its_way =
                record.state != State::Evicting || evictions.contains(&(record.grant, record.incarnation));
            if !on_its_way || !self.gateways.contains_key(&record.gateway) {
                tracing::error!("a session without its notice or its gateway is dropped");
                tracing::debug!(session = %record.id, "dropped");
                self.forget_kept(record.id, record.incarnation);
                continue;
            }
            self.restore_session(record, now);
        }
        self.restore_messages(loaded.messages, now);
        for record in loaded.purchases {
            self.restore_deal(record, now);
        }
        self.restore_draws(loaded.draws, now);
    }

    fn restore_session(&mut self, record: SessionRecord, now: BootTime) {
        let policy = self.policy_of(&record.gateway);
        let machine = Session::restored(record.state, record.incarnation, policy, &self.patience, now);
        match self.insert(record, machine) {
            Some(index) => self.settle(index, now),
            None => tracing::error!("more sessions than the wheel can hold"),
        }
    }

    /// Takes over what may change while it runs.
    pub fn reload(&mut self, settings: &Settings) {
        self.patience = Patience { silence: self.patience.silence, ..patience(settings) };
        self.lease = settings.lease;
        self.default_policy = default_policy(settings);
        self.sessions_per_terminal = settings.limits.sessions_per_terminal as usize;
        self.owners.clone_from(&settings.owners);
        self.brake.set(brake(settings));
        self.limit_joins(settings);
        let gateways: Vec<PublicKey> = self.gateways.keys().copied().collect();
        for gateway in gateways {
            self.spread_policy(gateway);
        }
    }

    fn limit_joins(&mut self, settings: &Settings) {
        let joins = settings.limits.joins_per_minute;
        self.joins = Limit::new(joins, Duration::from_secs(60) / joins.max(1), 100_000);
    }

    /// No link stands from here on.
    pub fn close(&mut self) {
        self.closing = true;
        self.terminals.clear();
        for gateway in self.gateways.values_mut() {
            if let Some(link) = gateway.link.take() {
                link.wake.notify_one();
            }
        }
    }

    /// Looks at deadlines that are over, some at a time; `true` if there may be more.
    pub fn tick(&mut self, now: BootTime) -> bool {
        if now.since(self.last_tick) > PAUSE {
            tracing::warn!(paused = ?now.since(self.last_tick), "the program was paused; deadlines begin anew");
            self.grace_until = now + self.patience.silence;
        }
        self.last_tick = now;
        let mut over = std::mem::take(&mut self.over);
        let more = self.wheel.expire(now, 1024, &mut over);
        if now < self.grace_until {
            for index in over.drain(..) {
                self.spare(index);
            }
        }
        // The brake hears of all of them before it is asked about the first.
        for index in &over {
            let patience = self.patience;
            let Some(entry) = self.entry_mut(*index) else { continue };
            entry.armed = None;
            entry.machine.handle_timeout(&patience, now);
            let state = entry.machine.state();
            self.count(*index, state, now);
        }
        for index in over.drain(..) {
            self.settle(index, now);
        }
        self.over = over;
        self.tick_trade(now);
        self.tick_moving(now);
        self.post.handle_timeout(now);
        self.settle_post(now);
        self.log_brake();
        more
    }

    /// Gives a session time until the grace is over.
    fn spare(&mut self, index: u32) {
        let Some(open) = self.entry(index).map(|entry| entry.machine.state() == State::Active) else {
            return;
        };
        let pulse = self.wheel.arm(index, self.grace_until, open);
        if let Some(entry) = self.entry_mut(index) {
            entry.pulse = open.then_some(pulse);
        }
    }

    fn log_brake(&mut self) {
        while let Some(change) = self.brake.poll_action() {
            let scope = match change.scope {
                Scope::Node => "node".to_owned(),
                Scope::Gateway(key) => service_id(key).to_string(),
            };
            let (expected, silent, recent) = (change.expected, change.silent, change.recent);
            match change.grip {
                Grip::Open => tracing::warn!(scope, expected, silent, "the brake let go"),
                Grip::Evidence => tracing::error!(
                    scope,
                    expected,
                    silent,
                    "still silent: what the gateways do not see is evicted"
                ),
                Grip::Held => tracing::error!(
                    scope,
                    expected,
                    silent,
                    recent,
                    "mass silence: nobody is evicted for it until heartbeats return"
                ),
            }
        }
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)?.as_deref()
    }

    fn entry_mut(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)?.as_deref_mut()
    }

    fn insert(&mut self, record: SessionRecord, machine: Session) -> Option<u32> {
        let index = self.wheel.take().ok()?;
        if self.entries.len() <= index as usize {
            self.entries.resize_with(index as usize + 1, || None);
        }
        *self.sessions_of.entry(record.terminal).or_default() += 1;
        self.by_id.insert(record.id, index);
        self.by_pair.insert((record.terminal, record.gateway), index);
        self.by_grant.insert(record.grant, index);
        self.by_station.insert((record.gateway, record.station), index);
        if let Some(gateway) = self.gateways.get_mut(&record.gateway) {
            gateway.sessions.insert(index);
        }
        self.entries[index as usize] = Some(Box::new(Entry {
            id: record.id,
            grant: record.grant,
            gateway: record.gateway,
            terminal: record.terminal,
            station: record.station,
            bssid: record.bssid,
            machine,
            cause: record.cause,
            by_code: record.by_code,
            joining: None,
            pulse: None,
            armed: None,
            counted: State::Over,
        }));
        Some(index)
    }

    fn remove(&mut self, index: u32, now: BootTime) {
        self.count(index, State::Over, now);
        self.session_left(index, now);
        let Some(entry) = self.entries.get_mut(index as usize).and_then(Option::take) else { return };
        if let Some(sessions) = self.sessions_of.get_mut(&entry.terminal) {
            *sessions -= 1;
            if *sessions == 0 {
                self.sessions_of.remove(&entry.terminal);
            }
        }
        self.by_id.remove(&entry.id);
        self.by_grant.remove(&entry.grant);
        self.trade.draws.over(entry.join(), now);
        // Another session may stand there by now.
        if self.by_pair.get(&(entry.terminal, entry.gateway)) == Some(&index) {
            self.by_pair.remove(&(entry.terminal, entry.gateway));
        }
        if self.by_station.get(&(entry.gateway, entry.station)) == Some(&index) {
            self.by_station.remove(&(entry.gateway, entry.station));
        }
        if let Some(gateway) = self.gateways.get_mut(&entry.gateway) {
            gateway.sessions.remove(&index);
        }
        self.wheel.release(index);
        self.forget_messages_of(entry.id, &entry.gateway, now);
    }

    fn input(&mut self, index: u32, input: Input, now: BootTime) {
        let patience = self.patience;
        if let Some(entry) = self.entry_mut(index) {
            entry.machine.handle_input(input, &patience, now);
            self.settle(index, now);
        }
    }

    /// Carries out what a session decided, and arms its deadline.
    fn settle(&mut self, index: u32, now: BootTime) {
        while let Some(entry) = self.entry_mut(index) {
            let state = entry.machine.state();
            let action = entry.machine.poll_action();
            self.count(index, state, now);
            match action {
                Some(action) => self.act(index, action, now),
                None => break,
            }
        }
        let Some(entry) = self.entries.get_mut(index as usize).and_then(Option::as_deref_mut) else { return };
        let wanted =
            entry.machine.poll_timeout().map(|deadline| (deadline, entry.machine.state() == State::Active));
        // Unchanged: the wheel may know of later heartbeats than the machine.
        if wanted == entry.armed {
            return;
        }
        entry.armed = wanted;
        entry.pulse = match wanted {
            Some((deadline, open)) => Some(self.wheel.arm(index, deadline, open)).filter(|_| open),
            None => {
                self.wheel.disarm(index);
                None
            }
        };
    }

    /// Counts a session as it stands; the brake hears of it before it is asked.
    fn count(&mut self, index: u32, state: State, now: BootTime) {
        let Some(entry) = self.entries.get_mut(index as usize).and_then(Option::as_deref_mut) else { return };
        let (gateway, before) = (entry.gateway, std::mem::replace(&mut entry.counted, state));
        if before == state {
            return;
        }
        let slot = |state: State| State::ALL.iter().position(|known| *known == state).unwrap_or(0);
        self.counts[slot(before)] = self.counts[slot(before)].saturating_sub(1);
        self.counts[slot(state)] += 1;
        match (before.is_expected(), state.is_expected()) {
            (false, true) => self.brake.expect(gateway),
            (true, false) => self.brake.forget(gateway, before == State::Suspect, now),
            (true, true) | (false, false) => {}
        }
        match (before, state) {
            (State::Active, State::Suspect) => {
                self.brake.silent(gateway, now);
                self.count_one(|metrics| &metrics.lapses);
            }
            (State::Suspect, State::Active) => {
                self.brake.returned(gateway, now);
                self.count_one(|metrics| &metrics.rescues);
            }
            _ => {}
        }
    }

    fn metrics(&self, change: impl FnOnce(&Metrics)) {
        if let Some(hub) = self.hub.upgrade() {
            change(&hub.metrics);
        }
    }

    fn count_one(&self, which: impl FnOnce(&Metrics) -> &prometheus_client::metrics::counter::Counter) {
        self.metrics(|metrics| {
            which(metrics).inc();
        });
    }

    /// Action -> store, links.
    fn act(&mut self, index: u32, action: Action, now: BootTime) {
        let Some(entry) = self.entry(index) else { return };
        let (id, gateway) = (entry.id, entry.gateway);
        match action {
            Action::Grant(incarnation) => {
                let session = record(entry, incarnation);
                let (bssid, join) = (entry.bssid, entry.join());
                let goes_on = entry.joining.as_ref().is_some_and(|joining| joining.goes_on);
                self.begin_draw(join, goes_on, now);
                let Some(entry) = self.entry(index) else { return };
                let mut spec = self.spec(entry);
                self.draw(gateway, &spec);
                let joining = self.entry_mut(index).and_then(|entry| entry.joining.as_mut());
                if let Some(offer) = joining.and_then(|joining| joining.offer.take()) {
                    spec.code = Some(Box::new(CodeAsk::Make { bssid, offer }));
                }
                let notice = NoticeBody::Grant(spec);
                self.post(
                    gateway,
                    Change::Open { session, notice: notice.clone() },
                    move |core, outcome, now| {
                        core.opened(id, gateway, incarnation, notice, outcome, now);
                    },
                );
            }
            Action::Keep(from, to) => {
                let change = Change::Keep { session: id, incarnation: entry.machine.incarnation(), from, to };
                self.submit(change, move |core, outcome, now| core.swapped(id, outcome, now));
            }
            Action::Evict { from, incarnation, cause } => {
                tracing::debug!(session = %id, %incarnation, %cause, "evicting");
                let notice = NoticeBody::Evict { cause, grant: entry.grant, incarnation };
                let change = Change::Evict { session: id, incarnation, from, cause, notice: notice.clone() };
                if let Some(entry) = self.entry_mut(index) {
                    entry.cause = Some(cause);
                    entry.joining = None;
                }
                self.session_left(index, now);
                self.metrics(|metrics| Metrics::count(&metrics.evictions, cause.word()));
                self.post(gateway, change, move |core, outcome, now| match outcome {
                    Ok(Outcome::Seq(seq)) => core.posted(gateway, seq, notice),
                    outcome => core.swapped(id, outcome, now),
                });
            }
            Action::TellJoined(_) => self.tell_joined(index, now),
            Action::TellRefused(waited) => self.tell_gateway_silent(index, waited),
            Action::TellOver(incarnation, cause) => {
                let terminal = entry.terminal;
                self.tell_over(terminal, id, incarnation, cause);
            }
            Action::Consider => {
                self.inquiries += 1;
                let grip = self.brake.grip(gateway, now);
                let reachable = self.is_reachable(&gateway);
                let judge = Input::Judge { grip, reachable, inquiry: self.inquiries };
                let patience = self.patience;
                if let Some(entry) = self.entry_mut(index) {
                    entry.machine.handle_input(judge, &patience, now);
                }
            }
            Action::Inquire(inquiry) => {
                let (grant, incarnation) = (entry.grant, entry.machine.incarnation());
                self.tell_gateway(&gateway, NoticeBody::Inquire { grant, inquiry, incarnation });
            }
            Action::Forget { incarnation, kept } => {
                if kept {
                    self.forget_kept(id, incarnation);
                }
                self.remove(index, now);
            }
        }
    }

    fn forget_kept(&mut self, session: SessionId, incarnation: Incarnation) {
        // Not finding it is as good: a report may have removed it.
        self.submit(Change::Forget { session, incarnation }, |_, _, _| {});
    }

    /// Hands a change to the store; `done` runs with the lock held, after it is durable.
    fn submit(
        &self,
        change: Change,
        done: impl FnOnce(&mut Core, Result<Outcome, NotKept>, BootTime) + Send + 'static,
    ) {
        let hub = self.hub.clone();
        self.writer.submit(change, move |outcome| {
            if let Some(hub) = hub.upgrade() {
                done(&mut hub.core(), outcome, super::clock::now());
            }
        });
    }

    /// As [`Core::submit`], for changes that bring a notice.
    fn post(
        &mut self,
        gateway: PublicKey,
        change: Change,
        done: impl FnOnce(&mut Core, Result<Outcome, NotKept>, BootTime) + Send + 'static,
    ) {
        if let Some(gateway) = self.gateways.get_mut(&gateway) {
            gateway.in_flight += 1;
        }
        self.submit(change, move |core, outcome, now| {
            if let Some(gateway) = core.gateways.get_mut(&gateway) {
                gateway.in_flight -= 1;
            }
            done(core, outcome, now);
        });
    }

    fn swapped(&mut self, id: SessionId, outcome: Result<Outcome, NotKept>, now: BootTime) {
        if outcome != Ok(Outcome::NoMatch) {
            return;
        }
        // Nobody else writes here, so this is a fault; what is kept counts.
        tracing::error!("what is kept of a session differs; it is read again");
        tracing::debug!(session = %id, "read again");
        self.count_one(|metrics| &metrics.swaps_lost);
        self.read_again(id, now);
    }

    /// Replaces what is known of a session by what is kept, as after a restart.
    fn read_again(&mut self, id: SessionId, now: BootTime) {
        if let Some(index) = self.by_id.get(&id).copied() {
            self.remove(index, now);
        }
        let hub = self.hub.clone();
        self.writer.session(id, move |record| {
            let (Some(record), Some(hub)) = (record, hub.upgrade()) else { return };
            let mut core = hub.core();
            let taken = core.by_pair.contains_key(&(record.terminal, record.gateway));
            if !core.by_id.contains_key(&id) && !taken {
                core.restore_session(record, super::clock::now());
            }
        });
    }

    fn opened(
        &mut self,
        id: SessionId,
        gateway: PublicKey,
        incarnation: Incarnation,
        notice: NoticeBody,
        outcome: Result<Outcome, NotKept>,
        now: BootTime,
    ) {
        if let Ok(Outcome::Seq(seq)) = outcome {
            return self.posted(gateway, seq, notice);
        }
        let Some(index) = self.by_id.get(&id).copied() else { return };
        self.tell_not_kept(index);
        if incarnation > Incarnation(1) {
            // The join before it still stands at the gateway.
            return self.read_again(id, now);
        }
        self.input(index, Input::NotKept, now);
    }

    fn spec(&self, entry: &Entry) -> GrantSpec {
        GrantSpec {
            id: entry.grant,
            code: entry.by_code.then(|| Box::new(CodeAsk::Made)),
            lease: Some(Millis::from(self.lease)),
            quota: self.sold_bytes(entry.terminal, entry.gateway, entry.join()),
            holder: Holder::Terminal { key: entry.terminal, session: entry.id },
            station: entry.station,
            incarnation: entry.machine.incarnation(),
        }
    }

    fn policy_of(&self, gateway: &PublicKey) -> Policy {
        self.gateways.get(gateway).and_then(|gateway| gateway.record.policy).unwrap_or(self.default_policy)
    }

    fn spread_policy(&mut self, gateway: PublicKey) {
        let policy = self.policy_of(&gateway);
        let Some(indexes) = self.gateways.get(&gateway).map(|gateway| gateway.sessions.clone()) else {
            return;
        };
        for index in indexes {
            if let Some(entry) = self.entry_mut(index) {
                entry.machine.set_policy(policy);
            }
        }
    }
}

fn record(entry: &Entry, incarnation: Incarnation) -> SessionRecord {
    SessionRecord {
        id: entry.id,
        gateway: entry.gateway,
        terminal: entry.terminal,
        station: entry.station,
        bssid: entry.bssid,
        grant: entry.grant,
        by_code: entry.by_code,
        incarnation,
        state: State::Granting,
        cause: None,
    }
}

/// How long to wait for what, as the settings say.
pub fn patience(settings: &Settings) -> Patience {
    Patience {
        grant: settings.grant_patience,
        join: settings.join_patience,
        ahead: settings.ahead_patience,
        silence: settings.silence(),
        sleep_most: settings.sleep_most,
        inquiry: settings.inquiry_patience,
    }
}

fn brake(settings: &Settings) -> BrakeSettings {
    let brake = settings.brake;
    BrakeSettings {
        share_percent: brake.share_percent,
        at_least: brake.at_least,
        window: brake.window,
        hold: brake.hold,
    }
}

fn default_policy(settings: &Settings) -> Policy {
    match settings.policy {
        DefaultPolicy::Corroborate => Policy::Corroborate,
        DefaultPolicy::Strict => Policy::Strict,
    }
}
