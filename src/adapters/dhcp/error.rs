//! Errors of the DHCP adapter.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why leases could not be given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DhcpError {
    /// There is no lease file, so there is no DHCP server that we know of.
    #[error("no DHCP lease file at {path}")]
    Absent {
        /// Where it was expected.
        path: PathBuf,
    },

    /// The lease file is there and cannot be read.
    #[error("DHCP lease file {path}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// No shared interface has an address in the subnet of a lease: its server cannot be addressed.
    #[error("{leases} leases are of no subnet of a shared interface")]
    Elsewhere {
        /// How many.
        leases: u32,
    },

    /// The release could not be sent.
    #[error("sending a DHCP release on {interface}")]
    Unsent {
        /// On which interface.
        interface: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The release was sent and the lease is still in the file: the server does not take it, is slow, or does not
    /// write this file.
    #[error("{leases} leases are still there {waited:?} after their release")]
    StillHeld {
        /// How many.
        leases: u32,
        /// For how long the file was watched.
        waited: Duration,
    },
}
