//! A list of the stations of a BSS takes hostapd some milliseconds, and meanwhile stations come and go: what was heard
//! since it was asked for counts more than the list.
//!
//! ```text
//! begin(bss) ---- came, left: noted ---- end(number, list) -> the list, set right
//!                      forget(bss): the BSS is gone or new, and its list counts for nothing
//! ```
//!
//! Invariant (`no_short_history_contradicts_what_was_heard`): who hears everything at once holds exactly those who
//! are there, at every moment; who hears it late does in the end.

use crate::model::{Few, KeyId, MacAddr};

/// By which code a station is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// This one; `None`: by none of ours.
    Key(Option<KeyId>),
    /// hostapd has not said it yet, or is asking the station anew.
    Unsaid,
}

/// A station, and by which code it is there.
type Listed = (MacAddr, By);

/// The lists that hostapd is asked for now.
#[derive(Clone, Debug, Default)]
pub struct Listings {
    open: Few<u64, Listing>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Listing {
    bss: String,
    /// Who has come since, by which code, or left.
    heard: Few<MacAddr, Option<By>>,
}

impl Listings {
    /// A list is asked for; the number names it.
    pub fn begin(&mut self, bss: &str) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, Listing { bss: bss.to_owned(), heard: Few::default() });
        number
    }

    /// A station has come.
    pub fn came(&mut self, bss: &str, station: MacAddr, by: By) {
        self.heard(bss, station, Some(by));
    }

    /// A station has left.
    pub fn left(&mut self, bss: &str, station: MacAddr) {
        self.heard(bss, station, None);
    }

    fn heard(&mut self, bss: &str, station: MacAddr, what: Option<By>) {
        for listing in self.open.values_mut().filter(|listing| listing.bss == bss) {
            listing.heard.insert(station, what);
        }
    }

    /// The BSS is gone, or made anew.
    pub fn forget(&mut self, bss: &str) {
        self.open.retain(|_, listing| listing.bss != bss);
    }

    /// The list is there (`None`: it could not be had). Who is to be taken for present; `None`: it says nothing.
    pub fn end(&mut self, number: u64, list: Option<Vec<Listed>>) -> Option<Vec<Listed>> {
        let Listing { mut heard, .. } = self.open.remove(&number)?;
        let mut present = Vec::new();
        for (station, listed) in list? {
            match heard.remove(&station) {
                // The event of a name does not say it; the list may.
                None | Some(Some(By::Unsaid)) => present.push((station, listed)),
                Some(Some(came)) => present.push((station, came)),
                Some(None) => {}
            }
        }
        present.extend(heard.into_iter().filter_map(|(station, came)| Some((station, came?))));
        Some(present)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use super::*;

    const STATIONS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])];

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Comes(usize),
        Leaves(usize),
        Heard,
        Begin,
        Made,
        End,
    }

    const STEPS: [Step; 8] = [
        Step::Comes(0),
        Step::Comes(1),
        Step::Leaves(0),
        Step::Leaves(1),
        Step::Heard,
        Step::Begin,
        Step::Made,
        Step::End,
    ];

    /// hostapd, its events on their way, and who listens.
    #[derive(Default)]
    struct World {
        there: BTreeMap<MacAddr, By>,
        events: VecDeque<(MacAddr, Option<By>)>,
        held: BTreeMap<MacAddr, By>,
        listings: Listings,
        /// Asked for, and made.
        list: Option<(u64, Option<Vec<Listed>>)>,
        joins: u8,
    }

    impl World {
        fn step(&mut self, step: Step) {
            match step {
                Step::Comes(at) => {
                    self.joins += 1;
                    let by = By::Key(Some(KeyId([self.joins; 12])));
                    self.there.insert(STATIONS[at], by);
                    self.events.push_back((STATIONS[at], Some(by)));
                }
                Step::Leaves(at) => {
                    if self.there.remove(&STATIONS[at]).is_some() {
                        self.events.push_back((STATIONS[at], None));
                    }
                }
                Step::Heard => match self.events.pop_front() {
                    Some((station, Some(by))) => {
                        self.listings.came("ap", station, by);
                        self.held.insert(station, by);
                    }
                    Some((station, None)) => {
                        self.listings.left("ap", station);
                        self.held.remove(&station);
                    }
                    None => {}
                },
                Step::Begin => {
                    if self.list.is_none() {
                        self.list = Some((self.listings.begin("ap"), None));
                    }
                }
                Step::Made => {
                    if let Some((_, made @ None)) = &mut self.list {
                        *made = Some(self.there.clone().into_iter().collect());
                    }
                }
                Step::End => {
                    if let Some((number, Some(made))) = self.list.take_if(|(_, made)| made.is_some()) {
                        let present = self.listings.end(number, Some(made)).unwrap();
                        self.held = present.into_iter().collect();
                    }
                }
            }
        }
    }

    #[test]
    fn no_short_history_contradicts_what_was_heard() {
        const LENGTH: u32 = 6;
        for at_once in [true, false] {
            for history in 0..(STEPS.len() as u32).pow(LENGTH) {
                let steps = (0..LENGTH).map(|at| STEPS[(history / 8_u32.pow(at) % 8) as usize]);
                let steps: Vec<Step> = steps.collect();
                let mut world = World::default();
                for step in &steps {
                    world.step(*step);
                    if at_once {
                        (0..world.events.len()).for_each(|_| world.step(Step::Heard));
                        assert_eq!(world.held, world.there, "{steps:?}");
                    }
                }
                [Step::Made, Step::End].into_iter().for_each(|step| world.step(step));
                (0..world.events.len()).for_each(|_| world.step(Step::Heard));
                assert_eq!(world.held, world.there, "{steps:?}");
            }
        }
    }

    #[test]
    fn a_list_of_a_bss_that_went_or_of_nobody_says_nothing() {
        let mut listings = Listings::default();
        let (gone, failed, other) = (listings.begin("ap1"), listings.begin("ap2"), listings.begin("ap3"));
        listings.forget("ap1");
        listings.came("ap2", STATIONS[0], By::Unsaid);
        assert_eq!(listings.end(gone, Some(vec![(STATIONS[0], By::Unsaid)])), None);
        assert_eq!(listings.end(failed, None), None);
        assert_eq!(listings.end(other, Some(vec![])), Some(vec![]), "another BSS is another list");
        assert_eq!(listings.end(other, Some(vec![])), None, "twice");
        assert!(listings.open.is_empty());
    }

    #[test]
    fn a_name_counts_wherever_it_is_said() {
        let key = By::Key(Some(KeyId([1; 12])));
        for (came, listed, counts) in
            [(By::Unsaid, key, key), (key, By::Unsaid, key), (By::Unsaid, By::Unsaid, By::Unsaid)]
        {
            let mut listings = Listings::default();
            let number = listings.begin("ap1");
            listings.came("ap1", STATIONS[0], came);
            let list = vec![(STATIONS[0], listed), (STATIONS[1], By::Unsaid)];
            let present = listings.end(number, Some(list));
            assert_eq!(present, Some(vec![(STATIONS[0], counts), (STATIONS[1], By::Unsaid)]));
        }
    }
}
