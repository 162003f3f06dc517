//! The object `wayleave` on a ubusd that speaks the real protocol (`support/ubusd.rs`), with a gateway that answers what
//! the test says.
#![cfg(feature = "ubus")]

#[path = "support/ubusd.rs"]
mod ubusd;
#[path = "support/wait.rs"]
#[allow(dead_code)]
mod wait;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{broadcast, oneshot};
use ubusd::{Ubusd, notification};
use wait::{SOON, wait_for};
use wayleave::adapters::ubus;
use wayleave::host::control::{Control, line};
use wayleave::model::Refusal;
use wayleave::wire::local::{Event, GatewayRequest};

const STATION: &str = "02:00:5e:10:00:01";

/// A gateway that answers by a table, and its object on the bus.
struct Served {
    ubusd: Ubusd,
    events: broadcast::Sender<Arc<[u8]>>,
    /// Dropped, it ends.
    _running: oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

fn serve(answers: fn(&GatewayRequest) -> Result<Value, Refusal>) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let ubusd = Ubusd::start(dir.path());
    let events = broadcast::channel(16).0;
    let (running, ended) = oneshot::channel::<()>();
    let (told, socket, control) = (events.clone(), ubusd.socket.clone(), dir.path().join("control"));
    let gateway = async move {
        let mut control = Control::<GatewayRequest>::listen(&control).unwrap();
        tokio::spawn(ubus::run(socket, control.asker()));
        loop {
            let asked = control.next().await;
            match asked.request {
                GatewayRequest::Watch => asked.reply.stream(told.subscribe(), |_| Vec::new()),
                request => asked.reply.say(answers(&request)),
            }
        }
    };
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                () = gateway => {}
                _ = ended => {}
            }
        });
    });
    let served = Served { ubusd, events, _running: running, _dir: dir };
    served.wait();
    served
}

impl Served {
    fn wait(&self) {
        wait_for("the object", SOON, || self.ubusd.signature("wayleave"));
    }

    fn call(&self, method: &str, arguments: &Value) -> (u32, Value) {
        self.ubusd.call("wayleave", method, arguments)
    }
}

fn answers(request: &GatewayRequest) -> Result<Value, Refusal> {
    match request {
        GatewayRequest::Status => Ok(json!({
            "name": "Corner", "service": "ab", "bsses": 2, "beacons": 1, "link": {"up": {"host": "c:1"}},
            "refused_packets": 5_000_000_000_u64,
        })),
        GatewayRequest::Stations => Ok(json!([{"mac": STATION, "addresses": ["192.0.2.1"]}])),
        GatewayRequest::Grants | GatewayRequest::Doctor => Ok(json!([])),
        GatewayRequest::Grant { grants } => {
            Ok(json!([{"id": "cd".repeat(16), "station": grants[0].station, "lease": grants[0].lease}]))
        }
        GatewayRequest::Evict { .. } => Err(Refusal::new("no-grant", "station 02:… has no grant")),
        other => Err(Refusal::new("kernel-refused", format!("{other:?}"))),
    }
}

#[test]
fn the_methods_are_listed_with_their_arguments() {
    let served = serve(answers);
    let signature = served.ubusd.signature("wayleave").unwrap();
    // Numbers are types of blobmsg: 3 a text, 4 a number of 64 bits.
    assert_eq!(signature["grant"], json!({"station": 3, "lease_ms": 4, "quota": 4}));
    assert_eq!(signature["evict"], json!({"target": 3}));
    assert_eq!(signature["status"], json!({}));
}

#[test]
fn a_call_is_answered_with_what_the_gateway_says() {
    let served = serve(answers);
    let (status, data) = served.call("status", &json!({}));
    assert_eq!((status, &data["refused_packets"]), (0, &json!(5_000_000_000_u64)));
    assert_eq!(data["link"]["up"]["host"], "c:1");
    assert_eq!(served.call("beacon", &json!({})), (0, json!({"service": "ab", "bsses": 2, "beacons": 1})));
    let stations = json!({"stations": [{"mac": STATION, "addresses": ["192.0.2.1"]}]});
    assert_eq!(served.call("stations", &json!({})), (0, stations));
    assert_eq!(served.call("grants", &json!({})), (0, json!({"grants": []})));
    assert_eq!(served.call("doctor", &json!({})), (0, json!({"findings": []})));
    let granted = served.call("grant", &json!({"station": STATION, "lease_ms": 60_000}));
    assert_eq!(granted, (0, json!({"id": "cd".repeat(16), "station": STATION, "lease": 60_000})));
}

#[test]
fn a_refusal_is_a_number_and_a_sentence() {
    let served = serve(answers);
    let refused = json!({"error": {"word": "no-grant", "sentence": "station 02:… has no grant"}});
    assert_eq!(served.call("evict", &json!({"target": STATION})), (4, refused));
    let (status, data) = served.call("topup", &json!({"target": STATION, "quota": 1}));
    assert_eq!((status, &data["error"]["word"]), (9, &json!("kernel-refused")));
    let (status, data) = served.call("evict", &json!({"target": "everybody"}));
    assert_eq!((status, &data["error"]["word"]), (2, &json!("bad-request")));
    assert_eq!(served.call("reboot", &json!({})), (3, Value::Null));
}

#[test]
fn what_happens_is_told_to_whoever_subscribed() {
    let served = serve(answers);
    let low = |left| Event::Low {
        grant: "cd".repeat(16).parse().unwrap(),
        station: STATION.parse().unwrap(),
        quota: 1000,
        left,
    };
    // Nobody listens: it is not said.
    served.events.send(Arc::from(line(&low(2)))).unwrap();
    let mut listener = served.ubusd.subscribe("wayleave");
    // The gateway hears of the subscription a moment after the subscriber does.
    wait_for("somebody to be heard", SOON, || {
        served.events.send(Arc::from(line(&low(1)))).unwrap();
        listener.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        ubusd::Message::read(&mut listener)
    });
    listener.set_read_timeout(Some(SOON)).unwrap();
    served.events.send(Arc::from(line(&Event::Missed { events: 3 }))).unwrap();
    let told = std::iter::from_fn(|| Some(notification(&mut listener)))
        .inspect(|(name, data)| assert!(name != "low" || data["left"] == 1, "{data}"))
        .find(|(name, _)| name != "low");
    assert_eq!(told, Some(("missed".to_owned(), json!({"events": 3}))));
}

#[test]
fn it_comes_back_when_ubusd_does_and_after_a_lie() {
    let served = serve(answers);
    served.ubusd.hang_up();
    served.wait();
    assert_eq!(served.call("grants", &json!({})).0, 0);
    for lie in [
        // A message of 16 MiB, one shorter than its own head, an attribute longer than its message.
        [0, 5, 0, 1, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff].as_slice(),
        &[0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 3],
        &[0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8, 3, 0, 0, 99],
    ] {
        let before = served.ubusd.signature("wayleave");
        served.ubusd.lie("wayleave", lie);
        wait_for("it to hang up", SOON, || served.ubusd.signature("wayleave").is_none().then_some(()));
        served.wait();
        assert_eq!(served.ubusd.signature("wayleave"), before);
        assert_eq!(served.call("grants", &json!({})).0, 0);
    }
}
