//! RADIUS over UDP: a client of servers, and a listener for what servers ask of us.
//!
//! `codec.rs` has the bytes, `attribute.rs` the numbers. When to send, to whom and how often is decided in
//! `logic/radius.rs`.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use futures_util::future::select_all;

use crate::host::pollable::Pollable;

pub mod attribute;
pub mod codec;

/// One server, by one port.
pub struct Peer {
    address: SocketAddr,
    /// Connected, so that the kernel passes on what this server sends and nothing else. Absent until there is a way.
    socket: Option<Pollable<UdpSocket>>,
}

impl Peer {
    /// The server at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, socket: None }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address from which it is spoken to: that of this machine on the way there.
    pub fn open(&mut self) -> io::Result<IpAddr> {
        if self.socket.is_none() {
            let any: SocketAddr = match self.address {
                SocketAddr::V4(_) => ([0_u8; 4], 0).into(),
                SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(self.address)?;
            socket.set_nonblocking(true)?;
            self.socket = Some(Pollable::new(socket)?);
        }
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        Ok(socket.get().local_addr()?.ip())
    }

    /// Sends one datagram, or loses it as the network might. After a failure the next one takes a socket of its own:
    /// this machine may have another address by then.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open()?;
        let sent = self.socket.as_ref().map_or(Ok(0), |socket| socket.get().send(bytes));
        match sent {
            Ok(_) => Ok(()),
            // Nobody listened there the last time (ICMP); this one was not sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
            Err(error) => {
                self.socket = None;
                Err(error)
            }
        }
    }

    async fn receive(&self) -> Vec<u8> {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        loop {
            // An error here: nobody listens there (ICMP). What was sent is sent again in its time.
            if let Ok((datagram, ())) =
                socket.read(|socket| read(|buffer| Ok((socket.recv(buffer)?, ())))).await
            {
                return datagram;
            }
        }
    }
}

/// One datagram, and what else is said of it. Only now is there one: whoever waits holds no buffer.
fn read<T>(receive: impl FnOnce(&mut [u8]) -> io::Result<(usize, T)>) -> io::Result<(Vec<u8>, T)> {
    let mut buffer = [0; codec::MOST];
    let (length, more) = receive(&mut buffer)?;
    Ok((buffer[..length].to_vec(), more))
}

/// The next datagram from any of these, with its place among them; never without any.
pub async fn receive(peers: impl Iterator<Item = &Peer>) -> (usize, Vec<u8>) {
    let all: Vec<_> = peers.map(|peer| Box::pin(peer.receive())).collect();
    if all.is_empty() {
        return std::future::pending().await;
    }
    let (datagram, place, _) = select_all(all).await;
    (place, datagram)
}

/// Where servers ask us to end sessions (RFC 5176).
pub struct Listener(Pollable<UdpSocket>);

impl Listener {
    /// Listens there.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Pollable::new(socket).map(Self)
    }

    /// The next datagram, and who sent it.
    pub async fn receive(&self) -> (SocketAddr, Vec<u8>) {
        loop {
            // An error here is about an answer that could not be delivered.
            if let Ok((datagram, from)) = self.0.read(|socket| read(|buffer| socket.recv_from(buffer))).await
            {
                return (from, datagram);
            }
        }
    }

    /// Answers, or loses the answer as the network might.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) {
        if let Err(error) = self.0.get().send_to(bytes, to) {
            tracing::debug!(%error, "an answer to a RADIUS server");
        }
    }
}
