//! Records as rows for spreadsheets. Never changes the order or meaning of a column: new ones come last.
//! Never gives a spreadsheet something to execute. Read `ocsf.rs` next.
//!
//! Why an apostrophe: a cell that begins with `=`, `+`, `-`, `@`, tab or line break is a formula to spreadsheets, and an
//! agent chooses what stands in a statement. The apostrophe makes it text there; who needs the bytes takes NDJSON.

use serde_json::Value;

use crate::audit::Record;

/// The columns, named as the fields of a record.
pub const COLUMNS: [&str; 40] = [
    "id",
    "time",
    "kind",
    "session",
    "attempt",
    "principal",
    "owner",
    "source",
    "upstream",
    "database",
    "database_user",
    "application_name",
    "class",
    "verdict",
    "rule",
    "tables",
    "request",
    "grant",
    "decided_in",
    "outcome",
    "tag",
    "rows",
    "sqlstate",
    "message",
    "event",
    "decision",
    "approver",
    "by",
    "reason",
    "channel",
    "change",
    "name",
    "file",
    "detail",
    "query",
    "fingerprint",
    "text",
    "parameters",
    "method",
    "second_factor_at",
];

/// The row of names.
pub fn head() -> Vec<u8> {
    table(|writer| writer.write_record(COLUMNS))
}

pub fn rows(records: &[Record]) -> Vec<u8> {
    table(|writer| {
        for record in records {
            let value = serde_json::to_value(record).expect("a record is a map with text keys");
            writer.write_record(COLUMNS.map(|column| cell(&value[column])))?;
        }
        Ok(())
    })
}

fn table(write: impl FnOnce(&mut csv::Writer<Vec<u8>>) -> csv::Result<()>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    write(&mut writer).expect("every row has all columns, and memory takes it");
    writer.into_inner().expect("memory takes it")
}

/// A list of words with commas between them; what has parts of its own as JSON.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            words.join(",")
        }
        other => other.to_string(),
    };
    harmless(text)
}

/// As text, where a spreadsheet would calculate.
pub fn harmless(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        format!("'{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"] {
            assert_eq!(cell(&Value::from(text)), format!("'{text}"));
        }
        assert_eq!(cell(&Value::from("SELECT '=1'")), "SELECT '=1'");
        assert_eq!(cell(&serde_json::json!(["-a", "b"])), "'-a,b");
        assert_eq!(cell(&serde_json::json!([{ "index": 1 }])), "[{\"index\":1}]");
    }
}
