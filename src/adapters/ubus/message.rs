//! Messages of ubus (its `ubusmsg.h`): a head of eight octets, and a blob that holds one blob for each attribute. Pure.
//!
//! ```text
//! version 0 | type | sequence (16 bit) | peer (32 bit) | blob 0 { attribute … }            all big-endian
//! ```

use super::UbusError;
use super::blob::{self, HEAD};

/// Octets of a message before its blob.
const OWN_HEAD: usize = 8;

/// The longest message that ubusd takes or sends (UBUS_MAX_MSGLEN).
pub(super) const MOST_LENGTH: usize = 1024 * 1024;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Hello,
    Status,
    Data,
    Lookup,
    Invoke,
    AddObject,
    Subscribe,
    Unsubscribe,
    Notify,
    Other(u8),
}

const TYPES: [(u8, Type); 9] = [
    (0, Type::Hello),
    (1, Type::Status),
    (2, Type::Data),
    (4, Type::Lookup),
    (5, Type::Invoke),
    (6, Type::AddObject),
    (8, Type::Subscribe),
    (9, Type::Unsubscribe),
    (10, Type::Notify),
];

/// Attributes (enum ubus_msg_attr).
pub(super) mod attribute {
    pub const STATUS: u8 = 1;
    pub const OBJECT_PATH: u8 = 2;
    pub const OBJECT: u8 = 3;
    pub const METHOD: u8 = 4;
    pub const SIGNATURE: u8 = 6;
    pub const DATA: u8 = 7;
    pub const ACTIVE: u8 = 9;
    pub const NO_REPLY: u8 = 10;
}

/// Answers without data (enum ubus_msg_status).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub u32);

impl Status {
    pub const OK: Self = Self(0);
    pub const INVALID_ARGUMENT: Self = Self(2);
    pub const METHOD_NOT_FOUND: Self = Self(3);
    pub const NOT_FOUND: Self = Self(4);
    pub const PERMISSION_DENIED: Self = Self(6);
    pub const UNKNOWN_ERROR: Self = Self(9);
    pub const NO_MEMORY: Self = Self(11);
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub kind: Type,
    /// An answer has that of its question.
    pub sequence: u16,
    /// The client that asks, or that is answered; of `Hello`, who we are.
    pub peer: u32,
    attributes: Vec<(u8, Vec<u8>)>,
}

impl Message {
    pub(super) fn new(kind: Type, sequence: u16, peer: u32) -> Self {
        Self { kind, sequence, peer, attributes: Vec::new() }
    }

    pub(super) fn with(mut self, attribute: u8, payload: impl Into<Vec<u8>>) -> Self {
        self.attributes.push((attribute, payload.into()));
        self
    }

    pub(super) fn with_number(self, attribute: u8, number: u32) -> Self {
        self.with(attribute, number.to_be_bytes())
    }

    pub(super) fn with_text(self, attribute: u8, text: &str) -> Self {
        self.with(attribute, [text.as_bytes(), b"\0"].concat())
    }

    /// The payload of an attribute.
    pub(super) fn octets(&self, attribute: u8) -> Option<&[u8]> {
        self.attributes.iter().find(|(id, _)| *id == attribute).map(|(_, payload)| payload.as_slice())
    }

    pub(super) fn number(&self, attribute: u8) -> Option<u32> {
        self.octets(attribute).and_then(|payload| blob::octets(payload).ok()).map(u32::from_be_bytes)
    }

    pub(super) fn flag(&self, attribute: u8) -> Option<bool> {
        self.octets(attribute).and_then(|payload| payload.first()).map(|octet| *octet != 0)
    }

    pub(super) fn text(&self, attribute: u8) -> Option<&str> {
        str::from_utf8(self.octets(attribute)?.strip_suffix(&[0])?).ok()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            Type::Other(kind) => kind,
            known => TYPES.into_iter().find(|(_, kind)| *kind == known).map_or(0, |(kind, _)| kind),
        };
        let mut payload = Vec::new();
        self.attributes.iter().for_each(|(id, octets)| blob::put(&mut payload, *id, octets));
        let mut octets = vec![0, kind];
        octets.extend_from_slice(&self.sequence.to_be_bytes());
        octets.extend_from_slice(&self.peer.to_be_bytes());
        blob::put(&mut octets, 0, &payload);
        octets
    }

    /// The first message of what has come, and its length; `None`: more must come.
    pub(super) fn decode(octets: &[u8]) -> Result<Option<(Self, usize)>, UbusError> {
        let Some(head) = octets.first_chunk::<{ OWN_HEAD + HEAD }>() else { return Ok(None) };
        let [_, kind, s0, s1, p0, p1, p2, p3, _, l1, l2, l3] = *head;
        let length = u32::from_be_bytes([0, l1, l2, l3]) as usize;
        if !(HEAD..=MOST_LENGTH).contains(&length) {
            return Err(UbusError::Malformed("the length of a message"));
        }
        let Some(mut rest) = octets.get(OWN_HEAD + HEAD..OWN_HEAD + length) else { return Ok(None) };
        let kind =
            TYPES.into_iter().find(|(known, _)| *known == kind).map_or(Type::Other(kind), |(_, kind)| kind);
        let mut message = Self::new(kind, u16::from_be_bytes([s0, s1]), u32::from_be_bytes([p0, p1, p2, p3]));
        while let Some(blob) = blob::next(&mut rest)? {
            message.attributes.push((blob.id, blob.payload.to_vec()));
        }
        Ok(Some((message, OWN_HEAD + length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    #[test]
    fn the_octets_are_those_of_the_definition() {
        for (message, wanted) in [
            (Message::new(Type::Hello, 0, 0x1234_5678), "00 00 0000 12345678 00000004"),
            (
                Message::new(Type::Status, 7, 9)
                    .with_number(attribute::STATUS, 3)
                    .with_number(attribute::OBJECT, 0x8000_0001),
                "00 01 0007 00000009 00000014 01000008 00000003 03000008 80000001",
            ),
            (
                Message::new(Type::AddObject, 1, 0)
                    .with_text(attribute::OBJECT_PATH, "wl")
                    .with(attribute::SIGNATURE, []),
                "00 06 0001 00000000 00000010 02000007 776c00 00 06000004",
            ),
            (
                Message::new(Type::Notify, 2, 0).with(attribute::ACTIVE, [1]),
                "00 0a 0002 00000000 0000000c 09000005 01 000000",
            ),
        ] {
            let octets = message.encode();
            assert_eq!(hex(&octets), wanted.replace(' ', ""));
            assert_eq!(Message::decode(&octets).unwrap(), Some((message, octets.len())));
            for part in 0..octets.len() {
                assert_eq!(Message::decode(&octets[..part]).unwrap(), None, "{part} of {wanted}");
            }
        }
    }

    #[test]
    fn attributes_are_what_they_say_or_nothing() {
        let message = Message::new(Type::Invoke, 0, 0)
            .with(attribute::OBJECT, [1, 2])
            .with(attribute::METHOD, *b"status")
            .with(attribute::NO_REPLY, []);
        assert_eq!(message.number(attribute::OBJECT), None);
        assert_eq!(message.text(attribute::METHOD), None);
        assert_eq!((message.flag(attribute::NO_REPLY), message.number(attribute::STATUS)), (None, None));
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error() {
        for length in ["00000003", "00000000", "00ffffff", "00100001"] {
            let octets = crate::model::unhex(&format!("0000000000000000{length}")).unwrap();
            assert!(Message::decode(&octets).is_err(), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            drop(Message::decode(&octets));
        }

        #[test]
        fn what_is_sent_comes_back(
            sequence: u16, peer: u32,
            attributes in proptest::collection::vec((0..20_u8, proptest::collection::vec(0..=255_u8, 0..40)), 0..6),
        ) {
            let mut message = Message::new(Type::Invoke, sequence, peer);
            message.attributes = attributes;
            let octets = message.encode();
            proptest::prop_assert_eq!(Message::decode(&octets).unwrap(), Some((message, octets.len())));
        }
    }
}
