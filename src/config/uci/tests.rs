//! Damage of every kind that only the schema sees, with what is said of it. `read.rs` has that of the text, and
//! `tests/golden_uci.rs` what is right.

use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::config::duration::Span;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Fragment {
    name: Option<String>,
    state_dir: Option<String>,
    #[serde(default)]
    network: Vec<Network>,
    #[serde(default)]
    open: Open,
    radius: Option<Radius>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Network {
    interface: String,
    ssid: Option<crate::model::Ssid>,
    eap: Option<Eap>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Eap {
    method: String,
    identity: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Open {
    services: Option<Vec<String>>,
    ports: Option<Vec<u16>>,
    names: Option<bool>,
    every: Option<Span>,
    pair: Option<(u8, u8)>,
    kind: Option<Kind>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    WideOpen,
    Ajar,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Radius {
    tries: Option<u32>,
    #[serde(default)]
    server: Vec<Network>,
}

fn read(text: &str) -> Result<Fragment, String> {
    let document = Document::read(Path::new("w"), text.as_bytes()).map_err(|error| error.to_string())?;
    document.fragment().map_err(|error| error.to_string())
}

#[test]
fn sections_and_options_become_tables_and_keys() {
    let fragment = read(
        "config gateway\n option name 'Corner Café'\n option enabled 1\n\
         config network guest\n option interface br-guest\n option eap_method MD5\n option eap_identity a\n\
         config network\n option interface br-b\n\
         config open\n list services udp/53\n list services tcp/53\n option ports '1 2'\n option names off\n \
         option every 5m\n option pair '1 7'\n option kind wide-open\n\
         config radius_server\n option interface x\nconfig radius r\n option tries 2\n",
    )
    .unwrap();
    assert_eq!(fragment.name.as_deref(), Some("Corner Café"));
    assert_eq!(fragment.network.len(), 2);
    assert_eq!(fragment.network[0].eap.as_ref().unwrap().method, "MD5");
    assert_eq!(fragment.open.services.unwrap(), ["udp/53", "tcp/53"]);
    assert_eq!((fragment.open.ports.unwrap(), fragment.open.names), (vec![1, 2], Some(false)));
    assert_eq!(
        (fragment.open.pair, fragment.open.every.unwrap().to_string()),
        (Some((1, 7)), "5m".to_owned())
    );
    assert!(matches!(fragment.open.kind, Some(Kind::WideOpen)));
    let radius = fragment.radius.unwrap();
    assert_eq!((radius.tries, radius.server.len()), (Some(2), 1));
    assert!(read("").unwrap().network.is_empty());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let guest = "config network guest\n option interface x\n";
    for (text, wanted) in [
        (
            &*format!("{guest} option sid y\n"),
            "w:3: guest.sid: found an unknown option; allowed: `interface`, `ssid`, `eap_method`, `eap_identity`, \
             `eap_password`; the nearest is `ssid`",
        ),
        (
            &format!("{guest} option colour y\n"),
            "w:3: guest.colour: found an unknown option; allowed: `interface`",
        ),
        (
            &format!("{guest} option eap y\n"),
            "w:3: guest.eap: found an unknown option; allowed: `interface`, `ssid`",
        ),
        (
            "config gateway\n option network y\n",
            "w:2: @gateway[0].network: found an unknown option; allowed: `name`, `state_dir`, `enabled`",
        ),
        ("config radius a\n option server y\n", "w:2: a.server: found an unknown option; allowed: `tries`"),
        (
            "config network\n",
            "w:1: @network[0].interface: found nothing; allowed: a value; this option must be",
        ),
        (
            &format!("{guest} option eap_method y\n"),
            "w:1: guest.eap_identity: found nothing; allowed: a value; this option must be given",
        ),
        (
            "config netwrok\n",
            "w:1: found config \"netwrok\"; allowed: `gateway`, `network`, `enforcement`, `open`, `hostapd`, \
             `beacon`, `messages`, `interworking`, `directory`, `dhcp`, `coordinator`, `ubus`, `radius`, `radius_server`, \
             `portal`, `trade`, `tariff`; \
             the nearest is `network`",
        ),
        (
            "config open\nconfig open b\n",
            "w:2: found a second config open; allowed: one section of this type; line 1",
        ),
        ("config open\n option names maybe\n", "w:2: @open[0].names: found \"maybe\"; allowed: 1 or 0"),
        ("config open\n option ports 'a'\n", "w:2: @open[0].ports: found \"a\"; allowed: u16"),
        (
            "config open\n list ports 1\n list ports 70000\n",
            "w:3: @open[0].ports: found \"70000\"; allowed: u16",
        ),
        ("config open\n option pair '1'\n", "w:2: @open[0].pair: found 1 values; allowed: a tuple of size 2"),
        ("config open\n option every 5\n", "w:2: @open[0].every: found \"5\"; allowed: a duration such as"),
        (
            "config open\n option kind ajr\n",
            "w:2: @open[0].kind: found \"ajr\"; allowed: `wide-open`, `ajar`; the nearest is `ajar`",
        ),
        (
            "config gateway\n list name a\n list name b\n",
            "w:2: @gateway[0].name: found a list; allowed: a string",
        ),
        (&format!("{guest} option ssid {}\n", "x".repeat(33)), "w:3: guest.ssid: found"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(wanted), "{error}\nwanted: {wanted}");
    }
}

#[test]
fn a_check_names_the_option_of_a_key() {
    let text = "config open\n list services a\n list services b\nconfig network guest\n option interface x\n \
                option eap_method y\n";
    let document = Document::read(Path::new("w"), text.as_bytes()).unwrap();
    for (key, wanted) in [
        ("network.0.interface", "w:5: guest.interface:"),
        ("network.0.eap.method", "w:6: guest.eap_method:"),
        ("network.0.passphrase", "w:4: guest.passphrase:"),
        ("open.services.1", "w:3: @open[0].services:"),
        ("open.prefixes", "w:1: @open[0].prefixes:"),
        ("beacon.enabled", "w: beacon:"),
        ("name", "w: gateway.name:"),
    ] {
        let error = document.invalid(key, "b", "a").to_string();
        assert!(error.starts_with(wanted), "{error}\nwanted: {wanted}");
    }
}
