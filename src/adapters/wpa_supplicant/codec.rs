//! wpa_supplicant's scan results, network blocks, status and events. Pure.

use super::SupplicantError;
use crate::adapters::wpa_ctrl::{Command, Event, Reply, printf_decode};
use crate::model::{Bssid, Credential, Ssid, SsidTooLong, unhex};
use crate::wire::beacon::HeardBeacon;
use crate::wire::terminal::{Joined, SeenAp};

/// What marks a network block as ours (`id_str`), so that one left behind is found again.
pub const OUR_MARK: &str = "wayleave";

/// Above whatever a person configures.
const PRIORITY: u32 = 1_000_000;

/// The first line of `SCAN_RESULTS`.
const SCAN_FIELDS: &[u8] = b"bssid / frequency / signal level / flags / ssid";

/// Why a line of `SCAN_RESULTS` is no access point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanLineError {
    /// Its name is none.
    #[error("access point {bssid}: {source}")]
    Ssid {
        /// Which.
        bssid: Bssid,
        /// What is wrong.
        source: SsidTooLong,
    },
    /// Fields are missing, or are not what they should be.
    #[error("not a line of scan results: \"{start}\"")]
    Garbled {
        /// How it begins, escaped.
        start: String,
    },
}

/// The lines of `SCAN_RESULTS`: `bssid / frequency / signal level / flags / ssid`, separated by tabs.
///
/// The daemon writes 4 096 bytes at most, some sixty networks; the last line may be cut.
pub fn scan_results(reply: &Reply) -> impl Iterator<Item = Result<SeenAp, ScanLineError>> {
    reply.lines().filter(|line| !line.is_empty() && *line != SCAN_FIELDS).map(scan_line)
}

fn scan_line(line: &[u8]) -> Result<SeenAp, ScanLineError> {
    let garbled = || ScanLineError::Garbled { start: line[..line.len().min(80)].escape_ascii().to_string() };
    let fields = || {
        let mut fields = line.splitn(5, |byte| *byte == b'\t');
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let (bssid, freq_mhz) = (Bssid(text()?.parse().ok()?), text()?.parse().ok()?);
        let (signal_dbm, _flags) = (text()?.parse().ok()?, text()?);
        // The name is the last field; the sender escapes what is not printable, tabs among it.
        Some((bssid, freq_mhz, signal_dbm, printf_decode(fields.next()?)?))
    };
    let (bssid, freq_mhz, signal_dbm, name) = fields().ok_or_else(garbled)?;
    let ssid = Ssid::new(name).map_err(|source| ScanLineError::Ssid { bssid, source })?;
    Ok(SeenAp { ssid, bssid, beacon: None, freq_mhz, signal_dbm })
}

/// Our element in a reply to `BSS`, which has them all in hexadecimal: `ie=…` of what was heard last.
pub fn beacon(reply: &Reply) -> Option<HeardBeacon> {
    let elements = reply.lines().find_map(|line| line.strip_prefix(b"ie="))?;
    HeardBeacon::find(&unhex(std::str::from_utf8(elements).ok()?)?)
}

/// The commands that turn the empty network `id` into the one of `joined`.
///
/// SSID, identity and password travel as hexadecimal; a passphrase as 64 digits or as printable ASCII in
/// quotation marks, which is all that IEEE 802.11-2020, J.4 allows in one.
pub fn network(id: u32, joined: &Joined, wired: bool, sae: bool) -> Result<Vec<Command>, SupplicantError> {
    let set = |name| Command::new("SET_NETWORK").number(id).word(name);
    // Management frames (IEEE 802.11-2020, 4.5.4.9) are protected where the network can; where it must, nobody else
    // gets in. wpa_supplicant's own default is never.
    let protected = || set("ieee80211w").number(1u32);
    let unusable = |why| SupplicantError::Unusable { why };
    let mark = set("id_str").quoted(OUR_MARK).map_err(|_| unusable("the mark is not printable"))?;
    let mut commands = vec![mark];
    if !wired {
        commands.push(set("ssid").hex(joined.ssid.as_bytes()));
        commands.push(set("bssid").mac(joined.bssid.0));
        // A hidden network answers only to its name.
        commands.push(set("scan_ssid").number(1u32));
        commands.push(set("priority").number(PRIORITY));
    }
    match (&joined.credential, wired) {
        (Credential::Open, false) => commands.push(set("key_mgmt").word("NONE")),
        (Credential::Open, true) | (Credential::Psk { .. }, true) => {
            return Err(unusable(
                "a wire that asks for nothing needs no account, and a wire takes no passphrase",
            ));
        }
        (Credential::Psk { passphrase }, false) if sae => {
            commands.push(set("key_mgmt").word("SAE"));
            commands.push(set("ieee80211w").number(2u32));
            let password = set("sae_password").quoted(passphrase.expose());
            commands.push(password.map_err(|_| unusable("a password has printable ASCII characters only"))?);
        }
        (Credential::Psk { passphrase }, false) => {
            let text = passphrase.expose();
            commands.push(set("key_mgmt").word("WPA-PSK").word("WPA-PSK-SHA256"));
            commands.push(protected());
            let is_key = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let psk = match (is_key, text.len()) {
                (true, _) => set("psk").text(text),
                (false, 8..=63) => set("psk").quoted(text),
                (false, _) => return Err(unusable("a passphrase has 8 to 63 characters")),
            };
            commands.push(psk.map_err(|_| unusable("a passphrase has printable ASCII characters only"))?);
        }
        (Credential::Eap { method, identity, password }, wired) => {
            let method = match (method.as_str(), wired) {
                ("MD5", true) => "MD5",
                ("MD5", false) => return Err(unusable("EAP-MD5 makes no keys for the air")),
                ("PWD", _) => "PWD",
                // Without a certificate to check, they give the password to whoever asks.
                ("PEAP" | "TTLS", _) => return Err(unusable("it does not say which server to trust")),
                _ => return Err(unusable("its EAP method is not known here")),
            };
            if wired {
                commands.push(set("key_mgmt").word("IEEE8021X"));
            } else {
                commands.push(set("key_mgmt").word("WPA-EAP").word("WPA-EAP-SHA256"));
                commands.push(protected());
            }
            commands.push(set("eap").word(method));
            commands.push(set("identity").hex(identity.as_bytes()));
            commands.push(set("password").hex(password.expose().as_bytes()));
            if wired {
                // No dynamic WEP keys are waited for.
                commands.push(set("eapol_flags").number(0u32));
            }
        }
    }
    Ok(commands)
}

/// Whether `BSS` says that an access point takes passwords by SAE (WPA3) and no keys of WPA2.
pub fn is_sae_alone(reply: &Reply) -> bool {
    reply.value("flags").is_some_and(|flags| flags.contains("SAE") && !flags.contains("PSK"))
}

/// A line of `LIST_NETWORKS`: `network id / ssid / bssid / flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub id: u32,
    /// Whether it is not used now.
    pub disabled: bool,
}

/// The lines of `LIST_NETWORKS`.
pub fn listed(reply: &Reply) -> Vec<Listed> {
    let line = |line: &[u8]| {
        let line = std::str::from_utf8(line).ok()?;
        let mut fields = line.split('\t');
        let id = fields.next()?.parse().ok()?;
        Some(Listed { id, disabled: fields.nth(2).unwrap_or_default().contains("[DISABLED]") })
    };
    reply.lines().filter_map(line).collect()
}

/// Whether `STATUS` says that packets pass through network `id`.
pub fn carries(status: &Reply, id: u32) -> bool {
    let value = |name| status.value(name);
    value("id").and_then(|text| text.parse().ok()) == Some(id)
        && value("wpa_state").as_deref() == Some("COMPLETED")
        // Where 802.1X guards the port: absent otherwise.
        && (value("key_mgmt").as_deref() != Some("IEEE 802.1X (no WPA)")
            || value("suppPortStatus").as_deref() == Some("Authorized"))
}

/// What an event of wpa_supplicant means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A scan is over; its results can be read.
    Scanned,
    /// The connection may have changed: ask for the status.
    Changed,
    /// The account was refused.
    Refused,
    /// Nothing.
    Nothing,
}

/// What `event` means to those who wait for network `id`.
pub fn meaning(event: &Event, id: Option<u32>) -> Meaning {
    match event.name() {
        "CTRL-EVENT-SCAN-RESULTS" | "CTRL-EVENT-SCAN-FAILED" => Meaning::Scanned,
        "CTRL-EVENT-CONNECTED" | "CTRL-EVENT-DISCONNECTED" | "CTRL-EVENT-EAP-SUCCESS" => Meaning::Changed,
        "CTRL-EVENT-EAP-FAILURE" => Meaning::Refused,
        "CTRL-EVENT-SSID-TEMP-DISABLED" => {
            let named = event.value("id").and_then(|text| text.parse().ok());
            let refused = matches!(event.value("reason"), Some("WRONG_KEY" | "AUTH_FAILED"));
            if refused && named.is_some() && named == id { Meaning::Refused } else { Meaning::Nothing }
        }
        _ => Meaning::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::wpa_ctrl::parse_event;
    use crate::model::{Incarnation, MacAddr, Millis, Secret, ServiceId, SessionId};

    #[test]
    fn scan_results_as_written() {
        let reply = Reply::new(
            br#"bssid / frequency / signal level / flags / ssid
02:00:00:00:01:00	2412	-41	[WPA2-PSK-CCMP][ESS]	Corner
02:00:00:00:02:00	5180	-70	[ESS]	caf\xc3\xa9 \"x\"\\
02:00:00:00:03:00	2437	-55	[ESS]	a\n02:00:00:00:09:00\t2412\t-1\t[ESS]\tforged|\x00\e[2J
02:00:00:00:04:00	2437	-56	[ESS]	
02:00:00:00:05:00	2437	-56	[ESS]	123456789012345678901234567890123
02:00:00:00:09:00	2437	-56	[ESS]	\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff
02:00:00:00:06:00	2437	loud	[ESS]	b
02:00:00:00:07:00	2437	-56	[ESS]	bad\q
02:00:00:00:08:00	2437
"#
            .to_vec(),
        );
        let (seen, wrong): (Vec<_>, Vec<_>) = scan_results(&reply).partition(Result::is_ok);
        let seen: Vec<SeenAp> = seen.into_iter().flatten().collect();
        let wrong: Vec<String> = wrong.into_iter().map(|line| line.unwrap_err().to_string()).collect();
        let names: Vec<&[u8]> = seen.iter().map(|ap| ap.ssid.as_bytes()).collect();
        assert_eq!(names, [b"Corner".as_slice(), b"caf\xc3\xa9 \"x\"\\", b"", &[0xff; 32]]);
        assert_eq!(
            wrong,
            [
                "access point 02:00:00:00:03:00: an SSID has at most 32 octets, this one has 46",
                "access point 02:00:00:00:05:00: an SSID has at most 32 octets, this one has 33",
                r#"not a line of scan results: "02:00:00:00:06:00\t2437\tloud\t[ESS]\tb""#,
                r#"not a line of scan results: "02:00:00:00:07:00\t2437\t-56\t[ESS]\tbad\\q""#,
                r#"not a line of scan results: "02:00:00:00:08:00\t2437""#,
            ]
        );
        assert_eq!((seen[1].freq_mhz, seen[1].signal_dbm), (5180, -70));
        assert_eq!(seen[2].bssid.to_string(), "02:00:00:00:04:00");
        let short = Reply::new(b"02:00:00:00:03:00\t2437\t-55\t[ESS]\ta\\n|\\x00\\e\\t".to_vec());
        assert_eq!(scan_results(&short).next().unwrap().unwrap().ssid.as_bytes(), b"a\n|\0\x1b\t");
        let noise: Vec<_> = scan_results(&Reply::new(vec![0xff; 4096])).collect();
        assert_eq!(noise, [Err(ScanLineError::Garbled { start: r"\xff".repeat(80) })]);
        assert_eq!(scan_results(&Reply::new(Vec::new())).count(), 0);
    }

    #[test]
    fn a_network_on_the_air() {
        let psk = Credential::Psk { passphrase: Secret::new("correct \"horse\"") };
        assert_eq!(
            lines(&joined(psk), false),
            [
                "SET_NETWORK 7 id_str \"wayleave\"",
                "SET_NETWORK 7 ssid 610a7c00",
                "SET_NETWORK 7 bssid 02:00:00:00:01:00",
                "SET_NETWORK 7 scan_ssid 1",
                "SET_NETWORK 7 priority 1000000",
                "SET_NETWORK 7 key_mgmt WPA-PSK WPA-PSK-SHA256",
                "SET_NETWORK 7 ieee80211w 1",
                "SET_NETWORK 7 psk \"correct \"horse\"\"",
            ]
        );
        let key = "0123456789abcdef".repeat(4);
        let psk = Credential::Psk { passphrase: Secret::new(&*key) };
        assert_eq!(lines(&joined(psk), false)[7], format!("SET_NETWORK 7 psk {key}"));
        assert_eq!(lines(&joined(Credential::Open), false)[5], "SET_NETWORK 7 key_mgmt NONE");
    }

    #[test]
    fn a_network_on_a_wire() {
        assert_eq!(
            lines(&joined(eap("MD5", "us\ner")), true),
            [
                "SET_NETWORK 7 id_str \"wayleave\"",
                "SET_NETWORK 7 key_mgmt IEEE8021X",
                "SET_NETWORK 7 eap MD5",
                "SET_NETWORK 7 identity 75730a6572",
                "SET_NETWORK 7 password 70617373",
                "SET_NETWORK 7 eapol_flags 0",
            ]
        );
    }

    #[test]
    fn an_account_that_cannot_be_handed_over_is_refused() {
        let psk = |text: &str| Credential::Psk { passphrase: Secret::new(text) };
        for (credential, wired) in [
            (psk("short"), false),
            (psk(&"x".repeat(64)), false),
            (psk("a new\nline here"), false),
            (psk("caf\u{e9} caf\u{e9} caf\u{e9}"), false),
            (psk("long enough"), true),
            (Credential::Open, true),
            (eap("MD5", "user"), false),
            (eap("PEAP", "user"), false),
            (eap("MD5\nREMOVE_NETWORK all", "user"), true),
        ] {
            let refused = network(7, &joined(credential.clone()), wired, false);
            assert!(matches!(refused, Err(SupplicantError::Unusable { .. })), "{credential:?}");
        }
    }

    #[test]
    fn where_sae_is_the_only_way_a_password_is_one_of_wpa3() {
        let says = |flags: &str| is_sae_alone(&Reply::new(format!("id=0\nflags={flags}\n").into_bytes()));
        assert!(says("[WPA2-SAE-CCMP][ESS]"));
        assert!(!says("[WPA2-PSK+SAE-CCMP][ESS]") && !says("[WPA2-PSK-CCMP][ESS]") && !says("[ESS]"));
        let digits = "5a".repeat(32);
        let joined = joined(Credential::Psk { passphrase: Secret::new(&digits) });
        let commands = network(7, &joined, false, true).unwrap();
        let lines: Vec<&str> =
            commands.iter().map(|command| std::str::from_utf8(command.as_bytes()).unwrap()).collect();
        let last = format!("SET_NETWORK 7 sae_password \"{digits}\"");
        assert_eq!(lines[5..], ["SET_NETWORK 7 key_mgmt SAE", "SET_NETWORK 7 ieee80211w 2", &last]);
    }

    #[test]
    fn status_and_lists_as_captured() {
        // driver=wired, EAP-MD5, wpa_supplicant 2.10.
        let status = "bssid=01:80:c2:00:00:03\nfreq=0\nssid=\nid=0\nmode=station\npairwise_cipher=NONE\n\
            group_cipher=NONE\nkey_mgmt=IEEE 802.1X (no WPA)\nwpa_state=COMPLETED\naddress=02:bb:00:00:00:01\n\
            Supplicant PAE state=AUTHENTICATED\nsuppPortStatus=Authorized\nEAP state=SUCCESS\n";
        let reply = |text: &str| Reply::new(text.into());
        assert!(carries(&reply(status), 0));
        assert!(!carries(&reply(status), 1));
        assert!(!carries(&reply(&status.replace("Authorized", "Unauthorized")), 0));
        assert!(!carries(&reply(&status.replace("COMPLETED", "ASSOCIATED")), 0));
        assert!(carries(&reply("id=3\nkey_mgmt=WPA2-PSK\nwpa_state=COMPLETED\n"), 3));
        assert!(!carries(&reply("wpa_state=DISCONNECTED\n"), 0));

        let list = reply(
            "network id / ssid / bssid / flags\n0\thome\tany\t[CURRENT]\n1\t\tany\t[DISABLED]\n2\tb\tany\t\n",
        );
        let listed: Vec<(u32, bool)> = listed(&list).into_iter().map(|row| (row.id, row.disabled)).collect();
        assert_eq!(listed, [(0, false), (1, true), (2, false)]);
    }

    #[test]
    fn events_as_captured() {
        for (line, expected) in [
            ("<3>CTRL-EVENT-SCAN-RESULTS ", Meaning::Scanned),
            (
                "<3>CTRL-EVENT-CONNECTED - Connection to 01:80:c2:00:00:03 completed [id=0 id_str=]",
                Meaning::Changed,
            ),
            ("<3>CTRL-EVENT-EAP-SUCCESS EAP authentication completed successfully", Meaning::Changed),
            ("<3>CTRL-EVENT-EAP-FAILURE EAP authentication failed", Meaning::Refused),
            ("<3>CTRL-EVENT-DISCONNECTED bssid=02:00:00:00:01:00 reason=4", Meaning::Changed),
            (
                "<3>CTRL-EVENT-SSID-TEMP-DISABLED id=7 ssid=\"a\" auth_failures=1 duration=10 reason=WRONG_KEY",
                Meaning::Refused,
            ),
            (
                "<3>CTRL-EVENT-SSID-TEMP-DISABLED id=8 ssid=\"a\" auth_failures=1 duration=10 reason=WRONG_KEY",
                Meaning::Nothing,
            ),
            ("<3>CTRL-EVENT-BSS-ADDED 0 02:00:00:00:01:00", Meaning::Nothing),
        ] {
            assert_eq!(meaning(&parse_event(line.as_bytes()).unwrap(), Some(7)), expected, "{line}");
        }
    }

    fn lines(joined: &Joined, wired: bool) -> Vec<String> {
        let commands = network(7, joined, wired, false).unwrap();
        commands.iter().map(|command| String::from_utf8(command.as_bytes().to_vec()).unwrap()).collect()
    }

    fn eap(method: &str, identity: &str) -> Credential {
        Credential::Eap { method: method.into(), identity: identity.into(), password: Secret::new("pass") }
    }

    fn joined(credential: Credential) -> Joined {
        Joined {
            code: None,
            ssid: Ssid::new(b"a\n|\0".as_slice()).unwrap(),
            ahead: None,
            bssid: Bssid(MacAddr([2, 0, 0, 0, 1, 0])),
            request: 1,
            service: ServiceId([4; 16]),
            session: SessionId([5; 16]),
            heartbeat: Millis(1),
            credential,
            incarnation: Incarnation(1),
        }
    }
}
