//! A network as rules write it: `10.0.0.0/8`, `2001:db8::/32`, or one address.
//! Never resolves a name. Read `rule.rs` next.
//!
//! Why IPv4 inside IPv6 is unwrapped on both sides: a listener on `::` sees a client of 10.1.2.3 as `::ffff:10.1.2.3`, and
//! a rule must mean the same client whichever way it came.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The addresses of one prefix. IPv4 inside IPv6 (`::ffff:0:0/96`) is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// Why a text is no network, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotANetwork {
    pub why: &'static str,
    pub next_step: String,
}

impl Network {
    pub fn parse(text: &str) -> Result<Self, NotANetwork> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address.to_canonical()),
            Err(_) => text.parse::<IpNet>().map_err(|_| NotANetwork {
                why: "is not a network",
                next_step: "write an address and a prefix, such as 10.0.0.0/8 or 2001:db8::/32".to_owned(),
            })?,
        };
        // Somebody who writes 10.1.2.3/8 may mean the host or the network; neither is guessed.
        if network.trunc() != network {
            return Err(NotANetwork {
                why: "has bits set behind its prefix",
                next_step: format!("write {} or {}", network.trunc(), network.addr()),
            });
        }
        Ok(Self(unwrapped(network)))
    }

    pub fn holds(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// Whether it holds more than one usual network of machines: wider than a /24 of IPv4, or a /64 of IPv6. The
    /// addresses of this machine itself are not wide.
    pub fn is_wide(&self) -> bool {
        match &self.0 {
            IpNet::V4(v4) => v4.prefix_len() < 24 && !v4.trunc().addr().is_loopback(),
            IpNet::V6(v6) => v6.prefix_len() < 64,
        }
    }

    /// Whether every address of `other` is one of this.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }
}

fn unwrapped(network: IpNet) -> IpNet {
    let prefix = network.prefix_len().checked_sub(96);
    match (network.addr().to_canonical(), network.addr(), prefix) {
        (IpAddr::V4(inner), IpAddr::V6(_), Some(prefix)) => {
            Ipv4Net::new(inner, prefix).map_or(network, IpNet::V4)
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _, _) => network,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).expect("a network")
    }

    #[test]
    fn an_address_is_the_same_client_in_both_spellings() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("::ffff:10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("0.0.0.0/0", "255.255.255.255", "2001:db8::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let network = network(text);
            let address = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert!(network.holds(address(inside)), "{text} {inside}");
            assert!(!network.holds(address(outside)), "{text} {outside}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_no_network() {
        let why = |text: &str| Network::parse(text).expect_err(text).why;
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "example.org",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0 /8",
        ] {
            assert_eq!(why(text), "is not a network", "{text}");
        }
        let host = Network::parse("10.1.2.3/8").expect_err("bits behind the prefix");
        assert_eq!(host.next_step, "write 10.0.0.0/8 or 10.1.2.3");
    }

    #[test]
    fn a_network_covers_its_parts_alone() {
        assert!(network("10.0.0.0/8").covers(&network("10.1.0.0/16")));
        assert!(network("10.0.0.0/8").covers(&network("::ffff:10.1.2.3")));
        assert!(!network("10.1.0.0/16").covers(&network("10.0.0.0/8")));
        assert!(!network("::/0").covers(&network("10.0.0.0/8")));
    }
}
