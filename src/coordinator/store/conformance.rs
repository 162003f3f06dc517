//! What every backend must do, in the words of [`super::Store`]. Each case gets a directory of its own.

use std::path::Path;

use super::{Change, GatewayRecord, MessageRecord, Outcome, SessionRecord, Store};
use crate::logic::session::{Policy, State};
use crate::model::{
    Audience, Bssid, Cause, GrantId, Incarnation, Link, MacAddr, Message, MessageId, MessageText, PublicKey,
    Report, ServiceId, SessionId, Traffic,
};
use crate::wire::gateway::Announce;
use crate::wire::hello::Role;
use crate::wire::notice::NoticeBody;

pub(super) type Open<'a> = &'a dyn Fn(&Path) -> Box<dyn Store>;
pub(super) type Case = fn(Open<'_>, &Path);

pub(super) const GATEWAY: PublicKey = PublicKey([1; 32]);
pub(super) const OTHER: PublicKey = PublicKey([2; 32]);
pub(super) const TERMINAL: PublicKey = PublicKey([3; 32]);
const JOIN: Incarnation = Incarnation(1);

/// Every case.
pub fn all(open: impl Fn(&Path) -> Box<dyn Store>) {
    let cases: [(&str, Case); 8] = [
        ("a claim works once, in time, for its role", a_claim_works_once),
        ("what was applied is there after reopening", what_was_applied_is_there),
        ("a swap needs the state and the join that it names", a_swap_needs_its_state),
        ("numbers grow for the gateway's whole life", numbers_grow),
        ("acknowledging removes what was done and nothing else", acknowledging),
        ("a report is kept once", a_report_is_kept_once),
        ("a message is there until it is over, with who has it", a_message_is_there),
        ("all changes of a transaction or none", all_or_none),
    ];
    for (name, case) in cases {
        println!("{name}");
        let dir = tempfile::tempdir().unwrap();
        case(&open, dir.path());
    }
}

fn a_claim_works_once(open: Open<'_>, dir: &Path) {
    let mut store = open(dir);
    let claim =
        |hash: u8, expires| Change::CreateClaim { hash: [hash; 32], role: Role::Gateway, expires, now: 100 };
    let enrol = |key, role, hash: u8, now| Change::Enrol { key, role, hash: [hash; 32], now };
    let gateway = Role::Gateway;
    store.apply(&[claim(1, 200), claim(2, 200)]).unwrap();
    for (change, outcome) in [
        (enrol(GATEWAY, gateway, 9, 150), Outcome::NoMatch),
        (enrol(TERMINAL, Role::Terminal, 1, 150), Outcome::NoMatch),
        (enrol(GATEWAY, gateway, 1, 200), Outcome::NoMatch),
        (enrol(GATEWAY, gateway, 1, 199), Outcome::Done),
        (enrol(OTHER, gateway, 1, 199), Outcome::NoMatch),
        (enrol(OTHER, gateway, 1, 0), Outcome::NoMatch),
    ] {
        assert_eq!(store.apply(std::slice::from_ref(&change)).unwrap(), [outcome], "{change:?}");
    }
    // Two in one transaction: the first uses it up for the second.
    let both = [enrol(OTHER, gateway, 2, 150), enrol(TERMINAL, gateway, 2, 150)];
    assert_eq!(store.apply(&both).unwrap(), [Outcome::Done, Outcome::NoMatch]);
    let keys: Vec<_> = store.load().unwrap().gateways.iter().map(|gateway| gateway.key).collect();
    assert_eq!(keys, [GATEWAY, OTHER]);
}

fn what_was_applied_is_there(open: Open<'_>, dir: &Path) {
    let announce = Announce {
        area: None,
        name: "Corner".into(),
        beacon: None,
        service: ServiceId([4; 16]),
        tariffs: vec![],
        networks: vec![],
        announced: vec![],
    };
    let mut store = enrolled(open, dir);
    store
        .apply(&[
            Change::Announce { gateway: GATEWAY, announce: announce.clone() },
            Change::SetPolicy { gateway: GATEWAY, policy: Some(Policy::Strict) },
            Change::Seen { gateway: GATEWAY, now: 77 },
            Change::Open { session: session(1), notice: evict(1) },
        ])
        .unwrap();
    drop(store);
    let mut store = open(dir);
    let loaded = store.load().unwrap();
    let gateway = GatewayRecord {
        key: GATEWAY,
        policy: Some(Policy::Strict),
        announce: Some(announce),
        seen: 77,
        seq: 1,
    };
    assert_eq!(loaded.gateways[0], gateway);
    assert_eq!(loaded.terminals, [TERMINAL]);
    assert_eq!(loaded.sessions, [session(1)]);
    assert_eq!((loaded.outbox[0].seq, &loaded.outbox[0].body), (1, &evict(1)));
    assert_eq!(store.session(session(1).id).unwrap(), Some(session(1)));
    assert_eq!(store.session(SessionId([9; 16])).unwrap(), None);
    let unknown = Change::SetPolicy { gateway: TERMINAL, policy: None };
    assert_eq!(store.apply(&[unknown]).unwrap(), [Outcome::NoMatch]);
    store.apply(&[Change::SetPolicy { gateway: GATEWAY, policy: None }]).unwrap();
    assert_eq!(store.load().unwrap().gateways[0].policy, None);
}

fn a_swap_needs_its_state(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    store.apply(&[Change::Open { session: session(1), notice: evict(1) }]).unwrap();
    let id = session(1).id;
    let keep = |incarnation, from, to| Change::Keep { session: id, incarnation, from, to };
    let out = |incarnation, from| Change::Evict {
        session: id,
        incarnation,
        from,
        cause: Cause::Silence,
        notice: evict(1),
    };
    for (change, outcome) in [
        (keep(JOIN, State::Granted, State::Active), Outcome::NoMatch),
        (keep(Incarnation(2), State::Granting, State::Granted), Outcome::NoMatch),
        (keep(JOIN, State::Granting, State::Suspect), Outcome::Done),
        (out(JOIN, State::Active), Outcome::NoMatch),
        (out(Incarnation(2), State::Suspect), Outcome::NoMatch),
        (out(JOIN, State::Suspect), Outcome::Seq(2)),
        (out(JOIN, State::Suspect), Outcome::NoMatch),
        (keep(JOIN, State::Suspect, State::Active), Outcome::NoMatch),
    ] {
        assert_eq!(store.apply(std::slice::from_ref(&change)).unwrap(), [outcome], "{change:?}");
    }
    let loaded = store.load().unwrap();
    let expected = SessionRecord { state: State::Evicting, cause: Some(Cause::Silence), ..session(1) };
    assert_eq!(loaded.sessions, [expected]);
    assert_eq!(loaded.outbox.len(), 2, "a swap that failed posted nothing");
}

fn numbers_grow(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    let post = |number| Change::Open { session: session(number), notice: evict(number) };
    let other = Change::Open { session: SessionRecord { gateway: OTHER, ..session(9) }, notice: evict(9) };
    assert_eq!(store.apply(&[post(1), other, post(2)]).unwrap(), [1, 1, 2].map(Outcome::Seq));
    let done = Change::Acknowledge { gateway: GATEWAY, seq: 2, granted: vec![], over: vec![] };
    store.apply(&[done]).unwrap();
    drop(store);
    assert_eq!(open(dir).apply(&[post(3)]).unwrap(), [Outcome::Seq(3)], "not again from 1");
}

fn acknowledging(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    let post = |number| Change::Open { session: session(number), notice: evict(number) };
    let other = Change::Open { session: SessionRecord { gateway: OTHER, ..session(4) }, notice: evict(4) };
    store.apply(&[post(1), post(2), post(3), other]).unwrap();
    let acknowledge = Change::Acknowledge {
        gateway: GATEWAY,
        seq: 2,
        granted: vec![(session(1).id, JOIN), (session(3).id, Incarnation(7))],
        over: vec![(session(2).id, JOIN), (session(4).id, Incarnation(7))],
    };
    store.apply(std::slice::from_ref(&acknowledge)).unwrap();
    let loaded = store.load().unwrap();
    let states: Vec<_> = loaded.sessions.iter().map(|session| (session.id.0[0], session.state)).collect();
    assert_eq!(states, [(1, State::Granted), (3, State::Granting), (4, State::Granting)]);
    let left: Vec<_> = loaded.outbox.iter().map(|notice| (notice.gateway, notice.seq)).collect();
    assert_eq!(left, [(GATEWAY, 3), (OTHER, 1)]);
    store.apply(&[acknowledge]).unwrap();
    assert_eq!(store.load().unwrap(), loaded, "again is harmless");
}

fn a_report_is_kept_once(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    store.apply(&[Change::Open { session: session(1), notice: evict(1) }]).unwrap();
    let report = |incarnation| Report {
        cause: Cause::Quota,
        grant: session(1).grant,
        moved: Traffic::default(),
        steps: vec![],
        station: Some(session(1).station),
        total_us: 5,
        incarnation: Incarnation(incarnation),
    };
    let change = Change::Report { gateway: GATEWAY, report: report(1), over: Some((session(1).id, JOIN)) };
    store.apply(&[change.clone(), change.clone()]).unwrap();
    store.apply(&[change]).unwrap();
    store.apply(&[Change::Report { gateway: GATEWAY, report: report(2), over: None }]).unwrap();
    assert_eq!(store.reports(GATEWAY, 10).unwrap(), [report(2), report(1)]);
    assert_eq!(store.reports(GATEWAY, 1).unwrap(), [report(2)]);
    assert!(store.reports(OTHER, 10).unwrap().is_empty());
    assert!(store.load().unwrap().sessions.is_empty());
}

fn a_message_is_there(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    let record = |id: u8, expires| MessageRecord {
        message: Message {
            id: MessageId([id; 16]),
            to: Audience::Session(SessionId([7; 16])),
            link: Some(Link::new("https://a.example/").unwrap()),
            text: MessageText::new("café").unwrap(),
        },
        expires,
        taken: [].into(),
    };
    let taken = |id, terminal| Change::MessageTaken { message: MessageId([id; 16]), terminal };
    // Beyond what a signed number holds, and out of order.
    for record in [record(2, u64::MAX >> 1), record(1, 77)] {
        assert_eq!(store.apply(&[Change::Push { record }]).unwrap(), [Outcome::Done]);
    }
    assert!(store.apply(&[Change::Push { record: record(1, 78) }]).is_err(), "an id names one message");
    // Again, and of one that is not there.
    store.apply(&[taken(2, TERMINAL), taken(2, TERMINAL), taken(2, OTHER), taken(9, TERMINAL)]).unwrap();
    drop(store);
    let mut store = open(dir);
    let with = MessageRecord { taken: [OTHER, TERMINAL].into(), ..record(2, u64::MAX >> 1) };
    assert_eq!(store.load().unwrap().messages, [record(1, 77), with]);
    let over = Change::ForgetMessage { message: MessageId([2; 16]) };
    assert_eq!(store.apply(&[over.clone(), over]).unwrap(), [Outcome::Done, Outcome::NoMatch]);
    store.apply(&[taken(2, TERMINAL)]).unwrap();
    assert_eq!(store.load().unwrap().messages, [record(1, 77)]);
    // Nothing is left of the one before under the same id.
    store.apply(&[Change::Push { record: record(2, 5) }]).unwrap();
    assert_eq!(store.load().unwrap().messages, [record(1, 77), record(2, 5)]);
}

fn all_or_none(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    // The second names a gateway that nobody enrolled: there is no number for its notice.
    let stranger = SessionRecord { gateway: TERMINAL, ..session(2) };
    let changes = [
        Change::Open { session: session(1), notice: evict(1) },
        Change::Open { session: stranger, notice: evict(2) },
    ];
    assert!(store.apply(&changes).is_err());
    let loaded = store.load().unwrap();
    assert!(loaded.sessions.is_empty() && loaded.outbox.is_empty());
    assert_eq!(loaded.gateways[0].seq, 0);
}

pub(super) fn enrolled(open: Open<'_>, dir: &Path) -> Box<dyn Store> {
    let mut store = open(dir);
    for (number, key, role) in
        [(1, GATEWAY, Role::Gateway), (2, OTHER, Role::Gateway), (3, TERMINAL, Role::Terminal)]
    {
        let hash = [number; 32];
        let outcomes = store
            .apply(&[
                Change::CreateClaim { hash, role, expires: 10, now: 1 },
                Change::Enrol { key, role, hash, now: 1 },
            ])
            .unwrap();
        assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
    }
    store
}

pub(super) fn session(number: u8) -> SessionRecord {
    SessionRecord {
        id: SessionId([number; 16]),
        gateway: GATEWAY,
        terminal: TERMINAL,
        station: MacAddr([2, 0, 0, 0, 0, number]),
        bssid: Bssid(MacAddr([2, 0, 0, 0, 1, number])),
        grant: GrantId([number; 16]),
        by_code: !number.is_multiple_of(2),
        incarnation: JOIN,
        state: State::Granting,
        cause: None,
    }
}

pub(super) fn evict(number: u8) -> NoticeBody {
    NoticeBody::Evict { cause: Cause::Silence, grant: GrantId([number; 16]), incarnation: JOIN }
}
