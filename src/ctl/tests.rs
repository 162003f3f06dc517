//! Words in, meaning or message out; answers in, text out. Golden files are in `tests/golden/ctl`.

use std::path::Path;

use clap::CommandFactory;

use super::args::{self, Cli, Command, ConfigAction, Role};

#[test]
fn the_definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn what_cannot_be_meant_is_named_with_what_can() {
    for (line, given, allowed) in [
        ("blow-up", "unrecognized subcommand 'blow-up'", "config"),
        ("config chekc", "unrecognized subcommand 'chekc'", "there are check"),
        ("config check --role router", "invalid value 'router'", "gateway, coordinator, terminal"),
        ("config check --rle gateway", "unexpected argument '--rle'", "Usage: wayleave config check"),
        ("config check a b", "unexpected argument 'b'", "[FILE]"),
    ] {
        refused(line, given, allowed);
    }
}

#[test]
fn help_is_no_failure_and_no_words_are() {
    let help = args::parse(["wayleave", "--help"]).unwrap_err();
    assert!(!help.use_stderr());
    assert!(help.to_string().contains("Exit codes: 0 done, 1 refused or failed"), "{help}");
    assert!(args::parse(["wayleave"]).unwrap_err().use_stderr());
    let version = args::parse(["wayleave", "--version"]).unwrap_err().to_string();
    assert_eq!(version, format!("wayleave {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_file_to_check_may_have_a_role() {
    for (line, file, role) in [
        ("config check", None, None),
        ("config check /x/gateway.toml", Some("/x/gateway.toml"), None),
        ("config check --role terminal", None, Some(Role::Terminal)),
        ("config check x.toml --role coordinator", Some("x.toml"), Some(Role::Coordinator)),
    ] {
        // Without roles there is no other command.
        #[allow(irrefutable_let_patterns)]
        let Command::Config { action } = said(line).command else { panic!("{line}") };
        let ConfigAction::Check { file: found, role: found_role } = action;
        assert_eq!((found.as_deref(), found_role), (file.map(Path::new), role), "{line}");
    }
}

#[test]
fn octets_are_read_and_beacons_shown() {
    let decoded = |line: &str, json: bool| {
        let Command::Beacon { action } = args::parse(["wayleave", "beacon", "decode", line]).unwrap().command
        else {
            panic!("{line}")
        };
        let mut out = Vec::new();
        let left =
            super::beacon::run(action, &mut super::output::Output { out: &mut out, json, colours: false });
        left.map(|()| String::from_utf8(out).unwrap()).map_err(|failure| failure.sentence())
    };
    let ours = "dd320266ff010101a0a1a2a3a4a5a6a7a8a9aaabacadaeafe0e1e2e3e4e5e6e704030201ee18bd27c76f0b70f43860d67c3fcf4d";
    let list = format!("00:06:43:6f:72:6e:65:72 {ours} dd040050f202 c801ff");
    golden("beacon.txt", &decoded(&list, false).unwrap());
    let json: serde_json::Value = serde_json::from_str(&decoded(&list, true).unwrap()).unwrap();
    assert_eq!(json["beacons"][0]["slot"], 0x0102_0304);
    assert_eq!(json["beacons"][0]["service"], "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
    assert_eq!(
        json["others"][0],
        serde_json::json!({ "id": 0, "name": "SSID", "body": "436f726e6572", "ssid": "Corner" })
    );
    assert_eq!(json["others"][1]["oui"], "00:50:f2");
    assert_eq!(decoded("", false).unwrap(), "no Wayleave element\n");
    // No name, the longest one, one octet more; no UTF-8, and nothing in it ends a line.
    let names = ["0000".to_owned(), format!("0020{}", "ff".repeat(32)), format!("0021{}", "41".repeat(33))];
    let shown = decoded(&[&names.concat(), "00040a1b5b7c"].concat(), false).unwrap();
    let wanted = [
        "no Wayleave element",
        "passed over: SSID (0), 0 octets \"\"",
        &format!("passed over: SSID (0), 32 octets \"{}\"", r"\xff".repeat(32)),
        "passed over: SSID (0), 33 octets: an SSID has at most 32 octets, this one has 33",
        r#"passed over: SSID (0), 4 octets "\u{a}\u{1b}[\u{7c}""#,
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), wanted);
    let json: serde_json::Value = serde_json::from_str(&decoded(&names.concat(), true).unwrap()).unwrap();
    assert_eq!(json["others"][1]["ssid"], format!("hex:{}", "ff".repeat(32)));
    assert_eq!(json["others"][2]["wrong"], "an SSID has at most 32 octets, this one has 33");
    let long = decoded(&format!("dd330266ff0101{}", "00".repeat(46)), false).unwrap_err();
    assert_eq!(long, "the Wayleave element at octet 0 has 51 octets behind its length, not 50");
    let cut = decoded(&ours[..20], false).unwrap_err();
    assert_eq!(cut, "the element at octet 0 is truncated: 51 octets are to follow, 9 do");
    refused("beacon decode dd0", "invalid value 'dd0'", "pairs of hexadecimal digits");
}

#[test]
#[cfg(all(feature = "qr", feature = "coordinator", feature = "terminal", not(feature = "docs")))]
fn help_is_as_the_golden_files_have_it() {
    let mut text = String::new();
    let mut command = Cli::command();
    command.build();
    help(&command, &mut text);
    golden("help.txt", &text);
}

#[cfg(all(feature = "qr", feature = "coordinator", feature = "terminal", not(feature = "docs")))]
fn help(command: &clap::Command, text: &mut String) {
    if command.get_name() == "help" {
        return;
    }
    let words = command.get_bin_name().unwrap_or(command.get_name());
    text.push_str(&format!("$ {words} --help\n{}\n", command.clone().render_long_help()));
    for below in command.get_subcommands() {
        help(below, text);
    }
}

fn words(line: &str) -> Vec<String> {
    std::iter::once("wayleave").chain(line.split(' ')).map(str::to_owned).collect()
}

fn said(line: &str) -> Cli {
    args::parse(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str, given: &str, allowed: &str) {
    let error = args::parse(words(line)).unwrap_err();
    let text = error.to_string();
    assert!(error.use_stderr() && text.contains(given) && text.contains(allowed), "{line}: {text}");
}

/// Compares with a file; `WAYLEAVE_GOLDEN=write` writes it anew.
fn golden(name: &str, found: &str) {
    let path = Path::new("tests/golden/ctl").join(name);
    if std::env::var_os("WAYLEAVE_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::create_dir_all("tests/golden/ctl").unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    let path = path.display();
    assert!(wanted == found, "{path} differs; WAYLEAVE_GOLDEN=write takes this over:\n{found}");
}

#[cfg(any(feature = "gateway", feature = "terminal"))]
mod enrolling {
    use super::*;

    #[test]
    fn a_token_is_taken_as_it_is_and_never_shown() {
        for role in ["gateway", "terminal"] {
            if Cli::command().find_subcommand(role).is_none() {
                continue;
            }
            // Not a token, even: only whoever uses it says so, and without repeating it.
            let cli = said(&format!("{role} enroll wayleave://hunter2 --config /x.toml"));
            let shown = format!("{cli:?}");
            assert!(shown.contains("/x.toml") && !shown.contains("hunter2"), "{shown}");
            refused(&format!("{role} enroll"), "required arguments", "<TOKEN>");
            let error = args::parse(words(&format!("{role} enroll hunter2 --confg x"))).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}

#[cfg(any(feature = "gateway", feature = "coordinator", feature = "terminal"))]
fn text(show: impl FnOnce(&mut super::output::Output<'_>) -> std::io::Result<()>) -> String {
    rendered(false, show)
}

#[cfg(any(feature = "gateway", feature = "coordinator", feature = "terminal"))]
fn rendered(
    colours: bool,
    show: impl FnOnce(&mut super::output::Output<'_>) -> std::io::Result<()>,
) -> String {
    let mut out = Vec::new();
    show(&mut super::output::Output { out: &mut out, json: false, colours }).unwrap();
    String::from_utf8(out).unwrap()
}

#[cfg(feature = "coordinator")]
mod coordinator {
    use super::*;
    use crate::ctl::args::{Client, CoordinatorAction, CoordinatorVerb, PolicyChoice};
    use crate::ctl::coordinator;
    use crate::model::{Cause, GrantId, Incarnation, MacAddr, Millis, PublicKey, ServiceId, SessionId, Ssid};
    use crate::wire::local::{CoordinatorStatus, GatewayRow, PolicyWord, SessionRow};

    const SERVICE: &str = "b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6";

    #[test]
    fn verbs_may_follow_their_role_or_stand_alone() {
        for line in ["claim --role terminal --for 2h", "coordinator claim --for 2h --role terminal"] {
            let CoordinatorVerb::Claim { role, valid } = verb(line) else { panic!("{line}") };
            assert_eq!((role, valid), (Client::Terminal, Some(Millis(7_200_000))));
        }
        let CoordinatorVerb::Claim { role, valid } = verb("claim") else { panic!() };
        assert_eq!((role, valid), (Client::Gateway, None));
        let line = format!("policy {SERVICE} strict");
        let CoordinatorVerb::Policy { gateway, policy } = verb(&line) else { panic!("{line}") };
        assert_eq!((gateway, policy), (ServiceId([0xb6; 16]), PolicyChoice::Strict));
        let CoordinatorVerb::Sessions { gateway } = verb(&format!("sessions --gateway {SERVICE}")) else {
            panic!()
        };
        assert_eq!(gateway, Some(ServiceId([0xb6; 16])));
    }

    #[test]
    fn values_that_cannot_be_meant_are_named_with_those_that_can() {
        for (line, given, allowed) in [
            ("claim --role router", "invalid value 'router'", "gateway, terminal"),
            ("policy corner strict", "invalid value 'corner'", "32 hexadecimal digits of a gateway's"),
            (&format!("policy {SERVICE} lax"), "invalid value 'lax'", "corroborate, strict, default"),
            (&format!("policy {SERVICE}"), "required arguments", "<POLICY>"),
            ("coordinator evict 7", "invalid value '7'", "32 hexadecimal digits of a session's"),
            ("coordinator stop", "unrecognized subcommand 'stop'", "there are status, openapi, evict"),
        ] {
            refused(line, given, allowed);
        }
    }

    fn verb(line: &str) -> CoordinatorVerb {
        match said(line).command {
            Command::CoordinatorVerb(verb) => verb,
            Command::Coordinator(args::CoordinatorRole {
                action: Some(CoordinatorAction::Verb(verb)),
                ..
            }) => verb,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn answers_are_as_the_golden_files_have_them() {
        let well = CoordinatorStatus {
            version: "0.1.0".into(),
            public: "coordinator.example:7443".into(),
            key: PublicKey([0xc7; 32]),
            uptime: Millis(12_000_000),
            gateways: 3,
            gateways_up: 2,
            terminals_up: 7,
            sessions: [("active".into(), 6), ("evicting".into(), 0), ("suspect".into(), 1)].into(),
            outbox: 0,
            braked: vec![],
            store_full: false,
        };
        let ill = CoordinatorStatus {
            sessions: [].into(),
            outbox: 1,
            braked: vec!["node".into(), SERVICE.into()],
            store_full: true,
            ..well.clone()
        };
        let shown = [well, ill].map(|answer| text(|output| coordinator::show_status(&answer, output)));
        golden("coordinator-status.txt", &shown.join("\n"));

        let row = GatewayRow {
            key: PublicKey([1; 32]),
            name: "Corner\n\x1b[2J".into(),
            service: ServiceId([0xb6; 16]),
            policy: None,
            up: true,
            last_seen: None,
            networks: vec![Ssid::new("Café").unwrap(), Ssid::new(b"a\n|".as_slice()).unwrap()],
            bssids: 2,
            sessions: 12,
            outbox: 0,
        };
        let down = GatewayRow {
            name: String::new(),
            policy: Some(PolicyWord::Strict),
            up: false,
            last_seen: Some(Millis(90_000)),
            networks: vec![],
            outbox: 4,
            ..row.clone()
        };
        let never = GatewayRow { last_seen: None, policy: Some(PolicyWord::Corroborate), ..down.clone() };
        golden("gateways.txt", &text(|output| coordinator::show_gateways(&[row, down, never], output)));

        let row = SessionRow {
            session: SessionId([0xd8; 16]),
            state: "active".into(),
            grant: GrantId([0xa5; 16]),
            service: ServiceId([0xb6; 16]),
            terminal: PublicKey([1; 32]),
            station: MacAddr([2, 0, 0x5e, 0x10, 0, 1]),
            incarnation: Incarnation(2),
            cause: None,
        };
        let evicting = SessionRow { state: "evicting".into(), cause: Some(Cause::Silence), ..row.clone() };
        golden("sessions.txt", &text(|output| coordinator::show_sessions(&[row, evicting], output)));
        assert_eq!(text(|output| coordinator::show_sessions(&[], output)), "no sessions\n");
    }
}

#[cfg(feature = "terminal")]
mod terminal {
    use super::*;
    use crate::ctl::args::{TerminalAction, TerminalVerb};
    use crate::ctl::terminal;
    use crate::model::{Bssid, Incarnation, MacAddr, Millis, PublicKey, Refusal, ServiceId, SessionId, Ssid};
    use crate::wire::local::{AccessRow, LinkState, TerminalStatus};

    #[test]
    fn verbs_may_follow_their_role_or_stand_alone() {
        for line in ["ask", "terminal ask"] {
            assert!(matches!(verb(line), TerminalVerb::Ask), "{line}");
        }
        for line in ["sleep 90", "terminal sleep 90s", "terminal --config /x sleep 90"] {
            assert!(matches!(verb(line), TerminalVerb::Sleep { time: Millis(90_000) }), "{line}");
        }
        for line in ["leave", "terminal leave"] {
            assert!(matches!(verb(line), TerminalVerb::Leave), "{line}");
        }
        refused("sleep soon", "invalid value 'soon'", "seconds, or a time as 90s, 15m");
        refused(
            "terminal rest",
            "unrecognized subcommand 'rest'",
            "there are enroll, status, ask, sleep, leave",
        );
    }

    fn verb(line: &str) -> TerminalVerb {
        match said(line).command {
            Command::TerminalVerb(verb) => verb,
            Command::Terminal(args::TerminalRole { action: Some(TerminalAction::Verb(verb)), .. }) => verb,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn status_is_as_the_golden_file_has_it() {
        let connected = TerminalStatus {
            version: "0.1.0".into(),
            key: PublicKey([0xc7; 32]),
            interface: "wlan0".into(),
            station: MacAddr([2, 0, 0x5e, 0x10, 0, 1]),
            link: LinkState::Up { host: "coordinator.example:7443".into() },
            state: "connected".into(),
            access: Some(AccessRow {
                ssid: Ssid::new(b"Corner\n\x1b[2J".as_slice()).unwrap(),
                bssid: Bssid(MacAddr([2, 0, 0, 0, 0, 9])),
                service: ServiceId([0xb6; 16]),
                session: SessionId([0xd8; 16]),
                incarnation: Incarnation(2),
                since: Some(Millis(12_000_000)),
                rx: 1_222_222_222,
                tx: 12_345_678,
            }),
            listed: 12,
            ahead: 0,
            last: None,
            messages: 0,
            dropped: 0,
        };
        let idle = TerminalStatus {
            state: "waiting".into(),
            access: None,
            ahead: 2,
            last: Some(Refusal::new("no-candidate", "none of 3 access points\nis known")),
            link: LinkState::Down { host: "c.example:1".into(), why: "timed out".into() },
            ..connected.clone()
        };
        let shown = [connected, idle].map(|answer| text(|output| terminal::show(&answer, output)));
        golden("terminal-status.txt", &shown.join("\n"));
    }
}

#[cfg(feature = "gateway")]
mod gateway {
    use super::*;
    use crate::ctl::args::{GatewayVerb, GrantArgs, LogLevel};
    use crate::ctl::output::Output;
    use crate::ctl::{doctor, evict, grant, grants, stations, status, topup, watch};
    use crate::model::{
        Bssid, Cause, Code, GrantId, Incarnation, MacAddr, MessageId, Millis, Origin, Refusal, Report,
        ServiceId, Ssid, Step, StepOutcome, StepReport, Traffic,
    };
    use crate::wire::local::{
        CodeNetwork, Event, Finding, GatewayStatus, GrantRow, Granted, GrantedCode, Layout, LinkState,
        Severity, StationRow, Target,
    };

    const MAC: MacAddr = MacAddr([2, 0, 0x5e, 0x10, 0, 1]);
    const GRANT: GrantId = GrantId([0xa5; 16]);
    const MOVED: Traffic =
        Traffic { up_bytes: 12_345_678, down_bytes: 1_222_222_222, up_packets: 10, down_packets: 20 };

    #[test]
    fn a_grant_is_for_good_or_for_a_time_and_a_quota() {
        for (line, count, lease, quota) in [
            ("grant 02:00:5e:10:00:01", 1, None, None),
            ("grant 02-00-5E-10-00-01 --for 2h", 1, Some(7_200_000), None),
            ("grant 02:00:5e:10:00:01 --for 90s --quota 500MB", 1, Some(90_000), Some(500_000_000)),
            ("grant --quota 2GiB 02:00:5e:10:00:01 02:00:5e:10:00:02", 2, None, Some(2 << 30)),
        ] {
            let Command::Verb(GatewayVerb::Grant(asked)) = said(line).command else { panic!("{line}") };
            let GrantArgs { stations, code: false, lease: found, quota: found_quota, .. } = asked else {
                panic!("{line}")
            };
            assert_eq!(stations.len(), count, "{line}");
            assert_eq!((stations[0], found, found_quota), (MAC, lease.map(Millis), quota), "{line}");
        }
    }

    #[test]
    #[cfg(feature = "qr")]
    fn a_code_is_for_whoever_comes_with_it() {
        let Command::Verb(GatewayVerb::Grant(asked)) = said("grant --code --for 2h --svg x.svg").command
        else {
            panic!()
        };
        assert!(asked.code && asked.stations.is_empty() && asked.lease == Some(Millis(7_200_000)));
        assert_eq!(asked.svg.as_deref(), Some(Path::new("x.svg")));
        refused("grant", "required arguments", "<MAC>");
        refused("grant --code 02:00:5e:10:00:01", "cannot be used with", "--code");
        refused("grant 02:00:5e:10:00:01 --svg x", "cannot be used with", "--svg");
    }

    #[test]
    fn a_target_is_a_station_or_a_grant() {
        for (line, target) in [
            ("evict 02:00:5e:10:00:01", Target::Station(MAC)),
            ("evict a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5", Target::Grant(GRANT)),
        ] {
            let Command::Verb(GatewayVerb::Evict { target: found }) = said(line).command else {
                panic!("{line}")
            };
            assert_eq!(found, target);
        }
    }

    #[test]
    fn a_topup_says_how_much_more() {
        let Command::Verb(GatewayVerb::Topup(asked)) =
            said("topup a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5 --for 1h --quota 1GB").command
        else {
            panic!()
        };
        assert_eq!((asked.target, asked.quota), (Target::Grant(GRANT), Some(1_000_000_000)));
        assert_eq!(asked.lease, Some(Millis(3_600_000)));
        refused("topup 02:00:5e:10:00:01", "required arguments", "--quota <SIZE>");
        refused("topup --quota 1GB", "required arguments", "<MAC|GRANT-ID>");
        let row = GrantRow {
            id: GRANT,
            station: Some(MAC),
            code: false,
            origin: Origin::Owner,
            incarnation: Incarnation(1),
            left: Some(Millis(7_200_000)),
            quota: Some(1_500_000_000),
            moved: MOVED,
            present: true,
        };
        let endless = GrantRow { station: None, left: None, quota: None, ..row.clone() };
        golden("topup.txt", &[row, endless].map(|row| text(|output| topup::show(&row, output))).concat());
    }

    #[test]
    fn values_that_cannot_be_meant_are_named_with_those_that_can() {
        for (line, given, allowed) in [
            ("grant", "required arguments", "<MAC>..."),
            ("grant 02:00", "invalid value '02:00'", "six octets in hexadecimal, as 02:00:5e:10:00:01"),
            ("grant ff:ff:ff:ff:ff:ff", "invalid value 'ff:ff:ff:ff:ff:ff'", "a group address"),
            ("grant 02:00:5e:10:00:01 --for 2", "invalid value '2' for '--for <TIME>'", "90s, 15m, 2h, 7d"),
            ("grant 02:00:5e:10:00:01 --for", "a value is required", "--for <TIME>"),
            ("grant 02:00:5e:10:00:01 --quota 5", "invalid value '5' for '--quota <SIZE>'", "500MB, 1.5GB"),
            ("grant 02:00:5e:10:00:01 --quota 5GB --quota 6GB", "'--quota <SIZE>'", "multiple times"),
            ("evict corner", "invalid value 'corner'", "32 hexadecimal digits of a grant's id"),
            ("evict 01:00:5e:00:00:01", "invalid value", "a group address"),
            ("evict a5a5", "invalid value 'a5a5'", "32 hexadecimal digits of a grant's id"),
            ("gateway --log loud", "invalid value 'loud'", "off, error, warn, info, debug, trace"),
            ("gateway enrol x", "unrecognized subcommand 'enrol'", "there are enroll"),
            (
                "statoins",
                "unrecognized subcommand 'statoins'",
                "status, stations, grants, grant, topup, evict",
            ),
        ] {
            refused(line, given, allowed);
        }
    }

    #[test]
    fn what_holds_for_every_verb_may_stand_anywhere() {
        for line in ["--json --socket /x status", "status --json --socket /x", "--json status --socket /x"] {
            let cli = said(line);
            assert!(cli.json && cli.socket.as_deref() == Some(Path::new("/x")), "{line}");
        }
        let Command::Gateway(role) = said("gateway --config /g.toml --log debug").command else { panic!() };
        assert_eq!(role.run.config.as_deref(), Some(Path::new("/g.toml")));
        assert_eq!(role.run.log, LogLevel::Debug);
    }

    #[test]
    fn status_is_as_the_golden_file_has_it() {
        let well = GatewayStatus {
            version: "0.1.0".into(),
            name: "Corner\n\x1b[2J".into(),
            service: ServiceId([0xb6; 16]),
            uptime: Millis(12_000_000),
            layout: Layout::Netdev,
            owned: true,
            interfaces: vec!["br-guest".into(), "eth1".into()],
            bsses: 2,
            beacons: 1,
            stations: 12,
            grants: 9,
            link: LinkState::Up { host: "coordinator.example:7443".into() },
            restored: 0,
            dropped: 0,
            refused_packets: 1,
            spoofed_packets: 0,
        };
        let ill = GatewayStatus {
            layout: Layout::Bridge,
            owned: false,
            interfaces: vec![],
            link: LinkState::Down { host: "c.example:1".into(), why: "no route\nto host".into() },
            restored: 1,
            dropped: 3,
            refused_packets: 4711,
            spoofed_packets: 2,
            ..well.clone()
        };
        let alone = GatewayStatus { link: LinkState::Alone, ..well.clone() };
        golden(
            "status.txt",
            &[well, ill, alone].map(|answer| text(|output| status::show(&answer, output))).join("\n"),
        );
    }

    #[test]
    fn stations_are_as_the_golden_file_has_them() {
        let row = StationRow {
            mac: MAC,
            interface: "br-guest".into(),
            bssid: Some(Bssid(MacAddr([2, 0, 0, 0, 0, 9]))),
            ssid: Some(Ssid::new("Café am Eck").unwrap()),
            addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            protected: Some(true),
            grant: Some(GRANT),
            moved: MOVED,
        };
        let evil = StationRow {
            ssid: Some(Ssid::new(b"a\n\x1b[31m|\xff".as_slice()).unwrap()),
            protected: Some(false),
            grant: None,
            moved: Traffic::default(),
            addresses: vec![],
            ..row.clone()
        };
        let hidden = StationRow { ssid: Some(Ssid::default()), ..row.clone() };
        let wired =
            StationRow { interface: "eth1".into(), bssid: None, ssid: None, protected: None, ..row.clone() };
        golden("stations.txt", &text(|output| stations::show(&[row, evil, hidden, wired], output)));
        assert_eq!(text(|output| stations::show(&[], output)), "no stations\n");
    }

    #[test]
    fn grants_are_as_the_golden_file_has_them() {
        let row = GrantRow {
            id: GRANT,
            station: Some(MAC),
            code: false,
            origin: Origin::Owner,
            incarnation: Incarnation(1),
            left: None,
            quota: None,
            moved: MOVED,
            present: true,
        };
        let limited = GrantRow {
            origin: Origin::Coordinator,
            left: Some(Millis(5_400_000)),
            quota: Some(1_300_000_000),
            ..row.clone()
        };
        let used_up =
            GrantRow { quota: Some(500_000_000), left: Some(Millis(1)), present: false, ..row.clone() };
        let by_code = GrantRow { code: true, ..row.clone() };
        let nobody = GrantRow { station: None, present: false, ..by_code.clone() };
        let rows = [row, limited, used_up, by_code, nobody];
        golden("grants.txt", &text(|output| grants::show(&rows, output)));
        golden("grants-colours.txt", &coloured(|output| grants::show(&rows, output)));
        assert_eq!(text(|output| grants::show(&[], output)), "no grants\n");
    }

    #[test]
    fn granted_and_evicted_are_as_the_golden_files_have_them() {
        let granted = [Granted { id: GRANT, station: MAC }];
        let terms = "for 2 h, up to 500.0 MB";
        golden("grant.txt", &text(|output| grant::show(&granted, terms, output)));
        let code = Code::new(std::array::from_fn(|at| at as u8 * 8));
        let network = |name: &[u8]| {
            let ssid = Ssid::new(name.to_vec()).unwrap();
            CodeNetwork { wifi: code.wifi(&ssid), ssid }
        };
        let networks = vec![network("Café am Eck".as_bytes()), network(b"\xff\x1b[2J"), network(b"")];
        let granted = GrantedCode { id: GRANT, networks, code, account: None };
        let shown = text(|output| grant::show_code(&granted, terms, output));
        assert!(shown.contains(granted.code.groups().expose()), "{shown}");
        #[cfg(feature = "qr")]
        golden("grant-code.txt", &text(|output| grant::show_code(&granted, terms, output)));
        let nobody = Report { station: None, steps: vec![], ..report(true) };
        golden(
            "evict.txt",
            &[report(true), report(false), nobody]
                .map(|report| text(|output| evict::show(&report, output)))
                .join("\n"),
        );
    }

    #[test]
    fn events_are_as_the_golden_file_has_them() {
        let interface = "eth\n1".to_owned();
        let down = LinkState::Down { host: "c.example:1".into(), why: "timed out".into() };
        let events = [
            Event::Joined { station: MAC, interface: interface.clone() },
            Event::Admitted { grant: GRANT, station: MAC },
            Event::Evicting { cause: Cause::Silence, grant: GRANT, station: MAC },
            Event::Low { grant: GRANT, station: MAC, quota: 500_000_000, left: 49_000_000 },
            Event::Evicted { report: report(true) },
            Event::Evicted { report: report(false) },
            Event::Gone { station: MAC, interface },
            Event::Restored { grants: 1, took_us: 1234 },
            Event::Link { state: down },
            Event::Link { state: LinkState::Up { host: "c.example:1".into() } },
            Event::Link { state: LinkState::Alone },
            Event::Delivered { message: MessageId([0xb6; 16]), grant: GRANT },
            Event::Dropped { refusal: Refusal::new("forged", "a notice that the coordinator did not sign") },
            Event::Missed { events: 7 },
        ];
        golden("watch.txt", &events.map(|event| text(|output| watch::show(&event, output))).concat());
    }

    #[test]
    fn findings_are_as_the_golden_file_has_them() {
        let finding = |word: &str, severity, found: &str, advice: &str| Finding {
            word: word.into(),
            severity,
            found: found.into(),
            advice: advice.into(),
        };
        let findings = [
            finding("layout", Severity::Good, "netdev: ingress and egress", ""),
            finding("owner-flag", Severity::Hint, "the kernel does not know it", "use Linux 5.12 or later"),
            finding("hostapd", Severity::Problem, "no socket in /run/hostapd\n", "set ctrl_interface"),
        ];
        golden("doctor.txt", &text(|output| doctor::show(&findings, output)));
    }

    fn report(complete: bool) -> Report {
        let outcome = |step| match (step, complete) {
            (Step::Enforcement, _) => StepOutcome::Done { freed: 2 },
            (Step::Flows, _) => StepOutcome::Done { freed: 31 },
            (Step::Association, true) => StepOutcome::Done { freed: 1 },
            (Step::Association, false) => StepOutcome::Failed { why: "hostapd says FAIL\n".into() },
            (Step::Leases, false) => StepOutcome::Absent,
            (Step::Neighbours | Step::Leases | Step::Verification, _) => StepOutcome::Done { freed: 1 },
        };
        let step = |(at, step)| StepReport { step, outcome: outcome(step), took_us: 40 << (2 * at as u64) };
        Report {
            cause: Cause::Owner,
            grant: GRANT,
            moved: MOVED,
            steps: Step::ALL.into_iter().enumerate().map(step).collect(),
            station: Some(MAC),
            total_us: 55_000,
            incarnation: Incarnation(1),
        }
    }

    fn coloured(show: impl FnOnce(&mut Output<'_>) -> std::io::Result<()>) -> String {
        rendered(true, show)
    }
}

#[cfg(feature = "push")]
mod messages {
    use super::*;
    use crate::ctl::args::{self, Command, GatewayVerb};
    use crate::ctl::messages;
    use crate::model::{Audience, Author, GrantId, Link, MessageId, MessageText, Millis, ServiceId, Ssid};
    use crate::wire::local::{MessageAsk, MessageRow};

    const GRANT: GrantId = GrantId([0xa5; 16]);

    #[test]
    fn a_message_is_for_everybody_a_grant_or_a_network() {
        let asked = |line: &[&str]| {
            let words = ["wayleave", "push"].iter().chain(line);
            let cli = args::parse(words).unwrap_or_else(|error| panic!("{line:?}: {error}"));
            let Command::Verb(GatewayVerb::Push(push)) = cli.command else { panic!("{line:?}") };
            push.ask()
        };
        let text = MessageText::new("Closed at 5 pm").unwrap();
        let ask = MessageAsk { to: Audience::Everybody, text, link: None, valid: None };
        assert_eq!(asked(&["Closed at 5 pm"]), ask);
        let to = Audience::Grant(GRANT);
        assert_eq!(
            asked(&["Closed at 5 pm", "--grant", &GRANT.to_string()]),
            MessageAsk { to, ..ask.clone() }
        );
        let to = Audience::Network(Ssid::new(b"\xff\n".as_slice()).unwrap());
        let whole = MessageAsk {
            to,
            link: Some(Link::new("https://a.example/").unwrap()),
            valid: Some(Millis(7_200_000)),
            ..ask
        };
        let line = ["Closed at 5 pm", "--network", "hex:ff0a", "--link", "https://a.example/", "--for", "2h"];
        assert_eq!(asked(&line), whole);
        refused("push", "required arguments were not provided", "TEXT");
        refused("push a --link javascript:x", "invalid value", "http:// or https://");
        refused("push a --grant 5", "invalid value '5'", "32 hexadecimal digits");
        refused(
            "push a --network b --grant a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5",
            "cannot be used with",
            "--network",
        );
        let control = args::parse(["wayleave", "push", "a\u{1b}[2J"]).unwrap_err().to_string();
        assert!(control.contains("no control characters"), "{control}");
    }

    #[test]
    fn messages_are_as_the_golden_file_has_them() {
        let row = |id: u8, to, author, taken| MessageRow {
            id: MessageId([id; 16]),
            to,
            author,
            text: MessageText::new("Closed at 5 pm").unwrap(),
            link: (id == 1).then(|| Link::new("https://a.example/").unwrap()),
            left: Millis(12_000_000),
            taken,
        };
        let network = Audience::Network(Ssid::new("a\n").unwrap());
        let rows = [
            row(1, Audience::Everybody, Author::Owner, 2),
            row(2, Audience::Gateway(ServiceId([0xb6; 16])), Author::Coordinator, 0),
            row(3, network, Author::Owner, 0),
        ];
        let shown = text(|output| messages::show(&rows, output));
        golden("messages.txt", &(shown + &text(|output| messages::show(&[], output))));
    }
}
