-- Whoever has approved as the rule says may still be the one who approves alone, so the key knows which of the two it is.
CREATE TABLE decisions_of_two_kinds (
    request       TEXT NOT NULL REFERENCES requests (id),
    person        TEXT NOT NULL,
    approves      INTEGER NOT NULL,
    reason        TEXT NOT NULL,
    channel       TEXT NOT NULL,
    -- as it stood with the token by which it was said
    token_seen_by TEXT NOT NULL,
    idempotency   TEXT,
    at            INTEGER NOT NULL,
    terms         TEXT,
    guards        TEXT,
    in_groups     TEXT,
    -- 1: by the role break_glass, alone
    break_glass   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (request, person, break_glass)
) STRICT;
INSERT INTO decisions_of_two_kinds
    (rowid, request, person, approves, reason, channel, token_seen_by, idempotency, at, terms, guards, in_groups)
    SELECT rowid, request, person, approves, reason, channel, token_seen_by, idempotency, at, terms, guards, in_groups
    FROM decisions ORDER BY rowid;
DROP TABLE decisions;
ALTER TABLE decisions_of_two_kinds RENAME TO decisions;
CREATE INDEX decisions_alone ON decisions (person, at) WHERE break_glass = 1;

-- What one person approved alone is looked at again: open until somebody else signs it.
CREATE TABLE reviews (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    request        TEXT NOT NULL UNIQUE REFERENCES requests (id),
    broken_by      TEXT NOT NULL,
    -- who else had seen the token by which it was done, as JSON
    broken_seen_by TEXT NOT NULL,
    reason         TEXT NOT NULL,
    opened_at      INTEGER NOT NULL,
    -- all NULL while it is open
    signed_by      TEXT,
    finding        TEXT,
    text           TEXT,
    channel        TEXT,
    idempotency    TEXT,
    signed_at      INTEGER
) STRICT;
CREATE INDEX reviews_open ON reviews (seq) WHERE signed_by IS NULL;
