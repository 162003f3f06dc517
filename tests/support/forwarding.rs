//! What forwarding a packet costs: a router of three namespaces, and a sender that reads its own CPU time.
//!
//! ```text
//! client (sta0) --- ap0 [br-guest] gateway wan0 --- inet0 (internet)
//!                       10.77.0.1/16      198.51.100.1
//! ```
//!
//! A frame sent past the queues ([`Sender`]) goes through the whole path within the system call, so the sender's
//! CPU time is the path's. The last interface takes no frame as its own (its address is another's), so the far
//! end costs next to nothing. No connection tracking, no other rules: plain forwarding is at its cheapest, and
//! a ratio to it at its largest. The sending itself, about half of it, is in both sides of every ratio.
//!
//! Not for tests of who passes: see [`super::lab`].

use std::fs;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, bind, setsockopt, socket, sockopt};
use nix::time::{ClockId, clock_gettime};

use super::frame::{Mac, link_address, mac_text, udp};
use super::lab::{BRIDGE, BRIDGE_MAC, PORT, PORT_MAC, STATION, WAN};
use super::netns::{Netns, veth};

/// The address of the router among its guests, and how many of its bits are the network's.
pub type Inside = (Ipv4Addr, u8);

const WAN_MAC: Mac = [0x02, 0x77, 0, 0, 0, 3];
/// Who is said to be behind `wan0`.
const FAR_MAC: Mac = [0x02, 0x99, 0, 0, 0, 1];
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Frames in one system call.
const BATCH: usize = 64;

/// The three namespaces.
#[derive(Debug)]
pub struct Router {
    /// For configurations, sockets and logs; removed at the end.
    pub dir: tempfile::TempDir,
    /// The router.
    pub gateway: Netns,
    client: Netns,
    internet: Netns,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

impl Router {
    /// Builds it; it forwards.
    #[track_caller]
    pub fn new(inside: Inside) -> Self {
        let dir = tempfile::Builder::new().prefix("wltest-").tempdir().expect("a temporary directory");
        let (gateway, client, internet) = (Netns::new("router"), Netns::new("client"), Netns::new("far"));
        for end in [&client, &internet] {
            end.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
            end.sysctl("net.ipv6.conf.default.disable_ipv6", "1");
        }
        if Path::new("/proc/sys/net/bridge").exists() {
            // Off unless somebody loads br_netfilter, which is on in this kernel.
            gateway.sysctl("net.bridge.bridge-nf-call-iptables", "0");
        }
        gateway
            .ip(&format!("link add {BRIDGE} address {} type bridge mcast_snooping 0", mac_text(BRIDGE_MAC)));
        gateway.ip(&format!("link set {BRIDGE} up"));
        veth((&gateway, PORT), (&client, STATION));
        veth((&gateway, WAN), (&internet, "inet0"));
        gateway.ip(&format!("link set {PORT} address {} master {BRIDGE}", mac_text(PORT_MAC)));
        gateway.ip(&format!("link set {WAN} address {}", mac_text(WAN_MAC)));
        gateway.ip(&format!("addr add {}/{} dev {BRIDGE}", inside.0, inside.1));
        gateway.ip(&format!("addr add 198.51.100.1/24 dev {WAN}"));
        gateway.ip(&format!("neigh add {FAR} lladdr {} dev {WAN} nud permanent", mac_text(FAR_MAC)));
        gateway.sysctl("net.ipv4.ip_forward", "1");
        Self { dir, gateway, client, internet }
    }

    /// A client that needs no ARP.
    #[track_caller]
    pub fn add_client(&self, station: Mac, address: Ipv4Addr) {
        self.gateway
            .ip(&format!("neigh replace {address} lladdr {} dev {BRIDGE} nud permanent", mac_text(station)));
    }

    /// A sender of 60-byte frames between this client and a host far away, one UDP flow.
    #[track_caller]
    pub fn sender(&self, way: Way, station: Mac, address: Ipv4Addr) -> Sender<'_> {
        let (near, far) = (SocketAddr::from((address, 4000)), SocketAddr::from((FAR, 4000)));
        let payload = [0; 18];
        let (frame, from, interface, to, arrives) = match way {
            Way::Up => {
                let frame = udp(BRIDGE_MAC, station, near, far, &payload);
                (frame, &self.client, STATION, &self.internet, "inet0")
            }
            Way::Down => {
                let frame = udp(WAN_MAC, FAR_MAC, far, near, &payload);
                (frame, &self.internet, "inet0", &self.client, STATION)
            }
        };
        assert_eq!(frame.len(), 60);
        Sender { socket: from.enter(|| open(interface)), frame, to, arrives }
    }
}

/// One flow through a router.
#[derive(Debug)]
pub struct Sender<'a> {
    socket: OwnedFd,
    frame: Vec<u8>,
    to: &'a Netns,
    arrives: &'static str,
}

/// What sending cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU time of the sending thread for each packet.
    pub ns_per_packet: f64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that came out at the other end meanwhile; the router itself may have said a word too.
    pub arrived: u64,
}

impl Sender<'_> {
    /// Sends until so much CPU time is used, at least one batch.
    #[track_caller]
    pub fn cost(&self, cpu: Duration) -> Cost {
        let before = self.arrived();
        let (begin, waited, wall) = (cpu_time(), run_delay(), Instant::now());
        let mut sent = 0;
        let used = loop {
            sent += self.batch();
            let used = cpu_time() - begin;
            if used >= cpu {
                break used;
            }
        };
        // Where the kernel keeps interrupt time apart (CONFIG_IRQ_TIME_ACCOUNTING), forwarding is not in the
        // sender's time, and every ratio would say 1.
        let unseen = wall.elapsed().saturating_sub(used).saturating_sub(run_delay() - waited);
        assert!(
            unseen < used + Duration::from_millis(20),
            "this kernel does not count forwarding as the sender's time: {used:?} used, {unseen:?} elsewhere"
        );
        let arrived = self.arrived() - before;
        Cost { ns_per_packet: used.as_nanos() as f64 / sent as f64, sent, arrived }
    }

    /// Packets that came out so far, of any flow.
    #[track_caller]
    fn arrived(&self) -> u64 {
        let text =
            self.to.enter(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("proc is mounted");
        let line =
            text.lines().find_map(|line| line.trim_start().strip_prefix(self.arrives)?.strip_prefix(':'));
        // Bytes, then packets.
        let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        packets.unwrap_or_else(|| panic!("no {} in {text}", self.arrives))
    }

    #[track_caller]
    fn batch(&self) -> u64 {
        let mut slice = IoSlice::new(&self.frame);
        // SAFETY: msghdr is plain data; all zeroes is a value of it.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = (&raw mut slice).cast();
        header.msg_iovlen = 1;
        let mut headers = [libc::mmsghdr { msg_hdr: header, msg_len: 0 }; BATCH];
        // SAFETY: BATCH headers, all of which point to the one slice (IoSlice is an iovec), which outlives the
        // call; sendmmsg(2) writes their msg_len only.
        let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as u32, 0) };
        u64::try_from(sent).unwrap_or_else(|_| panic!("sendmmsg: {}", std::io::Error::last_os_error()))
    }
}

/// What a packet cost on several paths that took turns.
#[derive(Debug)]
pub struct Costs {
    /// For each path and each round: CPU time in nanoseconds.
    pub ns: Vec<Vec<f64>>,
    /// Of the packets sent in a sample, the least share that came out at the other end.
    pub forwarded: f64,
}

impl Costs {
    /// Measures the paths in turn, forwards and backwards. Panics when packets are not forwarded.
    #[track_caller]
    pub fn of(paths: &[Sender<'_>], rounds: usize, sample: Duration) -> Self {
        for path in paths {
            path.cost(sample / 4);
        }
        let mut costs = Self { ns: vec![Vec::new(); paths.len()], forwarded: f64::INFINITY };
        for round in 0..rounds {
            for turn in 0..paths.len() {
                let at = if round % 2 == 0 { turn } else { paths.len() - 1 - turn };
                let cost = paths[at].cost(sample);
                assert!(cost.arrived >= cost.sent, "path {at} does not forward: {cost:?}");
                costs.forwarded = costs.forwarded.min(cost.arrived as f64 / cost.sent as f64);
                costs.ns[at].push(cost.ns_per_packet);
            }
        }
        costs
    }

    /// For each round, the cost on this path as a ratio to that on the first.
    pub fn ratios(&self, path: usize) -> Vec<f64> {
        self.ns[path].iter().zip(&self.ns[0]).map(|(cost, first)| cost / first).collect()
    }
}

fn open(interface: &str) -> OwnedFd {
    let index = nix::net::if_::if_nametoindex(interface).expect("the interface is there");
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).expect("root");
    // Straight to the driver: no queue, so nothing is left for later.
    let bypass: libc::c_int = 1;
    // SAFETY: the option takes an int, of which pointer and length are given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const bypass).cast(),
            size_of_val(&bypass) as u32,
        )
    };
    assert_eq!(done, 0, "PACKET_QDISC_BYPASS: {}", std::io::Error::last_os_error());
    setsockopt(&socket, sockopt::SndBuf, &(1 << 20)).expect("a size");
    // Protocol 0: it sends and hears nothing.
    bind(socket.as_raw_fd(), &link_address(index, 0)).expect("the interface is there");
    socket
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it").into()
}

/// How long this thread was ready and had no processor.
fn run_delay() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
