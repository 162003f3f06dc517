//! What the doctor says of codes: which ways to open a network with a key for each grant this machine has.

use std::path::Path;

use super::doctor::finding;
use super::effects::Gateway;
use crate::adapters::hostapd::{BssInfo, HostapdControl};
use crate::model::Credential;
use crate::wire::local::{Finding, Severity};

/// What is known without asking.
pub(super) fn codes(gateway: &Gateway) -> Vec<Finding> {
    if gateway.code_networks().next().is_none() {
        let found = "no network takes codes: none has a wpa_psk_file or an eap_user_file".to_owned();
        return vec![finding("codes", Severity::Good, found, "")];
    }
    let mut findings: Vec<Finding> = gateway
        .unwritten
        .iter()
        .map(|(_, why)| {
            let found = format!("codes do not reach hostapd: {why}");
            finding(
                "codes",
                Severity::Problem,
                found,
                "make room in runtime_dir, and let the daemon write there",
            )
        })
        .collect();
    if !lies_in_memory(&gateway.settings.runtime_dir) {
        let found = format!("{} is on a disk, and codes lie there", gateway.settings.runtime_dir.display());
        findings.push(finding("codes", Severity::Hint, found, "let runtime_dir be on a tmpfs"));
    }
    for network in gateway.code_networks() {
        if let Some((file, method)) = &network.eap_user_file {
            let method = method.name();
            let found =
                format!("{}: names and passwords by {method}, in {}", network.interface, file.display());
            findings.push(finding("codes", Severity::Good, found, ""));
        }
        if network.wpa_psk_file.is_none() {
            continue;
        }
        let bsses = gateway.hostapd.bsses();
        let own: Vec<&BssInfo> = bsses
            .iter()
            .filter(|bss| gateway.network_at(&bss.name).is_some_and(|at| at.interface == network.interface))
            .collect();
        if !own.iter().any(|bss| bss.takes_codes() || bss.takes_passwords()) {
            findings.push(finding(
                "codes",
                Severity::Problem,
                format!("{}: no access point takes codes", network.interface),
                "in hostapd.conf: wpa=2, wpa_key_mgmt=WPA-PSK, wpa_psk_file as in gateway.toml, and ctrl_interface",
            ));
        }
        findings.extend(own.iter().map(|bss| at(bss)));
        // Where the owner shares a passphrase as well, strangers and he are meant to be together.
        let shared = own.iter().filter(|bss| bss.takes_codes() && network.credential == Credential::Open);
        for (bss, others) in shared.map(|bss| (bss, gateway.grants.without_code_at(&bss.name))) {
            if others > 0 {
                findings.push(finding(
                    "codes-shared",
                    Severity::Problem,
                    format!(
                        "{}: {others} stations have joined by another key than a code: strangers share it",
                        bss.name
                    ),
                    "give strangers a BSS of their own: no wpa_passphrase beside wpa_psk_file",
                ));
            }
        }
    }
    findings
}

/// One access point of a network that takes codes.
fn at(bss: &BssInfo) -> Finding {
    let name = &bss.name;
    let has_sae = bss.key_mgmt.iter().any(|agreed| agreed.contains("SAE"));
    match (bss.takes_codes(), has_sae) {
        (true, false) => {
            finding("codes", Severity::Good, format!("{name}: WPA2, with a key for each grant"), "")
        }
        (true, true) => finding(
            "codes",
            Severity::Hint,
            format!("{name}: WPA2/WPA3 transition; a code opens it by WPA2, by WPA3 (SAE) it does not"),
            "leave SAE to a BSS of its own: hostapd 2.10 sends stations with SAE away whenever a code is new or ends",
        ),
        (false, true) if bss.takes_passwords() => finding(
            "codes",
            Severity::Good,
            format!(
                "{name}: WPA3 (SAE); a code that comes through a coordinator opens it, one that is typed in does not"
            ),
            "",
        ),
        (false, true) => finding(
            "codes",
            Severity::Hint,
            format!("{name}: WPA3 (SAE) only, where a code opens nothing"),
            "set wpa_key_mgmt=WPA-PSK where codes are to open, or use a program built with WPA3",
        ),
        (false, false) => finding(
            "codes",
            Severity::Hint,
            format!("{name}: without WPA-PSK, where a code opens nothing"),
            "whoever comes there under the address of a station with a code is turned away",
        ),
    }
}

/// What hostapd could do for WPA3.
pub(super) async fn wpa3(hostapd: &HostapdControl) -> Option<Finding> {
    let bss = hostapd.bsses().into_iter().find(BssInfo::takes_codes)?;
    let found = match hostapd.binds_sae_passwords(&bss.name).await {
        Ok(true) => {
            "this hostapd binds SAE passwords to stations (SAE_PASSWORD_BIND); codes do not use it yet"
        }
        Ok(false) => {
            "this hostapd binds no SAE password to a station (SAE_PASSWORD_BIND). Codes of a coordinator's \
                      terminals are passwords for their addresses on access points with SAE alone"
        }
        Err(error) => {
            tracing::debug!(%error, "what hostapd can do for WPA3");
            return None;
        }
    };
    Some(finding("codes-wpa3", Severity::Good, found.into(), ""))
}

fn lies_in_memory(path: &Path) -> bool {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    // Nobody is told of what cannot be found out.
    statfs(path).map_or(true, |found| found.filesystem_type() == TMPFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bssid, MacAddr, Ssid};

    #[test]
    fn each_way_to_agree_on_a_key_is_told_apart() {
        let at = |key_mgmt: &[&str]| {
            at(&BssInfo {
                name: "ap1".into(),
                bssid: Bssid(MacAddr([2, 0, 0, 0, 0, 1])),
                ssid: Ssid::default(),
                key_mgmt: key_mgmt.iter().map(|word| (*word).into()).collect(),
            })
        };
        for (key_mgmt, severity, says) in [
            (&["WPA-PSK"][..], Severity::Good, "WPA2, with a key for each grant"),
            (&["WPA-PSK", "SAE"], Severity::Hint, "transition"),
            #[cfg(feature = "wpa3")]
            (&["SAE"], Severity::Good, "through a coordinator"),
            #[cfg(not(feature = "wpa3"))]
            (&["SAE"], Severity::Hint, "SAE) only"),
            (&[], Severity::Hint, "without WPA-PSK"),
            (&["WPA-EAP"], Severity::Hint, "without WPA-PSK"),
        ] {
            let finding = at(key_mgmt);
            assert_eq!(finding.severity, severity, "{key_mgmt:?}");
            assert!(finding.found.contains(says), "{finding:?}");
        }
    }
}
