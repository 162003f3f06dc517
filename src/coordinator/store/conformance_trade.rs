//! What every backend must do with purchases, the ledger and vouchers. Each case gets a directory of its own.

use std::collections::BTreeMap;
use std::path::Path;

use super::conformance::{Case, GATEWAY, OTHER, Open, TERMINAL, enrolled, evict, session};
use super::{Change, Outcome, Store};
use crate::logic::trade::draws::Draw;
use crate::logic::trade::purchase::{Record, State};
use crate::logic::trade::vouchers::Voucher;
use crate::model::trade::{Account, Means, Money, Occasion, Posting, Want};
use crate::model::{GrantId, Incarnation, PublicKey, PurchaseId};
use crate::wire::ledger::Verifier;
use crate::wire::voucher::VoucherHash;

/// Every case.
pub fn all(open: impl Fn(&Path) -> Box<dyn Store>) {
    let cases: [(&str, Case); 6] = [
        ("a purchase and its postings are kept together or not at all", together_or_not),
        ("each gateway has a chain of its own, that holds", chains_hold),
        ("what is over is not loaded, and still there", what_is_over),
        ("a voucher is there as it was kept last; an event is told once", vouchers_and_events),
        ("a grant is said again only to a join that is there", said_again),
        ("what a join may let through is there until it is counted", draws_until_counted),
    ];
    for (name, case) in cases {
        println!("{name}");
        let dir = tempfile::tempdir().unwrap();
        case(&open, dir.path());
    }
}

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn record(number: u8, gateway: PublicKey, state: State, version: u64) -> Record {
    let new =
        Record::new(PurchaseId([number; 16]), gateway, TERMINAL, "day".parse().unwrap(), Want::default());
    Record { state, version, ..new }
}

fn paid(number: u8) -> Posting {
    Posting {
        debit: Account::Stripe,
        amount: money("1.50 EUR"),
        credit: Account::Held,
        occasion: Occasion::Paid,
        purchase: PurchaseId([number; 16]),
    }
}

fn granted(number: u8) -> Posting {
    Posting { debit: Account::Held, credit: Account::Sales, occasion: Occasion::Granted, ..paid(number) }
}

fn trade(record: Record, postings: &[Posting]) -> Change {
    Change::Trade { record: Box::new(record), postings: postings.to_vec(), at: 1_700_000_000 }
}

fn together_or_not(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    for (change, outcome) in [
        (trade(record(1, GATEWAY, State::Paying, 2), &[]), Outcome::NoMatch),
        (trade(record(1, GATEWAY, State::Requested, 1), &[]), Outcome::Done),
        (trade(record(1, GATEWAY, State::Requested, 1), &[]), Outcome::NoMatch),
        (trade(record(1, GATEWAY, State::Paid, 2), &[paid(1)]), Outcome::Done),
        // Again, out of order, and once more for the same.
        (trade(record(1, GATEWAY, State::Paid, 2), &[paid(1)]), Outcome::NoMatch),
        (trade(record(1, GATEWAY, State::Granted, 4), &[granted(1)]), Outcome::NoMatch),
        (trade(record(1, GATEWAY, State::Granted, 3), &[paid(1)]), Outcome::NoMatch),
        (trade(record(1, GATEWAY, State::Granted, 3), &[granted(1)]), Outcome::Done),
    ] {
        assert_eq!(store.apply(std::slice::from_ref(&change)).unwrap(), [outcome], "{change:?}");
    }
    let entries = store.ledger(GATEWAY, 0, 10).unwrap();
    let occasions: Vec<_> = entries.iter().map(|entry| entry.posting.occasion).collect();
    assert_eq!(occasions, [Occasion::Paid, Occasion::Granted]);
    drop(store);
    let mut store = open(dir);
    assert_eq!(store.load().unwrap().purchases, [record(1, GATEWAY, State::Granted, 3)]);
    assert_eq!(store.ledger(GATEWAY, 0, 10).unwrap(), entries);
}

fn chains_hold(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    // Several in one transaction, of two gateways.
    let changes: Vec<Change> = (1..=6)
        .map(|number| {
            let gateway = if number % 2 == 0 { OTHER } else { GATEWAY };
            trade(record(number, gateway, State::Paid, 1), &[paid(number), granted(number)])
        })
        .collect();
    store.apply(&changes).unwrap();
    for gateway in [GATEWAY, OTHER] {
        let mut verifier = Verifier::new(gateway);
        let (mut after, mut pages) = (0, 0);
        loop {
            let page = store.ledger(gateway, after, 4).unwrap();
            let Some(last) = page.last() else { break };
            (after, pages) = (last.seq, pages + 1);
            page.iter().for_each(|entry| verifier.add(entry).unwrap());
        }
        assert_eq!((verifier.head().seq, pages), (6, 2));
    }
    assert!(store.ledger(TERMINAL, 0, 10).unwrap().is_empty());
}

fn what_is_over(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    for (number, state) in (1..).zip(State::ALL) {
        store.apply(&[trade(record(number, GATEWAY, state, 1), &[])]).unwrap();
        let is_loaded = store.load().unwrap().purchases.iter().any(|kept| kept.id.0[0] == number);
        assert_eq!(is_loaded, !state.is_final(), "{state:?}");
        let kept = store.purchase(PurchaseId([number; 16])).unwrap();
        assert_eq!(kept, Some(record(number, GATEWAY, state, 1)));
    }
    assert_eq!(store.purchase(PurchaseId([99; 16])).unwrap(), None);
}

fn vouchers_and_events(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    let voucher = |minor: u64| Voucher {
        hash: VoucherHash([7; 32]),
        value: money("5 EUR"),
        expires: 99,
        taken: BTreeMap::from([(PurchaseId([1; 16]), minor)]),
    };
    for minor in [150, 0] {
        store.apply(&[Change::KeepVoucher { voucher: voucher(minor) }]).unwrap();
    }
    let told = |event: &str, now| Change::Told { means: Means::Stripe, event: event.into(), now };
    let month = 31 * 86_400;
    let changes = [
        told("evt_1", 5),
        told("evt_1", 6),
        told("evt_2", 7),
        told("evt_3", 6 + month),
        told("evt_1", 6 + month),
    ];
    let outcomes = store.apply(&changes).unwrap();
    use Outcome::{Done, NoMatch};
    assert_eq!(outcomes, [Done, NoMatch, Done, Done, Done], "the first is forgotten after a month");
    drop(store);
    assert_eq!(open(dir).load().unwrap().vouchers, [voucher(0)]);
}

fn said_again(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    store.apply(&[Change::Open { session: session(1), notice: evict(1) }]).unwrap();
    let again = |number, incarnation| Change::Regrant {
        session: session(number).id,
        incarnation: Incarnation(incarnation),
        notice: evict(2),
    };
    let outcomes = store.apply(&[again(1, 1), again(1, 2), again(2, 1)]).unwrap();
    assert_eq!(outcomes, [Outcome::Seq(2), Outcome::NoMatch, Outcome::NoMatch]);
    assert_eq!(store.load().unwrap().outbox.len(), 2);
}

fn draws_until_counted(open: Open<'_>, dir: &Path) {
    let mut store = enrolled(open, dir);
    let draw = |grant: u8, incarnation, bytes| Draw {
        join: (GrantId([grant; 16]), Incarnation(incarnation)),
        gateway: GATEWAY,
        terminal: TERMINAL,
        bytes,
        over: None,
    };
    for draw in [draw(2, 1, 9), draw(1, 2, 5), draw(1, 1, 7), draw(1, 2, 6)] {
        assert_eq!(store.apply(&[Change::Draw { draw }]).unwrap(), [Outcome::Done]);
    }
    drop(store);
    let mut store = open(dir);
    assert_eq!(store.load().unwrap().draws, [draw(1, 1, 7), draw(1, 2, 6), draw(2, 1, 9)]);
    let drawn = Change::Drawn { joins: vec![draw(1, 1, 0).join, draw(2, 1, 0).join, draw(3, 1, 0).join] };
    store.apply(&[drawn.clone(), drawn]).unwrap();
    assert_eq!(store.load().unwrap().draws, [draw(1, 2, 6)]);
}
