//! RADIUS: servers are told of sessions, may end them, and say what a name and a password are worth.
//!
//! `record.rs` has what a server is told, `access.rs` what it is asked, `channel.rs` how that gets there,
//! `disconnect.rs` what servers ask of us, `keep.rs` what survives, `findings.rs` what the doctor says. What is a
//! session is decided in `logic/accounting.rs`, when something is sent in `logic/radius.rs`. Without the feature:
//! `radius_absent.rs`.
//!
//! hostapd can ask and tell a server as well. It knows neither our grants nor what the kernel counts: whoever lets
//! both tell a server of the same stations is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use self::access::Waiting;
use self::channel::{Channel, Outcome, Record};
use self::disconnect::Asked;
use self::keep::{Running, Terms};
use super::effects::Gateway;
use crate::adapters::nftables::Enforced;
use crate::adapters::radius::attribute::{Attribute, number};
use crate::adapters::radius::codec::Code;
use crate::config::gateway::Settings;
use crate::config::radius::Radius as RadiusSettings;
use crate::host::clock;
use crate::logic::accounting::{self, Accounting, Ending, Session, Told};
use crate::logic::grants::{self, Grant, Target};
use crate::logic::radius::{EVERYTHING, Patience, Worth};
use crate::model::{BootTime, Cause, Gather, GrantId, MacAddr, Traffic};
use crate::wire::sign::random;

mod access;
mod channel;
mod disconnect;
mod findings;
mod keep;
mod record;

pub(super) use findings::findings;

/// Requests kept for servers that do not answer.
const MOST_KEPT: usize = 20_000;

/// What servers were told is written down this long after it has changed.
const KEEP_AFTER: Duration = Duration::from_secs(1);

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
    /// Acct-Session-Id begins with it: those of other runs are others.
    run: u32,
    /// What is said of each session again and again, and its addresses.
    places: BTreeMap<u64, Place>,
    terms: BTreeMap<GrantId, Terms>,
    /// When what must survive is written down.
    keep_at: Option<BootTime>,
    lost: BTreeMap<Worth, u64>,
    /// What servers ask.
    asked: Asked,
}

/// Where a session takes place.
#[derive(Clone, Debug, Default)]
struct Place {
    attributes: Vec<Attribute>,
    addresses: BTreeSet<IpAddr>,
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
    pub fn new(settings: &Settings) -> Option<Self> {
        let own = settings.radius.clone()?;
        let patience = Patience { first: own.timeout, tries: own.tries, most: MOST_KEPT };
        let accounts = own.servers.iter().filter_map(|one| Some((one.accounting?, one.secret.clone())));
        let access = own.servers.iter().filter_map(|one| Some((one.authentication?, one.secret.clone())));
        let Running { told, unsent } = keep::load_running(&settings.runtime_dir);
        let name = if own.nas_identifier.is_empty() { &settings.name } else { &own.nas_identifier };
        let mut radius = Self {
            nas_identifier: name.clone(),
            accounts: Channel::new(Code::ACCOUNTING_REQUEST, accounts.collect(), patience),
            access: Channel::new(Code::ACCESS_REQUEST, access.collect(), patience),
            waiting: Waiting::new(),
            questions: 0,
            accounting: Accounting::new(told),
            run: u32::from_be_bytes(random()),
            places: BTreeMap::new(),
            terms: keep::load_terms(&settings.state_dir),
            keep_at: None,
            lost: BTreeMap::new(),
            asked: Asked::default(),
            settings: own,
        };
        let unsent = if radius.accounts.is_used() { unsent } else { Vec::new() };
        for (number, unsent) in unsent.into_iter().enumerate() {
            let attributes = unsent.attributes.iter().map(|(kind, value)| Attribute::octets(*kind, value));
            let record = Record {
                // Their order is lost with the daemon; the server has their times.
                subject: u64::MAX - number as u64,
                worth: if unsent.matters { Worth::Stop } else { Worth::Start },
                attributes: attributes.collect(),
                password: None,
            };
            radius.accounts.submit(record, unsent.since);
        }
        Some(radius)
    }

    fn tell_of_everything(&mut self, begins: bool, now: BootTime) {
        let attributes = record::of_everything(begins, &self.nas_identifier);
        let record = Record { subject: EVERYTHING, worth: Worth::Stop, attributes, password: None };
        if self.accounts.is_used() {
            self.accounts.submit(record, now);
        }
    }

    fn tell(&mut self, what: Told, session: &Session, moved: Traffic, time: Duration, now: BootTime) {
        let place = self.places.get(&session.number).cloned().unwrap_or_default();
        let mut attributes = record::of_session(what, moved, time.as_secs());
        attributes.push(Attribute::text(number::NAS_IDENTIFIER, &self.nas_identifier));
        attributes.push(Attribute::text(number::ACCT_SESSION_ID, &self.session_id(session)));
        attributes.extend(place.attributes);
        attributes.extend(record::of_addresses(place.addresses.iter()));
        attributes.push(Attribute::text(number::USER_NAME, &self.name_of(session.grant)));
        match self.terms.get(&session.grant) {
            Some(terms) => {
                attributes.push(Attribute::integer(number::ACCT_AUTHENTIC, BY_RADIUS));
                let classes = terms.classes.iter().map(|class| Attribute::octets(number::CLASS, class));
                attributes.extend(classes);
            }
            None => attributes.push(Attribute::integer(number::ACCT_AUTHENTIC, LOCALLY)),
        }
        let worth = match what {
            Told::Start => Worth::Start,
            Told::Interim => Worth::Interim,
            Told::Stop(_) => Worth::Stop,
        };
        if matches!(what, Told::Stop(_)) {
            self.places.remove(&session.number);
        }
        let record = Record { subject: session.number + 1, worth, attributes, password: None };
        if self.accounts.is_used() {
            self.accounts.submit(record, now);
        }
        self.keep_soon(now);
    }

    /// Whoever was given it, or the grant itself.
    fn name_of(&self, grant: GrantId) -> String {
        self.terms.get(&grant).map_or_else(|| grant.to_string(), |terms| terms.name.clone())
    }

    fn session_id(&self, session: &Session) -> String {
        format!("{:08x}-{:x}", self.run, session.number)
    }

    fn keep_soon(&mut self, now: BootTime) {
        self.keep_at.get_or_insert(now + KEEP_AFTER);
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

/// Acct-Authentic (RFC 2866, 5.6).
const BY_RADIUS: u32 = 1;
const LOCALLY: u32 = 2;

impl Gateway {
    /// Servers hear of whoever has access now.
    pub fn radius_begin(&mut self, now: BootTime) {
        let Some(radius) = &mut self.radius else { return };
        radius.asked.listen(radius.settings.disconnect, now);
        radius.tell_of_everything(true, now);
        let here: Vec<(MacAddr, GrantId)> =
            self.grants.enforced().map(|(station, grant)| (station, grant.id)).collect();
        for (station, grant) in here {
            self.radius_open(station, grant, now);
        }
    }

    /// The kernel lets stations in, in the place of others.
    pub fn radius_enforced(
        &mut self,
        grants: &[(MacAddr, Grant)],
        instead_of: &[Target],
        before: &BTreeMap<MacAddr, Enforced>,
        now: BootTime,
    ) {
        if self.radius.is_none() {
            return;
        }
        for target in instead_of {
            if grants.iter().any(|(station, grant)| (*station, grant.id) == (target.station, target.grant)) {
                continue;
            }
            let moved = before.get(&target.station).map(|found| found.moved);
            let ending = match self.grants.get(target.grant) {
                Some(held) if held.station != Some(target.station) => Ending::Gone,
                _ => Ending::Cause(target.cause),
            };
            self.radius_close(target.station, target.grant, moved, ending, now);
        }
        for (station, grant) in grants {
            self.radius_open(*station, grant.id, now);
        }
    }

    /// It lets a station in no longer.
    pub fn radius_ended(&mut self, target: &Target, moved: Option<Traffic>, now: BootTime) {
        self.radius_close(target.station, target.grant, moved, Ending::Cause(target.cause), now);
    }

    /// A grant is over, whether or not anybody had it.
    pub fn radius_over(&mut self, grant: GrantId, now: BootTime) {
        let Some(radius) = &mut self.radius else { return };
        radius.accounting.forget(grant);
        if radius.terms.remove(&grant).is_some()
            && let Err(error) = keep::save_terms(&self.settings.state_dir, &radius.terms)
        {
            tracing::warn!(%error, "names of grants");
        }
        radius.keep_soon(now);
    }

    fn radius_open(&mut self, station: MacAddr, grant: GrantId, now: BootTime) {
        let attributes = record::of_place(self, station);
        let addresses = self.presence.get(station).map(|found| found.addresses.keys().copied().gather());
        let moved = self.figures.get(&grant).map(|(_, moved)| *moved).unwrap_or_default();
        let Some(radius) = &mut self.radius else { return };
        let terms = radius.terms.get(&grant);
        let interim = terms.and_then(Terms::interim).or(radius.settings.interim);
        let idle = terms.and_then(Terms::idle);
        radius
            .accounting
            .handle_input(accounting::Input::Opened { grant, station, moved, interim, idle }, now);
        let mut own = radius.accounting.of_station(station);
        if let Some(number) = own.find(|session| session.grant == grant).map(|session| session.number) {
            let place = Place { attributes, addresses: addresses.unwrap_or_default() };
            radius.places.entry(number).or_insert(place);
        }
    }

    fn radius_close(
        &mut self,
        station: MacAddr,
        grant: GrantId,
        moved: Option<Traffic>,
        ending: Ending,
        now: BootTime,
    ) {
        self.radius_look(station);
        let moved = moved.or_else(|| self.figures.get(&grant).map(|(_, moved)| *moved));
        if let Some(radius) = &mut self.radius {
            radius.accounting.handle_input(accounting::Input::Closed { grant, station, moved, ending }, now);
        }
    }

    /// Takes down the addresses that a station has now; those of one that has none any more stay known.
    fn radius_look(&mut self, station: MacAddr) {
        let Some(radius) = &mut self.radius else { return };
        let Some(found) = self.presence.get(station).filter(|found| !found.addresses.is_empty()) else {
            return;
        };
        for session in radius.accounting.of_station(station) {
            if let Some(place) = radius.places.get_mut(&session.number) {
                place.addresses = found.addresses.keys().copied().gather();
            }
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

    fn radius_measure(&mut self, stations: &BTreeSet<MacAddr>, now: BootTime) {
        let found = match self.nft.enforced_of(stations.iter().copied()) {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "figures for the RADIUS server"),
        };
        self.remember(&found);
        for (station, enforced) in found {
            self.radius_look(station);
            let (Some(tag), Some(radius)) = (enforced.tag, &mut self.radius) else { continue };
            let input = accounting::Input::Measured { grant: tag.grant, station, moved: enforced.moved };
            radius.accounting.handle_input(input, now);
        }
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
            self.radius_keep();
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

    fn radius_keep(&mut self) {
        let Some(radius) = &mut self.radius else { return };
        radius.keep_at = None;
        let running = Running { told: radius.accounting.told().clone(), unsent: radius.accounts.unsent() };
        if let Err(error) = keep::save_running(&self.settings.runtime_dir, &running) {
            tracing::warn!(%error, "what RADIUS servers were told would be forgotten by a restart");
        }
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
        self.radius_keep();
    }
}
