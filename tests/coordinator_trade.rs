//! Selling through the real coordinator: its links, its HTTP API and its control socket, with a real provider of cards.
#![cfg(feature = "coordinator")]
#![allow(clippy::unwrap_used)]

#[path = "support/coordinator.rs"]
#[allow(dead_code)]
mod coordinator;
#[path = "support/link_client.rs"]
#[allow(dead_code)]
mod link_client;
#[path = "support/payd.rs"]
mod payd;

use std::path::Path;
use std::time::Duration;

use coordinator::{Coordinator, QUICK, control, eviction, http, http_with, last_message, report, until};
use link_client::{Gateway, Terminal, bssid, ssid, station};
use payd::{KEY, Misbehaviour, Payd, WEBHOOK_SECRET};
use serde_json::{Value, json};
use wayleave::model::trade::{FeeOffer, Limits, Means, Pricing, PurchaseState, Rounding, Tariff, Want};
use wayleave::model::{
    Cause, Credential, GrantSpec, GrantsDigest, Millis, PurchaseId, Refusal, Report, Secret, Traffic,
};
use wayleave::wire::gateway::{Announce, FromGateway, SharedNetwork, ToGateway};
use wayleave::wire::ledger::{Row, Verifier};
use wayleave::wire::notice::NoticeBody;
use wayleave::wire::sign::{Identity, service_id};
use wayleave::wire::terminal::{FromTerminal, Joined, PurchaseView, ToTerminal};
use wayleave::wire::trade::{BidAnswer, SignedFee};

/// Nobody is silent for long enough.
const PATIENT: &str = "
[heartbeat]
interval = \"1s\"
lapse_factor = 100
[patience]
grant = \"20s\"
join = \"100s\"
[limits]
joins_per_minute = 6000
";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn tariff() -> Tariff {
    Tariff {
        id: "volume".parse().unwrap(),
        limits: Limits { bytes_most: Some(5_000_000), ..Limits::default() },
        pricing: Pricing::PerBytes { bytes: 1_000_000, price: "1 EUR".parse().unwrap() },
        rounding: Rounding::Up,
    }
}

/// A gateway that sells.
async fn seller(coordinator: &Coordinator) -> (Gateway, Identity) {
    let identity = Identity::generate();
    enrol(coordinator, &identity).await;
    (sells_at(coordinator, &identity, 1).await, identity)
}

async fn enrol(coordinator: &Coordinator, identity: &Identity) {
    drop(Gateway::connect(coordinator.door, identity, Some(&coordinator.claim("gateway"))).await.unwrap());
}

/// One that was enrolled, connected as the access point with this number.
async fn sells_at(coordinator: &Coordinator, identity: &Identity, number: u8) -> Gateway {
    let mut gateway = Gateway::connect(coordinator.door, identity, None).await.unwrap();
    let network = SharedNetwork {
        ssid: ssid("cafe"),
        codes: false,
        bssids: vec![bssid(number)],
        credential: Credential::Psk { passphrase: Secret::new("correct horse") },
    };
    let announce = Announce {
        area: None,
        name: "Corner".into(),
        beacon: None,
        service: service_id(gateway.key),
        tariffs: vec![tariff()],
        announced: Vec::new(),
        networks: vec![network],
    };
    gateway.socket.send(&FromGateway::Announce(announce)).await;
    gateway
}

/// Asks for this much; the gateway answers as its owner would.
async fn offered(
    gateway: &mut Gateway,
    identity: &Identity,
    terminal: &mut Terminal,
    bytes: u64,
) -> PurchaseView {
    let want = Want { bytes: Some(bytes), ..Want::default() };
    let service = service_id(gateway.key);
    let buy = FromTerminal::Buy { want, tariff: "volume".parse().unwrap(), request: 77, service };
    terminal.socket.send(&buy).await;
    // Others may be told of as they stand now, once for each step that they went.
    let requested = loop {
        let view = view(terminal).await;
        if view.request == Some(77) {
            break view;
        }
    };
    assert_eq!(requested.state, PurchaseState::Requested);
    let notice = gateway.notice().await;
    let NoticeBody::Bid(bid) = notice.body else { panic!("{notice:?}") };
    answer(gateway, identity, bid.purchase, &bid.want, bid.terminal).await;
    loop {
        let offered = view(terminal).await;
        if offered.purchase == requested.purchase {
            assert_eq!(offered.state, PurchaseState::Offered);
            return offered;
        }
    }
}

async fn answer(
    gateway: &mut Gateway,
    identity: &Identity,
    purchase: PurchaseId,
    want: &Want,
    terminal: wayleave::model::PublicKey,
) {
    let answer = match tariff().cost(want) {
        Ok(cost) => {
            let offer = FeeOffer {
                price: cost.price,
                valid: Millis(60_000),
                tariff: "volume".parse().unwrap(),
                service: service_id(gateway.key),
                purchase,
                terminal,
                allowance: cost.allowance,
            };
            BidAnswer::Offered(SignedFee::new(identity, &offer).unwrap())
        }
        Err(refused) => BidAnswer::Refused(Refusal::new(refused.word(), refused.to_string())),
    };
    gateway.socket.send(&FromGateway::Bid { answer, purchase }).await;
}

/// How a purchase stands now, said by the coordinator.
async fn view(terminal: &mut Terminal) -> PurchaseView {
    loop {
        match terminal.socket.receive().await {
            Ok(ToTerminal::Purchase(view)) => return *view,
            // A session that was open at the time.
            Ok(ToTerminal::Over { .. }) => {}
            other => panic!("{other:?} instead of a purchase"),
        }
    }
}

/// Waits until it stands so.
async fn stands(terminal: &mut Terminal, state: PurchaseState) -> PurchaseView {
    loop {
        let view = view(terminal).await;
        if view.state == state {
            return view;
        }
        assert!(view.refusal.is_none(), "{view:?}");
    }
}

fn vouchers(dir: &Path, value: &str, count: u32) -> Vec<String> {
    let (amount, currency) = value.split_once(' ').unwrap();
    let minor: u64 = amount.parse::<u64>().unwrap() * 100;
    let value = json!({"minor": minor, "currency": currency});
    let answer = control(dir, &json!({"verb": "vouchers", "count": count, "value": value}));
    let codes = answer["ok"]["codes"].as_array().unwrap_or_else(|| panic!("{answer}"));
    codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

fn ledger(dir: &Path, gateway: &Gateway) -> Verifier {
    let service = service_id(gateway.key);
    let answer = control(dir, &json!({"verb": "ledger", "gateway": service.to_string()}));
    let mut verifier = Verifier::new(gateway.key);
    for row in answer["ok"]["entries"].as_array().unwrap() {
        let row: Row = serde_json::from_value(row.clone()).unwrap();
        verifier.add(&row.entry().unwrap()).unwrap();
    }
    verifier
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_bought_with_a_voucher_used_up_topped_up_and_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, identity) = seller(&coordinator).await;
    let mut terminal = Terminal::up(coordinator.door, &Identity::generate()).await;
    until(async || terminal.ask(&[(bssid(1), "cafe")]).await.len() == 1).await;

    // The tariffs are there for everybody, access is not.
    let service = service_id(gateway.key);
    until(async || {
        terminal.socket.send(&FromTerminal::Tariffs { request: 5, service }).await;
        let answer: ToTerminal = terminal.socket.receive().await.unwrap();
        answer == ToTerminal::Tariffs { request: 5, service, tariffs: vec![tariff()] }
    })
    .await;
    terminal.want(bssid(1), station(1)).await;
    assert_eq!(terminal.answer().await.unwrap_err().word, "not-paid");

    let offer = offered(&mut gateway, &identity, &mut terminal, 2_000_000).await;
    let signed = offer.offer.clone().unwrap();
    let fee = signed.open(gateway.key, terminal.key, offer.purchase).unwrap();
    assert_eq!(fee.price.unwrap().to_string(), "2.00 EUR");

    // A wrong code takes nothing, and another may be tried.
    let code = vouchers(dir.path(), "5 EUR", 1).remove(0);
    let pay = |code: &str| FromTerminal::Pay {
        code: Some(Secret::new(code)),
        means: Means::Voucher,
        purchase: offer.purchase,
    };
    terminal.socket.send(&pay("abcde-abcde-abcde-abcde")).await;
    loop {
        let view = view(&mut terminal).await;
        if view.state == PurchaseState::Offered {
            assert_eq!(view.refusal.unwrap().word, "voucher-mistyped");
            break;
        }
    }
    terminal.socket.send(&pay(&code)).await;
    stands(&mut terminal, PurchaseState::Paid).await;

    // What was bought is the quota of the grant.
    terminal.want(bssid(1), station(1)).await;
    let notice = gateway.notice().await;
    let NoticeBody::Grant(spec) = &notice.body else { panic!("{notice:?}") };
    assert_eq!(spec.quota, Some(2_000_000));
    gateway.acknowledge(&notice).await;
    let joined = loop {
        match terminal.socket.receive().await.unwrap() {
            ToTerminal::Joined(joined) => break joined,
            ToTerminal::Purchase(_) => {}
            other => panic!("{other:?}"),
        }
    };
    terminal.heartbeat(&joined).await;

    // Little is left; more is bought and the same grant is said again with more.
    gateway.socket.send(&FromGateway::Low { grant: spec.id }).await;
    stands(&mut terminal, PurchaseState::Low).await;
    let more = offered(&mut gateway, &identity, &mut terminal, 1_000_000).await;
    let means = Means::Voucher;
    let pay = FromTerminal::Pay { code: Some(Secret::new(code.clone())), means, purchase: more.purchase };
    terminal.socket.send(&pay).await;
    let notice = gateway.notice().await;
    let NoticeBody::Grant(again) = &notice.body else { panic!("{notice:?}") };
    assert_eq!((again.id, again.incarnation, again.quota), (spec.id, spec.incarnation, Some(3_000_000)));
    gateway.acknowledge(&notice).await;
    let mut states = vec![];
    while !(states.contains(&PurchaseState::Extended) && states.contains(&PurchaseState::Granted)) {
        states.push(view(&mut terminal).await.state);
    }

    // All of it is used up: it is over, and nothing is left.
    let used = report(Cause::Quota, spec.id, spec.incarnation);
    gateway.socket.send(&FromGateway::Evicted { number: 1, report: used }).await;
    let mut over = 0;
    while over < 2 {
        match terminal.socket.receive().await.unwrap() {
            ToTerminal::Purchase(view) if view.state == PurchaseState::Over => over += 1,
            ToTerminal::Purchase(_) | ToTerminal::Over { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    terminal.want(bssid(1), station(1)).await;
    assert_eq!(terminal.answer().await.unwrap_err().word, "not-paid");

    let verifier = ledger(dir.path(), &gateway);
    let sums: Vec<String> = verifier
        .sums()
        .map(|(account, currency, debit, credit)| format!("{account} {currency} {debit} {credit}"))
        .collect();
    assert_eq!(sums, ["voucher EUR 300 0", "held EUR 300 300", "sales EUR 0 300"]);
    assert_eq!(verifier.head().seq, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_charged_once_and_webhooks_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let payd = Payd::with(Misbehaviour::Repeats);
    std::fs::write(dir.path().join("key"), KEY).unwrap();
    std::fs::write(dir.path().join("secret"), WEBHOOK_SECRET).unwrap();
    std::fs::write(dir.path().join("token"), TOKEN).unwrap();
    let more = format!(
        "api_token_file = {:?}\n{QUICK}\n[stripe]\nkey_file = {:?}\nwebhook_secret_file = {:?}\n\
         return_url = \"https://corner.example/\"\nbase = {:?}\n",
        dir.path().join("token"),
        dir.path().join("key"),
        dir.path().join("secret"),
        payd.url()
    );
    let coordinator = Coordinator::start(dir.path(), &more);
    let door = coordinator.door;
    let (mut gateway, identity) = seller(&coordinator).await;
    let terminal = Identity::generate();
    let service = service_id(gateway.key);
    let bearer = |head: &str| format!("{head} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}");

    until(async || {
        let (status, body) = http(door, &bearer(&format!("GET /v1/gateways/{service}/tariffs"))).await;
        status == 200 && body.contains("volume")
    })
    .await;
    let buy = json!({"terminal": terminal.public().to_string(), "gateway": service.to_string(),
        "tariff": "volume", "bytes": 1_500_000});
    let (status, body) = http_with(door, &bearer("POST /v1/purchases"), &buy.to_string()).await;
    assert_eq!(status, 201, "{body}");
    let purchase = serde_json::from_str::<Value>(&body).unwrap()["purchase"].as_str().unwrap().to_owned();
    let notice = gateway.notice().await;
    let NoticeBody::Bid(bid) = notice.body else { panic!("{notice:?}") };
    answer(&mut gateway, &identity, bid.purchase, &bid.want, bid.terminal).await;
    let at = async || {
        let (_, body) = http(door, &bearer(&format!("GET /v1/purchases/{purchase}"))).await;
        serde_json::from_str::<Value>(&body).unwrap()
    };
    until(async || at().await["state"] == "offered").await;
    assert_eq!(at().await["price"], "1.50 EUR");

    let pay = |means: &str| json!({"means": means}).to_string();
    let path = bearer(&format!("POST /v1/purchases/{purchase}/payment"));
    let (status, body) = http_with(door, &path, &pay("free")).await;
    assert_eq!((status, body.contains("not-free")), (409, true), "{body}");
    let (status, _) = http_with(door, &path, &pay("stripe")).await;
    assert_eq!(status, 200);
    until(async || at().await["page"].is_string()).await;
    assert!(payd.buyer_pays(&purchase));

    // Forged, without a signature, too long ago: none is believed, and no token is asked for.
    let post = async |headers: &[(String, String)], body: &[u8]| {
        let lines: String = headers.iter().map(|(name, value)| format!("\r\n{name}: {value}")).collect();
        let head = format!("POST /v1/webhooks/stripe HTTP/1.1{lines}");
        http_with(door, &head, std::str::from_utf8(body).unwrap()).await.0
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(post(&[], b"{}").await, 400);
    let (headers, body) = payd::signed("whsec_of_somebody_else", now, b"{}".to_vec());
    assert_eq!(post(&headers, &body).await, 400);
    let (headers, body) = payd::signed(WEBHOOK_SECRET, now - 400, b"{}".to_vec());
    assert_eq!(post(&headers, &body).await, 400);
    for (headers, body) in payd.due(now) {
        assert_eq!(post(&headers, &body).await, 200);
    }
    until(async || at().await["state"] == "paid").await;
    assert_eq!(payd.charged(&purchase), (150, 1));

    // Nobody joins; what the store has is what the next run goes on with.
    coordinator.stop();
    let coordinator = Coordinator::start(dir.path(), &more);
    let answer = control(dir.path(), &json!({"verb": "ledger", "gateway": service.to_string()}));
    let entries = answer["ok"]["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]["occasion"]), (1, &json!("paid")));
    let (status, body) = http(coordinator.door, &bearer(&format!("GET /v1/gateways/{service}/ledger"))).await;
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()), (200, Value::from(entries.clone())));
}

/// Pays with a voucher what was offered, until it is paid.
async fn pays(dir: &Path, terminal: &mut Terminal, purchase: PurchaseId) {
    let code = Some(Secret::new(vouchers(dir, "5 EUR", 1).remove(0)));
    let pay = FromTerminal::Pay { code, means: Means::Voucher, purchase };
    terminal.socket.send(&pay).await;
    stands(terminal, PurchaseState::Paid).await;
}

/// The answer to a join, past what is told of purchases and sessions.
async fn joined(terminal: &mut Terminal) -> Result<Joined, Refusal> {
    loop {
        match terminal.socket.receive().await.unwrap() {
            ToTerminal::Joined(joined) => return Ok(joined),
            ToTerminal::Refused { refusal, .. } => return Err(refusal),
            ToTerminal::Purchase(_) | ToTerminal::Over { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The next notice, which grants; acknowledged.
async fn grants(gateway: &mut Gateway) -> GrantSpec {
    let notice = gateway.notice().await;
    let NoticeBody::Grant(spec) = notice.body.clone() else { panic!("{notice:?}") };
    gateway.acknowledge(&notice).await;
    spec
}

/// The eviction of a grant, carried out; the report says that this much was moved.
async fn evicts(gateway: &mut Gateway, number: u64, spec: &GrantSpec, moved: u64) {
    let notice = gateway.notice().await;
    assert_eq!(eviction(&notice), (Cause::Replaced, spec.id, spec.incarnation));
    gateway.acknowledge(&notice).await;
    reports(gateway, number, spec, moved).await;
}

async fn reports(gateway: &mut Gateway, number: u64, spec: &GrantSpec, moved: u64) {
    let moved = Traffic { up_bytes: moved, ..Traffic::default() };
    let report = Report { moved, ..report(Cause::Replaced, spec.id, spec.incarnation) };
    gateway.socket.send(&FromGateway::Evicted { number, report }).await;
    assert_eq!(last_message(gateway).await, ToGateway::ReportTaken { number });
}

/// An owner with two gateways: what was bought at one is good at the other, as far as it was not used.
#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_what_was_bought_moves_to_another_gateway_of_the_owner() {
    let dir = tempfile::tempdir().unwrap();
    let identities = [Identity::generate(), Identity::generate(), Identity::generate()];
    let services = identities.each_ref().map(|identity| service_id(identity.public()).to_string());
    let more = format!("{PATIENT}[owners]\nanne = [{:?}, {:?}]\n", services[0], services[1]);
    let coordinator = Coordinator::start(dir.path(), &more);
    for identity in &identities {
        enrol(&coordinator, identity).await;
    }
    let mut house = sells_at(&coordinator, &identities[0], 1).await;
    let mut garden = sells_at(&coordinator, &identities[1], 2).await;
    let _neighbour = sells_at(&coordinator, &identities[2], 3).await;
    let mut terminal = Terminal::up(coordinator.door, &Identity::generate()).await;
    until(async || terminal.ask(&[1, 2, 3].map(|number| (bssid(number), "cafe"))).await.len() == 3).await;
    let offer = offered(&mut house, &identities[0], &mut terminal, 2_000_000).await;
    pays(dir.path(), &mut terminal, offer.purchase).await;

    // Used first where it was not bought.
    terminal.want(bssid(2), station(1)).await;
    let there = grants(&mut garden).await;
    assert_eq!(there.quota, Some(2_000_000));
    let access = joined(&mut terminal).await.unwrap();
    terminal.heartbeat(&access).await;
    // A neighbour is another owner.
    terminal.want(bssid(3), station(1)).await;
    assert_eq!(joined(&mut terminal).await.unwrap_err().word, "not-paid");

    // It moves: the one before ends, and has said what was used before there is a grant.
    terminal.want(bssid(1), station(1)).await;
    assert!(house.notice_within(Duration::from_millis(200)).await.is_none(), "the rest is not known");
    evicts(&mut garden, 1, &there, 600_000).await;
    let here = grants(&mut house).await;
    assert_eq!(here.quota, Some(1_400_000));
    let access = joined(&mut terminal).await.unwrap();
    terminal.heartbeat(&access).await;

    // The one before cannot be asked: whatever it was told may be used, and more that is bought is not.
    drop(house);
    until(async || terminal.ask(&[(bssid(1), "cafe")]).await.is_empty()).await;
    terminal.want(bssid(2), station(1)).await;
    assert_eq!(joined(&mut terminal).await.unwrap_err().word, "rest-unknown");
    let more_of_it = offered(&mut garden, &identities[1], &mut terminal, 1_000_000).await;
    pays(dir.path(), &mut terminal, more_of_it.purchase).await;
    terminal.want(bssid(2), station(1)).await;
    let there = grants(&mut garden).await;
    assert_eq!(there.quota, Some(1_000_000));
    let access = joined(&mut terminal).await.unwrap();
    terminal.heartbeat(&access).await;

    // A restart changes nothing of it.
    coordinator.stop();
    let coordinator = Coordinator::start(dir.path(), &more);
    let mut garden = sells_at(&coordinator, &identities[1], 2).await;
    let digest = GrantsDigest([0; 16]);
    garden.socket.send(&FromGateway::Holds { digest }).await;
    let notice = garden.notice().await;
    let NoticeBody::Desired { grants: wanted, .. } = &notice.body else { panic!("{notice:?}") };
    assert_eq!((wanted.len(), wanted[0].id, wanted[0].quota), (1, there.id, Some(1_000_000)));

    // When it says what was used, what nobody used is free, and said where the terminal is.
    let mut house = sells_at(&coordinator, &identities[0], 1).await;
    evicts(&mut house, 1, &here, 400_000).await;
    let raised = grants(&mut garden).await;
    assert_eq!((raised.id, raised.incarnation, raised.quota), (there.id, there.incarnation, Some(2_000_000)));
    // Said again, it is no other use; and nobody speaks for another gateway.
    reports(&mut house, 1, &here, 400_000).await;
    reports(&mut house, 2, &raised, 2_000_000).await;
    assert!(garden.notice_within(Duration::from_millis(200)).await.is_none());
}
