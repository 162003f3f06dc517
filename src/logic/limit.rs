//! How often somebody may do something: a token bucket for each key, in bounded memory.
//!
//! One number for each key (the generic cell rate algorithm, ITU-T I.371 annex A): the time at which its
//! bucket is full again. When there is no room for another key, keys whose bucket is full are forgotten; if
//! none is, all new keys share one bucket, so that a flood of addresses cannot buy itself memory.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::BootTime;

/// A rate limit.
#[derive(Debug)]
pub struct Limit<K> {
    /// One token comes back in this time.
    interval: Duration,
    burst: u32,
    most_keys: usize,
    full_again: BTreeMap<K, BootTime>,
    shared: BootTime,
    swept: BootTime,
}

impl<K: Ord + Clone> Limit<K> {
    /// `burst` at once, then one per `interval`; at most `most_keys` keys are told apart.
    pub fn new(burst: u32, interval: Duration, most_keys: usize) -> Self {
        Self {
            interval,
            burst: burst.max(1),
            most_keys,
            full_again: BTreeMap::new(),
            shared: BootTime::default(),
            swept: BootTime::default(),
        }
    }

    /// Takes one token, or says how long to wait for one.
    pub fn take(&mut self, key: &K, now: BootTime) -> Result<(), Duration> {
        if !self.full_again.contains_key(key) && self.full_again.len() >= self.most_keys {
            self.sweep(now);
            if self.full_again.len() >= self.most_keys {
                return charge(&mut self.shared, self.interval, self.burst, now);
            }
        }
        let full_again = self.full_again.entry(key.clone()).or_insert(now);
        charge(full_again, self.interval, self.burst, now)
    }

    /// Whether a token is there, without taking it.
    pub fn look(&self, key: &K, now: BootTime) -> Result<(), Duration> {
        let mut full_again = self.full_again.get(key).copied().unwrap_or(now);
        charge(&mut full_again, self.interval, self.burst, now)
    }

    /// Keys that are told apart now.
    pub fn keys(&self) -> usize {
        self.full_again.len()
    }

    /// At most once a second: looking at every key costs time.
    fn sweep(&mut self, now: BootTime) {
        if now.since(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            self.full_again.retain(|_, full_again| *full_again > now);
        }
    }
}

/// One bucket by itself, for a link: `full_again` is all of its state.
pub fn charge(
    full_again: &mut BootTime,
    interval: Duration,
    burst: u32,
    now: BootTime,
) -> Result<(), Duration> {
    let after = (*full_again).max(now) + interval;
    let wait = after.since(now + interval * burst);
    if wait.is_zero() {
        *full_again = after;
        return Ok(());
    }
    Err(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_the_rate() {
        let mut limit = Limit::new(3, SECOND, 10);
        let now = BootTime(5_000_000_000);
        for _ in 0..3 {
            assert_eq!(limit.take(&1, now), Ok(()));
        }
        assert_eq!(limit.take(&1, now), Err(SECOND));
        assert_eq!(limit.take(&2, now), Ok(()), "another key has its own bucket");
        assert_eq!(limit.take(&1, now + SECOND), Ok(()));
        assert!(limit.take(&1, now + SECOND).is_err());
        assert!(limit.look(&1, now + SECOND).is_err());
        assert_eq!(limit.look(&1, now + SECOND * 2), Ok(()));
    }

    #[test]
    fn a_flood_of_keys_buys_no_memory_and_no_tokens() {
        let mut limit = Limit::new(2, SECOND, 100);
        let now = BootTime(5_000_000_000);
        let passed = (0..10_000).filter(|key| limit.take(key, now).is_ok()).count();
        assert_eq!(limit.keys(), 100);
        assert_eq!(passed, 102, "each of a hundred keys, and the shared bucket's two");
        // A second later they are forgotten for those who come then.
        assert_eq!(limit.take(&77_777, now + SECOND * 2), Ok(()));
        assert_eq!(limit.keys(), 1);
    }
}
