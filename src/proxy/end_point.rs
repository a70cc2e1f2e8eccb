//! What binds a log-in to the TLS channel it is made on: a hash of the certificate that the server's side shows there.
//! Never verifies a certificate. Read `prove.rs` for its use towards clients, `upstream.rs` for that towards the server.
//!
//! Why no other kind: PostgreSQL knows none but `tls-server-end-point`.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_parser::oid_registry::{
    OID_HASH_SHA1, OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512, OID_PKCS1_MD5WITHRSAENC,
    OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA224WITHRSA, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA224, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, Oid,
};
use x509_parser::parse_x509_certificate;
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

/// The data of `tls-server-end-point`: the certificate's hash, by the hash of its own signature, and by SHA-256 in
/// place of MD5 and SHA-1. `None` for a signature without such a hash (Ed25519), which binds nothing.
/// Source: RFC 5929, section 4.1
pub fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (rest, parsed) = parse_x509_certificate(certificate).ok()?;
    if !rest.is_empty() {
        return None;
    }
    Some(match hash_of(&parsed.signature_algorithm)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Clone, Copy)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

fn hash_of(algorithm: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    if algorithm.algorithm == OID_PKCS1_RSASSAPSS {
        let parameters = RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()?;
        let by_hash = [
            (OID_HASH_SHA1, Hash::Sha256),
            (OID_NIST_HASH_SHA256, Hash::Sha256),
            (OID_NIST_HASH_SHA384, Hash::Sha384),
            (OID_NIST_HASH_SHA512, Hash::Sha512),
        ];
        return named(&by_hash, parameters.hash_algorithm_oid());
    }
    let by_signature = [
        (OID_PKCS1_MD5WITHRSAENC, Hash::Sha256),
        (OID_PKCS1_SHA1WITHRSA, Hash::Sha256),
        (OID_PKCS1_SHA224WITHRSA, Hash::Sha224),
        (OID_PKCS1_SHA256WITHRSA, Hash::Sha256),
        (OID_PKCS1_SHA384WITHRSA, Hash::Sha384),
        (OID_PKCS1_SHA512WITHRSA, Hash::Sha512),
        (OID_SIG_ECDSA_WITH_SHA224, Hash::Sha224),
        (OID_SIG_ECDSA_WITH_SHA256, Hash::Sha256),
        (OID_SIG_ECDSA_WITH_SHA384, Hash::Sha384),
        (OID_SIG_ECDSA_WITH_SHA512, Hash::Sha512),
    ];
    named(&by_signature, &algorithm.algorithm)
}

fn named(hashes: &[(Oid<'_>, Hash)], wanted: &Oid<'_>) -> Option<Hash> {
    hashes
        .iter()
        .find(|(known, _)| known == wanted)
        .map(|(_, hash)| *hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
    use rustls::pki_types::pem::PemObject;

    /// Certificates made by OpenSSL, and their digests by `openssl dgst` with what the RFC says.
    #[test]
    fn the_hash_is_what_rfc_5929_says() {
        let cases = [
            (
                include_bytes!("../../tests/certificates/rsa-sha1.pem").as_slice(),
                "3cd0207406809d090dd22cf3344e064cebda8e71037d03eb27917a6177024251",
            ),
            (
                include_bytes!("../../tests/certificates/rsa-sha512.pem"),
                "32873ee5006d12da0889777d108d672cdfeb9a84add67be9cb21967c4b07e5ba\
                 db97ae3457f0951acdfe52151c45524630a1580f2c14ab0ab773fbfd95ff9983",
            ),
            (
                include_bytes!("../../tests/certificates/rsa-pss-sha384.pem"),
                "1de4add54e063aeee8fcff01d611ea074fa4e9fae239b96ee32fccfd22d1613b98b3f2bc3c42b2efd8758509915d38d1",
            ),
        ];
        for (pem, expected) in cases {
            let certificate = CertificateDer::from_pem_slice(pem).expect("PEM");
            let hash = end_point(&certificate).expect("it has a hash");
            let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        }
    }

    #[test]
    fn a_signature_without_a_hash_binds_nothing() {
        for (algorithm, bytes) in [
            (&PKCS_ECDSA_P256_SHA256, Some(32)),
            (&PKCS_ECDSA_P384_SHA384, Some(48)),
            (&PKCS_ED25519, None),
        ] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let made = CertificateParams::default()
                .self_signed(&key)
                .expect("a certificate");
            assert_eq!(
                end_point(made.der()).map(|hash| hash.len()),
                bytes,
                "{algorithm:?}"
            );
        }
        assert_eq!(end_point(&CertificateDer::from(vec![0x30, 0x00])), None);
    }
}
