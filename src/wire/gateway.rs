//! What a gateway and its coordinator say once the link stands.

use serde::{Deserialize, Serialize};

use super::notice::SignedNotice;
use super::sign::short_hash;
#[cfg(feature = "trade")]
use super::trade::BidAnswer;
#[cfg(feature = "trade")]
use crate::model::PurchaseId;
#[cfg(feature = "trade")]
use crate::model::trade::Tariff;
use crate::model::{
    Area, BeaconEpoch, BeaconSecret, Bssid, Credential, GrantId, GrantsDigest, Incarnation, MacAddr, Refusal,
    Report, SealedCode, ServiceId, Ssid, Traffic,
};
#[cfg(feature = "messages")]
use crate::model::{MessageId, PublicKey};

/// From gateway to coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromGateway {
    /// What it shares; first message of a link, and again when it changes.
    Announce(Announce),
    /// Every durable notice up to this one has been carried out (or was over already).
    Acknowledge {
        /// Cumulative.
        seq: u64,
    },
    /// What the gateway enforces for this coordinator; if it differs, the coordinator sends what it wants.
    Holds {
        /// Over the grants of this coordinator.
        digest: GrantsDigest,
    },
    /// The answer to a grant that asks for a code; comes before its acknowledgement.
    Code {
        /// The grant.
        grant: GrantId,
        /// The code, or why there is none.
        answer: CodeAnswer,
        /// Which join of the grant.
        incarnation: Incarnation,
    },
    /// The answer to an inquiry.
    Presence(Presence),
    /// An eviction is over. Sent again until the coordinator has it.
    Evicted {
        /// Comes back in [`ToGateway::ReportTaken`].
        number: u64,
        /// What was freed.
        report: Report,
    },
    /// The answer to a bid.
    #[cfg(feature = "trade")]
    Bid {
        /// What the owner says.
        answer: BidAnswer,
        /// Of the bid.
        purchase: PurchaseId,
    },
    /// Few bytes of a grant are left.
    #[cfg(feature = "trade")]
    Low {
        /// Which.
        grant: GrantId,
    },
    /// A terminal has a message of the coordinator. Said again when the coordinator says the message again.
    #[cfg(feature = "messages")]
    Taken {
        /// Which.
        message: MessageId,
        /// Who.
        terminal: PublicKey,
    },
}

/// What came of a code that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeAnswer {
    /// hostapd takes it from now on.
    Sealed(Box<SealedCode>),
    /// There is none, and nothing was opened.
    Refused(Refusal),
}

/// From coordinator to gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToGateway {
    /// What to do.
    Notice(SignedNotice),
    /// The report with this number is kept; it need not be sent again.
    ReportTaken {
        /// Of [`FromGateway::Evicted`].
        number: u64,
    },
}

/// What a gateway shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announce {
    /// Where it is to be listed; absent: in no directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<Area>,
    /// What the owner calls it.
    pub name: String,
    /// How its beacons are checked; absent: it announces nothing on the air, or is older than beacons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beacon: Option<BeaconReport>,
    /// Its service id.
    pub service: ServiceId,
    /// What is sold here; nothing: access is given.
    #[cfg(feature = "trade")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tariffs: Vec<Tariff>,
    /// Its networks.
    pub networks: Vec<SharedNetwork>,
    /// Access points whose beacons carry its element now: who has not heard it there was not near, or at a twin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<Bssid>,
}

/// How a gateway's beacons are checked: what proves them, and where its slots are at the time it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeaconReport {
    /// The slot that it is in.
    pub slot: u32,
    /// This run of it.
    pub epoch: BeaconEpoch,
    /// What its tokens are made with.
    pub secret: BeaconSecret,
    /// Milliseconds since this slot began.
    pub into_ms: u64,
    /// How long a slot lasts.
    pub slot_ms: u64,
}

/// One network that is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedNetwork {
    /// Its name; empty on a wire.
    pub ssid: Ssid,
    /// Whether each grant can have an access code of its own, sealed for its terminal. Where `credential` is `open`,
    /// nothing else opens it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub codes: bool,
    /// Its access points. A wired port has the address of the gateway's interface.
    pub bssids: Vec<Bssid>,
    /// What opens it.
    pub credential: Credential,
}

/// In digests: the station of a grant by code, which only the gateway knows.
pub const BY_CODE: MacAddr = MacAddr([0; 6]);

/// What a gateway knows of the station of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The grant.
    pub grant: GrantId,
    /// What it moved so far.
    pub moved: Traffic,
    /// Of the inquiry.
    pub inquiry: u64,
    /// Whether the station is associated (or seen on the wire) now; `None`: nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub associated: Option<bool>,
    /// Milliseconds since the station was last heard; absent where nobody counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_ms: Option<u64>,
    /// Which join of the grant is enforced here; `None`: the grant is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
}

/// The digest over id, incarnation, station and quota of each grant; their order does not matter. Whoever is the
/// station of a grant by code, it stands there as [`BY_CODE`].
pub fn grants_digest(
    grants: impl IntoIterator<Item = (GrantId, Incarnation, MacAddr, Option<u64>)>,
) -> GrantsDigest {
    let mut lines: Vec<[u8; 34]> = grants
        .into_iter()
        .map(|(id, incarnation, station, quota)| {
            let mut line = [0; 34];
            line[..16].copy_from_slice(&id.0);
            line[16..20].copy_from_slice(&incarnation.0.to_be_bytes());
            line[20..26].copy_from_slice(&station.0);
            line[26..].copy_from_slice(&quota.unwrap_or(u64::MAX).to_be_bytes());
            line
        })
        .collect();
    lines.sort_unstable();
    GrantsDigest(short_hash(lines.as_flattened()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cause, Millis, PublicKey, Secret, Signature, Step, StepOutcome, StepReport};
    use crate::wire::cbor::{decode, encode, is_deterministic};

    #[test]
    fn every_message_is_deterministic_and_comes_back() {
        for message in messages() {
            let bytes = encode(&message).unwrap();
            assert!(is_deterministic(&bytes), "{message:?}");
            assert_eq!(decode::<FromGateway>(&bytes).unwrap(), message);
        }
        let taken = ToGateway::ReportTaken { number: 1 };
        assert_eq!(decode::<ToGateway>(&encode(&taken).unwrap()).unwrap(), taken);
    }

    #[test]
    fn the_digest_does_not_depend_on_order_but_on_everything_else() {
        let a = (GrantId([1; 16]), Incarnation(1), MacAddr([2, 0, 0, 0, 0, 1]), None);
        let b = (GrantId([2; 16]), Incarnation(1), MacAddr([2, 0, 0, 0, 0, 2]), Some(5));
        assert_eq!(grants_digest([a, b]), grants_digest([b, a]));
        let base = grants_digest([a]);
        assert_ne!(base, grants_digest([a, b]));
        assert_ne!(base, grants_digest([(a.0, Incarnation(2), a.2, a.3)]));
        assert_ne!(base, grants_digest([(a.0, a.1, b.2, a.3)]));
        assert_ne!(base, grants_digest([(a.0, a.1, a.2, Some(1))]));
    }

    fn messages() -> Vec<FromGateway> {
        let credential =
            Credential::Eap { method: "MD5".into(), identity: "u".into(), password: Secret::new("p") };
        let bssid = Bssid(MacAddr([2, 0, 0, 0, 0, 9]));
        let network =
            SharedNetwork {
                ssid: Ssid::new("café").unwrap(), codes: false, bssids: vec![bssid], credential
            };
        let psk = Credential::Psk { passphrase: Secret::new("p") };
        let open = SharedNetwork { credential: Credential::Open, codes: true, ..network.clone() };
        let other = SharedNetwork { credential: psk, ..network.clone() };
        let report = Report {
            cause: Cause::Left,
            grant: GrantId([1; 16]),
            moved: Traffic { up_bytes: 1, down_bytes: 2, up_packets: 3, down_packets: 4 },
            steps: vec![
                StepReport { step: Step::Flows, outcome: StepOutcome::Done { freed: 2 }, took_us: 9 },
                StepReport { step: Step::Leases, outcome: StepOutcome::Absent, took_us: 9 },
                StepReport {
                    step: Step::Association,
                    outcome: StepOutcome::Failed { why: "x".into() },
                    took_us: 9,
                },
            ],
            station: Some(MacAddr([2, 0, 0, 0, 0, 1])),
            total_us: 100,
            incarnation: Incarnation(1),
        };
        let presence = Presence {
            grant: GrantId([1; 16]),
            moved: Traffic::default(),
            inquiry: 1,
            associated: Some(true),
            inactive_ms: Some(Millis(5).0),
            incarnation: Some(Incarnation(1)),
        };
        let code =
            |answer| FromGateway::Code { grant: GrantId([1; 16]), answer, incarnation: Incarnation(1) };
        let sealed = SealedCode {
            enc: vec![1; 32],
            key: PublicKey([2; 32]),
            algorithm: "a".into(),
            signature: Signature([3; 64]),
            ciphertext: vec![4; 48],
        };
        vec![
            code(CodeAnswer::Sealed(Box::new(sealed))),
            code(CodeAnswer::Refused(Refusal::new("bad-offer", "…"))),
            FromGateway::Announce(Announce {
                area: None,
                name: "Corner".into(),
                beacon: None,
                service: ServiceId([1; 16]),
                #[cfg(feature = "trade")]
                tariffs: vec![],
                networks: vec![network.clone(), open, other],
                announced: Vec::new(),
            }),
            FromGateway::Announce(Announce {
                area: Some("lyon/hall".parse().unwrap()),
                name: "Corner".into(),
                beacon: Some(BeaconReport {
                    slot: 7,
                    epoch: BeaconEpoch([2; 8]),
                    secret: BeaconSecret::new([3; 32]),
                    into_ms: 250,
                    slot_ms: 300_000,
                }),
                service: ServiceId([1; 16]),
                announced: network.bssids.clone(),
                #[cfg(feature = "trade")]
                tariffs: vec![crate::model::trade::Tariff {
                    id: "taste".parse().unwrap(),
                    limits: Default::default(),
                    pricing: crate::model::trade::Pricing::Free,
                    rounding: Default::default(),
                }],
                networks: vec![network],
            }),
            FromGateway::Acknowledge { seq: 4 },
            FromGateway::Holds { digest: GrantsDigest([0; 16]) },
            FromGateway::Presence(presence),
            FromGateway::Evicted { number: 1, report },
            #[cfg(feature = "trade")]
            FromGateway::Bid { answer: BidAnswer::Asked, purchase: PurchaseId([4; 16]) },
            #[cfg(feature = "trade")]
            FromGateway::Low { grant: GrantId([4; 16]) },
            #[cfg(feature = "messages")]
            FromGateway::Taken { message: MessageId([5; 16]), terminal: PublicKey([6; 32]) },
        ]
    }
}
