//! WIRES: the coordinator. Registry, sessions, deadlines, notices; one SQLite file, no server to run.
//!
//! ```text
//! serve (TCP, TLS, HTTP) ── link (WebSocket) ──┐
//!                        └─ api                ├── core (all state, one lock) ── store (one thread)
//! control (unix socket) ───────────────────────┤
//! tick (deadlines, watchdog) ──────────────────┘
//! ```
//!
//! What is decided is decided in `logic::{session, wheel, brake, limit}`. Read next: `core/mod.rs`, then
//! `link.rs`.
#![forbid(unsafe_code)]

mod api;
mod claims;
mod control;
mod core;
mod hub;
mod identity;
mod link;
mod messages;
mod metrics;
mod payments;
mod serve;
mod store;
mod trade;
mod vouchers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use self::hub::Hub;
use self::store::writer::Writer;
use self::store::{Sqlite, Store, StoreError};
use crate::config::coordinator::Settings;
use crate::host::clock;
use crate::host::control::Control;
use crate::logic::wheel::TICK;
use crate::wire::claim::CoordinatorAddress;

pub use api::document as openapi;

/// How long links may take to close at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the coordinator cannot run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No identity.
    #[error("identity")]
    Identity(#[from] identity::IdentityError),
    /// The store cannot be opened, or failed.
    #[error("store")]
    Store(#[from] StoreError),
    /// The listener.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The control socket.
    #[error("cannot listen at {}", path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Signals or threads.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Something that has to run did not: a fault of the program.
    #[error("{what} ended")]
    Ended {
        /// What.
        what: &'static str,
    },
}

/// Runs until SIGTERM or SIGINT; reads its configuration again on SIGHUP.
///
/// `ready` is called once it listens; sd_notify(3) is told by itself. Wants a multi-thread runtime.
pub async fn run(settings: Settings, ready: impl FnOnce()) -> Result<(), Error> {
    let system = |what| move |source| Error::System { what, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system("watch SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("watch SIGINT"))?;
    let reload = signal(SignalKind::hangup()).map_err(system("watch SIGHUP"))?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve_until(settings, |_| ready(), stop, Some(reload)).await
}

/// As [`run`], until `stop` is over, without signals; `ready` is told where it listens.
pub async fn run_until(
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    serve_until(settings, ready, stop, None).await
}

async fn serve_until(
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
    reload: Option<Signal>,
) -> Result<(), Error> {
    raise_file_limit();
    let identity = identity::load_or_create(&settings.state_dir, &settings.state_dir.join("wayleave.db"))?;
    let mut store = Sqlite::open(&settings.state_dir)?;
    let loaded = store.load()?;
    let name = CoordinatorAddress { host: settings.public.clone(), key: identity.public() };
    let tls = identity::tls_config(&identity, name.name())?;
    let (failed, mut failure) = tokio::sync::oneshot::channel();
    let (writer, writer_thread) = Writer::start(Box::new(store), move |error| drop(failed.send(error)))
        .map_err(|source| Error::System { what: "start the store's thread", source })?;

    let address = settings.listen;
    let listen = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let socket = settings.runtime_dir.join(control::FILE);
    let control = Control::listen(&socket).map_err(|source| Error::Control { path: socket, source })?;

    let hub = Hub::new(identity, settings, writer, loaded);
    let tick = tokio::spawn(tick(Arc::clone(&hub)));
    let accept = tokio::spawn(serve::accept(
        Arc::clone(&hub),
        listener,
        TlsAcceptor::from(tls),
        api::router(Arc::clone(&hub)),
    ));
    let control = tokio::spawn(control::serve(Arc::clone(&hub), control));
    tracing::info!(%address, key = %hub.key, "the coordinator listens");
    tell_manager(&[NotifyState::Ready]);
    ready(address);

    let mut tick = tick;
    let result = tokio::select! {
        () = stop => Ok(()),
        error = &mut failure => match error {
            Ok(error) => Err(Error::Store(error)),
            Err(_) => Err(Error::Ended { what: "the store's thread" }),
        },
        _ = &mut tick => Err(Error::Ended { what: "the loop that watches deadlines" }),
        () = read_on_signal(&hub, reload) => Ok(()),
    };
    tell_manager(&[NotifyState::Stopping]);
    tracing::info!("the coordinator closes");
    hub.core().close();
    let farewell = Instant::now();
    while hub.connections() > 0 && farewell.elapsed() < FAREWELL {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if only_idle_http(&hub) {
            break;
        }
    }
    for task in [&tick, &accept, &control] {
        task.abort();
    }
    // Everything decided is durable before the end is told.
    tokio::task::spawn_blocking(|| writer_thread.join())
        .await
        .map_err(|error| Error::System { what: "close the store", source: std::io::Error::other(error) })?;
    result
}

/// Whether no link stands any more: idle HTTP connections are not waited for.
fn only_idle_http(hub: &Hub) -> bool {
    use metrics::Metrics;
    ["gateway", "terminal"].iter().all(|role| Metrics::gauge(&hub.metrics.links, role).get() == 0)
}

/// Looks at the deadlines ten times a second; the watchdog hears of it only if that works.
async fn tick(hub: Arc<Hub>) {
    let watchdog = sd_notify::watchdog_enabled().map(|interval| interval / 3);
    let mut told = Instant::now();
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // The lock is given back between rounds: heartbeats that need it do not wait for a whole burst.
        while hub.core().tick(clock::now()) {
            tokio::task::yield_now().await;
        }
        if watchdog.is_some_and(|interval| told.elapsed() >= interval) {
            told = Instant::now();
            tell_manager(&[NotifyState::Watchdog]);
        }
    }
}

/// Never ends.
async fn read_on_signal(hub: &Hub, signal: Option<Signal>) {
    if let Some(mut signal) = signal {
        while signal.recv().await.is_some() {
            read_again(hub);
        }
    }
    std::future::pending().await
}

fn read_again(hub: &Hub) {
    let Some(path) = hub.settings().source.clone() else { return };
    // Type=notify-reload wants to know since when (systemd.service(5)).
    match NotifyState::monotonic_usec_now() {
        Ok(since) => tell_manager(&[NotifyState::Reloading, since]),
        Err(_) => tell_manager(&[NotifyState::Reloading]),
    }
    match Settings::load(&path) {
        Ok(settings) => {
            hub.reload(settings);
            tracing::info!(path = %path.display(), "the configuration was read again");
        }
        Err(error) => tracing::error!(%error, "the configuration stays as it was"),
    }
    tell_manager(&[NotifyState::Ready]);
}

/// Without a service manager nobody listens, and that is fine.
fn tell_manager(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// As many links as the system allows.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
