//! The catalogs of all databases in use, one keeper each. Never connects before somebody needs to know.
//! Read `keeper.rs` next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use crate::catalog::keeper::{Keeper, Pace, Report};
use crate::catalog::postgres::{ListedFunctions, Settings, Tls, UserFunction};

/// Every catalog of one upstream.
pub struct Keepers {
    settings: Arc<ArcSwap<Settings>>,
    pace: Pace,
    listed: Arc<ArcSwap<ListedFunctions>>,
    keepers: Mutex<BTreeMap<String, Arc<Keeper>>>,
    runtime: Handle,
}

impl Keepers {
    /// Reads on the current runtime.
    pub fn new(settings: Settings, pace: Pace, listed: ListedFunctions) -> Self {
        Self {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            pace,
            listed: Arc::new(ArcSwap::from_pointee(listed)),
            keepers: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// The catalog of a database that the server has let somebody into; read in the background if it is not yet.
    pub fn of(&self, database: &str) -> Arc<Keeper> {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = keepers.get(database) {
            let keeper = Arc::clone(keeper);
            keeper.awaken();
            return keeper;
        }
        let keeper = Arc::new(Keeper::new(database.to_owned(), self.pace));
        keepers.insert(database.to_owned(), Arc::clone(&keeper));
        let task = Arc::clone(&keeper).keep(Arc::clone(&self.settings), Arc::clone(&self.listed));
        self.runtime.spawn(task);
        keeper
    }

    fn all(&self) -> Vec<Arc<Keeper>> {
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.values().cloned().collect()
    }

    /// TLS for connections from now on; those that are open stay.
    pub fn renew_tls(&self, tls: Option<Tls>) {
        self.settings.rcu(|settings| Settings {
            tls: tls.clone(),
            ..Settings::clone(settings)
        });
    }

    /// Functions that an operator trusts, from now on.
    pub fn trust(&self, listed: ListedFunctions) {
        self.listed.store(Arc::new(listed));
        for keeper in self.all() {
            let _attempt = keeper.outdate();
        }
    }

    /// Reads everything anew, and tells how it went once that is over.
    pub async fn refresh(&self) -> Vec<Report> {
        let attempts: Vec<_> = self.all().iter().map(|keeper| keeper.outdate()).collect();
        for attempt in attempts {
            attempt.await;
        }
        self.reports()
    }

    /// Functions of a database that are not built in; `None`: its catalog has not been read.
    pub fn functions(&self, database: &str) -> Option<Vec<UserFunction>> {
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = keepers.get(database).cloned();
        drop(keepers);
        keeper?.latest().map(|snapshot| snapshot.user_functions())
    }

    /// Whether statements are judged by each that is in use.
    pub fn are_read(&self) -> bool {
        self.reports()
            .iter()
            .all(|report| report.is_read || report.is_asleep)
    }

    pub fn reports(&self) -> Vec<Report> {
        self.all().iter().map(|keeper| keeper.report()).collect()
    }
}
