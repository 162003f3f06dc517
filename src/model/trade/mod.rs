//! What access costs: money, tariffs, what an owner offers, and what is written down of it.
//!
//! Values and their arithmetic; no decision. Read next: `logic/trade/` for what is decided with them, `wire/trade.rs` for how
//! they travel and are signed.

mod fee;
mod ledger;
mod money;
mod sale;
mod state;
mod tariff;

pub use fee::{Allowance, FeeOffer, MOST_VALID, Means, Want};
pub use ledger::{Account, Occasion, Posting};
pub use money::{Currency, Money, MoneyError, Rounding};
pub use sale::{Answer, Sale, Shop};
pub use state::PurchaseState;
pub use tariff::{Cost, Limits, Pricing, Tariff, TariffId, TariffRefusal};
