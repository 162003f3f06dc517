//! What a RADIUS server is told of a session: attributes (`docs/radius.md` has the table).

use std::net::IpAddr;

use super::super::effects::Gateway;
use super::keep::Terms;
use crate::adapters::radius::attribute::{
    Attribute, authentic, number, port_type, station_id, status, terminate, terminate_cause, words,
};
use crate::host::clock;
use crate::logic::accounting::{Ending, Told};
use crate::model::{MacAddr, Traffic};

/// Before this a calendar has not been set: 2024-01-01.
const CALENDAR_IS_SET: u64 = 1_704_067_200;

/// That accounting begins (`true`) or ends.
pub(super) fn of_everything(begins: bool, nas_identifier: &str) -> Vec<Attribute> {
    let kind = if begins { status::ACCOUNTING_ON } else { status::ACCOUNTING_OFF };
    let mut attributes = vec![
        Attribute::integer(number::ACCT_STATUS_TYPE, kind),
        Attribute::text(number::NAS_IDENTIFIER, nas_identifier),
    ];
    attributes.extend(timestamp());
    attributes
}

/// Which station, and where it is now; of one that was not seen yet nothing more.
pub(super) fn of_place(gateway: &Gateway, station: MacAddr) -> Vec<Attribute> {
    let mut attributes = vec![Attribute::text(number::CALLING_STATION_ID, &station_id(station))];
    let Some(found) = gateway.presence.get(station) else { return attributes };
    let bss = found.bsses.keys().next();
    // Without a bridge only its addresses say behind which interface it is.
    let port = bss.or(found.port.as_ref()).or_else(|| found.addresses.values().next());
    let Some(port) = port else { return attributes };
    let known = bss.and_then(|bss| gateway.presence.bsses().get(bss));
    match known.filter(|bss| !bss.ssid.as_bytes().is_empty()) {
        // RFC 3580, 3.20: the address of the access point, and the name of the network behind a colon.
        Some(bss) => {
            let mut called = station_id(bss.bssid.0).into_bytes();
            called.push(b':');
            called.extend(bss.ssid.as_bytes());
            attributes.push(Attribute::octets(number::CALLED_STATION_ID, &called));
            attributes.push(Attribute::integer(number::NAS_PORT_TYPE, port_type::WIRELESS_802_11));
        }
        None => {
            let network = gateway.network_at(port);
            if let Some(own) = network.and_then(|network| gateway.world.bssid(&network.interface)) {
                attributes.push(Attribute::text(number::CALLED_STATION_ID, &station_id(own.0)));
            }
            attributes.push(Attribute::integer(number::NAS_PORT_TYPE, port_type::ETHERNET));
        }
    }
    attributes.push(Attribute::text(number::NAS_PORT_ID, port));
    attributes
}

/// Whose a session is: the name, and what a server said of it.
pub(super) fn of_owner(name: &str, terms: Option<&Terms>) -> Vec<Attribute> {
    let found_out = if terms.is_some() { authentic::RADIUS } else { authentic::LOCAL };
    let mut attributes =
        vec![Attribute::text(number::USER_NAME, name), Attribute::integer(number::ACCT_AUTHENTIC, found_out)];
    let classes = terms.into_iter().flat_map(|terms| &terms.classes);
    attributes.extend(classes.map(|class| Attribute::octets(number::CLASS, class)));
    attributes
}

/// The addresses of a station. IPv6 ones that are link-local say nothing elsewhere.
pub(super) fn of_addresses<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> Vec<Attribute> {
    let says_something = |address: &&IpAddr| match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    let by_family = (number::FRAMED_IP_ADDRESS, number::FRAMED_IPV6_ADDRESS);
    // One IPv4 address may be named (RFC 2866, 5.13).
    let mut has_v4 = false;
    addresses
        .filter(says_something)
        .filter(|address| !(address.is_ipv4() && std::mem::replace(&mut has_v4, true)))
        .map(|address| Attribute::address(by_family, *address))
        .collect()
}

/// What is new of a session.
pub(super) fn of_session(what: Told, moved: Traffic, seconds: u64) -> Vec<Attribute> {
    let kind = match what {
        Told::Start => status::START,
        Told::Interim => status::INTERIM_UPDATE,
        Told::Stop(_) => status::STOP,
    };
    let mut attributes = vec![Attribute::integer(number::ACCT_STATUS_TYPE, kind)];
    attributes.extend(timestamp());
    if what == Told::Start {
        return attributes;
    }
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    attributes.push(Attribute::integer(number::ACCT_SESSION_TIME, seconds));
    // Input is what comes from the station.
    let (input, input_gigawords) = words(moved.up_bytes);
    let (output, output_gigawords) = words(moved.down_bytes);
    for (number, value) in [
        (number::ACCT_INPUT_OCTETS, input),
        (number::ACCT_INPUT_GIGAWORDS, input_gigawords),
        (number::ACCT_OUTPUT_OCTETS, output),
        (number::ACCT_OUTPUT_GIGAWORDS, output_gigawords),
        (number::ACCT_INPUT_PACKETS, words(moved.up_packets).0),
        (number::ACCT_OUTPUT_PACKETS, words(moved.down_packets).0),
    ] {
        attributes.push(Attribute::integer(number, value));
    }
    if let Told::Stop(ending) = what {
        let cause = match ending {
            Ending::Cause(cause) => terminate_cause(cause),
            Ending::Gone => terminate::LOST_CARRIER,
            Ending::Stopped => terminate::ADMIN_REBOOT,
        };
        attributes.push(Attribute::integer(number::ACCT_TERMINATE_CAUSE, cause));
    }
    attributes
}

/// When this happened, where the calendar is set.
fn timestamp() -> Option<Attribute> {
    let seconds = u32::try_from(calendar()?).ok()?;
    Some(Attribute::integer(number::EVENT_TIMESTAMP, seconds))
}

/// The calendar's seconds, if it is set.
pub(super) fn calendar() -> Option<u64> {
    Some(clock::calendar()).filter(|seconds| *seconds >= CALENDAR_IS_SET)
}
