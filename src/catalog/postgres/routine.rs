//! Which calls a function or operator that is not built in can be meant by.
//! Never too few: what is uncertain counts as possible. Read `view.rs` next.

use std::collections::HashSet;

use super::snapshot::{Function, Snapshot};
use super::{Oid, is_built_in, rows};
use crate::sql::names::{Concern, Routine};

/// OIDs of built-in types that stand for others.
/// Source: PostgreSQL source, catalog/pg_type.dat
const RECORD: Oid = 2_249;
const RECORD_ARRAY: Oid = 2_287;

impl Snapshot {
    pub(super) fn routine_of(&self, function: &Function) -> Routine {
        let row = &function.row;
        let most = row.arguments.len();
        let defaults = usize::try_from(row.defaults).unwrap_or(0);
        let variadic = row.variadic != 0;
        // A variadic function can be called without an argument for its last parameter only if there is a default; one
        // fewer is allowed here all the same.
        let least = most.saturating_sub(defaults.max(usize::from(variadic)));
        let types = row.arguments.iter().chain([&row.result, &row.variadic]);
        let own = self.function_concern(row.oid);
        Routine {
            signature: row.signature.clone(),
            arguments_min: least,
            arguments_max: (!variadic).then_some(most),
            takes_built_in_types: least == 0 || row.arguments.iter().any(|oid| self.takes_built_in(*oid)),
            takes_rows: row.arguments.first().is_some_and(|oid| self.takes_rows(*oid)),
            returns_set: row.returns_set(),
            concern: strictest(own, self.of_types(&row.signature, types.copied())),
        }
    }

    pub(super) fn operator_routine(&self, operator: &rows::Operator) -> Routine {
        let operands: Vec<Oid> = [operator.left, operator.right]
            .into_iter()
            .filter(|oid| *oid != 0)
            .collect();
        let types = operands.iter().copied().chain([operator.result]);
        let own = self.operator_concern(operator.oid);
        Routine {
            signature: operator.signature.clone(),
            arguments_min: operands.len(),
            arguments_max: Some(operands.len()),
            takes_built_in_types: operands.iter().any(|oid| self.takes_built_in(*oid)),
            takes_rows: operands.iter().any(|oid| self.takes_rows(*oid)),
            returns_set: self
                .functions
                .get(&operator.function)
                .is_some_and(|function| function.row.returns_set()),
            concern: strictest(own, self.of_types(&operator.signature, types)),
        }
    }

    fn of_types(&self, signature: &str, types: impl Iterator<Item = Oid>) -> Option<Concern> {
        let concerns = self.type_concerns(types).into_iter();
        let concern = concerns.max_by_key(|concern| concern.class)?;
        Some(Concern {
            reason: format!("uses `{signature}`, over a type: {}", concern.reason),
            ..concern
        })
    }

    /// Whether a value of a built-in type can stand for one of this type without a cast in the text. Rows can, for a
    /// composite type: `ROW(…)` has the built-in type `record`.
    fn takes_built_in(&self, oid: Oid) -> bool {
        let mut open = vec![oid];
        let mut seen = HashSet::new();
        while let Some(oid) = open.pop() {
            if !seen.insert(oid) {
                continue;
            }
            let Some(own) = self.types.get(&oid).filter(|_| !is_built_in(oid)) else {
                return true;
            };
            let implicit = self
                .casts_of
                .get(&oid)
                .into_iter()
                .flatten()
                .filter_map(|at| self.casts.get(*at));
            let mut implicit = implicit.filter(|cast| cast.context == b'i' && cast.target == oid);
            if own.kind == b'c' || implicit.any(|cast| is_built_in(cast.source)) {
                return true;
            }
            // A domain over a built-in type, and an array of rows.
            let parts = [own.base, self.row_element(own)];
            open.extend(parts.into_iter().filter(|oid| *oid != 0));
        }
        false
    }

    /// The element of an array, if it is a row.
    fn row_element(&self, own: &rows::Type) -> Oid {
        let element = self.types.get(&own.element);
        element
            .filter(|element| element.kind == b'c')
            .map_or(0, |element| element.oid)
    }

    /// Whether a whole row can stand for a value of this type.
    fn takes_rows(&self, oid: Oid) -> bool {
        let mut oid = oid;
        // Domains over domains; the server has no loops, a copy of it must not hang on one.
        for _ in 0..=self.types.len() {
            let Some(own) = self.types.get(&oid) else {
                return true;
            };
            let pseudo = own.kind == b'p' && is_built_in(oid);
            if own.kind == b'c' || pseudo || [RECORD, RECORD_ARRAY].contains(&oid) || self.has_row_cast(oid) {
                return true;
            }
            if own.base == 0 {
                return false;
            }
            oid = own.base;
        }
        true
    }

    /// Whether some row type is cast to it by itself.
    fn has_row_cast(&self, target: Oid) -> bool {
        self.casts.iter().any(|cast| {
            let source = self.types.get(&cast.source);
            cast.target == target && cast.context == b'i' && source.is_some_and(|source| source.kind == b'c')
        })
    }
}

/// That somebody has listed a function says nothing of the types it takes. The own one where both are as strict.
fn strictest(own: Option<Concern>, of_types: Option<Concern>) -> Option<Concern> {
    [of_types, own]
        .into_iter()
        .flatten()
        .max_by_key(|concern| concern.class)
}
