-- What the statements of `tests/cases/locks` name.
CREATE SCHEMA locks;
SET search_path = locks;
CREATE SCHEMA empty;
CREATE TABLE customers (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, total int, label text,
                     CONSTRAINT total_is_low CHECK (total < 1000) NOT VALID);
CREATE UNIQUE INDEX orders_label ON orders (label);
CREATE TABLE items (order_id int REFERENCES orders ON DELETE CASCADE, line int);
CREATE TABLE apart (id int, note text);
CREATE TABLE base (id int);
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE loose (id int);
CREATE SEQUENCE counter;
CREATE DOMAIN cents AS int;
CREATE VIEW totals AS SELECT id, total FROM orders;
CREATE MATERIALIZED VIEW sold AS SELECT id, total FROM orders;
CREATE UNIQUE INDEX ON sold (id);
CREATE FUNCTION nothing() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER audited AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION audit();
CREATE RULE silent AS ON INSERT TO orders WHERE false DO NOTHING;
CREATE TEMP TABLE names AS
  SELECT oid, relname::text AS name FROM pg_class WHERE relnamespace = 'locks'::regnamespace;
