//! WORDS: the value types of the field. No I/O, no async, no decision.
//!
//! Read next: `wire/` for how these travel, `logic/` for what is decided with them.
#![forbid(unsafe_code)]

mod area;
pub mod bytes;
mod cause;
mod code;
mod few;
mod freed;
mod gather;
mod grant;
mod ids;
mod mac;
mod message;
mod sealed;
mod secret;
mod sentence;
mod ssid;
mod time;
#[cfg(feature = "trade")]
pub mod trade;

pub use area::{Area, ParseAreaError, Region};
pub use cause::{Cause, Refusal};
pub use code::Code;
pub use few::Few;
pub use freed::{Freed, Report, Step, StepOutcome, StepReport};
pub use gather::Gather;
pub use grant::{Credential, GrantSpec, Holder, Origin, Traffic};
pub use ids::{
    BeaconEpoch, BootId, DirectoryVersion, GrantId, GrantsDigest, Incarnation, KeyId, MessageId,
    ParseIdError, PublicKey, PurchaseId, ServiceId, SessionId, Signature, unhex,
};
pub use mac::{Bssid, MacAddr, ParseMacError};
pub use message::{Audience, Author, BadMessage, Link, Message, MessageText};
pub use sealed::{CodeAsk, LONGEST_ALGORITHM, LONGEST_KEY, MOST_KEYS, Offer, OfferedKey, SealedCode};
pub use secret::{BeaconSecret, Secret};
pub use sentence::sentence;
pub use ssid::{Ssid, SsidTooLong};
pub use time::{BootTime, Millis};
