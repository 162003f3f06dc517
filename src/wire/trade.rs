//! What is said of tariffs: the digest in the beacon, requests, and offers that a gateway has signed.
//!
//! An offer counts because of its signature, whoever brings it: the coordinator can withhold one, it cannot make one or change
//! its price. Read next: `docs/trade.md`; `logic/trade/` for what is decided.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::beacon::TariffDigest;
use super::cbor;
use super::sign::{BadSignature, Domain, Identity, random, service_id, verify};
use crate::model::trade::{FeeOffer, MOST_VALID, Tariff, TariffId, Want};
use crate::model::{PublicKey, PurchaseId, Refusal, ServiceId, Signature, bytes};

/// Tariffs that a gateway has at most: they travel in one frame.
pub const MOST_TARIFFS: usize = 32;

/// An offer as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedFee {
    /// The CBOR of a [`FeeOffer`]; signed as it stands.
    #[serde(with = "bytes")]
    pub offer: Vec<u8>,
    /// By the gateway's key.
    pub signature: Signature,
}

/// What a terminal wants to buy, as a gateway is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bid {
    /// How much.
    pub want: Want,
    /// Under which tariff.
    pub tariff: TariffId,
    /// Named by whoever asks the gateway.
    pub purchase: PurchaseId,
    /// Who buys.
    pub terminal: PublicKey,
}

/// What the owner says to a bid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BidAnswer {
    /// The owner is asked; another answer follows, or none.
    Asked,
    /// This much for this much.
    Offered(SignedFee),
    /// No, with the numbers that decided it.
    Refused(Refusal),
}

/// Why an offer does not count.
#[derive(Debug, thiserror::Error)]
pub enum BadFee {
    /// Not signed by the gateway.
    #[error("an offer that the gateway did not sign")]
    Forged(#[from] BadSignature),
    /// Signed, but no offer.
    #[error("an offer that cannot be read")]
    Unreadable(#[from] cbor::CborError),
    /// Of another gateway, for another terminal or for another purchase.
    #[error("an offer for another {what}")]
    Elsewhere {
        /// `gateway`, `terminal` or `purchase`.
        what: &'static str,
    },
    /// It would stand longer than any offer may.
    #[error("an offer that stands for {0} ms; {most} are the most", most = MOST_VALID.as_millis())]
    TooLong(u64),
}

impl SignedFee {
    /// Signs an offer with the gateway's key.
    pub fn new(gateway: &Identity, offer: &FeeOffer) -> Result<Self, cbor::CborError> {
        let offer = cbor::encode(offer)?;
        let signature = gateway.sign(Domain::Fee, &offer);
        Ok(Self { offer, signature })
    }

    /// The offer, if the gateway with this key made it for this terminal and purchase.
    pub fn open(
        &self,
        gateway: PublicKey,
        terminal: PublicKey,
        purchase: PurchaseId,
    ) -> Result<FeeOffer, BadFee> {
        verify(gateway, Domain::Fee, &self.offer, &self.signature)?;
        let offer: FeeOffer = cbor::decode(&self.offer)?;
        for (fits, what) in [
            (offer.service == service_id(gateway), "gateway"),
            (offer.terminal == terminal, "terminal"),
            (offer.purchase == purchase, "purchase"),
        ] {
            if !fits {
                return Err(BadFee::Elsewhere { what });
            }
        }
        if u128::from(offer.valid.0) > MOST_VALID.as_millis() {
            return Err(BadFee::TooLong(offer.valid.0));
        }
        Ok(offer)
    }

    /// The offer as it is said to be, of a gateway known by its service id only; `key` comes with the offer.
    pub fn open_of(
        &self,
        service: ServiceId,
        key: PublicKey,
        terminal: PublicKey,
        purchase: PurchaseId,
    ) -> Result<FeeOffer, BadFee> {
        if service_id(key) != service {
            return Err(BadFee::Elsewhere { what: "gateway" });
        }
        self.open(key, terminal, purchase)
    }
}

/// Equal tariffs, equal digests, in whatever order they are listed.
pub fn tariff_digest(tariffs: &[Tariff]) -> Option<TariffDigest> {
    if tariffs.is_empty() {
        return None;
    }
    let mut sorted: Vec<&Tariff> = tariffs.iter().collect();
    sorted.sort_by(|one, two| one.id.cmp(&two.id));
    let mut text = b"wayleave tariffs v1\0".to_vec();
    for tariff in sorted {
        // Each is far below the longest frame.
        let tariff = cbor::encode(tariff).ok()?;
        text.extend_from_slice(&(tariff.len() as u64).to_be_bytes());
        text.extend_from_slice(&tariff);
    }
    let mut octets = [0; 8];
    octets.copy_from_slice(&digest(&SHA256, &text).as_ref()[..8]);
    Some(TariffDigest(octets))
}

/// A new purchase.
pub fn new_purchase_id() -> PurchaseId {
    PurchaseId(random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;
    use crate::model::trade::{Allowance, Limits, Money, Pricing, Rounding};
    use crate::wire::cbor::is_deterministic;

    const PURCHASE: PurchaseId = PurchaseId([1; 16]);
    const TERMINAL: PublicKey = PublicKey([2; 32]);

    fn offer(gateway: &Identity) -> FeeOffer {
        FeeOffer {
            price: Some("1.50 EUR".parse().unwrap()),
            valid: Millis(900_000),
            tariff: "day".parse().unwrap(),
            service: service_id(gateway.public()),
            purchase: PURCHASE,
            terminal: TERMINAL,
            allowance: Allowance { time: Some(Millis(1)), bytes: Some(1_000_000_000) },
        }
    }

    #[test]
    fn an_offer_counts_for_whom_and_what_it_was_made() {
        let (gateway, other) = (Identity::generate(), Identity::generate());
        let offer = offer(&gateway);
        let signed = SignedFee::new(&gateway, &offer).unwrap();
        assert!(is_deterministic(&signed.offer));
        assert!(is_deterministic(&cbor::encode(&BidAnswer::Offered(signed.clone())).unwrap()));
        let key = gateway.public();
        assert_eq!(signed.open(key, TERMINAL, PURCHASE).unwrap(), offer);
        assert_eq!(signed.open_of(service_id(key), key, TERMINAL, PURCHASE).unwrap(), offer);
        assert!(matches!(signed.open(other.public(), TERMINAL, PURCHASE), Err(BadFee::Forged(_))));
        for (opened, what) in [
            (signed.open(key, PublicKey([9; 32]), PURCHASE), "terminal"),
            (signed.open(key, TERMINAL, PurchaseId([9; 16])), "purchase"),
            (signed.open_of(service_id(key), other.public(), TERMINAL, PURCHASE), "gateway"),
        ] {
            assert_eq!(opened.unwrap_err().to_string(), format!("an offer for another {what}"));
        }
        let cheaper = FeeOffer { price: Some("0.01 EUR".parse().unwrap()), ..offer.clone() };
        let forged = SignedFee { offer: cbor::encode(&cheaper).unwrap(), ..signed };
        assert!(matches!(forged.open(key, TERMINAL, PURCHASE), Err(BadFee::Forged(_))));
        let endless = SignedFee::new(&gateway, &FeeOffer { valid: Millis(u64::MAX), ..offer }).unwrap();
        assert!(matches!(endless.open(key, TERMINAL, PURCHASE), Err(BadFee::TooLong(u64::MAX))));
    }

    #[test]
    fn a_bid_is_deterministic_and_comes_back() {
        let bid = Bid {
            want: Want { time: Some(Millis(1)), bytes: Some(2), slices: Some(3) },
            tariff: "day".parse().unwrap(),
            purchase: PURCHASE,
            terminal: TERMINAL,
        };
        let bytes = cbor::encode(&bid).unwrap();
        assert!(is_deterministic(&bytes));
        assert_eq!(cbor::decode::<Bid>(&bytes).unwrap(), bid);
    }

    #[test]
    fn the_digest_knows_every_number_and_no_order() {
        let price: Money = "1 EUR".parse().unwrap();
        let tariff = |id: &str, pricing| Tariff {
            id: id.parse().unwrap(),
            limits: Limits {
                up_bps: Some(1),
                devices: Some(2),
                down_bps: Some(3),
                time_most: Some(Millis(4)),
                bytes_most: Some(5),
                bytes_least: Some(6),
            },
            pricing,
            rounding: Rounding::Up,
        };
        let one = tariff("one", Pricing::PerSlice { time: Some(Millis(1)), bytes: Some(2), price });
        let two = tariff("two", Pricing::PerBytes { bytes: 1, price });
        for tariff in [&one, &two, &tariff("three", Pricing::PerTime { time: Millis(1), price })] {
            let bytes = cbor::encode(tariff).unwrap();
            assert!(is_deterministic(&bytes), "{tariff:?}");
            assert_eq!(cbor::decode::<Tariff>(&bytes).unwrap(), *tariff);
        }
        let both = tariff_digest(&[one.clone(), two.clone()]);
        assert_eq!(both, tariff_digest(&[two.clone(), one.clone()]));
        assert_eq!(tariff_digest(&[]), None);
        let dearer =
            Tariff { pricing: Pricing::PerBytes { bytes: 1, price: Money { minor: 101, ..price } }, ..two };
        assert_ne!(both, tariff_digest(&[one, dearer]));
    }
}
