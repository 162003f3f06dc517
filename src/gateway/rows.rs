//! What the owner is shown: status, stations, grants.

use std::collections::BTreeMap;

use super::effects::{Gateway, count};
use crate::adapters::nftables::Enforced;
use crate::logic::beacon::Standing;
use crate::logic::grants::Grant;
use crate::model::{BootTime, MacAddr, Traffic};
use crate::wire::local::{GatewayStatus, GrantRow, StationRow};

impl Gateway {
    /// The gateway at a glance.
    pub fn status(&mut self, now: BootTime) -> GatewayStatus {
        let (refused_packets, spoofed_packets) = self.nft.refusals().unwrap_or_default();
        GatewayStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.settings.name.clone(),
            service: self.service,
            uptime: now.since(self.started).into(),
            layout: self.nft.layout(),
            owned: self.nft.owned(),
            interfaces: self.world.hooked(&self.settings, self.nft.layout()),
            bsses: count(self.presence.bsses().len()),
            beacons: count(self.announced_on()),
            stations: count(self.presence.stations().count()),
            grants: count(self.grants.held().count()),
            link: self.link_state.clone(),
            restored: self.restored,
            dropped: self.dropped,
            refused_packets,
            spoofed_packets,
        }
    }

    fn announced_on(&self) -> usize {
        let all = self.beacons.iter().flat_map(|beacons| beacons.announcer.announced());
        all.filter(|(_, how)| *how == Standing::On).count()
    }

    /// Every station that is present.
    pub fn station_rows(&mut self) -> Vec<StationRow> {
        let enforced = self.look();
        let rows = self.presence.stations().map(|(mac, found)| {
            let bss = found.bsses.keys().next().and_then(|name| self.presence.bsses().get(name));
            let interface = [found.bsses.keys().next(), found.port.as_ref(), found.addresses.values().next()];
            StationRow {
                mac,
                interface: interface.into_iter().flatten().next().cloned().unwrap_or_default(),
                bssid: bss.map(|bss| bss.bssid),
                ssid: bss.map(|bss| bss.ssid.clone()),
                addresses: found.addresses.keys().copied().collect(),
                protected: found
                    .bsses
                    .keys()
                    .next()
                    .and_then(|bss| self.protected.get(bss)?.iter().find(|(own, _)| *own == mac))
                    .map(|(_, protected)| *protected),
                grant: self.grants.of_station(mac).map(|grant| grant.id),
                moved: enforced.get(&mac).map(|found| found.moved).unwrap_or_default(),
            }
        });
        rows.collect()
    }

    /// Every grant that is held.
    pub fn grant_rows(&mut self, now: BootTime) -> Vec<GrantRow> {
        let enforced = self.look();
        self.grants.held().map(|grant| self.grant_row(grant, &enforced, now)).collect()
    }

    /// A grant, with what the kernel enforces of its station.
    pub fn grant_row(
        &self,
        grant: &Grant,
        enforced: &BTreeMap<MacAddr, Enforced>,
        now: BootTime,
    ) -> GrantRow {
        let station = grant.station;
        let best = station.and_then(|station| self.grants.of_station(station));
        let in_force = best.is_some_and(|best| best.id == grant.id);
        let moved = match station.and_then(|station| enforced.get(&station)) {
            Some(found) if in_force => found.moved,
            _ => self.figures.get(&grant.id).map_or(Traffic::default(), |(_, moved)| *moved),
        };
        GrantRow {
            id: grant.id,
            station,
            code: grant.code.is_some(),
            origin: grant.origin,
            incarnation: grant.incarnation,
            left: grant.deadline.map(|at| at.since(now).into()),
            quota: grant.quota,
            moved,
            present: station.is_some_and(|station| self.presence.get(station).is_some()),
        }
    }

    /// What the kernel enforces now.
    fn look(&mut self) -> BTreeMap<MacAddr, Enforced> {
        match self.nft.enforced() {
            Ok(found) => {
                self.remember(&found);
                found
            }
            Err(error) => {
                tracing::warn!(%error, "figures");
                BTreeMap::new()
            }
        }
    }
}
