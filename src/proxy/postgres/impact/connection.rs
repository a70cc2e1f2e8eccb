//! A connection on which the server is asked about a statement that waits: logged in as the session's database user, in a
//! transaction that cannot write. Never used for anything else, and closed after one statement's questions.
//! Read `look.rs` next.

use std::io;

use tokio::io::AsyncWriteExt;

use crate::proxy::postgres::upstream::{DialError, Dialler};
use crate::proxy::socket::Socket;
use crate::wire::postgres::frame::put;
use crate::wire::postgres::message::{Bind, Fields, Parse, client, data_row, put_execute, put_query, server};

/// A plan or a list of facts is never longer; whatever is, is not read. Units: bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What the server lists the connection as.
const APPLICATION_NAME: &str = "countersign-impact";

/// Nothing in it can write, wait long for a lock, or stay.
const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ ONLY; \
                     SET LOCAL statement_timeout = '2s'; \
                     SET LOCAL lock_timeout = '200ms'; \
                     SET LOCAL idle_in_transaction_session_timeout = '5s'";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("its connection was lost: {0}")]
    Lost(#[from] io::Error),
    /// The server's own words.
    #[error("{}", .0.message)]
    Server(Box<Fields>),
    #[error("the server's answer cannot be read")]
    Unreadable,
}

impl NoAnswer {
    /// The connection can be asked something else, once the transaction is back at its savepoint.
    pub fn is_of_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }
}

pub struct Connection {
    socket: Socket,
}

/// A question with its parameters, each as text unless `formats` says otherwise.
pub struct Question<'q> {
    pub text: &'q [u8],
    pub types: Vec<u32>,
    pub formats: Vec<u16>,
    pub values: Vec<Option<&'q [u8]>>,
}

impl<'q> Question<'q> {
    pub fn new(text: &'q str, values: &[&'q str]) -> Self {
        Self {
            text: text.as_bytes(),
            types: Vec::new(),
            formats: Vec::new(),
            values: values.iter().map(|value| Some(value.as_bytes())).collect(),
        }
    }
}

impl Connection {
    pub async fn open(dialler: &Dialler, user: &str, database: &str) -> Result<Self, NoAnswer> {
        let parameters = [
            ("application_name".to_owned(), APPLICATION_NAME.to_owned()),
            ("client_encoding".to_owned(), "UTF8".to_owned()),
        ];
        let connected = dialler.connect(user, database, &parameters).await?;
        let mut connection = Self {
            socket: connected.socket,
        };
        connection.command(BEGIN).await?;
        Ok(connection)
    }

    /// Statements of our own whose rows do not matter.
    pub async fn command(&mut self, text: &str) -> Result<(), NoAnswer> {
        let mut out = Vec::new();
        put_query(&mut out, text.as_bytes());
        self.send(&out).await?;
        self.answer().await.map(|_| ())
    }

    /// The first column of all rows, joined: EXPLAIN may break its answer into lines. The extended protocol takes one
    /// statement only, so what is asked cannot hold a second one.
    pub async fn ask(&mut self, question: &Question<'_>) -> Result<Option<String>, NoAnswer> {
        let mut out = Vec::new();
        Parse {
            name: b"",
            text: question.text,
            types: question.types.clone(),
        }
        .encode(&mut out);
        Bind {
            portal: b"",
            statement: b"",
            formats: question.formats.clone(),
            values: question.values.clone(),
            result_formats: Vec::new(),
        }
        .encode(&mut out);
        put_execute(&mut out, b"");
        put(&mut out, client::SYNC, |_| {});
        self.send(&out).await?;
        self.answer().await
    }

    /// As `ask`, and an error leaves the transaction as it was before.
    pub async fn try_ask(&mut self, question: &Question<'_>) -> Result<Option<String>, NoAnswer> {
        self.command("SAVEPOINT before").await?;
        let answer = self.ask(question).await;
        if answer.as_ref().is_err_and(NoAnswer::is_of_server) {
            self.command("ROLLBACK TO before").await?;
        }
        answer
    }

    /// Says good-bye. The server rolls back by itself.
    pub async fn close(mut self) {
        let mut out = Vec::new();
        put(&mut out, client::TERMINATE, |_| {});
        // It may be gone already.
        let _gone = self.send(&out).await;
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), NoAnswer> {
        self.socket.write_all(bytes).await?;
        Ok(self.socket.flush().await?)
    }

    async fn answer(&mut self) -> Result<Option<String>, NoAnswer> {
        let mut text: Option<String> = None;
        let mut failed = None;
        loop {
            let (tag, body) = self.socket.read_frame(ANSWER_BYTES_MAX).await?;
            match tag {
                server::DATA_ROW => {
                    let row = data_row(&body).map_err(|_| NoAnswer::Unreadable)?;
                    if let Some(value) = row.first().copied().flatten() {
                        let value = std::str::from_utf8(value).map_err(|_| NoAnswer::Unreadable)?;
                        let text = text.get_or_insert_default();
                        if text.len() + value.len() > ANSWER_BYTES_MAX {
                            return Err(NoAnswer::Unreadable);
                        }
                        text.push_str(value);
                    }
                }
                server::ERROR => {
                    let fields = Fields::decode(&body).map_err(|_| NoAnswer::Unreadable)?;
                    failed.get_or_insert(fields);
                }
                server::READY => break,
                _ => {}
            }
        }
        match failed {
            Some(fields) => Err(NoAnswer::Server(Box::new(fields))),
            None => Ok(text),
        }
    }
}
