//! The catalog's own connection: who it logs in as, and what it is set to.
//! Never runs anything but a READ ONLY transaction. Read `read.rs` next.
//!
//! What it needs: CONNECT on the database. `pg_catalog` is readable by everybody, but for the relations that hold
//! credentials or samples of data, none of which is asked for.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;
use zeroize::Zeroizing;

use super::CatalogError;

/// What the server lists the connection as.
const APPLICATION_NAME: &str = "countersign-catalog";

/// Where and as whom the catalog is read.
#[derive(Clone)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Zeroizing<String>,
    /// `None`: plaintext.
    pub tls: Option<Tls>,
    /// For connecting, and again for reading. The server gives up after the same time.
    pub timeout: Duration,
}

/// TLS towards the server, made from the settings that the proxy itself dials with.
#[derive(Clone)]
pub struct Tls {
    pub connector: TlsConnector,
    /// What a log-in on the channel is bound to; `None` binds nothing.
    pub end_point: fn(&CertificateDer<'_>) -> Option<Vec<u8>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.host, self.port)
    }
}

/// Connects and logs in. The connection is driven by a task that ends with the client.
pub async fn connect(settings: &Settings, database: &str) -> Result<Client, CatalogError> {
    let dialled = tokio::time::timeout(settings.timeout, dial(settings, database)).await;
    dialled.map_err(|_| CatalogError::TooSlow {
        database: database.to_owned(),
        seconds: settings.timeout.as_secs(),
    })?
}

async fn dial(settings: &Settings, database: &str) -> Result<Client, CatalogError> {
    let stream = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
    stream.set_nodelay(true)?;
    let mut config = Config::new();
    config
        .host(&settings.host)
        .user(&settings.user)
        .password(settings.password.as_bytes())
        .dbname(database)
        .application_name(APPLICATION_NAME);
    let client = match &settings.tls {
        None => {
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config
                .connect_raw(stream, tokio_postgres::NoTls)
                .await
                .map_err(refused)?;
            tokio::spawn(drive(connection));
            client
        }
        Some(tls) => {
            config.ssl_mode(SslMode::Require);
            let name = ServerName::try_from(settings.host.clone()).map_err(io::Error::other)?;
            let handshake = Handshake {
                tls: tls.clone(),
                name,
            };
            let (client, connection) = config.connect_raw(stream, handshake).await.map_err(refused)?;
            tokio::spawn(drive(connection));
            client
        }
    };
    Ok(client)
}

fn refused(error: tokio_postgres::Error) -> CatalogError {
    CatalogError::Refused(words(&error))
}

/// The server's own words where there are any; without them tokio-postgres says only `db error`.
pub fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => told.message().to_owned(),
        None => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                text.push_str(": ");
                text.push_str(&inner.to_string());
                cause = inner.source();
            }
            text
        }
    }
}

async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    if let Err(error) = connection.await {
        tracing::debug!(error = words(&error), "the catalog's connection has ended");
    }
}

/// The handshake for one connection, under the proxy's own rules for certificates.
struct Handshake {
    tls: Tls,
    name: ServerName<'static>,
}

impl TlsConnect<TcpStream> for Handshake {
    type Stream = Channel;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Channel>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let stream = self.tls.connector.connect(self.name, stream).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let end_point = shown.and_then(self.tls.end_point);
            Ok(Channel { stream, end_point })
        })
    }
}

struct Channel {
    stream: client::TlsStream<TcpStream>,
    end_point: Option<Vec<u8>>,
}

impl TlsStream for Channel {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point
            .clone()
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Channel {
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
