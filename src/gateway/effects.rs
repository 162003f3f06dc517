//! Action -> adapter call. Here the decisions of `logic/` and the machinery of `adapters/` meet; a newcomer
//! sees what the program does.
//!
//! nftables is spoken to at once: a transaction takes microseconds. Everything slower is a step that reports
//! back (`steps.rs`). Nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast;

use super::beacon::Beacons;
use super::codes::Untold;
use super::denials::{Denials, Denied};
use super::passwords::Passwords;
use super::persist::{Pace, Running};
#[cfg(feature = "portal")]
use super::portal::Later;
use super::portal::Portal;
use super::push::Messages;
use super::radius::Radius;
use super::sealing::Making;
use super::steps::{self, Known};
use super::world::World;
use crate::adapters::conntrack::Conntrack;
use crate::adapters::dhcp::Dhcp;
use crate::adapters::hostapd::{CodeFile, HostapdControl, StationInfo};
use crate::adapters::link::keeper::KeptLink;
use crate::adapters::nftables::{Admission, ETHERNET_HEADER, Enforced, Nftables, Openings, Quota, Ruleset};
use crate::adapters::rtnetlink::{Address, Fdb, Link, Neighbour, Rtnetlink};
use crate::config::gateway::{Settings, Visitors};
use crate::host::clock;
use crate::host::control::{Reply, line};
use crate::logic::beacon;
use crate::logic::farewell::Farewells;
use crate::logic::former::Former;
use crate::logic::grants::{self, Grant, Grants, KERNEL_GRACE, Target};
use crate::logic::listing::Listings;
use crate::logic::presence::{self, Presence};
use crate::logic::upstream::{self, Upstream};
use crate::model::{
    BootTime, Bssid, Few, Gather, GrantId, Incarnation, MacAddr, Origin, Refusal, ServiceId, StepOutcome,
    Traffic, sentence,
};
use crate::wire::gateway::{Announce, FromGateway, SharedNetwork, ToGateway, grants_digest};
use crate::wire::local::{Event, Evicted, LinkState};
use crate::wire::sign::Identity;

/// After a failure, and between two repairs of what somebody else keeps destroying.
const REPAIR_PAUSE: Duration = Duration::from_millis(100);
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// How often the kernel's figures are looked at.
pub(super) const SNAPSHOT_EVERY: Duration = Duration::from_secs(60);
/// The same where bytes are limited in a table that anybody may flush: what passed since is given away.
const SNAPSHOT_OF_QUOTAS: Duration = Duration::from_secs(5);

/// What ends later.
pub(super) enum Done {
    /// A step of an eviction wave. `unsaid`: stations that a BSS was to send away, and did not answer.
    Step {
        wave: u64,
        step: crate::model::Step,
        outcomes: BTreeMap<GrantId, StepOutcome>,
        unsaid: Vec<(MacAddr, String)>,
    },
    /// An inquiry.
    Presence(FromGateway),
    /// Whether the station of a grant by code answers.
    Probed { grant: GrantId, station: MacAddr, there: bool },
    /// The codes are where hostapd reads them, that of this join among them; except where they are not.
    CodesRead { made: Option<(GrantId, Incarnation)>, untold: Untold },
    /// By which name a station has joined.
    Identified { bss: String, station: MacAddr, identity: Option<String> },
    /// The coordinator's addresses.
    Resolved(Vec<(IpAddr, u16)>),
    /// Everything that rtnetlink knows.
    Heard(Heard),
    /// The stations of a BSS, in the list of this number; `None`: hostapd does not say.
    Stations { bss: String, number: u64, stations: Option<Vec<StationInfo>> },
    /// What the doctor found.
    Doctor(Reply, Vec<crate::wire::local::Finding>),
    /// hostapd's answer to an announcement; `untold`: why it does not tell what `[interworking]` says.
    Announced { bss: String, answer: beacon::Answer, untold: Option<String> },
    /// Whose addresses BSSes refuse.
    Denied(Denied),
    /// Something of the portal's.
    #[cfg(feature = "portal")]
    Portal(Later),
    /// Something that came to nothing.
    Nothing,
}

/// Everything that rtnetlink knows.
#[derive(Default)]
pub(super) struct Heard {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub neighbours: Vec<Neighbour>,
    pub fdb: Vec<Fdb>,
}

pub(super) type Pending = FuturesUnordered<Pin<Box<dyn Future<Output = Done>>>>;

/// The gateway: machines, adapters, and what binds them.
pub(super) struct Gateway {
    pub settings: Settings,
    pub identity: Arc<Identity>,
    pub service: ServiceId,
    pub started: BootTime,
    pub world: World,
    pub grants: Grants,
    pub presence: Presence,
    pub former: Former,
    pub farewells: Farewells,
    /// By BSS, whose frames of management are protected and whose are not.
    pub protected: Few<String, Vec<(MacAddr, bool)>>,
    pub upstream: Option<Upstream>,
    /// Absent where the owner wants none.
    pub beacons: Option<Beacons>,
    /// Absent without servers.
    pub radius: Option<Radius>,
    pub messages: Messages,
    pub portal: Portal,
    pub nft: Nftables,
    pub hostapd: HostapdControl,
    pub conntrack: Conntrack,
    pub rtnetlink: Rtnetlink,
    pub dhcp: Dhcp,
    pub link: Option<KeptLink<FromGateway, ToGateway>>,
    pub link_state: LinkState,
    pub coordinator_at: Vec<(IpAddr, u16)>,
    /// What each grant had used and moved when the kernel was last looked at.
    pub figures: BTreeMap<GrantId, (u64, Traffic)>,
    /// What dnsmasq had opened then.
    pub names: Vec<IpAddr>,
    /// Lists of stations that hostapd makes now.
    pub listings: Listings,
    /// The files that hostapd reads codes from.
    pub code_files: Vec<CodeFile>,
    /// When they are looked at again.
    pub code_files_at: Option<BootTime>,
    /// Files that codes cannot be written to, and why.
    pub unwritten: Vec<(PathBuf, String)>,
    /// Ports of bridges that the gateway keeps apart, and others did not: by index.
    pub isolated: Few<u32, ()>,
    /// Addresses that BSSes refuse, because who has them is here with a code.
    pub denials: Denials,
    /// Codes as passwords of WPA3.
    pub passwords: Passwords,
    /// The codes that would be back after a loss of power: of which grant and of which join of it.
    pub kept_codes: Vec<(GrantId, Incarnation)>,
    /// Codes that hostapd is being told.
    pub making: Few<GrantId, Making>,
    /// Addresses that the kernel knows to be pinned.
    pub pinned: BTreeSet<(IpAddr, MacAddr)>,
    pub pending: Pending,
    /// What each wave frees, as it was when the wave began.
    pub waves: Few<u64, BTreeMap<GrantId, Known>>,
    /// Who waits for the end of an eviction.
    pub waiting: Few<GrantId, Vec<Reply>>,
    pub events: broadcast::Sender<Arc<[u8]>>,
    pub restored: u64,
    pub dropped: u64,
    pub pace: Pace,
    /// Why grants could not be kept the last time.
    pub unkept: Option<String>,
    pub rebuild_at: Option<BootTime>,
    /// The tables were gone: the next rebuild is a restoration, since then.
    pub lost_at: Option<BootTime>,
    pub rebuilt_at: BootTime,
    pub snapshot_at: Option<BootTime>,
    /// When hostapd is asked again who is there.
    pub list_at: Option<BootTime>,
    pub running_changed: bool,
    /// The kernel refused the last change; the coordinator is not told that it was carried out.
    pub refused: bool,
}

impl Gateway {
    /// Carries out everything that the machines have decided.
    pub fn settle(&mut self, now: BootTime) {
        let room = self.grants.has_room(self.code_networks().next().is_some());
        self.beacons_input(beacon::Input::Room(room), now);
        loop {
            if let Some(action) = self.grants.poll_action() {
                self.grants_action(action, now);
            } else if let Some(action) = self.presence.poll_action() {
                self.presence_action(action);
            } else if let Some(action) = self.upstream.as_mut().and_then(Upstream::poll_action) {
                self.upstream_action(action, now);
            } else if let Some(action) =
                self.beacons.as_mut().and_then(|beacons| beacons.announcer.poll_action())
            {
                self.beacons_action(action);
            } else if !self.post_turn(now) && !self.radius_turn(now) {
                break;
            }
        }
        self.portal_settle(now);
        if std::mem::take(&mut self.running_changed) {
            // Kept before it is said.
            self.deny_elsewhere();
            self.running_changed = false;
            self.keep_running(now);
        }
    }

    fn grants_action(&mut self, action: grants::Action, now: BootTime) {
        match action {
            grants::Action::Enforce { grants, instead_of } => self.enforce(&grants, &instead_of, now),
            grants::Action::Refresh { grants } => {
                let admissions: Vec<Admission> =
                    grants.iter().map(|(station, grant)| self.admission(*station, grant, now)).collect();
                if let Err(error) = self.nft.refresh(&admissions) {
                    self.kernel_refused(&error, now);
                }
            }
            grants::Action::Rebuild => self.rebuild(now),
            grants::Action::Step { wave, step, targets } => steps::start(self, wave, step, &targets, now),
            grants::Action::Report { mut report, origin } => {
                self.portal_over(&report, now);
                // One that only changed its station goes on.
                let over = self.grants.get(report.grant).is_none();
                if over {
                    self.radius_over(report.grant, now);
                    self.hush(report.grant, now);
                }
                if let Some(station) = report.station.filter(|mac| self.grants.of_station(*mac).is_none()) {
                    self.former.over(station);
                }
                let figures = if over { self.figures.remove(&report.grant) } else { None };
                if let Some((_, moved)) = figures.filter(|_| report.steps.is_empty()) {
                    report.moved = moved;
                }
                self.waves.retain(|_, known| {
                    known.remove(&report.grant);
                    !known.is_empty()
                });
                self.tell(&Event::Evicted { report: report.clone() });
                for reply in self.waiting.remove(&report.grant).unwrap_or_default() {
                    reply.ok(Evicted { report: report.clone() });
                }
                if let (Origin::Coordinator, Some(upstream)) = (origin, &mut self.upstream) {
                    upstream.handle_input(upstream::Input::Over(report));
                }
                self.running_changed = true;
            }
            grants::Action::Codes { made } => {
                self.running_changed = true;
                self.hold_codes(made, now);
            }
            grants::Action::Low { grant, station } => self.tell_low(grant, station),
            grants::Action::Spent { grant, station } => {
                let quota = self.grants.get(grant).and_then(|held| held.quota);
                if let (Some(station), Some(quota)) = (station, quota) {
                    self.tell(&Event::Low { grant, station, quota, left: 0 });
                }
            }
            grants::Action::TurnAway { bss, station } => self.turn_away(bss, station),
            grants::Action::Probe { grant, station } => self.probe(grant, station),
            grants::Action::Changed { by_hand, by_code } => {
                self.running_changed |= by_code;
                self.pace.changed(by_hand, now);
            }
        }
    }

    fn enforce(&mut self, grants: &[(MacAddr, Grant)], instead_of: &[Target], now: BootTime) {
        let stations = instead_of.iter().map(|target| target.station);
        let before = self.nft.enforced_of(stations).unwrap_or_else(|error| {
            tracing::warn!(%error, "figures of replaced grants");
            BTreeMap::new()
        });
        self.remember(&before);
        let admissions: Vec<Admission> =
            grants.iter().map(|(station, grant)| self.admission(*station, grant, now)).collect();
        let replaced: Vec<(MacAddr, Option<GrantId>)> = instead_of
            .iter()
            .filter(|target| before.contains_key(&target.station))
            .map(|target| (target.station, target.limited.then_some(target.grant)))
            .collect();
        let admitted = self.nft.admit(&admissions, &replaced);
        self.radius_replaced(instead_of, grants, &before, now);
        match admitted {
            Ok(()) => {
                self.radius_enforced(grants, now);
                for (station, grant) in grants {
                    self.farewells.granted(*station);
                    self.tell(&Event::Admitted { grant: grant.id, station: *station });
                    self.pin_station(*station);
                }
                let left = instead_of.iter().map(|target| target.station);
                self.unpin_stations(
                    &left.filter(|station| self.grants.of_station(*station).is_none()).gather(),
                );
                let next = now + self.snapshot_every(grants.iter().any(|(_, grant)| grant.quota.is_some()));
                self.snapshot_at = Some(self.snapshot_at.map_or(next, |at| at.min(next)));
            }
            Err(error) => self.kernel_refused(&error, now),
        }
        for target in instead_of {
            let moved = before.get(&target.station).map(|found| found.moved).unwrap_or_default();
            self.grants.handle_input(grants::Input::Superseded { grant: target.grant, moved }, now);
        }
    }

    /// Nothing of the last change took effect. Everything is said again soon, whole.
    fn kernel_refused(&mut self, error: &dyn std::error::Error, now: BootTime) {
        tracing::error!(%error, "the kernel does not enforce what it should; trying again");
        self.refused = true;
        self.grants.handle_input(grants::Input::RulesLost { refused: true }, now);
    }

    /// Goes on with the table that stands, where it is the one wanted, else makes a new one.
    pub fn go_on(&mut self, now: BootTime) {
        let ruleset = self.ruleset(now);
        match self.nft.go_on(&ruleset) {
            Ok(true) => {
                tracing::debug!("the table stands as it should");
                self.stands(ruleset, now);
            }
            Ok(false) => self.rebuild(now),
            Err(error) => {
                tracing::warn!(%error, "the kernel does not go on with the table; it is made anew");
                self.rebuild(now);
            }
        }
    }

    fn stands(&mut self, ruleset: Ruleset, now: BootTime) {
        self.rebuild_at = None;
        self.refused = false;
        self.pinned = ruleset.pins.into_iter().gather();
        self.rebuilt_at = now;
        self.radius_stands(now);
    }

    /// The table is to be looked at again since [`Self::rebuild_soon`].
    pub fn repair(&mut self, now: BootTime) {
        if self.lost_at.is_some() || self.refused { self.rebuild(now) } else { self.go_on(now) }
    }

    /// Makes the kernel hold exactly what is decided, whatever it holds now.
    pub fn rebuild(&mut self, now: BootTime) {
        self.remember_figures();
        let ruleset = self.ruleset(now);
        match self.nft.replace(&ruleset) {
            Ok(()) => {
                let grants = count(ruleset.admissions.len());
                self.stands(ruleset, now);
                if let Some(lost) = self.lost_at.take() {
                    self.restored += 1;
                    let took = clock::now().since(lost);
                    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                    self.tell(&Event::Restored { grants, took_us });
                    tracing::warn!(took_us, "somebody deleted our table; it stands again");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the ruleset does not stand; trying again");
                self.refused = true;
                self.rebuild_at = Some(now + FAILURE_PAUSE);
                self.rebuilt_at = now;
            }
        }
    }

    /// Tells the machine which quotas are used up or nearly, where the kernel's word for it may have been missed.
    pub fn look_at_quotas(&mut self, now: BootTime) {
        if !self.grants.enforced().any(|(_, grant)| grant.quota.is_some()) {
            return;
        }
        match self.nft.quotas() {
            Ok(quotas) => {
                for (grant, quota) in quotas {
                    if quota.used >= quota.limit {
                        if self.is_used_up(grant, now) {
                            self.grants.handle_input(grants::Input::Spent { grant }, now);
                        }
                    } else if self.low_mark(quota.limit).is_some_and(|mark| quota.used >= mark) {
                        self.grants.handle_input(grants::Input::Low { grant }, now);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "quotas that are used up"),
        }
    }

    /// Whether the bytes of a grant are used up, as the kernel has said; where it does not say so again, its word counts.
    ///
    /// Layer-3 bytes were granted. Where the kernel has counted Ethernet headers as well they are given back, and the
    /// grant goes on: with each time a seventieth or less is left of what was short, so that this ends soon.
    pub fn is_used_up(&mut self, grant: GrantId, now: BootTime) -> bool {
        let Some(held) = self.grants.get(grant).cloned() else { return true };
        let Some(station) = held.station else { return true };
        let Ok(mut found) = self.nft.enforced_of(std::iter::once(station)) else { return true };
        let found = found.remove(&station).filter(|found| found.tag.is_some_and(|tag| tag.grant == grant));
        let Some((quota, moved)) = found.and_then(|found| Some((found.quota?, found.moved))) else {
            return true;
        };
        if quota.used < quota.limit {
            return false;
        }
        let Some((used, moved)) = without_headers(quota, moved) else { return true };
        self.figures.insert(grant, (used, moved));
        let again = self.admission(station, &held, now);
        let counted = self.nft.admit(&[again], &[(station, Some(grant))]);
        counted.inspect_err(|error| tracing::warn!(%error, "headers are not given back")).is_err()
    }

    /// What the kernel holds is to be put right soon. `lost`: the table is gone or damaged.
    pub fn rebuild_soon(&mut self, lost: bool, now: BootTime) {
        if lost {
            self.lost_at.get_or_insert(now);
        }
        let at = now.max(self.rebuilt_at + REPAIR_PAUSE);
        self.rebuild_at = Some(self.rebuild_at.map_or(at, |before| before.min(at)));
    }

    fn ruleset(&self, now: BootTime) -> Ruleset {
        let layout = self.nft.layout();
        Ruleset {
            layout,
            owned: self.nft.owned(),
            interfaces: self.world.hooked(&self.settings, layout),
            openings: Openings {
                gateway: self.world.gateway_addresses(&self.settings),
                services: self.settings.services.clone(),
                coordinator: self.coordinator_at.clone(),
                prefixes: self.settings.prefixes.clone(),
                names: self.names.clone(),
                visitors: match self.settings.visitors {
                    Visitors::Apart => self.world.visitor_prefixes(&self.settings),
                    Visitors::Together => Vec::new(),
                },
                #[cfg(feature = "portal")]
                portal: self.portal_port(),
            },
            pins: self.presence.pins().filter(|(_, mac)| self.grants.of_station(*mac).is_some()).collect(),
            admissions: self
                .grants
                .enforced()
                .map(|(station, grant)| self.admission(station, grant, now))
                .collect(),
        }
    }

    /// How many bytes of a quota are used when few are left.
    fn low_mark(&self, quota: u64) -> Option<u64> {
        let left = u128::from(quota) * u128::from(self.settings.low_mark) / 100;
        u64::try_from(left).ok().filter(|left| *left > 0).map(|left| quota - left)
    }

    /// Few bytes are left.
    fn tell_low(&mut self, grant: GrantId, station: MacAddr) {
        let Some(quota) = self.grants.get(grant).and_then(|grant| grant.quota) else { return };
        let used = match self.nft.enforced_of(std::iter::once(station)) {
            Ok(found) => found.get(&station).and_then(|enforced| enforced.quota).map(|quota| quota.used),
            Err(error) => {
                tracing::debug!(%error, "what is left of a quota");
                None
            }
        };
        let used = used.or_else(|| self.low_mark(quota)).unwrap_or(quota);
        self.tell(&Event::Low { grant, station, quota, left: quota.saturating_sub(used) });
        #[cfg(feature = "trade")]
        self.tell_coordinator_low(grant);
    }

    fn admission(&self, station: MacAddr, grant: &Grant, now: BootTime) -> Admission {
        let (used, moved) = self.figures.get(&grant.id).copied().unwrap_or_default();
        Admission {
            station,
            grant: grant.id,
            origin: grant.origin,
            incarnation: grant.incarnation,
            holder: grant.holder,
            timeout: grant.deadline.map(|at| at.since(now) + KERNEL_GRACE),
            quota: grant.quota.map(|limit| Quota { limit, used }),
            low_mark: grant.quota.and_then(|quota| self.low_mark(quota)),
            moved,
        }
    }

    /// Reads what the kernel has counted, if there is a table.
    pub fn remember_figures(&mut self) {
        match self.nft.enforced() {
            Ok(found) => self.remember(&found),
            Err(error) => tracing::debug!(%error, "no figures in the kernel"),
        }
        if self.settings.names_by_dnsmasq
            && let Ok(names) = self.nft.names()
        {
            self.names = names;
        }
    }

    /// How old the figures are at most from which counters go on after a foreign flush. `limited`: some have a quota.
    fn snapshot_every(&self, limited: bool) -> Duration {
        if limited && !self.nft.owned() { SNAPSHOT_OF_QUOTAS } else { SNAPSHOT_EVERY }
    }

    /// Looks at what the kernel has counted.
    pub fn snapshot(&mut self, now: BootTime) {
        self.remember_figures();
        let limited = self.grants.enforced().any(|(_, grant)| grant.quota.is_some());
        self.snapshot_at = Some(now + self.snapshot_every(limited));
    }

    /// Keeps in mind what the kernel has counted.
    pub fn remember(&mut self, found: &BTreeMap<MacAddr, Enforced>) {
        for enforced in found.values() {
            if let Some(tag) = enforced.tag {
                // The kernel goes on counting what it drops.
                let used = enforced.quota.map_or(0, |quota| quota.used.min(quota.limit));
                self.figures.insert(tag.grant, (used, enforced.moved));
            }
        }
    }

    fn presence_action(&mut self, action: presence::Action) {
        match action {
            presence::Action::Joined { station, interface } => {
                self.tell(&Event::Joined { station, interface })
            }
            presence::Action::Gone { station, interface } => self.tell(&Event::Gone { station, interface }),
            presence::Action::Pin(ip, mac) => {
                if self.grants.of_station(mac).is_some() {
                    self.pin(&[(ip, mac)], &[]);
                }
            }
            presence::Action::Unpin(ip, mac) => {
                if self.pinned.contains(&(ip, mac)) {
                    self.pin(&[], &[(ip, mac)]);
                }
            }
            presence::Action::Held { ip, .. } => self.former.held(ip),
            presence::Action::Lost { ip, station, interface } => {
                if self.grants.of_station(station).is_some() {
                    self.former.lost(ip, station, interface);
                }
            }
            presence::Action::BssesChanged => self.shares_anew(),
        }
    }

    /// The addresses of a station that was granted are its own.
    fn pin_station(&mut self, station: MacAddr) {
        let Some(found) = self.presence.get(station) else { return };
        let own: BTreeSet<IpAddr> = found.addresses.keys().copied().gather();
        let add: Vec<(IpAddr, MacAddr)> =
            self.presence.pins().filter(|(ip, mac)| *mac == station && own.contains(ip)).collect();
        self.pin(&add, &[]);
    }

    /// And those of one that is evicted are nobody's.
    pub fn unpin_stations(&mut self, stations: &BTreeSet<MacAddr>) {
        let remove: Vec<(IpAddr, MacAddr)> =
            self.pinned.iter().filter(|(_, mac)| stations.contains(mac)).copied().collect();
        self.pin(&[], &remove);
    }

    fn pin(&mut self, add: &[(IpAddr, MacAddr)], remove: &[(IpAddr, MacAddr)]) {
        let add: Vec<_> = add.iter().filter(|pin| !self.pinned.contains(pin)).copied().collect();
        if add.is_empty() && remove.is_empty() {
            return;
        }
        match self.nft.pin(&add, remove) {
            Ok(()) => {
                remove.iter().for_each(|pin| {
                    self.pinned.remove(pin);
                });
                self.pinned.extend(add);
            }
            Err(error) => tracing::warn!(%error, "addresses are not pinned"),
        }
    }

    fn upstream_action(&mut self, action: upstream::Action, now: BootTime) {
        let mut input = |input| self.grants.handle_input(input, now);
        match action {
            upstream::Action::Send(FromGateway::Announce(announce)) => {
                // Filled in here: where its slots are is true only now.
                let beacon = self.beacons.as_ref().map(|beacons| beacons.report(now));
                self.send(FromGateway::Announce(Announce { beacon, ..announce }));
            }
            upstream::Action::Send(message) => self.send(message),
            upstream::Action::SayHolds { unless } => {
                let held = self.grants.held().filter(|grant| grant.origin == Origin::Coordinator);
                let digest = grants_digest(held.map(Grant::digest_line));
                if unless != Some(digest) {
                    self.send(FromGateway::Holds { digest });
                }
            }
            upstream::Action::Acknowledge { seq } => {
                // What was given just now must be in the kernel first.
                while let Some(action) = self.grants.poll_action() {
                    self.grants_action(action, now);
                }
                if !self.refused {
                    self.send(FromGateway::Acknowledge { seq });
                }
            }
            upstream::Action::Give(grants) => {
                input(grants::Input::Give { grants, origin: Origin::Coordinator })
            }
            #[cfg(feature = "trade")]
            upstream::Action::Bid(bid) => self.answer_bid(&bid),
            upstream::Action::MakeCode { grant, seq } => self.make_code(*grant, seq, now),
            upstream::Action::Take { grant, incarnation, cause } => {
                input(grants::Input::Take { grant, incarnation: Some(incarnation), cause });
            }
            upstream::Action::Want(grants) => input(grants::Input::Want { grants }),
            upstream::Action::Renew { lease } => input(grants::Input::Renew { lease }),
            upstream::Action::Inquire { grant, inquiry } => steps::inquire(self, grant, inquiry),
            #[cfg(feature = "messages")]
            upstream::Action::Push { message, signed, valid } => {
                self.push_of_coordinator(message, signed, valid, now);
            }
            #[cfg(feature = "messages")]
            upstream::Action::Withdraw(message) => {
                self.withdraw_of_coordinator(message, now);
            }
            upstream::Action::Dropped(refusal) => self.drop_outside(refusal),
            upstream::Action::Changed => self.running_changed = true,
        }
    }

    pub fn drop_outside(&mut self, refusal: Refusal) {
        tracing::warn!(word = refusal.word, "{}", refusal.sentence);
        self.drop_of_guest(refusal);
    }

    /// The same of somebody who may say it as often as he likes: that is not to fill the log.
    pub fn drop_of_guest(&mut self, refusal: Refusal) {
        self.dropped += 1;
        tracing::debug!(word = refusal.word, "{}", refusal.sentence);
        self.tell(&Event::Dropped { refusal });
    }

    pub fn send(&mut self, message: FromGateway) {
        let Some(link) = &self.link else { return };
        if let Err(error) = link.send(message) {
            // Said again at the next link: reports and digests are level-triggered.
            tracing::debug!(%error, "not said to the coordinator");
        }
    }

    /// What is shared may have changed.
    pub fn shares_anew(&mut self) {
        self.announce();
        self.isolate_ports();
        self.listen();
        self.portal_listen();
    }

    /// Tells the coordinator what is shared, if it has changed, and whoever is near.
    pub fn announce(&mut self) {
        self.beacons_serve(clock::now());
        let networks = self
            .settings
            .networks
            .iter()
            .map(|network| {
                let served = self.presence.bsses().iter().filter(|(bss, _)| {
                    self.world
                        .index(bss)
                        .and_then(|index| self.world.network_of(&self.settings, index))
                        .is_some_and(|found| found.interface == network.interface)
                });
                let mut bssids: Vec<Bssid> = Vec::new();
                let mut ssid = network.ssid.clone();
                for (_, bss) in served {
                    bssids.push(bss.bssid);
                    if !bss.ssid.as_bytes().is_empty() {
                        ssid = bss.ssid.clone();
                    }
                }
                if bssids.is_empty() {
                    bssids.extend(self.world.bssid(&network.interface));
                }
                let codes = network.wpa_psk_file.is_some();
                SharedNetwork { ssid, codes, bssids, credential: network.credential.clone() }
            })
            .collect();
        let announce = Announce {
            area: self.settings.area.clone(),
            name: self.settings.name.clone(),
            beacon: None,
            service: self.service,
            #[cfg(feature = "trade")]
            tariffs: self.settings.shop.tariffs(),
            networks,
            announced: self.beacons.iter().flat_map(|beacons| beacons.announcer.on_air()).collect(),
        };
        if let Some(upstream) = &mut self.upstream {
            upstream.handle_input(upstream::Input::Shares(announce));
        }
    }

    /// What an access point passes from one of its stations to another meets nothing of ours. Said again with each
    /// beacon: hostapd that reads its configuration again forgets it.
    pub fn isolate_stations(&mut self, bss: &str) {
        let on_air = self.presence.bsses().get(bss).is_some_and(|known| !known.ssid.as_bytes().is_empty());
        if self.settings.visitors != Visitors::Apart || !on_air || self.network_at(bss).is_none() {
            return;
        }
        let (hostapd, bss) = (self.hostapd.clone(), bss.to_owned());
        self.pending.push(Box::pin(async move {
            if let Err(error) = hostapd.isolate_stations(&bss).await {
                let why = sentence(&error);
                tracing::warn!(
                    bss,
                    why,
                    "visitors reach each other there unless hostapd.conf says ap_isolate=1"
                );
            }
            Done::Nothing
        }));
    }

    /// What one port of a bridge passes to another meets no hook of ours in layout `netdev`: the bridge has to keep
    /// them apart. Said again whenever a port is new: that flag goes with it. What is to be together again, or is
    /// shared no more, is as it was.
    fn isolate_ports(&mut self) {
        let (settings, world) = (&self.settings, &self.world);
        let apart = settings.visitors == Visitors::Apart;
        self.isolated.retain(|index, ()| world.name(*index).is_some());
        let over = self.isolated.keys().filter(|index| !apart || !world.is_shared(settings, **index));
        let mut ports: Vec<(u32, bool)> = over.map(|index| (*index, false)).collect();
        if apart {
            let served = self.presence.bsses().keys().map(|bss| world.joined(settings, bss));
            ports.extend(served.flatten().map(|port| (port.index, true)));
        }
        for (index, isolated) in ports {
            let name = self.world.name(index).unwrap_or_default().to_owned();
            self.running_changed |= match isolated {
                true => self.isolated.insert(index, ()).is_none(),
                false => self.isolated.remove(&index).is_some(),
            };
            let rtnetlink = self.rtnetlink;
            self.pending.push(Box::pin(async move {
                match rtnetlink.isolate(index, isolated).await {
                    Ok(()) => tracing::debug!(port = name, isolated, "isolated from other ports"),
                    Err(error) => {
                        tracing::warn!(port = name, %error, isolated, "this port cannot be told whether it reaches others")
                    }
                }
                Done::Nothing
            }));
        }
    }

    pub fn tell(&self, event: &Event) {
        // Without listeners there is nobody to tell.
        if self.events.receiver_count() > 0 {
            let _ = self.events.send(line(event).into());
        }
    }

    fn keep_running(&mut self, now: BootTime) {
        let ending = self
            .grants
            .ending()
            .map(|(grant, cause)| (super::persist::Kept::new(grant, 0, Traffic::default(), now), cause))
            .collect();
        let memory = self.upstream.as_ref().map(Upstream::memory).unwrap_or_default();
        let figures = |id| self.figures.get(&id).copied().unwrap_or_default();
        let by_code = self.grants.held().filter(|grant| grant.code.is_some()).map(|grant| {
            let (used, moved) = figures(grant.id);
            super::persist::Kept::new(grant, used, moved, now)
        });
        let messages = self.messages.kept(now);
        let isolated = self.isolated.keys().copied().collect();
        let denied = self.denials.ours();
        #[cfg(feature = "wpa3")]
        let passwords = self.passwords.kept();
        let codes = by_code.collect();
        let running = Running {
            upstream: memory,
            ending,
            codes,
            messages,
            isolated,
            denied,
            #[cfg(feature = "wpa3")]
            passwords,
        };
        if let Err(error) = super::persist::save_running(&self.settings.runtime_dir, &running) {
            tracing::warn!(%error, "evictions under way would be forgotten by a restart");
        }
    }
}

/// What a quota that is used up comes to, and what was moved under it, when only layer-3 bytes are counted; `None`: to
/// the same, within a packet.
///
/// The counters of the elements see the same packets as the quota, those that it drops too, but count them without
/// headers: the difference is the headers. What is counted beyond the limit was dropped.
fn without_headers(quota: Quota, moved: Traffic) -> Option<(u64, Traffic)> {
    const PACKET: u64 = 1_500;
    let headers = quota.used.saturating_sub(moved.up_bytes.saturating_add(moved.down_bytes));
    // Counters that somebody has set back would look like headers of everything.
    let headers = headers.min(ETHERNET_HEADER.saturating_mul(moved.down_packets));
    let used = quota.limit.saturating_sub(headers);
    let dropped = moved.up_bytes.saturating_add(moved.down_bytes).saturating_sub(used);
    let down_bytes = moved.down_bytes.saturating_sub(dropped);
    let up_bytes = moved.up_bytes.saturating_sub(dropped.saturating_sub(moved.down_bytes));
    (headers > PACKET).then_some((used, Traffic { up_bytes, down_bytes, ..moved }))
}

pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_given_back_until_less_than_a_packet_is_short() {
        // 1000 bytes a packet, half of them towards the station, with 14 octets more each.
        let (limit, mut left) = (10_000_000_u64, Quota { limit: 10_000_000, used: 0 });
        let mut moved = Traffic::default();
        let mut rounds = 0;
        loop {
            while left.used < limit {
                moved.up_bytes += 1_000;
                moved.down_bytes += 1_000;
                moved.down_packets += 1;
                left.used += 2_014;
            }
            // Some are counted and dropped before anybody looks.
            moved.down_bytes += 5_000;
            left.used += 5_070;
            let Some((used, passed)) = without_headers(left, moved) else { break };
            assert_eq!(passed.up_bytes + passed.down_bytes, used, "what was dropped was not moved");
            (left.used, moved) = (used, passed);
            rounds += 1;
            assert!(rounds < 5, "{left:?} {moved:?}");
        }
        let passed = moved.up_bytes + moved.down_bytes;
        assert!((limit - 3_000..=limit + 8_000).contains(&passed), "{passed} after {rounds} rounds");
        assert_eq!(rounds, 1);
    }

    #[test]
    fn without_headers_nothing_is_given_back() {
        let moved = Traffic { up_bytes: 10_500, ..Traffic::default() };
        assert_eq!(without_headers(Quota { limit: 10_000, used: 10_500 }, moved), None);
        // Counters that were lost are no headers.
        let few = Traffic { down_bytes: 1_000, down_packets: 10, ..Traffic::default() };
        assert_eq!(without_headers(Quota { limit: 10_000, used: 90_000 }, few), None);
    }
}
