//! `wayleave claim`, `gateways`, `sessions`, `policy`, and `wayleave coordinator status` and `evict`.

use std::io::{self, Write};

use super::Failure;
#[cfg(feature = "portal")]
use super::args::VouchersAction;
use super::args::{Client, CoordinatorVerb, PolicyChoice};
use super::client::{Daemon, Door};
use super::output::Output;
use super::table::{Cell, Column, Facts, Table, Tone, left, right};
use super::units::{count, time};
use crate::model::{ServiceId, SessionId};
use crate::wire::hello::Role;
use crate::wire::local::{
    CoordinatorRequest, CoordinatorStatus, Ended, GatewayRow, NewClaim, PolicyWord, SessionPage, SessionRow,
};

const GATEWAYS: [Column; 7] = [
    left("GATEWAY"),
    left("NAME"),
    left("LINK"),
    left("POLICY"),
    right("SESSIONS"),
    right("OUTBOX"),
    left("NETWORKS"),
];

const SESSIONS: [Column; 6] =
    [left("SESSION"), left("STATE"), left("GATEWAY"), left("STATION"), right("JOIN"), left("CAUSE")];

/// Whom a verb is for.
pub(super) fn asks(verb: &CoordinatorVerb) -> Daemon {
    match verb {
        #[cfg(feature = "portal")]
        CoordinatorVerb::Vouchers { action: VouchersAction::Print { own: true, .. } } => Daemon::Gateway,
        _ => Daemon::Coordinator,
    }
}

pub(super) fn run(verb: CoordinatorVerb, door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    match verb {
        CoordinatorVerb::Claim { role, valid } => {
            let role = match role {
                Client::Gateway => Role::Gateway,
                Client::Terminal => Role::Terminal,
            };
            output.ask(door, &CoordinatorRequest::Claim { role, valid }, show_claim).map(drop)
        }
        CoordinatorVerb::Gateways => output
            .ask(door, &CoordinatorRequest::Gateways, |rows: &Vec<GatewayRow>, output| {
                show_gateways(rows, output)
            })
            .map(drop),
        CoordinatorVerb::Vouchers { action } => super::vouchers::run(action, door, output),
        CoordinatorVerb::Sessions { gateway } => sessions(gateway, door, output),
        CoordinatorVerb::Policy { gateway, policy } => {
            let policy = match policy {
                PolicyChoice::Corroborate => Some(PolicyWord::Corroborate),
                PolicyChoice::Strict => Some(PolicyWord::Strict),
                PolicyChoice::Default => None,
            };
            output
                .ask(door, &CoordinatorRequest::Policy { gateway, policy }, |row: &GatewayRow, output| {
                    show_gateways(std::slice::from_ref(row), output)
                })
                .map(drop)
        }
    }
}

pub(super) fn status(door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    output.ask(door, &CoordinatorRequest::Status, show_status).map(drop)
}

pub(super) fn evict(session: SessionId, door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    output
        .ask(door, &CoordinatorRequest::Evict { session }, |ended: &Ended, output| {
            writeln!(output.out, "session {} ends; its gateway is told", ended.session)
        })
        .map(drop)
}

/// All pages as one table; as JSON, a page per line.
fn sessions(gateway: Option<ServiceId>, door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let request = CoordinatorRequest::Sessions { gateway, after };
        let page: SessionPage = output.ask(door, &request, |_, _| Ok(()))?;
        rows.extend(page.sessions);
        // A coordinator that does not go on would be asked for ever.
        match page.next {
            Some(next) if after.is_none_or(|after| next > after) => after = Some(next),
            _ => break,
        }
    }
    if !output.json {
        show_sessions(&rows, output)?;
    }
    Ok(())
}

/// The token alone on standard output, so that a script can take it; the rest beside it.
fn show_claim(claim: &NewClaim, output: &mut Output<'_>) -> io::Result<()> {
    let role = match claim.role {
        Role::Gateway => "gateway",
        Role::Terminal => "terminal",
    };
    writeln!(output.out, "{}", super::table::plain(claim.token.expose()))?;
    let valid = time(claim.valid);
    // Whoever closed standard error does not want it.
    let _ = writeln!(io::stderr(), "enrols one {role}, once, within {valid}: wayleave {role} enroll TOKEN");
    Ok(())
}

pub(super) fn show_status(status: &CoordinatorStatus, output: &mut Output<'_>) -> io::Result<()> {
    let mut facts = Facts::default();
    facts.add("public", &status.public);
    facts.add("version", format!("{}, up {}", status.version, time(status.uptime)));
    facts.add("key", status.key.to_string());
    facts.add("gateways", format!("{}, {} connected", status.gateways, status.gateways_up));
    facts.add("terminals", format!("{} connected", status.terminals_up));
    let sessions: Vec<String> = status
        .sessions
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(state, number)| format!("{number} {state}"))
        .collect();
    facts.add("sessions", if sessions.is_empty() { "none".to_owned() } else { sessions.join(", ") });
    let unsent = count(status.outbox.into(), "notice unacknowledged", "notices unacknowledged");
    facts.add("outbox", unsent);
    let brake = match status.braked.as_slice() {
        [] => Cell::new("released", Tone::Plain),
        scopes => Cell::new(format!("HOLDS evictions at {}", scopes.join(", ")), Tone::Bad),
    };
    facts.add("brake", brake);
    let store = if status.store_full {
        Cell::new("the disk is FULL: nothing new is granted", Tone::Bad)
    } else {
        "good".into()
    };
    facts.add("store", store);
    facts.write(output.out, output.colours)
}

pub(super) fn show_gateways(rows: &[GatewayRow], output: &mut Output<'_>) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(output.out, "no gateways; `wayleave claim` prints a token that enrols one");
    }
    let mut table = Table::new(&GATEWAYS);
    for row in rows {
        let link = match (row.up, row.last_seen) {
            (true, _) => Cell::new("up", Tone::Good),
            (false, Some(since)) => Cell::new(format!("down for {}", time(since)), Tone::Bad),
            (false, None) => Cell::new("down", Tone::Faint),
        };
        let networks: Vec<String> = row.networks.iter().map(|ssid| ssid.to_string()).collect();
        table.row(vec![
            row.service.to_string().into(),
            if row.name.is_empty() { Cell::none() } else { (&row.name).into() },
            link,
            match row.policy {
                Some(PolicyWord::Corroborate) => "corroborate".into(),
                Some(PolicyWord::Strict) => "strict".into(),
                None => Cell::new("default", Tone::Faint),
            },
            row.sessions.to_string().into(),
            Cell::new(row.outbox.to_string(), if row.outbox == 0 { Tone::Plain } else { Tone::Hint }),
            if networks.is_empty() { Cell::none() } else { networks.join(", ").into() },
        ]);
    }
    table.write(output.out, output.colours)
}

pub(super) fn show_sessions(rows: &[SessionRow], output: &mut Output<'_>) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(output.out, "no sessions");
    }
    let mut table = Table::new(&SESSIONS);
    for row in rows {
        let tone = match row.state.as_str() {
            "active" => Tone::Good,
            "suspect" | "evicting" => Tone::Hint,
            _ => Tone::Plain,
        };
        table.row(vec![
            row.session.to_string().into(),
            Cell::new(&row.state, tone),
            row.service.to_string().into(),
            row.station.to_string().into(),
            row.incarnation.to_string().into(),
            row.cause.map_or_else(Cell::none, |cause| cause.word().into()),
        ]);
    }
    table.write(output.out, output.colours)
}
