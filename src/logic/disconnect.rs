//! Decides what becomes of a RADIUS server's request to end sessions (RFC 5176).
//!
//! ```text
//!   request, believed --- seen before ---------------------------> the same answer again
//!                     --- too old, for another NAS, not ours ----> NAK, with the reason
//!                     --- names sessions that are open ----------> they end, then ACK
//! ```
//!
//! All that a request names must fit: a session's id, its name, its station, its address. One that names none is
//! refused. One that names no id could be repeated by somebody who has recorded it: it must say when it was made, as
//! soon as this machine knows what time it is.
//!
//! Held to by the tests below. Not here: whether a request is to be believed (`adapters/radius/codec.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::{BootTime, GrantId, MacAddr};

/// How far the clocks of server and gateway may be apart (RFC 5176, 6.3).
const WINDOW_SECONDS: u64 = 300;

/// Within the window a request that was answered is known: clocks may be apart in both directions.
const REMEMBERED: Duration = Duration::from_secs(2 * WINDOW_SECONDS);

/// Answers that are remembered. Only what is signed with a server's secret gets one.
const MOST_REMEMBERED: usize = 4096;

/// What a request says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Acct-Session-Id.
    pub session: Option<Vec<u8>>,
    /// User-Name.
    pub name: Option<Vec<u8>>,
    /// Calling-Station-Id; `Some(None)`: it is no address.
    pub station: Option<Option<MacAddr>>,
    /// Framed-IP-Address and Framed-IPv6-Address.
    pub addresses: Vec<IpAddr>,
    /// Whether it names a NAS, and not this one.
    pub for_another: bool,
    /// An attribute that means something which is not done here.
    pub has_unsupported: bool,
    /// Event-Timestamp, seconds since 1970.
    pub made: Option<u64>,
}

/// A session as a request may name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its grant.
    pub grant: GrantId,
    /// Its Acct-Session-Id.
    pub session: String,
    /// Its User-Name.
    pub name: String,
    /// Its station.
    pub station: MacAddr,
    /// The addresses of its station.
    pub addresses: Vec<IpAddr>,
}

/// Why a request is refused: Error-Cause (RFC 5176, 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCause {
    /// It has an attribute that is not supported.
    UnsupportedAttribute,
    /// It names no session, or not when it was made.
    MissingAttribute,
    /// It is for another NAS.
    NasIdentificationMismatch,
    /// It was made too long ago, or in the future.
    InvalidRequest,
    /// That is not done here.
    UnsupportedService,
    /// A value is none.
    InvalidAttributeValue,
    /// There is no such session.
    SessionContextNotFound,
    /// The kernel did not carry it out.
    ResourcesUnavailable,
}

impl ErrorCause {
    /// As in a packet.
    pub fn number(self) -> u32 {
        match self {
            ErrorCause::UnsupportedAttribute => 401,
            ErrorCause::MissingAttribute => 402,
            ErrorCause::NasIdentificationMismatch => 403,
            ErrorCause::InvalidRequest => 404,
            ErrorCause::UnsupportedService => 405,
            ErrorCause::InvalidAttributeValue => 407,
            ErrorCause::SessionContextNotFound => 503,
            ErrorCause::ResourcesUnavailable => 506,
        }
    }
}

/// The grants to end, or why none ends. `calendar`: seconds since 1970, where they are known.
pub fn judge<'a>(
    ask: &Ask,
    sessions: impl Iterator<Item = &'a Known>,
    calendar: Option<u64>,
) -> Result<Vec<GrantId>, ErrorCause> {
    if ask.for_another {
        return Err(ErrorCause::NasIdentificationMismatch);
    }
    if ask.has_unsupported {
        return Err(ErrorCause::UnsupportedAttribute);
    }
    match (calendar, ask.made) {
        (Some(now), Some(made)) if now.abs_diff(made) > WINDOW_SECONDS => {
            return Err(ErrorCause::InvalidRequest);
        }
        (Some(_), None) if ask.session.is_none() => return Err(ErrorCause::MissingAttribute),
        (Some(_) | None, _) => {}
    }
    let station = match ask.station {
        Some(None) => return Err(ErrorCause::InvalidAttributeValue),
        Some(Some(station)) => Some(station),
        None => None,
    };
    if ask.session.is_none() && ask.name.is_none() && station.is_none() && ask.addresses.is_empty() {
        return Err(ErrorCause::MissingAttribute);
    }
    let is_meant = |known: &&Known| {
        ask.session.as_ref().is_none_or(|session| session == known.session.as_bytes())
            && ask.name.as_ref().is_none_or(|name| name == known.name.as_bytes())
            && station.is_none_or(|station| station == known.station)
            && ask.addresses.iter().all(|address| known.addresses.contains(address))
    };
    let meant: Vec<GrantId> = sessions.filter(is_meant).map(|known| known.grant).collect();
    if meant.is_empty() { Err(ErrorCause::SessionContextNotFound) } else { Ok(meant) }
}

/// What makes a request the same as another one: the server, the identifier, the authenticator.
pub type Fingerprint = (IpAddr, u8, [u8; 16]);

/// Requests that were answered. A request that comes again gets the same answer and does nothing again.
#[derive(Debug, Default)]
pub struct Answered {
    answers: BTreeMap<Fingerprint, Vec<u8>>,
    order: VecDeque<(BootTime, Fingerprint)>,
}

impl Answered {
    /// The answer that it got.
    pub fn get(&mut self, request: &Fingerprint, now: BootTime) -> Option<&[u8]> {
        while self.order.front().is_some_and(|(since, _)| *since + REMEMBERED <= now) {
            self.forget_one();
        }
        self.answers.get(request).map(Vec::as_slice)
    }

    /// It got this answer.
    pub fn remember(&mut self, request: Fingerprint, answer: Vec<u8>, now: BootTime) {
        if self.answers.insert(request, answer).is_none() {
            self.order.push_back((now, request));
        }
        while self.order.len() > MOST_REMEMBERED {
            self.forget_one();
        }
    }

    fn forget_one(&mut self) {
        if let Some((_, request)) = self.order.pop_front() {
            self.answers.remove(&request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const NOW: u64 = 1_800_000_000;

    fn sessions() -> Vec<Known> {
        let known = |number: u8, station, name: &str| Known {
            grant: GrantId([number; 16]),
            session: format!("aa-{number}"),
            name: name.into(),
            station,
            addresses: vec![[10, 0, 0, number].into()],
        };
        vec![known(1, ANNE, "anne"), known(2, BOB, "bob"), known(3, BOB, "anne")]
    }

    fn ended(ask: &Ask, calendar: Option<u64>) -> Result<Vec<u8>, u32> {
        let sessions = sessions();
        let judged = judge(ask, sessions.iter(), calendar);
        judged.map(|grants| grants.iter().map(|grant| grant.0[0]).collect()).map_err(ErrorCause::number)
    }

    #[test]
    fn all_that_a_request_names_must_fit() {
        let all = |session: Option<&str>, name: Option<&str>, station: Option<MacAddr>, last: Option<u8>| {
            let ask = Ask {
                session: session.map(|text| text.into()),
                name: name.map(|text| text.into()),
                station: station.map(Some),
                addresses: last.map(|last| IpAddr::from([10, 0, 0, last])).into_iter().collect(),
                made: Some(NOW),
                ..Ask::default()
            };
            ended(&ask, Some(NOW))
        };
        assert_eq!(all(Some("aa-1"), None, None, None), Ok(vec![1]));
        assert_eq!(all(None, Some("anne"), None, None), Ok(vec![1, 3]));
        assert_eq!(all(None, None, Some(BOB), None), Ok(vec![2, 3]));
        assert_eq!(all(None, Some("anne"), Some(BOB), None), Ok(vec![3]));
        assert_eq!(all(None, None, None, Some(2)), Ok(vec![2]));
        assert_eq!(all(Some("aa-1"), Some("anne"), Some(ANNE), Some(1)), Ok(vec![1]));
        // One thing that does not fit, whichever.
        assert_eq!(all(Some("aa-9"), Some("anne"), Some(ANNE), Some(1)), Err(503));
        assert_eq!(all(Some("aa-1"), Some("bob"), Some(ANNE), Some(1)), Err(503));
        assert_eq!(all(Some("aa-1"), Some("anne"), Some(BOB), Some(1)), Err(503));
        assert_eq!(all(Some("aa-1"), Some("anne"), Some(ANNE), Some(2)), Err(503));
        assert_eq!(all(None, None, None, None), Err(402), "that would be everybody");
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_with_its_reason() {
        let ask = Ask { name: Some("anne".into()), made: Some(NOW), ..Ask::default() };
        assert_eq!(ended(&Ask { for_another: true, ..ask.clone() }, Some(NOW)), Err(403));
        assert_eq!(ended(&Ask { has_unsupported: true, ..ask.clone() }, Some(NOW)), Err(401));
        assert_eq!(ended(&Ask { station: Some(None), ..ask }, Some(NOW)), Err(407));
    }

    #[test]
    fn an_old_request_ends_nothing_once_the_time_is_known() {
        let made = |made, session: Option<&str>| Ask {
            name: Some("bob".into()),
            session: session.map(|text| text.into()),
            made,
            ..Ask::default()
        };
        for (seconds, wanted) in [
            (NOW, Ok(vec![2])),
            (NOW - 300, Ok(vec![2])),
            (NOW + 300, Ok(vec![2])),
            (NOW - 301, Err(404)),
            (NOW + 301, Err(404)),
            (0, Err(404)),
        ] {
            assert_eq!(ended(&made(Some(seconds), None), Some(NOW)), wanted, "{seconds}");
        }
        assert_eq!(ended(&made(None, None), Some(NOW)), Err(402), "it could be repeated for ever");
        assert_eq!(ended(&made(None, Some("aa-2")), Some(NOW)), Ok(vec![2]), "a session ends once");
        assert_eq!(ended(&made(Some(0), None), None), Ok(vec![2]), "nobody knows what time it is");
        assert_eq!(ended(&made(None, None), None), Ok(vec![2]));
    }

    #[test]
    fn what_was_answered_is_known_for_as_long_as_it_could_be_repeated() {
        let mut answered = Answered::default();
        let server = IpAddr::from([192, 0, 2, 1]);
        let request = |number: u8| (server, number, [number; 16]);
        let start = BootTime(0);
        answered.remember(request(1), vec![7], start);
        let end = start + REMEMBERED;
        assert_eq!(answered.get(&request(1), end - Duration::from_secs(1)), Some([7].as_slice()));
        assert_eq!(answered.get(&request(2), start), None);
        assert_eq!(answered.get(&([192, 0, 2, 2].into(), 1, [1; 16]), start), None, "of another server");
        assert_eq!(answered.get(&request(1), end), None);
        for number in 0..MOST_REMEMBERED + 9 {
            let mut authenticator = [0; 16];
            authenticator[..8].copy_from_slice(&(number as u64).to_be_bytes());
            answered.remember((server, 0, authenticator), vec![1], end);
        }
        assert_eq!((answered.answers.len(), answered.order.len()), (MOST_REMEMBERED, MOST_REMEMBERED));
    }
}
