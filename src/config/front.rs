//! One protocol's sections: where its clients come in, the server behind it, and that server's catalog.
//! Never knows a protocol by more than the names and defaults of its sections. Read `listen.rs`, `upstream.rs` and
//! `catalog.rs` for each.

use std::fmt;
use std::time::Duration;

use super::catalog::{Catalog, read_catalog};
use super::error::ConfigError;
use super::listen::{Listen, read_listen};
use super::reader::Reader;
use super::secret::Secret;
use super::upstream::{Upstream, read_upstream};
use crate::proxy::{self, ListenTls};
use zeroize::Zeroizing;

/// A server that takes longer to tell its catalog cannot be judged by it.
pub const CATALOG_TIMEOUT: Duration = Duration::from_secs(10);

/// What a protocol's sections are called, and what counts where nobody wrote anything.
pub struct Sections {
    pub listen: &'static str,
    pub upstream: &'static str,
    pub catalog: &'static str,
    pub listen_port: u16,
    pub upstream_name: &'static str,
    pub upstream_port: u16,
}

pub const POSTGRES: Sections = Sections {
    listen: "listen",
    upstream: "upstream",
    catalog: "catalog",
    listen_port: 6432,
    upstream_name: "main",
    upstream_port: 5432,
};

pub const MYSQL: Sections = Sections {
    listen: "mysql.listen",
    upstream: "mysql.upstream",
    catalog: "mysql.catalog",
    listen_port: 6433,
    upstream_name: "mysql",
    upstream_port: 3306,
};

/// One protocol. It is served if anybody can log in to its server.
#[derive(Clone, Debug)]
pub struct Front {
    pub sections: &'static Sections,
    pub listen: Listen,
    pub upstream: Upstream,
    /// `None`: views, triggers and functions of the database's own are not seen.
    pub catalog: Option<Catalog>,
}

impl Front {
    pub(super) fn read(reader: &mut Reader, sections: &'static Sections) -> Self {
        let front = Self {
            sections,
            listen: read_listen(reader, sections),
            upstream: read_upstream(reader, sections),
            catalog: read_catalog(reader, sections.catalog),
        };
        if !front.upstream.pass_through.is_empty() && front.listen.tls == ListenTls::Off {
            let message = "`pass_through` without TLS would let passwords cross the network in the clear";
            let place = reader.table_place(&format!("{}.pass_through.0", sections.upstream));
            let next_step = format!("name `cert_file` and `key_file` in `[{}]`", sections.listen);
            reader.complain(&place, message, next_step);
        }
        front
    }

    pub fn is_served(&self) -> bool {
        !self.upstream.users.is_empty() || !self.upstream.pass_through.is_empty()
    }

    /// Reads the files of the passwords. `None`: this protocol is not served.
    pub(super) fn proxy(&self) -> Result<Option<proxy::Front>, ConfigError> {
        if !self.is_served() {
            return Ok(None);
        }
        let upstream = &self.upstream;
        let mut users = Vec::new();
        for user in &upstream.users {
            users.push(proxy::UpstreamUser {
                name: user.name.clone(),
                password: user.password.read()?,
            });
        }
        Ok(Some(proxy::Front {
            listen: self.listen.address,
            tls: self.listen.tls.clone(),
            upstream: proxy::UpstreamSettings {
                name: upstream.name.clone(),
                host: upstream.host.clone(),
                port: upstream.port,
                tls: upstream.tls.clone(),
                databases: upstream.databases.clone(),
                users,
            },
            pass_through: upstream.pass_through.clone(),
        }))
    }

    /// The catalog's user with its password, which may stand at the user of the same name. `None`: no catalog is
    /// configured, or its server is not served.
    pub fn catalog_account(&self) -> Result<Option<(&str, Zeroizing<String>)>, ConfigError> {
        let Some(catalog) = self.catalog.as_ref().filter(|_| self.is_served()) else {
            return Ok(None);
        };
        let same_user = self.upstream.users.iter().find(|user| user.name == catalog.user);
        let password = match (&catalog.password, same_user) {
            (Secret::None, Some(user)) => &user.password,
            (password, _) => password,
        };
        Ok(Some((&catalog.user, password.read()?)))
    }
}

impl fmt::Debug for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.listen)
    }
}
