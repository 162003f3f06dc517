//! One connection: one request at a time, within its bounds.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::body::{Sent, collect};
use super::{Door, Page, Request, Visit};

/// For a handshake, the head of a request, its body.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a whole connection.
const LONGEST: Duration = Duration::from_secs(20);
/// Octets of the head of a request, which is also all that is read ahead.
const HEAD: usize = 8 * 1024;
const FIELDS: usize = 48;
/// Octets of a form.
const BODY: usize = 4 * 1024;
/// Octets of a path with its query, and of a header field that is looked at.
const TEXT: usize = 2 * 1024;

/// Header fields that anybody asks for.
const WANTED: [&str; 7] =
    ["accept", "accept-language", "content-type", "cookie", "host", "origin", "sec-fetch-site"];

/// Who is served.
struct Peer {
    door: Door,
    from: IpAddr,
    to: IpAddr,
}

pub(super) async fn connection(stream: TcpStream, from: SocketAddr, door: Door) {
    let Ok(to) = stream.local_addr() else { return };
    let (from, to) = (from.ip().to_canonical(), to.ip().to_canonical());
    let tls = door.tls.clone();
    let peer = Arc::new(Peer { door, from, to });
    match tls {
        None => http(stream, peer).await,
        Some(certificate) => {
            let acceptor = match certificate.acceptor() {
                Ok(acceptor) => acceptor,
                Err(error) => {
                    return tracing::debug!(%error, "no certificate");
                }
            };
            // Boxed: the handshake's state is not carried through the life of the connection.
            let handshake = Box::pin(acceptor.accept(stream));
            if let Ok(Ok(stream)) = timeout(PATIENCE, handshake).await {
                http(stream, peer).await;
            }
        }
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, peer: Arc<Peer>) {
    let service = service_fn(move |request| answer(Arc::clone(&peer), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .max_headers(FIELDS)
        // A telephone asks three things in a row and then nothing for minutes: its place is for the next one.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Who reads slowly does not hold a place for ever; a peer that goes away in the middle is no news.
    let _ = timeout(LONGEST, serving).await;
}

async fn answer(peer: Arc<Peer>, request: hyper::Request<Incoming>) -> Result<Response<Sent>, Infallible> {
    let request = match timeout(PATIENCE, read(request, peer.door.tls.is_some())).await {
        Ok(Ok(request)) => request,
        Ok(Err(status)) => return Ok(empty(status)),
        Err(_) => return Ok(empty(StatusCode::REQUEST_TIMEOUT)),
    };
    let headless = request.method == "HEAD";
    let Some(page) = ask(&peer, request).await else {
        return Ok(empty(StatusCode::SERVICE_UNAVAILABLE));
    };
    let length = page.body.len();
    let mut response = Response::new(Sent((!headless).then_some(page.body)));
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &page.headers {
        // A value that is none would be a fault of the page's: it is left out rather than split in two.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    if headless {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

async fn ask(peer: &Peer, request: Request) -> Option<Page> {
    let (reply, page) = oneshot::channel();
    let visit = Visit { interface: peer.door.interface, from: peer.from, to: peer.to, request, reply };
    timeout(PATIENCE, async {
        peer.door.visits.send(visit).await.ok()?;
        page.await.ok()
    })
    .await
    .ok()?
}

async fn read(request: hyper::Request<Incoming>, tls: bool) -> Result<Request, StatusCode> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    if path.len() + query.len() > TEXT {
        return Err(StatusCode::URI_TOO_LONG);
    }
    let headers = WANTED.into_iter().filter_map(|name| {
        let value = head.headers.get(name)?;
        let text = value.to_str().ok().filter(|text| text.len() <= TEXT)?;
        Some((name, text.to_owned()))
    });
    let body = match hyper::body::Body::is_end_stream(&body) {
        true => Vec::new(),
        false => collect(body, BODY).await.ok_or(StatusCode::PAYLOAD_TOO_LARGE)?,
    };
    Ok(Request {
        method: head.method.as_str().chars().take(16).collect(),
        path: path.to_owned(),
        query: query.to_owned(),
        tls,
        headers: headers.collect(),
        body,
    })
}

fn empty(status: StatusCode) -> Response<Sent> {
    let mut response = Response::new(Sent(None));
    *response.status_mut() = status;
    response
}
