//! Requests and what people said of them: inserted once, then moved by compare-and-set.
//! Never chooses a state: `hold` does. Read `card.rs` next.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::catalog::impact::Impact;
use crate::clock::Timestamp;
use crate::hold::{
    Approval, Authority, ClaimId, Digest, HeldRequest, Owner, RequestId, StandingGrant, StandingGrantId,
    StateKind,
};
use crate::identity::principal::{PersonName, PrincipalName};
use crate::store::answers::forget_answers_of;
use crate::store::card::{self, Card, Columns, StateData};
use crate::store::outbox::{Note, queue};
use crate::store::people;
use crate::store::remarks::{self, NewRemark};
use crate::store::reviews;
use crate::store::sqlite::{Store, StoreError};
use crate::store::standing;

/// How a request has to stand for a move to take hold.
#[derive(Clone, Debug)]
pub struct Expected {
    pub state: StateKind,
    pub version: u64,
    pub owner: Owner,
    pub digest: Digest,
}

impl Expected {
    pub fn of(held: &HeldRequest) -> Self {
        Self {
            state: held.state.kind(),
            version: held.version,
            owner: held.owner.clone(),
            digest: held.digest,
        }
    }
}

/// Whether a compare-and-set took hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    Kept,
    /// Somebody else moved it first.
    Lost,
}

/// A word of a person, to be kept with the move that it causes.
#[derive(Clone, Debug)]
pub struct NewDecision {
    pub said: Approval,
    pub idempotency: Option<String>,
    /// The standing grant that it makes.
    pub grant: Option<StandingGrant>,
}

/// Which requests to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Empty: all.
    pub states: Vec<StateKind>,
    pub principal: Option<String>,
    pub database: Option<String>,
    pub class: Option<String>,
    pub fingerprint: Option<[u8; 32]>,
    /// Only those that ran by it.
    pub standing_grant: Option<StandingGrantId>,
    /// Only those made before this one of an earlier list.
    pub before: Option<i64>,
    pub limit: usize,
}

const COLUMNS: &str = "seq, id, state, state_data, version, owner_node, owner_epoch, digest, principal, database, \
                       class, fingerprint, created_at, changed_at, wait_ends_at, expires_at, text, card";

impl Store {
    /// Counts a new start of the node that serves this file; `name` is used when it has none yet.
    pub fn begin_epoch(&mut self, name: &str) -> Result<Owner, StoreError> {
        self.write(|transaction| {
            let text = "INSERT INTO node (one, name, epoch) VALUES (1, ?1, 1)
                        ON CONFLICT (one) DO UPDATE SET epoch = epoch + 1 RETURNING name, epoch";
            let read = |row: &Row<'_>| {
                Ok(Owner {
                    node: row.get(0)?,
                    epoch: unsigned(row.get(1)?),
                })
            };
            Ok(transaction.query_row(text, [name], read)?)
        })
    }

    /// Keeps a new request with its notes; `Lost` if its id is taken.
    pub fn insert(
        &mut self,
        held: &HeldRequest,
        remarks: &[NewRemark],
        notes: &[Note],
    ) -> Result<Saved, StoreError> {
        let kept = self.write(|transaction| {
            let saved = insert(transaction, held, notes)?;
            if saved == Saved::Kept {
                for remark in remarks {
                    remarks::keep(transaction, held.id, remark)?;
                }
            }
            Ok(saved)
        });
        self.settle(kept, held)
    }

    /// Keeps a request that runs by a standing grant, and counts the use: both or neither.
    /// `grant` is as it is after the use, `version` as it was before. `Lost`: somebody else changed it first.
    pub fn insert_covered(
        &mut self,
        held: &HeldRequest,
        grant: &StandingGrant,
        version: u64,
        notes: &[Note],
    ) -> Result<Covering, StoreError> {
        let kept = self.write(|transaction| {
            if is_taken(transaction, held.id)? {
                return Ok(Covering::IdTaken);
            }
            if standing::update(transaction, grant, version)? == Saved::Lost {
                return Ok(Covering::Lost);
            }
            insert(transaction, held, notes).map(|_| Covering::Kept)
        });
        match kept {
            Err(error @ StoreError::Unclear(_)) => self.settle(Err(error), held).map(|_| Covering::Kept),
            kept => kept,
        }
    }

    /// The one compare-and-set: keeps `held` if the stored one still stands as expected.
    pub fn save(
        &mut self,
        held: &HeldRequest,
        expected: &Expected,
        decision: Option<&NewDecision>,
        notes: &[Note],
    ) -> Result<Saved, StoreError> {
        self.save_with(held, expected, decision, &[], notes)
    }

    /// The same, with what was said besides.
    pub fn save_with(
        &mut self,
        held: &HeldRequest,
        expected: &Expected,
        decision: Option<&NewDecision>,
        remarks: &[NewRemark],
        notes: &[Note],
    ) -> Result<Saved, StoreError> {
        let (card, data) = written(held)?;
        let kept = self.write(|transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE requests SET state = ?1, state_data = ?2, version = ?3, owner_node = ?4, owner_epoch = ?5,
                   claim = coalesce(?6, claim), changed_at = ?7, wait_ends_at = ?8, expires_at = ?9, card = ?10,
                   is_open = ?11
                 WHERE id = ?12 AND state = ?13 AND version = ?14 AND owner_node = ?15 AND owner_epoch = ?16
                   AND digest = ?17",
            )?;
            let rows = statement.execute(params![
                held.state.kind().as_str(),
                data,
                signed(held.version),
                held.owner.node,
                signed(held.owner.epoch),
                held.state.claim().map(|claim| claim.to_string()),
                held.changed_at.micros(),
                held.wait_ends_at.micros(),
                held.expires_at.micros(),
                card,
                !held.state.is_terminal(),
                held.id.as_str(),
                expected.state.as_str(),
                signed(expected.version),
                expected.owner.node,
                signed(expected.owner.epoch),
                expected.digest.as_bytes(),
            ])?;
            if rows == 0 {
                return Ok(Saved::Lost);
            }
            if let Some(decision) = decision {
                keep_decision(transaction, held.id, decision)?;
            }
            for remark in remarks {
                remarks::keep(transaction, held.id, remark)?;
            }
            queue(transaction, notes, held.changed_at)?;
            Ok(Saved::Kept)
        });
        self.settle(kept, held)
    }

    /// Keeps what has been found out of a request. Nothing else of it changes, so its version stays.
    pub fn save_impact(&mut self, id: RequestId, impact: &Impact) -> Result<(), StoreError> {
        self.write(|transaction| {
            let text = "SELECT card FROM requests WHERE id = ?1";
            let card: String = transaction.query_row(text, [id.as_str()], |row| row.get(0))?;
            let mut card: Card = serde_json::from_str(&card).map_err(StoreError::damaged)?;
            card.set_impact(impact);
            let card = serde_json::to_string(&card).map_err(StoreError::damaged)?;
            transaction.execute(
                "UPDATE requests SET card = ?1 WHERE id = ?2",
                params![card, id.as_str()],
            )?;
            Ok(())
        })
    }

    /// Settles an unclear commit by reading what is kept now: the claim id for a run, the version for the rest.
    fn settle(&mut self, kept: Result<Saved, StoreError>, held: &HeldRequest) -> Result<Saved, StoreError> {
        let Err(StoreError::Unclear(why)) = kept else {
            return kept;
        };
        let standing = self.read(|connection| {
            let text = "SELECT version, state, claim FROM requests WHERE id = ?1";
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            Ok(connection.query_row(text, [held.id.as_str()], read).optional()?)
        });
        let Ok(standing) = standing else {
            return Err(StoreError::Unclear(why));
        };
        let took_hold = standing.is_some_and(|(version, state, claim): (i64, String, Option<String>)| {
            let same_claim = match held.state.claim() {
                Some(ours) => claim.as_deref().and_then(ClaimId::parse) == Some(ours),
                None => true,
            };
            version == signed(held.version) && state == held.state.kind().as_str() && same_claim
        });
        if took_hold {
            Ok(Saved::Kept)
        } else {
            Err(StoreError::Failed(why))
        }
    }

    /// Writes over the parameter values of a request; whether they can be spared is for the caller to know.
    pub fn forget_values(&mut self, id: RequestId) -> Result<(), StoreError> {
        self.write(|transaction| {
            let card = "SELECT card FROM requests WHERE id = ?1";
            let Some(card) = transaction
                .query_row(card, [id.as_str()], |row| row.get::<_, String>(0))
                .optional()?
            else {
                return Ok(());
            };
            let card = card::without_values(&card)?;
            transaction.execute(
                "UPDATE requests SET card = ?2 WHERE id = ?1",
                params![id.as_str(), card],
            )?;
            forget_answers_of(transaction, id)
        })?;
        self.empty_write_ahead()
    }

    pub fn request(&mut self, id: RequestId) -> Result<Option<HeldRequest>, StoreError> {
        self.read(|connection| {
            let text = format!("SELECT {COLUMNS} FROM requests WHERE id = ?1");
            let mut statement = connection.prepare_cached(&text)?;
            let mut rows = statement.query([id.as_str()])?;
            rows.next()?.map(|row| request_of(connection, row)).transpose()
        })
    }

    /// The claim under which a request runs or ran, as the file has it.
    pub fn claim_of(&mut self, id: RequestId) -> Result<Option<ClaimId>, StoreError> {
        self.read(|connection| {
            let text = "SELECT claim FROM requests WHERE id = ?1";
            let claim: Option<Option<String>> = connection
                .query_row(text, [id.as_str()], |row| row.get(0))
                .optional()?;
            Ok(claim.flatten().as_deref().and_then(ClaimId::parse))
        })
    }

    /// Requests of this principal with this digest that can still change, oldest first.
    pub fn open_alike(
        &mut self,
        principal: &PrincipalName,
        digest: Digest,
    ) -> Result<Vec<HeldRequest>, StoreError> {
        self.read(|connection| {
            let text = format!(
                "SELECT {COLUMNS} FROM requests WHERE principal = ?1 AND digest = ?2 AND is_open = 1 ORDER BY seq"
            );
            collect(connection, &text, params![principal.as_str(), digest.as_bytes()])
        })
    }

    /// Every request that can still change, oldest first.
    pub fn open_requests(&mut self) -> Result<Vec<HeldRequest>, StoreError> {
        self.read(|connection| {
            let text = format!("SELECT {COLUMNS} FROM requests WHERE is_open = 1 ORDER BY seq");
            collect(connection, &text, [])
        })
    }

    /// How many requests of this principal wait for a decision.
    pub fn undecided_of(&mut self, principal: &PrincipalName) -> Result<u32, StoreError> {
        self.read(|connection| {
            let text = "SELECT count(*) FROM requests
                        WHERE principal = ?1 AND is_open = 1 AND state IN ('pending', 'detached')";
            Ok(connection.query_row(text, [principal.as_str()], |row| row.get(0))?)
        })
    }

    /// At most `limit` requests, newest first, each with its place for the next list.
    pub fn requests(&mut self, query: &Query) -> Result<Vec<(i64, HeldRequest)>, StoreError> {
        let states = serde_json::to_string(
            &query
                .states
                .iter()
                .map(|state| state.as_str())
                .collect::<Vec<_>>(),
        )
        .map_err(StoreError::damaged)?;
        self.read(|connection| {
            let text = format!(
                "SELECT {COLUMNS} FROM requests
                 WHERE (?1 IS NULL OR seq < ?1) AND (?2 IS NULL OR principal = ?2) AND (?3 IS NULL OR database = ?3)
                   AND (?4 IS NULL OR class = ?4) AND (?5 IS NULL OR fingerprint = ?5)
                   AND (?6 = '[]' OR state IN (SELECT value FROM json_each(?6)))
                   AND (?7 IS NULL OR standing_grant = ?7)
                 ORDER BY seq DESC LIMIT ?8"
            );
            let mut statement = connection.prepare_cached(&text)?;
            let mut rows = statement.query(params![
                query.before,
                query.principal,
                query.database,
                query.class,
                query.fingerprint,
                states,
                query.standing_grant.map(|grant| grant.to_string()),
                i64::try_from(query.limit).unwrap_or(i64::MAX),
            ])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push((row.get("seq")?, request_of(connection, row)?));
            }
            Ok(found)
        })
    }

    /// What a person has said of a request under this key, if that was said before.
    pub fn said_under(&mut self, id: RequestId, by: &PersonName, key: &str) -> Result<bool, StoreError> {
        self.read(|connection| {
            let text =
                "SELECT count(*) FROM decisions WHERE request = ?1 AND person = ?2 AND idempotency = ?3";
            let count: i64 = connection.query_row(text, [id.as_str(), by.as_str(), key], |row| row.get(0))?;
            Ok(count > 0)
        })
    }
}

/// What became of a use of a standing grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covering {
    Kept,
    IdTaken,
    /// Somebody else used or ended the grant first.
    Lost,
}

fn is_taken(transaction: &Connection, id: RequestId) -> Result<bool, StoreError> {
    let mut statement = transaction.prepare_cached("SELECT 1 FROM requests WHERE id = ?1")?;
    Ok(statement.exists([id.as_str()])?)
}

fn insert(transaction: &Connection, held: &HeldRequest, notes: &[Note]) -> Result<Saved, StoreError> {
    let (card, data) = written(held)?;
    let mut statement = transaction.prepare_cached(
        "INSERT INTO requests (id, state, state_data, version, owner_node, owner_epoch, claim, digest, principal,
           database, class, fingerprint, created_at, changed_at, wait_ends_at, expires_at, text, card, is_open,
           standing_grant)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let rows = statement.execute(params![
        held.id.as_str(),
        held.state.kind().as_str(),
        data,
        signed(held.version),
        held.owner.node,
        signed(held.owner.epoch),
        held.state.claim().map(|claim| claim.to_string()),
        held.digest.as_bytes(),
        held.peer.principal.as_str(),
        held.peer.database,
        card::class_word(held.class),
        held.fingerprint,
        held.created_at.micros(),
        held.changed_at.micros(),
        held.wait_ends_at.micros(),
        held.expires_at.micros(),
        held.text,
        card,
        !held.state.is_terminal(),
        held.covered_by.as_ref().map(|covered| covered.grant.to_string()),
    ])?;
    if rows == 0 {
        return Ok(Saved::Lost);
    }
    queue(transaction, notes, held.changed_at)?;
    Ok(Saved::Kept)
}

fn keep_decision(transaction: &Connection, id: RequestId, decision: &NewDecision) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO decisions (request, person, approves, reason, channel, token_seen_by, idempotency, at, terms, guards,
           in_groups, break_glass)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    let said = &decision.said;
    let in_groups = said.groups.as_ref().map(serde_json::to_string).transpose();
    let in_groups = in_groups.map_err(StoreError::damaged)?;
    statement.execute(params![
        id.as_str(),
        said.by.as_str(),
        said.approves,
        said.reason,
        said.channel,
        people::names(&said.token_seen_by)?,
        decision.idempotency,
        said.at.micros(),
        said.terms
            .map(|terms| standing::terms_text(terms, said.run.as_ref()))
            .transpose()?,
        standing::guards_text(said.guards)?,
        in_groups,
        said.authority == Authority::BreakGlass,
    ])?;
    if said.authority == Authority::BreakGlass {
        reviews::begin(transaction, id, said)?;
    }
    if let Some(grant) = &decision.grant {
        standing::insert(transaction, grant)?;
    }
    Ok(())
}

fn written(held: &HeldRequest) -> Result<(String, String), StoreError> {
    let card = serde_json::to_string(&Card::of(held)).map_err(StoreError::damaged)?;
    let data = serde_json::to_string(&StateData::of(&held.state)).map_err(StoreError::damaged)?;
    Ok((card, data))
}

fn collect(
    connection: &Connection,
    text: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<HeldRequest>, StoreError> {
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(request_of(connection, row)?);
    }
    Ok(found)
}

fn request_of(connection: &Connection, row: &Row<'_>) -> Result<HeldRequest, StoreError> {
    let id: String = row.get("id")?;
    let state: String = row.get("state")?;
    let (data, card): (String, String) = (row.get("state_data")?, row.get("card")?);
    let at = |column: &str| row.get(column).map(Timestamp::from_micros);
    let kind = StateKind::parse(&state).ok_or_else(|| StoreError::damaged(format!("state `{state}`")))?;
    let data: StateData = serde_json::from_str(&data).map_err(StoreError::damaged)?;
    let card: Card = serde_json::from_str(&card).map_err(StoreError::damaged)?;
    card.into_request(Columns {
        state: data.into_state(kind)?,
        id: RequestId::parse(&id).ok_or_else(|| StoreError::damaged(format!("request id `{id}`")))?,
        version: unsigned(row.get("version")?),
        owner: Owner {
            node: row.get("owner_node")?,
            epoch: unsigned(row.get("owner_epoch")?),
        },
        digest: Digest::from_bytes(row.get("digest")?),
        principal: row.get("principal")?,
        database: row.get("database")?,
        class: row.get("class")?,
        fingerprint: row.get("fingerprint")?,
        created_at: at("created_at")?,
        changed_at: at("changed_at")?,
        wait_ends_at: at("wait_ends_at")?,
        expires_at: at("expires_at")?,
        text: row.get("text")?,
        decisions: decisions_of(connection, &id)?,
        discussion: remarks::of_request(connection, &id)?,
    })
}

fn decisions_of(connection: &Connection, id: &str) -> Result<Vec<Approval>, StoreError> {
    let text =
        "SELECT person, approves, reason, channel, at, token_seen_by, terms, guards, in_groups, break_glass FROM decisions
                WHERE request = ?1 ORDER BY at, rowid";
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query([id])?;
    let mut said = Vec::new();
    while let Some(row) = rows.next()? {
        let by: String = row.get(0)?;
        let terms: Option<String> = row.get(6)?;
        let terms = terms.as_deref().map(standing::terms).transpose()?;
        said.push(Approval {
            by: card::person(&by)?,
            token_seen_by: people::from_names(&row.get::<_, String>(5)?)?,
            approves: row.get(1)?,
            authority: match row.get(9)? {
                true => Authority::BreakGlass,
                false => Authority::Rule,
            },
            groups: row
                .get::<_, Option<String>>(8)?
                .map(|groups| serde_json::from_str(&groups))
                .transpose()
                .map_err(StoreError::damaged)?,
            reason: row.get(2)?,
            channel: row.get(3)?,
            at: Timestamp::from_micros(row.get(4)?),
            terms: terms.as_ref().map(|(terms, _)| *terms),
            run: terms.and_then(|(_, run)| run),
            guards: standing::guards(row.get::<_, Option<String>>(7)?.as_deref())?,
        });
    }
    Ok(said)
}

/// SQLite's integers are signed; versions and epochs never come near the edge.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
