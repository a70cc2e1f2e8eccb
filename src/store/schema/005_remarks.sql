-- What is said of a request besides approve and deny.
CREATE TABLE remarks (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    request     TEXT NOT NULL REFERENCES requests (id),
    kind        TEXT NOT NULL,
    -- person, agent or clock; name is NULL for the clock
    speaker     TEXT NOT NULL,
    name        TEXT,
    text        TEXT NOT NULL,
    -- whom it was delegated or escalated to
    recipient   TEXT,
    channel     TEXT NOT NULL,
    -- of the request when it was said
    version     INTEGER NOT NULL,
    idempotency TEXT,
    at          INTEGER NOT NULL
) STRICT;
CREATE INDEX remarks_of_request ON remarks (request, at);
CREATE UNIQUE INDEX remarks_once ON remarks (request, name, kind, idempotency) WHERE idempotency IS NOT NULL;
