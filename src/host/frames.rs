//! Frames on a stream: two octets of length, big-endian, and so many octets of CBOR (`wire/push`).

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire::cbor::{self, CborError};
use crate::wire::push::MOST_OCTETS;

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream ended or broke.
    #[error("the connection ended")]
    Ended(#[from] io::Error),
    /// The frame is longer than allowed, or not what was expected.
    #[error("a frame that is not a message")]
    Malformed(#[from] CborError),
}

/// Reads frames.
#[derive(Debug)]
pub struct Frames<R> {
    stream: R,
    ahead: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Of a stream from which nothing was read yet.
    pub fn new(stream: R) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    /// The next frame. Dropping the future loses nothing.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        loop {
            if let Some([high, low]) = self.ahead.first_chunk() {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length > MOST_OCTETS {
                    return Err(CborError::TooLong { length }.into());
                }
                if let Some(frame) = self.ahead.get(2..2 + length) {
                    let message = cbor::decode(frame);
                    self.ahead.drain(..2 + length);
                    return Ok(message?);
                }
            }
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// Writes one frame.
pub async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    let frame = cbor::encode(message)?;
    let length = frame.len();
    if length > MOST_OCTETS {
        return Err(CborError::TooLong { length }.into());
    }
    let [.., high, low] = length.to_be_bytes();
    Ok(stream.write_all(&[&[high, low], &frame[..]].concat()).await?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn frames_come_whole_however_they_are_cut() {
        let (mut ours, theirs) = tokio::io::duplex(5);
        let mut frames = Frames::new(theirs);
        let writing = tokio::spawn(async move {
            for word in ["one", "another one"] {
                write(&mut ours, &word).await.unwrap();
            }
            ours.write_all(&[0, 9, 0x61]).await.unwrap();
        });
        // Given up again and again in the middle.
        let mut found = Vec::new();
        while found.len() < 2 {
            if let Ok(word) = tokio::time::timeout(Duration::from_micros(50), frames.next::<String>()).await {
                found.push(word.unwrap());
            }
        }
        assert_eq!(found, ["one", "another one"]);
        assert!(matches!(frames.next::<String>().await, Err(FrameError::Ended(_))), "cut short");
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_too_long_or_no_message_is_refused_before_it_is_there() {
        let mut long: &[u8] = &[0xff, 0xff];
        let refused = Frames::new(&mut long).next::<String>().await;
        assert!(matches!(refused, Err(FrameError::Malformed(CborError::TooLong { length: 65535 }))));
        let mut other: &[u8] = &[0, 1, 0x01];
        assert!(matches!(Frames::new(&mut other).next::<String>().await, Err(FrameError::Malformed(_))));
        let mut sink = Vec::new();
        assert!(write(&mut sink, &"x".repeat(MOST_OCTETS)).await.is_err());
    }
}
