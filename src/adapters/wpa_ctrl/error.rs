//! What can go wrong on a control socket: one variant per thing that a caller does differently.

use std::io;
use std::time::Duration;

/// Why a request was not answered as wished.
#[derive(Debug, thiserror::Error)]
pub enum CtrlError {
    /// Nobody is at the other end: not started, ended, or restarted. Nothing was carried out.
    #[error("nobody answers at the control socket")]
    Gone,
    /// No answer in time. Whether it was carried out is unknown.
    #[error("no answer to {verb} within {within:?}")]
    Slow {
        /// The command's first word.
        verb: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// `FAIL`, `FAIL-BUSY`, `UNKNOWN COMMAND`, or an answer that is none to this command.
    #[error("{verb} was answered by {reply:?}")]
    Refused {
        /// The command's first word.
        verb: String,
        /// The start of the reply, escaped.
        reply: String,
    },
    /// A reply longer than [`super::MAX_REPLY`].
    #[error("the reply to {verb} is too long")]
    TooLong {
        /// The command's first word.
        verb: String,
    },
    /// Our own end could not be made: the directory, its permissions, the length of its path.
    #[error("cannot use the control socket")]
    Socket(#[source] io::Error),
}
