//! What the coordinator's control socket understands and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MessageAsk;
#[cfg(feature = "trade")]
use crate::model::trade::Money;
use crate::model::{
    Bssid, Cause, GrantId, Incarnation, MacAddr, MessageId, Millis, PublicKey, Secret, ServiceId, SessionId,
    Ssid,
};
use crate::wire::hello::Role;
#[cfg(feature = "trade")]
use crate::wire::ledger::Row;

/// A request to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CoordinatorRequest {
    /// [`CoordinatorStatus`].
    Status,
    /// A new one-time claim; [`NewClaim`]. The token is shown this once.
    Claim {
        /// Who may enrol with it.
        #[serde(default = "gateway")]
        role: Role,
        /// For so long; absent: an hour.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid: Option<Millis>,
    },
    /// A list of [`GatewayRow`].
    Gateways,
    /// [`SessionPage`].
    Sessions {
        /// Only of this gateway.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<ServiceId>,
        /// Go on where the last page ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u32>,
    },
    /// Ends a session by hand; [`Ended`].
    Evict {
        /// Which.
        session: SessionId,
    },
    /// Tells terminals something; [`super::MessageRow`].
    Push(MessageAsk),
    /// What terminals are told: a list of [`super::MessageRow`].
    Messages,
    /// Tells it no more; [`super::MessageRow`], as it was.
    Withdraw {
        /// Which.
        message: MessageId,
    },
    /// Whether a beacon shows that somebody was near an access point lately; [`Heard`].
    Beacon {
        /// Our element, or a list that holds it, in hexadecimal.
        element: String,
        /// Where it was heard.
        bssid: Bssid,
    },
    /// Entries of the ledger of a gateway; [`LedgerPage`].
    #[cfg(feature = "trade")]
    Ledger {
        /// Whose.
        gateway: ServiceId,
        /// Behind this entry.
        #[serde(default)]
        after: u64,
    },
    /// Makes vouchers; [`NewVouchers`]. Their codes are shown this once.
    #[cfg(feature = "trade")]
    Vouchers {
        /// How many; 1000 at most.
        count: u32,
        /// What each is good for.
        value: Money,
        /// For so long; absent: a year.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid: Option<Millis>,
    },
    /// What silence leads to at a gateway; [`GatewayRow`].
    Policy {
        /// Which.
        gateway: ServiceId,
        /// `None`: what the configuration says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<PolicyWord>,
    },
}

fn gateway() -> Role {
    Role::Gateway
}

/// What silence leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyWord {
    /// The gateway is asked first.
    Corroborate,
    /// The terminal is evicted at once.
    Strict,
}

/// A claim that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewClaim {
    /// `wayleave://HOST:PORT/KEY/CODE`.
    pub token: Secret,
    /// Who may enrol with it.
    pub role: Role,
    /// For so long from now.
    pub valid: Millis,
}

/// Entries of a ledger, oldest first; empty behind the last one.
#[cfg(feature = "trade")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPage {
    /// At most a thousand.
    pub entries: Vec<Row>,
}

/// Vouchers that were made.
#[cfg(feature = "trade")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewVouchers {
    /// One for each.
    pub codes: Vec<Secret>,
    /// What each is good for.
    pub value: Money,
    /// For so long from now.
    pub valid: Millis,
}

/// A beacon that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Whose.
    pub service: ServiceId,
    /// Of which slot.
    pub slot: u32,
}

/// A session whose eviction was decided by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The session.
    pub session: SessionId,
}

/// The coordinator at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    /// Program version.
    pub version: String,
    /// `host:port` in claim tokens.
    pub public: String,
    /// Its key, which clients pin.
    pub key: PublicKey,
    /// How long it runs.
    pub uptime: Millis,
    /// Gateways that are enrolled.
    pub gateways: u32,
    /// Gateways that are connected.
    pub gateways_up: u32,
    /// Terminals that are connected.
    pub terminals_up: u32,
    /// Sessions by state word.
    pub sessions: BTreeMap<String, u32>,
    /// Notices that gateways have not acknowledged.
    pub outbox: u32,
    /// Scopes that the brake holds: `node`, or a service id.
    pub braked: Vec<String>,
    /// Whether the disk is full: no new grants.
    pub store_full: bool,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRow {
    /// Its key.
    pub key: PublicKey,
    /// What its owner calls it; empty until it announced itself.
    pub name: String,
    /// Its service id.
    pub service: ServiceId,
    /// What was set; absent: what the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyWord>,
    /// Whether it is connected.
    pub up: bool,
    /// Since it was connected last, by the coordinator's calendar: for people; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Millis>,
    /// Its networks.
    pub networks: Vec<Ssid>,
    /// Its access points.
    pub bssids: u32,
    /// Sessions at it.
    pub sessions: u32,
    /// Notices that it has not acknowledged.
    pub outbox: u32,
}

/// Some sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPage {
    /// At most a thousand.
    pub sessions: Vec<SessionRow>,
    /// Ask again after this one; absent: there are no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub session: SessionId,
    /// `granting`, `granted`, `reserved`, `active`, `suspect` or `evicting`.
    pub state: String,
    /// The grant.
    pub grant: GrantId,
    /// The gateway.
    pub service: ServiceId,
    /// The terminal's key.
    pub terminal: PublicKey,
    /// The terminal's address there.
    pub station: MacAddr,
    /// Which join.
    pub incarnation: Incarnation,
    /// Why it is being evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_short_line() {
        for (line, request) in [
            (r#"{"verb":"status"}"#, CoordinatorRequest::Status),
            (r#"{"verb":"claim"}"#, CoordinatorRequest::Claim { role: Role::Gateway, valid: None }),
            (r#"{"verb":"sessions"}"#, CoordinatorRequest::Sessions { gateway: None, after: None }),
        ] {
            assert_eq!(serde_json::from_str::<CoordinatorRequest>(line).unwrap(), request);
        }
        assert!(serde_json::from_str::<CoordinatorRequest>(r#"{"verb":"claim","roll":1}"#).is_err());
    }
}
