//! One thread owns the store; changes that wait together are committed together.
//!
//! What is made is told by the callback that came with the change, in the order in which they came. When
//! the disk is full, changes that take on something new are refused at once; the others, evictions among
//! them, wait and go on in the room that the reserve gives. Any other failure is final: the coordinator ends
//! rather than to say things that are not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Change, Outcome, Store, StoreError};
use crate::coordinator::store::SessionRecord;
use crate::logic::trade::purchase::Record;
use crate::model::{PublicKey, PurchaseId, Report, SessionId};
use crate::wire::ledger::Entry;

/// Most changes in one transaction.
const GROUP: usize = 256;
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// The store failed or is closing.
    #[error("the store is closed")]
    Closed,
}

type Done = Box<dyn FnOnce(Result<Outcome, NotKept>) + Send>;

enum Job {
    Change(Box<Change>, Done),
    Session(SessionId, Box<dyn FnOnce(Option<SessionRecord>) + Send>),
    Reports(PublicKey, u32, Box<dyn FnOnce(Vec<Report>) + Send>),
    Purchase(PurchaseId, Box<dyn FnOnce(Option<Record>) + Send>),
    Ledger(PublicKey, u64, u32, Box<dyn FnOnce(Vec<Entry>) + Send>),
    Stop,
}

/// The way to the store; cheap to clone.
#[derive(Clone)]
pub struct Writer {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    full: AtomicBool,
    closing: AtomicBool,
    commits: AtomicU64,
    changes: AtomicU64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// The thread; ends when it is joined.
#[derive(Debug)]
pub struct WriterThread {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `failed` is called once if the store fails for good.
    pub fn start(
        mut store: Box<dyn Store>,
        failed: impl FnOnce(StoreError) + Send + 'static,
    ) -> std::io::Result<(Writer, WriterThread)> {
        let (jobs, queue) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let writer = Writer { jobs: jobs.clone(), shared: Arc::clone(&shared) };
        let ending = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            if let Err(error) = work(store.as_mut(), &queue, &shared) {
                failed(error);
            }
        })?;
        Ok((writer, WriterThread { jobs, shared: ending, thread: Some(thread) }))
    }

    /// Makes a change; `done` runs on the store's thread after it is durable, or not made. Once the store is
    /// closed, `done` is dropped: it may want a lock that the caller holds.
    pub fn submit(&self, change: Change, done: impl FnOnce(Result<Outcome, NotKept>) + Send + 'static) {
        drop(self.jobs.send(Job::Change(Box::new(change), Box::new(done))));
    }

    /// Makes a change and waits.
    pub async fn make(&self, change: Change) -> Result<Outcome, NotKept> {
        let (done, wait) = tokio::sync::oneshot::channel();
        self.submit(change, move |outcome| {
            // Whoever asked may have gone away.
            let _ = done.send(outcome);
        });
        wait.await.unwrap_or(Err(NotKept::Closed))
    }

    /// Reads one session as it is kept.
    pub fn session(&self, id: SessionId, done: impl FnOnce(Option<SessionRecord>) + Send + 'static) {
        // A closed store answers nobody; the process is ending then.
        drop(self.jobs.send(Job::Session(id, Box::new(done))));
    }

    /// The newest reports of a gateway.
    pub async fn reports(&self, gateway: PublicKey, most: u32) -> Vec<Report> {
        let (done, wait) = tokio::sync::oneshot::channel();
        let done = Box::new(move |reports| drop(done.send(reports)));
        drop(self.jobs.send(Job::Reports(gateway, most, done)));
        wait.await.unwrap_or_default()
    }

    /// Reads one purchase as it is kept.
    pub fn purchase(&self, id: PurchaseId, done: impl FnOnce(Option<Record>) + Send + 'static) {
        drop(self.jobs.send(Job::Purchase(id, Box::new(done))));
    }

    /// Entries of a ledger behind this one.
    pub async fn ledger(&self, gateway: PublicKey, after: u64, most: u32) -> Vec<Entry> {
        let (done, wait) = tokio::sync::oneshot::channel();
        let done = Box::new(move |entries| drop(done.send(entries)));
        drop(self.jobs.send(Job::Ledger(gateway, after, most, done)));
        wait.await.unwrap_or_default()
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// Transactions and changes so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.commits.load(Ordering::Relaxed), self.shared.changes.load(Ordering::Relaxed))
    }
}

impl WriterThread {
    /// Everything submitted before is made, then the store is closed. On a disk that stays full, what
    /// cannot be kept is given up: a restart begins from what is kept.
    pub fn join(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        drop(self.jobs.send(Job::Stop));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work(store: &mut dyn Store, queue: &Receiver<Job>, shared: &Shared) -> Result<(), StoreError> {
    let mut reserve_tried = Instant::now();
    loop {
        let first = match queue.recv_timeout(Duration::from_secs(5)) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        if shared.full.load(Ordering::Relaxed) && reserve_tried.elapsed() >= FULL_RETRY {
            reserve_tried = Instant::now();
            if store.hold_reserve() {
                tracing::warn!("the disk has room again: new grants are taken");
                shared.full.store(false, Ordering::Relaxed);
            }
        }
        let mut changes = Vec::new();
        let mut dones = Vec::new();
        let mut next = first;
        while let Some(job) = next.take() {
            match job {
                Job::Change(change, done) if change.is_new() && shared.full.load(Ordering::Relaxed) => {
                    done(Err(NotKept::Full));
                }
                Job::Change(change, done) => {
                    changes.push(*change);
                    dones.push(done);
                }
                Job::Session(id, done) => {
                    commit(store, &mut changes, &mut dones, shared, &mut reserve_tried)?;
                    done(store.session(id)?);
                }
                Job::Reports(gateway, most, done) => {
                    commit(store, &mut changes, &mut dones, shared, &mut reserve_tried)?;
                    done(store.reports(gateway, most)?);
                }
                Job::Purchase(id, done) => {
                    commit(store, &mut changes, &mut dones, shared, &mut reserve_tried)?;
                    done(store.purchase(id)?);
                }
                Job::Ledger(gateway, after, most, done) => {
                    commit(store, &mut changes, &mut dones, shared, &mut reserve_tried)?;
                    done(store.ledger(gateway, after, most)?);
                }
                Job::Stop => return commit(store, &mut changes, &mut dones, shared, &mut reserve_tried),
            }
            if changes.len() < GROUP {
                next = queue.try_recv().ok();
            }
        }
        commit(store, &mut changes, &mut dones, shared, &mut reserve_tried)?;
    }
}

fn commit(
    store: &mut dyn Store,
    changes: &mut Vec<Change>,
    dones: &mut Vec<Done>,
    shared: &Shared,
    reserve_tried: &mut Instant,
) -> Result<(), StoreError> {
    while !changes.is_empty() {
        match store.apply(changes) {
            Ok(outcomes) => {
                shared.commits.fetch_add(1, Ordering::Relaxed);
                shared.changes.fetch_add(changes.len() as u64, Ordering::Relaxed);
                changes.clear();
                for (done, outcome) in dones.drain(..).zip(outcomes) {
                    done(Ok(outcome));
                }
            }
            Err(StoreError::Full) => {
                if !shared.full.swap(true, Ordering::Relaxed) {
                    tracing::error!("the disk is full: no new grants until there is room");
                } else if !changes.iter().any(Change::is_new) {
                    // Not even the reserve suffices; what is asked for stays in order and waits.
                    if shared.closing.load(Ordering::Relaxed) {
                        tracing::error!(changes = changes.len(), "given up: the disk is full");
                        return Err(StoreError::Full);
                    }
                    std::thread::sleep(FULL_RETRY);
                }
                *reserve_tried = Instant::now();
                store.make_room();
                let (mut kept, mut kept_dones) = (Vec::new(), Vec::new());
                for (change, done) in changes.drain(..).zip(dones.drain(..)) {
                    if change.is_new() {
                        done(Err(NotKept::Full));
                    } else {
                        kept.push(change);
                        kept_dones.push(done);
                    }
                }
                (*changes, *dones) = (kept, kept_dones);
            }
            Err(error) => {
                for done in dones.drain(..) {
                    done(Err(NotKept::Closed));
                }
                return Err(error);
            }
        }
    }
    Ok(())
}
