//! Deadlines of a million sessions: a lazy timer wheel. Late by at most two ticks, never early.
//!
//! A heartbeat does not move anything in the wheel. It stores the new deadline in one word that the wheel
//! shares with whoever holds the socket ([`Deadlines::beat`], no lock, no allocation). When the slot of the
//! old deadline comes up, the wheel reads the word: still ahead, then it is filed again; over, then the word
//! is closed by compare-and-swap and the index is handed out. A beat that comes after the closing is told so.
//!
//! ```text
//! beat ──store──> word[index] = open | generation | deadline
//!                     ▲ read when the slot fires
//! slots: [ .. ][ 7, 9 ][ .. ]      filed[index] = the tick at which it is looked at next
//!                  └── over: close, hand out      └── ahead: file again
//! ```
//!
//! Costs 16 bytes for each index: the word, the tick, the entry. Not a queue of timers for other things: an
//! index has one deadline. Tests: `never_early_bounded_late_none_lost`, `a_beat_and_a_lapse_exclude_each_other`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::model::BootTime;

/// How often the wheel turns.
pub const TICK: Duration = Duration::from_millis(100);

const TICK_MS: u64 = 100;
const SLOTS: u32 = 1024;
const CHUNK: usize = 1 << 14;
const CHUNKS: usize = 1 << 10;
/// Ticks from the start at which an index is looked at; this one: never.
const NOT_FILED: u32 = u32::MAX;

const OPEN: u64 = 1 << 63;
const DEADLINE_BITS: u32 = 40;
const DEADLINE_MASK: u64 = (1 << DEADLINE_BITS) - 1;
const GENERATION_MASK: u32 = (1 << 23) - 1;

/// The words that the wheel shares with the sockets.
#[derive(Debug)]
pub struct Deadlines {
    start: BootTime,
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

/// The right to move one deadline, until the wheel arms, closes or frees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    index: u32,
    generation: u32,
}

/// Why a beat did not count; the slow way decides then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBeat {
    /// The deadline was over, or another pulse was given out since.
    Closed,
    /// The new deadline lies before the old one: the wheel has to file it again.
    Earlier,
}

impl Deadlines {
    fn new(start: BootTime) -> Self {
        Self { start, chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }

    /// Moves a deadline further away. Lock-free.
    pub fn beat(&self, pulse: Pulse, deadline: BootTime) -> Result<(), NoBeat> {
        let Some(word) = self.word(pulse.index) else { return Err(NoBeat::Closed) };
        let deadline = self.millis_up(deadline);
        let opened = OPEN | u64::from(pulse.generation) << DEADLINE_BITS;
        let mut old = word.load(Ordering::Acquire);
        loop {
            if old & !DEADLINE_MASK != opened {
                return Err(NoBeat::Closed);
            }
            if old & DEADLINE_MASK > deadline {
                return Err(NoBeat::Earlier);
            }
            match word.compare_exchange_weak(old, opened | deadline, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
    }

    fn word(&self, index: u32) -> Option<&AtomicU64> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)
    }

    /// Milliseconds since the start, rounded up: never early.
    fn millis_up(&self, time: BootTime) -> u64 {
        let nanos = time.0.saturating_sub(self.start.0);
        nanos.div_ceil(1_000_000).min(DEADLINE_MASK)
    }

    fn millis_down(&self, time: BootTime) -> u64 {
        (time.0.saturating_sub(self.start.0) / 1_000_000).min(DEADLINE_MASK)
    }
}

/// The wheel; one owner turns it.
#[derive(Debug)]
pub struct Wheel {
    deadlines: Arc<Deadlines>,
    filed: Vec<u32>,
    slots: Vec<Vec<u32>>,
    free: Vec<u32>,
    /// The tick that is looked at next.
    next_tick: u32,
    armed: usize,
}

/// There are as many indexes as there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wheel holds {} deadlines and no more", CHUNK * CHUNKS)]
pub struct Full;

impl Wheel {
    /// An empty wheel.
    pub fn new(now: BootTime) -> Self {
        Self {
            deadlines: Arc::new(Deadlines::new(now)),
            filed: Vec::new(),
            slots: vec![Vec::new(); SLOTS as usize],
            free: Vec::new(),
            next_tick: 0,
            armed: 0,
        }
    }

    /// The shared words.
    pub fn deadlines(&self) -> Arc<Deadlines> {
        Arc::clone(&self.deadlines)
    }

    /// How many indexes have a deadline.
    pub fn armed(&self) -> usize {
        self.armed
    }

    /// A new index, without a deadline.
    pub fn take(&mut self) -> Result<u32, Full> {
        if let Some(index) = self.free.pop() {
            return Ok(index);
        }
        let index = self.filed.len();
        if index >= CHUNK * CHUNKS {
            return Err(Full);
        }
        self.deadlines.chunks[index / CHUNK].get_or_init(|| (0..CHUNK).map(|_| AtomicU64::new(0)).collect());
        self.filed.push(NOT_FILED);
        u32::try_from(index).map_err(|_| Full)
    }

    /// Sets the deadline of an index and makes every pulse given out for it void.
    ///
    /// `open`: whether beats may move it.
    pub fn arm(&mut self, index: u32, deadline: BootTime, open: bool) -> Pulse {
        let millis = self.deadlines.millis_up(deadline);
        let generation = self.store(index, millis, open);
        let tick = self.tick_for(millis);
        let filed = &mut self.filed[index as usize];
        if *filed == NOT_FILED {
            self.armed += 1;
        }
        // An earlier look files it again by itself.
        if tick < *filed {
            *filed = tick;
            self.slots[(tick % SLOTS) as usize].push(index);
        }
        Pulse { index, generation }
    }

    /// Takes the deadline away and makes every pulse void.
    pub fn disarm(&mut self, index: u32) {
        self.store(index, 0, false);
        if std::mem::replace(&mut self.filed[index as usize], NOT_FILED) != NOT_FILED {
            self.armed -= 1;
        }
    }

    /// Gives the index back.
    pub fn release(&mut self, index: u32) {
        self.disarm(index);
        self.free.push(index);
    }

    /// When [`Wheel::expire`] has something to look at, at the earliest.
    pub fn poll_timeout(&self) -> Option<BootTime> {
        (self.armed > 0)
            .then(|| self.deadlines.start + Duration::from_millis(u64::from(self.next_tick) * TICK_MS))
    }

    /// Appends the indexes whose deadline is over, at most about `limit`; `true` if there may be more.
    pub fn expire(&mut self, now: BootTime, limit: usize, over: &mut Vec<u32>) -> bool {
        let millis = self.deadlines.millis_down(now);
        let now_tick = u32::try_from(millis / TICK_MS).unwrap_or(NOT_FILED - SLOTS);
        // After a long pause one round looks at everything.
        self.next_tick = self.next_tick.max(now_tick.saturating_sub(SLOTS - 1));
        let mut budget = limit.max(1);
        while self.next_tick <= now_tick {
            let slot = (self.next_tick % SLOTS) as usize;
            let mut entries = std::mem::take(&mut self.slots[slot]);
            while let Some(index) = entries.pop() {
                let filed = self.filed[index as usize];
                // Filed elsewhere since, or gone: this entry is a left-over.
                if filed == NOT_FILED || (filed % SLOTS) as usize != slot {
                    continue;
                }
                if filed > now_tick {
                    self.slots[slot].push(index);
                    continue;
                }
                match self.close_if_over(index, millis) {
                    None => {
                        self.filed[index as usize] = NOT_FILED;
                        self.armed -= 1;
                        over.push(index);
                    }
                    Some(deadline) => {
                        let tick = self.tick_after(deadline, now_tick);
                        self.filed[index as usize] = tick;
                        self.slots[(tick % SLOTS) as usize].push(index);
                    }
                }
                budget -= 1;
                if budget == 0 {
                    self.slots[slot].append(&mut entries);
                    return true;
                }
            }
            // The room is used again, but not that of a burst.
            if self.slots[slot].is_empty() && entries.capacity() <= 1 << 16 {
                self.slots[slot] = entries;
            }
            self.next_tick += 1;
        }
        false
    }

    /// The deadline in milliseconds if it lies ahead; otherwise no beat counts from here on.
    fn close_if_over(&self, index: u32, now_millis: u64) -> Option<u64> {
        let word = self.deadlines.word(index)?;
        let mut old = word.load(Ordering::Acquire);
        loop {
            if old & DEADLINE_MASK > now_millis {
                return Some(old & DEADLINE_MASK);
            }
            match word.compare_exchange_weak(old, old & !OPEN, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return None,
                Err(now) => old = now,
            }
        }
    }

    fn store(&self, index: u32, millis: u64, open: bool) -> u32 {
        let Some(word) = self.deadlines.word(index) else { return 0 };
        let mut old = word.load(Ordering::Acquire);
        loop {
            let generation = (generation_of(old) + 1) & GENERATION_MASK;
            let new = if open { OPEN } else { 0 } | u64::from(generation) << DEADLINE_BITS | millis;
            match word.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return generation,
                Err(now) => old = now,
            }
        }
    }

    fn tick_for(&self, millis: u64) -> u32 {
        let tick = u32::try_from(millis / TICK_MS + 1).unwrap_or(NOT_FILED - 1);
        tick.clamp(self.next_tick, self.next_tick + (SLOTS - 1))
    }

    /// As [`Wheel::tick_for`], but never the slot that is being emptied.
    fn tick_after(&self, millis: u64, now_tick: u32) -> u32 {
        let tick = u32::try_from(millis / TICK_MS + 1).unwrap_or(NOT_FILED - 1);
        tick.clamp(now_tick + 1, (self.next_tick + (SLOTS - 1)).max(now_tick + 1))
    }
}

fn generation_of(word: u64) -> u32 {
    u32::try_from(word >> DEADLINE_BITS & u64::from(GENERATION_MASK)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Arm { index: usize, in_ms: u64 },
        Beat { index: usize, in_ms: u64 },
        Release { index: usize },
        Pass { ms: u64 },
    }

    fn op() -> impl Strategy<Value = Op> {
        let soon = prop_oneof![0..3_000u64, 0..400_000u64];
        prop_oneof![
            (0..8usize, soon.clone()).prop_map(|(index, in_ms)| Op::Arm { index, in_ms }),
            (0..8usize, soon.clone()).prop_map(|(index, in_ms)| Op::Beat { index, in_ms }),
            (0..8usize).prop_map(|index| Op::Release { index }),
            prop_oneof![0..250u64, 0..5_000u64, 0..300_000u64].prop_map(|ms| Op::Pass { ms }),
        ]
    }

    proptest! {
        /// Against a map of deadlines: what is handed out is over (never early), what is over for two ticks
        /// is handed out (bounded late), each once (none lost, none twice).
        #[test]
        fn never_early_bounded_late_none_lost(ops in proptest::collection::vec(op(), 1..120)) {
            let mut now = BootTime(7_000_000_123);
            let mut wheel = Wheel::new(now);
            let deadlines = wheel.deadlines();
            let mut held: Vec<Option<(u32, Pulse, Option<BootTime>)>> = vec![None; 8];
            for op in ops {
                match op {
                    Op::Arm { index, in_ms } => {
                        let at = now + Duration::from_millis(in_ms);
                        let taken = match held[index] { Some((taken, ..)) => taken, None => wheel.take().unwrap() };
                        held[index] = Some((taken, wheel.arm(taken, at, true), Some(at)));
                    }
                    Op::Beat { index, in_ms } => {
                        let at = now + Duration::from_millis(in_ms);
                        let Some((taken, pulse, deadline)) = &mut held[index] else { continue };
                        match deadlines.beat(*pulse, at) {
                            Ok(()) => { prop_assert!(deadline.is_some()); *deadline = Some(at); }
                            Err(NoBeat::Closed) => prop_assert!(deadline.is_none()),
                            Err(NoBeat::Earlier) => {
                                prop_assert!(deadline.is_some_and(|old| old > at));
                                *pulse = wheel.arm(*taken, at, true);
                                *deadline = Some(at);
                            }
                        }
                    }
                    Op::Release { index } => if let Some((taken, pulse, _)) = held[index].take() {
                        wheel.release(taken);
                        prop_assert_eq!(deadlines.beat(pulse, now), Err(NoBeat::Closed));
                    },
                    Op::Pass { ms } => now = now + Duration::from_millis(ms),
                }
                let mut over = Vec::new();
                while wheel.expire(now, 3, &mut over) {}
                for index in over {
                    let entry = held.iter_mut().flatten().find(|(taken, ..)| *taken == index);
                    let (_, pulse, deadline) = entry.expect("only what is held");
                    let at = deadline.take().expect("handed out once");
                    prop_assert!(at <= now, "early by {:?}", at.since(now));
                    prop_assert_eq!(deadlines.beat(*pulse, now + Duration::from_secs(60)), Err(NoBeat::Closed));
                }
                for (_, _, deadline) in held.iter().flatten() {
                    if let Some(at) = deadline {
                        prop_assert!(*at + 2 * TICK >= now, "late by {:?}", now.since(*at));
                    }
                }
                prop_assert_eq!(wheel.armed(), held.iter().flatten().filter(|held| held.2.is_some()).count());
            }
        }
    }

    #[test]
    fn a_beat_and_a_lapse_exclude_each_other() {
        let start = BootTime(0);
        for round in 0..200u64 {
            let mut wheel = Wheel::new(start);
            let index = wheel.take().unwrap();
            let pulse = wheel.arm(index, start + Duration::from_millis(500), true);
            let deadlines = wheel.deadlines();
            let later = start + Duration::from_secs(10 + round);
            let (lapsed, beaten) = std::thread::scope(|scope| {
                let beat = scope.spawn(move || deadlines.beat(pulse, later).is_ok());
                let mut over = Vec::new();
                wheel.expire(start + Duration::from_secs(1), 10, &mut over);
                (!over.is_empty(), beat.join().unwrap())
            });
            assert_ne!(lapsed, beaten, "exactly one of them wins");
        }
    }

    #[test]
    fn a_million_deadlines_cost_sixteen_bytes_each() {
        let start = BootTime(0);
        let mut wheel = Wheel::new(start);
        for i in 0..1_000_000u64 {
            let index = wheel.take().unwrap();
            wheel.arm(index, start + Duration::from_micros(90_000_000 + i * 30), true);
        }
        let entries: usize = wheel.slots.iter().map(Vec::len).sum();
        let chunks = wheel.deadlines.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        let bytes = entries * 4 + wheel.filed.len() * 4 + chunks * CHUNK * 8;
        assert!(bytes <= 16_200_000, "{bytes}");
        let mut over = Vec::new();
        while wheel.expire(start + Duration::from_secs(121), 65_536, &mut over) {}
        assert_eq!(over.len(), 1_000_000);
    }
}
