//! HTTP: the link, health, metrics, and the API with its OpenAPI document, which is made from this code.
//!
//! The API wants a bearer token (`api_token_file`); without one configured it answers nobody. Errors are a
//! stable word and a sentence, as everywhere.

mod messages;
mod trade;

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::hub::Hub;
use super::metrics::Metrics;
use super::{claims, link};
use crate::host::clock;
use crate::logic::session::Policy;
use crate::model::{Cause, Millis, Refusal, Report, ServiceId, SessionId};
use crate::wire::LINK_PATH;
use crate::wire::hello::Role;
use crate::wire::local::{GatewayRow, PolicyWord, SessionRow};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Wayleave coordinator",
        description = "Gateways, sessions, claims and messages. Identifiers are lower-case hexadecimal.",
    ),
    modifiers(&Bearer),
    security(("token" = []))
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The API and its document.
fn described() -> (Router<Arc<Hub>>, String) {
    let (api, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(gateways))
        .routes(routes!(set_policy))
        .routes(routes!(reports))
        .routes(routes!(sessions))
        .routes(routes!(evict))
        .routes(routes!(create_claim))
        .routes(routes!(messages::list, messages::push))
        .routes(routes!(messages::withdraw))
        .routes(routes!(trade::tariffs))
        .routes(routes!(trade::buy))
        .routes(routes!(trade::purchase))
        .routes(routes!(trade::pay))
        .routes(routes!(trade::ledger))
        .split_for_parts();
    (api, document.to_pretty_json().expect("plain fields make JSON"))
}

/// The OpenAPI document of the API.
pub fn document() -> String {
    described().1
}

/// Everything that is served.
pub fn router(hub: Arc<Hub>) -> Router {
    let (api, document) = described();
    let document: Arc<str> = document.into();
    api.layer(DefaultBodyLimit::max(16 * 1024))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&hub), authorize))
        .route(LINK_PATH, get(link::open))
        .route("/v1/webhooks/stripe", post(trade::webhook).layer(DefaultBodyLimit::max(256 * 1024)))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route(
            "/openapi.json",
            get(move || async move { ([(header::CONTENT_TYPE, "application/json")], document.to_string()) }),
        )
        .with_state(hub)
}

/// An error of the API.
#[derive(Debug, Serialize, ToSchema)]
struct ApiError {
    /// For programs; never changes once published.
    #[schema(example = "unknown-session")]
    word: String,
    /// For people.
    sentence: String,
    #[serde(skip)]
    status: StatusCode,
}

impl ApiError {
    fn new(status: StatusCode, word: &str, sentence: impl Into<String>) -> Self {
        Self { status, word: word.to_owned(), sentence: sentence.into() }
    }

    fn unknown(word: &str, what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, word, format!("there is no such {what}"))
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.word.as_str() {
            "store-full" => StatusCode::INSUFFICIENT_STORAGE,
            "unknown-session" | "unknown-gateway" | "no-message" => StatusCode::NOT_FOUND,
            "unknown-purchase" | "unknown-tariff" => StatusCode::NOT_FOUND,
            "too-many-messages" | "too-many-purchases" | "not-offered" | "free" | "not-free" | "currency"
            | "no-cards" => StatusCode::CONFLICT,
            "bad-message" | "bad-time" | "bad-audience" => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, &refusal.word, refusal.sentence)
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "bad-request", rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

async fn authorize(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let settings = hub.settings();
    let Some(token) = &settings.api_token else {
        let sentence = "no api_token_file is configured: the API answers nobody";
        return ApiError::new(StatusCode::FORBIDDEN, "api-off", sentence).into_response();
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .unwrap_or_default();
    if !same(given, token.expose().as_bytes()) {
        Metrics::count(&hub.metrics.refused, "api-token");
        let mut response =
            ApiError::new(StatusCode::UNAUTHORIZED, "bad-token", "a bearer token is needed").into_response();
        let bearer = header::HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        return response;
    }
    next.run(request).await
}

/// In constant time: the hashes are compared whole, so neither length nor the first difference shows.
fn same(a: &[u8], b: &[u8]) -> bool {
    let hash = |bytes| ring::digest::digest(&ring::digest::SHA256, bytes);
    let (a, b) = (hash(a), hash(b));
    let difference = a.as_ref().iter().zip(b.as_ref()).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

async fn healthz(State(hub): State<Arc<Hub>>) -> Response {
    // Takes the lock: a core that is stuck is not healthy.
    let glance = hub.core().glance();
    let full = hub.writer.is_full();
    let text = format!(
        "{}\ngateways {} of {}\nterminals {}\n",
        if full { "disk full" } else { "ok" },
        glance.gateways_up,
        glance.gateways,
        glance.terminals_up
    );
    let status = if full { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, text).into_response()
}

async fn metrics(State(hub): State<Arc<Hub>>) -> Response {
    let glance = hub.core().glance();
    let metrics = &hub.metrics;
    for (state, number) in glance.sessions {
        Metrics::gauge(&metrics.sessions, state).set(i64::from(number));
    }
    let (commits, changes) = hub.writer.counts();
    metrics.outbox.set(i64::from(glance.outbox));
    metrics.braked.set(i64::try_from(glance.braked.len()).unwrap_or(i64::MAX));
    metrics.store_full.set(i64::from(hub.writer.is_full()));
    metrics.store_commits.set(i64::try_from(commits).unwrap_or(i64::MAX));
    metrics.store_changes.set(i64::try_from(changes).unwrap_or(i64::MAX));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.render()).into_response()
}

/// What silence leads to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum PolicyView {
    /// The gateway is asked first.
    Corroborate,
    /// The terminal is evicted at once.
    Strict,
}

/// A gateway.
#[derive(Debug, Serialize, ToSchema)]
struct GatewayView {
    /// Ed25519 public key.
    key: String,
    /// What its owner calls it; empty until it announced itself.
    name: String,
    service: String,
    /// Absent: what the configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyView>,
    /// Whether it is connected.
    up: bool,
    /// Seconds since it was connected last; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_s: Option<u64>,
    networks: Vec<String>,
    sessions: u32,
    /// Notices that it has not acknowledged.
    outbox: u32,
}

impl From<GatewayRow> for GatewayView {
    fn from(row: GatewayRow) -> Self {
        Self {
            key: row.key.to_string(),
            name: row.name,
            service: row.service.to_string(),
            policy: row.policy.map(|policy| match policy {
                PolicyWord::Corroborate => PolicyView::Corroborate,
                PolicyWord::Strict => PolicyView::Strict,
            }),
            up: row.up,
            last_seen_s: row.last_seen.map(|seen| seen.0 / 1000),
            networks: row.networks.iter().map(ToString::to_string).collect(),
            sessions: row.sessions,
            outbox: row.outbox,
        }
    }
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
struct SessionView {
    session: String,
    /// `granting`, `granted`, `reserved`, `active`, `suspect` or `evicting`.
    state: String,
    grant: String,
    service: String,
    /// Ed25519 public key.
    terminal: String,
    station: String,
    incarnation: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

impl From<SessionRow> for SessionView {
    fn from(row: SessionRow) -> Self {
        Self {
            session: row.session.to_string(),
            state: row.state,
            grant: row.grant.to_string(),
            service: row.service.to_string(),
            terminal: row.terminal.to_string(),
            station: row.station.to_string(),
            incarnation: row.incarnation.0,
            cause: row.cause.map(|cause| cause.to_string()),
        }
    }
}

/// Some sessions.
#[derive(Debug, Serialize, ToSchema)]
struct SessionsView {
    /// At most a thousand.
    sessions: Vec<SessionView>,
    /// Give it as `after` for the next page; absent: there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u32>,
}

/// What an eviction freed.
#[derive(Debug, Serialize, ToSchema)]
struct ReportView {
    grant: String,
    cause: String,
    station: String,
    incarnation: u32,
    up_bytes: u64,
    down_bytes: u64,
    steps: Vec<StepView>,
    total_us: u64,
}

/// One step of it.
#[derive(Debug, Serialize, ToSchema)]
struct StepView {
    step: String,
    /// How many things were freed; absent where it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    freed: Option<u32>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    took_us: u64,
}

impl From<Report> for ReportView {
    fn from(report: Report) -> Self {
        use crate::model::StepOutcome;
        Self {
            grant: report.grant.to_string(),
            cause: report.cause.to_string(),
            station: report.station.map(|station| station.to_string()).unwrap_or_default(),
            incarnation: report.incarnation.0,
            up_bytes: report.moved.up_bytes,
            down_bytes: report.moved.down_bytes,
            steps: report
                .steps
                .into_iter()
                .map(|step| {
                    let (freed, failed) = match step.outcome {
                        StepOutcome::Done { freed } => (Some(freed), None),
                        StepOutcome::Absent => (None, None),
                        StepOutcome::Failed { why } => (None, Some(why)),
                    };
                    StepView { step: step.step.to_string(), freed, failed, took_us: step.took_us }
                })
                .collect(),
            total_us: report.total_us,
        }
    }
}

/// Gateways that are enrolled.
#[utoipa::path(get, path = "/v1/gateways", responses(
    (status = OK, body = Vec<GatewayView>),
    (status = UNAUTHORIZED, body = ApiError),
))]
async fn gateways(State(hub): State<Arc<Hub>>) -> Json<Vec<GatewayView>> {
    let rows = hub.core().gateway_rows();
    Json(rows.into_iter().map(GatewayView::from).collect())
}

/// A policy to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PolicyBody {
    /// Absent or null: what the configuration says.
    policy: Option<PolicyView>,
}

/// Sets what silence leads to at a gateway.
#[utoipa::path(put, path = "/v1/gateways/{service}/policy", params(("service" = String, Path)),
    request_body = PolicyBody, responses(
    (status = OK, body = GatewayView),
    (status = NOT_FOUND, body = ApiError, description = "unknown-gateway"),
    (status = UNAUTHORIZED, body = ApiError),
))]
async fn set_policy(
    State(hub): State<Arc<Hub>>,
    Path(service): Path<String>,
    body: Result<Json<PolicyBody>, JsonRejection>,
) -> Result<Json<GatewayView>, ApiError> {
    let Json(PolicyBody { policy }) = body?;
    let policy = policy.map(|policy| match policy {
        PolicyView::Corroborate => Policy::Corroborate,
        PolicyView::Strict => Policy::Strict,
    });
    let service = service_of(&service)?;
    let mut core = hub.core();
    let row = core.set_policy(&service, policy).and_then(|key| core.gateway_row(&key));
    row.map(|row| Json(row.into())).ok_or_else(|| ApiError::unknown("unknown-gateway", "gateway"))
}

/// The newest hundred evictions of a gateway, and what each freed.
#[utoipa::path(get, path = "/v1/gateways/{service}/reports", params(("service" = String, Path)), responses(
    (status = OK, body = Vec<ReportView>),
    (status = NOT_FOUND, body = ApiError, description = "unknown-gateway"),
    (status = UNAUTHORIZED, body = ApiError),
))]
async fn reports(
    State(hub): State<Arc<Hub>>,
    Path(service): Path<String>,
) -> Result<Json<Vec<ReportView>>, ApiError> {
    let service = service_of(&service)?;
    let key =
        hub.core().gateway_key(&service).ok_or_else(|| ApiError::unknown("unknown-gateway", "gateway"))?;
    let reports = hub.writer.reports(key, 100).await;
    Ok(Json(reports.into_iter().map(ReportView::from).collect()))
}

/// Which sessions.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct SessionsQuery {
    /// Only at this gateway: a service id.
    gateway: Option<String>,
    /// `next` of the page before.
    after: Option<u32>,
}

/// Sessions, a thousand at a time.
#[utoipa::path(get, path = "/v1/sessions", params(SessionsQuery), responses(
    (status = OK, body = SessionsView),
    (status = NOT_FOUND, body = ApiError, description = "unknown-gateway"),
    (status = UNAUTHORIZED, body = ApiError),
))]
async fn sessions(
    State(hub): State<Arc<Hub>>,
    Query(query): Query<SessionsQuery>,
) -> Result<Json<SessionsView>, ApiError> {
    let gateway = query.gateway.as_deref().map(service_of).transpose()?;
    let page = hub.core().session_page(gateway.as_ref(), query.after);
    let page = page.ok_or_else(|| ApiError::unknown("unknown-gateway", "gateway"))?;
    let sessions = page.sessions.into_iter().map(SessionView::from).collect();
    Ok(Json(SessionsView { sessions, next: page.next }))
}

/// Ends a session; its gateway evicts the station.
#[utoipa::path(delete, path = "/v1/sessions/{session}", params(("session" = String, Path)), responses(
    (status = ACCEPTED, description = "decided; the gateway's report tells when it is done"),
    (status = NOT_FOUND, body = ApiError, description = "unknown-session"),
    (status = UNAUTHORIZED, body = ApiError),
))]
async fn evict(State(hub): State<Arc<Hub>>, Path(session): Path<String>) -> Result<StatusCode, ApiError> {
    let unknown = || ApiError::unknown("unknown-session", "session");
    let session: SessionId = session.parse().map_err(|_| unknown())?;
    match hub.core().end(&session, Cause::Owner, clock::now()) {
        true => Ok(StatusCode::ACCEPTED),
        false => Err(unknown()),
    }
}

/// A claim to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClaimBody {
    /// Who may enrol with it.
    role: RoleView,
    /// Works for so many seconds; absent: an hour, at most 30 days.
    valid_s: Option<u64>,
}

/// Who enrols.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum RoleView {
    Gateway,
    Terminal,
}

/// A claim that was made.
#[derive(Serialize, ToSchema)]
struct ClaimView {
    /// Shown this once: `wayleave://HOST:PORT/KEY/CODE`.
    token: String,
    /// Works for so many seconds from now.
    valid_s: u64,
}

/// Makes a one-time claim, with which one gateway or terminal enrols.
#[utoipa::path(post, path = "/v1/claims", request_body = ClaimBody, responses(
    (status = CREATED, body = ClaimView),
    (status = INSUFFICIENT_STORAGE, body = ApiError, description = "store-full"),
    (status = UNAUTHORIZED, body = ApiError),
))]
async fn create_claim(
    State(hub): State<Arc<Hub>>,
    body: Result<Json<ClaimBody>, JsonRejection>,
) -> Result<(StatusCode, Json<ClaimView>), ApiError> {
    let Json(ClaimBody { role, valid_s }) = body?;
    let role = match role {
        RoleView::Gateway => Role::Gateway,
        RoleView::Terminal => Role::Terminal,
    };
    let valid = valid_s.map(|seconds| Millis(seconds.saturating_mul(1000)));
    let claim = claims::create(&hub, role, valid).await?;
    let view = ClaimView { token: claim.token.expose().to_owned(), valid_s: claim.valid.0 / 1000 };
    Ok((StatusCode::CREATED, Json(view)))
}

fn service_of(text: &str) -> Result<ServiceId, ApiError> {
    text.parse().map_err(|_| ApiError::unknown("unknown-gateway", "gateway"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        for other in [&b""[..], b"ab", b"abd", b"abcd"] {
            assert!(!same(other, b"abc"));
        }
    }
}
