//! Signing in with a form, and out again. Never checks a token itself: `api/browser.rs` does, for the form as for the API.
//! Read `api/browser.rs` next.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::page::{Look, Sender, Shell, Trouble, see_other, shown};
use crate::api::Rooms;
use crate::api::browser::{self, SignInBody, Source};
use crate::render::visible_line;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    shell: Shell,
    next: String,
    /// As it was typed.
    person: String,
    /// Why the last try failed.
    failed: String,
    /// What has led here.
    said: &'static str,
}

#[derive(Debug, Default, Deserialize)]
pub struct Next {
    #[serde(default)]
    next: String,
    #[serde(default)]
    said: String,
}

pub async fn page(headers: HeaderMap, Query(Next { next, said }): Query<Next>) -> Response {
    shown(&SignInPage {
        shell: Shell::of_nobody(Look::of(&headers), "Sign in"),
        next: own_path(&next).to_owned(),
        person: String::new(),
        failed: String::new(),
        // Words of ours alone: nobody's link writes on this page.
        said: match said.as_str() {
            "password" => "Your password is set, and every session of yours has ended. Sign in with it.",
            _other => "",
        },
    })
}

#[derive(Deserialize)]
pub struct SignInForm {
    #[serde(default)]
    token: String,
    #[serde(default)]
    person: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

pub async fn open(
    State(rooms): State<Rooms>,
    source: Source,
    headers: HeaderMap,
    Form(form): Form<SignInForm>,
) -> Response {
    let next = own_path(&form.next).to_owned();
    let person = form.person.clone();
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    let given = SignInBody {
        token: filled(form.token),
        person: filled(form.person),
        password: filled(form.password),
        code: filled(form.code),
    };
    match browser::sign_in(&rooms, &headers, source, given).await {
        Ok(signed_in) => {
            let mut response = see_other(&next);
            response.headers_mut().insert(SET_COOKIE, signed_in.set_cookie);
            response
        }
        Err(problem) => {
            let status = axum::http::StatusCode::from_u16(problem.0.status).unwrap_or_default();
            let page = shown(&SignInPage {
                shell: Shell::of_nobody(Look::of(&headers), "Sign in"),
                next,
                person: visible_line(&person),
                failed: format!("{}: {}", problem.0.detail, problem.0.next_step),
                said: "",
            });
            (status, page).into_response()
        }
    }
}

#[derive(Deserialize)]
pub struct OnlyCsrf {
    #[serde(default, rename = "_csrf")]
    csrf: String,
}

pub async fn close(
    sender: Sender,
    State(rooms): State<Rooms>,
    source: Source,
    Form(form): Form<OnlyCsrf>,
) -> Result<Response, Trouble> {
    let visitor = sender.check(&form.csrf)?;
    let cookie = browser::sign_out(&rooms, source, &visitor.caller).await?;
    let mut response = see_other("/sign-in");
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// A path of this address; anything else leads to the queue.
pub fn own_path(next: &str) -> &str {
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && !next.contains(char::is_control)
        && !next.starts_with("/sign-in");
    if is_own { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn nobody_is_sent_to_another_address() {
        assert_eq!(own_path("/r/7K3F9Q?raw=1"), "/r/7K3F9Q?raw=1");
        for foreign in [
            "",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/a\r\nb",
            "/sign-in",
        ] {
            assert_eq!(own_path(foreign), "/", "{foreign:?}");
        }
    }
}
