//! See README.

use nix::sys::signal::Signal;
use serde_json::json;

use super::stage::{JOIN, Script, Stage, serve};
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

/// While hostapd is away a terminal has no network and says nothing: that is to be shorter than the lapse.
const TIMING: &str = "[heartbeat]\ninterval = \"1s\"\nlapse_factor = 25\n";
const CONFIGURATION: &str = include_str!("hostapd.conf");

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn hostapd_is_killed_comes_back_and_reads_its_configuration_again() {
    let mut stage = Stage::play(Script {
        scenario: "hostapd_restart",
        access_points: &[CONFIGURATION],
        timing: TIMING,
        ..Script::default()
    });
    let mac = stage.lab.stations[0].mac;
    let mut terminal = stage.joined(0);
    let before = stage.grants();

    stage.access_points[0].program.kill();
    stage.access_points[0] = serve(&stage.lab, "ap1", CONFIGURATION);
    came_back(&stage);

    let config = stage.access_points[0].config().to_owned();
    let text = std::fs::read_to_string(&config).expect("ours");
    std::fs::write(&config, text.replace("channel=1\n", "channel=6\n")).expect("ours");
    let seen = stage.access_points[0].program.lines().len();
    stage.access_points[0].program.signal(Signal::SIGHUP);
    stage.access_points[0].program.wait_line_from(seen, "AP-STA-CONNECTED", JOIN);
    came_back(&stage);

    assert!(terminal.program.is_running());
    let after = stage.grants();
    let same = |key: &str| assert_eq!(after[0][key], before[0][key], "{key}: {after:?}");
    assert_eq!(after.len(), 1, "{after:?}");
    same("id");
    same("incarnation");
    // And it is this hostapd that sends it away in the end.
    let report = stage.gateway.evict(mac);
    assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 1, "{report}");
    wait_until("hostapd to have sent it away", SOON, || !stage.access_points[0].has(mac));
}

/// Station and gateway have found hostapd again, and packets pass.
#[track_caller]
fn came_back(stage: &Stage) {
    let anne = &stage.lab.stations[0];
    stage.wait_associated(0, 0);
    wait_until("the gateway to see the association", SOON, || {
        let rows = stage.gateway.ask(json!({"verb": "stations"}));
        let row = rows
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["mac"] == mac_text(anne.mac)).cloned());
        row.is_some_and(|row| row["bssid"] == mac_text(stage.bssid(0)))
    });
    assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6));
}
