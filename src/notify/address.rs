//! Which addresses a message may go to: those of the public internet, unless the settings say otherwise.
//! Never looks at names alone: what a name resolves to is judged at the moment of connecting, so that it cannot change
//! in between. Read `post.rs` next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), bits)
}

const fn v6(first: u16, second: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), bits)
}

/// Not of the public internet. Source: IANA's registries of special-purpose addresses. 169.254.0.0/16 holds the
/// metadata services of the clouds.
const NOT_PUBLIC_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

/// All that is handed out in the public internet lies in here.
const PUBLIC_V6: Ipv6Net = v6(0x2000, 0, 3);

/// And of that, these are not: protocol assignments with Teredo, documentation, 6to4, which carries an IPv4 address.
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 23),
    v6(0x2001, 0x0db8, 32),
    v6(0x2002, 0, 16),
    v6(0x3fff, 0, 20),
];

/// Whether an address is one of the public internet. IPv4 in IPv6's clothes counts as what it is.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            PUBLIC_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    }
}

/// Resolves names, and keeps what may not be reached from whoever connects.
#[derive(Debug)]
pub struct PublicAlone;

#[derive(Debug, thiserror::Error)]
#[error("`{0}` resolves to no public address, and `allow_private` is not set")]
pub struct NotPublic(pub String);

impl Resolve for PublicAlone {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NotPublic(name.as_str().to_owned()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_special_addresses_of_both_families_are_told_from_public_ones() {
        let not_public = "0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255
            192.0.0.8 192.168.1.1 198.19.0.1 203.0.113.9 224.0.0.1 255.255.255.255
            :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::7f00:1 64:ff9b::a00:1 64:ff9b:1::1
            fe80::1 fc00::1 fd00:ec2::254 fec0::1 ff02::1 2001:db8::1 2001::1 2002:7f00:1:: 3fff::1 4000::1 100::1";
        for text in not_public.split_whitespace() {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
        let public = "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 169.253.1.1 192.0.1.1 223.255.255.255
            ::ffff:8.8.8.8 2606:4700:4700::1111 2a00:1450::1 2001:4860:4860::8888";
        for text in public.split_whitespace() {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
    }
}
