//! `wayleave stations`: who is present, with a grant or without.

use std::io;

use super::Failure;
use super::client::Door;
use super::output::Output;
use super::table::{Cell, Column, Table, Tone, left, right};
use super::units::bytes;
use crate::wire::local::{GatewayRequest, StationRow};

const COLUMNS: [Column; 8] = [
    left("STATION"),
    left("INTERFACE"),
    left("NETWORK"),
    left("PMF"),
    left("GRANT"),
    right("UP"),
    right("DOWN"),
    left("ADDRESSES"),
];

pub(super) fn run(door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    output.ask(door, &GatewayRequest::Stations, |rows: &Vec<StationRow>, output| show(rows, output)).map(drop)
}

pub(super) fn show(rows: &[StationRow], output: &mut Output<'_>) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(output.out, "no stations");
    }
    let mut table = Table::new(&COLUMNS);
    for row in rows {
        let network = match (&row.ssid, &row.bssid) {
            (Some(ssid), _) if !ssid.as_bytes().is_empty() => ssid.to_string().into(),
            (_, Some(bssid)) => bssid.to_string().into(),
            _ => Cell::none(),
        };
        let addresses: Vec<String> = row.addresses.iter().map(|address| address.to_string()).collect();
        table.row(vec![
            row.mac.to_string().into(),
            (&row.interface).into(),
            network,
            match row.protected {
                Some(true) => "yes".into(),
                Some(false) => "no".into(),
                None => Cell::none(),
            },
            if row.grant.is_some() { Cell::new("yes", Tone::Good) } else { Cell::new("no", Tone::Faint) },
            bytes(row.moved.up_bytes).into(),
            bytes(row.moved.down_bytes).into(),
            if addresses.is_empty() { Cell::none() } else { addresses.join(" ").into() },
        ]);
    }
    table.write(output.out, output.colours)
}
