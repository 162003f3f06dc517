//! WIRES: the router daemon. One loop, no decision of its own.
//!
//! `drive.rs` waits for whatever happens and feeds the machines of `logic/`; `effects.rs` carries out what they
//! decide. `persist.rs` is what survives, `world.rs` what interfaces and addresses there are, `doctor.rs` what
//! is wrong with this machine, `rows.rs` what the owner is shown.
//!
//! The kernel enforces without this process: it may be stopped, killed or upgraded at any time.

mod doctor;
mod drive;
mod effects;
mod persist;
mod rows;
mod steps;
mod world;

use std::io;
use std::path::PathBuf;

use crate::adapters::enrolment::Enrolment;
use crate::adapters::nftables::NftError;
use crate::adapters::rtnetlink::RtnetlinkError;
use crate::config::ConfigError;
use crate::config::gateway::Settings;
use crate::host::keep::KeepError;
use crate::wire::claim::ClaimToken;

pub use drive::run;

/// The name of the control socket in the runtime directory.
pub const SOCKET: &str = "gateway.sock";

/// Why the gateway does not start, or stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// State that must survive cannot be read or written.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// nftables.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// rtnetlink.
    #[error(transparent)]
    Rtnetlink(#[from] RtnetlinkError),
    /// The kernel can enforce in no layout, or not in the one asked for.
    #[error("this kernel cannot enforce {wanted}: {lacks}")]
    NoLayout {
        /// The layout, or "access".
        wanted: &'static str,
        /// What is missing, and what to do.
        lacks: &'static str,
    },
    /// The control socket.
    #[error("cannot listen at {}{}", path.display(), hint(source))]
    Control {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that every Linux has.
    #[error("cannot use {what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => ": another gateway is running",
        _ => "",
    }
}

impl Error {
    /// Stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Error::Config(_) => "config",
            Error::Keep(_) => "state",
            Error::Nft(_) => "nftables",
            Error::Rtnetlink(_) => "rtnetlink",
            Error::NoLayout { .. } => "no-layout",
            Error::Control { .. } => "control-socket",
            Error::System { .. } => "system",
        }
    }
}

/// Enrols with the coordinator of `token`; takes effect at the next start.
pub fn enrol(settings: &Settings, token: ClaimToken) -> Result<(), Error> {
    Ok(Enrolment::new(token).keep(&settings.state_dir)?)
}
