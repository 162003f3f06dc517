//! Hears which names appear in a directory and vanish from it, and which files were written to (inotify(7)).

use std::ffi::OsString;
use std::io;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::host::pollable::Pollable;

/// A directory that is listened to.
pub struct DirWatch(Pollable<Inotify>);

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Names that appeared, vanished or were written to since the last time.
    pub names: Vec<OsString>,
    /// Some names are missing here, or the directory itself is gone: look at all of it again.
    pub everything: bool,
}

impl DirWatch {
    /// Listens from now on. Needs a tokio runtime.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(dir, flags)?;
        Ok(Self(Pollable::new(inotify)?))
    }

    /// Waits for a change. Dropping the future loses nothing.
    pub async fn changed(&self) -> io::Result<Changed> {
        let events = self.0.read(|inotify| Ok(inotify.read_events()?)).await?;
        let mut changed = Changed::default();
        for event in events {
            match event.name {
                Some(name) => changed.names.push(name),
                // IN_Q_OVERFLOW, IN_DELETE_SELF, IN_MOVE_SELF, IN_IGNORED.
                None => changed.everything = true,
            }
        }
        Ok(changed)
    }
}
