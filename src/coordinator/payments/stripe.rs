//! Cards, at Stripe's own page (Checkout) and by its webhooks.
//!
//! Every request that changes something carries the purchase as its Idempotency-Key and the same parameters each time: Stripe
//! refuses a key that comes again with others, so nothing in them depends on the time. `docs/trade.md` names what is used of
//! the API.

use std::fmt::Write as _;
use std::path::Path;

use ring::hmac;
use serde::Deserialize;

use super::http::{Base, Client};
use super::{BadWebhook, Event, Intent, Port, PortError, Started, unsure};
use crate::config::coordinator as config;
use crate::logic::trade::purchase::Observation;
use crate::model::trade::{Currency, Money};
use crate::model::{Link, PurchaseId, Refusal, Secret, unhex};

/// A webhook counts for so long after it was signed, and as long before.
const TOLERANCE: u64 = 300;

/// Where and as whom.
#[derive(Debug)]
pub struct Stripe {
    client: Client,
    key: Secret,
    /// Any of them: two while one takes the place of the other.
    webhook_secrets: Vec<Secret>,
    return_url: Link,
}

/// A session of Checkout, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Session {
    id: String,
    url: Option<String>,
    status: Option<String>,
    payment_status: Option<String>,
    client_reference_id: Option<String>,
    amount_total: Option<u64>,
    currency: Option<String>,
    payment_intent: Option<PaymentIntent>,
}

/// An id where it was not asked for whole.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PaymentIntent {
    Whole { id: String, latest_charge: Option<Charge> },
    Id(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Charge {
    Whole { refunded: bool },
    Id(#[allow(dead_code)] String),
}

#[derive(Debug, Deserialize)]
struct Webhook {
    id: String,
    data: WebhookData,
}

#[derive(Debug, Deserialize)]
struct WebhookData {
    object: WebhookObject,
}

#[derive(Debug, Deserialize)]
struct WebhookObject {
    client_reference_id: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    purchase: Option<String>,
}

impl Stripe {
    /// At a base URL, trusting the authorities in a PEM file.
    pub fn new(
        base: Base,
        authorities: &Path,
        key: Secret,
        webhook_secrets: Vec<Secret>,
        return_url: Link,
    ) -> Result<Self, String> {
        Ok(Self { client: Client::new(base, authorities)?, key, webhook_secrets, return_url })
    }

    /// As it is configured.
    pub fn configured(settings: &config::Stripe) -> Result<Self, String> {
        let config::Stripe { base, authorities, key, webhook_secrets, return_url } = settings;
        let base = Base::parse(base).ok_or("not the address of a provider")?;
        Self::new(base, authorities, key.clone(), webhook_secrets.clone(), return_url.clone())
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        key: Option<String>,
        body: String,
    ) -> Result<Vec<u8>, PortError> {
        let bearer = format!("Bearer {}", self.key.expose());
        let mut headers = vec![("authorization", bearer.as_str())];
        if method == "POST" {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        if let Some(key) = &key {
            headers.push(("idempotency-key", key));
        }
        let answer = self.client.send(method, path, &headers, body).await;
        let (status, body) = answer.map_err(|error| unsure(crate::model::sentence(&error)))?;
        match status {
            200..=299 => Ok(body.to_vec()),
            // The key is at work in another request; too fast; not known which.
            409 | 429 | 500.. => Err(unsure(format!("status {status}"))),
            _ => {
                let sentence = format!("the provider of cards refuses (status {status})");
                Err(PortError::Refused(Refusal::new("provider", sentence)))
            }
        }
    }

    async fn session(&self, reference: &str) -> Result<Session, PortError> {
        let path =
            format!("/v1/checkout/sessions/{}?expand[]=payment_intent.latest_charge", encoded(reference));
        session(&self.ask("GET", &path, None, String::new()).await?)
    }
}

fn session(body: &[u8]) -> Result<Session, PortError> {
    serde_json::from_slice(body).map_err(|error| unsure(format!("no session: {error}")))
}

impl Session {
    /// What it says of a payment for this purchase.
    fn observation(&self, purchase: PurchaseId) -> Result<Observation, PortError> {
        // What is not for this purchase says nothing about it.
        if self.client_reference_id.as_deref() != Some(&purchase.to_string()) {
            return Err(unsure("a session of another purchase"));
        }
        let charge = match &self.payment_intent {
            Some(PaymentIntent::Whole { latest_charge, .. }) => latest_charge.as_ref(),
            Some(PaymentIntent::Id(_)) | None => None,
        };
        if matches!(charge, Some(Charge::Whole { refunded: true })) {
            return Ok(Observation::Refunded);
        }
        match (self.status.as_deref(), self.payment_status.as_deref()) {
            (_, Some("paid")) => {
                let currency = self.currency.as_deref().unwrap_or_default().to_ascii_uppercase();
                let currency: Currency = currency.parse().map_err(|error| unsure(format!("{error}")))?;
                let minor = self.amount_total.ok_or_else(|| unsure("a payment without an amount"))?;
                Ok(Observation::Settled(Some(Money::new(minor, currency))))
            }
            (Some("expired"), _) => Ok(Observation::Failed),
            _ => Ok(Observation::Pending),
        }
    }
}

impl Port for Stripe {
    /// Not where Stripe counts minor units in another way than ISO 4217 does.
    fn quote(&self, price: Option<Money>) -> Result<(), Refusal> {
        let price = price.ok_or_else(|| Refusal::new("free", "nothing is asked: no card is needed"))?;
        let odd = price.currency.digits() == 3 || matches!(price.currency.code(), "ISK" | "UGX");
        let sentence = || format!("{} is not taken by cards here", price.currency);
        (!odd).then_some(()).ok_or_else(|| Refusal::new("currency", sentence()))
    }

    async fn start(&self, intent: &Intent) -> Result<Started, PortError> {
        self.quote(intent.price).map_err(PortError::Refused)?;
        let Some(price) = intent.price else { return Err(unsure("nothing to pay")) };
        let purchase = intent.purchase.to_string();
        let (minor, currency) = (price.minor.to_string(), price.currency.code().to_ascii_lowercase());
        let back = self.return_url.as_str();
        let form = form(&[
            ("mode", "payment"),
            ("client_reference_id", &purchase),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", &currency),
            ("line_items[0][price_data][unit_amount]", &minor),
            ("line_items[0][price_data][product_data][name]", &intent.about),
            ("payment_intent_data[metadata][purchase]", &purchase),
            ("success_url", back),
            ("cancel_url", back),
        ]);
        let key = format!("wayleave-start-{purchase}");
        let session = session(&self.ask("POST", "/v1/checkout/sessions", Some(key), form).await?)?;
        let page = session.url.map(Link::new).transpose().map_err(|error| unsure(error.to_string()))?;
        Ok(Started { reference: session.id, page })
    }

    async fn observe(&self, purchase: PurchaseId, reference: Option<&str>) -> Result<Observation, PortError> {
        match reference {
            None => Err(unsure("the page is not known")),
            Some(reference) => self.session(reference).await?.observation(purchase),
        }
    }

    async fn refund(&self, purchase: PurchaseId, reference: Option<&str>) -> Result<Observation, PortError> {
        let Some(reference) = reference else { return Err(unsure("the page is not known")) };
        let session = self.session(reference).await?;
        let intent = match (session.observation(purchase)?, &session.payment_intent) {
            (Observation::Settled(_), Some(PaymentIntent::Whole { id, .. } | PaymentIntent::Id(id))) => id,
            (Observation::Settled(_), None) => return Err(unsure("a payment without its intent")),
            (observation, _) => return Ok(observation),
        };
        let form = form(&[("payment_intent", intent), ("metadata[purchase]", &purchase.to_string())]);
        let asked = self.ask("POST", "/v1/refunds", Some(format!("wayleave-refund-{purchase}")), form).await;
        match asked {
            // It may have been given back by somebody else: what is so is asked for.
            Ok(_) | Err(PortError::Refused(_)) => self.observe(purchase, Some(reference)).await,
            Err(unsure) => Err(unsure),
        }
    }

    fn ingest(
        &self,
        headers: &[(String, String)],
        body: &[u8],
        calendar: u64,
    ) -> Result<Vec<Event>, BadWebhook> {
        let header =
            headers.iter().find(|(name, _)| name == "stripe-signature").ok_or(BadWebhook::Unsigned)?;
        let (mut time, mut signatures): (_, Vec<Vec<u8>>) = (None, Vec::new());
        for part in header.1.split(',') {
            match part.trim().split_once('=') {
                Some(("t", at)) => time = Some(at),
                // Other schemes are not known here, and a signature that cannot be read fits nothing.
                Some(("v1", signature)) => signatures.extend(unhex(signature)),
                _ => {}
            }
        }
        let time = time.ok_or(BadWebhook::Unsigned)?;
        let at: u64 = time.parse().map_err(|_| BadWebhook::Unsigned)?;
        if signatures.is_empty() {
            return Err(BadWebhook::Unsigned);
        }
        let signed = [time.as_bytes(), b".", body].concat();
        let fits = signatures.iter().any(|signature| {
            self.webhook_secrets.iter().any(|secret| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
                // In constant time.
                hmac::verify(&key, &signed, signature).is_ok()
            })
        });
        if !fits {
            return Err(BadWebhook::Forged);
        }
        let off = calendar.abs_diff(at);
        if off > TOLERANCE {
            return Err(BadWebhook::Stale { off, most: TOLERANCE });
        }
        let webhook: Webhook = serde_json::from_slice(body).map_err(|_| BadWebhook::Unreadable)?;
        let object = webhook.data.object;
        let purchase = object.client_reference_id.or(object.metadata.purchase);
        // Events about what is not ours are none for us.
        let purchase = purchase.and_then(|purchase| purchase.parse().ok());
        Ok(purchase.map(|purchase| Event { id: webhook.id, purchase }).into_iter().collect())
    }
}

/// `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.join("&")
}

/// Percent-encoding (RFC 3986, 2.1) of everything that is not unreserved.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    })
}
