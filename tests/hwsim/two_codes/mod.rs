//! See README.

use super::codes::Coded;
use super::stage::{JOIN, SSID, Stage};
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn two_codes_on_one_network_are_two_grants() {
    let stage = Stage::with_codes("two_codes", &[include_str!("hostapd.conf")], 2);
    let (anne, bob) = (&stage.lab.stations[0], &stage.lab.stations[1]);
    let (hers, his) = (stage.code(1 << 30), stage.code(1 << 20));
    // Digits that nobody was given.
    let nobodys = Coded { grant: String::new(), digits: "5a".repeat(32) };
    stage.type_in(0, &nobodys);
    let said = |text: &str| stage.supplicants[0].program.lines().iter().any(|line| line.contains(text));
    wait_until("the key to be found wrong", JOIN, || said("reason=WRONG_KEY"));
    assert!(!stage.access_points[0].has(anne.mac) && anne.is_cut_off(lab::INTERNET_V4));
    // The owner's own passphrase, which should open another access point.
    let shared =
        || stage.gateway.ask(serde_json::json!({"verb": "doctor"})).to_string().contains("codes-shared");
    assert!(!shared());
    stage.associate(1, SSID, "the owner's own", &[]);
    stage.wait_associated(1, 0);
    wait_until("the doctor to say that strangers share it", SOON, shared);
    assert!(bob.is_cut_off(lab::INTERNET_V4));
    stage.join(0, &hers);
    // Bob is associated, and known by his key, before his grant is looked for.
    stage.join(1, &his);
    for (code, station) in [(&hers, anne), (&his, bob)] {
        assert_eq!(stage.row(code)["station"], mac_text(station.mac));
    }
    assert!(!shared());
    let (before, hers_before) = (stage.used(&his), stage.used(&hers));
    for _ in 0..5 {
        assert!(bob.reaches(lab::INTERNET_V4));
    }
    assert!(stage.used(&his) > before);
    assert_eq!(stage.used(&hers), hers_before, "his bytes are not hers");

    let report = stage.evict(&hers);
    assert_eq!(report["station"], mac_text(anne.mac), "{report}");
    assert!(anne.is_cut_off(lab::INTERNET_V4) && !stage.access_points[0].has(anne.mac));
    assert!(stage.access_points[0].has(bob.mac) && bob.reaches(lab::INTERNET_V4), "his code counts");
}
