//! The gateway as a process on a real router: what the owner does by hand, and what others do to it.
//! Looked at from outside: packets, kernel, hostapd.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::daemons::Gateway;
use support::frame::mac_text;
use support::lab::{self, Lab};
use support::wait::{SOON, wait_until};
use support::{wired, wpa};

const LAYOUTS: [&str; 2] = ["netdev", "bridge"];

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn by_hand_a_station_is_let_in_and_sent_away() {
    for layout in LAYOUTS {
        let lab = Lab::with_stations(2);
        let gateway = Gateway::start(&lab, &format!("[enforcement]\nlayout = \"{layout}\"\n"));
        let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
        assert!(anne.is_cut_off(lab::INTERNET_V4) && anne.is_cut_off(lab::INTERNET_V6), "{layout}");
        assert!(anne.pings(lab::GATEWAY_V4) && anne.pings(lab::GATEWAY_V6), "{layout}");

        gateway.grant(anne.mac);
        assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6), "{layout}");
        assert!(bob.is_cut_off(lab::INTERNET_V4) && bob.is_cut_off(lab::INTERNET_V6), "{layout}");
        let rows = gateway.ask(json!({"verb": "grants"}));
        assert!(rows[0]["moved"]["up_bytes"].as_u64() > Some(0), "{layout}: {rows}");
        assert_eq!(rows[0]["present"], true, "{layout}: {rows}");

        let report = gateway.evict(anne.mac);
        assert!(anne.is_cut_off(lab::INTERNET_V4) && anne.is_cut_off(lab::INTERNET_V6), "{layout}: {report}");
        assert_eq!(report["steps"][0]["outcome"]["done"]["freed"], 2, "{layout}: {report}");
        assert!(report["moved"]["down_bytes"].as_u64() > Some(0), "{layout}: {report}");
        let refused = gateway.try_ask(&json!({"verb": "evict", "target": {"station": anne.mac_text()}}));
        assert_eq!(refused["error"]["word"], "no-grant", "{layout}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_a_stopped_gateway_left_is_cleared_and_its_grants_count_again() {
    for more in ["", "[enforcement]\nlayout = \"bridge\"\nown_table = false\n"] {
        let lab = Lab::with_stations(2);
        let mut gateway = Gateway::start(&lab, more);
        let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
        gateway.grant(anne.mac);
        let (cleared, said) = gateway.clear();
        assert!(!cleared && said.contains("stop it first"), "{more}: {said}");
        assert!(anne.reaches(lab::INTERNET_V4) && bob.is_cut_off(lab::INTERNET_V4), "{more}");

        gateway.program.terminate(SOON);
        assert!(anne.reaches(lab::INTERNET_V6) && bob.is_cut_off(lab::INTERNET_V6), "{more}: enforced");
        for _ in 0..2 {
            let (cleared, said) = gateway.clear();
            assert!(cleared, "{more}: {said}");
            assert!(!lab.gateway.run("nft list ruleset").contains("wayleave"), "{more}");
        }
        assert!(bob.reaches(lab::INTERNET_V4) && bob.reaches(lab::INTERNET_V6), "{more}");

        gateway.again();
        assert!(anne.reaches(lab::INTERNET_V4) && bob.is_cut_off(lab::INTERNET_V4), "{more}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn killed_and_restarted_under_traffic_nothing_is_lost_and_nothing_leaks() {
    for layout in LAYOUTS {
        let lab = Lab::with_stations(2);
        let mut gateway = Gateway::start(&lab, &format!("[enforcement]\nlayout = \"{layout}\"\n"));
        gateway.grant(lab.stations[0].mac);
        assert!(lab.stations[0].reaches(lab::INTERNET_V4) && lab.stations[0].reaches(lab::INTERNET_V6));
        let before = gateway.ask(json!({"verb": "grants"}));

        let granted =
            [lab.stream_up(0, false, 1000), lab.stream_up(0, true, 1000), lab.stream_down(0, false, 1000)];
        let refused =
            [lab.stream_up(1, false, 1000), lab.stream_up(1, true, 1000), lab.stream_down(1, true, 1000)];
        std::thread::sleep(Duration::from_millis(300));
        gateway.program.kill();
        std::thread::sleep(Duration::from_millis(300));
        gateway.again();
        std::thread::sleep(Duration::from_millis(300));
        gateway.program.terminate(SOON);
        std::thread::sleep(Duration::from_millis(300));
        gateway.again();
        std::thread::sleep(Duration::from_millis(300));
        for stream in granted {
            stream.stop().assert_whole();
        }
        for stream in refused {
            stream.stop().assert_nothing();
        }
        let after = gateway.ask(json!({"verb": "grants"}));
        assert_eq!(after[0]["id"], before[0]["id"], "{layout}: the grant was adopted");
        let moved = |rows: &Value| rows[0]["moved"]["up_bytes"].as_u64().unwrap();
        assert!(
            moved(&after) >= moved(&before) + 1000 * 50,
            "{layout}: its figures went on: {before} {after}"
        );
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn tables_that_somebody_flushes_are_put_back() {
    for layout in LAYOUTS {
        let lab = Lab::with_stations(2);
        let gateway = Gateway::start(
            &lab,
            &format!("[enforcement]\nlayout = \"{layout}\"\nown_table = false\nlow_mark = 90\n"),
        );
        // Beyond its low mark when the table goes.
        let limit = json!({"station": lab.stations[0].mac_text(), "quota": 2_000_000});
        gateway.ask(json!({"verb": "grant", "grants": [limit]}));
        let granted = lab.stream_up(0, false, 1000);
        let refused = lab.stream_up(1, false, 1000);
        let mut events = gateway.watch();
        let mut unsettled = Vec::new();
        // What is counted is looked at every five seconds.
        std::thread::sleep(Duration::from_millis(5_500));
        let mut used = Vec::new();
        for again in 1..=3 {
            let flushed = Instant::now();
            used.push(quota_used(&lab, layout));
            // fw4's `stop` deletes table by table.
            let stop = format!("nft delete table {layout} wayleave");
            lab.gateway.run(if again == 2 { &stop } else { "nft flush ruleset" });
            let restored = events.next("restored");
            // The last news of a flush may come after the table stands again, and make it once more.
            std::thread::sleep(Duration::from_millis(300));
            unsettled.push((flushed, Instant::now()));
            assert_eq!(restored["grants"], 1, "{layout}: {restored}");
            assert!(restored["took_us"].as_u64() < Some(1_000_000), "{layout}: {restored}");
            assert!(gateway.ask(json!({"verb": "status"}))["restored"].as_u64() >= Some(again), "{layout}");
        }
        used.push(quota_used(&lab, layout));
        // 92 bytes a packet: five seconds of them are less than all that passed before the first flush.
        assert!(used[0] > 400_000, "{layout}: {used:?}");
        assert!(
            used.windows(2).all(|pair| pair[1] + 500_000 > pair[0] && pair[1] > 300_000),
            "{layout}: {used:?}"
        );
        let moved = &gateway.ask(json!({"verb": "grants"}))[0]["moved"]["up_bytes"];
        assert!(moved.as_u64() > Some(400_000), "{layout}: {moved}");
        let listed = lab.gateway.run(&format!("nft list table {layout} wayleave"));
        assert!(listed.contains(&lab.stations[0].mac_text()), "{layout}: {listed}");
        // fw4 deletes and adds only its own.
        lab.gateway.run("nft add table inet fw4");
        lab.gateway.run("nft delete table inet fw4");
        assert!(lab.stations[1].is_cut_off(lab::INTERNET_V4), "{layout}");
        // A packet that is under way while a ruleset comes or goes may be judged by half of each. Outside of that
        // time none is lost.
        let tally = granted.stop();
        let outside: Vec<u64> = tally
            .lost()
            .into_iter()
            .filter(|number| {
                let sent = tally.sent[usize::try_from(*number).expect("an index")];
                !unsettled.iter().any(|(from, to)| (*from..=*to).contains(&sent))
            })
            .collect();
        assert!(outside.is_empty(), "{layout}: {outside:?} of {} lost", tally.sent.len());
        let leaked = refused.stop();
        assert!(leaked.arrived.len() < 300, "{layout}: {} packets in three gaps", leaked.arrived.len());
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn an_owned_table_is_not_flushed_at_all() {
    let lab = Lab::with_stations(2);
    let gateway = Gateway::start(&lab, "");
    assert_eq!(gateway.ask(json!({"verb": "status"}))["owned"], true);
    gateway.grant(lab.stations[0].mac);
    let granted = lab.stream_up(0, false, 1000);
    let refused = lab.stream_up(1, false, 1000);
    for _ in 0..3 {
        lab.gateway.run("nft flush ruleset");
        std::thread::sleep(Duration::from_millis(50));
    }
    granted.stop().assert_whole();
    refused.stop().assert_nothing();
    assert_eq!(gateway.ask(json!({"verb": "status"}))["restored"], 0);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn hostapd_may_be_killed_and_come_back() {
    let lab = Lab::with_stations(1);
    let anne = &lab.stations[0];
    let gateway = Gateway::start(&lab, "");
    let mut hostapd = lab.hostapd();
    let _supplicant = wpa::Supplicant::start(&anne.netns, lab::STATION, lab.path());
    gateway.grant(anne.mac);
    let is_associated = || {
        let rows = gateway.ask(json!({"verb": "stations"}));
        rows.as_array().unwrap().iter().any(|row| row["mac"] == anne.mac_text() && row["bssid"].is_string())
    };
    wait_until("the association to be seen", SOON, is_associated);
    for _ in 0..2 {
        hostapd.program.kill();
        hostapd = lab.hostapd();
        anne.netns.run(&format!("wpa_cli -p {} -i {} logoff", wpa_dir(&lab, 0), lab::STATION));
        anne.netns.run(&format!("wpa_cli -p {} -i {} logon", wpa_dir(&lab, 0), lab::STATION));
        wait_until("hostapd to know it again", SOON, || hostapd.has(anne.mac));
        wait_until("the gateway to know it again", SOON, is_associated);
        assert!(anne.reaches(lab::INTERNET_V4), "nobody was sent away");
    }
    let report = gateway.evict(anne.mac);
    assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 1, "{report}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn two_thousand_stations_at_once() {
    let lab = Lab::with_stations(0);
    let hostapd = lab.hostapd();
    let gateway = Gateway::start(&lab, "");
    let associated = wired::associate(&lab.crowd, lab::CROWD, 0, 2007, Duration::from_secs(60));
    assert_eq!(associated.accepted.len(), 2007);
    let stations: Vec<[u8; 6]> = associated.accepted.into_iter().collect();
    let asks: Vec<Value> = stations.iter().map(|mac| json!({"station": mac_text(*mac)})).collect();
    gateway.ask(json!({"verb": "grant", "grants": asks}));
    wait_until("all of them to be seen", Duration::from_secs(30), || {
        let rows = gateway.ask(json!({"verb": "stations"}));
        rows.as_array().is_some_and(|rows| rows.iter().filter(|row| row["bssid"].is_string()).count() == 2007)
    });
    let listed = lab.gateway.run("nft list map netdev wayleave up");
    assert_eq!(listed.matches("comment \"grant ").count(), 2007);
    for mac in &stations[..20] {
        let report = gateway.evict(*mac);
        assert_eq!(report["steps"][2]["outcome"]["done"]["freed"], 1, "{report}");
        assert!(!hostapd.has(*mac));
    }
    assert_eq!(gateway.ask(json!({"verb": "grants"})).as_array().unwrap().len(), 1987);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn grants_survive_a_reboot_and_what_was_taken_back_does_not() {
    let lab = Lab::with_stations(2);
    let mut gateway = Gateway::start(&lab, "");
    gateway.grant(lab.stations[0].mac);
    gateway.ask(json!({"verb": "grant", "grants": [
        {"station": lab.stations[1].mac_text(), "lease": 600_000, "quota": 5_000_000}]}));
    assert!(lab.stations[1].reaches(lab::INTERNET_V4));
    gateway.program.terminate(SOON);
    reboot(&lab, &gateway);
    assert!(lab.stations[0].reaches(lab::INTERNET_V4), "without any ruleset everybody passes");
    gateway.again();
    let rows = gateway.ask(json!({"verb": "grants"}));
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
    let limited =
        rows.as_array().unwrap().iter().find(|row| row["quota"] == 5_000_000).expect("the limit is kept");
    assert!(limited["left"].as_u64().is_some_and(|left| (500_000..=600_000).contains(&left)), "{limited}");
    assert!(limited["moved"]["up_bytes"].as_u64() > Some(0), "{limited}");
    assert!(lab.stations[0].reaches(lab::INTERNET_V4) && lab.stations[1].reaches(lab::INTERNET_V4));

    gateway.evict(lab.stations[0].mac);
    gateway.program.terminate(SOON);
    reboot(&lab, &gateway);
    gateway.again();
    assert!(lab.stations[0].is_cut_off(lab::INTERNET_V4));
    assert!(lab.stations[1].reaches(lab::INTERNET_V4));

    // Nobody says that the power will go: what the owner did by hand is kept two seconds later.
    gateway
        .ask(json!({"verb": "grant", "grants": [{"station": lab.stations[0].mac_text(), "lease": 600_000}]}));
    gateway.evict(lab.stations[1].mac);
    let kept = gateway.dir().join("state/grants.json");
    wait_until("both to be kept", SOON, || {
        let text = std::fs::read_to_string(&kept).unwrap_or_default();
        text.contains(&lab.stations[0].mac_text()) && !text.contains(&lab.stations[1].mac_text())
    });
    gateway.program.kill();
    reboot(&lab, &gateway);
    gateway.again();
    assert!(lab.stations[0].reaches(lab::INTERNET_V4));
    assert!(lab.stations[1].is_cut_off(lab::INTERNET_V4));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn time_and_bytes_end_a_grant_by_themselves() {
    let lab = Lab::with_stations(2);
    let gateway = Gateway::start(&lab, "[enforcement]\nspent_wait = \"0s\"\n");
    let mut events = gateway.watch();
    gateway.ask(json!({"verb": "grant", "grants": [{"station": lab.stations[0].mac_text(), "lease": 1500}]}));
    assert!(lab.stations[0].reaches(lab::INTERNET_V4));
    let report = events.next("evicted")["report"].clone();
    assert_eq!(report["cause"], "expired", "{report}");
    assert!(lab.stations[0].is_cut_off(lab::INTERNET_V4));

    gateway
        .ask(json!({"verb": "grant", "grants": [{"station": lab.stations[1].mac_text(), "quota": 20_000}]}));
    let stream = lab.stream_up(1, false, 1000);
    let report = events.next("evicted")["report"].clone();
    assert_eq!(report["cause"], "quota", "{report}");
    let tally = stream.stop();
    // 64 bytes of payload and 28 of headers each; ARP and ND are not counted.
    assert!(tally.arrived.len() <= 20_000 / 92, "{} packets passed", tally.arrived.len());
    assert!(lab.stations[1].is_cut_off(lab::INTERNET_V4));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_grant_is_topped_up_under_traffic_and_no_packet_is_lost() {
    for layout in ["netdev", "bridge"] {
        let lab = Lab::with_stations(1);
        let mut gateway = Gateway::start(
            &lab,
            &format!("[enforcement]\nlayout = \"{layout}\"\nlow_mark = 20\nspent_wait = \"0s\"\n"),
        );
        let mut events = gateway.watch();
        let mac = lab.stations[0].mac_text();
        gateway
            .ask(json!({"verb": "grant", "grants": [{"station": mac, "quota": 50_000, "lease": 600_000}]}));
        // 92 bytes each at layer 3: the mark at 40 000 is crossed after less than half a second.
        let stream = lab.stream_up(0, false, 1000);
        let low = events.next("low");
        let grant = low["grant"].as_str().unwrap().to_owned();
        assert_eq!((&low["station"], &low["quota"]), (&json!(mac), &json!(50_000)), "{layout}");
        assert!(low["left"].as_u64().is_some_and(|left| left <= 10_000), "{layout}: {low}");
        let more = json!({"verb": "topup", "target": {"grant": grant}, "quota": 150_000, "lease": 600_000});
        let row = gateway.ask(more);
        assert_eq!(row["quota"], 200_000, "{layout}");
        assert!(row["left"].as_u64().is_some_and(|left| left > 1_100_000), "{layout}: {row}");
        // What was used stays used, and the kernel says it again: 20 % of what it has now.
        let low = events.next("low");
        assert!(low["left"].as_u64().is_some_and(|left| (1..=40_000).contains(&left)), "{layout}: {low}");
        gateway.program.kill();
        gateway.again();
        // Also if it is away at that moment, and whoever died at the last byte ends it afterwards.
        wait_until("the end", SOON, || gateway.ask(json!({"verb": "grants"})) == json!([]));
        let tally = stream.stop();
        let bytes = tally.arrived.len() * 92;
        // A packet at the end of each of two quotas, and what else the station says.
        assert!((198_000..=200_000).contains(&bytes), "{layout}: {bytes} bytes passed");
        let (first, last) = (tally.arrived.first().unwrap(), tally.arrived.last().unwrap());
        assert_eq!(tally.arrived.len() as u64, last.0 - first.0 + 1, "{layout}: none is missing");
    }
}

/// Before, at and after the last byte; the kernel counts what it drops, and that is not charged.
#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn who_has_used_up_all_stays_and_is_topped_up() {
    for layout in LAYOUTS {
        let lab = Lab::with_stations(1);
        let mut gateway =
            Gateway::start(&lab, &format!("[enforcement]\nlayout = \"{layout}\"\nspent_wait = \"4s\"\n"));
        let mut events = gateway.watch();
        let (anne, mac) = (&lab.stations[0], lab.stations[0].mac_text());
        let hostapd = lab.hostapd();
        let _supplicant = wpa::Supplicant::start(&anne.netns, lab::STATION, lab.path());
        wait_until("hostapd to know it", SOON, || hostapd.has(anne.mac));
        gateway.ask(json!({"verb": "grant", "grants": [{"station": mac, "quota": 50_000}]}));
        let stream = lab.stream_up(0, false, 1000);
        let until_spent = |events: &mut support::daemons::Events| {
            let spent = std::iter::repeat_with(|| events.next("low")).find(|low| low["left"] == 0);
            let grant = spent.expect("it is said")["grant"].as_str().expect("an id").to_owned();
            // The last packet may be on its way still when it is said.
            std::thread::sleep(Duration::from_millis(100));
            let passed = stream.arrived();
            // Twice the quota and more is dropped.
            std::thread::sleep(Duration::from_millis(1_200));
            assert_eq!(stream.arrived(), passed, "{layout}: nothing passes");
            assert!(hostapd.has(anne.mac), "{layout}: nobody is sent away");
            assert!(anne.pings(lab::GATEWAY_V4), "{layout}: what is open is reached");
            (grant, passed)
        };
        let (grant, passed) = until_spent(&mut events);
        assert!((49_000..=50_000).contains(&(passed * 92)), "{layout}: {passed} packets");
        let topup = json!({"verb": "topup", "target": {"grant": grant}, "quota": 46_000});
        assert_eq!(gateway.ask(topup.clone())["quota"], 96_000, "{layout}");
        // All that was sold passes, and no more, over a restart in that state too.
        let (_, passed) = until_spent(&mut events);
        assert!((94_000..=96_000).contains(&(passed * 92)), "{layout}: {passed} packets");
        gateway.program.kill();
        gateway.again();
        let mut events = gateway.watch();
        gateway.ask(topup);
        let (_, passed) = until_spent(&mut events);
        assert!((139_000..=142_000).contains(&(passed * 92)), "{layout}: {passed} packets");
        // Nobody adds anything.
        let report = events.next("evicted")["report"].clone();
        assert_eq!(report["cause"], "quota", "{layout}: {report}");
        wait_until("it to be sent away", SOON, || !hostapd.has(anne.mac));
        drop(stream);
    }
}

/// Towards the station the kernel counts Ethernet headers in one of the layouts: nobody has bought those.
#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_is_sold_is_what_arrives_without_headers() {
    for layout in LAYOUTS {
        let lab = Lab::with_stations(1);
        let gateway =
            Gateway::start(&lab, &format!("[enforcement]\nlayout = \"{layout}\"\nspent_wait = \"0s\"\n"));
        let mut events = gateway.watch();
        let anne = &lab.stations[0];
        gateway.ask(json!({"verb": "grant", "grants": [{"station": anne.mac_text(), "quota": 400_000}]}));
        let stream = lab.stream_down(0, false, 2000);
        let report = events.next("evicted")["report"].clone();
        assert_eq!(report["cause"], "quota", "{layout}: {report}");
        // 64 bytes of payload and 28 of headers each.
        let passed = stream.stop().arrived.len() * 92;
        assert!((398_000..=401_000).contains(&passed), "{layout}: {passed} bytes: {report}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn bad_requests_change_nothing() {
    let lab = Lab::with_stations(1);
    let gateway = Gateway::start(&lab, "");
    let before = lab.gateway.run("nft list ruleset");
    for (request, word) in [
        (json!({"verb": "grant", "grants": [{"station": "ff:ff:ff:ff:ff:ff"}]}), "not-a-station"),
        (
            json!({"verb": "grant", "grants": [{"station": "02:00:00:00:00:01"}, {"station": "02:00:00:00:00:01"}]}),
            "twice",
        ),
        (json!({"verb": "grant", "grants": [{"station": mac_text(lab::BRIDGE_MAC)}]}), "own-address"),
        (json!({"verb": "grant", "grants": [{"station": "02:00:00:00:00:01", "lease": 0}]}), "no-time"),
        (json!({"verb": "grant", "grants": [{"station": "02:00:00:00:00:01", "quota": 0}]}), "no-bytes"),
        (json!({"verb": "grant", "grants": [{"station": "02:00:00:00:00:01\n"}]}), "bad-request"),
        (json!({"verb": "grant", "grants": [{"station": "02:00:00:00:00:01", "rate": 1}]}), "bad-request"),
        (json!({"verb": "evict", "target": {"station": "02:00:00:00:00:01"}}), "no-grant"),
        (json!({"verb": "topup", "target": {"station": "02:00:00:00:00:01"}, "quota": 1}), "no-grant"),
        (
            json!({"verb": "grant", "grants": [{"station": "02:00:00:00:00:01", "quota": 1u64 << 63}]}),
            "too-many-bytes",
        ),
        (json!({"verb": "format"}), "bad-request"),
        (json!([1, 2, 3]), "bad-request"),
    ] {
        let answer = gateway.try_ask(&request);
        assert_eq!(answer["error"]["word"], word, "{request}: {answer}");
    }
    let without_counters = |text: &str| {
        text.lines().filter(|line| !line.contains("packets")).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(without_counters(&lab.gateway.run("nft list ruleset")), without_counters(&before));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn the_doctor_says_what_is_there_and_what_to_do_about_the_rest() {
    for layout in LAYOUTS {
        let lab = Lab::with_stations(0);
        let gateway = Gateway::start(&lab, &format!("[enforcement]\nlayout = \"{layout}\"\n"));
        let finding = |word: &str| {
            let findings = gateway.ask(json!({"verb": "doctor"}));
            let of = findings.as_array().expect("a list").iter().find(|finding| finding["word"] == word);
            of.cloned().unwrap_or_else(|| panic!("{layout}: nothing of {word}: {findings}"))
        };
        let says = |word: &str, severity: &str, text: &str| {
            let found = finding(word);
            let said = found["found"].as_str().expect("a sentence").to_owned();
            assert!(found["severity"] == severity && said.contains(text), "{layout}: {found}");
            assert!(severity == "good" || found["advice"].as_str().is_some_and(|advice| !advice.is_empty()));
        };
        says("layout", "good", layout);
        says("interface", "good", "br-guest: there, with 1 bridge port");
        says("owner-flag", "good", "nobody else");
        says("conntrack", "good", "flows are freed");
        says("coordinator", "good", "none");
        says("hostapd", "hint", "no control socket");
        says("dnsmasq", "hint", "no lease file");
        lab.gateway.sysctl("net.ipv4.ip_forward", "0");
        says("forwarding", "hint", "does not forward IPv4");
        let _hostapd = lab.hostapd();
        let _dnsmasq = support::dnsmasq::Dnsmasq::start(&lab.gateway, lab::BRIDGE, lab.path(), "pid-file=");
        wait_until("hostapd to be found", SOON, || finding("hostapd")["severity"] == "good");
        says("hostapd", "good", lab::PORT);
        std::fs::write(lab.path().join("dnsmasq.leases"), "no lease\n").unwrap();
        says("dnsmasq", "hint", "1 line that cannot be read");
        lab.gateway.ip(&format!("link set {} down", lab::BRIDGE));
        lab.gateway.ip(&format!("link del {}", lab::BRIDGE));
        wait_until("the interface to be missed", SOON, || finding("interface")["severity"] == "problem");
        says("interface", "problem", "br-guest does not exist");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_second_gateway_does_not_start_beside_the_first() {
    let lab = Lab::with_stations(1);
    let gateway = Gateway::start(&lab, "");
    gateway.grant(lab.stations[0].mac);
    let mut command = lab.gateway.command(support::daemons::WAYLEAVE);
    command.args(["gateway", "--config"]).arg(gateway.dir().join("gateway.toml"));
    let output = command.output().expect("it starts");
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("another gateway is running"), "{complaint}");
    assert!(lab.stations[0].reaches(lab::INTERNET_V4));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn settings_are_read_again_without_touching_stations() {
    let lab = Lab::with_stations(2);
    let gateway = Gateway::start(&lab, "[open]\nprefixes = []\n");
    gateway.grant(lab.stations[0].mac);
    let granted = lab.stream_up(0, false, 1000);
    assert!(lab.stations[1].is_cut_off(lab::INTERNET_V4));
    let config = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let opened = text.replace("prefixes = []", &format!("prefixes = [\"{}/32\"]", lab::INTERNET_V4));
    std::fs::write(&config, &opened).unwrap();
    gateway.program.signal(nix::sys::signal::Signal::SIGHUP);
    assert!(lab.stations[1].reaches(lab::INTERNET_V4), "the prefix is open to everybody");
    // A mistake changes nothing.
    std::fs::write(&config, opened.replace("prefixes", "prefixs")).unwrap();
    gateway.program.signal(nix::sys::signal::Signal::SIGHUP);
    assert!(lab.stations[1].reaches(lab::INTERNET_V4));
    granted.stop().assert_whole();
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn visitors_do_not_reach_each_other_through_the_gateway() {
    for layout in ["netdev", "bridge"] {
        let lab = Lab::with_stations(2);
        let apart =
            format!("[enforcement]\nlayout = \"{layout}\"\nvisitors = \"apart\"\n[open]\nprefixes = []\n");
        let gateway = Gateway::start(&lab, &apart);
        let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
        let its_mac = lab.gateway.run(&format!("cat /sys/class/net/{}/address", lab::BRIDGE));
        for (here, there) in [(anne, bob), (bob, anne)] {
            gateway.grant(here.mac);
            for ip in [there.v4.to_string(), there.v6.to_string()] {
                here.netns.ip(&format!("neigh replace {ip} lladdr {} dev {}", its_mac.trim(), lab::STATION));
            }
        }
        let meet = || anne.pings(bob.v4) || bob.pings(anne.v6) || anne.pings(bob.v6);
        assert!(!meet(), "{layout}");
        assert!(
            anne.pings(lab::GATEWAY_V4) && anne.pings(lab::GATEWAY_V6),
            "{layout}: the gateway is no visitor"
        );
        assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6), "{layout}");

        // A printer: the owner opens it to everybody.
        let config = gateway.dir().join("gateway.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let opened = text.replace("prefixes = []", &format!("prefixes = [\"{}/32\"]", bob.v4));
        std::fs::write(&config, opened).unwrap();
        gateway.program.signal(nix::sys::signal::Signal::SIGHUP);
        wait_until("bob to be open", SOON, || anne.pings(bob.v4));
        assert!(!anne.pings(bob.v6), "{layout}");
        // The way is there: it is the rule that keeps them apart.
        std::fs::write(&config, text.replace("\"apart\"", "\"together\"")).unwrap();
        gateway.program.signal(nix::sys::signal::Signal::SIGHUP);
        wait_until("visitors to meet", SOON, || anne.pings(bob.v4) && anne.pings(bob.v6));
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn ports_are_kept_apart_for_as_long_as_visitors_are() {
    let lab = Lab::with_stations(1);
    let _hostapd = lab.hostapd();
    let mut gateway = Gateway::start(&lab, "[enforcement]\nvisitors = \"apart\"\n");
    let config = gateway.dir().join("gateway.toml");
    let apart = std::fs::read_to_string(&config).unwrap();
    let together = apart.replace("\"apart\"", "\"together\"");
    let isolate = |whether: &str| {
        lab.gateway.ip(&format!("link set {} type bridge_slave isolated {whether}", lab::PORT));
    };
    let is_isolated = || {
        let said = lab.gateway.run(&format!("bridge -d link show dev {}", lab::PORT));
        said.contains("isolated on")
    };
    wait_until("the port to be isolated", SOON, is_isolated);
    std::fs::write(&config, &together).unwrap();
    gateway.program.signal(nix::sys::signal::Signal::SIGHUP);
    wait_until("the port to be as it was", SOON, || !is_isolated());

    // Over a restart.
    std::fs::write(&config, &apart).unwrap();
    gateway.program.signal(nix::sys::signal::Signal::SIGHUP);
    wait_until("the port to be isolated", SOON, is_isolated);
    gateway.program.terminate(SOON);
    std::fs::write(&config, &together).unwrap();
    gateway.again();
    wait_until("the port to be as it was", SOON, || !is_isolated());

    // What somebody else has isolated stays so.
    isolate("on");
    gateway.program.terminate(SOON);
    std::fs::write(&config, &apart).unwrap();
    gateway.again();
    std::fs::write(&config, &together).unwrap();
    gateway.program.signal(nix::sys::signal::Signal::SIGHUP);
    gateway.grant(lab.stations[0].mac);
    assert!(lab.stations[0].reaches(lab::INTERNET_V4));
    assert!(is_isolated());
}

/// What the kernel has counted against the only quota of a grant.
fn quota_used(lab: &Lab, layout: &str) -> u64 {
    let text = lab.gateway.run(&format!("nft -j list quotas {layout}"));
    let listed: Value = serde_json::from_str(&text).expect("JSON");
    let quotas =
        listed["nftables"].as_array().expect("a list").iter().filter_map(|object| object.get("quota"));
    let mut ours =
        quotas.filter(|quota| quota["name"].as_str().is_some_and(|name| name.starts_with("grant-")));
    ours.next().expect("a quota")["used"].as_u64().expect("a number")
}

/// As after a power cut: no ruleset, no runtime directory.
fn reboot(lab: &Lab, gateway: &Gateway) {
    lab.gateway.try_run("nft delete table netdev wayleave").expect("nobody owns it now");
    std::fs::remove_dir_all(gateway.dir().join("run")).expect("in memory");
    std::fs::create_dir_all(gateway.dir().join("run")).expect("made anew");
}

fn wpa_dir(lab: &Lab, station: usize) -> String {
    lab.path().join(format!("wpa-{}", lab.stations[station].netns.name())).display().to_string()
}
