//! Ethernet frames made by hand, and a socket to send them: what a station with bad manners does.
//!
//! Honest traffic goes through the kernel's own stack: see [`super::stream`] and [`super::lab`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, recv, send, setsockopt, socket,
    sockopt,
};

use super::netns::Netns;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// To everybody.
pub const BROADCAST: Mac = [0xff; 6];

/// `02:00:00:00:00:01`
pub fn mac_text(mac: Mac) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// The address in a text, if there is one.
pub fn parse_mac(text: &str) -> Option<Mac> {
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<_, _>>().ok()?;
    octets.try_into().ok()
}

/// Ethernet II.
pub fn ethernet(to: Mac, from: Mac, ethertype: u16, body: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), body].concat()
}

/// An ARP reply (RFC 826): `ip` is at `mac`. Sent by `from`, which need not be `mac`.
pub fn arp_reply(from: Mac, mac: Mac, ip: Ipv4Addr, to: Mac, to_ip: Ipv4Addr) -> Vec<u8> {
    let body = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &mac, &ip.octets(), &to, &to_ip.octets()].concat();
    ethernet(to, from, 0x0806, &body)
}

/// A UDP datagram in a frame, IPv4 or IPv6 as the addresses are, checksums right.
pub fn udp(to: Mac, from: Mac, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a datagram");
    let mut datagram = [
        &source.port().to_be_bytes()[..],
        &destination.port().to_be_bytes(),
        &length.to_be_bytes(),
        &[0, 0],
        payload,
    ]
    .concat();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let pseudo =
                [&source.octets()[..], &destination.octets(), &[0, 17], &length.to_be_bytes()].concat();
            seal(&mut datagram, 6, &pseudo);
            ethernet(to, from, 0x0800, &[ipv4_header(source, destination, length), datagram].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let pseudo =
                [&source.octets()[..], &destination.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, 17]]
                    .concat();
            seal(&mut datagram, 6, &pseudo);
            ethernet(to, from, 0x86dd, &[ipv6_header(source, destination, 17, length), datagram].concat())
        }
        _ => panic!("{source} and {destination} are of different families"),
    }
}

/// An unsolicited neighbour advertisement (RFC 4861, 4.4) with override: `target` is at `mac`.
pub fn neighbour_advertisement(from: Mac, mac: Mac, target: Ipv6Addr, to: Mac, to_ip: Ipv6Addr) -> Vec<u8> {
    let mut body = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &target.octets(), &[2, 1], &mac].concat();
    let length = u16::try_from(body.len()).expect("32 octets");
    let pseudo =
        [&target.octets()[..], &to_ip.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, 58]].concat();
    seal(&mut body, 2, &pseudo);
    ethernet(to, from, 0x86dd, &[ipv6_header(target, to_ip, 58, length), body].concat())
}

fn ipv4_header(source: Ipv4Addr, destination: Ipv4Addr, body: u16) -> Vec<u8> {
    let mut header = [
        &[0x45, 0][..],
        &(20 + body).to_be_bytes(),
        &[0, 0, 0x40, 0, 64, 17, 0, 0],
        &source.octets(),
        &destination.octets(),
    ]
    .concat();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn ipv6_header(source: Ipv6Addr, destination: Ipv6Addr, next: u8, body: u16) -> Vec<u8> {
    // Neighbour discovery asks for a hop limit of 255 (RFC 4861, 7.1.2).
    [&[0x60, 0, 0, 0][..], &body.to_be_bytes(), &[next, 255], &source.octets(), &destination.octets()]
        .concat()
}

fn seal(body: &mut [u8], at: usize, pseudo: &[u8]) {
    let sum = checksum(&[pseudo, body].concat());
    body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A raw socket on one interface that hears frames for every address.
#[derive(Debug)]
pub struct RawPort {
    socket: OwnedFd,
}

impl RawPort {
    /// Opens it; `ethertype` 3 (`ETH_P_ALL`) hears everything.
    #[track_caller]
    pub fn open(netns: &Netns, interface: &str, ethertype: u16) -> Self {
        let socket = netns.enter(|| {
            let index = nix::net::if_::if_nametoindex(interface).expect("the interface is there");
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).expect("root");
            // Nothing else makes a frame for 2007 addresses arrive; bind with the type opens the tap.
            promiscuous(&socket, index);
            setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).expect("root");
            let address = link_address(index, ethertype);
            nix::sys::socket::bind(socket.as_raw_fd(), &address).expect("the interface is there");
            socket
        });
        Self { socket }
    }

    /// Sends a whole frame.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty());
        assert_eq!(sent, Ok(frame.len()), "a frame of {} bytes was not sent", frame.len());
    }

    /// The next frame, if one comes before the deadline.
    pub fn receive(&self, deadline: Instant) -> Option<Vec<u8>> {
        use std::os::fd::AsFd;
        let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(30));
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).expect("at most 30 s");
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout).ok()? == 0 {
            return None;
        }
        let mut frame = vec![0; 2048];
        let length = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT).ok()?;
        frame.truncate(length);
        Some(frame)
    }
}

/// The address of an interface for a raw socket.
pub fn link_address(index: u32, ethertype: u16) -> LinkAddr {
    let mut raw: nix::libc::sockaddr_ll = unsafe {
        // SAFETY: sockaddr_ll is plain data; all zeroes is a value of it.
        std::mem::zeroed()
    };
    raw.sll_family = nix::libc::AF_PACKET as u16;
    raw.sll_protocol = ethertype.to_be();
    raw.sll_ifindex = index.cast_signed();
    let length = size_of::<nix::libc::sockaddr_ll>() as u32;
    let pointer = std::ptr::from_ref(&raw).cast();
    // SAFETY: the pointer is to a sockaddr_ll of the length given.
    unsafe { LinkAddr::from_raw(pointer, Some(length)) }.expect("the family is AF_PACKET")
}

fn promiscuous(socket: &OwnedFd, index: u32) {
    let wish = nix::libc::packet_mreq {
        mr_ifindex: index.cast_signed(),
        mr_type: nix::libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: the option takes a packet_mreq, of which pointer and length are given.
    let done = unsafe {
        nix::libc::setsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_PACKET,
            nix::libc::PACKET_ADD_MEMBERSHIP,
            std::ptr::from_ref(&wish).cast(),
            size_of_val(&wish) as u32,
        )
    };
    assert_eq!(done, 0, "PACKET_ADD_MEMBERSHIP: {}", std::io::Error::last_os_error());
}
