//! One auditor's session: messages in, answers out, in both of the protocol's ways to ask.
//! Never runs a query before it is on record, nor after its token has ended. Read `statement.rs` next.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rusqlite::types::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::engine::{Answer, Run, Watch};
use super::error::{SqlError, state};
use super::listen::Shared;
use super::login::{self, LetIn};
use super::spill::Spills;
use super::statement::{self, Spoken};
use super::translate::Plan;
use super::types::Type;
use crate::identity::directory::Scope;
use crate::identity::principal::PersonName;
use crate::identity::secret::TokenHash;
use crate::proxy::Socket;
use crate::sql::parse::PARSER_STACK_BYTES;
use crate::wire::bytes::Malformed;
use crate::wire::postgres::frame::{HEADER_BYTES, Header, put};
use crate::wire::postgres::message::{
    Bind, ColumnDescription, Parse, Status, Target, client, execute, put_command_complete,
    put_parameter_types, put_ready, put_row_description, query_text, server,
};

/// A Query or a Parse. Units: bytes; a little more than a text that is read.
const TEXT_BYTES_MAX: usize = 320 << 10;
/// A Bind with its values. Units: bytes.
const BIND_BYTES_MAX: usize = 4 << 20;
/// Every other message. Units: bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// What is read ahead while a query runs. Units: bytes.
const AHEAD_BYTES_MAX: usize = 1 << 20;
/// A query's text and values: its record keeps them whole, so a longer one is not run. Units: bytes; more than tools write.
const RECORDED_BYTES_MAX: usize = 64 << 10;
/// What is kept of one that is longer, beside its size and digest. Units: bytes.
const BEGINNING_BYTES: usize = 1 << 10;
/// Answers are sent on once so much has gathered. Units: bytes.
const OUT_BYTES: usize = 64 << 10;
/// Prepared statements, and portals, of one session.
const NAMES_MAX: usize = 1_000;
/// Settings that a client may name besides the known ones.
const SETTINGS_MAX: usize = 200;

/// Why a session ends.
enum End {
    /// The client has gone, or has said goodbye.
    Gone,
    /// It is told why first.
    Told(SqlError),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

struct Session {
    shared: Arc<Shared>,
    socket: Socket,
    inbox: Vec<u8>,
    out: Vec<u8>,
    person: PersonName,
    token: TokenHash,
    process: i32,
    cancelled: Arc<AtomicBool>,
    settings: Vec<(String, String)>,
    status: Status,
    prepared: HashMap<Vec<u8>, Arc<Prepared>>,
    portals: HashMap<Vec<u8>, Portal>,
    /// After an error in the extended protocol, until Sync.
    is_skipping: bool,
}

/// A Parse that was read. `None`: an empty text.
struct Prepared {
    text: Vec<u8>,
    spoken: Option<Spoken>,
    plan: Option<Arc<Plan>>,
    types: Vec<u32>,
}

/// A Bind, and how much of its result has been sent.
struct Portal {
    prepared: Arc<Prepared>,
    values: Vec<Value>,
    shown: Vec<String>,
    binary: Vec<bool>,
    answer: Option<(Answer, usize)>,
}

pub async fn run(shared: Arc<Shared>, let_in: LetIn) {
    let LetIn {
        socket,
        person,
        token,
        process,
        cancelled,
        settings,
    } = let_in;
    let mut session = Session {
        shared,
        socket,
        inbox: Vec::new(),
        out: Vec::new(),
        person,
        token,
        process,
        cancelled,
        settings,
        status: Status::Idle,
        prepared: HashMap::new(),
        portals: HashMap::new(),
        is_skipping: false,
    };
    if let Err(End::Told(error)) = session.talk().await {
        error.fields("FATAL").put(server::ERROR, &mut session.out);
        // Whoever is gone needs no answer.
        let _gone = session.flush().await;
    }
    let _closed = session.socket.shutdown().await;
    info!(person = %session.person, "{} no longer reads the log by SQL", session.person);
}

fn violation(error: Malformed) -> End {
    End::Told(SqlError::new(
        state::PROTOCOL_VIOLATION,
        error.to_string(),
        "the client does not keep to the protocol; use another version of it",
    ))
}

impl Session {
    async fn talk(&mut self) -> Result<(), End> {
        loop {
            let (tag, body) = self.next_message().await?;
            match tag {
                client::TERMINATE => return Ok(()),
                client::QUERY => {
                    self.is_skipping = false;
                    if let Some(body) = body {
                        let text = query_text(&body).map_err(violation)?.to_vec();
                        self.simple(&text).await?;
                    } else {
                        let error = self.refuse_unread(TEXT_BYTES_MAX).await?;
                        self.fail(error);
                    }
                    self.ready().await?;
                }
                client::SYNC => {
                    self.is_skipping = false;
                    self.ready().await?;
                }
                client::FUNCTION_CALL => {
                    self.fail(SqlError::unsupported("a function call by the protocol"));
                    self.ready().await?;
                }
                client::FLUSH => self.flush().await?,
                // What belongs to a COPY that never began is passed over, as the server does.
                client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL => {}
                client::PARSE | client::BIND | client::DESCRIBE | client::EXECUTE | client::CLOSE => {
                    if self.is_skipping {
                        continue;
                    }
                    let done = match body {
                        Some(body) => self.extended(tag, &body).await?,
                        None => Err(self.refuse_unread(limit_of(tag)).await?),
                    };
                    if let Err(error) = done {
                        self.fail(error);
                        self.is_skipping = true;
                    }
                    if self.out.len() >= OUT_BYTES {
                        self.flush().await?;
                    }
                }
                other => {
                    return Err(End::Told(SqlError::new(
                        state::PROTOCOL_VIOLATION,
                        format!("invalid frontend message type {other}"),
                        "the client does not keep to the protocol; use another version of it",
                    )));
                }
            }
        }
    }

    fn fail(&mut self, error: SqlError) {
        error.fields("ERROR").put(server::ERROR, &mut self.out);
        if self.status == Status::InTransaction {
            self.status = Status::Failed;
        }
    }

    async fn ready(&mut self) -> Result<(), End> {
        // Portals live as long as their transaction.
        if self.status == Status::Idle {
            self.portals.clear();
        }
        put_ready(&mut self.out, self.status);
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), End> {
        let out = std::mem::take(&mut self.out);
        self.socket.write_all(&out).await?;
        self.socket.flush().await?;
        Ok(())
    }

    /// The next message; without a body if that was too long, and is passed over.
    async fn next_message(&mut self) -> Result<(u8, Option<Vec<u8>>), End> {
        let header = loop {
            if let Some(header) = Header::cut(&self.inbox).map_err(violation)? {
                break header;
            }
            self.fill().await?;
        };
        if header.body_bytes > limit_of(header.tag) {
            let mut left = header.frame_bytes();
            loop {
                let here = left.min(self.inbox.len());
                self.inbox.drain(..here);
                left -= here;
                if left == 0 {
                    return Ok((header.tag, None));
                }
                self.fill().await?;
            }
        }
        while self.inbox.len() < header.frame_bytes() {
            self.fill().await?;
        }
        let frame: Vec<u8> = self.inbox.drain(..header.frame_bytes()).collect();
        Ok((header.tag, Some(frame[HEADER_BYTES..].to_vec())))
    }

    async fn fill(&mut self) -> Result<(), End> {
        if !self.out.is_empty() && self.inbox.is_empty() && self.out.len() >= OUT_BYTES {
            self.flush().await?;
        }
        match self.socket.read_buf(&mut self.inbox).await? {
            0 => Err(End::Gone),
            _ => Ok(()),
        }
    }

    /// A Query: all its statements, up to the first error.
    async fn simple(&mut self, text: &[u8]) -> Result<(), End> {
        self.portals.remove(&b""[..]);
        if let Err(error) = fits_record(text, &[]) {
            let recorded = self.record(text, &[]).await?;
            self.fail(recorded.err().unwrap_or(error));
            return Ok(());
        }
        let read = self.read(text, Vec::new()).await?;
        let needs_record = read.as_ref().map_or(true, |all| all.iter().any(Spoken::is_query));
        if needs_record && let Err(error) = self.record(text, &[]).await? {
            self.fail(error);
            return Ok(());
        }
        let all = match read {
            Ok(all) => all,
            Err(error) => {
                self.fail(error);
                return Ok(());
            }
        };
        if all.is_empty() {
            put(&mut self.out, server::EMPTY_QUERY, |_| {});
        }
        for spoken in all {
            if let Err(error) = self.one_of_simple(spoken).await? {
                self.fail(error);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn one_of_simple(&mut self, spoken: Spoken) -> Result<Result<(), SqlError>, End> {
        if let Err(error) = self.may_run(&spoken) {
            return Ok(Err(error));
        }
        match spoken {
            Spoken::Query(plan) | Spoken::Show(plan) => {
                let plan = Arc::new(plan);
                if !plan.parameters.is_empty() {
                    return Ok(Err(SqlError::new(
                        state::NO_PARAMETER,
                        "there is no parameter $1",
                        "send the query by the extended protocol with its values, or write them out",
                    )));
                }
                let answer = match self.query(&plan, Vec::new(), Vec::new()).await? {
                    Ok(answer) => answer,
                    Err(error) => return Ok(Err(error)),
                };
                self.describe_rows(&plan, &[]);
                self.flush().await?;
                self.socket.write_all(&answer.frames).await?;
                put_command_complete(&mut self.out, &format!("SELECT {}", answer.ends.len()));
            }
            other => self.word(other),
        }
        Ok(Ok(()))
    }

    fn may_run(&self, spoken: &Spoken) -> Result<(), SqlError> {
        if self.status == Status::Failed && !spoken.mends_transaction() {
            return Err(SqlError::new(
                state::FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
                "send ROLLBACK",
            ));
        }
        Ok(())
    }

    /// Carries out what is no query.
    fn word(&mut self, spoken: Spoken) {
        let tag = match spoken {
            Spoken::Query(_) | Spoken::Show(_) => return,
            Spoken::Begin => {
                self.status = Status::InTransaction;
                "BEGIN"
            }
            Spoken::Commit => {
                let was_failed = self.status == Status::Failed;
                self.status = Status::Idle;
                if was_failed { "ROLLBACK" } else { "COMMIT" }
            }
            Spoken::Rollback => {
                self.status = Status::Idle;
                "ROLLBACK"
            }
            Spoken::RollbackTo => {
                if self.status == Status::Failed {
                    self.status = Status::InTransaction;
                }
                "ROLLBACK"
            }
            Spoken::Set(setting) => {
                if let Some((name, value)) = setting {
                    self.remember(name, value);
                }
                "SET"
            }
            Spoken::Nothing(tag) => tag,
            Spoken::Deallocate(name) => {
                match name {
                    Some(name) => drop(self.prepared.remove(name.as_bytes())),
                    None => self.prepared.clear(),
                }
                "DEALLOCATE"
            }
        };
        put_command_complete(&mut self.out, tag);
    }

    fn remember(&mut self, name: String, value: String) {
        let fixed = [
            "server_version",
            "server_encoding",
            "client_encoding",
            "is_superuser",
        ];
        if fixed.contains(&name.as_str()) {
            return;
        }
        let has_room = self.settings.len() < SETTINGS_MAX;
        match self.settings.iter_mut().find(|(known, _)| *known == name) {
            Some(setting) => setting.1 = value,
            None if has_room => self.settings.push((name, value)),
            None => {}
        }
    }

    async fn extended(&mut self, tag: u8, body: &[u8]) -> Result<Result<(), SqlError>, End> {
        Ok(match tag {
            client::PARSE => {
                let parse = Parse::decode(body).map_err(violation)?;
                self.parse(parse).await?
            }
            client::BIND => {
                let bind = Bind::decode(body).map_err(violation)?;
                self.bind(&bind)
            }
            client::DESCRIBE => {
                let target = Target::decode(body).map_err(violation)?;
                self.describe(target)
            }
            client::EXECUTE => {
                let (portal, rows) = execute(body).map_err(violation)?;
                self.execute(portal, rows).await?
            }
            _close => {
                match Target::decode(body).map_err(violation)? {
                    Target::Statement(name) => drop(self.prepared.remove(name)),
                    Target::Portal(name) => drop(self.portals.remove(name)),
                }
                put(&mut self.out, server::CLOSE_COMPLETE, |_| {});
                Ok(())
            }
        })
    }

    async fn parse(&mut self, parse: Parse<'_>) -> Result<Result<(), SqlError>, End> {
        if self.prepared.len() >= NAMES_MAX && !self.prepared.contains_key(parse.name) {
            return Ok(Err(SqlError::new(
                state::TOO_MUCH,
                format!("more than {NAMES_MAX} prepared statements"),
                "close some of them",
            )));
        }
        if !parse.name.is_empty() && self.prepared.contains_key(parse.name) {
            return Ok(Err(SqlError::new(
                "42P05",
                format!(
                    "prepared statement \"{}\" already exists",
                    String::from_utf8_lossy(parse.name)
                ),
                "close it first, or give another name",
            )));
        }
        let read = match fits_record(parse.text, &[]) {
            Ok(()) => self.read(parse.text, parse.types.clone()).await?,
            Err(error) => Err(error),
        };
        let mut all = match read {
            Ok(all) => all,
            Err(error) => {
                // What was refused is on record too.
                let recorded = self.record(parse.text, &[]).await?;
                return Ok(Err(recorded.err().unwrap_or(error)));
            }
        };
        if all.len() > 1 {
            return Ok(Err(SqlError::new(
                state::SYNTAX,
                "cannot insert multiple commands into a prepared statement",
                "send them one by one",
            )));
        }
        let spoken = all.pop();
        let plan = match &spoken {
            Some(Spoken::Query(plan) | Spoken::Show(plan)) => Some(Arc::new(plan.clone())),
            _ => None,
        };
        let mut types = parse.types;
        let known = plan
            .as_ref()
            .map(|plan| plan.parameters.as_slice())
            .unwrap_or_default();
        types.resize(types.len().max(known.len()), 0);
        for (oid, ty) in types.iter_mut().zip(known) {
            if *oid == 0 || Type::of_oid(*oid) == Type::Unknown {
                *oid = ty.oid();
            }
        }
        let prepared = Prepared {
            text: parse.text.to_vec(),
            spoken,
            plan,
            types,
        };
        self.prepared.insert(parse.name.to_vec(), Arc::new(prepared));
        put(&mut self.out, server::PARSE_COMPLETE, |_| {});
        Ok(Ok(()))
    }

    fn bind(&mut self, bind: &Bind<'_>) -> Result<(), SqlError> {
        let prepared = self.statement(bind.statement)?;
        if bind.values.len() != prepared.types.len() {
            return Err(SqlError::new(
                state::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {} parameters, but the statement requires {}",
                    bind.values.len(),
                    prepared.types.len()
                ),
                "give a value for each parameter",
            ));
        }
        if self.portals.len() >= NAMES_MAX {
            return Err(SqlError::new(
                state::TOO_MUCH,
                format!("more than {NAMES_MAX} portals"),
                "send Sync",
            ));
        }
        let (mut values, mut shown) = (Vec::new(), Vec::new());
        for (at, (bytes, oid)) in bind.values.iter().zip(&prepared.types).enumerate() {
            let value = match bytes {
                None => Value::Null,
                Some(bytes) if bind.is_binary(at) => Type::read_binary(*oid, bytes)?,
                Some(bytes) => {
                    let text = std::str::from_utf8(bytes).map_err(|_| {
                        SqlError::new(
                            "22021",
                            "invalid byte sequence for encoding \"UTF8\"",
                            "send UTF-8",
                        )
                    })?;
                    Type::of_oid(*oid).read(text)?
                }
            };
            shown.push(
                Type::of_oid(*oid)
                    .show(&value)?
                    .unwrap_or_else(|| "NULL".to_owned()),
            );
            values.push(value);
        }
        let columns = prepared.plan.as_ref().map_or(0, |plan| plan.columns.len());
        let binary = match bind.result_formats.as_slice() {
            [] => vec![false; columns],
            [all] => vec![*all == 1; columns],
            each if each.len() == columns => each.iter().map(|format| *format == 1).collect(),
            each => {
                return Err(SqlError::new(
                    state::PROTOCOL_VIOLATION,
                    format!(
                        "bind message has {} result formats but query has {columns} columns",
                        each.len()
                    ),
                    "give one format, or one for each column",
                ));
            }
        };
        let portal = Portal {
            prepared,
            values,
            shown,
            binary,
            answer: None,
        };
        self.portals.insert(bind.portal.to_vec(), portal);
        put(&mut self.out, server::BIND_COMPLETE, |_| {});
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<Arc<Prepared>, SqlError> {
        self.prepared.get(name).cloned().ok_or_else(|| {
            SqlError::new(
                state::NO_STATEMENT,
                format!(
                    "prepared statement \"{}\" does not exist",
                    String::from_utf8_lossy(name)
                ),
                "parse it first",
            )
        })
    }

    fn describe(&mut self, target: Target<'_>) -> Result<(), SqlError> {
        let (plan, binary) = match target {
            Target::Statement(name) => {
                let prepared = self.statement(name)?;
                put_parameter_types(&mut self.out, prepared.types.iter().copied());
                (prepared.plan.clone(), Vec::new())
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.prepared.plan.clone(), portal.binary.clone())
            }
        };
        match plan {
            Some(plan) => self.describe_rows(&plan, &binary),
            None => put(&mut self.out, server::NO_DATA, |_| {}),
        }
        Ok(())
    }

    fn describe_rows(&mut self, plan: &Plan, binary: &[bool]) {
        let columns = plan
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| ColumnDescription {
                name: &column.name,
                type_oid: column.ty.oid(),
                type_length: column.ty.length(),
                is_binary: binary.get(at).copied().unwrap_or(false),
            });
        put_row_description(&mut self.out, columns);
    }

    async fn execute(&mut self, name: &[u8], rows: i32) -> Result<Result<(), SqlError>, End> {
        let Some(mut portal) = self.portals.remove(name) else {
            return Ok(Err(no_portal(name)));
        };
        let done = self.execute_portal(&mut portal, rows).await?;
        self.portals.insert(name.to_vec(), portal);
        Ok(done)
    }

    async fn execute_portal(&mut self, portal: &mut Portal, rows: i32) -> Result<Result<(), SqlError>, End> {
        let Some(spoken) = portal.prepared.spoken.clone() else {
            put(&mut self.out, server::EMPTY_QUERY, |_| {});
            return Ok(Ok(()));
        };
        if let Err(error) = self.may_run(&spoken) {
            return Ok(Err(error));
        }
        let Some(plan) = portal.prepared.plan.clone() else {
            self.word(spoken);
            return Ok(Ok(()));
        };
        if portal.answer.is_none() {
            if spoken.is_query() {
                let prepared = Arc::clone(&portal.prepared);
                let fits = fits_record(&prepared.text, &portal.shown);
                if let Err(error) = self.record(&prepared.text, &portal.shown).await?.and(fits) {
                    return Ok(Err(error));
                }
            }
            match self
                .query(&plan, portal.values.clone(), portal.binary.clone())
                .await?
            {
                Ok(answer) => portal.answer = Some((answer, 0)),
                Err(error) => return Ok(Err(error)),
            }
        }
        let Some((answer, sent)) = &mut portal.answer else {
            return Ok(Ok(()));
        };
        let left = answer.ends.len() - *sent;
        let now = usize::try_from(rows)
            .ok()
            .filter(|rows| *rows > 0)
            .unwrap_or(left)
            .min(left);
        let from = sent.checked_sub(1).map_or(0, |last| answer.ends[last]);
        *sent += now;
        let to = sent.checked_sub(1).map_or(0, |last| answer.ends[last]);
        self.flush().await?;
        self.socket.write_all(&answer.frames[from..to]).await?;
        if *sent < answer.ends.len() {
            put(&mut self.out, server::PORTAL_SUSPENDED, |_| {});
        } else {
            put_command_complete(&mut self.out, &format!("SELECT {now}"));
        }
        Ok(Ok(()))
    }

    /// Puts on record that a message was too long to be looked at.
    async fn refuse_unread(&mut self, limit: usize) -> Result<SqlError, End> {
        let words = format!("sql (a message of more than {limit} bytes; refused unread)");
        let recorded = self.record_words(words).await?;
        Ok(recorded.err().unwrap_or_else(|| too_long(limit)))
    }

    /// Puts on record who asks what, and makes sure that it is still allowed.
    async fn record(&mut self, text: &[u8], values: &[String]) -> Result<Result<(), SqlError>, End> {
        self.record_words(recorded(text, values)).await
    }

    async fn record_words(&mut self, words: String) -> Result<Result<(), SqlError>, End> {
        let known = login::known(&self.shared, &self.token).await.map_err(End::Told)?;
        let Some(signed_in) = known.filter(|signed_in| signed_in.person.name == self.person) else {
            return Err(End::Told(SqlError::new(
                state::BAD_AUTHORIZATION,
                "your token has expired or was revoked",
                "connect again with a new one",
            )));
        };
        if !signed_in.scopes.has(Scope::Log) {
            return Err(End::Told(login::lacks_scope(&self.person)));
        }
        let recorded = self
            .shared
            .desk
            .record_log_query(self.person.clone(), words)
            .await;
        Ok(recorded.map_err(|error| {
            warn!(%error, "a query of the log could not be recorded");
            login::not_recorded()
        }))
    }

    /// Reads a text on a stack that is large enough.
    async fn read(&mut self, text: &[u8], given: Vec<u32>) -> Result<Result<Vec<Spoken>, SqlError>, End> {
        let text = text.to_vec();
        self.apart(move || statement::read(&text, &given)).await
    }

    async fn query(
        &mut self,
        plan: &Arc<Plan>,
        values: Vec<Value>,
        binary: Vec<bool>,
    ) -> Result<Result<Answer, SqlError>, End> {
        self.cancelled.store(false, Ordering::Relaxed);
        let limits = self.shared.settings.limits;
        let run = Run {
            plan: Arc::clone(plan),
            values,
            binary,
            person: self.person.as_str().to_owned(),
            process: self.process,
            settings: self.settings.clone(),
            limits,
            watch: Watch {
                deadline: Instant::now() + limits.time,
                limit: limits.time,
                cancelled: Arc::clone(&self.cancelled),
                spill: Arc::new(Spills::begin(&self.shared.spills, limits.spill_bytes)),
            },
            reader: self.shared.reader.clone(),
        };
        let shared = Arc::clone(&self.shared);
        let turn = tokio::time::timeout(limits.time, Arc::clone(&shared.queries).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Ok(Err(SqlError::new(
                "53000",
                "too many queries of the log run already",
                "retry when others have ended",
            )));
        };
        // The thread gives its place back, not the session: that may be gone while a query still works.
        self.apart(move || {
            let _turn = turn;
            run.answer()
        })
        .await
    }

    /// Works on a thread of its own; a client that goes meanwhile ends it.
    async fn apart<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
    ) -> Result<Result<T, SqlError>, End> {
        let (answer, mut answered) = oneshot::channel();
        let started = std::thread::Builder::new()
            .name("log-query".to_owned())
            .stack_size(PARSER_STACK_BYTES)
            .spawn(move || {
                // A session that is gone needs no answer.
                let _gone = answer.send(work());
            });
        if let Err(error) = started {
            warn!(%error, "a thread for a query of the log cannot be started");
            return Ok(Err(failed()));
        }
        loop {
            tokio::select! {
                done = &mut answered => return Ok(done.unwrap_or_else(|_| Err(failed()))),
                read = self.socket.read_buf(&mut self.inbox), if self.inbox.len() < AHEAD_BYTES_MAX => {
                    if !matches!(read, Ok(1..)) {
                        self.cancelled.store(true, Ordering::Relaxed);
                        return Err(End::Gone);
                    }
                }
            }
        }
    }
}

fn failed() -> SqlError {
    SqlError::new(
        state::INTERNAL,
        "the query could not be run",
        "retry; the program's own log says why",
    )
}

fn no_portal(name: &[u8]) -> SqlError {
    SqlError::new(
        state::NO_CURSOR,
        format!("portal \"{}\" does not exist", String::from_utf8_lossy(name)),
        "bind it first; Sync ends portals",
    )
}

fn too_long(limit: usize) -> SqlError {
    SqlError::new(
        state::TOO_MUCH,
        format!("the message is longer than {limit} bytes"),
        "send a shorter query, or fewer values",
    )
}

/// How long a message of this kind may be. Units: bytes.
fn limit_of(tag: u8) -> usize {
    match tag {
        client::QUERY | client::PARSE => TEXT_BYTES_MAX,
        client::BIND => BIND_BYTES_MAX,
        _other => MESSAGE_BYTES_MAX,
    }
}

/// Whether the record keeps all of it; what does not fit is not run.
fn fits_record(text: &[u8], values: &[String]) -> Result<(), SqlError> {
    if words(text, values).len() <= RECORDED_BYTES_MAX {
        return Ok(());
    }
    Err(SqlError::new(
        state::TOO_MUCH,
        format!(
            "the query with its values is longer than {RECORDED_BYTES_MAX} bytes, the most that its record keeps"
        ),
        "send a shorter query, or fewer values",
    ))
}

/// What the log keeps of a query: its text and values. Of one that is too long, and not run, its beginning and its digest.
fn recorded(text: &[u8], values: &[String]) -> String {
    let whole = words(text, values);
    if whole.len() <= RECORDED_BYTES_MAX {
        return whole;
    }
    let beginning = &whole[..whole.floor_char_boundary(BEGINNING_BYTES)];
    let digest = Sha256::digest(whole.as_bytes());
    let size = whole.len();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{beginning} … (refused: {size} bytes, SHA-256 {digest})")
}

/// Bytes that are no text, which no query has, are shown by their numbers.
fn words(text: &[u8], values: &[String]) -> String {
    let mut out = match std::str::from_utf8(text) {
        Ok(text) => format!("sql {text}"),
        Err(_) => format!("sql {}", text.escape_ascii()),
    };
    for (number, value) in (1..).zip(values) {
        out.push_str(&format!(" -- ${number} = {value}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_whole_or_is_not_run() {
        let room = RECORDED_BYTES_MAX - "sql ".len();
        let fits = "x".repeat(room);
        assert_eq!(fits_record(fits.as_bytes(), &[]), Ok(()));
        assert_eq!(recorded(fits.as_bytes(), &[]), format!("sql {fits}"));
        let longer = "é".repeat(room);
        for (text, values) in [(longer.as_str(), vec![]), (fits.as_str(), vec!["7".to_owned()])] {
            assert!(fits_record(text.as_bytes(), &values).is_err());
            let kept = recorded(text.as_bytes(), &values);
            assert!(kept.len() < 2 * BEGINNING_BYTES, "{}", kept.len());
            assert!(kept.contains("refused: ") && kept.contains("SHA-256 "), "{kept}");
        }
        assert_eq!(
            recorded(b"SELECT $1", &["7".to_owned()]),
            "sql SELECT $1 -- $1 = 7"
        );
        assert_eq!(recorded(b"SELECT '\xff'", &[]), "sql SELECT \\'\\xff\\'");
    }
}
