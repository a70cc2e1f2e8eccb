//! Every reason to say no, as the error that the client sees. Never shows a cause that is for operators: those go to
//! the log where they were handled. Source of the table: DESIGN section 5. Read `session.rs` next.

use std::time::Duration;

pub use crate::hold::message::one_line;
use crate::hold::message::{denied_by_person, denied_by_rule};
use crate::hold::{Guards, RequestId};
use crate::wire::postgres::message::Fields;

/// Why a statement was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    DeniedByRule {
        rule: String,
        reason: String,
    },
    DeniedByPerson {
        by: String,
        request: RequestId,
        reason: String,
    },
    Pending {
        request: RequestId,
    },
    /// A reviewer asks something before deciding.
    Question {
        request: RequestId,
        by: String,
        question: String,
    },
    Expired {
        request: RequestId,
    },
    Withdrawn {
        request: RequestId,
        why: String,
    },
    /// It was approved, but what it means has changed since.
    Stale {
        request: RequestId,
        why: String,
    },
    /// It ran and was undone: it affected more rows than its approval allows, or rows that could not be counted.
    TooManyRows {
        request: RequestId,
        why: String,
    },
    Unreadable {
        why: String,
    },
    LogUnavailable,
    TooManyHeld {
        limit: u32,
    },
    CredentialEnded,
    Stopping,
    /// What the server would answer inside a failed transaction; asking a person would be pointless.
    TransactionFailed,
    UnknownStatement {
        name: String,
    },
    /// The unnamed portal, which nobody has bound.
    NoPortal,
    /// Its literals were read when it was prepared, under settings that may be others by now.
    PreparedBefore {
        name: String,
    },
}

impl Refusal {
    /// The error as a client gets it.
    pub fn fields(&self) -> Fields {
        let message = one_line(&self.message("countersign.reply"));
        Fields {
            severity: "ERROR".to_owned(),
            sqlstate: self.sqlstate().to_owned(),
            message,
            detail: self.detail(),
            hint: self.hint().to_owned(),
            routine: format!("countersign.{}", self.code()),
        }
    }

    /// The message alone, as MySQL's clients get it.
    pub fn mysql_message(&self) -> String {
        one_line(&self.message("@countersign_reply"))
    }

    /// A held statement has its attempt from the desk, and its end too.
    pub fn is_recorded_by_desk(&self) -> bool {
        match self {
            Self::DeniedByPerson { .. }
            | Self::Pending { .. }
            | Self::Question { .. }
            | Self::Expired { .. }
            | Self::Withdrawn { .. }
            | Self::Stale { .. }
            | Self::TooManyRows { .. } => true,
            Self::DeniedByRule { .. }
            | Self::Unreadable { .. }
            | Self::LogUnavailable
            | Self::TooManyHeld { .. }
            | Self::CredentialEnded
            | Self::Stopping
            | Self::TransactionFailed
            | Self::UnknownStatement { .. }
            | Self::NoPortal
            | Self::PreparedBefore { .. } => false,
        }
    }

    /// One word for machines, in field R and in the DETAIL's JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DeniedByRule { .. } | Self::DeniedByPerson { .. } => "denied",
            Self::Pending { .. } => "pending",
            Self::Question { .. } => "question",
            Self::Expired { .. } => "expired",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Stale { .. } => "stale",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::Unreadable { .. } => "unreadable",
            Self::LogUnavailable => "log_unavailable",
            Self::TooManyHeld { .. } => "too_many_held",
            Self::CredentialEnded => "credential_ended",
            Self::Stopping => "stopping",
            Self::TransactionFailed => "transaction_failed",
            Self::UnknownStatement { .. } => "unknown_statement",
            Self::NoPortal => "no_portal",
            Self::PreparedBefore { .. } => "prepared_before",
        }
    }

    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::DeniedByRule { .. } | Self::DeniedByPerson { .. } | Self::CredentialEnded => "42501",
            Self::Pending { .. } | Self::Question { .. } | Self::Stale { .. } => "55000",
            Self::Expired { .. } | Self::Withdrawn { .. } | Self::TooManyRows { .. } => "57014",
            Self::Unreadable { .. } | Self::PreparedBefore { .. } => "0A000",
            Self::LogUnavailable => "58000",
            Self::TooManyHeld { .. } => "53400",
            Self::Stopping => "57P01",
            Self::TransactionFailed => "25P02",
            Self::UnknownStatement { .. } => "26000",
            Self::NoPortal => "34000",
        }
    }

    /// The same for MySQL's clients: error number and SQLSTATE.
    /// Source: DESIGN section 5; MySQL docs, server-error-reference.html
    pub fn mysql_error(&self) -> (u16, &'static str) {
        match self {
            Self::DeniedByRule { .. } | Self::DeniedByPerson { .. } | Self::CredentialEnded => {
                (1227, "42000")
            }
            Self::Pending { .. } | Self::Question { .. } | Self::Stale { .. } => (1644, "45000"),
            Self::Expired { .. } | Self::Withdrawn { .. } | Self::TooManyRows { .. } => (1317, "70100"),
            Self::Unreadable { .. } | Self::PreparedBefore { .. } => (1235, "42000"),
            Self::LogUnavailable => (1105, "HY000"),
            Self::TooManyHeld { .. } => (1226, "42000"),
            Self::Stopping => (1053, "08S01"),
            Self::TransactionFailed => (1792, "25006"),
            Self::UnknownStatement { .. } | Self::NoPortal => (1243, "HY000"),
        }
    }

    fn message(&self, reply_setting: &str) -> String {
        match self {
            Self::DeniedByRule { rule, reason } => denied_by_rule(rule, reason).message,
            Self::DeniedByPerson { by, request, reason } => denied_by_person(by, *request, reason).message,
            Self::Pending { request } => format!(
                "countersign: PENDING ({request}): a person has not decided yet. Send the identical statement again \
                 after the decision; it then runs once. Do not rephrase."
            ),
            Self::Question {
                request,
                by,
                question,
            } => format!(
                "countersign: QUESTION {request} from {by}: \"{}\" Re-send the same statement with SET \
                 {} = '...' first.",
                question.replace('"', "'"),
                reply_setting
            ),
            Self::Expired { request } => {
                format!(
                    "countersign: EXPIRED ({request}): nobody decided in time. Ask a person before you retry."
                )
            }
            Self::Withdrawn { request, why } => {
                format!("countersign: CANCELLED ({request}): {why}. Ask a person before you retry.")
            }
            Self::Stale { request, why } => format!(
                "countersign: STALE ({request}): {why}, so the approval no longer holds. Send the identical statement \
                 again for a fresh decision."
            ),
            Self::TooManyRows { request, why } => {
                format!("countersign: UNDONE ({request}): {why}. Ask a person before you retry.")
            }
            Self::Unreadable { why } => {
                format!("countersign: NOT RUN: {why}. Rewrite the statement.")
            }
            Self::LogUnavailable => {
                "countersign: NOT RUN: audit log unavailable, statement not run. Retry later.".to_owned()
            }
            Self::TooManyHeld { limit } => format!(
                "countersign: NOT RUN: {limit} statements of this agent already wait for a decision. Retry later."
            ),
            Self::CredentialEnded => {
                "countersign: NOT RUN: this credential has expired or was revoked. Do not retry.".to_owned()
            }
            Self::Stopping => "countersign: the proxy is stopping. Reconnect and send it again.".to_owned(),
            Self::TransactionFailed => {
                "current transaction is aborted, commands ignored until end of transaction block".to_owned()
            }
            Self::UnknownStatement { name } => format!("prepared statement \"{name}\" does not exist"),
            Self::NoPortal => "portal \"\" does not exist".to_owned(),
            Self::PreparedBefore { name } => format!(
                "countersign: NOT RUN: since prepared statement \"{name}\" was prepared, a setting by which its \
                 literals were read (as DateStyle, TimeZone, collation_connection) may have changed. \
                 Prepare it again."
            ),
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::DeniedByRule { .. } | Self::DeniedByPerson { .. } => "Do something else, or ask a person.",
            Self::Pending { .. } => "Send the identical statement again after the decision.",
            Self::Question { .. } => {
                "Set your reply, then send the identical statement again in the same session."
            }
            Self::Expired { .. } | Self::Withdrawn { .. } | Self::TooManyRows { .. } => {
                "Ask a person before you send it again."
            }
            Self::Stale { .. } => "Send the identical statement again for a fresh decision.",
            Self::Unreadable { .. } => "Rewrite the statement so that it can be read exactly.",
            Self::LogUnavailable | Self::TooManyHeld { .. } => "Send it again later.",
            Self::CredentialEnded => "Ask an administrator for a new credential.",
            Self::Stopping => "Reconnect.",
            Self::TransactionFailed => "Send ROLLBACK first.",
            Self::UnknownStatement { .. } | Self::PreparedBefore { .. } => "Prepare it again.",
            Self::NoPortal => "Bind it again.",
        }
    }

    fn retry(&self) -> &'static str {
        match self {
            Self::DeniedByRule { .. } | Self::DeniedByPerson { .. } | Self::CredentialEnded => "never",
            Self::Pending { .. } => "same_bytes_after_decision",
            Self::Question { .. } => "same_bytes_after_reply",
            Self::Stale { .. } => "same_bytes",
            Self::Expired { .. } | Self::Withdrawn { .. } | Self::TooManyRows { .. } => "ask_a_person",
            Self::Unreadable { .. } => "rewrite",
            Self::LogUnavailable | Self::TooManyHeld { .. } => "later",
            Self::Stopping => "reconnect",
            Self::TransactionFailed => "after_rollback",
            Self::UnknownStatement { .. } | Self::NoPortal | Self::PreparedBefore { .. } => "prepare_again",
        }
    }

    fn request(&self) -> Option<RequestId> {
        match self {
            Self::DeniedByPerson { request, .. }
            | Self::Pending { request }
            | Self::Question { request, .. }
            | Self::Expired { request }
            | Self::Withdrawn { request, .. }
            | Self::Stale { request, .. }
            | Self::TooManyRows { request, .. } => Some(*request),
            Self::DeniedByRule { .. }
            | Self::Unreadable { .. }
            | Self::LogUnavailable
            | Self::TooManyHeld { .. }
            | Self::CredentialEnded
            | Self::Stopping
            | Self::TransactionFailed
            | Self::UnknownStatement { .. }
            | Self::NoPortal
            | Self::PreparedBefore { .. } => None,
        }
    }

    /// One JSON line for machines. The server's own two errors have none, as the server's have none.
    fn detail(&self) -> String {
        match self {
            Self::TransactionFailed | Self::UnknownStatement { .. } => String::new(),
            _ => serde_json::json!({
                "countersign": self.code(),
                "request": self.request().map(|request| request.to_string()),
                "retry": self.retry(),
            })
            .to_string(),
        }
    }
}

/// What a client is told when its statement starts to wait.
pub fn held_notice(request: RequestId, what: &str, rule: &str, wait: Duration, again: bool) -> Fields {
    let state = if again { "STILL HELD" } else { "HELD" };
    let message = format!(
        "countersign: {state} for approval ({request}): {what}; rule {rule}. Waiting up to {}. Cancel to withdraw it.",
        duration(wait)
    );
    notice(&message)
}

/// What a client is told at an approval, before its results.
pub fn approved_notice(request: RequestId, by: &str, guards: Guards) -> Fields {
    let guarded = match guards.is_empty() {
        true => String::new(),
        false => format!(", with {guards}"),
    };
    notice(&format!(
        "countersign: APPROVED by {by} ({request}): running it now{guarded}."
    ))
}

fn notice(message: &str) -> Fields {
    Fields {
        severity: "NOTICE".to_owned(),
        sqlstate: "00000".to_owned(),
        message: one_line(message),
        ..Fields::default()
    }
}

/// A fatal error at log-in or when a connection must end.
pub fn fatal(sqlstate: &str, message: &str) -> Fields {
    Fields {
        severity: "FATAL".to_owned(),
        sqlstate: sqlstate.to_owned(),
        message: one_line(message),
        ..Fields::default()
    }
}

fn duration(wait: Duration) -> String {
    let seconds = wait.as_secs();
    if seconds >= 120 {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::message::MESSAGE_BYTES_MAX;

    #[test]
    fn a_message_is_ascii_and_short_whatever_a_reviewer_writes() {
        let reason = "no \u{202e}\u{1b}[31m \u{e9}\n".repeat(100);
        let refusal = Refusal::DeniedByRule {
            rule: "r".to_owned(),
            reason,
        };
        let fields = refusal.fields();
        assert!(fields.message.len() <= MESSAGE_BYTES_MAX);
        assert!(
            fields.message.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{}",
            fields.message
        );
        assert_eq!(fields.sqlstate, "42501");
        assert_eq!(fields.routine, "countersign.denied");
    }
    #[test]
    fn a_person_is_denied_in_the_words_that_were_previewed_on_both_protocols() {
        let (request, reason) = (RequestId::from_random(7), "billing reads it é".repeat(50));
        let previewed = denied_by_person("dba-1", request, &reason).message;
        let by = "dba-1".to_owned();
        let refusal = Refusal::DeniedByPerson { by, request, reason };
        assert_eq!(refusal.fields().message, previewed);
        assert_eq!(refusal.mysql_message(), previewed);
    }
}
