//! What others do to our tables, and what the kernel says of quotas: the nftables multicast group.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::codec::{attribute, message, messages, text};
use super::elements::{Quota, parse_quota};
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
    Spent(GrantId, Quota),
    /// Events were lost: look whether everything stands.
    Overrun,
}

/// The listening socket.
pub struct NftEvents {
    socket: TokioSocket,
    /// Our own requests come from here.
    own_port: u32,
    buffer: Vec<u8>,
    ready: std::collections::VecDeque<NftEvent>,
}

impl NftEvents {
    /// Listens; changes made from `own_port` are not events. Must be called inside a tokio runtime.
    pub fn listen(own_port: u32) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        socket.socket_mut().add_membership(GROUP)?;
        super::socket::enlarge(socket.socket_ref(), None, BUFFER)?;
        Ok(Self { socket, own_port, buffer: Vec::with_capacity(64 * 1024), ready: Default::default() })
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> NftEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) => {}
                // ENOBUFS: the kernel dropped notifications (netlink(7)).
                Err(_) => return NftEvent::Overrun,
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
        message::NEW_OBJECT if !own => parse_quota(payload)
            .filter(|(_, quota)| quota.used >= quota.limit)
            .map(|(grant, quota)| NftEvent::Spent(grant, quota)),
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
