//! Standing grants: kept with the decision that makes them, then used and ended by compare-and-set.
//! Never says whether one may be used: `hold` does. Read `requests.rs` for the request that each use is.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::hold::{
    Digest, Guards, Maker, Reach, RunBounds, RunCovers, Standing, StandingGrant, StandingGrantId,
    StandingKind, Terms,
};
use crate::identity::principal::{PrincipalName, SessionId};
use crate::policy::Risk;
use crate::sql::action::{Breadth, TableName};
use crate::store::card;
use crate::store::outbox::{Note, queue};
use crate::store::requests::{Saved, signed, unsigned};
use crate::store::sqlite::{Store, StoreError};

#[derive(Serialize, Deserialize)]
struct TermsRow {
    session: bool,
    minutes: u32,
    uses: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    transaction: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<CoversRow>,
}

/// A name with its schema.
type NameRow = (Option<String>, String);

#[derive(Serialize, Deserialize)]
struct CoversRow {
    classes: Vec<String>,
    /// None of a run that an earlier version kept: it lets nothing through.
    #[serde(default)]
    verbs: Vec<String>,
    tables: Vec<NameRow>,
}

#[derive(Serialize, Deserialize)]
struct BoundsRow {
    covers: CoversRow,
    known: Vec<(NameRow, String)>,
    risk: Risk,
    #[serde(default)]
    is_unbounded: bool,
    /// When its transaction was opened, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transaction: Option<i64>,
}

fn name_row(name: &TableName) -> NameRow {
    (name.schema.clone(), name.name.clone())
}

fn table_name((schema, name): NameRow) -> TableName {
    TableName { schema, name }
}

impl CoversRow {
    fn of(covers: &RunCovers) -> Self {
        Self {
            classes: covers.classes.iter().map(ToString::to_string).collect(),
            verbs: covers.verbs.iter().cloned().collect(),
            tables: covers.tables.iter().map(name_row).collect(),
        }
    }

    fn into_covers(self) -> Result<RunCovers, StoreError> {
        Ok(RunCovers {
            classes: self
                .classes
                .iter()
                .map(|word| card::class(word))
                .collect::<Result<_, _>>()?,
            verbs: self.verbs.into_iter().collect(),
            tables: self.tables.into_iter().map(table_name).collect(),
        })
    }
}

impl BoundsRow {
    fn of(bounds: &RunBounds) -> Self {
        let known = bounds
            .known
            .iter()
            .map(|(name, oid)| (name_row(name), oid.clone()));
        Self {
            covers: CoversRow::of(&bounds.covers),
            known: known.collect(),
            risk: bounds.risk,
            is_unbounded: bounds.breadth == Breadth::Unbounded,
            transaction: bounds.transaction.map(Timestamp::micros),
        }
    }

    fn into_bounds(self) -> Result<RunBounds, StoreError> {
        let known = self.known.into_iter().map(|(name, oid)| (table_name(name), oid));
        Ok(RunBounds {
            covers: self.covers.into_covers()?,
            known: known.collect(),
            risk: self.risk,
            breadth: card::breadth(self.is_unbounded),
            transaction: self.transaction.map(Timestamp::from_micros),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct MakerRow {
    person: String,
    token_seen_by: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stands_for: Vec<String>,
}

/// Times in milliseconds.
#[derive(Serialize, Deserialize)]
struct GuardsRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lock_timeout: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statement_timeout: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows_max: Option<u64>,
}

/// `None` where there are none.
pub(super) fn guards_text(guards: Guards) -> Result<Option<String>, StoreError> {
    let milliseconds =
        |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let row = GuardsRow {
        lock_timeout: milliseconds(guards.lock_timeout),
        statement_timeout: milliseconds(guards.statement_timeout),
        rows_max: guards.rows_max,
    };
    (!guards.is_empty()).then(|| json(&row)).transpose()
}

pub(super) fn guards(text: Option<&str>) -> Result<Guards, StoreError> {
    let Some(text) = text else {
        return Ok(Guards::default());
    };
    let row: GuardsRow = from_json(text)?;
    Ok(Guards {
        lock_timeout: row.lock_timeout.map(Duration::from_millis),
        statement_timeout: row.statement_timeout.map(Duration::from_millis),
        rows_max: row.rows_max,
    })
}

impl Store {
    pub fn standing_grant(&mut self, id: StandingGrantId) -> Result<Option<StandingGrant>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM standing_grants WHERE id = ?1")?;
            let mut rows = statement.query([id.to_string()])?;
            rows.next()?.map(grant_of).transpose()
        })
    }

    /// Those of this principal for this shape that are open, the one that ends first first.
    pub fn open_standing_grants_for(
        &mut self,
        principal: &PrincipalName,
        shape: Digest,
    ) -> Result<Vec<StandingGrant>, StoreError> {
        self.read(|connection| {
            let text = "SELECT * FROM standing_grants
                        WHERE principal = ?1 AND shape = ?2 AND standing = 'open' ORDER BY until, seq";
            collect(connection, text, params![principal.as_str(), shape.as_bytes()])
        })
    }

    /// All that are open, oldest first.
    pub fn open_standing_grants(&mut self) -> Result<Vec<StandingGrant>, StoreError> {
        self.read(|connection| {
            let text = "SELECT * FROM standing_grants WHERE standing = 'open' ORDER BY seq";
            collect(connection, text, [])
        })
    }

    /// At most `limit`, newest first; of every principal and in every state where none is named.
    pub fn standing_grants(
        &mut self,
        principal: Option<&str>,
        standing: Option<StandingKind>,
        limit: usize,
    ) -> Result<Vec<StandingGrant>, StoreError> {
        self.read(|connection| {
            let text = "SELECT * FROM standing_grants
                        WHERE (?1 IS NULL OR principal = ?1) AND (?2 IS NULL OR standing = ?2)
                        ORDER BY seq DESC LIMIT ?3";
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            collect(
                connection,
                text,
                params![principal, standing.map(StandingKind::as_str), limit],
            )
        })
    }

    pub fn open_standing_grants_of(&mut self, principal: &PrincipalName) -> Result<u32, StoreError> {
        self.read(|connection| {
            let text = "SELECT count(*) FROM standing_grants WHERE principal = ?1 AND standing = 'open'";
            Ok(connection.query_row(text, [principal.as_str()], |row| row.get(0))?)
        })
    }

    /// Ends one, if the stored one still has this version.
    pub fn end_standing_grant(
        &mut self,
        grant: &StandingGrant,
        version: u64,
        notes: &[Note],
    ) -> Result<Saved, StoreError> {
        let kept = self.write(|transaction| {
            let saved = update(transaction, grant, version)?;
            if saved == Saved::Kept {
                queue(transaction, notes, grant.changed_at)?;
            }
            Ok(saved)
        });
        let Err(StoreError::Unclear(why)) = kept else {
            return kept;
        };
        // Settled by reading what is kept now.
        let now = self.standing_grant(grant.id);
        match now {
            Ok(Some(now)) if now == *grant => Ok(Saved::Kept),
            Ok(_) => Err(StoreError::Failed(why)),
            Err(_) => Err(StoreError::Unclear(why)),
        }
    }
}

pub(super) fn insert(transaction: &Connection, grant: &StandingGrant) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO standing_grants (id, standing, version, request, shape, principal, session, credential, approvers,
           made_by, uses, uses_max, made_at, changed_at, until, guards, run)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?;
    statement.execute(params![
        grant.id.to_string(),
        grant.standing.kind().as_str(),
        signed(grant.version),
        grant.request.as_str(),
        grant.shape.as_bytes(),
        grant.principal.as_str(),
        grant.session.map(|session| session.to_string()),
        grant.credential.as_bytes(),
        json(&grant.approvers)?,
        json(&grant.made_by.iter().map(MakerRow::of).collect::<Vec<_>>())?,
        grant.uses,
        grant.uses_max,
        grant.made_at.micros(),
        grant.changed_at.micros(),
        grant.until.micros(),
        guards_text(grant.guards)?,
        grant
            .run
            .as_ref()
            .map(|run| json(&BoundsRow::of(run)))
            .transpose()?,
    ])?;
    Ok(())
}

/// The one compare-and-set: what is open and has this version becomes `grant`.
pub(super) fn update(
    transaction: &Connection,
    grant: &StandingGrant,
    version: u64,
) -> Result<Saved, StoreError> {
    let (by, why) = match &grant.standing {
        Standing::Open | Standing::UsedUp => (None, None),
        Standing::Revoked { by, reason } => (Some(by.as_str()), Some(reason.as_str())),
        Standing::Lapsed { why } => (None, Some(why.as_str())),
    };
    let mut statement = transaction.prepare_cached(
        "UPDATE standing_grants SET standing = ?1, ended_by = ?2, ended_why = ?3, version = ?4, uses = ?5, changed_at = ?6
         WHERE id = ?7 AND version = ?8 AND standing = 'open'",
    )?;
    let rows = statement.execute(params![
        grant.standing.kind().as_str(),
        by,
        why,
        signed(grant.version),
        grant.uses,
        grant.changed_at.micros(),
        grant.id.to_string(),
        signed(version),
    ])?;
    Ok(if rows == 0 { Saved::Lost } else { Saved::Kept })
}

fn collect(
    connection: &Connection,
    text: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<StandingGrant>, StoreError> {
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(grant_of(row)?);
    }
    Ok(found)
}

fn grant_of(row: &Row<'_>) -> Result<StandingGrant, StoreError> {
    let text = |column: &str| row.get::<_, String>(column);
    let at = |column: &str| row.get(column).map(Timestamp::from_micros);
    let session: Option<String> = row.get("session")?;
    let makers: Vec<MakerRow> = from_json(&text("made_by")?)?;
    Ok(StandingGrant {
        id: card::standing_id(&text("id")?)?,
        standing: standing_of(row)?,
        version: unsigned(row.get("version")?),
        request: card::request_id(&text("request")?)?,
        shape: Digest::from_bytes(row.get("shape")?),
        run: row
            .get::<_, Option<String>>("run")?
            .map(|text| from_json::<BoundsRow>(&text)?.into_bounds())
            .transpose()?,
        principal: card::principal(&text("principal")?)?,
        session: session
            .map(|text| SessionId::parse(&text).ok_or_else(|| StoreError::damaged("a session id")))
            .transpose()?,
        credential: Digest::from_bytes(row.get("credential")?),
        approvers: from_json(&text("approvers")?)?,
        made_by: makers
            .into_iter()
            .map(MakerRow::into_maker)
            .collect::<Result<_, _>>()?,
        guards: guards(row.get::<_, Option<String>>("guards")?.as_deref())?,
        uses: row.get("uses")?,
        uses_max: row.get("uses_max")?,
        made_at: at("made_at")?,
        changed_at: at("changed_at")?,
        until: at("until")?,
    })
}

fn standing_of(row: &Row<'_>) -> Result<Standing, StoreError> {
    let word: String = row.get("standing")?;
    let missing = || StoreError::damaged(format!("a standing grant that is `{word}` lacks its data"));
    let why = || row.get::<_, Option<String>>("ended_why")?.ok_or_else(missing);
    match StandingKind::parse(&word).ok_or_else(missing)? {
        StandingKind::Open => Ok(Standing::Open),
        StandingKind::UsedUp => Ok(Standing::UsedUp),
        StandingKind::Revoked => {
            let by: Option<String> = row.get("ended_by")?;
            Ok(Standing::Revoked {
                by: card::person(&by.ok_or_else(missing)?)?,
                reason: why()?,
            })
        }
        StandingKind::Lapsed => Ok(Standing::Lapsed { why: why()? }),
    }
}

impl MakerRow {
    fn of(maker: &Maker) -> Self {
        Self {
            person: maker.person.to_string(),
            token_seen_by: maker.token_seen_by.iter().map(ToString::to_string).collect(),
            groups: maker.groups.clone(),
            stands_for: maker.stands_for.iter().map(ToString::to_string).collect(),
        }
    }

    fn into_maker(self) -> Result<Maker, StoreError> {
        Ok(Maker {
            person: card::person(&self.person)?,
            token_seen_by: card::people(&self.token_seen_by)?,
            groups: self.groups,
            stands_for: card::people(&self.stands_for)?,
        })
    }
}

pub(super) fn terms_text(terms: Terms, run: Option<&RunCovers>) -> Result<String, StoreError> {
    json(&TermsRow {
        session: terms.reach == Reach::Session,
        minutes: terms.minutes,
        uses: terms.uses,
        transaction: terms.reach == Reach::Transaction,
        run: run.map(CoversRow::of),
    })
}

pub(super) fn terms(text: &str) -> Result<(Terms, Option<RunCovers>), StoreError> {
    let row: TermsRow = from_json(text)?;
    let terms = Terms {
        reach: match (row.transaction, row.session) {
            (true, _) => Reach::Transaction,
            (false, true) => Reach::Session,
            (false, false) => Reach::Principal,
        },
        minutes: row.minutes,
        uses: row.uses,
    };
    Ok((terms, row.run.map(CoversRow::into_covers).transpose()?))
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::damaged)
}

fn from_json<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(StoreError::damaged)
}
