-- Who is told of what happens, as the settings name them: put here when `serve` starts.
CREATE TABLE endpoints (
    name            TEXT PRIMARY KEY,
    -- 0 for one that the settings no longer name: what it has still to be told stays
    is_configured   INTEGER NOT NULL,
    -- kinds of events that it wants, as JSON
    events          TEXT NOT NULL,
    -- it has said that it wants nothing more
    disabled_at     INTEGER,
    delivered_at    INTEGER,
    last_error      TEXT,
    last_error_at   INTEGER,
    -- events that found its queue full
    dropped         INTEGER NOT NULL DEFAULT 0,
    -- how many of those have been told of
    dropped_told    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What an endpoint has still to be told, written in the transaction that made it true.
CREATE TABLE deliveries (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint  TEXT NOT NULL REFERENCES endpoints (name),
    -- the same at every try, so that the receiver knows a repetition
    message   TEXT NOT NULL,
    kind      TEXT NOT NULL,
    request   TEXT,
    -- of the request when it happened, or what became of a grant
    state     TEXT NOT NULL,
    standing_grant TEXT,
    detail    TEXT NOT NULL,
    at        INTEGER NOT NULL,
    tries     INTEGER NOT NULL DEFAULT 0,
    due       INTEGER NOT NULL,
    -- it was given up
    failed_at INTEGER
) STRICT;
CREATE INDEX deliveries_due ON deliveries (endpoint, due) WHERE failed_at IS NULL;
CREATE INDEX deliveries_of_request ON deliveries (endpoint, request);
