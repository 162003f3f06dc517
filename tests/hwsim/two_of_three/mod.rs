//! See README.

use super::stage::{JOIN, Script, Stage};
use super::support::lab;
use super::support::wait::wait_until;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn two_of_three_are_recognised_and_one_is_not() {
    let hostapd = include_str!("hostapd.conf");
    let stage = Stage::play(Script {
        scenario: "two_of_three",
        access_points: &[hostapd, hostapd, hostapd],
        gateway: "[directory]\narea = \"lyon/hall\"\n",
        ..Script::default()
    });
    let anne = &stage.lab.stations[0];
    for radio in &stage.air.radios[1..3] {
        radio.shield();
    }
    let terminal = stage.watching(0);
    wait_until("the directory", JOIN, || terminal.status()["listed"] == 3);
    // What it sees now, it sees with the directory in its hands.
    terminal.wait_looks(1, JOIN);
    let (status, sent) = (terminal.status(), stage.sent_by(anne.mac));
    assert!(["scanning", "waiting"].contains(&status["state"].as_str().expect("a word")), "{status}");
    assert_eq!(sent, 0, "it was silent");
    assert_eq!(stage.grants().len(), 0, "nobody was told of it");

    stage.air.radios[1].unshield();
    wait_until("its first heartbeat", JOIN, || stage.active() == 1);
    assert!(anne.reaches(lab::INTERNET_V4));
    assert!(stage.access_points[0].has(anne.mac) != stage.access_points[1].has(anne.mac));
}
