SELECT CASE WHEN pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid THEN pg_catalog.json_build_object(
  'relations', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
        'name', c.relname,
        'columns', (
          SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
           WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
             AND a.attnum OPERATOR(pg_catalog.>) 0::pg_catalog.int2 AND NOT a.attisdropped),
        'is_plain', c.relkind OPERATOR(pg_catalog.=) ANY ('{r,S}'::pg_catalog."char"[])
          AND NOT c.relhasrules AND NOT c.relhastriggers AND NOT c.relrowsecurity AND NOT c.relhassubclass
          AND c.relchecks OPERATOR(pg_catalog.=) 0::pg_catalog.int2
          AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_index i
             WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
          AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute a
             WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
               AND a.atttypid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid),
        'computes', EXISTS (
          SELECT FROM pg_catalog.pg_attrdef d WHERE d.adrelid OPERATOR(pg_catalog.=) c.oid)))
      FROM (
        SELECT * FROM pg_catalog.pg_class all_of_them
         WHERE all_of_them.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() LIMIT 501) c),
  'types', (
    SELECT pg_catalog.json_agg(t.typname) FROM (
      SELECT all_of_them.typname FROM pg_catalog.pg_type all_of_them
       WHERE all_of_them.typnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() LIMIT 1501) t),
  'inherits', EXISTS (
    SELECT FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) h.inhrelid
     WHERE c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())
) END
