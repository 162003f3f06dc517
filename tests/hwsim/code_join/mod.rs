//! See README.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;

use super::stage::{JOIN, Stage, code_file, serve};
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

const CONFIGURATION: &str = include_str!("hostapd.conf");

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_station_joins_with_a_code_that_survives_restarts_and_edits() {
    let mut stage = Stage::with_codes("code_join", &[CONFIGURATION], 1);
    let mac = stage.lab.stations[0].mac;
    let code = stage.code(1 << 30);
    assert_eq!(stage.row(&code)["station"], serde_json::Value::Null, "nobody has come yet");
    stage.join(0, &code);
    let anne = &stage.lab.stations[0];
    assert!(anne.reaches(lab::INTERNET_V6));
    stage.wait_station(&code, mac);
    let known = stage.access_points[0].command(&format!("STA {}", mac_text(mac)));
    assert!(known.contains(&format!("keyid={}\n", &code.grant[..24])), "{known}");

    // Somebody adds a code of his own.
    let path = code_file(&stage.lab);
    let ours = fs::read_to_string(&path).expect("it is there");
    assert!(
        ours.contains(&code.digits)
            && fs::metadata(&path).expect("there").permissions().mode() & 0o777 == 0o600
    );
    let mut events = stage.gateway.watch();
    let mut file = fs::OpenOptions::new().append(true).open(&path).expect("we are root");
    writeln!(file, "00:00:00:00:00:00 {}", "0".repeat(64)).expect("there is room");
    drop(file);
    let dropped = events.next("dropped");
    assert_eq!(dropped["refusal"]["word"], "codes-edited", "{dropped}");
    wait_until("the file to be as it was", SOON, || fs::read_to_string(&path).is_ok_and(|text| text == ours));
    assert!(stage.access_points[0].has(mac), "who is in stays in");

    // The gateway is killed: nothing changes, and the next one knows the code.
    stage.gateway.program.signal(Signal::SIGKILL);
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4));
    stage.gateway.again();
    stage.wait_station(&code, mac);
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), ours);

    // hostapd is killed: the next one reads the file, and the station comes back by itself.
    stage.access_points[0].program.kill();
    stage.access_points[0] = serve(&stage.lab, "ap1", CONFIGURATION);
    stage.access_points[0].program.wait_line("AP-STA-CONNECTED", JOIN);
    stage.wait_station(&code, mac);
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4));
    let report = stage.evict(&code);
    assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 1, "{report}");
    assert!(!fs::read_to_string(&path).expect("it is there").contains(&code.digits));
}
