-- Which person an account of a chat is: it has sent a code that was shown to the person alone.
CREATE TABLE channel_links (
    channel   TEXT NOT NULL,
    account   TEXT NOT NULL,
    person    TEXT NOT NULL REFERENCES people (name),
    -- who else had seen the token by which the code was made, and so may be behind the account, as JSON
    seen_by   TEXT NOT NULL,
    linked_at INTEGER NOT NULL,
    PRIMARY KEY (channel, account)
) STRICT;

-- Only the SHA-256 of a code is kept; it is used once.
CREATE TABLE link_codes (
    hash       BLOB PRIMARY KEY,
    person     TEXT NOT NULL REFERENCES people (name),
    seen_by    TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
