//! Which person an account of a chat is. Never takes anybody's word for it: a code shown to the person has to come from
//! the account. Read `people.rs` for the people.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::identity::directory::Hands;
use crate::identity::principal::PersonName;
use crate::store::card;
use crate::store::outbox::{Note, queue};
use crate::store::people::{from_names, names};
use crate::store::sqlite::{Store, StoreError};
use crate::store::ways_in::others_behind;

/// Codes that one person has waiting; a further one ends the oldest.
const CODES_MAX: i64 = 5;

/// Accounts of one person: more than anybody speaks by. A further one ends the link that is oldest.
const LINKS_MAX: i64 = 20;

/// An account of a person's, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Follows from channel and account.
    pub id: String,
    pub channel: String,
    pub account: String,
    /// Who else may be behind it.
    pub seen_by: BTreeSet<PersonName>,
    pub linked_at: Timestamp,
}

/// Which of a person's links end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    All,
    /// The one of this id.
    One(&'a str),
}

/// Who speaks by an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub person: PersonName,
    /// Who else may be behind it.
    pub seen_by: BTreeSet<PersonName>,
}

impl Store {
    /// Keeps a code that links an account to its person once, until it expires. Codes that have expired go.
    pub fn keep_link_code(
        &mut self,
        code: &str,
        hands: &Hands,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let seen_by = others_behind(transaction, &hands.person, &hands.token_seen_by, now)?;
            transaction.execute("DELETE FROM link_codes WHERE expires_at <= ?1", [now.micros()])?;
            let too_many = "DELETE FROM link_codes WHERE hash IN
                              (SELECT hash FROM link_codes WHERE person = ?1
                               ORDER BY expires_at DESC LIMIT -1 OFFSET ?2)";
            transaction.execute(too_many, params![hands.person.as_str(), CODES_MAX - 1])?;
            transaction.execute(
                "INSERT INTO link_codes (hash, person, seen_by, expires_at) VALUES (?1, ?2, ?3, ?4)",
                params![
                    hash(code),
                    hands.person.as_str(),
                    names(&seen_by)?,
                    expires_at.micros()
                ],
            )?;
            Ok(())
        })
    }

    /// Links the account that has sent a code to the code's person, and says who that is; `None`: no such code.
    pub fn link_account(
        &mut self,
        channel: &str,
        account: &str,
        code: &str,
        now: Timestamp,
    ) -> Result<Option<PersonName>, StoreError> {
        self.write(|transaction| {
            let found: Option<(String, String)> = transaction
                .query_row(
                    "DELETE FROM link_codes WHERE hash = ?1 AND expires_at > ?2 RETURNING person, seen_by",
                    params![hash(code), now.micros()],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((person, seen_by)) = found else {
                return Ok(None);
            };
            transaction.execute(
                "INSERT INTO channel_links (channel, account, person, seen_by, linked_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (channel, account) DO UPDATE SET person = ?3, seen_by = ?4, linked_at = ?5",
                params![channel, account, person, seen_by, now.micros()],
            )?;
            let too_many = "DELETE FROM channel_links WHERE person = ?1 AND (channel, account) IN
                              (SELECT channel, account FROM channel_links WHERE person = ?1
                               ORDER BY linked_at DESC, rowid DESC LIMIT -1 OFFSET ?2)";
            transaction.execute(too_many, params![person, LINKS_MAX])?;
            let note = Note::People {
                what: "account_linked".to_owned(),
                name: person.clone(),
                by: format!("{channel}:{account}"),
                detail: String::new(),
            };
            queue(transaction, &[note], now)?;
            card::person(&person).map(Some)
        })
    }

    pub fn link(&mut self, channel: &str, account: &str) -> Result<Option<Link>, StoreError> {
        self.read(|connection| {
            let found: Option<(String, String)> = connection
                .query_row(
                    "SELECT person, seen_by FROM channel_links WHERE channel = ?1 AND account = ?2",
                    [channel, account],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let link = |(person, seen_by): (String, String)| {
                Ok(Link {
                    person: card::person(&person)?,
                    seen_by: from_names(&seen_by)?,
                })
            };
            found.map(link).transpose()
        })
    }
}

impl Store {
    /// A person's accounts, oldest first.
    pub fn links_of(&mut self, person: &PersonName) -> Result<Vec<LinkInfo>, StoreError> {
        self.read(|connection| find_links(connection, person))
    }

    /// These accounts speak for the person no longer, and each end is told; how many there were.
    pub fn unlink(
        &mut self,
        person: &PersonName,
        which: Which<'_>,
        by: &PersonName,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.write(|transaction| {
            if which == Which::All {
                forget_codes(transaction, person)?;
            }
            end_links(transaction, person, which, by, now)
        })
    }
}

/// Ends every link of somebody and every code that would make one: what they were made by counts no longer.
pub(super) fn forget_links(
    transaction: &Connection,
    person: &PersonName,
    by: &PersonName,
    now: Timestamp,
) -> Result<(), StoreError> {
    forget_codes(transaction, person)?;
    end_links(transaction, person, Which::All, by, now).map(drop)
}

fn forget_codes(transaction: &Connection, person: &PersonName) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM link_codes WHERE person = ?1", [person.as_str()])?;
    Ok(())
}

fn end_links(
    transaction: &Connection,
    person: &PersonName,
    which: Which<'_>,
    by: &PersonName,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut ended = find_links(transaction, person)?;
    ended.retain(|link| match which {
        Which::All => true,
        Which::One(id) => link.id == id,
    });
    for link in &ended {
        let text = "DELETE FROM channel_links WHERE channel = ?1 AND account = ?2";
        transaction.execute(text, [&link.channel, &link.account])?;
        let note = Note::People {
            what: "account_unlinked".to_owned(),
            name: person.to_string(),
            by: by.to_string(),
            detail: format!("{}:{}", link.channel, link.account),
        };
        queue(transaction, &[note], now)?;
    }
    Ok(ended.len())
}

fn find_links(connection: &Connection, person: &PersonName) -> Result<Vec<LinkInfo>, StoreError> {
    let text = "SELECT channel, account, seen_by, linked_at FROM channel_links WHERE person = ?1
                ORDER BY linked_at, rowid";
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query([person.as_str()])?;
    let mut links = Vec::new();
    while let Some(row) = rows.next()? {
        let (channel, account, seen_by): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        links.push(LinkInfo {
            id: id_of(&channel, &account),
            seen_by: from_names(&seen_by)?,
            linked_at: Timestamp::from_micros(row.get(3)?),
            channel,
            account,
        });
    }
    Ok(links)
}

/// What a call names a link by: an account's own name may be any text.
fn id_of(channel: &str, account: &str) -> String {
    let mut digest = Sha256::new_with_prefix((channel.len() as u64).to_be_bytes());
    digest.update(channel);
    digest.update(account);
    let id = digest.finalize();
    id[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.trim().to_ascii_uppercase()).into()
}
