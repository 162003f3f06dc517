//! Asks a daemon over its control socket: one JSON line out, one [`Answer`] line back, within a deadline.
//!
//! Blocking: a command line waits for one thing at a time. The messages are in `wire/local`.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use nix::unistd::{Gid, Group};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::Refusal;
use crate::wire::local::Answer;

/// How long a daemon may take, from the connection to the end of its answer.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: a hundred thousand stations fit.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// `wayleave gateway`.
    Gateway,
    /// `wayleave coordinator`.
    Coordinator,
    /// `wayleave terminal`.
    Terminal,
}

impl Daemon {
    /// Its role.
    pub fn word(self) -> &'static str {
        match self {
            Daemon::Gateway => "gateway",
            Daemon::Coordinator => "coordinator",
            Daemon::Terminal => "terminal",
        }
    }

    /// Where its control socket is unless told otherwise.
    pub fn socket(self) -> &'static Path {
        Path::new(match self {
            Daemon::Gateway => "/run/wayleave/gateway.sock",
            Daemon::Coordinator => "/run/wayleave-coordinator/coordinator.sock",
            Daemon::Terminal => "/run/wayleave-terminal/terminal.sock",
        })
    }
}

/// Where a daemon is asked, and how long it may take.
#[derive(Clone, Debug)]
pub struct Door {
    /// Whom.
    pub daemon: Daemon,
    /// Its control socket.
    pub socket: PathBuf,
    /// From the connection to the end of the answer.
    pub deadline: Duration,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error(
        "no {daemon} here: {} does not exist. Is `wayleave {daemon}` running? --socket names another place",
        socket.display()
    )]
    Absent {
        /// Whose.
        daemon: &'static str,
        /// Where.
        socket: PathBuf,
    },
    /// There is a socket and nobody behind it.
    #[error("nobody listens at {}: `wayleave {daemon}` has ended; start it again", socket.display())]
    Deserted {
        /// Whose.
        daemon: &'static str,
        /// Where.
        socket: PathBuf,
    },
    /// It is not for this user.
    #[error("no permission for {}: it is for root{}", socket.display(), group_advice(group.as_deref()))]
    Forbidden {
        /// Where.
        socket: PathBuf,
        /// Whose members may; `None`: nobody can tell from here.
        group: Option<String>,
    },
    /// Nothing came within the deadline.
    #[error("the {daemon} does not answer: {} ms went by at {}. It hangs or is overloaded",
        waited.as_millis(), socket.display())]
    Hung {
        /// Who.
        daemon: &'static str,
        /// Where.
        socket: PathBuf,
        /// For so long.
        waited: Duration,
    },
    /// It hung up before its answer was complete.
    #[error("the {daemon} hung up before it had answered")]
    Closed {
        /// Who.
        daemon: &'static str,
    },
    /// Its answer is none that this program knows.
    #[error("the {daemon}'s answer cannot be read; are daemon and command line of the same version?")]
    Unreadable {
        /// Who.
        daemon: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Its answer has no end.
    #[error("the {daemon}'s answer is longer than {MAX_ANSWER} bytes")]
    TooLong {
        /// Who.
        daemon: &'static str,
    },
    /// The system says no.
    #[error("{}", socket.display())]
    System {
        /// Where.
        socket: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// The daemon says no.
    #[error(transparent)]
    Refused(Refusal),
}

fn group_advice(group: Option<&str>) -> String {
    match group {
        Some("root") => "; use sudo".to_owned(),
        Some(group) => format!(" and the group {group}; use sudo, or have an administrator add you to it"),
        None => " and its group; use sudo".to_owned(),
    }
}

impl ClientError {
    /// Whether no daemon is there that answers, as opposed to one that answers badly.
    pub fn is_unreachable(&self) -> bool {
        match self {
            ClientError::Absent { .. }
            | ClientError::Deserted { .. }
            | ClientError::Forbidden { .. }
            | ClientError::Hung { .. }
            | ClientError::Closed { .. }
            | ClientError::System { .. } => true,
            ClientError::Unreadable { .. } | ClientError::TooLong { .. } | ClientError::Refused(_) => false,
        }
    }

    /// The stable word; a refusal's own.
    pub fn word(&self) -> &str {
        match self {
            ClientError::Absent { .. } | ClientError::Deserted { .. } => "not-running",
            ClientError::Forbidden { .. } => "no-permission",
            ClientError::Hung { .. } => "no-answer",
            ClientError::Closed { .. } => "hung-up",
            ClientError::Unreadable { .. } | ClientError::TooLong { .. } => "bad-answer",
            ClientError::System { .. } => "system",
            ClientError::Refused(refusal) => &refusal.word,
        }
    }
}

impl Door {
    /// The daemon's socket, or the one given.
    pub fn new(daemon: Daemon, socket: Option<PathBuf>) -> Self {
        let socket = socket.unwrap_or_else(|| daemon.socket().to_owned());
        Self { daemon, socket, deadline: DEADLINE }
    }

    /// Asks once.
    pub fn ask<T: DeserializeOwned>(&self, request: &impl Serialize) -> Result<T, ClientError> {
        let mut line = Vec::new();
        self.send(request)?.read_line(&mut line)?;
        match self.read(&line)? {
            Answer::Ok(value) => Ok(value),
            Answer::Error(refusal) => Err(ClientError::Refused(refusal)),
        }
    }

    /// Asks, and stays to listen.
    pub fn send(&self, request: &impl Serialize) -> Result<Conversation<'_>, ClientError> {
        let until = Instant::now() + self.deadline;
        let stream = self.connect()?;
        let mut conversation =
            Conversation { door: self, stream, until: Some(until), ahead: Vec::new(), searched: 0 };
        let mut line = serde_json::to_vec(request).map_err(|source| self.unreadable(source))?;
        line.push(b'\n');
        conversation.write(&line)?;
        Ok(conversation)
    }

    /// What a line of the daemon's is.
    pub fn read<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(line).map_err(|source| self.unreadable(source))
    }

    /// What a part of the daemon's answer is.
    pub fn known<T: DeserializeOwned>(&self, value: serde_json::Value) -> Result<T, ClientError> {
        serde_json::from_value(value).map_err(|source| self.unreadable(source))
    }

    fn connect(&self) -> Result<UnixStream, ClientError> {
        let address = UnixAddr::new(&self.socket).map_err(|errno| self.failed(errno.into()))?;
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|errno| self.failed(errno.into()))?;
        // Without it, connecting to a daemon that accepts nothing any more waits for ever (unix(7)).
        // How many bits they have is the C library's.
        let patience = TimeVal::new(self.deadline.as_secs() as _, self.deadline.subsec_micros() as _);
        setsockopt(&fd, sockopt::SendTimeout, &patience).map_err(|errno| self.failed(errno.into()))?;
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => Ok(UnixStream::from(fd)),
            Err(Errno::EAGAIN) => Err(self.hung()),
            Err(errno) => Err(self.failed(errno.into())),
        }
    }

    fn failed(&self, source: io::Error) -> ClientError {
        let (daemon, socket) = (self.daemon.word(), self.socket.clone());
        match source.kind() {
            ErrorKind::NotFound => ClientError::Absent { daemon, socket },
            ErrorKind::ConnectionRefused => ClientError::Deserted { daemon, socket },
            ErrorKind::PermissionDenied => {
                let group = group_of(&socket);
                ClientError::Forbidden { socket, group }
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.hung(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => ClientError::Closed { daemon },
            _ => ClientError::System { socket, source },
        }
    }

    fn hung(&self) -> ClientError {
        ClientError::Hung { daemon: self.daemon.word(), socket: self.socket.clone(), waited: self.deadline }
    }

    fn unreadable(&self, source: serde_json::Error) -> ClientError {
        ClientError::Unreadable { daemon: self.daemon.word(), source }
    }
}

/// The group that the socket is for, or its directory where that hides it.
fn group_of(socket: &Path) -> Option<String> {
    let directory = socket.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let seen = std::fs::metadata(socket).or_else(|_| std::fs::metadata(directory)).ok()?;
    let gid = Gid::from_raw(seen.gid());
    match Group::from_gid(gid) {
        Ok(Some(group)) => Some(group.name),
        _ => Some(gid.to_string()),
    }
}

/// A request that was sent; its answer, line by line.
#[derive(Debug)]
pub struct Conversation<'a> {
    door: &'a Door,
    stream: UnixStream,
    /// `None`: as long as it takes.
    until: Option<Instant>,
    /// Read, and not yet handed out.
    ahead: Vec<u8>,
    /// So much of it holds no end of a line.
    searched: usize,
}

impl Conversation<'_> {
    /// From here on the daemon may be silent for as long as it likes.
    pub fn wait_for_ever(&mut self) {
        self.until = None;
    }

    /// The next line without its end; the deadline counts from the request.
    pub fn read_line(&mut self, line: &mut Vec<u8>) -> Result<(), ClientError> {
        line.clear();
        loop {
            if let Some(end) = self.ahead[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                line.extend_from_slice(&self.ahead[..end]);
                self.ahead.drain(..=end);
                self.searched = 0;
                return Ok(());
            }
            self.searched = self.ahead.len();
            if self.searched > MAX_ANSWER {
                return Err(ClientError::TooLong { daemon: self.door.daemon.word() });
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), ClientError> {
        let mut chunk = [0; 16 * 1024];
        let wait = self.left()?;
        self.stream.set_read_timeout(wait).map_err(|error| self.door.failed(error))?;
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ClientError::Closed { daemon: self.door.daemon.word() }),
            Ok(length) => {
                self.ahead.extend_from_slice(&chunk[..length]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.door.failed(error)),
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let wait = self.left()?;
            self.stream.set_write_timeout(wait).map_err(|error| self.door.failed(error))?;
            match self.stream.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It may have answered what it has seen and hung up: that answer tells more.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(self.door.failed(error)),
            }
        }
        Ok(())
    }

    /// What is left of the deadline; a timeout of zero would mean none.
    fn left(&self) -> Result<Option<Duration>, ClientError> {
        let Some(until) = self.until else { return Ok(None) };
        match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(self.door.hung()),
            left => Ok(Some(left.max(Duration::from_millis(1)))),
        }
    }
}
