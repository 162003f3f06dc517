//! Bids that the coordinator brings: what `logic/trade/policy.rs` decides, signed and answered.

use super::effects::Gateway;
use crate::logic::trade::policy::{self, Decision, Load};
use crate::model::{GrantId, Holder, Origin, Refusal};
use crate::wire::gateway::FromGateway;
use crate::wire::trade::{Bid, BidAnswer, SignedFee};

impl Gateway {
    /// Answers a bid; one that comes again gets the same answer.
    pub fn answer_bid(&mut self, bid: &Bid) {
        let coordinators = || self.grants.held().filter(|grant| grant.origin == Origin::Coordinator);
        let decision = policy::decide(&self.settings.shop, bid, self.service, |_, terminal| Load {
            present: u32::try_from(coordinators().count()).unwrap_or(u32::MAX),
            among_them: coordinators()
                .any(|grant| matches!(grant.holder, Holder::Terminal { key, .. } if key == *terminal)),
        });
        let answer = match decision {
            Decision::Offer(offer) => match SignedFee::new(&self.identity, &offer) {
                Ok(signed) => BidAnswer::Offered(signed),
                Err(error) => BidAnswer::Refused(Refusal::new("bad-offer", error.to_string())),
            },
            Decision::Ask(offer) => {
                tracing::info!(purchase = %offer.purchase, tariff = %offer.tariff, "a bid waits for the owner");
                BidAnswer::Asked
            }
            Decision::Refuse(refusal) => BidAnswer::Refused(refusal),
        };
        self.send(FromGateway::Bid { answer, purchase: bid.purchase });
    }

    /// Few bytes of a grant are left; whose grant it is nobody else needs to know.
    pub(super) fn tell_coordinator_low(&mut self, grant: GrantId) {
        if self.grants.get(grant).is_some_and(|grant| grant.origin == Origin::Coordinator) {
            self.send(FromGateway::Low { grant });
        }
    }
}
