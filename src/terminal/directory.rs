//! The terminal's directory: where the reader's decisions meet the link and the disk.

use std::path::PathBuf;

use crate::adapters::kept_directory;
use crate::adapters::link::keeper::KeptLink;
use crate::config::terminal::Settings;
use crate::host::clock;
use crate::logic::directory::{Action, Book, Input, Needed, Reader};
use crate::model::{Area, BootTime, Bssid, PublicKey, Refusal, ServiceId, sentence};
use crate::wire::directory::SignedDirectory;
use crate::wire::terminal::{Candidate, FromTerminal, SeenAp, ToTerminal};

/// What is held of all regions, and how it is kept fresh.
pub(super) struct Directory {
    reader: Reader,
    needed: Needed,
    coordinator: PublicKey,
    state_dir: PathBuf,
}

impl Directory {
    /// With what was kept. What cannot be read is named, and asked for again.
    pub(super) fn load(settings: &Settings, coordinator: PublicKey) -> Self {
        let mut book = Book::default();
        for region in &settings.directory.regions {
            let restored = match kept_directory::load(&settings.state_dir, region, coordinator) {
                Ok(parts) => book.restore(&parts),
                Err(error) => Err(Refusal::new("bad-directory", sentence(&error))),
            };
            if let Err(refusal) = restored {
                tracing::warn!(word = refusal.word, %region, "{refusal}");
                // Of what is half right it cannot be said what it lacks.
                book.forget(region);
            }
        }
        let reader = Reader::new(settings.directory.regions.clone(), book);
        let (needed, state_dir) = (settings.directory.needed, settings.state_dir.clone());
        Self { reader, needed, coordinator, state_dir }
    }

    /// Access points that are held.
    pub(super) fn len(&self) -> usize {
        self.reader.book().len()
    }

    pub(super) fn poll_timeout(&self) -> Option<BootTime> {
        self.reader.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: BootTime) {
        self.reader.handle_timeout(now);
    }

    pub(super) fn link(&mut self, up: bool, now: BootTime) {
        self.reader.handle_input(if up { Input::LinkUp } else { Input::LinkDown }, now);
    }

    /// A part came; whether it counts.
    pub(super) fn heard(
        &mut self,
        signed: SignedDirectory,
        request: u64,
        now: BootTime,
    ) -> Result<(), Refusal> {
        match signed.open(self.coordinator) {
            Ok(part) => {
                let calendar = clock::known_calendar();
                self.reader
                    .handle_input(Input::Part { request, part: Box::new(part), signed, calendar }, now);
                Ok(())
            }
            Err(error) => {
                let why = Refusal::new(error.word(), sentence(&error));
                self.reader.handle_input(Input::Bad { request, why: why.clone() }, now);
                Err(why)
            }
        }
    }

    /// Those of what the radio sees that give access here.
    pub(super) fn recognise(&self, seen: &[SeenAp]) -> Vec<Candidate> {
        self.reader.book().recognise(seen, self.needed)
    }

    /// Gateway and address of the access points that are listed in these areas, in their order.
    pub(super) fn in_areas<'a>(&'a self, areas: &'a [Area]) -> impl Iterator<Item = (ServiceId, Bssid)> + 'a {
        let listed = areas.iter().flat_map(|area| self.reader.book().in_area(area));
        listed.map(|listed| (listed.service, listed.bssid))
    }

    /// Carries out what the reader wants; whether another list is held by then.
    pub(super) fn act(&mut self, link: &KeptLink<FromTerminal, ToTerminal>) -> bool {
        let mut changed = false;
        while let Some(action) = self.reader.poll_action() {
            match action {
                Action::Ask { region, have, part, request } => {
                    if let Err(error) = link.send(FromTerminal::Directory { have, part, region, request }) {
                        tracing::debug!(%error, "not sent");
                    }
                }
                Action::Keep { region, whole, parts } => {
                    changed = true;
                    tracing::info!(%region, access_points = self.reader.book().len(), "the directory is up to date");
                    if let Err(error) = kept_directory::store(&self.state_dir, &region, whole, &parts) {
                        tracing::warn!("a directory is held until this program ends: {}", sentence(&error));
                    }
                }
                Action::Tell(refusal) => tracing::warn!(word = refusal.word, "{refusal}"),
            }
        }
        changed
    }
}
