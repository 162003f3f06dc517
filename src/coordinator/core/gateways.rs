//! Gateways: what they share, what they are told, what they answer.
//!
//! A link pulls what is to be sent ([`Core::outgoing`]), so a slow gateway fills no queue: durable notices
//! wait in the outbox, everything else is made again when it is lost. After a reconnect the outbox is sent
//! from its beginning; when everything sent was acknowledged, digests are compared, and if they differ the
//! gateway gets all that is wanted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use super::{Core, Entry, Gateway, State};
use crate::coordinator::store::{Change, GatewayRecord};
use crate::host::clock;
use crate::logic::beacon::Slots;
use crate::logic::session::{Input, Policy, Sight};
use crate::model::{
    BootTime, Bssid, Cause, DirectoryVersion, GrantId, GrantSpec, GrantsDigest, Incarnation, Millis,
    PublicKey, Refusal, Region, Report, ServiceId, SessionId,
};
use crate::wire::beacon::Beacon;
use crate::wire::directory::DirectoryPart;
use crate::wire::gateway::{Announce, BY_CODE, CodeAnswer, FromGateway, Presence, grants_digest};
use crate::wire::notice::NoticeBody;
use crate::wire::sign::{random, service_id};
use crate::wire::trade::MOST_TARIFFS;

/// Most of what is not durable that waits for one gateway.
const REPLIES: usize = 4096;
/// Most notices handed to a link at once.
const PULL: usize = 64;
/// Grants in one part of [`NoticeBody::Desired`]: below 16 KiB with the signature around it.
const PART: usize = 64;
const NETWORKS: usize = 64;
const BSSIDS: usize = 256;
const NAME: usize = 64;

/// The link of a gateway.
#[derive(Debug)]
pub(super) struct GatewayLink {
    id: u64,
    pub(super) wake: Arc<Notify>,
    /// The highest durable notice handed to it.
    sent: u64,
    announced: bool,
    /// When it was.
    announced_at: Option<BootTime>,
    /// Of its beacons, if it has any.
    slots: Option<Slots>,
    replies: VecDeque<Outgoing>,
    /// It holds something else than it should, and is to be told all that is wanted.
    owes_desired: bool,
    /// All that was wanted when that was begun, as far as it is not told yet.
    desired: VecDeque<Outgoing>,
}

/// What a link is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A notice, to be numbered and signed.
    Notice(Option<u64>, NoticeBody),
    /// A report is kept.
    ReportTaken(u64),
}

/// Why a link to a gateway is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// Something else came before the announcement.
    #[error("the first message is to be an announcement")]
    NotAnnounced,
    /// The service id is not that of the key.
    #[error("the service id is not that of the key")]
    WrongService,
    /// More than anybody has.
    #[error("at most 64 networks with 256 access points, and 32 tariffs")]
    TooMuch,
    /// It acknowledges what was not sent.
    #[error("an acknowledgement of what was not sent")]
    Unsent,
}

impl Misbehaviour {
    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Misbehaviour::NotAnnounced => "not-announced",
            Misbehaviour::WrongService => "wrong-service",
            Misbehaviour::TooMuch => "too-much",
            Misbehaviour::Unsent => "unsent",
        }
    }
}

impl GatewayLink {
    /// Since when it is good for anything.
    pub(super) fn announced_at(&self) -> Option<BootTime> {
        self.announced_at
    }
}

impl Core {
    /// Whether this key was enrolled.
    pub fn is_gateway(&self, key: &PublicKey) -> bool {
        self.gateways.contains_key(key)
    }

    /// A gateway that was enrolled, now or long ago.
    pub fn enrol_gateway(&mut self, record: GatewayRecord) {
        let key = record.key;
        if self.gateways.contains_key(&key) {
            return;
        }
        self.by_service.insert(service_id(key), key);
        let announce = record.announce.clone();
        self.gateways.insert(
            key,
            Gateway {
                record,
                link: None,
                unacknowledged: BTreeMap::new(),
                in_flight: 0,
                compare_again: false,
                sessions: BTreeSet::new(),
            },
        );
        if let Some(announce) = announce {
            self.place_aps(key, None, &announce);
        }
    }

    /// A link of an enrolled gateway stands; it replaces the one before. `None` while closing.
    pub fn gateway_up(&mut self, key: PublicKey) -> Option<(u64, Arc<Notify>)> {
        if self.closing {
            return None;
        }
        self.links += 1;
        let id = self.links;
        let gateway = self.gateways.get_mut(&key)?;
        let wake = Arc::new(Notify::new());
        let link = GatewayLink {
            id,
            wake: Arc::clone(&wake),
            sent: 0,
            announced: false,
            announced_at: None,
            slots: None,
            replies: VecDeque::new(),
            owes_desired: false,
            desired: VecDeque::new(),
        };
        gateway.compare_again = false;
        if let Some(before) = gateway.link.replace(link) {
            before.wake.notify_one();
        }
        self.seen(key);
        Some((id, wake))
    }

    /// The link is gone.
    pub fn gateway_down(&mut self, key: PublicKey, link: u64) {
        if let Some(gateway) = self.gateways.get_mut(&key)
            && gateway.link.as_ref().is_some_and(|present| present.id == link)
        {
            gateway.link = None;
            self.seen(key);
        }
    }

    fn seen(&mut self, key: PublicKey) {
        let now = clock::calendar();
        if let Some(gateway) = self.gateways.get_mut(&key) {
            gateway.record.seen = now;
        }
        self.submit(Change::Seen { gateway: key, now }, |_, _, _| {});
    }

    pub(super) fn is_reachable(&self, key: &PublicKey) -> bool {
        self.gateways.get(key).and_then(|gateway| gateway.link.as_ref()).is_some_and(|link| link.announced)
    }

    /// What to send next on a link; `None`: close it, it was replaced.
    pub fn outgoing(&mut self, key: &PublicKey, link: u64) -> Option<Vec<Outgoing>> {
        let gateway = self.gateways.get_mut(key)?;
        let link = gateway.link.as_mut().filter(|present| present.id == link)?;
        if !link.announced {
            return Some(Vec::new());
        }
        // Older than all that waits.
        if !link.desired.is_empty() {
            let parts = link.desired.len().min(PULL);
            return Some(link.desired.drain(..parts).collect());
        }
        let mut outgoing: Vec<Outgoing> = gateway
            .unacknowledged
            .range(link.sent + 1..)
            .take(PULL)
            .map(|(seq, body)| Outgoing::Notice(Some(*seq), body.clone()))
            .collect();
        if let Some(Outgoing::Notice(Some(seq), _)) = outgoing.last() {
            link.sent = *seq;
        }
        // What is not durable may speak of what is: it comes after.
        if outgoing.len() < PULL {
            let replies = link.replies.len().min(PULL);
            outgoing.extend(link.replies.drain(..replies));
        }
        // At the last moment and whole: what is decided from here on is sent after it.
        if outgoing.is_empty() && std::mem::take(&mut link.owes_desired) {
            let mut parts = self.desired(key);
            outgoing.extend(parts.drain(..parts.len().min(PULL)));
            if let Some(link) = self.gateways.get_mut(key).and_then(|gateway| gateway.link.as_mut()) {
                link.desired = parts;
            }
        }
        Some(outgoing)
    }

    /// Says that the coordinator is alive and what it wants. Called every third of a lease.
    pub fn renew(&mut self, key: &PublicKey) {
        let renew = NoticeBody::Renew { lease: Millis::from(self.lease), digest: self.digest(key) };
        self.tell_gateway(key, renew);
    }

    pub(super) fn tell_gateway(&mut self, key: &PublicKey, body: NoticeBody) {
        self.reply(key, Outgoing::Notice(None, body));
    }

    fn reply(&mut self, key: &PublicKey, outgoing: Outgoing) {
        let link = self.gateways.get_mut(key).and_then(|gateway| gateway.link.as_mut());
        if let Some(link) = link
            && link.replies.len() < REPLIES
        {
            link.replies.push_back(outgoing);
            link.wake.notify_one();
        }
    }

    /// A durable notice got its number.
    pub(super) fn posted(&mut self, key: PublicKey, seq: u64, body: NoticeBody) {
        if let Some(gateway) = self.gateways.get_mut(&key) {
            gateway.unacknowledged.insert(seq, body);
            gateway.record.seq = gateway.record.seq.max(seq);
            if let Some(link) = &gateway.link {
                link.wake.notify_one();
            }
        }
    }

    /// A message of an enrolled gateway on its link.
    pub fn hear_gateway(
        &mut self,
        key: PublicKey,
        link: u64,
        message: FromGateway,
        now: BootTime,
    ) -> Result<(), Misbehaviour> {
        let announced = match self.gateways.get(&key).and_then(|gateway| gateway.link.as_ref()) {
            Some(present) if present.id == link => present.announced,
            // A late message of a link that was replaced.
            _ => return Ok(()),
        };
        match message {
            FromGateway::Announce(announce) => self.announced(key, announce, now),
            _ if !announced => Err(Misbehaviour::NotAnnounced),
            FromGateway::Acknowledge { seq } => self.acknowledged(key, seq, now),
            FromGateway::Holds { digest } => {
                self.holds(key, digest);
                Ok(())
            }
            FromGateway::Code { grant, answer, incarnation } => {
                self.code_answered(&key, &grant, incarnation, answer, now);
                Ok(())
            }
            FromGateway::Presence(presence) => {
                self.present(key, &presence, now);
                Ok(())
            }
            FromGateway::Evicted { number, report } => {
                self.evicted_there(key, number, report, now);
                Ok(())
            }
            FromGateway::Taken { message, terminal } => {
                self.message_taken(terminal, Some(key), message, now);
                Ok(())
            }
            FromGateway::Bid { answer, purchase } => {
                self.bid_answered(&key, purchase, answer, now);
                Ok(())
            }
            FromGateway::Low { grant } => {
                self.grant_low(&key, &grant, now);
                Ok(())
            }
        }
    }

    fn announced(
        &mut self,
        key: PublicKey,
        mut announce: Announce,
        now: BootTime,
    ) -> Result<(), Misbehaviour> {
        if announce.service != service_id(key) {
            return Err(Misbehaviour::WrongService);
        }
        let bssids: usize = announce.networks.iter().map(|network| network.bssids.len()).sum();
        if announce.networks.len() > NETWORKS || bssids > BSSIDS || announce.tariffs.len() > MOST_TARIFFS {
            return Err(Misbehaviour::TooMuch);
        }
        // It counts for this link only, and its secret is not for the store.
        let slots = announce.beacon.take().map(|report| Slots::new(report, now));
        // The name is shown to people and logged: one short line.
        announce.name = announce
            .name
            .chars()
            .map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char })
            .take(NAME)
            .collect();
        let before = self.gateways.get(&key).and_then(|gateway| gateway.record.announce.clone());
        self.place_aps(key, before.as_ref(), &announce);
        let Some(gateway) = self.gateways.get_mut(&key) else { return Ok(()) };
        let changed = gateway.record.announce.as_ref() != Some(&announce);
        gateway.record.announce = Some(announce.clone());
        let first = gateway.link.as_mut().is_some_and(|link| {
            link.slots = slots;
            link.announced_at.get_or_insert(now);
            !std::mem::replace(&mut link.announced, true)
        });
        if changed {
            self.submit(Change::Announce { gateway: key, announce }, |_, _, _| {});
        }
        if first {
            self.renew(&key);
            let indexes = self.gateways.get(&key).map(|gateway| gateway.sessions.clone()).unwrap_or_default();
            for index in indexes {
                self.input(index, Input::GatewayUp, now);
            }
            self.tell_gateway_messages(key, now);
            self.ask_again(&key);
        }
        Ok(())
    }

    /// Whether a gateway announces itself on the air, as far as it is known now.
    pub(super) fn announces(&self, key: &PublicKey) -> bool {
        let link = self.gateways.get(key).and_then(|gateway| gateway.link.as_ref());
        link.is_some_and(|link| link.slots.is_some())
    }

    /// Whether whoever shows this beacon was near this access point lately.
    pub fn check_beacon(&self, beacon: &Beacon, bssid: Bssid, now: BootTime) -> Result<(), Refusal> {
        let gateway = self.by_service.get(&beacon.said.service).and_then(|key| self.gateways.get(key));
        let link = gateway.and_then(|gateway| gateway.link.as_ref());
        let slots = link.and_then(|link| link.slots.as_ref()).ok_or_else(|| {
            let service = beacon.said.service;
            Refusal::new("beacon-unknown", format!("gateway {service} is not connected, or has no beacons"))
        })?;
        slots.check(beacon, bssid, now)
    }

    /// An access point belongs to whoever announced it first and still does.
    fn place_aps(&mut self, key: PublicKey, before: Option<&Announce>, announce: &Announce) {
        for bssid in before.iter().flat_map(|before| &before.networks).flat_map(|network| &network.bssids) {
            if self.aps.get(bssid) == Some(&key) {
                self.aps.remove(bssid);
            }
        }
        for bssid in announce.networks.iter().flat_map(|network| &network.bssids) {
            let owner = *self.aps.entry(*bssid).or_insert(key);
            if owner != key {
                tracing::warn!(
                    gateway = %service_id(key),
                    owner = %service_id(owner),
                    "an access point that another gateway announced before is not taken"
                );
            }
        }
        let networks = announce.networks.iter();
        let shared =
            networks.flat_map(|network| network.bssids.iter().map(move |bssid| (&network.ssid, *bssid)));
        let own = shared.filter(|(_, bssid)| self.aps.get(bssid) == Some(&key));
        self.register.set(announce.service, announce.area.as_ref(), own);
    }

    /// One part of the directory of a region, for somebody who holds this version of it.
    pub fn directory(&mut self, region: &Region, have: Option<DirectoryVersion>, part: u16) -> DirectoryPart {
        self.register.part(region, have, part, clock::calendar())
    }

    fn acknowledged(&mut self, key: PublicKey, seq: u64, now: BootTime) -> Result<(), Misbehaviour> {
        let Some(gateway) = self.gateways.get_mut(&key) else { return Ok(()) };
        // What was acknowledged on an earlier link may be said again.
        let known =
            gateway.unacknowledged.first_key_value().map_or(gateway.record.seq, |(first, _)| first - 1);
        let sent = gateway.link.as_ref().map_or(0, |link| link.sent);
        if seq > sent.max(known) {
            return Err(Misbehaviour::Unsent);
        }
        let later = gateway.unacknowledged.split_off(&(seq + 1));
        let done = std::mem::replace(&mut gateway.unacknowledged, later);
        if done.is_empty() {
            return Ok(());
        }
        let (mut granted, mut over) = (Vec::new(), Vec::new());
        for body in done.into_values() {
            match body {
                NoticeBody::Grant(spec) => {
                    granted.extend(self.session_of(&key, &spec.id, spec.incarnation));
                    self.grant_enforced(&key, &spec, now);
                }
                NoticeBody::Evict { grant, incarnation, .. } => {
                    over.extend(self.session_of(&key, &grant, incarnation));
                }
                NoticeBody::Inquire { .. }
                | NoticeBody::Renew { .. }
                | NoticeBody::Desired { .. }
                | NoticeBody::Bid(_)
                | NoticeBody::Push { .. }
                | NoticeBody::Withdraw { .. } => {}
            }
        }
        let kept = Change::Acknowledge { gateway: key, seq, granted: granted.clone(), over: over.clone() };
        self.submit(kept, |_, _, _| {});
        for (id, incarnation) in granted {
            self.input_by_id(&id, Input::Acknowledged(incarnation), now);
        }
        for (id, incarnation) in over {
            self.input_by_id(&id, Input::EvictionAcknowledged(incarnation), now);
        }
        self.compare_if_quiet(&key);
        Ok(())
    }

    fn session_of(
        &self,
        key: &PublicKey,
        grant: &GrantId,
        incarnation: Incarnation,
    ) -> Option<(SessionId, Incarnation)> {
        let entry = self.entry(*self.by_grant.get(grant)?)?;
        (entry.gateway == *key).then_some((entry.id, incarnation))
    }

    fn input_by_id(&mut self, id: &SessionId, input: Input, now: BootTime) {
        if let Some(index) = self.by_id.get(id).copied() {
            self.input(index, input, now);
        }
    }

    fn compare_if_quiet(&mut self, key: &PublicKey) {
        let Some(gateway) = self.gateways.get_mut(key) else { return };
        if gateway.compare_again && gateway.unacknowledged.is_empty() && gateway.in_flight == 0 {
            gateway.compare_again = false;
            self.renew(key);
        }
    }

    fn holds(&mut self, key: PublicKey, digest: GrantsDigest) {
        if digest == self.digest(&key) {
            return;
        }
        if let Some(link) = self.gateways.get_mut(&key).and_then(|gateway| gateway.link.as_mut()) {
            link.owes_desired = true;
            link.wake.notify_one();
        }
    }

    /// All that is wanted, in parts; nothing while a notice is on its way, which would be undone by it or undo it: then
    /// digests are compared again.
    fn desired(&mut self, key: &PublicKey) -> VecDeque<Outgoing> {
        let Some(gateway) = self.gateways.get_mut(key) else { return VecDeque::new() };
        if !gateway.unacknowledged.is_empty() || gateway.in_flight > 0 {
            gateway.compare_again = true;
            return VecDeque::new();
        }
        let wanted: Vec<GrantSpec> = self.wanted(key).map(|entry| self.spec(entry)).collect();
        wanted.iter().for_each(|spec| self.draw(*key, spec));
        tracing::warn!(gateway = %service_id(*key), grants = wanted.len(), "the gateway holds something else");
        let answer = u64::from_be_bytes(random());
        let mut chunks: Vec<Vec<GrantSpec>> = wanted.chunks(PART).map(<[GrantSpec]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        let parts = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        let part = |(part, grants)| NoticeBody::Desired { part, parts, answer, grants };
        (0..).zip(chunks).map(part).map(|body| Outgoing::Notice(None, body)).collect()
    }

    fn wanted(&self, key: &PublicKey) -> impl Iterator<Item = &Entry> {
        let indexes = self.gateways.get(key).into_iter().flat_map(|gateway| gateway.sessions.iter());
        indexes.filter_map(|index| self.entry(*index)).filter(|entry| entry.machine.state().is_wanted())
    }

    fn digest(&self, key: &PublicKey) -> GrantsDigest {
        grants_digest(self.wanted(key).map(|entry| {
            let station = if entry.by_code { BY_CODE } else { entry.station };
            let quota = self.sold_bytes(entry.terminal, entry.gateway, entry.join());
            (entry.grant, entry.machine.incarnation(), station, quota)
        }))
    }

    /// A code was made for a join, or not.
    fn code_answered(
        &mut self,
        key: &PublicKey,
        grant: &GrantId,
        incarnation: Incarnation,
        answer: CodeAnswer,
        now: BootTime,
    ) {
        let Some((id, _)) = self.session_of(key, grant, incarnation) else { return };
        let Some(index) = self.by_id.get(&id).copied() else { return };
        let Some(entry) = self.entry_mut(index) else { return };
        // One that comes late is for a join that is over.
        if entry.machine.incarnation() != incarnation || entry.machine.state() != State::Granting {
            return;
        }
        let answer = match answer {
            CodeAnswer::Sealed(code) if !code.is_short() => {
                let sentence = "the gateway's sealed code is longer than one may be; the gateway is at fault";
                CodeAnswer::Refused(Refusal::new("bad-seal", sentence))
            }
            answer => answer,
        };
        match (answer, &mut entry.joining) {
            (CodeAnswer::Sealed(code), Some(joining)) => joining.code = Some(code),
            (CodeAnswer::Sealed(_), None) => {}
            (CodeAnswer::Refused(refusal), _) => {
                self.tell_code_refused(index, &refusal);
                self.input(index, Input::EndedThere(incarnation, Cause::NeverJoined), now);
            }
        }
    }

    fn present(&mut self, key: PublicKey, presence: &Presence, now: BootTime) {
        let Some(index) = self.by_grant.get(&presence.grant).copied() else { return };
        if self.entry(index).is_none_or(|entry| entry.gateway != key) {
            return;
        }
        let sight = Sight {
            inquiry: presence.inquiry,
            up_bytes: presence.moved.up_bytes,
            associated: presence.associated,
            inactive: presence.inactive_ms.map(std::time::Duration::from_millis),
            incarnation: presence.incarnation,
        };
        let grip = self.brake.grip(key, now);
        self.input(index, Input::Seen(sight, grip), now);
    }

    fn evicted_there(&mut self, key: PublicKey, number: u64, report: Report, now: BootTime) {
        self.count_one(|metrics| &metrics.reports);
        let (incarnation, cause) = (report.incarnation, report.cause);
        let session = self.session_of(&key, &report.grant, incarnation).filter(|(id, _)| {
            let entry = self.by_id.get(id).and_then(|index| self.entry(*index));
            entry.is_some_and(|entry| {
                entry.machine.incarnation() == incarnation && entry.machine.state().is_wanted()
            })
        });
        let freed = report.freed();
        tracing::debug!(gateway = %service_id(key), grant = %report.grant, %cause, ?freed, "evicted");
        let told = report.clone();
        self.submit(Change::Report { gateway: key, report, over: session }, move |core, outcome, now| {
            if outcome.is_ok() {
                core.grant_used(&key, &told, now);
                core.reply(&key, Outgoing::ReportTaken(number));
            }
        });
        if let Some((id, _)) = session {
            self.input_by_id(&id, Input::EndedThere(incarnation, cause), now);
        }
    }

    /// What silence leads to at a gateway from now on.
    pub fn set_policy(&mut self, service: &ServiceId, policy: Option<Policy>) -> Option<PublicKey> {
        let key = *self.by_service.get(service)?;
        self.gateways.get_mut(&key)?.record.policy = policy;
        self.submit(Change::SetPolicy { gateway: key, policy }, |_, _, _| {});
        self.spread_policy(key);
        Some(key)
    }

    /// The key behind a service id.
    pub fn gateway_key(&self, service: &ServiceId) -> Option<PublicKey> {
        self.by_service.get(service).copied()
    }
}

#[cfg(test)]
#[path = "gateways_tests.rs"]
mod tests;
