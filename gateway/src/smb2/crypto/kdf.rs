//! The keys of an SMB 3 session (MS-SMB2 §3.1.4.2): SP800-108 in counter mode with HMAC-SHA256.

use aws_lc_rs::kdf::{KbkdfCtrHmacAlgorithmId, get_kbkdf_ctr_hmac_algorithm, kbkdf_ctr_hmac};
use zeroize::Zeroize;

use super::{Cipher, PreauthHash};

/// What besides the session key goes into the keys.
#[derive(Clone, Copy)]
pub enum Binding<'a> {
    /// Dialects 3.0 and 3.0.2: constants.
    Constant,
    /// Dialect 3.1.1: what was said before, up to the last SESSION_SETUP request of this session (on this channel).
    Preauth(&'a PreauthHash),
}

/// What a key is for, as seen from the server.
#[derive(Clone, Copy)]
enum Purpose {
    Signing,
    /// Server to client.
    Encryption,
    /// Client to server.
    Decryption,
    Application,
}

impl Purpose {
    /// Label and context, each with its NUL. `ServerIn ` does end with a blank.
    fn constant(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Signing => (b"SMB2AESCMAC\0", b"SmbSign\0"),
            Self::Encryption => (b"SMB2AESCCM\0", b"ServerOut\0"),
            Self::Decryption => (b"SMB2AESCCM\0", b"ServerIn \0"),
            Self::Application => (b"SMB2APP\0", b"SmbRpc\0"),
        }
    }

    /// The label of dialect 3.1.1, where the context is the hash.
    fn label_311(self) -> &'static [u8] {
        match self {
            Self::Signing => b"SMBSigningKey\0",
            Self::Encryption => b"SMBS2CCipherKey\0",
            Self::Decryption => b"SMBC2SCipherKey\0",
            Self::Application => b"SMBAppKey\0",
        }
    }
}

/// The keys of a session, as the server uses them; wiped when dropped.
pub struct SessionKeys {
    /// Session.SigningKey.
    pub signing: [u8; 16],
    /// Session.EncryptionKey: for what the server sends.
    pub encryption: Vec<u8>,
    /// Session.DecryptionKey: for what the client sends.
    pub decryption: Vec<u8>,
    /// Session.ApplicationKey.
    pub application: [u8; 16],
}

impl SessionKeys {
    /// All keys of a session. `session_key` is the whole of what the mechanism gave (Session.FullSessionKey): a cipher
    /// with 256 bits takes all of it, everything else its first 16 bytes.
    #[must_use]
    pub fn derive(session_key: &[u8], binding: Binding<'_>, cipher: Cipher) -> Self {
        let mut short = session_key_16(session_key);
        let secret = if cipher.key_bytes() == 16 { &short } else { session_key };
        let sealing = |purpose| {
            let mut key = vec![0; cipher.key_bytes()];
            derive(secret, purpose, binding, &mut key);
            key
        };
        let mut application = [0; 16];
        derive(&short, Purpose::Application, binding, &mut application);
        let keys = Self {
            signing: signing_key(session_key, binding),
            encryption: sealing(Purpose::Encryption),
            decryption: sealing(Purpose::Decryption),
            application,
        };
        short.zeroize();
        keys
    }
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.signing.zeroize();
        self.encryption.zeroize();
        self.decryption.zeroize();
        self.application.zeroize();
    }
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

/// Channel.SigningKey: all that a further channel of a session derives (MS-SMB2 §3.3.5.5.3).
#[must_use]
pub fn signing_key(session_key: &[u8], binding: Binding<'_>) -> [u8; 16] {
    let mut key = [0; 16];
    derive(&session_key_16(session_key), Purpose::Signing, binding, &mut key);
    key
}

/// Session.SessionKey: the first 16 bytes, filled up with zeros (MS-SMB2 §3.3.5.5.3).
fn session_key_16(full: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.iter_mut().zip(full).for_each(|(to, from)| *to = *from);
    key
}

/// The fixed input is Label, NUL, Context and the length in bits (SP800-108 §4.1).
fn derive(secret: &[u8], purpose: Purpose, binding: Binding<'_>, key: &mut [u8]) {
    const SHA256: KbkdfCtrHmacAlgorithmId = KbkdfCtrHmacAlgorithmId::Sha256;
    let (label, context): (&[u8], &[u8]) = match binding {
        Binding::Constant => purpose.constant(),
        Binding::Preauth(hash) => (purpose.label_311(), hash.as_bytes()),
    };
    let bits = u32::try_from(key.len() * 8).expect("keys are short");
    let input = [label, &[0], context, &bits.to_be_bytes()].concat();
    let algorithm = get_kbkdf_ctr_hmac_algorithm(SHA256).expect("SHA-256 is there");
    kbkdf_ctr_hmac(algorithm, secret, &input, key).expect("secret and key are not empty");
}
