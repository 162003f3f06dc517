//! The whole ruleset as a value, and its rendering as one transaction. Pure.
//!
//! [`Ruleset`] holds what must be; [`Ruleset::render`] says it all at once (delete, declare, fill), so a first
//! start, a foreign `flush ruleset` and a changed configuration heal the same way. Where the right chains stand,
//! [`Ruleset::refill`] says the contents of the sets only. The chains are written down in `chains.rs`, admission
//! of single stations in `elements.rs`, going on with what stands in `standing.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::chains;
use super::codec::{Attributes, Batch, Family, flags, message};
use super::elements::Admission;
use super::expr::Expr;
use crate::model::{Gather, MacAddr};
use crate::wire::local::Layout;
use crate::wire::sign::short_hash;

/// The name of our table, in the family that the layout uses.
pub const TABLE: &str = "wayleave";

/// Table flags (`enum nft_table_flags`).
const NFT_TABLE_F_OWNER: u32 = 0x2;
pub(super) const NFT_TABLE_F_PERSIST: u32 = 0x4;

/// What stations without a grant reach, and what nobody may claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Openings {
    /// The gateway's own addresses on the shared interfaces.
    pub gateway: Vec<IpAddr>,
    /// Protocol number and port of the gateway's services: DNS, the portal.
    pub services: Vec<(u8, u16)>,
    /// Where the coordinator listens (TCP).
    pub coordinator: Vec<(IpAddr, u16)>,
    /// Prefixes that are open to everybody.
    pub prefixes: Vec<(IpAddr, u8)>,
    /// What dnsmasq has put into `names4` and `names6`: said again only where the table is made anew.
    pub names: Vec<IpAddr>,
    /// Prefixes of the shared interfaces in which visitors are kept apart; the gateway and what is open are not meant.
    pub visitors: Vec<(IpAddr, u8)>,
    /// The port of this machine to which the web of stations without a grant is redirected.
    #[cfg(feature = "portal")]
    pub portal: Option<u16>,
}

impl Openings {
    /// Whether stations without a grant meet a portal.
    pub(super) fn web(&self) -> bool {
        #[cfg(feature = "portal")]
        return self.portal.is_some();
        #[cfg(not(feature = "portal"))]
        false
    }
}

/// Everything that the kernel is to hold for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Where the downlink is enforced.
    pub layout: Layout,
    /// Whether the table is to be ours alone (`flags owner, persist`).
    pub owned: bool,
    /// Where stations are: the shared interfaces, or in layout `bridge` the ports behind them.
    pub interfaces: Vec<String>,
    /// What is open without a grant.
    pub openings: Openings,
    /// Who holds which address; nobody else may claim it.
    pub pins: Vec<(IpAddr, MacAddr)>,
    /// The stations that pass.
    pub admissions: Vec<Admission>,
}

/// A data type of nft's user space (libnftables `enum datatypes`) with its length in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Type(u32, u32);

pub(super) const IPV4: Type = Type(7, 4);
pub(super) const IPV6: Type = Type(8, 16);
pub(super) const ETHER: Type = Type(9, 6);
const PROTOCOL: Type = Type(12, 1);
const SERVICE: Type = Type(13, 2);
const ICMPV6_TYPE: Type = Type(29, 1);
const IFNAME: Type = Type(41, 16);

/// What a set maps to, if it is a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    None,
    Verdict,
    Quota,
}

/// A set or map that is declared.
struct Set {
    name: &'static str,
    key: &'static [Type],
    data: Data,
    flags: u32,
    counted: bool,
    /// [`Ruleset::refill`] says what is in it; the others belong to the chains, to stations or to dnsmasq.
    refilled: bool,
}

const INTERVAL: u32 = 0x4;
const MAP: u32 = 0x8;
const TIMEOUT: u32 = 0x10;
const OBJECT: u32 = 0x40;
const CONCAT: u32 = 0x80;

/// The sets of both layouts.
const SETS: &[Set] = &[
    Set {
        name: "up",
        key: &[ETHER],
        data: Data::Verdict,
        flags: MAP | TIMEOUT,
        counted: true,
        refilled: false,
    },
    Set {
        name: "down",
        key: &[ETHER],
        data: Data::Verdict,
        flags: MAP | TIMEOUT,
        counted: true,
        refilled: false,
    },
    Set { name: "limited", key: &[ETHER], data: Data::Quota, flags: OBJECT, counted: false, refilled: false },
    Set { name: "low", key: &[ETHER], data: Data::Quota, flags: OBJECT, counted: false, refilled: false },
    Set { name: "gateway4", key: &[IPV4], data: Data::None, flags: 0, counted: false, refilled: true },
    Set { name: "gateway6", key: &[IPV6], data: Data::None, flags: 0, counted: false, refilled: true },
    Set {
        name: "services",
        key: &[PROTOCOL, SERVICE],
        data: Data::None,
        flags: CONCAT,
        counted: false,
        refilled: true,
    },
    Set {
        name: "coordinator4",
        key: &[IPV4, SERVICE],
        data: Data::None,
        flags: CONCAT,
        counted: false,
        refilled: true,
    },
    Set {
        name: "coordinator6",
        key: &[IPV6, SERVICE],
        data: Data::None,
        flags: CONCAT,
        counted: false,
        refilled: true,
    },
    Set { name: "open4", key: &[IPV4], data: Data::None, flags: INTERVAL, counted: false, refilled: true },
    Set { name: "open6", key: &[IPV6], data: Data::None, flags: INTERVAL, counted: false, refilled: true },
    // dnsmasq fills these: nftset=/example.org/4#netdev#wayleave#names4,6#netdev#wayleave#names6
    Set { name: "names4", key: &[IPV4], data: Data::None, flags: 0, counted: false, refilled: false },
    Set { name: "names6", key: &[IPV6], data: Data::None, flags: 0, counted: false, refilled: false },
    Set { name: "claimed4", key: &[IPV4], data: Data::None, flags: 0, counted: false, refilled: true },
    Set { name: "claimed6", key: &[IPV6], data: Data::None, flags: 0, counted: false, refilled: true },
    Set {
        name: "pinned4",
        key: &[IPV4, ETHER],
        data: Data::None,
        flags: CONCAT,
        counted: false,
        refilled: true,
    },
    Set {
        name: "pinned6",
        key: &[IPV6, ETHER],
        data: Data::None,
        flags: CONCAT,
        counted: false,
        refilled: true,
    },
    Set {
        name: "nd_types",
        key: &[ICMPV6_TYPE],
        data: Data::None,
        flags: 0,
        counted: false,
        refilled: false,
    },
    Set {
        name: "mld_types",
        key: &[ICMPV6_TYPE],
        data: Data::None,
        flags: 0,
        counted: false,
        refilled: false,
    },
];

/// The sets that dnsmasq fills, and whether IPv4 addresses are in them.
pub(super) const NAMES: [(&str, bool); 2] = [("names4", true), ("names6", false)];

/// Layout `bridge` hangs on the whole bridge layer and looks at the ports of the shared interfaces only.
const SHARED: Set =
    Set { name: "shared", key: &[IFNAME], data: Data::None, flags: 0, counted: false, refilled: false };

/// How many rules the chains of a layout have, without [`chains::FROM_STATIONS`]: their number may change.
pub(super) fn rules(layout: Layout, web: bool) -> usize {
    chains::chains(layout, web).iter().map(|chain| chain.rules.len()).sum()
}

/// The family in which a layout has its table.
pub fn family(layout: Layout) -> Family {
    match layout {
        Layout::Netdev => Family::Netdev,
        Layout::Bridge => Family::Bridge,
    }
}

impl Ruleset {
    /// The transaction that makes the kernel hold exactly this. `standing`: the base chains of the table that is
    /// there now, and goes.
    pub fn render(&self, batch: &mut Batch, standing: Option<&[String]>) {
        let family = family(self.layout);
        if let Some(bases) = standing {
            // The kernel takes things down in this order, while the new ones count already: the sooner the old
            // hooks are gone, the fewer packets meet old rules with empty maps.
            for chain in bases {
                batch.message(message::DEL_CHAIN, family, 0, |attributes| {
                    attributes.text(1, TABLE);
                    attributes.text(3, chain);
                });
            }
            batch.message(message::DEL_TABLE, family, 0, |table| table.text(1, TABLE));
        }
        self.render_as(batch, &self.fingerprint());
    }

    /// What is open and who holds which address, in the sets and chains that stand already: in one transaction nobody
    /// finds them empty.
    pub fn refill(&self, batch: &mut Batch) {
        let family = family(self.layout);
        for chain in chains::FROM_STATIONS {
            // Without a handle all rules are meant.
            batch.message(message::DEL_RULE, family, 0, |rules| {
                rules.text(1, TABLE);
                rules.text(2, chain);
            });
        }
        for set in SETS.iter().filter(|set| set.refilled) {
            // Without keys all elements are meant.
            batch.message(message::DEL_ELEMENT, family, 0, |elements| {
                elements.text(1, TABLE);
                elements.text(2, set.name);
            });
        }
        self.fill(batch);
    }

    fn render_as(&self, batch: &mut Batch, fingerprint: &str) {
        let family = family(self.layout);
        self.render_table(batch, fingerprint);
        for (name, what) in
            [("refused", "packets of stations without a grant"), ("spoofed", "claims of foreign addresses")]
        {
            counter(batch, family, name, what);
        }
        for set in SETS {
            declare(batch, family, set);
        }
        if self.layout == Layout::Bridge {
            declare(batch, family, &SHARED);
        }
        let chains = chains::chains(self.layout, self.openings.web());
        for chain in &chains {
            batch.message(message::NEW_CHAIN, family, flags::CREATE, |attributes| {
                attributes.text(1, TABLE);
                attributes.text(3, chain.name);
                if let Some(hook) = &chain.hook {
                    attributes.nest(4, |hooks| self.render_hook(hooks, hook));
                    // NF_ACCEPT: see `chains.rs`.
                    attributes.be32(5, 1);
                    attributes.text(7, "filter");
                }
            });
        }
        self.fill_constant(batch);
        self.fill(batch);
        for (name, v4) in NAMES {
            let theirs = self.openings.names.iter().filter(|ip| ip.is_ipv4() == v4);
            plain_elements(batch, family, name, &sorted(theirs.map(|ip| octets(*ip))));
        }
        for chain in &chains {
            for rule in &chain.rules {
                render_rule(batch, family, TABLE, chain.name, rule);
            }
        }
        super::elements::admit(batch, family, &self.admissions);
        #[cfg(feature = "portal")]
        if let Some(port) = self.openings.portal {
            self.render_captive(batch, port, fingerprint);
        }
    }

    fn render_table(&self, batch: &mut Batch, fingerprint: &str) {
        batch.message(message::NEW_TABLE, family(self.layout), flags::CREATE, |table| {
            table.text(1, TABLE);
            table.be32(2, table_flags(self.owned));
            table.bytes(6, &comment(fingerprint));
        });
    }

    /// What the table's comment says: the same for two rulesets that differ in stations and openings only.
    pub fn fingerprint(&self) -> String {
        let chains = Ruleset {
            layout: self.layout,
            owned: self.owned,
            interfaces: self.interfaces.clone(),
            #[cfg(not(feature = "portal"))]
            openings: Openings::default(),
            #[cfg(feature = "portal")]
            openings: Openings { portal: self.openings.portal, ..Openings::default() },
            pins: Vec::new(),
            admissions: Vec::new(),
        };
        let mut batch = Batch::request(0);
        chains.render_as(&mut batch, "");
        let hash: String =
            short_hash(&batch.into_bytes()).iter().map(|octet| format!("{octet:02x}")).collect();
        format!("wayleave {hash}, made by the daemon: see `wayleave doctor`")
    }

    fn render_hook(&self, hooks: &mut Attributes<'_>, hook: &chains::Hook) {
        hooks.be32(1, hook.number);
        hooks.be32(2, hook.priority as u32);
        if self.layout == Layout::Netdev {
            hooks.nest(4, |devices| self.interfaces.iter().for_each(|name| devices.text(1, name)));
        }
    }

    fn fill(&self, batch: &mut Batch) {
        let family = family(self.layout);
        for (chain, rule) in chains::of_stations(&self.openings.visitors) {
            render_rule(batch, family, TABLE, chain, &rule);
        }
        let mut set = |name, keys: Vec<Vec<u8>>| plain_elements(batch, family, name, &keys);
        let of = |ip: &IpAddr| octets(*ip);
        for (v4, gateway, coordinator, claimed, pinned) in [
            (true, "gateway4", "coordinator4", "claimed4", "pinned4"),
            (false, "gateway6", "coordinator6", "claimed6", "pinned6"),
        ] {
            let ours = |ip: &IpAddr| ip.is_ipv4() == v4;
            set(gateway, sorted(self.openings.gateway.iter().filter(|ip| ours(ip)).map(of)));
            set(
                coordinator,
                sorted(
                    self.openings
                        .coordinator
                        .iter()
                        .filter(|(ip, _)| ours(ip))
                        .map(|(ip, port)| concatenate(&[&octets(*ip), &port.to_be_bytes()])),
                ),
            );
            set(claimed, sorted(self.pins.iter().filter(|(ip, _)| ours(ip)).map(|(ip, _)| of(ip))));
            set(
                pinned,
                sorted(self.pins.iter().filter(|(ip, _)| ours(ip)).map(|(ip, mac)| pinned_key(*ip, *mac))),
            );
        }
        set(
            "services",
            sorted(
                self.openings
                    .services
                    .iter()
                    .map(|(protocol, port)| concatenate(&[&[*protocol], &port.to_be_bytes()])),
            ),
        );
        intervals(batch, family, &self.openings.prefixes);
    }

    /// The sets that belong to the chains.
    fn fill_constant(&self, batch: &mut Batch) {
        let family = family(self.layout);
        let mut set = |name, keys: Vec<Vec<u8>>| plain_elements(batch, family, name, &keys);
        // Router solicitation, neighbour solicitation and advertisement (RFC 4861).
        set("nd_types", vec![vec![133], vec![135], vec![136]]);
        // Listener reports and done (RFC 2710, RFC 3810).
        set("mld_types", vec![vec![131], vec![132], vec![143]]);
        if self.layout == Layout::Bridge {
            set("shared", sorted(self.interfaces.iter().map(|name| ifname(name))));
        }
    }
}

/// Flags of a table that is ours alone, or anybody's.
pub(super) fn table_flags(owned: bool) -> u32 {
    if owned { NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST } else { 0 }
}

fn counter(batch: &mut Batch, family: Family, name: &str, what: &str) {
    const NFT_OBJECT_COUNTER: u32 = 1;
    batch.message(message::NEW_OBJECT, family, flags::CREATE, |object| {
        object.text(1, TABLE);
        object.text(2, name);
        object.be32(3, NFT_OBJECT_COUNTER);
        object.nest(4, |_| ());
        object.bytes(8, &comment(what));
    });
}

fn declare(batch: &mut Batch, family: Family, set: &Set) {
    const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
    const NFT_OBJECT_QUOTA: u32 = 2;
    // nft's user space writes concatenated types with six bits each (libnftables TYPE_BITS).
    let key_type = set.key.iter().fold(0, |joined, Type(id, _)| joined << 6 | id);
    let key_length = match set.key {
        [single] => single.1,
        several => several.iter().map(|Type(_, length)| length.next_multiple_of(4)).sum(),
    };
    let id = batch.last_seq();
    batch.message(message::NEW_SET, family, flags::CREATE, |attributes| {
        attributes.text(1, TABLE);
        attributes.text(2, set.name);
        attributes.be32(3, set.flags & !CONCAT);
        attributes.be32(4, key_type);
        attributes.be32(5, key_length);
        match set.data {
            Data::None => {}
            Data::Verdict => {
                attributes.be32(6, NFT_DATA_VERDICT);
                attributes.be32(7, 0);
            }
            Data::Quota => attributes.be32(15, NFT_OBJECT_QUOTA),
        }
        attributes.be32(10, id);
        if set.counted {
            attributes.nest(17, |expression| {
                expression.text(1, "counter");
                expression.nest(2, |_| ());
            });
        }
    });
}

pub(super) fn render_rule(batch: &mut Batch, family: Family, table: &str, chain: &str, rule: &chains::Rule) {
    batch.message(message::NEW_RULE, family, flags::CREATE | flags::APPEND, |attributes| {
        attributes.text(1, table);
        attributes.text(2, chain);
        attributes.nest(4, |list| rule.expressions.iter().for_each(|expr: &Expr| expr.write(list)));
        attributes.bytes(7, &comment(rule.comment));
    });
}

/// Elements without data. Chunked, because a list of elements is one attribute of at most 64 KiB.
pub(super) fn plain_elements(batch: &mut Batch, family: Family, set: &str, keys: &[Vec<u8>]) {
    for chunk in keys.chunks(1000) {
        batch.message(message::NEW_ELEMENT, family, flags::CREATE, |attributes| {
            attributes.text(1, TABLE);
            attributes.text(2, set);
            attributes.nest(3, |list| {
                for key in chunk {
                    list.nest(1, |element| element.nest(1, |value| value.bytes(1, key)));
                }
            });
        });
    }
}

/// Prefixes as the half-open intervals that the rbtree set wants.
fn intervals(batch: &mut Batch, family: Family, prefixes: &[(IpAddr, u8)]) {
    const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
    for (set, v4) in [("open4", true), ("open6", false)] {
        let merged = merge(prefixes.iter().filter(|(ip, _)| ip.is_ipv4() == v4));
        if merged.is_empty() {
            continue;
        }
        let write = |value: u128| {
            if v4 { (value as u32).to_be_bytes().to_vec() } else { value.to_be_bytes().to_vec() }
        };
        let last = if v4 { u128::from(u32::MAX) } else { u128::MAX };
        batch.message(message::NEW_ELEMENT, family, flags::CREATE, |attributes| {
            attributes.text(1, TABLE);
            attributes.text(2, set);
            attributes.nest(3, |list| {
                let mut element = |key: &[u8], end: bool| {
                    list.nest(1, |element| {
                        element.nest(1, |value| value.bytes(1, key));
                        if end {
                            element.be32(3, NFT_SET_ELEM_INTERVAL_END);
                        }
                    });
                };
                for (from, to) in merged {
                    element(&write(from), false);
                    // An interval up to the last address is left open.
                    if to < last {
                        element(&write(to + 1), true);
                    }
                }
            });
        });
    }
}

/// Sorted ranges, first to last, without overlap or adjacency.
fn merge<'a>(prefixes: impl Iterator<Item = &'a (IpAddr, u8)>) -> Vec<(u128, u128)> {
    let mut ranges: Vec<(u128, u128)> = prefixes
        .map(|(ip, length)| {
            let (address, bits) = match ip {
                IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
                IpAddr::V6(v6) => (v6.to_bits(), 128),
            };
            let host_bits = u32::from(bits - length.min(&bits));
            let mask = 1u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1);
            (address & !mask, address | mask)
        })
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => Ipv4Addr::octets(&v4).to_vec(),
        IpAddr::V6(v6) => Ipv6Addr::octets(&v6).to_vec(),
    }
}

/// The key of `pinned4` and `pinned6`.
pub(super) fn pinned_key(ip: IpAddr, mac: MacAddr) -> Vec<u8> {
    concatenate(&[&octets(ip), &mac.0])
}

/// A concatenation as it lies in registers: each part padded to four bytes.
fn concatenate(parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in parts {
        key.extend(*part);
        key.resize(key.len().next_multiple_of(4), 0);
    }
    key
}

fn ifname(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(16, 0);
    key
}

fn sorted(keys: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    keys.gather::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// A comment in the form in which nft's user space keeps it (libnftnl udata: type 0, length, text, NUL).
pub(super) fn comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(text.len() + 1).expect("our comments are short")];
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

/// The text of such a comment, if the user data begins with one.
pub(super) fn parse_comment(bytes: &[u8]) -> Option<String> {
    let [0, length, rest @ ..] = bytes else { return None };
    super::codec::text(rest.get(..usize::from(*length))?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_become_ranges_without_overlap() {
        let prefix = |text: &str, length| (text.parse::<IpAddr>().unwrap(), length);
        let v4 = [
            prefix("192.0.2.128", 25),
            prefix("192.0.2.0", 24),
            prefix("192.0.3.9", 24),
            prefix("0.0.0.0", 32),
        ];
        assert_eq!(merge(v4.iter()), [(0, 0), (0xc000_0200, 0xc000_03ff)]);
        assert_eq!(merge([prefix("::", 0)].iter()), [(0, u128::MAX)]);
        // A length that no address has is taken as a host.
        assert_eq!(merge([prefix("192.0.2.1", 60)].iter()), [(0xc000_0201, 0xc000_0201)]);
    }

    #[test]
    fn parts_of_a_concatenation_are_padded() {
        assert_eq!(concatenate(&[&[6], &[0, 53]]), [6, 0, 0, 0, 0, 53, 0, 0]);
        assert_eq!(pinned_key("192.0.2.1".parse().unwrap(), MacAddr([2, 0, 0, 0, 0, 1])).len(), 12);
    }
}
