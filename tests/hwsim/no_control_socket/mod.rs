//! See README.

use std::time::Duration;

use super::stage::{JOIN, PASSPHRASE, SSID, Script, Stage};
use super::support::frame::mac_text;
use super::support::lab::{self, BRIDGE};
use super::support::proc::Program;
use super::support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_station_of_a_hostapd_that_speaks_with_nobody_is_evicted() {
    let script = Script { scenario: "no_control_socket", spare: 1, ..Script::default() };
    let stage = Stage::play(script);
    stage.air.radios[1].move_to(&stage.lab.gateway, "ap1");
    let config = stage.lab.path().join("mute.conf");
    let lines = include_str!("hostapd.conf");
    std::fs::write(&config, format!("interface=ap1\ndriver=nl80211\nbridge={BRIDGE}\n{lines}")).unwrap();
    let mut command = stage.lab.gateway.command("hostapd");
    command.arg("-t").arg(&config);
    let mut hostapd = Program::start("hostapd", command);
    hostapd.wait_line("AP-ENABLED", SOON);

    let station = &stage.lab.stations[0];
    let associated = || stage.lab.gateway.run("iw dev ap1 station dump").contains(&mac_text(station.mac));
    stage.associate(0, SSID, PASSPHRASE, &[]);
    wait_until("the association", JOIN, associated);
    stage.gateway.grant(station.mac);
    wait_until("its packets to pass", SOON, || {
        station.reaches_within(lab::INTERNET_V4, Duration::from_millis(500))
    });

    // It must not come back before the kernel was looked at: its frames find no access point from here on.
    let held = stage.supplicants[0].command("SET_NETWORK 0 disabled 1");
    assert_eq!(held, "OK\n");
    let report = stage.gateway.evict(station.mac);
    assert!(!associated(), "{report}");
    let steps = report["steps"].as_array().unwrap();
    let freed = |step: &str| {
        steps.iter().find(|found| found["step"] == step).expect(step)["outcome"]["done"]["freed"].clone()
    };
    assert_eq!((freed("association"), freed("verification")), (1.into(), 0.into()), "{report}");
    assert!(station.is_cut_off(lab::INTERNET_V4));
}
