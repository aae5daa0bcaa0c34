//! A managed identity's endpoint as App Service has it, whose tokens end soon. It also checks them.
//!
//! <https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference>

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use reqwest::Url;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What tokens for the database are asked with.
const DATABASE: &str = "https://ossrdbms-aad.database.windows.net";
/// What a caller must show.
const HEADER: &str = "secret-of-the-endpoint";

/// A token that was given out.
#[derive(Debug, Clone)]
struct Issued {
    resource: String,
    token: String,
    ends: SystemTime,
}

/// The endpoint.
pub struct Identity {
    pub endpoint: String,
    life: Duration,
    /// Whose password each token for the database becomes.
    role: Option<(PgPool, String)>,
    issued: Mutex<Vec<Issued>>,
    is_away: AtomicBool,
}

impl Identity {
    /// Serves tokens that end after `life`, and makes each for the database the password of a role.
    pub async fn serve(life: Duration, role: Option<(PgPool, String)>) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/msi/token", listener.local_addr().unwrap());
        let (issued, is_away) = (Mutex::default(), AtomicBool::default());
        let identity = Arc::new(Self { endpoint, life, role, issued, is_away });
        let routes = Router::new().route("/msi/token", get(token)).with_state(Arc::clone(&identity));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        identity
    }

    /// What the platform tells a process of it.
    pub fn environment(&self) -> [(&str, &str); 2] {
        [("IDENTITY_ENDPOINT", &self.endpoint), ("IDENTITY_HEADER", HEADER)]
    }

    /// Whether it refuses everybody.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    /// How many tokens for the database there were.
    pub fn logins(&self) -> usize {
        self.issued.lock().unwrap().iter().filter(|issued| issued.resource == DATABASE).count()
    }

    /// The token that a request shows, if it was given out for this resource and has not ended.
    pub fn valid(&self, resource: &str, headers: &HeaderMap) -> Option<String> {
        let shown = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        let issued = self.issued.lock().unwrap();
        let found = issued.iter().find(|issued| issued.token == shown)?;
        let is_good = found.resource == resource && SystemTime::now() < found.ends;
        is_good.then(|| shown.to_owned())
    }

    /// The tokens that a text shows.
    pub fn shown_in(&self, text: &str) -> Vec<String> {
        let issued = self.issued.lock().unwrap();
        issued.iter().map(|i| i.token.clone()).filter(|token| text.contains(token)).collect()
    }
}

async fn token(State(identity): State<Arc<Identity>>, uri: Uri, headers: HeaderMap) -> Response {
    if identity.is_away.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if headers.get("x-identity-header").is_none_or(|shown| shown != HEADER) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let asked = Url::parse(&format!("http://identity{uri}")).unwrap();
    let (_, resource) = asked.query_pairs().find(|(name, _)| name == "resource").unwrap();
    let resource = resource.into_owned();
    let n = identity.issued.lock().unwrap().len();
    let token = format!("eyJ0-{n}-of-{}", std::process::id());
    if let Some((pool, role)) = identity.role.as_ref().filter(|_| resource == DATABASE) {
        let statement = format!("alter role \"{role}\" password '{token}'");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await.unwrap();
    }
    // Whole seconds, as the protocol has them.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ends = now.as_secs() + identity.life.as_secs();
    identity.issued.lock().unwrap().push(Issued {
        resource: resource.clone(),
        token: token.clone(),
        ends: UNIX_EPOCH + Duration::from_secs(ends),
    });
    Json(json!({
        "access_token": token, "expires_on": ends.to_string(),
        "resource": resource, "token_type": "Bearer",
    }))
    .into_response()
}
