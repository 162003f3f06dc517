//! What must survive a restart: gateways, claims, sessions, the outbox, reports, purchases and where they are used, the
//! ledger. Verbs, not tables.
//!
//! Every [`Change`] of one [`Store::apply`] is made in one transaction, all or none. No rule of the domain
//! lives in here: the caller names the state that it expects ([`Change::Keep`], [`Change::Evict`]) and the
//! store compares and swaps. Heartbeats never come here.
//!
//! Read next: [`writer`] (one thread, group commit), `sqlite.rs`, and `conformance.rs`, which every backend
//! passes.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_trade;
mod sqlite;
mod sqlite_trade;
pub mod writer;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use sqlite::Sqlite;

use crate::logic::session::{Policy, State};
use crate::logic::trade::draws::{Draw, Join};
use crate::logic::trade::purchase::Record;
use crate::logic::trade::vouchers::Voucher;
use crate::model::trade::{Means, Posting};
use crate::model::{
    Bssid, Cause, GrantId, Incarnation, MacAddr, Message, MessageId, PublicKey, PurchaseId, Report, SessionId,
};
use crate::wire::gateway::Announce;
use crate::wire::hello::Role;
use crate::wire::ledger::Entry;
use crate::wire::notice::NoticeBody;

/// Why something was not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room on the disk.
    #[error("the disk is full")]
    Full,
    /// Another process has it open.
    #[error("{}: another coordinator uses it", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Made by a newer program.
    #[error("{}: schema {found}; this program knows up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// What is in it cannot be read.
    #[error("a row of {table} cannot be read: {why}")]
    Unreadable {
        /// Which table.
        table: &'static str,
        /// For people.
        why: String,
    },
    /// The database says no.
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    /// The file system says no.
    #[error("{}: {what}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// SHA-256 of a claim code; the code itself is never kept.
pub type ClaimHash = [u8; 32];

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A claim that works once. Times are seconds since 1970 by this machine's calendar.
    CreateClaim {
        /// Of its code.
        hash: ClaimHash,
        /// Who may use it.
        role: Role,
        /// It works before this second.
        expires: u64,
        /// Those that expired before this second are removed.
        now: u64,
    },
    /// Uses a claim up and enrols the key; [`Outcome::Done`], or [`Outcome::NoMatch`] and nothing changed.
    Enrol {
        /// The key enrolled.
        key: PublicKey,
        /// As what.
        role: Role,
        /// Of the code shown.
        hash: ClaimHash,
        /// Seconds since 1970.
        now: u64,
    },
    /// What a gateway shares now.
    Announce {
        /// The gateway.
        gateway: PublicKey,
        /// What it says.
        announce: Announce,
    },
    /// A gateway was connected at this second.
    Seen {
        /// The gateway.
        gateway: PublicKey,
        /// Seconds since 1970.
        now: u64,
    },
    /// What silence leads to at a gateway; `None`: what the configuration says.
    SetPolicy {
        /// The gateway.
        gateway: PublicKey,
        /// The policy.
        policy: Option<Policy>,
    },
    /// A session with its present join, and the notice of its grant; [`Outcome::Seq`].
    Open {
        /// As it is to be kept.
        session: SessionRecord,
        /// For its gateway.
        notice: NoticeBody,
    },
    /// Compare-and-swap of a state; [`Outcome::NoMatch`] if the join is not in `from`.
    Keep {
        /// Which.
        session: SessionId,
        /// Which join.
        incarnation: Incarnation,
        /// The state expected.
        from: State,
        /// The new one.
        to: State,
    },
    /// Compare-and-swap to `Evicting`, and the notice; [`Outcome::Seq`] or [`Outcome::NoMatch`].
    Evict {
        /// Which.
        session: SessionId,
        /// Which join.
        incarnation: Incarnation,
        /// The state expected.
        from: State,
        /// Why.
        cause: Cause,
        /// For its gateway.
        notice: NoticeBody,
    },
    /// A gateway has carried out every notice up to this one.
    Acknowledge {
        /// The gateway.
        gateway: PublicKey,
        /// Cumulative.
        seq: u64,
        /// Joins whose grant was among them: from `Granting` to `Granted`.
        granted: Vec<(SessionId, Incarnation)>,
        /// Joins whose eviction was among them: removed.
        over: Vec<(SessionId, Incarnation)>,
    },
    /// A gateway's report; kept once for each join of a grant, [`Outcome::NoMatch`] if it was kept before. Sessions that it
    /// ends are removed.
    Report {
        /// The gateway.
        gateway: PublicKey,
        /// What it says.
        report: Report,
        /// The join that the gateway ended by itself.
        over: Option<(SessionId, Incarnation)>,
    },
    /// A message for terminals.
    Push {
        /// As it is to be kept.
        record: MessageRecord,
    },
    /// A terminal has a message; nothing where the message is over.
    MessageTaken {
        /// Which message.
        message: MessageId,
        /// Which terminal.
        terminal: PublicKey,
    },
    /// A message is over.
    ForgetMessage {
        /// Which.
        message: MessageId,
    },
    /// Says the grant of a join again, with other numbers; [`Outcome::Seq`], or [`Outcome::NoMatch`] if the join is over.
    Regrant {
        /// Which.
        session: SessionId,
        /// Which join.
        incarnation: Incarnation,
        /// For its gateway.
        notice: NoticeBody,
    },
    /// A purchase as it stands now, and what that means in money; both or neither. [`Outcome::NoMatch`] if the version before
    /// it is not the one that is kept, or one of the postings is there already.
    Trade {
        /// As it is to be kept.
        record: Box<Record>,
        /// For the ledger of its gateway.
        postings: Vec<Posting>,
        /// Seconds since 1970.
        at: u64,
    },
    /// What a join may let through, before its gateway is told.
    Draw {
        /// As it is to be kept.
        draw: Draw,
    },
    /// What these joins let through is counted, or never will be.
    Drawn {
        /// Which.
        joins: Vec<Join>,
    },
    /// A voucher as it stands now.
    KeepVoucher {
        /// As it is to be kept.
        voucher: Voucher,
    },
    /// A provider has told something; [`Outcome::NoMatch`] if it had told this before.
    Told {
        /// By which means it is a provider.
        means: Means,
        /// What it calls it.
        event: String,
        /// Seconds since 1970; what is older than a month is forgotten.
        now: u64,
    },
    /// Removes what is left of a join.
    Forget {
        /// Which.
        session: SessionId,
        /// Which join.
        incarnation: Incarnation,
    },
}

impl Change {
    /// Whether it takes on something new; such changes are refused when the disk is full, the others wait.
    pub fn is_new(&self) -> bool {
        match self {
            Change::CreateClaim { .. } | Change::Enrol { .. } | Change::Open { .. } | Change::Push { .. } => {
                true
            }
            Change::Trade { record, .. } => record.version == 1,
            Change::Announce { .. }
            | Change::Seen { .. }
            | Change::SetPolicy { .. }
            | Change::Keep { .. }
            | Change::Evict { .. }
            | Change::Acknowledge { .. }
            | Change::Report { .. }
            | Change::MessageTaken { .. }
            | Change::ForgetMessage { .. }
            | Change::Regrant { .. }
            | Change::Draw { .. }
            | Change::Drawn { .. }
            | Change::KeepVoucher { .. }
            | Change::Told { .. }
            | Change::Forget { .. } => false,
        }
    }
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Made.
    Done,
    /// Made; its notice has this number.
    Seq(u64),
    /// What it expected is not there; nothing changed.
    NoMatch,
}

/// A session as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// At which gateway.
    pub gateway: PublicKey,
    /// Of which terminal.
    pub terminal: PublicKey,
    /// The terminal's address there.
    pub station: MacAddr,
    /// The access point that it chose.
    pub bssid: Bssid,
    /// Its grant.
    pub grant: GrantId,
    /// Whether its grant has an access code of its own; the code itself is the gateway's and the terminal's only.
    pub by_code: bool,
    /// Which join.
    pub incarnation: Incarnation,
    /// Where it stands.
    pub state: State,
    /// Why it is being evicted.
    pub cause: Option<Cause>,
}

/// A gateway as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRecord {
    /// Its key.
    pub key: PublicKey,
    /// What was set; `None`: what the configuration says.
    pub policy: Option<Policy>,
    /// What it said last.
    pub announce: Option<Announce>,
    /// Seconds since 1970; 0: never.
    pub seen: u64,
    /// The number of its latest durable notice.
    pub seq: u64,
}

/// A notice that was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRecord {
    /// For which gateway.
    pub gateway: PublicKey,
    /// Its number.
    pub seq: u64,
    /// What to do.
    pub body: NoticeBody,
}

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// What, and to whom.
    pub message: Message,
    /// Told before this second, by this machine's calendar (since 1970).
    pub expires: u64,
    /// Who has it.
    pub taken: BTreeSet<PublicKey>,
}

/// Everything, as it is read at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// By key.
    pub gateways: Vec<GatewayRecord>,
    /// Terminals that were enrolled.
    pub terminals: Vec<PublicKey>,
    /// By id.
    pub sessions: Vec<SessionRecord>,
    /// By gateway and number.
    pub outbox: Vec<OutboxRecord>,
    /// By id.
    pub messages: Vec<MessageRecord>,
    /// Those of which something is still to come, by id.
    pub purchases: Vec<Record>,
    /// By hash.
    pub vouchers: Vec<Voucher>,
    /// What is not reported, by join.
    pub draws: Vec<Draw>,
}

/// What keeps.
pub trait Store: Send {
    /// Everything that is kept, without claims and reports.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Makes all changes in one durable transaction, in order; on an error, none.
    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Outcome>, StoreError>;

    /// One session.
    fn session(&mut self, id: SessionId) -> Result<Option<SessionRecord>, StoreError>;

    /// The newest reports of a gateway, newest first.
    fn reports(&mut self, gateway: PublicKey, most: u32) -> Result<Vec<Report>, StoreError>;

    /// One purchase, over or not.
    fn purchase(&mut self, id: PurchaseId) -> Result<Option<Record>, StoreError>;

    /// Entries of the ledger of a gateway behind this one, oldest first.
    fn ledger(&mut self, gateway: PublicKey, after: u64, most: u32) -> Result<Vec<Entry>, StoreError>;

    /// The disk is full: gives up what was held in reserve, so that evictions can go on.
    fn make_room(&mut self);

    /// Takes the reserve again; `false` while there is no room for it.
    fn hold_reserve(&mut self) -> bool;
}
