//! Where the agent's decisions meet the world: one match from action to adapter.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Error;
use crate::adapters::interface::{Interface, Moved};
use crate::adapters::link::keeper::{KeptLink, LinkEvent};
use crate::adapters::wpa_supplicant::{Supplicant, SupplicantError, SupplicantEvent};
use crate::config::terminal::Settings;
use crate::logic::agent::{Action, Agent, End, Input};
use crate::model::{Credential, MacAddr, Refusal, sentence};
use crate::wire::seal::{Asking, SealError};
use crate::wire::sign::Identity;
use crate::wire::terminal::{FromTerminal, Heartbeat, Joined, SeenAp, ToTerminal};

/// For the network to be taken away at the end; wpa_supplicant answers within microseconds, or hangs.
const REMOVE_DEADLINE: Duration = Duration::from_millis(800);

/// For what was said last to be heard.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// What comes from outside.
pub(super) enum Outside {
    /// From the coordinator.
    Link(LinkEvent<ToTerminal>),
    /// From wpa_supplicant.
    Supplicant(Result<SupplicantEvent, SupplicantError>),
}

/// What the agent acts upon.
pub(super) struct Effects {
    pub(super) settings: Settings,
    pub(super) link: KeptLink<FromTerminal, ToTerminal>,
    pub(super) interface: Interface,
    identity: Arc<Identity>,
    /// The key of the latest join, until its answer was opened.
    asking: Option<Asking>,
    /// By the radio, the last time.
    seen: Vec<SeenAp>,
    /// Counters when the session began.
    baseline: Moved,
    supplicant: Option<Supplicant>,
    /// What stood in the way last.
    pub(super) last: Option<Refusal>,
}

impl Effects {
    pub(super) fn new(
        settings: Settings,
        link: KeptLink<FromTerminal, ToTerminal>,
        interface: Interface,
        identity: Arc<Identity>,
    ) -> Self {
        Self {
            settings,
            link,
            interface,
            identity,
            asking: None,
            seen: Vec::new(),
            baseline: Moved::default(),
            supplicant: None,
            last: None,
        }
    }

    /// Carries out one action. What comes of it at once is returned as the agent's next input.
    pub(super) async fn carry_out(
        &mut self,
        action: Action,
        agent: &mut Agent,
    ) -> Result<Option<Input>, End> {
        match action {
            Action::Scan { silently } => {
                if let Ok(station) = self.station() {
                    agent.set_station(station);
                }
                Ok(self.scan(silently).await)
            }
            Action::Send(message) => {
                self.send(message);
                Ok(None)
            }
            Action::Join { to, request } => {
                let asking = Asking::new(to);
                let offer = Some(asking.offer(&self.identity));
                // Only the answer to the latest question counts.
                self.asking = Some(asking);
                let seen = self.seen.iter().find(|ap| ap.bssid == to.bssid);
                let beacon = seen.and_then(|ap| ap.beacon.clone());
                let (bssid, station) = (to.bssid, to.station);
                self.send(FromTerminal::Join { ahead: false, bssid, beacon, offer, request, station });
                Ok(None)
            }
            Action::Beat { access, next } => {
                let Moved { rx, tx } = self.moved();
                let beat = Heartbeat {
                    rx,
                    tx,
                    next,
                    service: access.service,
                    session: access.session,
                    incarnation: access.incarnation,
                };
                self.send(FromTerminal::Heartbeat(beat));
                Ok(None)
            }
            Action::Associate(joined) => {
                self.baseline = self.interface.moved().unwrap_or_default();
                tracing::info!(ssid = %joined.ssid, "joining");
                let joined = match self.unsealed(*joined) {
                    Ok(joined) => joined,
                    Err(error) => return Ok(Some(Input::AssociationFailed(error.refusal()))),
                };
                if self.settings.wired && joined.credential == Credential::Open {
                    // The wire is there already.
                    return Ok(Some(Input::Associated));
                }
                let added = async { self.supplicant().await?.add(&joined).await }.await;
                Ok(added.err().map(|error| Input::AssociationFailed(refusal_of(&error))))
            }
            Action::Dissociate => {
                tracing::info!("leaving the network");
                self.remove().await;
                Ok(None)
            }
            Action::Tell(refusal) => {
                tracing::warn!(word = refusal.word, "{refusal}");
                self.last = Some(refusal);
                Ok(None)
            }
            Action::Finish(end) => Err(end),
        }
    }

    /// With the access code in the place of the credential, where one came.
    fn unsealed(&mut self, mut joined: Joined) -> Result<Joined, SealError> {
        let asking = self.asking.take();
        if let Some(sealed) = joined.code.take() {
            let asking = asking.ok_or(SealError::NotOffered)?;
            let code = asking.open(&sealed, joined.session, joined.incarnation)?;
            joined.credential = Credential::Psk { passphrase: code.digits() };
        }
        Ok(joined)
    }

    /// The next thing that coordinator or wpa_supplicant say. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Outside {
        let supplicant = async {
            match &mut self.supplicant {
                Some(supplicant) => supplicant.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.link.next() => Outside::Link(event),
            said = supplicant => Outside::Supplicant(said),
        }
    }

    /// What it means to the agent that wpa_supplicant said this.
    pub(super) async fn heard(&mut self, said: Result<SupplicantEvent, SupplicantError>) -> Input {
        match said {
            Ok(SupplicantEvent::Scanned) => Input::Scanned(self.scan_results().await),
            Ok(SupplicantEvent::Connected) => {
                tracing::info!("connected");
                // There may be a way to the coordinator now.
                self.link.hurry();
                Input::Associated
            }
            Ok(SupplicantEvent::Lost) => {
                tracing::info!("the network is lost");
                Input::AccessLost
            }
            Ok(SupplicantEvent::Refused) => {
                Input::AssociationFailed(Refusal::new("account-refused", "the network refused the account"))
            }
            Err(error) => {
                // It ended, and our network with it; it is opened anew when it is needed next.
                self.supplicant = None;
                Input::AssociationFailed(refusal_of(&error))
            }
        }
    }

    /// Ends: what was said last is heard.
    pub(super) async fn finish(mut self) {
        self.remove().await;
        self.link.close(CLOSE_DEADLINE).await;
    }

    pub(super) fn station(&self) -> Result<MacAddr, Error> {
        let interface = self.settings.interface.clone();
        self.interface.address().map_err(|source| Error::Interface { interface, source })
    }

    /// What was moved in this session.
    pub(super) fn moved(&self) -> Moved {
        self.interface.moved().unwrap_or_default().since(self.baseline)
    }

    pub(super) fn send(&self, message: FromTerminal) {
        // The agent hears of the link and of its end from the same queue, so this is a link just lost.
        if let Err(error) = self.link.send(message) {
            tracing::debug!(%error, "not sent");
        }
    }

    async fn scan(&mut self, silently: bool) -> Option<Input> {
        if !self.settings.aps.is_empty() {
            return Some(Input::Scanned(self.settings.aps.clone()));
        }
        let scanning = async { self.supplicant().await?.scan(silently).await }.await;
        scanning.err().map(|error| {
            self.failed(&error);
            Input::Scanned(Vec::new())
        })
    }

    async fn scan_results(&mut self) -> Vec<SeenAp> {
        let results = async { self.supplicant().await?.scan_results().await }.await;
        self.seen = results.unwrap_or_else(|error| {
            self.failed(&error);
            Vec::new()
        });
        self.seen.clone()
    }

    async fn remove(&mut self) {
        let Some(supplicant) = &mut self.supplicant else { return };
        match timeout(REMOVE_DEADLINE, supplicant.remove()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.failed(&error);
                self.supplicant = None;
            }
            Err(_) => {
                tracing::warn!("wpa_supplicant does not answer; our network is removed at the next start");
                self.supplicant = None;
            }
        }
    }

    async fn supplicant(&mut self) -> Result<&mut Supplicant, SupplicantError> {
        let supplicant = match self.supplicant.take() {
            Some(supplicant) => supplicant,
            None => {
                let Settings { wpa_supplicant, interface, runtime_dir, wired, .. } = &self.settings;
                Supplicant::open(wpa_supplicant, interface, runtime_dir, *wired).await?
            }
        };
        Ok(self.supplicant.insert(supplicant))
    }

    fn failed(&mut self, error: &SupplicantError) {
        let refusal = refusal_of(error);
        tracing::warn!(word = refusal.word, "{refusal}");
        self.last = Some(refusal);
    }
}

fn refusal_of(error: &SupplicantError) -> Refusal {
    let word = match error {
        SupplicantError::Ctrl(_) => "wpa-supplicant",
        SupplicantError::Unusable { .. } => "account-unusable",
    };
    Refusal::new(word, sentence(error))
}
