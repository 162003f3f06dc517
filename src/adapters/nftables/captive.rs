//! The table `inet wayleave`: stations without a grant meet the portal.
//!
//! Who has no grant is decided in `chains.rs` alone: there the web of such a station (TCP ports 80 and 443) is marked, and let
//! up to this machine. Here what is marked goes to the portal, or is reset; nothing of it is ever forwarded. What this machine
//! answers is marked too, so that it is let down. A packet of a station with a grant has no mark and meets one comparison.
//!
//! Port 443 is never redirected: nobody but its owner can answer there. A reset says so at once.

use super::chains::{Chain, Hook, Rule, TCP, accept, l4proto, rule};
use super::codec::{Batch, Family, flags, message};
use super::expr::Expr::{Equal, Load, Mask, Payload, Redirect, Reset, SetMeta};
use super::expr::Register::R1;
use super::expr::{Expr, Meta, Verdict, field};
use super::ruleset::{Ruleset, TABLE, comment, render_rule, table_flags};

/// "Wy" and nothing that the marks of usual programs for several uplinks have.
const MARK: u32 = 0x5779_0000;

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
const RST: u8 = 0x04;

/// A chain of this table with its type.
struct Typed(&'static str, Chain);

/// What a station without a grant sends to the web.
pub(super) fn web_in(web: bool) -> Vec<Rule> {
    let to = |port: u16| vec![Payload(field::TH_DPORT, R1), Equal(R1, port.to_be_bytes().to_vec())];
    let marked = |comment, port| rule(comment, [l4proto(TCP), to(port), mark(), accept()]);
    match web {
        true => vec![marked("to the portal", HTTP), marked("to be reset", HTTPS)],
        false => Vec::new(),
    }
}

/// What this machine answers to it.
pub(super) fn web_out(web: bool) -> Vec<Rule> {
    if web { vec![rule("of the portal", [is_marked(), accept()])] } else { Vec::new() }
}

/// Layout `bridge`: a frame for another port would not meet this table.
pub(super) fn not_past() -> Vec<Rule> {
    vec![rule("only to this machine", [is_marked(), vec![Expr::Verdict(Verdict::Drop)]])]
}

/// How many rules the table has.
pub(super) fn rules() -> usize {
    chains(0).iter().map(|Typed(_, chain)| chain.rules.len()).sum()
}

/// Takes the table away.
pub(super) fn remove(batch: &mut Batch) {
    batch.message(message::DEL_TABLE, Family::Inet, 0, |table| table.text(1, TABLE));
}

impl Ruleset {
    /// The table, in the same transaction as the other one.
    pub(super) fn render_captive(&self, batch: &mut Batch, port: u16, fingerprint: &str) {
        let family = Family::Inet;
        batch.message(message::NEW_TABLE, family, flags::CREATE, |table| {
            table.text(1, TABLE);
            table.be32(2, table_flags(self.owned));
            table.bytes(6, &comment(fingerprint));
        });
        render(batch, TABLE, port);
    }
}

/// The chains in a table that is not to stay: whether the kernel can do what they say.
pub(super) fn declare(batch: &mut Batch, table: &str) {
    render(batch, table, HTTP);
}

fn render(batch: &mut Batch, table: &str, port: u16) {
    let family = Family::Inet;
    for Typed(kind, chain) in chains(port) {
        batch.message(message::NEW_CHAIN, family, flags::CREATE, |attributes| {
            attributes.text(1, table);
            attributes.text(3, chain.name);
            if let Some(hook) = &chain.hook {
                attributes.nest(4, |hooks| {
                    hooks.be32(1, hook.number);
                    hooks.be32(2, hook.priority as u32);
                });
                attributes.be32(5, 1);
                attributes.text(7, kind);
            }
        });
        for rule in &chain.rules {
            render_rule(batch, family, table, chain.name, rule);
        }
    }
}

fn chains(port: u16) -> Vec<Typed> {
    let from = |port: u16| vec![Payload(field::TH_SPORT, R1), Equal(R1, port.to_be_bytes().to_vec())];
    let to = |port: u16| vec![Payload(field::TH_DPORT, R1), Equal(R1, port.to_be_bytes().to_vec())];
    let redirect = || vec![Load(R1, port.to_be_bytes().to_vec()), Redirect(R1)];
    let resets = || vec![Payload(field::TCP_FLAGS, R1), Mask(R1, vec![RST]), Equal(R1, vec![RST])];
    vec![
        // NF_INET_PRE_ROUTING, where destinations are translated (NF_IP_PRI_NAT_DST).
        base(
            "nat",
            "redirect",
            (0, -100),
            vec![rule("the portal", [is_marked(), l4proto(TCP), to(HTTP), redirect()])],
        ),
        // NF_INET_FORWARD, before whatever the owner decides there.
        base(
            "filter",
            "refuse",
            (2, -10),
            vec![
                rule("not intercepted", [is_marked(), l4proto(TCP), vec![Reset]]),
                rule("nor let through", [is_marked(), vec![Expr::Verdict(Verdict::Drop)]]),
            ],
        ),
        // NF_INET_LOCAL_OUT.
        base(
            "filter",
            "answer",
            (3, 0),
            vec![
                rule("of the portal", [l4proto(TCP), from(port), mark()]),
                rule("resets", [l4proto(TCP), resets(), mark()]),
            ],
        ),
    ]
}

fn base(kind: &'static str, name: &'static str, (number, priority): (u32, i32), rules: Vec<Rule>) -> Typed {
    Typed(kind, Chain { name, hook: Some(Hook { number, priority }), rules })
}

/// `meta mark set …`
fn mark() -> Vec<Expr> {
    vec![Load(R1, MARK.to_ne_bytes().to_vec()), SetMeta(Meta::Mark, R1)]
}

/// `meta mark …`
fn is_marked() -> Vec<Expr> {
    vec![Expr::Meta(Meta::Mark, R1), Equal(R1, MARK.to_ne_bytes().to_vec())]
}
