//! The control interface that hostapd and wpa_supplicant share: datagrams over unix sockets.
//!
//! [`WpaCtrl`] asks and gets answers, one at a time; [`WpaEvents`] is told what happens, on a socket of its
//! own. What the commands mean is in the adapters above (`hostapd/`, `wpa_supplicant/`). Neither polls.
//!
//! The daemon answers to the path to which our socket is bound, so it must be able to write there.

mod codec;
mod error;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

pub use codec::{Command, Event, Reply, UnfitText, parse_event, printf_decode};
pub use error::CtrlError;
pub use watch::{Changed, DirWatch};

/// The longest reply that is taken, in bytes; the daemons write 4 096 at most.
pub const MAX_REPLY: usize = 16 * 1024;

/// For an answer that needs no work; they take microseconds.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// What our own sockets are called, before process id and number.
const OWN_PREFIX: &str = "ctrl-";

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Asks one daemon, one command at a time.
pub struct WpaCtrl {
    daemon: PathBuf,
    own_dir: PathBuf,
    /// Absent while a request runs and after one that failed: its answer may still come.
    socket: Option<Bound>,
}

/// Hears what happens at one daemon.
pub struct WpaEvents {
    socket: Bound,
    watch: DirWatch,
    daemon: PathBuf,
    heard: VecDeque<Event>,
    gone: bool,
}

impl WpaCtrl {
    /// Connects to `daemon` (a socket), bound to a new path in `own_dir`, which must exist.
    pub fn open(daemon: &Path, own_dir: &Path) -> Result<Self, CtrlError> {
        let socket = Some(Bound::connect(daemon, own_dir)?);
        Ok(Self { daemon: daemon.to_owned(), own_dir: own_dir.to_owned(), socket })
    }

    /// The daemon's socket.
    pub fn daemon(&self) -> &Path {
        &self.daemon
    }

    /// Sends `command` and waits for its answer, for at most `within`.
    ///
    /// After a failure, and when the future is dropped, the socket is thrown away together with the answer
    /// that may come; the next request opens another. Refusals come as a reply: see [`WpaCtrl::ask`].
    pub async fn request(&mut self, command: &Command, within: Duration) -> Result<Reply, CtrlError> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Bound::connect(&self.daemon, &self.own_dir)?,
        };
        let asking = async {
            socket.send(command.as_bytes()).await.map_err(gone_or_socket)?;
            let mut buffer = vec![0; MAX_REPLY + 1];
            let length = socket.socket.recv(&mut buffer).await.map_err(gone_or_socket)?;
            if length > MAX_REPLY {
                return Err(CtrlError::TooLong { verb: command.verb().to_owned() });
            }
            buffer.truncate(length);
            Ok(Reply::new(buffer))
        };
        let reply = timeout(within, asking)
            .await
            .unwrap_or_else(|_| Err(CtrlError::Slow { verb: command.verb().to_owned(), within }))?;
        self.socket = Some(socket);
        Ok(reply)
    }

    /// As [`WpaCtrl::request`] within [`ANSWER_DEADLINE`]; `FAIL` and `UNKNOWN COMMAND` are errors.
    pub async fn ask(&mut self, command: &Command) -> Result<Reply, CtrlError> {
        let reply = self.request(command, ANSWER_DEADLINE).await?;
        match reply.is_refusal() {
            true => Err(reply.refused(command)),
            false => Ok(reply),
        }
    }

    /// As [`WpaCtrl::ask`]; every answer but `OK` is an error.
    pub async fn order(&mut self, command: &Command) -> Result<(), CtrlError> {
        let reply = self.ask(command).await?;
        match reply.is_ok() {
            true => Ok(()),
            false => Err(reply.refused(command)),
        }
    }

    /// Whether the daemon answers.
    pub async fn ping(&mut self) -> Result<(), CtrlError> {
        let ping = Command::new("PING");
        let reply = self.ask(&ping).await?;
        match reply.as_bytes() {
            b"PONG" => Ok(()),
            _ => Err(reply.refused(&ping)),
        }
    }
}

impl WpaEvents {
    /// Attaches to `daemon`, bound to a new path in `own_dir`.
    pub async fn attach(daemon: &Path, own_dir: &Path) -> Result<Self, CtrlError> {
        // Listened to before attaching, so that a restart in between is heard.
        let dir = daemon.parent().unwrap_or(Path::new("."));
        let watch = DirWatch::new(dir).map_err(gone_or_socket)?;
        let socket = Bound::connect(daemon, own_dir)?;
        let daemon = daemon.to_owned();
        let mut events = Self { socket, watch, daemon, heard: VecDeque::new(), gone: false };
        let attach = Command::new("ATTACH");
        let attaching = async {
            events.socket.socket.send(attach.as_bytes()).await.map_err(gone_or_socket)?;
            loop {
                let reply = Reply::new(events.datagram().await?);
                match parse_event(reply.as_bytes()) {
                    Some(event) => events.heard.push_back(event),
                    None if reply.is_ok() => return Ok(()),
                    None => return Err(reply.refused(&attach)),
                }
            }
        };
        timeout(ANSWER_DEADLINE, attaching).await.unwrap_or_else(|_| {
            Err(CtrlError::Slow { verb: "ATTACH".to_owned(), within: ANSWER_DEADLINE })
        })?;
        Ok(events)
    }

    /// The next event. [`CtrlError::Gone`] when the daemon has said that it ends, or its socket was removed
    /// or made anew: attach again. Dropping the future loses nothing.
    ///
    /// A daemon that was killed is noticed when its successor removes its socket; a request says so at once.
    /// The daemons drop events for those who do not read (after ten in a row for good), so a list that must be
    /// right is read from time to time, too.
    pub async fn next(&mut self) -> Result<Event, CtrlError> {
        loop {
            if let Some(event) = self.heard.pop_front() {
                self.gone |= event.name() == "CTRL-EVENT-TERMINATING";
                return Ok(event);
            }
            if self.gone {
                return Err(CtrlError::Gone);
            }
            tokio::select! {
                biased;
                ready = self.socket.socket.readable() => {
                    ready.map_err(gone_or_socket)?;
                    self.drain()?;
                }
                changed = self.watch.changed() => {
                    let changed = changed.map_err(gone_or_socket)?;
                    let ours = self.daemon.file_name().unwrap_or(OsStr::new(""));
                    self.gone = changed.everything || changed.names.iter().any(|name| name == ours);
                    self.drain()?;
                }
            }
        }
    }

    /// Takes all that waits: the kernel holds as few as ten datagrams.
    fn drain(&mut self) -> Result<(), CtrlError> {
        let mut buffer = [0; MAX_REPLY];
        loop {
            match self.socket.socket.try_recv(&mut buffer) {
                Ok(length) => self.heard.extend(parse_event(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(gone_or_socket(error)),
            }
        }
    }

    async fn datagram(&self) -> Result<Vec<u8>, CtrlError> {
        let mut buffer = vec![0; MAX_REPLY];
        let length = self.socket.socket.recv(&mut buffer).await.map_err(gone_or_socket)?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// A socket bound to a path of ours, which goes with it.
struct Bound {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Bound {
    fn connect(daemon: &Path, own_dir: &Path) -> Result<Self, CtrlError> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = own_dir.join(format!("{OWN_PREFIX}{}-{number}", std::process::id()));
        remove_if_stale(&path);
        let socket = UnixDatagram::bind(&path).map_err(CtrlError::Socket)?;
        let bound = Self { socket, path };
        bound.socket.connect(daemon).map_err(gone_or_socket)?;
        Ok(bound)
    }

    /// At once where there is room: the runtime takes a socket for writable only after its next look at all of them.
    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => self.socket.send(bytes).await.map(|_| ()),
            sent => Ok(sent.map(|_| ())?),
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes what processes that were killed left in `own_dir`. To be called once, at start.
pub fn remove_stale(own_dir: &Path) {
    for entry in std::fs::read_dir(own_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(OWN_PREFIX)) {
            remove_if_stale(&entry.path());
        }
    }
}

/// A socket to which nobody is bound any more refuses to be connected to.
fn remove_if_stale(path: &Path) {
    use std::os::unix::net::UnixDatagram as Blocking;
    let refused = Blocking::unbound()
        .and_then(|probe| probe.connect(path))
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if refused {
        let _ = std::fs::remove_file(path);
    }
}

fn gone_or_socket(error: io::Error) -> CtrlError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::NotConnected
        | io::ErrorKind::NotFound => CtrlError::Gone,
        _ => CtrlError::Socket(error),
    }
}
