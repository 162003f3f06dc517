//! The directory: which access points of a region share a network through this coordinator. Signed, so that it
//! counts wherever it was kept or copied; its version is what it holds, so that a difference can be told.
//!
//! Read next: `logic/directory.rs` for who makes one and what a terminal does with it.

use serde::{Deserialize, Serialize};

use super::cbor;
use super::sign::{BadSignature, Domain, Identity, short_hash, verify};
use crate::model::{Area, Bssid, DirectoryVersion, PublicKey, Region, ServiceId, Signature, Ssid, bytes};

/// Entries in one part at most: it has to fit into a frame.
pub const MOST_LISTED: usize = 64;
/// Addresses of access points that are gone, in one part.
pub const MOST_GONE: usize = 256;
/// Parts of one directory: a million access points.
pub const MOST_PARTS: u16 = 16_384;

/// An access point that is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Where it is.
    pub area: Area,
    /// Its network.
    pub ssid: Ssid,
    /// Its address.
    pub bssid: Bssid,
    /// The gateway behind it.
    pub service: ServiceId,
}

/// One part of a directory, or of the difference between two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryPart {
    /// What it is the difference to; absent: it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DirectoryVersion>,
    /// Those that are not listed any more; none where it is whole.
    pub gone: Vec<Bssid>,
    /// When it was made, in seconds since 1970 by the coordinator's calendar.
    pub made: u64,
    /// Which of `parts`, from 0.
    pub part: u16,
    /// How many there are.
    pub parts: u16,
    /// Those that are listed, or listed otherwise than before.
    pub listed: Vec<Listed>,
    /// The region.
    pub region: Region,
    /// What one has who takes in all parts.
    pub version: DirectoryVersion,
}

/// A part as it travels and is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDirectory {
    /// The CBOR of a [`DirectoryPart`]; signed as it stands.
    #[serde(with = "bytes")]
    pub directory: Vec<u8>,
    /// By the coordinator's key.
    pub signature: Signature,
}

/// Why a part is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum BadDirectory {
    /// Not signed by the coordinator.
    #[error("a directory that the coordinator did not sign")]
    Forged(#[from] BadSignature),
    /// Signed, but not CBOR of a part.
    #[error("a directory that cannot be read")]
    Unreadable(#[from] cbor::CborError),
}

impl BadDirectory {
    /// The stable word.
    pub fn word(&self) -> &'static str {
        match self {
            BadDirectory::Forged(_) => "forged-directory",
            BadDirectory::Unreadable(_) => "unreadable-directory",
        }
    }
}

impl SignedDirectory {
    /// Signs a part.
    pub fn new(identity: &Identity, part: &DirectoryPart) -> Result<Self, cbor::CborError> {
        let directory = cbor::encode(part)?;
        let signature = identity.sign(Domain::Directory, &directory);
        Ok(Self { directory, signature })
    }

    /// The part, if this coordinator signed it.
    pub fn open(&self, coordinator: PublicKey) -> Result<DirectoryPart, BadDirectory> {
        verify(coordinator, Domain::Directory, &self.directory, &self.signature)?;
        Ok(cbor::decode(&self.directory)?)
    }
}

/// The version of a directory that holds these, in the order of their addresses.
pub fn version<'a>(listed: impl IntoIterator<Item = &'a Listed>) -> DirectoryVersion {
    let mut bytes = Vec::new();
    for listed in listed {
        // Fields of known lengths, and two that say theirs: no two lists have the same octets.
        let (area, ssid) = (listed.area.to_string(), listed.ssid.as_bytes());
        bytes.extend(listed.bssid.0.0);
        bytes.extend(listed.service.0);
        for text in [area.as_bytes(), ssid] {
            bytes.push(u8::try_from(text.len()).expect("65 octets at most"));
            bytes.extend(text);
        }
    }
    DirectoryVersion(short_hash(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MacAddr;
    use crate::wire::MAX_FRAME;
    use crate::wire::cbor::{encode, is_deterministic};
    use crate::wire::terminal::ToTerminal;

    #[test]
    fn the_largest_part_fits_into_a_frame_and_comes_back() {
        let long = "a".repeat(32);
        let area: Area = format!("{long}/{long}").parse().unwrap();
        let listed = |number: u8| Listed {
            area: area.clone(),
            ssid: Ssid::new([0xff; 32]).unwrap(),
            bssid: Bssid(MacAddr([0xff, 0, 0, 0, 0, number])),
            service: ServiceId([0xff; 16]),
        };
        let part = DirectoryPart {
            from: Some(DirectoryVersion([1; 16])),
            gone: vec![Bssid(MacAddr([0xff; 6])); MOST_GONE],
            made: u64::MAX,
            part: MOST_PARTS - 1,
            parts: MOST_PARTS,
            listed: (0..MOST_LISTED as u8).map(listed).collect(),
            region: area.region().clone(),
            version: DirectoryVersion([2; 16]),
        };
        let coordinator = Identity::generate();
        let signed = SignedDirectory::new(&coordinator, &part).unwrap();
        let message = ToTerminal::Directory { signed: signed.clone(), request: u64::MAX };
        let bytes = encode(&message).unwrap();
        assert!(bytes.len() <= MAX_FRAME && is_deterministic(&bytes) && is_deterministic(&signed.directory));
        assert_eq!(signed.open(coordinator.public()).unwrap(), part);
    }

    #[test]
    fn only_what_the_coordinator_signed_counts() {
        let part = DirectoryPart {
            from: None,
            gone: Vec::new(),
            made: 0,
            part: 0,
            parts: 1,
            listed: Vec::new(),
            region: "lyon".parse().unwrap(),
            version: version([]),
        };
        let coordinator = Identity::generate();
        let signed = SignedDirectory::new(&coordinator, &part).unwrap();
        let another = signed.open(Identity::generate().public()).unwrap_err();
        assert_eq!(another.word(), "forged-directory");
        for at in 0..signed.directory.len() {
            let mut changed = signed.clone();
            changed.directory[at] ^= 1;
            assert!(matches!(changed.open(coordinator.public()), Err(BadDirectory::Forged(_))), "{at}");
        }
        let directory = b"\xa0".to_vec();
        let signature = coordinator.sign(Domain::Directory, &directory);
        let empty = SignedDirectory { directory, signature }.open(coordinator.public()).unwrap_err();
        assert_eq!(empty.word(), "unreadable-directory");
    }

    #[test]
    fn the_version_depends_on_everything_that_is_listed() {
        let one = Listed {
            area: "lyon/hall".parse().unwrap(),
            ssid: Ssid::new("ab").unwrap(),
            bssid: Bssid(MacAddr([2, 0, 0, 0, 0, 1])),
            service: ServiceId([3; 16]),
        };
        let others = [
            Listed { area: "lyon/halla".parse().unwrap(), ssid: Ssid::new("b").unwrap(), ..one.clone() },
            Listed { ssid: Ssid::new("a").unwrap(), ..one.clone() },
            Listed { bssid: Bssid(MacAddr([2, 0, 0, 0, 0, 2])), ..one.clone() },
            Listed { service: ServiceId([4; 16]), ..one.clone() },
        ];
        assert_eq!(version([&one]), version([&one.clone()]));
        for other in &others {
            assert_ne!(version([&one]), version([other]), "{other:?}");
            assert_ne!(version([&one]), version([&one, other]), "{other:?}");
        }
    }
}
