//! When a text may be judged, and under what. Never judges behind an answer that could change what it means.
//! Read `sql/parse.rs` for the judgement itself.

use std::rc::Rc;
use std::sync::Arc;

use crate::policy::Verdict;
use crate::proxy::end::End;
use crate::proxy::judgements::{Judged, Scope};
use crate::proxy::postgres::runs::{Meaning, NameOrigin, ends_transaction};
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::turn::{Next, Stopped};
use crate::proxy::refusal::Refusal;
use crate::sql::action::{Action, Breadth, Class, Effect, Judgement};
use crate::sql::doubt::doubt_what_follows;
use crate::sql::names::{Catalog, KnownNames, NamesThen};
use crate::sql::statement::{Encoding, LexingState};
use crate::sql::{IN_PLACE_BYTES_MAX, judge_postgres};
use crate::wire::postgres::conversation::{Conversation, Lookup};

pub struct Names<'a> {
    talk: &'a Conversation<Rc<Meaning>>,
    lexing: LexingState,
    scope: Scope,
    catalog: Option<Arc<dyn Catalog>>,
    /// Inside the text of a prepared statement no further one is looked into.
    is_inner: bool,
}

impl KnownNames for Names<'_> {
    fn prepared(&self, name: &str) -> Option<Arc<Action>> {
        match self.talk.statement(name) {
            Lookup::Known(meaning) => self.action_of(name, &meaning).map(Arc::new),
            Lookup::Unknown | Lookup::Wait => None,
        }
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        self.catalog.as_deref()
    }
}

impl Names<'_> {
    /// What a prepared statement does now. The server plans it anew when a definition or the search_path has changed.
    fn action_of(&self, name: &str, meaning: &Meaning) -> Option<Action> {
        let judged = &meaning.judged;
        if meaning.origin == NameOrigin::Text && judged.judgement.depends_on_names {
            // An EXECUTE that was prepared itself: the name in it may mean anything by now.
            return None;
        }
        let is_as_then = match self.catalog {
            Some(_) => judged.scope == self.scope,
            None => judged.lexing.path == self.lexing.path,
        };
        if is_as_then {
            return only(&judged.judgement).cloned();
        }
        let may_look =
            !self.is_inner && judged.text.len() <= IN_PLACE_BYTES_MAX && !judged.has_foreign_types();
        if self.catalog.is_none() || !may_look {
            // Under another search_path its names may be others, so what it does is not known.
            return None;
        }
        let lexing = LexingState {
            path: self.lexing.path,
            role: self.lexing.role,
            ..judged.lexing
        };
        let names = Names {
            catalog: self.catalog.clone(),
            is_inner: true,
            ..*self
        };
        let judgement = judge_postgres(&judged.text, lexing, &names);
        match meaning.origin {
            NameOrigin::Text => only(&judgement).cloned(),
            NameOrigin::SqlPrepare => prepared_in(&judgement, name),
            NameOrigin::Approved => None,
        }
    }
}

fn only(judgement: &Judgement) -> Option<&Action> {
    match judgement.actions.as_slice() {
        [action] => Some(action),
        _ => None,
    }
}

/// What the one PREPARE of a name in a message stands for.
fn prepared_in(judgement: &Judgement, wanted: &str) -> Option<Action> {
    let effects = judgement.actions.iter().flat_map(|action| &action.effects);
    let mut found = effects.filter_map(|effect| match effect {
        Effect::Prepares { name, inner } if name == wanted => Some(inner),
        Effect::Prepares { .. }
        | Effect::BeginsTransaction
        | Effect::EndsTransaction { .. }
        | Effect::RollsBackToSavepoint
        | Effect::ChangesMeaning
        | Effect::ChangesValues
        | Effect::Deallocates { .. }
        | Effect::DiscardsAll
        | Effect::RunsCursor
        | Effect::ProxySetting { .. } => None,
    });
    match (found.next(), found.next()) {
        (Some(inner), None) => Some((**inner).clone()),
        _ => None,
    }
}

impl Session {
    /// What a text would do now.
    pub(super) fn judge(&mut self, text: &[u8]) -> Result<Rc<Judged>, Stopped> {
        if let Some(stopped) = self.not_ready() {
            return Err(stopped);
        }
        let lexing = self.facts.lexing();
        if !lexing.is_served() {
            return self.judge_way_back(text, lexing);
        }
        let judged = self.judge_under(text, lexing)?;
        let followed = judged.judgement.actions.iter().rev().skip(1);
        if self.transaction.touched_meaning && followed.clone().any(Action::runs_cursor) {
            let why = "a cursor read in the same message may change what names mean";
            return Ok(Rc::new(judged.unknown(why)));
        }
        if self.transaction.touched_meaning && runs_behind_end(&judged) {
            let why = "a transaction that ends in the same message may have changed what names mean";
            return Ok(Rc::new(judged.unknown(why)));
        }
        Ok(judged)
    }

    /// What may run under settings that are not served: only what leads back from them.
    fn judge_way_back(&mut self, text: &[u8], lexing: LexingState) -> Result<Rc<Judged>, Stopped> {
        // Pure ASCII is the same under every encoding of the server; the scanner refuses a string that it could read
        // otherwise than the server.
        let ascii = LexingState {
            encoding: Encoding::SqlAscii,
            ..lexing
        };
        if text.is_ascii() && text.len() <= IN_PLACE_BYTES_MAX {
            let judged = self.judge_under(text, ascii)?;
            if leads_back(&judged) {
                return Ok(judged);
            }
        }
        Err(Stopped::Refuse(unserved_settings()))
    }

    /// A statement read before, whose parameters come now.
    pub(super) fn judge_bound(&mut self, name: &str, meaning: &Meaning) -> Result<Rc<Judged>, Stopped> {
        if let Some(stopped) = self.not_ready() {
            return Err(stopped);
        }
        if !self.facts.lexing().is_served() && !leads_back(&meaning.judged) {
            return Err(Stopped::Refuse(unserved_settings()));
        }
        self.judge_again(name, meaning)
    }

    /// What must come before anything can be judged.
    pub(super) fn not_ready(&mut self) -> Option<Stopped> {
        if let Some(refusal) = self.refuse_once.take_if(|_| self.talk.is_settled()) {
            return Some(Stopped::Refuse(refusal));
        }
        if self.refuse_once.is_some() || self.is_meaning_open() {
            return Some(Stopped::Next(Next::Settle));
        }
        if let Some(next) = self.awaits_catalog() {
            return Some(Stopped::Next(next));
        }
        if self.facts.stale && !self.talk.is_failed() {
            let next = if self.talk.is_settled() {
                Next::Ask
            } else {
                Next::Settle
            };
            return Some(Stopped::Next(next));
        }
        None
    }

    fn judge_under(&mut self, text: &[u8], lexing: LexingState) -> Result<Rc<Judged>, Stopped> {
        let scope = self.scope(lexing);
        let known = self.thread.judgements.borrow().find(text, scope);
        if let Some(judged) = known {
            return Ok(judged);
        }
        if text.len() > IN_PLACE_BYTES_MAX {
            let apart = self.judged_apart.take();
            if let Some(judged) = apart.filter(|apart| *apart.text == *text && apart.scope == scope) {
                return Ok(judged);
            }
            return Err(Stopped::Next(Next::Parse {
                text: text.into(),
                lexing,
            }));
        }
        let judgement = judge_postgres(text, lexing, &self.names(lexing, scope));
        if judgement.depends_on_names && !self.talk.is_settled() {
            return Err(Stopped::Next(Next::Settle));
        }
        Ok(self.judged(text.into(), judgement, lexing, scope))
    }

    /// Keeps a judgement where others may use it too.
    fn judged(
        &self,
        text: Arc<[u8]>,
        mut judgement: Judgement,
        lexing: LexingState,
        scope: Scope,
    ) -> Rc<Judged> {
        if self.sight.has_catalog() {
            doubt_what_follows(&mut judgement);
        }
        let judged = Rc::new(Judged::new(text, judgement, lexing, scope));
        if self.sight.is_shared() {
            self.thread.judgements.borrow_mut().keep(&judged);
        }
        judged
    }

    /// What a statement judged before does now: its names may mean something else under the catalog, search_path and role
    /// of now, and an EXECUTE in it goes by what that name means by now. Its text is read as it was when it was parsed.
    pub(super) fn judge_again(&mut self, name: &str, meaning: &Meaning) -> Result<Rc<Judged>, Stopped> {
        let judged = &meaning.judged;
        let LexingState { path, role, .. } = self.facts.lexing();
        let lexing = LexingState {
            path,
            role,
            ..judged.lexing
        };
        let scope = self.scope(lexing);
        match meaning.origin {
            // Another path makes no foreign type one of the server's.
            NameOrigin::Text if judged.has_foreign_types() => Ok(Rc::clone(judged)),
            NameOrigin::Text if judged.judgement.depends_on_names || judged.scope != scope => {
                let text = Arc::clone(&judged.text);
                self.judge_under(&text, lexing)
            }
            NameOrigin::SqlPrepare if judged.scope != scope => {
                let action = self.names(lexing, scope).action_of(name, meaning);
                Ok(Rc::new(match action {
                    Some(action) => judged.of_action(&action),
                    None => judged.unknown("it was prepared under another search_path"),
                }))
            }
            NameOrigin::Text | NameOrigin::SqlPrepare | NameOrigin::Approved => Ok(Rc::clone(judged)),
        }
    }

    /// A statement that is put before people, or released, as it would be judged by the catalog now. `None`: without a
    /// catalog; or what it does depends on more than its text, and is bound to that.
    pub(super) async fn judged_now(&mut self, judged: &Judged) -> Result<Option<Rc<Judged>>, End> {
        let is_of_text_alone = !judged.judgement.depends_on_names && !judged.has_foreign_types();
        if !self.sight.has_catalog() || !is_of_text_alone {
            return Ok(None);
        }
        loop {
            let next = match self.awaits_catalog() {
                Some(next) => next,
                None => {
                    let LexingState { path, role, .. } = self.facts.lexing();
                    let lexing = LexingState {
                        path,
                        role,
                        ..judged.lexing
                    };
                    match self.judge_under(&judged.text, lexing) {
                        Ok(now) => return Ok(Some(now)),
                        Err(Stopped::Next(next)) => next,
                        Err(Stopped::Refuse(_)) => return Ok(None),
                    }
                }
            };
            match next {
                Next::Catalog { wanted } => self.await_catalog(wanted).await?,
                Next::Parse { text, lexing } => self.judge_apart(text, lexing).await?,
                Next::Wait
                | Next::Again
                | Next::Retry
                | Next::Settle
                | Next::Ask
                | Next::Hold(_)
                | Next::Refuse(..) => return Ok(None),
            }
        }
    }

    /// Whether a portal's statement may be judged otherwise than when it was bound.
    pub(super) fn has_moved_on(&mut self, judged: &Judged) -> bool {
        let LexingState { path, role, .. } = self.facts.lexing();
        let lexing = LexingState {
            path,
            role,
            ..judged.lexing
        };
        self.sight.has_catalog() && judged.scope != self.scope(lexing)
    }

    /// Under what a text is judged now.
    fn scope(&mut self, lexing: LexingState) -> Scope {
        let mut judgements = self.thread.judgements.borrow_mut();
        let is_uncommitted = self.transaction.touched_catalog;
        self.sight
            .scope(&mut judgements, &self.facts, lexing, is_uncommitted)
    }

    /// `scope` was given last.
    fn names(&self, lexing: LexingState, scope: Scope) -> Names<'_> {
        Names {
            talk: &self.talk,
            lexing,
            scope,
            catalog: self.sight.catalog(&self.facts),
            is_inner: false,
        }
    }

    /// A long text is judged on a parser thread; the turn that comes next finds it.
    pub(super) async fn judge_apart(&mut self, text: Arc<[u8]>, lexing: LexingState) -> Result<(), End> {
        let scope = self.scope(lexing);
        let names = self.names(lexing, scope);
        let prepared = self.talk.statements().keys();
        let prepared = prepared.filter_map(|name| Some((name.clone(), names.prepared(name)?)));
        let names = NamesThen {
            prepared: prepared.collect(),
            catalog: names.catalog.clone(),
        };
        let parsers = &self.thread.shared.parsers;
        let mut judgement = parsers.judge(Arc::clone(&text), lexing, names).await;
        // It also says so where no thread was free. Neither is remembered for others: it is held this once.
        if judgement.depends_on_names {
            for action in &mut judgement.actions {
                action.class = Class::Unknown;
                action.breadth = Breadth::Unbounded;
                let why = "a text this long may not use names of prepared statements";
                action.reasons.push(why.to_owned());
            }
        }
        self.judged_apart = Some(self.judged(text, judgement, lexing, scope));
        Ok(())
    }

    pub(super) fn verdict(&self, judged: &Judged) -> Rc<Verdict> {
        judged.verdict(&self.thread.shared.rules.load(), self.key, &self.peer)
    }
}

/// Whether a message goes on behind the end of a transaction with what looks names up.
fn runs_behind_end(judged: &Judged) -> bool {
    let actions = judged.judgement.actions.iter();
    let mut behind = actions.skip_while(|action| !ends_transaction(action)).skip(1);
    behind.any(|action| action.class != Class::Transaction)
}

/// Whether it does no more than change settings or end the transaction: the way back from settings that are not served.
fn leads_back(judged: &Judged) -> bool {
    judged.judgement.actions.iter().all(|action| match action.class {
        Class::Session | Class::Transaction => true,
        Class::Read
        | Class::Write
        | Class::Ddl
        | Class::Export
        | Class::Procedural
        | Class::Grant
        | Class::Admin
        | Class::Unknown => false,
    })
}

fn unserved_settings() -> Refusal {
    let why = "client_encoding other than UTF8, or standard_conforming_strings off, is not served: \
               set client_encoding to UTF8 and standard_conforming_strings to on";
    Refusal::Unreadable { why: why.to_owned() }
}
