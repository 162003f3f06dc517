//! What the gateway takes of a router: flash, memory, and wakeups when nothing happens.
//!
//! Measured on the build for routers, which `./run bench footprint` makes and names in `WAYLEAVE_SIZE`, with
//! hostapd running and a service manager that wants the watchdog's beats as often as the unit file says.
//! Memory is `VmRSS`, pages of the program file included. Wakeups are voluntary context switches of all its
//! threads over a minute in which nobody calls and no packet comes: `idle_wakeups_per_min` with 256 grants and
//! no coordinator, `idle_wakeups_per_min_else` without grants, and with 256 and a link that stands.

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use support::bench::{Quiet, grants, guest, load, rss_bytes};
use support::daemons::{CoordinatorDaemon, enrol};
use support::lab::Lab;
use support::wait::{SOON, wait_for};

/// For what follows a change at leisure: the state file, memory given back, idle threads that end (10 s).
const SETTLE: Duration = Duration::from_secs(15);
const IDLE_S: u64 = 60;

fn main() {
    let load_before = load();
    let program =
        PathBuf::from(std::env::var("WAYLEAVE_SIZE").expect("WAYLEAVE_SIZE: ./run bench footprint"));
    let binary_bytes = fs::metadata(&program).expect("it was built").len();

    let lab = Lab::with_stations(0);
    let _hostapd = lab.hostapd();
    let manager = service_manager(lab.path());
    let start = || Quiet::start_under(&program, &lab.gateway, lab.path(), "", &manager);

    let mut gateway = start();
    std::thread::sleep(SETTLE);
    let none = rss_bytes(gateway.program.pid());
    let idle_none = wakeups(gateway.program.pid());

    gateway.caller().ask(&grants((0..256).map(guest)));
    std::thread::sleep(SETTLE);
    let some = rss_bytes(gateway.program.pid());
    let idle = wakeups(gateway.program.pid());

    gateway.program.terminate(SOON);
    let coordinator = CoordinatorDaemon::start(&lab, "");
    enrol("gateway", &lab.path().join("gateway/gateway.toml"), &coordinator.claim());
    let gateway = start();
    wait_for("the link to stand", SOON, || {
        gateway.caller().ask(&json!({"verb": "status"}))["link"].get("up").is_some().then_some(())
    });
    std::thread::sleep(SETTLE);
    let linked = rss_bytes(gateway.program.pid());
    let idle_linked = wakeups(gateway.program.pid());

    gateway.caller().ask(&grants((256..10_000).map(guest)));
    std::thread::sleep(SETTLE);
    let many = rss_bytes(gateway.program.pid());
    drop(gateway);
    // Adopted from the kernel and the state file: no large request was ever read.
    let gateway = start();
    std::thread::sleep(SETTLE);
    let adopted = rss_bytes(gateway.program.pid());

    let figures = json!({
        "binary_bytes": binary_bytes,
        "rss_bytes": {
            "0": none, "256": some, "256_linked": linked, "10000": many, "10000_after_restart": adopted,
        },
        "idle_wakeups_per_min": idle,
        "idle_wakeups_per_min_else": {"0": idle_none, "256_linked": idle_linked},
        "load_before": load_before,
    });
    println!("{figures}");
}

/// What systemd would say to the gateway (sd_watchdog_enabled(3)), by the unit file, and somebody who listens.
fn service_manager(dir: &Path) -> Vec<(String, String)> {
    let unit = fs::read_to_string("systemd/wayleave-gateway.service").expect("run in the repository");
    let seconds = unit.lines().find_map(|line| line.strip_prefix("WatchdogSec=")?.parse::<u64>().ok());
    let path = dir.join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    std::thread::spawn(move || while socket.recv(&mut [0; 4096]).is_ok() {});
    let microseconds = seconds.expect("WatchdogSec= in the unit") * 1_000_000;
    vec![
        ("NOTIFY_SOCKET".to_owned(), path.display().to_string()),
        ("WATCHDOG_USEC".to_owned(), microseconds.to_string()),
    ]
}

/// Watches an idle minute. Looks every second, because a thread takes its count with it when it ends; one that
/// waits in vain for work does so for ten.
fn wakeups(pid: i32) -> u64 {
    let before = switches(pid);
    let mut latest = before.clone();
    for _ in 0..IDLE_S {
        std::thread::sleep(Duration::from_secs(1));
        latest.extend(switches(pid));
    }
    latest.iter().map(|(task, count)| count - before.get(task).unwrap_or(&0)).sum()
}

/// Voluntary context switches of each thread so far.
fn switches(pid: i32) -> BTreeMap<PathBuf, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let count = |task: PathBuf| {
        // None: it has just ended.
        let status = fs::read_to_string(task.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some((task, line.trim().parse().ok()?))
    };
    tasks.flatten().filter_map(|task| count(task.path())).collect()
}
