//! The terminal: joins shared networks through wpa_supplicant, and says that it is still there.
//!
//! What is decided is in `logic/agent.rs`; `drive.rs` is the one loop; `effects.rs` is where a decision meets
//! the world; `messages.rs` is what the person is told. Addresses and routes of the interface are somebody else's work (systemd-networkd, dhclient).

mod ahead;
mod directory;
mod drive;
mod effects;
mod messages;

pub use drive::run;

use std::io;
use std::path::{Path, PathBuf};

use crate::adapters::enrolment::Enrolment;
use crate::host::keep::KeepError;
use crate::model::{Cause, Refusal};
use crate::wire::claim::ClaimToken;

/// Where the control socket is, below the runtime directory.
pub const SOCKET: &str = "terminal.sock";

/// Why a terminal ends otherwise than asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Identity or enrolment.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// Neither configured nor enrolled.
    #[error("no coordinator is known; enrol with the token that one prints, or configure [coordinator]")]
    NotEnrolled,
    /// The configured interface.
    #[error("interface {interface}")]
    Interface {
        /// Its name.
        interface: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The control socket.
    #[error("control socket {path}")]
    Control {
        /// Where.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// Timers, signals.
    #[error("the runtime")]
    Runtime(#[from] io::Error),
    /// Access is over, and `stay = false`.
    #[error("access is over: {}", cause.map_or("unknown to the coordinator", Cause::word))]
    Over {
        /// Why.
        cause: Option<Cause>,
    },
    /// There is no access, and `stay = false`.
    #[error(transparent)]
    Refused(Refusal),
}

impl Error {
    /// The stable word.
    pub fn word(&self) -> &str {
        match self {
            Error::Keep(_) => "state",
            Error::NotEnrolled => "not-enrolled",
            Error::Interface { .. } => "interface",
            Error::Control { .. } => "control-socket",
            Error::Runtime(_) => "runtime",
            Error::Over { .. } => "over",
            Error::Refused(refusal) => &refusal.word,
        }
    }
}

/// Enrols with the coordinator of `token`; takes effect at the next start.
pub fn enrol(state_dir: &Path, token: ClaimToken) -> Result<(), Error> {
    Ok(Enrolment::new(token).keep(state_dir)?)
}
