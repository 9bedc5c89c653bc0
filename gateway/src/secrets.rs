//! The cluster's key, with which secrets of users are encrypted before they rest in the configuration store: who reads
//! the store alone, say in a backup, learns none of them.
//!
//! AES-256-GCM. The key is in a file of the data directory beside the node's other private keys; it is made when the
//! first secret is to be kept, and never shown.

use crate::peers::write_private;
use crate::store::Sealed;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};

const KEY_LEN: usize = 32;
/// How secrets are sealed: their first byte.
const VERSION: u8 = 1;

/// Why a secret can't be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The key can't be had.
    #[error("the cluster's key {path}: {error}")]
    Key {
        /// Its file.
        path: PathBuf,
        /// What the host said.
        error: io::Error,
    },
    /// It was sealed with another key, for another purpose, or is damaged.
    #[error("a secret does not open with the cluster's key {0}")]
    Closed(PathBuf),
}

/// Seals and opens secrets.
pub struct Secrets {
    path: PathBuf,
    key: Mutex<Option<RandomizedNonceKey>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.path.display())
    }
}

impl Secrets {
    /// With the key in this directory. Nothing is read or made before it is needed.
    pub fn in_dir(dir: &Path) -> Self {
        Secrets { path: dir.join("secrets.key"), key: Mutex::default() }
    }

    /// Encrypts a secret. It opens only for the same purpose, so that none can be put in another's place.
    ///
    /// # Errors
    /// The host's.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Sealed, SecretError> {
        self.with_key(true, |key| {
            let mut body = secret.to_vec();
            let nonce = key.seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut body).ok()?;
            Some(Sealed([&[VERSION][..], nonce.as_ref(), &body].concat()))
        })
    }

    /// Decrypts what [`Secrets::seal`] made for the same purpose.
    ///
    /// # Errors
    /// [`SecretError`]
    pub fn open(&self, purpose: &str, sealed: &Sealed) -> Result<Vec<u8>, SecretError> {
        self.with_key(false, |key| {
            let (version, rest) = sealed.0.split_first()?;
            let (nonce, body) = rest.split_at_checked(NONCE_LEN).filter(|_| *version == VERSION)?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut body = body.to_vec();
            let secret = key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut body).ok()?;
            Some(secret.to_vec())
        })
    }

    fn with_key<T>(
        &self,
        may_make: bool,
        work: impl FnOnce(&RandomizedNonceKey) -> Option<T>,
    ) -> Result<T, SecretError> {
        let mut key = self.key.lock();
        if key.is_none() {
            let read = self.read_or_make(may_make);
            *key = Some(read.map_err(|error| SecretError::Key { path: self.path.clone(), error })?);
        }
        key.as_ref().and_then(work).ok_or_else(|| SecretError::Closed(self.path.clone()))
    }

    fn read_or_make(&self, may_make: bool) -> io::Result<RandomizedNonceKey> {
        let bytes = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_make => {
                let mut bytes = vec![0; KEY_LEN];
                aws_lc_rs::rand::fill(&mut bytes).map_err(io::Error::other)?;
                write_private(&self.path, &bytes)?;
                bytes
            }
            read => read?,
        };
        RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("it is not {KEY_LEN} bytes long"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_opens_only_for_its_purpose_and_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Secrets::in_dir(dir.path()).seal("a", b"password").unwrap();
        assert!(!sealed.0.windows(4).any(|part| part == b"pass"));
        let again = Secrets::in_dir(dir.path());
        assert_eq!(again.open("a", &sealed).unwrap(), b"password", "the key is kept");
        assert_ne!(again.seal("a", b"password").unwrap(), sealed, "nobody sees that two are the same");
        assert!(matches!(again.open("b", &sealed), Err(SecretError::Closed(_))));
        for at in 0..sealed.0.len() {
            let mut damaged = sealed.clone();
            damaged.0[at] ^= 1;
            assert!(again.open("a", &damaged).is_err(), "byte {at}");
            assert!(again.open("a", &Sealed(sealed.0[..at].to_vec())).is_err(), "{at} bytes");
        }
        let mode = std::fs::metadata(dir.path().join("secrets.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let other = tempfile::tempdir().unwrap();
        let stranger = Secrets::in_dir(other.path());
        assert!(matches!(stranger.open("a", &sealed), Err(SecretError::Key { .. })));
        assert!(!other.path().join("secrets.key").exists(), "opening makes no key");
        stranger.seal("a", b"x").unwrap();
        assert!(matches!(stranger.open("a", &sealed), Err(SecretError::Closed(_))));
        std::fs::write(dir.path().join("secrets.key"), b"short").unwrap();
        let error = Secrets::in_dir(dir.path()).seal("a", b"x").unwrap_err().to_string();
        assert!(error.contains("secrets.key") && error.contains("32 bytes"), "{error}");
    }
}
