//! The command line of an owner: asks a daemon on the same machine, shows the answer.
//!
//! One file per verb. No decision is taken here and nothing is touched but the control socket, standard
//! output and the file that is named: to be checked by `config check`, to be written by `grant --svg`.
//!
//! Read next: [`args`] for what can be said, [`client`] for how it is asked, [`failure`] for exit codes.
#![forbid(unsafe_code)]

pub mod args;
mod beacon;
pub mod client;
mod config_check;
#[cfg(feature = "coordinator")]
mod coordinator;
#[cfg(feature = "gateway")]
mod doctor;
#[cfg(any(feature = "gateway", feature = "terminal"))]
pub mod enroll;
#[cfg(feature = "gateway")]
mod evict;
pub mod failure;
#[cfg(feature = "docs")]
mod generate;
#[cfg(feature = "gateway")]
mod grant;
#[cfg(feature = "gateway")]
mod grants;
#[cfg(feature = "trade")]
mod ledger;
#[cfg(feature = "docs")]
mod man;
#[cfg(any(feature = "push", feature = "coordinator"))]
mod messages;
pub mod output;
#[cfg(feature = "qr")]
mod qr;
#[cfg(any(feature = "gateway", feature = "coordinator", feature = "terminal"))]
pub mod start;
#[cfg(feature = "gateway")]
mod stations;
#[cfg(feature = "gateway")]
mod status;
pub mod table;
#[cfg(feature = "terminal")]
mod terminal;
#[cfg(test)]
mod tests;
#[cfg(feature = "gateway")]
mod topup;
pub mod units;
#[cfg(any(feature = "coordinator", feature = "portal"))]
mod vouchers;
#[cfg(feature = "gateway")]
mod watch;

use std::path::PathBuf;

use args::Command;
#[cfg(feature = "coordinator")]
use args::CoordinatorAction;
#[cfg(feature = "gateway")]
use args::GatewayVerb;
#[cfg(feature = "terminal")]
use args::TerminalAction;
#[cfg(any(feature = "gateway", feature = "coordinator", feature = "terminal"))]
use client::{Daemon, Door};
pub use failure::Failure;
use output::Output;

#[cfg(feature = "coordinator")]
use crate::model::Audience;
#[cfg(feature = "coordinator")]
use crate::wire::local::CoordinatorRequest;
#[cfg(feature = "push")]
use crate::wire::local::GatewayRequest;

/// Carries out a verb. `socket` is where the daemon listens, if not where it does by default.
///
/// What a role does itself, such as running and enrolling, comes back: `main.rs` knows the roles, this room does not.
#[cfg_attr(
    not(any(feature = "gateway", feature = "coordinator", feature = "terminal")),
    allow(unused_variables)
)]
pub fn run(
    command: Command,
    socket: Option<PathBuf>,
    output: &mut Output<'_>,
) -> Result<Option<Command>, Failure> {
    match command {
        #[cfg(feature = "gateway")]
        Command::Verb(verb) => gateway_verb(verb, Door::new(Daemon::Gateway, socket), output)?,
        #[cfg(feature = "coordinator")]
        Command::CoordinatorVerb(verb) => {
            let door = Door::new(coordinator::asks(&verb), socket);
            coordinator::run(verb, &door, output)?;
        }
        #[cfg(feature = "coordinator")]
        Command::Coordinator(args::CoordinatorRole { run, action: Some(action) }) => {
            let daemon = match &action {
                CoordinatorAction::Verb(verb) => coordinator::asks(verb),
                _ => Daemon::Coordinator,
            };
            let door = Door::new(daemon, socket);
            match action {
                CoordinatorAction::Openapi => {
                    return Ok(Some(Command::Coordinator(args::CoordinatorRole {
                        run,
                        action: Some(action),
                    })));
                }
                CoordinatorAction::Status => coordinator::status(&door, output)?,
                CoordinatorAction::Evict { session } => coordinator::evict(session, &door, output)?,
                CoordinatorAction::Push { said, session, gateway, area } => {
                    let to = session.map(Audience::Session).or(gateway.map(Audience::Gateway));
                    let to = to.or(area.map(Audience::Area));
                    // One of them is required.
                    let ask = said.ask(to.unwrap_or(Audience::Everybody));
                    messages::push(&door, &CoordinatorRequest::Push(ask), output)?;
                }
                CoordinatorAction::Messages => {
                    messages::list(&door, &CoordinatorRequest::Messages, output)?;
                }
                CoordinatorAction::Withdraw { message } => {
                    messages::withdraw(&door, &CoordinatorRequest::Withdraw { message }, output)?;
                }
                CoordinatorAction::Verb(verb) => coordinator::run(verb, &door, output)?,
            }
        }
        #[cfg(feature = "terminal")]
        Command::TerminalVerb(verb) => terminal::run(verb, &Door::new(Daemon::Terminal, socket), output)?,
        #[cfg(feature = "terminal")]
        Command::Terminal(args::TerminalRole { action: Some(TerminalAction::Verb(verb)), .. }) => {
            terminal::run(verb, &Door::new(Daemon::Terminal, socket), output)?;
        }
        #[cfg(feature = "terminal")]
        Command::Terminal(args::TerminalRole { action: Some(TerminalAction::Status), .. }) => {
            terminal::status(&Door::new(Daemon::Terminal, socket), output)?;
        }
        #[cfg(feature = "trade")]
        Command::Ledger { action } => ledger::run(action, socket, output)?,
        #[cfg(all(feature = "portal", not(feature = "coordinator")))]
        Command::Vouchers { action } => vouchers::run(action, &Door::new(Daemon::Gateway, socket), output)?,
        Command::Beacon { action } => beacon::run(action, output)?,
        Command::Config { action } => config_check::run(action, output)?,
        #[cfg(feature = "docs")]
        Command::Generate { what } => generate::run(what)?,
        // A build with fewer roles has fewer arms.
        #[allow(unreachable_patterns)]
        role => return Ok(Some(role)),
    }
    Ok(None)
}

#[cfg(feature = "gateway")]
fn gateway_verb(verb: GatewayVerb, door: Door, output: &mut Output<'_>) -> Result<(), Failure> {
    match verb {
        GatewayVerb::Status => status::run(&door, output),
        GatewayVerb::Stations => stations::run(&door, output),
        GatewayVerb::Grants => grants::run(&door, output),
        GatewayVerb::Grant(asked) => grant::run(&door, asked, output),
        GatewayVerb::Topup(topup) => topup::run(&door, topup, output),
        GatewayVerb::Evict { target } => evict::run(&door, target, output),
        #[cfg(feature = "push")]
        GatewayVerb::Push(push) => messages::push(&door, &GatewayRequest::Push(push.ask()), output),
        #[cfg(feature = "push")]
        GatewayVerb::Messages => messages::list(&door, &GatewayRequest::Messages, output),
        #[cfg(feature = "push")]
        GatewayVerb::Withdraw { message } => {
            messages::withdraw(&door, &GatewayRequest::Withdraw { message }, output)
        }
        GatewayVerb::Watch => watch::run(&door, output),
        GatewayVerb::Doctor => doctor::run(&door, output),
    }
}
