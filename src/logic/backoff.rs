//! How long to wait before trying again: full jitter, so that a thousand clients that lost the same server do
//! not come back in step.
//!
//! ```text
//! wait = not_before + random in 0..=ceiling     ceiling: 1 s, doubled by each failure, 60 s at most
//! ```
//!
//! Full jitter: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. A link that stood for a minute
//! starts over at one second; one that breaks at once does not. Tests: `tests` below.

use std::time::Duration;

/// The ceiling of the first wait.
pub const FIRST: Duration = Duration::from_secs(1);

/// The highest ceiling.
pub const LONGEST: Duration = Duration::from_secs(60);

/// A link that stood for so long counts as good.
pub const STABLE: Duration = Duration::from_secs(60);

/// The longest that a server can ask for.
pub const MOST_NOT_BEFORE: Duration = Duration::from_secs(3600);

/// The state of one back-off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after a link that stood for `stood` (zero: it did not open), not before `not_before` if the
    /// server asked so. `random` is uniform over all of `u64`.
    pub fn wait(&mut self, stood: Duration, not_before: Option<Duration>, random: u64) -> Duration {
        if stood >= STABLE {
            self.failures = 0;
        }
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let ceiling_ns = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        // The high half of the product is uniform in 0..ceiling without a division's bias.
        let share = (u128::from(random) * u128::from(ceiling_ns)) >> 64;
        let jitter = Duration::from_nanos(u64::try_from(share).unwrap_or(ceiling_ns));
        not_before.unwrap_or_default().min(MOST_NOT_BEFORE) + jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn ceilings_double_up_to_a_minute() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<u64> =
            (0..40).map(|_| backoff.wait(Duration::ZERO, None, u64::MAX).as_millis() as u64 + 1).collect();
        assert_eq!(ceilings[..7], [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000]);
        assert!(ceilings[7..].iter().all(|ceiling| *ceiling == 60_000));
    }

    #[test]
    fn waits_spread_evenly_between_nothing_and_the_ceiling() {
        for (random, wait) in [(0, 0), (u64::MAX / 4 + 1, 250), (u64::MAX / 2 + 1, 500)] {
            let waited = Backoff::default().wait(Duration::ZERO, None, random);
            assert_eq!(waited, Duration::from_millis(wait), "{random}");
        }
    }

    #[test]
    fn only_a_link_that_stood_for_long_starts_over() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.wait(S, None, 0);
        }
        assert!(backoff.wait(STABLE - S, None, u64::MAX) > 31 * S);
        assert!(backoff.wait(STABLE, None, u64::MAX) <= S);
        assert!(backoff.wait(Duration::ZERO, None, u64::MAX) > S, "the next failure doubles again");
    }

    #[test]
    fn a_server_is_left_alone_for_as_long_as_it_asks_within_reason() {
        assert_eq!(Backoff::default().wait(S, Some(7 * S), 0), 7 * S);
        let jittered = Backoff::default().wait(S, Some(7 * S), u64::MAX);
        assert!(jittered > 7 * S && jittered <= 8 * S);
        assert_eq!(Backoff::default().wait(S, Some(Duration::MAX), 0), MOST_NOT_BEFORE);
    }
}
