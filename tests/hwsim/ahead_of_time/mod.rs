//! See README.

use serde_json::json;

use super::stage::{JOIN, Script, Stage};
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

/// Whoever has lost its other way to the coordinator needs some seconds to find the new one.
const TIMING: &str = "[heartbeat]\ninterval = \"500ms\"\nlapse_factor = 60\n\
                      [patience]\nlease = \"5m\"\ngrant = \"15s\"\njoin = \"1s\"\n";
const AHEAD: &str = "directory = { regions = [\"lyon\"], join = true, ahead = [\"lyon/hall\"] }\n";

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_terminal_joins_by_the_code_that_it_was_given_before() {
    let stage = Stage::play(Script {
        scenario: "ahead_of_time",
        access_points: &[include_str!("hostapd.conf")],
        codes: true,
        gateway: "[directory]\narea = \"lyon/hall\"\n",
        timing: TIMING,
        ..Script::default()
    });
    let anne = &stage.lab.stations[0];
    // Somewhere else, with a way to the coordinator: it gets what it needs here.
    stage.radio(0).shield();
    let mut terminal = stage.terminal_with(0, AHEAD);
    wait_until("a code ahead of time", JOIN, || terminal.status()["ahead"] == 1);
    let sessions = || stage.coordinator.ask(json!({"verb": "sessions"}))["sessions"].clone();
    wait_until("the reservation", SOON, || sessions()[0]["state"] == "reserved");
    let session = sessions()[0]["session"].clone();
    assert_eq!((stage.grants().len(), &stage.grants()[0]["station"]), (1, &json!(null)), "nobody has come");

    // Without any way to the coordinator, and started anew: nothing is in its memory but what it has kept.
    terminal.program.kill();
    std::fs::remove_file(&terminal.socket).expect("nobody else has removed it");
    anne.netns.ip("link set cell0 down");
    terminal.again(&stage.lab, 0);
    wait_until("the terminal to have started", SOON, || {
        terminal.socket.exists() && terminal.status()["ahead"] == 1
    });
    stage.radio(0).unshield();
    stage.wait_associated(0, 0);
    assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6));
    let row = stage.grants().remove(0);
    assert_eq!((&row["code"], &row["station"]), (&json!(true), &json!(mac_text(anne.mac))));
    // The way to the coordinator is the network itself.
    wait_until("its first heartbeat", JOIN, || stage.active() == 1);
    assert_eq!(sessions()[0]["session"], session, "it is the session that was reserved");

    // Ended, it opens nothing. Another code counts: otherwise hostapd would not even begin a handshake.
    let _other = stage.code(1 << 30);
    stage.gateway.ask(json!({"verb": "evict", "target": {"grant": row["id"]}}));
    assert!(anne.is_cut_off(lab::INTERNET_V4) && !stage.access_points[0].has(anne.mac));
    let said = |text: &str| stage.supplicants[0].program.lines().iter().any(|line| line.contains(text));
    wait_until("its code to be refused", JOIN, || said("reason=WRONG_KEY"));
    assert!(!stage.access_points[0].has(anne.mac));
}
