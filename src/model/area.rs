//! Where a gateway stands, as coarsely as it wants to be listed: a region and an area in it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that names no region or area.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {what}")]
pub struct ParseAreaError {
    found: String,
    what: &'static str,
}

/// What a directory is made for: `lyon`. 1 to 32 of `a`-`z`, `0`-`9` and `-`; it names a file of the terminal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region(String);

/// A part of a region in which access points are near each other: `lyon/market-hall`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Area {
    region: Region,
    name: String,
}

impl Area {
    /// The region that it is in.
    pub fn region(&self) -> &Region {
        &self.region
    }
}

fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}

fn refused(text: &str, what: &'static str) -> ParseAreaError {
    ParseAreaError { found: text.chars().take(80).collect(), what }
}

impl FromStr for Region {
    type Err = ParseAreaError;

    fn from_str(text: &str) -> Result<Self, ParseAreaError> {
        match is_word(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(refused(text, "a region: 1 to 32 of a-z, 0-9 and -")),
        }
    }
}

impl FromStr for Area {
    type Err = ParseAreaError;

    fn from_str(text: &str) -> Result<Self, ParseAreaError> {
        match text.split_once('/') {
            Some((region, name)) if is_word(region) && is_word(name) => {
                Ok(Self { region: Region(region.to_owned()), name: name.to_owned() })
            }
            _ => Err(refused(text, "an area: REGION/NAME, each 1 to 32 of a-z, 0-9 and -")),
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.name)
    }
}

impl TryFrom<String> for Region {
    type Error = ParseAreaError;

    fn try_from(text: String) -> Result<Self, ParseAreaError> {
        text.parse()
    }
}

impl TryFrom<String> for Area {
    type Error = ParseAreaError;

    fn try_from(text: String) -> Result<Self, ParseAreaError> {
        text.parse()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.0
    }
}

impl From<Area> for String {
    fn from(area: Area) -> Self {
        area.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_two_words_and_nothing_that_leaves_a_directory() {
        let area: Area = "lyon/market-hall".parse().unwrap();
        assert_eq!(
            (area.to_string().as_str(), area.region().to_string().as_str()),
            ("lyon/market-hall", "lyon")
        );
        let long = "a".repeat(33);
        for text in
            ["", "lyon", "lyon/", "/hall", "lyon/hall/door", "Lyon/hall", "lyon/..", "lyon/a\n", &long]
        {
            assert!(text.parse::<Area>().is_err(), "{text:?}");
        }
        for text in ["", ".", "..", "a/b", "é", "a\0", &long] {
            assert!(text.parse::<Region>().is_err(), "{text:?}");
        }
        assert!("a".repeat(32).parse::<Region>().is_ok());
    }
}
