//! What the gateway takes of a router: flash, memory, and wakeups when nothing happens.
//!
//! Measured on the build for routers, which `./run bench footprint` makes and names in `WAYLEAVE_SIZE`. Memory
//! is `VmRSS`, pages of the program file included. Wakeups are voluntary context switches of all its threads
//! over a minute in which nobody calls and no packet comes, with hostapd running and 256 grants.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use support::bench::{Quiet, grants, guest, load, rss_bytes, status_number};
use support::lab::Lab;

/// For what follows a change at leisure: the state file, memory given back.
const SETTLE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);

fn main() {
    let load_before = load();
    let program =
        PathBuf::from(std::env::var("WAYLEAVE_SIZE").expect("WAYLEAVE_SIZE: ./run bench footprint"));
    let binary_bytes = fs::metadata(&program).expect("it was built").len();

    let lab = Lab::with_stations(0);
    let _hostapd = lab.hostapd();
    let gateway = Quiet::start(&program, &lab.gateway, lab.path());
    let pid = gateway.program.pid();
    std::thread::sleep(SETTLE);
    let none = rss_bytes(pid);

    gateway.caller().ask(&grants((0..256).map(guest)));
    std::thread::sleep(SETTLE);
    let some = rss_bytes(pid);
    let before = wakeups(pid);
    std::thread::sleep(IDLE);
    let idle = wakeups(pid) - before;

    gateway.caller().ask(&grants((256..10_000).map(guest)));
    std::thread::sleep(SETTLE);
    let many = rss_bytes(pid);
    drop(gateway);
    // Adopted from the kernel and the state file: no large request was ever read.
    let gateway = Quiet::start(&program, &lab.gateway, lab.path());
    std::thread::sleep(SETTLE);
    let adopted = rss_bytes(gateway.program.pid());

    let figures = json!({
        "binary_bytes": binary_bytes,
        "rss_bytes": {"0": none, "256": some, "10000": many, "10000_after_restart": adopted},
        "idle_wakeups_per_min": idle,
        "load_before": load_before,
    });
    println!("{figures}");
}

fn wakeups(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks.flatten().map(|task| status_number(&task.path().join("status"), "voluntary_ctxt_switches")).sum()
}
