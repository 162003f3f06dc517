//! UCI, OpenWrt's configuration files: `/etc/config/wayleave` says what `gateway.toml` says, in sections and options.
//!
//! `read.rs` takes the text apart, `schema.rs` puts each section and option in the place that the TOML has for it,
//! `values.rs` reads a fragment from there: one schema, and both readers give the same fragments. No `uci` is started and
//! nothing is ever written. `openwrt/wayleave/files/wayleave.config` is the text for people.

mod nearest;
mod read;
mod schema;
mod values;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::error::{ConfigError, Invalid};
use schema::Node;

/// Where the file is on OpenWrt.
pub const PATH: &str = "/etc/config/wayleave";

/// Whether a file is read as UCI: its name has no ending, as those in `/etc/config`.
pub fn is_uci(path: &Path) -> bool {
    path.extension().is_none()
}

/// A file, with the places of everything in it.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    root: Node,
}

impl Document {
    /// The file at `path`.
    pub(super) fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        // One more than is allowed, so that a longer one shows.
        let mut file = File::open(path).map_err(unreadable)?.take(read::MOST_BYTES as u64 + 1);
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        Self::read(path, &bytes)
    }

    /// The text of a file. `path` is for the errors.
    pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        let root = read::sections(bytes).and_then(schema::tree);
        root.map(|root| Self { path: path.to_owned(), root }).map_err(|fault| fault.of(path))
    }

    /// What it says.
    pub(super) fn fragment<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        values::fragment(&self.root).map_err(|fault| fault.of(&self.path))
    }

    /// The value of a key of the TOML (`network.0.ssid`) is not allowed.
    pub(super) fn invalid(&self, key: &str, found: &str, allowed: &str) -> ConfigError {
        let (line, label) = schema::place(&self.root, key);
        Fault { line, label, found: found.to_owned(), allowed: allowed.to_owned() }.of(&self.path)
    }
}

/// What is wrong in a file, without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// From 1; 0 where it is not in the text.
    pub line: usize,
    /// `SECTION.OPTION`; empty where the text is no UCI.
    pub label: String,
    pub found: String,
    pub allowed: String,
}

impl Fault {
    fn at(line: usize, found: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { line, label: String::new(), found: found.into(), allowed: allowed.into() }
    }

    fn of(self, path: &Path) -> ConfigError {
        let Self { line, label, found, allowed } = self;
        ConfigError::Invalid(Box::new(Invalid { path: path.to_owned(), line, key: label, found, allowed }))
    }
}

#[cfg(test)]
mod tests;
