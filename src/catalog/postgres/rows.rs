//! The questions that are put to `pg_catalog`, and what their rows mean.
//! Never draws a conclusion: `reach.rs` does. Read `snapshot.rs` next.
//!
//! The names of operators and types in them are safe because the transaction has `search_path = pg_catalog`, and no
//! temporary schema is searched for functions and operators. Temporary objects of other sessions are left out.

use std::hash::{Hash, Hasher};

use tokio_postgres::{Error, Row};

use super::Oid;

/// One kind of row.
pub trait Line: Hash + Sized {
    /// For error messages.
    const WHAT: &'static str;
    /// The question, for a server of this `server_version_num`.
    fn question(version: i32) -> String;
    fn read(row: &Row) -> Result<Self, Error>;

    /// Whether two catalogs differ by it.
    const TELLS_APART: bool = true;
}

/// Namespaces that outlive a session and hold names that people use.
const LASTING: &str = "IN (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE NOT pg_catalog.starts_with(n.nspname::text, \
                       'pg_temp_') AND NOT pg_catalog.starts_with(n.nspname::text, 'pg_toast'))";

/// Relations that a statement can name, and composite types.
const RELATIONS: &str = "(SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S', 'c') \
                         AND c.relpersistence <> 't')";

#[derive(Hash)]
pub struct Schema {
    pub oid: Oid,
    pub name: String,
}

impl Line for Schema {
    const WHAT: &'static str = "schemas";

    fn question(_: i32) -> String {
        format!(
            "SELECT n.oid, n.nspname::text FROM pg_catalog.pg_namespace n WHERE n.oid {LASTING} ORDER BY n.oid"
        )
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            name: row.try_get(1)?,
        })
    }
}

#[derive(Hash)]
pub struct Relation {
    pub oid: Oid,
    pub name: String,
    pub schema: Oid,
    /// `pg_class.relkind`.
    pub kind: u8,
    pub has_policies: bool,
    pub row_type: Oid,
    pub statistics: Statistics,
}

/// What ANALYZE and VACUUM last counted; below zero: never. Not part of what a catalog is told apart by.
#[derive(Clone, Copy)]
pub struct Statistics {
    pub rows: f32,
}

impl Hash for Statistics {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Line for Relation {
    const WHAT: &'static str = "relations";

    fn question(_: i32) -> String {
        format!(
            "SELECT c.oid, c.relname::text, c.relnamespace, c.relkind::text, c.relrowsecurity, c.reltype, \
                    CASE WHEN c.reltuples = 0 AND c.relpages = 0 THEN -1 ELSE c.reltuples END \
               FROM pg_catalog.pg_class c WHERE c.oid IN {RELATIONS} ORDER BY c.oid"
        )
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            name: row.try_get(1)?,
            schema: row.try_get(2)?,
            kind: letter(row, 3)?,
            has_policies: row.try_get(4)?,
            row_type: row.try_get(5)?,
            statistics: Statistics {
                rows: row.try_get(6)?,
            },
        })
    }
}

#[derive(Hash)]
pub struct Column {
    pub relation: Oid,
    pub name: String,
    pub type_oid: Oid,
}

impl Line for Column {
    const WHAT: &'static str = "columns";

    fn question(_: i32) -> String {
        format!(
            "SELECT a.attrelid, a.attname::text, a.atttypid FROM pg_catalog.pg_attribute a \
              WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid IN {RELATIONS} ORDER BY a.attrelid, a.attnum"
        )
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            relation: row.try_get(0)?,
            name: row.try_get(1)?,
            type_oid: row.try_get(2)?,
        })
    }
}

/// A table that inherits from another, or is a partition of it.
#[derive(Hash)]
pub struct Child {
    pub child: Oid,
    pub parent: Oid,
}

impl Line for Child {
    const WHAT: &'static str = "inheritance";

    fn question(_: i32) -> String {
        // A temporary child is read by its own session alone.
        format!(
            "SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid IN {RELATIONS} \
              ORDER BY i.inhrelid, i.inhparent"
        )
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            child: row.try_get(0)?,
            parent: row.try_get(1)?,
        })
    }
}

#[derive(Hash)]
pub struct ForeignTable {
    pub relation: Oid,
    pub server: String,
    pub wrapper: String,
}

impl Line for ForeignTable {
    const WHAT: &'static str = "foreign tables";

    fn question(_: i32) -> String {
        "SELECT t.ftrelid, s.srvname::text, w.fdwname::text FROM pg_catalog.pg_foreign_table t \
           JOIN pg_catalog.pg_foreign_server s ON s.oid = t.ftserver \
           JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw ORDER BY t.ftrelid"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            relation: row.try_get(0)?,
            server: row.try_get(1)?,
            wrapper: row.try_get(2)?,
        })
    }
}

/// A function that initdb made.
#[derive(Hash)]
pub struct BuiltInFunction {
    pub oid: Oid,
    pub name: String,
    pub schema: Oid,
    pub arguments: Vec<Oid>,
    /// The name of its code.
    pub source: String,
}

impl Line for BuiltInFunction {
    const WHAT: &'static str = "built-in functions";

    fn question(_: i32) -> String {
        "SELECT p.oid, p.proname::text, p.pronamespace, p.proargtypes::pg_catalog.oid[], p.prosrc \
           FROM pg_catalog.pg_proc p WHERE p.oid < 16384 ORDER BY p.oid"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            name: row.try_get(1)?,
            schema: row.try_get(2)?,
            arguments: row.try_get(3)?,
            source: row.try_get(4)?,
        })
    }
}

/// A function, procedure, aggregate or window function that somebody made.
#[derive(Hash)]
pub struct Function {
    pub oid: Oid,
    pub name: String,
    pub schema: Oid,
    /// `app.net(numeric,numeric)`, as regprocedure prints it.
    pub signature: String,
    /// `pg_proc.prokind`.
    pub kind: u8,
    pub defaults: i16,
    /// Some of its arguments have names, by which a call can pick it.
    pub has_names: bool,
    pub variadic: Oid,
    pub arguments: Vec<Oid>,
    pub result: Oid,
    pub language: String,
    pub owner: String,
    pub security_definer: bool,
    pub volatility: u8,
    pub strict: bool,
    pub leak_proof: bool,
    pub parallel: u8,
    pub settings: Vec<String>,
    pub source: String,
    pub binary: Option<String>,
    /// A body of standard SQL, as the server keeps it: its names are OIDs.
    pub body: Option<String>,
    /// With names, modes and defaults.
    pub arguments_text: String,
    pub result_text: Option<String>,
    /// What the defaults of its arguments call.
    pub defaults_tree: Option<String>,
    pub extension: Option<String>,
}

impl Function {
    /// Whether it may return more rows than one, as its result says.
    pub fn returns_set(&self) -> bool {
        let result = self.result_text.as_deref().unwrap_or_default();
        result.starts_with("SETOF ") || result.starts_with("TABLE(")
    }
}

impl Line for Function {
    const WHAT: &'static str = "functions";

    fn question(version: i32) -> String {
        let body = if version >= 140_000 {
            "p.prosqlbody::text"
        } else {
            "NULL::text"
        };
        format!(
            "SELECT p.oid, p.proname::text, p.pronamespace, p.oid::pg_catalog.regprocedure::text, p.prokind::text, \
                    p.pronargdefaults, p.provariadic, p.proargtypes::pg_catalog.oid[], p.prorettype, l.lanname::text, \
                    pg_catalog.pg_get_userbyid(p.proowner)::text, p.prosecdef, p.provolatile::text, p.proisstrict, \
                    p.proleakproof, p.proparallel::text, p.proconfig, p.prosrc, p.probin, {body}, \
                    pg_catalog.pg_get_function_arguments(p.oid), pg_catalog.pg_get_function_result(p.oid), \
                    p.proargdefaults::text, \
                    (SELECT e.extname::text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e \
                         ON e.oid = d.refobjid WHERE d.classid = 1255 AND d.objid = p.oid AND d.refclassid = 3079 \
                        AND d.deptype = 'e' LIMIT 1), p.proargnames IS NOT NULL \
               FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
              WHERE p.oid >= 16384 AND p.pronamespace {LASTING} ORDER BY p.oid"
        )
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            name: row.try_get(1)?,
            schema: row.try_get(2)?,
            signature: row.try_get(3)?,
            kind: letter(row, 4)?,
            defaults: row.try_get(5)?,
            variadic: row.try_get(6)?,
            arguments: row.try_get(7)?,
            result: row.try_get(8)?,
            language: row.try_get(9)?,
            owner: row.try_get(10)?,
            security_definer: row.try_get(11)?,
            volatility: letter(row, 12)?,
            strict: row.try_get(13)?,
            leak_proof: row.try_get(14)?,
            parallel: letter(row, 15)?,
            settings: row.try_get::<_, Option<_>>(16)?.unwrap_or_default(),
            source: row.try_get(17)?,
            binary: row.try_get(18)?,
            body: row.try_get(19)?,
            arguments_text: row.try_get(20)?,
            result_text: row.try_get(21)?,
            defaults_tree: row.try_get(22)?,
            extension: row.try_get(23)?,
            has_names: row.try_get(24)?,
        })
    }
}

/// What an aggregate that somebody made is put together from.
#[derive(Hash)]
pub struct Aggregate {
    pub function: Oid,
    /// Zero where it has none.
    pub parts: Vec<Oid>,
    pub sort_operator: Oid,
    /// Everything of it, by names.
    pub definition: String,
}

impl Line for Aggregate {
    const WHAT: &'static str = "aggregates";

    fn question(_: i32) -> String {
        "SELECT a.aggfnoid::pg_catalog.oid, \
                ARRAY[a.aggtransfn::pg_catalog.oid, a.aggfinalfn::pg_catalog.oid, a.aggcombinefn::pg_catalog.oid, \
                      a.aggserialfn::pg_catalog.oid, a.aggdeserialfn::pg_catalog.oid, a.aggmtransfn::pg_catalog.oid, \
                      a.aggminvtransfn::pg_catalog.oid, a.aggmfinalfn::pg_catalog.oid], a.aggsortop, \
                pg_catalog.jsonb_build_array(a.aggkind::text, a.aggnumdirectargs, \
                      a.aggtransfn::pg_catalog.oid::pg_catalog.regprocedure::text, \
                      a.aggfinalfn::pg_catalog.oid::pg_catalog.regprocedure::text, \
                      a.aggcombinefn::pg_catalog.oid::pg_catalog.regprocedure::text, \
                      a.aggserialfn::pg_catalog.oid::pg_catalog.regprocedure::text, \
                      a.aggdeserialfn::pg_catalog.oid::pg_catalog.regprocedure::text, \
                      a.aggmtransfn::pg_catalog.oid::pg_catalog.regprocedure::text, \
                      a.aggminvtransfn::pg_catalog.oid::pg_catalog.regprocedure::text, \
                      a.aggmfinalfn::pg_catalog.oid::pg_catalog.regprocedure::text, \
                      a.aggfinalextra, a.aggmfinalextra, a.aggfinalmodify::text, a.aggmfinalmodify::text, \
                      a.aggsortop::pg_catalog.regoperator::text, a.aggtranstype::pg_catalog.regtype::text, \
                      a.aggtransspace, a.aggmtranstype::pg_catalog.regtype::text, a.aggmtransspace, a.agginitval, \
                      a.aggminitval)::text \
           FROM pg_catalog.pg_aggregate a WHERE a.aggfnoid::pg_catalog.oid >= 16384 ORDER BY 1"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            function: row.try_get(0)?,
            parts: row.try_get(1)?,
            sort_operator: row.try_get(2)?,
            definition: row.try_get(3)?,
        })
    }
}

/// Built in or not.
#[derive(Hash)]
pub struct Operator {
    pub oid: Oid,
    pub name: String,
    pub schema: Oid,
    /// `app.@+@(integer,integer)`, as regoperator prints it.
    pub signature: String,
    /// Zero for a prefix operator.
    pub left: Oid,
    /// Zero for a postfix operator of an old server.
    pub right: Oid,
    pub result: Oid,
    pub function: Oid,
    pub commutator: Oid,
    pub negator: Oid,
}

impl Line for Operator {
    const WHAT: &'static str = "operators";

    fn question(_: i32) -> String {
        "SELECT o.oid, o.oprname::text, o.oprnamespace, o.oid::pg_catalog.regoperator::text, o.oprleft, o.oprright, \
                o.oprresult, o.oprcode::pg_catalog.oid, o.oprcom, o.oprnegate \
           FROM pg_catalog.pg_operator o ORDER BY o.oid"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            name: row.try_get(1)?,
            schema: row.try_get(2)?,
            signature: row.try_get(3)?,
            left: row.try_get(4)?,
            right: row.try_get(5)?,
            result: row.try_get(6)?,
            function: row.try_get(7)?,
            commutator: row.try_get(8)?,
            negator: row.try_get(9)?,
        })
    }
}

/// Built in or not, row types and arrays among them.
#[derive(Hash)]
pub struct Type {
    pub oid: Oid,
    pub name: String,
    pub schema: Oid,
    /// `pg_type.typtype`.
    pub kind: u8,
    /// The relation that a composite type is the row of; zero for others.
    pub relation: Oid,
    pub element: Oid,
    pub base: Oid,
    /// Of a range or multirange: its subtype, canonical and difference functions; else empty.
    pub range: Vec<Oid>,
}

impl Line for Type {
    const WHAT: &'static str = "types";

    fn question(version: i32) -> String {
        let multirange = if version >= 140_000 {
            "OR g.rngmultitypid = t.oid"
        } else {
            ""
        };
        format!(
            "SELECT t.oid, t.typname::text, t.typnamespace, t.typtype::text, t.typrelid, t.typelem, t.typbasetype, \
                    CASE WHEN g.rngtypid IS NOT NULL THEN ARRAY[g.rngsubtype, g.rngcanonical::pg_catalog.oid, \
                         g.rngsubdiff::pg_catalog.oid] ELSE ARRAY[]::pg_catalog.oid[] END \
               FROM pg_catalog.pg_type t \
               LEFT JOIN pg_catalog.pg_range g ON g.rngtypid = t.oid {multirange} \
              WHERE t.typnamespace {LASTING} ORDER BY t.oid"
        )
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            name: row.try_get(1)?,
            schema: row.try_get(2)?,
            kind: letter(row, 3)?,
            relation: row.try_get(4)?,
            element: row.try_get(5)?,
            base: row.try_get(6)?,
            range: row.try_get(7)?,
        })
    }
}

/// A cast that somebody made.
#[derive(Hash)]
pub struct Cast {
    pub source: Oid,
    pub target: Oid,
    /// Zero: none is called.
    pub function: Oid,
    /// `pg_cast.castcontext`.
    pub context: u8,
}

impl Line for Cast {
    const WHAT: &'static str = "casts";

    fn question(_: i32) -> String {
        "SELECT c.castsource, c.casttarget, c.castfunc, c.castcontext::text FROM pg_catalog.pg_cast c \
          WHERE c.oid >= 16384 ORDER BY c.oid"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            source: row.try_get(0)?,
            target: row.try_get(1)?,
            function: row.try_get(2)?,
            context: letter(row, 3)?,
        })
    }
}

/// A function that an operator class calls for values of a type: directly, or as the function of one of its operators.
#[derive(Hash)]
pub struct ClassFunction {
    pub type_oid: Oid,
    pub function: Oid,
}

impl Line for ClassFunction {
    const WHAT: &'static str = "operator classes";

    fn question(_: i32) -> String {
        "SELECT f.of_type, f.function FROM ( \
             SELECT p.amprocfamily, p.amproclefttype, p.amproc::pg_catalog.oid FROM pg_catalog.pg_amproc p \
             UNION SELECT a.amopfamily, a.amoplefttype, o.oprcode::pg_catalog.oid FROM pg_catalog.pg_amop a \
              JOIN pg_catalog.pg_operator o ON o.oid = a.amopopr) f(family, of_type, function) \
          WHERE f.function >= 16384 AND (f.of_type >= 16384 OR EXISTS (SELECT FROM pg_catalog.pg_opclass c \
             WHERE c.opcfamily = f.family AND c.opcintype = f.of_type AND c.opcdefault)) \
          GROUP BY 1, 2 ORDER BY 1, 2"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            type_oid: row.try_get(0)?,
            function: row.try_get(1)?,
        })
    }
}

/// A function that an index or a partition key of a table compares by, because its operator class says so. For built-in
/// types these are the classes that nothing uses unless it names them.
#[derive(Hash)]
pub struct TableClassFunction {
    pub relation: Oid,
    pub function: Oid,
}

impl Line for TableClassFunction {
    const WHAT: &'static str = "operator classes of tables";

    fn question(_: i32) -> String {
        "SELECT u.relation, f.function FROM ( \
             SELECT i.indrelid, k.class FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indclass) AS k(class) \
             UNION SELECT t.partrelid, k.class FROM pg_catalog.pg_partitioned_table t, \
              pg_catalog.unnest(t.partclass) AS k(class)) u(relation, class) \
           JOIN pg_catalog.pg_opclass c ON c.oid = u.class \
           JOIN (SELECT p.amprocfamily, p.amproc::pg_catalog.oid FROM pg_catalog.pg_amproc p \
             UNION SELECT a.amopfamily, o.oprcode::pg_catalog.oid FROM pg_catalog.pg_amop a \
              JOIN pg_catalog.pg_operator o ON o.oid = a.amopopr) f(family, function) ON f.family = c.opcfamily \
          WHERE f.function >= 16384 GROUP BY 1, 2 ORDER BY 1, 2"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            relation: row.try_get(0)?,
            function: row.try_get(1)?,
        })
    }
}

/// A trigger that is not switched off. Those that enforce foreign keys are told by `ForeignKey`.
#[derive(Hash)]
pub struct Trigger {
    pub oid: Oid,
    pub relation: Oid,
    pub name: String,
    pub function: Oid,
    /// `pg_trigger.tgtype`.
    pub events: i16,
    /// Its WHEN.
    pub condition: Option<String>,
}

impl Line for Trigger {
    const WHAT: &'static str = "triggers";

    fn question(_: i32) -> String {
        format!(
            "SELECT t.oid, t.tgrelid, t.tgname::text, t.tgfoid, t.tgtype, t.tgqual::text FROM pg_catalog.pg_trigger t \
          WHERE t.tgenabled <> 'D' AND (NOT t.tgisinternal OR t.tgfoid >= 16384) AND t.tgrelid IN {RELATIONS} ORDER BY t.oid"
        )
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            oid: row.try_get(0)?,
            relation: row.try_get(1)?,
            name: row.try_get(2)?,
            function: row.try_get(3)?,
            events: row.try_get(4)?,
            condition: row.try_get(5)?,
        })
    }
}

#[derive(Hash)]
pub struct ForeignKey {
    pub name: String,
    /// The table whose rows point.
    pub from: Oid,
    /// The table whose rows are pointed at.
    pub to: Oid,
    /// `pg_constraint.confdeltype` and `confupdtype`.
    pub on_delete: u8,
    pub on_update: u8,
}

impl Line for ForeignKey {
    const WHAT: &'static str = "foreign keys";

    fn question(_: i32) -> String {
        format!(
            "SELECT c.conname::text, c.conrelid, c.confrelid, c.confdeltype::text, c.confupdtype::text \
           FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' AND c.conrelid IN {RELATIONS} ORDER BY c.oid"
        )
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            name: row.try_get(0)?,
            from: row.try_get(1)?,
            to: row.try_get(2)?,
            on_delete: letter(row, 3)?,
            on_update: letter(row, 4)?,
        })
    }
}

/// What an expression or query is stored for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The SELECT behind a view; materialized views have one as well, which a read does not run.
    View,
    InsertRule,
    UpdateRule,
    DeleteRule,
    Policy,
    Default,
    /// Computed when the row is written.
    Generated,
    /// Computed when the row is read.
    VirtualColumn,
    Check,
    DomainCheck,
    DomainDefault,
    Index,
    Statistics,
    PartitionKey,
}

/// An expression or query that the server keeps and runs by itself.
#[derive(Hash)]
pub struct Stored {
    pub purpose: Purpose,
    /// Where dependencies are recorded for it: the catalog's OID and its own.
    pub class: Oid,
    pub object: Oid,
    /// The relation that it belongs to; of a domain, the type.
    pub owner: Oid,
    pub name: String,
    pub trees: Vec<String>,
}

impl Line for Stored {
    const WHAT: &'static str = "stored expressions";

    fn question(version: i32) -> String {
        let statistics = if version >= 140_000 {
            "UNION ALL SELECT 'statistics', 3381, s.oid, s.stxrelid, s.stxname::text, s.stxexprs::text, NULL \
               FROM pg_catalog.pg_statistic_ext s WHERE s.stxexprs IS NOT NULL "
        } else {
            ""
        };
        format!(
            "SELECT s.purpose, s.class::pg_catalog.oid, s.object, s.owner, s.name, s.one, s.two FROM (\
             SELECT CASE r.ev_type WHEN '1' THEN 'view' WHEN '2' THEN 'on update' WHEN '3' THEN 'on insert' \
                         ELSE 'on delete' END AS purpose, 2618 AS class, r.oid AS object, \
                    r.ev_class AS owner, r.rulename::text AS name, \
                    CASE WHEN r.ev_type = '1' THEN r.ev_action::text END AS one, NULL::text AS two \
               FROM pg_catalog.pg_rewrite r WHERE r.ev_enabled <> 'D' \
             UNION ALL SELECT 'policy', 3256, p.oid, p.polrelid, p.polname::text, p.polqual::text, p.polwithcheck::text \
               FROM pg_catalog.pg_policy p \
             UNION ALL SELECT CASE a.attgenerated WHEN '' THEN 'default' WHEN 's' THEN 'generated' ELSE 'virtual' END, \
                    2604, d.oid, d.adrelid, a.attname::text, d.adbin::text, NULL \
               FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid \
                AND a.attnum = d.adnum \
             UNION ALL SELECT CASE WHEN c.contypid = 0 THEN 'check' ELSE 'domain check' END, 2606, c.oid, \
                    CASE WHEN c.contypid = 0 THEN c.conrelid ELSE c.contypid END, c.conname::text, c.conbin::text, NULL \
               FROM pg_catalog.pg_constraint c WHERE c.contype = 'c' \
             UNION ALL SELECT 'domain default', 1247, t.oid, t.oid, t.typname::text, t.typdefaultbin::text, NULL \
               FROM pg_catalog.pg_type t WHERE t.typdefaultbin IS NOT NULL \
             UNION ALL SELECT 'index', 1259, i.indexrelid, i.indrelid, c.relname::text, i.indexprs::text, \
                    i.indpred::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
              WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL \
             UNION ALL SELECT 'partition key', 1259, p.partrelid, p.partrelid, '', p.partexprs::text, NULL \
               FROM pg_catalog.pg_partitioned_table p WHERE p.partexprs IS NOT NULL \
             {statistics}) s WHERE s.object >= 16384 \
               AND (s.owner IN {RELATIONS} OR s.purpose IN ('domain check', 'domain default')) \
             ORDER BY s.class, s.object"
        )
    }

    fn read(row: &Row) -> Result<Self, Error> {
        let purpose = match row.try_get(0)? {
            "view" => Purpose::View,
            "on insert" => Purpose::InsertRule,
            "on update" => Purpose::UpdateRule,
            "on delete" => Purpose::DeleteRule,
            "policy" => Purpose::Policy,
            "default" => Purpose::Default,
            "generated" => Purpose::Generated,
            "check" => Purpose::Check,
            "domain check" => Purpose::DomainCheck,
            "domain default" => Purpose::DomainDefault,
            "index" => Purpose::Index,
            "statistics" => Purpose::Statistics,
            "partition key" => Purpose::PartitionKey,
            // A kind of generated column that this version does not know is taken for one that a read computes.
            _ => Purpose::VirtualColumn,
        };
        let trees: [Option<String>; 2] = [row.try_get(5)?, row.try_get(6)?];
        Ok(Self {
            purpose,
            class: row.try_get(1)?,
            object: row.try_get(2)?,
            owner: row.try_get(3)?,
            name: row.try_get(4)?,
            trees: trees.into_iter().flatten().collect(),
        })
    }
}

/// The server's own record that a stored expression uses something that is not built in.
#[derive(Hash)]
pub struct Dependency {
    pub class: Oid,
    pub object: Oid,
    pub on_class: Oid,
    pub on: Oid,
}

impl Line for Dependency {
    const WHAT: &'static str = "dependencies";
    /// Those of temporary objects are among them, and what they say of others is in the trees as well.
    const TELLS_APART: bool = false;

    fn question(_: i32) -> String {
        // Catalogs: pg_type 1247, pg_proc 1255, pg_class 1259, pg_attrdef 2604, pg_constraint 2606, pg_operator 2617,
        // pg_rewrite 2618, pg_trigger 2620, pg_policy 3256, pg_statistic_ext 3381.
        "SELECT DISTINCT d.classid, d.objid, d.refclassid, d.refobjid FROM pg_catalog.pg_depend d \
          WHERE d.refobjid >= 16384 AND d.classid IN (1247, 1259, 2604, 2606, 2618, 2620, 3256, 3381) \
            AND (d.refclassid IN (1255, 2617) OR d.refclassid IN (1247, 1259) AND d.classid IN (2604, 2606, 2618, 3256)) \
          ORDER BY 1, 2, 3, 4"
            .to_owned()
    }

    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            class: row.try_get(0)?,
            object: row.try_get(1)?,
            on_class: row.try_get(2)?,
            on: row.try_get(3)?,
        })
    }
}

/// A column of the type "char", read as text.
fn letter(row: &Row, at: usize) -> Result<u8, Error> {
    let text: &str = row.try_get(at)?;
    Ok(text.bytes().next().unwrap_or(0))
}
