//! What an attacker tries who has none of the keys: other sites' forms, texts in addresses, doubtful messages, one code
//! twice. Against the API and the pages as `serve` puts them together, over real HTTP.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use countersign::policy::Network;

use super::*;

/// The addresses that forms are sent to, as the pages' own list of routes has them.
fn forms() -> Vec<String> {
    let routes = include_str!("../../src/web/mod.rs");
    let forms: Vec<String> = routes
        .lines()
        .filter(|line| line.contains(".route(") && line.contains("post("))
        .filter_map(|line| line.split('"').nth(1))
        // Browsers send it by themselves, without a session.
        .filter(|path| *path != "/csp-report")
        .map(|path| {
            path.replace("{id}", "7K3F9Q")
                .replace("{name}", "x")
                .replace("{count}", "1")
        })
        .collect();
    assert!(forms.len() >= 9, "{forms:?}");
    forms
}

/// Follows no redirection: where one leads is what is asked.
fn client() -> reqwest::Client {
    let none = reqwest::redirect::Policy::none();
    reqwest::Client::builder()
        .redirect(none)
        .build()
        .expect("a client")
}

/// Every field that some form has, but the CSRF token.
fn fields() -> String {
    let fields = [
        ("decision", "approve"),
        ("reason", "because"),
        ("text", "hello"),
        ("question", "why"),
        ("digest", "00"),
        ("version", "1"),
        ("key", "k"),
        ("scope", "once"),
        ("look", "dark"),
        ("theme", "dark"),
        ("expires_in", "12h"),
        ("rules", "x"),
        ("sql", "SELECT 1"),
        ("next", "/"),
    ];
    fields.map(|(name, value)| format!("{name}={value}")).join("&")
}

#[tokio::test]
async fn no_form_counts_that_another_page_has_sent() {
    let mut house = House::build();
    let mut owner = house.signed_in("dave").await;
    let cookie = format!(
        "{}={}",
        browser::COOKIE_NAME,
        owner.cookie.as_deref().expect("signed in")
    );
    let csrf = owner.csrf.clone().expect("signed in");
    let (http, own) = (client(), house.url.clone());
    let site = |word: &'static str| vec![("sec-fetch-site", word.to_owned())];
    let origin = |text: &str| vec![("origin", text.to_owned())];
    let right_fields = format!("{}&_csrf={csrf}", fields());
    let from_elsewhere = [
        ("no word of the browser", vec![]),
        ("another site", site("cross-site")),
        ("another host of this site", site("same-site")),
        ("an address typed in", site("none")),
        ("two words", [site("same-origin"), site("cross-site")].concat()),
        ("another origin", origin("https://evil.example")),
        ("an origin that is not said", origin("null")),
        (
            "an origin that begins alike",
            origin(&format!("{own}.evil.example")),
        ),
        ("another port", origin("http://localhost:1")),
    ];
    for form in forms() {
        for (what, headers) in &from_elsewhere {
            let mut call = http.post(format!("{own}{form}")).header("cookie", &cookie);
            for (name, value) in headers {
                call = call.header(*name, value);
            }
            let call = call
                .header("content-type", "application/x-www-form-urlencoded")
                .body(right_fields.clone());
            let answer = call.send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{form}: {what}");
            assert!(answer.headers().get("set-cookie").is_none(), "{form}: {what}");
        }
        if form == "/sign-in" {
            // Nobody is signed in yet, so there is no session that a token could be of.
            continue;
        }
        let wrong = [
            ("no token", fields(), String::new()),
            ("an empty one", format!("{}&_csrf=", fields()), String::new()),
            (
                "another session's",
                format!("{}&_csrf={}", fields(), "A".repeat(43)),
                String::new(),
            ),
            ("one in the address", fields(), format!("?_csrf={csrf}")),
        ];
        for (what, body, query) in wrong {
            let call = http
                .post(format!("{own}{form}{query}"))
                .header("cookie", &cookie)
                .header("sec-fetch-site", "same-origin")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body);
            let answer = call.send().await.expect("an answer");
            assert!(
                answer.status().is_client_error(),
                "{form}: {what}: {}",
                answer.status()
            );
        }
    }
    // Nothing of all that has signed the owner out; what the owner sends counts.
    assert_eq!(owner.me().await, StatusCode::OK);
    let out = http
        .post(format!("{own}/sign-out"))
        .header("cookie", &cookie)
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("_csrf={csrf}"));
    let out = out.send().await.expect("an answer");
    assert_eq!(out.status(), StatusCode::SEE_OTHER);
    assert_eq!(owner.me().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nothing_in_an_address_signs_anybody_in() {
    let mut house = House::build();
    house.password("alice", PASSWORD);
    let token = house.token("alice", None, &[]);
    let http = client();
    let with = format!("token={token}&access_token={token}&person=alice&password=correct+horse+battery");
    for path in ["/api/v1/me", "/api/v1/session", "/api/v1/requests"] {
        let answer = http.get(format!("{}{path}?{with}", house.url)).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.headers().get("set-cookie").is_none(), "{path}");
    }
    for method in [Method::GET, Method::POST] {
        let call = http
            .request(method.clone(), format!("{}/sign-in?{with}", house.url))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded");
        let answer = call.send().await.expect("an answer");
        assert!(
            answer.headers().get("set-cookie").is_none(),
            "{method}: {}",
            answer.status()
        );
        let body = answer.text().await.expect("a body");
        assert!(!body.contains(&token), "the address is repeated");
    }
    // Forms of other sites can send texts without asking first; JSON they cannot.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let call = http
            .post(format!("{}/api/v1/session", house.url))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", kind)
            .body(json!({ "token": token }).to_string());
        let answer = call.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind}");
    }
}

#[tokio::test]
async fn signing_in_leads_to_no_other_address() {
    let mut house = House::build();
    let token = house.token("alice", None, &[]);
    let http = client();
    let nexts = [
        ("%2Fr%2F7K3F9Q", "/r/7K3F9Q"),
        ("https%3A%2F%2Fevil.example", "/"),
        ("%2F%2Fevil.example", "/"),
        ("%2F%5Cevil.example", "/"),
        ("%5C%5Cevil.example", "/"),
        ("%2F%09%2Fevil.example", "/"),
        ("%2F%0D%0Alocation%3A+https%3A%2F%2Fevil.example", "/"),
        ("+%2F%2Fevil.example", "/"),
        ("javascript%3Aalert(1)", "/"),
        ("%00%2F%2Fevil.example", "/"),
    ];
    for (next, expected) in nexts {
        let call = http
            .post(format!("{}/sign-in", house.url))
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            // What a header says of the host leads nowhere either.
            .header("x-forwarded-host", "evil.example")
            .body(format!("token={token}&next={next}"));
        let answer = call.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{next}");
        assert_eq!(answer.headers()["location"], expected, "{next}");
    }
}

/// So many guesses at once, each of a name that nobody has guessed yet and with these headers; how many are told to wait.
async fn guesses(
    house: &House,
    count: usize,
    headers: impl Fn(usize) -> Vec<(&'static str, String)>,
) -> usize {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let guesses: Vec<_> = (0..count)
        .map(|number| {
            let name = format!("nobody{}", NAMES.fetch_add(1, Ordering::Relaxed));
            let mut call = house
                .http
                .post(format!("{}/api/v1/session", house.url))
                .header("sec-fetch-site", "same-origin")
                .json(&with_password(&name, "a guess of somebody"));
            for (name, value) in headers(number) {
                call = call.header(name, value);
            }
            tokio::spawn(async move { call.send().await.expect("an answer").status() })
        })
        .collect();
    let mut slowed = 0;
    for guess in guesses {
        match guess.await.expect("no panic") {
            StatusCode::TOO_MANY_REQUESTS => slowed += 1,
            other => assert_eq!(other, StatusCode::UNAUTHORIZED),
        }
    }
    slowed
}

/// The addresses that the log has of people who were turned away.
async fn sources(house: &mut House) -> BTreeSet<String> {
    let token = house.token("carol", None, &[]);
    let path = "/api/v1/log?kind=sign_in&limit=200";
    let (_, log) = house.call(&token, Method::GET, path, Value::Null).await;
    let items = log["items"].as_array().expect("items").iter();
    items
        .map(|item| item["source"].as_str().expect("an address").to_owned())
        .collect()
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_limits_of_its_own_and_the_log_names_it() {
    let networks = ["127.0.0.0/8", "10.0.0.0/8"].map(|text| Network::parse(text).expect("a network"));
    let trusted = api::TrustedProxies::new(networks.to_vec(), api::ForwardedHeader::default());
    let mut house = House::build_behind(browser::Settings::default(), trusted);
    let of = |name: &'static str, value: &'static str| move |_| vec![(name, value.to_owned())];
    const X: &str = "x-forwarded-for";
    assert!(
        guesses(&house, 24, of(X, "203.0.113.1")).await >= 8,
        "it guesses on and on"
    );
    // The log is told of 20 a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // Others are not slowed down by that, however they are written.
    assert_eq!(guesses(&house, 9, of(X, "203.0.113.2, 10.0.0.9")).await, 0);
    assert_eq!(guesses(&house, 9, of(X, "\"[2001:db8::2]:4711\"")).await, 0);
    // Whoever writes addresses of others or rubbish in front gets no further by that, nor by a second header.
    let many = format!("{}203.0.113.1", "10.1.1.1,".repeat(40));
    let many: &'static str = many.leak();
    for forged in [
        "198.51.100.1, 203.0.113.1",
        "10.1.1.1,203.0.113.1,10.0.0.9",
        "nonsense\u{e9}, 203.0.113.1",
        many,
    ] {
        assert!(guesses(&house, 9, of(X, forged)).await >= 4, "{forged}");
    }
    let twice = |_| vec![(X, "198.51.100.2".to_owned()), (X, "203.0.113.1".to_owned())];
    assert!(guesses(&house, 9, twice).await >= 4);
    let other = |_| {
        vec![
            (X, "203.0.113.1".to_owned()),
            ("forwarded", "for=198.51.100.3".to_owned()),
        ]
    };
    assert!(guesses(&house, 9, other).await >= 4);
    let expected = ["203.0.113.1", "203.0.113.2", "2001:db8::2"];
    assert_eq!(sources(&mut house).await, expected.map(str::to_owned).into());
}

#[tokio::test]
async fn nobody_elses_word_counts_for_an_address() {
    let mut house = House::build();
    let forged = |number: usize| match number % 2 {
        0 => vec![("x-forwarded-for", format!("203.0.113.{number}"))],
        _ => vec![("forwarded", format!("for=203.0.113.{number}"))],
    };
    assert!(
        guesses(&house, 24, forged).await >= 8,
        "each forged address counts apart"
    );
    assert_eq!(sources(&mut house).await, ["127.0.0.1".to_owned()].into());
}

/// Sends bytes as they are; gives all that comes back until the server ends it or says nothing for a while.
async fn raw(house: &House, bytes: &str) -> String {
    let address = house.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    let mut answered = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(Ok(read @ 1..)) =
        tokio::time::timeout(Duration::from_millis(1500), stream.read(&mut piece)).await
    {
        answered.extend(&piece[..read]);
    }
    String::from_utf8(answered).expect("HTTP")
}

/// Where a proxy stands in front, it and the API must see one request where there is one.
#[tokio::test]
async fn a_message_whose_length_is_in_doubt_is_refused_and_nothing_behind_it_is_read() {
    let mut house = House::build();
    let token = house.token("dave", None, &[]);
    let behind =
        format!("GET /api/v1/me HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
    let head = "POST /api/v1/session HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: same-origin\r\n\
                content-type: application/json\r\n";
    let doubtful = [
        (
            "two lengths",
            "content-length: 2\r\ncontent-length: 30\r\n\r\n{}".to_owned(),
        ),
        ("two lengths in one", "content-length: 2, 30\r\n\r\n{}".to_owned()),
        ("a signed length", "content-length: +2\r\n\r\n{}".to_owned()),
        (
            "a length and chunks",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "chunks and a length",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "chunks that are not last",
            "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a coding nobody knows",
            "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a blank before the colon",
            "content-length : 2\r\n\r\n{}".to_owned(),
        ),
        ("a folded line", "content-length: 2\r\n x: 1\r\n\r\n{}".to_owned()),
    ];
    for (what, rest) in doubtful {
        let answered = raw(&house, &format!("{head}{rest}{behind}")).await;
        assert!(!answered.contains("\"dave\""), "{what}: {answered}");
    }
    // The one behind is answered where the one before is beyond doubt.
    let answered = raw(&house, &format!("{head}content-length: 2\r\n\r\n{{}}{behind}")).await;
    assert!(answered.contains("\"dave\""), "{answered}");
}

/// Whoever sets somebody's password for them has not got past the second factor; and is in the log.
#[tokio::test]
async fn a_password_that_an_administrator_has_reset_does_not_get_past_the_second_factor() {
    let mut house = House::build();
    house.password("alice", PASSWORD);
    let mut browser = house.browser();
    browser.sign_in(with_password("alice", PASSWORD)).await;
    let (app, recovery) = App::of(&mut browser).await;
    let admin = house.token("dave", None, &[]);
    let (status, made) = house
        .call(
            &admin,
            Method::POST,
            "/api/v1/users/alice/password-link",
            json!({}),
        )
        .await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let body = json!({ "link": made["link"], "password": "the administrator's own" });
    let (status, _) = house.call("", Method::POST, "/api/v1/password", body).await;
    assert_eq!(status, StatusCode::OK);
    let mut thief = house.browser();
    let answer = thief
        .sign_in(with_password("alice", "the administrator's own"))
        .await;
    assert_eq!(
        (answer.status, code(&answer)),
        (StatusCode::UNAUTHORIZED, "code_needed")
    );
    // Nor are the codes of the app or of the drawer there for anybody but who has them, each once, whatever process asks.
    let taken = house
        .store
        .code_take(&person("alice"), &app.code(0), Timestamp::now());
    assert_eq!(
        taken.expect("an answer"),
        CodeTaken::Taken {
            seen_by: BTreeSet::new()
        }
    );
    let mut another = Store::open(&house._folder.path().join("store.sqlite3")).expect("the store again");
    for code in [app.code(0), app.code(-1)] {
        let again = another.code_take(&person("alice"), &code, Timestamp::now());
        assert_eq!(
            again.expect("an answer"),
            CodeTaken::Wrong,
            "it was used, or is older than one that was"
        );
    }
    let once = another.code_take(&person("alice"), &recovery[3], Timestamp::now());
    assert!(matches!(once.expect("an answer"), CodeTaken::Taken { .. }));
    let twice = house
        .store
        .code_take(&person("alice"), &recovery[3], Timestamp::now());
    assert_eq!(twice.expect("an answer"), CodeTaken::Wrong);
    let log = house.token("carol", None, &[]);
    let (_, told) = house
        .call(
            &log,
            Method::GET,
            "/api/v1/log?kind=people_change&limit=100",
            json!({}),
        )
        .await;
    let told = told.to_string();
    assert!(
        told.contains("password_link_made") && told.contains("password_set"),
        "{told}"
    );
}
