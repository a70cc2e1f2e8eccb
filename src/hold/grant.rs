//! What is compared before an approved statement runs, or its very bytes redeem the state `grant` of their request.
//! Never looks at a clock: deadlines are compared by `desk/expiry.rs`. Grants for other literals: `standing.rs`.

use crate::hold::{Digest, HeldRequest};

/// What a client presents when it re-attaches, starts an approved run or redeems a grant.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    pub digest: Digest,
    /// Identity of the names that the statement resolves to now.
    pub names: &'a str,
    /// Generation of the rules in force now.
    pub rules: [u8; 32],
}

/// What is no longer as it was when the request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Changed {
    #[error("the statement, its parameters or its session differ from what was shown")]
    Digest,
    #[error("a name in it means another object now")]
    Names,
    #[error("the rules have changed since")]
    Rules,
}

/// Whether what is presented is what the reviewer was shown.
pub fn compare(held: &HeldRequest, presented: Presented<'_>) -> Result<(), Changed> {
    if held.digest != presented.digest {
        Err(Changed::Digest)
    } else if held.names != presented.names {
        Err(Changed::Names)
    } else if held.rules != presented.rules {
        Err(Changed::Rules)
    } else {
        Ok(())
    }
}
