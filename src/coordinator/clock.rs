//! The two clocks: CLOCK_BOOTTIME for every decision, the calendar for claims and for people.
//!
//! Claims outlive restarts, so they need a date; a coordinator is a server with a calendar. Nothing else here
//! looks at it.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::model::BootTime;

/// CLOCK_BOOTTIME now.
pub fn now() -> BootTime {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME since 2.6.39");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    BootTime(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Seconds since 1970 by this machine's calendar.
pub fn calendar() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
