//! Push on connect: what the owner and the coordinator say reaches the terminals that it is for, once, and nobody else
//! can say anything. All three roles are processes; hostapd, wpa_supplicant, the bus and the kernel are real.
#![cfg(all(feature = "dbus", feature = "coordinator", feature = "terminal"))]

mod support;

#[allow(dead_code)]
#[path = "support/bus.rs"]
mod bus;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bus::{Bus, OPEN};
use nix::sys::signal::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::daemons::{Gateway, Terminal, set_environment};
use support::lab::{GATEWAY_V4, WAN};
use support::stage::Stage;
use support::wait::{SOON, wait_for, wait_until};
use wayleave::model::{Audience, BootId, Message, MessageId, MessageText, Millis, SessionId};
use wayleave::wire::cbor::{decode, encode};
use wayleave::wire::hello::{LinkNonce, Proof};
use wayleave::wire::push::{Channel, Greeting, Knock, Offered, PORT, SignedOffer, Taken};
use wayleave::wire::sign::Identity;

/// A terminal that was away tries again soon, but not at once; the coordinator leaves the gateway five seconds.
const LATER: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_the_owner_says_is_shown_once() {
    let mut stage = Stage::new("");
    let first = push(
        &stage.gateway,
        json!({"to": "everybody", "text": "Closed at 17:00", "link": "https://a.example/"}),
    );
    let mut terminal = stage.terminal(0);
    stage.wait_for_access(0);
    let line = terminal.program.wait_line("Closed at", SOON);
    assert_eq!(line, "message (owner, Corner): Closed at 17:00 https://a.example/");
    // To one that is connected: at once.
    push(&stage.gateway, json!({"to": "everybody", "text": "And tomorrow"}));
    terminal.program.wait_line("And tomorrow", SOON);
    wait_until("it to have been acknowledged", SOON, || taken(&stage.gateway) == [1, 1]);

    // The gateway loses its memory of who has it, and offers it again.
    stage.gateway.program.kill();
    stage.gateway.again();
    wait_until("it to be acknowledged again", LATER, || taken(&stage.gateway) == [1, 1]);
    assert_eq!(shown(&terminal).len(), 2, "{:?}", shown(&terminal));

    // So does the terminal of everything but what it keeps.
    terminal.program.kill();
    stage.gateway.program.kill();
    stage.gateway.again();
    terminal.again(&stage.lab, 0);
    wait_until("it to be acknowledged once more", LATER, || taken(&stage.gateway) == [1, 1]);
    assert_eq!(shown(&terminal), [""; 0]);

    // Its access is lost and comes back.
    stage.lab.air.ip("link set port1 down");
    std::thread::sleep(Duration::from_secs(1));
    stage.lab.air.ip("link set port1 up");
    stage.gateway.ask(json!({"verb": "withdraw", "message": first["id"]}));
    push(&stage.gateway, json!({"to": "everybody", "text": "The last word"}));
    terminal.program.wait_line("The last word", LATER);
    assert_eq!(shown(&terminal).len(), 1, "{:?}", shown(&terminal));
    assert_eq!(stage.gateway.ask(json!({"verb": "messages"})).as_array().unwrap().len(), 2);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_is_for_others_or_over_is_not_shown() {
    let stage = Stage::new("");
    let brief = push(&stage.gateway, json!({"to": "everybody", "text": "Too late for you", "valid": 300}));
    assert!(brief["left"].as_u64().unwrap() <= 300);
    wait_until("its time to be over", SOON, || taken(&stage.gateway).is_empty());
    let terminals = [stage.terminal(0), stage.terminal(1)];
    wait_until("both to have access", LATER, || {
        stage.sessions().as_array().unwrap().iter().filter(|row| row["state"] == "active").count() == 2
    });
    let grant_of = |station: usize| {
        let rows = stage.gateway.ask(json!({"verb": "grants"}));
        let mac = stage.lab.stations[station].mac_text();
        let row = rows.as_array().unwrap().iter().find(|row| row["station"] == mac.as_str()).cloned();
        row.expect("it has a grant")["id"].clone()
    };
    let mut events = stage.gateway.watch();
    push(&stage.gateway, json!({"to": {"grant": grant_of(1)}, "text": "For the second"}));
    assert_eq!(events.next("delivered")["grant"], grant_of(1));
    push(&stage.gateway, json!({"to": {"network": "Another"}, "text": "For nobody here"}));
    push(&stage.gateway, json!({"to": {"network": "Corner"}, "text": "For the network"}));
    push(&stage.gateway, json!({"to": "everybody", "text": "For everybody"}));
    let wanted: [&[&str]; 2] =
        [&["For the network", "For everybody"], &["For the second", "For the network", "For everybody"]];
    for (mut terminal, wanted) in terminals.into_iter().zip(wanted) {
        terminal.program.wait_line("For everybody", SOON);
        let wanted: Vec<String> =
            wanted.iter().map(|text| format!("message (owner, Corner): {text}")).collect();
        assert_eq!(shown(&terminal), wanted);
        // What people are told is in no log.
        let logged: Vec<_> =
            terminal.program.lines().into_iter().filter(|line| line.contains("For the")).collect();
        assert!(logged.iter().all(|line| line.starts_with("message (")), "{logged:?}");
    }
    assert!(stage.gateway.program.lines().iter().all(|line| !line.contains("For the")));

    for (request, word) in [
        (json!({"verb": "push", "to": {"grant": "00".repeat(16)}, "text": "x"}), "no-grant"),
        (json!({"verb": "push", "to": {"session": "00".repeat(16)}, "text": "x"}), "bad-audience"),
        (json!({"verb": "push", "to": "everybody", "text": "x", "valid": 0}), "bad-time"),
        (json!({"verb": "push", "to": "everybody", "text": "x", "valid": 2_592_000_001_u64}), "bad-time"),
        (json!({"verb": "push", "to": "everybody", "text": "a\nb"}), "bad-request"),
        (json!({"verb": "push", "to": "everybody", "text": "x", "link": "ftp://x"}), "bad-request"),
        (json!({"verb": "withdraw", "message": "00".repeat(16)}), "no-message"),
    ] {
        let refused = stage.gateway.try_ask(&request);
        assert_eq!(refused["error"]["word"], word, "{request}: {refused}");
    }
    let waiting = stage.gateway.ask(json!({"verb": "messages"})).as_array().unwrap().len();
    for _ in waiting..64 {
        push(&stage.gateway, json!({"to": {"network": "Another"}, "text": "x"}));
    }
    let refused = stage.gateway.try_ask(&json!({"verb": "push", "to": "everybody", "text": "x"}));
    assert_eq!(refused["error"]["word"], "too-many-messages", "{refused}");
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_the_coordinator_says_is_shown_once_though_both_sides_bring_it() {
    let mut stage = Stage::new("");
    let mut terminal = stage.terminal(0);
    stage.wait_for_access(0);
    let session = stage.sessions()[0]["session"].clone();
    let service = stage.sessions()[0]["service"].clone();
    let mut events = stage.gateway.watch();
    let say = |stage: &Stage, to: Value, text: &str| {
        stage.coordinator.ask(json!({"verb": "push", "to": to, "text": text}))
    };

    // Through the gateway, whose word for it ends the message at the coordinator.
    let sent = say(&stage, json!({"session": session}), "Your session is nearly over");
    assert_eq!(events.next("delivered")["message"], sent["id"]);
    terminal.program.wait_line("message (coordinator, Corner): Your session", SOON);
    wait_until("the coordinator to know", SOON, || at_coordinator(&stage).is_empty());

    // The gateway cannot be reached: the coordinator's own link, after a while. Then the gateway offers it, too.
    let nft = |line: &str| stage.lab.gateway.run(&format!("nft {line}"));
    nft("add chain inet home input { type filter hook input priority filter ; }");
    nft(&format!("add rule inet home input tcp dport {PORT} drop"));
    stage.gateway.program.kill();
    stage.gateway.again();
    stage.gateway.wait_for_link();
    say(&stage, json!({"gateway": service}), "Maintenance tonight");
    terminal.program.wait_line("message (coordinator, Corner): Maintenance tonight", LATER);
    assert_eq!(taken(&stage.gateway), [0]);
    stage.lab.gateway.run("nft flush chain inet home input");
    wait_until("the gateway to have offered it as well", Duration::from_secs(60), || {
        taken(&stage.gateway) == [1]
    });
    assert_eq!(shown(&terminal).len(), 2, "{:?}", shown(&terminal));

    // Nobody forgets: not the coordinator, not the terminal.
    stage.coordinator.program.kill();
    stage.coordinator.again();
    stage.gateway.wait_for_link();
    assert_eq!(at_coordinator(&stage), [1]);
    terminal.program.kill();
    terminal.again(&stage.lab, 0);
    stage.wait_for_access(0);
    wait_until("the link of the terminal", LATER, || {
        stage.coordinator.ask(json!({"verb": "status"}))["terminals_up"] == 1
    });
    say(&stage, json!({"gateway": service}), "The last word");
    terminal.program.wait_line("The last word", LATER);
    assert_eq!(shown(&terminal), ["message (coordinator, Corner): The last word"]);

    for (to, word) in [
        (json!({"session": "00".repeat(16)}), "unknown-session"),
        (json!({"gateway": "00".repeat(16)}), "unknown-gateway"),
        (json!("everybody"), "bad-audience"),
    ] {
        let refused = stage.coordinator.try_ask(&json!({"verb": "push", "to": to, "text": "x"}));
        assert_eq!(refused["error"]["word"], word, "{refused}");
    }
    let other = stage.gateway.ask(json!({"verb": "messages"}))[0]["id"].clone();
    let refused = stage.gateway.try_ask(&json!({"verb": "withdraw", "message": other}));
    assert_eq!(refused["error"]["word"], "not-yours", "{refused}");
    stage.coordinator.ask(json!({"verb": "withdraw", "message": other}));
    wait_until("the gateway to have forgotten it", SOON, || taken(&stage.gateway).len() == 1);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_the_coordinator_takes_back_meanwhile_is_told_no_more() {
    let mut stage = Stage::new("");
    let service = stage.gateway.ask(json!({"verb": "status"}))["service"].clone();
    let say = |stage: &Stage, text: &str| {
        stage.coordinator.ask(json!({"verb": "push", "to": {"gateway": service}, "text": text}))
    };
    let (stays, goes) = (say(&stage, "It stays"), say(&stage, "It goes"));
    wait_until("the gateway to have both", SOON, || taken(&stage.gateway) == [0, 0]);
    let mut first = stage.terminal(0);
    stage.wait_for_access(0);
    first.program.wait_line("It goes", SOON);
    wait_until("both to be acknowledged", SOON, || taken(&stage.gateway) == [1, 1]);

    // No link stands when one is taken back; what is there goes on meanwhile.
    stage.coordinator.program.kill();
    stage.lab.gateway.ip(&format!("link set {} down", WAN));
    stage.coordinator.again();
    assert_eq!(taken(&stage.gateway), [1, 1]);
    stage.coordinator.ask(json!({"verb": "withdraw", "message": goes["id"]}));
    stage.lab.gateway.ip(&format!("link set {} up", WAN));
    let left = || stage.gateway.ask(json!({"verb": "messages"}));
    wait_until("one to be left", LATER, || left().as_array().is_some_and(|rows| rows.len() == 1));
    wait_until("it to be said again", LATER, || taken(&stage.gateway) == [1]);
    assert_eq!(left()[0]["id"], stays["id"]);
    assert_eq!(shown(&first).len(), 2, "{:?}", shown(&first));
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn nobody_gets_the_messages_of_others() {
    let stage = Stage::new("");
    let mut terminal = stage.terminal(0);
    stage.wait_for_access(0);
    let session: SessionId = stage.sessions()[0]["session"].as_str().unwrap().parse().unwrap();
    let gateway = SocketAddr::from((GATEWAY_V4, PORT));
    let other = &stage.lab.stations[1];
    let reached =
        || other.netns.enter(|| TcpStream::connect_timeout(&gateway, Duration::from_millis(700)).is_ok());
    assert!(!reached(), "the port is open to a station without a grant");
    assert!(stage.lab.internet.enter(|| {
        TcpStream::connect_timeout(&SocketAddr::from(([198, 51, 100, 1], PORT)), Duration::from_secs(5))
            .is_err()
    }));
    stage.gateway.grant(other.mac);
    assert!(reached(), "with a grant it is");

    let mut events = stage.gateway.watch();
    let dropped = |gateway: &Gateway| gateway.ask(json!({"verb": "status"}))["dropped"].as_u64().unwrap();
    let before = dropped(&stage.gateway);
    other.netns.enter(|| {
        let mut stream = call(gateway);
        let knock = Knock { nonce: LinkNonce(BootId([1; 16])), session, version: 1 };
        say(&mut stream, &knock);
        let greeting: Greeting = hear(&mut stream).expect("a greeting");
        say(&mut stream, &Channel { knock, greeting }.prove(&Identity::generate()));
        assert!(hear::<SignedOffer>(&mut stream).is_none(), "it hangs up");
    });
    assert_eq!(events.next("dropped")["refusal"]["word"], "bad-proof");
    // Whatever is no frame, or longer than any.
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 1, 0xff], &[0xff; 100]] {
        other.netns.enter(|| {
            let mut stream = call(gateway);
            stream.write_all(garbage).expect("it reads");
            assert_eq!(stream.read(&mut [0; 10]).unwrap_or(0), 0, "it hangs up");
        });
        assert_eq!(events.next("dropped")["refusal"]["word"], "bad-frame");
    }
    assert_eq!(dropped(&stage.gateway), before + 4);

    // Whoever has a key of his own takes what is his, and not what is for others.
    let others = push(&stage.gateway, json!({"to": {"network": "Another"}, "text": "For nobody here"}));
    let his = push(&stage.gateway, json!({"to": "everybody", "text": "For him"}));
    terminal.program.wait_line("For him", SOON);
    wait_until("it to be acknowledged", SOON, || taken(&stage.gateway).contains(&1));
    let key = std::fs::read(stage.lab.path().join("terminal0/state/identity.pk8")).unwrap();
    let key = Identity::from_pkcs8(&key).unwrap();
    let his_own = &stage.lab.stations[0].netns;
    let mut stream = his_own.enter(|| call(gateway));
    // The terminal itself does not call again meanwhile.
    his_own.run("nft add table inet quiet");
    his_own.run("nft add chain inet quiet out { type filter hook output priority filter ; }");
    his_own.run(&format!("nft add rule inet quiet out tcp dport {PORT} tcp flags == syn drop"));
    let knock = Knock { nonce: LinkNonce(BootId([2; 16])), session, version: 1 };
    say(&mut stream, &knock);
    let channel = Channel { knock, greeting: hear(&mut stream).expect("a greeting") };
    say(&mut stream, &channel.prove(&key));
    push(&stage.gateway, json!({"to": "everybody", "text": "For him, too"}));
    push(&stage.gateway, json!({"to": "everybody", "text": "And this"}));
    hear::<SignedOffer>(&mut stream).expect("what is his");
    let message = others["id"].as_str().unwrap().parse().unwrap();
    // More often than he was offered anything; the last ones show that the first was heard.
    (0..3).for_each(|_| say(&mut stream, &Taken { message }));
    assert_eq!(events.next("dropped")["refusal"]["word"], "bad-frame");
    let rows = stage.gateway.ask(json!({"verb": "messages"}));
    let taken_of =
        |id: &Value| rows.as_array().unwrap().iter().find(|row| row["id"] == *id).unwrap()["taken"].clone();
    assert_eq!((taken_of(&others["id"]), taken_of(&his["id"])), (json!(0), json!(1)));
    his_own.run("nft delete table inet quiet");

    // Who holds all places of an address takes none of another's.
    let _held: Vec<TcpStream> = other.netns.enter(|| (0..20).map(|_| call(gateway)).collect());
    push(&stage.gateway, json!({"to": "everybody", "text": "All is well"}));
    terminal.program.wait_line("All is well", SOON);
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn what_somebody_says_in_the_gateways_place_is_refused_and_counted() {
    let stage = Stage::new("");
    // In its place, with the same address: a gateway without messages, and another program on its port.
    let config = stage.gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&config).unwrap() + "\n[messages]\nenabled = false\n";
    std::fs::write(&config, text).unwrap();
    let mut stage = stage;
    stage.gateway.program.terminate(SOON);
    stage.gateway.again();
    stage.gateway.wait_for_link();
    let off = stage.gateway.try_ask(&json!({"verb": "push", "to": "everybody", "text": "x"}));
    assert_eq!(off["error"]["word"], "messages-off", "{off}");

    let state = stage.gateway.dir().join("state");
    let real = Identity::from_pkcs8(&std::fs::read(state.join("gateway.pk8")).unwrap()).unwrap().public();
    let listener = stage.lab.gateway.enter(|| TcpListener::bind(("0.0.0.0", PORT)).unwrap());
    let impostor = Identity::generate();
    let own = impostor.public();
    let terminal = stage.terminal(0);
    stage.wait_for_access(0);

    // By its own key: whoever the gateway of the session is has another.
    let (mut stream, _) = accepted(&listener);
    let knock: Knock = hear(&mut stream).unwrap();
    say(&mut stream, &Greeting { key: own, nonce: LinkNonce(BootId([1; 16])) });
    assert!(hear::<Proof>(&mut stream).is_none(), "nothing is proven to him");
    wait_until("it to be counted", SOON, || terminal.status()["dropped"] == 1);
    assert_eq!(knock.session.to_string(), stage.sessions()[0]["session"], "the key is not on the air");

    // By the gateway's: he cannot sign.
    let (mut stream, _) = accepted(&listener);
    let knock: Knock = hear(&mut stream).unwrap();
    let greeting = Greeting { key: real, nonce: LinkNonce(BootId([1; 16])) };
    say(&mut stream, &greeting);
    hear::<Proof>(&mut stream).expect("the terminal takes him for the gateway");
    let text = MessageText::new("Send your password").unwrap();
    let message = Message { id: MessageId([1; 16]), to: Audience::Everybody, link: None, text };
    let offer =
        SignedOffer::new(&impostor, &Channel { knock, greeting }, Offered::Own(message), Millis(60_000))
            .unwrap();
    say(&mut stream, &offer);
    assert!(hear::<Value>(&mut stream).is_none(), "it hangs up and acknowledges nothing");
    wait_until("it to be counted", SOON, || terminal.status()["dropped"] == 2);
    assert_eq!(shown(&terminal), [""; 0]);
    assert_eq!(terminal.status()["messages"], 0);
}

/// A desktop that shows notifications.
struct Desktop(std::sync::mpsc::Sender<Vec<String>>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Desktop {
    #[allow(clippy::too_many_arguments)]
    fn notify(
        &self,
        application: String,
        _replaces: u32,
        _icon: String,
        summary: String,
        body: String,
        _actions: Vec<String>,
        _hints: std::collections::HashMap<String, zbus::OwnedVariant>,
        _timeout: i32,
    ) -> u32 {
        let _ = self.0.send(vec![application, summary, body]);
        1
    }
}

#[test]
#[ignore = "needs root and namespaces: sudo ./run test netns"]
fn a_message_is_on_the_desktop_and_given_to_the_hook_as_data() {
    let bus = Bus::start(OPEN);
    set_environment(&[("DBUS_SESSION_BUS_ADDRESS", bus.address.as_ref())]);
    let (sender, notifications) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _desktop = runtime.block_on(async {
        let builder = zbus::connection::Builder::address(bus.address.as_str());
        let builder = builder.serve_at("/org/freedesktop/Notifications", Desktop(sender));
        builder.name("org.freedesktop.Notifications").build().await.unwrap()
    });
    let stage = Stage::new("");
    let told = stage.lab.path().join("told");
    let hook = script(
        &stage.lab.path().join("hook"),
        &format!("#!/bin/sh\nenv | grep ^WAYLEAVE_ >> {}\n", told.display()),
    );
    let mut terminal = stage.terminal_with(0, &format!("messages = {{ hook = \"{hook}\" }}"));
    stage.wait_for_access(0);
    let text = "<b>Ten</b> & more; $(reboot) `id` %s ' \"";
    let sent = push(
        &stage.gateway,
        json!({"to": "everybody", "text": text, "link": "https://a.example/?a&b", "valid": 7_200_000}),
    );
    terminal.program.wait_line(&format!("message (owner, Corner): {text} https://a.example/?a&b"), SOON);

    // Other tests of this process may have found the same bus.
    let ours = wait_for("the notification", SOON, || {
        notifications.try_iter().find(|notification| notification[2].contains("Ten"))
    });
    let body = "&lt;b&gt;Ten&lt;/b&gt; &amp; more; $(reboot) `id` %s ' \" https://a.example/?a&amp;b";
    assert_eq!(ours, ["wayleave", "Corner: message of the owner", body]);

    let seen = wait_for("the hook", SOON, || {
        std::fs::read_to_string(&told).ok().filter(|said| said.contains("_LINK"))
    });
    for line in [
        format!("WAYLEAVE_MESSAGE_ID={}", sent["id"].as_str().unwrap()),
        "WAYLEAVE_MESSAGE_AUTHOR=owner".to_owned(),
        "WAYLEAVE_MESSAGE_NETWORK=Corner".to_owned(),
        format!("WAYLEAVE_MESSAGE_TEXT={text}"),
        "WAYLEAVE_MESSAGE_LINK=https://a.example/?a&b".to_owned(),
        "WAYLEAVE_MESSAGE_SECONDS=7199".to_owned(),
    ] {
        assert!(seen.lines().any(|found| found == line), "{line} is not in {seen}");
    }
    assert_eq!(seen.lines().count(), 6);

    // Another hook from now on; access stays as it is. A file with a mistake changes nothing.
    let config = terminal.config().to_owned();
    let text = std::fs::read_to_string(&config).unwrap();
    let other = stage.lab.path().join("told-by-another");
    let another =
        script(&stage.lab.path().join("another"), &format!("#!/bin/sh\nenv >> {}\n", other.display()));
    std::fs::write(&config, text.replace("messages = {", "mesages = {")).unwrap();
    terminal.program.signal(Signal::SIGHUP);
    terminal.program.wait_line("the settings stay as they are", SOON);
    std::fs::write(&config, text.replace(&hook, &another)).unwrap();
    terminal.program.signal(Signal::SIGHUP);
    terminal.program.wait_line("settings read again", SOON);
    push(&stage.gateway, json!({"to": "everybody", "text": "Eleven", "valid": 7_200_000}));
    wait_until("the other hook", SOON, || {
        std::fs::read_to_string(&other).is_ok_and(|said| said.contains("WAYLEAVE_MESSAGE_TEXT=Eleven"))
    });
    assert_eq!(terminal.status()["state"], "connected");
    terminal.program.signal(Signal::SIGTERM);
}

#[track_caller]
fn push(gateway: &Gateway, mut message: Value) -> Value {
    message["verb"] = "push".into();
    gateway.ask(message)
}

/// How many terminals have each message that the gateway tells.
#[track_caller]
fn taken(gateway: &Gateway) -> Vec<u64> {
    counts(&gateway.ask(json!({"verb": "messages"})))
}

#[track_caller]
fn at_coordinator(stage: &Stage) -> Vec<u64> {
    counts(&stage.coordinator.ask(json!({"verb": "messages"})))
}

fn counts(rows: &Value) -> Vec<u64> {
    rows.as_array().unwrap().iter().map(|row| row["taken"].as_u64().unwrap()).collect()
}

/// What the terminal has shown since its start.
fn shown(terminal: &Terminal) -> Vec<String> {
    terminal.program.lines().into_iter().filter(|line| line.starts_with("message (")).collect()
}

fn script(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[track_caller]
fn call(gateway: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&gateway, SOON).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("not zero");
    stream
}

#[track_caller]
fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    let (stream, from) = wait_for("the terminal to call", LATER, || listener.accept().ok());
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    (stream, from)
}

fn say(stream: &mut TcpStream, message: &impl Serialize) {
    let frame = encode(message).unwrap();
    let length = u16::try_from(frame.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &frame].concat()).unwrap();
}

/// `None`: it hung up.
fn hear<T: DeserializeOwned>(stream: &mut TcpStream) -> Option<T> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut frame).ok()?;
    Some(decode(&frame).unwrap())
}
