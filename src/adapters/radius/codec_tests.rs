//! On the examples of RFC 2865, section 7, on packets of FreeRADIUS 3.2.1 and radclient, and on damaged ones.

use super::*;
use crate::model::unhex;

/// That of RFC 2865, section 7.
const SECRET: &str = "xyzzy5461";

/// RFC 2865, 7.1: nemo logs in with "arctangent", and the answer. From before there were Message-Authenticators.
const RFC_REQUEST: &str = "010000380f403f9473978057bd83d5cb98f4227a\
    01066e656d6f02120dbe708d93d413ce3196e43f782a0aee0406c0a80110050600000003";
const RFC_ACCEPT: &str = "0200002686fe220e7624ba2a1005f6bf9b55e0b2060600000001 0f0600000000 0e06c0a80103";

/// FreeRADIUS as Debian 12 configures it: its answers about access have no Message-Authenticator.
const ASKED_PLAIN: &str = "4901741f4e4213c531e1b54e57f07f8a";
const ACCEPT_PLAIN: &str = "025e003f4c7988b13f4d5ea89a59f6f73ffef34b\
    1b0600000e10 1c0600000258 55060000012c 1a0c000038df0306000f4240 19046162 120957656c636f6d65";

/// With `update reply { Message-Authenticator := 0x00 }` in post-auth.
const REQUEST: &str = "0148003e1e26e5538d1520e13125906e0d2cb8e9\
    01066e656d6f 0212f28f55cf35d9dc744f66e9562169e77e 5012a332e7a4bb7bb4640c1d5a9c48685735";
const ACCEPT: &str = "02480051c88143719a4077e5a34a36d34f29011c\
    1b0600000e10 1c0600000258 55060000012c 1a0c000038df0306000f4240 19046162 120957656c636f6d65\
    50125d46c9961f00a2ddc997fa5fe1fefb6f";
const ASKED_REJECT: &str = "f6247e12d80f0f1f87dd7fbfb1d90588";
const REJECT: &str = "03ac0051a0a47c9d694e994c21dcd33cfd2fc081\
    1b0600000e10 1c0600000258 55060000012c 1a0c000038df0306000f4240 19046162 120957656c636f6d65\
    5012519fb7a29ebf2c1f6e52a47a12ed854f";

/// An Accounting-Request of radclient, and FreeRADIUS's answer.
const ACCOUNTING: &str = "041c0035299ef94b6ed34002ea2fcc5452f3dca2\
    01066e656d6f 280600000001 2c0331 5012e67a602311702721 75dd2f4e5d419514";
const ACCOUNTED: &str = "051c0014803943f712e49473ae95c27a0869590d";

/// A Disconnect-Request of radclient: Acct-Session-Id, Calling-Station-Id, Event-Timestamp.
const DISCONNECT: &str = "28b00042f983c7d05dc74331c1ee0c54d679f3cc\
    2c0331 1f1330322d30302d30302d30302d30302d3031 37066553f100 50128856f4d52e4be621a7a13c2075d22d60";

fn octets(text: &str) -> Vec<u8> {
    unhex(&text.replace(' ', "")).unwrap()
}

fn authenticator(text: &str) -> Authenticator {
    octets(text).try_into().unwrap()
}

fn secret() -> Secret {
    Secret::new(SECRET)
}

#[test]
fn a_password_is_hidden_as_the_rfc_hides_it() {
    let request = Packet::decode(&octets(RFC_REQUEST)).unwrap();
    let hidden = hide(&Secret::new("arctangent"), &secret(), &request.authenticator).unwrap();
    assert_eq!(Some(&hidden), request.get(number::USER_PASSWORD));
    let request = Packet::decode(&octets(REQUEST)).unwrap();
    let hidden = hide(&Secret::new("arctangent"), &secret(), &request.authenticator).unwrap();
    assert_eq!(Some(&hidden), request.get(number::USER_PASSWORD), "as radclient does");

    // From no block at all to eight, and no further.
    let lengths = [(0, 16), (1, 16), (16, 16), (17, 32), (128, 128)];
    for (length, hidden) in lengths {
        let password = Secret::new("p".repeat(length));
        assert_eq!(hide(&password, &secret(), &[7; 16]).unwrap().value.len(), hidden);
    }
    assert_eq!(hide(&Secret::new("p".repeat(129)), &secret(), &[7; 16]), None);
}

#[test]
fn what_a_server_answers_is_read() {
    let asked = Packet::decode(&octets(REQUEST)).unwrap().authenticator;
    let accept = read_answer(&octets(ACCEPT), &secret(), &asked).unwrap();
    assert_eq!((accept.code, accept.identifier), (Code::ACCESS_ACCEPT, 0x48));
    let integer = |number| accept.get(number).and_then(Attribute::as_integer);
    assert_eq!(integer(number::SESSION_TIMEOUT), Some(3600));
    assert_eq!(integer(number::IDLE_TIMEOUT), Some(600));
    assert_eq!(integer(number::ACCT_INTERIM_INTERVAL), Some(300));
    assert_eq!(accept.vendor_integer(14_559, 3), Some(1_000_000));
    assert_eq!(accept.vendor_integer(14_559, 1), None);
    assert_eq!(accept.vendor_integer(14_122, 3), None);
    assert_eq!(accept.get(number::CLASS).unwrap().value, b"ab");
    assert_eq!(accept.get(number::REPLY_MESSAGE).unwrap().as_text(), Some("Welcome"));

    let reject = read_answer(&octets(REJECT), &secret(), &authenticator(ASKED_REJECT)).unwrap();
    assert_eq!(reject.code, Code::ACCESS_REJECT);

    let asked = Packet::decode(&octets(ACCOUNTING)).unwrap().authenticator;
    let accounted = read_answer(&octets(ACCOUNTED), &secret(), &asked).unwrap();
    assert_eq!((accounted.code, accounted.attributes.len()), (Code::ACCOUNTING_RESPONSE, 0));
}

#[test]
fn an_answer_about_access_without_a_message_authenticator_is_refused() {
    let read = |packet: &str, asked: &str| read_answer(&octets(packet), &secret(), &authenticator(asked));
    assert_eq!(read(ACCEPT_PLAIN, ASKED_PLAIN), Err(Malformed::Unsigned));
    assert_eq!(read(RFC_ACCEPT, "0f403f9473978057bd83d5cb98f4227a"), Err(Malformed::Unsigned));
    // With its response authenticator right, so that nothing else is wrong with them.
    assert_eq!(read(ACCEPT_PLAIN, ASKED_REJECT), Err(Malformed::Forged));
}

#[test]
fn a_request_of_a_server_is_read() {
    let request = read_request(&octets(DISCONNECT), &secret()).unwrap();
    assert_eq!(request.code, Code::DISCONNECT_REQUEST);
    assert_eq!(request.get(number::ACCT_SESSION_ID).unwrap().as_text(), Some("1"));
    assert_eq!(request.get(number::EVENT_TIMESTAMP).unwrap().as_integer(), Some(1_700_000_000));
    // Without a Message-Authenticator, its request authenticator right.
    let mut bare = assemble(Code::DISCONNECT_REQUEST, 1, [0; 16], &request.attributes[..1]);
    bare.drain(HEADER..HEADER + 18);
    bare[3] = bare.len() as u8;
    let digest = hash(&[&bare, SECRET.as_bytes()]);
    bare[4..HEADER].copy_from_slice(&digest);
    assert_eq!(read_request(&bare, &secret()), Err(Malformed::Unsigned));
}

#[test]
fn an_accounting_request_is_signed_as_that_of_radclient() {
    let theirs = read_request(&octets(ACCOUNTING), &secret()).unwrap();
    let (ours, authenticator) =
        request(Code::ACCOUNTING_REQUEST, 0x1c, &theirs.attributes[..3], &secret(), [9; 16]);
    let ours = read_request(&ours, &secret()).unwrap();
    assert_eq!(ours.authenticator, authenticator);
    assert_eq!(ours.attributes[1..], theirs.attributes[..3]);
    assert_eq!(ours.attributes[0].number, number::MESSAGE_AUTHENTICATOR, "it comes first");
}

#[test]
fn one_octet_changed_anywhere_is_noticed() {
    let asked = Packet::decode(&octets(REQUEST)).unwrap().authenticator;
    let answer_to = super::answer(Code::DISCONNECT_ACK, 7, &[], &secret(), &asked);
    for (original, of_server) in
        [(octets(ACCEPT), false), (octets(DISCONNECT), true), (answer_to.clone(), false)]
    {
        for at in 0..original.len() {
            for bit in 0..8 {
                let mut changed = original.clone();
                changed[at] ^= 1 << bit;
                let read = match of_server {
                    true => read_request(&changed, &secret()),
                    false => read_answer(&changed, &secret(), &asked),
                };
                assert!(read.is_err(), "octet {at}, bit {bit}: {read:?}");
            }
        }
    }
    let other = Secret::new("xyzzy5462");
    assert_eq!(read_request(&octets(DISCONNECT), &other), Err(Malformed::Forged));
    assert_eq!(read_answer(&answer_to, &other, &asked), Err(Malformed::Forged));
    assert_eq!(read_answer(&answer_to, &secret(), &[0; 16]), Err(Malformed::Forged), "to another request");
    assert!(read_answer(&answer_to, &secret(), &asked).is_ok());
}

#[test]
fn truncated_oversized_and_torn_packets_are_named() {
    let whole = octets(ACCEPT);
    for length in 0..whole.len() {
        let wanted = match length {
            0..HEADER => Malformed::Short(length),
            _ => Malformed::Length { named: whole.len(), octets: length },
        };
        assert_eq!(Packet::decode(&whole[..length]), Err(wanted));
    }
    // What comes behind the length is padding.
    let padded = [whole.as_slice(), &[0xff; 9]].concat();
    let asked = Packet::decode(&octets(REQUEST)).unwrap().authenticator;
    assert!(read_answer(&padded, &secret(), &asked).is_ok());

    let mut named = vec![0; 5000];
    named[2..4].copy_from_slice(&4097_u16.to_be_bytes());
    assert_eq!(Packet::decode(&named), Err(Malformed::Length { named: 4097, octets: 5000 }));
    named[2..4].copy_from_slice(&19_u16.to_be_bytes());
    assert_eq!(Packet::decode(&named), Err(Malformed::Length { named: 19, octets: 5000 }));
    for (length, octets) in [(0, 22), (1, 22), (3, 22), (2, 21)] {
        let mut torn = vec![2, 0, 0, octets];
        torn.resize(usize::from(octets), 0);
        (torn[20], *torn.last_mut().unwrap()) = (1, length);
        let found = Packet::decode(&torn);
        assert!(matches!(found, Err(Malformed::Attribute { at: 20, .. })), "{found:?}");
    }
}

#[test]
fn two_message_authenticators_are_none() {
    let twice = [Attribute::octets(number::MESSAGE_AUTHENTICATOR, &[0; 16])];
    let bytes = answer(Code::ACCESS_ACCEPT, 1, &twice, &secret(), &[3; 16]);
    assert_eq!(read_answer(&bytes, &secret(), &[3; 16]), Err(Malformed::Unsigned));
}

#[test]
fn no_request_is_longer_than_a_packet_may_be() {
    let many = vec![Attribute::octets(number::CLASS, &[7; 300]); 40];
    let (bytes, _) = request(Code::ACCOUNTING_REQUEST, 1, &many, &secret(), [0; 16]);
    let read = read_request(&bytes, &secret()).unwrap();
    assert!(bytes.len() <= MOST && read.attributes.len() > 10);
    assert_eq!(read.attributes[1].value.len(), MOST_OCTETS);
    let empty = [Attribute::text(number::USER_NAME, "")];
    let (bytes, _) = request(Code::ACCOUNTING_REQUEST, 1, &empty, &secret(), [0; 16]);
    assert_eq!(read_request(&bytes, &secret()).unwrap().attributes.len(), 1, "empty ones are left out");
}

#[test]
fn values_do_not_show_themselves() {
    let shown = format!("{:?}", Packet::decode(&octets(REQUEST)).unwrap());
    assert!(!shown.contains("nemo") && shown.contains("1:4 octets"), "{shown}");
}

#[test]
fn torn_vendor_attributes_are_passed_over() {
    let packet = |values: &[&str]| Packet {
        code: Code::ACCESS_ACCEPT,
        identifier: 0,
        authenticator: [0; 16],
        attributes: values.iter().map(|text| Attribute::octets(26, &octets(text))).collect(),
    };
    for torn in [
        "",
        "000038",
        "000038df",
        "000038df03",
        "000038df0300",
        "000038df0301",
        "000038df03060000",
        "000038df0303ff",
    ] {
        assert_eq!(packet(&[torn]).vendor_integer(14_559, 3), None, "{torn}");
        assert_eq!(packet(&[torn, "000038df030600000007"]).vendor_integer(14_559, 3), Some(7), "{torn}");
    }
    assert_eq!(packet(&["000038df0106000000010306 00000002"]).vendor_integer(14_559, 3), Some(2));
}
