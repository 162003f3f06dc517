//! The name of a network as 802.11 has it: up to 32 octets, any octets.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

/// An SSID (IEEE 802.11-2020, 9.4.2.2): 0 to 32 octets without a character set.
///
/// `Display` escapes whatever could end a line, a field or a terminal's patience, so an SSID may be
/// logged and shown as it stands. [`Ssid::hex`] is the only form that may be handed to another program.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ssid(Vec<u8>);

/// More octets than an SSID can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an SSID has at most 32 octets, this one has {length}")]
pub struct SsidTooLong {
    /// Octets found.
    pub length: usize,
}

impl Ssid {
    /// Octets as they stand in a beacon.
    pub fn new(octets: impl Into<Vec<u8>>) -> Result<Self, SsidTooLong> {
        let octets = octets.into();
        match octets.len() {
            0..=32 => Ok(Self(octets)),
            length => Err(SsidTooLong { length }),
        }
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Lower-case hexadecimal, as hostapd's `ssid2=` and wpa_supplicant's unquoted `ssid` take it.
    pub fn hex(&self) -> String {
        self.0.iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

impl fmt::Display for Ssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                // Control characters, line and paragraph separators, bidirectional overrides.
                if char.is_control()
                    || matches!(char, '\\' | '|' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                {
                    write!(f, "{}", char.escape_unicode())?;
                } else {
                    write!(f, "{char}")?;
                }
            }
            for octet in chunk.invalid() {
                write!(f, "\\x{octet:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Ssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Text where people read it and it is text, bytes on the wire; `hex:…` for other octets.
impl Serialize for Ssid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.starts_with("hex:") => serializer.serialize_str(text),
            _ => serializer.serialize_str(&format!("hex:{}", self.hex())),
        }
    }
}

impl<'de> Deserialize<'de> for Ssid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SsidVisitor;
        impl<'de> Visitor<'de> for SsidVisitor {
            type Value = Ssid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an SSID of at most 32 octets, as text or as hex:…")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ssid, E> {
                let octets = match text.strip_prefix("hex:") {
                    Some(hex) => super::ids::unhex(hex)
                        .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?,
                    None => text.as_bytes().to_vec(),
                };
                Ssid::new(octets).map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Ssid, E> {
                Ssid::new(bytes).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ssid, A::Error> {
                let mut octets = Vec::new();
                while let Some(octet) = seq.next_element()? {
                    octets.push(octet);
                    if octets.len() > 32 {
                        return Err(de::Error::custom(SsidTooLong { length: octets.len() }));
                    }
                }
                Ok(Ssid(octets))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(SsidVisitor)
        } else {
            deserializer.deserialize_bytes(SsidVisitor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_cannot_end_a_line_or_a_field() {
        let ssid = Ssid::new(b"caf\xc3\xa9\n|\0\x1b[2J\xff\\".as_slice()).unwrap();
        assert_eq!(ssid.to_string(), "café\\u{a}\\u{7c}\\u{0}\\u{1b}[2J\\xff\\u{5c}");
        assert_eq!(ssid.hex(), "636166c3a90a7c001b5b324aff5c");
    }

    #[test]
    fn thirty_three_octets_are_one_too_many() {
        assert_eq!(Ssid::new(vec![b'a'; 33]), Err(SsidTooLong { length: 33 }));
    }

    #[test]
    fn text_and_octets_both_come_back() {
        for octets in [b"plain".as_slice(), b"\xff\x00", b"hex:41", b""] {
            let ssid = Ssid::new(octets).unwrap();
            let json = serde_json::to_string(&ssid).unwrap();
            assert_eq!(serde_json::from_str::<Ssid>(&json).unwrap(), ssid, "{json}");
        }
    }
}
