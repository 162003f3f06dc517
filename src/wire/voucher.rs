//! The code of a voucher: 20 letters and digits in four groups, the last two of which find what is mistyped.
//!
//! 90 random bits, of which only a hash is kept. The alphabet is that of claim tokens: nothing in it looks like something else.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::sign::random;
use crate::model::Secret;

const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const LETTERS: usize = 18;
const WHOLE: usize = LETTERS + 2;
/// A prime below 32²: a weighted sum modulo it finds every wrong letter and every two that were exchanged.
const PRIME: u32 = 1021;

/// A code.
#[derive(Clone, PartialEq, Eq)]
pub struct VoucherCode(Secret);

/// SHA-256 of a code; all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VoucherHash(pub [u8; 32]);

/// A text that is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCode {
    /// Another number of letters.
    #[error("a voucher's code has {WHOLE} letters and digits; this has {0}")]
    Length(usize),
    /// A letter that is in no code.
    #[error("{0:?} is in no voucher's code")]
    Letter(char),
    /// Its last two letters do not fit.
    #[error("the code is mistyped: its last two letters do not fit the others")]
    Checksum,
}

impl VoucherCode {
    /// A new one from the kernel's random source.
    pub fn generate() -> Self {
        let octets: [u8; LETTERS] = random();
        // 32 letters: five bits of each octet, none more likely than another.
        Self::of(&octets.map(|octet| octet % 32))
    }

    fn of(values: &[u8; LETTERS]) -> Self {
        let check = checksum(values);
        let last = [(check / 32) as u8, (check % 32) as u8];
        let letters = values.iter().chain(&last).map(|value| ALPHABET[usize::from(*value)] as char);
        Self(Secret::new(letters.collect::<String>()))
    }

    /// In four groups, for people.
    pub fn reveal(&self) -> String {
        let letters = self.0.expose();
        [&letters[..5], &letters[5..10], &letters[10..15], &letters[15..]].join("-")
    }

    /// What is kept of it.
    pub fn hash(&self) -> VoucherHash {
        let mut octets = [0; 32];
        let text = [b"wayleave voucher v1\0", self.0.expose().as_bytes()].concat();
        octets.copy_from_slice(digest(&SHA256, &text).as_ref());
        VoucherHash(octets)
    }
}

fn checksum(values: &[u8]) -> u32 {
    (1..).zip(values).map(|(weight, value)| weight * u32::from(*value)).sum::<u32>() % PRIME
}

impl FromStr for VoucherCode {
    type Err = NoCode;

    /// Capitals, blanks and hyphens do no harm.
    fn from_str(text: &str) -> Result<Self, NoCode> {
        let letters: Vec<char> =
            text.chars().filter(|char| !char.is_whitespace() && *char != '-').take(WHOLE + 1).collect();
        let value = |char: &char| {
            let lower = char.to_ascii_lowercase();
            let at = ALPHABET.iter().position(|letter| *letter as char == lower);
            at.and_then(|at| u8::try_from(at).ok()).ok_or(NoCode::Letter(*char))
        };
        let values = letters.iter().map(value).collect::<Result<Vec<u8>, _>>()?;
        let whole: [u8; WHOLE] = values.try_into().map_err(|_| NoCode::Length(letters.len()))?;
        let mut said = [0; LETTERS];
        said.copy_from_slice(&whole[..LETTERS]);
        let check = u32::from(whole[LETTERS]) * 32 + u32::from(whole[LETTERS + 1]);
        if check != checksum(&said) {
            return Err(NoCode::Checksum);
        }
        Ok(Self::of(&said))
    }
}

impl fmt::Debug for VoucherCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl fmt::Display for VoucherHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for VoucherHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for VoucherHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::model::bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for VoucherHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let octets = crate::model::bytes::deserialize(deserializer)?;
        octets.try_into().map(Self).map_err(|_| serde::de::Error::custom("a hash has 32 octets"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = VoucherCode::generate();
        let text = code.reveal();
        assert_eq!(text.len(), WHOLE + 3);
        for written in [text.clone(), text.replace('-', ""), text.to_uppercase(), text.replace('-', "  ")] {
            assert_eq!(written.parse::<VoucherCode>().unwrap().hash(), code.hash());
        }
        assert_ne!(VoucherCode::generate().hash(), code.hash());
        assert_eq!(format!("{code:?}"), "•••");
    }

    #[test]
    fn every_wrong_letter_and_every_exchange_is_found() {
        let code = VoucherCode::generate().reveal().replace('-', "");
        let letters: Vec<char> = code.chars().collect();
        let whole = |letters: &[char]| letters.iter().collect::<String>();
        for at in 0..letters.len() {
            for other in ALPHABET.iter().map(|letter| *letter as char).filter(|other| *other != letters[at]) {
                let mut wrong = letters.clone();
                wrong[at] = other;
                assert_eq!(whole(&wrong).parse::<VoucherCode>().unwrap_err(), NoCode::Checksum);
            }
            for with in (at + 1..LETTERS).filter(|with| letters[*with] != letters[at.min(LETTERS - 1)]) {
                let mut wrong = letters.clone();
                wrong.swap(at, with);
                assert_eq!(
                    whole(&wrong).parse::<VoucherCode>().unwrap_err(),
                    NoCode::Checksum,
                    "{at} {with}"
                );
            }
        }
        assert_eq!("".parse::<VoucherCode>().unwrap_err(), NoCode::Length(0));
        assert_eq!(code[1..].parse::<VoucherCode>().unwrap_err(), NoCode::Length(WHOLE - 1));
        assert_eq!(format!("{code}a").parse::<VoucherCode>().unwrap_err(), NoCode::Length(WHOLE + 1));
        assert_eq!(
            code.replacen(letters[0], "0", 1).parse::<VoucherCode>().unwrap_err(),
            NoCode::Letter('0')
        );
    }
}
