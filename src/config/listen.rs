//! Where clients come in: addresses, certificates, and whose certificates clients may show. Never reads those files.
//! Read `../proxy/tls.rs` for what is made of them.

use std::net::SocketAddr;

use super::front::Sections;
use super::reader::{Found, Place, Reader};
use super::value_or;
use crate::api::{self, Certificate, ForwardedHeader, TrustedProxies};
use crate::policy::Network;
use crate::proxy::{ClientAuthority, ListenFiles, ListenTls};

#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    pub tls: ListenTls,
}

pub fn read_listen(reader: &mut Reader, sections: &Sections) -> Listen {
    let section = sections.listen;
    let address = value_or(reader.address(&format!("{section}.address")), || {
        SocketAddr::from(([127, 0, 0, 1], sections.listen_port))
    });
    let tls = read_tls(reader, section);
    Listen { address, tls }
}

/// TLS towards clients, from the keys of one section.
pub fn read_tls(reader: &mut Reader, section: &str) -> ListenTls {
    let words = [
        ("off", TlsWord::Off),
        ("offered", TlsWord::Offered),
        ("required", TlsWord::Required),
    ];
    let word = reader.choice(&format!("{section}.tls"), &words);
    let complaints = reader.complaints.len();
    let certificate = read_certificate(reader, section);
    let clients = read_client_authority(reader, section, certificate.is_some());
    let files = |pair: Certificate| ListenFiles {
        cert_file: pair.cert_file,
        key_file: pair.key_file,
        clients: clients.clone(),
    };
    match (word, certificate) {
        (None, None)
        | (
            Some(Found {
                value: TlsWord::Off, ..
            }),
            None,
        ) => ListenTls::Off,
        (
            None
            | Some(Found {
                value: TlsWord::Offered,
                ..
            }),
            Some((pair, _)),
        ) => ListenTls::Offered(files(pair)),
        (
            Some(Found {
                value: TlsWord::Required,
                ..
            }),
            Some((pair, _)),
        ) => ListenTls::Required(files(pair)),
        (
            Some(Found {
                value: TlsWord::Off,
                place,
            }),
            Some(_),
        ) => {
            let message = "`tls` is off, yet `cert_file` is given";
            reader.complain(
                &place,
                message,
                "write `tls = \"offered\"` or `\"required\"`, or take the files out",
            );
            ListenTls::Off
        }
        (
            Some(Found {
                value: TlsWord::Offered | TlsWord::Required,
                place,
            }),
            None,
        ) => {
            if reader.complaints.len() == complaints {
                let message = "`tls` needs a certificate";
                reader.complain(&place, message, name_files(section));
            }
            ListenTls::Off
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum TlsWord {
    Off,
    Offered,
    Required,
}

fn name_files(section: &str) -> String {
    format!("name `cert_file` and `key_file` in `[{section}]`")
}

/// Certificates of clients come inside TLS, and revocations are those of an authority.
fn read_client_authority(reader: &mut Reader, section: &str, has_tls: bool) -> Option<ClientAuthority> {
    let ca = reader.path(&format!("{section}.client_ca_file"));
    let crl = reader.path(&format!("{section}.client_crl_file"));
    let alone = match (&ca, &crl) {
        (Some(ca), _) if !has_tls => {
            let message =
                "`client_ca_file` is given, but there is no TLS in which clients could show certificates";
            Some((&ca.place, message, name_files(section)))
        }
        (None, Some(crl)) => {
            let message = "`client_crl_file` is given without `client_ca_file`";
            Some((
                &crl.place,
                message,
                "name the certificate of the authority in `client_ca_file`".to_owned(),
            ))
        }
        (Some(_), _) | (None, None) => None,
    };
    if let Some((place, message, next_step)) = alone {
        reader.complain(place, message, next_step);
    }
    ca.map(|ca| ClientAuthority {
        ca_file: ca.value,
        crl_file: crl.map(|crl| crl.value),
    })
}

pub fn read_api(reader: &mut Reader) -> api::Settings {
    let address = value_or(reader.address("api.address"), || {
        SocketAddr::from(([127, 0, 0, 1], 6480))
    });
    let certificate = read_certificate(reader, "api").map(|(pair, _)| pair);
    let most = i64::try_from(api::CONNECTIONS_MAX).unwrap_or(i64::MAX);
    let per_address = reader
        .integer("api.connections_per_address", 1..=most)
        .and_then(|found| usize::try_from(found.value).ok());
    api::Settings {
        address,
        certificate,
        connections_per_address: per_address.unwrap_or(api::PER_ADDRESS_DEFAULT),
        trusted_proxies: read_trusted_proxies(reader),
    }
}

fn read_trusted_proxies(reader: &mut Reader) -> TrustedProxies {
    let header = reader.choice("api.forwarded_header", &ForwardedHeader::ALL);
    let header = header.map_or(ForwardedHeader::default(), |found| found.value);
    let Some(found) = reader.list("api.trusted_proxies") else {
        return TrustedProxies::default();
    };
    let mut networks = Vec::new();
    for text in &found.value {
        match Network::parse(text) {
            Ok(network) => networks.push(network),
            Err(wrong) => {
                let message = format!("`{text}` in `trusted_proxies` {}", wrong.why);
                reader.complain(&found.place, message, wrong.next_step);
            }
        }
    }
    TrustedProxies::new(networks, header)
}

fn read_certificate(reader: &mut Reader, section: &str) -> Option<(Certificate, Place)> {
    let cert = reader.path(&format!("{section}.cert_file"));
    let key = reader.path(&format!("{section}.key_file"));
    match (cert, key) {
        (Some(cert), Some(key)) => Some((
            Certificate {
                cert_file: cert.value,
                key_file: key.value,
            },
            cert.place,
        )),
        (Some(cert), None) => {
            let message = format!("`{section}.cert_file` is given without `key_file`");
            reader.complain(
                &cert.place,
                message,
                "name the file of its private key in `key_file`",
            );
            None
        }
        (None, Some(key)) => {
            let message = format!("`{section}.key_file` is given without `cert_file`");
            reader.complain(
                &key.place,
                message,
                "name the file of its certificate in `cert_file`",
            );
            None
        }
        (None, None) => None,
    }
}
