//! What others do to our tables, and what the kernel says of quotas: the nftables multicast group.

use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, Socket, SocketAddr, TokioSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Nftables;
use super::codec::{attribute, message, messages, text};
use super::elements::{parse_mark, parse_quota};
use super::ruleset::TABLE;
use crate::model::GrantId;

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
const BUFFER: usize = 8 << 20;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NftEvent {
    /// Somebody else deleted the table or a part of it.
    Disturbed,
    /// The bytes of a grant are used up.
    Spent(GrantId),
    /// Few bytes of a grant are left.
    Low(GrantId),
    /// Events were lost: look whether everything stands.
    Overrun,
    /// Nobody else changed anything while nobody listened, but quotas may have been used up.
    Unheard,
}

/// The listener's membership of the group, in the hands of who changes much at once.
///
/// The kernel writes a notification for each element if there is a listener at all, which is nearly half of what
/// a transaction of many stations costs it.
#[derive(Debug)]
pub(super) struct Ear {
    socket: Socket,
    missed: UnboundedSender<NftEvent>,
}

impl Ear {
    /// Nobody listens from here on.
    pub fn cover(&self) -> io::Result<()> {
        self.socket.drop_membership(GROUP)
    }

    /// Somebody listens again; `event` is what may have been missed.
    pub fn uncover(&self, event: NftEvent) -> io::Result<()> {
        self.socket.add_membership(GROUP)?;
        // The listener may be gone already: then nobody wants to know.
        let _ = self.missed.send(event);
        Ok(())
    }
}

/// The listening socket.
pub struct NftEvents {
    socket: TokioSocket,
    /// Our own requests come from here.
    own_port: u32,
    buffer: Vec<u8>,
    ready: std::collections::VecDeque<NftEvent>,
    missed: UnboundedReceiver<NftEvent>,
}

impl NftEvents {
    /// Listens; changes made through `nft` are not events. Must be called inside a tokio runtime.
    pub fn listen(nft: &mut Nftables) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        socket.socket_mut().add_membership(GROUP)?;
        super::socket::enlarge(socket.socket_ref(), None, BUFFER)?;
        let again = socket.socket_ref().as_fd().try_clone_to_owned()?.into_raw_fd();
        let (missed, heard) = unbounded_channel();
        // SAFETY: the descriptor is open and nobody else's.
        nft.ear = Some(Ear { socket: unsafe { Socket::from_raw_fd(again) }, missed });
        Ok(Self {
            socket,
            own_port: nft.port(),
            buffer: Vec::with_capacity(64 * 1024),
            ready: Default::default(),
            missed: heard,
        })
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> NftEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            self.buffer.clear();
            tokio::select! {
                Some(event) = self.missed.recv() => return event,
                received = self.socket.recv(&mut self.buffer) => {
                    // ENOBUFS: the kernel dropped notifications (netlink(7)).
                    if received.is_err() {
                        return NftEvent::Overrun;
                    }
                }
            }
            for found in messages(&self.buffer) {
                if let Some(event) = event(found.nft(), found.port == self.own_port, found.payload)
                    && self.ready.back() != Some(&event)
                {
                    self.ready.push_back(event);
                }
            }
        }
    }
}

fn event(kind: Option<u8>, own: bool, payload: &[u8]) -> Option<NftEvent> {
    let ours = || attribute(payload, 1).and_then(text) == Some(TABLE);
    match kind? {
        // Depletion is announced by the kernel with the numbers of no request.
        message::NEW_OBJECT if !own => {
            let over = parse_quota(payload).filter(|(_, quota)| quota.used >= quota.limit);
            let low = || parse_mark(payload).filter(|(_, quota)| quota.used >= quota.limit);
            over.map(|(grant, _)| NftEvent::Spent(grant)).or_else(|| Some(NftEvent::Low(low()?.0)))
        }
        message::DEL_TABLE
        | message::DEL_CHAIN
        | message::DEL_RULE
        | message::DEL_SET
        | message::DEL_ELEMENT
        | message::DESTROY_ELEMENT
        | message::DEL_OBJECT
            if !own && ours() =>
        {
            Some(NftEvent::Disturbed)
        }
        _ => None,
    }
}
