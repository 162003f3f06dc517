//! The ledger of a gateway, entry by entry: each holds the hash of the one before it, so none can be changed, left out or put
//! in without all that follow being made anew. Also its two texts, CSV (RFC 4180) and JSON, one entry per line.
//!
//! Pure. Where entries are kept is in `coordinator/store/` and `host/ledger.rs`; `wayleave ledger verify` reads both texts.

use std::collections::BTreeMap;
use std::fmt;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::cbor;
use crate::model::trade::{Account, Currency, Money, Occasion, Posting};
use crate::model::{PublicKey, PurchaseId, unhex};

const DOMAIN: &[u8] = b"wayleave ledger v1\0";

/// The first line of a ledger as CSV.
pub const CSV_HEAD: &str = "gateway,seq,at,occasion,purchase,debit,credit,minor,currency,previous,hash";

/// SHA-256 of an entry and all before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link(pub [u8; 32]);

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose ledger.
    pub gateway: PublicKey,
    /// From 1, without gaps.
    pub seq: u64,
    /// Seconds since 1970 by the calendar of whoever wrote it; for people, and in no decision.
    pub at: u64,
    /// What moved.
    pub posting: Posting,
    /// Of the entry before.
    pub previous: Link,
    /// Of this one.
    pub hash: Link,
}

/// What is hashed, beside the hash before it.
#[derive(Serialize)]
struct Hashed {
    at: u64,
    seq: u64,
    posting: Posting,
}

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose ledger.
    pub gateway: PublicKey,
    /// Entries so far.
    pub seq: u64,
    /// Of the last one.
    pub hash: Link,
}

/// An entry as one line of JSON, and as the control socket and the HTTP API have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The gateway's key.
    pub gateway: PublicKey,
    /// From 1.
    pub seq: u64,
    /// Seconds since 1970.
    pub at: u64,
    /// What for.
    pub occasion: Occasion,
    /// Of which purchase.
    pub purchase: PurchaseId,
    /// Debited.
    pub debit: Account,
    /// Credited.
    pub credit: Account,
    /// Minor units.
    pub minor: u64,
    /// ISO 4217.
    pub currency: Currency,
    /// 64 hexadecimal digits.
    pub previous: String,
    /// 64 hexadecimal digits.
    pub hash: String,
}

/// A line that is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an entry of a ledger: {why}")]
pub struct NoEntry {
    why: String,
}

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Entries are missing, twice there or out of order.
    #[error("entry {found} follows entry {last}: entry {expected} is to")]
    Order {
        /// The entry before.
        last: u64,
        /// What is to follow.
        expected: u64,
        /// What does.
        found: u64,
    },
    /// It does not follow from the entry before.
    #[error("entry {seq} says that {said:?} is before it: the hash of the entry before is {found:?}")]
    Previous {
        /// Which.
        seq: u64,
        /// What it says.
        said: Link,
        /// What is so.
        found: Link,
    },
    /// It was changed.
    #[error("entry {seq} was changed: its hash is {said:?}, and what stands there has {found:?}")]
    Hash {
        /// Which.
        seq: u64,
        /// What it says.
        said: Link,
        /// What is so.
        found: Link,
    },
    /// The same purchase, twice for the same.
    #[error("entry {seq} is for {key}, as is entry {first}")]
    Twice {
        /// Which.
        seq: u64,
        /// Purchase and occasion.
        key: String,
        /// The other one.
        first: u64,
    },
    /// Nothing moves, or from an account to itself.
    #[error("entry {seq} debits {debit} and credits {credit} with {amount}")]
    Nothing {
        /// Which.
        seq: u64,
        /// How much.
        amount: Money,
        /// Credited.
        credit: Account,
        /// Debited.
        debit: Account,
    },
    /// More is given than was received.
    #[error("entry {seq} takes {amount} of purchase {purchase}, of which {held} is held")]
    Overdrawn {
        /// Which.
        seq: u64,
        /// How much.
        amount: Money,
        /// Of which purchase.
        purchase: PurchaseId,
        /// What there is.
        held: u64,
    },
}

/// Checks the ledger of one gateway, entry by entry.
#[derive(Debug)]
pub struct Verifier {
    head: Head,
    keys: BTreeMap<String, u64>,
    /// Minor units in [`Account::Held`] by purchase and currency, where there are any.
    held: BTreeMap<(PurchaseId, Currency), u64>,
    /// Debit and credit of each account.
    sums: BTreeMap<(Account, Currency), (u128, u128)>,
}

impl Head {
    /// Before the first entry; it depends on the gateway, so that no chain passes for another's.
    pub fn empty(gateway: PublicKey) -> Self {
        Self { gateway, seq: 0, hash: sha256(&[DOMAIN, &gateway.0]) }
    }

    /// The next entry.
    pub fn next(&self, posting: Posting, at: u64) -> Entry {
        let seq = self.seq + 1;
        let hash = hash(self.hash, at, seq, posting);
        Entry { gateway: self.gateway, seq, at, posting, previous: self.hash, hash }
    }
}

impl From<&Entry> for Head {
    fn from(entry: &Entry) -> Self {
        Self { gateway: entry.gateway, seq: entry.seq, hash: entry.hash }
    }
}

fn sha256(parts: &[&[u8]]) -> Link {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, &parts.concat()).as_ref());
    Link(octets)
}

fn hash(previous: Link, at: u64, seq: u64, posting: Posting) -> Link {
    // Numbers and short words: there is nothing that could not be encoded.
    let body = cbor::encode(&Hashed { at, seq, posting }).unwrap_or_default();
    sha256(&[DOMAIN, &previous.0, &body])
}

impl Verifier {
    /// For the whole ledger of this gateway.
    pub fn new(gateway: PublicKey) -> Self {
        let head = Head::empty(gateway);
        Self { head, keys: BTreeMap::new(), held: BTreeMap::new(), sums: BTreeMap::new() }
    }

    /// The next entry.
    pub fn add(&mut self, entry: &Entry) -> Result<(), Broken> {
        let Entry { seq, at, posting, previous, hash: said, .. } = *entry;
        let last = self.head.seq;
        if seq != last + 1 {
            return Err(Broken::Order { last, expected: last + 1, found: seq });
        }
        if previous != self.head.hash {
            return Err(Broken::Previous { seq, said: previous, found: self.head.hash });
        }
        let found = hash(previous, at, seq, posting);
        if found != said {
            return Err(Broken::Hash { seq, said, found });
        }
        let Posting { debit, amount, credit, purchase, .. } = posting;
        if amount.is_none() || debit == credit {
            return Err(Broken::Nothing { seq, amount, credit, debit });
        }
        let key = posting.key();
        if let Some(first) = self.keys.get(&key) {
            return Err(Broken::Twice { seq, key, first: *first });
        }
        if credit == Account::Held {
            let held = self.held.entry((purchase, amount.currency)).or_default();
            *held = held.saturating_add(amount.minor);
        }
        if debit == Account::Held {
            let of = (purchase, amount.currency);
            let held = self.held.get(&of).copied().unwrap_or(0);
            match held.checked_sub(amount.minor) {
                None => return Err(Broken::Overdrawn { seq, amount, purchase, held }),
                Some(0) => drop(self.held.remove(&of)),
                Some(rest) => drop(self.held.insert(of, rest)),
            }
        }
        self.keys.insert(key, seq);
        self.sums.entry((debit, amount.currency)).or_default().0 += u128::from(amount.minor);
        self.sums.entry((credit, amount.currency)).or_default().1 += u128::from(amount.minor);
        self.head = entry.into();
        Ok(())
    }

    /// Where the chain ends.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whether there is an entry for this purchase and occasion.
    pub fn has(&self, posting: &Posting) -> bool {
        self.keys.contains_key(&posting.key())
    }

    /// Debit and credit of each account, in minor units. Their sums are equal in each currency.
    pub fn sums(&self) -> impl Iterator<Item = (Account, Currency, u128, u128)> {
        self.sums.iter().map(|((account, currency), (debit, credit))| (*account, *currency, *debit, *credit))
    }

    /// What was received and neither earned nor given back, by purchase.
    pub fn held(&self) -> impl Iterator<Item = (PurchaseId, Money)> {
        self.held.iter().map(|((purchase, currency), minor)| (*purchase, Money::new(*minor, *currency)))
    }
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Self {
        let Posting { debit, amount, credit, occasion, purchase } = entry.posting;
        Self {
            gateway: entry.gateway,
            seq: entry.seq,
            at: entry.at,
            occasion,
            purchase,
            debit,
            credit,
            minor: amount.minor,
            currency: amount.currency,
            previous: entry.previous.to_string(),
            hash: entry.hash.to_string(),
        }
    }
}

impl Row {
    /// The entry that it shows.
    pub fn entry(&self) -> Result<Entry, NoEntry> {
        let link = |what: &str, text: &str| {
            let octets = unhex(text).and_then(|octets| octets.try_into().ok());
            octets.map(Link).ok_or_else(|| NoEntry { why: format!("{what} has 64 hexadecimal digits") })
        };
        let amount = Money::new(self.minor, self.currency);
        let (debit, credit) = (self.debit, self.credit);
        Ok(Entry {
            gateway: self.gateway,
            seq: self.seq,
            at: self.at,
            posting: Posting { debit, amount, credit, occasion: self.occasion, purchase: self.purchase },
            previous: link("previous", &self.previous)?,
            hash: link("hash", &self.hash)?,
        })
    }

    /// As a line of CSV, without its end. No field can hold what would have to be quoted.
    pub fn csv(&self) -> String {
        let Row { gateway, seq, at, occasion, purchase, debit, credit, minor, currency, previous, hash } =
            self;
        format!(
            "{gateway},{seq},{at},{occasion},{purchase},{debit},{credit},{minor},{currency},{previous},{hash}"
        )
    }

    /// From a line of CSV.
    pub fn from_csv(line: &str) -> Result<Self, NoEntry> {
        let no = |why: String| NoEntry { why };
        let fields: Vec<&str> = line.trim_end_matches('\r').split(',').collect();
        let [gateway, seq, at, occasion, purchase, debit, credit, minor, currency, previous, hash] =
            <[&str; 11]>::try_from(fields.as_slice())
                .map_err(|_| no(format!("{} fields, not 11", fields.len())))?;
        let number =
            |what: &str, text: &str| text.parse().map_err(|_| no(format!("{what} {text:?} is no number")));
        let account = |text: &str| {
            let known = Account::ALL.into_iter().find(|account| account.word() == text);
            known.ok_or_else(|| no(format!("{text:?} is no account")))
        };
        let known = Occasion::ALL.into_iter().find(|known| known.word() == occasion);
        Ok(Self {
            gateway: gateway.parse().map_err(|error| no(format!("{error}")))?,
            seq: number("seq", seq)?,
            at: number("at", at)?,
            occasion: known.ok_or_else(|| no(format!("{occasion:?} is no occasion")))?,
            purchase: purchase.parse().map_err(|error| no(format!("{error}")))?,
            debit: account(debit)?,
            credit: account(credit)?,
            minor: number("minor", minor)?,
            currency: currency.parse().map_err(|error| no(format!("{error}")))?,
            previous: previous.to_owned(),
            hash: hash.to_owned(),
        })
    }

    /// From a line of either text.
    pub fn from_line(line: &str) -> Result<Self, NoEntry> {
        match line.starts_with('{') {
            true => serde_json::from_str(line).map_err(|error| NoEntry { why: error.to_string() }),
            false => Self::from_csv(line),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// Short, for sentences.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: PublicKey = PublicKey([7; 32]);

    fn posting(purchase: u8, occasion: Occasion, minor: u64) -> Posting {
        let (debit, credit) = match occasion {
            Occasion::Paid => (Account::Stripe, Account::Held),
            Occasion::Granted => (Account::Held, Account::Sales),
            Occasion::Refunded => (Account::Held, Account::Stripe),
            Occasion::Returned => (Account::Sales, Account::Stripe),
        };
        let amount = Money::new(minor, "EUR".parse().unwrap());
        Posting { debit, amount, credit, occasion, purchase: PurchaseId([purchase; 16]) }
    }

    fn chain(postings: &[Posting]) -> Vec<Entry> {
        let mut head = Head::empty(GATEWAY);
        let next = |posting: &Posting| {
            let entry = head.next(*posting, 1_700_000_000);
            head = Head::from(&entry);
            entry
        };
        postings.iter().map(next).collect()
    }

    fn good() -> Vec<Entry> {
        chain(&[
            posting(1, Occasion::Paid, 150),
            posting(2, Occasion::Paid, 70),
            posting(1, Occasion::Granted, 150),
            posting(2, Occasion::Refunded, 70),
        ])
    }

    fn verify(entries: &[Entry]) -> Result<Verifier, Broken> {
        let mut verifier = Verifier::new(GATEWAY);
        entries.iter().try_for_each(|entry| verifier.add(entry)).map(|()| verifier)
    }

    #[test]
    fn a_whole_chain_is_good_and_balanced() {
        let verifier = verify(&good()).unwrap();
        let sums: Vec<_> = verifier.sums().collect();
        let (debit, credit) =
            sums.iter().fold((0, 0), |(debit, credit), sum| (debit + sum.2, credit + sum.3));
        assert_eq!(debit, credit);
        assert_eq!(verifier.held().count(), 0);
        assert_eq!(verifier.head().seq, 4);
        assert!(
            verifier.has(&posting(1, Occasion::Paid, 1)) && !verifier.has(&posting(1, Occasion::Refunded, 1))
        );
    }

    #[test]
    fn whatever_is_changed_left_out_put_in_or_moved_is_named() {
        let good = good();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at].posting.amount.minor += 1;
            assert!(
                matches!(verify(&changed).unwrap_err(), Broken::Hash { seq, .. } if seq == at as u64 + 1)
            );
            let mut changed = good.clone();
            changed[at].at += 1;
            assert!(matches!(verify(&changed), Err(Broken::Hash { .. })));
            let mut missing = good.clone();
            missing.remove(at);
            // The last one leaves a good chain: what it is compared with has to be kept elsewhere.
            assert_eq!(verify(&missing).is_err(), at + 1 < good.len());
            // Changed and hashed anew: the next one does not follow.
            if at + 1 < good.len() {
                let mut anew = good.clone();
                anew[at].posting.amount.minor += 1;
                anew[at].hash = hash(anew[at].previous, anew[at].at, anew[at].seq, anew[at].posting);
                let broken = verify(&anew).unwrap_err();
                assert!(matches!(broken, Broken::Previous { .. } | Broken::Overdrawn { .. }), "{broken}");
                let mut swapped = good.clone();
                swapped.swap(at, at + 1);
                assert!(matches!(verify(&swapped), Err(Broken::Order { .. })));
            }
        }
        let mut elsewhere = Verifier::new(PublicKey([8; 32]));
        assert!(matches!(elsewhere.add(&good[0]), Err(Broken::Previous { seq: 1, .. })));
    }

    #[test]
    fn what_may_not_be_written_is_found_even_in_a_good_chain() {
        let twice = chain(&[posting(1, Occasion::Paid, 150), posting(1, Occasion::Paid, 150)]);
        assert!(matches!(verify(&twice).unwrap_err(), Broken::Twice { seq: 2, first: 1, .. }));
        let nothing = chain(&[posting(1, Occasion::Paid, 0)]);
        assert!(matches!(verify(&nothing), Err(Broken::Nothing { .. })));
        let more = chain(&[posting(1, Occasion::Paid, 150), posting(1, Occasion::Granted, 151)]);
        let said = verify(&more).unwrap_err().to_string();
        assert!(said.contains("takes 1.51 EUR") && said.contains("of which 150 is held"), "{said}");
        let unpaid = chain(&[posting(1, Occasion::Granted, 1)]);
        assert!(matches!(verify(&unpaid), Err(Broken::Overdrawn { held: 0, .. })));
    }

    #[test]
    fn both_texts_come_back() {
        for entry in good() {
            let row = Row::from(&entry);
            assert_eq!(row.entry().unwrap(), entry);
            assert_eq!(Row::from_line(&row.csv()).unwrap(), row);
            assert_eq!(Row::from_line(&serde_json::to_string(&row).unwrap()).unwrap(), row);
            assert_eq!(row.csv().split(',').count(), CSV_HEAD.split(',').count());
        }
        let csv = Row::from(&good()[0]).csv();
        for (line, said) in [
            ("", "1 fields, not 11"),
            ("{}", "missing field"),
            (&*csv.replace("paid", "payd"), "\"payd\" is no occasion"),
            (&*csv.replace("stripe", "cash"), "\"cash\" is no account"),
            (&*csv.replace("EUR", "EUX"), "is no currency"),
            (&*csv.replace(",150,", ",-150,"), "is no number"),
        ] {
            let error = Row::from_line(line).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let short = Row { hash: "00".into(), ..Row::from(&good()[0]) };
        assert!(short.entry().unwrap_err().to_string().contains("64 hexadecimal digits"));
    }
}
