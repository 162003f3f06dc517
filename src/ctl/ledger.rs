//! `wayleave ledger verify` and `export`: the ledgers of a coordinator, a gateway's own, or a file.
//!
//! The chain is checked here and not by whoever keeps it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::json;

use super::Failure;
use super::args::LedgerAction;
#[cfg(any(feature = "coordinator", feature = "portal"))]
use super::args::LedgerFormat;
#[cfg(any(feature = "coordinator", feature = "portal"))]
use super::client::{Daemon, Door};
use super::output::Output;
use super::table::{Column, Table, left, right};
use crate::model::PublicKey;
#[cfg(feature = "coordinator")]
use crate::model::ServiceId;
use crate::model::trade::{Account, Money};
use crate::wire::ledger::{CSV_HEAD, Row, Verifier};
#[cfg(feature = "portal")]
use crate::wire::local::GatewayRequest;
#[cfg(any(feature = "coordinator", feature = "portal"))]
use crate::wire::local::LedgerPage;
#[cfg(feature = "coordinator")]
use crate::wire::local::{CoordinatorRequest, GatewayRow};
use crate::wire::sign::service_id;

const BOOKS: [Column; 7] = [
    left("GATEWAY"),
    right("ENTRIES"),
    left("CURRENCY"),
    right("STRIPE"),
    right("VOUCHER"),
    right("HELD"),
    right("SALES"),
];

#[cfg_attr(not(any(feature = "coordinator", feature = "portal")), allow(unused_variables))]
pub(super) fn run(
    action: LedgerAction,
    socket: Option<std::path::PathBuf>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    match action {
        LedgerAction::Verify { file: Some(file), .. } => verify_file(&file, output),
        #[cfg(feature = "portal")]
        LedgerAction::Verify { file: None, own } if is_own(own) => {
            let mut books = Books::default();
            each_own(&Door::new(Daemon::Gateway, socket), &mut |row| books.take(row))?;
            books.show(output)
        }
        #[cfg(feature = "coordinator")]
        LedgerAction::Verify { file: None, .. } => {
            let mut books = Books::default();
            each(&Door::new(Daemon::Coordinator, socket), None, &mut |row| books.take(row))?;
            books.show(output)
        }
        #[cfg(not(feature = "coordinator"))]
        LedgerAction::Verify { file: None, .. } => Err(Failure::usage("name the file to verify")),
        #[cfg(feature = "portal")]
        LedgerAction::Export { format, own, .. } if is_own(own) => {
            head(format, output)?;
            each_own(&Door::new(Daemon::Gateway, socket), &mut |row| write(format, row, output))?;
            Ok(output.out.flush()?)
        }
        #[cfg(feature = "coordinator")]
        LedgerAction::Export { format, gateway, .. } => {
            head(format, output)?;
            let door = Door::new(Daemon::Coordinator, socket);
            each(&door, gateway, &mut |row| write(format, row, output))?;
            Ok(output.out.flush()?)
        }
        #[cfg(all(feature = "portal", not(feature = "coordinator")))]
        LedgerAction::Export { .. } => Err(Failure::usage("there is no other ledger: give --own")),
    }
}

/// There is no other where there is no coordinator.
#[cfg(feature = "portal")]
fn is_own(said: bool) -> bool {
    said || !cfg!(feature = "coordinator")
}

#[cfg(any(feature = "coordinator", feature = "portal"))]
fn head(format: LedgerFormat, output: &mut Output<'_>) -> Result<(), Failure> {
    if format == LedgerFormat::Csv {
        writeln!(output.out, "{CSV_HEAD}")?;
    }
    Ok(())
}

#[cfg(any(feature = "coordinator", feature = "portal"))]
fn write(format: LedgerFormat, row: &Row, output: &mut Output<'_>) -> Result<(), Failure> {
    match format {
        LedgerFormat::Csv => writeln!(output.out, "{}", row.csv())?,
        LedgerFormat::Json => writeln!(output.out, "{}", json!(row))?,
    }
    Ok(())
}

/// All entries of the gateway on this machine, page by page.
#[cfg(feature = "portal")]
fn each_own(door: &Door, take: &mut dyn FnMut(&Row) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let page: LedgerPage = door.ask(&GatewayRequest::Ledger { after })?;
        match page.entries.last() {
            Some(last) if last.seq > after => after = last.seq,
            _ => return Ok(()),
        }
        page.entries.iter().try_for_each(&mut *take)?;
    }
}

/// All entries, page by page.
#[cfg(feature = "coordinator")]
fn each(
    door: &Door,
    gateway: Option<ServiceId>,
    take: &mut dyn FnMut(&Row) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let gateways = match gateway {
        Some(gateway) => vec![gateway],
        None => {
            let rows: Vec<GatewayRow> = door.ask(&CoordinatorRequest::Gateways)?;
            rows.into_iter().map(|row| row.service).collect()
        }
    };
    for gateway in gateways {
        let mut after = 0;
        loop {
            let page: LedgerPage = door.ask(&CoordinatorRequest::Ledger { gateway, after })?;
            // A coordinator that does not go on would be asked for ever.
            match page.entries.last() {
                Some(last) if last.seq > after => after = last.seq,
                _ => break,
            }
            page.entries.iter().try_for_each(&mut *take)?;
        }
    }
    Ok(())
}

fn verify_file(path: &Path, output: &mut Output<'_>) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::failed("ledger", anyhow::Error::new(error).context(format!("{}", path.display())))
    };
    let mut books = Books::default();
    let lines = BufReader::new(File::open(path).map_err(unreadable)?).lines();
    for (line, text) in (1..).zip(lines) {
        let text = text.map_err(unreadable)?;
        let place = || format!("{}:{line}", path.display());
        if text.is_empty() || (line == 1 && text.trim_end() == CSV_HEAD) {
            continue;
        }
        let row = Row::from_line(&text).map_err(|error| wrong(place(), error))?;
        books.add(&row, place)?;
    }
    books.show(output)
}

fn wrong(place: String, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::failed("ledger-broken", anyhow::Error::new(error).context(place))
}

/// The ledgers of several gateways, as their entries come.
#[derive(Default)]
struct Books(BTreeMap<PublicKey, Verifier>);

impl Books {
    /// An entry as a daemon says it.
    #[cfg(any(feature = "coordinator", feature = "portal"))]
    fn take(&mut self, row: &Row) -> Result<(), Failure> {
        let (gateway, seq) = (row.gateway, row.seq);
        self.add(row, move || format!("gateway {}, entry {seq}", service_id(gateway)))
    }

    fn add(&mut self, row: &Row, place: impl Fn() -> String) -> Result<(), Failure> {
        let entry = row.entry().map_err(|error| wrong(place(), error))?;
        let verifier = self.0.entry(entry.gateway).or_insert_with(|| Verifier::new(entry.gateway));
        verifier.add(&entry).map_err(|error| wrong(place(), error))
    }

    fn show(&self, output: &mut Output<'_>) -> Result<(), Failure> {
        let mut table = Table::new(&BOOKS);
        for (gateway, verifier) in &self.0 {
            let (service, head) = (service_id(*gateway), verifier.head());
            let mut balances: BTreeMap<_, BTreeMap<Account, i128>> = BTreeMap::new();
            for (account, currency, debit, credit) in verifier.sums() {
                // What is owed and what was earned stand on the credit side.
                let balance = match account {
                    Account::Stripe | Account::Voucher => debit as i128 - credit as i128,
                    Account::Held | Account::Sales => credit as i128 - debit as i128,
                };
                balances.entry(currency).or_default().insert(account, balance);
            }
            if output.json {
                let line = json!({
                    "gateway": service, "entries": head.seq, "hash": head.hash.to_string(), "balances": balances
                        .iter()
                        .map(|(currency, accounts)| (currency.to_string(), accounts
                            .iter()
                            .map(|(account, minor)| (account.word().to_owned(), json!(*minor as i64)))
                            .collect::<serde_json::Map<_, _>>().into()))
                        .collect::<serde_json::Map<String, serde_json::Value>>(),
                });
                output.line(&line)?;
            }
            for (currency, accounts) in &balances {
                let of = |account| {
                    let minor = accounts.get(&account).copied().unwrap_or(0);
                    let amount = Money::new(minor.unsigned_abs() as u64, *currency).to_string();
                    let number = amount.split(' ').next().unwrap_or_default().to_owned();
                    if minor < 0 { format!("-{number}") } else { number }
                };
                table.row(vec![
                    service.to_string().into(),
                    head.seq.to_string().into(),
                    currency.to_string().into(),
                    of(Account::Stripe).into(),
                    of(Account::Voucher).into(),
                    of(Account::Held).into(),
                    of(Account::Sales).into(),
                ]);
            }
        }
        if output.json {
            return Ok(());
        }
        match self.0.is_empty() {
            true => writeln!(output.out, "no entries")?,
            false => {
                table.write(output.out, output.colours)?;
                writeln!(output.out, "every entry follows from the one before")?;
            }
        }
        Ok(output.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PurchaseId;
    use crate::model::trade::{Occasion, Posting};
    use crate::wire::ledger::{Entry, Head};

    fn rows() -> Vec<Row> {
        let amount = Money::new(150, "EUR".parse().unwrap());
        let paid = |number| Posting {
            debit: Account::Voucher,
            amount,
            credit: Account::Held,
            occasion: Occasion::Paid,
            purchase: PurchaseId([number; 16]),
        };
        let granted =
            Posting { debit: Account::Held, credit: Account::Sales, occasion: Occasion::Granted, ..paid(1) };
        let mut head = Head::empty(PublicKey([1; 32]));
        let mut next = |posting| -> Entry {
            let entry = head.next(posting, 1_700_000_000);
            head = Head::from(&entry);
            entry
        };
        [paid(1), granted, paid(2)].map(|posting| Row::from(&next(posting))).into()
    }

    fn verify(text: &str, json: bool) -> Result<String, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut out = Vec::new();
        let done = verify_file(file.path(), &mut Output { out: &mut out, json, colours: false });
        done.map(|()| String::from_utf8(out).unwrap())
    }

    fn csv() -> String {
        rows().iter().fold(format!("{CSV_HEAD}\n"), |text, row| text + &row.csv() + "\n")
    }

    #[test]
    fn both_texts_are_verified_and_summed_up() {
        let jsonl = rows().iter().fold(String::new(), |text, row| format!("{text}{}\n", json!(row)));
        for text in [csv(), jsonl] {
            let shown = verify(&text, false).unwrap();
            let row = shown.lines().nth(1).unwrap().split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
            assert_eq!(row, "3 EUR 0.00 3.00 1.50 1.50", "{shown}");
            assert!(shown.ends_with("every entry follows from the one before\n"), "{shown}");
            let shown: serde_json::Value = serde_json::from_str(&verify(&text, true).unwrap()).unwrap();
            assert_eq!((&shown["entries"], &shown["balances"]["EUR"]["held"]), (&json!(3), &json!(150)));
        }
        assert_eq!(verify("", false).unwrap(), "no entries\n");
    }

    #[test]
    fn the_line_that_breaks_the_chain_is_named() {
        let missing: String = csv()
            .lines()
            .enumerate()
            .filter(|(at, _)| *at != 2)
            .fold(String::new(), |text, (_, line)| format!("{text}{line}\n"));
        for (text, said) in [
            (csv().replacen(",150,", ",151,", 1), ":2: entry 1 was changed"),
            (missing, ":3: entry 3 follows entry 1: entry 2 is to"),
            (csv().replacen(",paid,", ",payd,", 2), ":2: not an entry of a ledger: \"payd\" is no occasion"),
        ] {
            let failure = verify(&text, false).unwrap_err();
            assert_eq!((failure.word(), failure.exit_code()), ("ledger-broken", 1));
            assert!(failure.sentence().contains(said), "{}", failure.sentence());
        }
        let absent = verify_file(
            Path::new("/nonexistent"),
            &mut Output { out: &mut Vec::new(), json: false, colours: false },
        );
        assert_eq!(absent.unwrap_err().word(), "ledger");
    }
}
