//! The control socket: what an owner asks of the coordinator, and its answers.

use std::sync::Arc;

use super::hub::Hub;
use super::{claims, messages, vouchers};
use crate::host::clock;
use crate::host::control::{Asked, Control};
use crate::logic::session::Policy;
use crate::model::{Cause, Millis, Refusal, unhex};
use crate::wire::beacon::{Beacon, Element, elements};
use crate::wire::ledger::Row;
use crate::wire::local::{CoordinatorRequest, CoordinatorStatus, Ended, Heard, LedgerPage, PolicyWord};

/// Entries of a ledger in one answer.
const LEDGER_PAGE: u32 = 1000;

/// The socket in the runtime directory.
pub const FILE: &str = "coordinator.sock";

/// Answers until it is dropped. A request that waits for the store holds up no other.
pub async fn serve(hub: Arc<Hub>, mut control: Control<CoordinatorRequest>) {
    loop {
        let asked = control.next().await;
        tokio::spawn(answer(Arc::clone(&hub), asked));
    }
}

async fn answer(hub: Arc<Hub>, Asked { request, reply }: Asked<CoordinatorRequest>) {
    let unknown_gateway = || Refusal::new("unknown-gateway", "there is no such gateway");
    match request {
        CoordinatorRequest::Status => reply.ok(status(&hub)),
        CoordinatorRequest::Claim { role, valid } => {
            reply.say(claims::create(&hub, role, valid).await);
        }
        CoordinatorRequest::Gateways => {
            let rows = hub.core().gateway_rows();
            reply.ok(rows);
        }
        CoordinatorRequest::Sessions { gateway, after } => {
            let page = hub.core().session_page(gateway.as_ref(), after);
            reply.say(page.ok_or_else(unknown_gateway));
        }
        CoordinatorRequest::Evict { session } => {
            let ended = hub.core().end(&session, Cause::Owner, clock::now());
            let unknown = || Refusal::new("unknown-session", "there is no such session");
            reply.say(ended.then_some(Ended { session }).ok_or_else(unknown));
        }
        CoordinatorRequest::Push(ask) => reply.say(messages::push(&hub, ask).await),
        CoordinatorRequest::Messages => {
            let rows = hub.core().message_rows(clock::now());
            reply.ok(rows);
        }
        CoordinatorRequest::Withdraw { message } => reply.say(messages::withdraw(&hub, &message)),
        CoordinatorRequest::Beacon { element, bssid } => {
            let now = clock::now();
            reply.say(read_beacon(&element).and_then(|beacon| {
                hub.core().check_beacon(&beacon, bssid, now)?;
                Ok(Heard { service: beacon.said.service, slot: beacon.said.slot })
            }));
        }
        CoordinatorRequest::Ledger { gateway, after } => {
            let key = hub.core().gateway_key(&gateway);
            match key {
                Some(key) => {
                    let entries = hub.writer.ledger(key, after, LEDGER_PAGE).await;
                    reply.ok(LedgerPage { entries: entries.iter().map(Row::from).collect() });
                }
                None => reply.say(Err::<LedgerPage, _>(unknown_gateway())),
            }
        }
        CoordinatorRequest::Vouchers { count, value, valid } => {
            reply.say(vouchers::print(&hub, count, value, valid).await);
        }
        CoordinatorRequest::Policy { gateway, policy } => {
            let policy = policy.map(|policy| match policy {
                PolicyWord::Corroborate => Policy::Corroborate,
                PolicyWord::Strict => Policy::Strict,
            });
            let mut core = hub.core();
            let row = core.set_policy(&gateway, policy).and_then(|key| core.gateway_row(&key));
            drop(core);
            reply.say(row.ok_or_else(unknown_gateway));
        }
    }
}

fn read_beacon(element: &str) -> Result<Beacon, Refusal> {
    let refused = |why: String| Refusal::new("element", why);
    let octets = unhex(element).ok_or_else(|| refused("not hexadecimal digits".to_owned()))?;
    let found = elements(&octets).map_err(|error| refused(error.to_string()))?;
    let ours = found.into_iter().find_map(|element| match element {
        Element::Beacon(beacon) => Some(beacon),
        Element::Other { .. } => None,
    });
    ours.ok_or_else(|| refused("no Wayleave element among them".to_owned()))
}

fn status(hub: &Hub) -> CoordinatorStatus {
    let glance = hub.core().glance();
    CoordinatorStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        public: hub.settings().public.clone(),
        key: hub.key,
        uptime: Millis::from(clock::now().since(hub.started)),
        gateways: glance.gateways,
        gateways_up: glance.gateways_up,
        terminals_up: glance.terminals_up,
        sessions: glance.sessions.into_iter().map(|(state, count)| (state.to_owned(), count)).collect(),
        outbox: glance.outbox,
        braked: glance.braked,
        store_full: hub.writer.is_full(),
    }
}
