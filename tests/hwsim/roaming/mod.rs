//! See README. The second gateway is a router of its own, with the same addresses towards its guests.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::link_client::{Door, tls};
use super::stage::{JOIN, PASSPHRASE, Script, Stage};
use super::support::daemons::{Gateway, ask};
use super::support::hostapd::Hostapd;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

const CONFIGURATION: &str = include_str!("hostapd.conf");
/// What is sold costs nothing here.
const SHOP: &str = "[enforcement]\nspent_wait = \"0ms\"\n[trade]\nanswer = \"accept\"\n[[tariff]]\nid = \"taste\"\nbytes_most = \"600kB\"\n";
const BOUGHT: u64 = 600_000;
/// Of a packet of the stream: payload, UDP, IPv4.
const PACKET: u64 = 1000 + 8 + 20;
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Whoever says nothing for some seconds is not silent.
const TIMING: &str = "api_token_file = \"TOKEN\"\n[heartbeat]\ninterval = \"500ms\"\nlapse_factor = 100\n\
                      [patience]\nlease = \"60s\"\ngrant = \"15s\"\njoin = \"60s\"\n";

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn the_rest_of_a_quota_moves_to_the_next_gateway() {
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), TOKEN).expect("writable");
    let stage = Stage::play(Script {
        scenario: "roaming",
        access_points: &[CONFIGURATION],
        spare: 1,
        gateway: SHOP,
        timing: &TIMING.replace("TOKEN", &token.path().display().to_string()),
        ..Script::default()
    });
    let anne = stage.lab.stations[0].mac;
    let (house_radio, garden_radio) = (&stage.air.radios[0], &stage.air.radios[2]);
    let router = stage.lab.second_router("garden");
    let network = format!("passphrase = \"{PASSPHRASE}\"\n");
    let mut garden = Gateway::on(&stage.lab, &router, "garden", &network, SHOP);
    garden.enrol(&stage.coordinator);
    garden_radio.shield();
    garden_radio.move_to(&router, "ap1");
    let lines = format!("driver=nl80211\nbridge={}\n{CONFIGURATION}", lab::BRIDGE);
    let garden_ap = Hostapd::with(&router, "ap1", garden.dir(), &lines);
    wait_until("the second gateway to have found hostapd", SOON, || {
        garden.ask(json!({"verb": "status"}))["bsses"] == 1
    });
    let service = |gateway: &Gateway| gateway.ask(json!({"verb": "status"}))["service"].clone();
    let owned = [service(&stage.gateway), service(&garden)];
    stage.coordinator.reload_with(&format!("[owners]\nanne = {}\n", json!(owned)));

    // Nothing is bought, then something is.
    let mut terminal = stage.terminal(0);
    wait_until("the terminal to be refused", JOIN, || terminal.status()["last"]["word"] == "not-paid");
    let wanted = json!({"terminal": terminal.status()["key"], "gateway": owned[0], "tariff": "taste", "bytes": BOUGHT});
    let purchase = api(&stage, "POST /v1/purchases", &wanted)["purchase"].clone();
    let path = format!("/v1/purchases/{}", purchase.as_str().expect("an id"));
    wait_until("the offer", SOON, || api(&stage, &format!("GET {path}"), &Value::Null)["state"] == "offered");
    api(&stage, &format!("POST {path}/payment"), &json!({"means": "free"}));
    ask(&terminal.socket, &json!({"verb": "ask"}));
    wait_until("its first heartbeat", JOIN, || stage.active() == 1);
    assert!(stage.access_points[0].has(anne));
    assert_eq!(stage.grants()[0]["quota"], BOUGHT);
    let mut passed = stream(&stage, 200);
    assert_eq!(api(&stage, &format!("GET {path}"), &Value::Null)["state"], "granted");

    // The terminal is cut off without a word and comes back where only the other gateway is heard.
    let mut events = stage.gateway.watch();
    terminal.program.signal(Signal::SIGKILL);
    house_radio.shield();
    garden_radio.unshield();
    // It has walked: what it heard before is not where it is.
    for forget in ["REMOVE_NETWORK all", "BSS_FLUSH 0"] {
        assert_eq!(stage.supplicants[0].command(forget), "OK\n");
    }
    terminal.again(&stage.lab, 0);
    events.be_patient(JOIN);
    let report = events.next("evicted")["report"].clone();
    assert_eq!(report["cause"], "replaced", "{report}");
    let used = total(&report["moved"]);
    assert!(used >= passed, "{report}");
    wait_until("the terminal to be at the second gateway", JOIN, || garden_ap.has(anne));
    let row = garden.ask(json!({"verb": "grants"}))[0].clone();
    assert_eq!(row["quota"], BOUGHT - used, "{row}");
    assert_eq!(stage.grants(), Vec::<Value>::new());
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4));

    // What is left is all there is.
    let mut events = garden.watch();
    passed += stream(&stage, 1000);
    events.be_patient(JOIN);
    let report = events.next("evicted")["report"].clone();
    assert_eq!(report["cause"], "quota", "{report}");
    assert!(used + total(&report["moved"]) >= BOUGHT, "{report}");
    // As exact as a quota is promised to be.
    assert!(
        passed <= BOUGHT + 65_536 && passed > BOUGHT / 10 * 9,
        "{passed} bytes of the stream came through"
    );
    wait_until("the terminal to be refused", JOIN, || terminal.status()["last"]["word"] == "not-paid");
}

/// Sends so many packets of which those that count are told, in bytes; less when nothing comes through any more.
fn stream(stage: &Stage, packets: usize) -> u64 {
    let stream = stage.lab.stream(0, true, false, 200, 1000);
    std::thread::sleep(std::time::Duration::from_millis(5 * packets as u64));
    stream.stop().arrived.len() as u64 * PACKET
}

fn total(moved: &Value) -> u64 {
    moved["up_bytes"].as_u64().expect("a number") + moved["down_bytes"].as_u64().expect("a number")
}

/// One request to the coordinator's HTTP API; what it answers.
#[track_caller]
fn api(stage: &Stage, head: &str, body: &Value) -> Value {
    let key = stage.coordinator.ask(json!({"verb": "status"}))["key"].clone();
    let key = key.as_str().expect("a key").parse().expect("a key");
    let door = Door { address: (lab::COORDINATOR_V4, 7443).into(), key };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{head} HTTP/1.1\r\nHost: coordinator.test\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = stage.lab.internet.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut stream = tls(door).await.expect("the coordinator listens");
            stream.write_all(request.as_bytes()).await.expect("it reads");
            let mut answer = String::new();
            // The peer may close TCP without a TLS close.
            let _ = stream.read_to_string(&mut answer).await;
            answer
        })
    });
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 20"), "{answer}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{answer}: {error}"))
}
