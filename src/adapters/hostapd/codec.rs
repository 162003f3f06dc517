//! hostapd's answers and events as words of ours. Pure; strict where it decides, tolerant of more lines.
//!
//! The formats are those of hostapd 2.10, `src/ap/ctrl_iface_ap.c` and `hostapd/ctrl_iface.c`.

use std::time::Duration;

use super::error::HostapdError;
use super::{BssInfo, StationInfo, StationState};
use crate::adapters::wpa_ctrl::{Event, Reply, printf_decode};
use crate::model::{MacAddr, Ssid};

/// What an event of one BSS says to us.
#[derive(Debug, PartialEq, Eq)]
pub enum BssEvent {
    /// `AP-STA-CONNECTED`: associated and, where there are keys, authorised.
    Connected { station: MacAddr, keyid: Option<String> },
    /// `AP-STA-DISCONNECTED`
    Disconnected { station: MacAddr },
    /// `AP-STA-POLL-OK`: it has acknowledged the frame of `POLL_STA`.
    Answered { station: MacAddr },
    /// `AP-ENABLED`: begins to serve, perhaps by another name.
    Enabled,
    /// `AP-DISABLED`: serves nobody any more; hostapd goes on.
    Disabled,
}

/// `None`: nothing that concerns us, or a station that is none.
pub fn event(event: &Event) -> Option<BssEvent> {
    // Only the words of fixed place: whatever a station can write stands behind them.
    let mut words = event.words();
    let (name, mac, third) = (words.next()?, words.next(), words.next());
    let station = mac.and_then(|mac| mac.parse().ok()).filter(|mac: &MacAddr| mac.is_station());
    match name {
        "AP-STA-CONNECTED" => {
            let keyid = third.and_then(|word| word.strip_prefix("keyid="));
            Some(BssEvent::Connected { station: station?, keyid: keyid.map(str::to_owned) })
        }
        "AP-STA-DISCONNECTED" => Some(BssEvent::Disconnected { station: station? }),
        "AP-STA-POLL-OK" => Some(BssEvent::Answered { station: station? }),
        "AP-ENABLED" => Some(BssEvent::Enabled),
        "AP-DISABLED" => Some(BssEvent::Disabled),
        _ => None,
    }
}

/// Whether `STATUS` says that the interface serves.
pub fn is_enabled(status: &Reply) -> Result<bool, HostapdError> {
    match status.value("state") {
        Some(state) => Ok(state == "ENABLED"),
        None => Err(HostapdError::garbled("STATUS", "a state", status.as_bytes())),
    }
}

/// What `GET_CONFIG` says of the BSS on this interface.
pub fn config(name: String, reply: &Reply) -> Result<BssInfo, HostapdError> {
    let garbled = |expected| HostapdError::garbled("GET_CONFIG", expected, reply.as_bytes());
    let bssid = reply.value("bssid").and_then(|bssid| bssid.parse().ok());
    let ssid = reply.value("ssid").and_then(|ssid| Ssid::new(printf_decode(ssid.as_bytes())?).ok());
    let key_mgmt = reply.value("key_mgmt").unwrap_or_default();
    Ok(BssInfo {
        name,
        bssid: bssid.ok_or_else(|| garbled("a BSS address"))?,
        ssid: ssid.ok_or_else(|| garbled("an SSID"))?,
        key_mgmt: key_mgmt.split_ascii_whitespace().map(str::to_owned).collect(),
    })
}

/// Whether a list of addresses (`DENY_ACL SHOW`: one a line, and its VLAN behind it) has this one.
pub fn lists(reply: &Reply, station: MacAddr) -> bool {
    let addresses = reply.lines().filter_map(|line| line.split(|byte| *byte == b' ').next());
    addresses
        .filter_map(|address| std::str::from_utf8(address).ok()?.parse().ok())
        .any(|mac: MacAddr| mac == station)
}

/// `dot1xAuthPaeState` of a station that has proved the name it said last (IEEE 802.1X-2004, 8.2.4; hostapd's
/// `eapol_auth_sm_i.h`).
const AUTHENTICATED: u64 = 5;

/// The station in a reply to `STA`, `STA-FIRST` or `STA-NEXT`; `None` where that says there is none.
pub fn station(command: &'static str, reply: &Reply) -> Result<Option<StationInfo>, HostapdError> {
    let bytes = reply.as_bytes();
    if bytes.is_empty() || bytes == b"FAIL" {
        return Ok(None);
    }
    let garbled = |expected| HostapdError::garbled(command, expected, bytes);
    let first = reply.lines().next().and_then(|line| std::str::from_utf8(line).ok());
    let mac: MacAddr =
        first.and_then(|line| line.parse().ok()).ok_or_else(|| garbled("a station's address"))?;
    let flags = reply.value("flags").ok_or_else(|| garbled("a station with flags"))?;
    let number = |name: &str| reply.value(name).and_then(|value| value.parse().ok());
    let pae_state = number("dot1xAuthPaeState");
    Ok(Some(StationInfo {
        mac,
        state: StationState {
            authenticated: flags.contains("[AUTH]"),
            associated: flags.contains("[ASSOC]"),
            authorized: flags.contains("[AUTHORIZED]"),
        },
        protected: flags.contains("[MFP]"),
        inactive: number("inactive_msec").map(Duration::from_millis),
        connected: number("connected_time").map(Duration::from_secs),
        keyid: reply.value("keyid"),
        identity: reply.value("dot1xAuthSessionUserName").filter(|_| pae_state == Some(AUTHENTICATED)),
        is_asked_again: pae_state.is_some_and(|state| state != AUTHENTICATED),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::wpa_ctrl::parse_event;

    const STATION: MacAddr = MacAddr([0x02, 0xbb, 0, 0, 0, 1]);

    /// hostapd 2.10 on nl80211, WPA2 with a key of its own.
    const ON_THE_AIR: &[u8] = b"02:bb:00:00:00:01\n\
        flags=[AUTH][ASSOC][AUTHORIZED][SHORT_PREAMBLE][WMM]\n\
        aid=1\ncapability=0x431\nlisten_interval=1\nsupported_rates=02 04 0b 16\n\
        timeout_next=NULLFUNC POLL\nhostapdWPAPTKState=11\nkeyid=7f00\n\
        rx_packets=12\ntx_packets=7\nrx_bytes=1200\ntx_bytes=700\ninactive_msec=36\nsignal=-30\n\
        connected_time=4\n";

    /// hostapd 2.10, `driver=wired`, after DEAUTHENTICATE.
    const ON_THE_WAY_OUT: &[u8] = b"02:bb:00:00:00:01\nflags=\naid=0\ncapability=0x0\nlisten_interval=0\n\
        supported_rates=\ntimeout_next=REMOVE\n";

    #[test]
    fn a_name_counts_once_it_is_proved() {
        let read = |state: &str| {
            let text = format!(
                "02:bb:00:00:00:01\nflags=[AUTHORIZED]\ndot1xAuthPaeState={state}\ndot1xAuthSessionUserName=7f00\n"
            );
            let info = station("STA", &Reply::new(text.into_bytes())).unwrap().unwrap();
            (info.identity, info.is_asked_again)
        };
        assert_eq!(read("5"), (Some("7f00".into()), false));
        // CONNECTING and AUTHENTICATING: it has said a name, and is still authorised by the one before.
        assert_eq!((read("3"), read("4")), ((None, true), (None, true)));
    }

    #[test]
    fn a_station_on_the_air_is_read() {
        let info = station("STA", &reply(ON_THE_AIR)).unwrap().unwrap();
        assert_eq!(info.mac, STATION);
        assert!(info.state.is_present() && info.state.authorized && info.state.associated);
        assert_eq!(info.inactive, Some(Duration::from_millis(36)));
        assert_eq!(info.connected, Some(Duration::from_secs(4)));
        assert_eq!(info.keyid.as_deref(), Some("7f00"));
        assert!(!info.protected);
        let protected = b"02:bb:00:00:00:01\nflags=[AUTH][ASSOC][AUTHORIZED][WMM][MFP]\n";
        assert!(station("STA", &reply(protected)).unwrap().unwrap().protected);
    }

    #[test]
    fn a_station_without_flags_is_not_present() {
        let info = station("STA", &reply(ON_THE_WAY_OUT)).unwrap().unwrap();
        assert_eq!((info.state.is_present(), info.inactive, info.keyid), (false, None, None));
    }

    #[test]
    fn no_station_is_no_error_and_anything_else_is() {
        assert!(station("STA", &reply(b"FAIL\n")).unwrap().is_none());
        assert!(station("STA-FIRST", &reply(b"")).unwrap().is_none());
        for bad in [
            b"OK\n".as_slice(),
            b"UNKNOWN COMMAND\n",
            b"02:bb:00:00:00:01\n",
            b"02:bb:00:00:00\nflags=\n",
            b"\xff\xfe\nflags=\n",
            b"flags=[AUTHORIZED]\n02:bb:00:00:00:01\n",
        ] {
            let read = station("STA", &reply(bad));
            assert!(matches!(read, Err(HostapdError::Garbled { .. })), "{read:?}");
        }
    }

    #[test]
    fn a_list_of_addresses_is_read() {
        let other = MacAddr([2, 0xbb, 0, 0, 0, 2]);
        let list = reply(b"02:bb:00:00:00:01 VLAN_ID=0\n02:bb:00:00:00:03\nUNKNOWN COMMAND\n\xff\n");
        assert!(lists(&list, STATION) && !lists(&list, other) && !lists(&reply(b""), STATION));
    }

    #[test]
    fn who_comes_and_goes_is_read() {
        let read = |text: &str| event(&parse_event(format!("<3>{text}").as_bytes()).unwrap());
        let connected = |keyid: Option<&str>| {
            Some(BssEvent::Connected { station: STATION, keyid: keyid.map(str::to_owned) })
        };
        assert_eq!(read("AP-STA-CONNECTED 02:bb:00:00:00:01"), connected(None));
        assert_eq!(read("AP-STA-POLL-OK 02:bb:00:00:00:01"), Some(BssEvent::Answered { station: STATION }));
        assert_eq!(read("AP-STA-CONNECTED 02:bb:00:00:00:01 keyid=7f00"), connected(Some("7f00")));
        assert_eq!(read("AP-STA-CONNECTED 02:bb:00:00:00:01 auth_alg=open"), connected(None));
        let gone = Some(BssEvent::Disconnected { station: STATION });
        assert_eq!(read("AP-STA-DISCONNECTED 02:bb:00:00:00:01"), gone);
        assert_eq!(read("AP-ENABLED "), Some(BssEvent::Enabled));
        assert_eq!(read("AP-DISABLED "), Some(BssEvent::Disabled));
    }

    #[test]
    fn what_a_station_writes_is_no_event() {
        for text in [
            "CTRL-EVENT-EAP-STARTED AP-STA-CONNECTED 02:bb:00:00:00:01",
            "AP-STA-CONNECTED",
            "AP-STA-CONNECTED ff:ff:ff:ff:ff:ff",
            "AP-STA-CONNECTED 02:bb:00:00:00:01x",
            "AP-STA-CONNECTEDX 02:bb:00:00:00:01",
        ] {
            assert_eq!(event(&parse_event(format!("<3>{text}").as_bytes()).unwrap()), None, "{text}");
        }
    }

    #[test]
    fn a_bss_has_address_name_and_keys() {
        let config = |bytes: &[u8]| config("ap0".into(), &reply(bytes));
        let open =
            config(b"bssid=02:aa:00:00:00:01\nssid=caf\\xc3\\xa9 \\\"1\\\"\nwps_state=disabled\n").unwrap();
        assert_eq!(
            (open.bssid.to_string(), open.ssid.to_string()),
            ("02:aa:00:00:00:01".into(), "café \"1\"".into())
        );
        assert!(open.key_mgmt.is_empty() && !open.takes_codes());
        // hostapd 2.10, wpa_key_mgmt=WPA-PSK SAE.
        let keyed =
            b"bssid=02:aa:00:00:00:01\nssid=Corner\nwpa=2\nkey_mgmt=WPA-PSK SAE \ngroup_cipher=CCMP\n";
        let keyed = config(keyed).unwrap();
        assert_eq!(
            (keyed.key_mgmt.as_slice(), keyed.takes_codes()),
            (&["WPA-PSK".into(), "SAE".into()][..], true)
        );
        // On a wire.
        assert_eq!(config(b"bssid=02:aa:00:00:00:01\nssid=\n").unwrap().ssid, Ssid::default());
        for bad in [b"FAIL".as_slice(), b"bssid=02:aa:00:00:00:01\n", b"bssid=x\nssid=a\n", b"ssid=\\q\n"] {
            assert!(matches!(config(bad), Err(HostapdError::Garbled { .. })));
        }
        let long = [b"bssid=02:aa:00:00:00:01\nssid=".as_slice(), &[b'a'; 33]].concat();
        assert!(config(&long).is_err());
    }

    #[test]
    fn a_state_is_said_or_the_reply_is_garbled() {
        assert!(is_enabled(&reply(b"state=ENABLED\nphy=phy0\n")).unwrap());
        assert!(!is_enabled(&reply(b"state=DFS\n")).unwrap());
        assert!(is_enabled(&reply(b"OK\n")).is_err());
    }

    fn reply(bytes: &[u8]) -> Reply {
        Reply::new(bytes.to_vec())
    }
}
