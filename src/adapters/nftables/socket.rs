//! The netlink socket for requests: one transaction at a time, each waited for.
//!
//! The kernel works while `send` runs and the answers are queued when it returns, so waiting for them costs
//! microseconds and needs no task.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::codec::{Batch, Incoming, NLMSG_DONE, NLMSG_ERROR, error, messages};
use super::error::NftError;

/// A transaction of ten thousand stations has about 4 MB.
const SEND_BUFFER: usize = 16 << 20;
const RECEIVE_BUFFER: usize = 4 << 20;
/// The kernel's dumps and notifications are at most 32 KiB a datagram.
const DATAGRAM: usize = 64 * 1024;
/// Longer than any transaction takes; only a broken kernel reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The socket.
#[derive(Debug)]
pub struct Requests {
    socket: Socket,
    port: u32,
    seq: u32,
    buffer: Vec<u8>,
}

impl Requests {
    /// Opens and binds it.
    pub fn open() -> Result<Self, NftError> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(NftError::Open)?;
        let port = socket.bind_auto().map_err(NftError::Open)?.port_number();
        socket.connect(&SocketAddr::new(0, 0)).map_err(NftError::Open)?;
        // Without these an error repeats the whole request and comes without words.
        socket.set_cap_ack(true).map_err(NftError::Open)?;
        socket.set_ext_ack(true).map_err(NftError::Open)?;
        enlarge(&socket, Some(SEND_BUFFER), RECEIVE_BUFFER).map_err(NftError::Open)?;
        let patience = TimeVal::milliseconds(PATIENCE.as_millis() as i64);
        setsockopt(&socket.as_fd(), sockopt::ReceiveTimeout, &patience)
            .map_err(|error| NftError::Open(error.into()))?;
        Ok(Self { socket, port, seq: 1, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// The address of this socket: notifications of our own changes carry it.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Runs a transaction; what the kernel echoes of it goes to `echo`.
    pub fn transact(
        &mut self,
        doing: &'static str,
        write: impl FnOnce(&mut Batch),
        mut echo: impl FnMut(Incoming<'_>),
    ) -> Result<(), NftError> {
        let mut batch = Batch::transaction(self.seq);
        write(&mut batch);
        let first = self.seq;
        if batch.last_seq() == first {
            // Nothing but its beginning, which Linux 6.1 does not acknowledge.
            return Ok(());
        }
        let (bytes, acknowledged) = batch.commit();
        self.seq = acknowledged.wrapping_add(2);
        self.send(doing, &bytes)?;
        let mut refused = None;
        self.receive(doing, |message| {
            // Echoes may come without the number of the request (Linux 6.18), acknowledgements have it.
            if message.kind != NLMSG_ERROR {
                echo(message);
                return false;
            }
            if message.seq.wrapping_sub(first) > acknowledged.wrapping_sub(first) {
                return false;
            }
            match error(message.payload) {
                Some((0, _)) => message.seq == acknowledged,
                Some((errno, words)) => {
                    // The first error is the cause; the kernel reports the others of the transaction too.
                    refused.get_or_insert((errno, words));
                    true
                }
                None => false,
            }
        })?;
        match refused {
            None => Ok(()),
            Some((errno, words)) => {
                self.drain();
                Err(NftError::Refused { doing, source: io::Error::from_raw_os_error(errno), words })
            }
        }
    }

    /// Runs a dump or a look-up; each answer goes to `each`. A missing thing is `Refused` with ENOENT.
    pub fn ask(
        &mut self,
        doing: &'static str,
        dump: bool,
        write: impl FnOnce(&mut Batch),
        mut each: impl FnMut(Incoming<'_>),
    ) -> Result<(), NftError> {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        let mut batch = Batch::request(seq);
        write(&mut batch);
        self.send(doing, &batch.into_bytes())?;
        let mut refused = None;
        self.receive(doing, |message| {
            if message.seq != seq {
                return false;
            }
            match message.kind {
                NLMSG_DONE => true,
                NLMSG_ERROR => {
                    refused = error(message.payload).filter(|(errno, _)| *errno != 0);
                    true
                }
                _ => {
                    each(message);
                    !dump
                }
            }
        })?;
        match refused {
            None => Ok(()),
            Some((errno, words)) => {
                Err(NftError::Refused { doing, source: io::Error::from_raw_os_error(errno), words })
            }
        }
    }

    fn send(&self, doing: &'static str, bytes: &[u8]) -> Result<(), NftError> {
        let sent = self.socket.send(bytes, 0).map_err(|source| NftError::Socket { doing, source })?;
        if sent != bytes.len() {
            let source = io::Error::new(io::ErrorKind::WriteZero, "the kernel took only a part");
            return Err(NftError::Socket { doing, source });
        }
        Ok(())
    }

    /// Reads until `take` says that the last message was there.
    fn receive(
        &mut self,
        doing: &'static str,
        mut take: impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<(), NftError> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(NftError::Socket { doing, source }),
            }
            let mut last = false;
            for message in messages(&self.buffer) {
                last |= take(message);
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Throws away what is still queued.
    fn drain(&mut self) {
        loop {
            self.buffer.clear();
            // MSG_DONTWAIT
            if self.socket.recv(&mut self.buffer, 0x40).is_err() {
                return;
            }
        }
    }
}

/// Enlarges the buffers, past the machine's limits where we may (CAP_NET_ADMIN).
pub(super) fn enlarge(socket: &Socket, send: Option<usize>, receive: usize) -> io::Result<()> {
    let socket = socket.as_fd();
    if let Some(size) = send {
        setsockopt(&socket, sockopt::SndBufForce, &size)
            .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &size))?;
    }
    setsockopt(&socket, sockopt::RcvBufForce, &receive)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &receive))
        .map_err(io::Error::from)
}
