//! What is allowed but unwise: said at the start and by `check`, never an error.
//! Read `../config.rs` for what is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Config;
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
        if !self.listen.address.ip().is_loopback() && self.listen.tls == ListenTls::Off {
            warnings.push(format!(
                "the proxy listens on {} without TLS: statements cross the network in the clear; set listen.tls",
                self.listen.address
            ));
        }
        let is_verified = matches!(self.upstream.tls, UpstreamTls::VerifyFull { .. });
        if !self.upstream.pass_through.is_empty() && !is_verified && !is_this_machine(&self.upstream.host) {
            warnings.push(format!(
                "users of the database pass their passwords on to whoever answers as {}; set upstream.tls = \"verify-full\"",
                self.upstream.host
            ));
        }
        let listen_key = self.listen.tls.files().map(|files| &files.key_file);
        let keys = [
            listen_key,
            self.api.certificate.as_ref().map(|pair| &pair.key_file),
        ];
        let passwords = self.upstream.users.iter().map(|user| &user.password);
        let passwords = passwords.chain(self.catalog.iter().map(|catalog| &catalog.password));
        let passwords = passwords.filter_map(Secret::file);
        for file in keys.into_iter().flatten().map(PathBuf::as_path).chain(passwords) {
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

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn is_readable_by_others(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
