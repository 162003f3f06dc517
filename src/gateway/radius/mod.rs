//! RADIUS: servers are told of sessions, may end them, and say what a name and a password are worth.
//!
//! `sessions.rs` has when one begins and ends, `record.rs` what a server is told of it, `access.rs` what it is asked,
//! `channel.rs` how that gets there, `disconnect.rs` what servers ask of us, `keep.rs` what survives, `findings.rs` what
//! the doctor says. What is a session is decided in `logic/accounting.rs`, when something is sent in `logic/radius.rs`.
//! Without the feature: `radius_absent.rs`.
//!
//! hostapd can ask and tell a server as well. It knows neither our grants nor what the kernel counts: whoever lets
//! both tell a server of the same stations is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use self::access::Waiting;
use self::channel::{Channel, Outcome, Record};
use self::disconnect::Asked;
use self::keep::{Change, Journal, Running, Terms};
use self::sessions::Place;
use super::effects::Gateway;
use crate::adapters::radius::codec::Code;
use crate::config::gateway::Settings;
use crate::config::radius::Radius as RadiusSettings;
use crate::host::clock;
use crate::host::keep::KeepError;
use crate::logic::accounting::{self, Accounting, Ending};
use crate::logic::grants::{self, Grants};
use crate::logic::radius::{EVERYTHING, Patience, Worth};
use crate::model::{BootTime, Cause, GrantId, MacAddr};
use crate::wire::sign::random;

mod access;
mod channel;
mod disconnect;
mod findings;
mod keep;
mod record;
mod sessions;

pub(super) use findings::findings;

/// Requests kept for servers that do not answer.
const MOST_KEPT: usize = 20_000;

/// What servers were told is written down this long after it has changed.
const KEEP_AFTER: Duration = Duration::from_secs(1);

/// And when that went wrong.
const KEEP_AGAIN: Duration = Duration::from_secs(10);

/// How long a stop waits for servers to answer.
const STOP_PATIENCE: Duration = Duration::from_millis(1500);

/// Sessions, and the servers that are told of them.
pub(super) struct Radius {
    settings: RadiusSettings,
    nas_identifier: String,
    accounts: Channel,
    access: Channel,
    /// Who asked what; questions asked so far.
    waiting: Waiting,
    questions: u64,
    accounting: Accounting,
    /// Whether servers were told that accounting begins: before that they hear of no session.
    has_begun: bool,
    /// Acct-Session-Id begins with it: those of other runs are others.
    run: u32,
    /// What is said of each session again and again, and its addresses.
    places: BTreeMap<u64, Place>,
    terms: BTreeMap<GrantId, Terms>,
    /// Whether they are others than are kept across a reboot.
    terms_changed: bool,
    /// What a restart must not lose, and when what has changed of it is written down.
    journal: Journal,
    keep_at: Option<BootTime>,
    /// Grants of which more was told since then, or which are over.
    changed: BTreeSet<GrantId>,
    lost: BTreeMap<Worth, u64>,
    /// What servers ask.
    asked: Asked,
}

/// What has come from a server.
pub(super) enum Heard {
    /// An answer about accounting, from the server at this place.
    Account(usize, Vec<u8>),
    /// An answer about access, from the server at this place.
    Access(usize, Vec<u8>),
    /// A request, from there.
    Asked(SocketAddr, Vec<u8>),
}

/// The next datagram from a server; never without servers.
pub(super) async fn next(radius: Option<&Radius>) -> Heard {
    let Some(radius) = radius else { return std::future::pending().await };
    tokio::select! {
        (server, datagram) = radius.accounts.receive() => Heard::Account(server, datagram),
        (server, datagram) = radius.access.receive() => Heard::Access(server, datagram),
        (from, datagram) = radius.asked.receive() => Heard::Asked(from, datagram),
    }
}

/// Whether other servers are configured, or in another way.
pub(super) fn differs(one: &Settings, other: &Settings) -> bool {
    one.radius != other.radius
}

impl Radius {
    /// As configured; `None`: without servers.
    pub fn new(settings: &Settings, grants: &Grants, now: BootTime) -> Option<Self> {
        let own = settings.radius.clone()?;
        let patience = Patience { first: own.timeout, tries: own.tries, most: MOST_KEPT };
        let accounts = own.servers.iter().filter_map(|one| Some((one.accounting?, one.secret.clone())));
        let access = own.servers.iter().filter_map(|one| Some((one.authentication?, one.secret.clone())));
        let (journal, Running { mut told, terms: given, unsent }) = Journal::open(&settings.runtime_dir);
        let kept = keep::load_terms(&settings.state_dir);
        let mut terms = kept.clone();
        terms.extend(given);
        // Some may have ended while there was no daemon.
        told.retain(|grant, _| grants.get(*grant).is_some());
        terms.retain(|grant, _| grants.get(*grant).is_some());
        let name = if own.nas_identifier.is_empty() { &settings.name } else { &own.nas_identifier };
        let mut radius = Self {
            nas_identifier: name.clone(),
            accounts: Channel::new(Code::ACCOUNTING_REQUEST, accounts.collect(), patience),
            access: Channel::new(Code::ACCESS_REQUEST, access.collect(), patience),
            waiting: Waiting::new(),
            questions: 0,
            accounting: Accounting::new(told),
            has_begun: false,
            run: u32::from_be_bytes(random()),
            places: BTreeMap::new(),
            terms_changed: terms != kept,
            terms,
            journal,
            keep_at: None,
            changed: BTreeSet::new(),
            lost: BTreeMap::new(),
            asked: Asked::default(),
            settings: own,
        };
        if radius.accounts.is_used() {
            radius.accounts.resume(unsent.into_values(), now);
        }
        Some(radius)
    }

    fn tell_of_everything(&mut self, begins: bool, now: BootTime) {
        let attributes = record::of_everything(begins, &self.nas_identifier);
        let (subject, worth, since) = (EVERYTHING, Worth::Stop, now);
        let record = Record { subject, worth, since, attributes, password: None };
        if self.accounts.is_used() {
            self.accounts.submit(record, now);
        }
    }

    fn keep_soon(&mut self, now: BootTime) {
        self.keep_at.get_or_insert(now + KEEP_AFTER);
    }

    /// Writes down what a restart must not lose.
    fn keep(&mut self, now: BootTime) {
        let told = self.accounting.told();
        let changed = std::mem::take(&mut self.changed).into_iter();
        let changed = changed
            .map(|grant| told.get(&grant).map_or(Change::Over(grant), |moved| Change::Told(grant, *moved)));
        let changes: Vec<Change> = changed.chain(self.accounts.changes()).collect();
        self.keep_at = None;
        self.write(&changes, now);
    }

    fn write(&mut self, changes: &[Change], now: BootTime) {
        let whole = || {
            let told = self.accounting.told().iter().map(|(grant, moved)| Change::Told(*grant, *moved));
            let given = self.terms.iter().map(|(grant, terms)| Change::Given(*grant, terms.clone()));
            told.chain(given).chain(self.accounts.unsent()).collect()
        };
        if let Err(error) = self.journal.write(changes, whole) {
            tracing::warn!(%error, "what RADIUS servers were told would be forgotten by a restart");
            self.keep_at.get_or_insert(now + KEEP_AGAIN);
        }
    }

    fn due(&self) -> Option<BootTime> {
        let accounts = self.accounts.requests.poll_timeout();
        let access = self.access.requests.poll_timeout();
        let all = [accounts, access, self.accounting.poll_timeout(), self.keep_at, self.asked.again_at];
        all.into_iter().flatten().min()
    }

    fn count(&mut self, outcome: &Outcome) {
        if let Outcome::Lost(_, worth) = outcome {
            *self.lost.entry(*worth).or_default() += 1;
            tracing::warn!(?worth, "more waits for the RADIUS servers than is kept: one is lost");
        }
    }
}

impl Gateway {
    /// Servers hear of whoever has access now; of others when the kernel lets them in.
    pub fn radius_begin(&mut self, now: BootTime) {
        let Some(radius) = &mut self.radius else { return };
        radius.asked.listen(radius.settings.disconnect, now);
        radius.tell_of_everything(true, now);
        radius.has_begun = true;
        if !self.refused {
            self.radius_stands(now);
        }
    }

    /// Carries out one thing that was decided; whether there was one.
    pub fn radius_turn(&mut self, now: BootTime) -> bool {
        let Some(radius) = &mut self.radius else { return false };
        if let Some(action) = radius.accounting.poll_action() {
            match action {
                accounting::Action::Tell { what, session, moved, time } => {
                    radius.tell(what, &session, moved, time, now);
                }
                accounting::Action::Measure { stations } => self.radius_measure(&stations, now),
                accounting::Action::Idle { grant } => {
                    let input = grants::Input::Take { grant, incarnation: None, cause: Cause::Silence };
                    self.grants.handle_input(input, now);
                }
            }
            return true;
        }
        match radius.access.carry_out() {
            Some(Outcome::Answered(ticket, answer)) => {
                self.radius_answered(ticket, &answer, now);
                return true;
            }
            Some(Outcome::Lost(ticket, _)) => {
                self.radius_unanswered(ticket);
                return true;
            }
            None => {}
        }
        let Some(outcome) = radius.accounts.carry_out() else { return false };
        radius.count(&outcome);
        radius.keep_soon(now);
        true
    }

    /// When [`Self::radius_timeout`] is next worth calling.
    pub fn radius_due(&self) -> Option<BootTime> {
        self.radius.as_ref().and_then(Radius::due)
    }

    /// Lets time pass up to `now`.
    pub fn radius_timeout(&mut self, now: BootTime) {
        let Some(radius) = &mut self.radius else { return };
        radius.accounts.requests.handle_timeout(now);
        radius.access.requests.handle_timeout(now);
        radius.accounting.handle_timeout(now);
        if radius.asked.again_at.is_some_and(|at| at <= now) {
            radius.asked.listen(radius.settings.disconnect, now);
        }
        if radius.keep_at.is_some_and(|at| at <= now) {
            radius.keep(now);
        }
    }

    /// Something has come from a server.
    pub fn radius_heard(&mut self, heard: Heard, now: BootTime) {
        let Some(radius) = &mut self.radius else { return };
        match heard {
            Heard::Account(server, datagram) => radius.accounts.heard(server, &datagram, now),
            Heard::Access(server, datagram) => radius.access.heard(server, &datagram, now),
            Heard::Asked(from, datagram) => self.radius_asked(from, &datagram, now),
        }
    }

    /// Writes down what a reboot must not lose, if it has changed.
    pub fn radius_save(&mut self) -> Result<(), KeepError> {
        let Some(radius) = self.radius.as_mut().filter(|radius| radius.terms_changed) else { return Ok(()) };
        keep::save_terms(&self.settings.state_dir, &radius.terms)?;
        radius.terms_changed = false;
        Ok(())
    }

    /// The daemon ends: so do sessions, for the servers. What passes from here on counts in the next ones.
    pub async fn radius_stop(&mut self, now: BootTime) {
        self.remember_figures();
        let Some(radius) = &mut self.radius else { return };
        let open: Vec<(MacAddr, GrantId)> =
            radius.accounting.sessions().map(|session| (session.station, session.grant)).collect();
        for (station, grant) in open {
            self.radius_close(station, grant, None, Ending::Stopped, now);
        }
        while self.radius_turn(now) {}
        if let Some(radius) = &mut self.radius {
            radius.tell_of_everything(false, now);
        }
        let deadline = tokio::time::Instant::now() + STOP_PATIENCE;
        while tokio::time::Instant::now() < deadline {
            let now = clock::now();
            while self.radius_turn(now) {}
            let Some(radius) = &self.radius else { return };
            if radius.accounts.requests.is_idle() {
                break;
            }
            let due =
                radius.accounts.requests.poll_timeout().map(|at| at.since(now)).unwrap_or(STOP_PATIENCE);
            let wait = deadline.min(tokio::time::Instant::now() + due);
            // Nobody is let in or sent away any more: what else servers say is not heard.
            match tokio::time::timeout_at(wait, radius.accounts.receive()).await {
                Ok((server, datagram)) => {
                    self.radius_heard(Heard::Account(server, datagram), clock::now());
                }
                Err(_) => self.radius_timeout(clock::now()),
            }
        }
        let waits = self.radius.as_ref().map_or(0, |radius| radius.accounts.requests.open().count());
        if waits > 0 {
            tracing::warn!(waits, "RADIUS servers have not answered; they are told at the next start");
        }
        if let Some(radius) = &mut self.radius {
            radius.keep(clock::now());
        }
    }
}
