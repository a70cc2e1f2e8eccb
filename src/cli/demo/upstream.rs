//! The servers behind the demo's proxy: scratch ones, or ones that were named.
//!
//! Never guesses: a connection string without user, password, host or database is an error. Read `stage.rs` next.

use std::path::Path;

use reqwest::Url;
use thiserror::Error;

use super::Speaks;
use super::mariadb::ScratchMariadb;
use super::postgres::{ScratchServer, ScratchSettings};
use super::scratch::ScratchError;
use super::shop::{self, MysqlShop, Shop};

/// Where the proxy connects to, and as whom.
#[derive(Debug)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub account: Account,
    /// Who reads its catalog, if asked to.
    pub catalog: Account,
    /// disable, require, verify-ca or verify-full.
    pub tls: String,
    pub ca_file: Option<String>,
    /// Past the proxy, as the same user.
    pub url: String,
    /// The scratch server, unless it is somebody else's.
    pub scratch: Option<Scratch>,
}

/// A user of the database.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Account({})", self.user)
    }
}

/// A server that ends with the demo.
#[derive(Debug)]
pub enum Scratch {
    Postgres(ScratchServer),
    Mariadb(ScratchMariadb),
}

impl Scratch {
    pub fn folder(&self) -> &Path {
        match self {
            Self::Postgres(server) => server.folder(),
            Self::Mariadb(server) => server.folder(),
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        match self {
            Self::Postgres(server) => server.has_ended(),
            Self::Mariadb(server) => server.has_ended(),
        }
    }

    pub fn log(&self) -> String {
        match self {
            Self::Postgres(server) => server.log(),
            Self::Mariadb(server) => server.log(),
        }
    }
}

/// Why the demo has no server.
#[derive(Debug, Error)]
pub enum UpstreamError {
    #[error("`{url}` is no connection string of the form {}", form(*speaks))]
    NotAUrl { url: String, speaks: Speaks },
    #[error("the connection string lacks its {part}")]
    Lacks { part: &'static str, speaks: Speaks },
    #[error("the connection string asks for the TLS mode `{0}`, which there is not")]
    UnknownTls(String),
    #[error(transparent)]
    Scratch(#[from] ScratchError),
}

fn form(speaks: Speaks) -> &'static str {
    match speaks {
        Speaks::Postgres => "postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        Speaks::Mysql => "mysql://USER:PASSWORD@HOST:PORT/DATABASE",
    }
}

impl UpstreamError {
    /// What the person can do now.
    pub fn next_step(&self) -> &'static str {
        match self {
            UpstreamError::NotAUrl { speaks, .. } | UpstreamError::Lacks { speaks, .. } => match speaks {
                Speaks::Postgres => "write --upstream-postgres postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
                Speaks::Mysql => "write --upstream-mysql mysql://USER:PASSWORD@HOST:PORT/DATABASE",
            },
            UpstreamError::UnknownTls(_) => {
                "write ?ssl-mode= with one of: DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"
            }
            UpstreamError::Scratch(error) => error.next_step(),
        }
    }
}

impl Upstream {
    /// A scratch PostgreSQL with the sample shop. Takes about three seconds.
    pub fn scratch_postgres(settings: &ScratchSettings) -> Result<Self, UpstreamError> {
        let server = ScratchServer::start(settings)?;
        let shop = Shop::open(&server)?;
        let owner = Account {
            user: String::from(shop::OWNER),
            password: shop.owner_password,
        };
        Ok(Self::of_shop(
            server.port(),
            owner.clone(),
            owner,
            shop.owner_url,
            Scratch::Postgres(server),
        ))
    }

    /// A scratch MariaDB with the sample shop. Takes about three seconds.
    pub fn scratch_mariadb(program: &Path) -> Result<Self, UpstreamError> {
        let server = ScratchMariadb::start(program)?;
        let shop = MysqlShop::open(&server)?;
        let owner = Account {
            user: String::from(shop::OWNER),
            password: shop.owner_password,
        };
        let catalog = Account {
            user: String::from(shop::CATALOG_READER),
            password: shop.catalog_password,
        };
        Ok(Self::of_shop(
            server.port(),
            owner,
            catalog,
            shop.owner_url,
            Scratch::Mariadb(server),
        ))
    }

    fn of_shop(port: u16, account: Account, catalog: Account, url: String, scratch: Scratch) -> Self {
        Upstream {
            host: String::from("127.0.0.1"),
            port,
            database: String::from(shop::DATABASE),
            account,
            catalog,
            tls: String::from("disable"),
            ca_file: None,
            url,
            scratch: Some(scratch),
        }
    }

    /// A server that is there already.
    pub fn existing(speaks: Speaks, url: &str) -> Result<Self, UpstreamError> {
        let not_a_url = || UpstreamError::NotAUrl {
            url: without_password(url),
            speaks,
        };
        let parsed = Url::parse(url).map_err(|_| not_a_url())?;
        let (schemes, port) = match speaks {
            Speaks::Postgres => (["postgres", "postgresql"], 5432),
            Speaks::Mysql => (["mysql", "mariadb"], 3306),
        };
        if !schemes.contains(&parsed.scheme()) {
            return Err(not_a_url());
        }
        let present = |part: &'static str, text: &str| {
            let text = decoded(text).filter(|text| !text.is_empty());
            text.ok_or(UpstreamError::Lacks { part, speaks })
        };
        let argument = |names: &[&str]| {
            let found = parsed.query_pairs().find(|(key, _)| names.contains(&&**key));
            found.map(|(_, value)| value.into_owned())
        };
        let (tls, ca_file) = match speaks {
            Speaks::Postgres => (
                tls_of(argument(&["sslmode"]).as_deref()),
                argument(&["sslrootcert"]),
            ),
            Speaks::Mysql => {
                let mode = argument(&["ssl-mode", "sslmode"]);
                let ca = argument(&["ssl-ca", "sslrootcert"]);
                (mysql_tls_of(mode.as_deref())?, ca)
            }
        };
        let account = Account {
            user: present("user", parsed.username())?,
            password: present("password", parsed.password().unwrap_or(""))?,
        };
        Ok(Upstream {
            host: present("host", parsed.host_str().unwrap_or("").trim_matches(['[', ']']))?,
            port: parsed.port().unwrap_or(port),
            database: present("database", parsed.path().trim_start_matches('/'))?,
            catalog: account.clone(),
            account,
            tls,
            ca_file,
            url: url.to_owned(),
            scratch: None,
        })
    }
}

/// The proxy has no mode that falls back: a server that must be reached by TLS is named with `?sslmode=require`.
fn tls_of(sslmode: Option<&str>) -> String {
    match sslmode {
        None | Some("allow" | "prefer") => String::from("disable"),
        Some(mode) => mode.to_owned(),
    }
}

/// The same for MySQL, in its clients' words or PostgreSQL's.
fn mysql_tls_of(mode: Option<&str>) -> Result<String, UpstreamError> {
    let word = mode.unwrap_or("disabled").to_ascii_lowercase().replace('_', "-");
    let known = match word.as_str() {
        "disable" | "disabled" | "prefer" | "preferred" | "allow" => "disable",
        "require" | "required" => "require",
        "verify-ca" => "verify-ca",
        "verify-full" | "verify-identity" => "verify-full",
        _ => return Err(UpstreamError::UnknownTls(mode.unwrap_or_default().to_owned())),
    };
    Ok(known.to_owned())
}

/// For an error message: whatever stands before the last `@` may be a secret.
pub fn without_password(url: &str) -> String {
    url.rsplit_once('@')
        .map_or_else(|| url.to_owned(), |(_, place)| format!("…@{place}"))
}

/// Percent escapes resolved; nothing if they are broken or no UTF-8.
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_string_is_taken_apart_with_its_escapes() {
        let url = "postgresql://app:p%40ss%2Fword@db.example:6543/my%20shop";
        let upstream = Upstream::existing(Speaks::Postgres, url).unwrap();
        assert_eq!((upstream.host.as_str(), upstream.port), ("db.example", 6543));
        assert_eq!(
            (upstream.account.user.as_str(), upstream.account.password.as_str()),
            ("app", "p@ss/word")
        );
        assert_eq!(upstream.database, "my shop");
    }

    #[test]
    fn address_of_a_connection_string_is_given_without_its_brackets() {
        let url = "postgres://app:pass@[::1]:6543/shop?sslmode=require";
        let upstream = Upstream::existing(Speaks::Postgres, url).unwrap();
        assert_eq!(
            (upstream.host.as_str(), upstream.tls.as_str()),
            ("::1", "require")
        );
    }

    #[test]
    fn connection_string_that_lacks_something_is_refused_without_its_password() {
        for (url, fact) in [
            ("postgresql://app:pass@db.example", "database"),
            ("postgresql://app@db.example/shop", "password"),
            ("postgresql://db.example/shop", "user"),
            ("mysql://app:secret@db.example/shop", "connection string"),
            ("app:secret@db.example/shop", "connection string"),
        ] {
            let error = Upstream::existing(Speaks::Postgres, url).unwrap_err().to_string();
            assert!(
                error.contains(fact) && !error.contains("secret"),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn connection_string_of_mysql_is_taken_apart_as_postgres_is() {
        let url = "mysql://app:p%40ss@db.example/shop?ssl-mode=VERIFY_IDENTITY&ssl-ca=/etc/ca.pem";
        let upstream = Upstream::existing(Speaks::Mysql, url).unwrap();
        assert_eq!((upstream.host.as_str(), upstream.port), ("db.example", 3306));
        assert_eq!(upstream.account.password, "p@ss");
        assert_eq!(upstream.catalog, upstream.account);
        assert_eq!(
            (upstream.tls.as_str(), upstream.ca_file.as_deref()),
            ("verify-full", Some("/etc/ca.pem"))
        );
        for (mode, tls) in [
            ("REQUIRED", "require"),
            ("verify-ca", "verify-ca"),
            ("PREFERRED", "disable"),
        ] {
            let url = format!("mariadb://app:pass@db.example/shop?sslmode={mode}");
            assert_eq!(Upstream::existing(Speaks::Mysql, &url).unwrap().tls, tls);
        }
        for (url, fact) in [
            ("postgres://app:secret@db.example/shop", "mysql://USER"),
            ("mysql://app@db.example/shop", "password"),
            ("mysql://app:secret@db.example/", "database"),
            ("mysql://app:secret@db.example/shop?ssl-mode=maybe", "`maybe`"),
        ] {
            let error = Upstream::existing(Speaks::Mysql, url).unwrap_err().to_string();
            assert!(
                error.contains(fact) && !error.contains("secret"),
                "{url}: {error}"
            );
        }
    }
}
