//! `org.wayleave.Gateway1` on a real dbus-daemon: what callers get, what they are refused, who may call at all.
//!
//! Most ask a desk that answers in the gateway's place, so that every answer and every event can be had; the last
//! asks the program.
#![cfg(feature = "dbus")]

mod support;

#[path = "support/bus.rs"]
mod bus;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, LIKE_SYSTEM, OPEN};
use futures_util::StreamExt;
use support::lab::{BRIDGE, INTERNET_V4, Lab};
use support::proc::Program;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wayleave::adapters::dbus::{self, DbusError, NAME, PATH};
use wayleave::host::control::{Asked, Asker, line};
use wayleave::model::{
    Bssid, Cause, GrantId, Incarnation, MacAddr, Millis, Origin, Refusal, Report, ServiceId, Ssid, Step,
    StepOutcome, StepReport, Traffic,
};
use wayleave::wire::local::{
    Event, Evicted, GatewayRequest, GatewayStatus, GrantAsk, GrantRow, Granted, Layout, LinkState,
    StationRow, Target,
};
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant};

const SOON: Duration = Duration::from_secs(15);
const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const GRANT: GrantId = GrantId([0xab; 16]);
/// What a D-Bus string cannot hold, what ends a line, what moves a cursor, what turns text around.
const HOSTILE: &str = "x\0\n\u{1b}[2J\u{202e}\"|'<é>";
const TAMED: &str = "x\\u{0}\\u{a}\\u{1b}[2J\\u{202e}\"|'<é>";

type Dict = HashMap<String, OwnedVariant>;

#[tokio::test]
#[ignore = "needs dbus-daemon: sudo ./run test netns"]
async fn every_question_has_its_typed_answer() {
    let bus = Bus::start(OPEN);
    let (client, desk) = served(&bus).await;

    let status: Dict = ask(&client, "Status", &()).await.unwrap();
    let signatures: Vec<(&str, &str)> = vec![
        ("version", "s"),
        ("name", "s"),
        ("service", "s"),
        ("uptime_ms", "t"),
        ("layout", "s"),
        ("owned", "b"),
        ("interfaces", "as"),
        ("bsses", "u"),
        ("beacons", "u"),
        ("stations", "u"),
        ("grants", "u"),
        ("link", "s"),
        ("coordinator", "s"),
        ("why", "s"),
        ("restored", "t"),
        ("dropped", "t"),
        ("refused_packets", "t"),
        ("spoofed_packets", "t"),
    ];
    assert_types(&status, &signatures);
    assert_eq!(string(&status, "name"), TAMED);
    assert_eq!(string(&status, "why"), TAMED);
    assert_eq!(u64::try_from(status["refused_packets"].try_clone().unwrap()).unwrap(), u64::MAX);

    for (property, expected) in [("Version", "1.2.3"), ("Name", TAMED), ("Layout", "netdev")] {
        let value = client.call_method(Some(NAME), PATH, Some(PROPERTIES), "Get", &(NAME, property)).await;
        let value: OwnedVariant = value.unwrap().body().deserialize().unwrap();
        assert_eq!(String::try_from(value).unwrap(), expected);
    }
    let all = client.call_method(Some(NAME), PATH, Some(PROPERTIES), "GetAll", &(NAME,)).await.unwrap();
    assert_eq!(all.body().deserialize::<Dict>().unwrap().len(), 3);

    let stations: Vec<Dict> = ask(&client, "Stations", &()).await.unwrap();
    let traffic = [("up_bytes", "t"), ("down_bytes", "t"), ("up_packets", "t"), ("down_packets", "t")];
    let bare = [("mac", "s"), ("interface", "s"), ("addresses", "as")];
    assert_types(&stations[0], &[&bare[..], &traffic].concat());
    let full = [("bssid", "s"), ("ssid", "ay"), ("protected", "b"), ("grant", "s")];
    assert_types(&stations[1], &[&bare[..], &full, &traffic].concat());
    assert_eq!(Vec::<u8>::try_from(stations[1]["ssid"].try_clone().unwrap()).unwrap(), b"\xff\0\n");

    let grants: Vec<Dict> = ask(&client, "Grants", &()).await.unwrap();
    let bare = [
        ("id", "s"),
        ("station", "s"),
        ("code", "b"),
        ("origin", "s"),
        ("incarnation", "u"),
        ("present", "b"),
    ];
    assert_types(&grants[0], &[&bare[..], &traffic].concat());
    assert_types(&grants[1], &[&bare[..], &[("left_ms", "t"), ("quota", "t")], &traffic].concat());

    let granted: String = ask(&client, "Grant", &(STATION.to_string(), 0u64, 0u64)).await.unwrap();
    assert_eq!(granted, GRANT.to_string());
    let _: String = ask(&client, "Grant", &(STATION.to_string(), 60_000u64, 5u64)).await.unwrap();
    let row: Dict = ask(&client, "Topup", &(STATION.to_string(), 0u64, 7u64)).await.unwrap();
    assert_types(&row, &[&bare[..], &traffic].concat());
    let report: Dict = ask(&client, "Evict", &STATION.to_string()).await.unwrap();
    assert_report(&report);
    let _: Dict = ask(&client, "Evict", &GRANT.to_string()).await.unwrap();

    let ask =
        |lease, quota| GatewayRequest::Grant { grants: vec![GrantAsk { station: STATION, lease, quota }] };
    let asked = desk.asked();
    let changes: Vec<_> = asked.iter().filter(|asked| !is_question(asked)).cloned().collect();
    assert_eq!(
        changes,
        [
            ask(None, None),
            ask(Some(Millis(60_000)), Some(5)),
            GatewayRequest::Topup { target: Target::Station(STATION), lease: None, quota: Some(7) },
            GatewayRequest::Evict { target: Target::Station(STATION) },
            GatewayRequest::Evict { target: Target::Grant(GRANT) },
        ]
    );
}

#[tokio::test]
#[ignore = "needs dbus-daemon: sudo ./run test netns"]
async fn a_refusal_is_named_and_nothing_malformed_reaches_the_gateway() {
    let bus = Bus::start(OPEN);
    let (client, desk) = served(&bus).await;

    let group = "01:00:5e:00:00:01".to_owned();
    let (name, sentence) = refused(ask::<String>(&client, "Grant", &(group, 0u64, 0u64)).await);
    assert_eq!((name.as_str(), sentence.as_str()), ("org.wayleave.Error.NotAStation", TAMED));
    let (name, _) = refused(ask::<Dict>(&client, "Evict", &"02:00:00:00:00:99").await);
    assert_eq!(name, "org.wayleave.Error.NoGrant");

    let before = desk.asked().len();
    for wrong in ["", "*", "02:00:00:00:00:01\n", "02:00:00:00:00:01 reason=1", "é", &"a".repeat(1 << 20)] {
        for answered in [
            ask::<Dict>(&client, "Evict", &wrong).await.map(drop),
            ask::<String>(&client, "Grant", &(wrong, 0u64, 0u64)).await.map(drop),
        ] {
            let (name, sentence) = refused(answered);
            assert_eq!(name, "org.wayleave.Error.BadRequest", "{wrong:.40?}");
            assert!(sentence.len() < 400 && !sentence.contains('\n'), "{sentence}");
        }
    }
    let answered = ask::<Dict>(&client, "Evict", &1u32).await.unwrap_err();
    assert!(answered.to_string().contains("org.freedesktop.DBus.Error.InvalidArgs"), "{answered}");
    let answered = ask::<Dict>(&client, "Reboot", &()).await.unwrap_err();
    assert!(answered.to_string().contains("org.freedesktop.DBus.Error.UnknownMethod"), "{answered}");
    assert_eq!(desk.asked().len(), before, "none of them was handed on");

    // It still answers.
    let _: Dict = ask(&client, "Status", &()).await.unwrap();
}

#[tokio::test]
#[ignore = "needs dbus-daemon: sudo ./run test netns"]
async fn who_still_waits_when_the_gateway_ends_is_told_and_the_name_goes() {
    let bus = Bus::start(OPEN);
    let (requests, mut gateway) = mpsc::channel(4);
    let events = broadcast::channel(4).0;
    let address = bus.address.clone();
    let serving = tokio::spawn(async move { dbus::run_at(&address, Asker::new(requests)).await });
    gateway.recv().await.unwrap().reply.stream(events.subscribe(), |_| Vec::new());
    let client = connect(&bus).await;
    wait_for_name(&client).await;

    let asking = tokio::spawn({
        let client = client.clone();
        async move { ask::<Dict>(&client, "Evict", &STATION.to_string()).await }
    });
    let evict = gateway.recv().await.unwrap();
    drop(evict);
    assert_eq!(refused(asking.await.unwrap()).0, "org.wayleave.Error.Stopping");
    drop(events);
    timeout(SOON, serving).await.expect("it ends with the gateway").unwrap().unwrap();
    let gone = ask::<Dict>(&client, "Status", &()).await.unwrap_err();
    assert!(gone.to_string().contains("ServiceUnknown"), "{gone}");
}

#[tokio::test]
#[ignore = "needs dbus-daemon: sudo ./run test netns"]
async fn every_event_is_a_signal() {
    let bus = Bus::start(OPEN);
    let (client, desk) = served(&bus).await;
    let mut signals = listen(&client).await;
    let (grant, station) = (GRANT.to_string(), STATION.to_string());

    desk.tell(&Event::Admitted { grant: GRANT, station: STATION });
    assert_eq!(hear::<(String, String)>(&mut signals, "Admitted").await, (grant.clone(), station.clone()));
    desk.tell(&Event::Evicting { cause: Cause::Silence, grant: GRANT, station: STATION });
    let heard: (String, String, String) = hear(&mut signals, "Evicting").await;
    assert_eq!(heard, (grant.clone(), station.clone(), "silence".to_owned()));
    desk.tell(&Event::Low { grant: GRANT, station: STATION, quota: 1000, left: 99 });
    let heard: (String, String, u64, u64) = hear(&mut signals, "Low").await;
    assert_eq!(heard, (grant.clone(), station.clone(), 1000, 99));
    desk.tell(&Event::Evicted { report: report() });
    let heard: (String, String, String, Dict) = hear(&mut signals, "Evicted").await;
    assert_eq!((heard.0, heard.1, heard.2.as_str()), (grant, station.clone(), "owner"));
    assert_report(&heard.3);
    desk.tell(&Event::Joined { station: STATION, interface: HOSTILE.to_owned() });
    assert_eq!(hear::<(String, String)>(&mut signals, "Joined").await, (station.clone(), TAMED.to_owned()));
    // What nobody can read is left out, and what follows is not.
    let _ = desk.events.send(Arc::from(b"{\"event\":\"from-later\"}\n".as_slice()));
    desk.tell(&Event::Gone { station: STATION, interface: "ap0".to_owned() });
    assert_eq!(hear::<(String, String)>(&mut signals, "Gone").await, (station, "ap0".to_owned()));
    desk.tell(&Event::Restored { grants: 7, took_us: 900 });
    assert_eq!(hear::<(u32, u64)>(&mut signals, "Restored").await, (7, 900));
    desk.tell(&Event::Link { state: LinkState::Down { host: "c:1".to_owned(), why: HOSTILE.to_owned() } });
    let heard: (String, String, String) = hear(&mut signals, "LinkChanged").await;
    assert_eq!(heard, ("down".to_owned(), "c:1".to_owned(), TAMED.to_owned()));
    desk.tell(&Event::Dropped { refusal: Refusal::new("malformed", HOSTILE) });
    let heard: (String, String) = hear(&mut signals, "Dropped").await;
    assert_eq!(heard, ("malformed".to_owned(), TAMED.to_owned()));

    // More at once than are kept: some are missing, and it is said how many.
    for _ in 0..50 {
        desk.tell(&Event::Restored { grants: 1, took_us: 1 });
    }
    assert_eq!(hear::<u64>(&mut signals, "Missed").await, 50 - KEPT as u64);
}

#[tokio::test]
#[ignore = "needs dbus-daemon: sudo ./run test netns"]
async fn a_gateway_without_a_bus_is_told_why_and_left_in_peace() {
    let (asker, _desk) = Desk::open();
    let nowhere = dbus::run_at("unix:path=/nonexistent/bus", asker.clone()).await;
    assert!(matches!(nowhere, Err(DbusError::NoBus(_))), "{nowhere:?}");
    let nonsense = dbus::run_at("rubbish", asker.clone()).await;
    assert!(matches!(nonsense, Err(DbusError::NoBus(_))), "{nonsense:?}");

    let forbidding = Bus::start(LIKE_SYSTEM);
    let forbidden = dbus::run_at(&forbidding.address, asker.clone()).await;
    assert!(matches!(forbidden, Err(DbusError::Forbidden(_))), "{forbidden:?}");

    let mut bus = Bus::start(OPEN);
    let (_client, first) = served(&bus).await;
    let second = dbus::run_at(&bus.address, asker).await;
    assert!(matches!(second, Err(DbusError::NameTaken)), "{second:?}");

    bus.stop();
    let lost = timeout(SOON, first.serving).await.expect("noticed").unwrap();
    assert!(matches!(lost, Err(DbusError::Lost)), "{lost:?}");
}

#[tokio::test]
#[ignore = "needs dbus-daemon: sudo ./run test netns"]
async fn the_text_for_callers_names_everything_that_is_on_the_bus() {
    let bus = Bus::start(OPEN);
    let (client, _desk) = served(&bus).await;
    let introspectable = Some("org.freedesktop.DBus.Introspectable");
    let answer = client.call_method(Some(NAME), PATH, introspectable, "Introspect", &()).await.unwrap();
    let xml: String = answer.body().deserialize().unwrap();
    let text = std::fs::read_to_string("docs/dbus.md").expect("the text for callers");
    let members = members(&xml);
    assert_eq!(members.len(), 3 + 6 + 10, "{members:#?}");
    for member in members {
        assert!(text.contains(&format!("`{member}`")), "docs/dbus.md lacks `{member}`");
    }
}

#[tokio::test]
#[ignore = "needs root and dbus-daemon: sudo ./run test netns"]
async fn only_root_and_the_group_may_ask_or_hear() {
    const NOBODY: (u32, u32) = (65534, 65534);
    // Debian's games, in place of a member of the group: this machine may not have it.
    const MEMBER: (u32, u32) = (5, 60);
    let policy = Path::new("packaging/dbus/org.wayleave.Gateway1.conf");
    let bus = Bus::start_with(LIKE_SYSTEM, Some((policy, "games")));
    let (client, desk) = served(&bus).await;

    let status = ["call", NAME, PATH, NAME, "Status"];
    for user in [None, Some(MEMBER)] {
        let allowed = busctl(&bus, user, &status).await;
        assert!(allowed.contains("\"netdev\""), "{allowed}");
    }
    let denied = busctl(&bus, Some(NOBODY), &status).await;
    assert!(denied.contains("Access denied"), "{denied}");
    let before = desk.asked().len();
    let denied =
        busctl(&bus, Some(NOBODY), &["call", NAME, PATH, NAME, "Evict", "s", "02:00:00:00:00:01"]).await;
    assert!(denied.contains("Access denied"), "{denied}");
    assert_eq!(desk.asked().len(), before);

    // Signals go to everybody who wants them, unless the policy says otherwise.
    let monitor = |user| {
        let mut command = bus.command("dbus-monitor", user);
        command.arg("type='signal'");
        let mut monitor = Program::start("dbus-monitor", command);
        monitor.wait_line("NameAcquired", SOON);
        monitor
    };
    let (mut stranger, mut member, mut root) = (monitor(Some(NOBODY)), monitor(Some(MEMBER)), monitor(None));
    let mut signals = listen(&client).await;
    desk.tell(&Event::Admitted { grant: GRANT, station: STATION });
    let _: (String, String) = hear(&mut signals, "Admitted").await;
    root.wait_line("member=Admitted", SOON);
    member.wait_line("member=Admitted", SOON);
    // A signal of the bus itself, sent later, has reached the stranger.
    let later = connect(&bus).await;
    let later = later.unique_name().unwrap().to_string();
    stranger.wait_line(&later, SOON);
    let heard = stranger.lines().join("\n");
    assert!(!heard.contains("Admitted") && !heard.contains(&STATION.to_string()), "{heard}");
}

#[tokio::test]
#[ignore = "needs root and dbus-daemon: sudo ./run test netns"]
async fn the_program_admits_and_evicts_by_dbus() {
    let bus = Bus::start(OPEN);
    let lab = Lab::with_stations(1);
    let station = &lab.stations[0];
    let config = lab.path().join("gateway.toml");
    let text = format!(
        "name = \"Lab\"\nstate_dir = \"{0}/state\"\nruntime_dir = \"{0}/run\"\n\
         [[network]]\ninterface = \"{BRIDGE}\"\nssid = \"Lab\"\n\
         [hostapd]\ndirectory = \"{0}/hostapd\"\n[dhcp]\nlease_file = \"{0}/leases\"\n",
        lab.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = lab.gateway.command(env!("CARGO_BIN_EXE_wayleave"));
    command.args(["gateway", "--config"]).arg(&config).env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    let mut gateway = Program::start("wayleave", command);

    let client = connect(&bus).await;
    wait_for_name(&client).await;
    let mut signals = listen(&client).await;
    assert!(station.is_cut_off(INTERNET_V4));
    let granted =
        busctl(&bus, None, &["call", NAME, PATH, NAME, "Grant", "stt", &station.mac_text(), "0", "0"]).await;
    assert!(granted.starts_with("s \""), "{granted}");
    let (grant, admitted) = hear::<(String, String)>(&mut signals, "Admitted").await;
    assert!(granted.contains(&grant) && admitted == station.mac_text());
    assert!(station.reaches(INTERNET_V4));
    let status = busctl(&bus, None, &["call", NAME, PATH, NAME, "Status"]).await;
    assert!(status.contains("\"grants\" u 1") && status.contains("\"Lab\""), "{status}");

    let report = busctl(&bus, None, &["call", NAME, PATH, NAME, "Evict", "s", &grant]).await;
    assert!(report.contains("\"complete\" b true"), "{report}");
    let evicted: (String, String, String, Dict) = hear(&mut signals, "Evicted").await;
    assert_eq!((evicted.0, evicted.2.as_str()), (grant.clone(), "owner"));
    assert!(station.is_cut_off(INTERNET_V4));
    let again = busctl(&bus, None, &["call", NAME, PATH, NAME, "Evict", "s", &grant]).await;
    assert!(again.contains("there is no grant"), "{again}");
    assert!(gateway.terminate(SOON).success());
}

/// Answers in the gateway's place.
struct Desk {
    events: broadcast::Sender<Arc<[u8]>>,
    asked: Arc<std::sync::Mutex<Vec<GatewayRequest>>>,
    serving: JoinHandle<Result<(), DbusError>>,
}

/// Events that may wait.
const KEPT: usize = 16;

impl Desk {
    fn open() -> (Asker<GatewayRequest>, Self) {
        let (requests, mut gateway) = mpsc::channel::<Asked<GatewayRequest>>(4);
        let events = broadcast::channel(KEPT).0;
        let asked = Arc::<std::sync::Mutex<Vec<GatewayRequest>>>::default();
        let (lines, seen) = (events.clone(), asked.clone());
        tokio::spawn(async move {
            while let Some(Asked { request, reply }) = gateway.recv().await {
                seen.lock().unwrap().push(request.clone());
                match request {
                    GatewayRequest::Watch => reply.stream(lines.subscribe(), |_| Vec::new()),
                    GatewayRequest::Status => reply.ok(status()),
                    GatewayRequest::Stations => reply.ok(stations()),
                    GatewayRequest::Grants => reply.ok(grants()),
                    GatewayRequest::Topup { target: Target::Station(STATION), .. } => reply.ok(&grants()[0]),
                    GatewayRequest::Grant { grants } if !grants[0].station.is_station() => {
                        reply.refuse(Refusal::new("not-a-station", HOSTILE));
                    }
                    GatewayRequest::Grant { .. } => reply.ok([Granted { id: GRANT, station: STATION }]),
                    GatewayRequest::Evict { target: Target::Station(STATION) | Target::Grant(GRANT) } => {
                        reply.ok(Evicted { report: report() });
                    }
                    _ => reply.refuse(Refusal::new("no-grant", "has none")),
                }
            }
        });
        (Asker::new(requests), Self { events, asked, serving: tokio::spawn(std::future::pending()) })
    }

    fn tell(&self, event: &Event) {
        self.events.send(line(event).into()).expect("somebody listens");
    }

    fn asked(&self) -> Vec<GatewayRequest> {
        self.asked.lock().unwrap().clone()
    }
}

/// A client, and the desk behind the name.
async fn served(bus: &Bus) -> (Connection, Desk) {
    let (asker, mut desk) = Desk::open();
    let address = bus.address.clone();
    desk.serving = tokio::spawn(async move { dbus::run_at(&address, asker).await });
    let client = connect(bus).await;
    wait_for_name(&client).await;
    (client, desk)
}

async fn connect(bus: &Bus) -> Connection {
    let builder = zbus::connection::Builder::address(bus.address.as_str()).method_timeout(SOON);
    builder.build().await.expect("a connection")
}

async fn wait_for_name(client: &Connection) {
    let bus = "org.freedesktop.DBus";
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let path = "/org/freedesktop/DBus";
        let answer = client.call_method(Some(bus), path, Some(bus), "NameHasOwner", &(NAME,)).await.unwrap();
        if answer.body().deserialize::<bool>().unwrap() {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{NAME} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

async fn ask<T>(
    client: &Connection,
    method: &str,
    body: &(impl serde::Serialize + zbus::DynamicType),
) -> zbus::Result<T>
where
    T: for<'a> zbus::wire::DynamicDeserialize<'a>,
{
    client.call_method(Some(NAME), PATH, Some(NAME), method, body).await?.body().deserialize()
}

fn refused<T>(answered: zbus::Result<T>) -> (String, String) {
    match answered {
        Err(zbus::Error::MethodError(name, sentence, _)) => (name.to_string(), sentence.unwrap_or_default()),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not refused"),
    }
}

async fn listen(client: &Connection) -> MessageStream {
    let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).interface(NAME).build().unwrap();
    MessageStream::for_match_rule(rule, client, None).await.unwrap()
}

/// The next signal of this name.
async fn hear<T>(signals: &mut MessageStream, member: &str) -> T
where
    T: for<'a> zbus::wire::DynamicDeserialize<'a>,
{
    loop {
        let signal = timeout(SOON, signals.next()).await.expect(member).expect("connected").unwrap();
        if signal.header().member().is_some_and(|name| name.as_str() == member) {
            return signal.body().deserialize().unwrap();
        }
    }
}

async fn busctl(bus: &Bus, user: Option<(u32, u32)>, words: &[&str]) -> String {
    let mut command = bus.command("busctl", user);
    command.args(words);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("busctl");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn is_question(request: &GatewayRequest) -> bool {
    use GatewayRequest::{Grants, Stations, Status, Watch};
    matches!(request, Status | Stations | Grants | Watch)
}

fn string(dict: &Dict, key: &str) -> String {
    String::try_from(dict[key].try_clone().unwrap()).unwrap()
}

#[track_caller]
fn assert_types(dict: &Dict, expected: &[(&str, &str)]) {
    let mut found: Vec<(&str, String)> =
        dict.iter().map(|(key, value)| (key.as_str(), value.value_signature().to_string())).collect();
    let mut expected: Vec<(&str, String)> =
        expected.iter().map(|(key, signature)| (*key, (*signature).to_owned())).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[track_caller]
fn assert_report(report: &Dict) {
    let types = [
        ("cause", "s"),
        ("grant", "s"),
        ("station", "s"),
        ("incarnation", "u"),
        ("steps", "aa{sv}"),
        ("total_us", "t"),
        ("complete", "b"),
        ("up_bytes", "t"),
        ("down_bytes", "t"),
        ("up_packets", "t"),
        ("down_packets", "t"),
    ];
    assert_types(report, &types);
    let steps = Vec::<Dict>::try_from(report["steps"].try_clone().unwrap()).unwrap();
    let bare = [("step", "s"), ("took_us", "t"), ("outcome", "s")];
    assert_types(&steps[0], &[&bare[..], &[("freed", "u")]].concat());
    assert_types(&steps[1], &[&bare[..], &[("why", "s")]].concat());
    assert_types(&steps[2], &bare);
    assert_eq!(string(&steps[1], "why"), TAMED);
}

/// Methods as `Name(s in) -> (s out)`, signals as `Name(s what)`, properties as `Name: s`.
fn members(xml: &str) -> Vec<String> {
    let of_ours = xml.split_once(&format!("<interface name=\"{NAME}\">")).expect("ours").1;
    let of_ours = of_ours.split_once("</interface>").expect("whole").0;
    let attribute = |tag: &str, name: &str| -> String {
        tag.split_once(&format!("{name}=\""))
            .map_or("", |(_, rest)| rest.split('"').next().unwrap())
            .to_owned()
    };
    let mut members: Vec<(String, Vec<String>, Vec<String>, bool)> = Vec::new();
    let mut shown = Vec::new();
    for tag in of_ours.split('<') {
        let name = attribute(tag, "name");
        let word = tag.split_whitespace().next().unwrap_or_default();
        let typed = format!("{} {name}", attribute(tag, "type"));
        match word {
            "method" => members.push((name, Vec::new(), Vec::new(), true)),
            "signal" => members.push((name, Vec::new(), Vec::new(), false)),
            "property" => shown.push(format!("{name}: {}", attribute(tag, "type"))),
            "arg" if attribute(tag, "direction") == "out" && members.last().unwrap().3 => {
                members.last_mut().unwrap().2.push(typed);
            }
            "arg" => members.last_mut().unwrap().1.push(typed),
            _ => {}
        }
    }
    for (name, inputs, outputs, is_method) in members {
        let gives = if is_method { format!(" -> ({})", outputs.join(", ")) } else { String::new() };
        shown.push(format!("{name}({}){gives}", inputs.join(", ")));
    }
    shown
}

fn status() -> GatewayStatus {
    GatewayStatus {
        version: "1.2.3".to_owned(),
        name: HOSTILE.to_owned(),
        service: ServiceId([7; 16]),
        uptime: Millis(1),
        layout: Layout::Netdev,
        owned: true,
        interfaces: vec!["br-guest".to_owned()],
        bsses: 1,
        beacons: 0,
        stations: 2,
        grants: 3,
        link: LinkState::Down { host: "c:1".to_owned(), why: HOSTILE.to_owned() },
        restored: 4,
        dropped: 5,
        refused_packets: u64::MAX,
        spoofed_packets: 6,
    }
}

fn stations() -> [StationRow; 2] {
    let bare = StationRow {
        mac: STATION,
        interface: "ap0".to_owned(),
        bssid: None,
        ssid: None,
        addresses: Vec::new(),
        protected: None,
        grant: None,
        moved: Traffic::default(),
    };
    let full = StationRow {
        bssid: Some(Bssid(STATION)),
        ssid: Some(Ssid::new(b"\xff\0\n".as_slice()).unwrap()),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()],
        protected: Some(true),
        grant: Some(GRANT),
        ..bare.clone()
    };
    [bare, full]
}

fn grants() -> [GrantRow; 2] {
    let bare = GrantRow {
        id: GRANT,
        station: Some(STATION),
        code: false,
        origin: Origin::Owner,
        incarnation: Incarnation(1),
        left: None,
        quota: None,
        moved: Traffic::default(),
        present: true,
    };
    [bare.clone(), GrantRow { origin: Origin::Coordinator, left: Some(Millis(9)), quota: Some(9), ..bare }]
}

fn report() -> Report {
    let step = |step, outcome| StepReport { step, outcome, took_us: 1 };
    Report {
        cause: Cause::Owner,
        grant: GRANT,
        moved: Traffic::default(),
        steps: vec![
            step(Step::Enforcement, StepOutcome::Done { freed: 2 }),
            step(Step::Flows, StepOutcome::Failed { why: HOSTILE.to_owned() }),
            step(Step::Association, StepOutcome::Absent),
        ],
        station: Some(STATION),
        total_us: 3,
        incarnation: Incarnation(1),
    }
}
