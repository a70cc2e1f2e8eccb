//! Sockets: clients on one side, the server on the other, one task for each pair.
//! Never judges and never decides: it asks `sql`, `policy` and `desk`, and forwards what holds a permit.
//! Read `listen.rs`, `arrive.rs`, `prove.rs`, `login.rs`, then `session.rs`.
//!
//! Why one runtime per core: a session stays where it was accepted and both its directions are one task, so a small
//! statement costs no wake-up of another thread (measured: 5 to 15 % less CPU than a shared runtime).

mod arrive;
mod end_point;
mod facts;
mod impact;
mod judgements;
mod judging;
mod listen;
mod login;
mod outbound;
mod own_cancel;
mod own_names;
mod parameters;
mod park;
mod pipe;
mod prove;
mod refusal;
mod refuse;
mod registry;
mod runs;
mod session;
mod sight;
mod socket;
mod startup;
mod statements;
mod thread;
mod throttle;
mod tls;
mod turn;
mod unit;
mod upstream;

use std::net::SocketAddr;
use std::time::Duration;

use crate::catalog::postgres as catalog;
use crate::identity::directory::Agent;

pub use listen::{ProxyError, ProxyHandle, start};
pub use tls::{ClientAuthority, ListenFiles, ListenTls, TlsError, UpstreamTls, check as check_tls};
pub use upstream::{Settings as UpstreamSettings, User as UpstreamUser};

/// TLS for the catalog's own connection, as the sessions have it; `None`: none.
pub fn catalog_tls(settings: &UpstreamTls) -> Result<Option<catalog::Tls>, TlsError> {
    let connector = tls::connector(settings)?;
    Ok(connector.map(|connector| catalog::Tls {
        connector,
        end_point: end_point::end_point,
    }))
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

/// The proxy's part of the settings.
#[derive(Clone)]
pub struct Settings {
    pub listen: SocketAddr,
    pub tls: ListenTls,
    pub upstream: UpstreamSettings,
    pub limits: Limits,
    /// Users of the database who log in with their own password.
    pub pass_through: Vec<Agent>,
    pub audit: AuditMode,
    /// Wire threads; as many as there are cores by default.
    pub threads: usize,
}
