//! The portal: what stations without a grant meet, and what all of them can look at, buy and leave.
//!
//! Who asks is the station behind the address on that interface, never what a request says. What it may do is decided in
//! `logic/trade/till.rs`; `answer.rs` says which page it gets, `page.rs` renders it, `store.rs` keeps what is sold.

mod answer;
mod choices;
mod findings;
mod form;
mod page;
mod store;
mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use super::effects::{Done, Gateway};
use crate::adapters::web::{Certificate, Visit, Web};
use crate::config::gateway::Settings;
use crate::host::clock;
use crate::host::control::Reply;
use crate::logic::trade::till::{Action, Line, Plan};
use crate::model::trade::Money;
use crate::model::{
    BootTime, Cause, GrantId, GrantSpec, Holder, Incarnation, MacAddr, Millis, Refusal, Report,
};
use crate::wire::ledger::Row;
use crate::wire::local::LedgerPage;
use crate::wire::sign::{new_grant_id, random};
use store::Store;

pub(super) use findings::findings;

/// A station whose address the kernel has not told us yet: so often, and so long between.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The page that says so arrives before the station is sent away.
const LEAVE_AFTER: Duration = Duration::from_millis(300);
/// A disk that was full may have room by then.
const OPEN_AGAIN: Duration = Duration::from_secs(60);
/// Entries of one answer.
const LEDGER_PAGE: usize = 1000;

/// What belongs to the portal.
pub(super) struct Portal {
    /// Absent where the owner wants none.
    web: Option<Web>,
    certificate: Option<Certificate>,
    store: Option<Store>,
    /// Why nothing is sold, and when that is tried again; and where nobody is heard.
    broken: Option<String>,
    open_at: Option<BootTime>,
    unheard: Vec<String>,
    /// Of the tokens in forms.
    secret: [u8; 32],
    /// Its actions are being carried out.
    is_busy: bool,
}

/// What comes later.
pub(super) enum Later {
    /// The kernel may know by now who asks.
    Look(Visit, u32),
    /// The page has arrived.
    Leave(GrantId),
}

impl Portal {
    /// As the settings have it; it listens nowhere yet.
    pub fn new() -> Self {
        Self {
            web: None,
            certificate: None,
            store: None,
            broken: None,
            open_at: None,
            unheard: Vec::new(),
            secret: random(),
            is_busy: false,
        }
    }

    /// Who asks next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Visit {
        match &mut self.web {
            Some(web) => web.next().await,
            None => std::future::pending().await,
        }
    }

    /// When something is to be done about what was sold.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let till = self.store.as_ref().and_then(|store| store.till.poll_timeout());
        [till, self.open_at].into_iter().flatten().min()
    }
}

/// Whether the portal is another one.
fn differs(now: &Settings, wanted: &Settings) -> bool {
    let doors =
        |settings: &Settings| settings.portal.as_ref().map(|portal| (portal.port, portal.tls.clone()));
    doors(now) != doors(wanted)
}

impl Gateway {
    /// At the start, once grants are as they were: what was sold is enforced again, where it is not.
    pub fn portal_begin(&mut self, now: BootTime) {
        let Some(portal) = &self.settings.portal else { return };
        let tls = portal.tls.as_ref();
        self.portal.certificate = tls.map(|tls| Certificate::new(tls.certificate.clone(), tls.key.clone()));
        let tls = tls.map(|tls| tls.port).zip(self.portal.certificate.clone());
        self.portal.web = Some(Web::new(portal.port, tls));
        self.portal_listen();
        let early = findings::passes_early(self.nft.layout());
        if !early.is_empty() {
            tracing::warn!(
                ?early,
                "the bridge runs iptables first, so that visitors are not redirected; see the doctor"
            );
        }
        if self.portal.store.is_none() {
            self.open_store(now);
        }
    }

    /// Sells again, and has enforced what was sold and is not.
    fn open_store(&mut self, now: BootTime) {
        self.portal.open_at = None;
        match Store::open(&self.settings.state_dir, self.identity.clone(), now) {
            Ok(store) => (self.portal.store, self.portal.broken) = (Some(store), None),
            Err(error) => {
                tracing::error!(%error, "the portal sells nothing");
                return self.close_store(&error, now);
            }
        }
        let ending: BTreeSet<GrantId> = self.grants.ending().map(|(grant, _)| grant.id).collect();
        let Some(store) = &mut self.portal.store else { return };
        let lost: Vec<MacAddr> = store
            .till
            .plans()
            // Of one whose end is under way it is still to be said what was used.
            .filter(|(_, plan)| self.grants.get(plan.grant).is_none() && !ending.contains(&plan.grant))
            .map(|(station, _)| station)
            .collect();
        for station in lost {
            store.till.again(station, new_grant_id(), clock::calendar(), now);
        }
        self.portal_settle(now);
    }

    /// The settings were read again.
    pub fn portal_reload(&mut self, wanted: &Settings, now: BootTime) {
        let other = differs(&self.settings, wanted);
        self.settings.portal.clone_from(&wanted.portal);
        self.settings.shop.clone_from(&wanted.shop);
        if other {
            self.portal.web = None;
            self.portal_begin(now);
        }
    }

    /// Where the web of stations without a grant is redirected, where this kernel can do that.
    pub fn portal_port(&self) -> Option<u16> {
        let can = self.nft.abilities().redirect;
        self.settings.portal.as_ref().map(|portal| portal.port).filter(|_| can)
    }

    /// What is shared may have changed.
    pub fn portal_listen(&mut self) {
        let guests = self.world.guests(&self.settings);
        let Some(web) = &mut self.portal.web else { return };
        let failed = web.listen(&guests);
        self.portal.unheard =
            failed.iter().map(|(name, port, error)| format!("port {port} on {name}: {error}")).collect();
        for unheard in &self.portal.unheard {
            tracing::warn!("the portal does not listen at {unheard}");
        }
    }

    /// Somebody asks.
    pub fn portal_visit(&mut self, visit: Visit, looks: u32, now: BootTime) {
        let station = self
            .world
            .name(visit.interface)
            .and_then(|interface| self.presence.holder(interface, visit.from))
            .filter(|station| !self.world.is_ours(*station));
        if station.is_none() && looks < LOOKS && answer::asks_about_itself(&visit.request) {
            self.pending.push(Box::pin(async move {
                tokio::time::sleep(LOOK_AGAIN).await;
                Done::Portal(Later::Look(visit, looks + 1))
            }));
            return;
        }
        let page = self.portal_answer(&visit, station, now);
        // Whoever has gone does not want it.
        let _ = visit.reply.send(page);
    }

    /// Something that waited.
    pub fn portal_later(&mut self, later: Later, now: BootTime) {
        match later {
            Later::Look(visit, looks) => self.portal_visit(visit, looks, now),
            Later::Leave(grant) => {
                self.remember_figures();
                let input =
                    crate::logic::grants::Input::Take { grant, incarnation: None, cause: Cause::Left };
                self.grants.handle_input(input, now);
            }
        }
    }

    fn leave_soon(&mut self, grant: GrantId) {
        self.pending.push(Box::pin(async move {
            tokio::time::sleep(LEAVE_AFTER).await;
            Done::Portal(Later::Leave(grant))
        }));
    }

    /// A grant is over.
    pub fn portal_over(&mut self, report: &Report, now: BootTime) {
        let (used, moved) = self.figures.get(&report.grant).copied().unwrap_or_default();
        if let Some(store) = &mut self.portal.store {
            // What the kernel dropped was moved and not used; the headers that it may have counted were used by nobody.
            let since = report.moved.total_bytes().saturating_sub(moved.total_bytes());
            let bytes = used.saturating_add(since).min(report.moved.total_bytes());
            store.till.over(report.grant, report.cause, bytes, clock::calendar(), now);
        }
    }

    /// Time has passed.
    pub fn portal_timeout(&mut self, now: BootTime) {
        if self.portal.open_at.is_some_and(|at| at <= now) {
            self.open_store(now);
        }
        if let Some(store) = &mut self.portal.store
            && store.till.poll_timeout().is_some_and(|at| at <= now)
        {
            store.till.handle_timeout(clock::calendar(), now);
        }
    }

    /// Carries out what nobody waits for.
    pub fn portal_settle(&mut self, now: BootTime) {
        if let Err(refusal) = self.portal_turn(now) {
            tracing::warn!(word = refusal.word, "{}", refusal.sentence);
        }
    }

    /// Carries out what the till has decided: kept first, then enforced. Why it was not.
    pub fn portal_turn(&mut self, now: BootTime) -> Result<(), Refusal> {
        if self.portal.is_busy {
            return Ok(());
        }
        self.portal.is_busy = true;
        let outcome = self.carry_out(now);
        self.portal.is_busy = false;
        outcome
    }

    fn carry_out(&mut self, now: BootTime) -> Result<(), Refusal> {
        let mut outcome = Ok(());
        let mut lines: Vec<Line> = Vec::new();
        loop {
            let Some(store) = &mut self.portal.store else { return outcome };
            match store.till.poll_action() {
                Some(Action::Keep(line)) => lines.push(line),
                action => {
                    if let Err(error) = store.keep(&std::mem::take(&mut lines), now) {
                        return Err(self.not_kept(&error, now));
                    }
                    let Some(Action::Enforce(station, plan)) = action else { return outcome };
                    let enforced = self.enforce_plan(station, &plan, now);
                    if let Some(store) = &mut self.portal.store {
                        store.till.enforced(station, enforced.is_ok(), clock::calendar(), now);
                    }
                    outcome = outcome.and(enforced);
                }
            }
        }
    }

    /// What could not be kept was not done: all is as it is on the disk, where it is looked for again in a while.
    fn not_kept(&mut self, error: &store::StoreError, now: BootTime) -> Refusal {
        tracing::error!(%error, "nothing is sold until this can be kept");
        self.close_store(error, now);
        Refusal::new("not-kept", "this cannot be kept now, so nothing was done and nothing was charged")
    }

    fn close_store(&mut self, error: &store::StoreError, now: BootTime) {
        self.portal.broken = Some(crate::model::sentence(error));
        self.portal.store = None;
        self.portal.open_at = Some(now + OPEN_AGAIN);
    }

    fn enforce_plan(&mut self, station: MacAddr, plan: &Plan, now: BootTime) -> Result<(), Refusal> {
        let spec = GrantSpec {
            id: plan.grant,
            code: None,
            lease: plan.until.map(|until| until.since(now).into()),
            quota: plan.quota,
            holder: Holder::Station,
            station,
            incarnation: Incarnation(1),
        };
        let specs = vec![spec];
        self.check(&specs)?;
        self.give_by_hand(specs, now)
    }

    /// Vouchers for the owner to print.
    pub fn print_vouchers(
        &mut self,
        count: u32,
        value: Money,
        valid: Option<Millis>,
        reply: Reply,
        now: BootTime,
    ) {
        let Some(store) = &mut self.portal.store else { return reply.refuse(self.nothing_sold()) };
        let made = store.print(count, value, valid);
        match self.portal_turn(now) {
            Ok(()) => reply.say(made),
            Err(refusal) => reply.refuse(refusal),
        }
    }

    /// Entries of the gateway's own ledger.
    pub fn ledger_page(&self, after: u64, reply: Reply) {
        let Some(store) = &self.portal.store else { return reply.refuse(self.nothing_sold()) };
        let text = match std::fs::read_to_string(store.ledger()) {
            Ok(text) => text,
            Err(error) => return reply.refuse(Refusal::new("ledger", error.to_string())),
        };
        let rows = text.lines().filter_map(|line| Row::from_line(line).ok());
        let entries = rows.filter(|row| row.seq > after).take(LEDGER_PAGE).collect();
        reply.ok(LedgerPage { entries });
    }

    fn nothing_sold(&self) -> Refusal {
        let sentence = match &self.portal.broken {
            Some(why) => format!("nothing is sold here: {why}"),
            None => "nothing is sold here: set portal.enabled = true".to_owned(),
        };
        Refusal::new("no-portal", sentence)
    }
}
