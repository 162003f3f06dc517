//! How a link opens: hello, challenge, proof, welcome.
//!
//! ```text
//! client                                coordinator
//!   Hello { key, role, boot, claim? } ------>
//!                      <------ Challenge { nonce }
//!   Proof { signature } -------------------->
//!                      <------ Welcome | Refused { retry_after }
//! ```
//!
//! TLS has proven the coordinator's key by then (it is pinned); the proof binds the client's key to this
//! coordinator, this run of the client and this link.

use serde::{Deserialize, Serialize};

use super::sign::{BadSignature, Domain, Identity, verify};
use crate::model::{BootId, Millis, PublicKey, Secret, Signature};

/// What the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A router that shares.
    Gateway,
    /// A device that wants access.
    Terminal,
}

/// The first message of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The client's public key: its identity.
    pub key: PublicKey,
    /// This run of the client.
    pub boot: BootId,
    /// What it is.
    pub role: Role,
    /// Program and version, for people.
    pub agent: String,
    /// The one-time code with which a gateway enrols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Secret>,
    /// Protocol version ([`super::VERSION`]).
    pub version: u16,
}

/// The coordinator's answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Random; names this link from here on.
    pub nonce: LinkNonce,
}

/// What names one link; made at random by the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkNonce(pub BootId);

/// The client's answer to a challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Over the transcript below, by the key of the hello.
    pub signature: Signature,
}

/// The end of the opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The link stands.
    Welcome {
        /// How often a terminal is to send a heartbeat.
        heartbeat: Millis,
    },
    /// It does not; the coordinator closes it.
    Refused {
        /// Stable word: `unknown-key`, `bad-claim`, `bad-proof`, `version`, `busy`.
        word: String,
        /// For people.
        sentence: String,
        /// Not before this long from now; absent: trying again does not help.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<Millis>,
    },
}

/// What a proof signs.
#[derive(Clone, Debug, Serialize)]
struct Transcript {
    key: PublicKey,
    boot: BootId,
    role: Role,
    nonce: LinkNonce,
    coordinator: PublicKey,
}

impl Transcript {
    fn bytes(hello: &Hello, nonce: LinkNonce, coordinator: PublicKey) -> Vec<u8> {
        let transcript =
            Transcript { key: hello.key, boot: hello.boot, role: hello.role, nonce, coordinator };
        super::cbor::encode(&transcript).expect("a transcript has a fixed, small size")
    }
}

impl Proof {
    /// Proves the key of `hello` on the link that `nonce` names, to the coordinator with this key.
    pub fn new(identity: &Identity, hello: &Hello, nonce: LinkNonce, coordinator: PublicKey) -> Self {
        Self { signature: identity.sign(Domain::Link, &Transcript::bytes(hello, nonce, coordinator)) }
    }

    /// Checks it.
    pub fn check(&self, hello: &Hello, nonce: LinkNonce, coordinator: PublicKey) -> Result<(), BadSignature> {
        verify(hello.key, Domain::Link, &Transcript::bytes(hello, nonce, coordinator), &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cbor::{encode, is_deterministic};
    use crate::wire::sign::{new_boot_id, random};

    #[test]
    fn a_proof_is_for_one_client_one_link_and_one_coordinator() {
        let identity = Identity::generate();
        let coordinator = Identity::generate().public();
        let nonce = LinkNonce(BootId(random()));
        let hello = hello(identity.public());
        let proof = Proof::new(&identity, &hello, nonce, coordinator);

        assert_eq!(proof.check(&hello, nonce, coordinator), Ok(()));
        assert!(proof.check(&hello, LinkNonce(BootId(random())), coordinator).is_err());
        assert!(proof.check(&hello, nonce, identity.public()).is_err());
        assert!(proof.check(&Hello { role: Role::Terminal, ..hello.clone() }, nonce, coordinator).is_err());
        assert!(proof.check(&Hello { boot: new_boot_id(), ..hello }, nonce, coordinator).is_err());
    }

    #[test]
    fn every_message_is_deterministic() {
        let hello = hello(PublicKey([7; 32]));
        assert!(is_deterministic(&encode(&hello).unwrap()));
        let refused =
            Verdict::Refused { word: "busy".into(), sentence: "later".into(), retry_after: Some(Millis(1)) };
        assert!(is_deterministic(&encode(&refused).unwrap()));
        assert!(is_deterministic(&Transcript::bytes(&hello, LinkNonce(BootId([1; 16])), hello.key)));
    }

    fn hello(key: PublicKey) -> Hello {
        Hello {
            key,
            boot: BootId([3; 16]),
            role: Role::Gateway,
            agent: "wayleave/0".into(),
            claim: Some(Secret::new("code")),
            version: 1,
        }
    }
}
