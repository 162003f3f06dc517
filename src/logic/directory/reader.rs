//! Keeps the terminal's directories fresh: asks for what changed, part by part.
//!
//! ```text
//!            due, link up                       last part: taken in
//!  Resting ----------------> Asking(region, n) ---------------------> the next region, or Resting
//!     ^                        |  ^     | part n: ask for n + 1
//!     |                        |  +-----+ another version: from part 0, so often at most
//!     |                        +--> late, refused, does not fit: the next region, and again sooner
//!     +------------------------+ link down
//! ```
//!
//! What does not fit is forgotten and asked for whole, once. Invariants (`every_short_history`): one question at a
//! time; nothing is asked without a link; what is held changes only by a whole answer; a wait ends. One region that
//! cannot be read keeps none of the others (`a_region_that_fails_holds_up_no_other`).

use std::collections::VecDeque;
use std::time::Duration;

use super::Book;
use crate::model::{BootTime, DirectoryVersion, Refusal, Region};
use crate::wire::directory::{DirectoryPart, MOST_PARTS, SignedDirectory};

/// From one part to the next: a coordinator cuts off who says more than ten things a second.
const PACE: Duration = Duration::from_millis(125);
/// For an answer.
const ANSWER: Duration = Duration::from_secs(20);
/// From one look to the next.
const FRESH: Duration = Duration::from_secs(3600);
/// After one that failed.
const AGAIN: Duration = Duration::from_secs(120);
/// The directory may change so often while it is being read.
const CHANGES: u8 = 4;
/// So many follow one another before a region is read whole: what is kept is not to grow without end.
const DIFFERENCES: u16 = 200;
/// How far a coordinator's calendar may be ahead of ours, in seconds.
const AHEAD: u64 = 24 * 3600;

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A link to the coordinator stands.
    LinkUp,
    /// It is gone.
    LinkDown,
    /// A part came, signed by the coordinator.
    Part {
        /// Of the question.
        request: u64,
        /// What it says.
        part: Box<DirectoryPart>,
        /// As it came.
        signed: SignedDirectory,
        /// Seconds since 1970, where this machine knows.
        calendar: Option<u64>,
    },
    /// Something came that counts for nothing.
    Bad {
        /// Of the question.
        request: u64,
        /// What is wrong with it.
        why: Refusal,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the coordinator.
    Ask {
        /// For which region.
        region: Region,
        /// What is held.
        have: Option<DirectoryVersion>,
        /// Which part.
        part: u16,
        /// Comes back in the answer.
        request: u64,
    },
    /// An answer was taken in: keep it.
    Keep {
        /// Of which region.
        region: Region,
        /// Whether it replaces what was kept; otherwise it follows it.
        whole: bool,
        /// All of its parts.
        parts: Vec<SignedDirectory>,
    },
    /// Tell the person.
    Tell(Refusal),
}

#[derive(Clone, Debug)]
enum State {
    Resting {
        until: BootTime,
    },
    Asking {
        /// Which of the regions.
        at: usize,
        request: u64,
        /// The question is asked then, or was asked: `None`.
        ask_at: Option<BootTime>,
        until: BootTime,
        parts: Vec<DirectoryPart>,
        signed: Vec<SignedDirectory>,
        changes: u8,
        /// Whatever is held.
        whole: bool,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Reader {
    regions: Vec<Region>,
    book: Book,
    linked: bool,
    state: State,
    request: u64,
    /// A region could not be read in this round.
    failed: bool,
    actions: VecDeque<Action>,
}

impl Reader {
    /// For these regions, with what was kept of them.
    pub fn new(regions: Vec<Region>, book: Book) -> Self {
        let state = State::Resting { until: BootTime::default() };
        Self { regions, book, linked: false, state, request: 1, failed: false, actions: VecDeque::new() }
    }

    /// What is held.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Reader::handle_timeout`] is due; `None`: not before something happens.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        match &self.state {
            State::Resting { until } => (self.linked && !self.regions.is_empty()).then_some(*until),
            State::Asking { ask_at, until, .. } => Some(ask_at.unwrap_or(*until)),
        }
    }

    /// Takes in one fact.
    pub fn handle_input(&mut self, input: Input, now: BootTime) {
        match input {
            Input::LinkUp => {
                self.linked = true;
                // An answer on its way went with the old link.
                self.rest(now, Duration::ZERO, true);
                self.handle_timeout(now);
            }
            Input::LinkDown => {
                self.linked = false;
                self.rest(now, Duration::ZERO, true);
            }
            Input::Part { request, part, signed, calendar } => {
                self.part(request, (*part, signed), calendar, now);
            }
            Input::Bad { request, why } => {
                if self.is_asked(request) {
                    self.fail(why, now);
                }
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: BootTime) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match &self.state {
            State::Resting { .. } => self.ask_first(0, false, now),
            State::Asking { ask_at: Some(_), .. } => self.ask(now),
            State::Asking { at, ask_at: None, .. } => {
                let sentence = format!("the coordinator sent no directory of {} in time", self.regions[*at]);
                self.fail(Refusal::new("no-directory", sentence), now);
            }
        }
    }

    /// `asking`: only if a question is open.
    fn rest(&mut self, now: BootTime, wait: Duration, asking: bool) {
        if !asking || matches!(self.state, State::Asking { .. }) {
            self.state = State::Resting { until: now + wait };
        }
    }

    fn is_asked(&self, answered: u64) -> bool {
        matches!(self.state, State::Asking { request, ask_at: None, .. } if request == answered)
    }

    fn fail(&mut self, why: Refusal, now: BootTime) {
        self.actions.push_back(Action::Tell(why));
        self.failed = true;
        if let State::Asking { at, .. } = self.state {
            self.ask_first(at + 1, false, now);
        }
    }

    /// Part 0 of a region; `whole`: whatever is held of it.
    fn ask_first(&mut self, at: usize, whole: bool, now: BootTime) {
        if at >= self.regions.len() {
            let wait = if std::mem::take(&mut self.failed) { AGAIN } else { FRESH };
            return self.rest(now, wait, false);
        }
        let (request, parts, signed) = (self.request, Vec::new(), Vec::new());
        self.state =
            State::Asking { at, request, ask_at: None, until: now, parts, signed, changes: 0, whole };
        self.ask(now);
    }

    fn ask(&mut self, now: BootTime) {
        let State::Asking { at, request, ask_at, until, parts, whole, .. } = &mut self.state else { return };
        (*request, *ask_at, *until) = (self.request, None, now + ANSWER);
        self.request += 1;
        let region = self.regions[*at].clone();
        *whole |= self.book.differences(&region) >= DIFFERENCES;
        let have = self.book.version(&region).filter(|_| !*whole);
        // A directory has fewer than fit into the number.
        let part = u16::try_from(parts.len()).unwrap_or(MOST_PARTS);
        self.actions.push_back(Action::Ask { region, have, part, request: *request });
    }

    fn part(
        &mut self,
        answered: u64,
        (part, as_it_came): (DirectoryPart, SignedDirectory),
        calendar: Option<u64>,
        now: BootTime,
    ) {
        let State::Asking { at, request, ask_at, parts, signed, changes, whole, .. } = &mut self.state else {
            return;
        };
        if *request != answered || ask_at.is_some() {
            return;
        }
        let region = &self.regions[*at];
        let sentence = if part.region != *region {
            Some(format!("asked for the directory of {region}, the coordinator sent that of {}", part.region))
        } else if part.parts > MOST_PARTS || part.part >= part.parts {
            Some(format!("part {} of {} of the directory of {region}", part.part, part.parts))
        } else if let Some(today) = calendar.filter(|today| part.made > today + AHEAD) {
            Some(format!(
                "the directory of {region} is from the future: {} s ahead of this machine",
                part.made - today
            ))
        } else {
            None
        };
        if let Some(sentence) = sentence {
            return self.fail(Refusal::new("bad-directory", sentence), now);
        }
        let follows = parts.first().is_none_or(|first| {
            (first.version, first.from, first.parts) == (part.version, part.from, part.parts)
        });
        if !follows || usize::from(part.part) != parts.len() {
            *changes += 1;
            if *changes > CHANGES {
                let sentence = format!("the directory of {region} changes faster than it can be read");
                return self.fail(Refusal::new("no-directory", sentence), now);
            }
            parts.clear();
            signed.clear();
            *ask_at = Some(now + PACE);
            return;
        }
        parts.push(part);
        signed.push(as_it_came);
        if parts.len() < usize::from(parts[0].parts) {
            *ask_at = Some(now + PACE);
            return;
        }
        let (at, whole) = (*at, *whole);
        let (parts, signed) = (std::mem::take(parts), std::mem::take(signed));
        let (region, from) = (region.clone(), parts[0].from);
        match self.book.take_in(&parts) {
            Ok(()) => {
                // Otherwise nothing is new.
                if from != Some(parts[0].version) {
                    self.actions.push_back(Action::Keep { whole: from.is_none(), region, parts: signed });
                }
                self.ask_first(at + 1, false, now);
            }
            Err(why) if whole || from.is_none() => self.fail(why, now),
            // What is held is not what the coordinator thinks it is.
            Err(_) => self.ask_first(at, true, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::directory::Register;
    use crate::model::{Bssid, MacAddr, ServiceId, Signature, Ssid};

    const MINUTE: Duration = Duration::from_secs(60);

    /// A coordinator with one gateway in each of two regions; two parts are its answer, where there is enough for two.
    struct Coordinator {
        register: Register,
        shared: u8,
    }

    impl Coordinator {
        fn new() -> Self {
            let mut coordinator = Self { register: Register::default(), shared: 2 };
            coordinator.change();
            coordinator
        }

        fn change(&mut self) {
            self.shared += 1;
            let ssid = Ssid::new("Corner").unwrap();
            for (gateway, area) in [(0, "one/hall"), (1, "two/hall")] {
                let shared = (0..self.shared).map(|number| Bssid(MacAddr([2, 0, 0, 0, gateway, number])));
                let area = area.parse().unwrap();
                self.register.set(ServiceId([gateway; 16]), Some(&area), shared.map(|bssid| (&ssid, bssid)));
            }
        }

        fn answer(&mut self, asked: &Action) -> Input {
            let Action::Ask { region, have, part, request } = asked else { panic!("{asked:?}") };
            let mut answer = self.register.part(region, *have, 0, 1_000);
            let half = answer.listed.len() / 2;
            answer.parts = if half > 0 { 2 } else { 1 };
            answer.part = if *part < answer.parts { *part } else { 0 };
            match (answer.parts, answer.part) {
                (2, 0) => answer.listed.truncate(half),
                (2, _) => drop(answer.listed.drain(..half)),
                _ => {}
            }
            part_input(*request, answer, None)
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Up,
        Down,
        Answered,
        AnsweredTwice,
        Lost,
        Nonsense,
        Changed,
        Due,
        Minute,
    }

    const STEPS: [Step; 9] = [
        Step::Up,
        Step::Down,
        Step::Answered,
        Step::AnsweredTwice,
        Step::Lost,
        Step::Nonsense,
        Step::Changed,
        Step::Due,
        Step::Minute,
    ];

    #[test]
    fn every_short_history() {
        const LENGTH: u32 = 4;
        for history in 0..(STEPS.len() as u32).pow(LENGTH) {
            let steps = (0..LENGTH).map(|at| STEPS[(history / 9_u32.pow(at) % 9) as usize]);
            try_history(&steps.collect::<Vec<_>>());
        }
    }

    fn try_history(steps: &[Step]) {
        let mut coordinator = Coordinator::new();
        let mut reader = Reader::new(vec!["one".parse().unwrap(), "two".parse().unwrap()], Book::default());
        let (mut now, mut up, mut asked) = (BootTime(1_000_000_000), false, None);
        // After whatever happened a link, answers and time are enough.
        let settle = std::iter::once(Step::Up).chain(std::iter::repeat_n(Step::Due, 20));
        for step in steps.iter().copied().chain(settle) {
            let step = if let (Step::Due, Some(_)) = (step, &asked) { Step::Answered } else { step };
            match step {
                Step::Up => {
                    (up, asked) = (true, None);
                    reader.handle_input(Input::LinkUp, now);
                }
                Step::Down => {
                    (up, asked) = (false, None);
                    reader.handle_input(Input::LinkDown, now);
                }
                Step::Answered | Step::AnsweredTwice => {
                    if let Some(asked) = asked.take() {
                        let answer = coordinator.answer(&asked);
                        reader.handle_input(answer.clone(), now);
                        if let Step::AnsweredTwice = step {
                            reader.handle_input(answer, now);
                        }
                    }
                }
                Step::Lost => asked = None,
                Step::Nonsense => {
                    let why = Refusal::new("forged-directory", "x");
                    let request = asked.as_ref().map_or(1, request_of);
                    reader.handle_input(Input::Bad { request, why }, now);
                }
                Step::Changed => coordinator.change(),
                Step::Due | Step::Minute => {
                    let due = reader.poll_timeout().filter(|_| matches!(step, Step::Due));
                    now = now.max(due.unwrap_or(now + MINUTE));
                    reader.handle_timeout(now);
                }
            }
            let mut questions = 0;
            while let Some(action) = reader.poll_action() {
                if let Action::Ask { .. } = action {
                    assert!(up, "without a link: {steps:?}");
                    questions += 1;
                    asked = Some(action);
                }
            }
            assert!(questions <= 1, "{steps:?}");
            assert_eq!(reader.poll_timeout().is_some(), up || matches!(reader.state, State::Asking { .. }));
        }
        for region in ["one", "two"] {
            let region = region.parse().unwrap();
            let listed = coordinator.register.part(&region, None, 0, 0).version;
            assert_eq!(reader.book.version(&region), Some(listed), "{steps:?}");
        }
    }

    #[test]
    fn what_comes_from_the_future_or_was_not_asked_for_is_refused() {
        let region: Region = "one".parse().unwrap();
        let good = Coordinator::new().register.part(&region, None, 0, 1_000_000);
        let good = DirectoryPart { parts: 2, ..good };
        for (part, calendar, word) in [
            (good.clone(), Some(1_000_000 - AHEAD - 1), Some("bad-directory")),
            (good.clone(), Some(1_000_000 - AHEAD), None),
            (good.clone(), None, None),
            (DirectoryPart { region: "two".parse().unwrap(), ..good.clone() }, None, Some("bad-directory")),
            (DirectoryPart { part: 5, ..good.clone() }, None, Some("bad-directory")),
            (DirectoryPart { parts: MOST_PARTS + 1, ..good }, None, Some("bad-directory")),
        ] {
            let mut reader = Reader::new(vec![region.clone()], Book::default());
            reader.handle_input(Input::LinkUp, BootTime::default());
            let request = request_of(&reader.poll_action().unwrap());
            reader.handle_input(part_input(request, part, calendar), BootTime::default());
            match (reader.poll_action(), word) {
                (Some(Action::Tell(refusal)), Some(word)) => assert_eq!(refusal.word, word),
                (None, None) => {
                    reader.handle_timeout(BootTime::default() + PACE);
                    assert!(matches!(reader.poll_action(), Some(Action::Ask { part: 1, .. })));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn only_what_is_new_is_kept_and_not_for_ever() {
        let mut coordinator = Coordinator::new();
        let mut reader = Reader::new(vec!["one".parse().unwrap()], Book::default());
        let mut now = BootTime::default();
        reader.handle_input(Input::LinkUp, now);
        let (mut wholes, mut differences) = (0, 0);
        for round in 0..=2 * u32::from(DIFFERENCES) {
            while let Some(action) = reader.poll_action() {
                match action {
                    Action::Ask { .. } => {
                        reader.handle_input(coordinator.answer(&action), now);
                        now = now + PACE;
                        reader.handle_timeout(now);
                    }
                    Action::Keep { whole: true, .. } => wholes += 1,
                    Action::Keep { whole: false, .. } => differences += 1,
                    Action::Tell(refusal) => panic!("{refusal}"),
                }
            }
            // Every other time there is nothing new.
            if round % 2 == 0 {
                coordinator.shared %= 50;
                coordinator.change();
            }
            now = now + FRESH;
            reader.handle_timeout(now);
        }
        assert_eq!((wholes, differences), (2, u32::from(DIFFERENCES)), "at the end whole again");
    }

    #[test]
    fn a_region_that_fails_holds_up_no_other() {
        let (mut coordinator, mut now) = (Coordinator::new(), BootTime::default());
        let mut reader = Reader::new(vec!["one".parse().unwrap(), "two".parse().unwrap()], Book::default());
        reader.handle_input(Input::LinkUp, now);
        let mut told = 0;
        for _ in 0..10 {
            while let Some(action) = reader.poll_action() {
                match action {
                    // Nobody answers for the first.
                    Action::Ask { ref region, .. } if region.to_string() == "one" => {}
                    Action::Ask { .. } => reader.handle_input(coordinator.answer(&action), now),
                    Action::Keep { .. } => {}
                    Action::Tell(refusal) => {
                        assert_eq!(refusal.word, "no-directory");
                        told += 1;
                    }
                }
            }
            now = reader.poll_timeout().unwrap();
            reader.handle_timeout(now);
        }
        assert!(reader.book().version(&"two".parse().unwrap()).is_some());
        assert!(told >= 2 && now.since(BootTime::default()) < AGAIN * 10, "again, and sooner than usual");
    }

    fn part_input(request: u64, part: DirectoryPart, calendar: Option<u64>) -> Input {
        let signed = SignedDirectory { directory: vec![], signature: Signature([0; 64]) };
        Input::Part { request, part: Box::new(part), signed, calendar }
    }

    fn request_of(asked: &Action) -> u64 {
        let Action::Ask { request, .. } = asked else { panic!("{asked:?}") };
        *request
    }
}
