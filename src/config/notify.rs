//! Who is told of what happens: `[[webhooks]]`. Never reads a secret and never connects.
//! Read `../notify/webhook.rs` for what is made of them.

use super::reader::{Found, Place, Reader};
use super::value_or;
use crate::notify::EVENTS;
use crate::notify::post::Poster;
use crate::notify::webhook::WebhookSettings;

/// Longer names are no names; they are labels of metrics and parts of paths.
const NAME_BYTES_MAX: usize = 63;

/// What an endpoint is told that names no events.
const EVENTS_DEFAULT: [&str; 2] = ["request.*", "grant.*"];

const RISKS: [&str; 4] = ["low", "medium", "high", "critical"];

pub fn read_webhooks(reader: &mut Reader) -> Vec<WebhookSettings> {
    if let Some(Found { place, .. }) = reader.text("notify.pages_url") {
        let step = "write it as `origin` in `[people]`, and take `[notify]` out";
        reader.complain(&place, "`notify.pages_url` has become `people.origin`", step);
    }
    let mut webhooks: Vec<WebhookSettings> = Vec::new();
    for number in 0..reader.count("webhooks") {
        let Some((webhook, place)) = read_webhook(reader, number) else {
            continue;
        };
        if webhooks.iter().any(|known| known.name == webhook.name) {
            let message = format!("webhook `{}` is named twice", webhook.name);
            reader.complain(&place, message, "give each a name of its own");
        }
        webhooks.push(webhook);
    }
    webhooks
}

fn read_webhook(reader: &mut Reader, number: usize) -> Option<(WebhookSettings, Place)> {
    let table = format!("webhooks.{number}");
    let key = |key: &str| format!("{table}.{key}");
    let place = reader.table_place(&table);
    let name = reader.text(&key("name"));
    let url = reader.text(&key("url"));
    let secret_file = reader.path(&key("secret_file"));
    reader.forbid(
        &key("secret"),
        "a secret does not belong into the settings file",
        "write it to a file of its own and name that in `secret_file`",
    );
    let events = read_words(reader, &key("events"), &EVENTS, &EVENTS_DEFAULT);
    let risks = read_words(reader, &key("risks"), &RISKS, &[]);
    let allow_private = value_or(reader.boolean(&key("allow_private")), || false);
    let (Some(name), Some(url), Some(secret_file)) = (name, url, secret_file) else {
        reader.complain(
            &place,
            "`[[webhooks]]` needs `name`, `url` and `secret_file`",
            "write the secret with: echo \"whsec_$(openssl rand -base64 32)\" > FILE",
        );
        return None;
    };
    let is_plain =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_-.".contains(letter);
    if !(1..=NAME_BYTES_MAX).contains(&name.value.len()) || !name.value.chars().all(is_plain) {
        let message = format!("a webhook cannot be named `{}`", name.value);
        reader.complain(&name.place, message, "write 1 to 63 of a-z 0-9 _ - .");
    }
    if let Err(error) = Poster::check(&url.value, allow_private) {
        reader.complain(&url.place, error.to_string(), error.next_step());
    }
    let webhook = WebhookSettings {
        name: name.value,
        url: url.value,
        secret_file: secret_file.value,
        events,
        risks,
        allow_private,
    };
    Some((webhook, name.place))
}

/// A list of known words; one that ends with `*` must begin at least one of them.
fn read_words(reader: &mut Reader, path: &str, known: &[&str], default: &[&str]) -> Vec<String> {
    let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    let Some(Found { value, place }) = reader.list(path) else {
        return owned(default);
    };
    for word in &value {
        let means_some = known.iter().any(|known| crate::desk::is_meant(word, known));
        if !means_some {
            let message = format!(
                "`{}` cannot hold `{word}`",
                path.rsplit('.').next().unwrap_or(path)
            );
            reader.complain(&place, message, format!("write some of: {}", known.join(", ")));
        }
    }
    value
}
