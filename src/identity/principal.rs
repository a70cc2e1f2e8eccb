//! Names and ids of those who speak, and a principal on a connection. Never a secret: those are in `secret.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// The name of a principal: an agent's (1 to 63 bytes of `a-z 0-9 _ - .`), or `db:` and a user of the database who logs
/// in with its own password (1 to 63 bytes of `A-Z a-z 0-9 _ - . @`). No agent can be called like such a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalName(String);

/// The name of a person. Same letters, plus `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PersonName(String);

/// One client connection. Random, so that ids of two runs never meet. Shown as 13 Crockford base-32 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// One statement of one session; joins an attempt to its result. Shown as `SESSION-number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    pub session: SessionId,
    pub number: u64,
}

/// How a principal's clients behave while a statement is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Waits long, gets notices.
    Standard,
    /// Behind a Model Context Protocol server: waits 25 s, gets no notices.
    Mcp,
}

/// A principal on a connection: what the credential says, never what the client claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub principal: PrincipalName,
    pub owner: PersonName,
    pub profile: Profile,
    pub labels: BTreeMap<String, String>,
    pub session: SessionId,
    pub source: IpAddr,
    /// Name of the upstream in the settings.
    pub upstream: String,
    pub database: String,
    /// The database user that the agent maps to.
    pub database_user: String,
}

/// What stands before the user of the database in the name of such a principal.
const OF_DATABASE: &str = "db:";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a name: write 1 to 63 of a-z 0-9 _ - . @")]
pub struct NotAName(String);

impl PrincipalName {
    /// The name of an agent.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        check(text, |byte| byte != b'@').map(|()| Self(text.to_owned()))
    }

    /// The principal that a user of the database is.
    pub fn of_database_user(user: &str) -> Result<Self, NotAName> {
        check(&user.to_ascii_lowercase(), |_| true)
            .map(|()| Self(format!("{OF_DATABASE}{user}")))
            .map_err(|_| NotAName(user.to_owned()))
    }

    /// Reads what `Display` writes, of either kind.
    pub fn parse_any(text: &str) -> Result<Self, NotAName> {
        match text.strip_prefix(OF_DATABASE) {
            Some(user) => Self::of_database_user(user),
            None => Self::parse(text),
        }
    }

    /// The user of the database that it is, if it is no agent.
    pub fn database_user(&self) -> Option<&str> {
        self.0.strip_prefix(OF_DATABASE)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PersonName {
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        check(text, |_| true).map(|()| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str, also: impl Fn(u8) -> bool) -> Result<(), NotAName> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.@".contains(&byte);
    if (1..=63).contains(&text.len()) && text.bytes().all(|byte| letter(byte) && also(byte)) {
        Ok(())
    } else {
        Err(NotAName(text.to_owned()))
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Crockford's base 32: no I, L, O, U, so that a code survives a telephone call.
pub const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..13).rev().try_for_each(|place| {
            let digit = (self.0 >> (place * 5)) & 31;
            write!(f, "{}", CROCKFORD[digit as usize] as char)
        })
    }
}

impl SessionId {
    /// Reads what `Display` writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 13 {
            return None;
        }
        text.bytes()
            .try_fold(0u64, |sum, byte| {
                let digit = CROCKFORD.iter().position(|known| *known == byte)? as u64;
                sum.checked_mul(32)?.checked_add(digit)
            })
            .map(Self)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.session, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_agent_is_called_like_a_user_of_the_database() {
        let user = PrincipalName::of_database_user("Carol_1").expect("a name");
        assert_eq!(
            (user.as_str(), user.database_user()),
            ("db:Carol_1", Some("Carol_1"))
        );
        assert!(PrincipalName::parse("db:Carol_1").is_err() && PrincipalName::parse("db:carol").is_err());
        assert_eq!(PrincipalName::parse_any("db:Carol_1"), Ok(user));
        let agent = PrincipalName::parse("carol").expect("a name");
        assert_eq!(agent.database_user(), None);
        assert_eq!(PrincipalName::parse_any("carol"), Ok(agent));
        for user in ["", "a b", "a:b", "é", "a\nb", &"x".repeat(64)] {
            assert!(PrincipalName::of_database_user(user).is_err(), "{user}");
        }
        assert!(PrincipalName::parse_any("DB:carol").is_err());
    }
}
