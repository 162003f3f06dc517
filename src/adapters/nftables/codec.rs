//! Bytes of nfnetlink messages (linux/netfilter/nfnetlink.h, nf_tables.h): building and walking them.
//!
//! Pure. Attribute payloads are big-endian, headers are in the machine's order (netlink(7)). Which messages
//! make up our tables is in `ruleset.rs`; who sends them in `socket.rs`.

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;

/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER: usize = 16 + 4;

/// `nlmsg_flags` (linux/netlink.h).
pub mod flags {
    #![allow(missing_docs)]
    pub const REQUEST: u16 = 0x1;
    pub const ACK: u16 = 0x4;
    pub const ECHO: u16 = 0x8;
    pub const DUMP: u16 = 0x300;
    pub const CREATE: u16 = 0x400;
    pub const EXCL: u16 = 0x200;
    pub const APPEND: u16 = 0x800;
}

/// `enum nf_tables_msg_types`.
pub mod message {
    #![allow(missing_docs)]
    pub const NEW_TABLE: u8 = 0;
    pub const GET_TABLE: u8 = 1;
    pub const DEL_TABLE: u8 = 2;
    pub const NEW_CHAIN: u8 = 3;
    pub const GET_CHAIN: u8 = 4;
    pub const DEL_CHAIN: u8 = 5;
    pub const NEW_RULE: u8 = 6;
    pub const GET_RULE: u8 = 7;
    pub const DEL_RULE: u8 = 8;
    pub const NEW_SET: u8 = 9;
    pub const DEL_SET: u8 = 11;
    pub const NEW_ELEMENT: u8 = 12;
    pub const GET_ELEMENT: u8 = 13;
    pub const DEL_ELEMENT: u8 = 14;
    pub const NEW_OBJECT: u8 = 18;
    pub const GET_GENERATION: u8 = 16;
    pub const GET_OBJECT: u8 = 19;
    pub const DEL_OBJECT: u8 = 20;
    pub const DESTROY_ELEMENT: u8 = 30;
    pub const DESTROY_OBJECT: u8 = 31;
}

/// Netlink's own message types.
pub const NLMSG_ERROR: u16 = 2;
/// End of a dump.
pub const NLMSG_DONE: u16 = 3;

/// A protocol family, as `nfgen_family` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// `NFPROTO_UNSPEC`.
    Unspecified = 0,
    /// `NFPROTO_INET`.
    Inet = 1,
    /// `NFPROTO_NETDEV`.
    Netdev = 5,
    /// `NFPROTO_BRIDGE`.
    Bridge = 7,
}

/// One transaction, or one request, being written.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// `nlmsg_seq` of the next message.
    next_seq: u32,
    last_start: usize,
}

impl Batch {
    /// A transaction: what is written takes effect together or not at all.
    pub fn transaction(first_seq: u32) -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(1024), next_seq: first_seq, last_start: 0 };
        batch.header(NFNL_MSG_BATCH_BEGIN, 0, flags::REQUEST, SUBSYSTEM);
        batch.finish();
        batch
    }

    /// A single request outside any transaction: a dump or a look-up.
    pub fn request(seq: u32) -> Self {
        Self { bytes: Vec::with_capacity(128), next_seq: seq, last_start: 0 }
    }

    /// Writes one nf_tables message.
    pub fn message(
        &mut self,
        kind: u8,
        family: Family,
        flags: u16,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.header(SUBSYSTEM << 8 | u16::from(kind), family as u8, flags | flags::REQUEST, 0);
        attributes(&mut Attributes { bytes: &mut self.bytes });
        self.finish();
    }

    fn header(&mut self, kind: u16, family: u8, flags: u16, resource: u16) {
        self.last_start = self.bytes.len();
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.next_seq.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes());
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.next_seq = self.next_seq.wrapping_add(1);
    }

    fn finish(&mut self) {
        let length =
            u32::try_from(self.bytes.len() - self.last_start).expect("a message is shorter than 4 GiB");
        self.bytes[self.last_start..self.last_start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// The sequence number of the last message written.
    pub fn last_seq(&self) -> u32 {
        self.next_seq.wrapping_sub(1)
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The transaction whole, an acknowledgement asked of its last message. Also the number of that message.
    pub fn commit(mut self) -> (Vec<u8>, u32) {
        let acknowledged = self.last_seq();
        self.ask_ack();
        self.header(NFNL_MSG_BATCH_END, 0, flags::REQUEST, SUBSYSTEM);
        self.finish();
        (self.bytes, acknowledged)
    }

    /// The request as it stands.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn ask_ack(&mut self) {
        let at = self.last_start + 6;
        let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | flags::ACK;
        self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
    }
}

/// Attributes of a message or of a nest, being written.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// `NLA_BINARY`.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.start(kind, value.len());
        self.bytes.extend(value);
        self.pad();
    }

    /// `NLA_STRING`, NUL-terminated.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.start(kind, value.len() + 1);
        self.bytes.extend(value.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    /// `NLA_BE32`.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// `NLA_BE64`.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A nest (`NLA_F_NESTED`). Must stay below 64 KiB: the length is a u16.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.start(kind | 0x8000, 0);
        inside(&mut Attributes { bytes: self.bytes });
        let length =
            u16::try_from(self.bytes.len() - start).expect("nests are kept below 64 KiB by their writers");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn start(&mut self, kind: u16, length: usize) {
        let length = u16::try_from(length + 4).expect("attributes are kept below 64 KiB by their writers");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One message as it came from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_seq`: of the request it answers.
    pub seq: u32,
    /// `nlmsg_pid`: the socket whose request it answers or that made the change.
    pub port: u32,
    /// `nfgen_family`; 0 where there is no nf_tables message.
    pub family: u8,
    /// Behind `nlmsghdr`, and behind `nfgenmsg` where there is one.
    pub payload: &'a [u8],
}

impl Incoming<'_> {
    /// `enum nf_tables_msg_types`, if the message is of nf_tables.
    pub fn nft(&self) -> Option<u8> {
        (self.kind >> 8 == SUBSYSTEM).then_some(self.kind as u8)
    }
}

/// The messages in one datagram; ends at the first that is malformed.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Incoming<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        if length < 16 || length > datagram.len() {
            return None;
        }
        let kind = u16_at(datagram, 4)?;
        let (family, start) =
            if kind >> 8 == SUBSYSTEM && length >= HEADER { (datagram[16], HEADER) } else { (0, 16) };
        let message = Incoming {
            kind,
            seq: u32_at(datagram, 8)?,
            port: u32_at(datagram, 12)?,
            family,
            payload: &datagram[start..length],
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The attributes in a payload: type without flags, value. Ends at the first that is malformed.
pub fn attributes(mut payload: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16_at(payload, 0)? as usize;
        if length < 4 || length > payload.len() {
            return None;
        }
        let attribute = (u16_at(payload, 2)? & 0x3fff, &payload[4..length]);
        payload = payload.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(attribute)
    })
}

/// The first attribute of this type.
pub fn attribute(payload: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(payload).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A NUL-terminated text.
pub fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
}

/// A big-endian u32.
pub fn be32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// A big-endian u64.
pub fn be64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// What an `NLMSG_ERROR` says: errno (0: acknowledged) and the kernel's own words, if it has some.
pub fn error(payload: &[u8]) -> Option<(i32, Option<String>)> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let errno = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    // `struct nlmsgerr`: error, then the header of the request, which NETLINK_CAP_ACK cuts down to itself.
    let words = payload.get(20..).and_then(|rest| attribute(rest, NLMSGERR_ATTR_MSG)).and_then(text);
    Some((-errno, words.map(|words| words.escape_debug().to_string())))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_a_beginning_an_end_and_one_acknowledgement() {
        let mut batch = Batch::transaction(7);
        batch.message(message::NEW_TABLE, Family::Netdev, flags::CREATE, |table| {
            table.text(1, "wayleave");
            table.be32(2, 6);
        });
        let (bytes, acknowledged) = batch.commit();
        let found: Vec<Incoming<'_>> = messages(&bytes).collect();

        assert_eq!(
            found.iter().map(|message| (message.kind, message.seq)).collect::<Vec<_>>(),
            [(0x10, 7), (0x0a00, 8), (0x11, 9)]
        );
        assert_eq!(acknowledged, 8);
        assert_eq!(found[1].family, 5);
        assert_eq!(
            attributes(found[1].payload).collect::<Vec<_>>(),
            [(1, b"wayleave\0".as_slice()), (2, &[0, 0, 0, 6])]
        );
        // nlmsg_flags of the second message: REQUEST | CREATE | ACK.
        assert_eq!(u16_at(&bytes, 20 + 6), Some(0x405));
    }

    #[test]
    fn a_nest_is_marked_and_has_its_length() {
        let mut batch = Batch::request(1);
        batch.message(message::GET_ELEMENT, Family::Inet, 0, |element| {
            element.nest(3, |list| list.nest(1, |key| key.bytes(1, &[2, 0, 0, 0, 0, 1])));
        });
        let bytes = batch.into_bytes();
        let payload = messages(&bytes).next().unwrap().payload;
        let expected = [
            20u16.to_ne_bytes(),
            0x8003u16.to_ne_bytes(), // nest 3
            16u16.to_ne_bytes(),
            0x8001u16.to_ne_bytes(), // nest 1
            10u16.to_ne_bytes(),
            1u16.to_ne_bytes(),
            [2, 0],
            [0, 0],
            [0, 1],
            [0, 0], // key, padded
        ]
        .concat();
        assert_eq!(payload, expected);
    }

    #[test]
    fn malformed_bytes_end_the_walk() {
        for bytes in
            [&[][..], &[1, 2, 3], &[0; 16], &[255; 64], &[4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(messages(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0);
        assert_eq!(error(&[1]), None);
    }

    #[test]
    fn the_words_of_the_kernel_are_found() {
        let mut payload = (-22i32).to_ne_bytes().to_vec();
        payload.extend([0; 16]);
        payload.extend([8u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat());
        payload.extend(b"no\n\0");
        assert_eq!(error(&payload), Some((22, Some("no\\n".into()))));
    }
}
