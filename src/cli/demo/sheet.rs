//! What the demo prints: one line for programs, or what a person pastes.
//!
//! Never prints anything else to stdout. Read `mod.rs` for where the values come from.

use std::path::PathBuf;

use serde::Serialize;

use super::shop;

/// Everything that somebody needs to use a running demo. Its JSON keys are a contract: later ones are added.
#[derive(Debug, Clone, Serialize)]
pub struct Sheet {
    /// The agent's connection string.
    pub postgres_url: String,
    /// Past the proxy, to the same database as the role that the agent is mapped to.
    pub admin_postgres_url: String,
    pub api_url: String,
    pub reviewer_token: String,
    pub second_reviewer_token: String,
    /// The agent's name.
    pub agent: String,
    /// Holds the store and the journal.
    pub data_dir: PathBuf,
}

/// What a person needs to know besides.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    pub program: &'a str,
    pub reviewers: [&'a str; 2],
    pub is_kept: bool,
    pub has_shop: bool,
}

impl Sheet {
    /// What to paste, in the order in which a newcomer wants it.
    pub fn text(&self, about: Circumstances<'_>) -> String {
        let Circumstances {
            program,
            reviewers: [first, second],
            ..
        } = about;
        let Sheet {
            postgres_url,
            admin_postgres_url,
            api_url,
            reviewer_token,
            second_reviewer_token,
            ..
        } = self;
        let (agent, data_dir, doomed) = (&self.agent, self.data_dir.display(), shop::DOOMED_TABLE);
        let read = if about.has_shop {
            "SELECT count(*) FROM orders"
        } else {
            "SELECT current_user"
        };
        let drop = format!("psql '{postgres_url}' -c 'DROP TABLE {doomed}'");
        let waits = if about.has_shop {
            drop
        } else {
            format!("psql '{postgres_url}' -c 'CREATE TABLE held ()'")
        };
        let kept = if about.is_kept {
            "kept"
        } else {
            "gone at the end; keep it with --keep DIR"
        };
        format!(
            "Countersign is running in front of a PostgreSQL.

The agent's connection string (agent `{agent}`):
  {postgres_url}

As the agent, in a second terminal: a read passes, and this schema change hangs until a person approves it.
  psql '{postgres_url}' -c '{read}'
  {waits}

As the reviewer `{first}`, in a third terminal:
  export COUNTERSIGN_API_URL={api_url} COUNTERSIGN_TOKEN={reviewer_token}
  {program} pending
  {program} show ID
  {program} approve ID
  {program} deny ID --reason 'billing reads it'
  {program} log query

The second reviewer, `{second}`, has the token {second_reviewer_token}
Past the proxy, which an agent must never have: {admin_postgres_url}
Store and journal: {data_dir} ({kept})

Ctrl-C ends everything.
"
        )
    }
}
