//! A region's directory on disk, `directory/REGION` in the terminal's state directory: the signed parts as they came.
//!
//! ```text
//! length (4 octets, big-endian), CBOR of a SignedDirectory; again, for each part
//! ```
//!
//! Signatures are checked again when it is read: what somebody has changed counts for nothing.

use std::path::{Path, PathBuf};

use crate::host::keep::{self, KeepError};
use crate::model::{PublicKey, Region};
use crate::wire::cbor;
use crate::wire::directory::{BadDirectory, DirectoryPart, SignedDirectory};

/// Why a kept directory is not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeptDirectoryError {
    /// The file system says no.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// It ends within a part.
    #[error("{}: truncated: {wanted} octets are to follow octet {at}, {found} do", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the part begins.
        at: usize,
        /// Its length.
        wanted: usize,
        /// What there is.
        found: usize,
    },
    /// A part is not what the coordinator signed.
    #[error("{}: octet {at}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// Where the part begins.
        at: usize,
        /// What is wrong.
        #[source]
        source: BadDirectory,
    },
}

/// What is kept of a region, in the order in which it came; nothing where there is no file.
pub fn load(
    state_dir: &Path,
    region: &Region,
    coordinator: PublicKey,
) -> Result<Vec<DirectoryPart>, KeptDirectoryError> {
    let path = path(state_dir, region);
    let bytes = keep::load(&path)?.unwrap_or_default();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let truncated =
            |wanted, found| KeptDirectoryError::Truncated { path: path.clone(), at, wanted, found };
        let (length, rest) = bytes[at..].split_first_chunk::<4>().ok_or(truncated(4, bytes.len() - at))?;
        let length = u32::from_be_bytes(*length) as usize;
        let part = rest.get(..length).ok_or(truncated(length, rest.len()))?;
        let opened = cbor::decode::<SignedDirectory>(part)
            .map_err(BadDirectory::Unreadable)
            .and_then(|signed| signed.open(coordinator));
        parts.push(opened.map_err(|source| KeptDirectoryError::Bad { path: path.clone(), at, source })?);
        at += 4 + length;
    }
    Ok(parts)
}

/// Keeps these parts: instead of what is there, or behind it.
pub fn store(
    state_dir: &Path,
    region: &Region,
    whole: bool,
    parts: &[SignedDirectory],
) -> Result<(), KeptDirectoryError> {
    let path = path(state_dir, region);
    let mut bytes = if whole { Vec::new() } else { keep::load(&path)?.unwrap_or_default() };
    for part in parts {
        let part = cbor::encode(part).expect("it came in a frame");
        bytes.extend(u32::try_from(part.len()).expect("16 KiB at most").to_be_bytes());
        bytes.extend(part);
    }
    Ok(keep::replace(&path, &bytes, 0o600)?)
}

fn path(state_dir: &Path, region: &Region) -> PathBuf {
    state_dir.join("directory").join(region.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DirectoryVersion;
    use crate::wire::sign::Identity;

    #[test]
    fn what_was_kept_is_read_and_what_was_changed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (region, coordinator): (Region, _) = ("lyon".parse().unwrap(), Identity::generate());
        let part = |number: u8| DirectoryPart {
            from: None,
            gone: vec![],
            made: number.into(),
            part: 0,
            parts: 1,
            listed: vec![],
            region: region.clone(),
            version: DirectoryVersion([number; 16]),
        };
        let signed = |number| SignedDirectory::new(&coordinator, &part(number)).unwrap();
        let load = || load(dir.path(), &region, coordinator.public());
        assert_eq!(load().unwrap(), []);
        store(dir.path(), &region, true, &[signed(1), signed(2)]).unwrap();
        store(dir.path(), &region, false, &[signed(3)]).unwrap();
        assert_eq!(load().unwrap(), [part(1), part(2), part(3)]);

        let path = dir.path().join("directory/lyon");
        let whole = std::fs::read(&path).unwrap();
        let second = whole.len() / 3;
        for length in [1, 3, 4, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(load(), Err(KeptDirectoryError::Truncated { .. })), "{length}");
        }
        let mut changed = whole.clone();
        changed[second + 40] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let error = load().unwrap_err();
        assert!(matches!(&error, KeptDirectoryError::Bad { at, .. } if *at == second), "{error}");
        let another = super::load(dir.path(), &region, Identity::generate().public()).unwrap_err();
        assert!(matches!(
            another,
            KeptDirectoryError::Truncated { .. } | KeptDirectoryError::Bad { at: 0, .. }
        ));

        store(dir.path(), &region, true, &[signed(4)]).unwrap();
        assert_eq!(load().unwrap(), [part(4)]);
    }
}
