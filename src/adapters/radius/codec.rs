//! RADIUS packets as bytes (RFC 2865, 3; RFC 2866, 4; RFC 2869, 5.14; RFC 5176, 2.3, 3.4). Pure.
//!
//! ```text
//! code 1 | identifier 1 | length 2 | authenticator 16 | attributes: number 1, length 1, value …
//! ```
//!
//! Every packet that we make has a Message-Authenticator, and it comes first: what somebody can put in behind it
//! does not move it, and a forger of MD5 (Blast-RADIUS, CVE-2024-3596) does not get past it.

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::attribute::{Attribute, MOST_OCTETS, number};
use crate::model::Secret;

/// What a packet is (RFC 2865, 4; RFC 2866, 4; RFC 5176, 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u8);

#[allow(missing_docs)]
impl Code {
    pub const ACCESS_REQUEST: Code = Code(1);
    pub const ACCESS_ACCEPT: Code = Code(2);
    pub const ACCESS_REJECT: Code = Code(3);
    pub const ACCOUNTING_REQUEST: Code = Code(4);
    pub const ACCOUNTING_RESPONSE: Code = Code(5);
    pub const ACCESS_CHALLENGE: Code = Code(11);
    pub const DISCONNECT_REQUEST: Code = Code(40);
    pub const DISCONNECT_ACK: Code = Code(41);
    pub const DISCONNECT_NAK: Code = Code(42);
    pub const COA_REQUEST: Code = Code(43);
    pub const COA_ACK: Code = Code(44);
    pub const COA_NAK: Code = Code(45);
}

/// 16 octets that bind a request, its secret and its answer.
pub type Authenticator = [u8; 16];

const HEADER: usize = 20;
/// RFC 2865, 3: "the maximum length is 4096".
pub const MOST: usize = 4096;

/// A packet, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub code: Code,
    /// Of the request.
    pub identifier: u8,
    /// As it stands there.
    pub authenticator: Authenticator,
    /// In their order.
    pub attributes: Vec<Attribute>,
}

/// Octets that are no packet, or one that is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer octets than a header has.
    #[error("{0} octets; 20 are the least")]
    Short(usize),
    /// The length it names is not one it can have.
    #[error("length {named} in a datagram of {octets} octets; 20 to 4096, and no more than there are")]
    Length {
        /// In its header.
        named: usize,
        /// That came.
        octets: usize,
    },
    /// An attribute is shorter than its own header, or longer than what is left.
    #[error("attribute {number} at octet {at} has length {length}")]
    Attribute {
        /// Which.
        number: u8,
        /// Where.
        at: usize,
        /// What it says.
        length: usize,
    },
    /// There is no Message-Authenticator, there are several, or it has another length than 16.
    #[error("it has no Message-Authenticator of 16 octets, or several")]
    Unsigned,
    /// Somebody else made it, or with another secret.
    #[error("its authenticator is wrong: another secret, or a forgery")]
    Forged,
}

impl Packet {
    /// An accept that says nothing.
    pub fn empty() -> Self {
        Self { code: Code::ACCESS_ACCEPT, identifier: 0, authenticator: [0; 16], attributes: Vec::new() }
    }

    /// From a datagram. Whether it is to be believed is another question.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        if datagram.len() < HEADER {
            return Err(Malformed::Short(datagram.len()));
        }
        let named = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
        if !(HEADER..=MOST).contains(&named) || named > datagram.len() {
            return Err(Malformed::Length { named, octets: datagram.len() });
        }
        let mut attributes = Vec::new();
        let mut at = HEADER;
        while at < named {
            let (kind, length) =
                (datagram[at], datagram.get(at + 1).map_or(0, |length| usize::from(*length)));
            if length < 2 || at + length > named {
                return Err(Malformed::Attribute { number: kind, at, length });
            }
            attributes.push(Attribute { number: kind, value: datagram[at + 2..at + length].to_vec() });
            at += length;
        }
        let mut authenticator = [0; 16];
        authenticator.copy_from_slice(&datagram[4..HEADER]);
        Ok(Self { code: Code(datagram[0]), identifier: datagram[1], authenticator, attributes })
    }

    /// The attributes with this number.
    pub fn all(&self, number: u8) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter().filter(move |attribute| attribute.number == number)
    }

    /// The first attribute with this number.
    pub fn get(&self, number: u8) -> Option<&Attribute> {
        self.all(number).next()
    }

    /// The integer of a vendor (RFC 2865, 5.26).
    pub fn vendor_integer(&self, vendor: u32, number: u8) -> Option<u32> {
        self.all(number::VENDOR_SPECIFIC).find_map(|attribute| {
            let (of, mut rest) = attribute.value.split_first_chunk::<4>()?;
            while u32::from_be_bytes(*of) == vendor && rest.len() >= 2 {
                let own = rest.get(2..usize::from(rest[1]))?;
                if rest[0] == number {
                    return own.try_into().ok().map(u32::from_be_bytes);
                }
                rest = &rest[own.len() + 2..];
            }
            None
        })
    }
}

/// A request to a server: its bytes, and the authenticator that its answer must fit.
///
/// `random` is the authenticator of an Access-Request, which has to be one that nobody foresees (RFC 2865, 3);
/// that of the others is made from what they say.
pub fn request(
    code: Code,
    identifier: u8,
    attributes: &[Attribute],
    secret: &Secret,
    random: Authenticator,
) -> (Vec<u8>, Authenticator) {
    let is_random = code == Code::ACCESS_REQUEST;
    let field = if is_random { random } else { [0; 16] };
    let mut bytes = assemble(code, identifier, field, attributes);
    sign(&mut bytes, secret);
    if !is_random {
        let digest = hash(&[&bytes, secret.expose().as_bytes()]);
        bytes[4..HEADER].copy_from_slice(&digest);
    }
    let mut authenticator = [0; 16];
    authenticator.copy_from_slice(&bytes[4..HEADER]);
    (bytes, authenticator)
}

/// The answer to a request with this authenticator.
pub fn answer(
    code: Code,
    identifier: u8,
    attributes: &[Attribute],
    secret: &Secret,
    asked: &Authenticator,
) -> Vec<u8> {
    let mut bytes = assemble(code, identifier, *asked, attributes);
    sign(&mut bytes, secret);
    let digest = hash(&[&bytes, secret.expose().as_bytes()]);
    bytes[4..HEADER].copy_from_slice(&digest);
    bytes
}

/// Reads the answer to a request with this authenticator.
///
/// An answer about access must have a Message-Authenticator. Servers put none into Accounting-Response; if one is
/// there it must be right.
pub fn read_answer(datagram: &[u8], secret: &Secret, asked: &Authenticator) -> Result<Packet, Malformed> {
    let packet = Packet::decode(datagram)?;
    let mut bytes = whole(datagram).to_vec();
    bytes[4..HEADER].copy_from_slice(asked);
    let digest = hash(&[&bytes, secret.expose().as_bytes()]);
    if !same(&digest, &packet.authenticator) {
        return Err(Malformed::Forged);
    }
    if packet.code != Code::ACCOUNTING_RESPONSE || packet.get(number::MESSAGE_AUTHENTICATOR).is_some() {
        check_signature(&packet, bytes, secret)?;
    }
    Ok(packet)
}

/// Reads a request that a server sends us: Disconnect- and CoA-Request (RFC 5176, 2.3, 3.4).
pub fn read_request(datagram: &[u8], secret: &Secret) -> Result<Packet, Malformed> {
    let packet = Packet::decode(datagram)?;
    let mut bytes = whole(datagram).to_vec();
    bytes[4..HEADER].fill(0);
    if !same(&hash(&[&bytes, secret.expose().as_bytes()]), &packet.authenticator) {
        return Err(Malformed::Forged);
    }
    check_signature(&packet, bytes, secret)?;
    Ok(packet)
}

/// Hides a password as User-Password does (RFC 2865, 5.2); `None`: it has more than 128 octets.
pub fn hide(password: &Secret, secret: &Secret, authenticator: &Authenticator) -> Option<Attribute> {
    let password = password.expose().as_bytes();
    if password.len() > 128 {
        return None;
    }
    let mut padded = Zeroizing::new([0_u8; 128]);
    padded[..password.len()].copy_from_slice(password);
    let blocks = password.len().div_ceil(16).max(1);
    let mut hidden: Vec<u8> = Vec::with_capacity(16 * blocks);
    for block in padded.chunks(16).take(blocks) {
        let before = hidden.last_chunk::<16>().unwrap_or(authenticator);
        let mask = hash(&[secret.expose().as_bytes(), before]);
        hidden.extend(block.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    }
    Some(Attribute { number: number::USER_PASSWORD, value: hidden })
}

fn assemble(code: Code, identifier: u8, authenticator: Authenticator, attributes: &[Attribute]) -> Vec<u8> {
    let mut bytes = vec![code.0, identifier, 0, 0];
    bytes.extend(authenticator);
    bytes.extend([number::MESSAGE_AUTHENTICATOR, 18]);
    bytes.extend([0; 16]);
    for attribute in attributes {
        let value = &attribute.value[..attribute.value.len().min(MOST_OCTETS)];
        // Empty ones are not to be sent (RFC 2865, 5), and a packet has its length.
        if value.is_empty() || bytes.len() + 2 + value.len() > MOST {
            continue;
        }
        #[allow(clippy::cast_possible_truncation)]
        bytes.extend([attribute.number, value.len() as u8 + 2]);
        bytes.extend(value);
    }
    #[allow(clippy::cast_possible_truncation)]
    let length = (bytes.len() as u16).to_be_bytes();
    bytes[2..4].copy_from_slice(&length);
    bytes
}

/// Fills in the Message-Authenticator that [`assemble`] has made room for.
fn sign(bytes: &mut [u8], secret: &Secret) {
    let signature = keyed(bytes, secret).finalize().into_bytes();
    bytes[HEADER + 2..HEADER + 18].copy_from_slice(&signature);
}

/// `bytes`: the packet, with the authenticator that the signature was made over.
fn check_signature(packet: &Packet, mut bytes: Vec<u8>, secret: &Secret) -> Result<(), Malformed> {
    let mut found = packet.all(number::MESSAGE_AUTHENTICATOR);
    let (Some(signature), None) = (found.next(), found.next()) else { return Err(Malformed::Unsigned) };
    if signature.value.len() != 16 {
        return Err(Malformed::Unsigned);
    }
    let before = packet.attributes.iter().take_while(|other| other.number != number::MESSAGE_AUTHENTICATOR);
    let at = HEADER + before.map(|other| other.value.len() + 2).sum::<usize>() + 2;
    bytes[at..at + 16].fill(0);
    keyed(&bytes, secret).verify_slice(&signature.value).map_err(|_| Malformed::Forged)
}

fn keyed(bytes: &[u8], secret: &Secret) -> Hmac<Md5> {
    let hmac = Hmac::<Md5>::new_from_slice(secret.expose().as_bytes());
    let mut hmac = hmac.expect("HMAC takes keys of any length");
    hmac.update(bytes);
    hmac
}

fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut md5 = Md5::new();
    parts.iter().for_each(|part| md5.update(part));
    md5.finalize().into()
}

/// In a time that says nothing about where they differ.
fn same(one: &Authenticator, other: &Authenticator) -> bool {
    one.iter().zip(other).fold(0, |differ, (one, other)| differ | (one ^ other)) == 0
}

/// Without what the network may have padded it with (RFC 2865, 3, Length).
fn whole(datagram: &[u8]) -> &[u8] {
    let named = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
    &datagram[..named.min(datagram.len())]
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
