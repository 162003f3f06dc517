//! A purchase through the whole coordinator: its store, its links, and a real provider that misbehaves; and the power is lost at
//! every step, one after the other. Gateway and terminal are played by hand.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::*;
use crate::config::coordinator::Settings;
use crate::coordinator::core::{Outgoing, Wanted};
use crate::coordinator::hub::Hub;
use crate::coordinator::payments::payd::{KEY, Misbehaviour, Payd, WEBHOOK_SECRET};
use crate::coordinator::store::writer::{Writer, WriterThread};
use crate::coordinator::store::{Sqlite, Store};
use crate::coordinator::trade::{pay, webhook};
use crate::model::trade::{FeeOffer, Limits, Pricing, Rounding};
use crate::model::{Bssid, Credential, MacAddr, Millis, Ssid};
use crate::wire::gateway::{Announce, FromGateway, SharedNetwork};
use crate::wire::hello::Role;
use crate::wire::ledger::Verifier;
use crate::wire::sign::{Identity, service_id};
use crate::wire::trade::SignedFee;

const ANNE: PublicKey = PublicKey([2; 32]);
const BSSID: Bssid = Bssid(MacAddr([2, 0, 0, 0, 0, 1]));
const BYTES: u64 = 1_500_000;
const PRICE: u64 = 150;

/// How the buyer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buyer {
    Pays,
    /// Pays, and never comes.
    StaysAway,
    /// Looks at the page and closes it.
    Leaves,
}

struct World {
    hub: Arc<Hub>,
    writer: Option<WriterThread>,
    link: u64,
    told: mpsc::Receiver<Box<ToTerminal>>,
    /// What the gateway enforces for the terminal.
    enforced: Option<Option<u64>>,
    offset: Duration,
    buyer: Buyer,
    last: Option<State>,
}

fn identity() -> Identity {
    static PKCS8: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let document = PKCS8.get_or_init(|| Identity::generate().pkcs8().to_vec());
    Identity::from_pkcs8(document).unwrap()
}

fn settings(dir: &Path, payd: &Payd) -> Settings {
    std::fs::write(dir.join("key"), KEY).unwrap();
    std::fs::write(dir.join("secret"), WEBHOOK_SECRET).unwrap();
    let text = format!(
        "public = \"c.example:7443\"\n[limits]\njoins_per_minute = 6000\n[stripe]\nkey_file = {:?}\n\
         webhook_secret_file = {:?}\nreturn_url = \"https://corner.example/\"\nbase = {:?}\n",
        dir.join("key"),
        dir.join("secret"),
        payd.url()
    );
    Settings::from_text(&dir.join("c.toml"), &text).unwrap()
}

fn tariff() -> Tariff {
    Tariff {
        id: "volume".parse().unwrap(),
        limits: Limits::default(),
        pricing: Pricing::PerBytes { bytes: 10_000, price: "0.01 EUR".parse().unwrap() },
        rounding: Rounding::Up,
    }
}

impl World {
    fn begin(dir: &Path, payd: &Payd, buyer: Buyer) -> Self {
        let mut store = Sqlite::open(dir).unwrap();
        let (key, hash) = (identity().public(), [1; 32]);
        let claim = Change::CreateClaim { hash, role: Role::Gateway, expires: 10, now: 1 };
        store.apply(&[claim, Change::Enrol { key, role: Role::Gateway, hash, now: 1 }]).unwrap();
        drop(store);
        Self::open(dir, payd, buyer, None, Duration::from_secs(1))
    }

    fn open(dir: &Path, payd: &Payd, buyer: Buyer, enforced: Option<Option<u64>>, offset: Duration) -> Self {
        let mut store = Sqlite::open(dir).unwrap();
        let loaded = store.load().unwrap();
        let (writer, thread) = Writer::start(Box::new(store), |error| panic!("{error}")).unwrap();
        let hub = Hub::new(Identity::generate(), settings(dir, payd), writer, loaded);
        let key = identity().public();
        let (link, _) = hub.core().gateway_up(key).unwrap();
        let (_, told) = hub.core().terminal_up(ANNE, clock::now()).unwrap();
        let mut world = Self { hub, writer: Some(thread), link, told, enforced, offset, buyer, last: None };
        let network = SharedNetwork {
            ssid: Ssid::new("cafe").unwrap(),
            codes: false,
            bssids: vec![BSSID],
            credential: Credential::Open,
        };
        world.hear(FromGateway::Announce(Announce {
            area: None,
            name: "Corner".into(),
            beacon: None,
            service: service_id(key),
            tariffs: vec![tariff()],
            announced: Vec::new(),
            networks: vec![network],
        }));
        world
    }

    fn hear(&mut self, message: FromGateway) {
        let now = clock::now();
        self.hub.core().hear_gateway(identity().public(), self.link, message, now).unwrap();
    }

    fn is_dead(&self) -> bool {
        self.hub.core().trade.fuse == Some(0)
    }

    /// Whatever was begun is done.
    fn quiet(&self, runtime: &Runtime) {
        let begin = Instant::now();
        let busy = || {
            let core = self.hub.core();
            let stores = core.gateways.values().any(|gateway| gateway.in_flight > 0);
            let keeps = core.trade.deals.values().any(|deal| deal.keeping) && core.trade.fuse != Some(0);
            stores || keeps || runtime.metrics().num_alive_tasks() > 0
        };
        // Once more: what is done may have begun something.
        let mut calm = 0;
        while calm < 3 {
            calm = if busy() { 0 } else { calm + 1 };
            assert!(begin.elapsed() < Duration::from_secs(20), "it does not come to rest");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn gateway_acts(&mut self) {
        let outgoing = self.hub.core().outgoing(&identity().public(), self.link).unwrap();
        for outgoing in outgoing {
            let Outgoing::Notice(seq, body) = outgoing else { continue };
            match body {
                NoticeBody::Bid(bid) => {
                    let cost = tariff().cost(&bid.want).unwrap();
                    let offer = FeeOffer {
                        price: cost.price,
                        valid: Millis(80_000_000),
                        tariff: bid.tariff,
                        service: service_id(identity().public()),
                        purchase: bid.purchase,
                        terminal: bid.terminal,
                        allowance: cost.allowance,
                    };
                    let answer = BidAnswer::Offered(SignedFee::new(&identity(), &offer).unwrap());
                    self.hear(FromGateway::Bid { answer, purchase: bid.purchase });
                }
                NoticeBody::Grant(spec) => self.enforced = Some(spec.quota),
                NoticeBody::Evict { .. } => self.enforced = None,
                _ => {}
            }
            if let Some(seq) = seq {
                self.hear(FromGateway::Acknowledge { seq });
            }
        }
    }

    fn terminal_acts(&mut self, payd: &Payd) {
        let now = clock::now();
        while let Ok(message) = self.told.try_recv() {
            let ToTerminal::Purchase(view) = *message else { continue };
            self.last = Some(view.state);
            if view.state == State::Offered {
                // Twice, as a person does who sees nothing happen.
                for _ in 0..2 {
                    let _ = pay(&self.hub, Some(ANNE), view.purchase, Means::Stripe, None, now);
                }
            }
            if view.page.is_some() && self.buyer != Buyer::Leaves {
                payd.buyer_pays(&view.purchase.to_string());
            }
        }
        let joined = self.hub.core().by_pair.contains_key(&(ANNE, identity().public()));
        if !joined && self.buyer == Buyer::Pays {
            let station = MacAddr([2, 0, 0, 9, 0, 1]);
            let wanted =
                Wanted { ahead: false, bssid: BSSID, beacon: None, station, offer: None, request: 1 };
            let joined = self.hub.core().join(ANNE, wanted, now);
            let bought = self.hub.core().allowance(ANNE, identity().public()).is_some();
            assert_eq!(joined.is_ok(), bought, "{joined:?}");
        }
    }

    fn round(&mut self, runtime: &Runtime, payd: &Payd) {
        self.gateway_acts();
        self.quiet(runtime);
        self.terminal_acts(payd);
        self.quiet(runtime);
        for (headers, body) in payd.due(clock::calendar()) {
            let _ = runtime.block_on(webhook(&self.hub, &headers, &body));
        }
        self.quiet(runtime);
        self.offset += Duration::from_secs(20);
        let now = clock::now() + self.offset;
        self.hub.core().tick_trade(now);
        self.quiet(runtime);
    }

    fn end(mut self) {
        let writer = self.writer.take();
        drop(self);
        if let Some(writer) = writer {
            writer.join();
        }
    }
}

/// One run; the power is lost at this step. `false`: it is over before.
fn run(misbehaviour: Misbehaviour, buyer: Buyer, crash: Option<u32>) -> bool {
    let context = format!("{misbehaviour:?} {buyer:?} {crash:?}");
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let payd = Payd::with(misbehaviour);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut world = World::begin(dir.path(), &payd, buyer);
    let want = Want { bytes: Some(BYTES), ..Want::default() };
    let service = service_id(identity().public());
    world.hub.core().trade.fuse = crash;
    let purchase =
        world.hub.core().buy(ANNE, &service, "volume".parse().unwrap(), want, Some(1), clock::now()).unwrap();
    world.quiet(&runtime);
    let mut crashed = false;
    for round in 0..24 {
        world.round(&runtime, &payd);
        if world.is_dead() {
            crashed = true;
            let (enforced, offset) = (world.enforced, world.offset);
            world.end();
            world = World::open(dir.path(), &payd, buyer, enforced, offset);
        }
        match round {
            // Days go by: what is late comes, pages close, patience ends.
            8 => payd.advance(3 * 86_400),
            9 if buyer == Buyer::Leaves => payd.expires(&purchase.to_string()),
            14 => world.offset += Duration::from_secs(7200),
            _ => {}
        }
        let done = world.hub.core().trade.deals.get(&purchase).map(|deal| deal.purchase.state());
        let enforced = world.enforced.is_some();
        if (done.is_none() && round > 10) || (done == Some(State::Granted) && enforced && round > 2) {
            break;
        }
    }
    let key = identity().public();
    let allowed = world.hub.core().allowance(ANNE, key).and_then(|allowance| allowance.bytes);
    let enforced = world.enforced;
    world.end();

    let mut store = Sqlite::open(dir.path()).unwrap();
    let kept = store.purchase(purchase).unwrap();
    let mut verifier = Verifier::new(key);
    store.ledger(key, 0, 100).unwrap().iter().for_each(|entry| verifier.add(entry).unwrap());
    let (debit, credit) =
        verifier.sums().fold((0, 0), |sum, (.., debit, credit)| (sum.0 + debit, sum.1 + credit));
    assert_eq!(debit, credit, "{context}: the ledger is balanced");
    assert_eq!(verifier.held().count(), 0, "{context}: nothing is held back");
    let (charged, times) = payd.charged(&purchase.to_string());
    assert!(times <= 1 && payd.pages(&purchase.to_string()) <= 1, "{context}: charged {times} times");
    let Some(kept) = kept else {
        // The power was lost before the request was kept: nobody was asked for anything.
        assert_eq!((charged, crash), (0, Some(0)), "{context}");
        return crashed;
    };
    match kept.state {
        State::Granted => {
            assert_eq!((charged, allowed), (PRICE, Some(BYTES)), "{context}");
            assert_eq!(enforced, Some(Some(BYTES)), "{context}: what was paid is enforced");
            assert!(!misbehaviour.lies() && buyer == Buyer::Pays, "{context}");
        }
        State::Refunded | State::Expired => {
            assert_eq!((charged, allowed), (0, None), "{context}: {:?}", kept.state);
            // What was never paid, or paid wrongly, or not fetched.
            assert!(misbehaviour.lies() || buyer != Buyer::Pays, "{context}: {kept:?}");
            assert_eq!(enforced, None, "{context}: {:?}", kept.state);
        }
        state => panic!("{context}: {state:?} {:?}", kept.reference),
    }
    crashed
}

fn cross(misbehaviour: Misbehaviour) -> u32 {
    let mut runs = 0;
    for buyer in [Buyer::Pays, Buyer::StaysAway, Buyer::Leaves] {
        run(misbehaviour, buyer, None);
        let mut step = 0;
        while run(misbehaviour, buyer, Some(step)) {
            step += 1;
            runs += 1;
        }
        assert!(step > 8, "{misbehaviour:?} {buyer:?}: {step} steps");
    }
    runs
}

#[test]
fn the_power_is_lost_at_every_step_whatever_the_provider_does_wrong() {
    // Enumerated, not sampled: every step of every kind of purchase, crossed with every misbehaviour.
    let runs: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = Misbehaviour::ALL
            .chunks(3)
            .map(|some| scope.spawn(move || some.iter().map(|one| cross(*one)).sum::<u32>()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{runs} losses of power");
    assert!(runs > 400, "{runs}");
}
