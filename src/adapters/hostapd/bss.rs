//! The tasks: one that listens to the directory, and one per BSS.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;

use super::codec::{self, BssEvent};
use super::control::{Session, Shared};
use super::{HostapdError, HostapdEvent};
use crate::adapters::wpa_ctrl::{Command, DirWatch, WpaEvents};
use crate::model::Few;

/// Pauses before a socket is tried: it appears before hostapd answers on it. After the last one only another
/// change of the socket is a reason to try again.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Until a directory that cannot be listened to (too many watches, no permission) is tried again.
const UNWATCHABLE: Duration = Duration::from_secs(30);

/// hostapd's socket for commands to all of its interfaces, which is no BSS.
const GLOBAL: &str = "global";

/// How a BSS task ended.
enum End {
    /// Nobody answered, or somebody who is no BSS.
    NeverUp,
    /// It was up.
    WasUp,
}

/// Starts a task for each socket and starts it again when there is a reason. Never ends.
pub async fn watch_directory(shared: Arc<Shared>, events: UnboundedSender<HostapdEvent>) {
    let mut tasks = JoinSet::new();
    let mut names: Few<Id, String> = Few::default();
    let mut again: BTreeSet<String> = BTreeSet::new();
    loop {
        let watch = match listen(&shared.directory).await {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!(%error, directory = %shared.directory.display(), "cannot listen for hostapd");
                sleep(UNWATCHABLE).await;
                continue;
            }
        };
        let mut wanted = sockets(&shared.directory);
        loop {
            for name in std::mem::take(&mut wanted) {
                if names.values().any(|running| *running == name) {
                    again.insert(name);
                } else if is_socket(&shared.directory.join(&name)) {
                    let task = serve(Arc::clone(&shared), name.clone(), events.clone());
                    names.insert(tasks.spawn(task).id(), name);
                }
            }
            tokio::select! {
                changed = watch.changed() => match changed {
                    Ok(changed) if !changed.everything => {
                        let named = changed.names.iter().filter_map(|name| name.to_str());
                        wanted.extend(named.filter(|name| is_interface(name)).map(str::to_owned));
                    }
                    _ => break,
                },
                Some(ended) = tasks.join_next_with_id() => {
                    let (id, end) = match ended {
                        Ok((id, end)) => (id, end),
                        Err(error) => (error.id(), End::NeverUp),
                    };
                    let Some(name) = names.remove(&id) else { continue };
                    if again.remove(&name) || matches!(end, End::WasUp) {
                        wanted.push(name);
                    }
                }
            }
        }
        drop_aside(watch);
    }
}

/// From the first try to attach until the BSS is gone for good.
async fn serve(shared: Arc<Shared>, name: String, events: UnboundedSender<HostapdEvent>) -> End {
    let path = shared.directory.join(&name);
    for pause in PAUSES {
        sleep(pause).await;
        let Ok(mut heard) = WpaEvents::attach(&path, &shared.own_dir).await else { continue };
        let mut bss =
            Bss { shared, name, events, lost: Arc::new(Notify::new()), is_up: false, was_up: false };
        bss.follow(&mut heard).await;
        bss.down();
        drop_aside(heard);
        return if bss.was_up { End::WasUp } else { End::NeverUp };
    }
    tracing::debug!(socket = %path.display(), "nobody answers there");
    End::NeverUp
}

struct Bss {
    shared: Arc<Shared>,
    name: String,
    events: UnboundedSender<HostapdEvent>,
    lost: Arc<Notify>,
    is_up: bool,
    was_up: bool,
}

impl Bss {
    /// Until hostapd is gone, or turns out to be something else.
    async fn follow(&mut self, heard: &mut WpaEvents) {
        // Attached before it is asked, so that nothing falls in between.
        if let Err(error) = self.look().await {
            tracing::debug!(bss = %self.name, %error, "not a BSS");
            return;
        }
        loop {
            let event = tokio::select! {
                biased;
                event = heard.next() => event,
                () = self.lost.notified() => return,
            };
            let Ok(event) = event else { return };
            match codec::event(&event) {
                Some(BssEvent::Connected { station, keyid }) => {
                    self.tell(HostapdEvent::StationConnected { bss: self.name.clone(), station, keyid });
                }
                Some(BssEvent::Disconnected { station }) => {
                    self.tell(HostapdEvent::StationDisconnected { bss: self.name.clone(), station });
                }
                Some(BssEvent::Enabled) => {
                    if let Err(error) = self.look().await {
                        tracing::debug!(bss = %self.name, %error, "no longer a BSS");
                        return;
                    }
                }
                Some(BssEvent::Disabled) => self.down(),
                Some(BssEvent::Answered { .. }) | None => {}
            }
        }
    }

    /// Asks whether the BSS serves, and under which name.
    async fn look(&mut self) -> Result<(), HostapdError> {
        let path = self.shared.directory.join(&self.name);
        let mut session = Session::open(&self.shared, path, None)?;
        let status = session.ask("STATUS", Command::new("STATUS")).await?;
        if !codec::is_enabled(&status)? {
            return Ok(());
        }
        let config = session.ask("GET_CONFIG", Command::new("GET_CONFIG")).await?;
        let info = codec::config(self.name.clone(), &config)?;
        self.shared.up(info.clone(), &self.lost);
        (self.is_up, self.was_up) = (true, true);
        self.tell(HostapdEvent::BssUp(info));
        Ok(())
    }

    fn down(&mut self) {
        if std::mem::take(&mut self.is_up) {
            self.shared.down(&self.name);
            self.tell(HostapdEvent::BssDown { bss: self.name.clone() });
        }
    }

    fn tell(&self, event: HostapdEvent) {
        // Nobody listens any more: this task is about to be aborted.
        let _ = self.events.send(event);
    }
}

/// Listens to the directory, once it exists.
async fn listen(directory: &Path) -> io::Result<DirWatch> {
    loop {
        let missing = match DirWatch::new(directory) {
            Ok(watch) => return Ok(watch),
            Err(error) if error.kind() == io::ErrorKind::NotFound => error,
            Err(error) => return Err(error),
        };
        let Some(above) = nearest(directory) else { return Err(missing) };
        if above == directory {
            continue;
        }
        let watch = DirWatch::new(above)?;
        // What is made before this line is seen by the next one, what is made after it is heard.
        while nearest(directory) == Some(above) {
            if watch.changed().await?.everything {
                break;
            }
        }
        drop_aside(watch);
    }
}

/// The directory itself, or the nearest above it that exists.
fn nearest(directory: &Path) -> Option<&Path> {
    directory.ancestors().find(|path| path.is_dir())
}

fn sockets(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_interface(name)).collect()
}

/// Whether it can be the name of an interface (dev_valid_name() of the kernel, printable ASCII only).
fn is_interface(name: &str) -> bool {
    (1..16).contains(&name.len())
        && name != GLOBAL
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Closing an inotify takes the kernel a grace period, 16 ms: not on the loop.
fn drop_aside<T: Send + 'static>(value: T) {
    tokio::task::spawn_blocking(move || drop(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interfaces_are_looked_at() {
        for name in ["wlan0", "phy0-ap0", "br.100", "hv0"] {
            assert!(is_interface(name), "{name}");
        }
        for name in ["global", "", ".", "..", ".hidden", "a b", "a\n", "sixteen-letters0", "é", "a/b"] {
            assert!(!is_interface(name), "{name:?}");
        }
    }

    #[test]
    fn a_plain_file_and_a_link_are_no_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        let _socket = std::os::unix::net::UnixDatagram::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink(at("socket"), at("link")).unwrap();
        assert!(is_socket(&at("socket")));
        for name in ["file", "link", "none"] {
            assert!(!is_socket(&at(name)), "{name}");
        }
    }

    #[test]
    fn the_nearest_directory_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(nearest(&dir.path().join("a/b")), Some(dir.path()));
        assert_eq!(nearest(dir.path()), Some(dir.path()));
    }
}
