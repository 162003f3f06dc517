//! A bridge with one port and a station behind it; checked with `ip neigh` and `bridge fdb`.

use std::net::IpAddr;
use std::time::Duration;

use wayleave::adapters::rtnetlink::{Deleted, Rtnetlink, RtnetlinkEvent, RtnetlinkEvents};
use wayleave::model::MacAddr;

use crate::inside;
use crate::support::netns::{Netns, veth};
use crate::support::wait::SOON;

const STATION: MacAddr = MacAddr([0x02, 0xbb, 0, 0, 0, 1]);
const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 9));

struct Net {
    gateway: Netns,
    station: Netns,
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_dump_says_what_ip_and_bridge_say() {
    let net = Net::new();
    net.talk();
    let (links, addresses, neighbours, fdb) = inside(&net.gateway, async {
        (
            Rtnetlink.links().await.unwrap(),
            Rtnetlink.addresses().await.unwrap(),
            Rtnetlink.neighbours().await.unwrap(),
            Rtnetlink.fdb().await.unwrap(),
        )
    });

    let index = |name: &str| links.iter().find(|link| link.name == name).unwrap().index;
    assert_eq!(index("br0"), net.index("br0"));
    let port = links.iter().find(|link| link.name == "port").unwrap();
    assert_eq!((port.master, port.up), (Some(index("br0")), true));

    let ours = addresses.iter().find(|address| address.ip == IpAddr::from([10, 77, 0, 1])).unwrap();
    assert_eq!((ours.index, ours.prefix), (index("br0"), 24));
    assert!(addresses.iter().any(|address| address.ip.to_string() == "fd77::1" && address.prefix == 64));

    let both: Vec<_> =
        neighbours.iter().filter(|entry| entry.mac == STATION && entry.index == index("br0")).collect();
    assert!(both.iter().any(|entry| entry.ip == V4 && !entry.permanent), "{neighbours:?}");
    assert!(both.iter().any(|entry| entry.ip.to_string() == "fd77::9"), "{neighbours:?}");

    let learned: Vec<_> = fdb.iter().filter(|entry| !entry.local).collect();
    assert_eq!(learned.len(), 1, "only the station is no address of the bridge: {fdb:?}");
    assert_eq!((learned[0].mac, learned[0].port, learned[0].master), (STATION, index("port"), index("br0")));
    assert!(fdb.iter().any(|entry| entry.local));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_a_station_held_is_deleted_and_heard() {
    let net = Net::new();
    net.talk();
    let port = net.index("port");
    // As in an eviction: it is cut off first, or its next word would be learned again.
    net.gateway.run("nft add table netdev t");
    net.gateway
        .run("nft add chain netdev t c { type filter hook ingress device port priority 0 ; policy drop ; }");
    let deleted = inside(&net.gateway, async {
        let mut events = RtnetlinkEvents::open().unwrap();
        let held = Rtnetlink.neighbours_of(STATION).await.unwrap();
        let mut deleted = 0;
        for (index, ip) in held {
            assert!(Rtnetlink.delete_neighbour(index, ip).await.unwrap());
            assert!(!Rtnetlink.delete_neighbour(index, ip).await.unwrap(), "twice");
            heard(&mut events, |event| {
                matches!(event, RtnetlinkEvent::NeighbourGone { index: at, ip: gone, .. }
                    if (*at, *gone) == (index, ip))
            })
            .await;
            deleted += 1;
        }
        assert!(Rtnetlink.delete_fdb(port, STATION, None).await.unwrap());
        assert!(!Rtnetlink.delete_fdb(port, STATION, None).await.unwrap(), "twice");
        heard(&mut events, |event| matches!(event, RtnetlinkEvent::FdbGone(gone) if gone.mac == STATION))
            .await;
        assert_eq!(Rtnetlink.neighbours_of(STATION).await.unwrap(), []);
        deleted
    });
    // IPv4, fd77::9, and perhaps its link-local address.
    assert!(deleted >= 2, "{deleted}");
    let neighbours = net.gateway.run("ip neigh show");
    assert!(!neighbours.contains(&STATION.to_string()), "{neighbours}");
    let fdb = net.gateway.run("bridge fdb show");
    assert!(!fdb.contains(&STATION.to_string()), "{fdb}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn many_entries_are_deleted_at_once_and_only_those() {
    let net = Net::new();
    let bridge = net.index("br0");
    let v4 = |n: u8| IpAddr::from([10, 77, 0, n]);
    let v6 = |n: u16| IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 1, n]);
    let held: Vec<IpAddr> = (20..50).map(v4).chain((20..50).map(v6)).collect();
    for ip in &held {
        net.gateway.ip(&format!("neigh add {ip} lladdr {STATION} dev br0"));
    }
    let kept = v4(60);
    net.gateway.ip(&format!("neigh add {kept} lladdr 02:bb:00:00:00:02 dev br0"));
    let (of_station, first, second, elsewhere) = inside(&net.gateway, async {
        let mut of_station = Rtnetlink.neighbours_of(STATION).await.unwrap();
        of_station.sort();
        // One that was never there is in the middle.
        let mut entries = of_station.clone();
        entries.insert(30, (bridge, v4(200)));
        let first = Rtnetlink.delete_neighbours(entries.clone()).await.unwrap();
        let second = Rtnetlink.delete_neighbours(entries).await.unwrap();
        let elsewhere = Rtnetlink.delete_neighbours(vec![(9_999, v4(20))]).await.unwrap();
        (of_station, first, second, elsewhere)
    });
    let mut expected: Vec<_> = held.iter().map(|ip| (bridge, *ip)).collect();
    expected.sort();
    assert_eq!(of_station, expected);
    assert_eq!(first, Deleted { deleted: 60, left: 0 });
    assert_eq!((second, elsewhere), (Deleted::default(), Deleted::default()));
    let neighbours = net.gateway.run("ip neigh show");
    assert!(!neighbours.contains(&STATION.to_string()), "{neighbours}");
    assert!(neighbours.contains(&kept.to_string()), "{neighbours}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_station_is_heard_when_it_speaks_and_a_link_when_it_changes() {
    let net = Net::new();
    let (bridge, port) = (net.index("br0"), net.index("port"));
    inside(&net.gateway, async {
        let mut events = RtnetlinkEvents::open().unwrap();
        // Its first router solicitation may have been learned already.
        Rtnetlink.delete_fdb(port, STATION, None).await.unwrap();
        net.talk();
        heard(&mut events, |event| {
            matches!(event, RtnetlinkEvent::Fdb(fdb)
                if (fdb.mac, fdb.port, fdb.master, fdb.local) == (STATION, port, bridge, false))
        })
        .await;
        net.gateway.run("ping -c1 -W2 10.77.0.9");
        heard(&mut events, |event| {
            matches!(event, RtnetlinkEvent::Neighbour(entry) if (entry.mac, entry.ip) == (STATION, V4))
        })
        .await;

        net.gateway.ip("address add 10.78.0.1/30 dev br0");
        heard(&mut events, |event| {
            matches!(event, RtnetlinkEvent::Address(ours) if ours.prefix == 30 && ours.index == bridge)
        })
        .await;
        net.gateway.ip("address del 10.78.0.1/30 dev br0");
        heard(&mut events, |event| matches!(event, RtnetlinkEvent::AddressGone(ours) if ours.prefix == 30))
            .await;

        net.gateway.ip("link set port nomaster");
        heard(&mut events, |event| {
            matches!(event, RtnetlinkEvent::Link(link) if link.index == port && link.master.is_none())
        })
        .await;
        net.gateway.ip("link del port");
        heard(&mut events, |event| matches!(event, RtnetlinkEvent::LinkGone { index } if *index == port))
            .await;
    });
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn lost_events_are_admitted_and_hearing_goes_on() {
    let Net { gateway: netns, .. } = &Net::new();
    inside(netns, async {
        let mut events = RtnetlinkEvents::open().unwrap();
        // More than the receive buffer holds, while nobody listens.
        let lines: String = (0..30_000_u32)
            .map(|n| {
                let [_, b, c, d] = n.to_be_bytes();
                format!("fdb replace 02:aa:00:{b:02x}:{c:02x}:{d:02x} dev port master dynamic\n")
            })
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        netns.run(&format!("bridge -force -batch {}", file.path().display()));

        heard(&mut events, |event| *event == RtnetlinkEvent::Overrun).await;
        // The next change is heard, though what was dropped before it never will be.
        netns.ip("address add 10.81.0.1/32 dev br0");
        heard(&mut events, |event| matches!(event, RtnetlinkEvent::Address(ours) if ours.prefix == 32)).await;
    });
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_next_event_that_was_dropped_loses_nothing() {
    let netns = Netns::new("cancel");
    netns.ip("link add br0 type bridge");
    inside(&netns, async {
        let mut events = RtnetlinkEvents::open().unwrap();
        for n in 0..50 {
            netns.ip(&format!("address add 10.80.{n}.1/32 dev br0"));
        }
        let mut seen = Vec::new();
        while seen.len() < 50 {
            // Polled once and dropped, again and again.
            tokio::select! {
                biased;
                event = events.next_event() => {
                    if let RtnetlinkEvent::Address(address) = event.unwrap() {
                        seen.push(address.ip);
                    }
                }
                () = tokio::task::yield_now() => {}
            }
        }
        let expected: Vec<IpAddr> = (0..50).map(|n| IpAddr::from([10, 80, n, 1])).collect();
        assert_eq!(seen, expected);
    });
}

impl Net {
    fn new() -> Net {
        let (gateway, station) = (Netns::new("gateway"), Netns::new("station"));
        veth((&gateway, "port"), (&station, "eth0"));
        // Before there is a bridge that could learn the address it was made with.
        station.ip(&format!("link set eth0 address {STATION}"));
        gateway.ip("link add br0 type bridge");
        gateway.ip("link set port master br0");
        gateway.ip("link set br0 up");
        gateway.ip("address add 10.77.0.1/24 dev br0");
        gateway.ip("address add fd77::1/64 dev br0 nodad");
        station.ip("address add 10.77.0.9/24 dev eth0");
        station.ip("address add fd77::9/64 dev eth0 nodad");
        Net { gateway, station }
    }

    fn talk(&self) {
        self.station.run("ping -c1 -W5 10.77.0.1");
        self.station.run("ping -c1 -W5 fd77::1");
    }

    fn index(&self, name: &str) -> u32 {
        let path = format!("/sys/class/net/{name}/ifindex");
        self.gateway.run(&format!("cat {path}")).trim().parse().expect("a number")
    }
}

async fn heard(events: &mut RtnetlinkEvents, wanted: impl Fn(&RtnetlinkEvent) -> bool) {
    let mut others = Vec::new();
    let mut count = 0;
    let hearing = async {
        loop {
            let event = events.next_event().await.expect("the socket works");
            if wanted(&event) {
                return;
            }
            count += 1;
            if others.len() < 20 {
                others.push(event);
            }
        }
    };
    if tokio::time::timeout(SOON.min(Duration::from_secs(5)), hearing).await.is_err() {
        panic!("not heard; instead {count} others, first {others:?}");
    }
}
