//! WIRES: the router daemon. One loop, no decision of its own.
//!
//! `drive.rs` waits for whatever happens and feeds the machines of `logic/`; `effects.rs` carries out what they
//! decide, `beacon.rs` what is announced on the air, `codes.rs` what hostapd reads of codes, `passwords.rs` what it is
//! told of them for WPA3, `denials.rs` whose address it refuses, `stations.rs` who is there, `sealing.rs` how a code gets
//! to its terminal, `push.rs` what terminals are told. `adopt.rs` is what a start finds, `requests.rs` what the owner
//! asks, `persist.rs` what survives, `world.rs` what interfaces and addresses there are, `doctor.rs`
//! what is wrong with this machine, `rows.rs` what the owner is shown, `portal/` what visitors are, `radius/` what RADIUS servers are told and may ask.
//!
//! The kernel enforces without this process: it may be stopped, killed or upgraded at any time.

mod adopt;
mod associations;
mod beacon;
#[cfg(feature = "trade")]
mod bids;
mod code_findings;
mod codes;
mod denials;
mod doctor;
mod drive;
mod effects;
#[cfg(feature = "wpa3")]
mod passwords;
#[cfg(not(feature = "wpa3"))]
#[path = "passwords_absent.rs"]
mod passwords;
mod persist;
#[cfg(feature = "portal")]
mod portal;
#[cfg(not(feature = "portal"))]
#[path = "portal_absent.rs"]
mod portal;
#[cfg(feature = "push")]
mod push;
#[cfg(not(feature = "push"))]
#[path = "push_absent.rs"]
mod push;
#[cfg(feature = "radius")]
mod radius;
#[cfg(not(feature = "radius"))]
#[path = "radius_absent.rs"]
mod radius;
mod requests;
mod rows;
mod sealing;
mod stations;
mod steps;
mod world;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::adapters::enrolment::Enrolment;
use crate::adapters::nftables::{self, NftError};
use crate::adapters::rtnetlink::RtnetlinkError;
use crate::config::ConfigError;
use crate::config::gateway::{RUNTIME_DIR, Settings};
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
    /// It would put the tables back.
    #[error("a gateway runs here and would put the tables back; stop it first")]
    Running,
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
            Error::Running => "running",
            Error::System { .. } => "system",
        }
    }
}

/// Takes the tables of a gateway that has stopped out of the kernel: from then on every station passes.
///
/// `settings` say where a gateway that runs would answer; without them it is looked for at the usual place.
pub fn clear(settings: Option<&Settings>) -> Result<(), Error> {
    let runtime_dir = settings.map_or(Path::new(RUNTIME_DIR), |settings| &settings.runtime_dir);
    if UnixStream::connect(runtime_dir.join(SOCKET)).is_ok() {
        return Err(Error::Running);
    }
    nftables::clear()?;
    tracing::info!("no table of ours is in the kernel: every station passes");
    Ok(())
}

/// Enrols with the coordinator of `token`; takes effect at the next start.
pub fn enrol(settings: &Settings, token: ClaimToken) -> Result<(), Error> {
    Ok(Enrolment::new(token).keep(&settings.state_dir)?)
}
