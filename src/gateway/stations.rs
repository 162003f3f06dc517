//! Asks hostapd who is there and by which code.

use super::effects::{Done, Gateway};
use crate::adapters::hostapd::StationInfo;
use crate::logic::listing::By;
use crate::model::{KeyId, MacAddr};

/// What hostapd calls the key, if it is a name that we give.
pub(super) fn key_id(said: Option<&str>) -> Option<KeyId> {
    said?.parse().ok()
}

/// By which code of ours a station has joined. Of one that says another name right now nobody knows which it will be.
pub(super) fn joined_by(gateway: &Gateway, bss: &str, info: StationInfo) -> By {
    if info.is_asked_again && gateway.has_accounts(bss) {
        return By::Unsaid;
    }
    let key = key_id(info.keyid.or(info.identity).as_deref());
    By::Key(key.or_else(|| gateway.passwords.key_at(bss, info.mac)))
}

/// Asks hostapd who is associated with a BSS.
pub(super) fn list(gateway: &mut Gateway, bss: String) {
    let hostapd = gateway.hostapd.clone();
    let number = gateway.listings.begin(&bss);
    gateway.pending.push(Box::pin(async move {
        let stations = hostapd.stations(&bss).await;
        let unlisted = |error| tracing::warn!(%error, "stations of a BSS");
        Done::Stations { bss, number, stations: stations.map_err(unlisted).ok() }
    }));
}

/// Asks hostapd by which name a station has joined, which its event does not say.
pub(super) fn identify(gateway: &mut Gateway, bss: String, station: MacAddr) {
    let hostapd = gateway.hostapd.clone();
    gateway.pending.push(Box::pin(async move {
        let identity = hostapd.identity(&bss, station).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the name of a station");
            None
        });
        Done::Identified { bss, station, identity }
    }));
}
