//! A statement that waits for a person, on its open connection. Never lets it go without the desk's permit, and looks
//! again at what it would mean before it does. Read `desk/mod.rs` for the other side.
//!
//! Why progress reports: nothing else may come before an answer in this protocol, and only MariaDB's clients know them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::desk::{Ask, Asked, Detach, Parked, Transaction};
use crate::hold::{Digest, DigestBuilder, READ_AS, RequestId, TEMPORARY_TABLES, withheld_words};
use crate::identity::principal::Profile;
use crate::proxy::end::{End, Happened, boot_time, refused_ask, refused_start};
use crate::proxy::mysql::command::Sending;
use crate::proxy::mysql::facts::{self, Facts, Names, VARIABLE_BYTES_SHOWN};
use crate::proxy::mysql::impact::Job;
use crate::proxy::mysql::session::{Session, one_value};
use crate::proxy::redact::touched;
use crate::proxy::refusal::{self, Refusal};
use crate::proxy::registry::Control;
use crate::proxy::waiting::{Ended, detach, ended_by, leave_approved, wait_is_over, withdraw, woken};
use crate::sql::lex::mysql::{reads_settings, variables};
use crate::wire::mysql::answer::Progress;
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::command::Code;
use crate::wire::mysql::conversation::Expected;
use crate::wire::mysql::packet::{self, Gathered, HEADER_BYTES};

/// A progress report this often keeps read time-outs content: as often as the server itself sends them.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The server is asked something this often, so that its own idle time-outs do not end the session.
const KEEP_SERVER: Duration = Duration::from_secs(30);

/// At least this often the clock is looked at (it may have been suspended), and whether the client has hung up behind
/// bytes that are not read.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Prepared statements that are shown beside an EXECUTE.
const PREPARED_SHOWN_MAX: usize = 50;

/// What a held statement is bound to.
struct Bound {
    digest: Digest,
    names: String,
    facts: BTreeMap<String, String>,
    /// Of these the values that are withheld.
    withheld: BTreeMap<String, String>,
    rules: [u8; 32],
}

/// Values of user variables.
#[derive(Default)]
struct Variables {
    told: BTreeMap<String, String>,
    withheld: BTreeMap<String, String>,
}

impl Session {
    /// Parks a statement until a person decides, then runs or refuses it.
    pub(super) async fn hold(&mut self, mut sending: Sending) -> Result<(), End> {
        let judged = &sending.judged;
        // What it hangs on besides may be something else when it is sent again, so an approval is for this sending.
        let hangs_on_session =
            judged.judgement.depends_on_names || reads_settings(&judged.text, &judged.lexing);
        sending.only_now = hangs_on_session.then(rand::random);
        let bound = match self.bind_to_now(&sending).await? {
            Ok(bound) => bound,
            Err(refusal) => return self.refuse(&refusal, &sending),
        };
        let shared = &self.thread.shared;
        shared
            .metrics
            .count_statement(sending.judged.class.as_str(), "hold");
        let desk = shared.desk.clone();
        // The number is used up whatever becomes of the statement: no other may have its place in the log.
        let number = self.next_run();
        self.seat.touch(Timestamp::now());
        match desk.ask(self.question_to_people(&sending, &bound, number)).await {
            Ok(Asked::Granted(permit, request)) => {
                info!(request.id = %request, "request {request} runs by its grant");
                self.send_approved(sending, number, permit).await
            }
            Ok(Asked::Parked(parked)) => {
                self.reply = None;
                self.park(sending, number, parked).await
            }
            Err(error) => {
                let refusal = refused_ask(&error);
                warn!(%error, "a statement cannot be put before people");
                self.refuse(&refusal, &sending)
            }
        }
    }

    async fn park(&mut self, mut sending: Sending, number: u64, mut parked: Parked) -> Result<(), End> {
        let request = parked.request;
        let shared = &self.thread.shared;
        shared.metrics.held.inc();
        let job = self.look_at(&sending, request);
        self.side.impact.leave(job, &shared.desk).await;
        let rule = sending.verdict.rule.to_string();
        let what = sending.judged.what();
        let notice = refusal::held_notice(request, &what, &rule, parked.wait, parked.reattached).message;
        self.report(&mut sending, &notice);
        let ended = self
            .await_decision(request, &mut parked, &mut sending, &notice)
            .await;
        self.thread.shared.metrics.held.dec();
        if ended.is_err() {
            self.awaited = sending.next_sequence.wrapping_add(sending.ahead);
        }
        match ended? {
            Ended::Refused(refusal) => self.refuse(&refusal, &sending),
            Ended::Approved { by } => self.release(sending, number, request, &by).await,
        }
    }

    /// Where its names without a schema are looked up: those of a prepared statement stay where it was prepared.
    pub(super) fn schema_of(&self, sending: &Sending) -> Option<String> {
        let id = sending.execution.as_ref().map(|(id, _)| id);
        match id.and_then(|id| self.statements.get(id)) {
            Some(prepared) => prepared.schema.clone(),
            None => self.facts.schema.clone(),
        }
    }

    /// What a reviewer is told besides the statement itself is found out while it waits.
    fn look_at(&self, sending: &Sending, request: RequestId) -> Job {
        let facts = &self.facts;
        let schema = self.schema_of(sending);
        let seen = Facts {
            schema: schema.clone(),
            ..facts.clone()
        };
        Job {
            request,
            peer: Arc::clone(&self.peer),
            text: Arc::clone(&sending.judged.text),
            judgement: Arc::clone(&sending.judged.judgement),
            state: sending.judged.lexing,
            schema,
            role: facts.role.clone(),
            catalog: self.sight.view(&seen),
            parameters: sending.parameters.clone(),
            redaction: self.thread.redaction(&sending.judged).as_deref().cloned(),
        }
    }

    /// Waits, keeps both sides alive, and gives way to whoever is first: a person, the clock, the client, the server.
    async fn await_decision(
        &mut self,
        request: RequestId,
        parked: &mut Parked,
        sending: &mut Sending,
        notice: &str,
    ) -> Result<Ended, End> {
        let deadline = boot_time() + parked.wait;
        let mut keep_alive = Instant::now() + KEEP_ALIVE;
        let mut keep_server = Instant::now() + KEEP_SERVER;
        loop {
            let left = deadline.saturating_sub(boot_time());
            if left.is_zero() {
                return wait_is_over(&self.thread.shared.desk, request, parked).await;
            }
            let until = (Instant::now() + left.min(LOOK_UP))
                .min(keep_alive)
                .min(keep_server);
            match self.happened(Some(&mut parked.woken), Some(until)).await {
                Happened::Woken(wake) => return woken(request, wake),
                Happened::Client if self.client_says_good_bye() => return self.left(request).await,
                Happened::Client | Happened::Server => {}
                Happened::ClientLeft => return self.left(request).await,
                Happened::End(end) => {
                    withdraw(
                        &self.thread.shared.desk,
                        request,
                        "the server connection was lost",
                    )
                    .await;
                    return Err(end);
                }
                Happened::Control(Control::Cancel { why, asked }) => {
                    withdraw(&self.thread.shared.desk, request, why).await;
                    drop(asked);
                    return Ok(Ended::Refused(Refusal::Withdrawn {
                        request,
                        why: why.to_owned(),
                    }));
                }
                Happened::Control(control) => return Err(self.leave_for(request, control).await),
                Happened::Time => {}
            }
            if self.pipe.is_inbox_full() && self.pipe.has_hung_up() {
                return self.left(request).await;
            }
            if Instant::now() >= keep_alive {
                keep_alive = Instant::now() + KEEP_ALIVE;
                self.report(sending, notice);
            }
            if Instant::now() >= keep_server {
                keep_server = Instant::now() + KEEP_SERVER;
                if self.relay.is_idle() {
                    self.put_own(&[Code::Ping as u8], Expected::Done);
                }
            }
        }
    }

    /// What ends a wait together with its session.
    async fn leave_for(&self, request: RequestId, control: Control) -> End {
        match control {
            Control::Kill => {
                withdraw(&self.thread.shared.desk, request, "its connection was killed").await;
                End::Killed
            }
            Control::CredentialEnded(why) => {
                withdraw(&self.thread.shared.desk, request, &why).await;
                End::CredentialEnded(why)
            }
            Control::EndedByPerson(why) => {
                withdraw(&self.thread.shared.desk, request, &ended_by(&why)).await;
                End::EndedByPerson(why)
            }
            Control::Stop | Control::Cancel { .. } => {
                detach(&self.thread.shared.desk, request, Detach::ClientLeft).await;
                End::Stopping
            }
        }
    }

    async fn left(&mut self, request: RequestId) -> Result<Ended, End> {
        detach(&self.thread.shared.desk, request, Detach::ClientLeft).await;
        Err(End::ClientLeft)
    }

    /// A COM_QUIT behind the parked statement.
    fn client_says_good_bye(&self) -> bool {
        let mut rest = &self.pipe.inbox[..];
        while let Ok(Gathered::Whole(message)) = packet::gather(rest, 0) {
            if rest.get(HEADER_BYTES) == Some(&(Code::Quit as u8)) {
                return true;
            }
            rest = rest.get(message.frame_bytes..).unwrap_or_default();
        }
        false
    }

    /// A progress report, for clients that asked for them: each takes a number of the answer.
    fn report(&mut self, sending: &mut Sending, words: &str) {
        if !self.capabilities.has(Capabilities::MARIADB_PROGRESS) {
            return;
        }
        let sequence = sending.next_sequence.wrapping_add(sending.ahead);
        sending.ahead = sending.ahead.wrapping_add(1);
        let mut payload = Vec::new();
        let progress = Progress {
            stage: 1,
            stages: 1,
            done: 0,
            info: words.as_bytes(),
        };
        progress.encode(&mut payload);
        self.pipe.tell(|out| {
            packet::put(out, sequence, &payload);
        });
    }

    /// An approval has come: what the statement would mean now must be what it meant when it was shown.
    async fn release(
        &mut self,
        mut sending: Sending,
        number: u64,
        request: RequestId,
        by: &[String],
    ) -> Result<(), End> {
        while !self.relay.is_idle() {
            match self.happened(None::<&mut std::future::Pending<()>>, None).await {
                Happened::Client | Happened::Server | Happened::Time | Happened::Woken(()) => {}
                Happened::Control(Control::Cancel { why, asked }) => {
                    withdraw(&self.thread.shared.desk, request, why).await;
                    drop(asked);
                    let why = why.to_owned();
                    return self.refuse(&Refusal::Withdrawn { request, why }, &sending);
                }
                Happened::ClientLeft => {
                    detach(&self.thread.shared.desk, request, Detach::ClientLeft).await;
                    return Err(End::ClientLeft);
                }
                Happened::End(end) => {
                    leave_approved(&self.thread.shared.desk, request, &end).await;
                    return Err(end);
                }
                Happened::Control(control) => return Err(self.leave_for(request, control).await),
            }
        }
        let now = match self.bind_to_now(&sending).await {
            Ok(Ok(now)) => now,
            Ok(Err(refusal)) => {
                withdraw(
                    &self.thread.shared.desk,
                    request,
                    "what it means could not be read again",
                )
                .await;
                return self.refuse(&refusal, &sending);
            }
            Err(end) => {
                leave_approved(&self.thread.shared.desk, request, &end).await;
                return Err(end);
            }
        };
        let desk = self.thread.shared.desk.clone();
        match desk.start_run(request, now.digest, &now.names, now.rules).await {
            Ok(permit) => {
                let words = refusal::approved_notice(request, &by.join(", "), permit.guards()).message;
                self.report(&mut sending, &words);
                self.send_approved(sending, number, permit).await
            }
            Err(error) => {
                info!(request.id = %request, %error, "an approved request is not started");
                self.refuse(&refused_start(request, &error), &sending)
            }
        }
    }

    /// What the statement means at this moment: session facts, and the definitions of the names in it.
    async fn bind_to_now(&mut self, sending: &Sending) -> Result<Result<Bound, Refusal>, End> {
        let judgement = Arc::clone(&sending.judged.judgement);
        let names = Names::of(&judgement);
        if names.are_too_many() {
            let why = "it names too many tables and functions to be shown".to_owned();
            return Ok(Err(Refusal::Unreadable { why }));
        }
        let unread = || Refusal::Unreadable {
            why: "what its names mean could not be read from the server".to_owned(),
        };
        self.facts.is_stale = true;
        self.refresh_facts().await?;
        if self.facts.is_stale {
            return Ok(Err(unread()));
        }
        if let Some(refusal) = self.prepared_before(sending) {
            return Ok(Err(refusal));
        }
        let schema = self.schema_of(sending);
        let mut identity = String::new();
        if let Some(question) = names.question(schema.as_deref(), &self.facts.state) {
            match self.ask(&question, Expected::Results).await?.as_deref() {
                Some([row]) => match row.first() {
                    Some(Some(digest)) => identity.push_str(&digest.escape_ascii().to_string()),
                    Some(None) | None => return Ok(Err(unread())),
                },
                Some(_) | None => return Ok(Err(unread())),
            }
        }
        if let Some(question) = names.kinds_question(schema.as_deref(), &self.facts.state) {
            let answers = self.ask(&question, Expected::Results).await?;
            match answers.as_deref().and_then(|answers| names.kinds(answers)) {
                Some(lines) => identity.push_str(&lines),
                None => return Ok(Err(unread())),
            }
        }
        // What could be meant besides shows in the judgement alone.
        if self.sight.has_catalog() && !judgement.depends_on_names {
            let now = self.judge_again(&sending.judged, schema.as_deref()).await?;
            identity.push_str(&format!("\nj {}", now.meaning()));
        }
        let mut facts = self.shown_facts();
        facts.insert(READ_AS.to_owned(), sending.judged.read_as.clone());
        let values = self
            .ask(&facts::values_question(&self.facts.state), Expected::Results)
            .await?;
        let Some(values) = values.as_ref().and_then(one_value) else {
            return Ok(Err(unread()));
        };
        facts.insert("values are read under".to_owned(), values);
        if let Some(mark) = sending.only_now {
            let words =
                format!("this sending alone ({mark:016x}): it hangs on what the session has prepared or set");
            facts.insert("may run".to_owned(), words);
        }
        let Some(variables) = self.variables_now(sending).await? else {
            return Ok(Err(unread()));
        };
        facts.extend(variables.told);
        if judgement.depends_on_names {
            self.add_prepared(&mut facts);
        }
        Ok(Ok(Bound {
            digest: self.digest(sending, &facts),
            names: identity,
            facts,
            withheld: variables.withheld,
            rules: self.thread.shared.rules.load().generation,
        }))
    }

    /// The server took some of the settings when it prepared what is executed, and others it will take now: all must be
    /// what the card says. A text with an EXECUTE in it may name any prepared statement.
    fn prepared_before(&self, sending: &Sending) -> Option<Refusal> {
        let now = self.facts.values_revision;
        let executed = sending.execution.as_ref().map(|(id, _)| *id);
        let prepared = executed.and_then(|id| self.statements.get(&id).map(|prepared| (id, prepared)));
        if let Some((id, prepared)) = prepared
            && prepared.read_at != now
        {
            return Some(Refusal::PreparedBefore { name: id.to_string() });
        }
        if !sending.judged.judgement.depends_on_names {
            return None;
        }
        let names = self.names.iter();
        let before = names.filter(|(_, meaning)| meaning.read_at != Some(now));
        let name = before.map(|(name, _)| name).min()?.clone();
        Some(Refusal::PreparedBefore { name })
    }

    fn shown_facts(&self) -> BTreeMap<String, String> {
        let facts = &self.facts;
        let own = "perhaps: a name may mean one of this session's own";
        let own = facts.has_own_objects.then_some((TEMPORARY_TABLES, own));
        [
            ("database", facts.schema.as_deref().unwrap_or("none")),
            ("sql_mode", facts.sql_mode.as_str()),
            ("character_set_client", facts.character_set_client.as_str()),
            ("account and role", facts.role.as_str()),
        ]
        .into_iter()
        .chain(own)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    /// Values of the user variables in the text: what it does hangs on them as on parameters. `None`: they could not be
    /// read.
    async fn variables_now(&mut self, sending: &Sending) -> Result<Option<Variables>, End> {
        let mut variables_now = Variables::default();
        let judged = &sending.judged;
        let names = variables(&judged.text, &judged.lexing);
        let Some(question) = facts::variables_question(&names) else {
            return Ok(Some(variables_now));
        };
        let redaction = self.thread.redaction(judged);
        let rows = self.ask(&question, Expected::Results).await?;
        let Some([row]) = rows.as_deref() else {
            return Ok(None);
        };
        for (name, value) in names.iter().zip(row.chunks(2)) {
            let [value, sort] = value else { return Ok(None) };
            let shown = match value {
                None => "NULL".to_owned(),
                Some(bytes) => shown_variable(bytes),
            };
            let sort = sort.as_deref().unwrap_or_default();
            let mut digest = DigestBuilder::new("countersign variable 2")
                .field("value", value.as_deref().unwrap_or_default())
                .field("sort", sort);
            let fact = format!("@{name}");
            // It is no parameter, so where its value goes is not known.
            let shown = match redaction.as_ref().map(|redaction| redaction.withheld(0)) {
                Some(labels @ [_, ..]) => {
                    digest = self.thread.keyed(digest);
                    variables_now.withheld.insert(fact.clone(), shown);
                    withheld_words(labels)
                }
                Some([]) | None => shown,
            };
            variables_now.told.insert(fact, shown);
            let digest = format!("digest {}", digest.finish());
            variables_now.told.insert(format!("@{name} in full"), digest);
        }
        Ok(Some(variables_now))
    }

    /// What EXECUTE would run is part of what is approved: the first prepared statements are shown, and the exact bytes
    /// of all are in the digest, like every fact, since a text may name any of them.
    fn add_prepared(&self, facts: &mut BTreeMap<String, String>) {
        let mut prepared: Vec<_> = self.names.iter().collect();
        prepared.sort_by_key(|(name, _)| name.as_str());
        let mut digest = DigestBuilder::new("countersign prepared statements 1");
        for (at, (name, meaning)) in prepared.iter().enumerate() {
            digest = digest.field(name, &meaning.judged.text);
            if at < PREPARED_SHOWN_MAX
                && let Ok(text) = std::str::from_utf8(meaning.judged.shown())
            {
                facts.insert(format!("prepared statement {name}"), text.to_owned());
            }
        }
        let words = format!("{}, digest {}", prepared.len(), digest.finish());
        facts.insert("prepared statements".to_owned(), words);
    }

    fn digest(&self, sending: &Sending, facts: &BTreeMap<String, String>) -> Digest {
        let peer = &self.peer;
        let transaction: &[u8] = if self.is_in_transaction() {
            b"open"
        } else {
            b"none"
        };
        let mut digest = DigestBuilder::new("countersign request 1")
            .field("protocol", format!("mysql {}", sending.protocol).as_bytes())
            .field("principal", peer.principal.as_str().as_bytes())
            .field("upstream", peer.upstream.as_bytes())
            .field("database", peer.database.as_bytes())
            .field("database_user", peer.database_user.as_bytes())
            .field("transaction", transaction)
            .field("statement", &sending.judged.text)
            .field("parameters", &sending.bound);
        for (name, value) in facts {
            digest = digest.field(name, value.as_bytes());
        }
        self.thread
            .keyed_if_redacted(digest, &sending.parameters)
            .finish()
    }

    fn question_to_people(&self, sending: &Sending, bound: &Bound, number: u64) -> Ask {
        let limits = &self.thread.shared.settings.limits;
        let verdict = (*sending.verdict).clone();
        let transaction = self.transaction_now();
        let mut wait = verdict.wait.unwrap_or(match self.peer.profile {
            Profile::Standard => limits.wait,
            Profile::Mcp => limits.wait_mcp,
        });
        if !matches!(transaction, Transaction::Idle) {
            wait = wait.min(limits.wait_transaction);
        }
        Ask {
            peer: Arc::clone(&self.peer),
            attempt: self.attempt(number),
            digest: bound.digest,
            text: sending.judged.text.to_vec(),
            judgement: Arc::clone(&sending.judged.judgement),
            expires: verdict.expires.unwrap_or(limits.expires),
            verdict,
            parameters: sending.parameters.clone(),
            withheld_facts: bound.withheld.clone(),
            column_labels: touched(self.thread.redaction(&sending.judged).as_ref()).to_vec(),
            transaction,
            claimed: self.claimed.clone(),
            reply: self.reply.clone(),
            facts: bound.facts.clone(),
            names: bound.names.clone(),
            rules: bound.rules,
            wait: self.wait_at_most(wait),
            protocol: sending.protocol,
            copies_in: sending
                .judged
                .judgement
                .actions
                .iter()
                .any(|action| action.copies_in),
        }
    }

    fn transaction_now(&self) -> Transaction {
        if !self.is_in_transaction() {
            return Transaction::Idle;
        }
        Transaction::Open {
            wrote: self.transaction.wrote,
            opened_at: self.transaction.opened_at.unwrap_or_else(Timestamp::now),
        }
    }
}

/// The start of a value, and of a long one what tells it from others that begin alike.
fn shown_variable(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(VARIABLE_BYTES_SHOWN)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text.to_owned(),
        Err(_) => start.escape_ascii().to_string(),
    };
    if start.len() == bytes.len() {
        return text;
    }
    let digest = DigestBuilder::new("countersign variable 1")
        .field("value", bytes)
        .finish();
    format!("{text} ... ({} bytes, digest {digest})", bytes.len())
}
