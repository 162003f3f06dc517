//! The directory of access points: kept by the coordinator, held by terminals ahead of time.
//!
//! ```text
//! gateways announce        coordinator                        terminal
//!   area, SSID, BSSIDs ---> Register --- parts, signed ------> Reader ---> Book <--- what the radio sees
//!                           (what changed since a version)     (asks)      (one, or k of n of an area)
//! ```
//!
//! A gateway that names no area is in no directory; nor is a network without a name or whose name ends in
//! `_nomap`. A terminal compares what it sees with what it holds and says nothing to anybody before it matches.
//! A directory's version is a hash over its entries: either side may forget everything and still agree with the
//! other, and a difference that was taken in wrongly shows.

mod book;
mod reader;
mod register;

pub use book::{Book, Needed};
pub use reader::{Action, Input, Reader};
pub use register::Register;
