//! Which address a call comes from where proxies of one's own stand in front: what they say of it, and nobody else's word.
//! Never reads what a client may have written. Read `browser.rs` for what is counted by address.
//!
//! Why from the right, and no further than the first entry that is no proxy: each proxy adds the address that it sees at
//! the right end, so whatever stands left of that was sent by somebody whom nobody vouches for: were it read, rubbish there
//! would hide its sender behind the proxy's address. Why one header and not both: a proxy writes one of them and hands on
//! the other as the client sent it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::Response;

use super::browser::Source;
use crate::policy::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies that a call may have come through; what stands behind so many is not looked at.
const HOPS_MAX: usize = 32;

/// The one header that the proxies write; the other is as the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// The proxies whose word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: ForwardedHeader,
}

impl ForwardedHeader {
    /// As the settings name it.
    pub const ALL: [(&'static str, Self); 2] = [
        ("X-Forwarded-For", Self::XForwardedFor),
        ("Forwarded", Self::Forwarded),
    ];

    /// Its entries from the right, as bytes: rubbish of a client's is no reason not to read what the proxy has added.
    fn entries(self, headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
        let name = match self {
            Self::XForwardedFor => X_FORWARDED_FOR,
            Self::Forwarded => header::FORWARDED,
        };
        // All headers of one name are one list, in their order.
        let values: Vec<&[u8]> = headers
            .get_all(name)
            .iter()
            .map(|value| value.as_bytes())
            .collect();
        values.into_iter().rev().flat_map(FromTheRight::of)
    }

    fn read(self, entry: &[u8]) -> Option<IpAddr> {
        let text = std::str::from_utf8(entry).ok()?;
        match self {
            Self::XForwardedFor => node(text),
            Self::Forwarded => element(text),
        }
    }
}

impl TrustedProxies {
    pub fn new(networks: Vec<Network>, header: ForwardedHeader) -> Self {
        Self { networks, header }
    }

    pub fn holds(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.holds(address))
    }

    /// Those that vouch for more machines than anybody has proxies.
    pub fn wide(&self) -> impl Iterator<Item = &Network> {
        self.networks.iter().filter(|network| network.is_wide())
    }

    /// Who calls: the peer, or, if that is a trusted proxy, whom it names, and so on; the last proxy that is known where
    /// what it has written cannot be read.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer;
        let mut entries = self.header.entries(headers).take(HOPS_MAX);
        while self.holds(nearest) {
            match entries.next().and_then(|entry| self.header.read(entry)) {
                Some(further) => nearest = further,
                None => break,
            }
        }
        nearest
    }
}

/// The entries of a list, the last one first; commas in quotes part none.
struct FromTheRight<'a>(Option<&'a [u8]>);

impl<'a> FromTheRight<'a> {
    fn of(list: &'a [u8]) -> Self {
        Self(Some(list))
    }
}

impl<'a> Iterator for FromTheRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let list = self.0.take()?;
        let mut is_quoted = false;
        let comma = list.iter().rposition(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == b',' && !is_quoted
        });
        let Some((rest, entry)) = comma.and_then(|at| list.split_at_checked(at)) else {
            return Some(list);
        };
        self.0 = Some(rest);
        entry.split_first().map(|(_comma, entry)| entry)
    }
}

/// Who calls, for everything behind: found once, before any route.
pub async fn find_source(
    State(trusted): State<TrustedProxies>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if let Some(peer) = peer.map(|ConnectInfo(peer)| peer.ip()) {
        let client = trusted.client(peer, request.headers());
        request.extensions_mut().insert(Source(client));
    }
    next.run(request).await
}

/// An address as proxies write it: bare, with a port, IPv6 in brackets; maybe in quotes. `unknown` and made-up names are
/// none.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let text = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    let bare = |text: &str| text.parse::<IpAddr>().ok();
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match in_brackets {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => bare(text).or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip())),
    };
    address.map(|address| address.to_canonical())
}

/// for="[2001:db8::1]:4711";proto=https
/// Errors: `None` if it has no `for`, two of them, one that is no address, or quotes that do not close.
/// Source: RFC 7239, section 4.
fn element(text: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in pairs(text)? {
        let (name, value) = pair.split_once('=')?;
        if name.trim_matches([' ', '\t']).eq_ignore_ascii_case("for") {
            let address = node(value)?;
            if found.replace(address).is_some() {
                return None;
            }
        }
    }
    found
}

/// `None`: a quote does not close, or a letter in quotes is escaped, which no address needs.
fn pairs(text: &str) -> Option<Vec<&str>> {
    let (mut pairs, mut from, mut is_quoted) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '\\' => return None,
            ';' if !is_quoted => {
                pairs.push(text.get(from..at)?);
                from = at + 1;
            }
            _ => {}
        }
    }
    pairs.push(text.get(from..)?);
    (!is_quoted).then_some(pairs)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn trusted(texts: &[&str], header: ForwardedHeader) -> TrustedProxies {
        let parsed = texts.iter().map(|text| Network::parse(text).expect("a network"));
        TrustedProxies::new(parsed.collect(), header)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            map.append(HeaderName::from_static(name), value);
        }
        map
    }

    const X: &str = "x-forwarded-for";
    const F: &str = "forwarded";
    const PROXY: &str = "10.0.0.5";

    #[test]
    fn the_address_is_whom_the_last_proxy_names_and_nobody_elses_word() {
        let networks = ["10.0.0.0/8", "127.0.0.1", "2001:db8:1::/48"];
        type Case = (
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static str,
        );
        let cases: &[Case] = &[
            // Who is no proxy of ours speaks for themselves alone.
            ("203.0.113.9", &[(X, "198.51.100.7")], "203.0.113.9"),
            ("203.0.113.9", &[(F, "for=198.51.100.7")], "203.0.113.9"),
            (PROXY, &[(F, "")], PROXY),
            (PROXY, &[], PROXY),
            (PROXY, &[(X, "198.51.100.7")], "198.51.100.7"),
            // What the client had sent stands further left.
            (PROXY, &[(X, "127.0.0.1, 1.2.3.4, 198.51.100.7")], "198.51.100.7"),
            (PROXY, &[(X, "1.2.3.4"), (X, "198.51.100.7")], "198.51.100.7"),
            (PROXY, &[(X, "1.2.3.4, 198.51.100.7, 10.9.9.9")], "198.51.100.7"),
            (
                PROXY,
                &[(X, "1.2.3.4, 198.51.100.7"), (X, "10.9.9.9,127.0.0.1")],
                "198.51.100.7",
            ),
            (PROXY, &[(X, "garbage, 198.51.100.7")], "198.51.100.7"),
            (PROXY, &[(X, "\u{e9}\\\", 198.51.100.7")], "198.51.100.7"),
            (
                PROXY,
                &[(X, "unknown"), (X, "198.51.100.7,10.9.9.9")],
                "198.51.100.7",
            ),
            (PROXY, &[(F, "for=\"1.2.3.4, for=198.51.100.7")], "198.51.100.7"),
            (PROXY, &[(F, "\\, for=198.51.100.7")], "198.51.100.7"),
            // What the proxy before has written cannot be read: it is known, and nobody further.
            (PROXY, &[(X, "1.2.3.4, unknown, 10.9.9.9")], "10.9.9.9"),
            // All are proxies of ours: the first of them has called.
            (PROXY, &[(X, "10.1.1.1, 10.2.2.2")], "10.1.1.1"),
            // Ports, IPv6, quotes.
            (PROXY, &[(X, "198.51.100.7:4711")], "198.51.100.7"),
            (PROXY, &[(X, "[2001:db8::7]:4711")], "2001:db8::7"),
            (PROXY, &[(X, "[2001:db8::7]")], "2001:db8::7"),
            (PROXY, &[(X, "2001:db8::7")], "2001:db8::7"),
            (PROXY, &[(X, "\"[2001:db8::7]:4711\"")], "2001:db8::7"),
            (PROXY, &[(X, "::ffff:198.51.100.7")], "198.51.100.7"),
            ("::ffff:10.0.0.5", &[(X, "198.51.100.7")], "198.51.100.7"),
            (
                "2001:db8:1::9",
                &[(X, "2001:db8::7, 2001:db8:1::8")],
                "2001:db8::7",
            ),
            (PROXY, &[(F, "for=198.51.100.7")], "198.51.100.7"),
            (
                PROXY,
                &[(F, "For=198.51.100.7;proto=https;by=10.0.0.5")],
                "198.51.100.7",
            ),
            (
                PROXY,
                &[(
                    F,
                    "for=1.2.3.4, for=\"[2001:db8::7]:4711\";host=\"a,b;for=9.9.9.9\"",
                )],
                "2001:db8::7",
            ),
            (
                PROXY,
                &[(F, "for=1.2.3.4"), (F, "for=198.51.100.7, for=10.1.1.1")],
                "198.51.100.7",
            ),
            // What the proxy has written and cannot be read counts for nothing.
            (PROXY, &[(X, "")], PROXY),
            (PROXY, &[(X, "198.51.100.7,")], PROXY),
            (PROXY, &[(X, "198.51.100.7, unknown")], PROXY),
            (PROXY, &[(X, "198.51.100.7 10.0.0.1")], PROXY),
            (PROXY, &[(X, "198.51.100.7:99999")], PROXY),
            (PROXY, &[(X, "198.051.100.007")], PROXY),
            (PROXY, &[(X, "fe80::1%eth0")], PROXY),
            (PROXY, &[(X, "\"198.51.100.7")], PROXY),
            (PROXY, &[(X, "[198.51.100.7]")], PROXY),
            (PROXY, &[(X, "198.51.100.7\u{e9}")], PROXY),
            (PROXY, &[(F, "for=unknown")], PROXY),
            (PROXY, &[(F, "for=_hidden")], PROXY),
            (PROXY, &[(F, "proto=https")], PROXY),
            (PROXY, &[(F, "for=1.2.3.4;for=198.51.100.7")], PROXY),
            (PROXY, &[(F, "for=\"198.51.100.7")], PROXY),
            (PROXY, &[(F, "for=\"198.51.\\100.7\"")], PROXY),
            (PROXY, &[(F, "for=198.51.100.7, ")], PROXY),
            (
                PROXY,
                &[(F, "for=1.2.3.4;host=\"a\\\", for=9.9.9.9;by=\\\"b\"")],
                PROXY,
            ),
        ];
        for (peer, sent, expected) in cases {
            let header = match sent.first() {
                Some((F, _)) => ForwardedHeader::Forwarded,
                Some(_) | None => ForwardedHeader::XForwardedFor,
            };
            let found = trusted(&networks, header).client(peer.parse().expect("an address"), &headers(sent));
            assert_eq!(
                found,
                expected.parse::<IpAddr>().expect("an address"),
                "{peer} {sent:?}"
            );
        }
    }

    /// It hands that one on as the client sent it.
    #[test]
    fn the_header_that_the_proxy_does_not_write_is_not_looked_at() {
        let proxy: IpAddr = PROXY.parse().expect("an address");
        let sent = headers(&[(X, "198.51.100.7"), (F, "for=198.51.100.8")]);
        for (header, expected) in [
            (ForwardedHeader::XForwardedFor, [198, 51, 100, 7]),
            (ForwardedHeader::Forwarded, [198, 51, 100, 8]),
        ] {
            assert_eq!(
                trusted(&["10.0.0.0/8"], header).client(proxy, &sent),
                IpAddr::from(expected)
            );
        }
        let alone = headers(&[(F, "for=198.51.100.8")]);
        let by_default = trusted(&["10.0.0.0/8"], ForwardedHeader::default());
        assert_eq!(by_default.client(proxy, &alone), proxy);
    }

    #[test]
    fn however_much_a_client_writes_in_front_it_is_named() {
        let proxy: IpAddr = PROXY.parse().expect("an address");
        let client: IpAddr = [198, 51, 100, 7].into();
        let found = |list: &str| {
            let by_x = trusted(&["10.0.0.0/8"], ForwardedHeader::XForwardedFor);
            by_x.client(proxy, &headers(&[(X, list)]))
        };
        let in_front = vec!["10.1.1.1"; HOPS_MAX * 2].join(",");
        assert_eq!(found(&format!("{in_front},198.51.100.7")), client);
        // Proxies of ours, more than there are: none of them has seen a client.
        assert_eq!(
            found(&format!("198.51.100.7,{in_front}")),
            IpAddr::from([10, 1, 1, 1])
        );
    }

    #[test]
    fn nobody_is_trusted_unless_named() {
        let peer: IpAddr = "127.0.0.1".parse().expect("an address");
        let sent = headers(&[(X, "198.51.100.7")]);
        assert_eq!(TrustedProxies::default().client(peer, &sent), peer);
        let networks = [
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/23",
            "2001:db8::/63",
            "10.0.0.0/24",
            "2001:db8::/64",
            "10.0.0.5",
            "127.0.0.0/8",
        ];
        let proxies = trusted(&networks, ForwardedHeader::default());
        let wide: Vec<String> = proxies.wide().map(ToString::to_string).collect();
        assert_eq!(wide, networks[..4]);
    }
}
