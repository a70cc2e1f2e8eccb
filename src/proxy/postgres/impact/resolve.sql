-- The OIDs that names mean along the session's search_path. `$1`, `$2`: schemas (empty: none) and names.
-- Every operator and function is qualified, because search_path is not the proxy's own here.
SELECT pg_catalog.array_agg(pg_catalog.to_regclass(
         CASE WHEN s.schema OPERATOR(pg_catalog.=) '' THEN pg_catalog.quote_ident(s.name)
              ELSE pg_catalog.format('%I.%I', s.schema, s.name) END)::pg_catalog.oid)::pg_catalog.text
  FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS s(schema, name)
