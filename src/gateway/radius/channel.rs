//! What goes to the RADIUS servers by one of their ports, and what comes back.
//!
//! When and to whom is decided in `logic/radius.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keep::Change;
use crate::adapters::radius::attribute::{Attribute, number};
use crate::adapters::radius::codec::{self, Authenticator, Code, Packet};
use crate::adapters::radius::{Peer, receive};
use crate::logic::radius::{Action, EVERYTHING, Input, Patience, Requests, Ticket, Worth};
use crate::model::{BootTime, Secret};
use crate::wire::sign::random;

/// A request as it is kept until it is answered.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub subject: u64,
    pub worth: Worth,
    /// When it became true.
    pub since: BootTime,
    /// Without those that are true only when it is sent: of delay, of this machine's address.
    pub attributes: Vec<Attribute>,
    /// Hidden anew in each packet.
    pub password: Option<Secret>,
}

/// A packet that was sent.
struct Flight {
    ticket: Ticket,
    bytes: Vec<u8>,
    /// What its answer must fit.
    asked: Authenticator,
}

/// How a request ended.
pub(super) enum Outcome {
    Answered(Ticket, Packet),
    Lost(Ticket, Worth),
}

/// Requests of one kind.
pub(super) struct Channel {
    code: Code,
    servers: Vec<(Peer, Secret)>,
    pub requests: Requests,
    records: BTreeMap<Ticket, Record>,
    /// Requests that are new, or have ended, since what waits was written down.
    changed: BTreeSet<Ticket>,
    /// Packets that may be answered, by server and identifier.
    flights: BTreeMap<(usize, u8), Flight>,
    next: u64,
    /// What came last, until it is known whose it is.
    answer: Option<Packet>,
    /// Answers that were not to be believed, and what was wrong with the last one, until its server answers well.
    pub refused: u64,
    refusal: Option<(usize, String)>,
}

impl Channel {
    pub fn new(code: Code, servers: Vec<(SocketAddr, Secret)>, patience: Patience) -> Self {
        let servers: Vec<_> =
            servers.into_iter().map(|(address, secret)| (Peer::new(address), secret)).collect();
        Self {
            code,
            requests: Requests::new(servers.len(), patience),
            servers,
            records: BTreeMap::new(),
            changed: BTreeSet::new(),
            flights: BTreeMap::new(),
            next: 0,
            answer: None,
            refused: 0,
            refusal: None,
        }
    }

    pub fn is_used(&self) -> bool {
        !self.servers.is_empty()
    }

    pub fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(|(peer, _)| peer.address())
    }

    /// Has it sent.
    pub fn submit(&mut self, record: Record, now: BootTime) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        let Record { subject, worth, since, .. } = record;
        self.records.insert(ticket, record);
        self.changed.insert(ticket);
        self.requests.handle_input(Input::Submit { ticket, subject, worth, since }, now);
        ticket
    }

    /// The next datagram from a server, with its place.
    pub async fn receive(&self) -> (usize, Vec<u8>) {
        receive(self.servers.iter().map(|(peer, _)| peer)).await
    }

    /// A datagram has come.
    pub fn heard(&mut self, server: usize, datagram: &[u8], now: BootTime) {
        let Some((_, secret)) = self.servers.get(server) else { return };
        let Some(identifier) = datagram.get(1).copied() else { return };
        // To a packet that was answered already, or to none.
        let Some(flight) = self.flights.get(&(server, identifier)) else { return };
        match codec::read_answer(datagram, secret, &flight.asked) {
            Ok(packet) if answers(packet.code, self.code) => {
                self.refusal.take_if(|(of, _)| *of == server);
                self.answer = Some(packet);
                self.requests.handle_input(Input::Answered { server, identifier }, now);
            }
            Ok(packet) => self.refuse(server, format!("it has code {}", packet.code.0)),
            Err(error) => self.refuse(server, error.to_string()),
        }
    }

    /// What was wrong with the last answer of a server that has not answered well since.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_ref().map(|(_, why)| why.as_str())
    }

    fn refuse(&mut self, server: usize, why: String) {
        tracing::debug!(why, "an answer of a RADIUS server is not used");
        self.refused += 1;
        self.refusal = Some((server, why));
    }

    /// Carries out what was decided, up to the first request that ended.
    pub fn carry_out(&mut self) -> Option<Outcome> {
        loop {
            match self.requests.poll_action()? {
                Action::Send { ticket, server, identifier, delay } => {
                    if let Err(error) = self.send(ticket, server, identifier, delay) {
                        // As if the network had lost it.
                        tracing::debug!(%error, server, "not sent to a RADIUS server");
                    }
                }
                Action::Done { ticket } => {
                    self.forget(ticket);
                    if let Some(answer) = self.answer.take() {
                        return Some(Outcome::Answered(ticket, answer));
                    }
                }
                Action::Superseded { ticket } => {
                    self.forget(ticket);
                }
                Action::Lost { ticket, worth } => {
                    self.forget(ticket);
                    return Some(Outcome::Lost(ticket, worth));
                }
            }
        }
    }

    fn send(&mut self, ticket: Ticket, server: usize, identifier: u8, delay: Duration) -> io::Result<()> {
        let Some(record) = self.records.get(&ticket) else { return Ok(()) };
        let Some((peer, secret)) = self.servers.get_mut(server) else { return Ok(()) };
        let own = peer.open()?;
        let again = self.flights.get(&(server, identifier)).filter(|flight| flight.ticket == ticket);
        if let Some(flight) = again {
            return peer.send(&flight.bytes);
        }
        let authenticator = random();
        let mut attributes = record.attributes.clone();
        if self.code == Code::ACCOUNTING_REQUEST {
            let delay = u32::try_from(delay.as_secs()).unwrap_or(u32::MAX);
            attributes.push(Attribute::integer(number::ACCT_DELAY_TIME, delay));
        }
        if let Some(password) = &record.password {
            attributes.extend(codec::hide(password, secret, &authenticator));
        }
        let by_family = (number::NAS_IP_ADDRESS, number::NAS_IPV6_ADDRESS);
        attributes.push(Attribute::address(by_family, own));
        let (bytes, asked) = codec::request(self.code, identifier, &attributes, secret, authenticator);
        let sent = peer.send(&bytes);
        self.flights.insert((server, identifier), Flight { ticket, bytes, asked });
        sent
    }

    fn forget(&mut self, ticket: Ticket) {
        self.records.remove(&ticket);
        self.flights.retain(|_, flight| flight.ticket != ticket);
        // One that was not written down yet never will be.
        if !self.changed.remove(&ticket) {
            self.changed.insert(ticket);
        }
    }

    /// What is not answered yet, for whoever comes after this daemon.
    pub fn unsent(&self) -> impl Iterator<Item = Change> {
        self.records.iter().map(|(ticket, record)| Change::of_request(*ticket, Some(Unsent::new(record))))
    }

    /// What has changed of that since this was asked last.
    pub fn changes(&mut self) -> Vec<Change> {
        let of = |ticket| Change::of_request(ticket, self.records.get(&ticket).map(Unsent::new));
        std::mem::take(&mut self.changed).into_iter().map(of).collect()
    }

    /// Goes on with what a daemon before this one had not been answered.
    pub fn resume(&mut self, unsent: impl Iterator<Item = Unsent>, now: BootTime) {
        // Its subjects are not ours. Ours count from below, these from above; what concerns all still does.
        let mut subjects = BTreeMap::from([(EVERYTHING, EVERYTHING)]);
        for unsent in unsent {
            let own = u64::MAX - subjects.len() as u64;
            let subject = *subjects.entry(unsent.subject).or_insert(own);
            let attributes = unsent.attributes.iter().map(|(kind, value)| Attribute::octets(*kind, value));
            let (worth, since) = (unsent.worth, unsent.since.min(now));
            let record = Record { subject, worth, since, attributes: attributes.collect(), password: None };
            self.submit(record, now);
        }
    }
}

/// A request that was not answered when the daemon before this one ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unsent {
    subject: u64,
    worth: Worth,
    since: BootTime,
    attributes: Vec<(u8, Vec<u8>)>,
}

impl Unsent {
    fn new(record: &Record) -> Self {
        let Record { subject, worth, since, .. } = *record;
        let attributes = record.attributes.iter().map(|one| (one.number, one.value.clone())).collect();
        Self { subject, worth, since, attributes }
    }
}

fn answers(answer: Code, request: Code) -> bool {
    match request {
        Code::ACCOUNTING_REQUEST => answer == Code::ACCOUNTING_RESPONSE,
        _ => matches!(answer, Code::ACCESS_ACCEPT | Code::ACCESS_REJECT | Code::ACCESS_CHALLENGE),
    }
}
