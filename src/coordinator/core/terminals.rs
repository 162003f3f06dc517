//! Terminals: what they ask, where they join, what they are told.
//!
//! Only access points that were asked for are answered, only those whose gateway is connected now, and none
//! whose name ends in `_nomap`. What opens one is told to who shows what it announces on the air, where it does. A session belongs to a key: no other terminal can prolong, leave or learn of
//! it, nor take the address of a station that has one.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{Core, Joining, State};
use crate::coordinator::metrics::Metrics;
use crate::coordinator::store::SessionRecord;
use crate::logic::post;
use crate::logic::session::{Input, Session};
use crate::logic::wheel::Pulse;
use crate::model::{
    BootTime, Bssid, Cause, Credential, Incarnation, MacAddr, Millis, Offer, PublicKey, Refusal, SessionId,
};
use crate::wire::beacon::HeardBeacon;
use crate::wire::gateway::SharedNetwork;
use crate::wire::seal::SealError;
use crate::wire::sign::{new_grant_id, new_session_id, service_id};
use crate::wire::terminal::{Candidate, Heartbeat, Joined, SeenAp, ToTerminal};

/// Messages that wait for one terminal; a slower one is cut off.
const QUEUE: usize = 16;
/// Access points looked at in one request.
const APS: usize = 256;

/// The way to a terminal; boxed, because a queue of many terminals is empty nearly always.
type TerminalSender = mpsc::Sender<Box<ToTerminal>>;

/// What a terminal asks for when it joins.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whether the terminal comes later, perhaps without asking again.
    pub ahead: bool,
    /// The access point chosen.
    pub bssid: Bssid,
    /// What it announced when the terminal saw it.
    pub beacon: Option<HeardBeacon>,
    /// The terminal's address there.
    pub station: MacAddr,
    /// What a code can be sealed for.
    pub offer: Option<Offer>,
    /// Comes back in the answer.
    pub request: u64,
}

/// The link of a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    link: u64,
    sender: TerminalSender,
}

impl Core {
    /// Whether this key was enrolled with a claim.
    pub fn is_enrolled_terminal(&self, key: &PublicKey) -> bool {
        self.enrolled.contains(key)
    }

    /// From now on it is.
    pub fn enrol_terminal(&mut self, key: PublicKey) {
        self.enrolled.insert(key);
    }

    /// A link of a terminal stands; it replaces the one before. `None` while closing.
    pub fn terminal_up(
        &mut self,
        key: PublicKey,
        now: BootTime,
    ) -> Option<(u64, mpsc::Receiver<Box<ToTerminal>>)> {
        if self.closing {
            return None;
        }
        self.links += 1;
        let (sender, receiver) = mpsc::channel(QUEUE);
        // It is offered again what it may not have got by the link before.
        self.post_input(post::Input::Gone(key), now);
        self.terminals.insert(key, Terminal { link: self.links, sender });
        self.tell_purchases(&key);
        Some((self.links, receiver))
    }

    /// The link is gone. Its sessions live on by their deadlines.
    pub fn terminal_down(&mut self, key: &PublicKey, link: u64, now: BootTime) {
        if self.terminals.get(key).is_none_or(|terminal| terminal.link == link) {
            self.terminals.remove(key);
            self.post_input(post::Input::Gone(*key), now);
        }
    }

    /// The answer to a list of access points in reach.
    ///
    /// Who shows what an access point announces now was near it, and is told what the owner calls it. Who shows
    /// something old or false sees somebody else's access point.
    pub fn candidates(&self, aps: &[SeenAp], now: BootTime) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for ap in aps.iter().take(APS) {
            let Some(key) = self.aps.get(&ap.bssid) else { continue };
            let Some((name, network)) = self.network(key, ap.bssid) else { continue };
            // Another network under a known address is another access point.
            let told = network.ssid == ap.ssid && !ap.ssid.as_bytes().ends_with(b"_nomap");
            let is_new = candidates.iter().all(|known| known.bssid != ap.bssid);
            if told
                && is_new
                && self.is_reachable(key)
                && let Ok(was_near) = self.was_near(key, ap.bssid, ap.beacon.as_ref(), now)
            {
                candidates.push(Candidate {
                    name: if was_near { name.to_owned() } else { String::new() },
                    ssid: network.ssid.clone(),
                    bssid: ap.bssid,
                    service: service_id(*key),
                });
            }
        }
        candidates
    }

    /// Whether who shows this was near the access point; so is everybody where the gateway announces nothing on the air.
    fn was_near(
        &self,
        gateway: &PublicKey,
        bssid: Bssid,
        heard: Option<&HeardBeacon>,
        now: BootTime,
    ) -> Result<bool, Refusal> {
        if !self.announces(gateway) {
            return Ok(true);
        }
        let Some(heard) = heard else { return Ok(false) };
        let beacon = heard.read().filter(|beacon| beacon.said.service == service_id(*gateway));
        let Some(beacon) = beacon else {
            return Err(Refusal::new(
                "beacon-false",
                "what was heard there is not what this gateway announces",
            ));
        };
        self.check_beacon(&beacon, bssid, now).map(|()| true)
    }

    /// Whether the beacons of this access point carry its gateway's element now.
    fn is_announced(&self, gateway: &PublicKey, bssid: Bssid) -> bool {
        let announce = self.gateways.get(gateway).and_then(|gateway| gateway.record.announce.as_ref());
        self.announces(gateway) && announce.is_some_and(|announce| announce.announced.contains(&bssid))
    }

    fn network(&self, key: &PublicKey, bssid: Bssid) -> Option<(&str, &SharedNetwork)> {
        let announce = self.gateways.get(key)?.record.announce.as_ref()?;
        let network = announce.networks.iter().find(|network| network.bssids.contains(&bssid))?;
        Some((&announce.name, network))
    }

    /// Opens a session, or the next join of one. The answer comes when the gateway has acknowledged.
    pub fn join(
        &mut self,
        terminal: PublicKey,
        Wanted { ahead, bssid, beacon, station, offer, request }: Wanted,
        now: BootTime,
    ) -> Result<(), Refusal> {
        if let Err(wait) = self.joins.take(&terminal, now) {
            let sentence = format!("too many joins; one is allowed again in {} s", wait.as_secs() + 1);
            return Err(Refusal::new("too-often", sentence));
        }
        let nomap = |network: &SharedNetwork| network.ssid.as_bytes().ends_with(b"_nomap");
        let known = self.aps.get(&bssid).and_then(|gateway| {
            let (_, network) = self.network(gateway, bssid)?;
            (!nomap(network)).then_some((*gateway, network))
        });
        let Some((gateway, network)) = known else {
            return Err(Refusal::new("unknown-ap", "no gateway here shares this access point"));
        };
        if !station.is_station() {
            return Err(Refusal::new("bad-station", "a station has an address of its own, not a group's"));
        }
        let offer = offer.filter(|_| network.codes);
        if network.codes && network.credential == Credential::Open && offer.is_none() {
            let sentence = "each terminal gets an access code of its own here, and this one offers no key to seal it \
                            for; it is older than that: update it";
            return Err(Refusal::new("no-offer", sentence));
        }
        if offer.as_ref().is_some_and(|offer| !offer.is_short()) {
            return Err(SealError::TooLong.refusal());
        }
        if !self.is_reachable(&gateway) {
            return Err(Refusal::new(
                "gateway-away",
                "the gateway of this access point is not connected now",
            ));
        }
        if ahead {
            self.check_ahead(terminal, gateway, offer.is_some())?;
        } else if beacon.is_none() && self.is_announced(&gateway, bssid) {
            let sentence = "this access point announces its gateway on the air, and what the terminal heard does not: it \
                            was not near, or heard a twin of it";
            return Err(Refusal::new("beacon-missing", sentence));
        }
        self.was_near(&gateway, bssid, beacon.as_ref(), now)?;
        let wanted = Wanted { ahead, bssid, beacon, station, offer, request };
        match self.move_here(terminal, gateway, wanted, now)? {
            Some(wanted) => self.join_at(terminal, gateway, wanted, now),
            None => Ok(()),
        }
    }

    /// Whether a terminal may be given a code of this gateway before it is near.
    fn check_ahead(&self, terminal: PublicKey, gateway: PublicKey, by_code: bool) -> Result<(), Refusal> {
        if self.patience.ahead.is_zero() {
            let sentence = "this coordinator gives no access codes ahead of time (patience.ahead)";
            return Err(Refusal::new("not-ahead", sentence));
        }
        if !by_code {
            let sentence = "this access point has no access codes, and nothing else is given ahead of time";
            return Err(Refusal::new("no-code-network", sentence));
        }
        // Whoever is near may ask where it is near. Who is not, is to be somebody.
        if !self.is_enrolled_terminal(&terminal) && self.allowance(terminal, gateway).is_none() {
            let sentence = "codes are given ahead of time to terminals that were enrolled with a claim, and to those \
                            that have bought access there";
            return Err(Refusal::new("not-entitled", sentence));
        }
        let present = self.by_pair.get(&(terminal, gateway)).and_then(|index| self.entry(*index));
        if present.is_some_and(|entry| entry.machine.state().is_expected()) {
            let sentence = "a session stands at this gateway; its code would end";
            return Err(Refusal::new("session-stands", sentence));
        }
        Ok(())
    }

    /// The rest of a join: everything but the station is checked.
    pub(super) fn join_at(
        &mut self,
        terminal: PublicKey,
        gateway: PublicKey,
        Wanted { ahead, bssid, beacon: _, station, offer, request }: Wanted,
        now: BootTime,
    ) -> Result<(), Refusal> {
        if self.writer.is_full() {
            return Err(not_kept());
        }
        let present = self.by_pair.get(&(terminal, gateway)).copied();
        if let Some(other) = self.by_station.get(&(gateway, station)).copied()
            && Some(other) != present
            && self.entry(other).is_some_and(|entry| entry.machine.state().is_wanted())
        {
            let sentence = "another terminal has a session at this gateway under this address";
            return Err(Refusal::new("station-taken", sentence));
        }
        let index = match present {
            Some(index) => index,
            None => self.new_session(terminal, gateway, bssid, station)?,
        };
        if let Some(entry) = self.entry_mut(index) {
            let before = std::mem::replace(&mut entry.station, station);
            entry.bssid = bssid;
            entry.by_code = offer.is_some();
            let goes_on = entry.machine.state().is_wanted();
            entry.joining = Some(Box::new(Joining { request, offer, code: None, goes_on, ahead }));
            entry.cause = None;
            if self.by_station.get(&(gateway, before)) == Some(&index) {
                self.by_station.remove(&(gateway, before));
            }
            self.by_station.insert((gateway, station), index);
        }
        self.input(index, if ahead { Input::Reserve } else { Input::Join }, now);
        Ok(())
    }

    fn new_session(
        &mut self,
        terminal: PublicKey,
        gateway: PublicKey,
        bssid: Bssid,
        station: MacAddr,
    ) -> Result<u32, Refusal> {
        let most = self.sessions_per_terminal;
        let sessions = self.sessions_of.get(&terminal).copied().unwrap_or(0);
        if sessions >= most {
            let sentence = format!("this terminal has {sessions} sessions; {most} are the most");
            return Err(Refusal::new("too-many-sessions", sentence));
        }
        let record = SessionRecord {
            id: new_session_id(),
            gateway,
            terminal,
            station,
            bssid,
            grant: new_grant_id(),
            by_code: false,
            incarnation: Incarnation(0),
            state: State::Granting,
            cause: None,
        };
        let machine = Session::new(self.policy_of(&gateway));
        self.insert(record, machine)
            .ok_or_else(|| Refusal::new("full", "this coordinator follows as many sessions as it can"))
    }

    /// A heartbeat for which the quick way was closed; the pulse opens it for the next ones.
    pub fn heartbeat(&mut self, terminal: &PublicKey, heartbeat: &Heartbeat, now: BootTime) -> Option<Pulse> {
        let index = self.by_id.get(&heartbeat.session).copied().filter(|index| {
            self.entry(*index).is_some_and(|entry| {
                entry.terminal == *terminal && service_id(entry.gateway) == heartbeat.service
            })
        });
        let Some(index) = index else {
            self.tell_over(*terminal, heartbeat.session, heartbeat.incarnation, None);
            return None;
        };
        self.input(index, Input::Heartbeat(heartbeat.incarnation, heartbeat.next.map(Duration::from)), now);
        let entry = self.entry(index)?;
        if entry.machine.incarnation() == heartbeat.incarnation && entry.machine.state().is_wanted() {
            self.terminal_here(*terminal, heartbeat.session, heartbeat.service, now);
        }
        let entry = self.entry(index)?;
        (entry.machine.incarnation() == heartbeat.incarnation).then_some(entry.pulse).flatten()
    }

    /// The terminal leaves.
    pub fn leave(
        &mut self,
        terminal: &PublicKey,
        session: SessionId,
        incarnation: Incarnation,
        now: BootTime,
    ) {
        if let Some(index) = self.by_id.get(&session).copied()
            && self.entry(index).is_some_and(|entry| entry.terminal == *terminal)
        {
            self.input(index, Input::Leave(incarnation), now);
        }
    }

    /// Ends a session by hand; `false` if there is none.
    pub fn end(&mut self, session: &SessionId, cause: Cause, now: BootTime) -> bool {
        let Some(index) = self.by_id.get(session).copied() else { return false };
        self.input(index, Input::End(cause), now);
        true
    }

    /// Tells a terminal, if it is connected; one that does not read is cut off.
    pub(super) fn tell(&mut self, terminal: &PublicKey, message: ToTerminal) {
        if let Some(present) = self.terminals.get(terminal)
            && present.sender.try_send(Box::new(message)).is_err()
        {
            self.terminals.remove(terminal);
        }
    }

    pub(super) fn tell_over(
        &mut self,
        terminal: PublicKey,
        session: SessionId,
        incarnation: Incarnation,
        cause: Option<Cause>,
    ) {
        self.tell(&terminal, ToTerminal::Over { cause, session, incarnation });
    }

    pub(super) fn tell_refused(&mut self, terminal: PublicKey, request: u64, refusal: Refusal) {
        self.tell(&terminal, ToTerminal::Refused { refusal, request });
    }

    pub(super) fn tell_joined(&mut self, index: u32, now: BootTime) {
        let heartbeat = Millis::from(self.heartbeat);
        let Some(entry) = self.entry_mut(index) else { return };
        let Some(joining) = entry.joining.take() else { return };
        let Joining { request, code, ahead, .. } = *joining;
        let (terminal, gateway, bssid, session) = (entry.terminal, entry.gateway, entry.bssid, entry.id);
        let incarnation = entry.machine.incarnation();
        if entry.by_code && code.is_none() {
            let lost = "the gateway made an access code, and it was lost on the way: ask again";
            self.metrics(|metrics| Metrics::count(&metrics.refused, "code-lost"));
            self.tell_refused(terminal, request, Refusal::new("code-lost", lost));
            return self.input(index, Input::End(Cause::NeverJoined), now);
        }
        let Some((_, network)) = self.network(&gateway, bssid) else {
            let gone = Refusal::new("unknown-ap", "the gateway no longer shares this access point");
            self.tell_refused(terminal, request, gone);
            return self.input(index, Input::End(Cause::NeverJoined), now);
        };
        let joined = Joined {
            code,
            ssid: network.ssid.clone(),
            ahead: ahead.then(|| Millis::from(self.patience.ahead)),
            bssid,
            request,
            service: service_id(gateway),
            session,
            heartbeat,
            credential: network.credential.clone(),
            incarnation,
        };
        self.tell(&terminal, ToTerminal::Joined(joined));
    }

    /// What a gateway says is shown to people and logged: a word, one short line.
    pub(super) fn tell_code_refused(&mut self, index: u32, refusal: &Refusal) {
        let Some(entry) = self.entry_mut(index) else { return };
        let Some(request) = entry.joining.take().map(|joining| joining.request) else { return };
        let terminal = entry.terminal;
        self.metrics(|metrics| Metrics::count(&metrics.refused, "no-code"));
        self.tell_refused(terminal, request, refusal.shown());
    }

    pub(super) fn tell_gateway_silent(&mut self, index: u32, waited: Duration) {
        let Some(entry) = self.entry_mut(index) else { return };
        let Some(request) = entry.joining.take().map(|joining| joining.request) else { return };
        let (terminal, gateway) = (entry.terminal, entry.gateway);
        let waiting = self.gateways.get(&gateway).map_or(0, |gateway| gateway.unacknowledged.len());
        let link = if self.is_reachable(&gateway) { "is connected" } else { "is not connected" };
        let sentence = format!(
            "the gateway {link} and did not acknowledge within {} ms; {waiting} notices wait for it",
            waited.as_millis()
        );
        self.metrics(|metrics| Metrics::count(&metrics.refused, "gateway-silent"));
        self.tell_refused(terminal, request, Refusal::new("gateway-silent", sentence));
    }

    pub(super) fn tell_not_kept(&mut self, index: u32) {
        let Some(entry) = self.entry_mut(index) else { return };
        let Some(request) = entry.joining.take().map(|joining| joining.request) else { return };
        let terminal = entry.terminal;
        self.metrics(|metrics| Metrics::count(&metrics.refused, "store-full"));
        self.tell_refused(terminal, request, not_kept());
    }
}

fn not_kept() -> Refusal {
    Refusal::new("store-full", "the coordinator's disk is full: sessions go on, new ones have to wait")
}
