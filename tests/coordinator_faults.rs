//! The coordinator under bad input, slow clients, a full disk, restarts, kill -9 and SIGSTOP.
//!
//! Those that kill or stop it run it as a process of its own.
#![cfg(feature = "coordinator")]
#![allow(clippy::unwrap_used)]

#[path = "support/disk.rs"]
mod disk;
#[path = "support/coordinator.rs"]
#[allow(dead_code)]
mod harness;
#[path = "support/link_client.rs"]
#[allow(dead_code)]
mod link_client;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use disk::Disk;
use harness::*;
use link_client::{Gateway, Nothing, SOON, Socket, Terminal, bssid, station, tls};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wayleave::model::{Cause, Incarnation, ServiceId, SessionId};
use wayleave::wire::gateway::FromGateway;
use wayleave::wire::hello::{Hello, Proof, Role};
use wayleave::wire::notice::NoticeBody;
use wayleave::wire::sign::{Identity, new_boot_id};
use wayleave::wire::terminal::Heartbeat;

#[tokio::test]
async fn malformed_oversized_forged_and_replayed_frames_close_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let door = coordinator.door;
    let (gateway, gateway_identity) = coordinator.gateway(1).await;
    let terminal = async || Terminal::up(door, &Identity::generate()).await.socket;

    for (bytes, code, word) in [
        (vec![0xff; 10], 1007, "malformed"),
        (vec![], 1007, "malformed"),
        (vec![0x81; 1000], 1007, "malformed"),
        (b"\xa1\x65leave\x00".to_vec(), 1007, "malformed"),
        // A whole heartbeat is expected, not a gateway's message.
        (b"\xa1\x6backnowledge\xa1\x63seq\x01".to_vec(), 1007, "malformed"),
        (vec![0; 16 * 1024 + 1], 1009, "too-long"),
        (vec![0; 1 << 20], 1009, "too-long"),
    ] {
        let mut socket = terminal().await;
        socket.send_bytes(bytes.clone()).await;
        let (found, reason) = socket.closed().await;
        assert_eq!(found, code, "{} bytes: {reason}", bytes.len());
        assert!(reason.starts_with(word), "{reason}");
    }
    let mut socket = terminal().await;
    socket.send_text("{}").await;
    assert_eq!(socket.closed().await.0, 1003);

    // Garbage and silence instead of a hello.
    let mut socket = Socket::open(door).await.unwrap();
    socket.send_bytes(vec![1, 2, 3]).await;
    assert_eq!(socket.closed().await.0, 1007);

    // A proof by another key, one for another link, and another protocol.
    let identity = Identity::generate();
    for (signer, version, nonce_off, word) in [
        (&Identity::generate(), 1, 0, "bad-proof"),
        (&identity, 1, 1, "bad-proof"),
        (&identity, 2, 0, "version"),
    ] {
        let mut socket = Socket::open(door).await.unwrap();
        let hello = Hello {
            key: identity.public(),
            boot: new_boot_id(),
            role: Role::Terminal,
            agent: String::new(),
            claim: None,
            version,
        };
        socket.send(&hello).await;
        let wayleave::wire::hello::Challenge { mut nonce } = socket.receive().await.unwrap();
        nonce.0.0[0] ^= nonce_off;
        socket.send(&Proof::new(signer, &hello, nonce, door.key)).await;
        let verdict = socket.receive().await.unwrap();
        assert!(
            matches!(&verdict, wayleave::wire::hello::Verdict::Refused { word: found, .. } if found == word),
            "{verdict:?}"
        );
        assert_eq!(socket.closed().await.0, 1008);
    }

    // A gateway that does not announce itself, announces another's service, acknowledges what was not sent.
    let seq = FromGateway::Acknowledge { seq: 1 };
    let mut other = Gateway::connect(door, &gateway_identity, None).await.unwrap();
    other.socket.send(&seq).await;
    assert!(other.socket.closed().await.1.starts_with("not-announced"));
    drop(gateway);
    let mut other = Gateway::connect(door, &gateway_identity, None).await.unwrap();
    let service = ServiceId([0; 16]);
    let announce = wayleave::wire::gateway::Announce {
        area: None,
        name: String::new(),
        beacon: None,
        service,
        tariffs: vec![],
        networks: vec![],
        announced: vec![],
    };
    other.socket.send(&FromGateway::Announce(announce)).await;
    assert!(other.socket.closed().await.1.starts_with("wrong-service"));
    let mut other = Gateway::up(door, &gateway_identity, 1, "cafe").await;
    other.socket.send(&FromGateway::Acknowledge { seq: 1000 }).await;
    assert!(other.socket.closed().await.1.starts_with("unsent"));

    // More than anybody needs.
    let mut fast = Terminal::up(door, &Identity::generate()).await;
    let heartbeat = wayleave::wire::terminal::FromTerminal::Heartbeat(Heartbeat {
        rx: 0,
        tx: 0,
        next: None,
        service: ServiceId([0; 16]),
        session: SessionId([0; 16]),
        incarnation: Incarnation(1),
    });
    for _ in 0..200 {
        fast.socket.send(&heartbeat).await;
    }
    let reason = fast.socket.closed().await.1;
    assert!(reason.starts_with("too-fast") || reason.starts_with("replaced"), "{reason}");

    let page = http(door, "GET /metrics HTTP/1.1").await.1;
    assert!(page.contains("wayleave_frames_dropped_total{kind=\"malformed\"} 6"), "{page}");
    assert!(page.contains("wayleave_frames_dropped_total{kind=\"too-long\"} 2"), "{page}");
    assert!(page.contains("wayleave_refused_total{kind=\"bad-proof\"} 2"), "{page}");
}

#[tokio::test]
async fn a_slow_client_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    // TCP and nothing; TLS and nothing; half a request; a WebSocket and nothing.
    let mut tcp = tokio::net::TcpStream::connect(coordinator.door.address).await.unwrap();
    let mut quiet = tls(coordinator.door).await.unwrap();
    let mut half = tls(coordinator.door).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: x").await.unwrap();
    let mut socket = Socket::open(coordinator.door).await.unwrap();
    let begin = Instant::now();
    let limit = Duration::from_secs(14);
    let mut buffer = [0; 512];
    let gone = |read: Result<std::io::Result<usize>, _>| matches!(read, Ok(Ok(0) | Err(_)));
    assert!(gone(tokio::time::timeout(limit, tcp.read(&mut buffer)).await));
    assert!(gone(tokio::time::timeout(limit, quiet.read(&mut buffer)).await));
    // Perhaps with a 408 first.
    while !gone(tokio::time::timeout(limit, half.read(&mut buffer)).await) {
        assert!(begin.elapsed() < limit);
    }
    let closed = socket.receive_within::<Verdictless>(limit).await;
    assert!(matches!(closed, Err(Nothing::Closed(1008, _))), "{closed:?}");
    assert!(begin.elapsed() < limit);
}

#[tokio::test]
async fn an_address_that_comes_too_often_is_told_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator =
        Coordinator::start(dir.path(), "[limits]\nhellos_per_minute = 3\nlinks_per_address = 4\n");
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(Socket::open(coordinator.door).await.unwrap());
    }
    let Err(error) = Socket::open(coordinator.door).await else { panic!("a fourth hello") };
    assert!(error.contains("429"), "{error}");
    // The fifth connection at once is not even spoken to; the one that was refused is gone by now.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let kept = tls(coordinator.door).await.unwrap();
    assert!(tls(coordinator.door).await.is_err());
    drop(kept);
}

#[tokio::test]
async fn restarted_under_heartbeats_nobody_is_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let more = format!("policy = \"strict\"{QUICK}");
    let coordinator = Coordinator::start(dir.path(), &more);
    let (mut gateway, gateway_identity) = coordinator.gateway(1).await;
    let (_terminal, identity, joined) = coordinator.session(&mut gateway, 1).await;
    let key = coordinator.door.key;
    coordinator.stop();
    tokio::time::sleep(SILENCE * 2).await;

    let coordinator = Coordinator::start(dir.path(), &more);
    assert_eq!(coordinator.door.key, key, "the same identity");
    let mut gateway = Gateway::up(coordinator.door, &gateway_identity, 1, "cafe").await;
    assert_eq!(gateway.notice_within(SILENCE / 2).await, None, "a whole silence begins anew");
    let mut terminal = Terminal::up(coordinator.door, &identity).await;
    for _ in 0..10 {
        terminal.heartbeat(&joined).await;
        assert_eq!(gateway.notice_within(Duration::from_millis(200)).await, None);
    }
    assert_eq!(terminal.told(Duration::from_millis(50)).await, None, "nothing to tell");
    // And when it really stops, it is found.
    assert_eq!(eviction(&gateway.notice().await).0, Cause::Silence);
}

#[tokio::test]
async fn a_damaged_state_is_an_error_and_no_new_identity() {
    let dir = tempfile::tempdir().unwrap();
    Coordinator::start(dir.path(), QUICK).stop();
    let key = dir.path().join("state/identity.key");
    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, "nonsense").unwrap();
    let error = Coordinator::try_start(dir.path(), QUICK).err().unwrap();
    assert!(error.contains("identity.key: not an Ed25519 private key"), "{error}");
    std::fs::remove_file(&key).unwrap();
    let error = Coordinator::try_start(dir.path(), QUICK).err().unwrap();
    assert!(error.contains("missing beside an existing database"), "{error}");
    assert!(!key.exists());
    std::fs::write(&key, good).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(dir.path().join("state/wayleave.db"), [7; 10_000]).unwrap();
    let error = Coordinator::try_start(dir.path(), QUICK).err().unwrap();
    assert!(error.contains("store"), "{error}");
}

#[tokio::test]
async fn killed_under_heartbeats_nobody_is_evicted_and_nothing_decided_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let more = format!("policy = \"strict\"{QUICK}");
    let process = Process::start(dir.path(), &more);
    let (mut gateway, gateway_identity) = enrolled(dir.path(), process.door).await;
    let mut sessions = Vec::new();
    for number in 0..5 {
        let identity = Identity::generate();
        let mut terminal = Terminal::up(process.door, &identity).await;
        until(async || terminal.ask(&[(bssid(1), "cafe")]).await.len() == 1).await;
        let joined = terminal.join(&mut gateway, bssid(1), station(number)).await;
        for (terminal, joined, _) in &mut sessions {
            let terminal: &mut Terminal = terminal;
            terminal.heartbeat(joined).await;
        }
        terminal.heartbeat(&joined).await;
        sessions.push((terminal, joined, identity));
    }
    // One leaves; the gateway has heard of it and not acknowledged when the coordinator dies.
    let (mut leaver, left, _) = sessions.remove(0);
    leaver.leave(&left).await;
    let evict = gateway.notice().await;
    process.signal(Signal::SIGKILL);
    drop(process);

    let process = Process::start(dir.path(), &more);
    let mut gateway = Gateway::up(process.door, &gateway_identity, 1, "cafe").await;
    let mut terminals = Vec::new();
    for (_, joined, identity) in &sessions {
        terminals.push((Terminal::up(process.door, identity).await, joined));
    }
    let again = gateway.notice().await;
    assert_eq!((again.seq, again.body), (evict.seq, evict.body), "what was decided is said again");
    for _ in 0..8 {
        for (terminal, joined) in &mut terminals {
            terminal.heartbeat(joined).await;
        }
        assert_eq!(gateway.notice_within(Duration::from_millis(200)).await, None, "nobody is evicted");
    }
}

#[tokio::test]
async fn paused_nobody_is_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path(), &format!("policy = \"strict\"{QUICK}"));
    let (mut gateway, _) = enrolled(dir.path(), process.door).await;
    let mut terminal = Terminal::up(process.door, &Identity::generate()).await;
    until(async || terminal.ask(&[(bssid(1), "cafe")]).await.len() == 1).await;
    let joined = terminal.join(&mut gateway, bssid(1), station(1)).await;
    terminal.heartbeat(&joined).await;
    process.signal(Signal::SIGSTOP);
    // Ten silences long, heartbeats pile up in the socket.
    for _ in 0..30 {
        terminal.heartbeat(&joined).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    process.signal(Signal::SIGCONT);
    for _ in 0..5 {
        terminal.heartbeat(&joined).await;
        assert_eq!(gateway.notice_within(Duration::from_millis(200)).await, None);
    }
    assert_eq!(eviction(&gateway.notice().await).0, Cause::Silence, "and silence is silence again");
}

#[tokio::test]
#[ignore = "needs root, to mount a tmpfs: sudo ./run test unit"]
async fn on_a_full_disk_new_grants_are_refused_and_evictions_go_on() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    let disk = Disk::mount(dir, "16m");
    let coordinator = Coordinator::start(dir, QUICK);
    let (mut gateway, _) = coordinator.gateway(1).await;
    let mut sessions = Vec::new();
    for number in 0..10 {
        sessions.push(coordinator.session(&mut gateway, number).await);
    }
    disk.fill();
    let mut late = Terminal::up(coordinator.door, &Identity::generate()).await;
    // The log of the database has some room of its own; then it is over with new ones.
    let mut joined = 0;
    let refusal = loop {
        late.want(bssid(1), station(100)).await;
        let notice = tokio::select! {
            notice = gateway.notice_within(SOON) => notice.unwrap(),
            answer = late.answer() => break answer.unwrap_err(),
        };
        if matches!(notice.body, NoticeBody::Grant(_)) {
            gateway.acknowledge(&notice).await;
            joined += 1;
            late.answer().await.unwrap();
        } else if notice.seq.is_some() {
            gateway.acknowledge(&notice).await;
        }
        assert!(joined < 20_000, "the disk never fills");
        disk.fill();
    };
    assert_eq!(refusal.word, "store-full");
    let status = control(dir, &json!({"verb": "status"}));
    assert_eq!(status["ok"]["store_full"], true);
    assert_eq!(control(dir, &json!({"verb": "claim"}))["error"]["word"], "store-full");
    assert_eq!(http(coordinator.door, "GET /healthz HTTP/1.1").await.0, 503);
    // Those that stand still leave, durably, while the reserve is taken by somebody else as well.
    for (terminal, _, joined) in &mut sessions {
        disk.fill();
        terminal.leave(joined).await;
        let asked = Instant::now();
        loop {
            assert!(asked.elapsed() < SOON, "no eviction on a full disk");
            let notice = gateway.notice().await;
            if notice.seq.is_none() {
                continue;
            }
            gateway.acknowledge(&notice).await;
            if eviction(&notice).0 == Cause::Left {
                break;
            }
        }
        until(async || state_of(dir, &joined.session).is_none()).await;
    }
    // Room again: new ones are taken.
    disk.empty();
    until(async || control(dir, &json!({"verb": "status"}))["ok"]["store_full"] == false).await;
    until(async || {
        late.want(bssid(1), station(100)).await;
        tokio::select! {
            notice = gateway.notice() => { gateway.acknowledge(&notice).await; true }
            answer = late.answer() => answer.is_ok(),
        }
    })
    .await;
}

#[tokio::test]
async fn the_control_socket_refuses_what_it_does_not_understand() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), QUICK);
    let socket = dir.path().join("run/coordinator.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    for (request, word) in [
        (json!({"verb": "reboot"}), "bad-request"),
        (json!({"verb": "claim", "roll": 1}), "bad-request"),
        (json!([]), "bad-request"),
        (json!({"verb": "evict", "session": "00"}), "bad-request"),
        (json!({"verb": "evict", "session": "00".repeat(16)}), "unknown-session"),
        (json!({"verb": "policy", "gateway": "00".repeat(16), "policy": "strict"}), "unknown-gateway"),
        (json!({"verb": "sessions", "gateway": "00".repeat(16)}), "unknown-gateway"),
        (json!("a".repeat(wayleave::wire::local::MAX_LINE)), "too-long"),
    ] {
        assert_eq!(control(dir.path(), &request)["error"]["word"], word, "{request}");
    }
    // Several requests on one connection, and bytes that are no text.
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"\xff\x00\n{\"verb\":\"gateways\"}\n{\"verb\":\"status\"}\n").unwrap();
    let words: Vec<Value> = BufReader::new(stream)
        .lines()
        .take(3)
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(words[0]["error"]["word"], "bad-request");
    assert_eq!(words[1]["ok"], json!([]));
    assert_eq!(words[2]["ok"]["key"], coordinator.door.key.to_string());
}

#[tokio::test]
async fn an_idle_terminal_costs_little() {
    let dir = tempfile::tempdir().unwrap();
    let process =
        Process::start(dir.path(), "[heartbeat]\ninterval = \"1h\"\n[limits]\nhellos_per_minute = 100000\n");
    let rss = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    let mut terminals = Vec::new();
    let mut open = async |count: usize| {
        for _ in 0..count {
            terminals.push(Terminal::up(process.door, &Identity::generate()).await);
        }
    };
    open(100).await;
    let before = rss();
    open(400).await;
    let each = (rss() - before) / 400;
    println!("{each} bytes for each connection");
    assert!(each <= 24 * 1024, "{each} bytes for each connection");
}
#[derive(Debug, serde::Deserialize)]
struct Verdictless {}

#[tokio::test]
async fn a_service_manager_is_told_and_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let more = "[heartbeat]\ninterval = \"1h\"\n[limits]\njoins_per_minute = 6000\n";
    let mut process = Process::start(dir.path(), more);
    process.told("WATCHDOG=1");
    // SIGHUP: another policy by default; links stay.
    let (mut gateway, _) = enrolled(dir.path(), process.door).await;
    let mut terminal = Terminal::up(process.door, &Identity::generate()).await;
    until(async || terminal.ask(&[(bssid(1), "cafe")]).await.len() == 1).await;
    let before = terminal.join(&mut gateway, bssid(1), station(1)).await;
    process.configure(&format!("terminals = \"enrolled\"\n{more}"));
    process.signal(Signal::SIGHUP);
    process.told("RELOADING=1");
    process.told("READY=1");
    let refused = link_client::link(process.door, &Identity::generate(), Role::Terminal, None).await;
    assert_eq!(refused.err().unwrap().word, "unknown-key");
    let again = terminal.join(&mut gateway, bssid(1), station(1)).await;
    assert_eq!(again.session, before.session, "the link that stood still stands");
    // A configuration that is wrong changes nothing.
    process.configure("polcy = \"strict\"\n");
    process.signal(Signal::SIGHUP);
    process.told("RELOADING=1");
    process.told("READY=1");
    terminal.join(&mut gateway, bssid(1), station(1)).await;
    // SIGTERM: links are closed with a word, and it ends well.
    process.signal(Signal::SIGTERM);
    process.told("STOPPING=1");
    let closed = terminal.socket.closed().await;
    assert_eq!(closed.0, 1001, "{closed:?}");
    assert!(process.ended().success());
}
