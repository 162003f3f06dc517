//! `[trade]` and `[[tariff]]` of `gateway.toml`: what the owner sells, and how requests are answered.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::duration::Span;
use super::error::ConfigError;
use crate::model::Millis;
use crate::model::trade::{
    Answer, Limits, MOST_VALID, Money, Pricing, Rounding, Sale, Shop, Tariff, TariffId,
};
use crate::wire::trade::MOST_TARIFFS;

/// How long offers stand unless the file says otherwise.
const VALID: Duration = Duration::from_secs(900);

const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];
const RATES: [(&str, u64); 3] = [("kbit", 1000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000)];

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TradeFragment {
    answer: Option<Answer>,
    offer_valid: Option<Span>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TariffFragment {
    id: String,
    price: Option<String>,
    per: Option<String>,
    slice: Option<SliceFragment>,
    rounding: Option<Rounding>,
    answer: Option<Answer>,
    devices: Option<u32>,
    up: Option<String>,
    down: Option<String>,
    bytes_least: Option<String>,
    bytes_most: Option<String>,
    time_most: Option<Span>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct SliceFragment {
    bytes: Option<String>,
    time: Option<Span>,
}

/// What the owner sells, checked. `wrong` makes an error of a key, what was found and what is allowed.
pub(super) fn check(
    trade: TradeFragment,
    tariffs: Vec<TariffFragment>,
    wrong: &impl Fn(&str, &str, &str) -> ConfigError,
) -> Result<Shop, ConfigError> {
    let valid = trade.offer_valid.map_or(VALID, |span| span.0);
    if !(Duration::from_secs(10)..=MOST_VALID).contains(&valid) {
        let found = format!("\"{}\"", Span(valid));
        return Err(wrong("trade.offer_valid", &found, "\"10s\" to \"1d\""));
    }
    if tariffs.len() > MOST_TARIFFS {
        let allowed = format!("{MOST_TARIFFS} at most");
        return Err(wrong("tariff", &tariffs.len().to_string(), &allowed));
    }
    let mut ids = BTreeSet::new();
    let mut sales = Vec::new();
    for (number, fragment) in tariffs.into_iter().enumerate() {
        let wrong = |field: &str, found: &str, allowed: &str| {
            wrong(&format!("tariff.{number}.{field}"), &format!("{found:?}"), allowed)
        };
        let answer = fragment.answer.or(trade.answer).unwrap_or_default();
        let tariff = tariff(fragment, &wrong)?;
        if !ids.insert(tariff.id.clone()) {
            return Err(wrong("id", tariff.id.as_str(), "a name that no other tariff has"));
        }
        sales.push(Sale { tariff, answer });
    }
    Ok(Shop { sales, valid: valid.into() })
}

fn tariff(
    fragment: TariffFragment,
    wrong: &impl Fn(&str, &str, &str) -> ConfigError,
) -> Result<Tariff, ConfigError> {
    let id: TariffId = fragment.id.parse().map_err(|allowed| wrong("id", &fragment.id, allowed))?;
    let size = |field: &str, text: &str| {
        amount(text, &SIZES).ok_or_else(|| wrong(field, text, "a size such as \"500MB\" or \"2GiB\""))
    };
    let rate = |field: &str, text: &Option<String>| {
        let allowed = "a rate such as \"512kbit\" or \"20Mbit\"";
        let rate = |text: &String| amount(text, &RATES).ok_or_else(|| wrong(field, text, allowed));
        text.as_ref().map(rate).transpose()
    };
    let money = |text: &str| match text.parse::<Money>() {
        Ok(price) if !price.is_none() => Ok(price),
        Ok(_) => Err(wrong("price", text, "more than nothing; without price, per and slice it is free")),
        Err(error) => Err(wrong("price", text, &error.to_string())),
    };
    let price = fragment.price.as_deref().map(money).transpose()?;
    let pricing = match (price, &fragment.per, fragment.slice) {
        (None, None, None) => Pricing::Free,
        (Some(price), Some(per), None) => match (Span::parse(per), amount(per, &SIZES)) {
            (Some(time), _) if !time.0.is_zero() => Pricing::PerTime { time: time.0.into(), price },
            (_, Some(bytes)) => Pricing::PerBytes { bytes, price },
            _ => return Err(wrong("per", per, "a size such as \"1GB\", or a time such as \"1h\"")),
        },
        (Some(price), None, Some(slice)) => {
            let time = slice.time.map(|span| Millis::from(span.0)).filter(|time| time.0 > 0);
            let bytes = slice.bytes.as_deref().map(|text| size("slice.bytes", text)).transpose()?;
            if time.is_none() && bytes.is_none() {
                return Err(wrong("slice", "nothing", "bytes, time or both"));
            }
            Pricing::PerSlice { time, bytes, price }
        }
        (Some(price), None, None) => {
            return Err(wrong("price", &price.to_string(), "with per = \"1GB\" or \"1h\", or with a slice"));
        }
        (Some(_), Some(per), Some(_)) => return Err(wrong("per", per, "either per or slice")),
        (None, ..) => return Err(wrong("price", "nothing", "a price such as \"1.50 EUR\"")),
    };
    let limits = Limits {
        up_bps: rate("up", &fragment.up)?,
        devices: fragment.devices,
        down_bps: rate("down", &fragment.down)?,
        time_most: fragment.time_most.map(|span| span.0.into()),
        bytes_most: fragment.bytes_most.as_deref().map(|text| size("bytes_most", text)).transpose()?,
        bytes_least: fragment.bytes_least.as_deref().map(|text| size("bytes_least", text)).transpose()?,
    };
    if limits.devices == Some(0) {
        return Err(wrong("devices", "0", "1 at least"));
    }
    if limits.bytes_least > limits.bytes_most.or(Some(u64::MAX)) {
        let found = fragment.bytes_least.as_deref().unwrap_or_default();
        return Err(wrong("bytes_least", found, "no more than bytes_most"));
    }
    if pricing == Pricing::Free && limits.time_most.is_none() && limits.bytes_most.is_none() {
        let allowed = "for a free tariff a size or time_most, which is what one request gets";
        return Err(wrong("bytes_most", "nothing", allowed));
    }
    Ok(Tariff { id, limits, pricing, rounding: fragment.rounding.unwrap_or_default() })
}

/// A whole number above 0, and a unit.
fn amount(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|char: char| !char.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, unit) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*unit).filter(|amount| *amount > 0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::gateway::Settings;

    fn shop(text: &str) -> Result<Settings, String> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), format!("[[network]]\ninterface = \"br0\"\n{text}")).unwrap();
        let path: &Path = file.path();
        super::super::gateway::load(path).map_err(|error| error.to_string())
    }

    #[test]
    fn every_kind_of_tariff_is_read() {
        let text = "
[trade]
answer = \"ask\"
offer_valid = \"5m\"
[[tariff]]
id = \"hour\"
price = \"0.50 EUR\"
per = \"1h\"
[[tariff]]
id = \"volume\"
price = \"1.00 EUR\"
per = \"1GB\"
answer = \"accept\"
bytes_least = \"10MB\"
bytes_most = \"20GB\"
devices = 3
up = \"1Mbit\"
down = \"20Mbit\"
[[tariff]]
id = \"day\"
price = \"300 JPY\"
slice = { bytes = \"500MB\", time = \"1d\" }
[[tariff]]
id = \"taste\"
bytes_most = \"50MB\"
";
        let shop = shop(text).unwrap().shop;
        let shown: Vec<String> = shop
            .sales
            .iter()
            .map(|sale| format!("{} {:?} {:?}", sale.tariff.id, sale.answer, sale.tariff.pricing))
            .collect();
        assert_eq!(
            shown,
            [
                "hour Ask PerTime { time: Millis(3600000), price: Money { minor: 50, currency: EUR } }",
                "volume Accept PerBytes { bytes: 1000000000, price: Money { minor: 100, currency: EUR } }",
                "day Ask PerSlice { time: Some(Millis(86400000)), bytes: Some(500000000), \
                 price: Money { minor: 300, currency: JPY } }",
                "taste Ask Free",
            ]
        );
        let limits = shop.sales[1].tariff.limits;
        assert_eq!(
            (limits.up_bps, limits.down_bps, limits.devices),
            (Some(1_000_000), Some(20_000_000), Some(3))
        );
    }

    #[test]
    fn every_error_says_where_what_and_what_instead() {
        let tariff = |more: &str| format!("[[tariff]]\nid = \"x\"\n{more}");
        for (text, expected) in [
            (tariff("price = \"1.5 JPY\"\nper = \"1h\""), ":5: tariff.0.price: found \"1.5 JPY\"; allowed:"),
            (tariff("price = \"1 EUR\"\nper = \"1x\""), "tariff.0.per: found \"1x\"; allowed: a size"),
            (tariff("price = \"1 EUR\""), "tariff.0.price: found \"1.00 EUR\"; allowed: with per"),
            (tariff("per = \"1h\""), "tariff.0.price: found \"nothing\"; allowed: a price"),
            (tariff("price = \"0 EUR\"\nper = \"1h\""), "allowed: more than nothing"),
            (tariff(""), "tariff.0.bytes_most: found \"nothing\"; allowed: for a free tariff"),
            (tariff("price = \"1 EUR\"\nslice = {}"), "tariff.0.slice: found \"nothing\"; allowed: bytes"),
            (tariff("bytes_most = \"1MB\"\ndown = \"1MB\""), "tariff.0.down: found \"1MB\"; allowed: a rate"),
            (tariff("bytes_most = \"1MB\"\nbytes_least = \"2MB\""), "allowed: no more than bytes_most"),
            (tariff("bytes_most = \"1MB\"\ndevices = 0"), "tariff.0.devices: found \"0\"; allowed: 1"),
            (
                tariff("bytes_most = \"1MB\"\n[[tariff]]\nid = \"x\"\nbytes_most = \"1MB\""),
                "no other tariff has",
            ),
            ("[[tariff]]\nid = \"X\"".to_owned(), "tariff.0.id: found \"X\"; allowed: a tariff's name"),
            ("[trade]\noffer_valid = \"1s\"".to_owned(), "trade.offer_valid: found \"1s\"; allowed: \"10s\""),
            ("[trade]\nanswer = \"yes\"".to_owned(), "trade.answer: found"),
        ] {
            let error = shop(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
