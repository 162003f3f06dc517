//! A provider of cards for tests: a real HTTP server with the part of Stripe's API that we use. It misbehaves by default.
//!
//! It keeps its own truth, which tests look at: who was charged, how often, and what went back. Its clock is virtual. Webhooks
//! wait until whoever plays the network takes them ([`Payd::due`]).

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use ring::hmac;
use serde_json::{Value, json};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Nothing.
    None,
    /// Every webhook comes three times.
    Repeats,
    /// The last webhook comes first.
    Reorders,
    /// Webhooks come two days late.
    Delays,
    /// Webhooks never come.
    Loses,
    /// It says another amount than was paid.
    LiesAboutAmount,
    /// It says another currency than was paid.
    LiesAboutCurrency,
    /// It does what it is asked and answers 500, the first time for each key.
    FailsAfterSuccess,
    /// Every third request is answered 500 and not looked at.
    FailsBefore,
    /// Webhooks are signed with a key of last year.
    OldKey,
    /// Webhooks are signed an hour ago.
    OldClock,
    /// It takes requests and hangs up.
    HangsUp,
}

impl Misbehaviour {
    pub const ALL: [Misbehaviour; 12] = [
        Misbehaviour::None,
        Misbehaviour::Repeats,
        Misbehaviour::Reorders,
        Misbehaviour::Delays,
        Misbehaviour::Loses,
        Misbehaviour::LiesAboutAmount,
        Misbehaviour::LiesAboutCurrency,
        Misbehaviour::FailsAfterSuccess,
        Misbehaviour::FailsBefore,
        Misbehaviour::OldKey,
        Misbehaviour::OldClock,
        Misbehaviour::HangsUp,
    ];

    /// Whether what it says of the money is another sum than what it took.
    pub fn lies(self) -> bool {
        matches!(self, Misbehaviour::LiesAboutAmount | Misbehaviour::LiesAboutCurrency)
    }
}

pub const KEY: &str = "sk_test_0123456789abcdef0123456789abcdef";
pub const WEBHOOK_SECRET: &str = "whsec_0123456789abcdef0123456789abcdef";
const OLD_SECRET: &str = "whsec_of_last_year";
pub const EPOCH: u64 = 1_700_000_000;

/// A webhook as it comes in: headers with lower-case names, and the body.
pub type Webhook = (Vec<(String, String)>, Vec<u8>);

#[derive(Clone, Debug)]
struct Session {
    id: String,
    purchase: String,
    amount: u64,
    currency: String,
    status: &'static str,
    paid: bool,
    refunded: bool,
}

#[derive(Debug)]
struct State {
    misbehaviour: Misbehaviour,
    now: u64,
    sessions: Vec<Session>,
    /// What each Idempotency-Key was answered, and for which parameters.
    answers: BTreeMap<String, (String, Value)>,
    failed: BTreeMap<String, u32>,
    webhooks: Vec<(u64, String, Value)>,
    events: u64,
    requests: u64,
    charges: BTreeMap<String, u32>,
}

pub struct Payd {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: Stop,
}

struct Stop(SocketAddr, Arc<std::sync::atomic::AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.1.store(true, std::sync::atomic::Ordering::Relaxed);
        // Wakes the thread.
        let _ = TcpStream::connect(self.0);
    }
}

impl Payd {
    /// Does what it is asked and answers 500: the worst that a provider does every day.
    pub fn start() -> Self {
        Self::with(Misbehaviour::FailsAfterSuccess)
    }

    pub fn with(misbehaviour: Misbehaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            misbehaviour,
            now: EPOCH,
            sessions: vec![],
            answers: BTreeMap::new(),
            failed: BTreeMap::new(),
            webhooks: vec![],
            events: 0,
            requests: 0,
            charges: BTreeMap::new(),
        }));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (shared, stopping) = (Arc::clone(&state), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                if let Ok(stream) = stream {
                    let _ = serve(stream, &shared);
                }
            }
        });
        Self { address, state, _stop: Stop(address, stop) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn now(&self) -> u64 {
        self.state().now
    }

    /// Lets its clock go on.
    pub fn advance(&self, seconds: u64) {
        self.state().now += seconds;
    }

    /// The buyer pays whatever page there is for a purchase, once; `false`: there is none.
    pub fn buyer_pays(&self, purchase: &str) -> bool {
        let mut state = self.state();
        let Some(at) = state.sessions.iter().position(|session| session.purchase == purchase) else {
            return false;
        };
        if state.sessions[at].status != "open" {
            return state.sessions[at].paid;
        }
        (state.sessions[at].status, state.sessions[at].paid) = ("complete", true);
        *state.charges.entry(purchase.to_owned()).or_default() += 1;
        state.tell(at, "checkout.session.completed");
        true
    }

    /// The page is closed for good.
    pub fn expires(&self, purchase: &str) {
        let mut state = self.state();
        if let Some(at) = state.sessions.iter().position(|session| session.purchase == purchase)
            && state.sessions[at].status == "open"
        {
            state.sessions[at].status = "expired";
            state.tell(at, "checkout.session.expired");
        }
    }

    /// What the buyer is poorer by, in minor units; and how often the card was charged.
    pub fn charged(&self, purchase: &str) -> (u64, u32) {
        let state = self.state();
        let of = |session: &&Session| session.purchase == purchase && session.paid && !session.refunded;
        let sum = state.sessions.iter().filter(of).map(|session| session.amount).sum();
        (sum, state.charges.get(purchase).copied().unwrap_or(0))
    }

    /// Pages that were ever made for a purchase.
    pub fn pages(&self, purchase: &str) -> usize {
        self.state().sessions.iter().filter(|session| session.purchase == purchase).count()
    }

    /// Webhooks that come in now, signed at this second of 1970.
    pub fn due(&self, at: u64) -> Vec<Webhook> {
        let mut state = self.state();
        let (now, misbehaviour) = (state.now, state.misbehaviour);
        let (due, later) = std::mem::take(&mut state.webhooks).into_iter().partition(|(at, ..)| *at <= now);
        state.webhooks = later;
        let mut due: Vec<(u64, String, Value)> = due;
        match misbehaviour {
            Misbehaviour::Loses => due.clear(),
            Misbehaviour::Reorders => due.reverse(),
            Misbehaviour::Repeats => due = due.iter().flat_map(|webhook| vec![webhook.clone(); 3]).collect(),
            _ => {}
        }
        let secret = if misbehaviour == Misbehaviour::OldKey { OLD_SECRET } else { WEBHOOK_SECRET };
        let at = if misbehaviour == Misbehaviour::OldClock { at - 3600 } else { at };
        due.into_iter().map(|(_, _, body)| signed(secret, at, body.to_string().into_bytes())).collect()
    }
}

/// A body with its signature.
pub fn signed(secret: &str, at: u64, body: Vec<u8>) -> Webhook {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, &[at.to_string().as_bytes(), b".", &body].concat());
    let hex: String = tag.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    (vec![("stripe-signature".into(), format!("t={at},v1={hex},v0=00"))], body)
}

impl State {
    fn tell(&mut self, at: usize, kind: &str) {
        self.events += 1;
        let late = if self.misbehaviour == Misbehaviour::Delays { 2 * 86_400 } else { 0 };
        let event =
            json!({"id": format!("evt_{}", self.events), "type": kind, "data": {"object": self.shown(at)}});
        self.webhooks.push((self.now + late, kind.to_owned(), event));
    }

    fn shown(&self, at: usize) -> Value {
        let session = &self.sessions[at];
        let amount = session.amount + u64::from(self.misbehaviour == Misbehaviour::LiesAboutAmount);
        let currency = match self.misbehaviour {
            Misbehaviour::LiesAboutCurrency => "usd",
            _ => &session.currency,
        };
        json!({
            "id": session.id,
            "object": "checkout.session",
            "url": format!("https://checkout.example/{}", session.id),
            "status": session.status,
            "payment_status": if session.paid { "paid" } else { "unpaid" },
            "client_reference_id": session.purchase,
            "amount_total": amount,
            "currency": currency,
            "payment_intent": session.paid.then(|| json!({
                "id": format!("pi_{}", session.id),
                "latest_charge": {"refunded": session.refunded},
            })),
        })
    }

    fn answer(&mut self, method: &str, path: &str, key: Option<&str>, body: &str) -> (u16, Value) {
        let fields = fields(body);
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        if let Some(key) = key
            && let Some((before, answer)) = self.answers.get(key)
        {
            // As Stripe: the same key with other parameters is an error.
            return if before == body {
                (200, answer.clone())
            } else {
                (400, json!({"error": "idempotency"}))
            };
        }
        let (status, answer) = match (method, path.split('?').next().unwrap_or_default()) {
            ("POST", "/v1/checkout/sessions") => {
                let session = Session {
                    id: format!("cs_{}", self.sessions.len() + 1),
                    purchase: field("client_reference_id"),
                    amount: field("line_items[0][price_data][unit_amount]").parse().unwrap(),
                    currency: field("line_items[0][price_data][currency]"),
                    status: "open",
                    paid: false,
                    refunded: false,
                };
                self.sessions.push(session);
                (200, self.shown(self.sessions.len() - 1))
            }
            ("POST", "/v1/refunds") => {
                let intent = field("payment_intent");
                let found = self.sessions.iter().position(|session| format!("pi_{}", session.id) == intent);
                match found {
                    Some(at) if self.sessions[at].paid && !self.sessions[at].refunded => {
                        self.sessions[at].refunded = true;
                        self.tell(at, "charge.refunded");
                        (200, json!({"id": "re_1", "status": "succeeded"}))
                    }
                    _ => (400, json!({"error": {"code": "charge_already_refunded"}})),
                }
            }
            ("GET", path) => {
                let id = path.strip_prefix("/v1/checkout/sessions/").unwrap_or_default();
                match self.sessions.iter().position(|session| session.id == id) {
                    Some(at) => (200, self.shown(at)),
                    None => (404, json!({"error": "no such session"})),
                }
            }
            _ => (404, json!({"error": "no such path"})),
        };
        if let Some(key) = key.filter(|_| status == 200) {
            self.answers.insert(key.to_owned(), (body.to_owned(), answer.clone()));
        }
        (status, answer)
    }
}

fn fields(body: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let mut octets = Vec::new();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'%' => {
                    octets.push(u8::from_str_radix(&text[at + 1..at + 3], 16).unwrap());
                    at += 3;
                }
                byte => {
                    octets.push(byte);
                    at += 1;
                }
            }
        }
        String::from_utf8(octets).unwrap()
    };
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted = header(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if body.len() >= wanted {
            break (head.to_owned(), body.to_owned());
        }
    };
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let key = header(&head, "idempotency-key");
    let mut state = state.lock().unwrap();
    state.requests += 1;
    let third = state.requests % 3 == 1;
    let (status, answer) = if header(&head, "authorization") != Some(format!("Bearer {KEY}")) {
        (401, json!({"error": "who are you"}))
    } else if state.misbehaviour == Misbehaviour::FailsBefore && third {
        (500, json!({"error": "try again"}))
    } else {
        let (status, answer) = state.answer(method, path, key.as_deref(), &body);
        let times = state.failed.entry(key.clone().unwrap_or_else(|| path.to_owned())).or_default();
        *times += 1;
        let first = *times == 1;
        match state.misbehaviour {
            Misbehaviour::FailsAfterSuccess if first => (500, json!({"error": "it was done"})),
            Misbehaviour::HangsUp if first => return Ok(()),
            _ => (status, answer),
        }
    };
    drop(state);
    let answer = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )
}

fn header(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}
