//! What survives: grants a reboot, evictions and reports a restart.
//!
//! Flash wears out, so grants are written seldom ([`Pace`]), atomically, with a checksum and the copy before
//! kept. What only a restart of the daemon must not lose lies in the runtime directory, in memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[cfg(feature = "wpa3")]
use super::passwords;
use super::push::KeptMessage;
use crate::host::keep::{self, KeepError};
use crate::logic::grants::Grant;
use crate::logic::upstream::Memory;
use crate::model::{BootTime, Cause, Code, GrantId, Holder, Incarnation, MacAddr, Millis, Origin, Traffic};
use crate::wire::sign::short_hash;

/// Writes at once, for so many changes in a row; then one in [`EVERY`].
const AT_ONCE: u32 = 4;
/// 96 writes a day.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// Changes by hand come in groups.
const SETTLE: Duration = Duration::from_secs(2);

/// A grant as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    id: GrantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    station: Option<MacAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    origin: Origin,
    holder: Holder,
    incarnation: Incarnation,
    /// When it ends, for whoever reads this before the machine boots again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<BootTime>,
    /// What was left of its time when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota: Option<u64>,
    /// Bytes used of the quota.
    used: u64,
    moved: Traffic,
}

impl Kept {
    /// As it is now.
    pub fn new(grant: &Grant, used: u64, moved: Traffic, now: BootTime) -> Self {
        Self {
            id: grant.id,
            station: grant.station,
            code: grant.code.clone(),
            origin: grant.origin,
            holder: grant.holder,
            incarnation: grant.incarnation,
            until: grant.deadline,
            left: grant.deadline.map(|at| at.since(now).into()),
            quota: grant.quota,
            used,
            moved,
        }
    }

    /// The grant, its time going on from now: how long the machine was off nobody knows.
    pub fn grant(&self, now: BootTime) -> Grant {
        Grant {
            id: self.id,
            station: self.station,
            code: self.code.clone(),
            origin: self.origin,
            holder: self.holder,
            incarnation: self.incarnation,
            deadline: self.left.map(|left| now + left.into()),
            quota: self.quota,
        }
    }

    /// The grant, as it was written since the machine booted.
    pub fn grant_of_this_boot(&self, now: BootTime) -> Grant {
        Grant { deadline: self.until, ..self.grant(now) }
    }

    /// Bytes used of the quota, and what was moved.
    pub fn figures(&self) -> (u64, Traffic) {
        (self.used, self.moved)
    }
}

/// Keeps grants across a reboot.
pub fn save_grants(state_dir: &Path, grants: &[Kept]) -> Result<(), KeepError> {
    save(&grants_path(state_dir), serde_json::to_vec(grants).expect("plain fields make JSON"))
}

/// What was kept; the copy before, where the last one is damaged. Nothing where neither can be read.
pub fn load_grants(state_dir: &Path) -> Vec<Kept> {
    load(&grants_path(state_dir))
}

/// Keeps what the owner says to terminals across a reboot.
#[cfg(feature = "push")]
pub fn save_messages(state_dir: &Path, messages: &[KeptMessage]) -> Result<(), KeepError> {
    save(&messages_path(state_dir), serde_json::to_vec(messages).expect("plain fields make JSON"))
}

/// As [`load_grants`].
#[cfg(feature = "push")]
pub fn load_messages(state_dir: &Path) -> Vec<KeptMessage> {
    load(&messages_path(state_dir))
}

fn save(path: &Path, body: Vec<u8>) -> Result<(), KeepError> {
    // The copy before stays readable until the new one is whole.
    let _ = std::fs::rename(path, path.with_extension("old"));
    keep::replace(path, &with_checksum(body), 0o600)
}

fn load<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    for path in [path.to_owned(), path.with_extension("old")] {
        match keep::load(&path) {
            Ok(None) => {}
            Ok(Some(bytes)) => match checked(&bytes).and_then(|body| serde_json::from_slice(body).ok()) {
                Some(kept) => return kept,
                None => tracing::warn!(path = %path.display(), "what was kept is damaged and not used"),
            },
            Err(error) => tracing::warn!(%error, "what was kept"),
        }
    }
    Vec::new()
}

fn grants_path(state_dir: &Path) -> PathBuf {
    state_dir.join("grants.json")
}

#[cfg(feature = "push")]
fn messages_path(state_dir: &Path) -> PathBuf {
    state_dir.join("messages.json")
}

fn with_checksum(body: Vec<u8>) -> Vec<u8> {
    let mut bytes = checksum(&body).into_bytes();
    bytes.push(b'\n');
    bytes.extend(body);
    bytes
}

fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let body = &bytes[end + 1..];
    (bytes[..end] == *checksum(body).as_bytes()).then_some(body)
}

fn checksum(body: &[u8]) -> String {
    short_hash(body).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What only a restart of the daemon must not lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Of the coordinator's notices and our reports.
    pub upstream: Memory,
    /// Evictions that have begun.
    pub ending: Vec<(Kept, Cause)>,
    /// Grants by code. The kernel knows only those whose station is here, and no code.
    #[serde(default)]
    pub codes: Vec<Kept>,
    /// What the owner says to terminals.
    #[serde(default)]
    pub messages: Vec<KeptMessage>,
    /// Ports of bridges that are kept apart by us, and not by somebody else.
    #[serde(default)]
    pub isolated: Vec<u32>,
    /// Addresses that BSSes refuse because we said so: `BSS address`.
    #[serde(default)]
    pub denied: Vec<String>,
    /// Codes as passwords of WPA3.
    #[cfg(feature = "wpa3")]
    #[serde(default)]
    pub passwords: passwords::Kept,
}

/// Keeps it.
pub fn save_running(runtime_dir: &Path, running: &Running) -> Result<(), KeepError> {
    let bytes = serde_json::to_vec(running).expect("plain fields make JSON");
    keep::replace(&running_path(runtime_dir), &bytes, 0o600)
}

/// What was kept since the machine booted, if anything was.
pub fn load_running(runtime_dir: &Path) -> Option<Running> {
    let path = running_path(runtime_dir);
    match serde_json::from_slice(&keep::load(&path).ok()??) {
        Ok(running) => Some(running),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "damaged and not used");
            None
        }
    }
}

fn running_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("running.json")
}

/// When grants are written: soon after a change by hand, seldom otherwise, and never more than 100 times a day.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Writes that may follow at once, and since when they are counted.
    credit: u32,
    counted: BootTime,
    due: Option<BootTime>,
}

impl Pace {
    /// From now.
    pub fn new(now: BootTime) -> Self {
        Self { credit: AT_ONCE, counted: now, due: None }
    }

    /// Something changed.
    pub fn changed(&mut self, by_hand: bool, now: BootTime) {
        self.refill(now);
        let soon = if by_hand { SETTLE } else { EVERY };
        let due = if self.credit > 0 { now + soon } else { self.counted + EVERY };
        self.due = Some(self.due.map_or(due, |before| before.min(due.max(now))));
    }

    /// A code that is kept has ended: that does not wait, however many there were.
    pub fn at_once(&mut self, now: BootTime) {
        self.due = Some(now);
    }

    /// When to write next.
    pub fn due(&self) -> Option<BootTime> {
        self.due
    }

    /// It was written.
    pub fn written(&mut self, now: BootTime) {
        self.refill(now);
        self.credit = self.credit.saturating_sub(1);
        self.due = None;
    }

    fn refill(&mut self, now: BootTime) {
        while self.credit < AT_ONCE && self.counted + EVERY <= now {
            self.credit += 1;
            self.counted = self.counted + EVERY;
        }
        if self.credit == AT_ONCE {
            self.counted = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_changes_by_hand_is_a_hundred_writes() {
        let mut now = BootTime(0);
        let mut pace = Pace::new(now);
        let mut writes = 0;
        for _ in 0..24 * 3600 {
            now = now + Duration::from_secs(1);
            pace.changed(true, now);
            if pace.due().is_some_and(|at| at <= now) {
                pace.written(now);
                writes += 1;
            }
        }
        assert!((90..=100).contains(&writes), "{writes}");
    }

    #[test]
    fn the_first_change_by_hand_is_kept_within_seconds() {
        let mut pace = Pace::new(BootTime(0));
        pace.changed(false, BootTime(0));
        assert_eq!(pace.due(), Some(BootTime(0) + EVERY));
        pace.changed(true, BootTime(0));
        assert_eq!(pace.due(), Some(BootTime(0) + SETTLE));
    }

    #[test]
    fn the_end_of_a_code_waits_for_nothing() {
        let (now, mut pace) = (BootTime(0), Pace::new(BootTime(0)));
        for _ in 0..10 {
            pace.changed(true, now);
            pace.at_once(now);
            assert_eq!(pace.due(), Some(now));
            pace.written(now);
        }
        pace.changed(true, now);
        assert_eq!(pace.due(), Some(now + EVERY), "and others wait the longer");
    }

    #[test]
    fn a_damaged_file_falls_back_to_the_copy_before() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_grants(dir.path()), []);
        let one = kept(1);
        save_grants(dir.path(), std::slice::from_ref(&one)).unwrap();
        save_grants(dir.path(), &[one.clone(), kept(2)]).unwrap();
        assert_eq!(load_grants(dir.path()).len(), 2);
        let path = grants_path(dir.path());
        for damage in [b"".as_slice(), b"x", b"{}\n[]"] {
            std::fs::write(&path, damage).unwrap();
            assert_eq!(load_grants(dir.path()), std::slice::from_ref(&one));
        }
        let mut bytes = with_checksum(serde_json::to_vec(&[kept(2)]).unwrap());
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(load_grants(dir.path()), [one]);
    }

    fn kept(id: u8) -> Kept {
        let grant = Grant {
            id: GrantId([id; 16]),
            station: Some(MacAddr([2, 0, 0, 0, 0, id])),
            code: (id == 2).then(|| Code::new([2; 32])),
            origin: Origin::Owner,
            holder: Holder::Station,
            incarnation: Incarnation(1),
            deadline: None,
            quota: Some(9),
        };
        Kept::new(&grant, 3, Traffic::default(), BootTime(0))
    }
}
