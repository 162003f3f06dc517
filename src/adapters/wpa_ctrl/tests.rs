//! The client against a daemon of the test's own on real sockets; against the real ones in `tests/`.

use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use super::{Command, CtrlError, MAX_REPLY, OWN_PREFIX, WpaCtrl, WpaEvents, remove_stale};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn answers_come_to_their_questions() {
    let place = Place::new();
    let daemon = place.daemon();
    let mut ctrl = place.ctrl();
    let answering = async {
        for reply in ["PONG\n", "OK\n", "FAIL\n", "UNKNOWN COMMAND\n", "3\n"] {
            daemon.answer(reply.as_bytes()).await;
        }
    };
    let asking = async {
        ctrl.ping().await.unwrap();
        ctrl.order(&Command::new("RECONFIGURE")).await.unwrap();
        assert!(matches!(ctrl.order(&Command::new("A")).await, Err(CtrlError::Refused { .. })));
        assert!(matches!(ctrl.ask(&Command::new("B")).await, Err(CtrlError::Refused { .. })));
        assert!(matches!(ctrl.order(&Command::new("ADD_NETWORK")).await, Err(CtrlError::Refused { .. })));
    };
    tokio::join!(answering, asking);
    assert_eq!(place.own(), 1);
    drop(ctrl);
    assert_eq!(place.own(), 0, "the socket goes with its owner");
}

#[tokio::test]
async fn a_late_reply_is_never_taken_for_another() {
    let place = Place::new();
    let daemon = place.daemon();
    let mut ctrl = place.ctrl();
    let slow = ctrl.request(&Command::new("SLOW"), Duration::from_millis(50)).await;
    assert!(matches!(slow, Err(CtrlError::Slow { .. })));
    let (command, asked_from) = daemon.hear().await;
    assert_eq!(command, b"SLOW");

    // The late answer arrives while the next question waits; from a future that was dropped, too.
    for _ in 0..2 {
        let next = async {
            let dropped = timeout(Duration::from_millis(20), ctrl.ask(&Command::new("DROPPED"))).await;
            assert!(dropped.is_err());
            ctrl.ask(&Command::new("NEXT")).await.unwrap()
        };
        let answering = async {
            let (_, dropped) = daemon.hear().await;
            let (command, from) = daemon.hear().await;
            assert_eq!(command, b"NEXT");
            assert_ne!((&from, &dropped), (&asked_from, &from));
            let _ = daemon.0.send_to(b"LATE", &asked_from).await;
            let _ = daemon.0.send_to(b"LATE", &dropped).await;
            daemon.0.send_to(b"IN TIME", &from).await.unwrap();
        };
        let (reply, ()) = tokio::join!(next, answering);
        assert_eq!(reply.as_bytes(), b"IN TIME");
    }
    assert_eq!(place.own(), 1);
}

#[tokio::test]
async fn nothing_and_garbage_are_errors_and_the_next_question_is_answered() {
    let place = Place::new();
    let daemon = place.daemon();
    let mut ctrl = place.ctrl();
    let answering = async {
        daemon.answer(b"").await;
        daemon.answer(b"\xff\0\x1b[2J").await;
        daemon.answer(&vec![b'x'; MAX_REPLY + 1]).await;
        daemon.answer(b"PONG\n").await;
    };
    let asking = async {
        assert!(matches!(ctrl.ping().await, Err(CtrlError::Refused { .. })));
        assert!(matches!(ctrl.ping().await, Err(CtrlError::Refused { .. })));
        assert!(matches!(ctrl.ping().await, Err(CtrlError::TooLong { .. })));
        ctrl.ping().await.unwrap();
    };
    tokio::join!(answering, asking);
}

#[tokio::test]
async fn a_restarted_daemon_is_gone_once_and_then_answers() {
    let place = Place::new();
    let daemon = place.daemon();
    let mut ctrl = place.ctrl();
    drop(daemon);
    assert!(matches!(ctrl.ping().await, Err(CtrlError::Gone)));
    assert!(matches!(ctrl.ping().await, Err(CtrlError::Gone)));
    std::fs::remove_file(place.dir.path().join("daemon")).unwrap();
    assert!(matches!(ctrl.ping().await, Err(CtrlError::Gone)));
    let daemon = place.daemon();
    let (ping, ()) = tokio::join!(ctrl.ping(), daemon.answer(b"PONG\n"));
    ping.unwrap();
}

#[tokio::test]
async fn events_come_in_order_and_the_end_is_noticed() {
    let place = Place::new();
    let daemon = place.daemon();
    let (mut events, from) = place.attach(&daemon, &[b"<3>EARLY", b"OK\n"]).await;
    assert_eq!(events.next().await.unwrap().text, "EARLY");

    for datagram in ["<3>ONE", "noise", "<2>TWO"] {
        daemon.0.send_to(datagram.as_bytes(), &from).await.unwrap();
    }
    assert_eq!(events.next().await.unwrap().text, "ONE");
    assert_eq!(events.next().await.unwrap().level, 2);
    assert!(timeout(Duration::from_millis(20), events.next()).await.is_err());

    daemon.0.send_to(b"<3>CTRL-EVENT-TERMINATING ", &from).await.unwrap();
    assert_eq!(events.next().await.unwrap().name(), "CTRL-EVENT-TERMINATING");
    assert!(matches!(events.next().await, Err(CtrlError::Gone)));
}

#[tokio::test]
async fn a_killed_daemon_is_noticed_when_its_successor_comes() {
    let place = Place::new();
    let daemon = place.daemon();
    let (mut events, from) = place.attach(&daemon, &[b"OK\n"]).await;
    // Another daemon's socket beside it says nothing about this one.
    std::fs::write(place.dir.path().join("wlan9"), b"").unwrap();
    assert!(timeout(Duration::from_millis(20), events.next()).await.is_err());
    daemon.0.send_to(b"<3>LAST", &from).await.unwrap();
    drop(daemon);
    std::fs::remove_file(place.dir.path().join("daemon")).unwrap();
    assert_eq!(timeout(SOON, events.next()).await.unwrap().unwrap().text, "LAST");
    assert!(matches!(timeout(SOON, events.next()).await.unwrap(), Err(CtrlError::Gone)));
}

#[tokio::test]
async fn attaching_to_nobody_or_to_a_refusal_fails() {
    let place = Place::new();
    let path = place.dir.path().join("daemon");
    assert!(matches!(WpaEvents::attach(&path, place.own.path()).await, Err(CtrlError::Gone)));
    let daemon = place.daemon();
    let attaching = WpaEvents::attach(&path, place.own.path());
    let (attached, ()) = tokio::join!(attaching, daemon.answer(b"FAIL\n"));
    assert!(matches!(attached, Err(CtrlError::Refused { .. })));
}

#[test]
fn what_the_killed_left_is_removed_and_what_lives_stays() {
    let place = Place::new();
    let own = place.own.path();
    let left = own.join(format!("{OWN_PREFIX}1-0"));
    drop(std::os::unix::net::UnixDatagram::bind(&left).unwrap());
    let living = own.join(format!("{OWN_PREFIX}1-1"));
    let _living = std::os::unix::net::UnixDatagram::bind(&living).unwrap();
    let other = own.join("other");
    std::fs::write(&other, b"").unwrap();
    remove_stale(own);
    assert!(!left.exists() && living.exists() && other.exists());
}

struct Place {
    dir: TempDir,
    own: TempDir,
}

struct Daemon(UnixDatagram);

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), own: tempfile::tempdir().unwrap() }
    }

    fn daemon(&self) -> Daemon {
        Daemon(UnixDatagram::bind(self.dir.path().join("daemon")).unwrap())
    }

    fn ctrl(&self) -> WpaCtrl {
        WpaCtrl::open(&self.dir.path().join("daemon"), self.own.path()).unwrap()
    }

    async fn attach(&self, daemon: &Daemon, replies: &[&[u8]]) -> (WpaEvents, std::path::PathBuf) {
        let path = self.dir.path().join("daemon");
        let attaching = WpaEvents::attach(&path, self.own.path());
        let answering = async {
            let (command, from) = daemon.hear().await;
            assert_eq!(command, b"ATTACH");
            for reply in replies {
                daemon.0.send_to(reply, &from).await.unwrap();
            }
            from
        };
        let (events, from) = tokio::join!(attaching, answering);
        (events.unwrap(), from)
    }

    fn own(&self) -> usize {
        std::fs::read_dir(self.own.path()).unwrap().count()
    }
}

impl Daemon {
    async fn hear(&self) -> (Vec<u8>, std::path::PathBuf) {
        let mut buffer = vec![0; 4096];
        let (length, from) = timeout(SOON, self.0.recv_from(&mut buffer)).await.unwrap().unwrap();
        buffer.truncate(length);
        (buffer, from.as_pathname().unwrap().to_owned())
    }

    async fn answer(&self, reply: &[u8]) {
        let (_, from) = self.hear().await;
        self.0.send_to(reply, from).await.unwrap();
    }
}
