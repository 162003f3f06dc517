//! Where a purchase stands. How it gets from one to the next is drawn in `logic/trade/purchase.rs`.

use serde::{Deserialize, Serialize};

/// Where a purchase stands. Travels as its stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PurchaseState {
    /// The gateway was asked.
    Requested,
    /// The buyer decides.
    Offered,
    /// The provider decides.
    Paying,
    /// The gateway is told.
    Paid,
    /// It is there.
    Granted,
    /// Little is left.
    Low,
    /// Little was left, and more was bought.
    Extended,
    /// It is used up.
    Over,
    /// The owner said no.
    Refused,
    /// Nobody bought it.
    Expired,
    /// The money goes back.
    Refunding,
    /// The money is back.
    Refunded,
}

impl PurchaseState {
    /// All of them.
    pub const ALL: [PurchaseState; 12] = [
        PurchaseState::Requested,
        PurchaseState::Offered,
        PurchaseState::Paying,
        PurchaseState::Paid,
        PurchaseState::Granted,
        PurchaseState::Low,
        PurchaseState::Extended,
        PurchaseState::Over,
        PurchaseState::Refused,
        PurchaseState::Expired,
        PurchaseState::Refunding,
        PurchaseState::Refunded,
    ];

    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            PurchaseState::Requested => "requested",
            PurchaseState::Offered => "offered",
            PurchaseState::Paying => "paying",
            PurchaseState::Paid => "paid",
            PurchaseState::Granted => "granted",
            PurchaseState::Low => "low",
            PurchaseState::Extended => "extended",
            PurchaseState::Over => "over",
            PurchaseState::Refused => "refused",
            PurchaseState::Expired => "expired",
            PurchaseState::Refunding => "refunding",
            PurchaseState::Refunded => "refunded",
        }
    }

    /// Whether what was bought is to be had.
    pub fn is_good(self) -> bool {
        matches!(
            self,
            PurchaseState::Paid | PurchaseState::Granted | PurchaseState::Low | PurchaseState::Extended
        )
    }

    /// Whether it is enforced.
    pub fn is_granted(self) -> bool {
        matches!(self, PurchaseState::Granted | PurchaseState::Low | PurchaseState::Extended)
    }

    /// Whether nothing more will come of it, unless a provider has a surprise.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            PurchaseState::Over | PurchaseState::Refused | PurchaseState::Expired | PurchaseState::Refunded
        )
    }
}
