//! What a gateway announces on the air: a vendor specific element (IEEE 802.11-2020, 9.4.2.25), byte for byte.
//!
//! Also a walk through any list of elements: those of others are named and passed over. Pure. Which token is
//! told when, and which one still counts, is decided in `logic/beacon.rs`; `docs/wire.md` gives the reasons.
//!
//! ```text
//! dd 32 | 02 66 ff 01 | 01    | 01    | 16 octets | 8     | 4 LE | 16    | 8
//! id len| OUI      type version flags   service id  epoch   slot   token   tariff, if flag 2
//! ```

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::model::{BeaconEpoch, BeaconSecret, Bssid, ServiceId, bytes};

/// Element ID of vendor specific elements (table 9-92).
pub const VENDOR_SPECIFIC: u8 = 221;

/// Ours. The last four bits of the first octet, 0010, put it into the quadrant "administratively assigned" of
/// IEEE 802c-2017: the IEEE gives such numbers to nobody, neither as OUI nor as CID.
pub const OUI: [u8; 3] = [0x02, 0x66, 0xff];

/// Tells our elements apart; there is one.
pub const TYPE: u8 = 1;

/// The longest list that is read: the longest frame body of management (IEEE 802.11-2020, table 9-34).
pub const MAX_LIST: usize = 2304;

const ROOM: u8 = 1;
const TARIFF: u8 = 2;
const DOMAIN: &[u8] = b"wayleave beacon v1\0";
/// From the OUI to the slot.
const HEAD: usize = 4 + 2 + 16 + 8 + 4;
const TOKEN: usize = 16;
const DIGEST: usize = 8;

/// HMAC-SHA256, its first 16 octets (RFC 2104, section 5: no fewer than half).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub [u8; TOKEN]);

/// Which tariffs hold; equal digests, equal tariffs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TariffDigest(pub [u8; DIGEST]);

/// What is said, before it is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Whose.
    pub service: ServiceId,
    /// Whether another grant could be given.
    pub room: bool,
    /// Which run of the gateway.
    pub epoch: BeaconEpoch,
    /// Slots since that run began.
    pub slot: u32,
    /// Absent while there are no tariffs.
    pub tariff: Option<TariffDigest>,
}

/// An announcement and its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// What is said.
    pub said: Announcement,
    /// Only the gateway, and whom it told its secret, could make it.
    pub token: Token,
}

/// Our element as somebody heard it, whole, for whoever can check it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeardBeacon(#[serde(with = "bytes")] Vec<u8>);

/// One element of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// Ours.
    Beacon(Beacon),
    /// Somebody else's, kept as it is.
    Other {
        /// Its Element ID.
        id: u8,
        /// What follows the length.
        body: Vec<u8>,
    },
}

/// Why octets are no list of elements, or one of ours in it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// Longer than [`MAX_LIST`].
    #[error("{length} octets; a list of elements has {MAX_LIST} at most")]
    TooLong {
        /// Octets found.
        length: usize,
    },
    /// The list ends within an element.
    #[error("the element at octet {at} is truncated: {wanted} octets are to follow, {found} do")]
    Truncated {
        /// Where it begins.
        at: usize,
        /// What it needs behind its first octet.
        wanted: usize,
        /// What there is.
        found: usize,
    },
    /// Ours, of a version that is not known here.
    #[error("the Wayleave element at octet {at} has version {found}; {VERSION} is known")]
    Version {
        /// Where it begins.
        at: usize,
        /// Its version.
        found: u8,
    },
    /// Ours, with too few or too many octets.
    #[error("the Wayleave element at octet {at} has {found} octets behind its length, not {wanted}")]
    Length {
        /// Where it begins.
        at: usize,
        /// What its version and flags ask for.
        wanted: usize,
        /// What it has.
        found: usize,
    },
}

impl Announcement {
    /// With the token that proves it at this access point.
    pub fn prove(self, secret: &BeaconSecret, bssid: Bssid) -> Beacon {
        Beacon { said: self, token: self.token(secret, bssid) }
    }

    fn token(&self, secret: &BeaconSecret, bssid: Bssid) -> Token {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose()));
        for part in [DOMAIN, &bssid.0.0, &self.head()[4..], self.tail()] {
            context.update(part);
        }
        let tag = context.sign();
        Token(tag.as_ref()[..TOKEN].try_into().expect("SHA-256 has 32 octets"))
    }

    fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..3].copy_from_slice(&OUI);
        head[3] = TYPE;
        head[4] = VERSION as u8;
        head[5] = if self.room { ROOM } else { 0 } | if self.tariff.is_some() { TARIFF } else { 0 };
        head[6..22].copy_from_slice(&self.service.0);
        head[22..30].copy_from_slice(&self.epoch.0);
        head[30..].copy_from_slice(&self.slot.to_le_bytes());
        head
    }

    fn tail(&self) -> &[u8] {
        self.tariff.as_ref().map_or(&[], |digest| &digest.0)
    }
}

impl HeardBeacon {
    /// Ours in a list of elements, if there is one.
    pub fn find(list: &[u8]) -> Option<Self> {
        let found = elements(list).ok()?.into_iter().find_map(|element| match element {
            Element::Beacon(beacon) => Some(beacon.element()),
            Element::Other { .. } => None,
        });
        found.map(Self)
    }

    /// What it says; `None`: it is no element of ours, or of another version.
    pub fn read(&self) -> Option<Beacon> {
        match elements(&self.0).ok()?.as_slice() {
            [Element::Beacon(beacon)] => Some(*beacon),
            _ => None,
        }
    }
}

impl Beacon {
    /// The whole element, its id and length included.
    pub fn element(&self) -> Vec<u8> {
        let body = [&self.said.head()[..], &self.token.0, self.said.tail()].concat();
        let length = u8::try_from(body.len()).expect("58 octets at most");
        [&[VENDOR_SPECIFIC, length][..], &body].concat()
    }

    /// Whether the token was made with this secret for this access point. Says nothing of its age.
    pub fn is_proven(&self, secret: &BeaconSecret, bssid: Bssid) -> bool {
        let made = self.said.token(secret, bssid);
        // All octets, whatever they are: how long it takes tells nothing.
        made.0.iter().zip(self.token.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }

    /// `body`: from the OUI on.
    fn decode(body: &[u8], at: usize) -> Result<Self, ElementError> {
        let found = body.len();
        let wrong = |wanted| ElementError::Length { at, wanted, found };
        let short = wrong(HEAD + TOKEN);
        match body.get(4) {
            None => return Err(short),
            Some(version) if u16::from(*version) != VERSION => {
                return Err(ElementError::Version { at, found: *version });
            }
            Some(_) => {}
        }
        let (head, rest) = body.split_first_chunk::<HEAD>().ok_or(short)?;
        // Flags without a meaning in this version are left for a later one.
        let has_tariff = head[5] & TARIFF != 0;
        let wanted = HEAD + TOKEN + if has_tariff { DIGEST } else { 0 };
        let (token, tariff) = rest.split_first_chunk::<TOKEN>().ok_or(wrong(wanted))?;
        let tariff = match has_tariff {
            true => Some(TariffDigest(tariff.try_into().map_err(|_| wrong(wanted))?)),
            false if tariff.is_empty() => None,
            false => return Err(wrong(wanted)),
        };
        let part = |from: usize, to: usize| &head[from..to];
        let said = Announcement {
            service: ServiceId(part(6, 22).try_into().expect("16 octets")),
            room: head[5] & ROOM != 0,
            epoch: BeaconEpoch(part(22, 30).try_into().expect("8 octets")),
            slot: u32::from_le_bytes(part(30, HEAD).try_into().expect("4 octets")),
            tariff,
        };
        Ok(Self { said, token: Token(*token) })
    }
}

/// Reads a list of elements, as in a beacon behind its fixed fields, or one alone.
pub fn elements(list: &[u8]) -> Result<Vec<Element>, ElementError> {
    if list.len() > MAX_LIST {
        return Err(ElementError::TooLong { length: list.len() });
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((id, rest)) = list.get(at..).and_then(<[u8]>::split_first) {
        let length = rest.first().copied();
        let wanted = length.map_or(1, |length| 1 + usize::from(length));
        let body = rest.get(1..wanted).filter(|_| length.is_some());
        let body = body.ok_or(ElementError::Truncated { at, wanted, found: rest.len() })?;
        let is_ours = *id == VENDOR_SPECIFIC && body.starts_with(&OUI) && body.get(3) == Some(&TYPE);
        found.push(match is_ours {
            true => Element::Beacon(Beacon::decode(body, at)?),
            false => Element::Other { id: *id, body: body.to_vec() },
        });
        at += 1 + wanted;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::MacAddr;

    const BSSID: Bssid = Bssid(MacAddr([2, 0, 0, 0, 0, 1]));

    /// The token was computed by another program: Python's hmac module.
    #[rustfmt::skip]
    const BYTES: [u8; 52] = [
        0xdd, 0x32,                         // vendor specific, 50 octets
        0x02, 0x66, 0xff, 0x01,             // our OUI, type 1
        0x01,                               // version 1
        0x01,                               // room left, no tariff
        0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
        0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, // service id
        0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, // epoch
        0x04, 0x03, 0x02, 0x01,             // slot 0x01020304
        0xee, 0x18, 0xbd, 0x27, 0xc7, 0x6f, 0x0b, 0x70,
        0xf4, 0x38, 0x60, 0xd6, 0x7c, 0x3f, 0xcf, 0x4d, // token
    ];

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let beacon = said(None).prove(&secret(), BSSID);
        assert_eq!(beacon.element(), BYTES);
        assert_eq!(elements(&BYTES), Ok(vec![Element::Beacon(beacon)]));
        let tariff = said(Some(TariffDigest([7; 8]))).prove(&secret(), BSSID);
        let bytes = tariff.element();
        assert_eq!((bytes.len(), bytes[1], bytes[7], &bytes[52..]), (60, 58, 3, &[7; 8][..]));
        assert_eq!(elements(&bytes), Ok(vec![Element::Beacon(tariff)]));
    }

    #[test]
    fn a_token_is_for_one_secret_one_access_point_and_what_is_said() {
        let beacon = said(Some(TariffDigest([7; 8]))).prove(&secret(), BSSID);
        assert!(beacon.is_proven(&secret(), BSSID));
        assert!(!beacon.is_proven(&BeaconSecret::new([8; 32]), BSSID));
        assert!(!beacon.is_proven(&secret(), Bssid(MacAddr([2, 0, 0, 0, 0, 2]))));
        let whole = beacon.element();
        for bit in 8 * 6..8 * whole.len() {
            let mut forged = whole.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            match elements(&forged).as_deref() {
                // Flags without a meaning are not read; nobody is told anything by them.
                Ok([Element::Beacon(found)]) if *found == beacon => assert_eq!(bit / 8, 7, "bit {bit}"),
                Ok([Element::Beacon(found)]) => assert!(!found.is_proven(&secret(), BSSID), "bit {bit}"),
                Ok(other) => panic!("bit {bit}: {other:?}"),
                Err(_) => assert!([6, 7].contains(&(bit / 8)), "bit {bit}"),
            }
        }
    }

    #[test]
    fn those_of_others_are_kept_and_passed_over() {
        let list = [
            &[0, 6][..],
            b"Corner",                         // SSID
            &[1, 0],                           // no rates
            &[221, 4, 0x00, 0x50, 0xf2, 0x02], // Microsoft, type 2: WMM
            &[221, 4, 0x02, 0x66, 0xff, 0x02], // our OUI, a type that is not this one
            &[221, 2, 0x02, 0x66],             // too short to be anybody's
            &BYTES,
            &[255, 1, 35], // an extended Element ID
        ]
        .concat();
        let found = elements(&list).unwrap();
        assert_eq!(found.len(), 7);
        assert_eq!(found[0], Element::Other { id: 0, body: b"Corner".to_vec() });
        assert!(matches!(found[5], Element::Beacon(_)));
        let again: Vec<u8> = found.iter().flat_map(bytes).collect();
        assert_eq!(again, list, "nothing is lost");
        let heard = HeardBeacon::find(&list).unwrap();
        assert_eq!(heard.read().map(|beacon| beacon.element()).as_deref(), Some(&BYTES[..]));
        assert_eq!(HeardBeacon::find(&list[..8]), None);
        assert_eq!(HeardBeacon(list).read(), None, "one element, and nothing else");
    }

    #[test]
    fn what_is_truncated_or_oversized_is_named_with_its_place() {
        use ElementError::{Length, TooLong, Truncated, Version};
        assert_eq!(elements(&[0]), Err(Truncated { at: 0, wanted: 1, found: 0 }));
        assert_eq!(elements(&BYTES[..51]), Err(Truncated { at: 0, wanted: 51, found: 50 }));
        let behind = [&[1, 0][..], &BYTES[..20]].concat();
        assert_eq!(elements(&behind), Err(Truncated { at: 2, wanted: 51, found: 19 }));
        assert_eq!(elements(&vec![0; MAX_LIST + 1]), Err(TooLong { length: MAX_LIST + 1 }));
        // Whole elements that say they are ours.
        let with = |length: u8, body: &[u8]| elements(&[&[VENDOR_SPECIFIC, length][..], body].concat());
        for length in 4..50 {
            let body = &BYTES[2..2 + usize::from(length)];
            assert_eq!(with(length, body), Err(Length { at: 0, wanted: 50, found: length.into() }));
        }
        let long = [&BYTES[2..], &[0]].concat();
        assert_eq!(with(51, &long), Err(Length { at: 0, wanted: 50, found: 51 }));
        let mut flagged = BYTES[2..].to_vec();
        flagged[5] |= TARIFF;
        assert_eq!(with(50, &flagged), Err(Length { at: 0, wanted: 58, found: 50 }));
        assert_eq!(with(5, &[2, 0x66, 0xff, 1, 2]), Err(Version { at: 0, found: 2 }));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets: Vec<u8>) {
            if let Ok(found) = elements(&octets) {
                prop_assert_eq!(found.iter().flat_map(length).sum::<usize>(), octets.len());
            }
        }

        #[test]
        fn whatever_says_it_is_ours_is_read_or_refused(
            body in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let ours = [&[VENDOR_SPECIFIC, body.len() as u8 + 5][..], &OUI, &[TYPE, 1], &body].concat();
            if let Ok(found) = elements(&ours) {
                prop_assert!(matches!(found[..], [Element::Beacon(_)]));
            }
        }
    }

    fn length(element: &Element) -> Option<usize> {
        Some(bytes(element).len())
    }

    fn bytes(element: &Element) -> Vec<u8> {
        match element {
            Element::Beacon(beacon) => beacon.element(),
            Element::Other { id, body } => [&[*id, body.len() as u8][..], body].concat(),
        }
    }

    fn said(tariff: Option<TariffDigest>) -> Announcement {
        let service = ServiceId(std::array::from_fn(|at| 0xa0 + at as u8));
        let epoch = BeaconEpoch(std::array::from_fn(|at| 0xe0 + at as u8));
        Announcement { service, room: true, epoch, slot: 0x0102_0304, tariff }
    }

    fn secret() -> BeaconSecret {
        BeaconSecret::new([7; 32])
    }
}
