//! Certificates and TLS settings, towards clients and towards the server. Never falls back to plaintext by itself.
//! Read `upstream.rs` next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::proxy::end_point::end_point;
use arc_swap::ArcSwap;
use mysql_async::SslOpts;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// TLS on the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenTls {
    Off,
    Offered(ListenFiles),
    Required(ListenFiles),
}

/// The PEM files behind TLS on the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// `None`: clients are not asked for certificates.
    pub clients: Option<ClientAuthority>,
}

/// Who signs the certificates of clients. A client needs none, but what it shows must be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthority {
    pub ca_file: PathBuf,
    /// Then each certificate of a chain must be on a list that is not out of date, and not be revoked.
    pub crl_file: Option<PathBuf>,
}

impl ListenTls {
    pub fn files(&self) -> Option<&ListenFiles> {
        match self {
            Self::Off => None,
            Self::Offered(files) | Self::Required(files) => Some(files),
        }
    }
}

/// TLS towards the server, in libpq's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamTls {
    Disable,
    /// Encrypted; the certificate is not looked at.
    Require,
    /// Signed by a known authority, whatever name it carries.
    VerifyCa {
        ca_file: Option<PathBuf>,
    },
    VerifyFull {
        ca_file: Option<PathBuf>,
    },
}

impl UpstreamTls {
    pub fn ca_file(&self) -> Option<&Path> {
        match self {
            Self::Disable | Self::Require => None,
            Self::VerifyCa { ca_file } | Self::VerifyFull { ca_file } => ca_file.as_deref(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("`{file}` cannot be read as {what}: {cause}")]
    File {
        file: PathBuf,
        what: &'static str,
        cause: String,
    },
    #[error("TLS settings are contradictory: {0}")]
    Settings(String),
}

impl TlsError {
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::File { .. } => "give a PEM file that this process may read",
            Self::Settings(_) => "check that the key belongs to the certificate",
        }
    }
}

/// What PostgreSQL calls its protocol inside TLS. A client that names others only is refused by rustls, as by the server.
/// Source: PostgreSQL docs, protocol-flow.html#PROTOCOL-FLOW-SSL
pub const ALPN_POSTGRES: &[u8] = b"postgresql";

/// The protocol that both sides must name inside TLS; `None`: MySQL's, which has no name.
pub type Alpn = Option<&'static [u8]>;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// TLS towards clients, as its files say. Read again on demand: connections from then on meet what is new, and those
/// that are open keep what they have.
pub struct Listener {
    files: ListenFiles,
    alpn: Alpn,
    current: ArcSwap<Shown>,
}

/// What clients are shown.
struct Shown {
    acceptor: TlsAcceptor,
    end_point: Option<Arc<[u8]>>,
}

/// A client's side of TLS, after the handshake.
pub struct Accepted {
    pub stream: TlsStream<TcpStream>,
    /// What a log-in on this very channel is bound to: of the certificate that was shown here, which may be another by
    /// now. `None` if it binds nothing.
    pub end_point: Option<Arc<[u8]>>,
}

impl Accepted {
    /// Whether both sides have said that this is PostgreSQL's protocol.
    pub fn is_agreed(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(ALPN_POSTGRES)
    }
}

impl Listener {
    /// `None` when TLS is off.
    pub fn open(settings: &ListenTls, alpn: Alpn) -> Result<Option<Self>, TlsError> {
        let open = |files: &ListenFiles| {
            Ok(Self {
                files: files.clone(),
                alpn,
                current: ArcSwap::from_pointee(Shown::read(files, alpn)?),
            })
        };
        settings.files().map(open).transpose()
    }

    /// On an error everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(Shown::read(&self.files, self.alpn)?));
        Ok(())
    }

    pub async fn accept(&self, stream: TcpStream) -> io::Result<Accepted> {
        let shown = self.current.load_full();
        Ok(Accepted {
            stream: shown.acceptor.accept(stream).await?,
            end_point: shown.end_point.clone(),
        })
    }
}

impl Shown {
    fn read(files: &ListenFiles, alpn: Alpn) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|error| TlsError::File {
            file: files.key_file.clone(),
            what: "a private key",
            cause: error.to_string(),
        })?;
        let chain = certificates(&files.cert_file)?;
        let end_point = chain.first().and_then(end_point).map(Arc::from);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(settings_error)?
            .with_client_cert_verifier(client_verifier(files.clients.as_ref())?)
            .with_single_cert(chain, key)
            .map_err(settings_error)?;
        // As PostgreSQL has it: a resumed session would carry over what was checked under files that are gone since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            end_point,
        })
    }
}

/// Reads every file that the settings name, and starts nothing.
pub fn check(listen: &ListenTls, upstream: &UpstreamTls) -> Result<(), TlsError> {
    Listener::open(listen, None)?;
    connector(upstream, None).map(|_| ())
}

/// What speaks TLS to the server; `None` when it is off.
pub fn connector(settings: &UpstreamTls, alpn: Alpn) -> Result<Option<TlsConnector>, TlsError> {
    let verifier: Arc<dyn ServerCertVerifier> = match settings {
        UpstreamTls::Disable => return Ok(None),
        UpstreamTls::Require => Arc::new(AnyCertificate(provider())),
        UpstreamTls::VerifyCa { ca_file } => Arc::new(AnyName(webpki(ca_file.as_deref())?)),
        UpstreamTls::VerifyFull { ca_file } => webpki(ca_file.as_deref())?,
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(settings_error)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // As libpq does since 17: servers from 17 on know it, older ones do not look at it.
    config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// The same for a driver that makes its own connections. Under `verify-ca` it looks at the name as well: rustls tells it of
/// a wrong name in words that it does not know.
pub fn driver_options(settings: &UpstreamTls) -> Result<Option<SslOpts>, TlsError> {
    let options = SslOpts::default();
    Ok(Some(match settings {
        UpstreamTls::Disable => return Ok(None),
        UpstreamTls::Require => options.with_danger_accept_invalid_certs(true),
        UpstreamTls::VerifyCa { ca_file } => {
            with_authority(options, ca_file.as_deref())?.with_danger_skip_domain_validation(true)
        }
        UpstreamTls::VerifyFull { ca_file } => with_authority(options, ca_file.as_deref())?,
    }))
}

/// Without a file the driver trusts what `webpki` above does.
fn with_authority(options: SslOpts, ca_file: Option<&Path>) -> Result<SslOpts, TlsError> {
    let Some(file) = ca_file else {
        return Ok(options);
    };
    let authorities = certificates(file)?
        .into_iter()
        .map(|authority| authority.as_ref().to_vec().into());
    Ok(options
        .with_disable_built_in_roots(true)
        .with_root_certs(authorities.collect()))
}

fn client_verifier(authority: Option<&ClientAuthority>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(authority) = authority else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let roots = Arc::new(roots(&authority.ca_file)?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .enforce_revocation_expiration();
    if let Some(file) = &authority.crl_file {
        builder = builder.with_crls(revocations(file)?);
    }
    builder.build().map_err(|error| TlsError::File {
        file: authority
            .crl_file
            .clone()
            .unwrap_or_else(|| authority.ca_file.clone()),
        what: "an authority or its revocations",
        cause: error.to_string(),
    })
}

fn revocations(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    pem(
        file,
        "revocation lists",
        CertificateRevocationListDer::pem_file_iter(file),
    )
}

fn settings_error(error: impl std::fmt::Display) -> TlsError {
    TlsError::Settings(error.to_string())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem(file, "certificates", CertificateDer::pem_file_iter(file))
}

/// All that a file holds, which must be something.
fn pem<T>(
    file: &Path,
    what: &'static str,
    items: Result<impl Iterator<Item = Result<T, pem::Error>>, pem::Error>,
) -> Result<Vec<T>, TlsError> {
    let unreadable = |cause: String| TlsError::File {
        file: file.to_owned(),
        what,
        cause,
    };
    let read: Result<Vec<_>, _> = items.and_then(Iterator::collect);
    let read = read.map_err(|error| unreadable(error.to_string()))?;
    if read.is_empty() {
        Err(unreadable("it holds none".to_owned()))
    } else {
        Ok(read)
    }
}

fn roots(ca_file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_file)? {
        roots.add(certificate).map_err(|error| TlsError::File {
            file: ca_file.to_owned(),
            what: "an authority",
            cause: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn webpki(ca_file: Option<&Path>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let roots = match ca_file {
        Some(file) => roots(file)?,
        None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(settings_error)
}

/// `verify-ca`: the chain counts, the name does not.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// `require`: encryption only. The settings file says plainly that this stops no active attacker.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
