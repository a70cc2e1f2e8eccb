//! What a stored expression or query is made of, out of the text of its node tree (`pg_node_tree`).
//! Never runs or prints it, and never says harmless of a node that it does not know. Read `reach.rs` next.
//!
//! Shape: `{TAG :field value …}`; a value is a word, a node, or a list in parentheses; a datum is `length [ bytes ]`.
//! Source: PostgreSQL source, nodes/outfuncs.c and nodes/read.c, pg_strtok

use std::collections::BTreeSet;

use super::{FIRST_NORMAL_OID, Oid};

/// What a tree names. Whether that is harmless, `reach.rs` says.
#[derive(Debug, Default)]
pub struct Uses {
    /// Called by name, or by a cast.
    pub functions: BTreeSet<Oid>,
    pub operators: BTreeSet<Oid>,
    pub relations: BTreeSet<Oid>,
    /// Only what the server has recorded as a dependency.
    pub types: BTreeSet<Oid>,
    /// Functions that are called with constants only: the planner may call them while it plans.
    pub constant_calls: BTreeSet<Oid>,
    /// It locks rows (FOR UPDATE and its like).
    pub locks_rows: bool,
    /// Some part of it is not a SELECT.
    pub writes: bool,
    /// It is cut short, or holds a node that is not on the list.
    pub not_understood: bool,
}

/// Nodes that do nothing by themselves, by the names that servers 12 to 18 print.
const PLAIN: [&str; 76] = [
    "AGGREF",
    "ALIAS",
    "ARRAY",
    "ARRAYCOERCEEXPR",
    "ARRAYEXPR",
    "ARRAYREF",
    "BOOLEANTEST",
    "BOOLEXPR",
    "CASE",
    "CASEEXPR",
    "CASETESTEXPR",
    "CASEWHEN",
    "COALESCE",
    "COALESCEEXPR",
    "COERCETODOMAIN",
    "COERCETODOMAINVALUE",
    "COERCEVIAIO",
    "COLLATE",
    "COLLATEEXPR",
    "COMMONTABLEEXPR",
    "CONST",
    "CONVERTROWTYPEEXPR",
    "CTECYCLECLAUSE",
    "CTESEARCHCLAUSE",
    "DISTINCTEXPR",
    "FIELDSELECT",
    "FIELDSTORE",
    "FROMEXPR",
    "FUNCEXPR",
    "GROUPINGFUNC",
    "GROUPINGSET",
    "INFERENCEELEM",
    "JOINEXPR",
    "JSONCONSTRUCTOREXPR",
    "JSONFORMAT",
    "JSONISPREDICATE",
    "JSONRETURNING",
    "JSONVALUEEXPR",
    "MINMAX",
    "MINMAXEXPR",
    "NAMEDARGEXPR",
    "NEXTVALUEEXPR",
    "NULLIFEXPR",
    "NULLTEST",
    "OPEXPR",
    "PARAM",
    "QUERY",
    "RANGETBLENTRY",
    "RANGETBLFUNCTION",
    "RANGETBLREF",
    "RELABELTYPE",
    "ROW",
    "ROWCOMPARE",
    "ROWCOMPAREEXPR",
    "ROWEXPR",
    "ROWMARKCLAUSE",
    "RTE",
    "RTEPERMISSIONINFO",
    "SCALARARRAYOPEXPR",
    "SETOPERATIONSTMT",
    "SETTODEFAULT",
    "SORTGROUPCLAUSE",
    "SQLVALUEFUNCTION",
    "SUBLINK",
    "SUBSCRIPTINGREF",
    "TABLEFUNC",
    "TABLESAMPLECLAUSE",
    "TARGETENTRY",
    "VAR",
    "WHEN",
    "WINDOWCLAUSE",
    "WINDOWFUNC",
    "WITHCHECKOPTION",
    "XMLEXPR",
    "RTEFUNCTION",
    "RETURNINGEXPR",
];

/// Levels that the server itself could hardly reach; a fence for memory.
const LEVELS_MAX: usize = 100_000;

/// Reads one tree into `uses`.
pub fn read(tree: &str, uses: &mut Uses) {
    if Reader::new(uses).whole(tree).is_none() {
        uses.not_understood = true;
    }
}

/// A node or list that has been opened and not closed.
enum Level<'t> {
    Node {
        tag: &'t str,
        /// The last field, and how much of its value has been read.
        field: &'t str,
        has_value: bool,
        functions: Vec<Oid>,
        /// It depends on a row, a parameter or a subquery.
        varies: bool,
    },
    List {
        field: &'t str,
        varies: bool,
        /// Calls in it, with whether each varies, are told to the node around it.
        is_first: bool,
        holds_oids: bool,
    },
    /// The bytes of a datum.
    Bytes,
}

struct Reader<'t, 'u> {
    levels: Vec<Level<'t>>,
    uses: &'u mut Uses,
}

impl<'t, 'u> Reader<'t, 'u> {
    fn new(uses: &'u mut Uses) -> Self {
        Self {
            levels: Vec::new(),
            uses,
        }
    }

    /// `None` if it does not have the shape of a tree.
    fn whole(mut self, tree: &'t str) -> Option<()> {
        let mut tokens = Tokens { rest: tree };
        while let Some(token) = tokens.next() {
            match token {
                "{" => self.open_node(tokens.next()?)?,
                "}" => self.close_node()?,
                "(" => self.open_list()?,
                ")" => self.close_list()?,
                word => self.word(word)?,
            }
        }
        self.levels.is_empty().then_some(())
    }

    fn open_node(&mut self, tag: &'t str) -> Option<()> {
        self.value_begins()?;
        if !PLAIN.contains(&tag) {
            self.uses.not_understood = true;
        }
        self.uses.locks_rows |= tag == "ROWMARKCLAUSE";
        let varies = matches!(
            tag,
            "VAR" | "PARAM" | "SUBLINK" | "COERCETODOMAINVALUE" | "CASETESTEXPR" | "AGGREF" | "WINDOWFUNC"
        );
        self.push(Level::Node {
            tag,
            field: "",
            has_value: true,
            functions: Vec::new(),
            varies,
        })
    }

    fn close_node(&mut self) -> Option<()> {
        let Level::Node {
            has_value: true,
            functions,
            varies,
            ..
        } = self.levels.pop()?
        else {
            return None;
        };
        if !varies {
            self.uses.constant_calls.extend(functions);
        }
        self.tell_around(varies);
        Some(())
    }

    fn open_list(&mut self) -> Option<()> {
        self.value_begins()?;
        let field = match self.levels.last() {
            Some(Level::Node { field, .. } | Level::List { field, .. }) => field,
            Some(Level::Bytes) => return None,
            None => "",
        };
        self.push(Level::List {
            field,
            varies: false,
            is_first: true,
            holds_oids: false,
        })
    }

    fn close_list(&mut self) -> Option<()> {
        let Level::List { varies, .. } = self.levels.pop()? else {
            return None;
        };
        self.tell_around(varies);
        Some(())
    }

    fn tell_around(&mut self, inner: bool) {
        match self.levels.last_mut() {
            Some(Level::Node { varies, .. } | Level::List { varies, .. }) => *varies |= inner,
            Some(Level::Bytes) | None => {}
        }
    }

    fn push(&mut self, level: Level<'t>) -> Option<()> {
        (self.levels.len() < LEVELS_MAX).then(|| self.levels.push(level))
    }

    /// A node or a list may stand where a value is due, or in a list.
    fn value_begins(&mut self) -> Option<()> {
        match self.levels.last_mut() {
            None | Some(Level::List { .. }) => Some(()),
            Some(Level::Node { has_value, .. }) if !*has_value => {
                *has_value = true;
                Some(())
            }
            Some(Level::Node { .. } | Level::Bytes) => None,
        }
    }

    fn word(&mut self, word: &'t str) -> Option<()> {
        match self.levels.last_mut()? {
            Level::Bytes => {
                if word == "]" {
                    self.levels.pop();
                }
                Some(())
            }
            Level::List {
                field,
                is_first,
                holds_oids,
                ..
            } => {
                let first = std::mem::take(is_first);
                if first && word == "o" {
                    *holds_oids = true;
                } else if *holds_oids {
                    let field = *field;
                    self.oid(field, word.parse().ok()?);
                }
                Some(())
            }
            Level::Node { field, has_value, .. } if *has_value => {
                if word == "[" {
                    return self.push(Level::Bytes);
                }
                *field = word.strip_prefix(':')?;
                *has_value = false;
                Some(())
            }
            Level::Node {
                tag,
                field,
                has_value,
                ..
            } => {
                *has_value = true;
                let (tag, field) = (*tag, *field);
                self.value(tag, field, word)
            }
        }
    }

    fn value(&mut self, tag: &str, field: &'t str, word: &str) -> Option<()> {
        match field {
            "commandType" if tag == "QUERY" => self.uses.writes |= word != "1",
            "hasModifyingCTE" => self.uses.writes |= word != "false",
            "hasForUpdate" => self.uses.locks_rows |= word != "false",
            _ if names_oid(field) => self.oid(field, word.parse().ok()?),
            _ => {}
        }
        Some(())
    }

    fn oid(&mut self, field: &str, oid: Oid) {
        if oid == 0 {
            return;
        }
        match field {
            "relid" => {
                self.uses.relations.insert(oid);
            }
            "opno" | "eqop" | "sortop" | "opnos" => {
                self.uses.operators.insert(oid);
            }
            "funcid" | "aggfnoid" | "winfnoid" => self.function(oid),
            // What the server's own operators and sample methods call is the server's own.
            "opfuncid" | "tsmhandler" | "startInRangeFunc" | "endInRangeFunc" if oid >= FIRST_NORMAL_OID => {
                self.function(oid);
            }
            _ => {}
        }
    }

    fn function(&mut self, oid: Oid) {
        self.uses.functions.insert(oid);
        if let Some(Level::Node { functions, .. }) = self.levels.last_mut() {
            functions.push(oid);
        }
    }
}

fn names_oid(field: &str) -> bool {
    const FIELDS: [&str; 11] = [
        "relid",
        "opno",
        "eqop",
        "sortop",
        "funcid",
        "aggfnoid",
        "winfnoid",
        "opfuncid",
        "tsmhandler",
        "startInRangeFunc",
        "endInRangeFunc",
    ];
    FIELDS.contains(&field)
}

/// Cuts at blanks and braces; a backslash takes the next character with it.
struct Tokens<'t> {
    rest: &'t str,
}

impl<'t> Tokens<'t> {
    fn next(&mut self) -> Option<&'t str> {
        let text = self.rest.trim_start_matches([' ', '\n', '\t']);
        let bytes = text.as_bytes();
        let mut end = 0;
        if matches!(bytes.first()?, b'(' | b')' | b'{' | b'}') {
            end = 1;
        } else {
            while let Some(byte) = bytes.get(end) {
                match byte {
                    b' ' | b'\n' | b'\t' | b'(' | b')' | b'{' | b'}' => break,
                    // Whatever follows is part of the word; all its bytes are, if it has several.
                    b'\\' => end += 2,
                    _ => end += 1,
                }
            }
        }
        let end = (end.min(bytes.len())..=bytes.len()).find(|end| text.is_char_boundary(*end))?;
        let (token, rest) = text.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(tree: &str) -> Uses {
        let mut uses = Uses::default();
        read(tree, &mut uses);
        uses
    }

    #[test]
    fn calls_relations_and_operators_are_found() {
        let found = uses(
            "({QUERY :commandType 1 :rtable ({RTE :alias {ALIAS :aliasname :funcid :colnames (\"a\\ \\}\" \"b\")} \
             :relid 20000 :selectedCols (b 8 9)}) :jointree {FROMEXPR :fromlist <> :quals {OPEXPR :opno 96 :opfuncid 65 \
             :args ({VAR :varno 1} {FUNCEXPR :funcid 30000 :args ({CONST :consttype 23 :constvalue 4 [ 5 0 0 0 ]})})}} \
             :setOp {ROWCOMPARE :opnos (o 98 30001)}})",
        );
        assert!(!found.not_understood && !found.writes);
        assert_eq!(found.functions, BTreeSet::from([30_000]));
        assert_eq!(found.operators, BTreeSet::from([96, 98, 30_001]));
        assert_eq!(found.relations, BTreeSet::from([20_000]));
        assert_eq!(found.constant_calls, BTreeSet::from([30_000]));
    }

    #[test]
    fn a_call_over_a_column_is_not_one_of_constants() {
        let found = uses("{FUNCEXPR :funcid 30000 :args ({FUNCEXPR :funcid 30001 :args <>} {VAR :varno 1})}");
        assert_eq!(found.constant_calls, BTreeSet::from([30_001]));
    }

    #[test]
    fn what_is_not_a_tree_or_not_known_is_not_understood() {
        for tree in [
            "{PLANNEDSTMT :a 1}",
            "{CONST :a",
            "{CONST :a 1",
            "{CONST a 1}",
            "{CONST :a 1 2}",
            "x",
            ")",
            "{",
            "{FUNCEXPR :funcid x}",
        ] {
            assert!(uses(tree).not_understood, "{tree}");
        }
    }

    #[test]
    fn a_query_that_is_no_select_or_locks_rows_says_so() {
        assert!(uses("{QUERY :commandType 4}").writes);
        assert!(uses("{QUERY :commandType 1 :rowMarks ({ROWMARKCLAUSE :rti 1})}").locks_rows);
    }
}
