//! One request to a provider over HTTP/1.1, in TLS unless it stays on this machine. Nothing is kept between two.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For a whole request.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest answer that is read.
const LONGEST: usize = 1 << 20;

/// Where a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    tls: bool,
    host: String,
    port: u16,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not within the time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Slow,
    /// No connection, or it broke.
    #[error("the connection")]
    Io(#[from] std::io::Error),
    /// Not HTTP, or too long.
    #[error("the exchange failed: {0}")]
    Exchange(String),
}

/// Asks one provider.
pub struct Client {
    base: Base,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Base {
    /// `https://host[:port]`; `http://` only to this machine itself.
    pub fn parse(url: &str) -> Option<Self> {
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return None,
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (rest, if tls { 443 } else { 80 }),
        };
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
        let here = matches!(host, "127.0.0.1" | "localhost");
        (plain && !host.is_empty() && (tls || here)).then(|| Self { tls, host: host.to_owned(), port })
    }
}

impl Client {
    /// Trusts the authorities in a PEM file.
    pub fn new(base: Base, authorities: &Path) -> Result<Self, String> {
        if !base.tls {
            return Ok(Self { base, tls: None });
        }
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(authorities).map_err(|error| error.to_string())?;
        for certificate in certificates.flatten() {
            // Old ones that nobody can read are passed over, as everywhere.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            return Err("no certificate of an authority is in it".to_owned());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { base, tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// Status and body.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<(u16, Bytes), HttpError> {
        let exchange = self.exchange(method, path, headers, body);
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| HttpError::Slow)?
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<(u16, Bytes), HttpError> {
        let failed = |error: &dyn std::error::Error| HttpError::Exchange(error.to_string());
        let Base { host, port, .. } = &self.base;
        let mut request =
            Request::builder().method(method).uri(path).header("host", format!("{host}:{port}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).map_err(|error| failed(&error))?;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(host.clone()).map_err(|error| failed(&error))?;
                ask(tls.connect(name, stream).await?, request).await
            }
            None => ask(stream, request).await,
        }
    }
}

async fn ask<S>(stream: S, request: Request<Body>) -> Result<(u16, Bytes), HttpError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| HttpError::Exchange(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let answered = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let body = to_bytes(Body::new(response.into_body()), LONGEST).await;
        Ok((status, body.map_err(|error| HttpError::Exchange(error.to_string()))?))
    }
    .await;
    connection.abort();
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for (url, fits) in [
            ("https://api.example", true),
            ("https://api.example:8443/", true),
            ("http://127.0.0.1:4000", true),
            ("http://api.example", false),
            ("ftp://api.example", false),
            ("https://", false),
            ("https://a b", false),
            ("https://user@api.example", false),
        ] {
            assert_eq!(Base::parse(url).is_some(), fits, "{url}");
        }
    }
}
