//! Why access ended, and why it was refused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a grant ends. Travels as its stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The terminal's heartbeats stopped and the gateway saw no traffic either.
    Silence,
    /// The terminal said that it leaves.
    Left,
    /// The owner, or somebody at the coordinator, ended it by hand.
    Owner,
    /// The time granted is over.
    Expired,
    /// The bytes granted are used up.
    Quota,
    /// It was granted and never used: the terminal did not join in time.
    NeverJoined,
    /// A newer grant to the same station replaced it.
    Replaced,
    /// The set of grants that the coordinator wants does not hold it.
    NotWanted,
    /// The gateway has lost the access code of this join, and nobody else knows it: a new join gets a new one.
    CodeLost,
}

impl Cause {
    /// The stable word, as in logs, the command line and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Silence => "silence",
            Cause::Left => "left",
            Cause::Owner => "owner",
            Cause::Expired => "expired",
            Cause::Quota => "quota",
            Cause::NeverJoined => "never-joined",
            Cause::Replaced => "replaced",
            Cause::NotWanted => "not-wanted",
            Cause::CodeLost => "code-lost",
        }
    }

    /// The 802.11 reason code for the deauthentication (IEEE 802.11-2020, table 9-49).
    pub fn reason_code(self) -> u16 {
        match self {
            // DISASSOC_DUE_TO_INACTIVITY
            Cause::Silence | Cause::NeverJoined => 4,
            // DEAUTH_LEAVING: "because sending STA is leaving (or has left)"
            Cause::Left => 3,
            // AUTHORIZED_ACCESS_LIMIT_REACHED
            Cause::Expired | Cause::Quota => 46,
            // EXTERNAL_SERVICE_REQUIREMENTS
            Cause::Owner | Cause::Replaced | Cause::NotWanted | Cause::CodeLost => 47,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A request that was not fulfilled: a stable word, and a sentence with the numbers that decided it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// For programs; never changes once published.
    pub word: String,
    /// For people; names what was found and what to do.
    pub sentence: String,
}

impl Refusal {
    /// A refusal with its stable word and its sentence.
    pub fn new(word: &str, sentence: impl Into<String>) -> Self {
        Self { word: word.to_owned(), sentence: sentence.into() }
    }

    /// As somebody else may have written it, for people and logs: a word and one short line.
    pub fn shown(&self) -> Self {
        let word: String =
            self.word.chars().filter(|char| matches!(char, 'a'..='z' | '-')).take(32).collect();
        let plain = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
        Self { word, sentence: self.sentence.chars().map(plain).take(400).collect() }
    }
}
