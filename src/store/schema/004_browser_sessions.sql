-- Somebody signed in with a browser. Only the SHA-256 of the cookie is kept.
CREATE TABLE browser_sessions (
    hash       BLOB PRIMARY KEY,
    person     TEXT NOT NULL REFERENCES people (name),
    -- less than the person's roles give, as JSON: it was opened by a token that may do less
    scopes     TEXT,
    -- who else has seen what it was opened by, as JSON
    seen_by    TEXT NOT NULL,
    -- token, password, totp or passkey
    method     TEXT NOT NULL,
    -- when a second factor was given last
    strong_at  INTEGER,
    made_at    INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    -- when the token ends that it was opened by
    token_ends INTEGER
) STRICT;
CREATE INDEX browser_sessions_of ON browser_sessions (person);
