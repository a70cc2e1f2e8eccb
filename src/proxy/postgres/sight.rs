//! Which catalog a session judges by at this moment, and under which number what it judges is kept.
//! Never answers for a name itself, and never lets what the session alone knows into what all share.
//! Read `judging.rs` next.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::catalog::keeper::{Keeper, Standing};
use crate::catalog::postgres::{SessionState, Unread, View};
use crate::proxy::end::{End, Happened};
use crate::proxy::judgements::{Judgements, Scope, SharedNames};
use crate::proxy::postgres::facts::Facts;
use crate::proxy::postgres::own_names::WithOwn;
use crate::proxy::postgres::session::Session;
use crate::proxy::postgres::turn::Next;
use crate::proxy::registry::Control;
use crate::sql::names::Catalog;
use crate::sql::statement::LexingState;

/// How long a statement waits for the catalog to be read; then its names are not known. A little more than one look may
/// take, and so the first one after the start.
const CATALOG_WITHIN: Duration = Duration::from_secs(12);

const UNREAD: &str = "the catalog cannot be read now";
const UNCOMMITTED: &str = "the open transaction may have changed the catalog";
const UNCLEAR: &str = "this session has over 500 temporary objects, or one that is a child of another table";

/// A session's way to the catalog of its database.
pub struct Sight {
    /// `None`: no catalog is configured.
    keeper: Option<Arc<Keeper>>,
    /// Looks that this session has waited for in vain.
    given_up: u64,
    now: Option<Now>,
}

/// What was made of the circumstances, so that it is made once.
struct Now {
    circumstances: Circumstances,
    scope: Scope,
    is_shared: bool,
}

/// Whatever can change what names and texts mean, in little.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Circumstances {
    lexing: LexingState,
    basis: Basis,
    /// Of the session's facts.
    revision: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// Built-in knowledge alone.
    NoCatalog,
    Read {
        generation: u64,
    },
    /// Nothing is known of any name, and why.
    Nothing(&'static str),
}

impl Sight {
    pub fn new(keeper: Option<Arc<Keeper>>) -> Self {
        Self {
            keeper,
            given_up: 0,
            now: None,
        }
    }

    pub fn has_catalog(&self) -> bool {
        self.keeper.is_some()
    }

    /// The session has done what may have changed the catalog.
    pub fn suspect(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.suspect();
        }
    }

    /// What the names of a session rest on, as things stand.
    fn basis(&self, facts: &Facts, is_uncommitted: bool) -> Basis {
        let Some(keeper) = &self.keeper else {
            return Basis::NoCatalog;
        };
        match keeper.standing() {
            Standing::Read { .. } if is_uncommitted => Basis::Nothing(UNCOMMITTED),
            Standing::Read { .. } if facts.own.are_unclear => Basis::Nothing(UNCLEAR),
            Standing::Read { generation } => Basis::Read { generation },
            Standing::Behind { .. } | Standing::Stale => Basis::Nothing(UNREAD),
        }
    }

    /// The number under which the next text is judged. Costs no look-up while nothing changes.
    pub fn scope(
        &mut self,
        judgements: &mut Judgements,
        facts: &Facts,
        lexing: LexingState,
        is_uncommitted: bool,
    ) -> Scope {
        let circumstances = Circumstances {
            lexing,
            basis: self.basis(facts, is_uncommitted),
            revision: facts.revision,
        };
        if let Some(now) = &self.now
            && now.circumstances == circumstances
        {
            return now.scope;
        }
        let shared = match circumstances.basis {
            Basis::NoCatalog => Some(None),
            Basis::Read { generation } if !facts.own.is_alone() => Some(Some(SharedNames {
                generation,
                search_path: facts.search_path.clone(),
                role: facts.acting_role().to_owned(),
            })),
            Basis::Read { .. } | Basis::Nothing(_) => None,
        };
        let is_shared = shared.is_some();
        let scope = match shared {
            Some(names) => judgements.shared_scope(lexing, names),
            None => judgements.scope_of_one(),
        };
        self.now = Some(Now {
            circumstances,
            scope,
            is_shared,
        });
        scope
    }

    /// Whether what is judged under the number given last may be kept for other sessions.
    pub fn is_shared(&self) -> bool {
        self.now.as_ref().is_some_and(|now| now.is_shared)
    }

    /// What answers for names under the number given last. Made anew each time: a session that sleeps must not keep a
    /// snapshot of long ago alive.
    pub fn catalog(&self, facts: &Facts) -> Option<Arc<dyn Catalog>> {
        let keeper = self.keeper.as_ref()?;
        let now = self.now.as_ref()?;
        Some(made(keeper, now.circumstances.basis, facts))
    }
}

fn made(keeper: &Keeper, basis: Basis, facts: &Facts) -> Arc<dyn Catalog> {
    let nothing = |why: &str| Arc::new(Unread(why.to_owned()));
    let generation = match basis {
        Basis::Read { generation } => generation,
        Basis::Nothing(why) => return nothing(why),
        Basis::NoCatalog => return nothing(UNREAD),
    };
    // `None`: read again in this very moment. The next text is judged by that.
    let Some(snapshot) = keeper.snapshot(generation) else {
        return nothing(UNREAD);
    };
    let session = SessionState {
        search_path: &facts.search_path,
        role: facts.acting_role(),
        has_temporary_objects: false,
        has_uncommitted_ddl: false,
    };
    let shared: Arc<dyn Catalog> = Arc::new(View::new(snapshot, session));
    if !facts.own.is_alone() {
        return shared;
    }
    let own = facts.own.clone();
    Arc::new(WithOwn { own, shared })
}

impl Session {
    /// Whether the catalog must be read again before anything is judged.
    pub(super) fn awaits_catalog(&mut self) -> Option<Next> {
        let keeper = self.sight.keeper.as_ref()?;
        match keeper.standing() {
            Standing::Behind { wanted } if self.sight.given_up < wanted => Some(Next::Catalog { wanted }),
            Standing::Behind { .. } | Standing::Stale => None,
            Standing::Read { generation } => {
                // Others may have changed what this session alone has.
                let is_new = self.facts.generation != generation;
                self.facts.generation = generation;
                self.facts.stale |= is_new && self.facts.own.is_alone();
                None
            }
        }
    }

    /// Waits until the catalog has been read again, or could not be.
    pub(super) async fn await_catalog(&mut self, wanted: u64) -> Result<(), End> {
        let Some(keeper) = self.sight.keeper.clone() else {
            return Ok(());
        };
        let mut attempt = Box::pin(keeper.attempt(wanted));
        let until = Instant::now() + CATALOG_WITHIN;
        loop {
            match self.happened(Some(&mut attempt), Some(until)).await {
                Happened::Woken(()) => break,
                Happened::Time if Instant::now() >= until => break,
                Happened::Client | Happened::Server | Happened::Time => {}
                Happened::ClientLeft => return Err(End::ClientLeft),
                Happened::End(end) => return Err(end),
                Happened::Control(Control::Cancel { asked, .. }) => self.cancel_upstream(asked),
                Happened::Control(Control::Kill) => return Err(End::Killed),
                Happened::Control(Control::CredentialEnded(why)) => return Err(End::CredentialEnded(why)),
                Happened::Control(Control::EndedByPerson(why)) => return Err(End::EndedByPerson(why)),
                Happened::Control(Control::Stop) => return Err(End::Stopping),
            }
        }
        if let Standing::Behind { .. } = keeper.standing() {
            self.sight.given_up = wanted;
        }
        Ok(())
    }
}
