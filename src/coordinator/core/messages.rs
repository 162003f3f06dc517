//! Messages for terminals: what waits for whom, through their gateways and by their own links.
//!
//! What is for an area comes by the coordinator's link only. A gateway gets what is for terminals at it as soon as its link stands, and says who has it. Whom it does not say within
//! [`DELAY`], the coordinator tells by its own link: the terminal shows each once, whoever brings it. What is decided is
//! decided in `logic::post`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Core;
use crate::coordinator::store::{Change, MessageRecord};
use crate::host::clock;
use crate::logic::post::{Action, Entry, Input, Post};
use crate::model::{
    Area, Audience, Author, BootTime, Message, MessageId, PublicKey, Refusal, ServiceId, SessionId,
};
use crate::wire::local::MessageRow;
use crate::wire::notice::NoticeBody;
use crate::wire::push::SignedMessage;
use crate::wire::sign::service_id;
use crate::wire::terminal::ToTerminal;

/// How long a gateway has to deliver.
const DELAY: Duration = Duration::from_secs(5);
/// Messages that wait at a time, and those of them for one session or gateway.
const MOST: usize = 10_000;
const MOST_FOR_ONE: usize = 64;

/// An empty book.
pub(super) fn book() -> Post {
    Post::new(DELAY, MOST, MOST_FOR_ONE)
}

impl Core {
    /// Whether there can be a message for these.
    pub fn check_message(&self, to: &Audience) -> Result<(), Refusal> {
        let (known, word, what) = match to {
            Audience::Session(session) => (self.by_id.contains_key(session), "unknown-session", "session"),
            Audience::Gateway(service) => {
                (self.by_service.contains_key(service), "unknown-gateway", "gateway")
            }
            Audience::Area(area) => (self.in_area(area).next().is_some(), "unknown-area", "area"),
            Audience::Everybody | Audience::Grant(_) | Audience::Network(_) => {
                let sentence =
                    "a coordinator tells a session, a gateway or an area; the rest is the gateway's owner's";
                return Err(Refusal::new("bad-audience", sentence));
            }
        };
        if !known {
            return Err(Refusal::new(word, format!("there is no such {what}")));
        }
        self.post.check(to)
    }

    /// A message that is kept. Those who are here are told.
    pub fn tell_message(
        &mut self,
        message: Message,
        signed: SignedMessage,
        valid: Duration,
        now: BootTime,
    ) -> Option<MessageRow> {
        let id = message.id;
        // Its session may be over by now.
        self.check_message(&message.to).ok()?;
        let entry = Entry {
            message,
            author: Author::Coordinator,
            signed: Some(signed),
            until: now + valid,
            taken: BTreeSet::new(),
        };
        let gateway = self.gateway_of(&entry.message.to);
        self.post_input(Input::Push(entry), now);
        if let Some(gateway) = gateway {
            self.tell_gateway_message(&gateway, &id, now);
        }
        self.message_row(&id, now)
    }

    /// Takes in what was kept.
    pub(super) fn restore_messages(&mut self, records: Vec<MessageRecord>, now: BootTime) {
        let Some(hub) = self.hub.upgrade() else { return };
        let calendar = clock::calendar();
        for MessageRecord { message, expires, taken } in records {
            let valid = Duration::from_secs(expires.saturating_sub(calendar));
            let signed = SignedMessage::new(&hub.identity, &message);
            let (Ok(signed), Ok(()), false) = (signed, self.check_message(&message.to), valid.is_zero())
            else {
                self.submit(Change::ForgetMessage { message: message.id }, |_, _, _| {});
                continue;
            };
            let (author, signed) = (Author::Coordinator, Some(signed));
            self.post_input(Input::Push(Entry { message, author, signed, until: now + valid, taken }), now);
        }
    }

    /// A message is to be told no more; as it was.
    pub fn withdraw_message(&mut self, message: &MessageId, now: BootTime) -> Option<MessageRow> {
        let row = self.message_row(message, now)?;
        let gateway = self.gateway_of(&row.to);
        self.post_input(Input::Withdraw(*message), now);
        if let Some(gateway) = gateway {
            self.tell_gateway(&gateway, NoticeBody::Withdraw { message: *message });
        }
        Some(row)
    }

    /// What terminals are told.
    pub fn message_rows(&self, now: BootTime) -> Vec<MessageRow> {
        self.post.entries().map(|entry| entry.row(now)).collect()
    }

    fn message_row(&self, message: &MessageId, now: BootTime) -> Option<MessageRow> {
        self.post.get(message).map(|entry| entry.row(now))
    }

    fn gateway_of(&self, to: &Audience) -> Option<PublicKey> {
        match to {
            Audience::Session(session) => {
                self.by_id.get(session).and_then(|index| self.entry(*index)).map(|entry| entry.gateway)
            }
            Audience::Gateway(service) => self.by_service.get(service).copied(),
            Audience::Area(_) | Audience::Everybody | Audience::Grant(_) | Audience::Network(_) => None,
        }
    }

    /// The gateways of an area.
    fn in_area<'a>(&'a self, area: &'a Area) -> impl Iterator<Item = &'a PublicKey> {
        let of =
            |gateway: &super::Gateway| gateway.record.announce.as_ref().and_then(|said| said.area.clone());
        self.gateways
            .iter()
            .filter(move |(_, gateway)| of(gateway).as_ref() == Some(area))
            .map(|(key, _)| key)
    }

    /// What the terminal of a session is told.
    fn audiences(&self, session: SessionId, gateway: ServiceId) -> Vec<Audience> {
        let known = self.by_service.get(&gateway).and_then(|key| self.gateways.get(key));
        let area = known.and_then(|gateway| gateway.record.announce.as_ref()?.area.clone());
        let here = [Audience::Session(session), Audience::Gateway(gateway)];
        here.into_iter().chain(area.map(Audience::Area)).collect()
    }

    fn tell_gateway_message(&mut self, gateway: &PublicKey, message: &MessageId, now: BootTime) {
        let Some(entry) = self.post.get(message) else { return };
        let Some(signed) = entry.signed.clone() else { return };
        let valid = entry.until.since(now).into();
        self.tell_gateway(gateway, NoticeBody::Push { valid, message: signed });
    }

    /// A gateway is here: it gets all that is for terminals at it.
    pub(super) fn tell_gateway_messages(&mut self, gateway: PublicKey, now: BootTime) {
        let sessions = self.gateways.get(&gateway).into_iter().flat_map(|gateway| &gateway.sessions);
        let sessions =
            sessions.filter_map(|index| self.entry(*index)).map(|entry| Audience::Session(entry.id));
        let audiences: Vec<Audience> = sessions.chain([Audience::Gateway(service_id(gateway))]).collect();
        let waiting: Vec<MessageId> = audiences
            .iter()
            .flat_map(|audience| self.post.for_audience(audience))
            .map(|entry| entry.message.id)
            .collect();
        for message in waiting {
            self.tell_gateway_message(&gateway, &message, now);
        }
    }

    /// A terminal was heard by its link: it can be told something.
    pub(super) fn terminal_here(
        &mut self,
        terminal: PublicKey,
        session: SessionId,
        gateway: ServiceId,
        now: BootTime,
    ) {
        for audience in self.audiences(session, gateway) {
            self.post_input(Input::Here(terminal, audience), now);
        }
    }

    /// A session is over or about to be.
    pub(super) fn session_left(&mut self, index: u32, now: BootTime) {
        let Some(entry) = self.entry(index) else { return };
        let (terminal, session, gateway) = (entry.terminal, entry.id, service_id(entry.gateway));
        for audience in self.audiences(session, gateway) {
            self.post_input(Input::Left(terminal, audience), now);
        }
    }

    /// Nobody will get what was for a session that is over, and its gateway need not hold it.
    pub(super) fn forget_messages_of(&mut self, session: SessionId, gateway: &PublicKey, now: BootTime) {
        let audience = Audience::Session(session);
        let left: Vec<MessageId> = self.post.for_audience(&audience).map(|entry| entry.message.id).collect();
        for message in left {
            self.post_input(Input::Withdraw(message), now);
            self.tell_gateway(gateway, NoticeBody::Withdraw { message });
        }
    }

    /// A terminal has a message: it says so itself, or the gateway where it is.
    pub fn message_taken(
        &mut self,
        terminal: PublicKey,
        by: Option<PublicKey>,
        message: MessageId,
        now: BootTime,
    ) {
        let Some(entry) = self.post.get(&message) else { return };
        let its_own = match &entry.message.to {
            Audience::Session(session) => {
                let entry = self.by_id.get(session).and_then(|index| self.entry(*index));
                entry.is_some_and(|entry| {
                    entry.terminal == terminal && by.is_none_or(|by| by == entry.gateway)
                })
            }
            Audience::Gateway(service) => self.by_service.get(service).is_some_and(|gateway| {
                self.by_pair.contains_key(&(terminal, *gateway)) && by.is_none_or(|by| by == *gateway)
            }),
            Audience::Area(area) => {
                by.is_none()
                    && self.in_area(area).any(|gateway| self.by_pair.contains_key(&(terminal, *gateway)))
            }
            Audience::Everybody | Audience::Grant(_) | Audience::Network(_) => false,
        };
        if !its_own {
            return;
        }
        let gateway =
            self.gateway_of(&entry.message.to).filter(|_| by.is_none() && entry.message.to.is_one());
        self.post_input(Input::Taken(terminal, message), now);
        if let Some(gateway) = gateway {
            // It need not offer what is there already.
            self.tell_gateway(&gateway, NoticeBody::Withdraw { message });
        }
    }

    pub(super) fn post_input(&mut self, input: Input, now: BootTime) {
        self.post.handle_input(input, now);
        self.settle_post(now);
    }

    /// Carries out what was decided.
    pub(super) fn settle_post(&mut self, now: BootTime) {
        while let Some(action) = self.post.poll_action() {
            match action {
                Action::Offer(terminal, message) => {
                    let Some(entry) = self.post.get(&message) else { continue };
                    let Some(signed) = entry.signed.clone() else { continue };
                    let valid = entry.until.since(now).into();
                    self.tell(&terminal, ToTerminal::Push { valid, message: signed });
                }
                Action::Taken(terminal, message, _) => {
                    if self.post.get(&message).is_some() {
                        self.submit(Change::MessageTaken { message, terminal }, |_, _, _| {});
                    }
                }
                Action::Over(message, _) => {
                    self.submit(Change::ForgetMessage { message }, |_, _, _| {});
                }
            }
        }
    }
}
