//! A ledger in a file of its own, for a gateway without a coordinator: one entry per line (`lines.rs`), never changed. What
//! does not fit is an error and left alone.

use std::path::{Path, PathBuf};

use super::lines::{Lines, LinesError};
use crate::model::PublicKey;
use crate::model::trade::Posting;
use crate::wire::ledger::{Broken, Entry, NoEntry, Row, Verifier};

/// The file in the state directory.
pub const FILE: &str = "ledger.jsonl";

/// Why there is no ledger, or an entry was not written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system says no.
    #[error(transparent)]
    Lines(#[from] LinesError),
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
    lines: Lines,
    verifier: Verifier,
}

impl LedgerFile {
    /// Opens the ledger of this gateway and checks all of it; it is made, 0600, where there is none.
    pub fn open(path: &Path, gateway: PublicKey) -> Result<Self, LedgerError> {
        let mut verifier = Verifier::new(gateway);
        let lines = Lines::open(path, |text, line| {
            let no_entry = |source| LedgerError::Line { path: path.to_owned(), line, source };
            let entry = Row::from_line(text).and_then(|row| row.entry()).map_err(no_entry)?;
            let broken = |source| LedgerError::Broken { path: path.to_owned(), line, source };
            // Another gateway's entry does not follow from our beginning.
            verifier.add(&entry).map_err(broken)
        })?;
        Ok(Self { lines, verifier })
    }

    /// Writes it down, durably, unless it is there already; `None`: it was.
    pub fn append(&mut self, posting: Posting, at: u64) -> Result<Option<Entry>, LedgerError> {
        if self.verifier.has(&posting) {
            return Ok(None);
        }
        let entry = self.verifier.head().next(posting, at);
        let row = serde_json::to_string(&Row::from(&entry)).expect("plain fields make JSON");
        self.lines.append(&format!("{row}\n"))?;
        let path = || self.lines.path().to_owned();
        let broken = |source| LedgerError::Broken { path: path(), line: entry.seq, source };
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
