//! DECIDES: sans-IO state machines, one file each; the only place where a decision is taken.
//!
//! One vocabulary: `handle_input(input, now)`, `poll_action()`, `poll_timeout()`, `handle_timeout(now)`.
//! Calling any of them early, late or twice is harmless. Time is [`crate::model::BootTime`] and always the
//! last argument; there is no clock, socket, random source, task or lock in here, which `clippy.toml` and the
//! line below hold true.
#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

#[cfg(feature = "radius")]
pub mod accounting;
#[cfg(feature = "terminal")]
pub mod agent;
#[cfg(feature = "terminal")]
pub mod ahead;
#[cfg(feature = "link")]
pub mod backoff;
#[cfg(any(feature = "gateway", feature = "coordinator"))]
pub mod beacon;
#[cfg(feature = "coordinator")]
pub mod brake;
#[cfg(any(feature = "coordinator", feature = "terminal"))]
pub mod directory;
#[cfg(feature = "radius")]
pub mod disconnect;
#[cfg(feature = "gateway")]
pub mod farewell;
#[cfg(feature = "gateway")]
pub mod former;
#[cfg(feature = "gateway")]
pub mod grants;
#[cfg(all(test, any(feature = "gateway", feature = "terminal", feature = "trade")))]
pub(crate) mod histories;
#[cfg(feature = "terminal")]
pub mod inbox;
#[cfg(any(feature = "coordinator", feature = "terminal", feature = "trade"))]
pub mod limit;
#[cfg(feature = "gateway")]
pub mod listing;
#[cfg(any(feature = "push", feature = "coordinator"))]
pub mod post;
#[cfg(feature = "gateway")]
pub mod presence;
#[cfg(feature = "radius")]
pub mod radius;
#[cfg(feature = "coordinator")]
pub mod session;
#[cfg(feature = "trade")]
pub mod trade;
#[cfg(feature = "gateway")]
pub mod upstream;
#[cfg(feature = "coordinator")]
pub mod wheel;
