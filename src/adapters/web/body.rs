//! Bodies: a whole one out, a bounded one in.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

/// What is sent, in one piece.
pub(super) struct Sent(pub Option<Bytes>);

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// All of it, unless it is longer than `most` octets or breaks off.
pub(super) async fn collect(mut body: Incoming, most: usize) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            None => return Some(all),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if all.len() + data.len() > most {
                        return None;
                    }
                    all.extend_from_slice(data);
                }
            }
            Some(Err(_)) => return None,
        }
    }
}
