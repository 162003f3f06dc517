//! The netlink socket: requests out, answers in. Blocking; `mod.rs` runs it beside the caller's loop.

use std::io;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::codec::{self, Answer, Flow};
use super::error::ConntrackError;

/// The kernel makes no dump message larger than 32 KiB.
const DATAGRAM: usize = 32 * 1024;

/// Holds the answers to one datagram of requests, were each a whole flow.
const RECEIVE_BUFFER: usize = 1024 * 1024;

/// A kernel answers within milliseconds; one that does not must not hold a thread for good.
const PATIENCE_S: i64 = 5;

/// The socket, opened when needed.
pub struct Requests {
    socket: Option<Socket>,
    seq: u32,
    datagram: Vec<u8>,
}

impl Requests {
    /// In the network namespace of the calling thread.
    pub fn open() -> Result<Requests, ConntrackError> {
        Ok(Requests { socket: Some(open_socket()?), ..Requests::closed() })
    }

    /// Opens when it first sends.
    pub fn closed() -> Requests {
        Requests { socket: None, seq: 0, datagram: Vec::new() }
    }

    /// After a failure: what is still on its way belongs to the request that failed.
    pub fn close(&mut self) {
        self.socket = None;
    }

    /// So many numbers in a row that no request has had; the first of them.
    pub fn numbers(&mut self, count: u32) -> u32 {
        let first = self.seq.wrapping_add(1);
        self.seq = self.seq.wrapping_add(count);
        first
    }

    /// Sends. Of a dump the kernel makes the first part before this returns, and the others as they are read.
    pub fn send(&mut self, requests: &[u8]) -> Result<(), ConntrackError> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            closed @ None => closed.insert(open_socket()?),
        };
        socket.send(requests, 0).map_err(socket_error("sending"))?;
        Ok(())
    }

    /// Hands every flow of the dump with this number to `each`.
    pub fn listed(&mut self, seq: u32, mut each: impl FnMut(&Flow<'_>)) -> Result<(), ConntrackError> {
        loop {
            for answer in self.receive()? {
                match answer? {
                    (number, _) if number != seq => {}
                    (_, Answer::Flow(flow)) => each(&flow),
                    (_, Answer::Done) => return Ok(()),
                    (_, Answer::Result(0) | Answer::Entries(_) | Answer::Other) => {}
                    (_, Answer::Result(errno)) => return Err(refused("list", errno)),
                }
            }
        }
    }

    /// The acknowledgement of the request with this number: 0 or a negative errno.
    pub fn result(&mut self, seq: u32) -> Result<i32, ConntrackError> {
        loop {
            for answer in self.receive()? {
                match answer? {
                    (number, Answer::Result(errno)) if number == seq => return Ok(errno),
                    _ => {}
                }
            }
        }
    }

    /// The messages of the next datagram, each with the number of its request.
    pub fn receive(
        &mut self,
    ) -> Result<impl Iterator<Item = Result<(u32, Answer<'_>), ConntrackError>>, ConntrackError> {
        self.datagram.clear();
        self.datagram.reserve(DATAGRAM);
        if let Some(socket) = &self.socket {
            socket.recv(&mut self.datagram, 0).map_err(socket_error("receiving"))?;
        }
        Ok(codec::answers(&self.datagram))
    }
}

fn open_socket() -> Result<Socket, ConntrackError> {
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(socket_error("opening"))?;
    socket.bind_auto().map_err(socket_error("binding"))?;
    // An acknowledgement need not repeat the request.
    socket.set_cap_ack(true).map_err(socket_error("setting NETLINK_CAP_ACK"))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_S))
        .map_err(|errno| socket_error("setting SO_RCVTIMEO")(errno.into()))?;
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)
            .map_err(|errno| socket_error("setting SO_RCVBUF")(errno.into()))?;
    }
    Ok(socket)
}

/// For `map_err`.
pub fn socket_error(doing: &'static str) -> impl FnOnce(io::Error) -> ConntrackError {
    move |source| ConntrackError::Socket { doing, source }
}

/// From a negative errno.
pub fn refused(request: &'static str, errno: i32) -> ConntrackError {
    ConntrackError::Refused { request, source: io::Error::from_raw_os_error(errno.saturating_neg()) }
}
