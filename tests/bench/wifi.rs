//! What access takes on the air: from a grant to a code that opens the network, from there to packets that pass,
//! and from an eviction to its deauthentication frame.
//!
//! In the virtual machine of the scenarios (`tests/hwsim/vm`): real hostapd and wpa_supplicant on radios of
//! mac80211_hwsim. Its instructions may be translated, which makes everything some ten times slower, and its air
//! loses nothing: what counts is what stands beside the figure and that it does not grow.
//!
//! `code_ready`: from the request to the answer with the code. That hostapd knows it by then is what the first try of
//! a station shows, begun at once: a wrong key would be heard. `join`: from `SELECT_NETWORK`, on one channel, to the
//! kernel enforcing the grant. `evict_air`: from the request to the frame, by the capture's own time. `push`: from
//! wpa_supplicant being connected to the terminal showing what the owner has to say, both seen within a millisecond.

#[expect(dead_code, reason = "the scenarios look at more")]
#[path = "../hwsim/air.rs"]
mod air;
#[expect(dead_code, reason = "the scenarios look at more")]
#[path = "../hwsim/capture.rs"]
mod capture;
#[expect(dead_code, reason = "the scenarios look at more")]
#[path = "../hwsim/codes.rs"]
mod codes;
#[expect(dead_code, reason = "the scenarios look at more")]
#[path = "../hwsim/stage.rs"]
mod stage;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use serde_json::json;

use stage::{JOIN, SSID, Stage, since_1970};
use support::bench::{kernel, load, median, quantile, rounded};
use support::daemons::ask;
use support::frame::mac_text;
use support::lab::INTERNET_V4;
use support::wait::{SOON, wait_until};

const CONFIGURATION: &str = include_str!("../hwsim/code_join/hostapd.conf");
const ROUNDS: usize = 40;
/// Codes of others: hostapd reads them all again for a new one, and tries them in turn when somebody joins.
const OTHERS: usize = 100;
/// A terminal shows sixteen at once and then one a minute.
const PUSHES: usize = 15;

fn main() {
    let load_before = load();
    let stage = Stage::with_codes("bench", &[CONFIGURATION], 1);
    for _ in 0..OTHERS {
        stage.code(1 << 30);
    }
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| Round::play(&stage)).collect();
    drop(stage);
    let push = pushes();
    let of = |span: fn(&Round) -> Duration| -> Vec<f64> {
        rounds.iter().map(|round| span(round).as_secs_f64() * 1e3).collect()
    };
    let (ready, join, air) = (of(|round| round.ready), of(|round| round.join), of(|round| round.air));
    let figures = json!({
        "n": ROUNDS,
        "codes": OTHERS,
        "code_ready_ms_p50": rounded(median(&ready)),
        "code_ready_ms_p99": rounded(quantile(&ready, 0.99)),
        "join_ms_p50": rounded(median(&join)),
        "evict_air_ms_p50": rounded(median(&air)),
        "evict_air_ms_p99": rounded(quantile(&air, 0.99)),
        "pushes": PUSHES,
        "push_ms_p50": rounded(median(&push)),
        "push_ms_p99": rounded(quantile(&push, 0.99)),
        "load_before": load_before,
        "kernel": kernel(),
    });
    println!("{figures}");
}

/// Milliseconds from connected to shown, for a terminal that comes again and again.
fn pushes() -> Vec<f64> {
    let stage = Stage::new("bench", include_str!("../hwsim/join/hostapd.conf"), 1);
    let terminal = stage.joined(0);
    let connections = || {
        let lines = stage.supplicants[0].program.lines();
        lines.iter().filter(|line| line.contains("CTRL-EVENT-CONNECTED")).count()
    };
    let round = |number: usize| {
        ask(&terminal.socket, &json!({"verb": "leave"}));
        wait_until("it to have left", SOON, || terminal.status()["state"] == "idle");
        let text = format!("message number {number}.");
        stage.gateway.ask(json!({"verb": "push", "to": "everybody", "text": text, "valid": 60_000}));
        let (before, began) = (connections(), Instant::now());
        ask(&terminal.socket, &json!({"verb": "ask"}));
        let mut connected = None;
        loop {
            if connected.is_none() && connections() > before {
                connected = Some(Instant::now());
            }
            if terminal.program.lines().iter().any(|line| line.contains(&text)) {
                return connected.expect("it is told by this way only").elapsed().as_secs_f64() * 1e3;
            }
            assert!(began.elapsed() < JOIN, "{text} was never shown");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    (0..PUSHES).map(round).collect()
}

/// One grant, from its beginning to its end.
struct Round {
    ready: Duration,
    join: Duration,
    air: Duration,
}

impl Round {
    fn play(stage: &Stage) -> Self {
        let (station, supplicant) = (&stage.lab.stations[0], &stage.supplicants[0]);
        let mut events = stage.gateway.watch();
        let said_before = supplicant.program.lines().len();

        let begin = Instant::now();
        let code = stage.code(1 << 30);
        let ready = begin.elapsed();

        let begin = Instant::now();
        stage.type_in(0, &code);
        let admitted = events.next("admitted");
        let join = begin.elapsed();
        assert_eq!(admitted["station"], mac_text(station.mac));
        assert!(station.reaches(INTERNET_V4), "{SSID} is open to its code");
        let said = supplicant.program.lines().split_off(said_before).join("\n");
        assert!(!said.contains("WRONG_KEY") && !said.contains("CTRL-EVENT-DISCONNECTED"), "{said}");

        let begin = since_1970();
        let report = stage.evict(&code);
        let frame = stage.air.wait_frame("its deauthentication", SOON, |frame| {
            frame.at >= begin && frame.deauthentication().is_some_and(|said| said.to == station.mac)
        });
        assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 1, "{report}");
        supplicant.command("REMOVE_NETWORK all");
        Self { ready, join, air: frame.at - begin }
    }
}
