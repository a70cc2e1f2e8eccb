//! Finishes the OpenAPI document: what every operation can answer is said here once, not beside each route.
//! Never describes a route of its own: those stand beside the code that serves them. Read `problem.rs` next.

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Required, Response};

use super::browser::CODE_HEADER;
use super::idempotency::{HEADER, KEY_BYTES_MAX, Treatment, treatment};

/// With the answers that come before a route's own code: the call cannot be read, brings no token, takes too long.
pub fn finish(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let is_named = path.contains('{');
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            let keyed = keyed(method, path);
            if let Some(treatment) = keyed {
                operation
                    .parameters
                    .get_or_insert_default()
                    .push(RefOr::T(key_parameter(treatment)));
            }
            for (status, why) in common(operation, is_named, keyed) {
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

/// What an `Idempotency-Key` does; `None` where it does nothing.
fn keyed(method: &str, path: &str) -> Option<Treatment> {
    let known = treatment(method, path.strip_prefix("/api/v1")?)?;
    (known != Treatment::Ignored).then_some(known)
}

fn key_parameter(treatment: Treatment) -> Parameter {
    let again = match treatment {
        Treatment::Again => "the same answer is given again for a day",
        Treatment::ShownOnce | Treatment::Ignored => {
            "it counts once; since its answer is shown once, a repetition gets 409 `answered_before`"
        }
    };
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        // In the quotes that the draft puts round it, or bare.
        .pattern(Some(format!(
            "^(\"[!-~]{{1,{KEY_BYTES_MAX}}}\"|[!-~]{{1,{KEY_BYTES_MAX}}})$"
        )))
        .build();
    ParameterBuilder::new()
        .name(HEADER)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(format!(
            "a key of your own for this call: sent again under it, {again}; another call under it gets 422 `key_reused`"
        )))
        .schema(Some(text))
        .build()
}

/// Whether a one-time code may come with the call, which is guessed at a pace.
fn takes_code(operation: &Operation) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.any(|parameter| matches!(parameter, RefOr::T(known) if known.name == CODE_HEADER))
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

fn common(
    operation: &Operation,
    is_named: bool,
    keyed: Option<Treatment>,
) -> Vec<(&'static str, &'static str)> {
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
    if keyed.is_some() {
        answers.push((
            "409",
            "in the way of what is there, or the key's first call is still being answered",
        ));
    }
    if takes_code(operation) {
        answers.push(("429", "too many wrong codes"));
    }
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
                "429" => "too many attempts",
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
