//! The card of one request: everything a reviewer is to see, in the order in which they read, and what they can do.
//! Never offers an approval beside a statement that is not shown whole. Read `shown.rs` for how the statement is shown.
//!
//! Why an approval takes two steps: the first opens the form, the second sends it; between them stands that the whole
//! statement was read, which a module notices by its end coming into view and a person without modules says.

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::break_glass::{GlassShown, ReviewShown, may_review};
use super::moments::{Moment, countdown, span};
use super::page::{Sender, Shell, Trouble, Visitor, see_other, shown};
use super::queue::may_be_decided_by;
use super::shown::{PieceShown, StatementShown, risk_sign, state_words, summary_of};
use crate::api::Rooms;
use crate::api::acts::act_over;
use crate::api::card::{Card, Remark, Said};
use crate::api::impact::impact_parts;
use crate::api::problem::Problem;
use crate::api::read::{request_id, unacceptable};
use crate::api::requests::{
    DecisionBody, GuardsBody, ScopeBody, StandingScope, decide_by_page, desk_problem,
};
use crate::audit::{Kind, Record};
use crate::clock::Timestamp;
use crate::desk::{ActKind, DeskError, RequestFilter};
use crate::hold::message::denied_by_person;
use crate::hold::{HeldRequest, RequestId};
use crate::identity::directory::Scope;
use crate::journal::LogFilter;
use crate::render::{Layout, Reading, Statement, visible, visible_line};

/// How the log tells what was said on a page.
const CHANNEL: &str = "web";
/// Statements of the session that are shown.
const BEFORE_MAX: usize = 10;
/// Earlier requests of the same shape.
const EARLIER_MAX: usize = 20;

/// Reasons that fit most denials.
const PRESETS: [&str; 5] = [
    "too broad: name the rows by their key",
    "not now: ask again after the release",
    "do this in a migration that a person reviews",
    "this data must not leave the database",
    "ask the owner of the table first",
];

#[derive(Debug, Default, Deserialize)]
pub struct CardQuery {
    /// Lines as they were received.
    #[serde(default)]
    raw: String,
}

/// A label and what is to be said under it.
pub struct Part {
    pub label: &'static str,
    pub texts: Vec<String>,
}

pub struct ParameterShown {
    pub index: u16,
    pub type_name: String,
    pub value: String,
    pub is_null: bool,
}

pub struct Pair {
    pub name: String,
    pub value: String,
}

pub struct SaidShown {
    pub at: Moment,
    pub by: String,
    pub decision: &'static str,
    pub reason: String,
    pub channel: String,
    pub scope: String,
    pub token_seen_by: String,
}

impl SaidShown {
    fn of(said: &Said, now: Timestamp) -> Self {
        let scope = said.scope.as_ref().map(ScopeBody::words).unwrap_or_default();
        Self {
            at: Moment::parse(&said.at, now),
            by: visible_line(&said.by),
            decision: if said.break_glass {
                "approved alone"
            } else if said.decision == "approve" {
                "approved"
            } else {
                "denied"
            },
            reason: visible_line(&said.reason),
            channel: visible_line(&said.channel),
            scope,
            token_seen_by: said.token_seen_by.join(", "),
        }
    }
}

/// Something said beside the request.
pub struct RemarkShown {
    pub at: Moment,
    pub by: String,
    pub kind: String,
    pub text: String,
    pub to: String,
}

impl RemarkShown {
    fn of(remark: &Remark, now: Timestamp) -> Self {
        Self {
            at: Moment::parse(&remark.at, now),
            by: visible_line(remark.by.as_deref().unwrap_or("time")),
            kind: match remark.kind.as_str() {
                "viewed" => "opened the card".to_owned(),
                "comment" => "comments".to_owned(),
                "question" => "asks the agent".to_owned(),
                "reply" => "replies (of the agent, not verified)".to_owned(),
                other => other.replace('_', " "),
            },
            text: match remark.kind.as_str() {
                "viewed" => String::new(),
                _said => visible(&remark.text),
            },
            to: visible_line(remark.to.as_deref().unwrap_or_default()),
        }
    }
}

/// Who is needed for an approval, and who of them has given it.
pub struct NeedShown {
    pub group: String,
    pub needed: u32,
    pub by: String,
    pub is_met: bool,
}

/// A statement that the session ran before, or tried to.
pub struct BeforeShown {
    pub at: Moment,
    pub verdict: String,
    pub class: String,
    pub pieces: Vec<PieceShown>,
    pub is_cut: bool,
    pub rows: String,
    pub is_refused: bool,
}

impl BeforeShown {
    pub fn of(record: &Record, now: Timestamp) -> Self {
        let fields = &record.fields;
        let text = fields.text.clone().unwrap_or_default();
        let reading = Reading::of(fields.read_as.as_deref(), None, None);
        let whole = Statement::of(&text, &reading, Layout::AsReceived, &[]);
        let (pieces, is_cut) = summary_of(&whole);
        let verdict = fields.verdict.clone().unwrap_or_default();
        let result = fields.result.as_ref();
        Self {
            at: Moment::of(record.time, now),
            is_refused: verdict != "allow",
            verdict,
            class: fields.class.clone().unwrap_or_default(),
            pieces,
            is_cut,
            rows: result
                .and_then(|result| result.fields.rows)
                .map(|rows| format!("{rows} rows"))
                .unwrap_or_default(),
        }
    }
}

pub struct EarlierShown {
    pub id: String,
    pub at: Moment,
    pub state: String,
    pub said: Vec<SaidShown>,
}

#[derive(Template)]
#[template(path = "card.html")]
struct CardPage {
    shell: Shell,
    id: String,
    state: String,
    state_words: &'static str,
    is_open: bool,
    is_detached: bool,
    risk: String,
    sign: &'static str,
    class: String,
    place: String,
    expires: Moment,
    left: String,
    waits_until: Option<Moment>,
    wait_left: String,
    held: String,
    created: Moment,
    reasons: Vec<String>,
    statement: StatementShown,
    is_raw: bool,
    statements: Vec<Pair>,
    digest: String,
    version: u64,
    copies_in: bool,
    parameters: Vec<ParameterShown>,
    impact: Vec<Part>,
    is_estimating: bool,
    locks: Vec<Part>,
    principal: String,
    owner: String,
    source: String,
    database_user: String,
    session: String,
    claimed: Vec<Pair>,
    transaction: String,
    is_in_transaction: bool,
    facts: Vec<Pair>,
    before: Vec<BeforeShown>,
    before_refused: usize,
    rule: String,
    rule_line: u32,
    template: String,
    decided_each_time: String,
    covered_by: String,
    standing_grant: String,
    earlier: Vec<EarlierShown>,
    earlier_approved: usize,
    earlier_denied: usize,
    needs: Vec<NeedShown>,
    discussion: Vec<RemarkShown>,
    may_talk: bool,
    may_ask: bool,
    decisions: Vec<SaidShown>,
    outcome: String,
    /// Why this person may not decide; empty: they may.
    may_not: String,
    presets: [&'static str; 5],
    /// Makes a form that is sent twice count once.
    key: String,
    /// What the agent reads of a denial.
    preview: String,
    glass: Option<GlassShown>,
    review: Option<ReviewShown>,
    may_review: bool,
}

pub async fn page(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Query(query): Query<CardQuery>,
) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Read)?;
    // Recorded first: who has opened the card, and when.
    let _card = act_over(
        &rooms,
        &visitor.caller,
        visitor.caller.assurance(),
        CHANNEL,
        None,
        &id,
        ActKind::View,
    )
    .await?;
    let held = load(&rooms, request_id(&id)?).await?;
    let now = Timestamp::now();
    let is_raw = !query.raw.is_empty();
    let earlier = earlier(&rooms, &held).await?;
    let before = before(&rooms, &held).await?;
    let title = format!("{} {}", held.id, held.class);
    let shell = Shell::of(&visitor, &rooms, "queue", title).await?;
    let may_not = may_be_decided_by(&visitor, &held).err().unwrap_or_default();
    let mut page = card_page(shell, &held, &earlier, &before, may_not, is_raw, now);
    page.glass = GlassShown::of(&visitor, &held);
    page.review = ReviewShown::of_request(&rooms, &held, now).await?;
    page.may_review = may_review(&visitor);
    Ok(shown(&page))
}

async fn load(rooms: &Rooms, id: RequestId) -> Result<HeldRequest, Problem> {
    rooms.desk.show(id).await.map_err(|error| match error {
        DeskError::NotFound => Problem::not_found("request", &id.to_string()),
        other => desk_problem(other),
    })
}

/// Requests of the same shape, without this one.
async fn earlier(rooms: &Rooms, held: &HeldRequest) -> Result<Vec<HeldRequest>, Problem> {
    let filter = RequestFilter {
        fingerprint: Some(held.fingerprint),
        limit: EARLIER_MAX,
        ..RequestFilter::default()
    };
    let page = rooms.desk.list(filter).await.map_err(desk_problem)?;
    let others = page.items.into_iter().filter(|other| other.id != held.id);
    Ok(others.filter(|other| !other.decisions.is_empty()).collect())
}

/// What the session has sent before this, newest first, out of the log.
async fn before(rooms: &Rooms, held: &HeldRequest) -> Result<Vec<Record>, Problem> {
    let filter = LogFilter {
        session: Some(held.peer.session),
        kind: Some(Kind::Attempt),
        until: Some(held.created_at),
        limit: BEFORE_MAX + 1,
        ..LogFilter::default()
    };
    let own = held.attempt;
    let reader = rooms.reader.clone();
    let read = tokio::task::spawn_blocking(move || reader.query(&filter)).await;
    match read {
        Ok(Ok(page)) => {
            let others = page
                .records
                .into_iter()
                .filter(|record| record.fields.attempt != Some(own));
            Ok(others.take(BEFORE_MAX).collect())
        }
        Ok(Err(error)) => Err(Problem::unavailable(&error)),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}

fn card_page(
    shell: Shell,
    held: &HeldRequest,
    earlier: &[HeldRequest],
    before: &[Record],
    may_not: String,
    is_raw: bool,
    now: Timestamp,
) -> CardPage {
    let card = Card::of(held);
    let bytes = card.bytes();
    let layout = if is_raw { Layout::AsReceived } else { Layout::Laid };
    let statement = StatementShown::of(&card.rendered(&bytes, layout), bytes.len());
    let (locks, impact) = impact_parts(&card.impact)
        .into_iter()
        .map(|(label, texts)| Part { label, texts })
        .partition(|part: &Part| part.label == "locks");
    let is_open = held.state.is_undecided();
    let waits = card.state == "pending" && held.wait_ends_at > now;
    let earlier: Vec<EarlierShown> = earlier
        .iter()
        .map(|other| {
            let other = Card::of(other);
            EarlierShown {
                at: Moment::parse(&other.created_at, now),
                said: other
                    .decisions
                    .iter()
                    .map(|said| SaidShown::of(said, now))
                    .collect(),
                id: other.id,
                state: other.state,
            }
        })
        .collect();
    let count = |word: &str| {
        let said = earlier.iter().flat_map(|other| &other.said);
        said.filter(|said| said.decision.starts_with(word)).count()
    };
    let before: Vec<BeforeShown> = before.iter().map(|record| BeforeShown::of(record, now)).collect();
    CardPage {
        earlier_approved: count("approved"),
        earlier_denied: count("denied"),
        state_words: state_words(&card.state),
        is_open,
        is_detached: card.detached,
        sign: risk_sign(&card.risk),
        place: format!(
            "{}/{}",
            visible_line(&card.upstream),
            visible_line(&card.database)
        ),
        expires: Moment::of(held.expires_at, now),
        left: countdown(held.expires_at, now),
        waits_until: waits.then(|| Moment::of(held.wait_ends_at, now)),
        wait_left: countdown(held.wait_ends_at, now),
        held: span(now.since(held.created_at).as_secs()),
        created: Moment::of(held.created_at, now),
        reasons: card.reasons.iter().map(|reason| visible_line(reason)).collect(),
        statement,
        is_raw,
        statements: statements(&card),
        parameters: parameters(&card),
        is_estimating: card.impact.status == crate::catalog::impact::Status::Estimating,
        impact,
        locks,
        principal: visible_line(&card.principal),
        owner: visible_line(&card.owner),
        source: card.source.clone(),
        database_user: visible_line(&card.database_user),
        session: card.session.clone(),
        claimed: pairs(card.claimed.iter()),
        transaction: transaction(&card, now),
        is_in_transaction: matches!(card.transaction.state.as_str(), "open" | "implicit"),
        facts: pairs(card.facts.iter()),
        before_refused: before.iter().filter(|one| one.is_refused).count(),
        before,
        rule: visible_line(&card.rule),
        rule_line: card.rule_line,
        template: card.template.clone().unwrap_or_default(),
        decided_each_time: visible_line(card.decided_each_time.as_deref().unwrap_or_default()),
        covered_by: card.covered_by.as_ref().map_or(String::new(), |by| {
            format!(
                "standing grant {}, use {} of {}, made by {} in {}",
                by.grant,
                by.number,
                by.uses_max,
                by.made_by.join(", "),
                by.decided_in
            )
        }),
        standing_grant: card.standing_grant.clone().unwrap_or_default(),
        earlier,
        needs: needs(&card),
        discussion: card
            .discussion
            .iter()
            .map(|remark| RemarkShown::of(remark, now))
            .collect(),
        may_talk: shell.may_decide,
        may_ask: shell.may_decide && is_open,
        decisions: card
            .decisions
            .iter()
            .map(|said| SaidShown::of(said, now))
            .collect(),
        outcome: outcome(&card),
        may_not,
        presets: PRESETS,
        key: format!("{:032x}", rand::random::<u128>()),
        preview: denied_by_person(
            shell.person.as_deref().unwrap_or_default(),
            held.id,
            "your reason",
        )
        .message,
        glass: None,
        review: None,
        may_review: false,
        id: card.id,
        state: card.state,
        risk: card.risk,
        class: card.class,
        digest: card.digest,
        version: card.version,
        copies_in: card.copies_in,
        shell,
    }
}

/// Of a message with several statements: what each is.
fn statements(card: &Card) -> Vec<Pair> {
    if card.statements.len() < 2 {
        return Vec::new();
    }
    let pair = |one: &crate::api::card::Statement| Pair {
        name: one.class.clone(),
        value: match one.tables.is_empty() {
            true => visible_line(&one.verb),
            false => format!(
                "{} {}",
                visible_line(&one.verb),
                visible_line(&one.tables.join(", "))
            ),
        },
    };
    card.statements.iter().map(pair).collect()
}

fn needs(card: &Card) -> Vec<NeedShown> {
    let needs = card.requirement.iter().map(|need| NeedShown {
        group: visible_line(&need.group),
        needed: need.needed,
        is_met: need.by.len() >= need.needed as usize,
        by: need.by.join(", "),
    });
    needs.collect()
}

fn parameters(card: &Card) -> Vec<ParameterShown> {
    let shown = |parameter: &crate::api::card::ParameterValue| ParameterShown {
        index: parameter.index,
        type_name: visible_line(&parameter.type_name),
        value: parameter.value_text(),
        is_null: parameter.value.is_none() && parameter.hex.is_none(),
    };
    card.parameters.iter().map(shown).collect()
}

fn pairs<'p>(of: impl Iterator<Item = (&'p String, &'p String)>) -> Vec<Pair> {
    of.map(|(name, value)| Pair {
        name: visible_line(name),
        value: visible_line(value),
    })
    .collect()
}

fn transaction(card: &Card, now: Timestamp) -> String {
    let transaction = &card.transaction;
    let opened = transaction.opened_at.as_deref().and_then(Timestamp::parse);
    let mut text = match (transaction.state.as_str(), opened) {
        ("idle", _) => "none open: it commits by itself".to_owned(),
        ("open", Some(opened)) => format!(
            "open for {}: its locks stay held while this waits",
            span(now.since(opened).as_secs())
        ),
        (other, _) => format!("{other}: its locks stay held while this waits"),
    };
    if transaction.wrote {
        text.push_str("; it has written, so an approval is good only while its client waits");
    }
    text
}

fn outcome(card: &Card) -> String {
    let Some(outcome) = &card.outcome else {
        return String::new();
    };
    let text = |text: &Option<String>| visible_line(text.as_deref().unwrap_or_default());
    match (&outcome.sqlstate, &outcome.why, outcome.rows) {
        (Some(sqlstate), _, _) => format!("{sqlstate}: {}", text(&outcome.message)),
        (None, Some(why), _) => visible_line(why),
        (None, None, Some(rows)) => format!("{}, {rows} rows", text(&outcome.tag)),
        (None, None, None) => text(&outcome.tag),
    }
}

#[derive(Debug, Deserialize)]
pub struct DecisionForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    decision: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    version: u64,
    /// That the whole statement was read.
    #[serde(default)]
    read: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    minutes: u32,
    #[serde(default)]
    uses: u32,
    #[serde(default)]
    key: String,
    #[serde(default)]
    lock_timeout: String,
    #[serde(default)]
    statement_timeout: String,
    #[serde(default)]
    rows_max: String,
}

impl DecisionForm {
    /// The limits of an approved run; each empty field sets none.
    fn guards(&self) -> Result<Option<GuardsBody>, Problem> {
        let given = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        let rows_max = given(&self.rows_max).map(|text| {
            text.parse::<u64>()
                .map_err(|_| unacceptable("rows_max", &text, "write a number of rows"))
        });
        let guards = GuardsBody {
            lock_timeout: given(&self.lock_timeout),
            statement_timeout: given(&self.statement_timeout),
            rows_max: rows_max.transpose()?,
        };
        Ok((guards != GuardsBody::default()).then_some(guards))
    }
}

pub async fn decide(
    sender: Sender,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<DecisionForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let id = request_id(&id)?;
    let approves = form.decision == "approve";
    if approves && form.read.is_empty() {
        return Err(not_read(id).into());
    }
    let guards = match approves {
        true => form.guards()?,
        false => None,
    };
    let scope = match form.scope.as_str() {
        "session" | "principal" if approves => Some(ScopeBody::Standing(StandingScope {
            kind: "fingerprint".to_owned(),
            whose: form.scope,
            minutes: form.minutes,
            uses: form.uses,
        })),
        _once => None,
    };
    let body = DecisionBody {
        guards,
        decision: form.decision,
        reason: Some(form.reason.replace(char::is_control, " ")),
        digest: (!form.digest.is_empty()).then_some(form.digest),
        version: approves.then_some(form.version),
        scope,
    };
    decide_by_page(&rooms, &visitor.caller, id, body, form.key).await?;
    Ok(see_other(&format!("/r/{id}")))
}

#[derive(Debug, Deserialize)]
pub struct TalkForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    key: String,
}

/// A comment for other people.
pub async fn comment(
    sender: Sender,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<TalkForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    visitor.caller.needs(Scope::Read)?;
    // A form sends line breaks as CR LF, whatever was typed.
    let what = ActKind::Comment {
        text: form.text.replace("\r\n", "\n"),
    };
    talk(&visitor, &rooms, &id, form.key, what).await
}

/// A question to the agent, which ends its wait.
pub async fn ask(
    sender: Sender,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<TalkForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    visitor.caller.needs(Scope::Decide)?;
    let what = ActKind::Ask {
        question: form.text.replace(char::is_control, " "),
    };
    talk(&visitor, &rooms, &id, form.key, what).await
}

async fn talk(
    visitor: &Visitor,
    rooms: &Rooms,
    id: &str,
    key: String,
    what: ActKind,
) -> Result<Response, Trouble> {
    let key = (!key.is_empty()).then_some(key);
    let axum::Json(card) = act_over(
        rooms,
        &visitor.caller,
        visitor.caller.assurance(),
        CHANNEL,
        key,
        id,
        what,
    )
    .await?;
    Ok(see_other(&format!("/r/{}#discussion", card.id)))
}

fn not_read(id: RequestId) -> Problem {
    Problem::new(
        crate::api::problem::Kind::Unacceptable,
        "an approval without the word that the whole statement was read",
        format!("go back to /r/{id}, read the statement to its end, and tick the box"),
    )
}
