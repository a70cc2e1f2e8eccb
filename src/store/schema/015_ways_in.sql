-- Who has set how somebody else signs in, over the API, and when last: for a day that counts as deciding in their name.
CREATE TABLE ways_in_set (
    person TEXT NOT NULL REFERENCES people (name),
    set_by TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (person, set_by)
) STRICT;
