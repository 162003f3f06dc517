//! Every short history of one till with two stations, and the power lost at every step of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::purchase::State;
use super::till::{Action, Line, Order, Plan, Till};
use super::vouchers::Voucher;
use crate::model::trade::{
    Account, Answer, Limits, Money, Posting, Pricing, Rounding, Sale, Shop, Tariff, Want,
};
use crate::model::{BootId, BootTime, Cause, GrantId, MacAddr, Millis, PurchaseId, Secret};
use crate::wire::sign::Identity;
use crate::wire::voucher::VoucherCode;

const ANNE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const START: BootTime = BootTime(1_000_000_000_000_000);
const CALENDAR: u64 = 1_800_000_000;
const HOUR: Millis = Millis(3_600_000);

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn shop() -> Shop {
    let sale = |id: &str, pricing, limits| Sale {
        tariff: Tariff { id: id.parse().unwrap(), limits, pricing, rounding: Rounding::Up },
        answer: Answer::Accept,
    };
    let slice = Pricing::PerSlice { time: Some(HOUR), bytes: Some(1000), price: money("2 EUR") };
    let free = Limits { bytes_most: Some(100), ..Limits::default() };
    let by_time = Pricing::PerTime { time: HOUR, price: money("1 EUR") };
    let sales = vec![
        sale("slice", slice, Limits::default()),
        sale("taste", Pricing::Free, free),
        sale("hour", by_time, Limits::default()),
    ];
    Shop { sales, valid: Millis(60_000) }
}

/// A step of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Buy(MacAddr),
    Free(MacAddr),
    /// Uses so many bytes and leaves.
    Leave(MacAddr, u64),
    UsedUp(MacAddr),
    Resume(MacAddr),
    /// An hour.
    Wait,
    Restart,
    /// The kernel refuses what comes next.
    Refuse,
}

const ALPHABET: [Step; 9] = [
    Step::Buy(ANNE),
    Step::Buy(BOB),
    Step::Free(ANNE),
    Step::Leave(ANNE, 300),
    Step::UsedUp(ANNE),
    Step::Resume(ANNE),
    Step::Wait,
    Step::Restart,
    Step::Refuse,
];

struct World {
    identity: Arc<Identity>,
    code: Secret,
    till: Till,
    now: BootTime,
    numbers: u8,
    /// On the disk.
    lines: Vec<Line>,
    /// In the kernel.
    enforced: BTreeMap<MacAddr, Plan>,
    /// Grants that are over, until that is kept: the gateway says it again after a restart.
    ended: Vec<(GrantId, Cause, u64)>,
    /// Bytes that were passed on under grants that are over.
    passed: BTreeMap<MacAddr, u64>,
    refuses: bool,
    /// Actions until the power is lost; `None`: it is not.
    fuse: Option<u32>,
    acted: u32,
}

impl World {
    fn new(identity: &Arc<Identity>, fuse: Option<u32>) -> Self {
        let code = VoucherCode::generate();
        let voucher = Voucher {
            hash: code.hash(),
            value: money("5 EUR"),
            expires: CALENDAR + 1_000_000,
            taken: BTreeMap::new(),
        };
        let lines = vec![Line::Voucher(voucher)];
        let till = Till::new(identity.clone(), BootId([1; 16]), lines.clone(), CALENDAR, START);
        Self {
            identity: identity.clone(),
            code: Secret::new(code.reveal()),
            till,
            now: START,
            numbers: 0,
            lines,
            enforced: BTreeMap::new(),
            ended: Vec::new(),
            passed: BTreeMap::new(),
            refuses: false,
            fuse,
            acted: 0,
        }
    }

    fn calendar(&self) -> u64 {
        CALENDAR + self.now.since(START).as_secs()
    }

    fn restart(&mut self) {
        self.till =
            Till::new(self.identity.clone(), BootId([1; 16]), self.lines.clone(), self.calendar(), self.now);
        for (grant, cause, bytes) in self.ended.clone() {
            self.till.over(grant, cause, bytes, self.calendar(), self.now);
        }
        let lost: Vec<MacAddr> = self
            .till
            .plans()
            .filter(|(station, plan)| {
                self.enforced.get(station).is_none_or(|found| found.grant != plan.grant)
            })
            .map(|(station, _)| station)
            .collect();
        for station in lost {
            let grant = self.grant();
            self.till.again(station, grant, self.calendar(), self.now);
        }
        self.settle();
    }

    fn grant(&mut self) -> GrantId {
        self.numbers += 1;
        GrantId([self.numbers; 16])
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Buy(station) => self.order(station, "slice", Some("2 EUR"), Some(1)),
            Step::Free(station) => self.order(station, "taste", None, None),
            Step::Leave(station, bytes) => self.over(station, Cause::Left, bytes),
            Step::UsedUp(station) => self.over(station, Cause::Quota, u64::MAX),
            Step::Resume(station) => {
                let grant = self.grant();
                let _ = self.till.resume(station, grant, self.calendar(), self.now);
            }
            Step::Wait => {
                self.now = self.now + Duration::from(HOUR);
                let ended: Vec<MacAddr> = self
                    .enforced
                    .iter()
                    .filter(|(_, plan)| plan.until.is_some_and(|until| until <= self.now))
                    .map(|(station, _)| *station)
                    .collect();
                ended.into_iter().for_each(|station| self.over(station, Cause::Expired, 0));
                self.till.handle_timeout(self.calendar(), self.now);
            }
            Step::Restart => return self.restart(),
            Step::Refuse => self.refuses = true,
        }
        self.settle();
    }

    fn order(&mut self, station: MacAddr, tariff: &str, price: Option<&str>, slices: Option<u32>) {
        let grant = self.grant();
        let code = self.code.clone();
        let order = Order {
            purchase: PurchaseId(grant.0),
            grant,
            station,
            tariff: tariff.parse().unwrap(),
            want: Want { slices, ..Want::default() },
            price: price.map(money),
            code: Some(&code),
        };
        let _ = self.till.order(&shop(), &order, self.calendar(), self.now);
    }

    fn over(&mut self, station: MacAddr, cause: Cause, bytes: u64) {
        let Some(plan) = self.enforced.remove(&station) else { return };
        let bytes = bytes.min(plan.quota.unwrap_or(u64::MAX));
        *self.passed.entry(station).or_default() += bytes;
        self.ended.push((plan.grant, cause, bytes));
        self.till.over(plan.grant, cause, bytes, self.calendar(), self.now);
    }

    /// One step further; `false`: the power is lost here.
    fn step(&mut self) -> bool {
        self.acted += 1;
        self.fuse != Some(self.acted - 1)
    }

    fn settle(&mut self) {
        let mut lines = Vec::new();
        loop {
            let action = self.till.poll_action();
            if let Some(Action::Keep(line)) = action {
                lines.push(line);
                continue;
            }
            // All of it, or nothing.
            if !lines.is_empty() && !self.step() {
                return self.restart();
            }
            self.lines.append(&mut lines);
            self.ended.clear();
            let Some(Action::Enforce(station, plan)) = action else { return };
            if !self.step() {
                return self.restart();
            }
            let done = !std::mem::take(&mut self.refuses);
            if done {
                if let Some(before) = self.enforced.insert(station, plan.clone())
                    && before.grant != plan.grant
                {
                    self.till.over(before.grant, Cause::Replaced, 0, self.calendar(), self.now);
                }
            } else if self.enforced.remove(&station).is_some() {
                // What the kernel refuses ends whole.
                self.ended.push((plan.grant, Cause::Owner, 0));
            }
            if !self.step() {
                return self.restart();
            }
            self.till.enforced(station, done, self.calendar(), self.now);
        }
    }

    fn postings(&self) -> BTreeMap<String, Posting> {
        let mut postings = BTreeMap::new();
        for line in &self.lines {
            if let Line::Purchase { postings: new, .. } = line {
                for posting in new {
                    let before = postings.insert(posting.key(), *posting);
                    assert!(before.is_none_or(|before| before == *posting), "{posting:?}");
                }
            }
        }
        postings
    }

    fn check(&self, history: &[Step], fuse: Option<u32>) {
        let postings = self.postings();
        let balance = |account: Account| -> i128 {
            let side = |posting: &Posting| {
                let minor = i128::from(posting.amount.minor);
                i128::from(posting.debit == account) * minor - i128::from(posting.credit == account) * minor
            };
            postings.values().map(side).sum()
        };
        let of_voucher = |line: &Line| match line {
            Line::Voucher(voucher) => Some(voucher.left().minor),
            _ => None,
        };
        let left = self.lines.iter().rev().find_map(of_voucher).unwrap();
        let what = || format!("{history:?} {fuse:?}");
        assert_eq!(i128::from(500 - left), balance(Account::Voucher), "charged_once: {}", what());
        // What waits to be enforced is held, and goes back within the hour.
        let waiting = |line: &Line| match line {
            Line::Purchase { record, .. } if record.state == State::Paid => {
                record.received.map(|had| had.minor)
            }
            _ => None,
        };
        let waiting: u64 = self.till.lines(0, self.now).iter().filter_map(waiting).sum();
        assert_eq!(-balance(Account::Held), i128::from(waiting), "balanced: {}", what());
        let sales = u64::try_from(-balance(Account::Sales)).unwrap() + waiting;
        // What was sold is had: passed on, in the kernel, or waiting; and no more.
        let mut bought = 0;
        for station in [ANNE, BOB] {
            let enforced = self.enforced.get(&station);
            let plan = self.till.plan_of(station).filter(|plan| !plan.idle);
            assert_eq!(enforced, plan, "bought_is_had_and_no_more: {}", what());
            let waits = self.till.waits(station, self.now).and_then(|left| left.bytes);
            let had = enforced.and_then(|plan| plan.quota).or(waits).unwrap_or(0);
            let free = history.iter().filter(|step| **step == Step::Free(station)).count() as u64 * 100;
            let passed = self.passed.get(&station).copied().unwrap_or(0);
            bought += (had + passed).saturating_sub(free);
        }
        assert!(bought <= sales / 200 * 1000, "bought_is_had_and_no_more: {bought} {sales} {}", what());
        let again = Till::new(
            self.identity.clone(),
            BootId([1; 16]),
            self.till.lines(self.calendar(), self.now),
            self.calendar(),
            self.now,
        );
        let (one, two) = (self.till.lines(0, self.now), again.lines(0, self.now));
        // What waits to be enforced is begun again.
        assert!(waiting > 0 || one == two, "a_restart_changes_nothing: {}\n{one:?}\n{two:?}", what());
    }
}

fn histories(depth: usize) -> impl Iterator<Item = Vec<Step>> {
    (0..ALPHABET.len().pow(depth as u32)).map(move |number| {
        (0..depth).map(|place| ALPHABET[number / ALPHABET.len().pow(place as u32) % ALPHABET.len()]).collect()
    })
}

#[test]
fn every_short_history_is_charged_once_and_had() {
    let identity = Arc::new(Identity::generate());
    for history in histories(4) {
        let mut world = World::new(&identity, None);
        for step in &history {
            world.take(*step);
        }
        world.check(&history, None);
    }
}

#[test]
fn the_power_may_be_lost_at_every_step() {
    let identity = Arc::new(Identity::generate());
    let mut cuts = 0;
    for history in histories(3) {
        for fuse in 0.. {
            let mut world = World::new(&identity, Some(fuse));
            for step in &history {
                world.take(*step);
            }
            if world.acted <= fuse {
                break;
            }
            world.check(&history, Some(fuse));
            cuts += 1;
        }
    }
    assert!(cuts > 2000, "{cuts}");
}

#[test]
fn the_usual_way() {
    let identity = Arc::new(Identity::generate());
    let mut world = World::new(&identity, None);
    world.take(Step::Free(ANNE));
    assert_eq!(world.enforced[&ANNE].quota, Some(100));
    assert!(world.till.free_again(ANNE, &"taste".parse().unwrap(), world.now).is_some());
    // What is paid takes the place of what was free, under a grant of its own.
    let free = world.enforced[&ANNE].grant;
    world.take(Step::Buy(ANNE));
    let paid = world.enforced[&ANNE].clone();
    assert_eq!((paid.quota, paid.grant == free), (Some(1000), false));
    assert_eq!(paid.until, Some(world.now + Duration::from(HOUR)));
    // More of the same is added in place, in bytes and in time.
    world.take(Step::Buy(ANNE));
    let more = world.enforced[&ANNE].clone();
    assert_eq!((more.quota, more.grant), (Some(2000), paid.grant));
    assert_eq!(more.until, Some(world.now + 2 * Duration::from(HOUR)));
    // 1 EUR is left on the voucher.
    world.take(Step::Buy(BOB));
    assert!(!world.enforced.contains_key(&BOB));
    // Who leaves finds what is left, and time has run on.
    world.take(Step::Leave(ANNE, 300));
    world.take(Step::Wait);
    let waits = world.till.waits(ANNE, world.now).unwrap();
    assert_eq!((waits.bytes, waits.time), (Some(1700), Some(HOUR)));
    world.take(Step::Resume(ANNE));
    assert_eq!(world.enforced[&ANNE].quota, Some(1700));
    world.take(Step::UsedUp(ANNE));
    assert_eq!(world.till.waits(ANNE, world.now), None);
    world.check(&[Step::Free(ANNE)], None);
    // Free again only after a day.
    world.take(Step::Free(ANNE));
    assert!(world.enforced.is_empty());
    world.now = world.now + Duration::from_secs(86_400);
    world.take(Step::Free(ANNE));
    assert_eq!(world.enforced[&ANNE].quota, Some(100));
}

#[test]
fn what_is_counted_otherwise_is_not_added() {
    let identity = Arc::new(Identity::generate());
    let mut world = World::new(&identity, None);
    world.take(Step::Buy(ANNE));
    let want = Want { time: Some(HOUR), ..Want::default() };
    let code = world.code.clone();
    let order = |price: &str| Order {
        purchase: PurchaseId([99; 16]),
        grant: GrantId([99; 16]),
        station: ANNE,
        tariff: "hour".parse().unwrap(),
        want,
        price: Some(money(price)),
        code: Some(&code),
    };
    let refused = world.till.order(&shop(), &order("1 EUR"), CALENDAR, world.now).unwrap_err();
    assert_eq!(refused.word, "other-kind");
    let refused = world.till.order(&shop(), &order("2 EUR"), CALENDAR, world.now).unwrap_err();
    assert_eq!(refused.word, "price-changed");
    world.settle();
    world.check(&[], None);
    // For Bob it is the first.
    let order = Order { station: BOB, ..order("1 EUR") };
    world.till.order(&shop(), &order, CALENDAR, world.now).unwrap();
    world.settle();
    let plan = &world.enforced[&BOB];
    assert_eq!((plan.quota, plan.until), (None, Some(world.now + Duration::from(HOUR))));
}

#[test]
fn the_owners_word_ends_what_was_bought() {
    let identity = Arc::new(Identity::generate());
    let mut world = World::new(&identity, None);
    world.take(Step::Buy(ANNE));
    world.over(ANNE, Cause::Owner, 0);
    world.settle();
    assert_eq!(world.till.waits(ANNE, world.now), None);
    assert_eq!(world.till.plan_of(ANNE), None);
}

#[test]
fn a_clock_that_jumps_takes_nothing_away() {
    let identity = Arc::new(Identity::generate());
    let mut world = World::new(&identity, None);
    world.take(Step::Buy(ANNE));
    world.take(Step::Free(BOB));
    for calendar in [0, u64::MAX] {
        let till = Till::new(identity.clone(), BootId([1; 16]), world.lines.clone(), calendar, world.now);
        let plan = till.plan_of(ANNE).unwrap();
        assert_eq!(Some(plan), world.enforced.get(&ANNE), "{calendar}");
    }
    // After a boot time goes on from what was left, however long the machine was off.
    let booted = BootTime(5);
    let till = Till::new(identity, BootId([2; 16]), world.lines.clone(), CALENDAR + 60, booted);
    assert_eq!(till.plan_of(ANNE).unwrap().until, Some(booted + Duration::from(HOUR)));
    let wait = till.free_again(BOB, &"taste".parse().unwrap(), booted).unwrap();
    assert_eq!(wait, Duration::from_secs(86_400 - 60));
}
