//! By which name of its certificate an agent is known. Never verifies a certificate: TLS has done that by then.
//! Read `directory.rs` next.
//!
//! Why one exact name: a pattern lets in whoever gets a certificate that fits, and a certificate with two names of a
//! kind would be two agents.

use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The longest SPIFFE ID.
/// Source: SPIFFE-ID.md#23-maximum-spiffe-id-length
const NAME_BYTES_MAX: usize = 2048;

/// One name in a certificate, byte for byte. Shown as `CN=…`, `URI=…` or `DNS=…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateName {
    /// The common name of the subject.
    Common(String),
    /// A URI among the alternative names, as SPIFFE has it.
    Uri(String),
    /// A host among the alternative names.
    Dns(String),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name of a certificate: write CN=name, URI=spiffe://… or DNS=host, without a wildcard"
)]
pub struct NotACertificateName(String);

impl CertificateName {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, NotACertificateName> {
        let wrong = || NotACertificateName(text.to_owned());
        let (kind, name) = text.split_once('=').ok_or_else(wrong)?;
        let is_sound = (1..=NAME_BYTES_MAX).contains(&name.len())
            && !name.contains('*')
            && !name.contains(char::is_control)
            && name.trim() == name;
        let name = name.to_owned();
        match kind {
            "CN" if is_sound => Ok(Self::Common(name)),
            "URI" if is_sound && name.contains(':') => Ok(Self::Uri(name)),
            "DNS" if is_sound => Ok(Self::Dns(name)),
            _ => Err(wrong()),
        }
    }

    /// Whether this is the one name of its kind in a certificate (DER). No other name is looked at.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        match parse_x509_certificate(certificate) {
            Ok(([], parsed)) => self.is_only_one_of(&parsed),
            Ok(_) | Err(_) => false,
        }
    }

    fn is_only_one_of(&self, certificate: &X509Certificate<'_>) -> bool {
        match self {
            Self::Common(wanted) => {
                let mut names = certificate.subject().iter_common_name();
                let (name, other) = (names.next(), names.next());
                other.is_none() && name.is_some_and(|name| name.as_str() == Ok(wanted))
            }
            Self::Uri(wanted) => is_only(wanted, certificate, |name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            }),
            Self::Dns(wanted) => is_only(wanted, certificate, |name| match name {
                GeneralName::DNSName(host) => Some(*host),
                _ => None,
            }),
        }
    }
}

/// Whether `wanted` is the only alternative name that `of_kind` takes.
fn is_only<'c>(
    wanted: &str,
    certificate: &'c X509Certificate<'_>,
    of_kind: impl Fn(&'c GeneralName<'c>) -> Option<&'c str>,
) -> bool {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return false;
    };
    let mut names = extension.value.general_names.iter().filter_map(of_kind);
    names.next() == Some(wanted) && names.next().is_none()
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Common(name) => write!(f, "CN={name}"),
            Self::Uri(name) => write!(f, "URI={name}"),
            Self::Dns(name) => write!(f, "DNS={name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn name(text: &str) -> CertificateName {
        CertificateName::parse(text).expect("a name")
    }

    /// `names`: `CN=…`, `URI=…`, `DNS=…`, in this order in the certificate.
    fn certificate(names: &[&str]) -> Vec<u8> {
        let mut asked = CertificateParams::default();
        asked.distinguished_name = rcgen::DistinguishedName::new();
        let mut common = [DnType::CommonName, DnType::CustomDnType(vec![2, 5, 4, 3])].into_iter();
        for text in names {
            let (kind, value) = text.split_once('=').expect("kind and value");
            match kind {
                "CN" => asked
                    .distinguished_name
                    .push(common.next().expect("at most two"), value),
                "URI" => asked
                    .subject_alt_names
                    .push(SanType::URI(value.try_into().expect("ASCII"))),
                "DNS" => asked
                    .subject_alt_names
                    .push(SanType::DnsName(value.try_into().expect("ASCII"))),
                other => panic!("no such kind: {other}"),
            }
        }
        let key = KeyPair::generate().expect("a key");
        asked.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn a_name_is_of_a_certificate_that_has_it_alone_of_its_kind() {
        let spiffe = "URI=spiffe://example.org/agents/reporter";
        let cases: [(&str, &[&str], bool); 18] = [
            ("CN=bot", &["CN=bot"], true),
            ("CN=bot", &["CN=bot", "DNS=other", spiffe], true),
            ("CN=bot", &["CN=Bot"], false),
            ("CN=bot", &["CN=bot "], false),
            ("CN=bot", &["CN=bot2"], false),
            ("CN=bot", &["CN=bo"], false),
            ("CN=bot", &["CN=bot\0.example.org"], false),
            ("CN=bot", &["CN=bot", "CN=root"], false),
            ("CN=bot", &["CN=root", "CN=bot"], false),
            ("CN=bot", &["DNS=bot", "URI=bot"], false),
            ("CN=bot", &[], false),
            (spiffe, &[spiffe], true),
            (spiffe, &[spiffe, "DNS=a", "DNS=b"], true),
            (spiffe, &["URI=spiffe://example.org/agents/reporter/x"], false),
            (spiffe, &[spiffe, "URI=spiffe://example.org/agents/admin"], false),
            (spiffe, &["CN=spiffe://example.org/agents/reporter"], false),
            ("DNS=bot.example.org", &["DNS=bot.example.org"], true),
            ("DNS=bot.example.org", &["DNS=*.example.org"], false),
        ];
        for (wanted, names, expected) in cases {
            assert_eq!(
                name(wanted).is_of(&certificate(names)),
                expected,
                "{wanted} {names:?}"
            );
        }
        let trailing = [certificate(&["CN=bot"]), vec![0]].concat();
        assert!(!name("CN=bot").is_of(&trailing));
    }

    #[test]
    fn only_whole_names_of_known_kinds_are_taken() {
        for text in ["CN=bot", "URI=spiffe://example.org/bot", "DNS=bot.example.org"] {
            assert_eq!(name(text).to_string(), text);
        }
        for text in [
            "bot",
            "CN=",
            "cn=bot",
            "O=bot",
            "DNS=*.example.org",
            "CN= bot",
            "CN=a\nb",
            "URI=bot",
        ] {
            assert!(CertificateName::parse(text).is_err(), "{text}");
        }
        assert!(CertificateName::parse(&format!("CN={}", "x".repeat(2049))).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_certificate_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..600) {
            let mut damaged = certificate_once().to_vec();
            let at = at % damaged.len();
            damaged.splice(at.., bytes.iter().copied());
            let _total = name("CN=bot").is_of(&damaged);
            let _total = name("CN=bot").is_of(&bytes);
        }
    }

    fn certificate_once() -> &'static [u8] {
        static MADE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        MADE.get_or_init(|| certificate(&["CN=bot", "DNS=bot.example.org"]))
    }
}
