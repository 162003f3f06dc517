//! From rtnetlink messages to our words. Pure; the parsing of bytes is netlink-packet-route's.
//!
//! Left out: neighbours without a link-layer address of one station (group mappings, proxies), and forwarding
//! entries that belong to no bridge. Read next: `mod.rs`.

use std::net::IpAddr;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Address, Fdb, Link, Neighbour, RtnetlinkEvent};
use crate::model::MacAddr;

/// The events in one datagram, in their order.
pub fn events(mut datagram: &[u8]) -> Vec<RtnetlinkEvent> {
    let mut events = Vec::new();
    while datagram.len() >= 4 {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram) else {
            // What it said is lost to us, and only a dump can tell.
            events.push(RtnetlinkEvent::Overrun);
            return events;
        };
        let length = usize::try_from(message.header.length).unwrap_or(usize::MAX).max(4);
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        match message.payload {
            NetlinkPayload::InnerMessage(message) => events.extend(event(message)),
            NetlinkPayload::Overrun(_) => events.push(RtnetlinkEvent::Overrun),
            _ => {}
        }
    }
    events
}

fn event(message: RouteNetlinkMessage) -> Option<RtnetlinkEvent> {
    match message {
        // A bridge repeats its ports in a family of its own; the port itself is not made or gone by that.
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
            if link.header.interface_family != AddressFamily::Unspec =>
        {
            None
        }
        RouteNetlinkMessage::NewLink(message) => link(&message).map(RtnetlinkEvent::Link),
        RouteNetlinkMessage::DelLink(link) => Some(RtnetlinkEvent::LinkGone { index: link.header.index }),
        RouteNetlinkMessage::NewAddress(message) => address(&message).map(RtnetlinkEvent::Address),
        RouteNetlinkMessage::DelAddress(message) => address(&message).map(RtnetlinkEvent::AddressGone),
        RouteNetlinkMessage::NewNeighbour(message) => match message.header.family {
            AddressFamily::Bridge => fdb(&message).map(RtnetlinkEvent::Fdb),
            _ => match neighbour(&message) {
                Some(neighbour) => Some(RtnetlinkEvent::Neighbour(neighbour)),
                // Failed or not answered yet: nobody is known to have the address.
                None => unanswered(&message),
            },
        },
        RouteNetlinkMessage::DelNeighbour(message) => match message.header.family {
            AddressFamily::Bridge => fdb(&message).map(RtnetlinkEvent::FdbGone),
            _ => match neighbour(&message) {
                Some(Neighbour { index, ip, mac, .. }) => {
                    Some(RtnetlinkEvent::NeighbourGone { index, ip, mac: Some(mac) })
                }
                None => unanswered(&message),
            },
        },
        _ => None,
    }
}

pub fn link(message: &LinkMessage) -> Option<Link> {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        running: message.header.flags.contains(LinkFlags::Running),
        mac: None,
        master: None,
        isolated: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(octets) => link.mac = mac(octets),
            LinkAttribute::LinkInfo(infos) => link.isolated = isolated(infos),
            LinkAttribute::Controller(index) => link.master = Some(*index).filter(|index| *index != 0),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn isolated(infos: &[LinkInfo]) -> Option<bool> {
    let ports = infos.iter().filter_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(port)) => Some(port),
        _ => None,
    });
    ports.flatten().find_map(|of_port| match of_port {
        InfoBridgePort::Isolated(isolated) => Some(*isolated),
        _ => None,
    })
}

pub fn address(message: &AddressMessage) -> Option<Address> {
    let (mut own, mut other) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link IFA_ADDRESS is the far end's.
            AddressAttribute::Local(ip) => own = Some(*ip),
            AddressAttribute::Address(ip) => other = Some(*ip),
            _ => {}
        }
    }
    Some(Address { index: message.header.index, ip: own.or(other)?, prefix: message.header.prefix_len })
}

pub fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let state = message.header.state;
    Some(Neighbour {
        index: message.header.ifindex,
        ip: destination(message)?,
        mac: lladdr(message).filter(|mac| mac.is_station())?,
        reachable: matches!(state, NeighbourState::Reachable),
        permanent: matches!(state, NeighbourState::Permanent | NeighbourState::Noarp),
    })
}

pub fn fdb(message: &NeighbourMessage) -> Option<Fdb> {
    let (mut master, mut vlan) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Controller(index) => master = Some(*index),
            NeighbourAttribute::Vlan(id) => vlan = Some(*id),
            _ => {}
        }
    }
    Some(Fdb {
        port: message.header.ifindex,
        // Without one it is a filter of the device (`self`), not an entry of a bridge.
        master: master?,
        mac: lladdr(message).filter(|mac| mac.is_station())?,
        vlan,
        local: matches!(message.header.state, NeighbourState::Permanent),
    })
}

fn unanswered(message: &NeighbourMessage) -> Option<RtnetlinkEvent> {
    if message.header.flags.contains(NeighbourFlags::Proxy) || lladdr(message).is_some() {
        return None;
    }
    let (index, ip) = (message.header.ifindex, destination(message)?);
    Some(RtnetlinkEvent::NeighbourGone { index, ip, mac: None })
}

fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })
}

fn lladdr(message: &NeighbourMessage) -> Option<MacAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) => mac(octets),
        _ => None,
    })
}

fn mac(octets: &[u8]) -> Option<MacAddr> {
    octets.try_into().ok().map(MacAddr)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATION: MacAddr = MacAddr([0x02, 0xbb, 0, 0, 0, 1]);

    /// `ip neigh` learns a station: Linux 6.18, NDA_CACHEINFO and NDA_PROBES left out.
    #[test]
    fn a_neighbour_is_read() {
        // struct ndmsg: AF_INET, ifindex 3, NUD_REACHABLE, no flags, RTN_UNICAST
        let body = [ndmsg(2, 3, 0x02, 0), attr(1, &[10, 77, 1, 9]), attr(2, &STATION.0)].concat();
        let ip = IpAddr::from([10, 77, 1, 9]);
        let neighbour = Neighbour { index: 3, ip, mac: STATION, reachable: true, permanent: false };
        assert_eq!(events(&message(28, &body)), [RtnetlinkEvent::Neighbour(neighbour)]);
        let gone = RtnetlinkEvent::NeighbourGone { index: 3, ip, mac: Some(STATION) };
        assert_eq!(events(&message(29, &body)), [gone]);
    }

    #[test]
    fn an_address_that_nobody_answers_for_is_nobodys() {
        // NUD_FAILED, no NDA_LLADDR.
        let body = [ndmsg(2, 3, 0x20, 0), attr(1, &[10, 77, 1, 9])].concat();
        let ip = IpAddr::from([10, 77, 1, 9]);
        assert_eq!(events(&message(28, &body)), [RtnetlinkEvent::NeighbourGone { index: 3, ip, mac: None }]);
    }

    #[test]
    fn group_mappings_and_proxies_are_left_out() {
        let all_nodes = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        // NUD_NOARP: ff02::1 is 33:33:00:00:00:01 on Ethernet (RFC 2464, 7).
        let group = [ndmsg(10, 3, 0x40, 0), attr(1, &all_nodes), attr(2, &[0x33, 0x33, 0, 0, 0, 1])].concat();
        assert_eq!(events(&message(28, &group)), []);
        let proxy = [ndmsg(2, 3, 0x80, 0x08), attr(1, &[10, 77, 1, 9])].concat();
        assert_eq!(events(&message(28, &proxy)), []);
    }

    #[test]
    fn a_bridge_entry_says_whether_it_is_the_bridges_own() {
        for (state, local) in [(0x02, false), (0x04, false), (0x40, false), (0x80, true)] {
            // AF_BRIDGE, port 5, NDA_LLADDR, NDA_MASTER 4, NDA_VLAN 100
            let body = [
                ndmsg(7, 5, state, 0),
                attr(2, &STATION.0),
                attr(9, &4_u32.to_ne_bytes()),
                attr(5, &100_u16.to_ne_bytes()),
            ]
            .concat();
            let fdb = Fdb { port: 5, master: 4, mac: STATION, vlan: Some(100), local };
            assert_eq!(events(&message(28, &body)), [RtnetlinkEvent::Fdb(fdb)]);
        }
        // NTF_SELF, no NDA_MASTER: a filter of the device.
        let body = [ndmsg(7, 5, 0x80, 0x02), attr(2, &STATION.0)].concat();
        assert_eq!(events(&message(28, &body)), []);
    }

    #[test]
    fn a_link_and_its_bridge_are_read_once() {
        let ifinfo = |family: u8| {
            // struct ifinfomsg: ARPHRD_ETHER, index 5, IFF_UP | IFF_BROADCAST | IFF_RUNNING
            let mut bytes = vec![family, 0];
            bytes.extend(1_u16.to_ne_bytes());
            bytes.extend(5_u32.to_ne_bytes());
            bytes.extend(0x43_u32.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend([attr(3, b"lan1\0"), attr(1, &STATION.0), attr(10, &4_u32.to_ne_bytes())].concat());
            // IFLA_LINKINFO: IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA with IFLA_BRPORT_ISOLATED.
            let port = [attr(4, b"bridge\0"), attr(5, &attr(33, &[1]))].concat();
            bytes.extend(attr(18, &port));
            bytes
        };
        let link = Link {
            index: 5,
            name: "lan1".into(),
            up: true,
            running: true,
            mac: Some(STATION),
            master: Some(4),
            isolated: Some(true),
        };
        assert_eq!(events(&message(16, &ifinfo(0))), [RtnetlinkEvent::Link(link)]);
        assert_eq!(events(&message(17, &ifinfo(0))), [RtnetlinkEvent::LinkGone { index: 5 }]);
        // AF_BRIDGE: the port left its bridge, and is still there.
        assert_eq!(events(&message(17, &ifinfo(7))), []);
    }

    #[test]
    fn an_address_is_our_end_of_the_link() {
        // struct ifaddrmsg: AF_INET, /24, no flags, RT_SCOPE_UNIVERSE, index 4
        let body = |family: u8, prefix: u8, attributes: Vec<u8>| {
            [vec![family, prefix, 0, 0], 4_u32.to_ne_bytes().to_vec(), attributes].concat()
        };
        let v4 = body(2, 24, [attr(1, &[10, 0, 0, 2]), attr(2, &[10, 0, 0, 1])].concat());
        let ours = Address { index: 4, ip: IpAddr::from([10, 0, 0, 1]), prefix: 24 };
        assert_eq!(events(&message(20, &v4)), [RtnetlinkEvent::Address(ours)]);
        assert_eq!(events(&message(21, &v4)), [RtnetlinkEvent::AddressGone(ours)]);
        let v6 = body(10, 64, attr(1, &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
        let ours = Address { index: 4, ip: "fd00::1".parse().unwrap(), prefix: 64 };
        assert_eq!(events(&message(20, &v6)), [RtnetlinkEvent::Address(ours)]);
    }

    #[test]
    fn several_messages_of_one_datagram_keep_their_order() {
        let body = |ip: u8| [ndmsg(2, 3, 2, 0), attr(1, &[10, 0, 0, ip]), attr(2, &STATION.0)].concat();
        let both = [message(28, &body(1)), message(29, &body(2))].concat();
        assert!(matches!(
            events(&both).as_slice(),
            [RtnetlinkEvent::Neighbour(_), RtnetlinkEvent::NeighbourGone { .. }]
        ));
    }

    #[test]
    fn what_does_not_parse_asks_for_a_dump_and_never_panics() {
        let body = [ndmsg(2, 3, 2, 0), attr(1, &[10, 0, 0, 1]), attr(2, &STATION.0)].concat();
        let whole = message(28, &body);
        for end in 4..whole.len() {
            assert_eq!(events(&whole[..end]), [RtnetlinkEvent::Overrun], "cut at {end}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                assert!(events(&broken).len() <= 2);
            }
        }
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    fn ndmsg(family: u8, index: u32, state: u16, flags: u8) -> Vec<u8> {
        let mut bytes = vec![family, 0, 0, 0];
        bytes.extend(index.to_ne_bytes());
        bytes.extend(state.to_ne_bytes());
        bytes.extend([flags, 1]);
        bytes
    }

    fn attr(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + payload.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}
