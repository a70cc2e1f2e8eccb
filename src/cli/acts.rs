//! `countersign comment` and `ask`: what people do with a request besides deciding it, as a client of the API.
//! Never decides. Read `requests.rs` for what does.

use clap::Args;
use serde::Serialize;

use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use super::requests::parse_id;
use crate::api::acts::{CommentBody, QuestionBody, ViewBody};
use crate::api::card::Card;
use crate::hold::RequestId;

#[derive(Debug, Args)]
pub struct CommentArgs {
    #[arg(value_parser = parse_id)]
    id: RequestId,
    /// What other reviewers and auditors read; the agent does not
    text: String,
}

#[derive(Debug, Args)]
pub struct AskArgs {
    #[arg(value_parser = parse_id)]
    id: RequestId,
    /// What the agent is asked, in one line; its wait ends, and it answers with the same statement
    question: String,
}

pub async fn comment(args: CommentArgs, output: Output) -> Result<Exit, CliError> {
    let body = CommentBody { text: args.text };
    let card = act(args.id, "comments", &body).await?;
    output.either(&card, || format!("{}  comment kept\n", card.id));
    Ok(Exit::Done)
}

pub async fn ask(args: AskArgs, output: Output) -> Result<Exit, CliError> {
    let body = QuestionBody {
        question: args.question,
    };
    let card = act(args.id, "questions", &body).await?;
    output.either(&card, || {
        format!(
            "{}  asked; the agent gets it as an error and answers by sending the same statement again\n",
            card.id
        )
    });
    Ok(Exit::Done)
}

/// Opens the card, which is recorded.
pub async fn view(client: &Client, id: RequestId) -> Result<Card, CliError> {
    client.post(&format!("/requests/{id}/views"), &ViewBody {}).await
}

async fn act(id: RequestId, route: &str, body: &impl Serialize) -> Result<Card, CliError> {
    let client = Client::from_environment()?;
    let key = format!("{:032x}", rand::random::<u128>());
    client
        .post_once(&format!("/requests/{id}/{route}"), body, &key)
        .await
}
