//! `wayleave watch`: what happens, one line per event, until Ctrl-C or until the reader has enough.

use std::io;

use super::Failure;
use super::client::{ClientError, Door};
use super::output::Output;
use super::table::plain;
use super::units::{bytes, count, station, took};
use crate::wire::local::{Answer, Event, GatewayRequest, LinkState};

pub(super) fn run(door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut conversation = door.send(&GatewayRequest::Watch)?;
    // Nothing may happen for hours.
    conversation.wait_for_ever();
    let mut line = Vec::new();
    loop {
        conversation.read_line(&mut line)?;
        let value: serde_json::Value = door.read(&line)?;
        // Before the first event a daemon may say that it will send them, or that it will not.
        if value.get("event").is_none() {
            match door.known(value)? {
                Answer::Ok(serde::de::IgnoredAny) => continue,
                Answer::Error(refusal) => return Err(ClientError::Refused(refusal).into()),
            }
        }
        if output.json {
            output.line(&value)?;
            continue;
        }
        match serde_json::from_value(value.clone()) {
            Ok(event) => show(&event, output)?,
            // An event of a newer daemon.
            Err(_) => writeln!(output.out, "{}", plain(&value.to_string()))?,
        }
        output.out.flush()?;
    }
}

pub(super) fn show(event: &Event, output: &mut Output<'_>) -> io::Result<()> {
    let (word, text) = match event {
        Event::Admitted { grant, station } => ("admitted", format!("{station}  grant {grant}")),
        Event::Evicting { cause, grant, station } => {
            ("evicting", format!("{station}  grant {grant}: {cause}"))
        }
        Event::Low { grant, station, quota, left } => {
            ("low", format!("{station}  grant {grant}: {} of {} left", bytes(*left), bytes(*quota)))
        }
        Event::Evicted { report } => {
            let freed = report.freed();
            let held = [
                count(freed.elements.into(), "element", "elements"),
                count(freed.flows.into(), "flow", "flows"),
                count(freed.associations.into(), "association", "associations"),
                count(freed.neighbours.into(), "neighbour", "neighbours"),
                count(freed.leases.into(), "lease", "leases"),
            ]
            .join(", ");
            let complete = if report.is_complete() { "" } else { "; NOT everything was freed" };
            (
                "evicted",
                format!(
                    "{}  grant {}: {}, moved {}, freed {held} in {}{complete}",
                    station(report.station),
                    report.grant,
                    report.cause,
                    bytes(report.moved.total_bytes()),
                    took(report.total_us)
                ),
            )
        }
        Event::Joined { station, interface } => ("joined", format!("{station}  {interface}")),
        Event::Gone { station, interface } => ("gone", format!("{station}  {interface}")),
        Event::Restored { grants, took_us } => (
            "restored",
            format!(
                "the tables, with {} in {}",
                count(u64::from(*grants), "grant", "grants"),
                took(*took_us)
            ),
        ),
        Event::Link { state } => (
            "link",
            match state {
                LinkState::Alone => "no coordinator".to_owned(),
                LinkState::Up { host } => format!("up: {host}"),
                LinkState::Down { host, why } => format!("down: {host}: {why}"),
            },
        ),
        Event::Delivered { message, grant } => ("delivered", format!("message {message}  grant {grant}")),
        Event::Dropped { refusal } => ("dropped", format!("{}: {}", refusal.word, refusal.sentence)),
        Event::Missed { events } => {
            ("missed", format!("{}: this terminal was too slow", count(*events, "event", "events")))
        }
    };
    writeln!(output.out, "{word:<9} {}", plain(&text))
}
