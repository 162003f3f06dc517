//! Where answers go: as text for people, or as the wire's JSON, one value per line.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use super::client::Door;
#[cfg(any(feature = "gateway", feature = "terminal"))]
use super::table::{Cell, Tone};
#[cfg(any(feature = "gateway", feature = "terminal"))]
use crate::wire::local::LinkState;

/// Standard output, and what is wanted on it.
pub struct Output<'a> {
    /// Where to.
    pub out: &'a mut dyn Write,
    /// JSON instead of text.
    pub json: bool,
    /// Colours in text.
    pub colours: bool,
}

impl<'a> Output<'a> {
    /// For a stream that may be a terminal; no colours if `NO_COLOR` is set (no-color.org).
    pub fn new<W: Write + IsTerminal>(out: &'a mut W, json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let able = std::env::var_os("TERM").is_none_or(|value| value != "dumb");
        let colours = wanted && able && !json && out.is_terminal();
        Self { out, json, colours }
    }

    /// Asks; shows the answer as the daemon wrote it, or hands it to `show`.
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        door: &Door,
        request: &impl Serialize,
        show: impl FnOnce(&T, &mut Self) -> io::Result<()>,
    ) -> Result<T, Failure> {
        // Through a value, so that what a newer daemon says beyond what is known here stays in the JSON.
        let answer: serde_json::Value = door.ask(request)?;
        if self.json {
            self.line(&answer)?;
        }
        let known = door.known(answer)?;
        if !self.json {
            show(&known, self)?;
        }
        self.out.flush()?;
        Ok(known)
    }

    /// One JSON value on a line of its own, flushed.
    pub fn line(&mut self, value: &serde_json::Value) -> io::Result<()> {
        writeln!(self.out, "{value}")?;
        self.out.flush()
    }
}

/// How a daemon stands to its coordinator.
#[cfg(any(feature = "gateway", feature = "terminal"))]
pub(super) fn link(link: &LinkState) -> Cell {
    match link {
        LinkState::Alone => "none: the owner grants by hand".into(),
        LinkState::Up { host } => Cell::new(format!("up: {host}"), Tone::Good),
        LinkState::Down { host, why } => Cell::new(format!("down: {host}: {why}"), Tone::Bad),
    }
}
