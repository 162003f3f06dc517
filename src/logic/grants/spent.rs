//! A grant whose bytes are used up waits for more: its station passes nothing, stays where it is, and reaches what is
//! open to everybody.
//!
//! ```text
//!          Spent                    TopUp, Give: more bytes -> Enforce, counted on from the limit
//!   held ---------> waits until ---<
//!                                   the time is over -> ends, as used up
//! ```
//!
//! The kernel goes on counting what it drops, so such a grant is not raised in place: it is let in anew with what
//! really passed as used. Tried with every short history of `tests.rs`.

use std::time::Duration;

use super::{Action, Grant, GrantId, Grants};
use crate::model::{BootTime, Cause, Few};

/// Who waits, and how long one may.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent {
    patience: Duration,
    until: Few<GrantId, BootTime>,
    /// Those that have more since, and of which the kernel has counted what it dropped.
    revived: Few<GrantId, ()>,
}

impl Spent {
    pub fn until(&self, id: GrantId) -> Option<BootTime> {
        self.until.get(&id).copied()
    }

    /// A grant is held as it is from now on: one that waits goes on doing so unless it has more bytes.
    pub fn hold(&mut self, grant: &Grant, before: Option<&Grant>, waits: Option<BootTime>) {
        let Some(at) = waits else { return };
        let has_more = grant.quota.is_none() || before.is_some_and(|before| grant.quota > before.quota);
        match has_more {
            true => drop(self.revived.insert(grant.id, ())),
            false => drop(self.until.insert(grant.id, at)),
        }
    }

    /// Whether a grant is to be let in anew, because it has more. Once.
    pub fn revives(&mut self, id: GrantId) -> bool {
        self.revived.remove(&id).is_some()
    }

    pub fn forget(&mut self, id: GrantId) {
        self.until.remove(&id);
        self.revived.remove(&id);
    }

    pub fn poll_timeout(&self) -> Option<BootTime> {
        self.until.values().min().copied()
    }
}

impl Grants {
    /// How long a grant waits for more bytes from now on. Zero, as at first: it ends when they are used up.
    pub fn wait_for_more(&mut self, patience: Duration) {
        self.spent.patience = patience;
    }

    /// Whether the bytes of a grant are used up and it waits for more.
    pub fn is_spent(&self, id: GrantId) -> bool {
        self.spent.until.contains_key(&id)
    }

    pub(super) fn spend(&mut self, id: GrantId, now: BootTime) {
        let limited = self.held.get(&id).filter(|grant| grant.quota.is_some());
        let Some(station) = limited.map(|grant| grant.station) else { return };
        if self.spent.patience.is_zero() {
            return self.end(vec![(id, Cause::Quota)], now);
        }
        if !self.is_spent(id) {
            self.spent.until.insert(id, now + self.spent.patience);
            self.actions.push_back(Action::Spent { grant: id, station });
        }
    }

    pub(super) fn end_spent(&mut self, now: BootTime) {
        let over = self.spent.until.iter().filter(|(_, at)| **at <= now);
        let over: Vec<_> = over.map(|(id, _)| (*id, Cause::Quota)).collect();
        self.end(over, now);
    }
}
