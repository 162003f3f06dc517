//! What survives of RADIUS: a restart, what servers were told and what they have not answered; a reboot, under which
//! name a grant was given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::channel::Unsent;
use crate::host::keep::{self, KeepError};
use crate::model::{GrantId, Millis, Traffic};

/// What only a restart of the daemon must not lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    /// What servers were told that each grant moved.
    pub told: BTreeMap<GrantId, Traffic>,
    /// What they have not answered.
    pub unsent: Vec<Unsent>,
}

/// What a server said when it gave a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    /// User-Name.
    pub name: String,
    /// Class, to be said again in accounting (RFC 2865, 5.25).
    pub classes: Vec<Vec<u8>>,
    /// Acct-Interim-Interval.
    pub interim: Option<Millis>,
    /// Idle-Timeout.
    pub idle: Option<Millis>,
}

impl Terms {
    pub fn interim(&self) -> Option<Duration> {
        self.interim.map(Duration::from)
    }

    pub fn idle(&self) -> Option<Duration> {
        self.idle.map(Duration::from)
    }
}

pub(super) fn save_running(runtime_dir: &Path, running: &Running) -> Result<(), KeepError> {
    save(&runtime_dir.join("radius.json"), running)
}

pub(super) fn load_running(runtime_dir: &Path) -> Running {
    load(runtime_dir.join("radius.json"))
}

pub(super) fn save_terms(state_dir: &Path, terms: &BTreeMap<GrantId, Terms>) -> Result<(), KeepError> {
    save(&state_dir.join("radius.json"), terms)
}

pub(super) fn load_terms(state_dir: &Path) -> BTreeMap<GrantId, Terms> {
    load(state_dir.join("radius.json"))
}

fn save(path: &Path, value: &impl Serialize) -> Result<(), KeepError> {
    keep::replace(path, &serde_json::to_vec(value).expect("plain fields make JSON"), 0o600)
}

/// Nothing, where it cannot be read: a server then hears of new sessions.
fn load<T: Default + for<'de> Deserialize<'de>>(path: PathBuf) -> T {
    match keep::load(&path) {
        Ok(None) => T::default(),
        Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "damaged and not used");
            T::default()
        }),
        Err(error) => {
            tracing::warn!(%error, "what RADIUS servers were told");
            T::default()
        }
    }
}
