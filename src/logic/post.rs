//! Messages on the sending side: what waits for whom, when it is offered, when it is over.
//!
//! ```text
//!           Push                 its terminal is Here, `delay` later          Taken by that terminal
//!  (none) --------> waiting ---------------------------------------> offered ------------------------> taken
//!                      ^                                                |
//!                      +------------- the terminal is Gone -------------+
//!
//!  a message for one terminal is over once that one has taken it; every message when its time is over, or Withdrawn
//! ```
//!
//! A gateway and a coordinator keep the same book. The gateway offers at once; the coordinator offers what the gateway
//! did not deliver within a delay. A terminal is here in one or more audiences ([`Audience`]).
//!
//! Held by `every_short_history`:
//! 1. nothing is offered to a terminal that has taken it, that is not here, or for whom it is not;
//! 2. it is offered once for each stay of the terminal;
//! 3. what waits for a terminal that has been here for `delay` has been offered;
//! 4. each terminal's taking is told once, and so is the end of a message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::model::{Audience, Author, BootTime, Message, MessageId, Millis, PublicKey, Refusal};
use crate::wire::local::MessageRow;
use crate::wire::push::SignedMessage;

/// Terminals of which it is remembered that they have a message. What is forgotten is offered again, and shown to
/// nobody twice: terminals remember too.
const MOST_TAKEN: usize = 1024;

/// For how long a message is told if nobody says otherwise, and at most.
const VALID: Duration = Duration::from_secs(24 * 3600);
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// There is something to tell. [`Post::check`] it before; one that is known already is left as it is.
    Push(Entry),
    /// It is to be told no more.
    Withdraw(MessageId),
    /// A terminal can be told, as one of these.
    Here(PublicKey, Audience),
    /// It is not one of these any more.
    Left(PublicKey, Audience),
    /// It cannot be told anything any more.
    Gone(PublicKey),
    /// A terminal has a message.
    Taken(PublicKey, MessageId),
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hand the message to this terminal.
    Offer(PublicKey, MessageId),
    /// This terminal has it; who said it.
    Taken(PublicKey, MessageId, Author),
    /// It is over for everybody; who said it.
    Over(MessageId, Author),
}

/// A message that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What, and to whom.
    pub message: Message,
    /// Who says it.
    pub author: Author,
    /// As its coordinator signed it, for a gateway to hand on.
    pub signed: Option<SignedMessage>,
    /// Told until then.
    pub until: BootTime,
    /// Who has it already.
    pub taken: BTreeSet<PublicKey>,
}

impl Entry {
    /// As its owner is shown it.
    pub fn row(&self, now: BootTime) -> MessageRow {
        MessageRow {
            id: self.message.id,
            to: self.message.to.clone(),
            author: self.author,
            text: self.message.text.clone(),
            link: self.message.link.clone(),
            left: self.until.since(now).into(),
            taken: u32::try_from(self.taken.len()).unwrap_or(u32::MAX),
        }
    }
}

#[derive(Debug, Default)]
struct Stay {
    audiences: BTreeSet<Audience>,
    /// Offered at this time, or to be offered then.
    planned: BTreeMap<MessageId, BootTime>,
}

/// See the module.
#[derive(Debug)]
pub struct Post {
    delay: Duration,
    most: usize,
    most_for_one: usize,
    entries: BTreeMap<MessageId, Entry>,
    ends: BTreeSet<(BootTime, MessageId)>,
    by_audience: BTreeMap<Audience, BTreeSet<MessageId>>,
    stays: BTreeMap<PublicKey, Stay>,
    listeners: BTreeMap<Audience, BTreeSet<PublicKey>>,
    due: BTreeSet<(BootTime, PublicKey, MessageId)>,
    actions: VecDeque<Action>,
}

/// For how long a message is told.
pub fn valid(asked: Option<Millis>) -> Result<Duration, Refusal> {
    let valid = asked.map_or(VALID, Duration::from);
    if (Duration::from_millis(1)..=LONGEST).contains(&valid) {
        return Ok(valid);
    }
    let sentence = format!("a message is told for 1 ms to 30 days, not for {} ms", valid.as_millis());
    Err(Refusal::new("bad-time", sentence))
}

impl Post {
    /// Offers `delay` after a terminal is here, or after the push if that is later. Keeps `most` messages, and
    /// `most_for_one` for one audience.
    pub fn new(delay: Duration, most: usize, most_for_one: usize) -> Self {
        Self {
            delay,
            most,
            most_for_one,
            entries: BTreeMap::new(),
            ends: BTreeSet::new(),
            by_audience: BTreeMap::new(),
            stays: BTreeMap::new(),
            listeners: BTreeMap::new(),
            due: BTreeSet::new(),
            actions: VecDeque::new(),
        }
    }

    /// Whether there is room for another message for these.
    pub fn check(&self, to: &Audience) -> Result<(), Refusal> {
        let for_them = self.by_audience.get(to).map_or(0, BTreeSet::len);
        let (count, most, whom) = match self.entries.len() < self.most {
            true => (for_them, self.most_for_one, format!(" for {to}")),
            false => (self.entries.len(), self.most, String::new()),
        };
        if count < most {
            return Ok(());
        }
        let sentence = format!("{count} messages wait{whom}, and {most} are the most; withdraw one first");
        Err(Refusal::new("too-many-messages", sentence))
    }

    /// Takes in what happened.
    pub fn handle_input(&mut self, input: Input, now: BootTime) {
        match input {
            Input::Push(entry) => self.push(entry, now),
            Input::Withdraw(message) => self.end(message),
            Input::Here(terminal, audience) => {
                let stay = self.stays.entry(terminal).or_default();
                if stay.audiences.insert(audience.clone()) {
                    let waiting = self.by_audience.get(&audience).cloned().unwrap_or_default();
                    self.listeners.entry(audience).or_default().insert(terminal);
                    waiting.into_iter().for_each(|message| self.plan(terminal, message, now));
                }
            }
            Input::Left(terminal, audience) => self.left(terminal, &audience),
            Input::Gone(terminal) => {
                let stay = self.stays.get(&terminal).map(|stay| stay.audiences.clone()).unwrap_or_default();
                stay.iter().for_each(|audience| self.left(terminal, audience));
            }
            Input::Taken(terminal, message) => self.taken(terminal, message),
        }
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: BootTime) {
        while let Some((until, message)) = self.ends.first().copied()
            && until <= now
        {
            self.end(message);
        }
        while let Some((at, terminal, message)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            self.actions.push_back(Action::Offer(terminal, message));
        }
    }

    /// When [`Post::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        let end = self.ends.first().map(|(at, _)| *at);
        let due = self.due.first().map(|(at, ..)| *at);
        [end, due].into_iter().flatten().min()
    }

    /// The next thing to do, oldest first.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A message that is not over.
    pub fn get(&self, message: &MessageId) -> Option<&Entry> {
        self.entries.get(message)
    }

    /// All that are not over.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Those for one audience.
    pub fn for_audience(&self, audience: &Audience) -> impl Iterator<Item = &Entry> {
        let found = self.by_audience.get(audience).into_iter().flatten();
        found.filter_map(|message| self.entries.get(message))
    }

    fn push(&mut self, entry: Entry, now: BootTime) {
        let (id, to) = (entry.message.id, entry.message.to.clone());
        if entry.until <= now || self.entries.contains_key(&id) || self.check(&to).is_err() {
            return;
        }
        self.ends.insert((entry.until, id));
        self.by_audience.entry(to.clone()).or_default().insert(id);
        self.entries.insert(id, entry);
        let listeners = self.listeners.get(&to).cloned().unwrap_or_default();
        listeners.into_iter().for_each(|terminal| self.plan(terminal, id, now));
    }

    fn plan(&mut self, terminal: PublicKey, message: MessageId, now: BootTime) {
        let Some(stay) = self.stays.get_mut(&terminal) else { return };
        let taken = self.entries.get(&message).is_none_or(|entry| entry.taken.contains(&terminal));
        if !taken && !stay.planned.contains_key(&message) {
            let at = now + self.delay;
            stay.planned.insert(message, at);
            self.due.insert((at, terminal, message));
        }
    }

    fn left(&mut self, terminal: PublicKey, audience: &Audience) {
        let Some(stay) = self.stays.get_mut(&terminal) else { return };
        if !stay.audiences.remove(audience) {
            return;
        }
        for message in self.by_audience.get(audience).into_iter().flatten() {
            if let Some(at) = stay.planned.remove(message) {
                self.due.remove(&(at, terminal, *message));
            }
        }
        if stay.audiences.is_empty() {
            self.stays.remove(&terminal);
        }
        if let Some(listeners) = self.listeners.get_mut(audience) {
            listeners.remove(&terminal);
            if listeners.is_empty() {
                self.listeners.remove(audience);
            }
        }
    }

    fn taken(&mut self, terminal: PublicKey, message: MessageId) {
        let Some(entry) = self.entries.get_mut(&message) else { return };
        if !entry.taken.insert(terminal) {
            return;
        }
        if entry.taken.len() > MOST_TAKEN {
            let other = entry.taken.iter().find(|other| **other != terminal).copied();
            other.map(|other| entry.taken.remove(&other));
        }
        let is_one = entry.message.to.is_one();
        self.actions.push_back(Action::Taken(terminal, message, entry.author));
        if let Some(at) = self.stays.get(&terminal).and_then(|stay| stay.planned.get(&message)) {
            self.due.remove(&(*at, terminal, message));
        }
        if is_one {
            self.end(message);
        }
    }

    fn end(&mut self, message: MessageId) {
        let Some(entry) = self.entries.remove(&message) else { return };
        self.ends.remove(&(entry.until, message));
        if let Some(others) = self.by_audience.get_mut(&entry.message.to) {
            others.remove(&message);
            if others.is_empty() {
                self.by_audience.remove(&entry.message.to);
            }
        }
        for terminal in self.listeners.get(&entry.message.to).into_iter().flatten() {
            let stay = self.stays.get_mut(terminal);
            if let Some(at) = stay.and_then(|stay| stay.planned.remove(&message)) {
                self.due.remove(&(at, *terminal, message));
            }
        }
        self.actions.push_back(Action::Over(message, entry.author));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GrantId, MessageText, SessionId, Ssid};

    const DELAY: Duration = Duration::from_secs(5);
    const TERMINALS: [PublicKey; 2] = [PublicKey([1; 32]), PublicKey([2; 32])];
    const GRANT: Audience = Audience::Grant(GrantId([7; 16]));

    fn entry(id: u8, to: Audience, until: BootTime) -> Entry {
        let text = MessageText::new("text").unwrap();
        let message = Message { id: MessageId([id; 16]), to, link: None, text };
        Entry { message, author: Author::Owner, signed: None, until, taken: BTreeSet::new() }
    }

    fn at(seconds: u64) -> BootTime {
        BootTime(0) + Duration::from_secs(seconds)
    }

    fn actions(post: &mut Post) -> Vec<Action> {
        std::iter::from_fn(|| post.poll_action()).collect()
    }

    /// What a step of a history is: an input, or time that passes.
    fn steps() -> Vec<Option<Input>> {
        let [one, other] = TERMINALS;
        let mut steps = vec![
            None,
            Some(Input::Push(entry(1, GRANT, at(30)))),
            Some(Input::Push(entry(2, Audience::Everybody, at(12)))),
            Some(Input::Withdraw(MessageId([1; 16]))),
            Some(Input::Here(one, GRANT)),
            Some(Input::Here(one, Audience::Everybody)),
            Some(Input::Here(other, Audience::Everybody)),
            Some(Input::Left(one, GRANT)),
            Some(Input::Gone(one)),
        ];
        steps.extend([1, 2].map(|id| Some(Input::Taken(one, MessageId([id; 16])))));
        steps
    }

    #[test]
    fn every_short_history() {
        for delay in [Duration::ZERO, DELAY] {
            let mut history = Vec::new();
            explore(delay, &mut history, 5);
        }
    }

    fn explore(delay: Duration, history: &mut Vec<usize>, depth: usize) {
        run(delay, history);
        if depth > 0 {
            for step in 0..steps().len() {
                history.push(step);
                explore(delay, history, depth - 1);
                history.pop();
            }
        }
    }

    /// A second, plain book keeps the rules; the machine must agree with it.
    fn run(delay: Duration, history: &[usize]) {
        let all = steps();
        let mut post = Post::new(delay, 10, 10);
        let mut now = at(1);
        let mut known: BTreeMap<MessageId, Audience> = BTreeMap::new();
        let mut here: BTreeMap<PublicKey, BTreeMap<Audience, BootTime>> = BTreeMap::new();
        let mut offered: BTreeSet<(PublicKey, MessageId)> = BTreeSet::new();
        let mut taken: BTreeSet<(PublicKey, MessageId)> = BTreeSet::new();
        let mut over = BTreeSet::new();
        for step in history {
            match &all[*step] {
                None => {
                    now = now + DELAY;
                    post.handle_timeout(now);
                }
                Some(input) => {
                    match input {
                        Input::Push(entry) if entry.until > now => {
                            known.insert(entry.message.id, entry.message.to.clone());
                            // Made again under the same name only here.
                            over.remove(&entry.message.id);
                            if post.get(&entry.message.id).is_none() {
                                taken.retain(|(_, message)| *message != entry.message.id);
                                offered.retain(|(_, message)| *message != entry.message.id);
                            }
                        }
                        Input::Here(terminal, audience) => {
                            here.entry(*terminal).or_default().entry(audience.clone()).or_insert(now);
                        }
                        Input::Left(terminal, audience) => {
                            here.entry(*terminal).or_default().remove(audience);
                            offered
                                .retain(|(whose, message)| whose != terminal || known[message] != *audience);
                        }
                        Input::Gone(terminal) => {
                            here.remove(terminal);
                            offered.retain(|(whose, _)| whose != terminal);
                        }
                        _ => {}
                    }
                    post.handle_input(input.clone(), now);
                }
            }
            for action in actions(&mut post) {
                let context = || format!("{history:?} with {delay:?}: {action:?}");
                match action {
                    Action::Offer(terminal, message) => {
                        assert!(!taken.contains(&(terminal, message)), "{}", context());
                        assert!(!over.contains(&message), "{}", context());
                        assert!(here[&terminal].contains_key(&known[&message]), "{}", context());
                        assert!(offered.insert((terminal, message)), "{}", context());
                    }
                    Action::Taken(terminal, message, _) => {
                        assert!(taken.insert((terminal, message)), "{}", context());
                    }
                    Action::Over(message, _) => assert!(over.insert(message), "{}", context()),
                }
            }
            for entry in post.entries() {
                assert!(entry.until > now && !over.contains(&entry.message.id), "{history:?}");
                for (terminal, audiences) in &here {
                    let pair = (*terminal, entry.message.id);
                    let waited = audiences.get(&entry.message.to).is_some_and(|since| *since + delay <= now);
                    if delay.is_zero() && waited && !taken.contains(&pair) {
                        assert!(offered.contains(&pair), "{history:?}: {pair:?} was not offered");
                    }
                }
            }
            assert!(post.poll_timeout().is_none_or(|due| due > now), "{history:?}");
        }
    }

    #[test]
    fn what_was_not_taken_within_the_delay_is_offered() {
        let mut post = Post::new(DELAY, 10, 10);
        let to = Audience::Session(SessionId([3; 16]));
        post.handle_input(Input::Here(TERMINALS[0], to.clone()), at(1));
        post.handle_input(Input::Push(entry(1, to.clone(), at(100))), at(10));
        post.handle_input(Input::Push(entry(2, to, at(100))), at(11));
        assert_eq!((actions(&mut post), post.poll_timeout()), (vec![], Some(at(15))));
        // The gateway was quicker with the first.
        let (first, second) = (MessageId([1; 16]), MessageId([2; 16]));
        post.handle_input(Input::Taken(TERMINALS[0], first), at(12));
        post.handle_timeout(at(16));
        assert_eq!(
            actions(&mut post),
            [
                Action::Taken(TERMINALS[0], first, Author::Owner),
                Action::Over(first, Author::Owner),
                Action::Offer(TERMINALS[0], second)
            ]
        );
        assert_eq!(post.poll_timeout(), Some(at(100)));
    }

    #[test]
    fn one_too_many_is_refused_with_the_number() {
        let mut post = Post::new(Duration::ZERO, 3, 2);
        let network = |name: &str| Audience::Network(Ssid::new(name).unwrap());
        for id in 1..=2 {
            post.check(&network("a")).unwrap();
            post.handle_input(Input::Push(entry(id, network("a"), at(9))), at(1));
        }
        let refusal = post.check(&network("a")).unwrap_err();
        assert_eq!(refusal.word, "too-many-messages");
        assert!(refusal.sentence.starts_with("2 messages wait for network a, and 2 are"), "{refusal}");
        post.handle_input(Input::Push(entry(3, network("a"), at(9))), at(1));
        assert_eq!(post.entries().count(), 2, "and is not kept");
        post.handle_input(Input::Push(entry(4, network("b"), at(9))), at(1));
        assert!(post.check(&network("c")).unwrap_err().sentence.starts_with("3 messages wait, and 3"));
        post.handle_timeout(at(9));
        assert_eq!((post.check(&network("a")), post.entries().count()), (Ok(()), 0));
    }
}
