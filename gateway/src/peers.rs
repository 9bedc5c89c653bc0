//! This cluster's identity towards other clusters, and the tokens by which two administrators introduce them.
//!
//! It makes and reads certificates and tokens; the connections are `migrate`'s. Private keys stay in the data
//! directory and are never shown.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use migrate::Identity;
use migrate::ports::Fingerprint;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

/// Longest token that is read, in bytes.
const TOKEN_LEN_MAX: usize = 16 << 10;

/// What one administrator hands to the other. No secret, but it must arrive unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerToken {
    /// Name of the cluster.
    pub cluster: String,
    /// Where it answers peers.
    pub address: SocketAddr,
    /// Its certificate, DER, base64.
    pub certificate: String,
}

/// Why a text is not a token.
#[derive(Debug, thiserror::Error)]
#[error("not a peer token ({0}); copy the whole output of `ferry peer show-identity` of the other cluster")]
pub struct TokenError(&'static str);

impl PeerToken {
    /// The token of a cluster.
    pub fn new(cluster: &str, address: SocketAddr, certificate: &[u8]) -> Self {
        PeerToken { cluster: cluster.to_owned(), address, certificate: URL_SAFE_NO_PAD.encode(certificate) }
    }

    /// As one word to copy.
    pub fn to_text(&self) -> String {
        // Three strings always make JSON.
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("ferry-peer-{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads what [`PeerToken::to_text`] wrote.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn from_text(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > TOKEN_LEN_MAX {
            return Err(TokenError("too long"));
        }
        let body = text.strip_prefix("ferry-peer-").ok_or(TokenError("it does not begin with `ferry-peer-`"))?;
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError("not base64"))?;
        serde_json::from_slice(&json).map_err(|_| TokenError("not the fields of a token"))
    }

    /// The certificate, DER.
    ///
    /// # Errors
    /// [`TokenError`] where it is no certificate.
    pub fn certificate_der(&self) -> Result<Vec<u8>, TokenError> {
        let der = URL_SAFE_NO_PAD.decode(&self.certificate).map_err(|_| TokenError("certificate: not base64"))?;
        // A DER SEQUENCE with a two-byte length, as every certificate is; the pin compares the rest byte by byte.
        if der.len() < 64 || der.first() != Some(&0x30) {
            return Err(TokenError("certificate: not DER"));
        }
        Ok(der)
    }
}

/// SHA-256 of a certificate, as pins use it.
pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, certificate).as_ref());
    sum
}

/// A fingerprint for people: `ab:cd:...`.
pub fn fingerprint_text(certificate: &[u8]) -> String {
    fingerprint(certificate).map(|byte| format!("{byte:02x}")).join(":")
}

/// Reads this cluster's identity from `dir`, or makes it on the first start.
///
/// # Errors
/// The host's, or a certificate that can't be made.
pub fn load_or_create_identity(dir: &Path, cluster: &str) -> io::Result<Identity> {
    let (certificate_path, key_path) = (dir.join("identity.cert.der"), dir.join("identity.key.der"));
    if certificate_path.exists() && key_path.exists() {
        return Ok(Identity { certificate: std::fs::read(certificate_path)?, key: std::fs::read(key_path)? });
    }
    let identity = create_identity(cluster)?;
    write_private(&key_path, &identity.key)?;
    write_private(&certificate_path, &identity.certificate)?;
    Ok(identity)
}

fn create_identity(cluster: &str) -> io::Result<Identity> {
    let mut params = rcgen::CertificateParams::new(vec!["ferry.invalid".to_owned()]).map_err(io::Error::other)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("ferry cluster {cluster}"));
    // Peers pin the certificate itself, so its dates decide nothing; expiry would only break a working pair.
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(4096, 1, 1);
    let key = rcgen::KeyPair::generate().map_err(io::Error::other)?;
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    Ok(Identity { certificate: certificate.der().to_vec(), key: key.serialize_der() })
}

/// Writes a file that only its owner may read, durably and whole: a crash leaves the old file or the new one.
///
/// # Errors
/// The host's.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let draft = path.with_extension("new");
    let mut file =
        std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    if let Some(dir) = path.parent() {
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_reads_back_and_garbage_is_refused() {
        let token = PeerToken::new("alpha", "127.0.0.1:7681".parse().unwrap(), &[0x30; 80]);
        assert_eq!(PeerToken::from_text(&format!(" {}\n", token.to_text())).unwrap(), token);
        assert_eq!(token.certificate_der().unwrap(), vec![0x30; 80]);
        let cut = &token.to_text()[..60];
        for bad in ["", "ferry-peer-", "ferry-peer-!", cut, "something"] {
            let error = PeerToken::from_text(bad).unwrap_err().to_string();
            assert!(error.contains("show-identity"), "{error}");
        }
        assert!(PeerToken::new("a", token.address, &[1; 80]).certificate_der().is_err());
    }

    #[test]
    fn the_identity_is_made_once_and_private() {
        let dir = std::env::temp_dir().join(format!("ferry-identity-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let first = load_or_create_identity(&dir, "alpha").unwrap();
        let second = load_or_create_identity(&dir, "alpha").unwrap();
        assert_eq!(first.certificate, second.certificate);
        assert_eq!(first.key, second.key);
        let mode = std::fs::metadata(dir.join("identity.key.der")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fingerprint_text(&first.certificate).len(), 95);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
