//! SPEAKS: what coordinator, gateway and terminal say to each other, byte for byte.
//!
//! `docs/wire.md` is the text for people. Frames are deterministic CBOR (RFC 8949, 4.2.1), 16 KiB at most,
//! over one WebSocket over TLS 1.3; unknown keys are ignored, so that either side may be newer. Between terminal and gateway
//! there is a channel of its own for messages: [`push`].
//! Programs on the same machine speak [`local`] instead: one JSON object per line over a unix socket. On the air there is one
//! element in the beacons of an access point, [`beacon`], and what telephones are told: [`interworking`].
//!
//! Read next: [`gateway`] and [`terminal`] for the messages, [`notice`] for what is signed.
#![forbid(unsafe_code)]

pub mod beacon;
pub mod cbor;
pub mod claim;
#[cfg(any(feature = "coordinator", feature = "terminal"))]
pub mod directory;
pub mod gateway;
pub mod hello;
mod hpke;
pub mod interworking;
#[cfg(feature = "trade")]
pub mod ledger;
pub mod local;
pub mod notice;
#[cfg(feature = "messages")]
pub mod push;
pub mod seal;
pub mod sign;
#[cfg(any(feature = "coordinator", feature = "terminal"))]
pub mod terminal;
#[cfg(feature = "trade")]
pub mod trade;
#[cfg(feature = "trade")]
pub mod voucher;

/// The version of the protocol; a peer with another major version is refused with a clear word.
pub const VERSION: u16 = 1;

/// The longest frame either side accepts, in bytes.
pub const MAX_FRAME: usize = 16 * 1024;

/// Where the WebSocket is found on the coordinator.
pub const LINK_PATH: &str = "/v1/link";
