//! A link: the WebSocket, its opening, and the messages of gateways and terminals on it.
//!
//! ```text
//! GET /v1/link ── too many from this address: 429, Retry-After
//!   Hello ─> Challenge ─> Proof ─> [claim] ─> Verdict      each within 10 s
//!   gateway:  reads messages, pulls what the core has for it, renews the lease
//!   terminal: reads messages; heartbeats move their deadline without the lock
//! ```
//!
//! Whatever cannot be read closes the link with a word and is counted. A link holds small buffers and one
//! task; nothing of it waits with the core's lock held.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::{Outgoing, Wanted};
use super::hub::Hub;
use super::metrics::Metrics;
use super::serve::Peer;
use super::store::writer::NotKept;
use super::store::{Change, GatewayRecord, Outcome};
use super::{claims, trade};
use crate::config::coordinator::Terminals;
use crate::host::clock;
use crate::logic::limit::charge;
use crate::logic::wheel::Pulse;
use crate::model::{BootId, BootTime, Incarnation, Millis, PublicKey, Refusal, ServiceId, SessionId};
use crate::wire::directory::SignedDirectory;
use crate::wire::gateway::{FromGateway, ToGateway};
use crate::wire::hello::{Challenge, Hello, LinkNonce, Proof, Role, Verdict};
use crate::wire::notice::{Notice, SignedNotice};
use crate::wire::sign::{random, service_id};
use crate::wire::terminal::{FromTerminal, Heartbeat, PurchaseView, ToTerminal};
use crate::wire::{MAX_FRAME, VERSION, cbor};

/// For each step of the opening, and for a peer to take what is sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// A terminal's messages: so many at once, then one in each interval.
const TERMINAL_BURST: u32 = 50;
const TERMINAL_INTERVAL: Duration = Duration::from_millis(100);
/// A gateway's: thousands of reports and acknowledgements may come at once.
const GATEWAY_BURST: u32 = 50_000;
const GATEWAY_INTERVAL: Duration = Duration::from_micros(500);

/// Why a link ends, other than by the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ending {
    code: u16,
    /// Counted, and told to the peer.
    word: &'static str,
    sentence: String,
}

impl Ending {
    fn new(code: u16, word: &'static str, sentence: impl Into<String>) -> Self {
        Self { code, word, sentence: sentence.into() }
    }
}

/// What a link hears.
enum Heard {
    Frame(Bytes),
    Gone,
}

/// `GET /v1/link`.
pub async fn open(
    State(hub): State<Arc<Hub>>,
    Extension(Peer(peer)): Extension<Peer>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Err(wait) = hub.take_hello(peer.ip()) {
        Metrics::count(&hub.metrics.refused, "too-often");
        let mut response = StatusCode::TOO_MANY_REQUESTS.into_response();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        return response;
    }
    // Small: a hundred thousand links are open at once, and nearly all of them idle.
    upgrade
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .on_upgrade(move |socket| run(hub, peer.ip(), socket))
}

async fn run(hub: Arc<Hub>, peer: std::net::IpAddr, mut socket: WebSocket) {
    // Boxed: what the opening needs is not carried through the life of the link.
    let opened = Box::pin(greet(&hub, peer, &mut socket)).await;
    let ended = match opened {
        Ok((hello, nonce)) => {
            let (role, key) = (hello.role, hello.key);
            let gauge = match role {
                Role::Gateway => Metrics::gauge(&hub.metrics.links, "gateway"),
                Role::Terminal => Metrics::gauge(&hub.metrics.links, "terminal"),
            };
            gauge.inc();
            let ended = match role {
                Role::Gateway => Box::pin(gateway(&hub, &mut socket, key, hello.boot, nonce)).await,
                Role::Terminal => {
                    drop(hello);
                    terminal(&hub, &mut socket, key, peer).await
                }
            };
            gauge.dec();
            ended
        }
        Err(ended) => ended,
    };
    let Some(Ending { code, word, sentence }) = ended else { return };
    Metrics::count(&hub.metrics.frames_dropped, word);
    tracing::debug!(word, sentence, "link closed");
    // RFC 6455, 5.5: a control frame has at most 125 bytes, 2 of them the code.
    let reason: String = format!("{word}: {sentence}").chars().take(100).filter(char::is_ascii).collect();
    let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
    let farewell = async {
        drop(socket.send(close).await);
        // Until the peer's close, so that ours is not lost to a reset; but not for ever.
        while let Some(Ok(_)) = socket.recv().await {}
    };
    drop(tokio::time::timeout(Duration::from_secs(2), farewell).await);
}

/// The opening; `Err(None)`: the peer went away.
async fn greet(
    hub: &Hub,
    peer: std::net::IpAddr,
    socket: &mut WebSocket,
) -> Result<(Hello, LinkNonce), Option<Ending>> {
    let hello: Hello = step(socket).await?;
    let nonce = LinkNonce(BootId(random()));
    send(socket, &Challenge { nonce }).await?;
    let proof: Proof = step(socket).await?;
    let verdict = judge(hub, peer, &hello, &proof, nonce).await;
    if let Verdict::Refused { word, .. } = &verdict {
        Metrics::count(&hub.metrics.refused, known_word(word));
    }
    send(socket, &verdict).await?;
    match verdict {
        Verdict::Welcome { .. } => Ok((hello, nonce)),
        Verdict::Refused { sentence, .. } => Err(Some(Ending::new(close_code::POLICY, "refused", sentence))),
    }
}

fn known_word(word: &str) -> &'static str {
    ["unknown-key", "bad-claim", "bad-proof", "version", "busy"]
        .into_iter()
        .find(|known| *known == word)
        .unwrap_or("other")
}

async fn judge(hub: &Hub, peer: std::net::IpAddr, hello: &Hello, proof: &Proof, nonce: LinkNonce) -> Verdict {
    let refused = |word: &str, sentence: String, retry_after: Option<Duration>| Verdict::Refused {
        word: word.to_owned(),
        sentence,
        retry_after: retry_after.map(Millis::from),
    };
    if hello.version != VERSION {
        let sentence =
            format!("version {} of the protocol; this coordinator speaks {VERSION}", hello.version);
        return refused("version", sentence, None);
    }
    if proof.check(hello, nonce, hub.key).is_err() {
        return refused("bad-proof", "the proof does not fit the key of the hello".into(), None);
    }
    let settings = hub.settings();
    let welcome = Verdict::Welcome { heartbeat: Millis::from(settings.heartbeat) };
    // Where every terminal may ask, a claim that works makes it a known one, and one that does not changes nothing.
    let is_open = (hello.role, settings.terminals) == (Role::Terminal, Terminals::Open);
    let known = match hello.role {
        Role::Gateway => hub.core().is_gateway(&hello.key),
        Role::Terminal => (is_open && hello.claim.is_none()) || hub.core().is_enrolled_terminal(&hello.key),
    };
    // A claim shown again by a key that is enrolled already: the welcome was lost, nothing else.
    if known {
        return welcome;
    }
    let Some(claim) = &hello.claim else {
        let sentence = "this key is not enrolled here; enrol it with a claim token".to_owned();
        return refused("unknown-key", sentence, None);
    };
    if let Err(wait) = hub.may_claim(peer) {
        if is_open {
            return welcome;
        }
        return refused("busy", "too many wrong claim codes from this address".into(), Some(wait));
    }
    let (key, role) = (hello.key, hello.role);
    let hash = claims::hash(claim.expose());
    match hub.writer.make(Change::Enrol { key, role, hash, now: clock::calendar() }).await {
        Ok(Outcome::Done | Outcome::Seq(_)) => {
            let mut core = hub.core();
            match role {
                Role::Gateway => {
                    core.enrol_gateway(GatewayRecord { key, policy: None, announce: None, seen: 0, seq: 0 })
                }
                Role::Terminal => core.enrol_terminal(key),
            }
            drop(core);
            match role {
                Role::Gateway => tracing::info!(service = %service_id(key), "a gateway enrolled"),
                Role::Terminal => tracing::debug!("a terminal enrolled"),
            }
            welcome
        }
        Err(NotKept::Full) if is_open => welcome,
        Ok(Outcome::NoMatch) => {
            hub.wrong_claim(peer);
            if is_open {
                return welcome;
            }
            refused(
                "bad-claim",
                "this claim code does not work: used, expired, for another role, or wrong".into(),
                None,
            )
        }
        Err(NotKept::Full) => {
            refused("busy", "the coordinator's disk is full".into(), Some(Duration::from_secs(60)))
        }
        Err(NotKept::Closed) => {
            refused("busy", "the coordinator is closing".into(), Some(Duration::from_secs(5)))
        }
    }
}

/// One message of the opening, in time.
async fn step<T: DeserializeOwned>(socket: &mut WebSocket) -> Result<T, Option<Ending>> {
    match tokio::time::timeout(PATIENCE, hear(socket)).await {
        Ok(Ok(Heard::Frame(frame))) => decode(&frame).map_err(Some),
        Ok(Ok(Heard::Gone)) => Err(None),
        Ok(Err(ending)) => Err(Some(ending)),
        Err(_) => Err(Some(Ending::new(close_code::POLICY, "slow", "the opening takes too long"))),
    }
}

fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, Ending> {
    cbor::decode(frame).map_err(|error| Ending::new(close_code::INVALID, "malformed", error.to_string()))
}

/// The next binary frame.
async fn hear(socket: &mut WebSocket) -> Result<Heard, Ending> {
    loop {
        return match socket.recv().await {
            Some(Ok(Message::Binary(frame))) => Ok(Heard::Frame(frame)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Text(_))) => {
                Err(Ending::new(close_code::UNSUPPORTED, "text", "frames are binary CBOR"))
            }
            Some(Ok(Message::Close(_))) | None => Ok(Heard::Gone),
            Some(Err(error)) => {
                let why = error.to_string();
                // axum hands the error on as text; these are tungstenite's words for its own kinds.
                if why.starts_with("Space limit exceeded") {
                    let sentence = format!("{MAX_FRAME} bytes are the most");
                    Err(Ending::new(close_code::SIZE, "too-long", sentence))
                } else if why.starts_with("WebSocket protocol error") && !why.contains("without closing") {
                    Err(Ending::new(close_code::PROTOCOL, "protocol", why))
                } else {
                    Ok(Heard::Gone)
                }
            }
        };
    }
}

/// Sends one message, in time.
async fn send<T: Serialize>(socket: &mut WebSocket, message: &T) -> Result<(), Option<Ending>> {
    let frame = cbor::encode(message).map_err(|error| {
        tracing::error!(%error, "a message of ours cannot be encoded");
        None
    })?;
    match tokio::time::timeout(PATIENCE, socket.send(Message::Binary(frame.into()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(None),
        Err(_) => Err(Some(Ending::new(close_code::POLICY, "slow", "nothing is taken from the socket"))),
    }
}

fn too_fast() -> Ending {
    Ending::new(close_code::POLICY, "too-fast", "more messages than anybody needs")
}

fn going_away() -> Ending {
    Ending::new(close_code::AWAY, "replaced", "a newer link took over, or the coordinator closes")
}

/// A gateway's link until it ends.
async fn gateway(
    hub: &Arc<Hub>,
    socket: &mut WebSocket,
    key: PublicKey,
    boot: BootId,
    nonce: LinkNonce,
) -> Option<Ending> {
    let Some((link, wake)) = hub.core().gateway_up(key) else { return Some(going_away()) };
    tracing::info!(service = %service_id(key), "gateway connected");
    let mut renew = tokio::time::interval(hub.settings().lease / 3);
    // The first one comes with the announcement.
    renew.reset();
    let mut n = 0;
    let mut bucket = BootTime::default();
    let ended = loop {
        tokio::select! {
            heard = hear(socket) => {
                let frame = match heard {
                    Ok(Heard::Frame(frame)) => frame,
                    Ok(Heard::Gone) => break None,
                    Err(ending) => break Some(ending),
                };
                let now = clock::now();
                if charge(&mut bucket, GATEWAY_INTERVAL, GATEWAY_BURST, now).is_err() {
                    break Some(too_fast());
                }
                let message = match decode::<FromGateway>(&frame) {
                    Ok(message) => message,
                    Err(ending) => break Some(ending),
                };
                if let Err(wrong) = hub.core().hear_gateway(key, link, message, now) {
                    break Some(Ending::new(close_code::POLICY, wrong.word(), wrong.to_string()));
                }
                // What waited for the announcement.
                wake.notify_one();
            }
            () = wake.notified() => {
                let Some(outgoing) = hub.core().outgoing(&key, link) else { break Some(going_away()) };
                if outgoing.is_empty() {
                    continue;
                }
                // There may be more: look again after these.
                wake.notify_one();
                let mut failed = None;
                for outgoing in outgoing {
                    let message = match outgoing {
                        Outgoing::ReportTaken(number) => ToGateway::ReportTaken { number },
                        Outgoing::Notice(seq, body) => {
                            n += 1;
                            let notice = Notice { n, seq, body, boot, link: nonce, gateway: key };
                            match SignedNotice::new(&hub.identity, &notice) {
                                Ok(signed) => ToGateway::Notice(signed),
                                Err(error) => {
                                    tracing::error!(%error, "a notice is too long to be sent");
                                    continue;
                                }
                            }
                        }
                    };
                    if let Err(ending) = send(socket, &message).await {
                        failed = Some(ending);
                        break;
                    }
                }
                if let Some(ending) = failed {
                    break ending;
                }
            }
            _ = renew.tick() => hub.core().renew(&key),
        }
    };
    hub.core().gateway_down(key, link);
    tracing::info!(service = %service_id(key), "gateway disconnected");
    ended
}

/// The session whose deadline this link moves.
struct Following {
    session: SessionId,
    incarnation: Incarnation,
    service: ServiceId,
    pulse: Pulse,
}

/// A terminal's link until it ends.
async fn terminal(
    hub: &Arc<Hub>,
    socket: &mut WebSocket,
    key: PublicKey,
    peer: std::net::IpAddr,
) -> Option<Ending> {
    let Some((link, mut told)) = hub.core().terminal_up(key, clock::now()) else { return Some(going_away()) };
    let mut following = None;
    let mut bucket = BootTime::default();
    let ended = loop {
        tokio::select! {
            heard = hear(socket) => {
                let frame = match heard {
                    Ok(Heard::Frame(frame)) => frame,
                    Ok(Heard::Gone) => break None,
                    Err(ending) => break Some(ending),
                };
                let now = clock::now();
                if charge(&mut bucket, TERMINAL_INTERVAL, TERMINAL_BURST, now).is_err() {
                    break Some(too_fast());
                }
                let message = match decode::<FromTerminal>(&frame) {
                    Ok(message) => message,
                    Err(ending) => break Some(ending),
                };
                if let FromTerminal::Heartbeat(heartbeat) = &message {
                    heartbeat_came(hub, &key, &mut following, heartbeat, now);
                } else if let Some(answer) = answer(hub, key, peer, message, now)
                    && let Err(ending) = Box::pin(send(socket, &answer)).await
                {
                    break ending;
                }
            }
            message = told.recv() => {
                let Some(message) = message else { break Some(going_away()) };
                if let Err(ending) = Box::pin(send(socket, &*message)).await {
                    break ending;
                }
            }
        }
    };
    hub.core().terminal_down(&key, link, clock::now());
    ended
}

/// The quick way moves one word; the slow one asks the core.
fn heartbeat_came(
    hub: &Hub,
    key: &PublicKey,
    following: &mut Option<Following>,
    heartbeat: &Heartbeat,
    now: BootTime,
) {
    hub.metrics.heartbeats.inc();
    let quick = following.as_ref().filter(|following| {
        following.session == heartbeat.session
            && following.incarnation == heartbeat.incarnation
            && following.service == heartbeat.service
    });
    if let Some(Following { pulse, .. }) = quick {
        let deadline = now + hub.due(heartbeat.next.map(Duration::from));
        if hub.deadlines.beat(*pulse, deadline).is_ok() {
            return;
        }
    }
    hub.metrics.heartbeats_slow.inc();
    let Heartbeat { session, incarnation, service, .. } = *heartbeat;
    let pulse = hub.core().heartbeat(key, heartbeat, now);
    *following = pulse.map(|pulse| Following { session, incarnation, service, pulse });
}

/// What a message is answered with at once.
fn answer(
    hub: &Hub,
    key: PublicKey,
    peer: std::net::IpAddr,
    message: FromTerminal,
    now: BootTime,
) -> Option<ToTerminal> {
    match message {
        FromTerminal::Ask { aps, request } => {
            if let Err(wait) = hub.take_lookup(&key, peer, now) {
                return Some(too_often(hub, wait, request));
            }
            let aps = hub.core().candidates(&aps, now);
            Some(ToTerminal::Candidates { aps, request })
        }
        FromTerminal::Directory { have, part, region, request } => {
            if let Err(wait) = hub.take_from(peer, now) {
                return Some(too_often(hub, wait, request));
            }
            let part = hub.core().directory(&region, have, part);
            match SignedDirectory::new(&hub.identity, &part) {
                Ok(signed) => Some(ToTerminal::Directory { signed, request }),
                Err(error) => {
                    tracing::error!(%error, %region, "a part of a directory is too long to be sent");
                    None
                }
            }
        }
        FromTerminal::Join { ahead, bssid, beacon, offer, request, station } => {
            if let Err(wait) = hub.take_from(peer, now) {
                return Some(too_often(hub, wait, request));
            }
            let wanted = Wanted { ahead, bssid, beacon, station, offer, request };
            let refusal: Refusal = hub.core().join(key, wanted, now).err()?;
            Metrics::count(&hub.metrics.refused, "join");
            Some(ToTerminal::Refused { refusal, request })
        }
        FromTerminal::Leave { session, incarnation } => {
            hub.core().leave(&key, session, incarnation, now);
            None
        }
        FromTerminal::Taken { message } => {
            hub.core().message_taken(key, None, message, now);
            None
        }
        FromTerminal::Tariffs { request, service } => Some(match hub.core().tariffs(&service) {
            Ok(tariffs) => ToTerminal::Tariffs { request, service, tariffs: tariffs.to_vec() },
            Err(refusal) => ToTerminal::Refused { refusal, request },
        }),
        FromTerminal::Buy { want, tariff, request, service } => {
            let refusal = hub.core().buy(key, &service, tariff, want, Some(request), now).err()?;
            Metrics::count(&hub.metrics.refused, "buy");
            Some(ToTerminal::Refused { refusal, request })
        }
        FromTerminal::Pay { code, means, purchase } => {
            let refusal = trade::pay(hub, Some(key), purchase, means, code, now).err()?;
            let view = hub.core().purchase_view(&purchase)?;
            Some(ToTerminal::Purchase(Box::new(PurchaseView { refusal: Some(refusal), ..view })))
        }
        FromTerminal::Decline { purchase } => {
            // Nothing is there to be declined any more: as good.
            let _ = hub.core().decline(Some(key), purchase, now);
            None
        }
        FromTerminal::Heartbeat(_) => None,
    }
}

fn too_often(hub: &Hub, wait: Duration, request: u64) -> ToTerminal {
    Metrics::count(&hub.metrics.refused, "look-up");
    let sentence = format!("too many questions; one is allowed again in {} s", wait.as_secs() + 1);
    ToTerminal::Refused { refusal: Refusal::new("too-often", sentence), request }
}
