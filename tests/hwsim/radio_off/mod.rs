//! See README.

use super::stage::Stage;
use super::support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_radio_that_goes_silent_without_a_good_bye_is_evicted() {
    let stage = Stage::new("radio_off", include_str!("hostapd.conf"), 1);
    let anne = &stage.lab.stations[0];
    let mut terminal = stage.joined(0);
    let mut events = stage.gateway.watch();
    anne.netns.ip("link set cell0 down");
    stage.radio(0).shield();
    stage.wait_evicted_for_silence(0, &mut events);
    assert!(terminal.program.is_running(), "it was only out of reach");
    let said = stage.air.frames().into_iter().filter_map(|frame| frame.deauthentication());
    let own: Vec<_> = said.filter(|said| said.from == anne.mac).collect();
    assert_eq!(own, [], "it said good-bye");
    wait_until("hostapd to have let it go", SOON, || !stage.access_points[0].has(anne.mac));
}
