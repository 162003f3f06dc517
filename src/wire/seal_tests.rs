//! Sealed codes: what opens, and everything that does not.

use super::*;
use crate::model::Signature;

const TO: OfferedTo = OfferedTo {
    bssid: Bssid(MacAddr([2, 0, 0, 0, 0, 9])),
    service: ServiceId([0; 16]),
    station: MacAddr([2, 0, 0, 0, 0, 1]),
};
const SESSION: SessionId = SessionId([5; 16]);
const JOIN: Incarnation = Incarnation(3);

#[test]
fn a_code_opens_for_the_join_it_was_sealed_for() {
    let scene = Scene::new();
    let (asking, sealed) = scene.sealed();
    assert!(!format!("{sealed:?} {asking:?}").contains("90, 90"));
    assert_eq!(asking.open(&sealed, SESSION, JOIN), Ok(code()));
}

#[test]
fn a_code_for_another_join_session_or_gateway_is_refused() {
    let scene = Scene::new();
    for (session, join) in [(SessionId([6; 16]), JOIN), (SESSION, JOIN.next())] {
        let (asking, sealed) = scene.sealed();
        assert_eq!(asking.open(&sealed, session, join), Err(SealError::Forged));
    }
    // The coordinator answers with a code that another gateway made, for the same session and join.
    let stranger = Scene::new();
    let (asking, _) = scene.sealed();
    let offer = asking.offer(&stranger.terminal);
    let to = OfferedTo { service: stranger.service(), ..scene.to() };
    let redirected = super::offer(offer.keys, to, &stranger.terminal);
    let binding = Binding { to, ..scene.binding() };
    let sealed = seal(&code(), &redirected, stranger.terminal.public(), &binding, &stranger.gateway).unwrap();
    assert_eq!(asking.open(&sealed, SESSION, JOIN), Err(SealError::Forged));
    // An answer to the question before.
    let (_, earlier) = scene.sealed();
    let (asking, _) = scene.sealed();
    assert_eq!(asking.open(&earlier, SESSION, JOIN), Err(SealError::Unopened));
}

#[test]
fn a_changed_octet_anywhere_is_refused() {
    let scene = Scene::new();
    type Field = fn(&mut SealedCode) -> &mut [u8];
    let fields: [(Field, usize); 4] = [
        (|sealed| &mut sealed.enc, 32),
        (|sealed| &mut sealed.key.0, 32),
        (|sealed| &mut sealed.signature.0, 64),
        (|sealed| &mut sealed.ciphertext, 32 + 16),
    ];
    for (field, length) in fields {
        for at in 0..length {
            let (asking, mut sealed) = scene.sealed();
            assert_eq!(field(&mut sealed).len(), length);
            field(&mut sealed)[at] ^= 1;
            assert_eq!(asking.open(&sealed, SESSION, JOIN), Err(SealError::Forged), "{at} of {length}");
        }
    }
    let (asking, sealed) = scene.sealed();
    let renamed = SealedCode { algorithm: "none".into(), ..sealed };
    assert_eq!(asking.open(&renamed, SESSION, JOIN), Err(SealError::Forged));
}

#[test]
fn what_the_gateway_signed_and_did_not_seal_is_refused() {
    let scene = Scene::new();
    let signed = |sealed: SealedCode| {
        let octets = super::sealed(&scene.binding(), &sealed.algorithm, &sealed.enc, &sealed.ciphertext);
        SealedCode { signature: scene.gateway.sign(Domain::SealedCode, &octets), ..sealed }
    };
    let (asking, sealed) = scene.sealed();
    let renamed = signed(SealedCode { algorithm: "none".into(), ..sealed });
    assert_eq!(asking.open(&renamed, SESSION, JOIN), Err(SealError::NotOffered));
    type Change = fn(&mut SealedCode);
    let changes: [Change; 5] = [
        |sealed| sealed.ciphertext[0] ^= 1,
        |sealed| sealed.ciphertext.clear(),
        |sealed| sealed.enc[5] ^= 1,
        |sealed| sealed.enc = vec![0; 32],
        |sealed| sealed.enc.clear(),
    ];
    for change in changes {
        let (asking, mut sealed) = scene.sealed();
        change(&mut sealed);
        assert_eq!(asking.open(&signed(sealed), SESSION, JOIN), Err(SealError::Unopened));
    }
}

#[test]
fn keys_that_the_terminal_did_not_offer_for_here_are_refused() {
    let scene = Scene::new();
    let asking = Asking::new(scene.to());
    let offer = asking.offer(&scene.terminal);
    let seal = |offer: &Offer, binding| {
        seal(&code(), offer, scene.terminal.public(), &binding, &scene.gateway).unwrap_err()
    };
    // A coordinator puts in a key of its own, or signs with a key of its own.
    let mut own_key = offer.clone();
    own_key.keys[0].key = KeyPair::generate().public().to_vec();
    assert_eq!(seal(&own_key, scene.binding()), SealError::BadOffer);
    assert_eq!(seal(&asking.offer(&Identity::generate()), scene.binding()), SealError::BadOffer);
    let unsigned = Offer { signature: Signature([0; 64]), ..offer.clone() };
    assert_eq!(seal(&unsigned, scene.binding()), SealError::BadOffer);
    // Or shows the offer elsewhere.
    let to = scene.to();
    for to in [
        OfferedTo { bssid: Bssid(MacAddr([2, 0, 0, 0, 0, 8])), ..to },
        OfferedTo { service: ServiceId([1; 16]), ..to },
        OfferedTo { station: MacAddr([2, 0, 0, 0, 0, 2]), ..to },
    ] {
        assert_eq!(seal(&offer, Binding { to, ..scene.binding() }), SealError::BadOffer, "{to:?}");
    }
}

#[test]
fn the_first_algorithm_that_both_have_is_taken_or_none() {
    let scene = Scene::new();
    let asking = Asking::new(scene.to());
    let ours = asking.offer(&scene.terminal).keys.remove(0);
    let named = |algorithm: &str| OfferedKey { key: vec![1; 1216], algorithm: algorithm.into() };
    let seal = |keys: Vec<OfferedKey>| {
        let offer = offer(keys, scene.to(), &scene.terminal);
        seal(&code(), &offer, scene.terminal.public(), &scene.binding(), &scene.gateway)
    };
    let error = seal(vec![named("a\nb"), named("x-wing")]).unwrap_err();
    assert_eq!(error.word(), "no-common-algorithm");
    assert!(error.to_string().contains(r"a\nb, x-wing"), "{error}");
    assert_eq!(seal(vec![]).unwrap_err().word(), "no-common-algorithm");
    assert_eq!(seal(vec![OfferedKey { key: vec![0; 32], ..ours.clone() }]), Err(SealError::BadKey));
    let five = vec![ours.clone(); MOST_KEYS + 1];
    let offer = Offer { keys: five, signature: Signature([0; 64]) };
    let binding = scene.binding();
    let refused = super::seal(&code(), &offer, scene.terminal.public(), &binding, &scene.gateway);
    assert_eq!(refused, Err(SealError::TooLong));
    let sealed = seal(vec![named("x-wing"), ours]).unwrap();
    assert_eq!(asking.open(&sealed, SESSION, JOIN), Ok(code()));
}

fn code() -> Code {
    Code::new([0x5a; 32])
}

struct Scene {
    gateway: Identity,
    terminal: Identity,
}

impl Scene {
    fn new() -> Self {
        Self { gateway: Identity::generate(), terminal: Identity::generate() }
    }

    fn service(&self) -> ServiceId {
        service_id(self.gateway.public())
    }

    fn to(&self) -> OfferedTo {
        OfferedTo { service: self.service(), ..TO }
    }

    fn binding(&self) -> Binding {
        Binding { to: self.to(), session: SESSION, incarnation: JOIN }
    }

    fn sealed(&self) -> (Asking, SealedCode) {
        let asking = Asking::new(self.to());
        let offer = asking.offer(&self.terminal);
        let sealed = seal(&code(), &offer, self.terminal.public(), &self.binding(), &self.gateway);
        (asking, sealed.unwrap())
    }
}
