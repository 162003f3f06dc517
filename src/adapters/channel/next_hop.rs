//! Through whom an interface reaches everybody: the next hop of its default routes, as `ip route` shows it.
//!
//! Read from procfs of the calling thread, so that it is the network namespace in use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// `RTF_UP | RTF_GATEWAY` of linux/route.h.
const UP_BY_GATEWAY: u32 = 0x3;

/// The gateways of an interface with this port, IPv4 first.
pub fn next_hops(interface: &str, port: u16) -> Vec<SocketAddr> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let index = read(&format!("/sys/class/net/{interface}/ifindex")).trim().parse().unwrap_or(0);
    let v4 = v4(&read("/proc/thread-self/net/route"), interface);
    let v6 = v6(&read("/proc/thread-self/net/ipv6_route"), interface);
    let address = |hop| match hop {
        IpAddr::V4(hop) => SocketAddr::from((hop, port)),
        // A router speaks by its link-local address (RFC 4861, 6.3.4), which means nothing without the interface.
        IpAddr::V6(hop) => SocketAddrV6::new(hop, port, 0, index).into(),
    };
    v4.into_iter().map(IpAddr::V4).chain(v6.into_iter().map(IpAddr::V6)).map(address).collect()
}

/// fs/proc: `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, addresses as numbers of this machine.
fn v4(table: &str, interface: &str) -> Vec<Ipv4Addr> {
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| match row[..] {
        [name, "00000000", hop, flags, _, _, _, "00000000", ..] if name == interface => {
            let flags = u32::from_str_radix(flags, 16).ok()?;
            let hop = u32::from_str_radix(hop, 16).ok()?;
            (flags & UP_BY_GATEWAY == UP_BY_GATEWAY).then(|| Ipv4Addr::from(hop.to_ne_bytes()))
        }
        _ => None,
    })
    .collect()
}

/// `destination length source length next-hop metric references uses flags interface`, octets as they travel.
fn v6(table: &str, interface: &str) -> Vec<Ipv6Addr> {
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| match row[..] {
        [destination, "00", _, _, hop, _, _, _, flags, name] if name == interface => {
            let flags = u32::from_str_radix(flags, 16).ok()?;
            let hop = u128::from_str_radix(hop, 16).ok()?;
            let is_default = u128::from_str_radix(destination, 16).ok()? == 0;
            (is_default && flags & UP_BY_GATEWAY == UP_BY_GATEWAY).then(|| Ipv6Addr::from(hop))
        }
        _ => None,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.1 shows them on x86-64.
    #[test]
    #[cfg(target_endian = "little")]
    fn the_default_route_of_the_interface_and_no_other() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            sta0\t00000000\t01004D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            sta0\t00004D0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            sta0\t0000000A\t09004D0A\t0003\t0\t0\t0\t000000FF\t0\t0\t0\n";
        assert_eq!(v4(table, "sta0"), [Ipv4Addr::new(10, 77, 0, 1)]);
        assert!(v4(table, "sta1").is_empty() && v4("", "sta0").is_empty() && v4("\nsta0", "sta0").is_empty());
    }

    #[test]
    fn and_so_in_ipv6() {
        let none = "0".repeat(32);
        let hop = "fd770000000000000000000000000001";
        let row = |length, hop: &str, flags, name| {
            format!("{none} {length} {none} 00 {hop} 00000400 00000001 00000000 {flags} {name}\n")
        };
        let table = [
            row("00", hop, "00000003", "sta0"),
            row("00", hop, "00000003", "eth0"),
            row("00", &none, "00200200", "lo"),
            row("40", &none, "00000001", "sta0"),
        ];
        assert_eq!(v6(&table.concat(), "sta0"), ["fd77::1".parse::<Ipv6Addr>().unwrap()]);
    }
}
