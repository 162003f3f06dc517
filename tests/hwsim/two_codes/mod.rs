//! See README.

use super::stage::Stage;
use super::support::frame::mac_text;
use super::support::lab;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn two_codes_on_one_network_are_two_grants() {
    let stage = Stage::with_codes("two_codes", &[include_str!("hostapd.conf")], 2);
    let (anne, bob) = (&stage.lab.stations[0], &stage.lab.stations[1]);
    let (hers, his) = (stage.code(1 << 30), stage.code(1 << 20));
    stage.join(0, &hers);
    // Bob is associated, and known by his key, before his grant is looked for.
    stage.join(1, &his);
    for (code, station) in [(&hers, anne), (&his, bob)] {
        assert_eq!(stage.row(code)["station"], mac_text(station.mac));
    }
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
