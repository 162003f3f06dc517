//! The control socket: one JSON object per line in each direction; who may speak is a matter of its mode.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::hub::Hub;
use super::{claims, clock};
use crate::logic::session::Policy;
use crate::model::{Cause, Millis, Refusal};
use crate::wire::local::{Answer, CoordinatorRequest, CoordinatorStatus, Ended, MAX_LINE, PolicyWord};

/// The socket in the runtime directory.
pub const FILE: &str = "coordinator.sock";
/// The longest request: every verb fits in a fraction.
const LINE: u64 = 16 * 1024;
const CALLERS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(30);

/// Binds the socket, 0660. A socket left by an earlier run is replaced: the store's lock says that it is dead.
pub fn bind(runtime_dir: &Path) -> io::Result<(UnixListener, PathBuf)> {
    fs::create_dir_all(runtime_dir)?;
    let path = runtime_dir.join(FILE);
    // Named in place only once its mode is right.
    let beside = runtime_dir.join(".coordinator.sock.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, PermissionsExt::from_mode(0o660))?;
    fs::rename(&beside, &path)?;
    Ok((listener, path))
}

/// Answers until it is dropped.
pub async fn serve(hub: Arc<Hub>, listener: UnixListener) {
    let callers = Arc::new(Semaphore::new(CALLERS));
    loop {
        let Ok(turn) = Arc::clone(&callers).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let hub = Arc::clone(&hub);
                tokio::spawn(async move {
                    drop(converse(&hub, stream).await);
                    drop(turn);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no caller accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(hub: &Hub, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut read).take(LINE + 1);
        let Ok(length) = tokio::time::timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await else {
            return Ok(());
        };
        if length? == 0 {
            return Ok(());
        }
        let too_long = line.len() as u64 > LINE;
        let answer = if too_long {
            error(Refusal::new("too-long", format!("a request of more than {LINE} bytes")))
        } else {
            match serde_json::from_slice(&line) {
                Ok(request) => answer(hub, request).await,
                Err(wrong) => error(Refusal::new("bad-request", wrong.to_string())),
            }
        };
        match tokio::time::timeout(PATIENCE, write.write_all(&answer)).await {
            Ok(written) => written?,
            Err(_) => return Ok(()),
        }
        if too_long {
            // What is left unread when we close would take the answer with it (unix(7): ECONNRESET).
            write.shutdown().await?;
            let (mut rest, mut nowhere) = ((&mut read).take(MAX_LINE as u64), tokio::io::sink());
            let copied = tokio::io::copy(&mut rest, &mut nowhere);
            drop(tokio::time::timeout(Duration::from_secs(1), copied).await);
            return Ok(());
        }
    }
}

async fn answer(hub: &Hub, request: CoordinatorRequest) -> Vec<u8> {
    let unknown_gateway = || Refusal::new("unknown-gateway", "there is no such gateway");
    match request {
        CoordinatorRequest::Status => ok(status(hub)),
        CoordinatorRequest::Claim { role, valid } => match claims::create(hub, role, valid).await {
            Ok(claim) => ok(claim),
            Err(refusal) => error(refusal),
        },
        CoordinatorRequest::Gateways => {
            let rows = hub.core().gateway_rows();
            ok(rows)
        }
        CoordinatorRequest::Sessions { gateway, after } => {
            let page = hub.core().session_page(gateway.as_ref(), after);
            page.map_or_else(|| error(unknown_gateway()), ok)
        }
        CoordinatorRequest::Evict { session } => match hub.core().end(&session, Cause::Owner, clock::now()) {
            true => ok(Ended { session }),
            false => error(Refusal::new("unknown-session", "there is no such session")),
        },
        CoordinatorRequest::Policy { gateway, policy } => {
            let policy = policy.map(|policy| match policy {
                PolicyWord::Corroborate => Policy::Corroborate,
                PolicyWord::Strict => Policy::Strict,
            });
            let mut core = hub.core();
            let row = core.set_policy(&gateway, policy).and_then(|key| core.gateway_row(&key));
            drop(core);
            row.map_or_else(|| error(unknown_gateway()), ok)
        }
    }
}

fn status(hub: &Hub) -> CoordinatorStatus {
    let glance = hub.core().glance();
    CoordinatorStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        public: hub.settings().public.clone(),
        key: hub.key,
        uptime: Millis::from(clock::now().since(hub.started)),
        gateways: glance.gateways,
        gateways_up: glance.gateways_up,
        terminals_up: glance.terminals_up,
        sessions: glance.sessions.into_iter().map(|(state, count)| (state.to_owned(), count)).collect(),
        outbox: glance.outbox,
        braked: glance.braked,
        store_full: hub.writer.is_full(),
    }
}

fn ok<T: Serialize>(value: T) -> Vec<u8> {
    line(&Answer::Ok(value))
}

fn error(refusal: Refusal) -> Vec<u8> {
    line(&Answer::<()>::Error(refusal))
}

fn line<T: Serialize>(answer: &Answer<T>) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_else(|wrong| {
        tracing::error!(error = %wrong, "an answer cannot be written");
        br#"{"error":{"word":"internal","sentence":"the answer cannot be written"}}"#.to_vec()
    });
    line.push(b'\n');
    line
}
