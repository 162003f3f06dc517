//! See README. On a wire, with hostapd restarted and names that are asked anew: `netns_accounts.rs`.

use serde_json::{Value, json};

use super::stage::{JOIN, SSID, Script, Stage};
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_name_and_a_password_open_the_air_until_they_end() {
    let mut stage = Stage::play(Script {
        scenario: "eap",
        access_points: &[include_str!("hostapd.conf")],
        accounts: Some("PWD"),
        ..Script::default()
    });
    let anne = &stage.lab.stations[0];
    let (first, second) = (account(&stage), account(&stage));
    stage.sign_in(&first);
    stage.wait_associated(0, 0);
    wait_until("the grant to have the station", SOON, || station_of(&stage, &first) == mac_text(anne.mac));
    assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6));
    let name = first["account"]["name"].as_str().expect("a name");
    let known = stage.access_points[0].command(&format!("STA {}", mac_text(anne.mac)));
    assert!(known.contains(&format!("dot1xAuthSessionUserName={name}\n")), "{known}");

    // `1 ADDRESS PMKID expiration opportunistic`; of the other side's address at hostapd. Whose name was asked anew meanwhile
    // has another key there than here.
    let cached = stage.supplicants[0].command("PMKSA");
    let id = cached.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next() == Some(&mac_text(stage.bssid(0)))).then(|| words.next())?
    });
    let id = id.unwrap_or_else(|| panic!("no cached key: {cached}")).to_owned();
    let is_cached = |stage: &Stage| stage.access_points[0].command("PMKSA").contains(&mac_text(anne.mac));
    assert!(is_cached(&stage));
    let (heard, frames) = (stage.supplicants[0].program.lines().len(), stage.air.frames().len());
    let report =
        stage.gateway.ask(json!({"verb": "evict", "target": {"grant": first["id"]}}))["report"].clone();
    assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 1, "{report}");
    assert!(anne.is_cut_off(lab::INTERNET_V4));

    // By itself it tries again: with the cached key first, then with its name.
    let octets: Vec<u8> = (0..id.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&id[at..at + 2], 16))
        .map(Result::unwrap_or_default)
        .collect();
    wait_until("an association with the cached key", JOIN, || {
        let frames = stage.air.frames().split_off(frames);
        frames.iter().any(|frame| frame.bytes.windows(16).any(|part| part == octets))
    });
    stage.supplicants[0].program.wait_line_from(heard, "CTRL-EVENT-EAP-FAILURE", JOIN);
    assert!(!stage.access_points[0].has(anne.mac) && anne.is_cut_off(lab::INTERNET_V4));
    assert!(!is_cached(&stage), "the cached key is forgotten");

    stage.sign_in(&second);
    stage.wait_associated(0, 0);
    wait_until("the other grant to have the station", SOON, || {
        station_of(&stage, &second) == mac_text(anne.mac)
    });
    assert!(anne.reaches(lab::INTERNET_V4));
}

impl Stage {
    /// Lets the first station connect with a name and a password, and nothing else; not waited for.
    #[track_caller]
    fn sign_in(&self, granted: &Value) {
        self.supplicants[0].command("REMOVE_NETWORK all");
        let text = |key: &str| format!("{}", granted["account"][key]);
        let (name, password) = (text("name"), text("password"));
        let lines = [format!("identity {name}"), format!("password {password}")];
        let fixed = ["key_mgmt WPA-EAP WPA-EAP-SHA256", "eap PWD", "ieee80211w 1"];
        let lines: Vec<&str> = fixed.into_iter().chain(lines.iter().map(String::as_str)).collect();
        self.select(0, SSID, &lines);
    }
}

/// A grant by name and password.
fn account(stage: &Stage) -> Value {
    stage.gateway.ask(json!({"verb": "grant-code"}))
}

/// The station of a grant; empty: nobody is there.
fn station_of(stage: &Stage, granted: &Value) -> String {
    let rows = stage.grants();
    let row = rows.iter().find(|row| row["id"] == granted["id"]);
    row.and_then(|row| row["station"].as_str()).unwrap_or_default().to_owned()
}
