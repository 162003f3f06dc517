//! The coordinator's key, and a certificate for that very key.
//!
//! The key is what gateways and terminals pinned when they enrolled: losing it cuts all of them off. So it is
//! made once, and an unreadable or missing one beside an existing database is an error, never a reason for a
//! new one. The certificate around it is made anew at each start; its dates decide nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::host::keep::{self, KeepError};
use crate::wire::sign::Identity;

/// The file in the state directory: PKCS#8, DER, 0600.
pub const FILE: &str = "identity.key";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file system says no.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The file is damaged.
    #[error("{}: not an Ed25519 private key; put the file back from a copy (a new key would cut off every gateway and terminal)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("{}: others than its owner may read it (mode {mode:o}); if nobody did, chmod 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There is a database and no key.
    #[error("{}: missing beside an existing database; put the file back from a copy (a new key would cut off every gateway and terminal)", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// No certificate could be made.
    #[error("no certificate: {why}")]
    Certificate {
        /// For people.
        why: String,
    },
}

/// The key kept in the state directory; made if this is the first start ever.
pub fn load_or_create(state_dir: &Path, database: &Path) -> Result<Identity, IdentityError> {
    let path = state_dir.join(FILE);
    let Some(document) = keep::load(&path)? else {
        if database.exists() {
            return Err(IdentityError::Missing { path });
        }
        let identity = Identity::generate();
        keep::replace(&path, identity.pkcs8(), 0o600)?;
        return Ok(identity);
    };
    let metadata = fs::metadata(&path);
    let mode = metadata.map_err(|source| KeepError::Read { path: path.clone(), source })?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path, mode });
    }
    Identity::from_pkcs8(&document).map_err(|_| IdentityError::Damaged { path })
}

/// TLS 1.3 with a self-signed certificate for the identity's key.
pub fn tls_config(identity: &Identity, name: &str) -> Result<Arc<ServerConfig>, IdentityError> {
    let failed = |why: String| IdentityError::Certificate { why };
    let document = PrivatePkcs8KeyDer::from(identity.pkcs8().to_vec());
    let key = rcgen::KeyPair::try_from(&document).map_err(|error| failed(error.to_string()))?;
    let mut params =
        rcgen::CertificateParams::new(vec![name.to_owned()]).map_err(|error| failed(error.to_string()))?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "wayleave coordinator");
    let certificate = params.self_signed(&key).map_err(|error| failed(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::from(document.clone_key()),
        )
        .map_err(|error| failed(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Tickets without a table on our side: a storm of reconnects is cheaper.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| failed(error.to_string()))?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let (file, database) = (state.join(FILE), state.join("wayleave.db"));
        let first = load_or_create(&state, &database).unwrap().public();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&state, &database).unwrap().public(), first);

        fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        let error = load_or_create(&state, &database).unwrap_err();
        assert!(matches!(error, IdentityError::Exposed { mode: 0o640, .. }), "{error}");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        let good = fs::read(&file).unwrap();
        for bad in [&b""[..], &good[..40], &[0; 83]] {
            fs::write(&file, bad).unwrap();
            let error = load_or_create(&state, &database).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert_eq!(fs::read(&file).unwrap(), bad, "left as it was");
        }
        fs::write(&database, "").unwrap();
        fs::remove_file(&file).unwrap();
        let error = load_or_create(&state, &database).unwrap_err();
        assert!(matches!(error, IdentityError::Missing { .. }), "{error}");
    }

    #[test]
    fn the_certificate_is_for_the_key() {
        let identity = Identity::generate();
        for name in ["coordinator.example", "192.0.2.1", "2001:db8::1"] {
            tls_config(&identity, name).unwrap();
        }
    }
}
