//! What a person is told: a short text, perhaps a link, and for whom it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Area, GrantId, ServiceId, SessionId, Ssid};

/// Octets of UTF-8 that the text of a message has at most.
const MOST_TEXT: usize = 1000;

/// Characters that a link has at most.
const MOST_LINK: usize = 500;

/// The text of a message: 1 to 1000 octets of UTF-8 in one line, without characters that steer a terminal.
///
/// Whatever shows it still escapes what its own reader would interpret, such as markup.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageText(String);

/// An `http` or `https` URL of at most 500 printable ASCII characters (RFC 3986).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Link(String);

/// A text that is no message, or no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Empty or too long.
    #[error("the text of a message has 1 to {MOST_TEXT} octets; this one has {0}")]
    Length(usize),
    /// A character that ends a line or steers a terminal.
    #[error("the text of a message has no control characters and no line breaks; this one has U+{0:04X}")]
    Control(u32),
    /// Another scheme, other characters, or too long.
    #[error("a link begins with http:// or https:// and has at most {MOST_LINK} printable ASCII characters")]
    Link,
}

impl MessageText {
    /// Checks the text.
    pub fn new(text: impl Into<String>) -> Result<Self, BadMessage> {
        let text = text.into();
        if !(1..=MOST_TEXT).contains(&text.len()) {
            return Err(BadMessage::Length(text.len()));
        }
        match text.chars().find(|char| steers(*char)) {
            Some(char) => Err(BadMessage::Control(char.into())),
            None => Ok(Self(text)),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Control characters, line and paragraph separators, bidirectional overrides and isolates (Unicode, UAX 9).
fn steers(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Link {
    /// Checks the link.
    pub fn new(url: impl Into<String>) -> Result<Self, BadMessage> {
        let url = url.into();
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let fits = url.len() <= MOST_LINK && url.bytes().all(|byte| byte.is_ascii_graphic());
        if rest.is_none_or(str::is_empty) || !fits { Err(BadMessage::Link) } else { Ok(Self(url)) }
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MessageText {
    type Error = BadMessage;

    fn try_from(text: String) -> Result<Self, BadMessage> {
        Self::new(text)
    }
}

impl From<MessageText> for String {
    fn from(text: MessageText) -> String {
        text.0
    }
}

impl TryFrom<String> for Link {
    type Error = BadMessage;

    fn try_from(url: String) -> Result<Self, BadMessage> {
        Self::new(url)
    }
}

impl From<Link> for String {
    fn from(link: Link) -> String {
        link.0
    }
}

// What people are told is not for logs.
impl fmt::Debug for MessageText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text of {} octets", self.0.len())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link of {} characters", self.0.len())
    }
}

/// For whom a message is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audience {
    /// Every terminal at the gateway.
    Everybody,
    /// The terminal with this grant.
    Grant(GrantId),
    /// The terminals on the network with this name.
    Network(Ssid),
    /// The terminal of this session. Only a coordinator knows sessions.
    Session(SessionId),
    /// Every terminal at this gateway, said by a coordinator.
    Gateway(ServiceId),
    /// Every terminal at a gateway of this area, said by a coordinator.
    Area(Area),
}

impl Audience {
    /// Whether it is one terminal: then the message is over once that one has it.
    pub fn is_one(&self) -> bool {
        match self {
            Audience::Grant(_) | Audience::Session(_) => true,
            Audience::Everybody | Audience::Network(_) | Audience::Gateway(_) | Audience::Area(_) => false,
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Audience::Everybody => f.write_str("everybody"),
            Audience::Grant(grant) => write!(f, "grant {grant}"),
            Audience::Network(ssid) => write!(f, "network {ssid}"),
            Audience::Session(session) => write!(f, "session {session}"),
            Audience::Gateway(gateway) => write!(f, "gateway {gateway}"),
            Audience::Area(area) => write!(f, "area {area}"),
        }
    }
}

/// A message. Fields in the order deterministic CBOR asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Names it for its whole life; a terminal shows each once.
    pub id: super::MessageId,
    /// For whom.
    pub to: Audience,
    /// Where there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// What is said.
    pub text: MessageText,
}

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// The gateway and its owner.
    Owner,
    /// The coordinator.
    Coordinator,
}

impl Author {
    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Author::Owner => "owner",
            Author::Coordinator => "coordinator",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_steers_a_terminal_is_no_message() {
        for text in ["Free coffee until 5 pm", "café <b>&amp;</b> $(id) %s", "שלום", "👩‍👩‍👧", &"x".repeat(1000)]
        {
            assert_eq!(MessageText::new(text).unwrap().as_str(), text);
        }
        for text in
            ["", &"x".repeat(1001), "a\nb", "\u{1b}[2J", "a\0", "\u{9b}2J", "\u{202e}gpj.exe", "a\u{2029}"]
        {
            let quoted = serde_json::to_string(text).unwrap();
            assert!(serde_json::from_str::<MessageText>(&quoted).is_err(), "{text:?}");
        }
        assert_eq!(MessageText::new("a\u{7}").unwrap_err(), BadMessage::Control(7));
    }

    #[test]
    fn a_link_is_http_or_nothing() {
        for link in ["https://a.example/x?y=z#w", "http://10.77.0.1"] {
            assert_eq!(Link::new(link).unwrap().as_str(), link);
        }
        for link in [
            "",
            "https://",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "https://a b",
            "https://é",
            "HTTPS://a",
        ] {
            assert_eq!(Link::new(link), Err(BadMessage::Link), "{link}");
        }
        assert!(Link::new(format!("https://{}", "a".repeat(493))).is_err());
    }

    #[test]
    fn a_log_does_not_say_what_people_are_told() {
        assert_eq!(format!("{:?}", MessageText::new("secret").unwrap()), "text of 6 octets");
        assert!(!format!("{:?}", Link::new("https://secret").unwrap()).contains("secret"));
    }
}
