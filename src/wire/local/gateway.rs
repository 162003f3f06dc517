//! What the gateway's control socket understands and answers.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

#[cfg(feature = "push")]
use super::MessageAsk;
use crate::model::{
    Bssid, Cause, Code, GrantId, Incarnation, KeyId, MacAddr, MessageId, Millis, Origin, Refusal, Report,
    Secret, ServiceId, Ssid, Traffic,
};

/// A request to the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GatewayRequest {
    /// [`GatewayStatus`].
    Status,
    /// A list of [`StationRow`].
    Stations,
    /// A list of [`GrantRow`].
    Grants,
    /// Grants by hand; all or none. A list of [`Granted`].
    Grant {
        /// What is granted, in one kernel transaction.
        grants: Vec<GrantAsk>,
    },
    /// A grant of what a RADIUS server says to a name and a password; [`GrantedRadius`].
    GrantRadius {
        /// For whom.
        station: MacAddr,
        /// User-Name.
        name: String,
        /// What the server knows of it.
        password: Secret,
    },
    /// A grant by hand for whoever comes with a code of its own; [`GrantedCode`].
    GrantCode {
        /// For so long; absent: until taken back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<Millis>,
        /// So many layer-3 bytes, both directions together; absent: without limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quota: Option<u64>,
    },
    /// More time or bytes for a grant by hand that has an end, in place; its [`GrantRow`] afterwards.
    Topup {
        /// Which.
        target: Target,
        /// So much longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<Millis>,
        /// So many layer-3 bytes more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quota: Option<u64>,
    },
    /// Evicts by hand; [`Evicted`].
    Evict {
        /// Whom.
        target: Target,
    },
    /// Tells terminals something; [`super::MessageRow`].
    #[cfg(feature = "push")]
    Push(MessageAsk),
    /// What terminals are told: a list of [`super::MessageRow`].
    #[cfg(feature = "push")]
    Messages,
    /// Tells it no more; [`super::MessageRow`], as it was.
    #[cfg(feature = "push")]
    Withdraw {
        /// Which.
        message: MessageId,
    },
    /// Makes vouchers that the portal takes; [`super::NewVouchers`]. Their codes are shown this once.
    #[cfg(feature = "portal")]
    Vouchers {
        /// How many; 1000 at most.
        count: u32,
        /// What each is good for.
        value: crate::model::trade::Money,
        /// For so long; absent: a year.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        valid: Option<Millis>,
    },
    /// Entries of the gateway's own ledger; [`super::LedgerPage`].
    #[cfg(feature = "portal")]
    Ledger {
        /// Behind this entry.
        #[serde(default)]
        after: u64,
    },
    /// From now on, one [`Event`] per line.
    Watch,
    /// A list of [`Finding`].
    Doctor,
}

/// One grant by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantAsk {
    /// The station.
    pub station: MacAddr,
    /// For so long; absent: until taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Millis>,
    /// So many layer-3 bytes, both directions together; absent: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
}

/// A grant that the kernel enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Its id.
    pub id: GrantId,
    /// The station.
    pub station: MacAddr,
}

/// A grant that a RADIUS server has given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedRadius {
    /// Its id.
    pub id: GrantId,
    /// The station.
    pub station: MacAddr,
    /// For so long; absent: until taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Millis>,
    /// So many layer-3 bytes, both directions together; absent: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// What the server wants to be shown, escaped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A grant that waits for whoever comes with its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedCode {
    /// Its id.
    pub id: GrantId,
    /// The code, which is shown only here.
    pub code: Code,
    /// The networks that it opens.
    pub networks: Vec<CodeNetwork>,
    /// What opens networks that ask for a name and a password; absent: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
}

/// A code, as a name and a password for EAP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The name.
    pub name: KeyId,
    /// The password, which is shown only here.
    pub password: Secret,
}

/// A network that a code opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeNetwork {
    /// Its name; empty: neither hostapd nor the configuration says it.
    pub ssid: Ssid,
    /// What a QR code says (`WIFI:…`); absent: the name cannot be said in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wifi: Option<Secret>,
}

/// Whom a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The station, whatever grant it has.
    Station(MacAddr),
    /// This grant, and its station.
    Grant(GrantId),
}

impl std::str::FromStr for Target {
    type Err = Refusal;

    /// A MAC address or a grant id.
    fn from_str(said: &str) -> Result<Self, Refusal> {
        if let Ok(station) = said.parse() {
            return Ok(Self::Station(station));
        }
        said.parse().map(Self::Grant).map_err(|_| {
            let found: String = said.chars().take(80).collect();
            let sentence =
                format!("{found:?} is neither a MAC address nor a grant id of 32 hexadecimal digits");
            Refusal::new("bad-request", sentence)
        })
    }
}

/// The result of an eviction by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicted {
    /// What was freed.
    pub report: Report,
}

/// How the downlink is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `netdev` ingress and egress: by MAC address in both directions.
    Netdev,
    /// Without the egress hook: the `bridge` family's prerouting and postrouting, by MAC address too.
    Bridge,
}

impl Layout {
    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Layout::Netdev => "netdev",
            Layout::Bridge => "bridge",
        }
    }
}

/// How the gateway stands to its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// There is none: the owner grants by hand.
    Alone,
    /// Trying; what went wrong last.
    Down {
        /// The coordinator.
        host: String,
        /// For people.
        why: String,
    },
    /// The link stands.
    Up {
        /// The coordinator.
        host: String,
    },
}

/// The gateway at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Program version.
    pub version: String,
    /// What the owner calls it.
    pub name: String,
    /// Its service id.
    pub service: ServiceId,
    /// How long it runs.
    pub uptime: Millis,
    /// How the downlink is enforced.
    pub layout: Layout,
    /// Whether the tables are ours alone (nft `owner`, `persist`).
    pub owned: bool,
    /// Interfaces that are shared.
    pub interfaces: Vec<String>,
    /// BSSes of hostapd that were found.
    pub bsses: u32,
    /// Those that carry our beacon.
    pub beacons: u32,
    /// Stations that are present.
    pub stations: u32,
    /// Grants that are enforced.
    pub grants: u32,
    /// The coordinator.
    pub link: LinkState,
    /// How often the tables had to be put back.
    pub restored: u64,
    /// Frames and notices from outside that were dropped as malformed, forged or replayed.
    pub dropped: u64,
    /// Packets of stations without a grant that the kernel dropped.
    pub refused_packets: u64,
    /// Frames in which a station used an address that is not its own; the kernel dropped them.
    pub spoofed_packets: u64,
}

/// One station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StationRow {
    /// Its address.
    pub mac: MacAddr,
    /// Where it was seen: an interface.
    pub interface: String,
    /// The access point, where hostapd has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bssid: Option<Bssid>,
    /// The network, where hostapd has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssid: Option<Ssid>,
    /// Its IP addresses, as the neighbour table has them.
    pub addresses: Vec<IpAddr>,
    /// Whether its frames of management are protected (PMF, IEEE 802.11w), where hostapd says: nobody else can send it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Its grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// What it moved under that grant.
    pub moved: Traffic,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRow {
    /// Its id.
    pub id: GrantId,
    /// The station; absent: nobody is here with its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<MacAddr>,
    /// Whether it was made for a code.
    #[serde(default)]
    pub code: bool,
    /// Who gave it.
    pub origin: Origin,
    /// Which join.
    pub incarnation: Incarnation,
    /// What is left of its time; absent: until taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Millis>,
    /// Bytes granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// What it moved.
    pub moved: Traffic,
    /// Whether its station is present.
    pub present: bool,
}

/// What happens, as it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The kernel enforces a grant from here on.
    Admitted {
        /// The grant.
        grant: GrantId,
        /// The station.
        station: MacAddr,
    },
    /// A grant is over and everything is freed.
    Evicted {
        /// What was freed.
        report: Report,
    },
    /// Few bytes of a grant are left; none: it waits for more, and its station passes nothing. Once until it is topped
    /// up, and again after a restart.
    Low {
        /// The grant.
        grant: GrantId,
        /// The station.
        station: MacAddr,
        /// Bytes granted.
        quota: u64,
        /// Bytes left of them.
        left: u64,
    },
    /// A station appeared.
    Joined {
        /// The station.
        station: MacAddr,
        /// Where.
        interface: String,
    },
    /// A station disappeared.
    Gone {
        /// The station.
        station: MacAddr,
        /// Where.
        interface: String,
    },
    /// The tables were gone and stand again.
    Restored {
        /// Grants put back.
        grants: u32,
        /// From hearing of it to the kernel enforcing again.
        took_us: u64,
    },
    /// The link to the coordinator changed.
    Link {
        /// To this.
        state: LinkState,
    },
    /// A terminal has a message.
    Delivered {
        /// Which.
        message: MessageId,
        /// Its grant.
        grant: GrantId,
    },
    /// Something from outside was dropped.
    Dropped {
        /// What and why.
        refusal: Refusal,
    },
    /// The receiver was too slow; so many events are missing here.
    Missed {
        /// How many.
        events: u64,
    },
    /// A grant has ended and the eviction begins.
    Evicting {
        /// Why.
        cause: Cause,
        /// The grant.
        grant: GrantId,
        /// The station.
        station: MacAddr,
    },
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Good,
    /// It works, with less.
    Hint,
    /// Something the owner expects does not work.
    Problem,
}

/// One finding of `wayleave doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable word: `layout`, `owner-flag`, `egress-hook`, `hostapd`, `beacon`, `dnsmasq`, `conntrack`, …
    pub word: String,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do about it; empty where nothing is to be done.
    pub advice: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_or_a_grant_and_nothing_else() {
        assert_eq!("02:00:00:00:00:01".parse(), Ok(Target::Station(MacAddr([2, 0, 0, 0, 0, 1]))));
        assert_eq!("ab".repeat(16).parse(), Ok(Target::Grant(GrantId([0xab; 16]))));
        for wrong in ["", "02:00:00:00:00:01\n", "*", &"ab".repeat(17), "\0", &"x".repeat(100_000)] {
            let refusal = wrong.parse::<Target>().unwrap_err();
            assert_eq!(refusal.word, "bad-request");
            assert!(refusal.sentence.len() < 200 && !refusal.sentence.contains(['\n', '\0']));
        }
    }
}
