//! Identifiers. Each is its own type, written in lower-case hexadecimal.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use super::mac::hex_digit;

/// A text that is not an identifier of the length wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {what}: {digits} hexadecimal digits are")]
pub struct ParseIdError {
    found: String,
    what: &'static str,
    digits: usize,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $octets:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $octets]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                unhex(text).and_then(|octets| octets.try_into().ok()).map(Self).ok_or_else(|| ParseIdError {
                    found: text.chars().take(80).collect(),
                    what: $what,
                    digits: 2 * $octets,
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct IdVisitor;
                impl Visitor<'_> for IdVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{} of {} octets", $what, $octets)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        bytes.try_into().map($name).map_err(|_| E::invalid_length(bytes.len(), &self))
                    }
                }
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(IdVisitor)
                } else {
                    deserializer.deserialize_bytes(IdVisitor)
                }
            }
        }
    };
}

identifier!(
    /// A grant: one terminal's right on one gateway.
    GrantId, 16, "a grant id"
);
identifier!(
    /// What hostapd calls a grant that came with a code (`keyid`): the first twelve octets of its id.
    ///
    /// hostapd 2.10 keeps 31 characters of a `keyid` and reads lines of 127 (`hostapd_config_read_wpa_psk()`): a
    /// whole id would be cut short, and a shorter one leaves room for `vlanid=4094`.
    KeyId, 12, "a key id"
);
identifier!(
    /// A session: a terminal's presence under a grant, for as long as the coordinator follows it.
    SessionId, 16, "a session id"
);
identifier!(
    /// A message that people are told; made at random.
    MessageId, 16, "a message id"
);
identifier!(
    /// A purchase; made at random by whoever sells, and the key under which everything about it counts once.
    PurchaseId, 16, "a purchase id"
);
identifier!(
    /// What a gateway is called on the air and in heartbeats: the first 16 octets of SHA-256 over its key.
    ServiceId, 16, "a service id"
);
identifier!(
    /// One run of a program; made at random at every start, so that nothing signed for another run counts.
    BootId, 16, "a boot id"
);

identifier!(
    /// What a region's directory holds: the first 16 octets of SHA-256 over its entries. Equal versions, equal
    /// directories, whoever made them.
    DirectoryVersion, 16, "a version of a directory"
);

identifier!(
    /// One run of a gateway as its beacons name it; made at random at its start.
    BeaconEpoch, 8, "an epoch of beacons"
);

identifier!(
    /// An Ed25519 public key (RFC 8032); the identity of a gateway, a terminal or a coordinator. Private keys
    /// live in `wire::sign`.
    PublicKey, 32, "a public key"
);
identifier!(
    /// An Ed25519 signature.
    Signature, 64, "a signature"
);
identifier!(
    /// A digest over grants: the same on both sides if and only if they want the same.
    GrantsDigest, 16, "a digest of grants"
);

impl GrantId {
    /// What hostapd calls it.
    pub fn key_id(self) -> KeyId {
        let mut octets = [0; 12];
        octets.copy_from_slice(&self.0[..12]);
        KeyId(octets)
    }
}

/// Which join of a session: 1 for the first. A notice for a lower one is late and is ignored.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u32);

impl Incarnation {
    /// The join after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Octets from pairs of hexadecimal digits; `None` for any other text.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_and_other_text_is_refused() {
        let id = GrantId([0xa5; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "a5", "zz", &"a5".repeat(17), &format!("{id}\n")] {
            let error = text.parse::<GrantId>().unwrap_err().to_string();
            assert!(error.contains("32 hexadecimal digits"), "{error}");
        }
    }
}
