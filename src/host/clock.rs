//! CLOCK_BOOTTIME: what time it is, and one alarm on it. Beside it, the calendar.
//!
//! CLOCK_BOOTTIME is the only clock that decisions see. Not for measuring how long a call took
//! (`std::time::Instant` does).

use std::future::pending;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::pollable::Pollable;
use crate::model::BootTime;

/// The time now (clock_gettime(2), CLOCK_BOOTTIME).
pub fn now() -> BootTime {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
    BootTime::default() + Duration::from(time)
}

/// Seconds since 1970 by this machine's calendar; 0 before that.
///
/// For what outlives a boot on a server, such as claims, and for people. A router's calendar says nothing.
pub fn calendar() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The same, where this machine knows the date; a machine without a battery begins in 1970.
pub fn known_calendar() -> Option<u64> {
    /// 2025-01-01: older than this program.
    const KNOWN: u64 = 1_735_689_600;
    Some(calendar()).filter(|seconds| *seconds >= KNOWN)
}

/// The name of this boot of the machine (random(4)); `None`: there is no /proc.
#[cfg(feature = "portal")]
pub fn boot_id() -> Option<crate::model::BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    text.trim().replace('-', "").parse().ok()
}

/// One deadline to wait for (timerfd_create(2)). The process sleeps until then: there is no tick.
///
/// A machine that slept past the deadline wakes to it at once, which tokio's timers on CLOCK_MONOTONIC
/// would not.
pub struct Alarm {
    timer: Pollable<TimerFd>,
    armed: Option<BootTime>,
}

impl Alarm {
    /// An alarm that is not set. Needs a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?;
        Ok(Self { timer: Pollable::new(timer)?, armed: None })
    }

    /// Returns at `at`, at once if that is past, never for `None`. Dropping the future loses nothing: the
    /// next call may name the same deadline or another.
    pub async fn wait_until(&mut self, at: Option<BootTime>) -> io::Result<()> {
        let Some(at) = at else { return pending().await };
        if self.armed != Some(at) {
            // An absolute time of zero would disarm.
            let time = TimeSpec::from_duration(Duration::from_nanos(at.0.clamp(1, i64::MAX as u64)));
            self.timer.get().set(Expiration::OneShot(time), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            self.armed = Some(at);
        }
        // It would block if it rang for a deadline that was replaced before anybody looked.
        let rang = self.timer.read(|timer| Ok(timer.wait()?)).await;
        self.armed = None;
        rang
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn rings_at_its_time_and_not_before() {
        let mut alarm = Alarm::new().unwrap();
        let at = now() + Duration::from_millis(30);
        alarm.wait_until(Some(at)).await.unwrap();
        assert!(now() >= at);
        // It can be used again, and what is past rings at once.
        for past in [at, BootTime(0)] {
            timeout(Duration::from_secs(5), alarm.wait_until(Some(past))).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_wait_that_was_dropped_loses_nothing_and_rings_for_nothing() {
        let mut alarm = Alarm::new().unwrap();
        let soon = now() + Duration::from_millis(20);
        assert!(timeout(Duration::from_millis(1), alarm.wait_until(Some(soon))).await.is_err());
        tokio::time::sleep(Duration::from_millis(40)).await;
        // It has rung by now, for `soon`. Another deadline does not inherit that.
        let later = now() + Duration::from_millis(60);
        alarm.wait_until(Some(later)).await.unwrap();
        assert!(now() >= later);

        let soon = now() + Duration::from_millis(20);
        assert!(timeout(Duration::from_millis(1), alarm.wait_until(Some(soon))).await.is_err());
        timeout(Duration::from_secs(5), alarm.wait_until(Some(soon))).await.unwrap().unwrap();
        assert!(now() >= soon);
    }

    #[tokio::test]
    async fn no_deadline_never_rings() {
        let mut alarm = Alarm::new().unwrap();
        assert!(timeout(Duration::from_millis(20), alarm.wait_until(None)).await.is_err());
        // Nor does one beyond what the kernel can count.
        let never = Some(BootTime(u64::MAX));
        assert!(timeout(Duration::from_millis(20), alarm.wait_until(never)).await.is_err());
    }
}
