//! Signing and verifying (Ed25519), each signature bound to what it is for by a domain in front.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::model::{BootId, GrantId, MessageId, PublicKey, ServiceId, SessionId, Signature};

/// What a signature is for. A signature made for one never counts for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A notice from coordinator to gateway.
    Notice,
    /// The proof of a key when a link opens.
    Link,
    /// A part of a directory, by its coordinator.
    Directory,
    /// The proof of a key when a terminal asks its gateway for messages.
    Channel,
    /// A message that a gateway hands to a terminal.
    Offer,
    /// A message of a coordinator.
    Message,
    /// What an owner offers for a fee.
    #[cfg(feature = "trade")]
    Fee,
    /// Keys that a terminal offers to have a code sealed for.
    SealKeys,
    /// A sealed code, by the gateway that made it.
    SealedCode,
}

impl Domain {
    fn prefix(self) -> &'static [u8] {
        match self {
            Domain::Notice => b"wayleave notice v1\0",
            Domain::Link => b"wayleave link v1\0",
            Domain::Directory => b"wayleave directory v1\0",
            Domain::Channel => b"wayleave channel v1\0",
            Domain::Offer => b"wayleave offer v1\0",
            Domain::Message => b"wayleave message v1\0",
            #[cfg(feature = "trade")]
            Domain::Fee => b"wayleave fee v1\0",
            Domain::SealKeys => b"wayleave seal keys v1\0",
            Domain::SealedCode => b"wayleave sealed code v1\0",
        }
    }
}

/// The signature does not belong to these bytes, this domain and this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit")]
pub struct BadSignature;

/// A file that is not an Ed25519 private key in PKCS#8 (RFC 8410).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key in PKCS#8")]
pub struct BadKey;

/// A private key. Does not show itself.
pub struct Identity {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl Identity {
    /// A new key from the kernel's random source, which blocks until it is seeded (getrandom(2)).
    pub fn generate() -> Self {
        let pkcs8 =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("the kernel has random bytes");
        Self::from_pkcs8(pkcs8.as_ref()).expect("just made")
    }

    /// The key in a PKCS#8 document, as [`Identity::pkcs8`] gives it.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, BadKey> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).map_err(|_| BadKey)?;
        Ok(Self { pair, pkcs8: Zeroizing::new(document.to_vec()) })
    }

    /// The document to keep, 0600.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("Ed25519 keys have 32 octets"))
    }

    /// Signs `bytes` for `domain`.
    pub fn sign(&self, domain: Domain, bytes: &[u8]) -> Signature {
        let signature = self.pair.sign(&[domain.prefix(), bytes].concat());
        Signature(signature.as_ref().try_into().expect("Ed25519 signatures have 64 octets"))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.public())
    }
}

/// Checks that `key` signed `bytes` for `domain`.
pub fn verify(
    key: PublicKey,
    domain: Domain,
    bytes: &[u8],
    signature: &Signature,
) -> Result<(), BadSignature> {
    UnparsedPublicKey::new(&ED25519, key.0)
        .verify(&[domain.prefix(), bytes].concat(), &signature.0)
        .map_err(|_| BadSignature)
}

/// What a gateway with this key is called on the air and in heartbeats.
pub fn service_id(key: PublicKey) -> ServiceId {
    let hash = digest(&SHA256, &key.0);
    ServiceId(hash.as_ref()[..16].try_into().expect("SHA-256 has 32 octets"))
}

/// SHA-256 over the bytes, its first 16 octets.
pub fn short_hash(bytes: &[u8]) -> [u8; 16] {
    digest(&SHA256, bytes).as_ref()[..16].try_into().expect("SHA-256 has 32 octets")
}

/// Random octets from the kernel.
pub fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    SystemRandom::new().fill(&mut octets).expect("the kernel has random bytes");
    octets
}

/// A new grant id.
pub fn new_grant_id() -> GrantId {
    GrantId(random())
}

/// A new message id.
pub fn new_message_id() -> MessageId {
    MessageId(random())
}

/// A new session id.
pub fn new_session_id() -> SessionId {
    SessionId(random())
}

/// A new boot id.
pub fn new_boot_id() -> BootId {
    BootId(random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_counts_for_its_bytes_its_domain_and_its_key() {
        let identity = Identity::generate();
        let signature = identity.sign(Domain::Notice, b"evict");
        assert_eq!(verify(identity.public(), Domain::Notice, b"evict", &signature), Ok(()));
        assert_eq!(verify(identity.public(), Domain::Link, b"evict", &signature), Err(BadSignature));
        assert_eq!(verify(identity.public(), Domain::Notice, b"grant", &signature), Err(BadSignature));
        assert_eq!(
            verify(Identity::generate().public(), Domain::Notice, b"evict", &signature),
            Err(BadSignature)
        );
    }

    #[test]
    fn a_kept_key_is_the_same_key() {
        let identity = Identity::generate();
        assert_eq!(Identity::from_pkcs8(identity.pkcs8()).unwrap().public(), identity.public());
        assert!(Identity::from_pkcs8(b"nonsense").is_err());
        assert!(format!("{identity:?}").starts_with("Identity("));
    }
}
