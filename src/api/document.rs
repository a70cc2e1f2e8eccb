//! Finishes the OpenAPI document: what every operation can answer is said here once, not beside each route.
//! Never describes a route of its own: those stand beside the code that serves them. Read `problem.rs` next.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response};

/// With the answers that come before a route's own code: the call cannot be read, brings no token, takes too long.
pub fn finish(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let is_named = path.contains('{');
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            for (status, why) in common(operation, is_named) {
                let responses = &mut operation.responses.responses;
                responses
                    .entry(status.to_owned())
                    .or_insert_with(|| RefOr::T(problem(why)));
            }
            describe(operation);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("patch", &mut item.patch),
        ("delete", &mut item.delete),
    ];
    all.into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// `post_requests_by_id_decision`: what generated clients call it, and no two routes the same.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let words = path.split('/').filter(|word| !word.is_empty()).map(|word| {
        let name = word.strip_prefix('{').and_then(|word| word.strip_suffix('}'));
        name.map_or_else(|| word.replace(['.', '-'], "_"), |name| format!("by_{name}"))
    });
    std::iter::once(method.to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

fn common(operation: &Operation, is_named: bool) -> Vec<(&'static str, &'static str)> {
    let mut answers = vec![("503", "it took too long, or the log or the store cannot be used")];
    if operation.request_body.is_some() {
        answers.extend([
            ("413", "the body is too large"),
            ("415", "the body is not announced as JSON"),
        ]);
    }
    if operation.security.is_none() {
        return answers;
    }
    answers.extend([
        ("400", "the call cannot be read"),
        ("401", "no valid token"),
        ("403", "the token lacks the scope"),
        ("422", "a value cannot be used"),
    ]);
    if is_named {
        answers.push(("404", "nothing by this name"));
    }
    answers
}

/// OpenAPI wants words with every answer; a route's own words stay.
fn describe(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            response.description = match status.as_str() {
                "200" => "done",
                "201" => "made",
                "202" => "taken",
                "204" => "done, nothing to say",
                "400" => "the call cannot be read",
                "401" => "no valid token",
                "403" => "the token lacks the scope, or the person may not",
                "404" => "nothing by this name",
                "409" => "in the way of what is there",
                "422" => "a value cannot be used",
                "503" => "it took too long, or something of ours cannot be used",
                _other => "see the problem document",
            }
            .to_owned();
        }
    }
}

fn problem(why: &str) -> Response {
    let document = Content::new(Some(Ref::from_schema_name("Problem")));
    let mut response = Response::new(why);
    response
        .content
        .insert("application/problem+json".to_owned(), RefOr::T(document));
    response
}
