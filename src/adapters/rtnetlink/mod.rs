//! Links, addresses, neighbours and bridge forwarding entries: as they are, and as they change.
//!
//! [`RtnetlinkEvents`] hears the kernel; [`Rtnetlink`] asks and deletes. To know everything: open the events
//! first, then dump; what changes in between is heard. Nothing here decides who is a station.
//!
//! A dump of thousands of entries parses for milliseconds, so every request runs on the blocking pool, with a
//! connection of its own for as long as it takes; between requests there is none. What an eviction waits for
//! is in `neighbours.rs`, on a bare socket.

mod codec;
mod error;
mod neighbours;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::{Handle, LinkBridgePort, MulticastGroup};
use tokio::sync::oneshot;

pub use self::error::RtnetlinkError;
pub use self::neighbours::Deleted;

use crate::model::MacAddr;

/// Some ten thousand neighbour events; the memory is used only while they wait.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

const DATAGRAM: usize = 32 * 1024;

const GROUPS: [MulticastGroup; 4] =
    [MulticastGroup::Link, MulticastGroup::Neigh, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index; never used again for another one while the system runs.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Switched on (`IFF_UP`).
    pub up: bool,
    /// Has carrier (`IFF_RUNNING`).
    pub running: bool,
    /// Its MAC address, if it has one of six octets.
    pub mac: Option<MacAddr>,
    /// The bridge or bond it is a port of.
    pub master: Option<u32>,
    /// Of a port of a bridge: whether it passes nothing to other such ports (`IFLA_BRPORT_ISOLATED`).
    pub isolated: Option<bool>,
}

/// An address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Of the interface.
    pub index: u32,
    /// Ours.
    pub ip: IpAddr,
    /// Length of the prefix, in bits.
    pub prefix: u8,
}

/// Who has an IP address (ARP, neighbour discovery).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface behind which it is.
    pub index: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Heard within the reachable time (`NUD_REACHABLE`), half a minute or so.
    pub reachable: bool,
    /// Written by hand (`NUD_PERMANENT`, `NUD_NOARP`), not learned.
    pub permanent: bool,
}

/// Behind which port of a bridge a MAC address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fdb {
    /// The port's interface.
    pub port: u32,
    /// The bridge.
    pub master: u32,
    /// The address.
    pub mac: MacAddr,
    /// The VLAN, on a bridge that filters them.
    pub vlan: Option<u16>,
    /// The bridge's or a port's own address: not a station.
    pub local: bool,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RtnetlinkEvent {
    /// An interface is new, or one of its properties is.
    Link(Link),
    /// An interface is gone, and with it everything that named it.
    LinkGone {
        /// Of the interface.
        index: u32,
    },
    /// An address of ours is new.
    Address(Address),
    /// An address of ours is gone.
    AddressGone(Address),
    /// A neighbour is new or has another link-layer address or state.
    Neighbour(Neighbour),
    /// A neighbour entry was deleted, or nobody answers for the address any more.
    NeighbourGone {
        /// Of the interface.
        index: u32,
        /// The address.
        ip: IpAddr,
        /// Who had it, where the kernel still says so.
        mac: Option<MacAddr>,
    },
    /// A bridge learned an address, or it moved to this port.
    Fdb(Fdb),
    /// A bridge forgot an address.
    FdbGone(Fdb),
    /// Events were lost: dump again.
    Overrun,
}

/// Hears what changes, from the moment it is opened.
pub struct RtnetlinkEvents {
    socket: TokioSocket,
    heard: VecDeque<RtnetlinkEvent>,
    datagram: Vec<u8>,
}

impl RtnetlinkEvents {
    /// Subscribes, in the network namespace of the calling thread. Needs a runtime and no privilege; without
    /// CAP_NET_ADMIN the receive buffer is what `net.core.rmem_max` allows.
    pub fn open() -> Result<RtnetlinkEvents, RtnetlinkError> {
        let socket = subscribe()?;
        Ok(RtnetlinkEvents { socket, heard: VecDeque::new(), datagram: Vec::with_capacity(DATAGRAM) })
    }

    /// The next event. Cancel-safe: what was heard stays heard.
    pub async fn next_event(&mut self) -> Result<RtnetlinkEvent, RtnetlinkError> {
        loop {
            if let Some(event) = self.heard.pop_front() {
                return Ok(event);
            }
            self.datagram.clear();
            match self.socket.recv_from(&mut self.datagram).await {
                // Port 0 is the kernel; nobody else has anything to say here.
                Ok(sender) if sender.port_number() == 0 => self.heard.extend(codec::events(&self.datagram)),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    // The kernel says it once and goes on dropping until the queue is empty (netlink(7) does
                    // not tell). What is dropped after this return must be heard: by another socket.
                    self.socket = subscribe()?;
                    return Ok(RtnetlinkEvent::Overrun);
                }
                Err(error) => return Err(RtnetlinkError::socket("receiving")(error)),
            }
        }
    }
}

fn subscribe() -> Result<TokioSocket, RtnetlinkError> {
    let mut socket =
        <TokioSocket as AsyncSocket>::new(NETLINK_ROUTE).map_err(RtnetlinkError::socket("opening"))?;
    let groups = GROUPS.iter().fold(0, |groups, group| groups | 1 << (*group as u32 - 1));
    socket.socket_mut().bind(&SocketAddr::new(0, groups)).map_err(RtnetlinkError::socket("subscribing"))?;
    let forced = setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &RECEIVE_BUFFER);
    if forced.is_err() {
        setsockopt(socket.socket_ref(), sockopt::RcvBuf, &RECEIVE_BUFFER)
            .map_err(|errno| RtnetlinkError::socket("setting SO_RCVBUF")(errno.into()))?;
    }
    Ok(socket)
}

/// Asks and deletes. Works in the network namespace of the runtime's thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rtnetlink;

impl Rtnetlink {
    /// `ip link`
    pub async fn links(&self) -> Result<Vec<Link>, RtnetlinkError> {
        const REQUEST: &str = "list links";
        on_the_side(REQUEST, |handle| async move {
            let links = handle.link().get().execute().try_filter_map(async |link| Ok(codec::link(&link)));
            links.try_collect().await.map_err(|error| RtnetlinkError::request(REQUEST, error))
        })
        .await
    }

    /// `ip link set dev … type bridge_slave isolated on`, or `off`
    pub async fn isolate(&self, port: u32, isolated: bool) -> Result<(), RtnetlinkError> {
        const REQUEST: &str = "isolate a port";
        on_the_side(REQUEST, move |handle| async move {
            let isolated = LinkBridgePort::new(port).isolated(isolated).build();
            let set = handle.link().set_port(isolated).execute().await;
            set.map_err(|error| RtnetlinkError::request(REQUEST, error))
        })
        .await
    }

    /// `ip address`
    pub async fn addresses(&self) -> Result<Vec<Address>, RtnetlinkError> {
        const REQUEST: &str = "list addresses";
        on_the_side(REQUEST, |handle| async move {
            let addresses = handle.address().get().execute();
            let addresses = addresses.try_filter_map(async |address| Ok(codec::address(&address)));
            addresses.try_collect().await.map_err(|error| RtnetlinkError::request(REQUEST, error))
        })
        .await
    }

    /// `ip neighbour`, both families.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>, RtnetlinkError> {
        const REQUEST: &str = "list neighbours";
        on_the_side(REQUEST, |handle| async move {
            let neighbours = handle.neighbours().get().execute();
            let neighbours = neighbours.try_filter_map(async |entry| Ok(codec::neighbour(&entry)));
            neighbours.try_collect().await.map_err(|error| RtnetlinkError::request(REQUEST, error))
        })
        .await
    }

    /// The IP addresses of a station, each with the interface behind which it has it. An address is here only if
    /// this machine spoke with it: a router does, a bridge without an address there does not.
    pub async fn neighbours_of(&self, mac: MacAddr) -> Result<Vec<(u32, IpAddr)>, RtnetlinkError> {
        blocking("list neighbours", move || neighbours::of(mac)).await
    }

    /// `bridge fdb`, entries of bridges only.
    pub async fn fdb(&self) -> Result<Vec<Fdb>, RtnetlinkError> {
        const REQUEST: &str = "list forwarding entries";
        on_the_side(REQUEST, |handle| async move {
            let entries = handle.neighbours().get().set_address_family(AddressFamily::Bridge).execute();
            let entries = entries.try_filter_map(async |entry| Ok(codec::fdb(&entry)));
            entries.try_collect().await.map_err(|error| RtnetlinkError::request(REQUEST, error))
        })
        .await
    }

    /// `ip neighbour delete`; whether there was such an entry.
    pub async fn delete_neighbour(&self, index: u32, ip: IpAddr) -> Result<bool, RtnetlinkError> {
        Ok(self.delete_neighbours(vec![(index, ip)]).await?.deleted > 0)
    }

    /// `ip neighbour delete` of several entries, each by interface and address, at once; then looks whether they
    /// are gone. One that is not there is no error.
    pub async fn delete_neighbours(&self, entries: Vec<(u32, IpAddr)>) -> Result<Deleted, RtnetlinkError> {
        blocking("delete neighbours", move || neighbours::delete(&entries)).await
    }

    /// `bridge fdb delete … master`; whether there was such an entry.
    pub async fn delete_fdb(
        &self,
        port: u32,
        mac: MacAddr,
        vlan: Option<u16>,
    ) -> Result<bool, RtnetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = port;
        message.header.flags = NeighbourFlags::Controller;
        message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
        message.attributes.extend(vlan.map(NeighbourAttribute::Vlan));
        delete("delete a forwarding entry", message).await
    }
}

async fn delete(request: &'static str, message: NeighbourMessage) -> Result<bool, RtnetlinkError> {
    on_the_side(request, move |handle| async move {
        match handle.neighbours().del(message).execute().await {
            Ok(()) => Ok(true),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENOENT => Ok(false),
            Err(error) => Err(RtnetlinkError::request(request, error)),
        }
    })
    .await
}

/// Runs one request with its own connection on the blocking pool.
async fn on_the_side<T, F>(
    request: &'static str,
    work: impl FnOnce(Handle) -> F + Send + 'static,
) -> Result<T, RtnetlinkError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, RtnetlinkError>> + 'static,
{
    let (tell, mut told) = oneshot::channel();
    let work: Work = Box::new(move |handle| {
        let work = work(handle);
        Box::pin(async move { drop(tell.send(work.await)) })
    });
    blocking(request, move || connected(request, work)).await?;
    told.try_recv().map_err(|gone| RtnetlinkError::socket(request)(io::Error::other(gone)))?
}

/// Boxed: a runtime for each kind of request is four kilobytes of a router's flash.
type Work = Box<dyn FnOnce(Handle) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

fn connected(request: &'static str, work: Work) -> Result<(), RtnetlinkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(RtnetlinkError::socket(request))?;
    runtime.block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(RtnetlinkError::socket("opening"))?;
        tokio::spawn(connection);
        work(handle).await;
        Ok(())
    })
}

async fn blocking<T: Send + 'static>(
    request: &'static str,
    work: impl FnOnce() -> Result<T, RtnetlinkError> + Send + 'static,
) -> Result<T, RtnetlinkError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(gone) => Err(RtnetlinkError::socket(request)(io::Error::other(gone))),
    }
}
