//! Messages for the terminals that are here: what the owner and the coordinator say, and who has it.
//!
//! What waits for whom is decided in `logic/post.rs`; the connections are `adapters/channel`. A terminal names its session
//! and proves the key of that session's grant: an address proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::effects::Gateway;
use super::persist;
use crate::adapters::channel::{ChannelEvent, Channels};
use crate::config::gateway::Settings;
use crate::host::clock;
use crate::host::control::Reply;
use crate::host::keep::KeepError;
use crate::logic::grants::Grant;
use crate::logic::post::{self, Action, Entry, Input, Post};
use crate::model::{
    Audience, Author, BootTime, GrantId, Holder, Message, MessageId, Millis, PublicKey, Refusal, Ssid,
};
use crate::wire::VERSION;
use crate::wire::gateway::FromGateway;
use crate::wire::local::{Event, MessageAsk, MessageRow};
use crate::wire::push::{Channel, Offered, SignedMessage, SignedOffer};
use crate::wire::sign::{Identity, new_message_id};

/// Messages that wait at a time, and those of them that are the coordinator's: it can tell terminals by itself.
const MOST: usize = 64;
const MOST_OF_COORDINATOR: usize = 32;

/// What belongs to messages.
pub(super) struct Messages {
    post: Post,
    /// Absent where the owner wants none.
    channels: Option<Channels>,
    identity: Arc<Identity>,
    open: BTreeMap<PublicKey, Open>,
    /// Who has which messages of the coordinator that it has not said on this link.
    said_before: BTreeMap<MessageId, BTreeSet<PublicKey>>,
    /// What the owner says has changed since it was kept across a reboot.
    unkept: bool,
}

/// A terminal that has proven its key.
struct Open {
    number: u64,
    channel: Channel,
    grant: GrantId,
    /// As whom it is told something.
    audiences: Vec<Audience>,
    offers: mpsc::Sender<SignedOffer>,
}

/// A message of the owner as it is kept. Those of the coordinator come again with its link, and what terminals have they
/// know themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMessage {
    message: Message,
    /// When it ends, for whoever reads this before the machine boots again.
    until: BootTime,
    /// What was left of its time when this was written.
    left: Millis,
}

impl KeptMessage {
    /// As it was written since the machine booted, or before.
    fn entry(self, of_this_boot: bool, now: BootTime) -> Entry {
        let until = if of_this_boot { self.until } else { now + self.left.into() };
        let (message, author) = (self.message, Author::Owner);
        Entry { message, author, signed: None, until, taken: BTreeSet::new() }
    }
}

impl Messages {
    /// With what the daemon before this one left behind; `None`: the machine has booted since.
    pub fn begin(
        identity: Arc<Identity>,
        settings: &Settings,
        running: Option<Vec<KeptMessage>>,
        now: BootTime,
    ) -> Self {
        let of_this_boot = running.is_some();
        let kept = running.unwrap_or_else(|| persist::load_messages(&settings.state_dir));
        let mut post = Post::new(Duration::ZERO, MOST, MOST);
        for kept in kept {
            post.handle_input(Input::Push(kept.entry(of_this_boot, now)), now);
        }
        let channels = settings.messages.then(|| Channels::new(identity.public()));
        let (open, said_before) = (BTreeMap::new(), BTreeMap::new());
        Self { post, channels, identity, open, said_before, unkept: false }
    }

    /// What the owner says, to be kept.
    pub fn kept(&self, now: BootTime) -> Vec<KeptMessage> {
        let own = self.post.entries().filter(|entry| entry.author == Author::Owner);
        own.map(|entry| KeptMessage {
            message: entry.message.clone(),
            until: entry.until,
            left: entry.until.since(now).into(),
        })
        .collect()
    }

    /// Keeps it across a reboot, if it has changed.
    pub fn save(&mut self, state_dir: &Path, now: BootTime) -> Result<(), KeepError> {
        match std::mem::take(&mut self.unkept) {
            true => persist::save_messages(state_dir, &self.kept(now)),
            false => Ok(()),
        }
    }

    /// The next thing that happens on a channel. Dropping the future loses nothing.
    pub async fn next(&mut self) -> ChannelEvent {
        match &mut self.channels {
            Some(channels) => channels.next().await,
            None => std::future::pending().await,
        }
    }

    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.post.poll_timeout()
    }

    pub fn handle_timeout(&mut self, now: BootTime) {
        self.post.handle_timeout(now);
    }

    fn offer(&mut self, terminal: PublicKey, message: MessageId, now: BootTime) {
        let (Some(open), Some(entry)) = (self.open.get(&terminal), self.post.get(&message)) else { return };
        let body = match &entry.signed {
            Some(signed) => Offered::Relayed(signed.clone()),
            None => Offered::Own(entry.message.clone()),
        };
        let valid = entry.until.since(now).into();
        let sent = SignedOffer::new(&self.identity, &open.channel, body, valid)
            .is_ok_and(|offer| open.offers.try_send(offer).is_ok());
        if !sent {
            // It does not read what it is offered: it may call again.
            self.open.remove(&terminal);
            self.post.handle_input(Input::Gone(terminal), now);
        }
    }

    fn close(&mut self, gone: impl Fn(&Open) -> bool, now: BootTime) {
        let terminals: Vec<PublicKey> =
            self.open.iter().filter(|(_, open)| gone(open)).map(|(terminal, _)| *terminal).collect();
        for terminal in terminals {
            self.open.remove(&terminal);
            self.post.handle_input(Input::Gone(terminal), now);
        }
    }
}

impl Gateway {
    /// Listens where stations are.
    pub fn listen(&mut self) {
        let interfaces = self.world.guests(&self.settings);
        let Some(channels) = &mut self.messages.channels else { return };
        for (interface, error) in channels.listen(&interfaces) {
            tracing::warn!(interface, %error, "terminals there get no messages from here");
        }
    }

    /// Something happened on a channel.
    pub fn channel_event(&mut self, event: ChannelEvent) {
        let now = clock::now();
        match event {
            ChannelEvent::Opened { number, channel, proof, offers } => {
                let session = channel.knock.session;
                if channel.knock.version != VERSION {
                    return tracing::debug!(version = channel.knock.version, "a terminal of another version");
                }
                let found = self.grants.held().find_map(|grant| match grant.holder {
                    Holder::Terminal { key, session: of } if of == session => Some((key, grant.clone())),
                    _ => None,
                });
                let Some((terminal, grant)) = found else {
                    return tracing::debug!(%session, "no grant here is of this session");
                };
                if channel.check(&proof, terminal).is_err() {
                    let sentence = "somebody asked for the messages of a terminal that is not his";
                    return self.drop_of_guest(Refusal::new("bad-proof", sentence));
                }
                self.messages.post.handle_input(Input::Gone(terminal), now);
                let open = Open { number, channel, grant: grant.id, audiences: Vec::new(), offers };
                self.messages.open.insert(terminal, open);
                self.place_terminals(now);
            }
            ChannelEvent::Taken { number, message } => {
                let Messages { open, post, .. } = &mut self.messages;
                let Some((terminal, open)) = open.iter().find(|(_, open)| open.number == number) else {
                    return;
                };
                // One that is for others is not his to take.
                if post.get(&message).is_some_and(|entry| open.audiences.contains(&entry.message.to)) {
                    post.handle_input(Input::Taken(*terminal, message), now);
                }
            }
            ChannelEvent::Closed { number } => self.messages.close(|open| open.number == number, now),
            ChannelEvent::Malformed { why } => self.drop_of_guest(Refusal::new("bad-frame", why)),
        }
    }

    /// Where stations are has changed: a gateway that has just been started hears of it later than terminals call.
    pub fn place_terminals(&mut self, now: BootTime) {
        let placed: Vec<(PublicKey, Vec<Audience>)> = self
            .messages
            .open
            .iter()
            .filter_map(|(terminal, open)| {
                let mut audiences = self.audiences(self.grants.get(open.grant)?);
                audiences.push(Audience::Session(open.channel.knock.session));
                Some((*terminal, audiences))
            })
            .collect();
        let Messages { open, post, .. } = &mut self.messages;
        for (terminal, audiences) in placed {
            let Some(open) = open.get_mut(&terminal) else { continue };
            let before = std::mem::replace(&mut open.audiences, audiences);
            for left in before.iter().filter(|audience| !open.audiences.contains(audience)) {
                post.handle_input(Input::Left(terminal, left.clone()), now);
            }
            for new in open.audiences.iter().filter(|audience| !before.contains(audience)) {
                post.handle_input(Input::Here(terminal, new.clone()), now);
            }
        }
    }

    /// As whom the terminal of a grant is told something.
    fn audiences(&self, grant: &Grant) -> Vec<Audience> {
        let found = grant.station.and_then(|station| self.presence.get(station));
        let by_hostapd = found.into_iter().flat_map(|found| found.bsses.keys());
        let named = by_hostapd.filter_map(|bss| self.presence.bsses().get(bss)).map(|bss| bss.ssid.clone());
        let places = found
            .into_iter()
            .flat_map(|found| found.bsses.keys().chain(&found.port).chain(found.addresses.values()));
        let configured = places
            .filter_map(|name| self.world.index(name))
            .filter_map(|index| self.world.network_of(&self.settings, index))
            .map(|network| network.ssid.clone());
        let mut names: Vec<Ssid> = named.chain(configured).collect();
        names.sort_unstable();
        names.dedup();
        let networks = names.into_iter().filter(|ssid| !ssid.as_bytes().is_empty()).map(Audience::Network);
        networks
            .chain([Audience::Everybody, Audience::Grant(grant.id), Audience::Gateway(self.service)])
            .collect()
    }

    /// What a station with a grant is told on the portal's page.
    #[cfg(feature = "portal")]
    pub fn messages_for(&self, station: crate::model::MacAddr) -> Vec<(String, Option<String>)> {
        let Some(grant) = self.grants.of_station(station) else { return Vec::new() };
        let audiences = self.audiences(grant);
        let entries = self.messages.post.entries().filter(|entry| audiences.contains(&entry.message.to));
        let said = entries.map(|entry| &entry.message);
        said.map(|message| {
            (message.text.as_str().to_owned(), message.link.as_ref().map(|link| link.as_str().to_owned()))
        })
        .collect()
    }

    /// A grant is over, and its terminal with it.
    pub fn hush(&mut self, grant: GrantId, now: BootTime) {
        self.messages.close(|open| open.grant == grant, now);
        let post = &mut self.messages.post;
        let audience = Audience::Grant(grant);
        let for_it: Vec<MessageId> = post.for_audience(&audience).map(|entry| entry.message.id).collect();
        for_it.into_iter().for_each(|message| post.handle_input(Input::Withdraw(message), now));
    }

    /// Carries out one thing that was decided, if anything was.
    pub fn post_turn(&mut self, now: BootTime) -> bool {
        let Some(action) = self.messages.post.poll_action() else { return false };
        match action {
            Action::Offer(terminal, message) => self.messages.offer(terminal, message, now),
            Action::Taken(terminal, message, author) => {
                if let Some(open) = self.messages.open.get(&terminal) {
                    self.tell(&Event::Delivered { message, grant: open.grant });
                }
                if author == Author::Coordinator {
                    self.send(FromGateway::Taken { message, terminal });
                }
            }
            Action::Over(_, Author::Owner) => self.messages_changed(false, now),
            Action::Over(_, Author::Coordinator) => {}
        }
        true
    }

    fn messages_changed(&mut self, by_hand: bool, now: BootTime) {
        self.running_changed = true;
        self.messages.unkept = true;
        self.pace.changed(by_hand, now);
    }

    /// A link to the coordinator stands anew, and it says again all that it has to say. What it took back while there was
    /// none is not among that.
    pub fn coordinator_begins(&mut self, now: BootTime) {
        let Messages { post, said_before, .. } = &mut self.messages;
        let own = post.entries().filter(|entry| entry.author == Author::Coordinator);
        *said_before = own.map(|entry| (entry.message.id, entry.taken.clone())).collect();
        said_before.keys().for_each(|message| post.handle_input(Input::Withdraw(*message), now));
    }

    /// The coordinator has something for terminals that are here.
    pub fn push_of_coordinator(
        &mut self,
        message: Message,
        signed: SignedMessage,
        valid: Duration,
        now: BootTime,
    ) {
        let id = message.id;
        let Messages { post, said_before, .. } = &mut self.messages;
        let known = post.get(&id).map(|entry| entry.taken.clone());
        let taken = said_before.remove(&id).or(known).unwrap_or_default();
        let own = post.entries().filter(|entry| entry.author == Author::Coordinator).count();
        if post.get(&id).is_none() && (own >= MOST_OF_COORDINATOR || post.check(&message.to).is_err()) {
            // It reaches them by its own link.
            return tracing::warn!(own, "a message of the coordinator is one too many, and is not taken");
        }
        let (author, signed) = (Author::Coordinator, Some(signed));
        let entry = Entry { message, author, signed, until: now + valid, taken: taken.clone() };
        post.handle_input(Input::Push(entry), now);
        // It may not have heard who has it already.
        taken.into_iter().for_each(|terminal| self.send(FromGateway::Taken { message: id, terminal }));
    }

    /// The coordinator takes something back.
    pub fn withdraw_of_coordinator(&mut self, message: MessageId, now: BootTime) {
        self.messages.post.handle_input(Input::Withdraw(message), now);
    }

    /// `wayleave push`.
    pub fn push(&mut self, ask: MessageAsk, reply: Reply, now: BootTime) {
        let valid = match self.check_push(&ask) {
            Ok(valid) => valid,
            Err(refusal) => return reply.refuse(refusal),
        };
        let MessageAsk { to, text, link, valid: _ } = ask;
        let message = Message { id: new_message_id(), to, link, text };
        let (author, until) = (Author::Owner, now + valid);
        let entry = Entry { message, author, signed: None, until, taken: BTreeSet::new() };
        let row = entry.row(now);
        self.messages.post.handle_input(Input::Push(entry), now);
        self.messages_changed(true, now);
        reply.ok(row);
    }

    fn check_push(&self, ask: &MessageAsk) -> Result<Duration, Refusal> {
        if self.messages.channels.is_none() {
            let sentence = "this gateway tells terminals nothing: [messages] enabled = false in gateway.toml";
            return Err(Refusal::new("messages-off", sentence));
        }
        match &ask.to {
            Audience::Everybody | Audience::Network(_) => {}
            Audience::Grant(id) => match self.grants.get(*id).map(|grant| grant.holder) {
                Some(Holder::Terminal { .. }) => {}
                Some(Holder::Station) => {
                    let sentence = "this grant was given by hand: no terminal can prove that it is its own";
                    return Err(Refusal::new("no-terminal", sentence));
                }
                None => {
                    let sentence = format!("there is no grant {id}; see `wayleave grants`");
                    return Err(Refusal::new("no-grant", sentence));
                }
            },
            Audience::Session(_) | Audience::Gateway(_) | Audience::Area(_) => {
                let sentence =
                    "a gateway tells everybody, a grant or a network; sessions are its coordinator's";
                return Err(Refusal::new("bad-audience", sentence));
            }
        }
        self.messages.post.check(&ask.to)?;
        post::valid(ask.valid)
    }

    /// What terminals are told.
    pub fn message_rows(&self, now: BootTime) -> Vec<MessageRow> {
        self.messages.post.entries().map(|entry| entry.row(now)).collect()
    }

    /// `wayleave withdraw`.
    pub fn withdraw(&mut self, message: MessageId, reply: Reply, now: BootTime) {
        match self.messages.post.get(&message) {
            Some(entry) if entry.author == Author::Coordinator => {
                let sentence = "this message is the coordinator's; it is withdrawn there";
                reply.refuse(Refusal::new("not-yours", sentence));
            }
            Some(entry) => {
                let row = entry.row(now);
                self.messages.post.handle_input(Input::Withdraw(message), now);
                reply.ok(row);
            }
            None => {
                let sentence = format!("there is no message {message}; see `wayleave messages`");
                reply.refuse(Refusal::new("no-message", sentence));
            }
        }
    }
}
