//! What the terminal's control socket understands and answers.

use serde::{Deserialize, Serialize};

use super::LinkState;
use crate::model::{Bssid, Incarnation, MacAddr, Millis, PublicKey, Refusal, ServiceId, SessionId, Ssid};

/// A request to the terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TerminalRequest {
    /// [`TerminalStatus`].
    Status,
    /// Access is wanted, now. [`TerminalStatus`].
    Ask,
    /// The machine will sleep; the coordinator is told. [`TerminalStatus`].
    Sleep {
        /// For so long.
        time: Millis,
    },
    /// Give access back and stay idle. [`TerminalStatus`].
    Leave,
}

/// The terminal at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalStatus {
    /// Program version.
    pub version: String,
    /// Its identity.
    pub key: PublicKey,
    /// Through which it joins.
    pub interface: String,
    /// The address of that interface.
    pub station: MacAddr,
    /// The coordinator.
    pub link: LinkState,
    /// `idle`, `scanning`, `asking`, `joining`, `associating`, `connected`, `leaving`, `waiting`, `finished`.
    pub state: String,
    /// The access that stands, or is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessRow>,
    /// Access points in the directories that it holds.
    #[serde(default)]
    pub listed: u64,
    /// Access codes that it holds ahead of time.
    #[serde(default)]
    pub ahead: u64,
    /// What stood in the way last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Refusal>,
    /// Messages that were shown since the start.
    #[serde(default)]
    pub messages: u64,
    /// What was dropped as malformed or forged: frames from the coordinator, and from whoever answered in the gateway's
    /// place.
    pub dropped: u64,
}

/// The access of a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRow {
    /// The network.
    pub ssid: Ssid,
    /// The access point.
    pub bssid: Bssid,
    /// The gateway.
    pub service: ServiceId,
    /// The session.
    pub session: SessionId,
    /// Which join.
    pub incarnation: Incarnation,
    /// For how long it stands; absent while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Millis>,
    /// Layer-3 bytes received in this session, by the interface's count.
    pub rx: u64,
    /// Layer-3 bytes sent.
    pub tx: u64,
}
