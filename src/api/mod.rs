//! REST: the only way in for people and tools. Never for agents: a credential that submits statements opens nothing
//! here. Never decides who may decide: that is `identity/directory.rs`. Read `login.rs` next, then `requests.rs`.

pub mod acts;
pub mod break_glass;
pub mod browser;
pub mod card;
pub mod catalog;
mod ceremony;
pub mod channels;
mod connections;
mod document;
pub mod erasures;
pub mod events;
pub mod evidence;
pub mod export;
pub mod factors;
mod forwarded;
pub mod grants;
pub mod health;
pub mod idempotency;
pub mod impact;
pub mod labels;
pub mod login;
pub mod passkeys;
pub mod people;
pub mod preview;
pub mod problem;
pub mod proofs;
pub mod read;
pub mod replay;
pub mod requests;
pub mod reveal;
pub mod reviews;
pub mod serve;
pub mod sessions;
pub mod trail;
pub mod webhooks;
mod whole;

use std::sync::Arc;

use arc_swap::ArcSwap;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::catalog::keepers::Catalogs;
use crate::desk::Desk;
use crate::journal::{Journal, Reader};
use crate::notify::Notifier;
use crate::policy::{ColumnLabels, RuleSet};
use crate::telemetry::Metrics;

pub use connections::{CONNECTIONS_MAX, PER_ADDRESS_DEFAULT};
pub use forwarded::{ForwardedHeader, TrustedProxies};
pub use health::Upstream;
pub use serve::{Api, ApiError, Certificate, Settings, router, router_with, start, start_with};

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    pub desk: Desk,
    pub journal: Journal,
    pub reader: Reader,
    pub metrics: Metrics,
    pub catalogs: Catalogs,
    /// The rules in force, for people to read.
    pub rules: Arc<ArcSwap<RuleSet>>,
    /// The labels in force.
    pub labels: Arc<ArcSwap<ColumnLabels>>,
    sign_ins: Arc<browser::SignIns>,
    pub notifier: Notifier,
    told: Arc<events::Told>,
    readiness: Arc<health::Readiness>,
    /// Calls under an `Idempotency-Key` that are being answered now.
    calls: Arc<idempotency::InFlight>,
}

impl Rooms {
    /// Starts to listen to the desk; must be called on the runtime that serves the API.
    /// `upstreams` are the servers that `/readyz` tries to reach.
    pub fn new(desk: Desk, journal: Journal, metrics: Metrics, upstreams: Vec<Upstream>) -> Self {
        let told = Arc::new(events::Told::new());
        tokio::spawn(events::gather(Arc::clone(&told), desk.events(), metrics.clone()));
        tokio::spawn(events::gather_grants(Arc::clone(&told), desk.grant_events()));
        Self {
            reader: journal.reader(),
            readiness: Arc::new(health::Readiness::new(upstreams)),
            desk,
            journal,
            metrics,
            catalogs: Catalogs::default(),
            rules: Arc::new(ArcSwap::from_pointee(RuleSet::shipped("strict"))),
            labels: Arc::default(),
            sign_ins: Arc::default(),
            notifier: Notifier::default(),
            told,
            calls: Arc::default(),
        }
    }

    #[must_use]
    pub fn with_people(self, settings: browser::Settings) -> Self {
        let sign_ins = Arc::new(browser::SignIns::new(settings));
        Self { sign_ins, ..self }
    }

    #[must_use]
    pub fn with_rules(self, rules: Arc<ArcSwap<RuleSet>>) -> Self {
        Self { rules, ..self }
    }

    #[must_use]
    pub fn with_labels(self, labels: Arc<ArcSwap<ColumnLabels>>) -> Self {
        Self { labels, ..self }
    }

    #[must_use]
    pub fn with_catalogs(self, catalogs: Catalogs) -> Self {
        Self { catalogs, ..self }
    }

    #[must_use]
    pub fn with_notifier(self, notifier: Notifier) -> Self {
        Self { notifier, ..self }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Countersign",
        description = "Look at held statements, decide them, read the log, manage people and agents.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&BearerToken)
)]
struct Document;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("a token made by `countersign user token`"))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
        let cookie = ApiKeyValue::with_description(
            browser::COOKIE_NAME,
            "a browser's session; what changes something also needs `x-csrf-token` and a page of this address",
        );
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// Every route with its description, from one place.
pub fn routes() -> OpenApiRouter<Rooms> {
    let decided = OpenApiRouter::new()
        .routes(routes!(requests::list))
        .routes(routes!(requests::show))
        .routes(routes!(requests::decide))
        .routes(routes!(preview::preview))
        .routes(routes!(break_glass::break_glass))
        .routes(routes!(reviews::sign))
        .routes(routes!(reviews::list))
        .routes(routes!(acts::comment))
        .routes(routes!(acts::ask))
        .routes(routes!(acts::escalate))
        .routes(routes!(acts::delegate))
        .routes(routes!(acts::view))
        .routes(routes!(reveal::reveal))
        .routes(routes!(grants::list))
        .routes(routes!(grants::show))
        .routes(routes!(grants::revoke))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(events::listen))
        .routes(routes!(trail::query))
        .routes(routes!(trail::tail))
        .routes(routes!(trail::histogram))
        .routes(routes!(trail::facets))
        .routes(routes!(evidence::evidence))
        .routes(routes!(erasures::erase))
        .routes(routes!(trail::around))
        .routes(routes!(trail::show))
        .routes(routes!(replay::replay))
        .routes(routes!(proofs::checkpoint))
        .routes(routes!(proofs::prove))
        .routes(routes!(browser::open, browser::show, browser::close))
        .routes(routes!(browser::step_up_session))
        .routes(routes!(people::me))
        .routes(routes!(factors::show))
        .routes(routes!(factors::change_password))
        .routes(routes!(factors::begin_totp, factors::remove_totp))
        .routes(routes!(factors::confirm_totp))
        .routes(routes!(factors::set_password_by_link))
        .routes(routes!(passkeys::begin_registration))
        .routes(routes!(passkeys::finish_registration))
        .routes(routes!(passkeys::remove))
        .routes(routes!(passkeys::begin_sign_in))
        .routes(routes!(passkeys::finish_sign_in))
        .routes(routes!(passkeys::begin_step_up))
        .routes(routes!(passkeys::finish_step_up))
        .routes(routes!(factors::make_password_link))
        .routes(routes!(factors::forget_factors))
        .routes(routes!(people::change_person))
        .routes(routes!(people::list_people, people::add_person))
        .routes(routes!(people::issue_token, people::revoke_tokens))
        .routes(routes!(people::set_active))
        .routes(routes!(people::list_agents, people::add_agent))
        .routes(routes!(people::rotate_agent))
        .routes(routes!(people::certify_agent))
        .routes(routes!(people::revoke_agent))
        .routes(routes!(catalog::list_catalogs))
        .routes(routes!(catalog::refresh_catalogs))
        .routes(routes!(catalog::list_functions))
        .routes(routes!(webhooks::list))
        .routes(routes!(channels::link, channels::list_links))
        .routes(routes!(channels::unlink))
        .routes(routes!(channels::list_links_of, channels::unlink_all))
        .routes(routes!(channels::answer))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::replay))
        .routes(routes!(health::openapi));
    OpenApiRouter::with_openapi(Document::openapi())
        .nest("/api/v1", decided)
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}
