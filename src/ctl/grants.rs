//! `wayleave grants`: what is enforced.

use std::io;

use super::Failure;
use super::client::Door;
use super::output::Output;
use super::table::{Cell, Column, Table, Tone, left, right};
use super::units::{bytes, station, time};
use crate::model::Origin;
use crate::wire::local::{GatewayRequest, GrantRow};

const COLUMNS: [Column; 7] = [
    left("GRANT"),
    left("STATION"),
    left("BY"),
    left("PRESENT"),
    right("LEFT"),
    right("USED"),
    right("QUOTA"),
];

pub(super) fn run(door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    output.ask(door, &GatewayRequest::Grants, |rows: &Vec<GrantRow>, output| show(rows, output)).map(drop)
}

pub(super) fn show(rows: &[GrantRow], output: &mut Output<'_>) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(output.out, "no grants");
    }
    let mut table = Table::new(&COLUMNS);
    for row in rows {
        let used = row.moved.total_bytes();
        let tone = match row.quota {
            Some(quota) if used >= quota => Tone::Bad,
            Some(quota) if used >= quota / 10 * 9 => Tone::Hint,
            _ => Tone::Plain,
        };
        table.row(vec![
            row.id.to_string().into(),
            station(row.station).into(),
            match row.origin {
                Origin::Owner if row.code => "owner, by code".into(),
                Origin::Owner => "owner".into(),
                Origin::Coordinator => "coordinator".into(),
            },
            if row.present { Cell::new("yes", Tone::Good) } else { Cell::new("no", Tone::Faint) },
            row.left.map_or_else(|| "for good".into(), |left| time(left).into()),
            Cell::new(bytes(used), tone),
            row.quota.map_or_else(|| "none".into(), |quota| bytes(quota).into()),
        ]);
    }
    table.write(output.out, output.colours)
}
