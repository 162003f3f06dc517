//! See README.

use super::stage::{JOIN, Stage};
use super::support::frame::mac_text;
use super::support::lab::{self, STATION};
use super::support::wait::wait_until;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn the_address_of_a_station_with_a_code_lets_nobody_else_pass() {
    let stage =
        Stage::with_codes("spoofed_address", &[include_str!("hostapd.conf"), include_str!("open.conf")], 2);
    let (anne, bob) = (&stage.lab.stations[0], &stage.lab.stations[1]);
    let code = stage.code(1 << 20);
    stage.join(0, &code);
    let findings = stage.gateway.ask(serde_json::json!({"verb": "doctor"}));
    let of = |word: &str| -> Vec<String> {
        let found = findings.as_array().expect("findings").iter().filter(|finding| finding["word"] == word);
        found.map(|finding| finding["found"].as_str().expect("text").to_owned()).collect()
    };
    let codes = of("codes");
    assert!(codes.iter().any(|found| found == "ap1: WPA2, with a key for each grant"), "{codes:?}");
    assert!(codes.iter().any(|found| found.starts_with("ap2: without WPA-PSK")), "{codes:?}");
    assert!(of("codes-wpa3")[0].contains("binds no SAE password"), "hostapd 2.10");

    bob.netns.ip_lines(&[
        &format!("link set {STATION} down"),
        &format!("addr flush dev {STATION}"),
        &format!("link set {STATION} address {}", mac_text(anne.mac)),
        &format!("link set {STATION} up"),
    ]);
    bob.take_addresses();
    stage.select(1, "Open", &["key_mgmt NONE"]);
    wait_until("him to be turned away", JOIN, || stage.turned_away(anne.mac) > 0);
    let from_open = stage.air.frames().into_iter().filter_map(|frame| frame.deauthentication());
    let mut said = from_open.filter(|said| said.to == anne.mac && said.reason == Some(46));
    assert!(said.all(|said| said.bssid == stage.bssid(1)), "only where he is");
    // He comes again five times a second. Until hostapd's word of that is heard the kernel knows no better: some milliseconds
    // each time, and his sender makes the most of them.
    let stream = stage.lab.stream_up(1, false, 500);
    let before = stage.turned_away(anne.mac);
    wait_until("him to be turned away again and again", JOIN, || stage.turned_away(anne.mac) >= before + 5);
    let tally = stream.stop();
    let (passed, sent) = (tally.arrived.len(), tally.sent.len());
    assert!(passed * 5 < sent, "{passed} of {sent} packets passed");
    assert_eq!(stage.supplicants[1].command("DISCONNECT"), "OK\n");
    assert!(anne.reaches(lab::INTERNET_V4), "she has it back when he has gone");

    // She leaves, and he is there under her address.
    assert_eq!(stage.supplicants[0].command("DISCONNECT"), "OK\n");
    wait_until("her to have left", JOIN, || stage.row(&code)["station"].is_null());
    let used = stage.used(&code);
    assert_eq!(stage.supplicants[1].command("RECONNECT"), "OK\n");
    wait_until("him to be there", JOIN, || stage.access_points[1].has(anne.mac));
    assert!(bob.is_cut_off(lab::INTERNET_V4) && bob.is_cut_off(lab::INTERNET_V6));
    assert_eq!(stage.used(&code), used);
}
