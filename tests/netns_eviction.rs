//! What an eviction frees, and what is open without a grant: with real clients, servers and kernel, looked at from
//! outside. `netns_gateway.rs` has the rest of a gateway's life.

mod support;

use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::daemons::Gateway;
use support::dnsmasq::Dnsmasq;
use support::lab::{self, Lab, Station, Wish};
use support::wait::{SOON, wait_until};
use support::{dhcp, wpa};

const LAYOUTS: [&str; 2] = ["netdev", "bridge"];

/// Two stations with leases of both families, associated, granted, with flows of both families.
struct Guests {
    lab: Lab,
    hostapd: support::hostapd::Hostapd,
    dnsmasq: Dnsmasq,
    gateway: Gateway,
    _supplicants: Vec<wpa::Supplicant>,
}

impl Guests {
    fn of(layout: &str) -> Self {
        let lab = Lab::new(Wish { stations: 2, addressed: false, masquerade: true });
        let hostapd = lab.hostapd();
        let dnsmasq = Dnsmasq::start(&lab.gateway, lab::BRIDGE, lab.path(), "pid-file=");
        let gateway = Gateway::start(&lab, &format!("[enforcement]\nlayout = \"{layout}\"\n"));
        let supplicant = |station: &Station| wpa::Supplicant::start(&station.netns, lab::STATION, lab.path());
        let _supplicants = lab.stations.iter().map(supplicant).collect();
        for station in &lab.stations {
            dhcp::lease_v4(&station.netns, lab::STATION, lab.path());
            dhcp::lease_v6(&station.netns, lab::STATION, lab.path());
            station.netns.ip(&format!("route replace ::/0 via {}", lab::GATEWAY_V6));
            gateway.grant(station.mac);
            assert!(station.reaches(lab::INTERNET_V4) && station.reaches(lab::INTERNET_V6), "{layout}");
        }
        assert_eq!(dnsmasq.leased().len(), 4, "{layout}: {:?}", dnsmasq.leased());
        let guests = Self { lab, hostapd, dnsmasq, gateway, _supplicants };
        let seen = |row: &Value| {
            let addresses = row["addresses"].as_array().map_or(&[][..], Vec::as_slice);
            let has = |v6: bool| addresses.iter().any(|ip| ip.as_str().is_some_and(|ip| is_v6(ip) == v6));
            has(false) && has(true) && row["bssid"].is_string()
        };
        wait_until("both to be seen with their addresses", SOON, || {
            let rows = guests.gateway.ask(json!({"verb": "stations"}));
            rows.as_array().is_some_and(|rows| rows.iter().filter(|row| seen(row)).count() == 2)
        });
        guests
    }

    /// What of a station is still there: flows, neighbour entries with its address on the air, leases, association.
    fn traces(&self, of: usize, addresses: &[IpAddr]) -> Vec<String> {
        let station = &self.lab.stations[of];
        let mut left = Vec::new();
        let mut look = |what: &str, text: String| {
            let theirs = |line: &&str| {
                let words: Vec<&str> = line.split([' ', '=']).collect();
                let said = |ip: &IpAddr| words.contains(&ip.to_string().as_str());
                addresses.iter().any(said) || line.contains(&station.mac_text())
            };
            left.extend(text.lines().filter(theirs).map(|line| format!("{what}: {line}")));
        };
        look("flow", self.lab.gateway.run("conntrack -L -f ipv4"));
        look("flow", self.lab.gateway.run("conntrack -L -f ipv6"));
        for family in ["-4", "-6"] {
            look("neighbour", self.lab.gateway.ip(&format!("{family} neigh show dev {}", lab::BRIDGE)));
        }
        let leased = self.dnsmasq.leased();
        left.extend(leased.iter().filter(|ip| addresses.contains(ip)).map(|ip| format!("lease: {ip}")));
        if self.hostapd.has(station.mac) {
            left.push("association".to_owned());
        }
        left
    }

    /// The addresses of a station that lead to the internet.
    fn addresses(&self, of: usize) -> Vec<IpAddr> {
        let text = self.lab.stations[of].netns.ip(&format!("-o addr show dev {} scope global", lab::STATION));
        let words = text.lines().filter_map(|line| line.split_whitespace().nth(3)?.split('/').next());
        words.map(|ip| ip.parse().expect("an address")).collect()
    }
}

fn is_v6(ip: &str) -> bool {
    ip.parse::<Ipv6Addr>().is_ok_and(|ip| !ip.is_unicast_link_local())
}

fn freed(report: &Value, step: &str) -> Option<u64> {
    let steps = report["steps"].as_array().expect("steps");
    steps.iter().find(|found| found["step"] == step).expect(step)["outcome"]["done"]["freed"].as_u64()
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn an_eviction_frees_everything_and_says_so() {
    for layout in LAYOUTS {
        let guests = Guests::of(layout);
        let addresses = guests.addresses(0);
        let kinds = |left: &[String]| {
            ["flow", "neighbour", "lease", "association"]
                .map(|kind| left.iter().any(|one| one.starts_with(kind)))
        };
        assert_eq!(
            kinds(&guests.traces(0, &addresses)),
            [true; 4],
            "{layout}: {:?}",
            guests.traces(0, &addresses)
        );

        let report = guests.gateway.evict(guests.lab.stations[0].mac);
        assert_eq!(freed(&report, "enforcement"), Some(2), "{report}");
        assert!(freed(&report, "flows") >= Some(2), "{report}");
        assert_eq!(freed(&report, "association"), Some(1), "{report}");
        assert!(freed(&report, "neighbours") >= Some(2), "{report}");
        assert_eq!(freed(&report, "leases"), Some(2), "{report}");
        assert_eq!(freed(&report, "verification"), Some(0), "{report}");
        assert!(report["total_us"].as_u64() > Some(0));

        // From outside. What it says to the gateway itself it may go on saying.
        let left = guests.traces(0, &addresses);
        let left: Vec<&String> =
            left.iter().filter(|line| !line.contains(&lab::GATEWAY_V4.to_string())).collect();
        assert!(left.iter().all(|line| line.starts_with("neighbour")), "{layout}: {left:?}");
        assert!(left.iter().all(|line| line.contains("fe80::")), "{layout}: {left:?}");
        assert!(guests.lab.stations[0].is_cut_off(lab::INTERNET_V4), "{layout}");
        assert!(guests.lab.stations[0].is_cut_off(lab::INTERNET_V6), "{layout}");
        // And nobody else was touched.
        let bob = &guests.lab.stations[1];
        assert!(guests.hostapd.has(bob.mac), "{layout}");
        assert!(bob.reaches(lab::INTERNET_V4) && bob.reaches(lab::INTERNET_V6), "{layout}");
        assert_eq!(guests.dnsmasq.leased().len(), 2, "{layout}");
    }
}

/// Who walks away answers no ARP: the kernel forgets whose its addresses were before anybody evicts it.
#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn who_walked_away_is_freed_as_wholly() {
    for restarted in [false, true] {
        let mut guests = Guests::of("netdev");
        let addresses = guests.addresses(0);
        let silent = &guests.lab.stations[0];
        silent.netns.ip(&format!("link set {} down", lab::STATION));
        // As traffic from the internet would have it ask; not each address was used.
        for ip in &addresses {
            let _ =
                guests.lab.gateway.try_run(&format!("ip neigh change {ip} dev {} nud probe", lab::BRIDGE));
        }
        wait_until("the kernel to give up on its addresses", Duration::from_secs(20), || {
            let known = ["-4", "-6"]
                .map(|family| guests.lab.gateway.ip(&format!("{family} neigh show dev {}", lab::BRIDGE)));
            let theirs = |line: &str| line.contains(&silent.mac_text()) && !line.contains("fe80::");
            !known.iter().flat_map(|text| text.lines()).any(theirs)
        });
        if restarted {
            guests.gateway.program.kill();
            guests.gateway.again();
            wait_until("hostapd to be heard again", SOON, || {
                let rows = guests.gateway.ask(json!({"verb": "stations"}));
                rows.as_array().is_some_and(|rows| rows.iter().any(|row| row["bssid"].is_string()))
            });
        }
        let report = guests.gateway.evict(guests.lab.stations[0].mac);
        assert!(freed(&report, "flows") >= Some(2), "{restarted}: {report}");
        assert_eq!(freed(&report, "leases"), Some(2), "{restarted}: {report}");
        let left = guests.traces(0, &addresses);
        let held: Vec<&String> = left.iter().filter(|line| !line.contains("FAILED")).collect();
        assert!(held.iter().all(|line| line.contains("fe80::")), "{restarted}: {held:?}");
        assert!(guests.lab.stations[1].reaches(lab::INTERNET_V4), "{restarted}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn without_a_grant_leases_names_and_portal_are_had_and_nothing_else() {
    for layout in LAYOUTS {
        let lab = Lab::new(Wish { stations: 1, addressed: false, masquerade: false });
        let dnsmasq = Dnsmasq::start(&lab.gateway, lab::BRIDGE, lab.path(), "pid-file=");
        let _gateway = Gateway::start(
            &lab,
            &format!(
                "[enforcement]\nlayout = \"{layout}\"\n[open]\nservices = [\"udp/53\", \"tcp/53\", \"tcp/80\"]\n"
            ),
        );
        let anne = &lab.stations[0];
        dhcp::lease_v4(&anne.netns, lab::STATION, lab.path());
        dhcp::lease_v6(&anne.netns, lab::STATION, lab.path());
        anne.netns.ip(&format!("route replace ::/0 via {}", lab::GATEWAY_V6));
        assert_eq!(dnsmasq.leased().len(), 2, "{layout}: {:?}", dnsmasq.leased());
        for gateway in [IpAddr::from(lab::GATEWAY_V4), IpAddr::from(lab::GATEWAY_V6)] {
            let (portal, shell) = lab.gateway.enter(move || {
                let listen = |port| TcpListener::bind((gateway, port)).expect("a free port");
                (listen(80), listen(22))
            });
            let calls = |port| {
                anne.netns.enter(move || {
                    TcpStream::connect_timeout(&(gateway, port).into(), Duration::from_millis(700)).is_ok()
                })
            };
            assert!(calls(80), "{layout}: the portal at {gateway}");
            assert!(!calls(22), "{layout}: anything else at {gateway}");
            drop((portal, shell));
            let answer = anne.netns.enter(move || resolve(gateway, "internet.test", 1));
            assert!(answer.ends_with(&lab::INTERNET_V4.octets()), "{layout}: {gateway} {answer:?}");
        }
        assert!(anne.is_cut_off(lab::INTERNET_V4) && anne.is_cut_off(lab::INTERNET_V6), "{layout}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn names_that_dnsmasq_opens_are_open_and_stay_so() {
    for layout in LAYOUTS {
        let lab = Lab::with_stations(1);
        // dnsmasq opens what an upstream server answers.
        let upstream = lab.path().join("upstream");
        std::fs::create_dir(&upstream).expect("a directory");
        let mut server = lab.internet.command("dnsmasq");
        server.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--port=53", "--user=root"]);
        server.args(["--bind-interfaces", "--conf-file=/dev/null", "--pid-file="]);
        server.arg(format!("--listen-address={}", lab::INTERNET_V4));
        server.arg(format!("--host-record=open.test,{},{}", lab::COORDINATOR_V4, lab::COORDINATOR_V6));
        let _upstream = support::proc::Program::start("upstream", server);
        let set = format!("4#{layout}#wayleave#names4,6#{layout}#wayleave#names6");
        let more = format!("pid-file=\nserver=/open.test/{}\nnftset=/open.test/{set}", lab::INTERNET_V4);
        let _dnsmasq = Dnsmasq::start(&lab.gateway, lab::BRIDGE, lab.path(), &more);
        let gateway = Gateway::start(
            &lab,
            &format!("[enforcement]\nlayout = \"{layout}\"\n[open]\nnames_by_dnsmasq = true\n"),
        );
        let anne = &lab.stations[0];
        let reaches = || anne.reaches(lab::COORDINATOR_V4) && anne.reaches(lab::COORDINATOR_V6);
        assert!(anne.is_cut_off(lab::COORDINATOR_V4) && anne.is_cut_off(lab::COORDINATOR_V6), "{layout}");
        wait_until("the upstream server to answer", SOON, || {
            let ask = |kind| anne.netns.enter(move || resolve(lab::GATEWAY_V4.into(), "open.test", kind));
            ask(1).ends_with(&lab::COORDINATOR_V4.octets())
                && ask(28).ends_with(&lab::COORDINATOR_V6.octets())
        });
        assert!(reaches(), "{layout}: what was resolved is open");
        assert!(anne.is_cut_off(lab::INTERNET_V4), "{layout}: what was not is not");
        // A table that is made anew holds them still, without another question.
        let config = gateway.dir().join("gateway.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text).unwrap();
        lab.gateway.run(&format!("nft delete rule {layout} wayleave {}", first_rule(&lab, layout)));
        wait_until("the table to be made anew", SOON, || {
            gateway.ask(json!({"verb": "status"}))["restored"].as_u64() >= Some(1)
        });
        assert!(reaches(), "{layout}: and after a repair");
    }
}

/// `CHAIN handle N` of a rule that stands.
fn first_rule(lab: &Lab, layout: &str) -> String {
    let text = lab.gateway.run(&format!("nft -a list table {layout} wayleave"));
    let mut chain = "";
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("chain ") {
            chain = rest.split(' ').next().expect("a name");
        } else if !chain.is_empty() && line.contains("spoofed") && line.contains("# handle ") {
            let handle = line.rsplit(' ').next().expect("a number");
            return format!("{chain} handle {handle}");
        }
    }
    panic!("no rule: {text}");
}

/// Asks a DNS server for the addresses of a name: the datagram that it answers with, or nothing. Type 1 is A, 28 AAAA
/// (RFC 1035, 4.1; RFC 3596).
fn resolve(server: IpAddr, name: &str, kind: u8) -> Vec<u8> {
    let mut query = vec![0x77, 0x1e, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("short"));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, kind, 0, 1]);
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("not zero");
    let mut answer = vec![0; 512];
    for _ in 0..4 {
        if socket.send_to(&query, (server, 53)).is_ok()
            && let Ok((length, _)) = socket.recv_from(&mut answer)
        {
            answer.truncate(length);
            return answer;
        }
    }
    Vec::new()
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn an_access_point_that_could_not_be_asked_sends_away_who_was_evicted_meanwhile() {
    let lab = Lab::with_stations(1);
    let hostapd = lab.hostapd();
    let mut gateway = Gateway::start(&lab, "");
    let anne = &lab.stations[0];
    let supplicant = wpa::Supplicant::start(&anne.netns, lab::STATION, lab.path());
    gateway.grant(anne.mac);
    assert!(anne.reaches(lab::INTERNET_V4) && hostapd.has(anne.mac));
    // Otherwise it comes again before anybody has looked.
    supplicant.program.signal(Signal::SIGSTOP);

    // As in the first milliseconds of a daemon: hostapd has not said yet that it is there.
    gateway.program.kill();
    hostapd.program.signal(Signal::SIGSTOP);
    gateway.again();
    assert_eq!(gateway.ask(json!({"verb": "status"}))["bsses"], 0);
    let report = gateway.evict(anne.mac);
    assert_eq!(
        report["steps"][2],
        json!({"step": "association", "outcome": "absent", "took_us": report["steps"][2]["took_us"]})
    );
    assert!(anne.is_cut_off(lab::INTERNET_V4));
    hostapd.program.signal(Signal::SIGCONT);
    assert!(hostapd.has(anne.mac), "nobody has told it");
    wait_until("hostapd to have sent it away", SOON, || !hostapd.has(anne.mac));

    // Who comes again after that is not sent away once more, nor is who was granted anew meanwhile.
    supplicant.program.signal(Signal::SIGCONT);
    assert_eq!(supplicant.command("REASSOCIATE"), "OK\n");
    wait_until("the station to be back", SOON, || hostapd.has(anne.mac));
    gateway.grant(anne.mac);
    gateway.program.kill();
    hostapd.program.signal(Signal::SIGSTOP);
    gateway.again();
    gateway.evict(anne.mac);
    gateway.grant(anne.mac);
    hostapd.program.signal(Signal::SIGCONT);
    wait_until("the gateway to find hostapd", SOON, || {
        let stations = gateway.ask(json!({"verb": "stations"}));
        stations.as_array().is_some_and(|rows| rows.iter().any(|row| row["bssid"].is_string()))
    });
    assert!(hostapd.has(anne.mac) && anne.reaches(lab::INTERNET_V4));
}
