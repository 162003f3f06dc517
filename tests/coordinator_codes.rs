//! Sealed codes as the coordinator relays them: what it hands on, what it keeps, what it refuses.
//!
//! Gateways and terminals are written by hand (`support/link_client.rs`); real ones on the air: `hwsim/sealed_code`.
#![cfg(feature = "coordinator")]
#![allow(clippy::unwrap_used)]

#[path = "support/coordinator.rs"]
#[allow(dead_code)]
mod harness;
#[path = "support/link_client.rs"]
#[allow(dead_code)]
mod link_client;

use std::path::Path;
use std::time::Duration;

use harness::*;
use link_client::{Gateway, SOON, Terminal, bssid, ssid, station};
use wayleave::model::{
    Cause, Code, CodeAsk, Credential, GrantSpec, GrantsDigest, Holder, Incarnation, Millis, OfferedKey,
    Refusal, Secret,
};
use wayleave::wire::gateway::{BY_CODE, CodeAnswer, FromGateway, SharedNetwork, ToGateway, grants_digest};
use wayleave::wire::hello::Role;
use wayleave::wire::notice::{Notice, NoticeBody};
use wayleave::wire::seal::{Asking, Binding, OfferedTo, seal};
use wayleave::wire::sign::{Identity, service_id};
use wayleave::wire::terminal::ToTerminal;

const BRIEFLY: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_sealed_code_is_relayed_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::start(dir.path(), Credential::Open).await;
    let (asking, notice) = scene.ask().await;
    let spec = granted(&notice);
    let code = Code::new([0xc5; 32]);
    let answer = scene.sealed(spec, &code);
    let CodeAnswer::Sealed(sealed) = &answer else { panic!() };
    let (ciphertext, grant) = (sealed.ciphertext.clone(), spec.id);
    let (mut other, _) = scene.coordinator.gateway(2).await;
    scene.code(spec, answer, Incarnation(1)).await;
    // From another gateway, and for another join, one does not count: it would take the place of the true one.
    let false_one = scene.sealed(spec, &Code::new([0xfa; 32]));
    other
        .socket
        .send(&FromGateway::Code { grant, answer: false_one.clone(), incarnation: Incarnation(1) })
        .await;
    // Until it was read, as whatever it says after it.
    other.announce("read", bssid(3)).await;
    let mut asking_too = Terminal::up(scene.coordinator.door, &Identity::generate()).await;
    until(async || asking_too.ask(&[(bssid(3), "read")]).await.len() == 1).await;
    scene.code(spec, false_one, Incarnation(2)).await;
    assert_eq!(scene.terminal.told(BRIEFLY).await, None, "it is not acknowledged yet");
    scene.gateway.acknowledge(&notice).await;
    let joined = scene.terminal.answer().await.unwrap();
    assert_eq!(joined.credential, Credential::Open);
    let opened = asking.open(&joined.code.clone().unwrap(), joined.session, joined.incarnation);
    assert_eq!(opened, Ok(code.clone()));
    scene.terminal.heartbeat(&joined).await;
    until(async || state_of(dir.path(), &joined.session).as_deref() == Some("active")).await;

    // The next join has another key and another code; the grant is the same.
    let (asking, notice) = scene.ask().await;
    let spec = granted(&notice);
    assert_eq!((spec.id, spec.incarnation), (grant, Incarnation(2)));
    let next = Code::new([0xc6; 32]);
    scene.code(spec, scene.sealed(spec, &next), Incarnation(2)).await;
    scene.gateway.acknowledge(&notice).await;
    let again = scene.terminal.answer().await.unwrap();
    assert_eq!(asking.open(&again.code.unwrap(), again.session, again.incarnation), Ok(next.clone()));

    // What is on disk while it runs, and after it has closed everything.
    for _ in 0..2 {
        assert!(holds(dir.path(), &grant.0), "its files are looked at");
        for code in [&code, &next] {
            let digits = code.digits().expose().to_owned();
            for secret in [code.expose().as_slice(), digits.as_bytes(), digits.to_uppercase().as_bytes()] {
                assert!(!holds(dir.path(), secret), "a code is kept");
            }
        }
        assert!(!holds(dir.path(), &ciphertext), "a sealed code is kept");
        scene.coordinator.finish();
    }
}

#[tokio::test]
async fn who_offers_no_key_is_refused_where_only_codes_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::start(dir.path(), Credential::Open).await;
    scene.terminal.want(bssid(1), station(1)).await;
    let refusal = scene.terminal.answer().await.unwrap_err();
    assert_eq!(refusal.word, "no-offer");
    // More than anybody needs is not handed on.
    let mut offer = scene.asking().offer(&scene.identity);
    offer.keys = vec![OfferedKey { key: vec![0; 32], algorithm: "a".into() }; 5];
    scene.terminal.want_code(bssid(1), station(1), Some(offer)).await;
    assert_eq!(scene.terminal.answer().await.unwrap_err().word, "bad-offer");
    assert_eq!(scene.gateway.notice_within(BRIEFLY).await, None);

    // Where a passphrase opens it as well, an older terminal gets that, and a newer one its code.
    let credential = Credential::Psk { passphrase: Secret::new("correct horse") };
    let network = SharedNetwork { ssid: ssid("both"), ..network(credential.clone()) };
    scene.gateway.share(None, network).await;
    until(async || scene.terminal.ask(&[(bssid(1), "both")]).await.len() == 1).await;
    let joined = scene.terminal.join(&mut scene.gateway, bssid(1), station(1)).await;
    assert_eq!((joined.credential, joined.code), (credential, None));
    let (asking, notice) = scene.ask().await;
    let code = Code::new([7; 32]);
    scene.code(granted(&notice), scene.sealed(granted(&notice), &code), Incarnation(2)).await;
    scene.gateway.acknowledge(&notice).await;
    let joined = scene.terminal.answer().await.unwrap();
    assert_eq!(asking.open(&joined.code.unwrap(), joined.session, joined.incarnation), Ok(code));
}

#[tokio::test]
async fn a_gateway_that_makes_no_code_says_why_to_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::start(dir.path(), Credential::Open).await;
    let (_, notice) = scene.ask().await;
    let why = Refusal::new("no-common-algorithm", "none\nof those");
    scene.code(granted(&notice), CodeAnswer::Refused(why), Incarnation(1)).await;
    let refusal = scene.terminal.answer().await.unwrap_err();
    assert_eq!(
        (refusal.word.as_str(), refusal.sentence.as_str()),
        ("no-common-algorithm", "none\u{fffd}of those")
    );
    assert!(matches!(scene.terminal.told(SOON).await, Some(ToTerminal::Over { .. })));
    scene.gateway.acknowledge(&notice).await;
    // Nothing is left: neither a session nor anything wanted.
    scene.gateway.socket.send(&FromGateway::Holds { digest: GrantsDigest([9; 16]) }).await;
    let NoticeBody::Desired { grants, .. } = scene.gateway.notice().await.body else { panic!() };
    assert_eq!(grants, []);

    // One too long to be relayed is as good as none.
    let (_, notice) = scene.ask().await;
    let spec = granted(&notice).clone();
    let CodeAnswer::Sealed(mut sealed) = scene.sealed(&spec, &Code::new([7; 32])) else { panic!() };
    sealed.ciphertext = vec![0; 15_000];
    scene.code(&spec, CodeAnswer::Sealed(sealed), Incarnation(1)).await;
    assert_eq!(scene.terminal.answer().await.unwrap_err().word, "bad-seal");
    assert!(matches!(scene.terminal.told(SOON).await, Some(ToTerminal::Over { .. })));
    scene.gateway.acknowledge(&notice).await;

    // An acknowledgement without a code: the answer was lost.
    let (_, notice) = scene.ask().await;
    assert_eq!(granted(&notice).incarnation, Incarnation(1), "another session");
    scene.gateway.acknowledge(&notice).await;
    assert_eq!(scene.terminal.answer().await.unwrap_err().word, "code-lost");
    assert_eq!(eviction(&scene.gateway.notice().await).0, Cause::NeverJoined);
}

#[tokio::test]
async fn a_session_by_code_is_known_as_one_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut scene = Scene::start(dir.path(), Credential::Open).await;
    let (_, notice) = scene.ask().await;
    let spec = granted(&notice).clone();
    scene.code(&spec, scene.sealed(&spec, &Code::new([7; 32])), Incarnation(1)).await;
    scene.gateway.acknowledge(&notice).await;
    let joined = scene.terminal.answer().await.unwrap();
    scene.terminal.heartbeat(&joined).await;
    until(async || state_of(dir.path(), &joined.session).as_deref() == Some("active")).await;
    let Scene { coordinator, gateway_identity, identity, .. } = scene;
    coordinator.stop();

    let coordinator = Coordinator::start(dir.path(), LONG);
    let mut gateway = Gateway::connect(coordinator.door, &gateway_identity, None).await.unwrap();
    gateway.share(None, network(Credential::Open)).await;
    let mut terminal = Terminal::up(coordinator.door, &identity).await;
    terminal.heartbeat(&joined).await;
    // Whoever is its station by now: that is the gateway's to know.
    let digest = grants_digest([(spec.id, Incarnation(1), BY_CODE, None)]);
    let ToGateway::Notice(signed) = gateway.message().await else { panic!() };
    assert!(matches!(gateway.open(&signed).body, NoticeBody::Renew { digest: found, .. } if found == digest));
    gateway.socket.send(&FromGateway::Holds { digest }).await;
    assert_eq!(gateway.notice_within(BRIEFLY).await, None, "nobody is evicted, nothing is sent again");
    // One that lost it is told that it has had a code, and cannot be given it again.
    gateway.socket.send(&FromGateway::Holds { digest: grants_digest([]) }).await;
    let NoticeBody::Desired { grants, .. } = gateway.notice().await.body else { panic!() };
    assert_eq!(grants.iter().map(|spec| spec.code.as_deref()).collect::<Vec<_>>(), [Some(&CodeAsk::Made)]);
    let lost = report(Cause::CodeLost, spec.id, Incarnation(1));
    gateway.socket.send(&FromGateway::Evicted { number: 1, report: lost }).await;
    let over = terminal.told(SOON).await.unwrap();
    assert!(matches!(over, ToTerminal::Over { cause: Some(Cause::CodeLost), .. }), "{over:?}");
}

/// Silence is not what these are about.
const LONG: &str = "[heartbeat]\ninterval = \"1h\"\n[limits]\njoins_per_minute = 6000\n";

#[tokio::test]
async fn a_code_is_given_ahead_of_time_to_who_is_entitled() {
    let dir = tempfile::tempdir().unwrap();
    let more = format!("{LONG}[patience]\nahead = \"2s\"\n");
    let mut scene = Scene::with(dir.path(), &more, Credential::Open).await;
    // Anybody may join who is near; who is not, is to be somebody.
    let asking = scene.asking();
    scene.terminal.reserve(bssid(1), station(1), Some(asking.offer(&scene.identity))).await;
    assert_eq!(scene.terminal.answer().await.unwrap_err().word, "not-entitled");
    let claim = scene.coordinator.claim("terminal");
    let (socket, ..) =
        link_client::link(scene.coordinator.door, &scene.identity, Role::Terminal, Some(&claim))
            .await
            .unwrap();
    scene.terminal = Terminal::on(socket, &scene.identity);

    let asking = scene.asking();
    scene.terminal.reserve(bssid(1), station(1), Some(asking.offer(&scene.identity))).await;
    let notice = scene.gateway.notice().await;
    let code = Code::new([7; 32]);
    scene.code(granted(&notice), scene.sealed(granted(&notice), &code), Incarnation(1)).await;
    scene.gateway.acknowledge(&notice).await;
    let joined = scene.terminal.answer().await.unwrap();
    assert_eq!(joined.ahead, Some(Millis(2_000)));
    assert_eq!(asking.open(&joined.code.clone().unwrap(), joined.session, joined.incarnation), Ok(code));
    let state = || state_of(dir.path(), &joined.session);
    until(async || state().as_deref() == Some("reserved")).await;

    // It comes, whoever was asked: the first heartbeat makes it a session like any other.
    scene.terminal.heartbeat(&joined).await;
    until(async || state().as_deref() == Some("active")).await;
    let asking = scene.asking();
    scene.terminal.reserve(bssid(1), station(1), Some(asking.offer(&scene.identity))).await;
    assert_eq!(scene.terminal.answer().await.unwrap_err().word, "session-stands");
    scene.terminal.leave(&joined).await;
    let left = scene.gateway.notice().await;
    assert_eq!(eviction(&left).0, Cause::Left);
    scene.gateway.acknowledge(&left).await;
    until(async || state().is_none()).await;

    // Nobody comes: it ends, also over a restart of the coordinator.
    let asking = scene.asking();
    scene.terminal.reserve(bssid(1), station(1), Some(asking.offer(&scene.identity))).await;
    let notice = scene.gateway.notice().await;
    scene.code(granted(&notice), scene.sealed(granted(&notice), &Code::new([8; 32])), Incarnation(1)).await;
    scene.gateway.acknowledge(&notice).await;
    let joined = scene.terminal.answer().await.unwrap();
    until(async || state_of(dir.path(), &joined.session).as_deref() == Some("reserved")).await;
    scene.coordinator.finish();
    scene.coordinator = Coordinator::start(dir.path(), &more);
    assert_eq!(state_of(dir.path(), &joined.session).as_deref(), Some("reserved"));
    scene.gateway = Gateway::connect(scene.coordinator.door, &scene.gateway_identity, None).await.unwrap();
    scene.gateway.share(None, network(Credential::Open)).await;
    let over = scene.gateway.notice().await;
    assert_eq!(eviction(&over).0, Cause::NeverJoined);

    // Nothing else is given ahead of time, and nothing where the owner of the coordinator wants none.
    scene.gateway.acknowledge(&over).await;
    let credential = Credential::Psk { passphrase: Secret::new("correct horse") };
    let plain = SharedNetwork { ssid: ssid("plain"), codes: false, ..network(credential) };
    scene.gateway.share(None, plain).await;
    let mut terminal = Terminal::up(scene.coordinator.door, &scene.identity).await;
    until(async || terminal.ask(&[(bssid(1), "plain")]).await.len() == 1).await;
    let offer = scene.asking().offer(&scene.identity);
    terminal.reserve(bssid(1), station(1), Some(offer)).await;
    assert_eq!(terminal.answer().await.unwrap_err().word, "no-code-network");
    scene.coordinator.finish();
    let never = more.replace("\"2s\"", "\"0ms\"");
    scene.coordinator = Coordinator::start(dir.path(), &never);
    let mut gateway = Gateway::connect(scene.coordinator.door, &scene.gateway_identity, None).await.unwrap();
    gateway.share(None, network(Credential::Open)).await;
    let mut terminal = Terminal::up(scene.coordinator.door, &scene.identity).await;
    until(async || terminal.ask(&[(bssid(1), "codes")]).await.len() == 1).await;
    let offer = scene.asking().offer(&scene.identity);
    terminal.reserve(bssid(1), station(1), Some(offer)).await;
    assert_eq!(terminal.answer().await.unwrap_err().word, "not-ahead");
}

/// A gateway whose network codes open, and a terminal that has asked about it.
struct Scene {
    coordinator: Coordinator,
    gateway: Gateway,
    gateway_identity: Identity,
    terminal: Terminal,
    identity: Identity,
}

impl Scene {
    async fn start(dir: &Path, credential: Credential) -> Self {
        Self::with(dir, LONG, credential).await
    }

    async fn with(dir: &Path, more: &str, credential: Credential) -> Self {
        let coordinator = Coordinator::start(dir, more);
        let (mut gateway, gateway_identity) = coordinator.gateway(1).await;
        gateway.share(None, network(credential)).await;
        let identity = Identity::generate();
        let mut terminal = Terminal::up(coordinator.door, &identity).await;
        until(async || terminal.ask(&[(bssid(1), "codes")]).await.len() == 1).await;
        Self { coordinator, gateway, gateway_identity, terminal, identity }
    }

    fn to(&self) -> OfferedTo {
        OfferedTo { bssid: bssid(1), service: service_id(self.gateway.key), station: station(1) }
    }

    fn asking(&self) -> Asking {
        Asking::new(self.to())
    }

    /// The terminal asks to join; the notice that comes of it.
    async fn ask(&mut self) -> (Asking, Notice) {
        let asking = self.asking();
        self.terminal.want_code(bssid(1), station(1), Some(asking.offer(&self.identity))).await;
        (asking, self.gateway.notice().await)
    }

    /// A code as the gateway seals it; the coordinator has changed nothing in the offer.
    fn sealed(&self, spec: &GrantSpec, code: &Code) -> CodeAnswer {
        let Some(CodeAsk::Make { bssid, offer }) = spec.code.as_deref() else { panic!("{spec:?}") };
        let Holder::Terminal { key, session } = spec.holder else { panic!("{spec:?}") };
        let to = OfferedTo { bssid: *bssid, station: spec.station, ..self.to() };
        let binding = Binding { to, session, incarnation: spec.incarnation };
        CodeAnswer::Sealed(Box::new(seal(code, offer, key, &binding, &self.gateway_identity).unwrap()))
    }

    async fn code(&mut self, spec: &GrantSpec, answer: CodeAnswer, incarnation: Incarnation) {
        self.gateway.socket.send(&FromGateway::Code { grant: spec.id, answer, incarnation }).await;
    }
}

fn network(credential: Credential) -> SharedNetwork {
    SharedNetwork { ssid: ssid("codes"), codes: true, bssids: vec![bssid(1)], credential }
}

fn granted(notice: &Notice) -> &GrantSpec {
    match &notice.body {
        NoticeBody::Grant(spec) => spec,
        other => panic!("{other:?} instead of a grant"),
    }
}

/// Whether any file in a directory, or below, holds these octets.
fn holds(dir: &Path, wanted: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, wanted),
            false => {
                std::fs::read(&path).is_ok_and(|bytes| bytes.windows(wanted.len()).any(|part| part == wanted))
            }
        }
    })
}
