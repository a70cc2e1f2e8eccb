//! What a bundle says to the person who opens it: what is in it, what it proves and what it does not, how to check it.
//! Never says a number that is not counted from the records. Read `tables.rs` for the tables it speaks of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::EvidenceError;
use super::bundle::Manifest;
use super::stage::Stage;
use super::tables::{self, Period, QUICK_COUNT, QUICK_SECONDS};
use crate::audit::checkpoint::{Checkpoint, VerifyingKey};

/// What `approval_assurance` is, since format 2.
const ASSURANCE: &str = "\
`approval_assurance` is how the approver had signed in (`token`, `password`, `totp` or `passkey`), and how long before the decision
they had given a second factor last, if they had; decisions that older versions recorded do not say so.";
/// The same, in format 1.
const ASSURANCE_UNKNOWN: &str = "\
`approval_assurance` is how the approver had signed in, where the record of the decision says so; those of this version do not
yet.";

/// What a pruning leaves out, since format 2: format 1 is of before anything was pruned.
const PRUNED: &str = "\
- Where the log was pruned: people and rules that were set by records that are gone and never changed since are not in here, though
  they may have been in force. `exceptions.csv` names each pruning (`records_pruned`), with the time up to which records are gone.
";

/// What the words are made of.
pub struct Facts<'a> {
    manifest: &'a Manifest,
    end: &'a Checkpoint,
    key: &'a VerifyingKey,
    statements: u64,
    exceptions: Vec<(String, i64)>,
}

impl<'a> Facts<'a> {
    pub fn of(
        manifest: &'a Manifest,
        end: &'a Checkpoint,
        key: &'a VerifyingKey,
        stage: &Stage,
        period: Period,
    ) -> Result<Self, EvidenceError> {
        Ok(Self {
            manifest,
            end,
            key,
            statements: stage.statements,
            exceptions: tables::exceptions(stage, period)?,
        })
    }
}

pub fn text(facts: &Facts<'_>) -> String {
    let Facts {
        manifest,
        end,
        key,
        statements,
        exceptions,
    } = facts;
    let (from, to, version) = (&manifest.from, &manifest.to, &manifest.version);
    let (leaves, first, size) = (manifest.leaves, manifest.first_leaf, end.size);
    let (signed, root) = (end.time, STANDARD.encode(end.root));
    let (name, id) = (key.name(), key.id());
    let (assurance, pruned) = match manifest.format {
        1 => (ASSURANCE_UNKNOWN, ""),
        _later => (ASSURANCE, PRUNED),
    };
    let whole = if manifest.whole {
        format!(
            "The last checkpoint in it was signed after the period, at {signed}: the period is **whole**."
        )
    } else {
        format!(
            "The period is **not whole**: when the bundle was made, the last checkpoint was that of {signed}, and records \
             of the period may stand behind it. Ask for the bundle again when the period is over and `serve` has signed it."
        )
    };
    let exceptions: String = if exceptions.is_empty() {
        "none\n".to_owned()
    } else {
        let line = |(kind, count): &(String, i64)| format!("- {kind}: {count}\n");
        exceptions.iter().map(line).collect()
    };
    format!(
        "# Evidence from the log of Countersign

Period: from {from} up to {to} (without that moment).
Log: `{name}`, key {id}. Made by Countersign {version}.

{whole}

- {statements} privileged statements
- {leaves} records of the log: its leaves {first} up to {size} (without the latter)
- signed root over {size} records: `{root}`

Exceptions:

{exceptions}
## Check it

```sh
countersign log verify --evidence .                    # in this folder; or name the .zip as it came
countersign log verify --evidence . --key LOG.PUB      # by the key that you keep yourself: do this
countersign log verify --evidence . --key LOG.PUB --anchor CHECKPOINTS
sha256sum -c SHA256SUMS                                # the files are as they were packed, without Countersign
```

It needs this folder alone: no network, no account, no access to the log. Exit code 0 and `VERIFIED`: everything below under
\"What is proved\" holds. Exit code 3: the last line says what does not.

## What is in it

| File | What it holds |
|---|---|
| `population.csv` | every privileged statement that was asked for in the period: by whom, whose agent, when, what, under which rule, who approved or denied it, when, why, over which channel, and what became of it |
| `decisions.csv` | every approval and denial in the period, and how many seconds after the question it came |
| `exceptions.csv` | what an auditor looks at first, see below |
| `rules.csv`, `rules/` | every version of the rules in force in the period, from when to when, by SHA-256 of its file; its text, if the log has it (logs of older versions have the digest alone; so have files above 256 KiB) |
| `approvers.csv` | every person with roles and groups, and from when to when they had them |
| `log_readers.csv` | who read or exported the log in the period, and what they asked; this bundle is itself such a record, later |
| `records.ndjson` | every record between the two checkpoints, in the order of the log; `bytes` are the ones that are hashed, `record` says them in words |
| `earlier/` | proofs of older records that the tables need: rules, people and sessions from before; `countersign log verify --proof FILE --key log.pub` checks one alone |
| `checkpoints`, `log.pub` | the signed roots, and the key that they are signed by |
| `evidence.json` | the period, and the hashes to the left of the records |
| `SHA256SUMS` | of all other files |

**Privileged** is every statement that is not of class read, session or transaction, and besides every one of those that the
rules held or denied: a read that somebody was asked about is in the list, one that passed by itself is not. Statements are
in the list whether they ran or not. A cell that would be a formula to a spreadsheet has an apostrophe before it. Statements are
cut at 1,000 letters in the table, and whole in `records.ndjson`; parameter values are not in the bundle, only the commitments
to them: `countersign log show ID` shows them to whoever may read the log.

`state` is the last thing that happened to a held request, `outcome` what became of the statement (`not recorded`: not before the
last checkpoint in here), `transaction` whether the transaction around it was committed, where the log says so.
{assurance} For a statement that ran by a standing grant, the approval is that of the request in `decided_in`.

**Exceptions** are: requests that expired, whose outcome is unknown, that were escalated or handed on; break-glass;
decisions that were refused, such as those of people on their own statements; what happened to standing grants and runs, each
use included; failed sign-ins of people; starts of the program that found records missing; rules that were rejected; parameter values that were erased; decisions in
the period on requests from before it; statements without an outcome; people, and rules, all of whose approvals ({QUICK_COUNT} or
more) came within {QUICK_SECONDS} s of the question.

## What is proved, and what is not

Proved, against whoever does not hold the signing key:

- Every record in `records.ndjson` is in the log, unchanged, in this order, and none between the first and the last is missing: with
  the hashes to their left they come to the signed root.
- Nothing under the first checkpoint belongs to the period: it was signed before it began (or the bundle begins with the first
  record of the log).
- The tables are complete and say what the records say: the check makes them again and compares every byte. So no row can be left
  out, added or changed.
- The statements are those whose SHA-256 the records hold, the texts of rules those whose SHA-256 is in force.

Not proved:

- That the records are true: a log proves that it was not changed since, not that it was right. Nor that agents had no other way
  to the database.
- Anything against somebody who holds the signing key and changed the log before this bundle was made. An anchored checkpoint
  that you kept yourself (`--anchor`) closes that for everything before it.
- That `log.pub` is the log's key: compare it with the one that you keep.
- The clock of the machine. Times are what it said; they never run backwards in a log.
- That no record of the last moments of the period stands behind the last checkpoint. The program that made this bundle looked, and
  says so above; a record reaches the tree seconds after it is written.
- That `earlier/` holds all older changes: each of them is proved to be in the log, not that there was no later one before the
  period. Nor in which lane a record stands (the part of its id before the dot).
{pruned}"
    )
}
