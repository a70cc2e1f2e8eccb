//! `review list|sign`: a client of the API for what is looked at again after one person approved alone.
//! Never approves: `approve --break-glass` does. Read `requests.rs` for that.

use clap::{Args, Subcommand, ValueEnum};

use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use super::requests::parse_id;
use crate::api::requests::Page;
use crate::api::reviews::{ReviewBody, ReviewShape};
use crate::hold::{Finding, RequestId};
use crate::render::visible_line;

#[derive(Debug, Subcommand)]
pub enum ReviewCommand {
    /// List the reviews that nobody has signed yet
    List(ListArgs),
    /// Sign the review of a request that somebody else approved alone
    Sign(SignArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Also those that are signed
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub struct SignArgs {
    /// The request that was approved alone
    #[arg(value_parser = parse_id)]
    id: RequestId,
    /// Whether it was right to approve it alone
    #[arg(long, value_enum)]
    finding: FindingWord,
    /// What you found, in one line
    text: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum FindingWord {
    Fine,
    NotFine,
}

impl FindingWord {
    const fn finding(self) -> Finding {
        match self {
            Self::Fine => Finding::Fine,
            Self::NotFine => Finding::NotFine,
        }
    }
}

pub async fn run(command: ReviewCommand, output: Output) -> Result<Exit, CliError> {
    match command {
        ReviewCommand::List(args) => list(args, output).await,
        ReviewCommand::Sign(args) => sign(args, output).await,
    }
}

async fn list(args: ListArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let state = if args.all { "all" } else { "open" };
    let items = reviews(&client, state).await?;
    if output.is_json() {
        output.json(&Page {
            items,
            next_cursor: None,
        });
        return Ok(Exit::Done);
    }
    if items.is_empty() {
        eprintln!("no review");
    }
    items.iter().for_each(|review| output.text(&line(review)));
    Ok(Exit::Done)
}

async fn reviews(client: &Client, state: &str) -> Result<Vec<ReviewShape>, CliError> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("state", state.to_owned()), ("limit", "500".to_owned())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page<ReviewShape> = client.get("/reviews", &query).await?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(items);
        }
    }
}

/// Says on standard error how many reviews are open, if any is.
pub fn tell_open(open: u64) {
    match open {
        0 => {}
        1 => eprintln!("1 review is open: `countersign review list`"),
        open => eprintln!("{open} reviews are open: `countersign review list`"),
    }
}

async fn sign(args: SignArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let body = ReviewBody {
        finding: args.finding.finding().to_string(),
        text: args.text,
    };
    let key = format!("{:032x}", rand::random::<u128>());
    let path = format!("/requests/{}/review", args.id);
    let review: ReviewShape = client.post_once(&path, &body, &key).await?;
    output.either(&review, || line(&review));
    Ok(Exit::Done)
}

fn line(review: &ReviewShape) -> String {
    let broken = format!(
        "{}  {}  approved alone by {} at {}: {}",
        review.request,
        review.state,
        review.broken_by,
        review.opened_at,
        visible_line(&review.reason)
    );
    match (&review.signed_by, &review.finding, &review.text) {
        (Some(by), Some(finding), Some(text)) => {
            format!(
                "{broken}\n        {finding}, signed by {by}: {}",
                visible_line(text)
            )
        }
        (_, _, _) => broken,
    }
}
