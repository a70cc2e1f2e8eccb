//! What the demo prints: one line for programs, or what a person pastes.
//!
//! Never prints anything else to stdout. Read `mod.rs` for where the values come from.

use std::path::PathBuf;

use reqwest::Url;
use serde::Serialize;

use super::shop;
use super::upstream::decoded;

/// Everything that somebody needs to use a running demo. Its JSON keys are a contract: later ones are added.
#[derive(Debug, Clone, Serialize)]
pub struct Sheet {
    /// The agent's connection string; none if PostgreSQL is not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres_url: Option<String>,
    /// Past the proxy, to the same database as the role that the agent is mapped to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_postgres_url: Option<String>,
    /// The agent's connection string for MySQL; none if it is not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql_url: Option<String>,
    /// Past the proxy, to the same schema as the account that the agent is mapped to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_mysql_url: Option<String>,
    pub api_url: String,
    /// Where people look and decide with a browser.
    pub web_url: String,
    /// What each person signs in with.
    pub log_ins: Vec<LogIn>,
    /// The log as a read-only database, with the auditor's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auditor_url: Option<String>,
    pub reviewer_token: String,
    pub second_reviewer_token: String,
    /// The agent's name.
    pub agent: String,
    /// Holds the store and the journal.
    pub data_dir: PathBuf,
}

/// How one person signs in, on the page or on the command line.
#[derive(Debug, Clone, Serialize)]
pub struct LogIn {
    pub person: String,
    pub roles: Vec<String>,
    pub token: String,
}

/// What a person needs to know besides.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    pub program: &'a str,
    pub reviewers: [&'a str; 2],
    pub is_kept: bool,
    pub has_postgres_shop: bool,
    pub has_mysql_shop: bool,
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
            api_url,
            web_url,
            reviewer_token,
            second_reviewer_token,
            ..
        } = self;
        let (agent, data_dir) = (&self.agent, self.data_dir.display());
        let servers = match (&self.postgres_url, &self.mysql_url) {
            (Some(_), Some(_)) => "a PostgreSQL and a MySQL or MariaDB",
            (Some(_), None) => "a PostgreSQL",
            (None, _) => "a MySQL or MariaDB",
        };
        let urls = self.postgres_url.iter().chain(&self.mysql_url);
        let urls = urls.map(|url| format!("  {url}\n")).collect::<String>();
        let lines = self.lines(about).join("\n  ");
        let past = self.admin_postgres_url.iter().chain(&self.admin_mysql_url);
        let past = past.map(|url| format!("  {url}\n")).collect::<String>();
        let auditor = self.auditor_url.iter();
        let auditor = auditor.map(|url| {
            format!("As the auditor, the log by SQL:\n  psql '{url}' -c 'SELECT time, principal, verdict, text FROM statements'\n\n")
        });
        let auditor = auditor.collect::<String>();
        let kept = if about.is_kept {
            "kept"
        } else {
            "gone at the end; keep it with --keep DIR"
        };
        format!(
            "Countersign is running in front of {servers}.

The agent's connection string (agent `{agent}`):
{urls}
As the agent, in a second terminal: a read passes, and a schema change hangs until a person approves it.
  {lines}

In a browser, {web_url} shows what waits; sign in as `{first}` with the token
  {reviewer_token}

Or as `{first}` in a third terminal:
  export COUNTERSIGN_API_URL={api_url} COUNTERSIGN_TOKEN={reviewer_token}
  {program} pending
  {program} show ID
  {program} approve ID
  {program} deny ID --reason 'billing reads it'
  {program} log query

{auditor}The second reviewer, `{second}`, has the token {second_reviewer_token}
Past the proxy, which an agent must never have:
{past}Store and journal: {data_dir} ({kept})

Ctrl-C ends everything.
"
        )
    }

    /// What the agent pastes: a read and a schema change for each protocol.
    fn lines(&self, about: Circumstances<'_>) -> Vec<String> {
        let statements = |has_shop: bool, create: &str| {
            if has_shop {
                let drop = format!("DROP TABLE {}", shop::DOOMED_TABLE);
                ["SELECT count(*) FROM orders".to_owned(), drop]
            } else {
                ["SELECT current_user".to_owned(), create.to_owned()]
            }
        };
        let postgres = self.postgres_url.iter().flat_map(|url| {
            let statements = statements(about.has_postgres_shop, "CREATE TABLE held ()");
            statements.map(|statement| format!("psql '{url}' -c '{statement}'"))
        });
        let mysql = self.mysql_url.iter().filter_map(|url| Url::parse(url).ok());
        let mysql = mysql.flat_map(|url| {
            let client = mariadb_command(&url);
            let statements = statements(about.has_mysql_shop, "CREATE TABLE held (id INT)");
            statements.map(|statement| format!("{client} -e '{statement}'"))
        });
        postgres.chain(mysql).collect()
    }
}

/// The command line that connects as this connection string says: `mariadb` takes none.
fn mariadb_command(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let schema = decoded(url.path().trim_start_matches('/')).unwrap_or_default();
    format!(
        "mariadb --host={host} --port={} --skip-ssl --user={} --password={} '{schema}'",
        url.port().unwrap_or(3306),
        url.username(),
        url.password().unwrap_or_default(),
    )
}
