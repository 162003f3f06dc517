//! RADIUS when something goes wrong: a flood of datagrams, a kernel that refuses, a restart while no server answers.
#![cfg(feature = "radius")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use support::daemons::Gateway;
use support::freeradius::settings;
use support::lab::{self, Lab};
use support::wait::SOON;
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
