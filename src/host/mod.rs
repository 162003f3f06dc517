//! HOLDS: what a daemon of any role needs of the machine it runs on.
//!
//! A control socket, the clocks, files that survive, memory. Knows no role and no peer: those are in `adapters/`,
//! which the coordinator has none of.

pub mod clock;
pub mod control;
#[cfg(any(feature = "push", feature = "terminal"))]
pub mod frames;
#[cfg(feature = "portal")]
pub mod journal;
pub mod keep;
#[cfg(all(feature = "gateway", feature = "trade"))]
pub mod ledger;
#[cfg(all(feature = "gateway", feature = "trade"))]
mod lines;
#[cfg(feature = "gateway")]
pub mod memory;
pub(crate) mod pollable;
