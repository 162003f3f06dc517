//! The object `wayleave` on OpenWrt's ubus: the control socket's questions as methods, its events as notifications.
//!
//! Decides nothing and knows no gateway: every call is a request like one of the control socket, and the answer is the
//! JSON of that one as blobmsg. Who may call is for ubusd and rpcd to enforce: `openwrt/wayleave/files/*acl*`. What each
//! method takes, gives and refuses is in `docs/ubus.md`.
//!
//! Read next: `object.rs` for methods and notifications, `message.rs` and `blob.rs` for the octets, `connection.rs` for
//! the socket.

mod blob;
mod connection;
mod error;
mod message;
mod object;

pub use error::UbusError;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::host::control::Asker;
use crate::wire::local::{Event, GatewayRequest};
use connection::{Connection, Reader};
use message::{Message, Status, Type, attribute};
use object::Answer;

/// The name of the object.
pub const NAME: &str = "wayleave";

/// Before ubusd is asked again; it doubles up to the second one.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Calls that are being answered; an eviction takes a while.
const MOST_CALLS: usize = 16;

/// Serves at the socket until the gateway ends; ubusd may come late, or again. Where even the folder of the socket is
/// missing there is no ubus, and it returns.
pub async fn run(socket: PathBuf, asker: Asker<GatewayRequest>) {
    if !socket.parent().is_some_and(Path::exists) {
        return tracing::info!(socket = %socket.display(), "nobody is served by ubus: there is none");
    }
    let mut wait = AGAIN[0];
    loop {
        match serve(&socket, &asker, || wait = AGAIN[0]).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, again_in = ?wait, "ubus"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN[1]);
    }
}

/// Serves on one connection; `served` is called once the object is there. `Ok`: the gateway ends.
async fn serve(socket: &Path, asker: &Asker<GatewayRequest>, served: impl FnOnce()) -> Result<(), UbusError> {
    // Before the object is there: whoever sees it misses nothing from then on.
    let Ok(events) = asker.watch(GatewayRequest::Watch).await else { return Ok(()) };
    let (connection, reader) = connection::open(socket).await?;
    let mut server =
        Server { connection, reader, events, calls: FuturesUnordered::new(), object: 0, heard: false };
    server.add_object().await?;
    served();
    tracing::info!(object = NAME, "on ubus");
    server.turn(asker).await
}

/// A call on its way: its sequence, who asks, and at last the answer.
type Answering = Pin<Box<dyn Future<Output = (u16, u32, Answer)> + Send>>;

struct Server {
    connection: Connection,
    reader: Reader,
    events: Receiver<Arc<[u8]>>,
    calls: FuturesUnordered<Answering>,
    /// What ubusd calls our object.
    object: u32,
    /// Whether somebody has subscribed.
    heard: bool,
}

impl Server {
    async fn add_object(&mut self) -> Result<(), UbusError> {
        let add = Message::new(Type::AddObject, 1, 0)
            .with_text(attribute::OBJECT_PATH, NAME)
            .with(attribute::SIGNATURE, object::signature());
        self.connection.send(&add).await?;
        loop {
            let message = self.reader.next().await?;
            match message.kind {
                Type::Data if message.sequence == 1 => {
                    self.object = message.number(attribute::OBJECT).unwrap_or_default();
                }
                Type::Status if message.sequence == 1 => {
                    return match Status(message.number(attribute::STATUS).unwrap_or_default()) {
                        Status::OK if self.object != 0 => Ok(()),
                        Status::PERMISSION_DENIED => Err(UbusError::Refused(
                            "its access list does not let this user publish it: /usr/share/acl.d/wayleave.json",
                        )),
                        Status::INVALID_ARGUMENT => Err(UbusError::Refused("another process has it")),
                        _ => Err(UbusError::Refused("no reason was given")),
                    };
                }
                _ => {}
            }
        }
    }

    async fn turn(&mut self, asker: &Asker<GatewayRequest>) -> Result<(), UbusError> {
        loop {
            tokio::select! {
                message = self.reader.next() => self.hear(message?, asker).await?,
                Some((sequence, peer, answer)) = self.calls.next(), if !self.calls.is_empty() => {
                    self.answer(sequence, peer, answer).await?;
                }
                event = self.events.recv() => match event {
                    Ok(line) => self.notify(&line).await?,
                    Err(RecvError::Lagged(events)) => {
                        self.notify(&crate::host::control::line(&Event::Missed { events })).await?;
                    }
                    Err(RecvError::Closed) => return Ok(()),
                }
            }
        }
    }

    async fn hear(&mut self, message: Message, asker: &Asker<GatewayRequest>) -> Result<(), UbusError> {
        let (sequence, peer) = (message.sequence, message.peer);
        match message.kind {
            Type::Invoke if message.number(attribute::OBJECT) != Some(self.object) => {
                self.answer(sequence, peer, Answer::only(Status::NOT_FOUND)).await
            }
            Type::Invoke => {
                let quiet = message.flag(attribute::NO_REPLY) == Some(true);
                let request = match self.calls.len() < MOST_CALLS {
                    true => object::request(&message),
                    false => Err(Answer::only(Status::NO_MEMORY)),
                };
                match request {
                    Ok(call) => {
                        let asker = asker.clone();
                        self.calls.push(Box::pin(async move { (sequence, peer, call.ask(&asker).await) }));
                        Ok(())
                    }
                    Err(_) if quiet => Ok(()),
                    Err(answer) => self.answer(sequence, peer, answer).await,
                }
            }
            // From ubusd itself: the first has subscribed, or the last has left.
            Type::Notify => {
                self.heard = message.flag(attribute::ACTIVE).unwrap_or(self.heard);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn answer(&mut self, sequence: u16, peer: u32, answer: Answer) -> Result<(), UbusError> {
        if let Some(data) = answer.data {
            let data = Message::new(Type::Data, sequence, peer)
                .with_number(attribute::OBJECT, self.object)
                .with(attribute::DATA, data);
            self.connection.send(&data).await?;
        }
        let status = Message::new(Type::Status, sequence, peer)
            .with_number(attribute::STATUS, answer.status.0)
            .with_number(attribute::OBJECT, self.object);
        self.connection.send(&status).await
    }

    async fn notify(&mut self, line: &[u8]) -> Result<(), UbusError> {
        let Some((name, data)) = object::notification(line).filter(|_| self.heard) else { return Ok(()) };
        let notify = Message::new(Type::Notify, 0, 0)
            .with_number(attribute::OBJECT, self.object)
            .with_text(attribute::METHOD, &name)
            .with(attribute::NO_REPLY, [1])
            .with(attribute::DATA, data);
        self.connection.send(&notify).await
    }
}
