//! `webhook list|test|replay`: a client of the API. Never makes one: the settings do, as `[[webhooks]]`.
//! Read `../api/webhooks.rs` for the other side.

use clap::{Args, Subcommand};

use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use crate::api::requests::Page;
use crate::api::webhooks::{Replayed, Tried, WebhookShape};
use crate::render::visible_line;

#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// List the webhooks of the settings, and how each fares
    List,
    /// Send one message of no meaning, and say what became of it
    Test(NameArgs),
    /// Put a disabled webhook in use again, and send all that waits or was given up
    Replay(NameArgs),
}

#[derive(Debug, Args)]
pub struct NameArgs {
    /// As the settings name it
    name: String,
}

pub async fn run(command: WebhookCommand, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    match command {
        WebhookCommand::List => {
            let page: Page<WebhookShape> = client.get("/webhooks", &[]).await?;
            if output.is_json() {
                output.json(&page);
                return Ok(Exit::Done);
            }
            if page.items.is_empty() {
                eprintln!("the settings name no webhook");
            }
            page.items.iter().for_each(|webhook| output.text(&line(webhook)));
            Ok(Exit::Done)
        }
        WebhookCommand::Test(NameArgs { name }) => {
            let path = format!("/webhooks/{}/test", in_path(&name));
            let tried: Tried = client.post(&path, &serde_json::json!({})).await?;
            output.either(&tried, || match &tried.error {
                None => "delivered".to_owned(),
                Some(error) => format!("not delivered: {}", visible_line(error)),
            });
            Ok(if tried.delivered { Exit::Done } else { Exit::Error })
        }
        WebhookCommand::Replay(NameArgs { name }) => {
            let path = format!("/webhooks/{}/replay", in_path(&name));
            let replayed: Replayed = client.post(&path, &serde_json::json!({})).await?;
            output.either(&replayed, || {
                format!("{} messages are sent now", replayed.messages)
            });
            Ok(Exit::Done)
        }
    }
}

/// A name from the command line as one part of a path.
fn in_path(name: &str) -> String {
    let part = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        // A dot stays, unless it would walk to another path.
        b'.' if !name.chars().all(|letter| letter == '.') => ".".to_owned(),
        other => format!("%{other:02X}"),
    };
    name.bytes().map(part).collect()
}

fn line(webhook: &WebhookShape) -> String {
    let mut line = format!(
        "{}  {}  {}  {} waiting, {} given up",
        webhook.name,
        webhook.status,
        visible_line(&webhook.url),
        webhook.waiting,
        webhook.failed
    );
    if webhook.dropped > 0 {
        line.push_str(&format!(", {} found the queue full", webhook.dropped));
    }
    if let Some(error) = &webhook.last_error {
        line.push_str(&format!("\n    last error: {}", visible_line(error)));
    }
    line.push('\n');
    line
}
