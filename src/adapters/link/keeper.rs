//! Keeps a link open for ever, and carries typed messages over bounded queues.
//!
//! ```text
//! next()  <- Up { nonce, heartbeat } | Message | Malformed | Down { word, why, retry_in }   <- keeper <- link
//! send()  -> only on the link that next() reported last; what was meant for an older one is dropped
//! ```
//!
//! How long to wait after a loss is not decided here: `pace` is (see `logic/backoff.rs`). An idle link wakes
//! nobody.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::{LinkError, Receiver, Sender, close, open};
use crate::host::clock;
use crate::model::{BootId, Millis, Secret};
use crate::wire::claim::CoordinatorAddress;
use crate::wire::hello::{LinkNonce, Role};
use crate::wire::sign::Identity;

/// Messages that may wait to be sent.
const OUTGOING: usize = 1024;

/// Events that may wait to be read; then the coordinator has to wait, by TCP.
const EVENTS: usize = 64;

/// After a refusal that trying again does not help: the owner may have enrolled this key meanwhile.
const HOPELESS: Duration = Duration::from_secs(300);

/// What a keeper needs to open links.
pub struct Opening {
    /// Whom to call.
    pub address: CoordinatorAddress,
    /// Who calls.
    pub identity: Arc<Identity>,
    /// As what.
    pub role: Role,
    /// This run.
    pub boot: BootId,
    /// The one-time code; not sent again once a link stood.
    pub claim: Option<Secret>,
}

/// What happens on the link.
#[derive(Debug)]
pub enum LinkEvent<In> {
    /// A new link stands. Nothing that was sent on an older one is sent again.
    Up {
        /// Names it.
        nonce: LinkNonce,
        /// How often a terminal is to send a heartbeat.
        heartbeat: Millis,
    },
    /// A message.
    Message(In),
    /// A frame that is none; the link stands. To be counted.
    Malformed {
        /// What is wrong with it.
        why: String,
    },
    /// The link is gone, or could not be opened.
    Down {
        /// Stable word ([`LinkError::word`]).
        word: String,
        /// For people.
        why: String,
        /// The next attempt comes after this time.
        retry_in: Duration,
    },
}

/// A message that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is no link now; say it again at the next `Up` if it is still true.
    #[error("there is no link to the coordinator")]
    Down,
    /// More than a thousand wait already.
    #[error("too many messages wait to be sent to the coordinator")]
    Full,
}

/// The owner's end of a kept link. Dropping it closes the link in order.
pub struct KeptLink<Out, In> {
    events: mpsc::Receiver<(u64, LinkEvent<In>)>,
    outgoing: mpsc::Sender<(u64, Out)>,
    hurry: Arc<Notify>,
    /// The link that stands as far as the owner has heard; 0 for none.
    current: u64,
}

/// Starts to keep a link. `pace(stood, not_before)` says how long to wait after a link that stood for `stood`
/// (zero: it never did) when the coordinator asked to be left alone for `not_before`.
pub fn keep<Out, In>(
    opening: Opening,
    pace: impl FnMut(Duration, Option<Duration>) -> Duration + Send + 'static,
) -> KeptLink<Out, In>
where
    Out: Serialize + Send + Sync + 'static,
    In: DeserializeOwned + Send + 'static,
{
    let (outgoing, to_send) = mpsc::channel(OUTGOING);
    let (heard, events) = mpsc::channel(EVENTS);
    let hurry = Arc::new(Notify::new());
    let keeper = Keeper { opening, to_send, heard, hurry: hurry.clone() };
    tokio::spawn(keeper.run(pace));
    KeptLink { events, outgoing, hurry, current: 0 }
}

impl<Out, In> KeptLink<Out, In> {
    /// The next event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> LinkEvent<In> {
        let Some((number, event)) = self.events.recv().await else {
            // The keeper ends only after its owner.
            return std::future::pending().await;
        };
        self.current = match event {
            LinkEvent::Down { .. } => 0,
            _ => number,
        };
        event
    }

    /// Queues a message for the link that stands.
    pub fn send(&self, message: Out) -> Result<(), NotTaken> {
        match self.current {
            0 => Err(NotTaken::Down),
            number => self.outgoing.try_send((number, message)).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NotTaken::Full,
                mpsc::error::TrySendError::Closed(_) => NotTaken::Down,
            }),
        }
    }

    /// How many messages can be queued now.
    pub fn room(&self) -> usize {
        self.outgoing.capacity()
    }

    /// Tries again now instead of waiting: the network has changed.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Sends what is queued, closes the link in order and returns; gives up after `within`.
    pub async fn close(self, within: Duration) {
        let Self { mut events, outgoing, .. } = self;
        drop(outgoing);
        let ended = async { while events.recv().await.is_some() {} };
        let _ = timeout(within, ended).await;
    }
}

struct Keeper<Out, In> {
    opening: Opening,
    to_send: mpsc::Receiver<(u64, Out)>,
    heard: mpsc::Sender<(u64, LinkEvent<In>)>,
    hurry: Arc<Notify>,
}

/// The owner is gone.
struct Abandoned;

impl<Out, In> Keeper<Out, In>
where
    Out: Serialize + Send + Sync + 'static,
    In: DeserializeOwned + Send + 'static,
{
    async fn run(mut self, mut pace: impl FnMut(Duration, Option<Duration>) -> Duration) {
        for number in 1.. {
            let Ok((stood, error)) = self.one_link(number).await else { return };
            let not_before = match &error {
                LinkError::Refused { retry_after, .. } => Some(retry_after.unwrap_or(HOPELESS)),
                _ => None,
            };
            let retry_in = pace(stood, not_before);
            let down = LinkEvent::Down { word: error.word().to_owned(), why: error.sentence(), retry_in };
            if self.heard.send((number, down)).await.is_err() {
                return;
            }
            let hurry = self.hurry.clone();
            let wait = async {
                tokio::select! {
                    () = sleep(retry_in) => {}
                    () = hurry.notified() => {}
                }
            };
            let Ok(()) = self.unless_abandoned(wait).await else { return };
        }
    }

    /// How long it stood, and what ended it.
    async fn one_link(&mut self, number: u64) -> Result<(Duration, LinkError), Abandoned> {
        let Opening { address, identity, role, boot, claim } = &self.opening;
        let (address, identity, claim) = (address.clone(), identity.clone(), claim.clone());
        let (role, boot) = (*role, *boot);
        let opening = async move { open(&address, &identity, role, boot, claim).await };
        let (link, opened) = match self.unless_abandoned(opening).await? {
            Ok(opened) => opened,
            Err(error) => return Ok((Duration::ZERO, error)),
        };
        self.opening.claim = None;
        let since = clock::now();
        let up = LinkEvent::Up { nonce: opened.nonce, heartbeat: opened.heartbeat };
        self.heard.send((number, up)).await.map_err(|_| Abandoned)?;

        let (mut sender, mut receiver) = link.split();
        let ended = tokio::select! {
            ended = hear(&mut receiver, number, &self.heard) => ended,
            ended = say(&mut sender, number, &mut self.to_send) => ended,
        };
        match ended {
            Ok(error) => Ok((clock::now().since(since), error)),
            Err(Abandoned) => {
                close(sender, receiver).await;
                Err(Abandoned)
            }
        }
    }

    /// Waits for `what`; meanwhile, what was meant for an older link is dropped.
    async fn unless_abandoned<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Abandoned> {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return Ok(done),
                stale = self.to_send.recv() => {
                    if stale.is_none() {
                        return Err(Abandoned);
                    }
                }
            }
        }
    }
}

async fn hear<In: DeserializeOwned>(
    receiver: &mut Receiver,
    number: u64,
    heard: &mpsc::Sender<(u64, LinkEvent<In>)>,
) -> Result<LinkError, Abandoned> {
    loop {
        let room = heard.reserve().await.map_err(|_| Abandoned)?;
        let event = match receiver.receive().await {
            Ok(Some(message)) => LinkEvent::Message(message),
            Ok(None) => return Ok(LinkError::Closed),
            Err(LinkError::Malformed(error)) => LinkEvent::Malformed { why: error.to_string() },
            Err(error) => return Ok(error),
        };
        room.send((number, event));
    }
}

async fn say<Out: Serialize>(
    sender: &mut Sender,
    number: u64,
    to_send: &mut mpsc::Receiver<(u64, Out)>,
) -> Result<LinkError, Abandoned> {
    while let Some((meant_for, message)) = to_send.recv().await {
        if meant_for != number {
            continue;
        }
        match sender.send(&message).await {
            Ok(()) => {}
            Err(LinkError::NotSent(error)) => tracing::error!(%error, "a message of our own is too long"),
            Err(error) => return Ok(error),
        }
    }
    Err(Abandoned)
}
