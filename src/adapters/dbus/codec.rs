//! Values of the gateway as D-Bus types, and back. Pure. `docs/dbus.md` has the keys and their types.
//!
//! A string of D-Bus is UTF-8 without NUL (D-Bus specification, "Basic types"); a bus hangs up on whoever sends
//! another. All text goes through [`text`].

use std::collections::BTreeMap;

use zbus::Variant;
use zbus::names::OwnedErrorName;

use crate::model::{Report, StepOutcome, Traffic};
use crate::wire::local::{GatewayStatus, GrantRow, LinkState, StationRow};

/// `a{sv}`. What is not known has no key.
pub(super) type Dict = BTreeMap<&'static str, Variant<'static>>;

/// As it may be sent and shown: control characters and changes of direction escaped, as `Ssid` shows them.
pub(super) fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            shown.extend(char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// `no-grant` is `org.wayleave.Error.NoGrant`; what no name can be made of is `org.wayleave.Error.Failed`.
pub(super) fn error_name(word: &str) -> OwnedErrorName {
    const FAILED: &str = "org.wayleave.Error.Failed";
    let parts = word.split('-').filter(|part| !part.is_empty());
    let name: String = parts
        .flat_map(|part| {
            let (first, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
            [first.to_ascii_uppercase(), rest.to_owned()]
        })
        .collect();
    OwnedErrorName::try_from(format!("org.wayleave.Error.{name}"))
        .or_else(|_| OwnedErrorName::try_from(FAILED))
        .expect("a name by the specification")
}

/// [`GatewayStatus`].
pub(super) fn status(status: &GatewayStatus) -> Dict {
    let (link, coordinator, why) = link(&status.link);
    let interfaces: Vec<String> = status.interfaces.iter().map(|name| text(name)).collect();
    let mut dict = Dict::from([
        ("version", text(&status.version).into()),
        ("name", text(&status.name).into()),
        ("service", status.service.to_string().into()),
        ("uptime_ms", status.uptime.0.into()),
        ("layout", status.layout.word().into()),
        ("owned", status.owned.into()),
        ("interfaces", interfaces.into()),
        ("bsses", status.bsses.into()),
        ("beacons", status.beacons.into()),
        ("stations", status.stations.into()),
        ("grants", status.grants.into()),
        ("link", link.into()),
        ("restored", status.restored.into()),
        ("dropped", status.dropped.into()),
        ("refused_packets", status.refused_packets.into()),
        ("spoofed_packets", status.spoofed_packets.into()),
    ]);
    if status.link != LinkState::Alone {
        dict.insert("coordinator", coordinator.into());
    }
    if matches!(status.link, LinkState::Down { .. }) {
        dict.insert("why", why.into());
    }
    dict
}

/// Its word, the coordinator and why it is down; empty where it is not said.
pub(super) fn link(state: &LinkState) -> (&'static str, String, String) {
    match state {
        LinkState::Alone => ("alone", String::new(), String::new()),
        LinkState::Down { host, why } => ("down", text(host), text(why)),
        LinkState::Up { host } => ("up", text(host), String::new()),
    }
}

/// [`StationRow`].
pub(super) fn station(row: &StationRow) -> Dict {
    let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
    let mut dict = Dict::from([
        ("mac", row.mac.to_string().into()),
        ("interface", text(&row.interface).into()),
        ("addresses", addresses.into()),
    ]);
    if let Some(bssid) = row.bssid {
        dict.insert("bssid", bssid.to_string().into());
    }
    if let Some(ssid) = &row.ssid {
        // Octets, as they stand in the beacon: an SSID has no character set.
        dict.insert("ssid", ssid.as_bytes().to_vec().into());
    }
    if let Some(protected) = row.protected {
        dict.insert("protected", protected.into());
    }
    if let Some(grant) = row.grant {
        dict.insert("grant", grant.to_string().into());
    }
    moved(&mut dict, &row.moved);
    dict
}

/// Empty where nobody is here with the code of a grant.
pub(super) fn station_or_none(station: Option<crate::model::MacAddr>) -> String {
    station.map(|station| station.to_string()).unwrap_or_default()
}

/// [`GrantRow`].
pub(super) fn grant(row: &GrantRow) -> Dict {
    let origin = match row.origin {
        crate::model::Origin::Owner => "owner",
        crate::model::Origin::Coordinator => "coordinator",
    };
    let mut dict = Dict::from([
        ("id", row.id.to_string().into()),
        ("station", station_or_none(row.station).into()),
        ("code", row.code.into()),
        ("origin", origin.into()),
        ("incarnation", row.incarnation.0.into()),
        ("present", row.present.into()),
    ]);
    if let Some(left) = row.left {
        dict.insert("left_ms", left.0.into());
    }
    if let Some(quota) = row.quota {
        dict.insert("quota", quota.into());
    }
    moved(&mut dict, &row.moved);
    dict
}

/// [`Report`].
pub(super) fn report(report: &Report) -> Dict {
    let steps: Vec<Dict> = report
        .steps
        .iter()
        .map(|step| {
            let mut dict = Dict::from([("step", step.step.word().into()), ("took_us", step.took_us.into())]);
            let outcome = match &step.outcome {
                StepOutcome::Done { freed } => {
                    dict.insert("freed", (*freed).into());
                    "done"
                }
                StepOutcome::Absent => "absent",
                StepOutcome::Failed { why } => {
                    dict.insert("why", text(why).into());
                    "failed"
                }
            };
            dict.insert("outcome", outcome.into());
            dict
        })
        .collect();
    let mut dict = Dict::from([
        ("cause", report.cause.word().into()),
        ("grant", report.grant.to_string().into()),
        ("station", station_or_none(report.station).into()),
        ("incarnation", report.incarnation.0.into()),
        ("steps", steps.into()),
        ("total_us", report.total_us.into()),
        ("complete", report.is_complete().into()),
    ]);
    moved(&mut dict, &report.moved);
    dict
}

fn moved(dict: &mut Dict, moved: &Traffic) {
    dict.insert("up_bytes", moved.up_bytes.into());
    dict.insert("down_bytes", moved.down_bytes.into());
    dict.insert("up_packets", moved.up_packets.into());
    dict.insert("down_packets", moved.down_packets.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_becomes_a_name_and_anything_else_a_failure() {
        for (word, name) in [
            ("no-grant", "NoGrant"),
            ("stopping", "Stopping"),
            ("too-many-grants", "TooManyGrants"),
            ("", "Failed"),
            ("-", "Failed"),
            ("9-lives", "Failed"),
            ("a.b", "A.b"),
            ("é", "Failed"),
            ("no grant", "Failed"),
            ("nul\0", "Failed"),
        ] {
            assert_eq!(error_name(word).as_str(), format!("org.wayleave.Error.{name}"), "{word:?}");
        }
        assert_eq!(error_name(&"x".repeat(400)).as_str(), "org.wayleave.Error.Failed");
    }

    #[test]
    fn no_text_holds_what_a_bus_or_a_reader_would_stumble_over() {
        assert_eq!(text("Café\0\n\u{1b}[2J\u{202e}"), "Café\\u{0}\\u{a}\\u{1b}[2J\\u{202e}");
    }
}
