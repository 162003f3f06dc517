//! Who keeps associations with the access points that share our networks: hostapd, or else the kernel.
//!
//! hostapd is asked for every BSS whose control socket was found. Access points without one are asked for by nl80211,
//! in builds that have it (feature `nl80211`).

use std::collections::BTreeSet;
use std::time::Duration;

use super::effects::Gateway;
use crate::adapters::hostapd::HostapdControl;
use crate::model::{MacAddr, sentence};

/// For one question; made anew for the next, because access points come and go.
pub(super) struct Associations {
    hostapd: HostapdControl,
    /// Index and name of the interfaces that share and that no hostapd speaks for.
    #[cfg(feature = "nl80211")]
    others: Vec<(u32, String)>,
}

/// An association, as an access point has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Association {
    /// Since the station was last heard, where that is known.
    pub inactive: Option<Duration>,
}

impl Associations {
    pub fn of(gateway: &Gateway) -> Self {
        Self {
            hostapd: gateway.hostapd.clone(),
            #[cfg(feature = "nl80211")]
            others: {
                let spoken_for = gateway.hostapd.bsses();
                let interfaces = gateway.world.sharing(&gateway.settings);
                interfaces
                    .filter(|link| spoken_for.iter().all(|bss| bss.name != link.name))
                    .map(|link| (link.index, link.name.clone()))
                    .collect()
            },
        }
    }

    /// Ends those of a station, with this reason code. For each access point, whether there was one, or why it
    /// cannot be told. `known`: where it is for certain.
    pub async fn end(
        &self,
        station: MacAddr,
        known: &BTreeSet<String>,
        reason: u16,
    ) -> Vec<(String, Result<bool, String>)> {
        let answers = self.hostapd.deauthenticate(station, known, reason).await;
        #[cfg_attr(not(feature = "nl80211"), expect(unused_mut))]
        let mut ends: Vec<_> = answers
            .into_iter()
            .map(|(bss, answer)| (bss, answer.map_err(|error| sentence(&error))))
            .collect();
        #[cfg(feature = "nl80211")]
        if let Some(radios) = self.radios().await {
            for (index, name) in radios.access_points {
                let ended = radios.nl80211.end(index, station, reason).await;
                ends.push((name, ended.map_err(|error| sentence(&error))));
            }
            ends.sort_by(|one, other| one.0.cmp(&other.0));
        }
        ends
    }

    /// Those of a station. For each access point, the association if there is one, or why it cannot be told.
    pub async fn look(&self, station: MacAddr) -> Vec<(String, Result<Option<Association>, String>)> {
        let answers = self.hostapd.station(station).await;
        #[cfg_attr(not(feature = "nl80211"), expect(unused_mut))]
        let mut found: Vec<_> = answers
            .into_iter()
            .map(|(bss, answer)| {
                // One that is associated and has no key yet, or never gets one, is only at the door.
                let present = answer.map(|info| info.filter(|info| info.state.authorized));
                let association =
                    present.map(|info| info.map(|info| Association { inactive: info.inactive }));
                (bss, association.map_err(|error| sentence(&error)))
            })
            .collect();
        #[cfg(feature = "nl80211")]
        if let Some(radios) = self.radios().await {
            for (index, name) in radios.access_points {
                let stations = radios.nl80211.stations(index).await;
                let association = stations.map(|stations| {
                    let own = stations.into_iter().find(|found| found.station == station);
                    own.map(|own| Association { inactive: own.inactive })
                });
                found.push((name, association.map_err(|error| sentence(&error))));
            }
            found.sort_by(|one, other| one.0.cmp(&other.0));
        }
        found
    }
}

#[cfg(feature = "nl80211")]
struct Radios {
    nl80211: crate::adapters::nl80211::Nl80211,
    access_points: Vec<(u32, String)>,
}

#[cfg(feature = "nl80211")]
impl Associations {
    /// Those of `others` that are access points.
    async fn radios(&self) -> Option<Radios> {
        if self.others.is_empty() {
            return None;
        }
        let look = async {
            let nl80211 = crate::adapters::nl80211::Nl80211::open()?;
            let found = nl80211.access_points().await?;
            let access_points =
                self.others.iter().filter(|(index, _)| found.contains(index)).cloned().collect();
            Ok::<_, crate::adapters::nl80211::Nl80211Error>(Radios { nl80211, access_points })
        };
        match look.await {
            Ok(radios) => Some(radios),
            Err(error) => {
                // As on every machine without a radio.
                tracing::debug!(error = %sentence(&error), "no radios");
                None
            }
        }
    }
}
