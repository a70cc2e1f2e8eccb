//! The sample database `shop` on a scratch server, and the role that owns it.
//!
//! Never makes that role a superuser: agents are mapped to it. Read `shop.sql` for what is in it.

use super::postgres::{SUPERUSER, ScratchError, ScratchServer, random_word};

/// The sample database.
pub const DATABASE: &str = "shop";

/// A table that nothing refers to, for a DROP that can be approved without regret.
pub const DOOMED_TABLE: &str = "orders_import_2023";

/// The role that owns everything in it.
pub const OWNER: &str = "shop_owner";

const SCRIPT: &str = include_str!("shop.sql");

/// Where the sample database is, past the proxy, as its owner.
#[derive(Debug, Clone)]
pub struct Shop {
    pub owner_password: String,
    pub owner_url: String,
}

impl Shop {
    /// Makes role, database and sample data. Takes about two seconds.
    pub fn open(server: &ScratchServer) -> Result<Self, ScratchError> {
        let owner_password = random_word(24);
        let role = format!("CREATE ROLE {OWNER} LOGIN PASSWORD '{owner_password}';");
        let database = format!("CREATE DATABASE {DATABASE} OWNER {OWNER};");
        server.run_script(&server.superuser_url(SUPERUSER), &format!("{role}\n{database}"))?;
        let owner_url = server.url(OWNER, &owner_password, DATABASE);
        server.run_script(&owner_url, SCRIPT)?;
        Ok(Shop {
            owner_password,
            owner_url,
        })
    }
}
