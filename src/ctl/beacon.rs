//! `wayleave beacon decode`: what an access point announces, from octets that somebody captured.

use std::io;

use serde_json::{Value, json};

use super::Failure;
use super::args::BeaconAction;
use super::output::Output;
use super::table::{Cell, Facts, Tone};
use crate::model::{Ssid, SsidTooLong};
use crate::wire::VERSION;
use crate::wire::beacon::{Beacon, Element, VENDOR_SPECIFIC, elements};

/// Element ID (table 9-92).
const SSID: u8 = 0;

pub(super) fn run(action: BeaconAction, output: &mut Output<'_>) -> Result<(), Failure> {
    let BeaconAction::Decode { elements: octets } = action;
    let found = elements(&octets.0).map_err(|error| Failure::failed("element", error))?;
    Ok(show(&found, output)?)
}

pub(super) fn show(found: &[Element], output: &mut Output<'_>) -> io::Result<()> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for element in found {
        match element {
            Element::Beacon(beacon) => ours.push(beacon),
            Element::Other { id, body } => others.push((*id, body.as_slice())),
        }
    }
    if output.json {
        let ours: Vec<Value> = ours.into_iter().map(ours_as_json).collect();
        let others: Vec<Value> = others.into_iter().map(|(id, body)| other_as_json(id, body)).collect();
        return output.line(&json!({ "beacons": ours, "others": others }));
    }
    if ours.is_empty() {
        writeln!(output.out, "no Wayleave element")?;
    }
    for Beacon { said, token } in ours {
        let mut facts = Facts::default();
        facts.add("version", VERSION.to_string());
        facts.add("service id", said.service.to_string());
        facts.add(
            "access",
            match said.room {
                true => Cell::new("room left", Tone::Good),
                false => Cell::new("full", Tone::Hint),
            },
        );
        facts.add("epoch", format!("{}, slot {}", said.epoch, said.slot));
        facts.add(
            "token",
            format!("{}, not checked: only the gateway and its coordinator can", hex(&token.0)),
        );
        facts.add("tariffs", said.tariff.map_or_else(|| "none".to_owned(), |digest| hex(&digest.0)));
        facts.write(output.out, output.colours)?;
    }
    for (id, body) in others {
        let vendor =
            vendor(id, body).map_or_else(String::new, |(oui, kind)| format!(" of {oui}, type {kind}"));
        let ssid = match ssid(id, body) {
            None => String::new(),
            Some(Ok(ssid)) => format!(" {ssid:?}"),
            Some(Err(error)) => format!(": {error}"),
        };
        let name = name(id).unwrap_or("element");
        writeln!(output.out, "passed over: {name} ({id}){vendor}, {} octets{ssid}", body.len())?;
    }
    Ok(())
}

fn ours_as_json(beacon: &Beacon) -> Value {
    let said = &beacon.said;
    let mut json = json!({
        "version": VERSION,
        "service": said.service,
        "room": said.room,
        "epoch": said.epoch,
        "slot": said.slot,
        "token": hex(&beacon.token.0),
    });
    if let Some(digest) = said.tariff {
        json["tariff"] = hex(&digest.0).into();
    }
    json
}

fn other_as_json(id: u8, body: &[u8]) -> Value {
    let mut json = json!({ "id": id, "body": hex(body) });
    if let Some(name) = name(id) {
        json["name"] = name.into();
    }
    if let Some((oui, kind)) = vendor(id, body) {
        json["oui"] = oui.into();
        json["type"] = kind.into();
    }
    match ssid(id, body) {
        None => {}
        Some(Ok(ssid)) => json["ssid"] = json!(ssid),
        Some(Err(error)) => json["wrong"] = error.to_string().into(),
    }
    json
}

/// The name of the network: any octets, which are shown escaped, but not any number of them.
fn ssid(id: u8, body: &[u8]) -> Option<Result<Ssid, SsidTooLong>> {
    (id == SSID).then(|| Ssid::new(body))
}

/// OUI and type, which the vendors that are met in beacons put into the fourth octet.
fn vendor(id: u8, body: &[u8]) -> Option<(String, u8)> {
    match (id, body) {
        (VENDOR_SPECIFIC, [a, b, c, kind, ..]) => Some((format!("{a:02x}:{b:02x}:{c:02x}"), *kind)),
        _ => None,
    }
}

/// IEEE 802.11-2020, table 9-92: those that beacons have.
fn name(id: u8) -> Option<&'static str> {
    Some(match id {
        SSID => "SSID",
        1 => "Supported Rates",
        3 => "DSSS Parameter Set",
        5 => "TIM",
        7 => "Country",
        11 => "BSS Load",
        32 => "Power Constraint",
        42 => "ERP",
        45 => "HT Capabilities",
        48 => "RSN",
        50 => "Extended Supported Rates",
        54 => "Mobility Domain",
        59 => "Supported Operating Classes",
        61 => "HT Operation",
        70 => "RM Enabled Capabilities",
        107 => "Interworking",
        111 => "Roaming Consortium",
        127 => "Extended Capabilities",
        191 => "VHT Capabilities",
        192 => "VHT Operation",
        VENDOR_SPECIFIC => "Vendor Specific",
        244 => "RSN Extension",
        255 => "Extension",
        _ => return None,
    })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
