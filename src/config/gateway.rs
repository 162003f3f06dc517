//! The gateway's configuration, `/etc/wayleave/gateway.toml`.
//!
//! `packaging/etc/gateway.toml` is the text for people: every key, what it does, what holds without it;
//! `tests/examples.rs` holds that true.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::duration::Span;
use super::error::{ConfigError, parse, read};
use crate::model::{Area, Bssid, Credential, PublicKey, Secret, Ssid, unhex};
use crate::wire::beacon;
use crate::wire::claim::CoordinatorAddress;
use crate::wire::interworking::{AccessNetwork, Interworking, VenueName, VenueUrl};
use crate::wire::local::Layout;

/// Where the file is, unless the command line says otherwise.
pub const PATH: &str = "/etc/wayleave/gateway.toml";

/// What survives a restart is here, unless the file says otherwise.
pub const RUNTIME_DIR: &str = "/run/wayleave";

/// Where ubusd listens, unless the file says otherwise.
#[cfg(feature = "ubus")]
const UBUS_SOCKET: &str = "/var/run/ubus/ubus.sock";

/// A router that reads UCI and has no other role reads nothing else: TOML is a twentieth of its program.
#[cfg(feature = "uci")]
const READS_TOML: bool = cfg!(any(feature = "coordinator", feature = "terminal"));

/// In percent.
const LOW_MARK: u8 = 10;

/// Time enough for somebody to find out and to pay.
const SPENT_WAIT: Duration = Duration::from_secs(300);

/// Slots of the token in our beacons: shorter ones would wake a router for nothing, longer ones prove little.
const SLOTS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(3600)];
const SLOT: Duration = Duration::from_secs(300);

/// What leaves room for the rest of a beacon.
const MOST_VENDOR_OCTETS: usize = 512;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    name: Option<String>,
    state_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    dbus: Option<bool>,
    #[serde(default)]
    network: Vec<NetworkFragment>,
    #[serde(default)]
    enforcement: EnforcementFragment,
    #[serde(default)]
    open: OpenFragment,
    #[serde(default)]
    hostapd: HostapdFragment,
    #[serde(default)]
    beacon: BeaconFragment,
    #[serde(default)]
    messages: MessagesFragment,
    interworking: Option<InterworkingFragment>,
    #[serde(default)]
    directory: DirectoryFragment,
    #[serde(default)]
    dhcp: DhcpFragment,
    coordinator: Option<CoordinatorFragment>,
    #[cfg(feature = "ubus")]
    #[serde(default)]
    ubus: UbusFragment,
    #[cfg(feature = "radius")]
    radius: Option<super::radius::RadiusFragment>,
    #[cfg(not(feature = "radius"))]
    radius: Option<serde::de::IgnoredAny>,
    #[cfg(feature = "portal")]
    #[serde(default)]
    portal: super::portal::PortalFragment,
    #[cfg(feature = "trade")]
    #[serde(default)]
    trade: super::tariff::TradeFragment,
    #[cfg(feature = "trade")]
    #[serde(default)]
    tariff: Vec<super::tariff::TariffFragment>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkFragment {
    interface: String,
    ssid: Option<Ssid>,
    passphrase: Option<Secret>,
    eap: Option<EapFragment>,
    wpa_psk_file: Option<PathBuf>,
    eap_user_file: Option<PathBuf>,
    eap_user_method: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct EapFragment {
    method: String,
    identity: String,
    password: Secret,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnforcementFragment {
    layout: Option<LayoutChoice>,
    own_table: Option<bool>,
    visitors: Option<Visitors>,
    low_mark: Option<u8>,
    spent_wait: Option<Span>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenFragment {
    services: Option<Vec<String>>,
    prefixes: Option<Vec<String>>,
    names_by_dnsmasq: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostapdFragment {
    directory: Option<PathBuf>,
    #[cfg(feature = "hostapd-conf")]
    config: Option<Vec<PathBuf>>,
    vendor_elements: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct BeaconFragment {
    enabled: Option<bool>,
    interval: Option<Span>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessagesFragment {
    enabled: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct InterworkingFragment {
    network: AccessNetwork,
    internet: Option<bool>,
    venue: Option<(u8, u8)>,
    hessid: Option<Bssid>,
    venue_name: Option<String>,
    language: Option<String>,
    venue_url: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryFragment {
    area: Option<Area>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct DhcpFragment {
    lease_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoordinatorFragment {
    host: String,
    key: PublicKey,
}

#[cfg(feature = "ubus")]
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct UbusFragment {
    enabled: Option<bool>,
    socket: Option<PathBuf>,
}

/// Which layout the owner wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayoutChoice {
    /// The best that the kernel can.
    #[default]
    Auto,
    /// This one, or none.
    Netdev,
    /// This one, or none.
    Bridge,
}

/// Whether visitors reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visitors {
    /// Not through this machine.
    #[default]
    Apart,
    /// As if they were at home.
    Together,
}

impl LayoutChoice {
    /// The layout asked for, if one is.
    pub fn layout(self) -> Option<Layout> {
        match self {
            LayoutChoice::Auto => None,
            LayoutChoice::Netdev => Some(Layout::Netdev),
            LayoutChoice::Bridge => Some(Layout::Bridge),
        }
    }
}

/// An EAP method that hostapd's own EAP server and wpa_supplicant have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EapMethod {
    /// EAP-MD5 (RFC 3748, 5.4): on wires only, it makes no keys.
    Md5,
    /// PEAP with MSCHAPv2 in it.
    Peap,
    /// EAP-TTLS (RFC 5281).
    Ttls,
    /// EAP-pwd (RFC 5931).
    Pwd,
}

impl EapMethod {
    const ALLOWED: &str = "MD5, PEAP, TTLS or PWD";

    fn of(name: &str) -> Option<Self> {
        [Self::Md5, Self::Peap, Self::Ttls, Self::Pwd].into_iter().find(|method| method.name() == name)
    }

    /// As in hostapd's and wpa_supplicant's files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Peap => "PEAP",
            Self::Ttls => "TTLS",
            Self::Pwd => "PWD",
        }
    }
}

/// A network that is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where its stations are.
    pub interface: String,
    /// Its name, where hostapd does not say it.
    pub ssid: Ssid,
    /// What opens it.
    pub credential: Credential,
    /// Where hostapd reads the codes of grants; without it the network takes none.
    pub wpa_psk_file: Option<PathBuf>,
    /// Where hostapd's EAP server reads names and passwords of grants, and its method.
    pub eap_user_file: Option<(PathBuf, EapMethod)>,
}

/// Checked settings of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What terminals are shown; empty: the host name.
    pub name: String,
    /// Where the coordinator's directory lists it; `None`: nowhere.
    pub area: Option<Area>,
    /// Survives a reboot.
    pub state_dir: PathBuf,
    /// Survives a restart.
    pub runtime_dir: PathBuf,
    /// Whether it is on the system bus.
    pub dbus: bool,
    /// What is shared.
    pub networks: Vec<Network>,
    /// Which layout.
    pub layout: LayoutChoice,
    /// Whether the table is to be ours alone where that is possible.
    pub own_table: bool,
    /// Whether visitors reach each other.
    pub visitors: Visitors,
    /// How many percent of a quota are left when that is said; 0: never.
    pub low_mark: u8,
    /// How long a grant whose bytes are used up waits for more.
    pub spent_wait: Duration,
    /// Protocol number and port.
    pub services: Vec<(u8, u16)>,
    /// Open to everybody.
    pub prefixes: Vec<(IpAddr, u8)>,
    /// Whether dnsmasq fills the sets of open names.
    pub names_by_dnsmasq: bool,
    /// Where hostapd's control sockets are.
    pub hostapd_directory: PathBuf,
    /// hostapd's own configurations: the elements that they say stay in beacons, too.
    #[cfg(feature = "hostapd-conf")]
    pub hostapd_config: Vec<PathBuf>,
    /// The owner's own elements in every beacon of a shared network: octets of whole elements.
    pub vendor_elements: Vec<u8>,
    /// How often the token of our beacons changes; `None`: there are none.
    pub beacon_every: Option<Duration>,
    /// Whether terminals are told what the owner and the coordinator say.
    pub messages: bool,
    /// What telephones are told before they join; `None`: whatever hostapd.conf says.
    pub interworking: Option<Interworking>,
    /// Where dnsmasq's leases are.
    pub lease_file: PathBuf,
    /// The coordinator, if the file names one.
    pub coordinator: Option<CoordinatorAddress>,
    /// Where ubusd listens; `None`: it is not on ubus.
    #[cfg(feature = "ubus")]
    pub ubus: Option<PathBuf>,
    /// RADIUS servers; `None`: there are none.
    #[cfg(feature = "radius")]
    pub radius: Option<super::radius::Radius>,
    /// The pages for stations without a grant; `None`: there are none.
    #[cfg(feature = "portal")]
    pub portal: Option<super::portal::Portal>,
    /// What the owner sells.
    #[cfg(feature = "trade")]
    pub shop: crate::model::trade::Shop,
}

/// Reads and checks the file.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    #[cfg(feature = "uci")]
    if !READS_TOML || super::uci::is_uci(path) {
        return check_uci(&super::uci::Document::load(path)?);
    }
    check(path, &read(path)?)
}

fn check(path: &Path, text: &str) -> Result<Settings, ConfigError> {
    settings(parse(path, text)?, &|key, found, allowed| ConfigError::invalid(path, text, key, found, allowed))
}

#[cfg(feature = "uci")]
fn check_uci(document: &super::uci::Document) -> Result<Settings, ConfigError> {
    settings(document.fragment()?, &|key, found, allowed| document.invalid(key, found, allowed))
}

/// `wrong` takes the key, what was found, and what is allowed.
type Wrong<'a> = &'a dyn Fn(&str, &str, &str) -> ConfigError;

fn settings(fragment: Fragment, wrong: Wrong<'_>) -> Result<Settings, ConfigError> {
    let name = fragment.name.unwrap_or_default();
    if name.len() > 64 || name.chars().any(char::is_control) {
        let found = format!("{} bytes: {}", name.len(), name.escape_debug());
        return Err(wrong("name", &found, "at most 64 bytes of text without control characters"));
    }
    let has_dbus = cfg!(feature = "dbus");
    if fragment.dbus == Some(true) && !has_dbus {
        return Err(wrong("dbus", "true", "false: this program was built without D-Bus"));
    }
    if fragment.network.is_empty() {
        return Err(wrong("network", "none", "at least one network with an interface"));
    }
    for (key, dir) in [("state_dir", &fragment.state_dir), ("runtime_dir", &fragment.runtime_dir)] {
        if let Some(dir) = dir.as_ref().filter(|dir| !dir.is_absolute()) {
            return Err(wrong(key, &quoted(&dir.display().to_string()), "an absolute path"));
        }
    }
    let runtime_dir = fragment.runtime_dir.unwrap_or_else(|| RUNTIME_DIR.into());
    let mut networks: Vec<Network> = Vec::new();
    let mut interfaces = BTreeSet::new();
    for (number, network) in fragment.network.into_iter().enumerate() {
        let key = |field: &str| format!("network.{number}.{field}");
        if !is_interface(&network.interface) {
            let allowed =
                "an interface name: 1 to 15 characters without blanks, slashes and control characters";
            return Err(wrong(&key("interface"), &quoted(&network.interface), allowed));
        }
        if !interfaces.insert(network.interface.clone()) {
            return Err(wrong(
                &key("interface"),
                &quoted(&network.interface),
                "an interface that no other network has",
            ));
        }
        let credential = match (network.passphrase, network.eap) {
            (None, None) => Credential::Open,
            (Some(passphrase), None) => {
                let length = passphrase.expose().len();
                let printable = passphrase.expose().bytes().all(|byte| (0x20..=0x7e).contains(&byte));
                if !(8..=64).contains(&length) || !printable {
                    // The passphrase itself is not repeated.
                    let found = format!("{length} bytes");
                    let allowed = "8 to 63 printable ASCII characters, or 64 hexadecimal digits";
                    return Err(wrong(&key("passphrase"), &found, allowed));
                }
                Credential::Psk { passphrase }
            }
            (None, Some(eap)) => {
                if EapMethod::of(&eap.method).is_none() {
                    return Err(wrong(&key("eap.method"), &quoted(&eap.method), EapMethod::ALLOWED));
                }
                Credential::Eap { method: eap.method, identity: eap.identity, password: eap.password }
            }
            (Some(_), Some(_)) => {
                return Err(wrong(&key("eap"), "a passphrase as well", "either passphrase or eap"));
            }
        };
        if let Some(file) = &network.wpa_psk_file {
            let found = quoted(&file.display().to_string());
            let key = key("wpa_psk_file");
            if matches!(credential, Credential::Eap { .. }) {
                return Err(wrong(&key, "eap as well", "either wpa_psk_file or eap"));
            }
            if !is_code_file(file, &runtime_dir, ".psk") {
                let allowed = format!(
                    "a file in runtime_dir, as \"{}\", without blanks: codes stay in memory",
                    runtime_dir.join("guest.psk").display()
                );
                return Err(wrong(&key, &found, &allowed));
            }
            if networks.iter().any(|other| other.wpa_psk_file.as_ref() == Some(file)) {
                return Err(wrong(&key, &found, "a file that no other network has"));
            }
        }
        let method = match &network.eap_user_method {
            None => EapMethod::Peap,
            Some(name) => EapMethod::of(name)
                .ok_or_else(|| wrong(&key("eap_user_method"), &quoted(name), EapMethod::ALLOWED))?,
        };
        if let Some(file) = &network.eap_user_file {
            let (key, found) = (key("eap_user_file"), quoted(&file.display().to_string()));
            if matches!(credential, Credential::Eap { .. }) {
                return Err(wrong(&key, "eap as well", "either eap_user_file or eap"));
            }
            if !is_code_file(file, &runtime_dir, ".eap") {
                let example = runtime_dir.join("guest.eap");
                let allowed = format!(
                    "a file in runtime_dir, as \"{}\", without blanks: passwords stay in memory",
                    example.display()
                );
                return Err(wrong(&key, &found, &allowed));
            }
            let own = |other: &Network| other.eap_user_file.as_ref().is_some_and(|(other, _)| other == file);
            if networks.iter().any(own) {
                return Err(wrong(&key, &found, "a file that no other network has"));
            }
        }
        networks.push(Network {
            interface: network.interface,
            ssid: network.ssid.unwrap_or_default(),
            credential,
            wpa_psk_file: network.wpa_psk_file,
            eap_user_file: network.eap_user_file.map(|file| (file, method)),
        });
    }
    let services =
        fragment.open.services.unwrap_or_else(|| ["udp/53", "tcp/53", "tcp/80"].map(String::from).into());
    let services = services
        .iter()
        .enumerate()
        .map(|(number, service)| {
            parse_service(service).ok_or_else(|| {
                wrong(
                    &format!("open.services.{number}"),
                    &quoted(service),
                    "a service such as \"udp/53\" or \"tcp/80\"",
                )
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let prefixes = fragment
        .open
        .prefixes
        .unwrap_or_default()
        .iter()
        .enumerate()
        .map(|(number, prefix)| {
            parse_prefix(prefix).ok_or_else(|| {
                let allowed = "a prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\"";
                wrong(&format!("open.prefixes.{number}"), &quoted(prefix), allowed)
            })
        })
        .collect::<Result<_, _>>()?;
    let coordinator = fragment
        .coordinator
        .map(|coordinator| {
            CoordinatorAddress::new(&coordinator.host, coordinator.key).map_err(|_| {
                wrong("coordinator.host", &quoted(&coordinator.host), "NAME:PORT or ADDRESS:PORT")
            })
        })
        .transpose()?;
    let vendor_elements = fragment.hostapd.vendor_elements.unwrap_or_default();
    let vendor_elements = check_vendor_elements(&vendor_elements).map_err(|why| {
        let allowed = "hexadecimal digits of whole elements of others, 512 octets at most";
        wrong("hostapd.vendor_elements", &why, allowed)
    })?;
    let low_mark = fragment.enforcement.low_mark.unwrap_or(LOW_MARK);
    if low_mark > 99 {
        return Err(wrong("enforcement.low_mark", &low_mark.to_string(), "0 to 99, in percent"));
    }
    let every = fragment.beacon.interval.map_or(SLOT, |span| span.0);
    if !(SLOTS[0]..=SLOTS[1]).contains(&every) {
        return Err(wrong("beacon.interval", &quoted(&Span(every).to_string()), "\"10s\" to \"1h\""));
    }
    let interworking = fragment.interworking.map(|fragment| interworking(fragment, wrong)).transpose()?;
    if interworking.is_some() && fragment.beacon.enabled == Some(false) {
        return Err(wrong("beacon.enabled", "false", "true: what interworking says is told with the beacon"));
    }
    #[cfg(feature = "radius")]
    let radius = fragment.radius.map(|fragment| super::radius::check(fragment, wrong)).transpose()?;
    #[cfg(not(feature = "radius"))]
    if fragment.radius.is_some() {
        return Err(wrong("radius", "a table", "none: this program was built without RADIUS"));
    }
    #[cfg(feature = "trade")]
    let shop = super::tariff::check(fragment.trade, fragment.tariff, &wrong)?;
    #[cfg(feature = "portal")]
    let portal = super::portal::check(fragment.portal, wrong)?;
    #[cfg(feature = "portal")]
    let services = {
        const TCP: u8 = 6;
        let mut all = services;
        for port in portal.iter().flat_map(super::portal::Portal::ports) {
            if !all.contains(&(TCP, port)) {
                all.push((TCP, port));
            }
        }
        all
    };
    Ok(Settings {
        name,
        area: fragment.directory.area,
        state_dir: fragment.state_dir.unwrap_or_else(|| "/var/lib/wayleave".into()),
        runtime_dir,
        dbus: fragment.dbus.unwrap_or(has_dbus),
        networks,
        layout: fragment.enforcement.layout.unwrap_or_default(),
        own_table: fragment.enforcement.own_table.unwrap_or(true),
        visitors: fragment.enforcement.visitors.unwrap_or_default(),
        low_mark,
        spent_wait: fragment.enforcement.spent_wait.map_or(SPENT_WAIT, |span| span.0),
        services,
        prefixes,
        names_by_dnsmasq: fragment.open.names_by_dnsmasq.unwrap_or(false),
        hostapd_directory: fragment.hostapd.directory.unwrap_or_else(|| "/var/run/hostapd".into()),
        #[cfg(feature = "hostapd-conf")]
        hostapd_config: fragment.hostapd.config.unwrap_or_default(),
        vendor_elements,
        beacon_every: fragment.beacon.enabled.unwrap_or(true).then_some(every),
        messages: fragment.messages.enabled.unwrap_or(true),
        interworking,
        lease_file: fragment.dhcp.lease_file.unwrap_or_else(|| "/var/lib/misc/dnsmasq.leases".into()),
        coordinator,
        #[cfg(feature = "ubus")]
        ubus: fragment
            .ubus
            .enabled
            .unwrap_or(true)
            .then(|| fragment.ubus.socket.unwrap_or_else(|| UBUS_SOCKET.into())),
        #[cfg(feature = "radius")]
        radius,
        #[cfg(feature = "portal")]
        portal,
        #[cfg(feature = "trade")]
        shop,
    })
}

fn interworking(fragment: InterworkingFragment, wrong: Wrong<'_>) -> Result<Interworking, ConfigError> {
    let language = fragment.language.unwrap_or_else(|| "eng".to_owned());
    let venue_name = fragment.venue_name.map(|name| {
        let found = format!("{} in {}", quoted(&name), quoted(&language));
        let allowed = "1 to 252 octets without control characters, and a language such as \"eng\"";
        VenueName::new(&language, &name).ok_or_else(|| wrong("interworking.venue_name", &found, allowed))
    });
    let venue_url = fragment.venue_url.map(|url| {
        let allowed = "an http or https URL of at most 254 ASCII characters";
        VenueUrl::new(&url).ok_or_else(|| wrong("interworking.venue_url", &quoted(&url), allowed))
    });
    Ok(Interworking {
        network: fragment.network,
        internet: fragment.internet.unwrap_or(true),
        venue: fragment.venue,
        hessid: fragment.hessid,
        venue_name: venue_name.transpose()?,
        venue_url: venue_url.transpose()?,
    })
}

/// The octets, or what is wrong with them.
fn check_vendor_elements(text: &str) -> Result<Vec<u8>, String> {
    let octets = unhex(text).ok_or_else(|| quoted(&text.chars().take(80).collect::<String>()))?;
    if octets.len() > MOST_VENDOR_OCTETS {
        return Err(format!("{} octets", octets.len()));
    }
    let elements = beacon::elements(&octets).map_err(|error| error.to_string())?;
    match elements.iter().any(|element| matches!(element, beacon::Element::Beacon(_))) {
        true => Err("an element of ours, which the gateway adds itself".to_owned()),
        false => Ok(octets),
    }
}

/// What the kernel takes as a name (dev_valid_name in net/core/dev.c).
fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name
            .contains(|char: char| char == '/' || char == ':' || char.is_whitespace() || char.is_control())
}

/// Directly in the runtime directory, by a name that hostapd's configuration takes and no file of ours has.
fn is_code_file(file: &Path, runtime_dir: &Path, ending: &str) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    file.as_os_str() == runtime_dir.join(name).as_os_str()
        && file.to_str().is_some_and(|path| path.bytes().all(|byte| byte.is_ascii_graphic()))
        && name.len() > ending.len()
        && name.ends_with(ending)
}

fn parse_service(text: &str) -> Option<(u8, u16)> {
    let (protocol, port) = text.split_once('/')?;
    let protocol = match protocol {
        "tcp" => 6,
        "udp" => 17,
        _ => return None,
    };
    port.parse().ok().filter(|port| *port != 0).map(|port| (protocol, port))
}

fn parse_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address.parse().ok()?, length.parse().ok()?),
        None => {
            let address: IpAddr = text.parse().ok()?;
            (address, if address.is_ipv4() { 32 } else { 128 })
        }
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    (length <= most).then_some((address, length))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_is_enough() {
        let settings = check(Path::new("g.toml"), "[[network]]\ninterface = \"br-guest\"\n").unwrap();
        assert_eq!(settings.networks[0].credential, Credential::Open);
        assert_eq!(settings.services, [(17, 53), (6, 53), (6, 80)]);
        assert_eq!(settings.layout, LayoutChoice::Auto);
    }

    #[test]
    fn whoever_wants_dbus_has_it_or_is_told() {
        let check = |dbus: &str| {
            let text = format!("{dbus}\n[[network]]\ninterface = \"br-guest\"\n");
            check(Path::new("g.toml"), &text).map(|settings| settings.dbus).map_err(|error| error.to_string())
        };
        let has = cfg!(feature = "dbus");
        assert_eq!(check(""), Ok(has));
        assert_eq!(check("dbus = false"), Ok(false));
        let missing =
            "g.toml:1: dbus: found true; allowed: false: this program was built without D-Bus".to_owned();
        assert_eq!(check("dbus = true"), if has { Ok(true) } else { Err(missing) });
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let network = "[[network]]\ninterface = \"br-guest\"\n";
        for (text, wanted) in [
            ("", "network: found none"),
            (
                "name = \"a\\nb\"\n[[network]]\ninterface = \"x\"",
                "g.toml:1: name: found 3 bytes: a\\nb; allowed: at most 64",
            ),
            (
                "[[network]]\ninterface = \"br/guest\"",
                "g.toml:2: network.0.interface: found \"br/guest\"; allowed: an interface name",
            ),
            (
                &format!("{network}{network}"),
                "network.1.interface: found \"br-guest\"; allowed: an interface that no other",
            ),
            (
                &format!("{network}passphrase = \"short\""),
                "g.toml:3: network.0.passphrase: found 5 bytes; allowed: 8 to 63",
            ),
            (
                &format!("{network}[open]\nservices = [\"dns\"]"),
                "g.toml:4: open.services.0: found \"dns\"; allowed: a service",
            ),
            (
                &format!("{network}[open]\nprefixes = [\"10.0.0.0/33\"]"),
                "g.toml:4: open.prefixes.0: found \"10.0.0.0/33\"",
            ),
            (&format!("{network}[enforcement]\nlayout = \"inet\""), "g.toml:4: enforcement.layout: found"),
            (
                &format!("{network}[hostapd]\nvendor_elements = \"dd0411\""),
                "g.toml:4: hostapd.vendor_elements: found the element at octet 0 is truncated",
            ),
            (
                &format!("{network}[hostapd]\nvendor_elements = \"dd 04\""),
                "g.toml:4: hostapd.vendor_elements: found \"dd 04\"; allowed: hexadecimal",
            ),
            (
                &format!("{network}[beacon]\ninterval = \"1s\""),
                "g.toml:4: beacon.interval: found \"1s\"; allowed: \"10s\" to \"1h\"",
            ),
            (&format!("{network}[interworking]\nnetwork = \"free\""), "g.toml:4: interworking.network: "),
            (
                &format!("{network}[interworking]\nnetwork = \"test\"\nvenue_url = \"ftp://x\""),
                "g.toml:5: interworking.venue_url: found \"ftp://x\"; allowed: an http or https URL",
            ),
            (
                &format!("{network}[interworking]\nnetwork = \"test\"\nvenue_name = \"a\\tb\""),
                "g.toml:5: interworking.venue_name: found \"a\\tb\" in \"eng\"; allowed: 1 to 252",
            ),
            (
                &format!("{network}[beacon]\nenabled = false\n[interworking]\nnetwork = \"test\""),
                "g.toml:4: beacon.enabled: found false; allowed: true",
            ),
            (&format!("{network}colour = \"red\""), "g.toml:3: network.0.colour"),
            (
                "state_dir = \"var\"\n[[network]]\ninterface = \"x\"",
                "g.toml:1: state_dir: found \"var\"; allowed: an absolute path",
            ),
        ] {
            let error = check(Path::new("g.toml"), text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}\nwanted: {wanted}");
        }
    }

    /// `tests/golden_uci.rs` says what a case is.
    #[cfg(feature = "uci")]
    #[test]
    fn both_readers_give_the_same_fragment() {
        use crate::config::uci::Document;
        let mut seen = 0;
        for case in std::fs::read_dir("tests/golden/uci").unwrap() {
            let text = std::fs::read_to_string(case.unwrap().path()).unwrap();
            let part = |name: &str| {
                let (_, rest) = text.split_once(&format!("-- {name}\n"))?;
                Some(rest.split("\n-- ").next().unwrap_or(rest))
            };
            let (Some(uci), Some(toml)) = (part("uci"), part("toml")) else { continue };
            let fragment: Fragment =
                Document::read(Path::new("w"), uci.as_bytes()).unwrap().fragment().unwrap();
            assert_eq!(fragment, parse(Path::new("w.toml"), toml).unwrap(), "{uci}");
            seen += 1;
        }
        assert!(seen > 3);
    }

    #[test]
    fn codes_have_a_file_of_their_own_in_memory() {
        let network = |number: u8, file: &str| {
            format!("[[network]]\ninterface = \"br{number}\"\nwpa_psk_file = \"{file}\"\n")
        };
        let check = |text: &str| check(Path::new("g.toml"), text).map_err(|error| error.to_string());
        let settings = check(&network(0, "/run/wayleave/guest.psk")).unwrap();
        assert_eq!(settings.networks[0].wpa_psk_file.as_deref(), Some(Path::new("/run/wayleave/guest.psk")));
        check(&format!("runtime_dir = \"/tmp/x\"\n{}", network(0, "/tmp/x/guest.psk"))).unwrap();
        for bad in [
            "guest.psk",
            "/etc/hostapd/guest.psk",
            "/run/wayleave/a b.psk",
            "/run/wayleave/running.json",
            "/run/wayleave/.psk",
            "/run/wayleave/../x.psk",
            "/run/wayleave/a/x.psk",
            "/run/wayleave/x.psk/",
        ] {
            let error = check(&network(0, bad)).unwrap_err();
            let wanted =
                format!("g.toml:3: network.0.wpa_psk_file: found \"{bad}\"; allowed: a file in runtime_dir");
            assert!(error.starts_with(&wanted), "{error}");
        }
        let twice = network(0, "/run/wayleave/x.psk") + &network(1, "/run/wayleave/x.psk");
        assert!(check(&twice).unwrap_err().contains("network.1.wpa_psk_file"));
        let eap = "eap = { method = \"MD5\", identity = \"a\", password = \"b\" }\n";
        let error = check(&(network(0, "/run/wayleave/x.psk") + eap)).unwrap_err();
        assert!(error.contains("either wpa_psk_file or eap"), "{error}");
    }

    #[test]
    fn a_passphrase_is_never_repeated() {
        let text = "[[network]]\ninterface = \"x\"\npassphrase = \"sh\\nhh\"";
        let error = check(Path::new("g.toml"), text).unwrap_err().to_string();
        assert!(!error.contains("hh"), "{error}");
    }
}
