//! What is written down of money: from which account to which, how much, for which purchase.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Means, Money};
use crate::model::PurchaseId;

/// Where money is. Travels as its stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Account {
    /// With the provider of cards.
    Stripe,
    /// With the owner, who sold vouchers for it.
    Voucher,
    /// Received, and nothing given for it yet: it is the buyer's.
    Held,
    /// The owner's.
    Sales,
}

/// What a posting is for. Travels as its stable word; there is one posting of each for a purchase at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// The buyer paid.
    Paid,
    /// What was paid for is there.
    Granted,
    /// It could not be given, and the buyer has the money back.
    Refunded,
    /// It had been given, and the provider took the money back.
    Returned,
}

/// One movement of money: double entry, the same amount debited to one account and credited to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// What the owner has more of, or owes less of.
    pub debit: Account,
    /// How much; more than nothing.
    pub amount: Money,
    /// What the owner has less of, or owes or has earned more of.
    pub credit: Account,
    /// For what.
    pub occasion: Occasion,
    /// Of which purchase.
    pub purchase: PurchaseId,
}

impl Account {
    /// All of them.
    pub const ALL: [Account; 4] = [Account::Stripe, Account::Voucher, Account::Held, Account::Sales];

    /// Where money paid by these means is; `None`: there is none.
    pub fn of(means: Means) -> Option<Account> {
        match means {
            Means::Free => None,
            Means::Stripe => Some(Account::Stripe),
            Means::Voucher => Some(Account::Voucher),
        }
    }

    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Account::Stripe => "stripe",
            Account::Voucher => "voucher",
            Account::Held => "held",
            Account::Sales => "sales",
        }
    }
}

impl Occasion {
    /// All of them.
    pub const ALL: [Occasion; 4] =
        [Occasion::Paid, Occasion::Granted, Occasion::Refunded, Occasion::Returned];

    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Occasion::Paid => "paid",
            Occasion::Granted => "granted",
            Occasion::Refunded => "refunded",
            Occasion::Returned => "returned",
        }
    }
}

impl Posting {
    /// Under which it is kept once: the purchase and the occasion.
    pub fn key(&self) -> String {
        format!("{}/{}", self.purchase, self.occasion)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
