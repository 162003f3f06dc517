//! Writes flows into the connection tracking table by netlink (`conntrack -I`), thousands in a moment.

use std::net::{IpAddr, SocketAddr};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_TIMEOUT: u16 = 7;

/// Adds UDP flows: who began each, to where, and who answers (another one than "where" behind a DNAT).
pub fn add(flows: impl IntoIterator<Item = (SocketAddr, SocketAddr, SocketAddr)>) {
    let mut socket = Socket::new(NETLINK_NETFILTER).expect("netlink");
    socket.bind_auto().expect("bound");
    let requests: Vec<Vec<u8>> = flows.into_iter().map(request).collect();
    for chunk in requests.chunks(50) {
        socket.send(&chunk.concat(), 0).expect("sent");
        for _ in chunk {
            let mut answer = Vec::with_capacity(8192);
            socket.recv(&mut answer, 0).expect("acknowledged");
            // NLMSG_ERROR with errno 0.
            assert_eq!((answer[4], &answer[16..20]), (2, &[0; 4][..]), "the kernel refused a flow");
        }
    }
}

fn request((from, to, answers): (SocketAddr, SocketAddr, SocketAddr)) -> Vec<u8> {
    let family = if from.is_ipv4() { 2 } else { 10 };
    let body = [
        vec![family, 0, 0, 0],
        tuple(CTA_TUPLE_ORIG, from, to),
        tuple(CTA_TUPLE_REPLY, answers, from),
        // IPS_SEEN_REPLY | IPS_CONFIRMED
        attribute(CTA_STATUS, &0xa_u32.to_be_bytes()),
        attribute(CTA_TIMEOUT, &600_u32.to_be_bytes()),
    ]
    .concat();
    // IPCTNL_MSG_CT_NEW; NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE
    let mut bytes = u32::try_from(16 + body.len()).expect("short").to_ne_bytes().to_vec();
    bytes.extend(0x0100_u16.to_ne_bytes());
    bytes.extend(0x0605_u16.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

fn tuple(kind: u16, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let source = if from.is_ipv4() { 1 } else { 3 };
    let addresses = [attribute(source, &octets(from.ip())), attribute(source + 1, &octets(to.ip()))].concat();
    let ports = [
        attribute(1, &[17]),
        attribute(2, &from.port().to_be_bytes()),
        attribute(3, &to.port().to_be_bytes()),
    ]
    .concat();
    nest(kind, [nest(1, addresses), nest(2, ports)].concat())
}

fn nest(kind: u16, payload: Vec<u8>) -> Vec<u8> {
    attribute(kind | 0x8000, &payload)
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + payload.len()).expect("short").to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
