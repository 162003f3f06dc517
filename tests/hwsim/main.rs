//! Scenarios on real 802.11: mac80211_hwsim, hostapd and wpa_supplicant in a virtual machine.
//!
//! `./run test hwsim` boots the machine (`vm/`) and runs this program in it. A scenario is a folder with a
//! README of one line, the configurations of its hostapd, and its test. Read next: [`stage`], then `join/mod.rs`.
#![cfg(all(feature = "gateway", feature = "coordinator", feature = "terminal"))]

#[path = "../support/link_client.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod link_client;
#[path = "../support/mod.rs"]
mod support;

mod air;
mod capture;
mod codes;
mod forger;
mod stage;

mod ahead_of_time;
mod beacon;
mod beacon_reload;
mod changed_address;
mod code_join;
mod eap;
mod evicted_code;
mod evil_twin;
mod forged_deauth;
mod hostapd_restart;
mod isolation;
mod join;
mod no_control_socket;
mod odd_names;
mod per_sta_vif;
mod pmf;
mod push;
mod radio_off;
mod roaming;
mod sae_code;
mod sealed_code;
mod silence;
mod sleeping;
mod spoofed_address;
mod stolen_code;
mod two_bsses;
mod two_codes;
mod two_of_three;
mod wrong_code;

/// A folder that is in no line above would be a scenario that is never run.
#[test]
fn every_folder_with_a_test_is_a_scenario() {
    let own = include_str!("main.rs");
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hwsim")).expect("our folder");
    for path in
        folders.map(|entry| entry.expect("readable").path()).filter(|path| path.join("mod.rs").exists())
    {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(own.contains(&format!("\nmod {name};\n")), "{name} is not in main.rs");
        let purpose = std::fs::read_to_string(path.join("README")).expect("a README");
        assert_eq!(purpose.lines().count(), 1, "{name}/README says in one line what for");
    }
}
