//! How long the gateway takes to admit: from the request on the control socket to the kernel enforcing it.
//!
//! The daemon answers once the kernel has acknowledged the transaction, so the answer read is the end. Single
//! grants with 10 000 present, and 10 000 in one request on an empty gateway.

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use support::bench::{Quiet, grants, guest, load, median, quantile, rounded};
use support::daemons::WAYLEAVE;
use support::lab::Lab;

const PRESENT: u32 = 10_000;
const SINGLES: u32 = 1_000;
const BATCHES: usize = 5;

fn main() {
    let load_before = load();
    let mut batches = Vec::new();
    let mut singles = Vec::new();
    for round in 0..BATCHES {
        let lab = Lab::with_stations(0);
        let gateway = Quiet::start(Path::new(WAYLEAVE), &lab.gateway, lab.path());
        let mut caller = gateway.caller();
        let (begin, end, granted) = caller.timed(&grants((0..PRESENT).map(guest)));
        assert_eq!(granted.as_array().map(Vec::len), Some(PRESENT as usize));
        batches.push((end - begin).as_secs_f64() * 1e3);
        println!("round {round}: {PRESENT} grants in one request: {:.1} ms", batches[round]);
        if round + 1 < BATCHES {
            continue;
        }
        // What the batch left to be done (the state file) is over.
        std::thread::sleep(Duration::from_secs(2));
        for number in PRESENT..PRESENT + SINGLES {
            let (begin, end, _) = caller.timed(&grants([guest(number)]));
            singles.push((end - begin).as_secs_f64() * 1e6);
        }
        // The kernel's own word for it.
        let table = lab.gateway.run("nft list map netdev wayleave up");
        assert_eq!(table.matches("comment \"grant ").count(), (PRESENT + SINGLES) as usize);
    }
    let figures = json!({
        "n": SINGLES,
        "present": PRESENT,
        "daemon_us_p50": rounded(median(&singles)),
        "daemon_us_p99": rounded(quantile(&singles, 0.99)),
        "batch_10k_ms": rounded(median(&batches)),
        "batch_10k_ms_worst": rounded(quantile(&batches, 1.0)),
        "load_before": load_before,
    });
    println!("{figures}");
}
