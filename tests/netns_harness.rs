//! The harness itself, against the real programs: what the other privileged tests rely on.
//!
//! Not a test of `wayleave`: nothing here starts it.

mod support;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::frame::{RawPort, arp_reply, neighbour_advertisement, udp};
use support::lab::{
    BRIDGE, BRIDGE_MAC, COORDINATOR_V4, CROWD, GATEWAY_V4, GATEWAY_V6, INTERNET_V4, INTERNET_V6, Lab,
    STATION, Wish,
};
use support::netns::Netns;
use support::proc::Program;
use support::wait::{SOON, wait_until};
use support::wpa::Supplicant;
use support::{dhcp, dnsmasq::Dnsmasq, wired};

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn a_namespace_and_what_runs_in_it_end_together() {
    let netns = Netns::new("short");
    let (name, path) = (netns.name().to_owned(), netns.path());
    let mut sleeper = Program::start("sleep", {
        let mut command = netns.command("sleep");
        command.arg("60");
        command
    });
    wait_until("sleep to run inside", SOON, || netns.pids() == [sleeper.pid()]);
    drop(netns);
    assert!(!path.exists(), "{name} is still there");
    assert!(!sleeper.wait_exit(SOON).success());
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn a_panic_leaves_no_namespace_behind() {
    let left = std::thread::spawn(|| {
        let lab = Lab::with_stations(1);
        std::panic::panic_any(lab.gateway.path());
    });
    let path = left.join().expect_err("it panics").downcast::<PathBuf>().expect("the path");
    assert!(!path.exists(), "{} is still there", path.display());
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn stations_reach_the_internet_and_not_each_other() {
    let lab = Lab::with_stations(2);
    let hosts: [IpAddr; 5] =
        [INTERNET_V4.into(), INTERNET_V6.into(), COORDINATOR_V4.into(), GATEWAY_V4.into(), GATEWAY_V6.into()];
    for host in hosts {
        assert!(lab.stations[1].pings(host), "{host} is silent");
    }
    assert!(lab.stations[0].reaches(INTERNET_V4));
    assert!(lab.stations[0].reaches(INTERNET_V6));
    assert!(!lab.stations[0].pings(lab.stations[1].v4));

    lab.gateway.run("nft add rule inet home forward drop");
    lab.gateway.run("nft insert rule inet home forward drop");
    assert!(lab.stations[0].is_cut_off(INTERNET_V4));
    assert!(lab.stations[0].is_cut_off(INTERNET_V6));
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn masquerading_hides_the_guests_and_flows_are_tracked() {
    let lab = Lab::new(Wish { masquerade: true, ..Wish::default() });
    assert!(lab.stations[0].reaches(INTERNET_V4));
    let flows = lab.gateway.run("conntrack -L");
    let station = &lab.stations[0];
    assert!(flows.contains(&format!("src={}", station.v4)), "{flows}");
    assert!(flows.contains("dst=198.51.100.1"), "{flows}");
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn a_stream_counts_every_packet_both_ways_in_both_families() {
    let lab = Lab::with_stations(1);
    let streams = [
        lab.stream_up(0, false, 1000),
        lab.stream_up(0, true, 1000),
        lab.stream_down(0, false, 1000),
        lab.stream_down(0, true, 1000),
    ];
    for stream in &streams {
        wait_until("500 packets", SOON, || stream.arrived() >= 500);
    }
    for stream in streams {
        let tally = stream.stop();
        tally.assert_whole();
        assert!(tally.sent.len() >= 500, "{}", tally.sent.len());
    }

    let stream = lab.stream_up(0, false, 1000);
    wait_until("100 packets", SOON, || stream.arrived() >= 100);
    lab.gateway.run("nft insert rule inet home forward drop");
    let cut = Instant::now();
    let sent_after = Duration::from_millis(200);
    std::thread::sleep(sent_after);
    let tally = stream.stop();
    assert!(tally.lost().len() >= 100, "{} lost", tally.lost().len());
    let last = tally.last_arrival().expect("100 packets");
    assert!(last <= cut + Duration::from_millis(5), "{:?} after the rule", last - cut);
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn hostapd_lets_a_real_supplicant_in_and_out() {
    let lab = Lab::with_stations(1);
    let hostapd = lab.hostapd();
    let station = &lab.stations[0];
    assert!(!hostapd.has(station.mac));
    let supplicant = Supplicant::start(&station.netns, STATION, lab.path());
    wait_until("hostapd to have it", SOON, || hostapd.stations() == [station.mac]);
    assert!(station.reaches(INTERNET_V4));

    assert_eq!(hostapd.command(&format!("DEAUTHENTICATE {}", station.mac_text())), "OK\n");
    assert!(!hostapd.has(station.mac));
    assert!(supplicant.command("STATUS").contains("COMPLETED"), "a wired supplicant is not told");
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn dnsmasq_leases_in_both_families() {
    let lab = Lab::new(Wish { addressed: false, ..Wish::default() });
    let dnsmasq = Dnsmasq::start(&lab.gateway, BRIDGE, lab.path(), "");
    let station = &lab.stations[0];
    let v4 = dhcp::lease_v4(&station.netns, STATION, lab.path());
    let v6 = dhcp::lease_v6(&station.netns, STATION, lab.path());
    wait_until("both leases in the file", SOON, || {
        let leased = dnsmasq.leased();
        leased.contains(&v4.into()) && leased.contains(&v6.into())
    });
    assert!(station.reaches(INTERNET_V4));
    assert!(station.reaches(INTERNET_V6), "by router advertisement");
    let neighbours = lab.gateway.ip(&format!("neigh show dev {BRIDGE}"));
    assert!(neighbours.contains(&v4.to_string()), "{neighbours}");
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn dnsmasq_and_hostapd_share_a_port() {
    let lab = Lab::new(Wish { addressed: false, ..Wish::default() });
    let hostapd = lab.hostapd();
    let _dnsmasq = Dnsmasq::start(&lab.gateway, BRIDGE, lab.path(), "");
    let station = &lab.stations[0];
    let _supplicant = Supplicant::start(&station.netns, STATION, lab.path());
    dhcp::lease_v4(&station.netns, STATION, lab.path());
    assert!(hostapd.has(station.mac));
    assert!(station.reaches(INTERNET_V4));
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn two_thousand_and_seven_stations_and_not_one_more() {
    let lab = Lab::with_stations(0);
    let hostapd = lab.hostapd();
    let crowd = wired::associate(&lab.crowd, CROWD, 0, 2007, Duration::from_secs(30));
    assert_eq!(crowd.accepted.len(), 2007, "{} refused, {:?}", crowd.refused.len(), crowd.took);
    assert_eq!(hostapd.stations().len(), 2007);
    let late = wired::associate(&lab.crowd, CROWD, 3000, 1, Duration::from_secs(2));
    assert!(late.accepted.is_empty());
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn frames_made_by_hand_are_believed() {
    let lab = Lab::with_stations(0);
    let port = RawPort::open(&lab.crowd, CROWD, 3);
    let (mac, v4, v6) = ([2, 0xdd, 0, 0, 0, 1], "10.77.0.99", "fd77::99");
    port.send(&arp_reply(mac, mac, v4.parse().expect("v4"), BRIDGE_MAC, GATEWAY_V4));
    lab.gateway.try_run(&format!("ping -c 1 -W 1 {v4}")).expect_err("nobody answers");
    let asked = wait_for_frame(&port, |frame| frame[12..14] == [8, 6] || frame[12..14] == [8, 0]);
    assert_eq!(&asked[6..12], &BRIDGE_MAC);

    let port_of = RawPort::open(&lab.internet, "inet0", 3);
    for (source, destination) in
        [(v4.to_owned(), "198.51.100.2:9"), (format!("[{v6}]"), "[2001:db8:77::2]:9")]
    {
        let source = format!("{source}:1234").parse().expect("an address");
        let frame = udp(BRIDGE_MAC, mac, source, destination.parse().expect("an address"), b"by hand");
        port.send(&frame);
        wait_for_frame(&port_of, |frame| frame.ends_with(b"by hand"));
    }

    lab.gateway.ip(&format!("neigh replace {v6} dev {BRIDGE} lladdr 02:00:00:00:00:aa nud stale"));
    port.send(&neighbour_advertisement(mac, mac, v6.parse().expect("v6"), BRIDGE_MAC, GATEWAY_V6));
    wait_until("the neighbour to move", SOON, || {
        lab.gateway.ip(&format!("neigh show {v6} dev {BRIDGE}")).contains("02:dd:00:00:00:01")
    });
}

#[test]
#[ignore = "needs root: sudo ./run test netns"]
fn a_program_that_does_not_say_it_fails_the_test_with_what_it_said() {
    let netns = Netns::new("mute");
    let panic = std::panic::catch_unwind(|| {
        let mut command = netns.command("echo");
        command.arg("something else");
        Program::start("echo", command).wait_line("ready", SOON);
    });
    let said = *panic.expect_err("it never says so").downcast::<String>().expect("a message");
    assert!(said.contains("something else"), "{said}");
    let _ = fs::metadata(netns.path()).expect("the namespace is ours until here");
}

#[test]
fn md5_is_that_of_rfc_1321() {
    let hex = |text: &str| wired::md5(text.as_bytes()).map(|octet| format!("{octet:02x}")).concat();
    assert_eq!(hex(""), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(hex("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
    let long = "12345678901234567890123456789012345678901234567890123456789012345678901234567890";
    assert_eq!(hex(long), "57edf4a22be3c955ac49da2e2107b67a");
}

fn wait_for_frame(port: &RawPort, fits: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let deadline = Instant::now() + SOON;
    while let Some(frame) = port.receive(deadline) {
        if frame.len() >= 14 && fits(&frame) {
            return frame;
        }
    }
    panic!("no such frame within {SOON:?}");
}
