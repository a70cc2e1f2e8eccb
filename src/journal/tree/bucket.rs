//! Checkpoints in a bucket that speaks S3, each an object that nobody can change or remove before its time (object lock in
//! compliance mode). Never overwrites one and never trusts an answer alone: an object counts once its lock was read back.
//! Read `anchor.rs` for who calls this.
//!
//! ```text
//! key  PREFIX/NNNNNNNNNNNNNNNNNNNN.SIZE    2^64 - 1 - SIZE in 20 digits, so that the newest is listed first; then SIZE
//! ```
//! Why versions are listed and not objects: whoever may write into the bucket may put a marker over an object, or a newer
//! version. The first version under a key is the one that was locked, and it stays.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::Reader;
use quick_xml::events::Event;
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::clock::Timestamp;

/// Of a list that is asked for one object, or a checkpoint; what is longer is no answer to that.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Entries of one list: markers and later versions that somebody put over the newest checkpoint are read past.
const ENTRIES_MAX: u32 = 1_000;
/// Clocks differ, and seconds are cut: a lock may end so much sooner than it was asked for.
const LOCK_SLACK: Duration = Duration::from_secs(120);

/// A place in a bucket. Shown as `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    /// Without a slash at its ends; may be empty.
    pub prefix: String,
}

/// How buckets are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Scheme, host and port, without a slash at the end.
    pub endpoint: String,
    pub region: String,
    pub key_id: String,
    pub secret: Secret,
    /// How long an object is locked.
    pub retain: Duration,
}

/// The secret half of the access key, or where it lies; never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    File(PathBuf),
    Given(Zeroizing<String>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(file) => write!(f, "File({})", file.display()),
            Self::Given(_) => f.write_str("Given(…)"),
        }
    }
}

impl Secret {
    fn read(&self) -> Result<Zeroizing<String>, String> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|cause| format!("cannot read `{}`: {cause}", file.display()))?;
                let text = Zeroizing::new(text);
                Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }
}

impl std::fmt::Display for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.prefix.as_str() {
            "" => write!(f, "s3://{}", self.name),
            prefix => write!(f, "s3://{}/{prefix}", self.name),
        }
    }
}

impl Bucket {
    /// Reads what `Display` writes. Only letters that need no escaping, so that what is signed is what is sent.
    pub fn parse(url: &str) -> Option<Self> {
        let path = url.strip_prefix("s3://")?.trim_end_matches('/');
        let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
        let is_name =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || ".-".contains(letter);
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/".contains(letter);
        let is_good = (3..=63).contains(&name.len())
            && name.chars().all(is_name)
            && !name.contains("..")
            && prefix.chars().all(is_plain)
            && prefix.len() <= 512
            && (prefix.is_empty() || prefix.split('/').all(|part| !["", ".", ".."].contains(&part)));
        is_good.then(|| Self {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// What the keys of all checkpoints begin with.
    fn folder(&self) -> String {
        match self.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    fn key(&self, size: u64) -> String {
        format!("{}{:020}.{size}", self.folder(), u64::MAX - size)
    }

    /// The size that a key names, if it is one of ours.
    fn size_of(&self, key: &str) -> Option<u64> {
        let (_, size) = key.strip_prefix(&self.folder())?.split_once('.')?;
        let size = size.parse().ok()?;
        (self.key(size) == key).then_some(size)
    }
}

/// Speaks with one endpoint.
pub struct Client {
    http: reqwest::Client,
    access: Access,
    credentials: Credentials,
}

/// A request before it is signed.
struct Call<'a> {
    method: Method,
    /// Bucket, key and query.
    path: String,
    headers: Vec<(&'static str, String)>,
    body: &'a str,
}

impl Client {
    /// Reads the secret. Errors: it cannot be read.
    pub fn new(http: reqwest::Client, access: Access) -> Result<Self, String> {
        let secret = access.secret.read()?;
        let credentials = Credentials::new(access.key_id.clone(), secret.as_str(), None, None, "settings");
        Ok(Self {
            http,
            access,
            credentials,
        })
    }

    /// Puts a checkpoint over `size` records there, and reads back that it is locked. One that is there already is
    /// as good, if it is the same.
    pub async fn put(&self, bucket: &Bucket, size: u64, note: &str, timeout: Duration) -> Result<(), String> {
        let until = Timestamp::now().after(self.access.retain);
        let key = bucket.key(size);
        let call = Call {
            method: Method::PUT,
            path: format!("{}/{key}", bucket.name),
            headers: vec![
                ("content-type", "text/plain; charset=utf-8".to_owned()),
                ("if-none-match", "*".to_owned()),
                ("x-amz-checksum-sha256", STANDARD.encode(Sha256::digest(note))),
                ("x-amz-sdk-checksum-algorithm", "SHA256".to_owned()),
                ("x-amz-object-lock-mode", "COMPLIANCE".to_owned()),
                ("x-amz-object-lock-retain-until-date", whole_seconds(until)),
            ],
            body: note,
        };
        let answer = self.send(call, timeout).await?;
        if answer.status() == StatusCode::PRECONDITION_FAILED {
            return self.is_there(bucket, size, note, timeout).await;
        }
        let version = header(&answer, "x-amz-version-id");
        succeeded(answer).await?;
        let version = version.ok_or("it gave the object no version: a bucket with object lock does")?;
        self.check_lock(bucket, &key, &version, until, timeout).await
    }

    /// An answer may have been lost on its way, so the object may be ours.
    async fn is_there(
        &self,
        bucket: &Bucket,
        size: u64,
        note: &str,
        timeout: Duration,
    ) -> Result<(), String> {
        let key = bucket.key(size);
        let first = self.versions(bucket, &key, timeout).await?;
        let first = first.iter().rfind(|version| version.key == key);
        let first = first.ok_or("it says that the object is there, and lists no version of it")?;
        if self.get(bucket, first, timeout).await? != note {
            return Err(format!("it holds another checkpoint over {size} records"));
        }
        self.check_lock(bucket, &key, &first.id, Timestamp::now(), timeout)
            .await
    }

    async fn check_lock(
        &self,
        bucket: &Bucket,
        key: &str,
        version: &str,
        until: Timestamp,
        timeout: Duration,
    ) -> Result<(), String> {
        let call = Call::get(
            Method::HEAD,
            format!("{}/{key}?versionId={}", bucket.name, escaped(version)),
        );
        let answer = self.send(call, timeout).await?;
        let mode = header(&answer, "x-amz-object-lock-mode");
        let held = header(&answer, "x-amz-object-lock-retain-until-date");
        succeeded(answer).await?;
        let held = held.as_deref().and_then(Timestamp::parse);
        if mode.as_deref() == Some("COMPLIANCE") && held.is_some_and(|held| held.after(LOCK_SLACK) >= until) {
            return Ok(());
        }
        Err("it took the object and does not lock it: the bucket needs object lock, the key s3:GetObjectRetention"
            .to_owned())
    }

    /// The newest checkpoint that was put there.
    pub async fn newest(&self, bucket: &Bucket, timeout: Duration) -> Result<Option<String>, String> {
        let versions = self.versions(bucket, &bucket.folder(), timeout).await?;
        let ours = |version: &&Version| bucket.size_of(&version.key).is_some();
        let Some(newest) = versions.iter().find(ours) else {
            return Ok(None);
        };
        // Versions of one key are listed from the last to the first.
        let first = versions.iter().rfind(|version| version.key == newest.key);
        self.get(bucket, first.unwrap_or(newest), timeout).await.map(Some)
    }

    async fn get(&self, bucket: &Bucket, version: &Version, timeout: Duration) -> Result<String, String> {
        let id = escaped(&version.id);
        let path = format!("{}/{}?versionId={id}", bucket.name, version.key);
        let answer = self.send(Call::get(Method::GET, path), timeout).await?;
        succeeded(answer).await
    }

    /// Versions below a prefix, by key, those of one key from the last to the first; markers are left out.
    async fn versions(
        &self,
        bucket: &Bucket,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Vec<Version>, String> {
        let prefix = escaped(prefix);
        let path = format!("{}?max-keys={ENTRIES_MAX}&prefix={prefix}&versions=", bucket.name);
        let answer = self.send(Call::get(Method::GET, path), timeout).await?;
        let listed = Listed::parse(&succeeded(answer).await?)?;
        if listed.versions.is_empty() && listed.is_cut {
            return Err(format!(
                "it lists {ENTRIES_MAX} markers before the first checkpoint"
            ));
        }
        Ok(listed.versions)
    }

    async fn send(&self, call: Call<'_>, timeout: Duration) -> Result<Response, String> {
        let url = format!("{}/{}", self.access.endpoint, call.path);
        let signed = self.signature(&call, &url)?;
        let mut request = self.http.request(call.method, &url).timeout(timeout);
        for (name, value) in call.headers.into_iter().chain(signed) {
            request = request.header(name, value);
        }
        let sent = request.body(call.body.to_owned()).send().await;
        sent.map_err(|error| super::anchor::innermost(&error))
    }

    /// The headers that sign a call.
    fn signature(&self, call: &Call<'_>, url: &str) -> Result<Vec<(&'static str, String)>, String> {
        let failed = |what: &dyn std::fmt::Display| format!("the call cannot be signed: {what}");
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.access.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|error| failed(&error))?
            .into();
        let headers = call.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let body = SignableBody::Bytes(call.body.as_bytes());
        let signable =
            SignableRequest::new(call.method.as_str(), url, headers, body).map_err(|error| failed(&error))?;
        let (instructions, _signature) = sign(signable, &params)
            .map_err(|error| failed(&error))?
            .into_parts();
        let (headers, _query) = instructions.into_parts();
        let named = headers
            .iter()
            .map(|header| (header.name(), header.value().to_owned()));
        Ok(named.collect())
    }
}

impl Call<'_> {
    const fn get(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            headers: Vec::new(),
            body: "",
        }
    }
}

/// One version of one object.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    key: String,
    id: String,
}

/// A list of versions.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listed {
    versions: Vec<Version>,
    /// There are more than fit into one list.
    is_cut: bool,
}

impl Listed {
    fn parse(xml: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(xml);
        let (mut path, mut text): (Vec<String>, _) = (Vec::new(), String::new());
        let mut listed = Self::default();
        let (mut key, mut id) = (String::new(), String::new());
        loop {
            let event = reader.read_event();
            match event.map_err(|_| "its list of versions cannot be read".to_owned())? {
                Event::Start(tag) => {
                    path.push(tag.local_name().as_ref().to_owned());
                    text.clear();
                }
                Event::Text(piece) => text.push_str(&piece),
                Event::End(_) => {
                    let words: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
                    match words[..] {
                        ["Version", "Key"] => key = std::mem::take(&mut text),
                        ["Version", "VersionId"] => id = std::mem::take(&mut text),
                        ["Version"] => listed.versions.push(Version {
                            key: std::mem::take(&mut key),
                            id: std::mem::take(&mut id),
                        }),
                        ["IsTruncated"] => listed.is_cut = text.trim() == "true",
                        [..] => {}
                    }
                    path.pop();
                }
                Event::Eof => return Ok(listed),
                _other => {}
            }
        }
    }
}

fn header(answer: &Response, name: &str) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The text of a good answer; of another one its status and S3's word for it.
async fn succeeded(mut answer: Response) -> Result<String, String> {
    let status = answer.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|error| super::anchor::innermost(&error))?
    {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(bytes).map_err(|_| "its answer is no text".to_owned())?;
    if status.is_success() {
        return Ok(text);
    }
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once('<'));
    let is_word = |code: &str| code.len() <= 64 && code.chars().all(|letter| letter.is_ascii_alphanumeric());
    Err(match code {
        Some((code, _)) if is_word(code) => format!("it answered {status}: {code}"),
        Some(_) | None => format!("it answered {status}"),
    })
}

/// As S3 takes it: without parts of a second.
fn whole_seconds(time: Timestamp) -> String {
    let seconds = time.micros() / 1_000_000;
    let moment =
        time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}

/// For a query: everything but unreserved letters as percent signs, as signatures want it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_read_as_it_is_shown_and_nothing_that_needs_escaping_is_one() {
        for url in ["s3://audit-logs", "s3://audit.example/prod/eu-1"] {
            assert_eq!(Bucket::parse(url).expect("a bucket").to_string(), url);
        }
        let wrong = [
            "s3://",
            "s3://ab",
            "s3://UPPER",
            "s3://a b c",
            "s3://abc/x y",
            "s3://abc//x",
            "s3://abc/../x",
            "s3://abc/%2e",
            "s3://abc/x?y",
            "https://abc/x",
        ];
        for url in wrong {
            assert_eq!(Bucket::parse(url), None, "{url}");
        }
    }

    #[test]
    fn newest_checkpoint_has_the_first_key() {
        let bucket = Bucket::parse("s3://abc/x").expect("a bucket");
        let sizes = [0, 1, 9, 10, 1_284_503, u64::MAX];
        let keys: Vec<_> = sizes.iter().map(|size| bucket.key(*size)).collect();
        assert!(keys.is_sorted_by(|smaller, larger| smaller > larger));
        for (key, size) in keys.iter().zip(sizes) {
            assert_eq!(bucket.size_of(key), Some(size));
        }
        assert_eq!(bucket.size_of("x/00000000000000000000.5"), None);
    }

    #[test]
    fn versions_are_read_past_markers() {
        let xml = "<?xml version=\"1.0\"?><ListVersionsResult xmlns=\"x\"><Name>abc</Name>\
            <IsTruncated>false</IsTruncated>\
            <DeleteMarker><Key>x/1</Key><VersionId>m</VersionId></DeleteMarker>\
            <Version><Key>x/1</Key><VersionId>b</VersionId><Owner><ID>o</ID></Owner></Version>\
            <DeleteMarker><Key>x/1</Key><VersionId>n</VersionId></DeleteMarker>\
            <Version><Key>x/1</Key><VersionId>a</VersionId></Version></ListVersionsResult>";
        let listed = Listed::parse(xml).expect("a list");
        let ids: Vec<_> = listed
            .versions
            .iter()
            .map(|version| version.id.as_str())
            .collect();
        assert_eq!(ids, ["b", "a"]);
        assert!(!listed.is_cut);
        assert!(Listed::parse("<a><b></a>").is_err());
    }
}
