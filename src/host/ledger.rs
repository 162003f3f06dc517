//! A ledger in a file of its own, for a gateway without a coordinator: one entry per line, appended and never changed.
//!
//! An entry counts once its line is whole and on the disk. What a loss of power left of the last line never counted and is
//! cut off; anything else that does not fit is an error and left alone.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::model::PublicKey;
use crate::model::trade::Posting;
use crate::wire::ledger::{Broken, Entry, NoEntry, Row, Verifier};

/// The file in the state directory.
pub const FILE: &str = "ledger.jsonl";

/// Why there is no ledger, or an entry was not written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system says no.
    #[error("{}: {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A line is no entry.
    #[error("{}:{line}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Why.
        #[source]
        source: NoEntry,
    },
    /// The chain does not hold.
    #[error("{}:{line}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// Where.
        #[source]
        source: Broken,
    },
}

/// An open ledger.
#[derive(Debug)]
pub struct LedgerFile {
    path: PathBuf,
    file: File,
    verifier: Verifier,
}

impl LedgerFile {
    /// Opens the ledger of this gateway and checks all of it; it is made, 0600, where there is none.
    pub fn open(path: &Path, gateway: PublicKey) -> Result<Self, LedgerError> {
        let io = |what: &'static str| {
            move |source: io::Error| LedgerError::Io { path: path.to_owned(), what, source }
        };
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(io("cannot be opened"))?;
        let mut verifier = Verifier::new(gateway);
        let mut reader = BufReader::new(&file);
        let (mut whole, mut line) = (0, 0);
        let mut text = String::new();
        loop {
            text.clear();
            let length = reader.read_line(&mut text).map_err(io("cannot be read"))?;
            if !text.ends_with('\n') {
                if length > 0 {
                    file.set_len(whole).map_err(io("cannot be cut"))?;
                    file.sync_all().map_err(io("cannot be kept"))?;
                    tracing::warn!(path = %path.display(), line = line + 1, "half an entry was cut off: it never counted");
                }
                break;
            }
            (whole, line) = (whole + length as u64, line + 1);
            let no_entry = |source| LedgerError::Line { path: path.to_owned(), line, source };
            let entry = Row::from_line(text.trim_end()).and_then(|row| row.entry()).map_err(no_entry)?;
            let broken = |source| LedgerError::Broken { path: path.to_owned(), line, source };
            // Another gateway's entry does not follow from our beginning.
            verifier.add(&entry).map_err(broken)?;
        }
        Ok(Self { path: path.to_owned(), file, verifier })
    }

    /// Writes it down, durably, unless it is there already; `None`: it was.
    pub fn append(&mut self, posting: Posting, at: u64) -> Result<Option<Entry>, LedgerError> {
        if self.verifier.has(&posting) {
            return Ok(None);
        }
        let entry = self.verifier.head().next(posting, at);
        let row = serde_json::to_string(&Row::from(&entry)).map_err(io::Error::other);
        let length = self.file.metadata().map(|metadata| metadata.len());
        let written = length.and_then(|length| {
            let done = row.and_then(|row| self.file.write_all(format!("{row}\n").as_bytes()));
            // Half a line is taken back: the next one would stand behind it.
            done.and_then(|()| self.file.sync_data()).inspect_err(|_| drop(self.file.set_len(length)))
        });
        let io = |source| LedgerError::Io { path: self.path.clone(), what: "cannot be written", source };
        written.map_err(io)?;
        let broken = |source| LedgerError::Broken { path: self.path.clone(), line: entry.seq, source };
        self.verifier.add(&entry).map_err(broken)?;
        Ok(Some(entry))
    }

    /// What is in it.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PurchaseId;
    use crate::model::trade::{Account, Occasion};

    const GATEWAY: PublicKey = PublicKey([1; 32]);

    fn paid(number: u8) -> Posting {
        Posting {
            debit: Account::Voucher,
            amount: "1 EUR".parse().unwrap(),
            credit: Account::Held,
            occasion: Occasion::Paid,
            purchase: PurchaseId([number; 16]),
        }
    }

    #[test]
    fn what_was_written_is_there_once_and_half_a_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut ledger = LedgerFile::open(&path, GATEWAY).unwrap();
        for (number, new) in [(1, true), (2, true), (1, false)] {
            assert_eq!(ledger.append(paid(number), 5).unwrap().is_some(), new);
        }
        drop(ledger);
        let whole = std::fs::read(&path).unwrap();
        // Power was lost at any octet of the last line.
        let second = whole.iter().position(|octet| *octet == b'\n').unwrap() + 1;
        for cut in second..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut ledger = LedgerFile::open(&path, GATEWAY).unwrap();
            let there = if cut == whole.len() { 2 } else { 1 };
            assert_eq!(ledger.verifier().head().seq, there, "{cut}");
            assert_eq!(ledger.append(paid(2), 5).unwrap().is_some(), there == 1);
            drop(ledger);
            assert_eq!(std::fs::read(&path).unwrap(), whole, "{cut}");
        }
    }

    #[test]
    fn what_was_changed_is_named_by_its_line_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut ledger = LedgerFile::open(&path, GATEWAY).unwrap();
        for number in 1..=3 {
            ledger.append(paid(number), 5).unwrap();
        }
        drop(ledger);
        let good = std::fs::read_to_string(&path).unwrap();
        let other = LedgerFile::open(&path, PublicKey([2; 32])).unwrap_err();
        assert!(matches!(other, LedgerError::Broken { line: 1, .. }), "{other}");
        let changed = good.replacen("\"seq\":2,\"at\":5", "\"seq\":2,\"at\":6", 1);
        for (text, line) in [(changed, 2), (good.replacen('{', "(", 1), 1)] {
            std::fs::write(&path, &text).unwrap();
            let error = LedgerFile::open(&path, GATEWAY).unwrap_err().to_string();
            assert!(error.ends_with(&format!("{FILE}:{line}")), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
