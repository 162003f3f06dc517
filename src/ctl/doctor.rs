//! `wayleave doctor`: what the gateway found, and what to do about each finding.

use std::io;

use super::Failure;
use super::client::Door;
use super::output::Output;
use super::table::{Cell, Column, Table, Tone, left};
use super::units::count;
use crate::wire::local::{Finding, GatewayRequest, Severity};

const COLUMNS: [Column; 3] = [left(""), left(""), left("")];

/// Fails if there is a problem, so that a script can ask.
pub(super) fn run(door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    let findings = output
        .ask(door, &GatewayRequest::Doctor, |findings: &Vec<Finding>, output| show(findings, output))?;
    let problem = findings.iter().any(|finding| finding.severity == Severity::Problem);
    if problem { Err(Failure::Shown) } else { Ok(()) }
}

pub(super) fn show(findings: &[Finding], output: &mut Output<'_>) -> io::Result<()> {
    let mut table = Table::new(&COLUMNS);
    for finding in findings {
        let (word, tone) = match finding.severity {
            Severity::Good => ("good", Tone::Good),
            Severity::Hint => ("hint", Tone::Hint),
            Severity::Problem => ("PROBLEM", Tone::Bad),
        };
        table.row(vec![Cell::new(word, tone), (&finding.word).into(), (&finding.found).into()]);
        if !finding.advice.is_empty() {
            table.row(vec![
                "".into(),
                "".into(),
                Cell::new(format!("do: {}", finding.advice), Tone::Heading),
            ]);
        }
    }
    table.write(output.out, output.colours)?;
    let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    writeln!(
        output.out,
        "{}, {}",
        count(of(Severity::Problem), "problem", "problems"),
        count(of(Severity::Hint), "hint", "hints")
    )
}
