//! Where a gateway keeps what it sells by itself: one journal for purchases, vouchers and plans, and the ledger.
//!
//! The journal is what counts. Postings stand in it with the step that they belong to and are then written into the ledger,
//! once each; those that a loss of power kept from it are written at the next start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::clock;
use crate::host::journal::{Journal, JournalError};
use crate::host::ledger::{self, LedgerError, LedgerFile};
use crate::logic::trade::till::{Line, Till};
use crate::logic::trade::vouchers::Voucher;
use crate::model::trade::Money;
use crate::model::{BootId, BootTime, Millis, Refusal, Secret};
use crate::wire::cbor;
use crate::wire::local::NewVouchers;
use crate::wire::sign::Identity;
use crate::wire::voucher::VoucherCode;

/// The journal in the state directory.
const FILE: &str = "trade.journal";
/// Octets after which the journal is written anew, if that makes it half as long.
const LONG: u64 = 256 * 1024;

const USUAL: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);
const MOST: std::time::Duration = std::time::Duration::from_secs(10 * 365 * 86_400);
const MOST_AT_ONCE: u32 = 1000;

/// Why nothing is sold.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A line is of another program.
    #[error("{}: a line that cannot be read: was it written by a newer program?", path.display())]
    Foreign {
        /// The journal.
        path: PathBuf,
    },
}

/// What is sold here, on the disk and in memory.
pub(super) struct Store {
    pub till: Till,
    journal: Journal,
    ledger: LedgerFile,
    state_dir: PathBuf,
    /// What the journal had when it was last written anew.
    short: u64,
}

impl Store {
    /// Opens both, and brings the ledger up to the journal.
    pub fn open(state_dir: &Path, identity: Arc<Identity>, now: BootTime) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE);
        let mut ledger = LedgerFile::open(&state_dir.join(ledger::FILE), identity.public())?;
        let (journal, lines) = Journal::open(&path)?;
        let foreign = |_| StoreError::Foreign { path: path.clone() };
        let steps: Vec<Vec<Line>> =
            lines.iter().map(|line| cbor::decode(line).map_err(foreign)).collect::<Result<_, _>>()?;
        let lines: Vec<Line> = steps.into_iter().flatten().collect();
        lines.iter().try_for_each(|line| write_down(&mut ledger, line))?;
        let boot = clock::boot_id().unwrap_or(BootId([0; 16]));
        let till = Till::new(identity, boot, lines, clock::calendar(), now);
        let mut store = Self { till, journal, ledger, state_dir: state_dir.to_owned(), short: 0 };
        store.shorten(now)?;
        Ok(store)
    }

    /// Keeps these, whole, before anything that follows from them.
    pub fn keep(&mut self, lines: &[Line], now: BootTime) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        // One line of the journal: all of it counts, or nothing.
        self.journal.append(&[encoded(lines)])?;
        lines.iter().try_for_each(|line| write_down(&mut self.ledger, line))?;
        if self.journal.length() > LONG.max(2 * self.short) {
            self.shorten(now)?;
        }
        Ok(())
    }

    fn shorten(&mut self, now: BootTime) -> Result<(), StoreError> {
        // Everything in memory is on the disk, and its postings in the ledger.
        let lines = self.till.lines(clock::calendar(), now);
        let lines: Vec<Vec<u8>> = lines.chunks(1).map(encoded).collect();
        let length: usize = lines.iter().map(|line| 2 * line.len() + 10).sum();
        if 2 * (length as u64) < self.journal.length() {
            self.journal.replace(&lines)?;
        }
        self.short = self.journal.length();
        Ok(())
    }

    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.state_dir.join(ledger::FILE)
    }

    /// Makes vouchers; they count once the till's actions are kept.
    pub fn print(&mut self, count: u32, value: Money, valid: Option<Millis>) -> Result<NewVouchers, Refusal> {
        if count == 0 || count > MOST_AT_ONCE || value.is_none() {
            let sentence =
                format!("{count} vouchers of {value}: 1 to {MOST_AT_ONCE} of more than nothing can be made");
            return Err(Refusal::new("bad-vouchers", sentence));
        }
        let Some(calendar) = clock::known_calendar() else {
            let sentence = "this machine does not know the date, and a voucher is good until one: let it ask a time server";
            return Err(Refusal::new("no-date", sentence));
        };
        let valid = valid.map_or(USUAL, |valid| valid.at_most(MOST)).max(std::time::Duration::from_secs(1));
        let expires = calendar.saturating_add(valid.as_secs());
        let mut codes = Vec::new();
        for _ in 0..count {
            let code = VoucherCode::generate();
            self.till.issue(Voucher { hash: code.hash(), value, expires, taken: BTreeMap::new() });
            codes.push(Secret::new(code.reveal()));
        }
        Ok(NewVouchers { codes, value, valid: valid.into() })
    }
}

fn encoded(lines: &[Line]) -> Vec<u8> {
    cbor::encode(&lines).expect("plain fields make CBOR")
}

fn write_down(ledger: &mut LedgerFile, line: &Line) -> Result<(), LedgerError> {
    let Line::Purchase { postings, at, .. } = line else { return Ok(()) };
    postings.iter().try_for_each(|posting| ledger.append(*posting, *at).map(drop))
}
