//! Which catalog a session judges by at this moment, and under which number what it judges is kept.
//! Never answers for a name itself, and never lets what the session alone knows into what all share.
//! Read `../../catalog/keeper.rs` for how fresh a catalog is.
//!
//! Why nothing is known of names where the session has temporary tables: no server tells which those are (MariaDB does
//! from 11.2 on), and each hides a table of its name from this session alone.

use std::sync::Arc;

use crate::catalog::Unread;
use crate::catalog::keeper::{Keeper, Standing};
use crate::catalog::mysql::{Reader, View};
use crate::proxy::judgements::{Judgements, Scope, SharedNames};
use crate::proxy::mysql::facts::Facts;
use crate::sql::mysql_state::MysqlState;
use crate::sql::names::Catalog;

const UNREAD: &str = "the catalog cannot be read now";
const UNCOMMITTED: &str = "the open transaction may have changed the catalog";

/// A session's way to the catalog of its server.
pub struct Sight {
    /// `None`: no catalog is configured.
    keeper: Option<Arc<Keeper<Reader>>>,
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
    state: MysqlState,
    basis: Basis,
    /// Of the session's facts.
    revision: u64,
    has_own_objects: bool,
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
    pub fn new(keeper: Option<Arc<Keeper<Reader>>>) -> Self {
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

    /// Which look at the catalog must be over before anything is judged; `None`: nothing has to be waited for.
    pub fn awaits(&self) -> Option<u64> {
        match self.keeper.as_ref()?.standing() {
            Standing::Behind { wanted } if self.given_up < wanted => Some(wanted),
            Standing::Behind { .. } | Standing::Stale | Standing::Read { .. } => None,
        }
    }

    /// Ends when that look is over, whatever came of it. Then `give_up` is to be told.
    pub fn attempt(&self, wanted: u64) -> impl Future<Output = ()> + use<> {
        let attempt = self.keeper.as_ref().map(|keeper| keeper.attempt(wanted));
        async move {
            if let Some(attempt) = attempt {
                attempt.await;
            }
        }
    }

    /// Enough has been waited for that look: if the catalog is not read by now, names are not known, and no statement of
    /// this session waits for the same look again.
    pub fn give_up(&mut self, wanted: u64) {
        let standing = self.keeper.as_ref().map(|keeper| keeper.standing());
        if let Some(Standing::Behind { .. }) = standing {
            self.given_up = wanted;
        }
    }

    /// What the names of a session rest on, as things stand.
    fn basis(&self, is_uncommitted: bool) -> Basis {
        let Some(keeper) = &self.keeper else {
            return Basis::NoCatalog;
        };
        match keeper.standing() {
            Standing::Read { .. } if is_uncommitted => Basis::Nothing(UNCOMMITTED),
            Standing::Read { generation } => Basis::Read { generation },
            Standing::Behind { .. } | Standing::Stale => Basis::Nothing(UNREAD),
        }
    }

    /// The number under which the next text is judged. Costs no look-up while nothing changes.
    pub fn scope(
        &mut self,
        judgements: &mut Judgements<MysqlState>,
        facts: &Facts,
        is_uncommitted: bool,
    ) -> Scope {
        let circumstances = Circumstances {
            state: facts.state,
            basis: self.basis(is_uncommitted),
            revision: facts.revision,
            has_own_objects: facts.has_own_objects,
        };
        if let Some(now) = &self.now
            && now.circumstances == circumstances
        {
            return now.scope;
        }
        let shared = match circumstances.basis {
            Basis::NoCatalog => Some(None),
            Basis::Read { generation } if !facts.has_own_objects => Some(Some(SharedNames {
                generation,
                search_path: facts.schema.clone().unwrap_or_default(),
                role: facts.role.clone(),
            })),
            Basis::Read { .. } | Basis::Nothing(_) => None,
        };
        let is_shared = shared.is_some();
        let scope = match shared {
            Some(names) => judgements.shared_scope(facts.state, names),
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

    /// What is read of the catalog now, as this session sees it; `None`: there is none, or it is not known.
    pub fn view(&self, facts: &Facts) -> Option<Arc<View>> {
        let Basis::Read { generation } = self.basis(false) else {
            return None;
        };
        Some(Arc::new(View {
            snapshot: self.keeper.as_ref()?.snapshot(generation)?,
            database: facts.schema.clone(),
            has_own_objects: facts.has_own_objects,
        }))
    }

    /// What answers for names under the number given last. Made anew each time: a session that sleeps must not keep a
    /// snapshot of long ago alive.
    pub fn catalog(&self, facts: &Facts) -> Option<Arc<dyn Catalog>> {
        let keeper = self.keeper.as_ref()?;
        let now = self.now.as_ref()?;
        let nothing = |why: &str| Some(Arc::new(Unread(why.to_owned())) as Arc<dyn Catalog>);
        let generation = match now.circumstances.basis {
            Basis::Read { generation } => generation,
            Basis::Nothing(why) => return nothing(why),
            Basis::NoCatalog => return nothing(UNREAD),
        };
        // `None`: read again in this very moment. The next text is judged by that.
        let Some(snapshot) = keeper.snapshot(generation) else {
            return nothing(UNREAD);
        };
        Some(Arc::new(View {
            snapshot,
            database: facts.schema.clone(),
            has_own_objects: facts.has_own_objects,
        }))
    }
}
