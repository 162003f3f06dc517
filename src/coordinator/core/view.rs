//! What the control socket and the HTTP API show.

use super::{Core, Gateway, State};
use crate::host::clock;
use crate::logic::brake::Scope;
use crate::logic::session::Policy;
use crate::model::{Millis, PublicKey, ServiceId};
use crate::wire::local::{GatewayRow, PolicyWord, SessionPage, SessionRow};
use crate::wire::sign::service_id;

/// Sessions in one page.
const PAGE: usize = 1000;

/// Numbers at a glance.
#[derive(Clone, Debug, Default)]
pub struct Glance {
    /// Gateways that are enrolled.
    pub gateways: u32,
    /// Of those, connected.
    pub gateways_up: u32,
    /// Terminals that are connected.
    pub terminals_up: u32,
    /// By state, those that occur in memory.
    pub sessions: Vec<(&'static str, u32)>,
    /// Notices not acknowledged.
    pub outbox: u32,
    /// `node`, or service ids.
    pub braked: Vec<String>,
}

impl Core {
    /// Numbers at a glance.
    pub fn glance(&self) -> Glance {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Glance {
            gateways: number(self.gateways.len()),
            gateways_up: number(self.gateways.values().filter(|gateway| gateway.link.is_some()).count()),
            terminals_up: number(self.terminals.len()),
            sessions: State::ALL
                .iter()
                .zip(self.counts)
                .filter(|(state, _)| **state != State::Over)
                .map(|(state, count)| (state.word(), count))
                .collect(),
            outbox: number(self.gateways.values().map(|gateway| gateway.unacknowledged.len()).sum()),
            braked: self
                .brake
                .engaged()
                .map(|(scope, _)| match scope {
                    Scope::Node => "node".to_owned(),
                    Scope::Gateway(key) => service_id(key).to_string(),
                })
                .collect(),
        }
    }

    /// Every gateway.
    pub fn gateway_rows(&self) -> Vec<GatewayRow> {
        self.gateways.iter().map(|(key, gateway)| row(*key, gateway)).collect()
    }

    /// One gateway.
    pub fn gateway_row(&self, key: &PublicKey) -> Option<GatewayRow> {
        self.gateways.get(key).map(|gateway| row(*key, gateway))
    }

    /// Sessions after an index; `None` if there is no such gateway.
    pub fn session_page(&self, gateway: Option<&ServiceId>, after: Option<u32>) -> Option<SessionPage> {
        let of = match gateway {
            Some(service) => Some(*self.by_service.get(service)?),
            None => None,
        };
        let from = after.map_or(0, |after| after as usize + 1);
        let mut page = SessionPage { sessions: Vec::new(), next: None };
        for (index, entry) in self.entries.iter().enumerate().skip(from) {
            let Some(entry) = entry else { continue };
            if of.is_some_and(|key| key != entry.gateway) {
                continue;
            }
            page.sessions.push(SessionRow {
                session: entry.id,
                state: entry.machine.state().word().to_owned(),
                grant: entry.grant,
                service: service_id(entry.gateway),
                terminal: entry.terminal,
                station: entry.station,
                incarnation: entry.machine.incarnation(),
                cause: entry.cause,
            });
            if page.sessions.len() == PAGE {
                page.next = u32::try_from(index).ok();
                break;
            }
        }
        Some(page)
    }
}

fn row(key: PublicKey, gateway: &Gateway) -> GatewayRow {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let announce = gateway.record.announce.as_ref();
    let networks = announce.map(|announce| announce.networks.as_slice()).unwrap_or_default();
    let seen = gateway.record.seen;
    GatewayRow {
        key,
        name: announce.map(|announce| announce.name.clone()).unwrap_or_default(),
        service: service_id(key),
        policy: gateway.record.policy.map(|policy| match policy {
            Policy::Corroborate => PolicyWord::Corroborate,
            Policy::Strict => PolicyWord::Strict,
        }),
        up: gateway.link.is_some(),
        last_seen: (seen > 0).then(|| Millis(clock::calendar().saturating_sub(seen) * 1000)),
        networks: networks.iter().map(|network| network.ssid.clone()).collect(),
        bssids: number(networks.iter().map(|network| network.bssids.len()).sum()),
        sessions: number(gateway.sessions.len()),
        outbox: number(gateway.unacknowledged.len()),
    }
}
