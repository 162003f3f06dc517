//! The configurations that the packages bring are configurations, and name every key that there is.
#![cfg(all(
    feature = "gateway",
    feature = "coordinator",
    feature = "terminal",
    feature = "radius",
    feature = "portal",
    feature = "ubus"
))]

use std::path::Path;

use wayleave::config::{coordinator, gateway, terminal};

type Check = fn(&Path) -> Result<(), String>;

/// File, its checker, the key that must be given, and its tables.
const EXAMPLES: [(&str, Check, &str, &[&str]); 3] = [
    (
        "gateway.toml",
        gateway,
        "[[network]]\ninterface = \"x\"\n",
        &[
            "enforcement",
            "open",
            "hostapd",
            "beacon",
            "messages",
            "interworking",
            "directory",
            "dhcp",
            "ubus",
            "radius",
            "portal",
            "trade",
            "coordinator",
        ],
    ),
    (
        "coordinator.toml",
        coordinator,
        "public = \"x:1\"\n",
        &["heartbeat", "patience", "brake", "limits", "stripe"],
    ),
    ("terminal.toml", terminal, "interface = \"x\"\n", &["directory", "coordinator", "messages"]),
];

#[test]
fn the_examples_are_accepted() {
    for (file, check, ..) in EXAMPLES {
        check(&Path::new("packaging/etc").join(file)).unwrap();
    }
}

#[test]
fn so_is_what_they_have_commented_out() {
    let dir = tempfile::tempdir().unwrap();
    for (file, check, ..) in EXAMPLES {
        let token = token(dir.path());
        let whole = whole(file).replace("/etc/wayleave/api-token", &token);
        let whole = whole.replace("/etc/wayleave/radius-secret", &token);
        let whole =
            whole.replace("/etc/wayleave/stripe-key", &token).replace("/etc/wayleave/stripe-webhook", &token);
        let path = dir.path().join(file);
        std::fs::write(&path, &whole).unwrap();
        check(&path).unwrap_or_else(|error| panic!("{error}\n{whole}"));
    }
}

#[test]
fn what_is_commented_out_holds_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("whole.toml");
    let secret = token(dir.path());
    std::fs::write(&path, whole("gateway.toml").replace("/etc/wayleave/radius-secret", &secret)).unwrap();
    let example = gateway::load(Path::new("packaging/etc/gateway.toml")).unwrap();
    // Where it is listed, what opens the network, what telephones are told, whom the gateway is enrolled with and who is
    // told of sessions, what is sold and what pages are there, are examples, not what holds.
    let (networks, coordinator, dbus) = (example.networks.clone(), None, example.dbus);
    let given = gateway::load(&path).unwrap();
    let given = gateway::Settings {
        area: None,
        interworking: None,
        radius: None,
        shop: example.shop.clone(),
        portal: example.portal.clone(),
        ..given
    };
    assert_eq!(gateway::Settings { networks, coordinator, dbus, ..given }, example);

    let cards = whole("coordinator.toml").replace("api_token_file", "#");
    let cards =
        cards.replace("/etc/wayleave/stripe-key", &secret).replace("/etc/wayleave/stripe-webhook", &secret);
    std::fs::write(&path, cards).unwrap();
    let example = coordinator::Settings::load(Path::new("packaging/etc/coordinator.toml")).unwrap();
    let given = coordinator::Settings::load(&path).unwrap();
    assert_eq!(given.owners.len(), 1);
    let (source, owners) = (example.source.clone(), example.owners.clone());
    let given = coordinator::Settings { source, owners, stripe: None, ..given };
    assert_eq!(format!("{given:?}"), format!("{example:?}"));

    std::fs::write(&path, whole("terminal.toml")).unwrap();
    let example = terminal::Settings::load(Path::new("packaging/etc/terminal.toml")).unwrap();
    let given = terminal::Settings::load(&path).unwrap();
    assert_eq!(terminal::Settings { coordinator: None, aps: Vec::new(), hook: None, ..given }, example);
}

#[test]
fn they_name_every_key() {
    let dir = tempfile::tempdir().unwrap();
    for (file, check, needed, tables) in EXAMPLES {
        let example = whole(file);
        let path = dir.path().join(file);
        let mut texts = vec![format!("nosuchkey = 1\n{needed}")];
        texts.extend(tables.iter().map(|table| format!("{needed}[{table}]\nnosuchkey = 1\n")));
        for text in texts {
            std::fs::write(&path, &text).unwrap();
            let error = check(&path).unwrap_err();
            let (_, allowed) = error.split_once("allowed: ").unwrap_or_else(|| panic!("{error}"));
            let keys: Vec<&str> = allowed.split('`').skip(1).step_by(2).collect();
            assert!(!keys.is_empty(), "{error}");
            for key in keys {
                let named = example.lines().any(|line| {
                    line.starts_with(&format!("{key} = "))
                        || line.trim_matches(['[', ']']).rsplit('.').next() == Some(key)
                });
                assert!(named, "packaging/etc/{file} does not name {key}");
            }
        }
    }
}

/// The example with everything in it that is commented out: `#key = …`, where prose has a blank after its `#`.
fn whole(file: &str) -> String {
    let text = std::fs::read_to_string(Path::new("packaging/etc").join(file)).unwrap();
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.starts_with([' ', '#']) => key,
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

fn token(dir: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("api-token");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn gateway(path: &Path) -> Result<(), String> {
    gateway::load(path).map(drop).map_err(|error| error.to_string())
}

fn coordinator(path: &Path) -> Result<(), String> {
    coordinator::Settings::load(path).map(drop).map_err(|error| error.to_string())
}

fn terminal(path: &Path) -> Result<(), String> {
    terminal::Settings::load(path).map(drop).map_err(|error| error.to_string())
}
