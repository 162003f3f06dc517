//! Tariffs: what an owner asks for which amount, and the price of a request.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::{Allowance, Money, MoneyError, Rounding, Want};
use crate::model::Millis;

/// A tariff's name: 1 to 32 of `a` to `z`, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TariffId(String);

/// What an owner asks. Fields in the order deterministic CBOR asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tariff {
    /// Its name.
    pub id: TariffId,
    /// Within which bounds it is sold.
    pub limits: Limits,
    /// How the price is made.
    pub pricing: Pricing,
    /// What becomes of a part of a minor unit.
    pub rounding: Rounding,
}

/// How a price is made of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pricing {
    /// It is not.
    Free,
    /// In proportion to layer-3 bytes, both directions together.
    PerBytes {
        /// For `price`.
        bytes: u64,
        /// Of `bytes`.
        price: Money,
    },
    /// In proportion to time.
    PerTime {
        /// For `price`.
        time: Millis,
        /// Of `time`.
        price: Money,
    },
    /// Whole slices only; each has so many bytes, so much time, or both.
    PerSlice {
        /// Of one slice; absent: without limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time: Option<Millis>,
        /// Of one slice; absent: without limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// Of one slice.
        price: Money,
    },
}

/// Within which bounds a tariff is sold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most bits a second from the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_bps: Option<u64>,
    /// Grants at once under this tariff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<u32>,
    /// Most bits a second to the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_bps: Option<u64>,
    /// Most time of one purchase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_most: Option<Millis>,
    /// Most bytes of one purchase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_most: Option<u64>,
    /// Fewest bytes of one purchase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_least: Option<u64>,
}

/// What a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// `None`: nothing is asked.
    pub price: Option<Money>,
    /// What is had for it.
    pub allowance: Allowance,
}

/// Why a tariff does not sell what is wanted; carries the numbers that decided it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TariffRefusal {
    /// The request names what the tariff does not sell.
    #[error("tariff {tariff} is sold by {sold}; give {sold} and nothing else")]
    Unit {
        /// The tariff.
        tariff: TariffId,
        /// `bytes`, `time` or `slices`.
        sold: &'static str,
    },
    /// Out of its bounds.
    #[error("{wanted} {unit} wanted; tariff {tariff} sells {least} to {most}")]
    Amount {
        /// The tariff.
        tariff: TariffId,
        /// What was wanted.
        wanted: u64,
        /// `bytes` or `milliseconds`.
        unit: &'static str,
        /// Fewest.
        least: u64,
        /// Most.
        most: u64,
    },
    /// More money than can be counted.
    #[error("the price: {0}")]
    Price(#[from] MoneyError),
}

impl TariffRefusal {
    /// The stable word.
    pub fn word(&self) -> &'static str {
        match self {
            TariffRefusal::Unit { .. } => "tariff-unit",
            TariffRefusal::Amount { .. } => "tariff-amount",
            TariffRefusal::Price(_) => "tariff-price",
        }
    }
}

impl Tariff {
    /// What is asked for what is wanted.
    pub fn cost(&self, want: &Want) -> Result<Cost, TariffRefusal> {
        let unit = |sold| TariffRefusal::Unit { tariff: self.id.clone(), sold };
        let cost = match self.pricing {
            Pricing::Free => match *want {
                Want { bytes, time, slices: None } => {
                    Cost { price: None, allowance: Allowance { time, bytes } }
                }
                Want { slices: Some(_), .. } => return Err(unit("bytes or time")),
            },
            Pricing::PerBytes { bytes: per, price } => match *want {
                Want { bytes: Some(bytes), time: None, slices: None } => {
                    let price = price.share(bytes, per, self.rounding)?;
                    Cost { price: Some(price), allowance: Allowance { time: None, bytes: Some(bytes) } }
                }
                _ => return Err(unit("bytes")),
            },
            Pricing::PerTime { time: per, price } => match *want {
                Want { time: Some(time), bytes: None, slices: None } => {
                    let price = price.share(time.0, per.0, self.rounding)?;
                    Cost { price: Some(price), allowance: Allowance { time: Some(time), bytes: None } }
                }
                _ => return Err(unit("time")),
            },
            Pricing::PerSlice { time, bytes, price } => match *want {
                Want { slices: Some(slices), bytes: None, time: None } => {
                    let many = u64::from(slices);
                    let times = |amount: u64| amount.checked_mul(many).ok_or(MoneyError::Range);
                    let allowance = Allowance {
                        time: time.map(|time| times(time.0).map(Millis)).transpose()?,
                        bytes: bytes.map(times).transpose()?,
                    };
                    // Of none there is nothing to have.
                    self.within("slices", many, Some(1), None)?;
                    Cost { price: Some(price.share(many, 1, self.rounding)?), allowance }
                }
                _ => return Err(unit("slices")),
            },
        };
        self.bound(cost)
    }

    /// Without a limit that the tariff has there is nothing for free.
    fn bound(&self, mut cost: Cost) -> Result<Cost, TariffRefusal> {
        let limits = self.limits;
        if self.pricing == Pricing::Free {
            cost.allowance.bytes = cost.allowance.bytes.or(limits.bytes_most);
            cost.allowance.time = cost.allowance.time.or(limits.time_most);
        }
        if let Some(bytes) = cost.allowance.bytes {
            self.within("bytes", bytes, limits.bytes_least.or(Some(1)), limits.bytes_most)?;
        }
        if let Some(time) = cost.allowance.time {
            self.within("milliseconds", time.0, Some(1), limits.time_most.map(|most| most.0))?;
        }
        Ok(cost)
    }

    fn within(
        &self,
        unit: &'static str,
        wanted: u64,
        least: Option<u64>,
        most: Option<u64>,
    ) -> Result<(), TariffRefusal> {
        let (least, most) = (least.unwrap_or(0), most.unwrap_or(u64::MAX));
        if (least..=most).contains(&wanted) {
            return Ok(());
        }
        Err(TariffRefusal::Amount { tariff: self.id.clone(), wanted, unit, least, most })
    }
}

impl TariffId {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TariffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TariffId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        match (1..=32).contains(&text.len()) && text.bytes().all(fits) {
            true => Ok(Self(text.to_owned())),
            false => Err("a tariff's name has 1 to 32 of a to z, digits and hyphens"),
        }
    }
}

impl<'de> Deserialize<'de> for TariffId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tariff(pricing: Pricing, limits: Limits) -> Tariff {
        Tariff { id: "day".parse().unwrap(), limits, pricing, rounding: Rounding::Up }
    }

    fn price(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn each_kind_has_its_price_and_its_unit() {
        let by_bytes = Pricing::PerBytes { bytes: 1_000_000_000, price: price("1 EUR") };
        let by_time = Pricing::PerTime { time: Millis(3_600_000), price: price("0.50 EUR") };
        let by_slice =
            Pricing::PerSlice { time: Some(Millis(1000)), bytes: Some(500), price: price("0.10 EUR") };
        let bytes = |bytes| Want { bytes: Some(bytes), ..Want::default() };
        let time = |time| Want { time: Some(Millis(time)), ..Want::default() };
        let slices = |slices| Want { slices: Some(slices), ..Want::default() };
        for (pricing, want, minor) in [
            (by_bytes, bytes(1_000_000_000), 100),
            (by_bytes, bytes(1_000_000_001), 101),
            (by_bytes, bytes(1), 1),
            (by_time, time(3_600_000), 50),
            (by_time, time(1), 1),
            (by_slice, slices(3), 30),
        ] {
            let cost = tariff(pricing, Limits::default()).cost(&want).unwrap();
            assert_eq!(cost.price.unwrap().minor, minor, "{pricing:?} {want:?}");
        }
        let three = tariff(by_slice, Limits::default()).cost(&slices(3)).unwrap().allowance;
        assert_eq!(three, Allowance { time: Some(Millis(3000)), bytes: Some(1500) });
        for (pricing, want) in
            [(by_bytes, time(1)), (by_time, bytes(1)), (by_slice, bytes(1)), (by_bytes, slices(1))]
        {
            let refused = tariff(pricing, Limits::default()).cost(&want).unwrap_err();
            assert_eq!(refused.word(), "tariff-unit");
        }
        let refused = tariff(by_slice, Limits::default()).cost(&slices(0)).unwrap_err();
        assert_eq!(refused.word(), "tariff-amount");
        let refused = tariff(by_bytes, Limits::default()).cost(&bytes(0)).unwrap_err();
        assert_eq!(refused.word(), "tariff-amount");
    }

    #[test]
    fn bounds_are_kept_and_told() {
        let limits = Limits { bytes_least: Some(10), bytes_most: Some(100), ..Limits::default() };
        let sold = tariff(Pricing::PerBytes { bytes: 1, price: price("1 JPY") }, limits);
        for (bytes, fits) in [(9, false), (10, true), (100, true), (101, false)] {
            let cost = sold.cost(&Want { bytes: Some(bytes), ..Want::default() });
            assert_eq!(cost.is_ok(), fits, "{bytes}");
            if let Err(refused) = cost {
                let said = format!("{bytes} bytes wanted; tariff day sells 10 to 100");
                assert_eq!(refused.to_string(), said);
            }
        }
        let free = tariff(Pricing::Free, limits);
        let cost = free.cost(&Want::default()).unwrap();
        assert_eq!((cost.price, cost.allowance.bytes), (None, Some(100)), "as much as there is, and no more");
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "day-1", "0"] {
            assert!(good.parse::<TariffId>().is_ok(), "{good}");
        }
        for bad in ["", "A", "a b", "ä", &"a".repeat(33)] {
            assert!(bad.parse::<TariffId>().is_err(), "{bad}");
        }
    }
}
