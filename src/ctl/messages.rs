//! `wayleave push`, `messages` and `withdraw`, and the same after `wayleave coordinator`: what terminals are told.

use std::io;

use serde::Serialize;

use super::Failure;
use super::client::Door;
use super::output::Output;
use super::table::{Cell, Column, Table, Tone, left, plain, right};
use super::units::{count, time};
use crate::wire::local::MessageRow;

const COLUMNS: [Column; 6] =
    [left("MESSAGE"), left("BY"), left("FOR"), right("LEFT"), right("TAKEN"), left("TEXT")];

pub(super) fn push(door: &Door, request: &impl Serialize, output: &mut Output<'_>) -> Result<(), Failure> {
    output
        .ask(door, request, |row: &MessageRow, output| {
            let (to, left) = (plain(&row.to.to_string()), time(row.left));
            writeln!(output.out, "message {}  for {to}, told for {left}", row.id)
        })
        .map(drop)
}

pub(super) fn list(door: &Door, request: &impl Serialize, output: &mut Output<'_>) -> Result<(), Failure> {
    output.ask(door, request, |rows: &Vec<MessageRow>, output| show(rows, output)).map(drop)
}

pub(super) fn withdraw(
    door: &Door,
    request: &impl Serialize,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    output
        .ask(door, request, |row: &MessageRow, output| {
            let taken = match row.taken {
                0 => "no terminal has it".to_owned(),
                taken => format!("{} it", count(taken.into(), "terminal has", "terminals have")),
            };
            writeln!(output.out, "message {}  withdrawn; {taken}", row.id)
        })
        .map(drop)
}

pub(super) fn show(rows: &[MessageRow], output: &mut Output<'_>) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(output.out, "no messages");
    }
    let mut table = Table::new(&COLUMNS);
    for row in rows {
        let link = row.link.as_ref().map(|link| format!(" {}", link.as_str())).unwrap_or_default();
        table.row(vec![
            row.id.to_string().into(),
            row.author.word().into(),
            row.to.to_string().into(),
            time(row.left).into(),
            match row.taken {
                0 => Cell::new("0", Tone::Faint),
                taken => taken.to_string().into(),
            },
            format!("{}{link}", row.text.as_str()).into(),
        ]);
    }
    table.write(output.out, output.colours)
}
