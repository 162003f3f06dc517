//! See README.

use super::stage::{JOIN, Stage};
use super::support::frame::{Mac, mac_text};
use super::support::lab::{self, STATION};
use super::support::wait::wait_until;

const OTHER: Mac = [0x06, 0x5a, 0, 0, 0, 1];

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_changed_address_takes_the_rest_of_the_quota_along() {
    let stage = Stage::with_codes("changed_address", &[include_str!("hostapd.conf")], 1);
    let anne = &stage.lab.stations[0];
    let code = stage.code(1 << 20);
    stage.join(0, &code);
    for _ in 0..10 {
        assert!(anne.reaches(lab::INTERNET_V4));
    }
    let used = stage.used(&code);
    assert!(used > 500, "{used}");

    let supplicant = &stage.supplicants[0];
    assert_eq!(supplicant.command("DISCONNECT"), "OK\n");
    anne.netns.ip_lines(&[
        &format!("link set {STATION} down"),
        &format!("addr flush dev {STATION}"),
        &format!("link set {STATION} address {}", mac_text(OTHER)),
        &format!("link set {STATION} up"),
    ]);
    anne.take_addresses();
    assert_eq!(supplicant.command("RECONNECT"), "OK\n");
    wait_until("the association under another address", JOIN, || stage.access_points[0].has(OTHER));
    assert!(anne.reaches(lab::INTERNET_V4));
    stage.wait_station(&code, OTHER);
    let after = stage.used(&code);
    assert!((used..used + 20_000).contains(&after), "{used}, then {after}");
    assert_eq!(stage.row(&code)["quota"], 1 << 20);
    let enforced = stage.lab.gateway.run("nft list table netdev wayleave");
    assert!(enforced.contains(&mac_text(OTHER)) && !enforced.contains(&mac_text(anne.mac)), "{enforced}");
    // The kernel's own figure, from which it stops the traffic, goes on too.
    let quota = enforced.lines().find(|line| line.trim().starts_with("over ")).expect("one quota");
    assert!(quota.contains(" used ") && !quota.contains(" used 0 "), "{quota}");
}
