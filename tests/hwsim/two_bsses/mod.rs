//! See README.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use super::stage::{JOIN, Script, Stage};
use super::support::frame::{Mac, mac_text};
use super::support::lab;
use super::support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_lapse_ends_the_associations_with_every_bss_of_the_gateway() {
    let hostapd = include_str!("hostapd.conf");
    let stage = Stage::play(Script {
        scenario: "two_bsses",
        access_points: &[hostapd, hostapd],
        ..Script::default()
    });
    let anne = &stage.lab.stations[0];
    let terminal = stage.joined(0);
    let first = usize::from(!stage.access_points[0].has(anne.mac));
    let second = 1 - first;
    // The terminal's network names the one access point; the person's would name none.
    assert_eq!(stage.supplicants[0].command("SET_NETWORK 0 bssid any"), "OK\n");
    let roam = format!("ROAM {}", mac_text(stage.bssid(second)));
    // A scan of a busy machine may have missed it.
    wait_until("the other access point to be heard", JOIN, || {
        let goes = stage.supplicants[0].command(&roam) == "OK\n";
        goes || stage.supplicants[0].command("SCAN").is_empty()
    });
    stage.wait_associated(0, second);
    assert!(stage.access_points[first].has(anne.mac), "the first one was not told");
    assert!(anne.reaches(lab::INTERNET_V4), "its grant is the gateway's, not the access point's");

    let mut events = stage.gateway.watch();
    terminal.program.signal(Signal::SIGKILL);
    let report = stage.wait_evicted_for_silence(0, &mut events);
    assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 2, "{report}");
    let sent_away_by = || {
        let said = stage.air.frames().into_iter().filter_map(|frame| frame.deauthentication());
        let ended = said.filter(|said| said.to == anne.mac && said.reason == Some(4));
        ended.map(|said| said.bssid).collect::<BTreeSet<Mac>>()
    };
    let both = BTreeSet::from([stage.bssid(0), stage.bssid(1)]);
    wait_until("both to have said so", SOON, || sent_away_by() == both);
}
