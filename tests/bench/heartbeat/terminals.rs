//! Terminals by the ten thousand: they join as the protocol says, then send heartbeats and nothing else.
//!
//! From the join on a terminal is a TCP socket, a TLS state and one ready WebSocket frame: what a heartbeat costs
//! here is one encryption and one system call. Nothing is read: the coordinator does not answer heartbeats.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use rustls::ClientConnection;
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use wayleave::model::MacAddr;
use wayleave::wire::cbor;
use wayleave::wire::hello::Role;
use wayleave::wire::sign::Identity;
use wayleave::wire::terminal::{FromTerminal, Heartbeat};

use crate::link_client::{Door, Socket, Terminal, bssid, connector, greet, tls_over};

/// Joins at once.
const AT_ONCE: usize = 64;
/// Terminals of one loopback address: it has 28 000 ports, and the coordinator takes 4096 links from one.
const PER_ADDRESS: u32 = 4_000;

/// A terminal that joined.
pub struct Joined {
    tcp: std::net::TcpStream,
    tls: ClientConnection,
    frame: Vec<u8>,
    /// From then on it is silent.
    pub silent_from: Option<Instant>,
    /// Before its latest heartbeat was handed to the kernel.
    pub last: Instant,
}

/// All of them, and what was sent so far.
pub struct Crowd {
    /// By number.
    pub terminals: Vec<Joined>,
    sent: AtomicU64,
}

/// What sending took.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Heartbeats.
    pub sent: u64,
    /// CPU time of the sending threads, with what the kernel does there for both ends of a connection.
    pub cpu: Duration,
}

/// The address of the station with this number.
pub fn station(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 0, a, b, c, d])
}

/// Its number.
pub fn number_of(station: MacAddr) -> usize {
    let [_, _, a, b, c, d] = station.0;
    u32::from_be_bytes([a, b, c, d]) as usize
}

/// So many terminals, evenly over the gateways.
pub async fn join(door: Door, terminals: u32, gateways: u8) -> Crowd {
    let (turns, connector) = (Arc::new(Semaphore::new(AT_ONCE)), connector(door.key));
    let mut tasks = Vec::new();
    for number in 0..terminals {
        let turn = Arc::clone(&turns).acquire_owned().await.expect("it is not closed");
        let connector = connector.clone();
        tasks.push(tokio::spawn(async move {
            let joined = join_one(door, &connector, number, gateways).await;
            drop(turn);
            joined
        }));
    }
    let mut joined = Vec::with_capacity(tasks.len());
    for task in tasks {
        joined.push(task.await.expect("every terminal joins"));
    }
    Crowd { terminals: joined, sent: AtomicU64::new(0) }
}

async fn join_one(door: Door, connector: &TlsConnector, number: u32, gateways: u8) -> Joined {
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 1)) + ((number / PER_ADDRESS) << 8));
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((address, 0))).expect("a free port");
    let tcp = socket.connect(door.address).await.expect("the coordinator listens");
    tcp.set_nodelay(true).expect("a TCP socket");
    let socket = Socket::over(tls_over(connector, tcp).await.expect("TLS")).await.expect("a WebSocket");
    let identity = Identity::generate();
    let (socket, ..) = greet(socket, door.key, &identity, Role::Terminal, None).await.expect("a welcome");
    let mut terminal = Terminal::on(socket, &identity);
    let bssid = bssid((number % u32::from(gateways)) as u8);
    assert_eq!(terminal.ask(&[(bssid, "cafe")]).await.len(), 1);
    terminal.want(bssid, station(number)).await;
    let joined = terminal.answer().await.expect("the gateway acknowledges");
    let heartbeat = FromTerminal::Heartbeat(Heartbeat {
        rx: 1 << 33,
        tx: 1 << 31,
        next: None,
        service: joined.service,
        session: joined.session,
        incarnation: joined.incarnation,
    });
    let frame = frame(&cbor::encode(&heartbeat).expect("it is short"));
    let (tcp, tls) = terminal.socket.into_tls().into_inner();
    // Not blocking: a coordinator that does not keep up is noticed.
    let tcp = tcp.into_std().expect("nothing of it is in use");
    Joined { tcp, tls, frame, silent_from: None, last: Instant::now() }
}

/// A binary frame of a client (RFC 6455, 5.2): masked, as it has to be, with a mask of zeroes.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(message.len()).expect("a heartbeat is short");
    let head: &[u8] = if length < 126 { &[0x82, 0x80 | length] } else { &[0x82, 0x80 | 126, 0, length] };
    [head, &[0; 4], message].concat()
}

impl Joined {
    fn beat(&mut self, now: Instant) {
        self.last = now;
        self.tls.writer().write_all(&self.frame).expect("a buffer");
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp).expect("the coordinator takes it");
        }
    }
}

impl Crowd {
    /// Heartbeats of all in turn until `until`, as many as the coordinator takes: never more than one for each
    /// terminal is under way. `handled` is the coordinator's own count since its start.
    pub fn saturate(&mut self, handled: &AtomicU64, until: Instant) -> Load {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let before = self.sent.load(Ordering::Relaxed);
        let (all, sent) = (self.terminals.len(), &self.sent);
        let shares = self.terminals.chunks_mut(all.div_ceil(threads));
        let cpu = thread::scope(|scope| {
            let begun: Vec<_> = shares
                .map(|share| scope.spawn(move || share_of_load(share, sent, handled, all as u64, until)))
                .collect();
            begun.into_iter().map(|thread| thread.join().expect("the coordinator takes all")).sum()
        });
        Load { sent: self.sent.load(Ordering::Relaxed) - before, cpu }
    }
}

/// CPU time used.
fn share_of_load(
    terminals: &mut [Joined],
    sent: &AtomicU64,
    handled: &AtomicU64,
    window: u64,
    until: Instant,
) -> Duration {
    loop {
        for terminal in terminals.iter_mut() {
            let mut now = Instant::now();
            while sent.load(Ordering::Relaxed) >= handled.load(Ordering::Relaxed) + window && now < until {
                thread::sleep(Duration::from_micros(500));
                now = Instant::now();
            }
            if now >= until {
                // Of a thread that was made for this.
                return clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it").into();
            }
            if terminal.silent_from.is_none_or(|silent| silent > now) {
                terminal.beat(now);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
