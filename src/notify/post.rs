//! Sends one POST to one URL, to nobody else and not for long: no redirects, no proxy, no private address unless allowed.
//! Never reads more of an answer than its head. Read `address.rs` for which addresses are allowed.

use std::net::IpAddr;
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use super::Sent;
use super::address::{PublicAlone, is_public};
use crate::clock::Timestamp;

/// Standard Webhooks asks for 15 to 30 s.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// Longer texts of errors say nothing more.
const WHY_BYTES_MAX: usize = 300;

#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    #[error("`{0}` is no URL")]
    NoUrl(String),
    #[error("`{0}` goes over the public internet unencrypted")]
    NotHttps(String),
    #[error("`{0}` is no http or https URL")]
    Scheme(String),
    #[error("`{0}` names an address that is not public")]
    NotPublic(String),
    #[error("no client can be made: {0}")]
    Client(String),
}

impl UrlError {
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::NoUrl(_) | Self::Scheme(_) => "write it as https://host/path",
            Self::NotHttps(_) => {
                "write https://, or `allow_private = true` for a receiver in your own network"
            }
            Self::NotPublic(_) => "write `allow_private = true` if the receiver is in your own network",
            Self::Client(_) => "check the certificates of this machine",
        }
    }
}

/// A client for one URL.
#[derive(Debug)]
pub struct Poster {
    http: reqwest::Client,
    url: Url,
}

impl Poster {
    /// Whether messages may go to a URL, as far as the URL itself tells.
    pub fn check(url: &str, allow_private: bool) -> Result<Url, UrlError> {
        let parsed = Url::parse(url).map_err(|_| UrlError::NoUrl(url.to_owned()))?;
        let host = parsed.host_str().ok_or_else(|| UrlError::NoUrl(url.to_owned()))?;
        match parsed.scheme() {
            "https" => {}
            "http" if allow_private => {}
            "http" => return Err(UrlError::NotHttps(url.to_owned())),
            _other => return Err(UrlError::Scheme(url.to_owned())),
        }
        // An address that stands in the URL is never resolved, so it is judged here.
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if literal.is_ok_and(|address| !allow_private && !is_public(address)) {
            return Err(UrlError::NotPublic(url.to_owned()));
        }
        Ok(parsed)
    }

    pub fn new(url: &str, allow_private: bool) -> Result<Self, UrlError> {
        let url = Self::check(url, allow_private)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .timeout(TIMEOUT);
        if !allow_private {
            builder = builder.dns_resolver(PublicAlone).pool_max_idle_per_host(0);
        }
        let http = builder
            .build()
            .map_err(|error| UrlError::Client(error.to_string()))?;
        Ok(Self { http, url })
    }

    /// Without what stands in it for the receiver alone.
    pub fn shown_url(&self) -> String {
        let mut shown = self.url.clone();
        // Some URLs cannot have these, and then have none.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.set_fragment(None);
        shown.to_string()
    }

    pub async fn post(&self, headers: HeaderMap, body: String) -> Sent {
        let request = self.http.post(self.url.clone()).headers(headers).body(body);
        match request.send().await {
            Ok(response) => judged(response.status(), response.headers()),
            Err(error) => Sent::Failed {
                why: shortened(cause(&error)),
                after: None,
            },
        }
    }
}

fn judged(status: StatusCode, headers: &HeaderMap) -> Sent {
    if status.is_success() {
        return Sent::Delivered;
    }
    if status == StatusCode::GONE {
        return Sent::Gone;
    }
    let waits = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    let after = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .filter(|_| waits.contains(&status))
        .and_then(|text| retry_after(text, Timestamp::now()));
    Sent::Failed {
        why: format!("it answered {status}"),
        after,
    }
}

/// Seconds, or a date as HTTP writes it.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    let micros = at.timestamp_micros().saturating_sub(now.micros());
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// The outer words only say that a request failed, and repeat its URL.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string().replace(char::is_control, " ")
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(WHY_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let now = Timestamp::parse("2026-11-22T20:00:00Z").expect("a time");
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(
            retry_after("Sun, 22 Nov 2026 20:01:30 GMT", now),
            Some(Duration::from_secs(90))
        );
        assert_eq!(
            retry_after("Sun, 22 Nov 2026 19:00:00 GMT", now),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn a_url_with_a_private_address_or_without_tls_needs_a_word_of_the_settings() {
        let refused = [
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://[::ffff:10.0.0.1]/x",
            "https://2130706433/x",
            "https://0x7f.1/x",
            "https://169.254.169.254/latest/meta-data",
            "http://example.org/x",
            "ftp://example.org/x",
            "example.org",
        ];
        for url in refused {
            assert!(Poster::new(url, false).is_err(), "{url}");
        }
    }
}
