-- Exact sizes, with all partitions and children. It locks each relation as a read does, so it may have to give up.
-- `$1`: relations. Run under search_path = pg_catalog.
WITH RECURSIVE family(root, oid) AS (
  SELECT c.oid, c.oid FROM pg_class c WHERE c.oid = ANY ($1::oid[])
  UNION
  SELECT f.root, i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.oid
)
SELECT coalesce(json_agg(json_build_object('oid', s.root::bigint, 'bytes', s.bytes, 'index_bytes', s.index_bytes)), '[]')::text
  FROM (SELECT f.root, sum(pg_table_size(c.oid))::bigint AS bytes, sum(pg_indexes_size(c.oid))::bigint AS index_bytes
          FROM family f JOIN pg_class c ON c.oid = f.oid WHERE c.relkind IN ('r', 'm') GROUP BY f.root) s
