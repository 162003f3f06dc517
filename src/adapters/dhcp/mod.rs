//! Gives back the DHCP leases of a station, in its name, as if it had said so itself; for dnsmasq.
//!
//! No process is started and no server is restarted: a DHCPRELEASE (RFC 2131, 4.4.6) and a relayed RELEASE (RFC
//! 8415, 18.2.7 and 19.1) go to the server on this machine. A datagram that a socket bound to an interface sends to an
//! address of the machine itself arrives as if it came in on that interface, which is what the server asks for.
//!
//! What counts is the lease file: a lease is released when the server has written the file without it.
//! Files are read on the blocking pool.

mod codec;
mod error;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

pub use self::error::DhcpError;

use self::codec::{LeaseV4, LeaseV6, Leases};
use crate::model::{Gather, MacAddr};

/// How long the server has to write its file; dnsmasq takes about a millisecond.
const PATIENCE: Duration = Duration::from_millis(200);

/// Between two looks at the file, doubling up to the longest. (An inotify would be told at once, and closing it
/// takes the kernel a grace period of 16 ms.)
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// What stays the same for so long is no half-written file.
const SETTLED: Duration = Duration::from_millis(20);

/// A larger file is not read: 16 MiB are some 200 000 leases.
const MOST_OF_A_FILE: u64 = 16 * 1024 * 1024;

/// Threads that wait for a server at the same time, when many stations leave at once.
const AT_ONCE: usize = 4;

const SERVER_PORT_V4: u16 = 67;
const SERVER_PORT_V6: u16 = 547;

/// An interface on which the server on this machine serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its name.
    pub name: String,
    /// Its addresses with the length of their prefix.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// The DHCP server on this machine, known by its lease file.
#[derive(Clone, Debug)]
pub struct Dhcp {
    lease_file: PathBuf,
    turns: Arc<Semaphore>,
}

impl Dhcp {
    /// dnsmasq's `dhcp-leasefile`. It may appear later.
    pub fn new(lease_file: impl Into<PathBuf>) -> Dhcp {
        Dhcp { lease_file: lease_file.into(), turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Whether the lease file is there; how many lines of it are leases and how many are not. For `doctor`.
    pub async fn probe(&self) -> Result<(u32, u32), DhcpError> {
        let path = self.lease_file.clone();
        on_the_side(&self.turns, move || {
            let leases = Leases::parse(&read_whole(&path)?);
            Ok((count(leases.v4.len() + leases.v6.len()), leases.skipped))
        })
        .await
    }

    /// Every address that is leased, and to which station: IPv6 where its DUID was made from its MAC address.
    pub async fn leased(&self) -> Result<Vec<(MacAddr, IpAddr)>, DhcpError> {
        let path = self.lease_file.clone();
        on_the_side(&self.turns, move || {
            let leases = Leases::parse(&read_whole(&path)?);
            let v4 = leases.v4.iter().map(|lease| (lease.mac, lease.ip.into()));
            let v6 = leases.v6.iter().filter_map(|lease| Some((lease.mac()?, lease.ip.into())));
            Ok(v4.chain(v6).collect())
        })
        .await
    }

    /// Releases every lease of the station and waits until the server has forgotten them: at most 200 ms,
    /// usually a few. Returns how many there were.
    ///
    /// Its IPv4 leases are those with its MAC address; its IPv6 leases, in which the file names none, those of
    /// `addresses` and those whose DUID was made from it.
    pub async fn release(
        &self,
        station: MacAddr,
        addresses: &[IpAddr],
        interfaces: &[Served],
    ) -> Result<u32, DhcpError> {
        let release = Release {
            lease_file: self.lease_file.clone(),
            station,
            addresses: addresses.iter().copied().gather(),
            interfaces: interfaces.to_vec(),
        };
        on_the_side(&self.turns, move || release.run()).await
    }
}

async fn on_the_side<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> Result<T, DhcpError> + Send + 'static,
) -> Result<T, DhcpError> {
    // The semaphore is never closed; without a turn there would be more threads, no wrong result.
    let turn = Arc::clone(turns).acquire_owned().await.ok();
    let worked = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(turn);
        result
    });
    match worked.await {
        Ok(result) => result,
        Err(gone) => Err(DhcpError::Unsent { interface: String::new(), source: io::Error::other(gone) }),
    }
}

struct Release {
    lease_file: PathBuf,
    station: MacAddr,
    addresses: BTreeSet<IpAddr>,
    interfaces: Vec<Served>,
}

impl Release {
    fn run(&self) -> Result<u32, DhcpError> {
        let leases = Leases::parse(&read_whole(&self.lease_file)?);
        let v4: Vec<&LeaseV4> = leases.v4.iter().filter(|lease| lease.mac == self.station).collect();
        let v6: Vec<&LeaseV6> = leases.v6.iter().filter(|lease| self.owns(lease)).collect();
        let held = v4.len() + v6.len();
        if held == 0 {
            return Ok(0);
        }
        let mut elsewhere = 0;
        for lease in v4 {
            elsewhere += u32::from(!self.send_v4(lease)?);
        }
        for lease in v6 {
            elsewhere += u32::from(!self.send_v6(lease, leases.server.as_deref().unwrap_or_default())?);
        }
        if elsewhere > 0 {
            return Err(DhcpError::Elsewhere { leases: elsewhere });
        }
        self.wait(&leases)?;
        Ok(count(held))
    }

    fn owns(&self, lease: &LeaseV6) -> bool {
        self.addresses.contains(&IpAddr::V6(lease.ip)) || lease.mac() == Some(self.station)
    }

    /// Whether there is a server to send it to.
    fn send_v4(&self, lease: &LeaseV4) -> Result<bool, DhcpError> {
        let mut sent = false;
        for (interface, server) in self.servers(lease.ip.into()) {
            let IpAddr::V4(server) = server else { continue };
            let message = codec::release_v4(lease, server, random());
            send(interface, (server, SERVER_PORT_V4).into(), &message).map_err(unsent(interface))?;
            sent = true;
        }
        Ok(sent)
    }

    fn send_v6(&self, lease: &LeaseV6, server: &[u8]) -> Result<bool, DhcpError> {
        let mut sent = false;
        for (interface, link) in self.servers(lease.ip.into()) {
            let IpAddr::V6(link) = link else { continue };
            let message = codec::release_v6(lease, server, link, random());
            send(interface, (link, SERVER_PORT_V6).into(), &message).map_err(unsent(interface))?;
            sent = true;
        }
        Ok(sent)
    }

    /// Our addresses in the subnet of this one.
    fn servers(&self, ip: IpAddr) -> impl Iterator<Item = (&Served, IpAddr)> {
        self.interfaces.iter().flat_map(move |interface| {
            let near = interface.addresses.iter().filter(move |(own, prefix)| same_subnet(*own, ip, *prefix));
            near.map(move |(own, _)| (interface, *own))
        })
    }

    fn wait(&self, before: &Leases) -> Result<(), DhcpError> {
        let start = Instant::now();
        let (mut last, mut pause) = (None, FIRST_PAUSE);
        loop {
            let file = read_whole(&self.lease_file)?;
            let now = Leases::parse(&file);
            let held = self.held_in(&now);
            let waited = start.elapsed();
            if held == 0 {
                // When others are missing too, they may only not be written yet.
                let since = match last {
                    Some((same, since)) if same == file => since,
                    _ => waited,
                };
                if self.others_stayed(before, &now) || waited - since >= SETTLED {
                    return Ok(());
                }
                last = Some((file, since));
            } else {
                last = None;
            }
            if waited >= PATIENCE {
                return Err(DhcpError::StillHeld { leases: held.max(1), waited });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn held_in(&self, leases: &Leases) -> u32 {
        let v4 = leases.v4.iter().filter(|lease| lease.mac == self.station).count();
        count(v4 + leases.v6.iter().filter(|lease| self.owns(lease)).count())
    }

    fn others_stayed(&self, before: &Leases, now: &Leases) -> bool {
        let v4: BTreeSet<_> = now.v4.iter().map(|lease| lease.ip).gather();
        let v6: BTreeSet<_> = now.v6.iter().map(|lease| lease.ip).gather();
        now.server == before.server
            && before.v4.iter().all(|lease| lease.mac == self.station || v4.contains(&lease.ip))
            && before.v6.iter().all(|lease| self.owns(lease) || v6.contains(&lease.ip))
    }
}

/// dnsmasq empties its file, and a millisecond or two later writes it anew: a file that is empty or ends within
/// a line is taken for what it is only after a while.
fn read_whole(path: &Path) -> Result<Vec<u8>, DhcpError> {
    let start = Instant::now();
    loop {
        let file = read(path)?;
        if file.ends_with(b"\n") || start.elapsed() >= SETTLED {
            return Ok(file);
        }
        std::thread::sleep(FIRST_PAUSE);
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DhcpError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => DhcpError::Absent { path: path.to_owned() },
        _ => DhcpError::Unreadable { path: path.to_owned(), source },
    };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > MOST_OF_A_FILE {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read(path).map_err(unreadable)
}

fn send(interface: &Served, server: SocketAddr, message: &[u8]) -> io::Result<()> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    setsockopt(&socket, sockopt::BindToDevice, &interface.name.as_str().into())?;
    socket.send_to(message, server).map(drop)
}

fn unsent(interface: &Served) -> impl FnOnce(io::Error) -> DhcpError {
    let interface = interface.name.clone();
    move |source| DhcpError::Unsent { interface, source }
}

fn same_subnet(own: IpAddr, other: IpAddr, prefix: u8) -> bool {
    match (own, other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            let differs = own.to_bits() ^ other.to_bits();
            differs.leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            let differs = own.to_bits() ^ other.to_bits();
            differs.leading_zeros() >= u32::from(prefix)
        }
        _ => false,
    }
}

/// Only tells one message from another; zeros would do.
fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    let _ = SystemRandom::new().fill(&mut octets);
    octets
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_ends_at_its_prefix() {
        let same = |own: &str, other: &str, prefix| {
            same_subnet(own.parse().unwrap(), other.parse().unwrap(), prefix)
        };
        assert!(same("10.77.0.1", "10.77.255.9", 16));
        assert!(!same("10.77.0.1", "10.78.0.1", 16));
        assert!(same("10.77.0.1", "10.77.0.1", 32));
        assert!(!same("10.77.0.1", "10.77.0.0", 32));
        assert!(same("10.77.0.1", "1.2.3.4", 0));
        assert!(same("fd77::1", "fd77::ffff:1005", 64));
        assert!(!same("fd77::1", "fd78::1005", 64));
        assert!(!same("10.77.0.1", "fd77::1", 0));
    }

    #[tokio::test]
    async fn without_a_file_there_is_nobody_to_ask() {
        let dir = tempfile::tempdir().unwrap();
        let dhcp = Dhcp::new(dir.path().join("none"));
        let released = dhcp.release(MacAddr([2, 0, 0, 0, 0, 1]), &[], &[]).await;
        assert!(matches!(released, Err(DhcpError::Absent { .. })), "{released:?}");
    }

    #[tokio::test]
    async fn a_lease_of_no_subnet_of_ours_is_said_to_be_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("leases");
        fs::write(&file, "1 02:00:00:00:00:01 10.9.0.5 * *\n1 02:00:00:00:00:02 10.9.0.6 * *\n").unwrap();
        let dhcp = Dhcp::new(&file);
        let nobody = dhcp.release(MacAddr([2, 0, 0, 0, 0, 9]), &[], &[]).await.unwrap();
        assert_eq!(nobody, 0);
        let released = dhcp.release(MacAddr([2, 0, 0, 0, 0, 1]), &[], &[]).await;
        assert!(matches!(released, Err(DhcpError::Elsewhere { leases: 1 })), "{released:?}");
        assert_eq!(dhcp.probe().await.unwrap(), (2, 0));
    }

    #[tokio::test]
    async fn a_server_that_does_nothing_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("leases");
        fs::write(&file, "1 02:00:00:00:00:01 127.0.0.5 * *\n").unwrap();
        let release = Release {
            lease_file: file,
            station: MacAddr([2, 0, 0, 0, 0, 1]),
            addresses: BTreeSet::new(),
            interfaces: Vec::new(),
        };
        let leases = Leases::parse(&read(&release.lease_file).unwrap());
        let held = release.wait(&leases);
        assert!(matches!(held, Err(DhcpError::StillHeld { leases: 1, .. })), "{held:?}");
    }

    #[tokio::test]
    async fn a_half_written_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("leases");
        let other = "1 02:00:00:00:00:02 127.0.0.6 * *\n";
        let both = format!("1 02:00:00:00:00:01 127.0.0.5 * *\n{other}");
        let release = Release {
            lease_file: file.clone(),
            station: MacAddr([2, 0, 0, 0, 0, 1]),
            addresses: BTreeSet::new(),
            interfaces: Vec::new(),
        };
        // Emptied, then written with our lease still in it: not released.
        fs::write(&file, "").unwrap();
        let writer = std::thread::spawn({
            let (file, both) = (file.clone(), both.clone());
            move || {
                std::thread::sleep(FIRST_PAUSE / 2);
                fs::write(file, both).unwrap();
            }
        });
        let held = release.wait(&Leases::parse(both.as_bytes()));
        assert!(matches!(held, Err(DhcpError::StillHeld { leases: 1, .. })), "{held:?}");
        writer.join().unwrap();
        fs::write(&file, other).unwrap();
        release.wait(&Leases::parse(both.as_bytes())).unwrap();
    }
}
