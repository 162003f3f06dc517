//! A radio of somebody who belongs to no network and sends what they like on channel 1.

use super::air::Radio;
use super::support::frame::{BROADCAST, Mac, RawPort};
use super::support::lab;
use super::support::netns::Netns;

/// It. Frames go out as they are.
pub struct Forger {
    port: RawPort,
    _netns: Netns,
}

impl Forger {
    /// With this radio.
    #[track_caller]
    pub fn new(radio: &Radio) -> Self {
        let netns = Netns::new("forger");
        radio.move_to(&netns, lab::STATION);
        netns.run(&format!("iw dev {} set type monitor", lab::STATION));
        netns.ip(&format!("link set {} up", lab::STATION));
        netns.run(&format!("iw dev {} set freq 2412", lab::STATION));
        Self { port: RawPort::open(&netns, lab::STATION, 3), _netns: netns }
    }

    /// A deauthentication. Reason 7: a class 3 frame from a station that is not associated.
    #[track_caller]
    pub fn deauthenticate(&self, to: Mac, from: Mac, bssid: Mac) {
        self.send(0xc0, to, from, bssid, &7_u16.to_le_bytes());
    }

    /// An open authentication (IEEE 802.11-2020, 9.3.3.11).
    #[track_caller]
    pub fn authenticate(&self, bssid: Mac, from: Mac) {
        self.send(0xb0, bssid, from, bssid, &[0, 0, 1, 0, 0, 0]);
    }

    /// A request to associate with a network (9.3.3.5) by WPA2 with a key and protected frames, as any station of it may say.
    #[track_caller]
    pub fn associate(&self, bssid: Mac, from: Mac, ssid: &[u8]) {
        let rates = [1, 4, 0x82, 0x84, 0x8b, 0x96];
        // Version 1; CCMP for groups and pairs; a pre-shared key; may protect frames (9.4.2.24).
        let rsn = [48, 20, 1, 0, 0, 0x0f, 0xac, 4, 1, 0, 0, 0x0f, 0xac, 4, 1, 0, 0, 0x0f, 0xac, 2, 0x80, 0];
        let name = [&[0, u8::try_from(ssid.len()).expect("32 at most")][..], ssid].concat();
        // Of an ESS with privacy; listens to every beacon.
        let body = [&0x0011_u16.to_le_bytes()[..], &1_u16.to_le_bytes(), &name, &rates, &rsn].concat();
        self.send(0x00, bssid, from, bssid, &body);
    }

    /// A beacon with these elements.
    #[track_caller]
    pub fn beacon(&self, bssid: Mac, elements: &[u8]) {
        // Timestamp; every 100 time units; an ESS without privacy.
        let body = [&[0; 8][..], &100_u16.to_le_bytes(), &1_u16.to_le_bytes(), elements].concat();
        self.send(0x80, BROADCAST, bssid, bssid, &body);
    }

    /// `control`: version, type and subtype (IEEE 802.11-2020, 9.2.4.1).
    #[track_caller]
    fn send(&self, control: u8, to: Mac, from: Mac, bssid: Mac, body: &[u8]) {
        let radiotap = [0, 0, 8, 0, 0, 0, 0, 0];
        let header = [&[control, 0, 0, 0][..], &to, &from, &bssid, &[0, 0]].concat();
        self.port.send(&[&radiotap[..], &header, body].concat());
    }
}
