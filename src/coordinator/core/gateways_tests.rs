//! What a gateway is told while it says that it holds something else. A link is played by hand: it pulls when the test
//! says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::config::coordinator::Settings;
use crate::coordinator::core::Wanted;
use crate::coordinator::hub::Hub;

use crate::coordinator::store::writer::{Writer, WriterThread};
use crate::coordinator::store::{Change, Loaded, Outcome, Sqlite, Store};
use crate::model::{Bssid, Credential, MacAddr, Secret, Ssid};
use crate::wire::gateway::SharedNetwork;
use crate::wire::hello::Role;
use crate::wire::sign::Identity;

const GATEWAY: PublicKey = PublicKey([1; 32]);
const ANNE: PublicKey = PublicKey([2; 32]);
const BOB: PublicKey = PublicKey([3; 32]);
const BSSID: Bssid = Bssid(MacAddr([2, 0, 0, 0, 0, 1]));
const NOTHING: GrantsDigest = GrantsDigest([0; 16]);

#[test]
fn all_that_is_wanted_is_never_older_than_a_notice_before_it() {
    let mut scene = Scene::start();
    scene.join(ANNE, 1);
    let anne = scene.granted();
    scene.hear(FromGateway::Acknowledge { seq: 1 });

    // Said, and before anything is sent somebody joins.
    scene.hear(FromGateway::Holds { digest: NOTHING });
    scene.join(BOB, 2);
    let bob = scene.granted();
    assert_eq!(scene.told(), [], "what waits for an acknowledgement is not to be contradicted");
    // Once all is quiet the gateway is asked to compare, and is told what is wanted now.
    scene.hear(FromGateway::Acknowledge { seq: 2 });
    let renewed = scene.told();
    assert!(matches!(renewed[..], [Outgoing::Notice(None, NoticeBody::Renew { .. })]), "{renewed:?}");
    scene.hear(FromGateway::Holds { digest: NOTHING });
    assert_eq!(scene.desired(), [anne.id, bob.id].into());

    // The same for somebody who is evicted.
    scene.hear(FromGateway::Holds { digest: NOTHING });
    let session = scene.hub.core().by_pair[&(BOB, GATEWAY)];
    let session = scene.hub.core().entry(session).unwrap().id;
    assert!(scene.hub.core().end(&session, Cause::Owner, scene.now));
    let evicted = scene.told_once_kept();
    assert!(matches!(evicted[..], [Outgoing::Notice(Some(3), NoticeBody::Evict { .. })]), "{evicted:?}");
    scene.hear(FromGateway::Acknowledge { seq: 3 });
    scene.told();
    scene.hear(FromGateway::Holds { digest: NOTHING });
    assert_eq!(scene.desired(), [anne.id].into());
}

#[test]
fn a_join_that_the_gateway_ended_meanwhile_is_not_wanted_again() {
    let mut scene = Scene::start();
    scene.join(ANNE, 1);
    let spec = scene.granted();
    scene.hear(FromGateway::Acknowledge { seq: 1 });
    scene.hear(FromGateway::Holds { digest: NOTHING });
    let report = Report {
        cause: Cause::Quota,
        grant: spec.id,
        moved: Default::default(),
        steps: Vec::new(),
        station: Some(spec.station),
        total_us: 1,
        incarnation: spec.incarnation,
    };
    scene.hear(FromGateway::Evicted { number: 1, report });
    assert_eq!(scene.desired(), BTreeSet::new());
}

#[test]
fn all_that_is_wanted_is_told_before_what_comes_while_it_is() {
    let mut scene = Scene::start();
    // One part more than a link takes at once.
    let many = PULL * PART + 1;
    for number in 0..many as u16 {
        scene.join(terminal(number), number);
    }
    let mut granted = scene.told_once_kept().len();
    while granted < many {
        granted += scene.told().len();
    }
    scene.hear(FromGateway::Acknowledge { seq: many as u64 });
    // Said twice before it is answered.
    scene.hear(FromGateway::Holds { digest: NOTHING });
    scene.hear(FromGateway::Holds { digest: NOTHING });
    let told = scene.desired();
    assert_eq!(told.len(), PULL * PART);
    scene.join(ANNE, many as u16);
    let last = scene.told_once_kept();
    assert!(
        matches!(&last[..], [Outgoing::Notice(None, NoticeBody::Desired { grants, .. })] if grants.len() == 1)
    );
    scene.granted();
    assert_eq!(scene.told(), []);
}

fn terminal(number: u16) -> PublicKey {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    PublicKey(key)
}

struct Scene {
    hub: Arc<Hub>,
    link: u64,
    now: BootTime,
    writer: Option<WriterThread>,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = "public = \"c.example:7443\"\n[limits]\njoins_per_minute = 6000\n";
        let settings = Settings::from_text(&dir.path().join("c.toml"), text).unwrap();
        let mut store = Sqlite::open(dir.path()).unwrap();
        let hash = [1; 32];
        let claim = Change::CreateClaim { hash, role: Role::Gateway, expires: 10, now: 1 };
        let enrol = Change::Enrol { key: GATEWAY, role: Role::Gateway, hash, now: 1 };
        assert_eq!(store.apply(&[claim, enrol]).unwrap(), [Outcome::Done, Outcome::Done]);
        let loaded: Loaded = store.load().unwrap();
        let (writer, thread) = Writer::start(Box::new(store), |error| panic!("{error}")).unwrap();
        let hub = Hub::new(Identity::generate(), settings, writer, loaded);
        let (link, _) = hub.core().gateway_up(GATEWAY).unwrap();
        let now = BootTime::default() + Duration::from_secs(1);
        let mut scene = Self { hub, link, now, writer: Some(thread), _dir: dir };
        let network = SharedNetwork {
            ssid: Ssid::new("cafe").unwrap(),
            codes: false,
            bssids: vec![BSSID],
            credential: Credential::Psk { passphrase: Secret::new("correct horse") },
        };
        scene.hear(FromGateway::Announce(Announce {
            area: None,
            name: "Corner".into(),
            beacon: None,
            service: service_id(GATEWAY),
            tariffs: vec![],
            networks: vec![network],
            announced: vec![],
        }));
        assert!(matches!(scene.told()[..], [Outgoing::Notice(None, NoticeBody::Renew { .. })]));
        scene
    }

    fn hear(&mut self, message: FromGateway) {
        self.hub.core().hear_gateway(GATEWAY, self.link, message, self.now).unwrap();
    }

    fn join(&mut self, terminal: PublicKey, number: u16) {
        let [high, low] = number.to_be_bytes();
        let station = MacAddr([2, 0, 0, 9, high, low]);
        let wanted = Wanted { ahead: false, bssid: BSSID, beacon: None, station, offer: None, request: 1 };
        self.hub.core().join(terminal, wanted, self.now).unwrap();
    }

    /// What the link is given now.
    fn told(&mut self) -> Vec<Outgoing> {
        self.hub.core().outgoing(&GATEWAY, self.link).unwrap()
    }

    /// The same, once the store has told back everything.
    fn told_once_kept(&mut self) -> Vec<Outgoing> {
        let begin = Instant::now();
        while self.hub.core().gateways[&GATEWAY].in_flight > 0 {
            assert!(begin.elapsed() < Duration::from_secs(10), "the store says nothing");
            std::thread::yield_now();
        }
        self.told()
    }

    /// The grant that the link is given now, and nothing beside it.
    fn granted(&mut self) -> GrantSpec {
        match &self.told_once_kept()[..] {
            [Outgoing::Notice(Some(_), NoticeBody::Grant(spec))] => spec.clone(),
            other => panic!("{other:?} instead of a grant"),
        }
    }

    /// All that is wanted, as the link is given it now.
    fn desired(&mut self) -> BTreeSet<GrantId> {
        let (mut found, mut answers) = (BTreeSet::new(), BTreeSet::new());
        for outgoing in self.told() {
            match outgoing {
                Outgoing::Notice(None, NoticeBody::Desired { grants, answer, .. }) => {
                    answers.insert(answer);
                    found.extend(grants.iter().map(|spec| spec.id));
                }
                Outgoing::ReportTaken(_) => {}
                other => panic!("{other:?} instead of all that is wanted"),
            }
        }
        assert!(answers.len() <= 1, "said more than once");
        found
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.join();
        }
    }
}
