//! The ruleset in a real kernel: who passes, what is counted, and how `nft` lists it. Both layouts.

mod support;

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::frame::mac_text;
use support::lab::{self, Lab};
use wayleave::adapters::nftables::{
    Abilities, Admission, NftEvent, NftEvents, Nftables, Openings, Quota, Ruleset, probe,
};
use wayleave::model::{GrantId, Holder, Incarnation, MacAddr, Origin, Traffic};
use wayleave::wire::local::Layout;

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn without_a_grant_nothing_passes_and_with_one_everything_does() {
    for layout in [Layout::Netdev, Layout::Bridge] {
        let lab = Lab::with_stations(2);
        let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
        assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6), "the lab forwards");

        let mut nft = install(&lab, layout, &[]);
        for host in [IpAddr::from(lab::INTERNET_V4), lab::INTERNET_V6.into(), lab::COORDINATOR_V4.into()] {
            assert!(anne.is_cut_off(host), "{layout:?} {host}");
        }
        assert!(
            anne.pings(lab::GATEWAY_V4) && anne.pings(lab::GATEWAY_V6),
            "{layout:?}: the gateway answers"
        );
        let (refused, _) = lab.gateway.enter(|| nft.refusals()).unwrap();
        assert!(refused > 0, "{layout:?}: refusals are counted");

        nft.admit(&[admission(anne.mac)], &[]).unwrap();
        assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6), "{layout:?}");
        assert!(bob.is_cut_off(lab::INTERNET_V4) && bob.is_cut_off(lab::INTERNET_V6), "{layout:?}");
        let moved = nft.enforced().unwrap()[&MacAddr(anne.mac)].moved;
        assert!(moved.up_packets > 0 && moved.down_packets > 0, "{layout:?}: {moved:?}");

        let last = nft.dismiss(&[(MacAddr(anne.mac), None)]).unwrap();
        assert!(
            last[&MacAddr(anne.mac)].up_bytes >= moved.up_bytes,
            "{layout:?}: final figures come with the end"
        );
        assert!(anne.is_cut_off(lab::INTERNET_V4) && anne.is_cut_off(lab::INTERNET_V6), "{layout:?}");
        assert_eq!(nft.dismiss(&[(MacAddr(anne.mac), None)]).unwrap().len(), 0, "{layout:?}: once");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn bytes_are_layer_three_bytes_and_limits_are_exact() {
    for layout in [Layout::Netdev, Layout::Bridge] {
        let lab = Lab::with_stations(1);
        let anne = &lab.stations[0];
        // The station asks for the addresses of others on the way, so start behind that.
        assert!(anne.reaches(lab::INTERNET_V4));
        let quota = Quota { limit: 20_000, used: 500 };
        let mut nft = install(&lab, layout, &[]);
        let mut events = listener(&lab, &mut nft);
        let limited = Admission { quota: Some(quota), low_mark: Some(10_000), ..admission(anne.mac) };
        nft.admit(std::slice::from_ref(&limited), &[]).unwrap();

        // 10 datagrams of 100 + 28 bytes each way.
        let answered = anne.netns.enter(|| ping_pong(10, 100));
        assert_eq!(answered, 10, "{layout:?}");
        let moved = nft.enforced().unwrap()[&MacAddr(anne.mac)].moved;
        assert_eq!((moved.up_bytes, moved.down_bytes), (1280, 1280), "{layout:?}");

        anne.netns.enter(|| ping_pong(200, 100));
        let enforced = nft.enforced().unwrap()[&MacAddr(anne.mac)].clone();
        let passed = 20_000 / (2 * 128);
        assert!(enforced.quota.unwrap().used >= 20_000, "{layout:?}: {enforced:?}");
        assert!(enforced.moved.down_packets <= passed, "{layout:?}: {enforced:?}");
        assert!(anne.is_cut_off(lab::INTERNET_V4), "{layout:?}");
        assert!(anne.pings(lab::GATEWAY_V4), "{layout:?}: what is open stays open");
        let mut next = || events.recv_timeout(Duration::from_secs(5)).expect("the kernel announces it");
        assert_eq!(next(), NftEvent::Low(limited.grant), "{layout:?}");
        assert_eq!(next(), NftEvent::Spent(limited.grant), "{layout:?}");

        nft.dismiss(&[(MacAddr(anne.mac), Some(limited.grant))]).unwrap();
        let left = lab.gateway.run("nft list ruleset");
        assert!(
            !left.contains("quota grant-") && !left.contains("quota low-"),
            "{layout:?}: the quota objects are freed"
        );
        events.stop();
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn nobody_claims_an_address_that_is_not_his() {
    for layout in [Layout::Netdev, Layout::Bridge] {
        let lab = Lab::with_stations(2);
        let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
        let mut nft = install(&lab, layout, &[admission(anne.mac), admission(bob.mac)]);
        nft.pin(&[(anne.v4.into(), MacAddr(anne.mac)), (anne.v6.into(), MacAddr(anne.mac))], &[]).unwrap();
        assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6), "{layout:?}");
        assert!(bob.reaches(lab::INTERNET_V4) && bob.reaches(lab::INTERNET_V6), "{layout:?}");

        // Bob takes Anne's address: neighbour solicitations from it are dropped, so it stays hers.
        bob.netns.ip(&format!("addr add {}/64 dev {} nodad", anne.v6, lab::STATION));
        bob.netns.try_run(&format!("ping -c 1 -W 1 -I {} {}", anne.v6, lab::GATEWAY_V6)).unwrap_err();
        let neighbours = lab.gateway.ip(&format!("-6 neigh show to {} dev {}", anne.v6, lab::BRIDGE));
        assert!(neighbours.contains(&anne.mac_text()), "{layout:?}: {neighbours}");
        bob.netns.ip(&format!("addr add {}/16 dev {}", anne.v4, lab::STATION));
        bob.netns.try_run(&format!("ping -c 1 -W 1 -I {} {}", anne.v4, lab::GATEWAY_V4)).unwrap_err();
        let neighbours = lab.gateway.ip(&format!("-4 neigh show to {} dev {}", anne.v4, lab::BRIDGE));
        assert!(neighbours.contains(&anne.mac_text()), "{layout:?}: {neighbours}");
        let (_, spoofed) = nft.refusals().unwrap();
        assert!(spoofed > 0, "{layout:?}: claims are counted");
        assert!(anne.reaches(lab::INTERNET_V4), "{layout:?}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn openings_are_open_and_nothing_beside_them() {
    for layout in [Layout::Netdev, Layout::Bridge] {
        let lab = Lab::with_stations(1);
        let anne = &lab.stations[0];
        let mut ruleset = ruleset(layout, &[]);
        ruleset.openings.prefixes = vec![(lab::INTERNET_V4.into(), 32), (lab::INTERNET_V6.into(), 128)];
        let _nft = replace(&lab, &ruleset);
        assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6), "{layout:?}");
        assert!(anne.is_cut_off(lab::COORDINATOR_V4) && anne.is_cut_off(lab::COORDINATOR_V6), "{layout:?}");
        // As dnsmasq does with nftset=.
        let family = if layout == Layout::Netdev { "netdev" } else { "bridge" };
        lab.gateway.run(&format!("nft add element {family} wayleave names4 {{ {} }}", lab::COORDINATOR_V4));
        assert!(anne.reaches(lab::COORDINATOR_V4), "{layout:?}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_lease_ends_by_itself_and_is_renewed_in_place() {
    let lab = Lab::with_stations(1);
    let anne = &lab.stations[0];
    let mut nft = install(&lab, Layout::Netdev, &[]);
    let short = Admission { timeout: Some(Duration::from_millis(1500)), ..admission(anne.mac) };
    nft.admit(std::slice::from_ref(&short), &[]).unwrap();
    assert!(anne.reaches(lab::INTERNET_V4));
    let before = nft.enforced().unwrap()[&MacAddr(anne.mac)].moved;
    nft.refresh(&[Admission { timeout: Some(Duration::from_secs(3)), ..short }]).unwrap();
    let enforced = nft.enforced().unwrap()[&MacAddr(anne.mac)].clone();
    assert!(enforced.expires_in.unwrap() > Duration::from_secs(2), "{enforced:?}");
    assert!(enforced.moved.up_bytes >= before.up_bytes, "the counter went on: {before:?} {enforced:?}");
    support::wait::wait_until("the kernel to end it", Duration::from_secs(10), || {
        anne.is_cut_off(lab::INTERNET_V4)
    });
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn an_owned_table_survives_a_foreign_flush_and_is_claimed_by_the_next_process() {
    let lab = Lab::with_stations(1);
    let anne = &lab.stations[0];
    let abilities = abilities(&lab);
    assert!(abilities.owner_persist, "this kernel has `flags owner, persist`");
    let owned = Ruleset { owned: true, ..ruleset(Layout::Netdev, &[admission(anne.mac)]) };
    let first = replace(&lab, &owned);
    lab.gateway.run("nft flush ruleset");
    assert!(lab.gateway.run("nft list tables").contains("wayleave"));
    lab.gateway.try_run("nft delete table netdev wayleave").unwrap_err();
    drop(first);
    assert!(anne.reaches(lab::INTERNET_V4), "the owner is gone, its table stands");
    let mut second = replace(&lab, &owned);
    assert!(second.stands(&[lab::BRIDGE.into()], false).unwrap());
    lab.gateway.try_run("nft delete table netdev wayleave").unwrap_err();
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn after_many_admissions_at_once_others_are_heard_again() {
    let soon = Duration::from_secs(5);
    let lab = Lab::with_stations(0);
    let mut nft = install(&lab, Layout::Netdev, &[]);
    let mut events = listener(&lab, &mut nft);
    let crowd: Vec<Admission> =
        (0..2000_u16).map(|n| admission([2, 1, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]])).collect();
    nft.admit(&crowd, &[]).unwrap();
    assert_eq!(events.recv_timeout(soon), Some(NftEvent::Unheard));
    assert_eq!(nft.enforced().unwrap().len(), 2000);
    lab.gateway.run("nft flush map netdev wayleave down");
    assert_eq!(events.recv_timeout(soon), Some(NftEvent::Disturbed));
    // Somebody is busy all the time: then nobody knows what it was.
    let over = Arc::new(AtomicBool::new(false));
    let until = over.clone();
    let busy = lab.gateway.spawn(move || {
        while !until.load(Ordering::Relaxed) {
            let done = Command::new("nft").arg("add table inet x; delete table inet x").status();
            assert!(done.unwrap().success());
        }
    });
    let mut heard = false;
    for _ in 0..20 {
        nft.replace(&ruleset(Layout::Netdev, &crowd)).unwrap();
        let mut said = || events.recv_timeout(soon).expect("what may have been missed");
        heard |= std::iter::repeat_with(&mut said).find(|event| *event != NftEvent::Disturbed)
            == Some(NftEvent::Overrun);
    }
    over.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    assert!(heard, "a foreign transaction beside ours is noticed");
    events.stop();
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn the_next_process_goes_on_with_the_table_and_no_packet_is_lost() {
    for (layout, owned) in
        [(Layout::Netdev, false), (Layout::Netdev, true), (Layout::Bridge, false), (Layout::Bridge, true)]
    {
        let lab = Lab::with_stations(1);
        let anne = &lab.stations[0];
        assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6));
        let wanted = Ruleset { owned, ..ruleset(layout, &[admission(anne.mac)]) };
        let mut nft = replace(&lab, &wanted);
        let pin = (anne.v4.into(), MacAddr(anne.mac));
        let streams = [lab.stream_up(0, false, 1000), lab.stream_up(0, true, 1000)];
        for _ in 0..20 {
            nft.pin(&[pin], &[]).unwrap();
            drop(nft);
            let abilities = abilities(&lab);
            nft = lab.gateway.enter(|| Nftables::open(layout, owned, abilities)).unwrap();
            assert!(nft.go_on(&wanted).unwrap(), "{layout:?}, owned: {owned}");
            let other = Ruleset { interfaces: vec![lab::WAN.into()], ..wanted.clone() };
            assert!(!nft.go_on(&other).unwrap(), "{layout:?}, owned: {owned}: another ruleset");
        }
        streams.into_iter().for_each(|stream| stream.stop().assert_whole());
        let deleted = lab.gateway.try_run(&format!("nft delete table {} wayleave", family(layout)));
        assert_eq!(deleted.is_err(), owned, "{layout:?}: whose it is");
    }
}

/// What the kernel can do is not asked for where it is said to lack it: Debian 12's lacks all three.
#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_kernel_that_can_do_less_enforces_the_same() {
    for layout in [Layout::Netdev, Layout::Bridge] {
        let lab = Lab::with_stations(2);
        let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
        assert!(anne.reaches(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V6));
        let older =
            Abilities { destroy: false, owner_persist: false, timeout_in_place: false, ..abilities(&lab) };
        let wanted = Ruleset { owned: true, ..ruleset(layout, &[]) };
        let mut nft = lab.gateway.enter(|| Nftables::open(layout, true, older)).unwrap();
        assert!(!nft.owned(), "{layout:?}: nobody owns a table there");
        nft.replace(&wanted).unwrap();
        let quota = Some(Quota { limit: 1 << 30, used: 7 });
        let first = Admission { timeout: Some(Duration::from_secs(30)), quota, ..admission(anne.mac) };
        nft.admit(std::slice::from_ref(&first), &[]).unwrap();
        nft.pin(&[(anne.v4.into(), MacAddr(anne.mac))], &[]).unwrap();
        assert!(anne.reaches(lab::INTERNET_V4) && bob.is_cut_off(lab::INTERNET_V4), "{layout:?}");

        // Out and in with what was counted, in one transaction: no packet is lost and none is given away, however often.
        let stream = lab.stream_up(0, false, 5000);
        support::wait::wait_until("packets to pass", Duration::from_secs(5), || stream.arrived() > 100);
        let before = nft.enforced().unwrap()[&MacAddr(anne.mac)].clone();
        let later = Admission { timeout: Some(Duration::from_secs(600)), ..first.clone() };
        nft.refresh(std::slice::from_ref(&later)).unwrap();
        let after = nft.enforced().unwrap()[&MacAddr(anne.mac)].clone();
        assert!(after.expires_in > Some(Duration::from_secs(500)), "{layout:?}: {after:?}");
        assert!(after.moved.up_bytes >= before.moved.up_bytes, "{layout:?}: {before:?} {after:?}");
        assert!(after.quota.unwrap().used >= before.quota.unwrap().used, "{layout:?}: {before:?} {after:?}");
        for limit in 0..200 {
            let quota = Some(Quota { limit: (1 << 30) + limit, used: 7 });
            nft.refresh(&[Admission { quota, ..later.clone() }]).unwrap();
        }
        let tally = stream.stop();
        tally.assert_whole();
        let counted = nft.enforced().unwrap()[&MacAddr(anne.mac)].quota.unwrap();
        assert_eq!(counted.limit, (1 << 30) + 199, "{layout:?}");
        // 64 octets of payload and 28 of headers each.
        let passed = tally.arrived.len() as u64 * 92;
        assert!(counted.used >= passed, "{layout:?}: {passed} bytes passed, {} were counted", counted.used);

        nft.pin(&[], &[(anne.v4.into(), MacAddr(anne.mac))]).unwrap();
        // One who is in and one who is not: the absent one spoils nothing.
        let both = [(MacAddr(anne.mac), Some(first.grant)), (MacAddr(bob.mac), None)];
        assert_eq!(nft.dismiss(&both).unwrap().len(), 1, "{layout:?}");
        assert!(anne.is_cut_off(lab::INTERNET_V4) && anne.is_cut_off(lab::INTERNET_V6), "{layout:?}");
        assert!(!lab.gateway.run("nft list ruleset").contains("quota grant-"), "{layout:?}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_is_open_and_who_passes_changes_in_the_table_that_stands() {
    for layout in [Layout::Netdev, Layout::Bridge] {
        let lab = Lab::with_stations(2);
        let [anne, bob] = [&lab.stations[0], &lab.stations[1]];
        let mut wanted = ruleset(layout, &[admission(anne.mac)]);
        wanted.admissions[0].quota = Some(Quota { limit: 1 << 40, used: 7 });
        let mut nft = replace(&lab, &wanted);
        let streams = [lab.stream_up(0, false, 1000), lab.stream_up(0, true, 1000)];
        for port in 7000..7050 {
            wanted.openings.coordinator = vec![(lab::COORDINATOR_V4.into(), port)];
            wanted.openings.prefixes = vec![("192.0.2.0".parse().unwrap(), 24 + (port % 4) as u8)];
            wanted.pins = vec![(anne.v4.into(), MacAddr(anne.mac))];
            assert!(nft.go_on(&wanted).unwrap(), "{layout:?}: {port}");
        }
        let moved = nft.enforced().unwrap()[&MacAddr(anne.mac)].moved;
        assert!(moved.up_bytes > 0, "{layout:?}: counters go on");
        streams.into_iter().for_each(|stream| stream.stop().assert_whole());
        let listed = lab.gateway.run(&format!("nft list table {} wayleave", family(layout)));
        assert!(listed.contains("198.51.100.3 . 7049") && !listed.contains(" . 7048"), "{listed}");
        assert!(listed.contains("192.0.2.0/25") && !listed.contains("192.0.2.0/24"), "{listed}");

        // Who is missing comes in, who is too much goes out, whose limit is another one gets it.
        let mut second = admission(bob.mac);
        second.grant = GrantId([0xcd; 16]);
        wanted.admissions = vec![second];
        assert!(nft.go_on(&wanted).unwrap());
        assert!(anne.is_cut_off(lab::INTERNET_V4) && bob.reaches(lab::INTERNET_V4), "{layout:?}");
        let before = nft.enforced().unwrap()[&MacAddr(bob.mac)].moved;
        wanted.admissions[0].quota = Some(Quota { limit: 1 << 30, used: 0 });
        assert!(nft.go_on(&wanted).unwrap());
        let after = nft.enforced().unwrap()[&MacAddr(bob.mac)].moved;
        assert!(before.up_bytes > 0 && after.up_bytes >= before.up_bytes, "{before:?} {after:?}");
        let limits: Vec<u64> = nft.quotas().unwrap().values().map(|quota| quota.limit).collect();
        assert_eq!(limits, [1 << 30], "{layout:?}");

        // Somebody has taken a rule out, and then an element of one direction.
        let table = format!("{} wayleave", family(layout));
        lab.gateway.run(&format!("nft delete element {table} down {{ {} }}", mac_text(bob.mac)));
        assert!(nft.go_on(&wanted).unwrap() && bob.reaches(lab::INTERNET_V4), "{layout:?}");
        lab.gateway.run(&format!("nft flush chain {table} limited_in"));
        assert!(!nft.go_on(&wanted).unwrap(), "{layout:?}: a damaged table");
        nft.replace(&wanted).unwrap();
        assert!(nft.go_on(&wanted).unwrap() && bob.reaches(lab::INTERNET_V4), "{layout:?}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn the_ruleset_is_listed_as_the_golden_file_has_it() {
    for layout in [Layout::Netdev, Layout::Bridge] {
        let name = family(layout);
        // Nobody is there whose packets would be counted.
        let lab = Lab::with_stations(0);
        let mut ruleset = ruleset(layout, &[admission([2, 0, 0, 0, 0, 1])]);
        let limited = Admission {
            quota: Some(Quota { limit: 1000, used: 7 }),
            low_mark: Some(900),
            ..admission([2, 0, 0, 0, 0, 2])
        };
        ruleset.admissions.push(Admission { grant: GrantId([0xcd; 16]), ..limited });
        ruleset.openings.coordinator =
            vec![(lab::COORDINATOR_V4.into(), 7443), (lab::COORDINATOR_V6.into(), 7443)];
        ruleset.openings.prefixes =
            vec![("192.0.2.0".parse().unwrap(), 24), ("2001:db8::".parse().unwrap(), 32)];
        ruleset.openings.visitors = vec![(lab::GATEWAY_V4.into(), 16), (lab::GATEWAY_V6.into(), 64)];
        ruleset.pins = vec![(lab::INTERNET_V4.into(), MacAddr([2, 0, 0, 0, 0, 1]))];
        let _nft = replace(&lab, &ruleset);
        let listed = lab.gateway.run(&format!("nft list table {name} wayleave"));
        golden(&format!("tests/golden/ruleset-{name}.nft"), &listed);
        #[cfg(feature = "portal")]
        {
            ruleset.openings = Openings { portal: Some(2080), ..Openings::default() };
            (ruleset.pins, ruleset.admissions) = (Vec::new(), Vec::new());
            let mut nft = replace(&lab, &ruleset);
            assert!(lab.gateway.enter(|| nft.stands(&ruleset.interfaces, true)).unwrap());
            let listed = lab.gateway.run("nft list ruleset");
            let ours = listed.split("table inet home").next().unwrap_or_default().to_owned()
                + listed.rsplit_once("table ").map_or("", |(_, last)| last);
            golden(&format!("tests/golden/ruleset-{name}-portal.nft"), &ours);
        }
    }
}

fn family(layout: Layout) -> &'static str {
    match layout {
        Layout::Netdev => "netdev",
        Layout::Bridge => "bridge",
    }
}

/// Compares with a file; `WAYLEAVE_GOLDEN=write` writes it anew.
fn golden(path: &str, found: &str) {
    if std::env::var_os("WAYLEAVE_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(path).unwrap_or_default();
    assert!(wanted == found, "{path} differs; WAYLEAVE_GOLDEN=write takes this over:\n{found}");
}

fn ruleset(layout: Layout, admissions: &[Admission]) -> Ruleset {
    Ruleset {
        layout,
        owned: false,
        interfaces: vec![if layout == Layout::Netdev { lab::BRIDGE } else { lab::PORT }.into()],
        openings: Openings {
            gateway: vec![lab::GATEWAY_V4.into(), lab::GATEWAY_V6.into()],
            services: vec![(17, 53), (6, 53), (6, 80)],
            ..Openings::default()
        },
        pins: vec![],
        admissions: admissions.to_vec(),
    }
}

fn install(lab: &Lab, layout: Layout, admissions: &[Admission]) -> Nftables {
    replace(lab, &ruleset(layout, admissions))
}

fn replace(lab: &Lab, ruleset: &Ruleset) -> Nftables {
    let abilities = abilities(lab);
    lab.gateway.enter(|| {
        let mut nft = Nftables::open(ruleset.layout, ruleset.owned, abilities).unwrap();
        nft.replace(ruleset).unwrap();
        nft
    })
}

fn abilities(lab: &Lab) -> Abilities {
    lab.gateway.enter(|| probe("lo", true)).unwrap()
}

fn admission(station: [u8; 6]) -> Admission {
    Admission {
        station: MacAddr(station),
        grant: GrantId([0xab; 16]),
        origin: Origin::Owner,
        incarnation: Incarnation(1),
        holder: Holder::Station,
        timeout: None,
        quota: None,
        low_mark: None,
        moved: Traffic::default(),
    }
}

/// Datagrams of so many bytes to the internet's echo; how many came back.
fn ping_pong(count: u32, bytes: usize) -> u32 {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((lab::INTERNET_V4, 7)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut buffer = vec![0; bytes];
    let mut answered = 0;
    for _ in 0..count {
        socket.send(&buffer).unwrap();
        match socket.recv(&mut buffer) {
            Ok(_) => answered += 1,
            Err(_) => break,
        }
    }
    answered
}

struct Listener {
    receiver: std::sync::mpsc::Receiver<NftEvent>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Listener {
    fn recv_timeout(&mut self, limit: Duration) -> Option<NftEvent> {
        self.receiver.recv_timeout(limit).ok()
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn listener(lab: &Lab, nft: &mut Nftables) -> Listener {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut events = lab.gateway.enter(|| {
        let _inside = runtime.enter();
        NftEvents::listen(nft).unwrap()
    });
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = async { while sender.send(events.next().await).is_ok() {} } => {}
                _ = stopped => {}
            }
        });
    });
    Listener { receiver, stop: Some(stop), thread: Some(thread) }
}
