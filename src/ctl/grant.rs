//! `wayleave grant`: lets stations in by hand; back when the kernel enforces it.

use std::io;

use super::Failure;
use super::args::GrantArgs;
use super::client::Door;
use super::output::Output;
use super::units::{bytes, time};
use crate::wire::local::{GatewayRequest, GrantAsk, Granted};

pub(super) fn run(door: &Door, asked: GrantArgs, output: &mut Output<'_>) -> Result<(), Failure> {
    let GrantArgs { stations, lease, quota } = asked;
    let grants = stations.iter().map(|station| GrantAsk { station: *station, lease, quota }).collect();
    let terms = format!(
        "{}, {}",
        lease.map_or_else(|| "for good".to_owned(), |lease| format!("for {}", time(lease))),
        quota.map_or_else(|| "without limit".to_owned(), |quota| format!("up to {}", bytes(quota))),
    );
    output
        .ask(door, &GatewayRequest::Grant { grants }, |granted: &Vec<Granted>, output| {
            show(granted, &terms, output)
        })
        .map(drop)
}

pub(super) fn show(granted: &[Granted], terms: &str, output: &mut Output<'_>) -> io::Result<()> {
    for grant in granted {
        writeln!(output.out, "{}  grant {}  {terms}", grant.station, grant.id)?;
    }
    Ok(())
}
