//! Wayleave: the right of way for packets.
//!
//! One package, three roles (gateway, coordinator, terminal) and a command line. The rooms, and who may
//! enter which, are in `ARCHITECTURE.md`; `tests/rooms.rs` holds them true.

// In tests, and in the helpers of tests, an unwrap is an assertion.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[cfg(any(feature = "gateway", feature = "terminal"))]
pub mod adapters;
pub mod config;
#[cfg(feature = "coordinator")]
pub mod coordinator;
pub mod ctl;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(any(feature = "gateway", feature = "coordinator", feature = "terminal"))]
pub mod host;
pub mod logic;
pub mod model;
#[cfg(feature = "terminal")]
pub mod terminal;
pub mod wire;
