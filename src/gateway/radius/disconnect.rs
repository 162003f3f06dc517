//! What RADIUS servers ask of us: to end sessions (RFC 5176). What becomes of it is decided in
//! `logic/disconnect.rs`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::effects::Gateway;
use super::{Radius, record};
use crate::adapters::radius::Listener;
use crate::adapters::radius::attribute::{Attribute, number, parse_station_id};
use crate::adapters::radius::codec::{self, Code, Packet};
use crate::logic::disconnect::{Answered, Ask, ErrorCause, Known, judge};
use crate::logic::grants;
use crate::model::{BootTime, Cause, Gather, GrantId, MacAddr};

/// Between two attempts to listen.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// Where servers ask, and what they were answered.
#[derive(Default)]
pub(super) struct Asked {
    listener: Option<Listener>,
    /// When listening is tried again, and why it failed.
    pub again_at: Option<BootTime>,
    pub failure: Option<String>,
    answered: Answered,
    /// Of strangers, forged, or nothing that is asked here.
    pub ignored: u64,
}

impl Asked {
    /// Listens, if it does not and should.
    pub fn listen(&mut self, wanted: Option<SocketAddr>, now: BootTime) {
        let Some(address) = wanted.filter(|_| self.listener.is_none()) else { return };
        match Listener::bind(address) {
            Ok(listener) => {
                (self.again_at, self.failure, self.listener) = (None, None, Some(listener));
            }
            Err(error) => {
                if self.failure.is_none() {
                    tracing::error!(%error, %address, "RADIUS servers cannot end sessions; trying again");
                }
                self.again_at = Some(now + LISTEN_AGAIN);
                self.failure = Some(format!("cannot listen at {address}: {error}"));
            }
        }
    }

    /// The next datagram; never where nobody listens.
    pub async fn receive(&self) -> (SocketAddr, Vec<u8>) {
        match &self.listener {
            Some(listener) => listener.receive().await,
            None => std::future::pending().await,
        }
    }
}

impl Gateway {
    /// Somebody asks. Who is no server of ours, or does not sign, gets no answer.
    pub(super) fn radius_asked(&mut self, from: SocketAddr, datagram: &[u8], now: BootTime) {
        let Some(radius) = &mut self.radius else { return };
        let address = from.ip().to_canonical();
        let server = radius.settings.servers.iter().find(|server| server.address == address);
        let secret = server.map(|server| server.secret.clone());
        let read = secret.as_ref().map(|secret| codec::read_request(datagram, secret));
        let (Some(secret), Some(Ok(request))) = (secret, read) else {
            radius.asked.ignored += 1;
            return tracing::debug!(%from, "a RADIUS request that is not to be believed");
        };
        let (ack, nak) = match request.code {
            Code::DISCONNECT_REQUEST => (Code::DISCONNECT_ACK, Code::DISCONNECT_NAK),
            Code::COA_REQUEST => (Code::COA_ACK, Code::COA_NAK),
            _ => {
                radius.asked.ignored += 1;
                return;
            }
        };
        let fingerprint = (address, request.identifier, request.authenticator);
        if let Some(answer) = radius.asked.answered.get(&fingerprint, now) {
            if let Some(listener) = &radius.asked.listener {
                listener.send(from, answer);
            }
            return;
        }
        let outcome = match request.code == Code::DISCONNECT_REQUEST {
            true => self.radius_disconnect(&request, now),
            false => Err(ErrorCause::UnsupportedService),
        };
        tracing::info!(server = %address, ?outcome, "a RADIUS server has asked to end sessions");
        // What proxies have put there goes back as it came (RFC 2865, 5.33).
        let mut attributes: Vec<Attribute> = request.all(number::PROXY_STATE).cloned().collect();
        let code = match outcome {
            Ok(()) => ack,
            Err(cause) => {
                attributes.push(Attribute::integer(number::ERROR_CAUSE, cause.number()));
                nak
            }
        };
        let answer = codec::answer(code, request.identifier, &attributes, &secret, &request.authenticator);
        let Some(radius) = &mut self.radius else { return };
        if let Some(listener) = &radius.asked.listener {
            listener.send(from, &answer);
        }
        radius.asked.answered.remember(fingerprint, answer, now);
    }

    fn radius_disconnect(&mut self, request: &Packet, now: BootTime) -> Result<(), ErrorCause> {
        let Some(radius) = &self.radius else { return Err(ErrorCause::UnsupportedService) };
        let ask = self.ask_of(request, radius.nas_identifier.as_bytes());
        let known = self.known(radius, &ask);
        let ended = judge(&ask, known.iter(), record::calendar())?;
        self.refused = false;
        for grant in &ended {
            let input = grants::Input::Take { grant: *grant, incarnation: None, cause: Cause::Owner };
            self.grants.handle_input(input, now);
        }
        // Enforcement is over with this; what the stations hold beside is freed behind it.
        self.settle(now);
        let is_in = |grant: &GrantId| self.grants.get(*grant).is_some();
        match self.refused || ended.iter().any(is_in) {
            true => Err(ErrorCause::ResourcesUnavailable),
            false => Ok(()),
        }
    }

    /// Sessions, with those addresses of each that are asked for.
    fn known(&self, radius: &Radius, ask: &Ask) -> Vec<Known> {
        // An address is whose it is now; one that nobody has, whose it was last.
        let holders = |ip: &IpAddr| -> BTreeSet<MacAddr> {
            let stations = self.presence.stations();
            stations
                .filter(|(_, found)| found.addresses.contains_key(ip))
                .map(|(station, _)| station)
                .gather()
        };
        let asked: Vec<(IpAddr, BTreeSet<MacAddr>)> =
            ask.addresses.iter().map(|ip| (*ip, holders(ip))).collect();
        let sessions = radius.accounting.sessions();
        let known = sessions.filter_map(|session| {
            let place = radius.places.get(&session.number)?;
            let is_there = |(ip, holders): &&(IpAddr, BTreeSet<MacAddr>)| match holders.is_empty() {
                true => place.addresses.contains(ip),
                false => holders.contains(&session.station),
            };
            Some(Known {
                grant: session.grant,
                session: radius.session_id(session),
                name: place.name.clone(),
                station: session.station,
                addresses: asked.iter().filter(is_there).map(|(ip, _)| *ip).collect(),
            })
        });
        known.collect()
    }

    fn ask_of(&self, request: &Packet, nas_identifier: &[u8]) -> Ask {
        let mut ask = Ask::default();
        for Attribute { number, value } in &request.attributes {
            match *number {
                number::ACCT_SESSION_ID => ask.session = Some(value.clone()),
                number::USER_NAME => ask.name = Some(value.clone()),
                number::CALLING_STATION_ID => ask.station = Some(parse_station_id(value)),
                number::FRAMED_IP_ADDRESS | number::FRAMED_IPV6_ADDRESS => match as_address(value) {
                    Some(address) => ask.addresses.push(address),
                    None => ask.has_unsupported = true,
                },
                number::NAS_IDENTIFIER => ask.for_another |= value != nas_identifier,
                number::NAS_IP_ADDRESS | number::NAS_IPV6_ADDRESS => {
                    let named = as_address(value);
                    ask.for_another |= named.is_none_or(|named| !self.world.has_address(named));
                }
                number::EVENT_TIMESTAMP => {
                    let seconds = value.as_slice().try_into().ok().map(u32::from_be_bytes);
                    ask.made = Some(seconds.map_or(0, u64::from));
                }
                // Words for people, what a proxy or we ourselves have put there, and why it is to end.
                number::MESSAGE_AUTHENTICATOR
                | number::PROXY_STATE
                | number::REPLY_MESSAGE
                | number::CLASS
                | number::ACCT_TERMINATE_CAUSE => {}
                _ => ask.has_unsupported = true,
            }
        }
        ask
    }
}

fn as_address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}
