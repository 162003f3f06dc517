//! What survives of RADIUS: a restart, what servers were told, what they have not answered, and what they said when they
//! gave a grant; a reboot, only the last.
//!
//! Sessions change all the time. So the file for a restart is a journal, in memory ([`Journal`]): what is written is what
//! has changed, and it is made anew when most of it counts no longer. The file for a reboot is on flash and written
//! together with the grants.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::channel::Unsent;
use crate::host::keep::{self, KeepError};
use crate::logic::radius::Ticket;
use crate::model::{GrantId, Millis, Traffic};

/// Lines that count no longer, beside as many as count, before the journal is made anew.
const SPENT_LINES: usize = 1000;

/// What only a restart of the daemon must not lose.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// What servers were told that each grant moved.
    pub told: BTreeMap<GrantId, Traffic>,
    /// What they said when they gave it.
    pub terms: BTreeMap<GrantId, Terms>,
    /// What they have not answered, in its order.
    pub unsent: BTreeMap<u64, Unsent>,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Change {
    /// Servers were told that the grant moved this in all.
    Told(GrantId, Traffic),
    /// A server gave the grant, and said this with it.
    Given(GrantId, Terms),
    /// The grant is over.
    Over(GrantId),
    /// A request waits for its answer.
    Unsent(u64, Unsent),
    /// It waits no longer.
    Done(u64),
}

impl Change {
    /// Of a request; `None`: it has ended.
    pub fn of_request(Ticket(number): Ticket, unsent: Option<Unsent>) -> Self {
        unsent.map_or(Self::Done(number), |unsent| Self::Unsent(number, unsent))
    }
}

impl Running {
    fn take_in(&mut self, change: Change) {
        match change {
            Change::Told(grant, moved) => {
                self.told.insert(grant, moved);
            }
            Change::Given(grant, terms) => {
                self.terms.insert(grant, terms);
            }
            Change::Over(grant) => {
                self.told.remove(&grant);
                self.terms.remove(&grant);
            }
            Change::Unsent(number, unsent) => {
                self.unsent.insert(number, unsent);
            }
            Change::Done(number) => {
                self.unsent.remove(&number);
            }
        }
    }
}

/// What has changed, line by line.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Absent until it was made anew: by this daemon, or after a line could not be written.
    file: Option<File>,
    lines: usize,
    /// When it is made anew.
    most: usize,
}

impl Journal {
    /// Goes on after a daemon before this one, whose changes come with it.
    pub fn open(runtime_dir: &Path) -> (Self, Running) {
        let path = runtime_dir.join("radius.journal");
        let mut running = Running::default();
        for line in
            load(&path).unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
        {
            match serde_json::from_slice(line) {
                Ok(change) => running.take_in(change),
                // The daemon ended while it wrote this line, or it is of another version.
                Err(error) => tracing::warn!(path = %path.display(), %error, "a line is not used"),
            }
        }
        (Self { path, file: None, lines: 0, most: 0 }, running)
    }

    /// Writes down what has changed; `whole`: all that counts, for a file that is made anew.
    pub fn write(
        &mut self,
        changes: &[Change],
        whole: impl FnOnce() -> Vec<Change>,
    ) -> Result<(), KeepError> {
        let written = match &mut self.file {
            Some(file) if self.lines + changes.len() <= self.most => file.write_all(&lines(changes)),
            _ => return self.make_anew(&whole()),
        };
        self.lines += changes.len();
        written.map_err(|source| {
            self.file = None;
            KeepError::Write { path: self.path.clone(), source }
        })
    }

    fn make_anew(&mut self, whole: &[Change]) -> Result<(), KeepError> {
        self.file = None;
        keep::replace(&self.path, &lines(whole), 0o600)?;
        let opened = OpenOptions::new().append(true).open(&self.path);
        let file = opened.map_err(|source| KeepError::Write { path: self.path.clone(), source })?;
        (self.file, self.lines, self.most) = (Some(file), whole.len(), 2 * whole.len() + SPENT_LINES);
        Ok(())
    }
}

fn lines(changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in changes {
        serde_json::to_writer(&mut bytes, change).expect("plain fields make JSON");
        bytes.push(b'\n');
    }
    bytes
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

pub(super) fn save_terms(state_dir: &Path, terms: &BTreeMap<GrantId, Terms>) -> Result<(), KeepError> {
    let bytes = serde_json::to_vec(terms).expect("plain fields make JSON");
    keep::replace(&terms_path(state_dir), &bytes, 0o600)
}

/// Nothing, where it cannot be read: a server then hears of sessions by their grants' ids.
pub(super) fn load_terms(state_dir: &Path) -> BTreeMap<GrantId, Terms> {
    let path = terms_path(state_dir);
    let Some(bytes) = load(&path) else { return BTreeMap::new() };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "damaged and not used");
        BTreeMap::new()
    })
}

fn terms_path(state_dir: &Path) -> PathBuf {
    state_dir.join("radius.json")
}

fn load(path: &Path) -> Option<Vec<u8>> {
    keep::load(path).unwrap_or_else(|error| {
        tracing::warn!(%error, "what RADIUS servers were told");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(grant: u8, bytes: u64) -> Change {
        Change::Told(GrantId([grant; 16]), Traffic { up_bytes: bytes, ..Traffic::default() })
    }

    #[test]
    fn what_was_written_is_read_and_a_torn_line_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, before) = Journal::open(dir.path());
        assert_eq!(before, Running::default());
        let terms = Terms { name: "anne\n".into(), ..Terms::default() };
        let given = Change::Given(GrantId([1; 16]), terms.clone());
        journal.write(&[], || vec![told(1, 5), given]).unwrap();
        let no_whole = || panic!("it has room");
        journal.write(&[told(2, 6), told(1, 7), told(3, 8), Change::Done(9)], no_whole).unwrap();
        journal.write(&[Change::Over(GrantId([3; 16]))], no_whole).unwrap();
        std::io::Write::write_all(journal.file.as_mut().unwrap(), b"{\"over\":\"0101").unwrap();

        let (_, found) = Journal::open(dir.path());
        let wanted = [told(2, 6), told(1, 7)];
        let mut running = Running::default();
        wanted.into_iter().for_each(|change| running.take_in(change));
        running.terms.insert(GrantId([1; 16]), terms);
        assert_eq!(found, running);
    }

    #[test]
    fn what_is_written_is_what_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path());
        let mut whole = 0;
        for round in 0..10_000 {
            let all = || (0..100).map(|grant| told(grant, round)).collect();
            let changes = [told((round % 100) as u8, round)];
            journal
                .write(&changes, || {
                    whole += 1;
                    all()
                })
                .unwrap();
        }
        assert!((2..12).contains(&whole), "{whole}");
        let (_, found) = Journal::open(dir.path());
        let last: Vec<u64> = found.told.values().map(|moved| moved.up_bytes).collect();
        assert_eq!(last.len(), 100);
        assert!(last.iter().all(|round| *round >= 9900), "{last:?}");
    }

    #[test]
    fn after_a_line_that_could_not_be_written_all_of_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(dir.path());
        journal.write(&[], || vec![told(1, 1)]).unwrap();
        // A descriptor that only reads.
        journal.file = Some(File::open(&journal.path).unwrap());
        assert!(journal.write(&[told(1, 2)], || panic!("it has room")).is_err());
        journal.write(&[told(1, 3)], || vec![told(1, 3), told(2, 4)]).unwrap();
        let (_, found) = Journal::open(dir.path());
        assert_eq!(found.told.len(), 2);
    }
}
