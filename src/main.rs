//! The program: chooses the role, maps errors to exit codes.
//!
//! What can be said is in `ctl/args.rs`; what the exit codes mean in `ctl/failure.rs`.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[cfg(all(no_unwind_tables, not(panic = "abort")))]
compile_error!("profile `size` links without unwind tables (build.rs): it needs panic = \"abort\"");

use std::io;
use std::process::ExitCode;

use wayleave::ctl::args::{self, Cli, Command};
use wayleave::ctl::output::Output;
use wayleave::ctl::{self, Failure, failure};

fn main() -> ExitCode {
    let Cli { json, socket, command } = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return failure::unparsed(&error),
    };
    let mut out = io::stdout();
    let left = ctl::run(command, socket, &mut Output::new(&mut out, json));
    failure::end(left.and_then(|command| command.map_or(Ok(()), |command| role(command, json))), json)
}

// A build without the roles that enrol tells nobody how.
#[cfg_attr(not(any(feature = "gateway", feature = "terminal")), allow(unused_variables))]
fn role(command: Command, json: bool) -> Result<(), Failure> {
    match command {
        #[cfg(feature = "gateway")]
        Command::Gateway(args::GatewayRole { run, action }) => gateway(&run, action, json),
        #[cfg(feature = "coordinator")]
        Command::Coordinator(args::CoordinatorRole { run, action }) => coordinator(&run, action),
        #[cfg(feature = "terminal")]
        Command::Terminal(args::TerminalRole { run, action }) => terminal(&run, action, json),
        // A build with fewer roles has fewer arms.
        #[allow(unreachable_patterns)]
        _ => Ok(()),
    }
}

#[cfg(feature = "gateway")]
fn gateway(run: &args::RunArgs, action: Option<args::GatewayAction>, json: bool) -> Result<(), Failure> {
    use wayleave::{config, gateway};
    let path = ctl::start::start(run, args::Role::Gateway);
    let failed = |error: gateway::Error| Failure::failed(error.word(), error);
    let settings = config::gateway::load(&path).map_err(Failure::config);
    match action {
        None => ctl::start::one_thread()?.block_on(gateway::run(settings?, path, || {})).map_err(failed),
        Some(args::GatewayAction::Enroll(enroll)) => settings.and_then(|settings| {
            ctl::enroll::with(&enroll, json, |token| gateway::enrol(&settings, token).map_err(failed))
        }),
        // Without a configuration too: there is none when the package goes.
        Some(args::GatewayAction::Clear) => gateway::clear(settings.ok().as_ref()).map_err(failed),
    }
}

#[cfg(feature = "coordinator")]
fn coordinator(run: &args::RunArgs, action: Option<args::CoordinatorAction>) -> Result<(), Failure> {
    use std::io::Write as _;

    use wayleave::{config::coordinator::Settings, coordinator};

    if let Some(args::CoordinatorAction::Openapi) = action {
        return Ok(writeln!(io::stdout(), "{}", coordinator::openapi())?);
    }
    let settings =
        Settings::load(&ctl::start::start(run, args::Role::Coordinator)).map_err(Failure::config)?;
    let served = ctl::start::many_threads()?.block_on(coordinator::run(settings, || {}));
    served.map_err(|error| Failure::failed("coordinator", error))
}

#[cfg(feature = "terminal")]
fn terminal(run: &args::RunArgs, action: Option<args::TerminalAction>, json: bool) -> Result<(), Failure> {
    use wayleave::{config::terminal::Settings, terminal};
    let path = ctl::start::start(run, args::Role::Terminal);
    let failed = |error: terminal::Error| Failure::failed(error.word().to_owned(), error);
    let settings = Settings::load(&path).map_err(Failure::config)?;
    if let Some(args::TerminalAction::Enroll(enroll)) = action {
        return ctl::enroll::with(&enroll, json, |token| {
            terminal::enrol(&settings.state_dir, token).map_err(failed)
        });
    }
    ctl::start::one_thread()?.block_on(terminal::run(settings, path, || {})).map_err(failed)
}
