//! What a visitor can choose from: a few amounts of each tariff, with their prices. Pure.

use crate::model::Millis;
use crate::model::trade::{Answer, Cost, Money, Pricing, Shop, TariffId, Want};

/// Amounts shown of one tariff.
const MOST: usize = 5;
/// So many times the unit of the price.
const TIMES: [u64; 9] = [1, 2, 3, 5, 10, 20, 24, 50, 100];

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Of which tariff.
    pub tariff: TariffId,
    /// How much.
    pub want: Want,
    /// What it costs and what is had for it.
    pub cost: Cost,
}

/// All of them, as the owner lists the tariffs. What the owner is to be asked about has no way to be answered here.
pub(super) fn of(shop: &Shop) -> Vec<Choice> {
    let sold = shop.sales.iter().filter(|sale| sale.answer == Answer::Accept).map(|sale| &sale.tariff);
    sold.flat_map(|tariff| {
        let wants = wants(tariff.pricing, tariff.limits.bytes_least);
        let choices = wants.into_iter().filter_map(|want| {
            let cost = tariff.cost(&want).ok()?;
            Some(Choice { tariff: tariff.id.clone(), want, cost })
        });
        choices.take(MOST).collect::<Vec<_>>()
    })
    .collect()
}

fn wants(pricing: Pricing, least: Option<u64>) -> Vec<Want> {
    let none = Want::default();
    match pricing {
        Pricing::Free => vec![none],
        Pricing::PerSlice { .. } => {
            let slices = TIMES.iter().filter_map(|times| u32::try_from(*times).ok());
            slices.map(|slices| Want { slices: Some(slices), ..none }).collect()
        }
        Pricing::PerBytes { bytes, .. } => {
            let amounts = TIMES.iter().map(|times| bytes.saturating_mul(*times));
            let mut amounts: Vec<u64> = least.into_iter().chain(amounts).collect();
            amounts.sort_unstable();
            amounts.dedup();
            amounts.into_iter().map(|bytes| Want { bytes: Some(bytes), ..none }).collect()
        }
        Pricing::PerTime { time, .. } => {
            let times = TIMES.iter().map(|times| Millis(time.0.saturating_mul(*times)));
            times.map(|time| Want { time: Some(time), ..none }).collect()
        }
    }
}

impl Choice {
    /// What is asked; `None`: nothing.
    pub fn price(&self) -> Option<Money> {
        self.cost.price.filter(|price| !price.is_none())
    }

    /// As the form names it, with the price that was shown.
    pub fn value(&self) -> String {
        let Want { bytes, time, slices } = self.want;
        let of = |unit, amount: Option<u64>| amount.map(|amount| format!("{unit}{amount}"));
        let want = [of("b", bytes), of("t", time.map(|time| time.0)), of("s", slices.map(u64::from))];
        let want: String = want.into_iter().flatten().collect();
        format!("{}:{want}:{}", self.tariff, self.price().map_or(0, |price| price.minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trade::{Limits, Rounding, Sale, Tariff};

    fn shop(pricing: Pricing, limits: Limits, answer: Answer) -> Shop {
        let tariff = Tariff { id: "x".parse().unwrap(), limits, pricing, rounding: Rounding::Up };
        Shop { sales: vec![Sale { tariff, answer }], valid: Millis(60_000) }
    }

    #[test]
    fn amounts_are_within_the_bounds_and_few() {
        let price: Money = "1 EUR".parse().unwrap();
        let limits = Limits { bytes_least: Some(500), bytes_most: Some(3000), ..Limits::default() };
        let per_bytes = Pricing::PerBytes { bytes: 1000, price };
        let values = |shop: &Shop| of(shop).iter().map(Choice::value).collect::<Vec<_>>();
        let found = values(&shop(per_bytes, limits, Answer::Accept));
        assert_eq!(found, ["x:b500:50", "x:b1000:100", "x:b2000:200", "x:b3000:300"]);
        let slice = Pricing::PerSlice { time: Some(Millis(1000)), bytes: None, price };
        let found = values(&shop(slice, Limits::default(), Answer::Accept));
        assert_eq!(found, ["x:s1:100", "x:s2:200", "x:s3:300", "x:s5:500", "x:s10:1000"]);
        let time = Pricing::PerTime { time: Millis(1000), price };
        assert_eq!(values(&shop(time, Limits::default(), Answer::Accept))[0], "x:t1000:100");
        assert_eq!(values(&shop(Pricing::Free, limits, Answer::Accept)), ["x::0"]);
        for answer in [Answer::Ask, Answer::Refuse] {
            assert!(values(&shop(time, limits, answer)).is_empty());
        }
    }
}
