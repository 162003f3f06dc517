//! A journal: what happened, in order, each octet string in a line of its own with a checksum (`lines.rs`).
//!
//! What a line holds is for its owner. Written anew, shorter, it is replaced whole.

use std::path::{Path, PathBuf};

use super::keep::{self, KeepError};
use super::lines::{Lines, LinesError};
use crate::model::unhex;
use crate::wire::sign::short_hash;

/// An open journal.
#[derive(Debug)]
pub struct Journal(Lines);

/// Why there is no journal, or a line was not kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system says no.
    #[error(transparent)]
    Lines(#[from] LinesError),
    /// It could not be replaced.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// A line in the middle is damaged. It is left alone: what it held may be somebody's money.
    #[error("{}:{line}: damaged; put the file back from a copy, or move it away", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
    },
}

impl Journal {
    /// Opens it, with all lines; it is made, 0600, where there is none.
    pub fn open(path: &Path) -> Result<(Self, Vec<Vec<u8>>), JournalError> {
        let mut lines = Vec::new();
        let file = Lines::open(path, |text, line| {
            lines.push(read(text).ok_or_else(|| JournalError::Damaged { path: path.to_owned(), line })?);
            Ok::<_, JournalError>(())
        })?;
        Ok((Self(file), lines))
    }

    /// Appends these lines; they are on the disk when it returns. All of them, or none.
    pub fn append(&mut self, lines: &[Vec<u8>]) -> Result<(), JournalError> {
        let text: String = lines.iter().map(|line| written(line)).collect();
        Ok(self.0.append(&text)?)
    }

    /// Nothing but these lines, from now on.
    pub fn replace(&mut self, lines: &[Vec<u8>]) -> Result<(), JournalError> {
        let text: String = lines.iter().map(|line| written(line)).collect();
        keep::replace(self.0.path(), text.as_bytes(), 0o600)?;
        let (opened, _) = Self::open(self.0.path())?;
        *self = opened;
        Ok(())
    }

    /// Octets on the disk.
    pub fn length(&self) -> u64 {
        self.0.length()
    }
}

fn written(line: &[u8]) -> String {
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    format!("{} {}\n", hex(&short_hash(line)[..4]), hex(line))
}

fn read(text: &str) -> Option<Vec<u8>> {
    let (hash, line) = text.split_once(' ')?;
    let (hash, line) = (unhex(hash)?, unhex(line)?);
    (hash == short_hash(&line)[..4]).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_there_in_order_and_half_a_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, lines) = Journal::open(&path).unwrap();
        assert!(lines.is_empty());
        let all: Vec<Vec<u8>> = vec![b"one".to_vec(), b"".to_vec(), b"three\n\0".to_vec()];
        journal.append(&all[..1]).unwrap();
        journal.append(&all[1..]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(journal.length(), whole.len() as u64);
        drop(journal);
        // Power was lost at any octet of what was appended last.
        let second = whole.iter().position(|octet| *octet == b'\n').unwrap() + 1;
        for cut in second..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, lines) = Journal::open(&path).unwrap();
            let ends = whole[..cut].iter().filter(|octet| **octet == b'\n').count();
            assert_eq!(lines, all[..ends], "{cut}");
            journal.append(&all[ends..]).unwrap();
            drop(journal);
            assert_eq!(std::fs::read(&path).unwrap(), whole, "{cut}");
        }
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.replace(&all[2..]).unwrap();
        journal.append(&all[..1]).unwrap();
        let (_, lines) = Journal::open(&path).unwrap();
        assert_eq!(lines, [all[2].clone(), all[0].clone()]);
    }

    #[test]
    fn a_damaged_line_is_named_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(&[b"one".to_vec(), b"two".to_vec()]).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        for bad in
            [good.replacen("6f6e65", "6f6e66", 1), good.replacen(' ', "", 1), good.replacen("6f", "zz", 1)]
        {
            std::fs::write(&path, &bad).unwrap();
            let error = Journal::open(&path).unwrap_err();
            assert!(matches!(error, JournalError::Damaged { line: 1, .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
