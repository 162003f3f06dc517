//! Sessions as servers hear of them: when one begins and ends, where it takes place, what it is called.
//!
//! What is told of them is decided in `logic/accounting.rs`; `record.rs` has the attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::super::effects::Gateway;
use super::channel::Record;
use super::keep::Terms;
use super::{Radius, record};
use crate::adapters::nftables::Enforced;
use crate::adapters::radius::attribute::{Attribute, number};
use crate::logic::accounting::{self, Ending, Session, Told};
use crate::logic::grants::{Grant, Target};
use crate::logic::radius::Worth;
use crate::model::{BootTime, Gather, GrantId, MacAddr, Traffic};

/// Whose a session is, and where it takes place.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Whoever was given the grant, or the grant itself.
    pub name: String,
    /// The name, and what the server said with it: the grant may be over before the session's Stop is made.
    whose: Vec<Attribute>,
    attributes: Vec<Attribute>,
    pub addresses: BTreeSet<IpAddr>,
}

impl Radius {
    pub(super) fn tell(
        &mut self,
        what: Told,
        session: &Session,
        moved: Traffic,
        time: Duration,
        now: BootTime,
    ) {
        let place = self.places.get(&session.number).cloned().unwrap_or_default();
        let mut attributes = record::of_session(what, moved, time.as_secs());
        attributes.push(Attribute::text(number::NAS_IDENTIFIER, &self.nas_identifier));
        attributes.push(Attribute::text(number::ACCT_SESSION_ID, &self.session_id(session)));
        attributes.extend(place.attributes);
        attributes.extend(record::of_addresses(place.addresses.iter()));
        attributes.extend(place.whose);
        let worth = match what {
            Told::Start => Worth::Start,
            Told::Interim => Worth::Interim,
            Told::Stop(_) => Worth::Stop,
        };
        if matches!(what, Told::Stop(_)) {
            self.places.remove(&session.number);
        }
        let (subject, since) = (session.number + 1, now);
        let record = Record { subject, worth, since, attributes, password: None };
        if self.accounts.is_used() {
            self.accounts.submit(record, now);
        }
        self.changed.insert(session.grant);
        self.keep_soon(now);
    }

    pub(super) fn session_id(&self, session: &Session) -> String {
        format!("{:08x}-{:x}", self.run, session.number)
    }
}

impl Gateway {
    /// The kernel enforces what is decided, also what it refused before.
    pub fn radius_stands(&mut self, now: BootTime) {
        let Some(radius) = self.radius.as_ref().filter(|radius| radius.has_begun) else { return };
        let told: BTreeSet<(MacAddr, GrantId)> =
            radius.accounting.sessions().map(|session| (session.station, session.grant)).gather();
        let enforced = self.grants.enforced().map(|(station, grant)| (station, grant.id));
        let untold: Vec<(MacAddr, GrantId)> = enforced.filter(|session| !told.contains(session)).collect();
        for (station, grant) in untold {
            self.radius_open(station, grant, now);
        }
    }

    /// Others take the place of these. Where the kernel refused that, they are over nevertheless: that is decided.
    pub fn radius_replaced(
        &mut self,
        replaced: &[Target],
        by: &[(MacAddr, Grant)],
        before: &BTreeMap<MacAddr, Enforced>,
        now: BootTime,
    ) {
        if self.radius.is_none() {
            return;
        }
        // Another join of a grant at the same station goes on.
        let goes_on: BTreeSet<(MacAddr, GrantId)> =
            by.iter().map(|(station, grant)| (*station, grant.id)).gather();
        for target in replaced.iter().filter(|target| !goes_on.contains(&(target.station, target.grant))) {
            let moved = before.get(&target.station).map(|found| found.moved);
            let ending = match self.grants.get(target.grant) {
                Some(held) if held.station != Some(target.station) => Ending::Gone,
                _ => Ending::Cause(target.cause),
            };
            self.radius_close(target.station, target.grant, moved, ending, now);
        }
    }

    /// The kernel lets stations in.
    pub fn radius_enforced(&mut self, grants: &[(MacAddr, Grant)], now: BootTime) {
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
        let was_given = radius.terms.remove(&grant).is_some();
        radius.terms_changed |= was_given;
        if radius.accounting.forget(grant) || was_given {
            radius.changed.insert(grant);
            radius.keep_soon(now);
        }
    }

    fn radius_open(&mut self, station: MacAddr, grant: GrantId, now: BootTime) {
        if self.radius.is_none() {
            return;
        }
        let attributes = record::of_place(self, station);
        let addresses = self.presence.get(station).map(|found| found.addresses.keys().copied().gather());
        let moved = self.figures.get(&grant).map(|(_, moved)| *moved).unwrap_or_default();
        let Some(radius) = &mut self.radius else { return };
        let terms = radius.terms.get(&grant);
        let name = terms.map_or_else(|| grant.to_string(), |terms| terms.name.clone());
        let whose = record::of_owner(&name, terms);
        let interim = terms.and_then(Terms::interim).or(radius.settings.interim);
        let idle = terms.and_then(Terms::idle);
        radius
            .accounting
            .handle_input(accounting::Input::Opened { grant, station, moved, interim, idle }, now);
        let mut own = radius.accounting.of_station(station);
        if let Some(number) = own.find(|session| session.grant == grant).map(|session| session.number) {
            let place = Place { name, whose, attributes, addresses: addresses.unwrap_or_default() };
            radius.places.entry(number).or_insert(place);
        }
    }

    pub(super) fn radius_close(
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

    /// Takes down where a station is now and which addresses it has. What nobody sees any more stays known: most were
    /// granted before they were there, and are gone when their session ends.
    fn radius_look(&mut self, station: MacAddr) {
        if self.radius.is_none() || self.presence.get(station).is_none() {
            return;
        }
        let attributes = record::of_place(self, station);
        let (Some(radius), Some(found)) = (&mut self.radius, self.presence.get(station)) else { return };
        for session in radius.accounting.of_station(station) {
            let Some(place) = radius.places.get_mut(&session.number) else { continue };
            place.attributes.clone_from(&attributes);
            if !found.addresses.is_empty() {
                place.addresses = found.addresses.keys().copied().gather();
            }
        }
    }

    pub(super) fn radius_measure(&mut self, stations: &BTreeSet<MacAddr>, now: BootTime) {
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
}
