//! Every short history of a session, against what must hold after each step.

use super::*;

const PATIENCE: Patience = Patience {
    grant: Duration::from_secs(10),
    join: Duration::from_secs(120),
    ahead: Duration::from_secs(600),
    silence: Duration::from_secs(90),
    sleep_most: Duration::from_secs(3600),
    inquiry: Duration::from_secs(15),
};
const START: BootTime = BootTime(1_000_000_000_000);

/// What can happen, from the world's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Join,
    Reserve,
    NotKept,
    Acknowledge,
    AcknowledgeEarlier,
    Heartbeat,
    HeartbeatOfEarlierJoin,
    Leave,
    LeaveOfEarlierJoin,
    Owner,
    SeenBusy,
    SeenIdle,
    SeenWired,
    SeenGone,
    SeenOldInquiry,
    EvictionAcknowledged,
    QuotaThere,
    GatewayDown,
    GatewayUp,
    BrakeHeld,
    BrakeEvidence,
    BrakeOpen,
    Wait,
}

const EVENTS: [Event; 23] = [
    Event::Join,
    Event::Reserve,
    Event::NotKept,
    Event::Acknowledge,
    Event::AcknowledgeEarlier,
    Event::Heartbeat,
    Event::HeartbeatOfEarlierJoin,
    Event::Leave,
    Event::LeaveOfEarlierJoin,
    Event::Owner,
    Event::SeenBusy,
    Event::SeenIdle,
    Event::SeenWired,
    Event::SeenGone,
    Event::SeenOldInquiry,
    Event::EvictionAcknowledged,
    Event::QuotaThere,
    Event::GatewayDown,
    Event::GatewayUp,
    Event::BrakeHeld,
    Event::BrakeEvidence,
    Event::BrakeOpen,
    Event::Wait,
];

/// A session with the world around it.
#[derive(Clone)]
struct World {
    session: Session,
    policy: Policy,
    now: BootTime,
    grip: Grip,
    reachable: bool,
    inquiries: u64,
    /// The state that the store would hold.
    kept: Option<State>,
    /// Until then the latest heartbeat counts.
    heard_until: BootTime,
    /// The last thing that the gateway said of the station in this suspicion.
    gone_confirmed: bool,
    evicted: Vec<Incarnation>,
    told: Vec<Action>,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            session: Session::new(policy),
            policy,
            now: START,
            grip: Grip::Open,
            reachable: true,
            inquiries: 0,
            kept: None,
            heard_until: START,
            gone_confirmed: false,
            evicted: Vec::new(),
            told: Vec::new(),
        }
    }

    fn happens(&mut self, event: Event) {
        let join = self.session.incarnation();
        let earlier = Incarnation(join.0.saturating_sub(1));
        let sight = Sight {
            inquiry: self.inquiries,
            up_bytes: 1000,
            associated: Some(true),
            inactive: Some(Duration::from_secs(1)),
            incarnation: Some(join),
        };
        let seen = |sight| Input::Seen(sight, self.grip);
        let input = match event {
            Event::Join => Input::Join,
            Event::Reserve => Input::Reserve,
            Event::NotKept => Input::NotKept,
            Event::Acknowledge => Input::Acknowledged(join),
            Event::AcknowledgeEarlier => Input::Acknowledged(earlier),
            Event::Heartbeat => Input::Heartbeat(join, None),
            Event::HeartbeatOfEarlierJoin => Input::Heartbeat(earlier, None),
            Event::Leave => Input::Leave(join),
            Event::LeaveOfEarlierJoin => Input::Leave(earlier),
            Event::Owner => Input::End(Cause::Owner),
            Event::SeenBusy => seen(sight),
            Event::SeenIdle => seen(Sight { inactive: Some(Duration::from_secs(600)), ..sight }),
            Event::SeenWired => seen(Sight { inactive: None, ..sight }),
            Event::SeenGone => seen(Sight { associated: Some(false), ..sight }),
            Event::SeenOldInquiry => seen(Sight { inquiry: 0, associated: Some(false), ..sight }),
            Event::EvictionAcknowledged => Input::EvictionAcknowledged(join),
            Event::QuotaThere => Input::EndedThere(join, Cause::Quota),
            Event::GatewayDown => {
                self.reachable = false;
                return;
            }
            Event::GatewayUp => {
                self.reachable = true;
                Input::GatewayUp
            }
            Event::BrakeHeld => {
                self.grip = Grip::Held;
                return;
            }
            Event::BrakeEvidence => {
                self.grip = Grip::Evidence;
                return;
            }
            Event::BrakeOpen => {
                self.grip = Grip::Open;
                return;
            }
            Event::Wait => {
                self.now = self.now + Duration::from_secs(120);
                self.session.handle_timeout(&PATIENCE, self.now);
                self.act(event);
                return;
            }
        };
        self.gone_confirmed = matches!(event, Event::SeenIdle | Event::SeenWired | Event::SeenGone);
        if event == Event::Heartbeat
            && matches!(
                self.session.state(),
                State::Granting | State::Granted | State::Reserved | State::Active | State::Suspect
            )
        {
            self.heard_until = self.now + PATIENCE.silence;
        }
        self.session.handle_input(input, &PATIENCE, self.now);
        self.act(event);
    }

    fn act(&mut self, event: Event) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Grant(incarnation) => {
                    assert!(matches!(event, Event::Join | Event::Reserve));
                    assert_eq!(incarnation, self.session.incarnation());
                    self.kept = Some(State::Granting);
                }
                Action::Keep(from, to) => {
                    // Acknowledgements are kept without an action of their own.
                    if from == State::Granted {
                        assert_eq!(self.kept, Some(State::Granting));
                    } else {
                        assert_eq!(self.kept, Some(from), "the swap fails after {event:?}");
                    }
                    self.kept = Some(to);
                }
                Action::Evict { from, incarnation, cause } => {
                    let kept = self.kept.expect("something is kept");
                    assert!(kept == from || from == State::Granted && kept == State::Granting);
                    assert!(!self.evicted.contains(&incarnation), "evicted twice");
                    self.evicted.push(incarnation);
                    self.kept = Some(State::Evicting);
                    if cause == Cause::Silence {
                        self.may_be_silent(event);
                    }
                }
                Action::Consider => {
                    self.inquiries += 1;
                    let (grip, reachable) = (self.grip, self.reachable);
                    let judge = Input::Judge { grip, reachable, inquiry: self.inquiries };
                    self.session.handle_input(judge, &PATIENCE, self.now);
                }
                Action::Inquire(inquiry) => {
                    assert!(self.reachable && self.grip != Grip::Held);
                    assert_eq!(inquiry, self.inquiries);
                }
                Action::Forget { kept, .. } => {
                    // Without `kept`, the row goes with the acknowledgement, or there never was one.
                    assert!(kept || matches!(event, Event::EvictionAcknowledged | Event::NotKept));
                    self.kept = None;
                }
                Action::TellJoined(_) | Action::TellRefused(_) | Action::TellOver(..) => {
                    self.told.push(action)
                }
            }
        }
    }

    /// Whether an eviction for silence may be decided now.
    fn may_be_silent(&self, event: Event) {
        assert!(self.now >= self.heard_until, "evicted early");
        assert_ne!(self.grip, Grip::Held, "evicted against the brake");
        assert_ne!(event, Event::SeenOldInquiry, "evicted by an old answer");
        let by_the_gateway = self.gone_confirmed && event != Event::Wait;
        match (self.policy, self.grip) {
            (Policy::Strict, Grip::Open) => {}
            (Policy::Corroborate, _) | (Policy::Strict, _) => {
                assert!(by_the_gateway, "evicted without asking, by {event:?}");
            }
        }
    }

    fn holds(&self) {
        let session = &self.session;
        match session.state() {
            // Everything that waits has a deadline, or somebody who will call.
            State::Granting | State::Granted | State::Reserved | State::Active => {
                assert!(session.poll_timeout().is_some());
            }
            State::Suspect => assert!(session.poll_timeout().is_some() || !self.reachable, "{session:?}"),
            State::Evicting => {
                assert!(session.poll_timeout().is_none());
                assert_eq!(self.evicted.last(), Some(&session.incarnation()));
            }
            State::Over => assert!(self.kept.is_none() || session.incarnation().0 == 0),
        }
        if let Some(deadline) = session.poll_timeout() {
            assert!(deadline <= self.now + PATIENCE.sleep_most + PATIENCE.silence);
        }
    }
}

#[test]
fn every_short_history() {
    for policy in [Policy::Corroborate, Policy::Strict] {
        // From the beginning, and from the states that take many steps to reach.
        for prefix in [
            &[][..],
            &[Event::Join, Event::Acknowledge, Event::Heartbeat],
            &[Event::Join, Event::Acknowledge, Event::Heartbeat, Event::Wait],
            &[Event::Join, Event::Acknowledge, Event::Heartbeat, Event::BrakeHeld, Event::Wait],
            &[Event::Join, Event::Acknowledge, Event::Heartbeat, Event::Leave, Event::Join],
            &[Event::Reserve, Event::Acknowledge],
        ] {
            let mut world = World::new(policy);
            prefix.iter().for_each(|event| world.happens(*event));
            explore(&world, 4);
        }
    }
}

fn explore(world: &World, steps: u32) {
    if steps == 0 {
        return;
    }
    for event in EVENTS {
        let mut world = world.clone();
        world.happens(event);
        world.holds();
        explore(&world, steps - 1);
    }
}

#[test]
fn silence_ends_whatever_the_gateway_says() {
    for answer in [Event::SeenIdle, Event::SeenWired, Event::SeenGone] {
        let mut world = World::new(Policy::Corroborate);
        for event in [Event::Join, Event::Acknowledge, Event::Heartbeat] {
            world.happens(event);
        }
        for _ in 0..4 {
            world.happens(Event::Wait);
            world.happens(answer);
        }
        assert_eq!(world.evicted, [Incarnation(1)], "{answer:?}");
        world.happens(Event::EvictionAcknowledged);
        assert_eq!(world.session.state(), State::Over);
    }
}

#[test]
fn a_station_that_moves_bytes_stays() {
    let mut world = World::new(Policy::Corroborate);
    for event in [Event::Join, Event::Acknowledge, Event::Heartbeat] {
        world.happens(event);
    }
    for round in 1..20 {
        world.happens(Event::Wait);
        // Where nobody counts inactivity, it takes two answers.
        for count in 0..2 {
            assert_eq!(world.session.state(), State::Suspect, "round {round}");
            let sight = Sight {
                inquiry: world.inquiries,
                up_bytes: round * 1000 + count,
                associated: Some(true),
                inactive: None,
                incarnation: Some(Incarnation(1)),
            };
            world.session.handle_input(Input::Seen(sight, Grip::Open), &PATIENCE, world.now);
            world.act(Event::SeenBusy);
            if count == 0 {
                world.happens(Event::Wait);
            }
        }
        assert_eq!(world.session.state(), State::Active);
    }
    assert!(world.evicted.is_empty());
}

#[test]
fn a_terminal_can_sleep_but_not_for_ever() {
    assert_eq!(heartbeat_due(None, &PATIENCE), Duration::from_secs(90));
    assert_eq!(heartbeat_due(Some(Duration::ZERO), &PATIENCE), Duration::from_secs(90));
    assert_eq!(heartbeat_due(Some(Duration::from_secs(600)), &PATIENCE), Duration::from_secs(645));
    assert_eq!(heartbeat_due(Some(Duration::MAX), &PATIENCE), Duration::from_secs(3645));
}

#[test]
fn after_a_restart_the_full_time_begins_again() {
    let mut session = Session::restored(State::Suspect, Incarnation(3), Policy::Strict, &PATIENCE, START);
    assert_eq!(session.poll_action(), Some(Action::Keep(State::Suspect, State::Active)));
    assert_eq!(session.poll_timeout(), Some(START + PATIENCE.silence));
    session.handle_timeout(&PATIENCE, START + Duration::from_secs(89));
    assert_eq!((session.state(), session.poll_action()), (State::Active, None));

    // Told that it may join, and the acknowledgement was not kept: its heartbeat counts.
    let mut session = Session::restored(State::Granting, Incarnation(1), Policy::Strict, &PATIENCE, START);
    session.handle_timeout(&PATIENCE, START + Duration::from_secs(30));
    session.handle_input(Input::Heartbeat(Incarnation(1), None), &PATIENCE, START + Duration::from_secs(30));
    assert_eq!(session.poll_action(), Some(Action::Keep(State::Granting, State::Active)));
}

#[test]
fn who_was_given_a_code_ahead_of_time_may_come_late_and_not_for_ever() {
    let (mut world, waits) = (World::new(Policy::Strict), PATIENCE.ahead.as_secs() / 120);
    world.happens(Event::Reserve);
    world.happens(Event::Acknowledge);
    assert_eq!(world.told, [Action::TellJoined(Incarnation(1))]);
    let reserved = world.clone();
    for _ in 1..waits {
        world.happens(Event::Wait);
        assert_eq!((world.session.state(), world.kept), (State::Reserved, Some(State::Reserved)));
    }
    let mut late = world.clone();
    late.happens(Event::Heartbeat);
    assert_eq!((late.session.state(), late.kept), (State::Active, Some(State::Active)));
    world.happens(Event::Wait);
    assert_eq!((world.session.state(), world.evicted.len()), (State::Evicting, 1));
    // A join of the ordinary kind after it waits as long as such a one.
    let mut again = reserved;
    again.happens(Event::Join);
    again.happens(Event::Acknowledge);
    assert_eq!(again.session.poll_timeout(), Some(again.now + PATIENCE.join));
    let mut kept = Session::restored(State::Reserved, Incarnation(1), Policy::Strict, &PATIENCE, START);
    assert_eq!((kept.poll_action(), kept.poll_timeout()), (None, Some(START + PATIENCE.ahead)));
}
