-- Whose statement a delivery is about; empty: nobody's. A principal has a share of each endpoint's queue.
ALTER TABLE deliveries ADD COLUMN principal TEXT NOT NULL DEFAULT '';
-- When it is sent, among those that are due: principals take turns, so that many messages of one do not hold up another's.
ALTER TABLE deliveries ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET principal = coalesce((SELECT principal FROM requests WHERE id = deliveries.request), ''), turn = seq;
DROP INDEX deliveries_due;
CREATE INDEX deliveries_turns ON deliveries (endpoint, turn, seq) WHERE failed_at IS NULL;
CREATE INDEX deliveries_shares ON deliveries (endpoint, principal, turn) WHERE failed_at IS NULL;
CREATE INDEX deliveries_given_up ON deliveries (endpoint, failed_at) WHERE failed_at IS NOT NULL;
