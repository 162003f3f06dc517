//! Configuration: fragments (what a file says) become inputs (with defaults) become settings (checked).
//!
//! Read next: [`error`], which says what is wrong and where.
#![forbid(unsafe_code)]

#[cfg(feature = "coordinator")]
pub mod coordinator;
pub mod duration;
pub mod error;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "portal")]
pub mod portal;
#[cfg(feature = "radius")]
pub mod radius;
#[cfg(all(feature = "gateway", feature = "trade"))]
mod tariff;
#[cfg(feature = "terminal")]
pub mod terminal;
#[cfg(feature = "uci")]
pub mod uci;

pub use error::{ConfigError, parse};
