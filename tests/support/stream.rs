//! Numbered packets at an even pace from one namespace to another, and what of them arrived when.

use nix::sys::socket::{setsockopt, sockopt};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::netns::Netns;

/// How long a packet may be under way before it counts as lost.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// A stream that runs until [`Stream::stop`].
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<Vec<Instant>>,
    receiver: JoinHandle<Vec<(u64, Instant)>>,
}

/// What became of a stream.
#[derive(Clone, Debug)]
pub struct Tally {
    /// When packet `n` was handed to the kernel; those that the kernel refused are in it too.
    pub sent: Vec<Instant>,
    /// Numbers and times of those that arrived, in order of arrival.
    pub arrived: Vec<(u64, Instant)>,
}

impl Stream {
    /// Sends `per_second` UDP datagrams of `length` bytes from `source` (port 0: any) in one namespace to
    /// `destination` in the other. IPv4 or IPv6, as the addresses are.
    #[track_caller]
    pub fn start(
        from: &Netns,
        source: SocketAddr,
        to: &Netns,
        destination: SocketAddr,
        per_second: u32,
        length: usize,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let arrived = Arc::new(AtomicU64::new(0));
        // Bound to no address: the packet may come to any of the receiver's.
        let any: SocketAddr = match destination {
            SocketAddr::V4(_) => ([0, 0, 0, 0], destination.port()).into(),
            SocketAddr::V6(_) => ([0_u16; 8], destination.port()).into(),
        };
        let hears =
            to.enter(|| UdpSocket::bind(any)).unwrap_or_else(|error| panic!("{destination}: {error}"));
        let speaks =
            from.enter(|| UdpSocket::bind(source)).unwrap_or_else(|error| panic!("{source}: {error}"));
        hears.set_read_timeout(Some(Duration::from_millis(20))).expect("not zero");
        // A busy machine runs the receiver late; what waits for it is not lost.
        setsockopt(&hears, sockopt::RcvBufForce, &(16 << 20)).expect("root may");
        let (sender_stop, receiver_stop, count) =
            (Arc::clone(&stop), Arc::clone(&stop), Arc::clone(&arrived));
        let sender = std::thread::spawn(move || send(&speaks, destination, per_second, length, &sender_stop));
        let receiver = std::thread::spawn(move || receive(&hears, &receiver_stop, &count));
        Self { stop, arrived, sender, receiver }
    }

    /// How many arrived so far.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Ends the stream; packets under way are waited for.
    #[track_caller]
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender does not panic");
        let arrived = self.receiver.join().expect("the receiver does not panic");
        Tally { sent, arrived }
    }
}

impl Tally {
    /// Numbers of those that did not arrive.
    pub fn lost(&self) -> Vec<u64> {
        let mut seen = vec![false; self.sent.len()];
        for (number, _) in &self.arrived {
            if let Some(seen) = seen.get_mut(usize::try_from(*number).unwrap_or(usize::MAX)) {
                *seen = true;
            }
        }
        (0_u64..).zip(seen).filter(|(_, seen)| !seen).map(|(number, _)| number).collect()
    }

    /// Panics unless everything arrived; names the gaps.
    #[track_caller]
    pub fn assert_whole(&self) {
        assert!(!self.sent.is_empty(), "nothing was sent");
        let lost = self.lost();
        assert!(lost.is_empty(), "{} of {} packets lost: {:?}", lost.len(), self.sent.len(), gaps(&lost));
    }

    /// Panics if anything arrived.
    #[track_caller]
    pub fn assert_nothing(&self) {
        assert!(!self.sent.is_empty(), "nothing was sent");
        assert!(self.arrived.is_empty(), "{} of {} packets arrived", self.arrived.len(), self.sent.len());
    }

    /// When the last one arrived.
    pub fn last_arrival(&self) -> Option<Instant> {
        self.arrived.iter().map(|(_, at)| *at).max()
    }

    /// The longest time between two arrivals.
    pub fn longest_silence(&self) -> Duration {
        self.arrived.windows(2).map(|pair| pair[1].1 - pair[0].1).max().unwrap_or_default()
    }
}

/// First and last number of each run of consecutive numbers.
pub fn gaps(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut gaps: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match gaps.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => gaps.push((*number, *number)),
        }
    }
    gaps
}

fn send(
    socket: &UdpSocket,
    to: SocketAddr,
    per_second: u32,
    length: usize,
    stop: &AtomicBool,
) -> Vec<Instant> {
    let mut sent = Vec::new();
    let mut payload = vec![0; length.max(8)];
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        // The pace is kept over the whole stream: after a pause of the scheduler the packets due follow at once.
        let due = start + Duration::from_secs(sent.len() as u64) / per_second;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        payload[..8].copy_from_slice(&(sent.len() as u64).to_be_bytes());
        // Refused (no route, no neighbour): it counts as sent and lost.
        // What the sender's own kernel did not take was not sent.
        while socket.send_to(&payload, to).is_err() && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(200));
        }
        sent.push(Instant::now());
    }
    sent
}

fn receive(socket: &UdpSocket, stop: &AtomicBool, count: &AtomicU64) -> Vec<(u64, Instant)> {
    let mut arrived = Vec::new();
    let mut buffer = [0; 65536];
    let mut quiet_since = Instant::now();
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) if length >= 8 => {
                quiet_since = Instant::now();
                let number = u64::from_be_bytes(buffer[..8].try_into().expect("eight octets"));
                arrived.push((number, quiet_since));
                count.fetch_add(1, Ordering::Relaxed);
            }
            _ if !stop.load(Ordering::Relaxed) => quiet_since = Instant::now(),
            _ if quiet_since.elapsed() > UNDER_WAY => return arrived,
            _ => {}
        }
    }
}
