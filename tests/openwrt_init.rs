//! OpenWrt's init script under a shim of `rc.common` that says each call to procd (`support/rc_common.sh`).
#![cfg(feature = "uci")]

use std::fs;
use std::path::Path;
use std::process::Command;

const NETWORK: &str = "config interface 'lan'\n\toption device 'br-lan'\n\n\
                       config interface 'guest'\n\toption device 'br-guest'\n";

struct Said {
    good: bool,
    text: String,
}

/// What a command of the script says, with this in /etc/config/wayleave.
fn init(command: &str, config: &str) -> Said {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("wayleave"), config).unwrap();
    fs::write(dir.path().join("network"), NETWORK).unwrap();
    let output = Command::new("dash")
        .args(["tests/support/rc_common.sh", "openwrt/wayleave/files/wayleave.init"])
        .arg(dir.path())
        .arg(command)
        .env("WAYLEAVE", env!("CARGO_BIN_EXE_wayleave"))
        .output()
        .expect("dash");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let text = text.replace(env!("CARGO_BIN_EXE_wayleave"), "/usr/bin/wayleave");
    Said {
        good: output.status.success(),
        text: text.replace(&dir.path().display().to_string(), "/etc/config"),
    }
}

fn installed() -> String {
    fs::read_to_string("openwrt/wayleave/files/wayleave.config").unwrap()
}

fn enabled() -> String {
    let text = installed().replace("option enabled '0'", "option enabled '1'");
    assert_ne!(text, installed());
    text
}

/// Compares with a file; `WAYLEAVE_GOLDEN=write` writes it anew.
fn golden(name: &str, found: &str) {
    let path = Path::new("tests/golden/openwrt").join(name);
    if std::env::var_os("WAYLEAVE_GOLDEN").is_some_and(|value| value == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == found, "{} differs; WAYLEAVE_GOLDEN=write takes this over:\n{found}", path.display());
}

#[test]
fn what_procd_is_told() {
    let mut text = String::new();
    for command in ["header", "start", "reload", "data", "triggers", "nudge"] {
        let said = init(command, &enabled());
        assert!(said.good, "{command}: {}", said.text);
        text.push_str(&format!("== {command}\n{}", said.text));
    }
    golden("init.txt", &text);
}

#[test]
fn as_installed_nothing_is_started() {
    for command in ["start", "reload"] {
        let said = init(command, &installed());
        assert!(said.good && said.text.is_empty(), "{}", said.text);
    }
}

#[test]
fn a_file_that_cannot_be_used_fails_the_reload_and_changes_nothing() {
    let said = init("reload", &(enabled() + "\toption colour 'red'\n"));
    assert!(!said.good && said.text.contains("dhcp.colour: found an unknown option"), "{}", said.text);
    assert!(!said.text.contains("procd"), "{}", said.text);
}

#[test]
fn it_writes_no_configuration_and_restarts_nobody_elses_service() {
    for file in ["wayleave.init", "wayleave.hotplug"] {
        let text = fs::read_to_string(Path::new("openwrt/wayleave/files").join(file)).unwrap();
        let code =
            text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
        for word in ["uci ", "commit", "restart", "/etc/init.d/network", "nft ", "wifi"] {
            assert!(!code.contains(word), "{file}: {word}");
        }
    }
}

#[test]
fn the_package_has_the_files_that_it_names() {
    let makefile = fs::read_to_string("openwrt/wayleave/Makefile").unwrap();
    for line in makefile.lines().filter(|line| line.contains("./files/")) {
        let file = line.split_whitespace().find(|word| word.starts_with("./files/")).unwrap();
        assert!(Path::new("openwrt/wayleave").join(file).exists(), "{line}");
    }
    let version = format!("PKG_VERSION:={}", env!("CARGO_PKG_VERSION"));
    assert!(makefile.lines().any(|line| line == version), "{version}");
}
