-- What one decision lets through later although its literals differ, for a time and so often.
CREATE TABLE standing_grants (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    standing   TEXT NOT NULL,
    -- who ended it, if somebody did, and why
    ended_by   TEXT,
    ended_why  TEXT,
    version    INTEGER NOT NULL,
    -- the request whose decision made it
    request    TEXT NOT NULL UNIQUE REFERENCES requests (id),
    shape      BLOB NOT NULL,
    principal  TEXT NOT NULL,
    -- NULL: every session of the principal
    session    TEXT,
    credential BLOB NOT NULL,
    approvers  TEXT NOT NULL,
    -- those whose approvals made it, each with who had seen the token, as JSON
    made_by    TEXT NOT NULL,
    uses       INTEGER NOT NULL,
    uses_max   INTEGER NOT NULL CHECK (uses <= uses_max),
    made_at    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    until      INTEGER NOT NULL
) STRICT;
CREATE INDEX standing_grants_open ON standing_grants (principal, shape) WHERE standing = 'open';

-- The standing grant that an approval asked for, as JSON; NULL: one run.
ALTER TABLE decisions ADD COLUMN terms TEXT;

-- The standing grant by which it ran without a person.
ALTER TABLE requests ADD COLUMN standing_grant TEXT;
CREATE INDEX requests_by_standing_grant ON requests (standing_grant) WHERE standing_grant IS NOT NULL;
