//! Hybrid public key encryption (RFC 9180): base mode, one message for each key, one suite:
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305.
//!
//! What is sealed, for whom and bound to what is in `seal.rs`.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::hmac;
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

/// `suite_id` of the KEM: "KEM", kem_id 0x0020 (RFC 9180, 4.1).
const KEM: &[u8] = b"KEM\x00\x20";
/// `suite_id` of HPKE: "HPKE", kem_id 0x0020, kdf_id 0x0001, aead_id 0x0003 (RFC 9180, 5.1).
const HPKE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";
/// `mode_base`.
const BASE: u8 = 0;
/// `Npk`: octets of a public key and of an encapsulated one.
pub const PUBLIC: usize = 32;

/// 32 octets that are wiped when dropped.
type Key = Zeroizing<[u8; 32]>;

/// A key pair for one message.
pub struct KeyPair {
    private: EphemeralPrivateKey,
    public: [u8; PUBLIC],
}

impl KeyPair {
    /// A new one from the kernel's random source.
    pub fn generate() -> Self {
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new())
            .expect("the kernel has random bytes");
        let public = private.compute_public_key().expect("every X25519 key has a public half");
        let public = public.as_ref().try_into().expect("X25519 keys have 32 octets");
        Self { private, public }
    }

    /// The public half (`SerializePublicKey`).
    pub fn public(&self) -> &[u8; PUBLIC] {
        &self.public
    }

    /// The Diffie-Hellman value with a peer, and what the KEM makes of it; `None`: the peer's key is none, or of small
    /// order, and the value would be zero (RFC 9180, 7.1.4).
    fn agree(self, peer: &[u8], enc: &[u8], recipient: &[u8]) -> Option<Key> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        agree_ephemeral(self.private, &peer, |dh| extract_and_expand(dh, enc, recipient)).ok()
    }
}

/// `SealBase` (RFC 9180, 6.1): the encapsulated key and the ciphertext; `None`: the recipient's key is no good.
///
/// What the message is bound to stands in `info`, and `aad` is empty (RFC 9180, 8.1).
pub fn seal(recipient: &[u8], info: &[u8], plain: &[u8]) -> Option<([u8; PUBLIC], Vec<u8>)> {
    let pair = KeyPair::generate();
    let enc = pair.public;
    let shared = pair.agree(recipient, &enc, recipient)?;
    Some((enc, Schedule::new(&shared, info).seal(&[], plain)))
}

/// `OpenBase` (RFC 9180, 6.1); `None`: not sealed for this key with this `info`.
pub fn open(pair: KeyPair, enc: &[u8], info: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let recipient = pair.public;
    let shared = pair.agree(enc, enc, &recipient)?;
    Schedule::new(&shared, info).open(&[], ciphertext)
}

/// What encrypts the first message of a context (RFC 9180, 5.1 `KeySchedule`, 5.2).
struct Schedule {
    key: Key,
    nonce: [u8; NONCE_LEN],
}

impl Schedule {
    fn new(shared: &[u8; 32], info: &[u8]) -> Self {
        let psk_id = extract(HPKE, &[], b"psk_id_hash", &[]);
        let info = extract(HPKE, &[], b"info_hash", info);
        let context = [&[BASE], psk_id.as_slice(), info.as_slice()].concat();
        let secret = extract(HPKE, shared, b"secret", &[]);
        let key = expand(HPKE, &secret, b"key", &context);
        let nonce = *expand::<NONCE_LEN>(HPKE, &secret, b"base_nonce", &context);
        Self { key, nonce }
    }

    fn cipher(&self) -> (LessSafeKey, Nonce) {
        let key = UnboundKey::new(&CHACHA20_POLY1305, self.key.as_slice()).expect("a key of 32 octets");
        (LessSafeKey::new(key), Nonce::assume_unique_for_key(self.nonce))
    }

    fn seal(self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let (key, nonce) = self.cipher();
        // In place, and with room for the tag: no copy of the text stays behind.
        let mut text = Vec::with_capacity(plain.len() + CHACHA20_POLY1305.tag_len());
        text.extend_from_slice(plain);
        key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut text).expect("a short message");
        text
    }

    fn open(self, aad: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (key, nonce) = self.cipher();
        let mut text = Zeroizing::new(ciphertext.to_vec());
        let length = key.open_in_place(nonce, Aad::from(aad), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

/// `ExtractAndExpand` of the KEM (RFC 9180, 4.1).
fn extract_and_expand(dh: &[u8], enc: &[u8], recipient: &[u8]) -> Key {
    let prk = extract(KEM, &[], b"eae_prk", dh);
    expand(KEM, &prk, b"shared_secret", &[enc, recipient].concat())
}

/// `LabeledExtract` (RFC 9180, 4).
fn extract(suite: &[u8], salt: &[u8], label: &[u8], material: &[u8]) -> Key {
    mac(salt, &[b"HPKE-v1", suite, label, material])
}

/// `LabeledExpand` (RFC 9180, 4), for lengths that one block of HKDF-Expand gives (RFC 5869, 2.3).
fn expand<const LENGTH: usize>(
    suite: &[u8],
    key: &[u8; 32],
    label: &[u8],
    info: &[u8],
) -> Zeroizing<[u8; LENGTH]> {
    const { assert!(LENGTH <= 32) };
    let length = [0, LENGTH as u8];
    let block = mac(key, &[&length, b"HPKE-v1", suite, label, info, &[1]]);
    let mut octets = Zeroizing::new([0; LENGTH]);
    octets.copy_from_slice(&block[..LENGTH]);
    octets
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    let mut octets = Zeroizing::new([0; 32]);
    octets.copy_from_slice(context.sign().as_ref());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::unhex;

    /// RFC 9180, A.2.1. `DH` is X25519(skEm, pkRm), which the RFC leaves out; computed with another implementation.
    const DH: &str = "abcb90ca2fce0148743e01e11bdad631767e47ba4d10947ddf0db562cbd65b74";
    const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
    const ENC: &str = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a";
    const RECIPIENT: &str = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a";
    const SHARED: &str = "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7";
    const KEY: &str = "ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91";
    const NONCE: &str = "5c4d98150661b848853b547f";
    const PLAIN: &str = "4265617574792069732074727574682c20747275746820626561757479";
    const CIPHERTEXT: &str =
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28";

    #[test]
    fn the_vectors_of_the_rfc() {
        let shared = extract_and_expand(&hex(DH), &hex(ENC), &hex(RECIPIENT));
        assert_eq!(shared.to_vec(), hex(SHARED));
        let schedule = || Schedule::new(&shared, &hex(INFO));
        assert_eq!(schedule().key.to_vec(), hex(KEY));
        assert_eq!(schedule().nonce.to_vec(), hex(NONCE));
        assert_eq!(schedule().seal(b"Count-0", &hex(PLAIN)), hex(CIPHERTEXT));
        assert_eq!(schedule().open(b"Count-0", &hex(CIPHERTEXT)).unwrap().to_vec(), hex(PLAIN));
    }

    #[test]
    fn what_is_sealed_opens_for_one_key_and_one_info() {
        for (info, opens) in [(b"info", true), (b"inf0", false)] {
            let pair = KeyPair::generate();
            let (enc, ciphertext) = seal(pair.public(), b"info", b"secret").unwrap();
            let opened = open(pair, &enc, info, &ciphertext);
            assert_eq!(opened.is_some_and(|text| *text == b"secret"), opens, "{info:?}");
        }
        let (enc, ciphertext) = seal(KeyPair::generate().public(), b"info", b"secret").unwrap();
        assert!(open(KeyPair::generate(), &enc, b"info", &ciphertext).is_none());
    }

    #[test]
    fn keys_that_are_none_or_give_zero_are_refused() {
        // Points of small order: RFC 7748, 6.1 has the result to be checked for zero.
        let mut small = [[0; 32], [0; 32]];
        small[1][0] = 1;
        for key in [&small[0][..], &small[1], &[9; 31], &[9; 33], &[]] {
            assert!(seal(key, b"", b"secret").is_none(), "{key:?}");
            assert!(open(KeyPair::generate(), key, b"", &[0; 22]).is_none(), "{key:?}");
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        unhex(text).unwrap()
    }
}
