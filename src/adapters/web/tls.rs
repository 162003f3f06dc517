//! A certificate in files, read again when they change. One that cannot be read leaves the one before in use.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key is not that of the certificate.
    #[error("{}: {source}", path.display())]
    Pair {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// The files of a certificate and its key, with what was in them last.
#[derive(Clone, Debug)]
pub struct Certificate {
    files: Arc<[PathBuf; 2]>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    looked: Option<Instant>,
    changed: Option<[SystemTime; 2]>,
    config: Option<Arc<ServerConfig>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("changed", &self.changed).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Nothing is read yet.
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { files: Arc::new([certificate, key]), state: Arc::default() }
    }

    /// Whether there is one that could be served, and else why not.
    pub fn check(&self) -> Result<(), TlsError> {
        self.load().map(drop)
    }

    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = state.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY);
        if !fresh {
            state.looked = Some(Instant::now());
            let changed = self.changed();
            if state.config.is_none() || (changed.is_some() && changed != state.changed) {
                match self.load() {
                    Ok(config) => {
                        state.config = Some(config);
                        state.changed = changed;
                    }
                    Err(error) if state.config.is_some() => {
                        state.changed = changed;
                        tracing::warn!(%error, "the portal goes on with the certificate that it had");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let none = || TlsError::File { path: self.files[0].clone(), why: "no certificate yet".to_owned() };
        state.config.clone().map(TlsAcceptor::from).ok_or_else(none)
    }

    fn changed(&self) -> Option<[SystemTime; 2]> {
        let of = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
        Some([of(&self.files[0])?, of(&self.files[1])?])
    }

    fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let [certificate, key] = &*self.files;
        let wrong = |path: &PathBuf| {
            let path = path.clone();
            move |why: String| TlsError::File { path, why }
        };
        let read = |path: &PathBuf| fs::read(path).map_err(|error| wrong(path)(error.to_string()));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(certificate)(error.to_string()))?;
        let text = zeroize::Zeroizing::new(read(key)?);
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong(key)(error.to_string()))?;
        let pair = |source| TlsError::Pair { path: certificate.clone(), source };
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(pair)?
                .with_no_client_auth()
                .with_single_cert(chain, private)
                .map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
