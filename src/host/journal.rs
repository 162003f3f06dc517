//! A journal: lines that are appended in order and count once they are whole and on the disk.
//!
//! What a line holds is for its owner; here it is octets with a checksum. What a loss of power left of the last line never
//! counted and is cut off. Written anew, shorter, it is replaced whole.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::keep::{self, KeepError};
use crate::model::unhex;
use crate::wire::sign::short_hash;

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
}

/// Why there is no journal, or a line was not kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
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
        let io = |what: &'static str| {
            move |source: io::Error| JournalError::Io { path: path.to_owned(), what, source }
        };
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(io("cannot be opened"))?;
        let mut reader = BufReader::new(&file);
        let (mut lines, mut whole, mut text) = (Vec::new(), 0, String::new());
        loop {
            text.clear();
            let length = reader.read_line(&mut text).map_err(io("cannot be read"))?;
            if !text.ends_with('\n') {
                if length > 0 {
                    file.set_len(whole).map_err(io("cannot be cut"))?;
                    file.sync_all().map_err(io("cannot be kept"))?;
                    tracing::warn!(path = %path.display(), "half a line was cut off: it never counted");
                }
                break;
            }
            let line = lines.len() as u64 + 1;
            let damaged = || JournalError::Damaged { path: path.to_owned(), line };
            lines.push(read(text.trim_end_matches('\n')).ok_or_else(damaged)?);
            whole += length as u64;
        }
        Ok((Self { path: path.to_owned(), file, length: whole }, lines))
    }

    /// Appends these lines; they are on the disk when it returns. All of them, or none.
    pub fn append(&mut self, lines: &[Vec<u8>]) -> Result<(), JournalError> {
        let text: String = lines.iter().map(|line| written(line)).collect();
        let done = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        match done {
            Ok(()) => {
                self.length += text.len() as u64;
                Ok(())
            }
            Err(source) => {
                // Half a line is taken back: the next one would stand behind it.
                drop(self.file.set_len(self.length));
                Err(JournalError::Io { path: self.path.clone(), what: "cannot be written", source })
            }
        }
    }

    /// Nothing but these lines, from now on.
    pub fn replace(&mut self, lines: &[Vec<u8>]) -> Result<(), JournalError> {
        let text: String = lines.iter().map(|line| written(line)).collect();
        keep::replace(&self.path, text.as_bytes(), 0o600)?;
        let (opened, _) = Self::open(&self.path)?;
        *self = opened;
        Ok(())
    }

    /// Octets on the disk.
    pub fn length(&self) -> u64 {
        self.length
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
