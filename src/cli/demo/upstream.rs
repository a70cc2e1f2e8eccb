//! The server behind the demo's proxy: a scratch one, or one that was named.
//!
//! Never guesses: a connection string without user, password, host or database is an error. Read `stage.rs` next.

use reqwest::Url;
use thiserror::Error;

use super::postgres::{ScratchError, ScratchServer, ScratchSettings};
use super::shop::{self, Shop};

/// Where the proxy connects to, and as whom.
#[derive(Debug)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: String,
    /// disable, require, verify-ca or verify-full.
    pub tls: String,
    pub ca_file: Option<String>,
    /// Past the proxy, as the same user.
    pub url: String,
    /// The scratch server, unless it is somebody else's.
    pub scratch: Option<ScratchServer>,
}

/// Why the demo has no server.
#[derive(Debug, Error)]
pub enum UpstreamError {
    #[error("`{0}` is no connection string of the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE")]
    NotAUrl(String),
    #[error("the connection string lacks its {0}")]
    Lacks(&'static str),
    #[error(transparent)]
    Scratch(#[from] ScratchError),
}

impl UpstreamError {
    /// What the person can do now.
    pub fn next_step(&self) -> &'static str {
        match self {
            UpstreamError::NotAUrl(_) | UpstreamError::Lacks(_) => {
                "write --upstream-postgres postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            }
            UpstreamError::Scratch(error) => error.next_step(),
        }
    }
}

impl Upstream {
    /// A scratch server with the sample shop. Takes about three seconds.
    pub fn scratch(settings: &ScratchSettings) -> Result<Self, UpstreamError> {
        let server = ScratchServer::start(settings)?;
        let shop = Shop::open(&server)?;
        Ok(Upstream {
            host: String::from("127.0.0.1"),
            port: server.port(),
            database: String::from(shop::DATABASE),
            user: String::from(shop::OWNER),
            password: shop.owner_password,
            tls: String::from("disable"),
            ca_file: None,
            url: shop.owner_url,
            scratch: Some(server),
        })
    }

    /// A server that is there already.
    pub fn existing(url: &str) -> Result<Self, UpstreamError> {
        let parsed = Url::parse(url).map_err(|_| UpstreamError::NotAUrl(without_password(url)))?;
        if !["postgres", "postgresql"].contains(&parsed.scheme()) {
            return Err(UpstreamError::NotAUrl(without_password(url)));
        }
        let present = |part: &'static str, text: &str| {
            let text = decoded(text).filter(|text| !text.is_empty());
            text.ok_or(UpstreamError::Lacks(part))
        };
        let argument = |name: &str| {
            let found = parsed.query_pairs().find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned())
        };
        Ok(Upstream {
            host: present("host", parsed.host_str().unwrap_or("").trim_matches(['[', ']']))?,
            port: parsed.port().unwrap_or(5432),
            database: present("database", parsed.path().trim_start_matches('/'))?,
            user: present("user", parsed.username())?,
            password: present("password", parsed.password().unwrap_or(""))?,
            tls: tls_of(argument("sslmode").as_deref()),
            ca_file: argument("sslrootcert"),
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
        let upstream =
            Upstream::existing("postgresql://app:p%40ss%2Fword@db.example:6543/my%20shop").unwrap();
        assert_eq!((upstream.host.as_str(), upstream.port), ("db.example", 6543));
        assert_eq!(
            (upstream.user.as_str(), upstream.password.as_str()),
            ("app", "p@ss/word")
        );
        assert_eq!(upstream.database, "my shop");
    }

    #[test]
    fn address_of_a_connection_string_is_given_without_its_brackets() {
        let upstream = Upstream::existing("postgres://app:pass@[::1]:6543/shop?sslmode=require").unwrap();
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
            let error = Upstream::existing(url).unwrap_err().to_string();
            assert!(
                error.contains(fact) && !error.contains("secret"),
                "{url}: {error}"
            );
        }
    }
}
