//! What is withheld of a statement's values before anything else sees them: marked once they are read, and left out by
//! whatever keeps or shows them.
//! Never holds a value back from the server. Read `policy/redaction.rs` for what is withheld.

use std::borrow::Cow;
use std::rc::Rc;

use crate::hold::{DigestBuilder, Parameter};
use crate::policy::Redaction;
use crate::proxy::judgements::Judged;
use crate::proxy::thread::WireThread;
use crate::sql::action::Class;
use crate::sql::statement::ReadUnder;
use crate::wire::postgres::message::Fields;

/// Digests of withheld values hold this secret, which ends with the process: short values could else be found by trying.
pub type RedactionKey = [u8; 32];

impl WireThread {
    /// What the labels say of a statement; `None`: nothing, because there are none.
    pub fn redaction<L: ReadUnder>(&self, judged: &Judged<L>) -> Option<Rc<Redaction>> {
        let labels = self.shared.labels.load();
        (!labels.is_empty()).then(|| judged.redaction(&labels))
    }

    /// Marks the values that are withheld.
    pub fn redact<L: ReadUnder>(&self, judged: &Judged<L>, parameters: &mut [Parameter]) {
        if parameters.is_empty() {
            return;
        }
        let Some(redaction) = self.redaction(judged) else {
            return;
        };
        for parameter in parameters {
            parameter.redacted = redaction.withheld(parameter.index).to_vec();
        }
    }

    /// What the log keeps of what the server says: an error often names the value that it is about.
    pub fn answer_for_log<'m, L: ReadUnder>(&self, judged: &Judged<L>, message: &'m str) -> Cow<'m, str> {
        let labels = self.shared.labels.load();
        if message.is_empty() || labels.is_empty() {
            return Cow::Borrowed(message);
        }
        // What was deferred is told of by the COMMIT, whatever the transaction touched.
        let ends = judged.class == Class::Transaction;
        // The text of a cursor, or of a portal that is called by its name, is not at hand.
        let runs_cursor = judged.runs_cursor();
        match ends || runs_cursor || judged.redaction(&labels).hides_answers() {
            true => Cow::Borrowed(NO_MESSAGE),
            false => Cow::Borrowed(message),
        }
    }

    /// The same of a COMMIT that no statement asked for: it may tell of any statement before it.
    pub fn answer_to_commit(&self, fields: &Fields) -> Fields {
        let mut kept = fields.clone();
        if !self.shared.labels.load().is_empty() && !kept.message.is_empty() {
            NO_MESSAGE.clone_into(&mut kept.message);
        }
        kept
    }

    /// A digest over values that are withheld.
    pub fn keyed(&self, digest: DigestBuilder) -> DigestBuilder {
        digest.field("redaction key", &self.shared.redaction_key)
    }

    /// The same, if one of them is.
    pub fn keyed_if_redacted(&self, digest: DigestBuilder, parameters: &[Parameter]) -> DigestBuilder {
        match parameters.iter().any(Parameter::is_redacted) {
            true => self.keyed(digest),
            false => digest,
        }
    }
}

/// In place of a server's message.
const NO_MESSAGE: &str = "redacted: the server's message may hold a value that is withheld";

/// The labels of the columns that a statement touches.
pub fn touched(redaction: Option<&Rc<Redaction>>) -> &[String] {
    redaction.map_or(&[], |redaction| &redaction.touched)
}
