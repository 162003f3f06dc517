//! Our element on the air: what `logic/beacon.rs` decides, said to hostapd.
//!
//! hostapd replaces all of its `vendor_elements` at once and does not say which it has (2.10 answers `FAIL` to
//! `GET vendor_elements`), so the owner's own ones come from its configuration or ours and are said with ours each time. So is
//! what telephones are told before they join (`wire/interworking.rs`).

use super::effects::{Done, Gateway};
#[cfg(feature = "hostapd-conf")]
use crate::adapters::hostapd::vendor_elements;
use crate::adapters::hostapd::{HostapdControl, HostapdError};
use crate::config::gateway::Settings;
use crate::logic::beacon::{Action, Announcer, Answer, Input};
use crate::model::{BeaconEpoch, BeaconSecret, BootTime, Bssid, Few, Gather, sentence};
use crate::wire::beacon::{Announcement, TariffDigest};
use crate::wire::gateway::BeaconReport;
use crate::wire::sign::random;

/// One run's beacons. The secret is never kept: the coordinator is told at the start of every link.
pub(super) struct Beacons {
    pub announcer: Announcer,
    /// BSSes on which hostapd does not tell what the owner wants it to tell before anybody joins, and why.
    pub untold: Few<String, String>,
    epoch: BeaconEpoch,
    secret: BeaconSecret,
}

impl Beacons {
    /// `None`: the owner wants none.
    pub fn new(settings: &Settings, now: BootTime) -> Option<Self> {
        Some(Self {
            announcer: Announcer::new(settings.beacon_every?, now),
            untold: Few::default(),
            epoch: BeaconEpoch(random()),
            secret: BeaconSecret::new(random()),
        })
    }

    /// What the coordinator checks tokens with. Out of date as soon as it is made: to be sent at once.
    pub fn report(&self, now: BootTime) -> BeaconReport {
        let (slot, into, every) = self.announcer.position(now);
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        BeaconReport {
            slot,
            epoch: self.epoch,
            secret: self.secret.clone(),
            into_ms: millis(into),
            slot_ms: millis(every),
        }
    }
}

impl Gateway {
    /// Which BSSes serve a shared network on the air. On a wire nothing is announced: there is no name.
    pub fn beacons_serve(&mut self, now: BootTime) {
        let served: Few<String, Bssid> = self
            .presence
            .bsses()
            .iter()
            .filter(|(_, bss)| !bss.ssid.as_bytes().is_empty())
            .filter(|(name, _)| {
                let index = self.world.index(name);
                index.is_some_and(|index| self.world.is_shared(&self.settings, index))
            })
            .map(|(name, bss)| (name.clone(), bss.bssid))
            .gather();
        if let Some(beacons) = &mut self.beacons {
            beacons.untold.retain(|bss, _| served.contains_key(bss));
        }
        self.beacons_input(Input::Serves(served), now);
    }

    pub fn beacons_input(&mut self, input: Input, now: BootTime) {
        if let Some(beacons) = &mut self.beacons {
            beacons.announcer.handle_input(input, now);
        }
    }

    pub fn beacons_action(&mut self, action: Action) {
        if let Action::Announce { bss, .. } = &action {
            self.isolate_stations(bss);
        }
        let (Action::Announce { bss, .. } | Action::Withdraw { bss }) = &action;
        let mut elements = self.owners_elements(bss);
        match (action, &self.beacons) {
            (Action::Announce { bss, bssid, slot, room }, Some(beacons)) => {
                let said = Announcement {
                    service: self.service,
                    room,
                    epoch: beacons.epoch,
                    slot,
                    tariff: self.tariff(),
                };
                elements.extend(said.prove(&beacons.secret, bssid).element());
                let (hostapd, told) = (self.hostapd.clone(), self.settings.interworking.clone());
                self.pending.push(Box::pin(async move {
                    // Who cannot tell this can still be found.
                    let untold = match told {
                        Some(told) => hostapd.set_interworking(&bss, &told).await.err(),
                        None => None,
                    };
                    let answer = match hostapd.set_vendor_elements(&bss, &elements).await {
                        Ok(()) => Answer::Taken,
                        Err(error) => answer(&bss, &error),
                    };
                    Done::Announced { bss, answer, untold: untold.map(|error| sentence(&error)) }
                }));
            }
            // Where hostapd itself has gone there is nothing left to take back.
            (Action::Withdraw { bss }, _) if self.presence.bsses().contains_key(&bss) => {
                let hostapd = self.hostapd.clone();
                let told = self.settings.interworking.is_some();
                self.pending.push(Box::pin(async move {
                    withdraw(&hostapd, &bss, &elements, told).await;
                    Done::Nothing
                }));
            }
            (Action::Withdraw { .. } | Action::Announce { .. }, _) => {}
        }
    }

    /// What stays beside ours.
    fn owners_elements(&self, bss: &str) -> Vec<u8> {
        #[cfg(feature = "hostapd-conf")]
        let said = vendor_elements(&self.settings.hostapd_config, bss);
        #[cfg(not(feature = "hostapd-conf"))]
        let said = Vec::new();
        let _ = bss;
        if said.is_empty() { self.settings.vendor_elements.clone() } else { said }
    }

    /// Which tariffs hold.
    fn tariff(&self) -> Option<TariffDigest> {
        #[cfg(feature = "trade")]
        return crate::wire::trade::tariff_digest(&self.settings.shop.tariffs());
        #[cfg(not(feature = "trade"))]
        None
    }

    /// Nobody can be admitted while no daemon runs: what invites is taken off the air.
    pub async fn withdraw_beacons(&self) {
        for (bss, _) in self.beacons.iter().flat_map(|beacons| beacons.announcer.announced()) {
            let told = self.settings.interworking.is_some();
            withdraw(&self.hostapd, bss, &self.owners_elements(bss), told).await;
        }
    }

    /// hostapd's answer.
    pub fn beacons_answered(&mut self, bss: String, answer: Answer, untold: Option<String>, now: BootTime) {
        let Some(beacons) = &mut self.beacons else { return };
        let before = match &untold {
            Some(why) => beacons.untold.insert(bss.clone(), why.clone()),
            None => beacons.untold.remove(&bss),
        };
        if let Some(why) = untold.filter(|why| before.as_ref() != Some(why)) {
            tracing::warn!(bss, why, "what [interworking] says is not told");
        }
        self.beacons_input(Input::Answered { bss, answer }, now);
        // The coordinator asks who joins there for a token from now on, or no longer.
        self.announce();
    }

    /// A station has left; the last one may have been sent away by a hostapd that reads its configuration again.
    pub fn beacons_left(&mut self, bss: String, now: BootTime) {
        if !self.presence.stations().any(|(_, station)| station.bsses.contains_key(&bss)) {
            self.isolate_stations(&bss);
            self.beacons_input(Input::Emptied(bss), now);
        }
    }
}

async fn withdraw(hostapd: &HostapdControl, bss: &str, owners: &[u8], told: bool) {
    if told && let Err(error) = hostapd.end_interworking(bss).await {
        tracing::debug!(bss, %error, "the Interworking element stays on the air");
    }
    if let Err(error) = hostapd.set_vendor_elements(bss, owners).await {
        tracing::debug!(bss, %error, "our element stays on the air");
    }
}

fn answer(bss: &str, error: &HostapdError) -> Answer {
    let why = sentence(error);
    tracing::warn!(bss, why, "not announced on the air");
    if error.is_transient() { Answer::Later(why) } else { Answer::Refused(why) }
}
