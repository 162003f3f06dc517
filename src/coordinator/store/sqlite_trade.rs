//! Purchases, the ledger and vouchers in the SQLite file.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::sqlite::{each, from_cbor, matched, octets, run, signed, to_cbor, unsigned};
use super::{Loaded, Outcome, StoreError};
use crate::logic::trade::draws::{Draw, Join};
use crate::logic::trade::purchase::{Record, State};
use crate::logic::trade::vouchers::Voucher;
use crate::model::trade::{Means, Posting};
use crate::model::{GrantId, Incarnation, PublicKey, PurchaseId};
use crate::wire::ledger::{Entry, Head, Link};

/// What schema 2 lacks. Nothing here removes or changes a row of `ledger`.
pub(super) const TABLES: &str = "
CREATE TABLE purchase(
  id BLOB PRIMARY KEY NOT NULL, state TEXT NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE ledger(
  gateway BLOB NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, key TEXT NOT NULL UNIQUE, posting BLOB NOT NULL,
  previous BLOB NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(gateway, seq)) WITHOUT ROWID, STRICT;
CREATE TABLE voucher(hash BLOB PRIMARY KEY NOT NULL, body BLOB NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE told(
  means TEXT NOT NULL, event TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(means, event)) WITHOUT ROWID, STRICT;
";

/// What schema 3 lacks.
pub(super) const DRAWS: &str = "
CREATE TABLE draw(
  grant_id BLOB NOT NULL, incarnation INTEGER NOT NULL, gateway BLOB NOT NULL, terminal BLOB NOT NULL,
  bytes INTEGER NOT NULL, PRIMARY KEY(grant_id, incarnation)) WITHOUT ROWID, STRICT;
";

/// How long events of providers are remembered: longer than any of them repeats one.
const REMEMBERED: u64 = 31 * 86_400;

pub(super) fn load(connection: &Connection, loaded: &mut Loaded) -> Result<(), StoreError> {
    each(connection, "SELECT state, body FROM purchase ORDER BY id", |row| {
        let word: String = row.get(0)?;
        let over = State::ALL.iter().any(|state| state.word() == word && state.is_final());
        if !over {
            loaded.purchases.push(from_cbor("purchase", &row.get::<_, Vec<u8>>(1)?)?);
        }
        Ok(())
    })?;
    each(connection, "SELECT body FROM voucher ORDER BY hash", |row| {
        loaded.vouchers.push(from_cbor("voucher", &row.get::<_, Vec<u8>>(0)?)?);
        Ok(())
    })?;
    let draws =
        "SELECT grant_id, incarnation, gateway, terminal, bytes FROM draw ORDER BY grant_id, incarnation";
    each(connection, draws, |row| {
        loaded.draws.push(Draw {
            join: (GrantId(octets(row, "draw", 0)?), Incarnation(row.get(1)?)),
            gateway: PublicKey(octets(row, "draw", 2)?),
            terminal: PublicKey(octets(row, "draw", 3)?),
            bytes: unsigned(row, "draw", 4)?,
            over: None,
        });
        Ok(())
    })
}

pub(super) fn purchase(connection: &Connection, id: PurchaseId) -> Result<Option<Record>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT body FROM purchase WHERE id=?1")?;
    let body = statement.query_row(params![id.0], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    body.map(|body| from_cbor("purchase", &body)).transpose()
}

pub(super) fn ledger(
    connection: &Connection,
    gateway: PublicKey,
    after: u64,
    most: u32,
) -> Result<Vec<Entry>, StoreError> {
    let select = "SELECT gateway, seq, at, posting, previous, hash FROM ledger \
        WHERE gateway=?1 AND seq>?2 ORDER BY seq LIMIT ?3";
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query(params![gateway.0, signed(after), most])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(entries)
}

fn entry(row: &Row<'_>) -> Result<Entry, StoreError> {
    Ok(Entry {
        gateway: PublicKey(octets(row, "ledger", 0)?),
        seq: unsigned(row, "ledger", 1)?,
        at: unsigned(row, "ledger", 2)?,
        posting: from_cbor("ledger", &row.get::<_, Vec<u8>>(3)?)?,
        previous: Link(octets(row, "ledger", 4)?),
        hash: Link(octets(row, "ledger", 5)?),
    })
}

pub(super) fn keep(
    transaction: &Transaction<'_>,
    record: &Record,
    postings: &[Posting],
    at: u64,
) -> Result<Outcome, StoreError> {
    for posting in postings {
        let mut statement = transaction.prepare_cached("SELECT 1 FROM ledger WHERE key=?1")?;
        if statement.exists(params![posting.key()])? {
            return Ok(Outcome::NoMatch);
        }
    }
    let body = to_cbor("purchase", record)?;
    let (id, state, version) = (record.id.0, record.state.word(), signed(record.version));
    let kept = match record.version {
        1 => {
            let insert = "INSERT OR IGNORE INTO purchase(id, state, version, body) VALUES(?1, ?2, ?3, ?4)";
            run(transaction, insert, params![id, state, version, body])?
        }
        _ => {
            let swap = "UPDATE purchase SET state=?2, version=?3, body=?4 WHERE id=?1 AND version=?3-1";
            run(transaction, swap, params![id, state, version, body])?
        }
    };
    if kept == 0 {
        return Ok(Outcome::NoMatch);
    }
    for posting in postings {
        append(transaction, record.gateway, *posting, at)?;
    }
    Ok(Outcome::Done)
}

fn append(
    transaction: &Transaction<'_>,
    gateway: PublicKey,
    posting: Posting,
    at: u64,
) -> Result<(), StoreError> {
    let last = "SELECT seq, hash FROM ledger WHERE gateway=?1 ORDER BY seq DESC LIMIT 1";
    let mut statement = transaction.prepare_cached(last)?;
    let mut rows = statement.query(params![gateway.0])?;
    let head = match rows.next()? {
        Some(row) => {
            Head { gateway, seq: unsigned(row, "ledger", 0)?, hash: Link(octets(row, "ledger", 1)?) }
        }
        None => Head::empty(gateway),
    };
    drop(rows);
    let Entry { seq, previous, hash, .. } = head.next(posting, at);
    let insert = "INSERT INTO ledger(gateway, seq, at, key, posting, previous, hash) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let body = to_cbor("ledger", &posting)?;
    let row = params![gateway.0, signed(seq), signed(at), posting.key(), body, previous.0, hash.0];
    run(transaction, insert, row).map(drop)
}

pub(super) fn keep_draw(transaction: &Transaction<'_>, draw: &Draw) -> Result<Outcome, StoreError> {
    let (grant, incarnation) = draw.join;
    let upsert = "INSERT OR REPLACE INTO draw(grant_id, incarnation, gateway, terminal, bytes) VALUES(?1, ?2, ?3, ?4, ?5)";
    let row = params![grant.0, incarnation.0, draw.gateway.0, draw.terminal.0, signed(draw.bytes)];
    run(transaction, upsert, row)?;
    Ok(Outcome::Done)
}

pub(super) fn forget_draws(transaction: &Transaction<'_>, joins: &[Join]) -> Result<Outcome, StoreError> {
    for (grant, incarnation) in joins {
        let delete = "DELETE FROM draw WHERE grant_id=?1 AND incarnation=?2";
        run(transaction, delete, params![grant.0, incarnation.0])?;
    }
    Ok(Outcome::Done)
}

pub(super) fn keep_voucher(transaction: &Transaction<'_>, voucher: &Voucher) -> Result<Outcome, StoreError> {
    let upsert = "INSERT OR REPLACE INTO voucher(hash, body) VALUES(?1, ?2)";
    run(transaction, upsert, params![voucher.hash.0, to_cbor("voucher", voucher)?])?;
    Ok(Outcome::Done)
}

pub(super) fn told(
    transaction: &Transaction<'_>,
    means: Means,
    event: &str,
    now: u64,
) -> Result<Outcome, StoreError> {
    let old = signed(now.saturating_sub(REMEMBERED));
    run(transaction, "DELETE FROM told WHERE at<?1", params![old])?;
    let insert = "INSERT OR IGNORE INTO told(means, event, at) VALUES(?1, ?2, ?3)";
    matched(run(transaction, insert, params![means.word(), event, signed(now)])?)
}
