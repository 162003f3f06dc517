//! Messages for terminals, as an owner asks for them and is shown them. The same for gateway and coordinator.

use serde::{Deserialize, Serialize};

use crate::model::{Audience, Author, Link, MessageId, MessageText, Millis};

/// What terminals are to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageAsk {
    /// Whom. A gateway takes `everybody`, `grant` and `network`, a coordinator `session` and `gateway`.
    pub to: Audience,
    /// What.
    pub text: MessageText,
    /// Where there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// Told for so long; absent: a day. At most 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<Millis>,
}

/// A message that is being told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRow {
    /// Its id.
    pub id: MessageId,
    /// Whom it is for.
    pub to: Audience,
    /// Who says it.
    pub author: Author,
    /// What it says.
    pub text: MessageText,
    /// Where there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// What is left of its time.
    pub left: Millis,
    /// Terminals that have it, as far as is remembered. One for a single terminal is over once that has it.
    pub taken: u32,
}
