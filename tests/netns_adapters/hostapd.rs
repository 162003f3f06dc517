//! Real hostapds (`driver=wired`) and EAP stations, and sockets that only pretend to be hostapd.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use wayleave::adapters::hostapd::{Hostapd, HostapdError, HostapdEvent};
use wayleave::model::MacAddr;

use crate::inside;
use crate::support::hostapd::Hostapd as Program;
use crate::support::netns::{Netns, veth};
use crate::support::wait::SOON;
use crate::support::wired;
use crate::support::wpa::Supplicant;

const STATION: MacAddr = MacAddr([0x02, 0xbb, 0, 0, 0, 1]);

struct Net {
    ap: Netns,
    station: Netns,
    dir: tempfile::TempDir,
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_station_is_heard_listed_and_sent_away() {
    let net = Net::new();
    let program = Program::start(&net.ap, "hv0", net.dir.path());
    inside(&net.ap, async {
        let mut hostapd = net.watch();
        let HostapdEvent::BssUp(bss) = next(&mut hostapd).await else { panic!("no BSS") };
        let address = net.ap.run("cat /sys/class/net/hv0/address");
        assert_eq!((bss.name.as_str(), bss.bssid.to_string().as_str()), ("hv0", address.trim()));
        assert_eq!(hostapd.bsses(), [bss]);

        let _supplicant = net.supplicant();
        let connected = next(&mut hostapd).await;
        assert_eq!(
            connected,
            HostapdEvent::StationConnected { bss: "hv0".into(), station: STATION, keyid: None }
        );
        let control = hostapd.control();
        let stations = control.stations("hv0").await.unwrap();
        assert_eq!(stations.iter().map(|station| station.mac).collect::<Vec<_>>(), [STATION]);
        assert!(stations[0].state.is_present() && stations[0].state.authorized, "{stations:?}");

        // Commands work while the next event is waited for.
        let nowhere = BTreeSet::new();
        let (sent_away, event) =
            tokio::join!(control.deauthenticate(STATION, &nowhere, 4), next(&mut hostapd));
        assert!(matches!(sent_away.as_slice(), [(bss, Ok(true))] if bss == "hv0"), "{sent_away:?}");
        assert_eq!(event, HostapdEvent::StationDisconnected { bss: "hv0".into(), station: STATION });

        // hostapd remembers it for a while, and does not call that present.
        let after = control.station(STATION).await;
        assert!(matches!(&after[0].1, Ok(Some(known)) if !known.state.is_present()), "{after:?}");
        let twice = control.deauthenticate(STATION, &BTreeSet::new(), 4).await;
        assert!(matches!(twice.as_slice(), [(_, Ok(false))]), "{twice:?}");
        let stranger = control.deauthenticate(MacAddr([2, 0, 0, 0, 0, 0x99]), &BTreeSet::new(), 4).await;
        assert!(matches!(stranger.as_slice(), [(_, Ok(false))]), "{stranger:?}");
        assert!(matches!(control.station(MacAddr([2, 0, 0, 0, 0, 0x99])).await[0].1, Ok(None)));
        let nowhere = control.stations("../hv0").await;
        assert!(matches!(nowhere, Err(HostapdError::NotThere { .. })), "{nowhere:?}");
    });
    assert!(!program.has(STATION.0));
    assert_eq!(fs::read_dir(net.own_dir()).unwrap().count(), 0, "sockets were left behind");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn it_survives_whatever_hostapd_does() {
    let net = Net::new();
    inside(&net.ap, async {
        // Before there is a hostapd, a directory, or the one above it.
        let sockets = net.dir.path().join("hostapd");
        let mut hostapd = net.watch();
        assert!(quiet(&mut hostapd).await);

        let mut first = Program::start(&net.ap, "hv0", net.dir.path());
        assert!(matches!(next(&mut hostapd).await, HostapdEvent::BssUp(_)));
        // Ends as it should: says so, removes its socket and the directory.
        first.program.terminate(SOON);
        assert_eq!(next(&mut hostapd).await, HostapdEvent::BssDown { bss: "hv0".into() });
        assert_eq!(hostapd.bsses(), []);
        assert!(!sockets.join("hv0").exists());

        let mut second = Program::start(&net.ap, "hv0", net.dir.path());
        assert!(matches!(next(&mut hostapd).await, HostapdEvent::BssUp(_)));
        // Killed: leaves its socket, and nobody is told. A command finds out.
        second.program.kill();
        assert!(sockets.join("hv0").exists());
        let answers = hostapd.control().station(STATION).await;
        assert!(matches!(answers[0].1, Err(HostapdError::NotThere { .. })), "{answers:?}");
        assert_eq!(next(&mut hostapd).await, HostapdEvent::BssDown { bss: "hv0".into() });
        assert!(hostapd.control().station(STATION).await.is_empty());

        let mut third = Program::start(&net.ap, "hv0", net.dir.path());
        assert!(matches!(next(&mut hostapd).await, HostapdEvent::BssUp(_)));
        // Killed, and its successor is there before anybody asked.
        third.program.kill();
        let _fourth = Program::start(&net.ap, "hv0", net.dir.path());
        assert_eq!(next(&mut hostapd).await, HostapdEvent::BssDown { bss: "hv0".into() });
        assert!(matches!(next(&mut hostapd).await, HostapdEvent::BssUp(_)));
        assert_eq!(hostapd.control().stations("hv0").await.unwrap(), []);
    });
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn two_thousand_stations_are_listed_and_the_loop_goes_on() {
    let net = Net::new();
    let program = Program::start(&net.ap, "hv0", net.dir.path());
    let associated = wired::associate(&net.station, "hv1", 0, 2000, Duration::from_secs(60));
    assert_eq!(associated.accepted.len(), 2000);
    inside(&net.ap, async {
        let mut hostapd = net.watch();
        assert!(matches!(next(&mut hostapd).await, HostapdEvent::BssUp(_)));
        let start = Instant::now();
        let control = hostapd.control();
        let walk = control.stations("hv0");
        tokio::pin!(walk);
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        let stations = loop {
            tokio::select! {
                biased;
                stations = &mut walk => break stations.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
            longest = longest.max(last.elapsed());
            last = Instant::now();
        };
        println!("2000 stations listed in {:?}, longest time without a turn {longest:?}", start.elapsed());
        assert_eq!(stations.iter().filter(|station| station.state.is_present()).count(), 2000);
        assert!(longest < Duration::from_millis(200), "{longest:?}");

        let start = Instant::now();
        let mac = stations[1000].mac;
        let sent_away = control.deauthenticate(mac, &BTreeSet::new(), 4).await;
        println!("one of them sent away in {:?}", start.elapsed());
        assert!(matches!(sent_away.as_slice(), [(_, Ok(true))]), "{sent_away:?}");
        assert_eq!(
            next(&mut hostapd).await,
            HostapdEvent::StationDisconnected { bss: "hv0".into(), station: mac }
        );
        assert!(!program.has(mac.0));
    });
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn garbage_silence_and_refusals_are_told_apart() {
    let net = Net::new();
    let sockets = net.dir.path().join("hostapd");
    fs::create_dir(&sockets).unwrap();
    fs::write(sockets.join("plain"), "no socket").unwrap();
    let cases: [(&str, &str); 4] = [
        ("garbage", "\u{fffd}\u{1b}[2J"),
        ("refusal", "UNKNOWN COMMAND\n"),
        ("another", "02:00:00:00:00:77\nflags=[AUTHORIZED]\n"),
        ("silent", ""),
    ];
    let _pretenders: Vec<_> = cases.iter().map(|(name, reply)| pretend(&sockets.join(name), reply)).collect();
    let _global = pretend(&sockets.join("global"), "OK\n");
    inside(&net.ap, async {
        let mut hostapd = net.watch();
        let mut up: Vec<String> = Vec::new();
        while up.len() < cases.len() {
            let HostapdEvent::BssUp(bss) = next(&mut hostapd).await else { panic!("down") };
            up.push(bss.name);
        }
        assert!(quiet(&mut hostapd).await, "`global` or a plain file was taken for a BSS");

        let start = Instant::now();
        let answers = hostapd.control().deauthenticate(STATION, &BTreeSet::new(), 4).await;
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "one that is silent held the others up: {took:?}");
        for (name, answer) in answers {
            match (name.as_str(), &answer) {
                ("silent", Err(HostapdError::Silent { command: "STA", .. })) => {}
                ("garbage" | "refusal" | "another", Err(HostapdError::Garbled { command: "STA", .. })) => {}
                _ => panic!("{name}: {answer:?}"),
            }
        }
    });
}

/// Answers to `ATTACH`, `STATUS` and `GET_CONFIG` as hostapd does and to all else with `reply`; without one, never.
fn pretend(path: &Path, reply: &str) -> std::thread::JoinHandle<()> {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let reply = reply.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = match &buffer[..length] {
                b"ATTACH" => "OK\n",
                b"STATUS" => "state=ENABLED\n",
                b"GET_CONFIG" => "bssid=02:aa:00:00:00:01\nssid=x\n",
                _ if reply.is_empty() => continue,
                _ => reply.as_str(),
            };
            let _ = socket.send_to(answer.as_bytes(), from.as_pathname().expect("bound"));
        }
    })
}

async fn next(hostapd: &mut Hostapd) -> HostapdEvent {
    let event = tokio::time::timeout(SOON, hostapd.next_event()).await;
    event.unwrap_or_else(|_| panic!("nothing happened within {SOON:?}"))
}

/// Whether nothing happens for a while.
async fn quiet(hostapd: &mut Hostapd) -> bool {
    tokio::time::timeout(Duration::from_millis(500), hostapd.next_event()).await.is_err()
}

impl Net {
    fn new() -> Net {
        let (ap, station) = (Netns::new("ap"), Netns::new("station"));
        veth((&ap, "hv0"), (&station, "hv1"));
        station.ip(&format!("link set hv1 address {STATION}"));
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("own")).unwrap();
        Net { ap, station, dir }
    }

    fn own_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("own")
    }

    /// Inside of a runtime.
    fn watch(&self) -> Hostapd {
        Hostapd::watch(self.dir.path().join("hostapd"), self.own_dir())
    }

    fn supplicant(&self) -> Supplicant {
        Supplicant::start(&self.station, "hv1", self.dir.path())
    }
}
