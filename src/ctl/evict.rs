//! `wayleave evict`: ends a grant; shows what was freed, and how long each step took.

use std::io;

use super::Failure;
use super::client::Door;
use super::output::Output;
use super::table::{Cell, Column, Table, Tone, left, right};
use super::units::{bytes, count, station, took};
use crate::model::{Report, Step, StepOutcome};
use crate::wire::local::{Evicted, GatewayRequest, Target};

const COLUMNS: [Column; 4] = [left(""), left(""), right(""), left("")];

pub(super) fn run(door: &Door, target: Target, output: &mut Output<'_>) -> Result<(), Failure> {
    let evicted = output.ask(door, &GatewayRequest::Evict { target }, |evicted: &Evicted, output| {
        show(&evicted.report, output)
    })?;
    if evicted.report.is_complete() { Ok(()) } else { Err(Failure::Shown) }
}

pub(super) fn show(report: &Report, output: &mut Output<'_>) -> io::Result<()> {
    writeln!(
        output.out,
        "{} evicted ({}), grant {}, moved {}",
        station(report.station),
        report.cause,
        report.grant,
        bytes(report.moved.total_bytes())
    )?;
    let mut table = Table::new(&COLUMNS);
    for step in &report.steps {
        let (outcome, why) = match &step.outcome {
            StepOutcome::Done { .. } if step.step == Step::Verification => {
                (Cell::new("nothing is left", Tone::Good), "".into())
            }
            StepOutcome::Done { freed } => (Cell::new(held(step.step, *freed), Tone::Good), "".into()),
            StepOutcome::Absent => (Cell::new("nobody to ask", Tone::Faint), "".into()),
            StepOutcome::Failed { why } => (Cell::new("failed", Tone::Bad), Cell::new(why, Tone::Bad)),
        };
        table.row(vec![format!("  {}", step.step).into(), outcome, took(step.took_us).into(), why]);
    }
    if report.steps.is_empty() {
        writeln!(output.out, "Nobody was here with it; there was nothing to free.")?;
    }
    table.row(vec!["  total".into(), "".into(), took(report.total_us).into(), "".into()]);
    table.write(output.out, output.colours)?;
    if report.is_complete() {
        return Ok(());
    }
    writeln!(output.out, "Not everything was freed. `wayleave doctor` says what is missing.")
}

fn held(step: Step, freed: u32) -> String {
    let freed = u64::from(freed);
    match step {
        Step::Enforcement => count(freed, "element", "elements"),
        Step::Flows => count(freed, "flow", "flows"),
        Step::Association => count(freed, "association", "associations"),
        Step::Neighbours => count(freed, "entry", "entries"),
        Step::Leases => count(freed, "lease", "leases"),
        Step::Verification => String::new(),
    }
}
