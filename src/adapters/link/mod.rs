//! The link to the coordinator: one WebSocket over TLS 1.3, opened outwards, CBOR messages both ways.
//!
//! [`Link`] is one link that stands; [`keeper`] keeps one standing for ever. What the messages mean is in
//! `wire/`; the opening is drawn in `wire/hello.rs`. Who is at the other end is checked in `pin.rs`.

mod error;
pub mod keeper;
mod pin;
#[cfg(test)]
#[cfg(feature = "coordinator")]
mod tests;

use std::io;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

pub use error::LinkError;

use crate::model::{BootId, Millis, Secret};
use crate::wire::cbor::{CborError, decode, encode};
use crate::wire::claim::CoordinatorAddress;
use crate::wire::hello::{Challenge, Hello, LinkNonce, Proof, Role, Verdict};
use crate::wire::sign::Identity;
use crate::wire::{LINK_PATH, MAX_FRAME, VERSION};

/// Name resolution, TCP, TLS, WebSocket and hello together.
pub const OPENING_DEADLINE: Duration = Duration::from_secs(20);

/// For one of several addresses of a name, so that the next one gets its turn.
const CONNECT_DEADLINE: Duration = Duration::from_secs(6);

/// How long a close in order may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// The kernel notices a path that died: it asks after this silence, so often, and then gives up. No program
/// is woken for it.
const KEEPALIVE_IDLE_S: u32 = 60;
const KEEPALIVE_INTERVAL_S: u32 = 15;
const KEEPALIVE_COUNT: u32 = 3;

/// Data that is not acknowledged for so long breaks the link (RFC 5482), in milliseconds.
const UNACKNOWLEDGED_MS: u32 = 30_000;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A link that stands.
pub struct Link {
    sender: Sender,
    receiver: Receiver,
}

/// The half that sends.
pub struct Sender(SplitSink<Socket, Message>);

/// The half that receives.
pub struct Receiver(SplitStream<Socket>);

/// What the opening brought.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Names this link.
    pub nonce: LinkNonce,
    /// How often a terminal is to send a heartbeat.
    pub heartbeat: Millis,
}

/// Opens a link: proves the coordinator's key by TLS, then this identity by a signature.
///
/// Dropping the future gives up. Errors: everything but `Malformed`, `NotSent` and `Closed`.
pub async fn open(
    address: &CoordinatorAddress,
    identity: &Identity,
    role: Role,
    boot: BootId,
    claim: Option<Secret>,
) -> Result<(Link, Opened), LinkError> {
    open_within(OPENING_DEADLINE, address, identity, role, boot, claim).await
}

async fn open_within(
    deadline: Duration,
    address: &CoordinatorAddress,
    identity: &Identity,
    role: Role,
    boot: BootId,
    claim: Option<Secret>,
) -> Result<(Link, Opened), LinkError> {
    let hello = Hello {
        key: identity.public(),
        boot,
        role,
        agent: concat!("wayleave/", env!("CARGO_PKG_VERSION")).to_owned(),
        claim,
        version: VERSION,
    };
    let opening = async {
        let mut link = connect(address).await?;
        let opened = greet(&mut link, address, identity, &hello).await?;
        Ok((link, opened))
    };
    timeout(deadline, opening).await.unwrap_or_else(|_| Err(LinkError::Slow { host: address.host.clone() }))
}

async fn connect(address: &CoordinatorAddress) -> Result<Link, LinkError> {
    let host = || address.host.clone();
    let tcp = dial(address).await.map_err(|source| LinkError::Unreachable { host: host(), source })?;
    harden(&tcp).map_err(|source| LinkError::Unreachable { host: host(), source })?;

    let name = ServerName::try_from(address.name().to_owned())
        .map_err(|error| LinkError::Unreachable { host: host(), source: io::Error::other(error) })?;
    let tls =
        TlsConnector::from(pin::config(address.key)).connect(name, tcp).await.map_err(
            |source| match source.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(rustls::Error::InvalidCertificate(_) | rustls::Error::PeerMisbehaved(_)) => {
                    LinkError::WrongKey { host: host() }
                }
                _ => LinkError::Tls { host: host(), source },
            },
        )?;

    let foreign = |error: WebSocketError| LinkError::Foreign { host: host(), why: error.to_string() };
    let request = format!("wss://{}{LINK_PATH}", address.host).into_client_request().map_err(foreign)?;
    // A write buffer of zero: every message is its own flush.
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_FRAME)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let (socket, _) = client_async_with_config(request, tls, Some(config)).await.map_err(foreign)?;
    let (sender, receiver) = socket.split();
    Ok(Link { sender: Sender(sender), receiver: Receiver(receiver) })
}

async fn dial(address: &CoordinatorAddress) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for peer in tokio::net::lookup_host((address.name(), address.port())).await? {
        match timeout(CONNECT_DEADLINE, TcpStream::connect(peer)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn harden(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    setsockopt(tcp, sockopt::KeepAlive, &true)?;
    setsockopt(tcp, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_S)?;
    setsockopt(tcp, sockopt::TcpKeepInterval, &KEEPALIVE_INTERVAL_S)?;
    setsockopt(tcp, sockopt::TcpKeepCount, &KEEPALIVE_COUNT)?;
    setsockopt(tcp, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS)?;
    Ok(())
}

async fn greet(
    link: &mut Link,
    address: &CoordinatorAddress,
    identity: &Identity,
    hello: &Hello,
) -> Result<Opened, LinkError> {
    link.send(hello).await?;
    // A coordinator that is too busy, or too new, refuses without a challenge.
    let answer = link.expect(address).await?;
    let nonce = match decode::<Challenge>(&answer) {
        Ok(Challenge { nonce }) => nonce,
        Err(error) => {
            let why = match decode::<Verdict>(&answer) {
                Ok(verdict) => admitted(verdict).map(|_| "a welcome without a challenge".to_owned())?,
                Err(_) => error.to_string(),
            };
            return Err(LinkError::Foreign { host: address.host.clone(), why });
        }
    };
    link.send(&Proof::new(identity, hello, nonce, address.key)).await?;
    let verdict = decode(&link.expect(address).await?)
        .map_err(|error| LinkError::Foreign { host: address.host.clone(), why: error.to_string() })?;
    let heartbeat = admitted(verdict)?;
    Ok(Opened { nonce, heartbeat })
}

fn admitted(verdict: Verdict) -> Result<Millis, LinkError> {
    match verdict {
        Verdict::Welcome { heartbeat } => Ok(heartbeat),
        Verdict::Refused { word, sentence, retry_after } => {
            Err(LinkError::Refused { word, sentence, retry_after: retry_after.map(Duration::from) })
        }
    }
}

impl Link {
    /// Sends one message. Dropping the future may leave it sent or not.
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), LinkError> {
        self.sender.send(message).await
    }

    /// The next message; `None` once the coordinator has closed the link. Dropping the future loses nothing.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LinkError> {
        self.receiver.receive().await
    }

    /// The two halves, so that waiting for room to send does not stop receiving.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Closes in order: returns when the coordinator has read everything that was sent, or after a second.
    pub async fn close(self) {
        close(self.sender, self.receiver).await;
    }

    /// A frame that the opening must have.
    async fn expect(&mut self, address: &CoordinatorAddress) -> Result<Bytes, LinkError> {
        let foreign = |why| LinkError::Foreign { host: address.host.clone(), why };
        match self.receiver.frame().await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(foreign("closed during the opening".to_owned())),
            Err(LinkError::Malformed(error)) => Err(foreign(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

impl Sender {
    /// As [`Link::send`].
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), LinkError> {
        let bytes = encode(message).map_err(LinkError::NotSent)?;
        self.0.send(Message::Binary(bytes.into())).await.map_err(lost)
    }
}

impl Receiver {
    /// As [`Link::receive`].
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LinkError> {
        let frame = self.frame().await?;
        frame.map(|bytes| decode(&bytes).map_err(LinkError::Malformed)).transpose()
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, LinkError> {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes)),
                Some(Ok(Message::Text(_))) => {
                    let why = "a text frame".to_owned();
                    Err(LinkError::Malformed(CborError::Malformed { why }))
                }
                // Pings are answered below us.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => Ok(None),
                Some(Err(WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed)) => Ok(None),
                Some(Err(error)) => Err(lost(error)),
            };
        }
    }
}

/// The coordinator answers a close when it has read what was sent before it.
async fn close(mut sender: Sender, mut receiver: Receiver) {
    let closing = async {
        sender.0.send(Message::Close(None)).await?;
        while let Some(Ok(message)) = receiver.0.next().await {
            if message.is_close() {
                break;
            }
        }
        Ok::<(), WebSocketError>(())
    };
    // Whatever goes wrong now: the link is given up either way.
    let _ = timeout(CLOSE_DEADLINE, closing).await;
}

fn lost(error: WebSocketError) -> LinkError {
    match error {
        WebSocketError::Capacity(_) => LinkError::Oversized,
        WebSocketError::Io(error) => LinkError::Lost(error),
        WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => LinkError::Closed,
        other => LinkError::Lost(io::Error::other(other)),
    }
}
