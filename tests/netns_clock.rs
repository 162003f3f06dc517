//! A router boots in 1970 and learns the time later: no deadline may notice. All three roles under
//! `support/clock.c`, which lies about CLOCK_REALTIME alone. A process of its own: what it sets holds for every program it starts.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use support::daemons;
use support::lab;
use support::stage::Stage;

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn clocks_that_jump_change_no_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let clock = dir.path().join("clock");
    set(&clock, 60);
    let liar = dir.path().join("clock.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&liar).arg("tests/support/clock.c");
    assert!(cc.status().unwrap().success());
    daemons::set_environment(&[("LD_PRELOAD", liar.as_os_str()), ("CLOCK_FILE", clock.as_os_str())]);

    let stage = Stage::new("");
    assert!(stage.gateway.program.lines().iter().any(|line| line.contains("1970-01-01T")), "it is 1970");
    let terminal = stage.terminal(0);
    stage.wait_for_access(0);
    // An owner's grant for a time stands beside it.
    let other = &stage.lab.stations[1];
    let grant = json!({"station": support::frame::mac_text(other.mac), "lease": 60_000});
    stage.gateway.ask(json!({"verb": "grant", "grants": [grant]}));

    // 2026, 2061, and back.
    for jump in [1_795_262_400, 2_871_763_200, 10] {
        set(&clock, jump);
        // Longer than silence, the inquiry and the wait for a join would take.
        std::thread::sleep(Duration::from_secs(3));
        let sessions = stage.sessions();
        assert_eq!(sessions[0]["state"], "active", "{jump}: {sessions}");
        assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4), "{jump}");
        assert!(other.reaches(lab::INTERNET_V4), "{jump}");
        let rows = stage.gateway.ask(json!({"verb": "grants"}));
        let left = rows
            .as_array()
            .unwrap()
            .iter()
            .find_map(|row| row["left"].as_u64().filter(|_| row["origin"] == "owner"));
        assert!(left.is_some_and(|left| (30_000..60_000).contains(&left)), "{jump}: {rows}");
    }

    // And silence is still noticed, in the time that it takes by any clock.
    let mut events = stage.gateway.watch();
    terminal.program.signal(Signal::SIGKILL);
    assert_eq!(events.next("evicted")["report"]["cause"], "silence");
}

fn set(clock: &Path, to: u64) {
    // At once: a file that is half written would be read as another time.
    let new = clock.with_extension("new");
    std::fs::write(&new, to.to_string()).unwrap();
    std::fs::rename(new, clock).unwrap();
}
