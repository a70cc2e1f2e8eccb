-- What holds while an approved statement runs, as JSON; NULL: nothing but what its session has set.
ALTER TABLE decisions ADD COLUMN guards TEXT;
ALTER TABLE standing_grants ADD COLUMN guards TEXT;

-- What a run covers, as JSON: classes, tables, and the transaction that it ends with; NULL: one fingerprint.
ALTER TABLE standing_grants ADD COLUMN run TEXT;
