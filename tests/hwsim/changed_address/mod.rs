//! See README.

use serde_json::json;

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
    let before = used_in_kernel(&stage, 1 << 20);
    assert!(before > 0, "{before}");

    // More in its place, also where the kernel cannot change a time-out in place (before Linux 6.12).
    let more = json!({"verb": "topup", "target": {"grant": code.grant}, "quota": 1 << 20});
    assert_eq!(stage.gateway.ask(more)["quota"], 2 << 20);
    assert!(used_in_kernel(&stage, 2 << 20) >= before);
    assert!(anne.reaches(lab::INTERNET_V4));
    assert!(stage.used(&code) >= after);
}

/// What the kernel has counted of the one quota, which has this limit.
fn used_in_kernel(stage: &Stage, limit: u64) -> u64 {
    let listed = stage.lab.gateway.run("nft list quotas netdev");
    let (_, of_grant) = listed.split_once("quota grant-").expect("one quota");
    let words: Vec<&str> = of_grant.split_whitespace().skip(2).collect();
    // nft divides by 1024 what is a multiple of it.
    let bytes = |number: &str, unit: &str| {
        let number: u64 = number.parse().expect("a number");
        let power = ["bytes", "kbytes", "mbytes"].iter().position(|one| *one == unit);
        number * 1024_u64.pow(power.expect("a unit") as u32)
    };
    let [found, unit, "used", used, of_used, ..] = words[..] else { panic!("{listed}") };
    assert_eq!(bytes(found, unit), limit, "{listed}");
    bytes(used, of_used)
}
