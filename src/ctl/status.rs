//! `wayleave status`: the gateway at a glance.

use std::io;

use super::Failure;
use super::client::Door;
use super::output::{Output, link};
use super::table::{Cell, Facts, Tone};
use super::units::{count, time};
use crate::wire::local::{GatewayRequest, GatewayStatus, Layout};

pub(super) fn run(door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    output.ask(door, &GatewayRequest::Status, show).map(drop)
}

pub(super) fn show(status: &GatewayStatus, output: &mut Output<'_>) -> io::Result<()> {
    let mut facts = Facts::default();
    facts.add("name", &status.name);
    facts.add("version", format!("{}, up {}", status.version, time(status.uptime)));
    facts.add("service id", status.service.to_string());
    facts.add("coordinator", link(&status.link));
    let interfaces = status.interfaces.join(", ");
    facts.add(
        "shares",
        if interfaces.is_empty() { Cell::new("nothing", Tone::Bad) } else { interfaces.into() },
    );
    facts.add("layout", layout(status.layout));
    let owned = "ours alone: no other program can change them";
    facts.add("tables", if status.owned { owned } else { "any program with CAP_NET_ADMIN can change them" });
    facts.add("access points", format!("{}, {} with our beacon", status.bsses, status.beacons));
    facts.add("stations", status.stations.to_string());
    facts.add("grants", status.grants.to_string());
    facts.add(
        "restored",
        noted(status.restored, "time the tables were put back", "times the tables were put back"),
    );
    facts.add("dropped", noted(status.dropped, "bad message from outside", "bad messages from outside"));
    facts.add("refused", count(status.refused_packets, "packet without a grant", "packets without a grant"));
    facts.add(
        "spoofed",
        noted(status.spoofed_packets, "frame with a foreign address", "frames with a foreign address"),
    );
    facts.write(output.out, output.colours)
}

fn layout(layout: Layout) -> String {
    let what = match layout {
        Layout::Netdev => "ingress and egress of each shared interface",
        Layout::Bridge => "the bridge's prerouting and postrouting",
    };
    format!("{}: {what}", layout.word())
}

fn noted(number: u64, one: &str, many: &str) -> Cell {
    Cell::new(count(number, one, many), if number == 0 { Tone::Plain } else { Tone::Hint })
}
