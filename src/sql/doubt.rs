//! What a statement leaves uncertain for those behind it: definitions that may be others, names that may mean others.
//! Never reads a text: it goes by what was judged. Read `action.rs` next.
//!
//! Why it is shared: a change of the catalog is one whatever the server; only the words for it differ.

use crate::sql::action::{Action, Breadth, Class, Effect, Judgement};

/// Whether definitions may be others after it.
pub fn changes_catalog(action: &Action) -> bool {
    match action.class {
        // A setting is not in the catalog, whatever it opens the way for.
        Class::Grant | Class::Admin => !matches!(action.verb.as_str(), "set" | "set schema" | "lock table"),
        Class::Ddl | Class::Procedural | Class::Unknown => true,
        Class::Read | Class::Write | Class::Export | Class::Session | Class::Transaction => false,
    }
}

/// Marks what stands, in one message, behind something that may change what its names mean: it was judged by what they
/// meant before.
pub fn doubt_what_follows(judgement: &mut Judgement) {
    let mut why = None;
    for action in &mut judgement.actions {
        if let Some(why) = why
            && action.class <= Class::Write
            && !(action.tables.is_empty() && action.functions.is_empty())
        {
            action.class = Class::Unknown;
            action.breadth = Breadth::Unbounded;
            action.reasons.push(String::from(why));
        }
        if changes_catalog(action) {
            why = Some("it stands behind a change of the catalog in the same message");
        } else if changes_names(action) {
            why = why.or(Some(
                "it stands behind a change of what names mean in the same message",
            ));
        }
    }
}

/// Temporary objects that go, and roles: what search_path or USE does is followed by the walk itself.
fn changes_names(action: &Action) -> bool {
    let changes_role = action.class == Class::Grant && action.effects.contains(&Effect::ChangesMeaning);
    changes_role || matches!(action.verb.as_str(), "discard" | "discard all")
}
