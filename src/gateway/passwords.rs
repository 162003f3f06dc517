//! Codes at access points of WPA3: a password for one address (SAE), said to hostapd at run time.
//!
//! hostapd tries the newest password of an address first and takes none back. One that ends is covered by another that
//! nobody knows. A hostapd that starts has none of them and is told again.
//!
//! SAE names no key: who joins there under an address that has a password of ours has proved that one. So only codes
//! whose station is known before it comes are told: those that a coordinator's terminal asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::denials::Place;
use super::effects::Gateway;
use crate::adapters::hostapd::HostapdControl;
use crate::logic::grants::Grants;
use crate::model::{Code, Few, Gather, GrantId, Incarnation, KeyId, MacAddr, sentence};
use crate::wire::sign::random;

/// Of which grant and which of its joins a code is.
type Join = (GrantId, Incarnation);

/// What must survive a restart of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The address for which a grant's code is.
    bound: Vec<(GrantId, MacAddr)>,
    told: Vec<(Place, Join)>,
}

/// What the BSSes are told.
#[derive(Debug, Default)]
pub(super) struct Passwords {
    bound: Few<GrantId, MacAddr>,
    told: Few<Place, Told>,
    /// Passwords are said one after the other: the last one counts.
    turn: Arc<Mutex<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    join: Join,
    /// hostapd may have started since.
    again: bool,
}

/// One password to be said.
struct Saying {
    place: Place,
    password: Code,
    /// hostapd may have it already: who is there stays.
    again: bool,
}

impl Passwords {
    pub fn resume(kept: Kept) -> Self {
        let told = kept.told.into_iter().map(|(place, join)| (place, Told { join, again: true }));
        Self { bound: kept.bound.into_iter().gather(), told: told.gather(), turn: Arc::default() }
    }

    pub fn kept(&self) -> Kept {
        Kept {
            bound: self.bound.iter().map(|(id, station)| (*id, *station)).collect(),
            told: self.told.iter().map(|(place, told)| (place.clone(), told.join)).collect(),
        }
    }

    /// The code of this grant is for this address.
    pub fn bind(&mut self, grant: GrantId, station: MacAddr) {
        self.bound.insert(grant, station);
    }

    /// A BSS was made anew.
    pub fn forgotten(&mut self, bss: &str) {
        self.told.iter_mut().filter(|((at, _), _)| at == bss).for_each(|(_, told)| told.again = true);
    }

    /// Which code of ours a station has proved by joining this BSS.
    pub fn key_at(&self, bss: &str, station: MacAddr) -> Option<KeyId> {
        self.told.get(&(bss.to_owned(), station)).map(|told| told.join.0.key_id())
    }

    /// What to say to these BSSes, so that the codes that count open them and no others.
    fn sayings(&mut self, bsses: &[String], grants: &Grants) -> Vec<Saying> {
        let code_of =
            |id: &GrantId| grants.get(*id).and_then(|grant| Some((grant.incarnation, grant.code.as_ref()?)));
        self.bound.retain(|id, _| code_of(id).is_some());
        let wanted: BTreeMap<MacAddr, (Join, &Code)> = self
            .bound
            .iter()
            .filter_map(|(id, station)| {
                code_of(id).map(|(incarnation, code)| (*station, ((*id, incarnation), code)))
            })
            .collect();
        let mut sayings = Vec::new();
        for bss in bsses {
            for (station, (join, code)) in &wanted {
                let place = (bss.clone(), *station);
                let before = self.told.get(&place).copied();
                let again = match before {
                    Some(told) if told.join == *join && !told.again => continue,
                    before => before.is_some_and(|told| told.join == *join),
                };
                self.told.insert(place.clone(), Told { join: *join, again: false });
                sayings.push(Saying { place, password: (*code).clone(), again });
            }
        }
        let is_over = |(bss, station): &Place| bsses.contains(bss) && !wanted.contains_key(station);
        let over: Vec<Place> = self.told.keys().filter(|place| is_over(place)).cloned().collect();
        for place in over {
            self.told.remove(&place);
            sayings.push(Saying { place, password: Code::new(random()), again: false });
        }
        sayings
    }
}

/// Passwords, and whose turn it is to say them.
pub(super) struct ToSay {
    sayings: Vec<Saying>,
    turn: Arc<Mutex<()>>,
}

impl ToSay {
    /// Says them. BSSes that do not take theirs, and why.
    pub async fn carry_out(self, hostapd: &HostapdControl) -> Vec<(String, String)> {
        let _turn = self.turn.lock().await;
        let mut untold = Vec::new();
        for Saying { place: (bss, station), password, again } in self.sayings {
            if let Err(error) = hostapd.set_password(&bss, station, &password, !again).await {
                let why = format!("{bss} does not take a password: {}", sentence(&error));
                untold.push((bss, why));
            }
        }
        untold
    }
}

impl Gateway {
    /// What is to be said now.
    pub fn passwords_to_say(&mut self) -> ToSay {
        let infos = self.hostapd.bsses().into_iter().filter(|info| info.takes_passwords());
        let keyed =
            infos.filter(|info| self.network_at(&info.name).is_some_and(|at| at.wpa_psk_file.is_some()));
        let bsses: Vec<String> = keyed.map(|info| info.name).collect();
        let sayings = self.passwords.sayings(&bsses, &self.grants);
        self.running_changed |= !sayings.is_empty();
        ToSay { sayings, turn: Arc::clone(&self.passwords.turn) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::grants::Input;
    use crate::model::{BootTime, Cause, Holder, Origin};

    const ANNE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const BOB: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const GRANT: GrantId = GrantId([7; 16]);

    /// The newest password of an address is that of the join that counts, or one that nobody knows; whoever was there
    /// by another one is sent away, and nobody else.
    #[test]
    fn no_short_history_leaves_a_code_that_ended() {
        let steps: [fn(&mut Scene); 7] = [
            |scene| scene.join(ANNE),
            |scene| scene.join(BOB),
            |scene| scene.end(),
            |scene| {
                scene.newest.clear();
                scene.passwords.forgotten("ap1");
            },
            |scene| {
                scene.passwords = Passwords::resume(scene.passwords.kept());
                scene.passwords.forgotten("ap1");
            },
            |scene| scene.away = !scene.away,
            Scene::turn,
        ];
        let count = steps.len();
        for history in 0..count.pow(5) {
            let mut scene = Scene::default();
            let mut rest = history;
            for _ in 0..5 {
                steps[rest % count](&mut scene);
                rest /= count;
            }
            scene.away = false;
            scene.turn();
            let counts = scene.grants.get(GRANT).and_then(|grant| grant.code.clone());
            for station in [ANNE, BOB] {
                let opened = scene.newest.get(&station).is_some_and(|code| scene.known.contains(code));
                let wanted = counts.is_some() && scene.station == Some(station);
                assert_eq!(opened, wanted, "history {history}");
                assert_eq!(
                    scene.passwords.key_at("ap1", station),
                    wanted.then(|| GRANT.key_id()),
                    "history {history}"
                );
                assert!(!wanted || scene.newest.get(&station) == counts.as_ref(), "history {history}");
            }
            assert!(
                scene.passwords.sayings(&["ap1".to_owned()], &scene.grants).is_empty(),
                "history {history}"
            );
        }
    }

    #[derive(Default)]
    struct Scene {
        passwords: Passwords,
        grants: Grants,
        joins: u32,
        station: Option<MacAddr>,
        known: Vec<Code>,
        newest: BTreeMap<MacAddr, Code>,
        away: bool,
    }

    impl Scene {
        fn join(&mut self, station: MacAddr) {
            self.joins += 1;
            let code = Code::new([self.joins as u8; 32]);
            self.known.push(code.clone());
            self.station = Some(station);
            self.passwords.bind(GRANT, station);
            let (origin, holder, incarnation) =
                (Origin::Coordinator, Holder::Station, Incarnation(self.joins));
            let input =
                Input::GiveCode { id: GRANT, code, origin, holder, incarnation, lease: None, quota: None };
            self.grants.handle_input(input, BootTime(0));
            self.turn();
        }

        fn end(&mut self) {
            let input = Input::Take { grant: GRANT, incarnation: None, cause: Cause::Owner };
            self.grants.handle_input(input, BootTime(0));
            self.turn();
        }

        fn turn(&mut self) {
            let bsses = if self.away { vec![] } else { vec!["ap1".to_owned()] };
            for Saying { place, password, again } in self.passwords.sayings(&bsses, &self.grants) {
                assert!(!again || self.newest.get(&place.1).is_none_or(|before| *before == password));
                self.newest.insert(place.1, password);
            }
        }
    }
}
