//! Push on connect: how a terminal gets messages from its gateway, on a channel of their own.
//!
//! ```text
//! terminal                                          gateway, TCP port PORT of the shared interface
//!   Knock { session, nonce } ----------------------->
//!                            <------- Greeting { key, nonce }
//!   Proof (by the terminal's key) ------------------>          from here on, as long as access stands:
//!                            <------------- SignedOffer        a message, signed for this channel
//!   Taken { message } ------------------------------>
//! ```
//!
//! A frame is two octets of length, big-endian, and so many octets of CBOR. The terminal names its session and never
//! its key: whoever listens on an open network learns nothing that outlives the session. The gateway is known by its
//! service id. What it offers is signed for both nonces, so that nobody beside it can say anything in its name, and
//! what was recorded once counts for nobody else. Nothing here is secret from who can read the network.

use serde::{Deserialize, Serialize};

use super::cbor::{self, CborError};
use super::hello::{LinkNonce, Proof};
use super::sign::{BadSignature, Domain, Identity, service_id, verify};
use crate::model::bytes;
use crate::model::{
    Audience, Author, Message, MessageId, Millis, PublicKey, ServiceId, SessionId, Signature,
};

/// Where a gateway listens on its shared interfaces (TCP). Not assigned by IANA.
pub const PORT: u16 = 7481;

/// The longest frame, in octets: a message of a coordinator, with both signatures, has some 2000.
pub const MOST_OCTETS: usize = 4096;

/// The terminal asks for what there is for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knock {
    /// Random; names this channel together with the gateway's.
    pub nonce: LinkNonce,
    /// Whose messages.
    pub session: SessionId,
    /// Protocol version ([`super::VERSION`]).
    pub version: u16,
}

/// The gateway says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Its key; its service id is that of the session's gateway.
    pub key: PublicKey,
    /// Random.
    pub nonce: LinkNonce,
}

/// The terminal has a message, now or long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Which.
    pub message: MessageId,
}

#[derive(Serialize)]
struct Transcript {
    key: PublicKey,
    knock: LinkNonce,
    session: SessionId,
    greeting: LinkNonce,
}

/// One channel: what both ends know of it once the terminal has been greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The terminal's first word.
    pub knock: Knock,
    /// The gateway's.
    pub greeting: Greeting,
}

impl Channel {
    fn transcript(&self) -> Vec<u8> {
        let transcript = Transcript {
            key: self.greeting.key,
            knock: self.knock.nonce,
            session: self.knock.session,
            greeting: self.greeting.nonce,
        };
        cbor::encode(&transcript).expect("a transcript has a fixed, small size")
    }

    /// Proves the terminal's key.
    pub fn prove(&self, identity: &Identity) -> Proof {
        Proof { signature: identity.sign(Domain::Channel, &self.transcript()) }
    }

    /// Whether whoever knocked holds `key`.
    pub fn check(&self, proof: &Proof, key: PublicKey) -> Result<(), BadSignature> {
        verify(key, Domain::Channel, &self.transcript(), &proof.signature)
    }
}

/// A message of a coordinator, as it travels: through a gateway or straight to the terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedMessage {
    /// The CBOR of a [`Message`]; signed as it stands.
    #[serde(with = "bytes")]
    pub message: Vec<u8>,
    /// By the coordinator's key.
    pub signature: Signature,
}

impl SignedMessage {
    /// Signs a message.
    pub fn new(identity: &Identity, message: &Message) -> Result<Self, CborError> {
        let message = cbor::encode(message)?;
        let signature = identity.sign(Domain::Message, &message);
        Ok(Self { message, signature })
    }

    /// The message, if whoever has `coordinator` as key said it.
    pub fn open(&self, coordinator: PublicKey) -> Result<Message, BadOffer> {
        verify(coordinator, Domain::Message, &self.message, &self.signature)?;
        Ok(cbor::decode(&self.message)?)
    }
}

/// What is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offered {
    /// What the gateway or its owner says.
    Own(Message),
    /// What the coordinator says.
    Relayed(SignedMessage),
}

#[derive(Serialize, Deserialize)]
struct Offer {
    body: Offered,
    knock: LinkNonce,
    valid: Millis,
    greeting: LinkNonce,
}

/// A message that a gateway hands over on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOffer {
    /// The CBOR of the message, of both nonces and of what is left of its time.
    #[serde(with = "bytes")]
    offer: Vec<u8>,
    /// By the gateway's key.
    signature: Signature,
}

/// A message that was handed over and is what it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The message.
    pub message: Message,
    /// Who says it.
    pub author: Author,
    /// What is left of its time.
    pub valid: Millis,
}

/// Why a message is not shown.
#[derive(Debug, thiserror::Error)]
pub enum BadOffer {
    /// Not signed by who should have said it.
    #[error("a message that was not signed by who should have said it")]
    Forged(#[from] BadSignature),
    /// Signed, and not what was expected.
    #[error("a message that cannot be read")]
    Unreadable(#[from] CborError),
    /// Signed for another channel, another session or another gateway.
    #[error("a message for another {what}")]
    Elsewhere {
        /// `channel`, `session` or `gateway`.
        what: &'static str,
    },
}

impl SignedOffer {
    /// Signs a message for one channel.
    pub fn new(
        identity: &Identity,
        channel: &Channel,
        body: Offered,
        valid: Millis,
    ) -> Result<Self, CborError> {
        let offer = Offer { body, knock: channel.knock.nonce, valid, greeting: channel.greeting.nonce };
        let offer = cbor::encode(&offer)?;
        let signature = identity.sign(Domain::Offer, &offer);
        Ok(Self { offer, signature })
    }

    /// The message, if the gateway of `channel` offers it there, and whoever it names has said it.
    pub fn open(&self, channel: &Channel, coordinator: PublicKey) -> Result<Opened, BadOffer> {
        let key = channel.greeting.key;
        verify(key, Domain::Offer, &self.offer, &self.signature)?;
        let offer: Offer = cbor::decode(&self.offer)?;
        if (offer.knock, offer.greeting) != (channel.knock.nonce, channel.greeting.nonce) {
            return Err(BadOffer::Elsewhere { what: "channel" });
        }
        let (message, author) = match offer.body {
            Offered::Own(message) => (message, Author::Owner),
            Offered::Relayed(signed) => (signed.open(coordinator)?, Author::Coordinator),
        };
        fits(&message.to, author, channel.knock.session, service_id(key))?;
        Ok(Opened { message, author, valid: offer.valid })
    }
}

/// Whether a message of this author may be for the terminal of a session at a gateway.
pub fn fits(to: &Audience, author: Author, session: SessionId, gateway: ServiceId) -> Result<(), BadOffer> {
    match (author, to) {
        // Whom it lets in with which grant, the gateway knows.
        (Author::Owner, Audience::Everybody | Audience::Grant(_) | Audience::Network(_)) => Ok(()),
        (Author::Coordinator, Audience::Session(named)) if *named == session => Ok(()),
        (Author::Coordinator, Audience::Gateway(named)) if *named == gateway => Ok(()),
        // Which area this is its terminal does not know; no gateway is given such a message.
        (_, Audience::Area(_)) => Err(BadOffer::Elsewhere { what: "area" }),
        (_, Audience::Gateway(_)) => Err(BadOffer::Elsewhere { what: "gateway" }),
        _ => Err(BadOffer::Elsewhere { what: "session" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BootId, GrantId, Link, MessageText, Ssid};
    use crate::wire::cbor::{decode, encode, is_deterministic};

    const SESSION: SessionId = SessionId([5; 16]);

    #[test]
    fn a_knock_is_proven_for_one_channel_and_one_key() {
        let terminal = Identity::generate();
        let channel = channel(&Identity::generate());
        let proof = channel.prove(&terminal);
        assert_eq!(channel.check(&proof, terminal.public()), Ok(()));
        assert!(channel.check(&proof, Identity::generate().public()).is_err());
        let nonce = LinkNonce(BootId([9; 16]));
        for other in [
            Channel { knock: Knock { nonce, ..channel.knock }, ..channel },
            Channel { knock: Knock { session: SessionId([6; 16]), ..channel.knock }, ..channel },
            Channel { greeting: Greeting { nonce, ..channel.greeting }, ..channel },
            Channel { greeting: Greeting { key: terminal.public(), ..channel.greeting }, ..channel },
        ] {
            assert!(other.check(&proof, terminal.public()).is_err(), "{other:?}");
        }
    }

    #[test]
    fn an_offer_counts_on_its_channel_from_its_gateway() {
        let (gateway, coordinator) = (Identity::generate(), Identity::generate());
        let channel = channel(&gateway);
        let own = Offered::Own(message(Audience::Everybody));
        let offer = SignedOffer::new(&gateway, &channel, own.clone(), Millis(7)).unwrap();
        let opened = offer.open(&channel, coordinator.public()).unwrap();
        assert_eq!(
            (opened.author, opened.valid, opened.message.id),
            (Author::Owner, Millis(7), MessageId([1; 16]))
        );

        let forged = SignedOffer::new(&Identity::generate(), &channel, own, Millis(7)).unwrap();
        assert!(matches!(forged.open(&channel, coordinator.public()), Err(BadOffer::Forged(_))));
        let nonce = LinkNonce(BootId([9; 16]));
        let later = Channel { knock: Knock { nonce, ..channel.knock }, ..channel };
        let replayed = offer.open(&later, coordinator.public()).unwrap_err().to_string();
        assert_eq!(replayed, "a message for another channel");
    }

    #[test]
    fn a_gateway_cannot_speak_for_the_coordinator_or_to_others() {
        let (gateway, coordinator) = (Identity::generate(), Identity::generate());
        let channel = channel(&gateway);
        let here = service_id(gateway.public());
        let open = |signer: &Identity, to: Audience| {
            let signed = SignedMessage::new(signer, &message(to)).unwrap();
            let offer = SignedOffer::new(&gateway, &channel, Offered::Relayed(signed), Millis(1)).unwrap();
            offer.open(&channel, coordinator.public()).map(|opened| opened.author)
        };
        for to in [Audience::Session(SESSION), Audience::Gateway(here)] {
            assert_eq!(open(&coordinator, to.clone()).unwrap(), Author::Coordinator);
            assert!(matches!(open(&gateway, to), Err(BadOffer::Forged(_))));
        }
        for to in [
            Audience::Session(SessionId([6; 16])),
            Audience::Gateway(ServiceId([0; 16])),
            Audience::Everybody,
        ] {
            assert!(matches!(open(&coordinator, to), Err(BadOffer::Elsewhere { .. })));
        }
        let own = Offered::Own(message(Audience::Session(SESSION)));
        let offer = SignedOffer::new(&gateway, &channel, own, Millis(1)).unwrap();
        assert!(offer.open(&channel, coordinator.public()).is_err());
    }

    #[test]
    fn every_frame_is_deterministic_comes_back_and_fits() {
        let identity = Identity::generate();
        let channel = channel(&identity);
        let longest = Message {
            text: MessageText::new("é".repeat(500)).unwrap(),
            link: Some(Link::new(format!("https://{}", "a".repeat(492))).unwrap()),
            ..message(Audience::Gateway(service_id(identity.public())))
        };
        let signed = SignedMessage::new(&identity, &longest).unwrap();
        let offer =
            SignedOffer::new(&identity, &channel, Offered::Relayed(signed), Millis(u64::MAX)).unwrap();
        assert!(is_deterministic(&offer.offer));
        let frame = encode(&offer).unwrap();
        assert!(frame.len() <= MOST_OCTETS && frame.len() > 1700, "{}", frame.len());
        assert_eq!(decode::<SignedOffer>(&frame).unwrap(), offer);
        assert!(is_deterministic(&frame) && is_deterministic(&channel.transcript()));
        assert!(is_deterministic(&encode(&channel.knock).unwrap()));
        assert!(is_deterministic(&encode(&channel.greeting).unwrap()));
        for to in [
            Audience::Everybody,
            Audience::Grant(GrantId([1; 16])),
            Audience::Network(Ssid::new(b"\xff\n".as_slice()).unwrap()),
        ] {
            let bytes = encode(&message(to)).unwrap();
            assert!(is_deterministic(&bytes));
            assert!(decode::<Message>(&bytes).is_ok());
        }
    }

    fn channel(gateway: &Identity) -> Channel {
        Channel {
            knock: Knock { nonce: LinkNonce(BootId([2; 16])), session: SESSION, version: 1 },
            greeting: Greeting { key: gateway.public(), nonce: LinkNonce(BootId([3; 16])) },
        }
    }

    fn message(to: Audience) -> Message {
        let link = Some(Link::new("https://a.example/").unwrap());
        Message { id: MessageId([1; 16]), to, link, text: MessageText::new("Closed at 5 pm").unwrap() }
    }
}
