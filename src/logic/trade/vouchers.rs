//! Vouchers: codes that an owner prints, each good for an amount of money until it is used up or out of date.
//!
//! A code is never kept, only its hash. Who tries codes is slowed down and then locked out for a while, so that guessing one of
//! 90 bits stays as hopeless as it sounds. A purchase takes what it costs off one voucher, once, whatever is repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::purchase::Observation;
use crate::logic::limit::Limit;
use crate::model::trade::Money;
use crate::model::{BootTime, PublicKey, PurchaseId, Refusal};
use crate::wire::voucher::{VoucherCode, VoucherHash};

/// Wrong codes in a row, then one more in each of [`LOCK_OUT`].
const TRIES: u32 = 5;
const LOCK_OUT: Duration = Duration::from_secs(900);
/// Wrong codes of all together: who has many keys has no more tries than this.
const TRIES_OF_ALL: u32 = 1000;
const LOCK_OUT_OF_ALL: Duration = Duration::from_secs(4);
const TERMINALS: usize = 10_000;

/// A voucher as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// Of its code.
    pub hash: VoucherHash,
    /// What it was good for when it was printed.
    pub value: Money,
    /// Good before this second of 1970.
    pub expires: u64,
    /// What was taken off it by which purchase, in minor units.
    pub taken: BTreeMap<PurchaseId, u64>,
}

/// All vouchers.
#[derive(Debug)]
pub struct Vouchers {
    vouchers: BTreeMap<VoucherHash, Voucher>,
    by_purchase: BTreeMap<PurchaseId, VoucherHash>,
    wrong: Limit<PublicKey>,
    wrong_of_all: Limit<()>,
}

impl Voucher {
    /// What is left of it.
    pub fn left(&self) -> Money {
        let taken = self.taken.values().fold(0, |sum: u64, minor| sum.saturating_add(*minor));
        Money { minor: self.value.minor.saturating_sub(taken), ..self.value }
    }
}

impl Vouchers {
    /// As they were kept.
    pub fn new(kept: impl IntoIterator<Item = Voucher>) -> Self {
        let mut all = Self {
            vouchers: BTreeMap::new(),
            by_purchase: BTreeMap::new(),
            wrong: Limit::new(TRIES, LOCK_OUT, TERMINALS),
            wrong_of_all: Limit::new(TRIES_OF_ALL, LOCK_OUT_OF_ALL, 1),
        };
        kept.into_iter().for_each(|voucher| all.insert(voucher));
        all
    }

    /// One more, or as it is now.
    pub fn insert(&mut self, voucher: Voucher) {
        for purchase in voucher.taken.keys() {
            self.by_purchase.insert(*purchase, voucher.hash);
        }
        self.vouchers.insert(voucher.hash, voucher);
    }

    /// Takes the price of a purchase off the voucher with this code. What comes back is to be kept; only then is it so.
    ///
    /// `calendar` is the second of 1970 that it is now.
    pub fn redeem(
        &mut self,
        code: &str,
        purchase: PurchaseId,
        price: Money,
        terminal: PublicKey,
        calendar: u64,
        now: BootTime,
    ) -> Result<Voucher, Refusal> {
        let locked = |wait: Duration| {
            let sentence = format!("too many wrong codes; another can be tried in {} s", wait.as_secs() + 1);
            Refusal::new("voucher-locked", sentence)
        };
        if let Some(voucher) = self.by_purchase.get(&purchase).and_then(|hash| self.vouchers.get(hash)) {
            return Ok(voucher.clone());
        }
        self.wrong.look(&terminal, now).map_err(locked)?;
        self.wrong_of_all.look(&(), now).map_err(locked)?;
        // Mistyped, and so no guess.
        let code: VoucherCode =
            code.parse().map_err(|error| Refusal::new("voucher-mistyped", format!("{error}")))?;
        let Some(voucher) = self.vouchers.get(&code.hash()) else {
            let _ = (self.wrong.take(&terminal, now), self.wrong_of_all.take(&(), now));
            return Err(Refusal::new("voucher-unknown", "there is no voucher with this code"));
        };
        if calendar >= voucher.expires {
            return Err(Refusal::new("voucher-expired", "this voucher is out of date"));
        }
        let left = voucher.left();
        if left.minus(price).is_err() {
            let sentence = format!("{left} are left on this voucher, and {price} are asked");
            return Err(Refusal::new("voucher-short", sentence));
        }
        let mut voucher = voucher.clone();
        voucher.taken.insert(purchase, price.minor);
        Ok(voucher)
    }

    /// What is known of a purchase.
    pub fn observe(&self, purchase: PurchaseId) -> Observation {
        let voucher = self.by_purchase.get(&purchase).and_then(|hash| self.vouchers.get(hash));
        match voucher.and_then(|voucher| Some((voucher, *voucher.taken.get(&purchase)?))) {
            // Nothing is taken off for nothing: 0 says that it was put back.
            Some((_, 0)) => Observation::Refunded,
            Some((voucher, minor)) => Observation::Settled(Some(Money { minor, ..voucher.value })),
            None => Observation::Unknown,
        }
    }

    /// Puts back what a purchase took; what comes back is to be kept. `None`: it took nothing.
    pub fn refund(&mut self, purchase: PurchaseId) -> Option<Voucher> {
        let mut voucher = self.by_purchase.get(&purchase).and_then(|hash| self.vouchers.get(hash))?.clone();
        voucher.taken.insert(purchase, 0);
        Some(voucher)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Voucher> {
        self.vouchers.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime(1_000_000_000_000_000);
    const WHO: PublicKey = PublicKey([1; 32]);

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn one() -> (Vouchers, String) {
        let code = VoucherCode::generate();
        let voucher =
            Voucher { hash: code.hash(), value: money("5 EUR"), expires: 1000, taken: BTreeMap::new() };
        (Vouchers::new([voucher]), code.reveal())
    }

    fn redeem(vouchers: &mut Vouchers, code: &str, purchase: u8, price: &str) -> Result<Voucher, String> {
        let redeemed = vouchers.redeem(code, PurchaseId([purchase; 16]), money(price), WHO, 999, NOW);
        redeemed.map_err(|refusal| refusal.word)
    }

    #[test]
    fn a_purchase_takes_its_price_once_until_nothing_is_left() {
        let (mut vouchers, code) = one();
        for (purchase, price, left) in [
            (1, "2 EUR", Some("3.00 EUR")),
            (1, "2 EUR", Some("3.00 EUR")),
            (2, "4 EUR", None),
            (3, "3 EUR", Some("0.00 EUR")),
        ] {
            match (redeem(&mut vouchers, &code, purchase, price), left) {
                (Ok(voucher), Some(left)) => {
                    assert_eq!(voucher.left().to_string(), left);
                    vouchers.insert(voucher);
                }
                (Err(word), None) => assert_eq!(word, "voucher-short"),
                (other, _) => panic!("{other:?}"),
            }
        }
        assert_eq!(vouchers.observe(PurchaseId([1; 16])), Observation::Settled(Some(money("2 EUR"))));
        assert_eq!(vouchers.observe(PurchaseId([2; 16])), Observation::Unknown);
        // What goes back can be spent again, by another purchase.
        for _ in 0..2 {
            let back = vouchers.refund(PurchaseId([1; 16])).unwrap();
            assert_eq!(back.left(), money("2 EUR"));
            vouchers.insert(back);
        }
        assert_eq!(vouchers.observe(PurchaseId([1; 16])), Observation::Refunded);
        assert!(vouchers.refund(PurchaseId([9; 16])).is_none());
        assert_eq!(redeem(&mut vouchers, &code, 4, "2 EUR").unwrap().left(), money("0 EUR"));
        assert_eq!(redeem(&mut vouchers, &code, 5, "1 USD"), Err("voucher-short".into()));
    }

    #[test]
    fn what_is_not_kept_is_not_taken() {
        let (mut vouchers, code) = one();
        for _ in 0..3 {
            assert_eq!(redeem(&mut vouchers, &code, 1, "5 EUR").unwrap().left(), money("0 EUR"));
        }
        assert_eq!(vouchers.observe(PurchaseId([1; 16])), Observation::Unknown);
        assert_eq!(vouchers.iter().next().unwrap().left(), money("5 EUR"));
    }

    #[test]
    fn who_guesses_is_locked_out_and_who_mistypes_is_not() {
        let (mut vouchers, code) = one();
        for _ in 0..100 {
            assert_eq!(redeem(&mut vouchers, "abcde", 1, "1 EUR"), Err("voucher-mistyped".into()));
        }
        for _ in 0..TRIES {
            let guess = VoucherCode::generate().reveal();
            assert_eq!(redeem(&mut vouchers, &guess, 1, "1 EUR"), Err("voucher-unknown".into()));
        }
        assert_eq!(
            redeem(&mut vouchers, &code, 1, "1 EUR"),
            Err("voucher-locked".into()),
            "also with a good one"
        );
        let later = NOW + LOCK_OUT;
        assert!(vouchers.redeem(&code, PurchaseId([1; 16]), money("1 EUR"), WHO, 0, later).is_ok());
        // Another key for each guess.
        for key in 0..TRIES_OF_ALL {
            let mut other = PublicKey([2; 32]);
            other.0[..4].copy_from_slice(&key.to_be_bytes());
            let guess = VoucherCode::generate().reveal();
            let _ = vouchers.redeem(&guess, PurchaseId([1; 16]), money("1 EUR"), other, 0, NOW);
        }
        let other = PublicKey([3; 32]);
        let refused = vouchers.redeem(&code, PurchaseId([1; 16]), money("1 EUR"), other, 0, NOW).unwrap_err();
        assert_eq!(refused.word, "voucher-locked");
    }

    #[test]
    fn out_of_date_is_out_of_date() {
        let (mut vouchers, code) = one();
        let refused =
            vouchers.redeem(&code, PurchaseId([1; 16]), money("1 EUR"), WHO, 1000, NOW).unwrap_err();
        assert_eq!(refused.word, "voucher-expired");
    }
}
