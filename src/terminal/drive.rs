//! The one loop of the terminal: whatever happens becomes an input of the agent, whatever it decides is
//! carried out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::ahead::Codes;
use super::directory::Directory;
use super::effects::{Effects, Outside};
use super::messages::Messages;
use super::{Error, SOCKET};
use crate::adapters::channel::Said;
use crate::adapters::enrolment::Enrolment;
use crate::adapters::interface::Interface;
use crate::adapters::link::keeper::{LinkEvent, Opening, keep};
use crate::adapters::wpa_ctrl;
use crate::config::terminal::{self as config, Settings};
use crate::host::clock::{self, Alarm};
use crate::host::control::{Asked, Control};
use crate::host::keep;
use crate::logic::agent::{Agent, End, Input, State};
use crate::logic::backoff::Backoff;
use crate::model::{BootTime, MessageId, Millis, PublicKey};
use crate::wire::hello::Role;
use crate::wire::local::{AccessRow, LinkState, TerminalRequest, TerminalStatus};
use crate::wire::sign::{new_boot_id, random};
use crate::wire::terminal::{FromTerminal, ToTerminal};

/// The longest sleep that can be announced.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3600);

/// Runs until SIGTERM or SIGINT, or until access is over where it is not to stay. `ready` is called once the
/// control socket answers. `path` is where the settings came from: SIGHUP reads it again.
///
/// Needs a tokio runtime with time, net and signals. A link that is lost costs nothing but time.
pub async fn run(settings: Settings, file: PathBuf, ready: impl FnOnce()) -> Result<(), Error> {
    let identity = Arc::new(keep::load_identity(&settings.state_dir.join("identity.pk8"))?);
    let enrolment = match &settings.coordinator {
        Some(coordinator) => {
            // The claim belongs to the coordinator that gave it.
            let kept = Enrolment::load(&settings.state_dir)?;
            kept.filter(|kept| kept.coordinator == *coordinator)
                .unwrap_or(Enrolment { coordinator: coordinator.clone(), claim: None })
        }
        None => Enrolment::load(&settings.state_dir)?.ok_or(Error::NotEnrolled)?,
    };
    let opening = Opening {
        address: enrolment.coordinator.clone(),
        identity: identity.clone(),
        role: Role::Terminal,
        boot: new_boot_id(),
        claim: enrolment.claim.clone(),
    };
    let path = settings.runtime_dir.join(SOCKET);
    let control = Control::listen(&path).map_err(|source| Error::Control { path, source })?;
    wpa_ctrl::remove_stale(&settings.runtime_dir);

    let mut backoff = Backoff::default();
    let link =
        keep(opening, move |stood, not_before| backoff.wait(stood, not_before, u64::from_le_bytes(random())));
    let interface = Interface::new(&settings.interface);
    let stay = settings.stay;
    let begin = if settings.directory.join { Input::Watch } else { Input::Want };
    let directory = Directory::load(&settings, enrolment.coordinator.key);
    let messages = Messages::new(&settings, identity.clone(), enrolment.coordinator.key);
    let effects = Effects::new(settings, link, interface, identity.clone());
    let station = effects.station()?;
    let mut codes = Codes::load(&effects.settings, identity.clone(), station);
    codes.listed(&directory, &effects.settings, clock::now());
    let why = "no attempt has ended yet".to_owned();
    let state = LinkState::Down { host: enrolment.coordinator.host.clone(), why };
    let terminal = Terminal {
        agent: Agent::new(station, stay),
        directory,
        codes,
        effects,
        messages,
        enrolment,
        file,
        key: identity.public(),
        link: state,
        dropped: 0,
    };
    // Without a service manager there is nobody to tell (sd_notify(3)).
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    ready();
    terminal.drive(begin, control).await
}

struct Terminal {
    agent: Agent,
    directory: Directory,
    codes: Codes,
    effects: Effects,
    messages: Messages,
    enrolment: Enrolment,
    /// Where the settings are.
    file: PathBuf,
    key: PublicKey,
    link: LinkState,
    dropped: u64,
}

impl Terminal {
    async fn drive(mut self, begin: Input, mut control: Control<TerminalRequest>) -> Result<(), Error> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut alarm = Alarm::new()?;
        let watchdog = sd_notify::watchdog_enabled();
        let mut alive = watchdog.map(|within| tokio::time::interval(within / 2));
        self.agent.handle_input(begin, clock::now());
        loop {
            if let Err(end) = self.act().await {
                self.effects.finish().await;
                return match end {
                    End::Asked => Ok(()),
                    End::Over(cause) => Err(Error::Over { cause }),
                    End::Refused(refusal) => Err(Error::Refused(refusal)),
                };
            }
            self.messages.follow(&self.agent);
            let due = [
                self.agent.poll_timeout(),
                self.directory.poll_timeout(),
                self.codes.poll_timeout(),
                self.messages.poll_timeout(),
            ];
            let due = due.into_iter().flatten().min();
            let mut input = None;
            tokio::select! {
                outside = self.effects.next() => input = match outside {
                    Outside::Link(event) => self.link_event(event),
                    Outside::Supplicant(said) => Some(self.effects.heard(said).await),
                },
                said = self.messages.next() => self.channel(said),
                asked = control.next() => self.answer(asked),
                rang = alarm.wait_until(due) => {
                    rang?;
                    self.agent.handle_timeout(clock::now());
                    self.directory.handle_timeout(clock::now());
                    self.codes.handle_timeout(clock::now());
                    let taken = self.messages.handle_timeout(&self.agent);
                    self.taken(taken);
                }
                _ = terminate.recv() => input = Some(Input::End),
                _ = interrupt.recv() => input = Some(Input::End),
                _ = hangup.recv() => self.reload(),
                () = beat(&mut alive) => {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                }
            }
            if let Some(input) = input {
                let input = self.looked_up(input);
                self.agent.handle_input(input, clock::now());
            }
        }
    }

    /// SIGHUP: what is told how, which directory is held and what is asked for may change; access stays as it is.
    fn reload(&mut self) {
        let wanted = match Settings::load(&self.file) {
            Ok(wanted) => wanted,
            Err(error) => return tracing::error!(%error, "the settings stay as they are"),
        };
        let now = &mut self.effects.settings;
        let taken = Settings {
            directory: config::Directory { join: now.directory.join, ..wanted.directory.clone() },
            hook: wanted.hook.clone(),
            notify: wanted.notify,
            aps: wanted.aps.clone(),
            ..now.clone()
        };
        if taken != wanted {
            tracing::warn!(
                "interface, wpa_supplicant, stay, wired, directories, coordinator and directory.join change at the next start"
            );
        }
        let directory = taken.directory != now.directory;
        *now = taken;
        self.messages.tell_by(now);
        if directory {
            self.directory = Directory::load(now, self.enrolment.coordinator.key);
            self.directory.link(matches!(self.link, LinkState::Up { .. }), clock::now());
            self.codes.listed(&self.directory, &self.effects.settings, clock::now());
        }
        tracing::info!("settings read again");
    }

    /// While nobody has asked for access, what was seen is for the directory.
    fn looked_up(&self, input: Input) -> Input {
        match input {
            Input::Scanned(seen) if self.agent.is_watching() => {
                Input::Recognised(self.directory.recognise(&seen))
            }
            other => other,
        }
    }

    /// Carries out what the agent wants, and what comes of that.
    async fn act(&mut self) -> Result<(), End> {
        while let Some(action) = self.agent.poll_action() {
            if let Some(input) = self.effects.carry_out(action, &mut self.agent).await? {
                let input = self.looked_up(input);
                self.agent.handle_input(input, clock::now());
            }
        }
        if self.directory.act(&self.effects.link) {
            self.codes.listed(&self.directory, &self.effects.settings, clock::now());
        }
        self.codes.follow(&self.agent, clock::now());
        self.codes.act(&self.effects.link, &mut self.agent);
        Ok(())
    }

    fn link_event(&mut self, event: LinkEvent<ToTerminal>) -> Option<Input> {
        let host = self.enrolment.coordinator.host.clone();
        match event {
            LinkEvent::Up { .. } => {
                tracing::info!(host, "the link to the coordinator stands");
                self.link = LinkState::Up { host };
                self.forget_claim();
                self.directory.link(true, clock::now());
                self.codes.link(true, clock::now());
                Some(Input::LinkUp)
            }
            LinkEvent::Down { word, why, retry_in } => {
                tracing::warn!(host, word, ?retry_in, "no link to the coordinator: {why}");
                self.link = LinkState::Down { host, why };
                self.directory.link(false, clock::now());
                self.codes.link(false, clock::now());
                Some(Input::LinkDown)
            }
            LinkEvent::Message(ToTerminal::Directory { signed, request }) => {
                if let Err(refusal) = self.directory.heard(signed, request, clock::now()) {
                    self.drop_outside(&refusal.to_string());
                }
                None
            }
            LinkEvent::Message(ToTerminal::Push { valid, message }) => {
                match self.messages.sent(&message, valid, &self.agent) {
                    Ok(taken) => self.taken(taken),
                    Err(error) => self.drop_outside(&error.to_string()),
                }
                None
            }
            LinkEvent::Message(message) => self.codes.heard(message, clock::now()).map(Input::Heard),
            LinkEvent::Malformed { why } => {
                self.drop_outside(&why);
                None
            }
        }
    }

    fn drop_outside(&mut self, why: &str) {
        self.dropped += 1;
        tracing::debug!("dropped: {why}");
    }

    /// The gateway, or somebody in its place, says something.
    fn channel(&mut self, said: Said) {
        match said {
            Said::Offer(opened) => {
                let taken = self.messages.offered(opened, &self.agent);
                self.taken(taken);
            }
            Said::Wrong(why) => self.drop_outside(&why),
        }
    }

    fn taken(&self, messages: Vec<MessageId>) {
        for message in messages {
            self.effects.send(FromTerminal::Taken { message });
        }
    }

    /// It has been used.
    fn forget_claim(&mut self) {
        if self.enrolment.claim.is_some() {
            self.enrolment = self.enrolment.clone().without_claim();
            if let Err(error) = self.enrolment.keep(&self.effects.settings.state_dir) {
                tracing::warn!("the used claim code stays on disk: {error}");
            }
        }
    }

    fn answer(&mut self, Asked { request, reply }: Asked<TerminalRequest>) {
        let now = clock::now();
        let done = match request {
            TerminalRequest::Status => Ok(()),
            TerminalRequest::Ask => {
                self.agent.handle_input(Input::Want, now);
                Ok(())
            }
            TerminalRequest::Leave => {
                self.agent.handle_input(Input::Release, now);
                Ok(())
            }
            TerminalRequest::Sleep { time } => self.agent.may_sleep().map(|()| {
                self.agent.handle_input(Input::Sleep(time.at_most(LONGEST_SLEEP)), now);
            }),
        };
        match done {
            Ok(()) => reply.ok(self.status(now)),
            Err(refusal) => reply.refuse(refusal),
        }
    }

    fn status(&self, now: BootTime) -> TerminalStatus {
        let (joined, since) = match self.agent.state() {
            State::Associating { joined, .. } => (Some(joined), None),
            State::Connected { joined, since, .. } => (Some(joined), Some(Millis::from(now.since(*since)))),
            _ => (None, None),
        };
        let moved = self.effects.moved();
        TerminalStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key: self.key,
            interface: self.effects.settings.interface.clone(),
            station: self.agent.station(),
            link: self.link.clone(),
            state: self.agent.state().word().to_owned(),
            access: joined.map(|joined| AccessRow {
                ssid: joined.ssid.clone(),
                bssid: joined.bssid,
                service: joined.service,
                session: joined.session,
                incarnation: joined.incarnation,
                since,
                rx: moved.rx,
                tx: moved.tx,
            }),
            listed: self.directory.len() as u64,
            ahead: self.codes.len() as u64,
            last: self.effects.last.clone(),
            messages: self.messages.shown,
            dropped: self.dropped,
        }
    }
}

async fn beat(alive: &mut Option<tokio::time::Interval>) {
    match alive {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
