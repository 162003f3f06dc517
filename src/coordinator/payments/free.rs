//! Nothing is asked, so nothing is paid.

use super::{BadWebhook, Event, Intent, Port, PortError, Started};
use crate::logic::trade::purchase::Observation;
use crate::model::trade::Money;
use crate::model::{PurchaseId, Refusal};

/// What costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Free;

impl Port for Free {
    fn quote(&self, price: Option<Money>) -> Result<(), Refusal> {
        match price {
            None => Ok(()),
            Some(price) => Err(Refusal::new("not-free", format!("{price} are asked"))),
        }
    }

    async fn start(&self, intent: &Intent) -> Result<Started, PortError> {
        self.quote(intent.price).map_err(PortError::Refused)?;
        Ok(Started { reference: "free".to_owned(), page: None })
    }

    async fn observe(&self, _: PurchaseId, _: Option<&str>) -> Result<Observation, PortError> {
        Ok(Observation::Settled(None))
    }

    async fn refund(&self, _: PurchaseId, _: Option<&str>) -> Result<Observation, PortError> {
        Ok(Observation::Refunded)
    }

    fn ingest(&self, _: &[(String, String)], _: &[u8], _: u64) -> Result<Vec<Event>, BadWebhook> {
        Err(BadWebhook::None)
    }
}
