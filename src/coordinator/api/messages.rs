//! Messages for terminals, by HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiError;
use crate::coordinator::hub::Hub;
use crate::coordinator::messages;
use crate::host::clock;
use crate::model::{Audience, BadMessage, Link, MessageText, Millis};
use crate::wire::local::{MessageAsk, MessageRow};

/// What terminals are to be told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageBody {
    /// One line of 1 to 1000 bytes of UTF-8 without control characters. Shown as text, whatever is in it.
    text: String,
    /// An http or https URL of at most 500 characters.
    link: Option<String>,
    /// Told for so many seconds; absent: a day, at most 30 days.
    valid_s: Option<u64>,
    /// The terminal of this session. Either this, `gateway` or `area`.
    session: Option<String>,
    /// All terminals at this gateway: a service id.
    gateway: Option<String>,
    /// All terminals at the gateways of this area: `REGION/NAME`.
    area: Option<String>,
}

/// A message that is told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MessageView {
    message: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    area: Option<String>,
    /// Told for so many seconds more.
    left_s: u64,
    /// Terminals that have it. A message for a session is over once its terminal has it.
    taken: u32,
}

impl From<MessageRow> for MessageView {
    fn from(row: MessageRow) -> Self {
        let (session, gateway, area) = match row.to {
            Audience::Session(session) => (Some(session.to_string()), None, None),
            Audience::Gateway(gateway) => (None, Some(gateway.to_string()), None),
            Audience::Area(area) => (None, None, Some(area.to_string())),
            Audience::Everybody | Audience::Grant(_) | Audience::Network(_) => (None, None, None),
        };
        Self {
            message: row.id.to_string(),
            text: row.text.into(),
            link: row.link.map(String::from),
            session,
            gateway,
            area,
            left_s: row.left.0 / 1000,
            taken: row.taken,
        }
    }
}

fn bad(sentence: impl ToString) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-message", sentence.to_string())
}

fn ask(body: MessageBody) -> Result<MessageAsk, ApiError> {
    let refused = |error: BadMessage| bad(error);
    let to = match (body.session, body.gateway, body.area) {
        (Some(session), None, None) => session
            .parse()
            .map(Audience::Session)
            .map_err(|_| ApiError::unknown("unknown-session", "session"))?,
        (None, Some(gateway), None) => Audience::Gateway(super::service_of(&gateway)?),
        (None, None, Some(area)) => {
            area.parse().map(Audience::Area).map_err(|_| ApiError::unknown("unknown-area", "area"))?
        }
        _ => return Err(bad("a message is for a session, a gateway or an area: give one of them")),
    };
    Ok(MessageAsk {
        to,
        text: MessageText::new(body.text).map_err(refused)?,
        link: body.link.map(Link::new).transpose().map_err(refused)?,
        valid: body.valid_s.map(|seconds| Millis(seconds.saturating_mul(1000))),
    })
}

/// Tells terminals something, each once.
#[utoipa::path(post, path = "/v1/messages", request_body = MessageBody, responses(
    (status = CREATED, body = MessageView),
    (status = NOT_FOUND, body = ApiError, description = "unknown-session, unknown-gateway, unknown-area"),
    (status = CONFLICT, body = ApiError, description = "too-many-messages"),
    (status = UNPROCESSABLE_ENTITY, body = ApiError, description = "bad-message, bad-time"),
    (status = INSUFFICIENT_STORAGE, body = ApiError, description = "store-full"),
    (status = UNAUTHORIZED, body = ApiError),
))]
pub(super) async fn push(
    State(hub): State<Arc<Hub>>,
    body: Result<Json<MessageBody>, JsonRejection>,
) -> Result<(StatusCode, Json<MessageView>), ApiError> {
    let row = messages::push(&hub, ask(body?.0)?).await?;
    Ok((StatusCode::CREATED, Json(row.into())))
}

/// What terminals are told.
#[utoipa::path(get, path = "/v1/messages", responses(
    (status = OK, body = Vec<MessageView>),
    (status = UNAUTHORIZED, body = ApiError),
))]
pub(super) async fn list(State(hub): State<Arc<Hub>>) -> Json<Vec<MessageView>> {
    let rows = hub.core().message_rows(clock::now());
    Json(rows.into_iter().map(MessageView::from).collect())
}

/// Tells a message to nobody any more; who has it keeps it.
#[utoipa::path(delete, path = "/v1/messages/{message}", params(("message" = String, Path)), responses(
    (status = OK, body = MessageView, description = "as it was"),
    (status = NOT_FOUND, body = ApiError, description = "no-message"),
    (status = UNAUTHORIZED, body = ApiError),
))]
pub(super) async fn withdraw(
    State(hub): State<Arc<Hub>>,
    Path(message): Path<String>,
) -> Result<Json<MessageView>, ApiError> {
    let message = message.parse().map_err(|_| ApiError::unknown("no-message", "message"))?;
    Ok(Json(messages::withdraw(&hub, &message)?.into()))
}
