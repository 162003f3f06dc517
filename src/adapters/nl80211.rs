//! Radios by nl80211: the stations of access points, as the kernel has them.
//!
//! hostapd knows more and says it sooner; this is for access points that no hostapd speaks for (iwd, NetworkManager,
//! a hostapd without control socket). A connection lives as long as one question: nothing is listened to.
//!
//! What `iw dev`, `iw dev NAME station dump` and `iw dev NAME station del` do.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_generic::GenlMessage;
use nix::errno::Errno;
use tokio::task::JoinHandle;
use wl_nl80211::{
    Nl80211Attr, Nl80211Command, Nl80211Handle, Nl80211InterfaceType, Nl80211Message, Nl80211StationInfo,
};

use crate::model::MacAddr;

/// What the kernel refuses, or this machine lacks.
#[derive(Debug, thiserror::Error)]
pub enum Nl80211Error {
    /// No socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] std::io::Error),
    /// There is no nl80211 (no radio), or it refused.
    #[error("nl80211 does not answer: {0}")]
    Refused(String),
}

/// A station of an access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Associated {
    /// Its address.
    pub station: MacAddr,
    /// Since it was last heard (`NL80211_STA_INFO_INACTIVE_TIME`).
    pub inactive: Option<Duration>,
}

/// A connection to nl80211, for some questions.
pub struct Nl80211 {
    handle: Nl80211Handle,
    connection: JoinHandle<()>,
}

impl Nl80211 {
    /// Connects. Needs a tokio runtime.
    pub fn open() -> Result<Self, Nl80211Error> {
        let (connection, handle, _) = wl_nl80211::new_connection().map_err(Nl80211Error::Open)?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// The indices of the interfaces of this namespace that are access points now.
    pub async fn access_points(&self) -> Result<Vec<u32>, Nl80211Error> {
        let answers = self.handle.interface().get(Vec::new()).execute().await;
        let answers: Vec<_> = answers.try_collect().await.map_err(refused)?;
        Ok(answers
            .iter()
            .filter(|answer| {
                let access_point = Nl80211Attr::IfType(Nl80211InterfaceType::Ap);
                answer.payload.attributes.contains(&access_point)
            })
            .filter_map(|answer| {
                answer.payload.attributes.iter().find_map(|attribute| match attribute {
                    Nl80211Attr::IfIndex(index) => Some(*index),
                    _ => None,
                })
            })
            .collect())
    }

    /// The stations of an access point.
    pub async fn stations(&self, index: u32) -> Result<Vec<Associated>, Nl80211Error> {
        let answers = self.handle.station().dump(index).execute().await;
        let answers: Vec<_> = answers.try_collect().await.map_err(refused)?;
        Ok(answers.iter().filter_map(|answer| associated(&answer.payload)).collect())
    }

    /// Ends an association with this reason code (IEEE 802.11-2020, table 9-49); whether there was one.
    ///
    /// The kernel forgets the station and tells whoever runs the access point. The station learns it from the
    /// deauthentication that answers its next frame.
    pub async fn end(&self, index: u32, station: MacAddr, reason: u16) -> Result<bool, Nl80211Error> {
        let message = Nl80211Message {
            cmd: Nl80211Command::DelStation,
            attributes: vec![
                Nl80211Attr::IfIndex(index),
                Nl80211Attr::Mac(station.0),
                Nl80211Attr::ReasonCode(reason),
            ],
        };
        let mut request = NetlinkMessage::from(GenlMessage::from_payload(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut handle = self.handle.clone();
        let mut answers = handle.request(request).await.map_err(refused)?;
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(refused)?;
            let NetlinkPayload::Error(end) = answer.payload else { continue };
            match end.code {
                None => return Ok(true),
                Some(code) if Errno::from_raw(-code.get()) == Errno::ENOENT => return Ok(false),
                Some(_) => return Err(refused(end.to_io())),
            }
        }
        // netlink-proto keeps an acknowledgement to itself: the answers end.
        Ok(true)
    }
}

impl Drop for Nl80211 {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn refused(error: impl std::fmt::Display) -> Nl80211Error {
    Nl80211Error::Refused(error.to_string())
}

fn associated(message: &Nl80211Message) -> Option<Associated> {
    let station = message.attributes.iter().find_map(|attribute| match attribute {
        Nl80211Attr::Mac(address) => Some(MacAddr(*address)),
        _ => None,
    })?;
    let facts = message.attributes.iter().filter_map(|attribute| match attribute {
        Nl80211Attr::StationInfo(facts) => Some(facts),
        _ => None,
    });
    let inactive = facts.flatten().find_map(|fact| match fact {
        Nl80211StationInfo::InactiveTime(milliseconds) => {
            Some(Duration::from_millis(u64::from(*milliseconds)))
        }
        _ => None,
    });
    Some(Associated { station, inactive })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_is_read_with_its_silence_if_the_driver_says_it() {
        let message = |attributes| Nl80211Message { cmd: Nl80211Command::NewStation, attributes };
        let mac = Nl80211Attr::Mac([2, 0, 0, 0, 0, 1]);
        let facts = Nl80211Attr::StationInfo(vec![
            Nl80211StationInfo::Signal(-40),
            Nl80211StationInfo::InactiveTime(1500),
        ]);
        let station = MacAddr([2, 0, 0, 0, 0, 1]);
        let read = |attributes| associated(&message(attributes));
        assert_eq!(
            read(vec![mac.clone(), facts]),
            Some(Associated { station, inactive: Some(Duration::from_millis(1500)) })
        );
        assert_eq!(read(vec![mac]), Some(Associated { station, inactive: None }));
        assert_eq!(read(vec![Nl80211Attr::IfIndex(3)]), None);
    }

    #[tokio::test]
    async fn a_machine_without_radios_says_so() {
        // Where there are radios, none of them is an access point with this index.
        let radios = Nl80211::open().unwrap();
        match radios.access_points().await {
            Ok(access_points) => assert!(!access_points.contains(&u32::MAX)),
            Err(error) => assert!(error.to_string().starts_with("nl80211 does not answer: "), "{error}"),
        }
    }
}
