//! See README.

use std::time::Duration;

use super::air::Radio;
use super::stage::{JOIN, PASSPHRASE, Script, Stage};
use super::support::frame::{BROADCAST, Mac, RawPort};
use super::support::hostapd::Hostapd;
use super::support::lab;
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
    forger.send(bob, unprotected, unprotected);
    stage.supplicants[1].program.wait_line("CTRL-EVENT-DISCONNECTED", SOON);

    let events = stage.supplicants[0].program.lines().len();
    let stream = stage.lab.stream_up(0, false, 20);
    for _ in 0..30 {
        forger.send(anne, protected, protected);
        forger.send(BROADCAST, protected, protected);
        forger.send(protected, anne, protected);
        std::thread::sleep(Duration::from_millis(100));
    }
    let tally = stream.stop();
    assert!(tally.sent.len() > 20 && tally.lost().is_empty(), "{tally:?}");
    assert!(stage.access_points[0].has(anne));
    let said = stage.supplicants[0].program.lines().split_off(events).join("\n");
    assert!(!said.contains("CTRL-EVENT-DISCONNECTED"), "{said}");
    assert_eq!(stage.grants().len(), 1);
}

/// A radio of somebody who belongs to no network.
struct Forger {
    port: RawPort,
    _netns: Netns,
}

impl Forger {
    fn new(radio: &Radio) -> Self {
        let netns = Netns::new("forger");
        radio.move_to(&netns, lab::STATION);
        netns.run(&format!("iw dev {} set type monitor", lab::STATION));
        netns.ip(&format!("link set {} up", lab::STATION));
        netns.run(&format!("iw dev {} set freq 2412", lab::STATION));
        Self { port: RawPort::open(&netns, lab::STATION, 3), _netns: netns }
    }

    /// Reason 7: a class 3 frame from a station that is not associated.
    fn send(&self, to: Mac, from: Mac, bssid: Mac) {
        let radiotap = [0, 0, 8, 0, 0, 0, 0, 0];
        let header = [&[0xc0, 0, 0, 0][..], &to, &from, &bssid, &[0, 0]].concat();
        self.port.send(&[&radiotap[..], &header, &7_u16.to_le_bytes()].concat());
    }
}
