//! See README. What is heard is what the station's kernel received: `iw scan`.
//!
//! In two steps, `trigger` and `dump`. `iw scan` alone dumps over the socket on which it waited for events, and one more
//! of them leaves no room there: a kernel that keeps within a receive buffer (6.1.192 does) then says `ENOBUFS` and
//! `iw` (5.19) asks again without end.

use std::time::Duration;

use serde_json::{Value, json};
use wayleave::wire::beacon::{Beacon, Element, OUI, elements};

use super::stage::{Script, Stage, serve};
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_for, wait_until};

const CONFIGURATION: &str = include_str!("hostapd.conf");
/// The owner's element, as `iw` shows it.
const OWNERS: &str = "OUI 00:11:22, data: 33 44 55 66";
/// The shortest slots that can be configured, and what hostapd.conf says of the owner's elements.
const GATEWAY: &str = "config = [\"LAB/ap1.hostapd.conf\"]\n[beacon]\ninterval = \"10s\"\n";
/// Two slots, and a slow machine.
const LONG: Duration = Duration::from_secs(90);

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_beacon_is_heard_proves_who_is_near_and_is_back_after_hostapd() {
    let mut stage = Stage::play(Script {
        scenario: "beacon",
        access_points: &[CONFIGURATION],
        gateway: GATEWAY,
        ..Script::default()
    });
    let service = stage.gateway.ask(json!({"verb": "status"}))["service"].clone();
    let (first, text) = wait_for("a beacon", LONG, || heard(&stage, |_| true));
    assert_eq!(first.said.service.to_string(), service, "{text}");
    assert!(first.said.room && first.said.tariff.is_none(), "{text}");
    assert!(text.contains(OWNERS), "the owner's element is gone:\n{text}");
    let answer = wait_for("the coordinator to know the gateway", SOON, || {
        let answer = check(&stage, &first, stage.bssid(0));
        (answer["error"]["word"] != "beacon-unknown").then_some(answer)
    });
    assert_eq!(answer["ok"]["slot"], first.said.slot, "{answer}");

    // Another access point's address, and an octet that was changed.
    let word = |answer: Value| answer["error"]["word"].clone();
    assert_eq!(word(check(&stage, &first, [2, 9, 9, 9, 9, 9])), "beacon-forged");
    let mut forged = first;
    forged.said.slot += 1;
    assert_eq!(word(check(&stage, &forged, stage.bssid(0))), "beacon-forged");

    // Slots go on; what was recorded grows stale.
    let later = |beacon: &Beacon| beacon.said.slot >= first.said.slot + 2;
    let (second, _) = wait_for("the slot after the next", LONG, || heard(&stage, later));
    assert_eq!(check(&stage, &second, stage.bssid(0))["ok"]["slot"], second.said.slot);
    assert_ne!(second.token, first.token);
    assert_eq!(word(check(&stage, &first, stage.bssid(0))), "beacon-stale");

    stage.access_points[0].program.kill();
    stage.access_points[0] = serve(&stage.lab, "ap1", CONFIGURATION);
    let newer = |beacon: &Beacon| beacon.said.slot > second.said.slot;
    let (third, text) = wait_for("the beacon after the restart", LONG, || heard(&stage, newer));
    assert_eq!(third.said.epoch, first.said.epoch);
    assert!(text.contains(OWNERS), "the owner's element is gone:\n{text}");
    assert_eq!(check(&stage, &third, stage.bssid(0))["ok"]["slot"], third.said.slot);
    let findings = stage.gateway.ask(json!({"verb": "doctor"}));
    let finding = findings.as_array().expect("rows").iter().find(|finding| finding["word"] == "beacon");
    assert_eq!(finding.expect("a finding")["severity"], "good", "{findings}");

    // Without a daemon nobody can be admitted: what invites goes, what is the owner's stays.
    stage.gateway.program.terminate(SOON);
    wait_until("the beacon to be off the air", LONG, || {
        let text = scan(&stage);
        text.contains(OWNERS) && ours(&text).is_none()
    });
}

/// A fresh scan in which there is a beacon that fits, and the text of it.
fn heard(stage: &Stage, fits: impl Fn(&Beacon) -> bool) -> Option<(Beacon, String)> {
    let text = scan(stage);
    ours(&text).filter(fits).map(|beacon| (beacon, text))
}

/// What the station has heard; another scan is under way when it is back.
fn scan(stage: &Stage) -> String {
    let text = iw(stage, "dump -u");
    // Refused while the one before it goes on, which is as good.
    iw(stage, "trigger freq 2412 flush passive");
    text
}

/// `iw dev sta0 scan WORDS`, its output. What takes longer than this will not end.
#[track_caller]
fn iw(stage: &Stage, words: &str) -> String {
    let arguments = ["-k", "1", "10", "iw", "dev", lab::STATION, "scan"];
    let mut command = stage.lab.stations[0].netns.command("timeout");
    let output = command.args(arguments).args(words.split(' ')).output().expect("timeout runs");
    // 124, and 128 + SIGKILL: timeout(1).
    assert!(!matches!(output.status.code(), Some(124 | 137)), "iw scan {words} did not end within 10 s");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Our element in `Vendor specific: OUI 02:66:ff, data: 01 …`.
fn ours(text: &str) -> Option<Beacon> {
    let oui = OUI.map(|octet| format!("{octet:02x}")).join(":");
    let data = text.lines().find_map(|line| line.split_once(&format!("OUI {oui}, data:")))?.1;
    let data = data.split_whitespace().map(|octet| u8::from_str_radix(octet, 16).expect("hexadecimal"));
    let body: Vec<u8> = OUI.into_iter().chain(data).collect();
    let element = [&[221, body.len() as u8][..], &body].concat();
    match elements(&element).expect("whole")[..] {
        [Element::Beacon(beacon)] => Some(beacon),
        _ => None,
    }
}

/// What the coordinator says of it.
fn check(stage: &Stage, beacon: &Beacon, bssid: [u8; 6]) -> Value {
    let element: String = beacon.element().iter().map(|octet| format!("{octet:02x}")).collect();
    let request = json!({"verb": "beacon", "element": element, "bssid": mac_text(bssid)});
    stage.coordinator.try_ask(&request)
}
