//! Connections between peer clusters: TLS 1.3, both sides authenticated by pinned certificates. Knows what a
//! hello is, not what follows it.

use crate::ports::{Fingerprint, Identity, Peer, Peers};
use crate::protocol::{Frame, Hello, ProtocolError, Stream, VERSION};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme, version,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// A connection of which both ends are known.
pub type PeerStream = TlsStream<TcpStream>;

/// Time for connecting and greeting.
const GREETING_MAX: Duration = Duration::from_secs(5);

/// SHA-256 of a certificate's DER: what peers pin.
///
/// # Panics
/// Never: the digest has 32 bytes.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    let digest = aws_lc_rs_digest(certificate);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

fn aws_lc_rs_digest(bytes: &[u8]) -> ::aws_lc_rs::digest::Digest {
    ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, bytes)
}

/// Accepts exactly the certificates that a predicate knows.
struct Pinned {
    known: Box<dyn Fn(&Fingerprint) -> bool + Send + Sync>,
    provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pinned")
    }
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if (self.known)(&fingerprint(certificate)) {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The pin replaces names, chains and dates: it says exactly which certificate.
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::no_tls12()
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::no_tls12()
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn own(identity: Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key));
    (vec![CertificateDer::from(identity.certificate)], key)
}

fn invalid(error: impl std::fmt::Display) -> ProtocolError {
    ProtocolError::Io(std::io::Error::new(std::io::ErrorKind::InvalidInput, error.to_string()))
}

async fn in_time<T>(work: impl Future<Output = Result<T, ProtocolError>>) -> Result<T, ProtocolError> {
    match tokio::time::timeout(GREETING_MAX, work).await {
        Ok(result) => result,
        Err(_) => Err(ProtocolError::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Connects to `peer` and greets; the peer has accepted when this returns.
///
/// # Errors
/// Where the peer can't be reached, is not who the pin says, or refuses.
pub async fn connect(identity: Identity, peer: &Peer, hello: Hello) -> Result<PeerStream, ProtocolError> {
    let provider = provider();
    let pin = peer.fingerprint;
    let verifier = Pinned { known: Box::new(move |seen| *seen == pin), provider: provider.clone() };
    let (chain, key) = own(identity);
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(invalid)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(invalid)?;
    let name = ServerName::try_from("ferry-peer").map_err(invalid)?;
    in_time(async {
        let tcp = TcpStream::connect(peer.address).await?;
        tcp.set_nodelay(true)?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let mut stream = TlsStream::from(tls);
        write(&mut stream, &Frame::Hello(hello)).await?;
        match Frame::read(&mut stream).await? {
            Frame::Welcome => Ok(stream),
            other => Err(ProtocolError::Unexpected(other.name())),
        }
    })
    .await
}

/// Accepts a connection of a known peer and reads its greeting. The caller answers [`Frame::Welcome`].
///
/// # Errors
/// Where the other end is no known peer, or does not greet as it should.
pub async fn accept(
    peers: Arc<dyn Peers>,
    tcp: TcpStream,
) -> Result<(Peer, Hello, PeerStream), ProtocolError> {
    let provider = provider();
    let (chain, key) = own(peers.identity());
    let known = peers.clone();
    let verifier = Pinned {
        known: Box::new(move |seen| known.by_fingerprint(seen).is_some()),
        provider: provider.clone(),
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(invalid)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
        .map_err(invalid)?;
    in_time(async {
        tcp.set_nodelay(true)?;
        let tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await?;
        let mut stream = TlsStream::from(tls);
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let seen = certificate.map(|certificate| fingerprint(certificate));
        let peer = seen.and_then(|seen| peers.by_fingerprint(&seen));
        let peer = peer.ok_or(ProtocolError::Unexpected("peer without a known certificate"))?;
        match Frame::read(&mut stream).await? {
            Frame::Hello(hello) if hello.version == VERSION => Ok((peer, hello, stream)),
            Frame::Hello(_) => Err(ProtocolError::Unexpected("protocol version")),
            other => Err(ProtocolError::Unexpected(other.name())),
        }
    })
    .await
}

/// Writes one frame and flushes it out.
///
/// # Errors
/// [`ProtocolError::Io`] or [`ProtocolError::TooLong`].
pub async fn write(stream: &mut (impl AsyncWriteExt + Unpin), frame: &Frame) -> Result<(), ProtocolError> {
    stream.write_all(&frame.encode()?).await?;
    stream.flush().await?;
    Ok(())
}

/// The greeting of a stream of a migration.
#[must_use]
pub fn hello(migration: crate::model::MigrationId, stream: Stream) -> Hello {
    Hello { version: VERSION, migration, stream }
}
