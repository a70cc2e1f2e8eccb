-- What is known of relations without touching one of them: only pg_catalog is read, so no lock is waited for.
-- `$1`: relations that a statement names; `$2`: those that it writes, drops or empties; `$3`: what it does to them
-- (insert, update, delete, merge, truncate, drop); `$4`: the events of pg_trigger.tgtype that it causes.
-- Run under search_path = pg_catalog.
WITH RECURSIVE family(root, oid) AS (
  SELECT c.oid, c.oid FROM pg_class c WHERE c.oid = ANY ($1::oid[])
  UNION
  SELECT f.root, i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.oid
), counted AS (
  SELECT f.root,
         sum(c.reltuples) FILTER (WHERE c.relkind IN ('r', 'm', 'f') AND c.reltuples >= 0
                                    AND NOT (c.reltuples = 0 AND c.relpages = 0))::bigint AS rows,
         sum(c.relpages::bigint + coalesce(t.relpages, 0)) FILTER (WHERE c.relkind IN ('r', 'm') AND c.relpages > 0)
           * current_setting('block_size')::bigint AS bytes,
         sum((SELECT sum(x.relpages) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid))
           FILTER (WHERE c.relkind IN ('r', 'm') AND c.relpages > 0) * current_setting('block_size')::bigint AS index_bytes
    FROM family f JOIN pg_class c ON c.oid = f.oid LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
   GROUP BY f.root
), reference(oid, conname, conrelid, confrelid, confdeltype, confupdtype, depth) AS (
  SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.confdeltype, k.confupdtype, 1
    FROM pg_constraint k
   WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ($2::oid[])
  UNION
  SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.confdeltype, k.confupdtype, r.depth + 1
    FROM reference r JOIN pg_constraint k ON k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = r.conrelid
   WHERE r.depth < 8
     AND CASE $3::text WHEN 'delete' THEN r.confdeltype = 'c' WHEN 'merge' THEN r.confdeltype = 'c'
                       WHEN 'update' THEN r.confupdtype = 'c' ELSE $3::text = 'truncate' END
), reached AS (
  SELECT DISTINCT ON (r.oid) r.* FROM reference r
   WHERE CASE $3::text WHEN 'update' THEN r.confupdtype IN ('c', 'n', 'd')
                       WHEN 'truncate' THEN r.conrelid <> ALL ($2::oid[])
                       ELSE $3::text IN ('delete', 'merge') END
   ORDER BY r.oid, r.depth
), fires AS (
  SELECT t.tgrelid, t.tgname, t.tgtype, t.tgfoid FROM pg_trigger t
   WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
     AND ((t.tgrelid = ANY ($2::oid[]) AND t.tgtype & $4::int4 <> 0)
       OR EXISTS (SELECT FROM reached r WHERE r.conrelid = t.tgrelid AND t.tgtype & (CASE $3::text
            WHEN 'delete' THEN CASE r.confdeltype WHEN 'c' THEN 8 WHEN 'n' THEN 16 WHEN 'd' THEN 16 ELSE 0 END
            WHEN 'merge' THEN CASE r.confdeltype WHEN 'c' THEN 8 WHEN 'n' THEN 16 WHEN 'd' THEN 16 ELSE 0 END
            WHEN 'update' THEN 16 WHEN 'truncate' THEN 32 ELSE 0 END) <> 0))
), depends(classid, objid, objsubid) AS (
  SELECT 'pg_class'::regclass::oid, o, 0 FROM unnest($2::oid[]) o WHERE $3::text = 'drop' AND o IS NOT NULL
  UNION
  SELECT x.classid, x.objid, x.objsubid FROM depends p CROSS JOIN LATERAL (
    SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
     WHERE d.refclassid = p.classid AND d.refobjid = p.objid AND (p.objsubid = 0 OR d.refobjsubid = p.objsubid)
       AND d.deptype IN ('n', 'a', 'i', 'P', 'S')
    UNION ALL
    SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
     WHERE d.classid = p.classid AND d.objid = p.objid AND d.deptype = 'i' AND p.objsubid = 0
  ) x
), dependent AS (
  SELECT p.classid, p.objid, p.objsubid FROM depends p
   WHERE p.classid NOT IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass, 'pg_type'::regclass)
     AND NOT (p.classid = 'pg_class'::regclass AND p.objid = ANY ($2::oid[]))
     AND NOT EXISTS (SELECT FROM pg_class c WHERE p.classid = 'pg_class'::regclass AND c.oid = p.objid
                        AND c.relkind IN ('i', 'I', 't'))
     AND NOT EXISTS (SELECT FROM pg_trigger t WHERE p.classid = 'pg_trigger'::regclass AND t.oid = p.objid AND t.tgisinternal)
     -- What is only a part of something else that goes: columns, indexes, constraints and sequences of a table.
     AND NOT EXISTS (SELECT FROM pg_depend d JOIN depends q ON q.classid = d.refclassid AND q.objid = d.refobjid
                      WHERE d.classid = p.classid AND d.objid = p.objid AND d.deptype IN ('a', 'i')
                        AND q.objsubid = 0 AND NOT (d.classid = 'pg_class'::regclass AND d.refclassid <> 'pg_class'::regclass))
)
SELECT json_build_object(
  'tables', (SELECT coalesce(json_agg(json_build_object('oid', c.oid::bigint, 'name', n.nspname || '.' || c.relname,
               'kind', c.relkind::text, 'rows', k.rows, 'bytes', k.bytes, 'index_bytes', k.index_bytes) ORDER BY n.nspname, c.relname), '[]')
               FROM counted k JOIN pg_class c ON c.oid = k.root JOIN pg_namespace n ON n.oid = c.relnamespace),
  'cascades', (SELECT coalesce(json_agg(json_build_object('table', a.nspname || '.' || f.relname, 'constraint', r.conname,
               'to', b.nspname || '.' || t.relname, 'on_delete', r.confdeltype::text, 'on_update', r.confupdtype::text,
               'rows', CASE WHEN f.reltuples >= 0 AND NOT (f.reltuples = 0 AND f.relpages = 0) THEN f.reltuples::bigint END)
               ORDER BY r.depth, a.nspname, f.relname, r.conname), '[]')
               FROM (SELECT * FROM reached ORDER BY depth, oid LIMIT 20) r
               JOIN pg_class f ON f.oid = r.conrelid JOIN pg_namespace a ON a.oid = f.relnamespace
               JOIN pg_class t ON t.oid = r.confrelid JOIN pg_namespace b ON b.oid = t.relnamespace),
  'cascades_count', (SELECT count(*) FROM reached),
  'triggers', (SELECT coalesce(json_agg(json_build_object('table', n.nspname || '.' || c.relname, 'name', t.tgname,
               'type', t.tgtype::int4, 'function', m.nspname || '.' || p.proname) ORDER BY n.nspname, c.relname, t.tgname), '[]')
               FROM (SELECT * FROM fires ORDER BY tgrelid, tgname LIMIT 20) t
               JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace m ON m.oid = p.pronamespace),
  'triggers_count', (SELECT count(*) FROM fires),
  'dependents', (SELECT coalesce(json_agg(words ORDER BY words), '[]') FROM (
               SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS words FROM dependent d LIMIT 20) AS described),
  'dependents_count', (SELECT count(*) FROM dependent)
)::text
