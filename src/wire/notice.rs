//! Notices: what a coordinator instructs a gateway to do. Signed, ordered, acknowledged.
//!
//! A notice counts only for the gateway, the run of it and the link that it names, and only once: its number
//! `n` grows with every notice of a link. Durable ones also carry `seq`, which grows for the gateway's whole
//! life; they are sent again until acknowledged, so `seq` decides what has been done already.

use serde::{Deserialize, Serialize};

use super::cbor;
use super::hello::LinkNonce;
#[cfg(feature = "messages")]
use super::push::SignedMessage;
use super::sign::{BadSignature, Domain, Identity, verify};
#[cfg(feature = "trade")]
use super::trade::Bid;
#[cfg(feature = "messages")]
use crate::model::MessageId;
use crate::model::{
    BootId, Cause, GrantId, GrantSpec, GrantsDigest, Incarnation, Millis, PublicKey, Signature, bytes,
};

/// A notice as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedNotice {
    /// The CBOR of a [`Notice`]; signed as it stands.
    #[serde(with = "bytes")]
    pub notice: Vec<u8>,
    /// By the coordinator's key.
    pub signature: Signature,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Number on this link, from 1.
    pub n: u64,
    /// Number among the durable notices to this gateway; absent where nothing is lost if it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What to do.
    pub body: NoticeBody,
    /// The run of the gateway it is for.
    pub boot: BootId,
    /// The link it was sent on.
    pub link: LinkNonce,
    /// The gateway it is for.
    pub gateway: PublicKey,
}

/// What a gateway is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeBody {
    /// Enforce a grant; a known id with a higher incarnation moves it to the station named.
    Grant(GrantSpec),
    /// Evict the station of a grant, if that incarnation is the present one.
    Evict {
        /// Why; decides the 802.11 reason code.
        cause: Cause,
        /// The grant.
        grant: GrantId,
        /// Which join.
        incarnation: Incarnation,
    },
    /// Tell what is known of the station of a grant. Not durable.
    Inquire {
        /// The grant.
        grant: GrantId,
        /// Comes back in the answer.
        inquiry: u64,
        /// Which join.
        incarnation: Incarnation,
    },
    /// The coordinator is alive: every grant of it lasts this long from now. Not durable.
    Renew {
        /// From now.
        lease: Millis,
        /// What the coordinator holds for this gateway; if it differs, the gateway says so.
        digest: GrantsDigest,
    },
    /// All that the coordinator wants, in parts; what is in no part is evicted once the last is there.
    Desired {
        /// Which of `parts`, from 0.
        part: u32,
        /// How many there are.
        parts: u32,
        /// The same for all parts of one answer.
        answer: u64,
        /// The grants of this part.
        grants: Vec<GrantSpec>,
    },
    /// A terminal wants to buy; answered by an offer or a refusal. Not durable: said again on every link until it is.
    #[cfg(feature = "trade")]
    Bid(Box<Bid>),
    /// Something for terminals. Not durable: said again on every link until the gateway says who has it.
    #[cfg(feature = "messages")]
    Push {
        /// What is left of its time.
        valid: Millis,
        /// What, and to whom.
        message: SignedMessage,
    },
    /// It is to be told no more. Not durable.
    #[cfg(feature = "messages")]
    Withdraw {
        /// Which.
        message: MessageId,
    },
}

/// Why a notice is not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum BadNotice {
    /// Not signed by the coordinator.
    #[error("a notice that the coordinator did not sign")]
    Forged(#[from] BadSignature),
    /// Signed, but not CBOR of a notice.
    #[error("a notice that cannot be read")]
    Unreadable(#[from] cbor::CborError),
    /// For another gateway, run or link.
    #[error("a notice for another {what}")]
    Elsewhere {
        /// `gateway`, `run` or `link`.
        what: &'static str,
    },
    /// Its number is not above the last one of this link.
    #[error("notice {n} again or out of order: the last was {last}")]
    Replayed {
        /// Its number.
        n: u64,
        /// The highest seen.
        last: u64,
    },
}

impl SignedNotice {
    /// Signs a notice.
    pub fn new(identity: &Identity, notice: &Notice) -> Result<Self, cbor::CborError> {
        let notice = cbor::encode(notice)?;
        let signature = identity.sign(Domain::Notice, &notice);
        Ok(Self { notice, signature })
    }
}

/// Opens the notices of one link, in order, each once.
#[derive(Debug)]
pub struct NoticeReader {
    coordinator: PublicKey,
    gateway: PublicKey,
    boot: BootId,
    link: LinkNonce,
    last: u64,
}

impl NoticeReader {
    /// For one link of this gateway in this run, with the coordinator that has this key.
    pub fn new(coordinator: PublicKey, gateway: PublicKey, boot: BootId, link: LinkNonce) -> Self {
        Self { coordinator, gateway, boot, link, last: 0 }
    }

    /// The notice, if it is from the coordinator, for here, and new.
    pub fn open(&mut self, signed: &SignedNotice) -> Result<Notice, BadNotice> {
        verify(self.coordinator, Domain::Notice, &signed.notice, &signed.signature)?;
        let notice: Notice = cbor::decode(&signed.notice)?;
        for (fits, what) in [
            (notice.gateway == self.gateway, "gateway"),
            (notice.boot == self.boot, "run"),
            (notice.link == self.link, "link"),
        ] {
            if !fits {
                return Err(BadNotice::Elsewhere { what });
            }
        }
        if notice.n <= self.last {
            return Err(BadNotice::Replayed { n: notice.n, last: self.last });
        }
        self.last = notice.n;
        Ok(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bssid, CodeAsk, Holder, MacAddr, Offer, OfferedKey, SessionId};
    use crate::wire::cbor::{encode, is_deterministic};

    const LINK: LinkNonce = LinkNonce(BootId([9; 16]));
    const BOOT: BootId = BootId([8; 16]);
    const GATEWAY: PublicKey = PublicKey([7; 32]);

    #[test]
    fn what_is_signed_for_here_opens_once() {
        let coordinator = Identity::generate();
        let mut reader = NoticeReader::new(coordinator.public(), GATEWAY, BOOT, LINK);
        let first = SignedNotice::new(&coordinator, &notice(1)).unwrap();

        assert_eq!(reader.open(&first).unwrap(), notice(1));
        assert!(matches!(reader.open(&first), Err(BadNotice::Replayed { n: 1, last: 1 })));
        let third = SignedNotice::new(&coordinator, &notice(3)).unwrap();
        let second = SignedNotice::new(&coordinator, &notice(2)).unwrap();
        reader.open(&third).unwrap();
        assert!(matches!(reader.open(&second), Err(BadNotice::Replayed { n: 2, last: 3 })));
    }

    #[test]
    fn what_is_forged_or_for_elsewhere_does_not() {
        let coordinator = Identity::generate();
        let mut reader = NoticeReader::new(coordinator.public(), GATEWAY, BOOT, LINK);

        let forged = SignedNotice::new(&Identity::generate(), &notice(1)).unwrap();
        assert!(matches!(reader.open(&forged), Err(BadNotice::Forged(_))));
        let mut changed = SignedNotice::new(&coordinator, &notice(1)).unwrap();
        changed.notice[3] ^= 1;
        assert!(matches!(reader.open(&changed), Err(BadNotice::Forged(_))));
        for (what, elsewhere) in [
            ("gateway", Notice { gateway: PublicKey([0; 32]), ..notice(1) }),
            ("run", Notice { boot: BootId([0; 16]), ..notice(1) }),
            ("link", Notice { link: LinkNonce(BootId([0; 16])), ..notice(1) }),
        ] {
            let signed = SignedNotice::new(&coordinator, &elsewhere).unwrap();
            let error = reader.open(&signed).unwrap_err().to_string();
            assert_eq!(error, format!("a notice for another {what}"));
        }
        let garbage =
            SignedNotice { notice: vec![0xff], signature: coordinator.sign(Domain::Notice, &[0xff]) };
        assert!(matches!(reader.open(&garbage), Err(BadNotice::Unreadable(_))));
    }

    #[test]
    fn every_notice_is_deterministic_and_comes_back() {
        let grant = GrantSpec {
            id: GrantId([1; 16]),
            code: None,
            lease: Some(Millis(60_000)),
            quota: Some(1 << 40),
            holder: Holder::Terminal { key: PublicKey([2; 32]), session: SessionId([3; 16]) },
            station: MacAddr([2, 0, 0, 0, 0, 1]),
            incarnation: Incarnation(4),
        };
        let key = OfferedKey { key: vec![1; 32], algorithm: "a".into() };
        let offer = Offer { keys: vec![key], signature: Signature([2; 64]) };
        let make = CodeAsk::Make { bssid: Bssid(grant.station), offer };
        let digest = GrantsDigest([5; 16]);
        for body in [
            NoticeBody::Grant(grant.clone()),
            NoticeBody::Grant(GrantSpec { code: Some(Box::new(make)), ..grant.clone() }),
            NoticeBody::Grant(GrantSpec { code: Some(Box::new(CodeAsk::Made)), ..grant.clone() }),
            NoticeBody::Evict { cause: Cause::Silence, grant: grant.id, incarnation: Incarnation(4) },
            NoticeBody::Inquire { grant: grant.id, inquiry: 6, incarnation: Incarnation(4) },
            NoticeBody::Renew { lease: Millis(1), digest },
            NoticeBody::Desired { part: 0, parts: 1, answer: 7, grants: vec![grant] },
            #[cfg(feature = "messages")]
            NoticeBody::Push {
                valid: Millis(1),
                message: SignedMessage { message: vec![1], signature: Signature([2; 64]) },
            },
            #[cfg(feature = "messages")]
            NoticeBody::Withdraw { message: MessageId([3; 16]) },
        ] {
            let notice = Notice { body, seq: Some(5), ..notice(1) };
            let bytes = encode(&notice).unwrap();
            assert!(is_deterministic(&bytes), "{notice:?}");
            assert_eq!(cbor::decode::<Notice>(&bytes).unwrap(), notice);
            let signed = SignedNotice::new(&Identity::generate(), &notice).unwrap();
            let bytes = encode(&signed).unwrap();
            assert!(is_deterministic(&bytes));
            assert_eq!(cbor::decode::<SignedNotice>(&bytes).unwrap(), signed);
        }
    }

    fn notice(n: u64) -> Notice {
        let body =
            NoticeBody::Evict { cause: Cause::Silence, grant: GrantId([1; 16]), incarnation: Incarnation(1) };
        Notice { n, seq: None, boot: BOOT, body, link: LINK, gateway: GATEWAY }
    }
}
