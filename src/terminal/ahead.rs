//! Codes that are held ahead of time: where the machine's decisions meet the link and the disk.

use std::path::PathBuf;
use std::sync::Arc;

use super::directory::Directory;
use crate::adapters::kept_codes;
use crate::adapters::link::keeper::KeptLink;
use crate::config::terminal::Settings;
use crate::host::clock;
use crate::logic::agent::Agent;
use crate::logic::ahead::{Action, Ahead, Input, Place};
use crate::model::{BootTime, Credential, MacAddr, Refusal, sentence};
use crate::wire::seal::{Asking, SealError};
use crate::wire::sign::Identity;
use crate::wire::terminal::{FromTerminal, Joined, ToTerminal};

/// See the module.
pub(super) struct Codes {
    ahead: Ahead,
    identity: Arc<Identity>,
    /// The key of the question that is open.
    asking: Option<(u64, Asking)>,
    state_dir: PathBuf,
}

impl Codes {
    /// With what was kept, for a device that will be seen under this address.
    pub(super) fn load(settings: &Settings, identity: Arc<Identity>, station: MacAddr) -> Self {
        let wants_any = !settings.directory.ahead.is_empty();
        let kept = match kept_codes::load(&settings.state_dir) {
            Ok(kept) if wants_any => kept,
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::warn!("access codes are asked for again: {}", sentence(&error));
                Vec::new()
            }
        };
        let ahead = Ahead::new(station, kept, clock::now());
        Self { ahead, identity, asking: None, state_dir: settings.state_dir.clone() }
    }

    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.ahead.held().count()
    }

    pub(super) fn poll_timeout(&self) -> Option<BootTime> {
        self.ahead.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: BootTime) {
        self.ahead.handle_timeout(now);
    }

    pub(super) fn link(&mut self, up: bool, now: BootTime) {
        self.ahead.handle_input(if up { Input::LinkUp } else { Input::LinkDown }, now);
    }

    /// What the directory lists has changed, or what is wanted of it.
    pub(super) fn listed(&mut self, directory: &Directory, settings: &Settings, now: BootTime) {
        let mut places: Vec<Place> = Vec::new();
        for (service, bssid) in directory.in_areas(&settings.directory.ahead) {
            if places.iter().all(|place| place.service != service) {
                places.push(Place { service, bssid });
            }
        }
        self.ahead.handle_input(Input::Listed(places), now);
    }

    /// Where the agent is.
    pub(super) fn follow(&mut self, agent: &Agent, now: BootTime) {
        self.ahead.handle_input(Input::Here(agent.access()), now);
    }

    /// What the coordinator says, if it is none of the agent's business; otherwise it comes back.
    pub(super) fn heard(&mut self, message: ToTerminal, now: BootTime) -> Option<ToTerminal> {
        match message {
            ToTerminal::Joined(joined) if Ahead::is_mine(joined.request) => {
                let joined = self.opened(joined.clone()).unwrap_or_else(|error| {
                    self.tell(&error.refusal());
                    // Nobody can come with it: it is given back.
                    Joined { ahead: None, ..joined }
                });
                self.ahead.handle_input(Input::Joined(Box::new(joined)), now);
                None
            }
            ToTerminal::Refused { refusal, request } if Ahead::is_mine(request) => {
                self.tell(&refusal);
                self.ahead.handle_input(Input::Refused(request), now);
                None
            }
            ToTerminal::Over { session, incarnation, .. } => {
                self.ahead.handle_input(Input::Over(session, incarnation), now);
                Some(message)
            }
            message => Some(message),
        }
    }

    fn tell(&self, refusal: &Refusal) {
        tracing::warn!(word = refusal.word, "no access code ahead of time: {refusal}");
    }

    /// With the access code in the place of the credential.
    fn opened(&mut self, mut joined: Joined) -> Result<Joined, SealError> {
        let asking = self.asking.take_if(|(request, _)| *request == joined.request);
        let (Some((_, asking)), Some(sealed)) = (asking, joined.code.take()) else {
            return Err(SealError::NotOffered);
        };
        let code = asking.open(&sealed, joined.session, joined.incarnation)?;
        joined.credential = Credential::Psk { passphrase: code.digits() };
        Ok(joined)
    }

    /// Carries out what the machine wants.
    pub(super) fn act(&mut self, link: &KeptLink<FromTerminal, ToTerminal>, agent: &mut Agent) {
        while let Some(action) = self.ahead.poll_action() {
            let message = match action {
                Action::Reserve { to, request } => {
                    let asking = Asking::new(to);
                    let offer = Some(asking.offer(&self.identity));
                    self.asking = Some((request, asking));
                    let (bssid, station, beacon) = (to.bssid, to.station, None);
                    FromTerminal::Join { ahead: true, bssid, beacon, offer, request, station }
                }
                Action::Leave(session, incarnation) => FromTerminal::Leave { session, incarnation },
                Action::Keep(held) => {
                    tracing::info!(codes = held.len(), "access codes are held ahead of time");
                    if let Err(error) = kept_codes::store(&self.state_dir, &held) {
                        tracing::warn!("access codes are held until this program ends: {}", sentence(&error));
                    }
                    continue;
                }
            };
            if let Err(error) = link.send(message) {
                tracing::debug!(%error, "not sent");
            }
        }
        agent.set_held(self.ahead.held().cloned().collect());
    }
}
