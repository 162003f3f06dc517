//! wpa_supplicant: what it sees, and the one network that we add and take away again.
//!
//! The networks of the person stay as they are. On the air ours has a priority above theirs; on a wire it is
//! selected, and theirs are enabled again afterwards. Bytes are in `codec.rs`.

mod codec;
mod error;

use std::path::{Path, PathBuf};

pub use error::SupplicantError;

use self::codec::Meaning;
use crate::adapters::wpa_ctrl::{Command, CtrlError, WpaCtrl, WpaEvents};
use crate::wire::terminal::{Joined, SeenAp};

/// wpa_supplicant's hold of one interface.
pub struct Supplicant {
    ctrl: WpaCtrl,
    events: WpaEvents,
    wired: bool,
    ours: Option<Ours>,
    /// The connection may have changed since it was last asked for.
    changed: bool,
}

/// The network that we added.
struct Ours {
    id: u32,
    carries: bool,
    /// Networks that selecting ours disabled.
    enable_again: Vec<u32>,
}

/// What happened, as far as we are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupplicantEvent {
    /// A scan is over; read [`Supplicant::scan_results`].
    Scanned,
    /// Our network carries packets from now on.
    Connected,
    /// It does not any more; wpa_supplicant goes on trying.
    Lost,
    /// The account was refused.
    Refused,
}

impl Supplicant {
    /// Opens the control socket of `interface` in `dir`, own sockets in `own_dir`, and removes a network of
    /// ours that an earlier run left behind.
    pub async fn open(
        dir: &Path,
        interface: &str,
        own_dir: &Path,
        wired: bool,
    ) -> Result<Self, SupplicantError> {
        let daemon: PathBuf = dir.join(interface);
        let mut ctrl = WpaCtrl::open(&daemon, own_dir)?;
        ctrl.ping().await?;
        let events = WpaEvents::attach(&daemon, own_dir).await?;
        let mut supplicant = Self { ctrl, events, wired, ours: None, changed: false };
        supplicant.remove_left_behind().await?;
        Ok(supplicant)
    }

    async fn remove_left_behind(&mut self) -> Result<(), SupplicantError> {
        let networks = codec::listed(&self.ctrl.ask(&Command::new("LIST_NETWORKS")).await?);
        for network in networks {
            let get = Command::new("GET_NETWORK").number(network.id).word("id_str");
            let mark = match self.ctrl.ask(&get).await {
                Ok(mark) => mark,
                // It has none.
                Err(CtrlError::Refused { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if mark.as_bytes() == format!("\"{}\"", codec::OUR_MARK).as_bytes() {
                self.ctrl.order(&Command::new("REMOVE_NETWORK").number(network.id)).await?;
            }
        }
        Ok(())
    }

    /// Starts a scan; [`SupplicantEvent::Scanned`] says when it is over. One that runs already is as good.
    /// `silently`: beacons are listened for, and nothing is sent (IEEE 802.11-2020, 11.1.4.2).
    pub async fn scan(&mut self, silently: bool) -> Result<(), SupplicantError> {
        let scan = Command::new("SCAN");
        let scan = if silently { scan.word("passive=1") } else { scan };
        match self.ctrl.order(&scan).await {
            Err(CtrlError::Refused { reply, .. }) if reply.starts_with("FAIL-BUSY") => Ok(()),
            other => Ok(other?),
        }
    }

    /// What the last scan saw. What is no access point is left out.
    pub async fn scan_results(&mut self) -> Result<Vec<SeenAp>, SupplicantError> {
        let reply = self.ctrl.ask(&Command::new("SCAN_RESULTS")).await?;
        let left_out = |error| tracing::debug!(%error, "left out of the scan");
        let mut seen: Vec<SeenAp> =
            codec::scan_results(&reply).filter_map(|line| line.map_err(left_out).ok()).collect();
        for ap in &mut seen {
            // One that has been forgotten since announces nothing.
            if let Ok(reply) = self.ctrl.ask(&Command::new("BSS").mac(ap.bssid.0)).await {
                ap.beacon = codec::beacon(&reply);
            }
        }
        Ok(seen)
    }

    /// Adds the network of `joined` and connects to it; [`SupplicantEvent::Connected`] says when that is
    /// done. A network added earlier is removed first.
    pub async fn add(&mut self, joined: &Joined) -> Result<(), SupplicantError> {
        self.remove().await?;
        let add = Command::new("ADD_NETWORK");
        let reply = self.ctrl.ask(&add).await?;
        let id: u32 = reply.text().parse().map_err(|_| reply.refused(&add))?;
        self.ours = Some(Ours { id, carries: false, enable_again: Vec::new() });
        let added = self.fill_and_connect(id, joined).await;
        if added.is_err() {
            // What went wrong first is what counts.
            let _ = self.remove().await;
        }
        added
    }

    async fn fill_and_connect(&mut self, id: u32, joined: &Joined) -> Result<(), SupplicantError> {
        let known = match self.wired {
            true => None,
            false => self.ctrl.ask(&Command::new("BSS").mac(joined.bssid.0)).await.ok(),
        };
        let sae = known.is_some_and(|reply| codec::is_sae_alone(&reply));
        for command in codec::network(id, joined, self.wired, sae)? {
            self.ctrl.order(&command).await?;
        }
        if self.wired {
            let listed = codec::listed(&self.ctrl.ask(&Command::new("LIST_NETWORKS")).await?);
            let enabled = listed.iter().filter(|network| network.id != id && !network.disabled);
            let enable_again = enabled.map(|network| network.id).collect();
            self.ours = Some(Ours { id, carries: false, enable_again });
            self.ctrl.order(&Command::new("SELECT_NETWORK").number(id)).await?;
        } else {
            self.ctrl.order(&Command::new("ENABLE_NETWORK").number(id)).await?;
            self.ctrl.order(&Command::new("REASSOCIATE")).await?;
        }
        Ok(())
    }

    /// Removes our network, if there is one, and leaves everything else as it was.
    pub async fn remove(&mut self) -> Result<(), SupplicantError> {
        let Some(ours) = self.ours.take() else { return Ok(()) };
        match self.ctrl.order(&Command::new("REMOVE_NETWORK").number(ours.id)).await {
            // Somebody else has removed it.
            Ok(()) | Err(CtrlError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        for id in ours.enable_again {
            match self.ctrl.order(&Command::new("ENABLE_NETWORK").number(id)).await {
                Ok(()) | Err(CtrlError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next thing that concerns us. After an error the supplicant is to be opened anew: it ended, and
    /// our network with it. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<SupplicantEvent, SupplicantError> {
        loop {
            if let Some(event) = self.recheck().await? {
                return Ok(event);
            }
            let event = self.events.next().await?;
            match codec::meaning(&event, self.ours.as_ref().map(|ours| ours.id)) {
                Meaning::Scanned => return Ok(SupplicantEvent::Scanned),
                Meaning::Refused if self.ours.as_ref().is_some_and(|ours| !ours.carries) => {
                    return Ok(SupplicantEvent::Refused);
                }
                Meaning::Refused | Meaning::Changed => self.changed = true,
                Meaning::Nothing => {}
            }
        }
    }

    /// Events say that something changed; what is true now, `STATUS` says.
    async fn recheck(&mut self) -> Result<Option<SupplicantEvent>, SupplicantError> {
        if !self.changed {
            return Ok(None);
        }
        let Some(ours) = &mut self.ours else {
            self.changed = false;
            return Ok(None);
        };
        let carries = codec::carries(&self.ctrl.ask(&Command::new("STATUS")).await?, ours.id);
        // Only now: a future that was dropped above asks again.
        self.changed = false;
        let before = std::mem::replace(&mut ours.carries, carries);
        Ok(match (before, carries) {
            (false, true) => Some(SupplicantEvent::Connected),
            (true, false) => Some(SupplicantEvent::Lost),
            (true, true) | (false, false) => None,
        })
    }
}
