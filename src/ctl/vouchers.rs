//! `wayleave vouchers print`: vouchers as text to be cut apart, each with its code as a QR code.

use std::io;

use super::Failure;
use super::args::VouchersAction;
#[cfg(feature = "portal")]
use super::client::Daemon;
use super::client::Door;
use super::output::Output;
use super::table::plain;
use super::units::time;
#[cfg(feature = "coordinator")]
use crate::wire::local::CoordinatorRequest;
#[cfg(feature = "portal")]
use crate::wire::local::GatewayRequest;
use crate::wire::local::NewVouchers;

/// Where it is cut.
const CUT: &str = "- - - - - - - - - - - - - - - - - - - - - - - -";

/// `door` is that of whom it is for.
pub(super) fn run(action: VouchersAction, door: &Door, output: &mut Output<'_>) -> Result<(), Failure> {
    let VouchersAction::Print { value, count, valid, .. } = action;
    #[cfg(feature = "portal")]
    if door.daemon == Daemon::Gateway {
        return output.ask(door, &GatewayRequest::Vouchers { count, value, valid }, show).map(drop);
    }
    #[cfg(feature = "coordinator")]
    output.ask(door, &CoordinatorRequest::Vouchers { count, value, valid }, show)?;
    Ok(())
}

pub(super) fn show(made: &NewVouchers, output: &mut Output<'_>) -> io::Result<()> {
    for code in &made.codes {
        writeln!(output.out, "{}, good for {}", made.value, time(made.valid))?;
        writeln!(output.out, "{}", plain(code.expose()))?;
        #[cfg(feature = "qr")]
        if let Some(qr) = super::qr::Qr::new(code.expose()) {
            match output.colours {
                true => qr.write(output.out, true)?,
                false => qr.print(output.out)?,
            }
        }
        writeln!(output.out, "{CUT}")?;
    }
    Ok(())
}
