-- What was answered to a call with an Idempotency-Key, to be answered again if it comes again within a day.
CREATE TABLE answers (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    person TEXT NOT NULL,
    key    TEXT NOT NULL,
    -- SHA-256 of what was called, by what right, and with which body
    call   BLOB NOT NULL,
    status INTEGER NOT NULL,
    -- NULL: it held a secret that is shown once, or was too long to keep
    body   TEXT,
    at     INTEGER NOT NULL,
    UNIQUE (person, key)
) STRICT;
CREATE INDEX answers_at ON answers (at);
