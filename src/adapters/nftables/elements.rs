//! One station's elements: in and out of the maps, and back from the kernel. Pure.
//!
//! A station with a grant has an element in `up` and in `down`, each with a counter, and, if its bytes are
//! limited, two quota objects that both directions share: one through the map `limited`, which ends at its last byte,
//! and one through the map `low`, which is used up when few are left, so that the kernel says so. The element in `up`
//! carries who it is for, so that a daemon that starts learns from the kernel what is enforced.

use std::net::IpAddr;
use std::time::Duration;

use super::codec::{Attributes, Batch, Family, attribute, attributes, be32, be64, flags, message, text};
use super::expr::Verdict;
use super::ruleset::{TABLE, comment};
use crate::model::{GrantId, Holder, Incarnation, MacAddr, Origin, PublicKey, SessionId, Traffic};

/// Elements in one list: the list is one attribute of at most 64 KiB.
const CHUNK: usize = 200;

/// The most that the kernel takes for a quota (`nft_quota_do_init`).
pub const MOST_BYTES: u64 = i64::MAX as u64;

/// Ethernet header: at the egress hook a packet counts with it (at the ingress hook it does not).
pub const ETHERNET_HEADER: u64 = 14;

/// A station that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The station.
    pub station: MacAddr,
    /// The grant under which it passes.
    pub grant: GrantId,
    /// Who gave it.
    pub origin: Origin,
    /// Which join.
    pub incarnation: Incarnation,
    /// Who owns it.
    pub holder: Holder,
    /// After this the kernel ends it by itself.
    pub timeout: Option<Duration>,
    /// Bytes granted, both directions together, and bytes used of them.
    pub quota: Option<Quota>,
    /// Bytes used of the quota when the kernel announces that few are left; `None`: it never does.
    pub low_mark: Option<u64>,
    /// Moved already; the counters go on from here. Layer-3 bytes.
    pub moved: Traffic,
}

/// A limit on bytes, as the kernel counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Granted.
    pub limit: u64,
    /// Used.
    pub used: u64,
}

/// What one element of `up` or `down` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its key.
    pub station: MacAddr,
    /// Counted bytes, as the hook sees them.
    pub bytes: u64,
    /// Counted packets.
    pub packets: u64,
    /// What is left of its time.
    pub expires_in: Option<Duration>,
    /// Whether bytes are limited.
    pub limited: bool,
    /// Who it is for, in `up`.
    pub tag: Option<Tag>,
}

/// Who an element is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The grant.
    pub grant: GrantId,
    /// Who gave it.
    pub origin: Origin,
    /// Which join.
    pub incarnation: Incarnation,
    /// Who owns it.
    pub holder: Holder,
}

impl Admission {
    /// Who it is for.
    pub(super) fn tag(&self) -> Tag {
        Tag { grant: self.grant, origin: self.origin, incarnation: self.incarnation, holder: self.holder }
    }
}

/// Puts stations in. A station that is in already must be taken out in the same transaction first.
pub(super) fn admit(batch: &mut Batch, family: Family, admissions: &[Admission]) {
    for admission in admissions {
        if let Some(quota) = admission.quota {
            add_quota(batch, family, admission, quota);
        }
    }
    for (map, up) in [("up", true), ("down", false)] {
        for chunk in admissions.chunks(CHUNK) {
            batch.message(message::NEW_ELEMENT, family, flags::CREATE, |attributes| {
                attributes.text(1, TABLE);
                attributes.text(2, map);
                attributes.nest(3, |list| chunk.iter().for_each(|one| element(list, family, one, up)));
            });
        }
    }
}

fn element(list: &mut Attributes<'_>, family: Family, admission: &Admission, up: bool) {
    list.nest(1, |element| {
        element.nest(1, |key| key.bytes(1, &admission.station.0));
        element.nest(2, |data| verdict(admission.quota.is_some(), up).write(data));
        if let Some(timeout) = admission.timeout {
            element.be64(4, milliseconds(timeout));
        }
        if up {
            element.bytes(6, &tag_bytes(admission));
        }
        // Without an expression of its own it gets the map's counter at zero, which costs the kernel less.
        let (bytes, packets) = raw_counts(family, &admission.moved, up);
        if (bytes, packets) != (0, 0) {
            element.nest(7, |expression| {
                expression.text(1, "counter");
                expression.nest(2, |data| {
                    data.be64(1, bytes);
                    data.be64(2, packets);
                });
            });
        }
    });
}

fn verdict(limited: bool, up: bool) -> Verdict {
    match (limited, up) {
        (true, true) => Verdict::Goto("limited_in"),
        (true, false) => Verdict::Goto("limited_out"),
        (false, _) => Verdict::Accept,
    }
}

/// One that is there already gets the new limits, and what it has counted stays (Linux 5.4).
fn add_quota(batch: &mut Batch, family: Family, admission: &Admission, quota: Quota) {
    const NFT_OBJECT_QUOTA: u32 = 2;
    let mark = admission.low_mark.unwrap_or(MOST_BYTES);
    for (map, name, limit) in
        [("limited", quota_name(admission.grant), quota.limit), ("low", mark_name(admission.grant), mark)]
    {
        let limit = limit.min(MOST_BYTES);
        batch.message(message::NEW_OBJECT, family, flags::CREATE, |object| {
            object.text(1, TABLE);
            object.text(2, &name);
            object.be32(3, NFT_OBJECT_QUOTA);
            object.nest(4, |data| {
                data.be64(1, limit);
                data.be32(2, 0);
                // More than the limit is no quota for the kernel (`nft_quota_do_init`), and a low mark may be long past.
                data.be64(4, quota.used.min(limit));
            });
        });
        batch.message(message::NEW_ELEMENT, family, flags::CREATE, |attributes| {
            attributes.text(1, TABLE);
            attributes.text(2, map);
            attributes.nest(3, |list| {
                list.nest(1, |element| {
                    element.nest(1, |key| key.bytes(1, &admission.station.0));
                    element.text(9, &name);
                });
            });
        });
    }
}

/// Takes stations out of both directions, whether they are in or not. `destroy`: the kernel knows
/// `NFT_MSG_DESTROYSETELEM` (6.3); without it only what is certainly there may be named.
pub(super) fn dismiss(
    batch: &mut Batch,
    family: Family,
    stations: &[(MacAddr, Option<GrantId>)],
    destroy: bool,
    echo: bool,
) {
    let kind = if destroy { message::DESTROY_ELEMENT } else { message::DEL_ELEMENT };
    let flags = if echo { flags::ECHO } else { 0 };
    for map in ["up", "down"] {
        for chunk in stations.chunks(CHUNK) {
            let keys = chunk.iter().map(|(station, _)| *station);
            batch.message(kind, family, flags, |attributes| keyed(attributes, map, keys));
        }
    }
    for (station, limited) in stations {
        let Some(grant) = limited else { continue };
        let object = if destroy { message::DESTROY_OBJECT } else { message::DEL_OBJECT };
        for (map, name) in [("limited", quota_name(*grant)), ("low", mark_name(*grant))] {
            batch.message(kind, family, 0, |attributes| keyed(attributes, map, [*station]));
            batch.message(object, family, flags, |attributes| {
                attributes.text(1, TABLE);
                attributes.text(2, &name);
                attributes.be32(3, 2);
            });
        }
    }
}

/// Table, map and keys of an element message.
pub(super) fn keyed(attributes: &mut Attributes<'_>, map: &str, keys: impl IntoIterator<Item = MacAddr>) {
    attributes.text(1, TABLE);
    attributes.text(2, map);
    attributes.nest(3, |list| {
        for key in keys {
            list.nest(1, |element| element.nest(1, |value| value.bytes(1, &key.0)));
        }
    });
}

/// The name of a grant's quota object.
pub(super) fn quota_name(grant: GrantId) -> String {
    format!("grant-{grant}")
}

/// The name of the quota object of a grant's low mark.
fn mark_name(grant: GrantId) -> String {
    format!("low-{grant}")
}

/// The elements in the payload of one NEWSETELEM or DELSETELEM message, with the map they are of.
pub(super) fn parse(payload: &[u8]) -> Option<(&str, Vec<Element>)> {
    if attribute(payload, 1).and_then(text) != Some(TABLE) {
        return None;
    }
    let map = attribute(payload, 2).and_then(text)?;
    let list = attribute(payload, 3)?;
    Some((map, attributes(list).filter_map(|(_, element)| parse_element(element)).collect()))
}

fn parse_element(element: &[u8]) -> Option<Element> {
    let key = attribute(attribute(element, 1)?, 1)?;
    let counter = attribute(element, 7).and_then(|expression| attribute(expression, 2));
    let count = |kind| counter.and_then(|data| attribute(data, kind)).and_then(be64).unwrap_or(0);
    let chain = attribute(element, 2)
        .and_then(|data| attribute(data, 2))
        .and_then(|verdict| attribute(verdict, 2))
        .and_then(text);
    Some(Element {
        station: MacAddr(key.get(..6)?.try_into().ok()?),
        bytes: count(1),
        packets: count(2),
        expires_in: attribute(element, 5).and_then(be64).map(Duration::from_millis),
        limited: chain.is_some_and(|chain| chain.starts_with("limited")),
        tag: attribute(element, 6).and_then(parse_tag),
    })
}

/// The keys of a set of addresses in the payload of a NEWSETELEM message.
pub(super) fn parse_addresses(payload: &[u8]) -> impl Iterator<Item = IpAddr> {
    attributes(attribute(payload, 3).unwrap_or_default()).filter_map(|(_, element)| {
        let key = attribute(attribute(element, 1)?, 1)?;
        match key.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(key).ok()?)),
            _ => Some(IpAddr::from(<[u8; 16]>::try_from(key).ok()?)),
        }
    })
}

/// The quota object of a grant in the payload of a NEWOBJ or DELOBJ message.
pub(super) fn parse_quota(payload: &[u8]) -> Option<(GrantId, Quota)> {
    parse_object(payload, "grant-")
}

/// The quota object of a low mark: what is used of the bytes up to it.
pub(super) fn parse_mark(payload: &[u8]) -> Option<(GrantId, Quota)> {
    parse_object(payload, "low-")
}

fn parse_object(payload: &[u8], prefix: &str) -> Option<(GrantId, Quota)> {
    if attribute(payload, 1).and_then(text) != Some(TABLE) || attribute(payload, 3).and_then(be32) != Some(2)
    {
        return None;
    }
    let grant = attribute(payload, 2).and_then(text)?.strip_prefix(prefix)?.parse().ok()?;
    let data = attribute(payload, 4)?;
    let limit = attribute(data, 1).and_then(be64)?;
    let used = attribute(data, 4).and_then(be64).unwrap_or(0);
    Some((grant, Quota { limit, used }))
}

/// Layer-3 bytes of both directions from what the two elements counted.
pub(super) fn traffic(family: Family, up: Option<&Element>, down: Option<&Element>) -> Traffic {
    let raw = |element: Option<&Element>| element.map_or((0, 0), |element| (element.bytes, element.packets));
    let (up_bytes, up_packets) = raw(up);
    let (down_bytes, down_packets) = raw(down);
    Traffic {
        up_bytes,
        down_bytes: down_bytes.saturating_sub(down_header(family) * down_packets),
        up_packets,
        down_packets,
    }
}

fn raw_counts(family: Family, moved: &Traffic, up: bool) -> (u64, u64) {
    if up {
        (moved.up_bytes, moved.up_packets)
    } else {
        let headers = down_header(family).saturating_mul(moved.down_packets);
        (moved.down_bytes.saturating_add(headers), moved.down_packets)
    }
}

fn down_header(family: Family) -> u64 {
    match family {
        Family::Netdev => ETHERNET_HEADER,
        Family::Unspecified | Family::Inet | Family::Bridge => 0,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// User data of libnftnl has types below this; the rest is passed over by `nft`.
const UDATA_HOLDER: u8 = 0x57;

/// A comment that people read, and the holder behind it.
fn tag_bytes(admission: &Admission) -> Vec<u8> {
    let origin = match admission.origin {
        Origin::Owner => "owner",
        Origin::Coordinator => "coordinator",
    };
    let mut bytes = comment(&format!("grant {} {origin} {}", admission.grant, admission.incarnation));
    if let Holder::Terminal { key, session } = admission.holder {
        bytes.extend([UDATA_HOLDER, 48]);
        bytes.extend(key.0);
        bytes.extend(session.0);
    }
    bytes
}

fn parse_tag(mut bytes: &[u8]) -> Option<Tag> {
    let mut comment = None;
    let mut holder = Holder::Station;
    while let [kind, length, rest @ ..] = bytes {
        let value = rest.get(..usize::from(*length))?;
        match *kind {
            0 => comment = text(value),
            UDATA_HOLDER if value.len() == 48 => {
                holder = Holder::Terminal {
                    key: PublicKey(value[..32].try_into().ok()?),
                    session: SessionId(value[32..].try_into().ok()?),
                };
            }
            _ => {}
        }
        bytes = &rest[usize::from(*length)..];
    }
    let [word, grant, origin, incarnation] = comment?.split(' ').collect::<Vec<_>>().try_into().ok()?;
    if word != "grant" {
        return None;
    }
    let origin = match origin {
        "owner" => Origin::Owner,
        "coordinator" => Origin::Coordinator,
        _ => return None,
    };
    Some(Tag {
        grant: grant.parse().ok()?,
        origin,
        incarnation: Incarnation(incarnation.parse().ok()?),
        holder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::nftables::codec::messages;

    #[test]
    fn what_is_written_is_read_back() {
        for (quota, family) in
            [(None, Family::Netdev), (Some(Quota { limit: 1000, used: 7 }), Family::Bridge)]
        {
            let admission = admission(quota);
            let mut batch = Batch::request(1);
            admit(&mut batch, family, std::slice::from_ref(&admission));
            let bytes = batch.into_bytes();
            let mut maps: Vec<(String, Vec<Element>)> = messages(&bytes)
                .filter(|message| message.nft() == Some(message::NEW_ELEMENT))
                .filter_map(|message| parse(message.payload))
                .map(|(map, elements)| (map.to_owned(), elements))
                .collect();
            if quota.is_some() {
                let objects: Vec<_> =
                    messages(&bytes).filter_map(|message| parse_quota(message.payload)).collect();
                assert_eq!(objects, [(admission.grant, Quota { limit: 1000, used: 7 })]);
                let marks: Vec<_> =
                    messages(&bytes).filter_map(|message| parse_mark(message.payload)).collect();
                assert_eq!(marks, [(admission.grant, Quota { limit: 900, used: 7 })]);
                assert_eq!([maps.remove(0).0, maps.remove(0).0], ["limited", "low"]);
            }
            let [(up_map, up), (down_map, down)] = maps.try_into().unwrap();
            assert_eq!((up_map.as_str(), down_map.as_str()), ("up", "down"));
            assert_eq!(traffic(family, up.first(), down.first()), admission.moved);
            assert_eq!(up[0].limited, quota.is_some());
            let tag = Tag {
                grant: admission.grant,
                origin: admission.origin,
                incarnation: admission.incarnation,
                holder: admission.holder,
            };
            assert_eq!((up[0].tag, down[0].tag), (Some(tag), None));
        }
    }

    #[test]
    fn foreign_user_data_is_no_tag() {
        for bytes in [&[][..], &[0], &[0, 200, 1], b"\x00\x03hi\x00", b"\x00\x0agrant x y\x00", &[9, 0, 9, 0]]
        {
            assert_eq!(parse_tag(bytes), None, "{bytes:?}");
        }
    }

    fn admission(quota: Option<Quota>) -> Admission {
        Admission {
            station: MacAddr([2, 0, 0, 0, 0, 1]),
            grant: GrantId([0xab; 16]),
            origin: Origin::Coordinator,
            incarnation: Incarnation(3),
            holder: Holder::Terminal { key: PublicKey([1; 32]), session: SessionId([2; 16]) },
            timeout: Some(Duration::from_secs(60)),
            quota,
            low_mark: quota.map(|quota| quota.limit / 10 * 9),
            moved: Traffic { up_bytes: 100, down_bytes: 200, up_packets: 1, down_packets: 2 },
        }
    }
}
