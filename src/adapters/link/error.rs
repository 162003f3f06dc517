//! What can go wrong with a link: one variant per thing that a caller does differently.

use crate::model::sentence;
use std::io;
use std::time::Duration;

use crate::wire::cbor::CborError;

/// Why a link did not open, or is no more. Only [`LinkError::Malformed`] and [`LinkError::NotSent`] leave it
/// standing.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No answer from the network: the name is unknown, nobody listens, no way there.
    #[error("cannot reach {host}")]
    Unreachable {
        /// The coordinator.
        host: String,
        /// What the kernel or the resolver says.
        #[source]
        source: io::Error,
    },
    /// The opening took longer than [`super::OPENING_DEADLINE`].
    #[error("{host} did not finish the opening of the link in time")]
    Slow {
        /// The coordinator.
        host: String,
    },
    /// Whoever answers does not hold the pinned key. Either the coordinator has a new key, or somebody
    /// stands between.
    #[error("whoever answers at {host} does not hold the coordinator's key")]
    WrongKey {
        /// The coordinator.
        host: String,
    },
    /// TLS failed otherwise.
    #[error("TLS with {host} failed")]
    Tls {
        /// The coordinator.
        host: String,
        /// What the TLS library says.
        #[source]
        source: io::Error,
    },
    /// It holds the key and does not speak this protocol.
    #[error("{host} does not speak the link protocol: {why}")]
    Foreign {
        /// The coordinator.
        host: String,
        /// What was found.
        why: String,
    },
    /// The coordinator refused the link, with its reason.
    #[error("refused by the coordinator: {sentence}")]
    Refused {
        /// Stable word.
        word: String,
        /// For people.
        sentence: String,
        /// Not before this long from now; `None`: trying again does not help.
        retry_after: Option<Duration>,
    },
    /// A frame that is not the message expected. The link stands; count it.
    #[error("a frame that is not a message")]
    Malformed(#[source] CborError),
    /// The message does not fit into a frame. The link stands; nothing was sent.
    #[error("a message that cannot be sent")]
    NotSent(#[source] CborError),
    /// A frame longer than [`crate::wire::MAX_FRAME`] came.
    #[error("a frame longer than allowed came")]
    Oversized,
    /// The link broke.
    #[error("the link broke")]
    Lost(#[source] io::Error),
    /// The coordinator closed it in order.
    #[error("the coordinator closed the link")]
    Closed,
}

impl LinkError {
    /// The stable word, for status and logs. A refusal has the coordinator's own.
    pub fn word(&self) -> &str {
        match self {
            LinkError::Unreachable { .. } => "unreachable",
            LinkError::Slow { .. } => "slow",
            LinkError::WrongKey { .. } => "wrong-key",
            LinkError::Tls { .. } => "tls",
            LinkError::Foreign { .. } => "foreign",
            LinkError::Refused { word, .. } => word,
            LinkError::Malformed(_) => "malformed",
            LinkError::NotSent(_) => "not-sent",
            LinkError::Oversized => "oversized",
            LinkError::Lost(_) => "lost",
            LinkError::Closed => "closed",
        }
    }

    /// The sentence with its causes, for people.
    pub fn sentence(&self) -> String {
        sentence(self)
    }
}
