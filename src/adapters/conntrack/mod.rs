//! The kernel's flow table: finds the flows of addresses and frees them. No process is started.
//!
//! One walk of the table serves any number of addresses: a dump, compared here, then one exact delete per flow
//! and, in the same datagram, one lookup that shows it gone. For a few IPv4 addresses the kernel deletes by the
//! address itself where it can, which is soonest (`plan.rs`). Such a delete does not say how many it deleted: that
//! is by how much the table shrank meanwhile, and flows of others that begin or end in those milliseconds are in
//! it. It is answered when the whole table was walked. What a station began goes first: a late packet on its way to
//! the station is then tracked as a flow that somebody else began, and those go second.
//!
//! A link-local, multicast or loopback address is not forwarded. Its flows are freed if a walk passes them, but
//! cause none: they end at this machine, and by themselves.
//!
//! A walk costs one lock per bucket, one visit per flow and one message per listed flow. It runs on the blocking
//! pool; the caller's loop goes on. Read next: `plan.rs`, `codec.rs`.

mod codec;
mod error;
mod plan;
mod requests;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;

use nix::libc;
use tokio::sync::Mutex;

pub use self::error::ConntrackError;
pub use self::plan::is_forwarded;

use self::codec::{Answer, End, Family, Flow, Key};
use self::plan::{Filter, Plan};
use self::requests::{Requests, refused, socket_error};
use crate::model::{Few, Gather};

/// Deletes and lookups in one datagram: their answers fit the receive buffer.
const FREED_AT_ONCE: usize = 64;

/// The flow table of the network namespace in which this was opened.
///
/// Calls wait for one another. Dropping a call's future does not stop its work.
#[derive(Clone)]
pub struct Conntrack {
    table: Arc<Mutex<Table>>,
}

/// What [`Conntrack::free`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many flows of each address were deleted; addresses without any are not here. A flow between two of the
    /// addresses is its originator's. Flows that ended by themselves meanwhile are not counted, where each was
    /// deleted by itself.
    pub per_address: Few<IpAddr, u32>,
    /// How many of the flows that were found the table still holds, or holds again, after their deletion.
    pub left: u32,
}

impl Freed {
    /// Of all addresses.
    pub fn total(&self) -> u32 {
        self.per_address.values().sum()
    }
}

/// What the kernel can do, for `wayleave doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// Whether it filters dumps and deletes (`CTA_FILTER`, Linux 5.8).
    pub filter: bool,
    /// Whether flows count their bytes (`net.netfilter.nf_conntrack_acct`).
    pub accounting: bool,
    /// Hash buckets (`net.netfilter.nf_conntrack_buckets`): each costs every walk a lock. 0: not readable.
    pub buckets: u32,
}

impl Conntrack {
    /// Opens the socket. Needs no privilege; listing and freeing need CAP_NET_ADMIN.
    pub fn open() -> Result<Conntrack, ConntrackError> {
        let table = Table { requests: Requests::open()?, aside: Requests::closed(), filter: Filter::Deletes };
        Ok(Conntrack { table: Arc::new(Mutex::new(table)) })
    }

    /// Frees every flow that one of these addresses began or answers, as `conntrack -D -s` and `-r` do, in one
    /// walk for all of them, and looks each of them up again.
    pub async fn free(&self, addresses: Vec<IpAddr>) -> Result<Freed, ConntrackError> {
        self.on_the_side(move |table| table.free(&addresses.into_iter().gather())).await
    }

    /// How many flows these addresses began or answer.
    pub async fn count(&self, addresses: Vec<IpAddr>) -> Result<u32, ConntrackError> {
        self.on_the_side(move |table| {
            let addresses = addresses.into_iter().gather();
            let plan = table.plan(&addresses, Filter::Lists)?;
            let found = table.find(plan, &addresses)?;
            Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
        })
        .await
    }

    /// What the kernel can do.
    pub async fn probe(&self) -> Result<Support, ConntrackError> {
        self.on_the_side(Table::probe).await
    }

    async fn on_the_side<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Table) -> Result<T, ConntrackError> + Send + 'static,
    ) -> Result<T, ConntrackError> {
        let mut table = Arc::clone(&self.table).lock_owned().await;
        let worked = tokio::task::spawn_blocking(move || {
            let result = work(&mut table);
            if result.is_err() {
                table.requests.close();
                table.aside.close();
            }
            result
        });
        match worked.await {
            Ok(result) => result,
            Err(gone) => Err(socket_error("running on the blocking pool")(io::Error::other(gone))),
        }
    }
}

struct Table {
    requests: Requests,
    /// For the walk that goes on beside the first one.
    aside: Requests,
    /// What the kernel has not refused yet.
    filter: Filter,
}

/// A flow and the one of the addresses that it counts for.
type Found = (IpAddr, Key);

impl Table {
    fn free(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<Freed, ConntrackError> {
        let plan = self.plan(addresses, self.filter)?;
        let mut freed = Freed::default();
        let found = if self.filter == Filter::Deletes && !plan.filtered.is_empty() {
            let deletes = |requests: &mut Requests| deleted(requests, &plan.filtered);
            let (found, deleted) = self.beside(plan.whole, addresses, deletes)?;
            let Some(deleted) = deleted else {
                self.filter = Filter::Lists;
                return self.free(addresses);
            };
            freed.per_address.extend(deleted);
            found
        } else {
            self.find(plan, addresses)?
        };
        for chunk in found.chunks(FREED_AT_ONCE) {
            self.delete(chunk, &mut freed)?;
        }
        Ok(freed)
    }

    fn plan(&mut self, addresses: &BTreeSet<IpAddr>, filter: Filter) -> Result<Plan, ConntrackError> {
        let buckets = sysctl("nf_conntrack_buckets").unwrap_or(0);
        Ok(Plan::of(addresses, entries(&mut self.requests)?, buckets, filter))
    }

    /// Deletes and looks up again.
    fn delete(&mut self, flows: &[Found], freed: &mut Freed) -> Result<(), ConntrackError> {
        let count = flows.len() as u32;
        let deletes = self.requests.numbers(2 * count);
        let mut datagram = Vec::new();
        for ((_, key), n) in flows.iter().zip(0_u32..) {
            codec::push_delete(&mut datagram, key, deletes.wrapping_add(n));
        }
        for ((_, key), n) in flows.iter().zip(count..) {
            codec::push_lookup(&mut datagram, key, deletes.wrapping_add(n));
        }
        self.requests.send(&datagram)?;

        let mut pending = 2 * count;
        while pending > 0 {
            for answer in self.requests.receive()? {
                let (seq, answer) = answer?;
                let n = seq.wrapping_sub(deletes);
                if n >= 2 * count {
                    continue;
                }
                pending = pending.saturating_sub(1);
                match (answer, flows.get(n as usize)) {
                    (Answer::Result(0), Some((address, _))) => {
                        *freed.per_address.get_or_insert_with(*address, || 0) += 1;
                    }
                    (Answer::Flow(_), None) => freed.left += 1,
                    // It ended by itself, or is gone as it should.
                    (Answer::Result(errno), _) if errno == -libc::ENOENT => {}
                    (Answer::Result(errno), Some(_)) => return Err(refused("delete", errno)),
                    (Answer::Result(errno), None) => return Err(refused("look up", errno)),
                    (Answer::Flow(_) | Answer::Done | Answer::Entries(_) | Answer::Other, _) => {
                        return Err(ConntrackError::Garbled);
                    }
                }
            }
        }
        Ok(())
    }

    /// Every flow of these addresses, once.
    fn find(&mut self, plan: Plan, addresses: &BTreeSet<IpAddr>) -> Result<Vec<Found>, ConntrackError> {
        if plan.filtered.is_empty() {
            let Some(family) = plan.whole else { return Ok(Vec::new()) };
            let seq = begin(&mut self.requests, family)?;
            return theirs(&mut self.requests, seq, addresses);
        }
        let lists = |requests: &mut Requests| filtered(requests, &plan.filtered, addresses);
        let (mut found, filtered) = self.beside(plan.whole, addresses, lists)?;
        found.extend(filtered);
        Ok(found)
    }

    /// Lists a family, if any, and does other work beside it.
    fn beside<T: Send>(
        &mut self,
        whole: Option<Family>,
        addresses: &BTreeSet<IpAddr>,
        work: impl FnOnce(&mut Requests) -> Result<T, ConntrackError> + Send,
    ) -> Result<(Vec<Found>, T), ConntrackError> {
        let Table { requests, aside, .. } = self;
        let Some(family) = whole else { return Ok((Vec::new(), work(requests)?)) };
        // While the kernel makes the first part of a dump, others wait; afterwards both walks go on. Of a
        // filtered one the first part is often all.
        let seq = begin(requests, family)?;
        thread::scope(|scope| {
            let beside = thread::Builder::new().spawn_scoped(scope, move || work(aside));
            let found = theirs(requests, seq, addresses)?;
            let beside = beside.map_err(socket_error("starting a thread"))?.join();
            Ok((found, beside.unwrap_or(Err(ConntrackError::Garbled))?))
        })
    }

    fn probe(&mut self) -> Result<Support, ConntrackError> {
        let seq = self.requests.numbers(1);
        self.requests.send(&codec::list_with_unknown_filter(seq))?;
        let filter = 'told: loop {
            for answer in self.requests.receive()? {
                match answer? {
                    (number, _) if number != seq => {}
                    (_, Answer::Done) => break 'told false,
                    (_, Answer::Result(errno)) if errno == -libc::EPERM => {
                        return Err(refused("list", errno));
                    }
                    (_, Answer::Result(errno)) => break 'told errno != 0,
                    (_, Answer::Flow(_) | Answer::Entries(_) | Answer::Other) => {}
                }
            }
        };
        Ok(Support {
            filter,
            accounting: sysctl("nf_conntrack_acct") == Some(1),
            buckets: sysctl("nf_conntrack_buckets").unwrap_or(0),
        })
    }
}

/// Begins to list a family, under this number.
fn begin(requests: &mut Requests, family: Family) -> Result<u32, ConntrackError> {
    let seq = requests.numbers(1);
    requests.send(&codec::list(family, seq))?;
    Ok(seq)
}

/// The flows of these addresses in the list of this number.
fn theirs(
    requests: &mut Requests,
    seq: u32,
    addresses: &BTreeSet<IpAddr>,
) -> Result<Vec<Found>, ConntrackError> {
    let mut found = Vec::new();
    requests.listed(seq, |flow| {
        found.extend(whose(flow, addresses).map(|address| (address, flow.key())));
    })?;
    Ok(found)
}

/// The flows of IPv4 addresses by the kernel's filter, one address and one end after the other.
fn filtered(
    requests: &mut Requests,
    v4: &[Ipv4Addr],
    addresses: &BTreeSet<IpAddr>,
) -> Result<Vec<Found>, ConntrackError> {
    let mut found = Vec::new();
    for (address, end) in v4.iter().flat_map(|ip| [(ip, End::Originator), (ip, End::Responder)]) {
        let seq = requests.numbers(1);
        requests.send(&codec::list_of(*address, end, seq))?;
        requests.listed(seq, |flow| {
            // A flow between two of them is in two lists. A kernel that does not filter lists everything.
            let theirs = match end {
                End::Originator => flow.originator == *address,
                End::Responder => flow.responder == *address && !addresses.contains(&flow.originator),
            };
            if theirs {
                found.push(((*address).into(), flow.key()));
            }
        })?;
    }
    Ok(found)
}

/// Deletes the flows of IPv4 addresses by the kernel's filter. How many of each; `None`: this kernel cannot.
fn deleted(requests: &mut Requests, v4: &[Ipv4Addr]) -> Result<Option<Few<IpAddr, u32>>, ConntrackError> {
    let mut deleted = Few::default();
    let mut before = entries(requests)?;
    // Originators first: a flow between two of the addresses counts for its originator.
    for end in [End::Originator, End::Responder] {
        for address in v4 {
            let seq = requests.numbers(1);
            requests.send(&codec::delete_of(*address, end, seq))?;
            match requests.result(seq)? {
                0 => {}
                errno if errno == -libc::EOPNOTSUPP || errno == -libc::EINVAL => return Ok(None),
                errno => return Err(refused("delete", errno)),
            }
            let after = entries(requests)?;
            if let Some(fewer @ 1..) = before.checked_sub(after) {
                *deleted.get_or_insert_with((*address).into(), || 0) += fewer;
            }
            before = after;
        }
    }
    Ok(Some(deleted))
}

/// How many flows the namespace has.
fn entries(requests: &mut Requests) -> Result<u32, ConntrackError> {
    let seq = requests.numbers(1);
    requests.send(&codec::entries(seq))?;
    loop {
        for answer in requests.receive()? {
            match answer? {
                (number, Answer::Entries(entries)) if number == seq => return Ok(entries),
                (number, Answer::Result(errno)) if number == seq => return Err(refused("count", errno)),
                _ => {}
            }
        }
    }
}

fn whose(flow: &Flow<'_>, addresses: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    [flow.originator, flow.responder].into_iter().find(|end| addresses.contains(end))
}

fn sysctl(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok()?.trim().parse().ok()
}
