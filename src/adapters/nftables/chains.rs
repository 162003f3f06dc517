//! The chains: which packets pass, in the words of nft.
//!
//! Every rule carries its nft text as a comment in the kernel, so `nft list table … wayleave` reads like this
//! file. What nobody lets pass ends at a rule that says so, not at a policy: a new base chain is hooked in, without
//! rules, while its transaction is still being prepared, and a policy of drop would stop everybody for so long.
//! In both layouts a station with a grant is found by one look-up; nothing here grows with their number.

use std::net::IpAddr;

#[cfg(feature = "portal")]
use super::captive::{web_in, web_out};
use super::expr::Expr::{Count, Equal, In, Map, NotIn, Payload, WithinQuotaOf};
use super::expr::Register::{C0, C1, C4, R1};
use super::expr::{Base, Expr, Field, Meta, Register, Verdict, field};
use crate::wire::local::Layout;

/// A chain to be declared.
pub(super) struct Chain {
    pub name: &'static str,
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// Where a base chain hangs.
pub(super) struct Hook {
    /// `enum nf_dev_hooks` or `enum nf_inet_hooks`.
    pub number: u32,
    pub priority: i32,
}

/// A rule and what it is for.
#[derive(Clone)]
pub(super) struct Rule {
    pub comment: &'static str,
    pub expressions: Vec<Expr>,
}

/// What stations send in IPv4, and in IPv6. Their rules are [`of_stations`].
pub(super) const FROM_STATIONS: [&str; 2] = [IPV4_IN, IPV6_IN];
const IPV4_IN: &str = "ipv4_in";
const IPV6_IN: &str = "ipv6_in";

const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// IEEE 802.1X, and RSN pre-authentication.
const EAPOL: [u8; 2] = [0x88, 0x8e];
const PREAUTH: [u8; 2] = [0x88, 0xc7];
const UDP: u8 = 17;
pub(super) const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// All chains of a layout, those without hook first. `web`: whether the web of stations without a grant is marked for the
/// chains of `captive.rs`.
pub(super) fn chains(layout: Layout, web: bool) -> Vec<Chain> {
    let mut chains = vec![
        plain("arp_in", arp_in()),
        plain("nd_in", nd_in()),
        plain(IPV4_IN, Vec::new()),
        plain(IPV6_IN, Vec::new()),
        plain("open_in", open_in(web)),
        plain("open_out", open_out(web)),
        plain("limited_in", limited(field::ETHER_SADDR, "open_in")),
        plain("limited_out", limited(field::ETHER_DADDR, "open_out")),
    ];
    match layout {
        Layout::Netdev => {
            // NF_NETDEV_INGRESS and NF_NETDEV_EGRESS.
            chains.push(base("ingress", 0, -500, ingress()));
            chains.push(base("egress", 1, -500, egress()));
        }
        Layout::Bridge => {
            // NF_BR_PRE_ROUTING and NF_BR_POST_ROUTING.
            chains.push(base("ingress", 0, -500, [other_ports(Meta::Iifname), ingress()].concat()));
            chains.push(base("egress", 4, 500, [other_ports(Meta::Oifname), egress()].concat()));
            #[cfg(feature = "portal")]
            if web {
                // NF_BR_FORWARD: what is marked is for this machine.
                chains.push(base("past", 2, 0, super::captive::not_past()));
            }
        }
    }
    chains
}

fn other_ports(which: Meta) -> Vec<Rule> {
    vec![rule("other ports", [vec![Expr::Meta(which, R1), NotIn(R1, "shared")], accept()])]
}

/// What there is most of first: each rule costs each packet behind it.
fn ingress() -> Vec<Rule> {
    let others = [
        rule("IPv4", [ether_type(IPV4), goto(IPV4_IN)]),
        rule("IPv6", [ether_type(IPV6), goto(IPV6_IN)]),
        rule("address claims in ARP", [ether_type(ARP), goto("arp_in")]),
    ];
    [others.to_vec(), by_grant()].concat()
}

fn by_grant() -> Vec<Rule> {
    vec![
        rule("stations with a grant", [load(field::ETHER_SADDR), verdict_of("up")]),
        rule("everybody else", [goto("open_in")]),
    ]
}

/// The rules of [`FROM_STATIONS`], each with its chain. They depend on the prefixes of the shared interfaces, in which
/// visitors are kept apart.
pub(super) fn of_stations(visitors: &[(IpAddr, u8)]) -> Vec<(&'static str, Rule)> {
    let claims = (IPV6_IN, rule("address claims in ND", [l4proto(ICMPV6), jump("nd_in")]));
    let apart = visitors.iter().filter(|(_, length)| *length > 0).map(|prefix| apart(*prefix));
    let then =
        FROM_STATIONS.into_iter().flat_map(|chain| by_grant().into_iter().map(move |rule| (chain, rule)));
    std::iter::once(claims).chain(apart).chain(then).collect()
}

fn egress() -> Vec<Rule> {
    vec![
        rule("stations with a grant", [load(field::ETHER_DADDR), verdict_of("down")]),
        rule("everybody else", [goto("open_out")]),
    ]
}

/// What goes to an address of this prefix goes to another visitor, unless it is the gateway's or one of the two is open.
/// A comparison for each prefix, although their number changes: looking it up in one set costs five times as much, for
/// every packet.
fn apart((ip, length): (IpAddr, u8)) -> (&'static str, Rule) {
    let (chain, destination, source, gateway, open, octets) = match ip {
        IpAddr::V4(v4) => {
            (IPV4_IN, field::IP_DADDR, field::IP_SADDR, "gateway4", "open4", v4.octets().to_vec())
        }
        IpAddr::V6(v6) => {
            (IPV6_IN, field::IP6_DADDR, field::IP6_SADDR, "gateway6", "open6", v6.octets().to_vec())
        }
    };
    let parts = [
        begins_with(destination, octets, length),
        vec![Payload(destination, R1), NotIn(R1, gateway), NotIn(R1, open)],
        vec![Payload(source, R1), NotIn(R1, open)],
        vec![Expr::Verdict(Verdict::Drop)],
    ];
    (chain, rule("to another visitor", parts))
}

/// `ip daddr 10.0.0.0/20`
fn begins_with(Field(base, offset, _): Field, mut octets: Vec<u8>, length: u8) -> Vec<Expr> {
    let (whole, bits) = (usize::from(length / 8).min(octets.len()), length % 8);
    octets.truncate(whole + usize::from(bits > 0));
    let mut expressions = vec![Payload(Field(base, offset, octets.len() as u32), R1)];
    if let (true, Some(last)) = (bits > 0, octets.last_mut()) {
        let mask = 0xff << (8 - bits);
        *last &= mask;
        let mask = [vec![0xff; whole], vec![mask]].concat();
        expressions.push(Expr::Mask(R1, mask));
    }
    expressions.push(Equal(R1, octets));
    expressions
}

/// A station whose quota is used up is a station without a grant. Until its low mark a packet meets one rule; the kernel
/// announces the first that goes beyond, and counts on.
fn limited(station: Field, otherwise: &'static str) -> Vec<Rule> {
    let (mark, quota) = (|| vec![WithinQuotaOf(R1, "low")], || vec![WithinQuotaOf(R1, "limited")]);
    vec![
        rule("bytes left", [load(station), mark(), quota(), accept()]),
        rule("few bytes left", [load(station), quota(), accept()]),
        rule("bytes used up", [goto(otherwise)]),
    ]
}

/// RFC 826: who says which address is whose. The sender's address must be its own.
fn arp_in() -> Vec<Rule> {
    vec![
        rule(
            "claims the gateway's address",
            [load(field::ARP_SADDR_IP), vec![In(R1, "gateway4")], spoofed()],
        ),
        rule(
            "claims another station's address",
            [
                load(field::ARP_SADDR_IP),
                vec![In(R1, "claimed4")],
                vec![
                    Payload(field::ARP_SADDR_IP, C0),
                    Payload(field::ARP_SADDR_ETHER, C1),
                    NotIn(C0, "pinned4"),
                ],
                spoofed(),
            ],
        ),
        rule("other ARP", [accept()]),
    ]
}

/// RFC 4861: the same for neighbour discovery; stations are no routers.
fn nd_in() -> Vec<Rule> {
    let icmp_type = |kind: u8| vec![Payload(field::ICMP_TYPE, R1), Equal(R1, vec![kind])];
    vec![
        rule("router advertisement", [icmp_type(134), spoofed()]),
        rule("redirect", [icmp_type(137), spoofed()]),
        rule("speaks as the gateway", [load(field::IP6_SADDR), vec![In(R1, "gateway6")], spoofed()]),
        rule(
            "claims the gateway's address",
            [icmp_type(136), load(field::ND_TARGET), vec![In(R1, "gateway6")], spoofed()],
        ),
        rule(
            "speaks as another station",
            [
                load(field::IP6_SADDR),
                vec![In(R1, "claimed6")],
                vec![Payload(field::IP6_SADDR, C0), Payload(field::ETHER_SADDR, C4), NotIn(C0, "pinned6")],
                spoofed(),
            ],
        ),
        rule(
            "claims another station's address",
            [
                icmp_type(136),
                load(field::ND_TARGET),
                vec![In(R1, "claimed6")],
                vec![Payload(field::ND_TARGET, C0), Payload(field::ETHER_SADDR, C4), NotIn(C0, "pinned6")],
                spoofed(),
            ],
        ),
    ]
}

/// What a station without a grant may send.
fn open_in(web: bool) -> Vec<Rule> {
    let to4 = |set| vec![Payload(field::IP_DADDR, R1), In(R1, set)];
    let to6 = |set| vec![Payload(field::IP6_DADDR, R1), In(R1, set)];
    let (v4, v6) = (|| ether_type(IPV4), || ether_type(IPV6));
    let mut rules = vec![
        rule("802.1X", [ether_type(EAPOL), accept()]),
        rule("pre-authentication", [ether_type(PREAUTH), accept()]),
        rule(
            "DHCP broadcast",
            [v4(), vec![Payload(field::IP_DADDR, R1), Equal(R1, vec![255; 4])], ports(UDP, 68, 67), accept()],
        ),
        rule("DHCP to the gateway", [v4(), to4("gateway4"), ports(UDP, 68, 67), accept()]),
        rule("services of the gateway", [v4(), to4("gateway4"), service(field::TH_DPORT), accept()]),
        rule("ping to the gateway", [v4(), to4("gateway4"), icmp(ICMP, 8), accept()]),
        rule(
            "the coordinator",
            [
                v4(),
                l4proto(TCP),
                vec![Payload(field::IP_DADDR, C0), Payload(field::TH_DPORT, C1), In(C0, "coordinator4")],
                accept(),
            ],
        ),
        rule("open prefixes", [v4(), to4("open4"), accept()]),
        rule("open names", [v4(), to4("names4"), accept()]),
        rule(
            "neighbour discovery",
            [
                v6(),
                vec![Payload(field::IP6_HOPLIMIT, R1), Equal(R1, vec![255])],
                l4proto(ICMPV6),
                vec![Payload(field::ICMP_TYPE, R1), In(R1, "nd_types")],
                accept(),
            ],
        ),
        rule(
            "listener reports",
            [
                v6(),
                vec![Payload(Field(Base::Network, 24, 1), R1), Equal(R1, vec![0xff])],
                l4proto(ICMPV6),
                vec![Payload(field::ICMP_TYPE, R1), In(R1, "mld_types")],
                accept(),
            ],
        ),
        rule(
            "DHCPv6",
            [
                v6(),
                vec![Payload(field::IP6_DADDR, R1), Equal(R1, ALL_DHCP_AGENTS.to_vec())],
                ports(UDP, 546, 547),
                accept(),
            ],
        ),
        rule("DHCPv6 to the gateway", [v6(), to6("gateway6"), ports(UDP, 546, 547), accept()]),
        rule("services of the gateway", [v6(), to6("gateway6"), service(field::TH_DPORT), accept()]),
        rule("ping to the gateway", [v6(), to6("gateway6"), icmp(ICMPV6, 128), accept()]),
        rule(
            "the coordinator",
            [
                v6(),
                l4proto(TCP),
                vec![Payload(field::IP6_DADDR, C0), Payload(field::TH_DPORT, C4), In(C0, "coordinator6")],
                accept(),
            ],
        ),
        rule("open prefixes", [v6(), to6("open6"), accept()]),
        rule("open names", [v6(), to6("names6"), accept()]),
    ];
    rules.extend(web_in(web));
    rules.push(rule("no grant", [vec![Count("refused"), Expr::Verdict(Verdict::Drop)]]));
    rules
}

#[cfg(not(feature = "portal"))]
fn web_in(_: bool) -> [Rule; 0] {
    []
}

#[cfg(not(feature = "portal"))]
fn web_out(_: bool) -> [Rule; 0] {
    []
}

/// ff02::1:2 (RFC 8415, 7.1).
const ALL_DHCP_AGENTS: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];

/// What may be sent to a station without a grant: the answers to the above.
fn open_out(web: bool) -> Vec<Rule> {
    let from4 = |set| vec![Payload(field::IP_SADDR, R1), In(R1, set)];
    let from6 = |set| vec![Payload(field::IP6_SADDR, R1), In(R1, set)];
    let (v4, v6) = (|| ether_type(IPV4), || ether_type(IPV6));
    let mut rules = vec![
        rule("ARP", [ether_type(ARP), accept()]),
        rule("802.1X", [ether_type(EAPOL), accept()]),
        rule("pre-authentication", [ether_type(PREAUTH), accept()]),
        rule("DHCP", [v4(), from4("gateway4"), ports(UDP, 67, 68), accept()]),
        rule("services of the gateway", [v4(), from4("gateway4"), service(field::TH_SPORT), accept()]),
        rule("ICMP of the gateway", [v4(), from4("gateway4"), l4proto(ICMP), accept()]),
        rule(
            "the coordinator",
            [
                v4(),
                l4proto(TCP),
                vec![Payload(field::IP_SADDR, C0), Payload(field::TH_SPORT, C1), In(C0, "coordinator4")],
                accept(),
            ],
        ),
        rule("open prefixes", [v4(), from4("open4"), accept()]),
        rule("open names", [v4(), from4("names4"), accept()]),
        rule(
            "neighbour discovery",
            [v6(), vec![Payload(field::IP6_HOPLIMIT, R1), Equal(R1, vec![255])], icmp(ICMPV6, 135), accept()],
        ),
        rule("ICMPv6 of the gateway", [v6(), from6("gateway6"), l4proto(ICMPV6), accept()]),
        rule("DHCPv6", [v6(), from6("gateway6"), ports(UDP, 547, 546), accept()]),
        rule("services of the gateway", [v6(), from6("gateway6"), service(field::TH_SPORT), accept()]),
        rule(
            "the coordinator",
            [
                v6(),
                l4proto(TCP),
                vec![Payload(field::IP6_SADDR, C0), Payload(field::TH_SPORT, C4), In(C0, "coordinator6")],
                accept(),
            ],
        ),
        rule("open prefixes", [v6(), from6("open6"), accept()]),
        rule("open names", [v6(), from6("names6"), accept()]),
    ];
    rules.extend(web_out(web));
    rules.push(rule("no grant", [vec![Expr::Verdict(Verdict::Drop)]]));
    rules
}

fn plain(name: &'static str, rules: Vec<Rule>) -> Chain {
    Chain { name, hook: None, rules }
}

pub(super) fn base(name: &'static str, number: u32, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { name, hook: Some(Hook { number, priority }), rules }
}

pub(super) fn rule<const N: usize>(comment: &'static str, parts: [Vec<Expr>; N]) -> Rule {
    Rule { comment, expressions: parts.into_iter().flatten().collect() }
}

/// `meta protocol …`
fn ether_type(kind: [u8; 2]) -> Vec<Expr> {
    vec![Expr::Meta(Meta::Protocol, R1), Equal(R1, kind.to_vec())]
}

/// `meta l4proto …`
pub(super) fn l4proto(protocol: u8) -> Vec<Expr> {
    vec![Expr::Meta(Meta::L4proto, R1), Equal(R1, vec![protocol])]
}

fn ports(protocol: u8, source: u16, destination: u16) -> Vec<Expr> {
    let mut expressions = l4proto(protocol);
    for (field, port) in [(field::TH_SPORT, source), (field::TH_DPORT, destination)] {
        expressions.extend([Payload(field, R1), Equal(R1, port.to_be_bytes().to_vec())]);
    }
    expressions
}

fn icmp(protocol: u8, kind: u8) -> Vec<Expr> {
    let mut expressions = l4proto(protocol);
    expressions.extend([Payload(field::ICMP_TYPE, R1), Equal(R1, vec![kind])]);
    expressions
}

/// `meta l4proto . th dport @services`
fn service(port: Field) -> Vec<Expr> {
    vec![Expr::Meta(Meta::L4proto, C0), Payload(port, C1), In(C0, "services")]
}

fn load(field: Field) -> Vec<Expr> {
    vec![Payload(field, R1)]
}

/// `… vmap @map`
fn verdict_of(map: &'static str) -> Vec<Expr> {
    vec![Map(R1, map, Register::Verdict)]
}

pub(super) fn accept() -> Vec<Expr> {
    vec![Expr::Verdict(Verdict::Accept)]
}

fn jump(chain: &'static str) -> Vec<Expr> {
    vec![Expr::Verdict(Verdict::Jump(chain))]
}

fn goto(chain: &'static str) -> Vec<Expr> {
    vec![Expr::Verdict(Verdict::Goto(chain))]
}

fn spoofed() -> Vec<Expr> {
    vec![Count("spoofed"), Expr::Verdict(Verdict::Drop)]
}
