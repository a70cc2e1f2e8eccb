//! The card of one request: everything a reviewer is to see, in the order in which they read, and what they can do.
//! Never offers an approval beside a statement that is not shown whole. Read `shown.rs` for how the statement is shown.
//!
//! Why an approval takes two steps: the first opens the form, the second sends it; between them stands that the whole
//! statement was read, which a module notices by its end coming into view and a person without modules says.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::break_glass::{GlassShown, ReviewShown, may_review};
use super::forms::{ALONE, DecisionForm, TalkForm, talk};
use super::moments::{Moment, countdown, span};
use super::page::{Shell, Trouble, Visitor, shown};
use super::sessions::is_connected;
use super::shown::{PieceShown, StatementShown, risk_sign, state_words, summary_of};
use crate::api::Rooms;
use crate::api::card::{Card, Remark, Said};
use crate::api::impact::impact_parts;
use crate::api::problem::Problem;
use crate::api::read::request_id;
use crate::api::requests::{ScopeBody, desk_problem};
use crate::api::reveal::reveal_over;
use crate::audit::{Kind, Record};
use crate::clock::Timestamp;
use crate::desk::{ActError, ActKind, DeskError, Factors, NotSure, RequestFilter};
use crate::hold::message::denied_by_person;
use crate::hold::{HeldRequest, RequestId};
use crate::identity::directory::{Scope, WhyNot};
use crate::journal::LogFilter;
use crate::render::{Layout, Reading, Statement, visible, visible_line};

/// How the log tells what was said on a page.
pub const CHANNEL: &str = "web";
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
                "revealed" => "was shown the withheld values".to_owned(),
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

/// What a run would cover if nothing else were named.
pub struct RunShown {
    pub classes: String,
    pub verbs: String,
    pub tables: String,
    pub in_transaction: bool,
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

/// How much of the session's other statements somebody sees.
#[derive(Clone, Copy)]
pub enum Sight {
    /// The words, for those whom the log answers.
    Texts,
    /// When, of which class, and what became of them.
    Classes,
}

impl BeforeShown {
    fn of(record: &Record, sight: Sight, now: Timestamp) -> Self {
        let fields = &record.fields;
        let (pieces, is_cut) = match sight {
            Sight::Texts => {
                let text = fields.text.clone().unwrap_or_default();
                let reading = Reading::of(fields.read_as.as_deref(), None, None);
                summary_of(&Statement::of(&text, &reading, Layout::AsReceived, &[]))
            }
            Sight::Classes => (Vec::new(), false),
        };
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
struct CardPage<'c> {
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
    /// Labels of the columns that it touches.
    column_labels: String,
    /// This person can have the withheld values shown.
    may_reveal: bool,
    /// They are on the page.
    is_revealed: bool,
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
    decisions: Vec<SaidShown>,
    outcome: String,
    choices: &'c ChoicesShown,
    filled: DecisionForm,
    delegation: TalkForm,
    /// The form that was sent and is filled in again: `approve`, `deny`, `alone` or `delegate`.
    opened: &'static str,
    /// Why a form was not carried out, and beside which that stands: one of those, or `reveal`.
    trouble: String,
    trouble_of: &'static str,
    run: Option<RunShown>,
    /// Why no run can be made of it.
    no_run: String,
    escalate_to: String,
    is_connected: bool,
    presets: [&'static str; 5],
    /// Makes a form that is sent twice count once.
    key: String,
    /// What the agent reads of a denial.
    preview: String,
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
    talk(&visitor, &rooms, &id, String::new(), ActKind::View).await?;
    let look = Looked {
        filled: Filled::Nothing,
        trouble: String::new(),
        is_raw: !query.raw.is_empty(),
        whole: None,
    };
    card(&visitor, &rooms, request_id(&id)?, look).await
}

/// A form that was sent and is shown again.
pub enum Filled {
    Nothing,
    Decision(Box<DecisionForm>),
    Delegation(TalkForm),
}

/// In which state somebody sees the card.
pub struct Looked {
    pub filled: Filled,
    /// Why the filled form was not carried out.
    pub trouble: String,
    pub is_raw: bool,
    /// The request with the values that are withheld, for somebody who was shown them just now.
    pub whole: Option<HeldRequest>,
}

/// The page itself, for somebody whose look at it is on record.
pub async fn card(
    visitor: &Visitor,
    rooms: &Rooms,
    id: RequestId,
    mut look: Looked,
) -> Result<Response, Trouble> {
    let (held, is_revealed) = seen(visitor, rooms, id, &mut look).await?;
    let shell = Shell::of(visitor, rooms, "queue", format!("{} {}", held.id, held.class)).await?;
    let now = Timestamp::now();
    let behind = Behind {
        earlier: earlier(rooms, &held).await?,
        before: before(rooms, &held).await?,
        choices: ChoicesShown::of(visitor, rooms, &held, is_revealed).await?,
        is_revealed,
        is_connected: is_connected(rooms, held.peer.session),
    };
    let mut page = card_page(shell, &held, &behind, look, now);
    page.review = ReviewShown::of_request(rooms, &held, now).await?;
    page.may_review = may_review(visitor);
    Ok(shown(&page))
}

/// The request, and whether the values that are withheld are with it: a form that is shown again is not left without
/// what it speaks of, as long as its sender may still be shown that.
async fn seen(
    visitor: &Visitor,
    rooms: &Rooms,
    id: RequestId,
    look: &mut Looked,
) -> Result<(HeldRequest, bool), Problem> {
    if let Some(whole) = look.whole.take() {
        return Ok((whole, true));
    }
    let held = load(rooms, id).await?;
    let caller = &visitor.caller;
    let was_shown = matches!(look.filled, Filled::Decision(_))
        && held.state.is_undecided()
        && held.has_withheld()
        && held.was_revealed_to(&caller.person.name);
    if !was_shown {
        return Ok((held, false));
    }
    let again = reveal_over(rooms, caller, caller.assurance(), CHANNEL, &id.to_string()).await;
    // Where they may not, the page says why, and the form under Parameters keeps what was typed.
    Ok(again.map_or((held, false), |whole| (whole, true)))
}

/// What a card shows besides the request itself.
struct Behind {
    earlier: Vec<HeldRequest>,
    before: Vec<Record>,
    choices: ChoicesShown,
    is_revealed: bool,
    is_connected: bool,
}

/// What this person can do, in words where they cannot.
pub struct ChoicesShown {
    /// Why they may not; empty: they may.
    approve: String,
    deny: String,
    may_reveal: bool,
    may_ask: bool,
    may_escalate: bool,
    /// Who can be named to approve instead.
    delegates: Vec<String>,
    factor: Factor,
    /// The second factor that a look at withheld values asks for.
    reveal_factor: Factor,
    /// Of approving alone, for somebody with the role.
    glass: Option<GlassShown>,
}

/// The second factor that an approval asks for.
#[derive(Clone, Default)]
pub struct Factor {
    pub is_asked: bool,
    /// What asks for it.
    pub hint: String,
    pub by_code: bool,
    pub by_passkey: bool,
}

impl Factor {
    /// By what this person has.
    pub fn asked(factors: &Factors, hint: &str) -> Self {
        Self {
            is_asked: true,
            hint: hint.to_owned(),
            by_code: factors.has_totp,
            by_passkey: !factors.passkeys.is_empty(),
        }
    }
}

impl ChoicesShown {
    async fn of(
        visitor: &Visitor,
        rooms: &Rooms,
        held: &HeldRequest,
        is_revealed: bool,
    ) -> Result<Self, Problem> {
        let caller = &visitor.caller;
        let asked = rooms
            .desk
            .choices(held.id, caller.hands(), caller.assurance(), caller.signed_in_at())
            .await;
        let choices = asked.map_err(desk_problem)?;
        let scope = caller
            .needs(Scope::Decide)
            .map_err(|problem| why_not(&problem.0.detail, &problem.0.next_step));
        let words = |may: Result<(), WhyNot>| match (may, &scope) {
            (Err(why), _) => why_not(&why.to_string(), &why.next_step()),
            (Ok(()), Err(why)) => why.clone(),
            (Ok(()), Ok(())) => String::new(),
        };
        let may = |may: &Result<(), ActError>| scope.is_ok() && may.is_ok();
        let factors = rooms
            .desk
            .factors(caller.person.name.clone())
            .await
            .map_err(desk_problem)?;
        // Nothing is approved beside values that are not on the page.
        let unseen = match &choices.reveal {
            _ if is_revealed || !held.has_withheld() => None,
            Err(why @ ActError::ValuesGone) => Some(why_not(&why.to_string(), SEND_AGAIN)),
            Ok(()) | Err(_) => Some(why_not("values of it are withheld", SHOW_THEM)),
        };
        let glass = GlassShown::of(visitor, &choices, &factors, unseen.as_deref());
        let (approve, factor) = match (words(choices.approve), choices.sure) {
            (no, _) if !no.is_empty() => (no, Factor::default()),
            (_, Ok(())) => (String::new(), Factor::default()),
            (_, Err(NotSure::StepUpNeeded { .. })) => {
                let hint = format!(
                    "What is of {} risk takes it; it then counts for five minutes.",
                    held.risk
                );
                (String::new(), Factor::asked(&factors, &hint))
            }
            (
                _,
                Err(
                    why @ (NotSure::SecondFactorNeeded { .. }
                    | NotSure::SecondLogInNeeded
                    | NotSure::NoSecondFactor { .. }
                    | NotSure::SecondFactorTooNew { .. }),
                ),
            ) => {
                let step =
                    "enrol an authenticator app or a passkey in your settings, or ask another reviewer";
                (why_not(&why.to_string(), step), Factor::default())
            }
        };
        let can_approve = approve.is_empty();
        let may_reveal = choices.reveal.is_ok() && !is_revealed;
        // Whoever may do no more than break glass is asked for what that takes.
        let reveal_factor = match (can_approve, &choices.twice) {
            (false, Err(NotSure::SecondLogInNeeded)) if choices.break_glass.is_ok() => Factor::asked(
                &factors,
                "Those whom the rule does not name sign in twice to see them.",
            ),
            (_, _) => factor.clone(),
        };
        let approve = unseen.filter(|_| can_approve).unwrap_or(approve);
        let delegates = choices.delegate.ok().filter(|_| can_approve).unwrap_or_default();
        Ok(Self {
            deny: words(choices.deny),
            approve,
            may_reveal,
            reveal_factor,
            may_ask: may(&choices.ask),
            may_escalate: may(&choices.escalate),
            delegates: delegates.iter().map(ToString::to_string).collect(),
            factor,
            glass,
        })
    }

    fn may_nothing(&self) -> bool {
        !self.approve.is_empty() && !self.deny.is_empty()
    }
}

const SHOW_THEM: &str = "have them shown, under Parameters; that is recorded";
const SEND_AGAIN: &str = "have the agent send it again";

pub fn why_not(detail: &str, next_step: &str) -> String {
    format!("{}: {}", visible_line(detail), visible_line(next_step))
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

fn card_page<'c>(
    shell: Shell,
    held: &HeldRequest,
    behind: &'c Behind,
    look: Looked,
    now: Timestamp,
) -> CardPage<'c> {
    let is_raw = look.is_raw;
    let card = match behind.is_revealed {
        true => Card::revealed(held),
        false => Card::of(held),
    };
    let bytes = card.bytes();
    let layout = if is_raw { Layout::AsReceived } else { Layout::Laid };
    let statement = StatementShown::of(&card.rendered(&bytes, layout), bytes.len());
    let (locks, impact) = impact_parts(&card.impact)
        .into_iter()
        .map(|(label, texts)| Part { label, texts })
        .partition(|part: &Part| part.label == "locks");
    let is_open = held.state.is_undecided();
    let waits = card.state == "pending" && held.wait_ends_at > now;
    let earlier: Vec<EarlierShown> = behind
        .earlier
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
    let sight = if shell.sees_log {
        Sight::Texts
    } else {
        Sight::Classes
    };
    let before: Vec<BeforeShown> = behind
        .before
        .iter()
        .map(|record| BeforeShown::of(record, sight, now))
        .collect();
    let opened = match &look.filled {
        Filled::Nothing => "",
        Filled::Decision(form) if form.decision == "deny" => "deny",
        Filled::Decision(form) if form.decision == ALONE => ALONE,
        Filled::Decision(_) => "approve",
        Filled::Delegation(_) => "delegate",
    };
    let trouble_of = match opened {
        _ if look.trouble.is_empty() => "",
        // There is no form to approve beside values that are not on the page.
        "" | "approve" | ALONE if behind.choices.may_reveal => "reveal",
        opened => opened,
    };
    let (filled, delegation) = match look.filled {
        Filled::Nothing => (DecisionForm::blank(&card), TalkForm::default()),
        Filled::Decision(form) if form.decision == ALONE => (form.alone(&card), TalkForm::default()),
        Filled::Decision(form) => (*form, TalkForm::default()),
        Filled::Delegation(form) => (DecisionForm::blank(&card), form),
    };
    CardPage {
        opened,
        trouble_of,
        trouble: look.trouble,
        filled,
        delegation,
        is_connected: behind.is_connected,
        choices: &behind.choices,
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
        column_labels: card.column_labels.join(", "),
        may_reveal: behind.choices.may_reveal,
        is_revealed: behind.is_revealed,
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
        decisions: card
            .decisions
            .iter()
            .map(|said| SaidShown::of(said, now))
            .collect(),
        outcome: outcome(&card),
        run: card.run.as_ref().map(|run| RunShown {
            classes: run.classes.join(", "),
            verbs: visible_line(&run.verbs.join(", ")),
            tables: visible_line(&run.tables.join(", ")),
            in_transaction: matches!(card.transaction.state.as_str(), "open" | "implicit"),
        }),
        no_run: visible_line(card.no_run.as_deref().unwrap_or_default()),
        escalate_to: visible_line(&card.escalate_to.join(" or ")),
        presets: PRESETS,
        key: format!("{:032x}", rand::random::<u128>()),
        preview: denied_by_person(
            shell.person.as_deref().unwrap_or_default(),
            held.id,
            "your reason",
        )
        .message,
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
        is_null: parameter.withheld || parameter.value.is_none() && parameter.hex.is_none(),
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
