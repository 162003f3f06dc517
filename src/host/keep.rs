//! Small files that must survive: keys, state. Replaced whole, never half.
//!
//! Not for anything written often: flash of a router wears out.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::wire::sign::{BadKey, Identity};

/// Why a file could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Reading failed.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// Writing failed; what was there before is untouched.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// It is there and holds no key. It is left alone: whoever put it there may want it back.
    #[error("{path} holds no identity; move it away to get a new one")]
    NoIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BadKey,
    },
}

/// Replaces `path` by `bytes`: after a loss of power it holds the old or the new content, whole.
///
/// Temporary file, fsync, rename, fsync of the directory. `mode` as in chmod(2). The directory is made, 0700,
/// where it is missing. What root writes belongs to whom the directory belongs to: the daemon has to read it.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeepError> {
    try_replace(path, bytes, mode).map_err(|source| KeepError::Write { path: path.to_owned(), source })
}

fn try_replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    // What a crash left; it may have another mode or owner.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if nix::unistd::geteuid().is_root() {
            let owner = fs::metadata(dir)?;
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(dir)?.sync_all()
}

/// The content of `path`; `None` where there is no such file.
pub fn load(path: &Path) -> Result<Option<Vec<u8>>, KeepError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeepError::Read { path: path.to_owned(), source }),
    }
}

/// The identity in `path` (PKCS#8, 0600); a new one is made and kept where there is no such file.
pub fn load_identity(path: &Path) -> Result<Identity, KeepError> {
    match load(path)? {
        Some(document) => Identity::from_pkcs8(&document)
            .map_err(|source| KeepError::NoIdentity { path: path.to_owned(), source }),
        None => {
            let identity = Identity::generate();
            replace(path, identity.pkcs8(), 0o600)?;
            Ok(identity)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/file");
        for (bytes, mode) in [(b"old".as_slice(), 0o600), (b"new", 0o640)] {
            fs::write(dir.path().join("state/file.new"), b"left by a crash").ok();
            replace(&path, bytes, mode).unwrap();
            assert_eq!(load(&path).unwrap().unwrap(), bytes);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(load(&dir.path().join("absent")).unwrap(), None);
    }

    #[test]
    #[ignore = "needs root: sudo ./run test unit"]
    fn what_root_writes_is_for_the_owner_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(12345), Some(12346)).unwrap();
        let path = dir.path().join("file");
        replace(&path, b"for the daemon", 0o600).unwrap();
        let owner = fs::metadata(&path).unwrap();
        assert_eq!((owner.uid(), owner.gid(), owner.mode() & 0o777), (12345, 12346, 0o600));
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("kept"), b"kept").unwrap();
        assert!(matches!(replace(&path, b"new", 0o600), Err(KeepError::Write { .. })));
        assert_eq!(fs::read(path.join("kept")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn an_identity_is_made_once_and_a_damaged_one_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.pk8");
        let made = load_identity(&path).unwrap().public();
        assert_eq!(load_identity(&path).unwrap().public(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::write(&path, b"damaged").unwrap();
        assert!(matches!(load_identity(&path), Err(KeepError::NoIdentity { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"damaged");
    }
}
