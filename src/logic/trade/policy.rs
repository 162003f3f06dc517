//! What an owner answers to a bid: an offer, a question to the owner, or no, with the numbers that decided it.

use crate::model::trade::{Answer, Cost, FeeOffer, Shop, TariffId};
use crate::model::{PublicKey, Refusal, ServiceId};
use crate::wire::trade::Bid;

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To be signed and sent.
    Offer(FeeOffer),
    /// The owner decides; this is what it would be.
    Ask(FeeOffer),
    /// No.
    Refuse(Refusal),
}

/// How many terminals hold grants under a tariff, and whether this one does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// All of them.
    pub present: u32,
    /// The one who asks is among them: a top-up takes no room.
    pub among_them: bool,
}

/// Answers a bid. `service` is who sells.
pub fn decide(
    shop: &Shop,
    bid: &Bid,
    service: ServiceId,
    load: impl Fn(&TariffId, &PublicKey) -> Load,
) -> Decision {
    let refuse = |word: &str, sentence: String| Decision::Refuse(Refusal::new(word, sentence));
    let Some(sale) = shop.sales.iter().find(|sale| sale.tariff.id == bid.tariff) else {
        let known: Vec<&str> = shop.sales.iter().map(|sale| sale.tariff.id.as_str()).collect();
        let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
        return refuse("unknown-tariff", format!("tariff {} is not sold here; {known} is", bid.tariff));
    };
    let Cost { price, allowance } = match sale.tariff.cost(&bid.want) {
        Ok(cost) => cost,
        Err(refused) => return refuse(refused.word(), refused.to_string()),
    };
    let load = load(&bid.tariff, &bid.terminal);
    if let Some(devices) = sale.tariff.limits.devices
        && !load.among_them
        && load.present >= devices
    {
        let sentence = format!("{} of {devices} devices have tariff {} now", load.present, bid.tariff);
        return refuse("tariff-full", sentence);
    }
    let offer = FeeOffer {
        price: price.filter(|price| !price.is_none()),
        valid: shop.valid,
        tariff: bid.tariff.clone(),
        service,
        purchase: bid.purchase,
        terminal: bid.terminal,
        allowance,
    };
    match sale.answer {
        Answer::Accept => Decision::Offer(offer),
        Answer::Ask => Decision::Ask(offer),
        Answer::Refuse => refuse("owner", format!("the owner sells nothing under tariff {} now", bid.tariff)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trade::{Limits, Pricing, Rounding, Sale, Tariff, Want};
    use crate::model::{Millis, PurchaseId};

    const SERVICE: ServiceId = ServiceId([1; 16]);

    fn shop(answer: Answer) -> Shop {
        let tariff = Tariff {
            id: "volume".parse().unwrap(),
            limits: Limits { devices: Some(2), bytes_most: Some(1000), ..Limits::default() },
            pricing: Pricing::PerBytes { bytes: 100, price: "1 EUR".parse().unwrap() },
            rounding: Rounding::Up,
        };
        Shop { sales: vec![Sale { tariff, answer }], valid: Millis(60_000) }
    }

    fn bid(tariff: &str, bytes: u64) -> Bid {
        Bid {
            want: Want { bytes: Some(bytes), ..Want::default() },
            tariff: tariff.parse().unwrap(),
            purchase: PurchaseId([2; 16]),
            terminal: PublicKey([3; 32]),
        }
    }

    #[test]
    fn each_answer_and_the_numbers_of_each_refusal() {
        let decide = |answer, bid, load: (u32, bool)| {
            super::decide(&shop(answer), &bid, SERVICE, loaded(load.0, load.1))
        };

        let Decision::Offer(offer) = decide(Answer::Accept, bid("volume", 150), (1, false)) else { panic!() };
        assert_eq!(offer.price.unwrap().to_string(), "1.50 EUR");
        assert_eq!((offer.allowance.bytes, offer.valid), (Some(150), Millis(60_000)));
        assert!(
            matches!(decide(Answer::Ask, bid("volume", 150), (1, false)), Decision::Ask(asked) if asked == offer)
        );
        // A top-up takes no room.
        assert!(matches!(decide(Answer::Accept, bid("volume", 150), (2, true)), Decision::Offer(_)));
        for (answer, bid, load, word, sentence) in [
            (Answer::Refuse, bid("volume", 1), (0, false), "owner", "sells nothing under tariff volume"),
            (Answer::Accept, bid("other", 1), (0, false), "unknown-tariff", "volume is"),
            (Answer::Accept, bid("volume", 1), (2, false), "tariff-full", "2 of 2 devices"),
            (Answer::Accept, bid("volume", 1001), (0, false), "tariff-amount", "1001 bytes wanted"),
        ] {
            let Decision::Refuse(refusal) = decide(answer, bid, load) else { panic!("{word}") };
            assert_eq!(refusal.word, word);
            assert!(refusal.sentence.contains(sentence), "{refusal:?}");
        }
    }

    fn loaded(present: u32, among_them: bool) -> impl Fn(&TariffId, &PublicKey) -> Load {
        move |_, _| Load { present, among_them }
    }
}
