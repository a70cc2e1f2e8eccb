//! What one person approved alone is looked at again by somebody else, who signs what they found.
//! Never undoes what ran. Read `break_glass.rs` for what begins a review.
//!
//! Why whoever approved the same request signs none: a review by somebody who was part of it is none.

use std::collections::BTreeSet;

use crate::desk::act::remark_note;
use crate::desk::core::Core;
use crate::desk::{Moment, REMARK_BYTES_MAX, Told, crash_point};
use crate::hold::{Finding, HeldRequest, Remark, RemarkKind, RequestId, Review, Signature, Speaker};
use crate::identity::directory::{Hands, Person, Role, Scope, WhyNot, has_no_stake};
use crate::identity::principal::PersonName;
use crate::store::{NewRemark, ReviewQuery, Signed};

/// Reviews on one page.
const PAGE_MAX: usize = 500;

/// What somebody signs. `by` is the person who is signed in.
#[derive(Clone, Debug)]
pub struct SignReview {
    pub by: PersonName,
    /// Everybody else who has seen the token, and so may be the one who signs.
    pub token_seen_by: BTreeSet<PersonName>,
    pub finding: Finding,
    /// Must not be empty.
    pub text: String,
    /// `api`, `cli` …
    pub channel: String,
    /// The same key again gives the same answer again.
    pub idempotency: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    #[error("no such request")]
    NotFound,
    #[error("nobody has broken glass for this request: there is nothing to review")]
    NoReview,
    #[error("`{by}` has signed the review already")]
    SignedAlready { by: PersonName },
    #[error("{0}")]
    NotPermitted(WhyNot),
    #[error(
        "`{with}` has approved the request, and `{hand}` may be behind that: somebody else signs the review"
    )]
    NotAnother {
        /// Who has approved it.
        with: PersonName,
        /// Who may be behind the approval and behind this.
        hand: PersonName,
    },
    #[error("`{by}` is neither an auditor or administrator nor an approver of {groups}", groups = .groups.join(" or "))]
    NotAReviewer {
        by: PersonName,
        /// Whose approvers may sign it.
        groups: Vec<String>,
    },
    #[error("a review is signed with what was found, in words")]
    TextMissing,
    #[error("the text is longer than {max} bytes or holds control characters")]
    TextUnusable { max: usize },
    #[error("the cursor is not one that a list gave")]
    BadCursor,
    #[error("audit log unavailable, nothing signed")]
    LogUnavailable,
    #[error("store unavailable, nothing signed")]
    StoreUnavailable,
    #[error("the proxy is stopping")]
    Stopping,
}

/// Which reviews to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct ReviewFilter {
    /// Only open ones, or only signed ones; `None`: all.
    pub is_open: Option<bool>,
    /// 0 counts as 50; at most 500.
    pub limit: usize,
    pub cursor: Option<String>,
}

#[derive(Clone, Debug)]
pub struct ReviewPage {
    pub items: Vec<Review>,
    pub next_cursor: Option<String>,
}

impl Core {
    /// Signs the review of a request, once: in store and log when it returns.
    pub fn sign_review(
        &mut self,
        request: RequestId,
        sign: &SignReview,
        now: Moment,
    ) -> Result<Review, ReviewError> {
        if self.is_stopping {
            return Err(ReviewError::Stopping);
        }
        let text = text_of(&sign.text)?;
        self.log_is_ready(now)?;
        let held = self.store.request(request)?.ok_or(ReviewError::NotFound)?;
        let review = self.store.review(request)?.ok_or(ReviewError::NoReview)?;
        if let Some(key) = &sign.idempotency
            && self.store.signed_under(request, &sign.by, key)?
        {
            return Ok(review);
        }
        if let Some(signed) = review.signed {
            return Err(ReviewError::SignedAlready { by: signed.by });
        }
        self.may_review(&held, &review, sign, now)?;
        let signature = Signature {
            by: sign.by.clone(),
            finding: sign.finding,
            text,
            channel: sign.channel.clone(),
            at: now.wall,
        };
        let new = remark_of(&held, &signature, sign.idempotency.clone());
        let note = remark_note(&held, &new.remark);
        let signed = self.store.sign_review(request, &signature, &new, &[note])?;
        if signed == Signed::Kept {
            self.announce_that(&held, Told::Said(RemarkKind::Reviewed));
        }
        crash_point("review_stored");
        self.clerk_carries_over(now)?;
        crash_point("review_logged");
        let review = self.store.review(request)?.ok_or(ReviewError::NoReview)?;
        match (signed, &review.signed) {
            (Signed::Lost, Some(first)) => Err(ReviewError::SignedAlready { by: first.by.clone() }),
            (Signed::Lost, None) => Err(ReviewError::StoreUnavailable),
            (Signed::Kept, _) => Ok(review),
        }
    }

    pub fn reviews(&mut self, filter: &ReviewFilter) -> Result<ReviewPage, ReviewError> {
        let before = filter.cursor.as_deref().map(str::parse).transpose();
        let limit = match filter.limit {
            0 => 50,
            limit => limit.min(PAGE_MAX),
        };
        let query = ReviewQuery {
            is_open: filter.is_open,
            before: before.map_err(|_| ReviewError::BadCursor)?,
            // One more tells whether there is another page.
            limit: limit + 1,
        };
        let mut found = self.store.reviews(query)?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more);
        Ok(ReviewPage {
            next_cursor: next.map(|(place, _)| place.to_string()),
            items: found.into_iter().map(|(_, review)| review).collect(),
        })
    }

    /// Somebody without a stake in the request, who has not approved it, and who audits, administers or approves such
    /// requests; by a token that nobody of those has seen.
    fn may_review(
        &mut self,
        held: &HeldRequest,
        review: &Review,
        sign: &SignReview,
        now: Moment,
    ) -> Result<(), ReviewError> {
        let person = self.store.person(&sign.by)?;
        let Some(person) = person else {
            return Err(ReviewError::NotPermitted(WhyNot::Inactive(sign.by.clone())));
        };
        let signer = Hands {
            person: sign.by.clone(),
            token_seen_by: sign.token_seen_by.clone(),
        };
        let behind = self.behind(&signer, now)?;
        let agent = self.principal(&held.peer.principal)?;
        let current = agent.map(|agent| agent.stakes());
        let mut stakes = [Some(&held.stakes), current.as_ref()].into_iter().flatten();
        stakes
            .try_for_each(|stakes| has_no_stake(&person, &behind, stakes))
            .map_err(ReviewError::NotPermitted)?;
        let mut hands = behind.everybody();
        hands.insert(sign.by.clone());
        if let Some(hand) = review.hands().intersection(&hands).next() {
            return Err(ReviewError::NotAnother {
                with: review.broken_by.clone(),
                hand: hand.clone(),
            });
        }
        if let Some((with, hand)) = held.approved_by_one_of(&hands) {
            return Err(ReviewError::NotAnother { with, hand });
        }
        let groups = held.groups_concerned();
        match is_reviewer(&person, &groups) {
            true => Ok(()),
            false => Err(ReviewError::NotAReviewer {
                by: sign.by.clone(),
                groups: match groups.is_empty() {
                    true => vec!["any group".to_owned()],
                    false => groups,
                },
            }),
        }
    }
}

fn is_reviewer(person: &Person, groups: &[String]) -> bool {
    let is_asked = groups.is_empty() || groups.iter().any(|group| person.is_in(group));
    let has = |role: Role| person.roles.contains(&role);
    has(Role::Auditor) || has(Role::Admin) || (person.scopes().has(Scope::Decide) && is_asked)
}

/// What was found, trimmed; checked for what a log and a terminal can show.
fn text_of(text: &str) -> Result<String, ReviewError> {
    let text = text.trim();
    if text.is_empty() {
        Err(ReviewError::TextMissing)
    } else if text.len() > REMARK_BYTES_MAX || text.contains(char::is_control) {
        Err(ReviewError::TextUnusable {
            max: REMARK_BYTES_MAX,
        })
    } else {
        Ok(text.to_owned())
    }
}

/// What the card and the log are told: the finding stands first, as one word.
fn remark_of(held: &HeldRequest, signature: &Signature, idempotency: Option<String>) -> NewRemark {
    NewRemark {
        remark: Remark {
            at: signature.at,
            by: Speaker::Person(signature.by.clone()),
            kind: RemarkKind::Reviewed,
            text: format!("{}: {}", signature.finding, signature.text),
            to: None,
            channel: signature.channel.clone(),
        },
        version: held.version,
        idempotency,
    }
}
