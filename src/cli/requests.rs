//! `pending`, `show`, `watch`, `wait`, `approve`, `deny`: a client of the API for people who decide.
//! Never decides without a digest: what is approved is what was shown. Read `card.rs` for how that looks.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use super::card::{card_text, list_line, said_by};
use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use crate::api::card::Card;
use crate::api::requests::{DecisionBody, Page};
use crate::clock::Timestamp;
use crate::hold::{RequestId, StateKind};

/// Requests of the same shape that a card looks back on.
const EARLIER_MAX: usize = 10;
/// One long poll; the API grants at most a minute.
const POLL_SECONDS: u64 = 30;

#[derive(Debug, Args)]
pub struct PendingArgs {
    /// Requests in these states instead, newest first: approved,denied …
    #[arg(
        long,
        value_name = "STATES",
        default_value = "pending",
        hide_default_value = true
    )]
    state: String,
    /// Only requests of this agent
    #[arg(long)]
    principal: Option<String>,
    /// Only requests of this class
    #[arg(long)]
    class: Option<String>,
    /// Only requests on this database
    #[arg(long)]
    database: Option<String>,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The request, as it is called in notices and lists
    #[arg(value_parser = parse_id)]
    id: RequestId,
}

#[derive(Debug, Args)]
pub struct WaitArgs {
    #[arg(value_parser = parse_id)]
    id: RequestId,
    /// Give up after this many seconds, with exit code 12
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    #[arg(value_parser = parse_id)]
    id: RequestId,
    /// Why, for the log and for the agent
    #[arg(long)]
    reason: Option<String>,
    /// The digest that `show` printed: approves exactly that, without asking. Needed without a terminal
    #[arg(long)]
    digest: Option<String>,
}

#[derive(Debug, Args)]
pub struct DenyArgs {
    #[arg(value_parser = parse_id)]
    id: RequestId,
    /// Why; the agent reads it
    #[arg(long)]
    reason: String,
    /// Deny only if it is still this
    #[arg(long)]
    digest: Option<String>,
}

fn parse_id(text: &str) -> Result<RequestId, String> {
    RequestId::parse(text).ok_or_else(|| "a request is six letters and digits, such as 7K3F9Q".to_owned())
}

pub async fn pending(args: PendingArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let filters = [
        ("principal", args.principal),
        ("class", args.class),
        ("database", args.database),
    ];
    let mut query = vec![("state", args.state)];
    query.extend(filters.into_iter().filter_map(|(key, value)| Some((key, value?))));
    let mut items: Vec<Card> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = query.clone();
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page<Card> = client.get("/requests", &query).await?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if output.is_json() {
        output.json(&Page {
            items,
            next_cursor: None,
        });
        return Ok(Exit::Done);
    }
    if items.is_empty() {
        eprintln!("no request");
    }
    items
        .iter()
        .for_each(|card| output.text(&list_line(card, Timestamp::now())));
    Ok(Exit::Done)
}

pub async fn show(args: ShowArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let card = fetch(&client, args.id).await?;
    if output.is_json() {
        output.json(&card);
    } else {
        output.text(&whole_card(&client, &card).await?);
    }
    Ok(Exit::Done)
}

/// The card, with what was decided before on statements of the same shape.
async fn whole_card(client: &Client, card: &Card) -> Result<String, CliError> {
    let query = [
        ("fingerprint", card.fingerprint.clone()),
        ("limit", EARLIER_MAX.to_string()),
    ];
    let alike: Page<Card> = client.get("/requests", &query).await?;
    let earlier: Vec<Card> = alike
        .items
        .into_iter()
        .filter(|other| other.id != card.id)
        .collect();
    Ok(card_text(card, &earlier, Timestamp::now()))
}

async fn fetch(client: &Client, id: RequestId) -> Result<Card, CliError> {
    client.get(&format!("/requests/{id}"), &[]).await
}

/// An event of the stream.
#[derive(Debug, Deserialize)]
struct Told {
    request: Option<String>,
    state: Option<String>,
}

pub async fn watch(output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let mut last_id = None;
    eprintln!("watching; Ctrl-C ends it");
    // The server ends each stream after a while, so that a revoked token does not listen for ever.
    loop {
        client
            .events("/events", &[], &mut last_id, async |data| {
                if output.is_json() {
                    output.text(data);
                    return Ok(());
                }
                tell(&client, data, output).await
            })
            .await?;
    }
}

async fn tell(client: &Client, data: &str, output: Output) -> Result<(), CliError> {
    let told: Told = serde_json::from_str(data)
        .map_err(|error| CliError::error(error, "use a client and a server of one version"))?;
    let (Some(request), Some(state)) = (told.request, told.state) else {
        eprintln!("some news was missed; look at `countersign pending`");
        return Ok(());
    };
    match RequestId::parse(&request) {
        Some(id) if state == StateKind::Pending.as_str() => {
            output.text(&list_line(&fetch(client, id).await?, Timestamp::now()));
        }
        Some(_) | None => output.text(&format!("{request}  {state}")),
    }
    Ok(())
}

pub async fn wait(args: WaitArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let started = Instant::now();
    loop {
        let left = match args.timeout {
            Some(timeout) => Duration::from_secs(timeout)
                .saturating_sub(started.elapsed())
                .as_secs(),
            None => POLL_SECONDS,
        };
        let query = [("wait", format!("{}s", left.min(POLL_SECONDS)))];
        let card: Card = client.get(&format!("/requests/{}", args.id), &query).await?;
        let is_over = args.timeout.is_some() && left == 0;
        let exit = exit_of(&card)?;
        if exit != Exit::StillPending || is_over {
            output.either(&card, || match card.decisions.last() {
                Some(said) => format!("{}  {}  {}", card.id, card.state, said_by(said)),
                None => format!("{}  {}", card.id, card.state),
            });
            return Ok(exit);
        }
    }
}

/// What the state of a request means to a script.
fn exit_of(card: &Card) -> Result<Exit, CliError> {
    let state = StateKind::parse(&card.state).ok_or_else(|| {
        CliError::error(
            format!("unknown state `{}`", card.state),
            "use a client and a server of one version",
        )
    })?;
    Ok(match state {
        StateKind::Pending | StateKind::Detached => Exit::StillPending,
        StateKind::Approved
        | StateKind::Running
        | StateKind::Finished
        | StateKind::Grant
        | StateKind::Redeemed => Exit::Done,
        StateKind::Denied => Exit::Denied,
        StateKind::Expired => Exit::Expired,
        StateKind::Stale => Exit::AlreadyDecided,
        StateKind::Failed | StateKind::OutcomeUnknown | StateKind::Withdrawn | StateKind::Lapsed => {
            Exit::Error
        }
    })
}

pub async fn approve(args: ApproveArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let digest = match args.digest {
        Some(digest) => (digest, None),
        None if std::io::stdin().is_terminal() && !output.is_json() => {
            let card = fetch(&client, args.id).await?;
            eprint!("{}", whole_card(&client, &card).await?);
            if !is_confirmed(args.id)? {
                return Err(CliError::error("not approved", ""));
            }
            (card.digest, Some(card.version))
        }
        None => {
            return Err(CliError::usage(
                "without a terminal, an approval names what it approves",
                format!(
                    "read `countersign show {0}`, then add --digest with its digest",
                    args.id
                ),
            ));
        }
    };
    let (digest, version) = digest;
    let reason = args.reason.unwrap_or_default();
    decide(&client, args.id, "approve", reason, Some(digest), version, output).await
}

pub async fn deny(args: DenyArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    decide(&client, args.id, "deny", args.reason, args.digest, None, output).await
}

async fn decide(
    client: &Client,
    id: RequestId,
    decision: &str,
    reason: String,
    digest: Option<String>,
    version: Option<u64>,
    output: Output,
) -> Result<Exit, CliError> {
    let body = DecisionBody {
        decision: decision.to_owned(),
        reason: Some(reason).filter(|reason| !reason.is_empty()),
        digest,
        version,
        scope: None,
    };
    let key = format!("{:032x}", rand::random::<u128>());
    let card: Card = client
        .post_once(&format!("/requests/{id}/decision"), &body, &key)
        .await?;
    output.either(&card, || said_text(&card, decision));
    Ok(Exit::Done)
}

fn said_text(card: &Card, decision: &str) -> String {
    let approvals = card
        .decisions
        .iter()
        .filter(|said| said.decision == "approve")
        .count();
    match decision {
        "approve" if matches!(card.state.as_str(), "pending" | "detached") => {
            format!(
                "{}  {approvals} of {} approvals; it still waits\n",
                card.id, card.approvals_needed
            )
        }
        "approve" if card.state == "grant" => format!(
            "{}  approved; its client has left: the same bytes run once if sent again by {}\n",
            card.id,
            card.grant_until.as_deref().unwrap_or("the end of the grant")
        ),
        "approve" => format!("{}  approved\n", card.id),
        _ => format!("{}  denied\n", card.id),
    }
}

/// Asks on the terminal; anything but `yes` is no, so that a stray key approves nothing.
fn is_confirmed(id: RequestId) -> Result<bool, CliError> {
    eprint!("\nApprove {id} once? Type yes: ");
    // Unflushed words on stderr are the terminal's trouble, not the decision's.
    let _flushed = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| CliError::error(error, "name the digest with --digest"))?;
    Ok(answer.trim() == "yes")
}
