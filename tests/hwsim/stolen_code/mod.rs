//! See README.

use super::stage::{JOIN, Stage};
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::wait_until;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_stolen_code_is_of_no_use_while_its_device_is_there() {
    let stage = Stage::with_codes("stolen_code", &[include_str!("hostapd.conf")], 2);
    let (anne, bob) = (&stage.lab.stations[0], &stage.lab.stations[1]);
    let code = stage.code(1 << 20);
    stage.join(0, &code);

    stage.type_in(1, &code);
    wait_until("Bob to be turned away", JOIN, || stage.turned_away(bob.mac) > 0);
    assert!(bob.is_cut_off(lab::INTERNET_V4) && bob.is_cut_off(lab::INTERNET_V6));
    assert!(anne.reaches(lab::INTERNET_V4) && stage.access_points[0].has(anne.mac));
    assert_eq!(stage.row(&code)["station"], mac_text(anne.mac));
    assert_eq!(stage.turned_away(anne.mac), 0);

    // She is gone, and nobody has said so: hostapd still has her. He asks again and again.
    let used = stage.used(&code);
    stage.radio(0).shield();
    assert!(stage.access_points[0].has(anne.mac));
    wait_until("the second device to have it", JOIN, || stage.row(&code)["station"] == mac_text(bob.mac));
    assert!(bob.reaches(lab::INTERNET_V4));
    assert!(!stage.access_points[0].has(anne.mac), "the first one is out");
    assert!(stage.used(&code) >= used, "what was used is used");
}
