//! `wayleave topup`: more time or bytes for a grant; shows what it has now.

use std::io;

use super::Failure;
use super::args::TopupArgs;
use super::client::Door;
use super::output::Output;
use super::units::{bytes, station, time};
use crate::wire::local::{GatewayRequest, GrantRow};

pub(super) fn run(door: &Door, asked: TopupArgs, output: &mut Output<'_>) -> Result<(), Failure> {
    let TopupArgs { target, lease, quota } = asked;
    output.ask(door, &GatewayRequest::Topup { target, lease, quota }, show)?;
    Ok(())
}

pub(super) fn show(row: &GrantRow, output: &mut Output<'_>) -> io::Result<()> {
    let left = match row.quota {
        Some(quota) => {
            let left = quota.saturating_sub(row.moved.total_bytes());
            format!("{} of {} left", bytes(left), bytes(quota))
        }
        None => "without limit".to_owned(),
    };
    let until = row.left.map_or_else(|| "for good".to_owned(), |left| format!("for {}", time(left)));
    writeln!(output.out, "{}  grant {}  {left}, {until}", station(row.station), row.id)
}
