//! Frames of IEEE 802.11 as `tcpdump -i hwsim0` writes them: a pcap file with radiotap headers.
//!
//! Only what the scenarios look at. Read next: `air.rs`.

use std::time::Duration;

use super::support::frame::Mac;

/// `LINKTYPE_IEEE802_11_RADIOTAP` of pcap files.
const RADIOTAP: u32 = 127;

/// A frame that somebody sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When, since 1970.
    pub at: Duration,
    /// From its frame control field on, as on the air: what is protected is unreadable.
    pub bytes: Vec<u8>,
}

/// A frame that ends an association or an authentication (IEEE 802.11-2020, 9.3.3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deauthentication {
    /// To whom.
    pub to: Mac,
    /// In whose name.
    pub from: Mac,
    /// Of which BSS.
    pub bssid: Mac,
    /// Why (9.4.1.7); `None`: it is protected (PMF).
    pub reason: Option<u16>,
}

impl Frame {
    /// What it is, if it is one.
    pub fn deauthentication(&self) -> Option<Deauthentication> {
        let [control, flags] = *self.bytes.first_chunk::<2>()?;
        // Version 0, type management, subtype 12.
        if control != 0xc0 {
            return None;
        }
        let address = |at: usize| self.bytes.get(at..at + 6)?.try_into().ok();
        let is_protected = flags & 0x40 != 0;
        let reason = match is_protected {
            true => None,
            false => Some(u16::from_le_bytes(self.bytes.get(24..26)?.try_into().ok()?)),
        };
        Some(Deauthentication { to: address(4)?, from: address(10)?, bssid: address(16)?, reason })
    }

    /// To whom and from whom, if it is an action that only these two can read (9.3.3.13, 12.2.4). SA Queries are such.
    pub fn protected_action(&self) -> Option<(Mac, Mac)> {
        let [control, flags] = *self.bytes.first_chunk::<2>()?;
        // Version 0, type management, subtype 13.
        if control != 0xd0 || flags & 0x40 == 0 {
            return None;
        }
        Some((self.bytes.get(4..10)?.try_into().ok()?, self.bytes.get(10..16)?.try_into().ok()?))
    }

    /// Who sent it, where it says so: acknowledgements do not (9.3.1).
    pub fn transmitter(&self) -> Option<Mac> {
        self.bytes.get(10..16)?.try_into().ok()
    }

    /// Whose beacon it is, and its elements (9.3.3.2): they follow header, timestamp, interval and capabilities.
    pub fn beacon(&self) -> Option<(Mac, &[u8])> {
        // Version 0, type management, subtype 8.
        let bssid = self.bytes.get(16..22).filter(|_| self.bytes[0] == 0x80)?;
        Some((bssid.try_into().ok()?, self.bytes.get(36..)?))
    }
}

/// The whole frames of a file that may still be written to.
pub fn frames(file: &[u8]) -> Vec<Frame> {
    let word = |at: usize| Some(u32::from_ne_bytes(file.get(at..at + 4)?.try_into().ok()?));
    match (word(0), word(20)) {
        (Some(0xa1b2_c3d4), Some(RADIOTAP)) => {}
        // Not even the header is there yet.
        (_, None) => return Vec::new(),
        other => panic!("not a capture of a radio in our byte order: {other:x?}"),
    }
    let mut frames = Vec::new();
    let mut at = 24;
    while let (Some(seconds), Some(micros), Some(length)) = (word(at), word(at + 4), word(at + 8)) {
        let begin = at + 16;
        let Some(captured) = file.get(begin..begin + length as usize) else { break };
        let skip = captured.get(2..4).map_or(0, |length| u16::from_le_bytes([length[0], length[1]]));
        let bytes = captured.get(usize::from(skip)..).unwrap_or_default().to_vec();
        frames.push(Frame { at: Duration::new(seconds.into(), micros * 1000), bytes });
        at = begin + length as usize;
    }
    frames
}

#[test]
fn a_capture_is_read_up_to_the_last_whole_frame() {
    let header = [&0xa1b2_c3d4_u32.to_ne_bytes()[..], &[0; 16], &RADIOTAP.to_ne_bytes()].concat();
    let radiotap = [0, 0, 8, 0, 0, 0, 0, 0];
    let deauthentication =
        [&[0xc0, 0, 0, 0][..], &[1; 6], &[2; 6], &[3; 6], &[0x10, 0], &4_u16.to_le_bytes()].concat();
    let packet = [&radiotap[..], &deauthentication].concat();
    let length = (packet.len() as u32).to_ne_bytes();
    let record = [&5_u32.to_ne_bytes()[..], &6_u32.to_ne_bytes(), &length, &length, &packet].concat();
    let file = [&header[..], &record, &record[..30]].concat();
    let found = frames(&file);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].at, Duration::new(5, 6000));
    let expected = Deauthentication { to: [1; 6], from: [2; 6], bssid: [3; 6], reason: Some(4) };
    assert_eq!(found[0].deauthentication(), Some(expected));
    assert_eq!((found[0].beacon(), found[0].transmitter()), (None, Some([2; 6])));
    assert_eq!(frames(&header[..10]), []);
}
