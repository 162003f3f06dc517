//! `wayleave terminal status`, `ask`, `sleep`, `leave`: each is answered by how the terminal stands then.

use std::io;

use super::Failure;
use super::args::TerminalVerb;
use super::client::Door;
use super::output::{Output, link};
use super::table::{Cell, Facts, Tone};
use super::units::{bytes, time};
use crate::wire::local::{TerminalRequest, TerminalStatus};

pub(super) fn run(verb: TerminalVerb, door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    let (request, done) = match verb {
        TerminalVerb::Ask => (TerminalRequest::Ask, None),
        TerminalVerb::Sleep { time: most } => {
            let done = format!("announced: this device sleeps for {} at most", time(most));
            (TerminalRequest::Sleep { time: most }, Some(done))
        }
        TerminalVerb::Leave => (TerminalRequest::Leave, None),
    };
    let shown = output.ask(door, &request, |status, output| {
        if let Some(done) = done {
            writeln!(output.out, "{done}")?;
        }
        show(status, output)
    });
    shown.map(drop)
}

pub(super) fn status(door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    output.ask(door, &TerminalRequest::Status, show).map(drop)
}

pub(super) fn show(status: &TerminalStatus, output: &mut Output<'_>) -> io::Result<()> {
    let mut facts = Facts::default();
    let tone = if status.state == "connected" { Tone::Good } else { Tone::Plain };
    facts.add("state", Cell::new(&status.state, tone));
    if let Some(access) = &status.access {
        let since = access.since.map_or_else(String::new, |since| format!(", for {}", time(since)));
        facts.add("network", format!("{} at {}{since}", access.ssid, access.bssid));
        facts.add("gateway", access.service.to_string());
        facts.add("session", format!("{}, join {}", access.session, access.incarnation));
        facts.add("moved", format!("{} received, {} sent", bytes(access.rx), bytes(access.tx)));
    }
    if let Some(refusal) = &status.last {
        facts.add("last refusal", Cell::new(format!("{}: {}", refusal.word, refusal.sentence), Tone::Hint));
    }
    facts.add("coordinator", link(&status.link));
    if status.listed > 0 {
        facts.add("directory", format!("{} access points", status.listed));
    }
    if status.ahead > 0 {
        facts.add("codes", format!("{}, held ahead of time", status.ahead));
    }
    facts.add("interface", format!("{}, as {}", status.interface, status.station));
    facts.add("version", &status.version);
    facts.add("key", status.key.to_string());
    facts.write(output.out, output.colours)
}
