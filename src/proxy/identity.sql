WITH path AS (
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
  SELECT DISTINCT ON (a.schema, a.name) a.schema, a.name, c.oid, c.xmin AS version
    FROM asked a
    JOIN pg_catalog.pg_class c ON c.relname OPERATOR(pg_catalog.=) a.name::pg_catalog.name
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    LEFT JOIN path ON path.name OPERATOR(pg_catalog.=) n.nspname
   WHERE a.kind OPERATOR(pg_catalog.=) 'relation'
     AND CASE WHEN a.schema OPERATOR(pg_catalog.=) '' THEN path.place IS NOT NULL
              ELSE n.nspname OPERATOR(pg_catalog.=) a.schema::pg_catalog.name END
   ORDER BY a.schema, a.name, path.place
), line AS (
  SELECT pg_catalog.format('r %s.%s %s %s %s %s %s', r.schema, r.name, r.oid, r.version,
    (SELECT pg_catalog.md5(pg_catalog.string_agg(pg_catalog.format('%s %s', t.attnum, t.xmin), ',' ORDER BY t.attnum))
       FROM pg_catalog.pg_attribute t WHERE t.attrelid OPERATOR(pg_catalog.=) r.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s', t.oid, t.xmin), ',' ORDER BY t.oid)
       FROM pg_catalog.pg_rewrite t WHERE t.ev_class OPERATOR(pg_catalog.=) r.oid),
    (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s', t.oid, t.xmin), ',' ORDER BY t.oid)
       FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) r.oid)) AS text
    FROM relation r
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
