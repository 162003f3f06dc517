//! A control socket: one JSON object per line in, one per line out (`wire/local`).
//!
//! Who may speak is decided by the permissions of the socket, 0660. A caller that sends more than [`MAX_LINE`] is
//! told and hung up on; one that sends no whole line or takes no answer within `PATIENCE` is hung up on. A
//! watcher keeps its place until it hangs up; when it is slow it misses lines, and nobody waits for it.
//!
//! Another way in, such as D-Bus, asks through an [`Asker`]: the daemon sees one kind of request.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest, copy, sink};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::model::Refusal;
use crate::wire::local::{Answer, MAX_LINE};

/// Callers at a time; further ones wait to be accepted.
const MOST_CALLERS: usize = 64;

/// For a caller to say its next line, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Asked<R> {
    /// What is asked.
    pub request: R,
    /// Dropping it hangs up.
    pub reply: Reply,
}

/// Where an answer goes.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<Said>);

/// What the daemon says to one request.
#[derive(Debug)]
enum Said {
    Line(Vec<u8>),
    Stream(broadcast::Receiver<Arc<[u8]>>, fn(u64) -> Vec<u8>),
}

impl Reply {
    /// It was done, or here it is.
    pub fn ok<T: Serialize>(self, value: T) {
        // A caller that hung up does not want it.
        let _ = self.0.send(Said::Line(line(&Answer::Ok(value))));
    }

    /// It was not.
    pub fn refuse(self, refusal: Refusal) {
        let _ = self.0.send(Said::Line(line(&Answer::<()>::Error(refusal))));
    }

    /// As it came out.
    pub fn say<T: Serialize>(self, outcome: Result<T, Refusal>) {
        match outcome {
            Ok(value) => self.ok(value),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// From now on, these lines. `missed` makes the line that says how many a slow caller did not get.
    pub fn stream(self, lines: broadcast::Receiver<Arc<[u8]>>, missed: fn(u64) -> Vec<u8>) {
        let _ = self.0.send(Said::Stream(lines, missed));
    }
}

/// One line of JSON.
pub fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut text = serde_json::to_vec(value).expect("plain fields make JSON");
    text.push(b'\n');
    text
}

/// Asks the daemon as a caller of the socket does, from within the process.
#[derive(Debug)]
pub struct Asker<R>(mpsc::Sender<Asked<R>>);

impl<R> Clone for Asker<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R> Asker<R> {
    /// Whoever holds the other end answers.
    pub fn new(requests: mpsc::Sender<Asked<R>>) -> Self {
        Self(requests)
    }

    /// Asks what is answered by one `T`. `stopping` where the daemon ends before it answers.
    pub async fn ask<T: DeserializeOwned>(&self, request: R) -> Result<T, Refusal> {
        match self.said(request).await {
            Some(Said::Line(line)) => answered(&line),
            Some(Said::Stream(..)) => Err(other_answer()),
            None => Err(stopping()),
        }
    }

    /// Asks what is answered by lines from now on. `stopping` as for [`Asker::ask`].
    pub async fn watch(&self, request: R) -> Result<broadcast::Receiver<Arc<[u8]>>, Refusal> {
        match self.said(request).await {
            Some(Said::Stream(lines, _)) => Ok(lines),
            Some(Said::Line(line)) => Err(answered::<()>(&line).err().unwrap_or_else(other_answer)),
            None => Err(stopping()),
        }
    }

    async fn said(&self, request: R) -> Option<Said> {
        let (sender, said) = oneshot::channel();
        self.0.send(Asked { request, reply: Reply(sender) }).await.ok()?;
        said.await.ok()
    }
}

fn answered<T: DeserializeOwned>(line: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice::<Answer<T>>(line).map_err(|_| other_answer())?.into()
}

fn other_answer() -> Refusal {
    Refusal::new("other-answer", "the daemon answered something else than what was asked")
}

fn stopping() -> Refusal {
    Refusal::new("stopping", "the daemon is stopping; ask again when it runs")
}

/// The socket; removed on drop.
#[derive(Debug)]
pub struct Control<R> {
    path: PathBuf,
    asker: Asker<R>,
    requests: mpsc::Receiver<Asked<R>>,
}

impl<R: DeserializeOwned + Send + 'static> Control<R> {
    /// Listens at `path`; fails with `AddrInUse` where another daemon does. The directory is made, 0750, where it
    /// is missing. Needs a tokio runtime.
    pub fn listen(path: &Path) -> io::Result<Self> {
        Self::listen_with(path, PATIENCE)
    }

    fn listen_with(path: &Path, patience: Duration) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        }
        // In place only once its mode is right.
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(0o660))?;
        fs::rename(&beside, path)?;
        let (sender, requests) = mpsc::channel(16);
        let asker = Asker(sender);
        tokio::spawn(accept(listener, asker.clone(), patience));
        Ok(Self { path: path.to_owned(), asker, requests })
    }

    /// The next request. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Asked<R> {
        match self.requests.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// For another way in: its requests come out of [`Control::next`] too.
    pub fn asker(&self) -> Asker<R> {
        self.asker.clone()
    }
}

impl<R> Drop for Control<R> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept<R: DeserializeOwned + Send + 'static>(
    listener: UnixListener,
    asker: Asker<R>,
    patience: Duration,
) {
    let callers = Arc::new(Semaphore::new(MOST_CALLERS));
    loop {
        let Ok(place) = Arc::clone(&callers).acquire_owned().await else { return };
        tokio::select! {
            () = asker.0.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let asker = asker.clone();
                    tokio::spawn(async move {
                        serve(stream, asker, patience).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    // Out of descriptors: until some are free.
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn serve<R: DeserializeOwned>(stream: UnixStream, asker: Asker<R>, patience: Duration) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    loop {
        let mut text = Vec::new();
        let mut limited = (&mut lines).take(MAX_LINE as u64);
        match timeout(patience, limited.read_until(b'\n', &mut text)).await {
            Ok(Ok(length)) if length > 0 => {}
            _ => return,
        }
        let whole = text.last() == Some(&b'\n');
        let said = match serde_json::from_slice(&text) {
            Ok(request) if whole => match asker.said(request).await {
                Some(said) => said,
                None => return,
            },
            _ if !whole && text.len() == MAX_LINE => {
                refused("too-long", &format!("a request of more than {MAX_LINE} bytes"))
            }
            Ok(_) => refused("bad-request", "the line has no end"),
            Err(error) => refused("bad-request", &error.to_string()),
        };
        let written = match said {
            Said::Line(line) => timeout(patience, write.write_all(&line)).await,
            Said::Stream(lines, missed) => return stream_out(write, lines, missed).await,
        };
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
        if !whole {
            return hang_up(lines, write).await;
        }
    }
}

fn refused(word: &str, sentence: &str) -> Said {
    Said::Line(line(&Answer::<()>::Error(Refusal::new(word, sentence.escape_debug().to_string()))))
}

/// What is left unread when we close would take the answer with it (unix(7): ECONNRESET).
async fn hang_up(lines: BufReader<OwnedReadHalf>, mut write: OwnedWriteHalf) {
    if write.shutdown().await.is_ok() {
        let (mut rest, mut nowhere) = (lines.take(MAX_LINE as u64), sink());
        drop(timeout(Duration::from_secs(1), copy(&mut rest, &mut nowhere)).await);
    }
}

async fn stream_out(
    mut write: OwnedWriteHalf,
    mut lines: broadcast::Receiver<Arc<[u8]>>,
    missed: fn(u64) -> Vec<u8>,
) {
    let Ok(socket) = registered_again(&write) else { return };
    loop {
        let written = tokio::select! {
            // It would otherwise be noticed only at the next event.
            () = hung_up(&socket) => return,
            line = lines.recv() => match line {
                Ok(line) => write.write_all(&line).await,
                Err(RecvError::Lagged(events)) => write.write_all(&missed(events)).await,
                Err(RecvError::Closed) => return,
            }
        };
        if written.is_err() {
            return;
        }
    }
}

/// The same socket with a registration of its own: what [`hung_up`] clears, a writer must not miss.
fn registered_again(write: &OwnedWriteHalf) -> io::Result<UnixStream> {
    UnixStream::from_std(write.as_ref().as_fd().try_clone_to_owned()?.into())
}

/// The caller has closed. One that has only said its last word (`shutdown(SHUT_WR)`) still listens: reading
/// until the end would not tell the two apart, EPOLLHUP does.
async fn hung_up(socket: &UnixStream) {
    while let Ok(ready) = socket.ready(Interest::WRITABLE).await {
        if ready.is_write_closed() {
            return;
        }
        // Room to write is no news; the next edge is.
        let _ = socket.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_answered_and_anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut control = Control::<u32>::listen(&path).unwrap();
        let serving = tokio::spawn(async move {
            for _ in 0..2 {
                let asked = control.next().await;
                asked.reply.ok(asked.request + 1);
            }
            control
        });
        let mut caller = BufReader::new(UnixStream::connect(&path).await.unwrap());
        for (said, heard) in [("1\n", "{\"ok\":2}\n"), ("true\n", "bad-request"), ("2\n", "{\"ok\":3}\n")] {
            caller.write_all(said.as_bytes()).await.unwrap();
            let mut line = String::new();
            caller.read_line(&mut line).await.unwrap();
            assert!(line.contains(heard), "{line}");
        }
        let _control = serving.await.unwrap();

        assert_eq!(Control::<u32>::listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let mut caller = UnixStream::connect(&path).await.unwrap();
        caller.write_all(&vec![b' '; MAX_LINE + 100_000]).await.unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("too-long"), "{answer}");
    }

    #[tokio::test]
    async fn the_socket_is_for_owner_and_group_and_a_dead_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        // What a daemon that was killed leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let control = Control::<u32>::listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(control);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn who_says_nothing_gives_its_place_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut control = Control::<u32>::listen_with(&path, Duration::from_millis(50)).unwrap();
        let mut silent = Vec::new();
        for said in ["", "1"].iter().cycle().take(MOST_CALLERS) {
            let mut caller = UnixStream::connect(&path).await.unwrap();
            caller.write_all(said.as_bytes()).await.unwrap();
            silent.push(caller);
        }
        let mut caller = BufReader::new(UnixStream::connect(&path).await.unwrap());
        caller.write_all(b"1\n").await.unwrap();
        let asked = control.next().await;
        asked.reply.ok(asked.request + 1);
        let mut line = String::new();
        caller.read_line(&mut line).await.unwrap();
        assert_eq!(line, "{\"ok\":2}\n");
    }

    #[tokio::test]
    async fn an_asker_gets_what_a_caller_of_the_socket_gets() {
        let dir = tempfile::tempdir().unwrap();
        let mut control = Control::<u32>::listen(&dir.path().join("socket")).unwrap();
        let asker = control.asker();
        let (events, _) = broadcast::channel(1);
        let answers = async {
            let asked = control.next().await;
            asked.reply.ok(asked.request + 1);
            control.next().await.reply.refuse(Refusal::new("no", "not today"));
            control.next().await.reply.stream(events.subscribe(), |_| Vec::new());
            control.next().await.reply.refuse(Refusal::new("no", "not today"));
            control.next().await.reply.ok(1);
            drop(control.next().await);
            drop(control);
        };
        let asks = async {
            assert_eq!(asker.ask::<u32>(1).await, Ok(2));
            assert_eq!(asker.ask::<u32>(1).await.unwrap_err().word, "no");
            let mut lines = asker.watch(1).await.unwrap();
            events.send(Arc::from(b"x".as_slice())).unwrap();
            assert_eq!(&*lines.recv().await.unwrap(), b"x");
            assert_eq!(asker.watch(1).await.unwrap_err().word, "no");
            assert_eq!(asker.watch(1).await.unwrap_err().word, "other-answer");
            assert_eq!(asker.ask::<u32>(1).await.unwrap_err().word, "stopping");
            assert_eq!(asker.ask::<u32>(1).await.unwrap_err().word, "stopping");
        };
        tokio::join!(answers, asks);
    }

    #[tokio::test]
    async fn a_watcher_that_hangs_up_is_noticed_without_an_event() {
        let watched = Watched::start().await;
        assert_eq!(watched.events.receiver_count(), 1);
        let spent = cpu_time();
        sleep(Duration::from_millis(300)).await;
        assert!(cpu_time() - spent < Duration::from_millis(60), "busy while nothing happens");
        drop(watched.caller);
        timeout(Duration::from_secs(5), watched.events.closed()).await.expect("noticed");
    }

    #[tokio::test]
    async fn a_watcher_that_has_said_its_last_word_still_hears() {
        let mut watched = Watched::start().await;
        watched.caller.shutdown().await.unwrap();
        let spent = cpu_time();
        sleep(Duration::from_millis(300)).await;
        assert!(cpu_time() - spent < Duration::from_millis(60), "busy after the last word");
        // More than the socket holds: the writer has to wait for room, and gets it.
        let line: Arc<[u8]> = [vec![b'x'; 1 << 20], vec![b'\n']].concat().into();
        watched.events.send(line.clone()).unwrap();
        sleep(Duration::from_millis(20)).await;
        let mut heard = vec![0; line.len()];
        let read = timeout(Duration::from_secs(5), watched.caller.read_exact(&mut heard)).await;
        read.expect("in time").unwrap();
        assert_eq!(heard, *line);
        drop(watched.caller);
        timeout(Duration::from_secs(5), watched.events.closed()).await.expect("noticed");
    }

    #[tokio::test]
    async fn a_watcher_that_hangs_up_while_it_is_waited_for_is_noticed() {
        let watched = Watched::start().await;
        for _ in 0..4 {
            watched.events.send(vec![b'x'; 1 << 20].into()).unwrap();
        }
        sleep(Duration::from_millis(20)).await;
        drop(watched.caller);
        timeout(Duration::from_secs(5), watched.events.closed()).await.expect("noticed");
    }

    struct Watched {
        _held: (tempfile::TempDir, Control<u32>),
        caller: UnixStream,
        events: broadcast::Sender<Arc<[u8]>>,
    }

    impl Watched {
        async fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            let mut control = Control::<u32>::listen(&path).unwrap();
            let mut caller = UnixStream::connect(&path).await.unwrap();
            caller.write_all(b"1\n").await.unwrap();
            let events = broadcast::channel(4).0;
            control.next().await.reply.stream(events.subscribe(), |_| Vec::new());
            // Its task has the lines.
            sleep(Duration::from_millis(20)).await;
            Self { _held: (dir, control), caller, events }
        }
    }

    fn cpu_time() -> Duration {
        use nix::time::{ClockId, clock_gettime};
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
    }
}
