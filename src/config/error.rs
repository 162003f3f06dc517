//! What is wrong with a configuration file: file, line, key, what was found, what is allowed.
//!
//! For every role. [`parse`] reads a fragment; [`ConfigError::invalid`] is for what only a check of the
//! values can find. Not here: what the keys mean.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Something in it is not allowed.
    #[error("{0}")]
    Invalid(Box<Invalid>),
}

/// One thing that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The file.
    pub path: PathBuf,
    /// From 1; 0 where the key is missing altogether.
    pub line: usize,
    /// Dotted; empty where the text is no TOML.
    pub key: String,
    /// What was found there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " found {}; allowed: {}", self.found, self.allowed)
    }
}

impl ConfigError {
    /// The value of a dotted key (`brake.window`, `networks.0.ssid`) is not allowed; `text` is the file's.
    ///
    /// The line is that of the key, or of the last part of it that is there.
    pub fn invalid(
        path: &Path,
        text: &str,
        key: &str,
        found: impl fmt::Display,
        allowed: impl fmt::Display,
    ) -> Self {
        Self::Invalid(Box::new(Invalid {
            path: path.to_owned(),
            line: line_of_key(text, key).unwrap_or(0),
            key: key.to_owned(),
            found: found.to_string(),
            allowed: allowed.to_string(),
        }))
    }
}

/// The text of a configuration file.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

/// The fragment that a text is. `path` is for the errors.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Invalid(Box::new(explain(path, text, &error))))
}

fn explain(path: &Path, text: &str, error: &toml::de::Error) -> Invalid {
    let message = error.message();
    let span = error.span().unwrap_or(0..0);
    let at = span.start.min(text.len());
    let document = DeTable::parse(text).ok();
    let root = document.as_ref().map(|table| table.get_ref());
    let path = path.to_owned();
    if let Some(name) = quoted(message, "missing field ") {
        // serde points at the table that lacks it.
        let table = root.and_then(|root| table_at(root, &span, String::new()));
        return Invalid {
            path,
            line: if table.is_some() { line_at(text, at) } else { 0 },
            key: join(&table.unwrap_or_default(), name),
            found: "nothing".to_owned(),
            allowed: "a value; this key must be given".to_owned(),
        };
    }
    let (mut key, mut found) = match root.and_then(|root| place_of(root, at, String::new())) {
        Some((key, value)) => (key, shorten(text.get(value).unwrap_or_default())),
        None => (String::new(), shorten(text.get(span).unwrap_or_default())),
    };
    // serde: "unknown field `x`, expected one of `a`, `b`", "invalid type: string \"x\", expected u64"
    let allowed = match message.split_once(", expected ") {
        Some((what, expected)) => {
            if let Some(name) = quoted(what, "unknown field ") {
                found = "an unknown key".to_owned();
                if key.rsplit('.').next() != Some(name) {
                    key = join(&key, name);
                }
            } else if let Some((_, unexpected)) = what.split_once(": ") {
                found = unexpected.to_owned();
            }
            expected.trim_start_matches("one of ").to_owned()
        }
        None => message.to_owned(),
    };
    if found.is_empty() {
        found = "the end of the line".to_owned();
    }
    Invalid { path, line: line_at(text, at), key, found, allowed }
}

/// The dotted key of the table that stands exactly there; `None` for the whole file.
fn table_at(table: &DeTable<'_>, span: &Range<usize>, around: String) -> Option<String> {
    fn within(
        value: &DeValue<'_>,
        stands: Range<usize>,
        span: &Range<usize>,
        path: String,
    ) -> Option<String> {
        match value {
            DeValue::Table(table) => {
                table_at(table, span, path.clone()).or((stands == *span).then_some(path))
            }
            DeValue::Array(items) => items.iter().enumerate().find_map(|(number, item)| {
                within(item.get_ref(), item.span(), span, join(&path, &number.to_string()))
            }),
            _ => None,
        }
    }
    table
        .iter()
        .find_map(|(name, value)| within(value.get_ref(), value.span(), span, join(&around, name.get_ref())))
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message.split_once(before)?.1.split('`').nth(1)
}

fn join(table: &str, name: &str) -> String {
    if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") }
}

/// One line, without control characters: it may come from anywhere.
fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let mut short: String = line.chars().filter(|char| !char.is_control()).take(60).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// The dotted key around an offset, and where its value stands.
fn place_of(table: &DeTable<'_>, at: usize, around: String) -> Option<(String, Range<usize>)> {
    for (name, value) in table {
        let (name_at, value_at) = (name.span(), value.span());
        let path = join(&around, name.get_ref());
        if name_at.contains(&at) {
            return Some((path, value_at));
        }
        if let Some(place) = place_in(value.get_ref(), at, path.clone()) {
            return Some(place);
        }
        if value_at.contains(&at) || value_at.start == at {
            return Some((path, value_at));
        }
    }
    None
}

fn place_in(value: &DeValue<'_>, at: usize, path: String) -> Option<(String, Range<usize>)> {
    match value {
        DeValue::Table(table) => place_of(table, at, path),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(number, item)| {
            let path = join(&path, &number.to_string());
            place_in(item.get_ref(), at, path.clone())
                .or_else(|| item.span().contains(&at).then(|| (path, item.span())))
        }),
        _ => None,
    }
}

/// The line of a dotted key, or of the last part of it that is there.
fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut line = None;
    let mut table = Some(root.get_ref());
    let mut array = None;
    for part in key.split('.') {
        let value = match (table, array) {
            (Some(entries), _) => {
                let Some((name, value)) = entries.iter().find(|(name, _)| name.get_ref().as_ref() == part)
                else {
                    return line;
                };
                line = Some(line_at(text, name.span().start));
                value
            }
            (None, Some(items)) => {
                let items: &toml::de::DeArray<'_> = items;
                let Some(item) = part.parse::<usize>().ok().and_then(|number| items.get(number)) else {
                    return line;
                };
                line = Some(line_at(text, item.span().start));
                item
            }
            (None, None) => return line,
        };
        (table, array) = match value.get_ref() {
            DeValue::Table(table) => (Some(table), None),
            DeValue::Array(items) => (None, Some(items)),
            _ => (None, None),
        };
    }
    line
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Fragment {
        name: String,
        port: Option<u16>,
        #[serde(default)]
        networks: Vec<Network>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Network {
        ssid: String,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Open,
        Closed,
    }

    #[test]
    fn every_error_names_file_line_key_found_and_allowed() {
        for (text, expected) in [
            (
                "name = \"x\"\nprot = 1\n",
                "c.toml:2: prot: found an unknown key; allowed: `name`, `port`, `networks`",
            ),
            ("name = \"x\"\nport = \"y\"\n", "c.toml:2: port: found string \"y\"; allowed: u16"),
            ("name = \"x\"\nport = 70000\n", "c.toml:2: port: found integer `70000`; allowed: u16"),
            ("port = 1\n", "c.toml: name: found nothing; allowed: a value; this key must be given"),
            (
                "name = \"x\"\n[[networks]]\nssid = \"a\"\n[[networks]]\nkind = \"open\"\n",
                "c.toml:4: networks.1.ssid: found nothing; allowed: a value; this key must be given",
            ),
            (
                "name = \"x\"\n[[networks]]\nssid = \"a\"\n[[networks]]\nssid = \"b\"\nkind = \"ajar\"\n",
                "c.toml:6: networks.1.kind: found \"ajar\"; allowed: `open` or `closed`",
            ),
            (
                "name = \"x\"\n[[networks]]\nsid = \"a\"\n",
                "c.toml:3: networks.0.sid: found an unknown key; allowed: `ssid` or `kind`",
            ),
        ] {
            let error = parse::<Fragment>(Path::new("c.toml"), text).unwrap_err().to_string();
            assert_eq!(error, expected);
        }
        let error = parse::<Fragment>(Path::new("c.toml"), "name = \"x\nport = 1\n").unwrap_err().to_string();
        assert!(error.starts_with("c.toml:1: found "), "{error}");
    }

    #[test]
    fn a_check_names_the_line_of_a_dotted_key() {
        let text = "name = \"x\"\n\n[[networks]]\nssid = \"a\"\n[[networks]]\nssid = \"b\"\n";
        for (key, line) in
            [("name", ":1:"), ("networks.1.ssid", ":6:"), ("networks.1.kind", ":5:"), ("other", "")]
        {
            let error = ConfigError::invalid(Path::new("c.toml"), text, key, "b", "a");
            assert_eq!(
                error.to_string(),
                format!("c.toml:{line} {key}: found b; allowed: a").replace("::", ":")
            );
        }
    }
}
