//! Messages of a coordinator: kept, handed to the gateway, told by its own link where the gateway does not say that it
//! delivered them. With gateways and terminals written by hand; the real ones: `netns_push.rs`.
#![cfg(feature = "coordinator")]
#![allow(clippy::unwrap_used)]

#[path = "support/coordinator.rs"]
#[allow(dead_code)]
mod harness;
#[path = "support/link_client.rs"]
#[allow(dead_code)]
mod link_client;

use std::path::Path;
use std::time::{Duration, Instant};

use harness::*;
use link_client::{Gateway, SOON, Terminal, bssid, station};
use serde_json::{Value, json};
use wayleave::model::{Message, MessageId};
use wayleave::wire::gateway::FromGateway;
use wayleave::wire::notice::NoticeBody;
use wayleave::wire::sign::{Identity, service_id};
use wayleave::wire::terminal::{FromTerminal, ToTerminal};

/// What a gateway has to deliver, and some time around it.
const DELAY: Duration = Duration::from_secs(5);
const BEFORE: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(9);

#[tokio::test]
async fn what_the_gateway_does_not_deliver_comes_by_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), "");
    let (mut gateway, identity) = coordinator.gateway(1).await;
    let (mut other, _) = coordinator.gateway(2).await;
    let (mut terminal, _, joined) = coordinator.session(&mut gateway, 1).await;

    let pushed = Instant::now();
    let sent = push(dir.path(), json!({"session": joined.session}), "hello");
    let (at_gateway, _) = handed(&mut gateway, &coordinator).await;
    assert_eq!((at_gateway.id, at_gateway.text.as_str()), (sent, "hello"));
    // A gateway where the terminal is not has nothing to say about it.
    other.socket.send(&FromGateway::Taken { message: sent, terminal: terminal.key }).await;
    assert!(terminal.told(BEFORE.saturating_sub(pushed.elapsed())).await.is_none(), "too early");
    assert_eq!(told(&mut terminal, &coordinator, AFTER).await.id, sent);
    assert!(pushed.elapsed() >= DELAY, "{:?}", pushed.elapsed());
    // Not again on this link, but on the next one: nobody said that it is there.
    terminal.heartbeat(&joined).await;
    assert!(terminal.told(Duration::from_secs(1)).await.is_none());
    terminal.socket.send(&FromTerminal::Taken { message: sent }).await;
    let withdrawn = gateway.notice().await.body;
    assert_eq!(withdrawn, NoticeBody::Withdraw { message: sent });
    assert_eq!(rows(dir.path()), json!([]));

    // What the gateway delivers, the link does not bring; and each gateway gets what is for its terminals, at each link.
    let sent = push(dir.path(), json!({"gateway": service_id(gateway.key)}), "all");
    handed(&mut gateway, &coordinator).await;
    gateway.socket.send(&FromGateway::Taken { message: sent, terminal: terminal.key }).await;
    until(async || rows(dir.path())[0]["taken"] == 1).await;
    assert!(terminal.told(AFTER).await.is_none());
    drop(gateway);
    let mut gateway = Gateway::up(coordinator.door, &identity, 1, "cafe").await;
    let (again, valid) = handed(&mut gateway, &coordinator).await;
    assert_eq!(again.id, sent);
    let day = Duration::from_secs(24 * 3600);
    assert!((day - SOON..day).contains(&valid), "{valid:?}");
    assert!(other.notice_within(Duration::from_millis(300)).await.is_none());
}

#[tokio::test]
async fn what_is_for_an_area_is_told_there_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), "");
    let (mut hall, _) = coordinator.gateway(1).await;
    let (mut quay, _) = coordinator.gateway(2).await;
    for (gateway, area, number) in [(&mut hall, "lyon/hall", 1), (&mut quay, "lyon/quay", 2)] {
        gateway.announce_in(Some(area), "cafe", bssid(number)).await;
    }
    let (mut here, _, joined) = coordinator.session(&mut hall, 1).await;
    let mut there = Terminal::up(coordinator.door, &Identity::generate()).await;
    until(async || there.ask(&[(bssid(2), "cafe")]).await.len() == 1).await;
    let elsewhere = there.join(&mut quay, bssid(2), station(2)).await;
    here.heartbeat(&joined).await;
    there.heartbeat(&elsewhere).await;
    let sent = push(dir.path(), json!({"area": "lyon/hall"}), "the hall closes");
    assert_eq!(told(&mut here, &coordinator, AFTER).await.id, sent);
    here.socket.send(&FromTerminal::Taken { message: sent }).await;
    until(async || rows(dir.path())[0]["taken"] == 1).await;
    assert!(there.told(Duration::from_millis(300)).await.is_none());
    there.socket.send(&FromTerminal::Taken { message: sent }).await;
    there.heartbeat(&elsewhere).await;
    assert!(hall.notice_within(Duration::from_millis(300)).await.is_none(), "no gateway is given it");
    assert_eq!(rows(dir.path())[0]["taken"], 1, "who is elsewhere has nothing to say about it");
    let refused = control(dir.path(), &json!({"verb": "push", "to": {"area": "lyon/moon"}, "text": "x"}));
    assert_eq!(refused["error"]["word"], "unknown-area", "{refused}");
}

#[tokio::test]
async fn messages_survive_a_restart_with_who_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), "");
    let (mut gateway, identity) = coordinator.gateway(1).await;
    let (one, one_identity, _) = coordinator.session(&mut gateway, 1).await;
    let (two, two_identity, joined) = coordinator.session(&mut gateway, 2).await;
    assert_ne!(station(1), station(2));
    let to = json!({"gateway": service_id(gateway.key)});
    let sent = push(dir.path(), to.clone(), "all");
    let brief = control(dir.path(), &json!({"verb": "push", "to": to, "text": "brief", "valid": 1000}));
    assert_eq!(brief["ok"]["taken"], 0, "{brief}");
    handed(&mut gateway, &coordinator).await;
    gateway.socket.send(&FromGateway::Taken { message: sent, terminal: one.key }).await;
    until(async || rows(dir.path()).as_array().unwrap().iter().any(|row| row["taken"] == 1)).await;
    until(async || rows(dir.path()).as_array().unwrap().len() == 1).await;
    coordinator.stop();
    drop((one, two, gateway));

    let coordinator = Coordinator::start(dir.path(), "");
    assert_eq!(rows(dir.path())[0]["taken"], 1);
    let _gateway = Gateway::up(coordinator.door, &identity, 1, "cafe").await;
    let mut one = Terminal::up(coordinator.door, &one_identity).await;
    let mut two = Terminal::up(coordinator.door, &two_identity).await;
    let sessions = control(dir.path(), &json!({"verb": "sessions"}))["ok"]["sessions"].clone();
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    let first =
        sessions.as_array().unwrap().iter().find(|row| row["terminal"] == one.key.to_string()).unwrap();
    let first = wayleave::wire::terminal::Joined {
        session: first["session"].as_str().unwrap().parse().unwrap(),
        ..joined.clone()
    };
    one.heartbeat(&first).await;
    two.heartbeat(&joined).await;
    assert_eq!(told(&mut two, &coordinator, AFTER).await.id, sent);
    assert!(one.told(Duration::from_millis(300)).await.is_none(), "the first has it");
    // Its link breaks before it says so: again.
    drop(two);
    let mut two = Terminal::up(coordinator.door, &two_identity).await;
    two.heartbeat(&joined).await;
    assert_eq!(told(&mut two, &coordinator, AFTER).await.id, sent);
    two.socket.send(&FromTerminal::Taken { message: sent }).await;
    until(async || rows(dir.path())[0]["taken"] == 2).await;
}

#[tokio::test]
async fn the_api_tells_lists_and_withdraws() {
    let dir = tempfile::tempdir().unwrap();
    let token = "0123456789abcdef0123456789abcdef";
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let coordinator = Coordinator::start(dir.path(), &format!("api_token_file = {file:?}\n"));
    let door = coordinator.door;
    let (mut gateway, _) = coordinator.gateway(1).await;
    let (_terminal, _, joined) = coordinator.session(&mut gateway, 1).await;
    let auth = |head: &str| format!("{head} HTTP/1.1\r\nAuthorization: Bearer {token}");
    let post = auth("POST /v1/messages");
    assert_eq!(http(door, "GET /v1/messages HTTP/1.1").await.0, 401);
    for (body, status, word) in [
        (json!({"text": "x"}), 422, "bad-message"),
        (json!({"text": "x", "session": joined.session, "gateway": "00".repeat(16)}), 422, "bad-message"),
        (json!({"text": "a\u{1b}[2J", "session": joined.session}), 422, "bad-message"),
        (json!({"text": "x", "session": joined.session, "link": "javascript:x"}), 422, "bad-message"),
        (json!({"text": "x", "session": joined.session, "valid_s": 0}), 422, "bad-time"),
        (json!({"text": "x", "session": "00".repeat(16)}), 404, "unknown-session"),
        (json!({"text": "x", "gateway": "zz"}), 404, "unknown-gateway"),
        (json!({"text": "x", "grant": "zz"}), 422, "bad-request"),
    ] {
        let (found, said) = http_with(door, &post, &body.to_string()).await;
        assert_eq!((found, said.contains(word)), (status, true), "{body}: {said}");
    }
    let body =
        json!({"text": "café", "link": "https://a.example/", "session": joined.session, "valid_s": 60});
    let (status, said) = http_with(door, &post, &body.to_string()).await;
    assert_eq!(status, 201, "{said}");
    let view: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&view["text"], &view["session"]), (&json!("café"), &json!(joined.session)));
    assert_eq!(handed(&mut gateway, &coordinator).await.0.id.to_string(), view["message"]);
    let (_, list) = http(door, &auth("GET /v1/messages")).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["message"]), (1, &view["message"]));
    for _ in 1..64 {
        assert_eq!(http_with(door, &post, &body.to_string()).await.0, 201);
    }
    let (status, said) = http_with(door, &post, &body.to_string()).await;
    assert_eq!((status, said.contains("too-many-messages")), (409, true), "{said}");

    let delete = auth(&format!("DELETE /v1/messages/{}", view["message"].as_str().unwrap()));
    assert_eq!(http(door, &delete).await.0, 200);
    assert_eq!(http(door, &delete).await.0, 404);
    assert_eq!(http(door, &auth("DELETE /v1/messages/x")).await.0, 404);
}

#[track_caller]
fn push(dir: &Path, to: Value, text: &str) -> MessageId {
    let answer = control(dir, &json!({"verb": "push", "to": to, "text": text}));
    answer["ok"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

fn rows(dir: &Path) -> Value {
    control(dir, &json!({"verb": "messages"}))["ok"].clone()
}

/// What the gateway is given for its terminals, and for how long.
async fn handed(gateway: &mut Gateway, coordinator: &Coordinator) -> (Message, Duration) {
    match gateway.notice().await.body {
        NoticeBody::Push { valid, message } => {
            (message.open(coordinator.door.key).expect("the coordinator signed it"), valid.into())
        }
        other => panic!("{other:?} instead of a message"),
    }
}

/// What a terminal is told by its link.
async fn told(terminal: &mut Terminal, coordinator: &Coordinator, within: Duration) -> Message {
    match terminal.told(within).await {
        Some(ToTerminal::Push { message, .. }) => message.open(coordinator.door.key).expect("it is signed"),
        other => panic!("{other:?} instead of a message"),
    }
}
