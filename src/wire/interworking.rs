//! What is told before anybody joins (IEEE 802.11-2020, 11.22, once 802.11u): what network this is, its venue and URL.
//!
//! The network is an element in beacons, which hostapd makes from numbers. Venue name and URL are ANQP-elements,
//! handed to whoever asks for them; here they are made octet for octet. Pure. Set by `adapters/hostapd`.

use serde::Deserialize;

use crate::model::{Bssid, Link};

/// Info ID of the Venue Name ANQP-element (9.4.5.4).
pub const VENUE_NAME: u16 = 258;

/// Info ID of the Venue URL ANQP-element (9.4.5).
pub const VENUE_URL: u16 = 277;

/// An ANQP-element holds lengths of one octet: for the URL its number, for the name its language come first.
const MOST_URL: usize = 255 - 1;
const MOST_NAME: usize = 255 - 3;

/// Access Network Type (9.4.2.91).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessNetwork {
    /// For people with an account of the owner's.
    Private = 0,
    /// The same, and for guests.
    PrivateWithGuests = 1,
    /// For everybody, for a fee.
    ChargeablePublic = 2,
    /// For everybody.
    FreePublic = 3,
    /// A telephone's or a camera's.
    PersonalDevice = 4,
    /// For experiments.
    Test = 14,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interworking {
    /// Which kind.
    pub network: AccessNetwork,
    /// Whether it leads to the internet.
    pub internet: bool,
    /// Venue Group and Venue Type (9.4.1.34); absent: hostapd.conf's.
    pub venue: Option<(u8, u8)>,
    /// One name for all access points of the same network: the address of one of them; absent: hostapd.conf's.
    pub hessid: Option<Bssid>,
    /// What people call the place; absent: hostapd.conf's.
    pub venue_name: Option<VenueName>,
    /// Where they read more of it; absent: hostapd.conf's.
    pub venue_url: Option<VenueUrl>,
}

/// The name of a place, and the language that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VenueName {
    language: [u8; 3],
    name: String,
}

/// Where a place describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VenueUrl(String);

impl VenueName {
    /// `language`: two or three letters of ISO 639. `None` for what is no such language, and for a name that is
    /// empty, longer than 252 octets of UTF-8, or holds control characters.
    pub fn new(language: &str, name: &str) -> Option<Self> {
        let letters = language.as_bytes();
        let is_language = matches!(letters.len(), 2 | 3) && letters.iter().all(u8::is_ascii_lowercase);
        let is_name = (1..=MOST_NAME).contains(&name.len()) && !name.contains(char::is_control);
        // A code of two letters is padded with a zero.
        let octet = |at: usize| letters.get(at).copied().unwrap_or(0);
        (is_language && is_name).then(|| Self { language: [0, 1, 2].map(octet), name: name.to_owned() })
    }

    /// The payload of the ANQP-element: venue info, then length, language and name.
    pub fn anqp(&self, venue: Option<(u8, u8)>) -> Vec<u8> {
        // 0, 0: unspecified.
        let (group, kind) = venue.unwrap_or_default();
        let length = u8::try_from(3 + self.name.len()).expect("252 octets of name at most");
        [&[group, kind, length][..], &self.language, self.name.as_bytes()].concat()
    }
}

impl VenueUrl {
    /// `None` for what is no `http` or `https` URL of at most 254 printable ASCII characters (RFC 3986).
    pub fn new(url: &str) -> Option<Self> {
        Link::new(url).ok().filter(|_| url.len() <= MOST_URL).map(|link| Self(link.into()))
    }

    /// The payload of the ANQP-element: length, the number of the name that it belongs to (0: of no name), URL.
    pub fn anqp(&self, of_name: bool) -> Vec<u8> {
        let length = u8::try_from(1 + self.0.len()).expect("254 octets of URL at most");
        [&[length, of_name.into()][..], self.0.as_bytes()].concat()
    }
}

impl Interworking {
    /// Info ID and payload of the ANQP-elements.
    pub fn anqp(&self) -> Vec<(u16, Vec<u8>)> {
        let name = self.venue_name.as_ref().map(|name| (VENUE_NAME, name.anqp(self.venue)));
        let url = self.venue_url.as_ref().map(|url| (VENUE_URL, url.anqp(self.venue_name.is_some())));
        name.into_iter().chain(url).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_url_are_as_the_standard_has_them() {
        let all = Interworking {
            network: AccessNetwork::ChargeablePublic,
            internet: true,
            venue: Some((1, 13)),
            hessid: None,
            venue_name: VenueName::new("fr", "Café"),
            venue_url: VenueUrl::new("https://a.b/"),
        };
        assert_eq!(
            all.anqp(),
            [(258, b"\x01\x0d\x08fr\0Caf\xc3\xa9".to_vec()), (277, b"\x0d\x01https://a.b/".to_vec())]
        );
        let url = Interworking { venue_name: None, venue: None, ..all.clone() };
        assert_eq!(url.anqp(), [(277, b"\x0d\0https://a.b/".to_vec())]);
        assert_eq!(Interworking { venue_url: None, ..url }.anqp(), []);
        let unspecified = Interworking { venue: None, venue_url: None, ..all };
        assert_eq!(unspecified.anqp()[0].1[..2], [0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (language, name) in
            [("e", "a"), ("engl", "a"), ("EN", "a"), ("e\n", "a"), ("en", ""), ("en", "a\nb")]
        {
            assert_eq!(VenueName::new(language, name), None, "{language:?} {name:?}");
        }
        assert_eq!(VenueName::new("en", &"a".repeat(253)), None);
        let long = VenueName::new("en", &"a".repeat(252)).unwrap().anqp(None);
        assert_eq!((long.len(), long[2]), (2 + 1 + 255, 255));
        for url in
            ["", "https://", "ftp://a", "https://a b", "https://a\n", "https://é", "javascript:alert(1)"]
        {
            assert_eq!(VenueUrl::new(url), None, "{url:?}");
        }
        assert_eq!(VenueUrl::new(&format!("https://{}", "a".repeat(247))), None);
        let long = VenueUrl::new(&format!("https://{}", "a".repeat(246))).unwrap().anqp(true);
        assert_eq!((long.len(), long[0]), (256, 255));
    }
}
