//! Who the coordinator is: the holder of one Ed25519 key, whatever its certificate says.
//!
//! Names and dates of the certificate are not looked at: routers boot in 1970, and the key says it all.
//! rustls and ring do the cryptography; this compares.

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::crypto::ring::kx_group;
use rustls::crypto::{CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SigningKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};

use crate::model::PublicKey;

/// DER of the SubjectPublicKeyInfo of an Ed25519 key, up to the key itself (RFC 8410, 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// TLS 1.3, and nobody but the holder of `key` at the other end.
pub(super) fn config(key: PublicKey) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(key)))
        .with_no_client_auth();
    // A resumed session would not show its key again, and links are too rare to gain from it.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// What this link can need of ring, and no more: the pinned key is Ed25519, and proves itself in [`Pinned`]; nobody
/// here has a key for TLS. Sealed codes need ChaCha20-Poly1305 anyway, and most routers have no instructions for AES. The
/// usual provider brings RSA, P-256, P-384 and AES along, a quarter of a megabyte.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![kx_group::X25519],
        signature_verification_algorithms: WebPkiSupportedAlgorithms { all: &[], mapping: &[] },
        secure_random: &Random,
        key_provider: &NoKeys,
    }
}

#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        ring::rand::SecureRandom::fill(&SystemRandom::new(), bytes).map_err(|_| GetRandomFailed)
    }
}

#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("who opens a link proves itself after TLS".to_owned()))
    }
}

/// Whether the certificate is for exactly this key.
fn is_for(certificate: &CertificateDer<'_>, key: PublicKey) -> Result<bool, Error> {
    let found = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(found.as_ref() == [SPKI_PREFIX.as_slice(), &key.0].concat())
}

#[derive(Debug)]
struct Pinned(PublicKey);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match is_for(end_entity, self.0)? {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    /// By the pinned key and not by what the certificate holds: even a certificate misread opens nothing.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if dss.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        UnparsedPublicKey::new(&ED25519, self.0.0)
            .verify(message, dss.signature())
            .map(|()| HandshakeSignatureValid::assertion())
            .map_err(|_| CertificateError::BadSignature.into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl req -x509 -key K -days 1 -subj /CN=a` with an Ed25519 key. Its date does not count.
    const CERTIFICATE: &[u8] = include_bytes!("ed25519-certificate.der");

    #[test]
    fn a_certificate_is_for_its_own_key_only() {
        let key: PublicKey = include_str!("ed25519-certificate.key").trim().parse().unwrap();
        assert_eq!(is_for(&CERTIFICATE.into(), key), Ok(true));
        assert_eq!(is_for(&CERTIFICATE.into(), PublicKey([1; 32])), Ok(false));
    }

    #[test]
    fn a_certificate_cut_short_or_bent_is_for_nobody() {
        let key: PublicKey = include_str!("ed25519-certificate.key").trim().parse().unwrap();
        for length in 0..CERTIFICATE.len() {
            assert!(is_for(&CERTIFICATE[..length].into(), key).is_err(), "{length}");
        }
        let at = CERTIFICATE.windows(32).position(|part| part == key.0).unwrap();
        // Header and key: whatever bit is bent there, it is not this key any more.
        for index in at - SPKI_PREFIX.len()..at + 32 {
            for bit in 0..8 {
                let mut bent = CERTIFICATE.to_vec();
                bent[index] ^= 1 << bit;
                assert!(!is_for(&bent.as_slice().into(), key).unwrap_or(false), "{index}.{bit}");
            }
        }
    }
}
