//! Messages on the terminal: each is shown once, whoever brings it and however often.
//!
//! ```text
//!             Arrived, not seen            kept, shown, acknowledged
//!  (unknown) -----------------------------------------------------> seen ---+ Arrived: acknowledged again
//!      |                                       ^                      ^-----+
//!      +-- more than anybody reads: waiting ---+ there is room again
//!             |  its time is over, or access is: left with its sender, who offers it again when we are here next
//! ```
//!
//! What was seen is kept before it is shown: a loss of power between the two costs a message, never shows one twice.
//! Held by `each_is_shown_once_and_acknowledged_every_time` and `of_a_flood_some_wait_and_none_is_lost`.

use std::collections::{BTreeSet, VecDeque};
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

/// Messages that wait for room; what comes on top of them is left with its sender.
const MOST_WAITING: usize = 128;

/// Who brings a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    waiting: VecDeque<Waiting>,
    bucket: BootTime,
    /// When there is room for the first that waits.
    room_at: BootTime,
    actions: VecDeque<Action>,
}

/// A message that there was no room for yet.
#[derive(Clone, Debug)]
struct Waiting {
    opened: Opened,
    /// Who is to be told that it is here.
    bearers: BTreeSet<Bearer>,
    /// When its time is over.
    until: BootTime,
}

impl Inbox {
    /// With what was seen before, oldest first.
    pub fn new(seen: Vec<Seen>) -> Self {
        let mut inbox = Self {
            seen: seen.into(),
            waiting: VecDeque::new(),
            bucket: BootTime::default(),
            room_at: BootTime::default(),
            actions: VecDeque::new(),
        };
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
        if self.seen.contains(&name) {
            self.actions.push_back(Action::Acknowledge(bearer, id));
        } else if let Some(known) = self.waiting.iter_mut().find(|waiting| waiting.name() == name) {
            known.bearers.insert(bearer);
        } else if self.waiting.len() < MOST_WAITING {
            let until = now + opened.valid.into();
            self.waiting.push_back(Waiting { opened, bearers: [bearer].into(), until });
        }
        self.handle_timeout(now);
    }

    /// Access is over: what waits was for people there.
    pub fn left(&mut self) {
        self.waiting.clear();
    }

    /// When [`Inbox::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.waiting.front().map(|_| self.room_at)
    }

    /// Shows what there is room for.
    pub fn handle_timeout(&mut self, now: BootTime) {
        self.waiting.retain(|waiting| waiting.until > now);
        while let Some(Waiting { opened, bearers, until }) = self.waiting.pop_front() {
            if let Err(wait) = charge(&mut self.bucket, INTERVAL, BURST, now) {
                self.room_at = now + wait;
                return self.waiting.push_front(Waiting { opened, bearers, until });
            }
            let id = opened.message.id;
            self.seen.push_back((opened.author, id));
            self.forget();
            let valid = until.since(now).into();
            self.actions.push_back(Action::Keep);
            self.actions.push_back(Action::Show(Opened { valid, ..opened }));
            self.actions.extend(bearers.into_iter().map(|bearer| Action::Acknowledge(bearer, id)));
        }
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

impl Waiting {
    fn name(&self) -> Seen {
        (self.opened.author, self.opened.message.id)
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
        Opened { message, author: Author::Owner, valid: Millis(24 * 3600 * 1000) }
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
    fn of_a_flood_some_wait_and_none_is_lost() {
        let mut inbox = Inbox::new(vec![]);
        let begin = BootTime(0) + Duration::from_secs(3600);
        for id in 0..100 {
            inbox.arrived(opened(id), Bearer::Gateway, begin);
        }
        assert_eq!(actions(&mut inbox).len(), 3 * BURST as usize);
        // The other way it comes by is told as well, and nothing is shown twice for it.
        inbox.arrived(opened(16), Bearer::Coordinator, begin);
        assert_eq!(actions(&mut inbox), []);
        let (mut now, mut shown) = (begin, Vec::new());
        while let Some(due) = inbox.poll_timeout() {
            assert!(due > now, "it says when");
            now = due;
            inbox.handle_timeout(now);
            let actions = actions(&mut inbox);
            let [Action::Keep, Action::Show(opened), acknowledged @ ..] = &actions[..] else {
                panic!("{actions:?}")
            };
            shown.push(opened.message.id);
            assert_eq!(opened.valid, Millis::from(Duration::from_secs(24 * 3600) - now.since(begin)));
            let bearers = if shown.len() == 1 { 2 } else { 1 };
            assert_eq!(acknowledged.len(), bearers);
        }
        assert_eq!(shown, (16..100).map(|id| opened(id).message.id).collect::<Vec<_>>());
        assert_eq!(now, begin + INTERVAL * 84);
    }

    #[test]
    fn what_waits_ends_with_its_time_and_with_access_and_is_bounded() {
        let mut inbox = Inbox::new(vec![]);
        let now = BootTime(0) + Duration::from_secs(3600);
        for id in 0..BURST as u16 {
            inbox.arrived(opened(id), Bearer::Gateway, now);
        }
        inbox.arrived(Opened { valid: Millis(59_000), ..opened(500) }, Bearer::Gateway, now);
        inbox.arrived(opened(501), Bearer::Gateway, now);
        actions(&mut inbox);
        inbox.handle_timeout(now + INTERVAL);
        assert!(matches!(&actions(&mut inbox)[1], Action::Show(shown) if shown.message.id == name(501).1));
        for id in 1000..2000 {
            inbox.arrived(opened(id), Bearer::Gateway, now + INTERVAL);
        }
        assert_eq!((actions(&mut inbox), inbox.waiting.len()), (vec![], MOST_WAITING));
        inbox.left();
        assert_eq!(inbox.poll_timeout(), None);
        inbox.arrived(opened(1000), Bearer::Gateway, now + INTERVAL * 2);
        assert_eq!(actions(&mut inbox).len(), 3, "it is offered again");
    }

    #[test]
    fn memory_is_bounded_and_loses_the_oldest() {
        let mut inbox = Inbox::new((0..MOST_SEEN as u16).map(name).collect());
        inbox.arrived(opened(9999), Bearer::Gateway, BootTime(1));
        assert_eq!(inbox.seen().count(), MOST_SEEN);
        assert_eq!(inbox.seen().next(), Some(name(1)));
    }
}
