//! Any settings file and any environment are settings, or mistakes with their places. What loads can be shown, and shows
//! no secret.
//!
//! Input: the file, then for each override a zero byte and `NAME=value`.
#![no_main]

use std::path::Path;

use countersign::config::reader::{Complaint, Override, Place, VARIABLE_PREFIX};
use countersign::config::{Config, ConfigError};
use libfuzzer_sys::fuzz_target;

/// No setting looks like this by itself.
const SECRET: &str = "hunter2-Xq9";

fuzz_target!(|bytes: &[u8]| {
    let Ok(input) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut parts = input.split('\0');
    let text = parts.next().unwrap_or_default();
    // A file that is named may be one that does not end, such as a terminal.
    if input.contains("/dev") || input.contains("/proc") {
        return;
    }
    let mut variables: Vec<(String, String)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (format!("{VARIABLE_PREFIX}{name}"), value.to_owned()))
        .collect();
    variables.push((
        format!("{VARIABLE_PREFIX}UPSTREAM__USERS__APP__PASSWORD"),
        SECRET.to_owned(),
    ));
    let read = || {
        let overrides = Override::from_variables(variables.iter().cloned());
        Config::parse("countersign.toml", text, Path::new("/nowhere"), overrides)
    };
    match (read(), read()) {
        (Ok(config), Ok(again)) => {
            let shown = format!("{config:?}");
            assert_eq!(shown, format!("{again:?}"));
            assert!(
                input.contains(SECRET) || !shown.contains(SECRET),
                "a secret is shown: {shown}"
            );
            let _total = (config.desk(), config.journal(), config.store_file());
        }
        (Err(ConfigError::Wrong(complaints)), Err(ConfigError::Wrong(again))) => {
            assert_eq!(complaints, again);
            assert!(!complaints.is_empty());
            complaints.iter().for_each(|complaint| stands_in(text, complaint));
            let shown = complaints
                .iter()
                .any(|complaint| complaint.to_string().contains(SECRET));
            assert!(
                input.contains(SECRET) || !shown,
                "a secret is shown: {complaints:?}"
            );
        }
        (one, other) => panic!("loads and does not: {one:?}, {other:?}"),
    }
});

/// The place is in the text, and the words fit on a line.
fn stands_in(text: &str, complaint: &Complaint) {
    assert!(
        !complaint.message.contains('\n') && !complaint.next_step.is_empty(),
        "{complaint:?}"
    );
    if let Place::File { line, column, .. } = &complaint.place {
        let found = line
            .checked_sub(1)
            .and_then(|before| text.split('\n').nth(before));
        let found = found.unwrap_or_else(|| panic!("not in the text: {complaint:?}"));
        assert!((1..=found.chars().count() + 1).contains(column), "{complaint:?}");
    }
}
