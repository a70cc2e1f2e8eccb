//! A chat as a channel, in one file as `notify/` would have it: a card with buttons goes out, a signed answer comes back,
//! and the desk decides as the person who is linked to the account. The chat's server is one of this test.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign::api::{self, Rooms};
use countersign::clock::Timestamp;
use countersign::desk::Decision;
use countersign::hold::{Digest, RequestId};
use countersign::identity::directory::Hands;
use countersign::notify::post::Poster;
use countersign::notify::webhook::SigningKey;
use countersign::notify::{Answer, Channel, Message, NotAnAnswer, Notice, Sent};
use countersign::render::{Layout, Reading, Statement};
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{House, Receiver, SECRET, person};

/// What one message of this chat holds. A statement that would have to be cut gets no button.
const MESSAGE_LETTERS_MAX: usize = 3000;
/// Older answers may be repeated ones.
const ANSWER_SECONDS_MAX: i64 = 300;

struct Chat {
    poster: Poster,
}

impl Chat {
    fn at(url: &str) -> Arc<dyn Channel> {
        let poster = Poster::new(url, true).expect("a URL");
        Arc::new(Self { poster })
    }
}

impl Channel for Chat {
    fn name(&self) -> &str {
        "chat"
    }

    fn kind(&self) -> &'static str {
        "chat"
    }

    fn events(&self) -> Vec<String> {
        vec!["request.held".to_owned()]
    }

    fn wants(&self, notice: &Notice) -> bool {
        notice.request.is_some()
    }

    fn target(&self) -> String {
        self.poster.shown_url()
    }

    fn render(&self, notice: &Notice) -> Message {
        let held = notice.request.as_ref().expect("only those are wanted");
        let rendered = Statement::of(&held.text, &Reading::POSTGRES, Layout::Laid, &[]);
        let line = |line: &countersign::render::Line<'_>| -> String {
            line.pieces.iter().map(|piece| piece.text.as_ref()).collect()
        };
        let lines: Vec<String> = rendered.lines.iter().map(line).collect();
        let letters: usize = lines.iter().map(|line| line.chars().count()).sum();
        let is_whole = letters <= MESSAGE_LETTERS_MAX;
        let body = json!({
            "request": held.id.to_string(),
            "statement": is_whole.then_some(lines),
            "buttons": if is_whole { vec!["open", "deny", "approve"] } else { vec!["open", "deny"] },
            "value": held.digest.to_string(),
            "url": notice.url,
        });
        Message {
            id: notice.delivery.message.clone(),
            body: body.to_string(),
        }
    }

    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Sent> {
        Box::pin(self.poster.post(HeaderMap::new(), message.body.clone()))
    }

    fn read_answer(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Answer, NotAnAnswer> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (Some(seconds), Some(signature)) = (header("x-chat-time"), header("x-chat-signature")) else {
            return Err(NotAnAnswer::Forged);
        };
        let seconds: i64 = seconds.parse().map_err(|_| NotAnAnswer::Forged)?;
        if signature != sign(seconds, body) {
            return Err(NotAnAnswer::Forged);
        }
        if (now.micros() / 1_000_000 - seconds).abs() > ANSWER_SECONDS_MAX {
            return Err(NotAnAnswer::NotNow);
        }
        let unreadable = |what: &str| NotAnAnswer::Unreadable(what.to_owned());
        let said: Value = serde_json::from_slice(body).map_err(|_| unreadable("no JSON"))?;
        let text = |key: &str| {
            said[key]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| unreadable(key))
        };
        let account = text("user")?;
        if let Ok(code) = text("link") {
            return Ok(Answer::Link { account, code });
        }
        let decision = match text("button")?.as_str() {
            "approve" => Decision::Approve,
            "deny" => Decision::Deny,
            _other => return Err(unreadable("button")),
        };
        Ok(Answer::Decision {
            account,
            request: RequestId::parse(&text("request")?).ok_or_else(|| unreadable("request"))?,
            decision,
            reason: text("reason").unwrap_or_default(),
            digest: Digest::parse(&text("value").unwrap_or_default()),
            id: text("id")?,
        })
    }
}

fn sign(seconds: i64, body: &[u8]) -> String {
    SigningKey::parse(SECRET)
        .expect("a secret")
        .sign("chat", seconds, body)
}

/// The chat's service, as it passes on what its users press.
struct Service {
    url: String,
    http: reqwest::Client,
}

impl Service {
    async fn sends(&self, body: Value, seconds_ago: i64, forged: bool) -> (StatusCode, Value) {
        let seconds = Timestamp::now().micros() / 1_000_000 - seconds_ago;
        let body = body.to_string();
        let signature = if forged {
            sign(seconds, b"other")
        } else {
            sign(seconds, body.as_bytes())
        };
        let request = self
            .http
            .post(&self.url)
            .header("x-chat-time", seconds.to_string())
            .header("x-chat-signature", signature)
            .body(body);
        let response = request.send().await.expect("an answer");
        let status = response.status();
        (status, response.json().await.expect("JSON"))
    }

    async fn presses(&self, user: &str, button: &str, message: &Value) -> (StatusCode, Value) {
        let body = json!({
            "user": user, "button": button, "request": message["request"], "value": message["value"],
            "reason": "not today", "id": format!("{user}-{button}-{}", message["request"]),
        });
        self.sends(body, 0, false).await
    }
}

#[tokio::test]
async fn a_chat_gets_the_card_and_a_linked_persons_answer_decides() {
    let house = House::build();
    let receiver = Receiver::taking_all().await;
    let notifier = house.notify(vec![Chat::at(&receiver.url)]).await;
    let rooms = Rooms::new(
        house.desk.clone(),
        house.journal.clone(),
        house.metrics.clone(),
        Vec::new(),
    );
    let settings = api::Settings {
        address: ([127, 0, 0, 1], 0).into(),
        certificate: None,
        connections_per_address: api::PER_ADDRESS_DEFAULT,
        trusted_proxies: Default::default(),
    };
    let api = api::start(&settings, rooms.with_notifier(notifier)).expect("a free port");
    let service = Service {
        url: format!("http://{}/api/v1/channels/chat/answers", api.local_addr),
        http: reqwest::Client::new(),
    };

    let (mut parked, held) = house.park("DROP TABLE orders -- \u{202E}sredro").await;
    let message = receiver.until(1).await[0].json();
    assert_eq!(
        message["statement"],
        json!(["DROP TABLE orders -- ⟦U+202E⟧sredro"])
    );
    assert_eq!(message["buttons"], json!(["open", "deny", "approve"]));

    // Nobody but the service, and not what it has said long ago.
    let approve = json!({ "user": "U1", "button": "approve", "request": message["request"], "value": message["value"], "id": "1" });
    assert_eq!(
        service.sends(approve.clone(), 0, true).await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        service.sends(approve.clone(), 3600, false).await.0,
        StatusCode::UNAUTHORIZED
    );
    // An account that is linked to nobody, whatever it is called.
    let (status, problem) = service.presses("alice", "approve", &message).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (StatusCode::FORBIDDEN, Some("not_permitted"))
    );
    assert!(
        house
            .desk
            .show(held.id)
            .await
            .expect("there")
            .state
            .is_undecided()
    );

    let hands = |name: &str, seen_by: &[&str]| Hands {
        person: person(name),
        token_seen_by: seen_by.iter().map(|name| person(name)).collect::<BTreeSet<_>>(),
    };
    let link = async |account: &str, hands: Hands| {
        let (code, _) = house.desk.link_code(hands).await.expect("made");
        let said = json!({ "user": account, "link": code });
        (
            service.sends(said.clone(), 0, false).await,
            service.sends(said, 0, false).await,
        )
    };
    let (first, second) = link("U1", hands("alice", &[])).await;
    assert_eq!(
        (first.0, first.1["linked"].as_str()),
        (StatusCode::OK, Some("alice"))
    );
    assert_eq!(second.0, StatusCode::UNPROCESSABLE_ENTITY, "a code is used once");
    link("U2", hands("olivia", &[])).await;
    link("U3", hands("bob", &["olivia"])).await;

    // Promise 4 holds here too: the owner, and whoever the owner may be speaking as.
    for account in ["U2", "U3"] {
        let (status, problem) = service.presses(account, "approve", &message).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (StatusCode::FORBIDDEN, Some("not_permitted")),
            "{account}"
        );
    }
    let without = json!({ "user": "U1", "button": "approve", "request": message["request"], "id": "2" });
    let (status, problem) = service.sends(without, 0, false).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("digest_required"))
    );

    let (status, taken) = service.presses("U1", "approve", &message).await;
    assert_eq!(
        (status, taken["state"].as_str()),
        (StatusCode::OK, Some("approved")),
        "{taken}"
    );
    assert!(matches!(
        parked.woken.try_recv(),
        Ok(countersign::desk::Wake::Approved { .. })
    ));
    let said = house.desk.show(held.id).await.expect("there").decisions;
    assert_eq!((said[0].by.as_str(), said[0].channel.as_str()), ("alice", "chat"));
    let (status, _) = service.presses("U1", "approve", &message).await;
    assert_eq!(status, StatusCode::OK, "the same answer again is the same answer");
    let (status, problem) = service.presses("U1", "deny", &message).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (StatusCode::CONFLICT, Some("already_decided"))
    );

    // What cannot be shown whole has no button that approves it.
    house
        .park(&format!("DROP TABLE {}", "x".repeat(MESSAGE_LETTERS_MAX)))
        .await;
    let message = receiver.until(2).await[1].json();
    assert_eq!(
        (&message["statement"], &message["buttons"]),
        (&Value::Null, &json!(["open", "deny"]))
    );
    api.stop(std::time::Duration::ZERO);
}
