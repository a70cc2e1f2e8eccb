//! Passwords, one-time codes and passkeys of people, each with who else may know it. What counts once is taken in the
//! transaction that uses it.
//! Never keeps a password or a recovery code: only verifiers and hashes. Read `sessions.rs` for what they open.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::clock::Timestamp;
use crate::identity::behind::ChangedBy;
use crate::identity::one_time::{RECOVERY_CODES, RecoveryCode, RecoveryHash, TotpSecret};
use crate::identity::password::PasswordVerifier;
use crate::identity::principal::PersonName;
use crate::identity::secret::{LinkHash, Secret, SessionHash};
use crate::store::links::forget_links;
use crate::store::people::{Issued, PeopleError, find_person, from_names, names, note};
use crate::store::sessions::{end_other_sessions, end_sessions};
use crate::store::sqlite::{Store, StoreError};
use crate::store::ways_in::{everybody_behind, forget_ways_in, others_behind, remember_way_in};

/// A link to set a password is handed over and used the same day.
pub const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Passkeys of one person: more than anybody carries.
pub const PASSKEYS_MAX: i64 = 20;

/// A person's password, as it is kept.
#[derive(Clone, Debug)]
pub struct KeptPassword {
    pub verifier: PasswordVerifier,
    /// Who else may know it.
    pub seen_by: BTreeSet<PersonName>,
}

/// What a person can show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Factors {
    pub has_password: bool,
    pub has_totp: bool,
    pub recovery_codes: u32,
    pub passkeys: Vec<PasskeyInfo>,
    /// Since when there is a second factor, if there is one.
    pub second_since: Option<Timestamp>,
}

/// A passkey, as its owner sees it in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasskeyInfo {
    pub id: Vec<u8>,
    pub name: String,
    pub made_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

/// A passkey, as it is checked.
#[derive(Clone, Debug)]
pub struct KeptPasskey {
    pub id: Vec<u8>,
    pub person: PersonName,
    /// Public key and counter, as JSON.
    pub credential: String,
}

/// A passkey that has answered: as it was when it was asked, and as it is kept from now on.
#[derive(Clone, Debug)]
pub struct PasskeyUse {
    pub before: KeptPasskey,
    pub after: String,
}

/// What becomes of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeTaken {
    /// The person has no authenticator app.
    NoTotp,
    /// It is not one, or was taken before.
    Wrong,
    Taken {
        seen_by: BTreeSet<PersonName>,
    },
}

impl Factors {
    /// Whether there is something besides what is known by heart or kept in a file.
    pub fn has_second(&self) -> bool {
        self.has_totp || !self.passkeys.is_empty()
    }
}

impl Store {
    /// `None` for whoever is unknown, not active, or has none.
    pub fn password(&mut self, person: &PersonName) -> Result<Option<KeptPassword>, StoreError> {
        self.read(|connection| match find_person(connection, person.as_str())? {
            Some(found) if found.active => find_password(connection, person),
            Some(_) | None => Ok(None),
        })
    }

    /// Sets a password that `seen_by` have seen as well, on the machine of the store. Every session of the person ends, no
    /// account of a chat speaks for them any longer, and whoever has set how they sign in counts for it no longer.
    pub fn password_set(
        &mut self,
        person: &PersonName,
        verifier: &PasswordVerifier,
        seen_by: &BTreeSet<PersonName>,
        by: &PersonName,
        now: Timestamp,
    ) -> Result<(), PeopleError> {
        let is_known = self.write(|transaction| {
            let is_known = find_person(transaction, person.as_str())?.is_some();
            if is_known {
                forget_ways_in(transaction, person)?;
                keep_password(transaction, person, verifier, seen_by, by, now)?;
            }
            Ok(is_known)
        })?;
        is_known
            .then_some(())
            .ok_or_else(|| PeopleError::Unknown(person.to_string()))
    }

    /// Puts another password in the place of `old`, unless that is no longer the one. Whoever may know the old one may be
    /// the one who sets the new one.
    pub fn password_change(
        &mut self,
        person: &PersonName,
        old: Option<&PasswordVerifier>,
        new: &PasswordVerifier,
        seen_by: &BTreeSet<PersonName>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let kept = find_password(transaction, person)?;
            if kept.as_ref().map(|kept| &kept.verifier) != old {
                return Ok(false);
            }
            let seen_by = kept
                .into_iter()
                .flat_map(|kept| kept.seen_by)
                .chain(seen_by.iter().cloned())
                .collect();
            let seen_by = others_behind(transaction, person, &seen_by, now)?;
            keep_password(transaction, person, new, &seen_by, person, now)?;
            Ok(true)
        })
    }

    /// A one-time code with which somebody sets their password; it ends what was made before. Whoever may be behind the
    /// call counts as one who has seen it; nobody where it is made on the machine of the store.
    pub fn password_link(
        &mut self,
        person: &PersonName,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<Issued, PeopleError> {
        let by = by.into();
        let link = Secret::link(rand::random());
        let hash = LinkHash::of(link.reveal()).expect("made as a link above");
        let made = self.write(|transaction| {
            if find_person(transaction, person.as_str())?.is_none() {
                return Ok(None);
            }
            let mut seen_by = everybody_behind(transaction, &by.hands(), now)?;
            seen_by.remove(person);
            transaction.execute("DELETE FROM password_links WHERE person = ?1", [person.as_str()])?;
            let text = "INSERT INTO password_links (hash, person, seen_by, ends_at) VALUES (?1, ?2, ?3, ?4)";
            let ends_at = now.after(LINK_LIFE).micros();
            transaction.execute(
                text,
                params![hash.as_bytes(), person.as_str(), names(&seen_by)?, ends_at],
            )?;
            remember_way_in(transaction, person, &seen_by, now)?;
            note(
                transaction,
                "password_link_made",
                person.as_str(),
                by.person(),
                now,
            )?;
            Ok(Some(seen_by))
        })?;
        made.map(|seen_by| Issued {
            secret: link,
            seen_by,
        })
        .ok_or_else(|| PeopleError::Unknown(person.to_string()))
    }

    /// Sets the password of the person whose link it is; `None` if it is unknown, over or used. One that nobody else has
    /// seen was made on the machine of the store: whoever has set how the person signs in counts for it no longer.
    pub fn password_by_link(
        &mut self,
        link: LinkHash,
        verifier: &PasswordVerifier,
        now: Timestamp,
    ) -> Result<Option<PersonName>, StoreError> {
        self.write(|transaction| {
            let text = "SELECT person, seen_by FROM password_links WHERE hash = ?1 AND ends_at > ?2";
            let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            let found = transaction
                .query_row(text, params![link.as_bytes(), now.micros()], read)
                .optional()?;
            let Some((name, seen_by)) = found else {
                return Ok(None);
            };
            let Some(person) = find_person(transaction, &name)?.filter(|person| person.active) else {
                return Ok(None);
            };
            let seen_by = from_names(&seen_by)?;
            if seen_by.is_empty() {
                forget_ways_in(transaction, &person.name)?;
            }
            keep_password(transaction, &person.name, verifier, &seen_by, &person.name, now)?;
            Ok(Some(person.name))
        })
    }

    /// Whether such a link is good, before a password is hashed for it.
    pub fn has_password_link(&mut self, link: LinkHash, now: Timestamp) -> Result<bool, StoreError> {
        self.read(|connection| {
            let text = "SELECT count(*) FROM password_links WHERE hash = ?1 AND ends_at > ?2";
            let count: i64 =
                connection.query_row(text, params![link.as_bytes(), now.micros()], |row| row.get(0))?;
            Ok(count > 0)
        })
    }

    pub fn factors(&mut self, person: &PersonName) -> Result<Factors, StoreError> {
        self.read(|connection| find_factors(connection, person))
    }

    /// A new secret for an authenticator app, which counts once a code of it was given.
    pub fn totp_begin(
        &mut self,
        person: &PersonName,
        seen_by: &BTreeSet<PersonName>,
        now: Timestamp,
    ) -> Result<TotpSecret, PeopleError> {
        let secret = TotpSecret::new(rand::random());
        let is_free = self.write(|transaction| {
            let seen_by = others_behind(transaction, person, seen_by, now)?;
            let text = "INSERT INTO totp (person, secret, confirmed, last_step, seen_by, made_at)
                        VALUES (?1, ?2, 0, 0, ?3, ?4)
                        ON CONFLICT (person) DO UPDATE SET
                          secret = excluded.secret, seen_by = excluded.seen_by, made_at = excluded.made_at
                        WHERE confirmed = 0";
            let values = params![person.as_str(), secret.as_bytes(), names(&seen_by)?, now.micros()];
            Ok(transaction.execute(text, values)? > 0)
        })?;
        is_free
            .then_some(secret)
            .ok_or_else(|| PeopleError::Exists("authenticator app".to_owned()))
    }

    /// The app gives codes: it counts from now on. Gives the recovery codes, which are shown this once; `None` if the
    /// code is wrong, or there is nothing to confirm.
    pub fn totp_confirm(
        &mut self,
        person: &PersonName,
        code: &str,
        now: Timestamp,
    ) -> Result<Option<Vec<RecoveryCode>>, StoreError> {
        let codes: Vec<_> = (0..RECOVERY_CODES)
            .map(|_| RecoveryCode::new(rand::random()))
            .collect();
        let is_confirmed = self.write(|transaction| {
            let Some(totp) = find_totp(transaction, person)?.filter(|totp| !totp.is_confirmed) else {
                return Ok(false);
            };
            let Some(step) = totp.secret.step_of(code, totp.last_step, now) else {
                return Ok(false);
            };
            let text = "UPDATE totp SET confirmed = 1, last_step = ?2, made_at = ?3 WHERE person = ?1";
            transaction.execute(text, params![person.as_str(), stored_step(step), now.micros()])?;
            forget_recovery(transaction, person)?;
            for code in &codes {
                let text = "INSERT INTO recovery_codes (person, hash) VALUES (?1, ?2)";
                transaction.execute(text, params![person.as_str(), code.hash().as_bytes()])?;
            }
            remember_way_in(transaction, person, &totp.seen_by, now)?;
            note(transaction, "totp_enrolled", person.as_str(), person, now)?;
            Ok(true)
        })?;
        Ok(is_confirmed.then_some(codes))
    }

    /// The authenticator app counts no longer, nor do its recovery codes, nor any session but `kept`. Whether there was
    /// one.
    pub fn totp_remove(
        &mut self,
        person: &PersonName,
        by: &PersonName,
        kept: Option<SessionHash>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let text = "DELETE FROM totp WHERE person = ?1 RETURNING confirmed";
            let confirmed: Option<bool> = transaction
                .query_row(text, [person.as_str()], |row| row.get(0))
                .optional()?;
            forget_recovery(transaction, person)?;
            if confirmed == Some(true) {
                end_other_sessions(transaction, person, kept)?;
                note(transaction, "totp_removed", person.as_str(), by, now)?;
            }
            Ok(confirmed == Some(true))
        })
    }

    pub fn passkeys(&mut self, person: &PersonName) -> Result<Vec<KeptPasskey>, StoreError> {
        self.read(|connection| {
            if !find_person(connection, person.as_str())?.is_some_and(|person| person.active) {
                return Ok(Vec::new());
            }
            let text = "SELECT id, credential FROM passkeys WHERE person = ?1 ORDER BY made_at";
            let mut statement = connection.prepare_cached(text)?;
            let kept = statement.query_map([person.as_str()], |row| {
                Ok(KeptPasskey {
                    id: row.get(0)?,
                    person: person.clone(),
                    credential: row.get(1)?,
                })
            })?;
            Ok(kept.collect::<Result<_, _>>()?)
        })
    }

    /// Whose it is; `None` for one that is unknown, or whose person is not active.
    pub fn passkey(&mut self, id: &[u8]) -> Result<Option<KeptPasskey>, StoreError> {
        self.read(|connection| {
            let text = "SELECT person, credential FROM passkeys WHERE id = ?1";
            let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            let Some((name, credential)) = connection.query_row(text, [id], read).optional()? else {
                return Ok(None);
            };
            let person = find_person(connection, &name)?.filter(|person| person.active);
            Ok(person.map(|person| KeptPasskey {
                id: id.to_vec(),
                person: person.name,
                credential,
            }))
        })
    }

    /// `false` if it is somebody's already, or the person has too many.
    pub fn passkey_add(
        &mut self,
        passkey: &KeptPasskey,
        name: &str,
        seen_by: &BTreeSet<PersonName>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let person = passkey.person.as_str();
            let count = "SELECT count(*) FROM passkeys WHERE person = ?1";
            let count: i64 = transaction.query_row(count, [person], |row| row.get(0))?;
            if count >= PASSKEYS_MAX {
                return Ok(false);
            }
            let seen_by = others_behind(transaction, &passkey.person, seen_by, now)?;
            let text = "INSERT INTO passkeys (id, person, name, credential, seen_by, made_at)
                        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING";
            let values = params![
                passkey.id,
                person,
                name,
                passkey.credential,
                names(&seen_by)?,
                now.micros()
            ];
            let is_new = transaction.execute(text, values)? > 0;
            if is_new {
                remember_way_in(transaction, &passkey.person, &seen_by, now)?;
                note(transaction, "passkey_added", person, &passkey.person, now)?;
            }
            Ok(is_new)
        })
    }

    /// It counts no longer, nor does any session but `kept`. Whether it was there.
    pub fn passkey_remove(
        &mut self,
        person: &PersonName,
        id: &[u8],
        kept: Option<SessionHash>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let text = "DELETE FROM passkeys WHERE person = ?1 AND id = ?2";
            let was_there = transaction.execute(text, params![person.as_str(), id])? > 0;
            if was_there {
                end_other_sessions(transaction, person, kept)?;
                note(transaction, "passkey_removed", person.as_str(), person, now)?;
            }
            Ok(was_there)
        })
    }

    /// For somebody who has lost them all: their app, recovery codes and passkeys count no longer, and their sessions
    /// end.
    pub fn factors_forget(
        &mut self,
        person: &PersonName,
        by: impl Into<ChangedBy>,
        now: Timestamp,
    ) -> Result<(), PeopleError> {
        let by = by.into();
        let is_known = self.write(|transaction| {
            if find_person(transaction, person.as_str())?.is_none() {
                return Ok(false);
            }
            for text in [
                "DELETE FROM totp WHERE person = ?1",
                "DELETE FROM recovery_codes WHERE person = ?1",
                "DELETE FROM passkeys WHERE person = ?1",
            ] {
                transaction.execute(text, [person.as_str()])?;
            }
            end_sessions(transaction, person)?;
            forget_links(transaction, person, by.person(), now)?;
            remember_way_in(transaction, person, &by.hands(), now)?;
            note(
                transaction,
                "second_factors_forgotten",
                person.as_str(),
                by.person(),
                now,
            )?;
            Ok(true)
        })?;
        is_known
            .then_some(())
            .ok_or_else(|| PeopleError::Unknown(person.to_string()))
    }

    /// Takes a code of a person: of their app, or one of their recovery codes.
    pub fn code_take(
        &mut self,
        person: &PersonName,
        code: &str,
        now: Timestamp,
    ) -> Result<CodeTaken, StoreError> {
        self.write(|transaction| take_code(transaction, person, code, now))
    }
}

/// Takes a code in the transaction that uses it: none counts twice.
pub(super) fn take_code(
    transaction: &Connection,
    person: &PersonName,
    code: &str,
    now: Timestamp,
) -> Result<CodeTaken, StoreError> {
    let Some(totp) = find_totp(transaction, person)?.filter(|totp| totp.is_confirmed) else {
        return Ok(CodeTaken::NoTotp);
    };
    let taken = CodeTaken::Taken {
        seen_by: totp.seen_by,
    };
    if let Some(step) = totp.secret.step_of(code, totp.last_step, now) {
        let text = "UPDATE totp SET last_step = ?2 WHERE person = ?1";
        transaction.execute(text, params![person.as_str(), stored_step(step)])?;
        return Ok(taken);
    }
    let Some(hash) = RecoveryHash::of(code) else {
        return Ok(CodeTaken::Wrong);
    };
    let text = "DELETE FROM recovery_codes WHERE person = ?1 AND hash = ?2";
    if transaction.execute(text, params![person.as_str(), hash.as_bytes()])? == 0 {
        return Ok(CodeTaken::Wrong);
    }
    note(transaction, "recovery_code_used", person.as_str(), person, now)?;
    Ok(taken)
}

/// Keeps what an answer has changed, unless the passkey has changed since it was asked; gives who else may have it.
pub(super) fn use_passkey(
    transaction: &Connection,
    used: &PasskeyUse,
    now: Timestamp,
) -> Result<Option<BTreeSet<PersonName>>, StoreError> {
    let text =
        "UPDATE passkeys SET credential = ?4, used_at = ?5 WHERE id = ?1 AND person = ?2 AND credential = ?3
                RETURNING seen_by";
    let before = &used.before;
    let values = params![
        before.id,
        before.person.as_str(),
        before.credential,
        used.after,
        now.micros()
    ];
    let seen_by: Option<String> = transaction.query_row(text, values, |row| row.get(0)).optional()?;
    seen_by.as_deref().map(from_names).transpose()
}

struct KeptTotp {
    secret: TotpSecret,
    is_confirmed: bool,
    last_step: u64,
    seen_by: BTreeSet<PersonName>,
}

fn find_totp(connection: &Connection, person: &PersonName) -> Result<Option<KeptTotp>, StoreError> {
    type Found = ([u8; 20], bool, i64, String);
    let text = "SELECT secret, confirmed, last_step, seen_by FROM totp WHERE person = ?1";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let found: Option<Found> = connection.query_row(text, [person.as_str()], read).optional()?;
    found
        .map(|(secret, is_confirmed, last_step, seen_by)| {
            Ok(KeptTotp {
                secret: TotpSecret::new(secret),
                is_confirmed,
                last_step: u64::try_from(last_step).unwrap_or(u64::MAX),
                seen_by: from_names(&seen_by)?,
            })
        })
        .transpose()
}

/// Steps are half minutes since 1970.
fn stored_step(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}

pub(super) fn has_totp(connection: &Connection, person: &PersonName) -> Result<bool, StoreError> {
    Ok(find_totp(connection, person)?.is_some_and(|totp| totp.is_confirmed))
}

pub(super) fn find_password(
    connection: &Connection,
    person: &PersonName,
) -> Result<Option<KeptPassword>, StoreError> {
    let text = "SELECT verifier, seen_by FROM passwords WHERE person = ?1";
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let found = connection.query_row(text, [person.as_str()], read).optional()?;
    found
        .map(|(verifier, seen_by)| {
            let damaged = || StoreError::damaged(format!("the password of `{person}`"));
            Ok(KeptPassword {
                verifier: PasswordVerifier::parse(&verifier).ok_or_else(damaged)?,
                seen_by: from_names(&seen_by)?,
            })
        })
        .transpose()
}

fn keep_password(
    transaction: &Connection,
    person: &PersonName,
    verifier: &PasswordVerifier,
    seen_by: &BTreeSet<PersonName>,
    by: &PersonName,
    now: Timestamp,
) -> Result<(), StoreError> {
    let text = "INSERT INTO passwords (person, verifier, seen_by, set_at) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (person) DO UPDATE SET
                  verifier = excluded.verifier, seen_by = excluded.seen_by, set_at = excluded.set_at";
    let values = params![
        person.as_str(),
        verifier.to_string(),
        names(seen_by)?,
        now.micros()
    ];
    transaction.execute(text, values)?;
    transaction.execute("DELETE FROM password_links WHERE person = ?1", [person.as_str()])?;
    end_sessions(transaction, person)?;
    forget_links(transaction, person, by, now)?;
    remember_way_in(transaction, person, seen_by, now)?;
    note(transaction, "password_set", person.as_str(), by, now)
}

fn forget_recovery(transaction: &Connection, person: &PersonName) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM recovery_codes WHERE person = ?1", [person.as_str()])?;
    Ok(())
}

fn find_factors(connection: &Connection, person: &PersonName) -> Result<Factors, StoreError> {
    let count = "SELECT count(*) FROM recovery_codes WHERE person = ?1";
    let mut statement = connection.prepare_cached(
        "SELECT id, name, made_at, used_at FROM passkeys WHERE person = ?1 ORDER BY made_at",
    )?;
    let passkeys = statement.query_map([person.as_str()], |row| {
        Ok(PasskeyInfo {
            id: row.get(0)?,
            name: row.get(1)?,
            made_at: Timestamp::from_micros(row.get(2)?),
            used_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
        })
    })?;
    let passkeys: Vec<PasskeyInfo> = passkeys.collect::<Result<_, _>>()?;
    let totp = "SELECT made_at FROM totp WHERE person = ?1 AND confirmed = 1";
    let totp: Option<i64> = connection
        .query_row(totp, [person.as_str()], |row| row.get(0))
        .optional()?;
    let totp = totp.map(Timestamp::from_micros);
    let oldest = passkeys.iter().map(|passkey| passkey.made_at).chain(totp).min();
    Ok(Factors {
        has_password: find_password(connection, person)?.is_some(),
        has_totp: totp.is_some(),
        recovery_codes: connection.query_row(count, [person.as_str()], |row| row.get(0))?,
        passkeys,
        second_since: oldest,
    })
}
