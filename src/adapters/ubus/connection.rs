//! The socket to ubusd: whole messages in, whole messages out.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::UbusError;
use super::message::{Message, Type};

/// For ubusd to say who we are, and to take a message.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where messages go.
pub(super) struct Connection(OwnedWriteHalf);

/// Where they come from.
pub(super) struct Reader {
    socket: OwnedReadHalf,
    /// What has come of the next ones.
    octets: Vec<u8>,
}

/// Connects and waits for ubusd's first word.
pub(super) async fn open(socket: &Path) -> Result<(Connection, Reader), UbusError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| UbusError::NoBus { path: socket.to_owned(), source })?;
    let (read, write) = stream.into_split();
    let mut reader = Reader { socket: read, octets: Vec::new() };
    match timeout(PATIENCE, reader.next()).await {
        Ok(Ok(hello)) if hello.kind == Type::Hello => Ok((Connection(write), reader)),
        Ok(Ok(_)) => Err(UbusError::Malformed("another message than hello")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(UbusError::Lost(None)),
    }
}

impl Connection {
    pub(super) async fn send(&mut self, message: &Message) -> Result<(), UbusError> {
        match timeout(PATIENCE, self.0.write_all(&message.encode())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(UbusError::Lost(Some(error))),
            Err(_) => Err(UbusError::Lost(None)),
        }
    }
}

impl Reader {
    /// The next message. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Message, UbusError> {
        loop {
            if let Some((message, length)) = Message::decode(&self.octets)? {
                self.octets.drain(..length);
                if self.octets.is_empty() {
                    // Nothing is kept of the room that a long one took.
                    self.octets = Vec::new();
                }
                return Ok(message);
            }
            match self.socket.read_buf(&mut self.octets).await {
                Ok(0) => return Err(UbusError::Lost(None)),
                Ok(_) => {}
                Err(error) => return Err(UbusError::Lost(Some(error))),
            }
        }
    }
}
