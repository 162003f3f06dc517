//! What is granted, to whom, and what has been used of it.

use serde::{Deserialize, Serialize};

use super::{CodeAsk, GrantId, Incarnation, MacAddr, Millis, PublicKey, Secret, SessionId};

/// A grant as its author wants it enforced. Fields in the order deterministic CBOR asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantSpec {
    /// Identifies the grant for its whole life.
    pub id: GrantId,
    /// Its station is whoever comes with its code; absent: the station named, whatever opens its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Box<CodeAsk>>,
    /// How long it lasts from now without being renewed; `None`: until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Millis>,
    /// Layer-3 bytes, both directions together; `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// Who owns it.
    pub holder: Holder,
    /// The station under which the holder is present now.
    pub station: MacAddr,
    /// Which join this is; 1 for grants given by hand.
    pub incarnation: Incarnation,
}

/// Who owns a grant. A key, never a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// Whoever uses the station: given by the owner by hand, without any coordinator.
    Station,
    /// A terminal in a session that a coordinator follows.
    #[serde(rename = "terminal")]
    Terminal {
        /// The terminal's identity.
        key: PublicKey,
        /// The session.
        session: SessionId,
    },
}

/// Who gave a grant, and so who may take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The owner, by hand. Kept on flash, untouched by what a coordinator wants.
    Owner,
    /// A coordinator; ends by itself when the coordinator is gone for longer than the lease.
    Coordinator,
}

/// What a station has moved, cumulative. Layer-3 bytes: IP header included, Ethernet header not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes from the station.
    pub up_bytes: u64,
    /// Bytes to the station.
    pub down_bytes: u64,
    /// Packets from the station, as the kernel saw them (GRO may have merged several).
    pub up_packets: u64,
    /// Packets to the station.
    pub down_packets: u64,
}

impl Traffic {
    /// Bytes of both directions.
    pub fn total_bytes(&self) -> u64 {
        self.up_bytes.saturating_add(self.down_bytes)
    }
}

impl std::ops::Add for Traffic {
    type Output = Traffic;

    fn add(self, other: Traffic) -> Traffic {
        Traffic {
            up_bytes: self.up_bytes.saturating_add(other.up_bytes),
            up_packets: self.up_packets.saturating_add(other.up_packets),
            down_bytes: self.down_bytes.saturating_add(other.down_bytes),
            down_packets: self.down_packets.saturating_add(other.down_packets),
        }
    }
}

/// What opens a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// Nothing is asked on the air.
    Open,
    /// A WPA2 passphrase or 64 hexadecimal digits.
    Psk {
        /// The passphrase.
        passphrase: Secret,
    },
    /// A name and a password for EAP.
    Eap {
        /// EAP method: `MD5`, `PEAP`, `TTLS` or `PWD`.
        method: String,
        /// The name.
        identity: String,
        /// The password.
        password: Secret,
    },
}
