//! Webhooks as Standard Webhooks describes them: a thin JSON body, an id that stays, a signature for each secret.
//! Never sends a statement, a parameter or a reason. Read `post.rs` for where it may go to.

use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::post::{Poster, UrlError};
use super::{CHECKPOINT_EVENT, Channel, Message, Notice, Sent};
use crate::clock::Timestamp;
use crate::hold::HeldRequest;

/// What every secret begins with.
pub const SECRET_PREFIX: &str = "whsec_";
/// Standard Webhooks: 24 to 64 bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// One endpoint, as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    pub name: String,
    pub url: String,
    /// One secret a line; with several every message has as many signatures.
    pub secret_file: PathBuf,
    pub events: Vec<String>,
    /// Only requests of these risks; empty: all.
    pub risks: Vec<String>,
    pub allow_private: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("webhook `{name}`: {error}")]
    Url { name: String, error: UrlError },
    #[error("webhook `{name}`: `{}` cannot be read: {why}", file.display())]
    Unreadable {
        name: String,
        file: PathBuf,
        why: String,
    },
    #[error("webhook `{name}`: `{}` holds no secret that begins with `whsec_` and is 24 to 64 bytes in base 64", file.display())]
    Secret { name: String, file: PathBuf },
}

impl WebhookError {
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Url { error, .. } => error.next_step(),
            Self::Unreadable { .. } => "name a file that this user can read in `secret_file`",
            Self::Secret { .. } => "write it with: echo \"whsec_$(openssl rand -base64 32)\"",
        }
    }
}

/// An endpoint.
pub struct Webhook {
    settings: WebhookSettings,
    poster: Poster,
    secrets: ArcSwap<Vec<SigningKey>>,
}

/// A secret, decoded; never printed.
pub struct SigningKey(Zeroizing<Vec<u8>>);

impl SigningKey {
    /// Reads `whsec_` and base 64.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim().strip_prefix(SECRET_PREFIX)?).ok()?;
        let bytes = Zeroizing::new(bytes);
        SECRET_BYTES.contains(&bytes.len()).then_some(Self(bytes))
    }

    /// `v1,` and the HMAC-SHA256 over `id.timestamp.body` in base 64.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl Webhook {
    pub fn new(settings: WebhookSettings) -> Result<Self, WebhookError> {
        let poster =
            Poster::new(&settings.url, settings.allow_private).map_err(|error| WebhookError::Url {
                name: settings.name.clone(),
                error,
            })?;
        let secrets = ArcSwap::from_pointee(read_secrets(&settings.name, &settings.secret_file)?);
        Ok(Self {
            settings,
            poster,
            secrets,
        })
    }

    fn signed(&self, message: &Message, now: Timestamp) -> HeaderMap {
        let seconds = now.micros().div_euclid(1_000_000);
        let signatures: Vec<String> = self
            .secrets
            .load()
            .iter()
            .map(|secret| secret.sign(&message.id, seconds, message.body.as_bytes()))
            .collect();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let values = [
            ("webhook-id", message.id.clone()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        for (name, value) in values {
            let value = HeaderValue::try_from(value).expect("ids, numbers and base 64 are ASCII");
            headers.insert(HeaderName::from_static(name), value);
        }
        headers
    }
}

impl Channel for Webhook {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn events(&self) -> Vec<String> {
        self.settings.events.clone()
    }

    fn wants(&self, notice: &Notice) -> bool {
        let Some(held) = &notice.request else { return true };
        let risk = held.risk.to_string();
        self.settings.risks.is_empty() || self.settings.risks.contains(&risk)
    }

    fn target(&self) -> String {
        self.poster.shown_url()
    }

    fn render(&self, notice: &Notice) -> Message {
        Message {
            id: notice.delivery.message.clone(),
            body: body(notice).to_string(),
        }
    }

    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            // Signed anew at each try: a receiver refuses a timestamp that is old.
            let headers = self.signed(message, Timestamp::now());
            self.poster.post(headers, message.body.clone()).await
        })
    }

    fn reload(&self) -> Result<(), String> {
        let secrets = read_secrets(&self.settings.name, &self.settings.secret_file);
        self.secrets
            .store(std::sync::Arc::new(secrets.map_err(|error| error.to_string())?));
        Ok(())
    }
}

/// All texts in here are short: names, words, ids, times.
fn body(notice: &Notice) -> Value {
    let delivery = &notice.delivery;
    let mut data = Map::new();
    if let Some(grant) = &delivery.grant {
        data.insert("grant".to_owned(), json!(grant));
    }
    if let Some(held) = &notice.request {
        data.append(&mut facts(held));
    }
    if delivery.kind == CHECKPOINT_EVENT
        && let Ok(Value::Object(mut checkpoint)) = serde_json::from_str(&delivery.detail)
    {
        data.append(&mut checkpoint);
    }
    data.insert("state".to_owned(), json!(delivery.state));
    if let Some(url) = &notice.url {
        data.insert("url".to_owned(), json!(url));
    }
    json!({
        "type": delivery.kind,
        "timestamp": delivery.at.to_string(),
        "data": data,
    })
}

fn facts(held: &HeldRequest) -> Map<String, Value> {
    let facts = [
        ("id", held.id.to_string()),
        ("risk", held.risk.to_string()),
        ("class", held.class.to_string()),
        ("database", held.peer.database.clone()),
        ("rule", held.rule.clone()),
        ("principal", held.peer.principal.to_string()),
        ("expires_at", held.expires_at.to_string()),
    ];
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect()
}

fn read_secrets(name: &str, file: &Path) -> Result<Vec<SigningKey>, WebhookError> {
    let text = std::fs::read_to_string(file).map_err(|error| WebhookError::Unreadable {
        name: name.to_owned(),
        file: file.to_owned(),
        why: error.to_string(),
    })?;
    let text = Zeroizing::new(text);
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let keys: Option<Vec<SigningKey>> = lines.map(SigningKey::parse).collect();
    keys.filter(|keys| !keys.is_empty())
        .ok_or_else(|| WebhookError::Secret {
            name: name.to_owned(),
            file: file.to_owned(),
        })
}
