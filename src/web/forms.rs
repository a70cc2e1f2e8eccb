//! The forms of a card: what a person fills in to decide, to say something, to hand it on; and what is done with it.
//! Never decides who may: `desk` does. Read `card.rs` for the page around them.
//!
//! Why what can be mended is asked for again in the very form: whoever has read a long statement and typed a reason is
//! not sent back to begin anew because a code was missing.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::card::{CHANNEL, Filled, Looked, card};
use super::page::{Sender, Trouble, Visitor, in_words, see_other};
use crate::api::Rooms;
use crate::api::acts::act_over;
use crate::api::browser::{Source, step_up};
use crate::api::card::Card;
use crate::api::problem::Problem;
use crate::api::read::{request_id, unacceptable};
use crate::api::requests::{DecisionBody, GuardsBody, RunScope, ScopeBody, StandingScope, decide_by_page};
use crate::api::reveal::reveal_over;
use crate::desk::ActKind;
use crate::hold::{HeldRequest, RequestId};
use crate::identity::assurance::Assurance;
use crate::identity::directory::Scope;
use crate::identity::principal::PersonName;
use crate::render::visible_line;

/// The `decision` of somebody who breaks glass.
pub const ALONE: &str = "alone";

/// What a person fills in to decide. As text, so that a field that is left empty is no fault of the form.
#[derive(Clone, Default, Deserialize)]
pub struct DecisionForm {
    #[serde(default, rename = "_csrf")]
    pub csrf: String,
    #[serde(default)]
    pub decision: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub digest: String,
    #[serde(default)]
    pub version: u64,
    /// That the whole statement was read.
    #[serde(default)]
    pub read: String,
    /// `once`, `session` and `principal` for a standing grant, `run-session` and `run-transaction` for a run.
    #[serde(default)]
    pub scope: String,
    #[serde(default)]
    pub minutes: String,
    #[serde(default)]
    pub uses: String,
    #[serde(default)]
    pub run_read: String,
    #[serde(default)]
    pub run_write: String,
    #[serde(default)]
    pub run_ddl: String,
    /// With commas between, as the tables are.
    #[serde(default)]
    pub run_verbs: String,
    #[serde(default)]
    pub run_tables: String,
    #[serde(default)]
    pub run_minutes: String,
    #[serde(default)]
    pub run_statements: String,
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub lock_timeout: String,
    #[serde(default)]
    pub statement_timeout: String,
    #[serde(default)]
    pub rows_max: String,
    /// Of an authenticator app, or a recovery code; where what is approved asks for it.
    #[serde(default)]
    pub code: String,
}

impl DecisionForm {
    /// What the form shows before anybody has filled it in.
    pub fn blank(card: &Card) -> Self {
        let offer = card.run.as_ref();
        let has = |class: &str| match offer {
            Some(run) if run.classes.iter().any(|known| known == class) => "yes".to_owned(),
            Some(_) | None => String::new(),
        };
        Self {
            scope: "once".to_owned(),
            minutes: "30".to_owned(),
            uses: "20".to_owned(),
            run_read: has("read"),
            run_write: has("write"),
            run_ddl: has("ddl"),
            run_verbs: offer.map_or(String::new(), |run| visible_line(&run.verbs.join(", "))),
            run_tables: offer.map_or(String::new(), |run| visible_line(&run.tables.join(", "))),
            run_minutes: "15".to_owned(),
            run_statements: "40".to_owned(),
            ..Self::default()
        }
    }

    /// What was typed to break glass; the form of an approval beside it is blank.
    pub fn alone(self, card: &Card) -> Self {
        Self {
            decision: self.decision,
            reason: self.reason,
            ..Self::blank(card)
        }
    }

    /// What was typed, for another form to send along: not what it was bound to, nor that it was read.
    pub fn typed(&self) -> [(&'static str, &String); 15] {
        [
            ("decision", &self.decision),
            ("reason", &self.reason),
            ("scope", &self.scope),
            ("minutes", &self.minutes),
            ("uses", &self.uses),
            ("run_read", &self.run_read),
            ("run_write", &self.run_write),
            ("run_ddl", &self.run_ddl),
            ("run_verbs", &self.run_verbs),
            ("run_tables", &self.run_tables),
            ("run_minutes", &self.run_minutes),
            ("run_statements", &self.run_statements),
            ("lock_timeout", &self.lock_timeout),
            ("statement_timeout", &self.statement_timeout),
            ("rows_max", &self.rows_max),
        ]
    }

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

    /// What an approval covers; `None`: this statement, once.
    fn covers(&self) -> Result<Option<ScopeBody>, Problem> {
        Ok(match self.scope.as_str() {
            "session" | "principal" => Some(ScopeBody::Standing(StandingScope {
                kind: "fingerprint".to_owned(),
                whose: self.scope.clone(),
                minutes: number("minutes", &self.minutes)?,
                uses: number("uses", &self.uses)?,
            })),
            "run-session" | "run-transaction" => Some(ScopeBody::Run(RunScope {
                kind: "run".to_owned(),
                whose: self.scope.trim_start_matches("run-").to_owned(),
                classes: self.run_classes(),
                verbs: list(&self.run_verbs),
                tables: list(&self.run_tables),
                minutes: number("minutes", &self.run_minutes)?,
                statements: number("statements", &self.run_statements)?,
            })),
            "" | "once" => None,
            other => return Err(unacceptable("scope", other, "choose one of those in the form")),
        })
    }

    fn run_classes(&self) -> Vec<String> {
        let boxes = [
            ("read", &self.run_read),
            ("write", &self.run_write),
            ("ddl", &self.run_ddl),
        ];
        let ticked = boxes.iter().filter(|(_, ticked)| !ticked.is_empty());
        ticked.map(|(class, _)| (*class).to_owned()).collect()
    }

    fn body(&self) -> Result<DecisionBody, Problem> {
        let approves = self.decision == "approve";
        Ok(DecisionBody {
            guards: if approves { self.guards()? } else { None },
            scope: if approves { self.covers()? } else { None },
            decision: self.decision.clone(),
            reason: Some(self.reason.replace(char::is_control, " ")),
            digest: (!self.digest.is_empty()).then(|| self.digest.clone()),
            version: approves.then_some(self.version),
        })
    }
}

/// What stands between commas or line breaks.
fn list(text: &str) -> Vec<String> {
    let words = text.split([',', '\n']).map(str::trim);
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn number(name: &str, text: &str) -> Result<u32, Problem> {
    let parsed = text.trim().parse();
    parsed.map_err(|_| unacceptable(name, text, "write a whole number"))
}

/// How sure it is with the code of a form, if there is one: the session is as sure from then on.
pub async fn assured(
    visitor: &mut Visitor,
    rooms: &Rooms,
    source: Source,
    code: &str,
) -> Result<Assurance, Problem> {
    if code.trim().is_empty() {
        return Ok(visitor.caller.assurance());
    }
    let assurance = step_up(rooms, &visitor.caller, source, code.trim().to_owned()).await?;
    visitor.caller.is_surer(assurance);
    Ok(assurance)
}

pub async fn decide(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<DecisionForm>,
) -> Result<Response, Trouble> {
    let mut visitor = sender.check(&form.csrf)?;
    let id = request_id(&id)?;
    match said(&mut visitor, &rooms, source, id, &form).await {
        Ok(()) => Ok(see_other(&format!("/r/{id}"))),
        Err(problem) => asked_again(&visitor, &rooms, id, problem, Filled::Decision(Box::new(form))).await,
    }
}

async fn said(
    visitor: &mut Visitor,
    rooms: &Rooms,
    source: Source,
    id: RequestId,
    form: &DecisionForm,
) -> Result<(), Problem> {
    if form.decision == "approve" && form.read.is_empty() {
        return Err(not_read(id));
    }
    let body = form.body()?;
    assured(visitor, rooms, source, &form.code).await?;
    decide_by_page(rooms, &visitor.caller, id, body, form.key.clone()).await?;
    Ok(())
}

/// What can be mended is asked for again in the very form, with what was typed; all else is a page of its own.
pub async fn asked_again(
    visitor: &Visitor,
    rooms: &Rooms,
    id: RequestId,
    problem: Problem,
    filled: Filled,
) -> Result<Response, Trouble> {
    let can_be_mended = [
        "step_up_needed",
        "unacceptable",
        "reason_required",
        "too_many_attempts",
    ];
    if !can_be_mended.contains(&problem.0.code.as_str()) {
        return Err(problem.into());
    }
    let status = StatusCode::from_u16(problem.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let look = Looked {
        filled,
        trouble: in_words(&problem),
        is_raw: false,
        whole: None,
    };
    let page = card(visitor, rooms, id, look).await?;
    Ok((status, page).into_response())
}

/// What a person fills in to say something beside a request, or to hand it on.
#[derive(Clone, Default, Deserialize)]
pub struct TalkForm {
    #[serde(default, rename = "_csrf")]
    pub csrf: String,
    #[serde(default)]
    pub text: String,
    /// Of a delegation: who approves instead.
    #[serde(default)]
    pub to: String,
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub code: String,
}

/// The card with the values that are withheld, once: they stand in no address and no page that is kept. What was typed
/// to decide it before they were withheld again comes along.
pub async fn reveal(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<DecisionForm>,
) -> Result<Response, Trouble> {
    let mut visitor = sender.check(&form.csrf)?;
    let id = request_id(&id)?;
    let revealed = revealed(&mut visitor, &rooms, source, id, &form.code).await;
    let filled = match form.decision.is_empty() {
        true => Filled::Nothing,
        false => Filled::Decision(Box::new(form)),
    };
    match revealed {
        Ok(whole) => {
            let look = Looked {
                filled,
                trouble: String::new(),
                is_raw: false,
                whole: Some(whole),
            };
            card(&visitor, &rooms, id, look).await
        }
        Err(problem) => asked_again(&visitor, &rooms, id, problem, filled).await,
    }
}

async fn revealed(
    visitor: &mut Visitor,
    rooms: &Rooms,
    source: Source,
    id: RequestId,
    code: &str,
) -> Result<HeldRequest, Problem> {
    let assurance = assured(visitor, rooms, source, code).await?;
    reveal_over(rooms, &visitor.caller, assurance, CHANNEL, &id.to_string()).await
}

/// The address stays in the bar, and is sent to others: it leads to the card, and shows nothing by itself.
pub async fn unrevealed(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Read)?;
    Ok(see_other(&format!("/r/{}", request_id(&id)?)))
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
    talk(&visitor, &rooms, &id, form.key, what).await?;
    Ok(see_other(&format!("/r/{id}#discussion")))
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
        question: one_line(&form.text),
    };
    talk(&visitor, &rooms, &id, form.key, what).await?;
    Ok(see_other(&format!("/r/{id}#discussion")))
}

/// The rule's next group decides from now on.
pub async fn escalate(
    sender: Sender,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<TalkForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    visitor.caller.needs(Scope::Decide)?;
    let what = ActKind::Escalate {
        reason: one_line(&form.text),
    };
    talk(&visitor, &rooms, &id, form.key, what).await?;
    Ok(see_other(&format!("/r/{id}")))
}

/// Somebody else approves instead: as much as approving, so it may ask for the second factor.
pub async fn delegate(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<TalkForm>,
) -> Result<Response, Trouble> {
    let mut visitor = sender.check(&form.csrf)?;
    visitor.caller.needs(Scope::Decide)?;
    let request = request_id(&id)?;
    match delegated(&mut visitor, &rooms, source, &id, &form).await {
        Ok(()) => Ok(see_other(&format!("/r/{id}"))),
        Err(problem) => asked_again(&visitor, &rooms, request, problem, Filled::Delegation(form)).await,
    }
}

async fn delegated(
    visitor: &mut Visitor,
    rooms: &Rooms,
    source: Source,
    id: &str,
    form: &TalkForm,
) -> Result<(), Problem> {
    let to = PersonName::parse(form.to.trim())
        .map_err(|_| unacceptable("to", &form.to, "choose a person who may decide it"))?;
    assured(visitor, rooms, source, &form.code).await?;
    let what = ActKind::Delegate {
        to,
        reason: one_line(&form.text),
    };
    talk(visitor, rooms, id, form.key.clone(), what).await
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// One act of the person, over this channel.
pub async fn talk(
    visitor: &Visitor,
    rooms: &Rooms,
    id: &str,
    key: String,
    what: ActKind,
) -> Result<(), Problem> {
    let key = (!key.is_empty()).then_some(key);
    let caller = &visitor.caller;
    let done = act_over(rooms, caller, caller.assurance(), CHANNEL, key, id, what).await;
    done.map(|_card| ())
}

pub fn not_read(id: RequestId) -> Problem {
    Problem::new(
        crate::api::problem::Kind::Unacceptable,
        "an approval without the word that the whole statement was read",
        format!("go back to /r/{id}, read the statement to its end, and tick the box"),
    )
}
