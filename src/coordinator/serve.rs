//! The listener: TCP, TLS 1.3, HTTP/1.1. Every step has a time limit and a bounded number of takers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::hub::{Counted, Hub};

/// TLS handshakes at once; the others wait in line.
const HANDSHAKES: usize = 128;
/// For the TLS handshake, the wait for it included, and for the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Accepts until it is dropped.
pub async fn accept(hub: Arc<Hub>, listener: TcpListener, acceptor: TlsAcceptor, router: Router) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the peer was gone already: neither gets better by hurry.
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(counted) = hub.admit(address.ip()) else {
            hub.metrics.tls_failed.inc();
            continue;
        };
        let connection = connection(
            Arc::clone(&hub),
            stream,
            Peer(address),
            counted,
            acceptor.clone(),
            Arc::clone(&handshakes),
            router.clone(),
        );
        connections.spawn(connection);
    }
}

async fn connection(
    hub: Arc<Hub>,
    stream: TcpStream,
    peer: Peer,
    counted: Counted,
    acceptor: TlsAcceptor,
    handshakes: Arc<Semaphore>,
    router: Router,
) {
    tune(&stream);
    // Boxed: the handshake's state is not carried through the life of the connection.
    let handshake = Box::pin(async {
        let _turn = handshakes.acquire().await.map_err(io::Error::other)?;
        acceptor.accept(stream).await
    });
    let stream = match tokio::time::timeout(PATIENCE, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) | Err(_) => {
            hub.metrics.tls_failed.inc();
            return;
        }
    };
    let io = TokioIo::new(CountedStream { stream, _counted: counted });
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 * 1024)
        .serve_connection(io, service)
        .with_upgrades();
    // A peer that goes away in the middle is no news.
    drop(Box::pin(served).await);
}

/// The kernel finds dead peers: nothing of ours wakes up for it.
fn tune(stream: &TcpStream) {
    let tuned = stream.set_nodelay(true).map_err(|error| error.to_string()).and_then(|()| {
        setsockopt(stream, sockopt::KeepAlive, &true)
            .and_then(|()| setsockopt(stream, sockopt::TcpKeepIdle, &60))
            .and_then(|()| setsockopt(stream, sockopt::TcpKeepInterval, &20))
            .and_then(|()| setsockopt(stream, sockopt::TcpKeepCount, &3))
            .and_then(|()| setsockopt(stream, sockopt::TcpUserTimeout, &60_000))
            .map_err(|error| error.to_string())
    });
    if let Err(error) = tuned {
        tracing::debug!(error, "a socket was not tuned");
    }
}

/// A stream that counts as one connection until it is dropped, upgraded or not.
#[derive(Debug)]
struct CountedStream {
    stream: TlsStream<TcpStream>,
    _counted: Counted,
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
