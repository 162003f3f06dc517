//! See README. hostapd says nothing of a new configuration. What was on the air is the capture's last beacon.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use wayleave::wire::beacon::{Beacon, Element, VENDOR_SPECIFIC, elements};

use super::stage::{JOIN, PASSPHRASE, SSID, Script, Stage};
use super::support::frame::mac_text;
use super::support::wait::{SOON, wait_for, wait_until};

/// No new slot says anything again.
const GATEWAY: &str = "vendor_elements = \"dd0700112233445566\"\n\
                       [beacon]\ninterval = \"1h\"\n\
                       [interworking]\nnetwork = \"chargeable-public\"\nvenue = [1, 7]\nhessid = \"02:00:00:00:00:01\"\n\
                       venue_name = \"Café\"\nlanguage = \"fr\"\nvenue_url = \"https://corner.example/\"\n";

/// Element ID of the Interworking element (IEEE 802.11-2020, table 9-92).
const INTERWORKING: u8 = 107;
/// Chargeable public network with internet, the venue, the HESSID.
const INVITATION: [u8; 9] = [0x12, 1, 7, 2, 0, 0, 0, 0, 1];

/// The longest time without saying it again, and a slow machine.
const MINUTE: Duration = Duration::from_secs(75);

#[test]
#[ignore = "needs radios: ./run test hwsim"]
fn what_hostapd_forgets_it_is_told_again() {
    let mut stage = Stage::play(Script {
        scenario: "beacon_reload",
        access_points: &[include_str!("hostapd.conf")],
        gateway: GATEWAY,
        ..Script::default()
    });
    let first = wait_for("a beacon of ours", SOON, || on_air(&stage).ours);
    wait_told(&stage, SOON);

    // Names and URLs are asked for; wpa_supplicant shows a URL only where the answer is protected.
    let bssid = mac_text(stage.bssid(0));
    stage.associate(0, SSID, PASSPHRASE, &["ieee80211w 2"]);
    wait_associated(&stage);
    let asked = stage.supplicants[0].command(&format!("ANQP_GET {bssid} 258,277"));
    assert_eq!(asked, "OK\n");
    stage.supplicants[0].program.wait_line("RX-VENUE-URL 1 https://corner.example/", SOON);
    let known = stage.supplicants[0].command(&format!("BSS {bssid}"));
    assert!(known.contains("anqp_venue_name=010708667200436166c3a9"), "{known}");

    // With a station: its leaving tells. The gateway is held, so that what is missing can be seen.
    forget(&stage);
    wait_associated(&stage);
    stage.gateway.program.signal(Signal::SIGCONT);
    let again = wait_for("the beacon again, now that the station had left", SOON, || on_air(&stage).ours);
    assert_eq!(again, first);
    wait_told(&stage, SOON);

    // Without one nobody tells; it is said again within a minute.
    assert_eq!(stage.supplicants[0].command("DISCONNECT"), "OK\n");
    wait_until("the station to be gone", SOON, || !stage.access_points[0].has(stage.lab.stations[0].mac));
    forget(&stage);
    stage.gateway.program.signal(Signal::SIGCONT);
    let again = wait_for("the beacon again, in the next minute", MINUTE, || on_air(&stage).ours);
    assert_eq!(again, first);
    // What it was told just then, because the station had left, it may have forgotten in part.
    wait_told(&stage, MINUTE);

    // Without a daemon nobody is invited.
    stage.gateway.program.terminate(SOON);
    wait_until("the invitation to be off the air", SOON, || {
        let found = on_air(&stage);
        found.owners && found.ours.is_none() && found.interworking.is_none()
    });
}

/// What the last beacon says.
#[derive(Default)]
struct OnAir {
    ours: Option<Beacon>,
    /// Whether the owner's element is there.
    owners: bool,
    interworking: Option<Vec<u8>>,
}

/// Until the station is in. On a busy machine it repeats its association request while keys are agreed on, and hostapd
/// gives up; a station that wants its frames protected does not believe that, and has to be told to try again.
#[track_caller]
fn wait_associated(stage: &Stage) {
    let mut tried = Instant::now();
    wait_until("the association", JOIN, || {
        if tried.elapsed() > JOIN / 4 {
            assert_eq!(stage.supplicants[0].command("REASSOCIATE"), "OK\n");
            tried = Instant::now();
        }
        stage.access_points[0].has(stage.lab.stations[0].mac)
    });
}

/// The gateway is held, hostapd reads its configuration again, and what it was told is off the air.
fn forget(stage: &Stage) {
    stage.gateway.program.signal(Signal::SIGSTOP);
    stage.access_points[0].program.signal(Signal::SIGHUP);
    wait_until("hostapd to forget what it was told", SOON, || {
        let found = on_air(stage);
        found.owners && found.ours.is_none() && found.interworking.is_none()
    });
}

#[track_caller]
fn wait_told(stage: &Stage, limit: Duration) {
    wait_until("all of it in one beacon", limit, || {
        let found = on_air(stage);
        found.owners && found.ours.is_some() && found.interworking.as_deref() == Some(&INVITATION)
    });
}

fn on_air(stage: &Stage) -> OnAir {
    let frames = stage.air.frames();
    let last = frames.iter().rev().find_map(|frame| frame.beacon().filter(|found| found.0 == stage.bssid(0)));
    let Some((_, list)) = last else { return OnAir::default() };
    let mut found = OnAir::default();
    for element in elements(list).expect("hostapd sends whole elements") {
        match element {
            Element::Beacon(beacon) => found.ours = Some(beacon),
            Element::Other { id: INTERWORKING, body } => found.interworking = Some(body),
            Element::Other { id: VENDOR_SPECIFIC, body } => {
                found.owners |= body == [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66];
            }
            Element::Other { .. } => {}
        }
    }
    found
}
