//! The sample database `shop` on a scratch server, and the role that owns it.
//!
//! Never makes that role a superuser: agents are mapped to it. Read `shop.sql` and `shop.mysql.sql` for what is in it.

use super::mariadb::ScratchMariadb;
use super::postgres::{SUPERUSER, ScratchServer};
use super::scratch::{ScratchError, random_word};

/// The sample database.
pub const DATABASE: &str = "shop";

/// A table that nothing refers to, for a DROP that can be approved without regret.
pub const DOOMED_TABLE: &str = "orders_import_2023";

/// The role that owns everything in it.
pub const OWNER: &str = "shop_owner";

/// Who reads MariaDB's catalog: it must see what the owner's privileges do not show it.
pub const CATALOG_READER: &str = "countersign_catalog";

const SCRIPT: &str = include_str!("shop.sql");
const MYSQL_SCRIPT: &str = include_str!("shop.mysql.sql");

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

/// The same on MariaDB.
#[derive(Debug, Clone)]
pub struct MysqlShop {
    pub owner_password: String,
    pub owner_url: String,
    pub catalog_password: String,
}

impl MysqlShop {
    /// Makes accounts, schema and sample data. Takes about two seconds.
    pub fn open(server: &ScratchMariadb) -> Result<Self, ScratchError> {
        let (owner_password, catalog_password) = (random_word(24), random_word(24));
        server.run_as_superuser(&format!(
            "CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4;
             CREATE USER {OWNER}@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('{owner_password}');
             GRANT ALL PRIVILEGES ON {DATABASE}.* TO {OWNER}@'%';
             CREATE USER {CATALOG_READER}@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('{catalog_password}');
             GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO {CATALOG_READER}@'%';"
        ))?;
        server.run_script(OWNER, &owner_password, Some(DATABASE), MYSQL_SCRIPT)?;
        let owner_url = server.url(OWNER, &owner_password, DATABASE);
        Ok(Self {
            owner_password,
            owner_url,
            catalog_password,
        })
    }
}
