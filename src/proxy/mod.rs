//! Sockets: clients on one side, the server on the other, one task for each pair.
//! Never judges and never decides: it asks `sql`, `policy` and `desk`, and forwards what holds a permit.
//! Read `listen.rs`, then `postgres/mod.rs` or `mysql/mod.rs`.
//!
//! Why one runtime per core: a session stays where it was accepted and both its directions are one task, so a small
//! statement costs no wake-up of another thread (measured: 5 to 15 % less CPU than a shared runtime).

mod attempts;
mod end;
mod end_point;
mod impact;
mod judgements;
mod listen;
pub mod mysql;
mod outbound;
mod pipe;
pub mod postgres;
mod redact;
mod refusal;
mod registry;
mod socket;
mod thread;
mod tls;
mod waiting;

use std::net::SocketAddr;
use std::time::Duration;

use zeroize::Zeroizing;

pub use crate::catalog::keepers::Catalogs;
use crate::catalog::postgres as catalog;
use crate::identity::directory::Agent;

/// What the log and `ProxyHandle` call each protocol.
pub const POSTGRES_NAME: &str = "PostgreSQL";
pub const MYSQL_NAME: &str = "MySQL";

pub use listen::{ProxyError, ProxyHandle, start};
pub use socket::Socket;
pub use tls::{
    ALPN_POSTGRES, ClientAuthority, ListenFiles, ListenTls, Listener, TlsError, UpstreamTls,
    check as check_tls,
};

/// TLS for the catalog's own connection, as the sessions have it; `None`: none.
pub fn catalog_tls(settings: &UpstreamTls) -> Result<Option<catalog::Tls>, TlsError> {
    let connector = tls::connector(settings, Some(tls::ALPN_POSTGRES))?;
    Ok(connector.map(|connector| catalog::Tls {
        connector,
        end_point: end_point::end_point,
    }))
}

/// The same for the catalog of a MySQL server, whose driver makes its own connection.
pub fn mysql_catalog_tls(settings: &UpstreamTls) -> Result<Option<mysql_async::SslOpts>, TlsError> {
    tls::driver_options(settings)
}

/// When records of reads are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMode {
    /// Reads are written before they run, everything else is on disk before it runs.
    Ordered,
    /// Reads too are on disk before they run.
    Durable,
}

/// Limits of the proxy; every one has an error that names it.
#[derive(Clone, Debug)]
pub struct Limits {
    pub connections_max: usize,
    /// From the first byte to the first ReadyForQuery.
    pub login: Duration,
    /// How long a connection waits for a decision.
    pub wait: Duration,
    /// The same for agents of the profile `mcp`.
    pub wait_mcp: Duration,
    /// The same inside a transaction, whose locks stay held.
    pub wait_transaction: Duration,
    /// How long a person may decide.
    pub expires: Duration,
    /// What a session keeps of its client's bytes while it waits.
    pub session_buffer_bytes: usize,
}

/// The proxy's part of the settings. A protocol without a part is not served.
#[derive(Clone)]
pub struct Settings {
    pub postgres: Option<Front>,
    pub mysql: Option<Front>,
    pub limits: Limits,
    pub audit: AuditMode,
    /// Wire threads; as many as there are cores by default.
    pub threads: usize,
}

impl Settings {
    /// The protocols that are served.
    pub fn fronts(&self) -> impl Iterator<Item = &Front> {
        self.postgres.iter().chain(&self.mysql)
    }
}

/// One protocol: where its clients connect, and the server behind it.
#[derive(Clone)]
pub struct Front {
    pub listen: SocketAddr,
    pub tls: ListenTls,
    pub upstream: UpstreamSettings,
    /// Users of the database who log in with their own password.
    pub pass_through: Vec<Agent>,
}

/// The server behind the proxy.
#[derive(Clone)]
pub struct UpstreamSettings {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub tls: UpstreamTls,
    /// Databases that anybody may connect to; empty: all.
    pub databases: Vec<String>,
    pub users: Vec<UpstreamUser>,
}

/// A database user of the server, and its password.
#[derive(Clone)]
pub struct UpstreamUser {
    pub name: String,
    pub password: Zeroizing<String>,
}
