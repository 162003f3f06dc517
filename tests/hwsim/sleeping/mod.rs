//! See README.

use super::stage::{SILENCE, Stage};
use super::support::lab;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_silent_terminal_whose_station_moves_bytes_stays() {
    let stage = Stage::new("sleeping", include_str!("hostapd.conf"), 1);
    let anne = &stage.lab.stations[0];
    let mut terminal = stage.joined(0);
    let mut events = stage.gateway.watch();
    anne.netns.run(&format!("iw dev {} set power_save on", lab::STATION));
    terminal.program.kill();
    // Two packets a second, as of a telephone in a pocket.
    let stream = stage.lab.stream_up(0, false, 2);
    std::thread::sleep(SILENCE * 5);
    let tally = stream.stop();
    assert!(tally.sent.len() > 10 && tally.lost().is_empty(), "{tally:?}");
    let grants = stage.grants();
    assert_eq!(grants.len(), 1, "{grants:?}");
    assert_eq!(grants[0]["incarnation"], 1, "it was never evicted: {grants:?}");
    assert!(stage.access_points[0].has(anne.mac));
    let said = stage.air.frames().into_iter().filter_map(|frame| frame.deauthentication());
    let own: Vec<_> = said.filter(|said| said.to == anne.mac).collect();
    assert_eq!(own, [], "it was sent away");
    // Nothing else than the bytes kept it.
    stage.wait_evicted_for_silence(0, &mut events);
}
