//! The terminal's end: calls the gateway of its interface and stays, for as long as there is access.
//!
//! A connection that does not stand costs no more than another attempt, each after twice the wait of the one before. Only
//! the gateway of the session is spoken to, and only what it signed for this channel comes out of here.
//!
//! The first packet on a network that was just joined is easily lost: somebody on this machine asks for the gateway's
//! address before the access point passes it on, and ARP and TCP say a thing again after a second (RFC 4861, 10; RFC
//! 6298, 2.1). So attempts overlap, as those of RFC 8305 do, and what is hung up is not said again.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use super::next_hop::next_hops;
use super::tune;
use crate::host::frames::{FrameError, Frames, write};
use crate::model::{BootId, MessageId, PublicKey, ServiceId, SessionId};
use crate::wire::hello::LinkNonce;
use crate::wire::push::{BadOffer, Channel, Greeting, Knock, Opened, PORT, SignedOffer, Taken};
use crate::wire::sign::{Identity, random, service_id};

/// For a connection, and for each step of the opening.
const PATIENCE: Duration = Duration::from_secs(3);
/// From one attempt to the next, while none stands; so many for each address.
const STAGGER: Duration = Duration::from_millis(200);
const ATTEMPTS: usize = 3;
/// The first and the longest wait between attempts; the address may come only after the association.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A connection that stood for so long was good.
const GOOD: Duration = Duration::from_secs(10);

/// What a channel says.
#[derive(Debug)]
pub enum Said {
    /// The gateway offers a message.
    Offer(Opened),
    /// Somebody said something else; it is not believed.
    Wrong(String),
}

/// Calls the gateway.
#[derive(Debug)]
pub struct Caller {
    interface: String,
    identity: Arc<Identity>,
    coordinator: PublicKey,
    call: Option<Call>,
}

#[derive(Debug)]
struct Call {
    at: (SessionId, ServiceId),
    task: JoinHandle<()>,
    said: mpsc::Receiver<Said>,
    taken: mpsc::Sender<MessageId>,
}

impl Caller {
    /// Of this interface, with messages of the coordinator that has this key.
    pub fn new(interface: &str, identity: Arc<Identity>, coordinator: PublicKey) -> Self {
        Self { interface: interface.to_owned(), identity, coordinator, call: None }
    }

    /// Where access stands now: the gateway there is called, one that was called before is not any more. Whether that
    /// has changed.
    pub fn call(&mut self, at: Option<(SessionId, ServiceId)>) -> bool {
        if self.call.as_ref().map(|call| call.at) == at {
            return false;
        }
        self.hang_up();
        let Some(at) = at else { return true };
        let (said_here, said) = mpsc::channel(16);
        let (taken, taken_here) = mpsc::channel(64);
        let line = Line {
            interface: self.interface.clone(),
            identity: Arc::clone(&self.identity),
            coordinator: self.coordinator,
            at,
            said: said_here,
        };
        self.call = Some(Call { at, task: tokio::spawn(line.keep(taken_here)), said, taken });
        true
    }

    /// The gateway is told that a message is here.
    pub fn taken(&self, message: MessageId) {
        if let Some(call) = &self.call {
            // One that is not told offers it again.
            let _ = call.taken.try_send(message);
        }
    }

    /// What is said next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Said {
        let said = match &mut self.call {
            Some(call) => call.said.recv().await,
            None => None,
        };
        match said {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }

    fn hang_up(&mut self) {
        if let Some(call) = self.call.take() {
            call.task.abort();
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.hang_up();
    }
}

struct Line {
    interface: String,
    identity: Arc<Identity>,
    coordinator: PublicKey,
    at: (SessionId, ServiceId),
    said: mpsc::Sender<Said>,
}

/// Why a connection did not stand, or does not any more.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("no answer in time")]
    Slow,
    #[error("whoever answers there is not the gateway of this session")]
    Impostor,
    #[error(transparent)]
    Offer(#[from] BadOffer),
}

impl Line {
    async fn keep(self, mut taken: mpsc::Receiver<MessageId>) {
        let mut wait = FIRST_WAIT;
        loop {
            let mut hops = next_hops(&self.interface, PORT);
            while let Some((address, stream)) = self.reach(&hops).await {
                hops.retain(|hop| *hop != address);
                let began = Instant::now();
                let broken = self.talk(stream, &mut taken).await;
                tracing::debug!(%address, "no channel to the gateway: {broken}");
                if began.elapsed() >= GOOD {
                    wait = FIRST_WAIT;
                }
                let wrong = match broken {
                    Broken::Slow | Broken::Frame(FrameError::Ended(_)) => false,
                    Broken::Frame(FrameError::Malformed(_)) | Broken::Impostor | Broken::Offer(_) => true,
                };
                if wrong && self.said.send(Said::Wrong(broken.to_string())).await.is_err() {
                    return;
                }
            }
            // Between half of it and all: after a restart of the gateway not everybody calls at once.
            let [octet] = random();
            sleep(wait / 2 + wait * u32::from(octet) / 512).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// The first of these that answers.
    async fn reach(&self, hops: &[SocketAddr]) -> Option<(SocketAddr, TcpStream)> {
        let mut to_come: VecDeque<SocketAddr> = (0..ATTEMPTS).flat_map(|_| hops).copied().collect();
        let mut begun = FuturesUnordered::new();
        let mut next = tokio::time::Instant::now();
        loop {
            tokio::select! {
                Some((address, connected)) = begun.next(), if !begun.is_empty() => match connected {
                    Ok(Ok(stream)) => return Some((address, stream)),
                    Ok(Err(error)) => {
                        let error: std::io::Error = error;
                        tracing::debug!(%address, %error, "no connection to the gateway");
                        if error.kind() == ErrorKind::ConnectionRefused {
                            to_come.retain(|other| *other != address);
                        }
                    }
                    Err(_) => tracing::debug!(%address, "no connection to the gateway in time"),
                },
                () = sleep_until(next), if !to_come.is_empty() => {
                    next += STAGGER;
                    if let Some(address) = to_come.pop_front() {
                        begun.push(async move { (address, timeout(PATIENCE, self.connect(address)).await) });
                    }
                }
                else => return None,
            }
        }
    }

    /// Until it breaks.
    async fn talk(&self, stream: TcpStream, taken: &mut mpsc::Receiver<MessageId>) -> Broken {
        let (read, mut stream) = stream.into_split();
        let mut frames = Frames::new(read);
        let channel = match timeout(PATIENCE, self.greet(&mut frames, &mut stream)).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(broken)) => return broken,
            Err(_) => return Broken::Slow,
        };
        // What was to be acknowledged when the channel before broke is offered again.
        while taken.try_recv().is_ok() {}
        loop {
            let step = tokio::select! {
                offer = frames.next::<SignedOffer>() => self.heard(offer, &channel).await,
                Some(message) = taken.recv() => {
                    timeout(PATIENCE, write(&mut stream, &Taken { message }))
                        .await
                        .map_err(|_| Broken::Slow)
                        .and_then(|written| Ok(written?))
                }
            };
            if let Err(broken) = step {
                return broken;
            }
        }
    }

    async fn connect(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Not over another network with the same addresses; kernels before 5.7 let only root say so.
        if let Err(error) = socket.bind_device(Some(self.interface.as_bytes())) {
            tracing::debug!(%error, "the channel is not bound to its interface");
        }
        let stream = socket.connect(address).await?;
        tune(&stream);
        // Nothing is owed to a network that was left: what is not acknowledged there would be said again as soon as the
        // radio is back, before the access point passes it on.
        if let Err(error) = stream.set_zero_linger() {
            tracing::debug!(%error, "what was said last may be said again");
        }
        Ok(stream)
    }

    async fn greet(
        &self,
        frames: &mut Frames<tokio::net::tcp::OwnedReadHalf>,
        stream: &mut tokio::net::tcp::OwnedWriteHalf,
    ) -> Result<Channel, Broken> {
        let (session, service) = self.at;
        let knock = Knock { nonce: LinkNonce(BootId(random())), session, version: crate::wire::VERSION };
        write(stream, &knock).await?;
        let greeting: Greeting = frames.next().await?;
        if service_id(greeting.key) != service {
            return Err(Broken::Impostor);
        }
        let channel = Channel { knock, greeting };
        write(stream, &channel.prove(&self.identity)).await?;
        Ok(channel)
    }

    async fn heard(&self, offer: Result<SignedOffer, FrameError>, channel: &Channel) -> Result<(), Broken> {
        let opened = offer?.open(channel, self.coordinator)?;
        // Whoever listened is gone, and this task with it.
        drop(self.said.send(Said::Offer(opened)).await);
        Ok(())
    }
}
