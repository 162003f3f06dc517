//! A real dnsmasq, real clients (udhcpc, dhclient), and the lease file that dnsmasq keeps.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use wayleave::adapters::dhcp::{Dhcp, DhcpError, Served};
use wayleave::model::MacAddr;

use crate::inside;
use crate::support::dhcp::{lease_v4, lease_v6};
use crate::support::dnsmasq::Dnsmasq;
use crate::support::netns::{Netns, veth};
use crate::support::wait::{SOON, wait_for, wait_until};

const STATION: MacAddr = MacAddr([0x02, 0xbb, 0, 0, 0, 1]);
const OTHER: MacAddr = MacAddr([0x02, 0xbb, 0, 0, 0, 2]);

struct Net {
    gateway: Netns,
    station: Netns,
    dnsmasq: Dnsmasq,
    dir: tempfile::TempDir,
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn dnsmasq_takes_the_release_of_a_lease_with_a_client_id() {
    let net = Net::new();
    let address = lease_v4(&net.station, "eth0", net.dir.path());
    let other = net.lease_of_another();
    let line = net.line_of(STATION);
    assert!(!line.ends_with(" *"), "udhcpc gave no client id: {line}");

    let (released, took) = net.release(&[]);

    println!("IPv4 lease released in {took:?}");
    assert_eq!(released.unwrap(), 1);
    assert_eq!(net.dnsmasq.leased(), [IpAddr::from(other)], "{address} went and {other} stays");
    assert_eq!(net.release(&[]).0.unwrap(), 0, "nothing is left");
    let said = net.dnsmasq.program.lines().join("\n");
    assert!(said.contains(&format!("DHCPRELEASE(lan0) {address}")), "{said}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn dnsmasq_takes_the_release_of_a_lease_without_a_client_id() {
    let net = Net::new();
    net.station.run("udhcpc -C -i eth0 -n -q -f -t 10 -T 1 -s /bin/true");
    let line = net.line_of(STATION);
    assert!(line.ends_with(" *"), "{line}");
    assert_eq!(net.release(&[]).0.unwrap(), 1);
    assert_eq!(net.dnsmasq.leased(), [] as [IpAddr; 0]);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn dnsmasq_takes_the_release_of_an_ipv6_lease() {
    let net = Net::new();
    net.wait_for_link_local();
    let v6 = lease_v6(&net.station, "eth0", net.dir.path());
    let v4 = lease_v4(&net.station, "eth0", net.dir.path());
    wait_until("both leases in the file", SOON, || {
        let leased = net.dnsmasq.leased();
        leased.contains(&v4.into()) && leased.contains(&v6.into())
    });

    let (released, took) = net.release(&[v6.into()]);

    println!("IPv4 and IPv6 lease released in {took:?}");
    assert_eq!(released.unwrap(), 2);
    assert_eq!(net.dnsmasq.leased(), [] as [IpAddr; 0]);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_lease_that_the_server_keeps_is_reported() {
    let mut net = Net::new();
    let address = lease_v4(&net.station, "eth0", net.dir.path());
    net.dnsmasq.program.kill();
    let (released, took) = net.release(&[]);
    assert!(matches!(released, Err(DhcpError::StillHeld { leases: 1, .. })), "{released:?}");
    assert!(took < Duration::from_millis(400), "{took:?}");
    assert_eq!(net.dnsmasq.leased(), [IpAddr::from(address)]);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn hostile_names_and_broken_lines_do_not_stop_a_release() {
    let net = Net::new();
    lease_v4(&net.station, "eth0", net.dir.path());
    // What a broken disk or a foreign program may leave, between the lines of dnsmasq.
    let path = net.dnsmasq.lease_file();
    let text = fs::read(path).unwrap();
    fs::write(path, [b"\xff\x00 garbage\n1 2 3\n".as_slice(), &text].concat()).unwrap();
    assert_eq!(net.release(&[]).0.unwrap(), 1);
    assert_eq!(net.dnsmasq.leased(), [] as [IpAddr; 0]);
}

impl Net {
    fn new() -> Net {
        let (gateway, station) = (Netns::new("gateway"), Netns::new("station"));
        veth((&gateway, "lan0"), (&station, "eth0"));
        gateway.ip("address add 10.77.0.1/16 dev lan0");
        gateway.ip("address add fd77::1/64 dev lan0 nodad");
        station.ip(&format!("link set eth0 address {STATION}"));
        let dir = tempfile::tempdir().unwrap();
        // Not the one of the system, which another test has at the same time.
        let pid_file = format!("pid-file={}", dir.path().join("dnsmasq.pid").display());
        let dnsmasq = Dnsmasq::start(&gateway, "lan0", dir.path(), &pid_file);
        Net { gateway, station, dnsmasq, dir }
    }

    /// The station is another one for a moment.
    fn lease_of_another(&self) -> Ipv4Addr {
        self.station.ip(&format!("link set eth0 address {OTHER}"));
        let address = lease_v4(&self.station, "eth0", self.dir.path());
        self.station.ip(&format!("link set eth0 address {STATION}"));
        address
    }

    fn line_of(&self, mac: MacAddr) -> String {
        wait_for(&format!("a lease of {mac}"), SOON, || {
            let text = fs::read_to_string(self.dnsmasq.lease_file()).expect("dnsmasq keeps it");
            text.lines().find(|line| line.contains(&format!(" {mac} "))).map(str::to_owned)
        })
    }

    fn release(&self, addresses: &[IpAddr]) -> (Result<u32, DhcpError>, Duration) {
        let served = Served {
            name: "lan0".into(),
            addresses: vec![("10.77.0.1".parse().unwrap(), 16), ("fd77::1".parse().unwrap(), 64)],
        };
        inside(&self.gateway, async {
            let start = Instant::now();
            let dhcp = Dhcp::new(self.dnsmasq.lease_file());
            let released = dhcp.release(STATION, addresses, &[served]).await;
            (released, start.elapsed())
        })
    }

    fn wait_for_link_local(&self) {
        wait_until("a link-local address", SOON, || {
            self.station.ip("-6 address show dev eth0 scope link -tentative").contains("fe80")
        });
    }
}
