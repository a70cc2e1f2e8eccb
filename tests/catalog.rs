//! What the catalog room says of the names in a real database, and what it refuses to say.
//!
//! Attacks are tried in a database of their own, so that the fixtures stay what they are.

mod support;

use std::sync::Arc;
use std::time::Duration;

use countersign::catalog::postgres::{ListedFunctions, Reader, SessionState, Settings, Snapshot, View};
use countersign::sql::action::{Class, TableName};
use countersign::sql::names::{Catalog, Concern, Relation};
use support::server::{Postgres, connect};

const DATABASE: &str = "corpus";

/// A server with the fixtures, and a user for the catalog that has been granted nothing.
struct Stage {
    postgres: Postgres,
}

impl Stage {
    async fn start() -> Self {
        let postgres = Postgres::start();
        postgres.load_corpus(DATABASE).await;
        let stage = Self { postgres };
        stage
            .run("CREATE ROLE countersign_catalog LOGIN PASSWORD 'reads names'")
            .await;
        stage
    }

    /// As superuser.
    async fn run(&self, sql: &str) {
        let client = connect(&self.postgres.server().superuser_url(DATABASE)).await;
        let sql = sql.replace("{PGPORT}", &self.postgres.server().port().to_string());
        client
            .batch_execute(&sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    fn settings(&self) -> Settings {
        Settings {
            host: "127.0.0.1".to_owned(),
            port: self.postgres.server().port(),
            user: "countersign_catalog".to_owned(),
            password: "reads names".to_owned().into(),
            tls: None,
            timeout: Duration::from_secs(20),
        }
    }

    fn reader(&self) -> Reader {
        Reader::new(Arc::new(self.settings()), DATABASE)
    }

    async fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot_with(&ListedFunctions::default()).await
    }

    async fn snapshot_with(&self, listed: &ListedFunctions) -> Arc<Snapshot> {
        self.reader().read(listed).await.expect("the catalog is read")
    }

    /// As a session sees it that has set nothing.
    async fn view(&self) -> View {
        view(&self.snapshot().await, "\"$user\", public")
    }
}

fn view(snapshot: &Arc<Snapshot>, search_path: &str) -> View {
    let session = SessionState {
        search_path,
        role: "app_rw",
        has_temporary_objects: false,
        has_uncommitted_ddl: false,
    };
    View::new(Arc::clone(snapshot), session)
}

fn table(name: &str) -> TableName {
    match name.split_once('.') {
        Some((schema, name)) => TableName {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        },
        None => TableName {
            schema: None,
            name: name.to_owned(),
        },
    }
}

fn relation(view: &View, name: &str) -> Arc<Relation> {
    view.relation(&table(name)).expect("known")
}

fn strictest(concerns: &[Concern]) -> Option<Class> {
    concerns.iter().map(|concern| concern.class).max()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_harmless_views_have_no_concern() {
    let stage = Stage::start().await;
    let view = stage.view().await;
    for name in [
        "app.customers",
        "app.orders",
        "app.v_active_customers",
        "app.mv_sales",
        "app.events",
    ] {
        let found = relation(&view, name);
        assert_eq!(found.reading, [], "{name}");
        assert_eq!(found.inserting, [], "{name}");
    }
    let found = relation(&view, "app.v_active_customers");
    assert_eq!(found.columns, ["id", "name", "country"]);
    assert_eq!(
        found.behind.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["app.customers"]
    );
    assert_eq!(relation(&view, "app.events").rows, Some(50_000));
    for name in ["app.v_touch", "app.v_nested"] {
        let found = relation(&view, name);
        assert_eq!(strictest(&found.reading), Some(Class::Procedural), "{name}");
    }
}
