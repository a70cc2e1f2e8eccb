//! Two forms of the card: one person approves alone, and somebody else signs the review of that.
//! Never decides who may: `desk` does. Read `card.rs` for the page around them.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;

use super::card::{Factor, Filled, why_not};
use super::forms::{ALONE, DecisionForm, asked_again, assured, not_read};
use super::moments::Moment;
use super::page::{Sender, Trouble, Visitor, see_other};
use crate::api::Rooms;
use crate::api::break_glass::{BreakGlassBody, Call, break_glass_over};
use crate::api::browser::Source;
use crate::api::problem::Problem;
use crate::api::read::request_id;
use crate::api::requests::{desk_problem, not_sure_problem};
use crate::api::reviews::{ReviewBody, sign_over};
use crate::clock::Timestamp;
use crate::desk::{Choices, Factors, NotSure, ReviewFilter};
use crate::hold::{HeldRequest, RequestId, Review};
use crate::identity::directory::Scope;
use crate::render::visible_line;

/// How the log tells what was said on a page.
const CHANNEL: &str = "web";

/// Why breaking glass asks for a second factor.
const SECOND_LOG_IN: &str =
    "It is the second log-in, whatever the risk: one that was given to sign in does not count here.";

/// Open reviews that the queue names; the command line lists all.
const REVIEWS_MAX: usize = 50;

/// What somebody with the role is shown of approving alone.
pub struct GlassShown {
    /// Why they may not; empty: they may.
    pub why_not: String,
    /// The second log-in, where it was not given just now.
    pub factor: Factor,
}

impl GlassShown {
    /// `None`: this person has nothing to do with breaking glass. `unseen`: why values of it are not on the page.
    pub fn of(visitor: &Visitor, choices: &Choices, factors: &Factors, unseen: Option<&str>) -> Option<Self> {
        if !visitor.may(Scope::BreakGlass) {
            return None;
        }
        let shown = |why_not, factor| Some(Self { why_not, factor });
        if let Err(why) = &choices.break_glass {
            return shown(why_not(&why.to_string(), &why.next_step()), Factor::default());
        }
        match (&choices.twice, unseen) {
            (Ok(()) | Err(NotSure::SecondLogInNeeded), Some(why)) => shown(why.to_owned(), Factor::default()),
            (Ok(()), None) => shown(String::new(), Factor::default()),
            (Err(NotSure::SecondLogInNeeded), None) => {
                shown(String::new(), Factor::asked(factors, SECOND_LOG_IN))
            }
            (
                Err(
                    why @ (NotSure::StepUpNeeded { .. }
                    | NotSure::SecondFactorNeeded { .. }
                    | NotSure::NoSecondFactor { .. }
                    | NotSure::SecondFactorTooNew { .. }),
                ),
                _,
            ) => {
                let problem = not_sure_problem(why);
                shown(
                    why_not(&problem.0.detail, &problem.0.next_step),
                    Factor::default(),
                )
            }
        }
    }
}

/// The review of a request that one person approved alone.
pub struct ReviewShown {
    pub request: String,
    pub broken_by: String,
    pub reason: String,
    pub opened: Moment,
    /// Who signed it and what they found; empty while it is open.
    pub signed: String,
}

impl ReviewShown {
    pub fn of(review: &Review, now: Timestamp) -> Self {
        Self {
            request: review.request.to_string(),
            broken_by: visible_line(review.broken_by.as_str()),
            reason: visible_line(&review.reason),
            opened: Moment::of(review.opened_at, now),
            signed: review.signed.as_ref().map_or(String::new(), |signed| {
                format!(
                    "Signed by {} at {}: {}, {}",
                    signed.by,
                    signed.at,
                    signed.finding.as_str().replace('_', " "),
                    visible_line(&signed.text)
                )
            }),
        }
    }

    pub async fn of_request(
        rooms: &Rooms,
        held: &HeldRequest,
        now: Timestamp,
    ) -> Result<Option<Self>, Problem> {
        let review = rooms.desk.review(held.id).await.map_err(desk_problem)?;
        Ok(review.map(|review| Self::of(&review, now)))
    }

    /// Those that nobody has signed yet, newest first.
    pub async fn open(rooms: &Rooms, now: Timestamp) -> Result<Vec<Self>, Problem> {
        let filter = ReviewFilter {
            is_open: Some(true),
            limit: REVIEWS_MAX,
            cursor: None,
        };
        let page = rooms.desk.reviews(filter).await;
        let page = page.map_err(|error| Problem::unavailable(&error))?;
        Ok(page.items.iter().map(|review| Self::of(review, now)).collect())
    }
}

/// Whether this person is offered the form of a review; whether they may sign this one the desk says.
pub fn may_review(visitor: &Visitor) -> bool {
    visitor.may(Scope::Log) || visitor.may(Scope::Decide)
}

pub async fn approve_alone(
    sender: Sender,
    source: Source,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<DecisionForm>,
) -> Result<Response, Trouble> {
    let mut visitor = sender.check(&form.csrf)?;
    visitor.caller.needs(Scope::BreakGlass)?;
    let id = request_id(&id)?;
    match broken(&mut visitor, &rooms, source, id, &form).await {
        Ok(()) => Ok(see_other(&format!("/r/{id}"))),
        Err(problem) => {
            let decision = ALONE.to_owned();
            let filled = Filled::Decision(Box::new(DecisionForm { decision, ..form }));
            asked_again(&visitor, &rooms, id, problem, filled).await
        }
    }
}

async fn broken(
    visitor: &mut Visitor,
    rooms: &Rooms,
    source: Source,
    id: RequestId,
    form: &DecisionForm,
) -> Result<(), Problem> {
    if form.read.is_empty() {
        return Err(not_read(id));
    }
    let body = BreakGlassBody {
        reason: form.reason.replace(char::is_control, " "),
        digest: form.digest.clone(),
        version: Some(form.version),
        guards: None,
    };
    let call = Call {
        channel: CHANNEL,
        key: Some(form.key.clone()).filter(|key| !key.is_empty()),
        body: body.checked()?,
    };
    let assurance = assured(visitor, rooms, source, &form.code).await?;
    let done = break_glass_over(rooms, &visitor.caller, assurance, &id.to_string(), call).await;
    done.map(|_card| ())
}

#[derive(Debug, Deserialize)]
pub struct ReviewForm {
    #[serde(default, rename = "_csrf")]
    csrf: String,
    #[serde(default)]
    finding: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    key: String,
}

pub async fn sign_review(
    sender: Sender,
    State(rooms): State<Rooms>,
    Path(id): Path<String>,
    Form(form): Form<ReviewForm>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let id = request_id(&id)?;
    let body = ReviewBody {
        finding: form.finding,
        text: form.text.replace(char::is_control, " "),
    };
    let key = Some(form.key).filter(|key| !key.is_empty());
    let _review = sign_over(&rooms, &visitor.caller, CHANNEL, key, &id.to_string(), body).await?;
    Ok(see_other(&format!("/r/{id}#review")))
}
