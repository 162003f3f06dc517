//! Every short history of requests to servers, against what must hold after each step.

use super::*;

const PATIENCE: Patience = Patience { first: Duration::from_secs(2), tries: 2, most: 3 };

/// What happens in a history.
#[derive(Clone, Copy, Debug)]
enum Event {
    Submit(u64, Worth),
    /// The server answers what was sent last.
    AnswerLast,
    /// It answers what was sent first of all, late.
    AnswerFirst,
    /// Until the next deadline.
    Wait,
    /// Long enough for servers to be tried again.
    WaitLong,
}

const EVENTS: [Event; 9] = [
    Event::Submit(EVERYTHING, Worth::Stop),
    Event::Submit(1, Worth::Start),
    Event::Submit(1, Worth::Interim),
    Event::Submit(1, Worth::Stop),
    Event::Submit(2, Worth::Question),
    Event::AnswerLast,
    Event::AnswerFirst,
    Event::Wait,
    Event::WaitLong,
];

/// Beside the machine: what must hold of it.
struct World {
    requests: Requests,
    now: BootTime,
    subjects: BTreeMap<Ticket, (u64, Worth)>,
    /// Submitted and not ended.
    open: BTreeSet<Ticket>,
    sent: Vec<(usize, u8, Ticket)>,
    on_the_way: BTreeMap<Ticket, usize>,
}

impl World {
    fn new(servers: usize) -> Self {
        Self {
            requests: Requests::new(servers, PATIENCE),
            now: BootTime(0),
            subjects: BTreeMap::new(),
            open: BTreeSet::new(),
            sent: Vec::new(),
            on_the_way: BTreeMap::new(),
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Submit(subject, worth) => {
                let ticket = Ticket(self.subjects.len() as u64);
                self.subjects.insert(ticket, (subject, worth));
                self.open.insert(ticket);
                self.requests
                    .handle_input(Input::Submit { ticket, subject, worth, since: self.now }, self.now);
            }
            Event::AnswerLast => self.answer(self.sent.last().copied()),
            Event::AnswerFirst => self.answer(self.sent.first().copied()),
            Event::Wait => {
                if let Some(at) = self.requests.poll_timeout() {
                    self.now = self.now.max(at);
                    self.requests.handle_timeout(self.now);
                }
            }
            Event::WaitLong => {
                self.now = self.now + REVIVE + MOST_PATIENCE;
                self.requests.handle_timeout(self.now);
            }
        }
        self.settle();
    }

    fn answer(&mut self, sent: Option<(usize, u8, Ticket)>) {
        let Some((server, identifier, _)) = sent else { return };
        self.requests.handle_input(Input::Answered { server, identifier }, self.now);
    }

    fn settle(&mut self) {
        while let Some(action) = self.requests.poll_action() {
            match action {
                Action::Send { ticket, server, identifier, .. } => {
                    assert!(self.open.contains(&ticket), "{ticket:?} has ended");
                    let (subject, _) = self.subjects[&ticket];
                    let elder = self.open.range(..ticket).find(|other| {
                        let of = self.subjects[other].0;
                        of == subject || of == EVERYTHING || subject == EVERYTHING
                    });
                    assert_eq!(elder, None, "{ticket:?} overtakes");
                    self.sent.push((server, identifier, ticket));
                    self.on_the_way.insert(ticket, server);
                }
                Action::Done { ticket } | Action::Superseded { ticket } | Action::Lost { ticket, .. } => {
                    assert!(self.open.remove(&ticket), "{ticket:?} ends twice");
                    self.on_the_way.remove(&ticket);
                    let (subject, worth) = self.subjects[&ticket];
                    if matches!(action, Action::Superseded { .. }) {
                        assert_eq!(worth, Worth::Interim);
                        let newest = self.subjects.iter().rev().find(|(_, (of, _))| *of == subject);
                        assert!(newest.is_some_and(|(newest, _)| *newest > ticket));
                    }
                }
            }
        }
        for (ticket, _) in self.requests.open() {
            assert!(self.open.contains(&ticket));
        }
        assert_eq!(self.requests.open().count(), self.open.len(), "none is forgotten");
        assert!(self.requests.waiting.by_ticket.len() <= PATIENCE.most);
        assert_eq!(self.requests.waiting.by_ticket.len(), self.requests.waiting.by_worth.len());
        for (at, server) in self.requests.servers.iter().enumerate() {
            let flights = self.requests.on_the_way.values().filter(|flight| flight.server == at).count();
            if server.silent.is_some_and(|(_, until)| until <= self.now) {
                assert!(flights <= 1, "on trial one at a time");
            }
        }
        if !self.requests.is_idle() {
            assert!(self.requests.poll_timeout().is_some(), "what is open is looked at again");
        }
    }
}

#[test]
fn no_short_history_breaks_the_rules() {
    const LENGTH: u32 = 5;
    for servers in [1, 2] {
        for number in 0..EVENTS.len().pow(LENGTH) {
            let mut world = World::new(servers);
            let mut rest = number;
            for _ in 0..LENGTH {
                world.step(EVENTS[rest % EVENTS.len()]);
                rest /= EVENTS.len();
            }
            // From here on every server answers: nothing is left.
            for _ in 0..20 {
                if world.requests.is_idle() {
                    break;
                }
                world.step(Event::WaitLong);
                for sent in world.sent.clone() {
                    world.answer(Some(sent));
                    world.settle();
                }
            }
            assert!(world.requests.is_idle(), "history {number}: {:?}", world.requests);
        }
    }
}

#[test]
fn a_server_that_does_not_answer_is_asked_as_often_as_said_then_another_one() {
    let mut requests = Requests::new(2, PATIENCE);
    let now = BootTime(0);
    let submit = |number, since| {
        let (ticket, subject, worth) = (Ticket(number), number + 1, Worth::Stop);
        Input::Submit { ticket, subject, worth, since }
    };
    requests.handle_input(submit(0, now), now);
    let sent = |requests: &mut Requests| match requests.poll_action() {
        Some(Action::Send { ticket, server, identifier, delay }) => {
            (ticket.0, server, identifier, delay.as_secs())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(sent(&mut requests), (0, 0, 0, 0));
    assert_eq!(requests.poll_timeout(), Some(now + Duration::from_secs(2)));
    let now = now + Duration::from_secs(2);
    requests.handle_timeout(now);
    assert_eq!(sent(&mut requests), (0, 0, 1, 2), "with a new identifier: it says how late it is");
    assert_eq!(requests.poll_timeout(), Some(now + Duration::from_secs(4)), "with twice the patience");
    let now = now + Duration::from_secs(4);
    requests.handle_timeout(now);
    assert_eq!(sent(&mut requests), (0, 1, 0, 6));
    let standings: Vec<Standing> = requests.standings().collect();
    assert_eq!(standings, [Standing::Silent(now), Standing::Up]);
    // What comes now goes to the one that is up, and the late answer of the other one counts.
    requests.handle_input(submit(1, now), now);
    assert_eq!(sent(&mut requests), (1, 1, 1, 0));
    requests.handle_input(Input::Answered { server: 0, identifier: 1 }, now);
    assert_eq!(requests.poll_action(), Some(Action::Done { ticket: Ticket(0) }));
    assert!(requests.standings().all(|standing| standing != Standing::Silent(now)));
    requests.handle_input(Input::Answered { server: 1, identifier: 0 }, now);
    assert_eq!(requests.poll_action(), None, "it was answered already");
    requests.handle_input(submit(2, now), now);
    assert_eq!(sent(&mut requests), (2, 0, 2, 0), "the first one first again");
}

#[test]
fn what_waited_before_is_as_late_as_it_is_and_has_its_time_from_now() {
    let mut requests = Requests::new(1, PATIENCE);
    let since = BootTime(0);
    let now = since + Duration::from_secs(100);
    let submit = Input::Submit { ticket: Ticket(0), subject: 1, worth: Worth::Stop, since };
    requests.handle_input(submit, now);
    let sent = requests.poll_action();
    assert!(matches!(sent, Some(Action::Send { delay, .. }) if delay == now.since(since)), "{sent:?}");
    assert_eq!(requests.poll_timeout(), Some(now + PATIENCE.first));
    requests.handle_timeout(now);
    assert_eq!(requests.poll_action(), None, "not again at once");
    assert_eq!(requests.open().collect::<Vec<_>>(), [(Ticket(0), since)]);
}

#[test]
fn a_question_is_the_same_packet_for_as_long_as_it_goes_to_the_same_server() {
    let mut requests = Requests::new(2, PATIENCE);
    let mut now = BootTime(0);
    let submit = Input::Submit { ticket: Ticket(0), subject: 1, worth: Worth::Question, since: now };
    requests.handle_input(submit, now);
    // Another one has the next identifier.
    let submit = Input::Submit { ticket: Ticket(1), subject: 2, worth: Worth::Question, since: now };
    requests.handle_input(submit, now);
    let mut sent = Vec::new();
    for _ in 0..4 {
        while let Some(action) = requests.poll_action() {
            if let Action::Send { ticket: Ticket(0), server, identifier, .. } = action {
                sent.push((server, identifier));
            }
        }
        now = requests.poll_timeout().unwrap();
        requests.handle_timeout(now);
    }
    assert_eq!(sent, [(0, 0), (0, 0), (1, 0), (1, 0)]);
}

#[test]
fn a_question_is_given_up_and_the_end_of_a_session_is_not() {
    let mut requests = Requests::new(1, PATIENCE);
    let mut now = BootTime(0);
    let since = now;
    let submit = |ticket, worth| Input::Submit { ticket: Ticket(ticket), subject: ticket + 1, worth, since };
    requests.handle_input(submit(0, Worth::Question), now);
    requests.handle_input(submit(1, Worth::Stop), now);
    let mut lost = Vec::new();
    let mut sent = 0;
    for _ in 0..100 {
        while let Some(action) = requests.poll_action() {
            match action {
                Action::Lost { ticket, .. } => lost.push(ticket),
                Action::Send { .. } => sent += 1,
                other => panic!("{other:?}"),
            }
        }
        let Some(at) = requests.poll_timeout() else { break };
        now = now.max(at);
        requests.handle_timeout(now);
    }
    assert_eq!(lost, [Ticket(0)]);
    assert_eq!(requests.open().map(|(ticket, _)| ticket).collect::<Vec<_>>(), [Ticket(1)]);
    assert!(
        now > BootTime(0) + Duration::from_secs(1000),
        "a server that is away costs little: {sent} in {now:?}"
    );
}

#[test]
fn what_is_kept_is_bounded_and_what_matters_least_goes_first() {
    let mut requests = Requests::new(0, PATIENCE);
    let now = BootTime(0);
    let all = [Worth::Stop, Worth::Interim, Worth::Start, Worth::Stop, Worth::Stop, Worth::Stop];
    for (number, worth) in (0..).zip(all) {
        let (ticket, subject) = (Ticket(number), number + 1);
        requests.handle_input(Input::Submit { ticket, subject, worth, since: now }, now);
    }
    let mut lost = Vec::new();
    while let Some(action) = requests.poll_action() {
        let Action::Lost { ticket, worth } = action else { panic!("{action:?}") };
        lost.push((ticket.0, worth));
    }
    assert_eq!(lost, [(1, Worth::Interim), (2, Worth::Start), (0, Worth::Stop)]);
}

#[test]
fn an_identifier_of_an_earlier_try_is_used_again_and_one_that_is_waited_for_is_not() {
    let patience = Patience { most: 1000, ..PATIENCE };
    let mut requests = Requests::new(1, patience);
    let mut now = BootTime(0);
    let mut sent = Vec::new();
    for number in 0..300 {
        let (ticket, subject, worth) = (Ticket(number), number + 1, Worth::Stop);
        requests.handle_input(Input::Submit { ticket, subject, worth, since: now }, now);
        if number == 0 {
            now = requests.poll_timeout().unwrap();
            requests.handle_timeout(now);
        }
        while let Some(action) = requests.poll_action() {
            match action {
                Action::Send { identifier, ticket, .. } => sent.push((identifier, ticket)),
                Action::Done { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        // All but the first one are answered at once.
        if number > 0 {
            let (identifier, _) = *sent.last().unwrap();
            requests.handle_input(Input::Answered { server: 0, identifier }, now);
        }
    }
    while requests.poll_action().is_some() {}
    assert_eq!((sent[0], sent[1]), ((0, Ticket(0)), (1, Ticket(0))));
    assert_eq!((sent[256], sent[257]), ((0, Ticket(255)), (2, Ticket(256))));
    requests.handle_input(Input::Answered { server: 0, identifier: 0 }, now);
    assert_eq!(requests.poll_action(), None, "it was another one's, and is answered");
    requests.handle_input(Input::Answered { server: 0, identifier: 1 }, now);
    assert_eq!(requests.poll_action(), Some(Action::Done { ticket: Ticket(0) }));
}
