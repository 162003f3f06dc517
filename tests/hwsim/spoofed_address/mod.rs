//! See README.

use nix::sys::signal::Signal;

use super::stage::{JOIN, Stage};
use super::support::frame::{Mac, mac_text};
use super::support::lab::{self, STATION};
use super::support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn the_address_of_a_station_with_a_code_lets_nobody_else_pass() {
    let mut stage =
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

    // Refused there before he comes.
    wait_until("her address to be refused beside her", SOON, || denied(&stage) == [mac_text(anne.mac)]);
    bob.netns.ip_lines(&[
        &format!("link set {STATION} down"),
        &format!("addr flush dev {STATION}"),
        &format!("link set {STATION} address {}", mac_text(anne.mac)),
        &format!("link set {STATION} up"),
    ]);
    bob.take_addresses();
    let stream = stage.lab.stream_up(1, false, 500);
    stage.select(1, "Open", &["key_mgmt NONE"]);
    wait_until("him to be refused again and again", JOIN, || refused(&stage, anne.mac) >= 2);
    assert!(anne.reaches(lab::INTERNET_V4), "nothing changes for her");
    stream.stop().assert_nothing();
    assert_eq!((stage.turned_away(anne.mac), stage.access_points[1].stations().len()), (0, 0));

    // She leaves, and he is there under her address.
    assert_eq!(stage.supplicants[0].command("DISCONNECT"), "OK\n");
    wait_until("her to have left", JOIN, || stage.row(&code)["station"].is_null());
    let used = stage.used(&code);
    wait_until("her address to be anybody's", SOON, || denied(&stage).is_empty());
    assert_eq!(stage.supplicants[1].command("REASSOCIATE"), "OK\n");
    wait_until("him to be there", JOIN, || stage.access_points[1].has(anne.mac));
    assert!(bob.is_cut_off(lab::INTERNET_V4) && bob.is_cut_off(lab::INTERNET_V6));
    assert_eq!(stage.used(&code), used);

    // She comes back, and he goes before she passes.
    let stream = stage.lab.stream_up(1, false, 500);
    assert_eq!(stage.supplicants[0].command("RECONNECT"), "OK\n");
    wait_until("him to be gone", JOIN, || !stage.access_points[1].has(anne.mac));
    wait_until("her to pass", JOIN, || anne.reaches(lab::INTERNET_V4));
    stream.stop().assert_nothing();
    assert_eq!(stage.supplicants[1].command("DISCONNECT"), "OK\n");

    // Whatever ends the gateway, nothing is left behind; what the owner refuses is not ours to allow.
    let owners = "02:00:00:00:00:99";
    assert_eq!(stage.access_points[1].command(&format!("DENY_ACL ADD_MAC {owners}")), "OK\n");
    stage.gateway.program.signal(Signal::SIGKILL);
    stage.gateway.again();
    stage.wait_station(&code, stage.lab.stations[0].mac);
    stage.evict(&code);
    wait_until("the owner's address only", SOON, || denied(&stage) == [owners]);
}

/// The addresses that the open access point refuses.
fn denied(stage: &Stage) -> Vec<String> {
    let list = stage.access_points[1].command("DENY_ACL SHOW");
    list.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect()
}

/// How often the open access point has refused this address: authentication, second frame, and a status other than
/// success (IEEE 802.11-2020, 9.3.3.11).
fn refused(stage: &Stage, mac: Mac) -> usize {
    let bssid = stage.bssid(1);
    let frames = stage.air.frames().into_iter().map(|frame| frame.bytes);
    let answers =
        frames.filter(|bytes| bytes.get(..2) == Some(&[0xb0, 0]) && bytes.get(10..16) == Some(&bssid));
    answers
        .filter(|bytes| {
            bytes.get(4..10) == Some(&mac) && bytes.get(28..30).is_some_and(|status| status != [0, 0])
        })
        .count()
}
