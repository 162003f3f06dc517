//! Messages on the terminal: each is shown once, whoever brings it and however often.
//!
//! ```text
//!             Arrived, not seen            kept, shown, acknowledged
//!  (unknown) -----------------------------------------------------> seen ---+ Arrived: acknowledged again
//!      |                                                              ^-----+
//!      +-- more than anybody reads: left with its sender, who offers it again when we are here next
//! ```
//!
//! What was seen is kept before it is shown: a loss of power between the two costs a message, never shows one twice.
//! Held by `each_is_shown_once_and_acknowledged_every_time` and `a_flood_is_left_with_its_sender`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Author, BootTime, MessageId};
use crate::wire::push::Opened;

use super::limit::charge;

/// Messages that are remembered; the oldest are forgotten first.
pub const MOST_SEEN: usize = 512;

/// Shown at once, and then one in each [`INTERVAL`].
const BURST: u32 = 16;
/// See [`BURST`].
const INTERVAL: Duration = Duration::from_secs(60);

/// Who brings a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// The gateway, on its own channel.
    Gateway,
    /// The coordinator, on its link.
    Coordinator,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Keep what was seen.
    Keep,
    /// Show it to the person.
    Show(Opened),
    /// Tell the bearer that it is here.
    Acknowledge(Bearer, MessageId),
}

/// A message by its name and by who says it: under one name a gateway cannot take the place of the coordinator's.
pub type Seen = (Author, MessageId);

/// What was seen.
#[derive(Clone, Debug)]
pub struct Inbox {
    seen: VecDeque<Seen>,
    bucket: BootTime,
    actions: VecDeque<Action>,
}

impl Inbox {
    /// With what was seen before, oldest first.
    pub fn new(seen: Vec<Seen>) -> Self {
        let mut inbox = Self { seen: seen.into(), bucket: BootTime::default(), actions: VecDeque::new() };
        inbox.forget();
        inbox
    }

    /// What was seen, oldest first.
    pub fn seen(&self) -> impl Iterator<Item = Seen> {
        self.seen.iter().copied()
    }

    /// A message is here; it is known to be what it says.
    pub fn arrived(&mut self, opened: Opened, bearer: Bearer, now: BootTime) {
        let id = opened.message.id;
        let name = (opened.author, id);
        if !self.seen.contains(&name) {
            if charge(&mut self.bucket, INTERVAL, BURST, now).is_err() {
                return;
            }
            self.seen.push_back(name);
            self.forget();
            self.actions.push_back(Action::Keep);
            self.actions.push_back(Action::Show(opened));
        }
        self.actions.push_back(Action::Acknowledge(bearer, id));
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn forget(&mut self) {
        while self.seen.len() > MOST_SEEN {
            self.seen.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Audience, Message, MessageText, Millis};

    fn opened(id: u16) -> Opened {
        let [high, low] = id.to_be_bytes();
        let mut octets = [0; 16];
        (octets[0], octets[1]) = (high, low);
        let text = MessageText::new("text").unwrap();
        let message = Message { id: MessageId(octets), to: Audience::Everybody, link: None, text };
        Opened { message, author: Author::Owner, valid: Millis(1) }
    }

    fn name(id: u16) -> Seen {
        (Author::Owner, opened(id).message.id)
    }

    fn actions(inbox: &mut Inbox) -> Vec<Action> {
        std::iter::from_fn(|| inbox.poll_action()).collect()
    }

    /// Every order in which two messages come from two bearers, up to six arrivals, with a restart after each.
    #[test]
    fn each_is_shown_once_and_acknowledged_every_time() {
        let arrivals =
            [(1, Bearer::Gateway), (1, Bearer::Coordinator), (2, Bearer::Gateway), (2, Bearer::Coordinator)];
        for history in 0..4_usize.pow(6) {
            let mut inbox = Inbox::new(vec![]);
            let mut shown = Vec::new();
            for step in 0..6 {
                let (id, bearer) = arrivals[history / 4_usize.pow(step) % 4];
                inbox.arrived(opened(id), bearer, BootTime(1));
                let actions = actions(&mut inbox);
                let id = opened(id).message.id;
                assert_eq!(actions.last(), Some(&Action::Acknowledge(bearer, id)), "{history}");
                if let [Action::Keep, Action::Show(opened), _] = &actions[..] {
                    assert!(!shown.contains(&opened.message.id), "{history}: shown again");
                    shown.push(opened.message.id);
                } else {
                    assert_eq!(actions.len(), 1, "{history}");
                }
                assert!(shown.contains(&id), "{history}: never shown");
                inbox = Inbox::new(inbox.seen().collect());
            }
        }
    }

    #[test]
    fn a_name_that_a_gateway_has_taken_still_names_a_message_of_the_coordinator() {
        let mut inbox = Inbox::new(vec![name(1)]);
        let genuine = Opened { author: Author::Coordinator, ..opened(1) };
        inbox.arrived(genuine.clone(), Bearer::Coordinator, BootTime(1));
        assert_eq!(actions(&mut inbox)[1], Action::Show(genuine));
    }

    #[test]
    fn a_flood_is_left_with_its_sender() {
        let mut inbox = Inbox::new(vec![]);
        let now = BootTime(0) + Duration::from_secs(3600);
        for id in 0..100 {
            inbox.arrived(opened(id), Bearer::Gateway, now);
        }
        assert_eq!(actions(&mut inbox).len(), 3 * BURST as usize);
        inbox.arrived(opened(99), Bearer::Gateway, now + INTERVAL);
        assert_eq!(actions(&mut inbox).len(), 3, "later there is room again");
    }

    #[test]
    fn memory_is_bounded_and_loses_the_oldest() {
        let mut inbox = Inbox::new((0..MOST_SEEN as u16).map(name).collect());
        inbox.arrived(opened(9999), Bearer::Gateway, BootTime(1));
        assert_eq!(inbox.seen().count(), MOST_SEEN);
        assert_eq!(inbox.seen().next(), Some(name(1)));
    }
}
