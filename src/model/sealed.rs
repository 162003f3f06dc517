//! An access code on its way from gateway to terminal: what the terminal offers, what the gateway answers.
//!
//! Made, checked and opened in `wire/seal.rs`. None of it is secret.

use serde::{Deserialize, Serialize};

use super::{Bssid, PublicKey, Signature, bytes};

/// The most keys in one offer.
pub const MOST_KEYS: usize = 4;
/// The longest key in an offer, in octets: room for what comes after elliptic curves.
pub const LONGEST_KEY: usize = 2048;
/// The longest name of an algorithm, in octets.
pub const LONGEST_ALGORITHM: usize = 64;
/// The longest sealed code, in octets: a code has 32, and what proves it comes behind.
pub const LONGEST_CIPHERTEXT: usize = 256;

/// A key that a code can be sealed for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedKey {
    /// The public key, made for one join.
    #[serde(with = "bytes")]
    pub key: Vec<u8>,
    /// How to seal for it, by its name in `docs/wire.md`.
    pub algorithm: String,
}

/// The keys of a terminal, best first, each made for one join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// At most [`MOST_KEYS`].
    pub keys: Vec<OfferedKey>,
    /// By the terminal's identity, over the keys and for whom they are: whoever relays cannot put in his own.
    pub signature: Signature,
}

impl Offer {
    /// Whether it is no longer than an offer may be.
    pub fn is_short(&self) -> bool {
        let fits =
            |one: &OfferedKey| one.key.len() <= LONGEST_KEY && one.algorithm.len() <= LONGEST_ALGORITHM;
        self.keys.len() <= MOST_KEYS && self.keys.iter().all(fits)
    }
}

/// What a grant at a network that codes open says of its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeAsk {
    /// This join has got its code; where that is lost the join is over.
    Made,
    /// Make one for this join, and answer with it sealed.
    Make {
        /// The access point chosen.
        bssid: Bssid,
        /// What to seal it for.
        offer: Offer,
    },
}

/// A code, sealed for one terminal and one join, signed by the gateway that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedCode {
    /// The encapsulated key (RFC 9180, `enc`).
    #[serde(with = "bytes")]
    pub enc: Vec<u8>,
    /// The gateway's identity; its service id is the hash of this key.
    pub key: PublicKey,
    /// How it was sealed.
    pub algorithm: String,
    /// By the gateway, over all of this and what it is bound to.
    pub signature: Signature,
    /// The code.
    #[serde(with = "bytes")]
    pub ciphertext: Vec<u8>,
}

impl SealedCode {
    /// Whether it is no longer than a sealed code may be: there is room for it in every message that it is relayed in.
    pub fn is_short(&self) -> bool {
        self.enc.len() <= LONGEST_KEY
            && self.algorithm.len() <= LONGEST_ALGORITHM
            && self.ciphertext.len() <= LONGEST_CIPHERTEXT
    }
}
