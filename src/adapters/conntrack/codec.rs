//! ctnetlink messages as bytes: dumps, lookups, deletes, and what of a flow decides whose it is. No I/O.
//!
//! Headers are in the byte order of the machine, the payloads of `CTA_*` in that of the network
//! (`linux/netfilter/nfnetlink_conntrack.h`). Read next: `mod.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::ConntrackError;

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_NEW: u16 = 0;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const IPCTNL_MSG_CT_GET_STATS: u16 = 5;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;

const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// `CTA_FILTER_FLAG(CTA_IP_SRC)` of the kernel's nf_internals.h.
const FILTER_IP_SRC: u32 = 1;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;

const NLMSG_HEADER: usize = 16;
const NFGEN_HEADER: usize = 4;

/// Which flows a dump lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both.
    Any = 0,
    /// `AF_INET`.
    V4 = 2,
    /// `AF_INET6`.
    V6 = 10,
}

impl Family {
    /// The narrowest that has all of these addresses; `None` of none.
    pub fn of<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> Option<Family> {
        let (mut v4, mut v6) = (false, false);
        for address in addresses {
            v4 |= address.is_ipv4();
            v6 |= address.is_ipv6();
        }
        match (v4, v6) {
            (true, true) => Some(Family::Any),
            (true, false) => Some(Family::V4),
            (false, true) => Some(Family::V6),
            (false, false) => None,
        }
    }
}

/// The end of a flow by which a filter picks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Who began it.
    Originator,
    /// Who answers it.
    Responder,
}

/// One message from the kernel.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A flow, of a dump or a lookup.
    Flow(Flow<'a>),
    /// How many flows the namespace has.
    Entries(u32),
    /// The end of a dump.
    Done,
    /// An acknowledgement (`0`) or a negative errno.
    Result(i32),
    /// Anything else.
    Other,
}

/// What identifies a flow, and who began and who answers it.
#[derive(Debug, PartialEq, Eq)]
pub struct Flow<'a> {
    /// The source in the original direction.
    pub originator: IpAddr,
    /// The source in the reply direction: whom the flow goes to, behind any address translation.
    pub responder: IpAddr,
    family: u8,
    tuple: &'a [u8],
    /// Behind the two tuples.
    rest: &'a [u8],
}

/// What the kernel needs to find exactly one flow again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    family: u8,
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
}

impl Flow<'_> {
    /// Its key. Not read before somebody asks: most flows of a dump are somebody else's.
    pub fn key(&self) -> Key {
        let (mut zone, mut id) = (None, None);
        for (kind, payload) in attributes(self.rest) {
            match kind {
                CTA_ZONE => zone = Some(payload.to_vec()),
                CTA_ID => id = Some(payload.to_vec()),
                _ => {}
            }
        }
        Key { family: self.family, tuple: self.tuple.to_vec(), zone, id }
    }
}

/// `conntrack -L`: every flow of the family.
pub fn list(family: Family, seq: u32) -> Vec<u8> {
    let mut request = Vec::new();
    let start = begin(&mut request, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family as u8, seq);
    finish(&mut request, start);
    request
}

/// `conntrack -L -s` or `-r`: only the flows with this address at this end. A kernel before 5.8 lists every flow.
/// IPv4 only: of IPv6 addresses the kernel lists everybody else's.
pub fn list_of(address: Ipv4Addr, end: End, seq: u32) -> Vec<u8> {
    of_address(IPCTNL_MSG_CT_GET, NLM_F_DUMP, address, end, seq)
}

/// `conntrack -D -s` or `-r` in one request: every flow with this address at this end (Linux 6.11). An older kernel
/// deletes nothing: it takes the address for a whole tuple and refuses it (EINVAL), or the filter (EOPNOTSUPP).
/// IPv4 only: of IPv6 addresses the kernel deletes everybody else's.
pub fn delete_of(address: Ipv4Addr, end: End, seq: u32) -> Vec<u8> {
    of_address(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, address, end, seq)
}

fn of_address(message: u16, message_flags: u16, address: Ipv4Addr, end: End, seq: u32) -> Vec<u8> {
    let (tuple, flags) = match end {
        End::Originator => (CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS),
        End::Responder => (CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS),
    };
    let mut request = Vec::new();
    let start = begin(&mut request, message, message_flags, Family::V4 as u8, seq);
    let tuple = open_nest(&mut request, tuple);
    let ip = open_nest(&mut request, CTA_TUPLE_IP);
    attribute(&mut request, CTA_IP_V4_SRC, &address.octets());
    finish_nest(&mut request, ip);
    finish_nest(&mut request, tuple);
    let filter = open_nest(&mut request, CTA_FILTER);
    attribute(&mut request, flags, &FILTER_IP_SRC.to_ne_bytes());
    finish_nest(&mut request, filter);
    finish(&mut request, start);
    request
}

/// `conntrack -C`: how many flows there are, without a walk.
pub fn entries(seq: u32) -> Vec<u8> {
    let mut request = Vec::new();
    let start = begin(&mut request, IPCTNL_MSG_CT_GET_STATS, 0, 0, seq);
    finish(&mut request, start);
    request
}

/// A dump whose filter has a flag that no kernel knows: one that knows filters refuses it, one that does not
/// (before 5.8) ignores it and lists.
pub fn list_with_unknown_filter(seq: u32) -> Vec<u8> {
    let mut request = Vec::new();
    let start = begin(&mut request, IPCTNL_MSG_CT_GET, NLM_F_DUMP, Family::V4 as u8, seq);
    let filter = open_nest(&mut request, CTA_FILTER);
    // Flags are the one payload in native order: the kernel reads them with nla_get_u32().
    attribute(&mut request, CTA_FILTER_ORIG_FLAGS, &0x8000_0000_u32.to_ne_bytes());
    finish_nest(&mut request, filter);
    finish(&mut request, start);
    request
}

/// Appends the deletion of exactly this flow: same tuple, zone and id. A newer flow of the same tuple is
/// another one and stays.
pub fn push_delete(requests: &mut Vec<u8>, key: &Key, seq: u32) {
    push_keyed(requests, key, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, seq);
}

/// Appends a lookup of the flow with this tuple and zone: it is answered with the flow or with ENOENT.
pub fn push_lookup(requests: &mut Vec<u8>, key: &Key, seq: u32) {
    push_keyed(requests, key, IPCTNL_MSG_CT_GET, 0, seq);
}

fn push_keyed(requests: &mut Vec<u8>, key: &Key, message: u16, flags: u16, seq: u32) {
    let start = begin(requests, message, flags, key.family, seq);
    attribute(requests, CTA_TUPLE_ORIG | NLA_F_NESTED, &key.tuple);
    if let Some(zone) = &key.zone {
        attribute(requests, CTA_ZONE, zone);
    }
    if let Some(id) = &key.id {
        attribute(requests, CTA_ID, id);
    }
    finish(requests, start);
}

/// The messages of one datagram, each with its sequence number.
pub fn answers(mut datagram: &[u8]) -> impl Iterator<Item = Result<(u32, Answer<'_>), ConntrackError>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let Some(length) = native_u32(datagram, 0).and_then(|length| usize::try_from(length).ok()) else {
            datagram = &[];
            return Some(Err(ConntrackError::Garbled));
        };
        let Some(message) = datagram.get(..length).filter(|message| message.len() >= NLMSG_HEADER) else {
            datagram = &[];
            return Some(Err(ConntrackError::Garbled));
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(answer(message).ok_or(ConntrackError::Garbled))
    })
}

fn answer(message: &[u8]) -> Option<(u32, Answer<'_>)> {
    const FLOW: u16 = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
    const STATS: u16 = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS;
    let kind = native_u16(message, 4)?;
    let seq = native_u32(message, 8)?;
    let answer = match kind {
        NLMSG_DONE => Answer::Done,
        NLMSG_ERROR => Answer::Result(native_u32(message, NLMSG_HEADER)?.cast_signed()),
        FLOW => Answer::Flow(flow(message)?),
        STATS => Answer::Entries(entries_of(message)?),
        _ => Answer::Other,
    };
    Some((seq, answer))
}

fn flow(message: &[u8]) -> Option<Flow<'_>> {
    let family = *message.get(NLMSG_HEADER)?;
    let mut rest = message.get(NLMSG_HEADER + NFGEN_HEADER..)?;
    let (mut tuple, mut reply) = (None, None);
    // The kernel writes the tuples first; wherever they stand, only what is behind both is left for `rest`.
    while tuple.is_none() || reply.is_none() {
        let (kind, payload, behind) = attribute_of(rest)?;
        match kind {
            CTA_TUPLE_ORIG => tuple = Some(payload),
            CTA_TUPLE_REPLY => reply = Some(payload),
            _ => {}
        }
        rest = behind;
    }
    let tuple = tuple?;
    Some(Flow { originator: source(tuple)?, responder: source(reply?)?, family, tuple, rest })
}

fn entries_of(message: &[u8]) -> Option<u32> {
    let (_, entries) = attributes(message.get(NLMSG_HEADER + NFGEN_HEADER..)?)
        .find(|(kind, _)| *kind == CTA_STATS_GLOBAL_ENTRIES)?;
    entries.try_into().ok().map(u32::from_be_bytes)
}

fn source(tuple: &[u8]) -> Option<IpAddr> {
    let (_, ip) = attributes(tuple).find(|(kind, _)| *kind == CTA_TUPLE_IP)?;
    attributes(ip).find_map(|(kind, payload)| match kind {
        CTA_IP_V4_SRC => <[u8; 4]>::try_from(payload).ok().map(|octets| Ipv4Addr::from(octets).into()),
        CTA_IP_V6_SRC => <[u8; 16]>::try_from(payload).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    })
}

/// Ends at the first attribute that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (kind, payload, behind) = attribute_of(bytes)?;
        bytes = behind;
        Some((kind, payload))
    })
}

/// Kind, payload, and what is behind them.
fn attribute_of(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(native_u16(bytes, 0)?);
    let kind = native_u16(bytes, 2)? & NLA_TYPE_MASK;
    let payload = bytes.get(4..length)?;
    Some((kind, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or(&[])))
}

fn native_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn native_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn begin(out: &mut Vec<u8>, message: u16, flags: u16, family: u8, seq: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(NFNL_SUBSYS_CTNETLINK << 8 | message).to_ne_bytes());
    out.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    out.extend_from_slice(&seq.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    // struct nfgenmsg: family, version NFNETLINK_V0, res_id.
    out.extend_from_slice(&[family, 0, 0, 0]);
    start
}

fn finish(out: &mut [u8], start: usize) {
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn attribute(out: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    out.extend_from_slice(&((4 + payload.len()) as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn open_nest(out: &mut Vec<u8>, kind: u16) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
    start
}

fn finish_nest(out: &mut [u8], start: usize) {
    let length = (out.len() - start) as u16;
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP flow as Linux 6.18 lists it, shortened after CTA_ID. Native fields are built for this machine's
    /// byte order, payloads stand as captured.
    fn captured() -> Vec<u8> {
        let ip = |src: [u8; 4], dst: [u8; 4]| nest(1, [attr(1, &src), attr(2, &dst)].concat());
        let ports = |src: [u8; 2], dst: [u8; 2]| {
            // CTA_PROTO_NUM 6, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT
            nest(2, [attr(1, &[6]), attr(2, &src), attr(3, &dst)].concat())
        };
        let body = [
            // 10.0.0.1:40000 -> 192.0.2.7:443
            nest(1, [ip([10, 0, 0, 1], [192, 0, 2, 7]), ports([0x9c, 0x40], [0x01, 0xbb])].concat()),
            // masqueraded: 192.0.2.7:443 -> 198.51.100.1:40000
            nest(2, [ip([192, 0, 2, 7], [198, 51, 100, 1]), ports([0x01, 0xbb], [0x9c, 0x40])].concat()),
            // CTA_STATUS: SEEN_REPLY | ASSURED | CONFIRMED | SRC_NAT | SRC_NAT_DONE | DST_NAT_DONE
            attr(3, &[0, 0, 0x01, 0x9e]),
            // CTA_TIMEOUT 431999 s
            attr(7, &[0x00, 0x06, 0x97, 0x7f]),
            // CTA_ID
            attr(12, &[0x8b, 0x1c, 0x7e, 0x03]),
        ]
        .concat();
        message(0x0100, 2, 7, &[&[2, 0, 0, 0], body.as_slice()].concat())
    }

    #[test]
    fn a_flow_names_both_ends_behind_the_translation() {
        let bytes = captured();
        let read: Vec<_> = answers(&bytes).collect::<Result<_, _>>().unwrap();
        let [(7, Answer::Flow(flow))] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!(flow.originator, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(flow.responder, IpAddr::from([192, 0, 2, 7]));
        let key = flow.key();
        assert_eq!(key.id, Some(vec![0x8b, 0x1c, 0x7e, 0x03]));
        assert_eq!((key.family, key.zone, key.tuple.as_slice()), (2, None, flow.tuple));
    }

    #[test]
    fn a_delete_repeats_tuple_and_id() {
        let bytes = captured();
        let (_, Answer::Flow(flow)) = answers(&bytes).next().unwrap().unwrap() else { panic!() };
        let mut request = b"before".to_vec();
        request.resize(8, 0);
        push_delete(&mut request, &flow.key(), 9);

        let expected = [
            &[2, 0, 0, 0],
            attr(0x8001, flow.tuple).as_slice(),
            attr(12, &[0x8b, 0x1c, 0x7e, 0x03]).as_slice(),
        ]
        .concat();
        // IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK
        assert_eq!(request[8..], message(0x0102, 0x5, 9, &expected));

        request.clear();
        push_lookup(&mut request, &flow.key(), 10);
        // IPCTNL_MSG_CT_GET, NLM_F_REQUEST
        assert_eq!(request, message(0x0101, 0x1, 10, &expected));
    }

    #[test]
    fn a_filter_names_the_end_that_has_the_address() {
        for (end, tuple, flags) in [(End::Originator, 1, 1), (End::Responder, 2, 2)] {
            let expected = [
                vec![2, 0, 0, 0],
                // CTA_TUPLE_IP with CTA_IP_V4_SRC
                nest(tuple, nest(1, attr(1, &[10, 0, 0, 1]))),
                // CTA_FILTER; flags are native, bit 0 is CTA_IP_SRC
                nest(25, attr(flags, &1_u32.to_ne_bytes())),
            ]
            .concat();
            let address = Ipv4Addr::new(10, 0, 0, 1);
            assert_eq!(list_of(address, end, 5), message(0x0101, 0x301, 5, &expected));
            assert_eq!(delete_of(address, end, 5), message(0x0102, 0x5, 5, &expected));
        }
    }

    #[test]
    fn the_number_of_flows_is_read() {
        assert_eq!(entries(6), message(0x0105, 0x1, 6, &[0; 4]));
        // CTA_STATS_GLOBAL_ENTRIES 10000, CTA_STATS_GLOBAL_MAX_ENTRIES 262144
        let body = [vec![0; 4], attr(1, &[0, 0, 0x27, 0x10]), attr(2, &[0, 4, 0, 0])].concat();
        let bytes = message(0x0105, 0, 6, &body);
        let read: Vec<_> = answers(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, [(6, Answer::Entries(10_000))]);
    }

    #[test]
    fn a_list_is_a_dump_of_one_family() {
        assert_eq!(list(Family::V6, 3), message(0x0101, 0x301, 3, &[10, 0, 0, 0]));
        assert_eq!(Family::of([]), None);
        assert_eq!(Family::of([&"fe80::1".parse().unwrap()]), Some(Family::V6));
        assert_eq!(
            Family::of([&"fe80::1".parse().unwrap(), &"10.0.0.1".parse().unwrap()]),
            Some(Family::Any)
        );
    }

    #[test]
    fn acknowledgements_and_the_end_are_told_apart() {
        let refused = message(2, 0, 4, &(-2_i32).to_ne_bytes());
        let done = message(3, 2, 4, &0_i32.to_ne_bytes());
        let both = [refused, done].concat();
        let read: Vec<_> = answers(&both).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, [(4, Answer::Result(-2)), (4, Answer::Done)]);
    }

    #[test]
    fn no_cut_and_no_flipped_byte_panics() {
        let bytes = captured();
        for end in 0..bytes.len() {
            let _ = answers(&bytes[..end]).collect::<Vec<_>>();
        }
        for at in 0..bytes.len() {
            for value in [0x00, 0x01, 0x7f, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = value;
                assert!(answers(&broken).count() <= bytes.len());
            }
        }
    }

    fn message(kind: u16, flags: u16, seq: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags).to_ne_bytes());
        bytes.extend(seq.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }

    fn nest(kind: u16, payload: Vec<u8>) -> Vec<u8> {
        attr(kind | 0x8000, &payload)
    }

    fn attr(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + payload.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}
