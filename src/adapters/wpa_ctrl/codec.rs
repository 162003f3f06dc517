//! Commands, replies and events of the control interface, as bytes. Pure.
//!
//! hostapd and wpa_supplicant read a command as one string of words; nothing in it is escaped, so nothing
//! that came from outside is put into it but numbers, addresses, hexadecimal and checked text.

use std::fmt;

use zeroize::Zeroize;

use super::CtrlError;
use crate::model::MacAddr;

/// A command that cannot be read as another: no line end, no NUL, no control character in it.
///
/// May hold a passphrase: shows its first word only, and is wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Command(String);

/// A text that must not stand in a command. Does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a text with characters that a control socket cannot carry")]
pub struct UnfitText;

impl Command {
    /// A command of one word, as `PING`.
    pub fn new(verb: &'static str) -> Self {
        Self(verb.to_owned())
    }

    /// A word of our own.
    pub fn word(self, word: &'static str) -> Self {
        self.push(word)
    }

    /// A number.
    pub fn number(self, number: impl Into<u64>) -> Self {
        let text = number.into().to_string();
        self.push(&text)
    }

    /// `name=number`.
    pub fn set(self, name: &'static str, number: impl Into<u64>) -> Self {
        let text = format!("{name}={}", number.into());
        self.push(&text)
    }

    /// An address.
    pub fn mac(self, mac: MacAddr) -> Self {
        let text = mac.to_string();
        self.push(&text)
    }

    /// Octets as hexadecimal digits: how an SSID, an identity or a PMK travels.
    pub fn hex(self, octets: &[u8]) -> Self {
        let mut text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let command = self.push(&text);
        text.zeroize();
        command
    }

    /// `number:` and octets as hexadecimal digits: how an ANQP-element travels.
    pub fn tagged_hex(self, number: u16, octets: &[u8]) -> Self {
        let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        self.push(&format!("{number}:{digits}"))
    }

    /// Digits that open for one address: `digits|mac=address`, as `sae_password` wants it.
    pub fn password_of(self, digits: &str, station: MacAddr) -> Self {
        debug_assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let mut text = format!("{digits}|mac={station}");
        let command = self.push(&text);
        text.zeroize();
        command
    }

    /// Printable ASCII without spaces: an interface name, a file path.
    pub fn text(self, text: &str) -> Result<Self, UnfitText> {
        match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(self.push(text)),
            false => Err(UnfitText),
        }
    }

    /// `"text"`, of printable ASCII; the receiver takes it up to the last quotation mark.
    pub fn quoted(self, text: &str) -> Result<Self, UnfitText> {
        match text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            true => {
                let mut quoted = format!("\"{text}\"");
                let command = self.push(&quoted);
                quoted.zeroize();
                Ok(command)
            }
            false => Err(UnfitText),
        }
    }

    /// The bytes to send.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The first word.
    pub fn verb(&self) -> &str {
        self.0.split(' ').next().unwrap_or_default()
    }

    fn push(mut self, word: &str) -> Self {
        debug_assert!(word.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        // Grown by hand: a reallocation would leave a copy behind.
        let mut grown = String::with_capacity(self.0.len() + 1 + word.len());
        grown.push_str(&self.0);
        grown.push(' ');
        grown.push_str(word);
        self.0.zeroize();
        self.0 = grown;
        self
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} …)", self.verb())
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply(Vec<u8>);

impl Reply {
    /// Takes the bytes over; a trailing line end is not part of it.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        while bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        Self(bytes)
    }

    /// All of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text; what is not UTF-8 is replaced. SSIDs in replies are escaped by the sender.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'\n')
    }

    /// The value of the line `name=value`, as in `STATUS`.
    pub fn value(&self, name: &str) -> Option<String> {
        let line = self.lines().find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(String::from_utf8_lossy(line).into_owned())
    }

    /// Whether it is `OK`.
    pub fn is_ok(&self) -> bool {
        self.0 == b"OK"
    }

    /// Whether it is `FAIL…` or `UNKNOWN COMMAND`.
    pub fn is_refusal(&self) -> bool {
        self.0.starts_with(b"FAIL") || self.0.starts_with(b"UNKNOWN COMMAND")
    }

    /// The refusal that this reply is to `command`.
    pub fn refused(&self, command: &Command) -> CtrlError {
        let start = &self.0[..self.0.len().min(80)];
        CtrlError::Refused { verb: command.verb().to_owned(), reply: start.escape_ascii().to_string() }
    }
}

/// What happened, as told to those who are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// 0 (all) to 5 (errors), 3 for what matters: `MSG_INFO` of `wpa_debug.h`.
    pub level: u8,
    /// `CTRL-EVENT-CONNECTED - Connection to …`; of unknown origin in parts, and without control characters.
    pub text: String,
}

impl Event {
    /// Its first word: `AP-STA-CONNECTED`.
    pub fn name(&self) -> &str {
        self.words().next().unwrap_or_default()
    }

    /// Its words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split_ascii_whitespace()
    }

    /// The value of the word `name=value`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.words().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Reads `<3>AP-STA-CONNECTED 02:…`; `None` for what is no event.
pub fn parse_event(datagram: &[u8]) -> Option<Event> {
    let [b'<', level @ b'0'..=b'9', b'>', text @ ..] = datagram else { return None };
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end().chars().map(|char| if char.is_control() { '\u{fffd}' } else { char });
    Some(Event { level: level - b'0', text: text.collect() })
}

/// Undoes `printf_encode()` of wpa_supplicant's `utils/common.c`, as SSIDs are written in scan results and
/// `STATUS`; `None` for an escape that it never writes.
pub fn printf_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        let octet = match byte {
            b'\\' => match rest.next()? {
                quoted @ (b'"' | b'\\') => quoted,
                b'e' => 0x1b,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let mut digit = || char::from(rest.next()?).to_digit(16);
                    let (high, low) = (digit()?, digit()?);
                    u8::try_from(high << 4 | low).ok()?
                }
                _ => return None,
            },
            plain => plain,
        };
        octets.push(octet);
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_holds_what_was_put_into_it() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let command = Command::new("DEAUTHENTICATE").mac(mac).set("reason", 4u16);
        assert_eq!(command.as_bytes(), b"DEAUTHENTICATE 02:00:00:00:00:01 reason=4");
        let command = Command::new("SET_NETWORK").number(0u32).word("ssid").hex(b"a\n|");
        assert_eq!(command.as_bytes(), b"SET_NETWORK 0 ssid 610a7c");
        let command = Command::new("SET").word("anqp_elem").tagged_hex(277, b"a\n");
        assert_eq!(command.as_bytes(), b"SET anqp_elem 277:610a");
        let command = Command::new("SET_NETWORK").number(0u32).word("psk").quoted("a \"b\" c").unwrap();
        assert_eq!(command.as_bytes(), b"SET_NETWORK 0 psk \"a \"b\" c\"");
        assert_eq!(format!("{command:?}"), "Command(SET_NETWORK …)");
    }

    #[test]
    fn no_byte_that_ends_a_line_or_a_word_gets_in() {
        for byte in (0..=0xffu8).map(char::from) {
            let text = format!("a{byte}b");
            let fits = matches!(byte, ' '..='~');
            assert_eq!(Command::new("X").quoted(&text).is_ok(), fits, "{byte:?}");
            assert_eq!(Command::new("X").text(&text).is_ok(), fits && byte != ' ', "{byte:?}");
        }
        assert_eq!(Command::new("X").text(""), Err(UnfitText));
    }

    #[test]
    fn replies_as_they_come() {
        assert!(Reply::new(b"OK\n".to_vec()).is_ok());
        for refusal in ["FAIL\n", "FAIL-BUSY\n", "UNKNOWN COMMAND\n"] {
            let reply = Reply::new(refusal.into());
            assert!(reply.is_refusal() && !reply.is_ok());
        }
        let reply = Reply::new(b"FAIL\x1b\n\xff".to_vec());
        let error = reply.refused(&Command::new("PING")).to_string();
        assert_eq!(error, r#"PING was answered by "FAIL\\x1b\\n\\xff""#);
        let status = Reply::new(b"bssid=02:00:00:00:00:01\nssid=a\\n=b\nwpa_state=COMPLETED\n".to_vec());
        assert_eq!(status.value("ssid").unwrap(), "a\\n=b");
        assert_eq!(status.value("wpa_state").unwrap(), "COMPLETED");
        assert_eq!(status.value("state"), None);
    }

    #[test]
    fn events_as_captured() {
        let event = parse_event(b"<3>AP-STA-CONNECTED 02:bb:00:00:00:01 keyid=0a1b").unwrap();
        assert_eq!((event.level, event.name()), (3, "AP-STA-CONNECTED"));
        assert_eq!(event.value("keyid"), Some("0a1b"));
        let event = parse_event(b"<3>CTRL-EVENT-TERMINATING \n").unwrap();
        assert_eq!(event.text, "CTRL-EVENT-TERMINATING");
        for noise in [b"OK\n".as_slice(), b"", b"<", b"<3", b"<x>A", b"AP-STA-CONNECTED"] {
            assert_eq!(parse_event(noise), None);
        }
        assert_eq!(parse_event(b"<2>a\nb\xff\0c").unwrap().text, "a\u{fffd}b\u{fffd}\u{fffd}c");
    }

    #[test]
    fn escapes_of_scan_results_are_undone() {
        assert_eq!(
            printf_decode(br#"caf\xc3\xa9 \"x\" \\ \n\r\t\e\x00"#).unwrap(),
            b"caf\xc3\xa9 \"x\" \\ \n\r\t\x1b\0"
        );
        for broken in [r"\", r"\q", r"\x", r"\x1", r"\xg0"] {
            assert_eq!(printf_decode(broken.as_bytes()), None, "{broken}");
        }
    }
}
