//! What a buyer or somebody for a buyer asks: consent, and the webhooks of providers.

use super::hub::Hub;
use super::payments::BadWebhook;
use super::store::writer::NotKept;
use super::store::{Change, Outcome};
use crate::host::clock;
use crate::model::trade::Means;
use crate::model::{BootTime, PublicKey, PurchaseId, Refusal, Secret};

/// The buyer consents. `terminal`: who says so; `None`: whoever runs the coordinator.
pub fn pay(
    hub: &Hub,
    terminal: Option<PublicKey>,
    purchase: PurchaseId,
    means: Means,
    code: Option<Secret>,
    now: BootTime,
) -> Result<(), Refusal> {
    let price = hub.core().price_of(terminal, &purchase)?;
    hub.payments.quote(means, price)?;
    hub.core().pay(purchase, means, code, now);
    Ok(())
}

/// Why a webhook is to come again, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// It does not count.
    #[error(transparent)]
    Bad(#[from] BadWebhook),
    /// It could not be kept.
    #[error("not kept: {0}")]
    NotKept(#[from] NotKept),
}

/// A webhook came in: whatever it says, its provider is asked. Each event is looked at once.
pub async fn webhook(hub: &Hub, headers: &[(String, String)], body: &[u8]) -> Result<(), WebhookError> {
    let now = clock::calendar();
    for event in hub.payments.ingest(headers, body, now)? {
        let told = Change::Told { means: Means::Stripe, event: event.id, now };
        if hub.writer.make(told).await? != Outcome::NoMatch {
            hub.core().trade_hint(event.purchase, clock::now());
        }
    }
    Ok(())
}
