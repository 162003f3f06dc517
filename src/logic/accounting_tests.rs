//! Every short history of sessions, against what a server is told of them.

use super::*;
use crate::model::Cause;

const STATIONS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];
const GRANT: GrantId = GrantId([7; 16]);
const INTERIM: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Event {
    Open(usize),
    Close(usize),
    /// The daemon is killed; what it told was kept.
    Restart,
    Move(u64),
    Wait,
}

const EVENTS: [Event; 6] =
    [Event::Open(0), Event::Open(1), Event::Close(0), Event::Restart, Event::Move(5), Event::Wait];

struct World {
    accounting: Accounting,
    now: BootTime,
    /// What the grant has moved in all, and what of it while no session was told of, ever.
    counter: Traffic,
    enforced: Option<usize>,
    /// Of each session that was told of: what it has moved, and whether it is over.
    sessions: BTreeMap<(u32, u64), (Traffic, bool)>,
    run: u32,
    first_before: Option<Traffic>,
}

impl World {
    fn step(&mut self, event: Event) {
        match event {
            Event::Open(at) => {
                if let Some(other) = self.enforced.filter(|other| *other != at) {
                    self.close(other);
                }
                self.open(at);
            }
            Event::Close(at) if self.enforced == Some(at) => self.close(at),
            Event::Close(_) => {}
            Event::Restart => {
                self.accounting = Accounting::new(self.accounting.told().clone());
                self.run += 1;
                if let Some(at) = self.enforced {
                    self.open(at);
                }
            }
            Event::Move(bytes) => {
                if self.enforced.is_some() {
                    self.counter.up_bytes += bytes;
                    self.counter.up_packets += 1;
                }
            }
            Event::Wait => {
                if let Some(at) = self.accounting.poll_timeout() {
                    self.now = self.now.max(at);
                    self.accounting.handle_timeout(self.now);
                }
            }
        }
        self.settle();
    }

    fn open(&mut self, at: usize) {
        self.enforced = Some(at);
        self.first_before.get_or_insert(self.counter);
        let input = Input::Opened {
            grant: GRANT,
            station: STATIONS[at],
            moved: self.counter,
            interim: Some(INTERIM),
            idle: None,
        };
        self.accounting.handle_input(input, self.now);
    }

    fn close(&mut self, at: usize) {
        self.enforced = None;
        let (moved, ending) = (Some(self.counter), Ending::Gone);
        let input = Input::Closed { grant: GRANT, station: STATIONS[at], moved, ending };
        self.accounting.handle_input(input, self.now);
        // Late and twice.
        self.accounting.handle_input(input, self.now);
    }

    fn settle(&mut self) {
        while let Some(action) = self.accounting.poll_action() {
            match action {
                Action::Tell { what, session, moved, time } => {
                    assert_eq!(time, self.now.since(session.since));
                    let key = (self.run, session.number);
                    match what {
                        Told::Start => {
                            let before = self.sessions.insert(key, (Traffic::default(), false));
                            assert_eq!(before, None, "a Start comes first and once");
                        }
                        Told::Interim | Told::Stop(_) => {
                            let (before, over) = self.sessions.get_mut(&key).expect("a Start came first");
                            assert!(!*over, "nothing comes after a Stop");
                            assert!(moved.up_bytes >= before.up_bytes, "it never shrinks");
                            (*before, *over) = (moved, what != Told::Interim);
                        }
                    }
                }
                Action::Measure { stations } => {
                    for station in stations {
                        let moved = self.counter;
                        let input = Input::Measured { grant: GRANT, station, moved };
                        self.accounting.handle_input(input, self.now);
                    }
                }
                Action::Idle { .. } => panic!("nothing is to end"),
            }
        }
        let sum: u64 = self.sessions.values().map(|(moved, _)| moved.up_bytes).sum();
        let whole = self.counter.up_bytes - self.first_before.unwrap_or_default().up_bytes;
        assert!(sum <= whole, "nothing counts twice: {sum} of {whole}");
        assert_eq!(self.accounting.poll_timeout().is_some(), self.enforced.is_some());
    }
}

#[test]
fn no_short_history_breaks_the_rules() {
    const LENGTH: u32 = 6;
    for number in 0..EVENTS.len().pow(LENGTH) {
        let mut world = World {
            accounting: Accounting::default(),
            now: BootTime(0),
            counter: Traffic::default(),
            enforced: None,
            sessions: BTreeMap::new(),
            run: 0,
            first_before: None,
        };
        let mut rest = number;
        for _ in 0..LENGTH {
            world.step(EVENTS[rest % EVENTS.len()]);
            rest /= EVENTS.len();
        }
        if let Some(at) = world.enforced {
            world.close(at);
            world.settle();
        }
        let sum: u64 = world.sessions.values().map(|(moved, _)| moved.up_bytes).sum();
        let whole = world.counter.up_bytes - world.first_before.unwrap_or_default().up_bytes;
        assert_eq!(sum, whole, "history {number}: all is told");
    }
}

#[test]
fn a_session_is_measured_in_its_interval_and_together_with_others() {
    let mut accounting = Accounting::default();
    let start = BootTime(0);
    for (at, station) in STATIONS.into_iter().enumerate() {
        let grant = GrantId([at as u8; 16]);
        let moved = Traffic::default();
        let input = Input::Opened { grant, station, moved, interim: Some(INTERIM), idle: None };
        accounting.handle_input(input, start + Duration::from_millis(500) * at as u32);
    }
    while accounting.poll_action().is_some() {}
    assert_eq!(accounting.poll_timeout(), Some(start + INTERIM));
    accounting.handle_timeout(start + INTERIM - Duration::from_millis(1));
    assert_eq!(accounting.poll_action(), None, "early is harmless");
    accounting.handle_timeout(start + INTERIM);
    assert_eq!(accounting.poll_action(), Some(Action::Measure { stations: STATIONS.into() }));
    assert_eq!(accounting.poll_timeout(), Some(start + INTERIM * 2), "also where nobody measures");
}

#[test]
fn a_session_that_moves_nothing_ends_when_it_may_not_be_idle_for_longer() {
    let mut accounting = Accounting::default();
    let idle = Duration::from_secs(100);
    let (grant, station) = (GRANT, STATIONS[0]);
    let mut moved = Traffic::default();
    let mut now = BootTime(0);
    accounting
        .handle_input(Input::Opened { grant, station, moved, interim: Some(INTERIM), idle: Some(idle) }, now);
    let mut seconds = Vec::new();
    for _ in 0..20 {
        while let Some(action) = accounting.poll_action() {
            match action {
                Action::Measure { .. } => {
                    if now.since(BootTime(0)) < Duration::from_secs(130) {
                        moved.down_bytes += 1;
                    }
                    accounting.handle_input(Input::Measured { grant, station, moved }, now);
                }
                Action::Idle { grant: ended } => {
                    assert_eq!(ended, grant);
                    seconds.push(now.since(BootTime(0)).as_secs());
                    let ending = Ending::Cause(Cause::Silence);
                    let input = Input::Closed { grant, station, moved: Some(moved), ending };
                    accounting.handle_input(input, now);
                }
                Action::Tell { .. } => {}
            }
        }
        let Some(at) = accounting.poll_timeout() else { break };
        now = at;
        accounting.handle_timeout(now);
    }
    assert_eq!(seconds, [220], "bytes were seen at 60 and 120 seconds");
}

#[test]
fn what_was_told_is_forgotten_with_its_grant() {
    let mut accounting = Accounting::default();
    let (grant, station, moved) = (GRANT, STATIONS[0], Traffic::default());
    accounting.handle_input(Input::Opened { grant, station, moved, interim: None, idle: None }, BootTime(0));
    assert_eq!(accounting.told().len(), 1);
    let ending = Ending::Stopped;
    accounting.handle_input(Input::Closed { grant, station, moved: None, ending }, BootTime(9));
    assert_eq!(accounting.sessions().count(), 0);
    assert!(accounting.forget(grant) && !accounting.forget(grant));
    assert!(accounting.told().is_empty());
}

#[test]
fn a_counter_that_began_anew_has_nothing_told_before() {
    let told = Traffic { up_bytes: 100, ..Traffic::default() };
    let mut accounting = Accounting::new([(GRANT, told)].into());
    let (grant, station) = (GRANT, STATIONS[0]);
    let moved = Traffic { up_bytes: 3, ..Traffic::default() };
    accounting.handle_input(Input::Opened { grant, station, moved, interim: None, idle: None }, BootTime(0));
    let ending = Ending::Gone;
    let moved = Some(Traffic { up_bytes: 10, ..Traffic::default() });
    accounting.handle_input(Input::Closed { grant, station, moved, ending }, BootTime(1));
    let stop = std::iter::from_fn(|| accounting.poll_action()).last();
    assert!(matches!(stop, Some(Action::Tell { moved: Traffic { up_bytes: 7, .. }, .. })), "{stop:?}");
}
