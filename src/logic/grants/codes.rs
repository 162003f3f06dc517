//! Grants by code: who comes with a code is the station of its grant, whatever its address.
//!
//! ```text
//!                 a station associates with the key
//!   nobody here ------------------------------------> station A ---- another one, B, associates with the key
//!        ^                                             |    ^              |
//!        +---------------------------------------------+    |   A answers: B is turned away
//!                 A's last association with it ends         +-- A does not: A is turned away, B is the station
//! ```
//!
//! A code is for one device at a time. **Who is there stays**: a code that was seen by somebody else is of no use
//! while its device is on the air, and a device that has changed its address (and so left nothing behind that
//! answers) goes on at once. Displacing the first one instead would let whoever copied a code throw its owner out;
//! against one who was there first the owner of the gateway has `evict`.
//!
//! **Only who carries nothing else**: a station is let in by code only while each of its associations with this
//! gateway was made with that code. Who imitates its address elsewhere, on an open BSS or with a code of his own, is
//! turned away there, and until he is gone nobody passes under that address.
//!
//! Held to, for every short history, by `codes_tests::no_short_history_breaks_the_rules_of_codes`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::waves::Evictee;
use super::{Action, Grant, Grants, MOST_GRANTS};
use crate::logic::listing::By;
use crate::model::{
    BootTime, Cause, Code, Gather, GrantId, Incarnation, KeyId, MacAddr, Origin, Refusal, Step,
};

/// How long after a start hostapd may take to say that a station which was let in before is still there.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most codes: hostapd tries each of them on every station that joins.
pub(super) const MOST_CODES: usize = 1000;

/// Who is associated where, and with which key.
#[derive(Clone, Debug, Default)]
pub(super) struct Air {
    /// By station and BSS.
    associations: BTreeMap<(MacAddr, String), Option<KeyId>>,
    /// Grants whose station is being asked whether it is there.
    probing: BTreeSet<GrantId>,
    /// Grants whose station was let in before the start and has not been heard of yet; until when that is waited for.
    unheard: Vec<(GrantId, BootTime)>,
}

impl Air {
    /// Its station is let in now, and hostapd has said nothing yet.
    pub fn expect(&mut self, grant: &Grant, now: BootTime) {
        if grant.code.is_some() && grant.station.is_some() {
            self.unheard.push((grant.id, now + PATIENCE));
        }
    }

    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.unheard.iter().map(|(_, until)| *until).min()
    }

    /// Whether no association of the station was made without this key.
    pub fn is_alone(&self, station: MacAddr, key: KeyId) -> bool {
        self.beside(station, key).next().is_none()
    }

    /// Where the station is, and with which key.
    fn own(&self, station: MacAddr) -> impl Iterator<Item = (&String, Option<KeyId>)> {
        let following = self.associations.range((station, String::new())..);
        following.take_while(move |((who, _), _)| *who == station).map(|((_, bss), with)| (bss, *with))
    }

    /// The BSSes at which the station is otherwise than with this key.
    fn beside(&self, station: MacAddr, key: KeyId) -> impl Iterator<Item = &String> {
        self.own(station).filter(move |(_, with)| *with != Some(key)).map(|(bss, _)| bss)
    }

    /// The BSSes at which the station is with this key.
    fn with(&self, station: MacAddr, key: KeyId) -> Vec<String> {
        self.own(station).filter(|(_, with)| *with == Some(key)).map(|(bss, _)| bss.clone()).collect()
    }

    /// The stations that are somewhere with this key, by address.
    fn carriers(&self, key: KeyId) -> BTreeSet<MacAddr> {
        self.associations.iter().filter(|(_, with)| **with == Some(key)).map(|((who, _), _)| *who).gather()
    }

    /// The keys with which the station is somewhere.
    fn keys(&self, station: MacAddr) -> impl Iterator<Item = KeyId> {
        self.own(station).filter_map(|(_, with)| with)
    }

    /// With which key the station is at a BSS, if it is there.
    fn known(&self, bss: &str, station: MacAddr) -> Option<Option<KeyId>> {
        self.own(station).find(|(at, _)| *at == bss).map(|(_, with)| with)
    }

    /// Takes down an association, or its end.
    fn note(&mut self, bss: &str, station: MacAddr, now: Option<Option<KeyId>>) {
        let place = (station, bss.to_owned());
        match now {
            Some(key) => self.associations.insert(place, key),
            None => self.associations.remove(&place),
        };
    }

    /// The key is another one from now on.
    fn disown(&mut self, key: KeyId) {
        self.associations.values_mut().filter(|with| **with == Some(key)).for_each(|with| *with = None);
    }

    fn is_unheard(&self, id: GrantId) -> bool {
        self.unheard.iter().any(|(other, _)| *other == id)
    }

    fn heard(&mut self, id: GrantId) {
        self.unheard.retain(|(other, _)| *other != id);
    }
}

impl Grants {
    /// Whether a grant by code would be taken.
    pub fn check_code(&self) -> Result<(), Refusal> {
        let codes = self.codes_held + 1;
        if codes > MOST_CODES {
            let sentence =
                format!("{codes} codes would count at once; {MOST_CODES} are the most; evict some");
            return Err(Refusal::new("too-many-codes", sentence));
        }
        if self.held.len() >= MOST_GRANTS {
            let sentence = format!("{MOST_GRANTS} grants are held, which are the most");
            return Err(Refusal::new("too-many-grants", sentence));
        }
        Ok(())
    }

    /// The joins that have a code.
    pub fn joins_by_code(&self) -> impl Iterator<Item = (GrantId, Incarnation)> {
        let coded = self.held.values().filter(|grant| grant.code.is_some());
        coded.map(|grant| (grant.id, grant.incarnation))
    }

    /// Whether the code of this join counts.
    pub fn has_code(&self, id: GrantId, incarnation: Incarnation) -> bool {
        self.held.get(&id).is_some_and(|grant| grant.code.is_some() && grant.incarnation == incarnation)
    }

    /// How many stations are at a BSS with another credential than a code.
    pub fn without_code_at(&self, bss: &str) -> usize {
        let at = |((_, at), key): &(&(MacAddr, String), &Option<KeyId>)| at == bss && key.is_none();
        self.air.associations.iter().filter(at).count()
    }

    /// The codes that count.
    pub fn codes(&self) -> impl Iterator<Item = (KeyId, &Code)> {
        self.held.values().filter_map(|grant| Some((grant.id.key_id(), grant.code.as_ref()?)))
    }

    /// Whether a grant of this id is held that a new code does not replace: somebody else's, this join, or a later one.
    pub fn is_settled(&self, id: GrantId, origin: Origin, incarnation: Incarnation) -> bool {
        self.held.get(&id).is_some_and(|held| held.origin != origin || held.incarnation >= incarnation)
    }

    /// A grant with a new code.
    pub(super) fn give_code(&mut self, grant: Grant, now: BootTime) {
        let Grant { id, origin, incarnation, .. } = grant;
        if self.is_settled(id, origin, incarnation) {
            return;
        }
        let before = self.held.get(&id).cloned();
        // Who is here with the code of the join before is nobody's station from now on, and hostapd sends it away.
        self.air.disown(id.key_id());
        let was = before.and_then(|held| held.station);
        self.hold(grant);
        self.settle(was.into_iter().gather(), BTreeMap::new(), now);
        self.actions.push_back(Action::Codes { made: Some((id, incarnation)) });
        self.actions.push_back(Action::Changed { by_hand: origin == Origin::Owner, by_code: true });
    }

    /// The coordinator still wants this grant by code, in this join. Where its code is not here it cannot be made
    /// good, for nobody else has it: then the join is over. Whether the grant goes on, by other terms perhaps.
    pub(super) fn confirm_code(&mut self, wanted: Grant, now: BootTime) -> bool {
        let wanted = Grant { station: None, ..wanted };
        let id = wanted.id;
        match self.held.get(&id) {
            Some(held) if held.origin != wanted.origin || held.incarnation > wanted.incarnation => {}
            Some(held) if held.code.is_some() && held.incarnation == wanted.incarnation => {
                let (station, code) = (held.station, held.code.clone());
                self.hold(Grant { station, code, ..wanted });
                self.settle(station.into_iter().gather(), BTreeMap::new(), now);
                return true;
            }
            Some(_) => {
                self.end(vec![(id, Cause::Replaced)], now);
                self.report(Evictee::new(wanted, Cause::CodeLost), now, now);
            }
            None => self.report(Evictee::new(wanted, Cause::CodeLost), now, now),
        }
        false
    }

    pub(super) fn associated(&mut self, bss: String, station: MacAddr, key: Option<KeyId>, now: BootTime) {
        self.air.note(&bss, station, Some(key));
        self.look_at(station, now);
        // hostapd still had a code that counts no longer. Whoever is being evicted is sent away by the wave.
        if key.is_some_and(|key| self.by_key(key).is_none()) && !self.is_leaving(station) {
            self.actions.push_back(Action::TurnAway { bss, station });
        }
    }

    pub(super) fn disassociated(&mut self, bss: &str, station: MacAddr, now: BootTime) {
        self.air.note(bss, station, None);
        self.look_at(station, now);
    }

    pub(super) fn listed(&mut self, bss: &str, stations: Vec<(MacAddr, By)>, now: BootTime) {
        let here: BTreeSet<MacAddr> = stations.iter().map(|(station, _)| *station).gather();
        let before = self.air.associations.keys().filter(|(_, at)| at == bss).map(|(station, _)| *station);
        let gone: Vec<MacAddr> = before.filter(|station| !here.contains(station)).collect();
        for station in gone {
            self.disassociated(bss, station, now);
        }
        for (station, by) in stations {
            let By::Key(key) = by else { continue };
            let is_new = self.air.known(bss, station) != Some(key);
            if is_new || key.is_some_and(|key| self.by_key(key).is_none()) {
                self.associated(bss.to_owned(), station, key, now);
            }
        }
    }

    pub(super) fn probed(&mut self, id: GrantId, asked: MacAddr, there: bool, now: BootTime) {
        if !self.air.probing.remove(&id) {
            return;
        }
        let Some(station) = self.held.get(&id).and_then(|grant| grant.station) else { return };
        let key = id.key_id();
        if station != asked {
            return self.look(id, now);
        }
        let rivals = self.rivals(id, station);
        let leave = if there {
            rivals
        } else if rivals.is_empty() {
            return;
        } else {
            vec![station]
        };
        for station in leave {
            for bss in self.air.with(station, key) {
                if !there {
                    // It is gone; hostapd has not noticed.
                    self.air.note(&bss, station, None);
                }
                self.actions.push_back(Action::TurnAway { bss, station });
            }
        }
        if !there {
            self.air.heard(id);
            self.look(id, now);
            // Somebody may have waited for its address.
            self.look_at(station, now);
        }
    }

    /// Codes count no longer, each with the station that a wave sends away.
    pub(super) fn codes_ended(&mut self, ended: impl IntoIterator<Item = (GrantId, Option<MacAddr>)>) {
        let mut is_left = false;
        for (id, evicted) in ended {
            self.air.probing.remove(&id);
            self.air.heard(id);
            let key = id.key_id();
            for station in self.air.carriers(key).into_iter().filter(|station| Some(*station) != evicted) {
                for bss in self.air.with(station, key) {
                    self.actions.push_back(Action::TurnAway { bss, station });
                }
            }
            is_left |= evicted.is_none();
        }
        if is_left {
            self.actions.push_back(Action::Codes { made: None });
        }
    }

    pub(super) fn give_up_waiting(&mut self, now: BootTime) {
        let over: Vec<GrantId> =
            self.air.unheard.iter().filter(|(_, until)| *until <= now).map(|(id, _)| *id).collect();
        for id in over {
            self.air.heard(id);
            self.look(id, now);
        }
    }

    /// Looks at every grant by code that concerns the station: first at those it has.
    pub(super) fn look_at(&mut self, station: MacAddr, now: BootTime) {
        let own = self.by_station.get(&station).cloned().unwrap_or_default();
        let by_key: BTreeSet<GrantId> = self.air.keys(station).filter_map(|key| self.by_key(key)).gather();
        let others: Vec<GrantId> = by_key.difference(&own).copied().collect();
        for id in own.into_iter().chain(others) {
            self.look(id, now);
        }
    }

    /// Brings a grant by code to what is known of its carriers.
    fn look(&mut self, id: GrantId, now: BootTime) {
        let Some(grant) = self.held.get(&id).filter(|grant| grant.code.is_some()) else { return };
        let (key, before) = (id.key_id(), grant.station);
        let carriers = self.air.carriers(key);
        let heard = before.is_some_and(|station| carriers.contains(&station));
        if heard {
            self.air.heard(id);
        }
        let stays = before.filter(|_| heard || self.air.is_unheard(id));
        let station = stays.or_else(|| carriers.into_iter().find(|station| !self.is_anothers(*station, id)));
        if station != before {
            let moved = Grant { station, ..grant.clone() };
            self.hold(moved);
            self.actions.push_back(Action::Changed { by_hand: false, by_code: true });
        }
        self.settle([before, station].into_iter().flatten().gather(), BTreeMap::new(), now);
        let Some(station) = station else { return };
        for bss in self.air.beside(station, key) {
            self.actions.push_back(Action::TurnAway { bss: bss.clone(), station });
        }
        if !self.rivals(id, station).is_empty() && self.air.probing.insert(id) {
            self.actions.push_back(Action::Probe { grant: id, station });
        }
    }

    /// Who else is here with the code.
    pub(super) fn rivals(&self, id: GrantId, station: MacAddr) -> Vec<MacAddr> {
        let mut rivals = self.air.carriers(id.key_id());
        rivals.remove(&station);
        rivals.into_iter().filter(|rival| !self.is_anothers(*rival, id)).collect()
    }

    /// Whether a wave is about to send the station away.
    fn is_leaving(&self, station: MacAddr) -> bool {
        let to_come = [Step::Enforcement, Step::Association];
        let waves =
            self.waves.values().filter(|wave| to_come.iter().any(|step| wave.running.contains_key(step)));
        let mut targets = waves.flat_map(|wave| &wave.targets);
        targets.any(|target| !target.let_go && target.grant.station == Some(station))
    }

    /// Whether a station has come with another code.
    fn is_anothers(&self, station: MacAddr, id: GrantId) -> bool {
        let own = self.by_station.get(&station).into_iter().flatten();
        own.filter(|other| **other != id)
            .filter_map(|other| self.held.get(other))
            .any(|other| other.code.is_some())
    }

    /// The grant that hostapd calls so.
    fn by_key(&self, key: KeyId) -> Option<GrantId> {
        let mut first = [0; 16];
        first[..12].copy_from_slice(&key.0);
        let following = self.held.range(GrantId(first)..);
        following
            .take_while(|(id, _)| id.key_id() == key)
            .find(|(_, grant)| grant.code.is_some())
            .map(|(id, _)| *id)
    }
}
