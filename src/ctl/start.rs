//! What every role needs before it runs: where its configuration is, a log, a runtime.
//!
//! The log goes to standard error, with the time unless the journal adds it.

use std::io;
use std::path::PathBuf;

use nix::sys::stat::fstat;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::filter::LevelFilter;

use super::Failure;
use super::args::{LogLevel, Role, RunArgs};

/// Starts the log; returns where the configuration is.
pub fn start(run: &RunArgs, role: Role) -> PathBuf {
    log(run.log);
    run.config.clone().unwrap_or_else(|| role.config().to_owned())
}

/// A runtime for a role with little to do at once.
pub fn one_thread() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| Failure::failed("runtime", error))
}

/// A runtime on all cores.
#[cfg(feature = "coordinator")]
pub fn many_threads() -> Result<Runtime, Failure> {
    Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::failed("runtime", error))
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// From here on events at this level and above go to standard error. The first call counts.
fn log(level: LogLevel) {
    let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::from(level)).with_writer(io::stderr);
    let started = if is_journal() { lines.without_time().try_init() } else { lines.try_init() };
    // Somebody was first, a test for example: their choice stands.
    drop(started);
}

/// Whether standard error goes to the journal: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)).
///
/// The variable alone says nothing: it is inherited, standard error may be redirected since.
fn is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}
