//! The gateway and a real FreeRADIUS: sessions are told, whatever happens meanwhile.
#![cfg(feature = "radius")]

mod support;

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use support::daemons::Gateway;
use support::freeradius::{FreeRadius, SECRET, octets, settings};
use support::lab::{self, Lab};
use support::wait::{SOON, wait_for, wait_until};
use wayleave::adapters::radius::attribute::{Attribute, number};
use wayleave::adapters::radius::codec::{self, Code};
use wayleave::model::Secret;

/// Servers on the lab's internet.
const FIRST: IpAddr = IpAddr::V4(lab::COORDINATOR_V4);
const SECOND: IpAddr = IpAddr::V4(lab::INTERNET_V4);

/// Answers are missed soon.
const QUICK: &str = "interim = \"10s\"\ntimeout = \"200ms\"\ntries = 2\nnas_identifier = \"corner\"";

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_server_hears_of_a_session_from_its_start_to_its_end() {
    let lab = Lab::with_stations(2);
    let server = FreeRadius::start(&lab.internet, FIRST, lab.path(), "");
    let hostapd = lab.hostapd();
    let mut gateway = Gateway::start(&lab, &settings(lab.path(), &[FIRST], QUICK));
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
    wait_until("accounting to begin", SOON, || server.of_kind("Accounting-On").len() == 1);
    assert!(anne.pings(lab::GATEWAY_V4), "the gateway knows its address");

    gateway.grant(anne.mac);
    let start = wait_for("the start", SOON, || server.of_kind("Start").first().cloned());
    for (name, value) in [
        ("Calling-Station-Id", anne.mac_text().to_uppercase().replace(':', "-")),
        ("Called-Station-Id", "02-77-00-00-00-01".into()),
        ("Framed-IP-Address", anne.v4.to_string()),
        ("NAS-Identifier", "corner".into()),
        ("NAS-IP-Address", "198.51.100.1".into()),
        ("NAS-Port-Type", "Ethernet".into()),
        ("NAS-Port-Id", "ap0".into()),
        ("Acct-Authentic", "Local".into()),
    ] {
        assert_eq!(start.get(name), Some(&value), "{name} of {start:?}");
    }

    // What the server is told is what the kernel has counted.
    let stream = lab.stream_up(0, false, 200);
    std::thread::sleep(Duration::from_secs(2));
    stream.stop().assert_whole();
    assert!(anne.reaches(lab::INTERNET_V6));
    std::thread::sleep(Duration::from_millis(200));
    let before = kernel(&lab, &anne.mac_text());
    let update = wait_for("an update", Duration::from_secs(15), || server.of_kind("Interim-Update").pop());
    let after = kernel(&lab, &anne.mac_text());
    let (input, output) = (octets(&update, "Input"), octets(&update, "Output"));
    assert!((before.0..=after.0).contains(&input), "{before:?} {input} {after:?}");
    assert!((before.1..=after.1).contains(&output), "{before:?} {output} {after:?}");
    assert!(input > 200 * 64 && output > 0);
    let seconds: u64 = update["Acct-Session-Time"].parse().unwrap();
    assert!((10..14).contains(&seconds), "{update:?}");

    let report = gateway.evict(anne.mac);
    let stop = wait_for("the end", SOON, || server.of_kind("Stop").pop());
    assert_eq!(stop["Acct-Terminate-Cause"], "Admin-Reset");
    assert_eq!(stop["Acct-Session-Id"], start["Acct-Session-Id"]);
    assert_eq!(stop["Framed-IP-Address"], start["Framed-IP-Address"], "as it was known last");
    assert_eq!(json!(octets(&stop, "Input")), report["moved"]["up_bytes"], "{stop:?}");
    assert_eq!(json!(octets(&stop, "Output")), report["moved"]["down_bytes"], "{stop:?}");

    // Whoever has access when the gateway stops has it, but not for the server.
    gateway.grant(bob.mac);
    wait_until("the start", SOON, || server.of_kind("Start").len() == 2);
    assert_eq!(word(&findings(&gateway), "radius-accounting")["severity"], "good");
    gateway.program.terminate(SOON);
    let records = server.records();
    let last: Vec<&str> =
        records.iter().rev().take(2).map(|record| record["Acct-Status-Type"].as_str()).collect();
    assert_eq!(last, ["Accounting-Off", "Stop"], "{records:?}");
    assert_eq!(server.of_kind("Stop")[1]["Acct-Terminate-Cause"], "Admin-Reboot");
    drop(hostapd);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_happens_while_no_server_answers_is_told_when_one_does() {
    let lab = Lab::with_stations(1);
    let mut server = FreeRadius::start(&lab.internet, FIRST, lab.path(), "");
    let mut gateway = Gateway::start(&lab, &settings(lab.path(), &[FIRST], QUICK));
    let anne = &lab.stations[0];
    wait_until("accounting to begin", SOON, || server.of_kind("Accounting-On").len() == 1);

    server.program.kill();
    gateway.grant(anne.mac);
    assert!(anne.reaches(lab::INTERNET_V4), "access does not wait for it");
    let report = gateway.evict(anne.mac);
    gateway.grant(anne.mac);
    wait_until("the doctor to say so", SOON, || {
        let finding = word(&findings(&gateway), "radius-accounting");
        finding["severity"] == "problem" && finding["found"].to_string().contains("3 records wait")
    });
    // A restart loses none of it.
    gateway.program.terminate(SOON);
    gateway.again();
    server.again();
    wait_until("all of it to be told", Duration::from_secs(60), || {
        server.of_kind("Start").len() == 3 && server.of_kind("Stop").len() == 2
    });
    let stops = server.of_kind("Stop");
    let stop = stops.iter().find(|stop| stop["Acct-Terminate-Cause"] == "Admin-Reset").unwrap();
    assert_eq!(json!(octets(stop, "Input")), report["moved"]["up_bytes"], "{stop:?}");
    let late: u64 = stop["Acct-Delay-Time"].parse().unwrap();
    assert!((1..60).contains(&late), "{stop:?}");
    assert_eq!(server.of_kind("Accounting-On").len(), 2);
    wait_until("the doctor to be content", SOON, || {
        word(&findings(&gateway), "radius-accounting")["severity"] == "good"
    });
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_second_server_stands_in_for_the_first() {
    let lab = Lab::with_stations(1);
    let mut first = FreeRadius::start(&lab.internet, FIRST, lab.path(), "");
    let second = FreeRadius::start(&lab.internet, SECOND, lab.path(), "");
    let gateway = Gateway::start(&lab, &settings(lab.path(), &[FIRST, SECOND], QUICK));
    wait_until("accounting to begin", SOON, || first.of_kind("Accounting-On").len() == 1);
    first.program.kill();
    gateway.grant(lab.stations[0].mac);
    wait_until("the second one to hear of it", SOON, || second.of_kind("Start").len() == 1);
    let finding = word(&findings(&gateway), "radius-accounting");
    assert_eq!(finding["severity"], "hint", "{finding}");
    assert!(finding["found"].to_string().contains("198.51.100.3:1813 has not answered"), "{finding}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn bytes_that_pass_while_the_gateway_is_away_are_told_once() {
    let lab = Lab::with_stations(1);
    let server = FreeRadius::start(&lab.internet, FIRST, lab.path(), "");
    let mut gateway = Gateway::start(&lab, &settings(lab.path(), &[FIRST], QUICK));
    gateway.grant(lab.stations[0].mac);
    let stream = lab.stream_up(0, false, 100);
    for crash in [true, false] {
        std::thread::sleep(Duration::from_millis(1500));
        if crash {
            gateway.program.kill();
        } else {
            gateway.program.terminate(SOON);
        }
        std::thread::sleep(Duration::from_secs(1));
        gateway.again();
    }
    stream.stop().assert_whole();
    let report = gateway.evict(lab.stations[0].mac);
    wait_until("the ends", SOON, || server.of_kind("Stop").len() == 2);
    assert_eq!(server.of_kind("Start").len(), 3, "one of the sessions ended in a crash");
    // What the session that crashed had told is nothing: its bytes are in the next one.
    let told: u64 = server.of_kind("Stop").iter().map(|stop| octets(stop, "Input")).sum();
    assert_eq!(json!(told), report["moved"]["up_bytes"]);
}

/// What the kernel has counted for a station, up and down: layer-3 bytes.
fn kernel(lab: &Lab, mac: &str) -> (u64, u64) {
    // At the ingress hook a packet counts from its IP header, at egress with its Ethernet header.
    let count = |map: &str, header: u64| {
        let listed = lab.gateway.run(&format!("nft list map netdev wayleave {map}"));
        let words: Vec<&str> = listed.split_whitespace().collect();
        let element = words.iter().position(|word| *word == mac).unwrap_or_else(|| panic!("{listed}"));
        let after = |name: &str| -> u64 {
            let at = words[element..].iter().position(|word| *word == name).expect("a counter");
            words[element + at + 1].parse().expect("a number")
        };
        after("bytes") - header * after("packets")
    };
    (count("up", 0), count("down", 14))
}

fn findings(gateway: &Gateway) -> Value {
    gateway.ask(json!({"verb": "doctor"}))
}

fn word(findings: &Value, word: &str) -> Value {
    let found = findings.as_array().unwrap().iter().find(|finding| finding["word"] == word);
    found.cloned().unwrap_or_else(|| panic!("no finding {word} in {findings}"))
}

/// Where the gateway listens for servers.
const LISTENS: &str = "198.51.100.1:3799";

fn with_listener() -> String {
    format!("{QUICK}\ndisconnect = \"{LISTENS}\"")
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_server_ends_a_session_and_only_the_one_it_names() {
    let lab = Lab::with_stations(2);
    let server = FreeRadius::start(&lab.internet, FIRST, lab.path(), "");
    let gateway = Gateway::start(&lab, &settings(lab.path(), &[FIRST], &with_listener()));
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
    assert!(anne.pings(lab::GATEWAY_V4) && bob.pings(lab::GATEWAY_V4));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let made = format!("Event-Timestamp={now}");

    let session = |number: usize| {
        let starts =
            wait_for("its start", SOON, || Some(server.of_kind("Start")).filter(|all| all.len() > number));
        starts[number]["Acct-Session-Id"].clone()
    };
    gateway.grant(anne.mac);
    gateway.grant(bob.mac);
    let (annes, bobs) = (session(0), session(1));

    // What ends nothing.
    let anne_id = format!("Calling-Station-Id={}", anne.mac_text());
    for (what, wanted) in [
        (
            format!("Acct-Session-Id={annes},Calling-Station-Id={}", bob.mac_text()),
            "Session-Context-Not-Found",
        ),
        (format!("{anne_id},{made},Framed-IP-Address={}", bob.v4), "Session-Context-Not-Found"),
        (format!("Acct-Session-Id={annes},NAS-Identifier=elsewhere"), "NAS-Identification-Mismatch"),
        (format!("Acct-Session-Id={annes},NAS-IP-Address=198.51.100.9"), "NAS-Identification-Mismatch"),
        (format!("Acct-Session-Id={annes},Session-Timeout=5"), "Unsupported-Attribute"),
        (format!("{anne_id},Event-Timestamp={}", now - 400), "Invalid-Request"),
        (anne_id.clone(), "Missing-Attribute"),
        (made.clone(), "Missing-Attribute"),
    ] {
        let said =
            radclient(&lab, "disconnect", FIRST, &format!("{what},Message-Authenticator=0x00"), SECRET);
        assert!(said.contains("Disconnect-NAK") && said.contains(wanted), "{what}: {said}");
    }
    let session_of_anne = format!("Acct-Session-Id={annes},Message-Authenticator=0x00");
    let said = radclient(&lab, "coa", FIRST, &session_of_anne, SECRET);
    assert!(said.contains("CoA-NAK") && said.contains("Unsupported-Service"), "{said}");
    for (what, from, attributes, secret) in [
        ("another secret", FIRST, session_of_anne.as_str(), "another-secret-altogether"),
        ("a stranger", SECOND, session_of_anne.as_str(), SECRET),
        ("not signed", FIRST, &format!("Acct-Session-Id={annes}"), SECRET),
    ] {
        let said = radclient(&lab, "disconnect", from, attributes, secret);
        assert!(said.contains("No reply"), "{what}: {said}");
    }
    assert!(anne.reaches(lab::INTERNET_V4) && bob.reaches(lab::INTERNET_V4), "nobody was sent away");

    // What ends one session.
    let mut events = gateway.watch();
    let said = radclient(&lab, "disconnect", FIRST, &session_of_anne, SECRET);
    assert!(said.contains("Received Disconnect-ACK"), "{said}");
    assert!(anne.is_cut_off(lab::INTERNET_V4) && bob.reaches(lab::INTERNET_V4));
    assert_eq!(events.next("evicted")["report"]["steps"].as_array().unwrap().len(), 6);
    let stop = wait_for("the end", SOON, || server.of_kind("Stop").pop());
    assert_eq!((&stop["Acct-Session-Id"], stop["Acct-Terminate-Cause"].as_str()), (&annes, "Admin-Reset"));
    let said = radclient(&lab, "disconnect", FIRST, &session_of_anne, SECRET);
    assert!(said.contains("Session-Context-Not-Found"), "{said}");

    // By everything at once, from a server that puts a state of its own in.
    let whole = format!(
        "Acct-Session-Id={bobs},Calling-Station-Id={},Framed-IP-Address={},User-Name={},NAS-Identifier=corner,\
         NAS-IP-Address=198.51.100.1,{made},Proxy-State=0x0102,Message-Authenticator=0x00",
        bob.mac_text(),
        bob.v4,
        server.of_kind("Start")[1]["User-Name"],
    );
    let said = radclient(&lab, "disconnect", FIRST, &whole, SECRET);
    assert!(said.contains("Received Disconnect-ACK") && said.contains("Proxy-State = 0x0102"), "{said}");
    assert!(bob.is_cut_off(lab::INTERNET_V4));
    let finding = word(&findings(&gateway), "radius-disconnect");
    // Each of the three was sent once.
    assert!(finding["found"].to_string().contains("3 requests were ignored"), "{finding}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_request_that_comes_again_gets_its_answer_again_and_ends_nothing_more() {
    let lab = Lab::with_stations(1);
    let gateway = Gateway::start(&lab, &settings(lab.path(), &[FIRST], &with_listener()));
    let anne = &lab.stations[0];
    gateway.grant(anne.mac);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let attributes = [
        Attribute::text(number::CALLING_STATION_ID, &anne.mac_text()),
        Attribute::integer(number::EVENT_TIMESTAMP, now.try_into().unwrap()),
    ];
    let secret = Secret::new(SECRET);
    let (request, asked) = codec::request(Code::DISCONNECT_REQUEST, 7, &attributes, &secret, [0; 16]);
    let ask = |request: &[u8]| {
        lab.internet.enter(|| {
            let socket = std::net::UdpSocket::bind((FIRST, 0)).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            socket.send_to(request, LISTENS).unwrap();
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        })
    };
    let answer = ask(&request);
    let read = codec::read_answer(&answer, &secret, &asked).expect("it is signed");
    assert_eq!((read.code, read.identifier), (Code::DISCONNECT_ACK, 7));
    assert!(anne.is_cut_off(lab::INTERNET_V4));
    gateway.grant(anne.mac);
    // Recorded, and sent again from another port.
    assert_eq!(ask(&request), answer);
    assert!(anne.reaches(lab::INTERNET_V4), "it was granted anew");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_session_is_found_by_the_address_that_its_station_has_now() {
    let lab = Lab::with_stations(1);
    // No server is told of it.
    let config = settings(lab.path(), &[FIRST], &with_listener()) + "accounting_port = 0\n";
    let gateway = Gateway::start(&lab, &config);
    let anne = &lab.stations[0];
    gateway.grant(anne.mac);
    assert!(anne.pings(lab::GATEWAY_V4), "the gateway knows its address");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (nas, wanted) in [
        ("198.51.100.9", "NAS-Identification-Mismatch"),
        // By which nobody was ever spoken to.
        ("198.51.100.1", "Received Disconnect-ACK"),
    ] {
        let what = format!(
            "Framed-IP-Address={},NAS-IP-Address={nas},Event-Timestamp={now},Message-Authenticator=0x00",
            anne.v4
        );
        let said = radclient(&lab, "disconnect", FIRST, &what, SECRET);
        assert!(said.contains(wanted), "{what}: {said}");
    }
    assert!(anne.is_cut_off(lab::INTERNET_V4));
}

/// What radclient says that it got for this, sent from that address.
fn radclient(lab: &Lab, command: &str, from: IpAddr, attributes: &str, secret: &str) -> String {
    let mut radclient = lab.internet.command("radclient");
    radclient.args(["-x", "-r", "1", "-t", "3", LISTENS, command, secret]);
    radclient.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = radclient.stderr(std::process::Stdio::piped()).spawn().expect("radclient is installed");
    let text = format!("{attributes},Packet-Src-IP-Address={from}\n");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

const USERS: &str = "nemo Cleartext-Password := \"arctangent\"
\tSession-Timeout = 3600, Idle-Timeout = 300, Acct-Interim-Interval = 60, ChilliSpot-Max-Total-Octets = 4000000,
\tClass = 0x6162, Class += 0x6364, Reply-Message = \"Welcome\"
brief Cleartext-Password := \"a-long-one-of-more-than-16-octets\"
\tSession-Timeout = 2
idle Cleartext-Password := \"0\"
\tIdle-Timeout = 3
oneway Cleartext-Password := \"0\"
\tChilliSpot-Max-Output-Octets = 1
";

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_a_server_says_to_a_name_and_a_password_is_granted() {
    let lab = Lab::with_stations(2);
    let server = FreeRadius::start(&lab.internet, FIRST, lab.path(), USERS);
    let mut gateway = Gateway::start(&lab, &settings(lab.path(), &[FIRST], QUICK));
    let (anne, bob) = (&lab.stations[0], &lab.stations[1]);
    let said = by_name(&gateway, &anne.mac_text(), "nemo", "arctangent");
    assert!(said.contains("for 1 h, up to 4.0 MB") && said.contains("Welcome"), "{said}");
    assert!(anne.reaches(lab::INTERNET_V4));
    let rows = gateway.ask(json!({"verb": "grants"}));
    assert_eq!(rows[0]["quota"], 4_000_000, "{rows}");
    let start = wait_for("the start", SOON, || server.of_kind("Start").pop());
    assert_eq!((start["User-Name"].as_str(), start["Acct-Authentic"].as_str()), ("nemo", "RADIUS"));
    // Both classes; the server writes each in a line of its own.
    assert_eq!(
        server.text().matches("Class = 0x61").count() + server.text().matches("Class = 0x63").count(),
        2
    );

    // It is nemo's also after a crash, before anything was kept across a reboot.
    gateway.program.kill();
    let kept = gateway.dir().join("state/radius.json");
    assert!(!kept.exists());
    gateway.again();
    let start = wait_for("the start", SOON, || {
        let mut starts = server.of_kind("Start").into_iter();
        starts.find(|other| other["Acct-Session-Id"] != start["Acct-Session-Id"])
    });
    assert_eq!(start["User-Name"], "nemo");

    for (name, password, word) in [
        ("nemo", "wrong", "says no: Welcome"),
        ("nobody", "arctangent", "says no"),
        ("oneway", "0", "ChilliSpot-Max-Total-Octets"),
        ("nemo", "", "a password has 1 to 128 bytes"),
        ("", "x", "a name has 1 to 253 bytes"),
    ] {
        let said = by_name(&gateway, &bob.mac_text(), name, password);
        assert!(said.contains(word), "{name}: {said}");
    }
    assert!(bob.is_cut_off(lab::INTERNET_V4));

    by_name(&gateway, &bob.mac_text(), "brief", "a-long-one-of-more-than-16-octets");
    assert!(bob.reaches(lab::INTERNET_V4));
    wait_until("its time to be over", SOON, || {
        server.of_kind("Stop").iter().any(|stop| stop["Acct-Terminate-Cause"] == "Session-Timeout")
    });
    assert!(bob.is_cut_off(lab::INTERNET_V4));
    by_name(&gateway, &bob.mac_text(), "idle", "0");
    wait_until("it to be idle", SOON, || {
        server.of_kind("Stop").iter().any(|stop| stop["Acct-Terminate-Cause"] == "Idle-Timeout")
    });
    assert!(bob.is_cut_off(lab::INTERNET_V4) && anne.reaches(lab::INTERNET_V4));

    let is_kept = |name: &str| std::fs::read_to_string(&kept).is_ok_and(|text| text.contains(name));
    wait_until("its name to be kept with the grants", SOON, || is_kept("nemo") && !is_kept("brief"));

    // Another grant takes the place of nemo's: the last word of the session is nemo's still.
    gateway.grant(anne.mac);
    let stop = wait_for("the end", SOON, || {
        let mut stops = server.of_kind("Stop").into_iter();
        stops.find(|stop| stop["Acct-Terminate-Cause"] == "Port-Preempted")
    });
    assert_eq!((stop["User-Name"].as_str(), stop["Acct-Authentic"].as_str()), ("nemo", "RADIUS"), "{stop:?}");
    assert_eq!(stop["Acct-Session-Id"], start["Acct-Session-Id"]);
    assert!(stop.contains_key("Class"), "{stop:?}");
    assert!(!gateway.program.lines().iter().any(|line| line.contains("arctangent")), "no password is logged");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn nobody_is_let_in_while_no_server_answers_or_one_that_does_not_sign() {
    let lab = Lab::with_stations(1);
    let mut server = FreeRadius::start(&lab.internet, FIRST, lab.path(), USERS);
    let gateway = Gateway::start(&lab, &settings(lab.path(), &[FIRST], QUICK));
    let anne = &lab.stations[0];
    server.program.kill();
    let said = by_name(&gateway, &anne.mac_text(), "nemo", "arctangent");
    assert!(said.contains("no RADIUS server has answered"), "{said}");
    // As Debian 12 installs it.
    server.signs_nothing();
    server.again();
    wait_until("the answer to be refused", Duration::from_secs(60), || {
        let said = by_name(&gateway, &anne.mac_text(), "nemo", "arctangent");
        said.contains("an answer was not used: it has no Message-Authenticator")
    });
    assert!(anne.is_cut_off(lab::INTERNET_V4));
    let finding = word(&findings(&gateway), "radius-access");
    assert!(finding["found"].to_string().contains("no Message-Authenticator"), "{finding}");
}

/// What `wayleave grant --radius` says.
fn by_name(gateway: &Gateway, mac: &str, name: &str, password: &str) -> String {
    let mut command = std::process::Command::new(support::daemons::WAYLEAVE);
    command.args(["grant", mac, "--radius", name, "--socket"]).arg(gateway.socket());
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("the program starts");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{password}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
