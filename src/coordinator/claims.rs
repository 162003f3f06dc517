//! Claims: made once, shown once, kept as a hash.

use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::hub::Hub;
use super::store::writer::NotKept;
use super::store::{Change, ClaimHash};
use crate::host::clock;
use crate::model::{Millis, Refusal, Secret};
use crate::wire::claim::{ClaimToken, CoordinatorAddress};
use crate::wire::hello::Role;
use crate::wire::local::NewClaim;

/// How long a claim works unless something else is asked for.
pub const USUAL: Duration = Duration::from_secs(3600);
/// And at most.
const MOST: Duration = Duration::from_secs(30 * 86_400);

/// What is kept of a code: 130 random bits need no salt and no slow hash.
pub fn hash(code: &str) -> ClaimHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, code.as_bytes()).as_ref());
    hash
}

/// A new claim.
pub async fn create(hub: &Hub, role: Role, valid: Option<Millis>) -> Result<NewClaim, Refusal> {
    let valid = valid.map_or(USUAL, |valid| valid.at_most(MOST)).max(Duration::from_secs(1));
    let address = CoordinatorAddress::new(&hub.settings().public, hub.key)
        .map_err(|error| Refusal::new("bad-address", error.to_string()))?;
    let token = ClaimToken::new(address);
    let now = clock::calendar();
    let claim = Change::CreateClaim {
        hash: hash(token.code.expose()),
        role,
        expires: now.saturating_add(valid.as_secs().max(1)),
        now,
    };
    match hub.writer.make(claim).await {
        Ok(_) => Ok(NewClaim { token: Secret::new(token.reveal()), role, valid: valid.into() }),
        Err(NotKept::Full) => Err(Refusal::new("store-full", "the coordinator's disk is full")),
        Err(NotKept::Closed) => Err(Refusal::new("closing", "the coordinator is closing")),
    }
}
