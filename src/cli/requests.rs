//! `pending`, `show`, `watch`, `wait`, `approve`, `deny`: a client of the API for people who decide.
//! Never decides without a digest: what is approved is what was shown. Read `card.rs` for how that looks.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use super::acts::{reveal, view};
use super::card::{Ink, card_text, list_line, said_by};
use super::client::Client;
use super::exit::{CliError, Exit};
use super::output::Output;
use crate::api::break_glass::BreakGlassBody;
use crate::api::card::Card;
use crate::api::events::GrantNews;
use crate::api::preview::{Preview, PreviewBody};
use crate::api::read::parse_duration;
use crate::api::requests::{DecisionBody, GuardsBody, RequestsPage, RunScope, ScopeBody, StandingScope};
use crate::clock::Timestamp;
use crate::desk::{Reach, Terms};
use crate::hold::{Guards, RequestId, StateKind};
use crate::render::{visible, visible_line};

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
    /// With the values that are withheld because of the labels of their columns; that they were shown to you is recorded
    #[arg(long)]
    reveal: bool,
    /// A code of your authenticator app, for what is of high or critical risk and by the right to break glass alone. It
    /// counts once: the approval takes another
    #[arg(long, value_name = "CODE", requires = "reveal")]
    code: Option<String>,
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
    /// A code of your authenticator app, for what is of high or critical risk
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Approve alone, whatever the rule asks for: needs the role break_glass, a reason and a code. Everybody is told, and
    /// somebody else reviews it
    #[arg(long, requires = "reason", conflicts_with_all = ["minutes", "run"])]
    break_glass: bool,
    /// Make a standing grant, too: statements that differ only in literals and parameters run without asking, so long
    /// (30m, 1h)
    #[arg(long = "for", value_name = "TIME", value_parser = parse_minutes, requires = "count")]
    minutes: Option<u32>,
    /// How often the standing grant lets them run in all, this request's own run included
    #[arg(long, value_name = "COUNT", requires = "minutes", group = "count")]
    uses: Option<u32>,
    /// Approve a run: further statements of this session, of the classes, with the verbs and on the tables of this one or
    /// those named
    #[arg(long, requires = "minutes", requires = "statements")]
    run: bool,
    /// Statements of the run in all, this one included
    #[arg(long, value_name = "COUNT", requires = "run", group = "count")]
    statements: Option<u32>,
    /// Classes of the run: read, write, ddl
    #[arg(long, value_name = "CLASSES", requires = "run", value_delimiter = ',')]
    classes: Vec<String>,
    /// What statements of the run do: "alter table add column,create index"; alter table stands for all that begin so
    #[arg(long, value_name = "VERBS", requires = "run", value_delimiter = ',')]
    verbs: Vec<String>,
    /// Tables of the run, with their schemas where statements name them: public.orders,public.items
    #[arg(long, value_name = "TABLES", requires = "run", value_delimiter = ',')]
    tables: Vec<String>,
    #[command(flatten)]
    reach: ReachArgs,
    /// Put a limit round the run: lock_timeout=5s, statement_timeout=10min, rows_max=100 (undone if it affects more).
    /// May be given several times
    #[arg(long = "guard", value_name = "NAME=VALUE", value_parser = parse_guard)]
    guards: Vec<(String, String)>,
}

/// Whose statements a standing grant lets through.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct ReachArgs {
    /// The standing grant is for the session that asked alone (the default)
    #[arg(long, requires = "minutes")]
    session: bool,
    /// The standing grant is for every session of the agent
    #[arg(long, requires = "minutes", conflicts_with = "run")]
    principal: bool,
    /// The run ends with the transaction that is open
    #[arg(long, requires = "run")]
    transaction: bool,
}

impl ApproveArgs {
    fn guards(&self) -> Result<Guards, CliError> {
        let mut guards = Guards::default();
        for (name, value) in &self.guards {
            let put = guards.put(name, value);
            put.map_err(|error| CliError::usage(error.to_string(), error.next_step()))?;
        }
        Ok(guards)
    }

    fn scope(&self) -> Option<ScopeBody> {
        let minutes = self.minutes?;
        let reach = match (self.reach.principal, self.reach.transaction) {
            (true, _) => Reach::Principal,
            (_, true) => Reach::Transaction,
            (false, false) => Reach::Session,
        };
        if let Some(statements) = self.statements {
            return Some(ScopeBody::Run(RunScope {
                kind: "run".to_owned(),
                whose: reach.as_str().to_owned(),
                classes: self.classes.clone(),
                verbs: self.verbs.clone(),
                tables: self.tables.clone(),
                minutes,
                statements,
            }));
        }
        let uses = self.uses?;
        Some(ScopeBody::Standing(StandingScope::of(Terms {
            reach,
            minutes,
            uses,
        })))
    }
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
    /// Print the very words that the agent would read, and deny nothing
    #[arg(long, conflicts_with = "digest")]
    preview: bool,
}

fn parse_minutes(text: &str) -> Result<u32, String> {
    let minutes = parse_duration(text).map(|life| life.as_secs() / 60);
    minutes
        .and_then(|minutes| u32::try_from(minutes).ok())
        .filter(|minutes| *minutes > 0)
        .ok_or_else(|| "write it as 30m or 1h, at least a minute".to_owned())
}

fn parse_guard(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "write it as NAME=VALUE, such as lock_timeout=5s".to_owned())
}

pub fn parse_id(text: &str) -> Result<RequestId, String> {
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
    let open_reviews = loop {
        let mut query = query.clone();
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: RequestsPage = client.get("/requests", &query).await?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break page.open_reviews;
        }
    };
    if output.is_json() {
        output.json(&RequestsPage {
            items,
            next_cursor: None,
            open_reviews,
        });
        return Ok(Exit::Done);
    }
    if items.is_empty() {
        eprintln!("no request");
    }
    items
        .iter()
        .for_each(|card| output.text(&list_line(card, Timestamp::now())));
    super::reviews::tell_open(open_reviews);
    Ok(Exit::Done)
}

pub async fn show(args: ShowArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let mut card = view(&client, args.id).await?;
    if args.reveal {
        // A code counts once, so only this call carries it.
        card = reveal(&client.clone().with_code(args.code), args.id).await?;
    }
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
    let alike: RequestsPage = client.get("/requests", &query).await?;
    let earlier: Vec<Card> = alike
        .items
        .into_iter()
        .filter(|other| other.id != card.id)
        .collect();
    Ok(card_text(card, &earlier, Timestamp::now(), Ink::of_stdout()))
}

async fn fetch(client: &Client, id: RequestId) -> Result<Card, CliError> {
    client.get(&format!("/requests/{id}"), &[]).await
}

/// An event of the stream about a request, or that some were missed.
#[derive(Debug, Deserialize)]
struct Told {
    request: Option<String>,
    state: Option<String>,
    #[serde(default)]
    impact: bool,
    remark: Option<String>,
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Print lines, on a terminal too
    #[arg(long)]
    plain: bool,
}

/// Full screen on a terminal that can; lines everywhere else.
pub async fn watch(args: WatchArgs, output: Output) -> Result<Exit, CliError> {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let has_screen = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !is_dumb;
    if has_screen && !args.plain && !output.is_json() {
        return super::watch::run().await;
    }
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
    if let Ok(news) = serde_json::from_str::<GrantNews>(data) {
        let (grant, standing) = (&news.grant, &news.standing);
        output.text(&format!(
            "{grant}  {standing}, {} of {} uses  {}",
            news.uses, news.uses_max, news.request
        ));
        return Ok(());
    }
    let told: Told = serde_json::from_str(data)
        .map_err(|error| CliError::error(error, "use a client and a server of one version"))?;
    let (Some(request), Some(state)) = (told.request, told.state) else {
        eprintln!("some news was missed; look at `countersign pending`");
        return Ok(());
    };
    match RequestId::parse(&request) {
        // The card has it, for whoever looks at it.
        Some(_) if told.impact || told.remark.as_deref() == Some("viewed") => {}
        Some(id) if told.remark.is_none() && state == StateKind::Pending.as_str() => {
            output.text(&list_line(&fetch(client, id).await?, Timestamp::now()));
        }
        Some(_) | None => {
            let news = told.remark.unwrap_or(state);
            output.text(&format!("{request}  {news}"));
        }
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
    let scope = args.scope();
    let guards = args.guards()?;
    // A code counts once, so only the decision itself carries it.
    let client = Client::from_environment()?;
    let deciding = client.clone().with_code(args.code);
    let digest = match args.digest {
        Some(digest) => (digest, None),
        None if std::io::stdin().is_terminal() && !output.is_json() => {
            let card = view(&client, args.id).await?;
            eprint!("{}", whole_card(&client, &card).await?);
            let question = match args.break_glass {
                true => break_glass_question(&card, guards),
                false => question(&card, scope.as_ref(), guards)?,
            };
            if !is_confirmed(&question)? {
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
    if args.break_glass {
        let body = BreakGlassBody {
            reason: args.reason.unwrap_or_default(),
            digest,
            version,
            guards: GuardsBody::of(guards),
        };
        return break_glass(&deciding, args.id, &body, output).await;
    }
    let said = DecisionBody {
        decision: "approve".to_owned(),
        reason: args.reason.filter(|reason| !reason.is_empty()),
        digest: Some(digest),
        version,
        scope,
        guards: GuardsBody::of(guards),
    };
    decide(&deciding, args.id, &said, output).await
}

pub async fn deny(args: DenyArgs, output: Output) -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    if args.preview {
        let body = PreviewBody { reason: args.reason };
        let shown: Preview = client
            .post(&format!("/requests/{}/preview", args.id), &body)
            .await?;
        if shown.is_cut {
            eprintln!("the reason is too long for one message: its end is missing");
        }
        output.either(&shown, || shown.message.clone());
        return Ok(Exit::Done);
    }
    let said = DecisionBody {
        decision: "deny".to_owned(),
        reason: Some(args.reason).filter(|reason| !reason.is_empty()),
        digest: args.digest,
        version: None,
        scope: None,
        guards: None,
    };
    decide(&client, args.id, &said, output).await
}

async fn decide(
    client: &Client,
    id: RequestId,
    said: &DecisionBody,
    output: Output,
) -> Result<Exit, CliError> {
    let key = format!("{:032x}", rand::random::<u128>());
    let card: Card = client
        .post_once(&format!("/requests/{id}/decision"), said, &key)
        .await?;
    output.either(&card, || said_text(&card, &said.decision));
    Ok(Exit::Done)
}

async fn break_glass(
    client: &Client,
    id: RequestId,
    body: &BreakGlassBody,
    output: Output,
) -> Result<Exit, CliError> {
    let key = format!("{:032x}", rand::random::<u128>());
    let card: Card = client
        .post_once(&format!("/requests/{id}/break-glass"), body, &key)
        .await?;
    output.either(&card, || {
        format!(
            "{}{}  you approved it alone; somebody else signs the review: `countersign review sign {}`\n",
            said_text(&card, "approve"),
            card.id,
            card.id
        )
    });
    Ok(Exit::Done)
}

/// What somebody says yes to who approves alone.
fn break_glass_question(card: &Card, guards: Guards) -> String {
    let guarded = match guards.is_empty() {
        true => String::new(),
        false => format!(" with {guards}"),
    };
    let needed: Vec<String> = card
        .requirement
        .iter()
        .map(|need| format!("{} of {}", need.needed, visible_line(&need.group)))
        .collect();
    format!(
        "The rule asks for {}. You approve it alone: everybody is told, and somebody else reviews it.\nBreak glass for {}, \
         once{guarded}?",
        needed.join(" and "),
        card.id
    )
}

fn said_text(card: &Card, decision: &str) -> String {
    let approvals = card
        .decisions
        .iter()
        .filter(|said| said.decision == "approve")
        .count();
    let standing = match &card.standing_grant {
        Some(grant) if decision == "approve" => format!(
            "{}  standing grant {grant} made; end it with `countersign grant revoke {grant}`\n",
            card.id
        ),
        Some(_) | None => String::new(),
    };
    let said = match decision {
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
    };
    said + &standing
}

/// What the reviewer says yes to.
fn question(card: &Card, scope: Option<&ScopeBody>, guards: Guards) -> Result<String, CliError> {
    let guarded = match guards.is_empty() {
        true => String::new(),
        false => format!(" with {guards}"),
    };
    let scope = match scope {
        None | Some(ScopeBody::Word(_)) => return Ok(format!("Approve {} once{guarded}?", card.id)),
        Some(ScopeBody::Run(scope)) => return run_question(card, scope, &guarded),
        Some(ScopeBody::Standing(scope)) => scope,
    };
    let Some(template) = &card.template else {
        let why = card
            .decided_each_time
            .as_deref()
            .unwrap_or("what it does may vary");
        return Err(CliError::usage(
            format!("no standing grant can be made of {}: {why}", card.id),
            "approve it once, without --for and --uses",
        ));
    };
    let whose = match scope.whose.as_str() {
        "principal" => format!("every session of {}", card.principal),
        _ => format!("session {}", card.session),
    };
    let reach = if card.statements.iter().all(|statement| statement.bounded) {
        ""
    } else {
        "\nHow many rows one run reaches depends on these values."
    };
    Ok(format!(
        "Standing grant: {whose} may run\n\n{}\n\nwith any values for `?` and parameters, {} times in all, this one \
         included, within {} min, without asking{guarded}.{reach}\nApprove {} and make the standing grant?",
        visible(template),
        scope.uses,
        scope.minutes,
        card.id
    ))
}

/// The same for a run.
fn run_question(card: &Card, scope: &RunScope, guarded: &str) -> Result<String, CliError> {
    let Some(offer) = &card.run else {
        let why = card.no_run.as_deref().unwrap_or("what it touches is not known");
        return Err(CliError::usage(
            format!("no run can be made of {}: {why}", card.id),
            "approve it once, without --run",
        ));
    };
    let or = |named: &[String], own: &[String]| match named.is_empty() {
        true => own.join(", "),
        false => named.join(", "),
    };
    Ok(format!(
        "Run: session {} may run any statements of {} that {} on {}, {} in all, this one included, within {} min, \
         without asking{guarded}. It ends with its {}, or when one of them fails.\nApprove {} and the run?",
        card.session,
        or(&scope.classes, &offer.classes),
        or(&scope.verbs, &offer.verbs),
        visible_line(&or(&scope.tables, &offer.tables)),
        scope.statements,
        scope.minutes,
        scope.whose,
        card.id
    ))
}

/// Asks on the terminal; anything but `yes` is no, so that a stray key approves nothing.
fn is_confirmed(question: &str) -> Result<bool, CliError> {
    eprint!("\n{question} Type yes: ");
    // Unflushed words on stderr are the terminal's trouble, not the decision's.
    let _flushed = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| CliError::error(error, "name the digest with --digest"))?;
    Ok(answer.trim() == "yes")
}
