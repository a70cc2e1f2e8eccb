WITH RECURSIVE path AS (
  SELECT p.name, p.place FROM pg_catalog.unnest(pg_catalog.current_schemas(true)) WITH ORDINALITY AS p(name, place)
), asked AS (
  SELECT t.schema, t.name, t.kind FROM (
    SELECT s.schema, s.name, 'relation'::pg_catalog.text AS kind
      FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS s(schema, name)
    UNION ALL
    SELECT s.schema, s.name, 'function'
      FROM ROWS FROM (pg_catalog.unnest($3::pg_catalog.text[]), pg_catalog.unnest($4::pg_catalog.text[])) AS s(schema, name)
  ) t
), relation AS (
  SELECT DISTINCT ON (a.schema, a.name) a.schema, a.name, c.oid
    FROM asked a
    JOIN pg_catalog.pg_class c ON c.relname OPERATOR(pg_catalog.=) a.name::pg_catalog.name
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    LEFT JOIN path ON path.name OPERATOR(pg_catalog.=) n.nspname
   WHERE a.kind OPERATOR(pg_catalog.=) 'relation'
     AND CASE WHEN a.schema OPERATOR(pg_catalog.=) '' THEN path.place IS NOT NULL
              ELSE n.nspname OPERATOR(pg_catalog.=) a.schema::pg_catalog.name END
   ORDER BY a.schema, a.name, path.place
), reached AS (
  SELECT r.oid FROM relation r
  UNION
  SELECT further.oid
    FROM reached r CROSS JOIN LATERAL (
      -- What views and rules name,
      SELECT d.refobjid AS oid
        FROM pg_catalog.pg_rewrite w
        JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass
         AND d.objid OPERATOR(pg_catalog.=) w.oid
         AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
       WHERE w.ev_class OPERATOR(pg_catalog.=) r.oid
      UNION ALL
      -- partitions and children,
      SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent OPERATOR(pg_catalog.=) r.oid
      UNION ALL
      -- and what a foreign key deletes or changes too.
      SELECT k.conrelid
        FROM pg_catalog.pg_constraint k
       WHERE k.confrelid OPERATOR(pg_catalog.=) r.oid
         AND k.contype OPERATOR(pg_catalog.=) 'f'::pg_catalog."char"
         AND (k.confdeltype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog."char"[])
           OR k.confupdtype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog."char"[]))
    ) further
), heir AS (
  -- Partitions and children, down to the last: what changes a table changes them too.
  SELECT r.oid AS root, i.inhrelid AS oid
    FROM relation r JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) r.oid
  UNION
  SELECT h.root, i.inhrelid
    FROM heir h JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) h.oid
), part AS (
  SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass AS kind, w.oid
    FROM reached r JOIN pg_catalog.pg_rewrite w ON w.ev_class OPERATOR(pg_catalog.=) r.oid
  UNION ALL
  SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid
    FROM reached r JOIN pg_catalog.pg_policy p ON p.polrelid OPERATOR(pg_catalog.=) r.oid
  UNION ALL
  SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, t.oid
    FROM reached r JOIN pg_catalog.pg_trigger t ON t.tgrelid OPERATOR(pg_catalog.=) r.oid
  UNION ALL
  SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, a.oid
    FROM reached r JOIN pg_catalog.pg_attrdef a ON a.adrelid OPERATOR(pg_catalog.=) r.oid
  UNION ALL
  SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid
    FROM reached r JOIN pg_catalog.pg_constraint c ON c.conrelid OPERATOR(pg_catalog.=) r.oid
), called AS (
  SELECT d.refobjid AS oid
    FROM part JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) part.kind
     AND d.objid OPERATOR(pg_catalog.=) part.oid
     AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
  UNION
  SELECT o.oprcode
    FROM part JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) part.kind
     AND d.objid OPERATOR(pg_catalog.=) part.oid
     AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass
    JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) d.refobjid
), line AS (
  SELECT pg_catalog.format('r %s.%s %s', r.schema, r.name, r.oid) AS text FROM relation r
  UNION ALL
  SELECT pg_catalog.format('h %s %s %s %s', h.root, h.oid,
    pg_catalog.encode(pg_catalog.convert_to(n.nspname::pg_catalog.text, 'UTF8'), 'hex'),
    pg_catalog.encode(pg_catalog.convert_to(c.relname::pg_catalog.text, 'UTF8'), 'hex'))
    FROM heir h
    JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) h.oid
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
  UNION ALL
  SELECT pg_catalog.format('b %s %s %s %s %s %s', c.oid, c.xmin,
    (SELECT pg_catalog.md5(pg_catalog.string_agg(pg_catalog.format('%s %s', t.attnum, t.xmin), ',' ORDER BY t.attnum))
       FROM pg_catalog.pg_attribute t WHERE t.attrelid OPERATOR(pg_catalog.=) c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s', t.oid, t.xmin), ',' ORDER BY t.oid)
       FROM pg_catalog.pg_rewrite t WHERE t.ev_class OPERATOR(pg_catalog.=) c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s', t.oid, t.xmin), ',' ORDER BY t.oid)
       FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s', t.oid, t.xmin), ',' ORDER BY t.oid)
       FROM pg_catalog.pg_policy t WHERE t.polrelid OPERATOR(pg_catalog.=) c.oid))
    FROM reached r JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.oid
  UNION ALL
  SELECT pg_catalog.format('c %s %s', p.oid, p.xmin)
    FROM called JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) called.oid
  UNION ALL
  SELECT pg_catalog.format('f %s.%s %s %s', a.schema, a.name, p.oid, p.xmin)
    FROM asked a
    JOIN pg_catalog.pg_proc p ON p.proname OPERATOR(pg_catalog.=) a.name::pg_catalog.name
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
    LEFT JOIN path ON path.name OPERATOR(pg_catalog.=) n.nspname
   WHERE a.kind OPERATOR(pg_catalog.=) 'function'
     AND CASE WHEN a.schema OPERATOR(pg_catalog.=) '' THEN path.place IS NOT NULL
              ELSE n.nspname OPERATOR(pg_catalog.=) a.schema::pg_catalog.name END
)
SELECT pg_catalog.string_agg(line.text, E'\n' ORDER BY line.text) FROM line
