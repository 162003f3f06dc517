//! See README.

use super::stage::{Script, Stage};
use super::support::frame::mac_text;
use super::support::lab;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn visitors_reach_each_other_on_no_way() {
    let hostapd = include_str!("hostapd.conf");
    let stage = Stage::play(Script {
        scenario: "isolation",
        access_points: &[hostapd, hostapd],
        stations: 2,
        ..Script::default()
    });
    let _terminals = [stage.joined(0), stage.joined(1)];
    nobody_meets(&stage, "on one access point");

    let (bob, first) =
        (&stage.lab.stations[1], usize::from(!stage.access_points[0].has(stage.lab.stations[1].mac)));
    assert_eq!(stage.supplicants[1].command("SET_NETWORK 0 bssid any"), "OK\n");
    assert_eq!(stage.supplicants[1].command(&format!("ROAM {}", mac_text(stage.bssid(1 - first)))), "OK\n");
    stage.wait_associated(1, 1 - first);
    assert!(stage.access_points[first].has(stage.lab.stations[0].mac) && bob.reaches(lab::INTERNET_V4));
    nobody_meets(&stage, "on two ports of the bridge");
}

/// Not by asking for the address, not by knowing it, and not by way of the gateway.
pub fn nobody_meets(stage: &Stage, how: &str) {
    let (anne, bob) = (&stage.lab.stations[0], &stage.lab.stations[1]);
    let gateway = stage.lab.gateway.run(&format!("cat /sys/class/net/{}/address", lab::BRIDGE));
    for (here, there) in [(anne, bob), (bob, anne)] {
        assert!(here.reaches(lab::INTERNET_V4) && here.reaches(lab::INTERNET_V6), "{how}");
        assert!(!here.pings(there.v4) && !here.pings(there.v6), "{how}, by ARP and ND");
        for (way, mac) in [("known", there.mac_text()), ("by the gateway", gateway.trim().to_owned())] {
            for ip in [there.v4.to_string(), there.v6.to_string()] {
                here.netns.ip(&format!("neigh replace {ip} lladdr {mac} dev {}", lab::STATION));
            }
            assert!(!here.pings(there.v4) && !here.pings(there.v6), "{how}, {way}");
        }
        for ip in [there.v4.to_string(), there.v6.to_string()] {
            here.netns.ip(&format!("neigh del {ip} dev {}", lab::STATION));
        }
    }
}
