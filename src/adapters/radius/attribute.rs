//! The attributes that we send and understand, by number, and values as they stand in packets.
//!
//! Others are kept as they are (`codec.rs`) and passed over.

use std::net::IpAddr;

use crate::model::{Cause, MacAddr};

/// Number of an attribute.
pub mod number {
    #![allow(missing_docs)]
    // RFC 2865, section 5.
    pub const USER_NAME: u8 = 1;
    pub const USER_PASSWORD: u8 = 2;
    pub const NAS_IP_ADDRESS: u8 = 4;
    pub const SERVICE_TYPE: u8 = 6;
    pub const FRAMED_IP_ADDRESS: u8 = 8;
    pub const REPLY_MESSAGE: u8 = 18;
    pub const CLASS: u8 = 25;
    pub const VENDOR_SPECIFIC: u8 = 26;
    pub const SESSION_TIMEOUT: u8 = 27;
    pub const IDLE_TIMEOUT: u8 = 28;
    pub const CALLED_STATION_ID: u8 = 30;
    pub const CALLING_STATION_ID: u8 = 31;
    pub const NAS_IDENTIFIER: u8 = 32;
    pub const PROXY_STATE: u8 = 33;
    // RFC 2866, section 5.
    pub const ACCT_STATUS_TYPE: u8 = 40;
    pub const ACCT_DELAY_TIME: u8 = 41;
    pub const ACCT_INPUT_OCTETS: u8 = 42;
    pub const ACCT_OUTPUT_OCTETS: u8 = 43;
    pub const ACCT_SESSION_ID: u8 = 44;
    pub const ACCT_AUTHENTIC: u8 = 45;
    pub const ACCT_SESSION_TIME: u8 = 46;
    pub const ACCT_INPUT_PACKETS: u8 = 47;
    pub const ACCT_OUTPUT_PACKETS: u8 = 48;
    pub const ACCT_TERMINATE_CAUSE: u8 = 49;
    // RFC 2869, section 5.
    pub const ACCT_INPUT_GIGAWORDS: u8 = 52;
    pub const ACCT_OUTPUT_GIGAWORDS: u8 = 53;
    pub const EVENT_TIMESTAMP: u8 = 55;
    pub const NAS_PORT_TYPE: u8 = 61;
    pub const MESSAGE_AUTHENTICATOR: u8 = 80;
    pub const ACCT_INTERIM_INTERVAL: u8 = 85;
    pub const NAS_PORT_ID: u8 = 87;
    // RFC 3162, section 2.
    pub const NAS_IPV6_ADDRESS: u8 = 95;
    // RFC 5176, section 3.5.
    pub const ERROR_CAUSE: u8 = 101;
    // RFC 6911, section 3.1.
    pub const FRAMED_IPV6_ADDRESS: u8 = 168;
}

/// NAS-Port-Type (RFC 2865, 5.41).
pub mod port_type {
    #![allow(missing_docs)]
    pub const ETHERNET: u32 = 15;
    pub const WIRELESS_802_11: u32 = 19;
}

/// Acct-Status-Type (RFC 2866, 5.1).
pub mod status {
    #![allow(missing_docs)]
    pub const START: u32 = 1;
    pub const STOP: u32 = 2;
    pub const INTERIM_UPDATE: u32 = 3;
    pub const ACCOUNTING_ON: u32 = 7;
    pub const ACCOUNTING_OFF: u32 = 8;
}

/// Acct-Authentic (RFC 2866, 5.6).
pub mod authentic {
    #![allow(missing_docs)]
    pub const RADIUS: u32 = 1;
    pub const LOCAL: u32 = 2;
}

/// Acct-Terminate-Cause (RFC 2866, 5.10).
pub mod terminate {
    #![allow(missing_docs)]
    pub const USER_REQUEST: u32 = 1;
    pub const LOST_CARRIER: u32 = 2;
    pub const IDLE_TIMEOUT: u32 = 4;
    pub const SESSION_TIMEOUT: u32 = 5;
    pub const ADMIN_RESET: u32 = 6;
    pub const ADMIN_REBOOT: u32 = 7;
    pub const NAS_REQUEST: u32 = 10;
    pub const PORT_PREEMPTED: u32 = 13;
}

/// Which Acct-Terminate-Cause a cause of ours is.
pub fn terminate_cause(cause: Cause) -> u32 {
    match cause {
        Cause::Left => terminate::USER_REQUEST,
        Cause::Silence | Cause::NeverJoined => terminate::IDLE_TIMEOUT,
        Cause::Expired => terminate::SESSION_TIMEOUT,
        Cause::Owner => terminate::ADMIN_RESET,
        // "The NAS ended the session for a non-error reason not otherwise listed".
        Cause::Quota | Cause::NotWanted | Cause::CodeLost => terminate::NAS_REQUEST,
        // "To allocate the port to a higher priority use".
        Cause::Replaced => terminate::PORT_PREEMPTED,
    }
}

/// One attribute.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its number.
    pub number: u8,
    /// Its value, 1 to 253 octets.
    pub value: Vec<u8>,
}

/// The most octets of a value.
pub const MOST_OCTETS: usize = 253;

impl Attribute {
    /// Octets as they are; what does not fit is cut off.
    pub fn octets(number: u8, value: &[u8]) -> Self {
        Self { number, value: value[..value.len().min(MOST_OCTETS)].to_vec() }
    }

    /// A text; what does not fit is cut off.
    pub fn text(number: u8, value: &str) -> Self {
        let mut end = value.len().min(MOST_OCTETS);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        Self::octets(number, &value.as_bytes()[..end])
    }

    /// An integer, enumeration or time.
    pub fn integer(number: u8, value: u32) -> Self {
        Self::octets(number, &value.to_be_bytes())
    }

    /// An address; IPv4 and IPv6 have attributes of their own.
    pub fn address((v4, v6): (u8, u8), address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::octets(v4, &address.octets()),
            IpAddr::V6(address) => Self::octets(v6, &address.octets()),
        }
    }

    /// The value as an integer, if it has four octets.
    pub fn as_integer(&self) -> Option<u32> {
        self.value.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    /// The value as a text.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }
}

/// The number and the length: values may be passwords.
impl std::fmt::Debug for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} octets", self.number, self.value.len())
    }
}

/// The halves of a counter: octets modulo 2^32, and how often that came round (RFC 2869, 5.1).
pub fn words(octets: u64) -> (u32, u32) {
    #[allow(clippy::cast_possible_truncation)]
    (octets as u32, (octets >> 32) as u32)
}

/// An address as 802.11 has it in Calling- and Called-Station-Id (RFC 3580, 3.20, 3.21).
pub fn station_id(mac: MacAddr) -> String {
    mac.0.map(|octet| format!("{octet:02X}")).join("-")
}

/// The address in a Calling-Station-Id, however its writer separates the digits.
pub fn parse_station_id(value: &[u8]) -> Option<MacAddr> {
    let digits: String =
        std::str::from_utf8(value).ok()?.chars().filter(|char| !matches!(char, '-' | ':' | '.')).collect();
    crate::model::unhex(&digits)?.try_into().ok().map(MacAddr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_beyond_four_gibibytes_come_in_two_words() {
        assert_eq!(words(0), (0, 0));
        assert_eq!(words(u64::from(u32::MAX)), (u32::MAX, 0));
        assert_eq!(words(5 << 32 | 7), (7, 5));
    }

    #[test]
    fn an_address_is_read_however_it_is_written() {
        let mac = MacAddr([0x02, 0xab, 0xcd, 0, 0, 1]);
        assert_eq!(station_id(mac), "02-AB-CD-00-00-01");
        for text in ["02-AB-CD-00-00-01", "02:ab:cd:00:00:01", "02abcd000001", "02ab.cd00.0001"] {
            assert_eq!(parse_station_id(text.as_bytes()), Some(mac), "{text}");
        }
        for text in ["", "02-AB-CD-00-00", "02-AB-CD-00-00-01-02", "02-AB-CD-00-00-0g", "\u{e9}"] {
            assert_eq!(parse_station_id(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let text = format!("{}é", "a".repeat(252));
        assert_eq!(Attribute::text(number::USER_NAME, &text).value.len(), 252);
    }
}
