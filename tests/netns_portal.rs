//! The portal as visitors meet it: redirected, served, sold to, and never able to be somebody else.
#![cfg(feature = "portal")]

mod support;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::daemons::{Gateway, WAYLEAVE};
use support::lab::{GATEWAY_V4, GATEWAY_V6, INTERNET_V4, INTERNET_V6, Lab, Station};
use support::wait::{SOON, wait_for, wait_until};
use support::web::{self, Internet, PORT, WORD};

const V4: IpAddr = IpAddr::V4(GATEWAY_V4);
const V6: IpAddr = IpAddr::V6(GATEWAY_V6);

const TARIFFS: &str = "[portal]\nenabled = true\ntitle = \"Anne's <Corner> & \\\"Café\\\"\"\nnotice = \"Tea at 5 > 4\"\n\
    [[tariff]]\nid = \"taste\"\nbytes_most = \"300kB\"\ntime_most = \"1h\"\n\
    [[tariff]]\nid = \"day\"\nprice = \"2.00 EUR\"\nslice = { bytes = \"2MB\", time = \"1d\" }\n";

/// Packets of a bridge do not meet iptables there, as on routers.
fn lab_of(stations: u16) -> Lab {
    let lab = Lab::with_stations(stations);
    lab.iptables_apart();
    lab
}

fn probe(station: &Station, host: IpAddr, name: &str, path: &str) -> Option<web::Answer> {
    station.netns.enter(|| web::get_at((host, 80).into(), name, path, ""))
}

/// How long it takes to be refused; `None`: it was not.
fn refused(station: &Station, to: SocketAddr) -> Option<Duration> {
    station.netns.enter(|| {
        let start = Instant::now();
        match TcpStream::connect_timeout(&to, Duration::from_secs(3)) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Some(start.elapsed()),
            _ => None,
        }
    })
}

fn vouchers(gateway: &Gateway, value: &str) -> String {
    let made = gateway.ask(json!({"verb": "vouchers", "count": 1, "value": money(value)}));
    made["codes"][0].as_str().expect("a code").to_owned()
}

fn money(text: &str) -> Value {
    let (amount, currency) = text.split_once(' ').expect("an amount and a currency");
    let minor: u64 = amount.replace('.', "").parse().expect("two digits behind the point");
    json!({"minor": minor, "currency": currency})
}

/// Sends as much as it may; the bytes of layer 3 that arrived.
fn sends_all(lab: &Lab, station: usize) -> u64 {
    const LENGTH: usize = 1172;
    let stream = lab.stream(station, true, false, 5_000, LENGTH);
    let mut before = u64::MAX;
    wait_until("the stream to be stopped", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(300));
        let arrived = stream.arrived();
        arrived > 0 && std::mem::replace(&mut before, arrived) == arrived
    });
    stream.stop().arrived.len() as u64 * (LENGTH as u64 + 28)
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn who_has_no_grant_meets_the_portal_and_who_has_one_the_internet() {
    for layout in ["netdev", "bridge"] {
        let lab = lab_of(2);
        let _internet = Internet::start(&lab.internet);
        let more = format!("[enforcement]\nlayout = \"{layout}\"\n{TARIFFS}");
        let gateway = Gateway::sharing(&lab, "", &more);
        let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
        gateway.grant(bob.mac);
        let far: [(IpAddr, &str); 2] =
            [(INTERNET_V4.into(), "http://10.77.0.1:2080/"), (INTERNET_V6.into(), "http://[fd77::1]:2080/")];
        for (host, portal) in far {
            for (name, path) in [
                ("connectivitycheck.gstatic.com", "/generate_204"),
                ("captive.apple.com", "/hotspot-detect.html"),
                ("www.msftconnecttest.com", "/connecttest.txt"),
                ("example.org", "/any/page?q=%3Cscript%3E"),
            ] {
                let answer =
                    probe(anne, host, name, path).unwrap_or_else(|| panic!("{layout} {host} {name}"));
                assert_eq!(answer.status, 302, "{layout} {host} {name}: {answer:?}");
                assert_eq!(answer.header("location"), Some(portal), "{layout} {host}");
                assert!(!answer.body.contains("<script"), "{answer:?}");
            }
            let took =
                refused(anne, (host, 443).into()).unwrap_or_else(|| panic!("{layout} {host}: not refused"));
            assert!(took < Duration::from_millis(500), "{layout} {host}: {took:?}");
            assert_eq!(
                probe(bob, host, "example.org", "/").expect("an answer").body,
                WORD,
                "{layout} {host}"
            );
            assert_eq!(
                refused(bob, (host, 443).into()),
                None,
                "{layout} {host}: what has a grant is untouched"
            );
            // Nothing else is redirected or let through.
            assert!(anne.is_cut_off(host), "{layout} {host}");
            assert!(refused(anne, (host, 8080).into()).is_none(), "{layout} {host}: other ports say nothing");
        }
        gateway.grant(anne.mac);
        assert_eq!(probe(anne, INTERNET_V4.into(), "example.org", "/").expect("an answer").body, WORD);
        gateway.evict(anne.mac);
        let again = probe(anne, INTERNET_V4.into(), "example.org", "/").expect("an answer");
        assert_eq!(again.status, 302, "{layout}: {again:?}");
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn the_portals_table_is_put_back_and_goes_with_the_portal() {
    let lab = lab_of(1);
    let more = format!("[enforcement]\nown_table = false\n{TARIFFS}");
    let mut gateway = Gateway::sharing(&lab, "", &more);
    let anne = &lab.stations[0];
    let is_redirected =
        || probe(anne, INTERNET_V4.into(), "example.org", "/").is_some_and(|answer| answer.status == 302);
    assert!(is_redirected());
    for damage in ["delete table inet wayleave", "flush ruleset", "flush chain inet wayleave refuse"] {
        lab.gateway.run(&format!("nft {damage}"));
        wait_until(damage, SOON, || lab.gateway.run("nft list ruleset").contains("not intercepted"));
        assert!(is_redirected(), "{damage}");
    }
    // Killed and started again it finds what stands.
    gateway.program.kill();
    assert!(refused(anne, (INTERNET_V4, 443).into()).is_some(), "the kernel goes on");
    gateway.again();
    assert!(is_redirected());
    let config = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("enabled = true", "enabled = false");
    std::fs::write(&config, text).unwrap();
    gateway.program.signal(nix::sys::signal::Signal::SIGHUP);
    wait_until("the table to go", SOON, || !lab.gateway.run("nft list tables").contains("inet wayleave"));
    assert!(probe(anne, INTERNET_V4.into(), "example.org", "/").is_none());
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn free_then_used_up_then_topped_up_by_a_voucher() {
    let lab = lab_of(2);
    let mut gateway = Gateway::sharing(&lab, "", TARIFFS);
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
    let page = anne.portal(V4, "/");
    assert_eq!((page.status, page.state()), (200, "out"), "{page:?}");
    assert!(page.body.contains("Anne&#39;s &lt;Corner&gt; &amp; &quot;Café&quot;"), "{}", page.body);
    assert!(page.body.contains("Tea at 5 &gt; 4"), "{}", page.body);
    assert_eq!(page.header("cache-control"), Some("private, no-store"));
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
    );
    let choices: Vec<String> = page.choices().iter().map(|choice| (*choice).to_owned()).collect();
    assert_eq!(choices[..2], ["taste::0", "day:s1:200"], "{choices:?}");

    // Free: once.
    assert_eq!(anne.post(V4, "/free", "choice=taste%3A%3A0").status, 303);
    assert!(anne.reaches(INTERNET_V4) && anne.reaches(INTERNET_V6));
    assert_eq!(anne.portal(V6, "/").state(), "in", "the other family is the same station");
    let passed = sends_all(&lab, 0);
    assert!((200_000..=300_000 + 65_536).contains(&passed), "{passed}");

    // Used up: the portal stays open, in both families, and so does the redirect.
    wait_until("the page to say so", SOON, || anne.portal(V4, "/").state() == "spent");
    assert!(anne.is_cut_off(INTERNET_V4));
    assert_eq!(anne.portal(V6, "/").state(), "spent");
    assert_eq!(probe(anne, INTERNET_V4.into(), "example.org", "/").expect("an answer").status, 302);
    let code = vouchers(&gateway, "5.00 EUR");
    let order = format!("choice=day%3As1%3A200&code={code}");
    let bought = anne.post(V4, "/order", &order);
    assert_eq!(bought.status, 303, "{bought:?}");
    assert_eq!(bought.header("location"), Some("/?lang=en"));
    assert!(anne.reaches(INTERNET_V4));
    let passed = sends_all(&lab, 0);
    assert!((1_600_000..=2_000_000 + 65_536).contains(&passed), "{passed}");
    wait_until("the page to say so", SOON, || anne.portal(V4, "/").state() == "spent");

    // A top-up while it is used up, and one on top of it. Then nothing is left on the voucher.
    assert_eq!(anne.post(V4, "/order", &order).status, 303);
    assert!(anne.reaches(INTERNET_V4));
    let short = anne.post(V4, "/order", &order);
    assert_eq!(short.status, 409);
    assert!(short.body.contains("1.00 EUR are left on this voucher"), "{}", short.body);
    assert!(short.body.contains("role=\"alert\""), "{}", short.body);

    // Power is lost at any time: killed, and what was bought is as it was, charged once.
    gateway.program.kill();
    gateway.again();
    assert_eq!(anne.portal(V4, "/").state(), "in");
    assert!(anne.reaches(INTERNET_V4));
    let ledger = gateway.dir().join("state/ledger.jsonl");
    let entries = std::fs::read_to_string(&ledger).unwrap().lines().count();
    assert_eq!(entries, 4, "two purchases, paid and granted");

    // Leaving ends the own grant; what was paid for waits.
    assert_eq!(bob.post(V4, "/leave", "").status, 303, "who has nothing leaves nothing");
    assert_eq!(anne.portal(V4, "/").state(), "in");
    assert_eq!(anne.post(V4, "/leave", "").status, 303);
    wait_until("the station to be out", SOON, || anne.portal(V4, "/").state() == "out");
    assert!(anne.is_cut_off(INTERNET_V4));
    let page = anne.portal(V4, "/");
    assert!(
        page.body.contains("action=\"/resume\"") && !page.body.contains("action=\"/free\""),
        "{}",
        page.body
    );
    assert_eq!(anne.post(V4, "/resume", "").status, 303);
    assert!(anne.reaches(INTERNET_V4));
    let again = anne.post(V4, "/free", "choice=taste%3A%3A0");
    assert_eq!(again.status, 409, "{again:?}");

    // The command line has the ledger, of the daemon and of the file.
    let cli = |words: &[&str]| {
        let output = std::process::Command::new(WAYLEAVE)
            .args(words)
            .arg("--socket")
            .arg(gateway.socket())
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(cli(&["ledger", "verify", "--own"]).contains("every entry follows from the one before"));
    assert!(cli(&["ledger", "verify", &ledger.display().to_string()]).contains("EUR"));
    assert_eq!(cli(&["ledger", "export", "--own"]).lines().count(), 5);
    let printed = cli(&["vouchers", "print", "2.00 EUR", "--own"]);
    let code = printed.lines().nth(1).expect("a code");
    assert_eq!(bob.post(V6, "/order", &format!("choice=day%3As1%3A200&code={code}")).status, 303);
    assert!(bob.reaches(INTERNET_V6));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn nobody_speaks_for_another_and_guesses_are_locked_out() {
    let lab = lab_of(2);
    let gateway = Gateway::sharing(&lab, "", TARIFFS);
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
    let code = vouchers(&gateway, "2.00 EUR");
    let order = |token: &str, code: &str| format!("token={token}&choice=day%3As1%3A200&code={code}");

    // Another station's session: whatever is said of it, who asks is who it is.
    assert_eq!(anne.post(V4, "/free", "choice=taste%3A%3A0").status, 303);
    let theirs = anne.mac_text();
    for path in [format!("/?mac={theirs}"), format!("/?station={theirs}&client_ip={}", anne.v4)] {
        let page = bob.portal_with(
            V4,
            &path,
            &format!("X-Forwarded-For: {}\r\nForwarded: for={}\r\n", anne.v4, anne.v4),
        );
        assert_eq!(page.state(), "out", "{path}");
    }
    let token = anne.portal(V4, "/").token().to_owned();
    let stolen = bob.post_with(V4, "/leave", &format!("token={token}"), "");
    assert_eq!(stolen.status, 403, "{stolen:?}");
    assert!(anne.reaches(INTERNET_V4));

    // Forms of other sites, and without a token.
    let own = bob.portal(V4, "/").token().to_owned();
    for (form, more) in [
        (order(&own, &code), "Origin: http://evil.example\r\n"),
        (order(&own, &code), "Sec-Fetch-Site: cross-site\r\n"),
        (order("", &code), ""),
        (order(&"0".repeat(32), &code), ""),
    ] {
        let answer = bob.post_with(V4, "/order", &form, more);
        assert_eq!(answer.status, 403, "{more} {answer:?}");
    }
    // A name that resolves to here is not ours: no page of ours is in it.
    let rebound =
        bob.netns.enter(|| web::get_at((V4, PORT).into(), "evil.example", "/", "")).expect("an answer");
    assert_eq!((rebound.status, rebound.body.contains("token")), (302, false), "{rebound:?}");

    // Any bytes are a form.
    for octet in [0_u8, 10, 13, 34, 38, 60, 127, 128, 255] {
        let octets: String = (0..20).map(|_| format!("%{octet:02x}")).collect();
        for form in [order(&own, &octets), format!("token={own}&choice={octets}&code=x"), octets.clone()] {
            let answer = bob.post_with(V4, "/order", &form, "");
            assert!(matches!(answer.status, 403 | 409), "{form}: {answer:?}");
            assert!(!answer.body.contains("\u{0}"), "{answer:?}");
        }
    }
    for request in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"POST /order HTTP/1.1\r\nHost: 10.77.0.1:2080\r\nContent-Length: 99999999\r\n\r\nx",
        b"GET /\r\nHost: x\r\n\r\n",
    ] {
        let answer = bob.netns.enter(|| web::raw((V4, PORT).into(), request));
        assert!(answer.is_none_or(|answer| answer.status >= 300), "{request:?}");
    }
    let long = format!("GET /?{} HTTP/1.1\r\nHost: 10.77.0.1:2080\r\n\r\n", "x".repeat(5000));
    let answer = bob.netns.enter(|| web::raw((V4, PORT).into(), long.as_bytes()));
    assert!(answer.is_none_or(|answer| matches!(answer.status, 400 | 414 | 431)));

    // Five wrong codes: then not even a good one, until a quarter of an hour is over. Who mistypes is told so.
    let mistyped = bob.post_with(V4, "/order", &order(&own, "abcde"), "");
    assert!(mistyped.body.contains("20 letters and digits"), "{}", mistyped.body);
    for _ in 0..5 {
        // A code of another gateway, as it were.
        let guess = wayleave::wire::voucher::VoucherCode::generate().reveal();
        let answer = bob.post_with(V4, "/order", &order(&own, &guess), "");
        assert!(answer.body.contains("no voucher with this code"), "{}", answer.body);
    }
    let locked = bob.post_with(V4, "/order", &order(&own, &code), "");
    assert!(
        locked.body.contains("too many wrong codes") || locked.body.contains("Too many wrong codes"),
        "{}",
        locked.body
    );
    assert!(bob.is_cut_off(INTERNET_V4));
    // The other one is not.
    assert_eq!(anne.post(V4, "/order", &format!("choice=day%3As1%3A200&code={code}")).status, 303);

    // Chinese, by the browser and by hand.
    let page = bob.portal_with(V4, "/", "Accept-Language: zh-CN,zh;q=0.9,en;q=0.5\r\n");
    assert!(page.body.contains("您还没有接入互联网") && page.body.contains("lang=\"zh\""), "{}", page.body);
    let chosen = bob.portal(V4, "/?lang=zh");
    assert!(chosen.header("set-cookie").is_some_and(|cookie| cookie.starts_with("lang=zh; ")), "{chosen:?}");
    let page = bob.portal_with(V4, "/", "Cookie: lang=zh\r\n");
    assert!(page.body.contains("您还没有接入互联网"), "{}", page.body);

    // What is left, as it goes.
    let live = anne.portal(V4, "/live");
    assert_eq!(live.header("content-type"), Some("text/event-stream"));
    let event: Value =
        serde_json::from_str(live.body.split("data: ").nth(1).expect("an event").trim()).unwrap();
    assert_eq!(event["state"], "in", "{event}");
    assert!(event["bytes"]["part"].as_u64().is_some_and(|part| part > 0), "{event}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn many_at_once_are_served_and_none_holds_a_place_for_ever() {
    let lab = lab_of(2);
    let gateway = Gateway::sharing(&lab, "", TARIFFS);
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
    // Bob opens many and says nothing.
    let idle: Vec<TcpStream> = bob.netns.enter(|| {
        (0..64)
            .filter_map(|_| TcpStream::connect_timeout(&(V4, PORT).into(), Duration::from_secs(1)).ok())
            .collect()
    });
    assert!(!idle.is_empty());
    let start = Instant::now();
    assert_eq!(anne.portal(V4, "/").status, 200);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // And each of his is closed soon.
    wait_until("idle connections to be closed", Duration::from_secs(20), || {
        lab.gateway.run(&format!("ss -Htn state established sport = :{PORT}")).lines().count() == 0
    });
    drop(idle);
    assert_eq!(bob.portal(V4, "/").status, 200);
    wait_for("the gateway to be there", SOON, || {
        gateway.ask(json!({"verb": "status"})).get("version").cloned()
    });
}
