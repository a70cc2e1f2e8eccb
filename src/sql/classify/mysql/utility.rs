//! Transactions, prepared statements, locks and what else is told by its words: read to the last of them.
//! Never judges a prepared statement by its name alone. Read `held.rs` next.

use std::sync::Arc;

use super::Walk;
use super::source::is_system_schema;
use super::words::Words;
use crate::sql::action::{Action, CancelTarget, Class, Effect, TableName};
use crate::sql::lex::mysql::{Kind, scan};

impl Walk<'_, '_> {
    /// What does not match its form to the last word is left to its first words, which hold it.
    pub(super) fn utility(&mut self, words: Words<'_>) {
        let mut ahead = words;
        let first = ahead.first_word();
        ahead.next();
        let read = match first.as_str() {
            "begin" => self.begin(ahead),
            "start" => self.start(ahead),
            "commit" => self.commit(ahead),
            "rollback" => self.rollback(ahead),
            "savepoint" => self.savepoint(ahead),
            "release" => self.release(ahead),
            "lock" => self.lock(ahead),
            "unlock" => self.unlock(ahead),
            "use" => self.use_schema(ahead),
            "kill" => self.kill(ahead),
            "prepare" => self.prepare(ahead),
            "execute" => self.execute(ahead),
            "deallocate" | "drop" if ahead.first_word() == "prepare" => self.deallocate(ahead),
            "drop" => self.drop_objects(ahead),
            _ => None,
        };
        if read.is_none() {
            self.by_first_words(words, "");
        }
    }

    fn begins(&mut self, verb: &'static str) -> Option<()> {
        self.is(Class::Transaction, verb);
        // What is open is committed first.
        self.commits_implicitly();
        self.effects.push(Effect::BeginsTransaction);
        Some(())
    }

    fn begin(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        ahead.take("work");
        ahead.is_empty().then(|| self.begins("begin")).flatten()
    }

    /// START TRANSACTION [WITH CONSISTENT SNAPSHOT] [, READ ONLY | READ WRITE].
    fn start(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        ahead.take("transaction").then_some(())?;
        let mut writes = false;
        while !ahead.is_empty() {
            if ahead.take_all(&["read", "write"]) {
                writes = true;
            } else if !(ahead.take_all(&["with", "consistent", "snapshot"])
                || ahead.take_all(&["read", "only"]))
            {
                return None;
            }
            if !(ahead.is_empty() || (ahead.take_sign(",") && !ahead.is_empty())) {
                return None;
            }
        }
        if writes {
            self.raise(Class::Admin, "turns the guard `transaction_read_only` off");
        }
        self.begins("start transaction")
    }

    /// [WORK] [AND [NO] CHAIN] [[NO] RELEASE]; whether the next transaction begins at once.
    fn completion(words: &mut Words<'_>) -> Option<bool> {
        words.take("work");
        let mut chains = false;
        if words.take("and") {
            chains = !words.take("no");
            words.take("chain").then_some(())?;
        }
        if words.take("no") {
            words.take("release").then_some(())?;
        } else {
            words.take("release");
        }
        words.is_empty().then_some(chains)
    }

    fn ends(&mut self, verb: &'static str, commits: bool, chains: bool) {
        self.is(Class::Transaction, verb);
        self.commits = true;
        self.effects.push(Effect::EndsTransaction { commits });
        if chains {
            self.effects.push(Effect::BeginsTransaction);
        }
    }

    fn commit(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        let chains = Self::completion(&mut ahead)?;
        self.ends("commit", true, chains);
        Some(())
    }

    fn rollback(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        ahead.take("work");
        if ahead.take("to") {
            ahead.take("savepoint");
            ahead.name()?;
            ahead.is_empty().then_some(())?;
            self.is(Class::Transaction, "rollback to savepoint");
            self.effects.push(Effect::RollsBackToSavepoint);
            return Some(());
        }
        let mut ahead = words;
        let chains = Self::completion(&mut ahead)?;
        self.ends("rollback", false, chains);
        Some(())
    }

    fn savepoint(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        ahead.name()?;
        ahead.is_empty().then(|| self.is(Class::Transaction, "savepoint"))
    }

    fn release(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        ahead.take("savepoint").then_some(())?;
        ahead.name()?;
        ahead
            .is_empty()
            .then(|| self.is(Class::Transaction, "release savepoint"))
    }

    /// LOCK TABLES: even a READ lock keeps everybody else from writing.
    fn lock(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        ahead.take_any(&["table", "tables"]).then_some(())?;
        self.holds(Class::Admin, "lock tables", "locks tables against others");
        self.commits_implicitly();
        while !ahead.is_empty() {
            let mut item = ahead.item();
            let table = item.table()?;
            self.tables.insert(table);
        }
        Some(())
    }

    fn unlock(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        ahead.take_any(&["table", "tables"]).then_some(())?;
        ahead.is_empty().then_some(())?;
        self.is(Class::Session, "unlock tables");
        self.commits = true;
        Some(())
    }

    fn use_schema(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        let schema = ahead.name()?;
        ahead.is_empty().then_some(())?;
        self.is(Class::Session, "use");
        self.message.used = true;
        self.effects.push(Effect::ChangesMeaning);
        if is_system_schema(&schema) {
            self.raise(
                Class::Admin,
                format!("makes names without a schema mean those of `{schema}`, which is the server's own"),
            );
        }
        self.message.followed.schema = Some(schema);
        Some(())
    }

    fn kill(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        ahead.take_any(&["hard", "soft"]);
        let query = ahead.take("query");
        if !query {
            ahead.take("connection");
        }
        let (verb, does) = if query {
            ("kill query", "ends the statement of another session")
        } else {
            ("kill", "ends another session")
        };
        self.holds(Class::Admin, verb, does);
        if let [id] = ahead.rest()
            && id.kind == Kind::Number
        {
            let id = ahead.text_of(*id).parse().ok();
            self.cancels = id.map(CancelTarget::Pid);
        }
        Some(())
    }

    /// PREPARE name FROM 'text'. From a variable the text is not known.
    fn prepare(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        let name = ahead.name()?;
        ahead.take("from").then_some(())?;
        self.is(Class::Read, "prepare");
        let Some(name) = self.statement_name(&name) else {
            return Some(());
        };
        let literal = match ahead.rest() {
            [token] => ahead.string_of(*token),
            _ => None,
        };
        let Some(text) = literal else {
            self.effects.push(Effect::Deallocates { name: Some(name) });
            self.raise(
                Class::Unknown,
                "prepares a text that does not stand in the statement",
            );
            return Some(());
        };
        let inner = self.inner(&text);
        self.class = self.class.max(inner.class);
        self.borrow(&inner);
        // What it ends or sets, it does when it is executed, not now.
        self.commits = false;
        self.effects.push(Effect::Prepares {
            name,
            inner: Arc::new(inner),
        });
        Some(())
    }

    /// The name that stands for all that the server takes for the same one. It compares them by a collation, to which `à`
    /// is `a`, and so are blanks at the end and none: of other letters nobody here can tell what they mean.
    fn statement_name(&mut self, name: &str) -> Option<String> {
        let is_plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '$');
        if !name.is_empty() && name.chars().all(is_plain) {
            return Some(name.to_ascii_lowercase());
        }
        // Any name that is known here may be the one.
        self.effects.push(Effect::Deallocates { name: None });
        self.raise(
            Class::Unknown,
            "names a prepared statement in letters that servers compare otherwise",
        );
        None
    }

    /// SQL inside a literal: one statement, or not known.
    fn inner(&mut self, text: &str) -> Action {
        let judgement = (self.message.context.inner)(text);
        self.message.depends_on_names |= judgement.depends_on_names;
        let mut actions = judgement.actions;
        match (actions.pop(), actions.is_empty()) {
            (Some(mut action), true) => {
                action.tables.extend(self.schema_used(text));
                // Where it stands is this statement, which a reviewer sees.
                action.span = self.span.clone();
                action.secrets = Vec::new();
                action.cancels = None;
                action
            }
            _ => super::unknown_action(
                self.span.clone(),
                "holds SQL that is not exactly one statement".to_owned(),
            ),
        }
    }

    /// USE in a literal: it takes hold later, behind a verb that does not tell of it.
    fn schema_used(&self, text: &str) -> Option<TableName> {
        let state = self.message.context.state;
        let scan = scan(text, 0, state);
        let mut words = Words::new(text, state, scan.statements().next()?);
        words.take("use").then_some(())?;
        words.name().map(TableName::whole_schema)
    }

    fn execute(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        if ahead.take("immediate") {
            return self.execute_immediate(ahead);
        }
        let name = ahead.name()?;
        let has_values = ahead.take("using");
        if has_values {
            self.using(ahead)?;
        } else {
            ahead.is_empty().then_some(())?;
        }
        self.message.depends_on_names = true;
        self.is(Class::Read, "execute");
        let Some(name) = self.statement_name(&name) else {
            return Some(());
        };
        match self.message.prepared(&name) {
            Some(inner) => {
                self.class = self.class.max(inner.class);
                self.borrow(&inner);
                self.effects.extend(inner.effects.iter().cloned());
                // By its class: ANALYZE has a verb of its own, and a locking read writes by none.
                let only_adds = ["insert", "replace"]
                    .iter()
                    .any(|verb| inner.verb.starts_with(verb));
                if has_values && inner.class == Class::Write && !only_adds {
                    // A number that is zero is equal to every text, and what a variable holds does not stand here.
                    self.unbounded = true;
                    self.raise(
                        inner.class,
                        "compares with values that do not stand in the statement",
                    );
                }
                if inner.effects.contains(&Effect::ChangesMeaning) {
                    self.raise(Class::Unknown, "changes settings by a prepared statement");
                }
            }
            None => self.raise(
                Class::Unknown,
                format!("executes `{name}`, which is not known here"),
            ),
        }
        Some(())
    }

    /// Code that is given as text, whatever it is.
    fn execute_immediate(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        self.holds(Class::Procedural, "execute immediate", "runs SQL given as text");
        let token = ahead.next()?;
        let literal = ahead.string_of(token);
        let complete = ahead.is_empty() || (ahead.take("using") && self.using(ahead).is_some());
        match literal {
            Some(text) if complete => {
                let inner = self.inner(&text);
                self.class = self.class.max(inner.class);
                self.borrow(&inner);
            }
            Some(_) | None => self.raise(Class::Unknown, "runs a text that does not stand in the statement"),
        }
        Some(())
    }

    fn using(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        while !ahead.is_empty() {
            let item = ahead.item();
            self.expression_of(item)?;
        }
        Some(())
    }

    fn deallocate(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        ahead.take("prepare").then_some(())?;
        let name = ahead.name()?;
        ahead.is_empty().then_some(())?;
        self.is(Class::Session, "deallocate");
        let Some(name) = self.statement_name(&name) else {
            return Some(());
        };
        self.effects.push(Effect::Deallocates { name: Some(name) });
        Some(())
    }

    /// DROP {TABLE | VIEW | SEQUENCE} [IF EXISTS] a, b [RESTRICT | CASCADE].
    fn drop_objects(&mut self, words: Words<'_>) -> Option<()> {
        let mut ahead = words;
        let temporary = ahead.take("temporary");
        let verb = match ahead.first_word().as_str() {
            "table" | "tables" => "drop table",
            "view" => "drop view",
            "sequence" => "drop sequence",
            _ => return None,
        };
        ahead.next();
        ahead.take_all(&["if", "exists"]);
        let mut names = Vec::new();
        loop {
            names.push(ahead.table()?);
            if !ahead.take_sign(",") {
                break;
            }
        }
        ahead.take_any(&["restrict", "cascade"]);
        ahead.is_empty().then_some(())?;
        self.is(Class::Ddl, verb);
        if !temporary {
            self.step(verb);
            self.commits_implicitly();
        }
        self.tables.extend(names);
        Some(())
    }
}
