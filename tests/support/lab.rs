//! A router with its guests: what every privileged test of the gateway looks at.
//!
//! ```text
//! station 1 (sta0) --+
//! station 2 (sta0) --+-- air (br-air) --- ap0 [br-guest]  gateway  wan0 --- inet0  internet
//! crowd     (cr0)  --+   like a radio:        10.77.0.1/16        198.51.100.1      198.51.100.2 a host
//!                        guests do not        fd77::1/64          2001:db8:77::1    198.51.100.3 coordinator
//!                        hear each other                                            2001:db8:77::2, ::3
//! ```
//!
//! `air` passes 802.1X on to the access point (`group_fwd_mask 8`) and keeps its guests apart (`isolated`), as
//! `ap_isolate=1` does. hostapd belongs on `ap0` ([`super::hostapd`]), dnsmasq on `br-guest`. The gateway
//! forwards and tracks connections; without a ruleset of ours, everybody reaches everything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::frame::{Mac, mac_text};
use super::hostapd::Hostapd;
use super::netns::{Netns, veth};
use super::stream::Stream;

/// The guests' interface of the gateway.
pub const BRIDGE: &str = "br-guest";
/// The port of the bridge behind which the stations are.
pub const PORT: &str = "ap0";
/// The gateway's interface to the internet.
pub const WAN: &str = "wan0";
/// A station's interface.
pub const STATION: &str = "sta0";
/// The interface of the namespace [`Lab::crowd`].
pub const CROWD: &str = "cr0";

/// Address of `br-guest`.
pub const BRIDGE_MAC: Mac = [0x02, 0x77, 0, 0, 0, 1];
/// Address of `ap0`.
pub const PORT_MAC: Mac = [0x02, 0x77, 0, 0, 0, 2];
/// The gateway towards its guests.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The gateway towards its guests.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
/// A host on the internet.
pub const INTERNET_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// A host on the internet.
pub const INTERNET_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 2);
/// The coordinator, a host of its own address in the same namespace.
pub const COORDINATOR_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);
/// The coordinator, a host of its own address in the same namespace.
pub const COORDINATOR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 3);

/// Where everything on the internet echoes UDP.
const ECHO_PORT: u16 = 7;

/// What a lab is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Stations with a namespace each.
    pub stations: u16,
    /// Whether they have their addresses at once; otherwise DHCP is to give them.
    pub addressed: bool,
    /// Whether IPv4 leaves by masquerading, as in most homes.
    pub masquerade: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self { stations: 1, addressed: true, masquerade: false }
    }
}

/// The whole of it. Everything ends with it.
#[derive(Debug)]
pub struct Lab {
    /// Guests.
    pub stations: Vec<Station>,
    /// A namespace on the air for [`super::wired`] and [`super::frame::RawPort`]; interface [`CROWD`].
    pub crowd: Netns,
    /// What lies between stations and gateway.
    pub air: Netns,
    /// The router.
    pub gateway: Netns,
    /// Everybody else.
    pub internet: Netns,
    /// For configurations, sockets and logs; removed at the end.
    pub dir: tempfile::TempDir,
    echo: Echo,
}

/// A guest.
#[derive(Debug)]
pub struct Station {
    /// Its namespace; interface [`STATION`].
    pub netns: Netns,
    /// Its address on the air.
    pub mac: Mac,
    /// Its address, if the lab gave it.
    pub v4: Ipv4Addr,
    /// Its address, if the lab gave it.
    pub v6: Ipv6Addr,
}

impl Lab {
    /// Builds it.
    #[track_caller]
    pub fn new(wish: Wish) -> Self {
        let dir = tempfile::Builder::new().prefix("wltest-").tempdir().expect("a temporary directory");
        let (gateway, air) = (Netns::new("gateway"), Netns::new("air"));
        let (internet, crowd) = (Netns::new("internet"), Netns::new("crowd"));
        build_gateway(&gateway, &air);
        build_uplink(&gateway, &internet, wish.masquerade);
        plug_into_air(&air, "crowd", &crowd, CROWD, [0x02, 0xcc, 0, 0, 0, 1]);
        let stations = (1..=wish.stations).map(|number| Station::new(&air, number, wish.addressed)).collect();
        let echo = Echo::start(&internet);
        Self { stations, crowd, air, gateway, internet, dir, echo }
    }

    /// So many stations with addresses; no other program runs yet.
    #[track_caller]
    pub fn with_stations(stations: u16) -> Self {
        Self::new(Wish { stations, ..Wish::default() })
    }

    /// Another router with a guests' bridge of the same addresses, without ports; it masquerades, and IPv6 ends at it.
    #[track_caller]
    pub fn second_router(&self, name: &str) -> Netns {
        let router = Netns::new(name);
        veth((&router, WAN), (&self.internet, "inet1"));
        self.internet.ip("addr add 198.51.101.2/24 dev inet1");
        router.ip_lines(&[
            &format!("link add {BRIDGE} address {} type bridge", mac_text(BRIDGE_MAC)),
            &format!("link set {BRIDGE} up"),
            &format!("addr add {GATEWAY_V4}/16 dev {BRIDGE}"),
            &format!("addr add 198.51.101.1/24 dev {WAN}"),
            "route add default via 198.51.101.2",
        ]);
        router.sysctl("net.ipv4.ip_forward", "1");
        router.run(&format!(
            "nft add table ip home ; add chain ip home out {{ type nat hook postrouting priority srcnat ; }} ; \
             add rule ip home out oifname {WAN} masquerade"
        ));
        router
    }

    /// hostapd on [`PORT`].
    #[track_caller]
    pub fn hostapd(&self) -> Hostapd {
        Hostapd::start(&self.gateway, PORT, self.dir.path())
    }

    /// Bridges of the router pass their packets without iptables (br_netfilter), as on most routers.
    pub fn iptables_apart(&self) {
        for name in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
            if Path::new("/proc/sys/net/bridge").exists() {
                self.gateway.sysctl(&format!("net.bridge.{name}"), "0");
            }
        }
    }

    /// Where files of this lab may be put.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Numbered packets from a station to the internet, IPv4 or IPv6 as `v6` says.
    #[track_caller]
    pub fn stream_up(&self, station: usize, v6: bool, per_second: u32) -> Stream {
        self.stream(station, true, v6, per_second, 64)
    }

    /// Numbered packets from the internet to a station. Not through masquerading.
    #[track_caller]
    pub fn stream_down(&self, station: usize, v6: bool, per_second: u32) -> Stream {
        self.stream(station, false, v6, per_second, 64)
    }

    /// Either, with so many octets of payload.
    #[track_caller]
    pub fn stream(&self, station: usize, up: bool, v6: bool, per_second: u32, length: usize) -> Stream {
        let station = &self.stations[station];
        let (theirs, far) = station.ends(v6);
        let port = free_port();
        let (from, source, to, destination) = match up {
            true => (&station.netns, theirs, &self.internet, far),
            false => (&self.internet, far, &station.netns, theirs),
        };
        Stream::start(from, (source, 0).into(), to, (destination, port).into(), per_second, length)
    }
}

impl Station {
    fn new(air: &Netns, number: u16, addressed: bool) -> Self {
        let [high, low] = number.to_be_bytes();
        let netns = Netns::new(&format!("sta{number}"));
        let mac = [0x02, 0, 0, 0, high, low];
        plug_into_air(air, &format!("port{number}"), &netns, STATION, mac);
        let station = Self::of(netns, number, mac);
        if addressed {
            station.take_addresses();
        }
        station
    }

    /// A guest whose [`STATION`] is in `netns` already, with addresses that it does not have yet.
    pub fn of(netns: Netns, number: u16, mac: Mac) -> Self {
        let [high, low] = number.to_be_bytes();
        let v4 = Ipv4Addr::new(10, 77, 200 + high, low);
        let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0x200, number);
        Self { netns, mac, v4, v6 }
    }

    /// Gives it its addresses and the way to the internet.
    #[track_caller]
    pub fn take_addresses(&self) {
        self.netns.ip_lines(&[
            &format!("addr add {}/16 dev {STATION}", self.v4),
            &format!("addr add {}/64 dev {STATION} nodad", self.v6),
            &format!("route add default via {GATEWAY_V4}"),
            &format!("route add ::/0 via {GATEWAY_V6}"),
        ]);
    }

    /// Its address as text.
    pub fn mac_text(&self) -> String {
        mac_text(self.mac)
    }

    /// Whether an echo from `host` comes back before the time is over. Asks again every 20 ms.
    #[track_caller]
    pub fn reaches_within(&self, host: impl Into<IpAddr>, limit: Duration) -> bool {
        let host = host.into();
        self.netns.enter(move || echoes((host, ECHO_PORT).into(), limit))
    }

    /// Whether it reaches `host` (which echoes UDP) at all: waits up to five seconds for a yes.
    #[track_caller]
    pub fn reaches(&self, host: impl Into<IpAddr>) -> bool {
        self.reaches_within(host, Duration::from_secs(5))
    }

    /// Whether nothing comes back for 400 ms, of some twenty packets.
    #[track_caller]
    pub fn is_cut_off(&self, host: impl Into<IpAddr>) -> bool {
        !self.reaches_within(host, Duration::from_millis(400))
    }

    /// Whether one `ping` is answered within a second.
    pub fn pings(&self, host: impl Into<IpAddr>) -> bool {
        self.netns.try_run(&format!("ping -n -c 1 -W 1 {}", host.into())).is_ok()
    }

    fn ends(&self, v6: bool) -> (IpAddr, IpAddr) {
        match v6 {
            true => (self.v6.into(), INTERNET_V6.into()),
            false => (self.v4.into(), INTERNET_V4.into()),
        }
    }
}

/// Sends a datagram every 20 ms until one comes back or the time is over.
pub fn echoes(to: SocketAddr, limit: Duration) -> bool {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("not zero");
    let start = Instant::now();
    let mut buffer = [0; 64];
    while start.elapsed() < limit {
        if socket.send_to(b"wayleave?", to).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if from.ip() == to.ip() && &buffer[..length] == b"wayleave?" {
                return true;
            }
        }
    }
    false
}

fn build_gateway(gateway: &Netns, air: &Netns) {
    gateway.ip_lines(&[
        &format!("link add {BRIDGE} address {} type bridge", mac_text(BRIDGE_MAC)),
        &format!("link set {BRIDGE} up"),
    ]);
    // 802.1X frames are link-local to a bridge; the air lets them pass. It has no addresses of its own.
    air.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    air.sysctl("net.ipv6.conf.default.disable_ipv6", "1");
    veth((gateway, PORT), (air, "uplink"));
    air.ip_lines(&[
        "link add br-air type bridge group_fwd_mask 8 mcast_snooping 0",
        "link set br-air up",
        "link set uplink master br-air",
    ]);
    gateway.ip_lines(&[
        &format!("link set {PORT} address {}", mac_text(PORT_MAC)),
        &format!("link set {PORT} master {BRIDGE}"),
        &format!("addr add {GATEWAY_V4}/16 dev {BRIDGE}"),
        &format!("addr add {GATEWAY_V6}/64 dev {BRIDGE} nodad"),
    ]);
}

fn build_uplink(gateway: &Netns, internet: &Netns, masquerade: bool) {
    veth((gateway, WAN), (internet, "inet0"));
    gateway.ip_lines(&[
        &format!("addr add 198.51.100.1/24 dev {WAN}"),
        &format!("addr add 2001:db8:77::1/64 dev {WAN} nodad"),
    ]);
    internet.ip_lines(&[
        "addr add 198.51.100.2/24 dev inet0",
        "addr add 198.51.100.3/24 dev inet0",
        "addr add 2001:db8:77::2/64 dev inet0 nodad",
        "addr add 2001:db8:77::3/64 dev inet0 nodad",
        "route add default via 198.51.100.1",
        "route add ::/0 via 2001:db8:77::1",
    ]);
    gateway.sysctl("net.ipv4.ip_forward", "1");
    gateway.sysctl("net.ipv6.conf.all.forwarding", "1");
    // Connections are tracked only where a rule looks at them, as that of every home router does.
    gateway.run(
        "nft add table inet home ; add chain inet home forward { type filter hook forward priority filter ; } ; \
         add rule inet home forward ct state established,related counter accept",
    );
    if masquerade {
        gateway.run(&format!(
            "nft add chain inet home out {{ type nat hook postrouting priority srcnat ; }} ; \
             add rule inet home out oifname {WAN} meta nfproto ipv4 masquerade"
        ));
    }
}

fn plug_into_air(air: &Netns, port: &str, netns: &Netns, interface: &str, mac: Mac) {
    veth((air, port), (netns, interface));
    netns.ip(&format!("link set {interface} address {}", mac_text(mac)));
    air.ip_lines(&[
        &format!("link set {port} master br-air"),
        &format!("link set {port} type bridge_slave isolated on"),
    ]);
}

/// A port that no other stream of this process uses.
fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000
}

/// Sends every datagram back, on every address of the namespace.
#[derive(Debug)]
struct Echo {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Echo {
    fn start(netns: &Netns) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let hosts: [IpAddr; 4] =
            [INTERNET_V4.into(), INTERNET_V6.into(), COORDINATOR_V4.into(), COORDINATOR_V6.into()];
        let threads = hosts.map(|host| {
            let socket = netns.enter(|| UdpSocket::bind((host, ECHO_PORT))).expect("the address is there");
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                socket.set_read_timeout(Some(Duration::from_millis(100))).expect("not zero");
                let mut buffer = [0; 2048];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(&buffer[..length], from);
                    }
                }
            })
        });
        Self { stop, threads: threads.into() }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
