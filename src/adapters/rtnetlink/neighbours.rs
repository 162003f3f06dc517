//! The neighbours of one station: which they are, and their deletion. By bytes on a socket of its own, because an
//! eviction waits for it: no connection task, one send for any number of entries.
//!
//! Deleting is followed in the same datagram by a lookup of the entry (`RTM_GETNEIGH` without a dump, Linux 5.0).
//! Read next: `mod.rs`, which runs this on the blocking pool.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::error::RtnetlinkError;
use crate::model::MacAddr;

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_INCOMPLETE: u16 = 0x01;
const NUD_FAILED: u16 = 0x20;
const NTF_PROXY: u8 = 0x08;

const NLMSG_HEADER: usize = 16;
/// `struct ndmsg`
const NDMSG: usize = 12;

/// The kernel makes no dump message larger than 32 KiB.
const DATAGRAM: usize = 32 * 1024;
/// Deletes and lookups in one datagram: their answers fit the default receive buffer.
const DELETED_AT_ONCE: usize = 16;
/// A kernel answers within milliseconds; one that does not must not hold a thread for good.
const PATIENCE_S: i64 = 5;

const LIST: &str = "list neighbours";
const DELETE: &str = "delete neighbours";

/// What became of neighbour entries that were to be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Were there and are deleted.
    pub deleted: u32,
    /// Hold a link-layer address afterwards: were not deleted, or were learned again.
    pub left: u32,
}

/// The IP addresses of a station and the interface of each.
pub fn of(mac: MacAddr) -> Result<Vec<(u32, IpAddr)>, RtnetlinkError> {
    let mut socket = open()?;
    let mut request = Vec::new();
    push(&mut request, RTM_GETNEIGH, NLM_F_DUMP, 1, 0, None);
    send(&socket, &request, LIST)?;
    let mut theirs = Vec::new();
    let mut datagram = Vec::with_capacity(DATAGRAM);
    loop {
        receive(&mut socket, &mut datagram, LIST)?;
        for message in messages(&datagram) {
            let message = message.ok_or(RtnetlinkError::Garbled { request: LIST })?;
            match message.kind {
                RTM_NEWNEIGH => theirs.extend(held(message.body).and_then(|entry| entry.held_by(mac))),
                NLMSG_DONE => return Ok(theirs),
                NLMSG_ERROR => match errno(message.body, LIST)? {
                    0 => {}
                    errno => return Err(refused(LIST, errno)),
                },
                _ => {}
            }
        }
    }
}

/// Deletes entries and looks whether they are gone.
pub fn delete(entries: &[(u32, IpAddr)]) -> Result<Deleted, RtnetlinkError> {
    let mut result = Deleted::default();
    if entries.is_empty() {
        return Ok(result);
    }
    let mut socket = open()?;
    let mut datagram = Vec::with_capacity(DATAGRAM);
    for chunk in entries.chunks(DELETED_AT_ONCE) {
        let count = chunk.len() as u32;
        let mut requests = Vec::new();
        for (entry, seq) in chunk.iter().zip(0..) {
            push(&mut requests, RTM_DELNEIGH, NLM_F_ACK, seq, entry.0, Some(entry.1));
        }
        for (entry, seq) in chunk.iter().zip(count..) {
            push(&mut requests, RTM_GETNEIGH, 0, seq, entry.0, Some(entry.1));
        }
        send(&socket, &requests, DELETE)?;
        let mut pending = 2 * count;
        while pending > 0 {
            receive(&mut socket, &mut datagram, DELETE)?;
            for message in messages(&datagram) {
                let message = message.ok_or(RtnetlinkError::Garbled { request: DELETE })?;
                pending = pending.saturating_sub(1);
                match message.kind {
                    NLMSG_ERROR => match errno(message.body, DELETE)? {
                        0 if message.seq < count => result.deleted += 1,
                        // Is not there. Of a lookup ENODEV: nor is its interface.
                        errno if errno == -libc::ENOENT => {}
                        errno if errno == -libc::ENODEV || errno == -libc::ENXIO => {}
                        errno => return Err(refused(DELETE, errno)),
                    },
                    RTM_NEWNEIGH => result.left += u32::from(held(message.body).is_some()),
                    _ => return Err(RtnetlinkError::Garbled { request: DELETE }),
                }
            }
        }
    }
    Ok(result)
}

/// An entry with a link-layer address.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    index: u32,
    ip: IpAddr,
    mac: MacAddr,
}

impl Held {
    fn held_by(self, mac: MacAddr) -> Option<(u32, IpAddr)> {
        (self.mac == mac).then_some((self.index, self.ip))
    }
}

fn held(body: &[u8]) -> Option<Held> {
    let index = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
    let state = u16::from_ne_bytes(body.get(8..10)?.try_into().ok()?);
    let flags = *body.get(10)?;
    if state & (NUD_INCOMPLETE | NUD_FAILED) != 0 || flags & NTF_PROXY != 0 {
        return None;
    }
    let (mut ip, mut mac) = (None, None);
    for (kind, payload) in attributes(body.get(NDMSG..)?) {
        match kind {
            NDA_DST => ip = address(payload),
            NDA_LLADDR => mac = payload.try_into().ok().map(MacAddr),
            _ => {}
        }
    }
    Some(Held { index, ip: ip?, mac: mac.filter(|mac: &MacAddr| mac.is_station())? })
}

fn address(payload: &[u8]) -> Option<IpAddr> {
    match payload.len() {
        4 => <[u8; 4]>::try_from(payload).ok().map(|octets| Ipv4Addr::from(octets).into()),
        _ => <[u8; 16]>::try_from(payload).ok().map(|octets| Ipv6Addr::from(octets).into()),
    }
}

struct Message<'a> {
    kind: u16,
    seq: u32,
    body: &'a [u8],
}

/// `None` and the end where a message does not fit.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Option<Message<'_>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let message = message(datagram);
        datagram = match &message {
            Some(message) => {
                let length = NLMSG_HEADER + message.body.len();
                datagram.get(length.next_multiple_of(4)..).unwrap_or(&[])
            }
            None => &[],
        };
        Some(message)
    })
}

fn message(datagram: &[u8]) -> Option<Message<'_>> {
    let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?);
    let whole = datagram.get(..usize::try_from(length).ok()?)?;
    Some(Message {
        kind: u16::from_ne_bytes(whole.get(4..6)?.try_into().ok()?),
        seq: u32::from_ne_bytes(whole.get(8..12)?.try_into().ok()?),
        body: whole.get(NLMSG_HEADER..)?,
    })
}

/// Ends at the first attribute that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let payload = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, payload))
    })
}

/// Appends one request; without an address for all.
fn push(out: &mut Vec<u8>, kind: u16, flags: u16, seq: u32, index: u32, ip: Option<IpAddr>) {
    let (family, octets) = match ip {
        None => (0, Vec::new()),
        Some(IpAddr::V4(ip)) => (libc::AF_INET as u8, ip.octets().to_vec()),
        Some(IpAddr::V6(ip)) => (libc::AF_INET6 as u8, ip.octets().to_vec()),
    };
    let attribute = if ip.is_some() { 4 + octets.len() } else { 0 };
    out.extend(((NLMSG_HEADER + NDMSG + attribute) as u32).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    out.extend(seq.to_ne_bytes());
    out.extend([0; 4]);
    // struct ndmsg: family, padding, index; state, flags and type are the kernel's.
    out.extend([family, 0, 0, 0]);
    out.extend(index.to_ne_bytes());
    out.extend([0; 4]);
    if ip.is_some() {
        out.extend((attribute as u16).to_ne_bytes());
        out.extend(NDA_DST.to_ne_bytes());
        out.extend(octets);
    }
}

fn open() -> Result<Socket, RtnetlinkError> {
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(RtnetlinkError::socket("opening"))?;
    socket.bind_auto().map_err(RtnetlinkError::socket("binding"))?;
    // An acknowledgement need not repeat the request.
    socket.set_cap_ack(true).map_err(RtnetlinkError::socket("setting NETLINK_CAP_ACK"))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_S))
        .map_err(|errno| RtnetlinkError::socket("setting SO_RCVTIMEO")(errno.into()))?;
    Ok(socket)
}

fn send(socket: &Socket, requests: &[u8], doing: &'static str) -> Result<(), RtnetlinkError> {
    socket.send(requests, 0).map_err(RtnetlinkError::socket(doing))?;
    Ok(())
}

fn receive(socket: &mut Socket, datagram: &mut Vec<u8>, doing: &'static str) -> Result<(), RtnetlinkError> {
    datagram.clear();
    socket.recv(datagram, 0).map_err(RtnetlinkError::socket(doing))?;
    Ok(())
}

fn errno(body: &[u8], request: &'static str) -> Result<i32, RtnetlinkError> {
    let errno = body.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    errno.ok_or(RtnetlinkError::Garbled { request })
}

fn refused(request: &'static str, errno: i32) -> RtnetlinkError {
    RtnetlinkError::Refused { request, source: io::Error::from_raw_os_error(errno.saturating_neg()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATION: MacAddr = MacAddr([0x02, 0xbb, 0, 0, 0, 1]);
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 9));

    #[test]
    fn a_delete_names_interface_and_address() {
        let mut request = Vec::new();
        push(&mut request, RTM_DELNEIGH, NLM_F_ACK, 7, 3, Some(V4));
        // struct ndmsg: AF_INET, ifindex 3; NDA_DST
        let body = [entry(3, 0, 0), attr(1, &[10, 77, 0, 9])].concat();
        assert_eq!(request, framed(29, 5, 7, &body));
    }

    #[test]
    fn an_entry_is_held_while_it_has_an_address_that_answers() {
        let with =
            |state, flags| [entry(3, state, flags), attr(1, &[10, 77, 0, 9]), attr(2, &STATION.0)].concat();
        for state in [0x02, 0x04, 0x08, 0x10, 0x80] {
            assert_eq!(held(&with(state, 0)), Some(Held { index: 3, ip: V4, mac: STATION }), "{state:#x}");
        }
        // NUD_INCOMPLETE, NUD_FAILED, a proxy.
        for (state, flags) in [(0x01, 0), (0x20, 0), (0x80, 0x08)] {
            assert_eq!(held(&with(state, flags)), None);
        }
        assert_eq!(held(&[entry(3, 0x02, 0), attr(1, &[10, 77, 0, 9])].concat()), None);
    }

    #[test]
    fn no_cut_and_no_flipped_byte_panics() {
        let body = [entry(3, 2, 0), attr(1, &[10, 77, 0, 9]), attr(2, &STATION.0)].concat();
        let whole = [framed(28, 2, 1, &body), framed(3, 2, 1, &[0; 4])].concat();
        let kinds: Vec<_> = messages(&whole).map(|message| message.unwrap().kind).collect();
        assert_eq!(kinds, [RTM_NEWNEIGH, NLMSG_DONE]);
        for end in 0..whole.len() {
            for message in messages(&whole[..end]).flatten() {
                let _ = held(message.body);
            }
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = messages(&broken).flatten().filter_map(|message| held(message.body)).count();
            }
        }
    }

    fn entry(index: u32, state: u16, flags: u8) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0];
        bytes.extend(index.to_ne_bytes());
        bytes.extend(state.to_ne_bytes());
        bytes.extend([flags, 0]);
        bytes
    }

    fn attr(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + payload.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn framed(kind: u16, flags: u16, seq: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(seq.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }
}
