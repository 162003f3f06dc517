//! Codes as names and passwords, at hostapd's own EAP server, with real supplicants on wires.

mod support;

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemons::Gateway;
use support::frame::{Mac, mac_text};
use support::hostapd::Hostapd;
use support::lab::{self, Lab, Station};
use support::wait::{SOON, wait_until};
use support::wpa::Supplicant;

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_name_and_a_password_are_a_grant_whatever_the_address() {
    let lab = Lab::with_stations(2);
    let (gateway, hostapd) = serving(&lab);
    let file = gateway.dir().join("run/guest.eap");
    let (annes, bobs) = (account(&gateway), account(&gateway));
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);

    let mut supplicants = vec![joined(&lab, anne, &annes), joined(&lab, bob, &bobs)];
    wait_until("both to be known by their names", SOON, || {
        station_of(&gateway, &annes) == anne.mac_text() && station_of(&gateway, &bobs) == bob.mac_text()
    });
    assert!(anne.reaches(lab::INTERNET_V4) && bob.reaches(lab::INTERNET_V4));

    // Another account is made, and one ends: who is there notices nothing.
    let stream = lab.stream_up(0, false, 200);
    let third = account(&gateway);
    let report = gateway.ask(json!({"verb": "evict", "target": {"grant": bobs["id"]}}))["report"].clone();
    assert_eq!(report["cause"], "owner", "{report}");
    stream.stop().assert_whole();
    let is_gone = |mac: Mac| {
        let line = format!("AP-STA-DISCONNECTED {}", mac_text(mac));
        hostapd.program.lines().iter().any(|said| said.contains(&line))
    };
    assert!(!is_gone(anne.mac) && hostapd.has(anne.mac), "hostapd has sent nobody away");
    assert!(bob.is_cut_off(lab::INTERNET_V4) && !hostapd.has(bob.mac));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(bobs["name"].as_str().unwrap()), "{text}");
    assert!(text.contains(third["name"].as_str().unwrap()), "{text}");

    // The account that ended opens nothing, and neither does the wrong password of another one.
    for (account, password) in [(&bobs, bobs["password"].as_str().unwrap()), (&third, "another-password")] {
        let (seen, _) = supplicants[1].program.wait_line_from(0, "CTRL-EVENT-CONNECTED", SOON);
        join(&supplicants[1], account, password);
        supplicants[1].program.wait_line_from(seen, "CTRL-EVENT-EAP-FAILURE", SOON);
        assert!(bob.is_cut_off(lab::INTERNET_V4) && !hostapd.has(bob.mac));
    }

    // Another address is the same guest.
    let killed = supplicants.remove(0);
    let socket = killed.sockets().join(lab::STATION);
    drop(killed);
    std::fs::remove_file(socket).unwrap();
    hostapd.command(&format!("DEAUTHENTICATE {}", anne.mac_text()));
    wait_until("the first address to be gone", SOON, || station_of(&gateway, &annes).is_empty());
    let other: Mac = [2, 0xee, 0, 0, 0, 9];
    anne.netns.ip(&format!("link set {} address {}", lab::STATION, mac_text(other)));
    let mut supplicant = Supplicant::start_without_network(&anne.netns, lab::STATION, lab.path());
    join(&supplicant, &annes, annes["password"].as_str().unwrap());
    supplicant.wait_connected();
    wait_until("the same grant to have the other address", SOON, || {
        station_of(&gateway, &annes) == mac_text(other)
    });
    assert!(anne.reaches(lab::INTERNET_V4));
    let findings = gateway.ask(json!({"verb": "doctor"})).to_string();
    assert!(findings.contains("br-guest: names and passwords by MD5"), "{findings}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn who_is_asked_anew_hides_nobody() {
    let lab = Lab::with_stations(2);
    let (mut gateway, hostapd) = serving(&lab);
    let (annes, bobs) = (account(&gateway), account(&gateway));
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
    let annes_supplicant = joined(&lab, anne, &annes);
    wait_until("anne to be known", SOON, || station_of(&gateway, &annes) == anne.mac_text());
    // While the gateway is away hostapd asks anne anew, who does not answer, and bob joins.
    gateway.program.terminate(SOON);
    annes_supplicant.program.signal(Signal::SIGSTOP);
    assert_eq!(hostapd.command(&format!("EAPOL_REAUTH {}", anne.mac_text())), "OK\n");
    let bobs_supplicant = joined(&lab, bob, &bobs);
    gateway.again();
    wait_until("bob to be known", Duration::from_secs(5), || station_of(&gateway, &bobs) == bob.mac_text());
    let said = hostapd.command(&format!("STA {}", anne.mac_text()));
    assert!(said.contains("[AUTHORIZED]") && !said.contains("dot1xAuthPaeState=5"), "still asked: {said}");
    assert!(bob.reaches(lab::INTERNET_V4));
    assert!(anne.reaches(lab::INTERNET_V4), "she goes on meanwhile");
    annes_supplicant.program.signal(Signal::SIGCONT);
    drop(bobs_supplicant);
}

/// A gateway that makes names and passwords, and a hostapd that reads them.
fn serving(lab: &Lab) -> (Gateway, Hostapd) {
    let file = lab.path().join("gateway/run/guest.eap");
    let network = format!("eap_user_file = \"{}\"\neap_user_method = \"MD5\"\n", file.display());
    let gateway = Gateway::sharing(lab, &network, "");
    // hostapd does not start without its file, which the gateway has written.
    let hostapd = Hostapd::with(
        &lab.gateway,
        lab::PORT,
        lab.path(),
        &format!(
            "driver=wired\nieee8021x=1\neapol_version=2\nuse_pae_group_addr=0\neap_reauth_period=0\n\
             eap_server=1\neap_user_file={}\n",
            file.display()
        ),
    );
    wait_until("the gateway to find hostapd", SOON, || gateway.ask(json!({"verb": "status"}))["bsses"] == 1);
    (gateway, hostapd)
}

/// A station that has joined with its account.
fn joined(lab: &Lab, station: &Station, account: &Value) -> Supplicant {
    let mut supplicant = Supplicant::start_without_network(&station.netns, lab::STATION, lab.path());
    join(&supplicant, account, account["password"].as_str().unwrap());
    supplicant.wait_connected();
    supplicant
}

/// A grant by code, as a name and a password; with its id.
fn account(gateway: &Gateway) -> Value {
    let granted = gateway.ask(json!({"verb": "grant-code"}));
    assert_eq!(granted["networks"], json!([]), "no network takes a key");
    let mut account = granted["account"].clone();
    account["id"] = granted["id"].clone();
    account
}

/// The station of an account's grant; empty: nobody is there.
fn station_of(gateway: &Gateway, account: &Value) -> String {
    let rows = gateway.ask(json!({"verb": "grants"}));
    let row = rows.as_array().unwrap().iter().find(|row| row["id"] == account["id"]);
    row.and_then(|row| row["station"].as_str()).unwrap_or_default().to_owned()
}

/// Forgets all other networks and joins with this one.
fn join(supplicant: &Supplicant, account: &Value, password: &str) {
    supplicant.command("REMOVE_NETWORK all");
    let number = supplicant.command("ADD_NETWORK").trim().to_owned();
    let name = account["name"].as_str().unwrap();
    for (key, value) in [
        ("key_mgmt", "IEEE8021X".to_owned()),
        ("eap", "MD5".to_owned()),
        ("eapol_flags", "0".to_owned()),
        ("identity", format!("\"{name}\"")),
        ("password", format!("\"{password}\"")),
    ] {
        assert_eq!(supplicant.command(&format!("SET_NETWORK {number} {key} {value}")), "OK\n", "{key}");
    }
    assert_eq!(supplicant.command(&format!("SELECT_NETWORK {number}")), "OK\n");
}
