//! Which person an account of a chat is. Never takes anybody's word for it: a code shown to the person has to come from
//! the account. Read `people.rs` for the people.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::identity::directory::Hands;
use crate::identity::principal::PersonName;
use crate::store::card;
use crate::store::outbox::{Note, queue};
use crate::store::people::{from_names, names};
use crate::store::sqlite::{Store, StoreError};

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
        let seen_by = names(&hands.token_seen_by)?;
        self.write(|transaction| {
            transaction.execute("DELETE FROM link_codes WHERE expires_at <= ?1", [now.micros()])?;
            transaction.execute(
                "INSERT INTO link_codes (hash, person, seen_by, expires_at) VALUES (?1, ?2, ?3, ?4)",
                params![hash(code), hands.person.as_str(), seen_by, expires_at.micros()],
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

fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.trim().to_ascii_uppercase()).into()
}
