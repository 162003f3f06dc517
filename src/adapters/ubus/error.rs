//! Why nobody is served by ubus.

use std::io;
use std::path::PathBuf;

/// Why the object is not, or no more, on the bus.
#[derive(Debug, thiserror::Error)]
pub enum UbusError {
    /// ubusd does not listen there.
    #[error("no ubus at {}: {source}", path.display())]
    NoBus {
        /// Its socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// ubusd refused the object.
    #[error("ubusd refused the object `wayleave`: {0}")]
    Refused(&'static str),
    /// What was read is not what ubus says.
    #[error("not the protocol: {0}")]
    Malformed(&'static str),
    /// ubusd has hung up, or takes nothing any more.
    #[error("ubus is gone")]
    Lost(#[source] Option<io::Error>),
}
