//! Pages for people: templates rendered here, small hand-written modules beside them, all of it works without JavaScript.
//! Never decides and never reads a store by itself: `desk` and `journal` do, by the same calls as the API.
//! Read `page.rs` next, then `queue.rs` and `card.rs`.
//!
//! Why no inline script or style: most of what a page shows was written by somebody who may want to steer its reader.
//! The policy of `POLICY` lets nothing run but the modules in `assets/`, and those build no markup from text.

mod assets;
mod break_glass;
mod card;
mod chart;
mod follow;
mod forms;
mod grants;
mod log;
mod me;
mod moments;
mod page;
mod queue;
mod record;
mod record_list;
mod replayed;
mod reports;
mod rules;
mod sessions;
mod settings;
mod shown;
mod sign_in;
mod status;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get, post};

use crate::api::Rooms;

/// What a browser may do with a page: run and load what this address serves, send forms to it, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'; \
                      report-uri /csp-report";

/// Every page.
pub fn router() -> Router<Rooms> {
    Router::new()
        .route("/", get(queue::page))
        .route("/queue.json", get(queue::rows))
        .route("/r/{id}", get(card::page))
        .route("/r/{id}/decision", post(forms::decide))
        .route("/r/{id}/break-glass", post(break_glass::approve_alone))
        .route("/r/{id}/review", post(break_glass::sign_review))
        .route("/r/{id}/reveal", get(forms::unrevealed).post(forms::reveal))
        .route("/r/{id}/comment", post(forms::comment))
        .route("/r/{id}/question", post(forms::ask))
        .route("/r/{id}/escalation", post(forms::escalate))
        .route("/r/{id}/delegation", post(forms::delegate))
        .route("/sign-in", get(sign_in::page).post(sign_in::open))
        .route("/sign-out", post(sign_in::close))
        .route("/sessions", get(sessions::page))
        .route("/sessions/{id}", get(sessions::timeline))
        .route("/sessions/{id}/end", post(sessions::end))
        .route("/log", get(log::page))
        .route("/log/follow", get(follow::follow))
        .route("/log/{id}", get(record::page))
        .route("/log/{id}/proof", get(record::prove))
        .route("/rules", get(rules::page).post(rules::attempt))
        .route("/rules/replay", get(rules::page).post(rules::replay))
        .route("/grants", get(grants::page))
        .route("/grants/{id}/revoke", post(grants::revoke))
        .route("/settings", get(settings::page))
        .route("/settings/look", post(settings::look))
        .route("/settings/confirm", post(me::confirm))
        .route("/settings/totp", post(me::begin_totp))
        .route("/settings/totp/confirm", post(me::confirm_totp))
        .route("/settings/totp/remove", post(me::remove_totp))
        .route("/settings/passkeys/{id}/remove", post(me::remove_passkey))
        .route("/settings/password", post(me::change_password))
        .route(
            "/settings/people/{name}/password-link",
            post(me::make_password_link),
        )
        .route("/password", get(me::password_page).post(me::set_password))
        .route("/settings/token", post(settings::issue_token))
        .route("/status", get(status::page))
        .route("/icon/{count}", get(assets::icon))
        .route("/assets/{version}/{file}", get(assets::file))
        .route("/csp-report", post(reports::take))
        .route("/{*path}", any(page::not_found))
        .layer(middleware::from_fn(guard))
}

/// Puts on every page what keeps a browser from misusing it; what the API puts on its answers is left to the API.
async fn guard(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    if !is_api {
        let values = [
            ("content-security-policy", POLICY),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            (
                "permissions-policy",
                "camera=(), geolocation=(), microphone=(), payment=()",
            ),
        ];
        for (name, value) in values {
            let name = HeaderName::from_static(name);
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
