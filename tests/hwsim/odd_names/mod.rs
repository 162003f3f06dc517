//! See README.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::forger::Forger;
use super::stage::{Script, Stage};
use super::support::daemons::WAYLEAVE;
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_for};

const CONFIGURATION: &str = include_str!("hostapd.conf");

/// Rates, and the channel: without them a station takes a beacon for one of another channel.
const CHANNEL_1: [u8; 7] = [1, 2, 0x82, 0x84, 3, 1, 1];
/// Ours, of seven octets.
const SHORT: [u8; 9] = [221, 7, 0x02, 0x66, 0xff, 1, 1, 1, 0xa0];
/// Says that 50 octets follow.
const CUT: [u8; 8] = [221, 50, 0x02, 0x66, 0xff, 1, 1, 1];

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_name_is_any_octets_and_what_is_none_is_named() {
    let stage = Stage::play(Script {
        scenario: "odd_names",
        access_points: &[CONFIGURATION],
        spare: 1,
        ..Script::default()
    });
    let name = CONFIGURATION.lines().find_map(|line| line.strip_prefix("ssid2=")).expect("it has one");
    assert_eq!(name.len(), 2 * 32);
    let forger = Forger::new(stage.air.radios.last().expect("a spare one"));
    let [nameless, long, cut] = [1, 2, 3].map(|number| [2, 0x0f, 0, 0, 0, number]);
    let beacons = [
        (nameless, [&[0, 0][..], &CHANNEL_1, &SHORT].concat()),
        (long, [&[0, 33][..], &[b'a'; 33], &CHANNEL_1].concat()),
        (cut, [&[0, 3, b'c', b'u', b't'][..], &CHANNEL_1, &CUT].concat()),
    ];
    let enough = AtomicBool::new(false);
    let terminal = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                beacons.iter().for_each(|(bssid, elements)| forger.beacon(*bssid, elements));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let _enough = SetAtEnd(&enough);
        let terminal = stage.joined(0);
        // What was forged was heard.
        wait_for("the forged beacons", SOON, || elements_of(&stage, nameless));
        terminal
    });
    let status = stage.supplicants[0].command("STATUS");
    assert!(status.contains(&format!("bssid={}\n", mac_text(stage.bssid(0)))), "{status}");
    let gateways = stage.coordinator.ask(json!({"verb": "gateways"}));
    assert_eq!(gateways[0]["networks"], json!([format!("hex:{name}")]), "{gateways}");
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V6));

    // The list of elements of a beacon, as wpa_supplicant gives it.
    let (decoded, said) = decode(&elements_of(&stage, nameless).expect("heard above"));
    assert!(
        !decoded && said.contains("the Wayleave element at octet 9 has 7 octets behind its length, not 50"),
        "{said}"
    );
    let (decoded, said) = decode(&elements_of(&stage, stage.bssid(0)).expect("joined"));
    assert!(decoded && said.contains("room left"), "{said}");
    assert!(said.contains(r"SSID (0), 32 octets") && said.contains(r"\xff\u{0}\u{a}"), "{said}");
    drop(terminal);
}

/// Ends the forging also when the test panics: a scope waits for its threads.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The elements of a beacon that the station heard, in hexadecimal.
fn elements_of(stage: &Stage, bssid: [u8; 6]) -> Option<String> {
    let known = stage.supplicants[0].command(&format!("BSS {}", mac_text(bssid)));
    let list = known.lines().find_map(|line| line.strip_prefix("ie="));
    list.map(str::to_owned)
}

/// Whether `wayleave beacon decode` reads it, and what it says.
fn decode(elements: &str) -> (bool, String) {
    let output = Command::new(WAYLEAVE).args(["beacon", "decode", elements]).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).expect("text"))
}
