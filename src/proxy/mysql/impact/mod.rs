//! Asks a MySQL or MariaDB server about statements that wait. Never for itself: `../../impact/mod.rs` says when and for
//! how long. Read `look.rs` next.

mod connection;
mod look;

use std::sync::Arc;

use crate::catalog::mysql::View;
use crate::hold::{Parameter, RequestId};
use crate::identity::principal::Peer;
use crate::policy::Redaction;
use crate::proxy::impact;
pub use crate::proxy::mysql::impact::look::Looker;
use crate::sql::action::Judgement;
use crate::sql::mysql_state::MysqlState;

/// A statement that waits, with what gives it its meaning.
pub struct Job {
    pub request: RequestId,
    pub peer: Arc<Peer>,
    /// The whole message.
    pub text: Arc<[u8]>,
    pub judgement: Arc<Judgement>,
    pub state: MysqlState,
    pub schema: Option<String>,
    pub role: String,
    /// `None`: no catalog is configured, or nothing is known of names now.
    pub catalog: Option<Arc<View>>,
    /// First those of the text's question marks, in their order.
    pub parameters: Vec<Parameter>,
    /// `None`: no column is labelled.
    pub redaction: Option<Redaction>,
}

impl impact::Job for Job {
    fn request(&self) -> RequestId {
        self.request
    }

    fn judgement(&self) -> &Judgement {
        &self.judgement
    }
}
