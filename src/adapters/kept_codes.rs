//! Access codes that were given ahead of time, on disk: `ahead` in the terminal's state directory, 0600.
//!
//! They are secrets: who reads the file joins as this device. What cannot be read is asked for again.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::host::keep::{self, KeepError};
use crate::wire::cbor;
use crate::wire::terminal::Joined;

const FILE: &str = "ahead";
const MODE: u32 = 0o600;

/// Why kept codes are not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeptCodesError {
    /// The file system says no.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// Not what was written.
    #[error("{}: not access codes as this program keeps them", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: cbor::CborError,
    },
}

/// What is kept; nothing where there is no file.
pub fn load(state_dir: &Path) -> Result<Vec<Joined>, KeptCodesError> {
    let path = state_dir.join(FILE);
    match keep::load(&path)?.map(Zeroizing::new) {
        None => Ok(Vec::new()),
        Some(bytes) => cbor::decode(&bytes).map_err(|source| KeptCodesError::Bad { path, source }),
    }
}

/// Keeps these and no others.
pub fn store(state_dir: &Path, held: &[Joined]) -> Result<(), KeptCodesError> {
    let path = state_dir.join(FILE);
    let bytes = cbor::encode(&held).map_err(|source| KeptCodesError::Bad { path: path.clone(), source })?;
    Ok(keep::replace(&path, &Zeroizing::new(bytes), MODE)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::{Bssid, Credential, Incarnation, MacAddr, Millis, Secret, ServiceId, SessionId, Ssid};

    #[test]
    fn they_come_back_are_nobody_elses_and_nothing_else_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_empty());
        let joined = Joined {
            code: None,
            ssid: Ssid::new(b"\xff\0\n".as_slice()).unwrap(),
            ahead: Some(Millis(9)),
            bssid: Bssid(MacAddr([2; 6])),
            request: 1 << 48,
            service: ServiceId([3; 16]),
            session: SessionId([4; 16]),
            heartbeat: Millis(5),
            credential: Credential::Psk { passphrase: Secret::new("ab".repeat(32)) },
            incarnation: Incarnation(6),
        };
        store(dir.path(), &[joined.clone(), joined.clone()]).unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(load(dir.path()).unwrap(), [joined.clone(), joined]);
        store(dir.path(), &[]).unwrap();
        assert!(load(dir.path()).unwrap().is_empty());
        for bad in [&b""[..], b"\x81\xa0", b"\xff\xff", &[0x81; 200]] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(load(dir.path()), Err(KeptCodesError::Bad { .. })), "{bad:x?}");
        }
    }
}
