//! Grants that a RADIUS server gives for a name and a password (RFC 2865).

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::effects::Gateway;
use super::channel::Record;
use super::keep::{Change, Terms};
use super::record;
use crate::adapters::radius::attribute::{Attribute, number};
use crate::adapters::radius::codec::{Code, Packet};
use crate::host::control::Reply;
use crate::logic::radius::{Ticket, Worth};
use crate::model::{BootTime, GrantSpec, Holder, Incarnation, MacAddr, Millis, Refusal, Secret};
use crate::wire::local::GrantedRadius;
use crate::wire::sign::new_grant_id;

/// The longest User-Name and User-Password (RFC 2865, 5.1, 5.2).
const NAME_BYTES: usize = 253;
const PASSWORD_BYTES: usize = 128;

/// Service-Type (RFC 2865, 5.6): Login, as portals ask for it.
const LOGIN: u32 = 1;

/// "must not be smaller than 60" (RFC 2869, 5.16).
const LEAST_INTERIM: u32 = 60;

/// Vendors (IANA's private enterprise numbers), and what of theirs is a quota: dictionaries of CoovaChilli.
const CHILLISPOT: u32 = 14_559;
const MAX_INPUT_OCTETS: u8 = 1;
const MAX_OUTPUT_OCTETS: u8 = 2;
const MAX_TOTAL_OCTETS: u8 = 3;
const MAX_INPUT_GIGAWORDS: u8 = 21;
const MAX_OUTPUT_GIGAWORDS: u8 = 22;
const MAX_TOTAL_GIGAWORDS: u8 = 23;

/// Who waits for which answer.
pub(super) type Waiting = BTreeMap<Ticket, Waiter>;

/// One who waits.
pub(super) struct Waiter {
    reply: Reply,
    name: String,
    station: MacAddr,
}

impl Gateway {
    /// Asks the servers, and grants what they say.
    pub fn radius_grant(
        &mut self,
        station: MacAddr,
        name: String,
        password: Secret,
        reply: Reply,
        now: BootTime,
    ) {
        if let Err(refusal) = self.radius_check(station, &name, &password) {
            return reply.refuse(refusal);
        }
        let mut attributes =
            vec![Attribute::text(number::USER_NAME, &name), Attribute::integer(number::SERVICE_TYPE, LOGIN)];
        attributes.extend(record::of_place(self, station));
        let addresses = self.presence.get(station).into_iter().flat_map(|found| found.addresses.keys());
        attributes.extend(record::of_addresses(addresses));
        let Some(radius) = &mut self.radius else { return };
        attributes.push(Attribute::text(number::NAS_IDENTIFIER, &radius.nas_identifier));
        radius.questions += 1;
        let subject = radius.questions;
        let (worth, since, password) = (Worth::Question, now, Some(password));
        let record = Record { subject, worth, since, attributes, password };
        let ticket = radius.access.submit(record, now);
        radius.waiting.insert(ticket, Waiter { reply, name, station });
    }

    fn radius_check(&self, station: MacAddr, name: &str, password: &Secret) -> Result<(), Refusal> {
        if self.radius.as_ref().is_none_or(|radius| !radius.access.is_used()) {
            let sentence = "no RADIUS server is asked here; name one in [[radius.server]] of gateway.toml";
            return Err(Refusal::new("no-radius", sentence));
        }
        if name.is_empty() || name.len() > NAME_BYTES || name.chars().any(char::is_control) {
            let sentence = format!(
                "a name has 1 to {NAME_BYTES} bytes and no control characters; this one has {} bytes",
                name.len()
            );
            return Err(Refusal::new("bad-name", sentence));
        }
        let bytes = password.expose().len();
        if !(1..=PASSWORD_BYTES).contains(&bytes) {
            let sentence = format!("a password has 1 to {PASSWORD_BYTES} bytes; this one has {bytes}");
            return Err(Refusal::new("bad-password", sentence));
        }
        self.check(&[spec(station, &Packet::empty())])
    }

    /// A server has answered.
    pub(super) fn radius_answered(&mut self, ticket: Ticket, answer: &Packet, now: BootTime) {
        let Some(radius) = &mut self.radius else { return };
        let Some(Waiter { reply, name, station }) = radius.waiting.remove(&ticket) else { return };
        if let Err(refusal) = accepted(answer) {
            return reply.refuse(refusal);
        }
        let spec = spec(station, answer);
        // Meanwhile it may have become somebody else's.
        if let Err(refusal) = self.check(std::slice::from_ref(&spec)) {
            return reply.refuse(refusal);
        }
        let Some(radius) = &mut self.radius else { return };
        let (id, terms) = (spec.id, terms(name, answer));
        radius.terms.insert(id, terms.clone());
        radius.terms_changed = true;
        let granted =
            GrantedRadius { id, station, lease: spec.lease, quota: spec.quota, message: message(answer) };
        if let Err(refusal) = self.give_by_hand(vec![spec], now) {
            return reply.refuse(refusal);
        }
        if let Some(radius) = &mut self.radius {
            // The kernel does not lose the grant if this daemon is killed now; the name is here only.
            radius.write(&[Change::Given(id, terms)], now);
        }
        reply.ok(granted);
    }

    /// No server has answered.
    pub(super) fn radius_unanswered(&mut self, ticket: Ticket) {
        let Some(radius) = &mut self.radius else { return };
        let Some(waiter) = radius.waiting.remove(&ticket) else { return };
        let why = radius.access.refusal().map(|why| format!(" (an answer was not used: {why})"));
        let sentence = format!(
            "no RADIUS server has answered{}; nothing was granted; see `wayleave doctor`",
            why.unwrap_or_default()
        );
        waiter.reply.refuse(Refusal::new("radius-silent", sentence));
    }
}

/// Whether the server grants what can be enforced here.
fn accepted(answer: &Packet) -> Result<(), Refusal> {
    let said = message(answer).map_or_else(String::new, |said| format!(": {said}"));
    match answer.code {
        Code::ACCESS_ACCEPT => {}
        Code::ACCESS_CHALLENGE => {
            let sentence = format!(
                "the RADIUS server asks something back, which is not supported; let it decide by name and password{said}"
            );
            return Err(Refusal::new("radius-challenge", sentence));
        }
        _ => return Err(Refusal::new("radius-rejected", format!("the RADIUS server says no{said}"))),
    }
    let one_way = [MAX_INPUT_OCTETS, MAX_OUTPUT_OCTETS, MAX_INPUT_GIGAWORDS, MAX_OUTPUT_GIGAWORDS];
    let mut limits = one_way.iter().filter_map(|number| answer.vendor_integer(CHILLISPOT, *number));
    if limits.any(|limit| limit > 0) {
        // An accept with what cannot be given is to be taken as a reject (RFC 2865, 1.1).
        let sentence = "the RADIUS server limits the directions each by itself (ChilliSpot-Max-Input-, -Output-Octets), \
                        which is not enforced here; let it send ChilliSpot-Max-Total-Octets";
        return Err(Refusal::new("radius-unsupported", sentence));
    }
    Ok(())
}

/// What the server grants. As for CoovaChilli, a limit of 0 is none.
fn spec(station: MacAddr, answer: &Packet) -> GrantSpec {
    let seconds = answer.get(number::SESSION_TIMEOUT).and_then(Attribute::as_integer);
    let octets = |number| u64::from(answer.vendor_integer(CHILLISPOT, number).unwrap_or(0));
    let quota = octets(MAX_TOTAL_GIGAWORDS) << 32 | octets(MAX_TOTAL_OCTETS);
    GrantSpec {
        code: None,
        id: new_grant_id(),
        lease: seconds.filter(|seconds| *seconds > 0).map(to_millis),
        quota: Some(quota).filter(|quota| *quota > 0),
        holder: Holder::Station,
        station,
        incarnation: Incarnation(1),
    }
}

fn terms(name: String, answer: &Packet) -> Terms {
    let seconds = |number| {
        let found = answer.get(number).and_then(Attribute::as_integer);
        found.filter(|seconds| *seconds > 0)
    };
    // The server's name for its user, if it gives one, is the one to be used (RFC 2865, 5.1).
    let own = answer.get(number::USER_NAME).and_then(Attribute::as_text).map(str::to_owned);
    Terms {
        name: own.unwrap_or(name),
        classes: answer.all(number::CLASS).map(|class| class.value.clone()).collect(),
        interim: seconds(number::ACCT_INTERIM_INTERVAL).map(|seconds| to_millis(seconds.max(LEAST_INTERIM))),
        idle: seconds(number::IDLE_TIMEOUT).map(to_millis),
    }
}

fn to_millis(seconds: u32) -> Millis {
    Duration::from_secs(seconds.into()).into()
}

/// What the server wants to be shown, with whatever could end a line escaped.
fn message(answer: &Packet) -> Option<String> {
    let texts: Vec<String> = answer
        .all(number::REPLY_MESSAGE)
        .map(|attribute| String::from_utf8_lossy(&attribute.value).escape_debug().to_string())
        .collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn answer(code: Code, attributes: Vec<Attribute>) -> Packet {
        Packet { code, attributes, ..Packet::empty() }
    }

    fn vendor(number: u8, value: u32) -> Attribute {
        let [a, b, c, d] = value.to_be_bytes();
        Attribute::octets(number::VENDOR_SPECIFIC, &[0, 0, 0x38, 0xdf, number, 6, a, b, c, d])
    }

    #[test]
    fn what_a_server_grants_is_what_is_granted() {
        let accept = answer(
            Code::ACCESS_ACCEPT,
            vec![
                Attribute::integer(number::SESSION_TIMEOUT, 90),
                Attribute::integer(number::IDLE_TIMEOUT, 60),
                Attribute::integer(number::ACCT_INTERIM_INTERVAL, 5),
                Attribute::octets(number::CLASS, b"a"),
                Attribute::octets(number::CLASS, b"b"),
                vendor(MAX_TOTAL_OCTETS, 7),
                vendor(MAX_TOTAL_GIGAWORDS, 2),
            ],
        );
        assert_eq!(accepted(&accept), Ok(()));
        let granted = spec(STATION, &accept);
        assert_eq!((granted.lease, granted.quota), (Some(Millis(90_000)), Some((2 << 32) + 7)));
        let kept = terms("anne".into(), &accept);
        assert_eq!((kept.interim, kept.idle), (Some(Millis(60_000)), Some(Millis(60_000))));
        assert_eq!((kept.name.as_str(), kept.classes), ("anne", vec![b"a".to_vec(), b"b".to_vec()]));

        let zeros = vec![Attribute::integer(number::SESSION_TIMEOUT, 0), vendor(MAX_TOTAL_OCTETS, 0)];
        let granted = spec(STATION, &answer(Code::ACCESS_ACCEPT, zeros));
        assert_eq!((granted.lease, granted.quota), (None, None));
    }

    #[test]
    fn what_is_no_accept_grants_nothing_and_ends_no_line() {
        let said = vec![Attribute::octets(number::REPLY_MESSAGE, b"no\n\x1b[2J\xff")];
        for (code, word) in
            [(Code::ACCESS_REJECT, "radius-rejected"), (Code::ACCESS_CHALLENGE, "radius-challenge")]
        {
            let refusal = accepted(&answer(code, said.clone())).unwrap_err();
            assert_eq!(refusal.word, word);
            assert!(!refusal.sentence.contains(char::is_control), "{refusal}");
            assert!(refusal.sentence.contains("no\\n"), "{refusal}");
        }
        for number in [MAX_INPUT_OCTETS, MAX_OUTPUT_GIGAWORDS] {
            let refusal = accepted(&answer(Code::ACCESS_ACCEPT, vec![vendor(number, 1)])).unwrap_err();
            assert_eq!(refusal.word, "radius-unsupported");
        }
    }
}
