//! The gateway as a process among peers that fail, lie or say nothing: it says so, and goes on.

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use support::daemons::Gateway;
use support::disk::Disk;
use support::frame::{self, RawPort};
use support::lab::{self, Lab};
use support::wait::{SOON, wait_until};

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn whatever_hostapd_answers_an_eviction_takes_access_away_and_says_what_failed() {
    for (answer, says) in [
        // What hostapd says of a station that is not there.
        (Some("FAIL\n".as_bytes()), "done"),
        (Some(&b"\xff\x00|\nAP-STA-CONNECTED 02:00:00:00:00:99\n"[..]), "failed"),
        // Also to the question which stations there are.
        (Some(&b"OK\n"[..]), "failed"),
        (None, "failed"),
    ] {
        let lab = Lab::with_stations(1);
        let _hostapd = FalseHostapd::start(&lab, move |_| answer);
        let gateway = Gateway::start(&lab, "");
        wait_until("it to be taken for hostapd", SOON, || {
            gateway.ask(json!({"verb": "status"}))["bsses"] == 1
        });
        let anne = &lab.stations[0];
        gateway.grant(anne.mac);
        assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6), "{answer:?}");
        let report = gateway.evict(anne.mac);
        assert!(anne.is_cut_off(lab::INTERNET_V4) && anne.is_cut_off(lab::INTERNET_V6), "{answer:?}");
        let outcome = outcome(&report, "association");
        assert!(outcome.get(says).is_some(), "{answer:?}: {outcome}");
        for step in ["enforcement", "flows", "neighbours"] {
            assert!(self::outcome(&report, step).get("done").is_some(), "{answer:?}: {step}: {report}");
        }
        assert_eq!(gateway.ask(json!({"verb": "grants"})), json!([]), "{answer:?}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_hostapd_cannot_put_on_the_air_is_named_and_the_rest_is_there() {
    const TOLD: [&str; 4] = [
        "SET interworking 1",
        "SET access_network_type 14",
        "SET internet 1",
        "SET anqp_elem 277:0b00687474703a2f2f612e62",
    ];
    let cases: [(&'static str, usize, &str, &str); 4] = [
        ("nothing", 4, "good", "announced on"),
        // Built without CONFIG_INTERWORKING.
        ("SET interworking", 1, "problem", "announced, but [interworking] is not told on"),
        ("SET anqp_elem", 4, "problem", "announced, but [interworking] is not told on"),
        ("SET vendor_elements", 4, "problem", "not announced on"),
    ];
    for (refused, told, severity, says) in cases {
        let lab = Lab::with_stations(0);
        let hostapd = FalseHostapd::start(&lab, move |command| match command.starts_with(refused) {
            true => Some(b"FAIL\n"),
            false => Some(b"OK\n"),
        });
        let more = "vendor_elements = \"dd0700112233445566\"\n\
                    [interworking]\nnetwork = \"test\"\nvenue_url = \"http://a.b\"\n\
                    [enforcement]\nvisitors = \"together\"\n";
        let gateway = Gateway::start(&lab, more);
        let last = if refused == "SET vendor_elements" { refused } else { "UPDATE_BEACON" };
        wait_until("the last command about it", SOON, || {
            hostapd.heard().iter().any(|line| line.starts_with(last))
        });
        wait_until("the doctor to know what came of it", SOON, || {
            let findings = gateway.ask(json!({"verb": "doctor"}));
            let finding = findings.as_array().unwrap().iter().find(|row| row["word"] == "beacon").cloned();
            finding.is_some_and(|row| {
                row["severity"] == severity && row["found"].as_str().unwrap().starts_with(says)
            })
        });
        let mut heard: Vec<String> =
            hostapd.heard().into_iter().filter(|line| !line.starts_with("STA-")).collect();
        assert_eq!(heard[..told], TOLD[..told], "{refused}: {heard:?}");
        let beacon = heard.remove(told);
        assert!(
            beacon.starts_with("SET vendor_elements dd0700112233445566dd320266ff01"),
            "{refused}: {beacon}"
        );
        let updated = heard.iter().any(|line| line == "UPDATE_BEACON");
        assert_eq!(updated, refused != "SET vendor_elements", "{refused}: {heard:?}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn on_a_full_disk_grants_are_enforced_and_the_owner_is_told() {
    let lab = Lab::with_stations(2);
    let state = lab.path().join("gateway/state");
    std::fs::create_dir_all(&state).unwrap();
    let disk = Disk::mount(&state, "64k");
    let gateway = Gateway::start(&lab, "");
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
    gateway.grant(anne.mac);
    let kept = state.join("grants.json");
    wait_until("the first grant to be kept", Duration::from_secs(20), || kept.exists());
    let before = std::fs::read(&kept).unwrap();

    disk.fill();
    gateway.grant(bob.mac);
    assert!(bob.reaches(lab::INTERNET_V4), "the kernel has it all the same");
    wait_until("the owner to be told", Duration::from_secs(20), || {
        let findings = gateway.ask(json!({"verb": "doctor"})).to_string();
        findings.contains("No space left on device")
    });
    let readable = [kept.clone(), kept.with_extension("old")];
    assert!(
        readable.iter().any(|path| std::fs::read(path).is_ok_and(|bytes| bytes == before)),
        "nothing is lost"
    );
    gateway.evict(anne.mac);
    assert!(anne.is_cut_off(lab::INTERNET_V4));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_guest_who_claims_other_addresses_is_not_believed() {
    let lab = Lab::with_stations(2);
    let gateway = Gateway::start(&lab, "");
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
    for station in [anne, bob] {
        gateway.grant(station.mac);
        assert!(station.reaches(lab::INTERNET_V4) && station.reaches(lab::INTERNET_V6));
    }
    let hers = |family: &str, ip: String| {
        lab.gateway.ip(&format!("{family} neigh show to {ip} dev {}", lab::BRIDGE))
    };
    wait_until("both to be pinned", SOON, || {
        let table = lab.gateway.run("nft list set netdev wayleave pinned4");
        table.contains(&anne.v4.to_string()) && table.contains(&bob.v4.to_string())
    });
    let before = refused_as_spoofed(&lab);
    let arp = RawPort::open(&bob.netns, lab::STATION, 0x0806);
    let nd = RawPort::open(&bob.netns, lab::STATION, 0x86dd);
    for _ in 0..20 {
        // "Anne's address is mine", "the gateway's address is mine".
        arp.send(&frame::arp_reply(bob.mac, bob.mac, anne.v4, lab::BRIDGE_MAC, lab::GATEWAY_V4));
        arp.send(&frame::arp_reply(bob.mac, bob.mac, lab::GATEWAY_V4, anne.mac, anne.v4));
        nd.send(&frame::neighbour_advertisement(bob.mac, bob.mac, anne.v6, lab::BRIDGE_MAC, lab::GATEWAY_V6));
    }
    wait_until("the claims to be counted", SOON, || refused_as_spoofed(&lab) >= before + 40);
    for (family, ip) in [("-4", anne.v4.to_string()), ("-6", anne.v6.to_string())] {
        let neighbour = hers(family, ip);
        assert!(!neighbour.contains(&bob.mac_text()), "{neighbour}");
    }
    assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6));
    let rows = gateway.ask(json!({"verb": "stations"})).to_string();
    assert_eq!(rows.matches(&anne.v4.to_string()).count(), 1, "{rows}");
}

#[track_caller]
fn outcome(report: &Value, step: &str) -> Value {
    let steps = report["steps"].as_array().expect("steps");
    steps.iter().find(|found| found["step"] == step).expect("a step")["outcome"].clone()
}

fn refused_as_spoofed(lab: &Lab) -> u64 {
    let counter = lab.gateway.run("nft list counter netdev wayleave spoofed");
    let packets = counter.split("packets ").nth(1).expect("a counter");
    packets.split(' ').next().expect("a number").parse().expect("a number")
}

/// A control socket where hostapd's would be. Commands get this answer, or none; what it is asked
/// first is answered as hostapd does, so that it is taken for one.
struct FalseHostapd {
    heard: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl FalseHostapd {
    fn start(lab: &Lab, answer: impl Fn(&str) -> Option<&'static [u8]> + Send + 'static) -> Self {
        let directory = lab.path().join("hostapd");
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(lab::PORT);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let hears = Arc::clone(&heard);
        let config = format!("bssid={}\nssid=Corner\n", frame::mac_text(lab::PORT_MAC));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !until.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let Some(from) = from.as_pathname() else { continue };
                let reply = match &buffer[..length] {
                    b"PING" => Some(&b"PONG\n"[..]),
                    b"ATTACH" | b"DETACH" => Some(&b"OK\n"[..]),
                    b"STATUS" => Some(&b"state=ENABLED\n"[..]),
                    b"GET_CONFIG" => Some(config.as_bytes()),
                    command => {
                        let command = String::from_utf8_lossy(command).into_owned();
                        let reply = answer(&command);
                        hears.lock().unwrap().push(command);
                        reply
                    }
                };
                if let Some(reply) = reply {
                    // Whoever asked may have given up.
                    let _ = socket.send_to(reply, from);
                }
            }
        });
        Self { heard, over, thread: Some(thread), path }
    }

    /// The commands so far, beside those that any hostapd answers alike.
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for FalseHostapd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}
