//! The catalogs of one upstream that are in use, one keeper each: of every database of a PostgreSQL server, or of a MySQL
//! server whole. Never connects before somebody needs to know.
//! Read `keeper.rs` next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use crate::catalog::ListedFunctions;
use crate::catalog::keeper::{Keeper, Pace, Report, Seen, Snapshot, Source};
use crate::catalog::{mysql, postgres};

/// Every catalog of one upstream.
pub struct Keepers<S: Source = postgres::Reader> {
    settings: Arc<ArcSwap<S::Settings>>,
    pace: Pace,
    listed: Arc<ArcSwap<ListedFunctions>>,
    keepers: Mutex<BTreeMap<String, Arc<Keeper<S>>>>,
    runtime: Handle,
}

impl<S: Source> Keepers<S> {
    /// Reads on the current runtime.
    pub fn new(settings: S::Settings, pace: Pace, listed: ListedFunctions) -> Self {
        Self {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            pace,
            listed: Arc::new(ArcSwap::from_pointee(listed)),
            keepers: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// The catalog of a place that the server has let somebody into; read in the background if it is not yet.
    pub fn of(&self, place: &str) -> Arc<Keeper<S>> {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = keepers.get(place) {
            let keeper = Arc::clone(keeper);
            keeper.awaken();
            return keeper;
        }
        let keeper = Arc::new(Keeper::new(place.to_owned(), self.pace));
        keepers.insert(place.to_owned(), Arc::clone(&keeper));
        let task = Arc::clone(&keeper).keep(Arc::clone(&self.settings), Arc::clone(&self.listed));
        self.runtime.spawn(task);
        keeper
    }

    fn all(&self) -> Vec<Arc<Keeper<S>>> {
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.values().cloned().collect()
    }

    /// For connections from now on; those that are open stay.
    pub fn change_settings(&self, change: impl Fn(&S::Settings) -> S::Settings) {
        self.settings.rcu(|settings| change(settings));
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

    /// Functions that are not built in; `None`: that catalog has not been read.
    pub fn functions(&self, place: &str) -> Option<Vec<<S::Snapshot as Snapshot>::Function>> {
        let keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = keepers.get(place).cloned();
        drop(keepers);
        keeper?.latest().map(|snapshot| snapshot.user_functions())
    }

    /// Hands over what is in all that have been read, and names those. `None`: none has been, or one is still being read
    /// for the first time.
    fn see(&self, take: &mut dyn FnMut(Seen<'_>)) -> Option<Vec<String>> {
        let all = self.all();
        let is_awaited = |keeper: &Keeper<S>| keeper.latest().is_none() && keeper.report().problem.is_none();
        if all.iter().any(|keeper| is_awaited(keeper)) {
            return None;
        }
        let mut places = Vec::new();
        for keeper in all {
            if let Some(snapshot) = keeper.latest() {
                snapshot.see(take);
                places.push(keeper.report().place);
            }
        }
        (!places.is_empty()).then_some(places)
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

/// What is known of the names behind each protocol's listener; `None`: no catalog is configured.
#[derive(Clone, Default)]
pub struct Catalogs {
    pub postgres: Option<Arc<Keepers>>,
    /// One catalog, of the whole server.
    pub mysql: Option<Arc<Keepers<mysql::Reader>>>,
}

impl Catalogs {
    pub fn are_configured(&self) -> bool {
        self.postgres.is_some() || self.mysql.is_some()
    }

    /// Whether statements are judged by each that is in use; `None`: none is configured.
    pub fn are_read(&self) -> Option<bool> {
        let postgres = self.postgres.as_ref().map(|keepers| keepers.are_read());
        let mysql = self.mysql.as_ref().map(|keepers| keepers.are_read());
        [postgres, mysql]
            .into_iter()
            .flatten()
            .reduce(|one, other| one && other)
    }

    /// Hands over what is in all catalogs that have been read, and names their places. `None`: of a server that is
    /// configured none has been read yet.
    pub fn see(&self, take: &mut dyn FnMut(Seen<'_>)) -> Option<Vec<String>> {
        let mut places = Vec::new();
        if let Some(keepers) = &self.postgres {
            places.extend(keepers.see(take)?);
        }
        if let Some(keepers) = &self.mysql {
            places.extend(keepers.see(take)?);
        }
        Some(places).filter(|places| !places.is_empty())
    }

    pub fn reports(&self) -> Vec<Report> {
        let postgres = self.postgres.as_ref().map(|keepers| keepers.reports());
        let mysql = self.mysql.as_ref().map(|keepers| keepers.reports());
        [postgres, mysql].into_iter().flatten().flatten().collect()
    }

    /// Reads everything anew, and tells how it went once that is over.
    pub async fn refresh(&self) -> Vec<Report> {
        let postgres = async {
            match &self.postgres {
                Some(keepers) => keepers.refresh().await,
                None => Vec::new(),
            }
        };
        let mysql = async {
            match &self.mysql {
                Some(keepers) => keepers.refresh().await,
                None => Vec::new(),
            }
        };
        let (mut reports, others) = tokio::join!(postgres, mysql);
        reports.extend(others);
        reports
    }
}
