//! See README.

use serde_json::json;

use super::stage::{JOIN, Script, Stage, serve};
use super::support::daemons::Terminal;
use super::support::wait::wait_until;

/// While hostapd is away a terminal has no network and says nothing: that is to be shorter than the lapse.
const TIMING: &str = "[heartbeat]\ninterval = \"1s\"\nlapse_factor = 40\n";
const CONFIGURATION: &str = include_str!("hostapd.conf");

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_message_is_shown_once_across_reconnects() {
    let mut stage = Stage::play(Script {
        scenario: "push",
        access_points: &[CONFIGURATION],
        timing: TIMING,
        ..Script::default()
    });
    let say = |stage: &Stage, text: &str| {
        stage.gateway.ask(json!({"verb": "push", "to": {"network": "Corner"}, "text": text}))
    };
    say(&stage, "Welcome");
    let mut terminal = stage.joined(0);
    terminal.program.wait_line("message (owner, Corner): Welcome", JOIN);
    let sessions = stage.coordinator.ask(json!({"verb": "sessions"}));
    let service = sessions["sessions"][0]["service"].clone();
    stage.coordinator.ask(json!({"verb": "push", "to": {"gateway": service}, "text": "And so do we"}));
    terminal.program.wait_line("message (coordinator, Corner): And so do we", JOIN);

    // The access point goes and comes back.
    stage.access_points[0].program.kill();
    stage.access_points[0] = serve(&stage.lab, "ap1", CONFIGURATION);
    stage.wait_associated(0, 0);
    // The gateway forgets who has what, and offers it again to whoever comes.
    stage.gateway.program.kill();
    stage.gateway.again();
    stage.gateway.wait_for_link();
    wait_until("both to have been offered again", JOIN, || {
        let rows = stage.gateway.ask(json!({"verb": "messages"}));
        rows.as_array().is_some_and(|rows| rows.len() == 2 && rows.iter().all(|row| row["taken"] == 1))
    });
    // Out of reach for a while.
    stage.radio(0).shield();
    wait_until("its access to be lost", JOIN, || terminal.status()["state"] != "connected");
    stage.radio(0).unshield();
    say(&stage, "The last word");
    terminal.program.wait_line("The last word", JOIN);
    assert_eq!(
        shown(&terminal),
        [
            "message (owner, Corner): Welcome",
            "message (coordinator, Corner): And so do we",
            "message (owner, Corner): The last word"
        ]
    );
}

fn shown(terminal: &Terminal) -> Vec<String> {
    terminal.program.lines().into_iter().filter(|line| line.starts_with("message (")).collect()
}
