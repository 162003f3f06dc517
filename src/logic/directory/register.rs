//! The coordinator's directory: who is listed where, and what changed since a version that somebody holds.
//!
//! In memory only: it is made anew from what the gateways announced last, and has the same versions then. What
//! changed is remembered for some versions back; who holds an older one gets the whole.
//!
//! Invariant: whoever takes in all parts of an answer holds exactly what is listed, from any version
//! (`every_reader_ends_with_what_is_listed`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{Area, Bssid, DirectoryVersion, Region, ServiceId, Ssid};
use crate::wire::directory::{DirectoryPart, Listed, MOST_GONE, MOST_LISTED, MOST_PARTS, version};

/// Versions that are remembered of each region.
const VERSIONS: usize = 64;
/// Addresses that all of them together name at most.
const CHANGES: usize = 4096;

/// All regions.
#[derive(Clone, Debug, Default)]
pub struct Register {
    regions: BTreeMap<Region, Shelf>,
    /// Where each gateway is listed.
    areas: BTreeMap<ServiceId, Area>,
}

/// One region.
#[derive(Clone, Debug)]
struct Shelf {
    listed: BTreeMap<Bssid, Listed>,
    /// As of the last time somebody asked.
    version: DirectoryVersion,
    /// Changed since.
    changed: BTreeSet<Bssid>,
    /// Earlier versions, oldest first, and what changed from each to the next.
    history: VecDeque<(DirectoryVersion, BTreeSet<Bssid>)>,
}

impl Register {
    /// What a gateway shares from now on, and where: all of it. Without an area it is in no directory.
    pub fn set<'a>(
        &mut self,
        service: ServiceId,
        area: Option<&Area>,
        shared: impl IntoIterator<Item = (&'a Ssid, Bssid)>,
    ) {
        let before = match area {
            Some(area) => self.areas.insert(service, area.clone()),
            None => self.areas.remove(&service),
        };
        let is_listed = |ssid: &Ssid| !ssid.as_bytes().is_empty() && !ssid.as_bytes().ends_with(b"_nomap");
        let mut wanted = BTreeMap::new();
        if let Some(area) = area {
            for (ssid, bssid) in shared.into_iter().filter(|(ssid, _)| is_listed(ssid)) {
                wanted.insert(bssid, Listed { area: area.clone(), ssid: ssid.clone(), bssid, service });
            }
        }
        if let Some(left) =
            before.as_ref().map(Area::region).filter(|left| Some(*left) != area.map(Area::region))
            && let Some(shelf) = self.regions.get_mut(left)
        {
            shelf.replace(service, BTreeMap::new());
        }
        if let Some(area) = area {
            self.regions.entry(area.region().clone()).or_default().replace(service, wanted);
        }
    }

    /// One part of what somebody needs who holds this version of a region, or nothing yet. All parts of one answer
    /// name the same version; if another comes, the directory has changed, and part 0 is to be asked for again. That
    /// is also what comes for a part that is not there.
    pub fn part(
        &mut self,
        region: &Region,
        have: Option<DirectoryVersion>,
        part: u16,
        made: u64,
    ) -> DirectoryPart {
        let mut empty = Shelf::default();
        let shelf = self.regions.get_mut(region).unwrap_or(&mut empty);
        shelf.settle();
        let changed = have.and_then(|have| shelf.since(have));
        let from = have.filter(|_| changed.is_some());
        let (gone, listed): (Vec<Bssid>, Vec<&Listed>) = match changed {
            Some(changed) => (
                changed.iter().copied().filter(|bssid| !shelf.listed.contains_key(bssid)).collect(),
                changed.iter().filter_map(|bssid| shelf.listed.get(bssid)).collect(),
            ),
            None => (Vec::new(), shelf.listed.values().collect()),
        };
        let parts = gone.len().div_ceil(MOST_GONE).max(listed.len().div_ceil(MOST_LISTED)).max(1);
        let parts = u16::try_from(parts).unwrap_or(MOST_PARTS).min(MOST_PARTS);
        let part = if part < parts { part } else { 0 };
        let at = usize::from(part);
        DirectoryPart {
            from,
            gone: gone.into_iter().skip(at * MOST_GONE).take(MOST_GONE).collect(),
            made,
            part,
            parts,
            listed: listed.into_iter().skip(at * MOST_LISTED).take(MOST_LISTED).cloned().collect(),
            region: region.clone(),
            version: shelf.version,
        }
    }
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            listed: BTreeMap::new(),
            version: version([]),
            changed: BTreeSet::new(),
            history: VecDeque::new(),
        }
    }
}

impl Shelf {
    fn replace(&mut self, service: ServiceId, wanted: BTreeMap<Bssid, Listed>) {
        let had: Vec<Bssid> =
            self.listed.values().filter(|listed| listed.service == service).map(|l| l.bssid).collect();
        for bssid in had {
            if !wanted.contains_key(&bssid) {
                self.listed.remove(&bssid);
                self.changed.insert(bssid);
            }
        }
        for (bssid, listed) in wanted {
            if self.listed.get(&bssid) != Some(&listed) {
                self.listed.insert(bssid, listed);
                self.changed.insert(bssid);
            }
        }
    }

    /// Names the present version. Only when somebody asks: gateways come and go in between.
    fn settle(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        let before = std::mem::replace(&mut self.version, version(self.listed.values()));
        let changed = std::mem::take(&mut self.changed);
        if before == self.version {
            return;
        }
        self.history.push_back((before, changed));
        let mut named: usize = self.history.iter().map(|(_, changed)| changed.len()).sum();
        while self.history.len() > VERSIONS || named > CHANGES {
            let Some((_, forgotten)) = self.history.pop_front() else { break };
            named -= forgotten.len();
        }
    }

    /// What changed since a version; `None`: it is not remembered.
    fn since(&self, have: DirectoryVersion) -> Option<BTreeSet<Bssid>> {
        if have == self.version {
            return Some(BTreeSet::new());
        }
        let at = self.history.iter().rposition(|(version, _)| *version == have)?;
        Some(self.history.range(at..).flat_map(|(_, changed)| changed).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logic::directory::Book;
    use crate::model::MacAddr;

    #[test]
    fn who_names_no_area_and_what_has_no_name_is_not_listed() {
        let mut register = Register::default();
        let names = ["Corner", "", "home_nomap"].map(|name| Ssid::new(name).unwrap());
        let shared = || names.iter().zip(1..).map(|(ssid, number)| (ssid, bssid(number)));
        register.set(service(1), None, shared());
        assert_eq!(register.part(&region(0), None, 0, 7).listed, []);
        register.set(service(1), Some(&area(0)), shared());
        let part = register.part(&region(0), None, 0, 7);
        assert_eq!(part.listed.iter().map(|listed| listed.bssid).collect::<Vec<_>>(), [bssid(1)]);
        assert_eq!((part.made, part.parts, part.from), (7, 1, None));
        register.set(service(1), None, []);
        let part = register.part(&region(0), Some(part.version), 0, 8);
        assert_eq!((part.gone, part.listed), (vec![bssid(1)], vec![]));
    }

    #[test]
    fn what_is_too_long_ago_is_sent_whole_and_a_part_too_many_is_the_first() {
        let mut register = Register::default();
        let ssid = Ssid::new("Corner").unwrap();
        let mut share = |most: u8| {
            register.set(service(1), Some(&area(0)), (0..most).map(|number| (&ssid, bssid(number))));
            register.part(&region(0), None, 0, 0).version
        };
        let (first, second) = (share(1), share(2));
        for most in 3..3 + VERSIONS as u8 {
            share(most);
        }
        assert_eq!(register.part(&region(0), Some(first), 0, 0).from, None);
        let part = register.part(&region(0), Some(second), 0, 0);
        assert_eq!((part.from, part.listed.len(), part.parts), (Some(second), VERSIONS, 1));
        let whole = register.part(&region(0), None, 1, 0);
        assert_eq!((whole.part, whole.parts, whole.listed.len()), (1, 2, 2));
        assert_eq!(register.part(&region(0), None, 2, 0).part, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Gateways come, move and go; some readers ask often, some seldom.
        #[test]
        fn every_reader_ends_with_what_is_listed(
            steps in proptest::collection::vec((0_u8..4, 0_u8..5, 0_u8..100, any::<u8>()), 1..60),
        ) {
            let ssid = Ssid::new("Corner").unwrap();
            let mut register = Register::default();
            let mut books: Vec<Book> = vec![Book::default(); 8];
            for (gateway, place, many, asks) in steps {
                let area = (place < 4).then(|| area(place));
                let shared = (0..many).map(|number| (&ssid, Bssid(MacAddr([2, 0, 0, 0, gateway, number]))));
                register.set(service(gateway), area.as_ref(), shared);
                for (at, book) in books.iter_mut().enumerate() {
                    if asks & (1 << at) != 0 {
                        read(&mut register, book);
                    }
                }
            }
            for book in &mut books {
                read(&mut register, book);
                let mut fresh = Book::default();
                read(&mut register, &mut fresh);
                prop_assert_eq!(book.len(), fresh.len());
                let held = |book: &Book| [0, 1].map(|at| book.version(&region(at)));
                prop_assert_eq!(held(book), held(&fresh));
            }
        }
    }

    fn read(register: &mut Register, book: &mut Book) {
        for at in [0, 1] {
            let have = book.version(&region(at));
            let first = register.part(&region(at), have, 0, 0);
            let others = (1..first.parts).map(|part| register.part(&region(at), have, part, 0));
            let parts: Vec<DirectoryPart> = std::iter::once(first.clone()).chain(others).collect();
            book.take_in(&parts).unwrap();
        }
    }

    fn area(number: u8) -> Area {
        format!("{}/area-{number}", region(number % 2)).parse().unwrap()
    }

    fn region(number: u8) -> Region {
        format!("region-{number}").parse().unwrap()
    }

    fn service(number: u8) -> ServiceId {
        ServiceId([number; 16])
    }

    fn bssid(number: u8) -> Bssid {
        Bssid(MacAddr([2, 0, 0, 0, 0, number]))
    }
}
