//! Held requests: list, show, wait, decide. Never decides by itself: `desk` does, in one compare-and-set.
//! Read `card.rs` for the shape, `events.rs` for news of them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Rooms;
use super::browser::{Source, assurance, step_up_needed};
use super::card::{CLASS_WORDS, Card};
use super::idempotency::{KEY_BYTES_MAX, idempotency_key};
use super::login::Caller;
use super::problem::{Kind, Problem};
use super::read::{Body, Named, Params, duration, grant_filter, request_id, unacceptable, word};
use super::reveal::gone;
use super::whole::{maybe_whole, whole};
use crate::desk::{
    Decide, DecideError, Decision, DecisionScope, DeskError, NotStanding, NotSure, Reach, RequestFilter,
    Terms,
};
use crate::hold::{
    Approval, Digest, Guards, HeldRequest, NotGuarded, RUN_CLASSES, RUN_VERBS, RequestId, RunCovers,
    StateKind, guard,
};
use crate::identity::directory::Scope;
use crate::render::visible_line;
use crate::sql::action::TableName;

/// More would keep connections of proxies in between open for too long.
const LONG_POLL_MAX: Duration = Duration::from_secs(60);
/// The most that is shown to an agent, and to people in lists.
const REASON_BYTES_MAX: usize = 1000;
/// Requests on one page.
const PAGE_MAX: usize = 500;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// For the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// One page of the list of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestsPage {
    pub items: Vec<Card>,
    /// For the next page; null on the last one.
    pub next_cursor: Option<String>,
    /// Reviews that nobody has signed yet, of whatever request: `GET /reviews?state=open`.
    pub open_reviews: u64,
}

/// Which requests.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// A state, or several with commas; `pending` includes detached ones. Without it: all.
    state: Option<String>,
    /// The agent that asks.
    principal: Option<String>,
    class: Option<String>,
    database: Option<String>,
    /// Statements of the same shape: 64 hex digits.
    fingerprint: Option<String>,
    /// Those that ran by this standing grant: `G-` and six letters and digits.
    grant: Option<String>,
    /// Requests on one page, 1 to 500; 50 without it.
    #[param(minimum = 1, maximum = 500)]
    #[serde(default, deserialize_with = "maybe_whole")]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Held requests, newest first.
#[utoipa::path(
    get,
    path = "/requests",
    tag = "requests",
    params(ListQuery),
    responses((status = 200, body = RequestsPage)),
    security(("token" = []))
)]
pub async fn list(
    caller: Caller,
    State(rooms): State<Rooms>,
    Params(query): Params<ListQuery>,
) -> Result<Json<RequestsPage>, Problem> {
    caller.needs(Scope::Read)?;
    let page = rooms.desk.list(filter_of(query)?).await.map_err(desk_problem)?;
    Ok(Json(RequestsPage {
        items: page.items.iter().map(Card::of).collect(),
        next_cursor: page.next_cursor,
        open_reviews: rooms.desk.open_reviews().await.map_err(desk_problem)?,
    }))
}

fn filter_of(query: ListQuery) -> Result<RequestFilter, Problem> {
    if let Some(class) = &query.class {
        word("class", class, &CLASS_WORDS)?;
    }
    let fingerprint = match query.fingerprint {
        Some(text) => Some(*digest("fingerprint", &text)?.as_bytes()),
        None => None,
    };
    Ok(RequestFilter {
        states: states_of(query.state.as_deref())?,
        principal: query.principal,
        database: query.database,
        class: query.class,
        fingerprint,
        standing_grant: query.grant.map(|id| grant_filter("grant", &id)).transpose()?,
        limit: limit(query.limit, 50, PAGE_MAX)?,
        cursor: query.cursor,
    })
}

fn states_of(text: Option<&str>) -> Result<Vec<StateKind>, Problem> {
    let words: Vec<&str> = StateKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let mut states = Vec::new();
    for name in text.into_iter().flat_map(|text| text.split(',')) {
        word("state", name, &words)?;
        states.extend(StateKind::parse(name));
    }
    if states.contains(&StateKind::Pending) && !states.contains(&StateKind::Detached) {
        states.push(StateKind::Detached);
    }
    Ok(states)
}

/// A number of items on a page.
pub fn limit(asked: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    limit_of("limit", asked, default, max)
}

/// A number that a call may name, within its limit.
pub fn limit_of(name: &str, asked: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(default),
        Some(limit) if (1..=max).contains(&limit) => Ok(limit),
        Some(limit) => Err(unacceptable(
            name,
            &limit.to_string(),
            format!("write a number from 1 to {max}"),
        )),
    }
}

pub fn digest(name: &str, text: &str) -> Result<Digest, Problem> {
    Digest::parse(text).ok_or_else(|| unacceptable(name, text, "write its 64 hex digits"))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ShowQuery {
    /// Answer only when it is decided, or after this time: `30s`, at most a minute.
    wait: Option<String>,
}

/// One held request. With `wait`, a long poll: the end of the wait is no error.
#[utoipa::path(
    get,
    path = "/requests/{id}",
    tag = "requests",
    params(("id" = String, Path, description = "six letters and digits"), ShowQuery),
    responses((status = 200, body = Card)),
    security(("token" = []))
)]
pub async fn show(
    caller: Caller,
    State(rooms): State<Rooms>,
    Named(id): Named,
    Params(query): Params<ShowQuery>,
) -> Result<Json<Card>, Problem> {
    caller.needs(Scope::Read)?;
    let id = request_id(&id)?;
    let held = match query.wait {
        Some(wait) => {
            rooms
                .desk
                .wait_for(id, duration("wait", &wait)?.min(LONG_POLL_MAX))
                .await
        }
        None => rooms.desk.show(id).await,
    };
    held.map(|held| Json(Card::of(&held)))
        .map_err(|error| match error {
            DeskError::NotFound => Problem::not_found("request", &id.to_string()),
            other => desk_problem(other),
        })
}

/// What a person says of a request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionBody {
    /// `approve` or `deny`.
    pub decision: String,
    /// Why; required for `deny`. The agent reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The digest of what was shown; required for `approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The version of what was shown; compared when given.
    #[serde(
        default,
        deserialize_with = "maybe_whole",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 0, maximum = 9007199254740991_i64)]
    pub version: Option<u64>,
    /// What an approval covers; without it: `once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeBody>,
    /// What is to hold while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsBody>,
}

/// Limits that the proxy sets round an approved run and takes away after it. Where one cannot be set, the statement does
/// not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardsBody {
    /// How long it may wait for one lock: 100ms to 24h.
    #[schema(example = "5s")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_timeout: Option<String>,
    /// How long it may take: 100ms to 24h.
    #[schema(example = "10min")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement_timeout: Option<String>,
    /// It is undone if it affects more rows.
    #[serde(
        default,
        deserialize_with = "maybe_whole",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(minimum = 0, maximum = 9007199254740991_i64)]
    pub rows_max: Option<u64>,
}

impl GuardsBody {
    /// `None` where there are none.
    pub fn of(guards: Guards) -> Option<Self> {
        (!guards.is_empty()).then(|| Self {
            lock_timeout: guards.lock_timeout.map(guard::shown),
            statement_timeout: guards.statement_timeout.map(guard::shown),
            rows_max: guards.rows_max,
        })
    }

    pub fn guards(&self) -> Result<Guards, Problem> {
        let mut guards = Guards::default();
        let rows_max = self.rows_max.map(|rows| rows.to_string());
        for (name, value) in [
            ("lock_timeout", self.lock_timeout.as_ref()),
            ("statement_timeout", self.statement_timeout.as_ref()),
            ("rows_max", rows_max.as_ref()),
        ] {
            if let Some(value) = value {
                guards.put(name, value).map_err(|error| not_guarded(&error))?;
            }
        }
        Ok(guards)
    }
}

fn not_guarded(error: &NotGuarded) -> Problem {
    Problem::new(Kind::Unacceptable, error.to_string(), error.next_step())
}

/// `"once"`, or a standing grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "`scope` is \"once\", {\"kind\":\"fingerprint\",\"for\":\"session\",\"minutes\":30,\"uses\":20} or \
                 {\"kind\":\"run\",\"for\":\"session\",\"classes\":[\"ddl\"],\"verbs\":[\"alter table\"],\"tables\":[\"public.orders\"],\"minutes\":15,\"statements\":40}"
)]
pub enum ScopeBody {
    Word(String),
    Standing(StandingScope),
    Run(RunScope),
}

/// This statement, and further ones of these classes on these tables in the same session or transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunScope {
    /// `run`.
    pub kind: String,
    /// What it ends with: `session` or `transaction`.
    #[serde(rename = "for")]
    pub whose: String,
    /// Of `read`, `write` and `ddl`; without them that of the statement itself.
    #[serde(default)]
    pub classes: Vec<String>,
    /// What they do: `create index`, `alter table add column`, `insert` …; `alter table` stands for all that begin so.
    /// Without them what the statement itself does.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// `schema.name`, or `name` as statements have it; without them those of the statement itself. Those that a statement
    /// is going to make may be named, too.
    #[serde(default)]
    pub tables: Vec<String>,
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 4294967295_i64)]
    pub minutes: u32,
    /// Statements in all, the decided one included.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 4294967295_i64)]
    pub statements: u32,
}

impl RunScope {
    pub fn of(terms: Terms, covers: &RunCovers) -> Self {
        Self {
            kind: "run".to_owned(),
            whose: terms.reach.as_str().to_owned(),
            classes: covers.classes.iter().map(ToString::to_string).collect(),
            verbs: covers.verbs.iter().cloned().collect(),
            tables: covers.tables.iter().map(ToString::to_string).collect(),
            minutes: terms.minutes,
            statements: terms.uses,
        }
    }

    fn scope(&self) -> Result<DecisionScope, Problem> {
        word("scope.kind", &self.kind, &["run"])?;
        let reach = match word("scope.for", &self.whose, &["session", "transaction"])? {
            "transaction" => Reach::Transaction,
            _session => Reach::Session,
        };
        let words: Vec<&str> = RUN_CLASSES.iter().map(|class| class.as_str()).collect();
        let mut covers = RunCovers::default();
        for class in &self.classes {
            word("scope.classes", class, &words)?;
            covers
                .classes
                .extend(RUN_CLASSES.iter().filter(|known| known.as_str() == class));
        }
        for verb in &self.verbs {
            let verb = verb.to_ascii_lowercase();
            covers
                .verbs
                .insert(word("scope.verbs", &verb, &RUN_VERBS)?.to_owned());
        }
        for table in &self.tables {
            let (schema, name) = match table.split_once('.') {
                Some((schema, name)) => (Some(schema.to_owned()), name),
                None => (None, table.as_str()),
            };
            if name.is_empty() || name == "*" || schema.as_deref() == Some("") {
                return Err(unacceptable(
                    "scope.tables",
                    table,
                    "name one table, with or without its schema",
                ));
            }
            let name = name.to_owned();
            covers.tables.insert(TableName { schema, name });
        }
        let terms = Terms {
            reach,
            minutes: self.minutes,
            uses: self.statements,
        };
        Ok(DecisionScope::Run(terms, covers))
    }
}

impl ScopeBody {
    /// What it covers, in words for people; nothing for one run.
    pub fn words(&self) -> String {
        match self {
            Self::Word(_) => String::new(),
            Self::Standing(scope) => format!(
                "{} times within {} min for the {}",
                scope.uses, scope.minutes, scope.whose
            ),
            Self::Run(scope) => format!(
                "a run of {} statements of {} ({}) on {} within {} min for the {}",
                scope.statements,
                scope.classes.join(", "),
                scope.verbs.join(", "),
                visible_line(&scope.tables.join(", ")),
                scope.minutes,
                scope.whose
            ),
        }
    }

    /// `None`: once.
    pub fn of(said: &Approval) -> Option<Self> {
        let terms = said.terms?;
        Some(match &said.run {
            Some(covers) => Self::Run(RunScope::of(terms, covers)),
            None => Self::Standing(StandingScope::of(terms)),
        })
    }
}

/// This run, and later statements that differ from it only in literals and parameters: for a time, and so often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StandingScope {
    /// `fingerprint`.
    pub kind: String,
    /// Whose statements: `session` (this connection's alone) or `principal`.
    #[serde(rename = "for")]
    pub whose: String,
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 4294967295_i64)]
    pub minutes: u32,
    /// Runs in all, that of the decided request included.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 4294967295_i64)]
    pub uses: u32,
}

impl StandingScope {
    pub fn of(terms: Terms) -> Self {
        Self {
            kind: "fingerprint".to_owned(),
            whose: terms.reach.as_str().to_owned(),
            minutes: terms.minutes,
            uses: terms.uses,
        }
    }

    fn terms(&self) -> Result<Terms, Problem> {
        word("scope.kind", &self.kind, &["fingerprint"])?;
        let reach = match word("scope.for", &self.whose, &["session", "principal"])? {
            "principal" => Reach::Principal,
            _session => Reach::Session,
        };
        Ok(Terms {
            reach,
            minutes: self.minutes,
            uses: self.uses,
        })
    }
}

fn scope_of(decision: Decision, scope: Option<&ScopeBody>) -> Result<DecisionScope, Problem> {
    match scope {
        None => Ok(DecisionScope::Once),
        Some(ScopeBody::Word(text)) => word("scope", text, &["once"]).map(|_| DecisionScope::Once),
        Some(ScopeBody::Standing(_) | ScopeBody::Run(_)) if decision == Decision::Deny => Err(Problem::new(
            Kind::Unacceptable,
            "a denial makes no standing grant",
            "leave `scope` out",
        )),
        Some(ScopeBody::Standing(scope)) => scope.terms().map(DecisionScope::Fingerprint),
        Some(ScopeBody::Run(scope)) => scope.scope(),
    }
}

/// Approve or deny, once. The loser of a race gets 409 and learns who decided.
#[utoipa::path(
    post,
    path = "/requests/{id}/decision",
    tag = "requests",
    params(
        ("id" = String, Path, description = "six letters and digits"),
        ("countersign-code" = Option<String>, Header, description = "a one-time code, for what needs a second factor"),
    ),
    request_body = DecisionBody,
    responses((status = 200, body = Card)),
    security(("token" = []))
)]
pub async fn decide(
    caller: Caller,
    source: Source,
    State(rooms): State<Rooms>,
    Named(id): Named,
    headers: HeaderMap,
    Body(body): Body<DecisionBody>,
) -> Result<Json<Card>, Problem> {
    caller.needs(Scope::Decide)?;
    let id = request_id(&id)?;
    let mut decide = decide_of(&caller, &headers, body)?;
    decide.assurance = assurance(&rooms, &caller, source, &headers).await?;
    let held = rooms
        .desk
        .decide(id, decide)
        .await
        .map_err(|error| decide_problem(id, error))?;
    Ok(Json(Card::of(&held)))
}

/// The same by a page's form; `key` makes a form that is sent twice count once.
pub async fn decide_by_page(
    rooms: &Rooms,
    caller: &Caller,
    id: RequestId,
    body: DecisionBody,
    key: String,
) -> Result<HeldRequest, Problem> {
    caller.needs(Scope::Decide)?;
    let mut decide = decide_of(caller, &HeaderMap::new(), body)?;
    decide.channel = "web".to_owned();
    decide.idempotency = (1..=KEY_BYTES_MAX).contains(&key.len()).then_some(key);
    let said = rooms.desk.decide(id, decide).await;
    said.map_err(|error| decide_problem(id, error))
}

fn decide_of(caller: &Caller, headers: &HeaderMap, body: DecisionBody) -> Result<Decide, Problem> {
    let decision = match word("decision", &body.decision, &["approve", "deny"])? {
        "approve" => Decision::Approve,
        _deny => Decision::Deny,
    };
    let scope = scope_of(decision, body.scope.as_ref())?;
    let guards = match body.guards {
        Some(_) if decision == Decision::Deny => {
            return Err(Problem::new(
                Kind::Unacceptable,
                "a denial has no guards",
                "leave `guards` out",
            ));
        }
        Some(guards) => guards.guards()?,
        None => Guards::default(),
    };
    let reason = reason_of(decision, body.reason.as_deref().unwrap_or_default())?;
    let digest = match (decision, body.digest) {
        (_, Some(text)) => Some(digest("digest", &text)?),
        (Decision::Deny, None) => None,
        (Decision::Approve, None) => {
            return Err(Problem::new(
                Kind::DigestRequired,
                "an approval without the digest of what was shown",
                "send `digest` (and `version`) as `GET /api/v1/requests/ID` gave them",
            ));
        }
    };
    Ok(Decide {
        by: caller.person.name.clone(),
        token_seen_by: caller.token_seen_by.clone(),
        assurance: caller.assurance(),
        decision,
        reason,
        digest,
        version: body.version,
        scope,
        guards,
        channel: channel_of(headers).to_owned(),
        idempotency: idempotency_key(headers)?,
    })
}

fn reason_of(decision: Decision, text: &str) -> Result<String, Problem> {
    let reason = text.trim();
    if decision == Decision::Deny && reason.is_empty() {
        return Err(Problem::new(
            Kind::ReasonRequired,
            "a denial without a reason",
            "say in `reason` what the agent should do instead",
        ));
    }
    one_line_reason(reason)
}

/// A reason that has to be given.
pub fn required_reason(text: &str) -> Result<String, Problem> {
    let reason = one_line_reason(text)?;
    if reason.is_empty() {
        return Err(Problem::new(
            Kind::ReasonRequired,
            "no reason is given",
            "say in `reason` why, for the agent and for the log",
        ));
    }
    Ok(reason)
}

/// A reason that people read in one line, trimmed; may be empty.
pub fn one_line_reason(text: &str) -> Result<String, Problem> {
    let reason = text.trim();
    if reason.len() > REASON_BYTES_MAX || reason.contains(char::is_control) {
        return Err(Problem::new(
            Kind::Unacceptable,
            "the reason is too long or holds control characters",
            format!("write one line of at most {REASON_BYTES_MAX} bytes"),
        ));
    }
    Ok(reason.to_owned())
}

/// By which way a person speaks: the command line, or any other program.
pub fn channel_of(headers: &HeaderMap) -> &'static str {
    let from_cli = headers
        .get(USER_AGENT)
        .is_some_and(|agent| agent.as_bytes().starts_with(b"countersign/"));
    if from_cli { "cli" } else { "api" }
}

pub fn decide_problem(id: RequestId, error: DecideError) -> Problem {
    let detail = error.to_string();
    match error {
        DecideError::NotFound => Problem::not_found("request", &id.to_string()),
        DecideError::AlreadyDecided { by, state } => Problem::new(
            Kind::AlreadyDecided,
            detail,
            format!("look at it: `countersign show {id}`"),
        )
        .with(|more| {
            more.decided_by = Some(by.into_iter().map(|name| name.to_string()).collect());
            more.state = Some(state.to_string());
        }),
        DecideError::Stale { version, .. } => Problem::new(
            Kind::Stale,
            detail,
            format!("read it again: `countersign show {id}`"),
        )
        .with(|more| more.version = Some(version)),
        DecideError::NotPermitted(why) => Problem::new(Kind::NotPermitted, detail, why.next_step()),
        DecideError::NotSure(why) => not_sure_problem(&why),
        DecideError::NobodyWaits => Problem::new(
            Kind::Conflict,
            detail,
            "deny it, or let the agent send its transaction again",
        ),
        DecideError::NotStanding(why) => {
            let kind = match &why {
                NotStanding::ApprovedOnce { .. }
                | NotStanding::OtherKind { .. }
                | NotStanding::TooMany { .. } => Kind::Conflict,
                NotStanding::Off
                | NotStanding::Minutes { .. }
                | NotStanding::Uses { .. }
                | NotStanding::NoRun { .. }
                | NotStanding::DecidedEachTime { .. } => Kind::Unacceptable,
            };
            Problem::new(
                kind,
                detail,
                "approve it once: leave `scope` out, or ask for less",
            )
        }
        DecideError::NotGuarded(why) => not_guarded(&why),
        DecideError::NotRevealed => Problem::new(
            Kind::Conflict,
            detail,
            format!("look at them first, which is recorded: `countersign show {id} --reveal`"),
        ),
        DecideError::ValuesGone => gone(&detail),
        DecideError::ReasonMissing | DecideError::NoReason => {
            Problem::new(Kind::ReasonRequired, detail, "say why in `reason`")
        }
        DecideError::BreakGlassOff => Problem::new(
            Kind::Conflict,
            detail,
            "ask those whom the rule names; the setting is `people.break_glass_per_day`",
        ),
        DecideError::BreakGlassTooOften { .. } => Problem::new(
            Kind::Conflict,
            detail,
            "ask those whom the rule names, or somebody else with the role break_glass",
        ),
        DecideError::LogUnavailable | DecideError::StoreUnavailable | DecideError::Stopping => {
            Problem::unavailable(&detail)
        }
    }
}

/// Why a second factor is asked for, and what to do about it.
pub fn not_sure_problem(why: &NotSure) -> Problem {
    let detail = why.to_string();
    match why {
        NotSure::StepUpNeeded { .. } => step_up_needed(detail),
        NotSure::SecondFactorNeeded { .. } => Problem::new(
            Kind::SecondFactorNeeded,
            detail,
            "enrol an authenticator app (`countersign user totp`) or a passkey, or ask another reviewer",
        ),
        NotSure::SecondLogInNeeded => step_up_needed(detail),
        NotSure::NoSecondFactor { .. } | NotSure::SecondFactorTooNew { .. } => Problem::new(
            Kind::SecondFactorNeeded,
            detail,
            "ask those whom the rule names; enrol an authenticator app (`countersign user totp`) or a passkey for another \
             day",
        ),
    }
}

/// What the desk says no with where no request is named.
pub fn desk_problem(error: DeskError) -> Problem {
    match error {
        DeskError::NotFound => Problem::new(Kind::NotFound, error.to_string(), "list the requests there are"),
        DeskError::BadCursor => Problem::new(
            Kind::Unacceptable,
            error.to_string(),
            "begin again without a cursor",
        ),
        DeskError::LogUnavailable
        | DeskError::StoreUnavailable
        | DeskError::AlreadyServed
        | DeskError::Stopping => Problem::unavailable(&error),
    }
}
