//! See README.

use nix::sys::signal::Signal;
use serde_json::json;

use super::stage::{JOIN, Script, Stage, serve};
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

const CONFIGURATION: &str = include_str!("hostapd.conf");
/// See `sealed_code`.
const TIMING: &str = "[heartbeat]\ninterval = \"500ms\"\nlapse_factor = 40\n\
                      [patience]\nlease = \"60s\"\ngrant = \"10s\"\njoin = \"40s\"\ninquiry = \"1s\"\n";

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_code_is_a_password_of_wpa3_until_it_ends() {
    let mut stage = Stage::play(Script {
        scenario: "sae_code",
        access_points: &[CONFIGURATION],
        codes: true,
        timing: TIMING,
        ..Script::default()
    });
    let mac = stage.lab.stations[0].mac;
    let terminal = stage.joined(0);
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V6));
    let known = stage.access_points[0].command(&format!("STA {}", mac_text(mac)));
    let status = stage.supplicants[0].command("STATUS");
    assert!(status.contains("key_mgmt=SAE\n") && known.contains("[MFP]"), "{status}{known}");
    let row = stage.grants().remove(0);
    assert_eq!((&row["code"], &row["station"]), (&json!(true), &json!(mac_text(mac))));

    // The gateway's restart costs nothing.
    stage.gateway.program.signal(Signal::SIGKILL);
    stage.gateway.again();
    stage.gateway.wait_for_link();
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4) && stage.access_points[0].has(mac));

    // hostapd starts without any password, and is told again.
    stage.access_points[0].program.kill();
    stage.access_points[0] = serve(&stage.lab, "ap1", CONFIGURATION);
    stage.access_points[0].program.wait_line("AP-STA-CONNECTED", JOIN);
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4));
    wait_until("the grant to have the station", SOON, || {
        stage.grants().iter().any(|row| row["station"] == mac_text(mac))
    });

    // Ended: the password that wpa_supplicant still has opens nothing, and neither does a cached key. The terminal is
    // held, so that it asks for no other one.
    terminal.program.signal(Signal::SIGSTOP);
    let tries = |stage: &Stage| {
        let lines = stage.supplicants[0].program.lines();
        lines
            .iter()
            .filter(|line| line.contains("Trying to authenticate") || line.contains("Trying to associate"))
            .count()
    };
    let report =
        stage.gateway.ask(json!({"verb": "evict", "target": {"grant": row["id"]}}))["report"].clone();
    let before = tries(&stage);
    assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 1, "{report}");
    assert!(stage.lab.stations[0].is_cut_off(lab::INTERNET_V4));
    wait_until("wpa_supplicant to try again", JOIN, || tries(&stage) >= before + 2);
    assert!(!stage.access_points[0].has(mac) && stage.lab.stations[0].is_cut_off(lab::INTERNET_V4));
}
