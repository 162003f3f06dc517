//! The link against a small coordinator over real TLS and a real WebSocket on loopback.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::keeper::{KeptLink, LinkEvent, NotTaken, Opening, keep};
use super::{CLOSE_DEADLINE, Link, LinkError, Opened, open, open_within};
use crate::model::{BootId, Millis, PublicKey, Secret};
use crate::wire::MAX_FRAME;
use crate::wire::cbor::{decode, encode};
use crate::wire::claim::CoordinatorAddress;
use crate::wire::hello::{Challenge, Hello, LinkNonce, Proof, Role, Verdict};
use crate::wire::sign::{Identity, new_boot_id, random};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_right_key_opens_and_messages_go_both_ways() {
    let server = Server::start().await;
    let identity = Identity::generate();
    let claim = Some(Secret::new("abc"));
    let (client, peer) = tokio::join!(server.open_as(&identity, claim), server.accept());
    let ((mut link, opened), (mut peer, hello)) = (client.unwrap(), peer);
    assert_eq!(opened.nonce, hello.nonce);
    assert_eq!(opened.heartbeat, Millis(7000));
    assert_eq!(hello.hello.claim.unwrap().expose(), "abc");

    link.send(&"up").await.unwrap();
    assert_eq!(peer.hear::<String>().await, "up");
    peer.say(&"down").await;
    assert_eq!(link.receive::<String>().await.unwrap().unwrap(), "down");
}

#[tokio::test]
async fn another_key_is_refused_before_anything_is_said() {
    let server = Server::start().await;
    let pinned = CoordinatorAddress { key: Identity::generate().public(), ..server.address.clone() };
    let accept = server.tls();
    let (client, server) = tokio::join!(open_at(&pinned), accept);
    assert!(matches!(client, Err(LinkError::WrongKey { .. })), "{:?}", client.err());
    assert!(server.is_err(), "the server saw the handshake fail");
}

#[tokio::test]
async fn a_certificate_shown_without_its_key_is_refused() {
    // The certificate of the pinned key, and a signature by another key.
    let (key, thief) = (Identity::generate(), Identity::generate());
    let certificate = certificate_of(&key);
    let server = Server::with(certificate, &thief, key.public()).await;
    let (client, _) = tokio::join!(open_at(&server.address), server.tls());
    assert!(matches!(client, Err(LinkError::WrongKey { .. })), "{:?}", client.err());
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let server = Server::start().await;
    let address = server.address.clone();
    drop(server);
    let error = open_at(&address).await.err().unwrap();
    assert_eq!(error.word(), "unreachable");
    assert!(error.sentence().contains("refused"), "{}", error.sentence());
}

#[tokio::test]
async fn garbage_instead_of_tls_or_of_the_opening_is_an_error() {
    let server = Server::start().await;
    let garbage = async {
        let (mut tcp, _) = server.listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await.unwrap();
        tcp
    };
    let (client, _) = tokio::join!(open_at(&server.address), garbage);
    assert!(matches!(client, Err(LinkError::Tls { .. })), "{:?}", client.err());

    let garbage = async {
        let mut tls = server.tls().await.unwrap();
        tls.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        tls.flush().await.unwrap();
        tls
    };
    let (client, _) = tokio::join!(open_at(&server.address), garbage);
    assert!(
        matches!(&client, Err(LinkError::Foreign { why, .. }) if why.contains("404")),
        "{:?}",
        client.err()
    );

    for frame in [vec![0xff, 0xff], encode(&"no challenge").unwrap(), welcome()] {
        let garbage = async {
            let mut peer = server.socket().await;
            peer.hear::<Hello>().await;
            peer.0.send(Message::Binary(frame.clone().into())).await.unwrap();
            peer
        };
        let (client, _) = tokio::join!(open_at(&server.address), garbage);
        assert!(matches!(client, Err(LinkError::Foreign { .. })), "{frame:?}: {:?}", client.err());
    }
}

#[tokio::test]
async fn a_malformed_frame_leaves_the_link_and_an_oversized_one_does_not() {
    let server = Server::start().await;
    let ((mut link, _), mut peer) = server.link().await;
    peer.0.send(Message::Binary(vec![0xff].into())).await.unwrap();
    peer.0.send(Message::Text("text".into())).await.unwrap();
    peer.0.send(Message::Ping(b"ping".as_slice().into())).await.unwrap();
    peer.say(&"good").await;
    assert!(matches!(link.receive::<String>().await, Err(LinkError::Malformed(_))));
    assert!(matches!(link.receive::<String>().await, Err(LinkError::Malformed(_))));
    assert_eq!(link.receive::<String>().await.unwrap().unwrap(), "good");
    // The ping was answered.
    let waiting = link.receive::<String>();
    let pong = async {
        loop {
            if let Message::Pong(octets) = peer.0.next().await.unwrap().unwrap() {
                return octets;
            }
        }
    };
    tokio::select! {
        _ = waiting => panic!("nothing was said"),
        octets = pong => assert_eq!(octets.as_ref(), b"ping"),
    }
    assert!(matches!(link.send(&"a".repeat(MAX_FRAME)).await, Err(LinkError::NotSent(_))));
    link.send(&"still here").await.unwrap();
    assert_eq!(peer.hear::<String>().await, "still here");

    peer.0.send(Message::Binary(vec![0; MAX_FRAME + 1].into())).await.unwrap();
    assert!(matches!(link.receive::<String>().await, Err(LinkError::Oversized)));
}

#[tokio::test]
async fn a_refusal_brings_its_word_and_when_to_come_back() {
    let server = Server::start().await;
    for (retry_after, early) in [(Some(Millis(5000)), true), (None, false)] {
        let refusing = async {
            let mut peer = server.socket().await;
            peer.hear::<Hello>().await;
            if !early {
                peer.say(&Challenge { nonce: LinkNonce(BootId(random())) }).await;
                peer.hear::<Proof>().await;
            }
            let verdict = Verdict::Refused { word: "busy".into(), sentence: "too many".into(), retry_after };
            peer.say(&verdict).await;
        };
        let (client, ()) = tokio::join!(open_at(&server.address), refusing);
        let Err(LinkError::Refused { word, sentence, retry_after: found }) = client else {
            panic!("{:?}", client.err())
        };
        assert_eq!((word.as_str(), sentence.as_str()), ("busy", "too many"));
        assert_eq!(found, retry_after.map(Duration::from));
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_at_the_deadline() {
    let server = Server::start().await;
    let identity = Identity::generate();
    let open = || {
        let deadline = Duration::from_millis(200);
        open_within(deadline, &server.address, &identity, Role::Gateway, new_boot_id(), None)
    };
    // It accepts TCP, by the kernel's backlog, and says nothing.
    assert_eq!(open().await.err().unwrap().word(), "slow");
    drop(server.listener.accept().await.unwrap());
    // It takes the hello and says nothing.
    let (client, _peer) = tokio::join!(open(), server.socket());
    assert_eq!(client.err().unwrap().word(), "slow");
}

#[tokio::test]
async fn a_close_returns_when_the_peer_has_read_everything() {
    let server = Server::start().await;
    let ((mut link, _), mut peer) = server.link().await;
    link.send(&"last words").await.unwrap();
    let reading = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(peer.hear::<String>().await, "last words");
        let read = tokio::time::Instant::now();
        assert!(matches!(peer.0.next().await, Some(Ok(Message::Close(_)))));
        let _ = peer.0.next().await;
        read
    };
    let closing = async {
        link.close().await;
        tokio::time::Instant::now()
    };
    let (read, closed) = tokio::join!(reading, closing);
    assert!(closed >= read);
    assert!(closed.duration_since(read) < CLOSE_DEADLINE, "by the peer's word, not by the deadline");
}

#[tokio::test]
async fn a_keeper_comes_back_and_sends_nothing_of_an_older_link() {
    let server = Server::start().await;
    let mut kept = server.keep(|stood, not_before| {
        assert_eq!(not_before, None);
        assert!(stood < SOON);
        Duration::from_millis(10)
    });
    assert_eq!(kept.send("too early".into()), Err(NotTaken::Down));

    let (mut peer, first) = server.accept().await;
    assert_eq!(first.hello.claim.unwrap().expose(), "once");
    let nonce = up(&mut kept).await;
    assert_eq!(nonce, first.nonce);
    kept.send("one".into()).unwrap();
    assert_eq!(peer.hear::<String>().await, "one");
    peer.0.send(Message::Binary(vec![0xff].into())).await.unwrap();
    peer.say(&"two").await;
    assert!(matches!(next(&mut kept).await, LinkEvent::Malformed { .. }));
    assert!(matches!(next(&mut kept).await, LinkEvent::Message(text) if text == "two"));

    // The link breaks. The owner has not heard of it and speaks on.
    drop(peer);
    let (mut peer, second) = server.accept().await;
    assert!(second.hello.claim.is_none(), "a claim code is sent until a link stood");
    kept.send("stale".into()).unwrap();
    assert!(matches!(next(&mut kept).await, LinkEvent::Down { .. }));
    assert_eq!(kept.send("down".into()), Err(NotTaken::Down));
    assert_eq!(up(&mut kept).await, second.nonce);
    kept.send("fresh".into()).unwrap();
    assert_eq!(peer.hear::<String>().await, "fresh");
}

#[tokio::test]
async fn a_keeper_asks_its_pace_and_can_be_hurried() {
    let server = Server::start().await;
    let mut kept = server.keep(|stood, not_before| {
        assert_eq!((stood, not_before), (Duration::ZERO, Some(Duration::from_secs(600))));
        Duration::from_secs(3600)
    });
    let mut peer = server.socket().await;
    peer.hear::<Hello>().await;
    let retry_after = Some(Millis(600_000));
    peer.say(&Verdict::Refused { word: "busy".into(), sentence: "later".into(), retry_after }).await;
    let LinkEvent::Down { word, retry_in, .. } = next(&mut kept).await else { panic!("not down") };
    assert_eq!((word.as_str(), retry_in), ("busy", Duration::from_secs(3600)));
    kept.hurry();
    let (_peer, _) = timeout(SOON, server.accept()).await.unwrap();
    up(&mut kept).await;
}

#[tokio::test]
async fn what_was_said_before_closing_is_heard() {
    let server = Server::start().await;
    let mut kept = server.keep(|_, _| Duration::ZERO);
    let (mut peer, _) = server.accept().await;
    up(&mut kept).await;
    for _ in 0..200 {
        kept.send("leave".into()).unwrap();
    }
    let reading = async {
        for _ in 0..200 {
            assert_eq!(peer.hear::<String>().await, "leave");
        }
        assert!(matches!(peer.0.next().await, Some(Ok(Message::Close(_)))));
        let _ = peer.0.next().await;
    };
    tokio::join!(kept.close(SOON), reading);
}

#[tokio::test]
async fn both_sides_full_of_messages_do_not_block_each_other() {
    let server = Server::start().await;
    let mut kept = server.keep(|_, _| Duration::ZERO);
    let (mut peer, _) = server.accept().await;
    up(&mut kept).await;
    let long = "x".repeat(12_000);
    for _ in 0..kept.room() {
        kept.send(long.clone()).unwrap();
    }
    assert_eq!(kept.send(long.clone()), Err(NotTaken::Full));
    // 12 MB each way; the peer reads nothing before it has said everything.
    let talking = async {
        for _ in 0..1000 {
            peer.say(&long).await;
        }
        for _ in 0..1000 {
            peer.hear::<String>().await;
        }
    };
    let listening = async {
        for _ in 0..1000 {
            assert!(matches!(next(&mut kept).await, LinkEvent::Message(_)));
        }
    };
    timeout(6 * SOON, async { tokio::join!(talking, listening) }).await.unwrap();
}

struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    address: CoordinatorAddress,
}

struct Greeted {
    hello: Hello,
    nonce: LinkNonce,
}

struct Peer(WebSocketStream<TlsStream<TcpStream>>);

impl Server {
    async fn start() -> Self {
        let identity = Identity::generate();
        Self::with(certificate_of(&identity), &identity, identity.public()).await
    }

    async fn with(certificate: Vec<u8>, signer: &Identity, pinned: PublicKey) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signer.pkcs8().to_vec()));
        let signing = provider.key_provider.load_private_key(key).unwrap();
        let certified = rustls::sign::CertifiedKey::new(vec![certificate.into()], signing);
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let address = CoordinatorAddress::new(&host, pinned).unwrap();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), address }
    }

    async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let (tcp, _) = self.listener.accept().await?;
        self.acceptor.accept(tcp).await
    }

    async fn socket(&self) -> Peer {
        let tls = self.tls().await.unwrap();
        Peer(tokio_tungstenite::accept_async(tls).await.unwrap())
    }

    async fn accept(&self) -> (Peer, Greeted) {
        let mut peer = self.socket().await;
        let hello: Hello = peer.hear().await;
        let nonce = LinkNonce(BootId(random()));
        peer.say(&Challenge { nonce }).await;
        peer.hear::<Proof>().await.check(&hello, nonce, self.address.key).unwrap();
        peer.0.send(Message::Binary(welcome().into())).await.unwrap();
        (peer, Greeted { hello, nonce })
    }

    async fn open_as(&self, identity: &Identity, claim: Option<Secret>) -> Result<(Link, Opened), LinkError> {
        open(&self.address, identity, Role::Gateway, new_boot_id(), claim).await
    }

    async fn link(&self) -> ((Link, Opened), Peer) {
        let (client, (peer, _)) = tokio::join!(open_at(&self.address), self.accept());
        (client.unwrap(), peer)
    }

    fn keep(
        &self,
        pace: impl FnMut(Duration, Option<Duration>) -> Duration + Send + 'static,
    ) -> KeptLink<String, String> {
        let opening = Opening {
            address: self.address.clone(),
            identity: Arc::new(Identity::generate()),
            role: Role::Terminal,
            boot: new_boot_id(),
            claim: Some(Secret::new("once")),
        };
        keep(opening, pace)
    }
}

impl Peer {
    async fn hear<T: serde::de::DeserializeOwned>(&mut self) -> T {
        loop {
            match self.0.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => return decode(&bytes).unwrap(),
                Message::Pong(_) => continue,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn say<T: Serialize>(&mut self, message: &T) {
        self.0.send(Message::Binary(encode(message).unwrap().into())).await.unwrap();
    }
}

async fn open_at(address: &CoordinatorAddress) -> Result<(Link, Opened), LinkError> {
    open(address, &Identity::generate(), Role::Gateway, new_boot_id(), None).await
}

async fn next(kept: &mut KeptLink<String, String>) -> LinkEvent<String> {
    timeout(SOON, kept.next()).await.unwrap()
}

async fn up(kept: &mut KeptLink<String, String>) -> LinkNonce {
    match next(kept).await {
        LinkEvent::Up { nonce, .. } => nonce,
        other => panic!("{other:?}"),
    }
}

fn welcome() -> Vec<u8> {
    encode(&Verdict::Welcome { heartbeat: Millis(7000) }).unwrap()
}

/// As the coordinator makes it, dated in the future as seen from 1970.
fn certificate_of(identity: &Identity) -> Vec<u8> {
    let key = rcgen::KeyPair::try_from(identity.pkcs8()).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["another.name".into()]).unwrap();
    certificate.self_signed(&key).unwrap().der().to_vec()
}
