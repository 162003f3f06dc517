//! The terminal's directory: what it holds of each region, and whether what its radio sees is in there.
//!
//! Invariant: a difference is taken in whole or not at all, and what results has the version that it names
//! (`a_difference_is_taken_in_whole_or_not_at_all`).

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use crate::model::{Area, Bssid, DirectoryVersion, Refusal, Region};
use crate::wire::directory::{DirectoryPart, Listed, version};
use crate::wire::terminal::{Candidate, SeenAp};

/// How many access points of an area have to be in reach, where so many are listed. Areas with fewer than three are
/// recognised by one.
pub type Needed = NonZeroU8;

/// From how many listed on an area is recognised by several.
const SEVERAL: usize = 3;

/// All regions that a terminal holds.
#[derive(Clone, Debug, Default)]
pub struct Book {
    regions: BTreeMap<Region, Volume>,
}

#[derive(Clone, Debug)]
struct Volume {
    listed: BTreeMap<Bssid, Listed>,
    version: DirectoryVersion,
    /// Listed in each area.
    areas: BTreeMap<Area, usize>,
    /// Taken in since it was read whole.
    differences: u16,
}

impl Book {
    /// What is held of a region.
    pub fn version(&self, region: &Region) -> Option<DirectoryVersion> {
        self.regions.get(region).map(|volume| volume.version)
    }

    /// How many differences what is held of a region is made of, behind the whole.
    pub fn differences(&self, region: &Region) -> u16 {
        self.regions.get(region).map_or(0, |volume| volume.differences)
    }

    /// Access points that are held, of all regions.
    pub fn len(&self) -> usize {
        self.regions.values().map(|volume| volume.listed.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in all parts of one answer, in order; or leaves everything as it was and says what is wrong.
    pub fn take_in(&mut self, parts: &[DirectoryPart]) -> Result<(), Refusal> {
        let wrong = |sentence: String| Refusal::new("bad-directory", sentence);
        let Some(first) = parts.first() else { return Err(wrong("a directory without any part".into())) };
        let region = &first.region;
        for (at, part) in (0_u16..).zip(parts) {
            let belongs = (&part.region, part.from, part.version, part.part, part.parts)
                == (region, first.from, first.version, at, first.parts);
            if !belongs {
                return Err(wrong(format!("part {at} of the directory of {region} belongs to another one")));
            }
            if let Some(stray) = part.listed.iter().find(|listed| listed.area.region() != region) {
                return Err(wrong(format!("the directory of {region} lists something in {}", stray.area)));
            }
        }
        if parts.len() != usize::from(first.parts) {
            let sentence =
                format!("{} of the {} parts of the directory of {region}", parts.len(), first.parts);
            return Err(wrong(sentence));
        }
        let mut listed = match (first.from, self.regions.get(region)) {
            (None, _) => BTreeMap::new(),
            (Some(from), Some(held)) if held.version == from => held.listed.clone(),
            (Some(from), held) => {
                let held = held.map_or("none".to_owned(), |held| held.version.to_string());
                let sentence =
                    format!("the directory of {region} is a difference to version {from}; {held} is held");
                return Err(wrong(sentence));
            }
        };
        for part in parts {
            for bssid in &part.gone {
                listed.remove(bssid);
            }
            listed.extend(part.listed.iter().map(|listed| (listed.bssid, listed.clone())));
        }
        let found = version(listed.values());
        if found != first.version {
            let sentence = format!(
                "the directory of {region} is to have version {}, what came has {found}",
                first.version
            );
            return Err(wrong(sentence));
        }
        let differences = match first.from {
            None => 0,
            // Nothing is new, and nothing is kept of it.
            Some(from) => self.differences(region).saturating_add(u16::from(from != found)),
        };
        let mut areas = BTreeMap::new();
        for listed in listed.values() {
            *areas.entry(listed.area.clone()).or_insert(0) += 1;
        }
        self.regions.insert(region.clone(), Volume { listed, version: found, areas, differences });
        Ok(())
    }

    /// Takes in answers one after the other, as they were kept; up to the first that does not fit.
    pub fn restore(&mut self, mut parts: &[DirectoryPart]) -> Result<(), Refusal> {
        while let Some(first) = parts.first() {
            let (answer, rest) = parts.split_at(usize::from(first.parts).clamp(1, parts.len()));
            self.take_in(answer)?;
            parts = rest;
        }
        Ok(())
    }

    /// Lets go of a region.
    pub fn forget(&mut self, region: &Region) {
        self.regions.remove(region);
    }

    /// What is listed in an area, by address.
    pub fn in_area<'a>(&'a self, area: &'a Area) -> impl Iterator<Item = &'a Listed> {
        let volume = self.regions.get(area.region());
        volume
            .into_iter()
            .flat_map(|volume| volume.listed.values())
            .filter(move |listed| listed.area == *area)
    }

    /// Those in reach that are listed under this address and this name, strongest first; none of an area of which
    /// too few are in reach. One is enough where fewer than three are listed.
    pub fn recognise(&self, seen: &[SeenAp], needed: Needed) -> Vec<Candidate> {
        let mut found: Vec<(&SeenAp, &Listed)> = Vec::new();
        for ap in seen {
            let listed = self.regions.values().find_map(|volume| volume.listed.get(&ap.bssid));
            let known = listed.filter(|listed| listed.ssid == ap.ssid);
            if let Some(listed) =
                known.filter(|known| found.iter().all(|(_, other)| other.bssid != known.bssid))
            {
                found.push((ap, listed));
            }
        }
        let mut in_reach: BTreeMap<&Area, usize> = BTreeMap::new();
        for (_, listed) in &found {
            *in_reach.entry(&listed.area).or_insert(0) += 1;
        }
        found.retain(|(_, listed)| in_reach[&listed.area] >= self.wanted(&listed.area, needed));
        found.sort_by_key(|(ap, _)| (std::cmp::Reverse(ap.signal_dbm), ap.bssid));
        let candidate = |(_, listed): (&SeenAp, &Listed)| Candidate {
            name: listed.area.to_string(),
            ssid: listed.ssid.clone(),
            bssid: listed.bssid,
            service: listed.service,
        };
        found.into_iter().map(candidate).collect()
    }

    fn wanted(&self, area: &Area, needed: Needed) -> usize {
        let listed = self.regions.get(area.region()).and_then(|volume| volume.areas.get(area));
        match listed.copied().unwrap_or(0) {
            listed if listed >= SEVERAL => usize::from(needed.get()).min(listed),
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MacAddr, ServiceId, Ssid};

    #[test]
    fn what_is_restored_counts_as_what_it_is_made_of() {
        let region: Region = "lyon".parse().unwrap();
        let answer = |from: Option<DirectoryVersion>, all: &[Listed], new: &[Listed]| DirectoryPart {
            from,
            gone: Vec::new(),
            made: 1,
            part: 0,
            parts: 1,
            listed: new.to_vec(),
            region: region.clone(),
            version: version(all),
        };
        let all = [listed("lyon/hall", 1), listed("lyon/hall", 2)];
        let whole = answer(None, &all[..1], &all[..1]);
        let same = answer(Some(whole.version), &all[..1], &[]);
        let more = answer(Some(whole.version), &all, &all[1..]);
        let mut book = Book::default();
        book.restore(&[whole.clone(), same, more]).unwrap();
        assert_eq!(book.differences(&region), 1, "one that says nothing new is none");
        book.restore(&[whole]).unwrap();
        assert_eq!(book.differences(&region), 0);
    }

    #[test]
    fn a_difference_is_taken_in_whole_or_not_at_all() {
        let (one, two, three) = (listed("lyon/hall", 1), listed("lyon/hall", 2), listed("lyon/park", 3));
        let mut book = Book::default();
        let whole = part(None, &[], &[&one, &two], version([&one, &two]));
        book.take_in(std::slice::from_ref(&whole)).unwrap();
        let held = whole.version;
        let next = part(Some(held), &[one.bssid], &[&three], version([&two, &three]));
        let first_of_two = DirectoryPart { parts: 2, ..next.clone() };
        let second_of_another = DirectoryPart { part: 1, made: 1, version: held, ..first_of_two.clone() };
        for bad in [
            vec![],
            vec![first_of_two.clone()],
            vec![first_of_two.clone(), first_of_two.clone()],
            vec![first_of_two, second_of_another],
            vec![part(Some(version([])), &[], &[], held)],
            vec![part(Some(held), &[], &[&three], version([&two, &three]))],
            vec![part(None, &[], &[&listed("paris/hall", 1)], version([&listed("paris/hall", 1)]))],
        ] {
            let refusal = book.take_in(&bad).unwrap_err();
            assert_eq!(refusal.word, "bad-directory");
            assert_eq!((book.version(&region()), book.len()), (Some(held), 2), "{bad:?}");
        }
        book.take_in(std::slice::from_ref(&next)).unwrap();
        assert_eq!(book.version(&region()), Some(next.version));
        // As kept: one after the other.
        let mut again = Book::default();
        again.restore(&[whole.clone(), next.clone()]).unwrap();
        assert_eq!(again.version(&region()), Some(next.version));
        assert!(Book::default().restore(&[next]).is_err());
        assert!(Book::default().restore(&[DirectoryPart { parts: 9, ..whole }]).is_err());
    }

    #[test]
    fn one_is_enough_or_some_of_several_and_name_and_address_have_to_fit() {
        let hall: Vec<Listed> = (1..=3).map(|number| listed("lyon/hall", number)).collect();
        let park: Vec<Listed> = (4..=5).map(|number| listed("lyon/park", number)).collect();
        let all: Vec<&Listed> = hall.iter().chain(&park).collect();
        let mut book = Book::default();
        book.take_in(&[part(None, &[], &all, version(all.iter().copied()))]).unwrap();
        let found = |seen: &[SeenAp], needed: u8| -> Vec<u8> {
            let candidates = book.recognise(seen, Needed::new(needed).unwrap());
            candidates.iter().map(|candidate| candidate.bssid.0.0[5]).collect()
        };
        assert_eq!(found(&[seen(4, "Corner", -70)], 2), [4], "one of two");
        assert_eq!(found(&[seen(1, "Corner", -40)], 2), [0; 0], "one of three");
        assert_eq!(found(&[seen(1, "Corner", -60), seen(3, "Corner", -50)], 2), [3, 1], "two of three");
        assert_eq!(found(&[seen(1, "Corner", -60)], 1), [1]);
        let all_seen: Vec<SeenAp> = (1..=5).map(|number| seen(number, "Corner", -50)).collect();
        assert_eq!(found(&all_seen, 9), [1, 2, 3, 4, 5], "no more than there are");
        // An evil twin has the name and not the address, or is somebody else who has the address.
        assert_eq!(found(&[seen(9, "Corner", -20), seen(4, "Other", -20)], 1), [0; 0]);
        // The same one twice is one.
        assert_eq!(found(&[seen(1, "Corner", -60), seen(1, "Corner", -50)], 2), [0; 0]);
    }

    fn part(
        from: Option<DirectoryVersion>,
        gone: &[Bssid],
        put: &[&Listed],
        version: DirectoryVersion,
    ) -> DirectoryPart {
        DirectoryPart {
            from,
            gone: gone.to_vec(),
            made: 0,
            part: 0,
            parts: 1,
            listed: put.iter().copied().cloned().collect(),
            region: region(),
            version,
        }
    }

    fn listed(area: &str, number: u8) -> Listed {
        Listed {
            area: area.parse().unwrap(),
            ssid: Ssid::new("Corner").unwrap(),
            bssid: Bssid(MacAddr([2, 0, 0, 0, 0, number])),
            service: ServiceId([1; 16]),
        }
    }

    fn seen(number: u8, ssid: &str, signal_dbm: i16) -> SeenAp {
        let bssid = Bssid(MacAddr([2, 0, 0, 0, 0, number]));
        SeenAp { ssid: Ssid::new(ssid).unwrap(), bssid, beacon: None, freq_mhz: 2412, signal_dbm }
    }

    fn region() -> Region {
        "lyon".parse().unwrap()
    }
}
