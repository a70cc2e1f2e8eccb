//! Statements that neither query nor define: transactions, settings, prepared names, cursors, COPY, EXPLAIN, locks.
//! Never takes a mode or an option that it does not know for a harmless one. Read `define.rs` next.

use std::sync::Arc;

use pg_raw_parse::nodes;
use pg_raw_parse::raw::{DiscardMode, TransactionStmtKind, VariableSetKind};
use pg_raw_parse::{ConstValue, Node};

use super::relation::Write;
use super::setting::{self, Value};
use super::walk::Walk;
use crate::sql::action::{Action, Class, Effect};
use crate::sql::lex::postgres::Kind;
use crate::sql::statement::{PathTrust, Role};

/// ACCESS SHARE, the lock that any SELECT takes. Source: src/include/storage/lockdefs.h.
const ACCESS_SHARE_LOCK: i32 = 1;

impl Walk<'_, '_> {
    pub(super) fn utility(&mut self, node: Node<'_>) {
        match node {
            Node::TransactionStmt(statement) => self.transaction(statement),
            Node::VariableSetStmt(set) => self.set(set),
            Node::VariableShowStmt(show) => self.show(show.name()),
            Node::DiscardStmt(discard) => self.discard(discard),
            Node::ListenStmt(_) => self.is(Class::Session, "listen"),
            Node::UnlistenStmt(_) => self.is(Class::Session, "unlisten"),
            Node::NotifyStmt(_) => {
                self.holds(Class::Admin, "notify", "sends a notification to other sessions")
            }
            Node::ConstraintsSetStmt(_) => self.is(Class::Transaction, "set constraints"),
            Node::LockStmt(lock) => self.lock(lock),
            Node::PrepareStmt(prepare) => self.prepare(prepare),
            Node::ExecuteStmt(execute) => self.execute(execute),
            Node::DeallocateStmt(deallocate) => {
                self.is(Class::Session, "deallocate");
                let name = deallocate.name().map(str::to_owned);
                self.effects.push(Effect::Deallocates { name });
            }
            Node::DeclareCursorStmt(declare) => {
                self.is(Class::Read, "declare cursor");
                self.nested(declare.query());
            }
            Node::FetchStmt(fetch) => {
                self.is(Class::Read, if fetch.ismove { "move" } else { "fetch" });
                self.effects.push(Effect::RunsCursor);
            }
            Node::ClosePortalStmt(_) => self.is(Class::Session, "close"),
            Node::ExplainStmt(explain) => self.explain(explain),
            Node::CopyStmt(copy) => self.copy(copy),
            Node::DoStmt(_) => {
                self.commits = true;
                self.holds(Class::Procedural, "do", "runs an anonymous block of code");
            }
            Node::CallStmt(call) => {
                self.commits = true;
                self.holds(Class::Procedural, "call", "calls a procedure");
                if let Some(call) = call.funccall() {
                    self.procedure(call);
                }
            }
            Node::VacuumStmt(vacuum) => self.vacuum(vacuum),
            _ => self.unknown_node(),
        }
    }

    fn transaction(&mut self, statement: &nodes::TransactionStmt) {
        use TransactionStmtKind as Kind;
        let two_phase = "leaves a transaction behind that holds its locks, or ends such a one";
        match statement.kind {
            Kind::TRANS_STMT_BEGIN | Kind::TRANS_STMT_START => {
                self.is(Class::Transaction, "begin");
                self.effects.push(Effect::BeginsTransaction);
            }
            Kind::TRANS_STMT_COMMIT => {
                self.ends("commit", true);
                self.chains(statement);
            }
            Kind::TRANS_STMT_ROLLBACK => {
                self.ends("rollback", false);
                self.chains(statement);
            }
            Kind::TRANS_STMT_SAVEPOINT => self.is(Class::Transaction, "savepoint"),
            Kind::TRANS_STMT_RELEASE => self.is(Class::Transaction, "release savepoint"),
            Kind::TRANS_STMT_ROLLBACK_TO => {
                self.is(Class::Transaction, "rollback to savepoint");
                self.effects.push(Effect::RollsBackToSavepoint);
            }
            Kind::TRANS_STMT_PREPARE => {
                self.ends("prepare transaction", true);
                self.raise(Class::Admin, two_phase);
            }
            Kind::TRANS_STMT_COMMIT_PREPARED => {
                self.commits = true;
                self.holds(Class::Admin, "commit prepared", two_phase);
            }
            Kind::TRANS_STMT_ROLLBACK_PREPARED => {
                self.commits = true;
                self.holds(Class::Admin, "rollback prepared", two_phase);
            }
            _ => self.unknown_node(),
        }
    }

    fn ends(&mut self, verb: &'static str, commits: bool) {
        self.is(Class::Transaction, verb);
        self.commits = true;
        self.effects.push(Effect::EndsTransaction { commits });
    }

    /// AND CHAIN: another one begins at once.
    fn chains(&mut self, statement: &nodes::TransactionStmt) {
        if statement.chain {
            self.effects.push(Effect::BeginsTransaction);
        }
    }

    fn set(&mut self, set: &nodes::VariableSetStmt) {
        let name = set.name().unwrap_or_default();
        match set.kind {
            VariableSetKind::VAR_SET_VALUE if self.is_set_schema() => {
                self.holds(
                    Class::Admin,
                    "set schema",
                    "changes the schema; write SET search_path",
                );
                self.change("search_path", &Value::Computed, set.is_local);
            }
            VariableSetKind::VAR_SET_VALUE => {
                self.is(Class::Session, "set");
                self.change(name, &literals(set), set.is_local);
            }
            VariableSetKind::VAR_SET_DEFAULT => {
                self.is(Class::Session, "set");
                self.change(name, &Value::Default, set.is_local);
            }
            VariableSetKind::VAR_RESET => {
                self.is(Class::Session, "reset");
                self.change(name, &Value::Default, false);
            }
            VariableSetKind::VAR_RESET_ALL => {
                self.is(Class::Session, "reset all");
                self.effects.push(Effect::ChangesMeaning);
                self.set_path(PathTrust::Shadowing, false);
            }
            VariableSetKind::VAR_SET_MULTI => match name {
                "TRANSACTION" | "SESSION CHARACTERISTICS" | "TRANSACTION SNAPSHOT" => {
                    self.is(Class::Transaction, "set transaction");
                }
                _ => self.unknown_node(),
            },
            // FROM CURRENT stands in definitions of functions only.
            _ => self.unknown_node(),
        }
    }

    fn change(&mut self, name: &str, value: &Value, local: bool) {
        let change = setting::change(name, value);
        self.class = self.class.max(change.class);
        if let Some(reason) = change.reason {
            self.raise(change.class, reason);
        }
        self.effects.extend(change.effect);
        self.follow(change.followed, local, *value != Value::Default);
    }

    /// SET SCHEMA has the tree of SET search_path, with one schema only.
    fn is_set_schema(&self) -> bool {
        let context = self.message.context;
        let mut words = context
            .tokens
            .iter()
            .filter(|token| token.start as usize >= self.span.start && token.kind == Kind::Word)
            .map(|token| token.text(context.text))
            .skip(1);
        let mut word = words.next().unwrap_or_default();
        if word.eq_ignore_ascii_case("session") || word.eq_ignore_ascii_case("local") {
            word = words.next().unwrap_or_default();
        }
        word.eq_ignore_ascii_case("schema")
    }

    fn show(&mut self, name: Option<&str>) {
        self.is(Class::Read, "show");
        self.shows_setting(name);
    }

    fn discard(&mut self, discard: &nodes::DiscardStmt) {
        match discard.target {
            DiscardMode::DISCARD_ALL => {
                self.is(Class::Session, "discard all");
                if self.message.context.role == Role::Changed {
                    self.raise(Class::Grant, "gives back the role that the session logged in as");
                }
                self.effects.push(Effect::DiscardsAll);
                self.effects.push(Effect::ChangesMeaning);
                self.set_path(PathTrust::Shadowing, false);
            }
            DiscardMode::DISCARD_PLANS | DiscardMode::DISCARD_SEQUENCES | DiscardMode::DISCARD_TEMP => {
                self.is(Class::Session, "discard");
            }
            _ => self.unknown_node(),
        }
    }

    fn lock(&mut self, lock: &nodes::LockStmt) {
        for relation in lock.relations() {
            match relation {
                Node::RangeVar(relation) => self.relation(relation),
                _ => self.unknown_node(),
            }
        }
        self.is(Class::Read, "lock table");
        if lock.mode != ACCESS_SHARE_LOCK {
            self.raise(Class::Admin, "locks a table against others");
        }
    }

    fn prepare(&mut self, prepare: &nodes::PrepareStmt) {
        let Some(name) = prepare.name() else {
            return self.unknown_node();
        };
        let mut inner = Walk::new(self.message, self.span.clone());
        for argument in prepare.argtypes().iter() {
            inner.type_name(Some(argument));
        }
        inner.statement(prepare.query());
        // What the statement changes, it changes when it is executed, not now.
        let (inner, _) = inner.finish();
        self.is(inner.class, "prepare");
        self.borrow(&inner);
        self.effects.push(Effect::Prepares {
            name: name.to_owned(),
            inner: Arc::new(inner),
        });
    }

    fn execute(&mut self, execute: &nodes::ExecuteStmt) {
        self.message.depends_on_names = true;
        self.is(Class::Read, "execute");
        self.is_shadowed();
        self.list(execute.params());
        let name = execute.name().unwrap_or_default();
        match self.message.prepared(name) {
            Some(inner) => {
                self.class = self.class.max(inner.class);
                self.borrow(&inner);
                self.effects.extend(inner.effects.iter().cloned());
                if inner.effects.contains(&Effect::ChangesMeaning) {
                    self.set_path(PathTrust::Shadowing, true);
                }
            }
            None => self.unlisted(
                Class::Unknown,
                format!("executes `{name}`, which is not known here"),
            ),
        }
    }

    /// Takes over what an inner action reaches and why.
    fn borrow(&mut self, inner: &Action) {
        self.tables.extend(inner.tables.iter().cloned());
        self.columns.extend(inner.columns.iter().cloned());
        self.functions.extend(inner.functions.iter().cloned());
        self.behind.extend(inner.behind.iter().cloned());
        self.rows_whole = self.rows_whole.max(inner.rows);
        self.unlisted |= !inner.parse_is_safe;
        self.unbounded |= inner.breadth == crate::sql::action::Breadth::Unbounded;
        self.session |= inner.class == Class::Session;
        self.commits |= inner.commits;
        self.reaches_unnamed |= inner.reaches_unnamed;
        for reason in &inner.reasons {
            self.raise(Class::Transaction, reason.clone());
        }
    }

    fn explain(&mut self, explain: &nodes::ExplainStmt) {
        self.is(Class::Read, "explain");
        for option in explain.options().iter() {
            const KNOWN: [&str; 11] = [
                "analyze",
                "verbose",
                "costs",
                "settings",
                "generic_plan",
                "buffers",
                "serialize",
                "wal",
                "timing",
                "summary",
                "memory",
            ];
            let name = option.defname().unwrap_or_default();
            if name != "format" && !KNOWN.contains(&name) {
                self.raise(
                    Class::Unknown,
                    format!("has the option `{name}`, which is not known"),
                );
            }
        }
        // Planning runs functions, so an EXPLAIN is what it explains even without ANALYZE.
        // No row comes out of it.
        self.reach = 0;
        self.nested(explain.query());
    }

    fn copy(&mut self, copy: &nodes::CopyStmt) {
        let (class, verb) = if copy.is_from {
            (Class::Write, "copy from")
        } else {
            (Class::Export, "copy to")
        };
        self.is(class, verb);
        if copy.is_from {
            self.unbounded = true;
            self.written(copy.relation(), &[Write::Insert]);
            self.raise(class, "writes as many rows as the client sends");
        } else {
            self.raise(class, "returns a whole table or query as a file");
            if let Some(relation) = copy.relation() {
                self.source(Node::RangeVar(relation));
            }
        }
        match copy.filename() {
            Some(_) if copy.is_program => self.raise(Class::Admin, "runs a program on the server"),
            Some(_) if copy.is_from => self.raise(Class::Admin, "reads a file of the server"),
            Some(_) => self.raise(Class::Admin, "writes a file of the server"),
            None if copy.is_program => self.unknown_node(),
            None => self.copies_in = copy.is_from,
        }
        if copy.attlist().is_empty() {
            self.star();
        }
        self.list(copy.attlist());
        if !matches!(copy.query(), Node::None) {
            self.nested(copy.query());
        }
        self.expression(copy.where_clause());
    }

    fn vacuum(&mut self, vacuum: &nodes::VacuumStmt) {
        self.commits = true;
        let verb = if vacuum.is_vacuumcmd { "vacuum" } else { "analyze" };
        self.holds(
            Class::Admin,
            verb,
            "maintains tables, with locks or load on the server",
        );
        for relation in vacuum.rels().iter() {
            self.target(relation.relation());
        }
    }
}

/// The values of a SET as the server will read them.
fn literals(set: &nodes::VariableSetStmt) -> Value {
    let words = set.args().into_iter().map(|argument| match argument {
        Node::A_Const(constant) => match constant.val()? {
            ConstValue::String(text) => Some(text.to_owned()),
            ConstValue::Integer(number) => Some(number.to_string()),
            ConstValue::Float(number) => Some(number.to_owned()),
            ConstValue::Boolean(truth) => Some(if truth { "on" } else { "off" }.to_owned()),
            _ => None,
        },
        _ => None,
    });
    match words.collect::<Option<Vec<_>>>() {
        Some(words) => Value::Literal(words),
        None => Value::Computed,
    }
}
