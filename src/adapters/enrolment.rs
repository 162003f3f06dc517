//! With whom this machine is enrolled: `coordinator.json` in the state directory of its role.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::keep::{self, KeepError};
use crate::model::Secret;
use crate::wire::claim::{ClaimToken, CoordinatorAddress};

/// What is kept of a claim token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The coordinator.
    pub coordinator: CoordinatorAddress,
    /// The one-time code, until it has been used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Secret>,
}

impl Enrolment {
    /// From a token that was not used yet.
    pub fn new(token: ClaimToken) -> Self {
        Self { coordinator: token.coordinator, claim: Some(token.code) }
    }

    /// What is kept, if anything is.
    pub fn load(state_dir: &Path) -> Result<Option<Self>, KeepError> {
        let path = path(state_dir);
        let Some(bytes) = keep::load(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| KeepError::Read {
            path,
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }

    /// The code has been used.
    pub fn without_claim(self) -> Self {
        Self { claim: None, ..self }
    }

    /// Keeps it, 0600.
    pub fn keep(&self, state_dir: &Path) -> Result<(), KeepError> {
        let bytes = serde_json::to_vec_pretty(self).expect("plain fields make JSON");
        keep::replace(&path(state_dir), &bytes, 0o600)
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("coordinator.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PublicKey;

    #[test]
    fn an_enrolment_is_kept_and_its_code_goes_once_used() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Enrolment::load(dir.path()), Ok(None)));
        let token = ClaimToken::new(CoordinatorAddress::new("c.example:1", PublicKey([5; 32])).unwrap());
        Enrolment::new(token.clone()).keep(dir.path()).unwrap();
        let kept = Enrolment::load(dir.path()).unwrap().unwrap();
        assert_eq!(kept.claim, Some(token.code));
        kept.without_claim().keep(dir.path()).unwrap();
        let kept = Enrolment::load(dir.path()).unwrap().unwrap();
        assert_eq!(kept, Enrolment { coordinator: token.coordinator, claim: None });

        std::fs::write(path(dir.path()), b"{").unwrap();
        assert!(matches!(Enrolment::load(dir.path()), Err(KeepError::Read { .. })));
    }
}
