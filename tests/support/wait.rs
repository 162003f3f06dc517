//! Waiting for a condition, with a deadline, instead of sleeping and hoping.

use std::time::{Duration, Instant};

/// How long a test waits for what ought to happen at once. Generous: the machine may be busy.
pub const SOON: Duration = Duration::from_secs(10);

/// Asks every 5 ms until `condition` gives a value. Panics with `what` when the time is over.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// [`wait_for`] of a yes.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, limit, || condition().then_some(()));
}
