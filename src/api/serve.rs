//! The listener of the API: limits, headers, TLS, graceful stop. Never knows a route by name: those are in `mod.rs`.
//! Read `problem.rs` for how errors look.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{self, AddExtension, Next};
use axum::response::{IntoResponse, Response};
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connections::Door;
use super::forwarded::{TrustedProxies, find_source};
use super::problem::{Kind, Problem};
use super::{Rooms, idempotency, routes};

/// Longer than any body of this API.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// A little longer than the longest long poll.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(75);
/// A client that has not sent its headers by then is not one.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than any path with its filters.
const HEADERS_BYTES_MAX: usize = 32 << 10;

/// The API's part of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub address: SocketAddr,
    pub certificate: Option<Certificate>,
    /// Connections from one address.
    pub connections_per_address: usize,
    /// Whose word counts for the address that a call comes from. They share most connections, and the rest is for everybody else.
    pub trusted_proxies: TrustedProxies,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("the API cannot listen on {address}: {error}")]
    Listen {
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("`{}` and `{}` are no certificate with its key: {why}", pair.cert_file.display(), pair.key_file.display())]
    Certificate { pair: Certificate, why: String },
}

impl ApiError {
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "stop what listens there, or set api.address",
            Self::Certificate { .. } => "name PEM files in api.cert_file and api.key_file",
        }
    }
}

/// The running API.
pub struct Api {
    pub local_addr: SocketAddr,
    handle: Handle<SocketAddr>,
    tls: Option<(RustlsConfig, Certificate)>,
}

impl Api {
    /// Takes no new calls, and ends the running ones after `grace`.
    pub fn stop(&self, grace: Duration) {
        self.handle.graceful_shutdown(Some(grace));
    }

    /// Reads the certificate again, if there is one; on an error the old one stays.
    pub fn reload_certificate(&self) -> Option<Result<(), ApiError>> {
        let (config, pair) = self.tls.as_ref()?;
        let read = server_config(pair).map(|read| config.reload_from_config(Arc::new(read)));
        Some(read)
    }
}

/// Listens and serves on the current runtime.
pub fn start(settings: &Settings, rooms: Rooms) -> Result<Api, ApiError> {
    start_with(settings, rooms, Router::new())
}

/// The same with the pages for people beside the API.
pub fn start_with(settings: &Settings, rooms: Rooms, pages: Router<Rooms>) -> Result<Api, ApiError> {
    let failed = |error| ApiError::Listen {
        address: settings.address,
        error,
    };
    let listener = std::net::TcpListener::bind(settings.address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    let tls = match &settings.certificate {
        Some(pair) => Some((
            RustlsConfig::from_config(Arc::new(server_config(pair)?)),
            pair.clone(),
        )),
        None => None,
    };
    let handle = Handle::new();
    let source = middleware::from_fn_with_state(settings.trusted_proxies.clone(), find_source);
    let router = router_with(rooms, pages).layer(source);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum_server::from_tcp(listener)
        .map_err(failed)?
        .handle(handle.clone());
    let door = Door::new(settings.connections_per_address, settings.trusted_proxies.clone());
    match &tls {
        Some((config, _)) => {
            let acceptor = RustlsAcceptor::new(config.clone()).acceptor(door);
            serve(server.acceptor(acceptor), service);
        }
        None => serve(server.acceptor(door), service),
    }
    Ok(Api {
        local_addr,
        handle,
        tls,
    })
}

/// Every route behind its limits, as a call meets them once its headers are read.
pub fn router(rooms: Rooms) -> Router {
    router_with(rooms, Router::new())
}

/// The same with the pages for people.
pub fn router_with(rooms: Rooms, pages: Router<Rooms>) -> Router {
    let (router, _document) = routes().split_for_parts();
    router
        .merge(pages)
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(rooms.clone(), idempotency::once))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(guard))
        .with_state(rooms)
}

/// A call with the address it comes from.
type Addressed = AddExtension<Router, ConnectInfo<SocketAddr>>;

/// Serves until the handle says to stop.
fn serve<A>(server: Server<SocketAddr, A>, service: IntoMakeServiceWithConnectInfo<Router, SocketAddr>)
where
    A: Accept<TcpStream, Addressed, Service = Addressed> + Clone + Send + Sync + 'static,
    A::Stream: AsyncRead + AsyncWrite + Unpin + Send,
    A::Future: Send,
{
    // HTTP/1 alone: its time-out for headers also ends clients that send nothing at all. Said last: a new acceptor
    // takes it back.
    let mut server = server.http1_only();
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADERS_BYTES_MAX);
    tokio::spawn(async move {
        if let Err(error) = server.serve(service).await {
            tracing::error!(%error, "the API has stopped serving");
        }
    });
}

/// Ends a call that takes too long, and puts on every answer what keeps a browser from misusing it.
async fn guard(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await;
    let mut response = answer.unwrap_or_else(|_| {
        Problem::new(Kind::TimedOut, "the call took too long", "try again").into_response()
    });
    secure(response.headers_mut());
    response
}

fn secure(headers: &mut HeaderMap) {
    let values = [
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ];
    for (name, value) in values {
        // Pages have said their own.
        let name = HeaderName::from_static(name);
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

async fn no_route(request: Request) -> Problem {
    Problem::not_found("route", request.uri().path())
}

async fn no_method(request: Request) -> Problem {
    let detail = format!(
        "`{}` is no method of `{}`",
        request.method(),
        request.uri().path()
    );
    Problem::new(
        Kind::MethodNotAllowed,
        detail,
        "read /api/v1/openapi.json for the methods there are",
    )
}

pub fn server_config(pair: &Certificate) -> Result<rustls::ServerConfig, ApiError> {
    let wrong = |why: String| ApiError::Certificate {
        pair: pair.clone(),
        why,
    };
    let chain = CertificateDer::pem_file_iter(&pair.cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&pair.key_file).map_err(|error| wrong(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
