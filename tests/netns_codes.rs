//! Sealed codes between the real coordinator and the real gateway, asked for by a terminal written by hand: what is
//! refused, and what then stands in hostapd's file.
//!
//! There is no hostapd: it could read keys on the air only. With one, and stations: `hwsim/sealed_code`.
#![cfg(all(feature = "gateway", feature = "coordinator"))]

#[path = "support/link_client.rs"]
#[allow(dead_code)]
mod link_client;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use link_client::{Door, Terminal, station};
use serde_json::{Value, json};
use support::daemons::{CoordinatorDaemon, Gateway};
use support::lab::{self, Lab};
use support::wait::{SOON, wait_until};
use wayleave::model::{Bssid, Code, Incarnation, MacAddr, Offer, OfferedKey, Refusal, SessionId};
use wayleave::wire::seal::{Asking, OfferedTo, offer};
use wayleave::wire::sign::Identity;
use wayleave::wire::terminal::Joined;

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_code_is_made_for_each_join_and_for_no_offer_that_was_changed() {
    let scene = Scene::new();
    scene.within(async |terminal, to, identity| {
        // As a coordinator would change it, and as an algorithm that is not known here would look.
        let honest = Asking::new(to).offer(identity);
        let mut own_key = honest.clone();
        own_key.keys[0].key[0] ^= 1;
        let elsewhere = OfferedTo { bssid: Bssid(MacAddr([2, 0, 0, 0, 0, 9])), ..to };
        for (offer, word) in [
            (own_key, "bad-offer"),
            (
                Offer { signature: Asking::new(to).offer(&Identity::generate()).signature, ..honest },
                "bad-offer",
            ),
            (Asking::new(elsewhere).offer(identity), "bad-offer"),
            (unknown(to, identity), "no-common-algorithm"),
        ] {
            let refusal = want(terminal, to, Some(offer)).await.unwrap_err();
            assert_eq!(refusal.word, word, "{refusal}");
            assert_eq!(scene.codes(), [""; 0]);
        }
        assert_eq!(want(terminal, to, None).await.unwrap_err().word, "no-offer");
        assert_eq!(scene.gateway.ask(json!({"verb": "status"}))["dropped"], 4, "and counted");
        assert_eq!(scene.gateway.ask(json!({"verb": "grants"})), json!([]));

        let (first, code) = join(terminal, to, identity).await;
        assert_eq!(scene.codes(), [digits(&code)], "before the terminal hears of it");
        assert_eq!(fs::metadata(scene.file()).unwrap().permissions().mode() & 0o777, 0o600);
        // The next join: the same grant, and a code that has nothing of the one before.
        let (again, next) = join(terminal, to, identity).await;
        assert_eq!((again.session, again.incarnation), (first.session, Incarnation(2)));
        assert_eq!(scene.codes(), [digits(&next)]);
        assert_ne!(code, next);
        // One that is refused ends the join before it as well.
        let refusal = want(terminal, to, Some(unknown(to, identity))).await.unwrap_err();
        assert_eq!(refusal.word, "no-common-algorithm");
        wait_until("no code to count", SOON, || scene.codes().is_empty());

        let (joined, code) = join(terminal, to, identity).await;
        assert_ne!((joined.session, &code), (again.session, &next));
        terminal.leave(&joined).await;
        wait_until("no code to count", SOON, || scene.codes().is_empty());
    });
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_code_survives_restarts_and_one_that_cannot_be_written_is_refused() {
    let mut scene = Scene::new();
    let (joined, code) = scene.within(async |terminal, to, identity| join(terminal, to, identity).await);
    // The daemons change nothing, however they end.
    scene.gateway.program.kill();
    scene.gateway.again();
    scene.gateway.wait_for_link();
    assert_eq!(scene.codes(), [digits(&code)]);
    scene.coordinator.program.kill();
    scene.coordinator.again();
    scene.gateway.wait_for_link();
    let said =
        |scene: &Scene, text: &str| scene.coordinator.program.lines().iter().any(|line| line.contains(text));
    wait_until("the gateway to be back", SOON, || said(&scene, "gateway connected"));
    assert_eq!(scene.codes(), [digits(&code)]);
    scene.within(async |terminal, _, _| {
        terminal.heartbeat(&joined).await;
        assert_eq!(terminal.told(Duration::from_secs(1)).await, None, "the session goes on");
    });
    assert!(!said(&scene, "holds something else"));

    // A gateway that has lost the code, as after a loss of power, cannot make it good: the join is over.
    scene.gateway.program.kill();
    fs::remove_file(scene.gateway.dir().join("run/running.json")).unwrap();
    let _ = fs::remove_file(scene.gateway.dir().join("state/grants.json"));
    scene.lab.gateway.run("nft delete table netdev wayleave");
    scene.gateway.again();
    scene.gateway.wait_for_link();
    wait_until("the session to be over", SOON, || !scene.has_session(&joined.session));
    assert!(scene.codes().is_empty());

    // A directory in its place.
    fs::remove_file(scene.file()).unwrap();
    fs::create_dir(scene.file()).unwrap();
    scene.within(async |terminal, to, identity| {
        let refusal = want(terminal, to, Some(Asking::new(to).offer(identity))).await.unwrap_err();
        assert_eq!(refusal.word, "codes-unwritten", "{refusal}");
    });
    assert_eq!(scene.gateway.ask(json!({"verb": "grants"})), json!([]));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn after_a_loss_of_power_a_code_that_ended_stays_out_and_the_others_are_back() {
    let mut scene = Scene::new();
    let code = |scene: &Scene| {
        let granted = scene.gateway.ask(json!({"verb": "grant-code"}));
        let text = |key: &str| granted[key].as_str().unwrap().to_owned();
        (text("id"), text("code"))
    };
    let ((hers, gone), (_, stays)) = (code(&scene), code(&scene));
    let state = scene.gateway.dir().join("state");
    wait_until("both to be kept", Duration::from_secs(20), || {
        fs::read_to_string(state.join("grants.json"))
            .is_ok_and(|text| text.contains(&hers) && text.matches("\"code\"").count() == 2)
    });
    scene.gateway.ask(json!({"verb": "evict", "target": {"grant": hers}}));
    // Grants are written seldom; this is not waited for.
    wait_until("the end of it to be kept", Duration::from_secs(1), || {
        fs::read_to_string(state.join("grants.json")).is_ok_and(|text| !text.contains(&hers))
    });

    scene.gateway.program.kill();
    let lost = scene.gateway.dir().join("run");
    fs::remove_file(lost.join("running.json")).unwrap();
    fs::remove_file(scene.file()).unwrap();
    scene.lab.gateway.run("nft delete table netdev wayleave");
    scene.gateway.again();
    assert_eq!(scene.codes(), [stays], "and not {gone}");
    assert_eq!(scene.gateway.ask(json!({"verb": "grants"})).as_array().unwrap().len(), 1);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_file_of_another_network_is_nothing_to_a_sealed_code() {
    // A directory in its place, and a network behind no interface.
    let scene = Scene::with(|dir| {
        let file = dir.join("other.psk");
        fs::create_dir_all(&file).unwrap();
        format!("[[network]]\ninterface = \"other0\"\nwpa_psk_file = \"{}\"\n", file.display())
    });
    let (_, code) = scene.within(async |terminal, to, identity| join(terminal, to, identity).await);
    assert_eq!(scene.codes(), [digits(&code)]);
    let refusal = scene.gateway.try_ask(&json!({"verb": "grant-code"}));
    assert_eq!(
        refusal["error"]["word"], "codes-unwritten",
        "one of the owner is for all networks: {refusal}"
    );
    assert_eq!(scene.codes(), [digits(&code)]);
}

/// Heartbeats are not what these are about.
const TIMING: &str = "[heartbeat]\ninterval = \"1h\"\n[limits]\njoins_per_minute = 6000\n";

struct Scene {
    gateway: Gateway,
    coordinator: CoordinatorDaemon,
    identity: Identity,
    lab: Lab,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| String::new())
    }

    /// With further networks; the directory is where their files may be.
    fn with(networks: impl Fn(&Path) -> String) -> Self {
        let lab = Lab::with_stations(1);
        let coordinator = CoordinatorDaemon::start(&lab, TIMING);
        let dir = lab.path().join("gateway/run");
        let file = dir.join("guest.psk");
        let network = format!("ssid = \"Corner\"\nwpa_psk_file = \"{}\"\n{}", file.display(), networks(&dir));
        let mut gateway = Gateway::sharing(&lab, &network, "");
        gateway.enrol(&coordinator);
        Self { gateway, coordinator, identity: Identity::generate(), lab }
    }

    fn file(&self) -> PathBuf {
        self.gateway.dir().join("run/guest.psk")
    }

    /// What hostapd would take.
    fn codes(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file()).expect("it is there");
        let lines = text.lines().filter(|line| line.starts_with("keyid="));
        lines.map(|line| line.rsplit(' ').next().expect("a key").to_owned()).collect()
    }

    fn has_session(&self, session: &SessionId) -> bool {
        let rows = self.coordinator.ask(json!({"verb": "sessions"}))["sessions"].clone();
        rows.as_array().expect("rows").iter().any(|row| row["session"] == session.to_string())
    }

    /// On a thread where the coordinator is, with a terminal that has a link and knows the access point.
    fn within<T: Send>(&self, work: impl AsyncFnOnce(&mut Terminal, OfferedTo, &Identity) -> T + Send) -> T {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let status = self.coordinator.ask(json!({"verb": "status"}));
        let key = text(&status["key"]).parse().expect("a key");
        let service =
            text(&self.gateway.ask(json!({"verb": "status"}))["service"]).parse().expect("a service");
        let bssid = Bssid(MacAddr(lab::BRIDGE_MAC));
        let to = OfferedTo { bssid, service, station: station(1) };
        let door =
            Door { address: format!("{}:7443", lab::COORDINATOR_V4).parse().expect("an address"), key };
        self.lab.internet.enter(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut terminal = Terminal::up(door, &self.identity).await;
                while terminal.ask(&[(bssid, "Corner")]).await.is_empty() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                work(&mut terminal, to, &self.identity).await
            })
        })
    }
}

/// Asks, and waits for the answer; that another session ended is passed over.
async fn want(terminal: &mut Terminal, to: OfferedTo, offer: Option<Offer>) -> Result<Joined, Refusal> {
    terminal.want_code(to.bssid, to.station, offer).await;
    let answer = terminal.answer().await;
    while terminal.told(Duration::from_millis(100)).await.is_some() {}
    answer
}

async fn join(terminal: &mut Terminal, to: OfferedTo, identity: &Identity) -> (Joined, Code) {
    let asking = Asking::new(to);
    let joined = want(terminal, to, Some(asking.offer(identity))).await.expect("joined");
    let sealed = joined.code.clone().expect("a code");
    let code = asking.open(&sealed, joined.session, joined.incarnation).expect("it opens");
    terminal.heartbeat(&joined).await;
    (joined, code)
}

/// Signed, and by no algorithm that is known here.
fn unknown(to: OfferedTo, identity: &Identity) -> Offer {
    offer(vec![OfferedKey { key: vec![1; 1216], algorithm: "x-wing".into() }], to, identity)
}

fn digits(code: &Code) -> String {
    code.digits().expose().to_owned()
}
