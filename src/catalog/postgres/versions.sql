WITH schema AS (
  SELECT n.oid FROM pg_catalog.pg_namespace n
   WHERE NOT pg_catalog.starts_with(n.nspname::text, 'pg_temp_') AND NOT pg_catalog.starts_with(n.nspname::text, 'pg_toast')
), relation AS (
  SELECT c.oid, c.xmin FROM pg_catalog.pg_class c
   WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S', 'c') AND c.relpersistence <> 't'
), version AS (
  SELECT 1 AS catalog, n.oid AS one, 0 AS two, n.xmin AS xmin FROM pg_catalog.pg_namespace n JOIN schema s ON s.oid = n.oid
  UNION ALL SELECT 2, c.oid, 0, c.xmin FROM relation c
  UNION ALL SELECT 3, a.attrelid, a.attnum, a.xmin FROM pg_catalog.pg_attribute a JOIN relation c ON c.oid = a.attrelid
   WHERE a.attnum > 0
  UNION ALL SELECT 4, i.inhrelid, i.inhseqno, i.xmin FROM pg_catalog.pg_inherits i JOIN relation c ON c.oid = i.inhrelid
  UNION ALL SELECT 5, t.ftrelid, 0, t.xmin FROM pg_catalog.pg_foreign_table t
  UNION ALL SELECT 6, s.oid, 0, s.xmin FROM pg_catalog.pg_foreign_server s
  UNION ALL SELECT 7, w.oid, 0, w.xmin FROM pg_catalog.pg_foreign_data_wrapper w
  UNION ALL SELECT 8, p.oid, 0, p.xmin FROM pg_catalog.pg_proc p JOIN schema s ON s.oid = p.pronamespace
  UNION ALL SELECT 9, a.aggfnoid::pg_catalog.oid, 0, a.xmin FROM pg_catalog.pg_aggregate a
  UNION ALL SELECT 10, o.oid, 0, o.xmin FROM pg_catalog.pg_operator o
  UNION ALL SELECT 11, t.oid, 0, t.xmin FROM pg_catalog.pg_type t JOIN schema s ON s.oid = t.typnamespace
  UNION ALL SELECT 12, r.rngtypid, 0, r.xmin FROM pg_catalog.pg_range r
  UNION ALL SELECT 13, c.oid, 0, c.xmin FROM pg_catalog.pg_cast c
  UNION ALL SELECT 14, p.oid, 0, p.xmin FROM pg_catalog.pg_amproc p
  UNION ALL SELECT 15, a.oid, 0, a.xmin FROM pg_catalog.pg_amop a
  UNION ALL SELECT 16, t.oid, 0, t.xmin FROM pg_catalog.pg_trigger t JOIN relation c ON c.oid = t.tgrelid
  UNION ALL SELECT 17, o.oid, 0, o.xmin FROM pg_catalog.pg_constraint o LEFT JOIN relation c ON c.oid = o.conrelid
   WHERE c.oid IS NOT NULL OR o.conrelid = 0
  UNION ALL SELECT 18, r.oid, 0, r.xmin FROM pg_catalog.pg_rewrite r JOIN relation c ON c.oid = r.ev_class
  UNION ALL SELECT 19, p.oid, 0, p.xmin FROM pg_catalog.pg_policy p
  UNION ALL SELECT 20, d.oid, 0, d.xmin FROM pg_catalog.pg_attrdef d JOIN relation c ON c.oid = d.adrelid
  UNION ALL SELECT 21, i.indexrelid, 0, i.xmin FROM pg_catalog.pg_index i JOIN relation c ON c.oid = i.indrelid
   WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
  UNION ALL SELECT 22, e.oid, 0, e.xmin FROM pg_catalog.pg_statistic_ext e JOIN relation c ON c.oid = e.stxrelid
  UNION ALL SELECT 23, t.partrelid, 0, t.xmin FROM pg_catalog.pg_partitioned_table t
  UNION ALL SELECT 24, l.oid, 0, l.xmin FROM pg_catalog.pg_language l
)
SELECT pg_catalog.string_agg(pg_catalog.format('%s:%s:%s', c.catalog, c.rows, c.sum), ' ' ORDER BY c.catalog) FROM (
  SELECT v.catalog, pg_catalog.count(*) AS rows,
         pg_catalog.sum(pg_catalog.hashint8extended(
             pg_catalog.hashint8extended(v.one::pg_catalog.int8 * 65536 + v.two, 0) # v.xmin::text::pg_catalog.int8, 0)) AS sum
    FROM version v GROUP BY v.catalog
) c
