//! See README.

use super::stage::{PASSPHRASE, SSID, Script, Stage};
use super::support::frame::mac_text;
use super::support::lab;

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn a_terminal_sees_asks_joins_and_passes_packets() {
    let stage = Stage::play(Script {
        scenario: "join",
        access_points: &[include_str!("hostapd.conf")],
        stations: 2,
        // Every channel there is.
        wpa_supplicant: "",
        ..Script::default()
    });
    let (anne, bob) = (&stage.lab.stations[0], &stage.lab.stations[1]);
    let _terminal = stage.joined(0);
    assert!(anne.reaches(lab::INTERNET_V6));
    assert!(stage.access_points[0].has(anne.mac), "it joined on the air");
    let status = stage.supplicants[0].command("STATUS");
    assert!(status.contains(&format!("bssid={}\n", mac_text(stage.bssid(0)))), "{status}");
    assert!(status.contains("key_mgmt=WPA2-PSK\n") && status.contains("pairwise_cipher=CCMP\n"), "{status}");
    let grants = stage.grants();
    assert_eq!(grants.len(), 1, "{grants:?}");
    assert_eq!((&grants[0]["station"], &grants[0]["present"]), (&mac_text(anne.mac).into(), &true.into()));

    // Who knows the passphrase and has no grant is associated, and that is all.
    stage.associate(1, SSID, PASSPHRASE, &[]);
    stage.wait_associated(1, 0);
    assert!(bob.pings(lab::GATEWAY_V4));
    assert!(bob.is_cut_off(lab::INTERNET_V4) && bob.is_cut_off(lab::INTERNET_V6));
    assert_eq!(stage.grants().len(), 1);
}
