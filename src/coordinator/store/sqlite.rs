//! The store in one SQLite file (WAL, `synchronous=FULL`): no server to run.
//!
//! Beside `wayleave.db` lies `reserve`, some megabytes that hold room for evictions on a full disk.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sqlite_trade;
use super::{
    Change, GatewayRecord, Loaded, MessageRecord, OutboxRecord, Outcome, SessionRecord, Store, StoreError,
};
use crate::logic::session::{Policy, State};
use crate::logic::trade::purchase::Record;
use crate::model::{
    Bssid, Cause, GrantId, Incarnation, MacAddr, MessageId, PublicKey, PurchaseId, Report, SessionId,
};
use crate::wire::cbor;
use crate::wire::hello::Role;
use crate::wire::ledger::Entry;

/// The file in the state directory.
pub const FILE: &str = "wayleave.db";
const RESERVE_FILE: &str = "reserve";
const RESERVE_BYTES: i64 = 4 << 20;
const SCHEMA: i64 = 4;
/// Reports kept for each gateway.
const REPORTS_KEPT: i64 = 10_000;

const TABLES: &str = "
CREATE TABLE gateway(
  key BLOB PRIMARY KEY NOT NULL, policy TEXT, announce BLOB,
  seen INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID, STRICT;
CREATE TABLE terminal(key BLOB PRIMARY KEY NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE claim(hash BLOB PRIMARY KEY NOT NULL, role TEXT NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE session(
  id BLOB PRIMARY KEY NOT NULL, gateway BLOB NOT NULL, terminal BLOB NOT NULL, station BLOB NOT NULL,
  bssid BLOB NOT NULL, grant_id BLOB NOT NULL, incarnation INTEGER NOT NULL, state TEXT NOT NULL,
  cause TEXT, by_code INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID, STRICT;
CREATE TABLE outbox(
  gateway BLOB NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY(gateway, seq)) WITHOUT ROWID, STRICT;
CREATE TABLE report(
  id INTEGER PRIMARY KEY NOT NULL, gateway BLOB NOT NULL, grant_id BLOB NOT NULL,
  incarnation INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE(gateway, grant_id, incarnation)) STRICT;
CREATE INDEX report_by_gateway ON report(gateway, id);
";

/// What schema 1 lacks; schema 2 has both. What it lacks itself is in `sqlite_trade.rs`.
const BY_CODE: &str = "ALTER TABLE session ADD COLUMN by_code INTEGER NOT NULL DEFAULT 0;";
const MESSAGES: &str = "
CREATE TABLE message(
  id BLOB PRIMARY KEY NOT NULL, body BLOB NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE message_taken(
  message BLOB NOT NULL, terminal BLOB NOT NULL, PRIMARY KEY(message, terminal)) WITHOUT ROWID, STRICT;
";

/// A SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    reserve: PathBuf,
}

impl Sqlite {
    /// Opens the store in a state directory, and makes it if there is none.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE);
        // SQLite makes its files with the mode of the database: 0600 from the beginning.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| StoreError::Io { path: path.clone(), what: "cannot be opened", source })?;
        let connection = Connection::open(&path)?;
        let in_use = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::InUse { path: path.clone() }
            }
            _ => map(error),
        };
        // Exclusive: a second coordinator on the same state is refused, and no shared memory is needed.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(in_use)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(in_use)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
        connection.set_prepared_statement_cache_capacity(64);
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(in_use)?;
        match found {
            SCHEMA => {}
            0..=3 => {
                let lacking = match found {
                    0 => [TABLES, MESSAGES, sqlite_trade::TABLES],
                    1 => [BY_CODE, MESSAGES, sqlite_trade::TABLES],
                    2 => ["", "", sqlite_trade::TABLES],
                    _ => ["", "", ""],
                }
                .concat();
                let draws = sqlite_trade::DRAWS;
                let make =
                    format!("BEGIN IMMEDIATE; {lacking} {draws} PRAGMA user_version={SCHEMA}; COMMIT;");
                connection.execute_batch(&make).map_err(in_use)?;
            }
            found => return Err(StoreError::Newer { path, found, known: SCHEMA }),
        }
        // Takes the exclusive lock now rather than at the first change.
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT;").map_err(in_use)?;
        let mut store = Self { connection, reserve: state_dir.join(RESERVE_FILE) };
        store.hold_reserve();
        Ok(store)
    }
}

impl Store for Sqlite {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        each(&self.connection, "SELECT key, policy, announce, seen, seq FROM gateway ORDER BY key", |row| {
            loaded.gateways.push(GatewayRecord {
                key: PublicKey(octets(row, "gateway", 0)?),
                policy: row.get::<_, Option<String>>(1)?.map(|word| policy(&word)).transpose()?,
                announce: row
                    .get::<_, Option<Vec<u8>>>(2)?
                    .map(|bytes| from_cbor("gateway", &bytes))
                    .transpose()?,
                seen: unsigned(row, "gateway", 3)?,
                seq: unsigned(row, "gateway", 4)?,
            });
            Ok(())
        })?;
        each(&self.connection, "SELECT key FROM terminal ORDER BY key", |row| {
            loaded.terminals.push(PublicKey(octets(row, "terminal", 0)?));
            Ok(())
        })?;
        each(&self.connection, &format!("{SESSION} ORDER BY id"), |row| {
            loaded.sessions.push(session(row)?);
            Ok(())
        })?;
        each(&self.connection, "SELECT gateway, seq, body FROM outbox ORDER BY gateway, seq", |row| {
            loaded.outbox.push(OutboxRecord {
                gateway: PublicKey(octets(row, "outbox", 0)?),
                seq: unsigned(row, "outbox", 1)?,
                body: from_cbor("outbox", &row.get::<_, Vec<u8>>(2)?)?,
            });
            Ok(())
        })?;
        each(&self.connection, "SELECT body, expires FROM message ORDER BY id", |row| {
            loaded.messages.push(MessageRecord {
                message: from_cbor("message", &row.get::<_, Vec<u8>>(0)?)?,
                expires: unsigned(row, "message", 1)?,
                taken: BTreeSet::new(),
            });
            Ok(())
        })?;
        each(&self.connection, "SELECT message, terminal FROM message_taken", |row| {
            let message = MessageId(octets(row, "message_taken", 0)?);
            let terminal = PublicKey(octets(row, "message_taken", 1)?);
            // In the order of their ids.
            if let Ok(at) = loaded.messages.binary_search_by_key(&message, |record| record.message.id) {
                loaded.messages[at].taken.insert(terminal);
            }
            Ok(())
        })?;
        sqlite_trade::load(&self.connection, &mut loaded)?;
        Ok(loaded)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<Vec<Outcome>, StoreError> {
        let transaction = self.connection.transaction().map_err(map)?;
        let outcomes = changes.iter().map(|change| make(&transaction, change)).collect::<Result<_, _>>()?;
        transaction.commit().map_err(map)?;
        Ok(outcomes)
    }

    fn session(&mut self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{SESSION} WHERE id=?1"))?;
        let mut rows = statement.query(params![id.0])?;
        rows.next()?.map(session).transpose()
    }

    fn reports(&mut self, gateway: PublicKey, most: u32) -> Result<Vec<Report>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT body FROM report WHERE gateway=?1 ORDER BY id DESC LIMIT ?2")?;
        let mut rows = statement.query(params![gateway.0, most])?;
        let mut reports = Vec::new();
        while let Some(row) = rows.next()? {
            reports.push(from_cbor("report", &row.get::<_, Vec<u8>>(0)?)?);
        }
        Ok(reports)
    }

    fn purchase(&mut self, id: PurchaseId) -> Result<Option<Record>, StoreError> {
        sqlite_trade::purchase(&self.connection, id)
    }

    fn ledger(&mut self, gateway: PublicKey, after: u64, most: u32) -> Result<Vec<Entry>, StoreError> {
        sqlite_trade::ledger(&self.connection, gateway, after, most)
    }

    fn make_room(&mut self) {
        if let Err(error) = fs::remove_file(&self.reserve)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the reserve cannot be given up");
        }
        // RESTART keeps the file of the log at its length: its room is used again.
        let done =
            self.connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, i64>(0));
        if let Err(error) = done {
            tracing::warn!(%error, "no checkpoint");
        }
    }

    fn hold_reserve(&mut self) -> bool {
        match reserve(&self.reserve) {
            Ok(()) => true,
            Err(_) => {
                let _ = fs::remove_file(&self.reserve);
                false
            }
        }
    }
}

fn reserve(path: &Path) -> std::io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() >= RESERVE_BYTES.unsigned_abs()) {
        return Ok(());
    }
    let file = File::create(path)?;
    nix::fcntl::posix_fallocate(&file, 0, RESERVE_BYTES)?;
    Ok(())
}

const SESSION: &str =
    "SELECT id, gateway, terminal, station, bssid, grant_id, incarnation, state, cause, by_code FROM session";

fn make(transaction: &Transaction<'_>, change: &Change) -> Result<Outcome, StoreError> {
    match change {
        Change::CreateClaim { hash, role, expires, now } => {
            run(transaction, "DELETE FROM claim WHERE expires<=?1", params![signed(*now)])?;
            let insert = "INSERT INTO claim(hash, role, expires) VALUES(?1, ?2, ?3)";
            run(transaction, insert, params![hash, role_word(*role), signed(*expires)])?;
            Ok(Outcome::Done)
        }
        Change::Enrol { key, role, hash, now } => {
            let used = "DELETE FROM claim WHERE hash=?1 AND role=?2 AND expires>?3";
            if run(transaction, used, params![hash, role_word(*role), signed(*now)])? == 0 {
                return Ok(Outcome::NoMatch);
            }
            let enrol = match role {
                Role::Gateway => "INSERT OR IGNORE INTO gateway(key) VALUES(?1)",
                Role::Terminal => "INSERT OR IGNORE INTO terminal(key) VALUES(?1)",
            };
            run(transaction, enrol, params![key.0])?;
            Ok(Outcome::Done)
        }
        Change::Announce { gateway, announce } => {
            let update = "UPDATE gateway SET announce=?2 WHERE key=?1";
            matched(run(transaction, update, params![gateway.0, to_cbor("gateway", announce)?])?)
        }
        Change::Seen { gateway, now } => {
            let update = "UPDATE gateway SET seen=?2 WHERE key=?1";
            matched(run(transaction, update, params![gateway.0, signed(*now)])?)
        }
        Change::SetPolicy { gateway, policy } => {
            let update = "UPDATE gateway SET policy=?2 WHERE key=?1";
            matched(run(transaction, update, params![gateway.0, policy.map(policy_word)])?)
        }
        Change::Open { session, notice } => {
            let upsert = "INSERT OR REPLACE INTO session\
                (id, gateway, terminal, station, bssid, grant_id, incarnation, state, cause, by_code) \
                VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            let row = params![
                session.id.0,
                session.gateway.0,
                session.terminal.0,
                session.station.0,
                session.bssid.0.0,
                session.grant.0,
                session.incarnation.0,
                session.state.word(),
                session.cause.map(Cause::word),
                session.by_code,
            ];
            run(transaction, upsert, row)?;
            post(transaction, session.gateway, notice)
        }
        Change::Keep { session, incarnation, from, to } => {
            let swap = "UPDATE session SET state=?4 WHERE id=?1 AND incarnation=?2 AND state=?3";
            matched(run(transaction, swap, params![session.0, incarnation.0, from.word(), to.word()])?)
        }
        Change::Evict { session, incarnation, from, cause, notice } => {
            let swap = "UPDATE session SET state=?4, cause=?5 \
                WHERE id=?1 AND incarnation=?2 AND state=?3 RETURNING gateway";
            let row = params![session.0, incarnation.0, from.word(), State::Evicting.word(), cause.word()];
            let mut statement = transaction.prepare_cached(swap)?;
            let swapped =
                statement.query_row(row, |row| row.get::<_, [u8; 32]>(0)).optional().map_err(map)?;
            match swapped {
                Some(gateway) => post(transaction, PublicKey(gateway), notice),
                None => Ok(Outcome::NoMatch),
            }
        }
        Change::Acknowledge { gateway, seq, granted, over } => {
            let done = "DELETE FROM outbox WHERE gateway=?1 AND seq<=?2";
            run(transaction, done, params![gateway.0, signed(*seq)])?;
            for (session, incarnation) in granted {
                let swap = "UPDATE session SET state=?4 WHERE id=?1 AND incarnation=?2 AND state=?3";
                let states = (State::Granting.word(), State::Granted.word());
                run(transaction, swap, params![session.0, incarnation.0, states.0, states.1])?;
            }
            for (session, incarnation) in over {
                forget(transaction, *session, *incarnation)?;
            }
            Ok(Outcome::Done)
        }
        Change::Report { gateway, report, over } => {
            let insert = "INSERT OR IGNORE INTO report(gateway, grant_id, incarnation, body) \
                VALUES(?1, ?2, ?3, ?4)";
            let body = to_cbor("report", report)?;
            let new =
                run(transaction, insert, params![gateway.0, report.grant.0, report.incarnation.0, body])?;
            // Not at every one: it looks at all that are kept.
            if new > 0 && transaction.last_insert_rowid() % 100 == 0 {
                let oldest = "DELETE FROM report WHERE id IN \
                    (SELECT id FROM report WHERE gateway=?1 ORDER BY id DESC LIMIT 1000 OFFSET ?2)";
                run(transaction, oldest, params![gateway.0, REPORTS_KEPT])?;
            }
            if let Some((session, incarnation)) = over {
                forget(transaction, *session, *incarnation)?;
            }
            matched(new)
        }
        Change::Push { record } => {
            let insert = "INSERT INTO message(id, body, expires) VALUES(?1, ?2, ?3)";
            let body = to_cbor("message", &record.message)?;
            run(transaction, insert, params![record.message.id.0, body, signed(record.expires)])?;
            Ok(Outcome::Done)
        }
        Change::MessageTaken { message, terminal } => {
            let insert = "INSERT OR IGNORE INTO message_taken(message, terminal) \
                SELECT id, ?2 FROM message WHERE id=?1";
            run(transaction, insert, params![message.0, terminal.0])?;
            Ok(Outcome::Done)
        }
        Change::ForgetMessage { message } => {
            run(transaction, "DELETE FROM message_taken WHERE message=?1", params![message.0])?;
            matched(run(transaction, "DELETE FROM message WHERE id=?1", params![message.0])?)
        }
        Change::Regrant { session, incarnation, notice } => {
            let there = "SELECT gateway FROM session WHERE id=?1 AND incarnation=?2 AND state<>?3";
            let row = params![session.0, incarnation.0, State::Evicting.word()];
            let mut statement = transaction.prepare_cached(there)?;
            let gateway =
                statement.query_row(row, |row| row.get::<_, [u8; 32]>(0)).optional().map_err(map)?;
            match gateway {
                Some(gateway) => post(transaction, PublicKey(gateway), notice),
                None => Ok(Outcome::NoMatch),
            }
        }
        Change::Trade { record, postings, at } => sqlite_trade::keep(transaction, record, postings, *at),
        Change::Draw { draw } => sqlite_trade::keep_draw(transaction, draw),
        Change::Drawn { joins } => sqlite_trade::forget_draws(transaction, joins),
        Change::KeepVoucher { voucher } => sqlite_trade::keep_voucher(transaction, voucher),
        Change::Told { means, event, now } => sqlite_trade::told(transaction, *means, event, *now),
        Change::Forget { session, incarnation } => forget(transaction, *session, *incarnation),
    }
}

fn forget(
    transaction: &Transaction<'_>,
    session: SessionId,
    incarnation: Incarnation,
) -> Result<Outcome, StoreError> {
    let delete = "DELETE FROM session WHERE id=?1 AND incarnation=?2";
    matched(run(transaction, delete, params![session.0, incarnation.0])?)
}

/// Puts a notice into the outbox under the gateway's next number.
fn post(
    transaction: &Transaction<'_>,
    gateway: PublicKey,
    notice: &crate::wire::notice::NoticeBody,
) -> Result<Outcome, StoreError> {
    let next = "UPDATE gateway SET seq=seq+1 WHERE key=?1 RETURNING seq";
    let seq: i64 =
        transaction.prepare_cached(next)?.query_row(params![gateway.0], |row| row.get(0)).map_err(map)?;
    let insert = "INSERT INTO outbox(gateway, seq, body) VALUES(?1, ?2, ?3)";
    run(transaction, insert, params![gateway.0, seq, to_cbor("outbox", notice)?])?;
    Ok(Outcome::Seq(seq.unsigned_abs()))
}

pub(super) fn run(
    transaction: &Transaction<'_>,
    sql: &str,
    row: impl rusqlite::Params,
) -> Result<usize, StoreError> {
    transaction.prepare_cached(sql)?.execute(row).map_err(map)
}

pub(super) fn matched(rows: usize) -> Result<Outcome, StoreError> {
    Ok(if rows == 0 { Outcome::NoMatch } else { Outcome::Done })
}

pub(super) fn map(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        _ => StoreError::Database(error),
    }
}

pub(super) fn each(
    connection: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

fn session(row: &Row<'_>) -> Result<SessionRecord, StoreError> {
    let unreadable = |why: String| StoreError::Unreadable { table: "session", why };
    let state: String = row.get(7)?;
    let incarnation = u32::try_from(row.get::<_, i64>(6)?).map_err(|error| unreadable(error.to_string()))?;
    Ok(SessionRecord {
        id: SessionId(octets(row, "session", 0)?),
        gateway: PublicKey(octets(row, "session", 1)?),
        terminal: PublicKey(octets(row, "session", 2)?),
        station: MacAddr(octets(row, "session", 3)?),
        bssid: Bssid(MacAddr(octets(row, "session", 4)?)),
        grant: GrantId(octets(row, "session", 5)?),
        by_code: row.get(9)?,
        incarnation: Incarnation(incarnation),
        state: State::ALL
            .into_iter()
            .find(|known| known.word() == state)
            .ok_or_else(|| unreadable(format!("state {state:?}")))?,
        cause: row.get::<_, Option<String>>(8)?.map(|word| cause(&word)).transpose()?,
    })
}

pub(super) fn octets<const N: usize>(
    row: &Row<'_>,
    table: &'static str,
    column: usize,
) -> Result<[u8; N], StoreError> {
    row.get(column).map_err(|error| StoreError::Unreadable { table, why: error.to_string() })
}

pub(super) fn unsigned(row: &Row<'_>, table: &'static str, column: usize) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(column)?)
        .map_err(|error| StoreError::Unreadable { table, why: error.to_string() })
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn to_cbor<T: Serialize>(table: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    cbor::encode(value).map_err(|error| StoreError::Unreadable { table, why: error.to_string() })
}

pub(super) fn from_cbor<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    cbor::decode(bytes).map_err(|error| StoreError::Unreadable { table, why: error.to_string() })
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Gateway => "gateway",
        Role::Terminal => "terminal",
    }
}

fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::Corroborate => "corroborate",
        Policy::Strict => "strict",
    }
}

fn policy(word: &str) -> Result<Policy, StoreError> {
    [Policy::Corroborate, Policy::Strict]
        .into_iter()
        .find(|policy| policy_word(*policy) == word)
        .ok_or_else(|| StoreError::Unreadable { table: "gateway", why: format!("policy {word:?}") })
}

/// The word as serde has it: [`Cause::word`] and the wire are the same.
fn cause(word: &str) -> Result<Cause, StoreError> {
    serde_json::from_value(serde_json::Value::from(word))
        .map_err(|error| StoreError::Unreadable { table: "session", why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::super::{conformance, conformance_trade};
    use super::*;

    #[test]
    fn it_conforms() {
        conformance::all(|dir| Box::new(Sqlite::open(dir).unwrap()));
        conformance_trade::all(|dir| Box::new(Sqlite::open(dir).unwrap()));
    }

    #[test]
    fn a_second_coordinator_and_a_newer_schema_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = Sqlite::open(dir.path()).unwrap();
        assert!(matches!(Sqlite::open(dir.path()), Err(StoreError::InUse { .. })));
        first.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(first);
        assert!(matches!(Sqlite::open(dir.path()), Err(StoreError::Newer { found: 99, .. })));
    }

    #[test]
    fn what_an_earlier_version_kept_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Sqlite::open(dir.path()).unwrap();
        let row = "INSERT INTO session(id, gateway, terminal, station, bssid, grant_id, incarnation, state) \
            VALUES(zeroblob(16), zeroblob(32), zeroblob(32), zeroblob(6), zeroblob(6), zeroblob(16), 1, 'active')";
        let third = "DROP TABLE draw; PRAGMA user_version=3;";
        let second = "DROP TABLE purchase; DROP TABLE ledger; DROP TABLE voucher; DROP TABLE told; \
                      PRAGMA user_version=2;";
        let first = "ALTER TABLE session DROP COLUMN by_code; DROP TABLE message; DROP TABLE message_taken; \
                     PRAGMA user_version=1;";
        store.connection.execute_batch(&format!("{row}; {third} {second} {first}")).unwrap();
        drop(store);
        for earlier in [format!("{third} {second}"), third.to_owned(), String::new()] {
            let mut store = Sqlite::open(dir.path()).unwrap();
            let sessions = store.load().unwrap().sessions;
            assert_eq!(sessions.len(), 1);
            assert!(!sessions[0].by_code && sessions[0].state == State::Active);
            store.connection.execute_batch(&earlier).unwrap();
        }
    }

    #[test]
    fn garbage_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, [7; 8192]).unwrap();
        assert!(matches!(Sqlite::open(dir.path()), Err(StoreError::Database(_))));
        assert_eq!(fs::read(&path).unwrap(), [7; 8192]);
    }
}
