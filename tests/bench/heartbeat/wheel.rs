//! The timer wheel alone, with a million deadlines: memory, the price of a heartbeat, lateness by the real clock.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wayleave::logic::wheel::{Pulse, TICK, Wheel};
use wayleave::model::BootTime;

use crate::support::bench::{quantile, rounded, rss_bytes};

const DEADLINES: u32 = 1_000_000;
const PASSES: u32 = 5;
/// The deadlines that are waited for lie this far apart, all together.
const SPREAD: Duration = Duration::from_secs(5);
/// As the coordinator asks for them.
const LIMIT: usize = 1024;

/// The figures.
pub fn alone() -> Value {
    let own = std::process::id().cast_signed();
    let start = BootTime(0);
    let before = rss_bytes(own);
    let mut wheel = Wheel::new(start);
    let mut held: Vec<(u32, Pulse)> = Vec::with_capacity(DEADLINES as usize);
    let list = held.capacity() * size_of::<(u32, Pulse)>();
    for number in 0..DEADLINES {
        let index = wheel.take().expect("it holds more");
        // Sessions that beat every 30 s and lapse after 90.
        let deadline = start + Duration::from_secs(60) + Duration::from_micros(u64::from(number) * 30);
        held.push((index, wheel.arm(index, deadline, true)));
    }
    let bytes = (rss_bytes(own) - before).saturating_sub(list as u64);

    // Heartbeats come in no order: neighbours in time are not neighbours in memory.
    shuffle(&mut held);
    let deadlines = wheel.deadlines();
    let begin = Instant::now();
    for pass in 0..PASSES {
        let deadline = start + Duration::from_secs(120 + u64::from(pass));
        for (_, pulse) in &held {
            deadlines.beat(*pulse, deadline).expect("nothing lapsed");
        }
    }
    let beat_ns = nanos_each(begin, DEADLINES * PASSES);

    // The old slots come up, and every deadline is found to lie ahead.
    let mut over = Vec::new();
    let begin = Instant::now();
    while wheel.expire(start + Duration::from_secs(95), LIMIT, &mut over) {}
    let file_again_ns = nanos_each(begin, DEADLINES);
    assert!(over.is_empty() && wheel.armed() == DEADLINES as usize);

    let begin = Instant::now();
    for (index, pulse) in &mut held {
        *pulse = wheel.arm(*index, start + Duration::from_secs(200), true);
    }
    let arm_ns = nanos_each(begin, DEADLINES);
    drop(wheel);

    let (late_ms, turns_ms) = lateness();
    json!({
        "deadlines": DEADLINES,
        "rss_bytes": bytes,
        "ns_per_rearm": rounded(beat_ns),
        "ns_per_filing_again": rounded(file_again_ns),
        "ns_per_arm": rounded(arm_ns),
        "late_ms_p99": rounded(quantile(&late_ms, 0.99)),
        "late_ms_most": rounded(quantile(&late_ms, 1.0)),
        "turn_ms_most": rounded(turns_ms),
    })
}

/// How late each deadline was handed out, and the longest turn, with the wheel turned as the coordinator turns it.
fn lateness() -> (Vec<f64>, f64) {
    let begin = Instant::now();
    let now = || BootTime(u64::try_from(begin.elapsed().as_nanos()).expect("seconds"));
    let mut wheel = Wheel::new(now());
    let first = now() + Duration::from_secs(1);
    let mut at = Vec::with_capacity(DEADLINES as usize);
    for number in 0..DEADLINES {
        let index = wheel.take().expect("it holds more") as usize;
        assert_eq!(index, at.len());
        // Scattered over the spread, so that every slot has indexes from everywhere.
        let deadline = first + SPREAD * (number.wrapping_mul(2_654_435_761) >> 12) / (1 << 20);
        wheel.arm(number, deadline, true);
        at.push(deadline);
    }
    let (mut late, mut longest, mut over) = (Vec::with_capacity(at.len()), 0.0_f64, Vec::new());
    while late.len() < at.len() {
        std::thread::sleep(TICK);
        let turn = Instant::now();
        while wheel.expire(now(), LIMIT, &mut over) {}
        longest = longest.max(turn.elapsed().as_secs_f64() * 1e3);
        let handed_out = now();
        for index in over.drain(..) {
            assert!(at[index as usize] <= handed_out, "early");
            late.push(handed_out.since(at[index as usize]).as_secs_f64() * 1e3);
        }
    }
    (late, longest)
}

fn nanos_each(begin: Instant, times: u32) -> f64 {
    begin.elapsed().as_nanos() as f64 / f64::from(times)
}

/// Fisher and Yates, with a generator (xorshift64) that gives the same order every time.
fn shuffle<T>(list: &mut [T]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for end in (1..list.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        list.swap(end, (state % (end as u64 + 1)) as usize);
    }
}
