//! Messages for the person: from the gateway by its own channel, from the coordinator by its link; shown once.
//!
//! What is shown, and what is only acknowledged again, is decided in `logic/inbox.rs`. Shown is a line on standard output, a
//! notification on the desktop and whatever the person's hook makes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapters::channel::{Caller, Said};
use crate::adapters::hook::{Hook, Variables};
#[cfg(feature = "dbus")]
use crate::adapters::notifications::notify;
use crate::adapters::printer::Printer;
use crate::config::terminal::Settings;
use crate::host::{clock, keep};
use crate::logic::agent::{Agent, State};
use crate::logic::inbox::{Action, Bearer, Inbox, Seen};
use crate::model::{Audience, Author, BootTime, MessageId, Millis, PublicKey, Ssid, sentence};
use crate::wire::push::{BadOffer, Opened, SignedMessage, fits};
use crate::wire::sign::Identity;
use crate::wire::terminal::Joined;

/// What belongs to messages.
pub(super) struct Messages {
    inbox: Inbox,
    caller: Caller,
    coordinator: PublicKey,
    hook: Option<Hook>,
    printer: Printer,
    #[cfg_attr(not(feature = "dbus"), allow(dead_code))]
    notify: bool,
    path: PathBuf,
    /// Shown since the start.
    pub shown: u64,
}

impl Messages {
    pub(super) fn new(settings: &Settings, identity: Arc<Identity>, coordinator: PublicKey) -> Self {
        let path = settings.state_dir.join("messages.json");
        Self {
            inbox: Inbox::new(seen(&path)),
            caller: Caller::new(&settings.interface, identity, coordinator),
            coordinator,
            hook: settings.hook.clone().map(Hook::new),
            printer: Printer::new(),
            notify: settings.notify,
            path,
            shown: 0,
        }
    }

    /// How messages are shown from now on.
    pub(super) fn tell_by(&mut self, settings: &Settings) {
        self.hook = settings.hook.clone().map(Hook::new);
        self.notify = settings.notify;
    }

    /// Where access stands, the gateway is called.
    pub(super) fn follow(&mut self, agent: &Agent) {
        if self.caller.call(access(agent).map(|joined| (joined.session, joined.service))) {
            self.inbox.left();
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<BootTime> {
        self.inbox.poll_timeout()
    }

    /// Shows what has waited. What is to be acknowledged to the coordinator comes back.
    pub(super) fn handle_timeout(&mut self, agent: &Agent) -> Vec<MessageId> {
        self.inbox.handle_timeout(clock::now());
        self.act(agent)
    }

    /// What the gateway says next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Said {
        self.caller.next().await
    }

    /// The gateway handed over a message. What is to be acknowledged to the coordinator comes back.
    pub(super) fn offered(&mut self, opened: Opened, agent: &Agent) -> Vec<MessageId> {
        self.inbox.arrived(opened, Bearer::Gateway, clock::now());
        self.act(agent)
    }

    /// The coordinator sent one by its link.
    pub(super) fn sent(
        &mut self,
        signed: &SignedMessage,
        valid: Millis,
        agent: &Agent,
    ) -> Result<Vec<MessageId>, BadOffer> {
        let message = signed.open(self.coordinator)?;
        let Some(joined) = access(agent) else { return Err(BadOffer::Elsewhere { what: "session" }) };
        // Who is in an area the coordinator knows.
        if !matches!(message.to, Audience::Area(_)) {
            fits(&message.to, Author::Coordinator, joined.session, joined.service)?;
        }
        let opened = Opened { message, author: Author::Coordinator, valid };
        self.inbox.arrived(opened, Bearer::Coordinator, clock::now());
        Ok(self.act(agent))
    }

    fn act(&mut self, agent: &Agent) -> Vec<MessageId> {
        let mut acknowledged = Vec::new();
        while let Some(action) = self.inbox.poll_action() {
            match action {
                Action::Keep => self.keep(),
                Action::Show(opened) => {
                    self.shown += 1;
                    let ssid = access(agent).map(|joined| joined.ssid.clone()).unwrap_or_default();
                    self.show(&opened, &ssid);
                }
                Action::Acknowledge(Bearer::Gateway, message) => self.caller.taken(message),
                Action::Acknowledge(Bearer::Coordinator, message) => acknowledged.push(message),
            }
        }
        acknowledged
    }

    fn keep(&self) {
        let seen: Vec<Seen> = self.inbox.seen().collect();
        let bytes = serde_json::to_vec(&seen).expect("plain fields make JSON");
        if let Err(error) = keep::replace(&self.path, &bytes, 0o600) {
            tracing::warn!("a message may be shown again after a restart: {}", sentence(&error));
        }
    }

    fn show(&self, opened: &Opened, ssid: &Ssid) {
        if !self.printer.print(line(opened, ssid)) {
            tracing::warn!("nobody reads standard output; a message is not written there");
        }
        #[cfg(feature = "dbus")]
        if self.notify {
            let (summary, body) = notification(opened, ssid);
            tokio::spawn(async move {
                if let Err(error) = notify(&summary, &body).await {
                    tracing::debug!("no notification on the desktop: {}", sentence(&error));
                }
            });
        }
        if let Some(hook) = &self.hook
            && !hook.tell(variables(opened, ssid))
        {
            tracing::warn!("the hook is too slow; it is not told of a message");
        }
    }
}

/// The access that stands.
fn access(agent: &Agent) -> Option<&Joined> {
    match agent.state() {
        State::Connected { joined, .. } => Some(joined),
        _ => None,
    }
}

fn seen(path: &Path) -> Vec<Seen> {
    let kept = keep::load(path).map_err(|error| sentence(&error)).and_then(|bytes| match bytes {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        None => Ok(Vec::new()),
    });
    kept.unwrap_or_else(|why| {
        tracing::warn!(path = %path.display(), "messages may be shown again: {why}");
        Vec::new()
    })
}

/// One line: the text has no line break and nothing that steers a terminal (`model::MessageText`).
fn line(opened: &Opened, ssid: &Ssid) -> String {
    let link = opened.message.link.as_ref().map(|link| format!(" {}", link.as_str())).unwrap_or_default();
    format!("message ({}, {ssid}): {}{link}", opened.author.word(), opened.message.text.as_str())
}

#[cfg(feature = "dbus")]
fn notification(opened: &Opened, ssid: &Ssid) -> (String, String) {
    let link = opened.message.link.as_ref().map(|link| format!(" {}", link.as_str())).unwrap_or_default();
    let body = format!("{}{link}", opened.message.text.as_str());
    (format!("{ssid}: message of the {}", opened.author.word()), body)
}

fn variables(opened: &Opened, ssid: &Ssid) -> Variables {
    let mut variables = vec![
        ("WAYLEAVE_MESSAGE_ID", opened.message.id.to_string()),
        ("WAYLEAVE_MESSAGE_AUTHOR", opened.author.word().to_owned()),
        ("WAYLEAVE_MESSAGE_NETWORK", ssid.to_string()),
        ("WAYLEAVE_MESSAGE_TEXT", opened.message.text.as_str().to_owned()),
        ("WAYLEAVE_MESSAGE_SECONDS", (opened.valid.0 / 1000).to_string()),
    ];
    if let Some(link) = &opened.message.link {
        variables.push(("WAYLEAVE_MESSAGE_LINK", link.as_str().to_owned()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Link, Message, MessageText};

    #[test]
    fn a_message_is_one_line_whatever_the_network_is_called() {
        let text = MessageText::new("Closed at 5 pm").unwrap();
        let link = Some(Link::new("https://a.example/").unwrap());
        let message = Message { id: MessageId([1; 16]), to: Audience::Everybody, link, text };
        let opened = Opened { message, author: Author::Owner, valid: Millis(7_200_000) };
        let ssid = Ssid::new(b"a\n\x1b[2J".as_slice()).unwrap();
        assert_eq!(
            line(&opened, &ssid),
            "message (owner, a\\u{a}\\u{1b}[2J): Closed at 5 pm https://a.example/"
        );
        let variables = variables(&opened, &ssid);
        assert!(variables.contains(&("WAYLEAVE_MESSAGE_SECONDS", "7200".to_owned())));
        assert!(variables.iter().all(|(_, value)| !value.contains(['\n', '\0', '\u{1b}'])), "{variables:?}");
    }
}
