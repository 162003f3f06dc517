//! What a terminal and its coordinator say once the link stands.

use serde::{Deserialize, Serialize};

use super::beacon::HeardBeacon;
use super::directory::SignedDirectory;
use super::push::SignedMessage;
use super::trade::SignedFee;
use crate::model::trade::{Means, PurchaseState, Tariff, TariffId, Want};
use crate::model::{
    Bssid, Cause, Credential, DirectoryVersion, Incarnation, Link, MacAddr, MessageId, Millis, Offer,
    PublicKey, PurchaseId, Refusal, Region, SealedCode, Secret, ServiceId, SessionId, Ssid,
};

/// From terminal to coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromTerminal {
    /// The person asked for access; these access points are in reach.
    Ask {
        /// What the terminal sees, best first. Networks that end in `_nomap` are not in it.
        aps: Vec<SeenAp>,
        /// Comes back in the answer.
        request: u64,
    },
    /// What is listed in a region; answered by one part of it.
    Directory {
        /// What the terminal holds of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        have: Option<DirectoryVersion>,
        /// Which part of the answer, from 0.
        part: u16,
        /// The region.
        region: Region,
        /// Comes back in the answer.
        request: u64,
    },
    /// Open a session at one of the candidates.
    Join {
        /// Ahead of time: the terminal comes some day, perhaps without a way to ask again. Only where it gets a code.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ahead: bool,
        /// The access point chosen.
        bssid: Bssid,
        /// Keys to seal an access code for; absent: the terminal is older than sealed codes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<Offer>,
        /// What it announced when it was seen last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        beacon: Option<HeardBeacon>,
        /// Comes back in the answer.
        request: u64,
        /// The address under which the terminal will be on that network.
        station: MacAddr,
    },
    /// What is sold at a gateway.
    Tariffs {
        /// Comes back in the answer.
        request: u64,
        /// Which gateway.
        service: ServiceId,
    },
    /// Access under a tariff; answered by [`ToTerminal::Purchase`], again whenever it stands otherwise.
    Buy {
        /// How much.
        want: Want,
        /// Under which tariff.
        tariff: TariffId,
        /// Comes back in the first answer.
        request: u64,
        /// At which gateway.
        service: ServiceId,
    },
    /// The person consents to the offer.
    Pay {
        /// Of a voucher.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Secret>,
        /// How it is paid.
        means: Means,
        /// Which purchase.
        purchase: PurchaseId,
    },
    /// The person does not.
    Decline {
        /// Which purchase.
        purchase: PurchaseId,
    },
    /// Still here. Sent on a link of its own time; the latest counts.
    Heartbeat(Heartbeat),
    /// The terminal leaves; free everything now.
    Leave {
        /// The session.
        session: SessionId,
        /// Which join.
        incarnation: Incarnation,
    },
    /// A message that was sent by this link is here, now or long ago.
    Taken {
        /// Which.
        message: MessageId,
    },
}

/// The periodic access-state message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Layer-3 bytes that the terminal received in this session, by its own count.
    pub rx: u64,
    /// Layer-3 bytes that it sent.
    pub tx: u64,
    /// The next one comes within this time: longer than asked for when the terminal goes to sleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Millis>,
    /// The gateway through which it is connected.
    pub service: ServiceId,
    /// The session.
    pub session: SessionId,
    /// Which join.
    pub incarnation: Incarnation,
}

/// From coordinator to terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToTerminal {
    /// The answer to `Ask`: the access points at which a session can be had, best first.
    Candidates {
        /// Only access points that were asked for.
        aps: Vec<Candidate>,
        /// Of the request.
        request: u64,
    },
    /// The answer to `Directory`. Of another version than the part before: the directory has changed, part 0 is to be
    /// asked for again.
    Directory {
        /// One part.
        signed: SignedDirectory,
        /// Of the request.
        request: u64,
    },
    /// The answer to `Join`: the gateway admits the station; this opens its network.
    Joined(Joined),
    /// The answer to `Tariffs`.
    Tariffs {
        /// Of the request.
        request: u64,
        /// Of which gateway.
        service: ServiceId,
        /// As the gateway announced them; what counts is its offer.
        tariffs: Vec<Tariff>,
    },
    /// How a purchase stands, whenever that changes, and all that are not over when a link stands.
    Purchase(Box<PurchaseView>),
    /// A request that was not fulfilled.
    Refused {
        /// Why, with the numbers that decided it.
        refusal: Refusal,
        /// Of the request.
        request: u64,
    },
    /// Something for the person. Sent again on later links until it is taken.
    Push {
        /// What is left of its time.
        valid: Millis,
        /// What, and to whom.
        message: SignedMessage,
    },
    /// A session is over, or was never known here: ask again.
    Over {
        /// Why; absent when the coordinator does not know the session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
        /// The session.
        session: SessionId,
        /// Which join.
        incarnation: Incarnation,
    },
}

/// An access point in a terminal's scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAp {
    /// Its name.
    pub ssid: Ssid,
    /// Its address.
    pub bssid: Bssid,
    /// What it announces of us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beacon: Option<HeardBeacon>,
    /// Centre frequency in MHz; 0 on a wire.
    pub freq_mhz: u16,
    /// Received signal in dBm; 0 on a wire.
    pub signal_dbm: i16,
}

/// An access point at which a session can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// What the owner calls the gateway.
    pub name: String,
    /// Its network.
    pub ssid: Ssid,
    /// Its address.
    pub bssid: Bssid,
    /// The gateway behind it.
    pub service: ServiceId,
}

/// How a purchase stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseView {
    /// Where it is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Link>,
    /// What is offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<SignedFee>,
    /// Where it stands.
    pub state: PurchaseState,
    /// By whose key the offer is signed.
    pub gateway: PublicKey,
    /// Why not, or why the last try to pay failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Of the request, in the first answer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// Which.
    pub purchase: PurchaseId,
}

/// A session that stands, and what opens its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The access code of this join, where it got one: it opens the network, and not `credential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Box<SealedCode>>,
    /// Its network.
    pub ssid: Ssid,
    /// How long the session waits for the first heartbeat, where it was asked for ahead of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Millis>,
    /// The access point.
    pub bssid: Bssid,
    /// Of the request.
    pub request: u64,
    /// The gateway; to be named in heartbeats.
    pub service: ServiceId,
    /// The session.
    pub session: SessionId,
    /// How often to send a heartbeat.
    pub heartbeat: Millis,
    /// The account: what opens the network.
    pub credential: Credential,
    /// Which join.
    pub incarnation: Incarnation,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{OfferedKey, Signature};
    use crate::wire::cbor::{decode, encode, is_deterministic};

    const BSSID: Bssid = Bssid(MacAddr([2, 0, 0, 0, 0, 9]));
    /// Our element, with nothing in it but zeros.
    const OURS: [u8; 52] = {
        let mut octets = [0; 52];
        (octets[0], octets[1], octets[2], octets[3], octets[4]) = (0xdd, 50, 0x02, 0x66, 0xff);
        (octets[5], octets[6]) = (1, 1);
        octets
    };

    #[test]
    fn what_a_terminal_says_is_deterministic_and_comes_back() {
        let ssid = Ssid::new(b"a\n|\0".as_slice()).unwrap();
        let key = OfferedKey { key: vec![1; 32], algorithm: "a".into() };
        let offer = Offer { keys: vec![key], signature: Signature([2; 64]) };
        let beacon = HeardBeacon::find(&OURS);
        assert!(beacon.is_some());
        let join = |offer: Option<Offer>| FromTerminal::Join {
            ahead: offer.is_some(),
            bssid: BSSID,
            beacon: beacon.clone(),
            offer,
            request: 2,
            station: MacAddr([2, 0, 0, 0, 0, 1]),
        };
        for message in [
            FromTerminal::Ask {
                aps: vec![SeenAp {
                    ssid,
                    bssid: BSSID,
                    beacon: beacon.clone(),
                    freq_mhz: 2412,
                    signal_dbm: -40,
                }],
                request: 1,
            },
            FromTerminal::Directory {
                have: Some(DirectoryVersion([7; 16])),
                part: 1,
                region: "lyon".parse().unwrap(),
                request: 3,
            },
            join(None),
            join(Some(offer)),
            FromTerminal::Heartbeat(Heartbeat {
                rx: 1,
                tx: 2,
                next: Some(Millis(3)),
                service: ServiceId([4; 16]),
                session: SessionId([5; 16]),
                incarnation: Incarnation(6),
            }),
            FromTerminal::Leave { session: SessionId([5; 16]), incarnation: Incarnation(6) },
            FromTerminal::Taken { message: MessageId([7; 16]) },
        ] {
            let bytes = encode(&message).unwrap();
            assert!(is_deterministic(&bytes), "{message:?}");
            assert_eq!(decode::<FromTerminal>(&bytes).unwrap(), message);
        }
    }

    #[test]
    fn a_name_of_33_octets_is_none_and_is_named() {
        let bytes = |octets: usize| {
            let ap = SeenAp {
                ssid: Ssid::new(vec![b'a'; octets.min(32)]).unwrap(),
                bssid: BSSID,
                beacon: None,
                freq_mhz: 2412,
                signal_dbm: -40,
            };
            let bytes = encode(&FromTerminal::Ask { aps: vec![ap], request: 1 }).unwrap();
            match octets {
                0..=32 => bytes,
                // The length in the head of the byte string (RFC 8949, 3.1), and as many octets more.
                _ => {
                    let head = [&[0x58, 32][..], &[b'a'; 32]].concat();
                    let at = bytes.windows(34).position(|part| part == head).unwrap();
                    let long = [&[0x58, octets as u8][..], &vec![b'a'; octets]].concat();
                    [&bytes[..at], &long, &bytes[at + 34..]].concat()
                }
            }
        };
        for octets in [0, 1, 32] {
            assert!(decode::<FromTerminal>(&bytes(octets)).is_ok(), "{octets}");
        }
        for octets in [33, 64, 255] {
            let error = decode::<FromTerminal>(&bytes(octets)).unwrap_err().to_string();
            assert!(error.contains(&octets.to_string()), "{error}");
        }
    }

    #[test]
    fn what_a_terminal_hears_is_deterministic_and_comes_back() {
        let ssid = Ssid::new("café").unwrap();
        let service = ServiceId([4; 16]);
        let joined = Joined {
            code: None,
            ssid: ssid.clone(),
            ahead: None,
            bssid: BSSID,
            request: 2,
            service,
            session: SessionId([5; 16]),
            heartbeat: Millis(30_000),
            credential: Credential::Psk { passphrase: Secret::new("p") },
            incarnation: Incarnation(1),
        };
        let sealed = SealedCode {
            enc: vec![1; 32],
            key: PublicKey([2; 32]),
            algorithm: "a".into(),
            signature: Signature([3; 64]),
            ciphertext: vec![4; 48],
        };
        for message in [
            ToTerminal::Candidates {
                aps: vec![Candidate { name: "Corner".into(), ssid, bssid: BSSID, service }],
                request: 1,
            },
            ToTerminal::Joined(Joined {
                code: Some(Box::new(sealed)),
                ahead: Some(Millis(9)),
                ..joined.clone()
            }),
            ToTerminal::Joined(joined),
            ToTerminal::Directory {
                signed: SignedDirectory { directory: vec![1, 2], signature: Signature([3; 64]) },
                request: 4,
            },
            ToTerminal::Refused { refusal: Refusal::new("unknown-ap", "…"), request: 3 },
            ToTerminal::Push {
                valid: Millis(1),
                message: SignedMessage { message: vec![1], signature: Signature([2; 64]) },
            },
            ToTerminal::Over { cause: None, session: SessionId([5; 16]), incarnation: Incarnation(1) },
        ] {
            let bytes = encode(&message).unwrap();
            assert!(is_deterministic(&bytes), "{message:?}");
            assert_eq!(decode::<ToTerminal>(&bytes).unwrap(), message);
        }
    }

    #[test]
    fn a_newer_peer_may_say_more() {
        // {"leave": {"new": 1, "session": …, "incarnation": 1}}
        let mut bytes = b"\xa1\x65leave\xa3\x63new\x01\x67session\x50".to_vec();
        bytes.extend([5; 16]);
        bytes.extend(b"\x6bincarnation\x01");
        let leave = FromTerminal::Leave { session: SessionId([5; 16]), incarnation: Incarnation(1) };
        assert_eq!(decode::<FromTerminal>(&bytes).unwrap(), leave);
    }
}
