//! What must not be seen: shows itself as dots, wipes itself when dropped.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A password, a claim code, a passphrase. Serialises as it is: only wire and state files may do that.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that has to hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// What a gateway makes the tokens of its beacons with. Travels to its coordinator only.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct BeaconSecret([u8; 32]);

impl BeaconSecret {
    /// Takes the octets over.
    pub fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets themselves, for the code that makes tokens and the file that keeps them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for BeaconSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

impl Serialize for BeaconSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for BeaconSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor;
        impl Visitor<'_> for SecretVisitor {
            type Value = BeaconSecret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret of 32 octets")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<BeaconSecret, E> {
                let octets = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(BeaconSecret(octets))
            }
        }
        deserializer.deserialize_bytes(SecretVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_show_itself() {
        let secret = Secret::new("correct horse");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "••• Some(\n    •••,\n)");
        assert_eq!(format!("{:?}", BeaconSecret::new([42; 32])), "•••");
    }
}
