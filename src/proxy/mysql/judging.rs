//! What a text would do on this session, as it stands. Never judges while the server has not said what texts mean.
//! Read `sql/mysql/mod.rs` for the judgement itself.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::identity::principal::Peer;
use crate::policy::{Outcome, Verdict, evaluate};
use crate::proxy::end::End;
use crate::proxy::judgements::Judged;
use crate::proxy::mysql::runs::Run;
use crate::proxy::mysql::session::Session;
use crate::sql::action::{Action, Class, Effect};
use crate::sql::mysql_state::{Charset, MysqlState, SqlModes};
use crate::sql::names::{Catalog, KnownNames, NamesThen};
use crate::sql::{IN_PLACE_BYTES_MAX, judge_mysql};

/// What a name of an SQL-level PREPARE stands for, and under which settings its text was read.
#[derive(Clone)]
pub struct Meaning {
    pub action: Arc<Action>,
    /// The message with the PREPARE in it.
    pub judged: Rc<Judged<MysqlState>>,
    pub schema: Option<String>,
    /// `Facts::values_revision` when it was prepared; `None`: it changed within the message with the PREPARE in it.
    pub read_at: Option<u64>,
}

struct Names<'a> {
    prepared: &'a HashMap<String, Meaning>,
    state: MysqlState,
    schema: Option<&'a str>,
    /// With a catalog, what was judged once may be judged otherwise by now.
    catalog: Option<Arc<dyn Catalog>>,
}

impl KnownNames for Names<'_> {
    fn prepared(&self, name: &str) -> Option<Arc<Action>> {
        let meaning = self.prepared.get(name)?;
        // The server may prepare it anew by the settings of now, and its text is not at hand to be judged by them.
        let is_as_then = meaning.judged.lexing == self.state && meaning.schema.as_deref() == self.schema;
        (is_as_then && self.catalog.is_none()).then(|| Arc::clone(&meaning.action))
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        self.catalog.as_deref()
    }
}

impl Session {
    /// What a text would do now.
    pub(super) async fn judge(&mut self, text: &[u8]) -> Result<Rc<Judged<MysqlState>>, End> {
        self.await_catalog().await?;
        let state = self.facts.state;
        if !state.is_served() {
            return Ok(self.judge_way_back(text));
        }
        let is_uncommitted = false;
        let scope = {
            let mut judgements = self.thread.mysql_judgements.borrow_mut();
            self.sight.scope(&mut judgements, &self.facts, is_uncommitted)
        };
        let known = self.thread.mysql_judgements.borrow().find(text, scope);
        if let Some(judged) = known {
            return Ok(judged);
        }
        let catalog = self.sight.catalog(&self.facts);
        let names = Names {
            prepared: &self.names,
            state,
            schema: self.facts.schema.as_deref(),
            catalog,
        };
        let text: Arc<[u8]> = text.into();
        let mut judgement = if text.len() <= IN_PLACE_BYTES_MAX {
            judge_mysql(&text, &state, &names)
        } else {
            let prepared = self.names.keys();
            let prepared = prepared.filter_map(|name| Some((name.clone(), names.prepared(name)?)));
            let then = NamesThen {
                prepared: prepared.collect(),
                catalog: names.catalog.clone(),
            };
            let parsers = &self.thread.shared.parsers;
            parsers.judge_mysql(Arc::clone(&text), state, then).await
        };
        if self.sight.has_catalog() {
            crate::sql::doubt::doubt_what_follows(&mut judgement);
        }
        let judged = Rc::new(Judged::new(text, judgement, state, scope));
        if self.sight.is_shared() {
            self.thread.mysql_judgements.borrow_mut().keep(&judged);
        }
        Ok(judged)
    }

    /// What may run under settings that are not served: only what leads back from them, in words that every sql_mode and
    /// every character set read alike.
    fn judge_way_back(&mut self, text: &[u8]) -> Rc<Judged<MysqlState>> {
        let state = self.facts.state;
        let scope = self.thread.mysql_judgements.borrow_mut().scope_of_one();
        if let Some(judged) = self.judge_plain(text)
            && leads_back(&judged)
        {
            return Rc::new(judged);
        }
        // Judged as it stands, nothing can be read.
        let judgement = judge_mysql(text, &state, &());
        Rc::new(Judged::new(text.into(), judgement, state, scope))
    }

    /// A text in words that every sql_mode and every character set read alike. `None`: it has others.
    fn judge_plain(&self, text: &[u8]) -> Option<Judged<MysqlState>> {
        let is_plain = text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b" _@=.,;()*".contains(byte));
        if !is_plain || text.len() > IN_PLACE_BYTES_MAX {
            return None;
        }
        let usual = MysqlState {
            modes: SqlModes::default(),
            charset: Charset::Utf8mb4,
            ..self.facts.state
        };
        let scope = self.thread.mysql_judgements.borrow_mut().scope_of_one();
        let judgement = judge_mysql(text, &usual, &());
        Some(Judged::new(text.into(), judgement, usual, scope))
    }

    /// While it is not known what texts mean: one that means the same whatever that is, and names no table. The server is
    /// not asked then, because a question of the proxy's own would wipe out what SHOW WARNINGS, ROW_COUNT() and the like
    /// tell of the statement before.
    pub(super) fn judge_regardless(&self, text: &[u8]) -> Option<Rc<Judged<MysqlState>>> {
        if !self.facts.is_stale || self.facts.character_set_client.is_empty() {
            return None;
        }
        let judged = self.judge_plain(text)?;
        let is_harmless = judged.judgement.actions.iter().all(|action| {
            let is_of_session = match action.class {
                Class::Read | Class::Session | Class::Transaction => true,
                Class::Write
                | Class::Ddl
                | Class::Export
                | Class::Procedural
                | Class::Grant
                | Class::Admin
                | Class::Unknown => false,
            };
            is_of_session && action.tables.is_empty() && action.effects.is_empty()
        });
        is_harmless.then(|| Rc::new(judged))
    }

    /// A statement that was prepared, as it would be judged now.
    pub(super) async fn judge_again(
        &mut self,
        then: &Rc<Judged<MysqlState>>,
        schema: Option<&str>,
    ) -> Result<Rc<Judged<MysqlState>>, End> {
        let text = Arc::clone(&then.text);
        if then.lexing != self.facts.state {
            // The server may read it anew by the settings of now.
            let now = self.judge(&text).await?;
            return Ok(Rc::new(
                now.unknown("was prepared under another sql_mode or character set"),
            ));
        }
        if self.facts.schema.as_deref() == schema {
            return self.judge(&text).await;
        }
        // Names without a schema mean what they meant when it was prepared.
        let here = self.facts.schema.take();
        self.facts.schema = schema.map(str::to_owned);
        self.facts.revision += 1;
        let judged = self.judge(&text).await;
        self.facts.schema = here;
        self.facts.revision += 1;
        judged
    }

    /// A statement that names another database than the session is in must pass the rules of both.
    pub(super) fn verdict(&self, judged: &Judged<MysqlState>) -> Rc<Verdict> {
        let rules = self.thread.shared.rules.load();
        let mut verdict = judged.verdict(&rules, self.key, &self.peer);
        let actions = &judged.judgement.actions;
        let tables = actions
            .iter()
            .flat_map(|action| action.tables.iter().chain(&action.behind));
        let schemas = tables.filter_map(|table| table.schema.as_deref());
        let functions = actions.iter().flat_map(|action| &action.functions);
        let schemas = schemas.chain(functions.filter_map(|function| function.schema.as_deref()));
        let others: BTreeSet<&str> = schemas.filter(|schema| *schema != self.peer.database).collect();
        for schema in others {
            let peer = Peer {
                database: schema.to_owned(),
                ..(*self.peer).clone()
            };
            let there = evaluate(&rules, &judged.judgement, &peer, Timestamp::now());
            if strictness(&there) > strictness(&verdict) {
                verdict = Rc::new(there);
            }
        }
        verdict
    }

    /// What a message that has run has done to names of prepared statements. One that has failed may have run in part: no
    /// name that it touches is known any more.
    pub(super) fn follow_names(&mut self, run: &Run) {
        let (judged, is_complete) = (&run.judged, run.failure.is_none());
        let values_revision = self.facts.values_revision;
        for action in &judged.judgement.actions {
            for effect in &action.effects {
                match effect {
                    Effect::Prepares { name, inner } if is_complete => {
                        let meaning = Meaning {
                            action: Arc::clone(inner),
                            judged: Rc::clone(judged),
                            schema: self.facts.schema.clone(),
                            read_at: (run.read_at == values_revision).then_some(values_revision),
                        };
                        self.names.insert(name.clone(), meaning);
                    }
                    Effect::Prepares { name, .. } | Effect::Deallocates { name: Some(name) } => {
                        self.names.remove(name);
                    }
                    Effect::Deallocates { name: None } | Effect::DiscardsAll => self.names.clear(),
                    Effect::ProxySetting { name, value } if is_complete => self.set_own(name, value),
                    Effect::BeginsTransaction
                    | Effect::EndsTransaction { .. }
                    | Effect::RollsBackToSavepoint
                    | Effect::ChangesMeaning
                    | Effect::ChangesValues
                    | Effect::RunsCursor
                    | Effect::ProxySetting { .. } => {}
                }
            }
        }
        // What is not understood may have given any name another meaning.
        if judged.class == Class::Unknown || judged.class == Class::Procedural {
            self.names.clear();
        }
    }
}

fn strictness(verdict: &Verdict) -> u8 {
    match verdict.outcome() {
        Outcome::Allow => 0,
        Outcome::Hold => 1,
        Outcome::Deny => 2,
    }
}

/// Whether it does no more than change settings or end the transaction.
fn leads_back(judged: &Judged<MysqlState>) -> bool {
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
