//! A ubusd for tests: the real protocol on a socket of its own, with octets put together here and not by the program.
//!
//! It knows what a server needs to be called, subscribed to and looked up. It has no access lists, no events and no
//! monitor. [`Ubusd::call`] and [`Ubusd::subscribe`] are clients of it, as `ubus call` and `ubus subscribe` are.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

// enum ubus_msg_type and ubus_msg_attr of ubusmsg.h.
const HELLO: u8 = 0;
const STATUS: u8 = 1;
const DATA: u8 = 2;
const LOOKUP: u8 = 4;
const INVOKE: u8 = 5;
const ADD_OBJECT: u8 = 6;
const SUBSCRIBE: u8 = 8;
const NOTIFY: u8 = 10;
const A_STATUS: u8 = 1;
const A_PATH: u8 = 2;
const A_OBJECT: u8 = 3;
const A_METHOD: u8 = 4;
const A_TYPE: u8 = 5;
const A_SIGNATURE: u8 = 6;
const A_DATA: u8 = 7;
const A_TARGET: u8 = 8;
const A_ACTIVE: u8 = 9;

/// Attributes by number.
pub type Attributes = BTreeMap<u8, Vec<u8>>;

/// A message, taken apart.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: u8,
    pub sequence: u16,
    pub peer: u32,
    pub attributes: Attributes,
}

fn blob(id: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = ((u32::from(id) << 24) | (payload.len() as u32 + 4)).to_be_bytes().to_vec();
    octets.extend(payload);
    octets.resize(octets.len().div_ceil(4) * 4, 0);
    octets
}

fn blobs(mut octets: &[u8]) -> Vec<(u32, &[u8])> {
    let mut found = Vec::new();
    while octets.len() >= 4 {
        let head = u32::from_be_bytes(octets[..4].try_into().unwrap());
        let length = (head & 0xff_ffff) as usize;
        found.push((head >> 24, &octets[4..length]));
        octets = &octets[(length.div_ceil(4) * 4).min(octets.len())..];
    }
    found
}

impl Message {
    pub fn new(kind: u8, sequence: u16, peer: u32, attributes: &[(u8, Vec<u8>)]) -> Self {
        Self { kind, sequence, peer, attributes: attributes.iter().cloned().collect() }
    }

    pub fn write(&self, stream: &mut UnixStream) {
        let payload: Vec<u8> = self.attributes.iter().flat_map(|(id, octets)| blob(*id, octets)).collect();
        let mut octets = vec![0, self.kind];
        octets.extend(self.sequence.to_be_bytes());
        octets.extend(self.peer.to_be_bytes());
        octets.extend(blob(0, &payload));
        // A client that has gone does not want it.
        let _ = stream.write_all(&octets);
    }

    pub fn read(stream: &mut UnixStream) -> Option<Self> {
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes(head[8..].try_into().unwrap()) as usize & 0xff_ffff;
        let mut payload = vec![0; length - 4];
        stream.read_exact(&mut payload).ok()?;
        Some(Self {
            kind: head[1],
            sequence: u16::from_be_bytes(head[2..4].try_into().unwrap()),
            peer: u32::from_be_bytes(head[4..8].try_into().unwrap()),
            attributes: blobs(&payload)
                .into_iter()
                .map(|(id, payload)| (id as u8, payload.to_vec()))
                .collect(),
        })
    }

    pub fn number(&self, attribute: u8) -> u32 {
        self.attributes
            .get(&attribute)
            .map_or(0, |octets| u32::from_be_bytes(octets[..4].try_into().unwrap()))
    }

    pub fn text(&self, attribute: u8) -> String {
        let octets = self.attributes.get(&attribute).cloned().unwrap_or_default();
        String::from_utf8(octets).expect("text").trim_end_matches('\0').to_owned()
    }

    /// Its table, as JSON.
    pub fn data(&self) -> Value {
        table(self.attributes.get(&A_DATA).map_or(&[], Vec::as_slice))
    }
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// A table of blobmsg: what the tests of the program's own codec hold against the definition.
fn table(octets: &[u8]) -> Value {
    Value::Object(blobs(octets).into_iter().map(named).collect())
}

fn named((head, payload): (u32, &[u8])) -> (String, Value) {
    assert!(head & 0x80 != 0, "a value has a name");
    let length = usize::from(u16::from_be_bytes([payload[0], payload[1]]));
    let name = std::str::from_utf8(&payload[2..2 + length]).expect("text").to_owned();
    assert_eq!(payload[2 + length], 0, "a name ends");
    let value = &payload[((3 + length).div_ceil(4) * 4).min(payload.len())..];
    let value = match head & 0x7f {
        1 => blobs(value).into_iter().map(|blob| named(blob).1).collect(),
        2 => table(value),
        3 => json!(std::str::from_utf8(value).expect("text").trim_end_matches('\0')),
        4 => json!(i64::from_be_bytes(value.try_into().expect("8 octets"))),
        5 => json!(i32::from_be_bytes(value.try_into().expect("4 octets"))),
        7 => json!(value[0] != 0),
        other => panic!("type {other}"),
    };
    (name, value)
}

/// Texts and numbers, as `ubus call` makes them of JSON.
fn arguments(arguments: &Value) -> Vec<u8> {
    let one = |(name, value): (&String, &Value)| {
        let mut payload = (name.len() as u16).to_be_bytes().to_vec();
        payload.extend(text(name));
        payload.resize(payload.len().div_ceil(4) * 4, 0);
        let kind = match value {
            Value::String(value) => {
                payload.extend(text(value));
                3
            }
            Value::Bool(value) => {
                payload.push(u8::from(*value));
                7
            }
            value => match i32::try_from(value.as_i64().expect("a whole number")) {
                Ok(value) => {
                    payload.extend(value.to_be_bytes());
                    5
                }
                Err(_) => {
                    payload.extend(value.as_i64().unwrap().to_be_bytes());
                    4
                }
            },
        };
        blob(0x80 | kind, &payload)
    };
    arguments.as_object().expect("a table").iter().flat_map(one).collect()
}

#[derive(Default)]
struct State {
    clients: BTreeMap<u32, UnixStream>,
    /// By id: path, owner, signature.
    objects: BTreeMap<u32, (String, u32, Vec<u8>)>,
    /// Target, subscriber.
    subscriptions: Vec<(u32, u32)>,
    last: u32,
}

impl State {
    fn id(&mut self) -> u32 {
        self.last += 0x0101;
        self.last
    }

    fn send(&mut self, client: u32, message: &Message) {
        if let Some(stream) = self.clients.get_mut(&client) {
            message.write(stream);
        }
    }
}

/// It listens until the value is dropped.
pub struct Ubusd {
    pub socket: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Ubusd {
    pub fn start(dir: &Path) -> Self {
        let socket = dir.join("ubus.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket");
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::downgrade(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(state) = shared.upgrade() else { return };
                thread::spawn(move || serve(&state, stream));
            }
        });
        Self { socket, state }
    }

    /// Hangs up on everybody and forgets their objects, as one that is started again.
    pub fn hang_up(&self) {
        let mut state = self.state.lock().unwrap();
        for stream in state.clients.values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        *state = State { last: state.last, ..State::default() };
    }

    /// Sends a client's owner these octets instead of a message.
    pub fn lie(&self, path: &str, octets: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let owner = state.objects.values().find(|(name, ..)| name == path).expect("the object").1;
        state.clients.get_mut(&owner).expect("its owner").write_all(octets).expect("it reads");
    }

    /// The signature of an object, as `ubus -v list` shows it.
    pub fn signature(&self, path: &str) -> Option<Value> {
        let state = self.state.lock().unwrap();
        state.objects.values().find(|(name, ..)| name == path).map(|(.., signature)| table(signature))
    }

    fn client(&self) -> UnixStream {
        let mut stream = UnixStream::connect(&self.socket).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(Message::read(&mut stream).expect("hello").kind, HELLO);
        stream
    }

    /// `ubus call`: the status and what came before it.
    pub fn call(&self, path: &str, method: &str, given: &Value) -> (u32, Value) {
        let mut stream = self.client();
        Message::new(LOOKUP, 1, 0, &[(A_PATH, text(path))]).write(&mut stream);
        let object = answer(&mut stream, 1).0;
        let object = object.first().expect("the object is there").number(A_OBJECT);
        let invoke =
            [(A_OBJECT, object.to_be_bytes().to_vec()), (A_METHOD, text(method)), (A_DATA, arguments(given))];
        Message::new(INVOKE, 2, object, &invoke).write(&mut stream);
        let (data, status) = answer(&mut stream, 2);
        (status, data.first().map_or(Value::Null, Message::data))
    }

    /// `ubus subscribe`: what is to be read from it are notifications.
    pub fn subscribe(&self, path: &str) -> UnixStream {
        let mut stream = self.client();
        Message::new(ADD_OBJECT, 1, 0, &[]).write(&mut stream);
        let own = answer(&mut stream, 1).0[0].number(A_OBJECT);
        Message::new(LOOKUP, 2, 0, &[(A_PATH, text(path))]).write(&mut stream);
        let target = answer(&mut stream, 2).0[0].number(A_OBJECT);
        let ids = [(A_OBJECT, own.to_be_bytes().to_vec()), (A_TARGET, target.to_be_bytes().to_vec())];
        Message::new(SUBSCRIBE, 3, 0, &ids).write(&mut stream);
        assert_eq!(answer(&mut stream, 3).1, 0, "subscribed");
        stream
    }
}

/// The next notification: its name and its table.
pub fn notification(stream: &mut UnixStream) -> (String, Value) {
    let message = Message::read(stream).expect("a notification");
    assert_eq!(message.kind, INVOKE);
    (message.text(A_METHOD), message.data())
}

fn answer(stream: &mut UnixStream, sequence: u16) -> (Vec<Message>, u32) {
    let mut data = Vec::new();
    loop {
        let message = Message::read(stream).expect("an answer");
        assert_eq!(message.sequence, sequence, "{message:?}");
        match message.kind {
            STATUS => return (data, message.number(A_STATUS)),
            _ => data.push(message),
        }
    }
}

fn serve(state: &Mutex<State>, mut stream: UnixStream) {
    let client = {
        let mut state = state.lock().unwrap();
        let id = state.id();
        state.clients.insert(id, stream.try_clone().expect("a descriptor"));
        state.send(id, &Message::new(HELLO, 0, id, &[]));
        id
    };
    while let Some(message) = Message::read(&mut stream) {
        let mut state = state.lock().unwrap();
        if let Some(status) = handle(&mut state, client, &message) {
            let status = [(A_STATUS, status.to_be_bytes().to_vec())];
            state.send(client, &Message::new(STATUS, message.sequence, client, &status));
        }
    }
    let mut state = state.lock().unwrap();
    state.clients.remove(&client);
    state.objects.retain(|_, (_, owner, _)| *owner != client);
}

/// The status; `None`: somebody else answers.
fn handle(state: &mut State, client: u32, message: &Message) -> Option<u32> {
    let number = |number: u32| number.to_be_bytes().to_vec();
    let object = message.number(A_OBJECT);
    match message.kind {
        ADD_OBJECT => {
            let path = message.text(A_PATH);
            if !path.is_empty() && state.objects.values().any(|(other, ..)| *other == path) {
                return Some(2);
            }
            let id = state.id();
            let signature = message.attributes.get(&A_SIGNATURE).cloned().unwrap_or_default();
            state.objects.insert(id, (path, client, signature));
            let ids = [(A_OBJECT, number(id)), (A_TYPE, number(id + 1))];
            state.send(client, &Message::new(DATA, message.sequence, client, &ids));
            Some(0)
        }
        LOOKUP => {
            let path = message.text(A_PATH);
            let found = state.objects.iter().find(|(_, (other, ..))| *other == path);
            let Some((id, (_, _, signature))) = found else { return Some(4) };
            let of = [(A_PATH, text(&path)), (A_OBJECT, number(*id)), (A_SIGNATURE, signature.clone())];
            let found = Message::new(DATA, message.sequence, client, &of);
            state.send(client, &found);
            Some(0)
        }
        INVOKE => {
            let Some((_, owner, _)) = state.objects.get(&object) else { return Some(4) };
            let owner = *owner;
            state.send(owner, &Message { peer: client, ..message.clone() });
            None
        }
        DATA | STATUS => {
            let to = message.peer;
            state.send(to, &Message { peer: object, ..message.clone() });
            None
        }
        SUBSCRIBE => {
            let target = message.number(A_TARGET);
            let owner = state.objects.get(&target)?.1;
            state.subscriptions.push((target, object));
            let active = [(A_OBJECT, number(target)), (A_ACTIVE, vec![1])];
            state.send(owner, &Message::new(NOTIFY, 0, 0, &active));
            Some(0)
        }
        NOTIFY => {
            let subscribers: Vec<u32> = state
                .subscriptions
                .iter()
                .filter(|(target, _)| *target == object)
                .map(|(_, own)| *own)
                .collect();
            for own in subscribers {
                let Some((_, owner, _)) = state.objects.get(&own) else { continue };
                let owner = *owner;
                let mut forwarded = Message { kind: INVOKE, peer: client, ..message.clone() };
                forwarded.attributes.insert(A_OBJECT, number(own));
                state.send(owner, &forwarded);
            }
            None
        }
        _ => Some(1),
    }
}
