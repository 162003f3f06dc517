//! See README.

use wayleave::model::{BeaconSecret, Bssid, MacAddr};
use wayleave::wire::beacon::{Element, elements};

use super::stage::{JOIN, SSID, Script, Stage};
use super::support::frame::mac_text;
use super::support::hostapd::Hostapd;
use super::support::lab;
use super::support::netns::Netns;
use super::support::wait::{wait_for, wait_until};

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_twin_is_not_joined_and_the_one_that_is_listed_is() {
    let stage = Stage::play(Script {
        scenario: "evil_twin",
        access_points: &[include_str!("hostapd.conf")],
        gateway: "[directory]\narea = \"lyon/hall\"\n",
        spare: 1,
        ..Script::default()
    });
    let anne = &stage.lab.stations[0];
    let [listed, .., evil] = &stage.air.radios[..] else { panic!("three radios") };
    listed.shield();
    let elsewhere = Netns::new("evil");
    evil.move_to(&elsewhere, "ap1");
    let serve = |name: &str, lines: &str, element: &[u8]| {
        let dir = stage.lab.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        let digits: String = element.iter().map(|octet| format!("{octet:02x}")).collect();
        let element = if digits.is_empty() { String::new() } else { format!("vendor_elements={digits}\n") };
        Hostapd::with(&elsewhere, "ap1", &dir, &format!("{lines}{element}"))
    };

    // The same name at another address: not what is listed.
    let mut twin = serve("twin", include_str!("twin.conf"), &[]);
    let terminal = stage.watching(0);
    wait_until("the directory", JOIN, || terminal.status()["listed"] == 1);
    terminal.wait_looks(1, JOIN);
    let seen = stage.supplicants[0].command("SCAN_RESULTS");
    assert!(seen.contains(&mac_text(evil.mac)) && seen.contains(SSID), "{seen}");
    assert_eq!((stage.grants().len(), stage.sent_by(anne.mac)), (0, 0));
    twin.program.kill();
    elsewhere.ip_lines(&[
        "link set ap1 down",
        &format!("link set ap1 address {}", mac_text(listed.mac)),
        "link set ap1 up",
    ]);

    // The same address and the right key, and nothing that shows whose it is; or a token that somebody made up.
    let real = wait_for("the real beacon", JOIN, || {
        let frames = stage.air.frames();
        let lists = frames.iter().filter_map(|frame| frame.beacon());
        let mut own = lists
            .filter(|(bssid, _)| *bssid == listed.mac)
            .flat_map(|(_, list)| elements(list).unwrap_or_default());
        own.find_map(|element| match element {
            Element::Beacon(beacon) => Some(beacon),
            Element::Other { .. } => None,
        })
    });
    let made_up = real.said.prove(&BeaconSecret::new([9; 32]), Bssid(MacAddr(listed.mac)));
    for (name, element, word) in
        [("silent", vec![], "beacon-missing"), ("forging", made_up.element(), "beacon-forged")]
    {
        let mut twin = serve(name, include_str!("hostapd.conf"), &element);
        let refused = || terminal.program.lines().iter().any(|line| line.contains(word));
        wait_until("the coordinator to refuse it", JOIN, refused);
        assert_eq!((stage.grants().len(), stage.sent_by(anne.mac)), (0, 0), "{word}");
        twin.program.kill();
    }

    // A token that it has heard, and not the key.
    let mut twin = serve("replaying", include_str!("twin.conf"), &real.element());
    let said = |text: &str| stage.supplicants[0].program.lines().iter().any(|line| line.contains(text));
    wait_until("the key to be found wrong", JOIN, || said("reason=WRONG_KEY"));
    assert!(!twin.has(anne.mac), "it did not get as far as an association that lasts");
    assert!(!said("CTRL-EVENT-CONNECTED"));
    twin.program.kill();

    listed.unshield();
    wait_until("its first heartbeat", JOIN, || stage.active() == 1);
    assert!(anne.reaches(lab::INTERNET_V4));
}
