//! See README. What is forged and not forged for a whole network is in `forged_deauth`.

use std::time::Duration;

use serde_json::{Value, json};

use super::forger::Forger;
use super::stage::{JOIN, PASSPHRASE, SSID, Script, Stage};
use super::support::frame::mac_text;
use super::support::lab;
use super::support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn who_protects_frames_is_sent_away_by_us_and_by_nobody_else() {
    let mut stage = Stage::play(Script {
        scenario: "pmf",
        access_points: &[include_str!("hostapd.conf")],
        stations: 2,
        spare: 1,
        ..Script::default()
    });
    let (anne, bob) = (stage.lab.stations[0].mac, stage.lab.stations[1].mac);
    let ap = stage.bssid(0);
    for (station, protected) in [(0, "1"), (1, "0")] {
        let line = format!("ieee80211w {protected}");
        stage.associate(station, SSID, PASSPHRASE, &[&line, "key_mgmt WPA-PSK WPA-PSK-SHA256"]);
        stage.wait_associated(station, 0);
    }
    stage.gateway.grant(anne);
    stage.gateway.grant(bob);
    for station in &stage.lab.stations {
        assert!(station.reaches(lab::INTERNET_V4));
    }
    wait_until("the owner to see who is protected", SOON, || {
        (protected(&stage, anne), protected(&stage, bob)) == (json!(true), json!(false))
    });

    let forger = Forger::new(stage.air.radios.last().expect("a spare one"));
    let heard = stage.supplicants[0].program.lines().len();
    for _ in 0..10 {
        forger.deauthenticate(anne, ap, ap);
        forger.deauthenticate(ap, anne, ap);
        std::thread::sleep(Duration::from_millis(50));
    }
    // Unprotected, it was for bob to believe.
    forger.deauthenticate(bob, ap, ap);
    stage.supplicants[1].program.wait_line("CTRL-EVENT-DISCONNECTED", SOON);
    stage.wait_associated(1, 0);

    // Somebody says that anne associates anew: hostapd asks her, and she says that she is there (IEEE 802.11-2020, 11.13).
    forger.authenticate(ap, anne);
    forger.associate(ap, anne, SSID.as_bytes());
    stage.air.wait_frame("an SA Query of the access point, protected", SOON, |frame| {
        frame.protected_action().is_some_and(|(to, from)| (to, from) == (anne, ap))
    });
    stage.air.wait_frame("her answer, protected", SOON, |frame| {
        frame.protected_action().is_some_and(|(to, from)| (to, from) == (ap, anne))
    });
    // Longer than an SA Query may take (`assoc_sa_query_max_timeout`, a second).
    std::thread::sleep(Duration::from_millis(1500));
    let said = stage.supplicants[0].program.lines().split_off(heard).join("\n");
    assert!(!said.contains("CTRL-EVENT-DISCONNECTED"), "{said}");
    assert!(stage.access_points[0].has(anne) && stage.lab.stations[0].reaches(lab::INTERNET_V4));

    // By us both go: to bob in clear, to anne so that only she can read why.
    stage.gateway.evict(bob);
    stage.gateway.evict(anne);
    for (station, reason) in [(anne, None), (bob, Some(47))] {
        stage.air.wait_frame("our deauthentication", SOON, |frame| {
            let said = frame.deauthentication();
            said.is_some_and(|said| (said.to, said.from, said.reason) == (station, ap, reason))
        });
    }
    stage.supplicants[0].program.wait_line_from(heard, "CTRL-EVENT-DISCONNECTED", JOIN);
    assert!(stage.lab.stations[0].is_cut_off(lab::INTERNET_V4));
    assert_eq!(stage.grants(), Vec::<Value>::new());
}

/// What the owner is shown of a station.
fn protected(stage: &Stage, mac: [u8; 6]) -> Value {
    let rows = stage.gateway.ask(json!({"verb": "stations"}));
    let row = rows.as_array().expect("rows").iter().find(|row| row["mac"] == mac_text(mac)).cloned();
    row.map(|row| row["protected"].clone()).unwrap_or_default()
}
