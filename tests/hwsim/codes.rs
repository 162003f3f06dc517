//! Codes on the air: made, typed into a station, looked up.

use serde_json::{Value, json};

use super::stage::{SSID, Script, Stage};
use super::support::frame::{Mac, mac_text};
use super::support::lab;
use super::support::wait::{SOON, wait_until};

/// A grant by code.
#[derive(Debug)]
pub struct Coded {
    /// Its id.
    pub grant: String,
    /// The 64 digits.
    pub digits: String,
}

impl Stage {
    /// A stage whose grants have codes: these access points, so many stations.
    #[track_caller]
    pub fn with_codes(scenario: &str, access_points: &[&str], stations: u16) -> Self {
        Self::play(Script { scenario, access_points, stations, codes: true, ..Script::default() })
    }

    /// Makes a code with a quota.
    #[track_caller]
    pub fn code(&self, quota: u64) -> Coded {
        let granted = self.gateway.ask(json!({"verb": "grant-code", "quota": quota}));
        let text = |key: &str| granted[key].as_str().expect("text").to_owned();
        let (grant, digits) = (text("id"), text("code"));
        let wifi = format!("WIFI:T:WPA;S:{SSID};P:{digits};;");
        assert_eq!(granted["networks"], json!([{"ssid": SSID, "wifi": wifi}]));
        Coded { grant, digits }
    }

    /// Lets a station connect with a code; not waited for. As `WIFI:` has it: digits, no passphrase.
    #[track_caller]
    pub fn type_in(&self, station: usize, code: &Coded) {
        self.select(station, SSID, &[&format!("psk {}", code.digits)]);
    }

    /// Lets a station join with a code, until packets pass.
    #[track_caller]
    pub fn join(&self, station: usize, code: &Coded) {
        self.type_in(station, code);
        self.wait_associated(station, 0);
        assert!(self.lab.stations[station].reaches(lab::INTERNET_V4), "its code lets it in");
    }

    /// The row of a grant; null once it is over.
    pub fn row(&self, code: &Coded) -> Value {
        let rows = self.grants();
        rows.into_iter().find(|row| row["id"] == code.grant.as_str()).unwrap_or_default()
    }

    /// Bytes used of a grant.
    pub fn used(&self, code: &Coded) -> u64 {
        let moved = &self.row(code)["moved"];
        moved["up_bytes"].as_u64().expect("a number") + moved["down_bytes"].as_u64().expect("a number")
    }

    /// Waits until a grant has this station.
    #[track_caller]
    pub fn wait_station(&self, code: &Coded, mac: Mac) {
        wait_until("the grant to have the station", SOON, || self.row(code)["station"] == mac_text(mac));
    }

    /// Evicts whoever has a code; the report.
    #[track_caller]
    pub fn evict(&self, code: &Coded) -> Value {
        self.gateway.ask(json!({"verb": "evict", "target": {"grant": code.grant}}))["report"].clone()
    }

    /// How often the access points have told a station that it is one too many (reason 46, IEEE 802.11-2020,
    /// table 9-49).
    pub fn turned_away(&self, mac: Mac) -> usize {
        let said = self.air.frames().into_iter().filter_map(|frame| frame.deauthentication());
        said.filter(|said| said.to == mac && said.reason == Some(46)).count()
    }
}
