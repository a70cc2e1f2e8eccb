-- Which process serves this file; the epoch grows with every start.
CREATE TABLE node (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    name  TEXT NOT NULL,
    epoch INTEGER NOT NULL
) STRICT;

-- Times are microseconds since 1970; what is only shown stands in the card, as JSON.
CREATE TABLE requests (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    state        TEXT NOT NULL,
    state_data   TEXT NOT NULL,
    version      INTEGER NOT NULL,
    owner_node   TEXT NOT NULL,
    owner_epoch  INTEGER NOT NULL,
    claim        TEXT,
    digest       BLOB NOT NULL,
    principal    TEXT NOT NULL,
    database     TEXT NOT NULL,
    class        TEXT NOT NULL,
    fingerprint  BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    wait_ends_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    text         BLOB NOT NULL,
    card         TEXT NOT NULL,
    -- 0 once nothing can change it any more
    is_open      INTEGER NOT NULL
) STRICT;
CREATE INDEX requests_open ON requests (is_open) WHERE is_open = 1;
CREATE INDEX requests_of_principal ON requests (principal, digest);
CREATE INDEX requests_alike ON requests (fingerprint);

-- One word of one person on one request.
CREATE TABLE decisions (
    request     TEXT NOT NULL REFERENCES requests (id),
    person      TEXT NOT NULL,
    approves    INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    channel     TEXT NOT NULL,
    -- as it stood with the token by which it was said
    token_seen_by TEXT NOT NULL,
    idempotency TEXT,
    at          INTEGER NOT NULL,
    PRIMARY KEY (request, person)
) STRICT;

-- What the log has still to be told, written in the transaction that made it true.
CREATE TABLE outbox (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    at   INTEGER NOT NULL,
    note TEXT NOT NULL
) STRICT;

CREATE TABLE people (
    name       TEXT PRIMARY KEY,
    roles      TEXT NOT NULL,
    groups     TEXT NOT NULL,
    active     INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Only the SHA-256 of a token is kept.
CREATE TABLE tokens (
    hash       BLOB PRIMARY KEY,
    person     TEXT NOT NULL REFERENCES people (name),
    scopes     TEXT,
    -- who else has seen it, as JSON: whoever issued it over the API; NULL for one that was made on this machine
    seen_by    TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE agents (
    name            TEXT PRIMARY KEY,
    owner           TEXT NOT NULL,
    has_seen_secret TEXT NOT NULL,
    acts_for        TEXT,
    -- one verifier for each way to log in, by its name
    verifiers       TEXT NOT NULL,
    databases       TEXT NOT NULL,
    database_user   TEXT NOT NULL,
    profile         TEXT NOT NULL,
    labels          TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked         INTEGER NOT NULL DEFAULT 0
) STRICT;
