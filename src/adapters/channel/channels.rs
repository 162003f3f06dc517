//! The gateway's end: listens on the shared interfaces, and holds one task for each connection.
//!
//! A listener is bound to its interface (SO_BINDTODEVICE), so that changing addresses need nothing and nobody elsewhere
//! is served. Stations without a grant do not get here: our ruleset does not open the port to them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::tune;
use crate::adapters::listener::listener_on;
use crate::host::frames::{FrameError, Frames, write};
use crate::model::{BootId, Few, MessageId, PublicKey};
use crate::wire::hello::{LinkNonce, Proof};
use crate::wire::push::{Channel, Greeting, Knock, PORT, SignedOffer, Taken};
use crate::wire::sign::random;

/// Connections at a time; who finds no place is served by the coordinator.
const MOST: u16 = 256;
/// Connections of one address.
const MOST_OF_ONE: u16 = 4;
/// The kernel's line.
const LINE: i32 = 64;
/// For the opening, and for a terminal to take what it is offered.
const PATIENCE: Duration = Duration::from_secs(5);
/// Offers on their way to one terminal.
const QUEUE: usize = 64;

/// What happens on a channel.
#[derive(Debug)]
pub enum ChannelEvent {
    /// Somebody asks for the messages of a session. Dropping `offers` hangs up.
    Opened {
        /// Names the channel from here on.
        number: u64,
        /// What was said.
        channel: Channel,
        /// Of the key of the session's terminal: to be checked.
        proof: Proof,
        /// Where offers go.
        offers: mpsc::Sender<SignedOffer>,
    },
    /// The terminal has a message that it was offered.
    Taken {
        /// Which channel.
        number: u64,
        /// Which message.
        message: MessageId,
    },
    /// The channel is gone.
    Closed {
        /// Which.
        number: u64,
    },
    /// Something else was said than what is; the channel is closed.
    Malformed {
        /// What was wrong.
        why: String,
    },
}

/// All channels of a gateway.
#[derive(Debug)]
pub struct Channels {
    key: PublicKey,
    events: mpsc::Receiver<ChannelEvent>,
    sender: mpsc::Sender<ChannelEvent>,
    places: Arc<Mutex<Places>>,
    listeners: Few<u32, AbortHandle>,
}

#[derive(Debug, Default)]
struct Places {
    numbers: u64,
    all: u16,
    by_address: BTreeMap<IpAddr, u16>,
}

impl Channels {
    /// For the gateway with this key; it listens nowhere yet.
    pub fn new(key: PublicKey) -> Self {
        let (sender, events) = mpsc::channel(64);
        Self { key, events, sender, places: Arc::default(), listeners: Few::default() }
    }

    /// Listens on these interfaces, by index and name, and on no others. Why it does not on one of them comes back.
    pub fn listen(&mut self, interfaces: &Few<u32, String>) -> Vec<(String, io::Error)> {
        self.listeners.retain(|index, listener| {
            let stays = interfaces.contains_key(index);
            if !stays {
                listener.abort();
            }
            stays
        });
        let mut failed = Vec::new();
        for (index, name) in interfaces.iter() {
            if self.listeners.contains_key(index) {
                continue;
            }
            match listener_on(name, PORT, LINE) {
                Ok(listener) => {
                    let accepting = accept(listener, self.key, self.sender.clone(), Arc::clone(&self.places));
                    self.listeners.insert(*index, tokio::spawn(accepting).abort_handle());
                }
                Err(error) => failed.push((name.clone(), error)),
            }
        }
        failed
    }

    /// What happens next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> ChannelEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.listeners.values().for_each(AbortHandle::abort);
    }
}

async fn accept(
    listener: TcpListener,
    key: PublicKey,
    events: mpsc::Sender<ChannelEvent>,
    places: Arc<Mutex<Places>>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(place) = Place::take(&places, from) else { continue };
                let events = events.clone();
                tokio::spawn(async move {
                    if let Err(FrameError::Malformed(error)) = serve(stream, key, place.number, &events).await
                    {
                        let why = error.to_string();
                        drop(events.send(ChannelEvent::Malformed { why }).await);
                    }
                    drop(events.send(ChannelEvent::Closed { number: place.number }).await);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no channel accepted");
                // Out of descriptors: until some are free.
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    key: PublicKey,
    number: u64,
    events: &mpsc::Sender<ChannelEvent>,
) -> Result<(), FrameError> {
    tune(&stream);
    let (read, mut stream) = stream.into_split();
    let mut frames = Frames::new(read);
    let opening = async {
        let knock: Knock = frames.next().await?;
        let greeting = Greeting { key, nonce: LinkNonce(BootId(random())) };
        write(&mut stream, &greeting).await?;
        Ok::<_, FrameError>((Channel { knock, greeting }, frames.next::<Proof>().await?))
    };
    let Ok(opened) = timeout(PATIENCE, opening).await else { return Ok(()) };
    let (channel, proof) = opened?;
    let (offers, mut to_offer) = mpsc::channel(QUEUE);
    drop(events.send(ChannelEvent::Opened { number, channel, proof, offers }).await);
    // So many acknowledgements may come.
    let mut owed = 0_usize;
    loop {
        tokio::select! {
            offer = to_offer.recv() => {
                let Some(offer) = offer else { return Ok(()) };
                owed += 1;
                match timeout(PATIENCE, write(&mut stream, &offer)).await {
                    Ok(written) => written?,
                    Err(_) => return Ok(()),
                }
            }
            taken = frames.next::<Taken>() => {
                let message = taken?.message;
                let Some(left) = owed.checked_sub(1) else {
                    let why = "an acknowledgement of what was not offered".to_owned();
                    drop(events.send(ChannelEvent::Malformed { why }).await);
                    return Ok(());
                };
                owed = left;
                drop(events.send(ChannelEvent::Taken { number, message }).await);
            }
        }
    }
}

/// One connection, counted for as long as it lives.
struct Place {
    places: Arc<Mutex<Places>>,
    from: IpAddr,
    number: u64,
}

impl Place {
    fn take(places: &Arc<Mutex<Places>>, from: SocketAddr) -> Option<Self> {
        let from = from.ip().to_canonical();
        let mut found = places.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = found.by_address.get(&from).copied().unwrap_or(0);
        if found.all >= MOST || of_one >= MOST_OF_ONE {
            return None;
        }
        found.all += 1;
        found.numbers += 1;
        found.by_address.insert(from, of_one + 1);
        Some(Self { places: Arc::clone(places), from, number: found.numbers })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.all -= 1;
        match places.by_address.get_mut(&self.from) {
            Some(of_one) if *of_one > 1 => *of_one -= 1,
            _ => drop(places.by_address.remove(&self.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_for_one_and_come_back() {
        let places = Arc::default();
        let from = |last: u8| SocketAddr::from(([10, 0, 0, last], 1));
        let taken: Vec<Place> = (0..MOST_OF_ONE).filter_map(|_| Place::take(&places, from(1))).collect();
        assert_eq!(taken.len(), usize::from(MOST_OF_ONE));
        assert!(Place::take(&places, from(1)).is_none());
        assert!(Place::take(&places, from(2)).is_some());
        drop(taken);
        assert!(Place::take(&places, from(1)).is_some());
        let all: Vec<Place> = (0..=255).filter_map(|last| Place::take(&places, from(last))).collect();
        assert_eq!(all.len(), usize::from(MOST));
        assert!(Place::take(&places, SocketAddr::from(([10, 0, 1, 1], 1))).is_none());
        drop(all);
        assert!(places.lock().unwrap().by_address.is_empty());
    }
}
