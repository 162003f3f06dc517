//! See README. hostapd calls the ports after the access point's: `ap1.4096` and on.

use super::isolation::nobody_meets;
use super::stage::Stage;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn visitors_on_ports_of_their_own_are_apart_and_sent_away() {
    let stage = Stage::with_codes("per_sta_vif", &[include_str!("hostapd.conf")], 2);
    let (anne, bob) = (&stage.lab.stations[0], &stage.lab.stations[1]);
    let (hers, his) = (stage.code(1 << 30), stage.code(1 << 20));
    stage.join(0, &hers);
    stage.join(1, &his);
    stage.wait_station(&hers, anne.mac);
    stage.wait_station(&his, bob.mac);
    let ports = || {
        let names = stage.lab.gateway.run("ls /sys/class/net");
        names.lines().filter(|name| name.starts_with("ap1.")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ports().len(), 2, "a port for each station: {:?}", ports());
    wait_until("both ports to be isolated", SOON, || {
        ports().iter().all(|port| {
            stage.lab.gateway.run(&format!("cat /sys/class/net/{port}/brport/isolated")).trim() == "1"
        })
    });
    nobody_meets(&stage, "on ports of their own");
    let before = stage.used(&hers);
    assert!(bob.reaches(lab::INTERNET_V4) && stage.used(&hers) == before, "his bytes are not hers");

    let report = stage.evict(&hers);
    assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 1, "{report}");
    assert!(anne.is_cut_off(lab::INTERNET_V4) && !stage.access_points[0].has(anne.mac));
    // 47: by the owner's hand (IEEE 802.11-2020, table 9-49).
    stage.air.wait_frame("a deauthentication with reason 47", SOON, |frame| {
        frame.deauthentication().is_some_and(|said| said.to == anne.mac && said.reason == Some(47))
    });
    wait_until("her port to be gone", SOON, || ports().len() == 1);
    assert!(stage.access_points[0].has(bob.mac) && bob.reaches(lab::INTERNET_V4), "his code counts");
}
