//! What is allowed but unwise: said at the start and by `check`, never an error.
//! Read `../config.rs` for what is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Config;
use super::front::Front;
use super::secret::Secret;
use crate::proxy::{ListenTls, UpstreamTls};

impl Config {
    /// What works but should be known to whoever starts it.
    pub(super) fn unwise(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.api.address.ip().is_loopback() && self.api.certificate.is_none() {
            warnings.push(format!(
                "the API listens on {} without TLS: tokens cross the network in the clear; set api.cert_file",
                self.api.address
            ));
        }
        for network in self.api.trusted_proxies.wide() {
            warnings.push(format!(
                "api.trusted_proxies holds {network}: whoever reaches the API from there writes any address into the log and \
                 past the limits; name the addresses of your proxies"
            ));
        }
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            // Of a network that is too wide anyway the warning above is enough.
            if self.api.trusted_proxies.holds(address) && self.api.trusted_proxies.wide().next().is_none() {
                warnings.push(format!(
                    "api.trusted_proxies holds {address}, which commands and health checks on this machine call from, too: when \
                     the proxy's clients take all connections, they get none; let the proxy call from an address of its own, \
                     such as 127.0.0.2"
                ));
            }
        }
        for front in [&self.postgres, &self.mysql] {
            front.unwise(&mut warnings);
        }
        let api_key = self.api.certificate.iter().map(|pair| pair.key_file.as_path());
        let log_sql_key = self.log_sql.iter().filter_map(|settings| settings.tls.files());
        let secrets = api_key
            .chain(log_sql_key.map(|files| files.key_file.as_path()))
            .chain(self.postgres.secret_files())
            .chain(self.mysql.secret_files())
            .chain(self.webhooks.iter().map(|webhook| webhook.secret_file.as_path()));
        for file in secrets {
            if is_readable_by_others(file) {
                warnings.push(format!(
                    "`{}` holds a secret and every user of this machine can read it; run: chmod o= '{}'",
                    file.display(),
                    file.display()
                ));
            }
        }
        warnings
    }
}

impl Front {
    fn unwise(&self, warnings: &mut Vec<String>) {
        let (listen, upstream) = (&self.listen, &self.upstream);
        if !listen.address.ip().is_loopback() && listen.tls == ListenTls::Off {
            warnings.push(format!(
                "the proxy listens on {} without TLS: statements cross the network in the clear; set {}.tls",
                listen.address, self.sections.listen
            ));
        }
        let is_verified = matches!(upstream.tls, UpstreamTls::VerifyFull { .. });
        if !upstream.pass_through.is_empty() && !is_verified && !is_this_machine(&upstream.host) {
            warnings.push(format!(
                "users of the database pass their passwords on to whoever answers as {}; set {}.tls = \"verify-full\"",
                upstream.host, self.sections.upstream
            ));
        }
    }

    fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let key = self.listen.tls.files().map(|files| files.key_file.as_path());
        let passwords = self.upstream.users.iter().map(|user| &user.password);
        let passwords = passwords.chain(self.catalog.iter().map(|catalog| &catalog.password));
        key.into_iter().chain(passwords.filter_map(Secret::file))
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn is_readable_by_others(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
