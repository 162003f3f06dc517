//! A file of lines that are appended in order, each of which counts once it is whole and on the disk.
//!
//! What a loss of power left of the last line never counted and is cut off. What a line means is for its owner:
//! `journal.rs`, `ledger.rs`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file, open.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: File,
    length: u64,
}

/// The file system says no.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct LinesError {
    path: PathBuf,
    what: &'static str,
    #[source]
    source: io::Error,
}

impl Lines {
    /// Opens it and hands over each line with its number, from 1; it is made, 0600, where there is none. A line that its owner
    /// does not take is left alone, with all that follow.
    pub fn open<E: From<LinesError>>(
        path: &Path,
        mut line: impl FnMut(&str, u64) -> Result<(), E>,
    ) -> Result<Self, E> {
        let failed = |what| move |source| LinesError { path: path.to_owned(), what, source };
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true).mode(0o600);
        let file = options.open(path).map_err(failed("cannot be opened"))?;
        let mut reader = BufReader::new(&file);
        let (mut length, mut number, mut text) = (0, 0, String::new());
        loop {
            text.clear();
            let read = reader.read_line(&mut text).map_err(failed("cannot be read"))?;
            let Some(whole) = text.strip_suffix('\n') else {
                if read > 0 {
                    file.set_len(length).map_err(failed("cannot be cut"))?;
                    file.sync_all().map_err(failed("cannot be kept"))?;
                    let path = path.display();
                    tracing::warn!(%path, line = number + 1, "half a line was cut off: it never counted");
                }
                break;
            };
            number += 1;
            line(whole, number)?;
            length += read as u64;
        }
        Ok(Self { path: path.to_owned(), file, length })
    }

    /// Appends text that ends each of its lines; it is on the disk when this returns. All of it, or none.
    pub fn append(&mut self, text: &str) -> Result<(), LinesError> {
        let done = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        match done {
            Ok(()) => self.length += text.len() as u64,
            Err(source) => {
                // Half a line is taken back: the next one would stand behind it.
                drop(self.file.set_len(self.length));
                return Err(LinesError { path: self.path.clone(), what: "cannot be written", source });
            }
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Octets on the disk.
    pub fn length(&self) -> u64 {
        self.length
    }
}
