//! One socket, plain or inside TLS, with the options that every proxied connection gets.
//! Never reads ahead: what is not asked for stays in the kernel. Read `tls.rs` next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// Probes that keep address translators open and notice a peer that is gone (`research/clients.md`, finding 8).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

#[derive(Debug)]
pub enum Socket {
    Plain(TcpStream),
    Accepted(Box<server::TlsStream<TcpStream>>),
    Dialled(Box<client::TlsStream<TcpStream>>),
}

impl Socket {
    /// Sets the options of a fresh TCP connection.
    pub fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
        stream.set_nodelay(true)?;
        let probes = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        SockRef::from(&stream).set_tcp_keepalive(&probes)?;
        Ok(stream)
    }

    pub fn is_encrypted(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Accepted(_) | Self::Dialled(_) => true,
        }
    }

    /// `TLSv1.3` and the like; empty without TLS.
    pub fn tls_version(&self) -> &'static str {
        let version = match self {
            Self::Plain(_) => return "",
            Self::Accepted(stream) => stream.get_ref().1.protocol_version(),
            Self::Dialled(stream) => stream.get_ref().1.protocol_version(),
        };
        match version {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLS",
        }
    }

    /// What the other side has shown of itself.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        let chain = match self {
            Self::Plain(_) => None,
            Self::Accepted(stream) => stream.get_ref().1.peer_certificates(),
            Self::Dialled(stream) => stream.get_ref().1.peer_certificates(),
        };
        chain?.first()
    }

    /// Reads exactly one typed frame of at most `bytes_max` of body. For log-in only: the relay has its own buffers.
    pub async fn read_frame(&mut self, bytes_max: usize) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0u8; 5];
        self.read_exact(&mut header).await?;
        let cut = crate::wire::postgres::frame::Header::cut(&header).map_err(io::Error::other)?;
        let header = cut.ok_or_else(|| io::Error::other("header cut short"))?;
        if header.body_bytes > bytes_max {
            return Err(io::Error::other("message too long for a log-in"));
        }
        let mut body = vec![0; header.body_bytes];
        self.read_exact(&mut body).await?;
        Ok((header.tag, body))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Accepted(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Dialled(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Accepted(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Dialled(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Accepted(stream) => Pin::new(stream).poll_flush(cx),
            Self::Dialled(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Accepted(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Dialled(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
