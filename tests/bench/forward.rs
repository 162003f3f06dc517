//! What our table adds to forwarding a packet, as a ratio to plain forwarding, with 1 to 10 000 grants present.
//!
//! Every variant stands in namespaces of its own: plain forwarding (no rule at all), the real gateway program in
//! both layouts, each with grants that are counted and with grants that are limited too, and, as peers do it, one
//! rule for each client and direction, with the measured client's the last. A second plain one shows the noise.
//! Variants are measured in turn, forwards and backwards; a ratio is the median of the rounds' ratios.
//! How a packet's cost is read: `support/forwarding.rs`.

#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};
use support::bench::{Quiet, grants, guest, kernel, limited_grants, load, median, quantile, rounded};
use support::daemons::WAYLEAVE;
use support::forwarding::{Router, Sender, Way};
use support::frame::{Mac, mac_text};
use support::lab::BRIDGE;

const PRESENT: [u32; 4] = [1, 100, 1_000, 10_000];
const ROUNDS: usize = 25;
/// CPU time of one sample.
const SAMPLE: Duration = Duration::from_millis(20);
const GOAL: f64 = 1.2;
/// Never used up here.
const QUOTA: u64 = 1 << 50;

struct Variant {
    name: &'static str,
    router: Router,
    rules: Rules,
}

enum Rules {
    None,
    Ours { gateway: Quiet, limited: bool },
    PerClient,
}

fn main() {
    let load_before = load();
    let variants = [
        Variant::new("plain", |_| Rules::None),
        Variant::new("plain_again", |_| Rules::None),
        Variant::new("netdev", |router| ours(router, "netdev", false)),
        Variant::new("netdev_limited", |router| ours(router, "netdev", true)),
        Variant::new("bridge", |router| ours(router, "bridge", false)),
        Variant::new("bridge_limited", |router| ours(router, "bridge", true)),
        Variant::new("rule_per_client", |_| Rules::PerClient),
    ];
    let mut present = 0;
    let mut figures = Map::new();
    let mut plain_ns = Map::new();
    let (mut worst, mut forwarded) = (0.0_f64, 1.0_f64);
    for n in PRESENT {
        for variant in &variants {
            variant.grow(present, n);
        }
        present = n;
        let ways = [(Way::Up, "up"), (Way::Down, "down")]
            .map(|(way, word)| (word, measure(&variants, way, &mut forwarded)));
        let mut rows = Map::new();
        for (at, variant) in variants.iter().enumerate() {
            let mut row = Map::new();
            for (word, costs) in &ways {
                let ratios: Vec<f64> =
                    costs[at].iter().zip(&costs[0]).map(|(cost, plain)| cost / plain).collect();
                let ratio = median(&ratios);
                if at == 0 {
                    plain_ns.insert(format!("{word}_{n}"), json!(median(&costs[0]).round()));
                    continue;
                }
                row.insert(format!("{word}_ratio"), json!(rounded(ratio)));
                let (low, high) = (quantile(&ratios, 0.25), quantile(&ratios, 0.75));
                println!(
                    "{n:>6} {:<16} {word:<4} {ratio:.3}  (half of the rounds {low:.3} to {high:.3})",
                    variant.name
                );
                if n == PRESENT[PRESENT.len() - 1] && matches!(variant.rules, Rules::Ours { .. }) {
                    worst = worst.max(ratio);
                }
            }
            if at > 0 {
                rows.insert(variant.name.to_owned(), Value::Object(row));
            }
        }
        figures.insert(n.to_string(), Value::Object(rows));
    }
    let line = json!({
        "n": figures,
        "worst_ratio_of_ours_at_10000": rounded(worst),
        "goal": GOAL,
        "plain_ns_per_packet": plain_ns,
        "forwarded": forwarded,
        "rounds": ROUNDS,
        "load_before": load_before,
        "kernel": kernel(),
    });
    println!("{line}");
}

impl Variant {
    fn new(name: &'static str, rules: impl FnOnce(&Router) -> Rules) -> Self {
        let router = Router::new((Ipv4Addr::new(10, 77, 0, 1), 16));
        router.add_client(guest(0), address(0));
        let rules = rules(&router);
        Self { name, router, rules }
    }

    /// From so many clients to so many.
    fn grow(&self, from: u32, to: u32) {
        let stations = (from..to).map(guest);
        match &self.rules {
            Rules::None => {}
            Rules::Ours { gateway, limited } => {
                let request = if *limited { limited_grants(stations, QUOTA) } else { grants(stations) };
                gateway.caller().ask(&request);
            }
            Rules::PerClient => {
                let file = self.router.dir.path().join("rules.nft");
                fs::write(&file, rules_for(to)).expect("a file");
                self.router.gateway.run(&format!("nft -f {}", file.display()));
            }
        }
    }
}

fn ours(router: &Router, layout: &str, limited: bool) -> Rules {
    let more = format!("[enforcement]\nlayout = \"{layout}\"\n");
    let gateway = Quiet::start_with(Path::new(WAYLEAVE), &router.gateway, router.dir.path(), &more);
    Rules::Ours { gateway, limited }
}

/// For each variant the CPU time of a packet, one for each round. `forwarded`: the least share of a sample that
/// came out at the other end.
fn measure(variants: &[Variant], way: Way, forwarded: &mut f64) -> Vec<Vec<f64>> {
    let senders: Vec<Sender<'_>> =
        variants.iter().map(|variant| variant.router.sender(way, guest(0), address(0))).collect();
    for sender in &senders {
        sender.cost(SAMPLE / 4);
    }
    let mut costs = vec![Vec::new(); variants.len()];
    for round in 0..ROUNDS {
        for turn in 0..variants.len() {
            let at = if round % 2 == 0 { turn } else { variants.len() - 1 - turn };
            let cost = senders[at].cost(SAMPLE);
            *forwarded = forwarded.min(cost.arrived as f64 / cost.sent as f64);
            assert!(cost.arrived >= cost.sent, "{} does not forward: {cost:?}", variants[at].name);
            costs[at].push(cost.ns_per_packet);
        }
    }
    costs
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 77, 1, 0)) + number)
}

/// One rule for each client and direction, as peers have it; client 0 comes last.
fn rules_for(clients: u32) -> String {
    let (mut up, mut down) = (String::new(), String::new());
    for number in (0..clients).rev() {
        let (station, address): (Mac, _) = (guest(number), address(number));
        let _ = writeln!(up, "ether saddr {} ip saddr {address} counter accept", mac_text(station));
        let _ = writeln!(down, "ip daddr {address} counter accept");
    }
    format!(
        "table inet peer\ndelete table inet peer\ntable inet peer {{\n\
         chain up {{\n{up}}}\nchain down {{\n{down}}}\n\
         chain forward {{\ntype filter hook forward priority filter; policy drop;\n\
         iifname \"{BRIDGE}\" goto up\noifname \"{BRIDGE}\" goto down\n}}\n}}\n"
    )
}
