//! See README.

use std::time::Duration;

use super::stage::{JOIN, SSID, Stage};
use super::support::frame::{Mac, mac_text};
use super::support::lab;
use super::support::wait::wait_until;

const CONFIGURATION: &str = include_str!("hostapd.conf");

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn an_evicted_code_and_its_cached_key_stay_out() {
    let mut stage = Stage::with_codes("evicted_code", &[CONFIGURATION, CONFIGURATION], 1);
    let mac = stage.lab.stations[0].mac;
    // Another code counts: otherwise hostapd would not even begin a handshake.
    let (code, _other) = (stage.code(1 << 30), stage.code(1 << 30));
    stage.type_in(0, &code);
    let there = |stage: &Stage| stage.access_points.iter().any(|ap| ap.has(mac));
    wait_until("the association", JOIN, || there(&stage));
    assert!(stage.lab.stations[0].reaches(lab::INTERNET_V4));
    // A key that hostapd has cached, as it does of other ways to agree on one.
    let at = stage.access_points.iter().position(|ap| ap.has(mac)).expect("one has it");
    let (id, pmk) = (pmkid(&code.digits, stage.bssid(at), mac), &code.digits);
    let add = format!("PMKSA_ADD {} {id} {pmk} 3600 2", mac_text(mac));
    assert_eq!(stage.access_points[at].command(&add), "OK\n");
    assert!(stage.access_points[at].command("PMKSA").contains(&id));

    let report = stage.evict(&code);
    assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 1, "{report}");
    assert_eq!(report["steps"][5]["outcome"]["done"]["freed"], 0, "{report}");
    for ap in &stage.access_points {
        assert!(!ap.command("PMKSA").contains(&id), "the cached key is forgotten");
    }
    // 47: by the owner's hand (IEEE 802.11-2020, table 9-49).
    stage.air.wait_frame("a deauthentication with reason 47", Duration::from_secs(5), |frame| {
        frame.deauthentication().is_some_and(|said| said.to == mac && said.reason == Some(47))
    });

    // By itself it tries again, with the code, and is told that it is the wrong one.
    let said = stage.supplicants[0].program.wait_line("CTRL-EVENT-SSID-TEMP-DISABLED", JOIN);
    assert!(said.contains("reason=WRONG_KEY"), "{said}");
    // And with the cached key, at each access point.
    for number in 0..2 {
        let bssid = stage.bssid(number);
        assert_eq!(stage.supplicants[0].command("REMOVE_NETWORK all"), "OK\n");
        stage.select(0, SSID, &[&format!("psk {}", code.digits), &format!("bssid {}", mac_text(bssid))]);
        let network = stage.supplicants[0].command("LIST_NETWORKS");
        let network =
            network.lines().last().and_then(|line| line.split('\t').next()).expect("one").to_owned();
        let id = pmkid(&code.digits, bssid, mac);
        let add = format!("PMKSA_ADD {network} {} {id} {} 3600 7200 2 0", mac_text(bssid), code.digits);
        assert_eq!(stage.supplicants[0].command(&add), "OK\n");
        assert_eq!(stage.supplicants[0].command(&format!("SELECT_NETWORK {network}")), "OK\n");
        let name = octets(&id);
        stage.air.wait_frame("an association with the cached key", JOIN, |frame| {
            frame.bytes.windows(name.len()).any(|part| part == name)
        });
        let seen = stage.supplicants[0].program.lines().len();
        stage.supplicants[0].program.wait_line_from(seen, "CTRL-EVENT-DISCONNECTED", JOIN);
        assert!(!there(&stage));
    }
    assert!(stage.lab.stations[0].is_cut_off(lab::INTERNET_V4));
    assert!(!stage.lab.stations[0].pings(lab::GATEWAY_V4), "not even the gateway");
}

/// What a cached key is called (PMKID, IEEE 802.11-2020, 12.7.1.3): HMAC-SHA-1-128 over both addresses.
fn pmkid(digits: &str, ap: Mac, station: Mac) -> String {
    use ring::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
    let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &octets(digits));
    let tag = sign(&key, &[b"PMK Name".as_slice(), &ap, &station].concat());
    tag.as_ref()[..16].iter().map(|octet| format!("{octet:02x}")).collect()
}

fn octets(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("digits")).collect()
}
