//! How exactly a quota ends, how soon its low mark is heard of, and what a top-up costs those who send.
//!
//! `overshoot_bytes_max`, `short_bytes_max`: layer-3 bytes that a station got beyond its quota, or did not get of it, by
//! what the far end received, with datagrams sent as fast as they go, up, down and both ways, in both families. Layout
//! `netdev` counts the Ethernet header of what is sent to the station: 14 octets a packet are short of its quota. `low_mark_ms`: from the arrival of the first packet
//! beyond the mark to the event in the hands of who watches. `portal_requests_per_s`: pages of the portal, each with its style
//! and script, which 256 addresses load at once, each request by a connection of its own, again and again;
//! `portal_rss_bytes` is the most memory (`VmRSS`) that was seen meanwhile, of the build for routers. `topup_gap_packets`: packets of a stream that are
//! missing while its grant is topped up again and again.

#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::bench::{Quiet, kernel, load, median, quantile, rounded, rss_bytes};
use support::daemons::{Events, Gateway};
use support::lab::{CROWD, GATEWAY_V4, INTERNET_V4, INTERNET_V6, Lab};
use support::stream::{Stream, Tally};
use support::wait::{SOON, wait_until};

/// Octets of payload.
const LENGTH: usize = 1372;
/// More than the sender can do.
const AS_FAST_AS_IT_GOES: u32 = 1_000_000;
const QUOTA: u64 = 8_000_000;
const ROUNDS: u64 = 5;
const MARKS: u64 = 50;
const MARKED_PER_SECOND: u32 = 10_000;
const PHONES: u16 = 256;
const LOADS: usize = 4;
const TOPUPS: u32 = 200;
const TOPPED_PER_SECOND: u32 = 20_000;

fn main() {
    let load_before = load();
    let mut layouts = serde_json::Map::new();
    let (mut overshoot, mut low_mark, mut gap) = (0_u64, 0.0_f64, 0_usize);
    for layout in ["netdev", "bridge"] {
        let lab = Lab::with_stations(1);
        let gateway =
            Gateway::start(&lab, &format!("[enforcement]\nlayout = \"{layout}\"\nspent_wait = \"0s\"\n"));
        let mut events = gateway.watch();
        let mut ends = serde_json::Map::new();
        for (way, up, down) in [("up", true, false), ("down", false, true), ("both", true, true)] {
            for v6 in [false, true] {
                let ended: Vec<(u64, u64)> = (0..ROUNDS)
                    .map(|round| end(&lab, &gateway, &mut events, [up, down], v6, round))
                    .collect();
                let beyond = ended.iter().map(|(beyond, _)| *beyond).max().expect("rounds");
                let short = ended.iter().map(|(_, short)| *short).max().expect("rounds");
                overshoot = overshoot.max(beyond);
                let name = format!("{way}_{}", if v6 { "v6" } else { "v4" });
                ends.insert(name, json!({"overshoot_bytes_max": beyond, "short_bytes_max": short}));
            }
        }
        let marks: Vec<f64> = (0..MARKS).map(|round| mark(&lab, &gateway, &mut events, round)).collect();
        let p99 = quantile(&marks, 0.99);
        let missing = topups(&lab, &gateway);
        (low_mark, gap) = (low_mark.max(p99), gap.max(missing));
        layouts.insert(
            layout.to_owned(),
            json!({
                "ends": ends,
                "low_mark_ms_p50": rounded(median(&marks)),
                "low_mark_ms_p99": rounded(p99),
                "topup_gap_packets": missing,
            }),
        );
    }
    let portal = portal();
    let figures = json!({
        "quota_bytes": QUOTA,
        "layouts": layouts,
        "overshoot_bytes_max": overshoot,
        "low_mark_ms_p99": rounded(low_mark),
        "topups": TOPUPS,
        "topup_gap_packets": gap,
        "portal_requests_per_s": portal.per_s,
        "portal_rss_bytes": portal.rss,
        "portal_rss_bytes_before": portal.rss_before,
        "portal_page_ms_p50": portal.p50,
        "portal_page_ms_p99": portal.p99,
        "phones": PHONES,
        "kernel": kernel(),
        "load_before": load_before,
    });
    println!("{figures}");
}

fn grant(lab: &Lab, gateway: &Gateway, quota: u64) {
    let station = lab.stations[0].mac_text();
    gateway.ask(json!({"verb": "grant", "grants": [{"station": station, "quota": quota}]}));
}

/// Layer-3 bytes that arrived.
fn bytes(tally: &Tally, v6: bool) -> u64 {
    tally.arrived.len() as u64 * packet(v6)
}

/// With the headers of UDP and IP.
fn packet(v6: bool) -> u64 {
    LENGTH as u64 + 8 + if v6 { 40 } else { 20 }
}

/// One quota, used up: bytes beyond it, and bytes short of it.
fn end(
    lab: &Lab,
    gateway: &Gateway,
    events: &mut Events,
    [up, down]: [bool; 2],
    v6: bool,
    round: u64,
) -> (u64, u64) {
    // It never ends where a packet does twice.
    let quota = QUOTA + round * 337;
    grant(lab, gateway, quota);
    let station = &lab.stations[0];
    assert!(if v6 { station.reaches(INTERNET_V6) } else { station.reaches(INTERNET_V4) });
    let streams: Vec<Stream> = [(up, true), (down, false)]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, up)| lab.stream(0, up, v6, AS_FAST_AS_IT_GOES, LENGTH))
        .collect();
    let report = events.next("evicted")["report"].clone();
    assert_eq!(report["cause"], "quota", "{report}");
    let passed: u64 = streams.into_iter().map(|stream| bytes(&stream.stop(), v6)).sum();
    assert!(passed > quota / 2, "{passed} of {quota} bytes passed");
    (passed.saturating_sub(quota), quota.saturating_sub(passed))
}

/// Milliseconds from the first packet beyond the low mark to the event.
fn mark(lab: &Lab, gateway: &Gateway, events: &mut Events, round: u64) -> f64 {
    let quota = 4_000_000 + round * 337;
    grant(lab, gateway, quota);
    let stream = lab.stream(0, true, false, MARKED_PER_SECOND, LENGTH);
    let low = events.next("low");
    let heard = Instant::now();
    let tally = stream.stop();
    gateway.evict(lab.stations[0].mac);
    let mark = quota - quota / 10;
    let first = usize::try_from(mark / packet(false)).expect("few");
    let (_, crossed) = tally.arrived.get(first).unwrap_or_else(|| panic!("{low}: heard of too early"));
    heard.saturating_duration_since(*crossed).as_secs_f64() * 1e3
}

/// Packets that are missing of a stream whose grant is topped up all the time.
fn topups(lab: &Lab, gateway: &Gateway) -> usize {
    let station = lab.stations[0].mac_text();
    grant(lab, gateway, 1 << 40);
    let stream = lab.stream(0, true, false, TOPPED_PER_SECOND, LENGTH);
    wait_until("the stream", SOON, || stream.arrived() > 100);
    for number in 1..=TOPUPS {
        let asked = json!({"verb": "topup", "target": {"station": station}, "quota": 1_000_000});
        let row: Value = gateway.ask(asked);
        assert_eq!(row["quota"], (1_u64 << 40) + u64::from(number) * 1_000_000, "{row}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let tally = stream.stop();
    gateway.evict(lab.stations[0].mac);
    assert!(tally.sent.len() > 1_000, "{} packets", tally.sent.len());
    tally.lost().len()
}

/// What the portal does.
struct Portal {
    per_s: f64,
    rss_before: u64,
    rss: u64,
    p50: f64,
    p99: f64,
}

/// A café full of telephones that come at once.
fn portal() -> Portal {
    let lab = Lab::with_stations(0);
    lab.iptables_apart();
    let more = "[portal]\nenabled = true\n[[tariff]]\nid = \"taste\"\nbytes_most = \"50MB\"\n[[tariff]]\nid = \"day\"\n\
                price = \"3.00 EUR\"\nslice = { bytes = \"5GB\", time = \"1d\" }\n";
    // What a router would run.
    let program = PathBuf::from(std::env::var("WAYLEAVE_SIZE").expect("WAYLEAVE_SIZE: ./run bench quota"));
    let gateway = Quiet::start_with(&program, &lab.gateway, lab.path(), more);
    let own = |number: u16| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 77, 20, 0)) + u32::from(number) + 1);
    let lines: Vec<String> =
        (0..PHONES).map(|number| format!("addr add {}/16 dev {CROWD}", own(number))).collect();
    lab.crowd.ip_lines(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    // Everybody is known to the gateway, as after DHCP.
    lab.crowd.enter(|| (0..PHONES).for_each(|number| drop(page(own(number), "/live.js"))));
    let pid = gateway.program.pid();
    let rss_before = rss_bytes(pid);

    let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watcher = {
        let (over, most) = (Arc::clone(&over), Arc::clone(&most));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(rss_bytes(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    let barrier = Arc::new(Barrier::new(usize::from(PHONES) + 1));
    let phones: Vec<_> = (0..PHONES)
        .map(|number| {
            let barrier = Arc::clone(&barrier);
            lab.crowd.spawn(move || {
                barrier.wait();
                let load = |_| {
                    let start = Instant::now();
                    let home = page(own(number), "/").expect("the page");
                    let took = start.elapsed().as_secs_f64() * 1e3;
                    assert!(home.contains("data-state=\"out\""), "{home}");
                    for part in ["/style.css", "/live.js"] {
                        assert!(page(own(number), part).is_some_and(|part| part.starts_with("HTTP/1.1 200")));
                    }
                    took
                };
                (0..LOADS).map(load).collect::<Vec<f64>>()
            })
        })
        .collect();
    barrier.wait();
    let start = Instant::now();
    let took: Vec<f64> = phones.into_iter().flat_map(|phone| phone.join().expect("a telephone")).collect();
    let seconds = start.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    watcher.join().expect("the watcher");
    Portal {
        per_s: rounded(3.0 * took.len() as f64 / seconds),
        rss_before,
        rss: most.load(Ordering::Relaxed),
        p50: rounded(median(&took)),
        p99: rounded(quantile(&took, 0.99)),
    }
}

/// One request from this address; the answer, if a whole one came.
fn page(from: Ipv4Addr, path: &str) -> Option<String> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .ok()?;
    let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
    let [own, to] = [(from, 0), (GATEWAY_V4, 2080)]
        .map(|(ip, port)| nix::sys::socket::SockaddrIn::from(std::net::SocketAddrV4::new(ip, port)));
    nix::sys::socket::bind(raw, &own).ok()?;
    nix::sys::socket::connect(raw, &to).ok()?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let host = SocketAddr::from((GATEWAY_V4, 2080));
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1").then_some(answer)
}
