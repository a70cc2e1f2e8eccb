-- Run by generate.sh against an untouched database of a fresh server. Prints `kind|name`.
-- Functions callable from SQL: not those with internal or cstring arguments or results, handlers or triggers.
SELECT DISTINCT 'function|' || p.proname
FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace
  AND p.prokind IN ('f', 'a', 'w')
  AND p.prorettype::regtype::text NOT IN ('trigger', 'event_trigger', 'internal', 'cstring', 'language_handler',
        'fdw_handler', 'index_am_handler', 'tsm_handler', 'table_am_handler', 'pg_ddl_command')
  AND NOT EXISTS (SELECT FROM unnest(p.proargtypes) a
                  WHERE a::regtype::text IN ('internal', 'cstring', 'pg_ddl_command', 'event_trigger'));
-- Every name a built-in function has, so that "not built in" can be told from "not harmless".
SELECT DISTINCT 'builtin|' || p.proname FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace;
-- The helpers behind information_schema, which drivers call.
SELECT DISTINCT 'information|' || p.proname
FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'information_schema'::regnamespace;
-- Base, range, multirange and enum types, and the pseudo types that an expression can have; no row types.
SELECT 'type|' || t.typname
FROM pg_catalog.pg_type t
WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm')
  AND t.typname NOT LIKE '\_%' AND t.typname NOT LIKE 'pg\_brin%'
UNION ALL SELECT 'type|record';
SELECT 'domain|' || t.typname
FROM pg_catalog.pg_type t
WHERE t.typnamespace = 'information_schema'::regnamespace AND t.typtype = 'd';
SELECT DISTINCT 'operator|' || o.oprname
FROM pg_catalog.pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace;
-- Operator classes by their access method, by which the server looks them up.
SELECT 'opclass|' || m.amname || ' ' || o.opcname
FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
WHERE o.opcnamespace = 'pg_catalog'::regnamespace;
