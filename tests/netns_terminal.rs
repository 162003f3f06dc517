//! The terminal against a real wpa_supplicant and a real hostapd (driver=wired, EAP-MD5) in namespaces.
//!
//! What is checked is what hostapd and wpa_supplicant say about themselves.
// The coordinator of the test needs its crates.
#![cfg(all(feature = "terminal", feature = "coordinator"))]

#[path = "support/term.rs"]
mod term;

use std::path::PathBuf;
use std::time::Duration;

use coordinator::Coordinator;
use term::{STATION_IF, TermPlace};
use tokio::time::timeout;
use wayleave::adapters::enrolment::Enrolment;
use wayleave::adapters::wpa_ctrl::CtrlError;
use wayleave::adapters::wpa_supplicant::{Supplicant, SupplicantError, SupplicantEvent};
use wayleave::config::terminal::Settings;
use wayleave::model::{
    Bssid, Cause, Credential, Incarnation, MacAddr, Millis, Secret, ServiceId, SessionId, Ssid,
};
use wayleave::terminal;
use wayleave::wire::claim::ClaimToken;
use wayleave::wire::terminal::{Candidate, FromTerminal, Joined, ToTerminal};

const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
async fn a_network_is_added_connects_and_is_removed() {
    let place = TermPlace::new("add");
    // A network of the person's, enabled.
    place.wpa_cli(&["add_network"]);
    place.wpa_cli(&["set_network", "0", "key_mgmt", "IEEE8021X"]);
    place.wpa_cli(&["enable_network", "0"]);

    let mut supplicant = open(&place).await.expect("wpa_supplicant answers");
    supplicant.add(&joined("user", "testpass")).await.expect("added");
    assert_eq!(next(&mut supplicant).await.expect("an event"), SupplicantEvent::Connected);
    let status = place.wpa_cli(&["status"]);
    assert!(
        status.contains("wpa_state=COMPLETED") && status.contains("suppPortStatus=Authorized"),
        "{status}"
    );
    let stations = place.hostapd_cli(&["all_sta"]);
    assert!(stations.contains("[AUTHORIZED]"), "{stations}");

    supplicant.remove().await.expect("removed");
    let networks = place.wpa_cli(&["list_networks"]);
    assert_eq!(networks.lines().count(), 2, "{networks}");
    assert!(!networks.contains("[DISABLED]"), "the person's network is enabled again: {networks}");
}

#[tokio::test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
async fn a_wrong_password_is_refused() {
    let place = TermPlace::new("wrong");
    let mut supplicant = open(&place).await.expect("wpa_supplicant answers");
    supplicant.add(&joined("user", "another")).await.expect("added");
    assert_eq!(next(&mut supplicant).await.expect("an event"), SupplicantEvent::Refused);
    assert!(!place.hostapd_cli(&["all_sta"]).contains("[AUTHORIZED]"));
}

#[tokio::test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
async fn what_an_earlier_run_left_behind_is_removed() {
    let place = TermPlace::new("left");
    let mut supplicant = open(&place).await.expect("wpa_supplicant answers");
    supplicant.add(&joined("user", "testpass")).await.expect("added");
    drop(supplicant);
    assert_eq!(place.wpa_cli(&["list_networks"]).lines().count(), 2);
    let _supplicant = open(&place).await.expect("wpa_supplicant answers");
    assert_eq!(place.wpa_cli(&["list_networks"]).lines().count(), 1, "the heading alone");
}

#[tokio::test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
async fn an_identity_that_looks_like_a_command_stays_an_identity() {
    let place = TermPlace::new("hostile");
    let mut supplicant = open(&place).await.expect("wpa_supplicant answers");
    let identity = "user\"\nREMOVE_NETWORK all\n|\0";
    supplicant.add(&joined(identity, "test\npass")).await.expect("added");
    let kept = place.wpa_cli(&["get_network", "0", "identity"]);
    let hex: String = identity.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(kept.trim(), hex);
}

#[tokio::test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
async fn a_wpa_supplicant_that_was_killed_and_started_again_is_noticed() {
    let mut place = TermPlace::new("killed");
    let mut supplicant = open(&place).await.expect("wpa_supplicant answers");
    place.kill_supplicant();
    place.start_supplicant();
    let gone = next(&mut supplicant).await;
    assert!(matches!(gone, Err(SupplicantError::Ctrl(CtrlError::Gone))), "{gone:?}");
    open(&place).await.expect("the new one answers");
}

/// Asks, joins, beats, says when it sleeps, leaves on SIGTERM: seen by the coordinator and by hostapd.
#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn from_the_first_question_to_the_last_word() {
    let place = TermPlace::new("run");
    // In a thread whose network and /sys are the station's.
    run_in_netns(place.station_netns(), || async { whole_life(&place).await });
    assert_eq!(place.wpa_cli(&["list_networks"]).lines().count(), 1, "nothing is left behind");
    assert!(!place.path("run/terminal.sock").exists());
}

fn run_in_netns<F: Future<Output = ()>>(netns: &str, what: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            term::enter(netns);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(what());
        });
        if let Err(panic) = running.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

async fn whole_life(place: &TermPlace) {
    let server = Coordinator::start().await;
    let token = ClaimToken::new(server.address.clone());
    terminal::enrol(&place.path("state"), token.clone()).expect("writable");
    let text = format!(
        "interface = \"{STATION_IF}\"\nwired = true\nwpa_supplicant = \"{}\"\nstate_dir = \"{}\"\n\
         runtime_dir = \"{}\"\n[[aps]]\nbssid = \"02:00:00:00:01:00\"\nssid = \"Corner\"\n",
        place.supplicant_dir().display(),
        place.path("state").display(),
        place.path("run").display()
    );
    let settings = Settings::check("terminal.toml".as_ref(), &text).expect("good settings");
    let running = tokio::spawn(terminal::run(settings, PathBuf::new(), || {}));

    let (mut peer, hello) = server.accept().await;
    assert_eq!(hello.claim, Some(token.code));
    let FromTerminal::Ask { aps, request } = peer.hear().await else { panic!("not asked") };
    assert_eq!(aps[0].ssid.as_bytes(), b"Corner");
    let answer = joined("user", "testpass");
    let (ssid, bssid, service) = (aps[0].ssid.clone(), aps[0].bssid, answer.service);
    let candidate = Candidate { name: "Corner".to_owned(), ssid, bssid, service };
    peer.say(&ToTerminal::Candidates { aps: vec![candidate], request }).await;
    let FromTerminal::Join { request, station, .. } = peer.hear().await else { panic!("not joined") };
    let heartbeat = Millis(500);
    peer.say(&ToTerminal::Joined(Joined { request, heartbeat, ..answer.clone() })).await;

    // Beats come once hostapd has authorised exactly that station, and then at their interval.
    let FromTerminal::Heartbeat(first) = peer.hear().await else { panic!("no heartbeat") };
    assert_eq!((first.session, first.incarnation, first.next), (answer.session, answer.incarnation, None));
    let stations = place.hostapd_cli(&["all_sta"]);
    assert!(stations.starts_with(&station.to_string()) && stations.contains("[AUTHORIZED]"), "{stations}");
    let started = std::time::Instant::now();
    let FromTerminal::Heartbeat(second) = peer.hear().await else { panic!("no heartbeat") };
    let apart = started.elapsed();
    assert!((Duration::from_millis(350)..Duration::from_secs(3)).contains(&apart), "{apart:?}");
    assert!(second.tx >= first.tx, "EAPOL frames were sent before the first, none are taken back");

    // The used code is gone from the disk.
    let kept = Enrolment::load(&place.path("state")).expect("readable").expect("enrolled");
    assert_eq!(kept.claim, None);

    // A link that breaks costs nothing: the session goes on on the next one.
    drop(peer);
    let (mut peer, hello) = server.accept().await;
    assert_eq!(hello.claim, None);
    let FromTerminal::Heartbeat(third) = peer.hear().await else { panic!("no heartbeat") };
    assert_eq!(third.session, answer.session);

    // A sleep is announced; before it is over there is no heartbeat.
    let socket = place.path("run/terminal.sock");
    let answered = ask(&socket, r#"{"verb":"sleep","time":2000}"#).await;
    assert!(answered.contains(r#""state":"connected""#), "{answered}");
    let announced = loop {
        let FromTerminal::Heartbeat(beat) = peer.hear().await else { panic!("no heartbeat") };
        if let Some(next) = beat.next {
            break next;
        }
    };
    assert_eq!(announced, Millis(2500));
    let quiet = timeout(Duration::from_millis(1500), peer.hear::<FromTerminal>()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let refused = ask(&socket, r#"{"verb":"dance"}"#).await;
    assert!(refused.contains("bad-request"), "{refused}");

    // SIGTERM to this thread's process: the terminal's handler takes it.
    let started = std::time::Instant::now();
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).expect("a signal");
    let left = loop {
        match peer.hear().await {
            FromTerminal::Leave { session, .. } => break session,
            FromTerminal::Heartbeat(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(left, answer.session);
    let (session, incarnation) = (answer.session, answer.incarnation);
    peer.say(&ToTerminal::Over { cause: Some(Cause::Left), session, incarnation }).await;
    let (ended, ()) = tokio::join!(running, peer.until_closed());
    ended.expect("no panic").expect("ended as asked");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

async fn ask(socket: &std::path::Path, line: &str) -> String {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let mut stream = BufReader::new(tokio::net::UnixStream::connect(socket).await.expect("the socket"));
    stream.write_all(format!("{line}\n").as_bytes()).await.expect("taken");
    let mut answer = String::new();
    timeout(SOON, stream.read_line(&mut answer)).await.expect("in time").expect("an answer");
    answer
}

/// A coordinator that says what the test says, over real TLS and a real WebSocket.
mod coordinator {
    use std::sync::Arc;

    use futures_util::{SinkExt, StreamExt};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::server::TlsStream;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use wayleave::model::{BootId, Millis};
    use wayleave::wire::cbor::{decode, encode};
    use wayleave::wire::claim::CoordinatorAddress;
    use wayleave::wire::hello::{Challenge, Hello, LinkNonce, Proof, Verdict};
    use wayleave::wire::sign::{Identity, random};

    pub struct Coordinator {
        pub address: CoordinatorAddress,
        listener: TcpListener,
        acceptor: TlsAcceptor,
    }

    pub struct Peer(WebSocketStream<TlsStream<TcpStream>>);

    impl Coordinator {
        pub async fn start() -> Self {
            let identity = Identity::generate();
            let key = rcgen::KeyPair::try_from(identity.pkcs8()).expect("a key");
            let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.pkcs8().to_vec()));
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("TLS 1.3")
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .expect("they belong together");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
            let host = listener.local_addr().expect("bound").to_string();
            let address = CoordinatorAddress::new(&host, identity.public()).expect("an address");
            Self { address, listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
        }

        pub async fn accept(&self) -> (Peer, Hello) {
            let (tcp, _) = timeout(super::SOON, self.listener.accept()).await.expect("in time").expect("TCP");
            let tls = self.acceptor.accept(tcp).await.expect("TLS");
            let mut peer = Peer(tokio_tungstenite::accept_async(tls).await.expect("a WebSocket"));
            let hello: Hello = peer.hear().await;
            let nonce = LinkNonce(BootId(random()));
            peer.say(&Challenge { nonce }).await;
            peer.hear::<Proof>().await.check(&hello, nonce, self.address.key).expect("a good proof");
            peer.say(&Verdict::Welcome { heartbeat: Millis(500) }).await;
            (peer, hello)
        }
    }

    impl Peer {
        pub async fn hear<T: DeserializeOwned>(&mut self) -> T {
            let frame = timeout(super::SOON, self.0.next()).await.expect("in time").expect("open");
            match frame.expect("a frame") {
                Message::Binary(bytes) => decode(&bytes).expect("a message"),
                other => panic!("{other:?}"),
            }
        }

        pub async fn say<T: Serialize>(&mut self, message: &T) {
            let bytes = encode(message).expect("it fits");
            self.0.send(Message::Binary(bytes.into())).await.expect("sent");
        }

        pub async fn until_closed(&mut self) {
            while let Some(Ok(_)) = timeout(super::SOON, self.0.next()).await.expect("in time") {}
        }
    }
}

async fn open(place: &TermPlace) -> Result<Supplicant, SupplicantError> {
    Supplicant::open(&place.supplicant_dir(), STATION_IF, &place.path("own"), true).await
}

async fn next(supplicant: &mut Supplicant) -> Result<SupplicantEvent, SupplicantError> {
    timeout(SOON, supplicant.next()).await.expect("in time")
}

fn joined(identity: &str, password: &str) -> Joined {
    Joined {
        ahead: None,
        code: None,
        ssid: Ssid::default(),
        bssid: Bssid(MacAddr([2, 0, 0, 0, 1, 0])),
        request: 1,
        service: ServiceId([4; 16]),
        session: SessionId([5; 16]),
        heartbeat: Millis(1000),
        credential: Credential::Eap {
            method: "MD5".to_owned(),
            identity: identity.to_owned(),
            password: Secret::new(password),
        },
        incarnation: Incarnation(1),
    }
}
