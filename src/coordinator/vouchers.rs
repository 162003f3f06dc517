//! Vouchers as an owner has them printed: kept as hashes before their codes are shown, once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::hub::Hub;
use super::store::Change;
use super::store::writer::NotKept;
use crate::host::clock;
use crate::logic::trade::vouchers::Voucher;
use crate::model::trade::Money;
use crate::model::{Millis, Refusal, Secret};
use crate::wire::local::NewVouchers;
use crate::wire::voucher::VoucherCode;

/// How long they are good for unless something else is asked for, and at most.
const USUAL: Duration = Duration::from_secs(365 * 86_400);
const MOST: Duration = Duration::from_secs(10 * 365 * 86_400);
const MOST_AT_ONCE: u32 = 1000;

/// Makes vouchers.
pub async fn print(
    hub: &Hub,
    count: u32,
    value: Money,
    valid: Option<Millis>,
) -> Result<NewVouchers, Refusal> {
    if count == 0 || count > MOST_AT_ONCE || value.is_none() {
        let sentence =
            format!("{count} vouchers of {value}: 1 to {MOST_AT_ONCE} of more than nothing can be made");
        return Err(Refusal::new("bad-vouchers", sentence));
    }
    let valid = valid.map_or(USUAL, |valid| valid.at_most(MOST)).max(Duration::from_secs(1));
    let expires = clock::calendar().saturating_add(valid.as_secs());
    let mut codes = Vec::new();
    for _ in 0..count {
        let code = VoucherCode::generate();
        let voucher = Voucher { hash: code.hash(), value, expires, taken: BTreeMap::new() };
        keep(hub, voucher).await?;
        codes.push(Secret::new(code.reveal()));
    }
    Ok(NewVouchers { codes, value, valid: valid.into() })
}

/// Keeps a voucher; only then it counts.
pub async fn keep(hub: &Hub, voucher: Voucher) -> Result<(), Refusal> {
    match hub.writer.make(Change::KeepVoucher { voucher: voucher.clone() }).await {
        Ok(_) => {
            hub.vouchers().insert(voucher);
            Ok(())
        }
        Err(NotKept::Full) => Err(Refusal::new("store-full", "the coordinator's disk is full")),
        Err(NotKept::Closed) => Err(Refusal::new("closing", "the coordinator is closing")),
    }
}
