//! Money: whole minor units of one currency (ISO 4217). Nothing is a fraction, nothing wraps, nothing mixes.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// Currencies with two digits behind the point (ISO 4217, list one).
const TWO: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP \
CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD \
KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK \
NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS \
TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";
/// Those with none.
const NONE: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
/// Those with three.
const THREE: &str = "BHD IQD JOD KWD LYD OMR TND";

/// A currency that ISO 4217 lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// An amount: minor units of a currency, such as cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units.
    pub minor: u64,
    /// Of this currency.
    pub currency: Currency,
}

/// What becomes of a part of a minor unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// It counts as a whole one.
    #[default]
    Up,
    /// It is not charged.
    Down,
    /// Half a unit and more counts as a whole one.
    Nearest,
}

/// Why there is no such amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three letters of ISO 4217.
    #[error("{0:?} is no currency: three capital letters of ISO 4217 are")]
    Currency(String),
    /// No number, or more digits than the currency has.
    #[error("{found:?} is no amount: write it as \"1.50 EUR\", with no more digits than the currency has")]
    Amount {
        /// What was given.
        found: String,
    },
    /// Two currencies.
    #[error("{0} and {1} are two currencies")]
    Mixed(Currency, Currency),
    /// More than can be counted, or less than nothing.
    #[error("the amount is out of range")]
    Range,
}

impl Currency {
    /// How many digits stand behind the point.
    pub fn digits(self) -> u32 {
        let code = self.code();
        let lists = |list: &str| list.split(' ').any(|listed| listed == code);
        match (lists(NONE), lists(THREE)) {
            (true, _) => 0,
            (_, true) => 3,
            (false, false) => 2,
        }
    }

    /// Its three letters.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let known = [TWO, NONE, THREE].iter().any(|list| list.split(' ').any(|listed| listed == text));
        let unknown = || MoneyError::Currency(text.chars().take(16).collect());
        let octets: [u8; 3] = text.as_bytes().try_into().map_err(|_| unknown())?;
        known.then_some(Self(octets)).ok_or_else(unknown)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Money {
    /// So many minor units.
    pub fn new(minor: u64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing.
    pub fn none(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// Whether it is nothing.
    pub fn is_none(&self) -> bool {
        self.minor == 0
    }

    /// Both together.
    pub fn plus(self, other: Money) -> Result<Money, MoneyError> {
        self.same(other)?;
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Range)?;
        Ok(Money { minor, ..self })
    }

    /// What is left without the other; never less than nothing.
    pub fn minus(self, other: Money) -> Result<Money, MoneyError> {
        self.same(other)?;
        let minor = self.minor.checked_sub(other.minor).ok_or(MoneyError::Range)?;
        Ok(Money { minor, ..self })
    }

    /// `amount / per` of it, in whole minor units.
    pub fn share(self, amount: u64, per: u64, rounding: Rounding) -> Result<Money, MoneyError> {
        // The product of two u64 and half a u64 more fit into a u128.
        let product = u128::from(self.minor) * u128::from(amount);
        let per = u128::from(per);
        if per == 0 {
            return Err(MoneyError::Range);
        }
        let minor = match rounding {
            Rounding::Up => product.div_ceil(per),
            Rounding::Down => product / per,
            Rounding::Nearest => (product + per / 2) / per,
        };
        let minor = u64::try_from(minor).map_err(|_| MoneyError::Range)?;
        Ok(Money { minor, ..self })
    }

    fn same(self, other: Money) -> Result<(), MoneyError> {
        match self.currency == other.currency {
            true => Ok(()),
            false => Err(MoneyError::Mixed(self.currency, other.currency)),
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.currency.digits();
        let unit = 10_u64.pow(digits);
        match digits {
            0 => write!(f, "{} {}", self.minor, self.currency),
            _ => {
                let (whole, part) = (self.minor / unit, self.minor % unit);
                write!(f, "{whole}.{part:0width$} {}", self.currency, width = digits as usize)
            }
        }
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let wrong = || MoneyError::Amount { found: text.chars().take(40).collect() };
        let (number, code) = text.rsplit_once(' ').ok_or_else(wrong)?;
        let currency: Currency = code.parse()?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = currency.digits() as usize;
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let point_alone = number.ends_with('.') || whole.is_empty();
        if point_alone || part.len() > digits || !all_digits(whole) || !all_digits(part) {
            return Err(wrong());
        }
        let minor = format!("{whole}{part:0<digits$}").parse().map_err(|_| MoneyError::Range)?;
        Ok(Self { minor, currency })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        for (text, minor, digits) in
            [("1.50 EUR", 150, 2), ("0.05 USD", 5, 2), ("300 JPY", 300, 0), ("1.005 KWD", 1005, 3)]
        {
            let money = money(text);
            assert_eq!(
                (money.minor, money.currency.digits(), money.to_string()),
                (minor, digits, text.into())
            );
        }
        assert_eq!(money("2 EUR"), money("2.00 EUR"));
        assert_eq!(money("2.5 EUR").minor, 250);
        for text in ["", "1.50", "1.505 EUR", "1.5 JPY", "-1 EUR", "1. EUR", ".5 EUR", "1,5 EUR", "+1 EUR"] {
            assert!(matches!(text.parse::<Money>(), Err(MoneyError::Amount { .. })), "{text}");
        }
        for text in ["1 eur", "1 EUX", "1 ", "1 EURO"] {
            assert!(matches!(text.parse::<Money>(), Err(MoneyError::Currency(_))), "{text}");
        }
        assert_eq!("99999999999999999999 EUR".parse::<Money>(), Err(MoneyError::Range));
    }

    #[test]
    fn nothing_mixes_wraps_or_goes_below_nothing() {
        assert_eq!(money("1 EUR").plus(money("2.01 EUR")), Ok(money("3.01 EUR")));
        assert_eq!(money("1 EUR").minus(money("1 EUR")), Ok(money("0 EUR")));
        assert_eq!(money("1 EUR").minus(money("1.01 EUR")), Err(MoneyError::Range));
        assert!(matches!(money("1 EUR").plus(money("1 USD")), Err(MoneyError::Mixed(..))));
        let most = Money { minor: u64::MAX, ..money("1 EUR") };
        assert_eq!(most.plus(money("0.01 EUR")), Err(MoneyError::Range));
        assert_eq!(most.share(u64::MAX, 1, Rounding::Up), Err(MoneyError::Range));
        assert_eq!(most.share(u64::MAX, u64::MAX, Rounding::Nearest), Ok(most));
        assert_eq!(most.share(1, 0, Rounding::Up), Err(MoneyError::Range));
    }

    #[test]
    fn rounding_is_what_was_asked_for() {
        for (amount, up, down, nearest) in
            [(0, 0, 0, 0), (1, 1, 0, 0), (5, 1, 0, 1), (10, 1, 1, 1), (11, 2, 1, 1)]
        {
            let share = |rounding| money("0.01 EUR").share(amount, 10, rounding).unwrap().minor;
            let rounded = (share(Rounding::Up), share(Rounding::Down), share(Rounding::Nearest));
            assert_eq!(rounded, (up, down, nearest), "{amount}");
        }
    }
}
