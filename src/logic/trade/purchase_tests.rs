//! Every short history of a purchase.

use std::collections::BTreeMap;
use std::time::Duration;

use super::purchase::{Action, Input, Observation, Patience, Purchase, Record, State};
use crate::model::trade::{Account, Allowance, FeeOffer, Means, Money, Occasion, Posting, Want};
use crate::model::{BootTime, Millis, PublicKey, PurchaseId, Refusal, ServiceId, Signature};
use crate::wire::cbor;
use crate::wire::trade::SignedFee;

const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(900),
    poll: Duration::from_secs(1),
    poll_most: Duration::from_secs(60),
    grant: Duration::from_secs(600),
};
const START: BootTime = BootTime(1_000_000_000);
/// Longer than any deadline but that of what was bought.
const LONG: Duration = Duration::from_secs(1000);

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn record() -> Record {
    let (gateway, terminal) = (PublicKey([1; 32]), PublicKey([2; 32]));
    Record::new(PurchaseId([3; 16]), gateway, terminal, "day".parse().unwrap(), Want::default())
}

fn offer(price: Option<&str>) -> Input {
    let offer = FeeOffer {
        price: price.map(money),
        valid: Millis(60_000),
        tariff: "day".parse().unwrap(),
        service: ServiceId([4; 16]),
        purchase: PurchaseId([3; 16]),
        terminal: PublicKey([2; 32]),
        allowance: Allowance { time: None, bytes: Some(100) },
    };
    let signed = SignedFee { offer: vec![1], signature: Signature([5; 64]) };
    Input::Offered(Box::new((offer, signed)))
}

/// A step of a history.
#[derive(Clone, Debug)]
enum Step {
    Input(Input),
    /// So long that the deadline of any state but the last ones is over.
    Wait,
}

fn alphabet(price: Option<&'static str>) -> Vec<Step> {
    let settled = |text: Option<&str>| Input::Observed(Observation::Settled(text.map(money)));
    let inputs = [
        offer(price),
        Input::Refused(Refusal::new("owner", "no")),
        Input::Pay(if price.is_some() { Means::Stripe } else { Means::Free }),
        Input::Decline,
        Input::Started("cs_1".into()),
        Input::NotCharged,
        Input::Hint,
        settled(price),
        settled(Some("0.01 EUR")),
        Input::Observed(Observation::Failed),
        Input::Observed(Observation::Refunded),
        Input::Granted(1_700_000_000),
        Input::Ungrantable,
        Input::Low,
        Input::Extended,
        Input::Used(60),
        Input::Ended,
    ];
    inputs.into_iter().map(Step::Input).chain([Step::Wait]).collect()
}

/// A purchase and all that came of it.
#[derive(Clone)]
struct World {
    purchase: Purchase,
    now: BootTime,
    postings: Vec<Posting>,
    actions: Vec<Action>,
    /// What is on the disk.
    kept: Option<Vec<u8>>,
    kept_before_acting: bool,
}

impl World {
    fn new() -> Self {
        let purchase = Purchase::new(record(), PATIENCE, START);
        let mut world = Self {
            purchase,
            now: START,
            postings: vec![],
            actions: vec![],
            kept: None,
            kept_before_acting: true,
        };
        world.settle();
        world
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Input(input) => self.purchase.handle_input(input.clone(), self.now),
            Step::Wait => {
                self.now = self.now + LONG;
                self.purchase.handle_timeout(self.now);
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.actions.clear();
        while let Some(action) = self.purchase.poll_action() {
            match action {
                Action::Keep(record, postings) => {
                    self.postings.extend(postings);
                    self.kept = Some(cbor::encode(&record).unwrap());
                }
                action => {
                    // What is acted on is on the disk.
                    let record = cbor::encode(self.purchase.record()).unwrap();
                    self.kept_before_acting &= self.kept.as_ref() == Some(&record);
                    self.actions.push(action);
                }
            }
        }
    }

    fn balance(&self, account: Account) -> i128 {
        let signed = |posting: &Posting| {
            let minor = i128::from(posting.amount.minor);
            let sides = [(posting.debit, minor), (posting.credit, -minor)];
            sides.into_iter().filter(|(side, _)| *side == account).map(|(_, minor)| minor).sum::<i128>()
        };
        self.postings.iter().map(signed).sum()
    }

    fn check(&self, price: Option<&str>, history: &[Step]) {
        let record = self.purchase.record();
        let state = record.state;
        let mut occasions: BTreeMap<Occasion, u32> = BTreeMap::new();
        for posting in &self.postings {
            *occasions.entry(posting.occasion).or_default() += 1;
        }
        assert!(occasions.values().all(|count| *count == 1), "charged_once: {history:?} {:?}", self.postings);
        let sum: i128 = Account::ALL.into_iter().map(|account| self.balance(account)).sum();
        assert_eq!(sum, 0, "balanced: {history:?}");
        let received = record.received.map_or(0, |money| i128::from(money.minor));
        let full = price.map_or(0, |price| i128::from(money(price).minor));
        let (held, sales) = (-self.balance(Account::Held), -self.balance(Account::Sales));
        let expected = match state {
            State::Requested | State::Offered | State::Paying | State::Refused | State::Expired => (0, 0),
            State::Paid => (full, 0),
            State::Granted | State::Low | State::Extended => (0, full),
            // Its time may be over before it was granted only by a refund.
            State::Over => (0, full),
            State::Refunding => (received, 0),
            State::Refunded => (0, 0),
        };
        assert_eq!((held, sales), expected, "paid_is_granted_or_refunded: {history:?} {state:?}");
        assert!(state != State::Refunding || received > 0, "{history:?}");
        assert_eq!(record.left().is_some(), state.is_good(), "{history:?}");
        assert!(self.kept_before_acting, "{history:?}");
    }
}

fn every(world: &World, price: Option<&'static str>, depth: usize, history: &mut Vec<Step>, count: &mut u64) {
    if depth == 0 {
        return;
    }
    for step in alphabet(price) {
        history.push(step.clone());
        let mut next = world.clone();
        next.take(&step);
        next.check(price, history);
        *count += 1;

        // Whatever comes again changes nothing, but that use adds up and time goes on.
        if !matches!(step, Step::Input(Input::Used(_)) | Step::Wait) {
            let mut again = next.clone();
            again.take(&step);
            assert_eq!(again.purchase.state(), next.purchase.state(), "twice_is_once: {history:?}");
            assert_eq!(again.postings, next.postings, "twice_is_once: {history:?}");
        }
        // After a restart it is what it was, and says again what it waits for.
        let record: Record = cbor::decode(next.kept.as_ref().unwrap()).unwrap();
        assert_eq!(record, *next.purchase.record(), "a_restart_changes_nothing: {history:?}");
        let restored = Purchase::restored(record, PATIENCE, next.now, 1_700_000_000);
        let mut restored = World { purchase: restored, actions: vec![], ..next.clone() };
        restored.settle();
        assert_eq!(restored.postings, next.postings, "a_restart_changes_nothing: {history:?}");
        let wants = match next.purchase.state() {
            State::Requested => Some(Action::Ask),
            State::Paid => Some(Action::Grant),
            State::Refunding => Some(Action::Refund(Means::Stripe)),
            _ => None,
        };
        assert!(wants.is_none_or(|wants| restored.actions.contains(&wants)), "{history:?}");
        every(&next, price, depth - 1, history, count);
        history.pop();
    }
}

fn begin(steps: &[Input]) -> World {
    let mut world = World::new();
    steps.iter().for_each(|input| world.take(&Step::Input(input.clone())));
    world
}

#[test]
fn every_short_history_is_charged_once_and_granted_or_refunded() {
    let mut count = 0;
    every(&World::new(), Some("1.50 EUR"), 4, &mut vec![], &mut count);
    every(&World::new(), None, 4, &mut vec![], &mut count);
    let paying = begin(&[offer(Some("1.50 EUR")), Input::Pay(Means::Stripe)]);
    every(&paying, Some("1.50 EUR"), 4, &mut vec![], &mut count);
    let settled = Input::Observed(Observation::Settled(Some(money("1.50 EUR"))));
    let paid = begin(&[offer(Some("1.50 EUR")), Input::Pay(Means::Stripe), settled]);
    assert_eq!(paid.purchase.state(), State::Paid);
    every(&paid, Some("1.50 EUR"), 4, &mut vec![], &mut count);
    assert!(count > 300_000, "{count}");
}

#[test]
fn the_usual_way() {
    let mut world = World::new();
    let settled = Input::Observed(Observation::Settled(Some(money("1.50 EUR"))));
    for (input, state, actions) in [
        (offer(Some("1.50 EUR")), State::Offered, vec![Action::Tell]),
        (Input::Pay(Means::Stripe), State::Paying, vec![Action::Start(Means::Stripe), Action::Tell]),
        (Input::Started("cs_1".into()), State::Paying, vec![Action::Tell]),
        (Input::Hint, State::Paying, vec![Action::Observe(Means::Stripe)]),
        (settled, State::Paid, vec![Action::Grant, Action::Tell]),
        (Input::Granted(5), State::Granted, vec![Action::Tell]),
        (Input::Used(60), State::Granted, vec![]),
        (Input::Low, State::Low, vec![Action::Tell]),
        (Input::Extended, State::Extended, vec![Action::Tell]),
        (Input::Used(40), State::Over, vec![Action::Grant, Action::Tell]),
    ] {
        world.take(&Step::Input(input.clone()));
        assert_eq!((world.purchase.state(), &world.actions), (state, &actions), "{input:?}");
    }
    let occasions: Vec<_> = world.postings.iter().map(|posting| posting.occasion).collect();
    assert_eq!(occasions, [Occasion::Paid, Occasion::Granted]);
}

#[test]
fn a_provider_is_asked_again_and_again_and_only_its_word_ends_a_payment() {
    let mut world = begin(&[offer(Some("1.50 EUR")), Input::Pay(Means::Stripe), Input::Started("cs".into())]);
    let mut waits = Vec::new();
    for _ in 0..10 {
        let deadline = world.purchase.poll_timeout().unwrap();
        waits.push(deadline.since(world.now).as_secs());
        world.now = deadline;
        world.purchase.handle_timeout(world.now);
        world.settle();
        assert_eq!(world.actions, [Action::Observe(Means::Stripe)]);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
    assert_eq!(world.purchase.state(), State::Paying);
    world.take(&Step::Input(Input::Observed(Observation::Failed)));
    assert_eq!(world.purchase.state(), State::Expired);
    // Days later it comes nevertheless, and goes back.
    world.take(&Step::Input(Input::Observed(Observation::Settled(Some(money("1.50 EUR"))))));
    assert_eq!(
        (world.purchase.state(), &world.actions[0]),
        (State::Refunding, &Action::Refund(Means::Stripe))
    );
    world.take(&Step::Input(Input::Observed(Observation::Refunded)));
    assert_eq!(world.purchase.state(), State::Refunded);
}

#[test]
fn time_that_was_bought_goes_on_over_a_restart() {
    let mut record = record();
    let Input::Offered(offered) = offer(None) else { unreachable!() };
    let (fee, signed) = *offered;
    let allowance = Allowance { time: Some(Millis(3_600_000)), bytes: None };
    record.offer = Some((FeeOffer { allowance, ..fee }, signed));
    (record.state, record.granted_at) = (State::Granted, Some(1000));
    for (calendar, left) in [(1000, 3600), (2800, 1800), (9000, 0), (0, 3600)] {
        let purchase = Purchase::restored(record.clone(), PATIENCE, START, calendar);
        assert_eq!(purchase.poll_timeout().unwrap().since(START), Duration::from_secs(left), "{calendar}");
    }
}
