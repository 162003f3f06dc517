//! Flow 1 end to end: a terminal asks, joins and heartbeats; falls silent; the coordinator notices, asks the
//! gateway, and the gateway evicts. All three roles are processes, hostapd, wpa_supplicant and the kernel real.

mod support;

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use support::lab;
use support::stage::{QUICK, Stage};
use support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_terminal_joins_falls_silent_and_is_evicted() {
    let stage = Stage::new("");
    let terminal = stage.terminal(0);
    stage.wait_for_access(0);
    assert!(stage.lab.stations[1].is_cut_off(lab::INTERNET_V4), "nobody else got in");
    assert!(stage.hostapd.has(stage.lab.stations[0].mac), "it joined by the account that it was given");
    let mut events = stage.gateway.watch();

    // A crash: nothing is said any more, and nothing moves.
    terminal.program.signal(Signal::SIGKILL);
    let report = events.next("evicted")["report"].clone();
    assert_eq!(report["cause"], "silence", "{report}");
    assert_eq!(report["steps"].as_array().unwrap().len(), 6, "{report}");
    assert!(stage.lab.stations[0].is_cut_off(lab::INTERNET_V4));
    wait_until("hostapd to have sent it away", SOON, || !stage.hostapd.has(stage.lab.stations[0].mac));
    wait_until("the coordinator to have the report", SOON, || {
        stage
            .sessions()
            .as_array()
            .is_some_and(|sessions| sessions.iter().all(|session| session["state"] != "evicting"))
    });
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn who_leaves_is_freed_at_once_and_it_is_no_silence() {
    let stage = Stage::new("");
    let mut terminal = stage.terminal(0);
    stage.wait_for_access(0);
    let mut events = stage.gateway.watch();
    let status = terminal.program.terminate(Duration::from_secs(5));
    assert!(status.success(), "{status}");
    let report = events.next("evicted")["report"].clone();
    assert_eq!(report["cause"], "left", "{report}");
    assert!(stage.lab.stations[0].is_cut_off(lab::INTERNET_V4));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_silent_terminal_that_moves_bytes_stays() {
    let stage = Stage::new("");
    let mut terminal = stage.terminal(0);
    stage.wait_for_access(0);
    // The agent is gone, the person goes on.
    terminal.program.kill();
    let stream = stage.lab.stream_up(0, false, 200);
    std::thread::sleep(Duration::from_secs(4));
    stream.stop().assert_whole();
    let rows = stage.gateway.ask(json!({"verb": "grants"}));
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_directory_that_somebody_changed_on_disk_is_named_and_read_again() {
    let stage = Stage::gateway_with("[directory]\narea = \"lyon/hall\"\n");
    let watching = "directory = { regions = [\"lyon\"], join = true }\n";
    let mut terminal = stage.terminal_with(0, watching);
    stage.wait_for_access(0);
    assert_eq!(terminal.status()["listed"], 1);
    assert!(terminal.program.terminate(SOON).success());

    let file = terminal.config.parent().expect("a directory").join("state/directory/lyon");
    let mut kept = std::fs::read(&file).expect("it is kept");
    let good = kept.clone();
    *kept.last_mut().expect("not empty") ^= 1;
    std::fs::write(&file, kept).expect("we are root");
    let mut terminal = stage.terminal_with(0, watching);
    let said = terminal.program.wait_line("bad-directory", SOON);
    assert!(said.contains("state/directory/lyon") && said.contains("did not sign"), "{said}");
    wait_until("it to have joined again", SOON, || terminal.status()["state"] == "connected");
    assert_eq!(std::fs::read(&file).expect("it is kept").len(), good.len());
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_strict_coordinator_does_not_ask() {
    let stage = Stage::new("policy = \"strict\"\n");
    let mut terminal = stage.terminal(0);
    stage.wait_for_access(0);
    let mut events = stage.gateway.watch();
    terminal.program.kill();
    let stream = stage.lab.stream_up(0, false, 200);
    assert_eq!(events.next("evicted")["report"]["cause"], "silence");
    drop(stream.stop());
    assert!(stage.lab.stations[0].is_cut_off(lab::INTERNET_V4));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_coordinator_that_is_killed_and_comes_back_evicts_nobody() {
    let mut stage = Stage::new("");
    let mut terminal = stage.terminal(0);
    stage.wait_for_access(0);
    let stream = stage.lab.stream_up(0, true, 500);
    for _ in 0..2 {
        stage.coordinator.program.kill();
        std::thread::sleep(Duration::from_millis(1500));
        stage.coordinator.again();
        stage.gateway.wait_for_link();
        std::thread::sleep(Duration::from_millis(1500));
    }
    stream.stop().assert_whole();
    assert!(terminal.program.is_running());
    let rows = stage.gateway.ask(json!({"verb": "grants"}));
    assert_eq!(rows[0]["incarnation"], 1, "it was never evicted and never had to join again: {rows}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_lost_coordinator_is_bounded_by_the_lease() {
    let mut stage = Stage::with("", &QUICK.replace("30s", "3s"));
    let _terminal = stage.terminal(0);
    stage.wait_for_access(0);
    let mut events = stage.gateway.watch();
    stage.coordinator.program.kill();
    let report = events.next("evicted")["report"].clone();
    assert_eq!(report["cause"], "expired", "{report}");
    assert!(stage.lab.stations[0].is_cut_off(lab::INTERNET_V4));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn the_gateway_is_killed_and_comes_back_under_a_session() {
    let mut stage = Stage::new("");
    let _terminal = stage.terminal(0);
    stage.wait_for_access(0);
    let stream = stage.lab.stream_up(0, false, 1000);
    stage.gateway.program.kill();
    std::thread::sleep(Duration::from_millis(500));
    stage.gateway.again();
    stage.gateway.wait_for_link();
    std::thread::sleep(Duration::from_millis(500));
    stream.stop().assert_whole();
    let rows = stage.gateway.ask(json!({"verb": "grants"}));
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["origin"]), (1, &json!("coordinator")), "{rows}");
}
