//! What every adapter must do. A provider behind it is the double, `tests/support/payd.rs`, with each of its misbehaviours.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::http::Base;
use super::payd::{EPOCH, KEY, Misbehaviour, Payd, WEBHOOK_SECRET, signed};
use super::{BadWebhook, Free, Intent, Payments, Port, PortError, Started, Stripe};
use crate::config::coordinator::Settings;
use crate::coordinator::hub::Hub;
use crate::coordinator::store::Sqlite;
use crate::coordinator::store::Store;
use crate::coordinator::store::writer::{Writer, WriterThread};
use crate::host::clock;
use crate::logic::trade::purchase::Observation;
use crate::logic::trade::vouchers::Voucher;
use crate::model::trade::{Means, Money};
use crate::model::{Link, PublicKey, PurchaseId, Secret};
use crate::wire::sign::Identity;
use crate::wire::voucher::VoucherCode;

const PURCHASE: PurchaseId = PurchaseId([1; 16]);

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

/// Cards at a double.
pub fn stripe(payd: &Payd) -> Stripe {
    let base = Base::parse(&payd.url()).unwrap();
    let secrets = vec![Secret::new("whsec_of_next_year"), Secret::new(WEBHOOK_SECRET)];
    let back = Link::new("https://corner.example/").unwrap();
    Stripe::new(base, Path::new("/nonexistent"), Secret::new(KEY), secrets, back).unwrap()
}

fn intent(purchase: PurchaseId, price: Option<&str>, code: Option<&str>) -> Intent {
    Intent {
        purchase,
        terminal: PublicKey([2; 32]),
        price: price.map(money),
        about: "Corner: day & night".into(),
        code: code.map(Secret::new),
    }
}

/// Begins, as often as it takes.
async fn start(port: &impl Port, intent: &Intent) -> Started {
    for _ in 0..5 {
        match port.start(intent).await {
            Ok(started) => return started,
            Err(PortError::Unsure { .. }) => {}
            Err(refused) => panic!("{refused}"),
        }
    }
    panic!("never started")
}

async fn observe(port: &impl Port, purchase: PurchaseId, reference: Option<&str>) -> Observation {
    for _ in 0..5 {
        if let Ok(observation) = port.observe(purchase, reference).await {
            return observation;
        }
    }
    panic!("never observed")
}

async fn refund(port: &impl Port, purchase: PurchaseId, reference: Option<&str>) -> Observation {
    for _ in 0..5 {
        if let Ok(observation) = port.refund(purchase, reference).await {
            return observation;
        }
    }
    panic!("never given back")
}

/// The suite: `pay` is what the buyer does, and `settled` what is then to be seen.
async fn conforms(port: &impl Port, intent: &Intent, pay: impl Fn(), settled: Observation) {
    let purchase = intent.purchase;
    port.quote(intent.price).unwrap();
    let first = start(port, intent).await;
    assert_eq!(start(port, intent).await, first, "begun again is begun once");
    pay();
    let reference = Some(first.reference.as_str());
    for _ in 0..2 {
        assert_eq!(observe(port, purchase, reference).await, settled);
    }
    assert_eq!(start(port, intent).await, first, "also once it is paid");
    for _ in 0..2 {
        assert_eq!(refund(port, purchase, reference).await, Observation::Refunded, "given back once");
        // Of nothing nobody knows whether it was given back.
        if intent.price.is_some() {
            assert_eq!(observe(port, purchase, reference).await, Observation::Refunded);
        }
    }
}

/// A coordinator without links, for what needs a store.
pub fn hub(dir: &Path) -> (Arc<Hub>, WriterThread) {
    let text = format!("public = \"c:1\"\nstate_dir = {dir:?}\nruntime_dir = {dir:?}\n");
    let settings = Settings::from_text(&dir.join("c.toml"), &text).unwrap();
    let mut store = Sqlite::open(dir).unwrap();
    let loaded = store.load().unwrap();
    let (writer, thread) = Writer::start(Box::new(store), |error| panic!("{error}")).unwrap();
    (Hub::new(Identity::generate(), settings, writer, loaded), thread)
}

#[tokio::test]
async fn cards_conform_whatever_the_provider_does_wrong() {
    for misbehaviour in Misbehaviour::ALL {
        println!("{misbehaviour:?}");
        let payd = Payd::with(misbehaviour);
        let port = stripe(&payd);
        let settled = match misbehaviour {
            Misbehaviour::LiesAboutAmount => money("1.51 EUR"),
            Misbehaviour::LiesAboutCurrency => money("1.50 USD"),
            _ => money("1.50 EUR"),
        };
        let name = PURCHASE.to_string();
        let pay = || assert!(payd.buyer_pays(&name));
        let intent = intent(PURCHASE, Some("1.50 EUR"), None);
        conforms(&port, &intent, pay, Observation::Settled(Some(settled))).await;
        assert_eq!(
            (payd.charged(&name), payd.pages(&name)),
            ((0, 1), 1),
            "one page, one charge, and it is back"
        );
    }
}

#[tokio::test]
async fn nothing_conforms() {
    let intent = intent(PURCHASE, None, None);
    conforms(&Free, &intent, || {}, Observation::Settled(None)).await;
    assert!(Free.quote(Some(money("1 EUR"))).is_err());
}

#[tokio::test]
async fn vouchers_conform_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let code = VoucherCode::generate();
    let (other, text) = (PurchaseId([2; 16]), code.reveal());
    let payments = Payments::new(None);
    {
        let (hub, thread) = hub(dir.path());
        let voucher = Voucher {
            hash: code.hash(),
            value: money("2 EUR"),
            expires: clock::calendar() + 100,
            taken: BTreeMap::new(),
        };
        crate::coordinator::vouchers::keep(&hub, voucher).await.unwrap();
        let port = payments.voucher.at(&hub);
        let paid = intent(PURCHASE, Some("1.50 EUR"), Some(&text));
        conforms(&port, &paid, || {}, Observation::Settled(Some(money("1.50 EUR")))).await;
        start(&port, &intent(other, Some("2 EUR"), Some(&text))).await;
        let third = port.start(&intent(PurchaseId([3; 16]), Some("1 EUR"), Some(&text))).await.unwrap_err();
        assert!(matches!(third, PortError::Refused(refusal) if refusal.word == "voucher-short"));
        drop(hub);
        thread.join();
    }
    let (hub, _thread) = hub(dir.path());
    assert_eq!(
        observe(&payments.voucher.at(&hub), other, None).await,
        Observation::Settled(Some(money("2 EUR")))
    );
    // Without its code, which is kept nowhere.
    start(&payments.voucher.at(&hub), &intent(other, Some("2 EUR"), None)).await;
    assert!(payments.quote(Means::Stripe, Some(money("1 EUR"))).is_err());
}

#[tokio::test]
async fn two_purchases_at_once_do_not_spend_a_voucher_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, _thread) = hub(dir.path());
    let code = VoucherCode::generate();
    let voucher =
        Voucher { hash: code.hash(), value: money("5 EUR"), expires: u64::MAX >> 1, taken: BTreeMap::new() };
    crate::coordinator::vouchers::keep(&hub, voucher).await.unwrap();
    let payments = Arc::new(Payments::new(None));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (hub, payments, text) = (Arc::clone(&hub), Arc::clone(&payments), code.reveal());
        tasks.spawn(async move {
            let intent = intent(PurchaseId([number; 16]), Some("1 EUR"), Some(&text));
            payments.start(&hub, Means::Voucher, &intent).await.is_ok()
        });
    }
    let paid = tasks.join_all().await.into_iter().filter(|paid| *paid).count();
    assert_eq!(paid, 5);
}

#[tokio::test]
async fn a_webhook_counts_if_it_was_signed_with_the_key_and_lately() {
    let payd = Payd::with(Misbehaviour::None);
    let port = stripe(&payd);
    let body = |purchase: &str| {
        format!("{{\"id\":\"evt_1\",\"data\":{{\"object\":{{\"client_reference_id\":\"{purchase}\"}}}}}}")
            .into_bytes()
    };
    let ours = body(&PURCHASE.to_string());
    let ingest = |secret: &str, at: u64, body: Vec<u8>| {
        let (headers, body) = signed(secret, at, body);
        port.ingest(&headers, &body, EPOCH)
    };
    let events = ingest(WEBHOOK_SECRET, EPOCH, ours.clone()).unwrap();
    assert_eq!((events[0].id.as_str(), events[0].purchase), ("evt_1", PURCHASE));
    for (at, fits) in [(EPOCH - 300, true), (EPOCH + 300, true), (EPOCH - 301, false), (EPOCH + 301, false)] {
        let off = ingest(WEBHOOK_SECRET, at, ours.clone());
        assert_eq!(off.is_ok(), fits, "{at}");
        assert!(fits || matches!(off, Err(BadWebhook::Stale { off: 301, most: 300 })));
    }
    assert_eq!(ingest("whsec_of_last_year", EPOCH, ours.clone()), Err(BadWebhook::Forged));
    assert_eq!(ingest(WEBHOOK_SECRET, EPOCH, b"{}".to_vec()), Err(BadWebhook::Unreadable));
    assert_eq!(ingest(WEBHOOK_SECRET, EPOCH, body("somebody else's")), Ok(vec![]));
    let (headers, mut body) = signed(WEBHOOK_SECRET, EPOCH, ours.clone());
    body.push(b' ');
    assert_eq!(port.ingest(&headers, &body, EPOCH), Err(BadWebhook::Forged), "over the raw body");
    assert_eq!(port.ingest(&[], &ours, EPOCH), Err(BadWebhook::Unsigned));
    for header in ["", "t=1", "v1=00", "t=x,v1=00", "t=1,v1=zz"] {
        let headers = [("stripe-signature".to_owned(), header.to_owned())];
        assert_eq!(port.ingest(&headers, &ours, EPOCH), Err(BadWebhook::Unsigned), "{header}");
    }
    assert_eq!(Free.ingest(&[], &[], EPOCH), Err(BadWebhook::None));
}

#[tokio::test]
async fn currencies_that_are_counted_otherwise_are_not_taken() {
    let payd = Payd::start();
    let port = stripe(&payd);
    for (price, fits) in
        [("1 EUR", true), ("300 JPY", true), ("1 KWD", false), ("100 UGX", false), ("100 ISK", false)]
    {
        assert_eq!(port.quote(Some(money(price))).is_ok(), fits, "{price}");
    }
    // Nobody there: nothing is known.
    drop(payd);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let unsure = port.start(&intent(PURCHASE, Some("1 EUR"), None)).await.unwrap_err();
    assert!(matches!(unsure, PortError::Unsure { .. }), "{unsure}");
}
