//! The channel between a terminal and its gateway, over TCP on the shared network (`wire/push`).
//!
//! [`Channels`] is the gateway's end, [`Caller`] the terminal's. Neither decides who gets what, or what is shown.

#[cfg(feature = "terminal")]
mod caller;
#[cfg(feature = "push")]
mod channels;
#[cfg(feature = "terminal")]
mod next_hop;

#[cfg(feature = "terminal")]
pub use caller::{Caller, Said};
#[cfg(feature = "push")]
pub use channels::{ChannelEvent, Channels};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// The kernel finds a peer that is gone without a word, and nothing of ours wakes up for it. Seldom: a radio that sleeps
/// does.
fn tune(stream: &TcpStream) {
    let tuned = stream.set_nodelay(true).map_err(|error| error.to_string()).and_then(|()| {
        setsockopt(stream, sockopt::KeepAlive, &true)
            .and_then(|()| setsockopt(stream, sockopt::TcpKeepIdle, &300))
            .and_then(|()| setsockopt(stream, sockopt::TcpKeepInterval, &30))
            .and_then(|()| setsockopt(stream, sockopt::TcpKeepCount, &4))
            .map_err(|error| error.to_string())
    });
    if let Err(error) = tuned {
        tracing::debug!(error, "a channel was not tuned");
    }
}
