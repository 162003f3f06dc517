//! RADIUS when something goes wrong: a flood of datagrams, a kernel that refuses, a restart while no server answers.
#![cfg(feature = "radius")]

mod support;

use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use support::daemons::Gateway;
use support::frame::mac_text;
use support::freeradius::{FreeRadius, settings};
use support::lab::{self, Lab};
use support::wait::{SOON, wait_for, wait_until};
use wayleave::adapters::radius::attribute::number;
use wayleave::adapters::radius::codec::Code;

/// A server on the lab's internet.
const SERVER: IpAddr = IpAddr::V4(lab::COORDINATOR_V4);

/// Answers are missed soon.
const QUICK: &str = "interim = \"10s\"\ntimeout = \"200ms\"\ntries = 2\nnas_identifier = \"corner\"";

/// Where the gateway listens for servers.
const LISTENS: &str = "198.51.100.1:3799";

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_flood_of_datagrams_holds_up_no_lease_and_no_stop() {
    let lab = Lab::with_stations(1);
    let with_listener = format!("{QUICK}\ndisconnect = \"{LISTENS}\"");
    let mut gateway = Gateway::start(&lab, &settings(lab.path(), &[SERVER], &with_listener));
    let mut events = gateway.watch();
    // It gets less of the processors than who sends: there is always another datagram.
    lab.gateway.run(&format!("renice -n 19 {}", gateway.program.pid()));
    // Of the form of a request, so that looking at it takes longer than sending it.
    let mut forged = vec![Code::DISCONNECT_REQUEST.0];
    forged.resize(20, 0);
    (0..5).for_each(|_| forged.extend([&[number::REPLY_MESSAGE, 255][..], &[b'x'; 253]].concat()));
    let length = u16::try_from(forged.len()).unwrap();
    forged[2..4].copy_from_slice(&length.to_be_bytes());
    let is_over = Arc::new(AtomicBool::new(false));
    let flood = [0; 4].map(|_| {
        let (forged, is_over) = (forged.clone(), Arc::clone(&is_over));
        lab.internet.spawn(move || {
            let socket = std::net::UdpSocket::bind((SERVER, 0)).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                let _ = socket.send_to(&forged, LISTENS);
            }
        })
    });
    let anne = lab.stations[0].mac_text();
    gateway.ask(json!({"verb": "grant", "grants": [{"station": anne, "lease": 1000}]}));
    assert_eq!(events.next("evicting")["cause"], "expired");
    gateway.program.terminate(SOON);
    is_over.store(true, Ordering::Relaxed);
    flood.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_session_begins_when_the_kernel_lets_the_station_in() {
    let lab = Lab::with_stations(1);
    let server = FreeRadius::start(&lab.internet, SERVER, lab.path(), "");
    let mut gateway = Gateway::start(&lab, &settings(lab.path(), &[SERVER], QUICK));
    let anne = &lab.stations[0];
    gateway.grant(anne.mac);
    gateway.program.terminate(SOON);
    wait_until("accounting to end", SOON, || server.of_kind("Accounting-Off").len() == 1);
    assert_eq!(server.of_kind("Start").len(), 1);

    // Nobody else changes a table that has an owner.
    lab.gateway.run("nft delete table netdev wayleave");
    let owner = TableOwner::begin(&lab);
    gateway.again();
    wait_until("accounting to begin", SOON, || server.of_kind("Accounting-On").len() == 2);
    // Long enough for the next attempt to be refused as well.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(server.of_kind("Start").len(), 1, "nobody is let in");

    drop(owner);
    wait_until("the session to begin", SOON, || server.of_kind("Start").len() == 2);
    assert!(anne.reaches(lab::INTERNET_V4));
    gateway.evict(anne.mac);
    wait_until("it to end", SOON, || server.of_kind("Stop").len() == 2);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_waits_across_a_restart_is_told_once_in_its_order_and_as_late_as_it_is() {
    let lab = Lab::with_stations(1);
    let mut server = FreeRadius::start(&lab.internet, SERVER, lab.path(), "");
    let mut gateway = Gateway::start(&lab, &settings(lab.path(), &[SERVER], QUICK));
    wait_until("accounting to begin", SOON, || server.of_kind("Accounting-On").len() == 1);
    server.program.kill();
    for _ in 0..2 {
        gateway.grant(lab.stations[0].mac);
        gateway.evict(lab.stations[0].mac);
    }
    std::thread::sleep(Duration::from_secs(3));
    gateway.program.terminate(SOON);
    server.again();
    gateway.again();
    wait_until("accounting to begin again", SOON, || server.of_kind("Accounting-On").len() == 2);
    let records = server.records();
    let kinds: Vec<&str> = records.iter().map(|record| record["Acct-Status-Type"].as_str()).collect();
    assert_eq!(
        (kinds[0], kinds[5], kinds[6], kinds.len()),
        ("Accounting-On", "Accounting-Off", "Accounting-On", 7)
    );
    for session in [0, 1].map(|number| format!("-{number}")) {
        let of_session = records[1..5].iter().filter(|record| record["Acct-Session-Id"].ends_with(&session));
        let kinds: Vec<&str> = of_session.map(|record| record["Acct-Status-Type"].as_str()).collect();
        assert_eq!(kinds, ["Start", "Stop"], "{records:?}");
    }
    for record in &records[1..5] {
        let late: u64 = record["Acct-Delay-Time"].parse().unwrap();
        assert!((3..20).contains(&late), "{record:?}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn where_a_station_is_that_was_granted_before_it_came_is_told_later() {
    let lab = Lab::with_stations(1);
    let server = FreeRadius::start(&lab.internet, SERVER, lab.path(), "");
    let gateway = Gateway::start(&lab, &settings(lab.path(), &[SERVER], QUICK));
    let guest = [2, 0xee, 0, 0, 0, 9];
    gateway.grant(guest);
    let start = wait_for("the start", SOON, || server.of_kind("Start").pop());
    assert_eq!((start.get("NAS-Port-Type"), start.get("NAS-Port-Id")), (None, None), "{start:?}");
    let anne = &lab.stations[0];
    anne.netns.ip(&format!("link set {} address {}", lab::STATION, mac_text(guest)));
    assert!(anne.pings(lab::GATEWAY_V4));
    gateway.evict(guest);
    let stop = wait_for("the end", SOON, || server.of_kind("Stop").pop());
    assert_eq!((stop["NAS-Port-Type"].as_str(), stop["NAS-Port-Id"].as_str()), ("Ethernet", "ap0"));
    assert_eq!(stop["Called-Station-Id"], "02-77-00-00-00-01");
}

/// A program that owns a table with the name of ours, in which there is nothing.
struct TableOwner(Child);

impl TableOwner {
    #[track_caller]
    fn begin(lab: &Lab) -> Self {
        let mut command = lab.gateway.command("nft");
        let mut child = command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("nft");
        let line = b"add table netdev wayleave { flags owner; }\n";
        std::io::Write::write_all(child.stdin.as_mut().expect("a pipe"), line).expect("it reads");
        wait_until("the table to stand", SOON, || {
            lab.gateway.run("nft list tables").contains("netdev wayleave")
        });
        Self(child)
    }
}

impl Drop for TableOwner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
