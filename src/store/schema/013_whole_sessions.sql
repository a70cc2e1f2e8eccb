-- `scopes` is NULL for a session that may do all that its person may, from the making on. Until now that was a comparison
-- with what the roles gave on that day, so nobody knows it of the sessions that there are: people sign in again.
DELETE FROM browser_sessions;
