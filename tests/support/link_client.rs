//! A gateway and a terminal written by hand, for tests of the coordinator: real TCP, TLS 1.3 and WebSocket.
//!
//! Not the adapters' code: what is tested is the wire, so both ends must not share a mistake. The pinned key
//! is checked by verifying the handshake's signature with that key and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use wayleave::model::{
    Area, BootId, Bssid, Credential, DirectoryVersion, MacAddr, Offer, PublicKey, Refusal, Secret, Ssid,
};
use wayleave::wire::beacon::HeardBeacon;
use wayleave::wire::cbor;
use wayleave::wire::directory::SignedDirectory;
use wayleave::wire::gateway::{Announce, BeaconReport, FromGateway, SharedNetwork, ToGateway};
use wayleave::wire::hello::{Challenge, Hello, LinkNonce, Proof, Role, Verdict};
use wayleave::wire::notice::{Notice, NoticeBody, NoticeReader, SignedNotice};
use wayleave::wire::sign::{Identity, new_boot_id, service_id};
use wayleave::wire::terminal::{Candidate, FromTerminal, Heartbeat, Joined, SeenAp, ToTerminal};

/// How long anything may take in a test.
pub const SOON: Duration = Duration::from_secs(10);

/// Where a coordinator is, and its key.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    pub address: SocketAddr,
    pub key: PublicKey,
}

/// A TLS stream to it, with the key checked.
pub async fn tls(door: Door) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(&connector(door.key), TcpStream::connect(door.address).await?).await
}

/// A TLS stream over a connection that stands already.
pub async fn tls_over(connector: &TlsConnector, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    connector.connect(ServerName::try_from("coordinator.test").unwrap(), stream).await
}

/// TLS 1.3 with the server that has this key.
pub fn connector(key: PublicKey) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(key)))
        .with_no_client_auth();
    // Every peer is another device and has no ticket of an earlier one.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

#[derive(Debug)]
struct Pinned(PublicKey);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, self.0.0)
            .verify(message, signed.signature())
            .map(|()| HandshakeSignatureValid::assertion())
            .map_err(|_| rustls::Error::General("not the pinned key".into()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// A WebSocket with whole messages.
pub struct Socket {
    socket: WebSocketStream<TlsStream<TcpStream>>,
}

/// What came, other than a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Nothing {
    /// Closed with this code and reason.
    Closed(u16, String),
    /// Gone without a close.
    Gone,
    /// Nothing within the time.
    Silence,
}

impl Socket {
    /// Up to and with the WebSocket handshake.
    pub async fn open(door: Door) -> Result<Self, String> {
        Self::over(tls(door).await.map_err(|error| error.to_string())?).await
    }

    /// The WebSocket handshake over a TLS stream.
    pub async fn over(stream: TlsStream<TcpStream>) -> Result<Self, String> {
        let request = "wss://coordinator.test/v1/link".into_client_request().unwrap();
        let (socket, _) =
            tokio_tungstenite::client_async(request, stream).await.map_err(|error| error.to_string())?;
        Ok(Self { socket })
    }

    /// The stream below; what was received and not read is lost.
    pub fn into_tls(self) -> TlsStream<TcpStream> {
        self.socket.into_inner()
    }

    pub async fn send<T: Serialize>(&mut self, message: &T) {
        self.send_bytes(cbor::encode(message).unwrap()).await;
    }

    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        // A close that comes first is found by the next receive.
        let _ = self.socket.send(Message::Binary(bytes.into())).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        let _ = self.socket.send(Message::Text(text.into())).await;
    }

    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, Nothing> {
        self.receive_within(SOON).await
    }

    pub async fn receive_within<T: DeserializeOwned>(&mut self, time: Duration) -> Result<T, Nothing> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
                    Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                        return Err(Nothing::Closed(code.into(), reason.to_string()));
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    _ => return Err(Nothing::Gone),
                }
            }
        };
        let bytes = tokio::time::timeout(time, next).await.unwrap_or(Err(Nothing::Silence))?;
        assert!(bytes.len() <= 16 * 1024, "a frame of {} bytes", bytes.len());
        assert!(cbor::is_deterministic(&bytes));
        Ok(cbor::decode(&bytes).expect("the coordinator speaks the protocol"))
    }

    /// Why the coordinator closed it.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.receive::<cbor_value::Any>().await {
                Ok(_) => {}
                Err(Nothing::Closed(code, reason)) => return (code, reason),
                Err(other) => panic!("{other:?} instead of a close"),
            }
        }
    }
}

mod cbor_value {
    /// Whatever it is.
    #[derive(Debug)]
    pub struct Any;

    impl<'de> serde::Deserialize<'de> for Any {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            serde::de::IgnoredAny::deserialize(deserializer).map(|_| Any)
        }
    }
}

/// Opens a link as the protocol says.
pub async fn link(
    door: Door,
    identity: &Identity,
    role: Role,
    claim: Option<&str>,
) -> Result<(Socket, BootId, LinkNonce), Refusal> {
    let socket = Socket::open(door).await.map_err(|error| Refusal::new("no-socket", error))?;
    greet(socket, door.key, identity, role, claim).await
}

/// The opening on a WebSocket that stands already; `coordinator` is its key.
pub async fn greet(
    mut socket: Socket,
    coordinator: PublicKey,
    identity: &Identity,
    role: Role,
    claim: Option<&str>,
) -> Result<(Socket, BootId, LinkNonce), Refusal> {
    let boot = new_boot_id();
    let hello = Hello {
        key: identity.public(),
        boot,
        role,
        agent: "test/0".into(),
        claim: claim.map(Secret::new),
        version: 1,
    };
    socket.send(&hello).await;
    let Challenge { nonce } = socket.receive().await.expect("a challenge");
    socket.send(&Proof::new(identity, &hello, nonce, coordinator)).await;
    match socket.receive().await.expect("a verdict") {
        Verdict::Welcome { .. } => Ok((socket, boot, nonce)),
        Verdict::Refused { word, sentence, .. } => Err(Refusal::new(&word, sentence)),
    }
}

/// A gateway with one access point.
pub struct Gateway {
    pub socket: Socket,
    pub key: PublicKey,
    reader: NoticeReader,
}

/// The access point of the gateway with this number.
pub fn bssid(number: u8) -> Bssid {
    Bssid(MacAddr([2, 0, 0, 1, 0, number]))
}

pub fn ssid(name: &str) -> Ssid {
    Ssid::new(name.as_bytes()).unwrap()
}

impl Gateway {
    /// Connected, not announced.
    pub async fn connect(door: Door, identity: &Identity, claim: Option<&str>) -> Result<Self, Refusal> {
        let (socket, boot, nonce) = link(door, identity, Role::Gateway, claim).await?;
        let key = identity.public();
        Ok(Self { socket, key, reader: NoticeReader::new(door.key, key, boot, nonce) })
    }

    /// Connected and announced with one network.
    pub async fn up(door: Door, identity: &Identity, number: u8, name: &str) -> Self {
        let mut gateway = Self::connect(door, identity, None).await.unwrap();
        gateway.announce(name, bssid(number)).await;
        gateway
    }

    pub async fn announce(&mut self, name: &str, bssid: Bssid) {
        self.announce_in(None, name, bssid).await;
    }

    /// As [`GatewayClient::announce`], listed in this area.
    pub async fn announce_in(&mut self, area: Option<&str>, name: &str, bssid: Bssid) {
        let area = area.map(|area| area.parse().expect("an area"));
        let credential = Credential::Psk { passphrase: Secret::new("correct horse") };
        let network = SharedNetwork { ssid: ssid(name), codes: false, bssids: vec![bssid], credential };
        self.share(area, network).await;
    }

    /// Announces one network, listed in this area.
    pub async fn share(&mut self, area: Option<Area>, network: SharedNetwork) {
        self.share_with(area, network, None).await;
    }

    /// The same; `beacon`: how what it announces on the air is checked.
    pub async fn share_with(
        &mut self,
        area: Option<Area>,
        network: SharedNetwork,
        beacon: Option<BeaconReport>,
    ) {
        let service = service_id(self.key);
        // On the air, where it announces anything.
        let announced = if beacon.is_some() { network.bssids.clone() } else { Vec::new() };
        let networks = vec![network];
        let name = "Corner".into();
        let announce = Announce { area, name, beacon, service, tariffs: vec![], networks, announced };
        self.socket.send(&FromGateway::Announce(announce)).await;
    }

    /// The next notice that is not a renewal.
    pub async fn notice(&mut self) -> Notice {
        self.notice_within(SOON).await.expect("a notice")
    }

    pub async fn notice_within(&mut self, time: Duration) -> Option<Notice> {
        let until = tokio::time::Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            match self.socket.receive_within(left).await {
                Ok(ToGateway::Notice(signed)) => {
                    let notice = self.open(&signed);
                    if !matches!(notice.body, NoticeBody::Renew { .. }) {
                        return Some(notice);
                    }
                }
                Ok(ToGateway::ReportTaken { number }) => panic!("report {number} taken instead of a notice"),
                Err(Nothing::Silence) => return None,
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    /// The next message, opened if it is a notice.
    pub async fn message(&mut self) -> ToGateway {
        self.socket.receive().await.expect("a message")
    }

    pub fn open(&mut self, signed: &SignedNotice) -> Notice {
        self.reader.open(signed).expect("a notice for here")
    }

    pub async fn acknowledge(&mut self, notice: &Notice) {
        let seq = notice.seq.expect("a durable notice");
        self.socket.send(&FromGateway::Acknowledge { seq }).await;
    }
}

/// A terminal.
pub struct Terminal {
    pub socket: Socket,
    pub key: PublicKey,
    requests: u64,
}

/// The address of the station with this number.
pub fn station(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 2, 0, number])
}

/// An access point in a scan.
pub fn seen(bssid: Bssid, name: &str, beacon: Option<HeardBeacon>) -> SeenAp {
    SeenAp { ssid: ssid(name), bssid, beacon, freq_mhz: 2412, signal_dbm: -40 }
}

impl Terminal {
    pub async fn up(door: Door, identity: &Identity) -> Self {
        let (socket, ..) = link(door, identity, Role::Terminal, None).await.unwrap();
        Self::on(socket, identity)
    }

    /// On a link that stands already.
    pub fn on(socket: Socket, identity: &Identity) -> Self {
        Self { socket, key: identity.public(), requests: 0 }
    }

    /// What it is told of these access points.
    pub async fn ask(&mut self, aps: &[(Bssid, &str)]) -> Vec<Candidate> {
        let seen = aps.iter().map(|(bssid, name)| seen(*bssid, name, None)).collect();
        self.look_up(seen).await.unwrap()
    }

    /// The same, with what each announces.
    pub async fn look_up(&mut self, aps: Vec<SeenAp>) -> Result<Vec<Candidate>, Refusal> {
        self.requests += 1;
        self.socket.send(&FromTerminal::Ask { aps, request: self.requests }).await;
        match self.socket.receive().await {
            Ok(ToTerminal::Candidates { aps, request }) if request == self.requests => Ok(aps),
            Ok(ToTerminal::Refused { refusal, request }) if request == self.requests => Err(refusal),
            other => panic!("{other:?} instead of candidates"),
        }
    }

    /// One part of the directory of a region, for who holds this version.
    pub async fn directory(
        &mut self,
        region: &str,
        have: Option<DirectoryVersion>,
        part: u16,
    ) -> SignedDirectory {
        self.requests += 1;
        let (region, request) = (region.parse().expect("a region"), self.requests);
        self.socket.send(&FromTerminal::Directory { have, part, region, request }).await;
        match self.socket.receive().await {
            Ok(ToTerminal::Directory { signed, request }) if request == self.requests => signed,
            other => panic!("{other:?} instead of a directory"),
        }
    }

    pub async fn want(&mut self, bssid: Bssid, station: MacAddr) {
        self.want_code(bssid, station, None).await;
    }

    /// The same, with keys to seal a code for.
    pub async fn want_code(&mut self, bssid: Bssid, station: MacAddr, offer: Option<Offer>) {
        self.requests += 1;
        let (beacon, request) = (None, self.requests);
        self.socket.send(&FromTerminal::Join { ahead: false, bssid, beacon, offer, request, station }).await;
    }

    /// The same, ahead of time.
    pub async fn reserve(&mut self, bssid: Bssid, station: MacAddr, offer: Option<Offer>) {
        self.requests += 1;
        let (beacon, request) = (None, self.requests);
        self.socket.send(&FromTerminal::Join { ahead: true, bssid, beacon, offer, request, station }).await;
    }

    /// The same, with what the access point announced.
    pub async fn want_after(&mut self, bssid: Bssid, station: MacAddr, beacon: Option<HeardBeacon>) {
        self.requests += 1;
        let (offer, request) = (None, self.requests);
        self.socket.send(&FromTerminal::Join { ahead: false, bssid, beacon, offer, request, station }).await;
    }

    pub async fn answer(&mut self) -> Result<Joined, Refusal> {
        match self.socket.receive().await {
            Ok(ToTerminal::Joined(joined)) if joined.request == self.requests => Ok(joined),
            Ok(ToTerminal::Refused { refusal, request }) if request == self.requests => Err(refusal),
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// Joins, with a gateway that acknowledges.
    pub async fn join(&mut self, gateway: &mut Gateway, bssid: Bssid, station: MacAddr) -> Joined {
        self.want(bssid, station).await;
        let notice = gateway.notice().await;
        assert!(matches!(&notice.body, NoticeBody::Grant(spec) if spec.station == station), "{notice:?}");
        gateway.acknowledge(&notice).await;
        self.answer().await.unwrap()
    }

    pub async fn heartbeat(&mut self, joined: &Joined) {
        self.heartbeat_with(joined, None).await;
    }

    pub async fn heartbeat_with(&mut self, joined: &Joined, next: Option<Duration>) {
        let heartbeat = Heartbeat {
            rx: 1,
            tx: 1,
            next: next.map(Into::into),
            service: joined.service,
            session: joined.session,
            incarnation: joined.incarnation,
        };
        self.socket.send(&FromTerminal::Heartbeat(heartbeat)).await;
    }

    pub async fn leave(&mut self, joined: &Joined) {
        let (session, incarnation) = (joined.session, joined.incarnation);
        self.socket.send(&FromTerminal::Leave { session, incarnation }).await;
    }

    /// The next message within the time.
    pub async fn told(&mut self, time: Duration) -> Option<ToTerminal> {
        match self.socket.receive_within(time).await {
            Ok(message) => Some(message),
            Err(Nothing::Silence) => None,
            Err(other) => panic!("{other:?}"),
        }
    }
}
