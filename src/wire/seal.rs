//! Access codes on their way from gateway to terminal, past a coordinator that must not read them.
//!
//! ```text
//! terminal: an Asking for each join --- Offer, signed for service, BSSID, station --> gateway: checks, makes a code
//!           checks key, signature  <--- SealedCode, bound to service, session, join, BSSID, station --- seals, signs
//! ```
//!
//! Sealing is HPKE (`hpke.rs`). It keeps the code from whoever relays it; the signatures keep him from putting in a key
//! or a code of his own. The algorithm is named in offer and answer, so that another one can take its place.

use serde::Serialize;

use super::cbor;
use super::hpke::{self, KeyPair};
use super::sign::{Domain, Identity, service_id, verify};
use crate::model::{
    Bssid, Code, Incarnation, LONGEST_ALGORITHM, LONGEST_KEY, MOST_KEYS, MacAddr, Offer, OfferedKey,
    PublicKey, Refusal, SealedCode, ServiceId, SessionId,
};

/// HPKE in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305 (RFC 9180).
pub const X25519: &str = "hpke-x25519-sha256-chacha20poly1305";

/// How `info` of HPKE begins.
const INFO: &[u8] = b"wayleave sealed code v1\0";

/// For whom keys are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedTo {
    /// The access point chosen.
    pub bssid: Bssid,
    /// The gateway behind it.
    pub service: ServiceId,
    /// The address under which the terminal will be there.
    pub station: MacAddr,
}

/// What a sealed code is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// As offered.
    pub to: OfferedTo,
    /// The session.
    pub session: SessionId,
    /// Which join.
    pub incarnation: Incarnation,
}

impl Binding {
    fn info(&self) -> Vec<u8> {
        [INFO, &self.octets()].concat()
    }

    /// The rest of `info`: each field has one length.
    fn octets(&self) -> Vec<u8> {
        [
            self.to.service.0.as_slice(),
            &self.session.0,
            &self.incarnation.0.to_be_bytes(),
            &self.to.bssid.0.0,
            &self.to.station.0,
        ]
        .concat()
    }
}

/// Why a code was not sealed, or a sealed one is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Longer than an offer may be.
    #[error(
        "the terminal offers too much: {MOST_KEYS} keys of {LONGEST_KEY} octets with names of \
         {LONGEST_ALGORITHM} are the most"
    )]
    TooLong,
    /// Not signed by the terminal, or not for here.
    #[error(
        "the keys were not offered by this terminal for this gateway, access point and station: somebody changed them"
    )]
    BadOffer,
    /// None of the algorithms is known here.
    #[error("codes are sealed by {X25519} here, and the terminal offers {offered}; update the older of both")]
    NoCommonAlgorithm {
        /// Their names, escaped.
        offered: String,
    },
    /// A key that cannot be one of its algorithm.
    #[error("the key offered for {X25519} is none")]
    BadKey,
    /// By another algorithm than was offered.
    #[error("the code is sealed by another algorithm than the one offered")]
    NotOffered,
    /// Not by the gateway that was chosen.
    #[error("the code was not sealed by the gateway that was chosen, or not for this join")]
    Forged,
    /// Signed, but not sealed for this key, session and join.
    #[error("the code is not sealed for this key and this join")]
    Unopened,
}

impl SealError {
    /// Stable word.
    pub fn word(&self) -> &'static str {
        match self {
            SealError::TooLong | SealError::BadOffer | SealError::BadKey => "bad-offer",
            SealError::NoCommonAlgorithm { .. } => "no-common-algorithm",
            SealError::NotOffered | SealError::Forged | SealError::Unopened => "bad-seal",
        }
    }

    /// As it is told.
    pub fn refusal(&self) -> Refusal {
        Refusal::new(self.word(), self.to_string())
    }
}

/// What an [`Offer`] signs.
#[derive(Serialize)]
struct Offered<'a> {
    keys: &'a [OfferedKey],
    bssid: Bssid,
    service: ServiceId,
    station: MacAddr,
}

fn offered(keys: &[OfferedKey], to: OfferedTo) -> Vec<u8> {
    let OfferedTo { bssid, service, station } = to;
    cbor::encode(&Offered { keys, bssid, service, station }).expect("an offer that is short fits")
}

/// What a [`SealedCode`] signs: the binding, then each field behind its length.
fn sealed(binding: &Binding, algorithm: &str, enc: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let mut octets = binding.octets();
    for field in [algorithm.as_bytes(), enc, ciphertext] {
        octets.extend((field.len() as u64).to_be_bytes());
        octets.extend(field);
    }
    octets
}

/// The terminal's half of one join: the private key stays in here and opens one answer.
pub struct Asking {
    pair: KeyPair,
    to: OfferedTo,
}

impl Asking {
    /// With a new key.
    pub fn new(to: OfferedTo) -> Self {
        Self { pair: KeyPair::generate(), to }
    }

    /// What to send.
    pub fn offer(&self, identity: &Identity) -> Offer {
        let key = OfferedKey { key: self.pair.public().to_vec(), algorithm: X25519.to_owned() };
        offer(vec![key], self.to, identity)
    }

    /// The code that was sealed for this key, this session and this join, by the gateway that was chosen.
    pub fn open(
        self,
        answer: &SealedCode,
        session: SessionId,
        incarnation: Incarnation,
    ) -> Result<Code, SealError> {
        let binding = Binding { to: self.to, session, incarnation };
        let SealedCode { enc, key, algorithm, signature, ciphertext } = answer;
        if service_id(*key) != self.to.service {
            return Err(SealError::Forged);
        }
        verify(*key, Domain::SealedCode, &sealed(&binding, algorithm, enc, ciphertext), signature)
            .map_err(|_| SealError::Forged)?;
        if algorithm != X25519 {
            return Err(SealError::NotOffered);
        }
        let opened = hpke::open(self.pair, enc, &binding.info(), ciphertext);
        let octets = opened.and_then(|text| text.as_slice().try_into().ok());
        octets.map(Code::new).ok_or(SealError::Unopened)
    }
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asking({:?})", self.to)
    }
}

/// Keys, best first, signed by the terminal that offers them.
pub fn offer(keys: Vec<OfferedKey>, to: OfferedTo, identity: &Identity) -> Offer {
    let signature = identity.sign(Domain::SealKeys, &offered(&keys, to));
    Offer { keys, signature }
}

/// The gateway's half: seals `code` for the first key whose algorithm is known here, if `holder` offered it for here.
pub fn seal(
    code: &Code,
    offer: &Offer,
    holder: PublicKey,
    binding: &Binding,
    identity: &Identity,
) -> Result<SealedCode, SealError> {
    if !offer.is_short() {
        return Err(SealError::TooLong);
    }
    verify(holder, Domain::SealKeys, &offered(&offer.keys, binding.to), &offer.signature)
        .map_err(|_| SealError::BadOffer)?;
    let Some(chosen) = offer.keys.iter().find(|one| one.algorithm == X25519) else {
        let names: Vec<String> =
            offer.keys.iter().map(|one| one.algorithm.escape_default().to_string()).collect();
        let offered = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(SealError::NoCommonAlgorithm { offered });
    };
    let (enc, ciphertext) =
        hpke::seal(&chosen.key, &binding.info(), code.expose()).ok_or(SealError::BadKey)?;
    let signature = identity.sign(Domain::SealedCode, &sealed(binding, X25519, &enc, &ciphertext));
    Ok(SealedCode {
        enc: enc.to_vec(),
        key: identity.public(),
        algorithm: X25519.to_owned(),
        signature,
        ciphertext,
    })
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
