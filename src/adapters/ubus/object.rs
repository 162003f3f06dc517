//! The object: what its methods take, which request each becomes, and what is answered. `docs/ubus.md` is the text for
//! callers.

use serde_json::{Map, Value, json};

use super::blob::{self, kind};
use super::message::{Message, Status, attribute};
use crate::host::control::Asker;
use crate::model::{MacAddr, Millis, Refusal};
use crate::wire::local::{GatewayRequest, GrantAsk, Target};

/// Name, and arguments with their types.
type Method = (&'static str, &'static [(&'static str, u8)]);

const METHODS: &[Method] = &[
    ("status", &[]),
    ("stations", &[]),
    ("grants", &[]),
    ("grant", &[("station", kind::STRING), ("lease_ms", kind::INT64), ("quota", kind::INT64)]),
    ("topup", &[("target", kind::STRING), ("lease_ms", kind::INT64), ("quota", kind::INT64)]),
    ("evict", &[("target", kind::STRING)]),
    ("beacon", &[]),
    #[cfg(feature = "push")]
    (
        "push",
        &[
            ("grant", kind::STRING),
            ("network", kind::STRING),
            ("text", kind::STRING),
            ("link", kind::STRING),
            ("valid_ms", kind::INT64),
        ],
    ),
    ("doctor", &[]),
];

/// Words of a refusal that are the caller's argument.
const WRONG_ARGUMENT: [&str; 6] =
    ["bad-request", "not-a-station", "own-address", "nothing", "no-time", "no-bytes"];

/// What ubusd is told of the methods: a table for each, with the type of each argument.
pub(super) fn signature() -> Vec<u8> {
    let mut signature = Vec::new();
    for (name, arguments) in METHODS {
        let mut types = Vec::new();
        for (argument, kind) in *arguments {
            blob::put_value(&mut types, argument, &Value::from(*kind));
        }
        blob::put_named(&mut signature, kind::TABLE, name, &types);
    }
    signature
}

/// What a caller gets.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: Status,
    /// A table.
    pub data: Option<Vec<u8>>,
}

impl Answer {
    pub(super) fn only(status: Status) -> Self {
        Self { status, data: None }
    }

    /// The sentence goes with the number that stands for it: `ubus call` shows both.
    fn refused(refusal: &Refusal) -> Self {
        let status = match refusal.word.as_str() {
            word if WRONG_ARGUMENT.contains(&word) => Status::INVALID_ARGUMENT,
            "no-grant" => Status::NOT_FOUND,
            _ => Status::UNKNOWN_ERROR,
        };
        let error = json!({ "word": refusal.word, "sentence": refusal.sentence });
        let mut data = Vec::new();
        blob::put_value(&mut data, "error", &error);
        Self { status, data: Some(data) }
    }
}

/// A call that is understood.
#[derive(Debug)]
pub(super) struct Call {
    request: GatewayRequest,
    shape: Shape,
}

/// What becomes of the gateway's answer: ubus knows tables only.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Table,
    /// A list, under this name.
    Under(&'static str),
    /// The only one of a list.
    First,
    /// What of a status is about beacons.
    Beacon,
}

/// What a call asks of the gateway, or what it gets at once.
pub(super) fn request(call: &Message) -> Result<Call, Answer> {
    let name = call.text(attribute::METHOD).ok_or_else(|| Answer::only(Status::INVALID_ARGUMENT))?;
    let (name, known) = METHODS
        .iter()
        .find(|(method, _)| *method == name)
        .ok_or_else(|| Answer::only(Status::METHOD_NOT_FOUND))?;
    let arguments = call.octets(attribute::DATA).ok_or_else(|| Answer::only(Status::INVALID_ARGUMENT))?;
    let arguments = blob::entries(arguments).map_err(|_| Answer::only(Status::INVALID_ARGUMENT))?;
    meant(name, &Arguments { known, given: arguments }).map_err(|refusal| Answer::refused(&refusal))
}

fn meant(method: &str, arguments: &Arguments) -> Result<Call, Refusal> {
    arguments.check()?;
    let (request, shape) = match method {
        "status" => (GatewayRequest::Status, Shape::Table),
        "beacon" => (GatewayRequest::Status, Shape::Beacon),
        "stations" => (GatewayRequest::Stations, Shape::Under("stations")),
        "grants" => (GatewayRequest::Grants, Shape::Under("grants")),
        "doctor" => (GatewayRequest::Doctor, Shape::Under("findings")),
        "grant" => {
            let station: MacAddr =
                arguments.text("station")?.parse().map_err(|error| bad(format!("station: {error}")))?;
            let (lease, quota) = (arguments.number("lease_ms")?.map(Millis), arguments.number("quota")?);
            let grants = vec![GrantAsk { station, lease, quota }];
            (GatewayRequest::Grant { grants }, Shape::First)
        }
        "topup" => {
            let target = arguments.text("target")?.parse::<Target>()?;
            let (lease, quota) = (arguments.number("lease_ms")?.map(Millis), arguments.number("quota")?);
            (GatewayRequest::Topup { target, lease, quota }, Shape::Table)
        }
        "evict" => (GatewayRequest::Evict { target: arguments.text("target")?.parse()? }, Shape::Table),
        #[cfg(feature = "push")]
        "push" => (arguments.message()?, Shape::Table),
        // METHODS has no other.
        other => return Err(bad(format!("there is no method {other}"))),
    };
    Ok(Call { request, shape })
}

impl Call {
    /// What the gateway says to it.
    pub(super) async fn ask(self, asker: &Asker<GatewayRequest>) -> Answer {
        let answered = match asker.ask::<Value>(self.request).await {
            Ok(value) => value,
            Err(refusal) => return Answer::refused(&refusal),
        };
        let value = match (self.shape, answered) {
            (Shape::Under(name), list) => json!({ name: list }),
            (Shape::First, Value::Array(mut list)) if !list.is_empty() => list.swap_remove(0),
            (Shape::Beacon, Value::Object(status)) => {
                let wanted = |name: &str| ["service", "bsses", "beacons"].contains(&name);
                status.into_iter().filter(|(name, _)| wanted(name)).collect::<Map<_, _>>().into()
            }
            (_, value) => value,
        };
        match value {
            Value::Object(table) => Answer { status: Status::OK, data: Some(blob::table(&table)) },
            _ => Answer::only(Status::UNKNOWN_ERROR),
        }
    }
}

struct Arguments {
    known: &'static [(&'static str, u8)],
    given: Map<String, Value>,
}

impl Arguments {
    /// rpcd adds the session it speaks for.
    const BY_RPCD: &str = "ubus_rpc_session";

    fn check(&self) -> Result<(), Refusal> {
        let is_known =
            |name: &str| name == Self::BY_RPCD || self.known.iter().any(|(known, _)| *known == name);
        match self.given.keys().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(unknown) => {
                let unknown: String = unknown.chars().take(40).collect();
                let known: Vec<&str> = self.known.iter().map(|(known, _)| *known).collect();
                Err(bad(format!("there is no argument {unknown:?}; there are: {}", known.join(", "))))
            }
        }
    }

    fn text(&self, name: &str) -> Result<&str, Refusal> {
        self.given
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| bad(format!("{name}: a text must be given")))
    }

    /// Not given, or 0: without limit.
    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.given.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok((number != 0).then_some(number)),
                None => Err(bad(format!("{name}: a number from 0 on must be given"))),
            },
        }
    }

    #[cfg(feature = "push")]
    fn message(&self) -> Result<GatewayRequest, Refusal> {
        let to = match (self.given.get("grant"), self.given.get("network")) {
            (None, None) => json!("everybody"),
            (Some(grant), None) => json!({ "grant": grant }),
            (None, Some(network)) => json!({ "network": network }),
            (Some(_), Some(_)) => return Err(bad("grant and network: give one of them, or none".to_owned())),
        };
        let mut ask = Map::from_iter([("to".to_owned(), to), ("text".to_owned(), self.text("text")?.into())]);
        if let Some(link) = self.given.get("link") {
            ask.insert("link".to_owned(), link.clone());
        }
        if let Some(valid) = self.number("valid_ms")? {
            ask.insert("valid".to_owned(), valid.into());
        }
        serde_json::from_value(Value::Object(ask))
            .map(GatewayRequest::Push)
            .map_err(|error| bad(error.to_string().escape_debug().to_string()))
    }
}

fn bad(sentence: String) -> Refusal {
    Refusal::new("bad-request", sentence)
}

/// Name and table of what happened, out of a line of the control socket.
pub(super) fn notification(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut event: Map<String, Value> = serde_json::from_slice(line).ok()?;
    let name = event.remove("event")?.as_str()?.replace('-', "_");
    Some((name, blob::table(&event)))
}

#[cfg(test)]
mod tests {
    use super::super::message::Type;
    use super::*;

    fn call(method: &str, arguments: &Value) -> Result<GatewayRequest, (u32, Value)> {
        let message = Message::new(Type::Invoke, 1, 2)
            .with_text(attribute::METHOD, method)
            .with(attribute::DATA, blob::table(arguments.as_object().unwrap()));
        request(&message).map(|call| call.request).map_err(|answer| {
            let data = answer.data.map(|data| blob::entries(&data).unwrap()).unwrap_or_default();
            (answer.status.0, data.get("error").map(|error| error["sentence"].clone()).unwrap_or_default())
        })
    }

    #[test]
    fn a_call_is_a_request_of_the_control_socket() {
        let station = "02:00:5e:10:00:01";
        for (method, arguments, wanted) in [
            ("status", json!({}), json!({"verb": "status"})),
            ("doctor", json!({"ubus_rpc_session": "x"}), json!({"verb": "doctor"})),
            (
                "grant",
                json!({"station": station, "lease_ms": 3_600_000, "quota": 8_000_000_000_u64}),
                json!({"verb": "grant", "grants":
                    [{"station": station, "lease": 3_600_000, "quota": 8_000_000_000_u64}]}),
            ),
            (
                "grant",
                json!({"station": station, "lease_ms": 0}),
                json!({"verb": "grant", "grants": [{"station": station}]}),
            ),
            ("evict", json!({"target": station}), json!({"verb": "evict", "target": {"station": station}})),
            (
                "topup",
                json!({"target": "ab".repeat(16), "quota": 5}),
                json!({"verb": "topup", "target": {"grant": "ab".repeat(16)}, "quota": 5}),
            ),
        ] {
            let request = call(method, &arguments).unwrap();
            assert_eq!(serde_json::to_value(request).unwrap(), wanted, "{method}");
        }
        #[cfg(feature = "push")]
        assert_eq!(
            serde_json::to_value(call("push", &json!({"text": "Closing", "valid_ms": 1000})).unwrap())
                .unwrap(),
            json!({"verb": "push", "to": "everybody", "text": "Closing", "valid": 1000})
        );
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (method, arguments, status, wanted) in [
            ("stop", json!({}), 3, ""),
            ("evict", json!({}), 2, "target: a text must be given"),
            ("evict", json!({"target": "*"}), 2, "\"*\" is neither a MAC address nor a grant id"),
            ("grant", json!({"station": "x"}), 2, "station: "),
            ("grant", json!({"station": "02:00:5e:10:00:01", "quota": -1}), 2, "quota: a number from 0 on"),
            ("status", json!({"quota": 1}), 2, "there is no argument \"quota\"; there are: "),
        ] {
            let (found, sentence) = call(method, &arguments).unwrap_err();
            let sentence = sentence.as_str().unwrap_or_default();
            assert!(found == status && sentence.starts_with(wanted), "{method}: {found} {sentence}");
        }
    }

    #[test]
    fn an_event_is_a_notification() {
        let (name, data) = notification(br#"{"event":"low","grant":"ab","left":7}"#).unwrap();
        assert_eq!(
            (name.as_str(), Value::Object(blob::entries(&data).unwrap())),
            ("low", json!({"grant": "ab", "left": 7}))
        );
        assert_eq!(notification(b"[]"), None);
    }
}
