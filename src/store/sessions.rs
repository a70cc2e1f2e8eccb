//! People signed in with a browser: made, found, ended. Each ends by itself when it is idle or too old, and at once when
//! its person is deactivated, or their tokens or password end.
//! Never keeps a cookie: only its hash. Read `people.rs` for tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::clock::Timestamp;
use crate::identity::assurance::{Assurance, Method};
use crate::identity::directory::{Extent, Person, Scopes, SignedIn};
use crate::identity::password::PasswordVerifier;
use crate::identity::principal::PersonName;
use crate::identity::secret::{Secret, SessionHash, TokenHash};
use crate::store::card;
use crate::store::factors::{CodeTaken, PasskeyUse, find_password, has_totp, take_code, use_passkey};
use crate::store::outbox::{Note, queue};
use crate::store::people::{find_person, find_signed_in, from_names, names, reach_of};
use crate::store::sqlite::{Store, StoreError};
use crate::store::ways_in::others_behind;

/// Sessions of one person; beyond it the one that was used least recently ends.
const PER_PERSON_MAX: i64 = 20;

/// How old "last seen" may be before it is written again: not every call costs a write.
const SEEN_AGAIN: Duration = Duration::from_secs(30);

/// How long a session lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLife {
    /// Without a call.
    pub idle: Duration,
    /// Whatever happens.
    pub whole: Duration,
}

/// What somebody came in by; looked at again in the transaction that makes the session, so that what was ended a moment
/// ago opens none.
#[derive(Clone, Debug)]
pub enum OpenedBy {
    Token(TokenHash),
    /// The verifier is the one that the password was found to be of.
    Password {
        person: PersonName,
        verifier: PasswordVerifier,
    },
    Passkey(PasskeyUse),
}

/// What becomes of a wish to sign in.
#[derive(Clone, Debug)]
pub enum Opening {
    Opened(Box<OpenedSession>),
    /// All is right so far, and a code of the person's authenticator app is missing.
    CodeNeeded,
    WrongCode,
    /// What was given does not count, or no longer.
    Refused,
}

/// Whence somebody signs in, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whence {
    /// An address.
    pub source: std::net::IpAddr,
}

/// A session that was just made.
#[derive(Clone, Debug)]
pub struct OpenedSession {
    /// What the cookie is to hold; shown this once.
    pub cookie: Secret,
    pub signed_in: SignedIn,
    pub session: SessionInfo,
}

/// A session, without its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    pub hash: SessionHash,
    pub assurance: Assurance,
    pub made_at: Timestamp,
    /// When it ends, however busy it is.
    pub ends_at: Timestamp,
}

impl Store {
    /// Makes a session and tells the log so. `code` is one of the person's app or a recovery code, and is taken.
    pub fn session_open(
        &mut self,
        by: &OpenedBy,
        code: Option<&str>,
        whence: &Whence,
        life: SessionLife,
        now: Timestamp,
    ) -> Result<Opening, StoreError> {
        let cookie = Secret::session(rand::random());
        let hash = SessionHash::of(cookie.reveal()).expect("made as a session's secret above");
        self.write(|transaction| {
            let Some((mut signed_in, mut assurance)) = come_in(transaction, by, now)? else {
                return Ok(Opening::Refused);
            };
            let name = signed_in.person.name.clone();
            let taken = code
                .map(|code| take_code(transaction, &name, code, now))
                .transpose()?;
            match taken {
                Some(CodeTaken::Taken { seen_by }) => {
                    signed_in.token_seen_by.extend(seen_by);
                    assurance = Assurance {
                        method: Method::Totp,
                        strong_at: Some(now),
                    };
                }
                Some(CodeTaken::Wrong | CodeTaken::NoTotp) => return Ok(Opening::WrongCode),
                None if assurance.method == Method::Password && has_totp(transaction, &name)? => {
                    return Ok(Opening::CodeNeeded);
                }
                None => {}
            }
            signed_in.token_seen_by = others_behind(transaction, &name, &signed_in.token_seen_by, now)?;
            let session = SessionInfo {
                hash,
                assurance,
                made_at: now,
                ends_at: signed_in
                    .expires_at
                    .map_or(now.after(life.whole), |end| end.min(now.after(life.whole))),
            };
            make_room(transaction, &name, life, now)?;
            insert_session(transaction, &signed_in, &session)?;
            let told = sign_in_note("signed_in", &name, whence, assurance.method);
            queue(transaction, &[told], now)?;
            Ok(Opening::Opened(Box::new(OpenedSession {
                cookie,
                signed_in,
                session,
            })))
        })
    }

    /// A code on top of what the session was opened by: from now on it is as sure as a second factor makes it.
    pub fn session_strengthen(
        &mut self,
        hash: SessionHash,
        person: &PersonName,
        code: &str,
        whence: &Whence,
        now: Timestamp,
    ) -> Result<CodeTaken, StoreError> {
        self.write(|transaction| {
            let taken = take_code(transaction, person, code, now)?;
            if matches!(taken, CodeTaken::Taken { .. }) {
                strengthen(transaction, hash, person, Method::Totp, whence, now)?;
            }
            Ok(taken)
        })
    }

    /// A passkey on top of what the session was opened by; `false` if it no longer counts.
    pub fn session_strengthen_by_passkey(
        &mut self,
        hash: SessionHash,
        used: &PasskeyUse,
        whence: &Whence,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let counts = use_passkey(transaction, used, now)?.is_some();
            if counts {
                strengthen(
                    transaction,
                    hash,
                    &used.before.person,
                    Method::Passkey,
                    whence,
                    now,
                )?;
            }
            Ok(counts)
        })
    }

    /// Who is behind a cookie; `None` for one that is unknown, idle, over or ended. A call keeps its session alive.
    pub fn session(
        &mut self,
        hash: SessionHash,
        life: SessionLife,
        now: Timestamp,
    ) -> Result<Option<(SignedIn, SessionInfo)>, StoreError> {
        let found = self.read(|connection| find_session(connection, hash, life, now))?;
        let Some(found) = found else { return Ok(None) };
        if now.since(found.seen_at) >= SEEN_AGAIN {
            let text = "UPDATE browser_sessions SET seen_at = max(seen_at, ?2) WHERE hash = ?1";
            let seen = self.write(|transaction| {
                transaction.execute(text, params![hash.as_bytes(), now.micros()])?;
                Ok(())
            });
            // A store that takes no writes lets people look all the same; the session only gets idle earlier.
            if let Err(error) = seen {
                tracing::debug!("a session's last call was not noted: {error}");
            }
        }
        Ok(Some((found.signed_in, found.session)))
    }

    /// Signs out: the session ends, and the log is told. Whose it was, if it was there.
    pub fn session_close(
        &mut self,
        hash: SessionHash,
        whence: &Whence,
        now: Timestamp,
    ) -> Result<Option<PersonName>, StoreError> {
        self.write(|transaction| {
            let text = "DELETE FROM browser_sessions WHERE hash = ?1 RETURNING person, method";
            let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            let ended = transaction.query_row(text, [hash.as_bytes()], read).optional()?;
            let Some((person, method)) = ended else {
                return Ok(None);
            };
            let person = card::person(&person)?;
            let method = Method::parse(&method).ok_or_else(|| StoreError::damaged(format!("`{method}`")))?;
            queue(
                transaction,
                &[sign_in_note("signed_out", &person, whence, method)],
                now,
            )?;
            Ok(Some(person))
        })
    }
}

/// Who comes in by it, and how sure that is; `None` if it does not count, or no longer.
fn come_in(
    transaction: &Connection,
    by: &OpenedBy,
    now: Timestamp,
) -> Result<Option<(SignedIn, Assurance)>, StoreError> {
    match by {
        OpenedBy::Token(token) => {
            let found = find_signed_in(transaction, *token, now)?;
            Ok(found.map(|signed_in| (signed_in, Assurance::TOKEN)))
        }
        OpenedBy::Password { person, verifier } => {
            let kept = find_password(transaction, person)?.filter(|kept| kept.verifier == *verifier);
            let found = find_person(transaction, person.as_str())?.filter(|person| person.active);
            let assurance = Assurance {
                method: Method::Password,
                strong_at: None,
            };
            Ok(kept
                .zip(found)
                .map(|(kept, person)| (whole(person, kept.seen_by), assurance)))
        }
        OpenedBy::Passkey(used) => {
            let found = find_person(transaction, used.before.person.as_str())?.filter(|person| person.active);
            let Some(person) = found else {
                return Ok(None);
            };
            let assurance = Assurance {
                method: Method::Passkey,
                strong_at: Some(now),
            };
            let seen_by = use_passkey(transaction, used, now)?;
            Ok(seen_by.map(|seen_by| (whole(person, seen_by), assurance)))
        }
    }
}

/// Somebody who has shown more than a token: all that their roles give.
fn whole(person: Person, seen_by: BTreeSet<PersonName>) -> SignedIn {
    SignedIn {
        scopes: person.scopes(),
        extent: Extent::Whole,
        person,
        token_seen_by: seen_by,
        expires_at: None,
    }
}

fn insert_session(
    transaction: &Connection,
    signed_in: &SignedIn,
    session: &SessionInfo,
) -> Result<(), StoreError> {
    let text = "INSERT INTO browser_sessions
                  (hash, person, scopes, seen_by, method, strong_at, made_at, seen_at, ends_at, token_ends)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9)";
    let person = &signed_in.person;
    let narrowed = match signed_in.extent {
        Extent::Whole => None,
        Extent::Narrowed => Some(words(&signed_in.scopes)),
    };
    let values = params![
        session.hash.as_bytes(),
        person.name.as_str(),
        narrowed.transpose()?,
        names(&signed_in.token_seen_by)?,
        session.assurance.method.as_str(),
        session.assurance.strong_at.map(Timestamp::micros),
        session.made_at.micros(),
        session.ends_at.micros(),
        signed_in.expires_at.map(Timestamp::micros),
    ];
    transaction.execute(text, values)?;
    Ok(())
}

fn strengthen(
    transaction: &Connection,
    hash: SessionHash,
    person: &PersonName,
    method: Method,
    whence: &Whence,
    now: Timestamp,
) -> Result<(), StoreError> {
    let text = "UPDATE browser_sessions SET method = ?3, strong_at = ?4 WHERE hash = ?1 AND person = ?2";
    let values = params![hash.as_bytes(), person.as_str(), method.as_str(), now.micros()];
    transaction.execute(text, values)?;
    queue(
        transaction,
        &[sign_in_note("stepped_up", person, whence, method)],
        now,
    )
}

/// Ends every session of a person.
pub(super) fn end_sessions(transaction: &Connection, person: &PersonName) -> Result<usize, StoreError> {
    let text = "DELETE FROM browser_sessions WHERE person = ?1";
    Ok(transaction.execute(text, [person.as_str()])?)
}

/// Ends every session of somebody but this one, and that one has no second factor behind it any more: what has been taken
/// away may have opened them, or made them surer.
pub(super) fn end_other_sessions(
    transaction: &Connection,
    person: &PersonName,
    kept: Option<SessionHash>,
) -> Result<(), StoreError> {
    let kept = kept.map(|hash| hash.as_bytes().to_vec());
    let text = "DELETE FROM browser_sessions WHERE person = ?1 AND (?2 IS NULL OR hash <> ?2)";
    transaction.execute(text, params![person.as_str(), kept])?;
    let text = "UPDATE browser_sessions SET strong_at = NULL WHERE person = ?1";
    transaction.execute(text, [person.as_str()])?;
    Ok(())
}

struct FoundSession {
    signed_in: SignedIn,
    session: SessionInfo,
    seen_at: Timestamp,
}

fn find_session(
    connection: &Connection,
    hash: SessionHash,
    life: SessionLife,
    now: Timestamp,
) -> Result<Option<FoundSession>, StoreError> {
    let text = "SELECT * FROM browser_sessions WHERE hash = ?1 AND ends_at > ?2 AND seen_at > ?3";
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(params![hash.as_bytes(), now.micros(), idle_since(life, now)])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let name: String = row.get("person")?;
    let Some(person) = find_person(connection, &name)?.filter(|person| person.active) else {
        return Ok(None);
    };
    let narrowed: Option<String> = row.get("scopes")?;
    let (scopes, extent) = reach_of(&person, narrowed.as_deref())?;
    let seen_by: String = row.get("seen_by")?;
    let method: String = row.get("method")?;
    let moment = |column| Ok::<_, StoreError>(Timestamp::from_micros(row.get(column)?));
    let maybe = |column| Ok::<_, StoreError>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
    Ok(Some(FoundSession {
        signed_in: SignedIn {
            person,
            scopes,
            extent,
            token_seen_by: from_names(&seen_by)?,
            expires_at: maybe("token_ends")?,
        },
        session: SessionInfo {
            hash,
            assurance: Assurance {
                method: Method::parse(&method).ok_or_else(|| StoreError::damaged(format!("`{method}`")))?,
                strong_at: maybe("strong_at")?,
            },
            made_at: moment("made_at")?,
            ends_at: moment("ends_at")?,
        },
        seen_at: moment("seen_at")?,
    }))
}

/// Takes away what has ended, and the least used ones of a person who has too many.
fn make_room(
    transaction: &Connection,
    person: &PersonName,
    life: SessionLife,
    now: Timestamp,
) -> Result<(), StoreError> {
    let over = "DELETE FROM browser_sessions WHERE ends_at <= ?1 OR seen_at <= ?2";
    transaction.execute(over, params![now.micros(), idle_since(life, now)])?;
    let too_many = "DELETE FROM browser_sessions WHERE hash IN
                      (SELECT hash FROM browser_sessions WHERE person = ?1
                       ORDER BY seen_at DESC, made_at DESC LIMIT -1 OFFSET ?2)";
    transaction.execute(too_many, params![person.as_str(), PER_PERSON_MAX - 1])?;
    Ok(())
}

/// Sessions that were seen then and not since are over.
fn idle_since(life: SessionLife, now: Timestamp) -> i64 {
    let idle = i64::try_from(life.idle.as_micros()).unwrap_or(i64::MAX);
    now.micros().saturating_sub(idle)
}

fn sign_in_note(event: &str, person: &PersonName, whence: &Whence, method: Method) -> Note {
    Note::SignIn {
        event: event.to_owned(),
        person: person.to_string(),
        source: whence.source,
        method: method.to_string(),
    }
}

fn words(scopes: &Scopes) -> Result<String, StoreError> {
    let words: BTreeSet<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    serde_json::to_string(&words).map_err(StoreError::damaged)
}
