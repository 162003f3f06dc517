//! Tariffs, purchases, the ledger and the webhooks of providers, by HTTP.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiError;
use crate::coordinator::hub::Hub;
use crate::coordinator::trade::{self, WebhookError};
use crate::host::clock;
use crate::model::trade::{Limits, Means, Pricing, Want};
use crate::model::{Millis, PublicKey, PurchaseId, Secret};
use crate::wire::ledger::Row;
use crate::wire::terminal::PurchaseView;

/// Entries in one page.
const PAGE: u32 = 1000;

/// A tariff.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TariffView {
    tariff: String,
    /// How the price is made of an amount.
    #[schema(value_type = Object)]
    pricing: Pricing,
    /// Within which bounds it is sold.
    #[schema(value_type = Object)]
    limits: Limits,
}

/// What somebody wants to buy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BuyBody {
    /// Key of the terminal: 64 hexadecimal digits.
    terminal: String,
    /// Service id of the gateway.
    gateway: String,
    tariff: String,
    bytes: Option<u64>,
    seconds: Option<u64>,
    slices: Option<u32>,
}

/// How it is paid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PayBody {
    /// `free`, `voucher` or `stripe`.
    #[schema(value_type = String)]
    means: Means,
    /// Of a voucher.
    code: Option<String>,
}

/// How a purchase stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PurchaseBody {
    purchase: String,
    /// `requested`, `offered`, `paying`, `paid`, `granted`, `low`, `extended`, `over`, `refused`, `expired`, `refunding` or
    /// `refunded`.
    state: String,
    /// What is asked, such as `1.50 EUR`; absent: nothing, or nothing is offered yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<String>,
    /// Where the buyer pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
    /// Why not, or why the last try to pay failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct After {
    /// Behind this entry; absent: from the first.
    after: Option<u64>,
}

fn view(hub: &Hub, view: PurchaseView) -> PurchaseBody {
    let price = hub.core().price_of(None, &view.purchase).ok().flatten();
    PurchaseBody {
        purchase: view.purchase.to_string(),
        state: view.state.word().to_owned(),
        price: price.map(|price| price.to_string()),
        page: view.page.map(String::from),
        refusal: view.refusal.map(|refusal| refusal.sentence),
    }
}

fn purchase_of(text: &str) -> Result<PurchaseId, ApiError> {
    text.parse().map_err(|_| ApiError::unknown("unknown-purchase", "purchase"))
}

fn shown(hub: &Hub, id: &PurchaseId) -> Result<PurchaseBody, ApiError> {
    let found = hub.core().purchase_view(id);
    found.map(|found| view(hub, found)).ok_or_else(|| ApiError::unknown("unknown-purchase", "purchase"))
}

/// What is sold at a gateway.
#[utoipa::path(get, path = "/v1/gateways/{service}/tariffs", params(("service" = String, Path)), responses(
    (status = OK, body = Vec<TariffView>),
    (status = NOT_FOUND, body = ApiError, description = "unknown-gateway"),
    (status = UNAUTHORIZED, body = ApiError),
))]
pub(super) async fn tariffs(
    State(hub): State<Arc<Hub>>,
    Path(service): Path<String>,
) -> Result<Json<Vec<TariffView>>, ApiError> {
    let service = super::service_of(&service)?;
    let core = hub.core();
    let tariffs = core.tariffs(&service)?.iter();
    let views = tariffs.map(|tariff| TariffView {
        tariff: tariff.id.to_string(),
        pricing: tariff.pricing,
        limits: tariff.limits,
    });
    Ok(Json(views.collect()))
}

/// Wants to buy for a terminal; the gateway is asked for an offer.
#[utoipa::path(post, path = "/v1/purchases", request_body = BuyBody, responses(
    (status = CREATED, body = PurchaseBody),
    (status = NOT_FOUND, body = ApiError, description = "unknown-gateway, unknown-tariff"),
    (status = CONFLICT, body = ApiError, description = "too-many-purchases"),
    (status = UNPROCESSABLE_ENTITY, body = ApiError, description = "bad-terminal"),
    (status = SERVICE_UNAVAILABLE, body = ApiError, description = "gateway-away"),
    (status = INSUFFICIENT_STORAGE, body = ApiError, description = "store-full"),
    (status = UNAUTHORIZED, body = ApiError),
))]
pub(super) async fn buy(
    State(hub): State<Arc<Hub>>,
    body: Result<Json<BuyBody>, JsonRejection>,
) -> Result<(StatusCode, Json<PurchaseBody>), ApiError> {
    let body = body?.0;
    let bad = |sentence: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-terminal", sentence);
    let terminal: PublicKey = body.terminal.parse().map_err(|error| bad(format!("{error}")))?;
    let service = super::service_of(&body.gateway)?;
    let tariff = body.tariff.parse().map_err(|_| ApiError::unknown("unknown-tariff", "tariff"))?;
    let time = body.seconds.map(|seconds| Millis(seconds.saturating_mul(1000)));
    let want = Want { time, bytes: body.bytes, slices: body.slices };
    let id = hub.core().buy(terminal, &service, tariff, want, None, clock::now())?;
    Ok((StatusCode::CREATED, Json(shown(&hub, &id)?)))
}

/// How a purchase stands; one that is over is not there any more.
#[utoipa::path(get, path = "/v1/purchases/{purchase}", params(("purchase" = String, Path)), responses(
    (status = OK, body = PurchaseBody),
    (status = NOT_FOUND, body = ApiError, description = "unknown-purchase"),
    (status = UNAUTHORIZED, body = ApiError),
))]
pub(super) async fn purchase(
    State(hub): State<Arc<Hub>>,
    Path(purchase): Path<String>,
) -> Result<Json<PurchaseBody>, ApiError> {
    Ok(Json(shown(&hub, &purchase_of(&purchase)?)?))
}

/// Consents to an offer.
#[utoipa::path(post, path = "/v1/purchases/{purchase}/payment", params(("purchase" = String, Path)),
    request_body = PayBody, responses(
    (status = OK, body = PurchaseBody),
    (status = NOT_FOUND, body = ApiError, description = "unknown-purchase"),
    (status = CONFLICT, body = ApiError, description = "not-offered, free, not-free, currency, no-cards"),
    (status = UNAUTHORIZED, body = ApiError),
))]
pub(super) async fn pay(
    State(hub): State<Arc<Hub>>,
    Path(purchase): Path<String>,
    body: Result<Json<PayBody>, JsonRejection>,
) -> Result<Json<PurchaseBody>, ApiError> {
    let (body, id) = (body?.0, purchase_of(&purchase)?);
    trade::pay(&hub, None, id, body.means, body.code.map(Secret::new), clock::now())?;
    Ok(Json(shown(&hub, &id)?))
}

/// Entries of the ledger of a gateway, oldest first, 1000 at most; each has the hash of the one before.
#[utoipa::path(get, path = "/v1/gateways/{service}/ledger", params(("service" = String, Path), After), responses(
    (status = OK, description = "as `wayleave ledger export --format json` has them"),
    (status = NOT_FOUND, body = ApiError, description = "unknown-gateway"),
    (status = UNAUTHORIZED, body = ApiError),
))]
pub(super) async fn ledger(
    State(hub): State<Arc<Hub>>,
    Path(service): Path<String>,
    Query(after): Query<After>,
) -> Result<Json<Vec<Row>>, ApiError> {
    let service = super::service_of(&service)?;
    let key = hub.core().gateway_key(&service);
    let key = key.ok_or_else(|| ApiError::unknown("unknown-gateway", "gateway"))?;
    let entries = hub.writer.ledger(key, after.after.unwrap_or(0), PAGE).await;
    Ok(Json(entries.iter().map(Row::from).collect()))
}

/// A provider of cards tells something. Its signature opens this, and not the token.
pub(super) async fn webhook(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let headers: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    match trade::webhook(&hub, &headers, &body).await {
        Ok(()) => Ok(StatusCode::OK),
        Err(error @ WebhookError::Bad(_)) => {
            Err(ApiError::new(StatusCode::BAD_REQUEST, "bad-webhook", error.to_string()))
        }
        // It comes again.
        Err(error @ WebhookError::NotKept(_)) => {
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not-kept", error.to_string()))
        }
    }
}
