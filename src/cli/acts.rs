//! `countersign comment`, `ask`, `escalate` and `delegate`: what people do with a request besides deciding it, as a client of the API.
//! Never decides. Read `requests.rs` for what does.

use clap::Args;
use serde::Serialize;

use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use super::requests::parse_id;
use crate::api::acts::{CommentBody, DelegationBody, EscalationBody, QuestionBody, ViewBody};
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

#[derive(Debug, Args)]
pub struct EscalateArgs {
    #[arg(value_parser = parse_id)]
    id: RequestId,
    /// Why, for those who decide next
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub struct DelegateArgs {
    #[arg(value_parser = parse_id)]
    id: RequestId,
    /// Who approves instead of you
    to: String,
    /// Why, for that person
    #[arg(long)]
    reason: String,
}

pub async fn escalate(args: EscalateArgs, output: Output) -> Result<Exit, CliError> {
    let body = EscalationBody { reason: args.reason };
    let card = act(args.id, "escalations", &body).await?;
    output.either(&card, || {
        format!(
            "{}  escalated to {}, until {}\n",
            card.id,
            card.approvers.join(" or "),
            card.expires_at
        )
    });
    Ok(Exit::Done)
}

pub async fn delegate(args: DelegateArgs, output: Output) -> Result<Exit, CliError> {
    let body = DelegationBody {
        to: args.to,
        reason: args.reason,
    };
    let card = act(args.id, "delegations", &body).await?;
    output.either(&card, || format!("{}  delegated to {}\n", card.id, body.to));
    Ok(Exit::Done)
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

/// The card with the values that are withheld, which is recorded.
pub async fn reveal(client: &Client, id: RequestId) -> Result<Card, CliError> {
    client.post(&format!("/requests/{id}/reveal"), &ViewBody {}).await
}

async fn act(id: RequestId, route: &str, body: &impl Serialize) -> Result<Card, CliError> {
    let client = Client::from_environment()?;
    let key = format!("{:032x}", rand::random::<u128>());
    client
        .post_once(&format!("/requests/{id}/{route}"), body, &key)
        .await
}
