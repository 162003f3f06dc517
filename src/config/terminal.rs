//! The terminal's configuration, `/etc/wayleave/terminal.toml`.
//!
//! `packaging/etc/terminal.toml` is the text for people: every key, what it does, what holds without it;
//! `tests/examples.rs` holds that true.

use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::{ConfigError, parse, read};
use crate::model::{Area, Bssid, Region, Ssid};
use crate::wire::claim::CoordinatorAddress;
use crate::wire::terminal::SeenAp;

/// Where the file is, unless the command line says otherwise.
pub const PATH: &str = "/etc/wayleave/terminal.toml";

/// Each is read anew once an hour.
const MOST_REGIONS: usize = 64;

/// Two of three and more.
const NEEDED: NonZeroU8 = NonZeroU8::new(2).expect("not zero");

/// What the file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    interface: String,
    wpa_supplicant: Option<PathBuf>,
    stay: Option<bool>,
    wired: Option<bool>,
    state_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    coordinator: Option<CoordinatorAddress>,
    #[serde(default)]
    directory: DirectoryFragment,
    #[serde(default)]
    messages: MessagesFragment,
    #[serde(default)]
    aps: Vec<ApFragment>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryFragment {
    #[serde(default)]
    regions: Vec<Region>,
    join: Option<bool>,
    needed: Option<u8>,
    #[serde(default)]
    ahead: Vec<Area>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessagesFragment {
    hook: Option<PathBuf>,
    notify: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApFragment {
    bssid: Bssid,
    ssid: Ssid,
}

/// Checked settings of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Through which it joins.
    pub interface: String,
    /// wpa_supplicant's control sockets.
    pub wpa_supplicant: PathBuf,
    /// Whether it asks again when access is over.
    pub stay: bool,
    /// Whether there is no radio.
    pub wired: bool,
    /// Identity and enrolment.
    pub state_dir: PathBuf,
    /// The control socket, and our ends of wpa_supplicant's.
    pub runtime_dir: PathBuf,
    /// Whom to ask; `None`: the one of the enrolment.
    pub coordinator: Option<CoordinatorAddress>,
    /// What it holds ahead of time.
    pub directory: Directory,
    /// Run for each message.
    pub hook: Option<PathBuf>,
    /// Whether messages are shown on the desktop, where the program has D-Bus and there is a session bus.
    pub notify: bool,
    /// What to ask for instead of a scan; empty: scan.
    pub aps: Vec<SeenAp>,
}

/// The directory that a terminal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Of these regions.
    pub regions: Vec<Region>,
    /// Whether it joins by itself where it recognises a place; otherwise it asks at once.
    pub join: bool,
    /// How many access points of an area have to be in reach.
    pub needed: NonZeroU8,
    /// Areas for whose gateways access codes are asked ahead of time.
    pub ahead: Vec<Area>,
}

impl Settings {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::check(path, &read(path)?)
    }

    /// Checks a text; `path` is for the errors.
    pub fn check(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let fragment: Fragment = parse(path, text)?;
        let invalid = |key: &str, found: &str, allowed: &str| {
            let found = format!("\"{}\"", found.escape_debug());
            Err(ConfigError::invalid(path, text, key, found, allowed))
        };
        if !is_interface(&fragment.interface) {
            return invalid("interface", &fragment.interface, "the name of a network interface");
        }
        let wired = fragment.wired.unwrap_or(false);
        if wired && fragment.aps.is_empty() {
            return invalid("aps", "", "with `wired = true`, the access points to ask for");
        }
        let directory = fragment.directory;
        if let Some(double) = directory
            .regions
            .iter()
            .enumerate()
            .find_map(|(at, region)| directory.regions[..at].contains(region).then_some(region))
        {
            return invalid("directory.regions", &double.to_string(), "each region once");
        }
        if directory.regions.len() > MOST_REGIONS {
            let found = format!("{} regions", directory.regions.len());
            return invalid("directory.regions", &found, &format!("{MOST_REGIONS} regions at most"));
        }
        if directory.join == Some(true) && directory.regions.is_empty() {
            return invalid("directory.join", "true", "false, or regions whose directory is to be held");
        }
        if let Some(area) = directory.ahead.iter().find(|area| !directory.regions.contains(area.region())) {
            return invalid("directory.ahead", &area.to_string(), "areas of the regions that are held");
        }
        if !directory.ahead.is_empty() && directory.join != Some(true) {
            let allowed = "areas only with `join = true`: what is held is used where a place is recognised";
            return invalid("directory.ahead", &directory.ahead[0].to_string(), allowed);
        }
        let needed = directory.needed.unwrap_or(NEEDED.get());
        let Some(needed) = NonZeroU8::new(needed) else {
            return invalid("directory.needed", "0", "1 to 255 access points");
        };
        let coordinator = match fragment.coordinator {
            Some(CoordinatorAddress { host, key }) => match CoordinatorAddress::new(&host, key) {
                Ok(address) => Some(address),
                Err(_) => {
                    return invalid("coordinator.host", &host, "NAME:PORT, as coordinator.example:7443");
                }
            },
            None => None,
        };
        let hook = fragment.messages.hook;
        if let Some(hook) = hook.as_ref().filter(|hook| !hook.is_absolute()) {
            return invalid("messages.hook", &hook.display().to_string(), "a path that begins with /");
        }
        let dir = |key, given: Option<PathBuf>, default: &str| match given {
            Some(dir) if dir.is_absolute() => Ok(dir),
            Some(dir) => {
                let found = format!("\"{}\"", dir.display().to_string().escape_debug());
                Err(ConfigError::invalid(path, text, key, found, "a path that begins with /"))
            }
            None => Ok(PathBuf::from(default)),
        };
        Ok(Self {
            interface: fragment.interface,
            wpa_supplicant: dir("wpa_supplicant", fragment.wpa_supplicant, "/run/wpa_supplicant")?,
            stay: fragment.stay.unwrap_or(true),
            wired,
            state_dir: dir("state_dir", fragment.state_dir, "/var/lib/wayleave-terminal")?,
            runtime_dir: dir("runtime_dir", fragment.runtime_dir, "/run/wayleave-terminal")?,
            coordinator,
            directory: Directory {
                join: directory.join.unwrap_or(false),
                regions: directory.regions,
                needed,
                ahead: directory.ahead,
            },
            hook,
            notify: fragment.messages.notify.unwrap_or(true),
            aps: fragment.aps.into_iter().map(given).collect(),
        })
    }
}

fn given(ap: ApFragment) -> SeenAp {
    SeenAp { ssid: ap.ssid, bssid: ap.bssid, beacon: None, freq_mhz: 0, signal_dbm: 0 }
}

/// As the kernel has it (`dev_valid_name()` of net/core/dev.c), ASCII only: it becomes part of paths.
fn is_interface(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    (1..=15).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_enough_and_all_are_understood() {
        let settings = check("interface = \"wlan0\"\n").unwrap();
        assert_eq!(settings.wpa_supplicant, Path::new("/run/wpa_supplicant"));
        assert!(settings.stay && !settings.wired && settings.coordinator.is_none());

        let key = "ab".repeat(32);
        let settings = check(&format!(
            "interface = \"eth1\"\nstay = false\nwired = true\nstate_dir = \"/s\"\nruntime_dir = \"/r\"\n\
             [directory]\nregions = [\"lyon\", \"paris\"]\njoin = true\nneeded = 3\nahead = [\"lyon/hall\"]\n\
             [coordinator]\nhost = \"c.example:7443\"\nkey = \"{key}\"\n\
             [[aps]]\nbssid = \"02:00:5e:10:00:01\"\nssid = \"Corner\"\n"
        ))
        .unwrap();
        assert_eq!(settings.coordinator.unwrap().name(), "c.example");
        assert_eq!(settings.aps[0].ssid.as_bytes(), b"Corner");
        assert_eq!(settings.directory.regions.len(), 2);
        assert!(settings.directory.join && settings.directory.needed.get() == 3);
        assert_eq!(settings.directory.ahead, ["lyon/hall".parse().unwrap()]);
    }

    #[test]
    fn every_error_names_file_line_key_found_and_allowed() {
        for (text, expected) in [
            ("interface = \"wlan0\"\nstray = 1\n", "t.toml:2: stray: found an unknown key; allowed: "),
            ("\ninterface = \"../x\"\n", "t.toml:2: interface: found \"../x\"; allowed: the name of "),
            ("stay = true\n", "t.toml: interface: found nothing; allowed: "),
            ("interface = \"a\"\nstate_dir = \"s\"\n", "t.toml:2: state_dir: found \"s\"; allowed: a path "),
            (
                "interface = \"a\"\n[directory]\nregions = [\"Lyon\"]\n",
                "t.toml:3: directory.regions: found [\"Lyon\"]; allowed: \"Lyon\" is not a region: 1 to 32 of ",
            ),
            (
                "interface = \"a\"\n[directory]\nregions = [\"a\", \"a\"]\n",
                "t.toml:3: directory.regions: found \"a\"; allowed: each region once",
            ),
            (
                "interface = \"a\"\n[directory]\njoin = true\n",
                "t.toml:3: directory.join: found \"true\"; allowed: false, or regions",
            ),
            (
                "interface = \"a\"\n[directory]\nneeded = 0\n",
                "t.toml:3: directory.needed: found \"0\"; allowed: 1 to 255",
            ),
            (
                "interface = \"a\"\n[directory]\nregions = [\"lyon\"]\nahead = [\"paris/hall\"]\n",
                "t.toml:4: directory.ahead: found \"paris/hall\"; allowed: areas of the regions that are held",
            ),
            (
                "interface = \"a\"\n[directory]\nregions = [\"lyon\"]\nahead = [\"lyon/hall\"]\n",
                "t.toml:4: directory.ahead: found \"lyon/hall\"; allowed: areas only with `join = true`",
            ),
            ("interface = \"a\"\nwired = true\n", "t.toml: aps: found \"\"; allowed: with `wired = true`"),
            (
                "interface = \"a\"\n[[aps]]\nbssid = \"02\"\nssid = \"x\"\n",
                "t.toml:3: aps.0.bssid: found \"02\"; allowed: ",
            ),
            (
                &format!("interface = \"a\"\n[coordinator]\nhost = \"x\"\nkey = \"{}\"\n", "ab".repeat(32)),
                "t.toml:3: coordinator.host: found \"x\"; allowed: NAME:PORT",
            ),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn an_interface_name_that_would_leave_its_directory_is_none() {
        for name in ["wlan0", "br-lan.3", "phy0-ap0"] {
            assert!(is_interface(name));
        }
        for name in ["", ".", "..", "../lo", "a b", "a\n", "sixteen-letters-", "é"] {
            assert!(!is_interface(name), "{name:?}");
        }
    }

    fn check(text: &str) -> Result<Settings, ConfigError> {
        Settings::check(Path::new("t.toml"), text)
    }
}
