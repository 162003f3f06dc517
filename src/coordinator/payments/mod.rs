//! How a purchase is paid: one port, one adapter for each means.
//!
//! Every verb may be said again under the same purchase and does what it does once. A webhook is a hint and nothing more: what
//! counts is what the provider answers when it is asked ([`Port::observe`]).
//!
//! ```text
//! quote   whether this means takes such an amount
//! start   hand the buyer over, under the purchase's id       -> Started, or refused and nothing taken, or unsure
//! observe what the provider knows                            -> Observation
//! refund  give all of it back                                -> Observation
//! ingest  the raw headers and the raw body of a webhook      -> which purchases to look at
//! ```
//!
//! Read next: `stripe.rs`; `conformance.rs`, which every adapter passes.

#[cfg(test)]
mod conformance;
mod free;
mod http;
#[cfg(test)]
#[path = "../../../tests/support/payd.rs"]
pub mod payd;
pub mod stripe;
mod voucher;

use std::sync::Arc;

pub use self::free::Free;
pub use self::stripe::Stripe;
pub use self::voucher::VoucherPort;
use crate::coordinator::hub::Hub;
use crate::logic::trade::purchase::Observation;
use crate::model::trade::{Means, Money};
use crate::model::{Link, PublicKey, PurchaseId, Refusal, Secret};

/// What is to be paid.
#[derive(Clone, Debug)]
pub struct Intent {
    /// For which purchase; under its id everything is done once.
    pub purchase: PurchaseId,
    /// Who buys.
    pub terminal: PublicKey,
    /// How much; `None`: nothing.
    pub price: Option<Money>,
    /// What the buyer is shown.
    pub about: String,
    /// What the buyer gave, where it is paid with a code.
    pub code: Option<Secret>,
}

/// A payment that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// What the provider calls it.
    pub reference: String,
    /// Where the buyer pays; `None`: nothing is left to do.
    pub page: Option<Link>,
}

/// Why a payment was not started, observed or given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// No, and nothing was taken.
    #[error("{0}")]
    Refused(Refusal),
    /// Nobody knows whether it was done: it is to be asked again.
    #[error("the provider did not answer as it should: {why}")]
    Unsure {
        /// For people.
        why: String,
    },
}

/// What a provider tells by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it calls it; the same when it tells it again.
    pub id: String,
    /// About which purchase.
    pub purchase: PurchaseId,
}

/// Why a webhook does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWebhook {
    /// Nobody tells anything by this means.
    #[error("there are no webhooks of this provider")]
    None,
    /// No signature, or one that cannot be read.
    #[error("the webhook is not signed")]
    Unsigned,
    /// By another key, or over another body.
    #[error("the signature of the webhook does not fit")]
    Forged,
    /// Signed too long ago, or in the future.
    #[error("the webhook was signed {off} s from now; {most} are the most")]
    Stale {
        /// Seconds.
        off: u64,
        /// The most.
        most: u64,
    },
    /// Signed, and no event.
    #[error("the webhook is no event")]
    Unreadable,
}

/// A means of payment.
pub trait Port {
    /// Whether it takes this much.
    fn quote(&self, price: Option<Money>) -> Result<(), Refusal>;

    /// Begins.
    fn start(&self, intent: &Intent) -> impl Future<Output = Result<Started, PortError>> + Send;

    /// What is known of it.
    fn observe(
        &self,
        purchase: PurchaseId,
        reference: Option<&str>,
    ) -> impl Future<Output = Result<Observation, PortError>> + Send;

    /// Gives all of it back.
    fn refund(
        &self,
        purchase: PurchaseId,
        reference: Option<&str>,
    ) -> impl Future<Output = Result<Observation, PortError>> + Send;

    /// What a webhook tells. `headers` have lower-case names; `calendar` is the second of 1970 that it is now.
    fn ingest(
        &self,
        headers: &[(String, String)],
        body: &[u8],
        calendar: u64,
    ) -> Result<Vec<Event>, BadWebhook>;
}

/// All means that are configured.
#[derive(Debug)]
pub struct Payments {
    free: Free,
    voucher: VoucherPort,
    stripe: Option<Stripe>,
}

impl Payments {
    /// With cards, if there are any.
    pub fn new(stripe: Option<Stripe>) -> Self {
        Self { free: Free, voucher: VoucherPort::default(), stripe }
    }

    /// Whether a means takes such an amount.
    pub fn quote(&self, means: Means, price: Option<Money>) -> Result<(), Refusal> {
        match (means, &self.stripe) {
            (Means::Free, _) => self.free.quote(price),
            (Means::Voucher, _) => self.voucher.quote(price),
            (Means::Stripe, Some(stripe)) => stripe.quote(price),
            (Means::Stripe, None) => Err(no_cards()),
        }
    }

    /// As [`Port::start`].
    pub async fn start(&self, hub: &Arc<Hub>, means: Means, intent: &Intent) -> Result<Started, PortError> {
        match (means, &self.stripe) {
            (Means::Free, _) => self.free.start(intent).await,
            (Means::Voucher, _) => self.voucher.at(hub).start(intent).await,
            (Means::Stripe, Some(stripe)) => stripe.start(intent).await,
            // It was configured once: whether something was taken nobody can say.
            (Means::Stripe, None) => Err(unsure(no_cards().sentence)),
        }
    }

    /// As [`Port::observe`].
    pub async fn observe(
        &self,
        hub: &Arc<Hub>,
        means: Means,
        purchase: PurchaseId,
        reference: Option<&str>,
    ) -> Result<Observation, PortError> {
        match (means, &self.stripe) {
            (Means::Free, _) => self.free.observe(purchase, reference).await,
            (Means::Voucher, _) => self.voucher.at(hub).observe(purchase, reference).await,
            (Means::Stripe, Some(stripe)) => stripe.observe(purchase, reference).await,
            (Means::Stripe, None) => Err(unsure(no_cards().sentence)),
        }
    }

    /// As [`Port::refund`].
    pub async fn refund(
        &self,
        hub: &Arc<Hub>,
        means: Means,
        purchase: PurchaseId,
        reference: Option<&str>,
    ) -> Result<Observation, PortError> {
        match (means, &self.stripe) {
            (Means::Free, _) => self.free.refund(purchase, reference).await,
            (Means::Voucher, _) => self.voucher.at(hub).refund(purchase, reference).await,
            (Means::Stripe, Some(stripe)) => stripe.refund(purchase, reference).await,
            (Means::Stripe, None) => Err(unsure(no_cards().sentence)),
        }
    }

    /// As [`Port::ingest`], of the provider of cards.
    pub fn ingest(
        &self,
        headers: &[(String, String)],
        body: &[u8],
        calendar: u64,
    ) -> Result<Vec<Event>, BadWebhook> {
        self.stripe.as_ref().ok_or(BadWebhook::None)?.ingest(headers, body, calendar)
    }
}

fn no_cards() -> Refusal {
    Refusal::new("no-cards", "no provider of cards is configured here: pay with a voucher")
}

fn unsure(why: impl Into<String>) -> PortError {
    PortError::Unsure { why: why.into() }
}
