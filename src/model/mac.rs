//! Link-layer addresses: a station's [`MacAddr`] and an access point's [`Bssid`].

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// An EUI-48 address (IEEE 802-2014, 8.2), six octets in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

/// The MAC address of a BSS (IEEE 802.11-2020, 9.2.4.3.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Bssid(pub MacAddr);

/// A text that is not six octets in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a MAC address; write six octets as 02:00:5e:10:00:01")]
pub struct ParseMacError {
    found: String,
}

impl MacAddr {
    /// Whether a single station can own this address: neither a group address nor all zero.
    pub fn is_station(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }

    /// Whether the address was made up locally (U/L bit), as private addresses of phones are.
    pub fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ParseMacError;

    /// Accepts `02:00:5e:10:00:01` and `02-00-5E-10-00-01`; nothing shorter, nothing around it.
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        parse(text.as_bytes()).ok_or_else(|| ParseMacError { found: text.chars().take(64).collect() })
    }
}

fn parse(text: &[u8]) -> Option<MacAddr> {
    if text.len() != 17 {
        return None;
    }
    let separator = text[2];
    if separator != b':' && separator != b'-' {
        return None;
    }
    let mut octets = [0; 6];
    for (i, octet) in octets.iter_mut().enumerate() {
        if i > 0 && text[i * 3 - 1] != separator {
            return None;
        }
        *octet = hex_digit(text[i * 3])? << 4 | hex_digit(text[i * 3 + 1])?;
    }
    Some(MacAddr(octets))
}

pub(super) fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Text where people read it, six bytes on the wire.
impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MacVisitor;
        impl Visitor<'_> for MacVisitor {
            type Value = MacAddr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a MAC address such as 02:00:5e:10:00:01")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MacAddr, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<MacAddr, E> {
                <[u8; 6]>::try_from(bytes).map(MacAddr).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(MacVisitor)
        } else {
            deserializer.deserialize_bytes(MacVisitor)
        }
    }
}

impl fmt::Display for Bssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Bssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Bssid {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        text.parse().map(Bssid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_spellings_and_writes_one() {
        for text in ["02:00:5e:10:00:01", "02-00-5E-10-00-01"] {
            assert_eq!(text.parse::<MacAddr>().unwrap().to_string(), "02:00:5e:10:00:01");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:0g",
            "02:00-5e:10:00:01",
            "2:0:5e:10:0:1x12345",
            "02:00:5e:10:00:01\n",
            "+2:00:5e:10:00:01",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_group_address_is_no_station() {
        for text in ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
            assert!(!text.parse::<MacAddr>().unwrap().is_station(), "{text}");
        }
        assert!(MacAddr([2, 0, 0, 0, 0, 1]).is_station());
    }
}
