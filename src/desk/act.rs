//! What people do with a request besides deciding it: look at it, comment, ask its agent.
//! Never lets anything run, and never ends a request. Read `decide.rs` for what does.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::desk::core::{Core, NotMoved, With};
use crate::desk::notes::event_note;
use crate::desk::{Moment, Told, Wake, crash_point};
use crate::hold::{Event, HeldRequest, Remark, RemarkKind, RequestId, Speaker, State, StateKind};
use crate::identity::directory::{Hands, Scope, WhyNot};
use crate::identity::principal::PersonName;
use crate::store::{Expected, NewRemark};

/// A page that polls opens a card every few seconds; the log is to say who looked and when, not how often.
const VIEWED_AGAIN_AFTER: Duration = Duration::from_secs(900);

/// Remarks on one request; more is a conversation that belongs elsewhere.
pub const REMARKS_MAX: u32 = 200;

/// What fits into the one error message that drivers show, with the words around it.
pub const QUESTION_BYTES_MAX: usize = 240;

/// Bytes of a comment, a reason or a reply: a long paragraph.
pub const REMARK_BYTES_MAX: usize = 2000;

/// Something that a person does with a request besides deciding it. `by` is the person who is signed in.
#[derive(Clone, Debug)]
pub struct Act {
    pub by: PersonName,
    /// Everybody else who has seen the token, and so may be the one who acts.
    pub token_seen_by: BTreeSet<PersonName>,
    /// `api`, `cli` …
    pub channel: String,
    /// The same key again gives the same answer again.
    pub idempotency: Option<String>,
    pub what: ActKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActKind {
    /// Opened the card.
    View,
    Comment {
        text: String,
    },
    /// Ends the agent's wait with a question.
    Ask {
        question: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    #[error("no such request")]
    NotFound,
    #[error("the request is {0} already")]
    NotUndecided(StateKind),
    #[error("{0}")]
    NotPermitted(WhyNot),
    #[error("nothing is said")]
    TextMissing,
    #[error("the text is longer than {max} bytes or holds control characters")]
    TextUnusable { max: usize },
    #[error("{limit} remarks stand beside the request already")]
    TooMany { limit: u32 },
    #[error("audit log unavailable, nothing done")]
    LogUnavailable,
    #[error("store unavailable, nothing done")]
    StoreUnavailable,
    #[error("the proxy is stopping")]
    Stopping,
}

impl Act {
    fn hands(&self) -> Hands {
        Hands {
            person: self.by.clone(),
            token_seen_by: self.token_seen_by.clone(),
        }
    }
}

impl ActKind {
    pub const fn kind(&self) -> RemarkKind {
        match self {
            Self::View => RemarkKind::Viewed,
            Self::Comment { .. } => RemarkKind::Comment,
            Self::Ask { .. } => RemarkKind::Question,
        }
    }

    /// What is said, trimmed; checked for what a log, a terminal and an error message can show.
    fn text(&self) -> Result<String, ActError> {
        let (text, max, lines) = match self {
            Self::View => return Ok(String::new()),
            Self::Comment { text } => (text, REMARK_BYTES_MAX, Lines::Many),
            Self::Ask { question } => (question, QUESTION_BYTES_MAX, Lines::One),
        };
        let text = text.trim();
        let is_unusable = |letter: char| letter.is_control() && !(letter == '\n' && lines == Lines::Many);
        if text.is_empty() {
            Err(ActError::TextMissing)
        } else if text.len() > max || text.contains(is_unusable) {
            Err(ActError::TextUnusable { max })
        } else {
            Ok(text.to_owned())
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    One,
    Many,
}

impl Core {
    /// One act of one person, in store and log when it returns.
    pub fn act(&mut self, request: RequestId, act: &Act, now: Moment) -> Result<HeldRequest, ActError> {
        if self.is_stopping {
            return Err(ActError::Stopping);
        }
        let mut text = act.what.text()?;
        self.log_is_ready(now)?;
        self.end_overdue(request, now)?;
        let held = self.store.request(request)?.ok_or(ActError::NotFound)?;
        let kind = act.what.kind();
        if let Some(key) = &act.idempotency
            && self.store.remarked_under(request, &act.by, kind, key)?
        {
            return Ok(held);
        }
        if kind != RemarkKind::Viewed && self.store.remarks_of(request)? >= REMARKS_MAX {
            return Err(ActError::TooMany { limit: REMARKS_MAX });
        }
        if kind == RemarkKind::Viewed {
            text = format!("version {}", held.version);
        }
        let new = NewRemark {
            remark: Remark {
                at: now.wall,
                by: Speaker::Person(act.by.clone()),
                kind,
                text,
                to: None,
                channel: act.channel.clone(),
            },
            version: held.version,
            idempotency: act.idempotency.clone(),
        };
        match &act.what {
            ActKind::View => {
                let before = self.store.viewed_at(request, &act.by, held.version)?;
                if before.is_some_and(|at| now.wall < at.after(VIEWED_AGAIN_AFTER)) {
                    return Ok(held);
                }
                self.keep_remark(&held, &new)?;
            }
            ActKind::Comment { .. } => {
                self.may_comment(&act.by)?;
                self.keep_remark(&held, &new)?;
            }
            ActKind::Ask { .. } => {
                self.may_act(&held, act)?;
                self.keep_question(&held, new, now)?;
            }
        }
        crash_point("act_stored");
        self.clerk_carries_over(now)?;
        crash_point("act_logged");
        self.store.request(request)?.ok_or(ActError::NotFound)
    }

    /// Whoever works with requests may comment, a stake in this one or not: a comment decides nothing. Those who only
    /// audit look on.
    fn may_comment(&mut self, by: &PersonName) -> Result<(), ActError> {
        let refuse = |why: fn(PersonName) -> WhyNot| Err(ActError::NotPermitted(why(by.clone())));
        match self.store.person(by)? {
            Some(person) if !person.active => refuse(WhyNot::Inactive),
            Some(person) if person.scopes().has(Scope::Decide) => Ok(()),
            Some(_) => refuse(WhyNot::NotAnApprover),
            None => refuse(WhyNot::Inactive),
        }
    }

    /// Promise 4 for what changes who decides or ends the agent's wait: the same people as for a decision.
    fn may_act(&mut self, held: &HeldRequest, act: &Act) -> Result<(), ActError> {
        if !held.state.is_undecided() {
            return Err(ActError::NotUndecided(held.state.kind()));
        }
        self.has_no_stake(held, &act.hands())?
            .map_err(ActError::NotPermitted)
    }

    /// Keeps a remark beside a request that stays as it is, its version included: a decision is bound to the same.
    pub(super) fn keep_remark(&mut self, held: &HeldRequest, new: &NewRemark) -> Result<(), ActError> {
        let note = remark_note(held, &new.remark);
        self.store.remark(held.id, new, &[note])?;
        self.announce_that(held, Told::Said(new.remark.kind));
        Ok(())
    }

    /// A question ends the wait of whoever waits; the request stays undecided.
    fn keep_question(&mut self, held: &HeldRequest, new: NewRemark, now: Moment) -> Result<(), ActError> {
        if held.state == State::Detached {
            return self.keep_remark(held, &new);
        }
        let mut left = held.clone();
        left.wait_ends_at = now.wall.min(held.wait_ends_at);
        let grant = self.grant_until(held, now);
        let said = new.remark.clone();
        let with = With {
            notes: vec![remark_note(held, &said)],
            remarks: vec![new],
            ..With::default()
        };
        let event = Event::Leave { grant };
        let why = "its reviewer asks a question";
        let moved = self.move_with(&left, &Expected::of(held), event, why, with, now);
        match moved {
            Ok(moved) => {
                self.announce_that(&moved, Told::Said(said.kind));
                self.wakes.push((held.id, asked(&said)));
                Ok(())
            }
            Err(NotMoved::Store(error)) => Err(error.into()),
            Err(NotMoved::Lost | NotMoved::Illegal(_)) => match self.store.request(held.id)? {
                Some(held) => Err(ActError::NotUndecided(held.state.kind())),
                None => Err(ActError::NotFound),
            },
        }
    }

    /// The agent has sent the bytes again and not answered: it is asked again, and waits no longer.
    pub(super) fn ask_again(&mut self, held: &HeldRequest, now: Moment) -> Result<(), NotMoved> {
        let Some((by, question)) = held.open_question() else {
            return Ok(());
        };
        let wake = Wake::Asked {
            by: by.to_string(),
            question: question.to_owned(),
        };
        self.leave(held, "the question of its reviewer is not answered", now)?;
        self.wakes.push((held.id, wake));
        Ok(())
    }
}

fn asked(said: &Remark) -> Wake {
    Wake::Asked {
        by: said.by.name().unwrap_or_default().to_owned(),
        question: said.text.clone(),
    }
}

/// What the log is told of a remark.
pub(super) fn remark_note(held: &HeldRequest, said: &Remark) -> crate::store::Note {
    let by = said.by.name().map(str::to_owned);
    let detail = match &said.to {
        Some(to) if said.text.is_empty() => format!("to {to}"),
        Some(to) => format!("to {to}: {}", said.text),
        None => said.text.clone(),
    };
    event_note(held, said.kind.as_str(), by, &detail)
}

/// An agent's reply as it is shown: one line, not longer than a remark may be.
pub(super) fn reply_text(text: &str) -> String {
    let mut reply: String = text
        .trim()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let end = reply.floor_char_boundary(REMARK_BYTES_MAX);
    reply.truncate(end);
    reply
}
