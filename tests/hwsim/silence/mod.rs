//! See README.

use nix::sys::signal::Signal;

use super::stage::Stage;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_killed_terminal_is_evicted_while_its_radio_stays_up() {
    let stage = Stage::new("silence", include_str!("hostapd.conf"), 1);
    let terminal = stage.joined(0);
    let mut events = stage.gateway.watch();
    terminal.program.signal(Signal::SIGKILL);
    let report = stage.wait_evicted_for_silence(0, &mut events);
    let association = &report["steps"][2];
    assert_eq!(
        (&association["step"], &association["outcome"]["done"]["freed"]),
        (&"association".into(), &1.into())
    );
}
