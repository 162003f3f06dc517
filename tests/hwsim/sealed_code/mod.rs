//! See README.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use super::stage::{JOIN, Script, Stage, code_file};
use super::support::daemons::ask;
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

/// Who lost the coordinator waits up to four seconds after the third attempt, and says nothing then: that is to be shorter
/// than the lapse.
const TIMING: &str = "[heartbeat]\ninterval = \"500ms\"\nlapse_factor = 12\n\
                      [patience]\nlease = \"60s\"\ngrant = \"10s\"\njoin = \"40s\"\ninquiry = \"1s\"\n";

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_terminal_gets_a_sealed_code_that_nobody_between_knows() {
    let mut stage = Stage::play(Script {
        scenario: "sealed_code",
        access_points: &[include_str!("hostapd.conf")],
        codes: true,
        timing: TIMING,
        ..Script::default()
    });
    let mac = stage.lab.stations[0].mac;
    let mut logs = Vec::new();
    let terminal = stage.joined(0);
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V6));
    let row = stage.grants().remove(0);
    let facts = (&row["origin"], &row["code"], &row["station"]);
    assert_eq!(facts, (&json!("coordinator"), &json!(true), &json!(mac_text(mac))));
    let [code] = codes(&stage).try_into().expect("one code");
    let known = stage.access_points[0].command(&format!("STA {}", mac_text(mac)));
    let key = &row["id"].as_str().expect("an id")[..24];
    assert!(known.contains(&format!("keyid={key}\n")), "{known}");

    // Neither the coordinator's restart nor the gateway's costs the code or the access.
    logs.extend(stage.coordinator.program.lines());
    stage.coordinator.program.kill();
    stage.coordinator.again();
    stage.gateway.wait_for_link();
    wait_until("the terminal's link", JOIN, || terminal.status()["link"].get("up").is_some());
    logs.extend(stage.gateway.program.lines());
    stage.gateway.program.signal(Signal::SIGKILL);
    stage.gateway.again();
    stage.gateway.wait_for_link();
    assert_eq!(codes(&stage), std::slice::from_ref(&code));
    wait_until("the grant to have the station", SOON, || {
        stage.grants().iter().any(|row| row["station"] == mac_text(mac))
    });
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4));
    assert_eq!(stage.active(), 1);

    // Who leaves and comes again gets another code; the one before is out.
    ask(&terminal.socket, &json!({"verb": "leave"}));
    wait_until("no code to count", SOON, || codes(&stage).is_empty());
    wait_until("the terminal to have left", SOON, || terminal.status()["state"] == "idle");
    ask(&terminal.socket, &json!({"verb": "ask"}));
    wait_until("the next join", JOIN, || stage.active() == 1 && stage.access_points[0].has(mac));
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4));
    let [next] = codes(&stage).try_into().expect("one code");
    assert_ne!(next, code);

    // Silence: evicted, and the code that wpa_supplicant still has opens nothing.
    let mut events = stage.gateway.watch();
    terminal.program.signal(Signal::SIGKILL);
    stage.wait_evicted_for_silence(0, &mut events);
    assert_eq!(codes(&stage), [""; 0]);
    let tries = |stage: &Stage| {
        let lines = stage.supplicants[0].program.lines();
        lines.iter().filter(|line| line.contains("CTRL-EVENT-SSID-TEMP-DISABLED")).count()
    };
    let before = tries(&stage);
    wait_until("wpa_supplicant to try again", JOIN, || tries(&stage) > before);
    assert!(!stage.access_points[0].has(mac));

    logs.extend(stage.coordinator.program.lines());
    logs.extend(stage.gateway.program.lines());
    logs.extend(terminal.program.lines());
    let logs = logs.join("\n");
    assert!(logs.contains("a gateway enrolled") && logs.contains("joining"), "these are the logs");
    assert!(!logs.contains("holds something else"), "both sides know what is held");
    let state = stage.lab.path().join("coordinator");
    assert!(holds(&state, key.as_bytes()) || holds(&state, &octets(key)), "the database is looked at");
    for code in [code, next] {
        let octets = octets(&code);
        assert!(!logs.to_lowercase().contains(&code) && !logs.contains(&format!("{octets:?}")));
        for wanted in [octets, code.clone().into_bytes(), code.to_uppercase().into_bytes()] {
            assert!(!holds(&state, &wanted), "the coordinator keeps a code");
        }
    }
}

/// What hostapd takes.
fn codes(stage: &Stage) -> Vec<String> {
    let text = fs::read_to_string(code_file(&stage.lab)).expect("it is there");
    let lines = text.lines().filter(|line| line.starts_with("keyid="));
    lines.map(|line| line.rsplit(' ').next().expect("a key").to_owned()).collect()
}

fn octets(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("digits")).collect()
}

/// Whether any file in a directory, or below, holds these octets.
fn holds(dir: &Path, wanted: &[u8]) -> bool {
    fs::read_dir(dir).expect("a directory").any(|entry| {
        let path = entry.expect("readable").path();
        match path.is_dir() {
            true => holds(&path, wanted),
            false => {
                fs::read(&path).is_ok_and(|bytes| bytes.windows(wanted.len()).any(|part| part == wanted))
            }
        }
    })
}
