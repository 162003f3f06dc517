//! Errors of the hostapd adapter.
//!
//! Replies are kept, escaped and shortened, for the bug report; they may name stations, so such an error is
//! logged at DEBUG.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::adapters::wpa_ctrl::CtrlError;

/// Why a command gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostapdError {
    /// hostapd is not running, or not for this interface.
    #[error("no hostapd at control socket {path}")]
    NotThere {
        /// The socket.
        path: PathBuf,
    },

    /// Our own end of the socket could not be made: its directory, its permissions.
    #[error("cannot make a socket to talk to hostapd")]
    OwnSocket {
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The path of a file has characters that would end a word.
    #[error("{path} cannot be said to hostapd: it is not printable ASCII without blanks")]
    Unfit {
        /// The file.
        path: PathBuf,
    },

    /// hostapd answered, and the answer was no.
    #[error("hostapd refused {command}: {reply}")]
    Refused {
        /// The command's first word.
        command: &'static str,
        /// The start of the answer, escaped.
        reply: String,
    },

    /// Nothing came back in time. Whether the command was carried out is unknown.
    #[error("no reply to {command} within {waited:?}")]
    Silent {
        /// The command's first word.
        command: &'static str,
        /// For how long it was waited.
        waited: Duration,
    },

    /// A reply that does not parse.
    #[error("reply to {command} is not {expected}: {reply}")]
    Garbled {
        /// The command's first word.
        command: &'static str,
        /// What it should have been.
        expected: &'static str,
        /// The start of the answer, escaped.
        reply: String,
    },
}

impl HostapdError {
    /// Whether trying the same thing again later can help.
    pub fn is_transient(&self) -> bool {
        match self {
            HostapdError::NotThere { .. } | HostapdError::Silent { .. } => true,
            HostapdError::OwnSocket { .. }
            | HostapdError::Unfit { .. }
            | HostapdError::Refused { .. }
            | HostapdError::Garbled { .. } => false,
        }
    }

    pub(super) fn of(error: CtrlError, command: &'static str, path: &Path) -> Self {
        match error {
            CtrlError::Gone => Self::NotThere { path: path.to_owned() },
            CtrlError::Slow { within, .. } => Self::Silent { command, waited: within },
            CtrlError::Refused { reply, .. } => Self::Refused { command, reply },
            CtrlError::TooLong { .. } => {
                Self::Garbled { command, expected: "short enough", reply: String::new() }
            }
            CtrlError::Socket(source) => Self::OwnSocket { source },
        }
    }

    pub(super) fn garbled(command: &'static str, expected: &'static str, reply: &[u8]) -> Self {
        let start = &reply[..reply.len().min(80)];
        Self::Garbled { command, expected, reply: start.escape_ascii().to_string() }
    }
}
