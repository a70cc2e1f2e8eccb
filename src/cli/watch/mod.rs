//! `watch` on a terminal: the queue, the selected card, and decisions, live. Never decides by a single key, and never
//! shows a byte of a statement but through `render`. Read `state.rs` next, then `view.rs`.

pub mod state;
mod terminal;
pub mod view;

use std::pin::pin;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::state::{Act, Input, Watch};
use self::terminal::Screen;
use super::acts::view as open_card;
use super::card::Ink;
use super::client::Client;
use super::exit::{CliError, Exit};
use crate::api::acts::{CommentBody, QuestionBody};
use crate::api::card::Card;
use crate::api::requests::{DecisionBody, RequestsPage};
use crate::clock::Timestamp;
use crate::hold::RequestId;

/// Countdowns move once a second.
const TICK: Duration = Duration::from_millis(500);
/// What came without an event, and what an event told before the stream was open.
const LIST_EVERY: Duration = Duration::from_secs(5);
/// Events that come together make one look at the list.
const GATHER: Duration = Duration::from_millis(100);
/// From one try to connect to the next, at first and at most.
const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// Inputs that wait to be shown.
const INPUTS_MAX: usize = 256;

/// Runs until `q`, Ctrl-C, SIGTERM or an answer that says that the token is no good.
pub async fn run() -> Result<Exit, CliError> {
    let client = Client::from_environment()?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let (inputs, mut inbox) = mpsc::channel(INPUTS_MAX);
    // Before the screen is taken: what is wrong with the token is said on the plain terminal.
    let mut watch = Watch::new(pending(&client).await?);
    let (news, heard) = mpsc::channel(1);
    let mut following = pin!(follow(client.clone(), news, inputs.clone()));
    tokio::spawn(keep_listed(client.clone(), heard, inputs.clone()));
    let mut screen = Screen::take(inputs.clone())?;
    let ink = Ink::of_stdout();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        screen.draw(|frame| view::draw(frame, &mut watch, Timestamp::now(), ink))?;
        let input = tokio::select! {
            input = inbox.recv() => input,
            _ = ticks.tick() => Some(Input::Tick),
            () = &mut following => None,
            _ = terminate.recv() => None,
            _ = hang_up.recv() => None,
        };
        let Some(input) = input else { return Ok(Exit::Done) };
        match watch.take(input) {
            None => {}
            Some(Act::Quit) => return Ok(Exit::Done),
            Some(Act::Fail(error)) => return Err(error),
            Some(act) => {
                tokio::spawn(perform(client.clone(), act, inputs.clone()));
            }
        }
    }
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, CliError> {
    signal(kind).map_err(|error| CliError::error(error, "free some file descriptors"))
}

/// Everything that waits, oldest first.
async fn pending(client: &Client) -> Result<Vec<Card>, CliError> {
    let mut cards: Vec<Card> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("state", "pending".to_owned())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: RequestsPage = client.get("/requests", &query).await?;
        cards.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            cards.reverse();
            return Ok(cards);
        }
    }
}

/// Listens to the stream of events, and connects again whenever it ends.
async fn follow(client: Client, news: mpsc::Sender<()>, inputs: mpsc::Sender<Input>) {
    let mut last_id = None;
    let mut pause = RECONNECT.0;
    loop {
        let before = last_id.clone();
        let ended = client
            .events("/events", &[], &mut last_id, async |_data| {
                // One look is enough for all that is told before it.
                let _full = news.try_send(());
                Ok(())
            })
            .await;
        if last_id != before || ended.is_ok() {
            pause = RECONNECT.0;
        }
        if inputs.is_closed() {
            return;
        }
        if ended.is_err() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT.1);
        }
    }
}

/// Reads the list at once after news, and now and then without.
async fn keep_listed(client: Client, mut heard: mpsc::Receiver<()>, inputs: mpsc::Sender<Input>) {
    loop {
        let input = match pending(&client).await {
            Ok(cards) => Input::Queue(cards),
            Err(error) => Input::Lost(error),
        };
        if inputs.send(input).await.is_err() {
            return;
        }
        if let Ok(None) = tokio::time::timeout(LIST_EVERY, heard.recv()).await {
            return;
        }
        tokio::time::sleep(GATHER).await;
        while heard.try_recv().is_ok() {}
    }
}

/// Does what was asked for, and tells how it went.
async fn perform(client: Client, act: Act, inputs: mpsc::Sender<Input>) {
    let (id, done) = match act {
        Act::Quit | Act::Fail(_) => return,
        Act::Open(id) => {
            let opened = match RequestId::parse(&id) {
                Some(known) => open_card(&client, known).await,
                None => return,
            };
            (id, opened.map(|card| (card, "")))
        }
        Act::Approve { id, digest, version } => {
            let body = DecisionBody {
                decision: "approve".to_owned(),
                reason: None,
                digest: Some(digest),
                version: Some(version),
                scope: None,
                guards: None,
            };
            let done = post(&client, &id, "decision", &body).await;
            (id, done.map(|card| (card, "approved")))
        }
        Act::Deny { id, reason } => {
            let body = DecisionBody {
                decision: "deny".to_owned(),
                reason: Some(reason),
                digest: None,
                version: None,
                scope: None,
                guards: None,
            };
            let done = post(&client, &id, "decision", &body).await;
            (id, done.map(|card| (card, "denied")))
        }
        Act::Comment { id, text } => {
            let done = post(&client, &id, "comments", &CommentBody { text }).await;
            (id, done.map(|card| (card, "comment kept")))
        }
        Act::Ask { id, question } => {
            let done = post(&client, &id, "questions", &QuestionBody { question }).await;
            (
                id,
                done.map(|card| (card, "asked; the agent answers by sending it again")),
            )
        }
    };
    let input = match done {
        Ok((card, said)) => Input::Done(Box::new(card), said),
        Err(error) => Input::Failed(id, error),
    };
    // The screen may be gone.
    let _gone = inputs.send(input).await;
}

async fn post(client: &Client, id: &str, route: &str, body: &impl Serialize) -> Result<Card, CliError> {
    let key = format!("{:032x}", rand::random::<u128>());
    client
        .post_once(&format!("/requests/{id}/{route}"), body, &key)
        .await
}
