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
use support::forwarding::{Costs, Router, Sender, Way};
use support::frame::{Mac, mac_text};
use support::lab::BRIDGE;

const PRESENT: [u32; 4] = [1, 100, 1_000, 10_000];
const ROUNDS: usize = 25;
/// CPU time of one sample.
const SAMPLE: Duration = Duration::from_millis(20);
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
    let (mut worst_counted, mut worst_limited, mut forwarded) = (0.0_f64, 0.0_f64, f64::INFINITY);
    for n in PRESENT {
        for variant in &variants {
            variant.grow(present, n);
        }
        present = n;
        let ways = [(Way::Up, "up"), (Way::Down, "down")].map(|(way, word)| (word, measure(&variants, way)));
        let mut rows = Map::new();
        for (word, costs) in &ways {
            forwarded = forwarded.min(costs.forwarded);
            plain_ns.insert(format!("{word}_{n}"), json!(median(&costs.ns[0]).round()));
        }
        for (at, variant) in variants.iter().enumerate().skip(1) {
            let mut row = Map::new();
            for (word, costs) in &ways {
                let ratios = costs.ratios(at);
                let (ratio, low, high) = (median(&ratios), quantile(&ratios, 0.25), quantile(&ratios, 0.75));
                let name = variant.name;
                println!(
                    "{n:>6} {name:<15} {word:<4} {ratio:.3}  (half of the rounds {low:.3} to {high:.3})"
                );
                row.insert(format!("{word}_ratio"), json!(rounded(ratio)));
                match variant.rules {
                    _ if Some(&n) != PRESENT.last() => {}
                    Rules::Ours { limited: false, .. } => worst_counted = worst_counted.max(ratio),
                    Rules::Ours { limited: true, .. } => worst_limited = worst_limited.max(ratio),
                    Rules::None | Rules::PerClient => {}
                }
            }
            rows.insert(variant.name.to_owned(), Value::Object(row));
        }
        figures.insert(n.to_string(), Value::Object(rows));
    }
    let line = json!({
        "n": figures,
        "worst_at_10000": {"counted": rounded(worst_counted), "limited": rounded(worst_limited)},
        "plain_ns_per_packet": plain_ns,
        "forwarded": rounded(forwarded),
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

fn measure(variants: &[Variant], way: Way) -> Costs {
    let paths: Vec<Sender<'_>> =
        variants.iter().map(|variant| variant.router.sender(way, guest(0), address(0))).collect();
    Costs::of(&paths, ROUNDS, SAMPLE)
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
