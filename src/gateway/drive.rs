//! The one loop: whatever happens becomes an input of a machine, then everything decided is carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast;

use super::adopt::{adopt, choose, enrolment};
use super::beacon::Beacons;
use super::denials::Denials;
use super::effects::{Done, Gateway, Heard, SNAPSHOT_EVERY};
use super::passwords::Passwords;
use super::persist::{self, Kept, Pace};
use super::portal::Portal;
use super::push::Messages;
use super::radius::{self, Radius};
use super::stations::{identify, joined_by, key_id, list};
use super::world::World;
use super::{Error, SOCKET};
use crate::adapters::conntrack::Conntrack;
use crate::adapters::dhcp::Dhcp;
use crate::adapters::enrolment::Enrolment;
use crate::adapters::hostapd::{Hostapd, HostapdEvent};
use crate::adapters::link::keeper::{LinkEvent, Opening, keep as keep_link};
use crate::adapters::nftables::{self, NftEvent, NftEvents, Nftables};
use crate::adapters::rtnetlink::{Rtnetlink, RtnetlinkEvent, RtnetlinkEvents};
use crate::adapters::wpa_ctrl::{self, DirWatch};
use crate::config::gateway::{self, LayoutChoice, Settings};
use crate::host::clock::{self, Alarm};
use crate::host::control::Control;
use crate::host::keep;
use crate::host::memory;
use crate::logic::backoff::Backoff;
use crate::logic::beacon;
use crate::logic::farewell::Farewells;
use crate::logic::former::Former;
use crate::logic::grants;
use crate::logic::listing::{By, Listings};
use crate::logic::presence::{self, Presence};
use crate::logic::upstream::{self, Upstream};
use crate::model::{BootTime, Few, Gather, MacAddr, Refusal, sentence};
use crate::wire::claim::CoordinatorAddress;
use crate::wire::gateway::ToGateway;
use crate::wire::hello::Role;
use crate::wire::local::{Event, GatewayRequest, LinkState};
use crate::wire::sign::{new_boot_id, random, service_id};

/// Events that a slow watcher may be behind before some are left out.
const EVENTS_KEPT: usize = 1024;

/// How long after a station came hostapd is asked who is there.
const LIST_AFTER: Duration = Duration::from_secs(1);

/// How long the end of an eviction or a link in order may hold up a stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Runs until SIGTERM or SIGINT. What is enforced stays enforced when it ends.
///
/// `path` is where the settings came from: SIGHUP reads it again. `ready` is called once everything stands.
/// Needs a current-thread tokio runtime with time, net and signals.
pub async fn run(settings: Settings, path: PathBuf, ready: impl FnOnce()) -> Result<(), Error> {
    memory::be_sparing();
    let mut drive = Drive::start(settings, path).await?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    ready();
    drive.turn().await?;
    drive.stop().await
}

struct Drive {
    gateway: Gateway,
    path: PathBuf,
    hostapd: Hostapd,
    rtnetlink: RtnetlinkEvents,
    nft: NftEvents,
    /// The directory with the files of codes, once there are such.
    codes: Option<DirWatch>,
    control: Control<GatewayRequest>,
    alarm: Alarm,
    enrolment: Option<Enrolment>,
    watchdog: Option<(Duration, BootTime)>,
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Drive {
    async fn start(mut settings: Settings, path: PathBuf) -> Result<Self, Error> {
        let system = |what| move |source| Error::System { what, source };
        let now = clock::now();
        if settings.name.is_empty() {
            settings.name = host_name();
        }
        let control_dir = settings.runtime_dir.join("ctrl");
        std::fs::create_dir_all(&control_dir).map_err(system("the runtime directory"))?;
        wpa_ctrl::remove_stale(&control_dir);
        let socket = settings.runtime_dir.join(SOCKET);
        // First of all: a second daemon on this machine ends here.
        let control = Control::listen(&socket).map_err(|source| Error::Control { path: socket, source })?;
        let identity = Arc::new(keep::load_identity(&settings.state_dir.join("gateway.pk8"))?);
        let enrolment = enrolment(&settings)?;

        let rtnetlink_events = RtnetlinkEvents::open()?;
        let rtnetlink = Rtnetlink;
        let heard = hear(rtnetlink).await?;
        let mut world = World::default();
        world.learn(&heard.links, &heard.addresses);

        let abilities = nftables::probe("lo", settings.layout == LayoutChoice::Bridge)?;
        let layout = choose(&settings, abilities)?;
        let owned = settings.own_table && !settings.names_by_dnsmasq;
        let mut nft = Nftables::open(layout, owned, abilities)?;
        let nft_events = NftEvents::listen(&mut nft).map_err(system("the nftables multicast group"))?;

        let mut figures = BTreeMap::new();
        let running = persist::load_running(&settings.runtime_dir);
        let codes = running.as_ref().map(|running| running.codes.clone());
        let mut grants = adopt(&mut nft, &settings, codes, abilities, now, &mut figures);
        grants.wait_for_more(settings.spent_wait);
        let told = running.as_ref().map(|running| running.messages.clone());
        let messages = Messages::begin(identity.clone(), &settings, told, now);
        let running = running.unwrap_or_default();

        let boot = new_boot_id();
        let upstream = enrolment.as_ref().map(|enrolment| {
            Upstream::new(enrolment.coordinator.key, identity.public(), boot, running.upstream)
        });
        let mut backoff = Backoff::default();
        let link = enrolment.as_ref().map(|enrolment| {
            let opening = Opening {
                address: enrolment.coordinator.clone(),
                identity: identity.clone(),
                role: Role::Gateway,
                boot,
                claim: enrolment.claim.clone(),
            };
            keep_link(opening, move |stood, not_before| {
                backoff.wait(stood, not_before, u64::from_le_bytes(random()))
            })
        });
        let link_state = match &enrolment {
            None => LinkState::Alone,
            Some(enrolment) => LinkState::Down {
                host: enrolment.coordinator.host.clone(),
                why: "no attempt has ended yet".to_owned(),
            },
        };
        let hostapd = Hostapd::watch(settings.hostapd_directory.clone(), control_dir);
        let dhcp = Dhcp::new(settings.lease_file.clone());
        let watchdog = sd_notify::watchdog_enabled().map(|interval| (interval / 2, now));
        let radius = Radius::new(&settings, &grants, now);
        // All that count may be kept.
        let kept_codes = grants.joins_by_code().collect();
        let mut gateway = Gateway {
            service: service_id(identity.public()),
            identity,
            started: now,
            world,
            grants,
            presence: Presence::default(),
            former: Former::default(),
            farewells: Farewells::default(),
            protected: Few::default(),
            upstream,
            beacons: Beacons::new(&settings, now),
            radius,
            messages,
            portal: Portal::new(),
            nft,
            hostapd: hostapd.control(),
            conntrack: Conntrack::open().map_err(|error| Error::System {
                what: "connection tracking",
                source: std::io::Error::other(error),
            })?,
            rtnetlink,
            dhcp,
            link,
            link_state,
            coordinator_at: Vec::new(),
            figures,
            names: Vec::new(),
            listings: Listings::default(),
            code_files: Vec::new(),
            code_files_at: None,
            unwritten: Vec::new(),
            isolated: running.isolated.into_iter().map(|index| (index, ())).gather(),
            denials: Denials::resume(&running.denied),
            #[cfg(feature = "wpa3")]
            passwords: Passwords::resume(running.passwords),
            #[cfg(not(feature = "wpa3"))]
            passwords: Passwords,
            kept_codes,
            making: Few::default(),
            pinned: BTreeSet::new(),
            pending: FuturesUnordered::new(),
            waves: Few::default(),
            waiting: Few::default(),
            events: broadcast::channel(EVENTS_KEPT).0,
            restored: 0,
            dropped: 0,
            pace: Pace::new(now),
            unkept: None,
            rebuild_at: None,
            lost_at: None,
            rebuilt_at: now,
            snapshot_at: Some(now + SNAPSHOT_EVERY),
            list_at: None,
            running_changed: false,
            refused: false,
            settings,
        };
        gateway.go_on(now);
        if gateway.refused {
            // Whoever starts it sees why at once; the tables that stand are left as they are.
            let ruleset = gateway.nft.stands(&[], false);
            tracing::error!(?ruleset, "the ruleset could not be put in place at the start");
        }
        feed(&mut gateway, heard);
        let ending = running.ending.iter().map(|(kept, cause)| (kept.grant(now), *cause)).collect();
        gateway.grants.resume(ending, now);
        gateway.look_at_quotas(now);
        gateway.hold_codes(None, now);
        gateway.radius_begin(now);
        gateway.portal_begin(now);
        gateway.shares_anew();
        resolve(&mut gateway, enrolment.as_ref().map(|enrolment| &enrolment.coordinator));
        gateway.settle(now);
        #[cfg(feature = "dbus")]
        if gateway.settings.dbus {
            tokio::spawn(crate::adapters::dbus::run(control.asker()));
        }
        #[cfg(feature = "ubus")]
        if let Some(socket) = &gateway.settings.ubus {
            tokio::spawn(crate::adapters::ubus::run(socket.clone(), control.asker()));
        }
        let codes = watch_codes(&gateway);
        Ok(Self {
            gateway,
            path,
            codes,
            hostapd,
            rtnetlink: rtnetlink_events,
            nft: nft_events,
            control,
            alarm: Alarm::new().map_err(system("timerfd"))?,
            enrolment,
            watchdog,
            terminate: signal(SignalKind::terminate()).map_err(system("signals"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(system("signals"))?,
            hang_up: signal(SignalKind::hangup()).map_err(system("signals"))?,
        })
    }

    async fn turn(&mut self) -> Result<(), Error> {
        loop {
            let wake_at = self.wake_at();
            let gateway = &mut self.gateway;
            let link = gateway.link.as_mut();
            let radius = gateway.radius.as_ref();
            let codes = self.codes.as_ref();
            let messages = &mut gateway.messages;
            let portal = &mut gateway.portal;
            tokio::select! {
                // An eviction before everything else: it comes by the control socket or the link.
                biased;
                asked = self.control.next() => self.gateway.answer(asked),
                event = async { match link { Some(link) => link.next().await, None => std::future::pending().await } } =>
                    self.link_event(event),
                Some(done) = gateway.pending.next(), if !gateway.pending.is_empty() => self.done(done),
                event = self.nft.next() => self.nft_event(&event),
                event = self.rtnetlink.next_event() => self.rtnetlink_event(event?),
                event = self.hostapd.next_event() => self.hostapd_event(event),
                changed = async { match codes { Some(codes) => codes.changed().await, None => std::future::pending().await } } => {
                    let changed = changed.map_err(|source| Error::System { what: "the runtime directory", source })?;
                    self.codes_touched(&changed);
                }
                woken = self.alarm.wait_until(wake_at) => {
                    woken.map_err(|source| Error::System { what: "timerfd", source })?;
                    self.timeout();
                }
                _ = self.hang_up.recv() => self.reload(),
                _ = self.terminate.recv() => return Ok(()),
                _ = self.interrupt.recv() => return Ok(()),
                // Last what others may send as fast as they like: it holds up no lease, no watchdog and no stop.
                event = messages.next() => self.gateway.channel_event(event),
                visit = portal.next() => self.gateway.portal_visit(visit, 0, clock::now()),
                heard = radius::next(radius) => {
                    self.gateway.radius_heard(heard, clock::now());
                }
            }
            let now = clock::now();
            self.gateway.settle(now);
        }
    }

    fn wake_at(&self) -> Option<BootTime> {
        let gateway = &self.gateway;
        let idle = gateway.grants.enforced().next().is_none();
        let snapshot = gateway.snapshot_at.filter(|_| !idle);
        let watchdog = self.watchdog.map(|(_, at)| at);
        [
            gateway.grants.poll_timeout(),
            gateway.rebuild_at,
            gateway.list_at,
            gateway.code_files_at,
            gateway.pace.due(),
            gateway.beacons.as_ref().and_then(|beacons| beacons.announcer.poll_timeout()),
            gateway.radius_due(),
            gateway.messages.poll_timeout(),
            gateway.portal.poll_timeout(),
            snapshot,
            watchdog,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn timeout(&mut self) {
        let now = clock::now();
        self.gateway.grants.handle_timeout(now);
        if let Some(beacons) = &mut self.gateway.beacons {
            beacons.announcer.handle_timeout(now);
        }
        self.gateway.messages.handle_timeout(now);
        // The report of what just ended belongs before anything slower.
        self.gateway.settle(now);
        if self.gateway.rebuild_at.is_some_and(|at| at <= now) {
            self.gateway.repair(now);
        }
        if self.gateway.snapshot_at.is_some_and(|at| at <= now) {
            self.gateway.snapshot(now);
        }
        if self.gateway.list_at.is_some_and(|at| at <= now) {
            self.gateway.list_at = None;
            let bsses: Vec<String> = self.gateway.presence.bsses().keys().cloned().collect();
            bsses.into_iter().for_each(|bss| list(&mut self.gateway, bss));
        }
        self.gateway.radius_timeout(now);
        self.gateway.portal_timeout(now);
        if self.gateway.code_files_at.is_some_and(|at| at <= now) {
            self.gateway.hold_codes(None, now);
        }
        if self.gateway.pace.due().is_some_and(|at| at <= now) {
            self.save(now);
        }
        if let Some((interval, at)) = &mut self.watchdog
            // Half due will do, now that the processor is awake anyway.
            && *at <= now + *interval / 2
        {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            *at = now + *interval;
        }
    }

    fn save(&mut self, now: BootTime) {
        self.gateway.remember_figures();
        let figures = &self.gateway.figures;
        let kept: Vec<Kept> = self
            .gateway
            .grants
            .held()
            .map(|grant| {
                let (used, moved) = figures.get(&grant.id).copied().unwrap_or_default();
                Kept::new(grant, used, moved, now)
            })
            .collect();
        let state_dir = &self.gateway.settings.state_dir;
        let saved = persist::save_grants(state_dir, &kept)
            .and_then(|()| self.gateway.messages.save(state_dir, now))
            .and_then(|()| self.gateway.radius_save());
        if let Err(error) = saved {
            tracing::error!(%error, "grants would not survive a reboot; trying again in a while");
            self.gateway.unkept = Some(sentence(&error));
            self.gateway.pace.written(now);
            return self.gateway.pace.changed(false, now);
        }
        self.gateway.kept_codes = self.gateway.grants.joins_by_code().collect();
        self.gateway.unkept = None;
        self.gateway.pace.written(now);
    }

    fn link_event(&mut self, event: LinkEvent<ToGateway>) {
        let gateway = &mut self.gateway;
        let Some(enrolment) = &mut self.enrolment else { return };
        let host = enrolment.coordinator.host.clone();
        let Some(upstream) = &mut gateway.upstream else { return };
        match event {
            LinkEvent::Up { nonce, .. } => {
                upstream.handle_input(upstream::Input::Up(nonce));
                gateway.link_state = LinkState::Up { host };
                gateway.coordinator_begins(clock::now());
                gateway.tell(&Event::Link { state: gateway.link_state.clone() });
                if enrolment.claim.is_some() {
                    *enrolment = enrolment.clone().without_claim();
                    if let Err(error) = enrolment.keep(&gateway.settings.state_dir) {
                        tracing::warn!(%error, "the used claim code stays on disk");
                    }
                }
                resolve(gateway, Some(&enrolment.coordinator));
            }
            LinkEvent::Message(ToGateway::Notice(signed)) => {
                upstream.handle_input(upstream::Input::Signed(signed))
            }
            LinkEvent::Message(ToGateway::ReportTaken { number }) => {
                upstream.handle_input(upstream::Input::ReportTaken(number));
            }
            LinkEvent::Malformed { why } => gateway.drop_outside(Refusal::new("malformed", why)),
            LinkEvent::Down { word, why, retry_in } => {
                tracing::info!(word, why, ?retry_in, "no link to the coordinator");
                upstream.handle_input(upstream::Input::Down);
                gateway.link_state = LinkState::Down { host, why };
                gateway.tell(&Event::Link { state: gateway.link_state.clone() });
                resolve(gateway, Some(&enrolment.coordinator));
            }
        }
    }

    fn done(&mut self, done: Done) {
        let now = clock::now();
        let gateway = &mut self.gateway;
        match done {
            Done::Step { wave, step, outcomes, unsaid } => {
                for (station, bss) in unsaid {
                    gateway.farewells.unsaid(station, &bss);
                }
                let input = grants::Input::StepDone { wave, step, outcomes, moved: BTreeMap::new() };
                gateway.grants.handle_input(input, now);
            }
            Done::Presence(answer) => gateway.send(answer),
            Done::CodesRead { made, untold } => {
                if let Some((grant, incarnation)) = made {
                    gateway.code_made(grant, incarnation, &untold, now);
                }
            }
            Done::Probed { grant, station, there } => {
                gateway.grants.handle_input(grants::Input::Probed { grant, station, there }, now);
            }
            // It may have left meanwhile.
            Done::Identified { bss, station, identity }
                if gateway.presence.get(station).is_some_and(|found| found.bsses.contains_key(&bss)) =>
            {
                let key = key_id(identity.as_deref());
                gateway.listings.came(&bss, station, By::Key(key));
                gateway.grants.handle_input(grants::Input::Associated { bss, station, key }, now);
            }
            Done::Identified { .. } => {}
            Done::Resolved(addresses) => {
                if !addresses.is_empty() && addresses != gateway.coordinator_at {
                    gateway.coordinator_at = addresses;
                    gateway.rebuild_soon(false, now);
                }
            }
            Done::Heard(heard) => {
                gateway.world.learn(&heard.links, &heard.addresses);
                feed(gateway, heard);
                gateway.shares_anew();
                gateway.rebuild_soon(false, now);
            }
            Done::Stations { bss, number, stations } => {
                if let Some(stations) = &stations {
                    let said = stations.iter().map(|info| (info.mac, info.protected)).collect();
                    gateway.protected.insert(bss.clone(), said);
                }
                let listed = stations.map(|stations| {
                    let authorized = stations.into_iter().filter(|info| info.state.authorized);
                    authorized.map(|info| (info.mac, joined_by(gateway, &bss, info))).collect()
                });
                let Some(listed) = gateway.listings.end(number, listed) else { return };
                if listed.iter().any(|(_, by)| *by == By::Unsaid) {
                    gateway.list_at.get_or_insert(now + LIST_AFTER);
                }
                let here: BTreeSet<MacAddr> = listed.iter().map(|(station, _)| *station).gather();
                gateway
                    .grants
                    .handle_input(grants::Input::Listed { bss: bss.clone(), stations: listed }, now);
                let strangers = here.iter().filter(|station| gateway.grants.of_station(**station).is_none());
                for (station, reason) in gateway.farewells.listed(&bss, strangers.copied(), now) {
                    gateway.send_away(bss.clone(), station, reason);
                }
                let known: BTreeSet<MacAddr> = gateway
                    .presence
                    .stations()
                    .filter(|(_, found)| found.bsses.contains_key(&bss))
                    .map(|(station, _)| station)
                    .gather();
                for station in here.difference(&known).copied() {
                    gateway.presence.handle_input(presence::Input::Associated { bss: bss.clone(), station });
                    gateway.list_at.get_or_insert(now + LIST_AFTER);
                }
                for station in known.difference(&here).copied() {
                    gateway
                        .presence
                        .handle_input(presence::Input::Disassociated { bss: bss.clone(), station });
                }
                gateway.place_terminals(now);
            }
            Done::Doctor(reply, findings) => reply.ok(findings),
            Done::Announced { bss, answer, untold } => gateway.beacons_answered(bss, answer, untold, now),
            Done::Denied(denied) => gateway.denied(&denied),
            #[cfg(feature = "portal")]
            Done::Portal(later) => gateway.portal_later(later, now),
            Done::Nothing => {}
        }
    }

    fn nft_event(&mut self, event: &NftEvent) {
        let now = clock::now();
        match event {
            NftEvent::Spent(grant) => {
                // A top-up may have been quicker than this word, and headers are nobody's bytes.
                if self.gateway.is_used_up(*grant, now) {
                    self.gateway.grants.handle_input(grants::Input::Spent { grant: *grant }, now);
                }
            }
            NftEvent::Low(grant) => {
                self.gateway.grants.handle_input(grants::Input::Low { grant: *grant }, now);
            }
            NftEvent::Disturbed => self.gateway.rebuild_soon(true, now),
            NftEvent::Overrun => {
                self.gateway.look_at_quotas(now);
                self.gateway.rebuild_soon(false, now);
            }
            NftEvent::Unheard => self.gateway.look_at_quotas(now),
        }
        // At once, unless somebody destroys it over and over.
        if self.gateway.rebuild_at.is_some_and(|at| at <= now) {
            self.gateway.repair(now);
        }
    }

    fn rtnetlink_event(&mut self, event: RtnetlinkEvent) {
        let now = clock::now();
        let gateway = &mut self.gateway;
        let matters = match event {
            RtnetlinkEvent::Link(link) => gateway.world.link(link),
            RtnetlinkEvent::LinkGone { index } => gateway.world.link_gone(index),
            RtnetlinkEvent::Address(address) => gateway.world.address(address),
            RtnetlinkEvent::AddressGone(address) => gateway.world.address_gone(&address),
            RtnetlinkEvent::Neighbour(neighbour) => {
                if gateway.world.is_shared(&gateway.settings, neighbour.index)
                    && !gateway.world.is_ours(neighbour.mac)
                    && let Some(interface) = gateway.world.name(neighbour.index)
                {
                    let input = presence::Input::Neighbour {
                        interface: interface.to_owned(),
                        station: neighbour.mac,
                        ip: neighbour.ip,
                    };
                    gateway.presence.handle_input(input);
                }
                false
            }
            RtnetlinkEvent::NeighbourGone { index, ip, .. } => {
                if let Some(interface) = gateway.world.name(index) {
                    let interface = interface.to_owned();
                    gateway.presence.handle_input(presence::Input::NeighbourGone { interface, ip });
                }
                false
            }
            RtnetlinkEvent::Fdb(entry) | RtnetlinkEvent::FdbGone(entry) if entry.local => false,
            RtnetlinkEvent::Fdb(entry) => {
                if gateway.world.is_shared(&gateway.settings, entry.port)
                    && let Some(port) = gateway.world.name(entry.port)
                {
                    let input = presence::Input::Bridged { port: port.to_owned(), station: entry.mac };
                    gateway.presence.handle_input(input);
                }
                false
            }
            RtnetlinkEvent::FdbGone(entry) => {
                if let Some(port) = gateway.world.name(entry.port) {
                    let input = presence::Input::Unbridged { port: port.to_owned(), station: entry.mac };
                    gateway.presence.handle_input(input);
                }
                false
            }
            RtnetlinkEvent::Overrun => {
                let rtnetlink = gateway.rtnetlink;
                gateway.pending.push(Box::pin(async move {
                    let heard = hear(rtnetlink).await.unwrap_or_else(|error| {
                        tracing::warn!(%error, "interfaces and neighbours");
                        Heard::default()
                    });
                    Done::Heard(heard)
                }));
                false
            }
        };
        if matters {
            gateway.shares_anew();
            gateway.rebuild_soon(false, now);
        }
    }

    /// Somebody, perhaps we, has written where the files of codes are.
    fn codes_touched(&mut self, changed: &wpa_ctrl::Changed) {
        let ours = self.gateway.code_files.iter().filter_map(|file| file.path().file_name());
        if !changed.everything
            && !ours.into_iter().any(|name| changed.names.iter().any(|other| other == name))
        {
            return;
        }
        // Soon, unless somebody edits it over and over.
        let now = clock::now();
        self.gateway.code_files_at.get_or_insert(now);
    }

    fn hostapd_event(&mut self, event: HostapdEvent) {
        let now = clock::now();
        let gateway = &mut self.gateway;
        match event {
            HostapdEvent::BssUp(info) => {
                let bss = info.name.clone();
                let input = presence::Input::BssUp { bss: info.name, bssid: info.bssid, ssid: info.ssid };
                gateway.presence.handle_input(input);
                gateway.beacons_input(beacon::Input::CameUp(bss.clone()), now);
                gateway.isolate_stations(&bss);
                gateway.read_codes_at(bss.clone());
                gateway.denials.forgotten(&bss, None);
                gateway.running_changed = true;
                gateway.listings.forget(&bss);
                list(gateway, bss);
            }
            HostapdEvent::BssDown { bss } => {
                gateway.listings.forget(&bss);
                gateway.protected.remove(&bss);
                let nobody = grants::Input::Listed { bss: bss.clone(), stations: Vec::new() };
                gateway.grants.handle_input(nobody, now);
                gateway.presence.handle_input(presence::Input::BssDown { bss });
            }
            HostapdEvent::StationConnected { bss, station, keyid } => {
                gateway.farewells.came(&bss, station);
                let key = key_id(keyid.as_deref()).or_else(|| gateway.passwords.key_at(&bss, station));
                if key.is_none() && gateway.has_accounts(&bss) {
                    gateway.listings.came(&bss, station, By::Unsaid);
                    identify(gateway, bss.clone(), station);
                } else {
                    gateway.listings.came(&bss, station, By::Key(key));
                    let input = grants::Input::Associated { bss: bss.clone(), station, key };
                    gateway.grants.handle_input(input, now);
                }
                gateway.presence.handle_input(presence::Input::Associated { bss, station });
                // hostapd does not wait for a reader: when many come at once it leaves some out.
                gateway.list_at.get_or_insert(now + LIST_AFTER);
            }
            HostapdEvent::StationDisconnected { bss, station } => {
                gateway.listings.left(&bss, station);
                gateway.grants.handle_input(grants::Input::Disassociated { bss: bss.clone(), station }, now);
                gateway.presence.handle_input(presence::Input::Disassociated { bss: bss.clone(), station });
                gateway.beacons_left(bss, now);
            }
        }
    }

    /// SIGHUP: what is shared and open may change; stations are not touched.
    fn reload(&mut self) {
        let mut settings = match gateway::load(&self.path) {
            Ok(settings) => settings,
            Err(error) => return tracing::error!(%error, "the settings stay as they are"),
        };
        if settings.name.is_empty() {
            settings.name = host_name();
        }
        let now_ = &self.gateway.settings;
        let fixed =
            (now_.layout, now_.own_table, now_.names_by_dnsmasq, &now_.hostapd_directory, &now_.state_dir);
        let wanted = (
            settings.layout,
            settings.own_table,
            settings.names_by_dnsmasq,
            &settings.hostapd_directory,
            &settings.state_dir,
        );
        if fixed != wanted
            || now_.runtime_dir != settings.runtime_dir
            || now_.coordinator != settings.coordinator
            || now_.messages != settings.messages
            || (now_.beacon_every, &now_.vendor_elements, &now_.interworking)
                != (settings.beacon_every, &settings.vendor_elements, &settings.interworking)
            || radius::differs(now_, &settings)
            || buses_differ(now_, &settings)
        {
            tracing::warn!(
                "layout, tables, directories, coordinator, buses, messages, beacons and RADIUS change at the next start"
            );
        }
        self.gateway.portal_reload(&settings, clock::now());
        let now_ = &mut self.gateway.settings;
        now_.name = settings.name;
        now_.area = settings.area;
        now_.visitors = settings.visitors;
        now_.spent_wait = settings.spent_wait;
        now_.networks = settings.networks;
        #[cfg(feature = "hostapd-conf")]
        now_.hostapd_config.clone_from(&settings.hostapd_config);
        now_.services = settings.services;
        now_.prefixes = settings.prefixes;
        now_.lease_file = settings.lease_file;
        self.gateway.dhcp = Dhcp::new(self.gateway.settings.lease_file.clone());
        self.gateway.grants.wait_for_more(self.gateway.settings.spent_wait);
        self.gateway.hold_codes(None, clock::now());
        self.codes = watch_codes(&self.gateway);
        tracing::info!("settings read again");
        self.gateway.shares_anew();
        self.gateway.go_on(clock::now());
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    async fn stop(mut self) -> Result<(), Error> {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let deadline = tokio::time::Instant::now() + STOP_PATIENCE;
        // Evictions under way are brought to their end; what is left goes on at the next start.
        while !self.gateway.waves.is_empty() {
            match tokio::time::timeout_at(deadline, self.gateway.pending.next()).await {
                Ok(Some(done)) => self.done(done),
                Ok(None) | Err(_) => break,
            }
            self.gateway.settle(clock::now());
        }
        self.gateway.radius_stop(clock::now()).await;
        self.save(clock::now());
        let _ = tokio::time::timeout_at(deadline, self.gateway.withdraw_beacons()).await;
        if let Some(link) = self.gateway.link.take() {
            link.close(STOP_PATIENCE).await;
        }
        Ok(())
    }
}

/// Whether it would be somewhere else on D-Bus or ubus.
fn buses_differ(now: &Settings, wanted: &Settings) -> bool {
    #[cfg(feature = "ubus")]
    if now.ubus != wanted.ubus {
        return true;
    }
    now.dbus != wanted.dbus
}

async fn hear(rtnetlink: Rtnetlink) -> Result<Heard, Error> {
    Ok(Heard {
        links: rtnetlink.links().await?,
        addresses: rtnetlink.addresses().await?,
        neighbours: rtnetlink.neighbours().await?,
        fdb: rtnetlink.fdb().await?,
    })
}

/// Everything that bridge and neighbour table know, anew.
fn feed(gateway: &mut Gateway, heard: Heard) {
    gateway.presence.handle_input(presence::Input::Forget);
    for entry in heard.fdb.into_iter().filter(|entry| !entry.local) {
        if gateway.world.is_shared(&gateway.settings, entry.port)
            && let Some(port) = gateway.world.name(entry.port)
        {
            let port = port.to_owned();
            gateway.presence.handle_input(presence::Input::Bridged { port, station: entry.mac });
        }
    }
    for neighbour in heard.neighbours {
        if gateway.world.is_shared(&gateway.settings, neighbour.index)
            && !gateway.world.is_ours(neighbour.mac)
            && let Some(interface) = gateway.world.name(neighbour.index)
        {
            let interface = interface.to_owned();
            let input = presence::Input::Neighbour { interface, station: neighbour.mac, ip: neighbour.ip };
            gateway.presence.handle_input(input);
        }
    }
    gateway.presence.handle_input(presence::Input::Remembered);
}

/// Listens where the files of codes are, if there are any.
fn watch_codes(gateway: &Gateway) -> Option<DirWatch> {
    gateway.code_networks().next()?;
    let watch = DirWatch::new(&gateway.settings.runtime_dir);
    watch.inspect_err(|error| tracing::warn!(%error, "edits of the files of codes are not noticed")).ok()
}

/// Asks for the coordinator's addresses: stations without a grant reach it, too.
fn resolve(gateway: &mut Gateway, coordinator: Option<&CoordinatorAddress>) {
    let Some(coordinator) = coordinator else { return };
    let (name, port) = (coordinator.name().to_owned(), coordinator.port());
    gateway.pending.push(Box::pin(async move {
        let mut addresses: Vec<(IpAddr, u16)> = match tokio::net::lookup_host((name, port)).await {
            Ok(found) => found.map(|address| (address.ip(), port)).collect(),
            Err(error) => {
                tracing::debug!(%error, "the coordinator's addresses");
                Vec::new()
            }
        };
        addresses.sort_unstable();
        addresses.dedup();
        Done::Resolved(addresses)
    }));
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().chars().filter(|char| !char.is_control()).take(64).collect())
        .unwrap_or_default()
}
