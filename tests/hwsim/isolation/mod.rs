//! See README.

use super::stage::Stage;
use super::support::lab;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn visitors_of_one_access_point_do_not_reach_each_other() {
    let stage = Stage::new("isolation", include_str!("hostapd.conf"), 2);
    let _terminals = [stage.joined(0), stage.joined(1)];
    let (anne, bob) = (&stage.lab.stations[0], &stage.lab.stations[1]);
    for (here, there) in [(anne, bob), (bob, anne)] {
        assert!(here.reaches(lab::INTERNET_V4) && here.reaches(lab::INTERNET_V6));
        assert!(!here.pings(there.v4) && !here.pings(there.v6), "asked for by ARP and ND");
        // Who knows the address does not have to ask for it.
        for ip in [there.v4.to_string(), there.v6.to_string()] {
            here.netns.ip(&format!("neigh replace {ip} lladdr {} dev {}", there.mac_text(), lab::STATION));
        }
        assert!(!here.pings(there.v4) && !here.pings(there.v6));
    }
}
