//! See README.

use std::time::Duration;

use super::forger::Forger;
use super::stage::{JOIN, PASSPHRASE, Script, Stage};
use super::support::frame::BROADCAST;
use super::support::hostapd::Hostapd;
use super::support::netns::Netns;
use super::support::wait::SOON;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_forged_deauthentication_is_ignored_where_frames_are_protected() {
    let mut stage = Stage::play(Script {
        scenario: "forged_deauth",
        access_points: &[include_str!("hostapd.conf")],
        stations: 2,
        spare: 2,
        ..Script::default()
    });
    let (anne, bob) = (stage.lab.stations[0].mac, stage.lab.stations[1].mac);
    let [.., road, forger] = &stage.air.radios[..] else { panic!("two spare radios") };
    let (protected, unprotected) = (stage.bssid(0), road.mac);
    let _terminal = stage.joined(0);
    let status = stage.supplicants[0].command("STATUS");
    assert!(status.contains("pmf="), "{status}");
    let forger = Forger::new(forger);

    // Bob is in another network, which does not protect its frames: the forgeries are good.
    let elsewhere = Netns::new("road");
    road.move_to(&elsewhere, "ap1");
    let dir = stage.lab.path().join("road");
    std::fs::create_dir(&dir).expect("a directory");
    let mut road = Hostapd::with(&elsewhere, "ap1", &dir, include_str!("unprotected.conf"));
    stage.associate(1, "Road", PASSPHRASE, &[]);
    road.program.wait_line("AP-STA-CONNECTED", JOIN);
    forger.deauthenticate(bob, unprotected, unprotected);
    stage.supplicants[1].program.wait_line("CTRL-EVENT-DISCONNECTED", SOON);

    let events = stage.supplicants[0].program.lines().len();
    let stream = stage.lab.stream_up(0, false, 20);
    for _ in 0..30 {
        forger.deauthenticate(anne, protected, protected);
        forger.deauthenticate(BROADCAST, protected, protected);
        forger.deauthenticate(protected, anne, protected);
        std::thread::sleep(Duration::from_millis(100));
    }
    let tally = stream.stop();
    assert!(tally.sent.len() > 20 && tally.lost().is_empty(), "{tally:?}");
    assert!(stage.access_points[0].has(anne));
    let said = stage.supplicants[0].program.lines().split_off(events).join("\n");
    assert!(!said.contains("CTRL-EVENT-DISCONNECTED"), "{said}");
    assert_eq!(stage.grants().len(), 1);
}
