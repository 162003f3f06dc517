//! The control sockets: how the command line speaks to a daemon on the same machine.
//!
//! A unix stream socket; one JSON object per line in each direction. A request is answered by one
//! [`Answer`]; after `watch` the daemon sends one event per line until the caller hangs up. Who may speak is
//! decided by the permissions of the socket.

mod coordinator;
mod gateway;
mod message;
mod terminal;

use serde::{Deserialize, Serialize};

pub use coordinator::{
    CoordinatorRequest, CoordinatorStatus, Ended, GatewayRow, Heard, NewClaim, PolicyWord, SessionPage,
    SessionRow,
};
#[cfg(feature = "trade")]
pub use coordinator::{LedgerPage, NewVouchers};
pub use gateway::{
    Account, CodeNetwork, Event, Evicted, Finding, GatewayRequest, GatewayStatus, GrantAsk, GrantRow,
    Granted, GrantedCode, GrantedRadius, Layout, LinkState, Severity, StationRow, Target,
};
pub use message::{MessageAsk, MessageRow};
pub use terminal::{AccessRow, TerminalRequest, TerminalStatus};

use crate::model::Refusal;

/// The longest line a daemon reads, in bytes: ten thousand grants in one request fit.
pub const MAX_LINE: usize = 4 * 1024 * 1024;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// It was done, or here it is.
    Ok(T),
    /// It was not.
    Error(Refusal),
}

impl<T> From<Answer<T>> for Result<T, Refusal> {
    fn from(answer: Answer<T>) -> Self {
        match answer {
            Answer::Ok(value) => Ok(value),
            Answer::Error(refusal) => Err(refusal),
        }
    }
}
