//! Accounts of chats and the people behind them. Never decides: an answer goes the way of every other decision.
//! Read `../notify/answer.rs` for who asks.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::desk::thread::Desk;
use crate::desk::{DeskError, ManageError};
use crate::identity::directory::Hands;
use crate::identity::principal::{CROCKFORD, PersonName};
use crate::store::Which;
pub use crate::store::{Link, LinkInfo};

/// How long a code that links an account is good.
pub const LINK_CODE_LIFE: Duration = Duration::from_secs(600);
/// Letters of such a code: 50 bits, used once, within minutes.
const LINK_CODE_LETTERS: usize = 10;

impl Desk {
    /// A code for these hands' person, shown this once: the account that sends it is theirs.
    pub async fn link_code(&self, hands: Hands) -> Result<(String, Timestamp), DeskError> {
        let letter = |byte: u8| char::from(CROCKFORD[usize::from(byte & 31)]);
        let code: String = rand::random::<[u8; LINK_CODE_LETTERS]>()
            .map(letter)
            .iter()
            .collect();
        let kept = code.clone();
        let until = self
            .read(move |store, now| {
                let until = now.after(LINK_CODE_LIFE);
                store.keep_link_code(&kept, &hands, until, now)?;
                Ok(until)
            })
            .await?;
        Ok((code, until))
    }

    /// Whose the account is now; `None`: the code is not good.
    pub async fn link_account(
        &self,
        channel: &str,
        account: &str,
        code: &str,
    ) -> Result<Option<PersonName>, DeskError> {
        let (channel, account, code) = (channel.to_owned(), account.to_owned(), code.to_owned());
        self.read(move |store, now| store.link_account(&channel, &account, &code, now))
            .await
    }

    /// A person's accounts, oldest first.
    pub async fn links(&self, person: PersonName) -> Result<Vec<LinkInfo>, DeskError> {
        self.read(move |store, _| store.links_of(&person)).await
    }

    /// The account of this id, or every account if there is none, speaks for the person no longer; how many did.
    pub async fn unlink(
        &self,
        person: PersonName,
        id: Option<String>,
        by: PersonName,
    ) -> Result<usize, ManageError> {
        self.manage(move |store, now| {
            let which = id.as_deref().map_or(Which::All, Which::One);
            Ok(store.unlink(&person, which, &by, now)?)
        })
        .await
    }

    pub async fn channel_link(&self, channel: &str, account: &str) -> Result<Option<Link>, DeskError> {
        let (channel, account) = (channel.to_owned(), account.to_owned());
        self.read(move |store, _| store.link(&channel, &account)).await
    }
}
