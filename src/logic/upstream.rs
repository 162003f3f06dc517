//! Decides what a gateway makes of its coordinator's notices, and what it tells the coordinator.
//!
//! ```text
//!          Up                    Signed notice: open -> new? -> Give | Take | Want | Renew | Inquire, Acknowledge
//!   Down -----> Announce, reports that wait, Holds
//!    ^           |
//!    +--- Down --+
//! ```
//!
//! Held to by the tests below:
//!
//! * What is forged, replayed, out of order or for elsewhere is dropped and counted, and changes nothing.
//! * A durable notice is obeyed once, however often it is sent, and acknowledged every time.
//! * One that asks for a code is not acknowledged before its answer was given, and none after it either; a restart
//!   between both loses the answer, and the coordinator sees that from an acknowledgement without one.
//! * What ended here is not taken up again because the coordinator does not know of it yet.
//! * A report is sent until the coordinator says that it has it, on as many links as that takes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::model::{
    BootId, Cause, CodeAsk, Few, Gather, GrantId, GrantSpec, GrantsDigest, Incarnation, PublicKey, Refusal,
    Report,
};
#[cfg(feature = "messages")]
use crate::model::{Message, MessageId};
use crate::wire::gateway::{Announce, FromGateway};
use crate::wire::hello::LinkNonce;
use crate::wire::notice::{NoticeBody, NoticeReader, SignedNotice};
#[cfg(feature = "messages")]
use crate::wire::push::SignedMessage;
#[cfg(feature = "trade")]
use crate::wire::trade::Bid;

/// Reports on their way at a time.
const WINDOW: usize = 64;

/// Reports kept while there is no coordinator to take them; the oldest go first.
const MOST_REPORTS: usize = 10_000;

/// The most grants that the parts of one answer may hold.
const MOST_WANTED: usize = 100_000;

/// A fact.
#[derive(Clone, Debug)]
pub enum Input {
    /// A link stands.
    Up(LinkNonce),
    /// It is gone.
    Down,
    /// A notice came in.
    Signed(SignedNotice),
    /// The coordinator has the report with this number.
    ReportTaken(u64),
    /// A grant of the coordinator is over.
    Over(Report),
    /// What the gateway shares, whenever it changes.
    Shares(Announce),
    /// The code that the notice with this number asks for was made, or refused, and the coordinator told.
    CodeAnswered(u64),
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say this to the coordinator.
    Send(FromGateway),
    /// Say the digest of what is held, unless it is this.
    SayHolds {
        /// What the coordinator believes.
        unless: Option<GrantsDigest>,
    },
    /// All notices up to here are carried out once the actions before this one are.
    Acknowledge {
        /// Cumulative.
        seq: u64,
    },
    /// Grants of the coordinator.
    Give(Vec<GrantSpec>),
    /// A terminal wants to buy.
    #[cfg(feature = "trade")]
    Bid(Box<Bid>),
    /// A grant that asks for a code. [`Input::CodeAnswered`] says that the answer was given.
    MakeCode {
        /// What is granted.
        grant: Box<GrantSpec>,
        /// The notice.
        seq: u64,
    },
    /// The end of one.
    Take {
        /// Which.
        grant: GrantId,
        /// Of which join.
        incarnation: Incarnation,
        /// Why.
        cause: Cause,
    },
    /// All that it wants.
    Want(Vec<GrantSpec>),
    /// Its grants last so long from now.
    Renew {
        /// How long.
        lease: Duration,
    },
    /// It asks after the station of a grant.
    Inquire {
        /// Which.
        grant: GrantId,
        /// Comes back in the answer.
        inquiry: u64,
    },
    /// Terminals are to be told this, for so long from now.
    #[cfg(feature = "messages")]
    Push {
        /// What, and to whom.
        message: Message,
        /// As it was signed.
        signed: SignedMessage,
        /// How long.
        valid: Duration,
    },
    /// Terminals are to be told this no more.
    #[cfg(feature = "messages")]
    Withdraw(MessageId),
    /// Something was dropped.
    Dropped(Refusal),
    /// What must survive a restart of the daemon has changed.
    Changed,
}

/// What must survive a restart of the daemon (not a reboot).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// The last durable notice that was obeyed.
    pub seq: u64,
    /// Reports that the coordinator does not have yet.
    pub reports: Vec<Report>,
}

/// The gateway's side of its coordinator.
#[derive(Debug)]
pub struct Upstream {
    coordinator: PublicKey,
    gateway: PublicKey,
    boot: BootId,
    reader: Option<NoticeReader>,
    shares: Option<Announce>,
    seq: u64,
    reports: Few<u64, Report>,
    next_report: u64,
    /// Notices whose code is being made.
    making: BTreeSet<u64>,
    /// Reports sent on this link and not taken yet: those below this number.
    sent_below: u64,
    parts: Option<Parts>,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Parts {
    answer: u64,
    of: u32,
    found: Few<u32, Vec<GrantSpec>>,
}

impl Upstream {
    /// For this gateway in this run, with the coordinator that has this key.
    pub fn new(coordinator: PublicKey, gateway: PublicKey, boot: BootId, memory: Memory) -> Self {
        let reports: Few<u64, Report> = (1..).zip(memory.reports).gather();
        let next_report = reports.len() as u64 + 1;
        Self {
            coordinator,
            gateway,
            boot,
            reader: None,
            shares: None,
            seq: memory.seq,
            reports,
            next_report,
            making: BTreeSet::new(),
            sent_below: 1,
            parts: None,
            actions: VecDeque::new(),
        }
    }

    /// What must survive a restart.
    pub fn memory(&self) -> Memory {
        Memory { seq: self.seq, reports: self.reports.values().cloned().collect() }
    }

    /// Takes in one fact. Nothing here depends on time.
    pub fn handle_input(&mut self, input: Input) {
        match input {
            Input::Up(link) => {
                self.reader = Some(NoticeReader::new(self.coordinator, self.gateway, self.boot, link));
                self.parts = None;
                self.sent_below = self.reports.keys().next().copied().unwrap_or(self.next_report);
                if let Some(shares) = self.shares.clone() {
                    self.send(FromGateway::Announce(shares));
                }
                // First what ended: without that the coordinator would find it missing from what is held.
                self.send_reports();
                self.actions.push_back(Action::SayHolds { unless: None });
            }
            Input::Down => {
                self.reader = None;
                self.parts = None;
            }
            Input::Signed(signed) => self.signed(&signed),
            Input::ReportTaken(number) => {
                if self.reports.remove(&number).is_some() {
                    self.actions.push_back(Action::Changed);
                }
                self.send_reports();
            }
            Input::Over(report) => {
                self.reports.insert(self.next_report, report);
                self.next_report += 1;
                if self.reports.len() > MOST_REPORTS {
                    self.reports.pop_first();
                }
                self.actions.push_back(Action::Changed);
                self.send_reports();
            }
            Input::Shares(shares) => {
                if self.shares.as_ref() == Some(&shares) {
                    return;
                }
                self.shares = Some(shares.clone());
                self.send(FromGateway::Announce(shares));
            }
            Input::CodeAnswered(seq) => {
                if self.making.remove(&seq) {
                    self.acknowledge();
                }
            }
        }
    }

    /// The next thing to do, oldest first. Drain after every `handle_input`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn signed(&mut self, signed: &SignedNotice) {
        let opened = match &mut self.reader {
            Some(reader) => reader.open(signed),
            // Left over from a link that is gone.
            None => return,
        };
        let notice = match opened {
            Ok(notice) => notice,
            Err(error) => {
                self.actions.push_back(Action::Dropped(Refusal::new("bad-notice", error.to_string())));
                return;
            }
        };
        if let Some(seq) = notice.seq
            && seq <= self.seq
        {
            self.acknowledge();
            return;
        }
        self.obey(notice.body, notice.seq);
        if let Some(seq) = notice.seq {
            self.seq = seq;
            self.actions.push_back(Action::Changed);
            self.acknowledge();
        }
    }

    /// All that is done, up to the first notice that is not.
    fn acknowledge(&mut self) {
        let seq = self.making.first().map_or(self.seq, |first| first - 1);
        if seq > 0 {
            self.actions.push_back(Action::Acknowledge { seq });
        }
    }

    fn obey(&mut self, body: NoticeBody, seq: Option<u64>) {
        match (body, seq) {
            (NoticeBody::Grant(spec), Some(seq))
                if matches!(spec.code.as_deref(), Some(CodeAsk::Make { .. })) =>
            {
                self.making.insert(seq);
                self.actions.push_back(Action::MakeCode { grant: Box::new(spec), seq });
            }
            (body, _) => self.obey_at_once(body),
        }
    }

    fn obey_at_once(&mut self, body: NoticeBody) {
        match body {
            NoticeBody::Grant(spec) => self.actions.push_back(Action::Give(vec![spec])),
            NoticeBody::Evict { cause, grant, incarnation } => {
                self.actions.push_back(Action::Take { grant, incarnation, cause });
            }
            NoticeBody::Inquire { grant, inquiry, incarnation: _ } => {
                self.actions.push_back(Action::Inquire { grant, inquiry });
            }
            NoticeBody::Renew { lease, digest } => {
                self.actions.push_back(Action::Renew { lease: lease.into() });
                self.actions.push_back(Action::SayHolds { unless: Some(digest) });
            }
            NoticeBody::Desired { part, parts, answer, grants } => self.desired(part, parts, answer, grants),
            #[cfg(feature = "trade")]
            NoticeBody::Bid(bid) => self.actions.push_back(Action::Bid(bid)),
            #[cfg(feature = "messages")]
            NoticeBody::Push { valid, message: signed } => {
                let valid = valid.into();
                self.actions.push_back(match signed.open(self.coordinator) {
                    Ok(message) => Action::Push { message, signed, valid },
                    Err(error) => Action::Dropped(Refusal::new("bad-message", error.to_string())),
                });
            }
            #[cfg(feature = "messages")]
            NoticeBody::Withdraw { message } => self.actions.push_back(Action::Withdraw(message)),
        }
    }

    fn desired(&mut self, part: u32, of: u32, answer: u64, grants: Vec<GrantSpec>) {
        if self.parts.as_ref().is_none_or(|parts| parts.answer != answer || parts.of != of) {
            self.parts = Some(Parts { answer, of, found: Few::default() });
        }
        let Some(parts) = &mut self.parts else { return };
        if part >= of {
            let sentence = format!("part {part} of {of}: parts count from 0");
            self.actions.push_back(Action::Dropped(Refusal::new("bad-notice", sentence)));
            return;
        }
        parts.found.insert(part, grants);
        let count: usize = parts.found.values().map(Vec::len).sum();
        if count > MOST_WANTED {
            self.parts = None;
            let sentence = format!("the coordinator wants more than {MOST_WANTED} grants");
            self.actions.push_back(Action::Dropped(Refusal::new("too-many-grants", sentence)));
            return;
        }
        if parts.found.len() as u64 == u64::from(of)
            && let Some(parts) = self.parts.take()
        {
            let over = self.over();
            let is_over = |spec: &GrantSpec| over.get(&spec.id).is_some_and(|last| *last >= spec.incarnation);
            let wanted = parts.found.into_iter().flat_map(|(_, grants)| grants).filter(|spec| !is_over(spec));
            self.actions.push_back(Action::Want(wanted.collect()));
        }
    }

    /// Joins that are over here, which the coordinator may not know yet: the last one of each grant.
    fn over(&self) -> BTreeMap<GrantId, Incarnation> {
        let mut over = BTreeMap::new();
        for report in self.reports.values() {
            let last = over.entry(report.grant).or_insert(report.incarnation);
            *last = report.incarnation.max(*last);
        }
        over
    }

    fn send(&mut self, message: FromGateway) {
        if self.reader.is_some() {
            self.actions.push_back(Action::Send(message));
        }
    }

    fn send_reports(&mut self) {
        if self.reader.is_none() {
            return;
        }
        let under_way = self.reports.keys().take_while(|number| **number < self.sent_below).count();
        let next: Vec<(u64, Report)> = self
            .reports
            .iter()
            .filter(|(number, _)| **number >= self.sent_below)
            .take(WINDOW.saturating_sub(under_way))
            .map(|(number, report)| (*number, report.clone()))
            .collect();
        for (number, report) in next {
            self.sent_below = number + 1;
            self.send(FromGateway::Evicted { number, report });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bssid, Holder, MacAddr, Millis, Offer, OfferedKey, SessionId, Signature, Traffic};
    use crate::wire::notice::Notice;
    use crate::wire::sign::Identity;

    const BOOT: BootId = BootId([8; 16]);
    const GATEWAY: PublicKey = PublicKey([7; 32]);
    const LINK: LinkNonce = LinkNonce(BootId([9; 16]));

    #[test]
    fn a_durable_notice_is_obeyed_once_and_acknowledged_every_time() {
        let mut t = Script::up(Memory::default());
        let evict =
            NoticeBody::Evict { cause: Cause::Silence, grant: GrantId([1; 16]), incarnation: Incarnation(1) };
        t.notice(1, Some(5), evict.clone());
        assert_eq!(
            t.actions(),
            [
                Action::Take { grant: GrantId([1; 16]), incarnation: Incarnation(1), cause: Cause::Silence },
                Action::Changed,
                Action::Acknowledge { seq: 5 },
            ]
        );
        t.notice(2, Some(5), evict.clone());
        t.notice(3, Some(4), evict.clone());
        assert_eq!(t.actions(), [Action::Acknowledge { seq: 5 }, Action::Acknowledge { seq: 5 }]);

        // The same after a restart of the daemon, on a new link.
        let mut t = Script::up(t.upstream.memory());
        t.notice(1, Some(5), evict);
        assert_eq!(t.actions(), [Action::Acknowledge { seq: 5 }]);
    }

    #[test]
    fn what_is_forged_replayed_or_late_is_dropped() {
        let mut t = Script::up(Memory::default());
        let renew = NoticeBody::Renew { lease: Millis(1), digest: GrantsDigest([0; 16]) };
        t.notice(2, None, renew.clone());
        t.actions();
        t.notice(2, None, renew.clone());
        t.notice(1, None, renew.clone());
        let stranger = Identity::generate();
        let notice =
            Notice { n: 9, seq: None, body: renew.clone(), boot: BOOT, link: LINK, gateway: GATEWAY };
        t.upstream.handle_input(Input::Signed(SignedNotice::new(&stranger, &notice).unwrap()));
        let actions = t.actions();
        assert_eq!(actions.len(), 3, "{actions:?}");
        assert!(actions.iter().all(|action| matches!(action, Action::Dropped(_))), "{actions:?}");

        t.upstream.handle_input(Input::Down);
        t.notice(10, Some(1), renew);
        assert_eq!(t.actions(), []);
    }

    #[test]
    fn reports_are_sent_until_they_are_taken() {
        let mut t = Script::up(Memory::default());
        for _ in 0..WINDOW + 2 {
            t.upstream.handle_input(Input::Over(report()));
        }
        let sent = |actions: Vec<Action>| {
            actions
                .into_iter()
                .filter_map(|action| match action {
                    Action::Send(FromGateway::Evicted { number, .. }) => Some(number),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(sent(t.actions()), (1..=WINDOW as u64).collect::<Vec<_>>());
        t.upstream.handle_input(Input::ReportTaken(2));
        assert_eq!(sent(t.actions()), [WINDOW as u64 + 1]);
        t.upstream.handle_input(Input::Down);
        t.upstream.handle_input(Input::Up(LINK));
        let again = sent(t.actions());
        assert_eq!((again.len(), again[0], again[1]), (WINDOW, 1, 3));
        assert_eq!(t.upstream.memory().reports.len(), WINDOW + 1);
    }

    #[test]
    fn a_notice_that_asks_for_a_code_is_acknowledged_after_its_answer() {
        let mut t = Script::up(Memory::default());
        let key = OfferedKey { key: vec![1; 32], algorithm: "a".into() };
        let offer = Offer { keys: vec![key], signature: Signature([0; 64]) };
        let make = |id| GrantSpec {
            code: Some(Box::new(CodeAsk::Make { bssid: Bssid(MacAddr([2; 6])), offer: offer.clone() })),
            ..spec(id)
        };
        t.notice(1, Some(5), NoticeBody::Grant(spec(1)));
        t.actions();
        t.notice(2, Some(6), NoticeBody::Grant(make(2)));
        let asked = |id, seq| Action::MakeCode { grant: Box::new(make(id)), seq };
        assert_eq!(t.actions(), [asked(2, 6), Action::Changed, Action::Acknowledge { seq: 5 }]);
        t.notice(3, Some(7), NoticeBody::Grant(make(3)));
        t.notice(4, Some(8), NoticeBody::Grant(spec(4)));
        let first = Action::Acknowledge { seq: 5 };
        assert_eq!(
            t.actions(),
            [
                asked(3, 7),
                Action::Changed,
                first.clone(),
                Action::Give(vec![spec(4)]),
                Action::Changed,
                first
            ]
        );
        // In any order; and a notice that comes again is not carried out again.
        t.upstream.handle_input(Input::CodeAnswered(7));
        t.notice(5, Some(6), NoticeBody::Grant(make(2)));
        assert_eq!(t.actions(), [Action::Acknowledge { seq: 5 }, Action::Acknowledge { seq: 5 }]);
        t.upstream.handle_input(Input::CodeAnswered(6));
        t.upstream.handle_input(Input::CodeAnswered(6));
        assert_eq!(t.actions(), [Action::Acknowledge { seq: 8 }]);
        // A daemon that starts does not know of any answer, and says so by acknowledging without one.
        let mut t = Script::up(t.upstream.memory());
        t.notice(1, Some(6), NoticeBody::Grant(make(2)));
        assert_eq!(t.actions(), [Action::Acknowledge { seq: 8 }]);
    }

    #[test]
    fn all_that_is_wanted_comes_in_parts_in_any_order() {
        let mut t = Script::up(Memory::default());
        let part = |part, answer, grants| NoticeBody::Desired { part, parts: 2, answer, grants };
        t.notice(1, None, part(1, 1, vec![]));
        t.notice(2, None, part(1, 2, vec![spec(2)]));
        assert_eq!(t.actions(), [], "the parts of two answers are not mixed");
        t.notice(3, None, part(0, 2, vec![spec(1)]));
        assert_eq!(t.actions(), [Action::Want(vec![spec(1), spec(2)])]);
        t.notice(4, None, part(2, 3, vec![]));
        assert!(matches!(t.actions()[..], [Action::Dropped(_)]));
    }

    #[test]
    fn what_is_over_is_not_wanted_before_the_coordinator_knows() {
        let ended = |id, incarnation| Report { grant: GrantId([id; 16]), incarnation, ..report() };
        let reports = vec![ended(1, Incarnation(1)), ended(2, Incarnation(1))];
        let mut t = Script::new(Memory { seq: 0, reports });
        t.upstream.handle_input(Input::Up(LINK));
        // It hears of them before it hears what is held.
        let said = t.actions();
        let at = |wanted: fn(&Action) -> bool| said.iter().position(wanted);
        let holds = at(|action| matches!(action, Action::SayHolds { .. }));
        assert!(at(|action| matches!(action, Action::Send(FromGateway::Evicted { number: 2, .. }))) < holds);
        // What it wanted before it has read them comes late; a later join of it is another one.
        let next = GrantSpec { incarnation: Incarnation(2), ..spec(2) };
        let all = vec![spec(1), next.clone(), spec(3)];
        t.notice(1, None, NoticeBody::Desired { part: 0, parts: 1, answer: 1, grants: all });
        assert_eq!(t.actions(), [Action::Want(vec![next, spec(3)])]);
        // What it wants although it has them, it wants.
        t.upstream.handle_input(Input::ReportTaken(1));
        t.actions();
        t.notice(2, None, NoticeBody::Desired { part: 0, parts: 1, answer: 2, grants: vec![spec(1)] });
        assert_eq!(t.actions(), [Action::Want(vec![spec(1)])]);
    }

    struct Script {
        coordinator: Identity,
        upstream: Upstream,
    }

    impl Script {
        fn new(memory: Memory) -> Self {
            let coordinator = Identity::generate();
            let upstream = Upstream::new(coordinator.public(), GATEWAY, BOOT, memory);
            Self { coordinator, upstream }
        }

        fn up(memory: Memory) -> Self {
            let mut script = Self::new(memory);
            script.upstream.handle_input(Input::Up(LINK));
            assert!(script.actions().contains(&Action::SayHolds { unless: None }));
            script
        }

        fn notice(&mut self, n: u64, seq: Option<u64>, body: NoticeBody) {
            let notice = Notice { n, seq, body, boot: BOOT, link: LINK, gateway: GATEWAY };
            let signed = SignedNotice::new(&self.coordinator, &notice).unwrap();
            self.upstream.handle_input(Input::Signed(signed));
        }

        fn actions(&mut self) -> Vec<Action> {
            std::iter::from_fn(|| self.upstream.poll_action()).collect()
        }
    }

    fn report() -> Report {
        Report {
            cause: Cause::Silence,
            grant: GrantId([1; 16]),
            moved: Traffic::default(),
            steps: vec![],
            station: Some(MacAddr([2, 0, 0, 0, 0, 1])),
            total_us: 1,
            incarnation: Incarnation(1),
        }
    }

    fn spec(id: u8) -> GrantSpec {
        GrantSpec {
            id: GrantId([id; 16]),
            code: None,
            lease: None,
            quota: None,
            holder: Holder::Terminal { key: PublicKey([0; 32]), session: SessionId([0; 16]) },
            station: MacAddr([2, 0, 0, 0, 0, id]),
            incarnation: Incarnation(1),
        }
    }
}
