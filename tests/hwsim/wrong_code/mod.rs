//! See README.

use serde_json::json;

use super::stage::{JOIN, SSID, Script, Stage};
use super::support::daemons::ask;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

const WRONG: &str = "as the crow flies";

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn the_wrong_code_opens_nothing() {
    // The owner has changed hostapd's and not the gateway's: that is what the terminal is given.
    let mut stage = Stage::play(Script {
        scenario: "wrong_code",
        access_points: &[include_str!("hostapd.conf")],
        stations: 2,
        passphrase: WRONG,
        ..Script::default()
    });
    let terminal = stage.terminal(0);
    let last = || ask(&terminal.socket, &json!({"verb": "status"}))["ok"]["last"]["word"].clone();
    wait_until("the terminal to hear of it", JOIN, || last() == "account-refused");
    wait_until("it to have given the grant back", SOON, || stage.grants().is_empty());
    let networks = stage.supplicants[0].command("LIST_NETWORKS");
    assert_eq!(networks.lines().count(), 1, "only the heading is left: {networks}");

    stage.associate(1, SSID, WRONG, &[]);
    let said = stage.supplicants[1].program.wait_line("CTRL-EVENT-SSID-TEMP-DISABLED", JOIN);
    assert!(said.contains("reason=WRONG_KEY"), "{said}");
    for station in &stage.lab.stations {
        assert!(!stage.access_points[0].has(station.mac));
        assert!(!station.pings(lab::GATEWAY_V4));
    }
}
