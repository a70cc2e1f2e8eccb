//! The catalogs that `serve` judges by: opened by the settings, begun once the log is there, and renewed at a reload.
//! Never reads a catalog itself. Read `../catalog/keepers.rs` next.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, info, warn};

use super::exit::CliError;
use super::serve::{desk_error, open_trusted};
use crate::catalog::ListedFunctions;
use crate::catalog::keeper::{Pace, Source};
use crate::catalog::keepers::{Catalogs, Keepers};
use crate::catalog::trusted::{Spelling, Trusted};
use crate::catalog::{mysql, postgres};
use crate::config::{Catalog, Config, Front, Sections, UpstreamTls};
use crate::desk::Desk;
use crate::proxy;

/// What is needed to read the catalogs of each protocol.
pub struct Opened {
    postgres: Option<One<postgres::Settings>>,
    mysql: Option<One<mysql::Settings>>,
}

/// One protocol's.
struct One<S> {
    settings: S,
    pace: Pace,
    trusted: Option<(PathBuf, Trusted)>,
}

/// The catalogs of a running proxy.
pub struct Watched {
    pub catalogs: Catalogs,
    /// With the spelling of the functions in it.
    trusted_files: Vec<(Spelling, PathBuf)>,
    postgres_tls: UpstreamTls,
    mysql_tls: UpstreamTls,
}

impl Opened {
    /// A protocol that is served without a catalog is said in the log: then much is not seen.
    pub fn of(config: &Config) -> Result<Self, CliError> {
        let mut opened = Self {
            postgres: None,
            mysql: None,
        };
        if let (Some(about), Some(mut settings)) = (&config.postgres.catalog, config.catalog()?) {
            settings.tls = proxy::catalog_tls(&config.postgres.upstream.tls)
                .map_err(|error| CliError::error(&error, error.next_step()))?;
            opened.postgres = Some(One::of(settings, about, Spelling::Postgres)?);
        } else if config.postgres.is_served() {
            warn!(
                "no catalog is configured: views, triggers, rules and overloaded operators behind plain names are not seen"
            );
        }
        if let (Some(about), Some(settings)) = (&config.mysql.catalog, config.mysql_catalog()?) {
            let tls = proxy::mysql_catalog_tls(&config.mysql.upstream.tls)
                .map_err(|error| CliError::error(&error, error.next_step()))?;
            opened.mysql = Some(One::of(settings.with_tls(tls), about, Spelling::Mysql)?);
        } else if config.mysql.is_served() {
            warn!(
                "no catalog of the MySQL server is configured: views, triggers and foreign keys behind plain names are not seen"
            );
        }
        Ok(opened)
    }

    /// Begins to read. What operators trust is in the log before it counts.
    pub async fn begin(self, desk: &Desk, config: &Config) -> Result<Watched, CliError> {
        let mut trusted_files = Vec::new();
        let mut note = |spelling, front: &Front| {
            let file = front
                .catalog
                .as_ref()
                .and_then(|catalog| catalog.trusted_file.clone());
            trusted_files.extend(file.map(|file| (spelling, file)));
        };
        let mut catalogs = Catalogs::default();
        if let Some(one) = self.postgres {
            // Those that the settings name are read at once, the others when somebody logs in.
            let places = config.postgres.upstream.databases.clone();
            catalogs.postgres = Some(one.begin(desk, places).await?);
            note(Spelling::Postgres, &config.postgres);
        }
        if let Some(one) = self.mysql {
            let place = config.mysql.upstream.name.clone();
            catalogs.mysql = Some(one.begin(desk, vec![place]).await?);
            note(Spelling::Mysql, &config.mysql);
        }
        Ok(Watched {
            catalogs,
            trusted_files,
            postgres_tls: config.postgres.upstream.tls.clone(),
            mysql_tls: config.mysql.upstream.tls.clone(),
        })
    }
}

impl<S: Send + Sync + 'static> One<S> {
    fn of(settings: S, about: &Catalog, spelling: Spelling) -> Result<Self, CliError> {
        let file = about.trusted_file.as_deref();
        let trusted = file.map(|file| open_trusted(file, spelling)).transpose()?;
        Ok(Self {
            settings,
            pace: about.pace,
            trusted: about.trusted_file.clone().zip(trusted),
        })
    }

    async fn begin<R>(self, desk: &Desk, places: Vec<String>) -> Result<Arc<Keepers<R>>, CliError>
    where
        R: Source<Settings = S>,
    {
        let mut functions = ListedFunctions::default();
        if let Some((file, trusted)) = self.trusted {
            record_trusted(desk, &file, &trusted, "serve").await?;
            functions = trusted.functions;
        }
        let keepers = Keepers::new(self.settings, self.pace, functions);
        for place in places {
            let _read_at_once = keepers.of(&place);
        }
        Ok(Arc::new(keepers))
    }
}

impl Watched {
    /// Reads the lists of trusted functions again. A broken one changes nothing, and is said in the log.
    pub async fn reload_trusted(&self, desk: &Desk, by: &str) {
        for (spelling, file) in &self.trusted_files {
            let read = match open_trusted(file, *spelling) {
                // Recorded first, as rules are.
                Ok(trusted) => record_trusted(desk, file, &trusted, by).await.map(|()| trusted),
                Err(error) => Err(error),
            };
            match read {
                Ok(trusted) => {
                    info!("{} functions of `{}` are trusted", trusted.count, file.display());
                    self.trust(*spelling, trusted.functions);
                }
                Err(error) => {
                    error!(
                        next_step = error.next_step,
                        "the functions trusted before stay so: {error}"
                    );
                    let name = file.display().to_string();
                    let rejected = desk
                        .record_rules_rejected(name, error.to_string(), by.to_owned())
                        .await;
                    if let Err(error) = rejected {
                        error!(%error, "the rejected list of functions is not in the log");
                    }
                }
            }
        }
    }

    fn trust(&self, spelling: Spelling, functions: ListedFunctions) {
        match spelling {
            Spelling::Postgres => {
                if let Some(keepers) = &self.catalogs.postgres {
                    keepers.trust(functions);
                }
            }
            Spelling::Mysql => {
                if let Some(keepers) = &self.catalogs.mysql {
                    keepers.trust(functions);
                }
            }
        }
    }

    /// The authorities that one protocol's server is verified against were read again: the catalog goes by them too.
    pub fn renew_tls(&self, sections: &Sections) {
        let renewed = if sections.upstream == crate::config::MYSQL.upstream {
            proxy::mysql_catalog_tls(&self.mysql_tls).map(|tls| {
                if let Some(keepers) = &self.catalogs.mysql {
                    keepers.change_settings(|settings| settings.with_tls(tls.clone()));
                }
            })
        } else {
            proxy::catalog_tls(&self.postgres_tls).map(|tls| {
                if let Some(keepers) = &self.catalogs.postgres {
                    keepers.change_settings(|settings| postgres::Settings {
                        tls: tls.clone(),
                        ..settings.clone()
                    });
                }
            })
        };
        if let Err(error) = renewed {
            error!(
                next_step = error.next_step(),
                "the catalog keeps the old authority: {error}"
            );
        }
    }
}

async fn record_trusted(desk: &Desk, file: &Path, trusted: &Trusted, by: &str) -> Result<(), CliError> {
    let file = file.display().to_string();
    let recorded = desk
        .record_rules_change(file, trusted.digest, Arc::from(""), by.to_owned())
        .await;
    recorded.map_err(desk_error)
}
