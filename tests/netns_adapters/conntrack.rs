//! The flow table of a namespace, filled by netlink and looked at with `conntrack -L`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use wayleave::adapters::conntrack::{Conntrack, Freed};

use crate::support::netns::Netns;
use crate::{flows, inside};

const STATION_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STATION_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const SERVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
const OUTSIDE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn exactly_the_flows_of_the_station_are_freed_both_families_both_directions() {
    let netns = tracking();
    netns.enter(|| {
        flows::add(outbound(STATION_V4, SERVER_V4, 25));
        flows::add(outbound(STATION_V6, SERVER_V6, 15));
        // Came in from outside and was sent on to the station: it is only the source of the replies.
        flows::add((0..10).map(|n| (at(SERVER_V4, 500 + n), at(OUTSIDE_V4, 80), at(STATION_V4, 8080))));
        flows::add(others(200));
    });
    assert_eq!(listed(&netns), 250);

    let addresses = vec![STATION_V4, STATION_V6];
    let (before, freed, after) = inside(&netns, async {
        let conntrack = Conntrack::open().unwrap();
        let before = conntrack.count(addresses.clone()).await.unwrap();
        let freed = conntrack.free(addresses.clone()).await.unwrap();
        (before, freed, conntrack.count(addresses).await.unwrap())
    });

    assert_eq!((before, after), (50, 0));
    // Inbound flows count for the station that answers them.
    assert_eq!(freed, Freed { per_address: [(STATION_V4, 35), (STATION_V6, 15)].into(), left: 0 });
    assert_eq!(listed(&netns), 200, "flows of others were freed");
    for gone in ["10.0.0.1 ", "fd00::1 "] {
        let text = [netns.run("conntrack -L -f ipv4"), netns.run("conntrack -L -f ipv6")].concat();
        assert!(!text.contains(&format!("src={gone}")), "{gone} still has flows:\n{text}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn many_stations_are_freed_at_once_and_nobody_else() {
    let netns = tracking();
    let station = |n: u8| IpAddr::from([10, 0, 1, n]);
    netns.enter(|| {
        for n in 0..200 {
            flows::add(outbound(station(n), SERVER_V4, 3));
        }
    });
    let (none, freed) = inside(&netns, async {
        let conntrack = Conntrack::open().unwrap();
        let none = conntrack.free(Vec::new()).await.unwrap();
        (none, conntrack.free((0..199).map(station).collect()).await.unwrap())
    });
    assert_eq!(none, Freed::default());
    assert_eq!((freed.total(), freed.per_address.len(), freed.left), (597, 199, 0));
    assert_eq!(listed(&netns), 3);
}

/// So many flows that even with 262 144 buckets IPv4 is left to the kernel's filter, beside a walk of IPv6.
#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn in_a_long_list_the_kernels_filter_finds_the_same() {
    let netns = tracking();
    let other_v4 = IpAddr::from([10, 0, 0, 2]);
    let link_local: IpAddr = "fe80::1".parse().unwrap();
    netns.enter(|| {
        flows::add(others(60_000));
        flows::add(outbound(STATION_V4, SERVER_V4, 25));
        flows::add((0..10).map(|n| (at(SERVER_V4, 500 + n), at(OUTSIDE_V4, 80), at(STATION_V4, 8080))));
        // Between two of the addresses, one in each direction.
        flows::add([(at(STATION_V4, 7), at(other_v4, 7), at(other_v4, 7))]);
        flows::add([(at(other_v4, 8), at(STATION_V4, 8), at(STATION_V4, 8))]);
        flows::add(outbound(STATION_V6, SERVER_V6, 15));
        flows::add(outbound(link_local, STATION_V6, 2));
        // Not of these addresses, but like them.
        flows::add(outbound(IpAddr::from([10, 0, 0, 3]), SERVER_V4, 5));
    });
    let (freed, again) = inside(&netns, async {
        let conntrack = Conntrack::open().unwrap();
        let addresses = vec![STATION_V4, other_v4, STATION_V6, link_local];
        let freed = conntrack.free(addresses.clone()).await.unwrap();
        (freed, conntrack.free(addresses).await.unwrap())
    });
    let per_address = [(STATION_V4, 36), (other_v4, 1), (STATION_V6, 15), (link_local, 2)].into();
    assert_eq!(freed, Freed { per_address, left: 0 });
    assert_eq!(again, Freed::default());
    assert_eq!(listed(&netns), 60_005);

    let kept = IpAddr::from([10, 0, 0, 3]);
    let freed = inside(&netns, async { Conntrack::open().unwrap().free(vec![kept]).await.unwrap() });
    assert_eq!(freed.per_address, [(kept, 5)].into());
    assert_eq!(listed(&netns), 60_000);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_the_kernel_can_is_what_its_version_and_switches_say() {
    let netns = tracking();
    netns.sysctl("net.netfilter.nf_conntrack_acct", "1");
    let support = inside(&netns, async { Conntrack::open().unwrap().probe().await.unwrap() });
    assert!(support.accounting);
    assert!(support.filter, "Linux 5.8 and later filter");
    let buckets = netns.run("sysctl -n net.netfilter.nf_conntrack_buckets");
    assert_eq!(support.buckets.to_string(), buckets.trim());
    netns.sysctl("net.netfilter.nf_conntrack_acct", "0");
    let support = inside(&netns, async { Conntrack::open().unwrap().probe().await.unwrap() });
    assert!(!support.accounting);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn the_loop_goes_on_while_ten_thousand_flows_are_walked() {
    let netns = tracking();
    netns.enter(|| {
        flows::add(outbound(STATION_V4, SERVER_V4, 35));
        flows::add(outbound(STATION_V6, SERVER_V6, 15));
        flows::add(others(9_950));
    });
    let (freed, took, ticks) = inside(&netns, async {
        let conntrack = Conntrack::open().unwrap();
        let start = Instant::now();
        let free = conntrack.free(vec![STATION_V4, STATION_V6]);
        tokio::pin!(free);
        let mut ticks = 0_u32;
        loop {
            tokio::select! {
                biased;
                freed = &mut free => break (freed.unwrap(), start.elapsed(), ticks),
                () = tokio::time::sleep(Duration::from_millis(1)) => ticks += 1,
            }
        }
    });
    println!("10 000 flows: freed {} in {took:?}, {ticks} ticks of 1 ms meanwhile", freed.total());
    assert_eq!((freed.total(), freed.left), (50, 0));
    assert!(ticks >= 2, "the loop stood still for {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

/// A namespace in which connection tracking is on, as any rule that asks for its state makes it.
fn tracking() -> Netns {
    let netns = Netns::new("flows");
    netns.run("nft add table inet t");
    netns.run("nft add chain inet t c { type filter hook input priority 0 ; }");
    netns.run("nft add rule inet t c ct state new accept");
    netns
}

fn listed(netns: &Netns) -> usize {
    netns.run("conntrack -L -f ipv4").lines().count() + netns.run("conntrack -L -f ipv6").lines().count()
}

fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

fn outbound(
    from: IpAddr,
    to: IpAddr,
    count: u16,
) -> impl Iterator<Item = (SocketAddr, SocketAddr, SocketAddr)> {
    (0..count).map(move |n| (at(from, 1_000 + n), at(to, 53), at(to, 53)))
}

/// Flows of other stations, every third of them IPv6.
fn others(count: u16) -> impl Iterator<Item = (SocketAddr, SocketAddr, SocketAddr)> {
    (0..count).map(|n| {
        let [high, low] = n.to_be_bytes();
        let (from, to) = match n % 3 {
            0 => (IpAddr::from([0xfd00, 1, 0, 0, 0, 0, 0, n]), SERVER_V6),
            _ => (IpAddr::from([10, 1, high, low]), SERVER_V4),
        };
        (at(from, 2_000), at(to, 53), at(to, 53))
    })
}
