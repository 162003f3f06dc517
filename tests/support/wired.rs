//! Many stations on one wire: EAP-MD5 supplicants (IEEE 802.1X-2010, RFC 3748) behind one raw socket.
//!
//! hostapd with `driver=wired` takes 2007 of them. For one real supplicant see [`super::wpa`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::frame::{Mac, RawPort, ethernet};
use super::hostapd::{IDENTITY, PASSWORD};
use super::netns::Netns;

/// EtherType of EAPOL.
const EAPOL: u16 = 0x888e;
/// The port access entity group address.
const PAE_GROUP: Mac = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x03];
/// How many authenticate at the same time.
const AT_ONCE: usize = 64;

/// The address of station `number`.
pub fn crowd_mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    [0x02, 0xbb, 0x00, 0x01, high, low]
}

/// What became of the stations.
#[derive(Clone, Debug, Default)]
pub struct Association {
    /// Those that hostapd let in.
    pub accepted: BTreeSet<Mac>,
    /// Those that it refused.
    pub refused: BTreeSet<Mac>,
    /// From the first frame to the last answer.
    pub took: Duration,
}

/// Associates the stations `first .. first + count`; ends when all are answered or the time is over.
pub fn associate(netns: &Netns, interface: &str, first: u16, count: u16, limit: Duration) -> Association {
    let port = RawPort::open(netns, interface, EAPOL);
    let mut waiting: VecDeque<Mac> = (first..first + count).map(crowd_mac).collect();
    let mut asking: BTreeMap<Mac, Instant> = BTreeMap::new();
    let mut outcome = Association::default();
    let start = Instant::now();
    while start.elapsed() < limit && !(waiting.is_empty() && asking.is_empty()) {
        while asking.len() < AT_ONCE
            && let Some(mac) = waiting.pop_front()
        {
            port.send(&eapol(mac, 1, &[]));
            asking.insert(mac, Instant::now());
        }
        if let Some(frame) = port.receive(Instant::now() + Duration::from_millis(50)) {
            answer(&port, &frame, &mut asking, &mut outcome);
        }
        // hostapd may miss a start while it is busy; a supplicant says it again.
        for (mac, since) in &mut asking {
            if since.elapsed() > Duration::from_secs(1) {
                port.send(&eapol(*mac, 1, &[]));
                *since = Instant::now();
            }
        }
    }
    outcome.took = start.elapsed();
    outcome
}

fn answer(port: &RawPort, frame: &[u8], asking: &mut BTreeMap<Mac, Instant>, outcome: &mut Association) {
    // Destination, source, type; EAPOL version, type 0 = EAP, length; EAP code, identifier, length, type, data.
    let Some(mac) = frame.first_chunk::<6>().filter(|mac| asking.contains_key(*mac)).copied() else { return };
    if frame.len() < 22 || frame[15] != 0 {
        return;
    }
    let (code, identifier) = (frame[18], frame[19]);
    let end = frame.len().min(18 + usize::from(u16::from_be_bytes([frame[20], frame[21]])));
    match (code, frame[22..end].split_first()) {
        (1, Some((1, _))) => port.send(&eap_response(mac, identifier, 1, IDENTITY.as_bytes())),
        (1, Some((4, data))) if !data.is_empty() => {
            let challenge = &data[1..(1 + usize::from(data[0])).min(data.len())];
            let digest = md5(&[&[identifier], PASSWORD.as_bytes(), challenge].concat());
            port.send(&eap_response(mac, identifier, 4, &[&[16], &digest[..]].concat()));
        }
        (3, _) => {
            asking.remove(&mac);
            outcome.accepted.insert(mac);
        }
        (4, _) => {
            asking.remove(&mac);
            outcome.refused.insert(mac);
        }
        _ => {}
    }
}

fn eapol(from: Mac, kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    ethernet(PAE_GROUP, from, EAPOL, &[&[1, kind], &length[..], body].concat())
}

fn eap_response(from: Mac, identifier: u8, kind: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(5 + data.len()).expect("short").to_be_bytes();
    eapol(from, 0, &[&[2, identifier], &length[..], &[kind], data].concat())
}

/// MD5 (RFC 1321); EAP-MD5 asks for it, and nothing else here does.
pub fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut padded = [message, &[0x80]].concat();
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - message.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let length = padded.len();
    padded[length - 8..].copy_from_slice(&(8 * message.len() as u64).to_le_bytes());
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks(64) {
        let word = |index: usize| {
            u32::from_le_bytes(block[4 * index..4 * index + 4].try_into().expect("four octets"))
        };
        let [mut a, mut b, mut c, mut d] = state;
        for round in 0..64_usize {
            let (mix, index) = match round / 16 {
                0 => ((b & c) | (!b & d), round),
                1 => ((d & b) | (!d & c), 5 * round + 1),
                2 => (b ^ c ^ d, 3 * round + 5),
                _ => (c ^ (b | !d), 7 * round),
            };
            // RFC 1321, 3.4: the integer part of 4294967296 times abs(sin(i)), i in radians.
            let constant = ((round as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(constant).wrapping_add(word(index % 16));
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(SHIFTS[round / 16][round % 4])));
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d]) {
            *total = total.wrapping_add(part);
        }
    }
    let mut digest = [0; 16];
    for (octets, part) in digest.chunks_mut(4).zip(state) {
        octets.copy_from_slice(&part.to_le_bytes());
    }
    digest
}
