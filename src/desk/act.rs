//! What people do with a request besides deciding it: look at it, comment, ask its agent, hand it on.
//! Never lets anything run, and never ends a request. Read `decide.rs` for what does.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::desk::core::{Core, NotMoved, With};
use crate::desk::expiry::{Milestone, next_milestone};
use crate::desk::notes::event_note;
use crate::desk::{Moment, NotSure, Told, Wake, crash_point};
use crate::hold::{Delegation, Event, HeldRequest, Remark, RemarkKind, RequestId, Speaker, State, StateKind};
use crate::identity::assurance::Assurance;
use crate::identity::directory::{Hands, Scope, WhyNot};
use crate::identity::principal::PersonName;
use crate::store::sqlite::StoreError;
use crate::store::{Expected, NewRemark};

/// A page that polls opens a card every few seconds; the log is to say who looked and when, not how often.
const VIEWED_AGAIN_AFTER: Duration = Duration::from_secs(900);

/// Whoever has the values shown again within this time is on record already.
const REVEALED_AGAIN_AFTER: Duration = Duration::from_secs(60);

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
    /// How surely it is the person.
    pub assurance: Assurance,
    /// When the session began; `None` for a token's call.
    pub signed_in_at: Option<Timestamp>,
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
    /// Asked to be shown the values that are withheld.
    Reveal,
    Comment {
        text: String,
    },
    /// Ends the agent's wait with a question.
    Ask {
        question: String,
    },
    /// The rule's next group decides from now on.
    Escalate {
        reason: String,
    },
    /// Somebody else approves instead.
    Delegate {
        to: PersonName,
        reason: String,
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
    #[error("no value of it is withheld")]
    NothingWithheld,
    #[error("the values went with a restart of the proxy, or there were too many to keep")]
    ValuesGone,
    #[error("nothing is said")]
    TextMissing,
    #[error("the text is longer than {max} bytes or holds control characters")]
    TextUnusable { max: usize },
    #[error("{0}")]
    NotSure(NotSure),
    #[error("its rule names nobody to escalate to")]
    NobodyNext,
    #[error("it was escalated already")]
    EscalatedAlready,
    #[error("`{to}` cannot decide it: {why}")]
    CannotBeDelegate { to: PersonName, why: WhyNot },
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
    pub(super) fn hands(&self) -> Hands {
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
            Self::Reveal => RemarkKind::Revealed,
            Self::Comment { .. } => RemarkKind::Comment,
            Self::Ask { .. } => RemarkKind::Question,
            Self::Escalate { .. } => RemarkKind::Escalated,
            Self::Delegate { .. } => RemarkKind::Delegated,
        }
    }

    /// What is said, trimmed; checked for what a log, a terminal and an error message can show.
    fn text(&self) -> Result<String, ActError> {
        let (text, max, lines) = match self {
            Self::View | Self::Reveal => return Ok(String::new()),
            Self::Comment { text } => (text, REMARK_BYTES_MAX, Lines::Many),
            Self::Ask { question } => (question, QUESTION_BYTES_MAX, Lines::One),
            Self::Escalate { reason } | Self::Delegate { reason, .. } => {
                (reason, REMARK_BYTES_MAX, Lines::One)
            }
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
        let is_look = matches!(kind, RemarkKind::Viewed | RemarkKind::Revealed);
        if !is_look && self.store.remarks_of(request)? >= REMARKS_MAX {
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
            ActKind::Reveal => {
                self.may_reveal(&held, &act.hands(), now)?;
                self.is_sure_to_see(&held, act, now)?;
                let before = held.revealed_at(&act.by);
                if before.is_some_and(|at| now.wall < at.after(REVEALED_AGAIN_AFTER)) {
                    return Ok(held);
                }
                self.keep_remark(&held, &new)?;
            }
            ActKind::Comment { .. } => {
                self.may_comment(&act.by)?;
                self.keep_remark(&held, &new)?;
            }
            ActKind::Ask { .. } => {
                self.may_act(&held, &act.hands(), now)?;
                self.keep_question(&held, new, now)?;
            }
            ActKind::Escalate { .. } => {
                self.may_escalate(&held, &act.hands(), now)?;
                self.escalate(&held, new, now)?;
            }
            ActKind::Delegate { to, .. } => {
                self.may_delegate(&held, &act.hands(), now)?;
                self.delegate(&held, act, to, new, now)?;
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
    pub(super) fn may_act(&mut self, held: &HeldRequest, hands: &Hands, now: Moment) -> Result<(), ActError> {
        if !held.state.is_undecided() {
            return Err(ActError::NotUndecided(held.state.kind()));
        }
        let asked = held.groups_concerned();
        let may = self.counts_as(held, hands, &asked, now)?;
        may.map(|_| ()).map_err(ActError::NotPermitted)
    }

    /// The same people, where there is a next group that does not decide yet.
    pub(super) fn may_escalate(
        &mut self,
        held: &HeldRequest,
        hands: &Hands,
        now: Moment,
    ) -> Result<(), ActError> {
        self.may_act(held, hands, now)?;
        can_be_escalated(held)
    }

    /// The same people, those who could approve it in their own right and have not spoken.
    pub(super) fn may_delegate(
        &mut self,
        held: &HeldRequest,
        hands: &Hands,
        now: Moment,
    ) -> Result<(), ActError> {
        self.may_act(held, hands, now)?;
        let refuse = |why| Err(ActError::NotPermitted(why));
        let by = &hands.person;
        // Nobody hands on what was delegated to them.
        let from = match self.has_no_stake(held, hands, now)? {
            Ok(person) => person,
            Err(why) => return refuse(why),
        };
        let asked = held.requirement_now().groups();
        if !asked.is_empty() && !asked.iter().any(|group| from.is_in(group)) {
            return refuse(WhyNot::NotInAGroup(by.clone(), asked));
        }
        if let Some(to) = held.delegated_by(by) {
            return refuse(WhyNot::HasDelegated(by.clone(), to.clone()));
        }
        if held.decisions.iter().any(|said| said.by == *by) {
            return refuse(WhyNot::HasApproved(by.clone()));
        }
        Ok(())
    }

    /// Keeps a remark beside a request that stays as it is, its version included: a decision is bound to the same.
    fn keep_remark(&mut self, held: &HeldRequest, new: &NewRemark) -> Result<(), StoreError> {
        let note = remark_note(held, &new.remark);
        self.store.remark(held.id, new, &[note])?;
        self.announce_that(held, Told::Said(new.remark.kind));
        Ok(())
    }

    /// A question ends the wait of whoever waits; the request stays undecided.
    fn keep_question(&mut self, held: &HeldRequest, new: NewRemark, now: Moment) -> Result<(), ActError> {
        if held.state == State::Detached {
            return Ok(self.keep_remark(held, &new)?);
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
            Err(not_moved) => Err(self.not_acted(held, not_moved)),
        }
    }

    /// The rule's next group decides from now on: the first can no longer approve, and there is as much time again.
    fn escalate(&mut self, held: &HeldRequest, mut new: NewRemark, now: Moment) -> Result<(), ActError> {
        can_be_escalated(held)?;
        let mut escalated = held.clone();
        escalated.escalated_at = Some(now.wall);
        let time = held.expires_at.since(held.created_at);
        escalated.expires_at = now.wall.after(time).max(held.expires_at);
        new.remark.to = Some(held.escalate_to.join(" or "));
        self.keep_change(held, escalated, new, now)
    }

    /// Names who approves instead: once, and only somebody who may decide it, too.
    fn delegate(
        &mut self,
        held: &HeldRequest,
        act: &Act,
        to: &PersonName,
        mut new: NewRemark,
        now: Moment,
    ) -> Result<(), ActError> {
        // Whoever is named approves in this person's place: that is as much as approving.
        self.is_sure_enough(held, &act.by, act.assurance, now)?
            .map_err(ActError::NotSure)?;
        if let Err(why) = self.may_be_delegate(held, &act.by, to, now)? {
            let to = to.clone();
            return Err(ActError::CannotBeDelegate { to, why });
        }
        let mut delegated = held.clone();
        delegated.delegations.push(Delegation {
            from: act.by.clone(),
            to: to.clone(),
        });
        new.remark.to = Some(to.to_string());
        self.keep_change(held, delegated, new, now)
    }

    /// Promise 4 for who is to approve instead, and that this person has not spoken, nor handed it on.
    pub(super) fn may_be_delegate(
        &mut self,
        held: &HeldRequest,
        from: &PersonName,
        to: &PersonName,
        now: Moment,
    ) -> Result<Result<(), WhyNot>, StoreError> {
        if let Some(other) = held.delegated_by(to).or((to == from).then_some(from)) {
            return Ok(Err(WhyNot::HasDelegated(to.clone(), other.clone())));
        }
        if held.decisions.iter().any(|said| said.by == *to) {
            return Ok(Err(WhyNot::HasApproved(to.clone())));
        }
        Ok(self.has_no_stake(held, &Hands::from(to), now)?.map(|_| ()))
    }

    /// Keeps a change of who decides, with the remark that tells it.
    fn keep_change(
        &mut self,
        held: &HeldRequest,
        mut changed: HeldRequest,
        new: NewRemark,
        now: Moment,
    ) -> Result<(), ActError> {
        let kind = new.remark.kind;
        changed.discussion.push(new.remark.clone());
        let with = With {
            notes: vec![remark_note(held, &new.remark)],
            remarks: vec![new],
            ..With::default()
        };
        match self.keep_same_state(changed, &Expected::of(held), with, now) {
            Ok(changed) => {
                self.announce_that(&changed, Told::Said(kind));
                Ok(())
            }
            Err(not_moved) => Err(self.not_acted(held, not_moved)),
        }
    }

    fn not_acted(&mut self, held: &HeldRequest, not_moved: NotMoved) -> ActError {
        match not_moved {
            NotMoved::Store(error) => error.into(),
            NotMoved::Lost | NotMoved::Illegal(_) => match self.store.request(held.id) {
                Ok(Some(held)) => ActError::NotUndecided(held.state.kind()),
                Ok(None) => ActError::NotFound,
                Err(error) => error.into(),
            },
        }
    }

    /// Half of the time is over: people are reminded. Three quarters are: the next group decides.
    pub(super) fn reach_milestone(&mut self, request: RequestId, now: Moment) -> Result<(), ActError> {
        while self.milestones.is_over(request, now) {
            let Some(held) = self.store.request(request)? else {
                self.milestones.forget(request);
                return Ok(());
            };
            let Some((_, milestone)) = next_milestone(&held) else {
                self.follow_request(&held, now);
                return Ok(());
            };
            match milestone {
                Milestone::Remind => {
                    let new = by_clock(&held, RemarkKind::Reminded, now);
                    self.keep_remark(&held, &new)?;
                    let mut reminded = held;
                    reminded.discussion.push(new.remark);
                    self.follow_request(&reminded, now);
                }
                Milestone::Escalate => {
                    let new = by_clock(&held, RemarkKind::Escalated, now);
                    self.escalate(&held, new, now)?;
                }
            }
        }
        Ok(())
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

/// Whether there is a next group that does not decide yet.
fn can_be_escalated(held: &HeldRequest) -> Result<(), ActError> {
    if held.escalate_to.is_empty() {
        Err(ActError::NobodyNext)
    } else if held.escalated_at.is_some() {
        Err(ActError::EscalatedAlready)
    } else {
        Ok(())
    }
}

/// What time alone does.
fn by_clock(held: &HeldRequest, kind: RemarkKind, now: Moment) -> NewRemark {
    NewRemark {
        remark: Remark {
            at: now.wall,
            by: Speaker::Clock,
            kind,
            text: String::new(),
            to: None,
            channel: String::new(),
        },
        version: held.version,
        idempotency: None,
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
