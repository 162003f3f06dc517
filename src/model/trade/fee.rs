//! What somebody wants, what an owner offers for it, and what is had once it is paid.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Money, TariffId};
use crate::model::{Millis, PublicKey, PurchaseId, ServiceId};

/// The longest time for which an offer stands.
pub const MOST_VALID: Duration = Duration::from_secs(86_400);

/// How much is wanted, in the unit of the tariff.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// So long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Millis>,
    /// So many layer-3 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// So many slices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<u32>,
}

/// What is had: both bounds hold, an absent one is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// So long from the grant on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Millis>,
    /// So many layer-3 bytes, both directions together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// What an owner offers to one terminal. Signed by the gateway's key, see `wire/trade.rs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeOffer {
    /// What is asked; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
    /// From its arrival on; later it is void. At most [`MOST_VALID`].
    pub valid: Millis,
    /// Under which tariff.
    pub tariff: TariffId,
    /// By which gateway.
    pub service: ServiceId,
    /// For which purchase; so it counts once.
    pub purchase: PurchaseId,
    /// To whom.
    pub terminal: PublicKey,
    /// What is had for it.
    pub allowance: Allowance,
}

/// How it is paid. Travels as its stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// Nothing is asked.
    Free,
    /// With a card, at the provider's own page.
    Stripe,
    /// With a code that the owner printed.
    Voucher,
}

impl Means {
    /// All of them.
    pub const ALL: [Means; 3] = [Means::Free, Means::Stripe, Means::Voucher];

    /// The stable word, as in the ledger and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Means::Free => "free",
            Means::Stripe => "stripe",
            Means::Voucher => "voucher",
        }
    }
}

impl Allowance {
    /// Both together; without a limit if either is.
    pub fn and(self, other: Allowance) -> Allowance {
        let time = self.time.zip(other.time).map(|(one, two)| Millis(one.0.saturating_add(two.0)));
        let bytes = self.bytes.zip(other.bytes).map(|(one, two)| one.saturating_add(two));
        Allowance { time, bytes }
    }
}
