//! Asks a PostgreSQL server about statements that wait. Never for itself: `../../impact/mod.rs` says when and for how long.
//! Read `connection.rs`, then `look.rs`.

mod connection;
mod facts;
mod look;

use std::sync::Arc;

use crate::hold::{Parameter, RequestId};
use crate::identity::principal::Peer;
use crate::policy::Redaction;
use crate::proxy::impact;
pub use crate::proxy::postgres::impact::look::Looker;
use crate::sql::action::Judgement;
use crate::sql::names::Catalog;
use crate::sql::statement::LexingState;

/// A statement that waits, with what gives it its meaning.
pub struct Job {
    pub request: RequestId,
    pub peer: Arc<Peer>,
    /// The whole message.
    pub text: Arc<[u8]>,
    pub judgement: Arc<Judgement>,
    pub lexing: LexingState,
    /// `None`: no catalog is configured.
    pub catalog: Option<Arc<dyn Catalog>>,
    pub parameters: Vec<Parameter>,
    /// `None`: no column is labelled.
    pub redaction: Option<Redaction>,
    /// The body of its Bind; empty: none.
    pub bound: Vec<u8>,
    pub search_path: String,
    pub role: String,
    /// It speaks as somebody else than it logged in as, which another connection cannot.
    pub is_another_user: bool,
    /// Identity of the names it resolved to, as the session's own connection sees them.
    pub names: String,
}

impl impact::Job for Job {
    fn request(&self) -> RequestId {
        self.request
    }

    fn judgement(&self) -> &Judgement {
        &self.judgement
    }
}
