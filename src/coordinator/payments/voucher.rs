//! Paid with a voucher: what `logic/trade/vouchers.rs` decides, kept before it counts.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{BadWebhook, Event, Intent, Port, PortError, Started, unsure};
use crate::coordinator::hub::Hub;
use crate::coordinator::vouchers;
use crate::host::clock;
use crate::logic::trade::purchase::Observation;
use crate::model::trade::Money;
use crate::model::{PurchaseId, Refusal};

/// What vouchers need of the process: nobody takes anything off one while another does.
#[derive(Debug, Default)]
pub struct VoucherPort {
    turn: Mutex<()>,
}

/// The same, with the coordinator's vouchers.
pub(super) struct At<'a> {
    turn: &'a Mutex<()>,
    hub: &'a Arc<Hub>,
}

impl VoucherPort {
    /// Takes every amount in any currency: what is on the voucher decides.
    pub fn quote(&self, price: Option<Money>) -> Result<(), Refusal> {
        price.map(drop).ok_or_else(|| Refusal::new("free", "nothing is asked: no voucher is needed"))
    }

    pub(super) fn at<'a>(&'a self, hub: &'a Arc<Hub>) -> At<'a> {
        At { turn: &self.turn, hub }
    }
}

impl At<'_> {
    fn observed(&self, purchase: PurchaseId) -> Observation {
        self.hub.vouchers().observe(purchase)
    }
}

impl Port for At<'_> {
    fn quote(&self, price: Option<Money>) -> Result<(), Refusal> {
        VoucherPort::default().quote(price)
    }

    async fn start(&self, intent: &Intent) -> Result<Started, PortError> {
        self.quote(intent.price).map_err(PortError::Refused)?;
        let _turn = self.turn.lock().await;
        let Intent { purchase, terminal, price, code, .. } = intent;
        let started = Started { reference: format!("voucher {purchase}"), page: None };
        // The code is gone after a restart; what it did is not.
        if self.observed(*purchase) != Observation::Unknown {
            return Ok(started);
        }
        let (Some(code), Some(price)) = (code, price) else {
            return Err(PortError::Refused(Refusal::new("no-code", "a voucher is paid with its code")));
        };
        let (now, calendar) = (clock::now(), clock::calendar());
        let redeemed = self.hub.vouchers().redeem(code.expose(), *purchase, *price, *terminal, calendar, now);
        let voucher = redeemed.map_err(PortError::Refused)?;
        vouchers::keep(self.hub, voucher).await.map_err(|refusal| unsure(refusal.sentence))?;
        Ok(started)
    }

    async fn observe(&self, purchase: PurchaseId, _: Option<&str>) -> Result<Observation, PortError> {
        let _turn = self.turn.lock().await;
        Ok(self.observed(purchase))
    }

    async fn refund(&self, purchase: PurchaseId, _: Option<&str>) -> Result<Observation, PortError> {
        let _turn = self.turn.lock().await;
        let back = self.hub.vouchers().refund(purchase);
        if let Some(voucher) = back {
            vouchers::keep(self.hub, voucher).await.map_err(|refusal| unsure(refusal.sentence))?;
        }
        Ok(self.observed(purchase))
    }

    fn ingest(&self, _: &[(String, String)], _: &[u8], _: u64) -> Result<Vec<Event>, BadWebhook> {
        Err(BadWebhook::None)
    }
}
