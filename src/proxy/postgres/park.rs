//! A statement that waits for a person, on its open connection. Never lets it go without the desk's permit, and looks
//! again at what it would mean before it does. Read `desk/mod.rs` for the other side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::desk::{Ask, Asked, Detach, Parked, Transaction};
use crate::hold::{Digest, DigestBuilder, RequestId};
use crate::identity::principal::Profile;
use crate::proxy::end::{End, Happened, boot_time, refused_ask, refused_start};
use crate::proxy::postgres::facts::{Names, Question};
use crate::proxy::postgres::impact::Job;
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::unit::Unit;
use crate::proxy::redact::touched;
use crate::proxy::refusal::{self, Refusal};
use crate::proxy::registry::Control;
use crate::proxy::waiting::{Ended, detach, ended_by, leave_approved, wait_is_over, withdraw, woken};
use crate::wire::postgres::conversation::RunId;
use crate::wire::postgres::frame::Header;
use crate::wire::postgres::message::{Status, client, put_parameter_status, server};

/// A silent ParameterStatus this often keeps read time-outs and load balancers content.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The server is asked something this often, so that its own idle time-outs do not end the transaction.
const KEEP_SERVER: Duration = Duration::from_secs(30);

/// At least this often the clock is looked at (it may have been suspended), and whether the client has hung up behind
/// bytes that are not read.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Prepared statements that are shown beside an EXECUTE.
const PREPARED_SHOWN_MAX: usize = 50;

/// client_min_messages under which a notice is shown.
const SHOWS_NOTICES: [&str; 8] = [
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice",
];

/// What a held statement is bound to.
struct Bound {
    digest: Digest,
    names: String,
    /// The part of `names` that any connection to the database would answer, without what was judged of them.
    resolved: String,
    facts: BTreeMap<String, String>,
    shows_notices: bool,
    rules: [u8; 32],
}

impl Session {
    /// Parks a unit until a person decides, then runs or refuses it.
    pub(super) async fn hold(&mut self, unit: Unit) -> Result<(), End> {
        self.leave_ended();
        let bound = match self.bind_to_now(&unit).await? {
            Ok(bound) => bound,
            Err(refusal) => return self.refuse(&refusal, &unit).await,
        };
        let shared = &self.thread.shared;
        shared.metrics.count_statement(unit.judged.class.as_str(), "hold");
        let desk = shared.desk.clone();
        // The number is used up whatever becomes of the statement: no other may have its place in the log.
        let run = self.next_run();
        self.seat.touch(Timestamp::now());
        match desk.ask(self.question_to_people(&unit, &bound, run)).await {
            Ok(Asked::Granted(permit, request)) => {
                info!(request.id = %request, "request {request} runs by its grant");
                self.run_unit(&unit, run, permit).await
            }
            Ok(Asked::Parked(parked)) => {
                self.reply = None;
                self.park(unit, run, bound, parked).await
            }
            Err(error) => {
                let refusal = refused_ask(&error);
                warn!(%error, "a statement cannot be put before people");
                self.refuse(&refusal, &unit).await
            }
        }
    }

    async fn park(&mut self, unit: Unit, run: RunId, bound: Bound, mut parked: Parked) -> Result<(), End> {
        let request = parked.request;
        let shared = &self.thread.shared;
        shared.metrics.held.inc();
        let job = self.look_at(&unit, &bound, request);
        self.side.impact.leave(job, &shared.desk).await;
        if bound.shows_notices && self.may_tell() {
            let rule = unit
                .verdict
                .as_ref()
                .map(|verdict| verdict.rule.to_string())
                .unwrap_or_default();
            let words = unit.judged.what();
            let fields = refusal::held_notice(request, &words, &rule, parked.wait, parked.reattached);
            self.pipe.tell(|out| fields.put(server::NOTICE, out));
        }
        let ended = self.await_decision(request, &mut parked).await;
        self.thread.shared.metrics.held.dec();
        match ended? {
            Ended::Refused(refusal) => self.refuse(&refusal, &unit).await,
            Ended::Approved { by } => self.release(unit, run, &bound, request, &by).await,
        }
    }

    /// What its reviewer should know besides, found out while it waits.
    fn look_at(&self, unit: &Unit, bound: &Bound, request: RequestId) -> Job {
        Job {
            request,
            peer: Arc::clone(&self.peer),
            text: Arc::clone(&unit.judged.text),
            judgement: Arc::clone(&unit.judged.judgement),
            lexing: unit.judged.lexing,
            catalog: self.sight.catalog(&self.facts),
            parameters: unit.parameters.clone(),
            redaction: self.thread.redaction(&unit.judged).as_deref().cloned(),
            bound: unit.bound.clone(),
            search_path: self.facts.search_path.clone(),
            role: self.facts.role.clone(),
            is_another_user: self.facts.session_authorization != self.facts.at_log_in.1,
            names: bound.resolved.clone(),
        }
    }

    /// Waits, keeps both sides alive, and gives way to whoever is first: a person, the clock, the client, the server.
    async fn await_decision(&mut self, request: RequestId, parked: &mut Parked) -> Result<Ended, End> {
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
                Happened::Control(Control::Kill) => {
                    withdraw(&self.thread.shared.desk, request, "its connection was killed").await;
                    return Err(End::Killed);
                }
                Happened::Control(Control::CredentialEnded(why)) => {
                    withdraw(&self.thread.shared.desk, request, &why).await;
                    return Err(End::CredentialEnded(why));
                }
                Happened::Control(Control::EndedByPerson(why)) => {
                    withdraw(&self.thread.shared.desk, request, &ended_by(&why)).await;
                    return Err(End::EndedByPerson(why));
                }
                Happened::Control(Control::Stop) => {
                    detach(&self.thread.shared.desk, request, Detach::ClientLeft).await;
                    return Err(End::Stopping);
                }
                Happened::Time => {}
            }
            if self.pipe.is_inbox_full() && self.pipe.has_hung_up() {
                return self.left(request).await;
            }
            if Instant::now() >= keep_alive {
                keep_alive = Instant::now() + KEEP_ALIVE;
                self.tell_still_waiting();
            }
            if Instant::now() >= keep_server {
                keep_server = Instant::now() + KEEP_SERVER;
                self.keep_server();
            }
        }
    }

    async fn left(&mut self, request: RequestId) -> Result<Ended, End> {
        detach(&self.thread.shared.desk, request, Detach::ClientLeft).await;
        Err(End::ClientLeft)
    }

    /// A Terminate behind the parked statement.
    fn client_says_good_bye(&self) -> bool {
        let mut rest = &self.pipe.inbox[..];
        while let Ok(Some(header)) = Header::cut(rest) {
            if header.tag == client::TERMINATE {
                return true;
            }
            let Some(behind) = rest.get(header.frame_bytes()..) else {
                return false;
            };
            rest = behind;
        }
        false
    }

    fn tell_still_waiting(&mut self) {
        let name = self.application_name.clone();
        if self.may_tell() {
            self.pipe
                .tell(|out| put_parameter_status(out, "application_name", &name));
        }
    }

    /// A question whose answer nobody needs. None while the last one is unanswered, none in a failed transaction, and
    /// none into an open pipeline, in which the server's clock for idle transactions does not run.
    fn keep_server(&mut self) {
        let status = self.talk.status();
        if !self.talk.is_settled() || status == Status::Failed || self.talk.has_open_pipeline() {
            return;
        }
        self.answers.clear();
        let mut frames = Vec::new();
        Question::default().put(&mut self.talk, &self.nothing, &mut frames);
        self.pipe.to_server.own(&frames);
        self.pipe.to_server.release_plain();
    }

    /// An approval has come: what the statement would mean now must be what it meant when it was shown.
    async fn release(
        &mut self,
        unit: Unit,
        run: RunId,
        bound: &Bound,
        request: RequestId,
        by: &[String],
    ) -> Result<(), End> {
        while !self.talk.is_settled() {
            if let Some(why) = self.step_of_release(request).await? {
                let why = why.to_owned();
                return self.refuse(&Refusal::Withdrawn { request, why }, &unit).await;
            }
        }
        let now = match self.bind_to_now(&unit).await {
            Ok(now) => now,
            Err(end) => {
                leave_approved(&self.thread.shared.desk, request, &end).await;
                return Err(end);
            }
        };
        let now = match now {
            Ok(now) => now,
            Err(refusal) => {
                withdraw(
                    &self.thread.shared.desk,
                    request,
                    "what it means could not be read again",
                )
                .await;
                return self.refuse(&refusal, &unit).await;
            }
        };
        let desk = self.thread.shared.desk.clone();
        match desk.start_run(request, now.digest, &now.names, now.rules).await {
            Ok(permit) => {
                if bound.shows_notices && self.may_tell() {
                    let fields = refusal::approved_notice(request, &by.join(", "), permit.guards());
                    self.pipe.tell(|out| fields.put(server::NOTICE, out));
                }
                self.run_unit(&unit, run, permit).await
            }
            Err(error) => {
                info!(request.id = %request, %error, "an approved request is not started");
                self.refuse(&refused_start(request, &error), &unit).await
            }
        }
    }

    /// Waits for what the server still owes. `Some`: a cancel came, and the request is withdrawn.
    async fn step_of_release(&mut self, request: RequestId) -> Result<Option<&'static str>, End> {
        match self.happened(None::<&mut std::future::Pending<()>>, None).await {
            Happened::Client | Happened::Server | Happened::Time | Happened::Woken(()) => Ok(None),
            Happened::Control(Control::Cancel { why, asked }) => {
                withdraw(&self.thread.shared.desk, request, why).await;
                drop(asked);
                Ok(Some(why))
            }
            Happened::ClientLeft => {
                leave_approved(&self.thread.shared.desk, request, &End::ClientLeft).await;
                Err(End::ClientLeft)
            }
            Happened::End(end) => {
                leave_approved(&self.thread.shared.desk, request, &end).await;
                Err(end)
            }
            Happened::Control(Control::Kill) => {
                withdraw(&self.thread.shared.desk, request, "its connection was killed").await;
                Err(End::Killed)
            }
            Happened::Control(Control::CredentialEnded(why)) => {
                withdraw(&self.thread.shared.desk, request, &why).await;
                Err(End::CredentialEnded(why))
            }
            Happened::Control(Control::EndedByPerson(why)) => {
                withdraw(&self.thread.shared.desk, request, &ended_by(&why)).await;
                Err(End::EndedByPerson(why))
            }
            Happened::Control(Control::Stop) => {
                detach(&self.thread.shared.desk, request, Detach::ClientLeft).await;
                Err(End::Stopping)
            }
        }
    }

    /// What the statement means at this moment: session facts, and the identity of the names it resolves to.
    async fn bind_to_now(&mut self, unit: &Unit) -> Result<Result<Bound, Refusal>, End> {
        let names = Names::of(&unit.judged.judgement);
        if names.are_too_many() {
            let why = "it names too many tables and functions to be shown".to_owned();
            return Ok(Err(Refusal::Unreadable { why }));
        }
        let mut resolved = String::new();
        let mut identity = String::new();
        let mut shows_notices = self.peer.profile == Profile::Standard;
        // A failed transaction answers nothing: the last answers stand.
        if !self.talk.is_failed() {
            let question = Question {
                own: self.sight.has_catalog(),
                held: Some(names),
            };
            let answers = self.ask_server(&question).await?;
            let Some(answers) = answers else {
                let why = "what its names mean could not be read from the server".to_owned();
                return Ok(Err(Refusal::Unreadable { why }));
            };
            let rest = self.take_facts(&question, Some(&answers))?;
            let [level, names, ..] = rest else {
                return Err(End::Violation("the server's answers are not whole".to_owned()));
            };
            shows_notices &= SHOWS_NOTICES.contains(&level.as_str());
            names.clone_into(&mut resolved);
            identity.clone_from(&resolved);
            // What could be meant besides, by a new function of a name or an operator, shows in the judgement alone.
            if let Some(judged) = self.judged_now(&unit.judged).await? {
                identity.push_str(&format!("\nj {}", judged.meaning()));
            }
        }
        let mut facts = self.shown_facts();
        if unit.judged.judgement.depends_on_names {
            if let Some(refusal) = self.prepared_before() {
                return Ok(Err(refusal));
            }
            self.add_prepared(&mut facts);
        }
        let digest = self.digest(unit, &facts);
        let rules = self.thread.shared.rules.load().generation;
        Ok(Ok(Bound {
            digest,
            names: identity,
            resolved,
            facts,
            shows_notices,
            rules,
        }))
    }

    fn shown_facts(&self) -> BTreeMap<String, String> {
        let facts = &self.facts;
        let conforming = if facts.standard_conforming_strings {
            "on"
        } else {
            "off"
        };
        [
            ("search_path", facts.search_path.as_str()),
            ("role", facts.role.as_str()),
            ("session_authorization", facts.session_authorization.as_str()),
            ("client_encoding", facts.client_encoding.as_str()),
            ("standard_conforming_strings", conforming),
            ("values are read under", facts.reads_values.as_str()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    /// What EXECUTE would run is part of what is approved: the first prepared statements are shown, and the exact bytes
    /// of all are in the digest, like every fact, since a text may name any of them.
    fn add_prepared(&self, facts: &mut BTreeMap<String, String>) {
        let mut prepared: Vec<_> = self.talk.statements().iter().collect();
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

    /// A text with an EXECUTE in it may name any prepared statement: each must mean what the values shown here say.
    fn prepared_before(&self) -> Option<Refusal> {
        let statements = self.talk.statements().iter();
        let mut before =
            statements.filter(|(name, meaning)| !name.is_empty() && self.is_read_before(meaning));
        let (name, _) = before.next()?;
        Some(Refusal::PreparedBefore { name: name.clone() })
    }

    fn digest(&self, unit: &Unit, facts: &BTreeMap<String, String>) -> Digest {
        let peer = &self.peer;
        let transaction = match self.transaction_now() {
            Transaction::Idle => "none",
            Transaction::Implicit { .. } => "implicit",
            Transaction::Open { .. } => "open",
            Transaction::Failed => "failed",
        };
        let types: Vec<u8> = unit
            .parameters
            .iter()
            .flat_map(|parameter| parameter.type_oid.to_be_bytes())
            .collect();
        let mut digest = DigestBuilder::new("countersign request 1")
            .field(
                "protocol",
                if unit.simple {
                    b"postgres simple"
                } else {
                    b"postgres extended"
                },
            )
            .field("principal", peer.principal.as_str().as_bytes())
            .field("upstream", peer.upstream.as_bytes())
            .field("database", peer.database.as_bytes())
            .field("database_user", peer.database_user.as_bytes())
            .field("transaction", transaction.as_bytes())
            .field("statement", &unit.judged.text)
            .field("parameter_types", &types)
            .field("bind", bound_values(&unit.bound));
        for (name, value) in facts {
            digest = digest.field(name, value.as_bytes());
        }
        self.thread.keyed_if_redacted(digest, &unit.parameters).finish()
    }

    fn question_to_people(&self, unit: &Unit, bound: &Bound, run: RunId) -> Ask {
        let limits = &self.thread.shared.settings.limits;
        let verdict = unit
            .verdict
            .as_deref()
            .cloned()
            .unwrap_or_else(|| (*self.verdict(&unit.judged)).clone());
        let transaction = self.transaction_now();
        let mut wait = verdict.wait.unwrap_or(match self.peer.profile {
            Profile::Standard => limits.wait,
            Profile::Mcp => limits.wait_mcp,
        });
        if !matches!(transaction, Transaction::Idle) {
            wait = wait.min(limits.wait_transaction);
        }
        let wait = self.wait_max.map_or(wait, |max| wait.min(max));
        Ask {
            peer: Arc::clone(&self.peer),
            attempt: self.attempt(run),
            digest: bound.digest,
            text: unit.judged.text.to_vec(),
            judgement: Arc::clone(&unit.judged.judgement),
            expires: verdict.expires.unwrap_or(limits.expires),
            verdict,
            parameters: unit.parameters.clone(),
            withheld_facts: BTreeMap::new(),
            column_labels: touched(self.thread.redaction(&unit.judged).as_ref()).to_vec(),
            transaction,
            claimed: self.claimed.clone(),
            reply: self.reply.clone(),
            facts: bound.facts.clone(),
            names: bound.names.clone(),
            rules: bound.rules,
            wait,
            protocol: if unit.simple { "simple" } else { "extended" },
            copies_in: unit
                .judged
                .judgement
                .actions
                .iter()
                .any(|action| action.copies_in),
        }
    }
}

/// The part of a Bind that is not a name: formats, values, result formats. Names may differ from one sending to the
/// next without the statement meaning anything else.
fn bound_values(bind: &[u8]) -> &[u8] {
    let mut ends = bind
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == 0)
        .map(|(at, _)| at + 1);
    ends.nth(1).and_then(|at| bind.get(at..)).unwrap_or_default()
}
