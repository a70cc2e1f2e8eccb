-- What people show beside or instead of a token. `seen_by`: who else may know it, as JSON.
CREATE TABLE passwords (
    person   TEXT PRIMARY KEY REFERENCES people (name),
    verifier TEXT NOT NULL,
    seen_by  TEXT NOT NULL,
    set_at   INTEGER NOT NULL
) STRICT;

-- With the one-time code whose SHA-256 this is, somebody sets a password.
CREATE TABLE password_links (
    hash    BLOB PRIMARY KEY,
    person  TEXT NOT NULL REFERENCES people (name),
    seen_by TEXT NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT;

-- The secret cannot be kept as a hash: codes are computed from it.
CREATE TABLE totp (
    person    TEXT PRIMARY KEY REFERENCES people (name),
    secret    BLOB NOT NULL,
    -- 1 once a code of it was given; until then it counts for nothing
    confirmed INTEGER NOT NULL,
    -- the step of the last code that was taken: none counts twice
    last_step INTEGER NOT NULL,
    seen_by   TEXT NOT NULL,
    made_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE recovery_codes (
    person TEXT NOT NULL REFERENCES people (name),
    hash   BLOB NOT NULL,
    PRIMARY KEY (person, hash)
) STRICT;

CREATE TABLE passkeys (
    id         BLOB PRIMARY KEY,
    person     TEXT NOT NULL REFERENCES people (name),
    -- what the person calls it
    name       TEXT NOT NULL,
    -- public key and counter, as JSON
    credential TEXT NOT NULL,
    seen_by    TEXT NOT NULL,
    made_at    INTEGER NOT NULL,
    used_at    INTEGER
) STRICT;
CREATE INDEX passkeys_of ON passkeys (person);
