//! How long an eviction takes: until nothing passes any more, and until everything is freed.
//!
//! A station that is associated, has a DHCP lease and 50 flows sends all the time; 10 000 others have grants
//! and the table of flows holds 10 000. `blocked`: from the request written to the last packet that the peer on
//! the internet received, by its own clock reading; `freed`: to the answer with the whole report read. Both
//! in one process, one clock. What the peer's thread is scheduled late is in `blocked`.

#[path = "../netns_adapters/flows.rs"]
mod flows;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::bench::{Caller, Quiet, grants, guest, load, median, quantile, rounded};
use support::daemons::WAYLEAVE;
use support::dnsmasq::Dnsmasq;
use support::frame::mac_text;
use support::lab::{BRIDGE, INTERNET_V4, INTERNET_V6, Lab, STATION};
use support::stream::Stream;
use support::wait::{SOON, wait_until};
use support::wired::{associate, crowd_mac};
use support::{dhcp, hostapd};

const GRANTS: u32 = 10_000;
const FLOWS: u16 = 10_000;
const OWN_FLOWS: u16 = 50;
const PER_SECOND: u32 = 20_000;
const EVICTIONS: usize = 200;

fn main() {
    let load_before = load();
    let lab = Lab::with_stations(1);
    lab.stations[0].netns.ip(&format!("link set {STATION} address {}", mac_text(crowd_mac(1))));
    // It keeps to the addresses that the flows below are made for.
    lab.stations[0].netns.sysctl(&format!("net.ipv6.conf.{STATION}.accept_ra"), "0");
    let _hostapd: hostapd::Hostapd = lab.hostapd();
    let _dnsmasq = Dnsmasq::start(&lab.gateway, BRIDGE, lab.path(), "");
    let gateway = Quiet::start(Path::new(WAYLEAVE), &lab.gateway, lab.path());
    let mut caller = gateway.caller();
    caller.ask(&grants((0..GRANTS).map(guest)));
    lab.gateway.enter(|| flows::add((0..FLOWS - OWN_FLOWS).map(flow_of_others)));

    let stream = lab.stream_up(0, false, PER_SECOND);
    let mut evictions = Vec::new();
    for number in 0..EVICTIONS {
        evictions.push(evict(&lab, &mut caller, &stream, number));
    }
    let buckets = number_in(&lab, "net.netfilter.nf_conntrack_buckets");
    let tally = stream.stop();

    let blocked: Vec<f64> = evictions
        .iter()
        .map(|eviction| {
            // Until the next grant everything that arrives came through after the request.
            let last = tally
                .arrived
                .iter()
                .map(|(_, at)| *at)
                .filter(|at| (eviction.granted..eviction.over).contains(at))
                .max()
                .expect("the station was heard before it was evicted");
            last.saturating_duration_since(eviction.begin).as_secs_f64() * 1e3
        })
        .collect();
    let freed: Vec<f64> =
        evictions.iter().map(|eviction| (eviction.end - eviction.begin).as_secs_f64() * 1e3).collect();
    let mut steps: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for step in evictions.iter().flat_map(|eviction| eviction.report["steps"].as_array().expect("steps")) {
        assert!(step["outcome"].get("failed").is_none(), "{step}");
        let word = step["step"].as_str().expect("a word").to_owned();
        steps.entry(word).or_default().push(step["took_us"].as_f64().expect("a number"));
    }
    let steps_us_p50: BTreeMap<&String, f64> =
        steps.iter().map(|(word, took)| (word, median(took))).collect();
    let figures = json!({
        "n": EVICTIONS,
        "grants": GRANTS,
        "flows": FLOWS,
        "flows_freed_p50": median(&evictions.iter().map(|eviction| eviction.flows).collect::<Vec<_>>()),
        "packets_per_s": PER_SECOND,
        "conntrack_buckets": buckets,
        "blocked_ms_p50": rounded(median(&blocked)),
        "blocked_ms_p99": rounded(quantile(&blocked, 0.99)),
        "freed_ms_p50": rounded(median(&freed)),
        "freed_ms_p99": rounded(quantile(&freed, 0.99)),
        "steps_us_p50": steps_us_p50,
        "load_before": load_before,
    });
    println!("{figures}");
}

struct Eviction {
    granted: Instant,
    begin: Instant,
    end: Instant,
    /// Before the next grant.
    over: Instant,
    report: Value,
    flows: f64,
}

fn evict(lab: &Lab, caller: &mut Caller, stream: &Stream, number: usize) -> Eviction {
    let station = &lab.stations[0];
    let accepted = associate(&station.netns, STATION, 1, 1, SOON).accepted;
    assert_eq!(accepted.len(), 1, "hostapd did not let the station in");
    dhcp::lease_v4(&station.netns, STATION, lab.path());
    let granted = Instant::now();
    caller.ask(&grants([crowd_mac(1)]));
    assert!(station.reaches(INTERNET_V4) && station.reaches(INTERNET_V6));
    let (v4, v6) = (IpAddr::V4(station.v4), IpAddr::V6(station.v6));
    lab.gateway.enter(|| {
        let half = OWN_FLOWS / 2;
        flows::add((0..half).map(|n| flow(v4, INTERNET_V4.into(), 3_000 + n)));
        flows::add((0..half).map(|n| flow(v6, INTERNET_V6.into(), 3_000 + n)));
    });
    if number == 0 {
        let flows = number_in(lab, "net.netfilter.nf_conntrack_count");
        assert!(flows >= u64::from(FLOWS), "{flows} flows");
    }
    let before = stream.arrived();
    wait_until("the station's packets to arrive", SOON, || stream.arrived() > before + 100);
    // Not in step with anything.
    std::thread::sleep(Duration::from_micros(number as u64 * 7_919 % 20_000));
    let request = json!({"verb": "evict", "target": {"station": mac_text(crowd_mac(1))}});
    let (begin, end, answer) = caller.timed(&request);
    std::thread::sleep(Duration::from_millis(20));
    let report = answer["report"].clone();
    let steps = report["steps"].as_array().expect("steps");
    let flows = steps.iter().find(|step| step["step"] == "flows").expect("a step");
    let flows = flows["outcome"]["done"]["freed"].as_f64().expect("it was done");
    assert!(flows >= f64::from(OWN_FLOWS), "{report}");
    Eviction { granted, begin, end, over: Instant::now(), report, flows }
}

type Flow = (SocketAddr, SocketAddr, SocketAddr);

fn flow(from: IpAddr, to: IpAddr, port: u16) -> Flow {
    let to = SocketAddr::new(to, 53);
    (SocketAddr::new(from, port), to, to)
}

/// Every third of them IPv6.
fn flow_of_others(number: u16) -> Flow {
    let [high, low] = number.to_be_bytes();
    match number % 3 {
        0 => flow(IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0x300, number]), INTERNET_V6.into(), 2_000),
        _ => flow(IpAddr::from([10, 77, high, low]), INTERNET_V4.into(), 2_000),
    }
}

fn number_in(lab: &Lab, key: &str) -> u64 {
    lab.gateway.run(&format!("sysctl -n {key}")).trim().parse().expect("a number")
}
