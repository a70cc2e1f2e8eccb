//! Style sheet, modules and icons, in the program itself, under a name that changes with their bytes.
//! Never reads a disk. Read `page.rs` for where they are named.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Name, type, bytes.
const FILES: &[(&str, &str, &str)] = &[
    ("style.css", CSS, include_str!("assets/style.css")),
    ("app.js", SCRIPT, include_str!("assets/app.js")),
    ("card.js", SCRIPT, include_str!("assets/card.js")),
    ("clock.js", SCRIPT, include_str!("assets/clock.js")),
    ("file.js", SCRIPT, include_str!("assets/file.js")),
    ("follow.js", SCRIPT, include_str!("assets/follow.js")),
    ("keys.js", SCRIPT, include_str!("assets/keys.js")),
    ("live.js", SCRIPT, include_str!("assets/live.js")),
    ("passkeys.js", SCRIPT, include_str!("assets/passkeys.js")),
    ("queue.js", SCRIPT, include_str!("assets/queue.js")),
];

/// The digits of the bytes of all of them. Units: hex digits.
const VERSION_DIGITS: usize = 16;

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for (name, _, bytes) in FILES {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(bytes.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()[..VERSION_DIGITS]
        .to_owned()
});

/// The folder that the assets of this very program are under. One for all, so that a module can name another.
pub fn folder() -> String {
    format!("/assets/{}", *VERSION)
}

/// One file. Kept by browsers for good: other bytes have another name.
pub async fn file(Path((version, name)): Path<(String, String)>) -> Response {
    let found = FILES.iter().find(|(known, _, _)| *known == name);
    match found.filter(|_| version == *VERSION) {
        Some((_, kind, bytes)) => (
            [
                (CONTENT_TYPE, *kind),
                (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ],
            *bytes,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// More than this many waiting requests are shown as `9+`.
pub const ICON_COUNT_MAX: usize = 9;

/// The icon of the tab, with how many requests wait: `0.svg` to `9.svg`, `more.svg`.
pub async fn icon(Path(name): Path<String>) -> Response {
    let count = match name.strip_suffix(".svg") {
        Some("0") => "",
        Some("more") => "9+",
        Some(digit) if digit.len() == 1 && digit.as_bytes()[0].is_ascii_digit() => digit,
        Some(_) | None => return StatusCode::NOT_FOUND.into_response(),
    };
    let badge = match count {
        "" => String::new(),
        count => format!(
            "<rect x=\"26\" y=\"0\" width=\"38\" height=\"38\" rx=\"19\" fill=\"#c62a21\"/>\
             <text x=\"45\" y=\"28\" text-anchor=\"middle\" font-family=\"system-ui,sans-serif\" font-weight=\"700\" \
             font-size=\"26\" fill=\"#fff\">{count}</text>"
        ),
    };
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\">\
         <rect width=\"64\" height=\"64\" rx=\"12\" fill=\"#1f4e8c\"/>\
         <path d=\"M16 34l11 11 21-25\" fill=\"none\" stroke=\"#fff\" stroke-width=\"7\" stroke-linecap=\"round\" \
         stroke-linejoin=\"round\"/>{badge}</svg>"
    );
    let headers: [(HeaderName, &str); 2] = [(CONTENT_TYPE, SVG), (CACHE_CONTROL, "public, max-age=86400")];
    (headers, svg).into_response()
}
