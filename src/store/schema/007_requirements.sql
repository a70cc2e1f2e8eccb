-- The groups that somebody was in who spoke, as JSON; NULL: it was said when that was not kept.
ALTER TABLE decisions ADD COLUMN in_groups TEXT;
