//! The coordinator's flows over real sockets, with gateways and terminals written by hand.
//!
//! Faults, bad input and restarts: `coordinator_faults.rs`. The peers: `support/link_client.rs`.
#![cfg(feature = "coordinator")]
#![allow(clippy::unwrap_used)]

#[path = "support/coordinator.rs"]
#[allow(dead_code)]
mod harness;
#[path = "support/link_client.rs"]
#[allow(dead_code)]
mod link_client;

use std::time::{Duration, Instant};

use harness::*;
use link_client::{Gateway, SOON, Terminal, bssid, link, seen, station};
use serde_json::{Value, json};
use wayleave::model::{
    BeaconEpoch, BeaconSecret, Cause, Credential, GrantsDigest, Incarnation, Millis, ServiceId, Ssid,
};
use wayleave::wire::beacon::{Announcement, HeardBeacon};
use wayleave::wire::claim::ClaimToken;
use wayleave::wire::directory::DirectoryPart;
use wayleave::wire::gateway::{BeaconReport, FromGateway, Presence, SharedNetwork, ToGateway, grants_digest};
use wayleave::wire::hello::Role;
use wayleave::wire::notice::NoticeBody;
use wayleave::wire::sign::{Identity, service_id};
use wayleave::wire::terminal::{FromTerminal, ToTerminal};

#[tokio::test]
async fn a_gateway_enrols_once_with_its_claim() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let door = coordinator.door;
    let word = async |identity: &Identity, role, claim: Option<&str>| {
        link(door, identity, role, claim).await.map(|_| ()).map_err(|refusal| refusal.word)
    };
    let (one, two) = (Identity::generate(), Identity::generate());
    let (code, for_terminal) = (coordinator.claim("gateway"), coordinator.claim("terminal"));
    let refused = |word: &str| Err(word.to_owned());
    assert_eq!(word(&one, Role::Gateway, None).await, refused("unknown-key"));
    assert_eq!(word(&one, Role::Gateway, Some("abcdefghijkmnpqrstuvwxyz23")).await, refused("bad-claim"));
    assert_eq!(word(&one, Role::Gateway, Some(&for_terminal)).await, refused("bad-claim"));
    assert_eq!(word(&one, Role::Gateway, Some(&code)).await, Ok(()));
    assert_eq!(word(&two, Role::Gateway, Some(&code)).await, refused("bad-claim"), "it worked once");
    assert_eq!(word(&one, Role::Gateway, None).await, Ok(()), "enrolled for good");
    assert_eq!(word(&one, Role::Gateway, Some(&code)).await, Ok(()), "its welcome may have been lost");
    // Ten tries an hour; three were used.
    for _ in 0..7 {
        assert_eq!(word(&two, Role::Gateway, Some("x")).await, refused("bad-claim"));
    }
    assert_eq!(word(&two, Role::Gateway, Some("x")).await, refused("busy"));
    let good = coordinator.claim("gateway");
    assert_eq!(word(&two, Role::Gateway, Some(&good)).await, refused("busy"), "not even a good one");
}

#[tokio::test]
async fn an_expired_claim_does_not_work() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let answer = control(dir.path(), &json!({"verb": "claim", "valid": 1000}));
    let token: ClaimToken = answer["ok"]["token"].as_str().unwrap().parse().unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let refused = Gateway::connect(coordinator.door, &Identity::generate(), Some(token.code.expose())).await;
    assert_eq!(refused.err().unwrap().word, "bad-claim");
}

#[tokio::test]
async fn enrolled_terminals_need_a_claim_too() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), &format!("terminals = \"enrolled\"{QUICK}"));
    let identity = Identity::generate();
    let refused = link(coordinator.door, &identity, Role::Terminal, None).await;
    assert_eq!(refused.err().unwrap().word, "unknown-key");
    let code = coordinator.claim("terminal");
    link(coordinator.door, &identity, Role::Terminal, Some(&code)).await.unwrap();
    link(coordinator.door, &identity, Role::Terminal, None).await.unwrap();
}

#[tokio::test]
async fn from_asking_to_eviction_and_report() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, _) = coordinator.gateway(1).await;
    let (mut terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    assert_eq!(joined.service, service_id(gateway.key));
    assert_eq!((joined.heartbeat, joined.incarnation), (Millis(200), Incarnation(1)));
    let heard = Instant::now();
    until(async || state_of(dir.path(), &joined.session).as_deref() == Some("active")).await;

    // Silence: the gateway is asked, late but not early.
    let inquiry = gateway.notice().await;
    let after = heard.elapsed();
    assert!(after >= SILENCE - Duration::from_millis(20), "asked after {after:?}");
    assert!(after < SILENCE + Duration::from_secs(1), "asked after {after:?}");
    assert_eq!(inquiry.seq, None);
    // It moves bytes: it stays, and is asked again a whole silence later.
    gateway.socket.send(&presence(&inquiry, Some(true), Some(100), 5000)).await;
    let seen = Instant::now();
    let inquiry = gateway.notice().await;
    assert!(seen.elapsed() >= SILENCE - Duration::from_millis(20), "asked after {:?}", seen.elapsed());
    // Gone: evicted, once.
    gateway.socket.send(&presence(&inquiry, Some(false), None, 5000)).await;
    let notice = gateway.notice().await;
    let (cause, grant, incarnation) = eviction(&notice);
    assert_eq!((cause, incarnation), (Cause::Silence, Incarnation(1)));
    let over = terminal.told(SOON).await.unwrap();
    let expected = ToTerminal::Over {
        cause: Some(Cause::Silence),
        session: joined.session,
        incarnation: Incarnation(1),
    };
    assert_eq!(over, expected);
    assert_eq!(state_of(dir.path(), &joined.session).as_deref(), Some("evicting"));
    gateway.acknowledge(&notice).await;
    until(async || state_of(dir.path(), &joined.session).is_none()).await;

    // The report is kept once, however often it comes.
    let evicted = FromGateway::Evicted { number: 7, report: report(cause, grant, incarnation) };
    for _ in 0..2 {
        gateway.socket.send(&evicted).await;
        assert_eq!(gateway.message().await, ToGateway::ReportTaken { number: 7 });
    }
    // A heartbeat now is for a session that nobody knows.
    terminal.heartbeat(&joined).await;
    let over = terminal.told(SOON).await.unwrap();
    assert!(matches!(over, ToTerminal::Over { cause: None, .. }), "{over:?}");
    assert_eq!(gateway.notice_within(Duration::from_millis(700)).await, None, "nothing more");
}

#[tokio::test]
async fn a_directory_is_signed_told_by_difference_and_the_same_after_a_restart() {
    /// More than ten questions a second end a link.
    const A_LITTLE: Duration = Duration::from_millis(110);
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let key = coordinator.door.key;
    let area = Some("lyon/hall");
    let (mut one, _) = coordinator.gateway(1).await;
    let (mut two, _) = coordinator.gateway(2).await;
    one.announce_in(area, "cafe", bssid(1)).await;
    let mut terminal = Terminal::up(coordinator.door, &Identity::generate()).await;
    let listed = |part: &DirectoryPart| part.listed.iter().map(|listed| listed.bssid).collect::<Vec<_>>();
    let mut first = terminal.directory("lyon", None, 0).await.open(key).unwrap();
    while first.listed.is_empty() {
        tokio::time::sleep(A_LITTLE).await;
        first = terminal.directory("lyon", None, 0).await.open(key).unwrap();
    }
    assert_eq!((listed(&first), first.from, first.parts), (vec![bssid(1)], None, 1));
    assert_eq!(first.listed[0].service, service_id(one.key));
    let same = terminal.directory("lyon", Some(first.version), 0).await.open(key).unwrap();
    assert_eq!((same.from, same.version, listed(&same)), (Some(first.version), first.version, vec![]));

    // What another gateway has is not taken over, and `_nomap` is not listed.
    two.announce_in(area, "cafe", bssid(1)).await;
    two.announce_in(area, "home_nomap", bssid(3)).await;
    two.announce_in(area, "corner", bssid(2)).await;
    let mut second = first.clone();
    while second.version == first.version || second.listed.is_empty() {
        tokio::time::sleep(A_LITTLE).await;
        second = terminal.directory("lyon", Some(first.version), 0).await.open(key).unwrap();
    }
    assert_eq!((listed(&second), second.from), (vec![bssid(2)], Some(first.version)));
    assert_eq!(terminal.directory("paris", None, 0).await.open(key).unwrap().listed, []);
    assert!(terminal.directory("lyon", None, 0).await.open(one.key).is_err(), "it is the coordinator's");

    // It moves away.
    two.announce_in(Some("paris/hall"), "corner", bssid(2)).await;
    let mut third = second.clone();
    while third.version == second.version {
        tokio::time::sleep(A_LITTLE).await;
        third = terminal.directory("lyon", Some(second.version), 0).await.open(key).unwrap();
    }
    assert_eq!((third.gone.as_slice(), third.version), ([bssid(2)].as_slice(), first.version));

    drop(coordinator);
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let mut terminal = Terminal::up(coordinator.door, &Identity::generate()).await;
    let again = terminal.directory("lyon", Some(third.version), 0).await.open(key).unwrap();
    assert_eq!((again.version, listed(&again)), (third.version, vec![]), "who was gone is known still");
}

#[tokio::test]
async fn who_was_near_is_told_more_and_who_shows_something_else_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), &format!("{QUICK}lookups_per_minute = 30\n"));
    let (mut gateway, _) = coordinator.gateway(1).await;
    let (secret, epoch, service) = (BeaconSecret::new([7; 32]), BeaconEpoch([8; 8]), service_id(gateway.key));
    let network = SharedNetwork {
        ssid: Ssid::new("cafe").unwrap(),
        codes: false,
        bssids: vec![bssid(1)],
        credential: Credential::Open,
    };
    let report = BeaconReport { slot: 7, epoch, secret: secret.clone(), into_ms: 0, slot_ms: 300_000 };
    gateway.share_with(None, network, Some(report)).await;
    let heard = |service, slot, secret: &BeaconSecret| {
        let said = Announcement { service, room: true, epoch, slot, tariff: None };
        HeardBeacon::find(&said.prove(secret, bssid(1)).element())
    };
    let now = heard(service, 7, &secret);
    let mut terminal = Terminal::up(coordinator.door, &Identity::generate()).await;
    let named = async |terminal: &mut Terminal, beacon: &Option<HeardBeacon>| -> Vec<String> {
        let candidates = terminal.look_up(vec![seen(bssid(1), "cafe", beacon.clone())]).await.unwrap();
        candidates.into_iter().map(|candidate| candidate.name).collect()
    };
    until(async || named(&mut terminal, &None).await == [""]).await;
    assert_eq!(named(&mut terminal, &now).await, ["Corner"]);
    assert_eq!(named(&mut terminal, &heard(service, 6, &secret)).await, ["Corner"], "a scan takes time");
    let false_ones = [
        heard(service, 4, &secret),
        heard(service, 7, &BeaconSecret::new([9; 32])),
        heard(ServiceId([1; 16]), 7, &secret),
    ];
    for beacon in &false_ones {
        assert_eq!(named(&mut terminal, beacon).await, [""; 0]);
        terminal.want_after(bssid(1), station(1), beacon.clone()).await;
        let refused = terminal.answer().await.unwrap_err();
        assert!(refused.word.starts_with("beacon-"), "{refused}");
    }
    // Nothing at all is no token: what opens the network is not told from anywhere.
    terminal.want_after(bssid(1), station(1), None).await;
    assert_eq!(terminal.answer().await.unwrap_err().word, "beacon-missing");
    assert_eq!(gateway.notice_within(Duration::from_millis(300)).await, None, "it heard of nobody");
    terminal.want_after(bssid(1), station(1), now).await;
    let notice = gateway.notice().await;
    gateway.acknowledge(&notice).await;
    terminal.answer().await.unwrap();

    let mut asked = 0;
    let refused = loop {
        match terminal.look_up(Vec::new()).await {
            Ok(_) => asked += 1,
            Err(refused) => break refused,
        }
    };
    assert!(refused.word == "too-often" && asked < 30, "{refused} after {asked}");
}

#[tokio::test]
async fn another_key_at_the_same_address_asks_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), &format!("{QUICK}lookups_per_address = 4\n"));
    let mut first = Terminal::up(coordinator.door, &Identity::generate()).await;
    first.look_up(Vec::new()).await.unwrap();
    first.directory("lyon", None, 0).await;
    for _ in 0..2 {
        first.want(bssid(1), station(1)).await;
        assert_eq!(first.answer().await.unwrap_err().word, "unknown-ap");
    }
    // Keys are free; addresses are not.
    let mut other = Terminal::up(coordinator.door, &Identity::generate()).await;
    other.want(bssid(1), station(2)).await;
    assert_eq!(other.answer().await.unwrap_err().word, "too-often");
    assert_eq!(other.look_up(Vec::new()).await.unwrap_err().word, "too-often");
    let region = "lyon".parse().unwrap();
    other.socket.send(&FromTerminal::Directory { have: None, part: 7, region, request: 99 }).await;
    match other.socket.receive().await {
        Ok(ToTerminal::Refused { refusal, request: 99 }) => assert_eq!(refusal.word, "too-often"),
        answer => panic!("{answer:?} instead of a refusal"),
    }
}

#[tokio::test]
async fn only_what_was_asked_for_and_is_reachable_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (gateway, _) = coordinator.gateway(1).await;
    let (mut shy, _) = coordinator.gateway(2).await;
    shy.announce("home_nomap", bssid(2)).await;
    let (mut thief, _) = coordinator.gateway(3).await;
    thief.announce("cafe", bssid(1)).await;
    let mut terminal = Terminal::up(coordinator.door, &Identity::generate()).await;
    until(async || terminal.ask(&[(bssid(1), "cafe")]).await.len() == 1).await;
    let aps = [
        (bssid(9), "cafe"),
        (bssid(2), "home_nomap"),
        (bssid(1), "cafe"),
        (bssid(1), "cafe"),
        (bssid(1), "evil"),
    ];
    let candidates = terminal.ask(&aps).await;
    assert_eq!(candidates.len(), 1);
    assert_eq!(candidates[0].service, service_id(gateway.key), "whoever announced it first");
    assert!(terminal.ask(&[(bssid(1), "evil")]).await.is_empty(), "another name is another network");
    assert!(terminal.ask(&[]).await.is_empty());
    for (ap, address, word) in [
        (bssid(9), station(1), "unknown-ap"),
        (bssid(2), station(1), "unknown-ap"),
        (bssid(1), wayleave::model::MacAddr([0xff; 6]), "bad-station"),
    ] {
        terminal.want(ap, address).await;
        assert_eq!(terminal.answer().await.unwrap_err().word, word);
    }
    drop(gateway);
    until(async || terminal.ask(&[(bssid(1), "cafe")]).await.is_empty()).await;
    terminal.want(bssid(1), station(1)).await;
    assert_eq!(terminal.answer().await.unwrap_err().word, "gateway-away");
}

#[tokio::test]
async fn strict_evicts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, _) = coordinator.gateway(1).await;
    let service = service_id(gateway.key).to_string();
    let row = control(dir.path(), &json!({"verb": "policy", "gateway": service, "policy": "strict"}));
    assert_eq!(row["ok"]["policy"], "strict");
    let (_terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    let heard = Instant::now();
    let notice = gateway.notice().await;
    assert_eq!(eviction(&notice).0, Cause::Silence);
    assert!(heard.elapsed() >= SILENCE - Duration::from_millis(20), "{:?}", heard.elapsed());
    gateway.acknowledge(&notice).await;
    until(async || state_of(dir.path(), &joined.session).is_none()).await;
}

#[tokio::test]
async fn a_heartbeat_or_a_join_between_lapse_and_eviction_rescues() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, _) = coordinator.gateway(1).await;
    let (mut terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    let inquiry = gateway.notice().await;
    assert_eq!(state_of(dir.path(), &joined.session).as_deref(), Some("suspect"));
    terminal.heartbeat(&joined).await;
    until(async || state_of(dir.path(), &joined.session).as_deref() == Some("active")).await;
    // The answer that it is gone comes too late to count.
    gateway.socket.send(&presence(&inquiry, Some(false), None, 0)).await;
    assert_eq!(gateway.notice_within(SILENCE / 2).await, None);

    let inquiry = gateway.notice().await;
    let again = terminal.join(&mut gateway, bssid(1), station(9)).await;
    assert_eq!((again.session, again.incarnation), (joined.session, Incarnation(2)));
    gateway.socket.send(&presence(&inquiry, Some(false), None, 0)).await;
    terminal.heartbeat(&again).await;
    until(async || state_of(dir.path(), &joined.session).as_deref() == Some("active")).await;
    // A heartbeat and a leave of the earlier join do not count.
    terminal.heartbeat(&joined).await;
    let over = terminal.told(SOON).await.unwrap();
    assert!(
        matches!(over, ToTerminal::Over { cause: Some(Cause::Replaced), incarnation: Incarnation(1), .. }),
        "{over:?}"
    );
    terminal.leave(&joined).await;
    assert_eq!(gateway.notice_within(Duration::from_millis(200)).await, None);
}

#[tokio::test]
async fn a_join_after_the_eviction_was_decided_is_the_next_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, _) = coordinator.gateway(1).await;
    let (mut terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    terminal.leave(&joined).await;
    let evict = gateway.notice().await;
    assert_eq!(eviction(&evict).2, Incarnation(1));
    terminal.want(bssid(1), station(1)).await;
    let grant = gateway.notice().await;
    assert!(
        matches!(&grant.body, NoticeBody::Grant(spec) if spec.incarnation == Incarnation(2)),
        "{grant:?}"
    );
    assert!(grant.seq > evict.seq);
    gateway.acknowledge(&grant).await;
    let again = terminal.answer().await.unwrap();
    terminal.heartbeat(&again).await;
    until(async || state_of(dir.path(), &again.session).as_deref() == Some("active")).await;
}

#[tokio::test]
async fn leaving_frees_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), "[heartbeat]\ninterval = \"1h\"\n");
    let (mut gateway, _) = coordinator.gateway(1).await;
    let (mut terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    let mut stranger = Terminal::up(coordinator.door, &Identity::generate()).await;
    stranger.leave(&joined).await;
    stranger.heartbeat(&joined).await;
    let over = stranger.told(SOON).await.unwrap();
    assert!(matches!(over, ToTerminal::Over { cause: None, .. }), "another's session is unknown: {over:?}");
    assert_eq!(gateway.notice_within(Duration::from_millis(200)).await, None);
    terminal.leave(&joined).await;
    assert_eq!(eviction(&gateway.notice().await).0, Cause::Left);
}

#[tokio::test]
async fn nobody_takes_anothers_station() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, _) = coordinator.gateway(1).await;
    let (_terminal, _, _) = coordinator.session(&mut gateway, 1).await;
    let mut thief = Terminal::up(coordinator.door, &Identity::generate()).await;
    thief.want(bssid(1), station(1)).await;
    assert_eq!(thief.answer().await.unwrap_err().word, "station-taken");
}

#[tokio::test]
async fn a_grant_that_nobody_acknowledges_or_uses_ends() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, _) = coordinator.gateway(1).await;
    let mut terminal = Terminal::up(coordinator.door, &Identity::generate()).await;
    until(async || terminal.ask(&[(bssid(1), "cafe")]).await.len() == 1).await;
    terminal.want(bssid(1), station(1)).await;
    let grant = gateway.notice().await;
    let refusal = terminal.answer().await.unwrap_err();
    assert_eq!(refusal.word, "gateway-silent");
    assert!(refusal.sentence.contains("within 1000 ms; 1 notices wait"), "{refusal}");
    let evict = gateway.notice().await;
    assert_eq!(eviction(&evict).0, Cause::NeverJoined);
    assert_eq!(evict.seq, grant.seq.map(|seq| seq + 1));
    gateway.acknowledge(&evict).await;
    let none = json!([]);
    until(async || control(dir.path(), &json!({"verb": "sessions"}))["ok"]["sessions"] == none).await;

    // Acknowledged, but no heartbeat ever comes.
    let joined = terminal.join(&mut gateway, bssid(1), station(1)).await;
    let begin = Instant::now();
    let evict = gateway.notice().await;
    assert_eq!(eviction(&evict).0, Cause::NeverJoined);
    assert!(begin.elapsed() >= Duration::from_millis(2900), "{:?}", begin.elapsed());
    let over = terminal.told(SOON).await.unwrap();
    assert!(matches!(over, ToTerminal::Over { cause: Some(Cause::NeverJoined), .. }), "{over:?}");
    assert_eq!(joined.incarnation, Incarnation(1), "another session than the first");
}

#[tokio::test]
async fn a_terminal_may_sleep_and_wake_early() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, _) = coordinator.gateway(1).await;
    let (mut terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    terminal.heartbeat_with(&joined, Some(Duration::from_secs(2))).await;
    assert_eq!(gateway.notice_within(Duration::from_millis(1500)).await, None, "asleep");
    // Awake again: the usual time counts from here, not the long one.
    terminal.heartbeat_with(&joined, Some(Duration::from_secs(3600))).await;
    terminal.heartbeat(&joined).await;
    let awake = Instant::now();
    assert!(matches!(gateway.notice().await.body, NoticeBody::Inquire { .. }));
    assert!(awake.elapsed() < SILENCE + Duration::from_secs(1), "{:?}", awake.elapsed());
}

#[tokio::test]
async fn a_gateway_that_is_away_is_asked_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, identity) = coordinator.gateway(1).await;
    let (_terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    drop(gateway);
    until(async || state_of(dir.path(), &joined.session).as_deref() == Some("suspect")).await;
    tokio::time::sleep(SILENCE * 2).await;
    assert_eq!(
        state_of(dir.path(), &joined.session).as_deref(),
        Some("suspect"),
        "nobody can say that it is gone"
    );
    let mut gateway = Gateway::up(coordinator.door, &identity, 1, "cafe").await;
    let inquiry = gateway.notice().await;
    // It does not enforce that join any more: its lease ended there.
    let FromGateway::Presence(presence) = presence(&inquiry, None, None, 0) else { unreachable!() };
    gateway.socket.send(&FromGateway::Presence(Presence { incarnation: None, ..presence })).await;
    assert_eq!(eviction(&gateway.notice().await).0, Cause::Silence);
}

#[tokio::test]
async fn notices_are_sent_again_until_acknowledged_and_digests_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator =
        Coordinator::start(dir.path(), "[heartbeat]\ninterval = \"1h\"\n[patience]\nlease = \"3s\"\n");
    let (mut gateway, identity) = coordinator.gateway(1).await;
    let (mut terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    terminal.leave(&joined).await;
    let evict = gateway.notice().await;
    drop(gateway);
    let mut gateway = Gateway::up(coordinator.door, &identity, 1, "cafe").await;
    let again = gateway.notice().await;
    assert_eq!((again.seq, &again.body), (evict.seq, &evict.body), "the same, until acknowledged");
    // It says that it holds something else while that notice is open: compared again afterwards.
    let nothing = grants_digest([]);
    gateway.socket.send(&FromGateway::Holds { digest: GrantsDigest([9; 16]) }).await;
    assert_eq!(gateway.notice_within(Duration::from_millis(200)).await, None);
    gateway.acknowledge(&again).await;
    let ToGateway::Notice(signed) = gateway.message().await else { panic!() };
    let renewed = gateway.open(&signed).body;
    assert_eq!(renewed, NoticeBody::Renew { lease: Millis(3000), digest: nothing });

    // Two hundred grants, then a gateway that lost them all.
    let mut terminals = Vec::new();
    for number in 0..200 {
        let mut terminal = Terminal::up(coordinator.door, &Identity::generate()).await;
        terminals.push((terminal.join(&mut gateway, bssid(1), station(number)).await, terminal));
    }
    gateway.socket.send(&FromGateway::Holds { digest: nothing }).await;
    let (mut wanted, mut seen) = (Vec::new(), 0);
    loop {
        let notice = gateway.notice().await;
        assert_eq!(notice.seq, None);
        let NoticeBody::Desired { part, parts, grants, .. } = notice.body else { panic!("{notice:?}") };
        assert_eq!(part, seen);
        seen += 1;
        wanted.extend(grants);
        if seen == parts {
            break;
        }
    }
    assert_eq!((wanted.len(), seen), (200, 4));
    let digest =
        grants_digest(wanted.iter().map(|grant| (grant.id, grant.incarnation, grant.station, grant.quota)));
    gateway.socket.send(&FromGateway::Holds { digest }).await;
    assert_eq!(gateway.notice_within(Duration::from_millis(300)).await, None, "the same now");
    // And every third of a lease it hears that the coordinator lives.
    let begin = Instant::now();
    for _ in 0..3 {
        let ToGateway::Notice(signed) = gateway.message().await else { panic!() };
        assert_eq!(gateway.open(&signed).body, NoticeBody::Renew { lease: Millis(3000), digest });
    }
    assert!(begin.elapsed() < Duration::from_millis(3500), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn what_a_gateway_ends_by_itself_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let (mut gateway, _) = coordinator.gateway(1).await;
    let (mut other, _) = coordinator.gateway(2).await;
    let identity = Identity::generate();
    let mut terminal = Terminal::up(coordinator.door, &identity).await;
    until(async || terminal.ask(&[(bssid(1), "cafe")]).await.len() == 1).await;
    terminal.want(bssid(1), station(1)).await;
    let notice = gateway.notice().await;
    let NoticeBody::Grant(spec) = &notice.body else { panic!() };
    gateway.acknowledge(&notice).await;
    let joined = terminal.answer().await.unwrap();
    terminal.heartbeat(&joined).await;
    // Another gateway cannot end it.
    let ended =
        |number| FromGateway::Evicted { number, report: report(Cause::Quota, spec.id, spec.incarnation) };
    other.socket.send(&ended(1)).await;
    let ToGateway::ReportTaken { number: 1 } = last_message(&mut other).await else { panic!() };
    assert!(state_of(dir.path(), &joined.session).is_some());
    gateway.socket.send(&ended(2)).await;
    let over = terminal.told(SOON).await.unwrap();
    assert!(matches!(over, ToTerminal::Over { cause: Some(Cause::Quota), .. }), "{over:?}");
    until(async || state_of(dir.path(), &joined.session).is_none()).await;
}

#[tokio::test]
async fn mass_silence_evicts_nobody_until_heartbeats_return() {
    let dir = tempfile::tempdir().unwrap();
    let brake = "[brake]\nshare_percent = 15\nat_least = 5\nwindow = \"10s\"\n";
    let coordinator = Coordinator::start(dir.path(), &format!("policy = \"strict\"{QUICK}{brake}"));
    let (mut gateway, _) = coordinator.gateway(1).await;
    let mut sessions = Vec::new();
    for number in 0..30 {
        let identity = Identity::generate();
        let mut terminal = Terminal::up(coordinator.door, &identity).await;
        let joined = loop {
            // Keep those that are there alive meanwhile.
            for (terminal, joined) in &mut sessions {
                let terminal: &mut Terminal = terminal;
                terminal.heartbeat(joined).await;
            }
            if !terminal.ask(&[(bssid(1), "cafe")]).await.is_empty() {
                break terminal.join(&mut gateway, bssid(1), station(number)).await;
            }
        };
        terminal.heartbeat(&joined).await;
        sessions.push((terminal, joined));
    }
    for (terminal, joined) in &mut sessions {
        terminal.heartbeat(joined).await;
    }
    // All fall silent. What lapses before the brake has seen enough is evicted; the others stay.
    let mut evicted = 0;
    while let Some(notice) = gateway.notice_within(SILENCE * 3).await {
        eviction(&notice);
        evicted += 1;
    }
    assert!(evicted < 5, "{evicted} of 30 were evicted");
    let status = control(dir.path(), &json!({"verb": "status"}));
    let braked = status["ok"]["braked"].as_array().unwrap();
    assert!(braked.contains(&json!("node")), "{status}");
    // The heartbeats return: it lets go.
    for (terminal, joined) in &mut sessions {
        terminal.heartbeat(joined).await;
    }
    until(async || {
        control(dir.path(), &json!({"verb": "status"}))["ok"]["braked"].as_array().unwrap().is_empty()
    })
    .await;
}

#[tokio::test]
async fn the_api_wants_its_token_and_does_what_its_document_says() {
    let dir = tempfile::tempdir().unwrap();
    let token = "0123456789abcdef0123456789abcdef";
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let coordinator = Coordinator::start(dir.path(), &format!("api_token_file = {file:?}{QUICK}"));
    let door = coordinator.door;
    let auth = |head: &str| format!("{head} HTTP/1.1\r\nAuthorization: Bearer {token}");

    assert_eq!(http(door, "GET /healthz HTTP/1.1").await.0, 200);
    for head in ["GET /v1/gateways HTTP/1.1", "GET /v1/gateways HTTP/1.1\r\nAuthorization: Bearer x"] {
        let (status, body) = http(door, head).await;
        assert_eq!(status, 401);
        assert!(body.contains("bad-token"), "{body}");
    }
    let (_, document) = http(door, "GET /openapi.json HTTP/1.1").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/v1/claims",
            "/v1/gateways",
            "/v1/gateways/{service}/ledger",
            "/v1/gateways/{service}/policy",
            "/v1/gateways/{service}/reports",
            "/v1/gateways/{service}/tariffs",
            "/v1/messages",
            "/v1/messages/{message}",
            "/v1/purchases",
            "/v1/purchases/{purchase}",
            "/v1/purchases/{purchase}/payment",
            "/v1/sessions",
            "/v1/sessions/{session}"
        ]
    );

    let (status, claim) = http_with(door, &auth("POST /v1/claims"), r#"{"role":"gateway"}"#).await;
    assert_eq!(status, 201, "{claim}");
    let claim: Value = serde_json::from_str(&claim).unwrap();
    let code: ClaimToken = claim["token"].as_str().unwrap().parse().unwrap();
    let identity = Identity::generate();
    drop(Gateway::connect(door, &identity, Some(code.code.expose())).await.unwrap());
    let mut gateway = Gateway::up(door, &identity, 1, "cafe").await;
    let (_terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    let service = service_id(gateway.key);

    let policy = auth(&format!("PUT /v1/gateways/{service}/policy"));
    let (status, row) = http_with(door, &policy, r#"{"policy":"strict"}"#).await;
    assert_eq!((status, row.contains(r#""policy":"strict""#)), (200, true), "{row}");
    let (status, error) = http_with(door, &policy, r#"{"policy":"lax"}"#).await;
    assert_eq!((status, error.contains("corroborate")), (422, true), "{error}");
    assert_eq!(http_with(door, &auth("PUT /v1/gateways/00/policy"), "{}").await.0, 404);
    let (_, sessions) = http(door, &auth(&format!("GET /v1/sessions?gateway={service}"))).await;
    assert!(sessions.contains(&joined.session.to_string()), "{sessions}");
    let evict = auth(&format!("DELETE /v1/sessions/{}", joined.session));
    assert_eq!(http(door, &evict).await.0, 202);
    let notice = gateway.notice().await;
    let (cause, grant, incarnation) = eviction(&notice);
    assert_eq!(cause, Cause::Owner);
    gateway.acknowledge(&notice).await;
    gateway.socket.send(&FromGateway::Evicted { number: 1, report: report(cause, grant, incarnation) }).await;
    assert!(matches!(last_message(&mut gateway).await, ToGateway::ReportTaken { number: 1 }));
    assert_eq!(http(door, &evict).await.0, 404);
    let (_, reports) = http(door, &auth(&format!("GET /v1/gateways/{service}/reports"))).await;
    let reports: Value = serde_json::from_str(&reports).unwrap();
    assert_eq!(reports[0]["cause"], "owner");
    assert_eq!(reports[0]["steps"][0]["freed"], 3);
}
